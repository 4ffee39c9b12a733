#ifndef STORE_META_AUDIT_H
#define STORE_META_AUDIT_H
#include "store/sql.h"

/*
 * Rows of the audit log: who did what to what, when, from where. Ids grow in the
 * order of commits and are never given out twice, as long as one row is left.
 * Functions that change rows are for the writer's connection.
 */
struct audit_row {
	int64_t id; /* only read */
	int64_t date_s;
	int64_t user_id; /* 0: the operator or the server itself */
	struct str user; /* name, "" without one; only read */
	struct str action;
	struct str object_type;
	struct str object_id;
	struct str detail;     /* JSON object, or "" */
	struct str address;    /* or "" */
	struct str request_id; /* or "" */
};

MUST_USE int audit_row_add(struct sql_conn *conn, const struct audit_row *row, struct err *err);

/* What to look for; everything that is set must hold. */
struct audit_filter {
	struct str user;   /* name; "" is anybody. "-": without a user */
	struct str action; /* exact, or "file." for all that begin so */
	struct str object; /* id */
	int64_t since_s;   /* INT64_MIN: since ever */
	int64_t until_s;   /* exclusive; INT64_MAX: no end */
	bool is_late;      /* most rows are older than since_s: look for the first one by date */
};
/*
 * Rows after `after_id` (0: from the beginning), oldest first, at most `limit`.
 * The row's text dies when `each` returns. *ret_last: id of the last one given,
 * or after_id.
 */
MUST_USE int audit_rows(struct sql_conn *conn, const struct audit_filter *filter, int64_t after_id,
			uint32_t limit, void (*each)(const struct audit_row *row, void *arg),
			void *arg, int64_t *ret_last, uint32_t *ret_n, struct err *err);
/* The id after which the newest `n` rows that match begin. */
MUST_USE int audit_rows_newest(struct sql_conn *conn, const struct audit_filter *filter, uint64_t n,
			       int64_t *ret_after_id, struct err *err);

/*
 * Remove the oldest rows, at most `limit` of them: those dated before `before_s`,
 * and those beyond the newest `rows_max`. *ret_n: how many went.
 */
MUST_USE int audit_retention_step(struct sql_conn *conn, int64_t before_s, uint64_t rows_max,
				  uint32_t limit, uint32_t *ret_n, struct err *err);
#endif
