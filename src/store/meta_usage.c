#include "store/meta_user.h"

static const char QUOTA_PUT[] = "INSERT INTO user_quota (user_id, quota, allowed) "
				"VALUES (?1, ?2, ?3) ON CONFLICT (user_id, quota) "
				"DO UPDATE SET allowed = excluded.allowed";
static const char QUOTA_REMOVE[] = "DELETE FROM user_quota WHERE user_id = ?1 AND quota = ?2";
static const char QUOTA_ALL[] = "SELECT quota, allowed FROM user_quota WHERE user_id = ?1";
static const char USED_PUT[] = "INSERT INTO user_used (user_id, quota, begin_s, used) "
			       "VALUES (?1, ?2, ?3, ?4) ON CONFLICT (user_id, quota) "
			       "DO UPDATE SET begin_s = excluded.begin_s, used = excluded.used";
static const char USED_ALL[] = "SELECT quota, begin_s, used FROM user_used WHERE user_id = ?1";
static const char USAGE_ADD[] = "INSERT INTO user_usage (user_id, day, endpoint, calls) "
				"VALUES (?1, ?2, ?3, ?4) ON CONFLICT (user_id, day, endpoint) "
				"DO UPDATE SET calls = calls + excluded.calls";
static const char USAGE_DAYS[] = "SELECT day, endpoint, calls FROM user_usage WHERE user_id = ?1 "
				 "AND day BETWEEN ?2 AND ?3 ORDER BY day, endpoint";
static const char USAGE_FORGET[] =
	"DELETE FROM user_usage WHERE (user_id, day, endpoint) IN "
	"(SELECT user_id, day, endpoint FROM user_usage WHERE day < ?1 LIMIT ?2)";
static const char RULES_COUNT[] =
	"SELECT coalesce(sum(rule_count), 0) FROM ruleset WHERE owner_id = ?1 AND enabled = 1 "
	"AND deleted = 0 AND suspended IS NULL AND id <> ?2";
static const char RULESETS_COUNT[] =
	"SELECT count(*) FROM ruleset WHERE owner_id = ?1 AND deleted = 0";

int quota_row_put(struct sql_conn *conn, int64_t user_id, struct str quota, int64_t allowed,
		  struct err *err)
{
	return sql_exec(conn, QUOTA_PUT, err, SQL_I64(user_id), SQL_TEXT(quota),
			allowed < 0 ? SQL_NULL() : SQL_I64(allowed));
}

int quota_row_remove(struct sql_conn *conn, int64_t user_id, struct str quota, struct err *err)
{
	return sql_exec(conn, QUOTA_REMOVE, err, SQL_I64(user_id), SQL_TEXT(quota));
}

int quota_rows_each(struct sql_conn *conn, int64_t user_id,
		    void (*each)(struct str quota, int64_t allowed, void *arg), void *arg,
		    struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, QUOTA_ALL, err, SQL_I64(user_id)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		each(sql_str(&q, 0), sql_is_null(&q, 1) ? -1 : sql_i64(&q, 1), arg);
	}
}

int used_row_put(struct sql_conn *conn, int64_t user_id, struct str quota, int64_t begin_s,
		 int64_t used, struct err *err)
{
	return sql_exec(conn, USED_PUT, err, SQL_I64(user_id), SQL_TEXT(quota), SQL_I64(begin_s),
			SQL_I64(used));
}

int used_rows_each(struct sql_conn *conn, int64_t user_id,
		   void (*each)(struct str quota, int64_t begin_s, int64_t used, void *arg),
		   void *arg, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, USED_ALL, err, SQL_I64(user_id)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		each(sql_str(&q, 0), sql_i64(&q, 1), sql_i64(&q, 2), arg);
	}
}

int usage_row_add(struct sql_conn *conn, int64_t user_id, int64_t day, struct str endpoint,
		  int64_t calls, struct err *err)
{
	return sql_exec(conn, USAGE_ADD, err, SQL_I64(user_id), SQL_I64(day), SQL_TEXT(endpoint),
			SQL_I64(calls));
}

int usage_rows_each(struct sql_conn *conn, int64_t user_id, int64_t first_day, int64_t last_day,
		    void (*each)(int64_t day, struct str endpoint, int64_t calls, void *arg),
		    void *arg, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, USAGE_DAYS, err, SQL_I64(user_id), SQL_I64(first_day),
		      SQL_I64(last_day)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		each(sql_i64(&q, 0), sql_str(&q, 1), sql_i64(&q, 2), arg);
	}
}

int usage_rows_forget(struct sql_conn *conn, int64_t before_day, uint32_t limit, uint32_t *ret_n,
		      struct err *err)
{
	const struct sql_val vals[] = { SQL_I64(before_day), SQL_I64(limit) };
	uint64_t n;

	TRY(sql_exec_vals(conn, USAGE_FORGET, vals, 2, &n, err));
	*ret_n = (uint32_t)n;
	return 0;
}

int user_rules_count(struct sql_conn *conn, int64_t user_id, int64_t except_id, int64_t *ret,
		     struct err *err)
{
	return sql_one_i64(conn, RULES_COUNT, SQL_VALS(SQL_I64(user_id), SQL_I64(except_id)), 0,
			   ret, err);
}

int user_rulesets_count(struct sql_conn *conn, int64_t user_id, int64_t *ret, struct err *err)
{
	return sql_one_i64(conn, RULESETS_COUNT, SQL_VALS(SQL_I64(user_id)), 0, ret, err);
}
