#include "store/meta_analysis.h"

#include "base/limits.h"

static const char QUEUED_OF[] =
	"SELECT id, intake, lane FROM analysis WHERE file_id = ?1 AND state = 0 "
	"AND parent_id IS NULL LIMIT 1";
static const char QUEUE_ADD[] =
	"INSERT INTO analysis (file_id, submission_id, lane, intake, state, attempts, created_s) "
	"VALUES (?1, ?2, ?3, ?4, 0, 0, ?5) RETURNING id";
static const char QUEUE_LANE[] = "UPDATE analysis SET lane = ?2 WHERE id = ?1";
#define CLAIM_COLUMNS                                                                              \
	"SELECT a.id, a.intake, a.lane, a.attempts, a.file_id, (SELECT s.user_id FROM submission " \
	"s WHERE s.id = a.submission_id), EXISTS (SELECT 1 FROM quarantine q "                     \
	"WHERE q.file_id = a.file_id), a.parent_id, coalesce(a.root_id, a.id), a.depth, "          \
	"a.submission_id, a.suspect, EXISTS (SELECT 1 FROM unpacking u "                           \
	"WHERE u.analysis_id = a.id) FROM analysis a "
static const char CLAIM_HEAD[] =
	CLAIM_COLUMNS "WHERE a.state = 0 AND a.suspect = 0 AND a.lane <= ?2 "
		      "ORDER BY a.lane, a.id LIMIT ?1";
static const char CLAIM_SUSPECTS[] =
	CLAIM_COLUMNS "WHERE a.state = 0 AND a.suspect > 0 ORDER BY a.id LIMIT ?1";
static const char DEFER[] =
	"UPDATE analysis SET state = 0, suspect = ?3, lease_owner = NULL, lease_until_s = NULL "
	"WHERE id = ?1 AND state = 1 AND lease_owner = ?2";
static const char CLAIM_ONE[] =
	"UPDATE analysis SET state = 1, generation = ?2, lease_owner = ?3, lease_until_s = ?4 "
	"WHERE id = ?1 AND state = 0";
static const char COMPLETE[] =
	"UPDATE analysis SET state = 2, generation = ?3, not_run = ?4, completed_s = ?5, "
	"lease_owner = NULL, lease_until_s = NULL WHERE id = ?1 AND state = 1 AND lease_owner = ?2";
static const char HELD[] =
	"SELECT 1 FROM analysis WHERE id = ?1 AND state = 1 AND lease_owner = ?2";
static const char RELEASE_ALL[] =
	"UPDATE analysis SET state = 0, lease_owner = NULL, lease_until_s = NULL "
	"WHERE state = 1 AND stage = 0 AND lease_owner IS NOT ?1";
static const char RELEASE_ONE[] =
	"UPDATE analysis SET state = 0, lease_owner = NULL, lease_until_s = NULL "
	"WHERE id = ?1 AND state = 1 AND stage = 0";
static const char CRASHED[] = "UPDATE analysis SET attempts = attempts + 1 WHERE id = ?1";
/* Each part is answered by its partial index. */
static const char OPEN_UNTIL[] =
	"SELECT (SELECT count(*) FROM analysis WHERE state = 0 AND suspect = 0 AND lane = 0 "
	"AND id <= ?1)"
	" + (SELECT count(*) FROM analysis WHERE state = 0 AND suspect = 0 AND lane = 1 "
	"AND id <= ?1)"
	" + (SELECT count(*) FROM analysis WHERE state = 0 AND suspect > 0 AND id <= ?1)"
	" + (SELECT count(*) FROM analysis WHERE state = 1 AND +id <= ?1)";
static const char ROW_BY_INTAKE[] =
	"SELECT a.id, a.file_id, a.intake, a.state, a.generation, a.created_s, a.completed_s, "
	"a.not_run, f.sha256 FROM analysis a JOIN file f ON f.id = a.file_id WHERE a.intake = ?1";
static const char QUARANTINE_ADD[] =
	"INSERT INTO quarantine (file_id, ruleset_id, ruleset_version, reason, date_s) "
	"VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
static const char QUARANTINE_SAMPLES[] =
	"SELECT count(*) FROM quarantine WHERE ruleset_id = ?1 AND ruleset_version = ?2";
static const char QUARANTINE_OF[] =
	"SELECT ruleset_id, ruleset_version, reason FROM quarantine WHERE file_id = ?1 "
	"ORDER BY ruleset_id LIMIT ?2";

