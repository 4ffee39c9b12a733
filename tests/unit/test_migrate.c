#include "unit.h"

#include "base/hash.h"
#include "migrate_internal.h"
#include "store/sql.h"

enum {
	MORE_MAX = 16,
	START_S = 1700000000
};

struct world {
	char *dir;
	char path[600];
	struct clock_fake clock;
	struct sql_db *db;
	struct sql_conn *c;
	/* The program's own migrations, and one or two more. */
	struct sql_migration list[MORE_MAX + 2];
	size_t own;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct sql_options options = { 0 };
	struct err err;

	assert_non_null(w);
	w->dir = test_dir_new();
	snprintf(w->path, sizeof w->path, "%s/weir.db", w->dir);
	options.path = w->path;
	clock_fake_init(&w->clock, START_S);
	w->own = sql_migrations_count;
	assert_in_range(w->own, 1, MORE_MAX);
	memcpy(w->list, sql_migrations, w->own * sizeof w->list[0]);
	CHECK_OK(sql_open(&w->db, &options, &err), &err);
	CHECK_OK(sql_connect(&w->c, w->db, SQL_WRITE, &err), &err);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	sql_disconnect(w->c);
	sql_close(w->db);
	test_dir_remove(w->dir);
	free(w);
	return 0;
}

static void add(struct world *w, size_t at, const char *name, const char *text)
{
	w->list[at] = (struct sql_migration){ (uint32_t)at + 1, name, text };
}

static int64_t one(struct world *w, const char *text)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct err err;
	bool row = false;

	CHECK_OK(sql_start(&q, w->c, text, &err), &err);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_true(row);
	return sql_i64(&q, 0);
}

static int migrate(struct world *w, size_t n, struct err *err)
{
	return sql_migrate(w->c, w->list, n, &w->clock.base, err);
}

/* A new database has all of ours, and every table of the first one is STRICT. */
static void test_own(void **state)
{
	struct world *w = *state;
	AUTO(sql_end) struct sql_query q = { 0 };
	uint8_t sum[SHA256_BYTES];
	struct err err;
	bool row;

	assert_int_equal(one(w, "SELECT count(*) FROM schema_migration"), w->own);
	sha256_of(sql_migrations[0].text, strlen(sql_migrations[0].text), sum);
	CHECK_OK(sql_start(&q, w->c, "SELECT name, checksum FROM schema_migration WHERE number = 1",
			   &err),
		 &err);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	assert_true(row);
	assert_true(str_eq_z(sql_str(&q, 0), "base"));
	assert_true(str_eq(sql_str(&q, 1), str_make(sum, sizeof sum)));
	assert_int_equal(one(w, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' "
				"AND strict = 0 AND name NOT LIKE 'sqlite_%'"),
			 0);
	assert_int_equal(one(w, "SELECT count(*) FROM counter WHERE value = 0 AND name IN "
				"('generation', 'intake', 'sighting', 'id')"),
			 4);
}

/* Every foreign key's columns lead an index of their table, or a deletion reads all rows. */
static void test_foreign_keys_have_indexes(void **state)
{
	struct world *w = *state;
	AUTO(sql_end) struct sql_query q = { 0 };
	struct err err;
	bool row;

	CHECK_OK(sql_start(&q, w->c,
			   "SELECT t.name, f.\"from\" FROM pragma_table_list t, "
			   "pragma_foreign_key_list(t.name) f WHERE t.type = 'table' "
			   /* Labels are never deleted, users are disabled. */
			   "AND f.\"table\" NOT IN ('source_label', 'user') AND NOT EXISTS ("
			   "SELECT 1 FROM pragma_index_list(t.name) i, pragma_index_info(i.name) c "
			   "WHERE c.seqno = 0 AND c.name = f.\"from\" AND (i.partial = 0 "
			   /* Of the rows that have one at all: SQLite uses it for these. */
			   "OR i.name = 'analysis_inside')) "
			   /* The key of the table itself needs none. */
			   "AND (SELECT count(*) FROM pragma_table_info(t.name) k WHERE k.pk > 0 "
			   "AND k.type = 'INTEGER' AND (k.name = f.\"from\" OR k.pk > 1)) <> 1",
			   &err),
		 &err);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	if (row)
		fail_msg("no index for " STR_FMT "." STR_FMT, STR_ARG(sql_str(&q, 0)),
			 STR_ARG(sql_str(&q, 1)));
}

