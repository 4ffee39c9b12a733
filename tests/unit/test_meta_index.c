/* Rows of the corpus index: ids of files, ranges of segments, what was removed, features. */
#include "store_db.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/meta_analysis.h"
#include "store/meta_index.h"
#include "store/meta_retrohunt.h"
#include "store/meta_verify.h"

enum {
	NOW_S = 1764000000,
	FOUND_BYTES = 2048
};

struct world {
	char *dir;
	struct sql_db *db;
	struct sql_conn *c;
	struct arena *arena;
	char found[FOUND_BYTES];
	/* what segment_rows_change asked and told */
	int64_t has_from; /* files from here on are in the new segment */
	int64_t dead[64];
	size_t dead_n;
	bool is_merge;
	bool is_stale; /* it said so of what comes */
};

static int set_up(void **state)
{
	struct world *w = mem_must_zalloc(sizeof *w);

	w->dir = test_db_new(&w->db, &w->c);
	w->arena = arena_new("test", 1 << 20);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	arena_free(w->arena);
	test_db_remove(w->dir, w->db, w->c);
	free(w);
	return 0;
}

static int64_t add_file(struct world *w, unsigned number, const char *corpus)
{
	struct file_row row = { .size = 100 + number,
				.corpus = str_of(corpus),
				.at = { 1, 64 + 1000 * number, 100 + number },
				.first_submission_s = NOW_S + number,
				.last_submission_s = NOW_S + number,
				.times_submitted = 1,
				.unique_sources = 1 };
	struct err err;
	int64_t id;

	memcpy(row.hashes.sha256, &number, sizeof number);
	CHECK_OK(file_row_insert(w->c, &row, &id, &err), &err);
	return id;
}

static void remove_file(struct world *w, int64_t id)
{
	struct file_row row;
	struct err err;
	int64_t erase;

	CHECK_OK(file_row_by_id(w->c, id, w->arena, &row, &err), &err);
	CHECK_OK(file_row_remove(w->c, &row, &erase, &err), &err);
}

static void add_files(struct world *w, unsigned n)
{
	for (unsigned i = 1; i <= n; i++)
		assert_int_equal(add_file(w, i, "main"), i);
}

/* ---- Ids ---- */

static void ids_are_never_given_out_again(void **state)
{
	struct world *w = *state;

	add_files(w, 3);
	remove_file(w, 3);
	remove_file(w, 2);
	assert_int_equal(add_file(w, 9, "main"), 4);
	/* One that is undone was never given out. */
	struct err err;
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(sql_savepoint(w->c, &err), &err);
	assert_int_equal(add_file(w, 10, "main"), 5);
	sql_savepoint_rollback(w->c);
	CHECK_OK(sql_commit(w->c, &err), &err);
	assert_int_equal(add_file(w, 11, "main"), 5);
}

/* ---- Segments ---- */

static bool has(size_t in, int64_t file_id, void *arg)
{
	(void)in;
	return file_id >= ((struct world *)arg)->has_from;
}

static void dead(size_t in, int64_t file_id, void *arg)
{
	struct world *w = arg;

	(void)in;
	assert_true(w->dead_n < COUNT_OF(w->dead));
	w->dead[w->dead_n++] = file_id;
}

static struct segment_row segment(int64_t id, int64_t first, int64_t last)
{
	return (struct segment_row){ .id = id,
				     .first_id = first,
				     .last_id = last,
				     .level = 2,
				     .docs = last - first + 1,
				     .bytes = 1000,
				     .sample_bytes = 9000,
				     .features_version = 3,
				     .created_s = NOW_S };
}

static int change(struct world *w, const int64_t *outs, size_t out_n, const struct segment_row *ins,
		  size_t in_n, struct err *err)
{
	const struct segment_change c = { .outs = outs,
					  .out_count = out_n,
					  .ins = ins,
					  .in_count = in_n,
					  .is_merge = w->is_merge,
					  .has = has,
					  .dead = dead,
					  .arg = w };
	int rc;

	w->dead_n = 0;
	CHECK_OK(sql_begin(w->c, err), err);
	rc = segment_rows_change(w->c, &c, &w->is_stale, err);
	if (rc)
		sql_rollback(w->c);
	else
		CHECK_OK(sql_commit(w->c, err), err);
	return rc;
}

