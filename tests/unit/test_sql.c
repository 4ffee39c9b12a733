#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/thread.h"
#include "fault_vfs.h"
#include "store/sql.h"

struct world {
	char *dir;
	char path[600];
	struct sql_db *db;
	struct sql_conn *c; /* writing */
};

static void world_open(struct world *w)
{
	struct sql_options options = { .path = w->path, .vfs = "fault" };
	struct err err;

	CHECK_OK(sql_open(&w->db, &options, &err), &err);
	CHECK_OK(sql_connect(&w->c, w->db, SQL_WRITE, &err), &err);
}

static void world_close(struct world *w)
{
	sql_disconnect(w->c);
	sql_close(w->db);
	w->c = NULL;
	w->db = NULL;
}

static int set_up(void **state)
{
	struct world *w = mem_must_zalloc(sizeof *w);
	struct err err;

	fault_vfs_register();
	w->dir = test_dir_new();
	snprintf(w->path, sizeof w->path, "%s/weir.db", w->dir);
	world_open(w);
	CHECK_OK(sql_exec(w->c,
			  "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL UNIQUE, "
			  "b BLOB, f REAL, n INTEGER CHECK (n < 1000), "
			  "parent INTEGER REFERENCES t (id)) STRICT",
			  &err),
		 &err);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	fault_disarm();
	world_close(w);
	test_dir_remove(w->dir);
	free(w);
	return 0;
}

static int64_t one(struct sql_conn *c, const char *text)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct err err;
	bool row = false;

	CHECK_OK(sql_start(&q, c, text, &err), &err);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_true(row);
	return sql_i64(&q, 0);
}

static int insert(struct sql_conn *c, int64_t id, struct str a, struct err *err)
{
	return sql_exec(c, "INSERT INTO t (id, a) VALUES (?1, ?2)", err, SQL_I64(id), SQL_TEXT(a));
}

static void test_values(void **state)
{
	struct world *w = *state;
	struct sql_query q = { 0 };
	struct err err;
	bool row;

	CHECK_OK(sql_exec(w->c, "INSERT INTO t (id, a, b, f, n) VALUES (?1, ?2, ?3, ?4, ?5)", &err,
			  SQL_I64(INT64_MAX), SQL_TEXT(STR("a\0b")), SQL_BLOB("\0\xff", 2),
			  SQL_F64(0.5), SQL_NULL()),
		 &err);
	CHECK_OK(sql_exec(w->c, "INSERT INTO t (id, a, b) VALUES (1, ?1, ?2)", &err,
			  SQL_TEXT(str_make(NULL, 0)), SQL_BLOB(NULL, 0)),
		 &err);
	CHECK_OK(sql_start(&q, w->c, "SELECT id, a, b, f, n FROM t ORDER BY id DESC", &err), &err);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_true(row);
	assert_true(sql_i64(&q, 0) == INT64_MAX);
	assert_true(str_eq(sql_str(&q, 1), STR("a\0b")));
	assert_true(str_eq(sql_str(&q, 2), STR("\0\xff")));
	assert_true(sql_f64(&q, 3) == 0.5);
	assert_true(sql_is_null(&q, 4));
	assert_int_equal(sql_str(&q, 4).n, 0);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_true(row);
	/* Empty is not NULL. */
	assert_false(sql_is_null(&q, 1));
	assert_false(sql_is_null(&q, 2));
	assert_int_equal(sql_str(&q, 1).n, 0);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_false(row);
	/* Past the end it stays at the end. */
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_false(row);
	sql_end(&q);
	sql_end(&q);
}

