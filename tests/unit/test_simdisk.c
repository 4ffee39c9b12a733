#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "simdisk.h"

static int set_up(void **state)
{
	*state = test_dir_new();
	return 0;
}

static int tear_down(void **state)
{
	test_dir_remove(*state);
	return 0;
}

static struct simdisk *disk_new(const char *dir, struct simdisk_options options)
{
	struct simdisk *d;
	struct err err;

	CHECK_OK(simdisk_new(&d, dir, &options, &err), &err);
	return d;
}

static void image(struct simdisk *d)
{
	struct err err;

	CHECK_OK(simdisk_crash_image(d, &err), &err);
}

/* Bytes of a file that survived, or -1. */
static long survivor(struct simdisk *d, const char *name, char *out, size_t max)
{
	char path[512];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", simdisk_durable(d), name);
	f = fopen(path, "rb");
	if (!f)
		return -1;
	n = fread(out, 1, max, f);
	fclose(f);
	return (long)n;
}

static struct io_file *file_with(struct simdisk *d, const char *name, const char *text)
{
	struct io *io = simdisk_io(d);
	struct io_file *f;
	struct err err;

	CHECK_OK(io->open(io, name, O_RDWR | O_CREAT, &f, &err), &err);
	CHECK_OK(io->pwrite(io, f, text, strlen(text), 0, &err), &err);
	return f;
}

/* What was synced, names too, is there whatever the lots are. */
static void test_kept(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct simdisk *d = disk_new(*state, (struct simdisk_options){ .seed = seed });
		struct io *io = simdisk_io(d);
		struct io_file *f, *g;
		struct err err;
		char got[32];

		if (seed > 0)
			CHECK_OK(io->unlink(io, "a/y", &err), &err);
		CHECK_OK(io->mkdir(io, "a", &err), &err);
		f = file_with(d, "a/x", "hello");
		g = file_with(d, "gone", "gone");
		CHECK_OK(io->sync(io, f, &err), &err);
		CHECK_OK(io->sync(io, g, &err), &err);
		CHECK_OK(io->sync_dir(io, "", &err), &err);
		CHECK_OK(io->rename(io, "a/x", "a/y", &err), &err);
		CHECK_OK(io->unlink(io, "gone", &err), &err);
		CHECK_OK(io->sync_dir(io, "a", &err), &err);
		CHECK_OK(io->sync_dir(io, "", &err), &err);
		CHECK_OK(io->pwrite(io, f, "!", 1, 5, &err), &err);
		CHECK_OK(io->sync(io, f, &err), &err);
		assert_int_equal(io->sync_count, 6);
		assert_int_equal(simdisk_syncs(d), 6);
		image(d);
		io->close(io, f);
		io->close(io, g);
		assert_int_equal(survivor(d, "a/y", got, sizeof got), 6);
		assert_memory_equal(got, "hello!", 6);
		assert_int_equal(survivor(d, "a/x", got, sizeof got), -1);
		assert_int_equal(survivor(d, "gone", got, sizeof got), -1);
		simdisk_free(d);
	}
}

/* What was not is lost, kept, cut short, zero or garbage: each with some seed. */
static void test_lost(void **state)
{
	unsigned missing = 0, empty = 0, whole = 0, part = 0, zeros = 0, other = 0;

	for (uint64_t seed = 0; seed < 300; seed++) {
		char *dir = test_dir_new();
		struct simdisk *d = disk_new(dir, (struct simdisk_options){ .seed = seed });
		struct io *io = simdisk_io(d);
		struct io_file *f = file_with(d, "x", "0123456789");
		char got[32];
		long n;

		io->close(io, f);
		image(d);
		n = survivor(d, "x", got, sizeof got);
		if (n < 0)
			missing++;
		else if (n == 0)
			empty++;
		else if (memcmp(got, "0123456789", (size_t)n) == 0)
			n == 10 ? whole++ : part++;
		else if (n == 10 && memcmp(got, "\0\0\0\0\0\0\0\0\0\0", 10) == 0)
			zeros++;
		else
			other++;
		simdisk_free(d);
		test_dir_remove(dir);
	}
	assert_in_range(missing, 100, 200);
	assert_true(empty > 0 && whole > 0 && part > 0 && zeros > 0 && other > 0);
	(void)state;
}