static void list_is(struct world *w, const char *want)
{
	AUTO(mem_drop) struct segment_row *rows = NULL;
	char got[512] = "";
	struct err err;
	size_t n;

	CHECK_OK(segment_rows(w->c, &rows, &n, &err), &err);
	for (size_t i = 0; i < n; i++) {
		size_t at = strlen(got);

		snprintf(got + at, sizeof got - at, "%s%lld:%lld-%lld%s", i ? " " : "",
			 (long long)rows[i].id, (long long)rows[i].first_id,
			 (long long)rows[i].last_id, rows[i].is_stale ? "!" : "");
	}
	assert_string_equal(got, want);
}

static void segments_come_and_go_by_range(void **state)
{
	struct world *w = *state;
	const struct segment_row later = segment(1, 11, 20), first = segment(2, 1, 10);
	const struct segment_row both = segment(3, 1, 20), over[] = {
		segment(9, 20, 30),
		segment(9, 5, 6),
		segment(9, 1, 40),
		segment(9, 10, 11),
	};
	const int64_t outs[] = { 1, 2 }, gone[] = { 3, 1 };
	AUTO(mem_drop) struct segment_row *rows = NULL;
	struct err err;
	size_t n;

	CHECK_OK(segment_rows(w->c, &rows, &n, &err), &err);
	assert_int_equal(n, 0);
	assert_null(rows);
	CHECK_OK(change(w, NULL, 0, &later, 1, &err), &err);
	CHECK_OK(change(w, NULL, 0, &first, 1, &err), &err);
	list_is(w, "2:1-10 1:11-20");
	for (size_t i = 0; i < COUNT_OF(over); i++) {
		assert_int_equal(change(w, NULL, 0, &over[i], 1, &err), -ERR_EXISTS);
		assert_non_null(strstr(err.msg, "in another segment already"));
	}
	CHECK_OK(change(w, outs, 2, &both, 1, &err), &err);
	list_is(w, "3:1-20");
	/* A merge that lost an input: nothing of it happens. */
	assert_int_equal(change(w, gone, 2, &first, 1, &err), -ERR_NOT_FOUND);
	assert_string_equal(err.msg, "segment 1 is gone");
	list_is(w, "3:1-20");
	CHECK_OK(segment_rows(w->c, &rows, &n, &err), &err);
	assert_int_equal(rows[0].level, 2);
	assert_int_equal(rows[0].docs, 20);
	assert_int_equal(rows[0].bytes, 1000);
	assert_int_equal(rows[0].sample_bytes, 9000);
	assert_int_equal(rows[0].features_version, 3);
	assert_int_equal(rows[0].created_s, NOW_S);
}

static void note_id(int64_t file_id, void *arg)
{
	dead(0, file_id, arg);
}

static void deleted_are(struct world *w, int64_t first, int64_t last, const char *want)
{
	char got[512] = "";
	struct err err;

	w->dead_n = 0;
	CHECK_OK(segment_deleted_each(w->c, first, last, note_id, w, &err), &err);
	for (size_t i = 0; i < w->dead_n; i++) {
		size_t at = strlen(got);

		snprintf(got + at, sizeof got - at, "%s%lld", i ? " " : "", (long long)w->dead[i]);
	}
	assert_string_equal(got, want);
}

/* Removed files are told until a segment is written that has them no more. */
static void removed_files_are_forgotten_with_their_segment(void **state)
{
	struct world *w = *state;
	const struct segment_row one = segment(1, 1, 6), two = segment(2, 1, 6);
	const int64_t outs[] = { 1 };
	struct err err;

	add_files(w, 10);
	remove_file(w, 2); /* before the segment is written */
	remove_file(w, 5); /* while it is written: it has it */
	remove_file(w, 8); /* beyond it */
	w->has_from = 3;
	CHECK_OK(change(w, NULL, 0, &one, 1, &err), &err);
	assert_int_equal(w->dead_n, 1);
	assert_int_equal(w->dead[0], 5);
	deleted_are(w, 1, 10, "5 8");
	remove_file(w, 6);
	deleted_are(w, 1, 6, "5 6");
	deleted_are(w, 6, 6, "6");
	w->has_from = 6;
	CHECK_OK(change(w, outs, 1, &two, 1, &err), &err);
	deleted_are(w, 1, 10, "6 8");
}

