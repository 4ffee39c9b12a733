#include "store/meta_retrohunt.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	AROUND_AT_FIRST = 64
};

/* What jobs find, leave out, and look at. Jobs and their tasks: meta_retrohunt.c. */

static void copy_sha256(uint8_t *to, struct str from)
{
	if (from.n == SHA256_BYTES)
		memcpy(to, from.p, SHA256_BYTES);
}

/* ---- Matches ---- */

static const char MATCHES[] = "SELECT matches FROM retrohunt_job WHERE id = ?1";
static const char MATCH_INSIDE[] = "SELECT is_inside FROM retrohunt_match WHERE job_id = ?1 AND "
				   "file_id = ?2 AND rule = ?3";
static const char MATCH_OWN[] = "UPDATE retrohunt_match SET is_inside = 0 WHERE job_id = ?1 AND "
				"file_id = ?2 AND rule = ?3";
static const char MATCH_ADD[] =
	"INSERT INTO retrohunt_match (job_id, file_id, rule, sha256, is_inside, is_first) SELECT "
	"?1, ?2, ?3, ?4, ?5, NOT EXISTS (SELECT 1 FROM retrohunt_match WHERE job_id = ?1 AND "
	"file_id = ?2) "
	"RETURNING is_first";
static const char MATCH_COUNT[] = "UPDATE retrohunt_job SET matches = matches + 1, "
				  "matching_files = matching_files + ?2 WHERE id = ?1";
static const char FILES[] =
	"SELECT id, sha256, rule, is_inside FROM retrohunt_match WHERE job_id = ?1 AND "
	"is_first = 1 AND id > ?2 ORDER BY id LIMIT ?3";
static const char RULES[] = "SELECT id, sha256, rule, is_inside FROM retrohunt_match WHERE "
			    "job_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

static int first_row(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		     bool *ret_found, int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, ret_found, err));
	*ret = *ret_found ? sql_i64(&q, 0) : 0;
	return 0;
}

int retrohunt_match_add(struct sql_conn *conn, const struct retrohunt_match_row *match,
			int64_t matches_max, bool *ret_new, bool *ret_full, struct err *err)
{
	const struct sql_val vals[] = { SQL_I64(match->job_id), SQL_I64(match->file_id),
					SQL_TEXT(match->rule),
					SQL_BLOB(match->sha256, SHA256_BYTES),
					SQL_I64(match->is_inside) };
	int64_t matches, first, inside;
	bool found;

	*ret_new = false;
	*ret_full = false;
	TRY(first_row(conn, MATCH_INSIDE, vals, 3, &found, &inside, err));
	if (found) /* its own match counts, whichever is told first */
		return inside && !match->is_inside
			       ? sql_exec_vals(conn, MATCH_OWN, vals, 3, NULL, err)
			       : 0;
	TRY(first_row(conn, MATCHES, vals, 1, &found, &matches, err));
	*ret_full = matches >= matches_max;
	if (*ret_full)
		return 0;
	TRY(first_row(conn, MATCH_ADD, vals, 5, &found, &first, err));
	REQUIRE(found);
	*ret_new = true;
	return sql_exec(conn, MATCH_COUNT, err, SQL_I64(match->job_id), SQL_I64(first));
}

static int match_rows(struct sql_conn *conn, const char *text, int64_t job_id, int64_t after,
		      uint32_t limit, struct arena *arena, struct retrohunt_match_file **ret,
		      size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct retrohunt_match_file *rows = arena_must(arena, (limit + 1) * sizeof *rows);
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, text, err, SQL_I64(job_id), SQL_I64(after), SQL_I64(limit)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < limit);
		rows[n] = (struct retrohunt_match_file){ .id = sql_i64(&q, 0),
							 .rule = arena_str(arena, sql_str(&q, 2)),
							 .is_inside = sql_i64(&q, 3) != 0 };
		copy_sha256(rows[n++].sha256, sql_str(&q, 1));
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

