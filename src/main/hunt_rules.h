#ifndef MAIN_HUNT_RULES_H
#define MAIN_HUNT_RULES_H
#include <sys/stat.h>
#include "base/buf.h"
#include "base/err.h"

/*
 * The rules of `weir hunt`: files, folders of them, standard input. Their text stands in
 * one buffer, a file behind the other, so that it is one source for Retrohunt and one for
 * each file for --dir; a place in it is told as that of its file.
 */
struct hunt_rules_file {
	char *path;            /* owned; as a terminal may show it */
	size_t begin, end;     /* its bytes in `text` */
	uint64_t lines_before; /* in `text` */
	dev_t dev;             /* one file under two names is read once */
	ino_t ino;
};

struct hunt_rules {
	struct buf text;
	struct hunt_rules_file *files;
	size_t count, cap;
};

enum {
	HUNT_RULES_FILES_MAX = 16384, /* the largest public collection has 3,000 */
	HUNT_NS_BYTES = 24,
};

/* Is a file of this name one of rules? "*.yar", "*.yara". */
bool hunt_rules_is_name(const char *path);
/* The same for a path that is not a folder. */
bool hunt_rules_is_file(const char *path);

/*
 * All of them: a file as it is, without a byte-order mark; of a folder every *.yar and *.yara
 * below it, in the order of a walk; "-" is standard input. ERR_NOT_FOUND, ERR_IO; ERR_INVALID:
 * there is nothing in them; ERR_TOO_LARGE: together more than `bytes_max`. Release *ret in any
 * case.
 */
MUST_USE int hunt_rules_read(struct hunt_rules *ret, const char *const *paths, size_t n,
			     size_t bytes_max, struct err *err);
void hunt_rules_release(struct hunt_rules *r);

/* The namespace of a file where each is a source of its own. */
void hunt_rules_ns(size_t file, char ret[HUNT_NS_BYTES]);
/* The file whose namespace it is; r->count: all of them are one source. */
size_t hunt_rules_of_ns(const struct hunt_rules *r, struct str ns);
/* Where line `line` (from 1) of the source is: NULL if nowhere. *ret_line: in that file. */
const struct hunt_rules_file *hunt_rules_place(const struct hunt_rules *r, size_t file,
					       uint64_t line, uint64_t *ret_line);
#endif
