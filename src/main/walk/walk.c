#include "main/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

enum {
	PORTION_BYTES = 4 << 20,  /* names of a folder held at once, at the top */
	PORTION_MIN = 128 * 1024, /* and far below: some 4,000 names */
	PATH_BYTES_MAX = 64 * 1024
};

/* One open folder: a portion of its names, sorted. */
struct level {
	DIR *dir;
	char *names; /* owned: terminated names one after the other */
	size_t names_n;
	size_t names_room;
	size_t *at; /* owned: where each begins, sorted by name */
	size_t count;
	size_t count_room;
	size_t next;
	bool more;       /* the folder has names beyond this portion */
	char *last;      /* owned: names up to this one are over; NULL: none */
	bool last_again; /* `last` itself is not over: the walk goes on inside it */
	size_t path_n;   /* length of the folder's own path */
};

struct walk {
	const char *const *paths;
	size_t path_count;
	size_t path; /* the one under way, plus 1 */
	struct level levels[WALK_DEPTH_MAX];
	size_t depth;
	struct buf full; /* path of the present entry */
	size_t below_at; /* where walk_place.below begins in it */
	char *resume;    /* owned: what is left of `after` on the way down; NULL: nothing */
	size_t resume_path;
	struct stat excluded;
	bool has_excluded;
	size_t portion;
	char reason[256];
};

static void level_release(struct level *l)
{
	if (l->dir)
		closedir(l->dir);
	free(l->names);
	free(l->at);
	free(l->last);
	*l = (struct level){ 0 };
}

struct walk *walk_new(const char *const *paths, size_t n, const struct walk_place *after,
		      const struct stat *excluded)
{
	struct walk *w = mem_must_zalloc(sizeof *w);

	w->paths = paths;
	w->path_count = n;
	w->portion = PORTION_BYTES;
	buf_init(&w->full, PATH_BYTES_MAX);
	if (after) {
		w->path = after->path;
		w->resume_path = after->path;
		w->resume = str_dup(after->below);
	}
	if (excluded) {
		w->excluded = *excluded;
		w->has_excluded = true;
	}
	return w;
}

void walk_free(struct walk *w)
{
	if (!w)
		return;
	while (w->depth)
		level_release(&w->levels[--w->depth]);
	buf_release(&w->full);
	free(w->resume);
	free(w);
}

void walk_set_portion(struct walk *w, size_t bytes)
{
	w->portion = bytes;
}

/* ---- A folder's names, a portion at a time ---- */

static int name_cmp(const void *a, const void *b, void *names)
{
	const char *base = names;

	return strcmp(base + *(const size_t *)a, base + *(const size_t *)b);
}

static void level_sort(struct level *l)
{
	if (l->count)
		qsort_r(l->at, l->count, sizeof *l->at, name_cmp, l->names);
}

/* Sort and keep only the first names, at most `bytes` of them; the rest comes in the next portion.
 */
static void level_cut(struct level *l, size_t bytes)
{
	size_t keep = 0, used = 0, at = 0;
	char *kept;

	level_sort(l);
	while (keep < l->count) {
		size_t n = strlen(l->names + l->at[keep]) + 1;

		if (keep && used + n > bytes)
			break;
		used += n;
		keep++;
	}
	kept = mem_must_zalloc(l->names_room);
	for (size_t i = 0; i < keep; i++) {
		size_t n = strlen(l->names + l->at[i]) + 1;

		memcpy(kept + at, l->names + l->at[i], n);
		l->at[i] = at;
		at += n;
	}
	l->more = l->more || keep < l->count;
	free(l->names);
	l->names = kept;
	l->names_n = at;
	l->count = keep;
}

static void level_add(struct level *l, const char *name)
{
	size_t n = strlen(name) + 1;

	if (l->names_n + n > l->names_room) {
		l->names_room = 2 * (l->names_n + n);
		mem_must_grow((void **)&l->names, l->names_room, 1);
	}
	if (l->count == l->count_room) {
		l->count_room = l->count_room ? 2 * l->count_room : 64;
		mem_must_grow((void **)&l->at, l->count_room, sizeof *l->at);
	}
	memcpy(l->names + l->names_n, name, n);
	l->at[l->count++] = l->names_n;
	l->names_n += n;
}

/* Is this name over already? */
static bool level_is_past(const struct level *l, const char *name)
{
	int cmp = l->last ? strcmp(name, l->last) : 1;

	return l->last_again ? cmp < 0 : cmp <= 0;
}