int retrohunt_match_files(struct sql_conn *conn, int64_t job_id, int64_t after, uint32_t limit,
			  struct arena *arena, struct retrohunt_match_file **ret, size_t *ret_n,
			  struct err *err)
{
	return match_rows(conn, FILES, job_id, after, limit, arena, ret, ret_n, err);
}

int retrohunt_match_rules(struct sql_conn *conn, int64_t job_id, int64_t after, uint32_t limit,
			  struct arena *arena, struct retrohunt_match_file **ret, size_t *ret_n,
			  struct err *err)
{
	return match_rows(conn, RULES, job_id, after, limit, arena, ret, ret_n, err);
}

/* ---- Files that were not scanned ---- */

static const char SKIP_ADD[] =
	"INSERT INTO retrohunt_skipped (job_id, file_id, sha256, reason, is_failure) "
	"SELECT ?1, id, sha256, ?3, ?4 FROM file WHERE id = ?2 ON CONFLICT (job_id, file_id) "
	"DO NOTHING";
static const char SKIPS[] =
	"SELECT sha256, reason, is_failure FROM retrohunt_skipped WHERE job_id = ?1 "
	"ORDER BY is_failure DESC, file_id LIMIT ?2";

int retrohunt_skip_add(struct sql_conn *conn, int64_t job_id, int64_t file_id, struct str reason,
		       bool is_failure, struct err *err)
{
	return sql_exec(conn, SKIP_ADD, err, SQL_I64(job_id), SQL_I64(file_id), SQL_TEXT(reason),
			SQL_I64(is_failure));
}

int retrohunt_skips(struct sql_conn *conn, int64_t job_id, uint32_t limit, struct arena *arena,
		    struct retrohunt_skip_row **ret, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct retrohunt_skip_row *rows = arena_must(arena, (limit + 1) * sizeof *rows);
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, SKIPS, err, SQL_I64(job_id), SQL_I64(limit)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < limit);
		rows[n] = (struct retrohunt_skip_row){ .reason = arena_str(arena, sql_str(&q, 1)),
						       .is_failure = sql_i64(&q, 2) != 0 };
		copy_sha256(rows[n++].sha256, sql_str(&q, 0));
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

/* ---- Rulesets that watch on ---- */

static const char WATCH_ADD[] =
	"INSERT INTO retrohunt_watch (ruleset_id, job_id, live_from) VALUES (?1, ?2, ?3)";
static const char WATCH_OF[] =
	"SELECT job_id, live_from FROM retrohunt_watch WHERE ruleset_id = ?1";

int retrohunt_watch_add(struct sql_conn *conn, int64_t ruleset_id, int64_t job_id,
			int64_t live_from, struct err *err)
{
	return sql_exec(conn, WATCH_ADD, err, SQL_I64(ruleset_id), SQL_I64(job_id),
			SQL_I64(live_from));
}

int retrohunt_watch_of(struct sql_conn *conn, int64_t ruleset_id, struct retrohunt_watch *ret,
		       struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	*ret = (struct retrohunt_watch){ 0 };
	TRY(sql_start(&q, conn, WATCH_OF, err, SQL_I64(ruleset_id)));
	TRY(sql_next(&q, &row, err));
	if (row)
		*ret = (struct retrohunt_watch){ sql_i64(&q, 0), sql_i64(&q, 1) };
	return 0;
}

/* ---- Files to look at ---- */

static const char TOTAL[] = "SELECT coalesce(sum(files), 0), coalesce(sum(bytes), 0) FROM file_run "
			    "WHERE corpus = ?1";
static const char RUNS_TOTAL[] = "SELECT coalesce(sum(files), 0), coalesce(sum(bytes), 0) FROM "
				 "file_run WHERE corpus = ?1 AND run BETWEEN ?2 AND ?3";
