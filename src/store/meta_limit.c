#include "store/meta_limit.h"

enum {
	DAY_S = 86400,
	HOUR_S = 3600,
	MINUTE_S = 60
};

/* The last entry, and what had been told a day before it or before now, if that is later. */
static const char STATE[] =
	"SELECT l.date_s, l.told, l.dropped, coalesce((SELECT told FROM ruleset_told "
	"WHERE ruleset_id = ?1 AND date_s <= max(?2, l.date_s) - 86400 "
	"ORDER BY date_s DESC LIMIT 1), 0) "
	"FROM (SELECT date_s, told, dropped FROM ruleset_told WHERE ruleset_id = ?1 "
	"ORDER BY date_s DESC LIMIT 1) AS l";
static const char ADD[] =
	"INSERT INTO ruleset_told (ruleset_id, date_s, told, dropped) VALUES (?1, ?2, ?3, ?4) "
	"ON CONFLICT (ruleset_id, date_s) DO UPDATE SET told = excluded.told, "
	"dropped = excluded.dropped";
static const char DROP[] =
	"UPDATE ruleset_told SET dropped = ?3 WHERE ruleset_id = ?1 AND date_s = ?2";
/* All but the newest of those that are a day old: windows begin at that one. */
static const char FORGET[] =
	"DELETE FROM ruleset_told WHERE ruleset_id = ?1 AND date_s < (SELECT max(date_s) "
	"FROM ruleset_told WHERE ruleset_id = ?1 AND date_s <= ?2)";
/* The first that still counts when the total is ?2 above what it was before it. */
static const char FIRST[] =
	"SELECT date_s FROM ruleset_told WHERE ruleset_id = ?1 AND date_s > ?3 AND told > ?2 "
	"ORDER BY date_s LIMIT 1";
static const char SPAN_BEGIN[] =
	"INSERT INTO ruleset_limited (ruleset_id, from_s, until_s) VALUES (?1, ?2, ?3) "
	"ON CONFLICT (ruleset_id, from_s) DO UPDATE SET until_s = excluded.until_s";
static const char SPAN_END[] =
	"UPDATE ruleset_limited SET until_s = ?2 WHERE ruleset_id = ?1 AND until_s > ?2";
static const char SPAN_FORGET[] =
	"DELETE FROM ruleset_limited WHERE ruleset_id = ?1 AND until_s <= ?2";
static const char SPANS[] =
	"SELECT from_s, until_s FROM ruleset_limited WHERE ruleset_id = ?1 AND until_s > ?2";
static const char DROPPED[] =
	"SELECT dropped FROM ruleset_told WHERE ruleset_id = ?1 ORDER BY date_s DESC LIMIT 1";
static const char GONE_TOLD[] = "DELETE FROM ruleset_told WHERE ruleset_id = ?1";
static const char GONE_SPANS[] = "DELETE FROM ruleset_limited WHERE ruleset_id = ?1";

