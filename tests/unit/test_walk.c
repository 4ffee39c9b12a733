#include "unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "main/walk.h"

/* Make `path` below dir: a folder if it ends with '/', else a file with its name in it. */
static void make(const char *dir, const char *path)
{
	char full[1024];
	size_t n = (size_t)snprintf(full, sizeof full, "%s/%s", dir, path);
	FILE *f;

	if (full[n - 1] == '/') {
		assert_int_equal(mkdir(full, 0700), 0);
		return;
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(path, f);
	fclose(f);
}

/* The walk in lines: "path" of a file, "path (reason)" of others, relative to dir. */
static void run(struct walk *w, const char *dir, struct buf *out)
{
	struct walk_entry e;

	for (walk_next(w, &e); e.kind != WALK_END; walk_next(w, &e)) {
		buf_add_z(out, e.path + strlen(dir) + (e.path[strlen(dir)] == '/'));
		if (e.kind != WALK_FILE)
			buf_addf(out, " (%s)", e.reason);
		buf_add_c(out, '\n');
	}
	assert_false(buf_failed(out));
}

static char *tree(void)
{
	static const char *const made[] = { "b/", "b/2", "b/10", "b/c/", "b/c/x", "b/c/y",
					    "b-", "a",   "d/",   "d/e",  "z" };
	char *dir = test_dir_new();

	for (size_t i = 0; i < COUNT_OF(made); i++)
		make(dir, made[i]);
	return dir;
}

static void test_order(void **state)
{
	char *dir = tree();
	const char *paths[] = { dir };
	struct buf out = BUF_INIT(1 << 16);

	(void)state;
	/* Portions of one name, of a few, and all at once give the same order. */
	for (size_t portion = 1; portion < 100; portion += 7) {
		struct walk *w = walk_new(paths, 1, NULL, NULL);

		walk_set_portion(w, portion);
		buf_reset(&out);
		run(w, dir, &out);
		assert_string_equal(out.p, "a\nb/10\nb/2\nb/c/x\nb/c/y\nb-\nd/e\nz\n");
		walk_free(w);
	}
	buf_release(&out);
	test_dir_remove(dir);
}

static void test_going_on_from_every_place(void **state)
{
	char *dir = tree();
	const char *paths[] = { dir, dir };
	struct buf all = BUF_INIT(1 << 16), rest = BUF_INIT(1 << 16);
	struct walk *w = walk_new(paths, 2, NULL, NULL), *again;
	struct walk_entry e;
	size_t n = 0, left;

	(void)state;
	run(w, dir, &all);
	walk_free(w);
	left = 0;
	w = walk_new(paths, 2, NULL, NULL);
	for (walk_next(w, &e); e.kind != WALK_END; walk_next(w, &e)) {
		left = left + strlen(e.path) - strlen(dir); /* its name and a newline */
		for (size_t portion = 1; portion < 50; portion += 12) {
			again = walk_new(paths, 2, &e.place, NULL);
			walk_set_portion(again, portion);
			buf_reset(&rest);
			run(again, dir, &rest);
			walk_free(again);
			CHECK_ROW_STR(e.path, buf_str(&rest), str_of(all.p + left));
		}
		n++;
	}
	assert_int_equal(n, 16);
	walk_free(w);
	buf_release(&all);
	buf_release(&rest);
	test_dir_remove(dir);
}

static void test_going_on_from_what_is_gone(void **state)
{
	static const struct {
		const char *after;
		const char *want;
	} rows[] = {
		{ "b/c/xx", "b/c/y\nb-\nd/e\nz\n" },
		{ "b/b/q/r", "b/c/x\nb/c/y\nb-\nd/e\nz\n" },
		{ "b/2/was/a/folder", "b/2\nb/c/x\nb/c/y\nb-\nd/e\nz\n" },
		{ "c/d", "d/e\nz\n" },
		{ "zz", "" },
		{ "b/c", "b-\nd/e\nz\n" },
	};
	char *dir = tree();
	const char *paths[] = { dir };
	struct buf out = BUF_INIT(1 << 16);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct walk_place after = { 0, str_of(rows[i].after) };
		struct walk *w = walk_new(paths, 1, &after, NULL);

		buf_reset(&out);
		run(w, dir, &out);
		CHECK_ROW_STR(rows[i].after, buf_str(&out), str_of(rows[i].want));
		walk_free(w);
	}
	buf_release(&out);
	test_dir_remove(dir);
}

