#include "store/meta_retrohunt.h"

#include <string.h>

#define COLUMNS                                                                                    \
	"id, name, owner_id, rules, rule_count, corpus, emails, start_s, end_s, status, "          \
	"created_s, started_s, finished_s, last_id, live_from, files, bytes, files_done, "         \
	"bytes_done, verified_files, verified_bytes, skipped, failed, matches, matching_files, "   \
	"reason, error, ruleset_id"

static const char INSERT[] =
	"INSERT INTO retrohunt_job (name, owner_id, rules, rule_count, corpus, emails, start_s, "
	"end_s, status, created_s, last_id, live_from, files, bytes, ruleset_id) VALUES (?1, ?2, "
	"?3, ?4, ?5, ?6, nullif(?7, 0), nullif(?8, 0), ?9, ?10, ?11, ?12, ?13, ?14, "
	"nullif(?15, 0)) RETURNING id";
static const char NAME_ID[] = "SELECT id FROM retrohunt_job WHERE name = ?1";
static const char GET[] =
	"SELECT " COLUMNS " FROM retrohunt_job WHERE name = ?1 AND owner_id = ?2 AND deleted = 0";
static const char BY_ID[] = "SELECT " COLUMNS " FROM retrohunt_job WHERE id = ?1";
/* ?3 to ?7: the statuses that are wanted; NULL matches none. */
#define STATUS_IN "status IN (?3, ?4, ?5, ?6, ?7)"
static const char PAGE[] = "SELECT " COLUMNS " FROM retrohunt_job WHERE owner_id = ?1 AND "
			   "deleted = 0 AND id < ?2 AND " STATUS_IN " ORDER BY id DESC LIMIT ?8";
static const char COUNT[] = "SELECT count(*) FROM retrohunt_job WHERE owner_id = ?1 AND "
			    "deleted = 0 AND id < ?2 AND " STATUS_IN;
static const char OPEN_COUNT[] = "SELECT count(*) FROM retrohunt_job WHERE owner_id = ?1 AND "
				 "status IN ('starting', 'running', 'aborting')";
static const char OPEN_IDS[] = "SELECT id FROM retrohunt_job WHERE id > ?1 AND "
			       "status IN ('starting', 'running', 'aborting') ORDER BY id LIMIT ?2";
static const char IS_LIVE[] = "SELECT 1 FROM retrohunt_job WHERE id = ?1 AND "
			      "status IN ('starting', 'running') AND deleted = 0";
static const char START[] = "UPDATE retrohunt_job SET status = 'running', started_s = ?2 "
			    "WHERE id = ?1 AND status = 'starting'";
static const char END[] =
	"UPDATE retrohunt_job SET status = ?2, finished_s = ?3, reason = nullif(?4, ''), "
	"error = nullif(?5, '') WHERE id = ?1 AND status NOT IN ('aborted', 'finished')";
static const char ABORT[] = "UPDATE retrohunt_job SET status = 'aborting' WHERE id = ?1 AND "
			    "status IN ('starting', 'running')";
static const char DELETE[] = "UPDATE retrohunt_job SET deleted = 1 WHERE id = ?1 AND deleted = 0";
static const char COUNT_DONE[] =
	"UPDATE retrohunt_job SET files_done = files_done + ?2, bytes_done = bytes_done + ?3, "
	"verified_files = verified_files + ?4, verified_bytes = verified_bytes + ?5, "
	"skipped = skipped + ?6, failed = failed + ?7 WHERE id = ?1";

/* ---- Reading ---- */

static const char *const STATUSES[RETROHUNT_ROW_STATUSES] = { "starting", "running", "aborting",
							      "aborted", "finished" };

const char *retrohunt_row_status_name(enum retrohunt_row_status status)
{
	REQUIRE(status < RETROHUNT_ROW_STATUSES);
	return STATUSES[status];
}

static enum retrohunt_row_status status_parse(struct str s)
{
	unsigned i = 0;

