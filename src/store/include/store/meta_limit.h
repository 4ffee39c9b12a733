#ifndef STORE_META_LIMIT_H
#define STORE_META_LIMIT_H
#include "store/sql.h"

/*
 * Daily limits of rulesets: ruleset_told, ruleset_limited.
 *
 * What counts at second t is what was told in (t - 24 h, t], deleted notifications
 * included: reading and deleting them makes no room. A ruleset is at its limit from
 * the second in which that many were told until the first of them is 24 hours old.
 * A clock that goes back changes nothing: a ruleset's time never falls.
 *
 * All that write are for the writer's connection.
 */
struct limit_state {
	int64_t at_s;    /* the time that counts: now, or the last entry's */
	int64_t last_s;  /* date of the last entry; -1: there is none */
	int64_t told;    /* in all */
	int64_t day;     /* in the 24 hours up to at_s */
	int64_t dropped; /* in all */
};
MUST_USE int limit_state(struct sql_conn *conn, int64_t ruleset_id, int64_t now_s,
			 struct limit_state *ret, struct err *err);

/*
 * Note what was told and dropped now; `state` is of this transaction. Begins a time
 * at the limit where that is reached. Drops count by the minute.
 */
MUST_USE int limit_count(struct sql_conn *conn, int64_t ruleset_id, int64_t limit,
			 const struct limit_state *state, int64_t told, int64_t dropped,
			 struct err *err);

/* The ruleset has this limit from now on. */
MUST_USE int limit_changed(struct sql_conn *conn, int64_t ruleset_id, int64_t limit, int64_t now_s,
			   struct err *err);

struct limit_view {
	bool is_limited;
	double day_ratio; /* share of the last 24 hours at the limit, 0 to 1 */
	int64_t dropped;  /* in all */
};
MUST_USE int limit_view(struct sql_conn *conn, int64_t ruleset_id, int64_t now_s,
			struct limit_view *ret, struct err *err);

/* The ruleset is deleted: it tells nothing any more. */
MUST_USE int limit_forget(struct sql_conn *conn, int64_t ruleset_id, struct err *err);
#endif
