#ifndef STORE_META_RULESET_H
#define STORE_META_RULESET_H
#include "base/arena.h"
#include "store/sql.h"

/*
 * Rows of Livehunt rulesets as their owners see them: ruleset, ruleset_version,
 * generation. (meta_live.h has what hunting reads.) Functions that change rows
 * are for the writer's connection. Text in rows lives in the given arena; where
 * that is full the functions fail with ERR_TOO_LARGE.
 */
struct ruleset_row {
	int64_t id;
	int64_t owner_id;
	struct str owner; /* user name; only read */
	struct str name;
	struct str rules;
	int64_t version;
	int64_t generation; /* of the last change that hunting saw */
	bool enabled;
	int64_t limit;
	struct str entity;
	struct str emails; /* JSON array of strings, as the next two */
	struct str tags;
	struct str rule_names;
	int64_t rule_count;
	int64_t created_s;
	int64_t modified_s;
	int64_t disable_s; /* it switches itself off then; 0: never */
	bool is_suspended;
	struct str suspended; /* the reason */
	bool deleted;         /* only written */
};

/* What has not been deleted. ERR_NOT_FOUND also where somebody else owns it. */
MUST_USE int ruleset_row_get(struct sql_conn *conn, int64_t owner_id, int64_t id,
			     struct arena *arena, struct ruleset_row *ret, struct err *err);
/* Is or was there one of this id? */
MUST_USE int ruleset_row_exists(struct sql_conn *conn, int64_t id, bool *ret, struct err *err);
MUST_USE int ruleset_row_insert(struct sql_conn *conn, const struct ruleset_row *row,
				struct err *err);
/* Write all but id, owner, entity and creation date. */
MUST_USE int ruleset_row_update(struct sql_conn *conn, const struct ruleset_row *row,
				struct err *err);
/*
 * Delete it, as a change of its own generation if it hunted (*ret_was_live); *ret_done
 * false: it is gone already, or not this owner's. Nothing of its text is read.
 */
MUST_USE int ruleset_row_delete(struct sql_conn *conn, int64_t owner_id, int64_t id, int64_t now_s,
				bool *ret_done, bool *ret_was_live, struct err *err);
/* The first whose time to switch itself off has come. */
MUST_USE int ruleset_row_due(struct sql_conn *conn, int64_t now_s, int64_t *ret_id, bool *ret_found,
			     struct err *err);
/* Switch it off and forget the time, if that has come; the rest as for ruleset_row_delete. */
MUST_USE int ruleset_row_switch_off(struct sql_conn *conn, int64_t id, int64_t now_s,
				    bool *ret_done, bool *ret_was_live, struct err *err);
/* Keep the text of a version. */
MUST_USE int ruleset_version_add(struct sql_conn *conn, int64_t id, int64_t version,
				 struct str rules, struct err *err);
/* Log a change that hunting must see: "create", "edit", "enable", "disable", "delete". */
MUST_USE int ruleset_generation_add(struct sql_conn *conn, int64_t id, int64_t version,
				    const char *change, int64_t now_s, int64_t *ret_generation,
				    struct err *err);

enum ruleset_rows_order {
	RULESET_ROWS_BY_ID,
	RULESET_ROWS_BY_NAME,
	RULESET_ROWS_BY_CREATED,
	RULESET_ROWS_BY_MODIFIED,
	RULESET_ROWS_ORDERS
};
struct ruleset_rows_query {
	int64_t owner_id;
	enum ruleset_rows_order order;
	bool descending;
	uint32_t limit;
	bool has_after;        /* begin after this position */
	struct str after_name; /* by name */
	int64_t after_s;       /* by a date */
	int64_t after_id;
	size_t bytes_max; /* of text: the list ends early, but not before its first row */
};
/* A page by an index, ascending or descending; *ret_more: there are rows after it. */
MUST_USE int ruleset_rows(struct sql_conn *conn, const struct ruleset_rows_query *query,
			  struct arena *arena, struct ruleset_row **ret, size_t *ret_n,
			  bool *ret_more, struct err *err);
MUST_USE int ruleset_rows_count(struct sql_conn *conn, int64_t owner_id, int64_t *ret,
				struct err *err);
#endif