/* Of two unsynced writes the later may survive alone; an overwrite may stay old. */
static void test_reordered(void **state)
{
	unsigned later_alone = 0, old = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		char *dir = test_dir_new();
		struct simdisk *d = disk_new(dir, (struct simdisk_options){ .seed = seed });
		struct io *io = simdisk_io(d);
		struct io_file *f = file_with(d, "x", "aaaabbbb");
		struct err err;
		char got[32];

		CHECK_OK(io->sync(io, f, &err), &err);
		CHECK_OK(io->sync_dir(io, "", &err), &err);
		CHECK_OK(io->pwrite(io, f, "AAAA", 4, 0, &err), &err);
		CHECK_OK(io->pwrite(io, f, "BBBB", 4, 4, &err), &err);
		io->close(io, f);
		image(d);
		assert_int_equal(survivor(d, "x", got, sizeof got), 8);
		later_alone += memcmp(got, "aaaaBBBB", 8) == 0;
		old += memcmp(got, "aaaabbbb", 8) == 0;
		simdisk_free(d);
		test_dir_remove(dir);
	}
	assert_true(later_alone > 0 && old > 0);
}

/* A synced file without a synced name may be lost: strict POSIX. */
static void test_names_need_their_folder(void **state)
{
	unsigned lost = 0, kept = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		char *dir = test_dir_new();
		struct simdisk *d = disk_new(dir, (struct simdisk_options){ .seed = seed });
		struct io *io = simdisk_io(d);
		struct io_file *f = file_with(d, "x", "data");
		struct err err;
		char got[8];
		long n;

		CHECK_OK(io->sync(io, f, &err), &err);
		io->close(io, f);
		image(d);
		n = survivor(d, "x", got, sizeof got);
		assert_true(n == 4 || n == -1);
		n == 4 ? kept++ : lost++;
		simdisk_free(d);
		test_dir_remove(dir);
	}
	assert_true(lost > 0 && kept > 0);
}

/* The power goes at the asked sync, with or without effect, and nothing works after. */
static void test_crash_point(void **state)
{
	unsigned effect = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		char *dir = test_dir_new();
		struct simdisk *d =
			disk_new(dir, (struct simdisk_options){ .seed = seed, .crash_at_sync = 3 });
		struct io *io = simdisk_io(d);
		struct io_file *f = file_with(d, "x", "one"), *g;
		struct err err;
		char got[8];

		CHECK_OK(io->sync(io, f, &err), &err);
		CHECK_OK(io->sync_dir(io, "", &err), &err);
		CHECK_OK(io->pwrite(io, f, "two", 3, 0, &err), &err);
		assert_false(simdisk_is_off(d));
		assert_int_equal(io->sync(io, f, &err), -ERR_IO);
		assert_true(simdisk_is_off(d));
		assert_int_equal(io->sync(io, f, &err), -ERR_IO);
		assert_int_equal(io->pwrite(io, f, "no!", 3, 0, &err), -ERR_IO);
		assert_int_equal(io->truncate(io, f, 0, &err), -ERR_IO);
		assert_int_equal(io->rename(io, "x", "y", &err), -ERR_IO);
		assert_int_equal(io->unlink(io, "x", &err), -ERR_IO);
		assert_int_equal(io->mkdir(io, "m", &err), -ERR_IO);
		assert_int_equal(io->sync_dir(io, "", &err), -ERR_IO);
		assert_int_equal(io->open(io, "x", O_RDONLY, &g, &err), -ERR_IO);
		io->close(io, f);
		image(d);
		assert_int_equal(survivor(d, "x", got, sizeof got), 3);
		assert_int_not_equal(memcmp(got, "no!", 3), 0);
		effect += memcmp(got, "two", 3) == 0;
		simdisk_free(d);
		test_dir_remove(dir);
	}
	assert_in_range(effect, 1, 39);
}

