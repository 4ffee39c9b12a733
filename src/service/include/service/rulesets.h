#ifndef SERVICE_RULESETS_H
#define SERVICE_RULESETS_H
#include "service/service.h"
#include "service/users.h"

/*
 * Livehunt rulesets. Every change that concerns hunting gets the next generation;
 * it is answered when that is committed and its own compile has succeeded: from
 * then on every upload acknowledged later is hunted with it.
 */
struct ruleset {
	int64_t id;
	int64_t owner_id;
	struct str owner; /* user name */
	struct str name;
	struct str rules;
	int64_t version;
	int64_t generation;
	bool enabled; /* it hunts; false also while suspended */
	int64_t limit;
	struct str entity;      /* "file", "url", "domain", "ip_address" */
	struct str emails_json; /* JSON array of strings */
	struct str tags_json;
	struct str rule_names_json;
	int64_t rule_count;
	int64_t created_s;
	int64_t modified_s;
	int64_t disable_s;    /* when it switches itself off; 0: never */
	struct str suspended; /* why weir switched it off; "" if not */
	/* Its daily limit, as it stands now: see store/meta_limit.h. */
	bool is_limited;
	double limited_ratio; /* share of the last 24 hours at the limit */
	int64_t dropped;      /* matches that limits kept from being told, in all */
};

/* What to set; a member is looked at only if its flag is in `set`. */
enum ruleset_set {
	RULESET_NAME = 1 << 0,
	RULESET_RULES = 1 << 1,
	RULESET_ENABLED = 1 << 2,
	RULESET_LIMIT = 1 << 3,
	RULESET_EMAILS = 1 << 4,
	RULESET_TAGS = 1 << 5,
	RULESET_ENTITY = 1 << 6, /* only when creating */
	RULESET_DISABLE = 1 << 7,
};
struct ruleset_change {
	unsigned set;
	struct str name;
	struct str rules;
	bool enabled;
	int64_t limit;
	struct str emails_json;
	struct str tags_json;
	struct str entity;
	int64_t disable_s; /* in the future, UNIX seconds; 0: never */
	const struct audit_by
		*by; /* for the audit log: who, from where. Copied; NULL: the user, from nowhere */
};

/*
 * The outcome, on a thread that may block; everything in it lives in `arena`,
 * which dies after the call. rc -ERR_INVALID with `messages` (a JSON array of the
 * compiler's messages) when the rules do not compile.
 */
typedef void (*ruleset_done)(const struct ruleset *r, int rc, const struct err *err,
			     struct str messages, void *arg);

/*
 * All three return at once and copy what they are given. On failure `done` is not
 * called: ERR_INVALID, a member that is not acceptable; ERR_BUSY; ERR_CLOSED.
 * `done` gets ERR_QUOTA where the owner's quotas on rules allow no such ruleset.
 */
MUST_USE int ruleset_create(struct service *svc, int64_t owner_id,
			    const struct ruleset_change *change, ruleset_done done, void *arg,
			    struct err *err);
/*
 * A date that is set stays until it has come, then the ruleset is off, once.
 * ERR_NOT_FOUND also where the user may not see it. Setting `enabled` on a
 * suspended ruleset lifts the suspension, as a new version.
 */
MUST_USE int ruleset_update(struct service *svc, int64_t user_id, int64_t id,
			    const struct ruleset_change *change, ruleset_done done, void *arg,
			    struct err *err);
MUST_USE int ruleset_delete(struct service *svc, int64_t user_id, int64_t id,
			    const struct audit_by *by, ruleset_done done, void *arg,
			    struct err *err);

/*
 * The same on a condition: `holds` is asked about the ruleset as it is when the
 * change would be made, so that nothing comes between; it must not block. false:
 * nothing is changed, the outcome is ERR_EXISTS. It is called on the writer's
 * thread, perhaps more than once, and after that `done` is, on another.
 */
typedef bool (*ruleset_holds)(const struct ruleset *r, void *arg);
MUST_USE int ruleset_update_if(struct service *svc, int64_t user_id, int64_t id,
			       const struct ruleset_change *change, ruleset_holds holds,
			       ruleset_done done, void *arg, struct err *err);
MUST_USE int ruleset_delete_if(struct service *svc, int64_t user_id, int64_t id,
			       const struct audit_by *by, ruleset_holds holds, ruleset_done done,
			       void *arg, struct err *err);

MUST_USE int ruleset_get(struct service *svc, int64_t user_id, int64_t id, struct arena *arena,
			 struct ruleset *ret, struct err *err);

enum ruleset_order {
	RULESET_BY_ID,
	RULESET_BY_NAME,
	RULESET_BY_CREATED,
	RULESET_BY_MODIFIED
};
struct ruleset_query {
	int64_t owner_id;
	enum ruleset_order order;
	bool descending;
	uint32_t limit;
	struct str filter;    /* "" is all; see docs/filters.md */
	bool has_after;       /* continue after this position */
	struct str after_key; /* the order's value of the last row: name, or a number as text */
	int64_t after_id;
};
struct ruleset_page {
	struct ruleset *rows; /* in the arena */
	size_t count;
	bool more;
	int64_t total; /* that the filter picks */
};
/* Blocks. ERR_INVALID: filter or position, with a text for the client. */
MUST_USE int ruleset_list(struct service *svc, const struct ruleset_query *query,
			  struct arena *arena, struct ruleset_page *ret, struct err *err);

/* Switch off the rulesets whose time has come; called each second by the background thread. */
void rulesets_tick(struct service *svc);

/* ---- Operations: what is worked off after its request was answered ---- */

struct operation {
	char id[33];
	char status[16]; /* "running", "finished", "aborted" */
};
/*
 * Delete every ruleset the user has now; those made later stay. Blocks for the
 * commit that begins it; the rest survives a crash. ERR_BUSY: one is running.
 */
MUST_USE int ruleset_delete_all(struct service *svc, int64_t user_id, const struct audit_by *by,
				struct operation *ret, struct err *err);
/* ERR_NOT_FOUND: unknown, forgotten (30 days after its end), or another's. */
MUST_USE int operation_find(struct service *svc, int64_t user_id, struct str id,
			    struct operation *ret, struct err *err);
/* Work off some of what runs; called by the background thread. */
void operations_work(struct service *svc);
#endif
