#ifndef MAIN_WALK_H
#define MAIN_WALK_H
#include <sys/stat.h>
#include "base/buf.h"
#include "base/err.h"

/*
 * The regular files below some paths, always in the same order: the paths as
 * given, a folder's entries by the bytes of their names, folders where their own
 * name stands. So a position in the walk can be kept and gone on from.
 *
 * Memory is bounded however many files there are: a folder too large for its
 * share is read again for each portion of its names.
 *
 * A path that is itself a symbolic link is followed, as its writer meant it;
 * links met on the way are not. A folder that vanishes or grows meanwhile is
 * seen as it is when it is read.
 *
 * Threads: one at a time.
 */
struct walk;

/* Where a walk stands: in which of the paths, and below that ("" at a path that is a file). */
struct walk_place {
	size_t path;
	struct str below;
};

enum walk_kind {
	WALK_FILE,    /* regular */
	WALK_SKIPPED, /* `reason` says why; not a failure */
	WALK_FAILED,  /* cannot be read; `reason` */
	WALK_END
};
/* Valid until the next walk_next. */
struct walk_entry {
	enum walk_kind kind;
	bool is_link; /* of a skipped one */
	const char *path;
	struct walk_place place;
	const char *reason;
	uint64_t size; /* of a file, when it was looked at */
	int dirfd;     /* open `name` in it: walk_entry_open */
	const char *name;
};

enum {
	WALK_DEPTH_MAX = 128 /* open folders at a time */
};

/*
 * `paths` must outlive the walk. Entries up to and including `after` are left
 * out (NULL: none). Files in the folder with device and inode of `excluded` are
 * skipped (NULL: none).
 */
struct walk *walk_new(const char *const *paths, size_t n, const struct walk_place *after,
		      const struct stat *excluded);
void walk_free(struct walk *w); /* NULL is fine */

void walk_next(struct walk *w, struct walk_entry *ret);

/* Open a file for reading; ERR_INVALID if it is no regular file any more. *ret_st of what was
 * opened. */
MUST_USE int walk_entry_open(const struct walk_entry *e, int *ret_fd, struct stat *ret_st,
			     struct err *err);

/* For tests: bytes of names that one folder's portion may hold. */
void walk_set_portion(struct walk *w, size_t bytes);
#endif
