#include "store/meta_live.h"

#include "store/meta_file.h"

enum {
	LIVE_ROWS_MAX = 1 << 20 /* rulesets; far above what one machine hunts with */
};

#define ROWS(text)                                                                                 \
	"SELECT id, version, owner_id, generation, length(CAST(rules AS BLOB))" text               \
	" FROM ruleset WHERE enabled = 1 AND deleted = 0 AND suspended IS NULL AND entity = ?1 "
static const char ROWS_ALL[] = ROWS(", rules") "ORDER BY id";
static const char ROWS_SINCE[] =
	ROWS(", rules") "AND id IN (SELECT ruleset_id FROM generation WHERE number > ?2) "
			"ORDER BY id";
static const char HEADS[] = ROWS("") "ORDER BY generation, id";
static const char CHANGED[] =
	"SELECT DISTINCT ruleset_id FROM generation WHERE number > ?1 ORDER BY ruleset_id";
static const char VERSION_RULES[] =
	"SELECT rules FROM ruleset_version WHERE ruleset_id = ?1 AND version = ?2";
static const char TELLER[] =
	"SELECT owner_id, limit_day, name, enabled = 1 AND deleted = 0 AND suspended IS NULL "
	"AND coalesce(scheduled_disable_s > ?2, 1) FROM ruleset WHERE id = ?1";
static const char SUSPEND[] =
	"UPDATE ruleset SET suspended = ?3, modified_s = ?4, generation = ?5 "
	"WHERE id = ?1 AND version = ?2 AND suspended IS NULL AND deleted = 0";
static const char GENERATION_ADD[] =
	"INSERT INTO generation (number, ruleset_id, ruleset_version, change, date_s) "
	"VALUES (?1, ?2, ?3, ?4, ?5)";

int live_generation(struct sql_conn *conn, int64_t *ret, struct err *err)
{
	return counter_get(conn, "generation", ret, err);
}

static int too_much(struct err *err)
{
	return err_set(err, ERR_TOO_LARGE, "the rulesets are more than fits into memory at once");
}

/* Users decide how much text there is: it may not stop the process. */
static int text_keep(struct arena *arena, struct str s, struct str *ret, struct err *err)
{
	char *copy = arena_try(arena, s.n + 1);

	if (!copy)
		return too_much(err);
	if (s.n)
		memcpy(copy, s.p, s.n);
	*ret = str_make(copy, s.n);
	return 0;
}

/*
 * Growing lists in an arena: doubles by copying; what is left behind dies with it.
 * NULL: too many.
 */
static void *list_grow(struct arena *arena, void *old, size_t n, size_t *cap, size_t size)
{
	void *bigger;

	if (n < *cap)
		return old;
	if (n >= LIVE_ROWS_MAX)
		return NULL;
	*cap = *cap ? *cap * 2 : 64;
	bigger = arena_try(arena, *cap * size);
	if (n && bigger)
		memcpy(bigger, old, n * size);
	return bigger;
}

static int read_rows(struct sql_conn *conn, const char *text, const struct sql_val *vals,
		     size_t val_count, bool with_rules, struct arena *arena, struct live_row **ret,
		     size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct live_row *rows = NULL;
	size_t n = 0, cap = 0;
	bool row;

	TRY(sql_start_vals(&q, conn, text, vals, val_count, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		rows = list_grow(arena, rows, n, &cap, sizeof *rows);
		if (!rows)
			return too_much(err);
		rows[n] = (struct live_row){ .id = sql_i64(&q, 0),
					     .version = sql_i64(&q, 1),
					     .owner_id = sql_i64(&q, 2),
					     .generation = sql_i64(&q, 3),
					     .bytes = (uint64_t)sql_i64(&q, 4) };
		if (with_rules)
			TRY(text_keep(arena, sql_str(&q, 5), &rows[n].rules, err));
		n++;
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

int live_rows(struct sql_conn *conn, const char *entity, int64_t since, struct arena *arena,
	      struct live_row **ret, size_t *ret_n, struct err *err)
{
	const struct sql_val vals[] = { SQL_TEXT(str_of(entity)), SQL_I64(since) };

	return read_rows(conn, since > 0 ? ROWS_SINCE : ROWS_ALL, vals, since > 0 ? 2 : 1, true,
			 arena, ret, ret_n, err);
}

int live_heads(struct sql_conn *conn, const char *entity, struct arena *arena,
	       struct live_row **ret, size_t *ret_n, struct err *err)
{
	return read_rows(conn, HEADS, SQL_VALS(SQL_TEXT(str_of(entity))), false, arena, ret, ret_n,
			 err);
}

int live_changed(struct sql_conn *conn, int64_t since, struct arena *arena, int64_t **ret,
		 size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	int64_t *ids = NULL;
	size_t n = 0, cap = 0;
	bool row;

	TRY(sql_start(&q, conn, CHANGED, err, SQL_I64(since)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		ids = list_grow(arena, ids, n, &cap, sizeof *ids);
		if (!ids)
			return too_much(err);
		ids[n++] = sql_i64(&q, 0);
	}
	*ret = ids;
	*ret_n = n;
	return 0;
}

int live_version_rules(struct sql_conn *conn, int64_t ruleset_id, int64_t version,
		       struct arena *arena, struct str *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, VERSION_RULES, err, SQL_I64(ruleset_id), SQL_I64(version)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no version %lld of ruleset %lld",
			       (long long)version, (long long)ruleset_id);
	return text_keep(arena, sql_str(&q, 0), ret, err);
}

int live_teller(struct sql_conn *conn, int64_t ruleset_id, int64_t now_s, struct arena *arena,
		struct live_teller *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, TELLER, err, SQL_I64(ruleset_id), SQL_I64(now_s)));
	TRY(sql_next(&q, &row, err));
	*ret = (struct live_teller){ .may_tell = false };
	if (!row)
		return 0;
	ret->owner_id = sql_i64(&q, 0);
	ret->limit = sql_i64(&q, 1);
	ret->name = arena_str(arena, sql_str(&q, 2));
	ret->may_tell = sql_i64(&q, 3) != 0;
	return 0;
}

int live_suspend(struct sql_conn *conn, int64_t ruleset_id, int64_t version, struct str reason,
		 int64_t now_s, bool *ret_done, struct err *err)
{
	int64_t generation;
	uint64_t changes;
	struct sql_val vals[5];

	TRY(counter_get(conn, "generation", &generation, err));
	vals[0] = SQL_I64(ruleset_id);
	vals[1] = SQL_I64(version);
	vals[2] = SQL_TEXT(reason);
	vals[3] = SQL_I64(now_s);
	vals[4] = SQL_I64(generation + 1);
	TRY(sql_exec_vals(conn, SUSPEND, vals, 5, &changes, err));
	*ret_done = changes == 1;
	if (!*ret_done)
		return 0;
	TRY(counter_next(conn, "generation", &generation, err));
	return sql_exec(conn, GENERATION_ADD, err, SQL_I64(generation), SQL_I64(ruleset_id),
			SQL_I64(version), SQL_TEXT(STR("suspend")), SQL_I64(now_s));
}