/* Also where nothing comes: all of it was removed, or its end was. */
static void removed_files_are_forgotten_with_their_range(void **state)
{
	struct world *w = *state;
	const struct segment_row one = segment(1, 1, 6), two = segment(2, 7, 10);
	const struct segment_row shorter = segment(3, 1, 4);
	const int64_t outs[] = { 1 }, last[] = { 3 };
	struct err err;

	add_files(w, 10);
	CHECK_OK(change(w, NULL, 0, &one, 1, &err), &err);
	CHECK_OK(change(w, NULL, 0, &two, 1, &err), &err);
	for (int64_t id = 4; id <= 7; id++)
		remove_file(w, id);
	CHECK_OK(change(w, outs, 1, &shorter, 1, &err), &err);
	deleted_are(w, 1, 10, "4 7");
	CHECK_OK(change(w, last, 1, NULL, 0, &err), &err);
	deleted_are(w, 1, 10, "7");
}

/* More than are looked at together. */
static void many_removed_files(void **state)
{
	struct world *w = *state;
	const struct segment_row one = segment(1, 1, 2000);
	uint64_t left;
	struct err err;

	add_files(w, 1000);
	CHECK_OK(sql_begin(w->c, &err), &err);
	for (int64_t id = 1; id <= 1000; id++)
		remove_file(w, id);
	CHECK_OK(sql_commit(w->c, &err), &err);
	w->has_from = 961;
	CHECK_OK(change(w, NULL, 0, &one, 1, &err), &err);
	assert_int_equal(w->dead_n, 40);
	assert_int_equal(w->dead[39], 1000);
	w->dead_n = 0;
	CHECK_OK(segment_deleted_each(w->c, 1, 1000, note_id, w, &err), &err);
	assert_int_equal(w->dead_n, 40);
	CHECK_OK(index_files_count(w->c, 1, 1000, &left, &err), &err);
	assert_int_equal(left, 0);
}

static void segments_to_be_built_anew(void **state)
{
	struct world *w = *state;
	const struct segment_row one = segment(1, 1, 10), two = segment(2, 11, 20);
	uint64_t n, bytes;
	struct err err;

	CHECK_OK(change(w, NULL, 0, &one, 1, &err), &err);
	CHECK_OK(change(w, NULL, 0, &two, 1, &err), &err);
	assert_int_equal(segment_rows_set_stale(w->c, 7, &n, &err), -ERR_NOT_FOUND);
	assert_string_equal(err.msg, "there is no segment 7");
	CHECK_OK(segment_rows_set_stale(w->c, 2, &n, &err), &err);
	assert_int_equal(n, 1);
	CHECK_OK(segment_rows_set_stale(w->c, 2, &n, &err), &err);
	assert_int_equal(n, 0);
	list_is(w, "1:1-10 2:11-20!");
	CHECK_OK(segment_rows_stale(w->c, &n, &bytes, &err), &err);
	assert_int_equal(n, 1);
	assert_int_equal(bytes, 9000);
	CHECK_OK(segment_rows_set_stale(w->c, 0, &n, &err), &err);
	assert_int_equal(n, 1);
	list_is(w, "1:1-10! 2:11-20!");
}