static void test_no_sync(void **state)
{
	unsigned lost = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 30; seed++) {
		char *dir = test_dir_new();
		struct simdisk *d =
			disk_new(dir, (struct simdisk_options){ .seed = seed, .no_sync = true });
		struct io *io = simdisk_io(d);
		struct io_file *f = file_with(d, "x", "data");
		struct err err;
		char got[8];

		CHECK_OK(io->sync(io, f, &err), &err);
		CHECK_OK(io->sync_dir(io, "", &err), &err);
		assert_int_equal(simdisk_syncs(d), 2);
		io->close(io, f);
		image(d);
		lost += survivor(d, "x", got, sizeof got) != 4;
		simdisk_free(d);
		test_dir_remove(dir);
	}
	assert_true(lost > 0);
}

/* The n-th call fails, once; the others do not. */
static void test_faults(void **state)
{
	for (uint64_t n = 1; n <= 6; n++) {
		struct simdisk *d = disk_new(
			*state, (struct simdisk_options){ .seed = n,
							  .fail_at_call = n,
							  .fail_errno = n % 2 ? ENOSPC : EIO });
		struct io *io = simdisk_io(d);
		struct io_file *f = NULL;
		struct err err;
		int want = n % 2 ? -ERR_NO_SPACE : -ERR_IO;
		char name[16];

		snprintf(name, sizeof name, "f%d", (int)n);
		for (int round = 0; round < 2; round++) {
			uint64_t at = simdisk_calls(d);
			bool first = round == 0;

			if (!f)
				assert_int_equal(io->open(io, name, O_RDWR | O_CREAT, &f, &err),
						 first && n == at + 1 ? want : 0);
			if (!f)
				continue;
			assert_int_equal(io->pwrite(io, f, "abc", 3, 0, &err),
					 first && n == 2 ? want : 0);
			assert_int_equal(io->truncate(io, f, 2, &err), first && n == 3 ? want : 0);
			assert_int_equal(io->sync(io, f, &err), first && n == 4 ? want : 0);
			assert_int_equal(io->sync_dir(io, "", &err), first && n == 5 ? want : 0);
			assert_int_equal(io->mkdir(io, "m", &err), first && n == 6 ? want : 0);
		}
		assert_false(simdisk_is_off(d));
		io->close(io, f);
		simdisk_free(d);
	}
}

static bool sql(sqlite3 *db, const char *text)
{
	return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK;
}

enum {
	SQL_TXNS = 40
};

static sqlite3 *sql_begin(struct simdisk *d, const char *mode)
{
	char path[512];
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/t.db", simdisk_live(d));
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
			    simdisk_vfs(d)) != SQLITE_OK ||
	    !sql(db, "PRAGMA journal_mode = WAL") || !sql(db, mode) ||
	    !sql(db, "PRAGMA wal_autocheckpoint = 8") ||
	    !sql(db, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)")) {
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

/* Transactions until the power goes or all are done; returns how many were acknowledged. */
static int sql_work(struct simdisk *d, const char *mode, uint64_t seed)
{
	struct rand_seq r = { seed };
	sqlite3 *db = sql_begin(d, mode);
	int done = 0;

	while (db && done < SQL_TXNS) {
		char text[256];

		snprintf(text, sizeof text,
			 "INSERT INTO t VALUES (%d, randomblob(%d)), (%d, randomblob(100))",
			 2 * done, (int)rand_below(&r, 5000), 2 * done + 1);
		if (!sql(db, text))
			break;
		done++;
		if (rand_below(&r, 10) == 0)
			(void)sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	}
	sqlite3_close(db);
	return done;
}