static void test_integers(void **state)
{
	static const char IDS[] = "SELECT id FROM t WHERE id > ?1 ORDER BY id LIMIT ?2";
	struct world *w = *state;
	int64_t got[3] = { 0 }, value = 0;
	size_t n = 9;
	struct err err;

	for (int64_t id = 1; id <= 4; id++)
		CHECK_OK(sql_exec(w->c, "INSERT INTO t (id, a) VALUES (?1, ?1)", &err, SQL_I64(id)),
			 &err);
	CHECK_OK(sql_one_i64(w->c, IDS, SQL_VALS(SQL_I64(2), SQL_I64(1)), -7, &value, &err), &err);
	assert_int_equal(value, 3);
	CHECK_OK(sql_one_i64(w->c, IDS, SQL_VALS(SQL_I64(4), SQL_I64(1)), -7, &value, &err), &err);
	assert_int_equal(value, -7);
	CHECK_OK(sql_all_i64(w->c, IDS, SQL_VALS(SQL_I64(1), SQL_I64(3)), got, 3, &n, &err), &err);
	assert_int_equal(n, 3);
	assert_true(got[0] == 2 && got[1] == 3 && got[2] == 4);
	CHECK_OK(sql_all_i64(w->c, IDS, SQL_VALS(SQL_I64(4), SQL_I64(3)), got, 3, &n, &err), &err);
	assert_int_equal(n, 0);
	n = 9;
	assert_int_not_equal(sql_all_i64(w->c, "SELECT x FROM t", NULL, 0, got, 3, &n, &err), 0);
	assert_int_not_equal(sql_one_i64(w->c, "SELECT x FROM t", NULL, 0, 0, &value, &err), 0);
	assert_int_equal(n, 9);
	assert_int_equal(value, -7);
}

static void test_changes(void **state)
{
	struct world *w = *state;
	struct err err;
	uint64_t n = 7;

	CHECK_OK(insert(w->c, 1, STR("x"), &err), &err);
	CHECK_OK(insert(w->c, 2, STR("y"), &err), &err);
	CHECK_OK(sql_exec_vals(w->c, "UPDATE t SET n = 1", NULL, 0, &n, &err), &err);
	assert_int_equal(n, 2);
	CHECK_OK(sql_exec_vals(w->c, "UPDATE t SET n = 1 WHERE id > 5", NULL, 0, &n, &err), &err);
	assert_int_equal(n, 0);
}

static void test_constraints(void **state)
{
	static const struct {
		const char *row, *text;
		enum err_kind kind;
		const char *says;
	} rows[] = {
		{ "unique", "INSERT INTO t (id, a) VALUES (2, 'x')", ERR_EXISTS, "t.a" },
		{ "primary key", "INSERT INTO t (id, a) VALUES (1, 'z')", ERR_EXISTS, "t.id" },
		{ "not null", "INSERT INTO t (id) VALUES (3)", ERR_INVALID, "t.a" },
		{ "check", "INSERT INTO t (id, a, n) VALUES (3, 'z', 1000)", ERR_INVALID, "CHECK" },
		{ "strict type", "INSERT INTO t (id, a, n) VALUES (3, 'z', 'many')", ERR_INVALID,
		  "cannot store TEXT" },
		{ "foreign key", "INSERT INTO t (id, a, parent) VALUES (3, 'z', 77)", ERR_INVALID,
		  "FOREIGN KEY" },
		{ "no such table", "SELECT 1 FROM nowhere", ERR_IO, "no such table" },
		{ "double quotes are no text", "SELECT \"text\"", ERR_IO, "no such column" },
	};
	struct world *w = *state;
	struct err err;

	CHECK_OK(insert(w->c, 1, STR("x"), &err), &err);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		memset(&err, 0, sizeof err);
		CHECK_ROW(rows[i].row, sql_exec(w->c, rows[i].text, &err) == -(int)rows[i].kind);
		CHECK_ROW(rows[i].row, err.kind == rows[i].kind);
		CHECK_ROW(rows[i].row, strstr(err.msg, rows[i].says) != NULL);
		CHECK_ROW(rows[i].row, sql_exec(w->c, rows[i].text, NULL) == -(int)rows[i].kind);
	}
	assert_int_equal(one(w->c, "SELECT count(*) FROM t"), 1);
}

static void test_too_large(void **state)
{
	struct world *w = *state;
	struct err err;
	size_t n = 70u << 20;
	AUTO(mem_drop) char *big = calloc(1, n);

	assert_non_null(big);
	assert_int_equal(sql_exec(w->c, "INSERT INTO t (id, a, b) VALUES (1, 'x', ?1)", &err,
				  SQL_BLOB(big, n)),
			 -ERR_TOO_LARGE);
	assert_int_equal(one(w->c, "SELECT count(*) FROM t"), 0);
}