/* Marked while they were merged: what comes was made of what is to be replaced. */
static void a_merge_hands_the_mark_on(void **state)
{
	struct world *w = *state;
	const struct segment_row one = segment(1, 1, 10), two = segment(2, 11, 20);
	const struct segment_row both = segment(3, 1, 20), anew = segment(4, 1, 20);
	const int64_t outs[] = { 1, 2 }, merged[] = { 3 };
	uint64_t n;
	struct err err;

	CHECK_OK(change(w, NULL, 0, &one, 1, &err), &err);
	CHECK_OK(change(w, NULL, 0, &two, 1, &err), &err);
	CHECK_OK(segment_rows_set_stale(w->c, 1, &n, &err), &err);
	w->is_merge = true;
	CHECK_OK(change(w, outs, 2, &both, 1, &err), &err);
	assert_true(w->is_stale);
	list_is(w, "3:1-20!");
	w->is_merge = false;
	CHECK_OK(change(w, merged, 1, &anew, 1, &err), &err);
	assert_false(w->is_stale);
	list_is(w, "4:1-20");
}

/* ---- Files that are in no segment yet ---- */

static void files_in_order_with_what_they_wait_for(void **state)
{
	struct world *w = *state;
	struct index_files_query q = {
		.last_id = 100, .since_s = NOW_S - 600, .until_s = NOW_S + 100, .max = 10
	};
	struct index_file files[10];
	bool joined;
	int64_t analysis, intake;
	struct err err;
	size_t n;

	add_files(w, 4);
	assert_int_equal(add_file(w, 5, "goodware"), 5);
	/* 1 is not analysed, 2 has waited too long, 3 was done, 4's facts are known; 5: never. */
	for (int64_t id = 1; id <= 4; id++)
		CHECK_OK(analysis_queue(w->c, id, 0, LANE_API, id == 2 ? NOW_S - 600 : NOW_S,
					&analysis, &intake, &joined, &err),
			 &err);
	CHECK_OK(sql_exec(w->c, "UPDATE analysis SET state = 2 WHERE file_id = 3", &err), &err);
	CHECK_OK(file_row_set_identity(w->c, 4, 77, STR("m"), STR("t"), &err), &err);
	CHECK_OK(index_files(w->c, &q, files, &n, &err), &err);
	assert_int_equal(n, 5);
	for (size_t i = 0; i < n; i++) {
		unsigned number = (unsigned)i + 1;

		assert_int_equal(files[i].id, number);
		assert_memory_equal(files[i].sha256, &number, sizeof number);
		assert_int_equal(files[i].at.len, 100 + number);
		assert_int_equal(files[i].at.offset, 64 + 1000 * number);
		assert_int_equal(files[i].first_submission_s, NOW_S + number);
		assert_int_equal(files[i].is_goodware, number == 5);
		assert_int_equal(files[i].file_type, number == 4 ? 77 : 0);
		assert_int_equal(files[i].waits, number == 1);
	}
	q.until_s = NOW_S - 1; /* the clock was set back: nobody waits until it is there again */
	CHECK_OK(index_files(w->c, &q, files, &n, &err), &err);
	assert_false(files[0].waits);
	q.after_id = 1;
	q.last_id = 4;
	q.max = 2;
	CHECK_OK(index_files(w->c, &q, files, &n, &err), &err);
	assert_int_equal(n, 2);
	assert_int_equal(files[0].id, 2);
}

/* ---- Features ---- */

static void features_are_kept_and_go_with_the_file(void **state)
{
	struct world *w = *state;
	uint64_t put[] = { 5, UINT64_MAX, 7 };
	AUTO(mem_drop) uint64_t *got = mem_must_zalloc(FEATURES_MAX * sizeof *got);
	uint32_t version;
	struct err err;
	size_t n;

	add_files(w, 2);
	CHECK_OK(file_features_get(w->c, 1, &version, got, &n, &err), &err);
	assert_int_equal(version, 0);
	CHECK_OK(file_features_put(w->c, 1, 4, put, 3, &err), &err);
	CHECK_OK(file_features_put(w->c, 2, 4, NULL, 0, &err), &err);
	CHECK_OK(file_features_get(w->c, 1, &version, got, &n, &err), &err);
	assert_int_equal(version, 4);
	assert_int_equal(n, 3);
	assert_memory_equal(got, put, sizeof put);
	CHECK_OK(file_features_get(w->c, 2, &version, got, &n, &err), &err);
	assert_int_equal(version, 4);
	assert_int_equal(n, 0);
	CHECK_OK(file_features_put(w->c, 1, 5, put, 1, &err), &err);
	CHECK_OK(file_features_get(w->c, 1, &version, got, &n, &err), &err);
	assert_int_equal(version, 5);
	assert_int_equal(n, 1);
	remove_file(w, 1);
	CHECK_OK(file_features_get(w->c, 1, &version, got, &n, &err), &err);
	assert_int_equal(version, 0);
}