static void test_what_is_no_file(void **state)
{
	char *dir = test_dir_new(), path[600], inner[600];
	const char *paths[3] = { dir, path, inner };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct buf out = BUF_INIT(1 << 16);
	struct stat excluded;
	struct walk *w;
	int s;

	(void)state;
	make(dir, "file");
	make(dir, "data/");
	make(dir, "data/secret");
	snprintf(path, sizeof path, "%s/link", dir);
	assert_int_equal(symlink("file", path), 0);
	snprintf(path, sizeof path, "%s/loop", dir);
	assert_int_equal(symlink(".", path), 0);
	snprintf(path, sizeof path, "%s/pipe", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", dir);
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
	close(s);
	snprintf(path, sizeof path, "%s/data", dir);
	assert_int_equal(stat(path, &excluded), 0);
	/* Named by itself, a link is followed; what is not there says so. */
	snprintf(path, sizeof path, "%s/link", dir);
	snprintf(inner, sizeof inner, "%s/gone", dir);
	w = walk_new(paths, 3, NULL, &excluded);
	run(w, dir, &out);
	assert_string_equal(
		out.p,
		"data (weir's own data folder)\nfile\nlink (a symbolic link)\nloop (a symbolic "
		"link)\npipe (a pipe)\nsocket (a socket)\nlink\ngone (cannot be looked at: No "
		"such file or directory)\n");
	walk_free(w);
	buf_release(&out);
	test_dir_remove(dir);
}

static void test_opening(void **state)
{
	char *dir = tree(), path[600], other[600];
	const char *paths[] = { dir };
	struct walk *w = walk_new(paths, 1, NULL, NULL);
	struct walk_entry e;
	struct stat st;
	struct err err;
	int fd;

	(void)state;
	walk_next(w, &e);
	assert_int_equal(e.size, 1);
	CHECK_OK(walk_entry_open(&e, &fd, &st, &err), &err);
	assert_int_equal(st.st_size, 1);
	close(fd);
	/* Between look and open it became something else. */
	snprintf(path, sizeof path, "%s/a", dir);
	snprintf(other, sizeof other, "%s/z", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(walk_entry_open(&e, &fd, &st, &err), -ERR_NOT_FOUND);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(walk_entry_open(&e, &fd, &st, &err), -ERR_INVALID);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(walk_entry_open(&e, &fd, &st, &err), -ERR_IO);
	walk_free(w);
	test_dir_remove(dir);
}

static void test_too_deep(void **state)
{
	char *dir = test_dir_new();
	const char *paths[] = { dir };
	struct buf name = BUF_INIT(1 << 16);
	struct walk *w;
	struct walk_entry e;
	size_t failed = 0;

	(void)state;
	for (unsigned i = 0; i < WALK_DEPTH_MAX + 3; i++) {
		buf_add_z(&name, "d/");
		make(dir, name.p);
	}
	w = walk_new(paths, 1, NULL, NULL);
	for (walk_next(w, &e); e.kind != WALK_END; walk_next(w, &e)) {
		assert_int_equal(e.kind, WALK_FAILED);
		assert_string_equal(e.reason, "folders are nested too deeply");
		failed++;
	}
	assert_int_equal(failed, 1);
	walk_free(w);
	buf_release(&name);
	test_dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_going_on_from_every_place),
		cmocka_unit_test(test_going_on_from_what_is_gone),
		cmocka_unit_test(test_what_is_no_file),
		cmocka_unit_test(test_opening),
		cmocka_unit_test(test_too_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
