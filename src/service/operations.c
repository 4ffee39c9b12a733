#include <stdio.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/rand.h"
#include "liveset.h"
#include "service/audit.h"
#include "service/rulesets.h"
#include "service_internal.h"
#include "store/meta_limit.h"
#include "store/meta_operation.h"
#include "store/meta_ruleset.h"

/*
 * Operations, worked off by the background thread:
 *
 *   asked --ruleset_delete_all--> running --operations_work, step by step--> finished
 *                                    \------ steps fail for a lasting reason -> aborted
 *
 * Invariants
 *  1. What an operation is about is fixed in the transaction that begins it.
 *  2. Each step takes some of that away and forgets it in one transaction: a crash
 *     repeats nothing and loses nothing, and the next start goes on.
 *  3. A ruleset that somebody deletes by itself meanwhile is done, too.
 */
enum {
	STEP_RULESETS = 20, /* each may rewrite 1 MB of text: some 20 ms of the writer */
	FAILURES_MAX = 5,   /* of one step, in a row, before the operation is given up */
};
_Static_assert(sizeof((struct operation *)0)->id == OPERATION_NAME_CHARS + 1, "an id is a name");

static void operation_of_row(const struct operation_row *row, struct operation *ret)
{
	snprintf(ret->id, sizeof ret->id, "%s", row->name);
	snprintf(ret->status, sizeof ret->status, "%s", row->status);
}

/* ---- Asking ---- */

struct begin_req {
	struct write_req req;
	struct service *svc;
	int64_t user_id;
	const struct audit_by *by;
	char name[OPERATION_NAME_CHARS + 1];
	struct operation_row row;
};

static int begin_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct begin_req *b = (struct begin_req *)req;

	TRY(operation_delete_rulesets(conn, b->user_id, b->name, clock_unix_s(b->svc->clock),
				      &b->row, err));
	return audit_write(b->svc, conn, b->by, AUDIT_RULESET_DELETE_ALL, str_of(b->row.name),
			   STR(""), err);
}

int ruleset_delete_all(struct service *svc, int64_t user_id, const struct audit_by *by,
		       struct operation *ret, struct err *err)
{
	struct begin_req b = { .req = { .apply = begin_apply, .lane = LANE_API },
			       .svc = svc,
			       .user_id = user_id,
			       .by = by };
	uint8_t id[OPERATION_NAME_CHARS / 2];

	rand_bytes(id, sizeof id);
	hex_encode(id, sizeof id, b.name);
	TRY(writer_call(svc->writer, &b.req, err));
	operation_of_row(&b.row, ret);
	background_wake(svc);
	return 0;
}

int operation_find(struct service *svc, int64_t user_id, struct str id, struct operation *ret,
		   struct err *err)
{
	struct operation_row row;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = operation_get(conn, user_id, id, &row, err);
	sql_reader_give(svc->db, conn);
	if (rc == 0)
		operation_of_row(&row, ret);
	return rc;
}

/* ---- Working off ---- */

struct step_req {
	struct write_req req;
	struct service *svc;
	bool abort; /* give up instead */
	/* outcome */
	int64_t id; /* the operation's; 0: none runs */
	bool live_changed;
};

/* Each ruleset has its own line, of its owner and the operation. */
static int step_audit(struct service *svc, struct sql_conn *conn, const struct operation_row *op,
		      int64_t ruleset_id, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	const struct audit_by by = { .user_id = op->user_id };
	char id[24];

	audit_detail_init(&d);
	snprintf(id, sizeof id, "%lld", (long long)ruleset_id);
	json_kv_z(&d.json, "operation", op->name);
	return audit_write(svc, conn, &by, AUDIT_RULESET_DELETE, str_of(id), audit_detail_end(&d),
			   err);
}

static int step_in(struct service *svc, struct sql_conn *conn, const struct operation_row *op,
		   int64_t now_s, bool *ret_live_changed, struct err *err)
{
	int64_t ids[STEP_RULESETS];
	bool done, was_live;
	size_t n;

	TRY(operation_targets(conn, op->id, STEP_RULESETS, ids, &n, err));
	for (size_t i = 0; i < n; i++) {
		TRY(ruleset_row_delete(conn, op->user_id, ids[i], now_s, &done, &was_live, err));
		if (done)
			TRY(step_audit(svc, conn, op, ids[i], err));
		TRY(limit_forget(conn, ids[i], err));
		TRY(operation_target_done(conn, op->id, ids[i], err));
		*ret_live_changed |= was_live;
	}
	return n < STEP_RULESETS ? operation_end(conn, op->id, "finished", now_s, err) : 0;
}