static int queue_join(struct sql_conn *conn, int64_t file_id, enum write_lane lane, int64_t *ret_id,
		      int64_t *ret_intake, bool *ret_joined, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	int64_t old_lane;

	TRY(sql_start(&q, conn, QUEUED_OF, err, SQL_I64(file_id)));
	TRY(sql_next(&q, ret_joined, err));
	if (!*ret_joined)
		return 0;
	*ret_id = sql_i64(&q, 0);
	*ret_intake = sql_i64(&q, 1);
	old_lane = sql_i64(&q, 2);
	sql_end(&q);
	if ((int64_t)lane < old_lane)
		TRY(sql_exec(conn, QUEUE_LANE, err, SQL_I64(*ret_id), SQL_I64(lane)));
	return 0;
}

int analysis_queue(struct sql_conn *conn, int64_t file_id, int64_t submission_id,
		   enum write_lane lane, int64_t now_s, int64_t *ret_id, int64_t *ret_intake,
		   bool *ret_joined, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(queue_join(conn, file_id, lane, ret_id, ret_intake, ret_joined, err));
	if (*ret_joined)
		return 0;
	TRY(counter_next(conn, "intake", ret_intake, err));
	TRY(sql_start(&q, conn, QUEUE_ADD, err, SQL_I64(file_id),
		      submission_id ? SQL_I64(submission_id) : SQL_NULL(), SQL_I64(lane),
		      SQL_I64(*ret_intake), SQL_I64(now_s)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret_id = sql_i64(&q, 0);
	return 0;
}

static int claim_heads(struct sql_conn *conn, const char *text, const struct sql_val *vals,
		       size_t val_count, uint32_t max, struct analysis_claimed *claims,
		       size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start_vals(&q, conn, text, vals, val_count, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < max);
		claims[n].id = sql_i64(&q, 0);
		claims[n].intake = sql_i64(&q, 1);
		claims[n].lane = sql_i64(&q, 2) == LANE_API ? LANE_API : LANE_BULK;
		claims[n].attempts = sql_i64(&q, 3);
		claims[n].file.id = sql_i64(&q, 4);
		claims[n].user_id = sql_i64(&q, 5);
		claims[n].quarantined = sql_i64(&q, 6) != 0;
		claims[n].parent_id = sql_i64(&q, 7);
		claims[n].root_id = sql_i64(&q, 8);
		claims[n].depth = sql_i64(&q, 9);
		claims[n].submission_id = sql_i64(&q, 10);
		claims[n].suspect = (enum analysis_suspect)sql_i64(&q, 11);
		claims[n].has_unpacking = sql_i64(&q, 12) != 0;
		n++;
	}
	*ret_n = n;
	return 0;
}

static int claim_all(struct sql_conn *conn, struct analysis_claimed *claims, size_t n,
		     struct str owner, int64_t lease_until_s, struct arena *arena, struct err *err)
{
	int64_t generation;

	if (n)
		TRY(counter_get(conn, "generation", &generation, err));
	for (size_t i = 0; i < n; i++) {
		claims[i].generation = generation;
		TRY(sql_exec(conn, CLAIM_ONE, err, SQL_I64(claims[i].id), SQL_I64(generation),
			     SQL_TEXT(owner), SQL_I64(lease_until_s)));
		TRY(file_row_by_id(conn, claims[i].file.id, arena, &claims[i].file, err));
	}
	return 0;
}

int analysis_claim(struct sql_conn *conn, uint32_t max, enum write_lane last_lane, struct str owner,
		   int64_t lease_until_s, struct arena *arena, struct analysis_claimed **ret,
		   size_t *ret_n, struct err *err)
{
	struct analysis_claimed *claims = arena_must(arena, max * sizeof *claims);
	size_t n;

	TRY(claim_heads(conn, CLAIM_HEAD, SQL_VALS(SQL_I64(max), SQL_I64(last_lane)), max, claims,
			&n, err));
	TRY(claim_all(conn, claims, n, owner, lease_until_s, arena, err));
	*ret = claims;
	*ret_n = n;
	return 0;
}

int analysis_claim_suspects(struct sql_conn *conn, uint32_t max, struct str owner,
			    int64_t lease_until_s, struct arena *arena,
			    struct analysis_claimed **ret, size_t *ret_n, struct err *err)
{
	struct analysis_claimed *claims = arena_must(arena, max * sizeof *claims);
	size_t n;

	TRY(claim_heads(conn, CLAIM_SUSPECTS, SQL_VALS(SQL_I64(max)), max, claims, &n, err));
	TRY(claim_all(conn, claims, n, owner, lease_until_s, arena, err));
	*ret = claims;
	*ret_n = n;
	return 0;
}

int analysis_defer(struct sql_conn *conn, int64_t id, struct str owner,
		   enum analysis_suspect suspect, struct err *err)
{
	return sql_exec(conn, DEFER, err, SQL_I64(id), SQL_TEXT(owner), SQL_I64(suspect));
}

int analysis_is_held(struct sql_conn *conn, int64_t id, struct str owner, bool *ret,
		     struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, HELD, err, SQL_I64(id), SQL_TEXT(owner)));
	return sql_next(&q, ret, err);
}