	while (i < RETROHUNT_ROW_STATUSES && !str_eq_z(s, STATUSES[i]))
		i++;
	REQUIRE(i < RETROHUNT_ROW_STATUSES); /* the column has a CHECK */
	return (enum retrohunt_row_status)i;
}

/* Text is the query's. */
static struct retrohunt_row row_read(const struct sql_query *q)
{
	return (struct retrohunt_row){ .id = sql_i64(q, 0),
				       .name = sql_str(q, 1),
				       .owner_id = sql_i64(q, 2),
				       .rules = sql_str(q, 3),
				       .rule_count = sql_i64(q, 4),
				       .corpus = sql_str(q, 5),
				       .emails = sql_str(q, 6),
				       .start_s = sql_i64(q, 7),
				       .end_s = sql_i64(q, 8),
				       .status = status_parse(sql_str(q, 9)),
				       .created_s = sql_i64(q, 10),
				       .started_s = sql_i64(q, 11),
				       .finished_s = sql_i64(q, 12),
				       .last_id = sql_i64(q, 13),
				       .live_from = sql_i64(q, 14),
				       .files = sql_i64(q, 15),
				       .bytes = sql_i64(q, 16),
				       .done = { .files = sql_i64(q, 17),
						 .bytes = sql_i64(q, 18),
						 .verified_files = sql_i64(q, 19),
						 .verified_bytes = sql_i64(q, 20),
						 .skipped = sql_i64(q, 21),
						 .failed = sql_i64(q, 22) },
				       .matches = sql_i64(q, 23),
				       .matching_files = sql_i64(q, 24),
				       .reason = sql_str(q, 25),
				       .error = sql_str(q, 26),
				       .ruleset_id = sql_i64(q, 27) };
}

/* Copy the row's text into the arena; false if that has no room. */
static bool row_keep(struct retrohunt_row *row, struct arena *arena)
{
	struct str *texts[] = { &row->name,   &row->rules,  &row->corpus,
				&row->emails, &row->reason, &row->error };

	return arena_keep(arena, texts, sizeof texts / sizeof texts[0]);
}

static int row_one(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		   struct arena *arena, struct retrohunt_row *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct retrohunt_row row;
	bool found;

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, &found, err));
	if (!found)
		return err_set(err, ERR_NOT_FOUND, "no such job");
	row = row_read(&q);
	if (!row_keep(&row, arena))
		return err_set(err, ERR_TOO_LARGE, "no room for a job's rules");
	*ret = row;
	return 0;
}

int retrohunt_row_get(struct sql_conn *conn, int64_t owner_id, struct str name, struct arena *arena,
		      struct retrohunt_row *ret, struct err *err)
{
	return row_one(conn, GET, SQL_VALS(SQL_TEXT(name), SQL_I64(owner_id)), arena, ret, err);
}

int retrohunt_row_by_id(struct sql_conn *conn, int64_t id, struct arena *arena,
			struct retrohunt_row *ret, struct err *err)
{
	return row_one(conn, BY_ID, SQL_VALS(SQL_I64(id)), arena, ret, err);
}

int retrohunt_name_id(struct sql_conn *conn, struct str name, int64_t *ret, struct err *err)
{
	return sql_one_i64(conn, NAME_ID, SQL_VALS(SQL_TEXT(name)), 0, ret, err);
}

int retrohunt_name_exists(struct sql_conn *conn, struct str name, bool *ret, struct err *err)
{
	int64_t id;

	TRY(retrohunt_name_id(conn, name, &id, err));
	*ret = id != 0;
	return 0;
}

enum {
	PAGE_VALS = 3 + RETROHUNT_ROW_STATUSES
};

static void page_vals(struct sql_val ret[PAGE_VALS], int64_t owner_id, int64_t before_id,
		      unsigned statuses, uint32_t limit)
{
	ret[0] = SQL_I64(owner_id);
	ret[1] = SQL_I64(before_id ? before_id : INT64_MAX);
	for (unsigned i = 0; i < RETROHUNT_ROW_STATUSES; i++)
		ret[2 + i] = statuses & 1u << i ? SQL_TEXT(str_of(STATUSES[i])) : SQL_NULL();
	ret[2 + RETROHUNT_ROW_STATUSES] = SQL_I64(limit);
}