/* Read the folder for its next names. Returns an errno. */
static int level_fill(struct level *l, size_t portion)
{
	bool bounded = false;
	struct dirent *entry;
	char *bound = NULL;

	l->names_n = l->count = l->next = 0;
	l->more = false;
	rewinddir(l->dir);
	for (;;) {
		errno = 0;
		entry = readdir(l->dir);
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    level_is_past(l, entry->d_name))
			continue;
		if (bounded && strcmp(entry->d_name, bound) > 0) {
			l->more = true;
			continue;
		}
		level_add(l, entry->d_name);
		if (l->names_n > 2 * portion) {
			level_cut(l, portion);
			free(bound);
			bound = mem_must_strdup(l->names + l->at[l->count - 1]);
			bounded = true;
		}
	}
	free(bound);
	if (errno)
		return errno;
	if (l->names_n > portion)
		level_cut(l, portion);
	else
		level_sort(l);
	return 0;
}

/* Each level deeper has a smaller share, so that all together stay small. */
static size_t walk_portion(const struct walk *w)
{
	size_t share = w->portion >> (w->depth < 8 ? w->depth / 2 : 4);

	return w->portion < PORTION_MIN ? w->portion : share > PORTION_MIN ? share : PORTION_MIN;
}

/* The next name of the folder; NULL at its end. *ret_sys: an errno. */
static const char *level_next(struct walk *w, struct level *l, int *ret_sys)
{
	*ret_sys = 0;
	if (l->next == l->count) {
		if (!l->more)
			return NULL;
		if (l->count) {
			free(l->last);
			l->last = mem_must_strdup(l->names + l->at[l->count - 1]);
			l->last_again = false;
		}
		*ret_sys = level_fill(l, walk_portion(w));
		if (*ret_sys || l->count == 0)
			return NULL;
	}
	return l->names + l->at[l->next++];
}

/* ---- Down and up ---- */

static void entry_fail(struct walk *w, struct walk_entry *e, const char *what, int sys)
{
	e->kind = WALK_FAILED;
	if (sys)
		snprintf(w->reason, sizeof w->reason, "%s: %s", what, strerror(sys));
	else
		snprintf(w->reason, sizeof w->reason, "%s", what);
	e->reason = w->reason;
}

static void entry_skip(struct walk_entry *e, const char *reason)
{
	e->kind = WALK_SKIPPED;
	e->reason = reason;
}

/*
 * Cut the first part off what is left to go on from. NULL: there is nothing
 * left. *ret_deeper: more follows it. The caller frees.
 */
static char *resume_part(struct walk *w, bool *ret_deeper)
{
	struct str rest = str_of(w->resume), part;
	char *name, *left = NULL;

	*ret_deeper = false;
	if (!w->resume || !str_split(&rest, '/', &part))
		return NULL;
	name = str_dup(part);
	if (rest.p && rest.n) {
		left = str_dup(rest);
		*ret_deeper = true;
	}
	free(w->resume);
	w->resume = left;
	return name;
}

/* Enter the folder; true: done, false: *e tells why not. */
static bool walk_enter(struct walk *w, struct walk_entry *e, int fd)
{
	struct level *l = &w->levels[w->depth];
	struct stat st;
	int sys;

	if (w->has_excluded && fstat(fd, &st) == 0 && st.st_dev == w->excluded.st_dev &&
	    st.st_ino == w->excluded.st_ino) {
		close(fd);
		entry_skip(e, "weir's own data folder");
		return false;
	}
	*l = (struct level){ .dir = fdopendir(fd), .path_n = w->full.n, .more = true };
	if (!l->dir) {
		close(fd);
		entry_fail(w, e, "cannot be read", errno);
		return false;
	}
	l->last = resume_part(w, &l->last_again);
	sys = level_fill(l, walk_portion(w));
	if (sys) {
		level_release(l);
		entry_fail(w, e, "cannot be read", sys);
		return false;
	}
	w->depth++;
	return true;
}

static void walk_leave(struct walk *w)
{
	level_release(&w->levels[--w->depth]);
	/* What was to be gone on from is not below any more. */
	free(w->resume);
	w->resume = NULL;
}

static const char *special_reason(mode_t mode)
{
	if (S_ISLNK(mode))
		return "a symbolic link";
	if (S_ISFIFO(mode))
		return "a pipe";
	if (S_ISSOCK(mode))
		return "a socket";
	return "a device";
}