static const char EDGE_TOTAL[] = "SELECT count(*), coalesce(sum(size), 0) FROM file WHERE "
				 "id BETWEEN ?2 AND ?3 AND corpus = ?1";
static const char RANGE[] = "SELECT id, size, pack_offset, pack FROM file WHERE id > ?1 AND "
			    "id <= ?2 AND corpus = ?3 ORDER BY id LIMIT ?4";
/* Is file f in the scope ?2 to ?5? */
#define IN_SCOPE "f.id <= ?2 AND f.corpus = ?3 AND f.last_submission_s BETWEEN ?4 AND ?5"
static const char SUBJECT[] = "SELECT f.sha256, CASE WHEN " IN_SCOPE " THEN 1 ELSE 0 END FROM "
			      "file f WHERE f.id = ?1";
/* Of what stands in the walk. Files are many: each is looked up by its id, never gone through. */
#define EACH_IN_SCOPE                                                                              \
	"SELECT a.id, EXISTS (SELECT 1 FROM file f WHERE f.id = a.id AND " IN_SCOPE                \
	") FROM (SELECT id FROM around LIMIT ?6) a"
/* A file, and all around it. */
const char RETROHUNT_IS_ASKED_SQL[] =
	"WITH RECURSIVE around (id, depth) AS (SELECT id, 0 FROM file WHERE id = ?1 UNION SELECT "
	"b.parent_id, a.depth + 1 "
	"FROM bundle b JOIN around a ON b.child_id = a.id WHERE a.depth < 32) " EACH_IN_SCOPE;
const char RETROHUNT_AROUND_SQL[] =
	"WITH RECURSIVE around (id, depth) AS (SELECT parent_id, 1 FROM bundle WHERE child_id = ?1 "
	"UNION SELECT b.parent_id, a.depth + 1 FROM bundle b JOIN around a ON b.child_id = a.id "
	"WHERE a.depth < 32) " EACH_IN_SCOPE;

/* Two sums. */
static int sums(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		int64_t *ret_files, int64_t *ret_bytes, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret_files = sql_i64(&q, 0);
	*ret_bytes = sql_i64(&q, 1);
	return 0;
}

int file_runs_total(struct sql_conn *conn, struct str corpus, int64_t *ret_files,
		    int64_t *ret_bytes, struct err *err)
{
	return sums(conn, TOTAL, SQL_VALS(SQL_TEXT(corpus)), ret_files, ret_bytes, err);
}

int file_runs_range(struct sql_conn *conn, struct str corpus, int64_t first_id, int64_t last_id,
		    int64_t *ret_files, int64_t *ret_bytes, struct err *err)
{
	/* Whole runs, and ids before and behind them. */
	int64_t first_run = (first_id + FILE_RUN_IDS - 1) / FILE_RUN_IDS;
	int64_t last_run = (last_id + 1) / FILE_RUN_IDS - 1;
	int64_t files, bytes;

	if (first_run > last_run)
		return sums(conn, EDGE_TOTAL,
			    SQL_VALS(SQL_TEXT(corpus), SQL_I64(first_id), SQL_I64(last_id)),
			    ret_files, ret_bytes, err);
	TRY(sums(conn, RUNS_TOTAL,
		 SQL_VALS(SQL_TEXT(corpus), SQL_I64(first_run), SQL_I64(last_run)), ret_files,
		 ret_bytes, err));
	TRY(sums(conn, EDGE_TOTAL,
		 SQL_VALS(SQL_TEXT(corpus), SQL_I64(first_id),
			  SQL_I64(first_run * FILE_RUN_IDS - 1)),
		 &files, &bytes, err));
	*ret_files += files;
	*ret_bytes += bytes;
	TRY(sums(conn, EDGE_TOTAL,
		 SQL_VALS(SQL_TEXT(corpus), SQL_I64((last_run + 1) * FILE_RUN_IDS),
			  SQL_I64(last_id)),
		 &files, &bytes, err));
	*ret_files += files;
	*ret_bytes += bytes;
	return 0;
}

