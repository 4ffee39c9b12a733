#include "hunt_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "hunt.h"
#include "main/walk.h"

enum {
	PIECE_BYTES = 64 * 1024,
	SHOWN_BYTES_MAX = 64 * 1024, /* of a path, escaped */
};

bool hunt_rules_is_name(const char *path)
{
	struct str s = str_of(path), end;

	for (size_t i = 4; i <= 5 && i < s.n; i++) {
		end = str_make(s.p + s.n - i, i);
		if (str_eq_nocase(end, STR(".yar")) || str_eq_nocase(end, STR(".yara")))
			return true;
	}
	return false;
}

bool hunt_rules_is_file(const char *path)
{
	struct stat st;

	return hunt_rules_is_name(path) && !(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

/* ---- Reading ---- */

static bool is_known(const struct hunt_rules *r, const struct stat *st)
{
	for (size_t i = 0; i < r->count; i++) {
		if (r->files[i].dev == st->st_dev && r->files[i].ino == st->st_ino)
			return true;
	}
	return false;
}

static char *shown(const char *path)
{
	struct buf text = BUF_INIT(SHOWN_BYTES_MAX);

	show_text(&text, strcmp(path, "-") == 0 ? STR("(standard input)") : str_of(path));
	return buf_steal(&text);
}

/* The next file begins: behind a line that has ended. */
static int file_begin(struct hunt_rules *r, const char *path, const struct stat *st,
		      struct err *err)
{
	struct hunt_rules_file *f;
	void *room = r->files;

	if (r->count == HUNT_RULES_FILES_MAX)
		return err_set(err, ERR_TOO_LARGE, "more than %d files of rules",
			       HUNT_RULES_FILES_MAX);
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 8;
		mem_must_grow(&room, r->cap, sizeof *r->files);
		r->files = room;
	}
	if (r->text.n && r->text.p[r->text.n - 1] != '\n')
		buf_add_c(&r->text, '\n');
	f = &r->files[r->count++];
	*f = (struct hunt_rules_file){
		.path = shown(path), .begin = r->text.n, .dev = st->st_dev, .ino = st->st_ino
	};
	return 0;
}

static void file_end(struct hunt_rules *r)
{
	static const char mark[] = "\xef\xbb\xbf";
	struct hunt_rules_file *f = &r->files[r->count - 1];
	size_t n = r->text.n - f->begin;

	/* What some editors begin a file with. */
	if (n >= 3 && memcmp(r->text.p + f->begin, mark, 3) == 0) {
		memmove(r->text.p + f->begin, r->text.p + f->begin + 3, n - 3);
		r->text.n -= 3;
	}
	f->end = r->text.n;
	if (r->count > 1) {
		const struct hunt_rules_file *before = f - 1;

		f->lines_before = before->lines_before;
		for (size_t i = before->begin; i < f->begin; i++)
			f->lines_before += r->text.p[i] == '\n';
	}
}

static int read_fd(struct hunt_rules *r, int fd, size_t bytes_max, struct err *err)
{
	char piece[PIECE_BYTES];
	ssize_t n;

	while ((n = read(fd, piece, sizeof piece)) != 0) {
		if (n < 0 && errno == EINTR && !hunt_is_interrupted())
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot be read");
		buf_add(&r->text, piece, (size_t)n);
		if (buf_failed(&r->text))
			return err_set(err, ERR_TOO_LARGE, "%s%zu bytes",
				       r->count > 1 ? "the rules up to this file have more than "
						    : "larger than ",
				       bytes_max);
	}
	return 0;
}

static int read_open(struct hunt_rules *r, const char *path, int fd, size_t bytes_max,
		     struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_sys(err, errno, "cannot be looked at");
	if (S_ISREG(st.st_mode) && is_known(r, &st))
		return 0;
	TRY(file_begin(r, path, &st, err));
	TRY(read_fd(r, fd, bytes_max, err));
	file_end(r);
	return 0;
}

static int read_file(struct hunt_rules *r, const char *path, size_t bytes_max, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_sys(err, errno, "'%s' cannot be opened", path);
	int rc = read_open(r, path, fd, bytes_max, err);

	close(fd);
	return rc ? err_add(err, "'%s'", path) : 0;
}

static int read_folder(struct hunt_rules *r, const char *path, size_t bytes_max, struct err *err)
{
	struct walk *walk = walk_new(&path, 1, NULL, NULL);
	size_t found = 0;
	struct walk_entry e;
	int rc = 0;

	for (walk_next(walk, &e); e.kind != WALK_END && rc == 0; walk_next(walk, &e)) {
		/* A link is followed to its file: nobody means to leave a rule out. */
		bool wanted = e.kind == WALK_FILE || (e.kind == WALK_SKIPPED && e.is_link);

		if (e.kind == WALK_FAILED)
			rc = err_set(err, ERR_IO, "'%s': %s", e.path, e.reason);
		else if (wanted && hunt_rules_is_file(e.path)) {
			rc = read_file(r, e.path, bytes_max, err);
			found++;
		}
	}
	walk_free(walk);
	if (rc == 0 && found == 0)
		rc = err_set(err, ERR_INVALID,
			     "'%s': no file of rules in this folder (*.yar, *.yara); files are "
			     "scanned with --dir",
			     path);
	return rc;
}

static int read_path(struct hunt_rules *r, const char *path, size_t bytes_max, struct err *err)
{
	struct stat st;
	int rc;

	if (strcmp(path, "-") == 0) {
		rc = read_open(r, path, STDIN_FILENO, bytes_max, err);
		return rc ? err_add(err, "standard input") : 0;
	}
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return read_folder(r, path, bytes_max, err);
	return read_file(r, path, bytes_max, err);
}

int hunt_rules_read(struct hunt_rules *ret, const char *const *paths, size_t n, size_t bytes_max,
		    struct err *err)
{
	*ret = (struct hunt_rules){ .text = BUF_INIT(bytes_max) };
	for (size_t i = 0; i < n; i++)
		TRY(read_path(ret, paths[i], bytes_max, err));
	if (str_trim(buf_str(&ret->text)).n == 0)
		return err_set(err, ERR_INVALID, "'%s': no rules in it", paths[0]);
	return 0;
}

void hunt_rules_release(struct hunt_rules *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->files[i].path);
	free(r->files);
	buf_release(&r->text);
	*r = (struct hunt_rules){ 0 };
}

/* ---- Places ---- */

void hunt_rules_ns(size_t file, char ret[HUNT_NS_BYTES])
{
	snprintf(ret, HUNT_NS_BYTES, "%zu", file);
}

size_t hunt_rules_of_ns(const struct hunt_rules *r, struct str ns)
{
	uint64_t file;

	return str_to_u64(ns, r->count - 1, &file) ? (size_t)file : r->count;
}

const struct hunt_rules_file *hunt_rules_place(const struct hunt_rules *r, size_t file,
					       uint64_t line, uint64_t *ret_line)
{
	if (r->count == 0 || line == 0)
		return NULL;
	if (file == r->count) {
		do
			file--;
		while (file > 0 && r->files[file].lines_before >= line);
		line -= r->files[file].lines_before;
	}
	*ret_line = line;
	return &r->files[file];
}
