#include "store/meta_bundle.h"

#include "base/limits.h"

enum {
	UNLINK_WAITING_MAX = 10000 /* containers under way that hold one file */
};

static const char LINK[] = "INSERT INTO bundle (parent_id, child_id, name, first_s) "
			   "VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
/* A file stands in a list at the first of its names. */
static const char PAGE_INSIDE[] =
	"SELECT b.id, b.child_id, f.sha256, b.name FROM bundle b JOIN file f ON f.id = b.child_id "
	"WHERE b.parent_id = ?1 AND b.id > ?2 AND NOT EXISTS (SELECT 1 FROM bundle e "
	"WHERE e.parent_id = b.parent_id AND e.child_id = b.child_id AND e.id < b.id) "
	"ORDER BY b.id LIMIT ?3";
static const char PAGE_AROUND[] =
	"SELECT b.id, b.parent_id, f.sha256, b.name FROM bundle b JOIN file f ON f.id = "
	"b.parent_id "
	"WHERE b.child_id = ?1 AND b.id > ?2 AND NOT EXISTS (SELECT 1 FROM bundle e "
	"WHERE e.parent_id = b.parent_id AND e.child_id = b.child_id AND e.id < b.id) "
	"ORDER BY b.id LIMIT ?3";
static const char COUNT_INSIDE[] =
	"SELECT count(DISTINCT child_id) FROM bundle WHERE parent_id = ?1";
static const char COUNT_AROUND[] =
	"SELECT count(DISTINCT parent_id) FROM bundle WHERE child_id = ?1";
static const char TYPES[] =
	"SELECT coalesce(f.file_type, 0), count(*) FROM bundle b JOIN file f ON f.id = b.child_id "
	"WHERE b.parent_id = ?1 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?2";
static const char INFO_GET[] =
	"SELECT listing, tags, report, report_tags FROM bundle_info WHERE file_id = ?1";
static const char INFO_PUT[] =
	"INSERT INTO bundle_info (file_id, listing, tags, report, report_tags) "
	"VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (file_id) DO UPDATE SET listing = ?2, tags = ?3, "
	"report = ?4, report_tags = ?5";
static const char IS_QUEUED[] = "SELECT 1 FROM analysis WHERE parent_id = ?1 AND file_id = ?2";
static const char QUEUE[] =
	"INSERT INTO analysis (file_id, submission_id, lane, intake, state, created_s, parent_id, "
	"root_id, depth) VALUES (?1, (SELECT id FROM submission WHERE id = ?2), ?3, ?4, 0, ?5, ?6, "
	"?7, ?8)";
static const char SPEND[] =
	"INSERT INTO unpacking (analysis_id, entries, bytes) SELECT id, 1, ?2 FROM analysis "
	"WHERE id = ?1 ON CONFLICT (analysis_id) DO UPDATE SET entries = entries + 1, "
	"bytes = bytes + ?2";
static const char BUDGET[] =
	"SELECT entries, bytes, password FROM unpacking WHERE analysis_id = ?1";
static const char PASSWORD_SET[] = "INSERT INTO unpacking (analysis_id, password) VALUES (?1, ?2) "
				   "ON CONFLICT (analysis_id) DO UPDATE SET password = ?2";
static const char ANCESTORS[] =
	"WITH RECURSIVE up (id, level) AS (SELECT parent_id, 1 FROM analysis WHERE id = ?1 "
	"UNION ALL SELECT a.parent_id, level + 1 FROM up JOIN analysis a ON a.id = up.id "
	"WHERE a.parent_id IS NOT NULL AND level < ?2) "
	"SELECT a.id, a.file_id, f.sha256 FROM up JOIN analysis a ON a.id = up.id "
	"JOIN file f ON f.id = a.file_id ORDER BY up.level";
static const char HAS_OPEN[] =
	"SELECT EXISTS (SELECT 1 FROM analysis WHERE parent_id = ?1 AND state < 2)";
static const char WAIT[] =
	"UPDATE analysis SET stage = 1, generation = ?3, not_run = ?4, lease_owner = NULL, "
	"lease_until_s = NULL WHERE id = ?1 AND state = 1 AND lease_owner = ?2";
static const char WAITING[] =
	"SELECT a.state = 1 AND a.stage = 1 AND NOT EXISTS (SELECT 1 FROM analysis c "
	"WHERE c.parent_id = a.id AND c.state < 2), a.file_id, a.parent_id, a.not_run, f.sha256 "
	"FROM analysis a JOIN file f ON f.id = a.file_id WHERE a.id = ?1";
static const char INCOMPLETE[] =
	"SELECT count(*) FROM analysis WHERE parent_id = ?1 AND not_run IS NOT NULL";
static const char RELEASE[] =
	"UPDATE analysis SET state = 2, stage = 0, not_run = ?2, completed_s = ?3 WHERE id = ?1";