static const char RUN_BEFORE[] = "SELECT run FROM file_run WHERE corpus = ?1 AND run < ?2 AND "
				 "files > 0 ORDER BY run DESC LIMIT 1";

int file_run_before(struct sql_conn *conn, struct str corpus, int64_t run, int64_t *ret,
		    bool *ret_found, struct err *err)
{
	return first_row(conn, RUN_BEFORE, SQL_VALS(SQL_TEXT(corpus), SQL_I64(run)), ret_found, ret,
			 err);
}

int retrohunt_range_files(struct sql_conn *conn, struct str corpus, int64_t after_id,
			  int64_t last_id, struct retrohunt_file_row *ret, size_t max,
			  size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, RANGE, err, SQL_I64(after_id), SQL_I64(last_id), SQL_TEXT(corpus),
		      SQL_I64(max)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < max);
		ret[n++] = (struct retrohunt_file_row){ .id = sql_i64(&q, 0),
							.size = (uint64_t)sql_i64(&q, 1),
							.offset = (uint64_t)sql_i64(&q, 2),
							.pack = (uint32_t)sql_i64(&q, 3) };
	}
	*ret_n = n;
	return 0;
}

/* What every query above begins with. */
#define SCOPE_VALS(file_id, scope)                                                                 \
	SQL_I64(file_id), SQL_I64((scope)->last_id), SQL_TEXT((scope)->corpus),                    \
		SQL_I64((scope)->start_s), SQL_I64((scope)->end_s ? (scope)->end_s : INT64_MAX)

int retrohunt_subject(struct sql_conn *conn, int64_t file_id, const struct retrohunt_scope *scope,
		      struct retrohunt_subject *ret, bool *ret_found, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, SUBJECT, err, SCOPE_VALS(file_id, scope)));
	TRY(sql_next(&q, ret_found, err));
	if (!*ret_found)
		return 0;
	copy_sha256(ret->sha256, sql_str(&q, 0));
	ret->in_scope = sql_i64(&q, 1) != 0;
	return 0;
}

int retrohunt_is_asked(struct sql_conn *conn, int64_t file_id, const struct retrohunt_scope *scope,
		       bool *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row, asked = false;
	int n = 0;

	TRY(sql_start(&q, conn, RETROHUNT_IS_ASKED_SQL, err, SCOPE_VALS(file_id, scope),
		      SQL_I64(RETROHUNT_LOOKS_MAX)));
	while (!asked) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		asked = sql_i64(&q, 1) != 0 || ++n == RETROHUNT_LOOKS_MAX;
	}
	*ret = asked;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* One that is there at two depths counts once. */
static size_t sort_ids(int64_t *ids, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(ids, n, sizeof *ids, compare_ids);
	for (size_t i = 0; i < n; i++) {
		if (!kept || ids[kept - 1] != ids[i])
			ids[kept++] = ids[i];
	}
	return kept;
}

int retrohunt_around(struct sql_conn *conn, int64_t file_id, const struct retrohunt_scope *scope,
		     int64_t **ret, size_t *ret_n, bool *ret_cut, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	AUTO(mem_drop) int64_t *ids = NULL;
	size_t n = 0, room = 0, looks = 0;
	bool row;

	TRY(sql_start(&q, conn, RETROHUNT_AROUND_SQL, err, SCOPE_VALS(file_id, scope),
		      SQL_I64(RETROHUNT_AROUND_MAX)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		looks++;
		if (!sql_i64(&q, 1))
			continue;
		if (n == room) {
			room = room ? 2 * room : AROUND_AT_FIRST;
			mem_must_grow((void **)&ids, room, sizeof *ids);
		}
		ids[n++] = sql_i64(&q, 0);
	}
	*ret_n = sort_ids(ids, n);
	*ret_cut = looks == RETROHUNT_AROUND_MAX;
	*ret = STEAL(ids);
	return 0;
}