int retrohunt_rows(struct sql_conn *conn, const struct retrohunt_rows_query *query,
		   struct arena *arena, struct retrohunt_row **ret, size_t *ret_n, bool *ret_more,
		   struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct retrohunt_row *rows = arena_must(arena, (query->limit + 1) * sizeof *rows);
	struct sql_val vals[PAGE_VALS];
	size_t n = 0, bytes = 0;
	bool found;

	page_vals(vals, query->owner_id, query->before_id, query->statuses, query->limit + 1);
	TRY(sql_start_vals(&q, conn, PAGE, vals, PAGE_VALS, err));
	for (;;) {
		TRY(sql_next(&q, &found, err));
		if (!found || n == query->limit)
			break;
		rows[n] = row_read(&q);
		bytes += rows[n].rules.n;
		if (n > 0 && bytes > query->bytes_max)
			break;
		if (!row_keep(&rows[n], arena))
			return err_set(err, ERR_TOO_LARGE, "no room for a job's rules");
		n++;
	}
	*ret = rows;
	*ret_n = n;
	*ret_more = found;
	return 0;
}

int retrohunt_rows_count(struct sql_conn *conn, int64_t owner_id, unsigned statuses, int64_t *ret,
			 struct err *err)
{
	struct sql_val vals[PAGE_VALS];

	page_vals(vals, owner_id, 0, statuses, 0);
	return sql_one_i64(conn, COUNT, vals, PAGE_VALS - 1, 0, ret, err);
}

int retrohunt_open_count(struct sql_conn *conn, int64_t owner_id, int64_t *ret, struct err *err)
{
	return sql_one_i64(conn, OPEN_COUNT, SQL_VALS(SQL_I64(owner_id)), 0, ret, err);
}

int retrohunt_open_ids(struct sql_conn *conn, int64_t after_id, int64_t *ret, size_t max,
		       size_t *ret_n, struct err *err)
{
	return sql_all_i64(conn, OPEN_IDS, SQL_VALS(SQL_I64(after_id), SQL_I64(max)), ret, max,
			   ret_n, err);
}

int retrohunt_is_live(struct sql_conn *conn, int64_t id, bool *ret, struct err *err)
{
	int64_t live;

	TRY(sql_one_i64(conn, IS_LIVE, SQL_VALS(SQL_I64(id)), 0, &live, err));
	*ret = live != 0;
	return 0;
}

static const char IS_OPEN[] = "SELECT 1 FROM retrohunt_job WHERE id = ?1 AND "
			      "status IN ('starting', 'running', 'aborting')";

int retrohunt_is_open(struct sql_conn *conn, int64_t id, bool *ret, struct err *err)
{
	int64_t open;

	TRY(sql_one_i64(conn, IS_OPEN, SQL_VALS(SQL_I64(id)), 0, &open, err));
	*ret = open != 0;
	return 0;
}

/* ---- Changing ---- */

static const char SET_DONE[] =
	"UPDATE retrohunt_job SET files_done = ?2, bytes_done = ?3, verified_files = ?4, "
	"verified_bytes = ?5, skipped = ?6, failed = ?7 WHERE id = ?1";

int retrohunt_row_set_done(struct sql_conn *conn, int64_t id, const struct retrohunt_done *done,
			   struct err *err)
{
	return sql_exec(conn, SET_DONE, err, SQL_I64(id), SQL_I64(done->files),
			SQL_I64(done->bytes), SQL_I64(done->verified_files),
			SQL_I64(done->verified_bytes), SQL_I64(done->skipped),
			SQL_I64(done->failed));
}

