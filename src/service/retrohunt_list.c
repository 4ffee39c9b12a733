#include "service/retrohunt.h"

#include <stdio.h>

#include "base/limits.h"
#include "retrohunt_internal.h"
#include "store/filter.h"

enum {
	PAGE_TEXT_MAX = 8 << 20, /* escaped at its worst this still fits a response */
	EVERY_STATUS = (1 << RETROHUNT_ROW_STATUSES) - 1,
	ETA_MAX_S = 100 * 86400, /* more is not known */
};
_Static_assert((int)RETROHUNT_STATUSES == (int)RETROHUNT_ROW_STATUSES &&
		       (int)RETROHUNT_FINISHED == (int)RETROHUNT_ROW_FINISHED,
	       "statuses are those of the rows");

const char *retrohunt_status_name(enum retrohunt_status status)
{
	return retrohunt_row_status_name((enum retrohunt_row_status)status);
}

/* ---- A row as its owner sees it ---- */

/* -1: not known. */
static int64_t eta_s(const struct retrohunt_row *row, const struct retro_way *way, int64_t now_us)
{
	double s = retro_way_left_us(way, row->files, row->bytes, now_us) / 1e6;

	return s >= 0 && s < ETA_MAX_S ? (int64_t)(s + 0.999) : -1;
}

static double percent_of(const struct retrohunt_job *job)
{
	double p = job->files ? 100.0 * (double)job->files_done / (double)job->files : 0;

	return p < 0 ? 0 : p > 100 ? 100 : p;
}

void retro_job_of_row(struct service *svc, const struct retrohunt_row *row, bool look,
		      struct retrohunt_job *ret)
{
	struct retro_live live;
	bool under_way =
		look && row->status < RETROHUNT_ROW_ABORTED && retro_live(svc, row->id, &live);
	const struct retrohunt_done *done = under_way ? &live.done : &row->done;

	*ret = (struct retrohunt_job){
		.id = row->id,
		.owner_id = row->owner_id,
		.rules = row->rules,
		.rule_count = row->rule_count,
		.corpus = row->corpus,
		.emails_json = row->emails,
		.start_s = row->start_s,
		.end_s = row->end_s,
		.status = (enum retrohunt_status)row->status,
		.created_s = row->created_s,
		.started_s = row->started_s,
		.finished_s = row->finished_s,
		.eta_s = -1,
		.files = row->files,
		.files_done = done->files,
		.bytes = row->bytes,
		.bytes_done = done->bytes,
		.verified_files = done->verified_files,
		.verified_bytes = done->verified_bytes,
		.num_matches = row->matches,
		.num_files = row->matching_files,
		.num_skipped = done->skipped,
		.complete = row->status == RETROHUNT_ROW_FINISHED && !row->reason.n,
		.keep_watching = row->ruleset_id != 0,
		.ruleset_id = row->ruleset_id,
		.live_from = row->live_from,
	};
	snprintf(ret->name, sizeof ret->name, STR_FMT, STR_ARG(row->name));
	snprintf(ret->reason, sizeof ret->reason, STR_FMT, STR_ARG(row->reason));
	snprintf(ret->error, sizeof ret->error, STR_FMT, STR_ARG(row->error));
	ret->progress = row->status == RETROHUNT_ROW_FINISHED ? 100 : percent_of(ret);
	if (under_way && row->status == RETROHUNT_ROW_RUNNING)
		ret->eta_s = eta_s(row, &live.way, clock_mono_us(svc->clock));
}

/*
 * A row that was read while its job was under way, which is over now, has neither the end nor
 * what was known only in memory: it would go back. Read it once more.
 */
static int look_again(struct service *svc, struct retrohunt_row *row, struct arena *arena,
		      struct err *err)
{
	struct retro_live live;
	struct sql_conn *conn;
	int rc;

	if (row->status >= RETROHUNT_ROW_ABORTED || retro_live(svc, row->id, &live))
		return 0;
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = retrohunt_row_by_id(conn, row->id, arena, row, err);
	sql_reader_give(svc->db, conn);
	return rc == -ERR_NOT_FOUND ? 0 : rc; /* deleted: as it was */
}

int retrohunt_get(struct service *svc, int64_t owner_id, struct str name, struct arena *arena,
		  struct retrohunt_job *ret, struct err *err)
{
	struct retrohunt_row row;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = retrohunt_row_get(conn, owner_id, name, arena, &row, err);
	sql_reader_give(svc->db, conn);
	TRY(rc);
	TRY(look_again(svc, &row, arena, err));
	retro_job_of_row(svc, &row, true, ret);
	return 0;
}

/* ---- The list ---- */

static const struct filter_field fields[] = {
	{ "status", FILTER_ENUM, 0, "statuses",
	  "`starting`, `running`, `aborting`, `aborted` or `finished`." },
};
static const struct filter_value values[] = {
	{ "status", "starting", 1 << RETROHUNT_ROW_STARTING },
	{ "status", "running", 1 << RETROHUNT_ROW_RUNNING },
	{ "status", "aborting", 1 << RETROHUNT_ROW_ABORTING },
	{ "status", "aborted", 1 << RETROHUNT_ROW_ABORTED },
	{ "status", "finished", 1 << RETROHUNT_ROW_FINISHED },
};
static const struct filter_schema schema = {
	fields, sizeof fields / sizeof fields[0], values, sizeof values / sizeof values[0], NULL,
};