static void test_again_is_nothing(void **state)
{
	struct world *w = *state;
	struct err err;

	clock_fake_advance(&w->clock, 1000000);
	CHECK_OK(migrate(w, w->own, &err), &err);
	assert_int_equal(one(w, "SELECT count(*) FROM schema_migration"), w->own);
}

static void test_more(void **state)
{
	struct world *w = *state;
	struct err err;

	add(w, w->own, "colour",
	    "CREATE TABLE colour (name TEXT) STRICT; INSERT INTO colour VALUES ('blue');");
	add(w, w->own + 1, "shade", "ALTER TABLE colour ADD COLUMN shade INTEGER");
	CHECK_OK(migrate(w, w->own + 2, &err), &err);
	assert_int_equal(one(w, "SELECT count(*) FROM colour WHERE shade IS NULL"), 1);
	assert_int_equal(one(w, "SELECT max(applied_unix_s) FROM schema_migration "
				"WHERE name IN ('colour', 'shade')"),
			 START_S);
}

/* One that fails in its middle leaves nothing of itself, and all before it. */
static void test_failing(void **state)
{
	struct world *w = *state;
	struct err err;

	add(w, w->own, "colour", "CREATE TABLE colour (name TEXT) STRICT;");
	add(w, w->own + 1, "broken",
	    "CREATE TABLE shade (name TEXT) STRICT; INSERT INTO nowhere VALUES (1);");
	assert_int_equal(migrate(w, w->own + 2, &err), -ERR_IO);
	assert_non_null(strstr(err.msg, "'broken'"));
	assert_non_null(strstr(err.msg, "nowhere"));
	assert_int_equal(one(w, "SELECT count(*) FROM sqlite_schema WHERE name = 'shade'"), 0);
	assert_int_equal(one(w, "SELECT count(*) FROM colour"), 0);
	assert_int_equal(one(w, "SELECT count(*) FROM schema_migration"), w->own + 1);
	add(w, w->own + 1, "mended", "CREATE TABLE shade (name TEXT) STRICT;");
	CHECK_OK(migrate(w, w->own + 2, &err), &err);
}

static void test_changed(void **state)
{
	struct world *w = *state;
	struct err err;

	w->list[0].text = "-- other";
	assert_int_equal(migrate(w, w->own, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.msg, "migration 1 'base' was applied with another text"));
}

static void test_newer(void **state)
{
	struct world *w = *state;
	struct sql_options options = { .path = w->path };
	struct sql_db *db = NULL;
	struct err err;

	add(w, w->own, "colour", "CREATE TABLE colour (name TEXT) STRICT;");
	CHECK_OK(migrate(w, w->own + 1, &err), &err);
	assert_int_equal(sql_open(&db, &options, &err), -ERR_CORRUPT);
	assert_null(db);
	assert_non_null(strstr(err.msg, "written by a newer version"));
	assert_non_null(strstr(err.msg, "'colour'"));
	assert_non_null(strstr(err.msg, w->path));
}

static void test_gap(void **state)
{
	struct world *w = *state;
	struct err err;

	add(w, w->own, "colour", "CREATE TABLE colour (name TEXT) STRICT;");
	CHECK_OK(migrate(w, w->own + 1, &err), &err);
	CHECK_OK(sql_exec(w->c, "DELETE FROM schema_migration WHERE number = 1", &err), &err);
	assert_int_equal(migrate(w, w->own + 1, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.msg, "migration 1 is missing"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_own),
		TEST(test_foreign_keys_have_indexes),
		TEST(test_again_is_nothing),
		TEST(test_more),
		TEST(test_failing),
		TEST(test_changed),
		TEST(test_newer),
		TEST(test_gap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