int analysis_complete(struct sql_conn *conn, int64_t id, struct str owner, int64_t generation,
		      struct str not_run, int64_t now_s, bool *ret_mine, struct err *err)
{
	const struct sql_val vals[] = {
		SQL_I64(id),         SQL_TEXT(owner),
		SQL_I64(generation), not_run.n ? SQL_TEXT(not_run) : SQL_NULL(),
		SQL_I64(now_s),
	};
	uint64_t changes;

	TRY(sql_exec_vals(conn, COMPLETE, vals, 5, &changes, err));
	*ret_mine = changes == 1;
	return 0;
}

int analysis_release(struct sql_conn *conn, struct str keep_owner, struct err *err)
{
	return sql_exec(conn, RELEASE_ALL, err, SQL_TEXT(keep_owner));
}

int analysis_release_one(struct sql_conn *conn, int64_t id, struct err *err)
{
	return sql_exec(conn, RELEASE_ONE, err, SQL_I64(id));
}

int analysis_crashed(struct sql_conn *conn, int64_t id, struct err *err)
{
	return sql_exec(conn, CRASHED, err, SQL_I64(id));
}

int analyses_open_until(struct sql_conn *conn, int64_t id, uint64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, OPEN_UNTIL, err, SQL_I64(id)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret = (uint64_t)sql_i64(&q, 0);
	return 0;
}

int analysis_row_get(struct sql_conn *conn, int64_t intake, struct arena *arena,
		     struct analysis_row *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct str sha256;
	bool row;

	TRY(sql_start(&q, conn, ROW_BY_INTAKE, err, SQL_I64(intake)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no such analysis");
	*ret = (struct analysis_row){
		.id = sql_i64(&q, 0),
		.file_id = sql_i64(&q, 1),
		.intake = sql_i64(&q, 2),
		.state = sql_i64(&q, 3),
		.generation = sql_i64(&q, 4),
		.created_s = sql_i64(&q, 5),
		.completed_s = sql_i64(&q, 6),
		.not_run = arena_str(arena, sql_str(&q, 7)),
	};
	sha256 = sql_str(&q, 8);
	if (sha256.n == SHA256_BYTES)
		memcpy(ret->sha256, sha256.p, SHA256_BYTES);
	return 0;
}

int quarantine_add(struct sql_conn *conn, int64_t file_id, int64_t ruleset_id, int64_t version,
		   struct str reason, int64_t now_s, struct err *err)
{
	return sql_exec(conn, QUARANTINE_ADD, err, SQL_I64(file_id), SQL_I64(ruleset_id),
			SQL_I64(version), SQL_TEXT(reason), SQL_I64(now_s));
}

int quarantine_samples(struct sql_conn *conn, int64_t ruleset_id, int64_t version, int64_t *ret,
		       struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, QUARANTINE_SAMPLES, err, SQL_I64(ruleset_id), SQL_I64(version)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret = sql_i64(&q, 0);
	return 0;
}

int quarantine_of(struct sql_conn *conn, int64_t file_id, struct arena *arena,
		  struct quarantine_row **ret, size_t *ret_n, struct err *err)
{
	enum {
		QUARANTINE_ROWS_MAX = 1000
	};
	AUTO(sql_end) struct sql_query q = { 0 };
	struct quarantine_row *rows = NULL;
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, QUARANTINE_OF, err, SQL_I64(file_id),
		      SQL_I64(QUARANTINE_ROWS_MAX)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		if (!rows)
			rows = arena_must(arena, QUARANTINE_ROWS_MAX * sizeof *rows);
		REQUIRE(n < QUARANTINE_ROWS_MAX);
		rows[n].ruleset_id = sql_i64(&q, 0);
		rows[n].version = sql_i64(&q, 1);
		rows[n].reason = arena_str(arena, sql_str(&q, 2));
		n++;
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}