static int first_int(void *arg, int n, char **values, char **names)
{
	(void)n;
	(void)names;
	*(int64_t *)arg = values[0] ? strtoll(values[0], NULL, 10) : -1;
	if (values[0] && strcmp(values[0], "ok") == 0)
		*(int64_t *)arg = 1;
	return 0;
}

static int64_t ask(sqlite3 *db, const char *text)
{
	int64_t v = -1;

	return sqlite3_exec(db, text, first_int, &v, NULL) == SQLITE_OK ? v : -1;
}

/* Are the first `done` transactions there, at most one more, each whole? */
static bool sql_survived(struct simdisk *d, int done)
{
	char path[512];
	int64_t rows, last;
	sqlite3 *db;
	bool good;

	snprintf(path, sizeof path, "%s/t.db", simdisk_durable(d));
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		sqlite3_close(db);
		return done == 0;
	}
	rows = ask(db, "SELECT count(*) FROM t");
	last = ask(db, "SELECT max(id) FROM t");
	good = done == 0 ? rows <= 2
			 : rows >= 2 * done && rows <= 2 * (done + 1) && rows % 2 == 0 &&
				   last == rows - 1 && ask(db, "PRAGMA integrity_check") == 1;
	sqlite3_close(db);
	return good;
}

static unsigned sql_losses(const char *mode, unsigned seeds, bool no_sync, unsigned *ret_cut)
{
	unsigned losses = 0;

	*ret_cut = 0;
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct rand_seq r = { seed };
		struct simdisk_options options = { .seed = seed, .no_sync = no_sync };
		char *dir = test_dir_new();
		struct simdisk *d;
		int done;

		/* About two syncs a transaction, with those of the checkpoints. */
		options.crash_at_sync = 1 + rand_below(&r, SQL_TXNS * 2);
		d = disk_new(dir, options);
		done = sql_work(d, mode, seed);
		*ret_cut += simdisk_is_off(d);
		image(d);
		losses += !sql_survived(d, done);
		simdisk_free(d);
		test_dir_remove(dir);
	}
	return losses;
}

static void test_sqlite(void **state)
{
	unsigned cut;

	(void)state;
	assert_int_equal(sql_losses("PRAGMA synchronous = FULL", 200, false, &cut), 0);
	assert_in_range(cut, 100, 200);
	/* Without syncs, SQLite's or the disk's, the same test fails. */
	assert_true(sql_losses("PRAGMA synchronous = OFF", 20, false, &cut) > 0);
	assert_true(sql_losses("PRAGMA synchronous = FULL", 20, true, &cut) > 0);
}

/* The next life begins with what the last one left. */
static void test_lives(void **state)
{
	int total = 0;

	for (uint64_t life = 1; life <= 6; life++) {
		struct simdisk *d = disk_new(
			*state, (struct simdisk_options){ .seed = life, .crash_at_sync = 9 });
		sqlite3 *db = sql_begin(d, "PRAGMA synchronous = FULL");
		int64_t rows = db ? ask(db, "SELECT count(*) FROM t") : total;

		assert_in_range(rows, total, total + 1);
		total = (int)rows;
		while (db && sql(db, "INSERT INTO t (v) VALUES (1)"))
			total++;
		sqlite3_close(db);
		assert_true(simdisk_is_off(d));
		image(d);
		simdisk_free(d);
	}
	assert_true(total > 10);
}

int main(void)
{
#define SIM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		SIM_TEST(test_kept),        SIM_TEST(test_lost),
		SIM_TEST(test_reordered),   SIM_TEST(test_names_need_their_folder),
		SIM_TEST(test_crash_point), SIM_TEST(test_no_sync),
		SIM_TEST(test_faults),      SIM_TEST(test_sqlite),
		SIM_TEST(test_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