int retrohunt_row_insert(struct sql_conn *conn, const struct retrohunt_row *row, int64_t *ret_id,
			 struct err *err)
{
	const struct sql_val vals[] = {
		SQL_TEXT(row->name),
		SQL_I64(row->owner_id),
		SQL_TEXT(row->rules),
		SQL_I64(row->rule_count),
		SQL_TEXT(row->corpus),
		SQL_TEXT(row->emails),
		SQL_I64(row->start_s),
		SQL_I64(row->end_s),
		SQL_TEXT(str_of(retrohunt_row_status_name(row->status))),
		SQL_I64(row->created_s),
		SQL_I64(row->last_id),
		SQL_I64(row->live_from),
		SQL_I64(row->files),
		SQL_I64(row->bytes),
		SQL_I64(row->ruleset_id),
	};

	TRY(sql_one_i64(conn, INSERT, vals, sizeof vals / sizeof vals[0], 0, ret_id, err));
	REQUIRE(*ret_id > 0);
	return 0;
}

int retrohunt_row_start(struct sql_conn *conn, int64_t id, int64_t now_s, struct err *err)
{
	return sql_exec(conn, START, err, SQL_I64(id), SQL_I64(now_s));
}

static const char TASKS_FORGET[] = "DELETE FROM retrohunt_task WHERE job_id = ?1";

int retrohunt_row_end(struct sql_conn *conn, int64_t id, enum retrohunt_row_status status,
		      struct str reason, struct str error, int64_t now_s, struct err *err)
{
	REQUIRE(status == RETROHUNT_ROW_ABORTED || status == RETROHUNT_ROW_FINISHED);
	TRY(sql_exec(conn, TASKS_FORGET, err, SQL_I64(id)));
	return sql_exec(conn, END, err, SQL_I64(id), SQL_TEXT(str_of(STATUSES[status])),
			SQL_I64(now_s), SQL_TEXT(reason), SQL_TEXT(error));
}

int retrohunt_row_abort(struct sql_conn *conn, int64_t id, bool *ret_changed, struct err *err)
{
	uint64_t changes;

	TRY(sql_exec_vals(conn, ABORT, SQL_VALS(SQL_I64(id)), &changes, err));
	*ret_changed = changes == 1;
	return 0;
}

int retrohunt_row_delete(struct sql_conn *conn, int64_t id, struct err *err)
{
	return sql_exec(conn, DELETE, err, SQL_I64(id));
}

static const char SWEPT[] = "SELECT id FROM retrohunt_job WHERE deleted = 1 AND "
			    "status IN ('aborted', 'finished') ORDER BY id LIMIT 1";
static const char SWEEP_MATCHES[] =
	"DELETE FROM retrohunt_match WHERE id IN (SELECT id FROM retrohunt_match "
	"WHERE job_id = ?1 LIMIT ?2)";
static const char SWEEP_SKIPPED[] =
	"DELETE FROM retrohunt_skipped WHERE job_id = ?1 AND file_id IN (SELECT file_id FROM "
	"retrohunt_skipped WHERE job_id = ?1 LIMIT ?2)";
static const char SWEEP_ROW[] = "UPDATE retrohunt_job SET deleted = 2, rules = '', emails = '[]', "
				"error = NULL WHERE id = ?1";

int retrohunt_sweep(struct sql_conn *conn, uint32_t max_rows, bool *ret_done, struct err *err)
{
	uint64_t matches, skipped = 0;
	int64_t id;

	TRY(sql_one_i64(conn, SWEPT, NULL, 0, 0, &id, err));
	*ret_done = id == 0;
	if (!id)
		return 0;
	TRY(sql_exec_vals(conn, SWEEP_MATCHES, SQL_VALS(SQL_I64(id), SQL_I64(max_rows)), &matches,
			  err));
	if (matches < max_rows)
		TRY(sql_exec_vals(conn, SWEEP_SKIPPED,
				  SQL_VALS(SQL_I64(id), SQL_I64(max_rows - matches)), &skipped,
				  err));
	return matches + skipped < max_rows ? sql_exec(conn, SWEEP_ROW, err, SQL_I64(id)) : 0;
}