int limit_state(struct sql_conn *conn, int64_t ruleset_id, int64_t now_s, struct limit_state *ret,
		struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	*ret = (struct limit_state){ .at_s = now_s, .last_s = -1 };
	TRY(sql_start(&q, conn, STATE, err, SQL_I64(ruleset_id), SQL_I64(now_s)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	ret->last_s = sql_i64(&q, 0);
	ret->at_s = ret->last_s > now_s ? ret->last_s : now_s;
	ret->told = sql_i64(&q, 1);
	ret->dropped = sql_i64(&q, 2);
	ret->day = ret->told - sql_i64(&q, 3);
	return 0;
}

/* Begin a time at the limit if `told` in all, `day` of them in a day, reach it at at_s. */
static int span_begin(struct sql_conn *conn, int64_t ruleset_id, int64_t limit, int64_t at_s,
		      int64_t told, int64_t day, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	int64_t until_s = INT64_MAX;
	bool row;

	if (day < limit)
		return 0;
	TRY(sql_start(&q, conn, FIRST, err, SQL_I64(ruleset_id), SQL_I64(told - limit),
		      SQL_I64(at_s - DAY_S)));
	TRY(sql_next(&q, &row, err));
	if (row) /* none: a limit of 0 never ends */
		until_s = sql_i64(&q, 0) + DAY_S;
	sql_end(&q);
	TRY(sql_exec(conn, SPAN_FORGET, err, SQL_I64(ruleset_id), SQL_I64(at_s - DAY_S)));
	return sql_exec(conn, SPAN_BEGIN, err, SQL_I64(ruleset_id), SQL_I64(at_s),
			SQL_I64(until_s));
}

int limit_count(struct sql_conn *conn, int64_t ruleset_id, int64_t limit,
		const struct limit_state *state, int64_t told, int64_t dropped, struct err *err)
{
	const int64_t at_s = state->at_s;

	if (told == 0 && dropped == 0)
		return 0;
	if (told == 0 && state->last_s >= 0 && state->last_s / MINUTE_S == at_s / MINUTE_S)
		return sql_exec(conn, DROP, err, SQL_I64(ruleset_id), SQL_I64(state->last_s),
				SQL_I64(state->dropped + dropped));
	TRY(sql_exec(conn, ADD, err, SQL_I64(ruleset_id), SQL_I64(at_s),
		     SQL_I64(state->told + told), SQL_I64(state->dropped + dropped)));
	if (state->last_s / HOUR_S != at_s / HOUR_S)
		TRY(sql_exec(conn, FORGET, err, SQL_I64(ruleset_id), SQL_I64(at_s - DAY_S)));
	if (told == 0)
		return 0;
	return span_begin(conn, ruleset_id, limit, at_s, state->told + told, state->day + told,
			  err);
}

int limit_changed(struct sql_conn *conn, int64_t ruleset_id, int64_t limit, int64_t now_s,
		  struct err *err)
{
	struct limit_state state;

	TRY(limit_state(conn, ruleset_id, now_s, &state, err));
	TRY(sql_exec(conn, SPAN_END, err, SQL_I64(ruleset_id), SQL_I64(state.at_s)));
	return span_begin(conn, ruleset_id, limit, state.at_s, state.told, state.day, err);
}

int limit_view(struct sql_conn *conn, int64_t ruleset_id, int64_t now_s, struct limit_view *ret,
	       struct err *err)
{
	struct limit_view view = { .is_limited = false };
	int64_t limited_s = 0;
	bool row;

	{
		AUTO(sql_end) struct sql_query q = { 0 };

		TRY(sql_start(&q, conn, DROPPED, err, SQL_I64(ruleset_id)));
		TRY(sql_next(&q, &row, err));
		if (row)
			view.dropped = sql_i64(&q, 0);
	}
	{
		AUTO(sql_end) struct sql_query q = { 0 };

		TRY(sql_start(&q, conn, SPANS, err, SQL_I64(ruleset_id), SQL_I64(now_s - DAY_S)));
		for (;;) {
			int64_t from, until;

			TRY(sql_next(&q, &row, err));
			if (!row)
				break;
			from = sql_i64(&q, 0);
			until = sql_i64(&q, 1);
			view.is_limited |= from <= now_s && now_s < until;
			from = from > now_s - DAY_S ? from : now_s - DAY_S;
			until = until < now_s ? until : now_s;
			if (until > from)
				limited_s += until - from;
		}
	}
	view.day_ratio = limited_s < DAY_S ? (double)limited_s / DAY_S : 1;
	*ret = view;
	return 0;
}

int limit_forget(struct sql_conn *conn, int64_t ruleset_id, struct err *err)
{
	TRY(sql_exec(conn, GONE_TOLD, err, SQL_I64(ruleset_id)));
	return sql_exec(conn, GONE_SPANS, err, SQL_I64(ruleset_id));
}