static int step_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;
	int64_t now_s = clock_unix_s(s->svc->clock);
	struct operation_row op;
	bool found;

	s->id = 0;
	s->live_changed = false;
	TRY(operation_next(conn, &op, &found, err));
	if (!found)
		return 0;
	s->id = op.id;
	if (s->abort)
		return operation_end(conn, op.id, "aborted", now_s, err);
	return step_in(s->svc, conn, &op, now_s, &s->live_changed, err);
}

/* Is there something to do? Asked each second, so without the writer. */
static bool any_runs(struct service *svc)
{
	struct operation_row op;
	struct sql_conn *conn;
	bool found = false;

	if (sql_reader_take(&conn, svc->db, NULL) != 0)
		return false;
	if (operation_next(conn, &op, &found, NULL) != 0)
		found = false;
	sql_reader_give(svc->db, conn);
	return found;
}

void operations_work(struct service *svc)
{
	unsigned failures = 0;
	struct err err;
	int rc;

	if (!any_runs(svc))
		return;
	for (;;) {
		struct step_req s = { .req = { .apply = step_apply, .lane = LANE_BULK },
				      .svc = svc,
				      .abort = failures == FAILURES_MAX };

		rc = writer_call(svc->writer, &s.req, &err);
		if (rc == -ERR_CLOSED || background_stops(svc))
			return; /* the next start goes on */
		if (rc) {
			log_event(LOG_WARN, "operation_failed", LOG_Z("error", err.msg));
			if (s.abort || rc == -ERR_BUSY || rc == -ERR_NO_SPACE || rc == -ERR_IO)
				return; /* the next second tries again */
			failures++;
			continue;
		}
		failures = 0;
		if (s.live_changed)
			liveset_changed(svc);
		if (!s.id)
			return;
	}
}

/* ---- Rulesets that switch themselves off ---- */

struct due_req {
	struct write_req req;
	struct service *svc;
	int64_t id;
	bool done;
	bool was_live;
};

static int due_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct due_req *d = (struct due_req *)req;

	AUTO(audit_detail_drop) struct audit_detail detail = { 0 };
	char id[24];

	audit_detail_init(&detail);
	TRY(ruleset_row_switch_off(conn, d->id, clock_unix_s(d->svc->clock), &d->done, &d->was_live,
				   err));
	if (!d->done)
		return 0;
	snprintf(id, sizeof id, "%lld", (long long)d->id);
	json_kv_bool(&detail.json, "enabled", false);
	json_kv_z(&detail.json, "why", "scheduled_disable_date");
	return audit_write(d->svc, conn, NULL, AUDIT_RULESET_CHANGE, str_of(id),
			   audit_detail_end(&detail), err);
}

static bool next_due(struct service *svc, int64_t *ret)
{
	struct sql_conn *conn;
	bool found = false;

	if (sql_reader_take(&conn, svc->db, NULL) != 0)
		return false;
	if (ruleset_row_due(conn, clock_unix_s(svc->clock), ret, &found, NULL) != 0)
		found = false;
	sql_reader_give(svc->db, conn);
	return found;
}

void rulesets_tick(struct service *svc)
{
	struct err err;
	int64_t id;

	while (!background_stops(svc) && next_due(svc, &id)) {
		struct due_req d = { .req = { .apply = due_apply, .lane = LANE_API },
				     .svc = svc,
				     .id = id };

		if (writer_call(svc->writer, &d.req, &err) != 0) {
			log_event(LOG_WARN, "scheduled_disable_failed", LOG_I64("ruleset", id),
				  LOG_Z("error", err.msg));
			return;
		}
		if (d.done)
			log_record(LOG_INFO, "ruleset_switched_off", LOG_I64("ruleset", id));
		if (d.was_live)
			liveset_changed(svc);
	}
}