/* One text, two runs at once: each has its own values and place. */
static void test_same_text_twice(void **state)
{
	static const char text[] = "SELECT id FROM t WHERE id >= ?1 ORDER BY id";
	struct world *w = *state;
	struct sql_query a = { 0 }, b = { 0 };
	struct err err;
	bool row;

	for (int i = 1; i <= 3; i++) {
		char name = (char)('a' + i);

		CHECK_OK(insert(w->c, i, str_make(&name, 1), &err), &err);
	}
	CHECK_OK(sql_start(&a, w->c, text, &err, SQL_I64(1)), &err);
	CHECK_OK(sql_next(&a, &row, &err), &err);
	CHECK_OK(sql_start(&b, w->c, text, &err, SQL_I64(3)), &err);
	CHECK_OK(sql_next(&b, &row, &err), &err);
	assert_int_equal(sql_i64(&b, 0), 3);
	assert_int_equal(sql_i64(&a, 0), 1);
	sql_end(&b);
	CHECK_OK(sql_next(&a, &row, &err), &err);
	assert_int_equal(sql_i64(&a, 0), 2);
	sql_end(&a);
}

/* A buffer's content changes at the same address; many texts are forgotten in turn. */
static void test_changing_texts(void **state)
{
	struct world *w = *state;
	struct sql_query held = { 0 };
	struct err err;
	char text[64];
	bool row;

	CHECK_OK(insert(w->c, 1, STR("x"), &err), &err);
	CHECK_OK(insert(w->c, 2, STR("y"), &err), &err);
	CHECK_OK(sql_start(&held, w->c, "SELECT id FROM t ORDER BY id", &err), &err);
	CHECK_OK(sql_next(&held, &row, &err), &err);
	for (int i = 0; i < 3 * SQL_STATEMENTS_MAX; i++) {
		snprintf(text, sizeof text, "SELECT %d", i);
		assert_int_equal(one(w->c, text), i);
		assert_int_equal(one(w->c, text), i);
	}
	CHECK_OK(sql_next(&held, &row, &err), &err);
	assert_true(row);
	assert_int_equal(sql_i64(&held, 0), 2);
	sql_end(&held);
}