/* ---- Tasks ---- */

static const char TASK_ADD[] = "INSERT INTO retrohunt_task (job_id, number, first_id, last_id) "
			       "VALUES (?1, ?2, ?3, ?4)";
static const char TASKS_CLAIM[] =
	"UPDATE retrohunt_task SET lease_owner = ?2, lease_until_s = ?3 WHERE job_id = ?1 AND "
	"number IN (SELECT number FROM retrohunt_task WHERE job_id = ?1 AND lease_owner IS NULL "
	"ORDER BY number LIMIT ?4) RETURNING number, first_id, last_id";
static const char TASKS_RELEASE[] = "UPDATE retrohunt_task SET lease_owner = NULL, "
				    "lease_until_s = NULL WHERE lease_owner IS NOT NULL";
static const char TASK_DONE[] =
	"DELETE FROM retrohunt_task WHERE job_id = ?1 AND number = ?2 AND lease_owner = ?3";
static const char TASK_HELD[] = "SELECT 1 FROM retrohunt_task WHERE job_id = ?1 AND number = ?2 "
				"AND lease_owner = ?3";
static const char TASK_LEFT[] = "SELECT 1 FROM retrohunt_task WHERE job_id = ?1 LIMIT 1";

int retrohunt_task_add(struct sql_conn *conn, int64_t job_id, const struct retrohunt_task_row *task,
		       struct err *err)
{
	return sql_exec(conn, TASK_ADD, err, SQL_I64(job_id), SQL_I64(task->number),
			SQL_I64(task->first_id), SQL_I64(task->last_id));
}

int retrohunt_tasks_claim(struct sql_conn *conn, int64_t job_id, struct str owner,
			  int64_t lease_until_s, struct retrohunt_task_row *ret, size_t max,
			  size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, TASKS_CLAIM, err, SQL_I64(job_id), SQL_TEXT(owner),
		      SQL_I64(lease_until_s), SQL_I64(max)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < max);
		ret[n++] = (struct retrohunt_task_row){ sql_i64(&q, 0), sql_i64(&q, 1),
							sql_i64(&q, 2) };
	}
	*ret_n = n;
	return 0;
}

int retrohunt_tasks_release(struct sql_conn *conn, struct err *err)
{
	return sql_exec(conn, TASKS_RELEASE, err);
}

int retrohunt_task_done(struct sql_conn *conn, int64_t job_id, int64_t number, struct str owner,
			const struct retrohunt_done *done, bool *ret_mine, struct err *err)
{
	uint64_t changes;

	TRY(sql_exec_vals(conn, TASK_DONE,
			  SQL_VALS(SQL_I64(job_id), SQL_I64(number), SQL_TEXT(owner)), &changes,
			  err));
	*ret_mine = changes == 1;
	if (!*ret_mine)
		return 0;
	return sql_exec(conn, COUNT_DONE, err, SQL_I64(job_id), SQL_I64(done->files),
			SQL_I64(done->bytes), SQL_I64(done->verified_files),
			SQL_I64(done->verified_bytes), SQL_I64(done->skipped),
			SQL_I64(done->failed));
}

int retrohunt_task_is_held(struct sql_conn *conn, int64_t job_id, int64_t number, struct str owner,
			   bool *ret, struct err *err)
{
	int64_t held;

	TRY(sql_one_i64(conn, TASK_HELD,
			SQL_VALS(SQL_I64(job_id), SQL_I64(number), SQL_TEXT(owner)), 0, &held,
			err));
	*ret = held != 0;
	return 0;
}

int retrohunt_has_tasks(struct sql_conn *conn, int64_t job_id, bool *ret, struct err *err)
{
	int64_t left;

	TRY(sql_one_i64(conn, TASK_LEFT, SQL_VALS(SQL_I64(job_id)), 0, &left, err));
	*ret = left != 0;
	return 0;
}