/* ---- What the rows say of themselves ---- */

static void found(const char *what, void *arg)
{
	struct world *w = arg;
	size_t n = strlen(w->found);

	snprintf(w->found + n, sizeof w->found - n, "%s\n", what);
}

static const char *verify(struct world *w)
{
	static const enum verify_check checks[] = { VERIFY_file_id, VERIFY_segment_id,
						    VERIFY_segment_range, VERIFY_segment_docs,
						    VERIFY_segment_deleted };
	int64_t last;
	struct err err;

	w->found[0] = 0;
	for (size_t i = 0; i < COUNT_OF(checks); i++) {
		CHECK_OK(verify_last(w->c, checks[i], &last, &err), &err);
		CHECK_OK(verify_find(w->c, checks[i], 0, last, found, w, &err), &err);
	}
	return w->found;
}

static void wrong_rows_are_found(void **state)
{
	static const struct {
		const char *sql;
		const char *said;
	} rows[] = {
		{ "UPDATE counter SET value = 11 WHERE name = 'file'",
		  "the counter 'file' is at 11, and 12 is given out\n" },
		{ "UPDATE counter SET value = 1 WHERE name = 'segment'",
		  "the counter 'segment' is at 1, and 2 is given out\n" },
		{ "UPDATE segment SET last_id = 7 WHERE id = 1",
		  "segment 2 begins at file 7, and the one before ends at 7\n"
		  "segment 1 has 6 files, and there are 7 in its range\n" },
		{ "UPDATE segment SET docs = 5 WHERE id = 1",
		  "segment 1 has 5 files, and there are 6 in its range\n" },
		{ "DELETE FROM segment_deleted WHERE file_id = 3",
		  "segment 1 has 6 files, and there are 5 in its range\n" },
		{ "INSERT INTO segment_deleted VALUES (12)",
		  "file 0c00000000000000000000000000000000000000000000000000000000000000 is "
		  "there, and the index takes it for removed\n" },
	};
	struct world *w = *state;
	const struct segment_row one = segment(1, 1, 6), two = segment(2, 7, 10);
	struct err err;
	int64_t id;

	add_files(w, 12);
	for (int i = 0; i < 2; i++)
		CHECK_OK(segment_row_next_id(w->c, &id, &err), &err);
	CHECK_OK(change(w, NULL, 0, &one, 1, &err), &err);
	CHECK_OK(change(w, NULL, 0, &two, 1, &err), &err);
	remove_file(w, 3);
	assert_string_equal(verify(w), "");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CHECK_OK(sql_begin(w->c, &err), &err);
		CHECK_OK(sql_exec(w->c, rows[i].sql, &err), &err);
		assert_string_equal(verify(w), rows[i].said);
		sql_rollback(w->c);
	}
}

/*
 * A match is told on the containers around its file: found from the file upwards, each by its key,
 * whatever else is stored.
 */
static void no_match_goes_through_all_files(void **state)
{
	const char *const statements[] = { RETROHUNT_IS_ASKED_SQL, RETROHUNT_AROUND_SQL };
	const struct sql_val vals[] = { SQL_I64(1), SQL_I64(1000000), SQL_TEXT(STR("main")),
					SQL_I64(0), SQL_I64(1 << 30), SQL_I64(100) };
	struct world *w = *state;
	struct err err;

	for (size_t i = 0; i < 2; i++) {
		AUTO(sql_end) struct sql_query q = { 0 };
		char text[1000];
		unsigned files = 0;
		bool row;

		snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", statements[i]);
		CHECK_OK(sql_start_vals(&q, w->c, text, vals, 6, &err), &err);
		for (;;) {
			char detail[200];

			CHECK_OK(sql_next(&q, &row, &err), &err);
			if (!row)
				break;
			snprintf(detail, sizeof detail, STR_FMT, STR_ARG(sql_str(&q, 3)));
			files +=
				strcmp(detail, "SEARCH f USING INTEGER PRIMARY KEY (rowid=?)") == 0;
			if (strncmp(detail, "SCAN f", 6) == 0 || strstr(detail, "rowid>") ||
			    strstr(detail, "rowid<"))
				fail_msg("%s: %s", statements[i], detail);
		}
		CHECK_ROW(statements[i], files == 1);
	}
}

