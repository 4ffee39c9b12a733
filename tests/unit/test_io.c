#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/metric.h"

struct world {
	char *dir;
	struct io *io;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct err err;

	assert_non_null(w);
	w->dir = test_dir_new();
	CHECK_OK(io_posix_new(&w->io, w->dir, &err), &err);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	io_posix_free(w->io);
	test_dir_remove(w->dir);
	free(w);
	return 0;
}

static void test_round(void **state)
{
	struct io *io = ((struct world *)*state)->io;
	struct io_file *f = NULL;
	struct io_file *again = NULL;
	struct err err;
	struct stat st;
	char got[16];
	uint64_t size = 0;

	CHECK_OK(io->open(io, "a", O_RDWR | O_CREAT | O_EXCL, &f, &err), &err);
	assert_true(fcntl(f->fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	CHECK_OK(io->pwrite(io, f, "world", 5, 6, &err), &err);
	CHECK_OK(io->pwrite(io, f, "hello ", 6, 0, &err), &err);
	CHECK_OK(io->pwrite(io, f, NULL, 0, 100, &err), &err);
	CHECK_OK(io_size(f, &size, &err), &err);
	assert_int_equal(size, 11);
	CHECK_OK(io->open(io, "a", O_RDONLY, &again, &err), &err);
	CHECK_OK(io_pread(again, got, 11, 0, &err), &err);
	assert_memory_equal(got, "hello world", 11);
	CHECK_OK(io_pread(again, got, 0, 11, &err), &err);
	CHECK_OK(io->truncate(io, f, 5, &err), &err);
	CHECK_OK(io_size(again, &size, &err), &err);
	assert_int_equal(size, 5);
	io->close(io, again);
	io->close(io, f);
	io->close(io, NULL);
	CHECK_OK(io->open(io, "a", O_RDWR | O_TRUNC, &f, &err), &err);
	CHECK_OK(io_size(f, &size, &err), &err);
	assert_int_equal(size, 0);
	io->close(io, f);
}

static void test_names(void **state)
{
	struct world *w = *state;
	struct io *io = w->io;
	struct io_file *f = NULL;
	struct err err;

	assert_string_equal(io->root, w->dir);
	CHECK_OK(io->mkdir(io, "d", &err), &err);
	CHECK_OK(io->mkdir(io, "d", &err), &err);
	CHECK_OK(io->mkdir(io, "d/..name", &err), &err); /* two dots as part of a name */
	CHECK_OK(io->open(io, "d/..name/x", O_RDWR | O_CREAT, &f, &err), &err);
	io->close(io, f);
	CHECK_OK(io->rename(io, "d/..name/x", "d/y", &err), &err);
	CHECK_OK(io->sync_dir(io, "d", &err), &err);
	CHECK_OK(io->unlink(io, "d/y", &err), &err);
	assert_int_equal(io->unlink(io, "d/y", &err), -(int)ERR_NOT_FOUND);
	/* A file is not the folder that was asked for. */
	CHECK_OK(io->open(io, "file", O_RDWR | O_CREAT, &f, &err), &err);
	io->close(io, f);
	assert_int_equal(io->mkdir(io, "file", &err), -(int)ERR_EXISTS);
	assert_int_equal(io->open(io, "file", O_RDWR | O_CREAT | O_EXCL, &f, &err),
			 -(int)ERR_EXISTS);
}

static void test_syncs(void **state)
{
	struct io *io = ((struct world *)*state)->io;
	int64_t counted = metric_get(METRIC_syncs_total);
	struct io_file *f = NULL;
	struct err err;

	CHECK_OK(io->open(io, "s", O_RDWR | O_CREAT, &f, &err), &err);
	assert_int_equal(io->sync_count, 0);
	CHECK_OK(io->sync(io, f, &err), &err);
	CHECK_OK(io->sync(io, f, &err), &err);
	CHECK_OK(io->sync_dir(io, "", &err), &err);
	assert_int_equal(io->sync_count, 3);
	assert_int_equal(io->sync_dir(io, "missing", &err), -(int)ERR_NOT_FOUND);
	assert_int_equal(io->sync_dir(io, "s", &err), -(int)ERR_IO);
	assert_int_equal(err.sys, ENOTDIR);
	assert_int_equal(io->sync_count, 3);
	assert_int_equal(metric_get(METRIC_syncs_total) - counted, 3);
	io->close(io, f);
}

static void test_escapes(void **state)
{
	static const char *const rows[] = { "",     "/",         "/etc/passwd", "..",
					    "../x", "a/../../x", "a/..",        "a/../b" };
	struct io *io = ((struct world *)*state)->io;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *p = rows[i];
		struct io_file *f = (struct io_file *)1;
		struct err err = { 0 };
		int invalid = -(int)ERR_INVALID;

		CHECK_ROW(p, io->open(io, p, O_RDWR | O_CREAT, &f, &err) == invalid);
		CHECK_ROW(p, f == (struct io_file *)1);
		CHECK_ROW(p, io->rename(io, p, "ok", &err) == invalid);
		CHECK_ROW(p, io->rename(io, "ok", p, &err) == invalid);
		CHECK_ROW(p, io->unlink(io, p, &err) == invalid);
		CHECK_ROW(p, io->mkdir(io, p, &err) == invalid);
		if (p[0] != '\0')
			CHECK_ROW(p, io->sync_dir(io, p, &err) == invalid);
	}
}

static void test_errors(void **state)
{
	struct io *io = ((struct world *)*state)->io;
	struct io_file *f = NULL;
	struct io *none = NULL;
	struct err err;
	char got[10];

	assert_int_equal(io->open(io, "missing", O_RDONLY, &f, &err), -(int)ERR_NOT_FOUND);
	assert_int_equal(err.sys, ENOENT);
	assert_non_null(strstr(err.msg, "'missing'"));
	assert_int_equal(io->open(io, "no/folder", O_RDWR | O_CREAT, &f, &err),
			 -(int)ERR_NOT_FOUND);
	assert_int_equal(io->rename(io, "missing", "x", &err), -(int)ERR_NOT_FOUND);
	assert_null(f);

	CHECK_OK(io->open(io, "short", O_RDWR | O_CREAT, &f, &err), &err);
	CHECK_OK(io->pwrite(io, f, "12345", 5, 0, &err), &err);
	assert_int_equal(io_pread(f, got, 6, 0, &err), -(int)ERR_CORRUPT);
	assert_int_equal(io_pread(f, got, 1, 5, &err), -(int)ERR_CORRUPT);
	assert_int_equal(io_pread(f, got, 1, UINT64_MAX, &err), -(int)ERR_CORRUPT);
	io->close(io, f);

	/* Opened for reading, written to. */
	CHECK_OK(io->open(io, "short", O_RDONLY, &f, &err), &err);
	assert_int_equal(io->pwrite(io, f, "x", 1, 0, &err), -(int)ERR_IO);
	assert_int_equal(io->truncate(io, f, 0, &err), -(int)ERR_IO);
	io->close(io, f);

	assert_int_equal(io_posix_new(&none, "/nonexistent-folder", &err), -(int)ERR_NOT_FOUND);
	assert_int_equal(io_posix_new(&none, "/dev/null", &err), -(int)ERR_IO);
	assert_null(none);
	io_posix_free(NULL);
}

static void test_no_space(void **state)
{
	struct io_file *f = NULL;
	struct io *dev = NULL;
	struct err err;

	(void)state;
	CHECK_OK(io_posix_new(&dev, "/dev", &err), &err);
	CHECK_OK(dev->open(dev, "full", O_RDWR, &f, &err), &err);
	assert_int_equal(dev->pwrite(dev, f, "x", 1, 0, &err), -(int)ERR_NO_SPACE);
	assert_int_equal(err.sys, ENOSPC);
	dev->close(dev, f);
	io_posix_free(dev);
}

/* The kernel takes only a part at a size limit: the rest is tried, then the error told. */
static void test_short_write(void **state)
{
	struct io *io = ((struct world *)*state)->io;
	struct rlimit before;
	struct rlimit small;
	struct io_file *f = NULL;
	struct err err;
	static char data[10000];
	uint64_t size = 0;
	void (*handler)(int);
	int rc;

	CHECK_OK(io->open(io, "big", O_RDWR | O_CREAT, &f, &err), &err);
	handler = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = io->pwrite(io, f, data, sizeof data, 0, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(rc, -(int)ERR_IO);
	assert_int_equal(err.sys, EFBIG);
	CHECK_OK(io_size(f, &size, &err), &err);
	assert_int_equal(size, 4096);
	io->close(io, f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_syncs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_escapes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test_setup_teardown(test_short_write, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