static void entry_place(struct walk *w, struct walk_entry *e)
{
	e->path = w->full.p;
	e->place.path = w->path - 1;
	e->place.below = str_make(w->full.p + w->below_at, w->full.n - w->below_at);
	if (e->place.below.n && *e->place.below.p == '/')
		e->place.below = str_make(e->place.below.p + 1, e->place.below.n - 1);
}

/* Look at the entry `name` of dirfd; true: *e is to be told, false: a folder was entered. */
static bool walk_look(struct walk *w, struct walk_entry *e, int dirfd, const char *name,
		      bool follow)
{
	int nofollow = follow ? 0 : O_NOFOLLOW;
	struct stat st;
	int fd;

	entry_place(w, e);
	e->dirfd = dirfd;
	e->name = name;
	if (buf_failed(&w->full)) {
		entry_fail(w, e, "the path is too long", 0);
		return true;
	}
	if (fstatat(dirfd, name, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
		entry_fail(w, e, "cannot be looked at", errno);
		return true;
	}
	if (S_ISREG(st.st_mode)) {
		e->kind = WALK_FILE;
		e->size = (uint64_t)st.st_size;
		return true;
	}
	if (!S_ISDIR(st.st_mode)) {
		entry_skip(e, special_reason(st.st_mode));
		e->is_link = S_ISLNK(st.st_mode);
		return true;
	}
	if (w->depth == WALK_DEPTH_MAX) {
		entry_fail(w, e, "folders are nested too deeply", 0);
		return true;
	}
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | nofollow);
	if (fd < 0) {
		entry_fail(w, e, "cannot be opened", errno);
		return true;
	}
	return !walk_enter(w, e, fd);
}

/* The next of the given paths; true: *e is to be told. */
static bool walk_start(struct walk *w, struct walk_entry *e)
{
	const char *path = w->paths[w->path];
	bool resumes = w->resume && w->path == w->resume_path;

	buf_reset(&w->full);
	buf_add_z(&w->full, path);
	while (w->full.n > 1 && w->full.p[w->full.n - 1] == '/')
		w->full.p[--w->full.n] = 0;
	w->below_at = w->full.n;
	w->path++;
	if (w->resume && (!resumes || !*w->resume)) {
		free(w->resume);
		w->resume = NULL;
		if (resumes) /* it was this very file */
			return false;
	}
	return walk_look(w, e, AT_FDCWD, path, true);
}

/* The next entry of the innermost folder; true: *e is to be told. */
static bool walk_step(struct walk *w, struct walk_entry *e)
{
	struct level *l = &w->levels[w->depth - 1];
	const char *name;
	int sys;

	w->full.n = l->path_n;
	w->full.p[l->path_n] = 0;
	w->full.failed = false;
	name = level_next(w, l, &sys);
	if (name) {
		/* Only the folder that was under way is gone on from inside. */
		if (w->resume && !(l->last_again && strcmp(name, l->last) == 0)) {
			free(w->resume);
			w->resume = NULL;
		}
		if (w->full.p[w->full.n - 1] != '/')
			buf_add_c(&w->full, '/');
		buf_add_z(&w->full, name);
		return walk_look(w, e, dirfd(l->dir), name, false);
	}
	if (sys) {
		entry_place(w, e);
		entry_fail(w, e, "cannot be read to its end", sys);
	}
	walk_leave(w);
	return sys != 0;
}

void walk_next(struct walk *w, struct walk_entry *ret)
{
	for (;;) {
		*ret = (struct walk_entry){ .kind = WALK_END, .dirfd = -1 };
		if (w->depth) {
			if (walk_step(w, ret))
				return;
		} else if (w->path == w->path_count) {
			return;
		} else if (walk_start(w, ret)) {
			return;
		}
	}
}

int walk_entry_open(const struct walk_entry *e, int *ret_fd, struct stat *ret_st, struct err *err)
{
	int nofollow = e->dirfd == AT_FDCWD ? 0 : O_NOFOLLOW;
	int fd = openat(e->dirfd, e->name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | nofollow);

	if (fd < 0)
		return err_sys(err, errno, "cannot be opened");
	if (fstat(fd, ret_st) != 0 || !S_ISREG(ret_st->st_mode)) {
		close(fd);
		return err_set(err, ERR_INVALID, "is no regular file any more");
	}
	*ret_fd = fd;
	return 0;
}
