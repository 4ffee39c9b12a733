#include "store/meta_file_lists.h"

#define SUBMISSION_COLUMNS                                                                         \
	"s.id, s.user_id, s.date_s, s.name, s.interface, f.sha256 FROM submission s "              \
	"JOIN file f ON f.id = s.file_id "
static const char SUBMISSIONS[] = "SELECT " SUBMISSION_COLUMNS
				  "WHERE s.file_id = ?1 AND s.id < ?2 ORDER BY s.id DESC LIMIT ?3";
static const char SUBMISSION_ONE[] = "SELECT " SUBMISSION_COLUMNS "WHERE s.id = ?1";
static const char SUBMISSION_COUNT[] = "SELECT count(*) FROM submission WHERE file_id = ?1";

static const char ANALYSES[] =
	"SELECT a.id, a.file_id, a.intake, a.state, a.generation, a.created_s, a.completed_s, "
	"a.not_run, f.sha256 FROM analysis a JOIN file f ON f.id = a.file_id "
	"WHERE a.file_id = ?1 AND a.id < ?2 ORDER BY a.id DESC LIMIT ?3";
static const char ANALYSIS_COUNT[] = "SELECT count(*) FROM analysis WHERE file_id = ?1";

static int64_t before(int64_t id)
{
	return id ? id : INT64_MAX;
}

static int count(struct sql_conn *conn, const char *text, int64_t file_id, int64_t *ret,
		 struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, text, err, SQL_I64(file_id)));
	TRY(sql_next(&q, &row, err));
	*ret = row ? sql_i64(&q, 0) : 0;
	return 0;
}

static void read_sha256(const struct sql_query *q, int column, uint8_t *to)
{
	struct str sha256 = sql_str(q, column);

	if (sha256.n == SHA256_BYTES)
		memcpy(to, sha256.p, SHA256_BYTES);
}

/* ---- Submissions ---- */

static void read_submission(const struct sql_query *q, struct arena *arena,
			    struct submission_entry *to)
{
	*to = (struct submission_entry){ .id = sql_i64(q, 0),
					 .user_id = sql_i64(q, 1),
					 .date_s = sql_i64(q, 2),
					 .name = arena_str(arena, sql_str(q, 3)),
					 .interface = arena_str(arena, sql_str(q, 4)) };
	read_sha256(q, 5, to->sha256);
}

int submission_list(struct sql_conn *conn, int64_t file_id, int64_t before_id, uint32_t limit,
		    struct arena *arena, struct submission_entry **ret, size_t *ret_n,
		    struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct submission_entry *rows = arena_must(arena, (limit + 1) * sizeof *rows);
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, SUBMISSIONS, err, SQL_I64(file_id), SQL_I64(before(before_id)),
		      SQL_I64(limit)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < limit);
		read_submission(&q, arena, &rows[n++]);
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

int submission_count(struct sql_conn *conn, int64_t file_id, int64_t *ret, struct err *err)
{
	return count(conn, SUBMISSION_COUNT, file_id, ret, err);
}

int submission_get(struct sql_conn *conn, int64_t id, struct arena *arena,
		   struct submission_entry *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, SUBMISSION_ONE, err, SQL_I64(id)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no such submission");
	read_submission(&q, arena, ret);
	return 0;
}

/* ---- Analyses ---- */

int analysis_list(struct sql_conn *conn, int64_t file_id, int64_t before_id, uint32_t limit,
		  struct arena *arena, struct analysis_row **ret, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct analysis_row *rows = arena_must(arena, (limit + 1) * sizeof *rows);
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, ANALYSES, err, SQL_I64(file_id), SQL_I64(before(before_id)),
		      SQL_I64(limit)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < limit);
		rows[n] = (struct analysis_row){ .id = sql_i64(&q, 0),
						 .file_id = sql_i64(&q, 1),
						 .intake = sql_i64(&q, 2),
						 .state = sql_i64(&q, 3),
						 .generation = sql_i64(&q, 4),
						 .created_s = sql_i64(&q, 5),
						 .completed_s = sql_i64(&q, 6),
						 .not_run = arena_str(arena, sql_str(&q, 7)) };
		read_sha256(&q, 8, rows[n++].sha256);
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

int analysis_count(struct sql_conn *conn, int64_t file_id, int64_t *ret, struct err *err)
{
	return count(conn, ANALYSIS_COUNT, file_id, ret, err);
}