static const char FORGET[] = "DELETE FROM unpacking WHERE analysis_id = ?1";
static const char WAITING_FOR[] =
	"SELECT DISTINCT parent_id FROM analysis WHERE file_id = ?1 AND state < 2 "
	"AND parent_id IS NOT NULL LIMIT ?2";
static const char *const UNLINK[] = {
	"DELETE FROM bundle WHERE parent_id = ?1",
	"DELETE FROM bundle WHERE child_id = ?1",
	"DELETE FROM bundle_info WHERE file_id = ?1",
	/* What was inside stays, and its analyses; whoever brought it is not known any more. */
	("UPDATE analysis SET submission_id = NULL WHERE submission_id IN "
	 "(SELECT id FROM submission WHERE file_id = ?1)"),
};

static void copy_sha256(uint8_t to[SHA256_BYTES], struct str from)
{
	if (from.n == SHA256_BYTES)
		memcpy(to, from.p, SHA256_BYTES);
}

/* ---- What is inside ---- */

int bundle_link(struct sql_conn *conn, int64_t parent_file_id, int64_t child_file_id,
		struct str name, int64_t now_s, struct err *err)
{
	return sql_exec(conn, LINK, err, SQL_I64(parent_file_id), SQL_I64(child_file_id),
			SQL_TEXT(name), SQL_I64(now_s));
}

int bundle_page(struct sql_conn *conn, int64_t file_id, bool inside, int64_t after, uint32_t max,
		struct arena *arena, struct bundle_row **ret, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct bundle_row *rows = arena_must(arena, (max + 1ul) * sizeof *rows);
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, inside ? PAGE_INSIDE : PAGE_AROUND, err, SQL_I64(file_id),
		      SQL_I64(after), SQL_I64(max)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < max);
		rows[n] = (struct bundle_row){ .id = sql_i64(&q, 0),
					       .file_id = sql_i64(&q, 1),
					       .name = arena_str(arena, sql_str(&q, 3)) };
		copy_sha256(rows[n++].sha256, sql_str(&q, 2));
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

int bundle_count(struct sql_conn *conn, int64_t file_id, bool inside, uint64_t *ret,
		 struct err *err)
{
	int64_t n;

	TRY(sql_one_i64(conn, inside ? COUNT_INSIDE : COUNT_AROUND, SQL_VALS(SQL_I64(file_id)), 0,
			&n, err));
	*ret = (uint64_t)n;
	return 0;
}

int bundle_types(struct sql_conn *conn, int64_t file_id, struct bundle_type ret[BUNDLE_TYPES_MAX],
		 size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, TYPES, err, SQL_I64(file_id), SQL_I64(BUNDLE_TYPES_MAX)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < BUNDLE_TYPES_MAX);
		ret[n++] =
			(struct bundle_type){ (uint32_t)sql_i64(&q, 0), (uint64_t)sql_i64(&q, 1) };
	}
	*ret_n = n;
	return 0;
}

/* ---- What is known of a container ---- */

int bundle_info_get(struct sql_conn *conn, int64_t file_id, struct arena *arena,
		    struct bundle_info *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	*ret = (struct bundle_info){ 0 };
	TRY(sql_start(&q, conn, INFO_GET, err, SQL_I64(file_id)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	ret->listing = arena_str(arena, sql_str(&q, 0));
	ret->tags = arena_str(arena, sql_str(&q, 1));
	ret->report = arena_str(arena, sql_str(&q, 2));
	ret->report_tags = arena_str(arena, sql_str(&q, 3));
	return 0;
}

int bundle_info_put(struct sql_conn *conn, int64_t file_id, const struct bundle_info *info,
		    struct err *err)
{
	return sql_exec(conn, INFO_PUT, err, SQL_I64(file_id), SQL_TEXT(info->listing),
			SQL_TEXT(info->tags), SQL_TEXT(info->report), SQL_TEXT(info->report_tags));
}

/* ---- Analyses of what is inside ---- */

int bundle_is_queued(struct sql_conn *conn, int64_t analysis_id, int64_t file_id, bool *ret,
		     struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, IS_QUEUED, err, SQL_I64(analysis_id), SQL_I64(file_id)));
	return sql_next(&q, ret, err);
}

int bundle_queue(struct sql_conn *conn, const struct bundle_place *place, int64_t file_id,
		 uint64_t bytes, enum write_lane lane, int64_t now_s, bool *ret_new,
		 struct err *err)
{
	int64_t intake;
	bool known;

	TRY(bundle_is_queued(conn, place->analysis_id, file_id, &known, err));
	*ret_new = !known;
	if (known)
		return 0;
	TRY(counter_next(conn, "intake", &intake, err));
	TRY(sql_exec(conn, QUEUE, err, SQL_I64(file_id), SQL_I64(place->submission_id),
		     SQL_I64(lane), SQL_I64(intake), SQL_I64(now_s), SQL_I64(place->analysis_id),
		     SQL_I64(place->root_id), SQL_I64(place->depth)));
	return sql_exec(conn, SPEND, err, SQL_I64(place->root_id), SQL_I64(bytes));
}