static bool has_status(const struct filter_node *term, const void *bit)
{
	return (term->mask & *(const uint32_t *)bit) != 0;
}

/* The statuses that a filter picks, whatever it is made of. */
static int statuses_of(struct str filter, struct arena *arena, unsigned *ret, struct err *err)
{
	const struct filter_env env = { 0 };
	const struct filter_node *node;

	*ret = EVERY_STATUS;
	if (!filter.n)
		return 0;
	TRY(filter_parse(&node, arena, &schema, filter, &env, err));
	*ret = 0;
	for (uint32_t bit = 1; bit <= 1 << RETROHUNT_ROW_FINISHED; bit <<= 1) {
		if (filter_eval(node, has_status, &bit))
			*ret |= bit;
	}
	return 0;
}

static int list_in(struct sql_conn *conn, const struct retrohunt_query *query, unsigned statuses,
		   struct arena *arena, struct retrohunt_row **ret_rows, struct retrohunt_page *ret,
		   struct err *err)
{
	const struct retrohunt_rows_query rows_query = { .owner_id = query->owner_id,
							 .statuses = statuses,
							 .before_id = query->before_id,
							 .limit = query->limit,
							 .bytes_max = PAGE_TEXT_MAX };

	TRY(retrohunt_rows(conn, &rows_query, arena, ret_rows, &ret->count, &ret->more, err));
	ret->total = -1;
	return query->count
		       ? retrohunt_rows_count(conn, query->owner_id, statuses, &ret->total, err)
		       : 0;
}

int retrohunt_list(struct service *svc, const struct retrohunt_query *query, struct arena *arena,
		   struct retrohunt_page *ret, struct err *err)
{
	struct retrohunt_row *rows = NULL;
	struct sql_conn *conn;
	unsigned statuses;
	int rc;

	TRY(statuses_of(query->filter, arena, &statuses, err));
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = list_in(conn, query, statuses, arena, &rows, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	TRY(rc);
	ret->rows = arena_must(arena, (ret->count + 1) * sizeof *ret->rows);
	for (size_t i = 0; i < ret->count; i++) {
		TRY(look_again(svc, &rows[i], arena, err));
		retro_job_of_row(svc, &rows[i], true, &ret->rows[i]);
	}
	return 0;
}

/* ---- What a job found and left out ---- */

static void page_of_rows(const struct retrohunt_match_file *rows, size_t n, uint32_t limit,
			 struct arena *arena, struct retrohunt_files *ret)
{
	ret->more = n > limit;
	ret->count = ret->more ? limit : n;
	ret->total = -1;
	ret->rows = arena_must(arena, (n + 1) * sizeof *ret->rows);
	for (size_t i = 0; i < ret->count; i++) {
		ret->rows[i] = (struct retrohunt_file){ .position = rows[i].id,
							.rule = rows[i].rule,
							.is_inside = rows[i].is_inside };
		memcpy(ret->rows[i].sha256, rows[i].sha256, SHA256_BYTES);
	}
}

static int files_in(struct sql_conn *conn, int64_t job_id, int64_t after, uint32_t limit,
		    bool count, struct arena *arena, struct retrohunt_files *ret, struct err *err)
{
	struct retrohunt_match_file *rows;
	struct retrohunt_row job;
	size_t n;

	TRY(retrohunt_match_files(conn, job_id, after, limit + 1, arena, &rows, &n, err));
	page_of_rows(rows, n, limit, arena, ret);
	if (!count)
		return 0;
	TRY(retrohunt_row_by_id(conn, job_id, arena, &job, err));
	ret->total = job.matching_files;
	return 0;
}

int retrohunt_matching_files(struct service *svc, int64_t job_id, int64_t after, uint32_t limit,
			     bool count, struct arena *arena, struct retrohunt_files *ret,
			     struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = files_in(conn, job_id, after, limit, count, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}

int retrohunt_matches(struct service *svc, int64_t job_id, int64_t after, uint32_t limit,
		      struct arena *arena, struct retrohunt_files *ret, struct err *err)
{
	struct retrohunt_match_file *rows;
	struct sql_conn *conn;
	size_t n;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = retrohunt_match_rules(conn, job_id, after, limit + 1, arena, &rows, &n, err);
	sql_reader_give(svc->db, conn);
	if (rc == 0)
		page_of_rows(rows, n, limit, arena, ret);
	return rc;
}

int retrohunt_skipped(struct service *svc, int64_t job_id, uint32_t limit, struct arena *arena,
		      struct retrohunt_skip **ret, size_t *ret_n, struct err *err)
{
	struct retrohunt_skip_row *rows;
	struct retrohunt_skip *skips;
	struct sql_conn *conn;
	size_t n;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = retrohunt_skips(conn, job_id, limit, arena, &rows, &n, err);
	sql_reader_give(svc->db, conn);
	if (rc)
		return rc;
	skips = arena_must(arena, (n + 1) * sizeof *skips);
	for (size_t i = 0; i < n; i++) {
		memcpy(skips[i].sha256, rows[i].sha256, SHA256_BYTES);
		skips[i].reason = rows[i].reason;
		skips[i].is_failure = rows[i].is_failure;
	}
	*ret = skips;
	*ret_n = n;
	return 0;
}
