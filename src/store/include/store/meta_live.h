#ifndef STORE_META_LIVE_H
#define STORE_META_LIVE_H
#include "base/arena.h"
#include "store/sql.h"

/*
 * Rulesets as hunting sees them: what is enabled at which generation, and what
 * a completed analysis may still tell. Text lives in the given arena.
 */
struct live_row {
	int64_t id;
	int64_t version;
	int64_t owner_id;
	int64_t generation; /* of its last change that hunting saw */
	uint64_t bytes;     /* of its rules */
	struct str rules;
};

/* The current generation. */
MUST_USE int live_generation(struct sql_conn *conn, int64_t *ret, struct err *err);

/*
 * Enabled rulesets of the entity ("file", …) in order of id; with since > 0 only
 * those changed after that generation. Call in a transaction together with
 * live_generation and live_changed for one consistent view.
 */
MUST_USE int live_rows(struct sql_conn *conn, const char *entity, int64_t since,
		       struct arena *arena, struct live_row **ret, size_t *ret_n, struct err *err);
/* The same rulesets, the longest unchanged first, without their text. */
MUST_USE int live_heads(struct sql_conn *conn, const char *entity, struct arena *arena,
			struct live_row **ret, size_t *ret_n, struct err *err);
/* Ids of all rulesets changed after the generation, ascending. */
MUST_USE int live_changed(struct sql_conn *conn, int64_t since, struct arena *arena, int64_t **ret,
			  size_t *ret_n, struct err *err);
/* The text of one version. ERR_NOT_FOUND. */
MUST_USE int live_version_rules(struct sql_conn *conn, int64_t ruleset_id, int64_t version,
				struct arena *arena, struct str *ret, struct err *err);

/* What the commit of an analysis must know of a ruleset that matched. */
struct live_teller {
	bool may_tell; /* exists, enabled now, not suspended */
	int64_t owner_id;
	int64_t limit; /* notifications a rolling day */
	struct str name;
};
MUST_USE int live_teller(struct sql_conn *conn, int64_t ruleset_id, int64_t now_s,
			 struct arena *arena, struct live_teller *ret, struct err *err);
/*
 * Switch a ruleset off for what it did to scanners, as a change of its own
 * generation. Nothing happens (*ret_done false) if it is at another version by
 * now or already suspended.
 */
MUST_USE int live_suspend(struct sql_conn *conn, int64_t ruleset_id, int64_t version,
			  struct str reason, int64_t now_s, bool *ret_done, struct err *err);
#endif