/* File 1 is in files 2 to `last`, all of the corpus goodware. */
static void put_containers(struct world *w, int64_t last)
{
	struct err err;

	CHECK_OK(sql_exec(w->c,
			  "WITH RECURSIVE n (id) AS (SELECT (SELECT coalesce(max(id), 0) + 1 FROM "
			  "file) UNION ALL SELECT id + 1 FROM n WHERE id < ?1) INSERT INTO file "
			  "(id, sha256, sha1, md5, size, corpus, pack, pack_offset, "
			  "first_submission_s, last_submission_s) SELECT id, randomblob(32), "
			  "zeroblob(20), zeroblob(16), 1, 'goodware', 1, 64, 1, 1 FROM n",
			  &err, SQL_I64(last)),
		 &err);
	CHECK_OK(sql_exec(w->c,
			  "INSERT OR IGNORE INTO bundle (parent_id, child_id, name, first_s) "
			  "SELECT id, 1, 'a', 1 FROM file WHERE id > 1",
			  &err),
		 &err);
}

static void looks_at_containers_have_an_end(void **state)
{
	static const struct {
		const char *name;
		int64_t files;
		bool asked, cut;
	} rows[] = { { "few", RETROHUNT_LOOKS_MAX - 1, false, false },
		     { "more than are looked at", RETROHUNT_LOOKS_MAX, true, false },
		     { "as many as are told", RETROHUNT_AROUND_MAX, true, false },
		     { "more than are told", RETROHUNT_AROUND_MAX + 2, true, true } };
	const struct retrohunt_scope main_scope = { INT64_MAX, STR("main"), 0, 0 };
	const struct retrohunt_scope goodware = { INT64_MAX, STR("goodware"), 0, 0 };
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		AUTO(mem_drop) int64_t *ids = NULL;
		int64_t most = RETROHUNT_AROUND_MAX;
		struct err err;
		bool asked, cut;
		size_t n;

		put_containers(w, rows[i].files);
		CHECK_OK(retrohunt_is_asked(w->c, 1, &main_scope, &asked, &err), &err);
		CHECK_ROW(rows[i].name, asked == rows[i].asked);
		CHECK_OK(retrohunt_is_asked(w->c, 1, &goodware, &asked, &err), &err);
		CHECK_ROW(rows[i].name, asked);
		CHECK_OK(retrohunt_around(w->c, 1, &goodware, &ids, &n, &cut, &err), &err);
		CHECK_ROW(rows[i].name, cut == rows[i].cut);
		CHECK_ROW(rows[i].name,
			  (int64_t)n == (rows[i].files - 1 < most ? rows[i].files - 1 : most));
		for (size_t k = 0; k < n; k++)
			CHECK_ROW(rows[i].name, ids[k] == (int64_t)k + 2);
		free(STEAL(ids));
		CHECK_OK(retrohunt_around(w->c, 1, &main_scope, &ids, &n, &cut, &err), &err);
		CHECK_ROW(rows[i].name, n == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ids_are_never_given_out_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(segments_come_and_go_by_range, set_up, tear_down),
		cmocka_unit_test_setup_teardown(removed_files_are_forgotten_with_their_segment,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(removed_files_are_forgotten_with_their_range,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_removed_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(segments_to_be_built_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_merge_hands_the_mark_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(files_in_order_with_what_they_wait_for, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(features_are_kept_and_go_with_the_file, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(wrong_rows_are_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(looks_at_containers_have_an_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_match_goes_through_all_files, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