static void test_transactions(void **state)
{
	struct world *w = *state;
	struct err err;

	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(insert(w->c, 1, STR("a"), &err), &err);
	CHECK_OK(sql_savepoint(w->c, &err), &err);
	CHECK_OK(insert(w->c, 2, STR("b"), &err), &err);
	sql_savepoint_rollback(w->c);
	assert_true(sql_in_transaction(w->c));
	CHECK_OK(sql_savepoint(w->c, &err), &err);
	CHECK_OK(insert(w->c, 3, STR("c"), &err), &err);
	CHECK_OK(sql_savepoint_release(w->c, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	assert_int_equal(one(w->c, "SELECT sum(id) FROM t"), 4);
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(insert(w->c, 4, STR("d"), &err), &err);
	sql_rollback(w->c);
	sql_rollback(w->c);
	assert_false(sql_in_transaction(w->c));
	assert_int_equal(one(w->c, "SELECT sum(id) FROM t"), 4);
}

static int body_busy(struct sql_conn *c, void *arg, struct err *err)
{
	int *left = arg;

	TRY(insert(c, 1, STR("a"), err));
	if (*left == 0)
		return 0;
	--*left;
	return err_set(err, ERR_BUSY, "lost");
}

static void test_transact_retries(void **state)
{
	struct world *w = *state;
	struct err err;
	int left = SQL_RETRIES_MAX;

	assert_int_equal(sql_transact(w->c, body_busy, &left, &err), -ERR_BUSY);
	assert_int_equal(left, 0);
	assert_int_equal(one(w->c, "SELECT count(*) FROM t"), 0);
	left = SQL_RETRIES_MAX - 1;
	CHECK_OK(sql_transact(w->c, body_busy, &left, &err), &err);
	assert_int_equal(one(w->c, "SELECT count(*) FROM t"), 1);
	/* Another failure is final. */
	assert_int_equal(sql_transact(w->c, body_busy, &left, &err), -ERR_EXISTS);
	assert_false(sql_in_transaction(w->c));
}

/* A reader sees its snapshot until it lets go, and cannot write. */
static void test_readers(void **state)
{
	struct world *w = *state;
	struct sql_conn *r = NULL, *again = NULL;
	struct err err;

	CHECK_OK(sql_reader_take(&r, w->db, &err), &err);
	CHECK_OK(sql_begin(r, &err), &err);
	assert_int_equal(one(r, "SELECT count(*) FROM t"), 0);
	CHECK_OK(insert(w->c, 1, STR("a"), &err), &err);
	assert_int_equal(one(r, "SELECT count(*) FROM t"), 0);
	CHECK_OK(sql_commit(r, &err), &err);
	assert_int_equal(one(r, "SELECT count(*) FROM t"), 1);
	assert_int_equal(insert(r, 2, STR("b"), &err), -ERR_IO);
	assert_int_equal(err.sys, EROFS);
	assert_non_null(strstr(err.msg, "read-only"));
	sql_reader_give(w->db, r);
	CHECK_OK(sql_reader_take(&again, w->db, &err), &err);
	assert_ptr_equal(r, again);
	sql_reader_give(w->db, again);
}

struct taker {
	struct sql_db *db;
	struct sql_conn *c;
};

static void taker_run(void *arg)
{
	struct taker *t = arg;
	struct err err;

	CHECK_OK(sql_reader_take(&t->c, t->db, &err), &err);
}

static void test_readers_are_bounded(void **state)
{
	struct world *w = *state;
	struct sql_conn *out[SQL_READERS_MAX];
	struct taker taker = { w->db, NULL };
	struct thread t = { 0 };
	struct err err;

	for (size_t i = 0; i < COUNT_OF(out); i++)
		CHECK_OK(sql_reader_take(&out[i], w->db, &err), &err);
	CHECK_OK(thread_start(&t, "taker", taker_run, &taker, &err), &err);
	sql_reader_give(w->db, out[7]);
	thread_join(&t);
	assert_ptr_equal(taker.c, out[7]);
	out[7] = taker.c;
	for (size_t i = 0; i < COUNT_OF(out); i++)
		sql_reader_give(w->db, out[i]);
}

/* Our own mistakes stop the process where they are made. */
static void wrong_count(void *arg)
{
	struct world *w = arg;

	(void)!sql_exec(w->c, "SELECT ?1, ?2", NULL, SQL_I64(1));
}

static void wrong_column(void *arg)
{
	struct world *w = arg;
	struct sql_query q = { 0 };
	bool row;

	if (sql_start(&q, w->c, "SELECT 1", NULL) == 0 && sql_next(&q, &row, NULL) == 0)
		(void)sql_i64(&q, 1);
}

static void two_statements(void *arg)
{
	struct world *w = arg;

	(void)!sql_exec(w->c, "SELECT 1; SELECT 2", NULL);
}

static void query_left_running(void *arg)
{
	struct world *w = arg;
	struct sql_query q = { 0 };

	if (sql_begin(w->c, NULL) == 0 && sql_start(&q, w->c, "SELECT 1", NULL) == 0)
		(void)!sql_commit(w->c, NULL);
}

static void test_misuse(void **state)
{
	struct world *w = *state;

	assert_true(test_aborts(wrong_count, w, "bind_parameter_count"));
	assert_true(test_aborts(wrong_column, w, "column"));
	assert_true(test_aborts(two_statements, w, "tail"));
	assert_true(test_aborts(query_left_running, w, "running == 0"));
}

static void test_syncs_are_counted(void **state)
{
	struct world *w = *state;
	struct sql_options options = { .path = w->path };
	int64_t before;
	struct err err;

	world_close(w);
	for (int no_sync = 0; no_sync <= 1; no_sync++) {
		options.unsafe_no_sync = no_sync;
		CHECK_OK(sql_open(&w->db, &options, &err), &err);
		CHECK_OK(sql_connect(&w->c, w->db, SQL_WRITE, &err), &err);
		CHECK_OK(insert(w->c, no_sync, no_sync ? STR("b") : STR("a"), &err), &err);
		before = metric_get(METRIC_syncs_total);
		for (int i = 1; i <= 5; i++)
			CHECK_OK(sql_exec(w->c, "UPDATE t SET n = ?1", &err, SQL_I64(i)), &err);
		assert_int_equal(metric_get(METRIC_syncs_total) - before, no_sync ? 0 : 5);
		world_close(w);
	}
	world_open(w);
}

static void test_checkpoint(void **state)
{
	struct world *w = *state;
	struct err err;

	CHECK_OK(insert(w->c, 1, STR("a"), &err), &err);
	assert_true(sql_log_pages(w->c) > 0);
	CHECK_OK(sql_checkpoint(w->c, &err), &err);
	assert_int_equal(sql_log_pages(w->c), 0);
	CHECK_OK(insert(w->c, 2, STR("b"), &err), &err);
	/* The log starts from its beginning again. */
	assert_in_range(sql_log_pages(w->c), 1, 8);
}

static void test_backup(void **state)
{
	struct world *w = *state;
	char path[700];
	struct sql_options options = { .path = path };
	struct sql_db *copy = NULL;
	struct sql_conn *r = NULL;
	struct err err;

	snprintf(path, sizeof path, "%s/copy.db", w->dir);
	CHECK_OK(insert(w->c, 1, STR("a"), &err), &err);
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(insert(w->c, 2, STR("not yet"), &err), &err);
	CHECK_OK(sql_backup(w->db, path, NULL, NULL, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	assert_int_equal(sql_backup(w->db, path, NULL, NULL, &err), -ERR_EXISTS);
	CHECK_OK(sql_open(&copy, &options, &err), &err);
	CHECK_OK(sql_reader_take(&r, copy, &err), &err);
	assert_int_equal(one(r, "SELECT count(*) FROM t"), 1);
	sql_reader_give(copy, r);
	CHECK_OK(sql_check(copy, &err), &err);
	sql_close(copy);
	/* A copy that fails is not left behind. */
	assert_int_equal(unlink(path), 0);
	fault_arm(FAULT_WRITE, 3, SQLITE_FULL, true);
	assert_int_equal(sql_backup(w->db, path, NULL, NULL, &err), -ERR_NO_SPACE);
	fault_disarm();
	assert_int_equal(access(path, F_OK), -1);
}

static void test_check(void **state)
{
	struct world *w = *state;
	sqlite3 *raw = NULL;
	struct err err;

	CHECK_OK(sql_check(w->db, &err), &err);
	assert_int_equal(sqlite3_open(w->path, &raw), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, "INSERT INTO t (id, a, parent) VALUES (5, 'x', 99)",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_close(raw), SQLITE_OK);
	assert_int_equal(sql_check(w->db, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.msg, "'t'"));
}

static void test_damaged_file(void **state)
{
	struct world *w = *state;
	struct sql_options options = { .path = w->path };
	struct sql_db *db = NULL;
	struct err err;
	char junk[8192];
	int fd;

	world_close(w);
	memset(junk, 'x', sizeof junk);
	fd = open(w->path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
	close(fd);
	assert_int_equal(sql_open(&db, &options, &err), -ERR_CORRUPT);
	assert_null(db);
	assert_non_null(strstr(err.msg, w->path));
	assert_int_equal(unlink(w->path), 0);
	world_open(w);
}

static void test_open_errors(void **state)
{
	struct world *w = *state;
	struct sql_options options = { .path = w->path, .vfs = "fault" };
	struct sql_options nowhere = { .path = "/nowhere/at/all/weir.db" };
	struct sql_options no_vfs = { .path = w->path, .vfs = "no such vfs" };
	struct sql_db *db = NULL;
	struct err err;

	assert_int_equal(sql_open(&db, &nowhere, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.msg, "/nowhere/at/all"));
	assert_int_equal(sql_open(&db, &no_vfs, &err), -ERR_IO);
	assert_non_null(strstr(err.msg, "no such vfs"));
	fault.read_only = true;
	assert_int_equal(sql_open(&db, &options, &err), -ERR_IO);
	fault.read_only = false;
	assert_int_equal(err.sys, EROFS);
	assert_non_null(strstr(err.msg, "read-only"));
	assert_null(db);
}

/* The n-th write of a commit fails, n = 1, 2, …: nothing of it stays, the next one works. */
static void test_failing_writes(void **state)
{
	static const struct {
		const char *row;
		int code;
		enum err_kind kind;
	} rows[] = {
		{ "full", SQLITE_FULL, ERR_NO_SPACE },
		{ "write error", SQLITE_IOERR_WRITE, ERR_IO },
		{ "read-only", SQLITE_READONLY, ERR_IO },
	};
	struct world *w = *state;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t have = one(w->c, "SELECT count(*) FROM t");
		char name[32];
		int n = 0;

		for (;;) {
			snprintf(name, sizeof name, "%s %d", rows[i].row, ++n);
			CHECK_OK(sql_begin(w->c, &err), &err);
			CHECK_OK(insert(w->c, have + 1, str_of(name), &err), &err);
			fault_arm(FAULT_WRITE, n, rows[i].code, false);
			if (sql_commit(w->c, &err) == 0)
				break;
			fault_disarm();
			CHECK_ROW(rows[i].row, err.kind == rows[i].kind);
			CHECK_ROW(rows[i].row, !sql_in_transaction(w->c));
			CHECK_ROW(rows[i].row, one(w->c, "SELECT count(*) FROM t") == have);
		}
		fault_disarm();
		CHECK_ROW(rows[i].row, n > 2);
		CHECK_ROW(rows[i].row, one(w->c, "SELECT count(*) FROM t") == have + 1);
		CHECK_OK(sql_check(w->db, &err), &err);
	}
}

/* A failed sync leaves a commit mark that a recovery may find. */
static void test_failing_sync(void **state)
{
	struct world *w = *state;
	struct err err;

	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(insert(w->c, 1, STR("a"), &err), &err);
	fault_arm(FAULT_SYNC, 1, SQLITE_IOERR_FSYNC, false);
	assert_int_equal(sql_commit(w->c, &err), -ERR_UNCERTAIN);
	assert_int_equal(fault.failed, 1);
	assert_false(sql_in_transaction(w->c));
}

/* A disk that fills up inside a savepoint: the transaction is gone, and says so. */
static void test_full_in_savepoint(void **state)
{
	struct world *w = *state;
	AUTO(mem_drop) char *big = calloc(1, 1 << 20);
	struct err err;
	int rc = 0;

	assert_non_null(big);
	CHECK_OK(sql_exec(w->c, "PRAGMA cache_size = 10", &err), &err);
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(insert(w->c, 1, STR("first"), &err), &err);
	CHECK_OK(sql_savepoint(w->c, &err), &err);
	fault_arm(FAULT_WRITE, 5, SQLITE_FULL, true);
	for (int i = 2; i < 20 && rc == 0; i++)
		rc = sql_exec(w->c, "INSERT INTO t (id, a, b) VALUES (?1, ?1, ?2)", &err,
			      SQL_I64(i), SQL_BLOB(big, 1 << 20));
	assert_int_equal(rc, -ERR_NO_SPACE);
	sql_savepoint_rollback(w->c);
	fault_disarm();
	if (sql_in_transaction(w->c))
		CHECK_OK(sql_commit(w->c, &err), &err);
	assert_in_range(one(w->c, "SELECT count(*) FROM t"), 0, 1);
	CHECK_OK(sql_check(w->db, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_values),
		TEST(test_changes),
		TEST(test_integers),
		TEST(test_constraints),
		TEST(test_too_large),
		TEST(test_same_text_twice),
		TEST(test_changing_texts),
		TEST(test_transactions),
		TEST(test_transact_retries),
		TEST(test_readers),
		TEST(test_readers_are_bounded),
		TEST(test_misuse),
		TEST(test_syncs_are_counted),
		TEST(test_checkpoint),
		TEST(test_backup),
		TEST(test_check),
		TEST(test_damaged_file),
		TEST(test_open_errors),
		TEST(test_failing_writes),
		TEST(test_failing_sync),
		TEST(test_full_in_savepoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
