#ifndef SERVICE_AUDIT_H
#define SERVICE_AUDIT_H
#include "base/json.h"
#include "service/service.h"
#include "store/meta_audit.h"

/*
 * The audit log: who did what to what, when, from where. What changes the
 * database is written down in the same transaction, so there is neither a change
 * without its line nor a line without its change. What does not (downloads) waits
 * in memory for the next second's commit: an orderly stop keeps all of it, a
 * crash or kill -9 loses the lines of that last second. More than
 * AUDIT_WAITING_MAX waiting lines refuse further downloads rather than a line.
 */
enum audit_action {
#define AUDIT(id, ...) AUDIT_##id,
#include "service/audit.def"
#undef AUDIT
	AUDIT_ACTIONS
};
const char *audit_action_name(enum audit_action action);
/* Is this an action's name or, with a '.' at the end, a group of them? */
bool audit_action_is_known(struct str name);

enum {
	AUDIT_WAITING_MAX = 20000,
	AUDIT_DETAIL_BYTES_MAX = 8 * 1024 /* a name of 255 bytes, escaped, and some numbers */
};

/* Who acts, and from where. By value, so that it outlives the request. */
struct audit_by {
	int64_t user_id;     /* 0: the operator at the command line, or the server itself */
	char address[48];    /* "192.0.2.7", "2001:db8::1", "local uid 1000"; "" if there is none */
	char request_id[24]; /* as in X-Request-Id; "" if there is none */
};

/*
 * Write a line in the writer's transaction. `by` NULL: the server itself.
 * `detail`: a JSON object, or empty.
 */
MUST_USE int audit_write(struct service *svc, struct sql_conn *conn, const struct audit_by *by,
			 enum audit_action action, struct str object_id, struct str detail,
			 struct err *err);
/* Write a line by itself; blocks for the commit. */
MUST_USE int audit_write_alone(struct service *svc, const struct audit_by *by,
			       enum audit_action action, struct str object_id, struct str detail,
			       struct err *err);
/* Keep a line for the next flush; any thread, does not block. ERR_BUSY: too many wait. */
MUST_USE int audit_note(struct service *svc, const struct audit_by *by, enum audit_action action,
			struct str object_id, struct str detail, struct err *err);

/*
 * Lines that match, oldest first. With `newest` (not 0) that many of the newest
 * ones, or with `after_id` the first ones after it. Lines noted before the call
 * are among them. `each` returns false to stop. Blocks. ERR_INVALID: an unknown action.
 */
struct audit_search {
	struct audit_filter filter;
	int64_t after_id; /* 0: from the beginning */
	uint64_t limit;   /* 0: no limit; else the newest so many, or the first after after_id */
};
MUST_USE int audit_each(struct service *svc, const struct audit_search *search,
			bool (*each)(const struct audit_row *row, void *arg), void *arg,
			struct err *err);

/* ---- A detail: { audit_detail_init; json_kv_…; audit_detail_end }. Zeros may be dropped. ---- */
struct audit_detail {
	struct buf text;
	struct json json;
};
void audit_detail_init(struct audit_detail *d);
struct str audit_detail_end(struct audit_detail *d); /* valid until dropped */
void audit_detail_drop(struct audit_detail *d);
#endif
