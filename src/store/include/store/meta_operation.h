#ifndef STORE_META_OPERATION_H
#define STORE_META_OPERATION_H
#include "base/arena.h"
#include "store/sql.h"

/*
 * Operations: what is worked off in steps after its request was answered. One
 * lives through restarts, with what it has still to do. Functions that change
 * rows are for the writer's connection.
 */
enum {
	OPERATION_NAME_CHARS = 32 /* hex digits */
};
struct operation_row {
	int64_t id;
	int64_t user_id;
	char name[OPERATION_NAME_CHARS + 1];
	char status[16]; /* "running", "finished", "aborted" */
};

/*
 * Delete all rulesets that the user has now: they are its targets, later ones are
 * not. ERR_BUSY: one of that user is running. Without a target it is finished at once.
 */
MUST_USE int operation_delete_rulesets(struct sql_conn *conn, int64_t user_id, const char *name,
				       int64_t now_s, struct operation_row *ret, struct err *err);
/* ERR_NOT_FOUND also where it is another's. */
MUST_USE int operation_get(struct sql_conn *conn, int64_t user_id, struct str name,
			   struct operation_row *ret, struct err *err);
/* The oldest that runs; *ret_found false: there is none. */
MUST_USE int operation_next(struct sql_conn *conn, struct operation_row *ret, bool *ret_found,
			    struct err *err);
/* Up to max of its targets; ids in the caller's array. */
MUST_USE int operation_targets(struct sql_conn *conn, int64_t id, size_t max, int64_t *ret,
			       size_t *ret_n, struct err *err);
MUST_USE int operation_target_done(struct sql_conn *conn, int64_t id, int64_t target,
				   struct err *err);
/* `status`: "finished", or "aborted" with what is left of it forgotten. */
MUST_USE int operation_end(struct sql_conn *conn, int64_t id, const char *status, int64_t now_s,
			   struct err *err);
/* Forget those that ended before then. */
MUST_USE int operation_forget(struct sql_conn *conn, int64_t before_s, struct err *err);
#endif