int bundle_budget_get(struct sql_conn *conn, int64_t root_id, struct arena *arena,
		      struct bundle_budget *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	*ret = (struct bundle_budget){ 0 };
	TRY(sql_start(&q, conn, BUDGET, err, SQL_I64(root_id)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	ret->entries = (uint64_t)sql_i64(&q, 0);
	ret->bytes = (uint64_t)sql_i64(&q, 1);
	ret->password = arena_str(arena, sql_str(&q, 2));
	return 0;
}

int bundle_password_set(struct sql_conn *conn, int64_t root_id, struct str password,
			struct err *err)
{
	return sql_exec(conn, PASSWORD_SET, err, SQL_I64(root_id), SQL_TEXT(password));
}

int bundle_ancestors(struct sql_conn *conn, int64_t analysis_id,
		     struct bundle_ancestor ret[BUNDLE_DEPTH_MAX], size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, ANCESTORS, err, SQL_I64(analysis_id), SQL_I64(BUNDLE_DEPTH_MAX)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < BUNDLE_DEPTH_MAX);
		ret[n] = (struct bundle_ancestor){ .analysis_id = sql_i64(&q, 0),
						   .file_id = sql_i64(&q, 1) };
		copy_sha256(ret[n++].sha256, sql_str(&q, 2));
	}
	*ret_n = n;
	return 0;
}

int bundle_has_open(struct sql_conn *conn, int64_t analysis_id, bool *ret, struct err *err)
{
	int64_t open;

	TRY(sql_one_i64(conn, HAS_OPEN, SQL_VALS(SQL_I64(analysis_id)), 0, &open, err));
	*ret = open != 0;
	return 0;
}

int bundle_wait(struct sql_conn *conn, int64_t analysis_id, struct str owner, int64_t generation,
		struct str not_run, bool *ret_mine, struct err *err)
{
	const struct sql_val vals[] = { SQL_I64(analysis_id), SQL_TEXT(owner), SQL_I64(generation),
					not_run.n ? SQL_TEXT(not_run) : SQL_NULL() };
	uint64_t changes;

	TRY(sql_exec_vals(conn, WAIT, vals, 4, &changes, err));
	*ret_mine = changes == 1;
	return 0;
}

int bundle_waiting(struct sql_conn *conn, int64_t analysis_id, struct arena *arena,
		   struct bundle_waiting *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	int64_t incomplete;
	bool row;

	*ret = (struct bundle_waiting){ 0 };
	TRY(sql_start(&q, conn, WAITING, err, SQL_I64(analysis_id)));
	TRY(sql_next(&q, &row, err));
	if (!row || sql_i64(&q, 0) == 0)
		return 0;
	ret->waits = true;
	ret->file_id = sql_i64(&q, 1);
	ret->parent_id = sql_i64(&q, 2);
	ret->not_run = arena_str(arena, sql_str(&q, 3));
	copy_sha256(ret->sha256, sql_str(&q, 4));
	sql_end(&q);
	TRY(sql_one_i64(conn, INCOMPLETE, SQL_VALS(SQL_I64(analysis_id)), 0, &incomplete, err));
	ret->incomplete = (uint64_t)incomplete;
	return 0;
}

int bundle_release(struct sql_conn *conn, int64_t analysis_id, struct str not_run, int64_t now_s,
		   struct err *err)
{
	return sql_exec(conn, RELEASE, err, SQL_I64(analysis_id),
			not_run.n ? SQL_TEXT(not_run) : SQL_NULL(), SQL_I64(now_s));
}

int bundle_forget(struct sql_conn *conn, int64_t analysis_id, struct err *err)
{
	return sql_exec(conn, FORGET, err, SQL_I64(analysis_id));
}

int bundle_unlink(struct sql_conn *conn, int64_t file_id, struct arena *arena,
		  int64_t **ret_waiting, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	int64_t *ids = NULL;
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, WAITING_FOR, err, SQL_I64(file_id), SQL_I64(UNLINK_WAITING_MAX)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		if (ids == NULL)
			ids = arena_must(arena, UNLINK_WAITING_MAX * sizeof *ids);
		REQUIRE(n < UNLINK_WAITING_MAX);
		ids[n++] = sql_i64(&q, 0);
	}
	sql_end(&q);
	for (size_t i = 0; i < sizeof UNLINK / sizeof UNLINK[0]; i++)
		TRY(sql_exec(conn, UNLINK[i], err, SQL_I64(file_id)));
	*ret_waiting = ids;
	*ret_n = n;
	return 0;
}
