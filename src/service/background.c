#include "service_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "hunt.h"
#include "service/rulesets.h"
#include "service/stream.h"
#include "store/meta_operation.h"
#include "store/meta_retrohunt.h"
#include "service/usage.h"
#include "store/meta_user.h"

enum {
	TICK_MS = 1000,
	STEP_ROWS = 500, /* rows in one transaction: a few milliseconds of the writer */
	RETENTION_EVERY_S = 600,
	ERASE_EVERY_S = 30, /* an erasure that failed is tried again, at first … */
	ERASE_EVERY_MAX_S = 3600,
	OPERATION_DAYS = 30, /* an ended operation can be looked at */
	/*
	 * A clock that was set may be wrong, and what retention removes is gone: it waits
	 * until the clock was left alone for so long.
	 */
	CLOCK_TRUST_S = 86400,
	CLOCK_STEP_S = 60, /* smaller ones are corrections */
	DAY_S = 86400,
};

/*
 * One thread for what is worked off slowly: bulk deletions of notifications, deleted jobs,
 * retention, use times of keys, request counters, the audit log, and analyses whose commit failed.
 * Each step is its own short transaction in the bulk lane.
 */
struct background {
	struct service *svc;
	struct thread thread;
	struct lock lock;
	struct cond wake;
	/* under the lock */
	bool woken;
	bool stopping;
	/* the thread's own, once it runs */
	struct clock_watch clock;
	int64_t retention_due_us; /* monotonic */
	int64_t erase_due_s;      /* when erasures that failed are tried again; 0: there are none */
	int64_t erase_every_s;
};

struct step_req {
	struct write_req req;
	struct service *svc;
	int64_t before_s;
	bool done;
};

static int delete_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;
	struct stream_env env;

	stream_env_init(&env, s->svc, conn, clock_unix_s(s->svc->clock));
	return stream_delete_step(conn, STEP_ROWS, &env.env, &s->done, err);
}

static int sweep_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;

	return retrohunt_sweep(conn, STEP_ROWS, &s->done, err);
}

static int retention_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;
	uint32_t rows;

	TRY(stream_retention_step(conn, s->before_s, STEP_ROWS, &rows, err));
	s->done = rows < STEP_ROWS;
	return 0;
}

static int audit_retention_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;
	uint32_t rows;

	TRY(audit_retention_step(conn, s->before_s, s->svc->options.audit_rows_max, STEP_ROWS,
				 &rows, err));
	s->done = rows < STEP_ROWS;
	return 0;
}

static int usage_retention_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;
	uint32_t rows;

	TRY(usage_rows_forget(conn, s->before_s / DAY_S, STEP_ROWS, &rows, err));
	s->done = rows < STEP_ROWS;
	return 0;
}

static bool is_stopping(struct background *b)
{
	bool stopping;

	lock_take(&b->lock);
	stopping = b->stopping;
	lock_drop(&b->lock);
	return stopping;
}

static int forget_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct step_req *s = (struct step_req *)req;

	s->done = true;
	return operation_forget(conn, s->before_s, err);
}

/* Step until done, failed or stopping. */
static void work_off(struct background *b, write_apply apply, int64_t before_s, const char *what)
{
	struct err err;

	while (!is_stopping(b)) {
		struct step_req step = { .req = { .apply = apply, .lane = LANE_BULK },
					 .svc = b->svc,
					 .before_s = before_s };

		if (writer_call(b->svc->writer, &step.req, &err) != 0) {
			log_event(LOG_WARN, what, LOG_Z("error", err.msg));
			return;
		}
		if (step.done)
			return;
	}
}

/*
 * Time that passed decides, and how the clock was treated meanwhile. What is old is
 * told by the same look at the clock: one set after it is not trusted yet.
 */
static bool retention_is_due(struct background *b)
{
	int64_t set_s = clock_watch_look(&b->clock, b->svc->clock) / 1000000;
	int64_t mono_us = b->clock.mono_us;

	if (set_s > CLOCK_STEP_S || set_s < -CLOCK_STEP_S) {
		log_event(LOG_WARN, "clock_was_set", LOG_I64("by_s", set_s),
			  LOG_I64("retention_waits_s", CLOCK_TRUST_S));
		b->retention_due_us = mono_us + CLOCK_TRUST_S * INT64_C(1000000);
	}
	if (mono_us < b->retention_due_us)
		return false;
	b->retention_due_us = mono_us + RETENTION_EVERY_S * INT64_C(1000000);
	return true;
}

/* ---- Erasing ---- */

/* Erasures that failed, once more. */
static void erasures_again(struct background *b, int64_t now_s)
{
	uint64_t left = 0;
	struct err err;

	if (!b->svc->erasures_left) {
		b->erase_due_s = 0;
		return;
	}
	if (!b->erase_due_s) {
		b->erase_every_s = ERASE_EVERY_S;
		b->erase_due_s = now_s + ERASE_EVERY_S;
	}
	if (now_s < b->erase_due_s)
		return;
	b->svc->erasures_left = false;
	if (files_finish_erasures(b->svc, &left, &err) != 0) {
		log_event(LOG_WARN, "erasures_kept", LOG_Z("error", err.msg));
		left = 1;
	}
	if (!left)
		return;
	b->svc->erasures_left = true;
	b->erase_every_s =
		2 * b->erase_every_s < ERASE_EVERY_MAX_S ? 2 * b->erase_every_s : ERASE_EVERY_MAX_S;
	b->erase_due_s = now_s + b->erase_every_s;
}

/* Records that are no file's. */
static void garbage_erase(struct background *b)
{
	struct pack_locator at;
	struct err err;

	while (!is_stopping(b) && stored_garbage_take(b->svc, &at)) {
		if (files_erase_garbage(b->svc, &at, &err) != 0)
			log_event(LOG_WARN, "bytes_of_no_file_kept", LOG_Z("error", err.msg));
	}
}

static void retention(struct background *b)
{
	const struct service_options *o = &b->svc->options;
	int64_t now_s = b->clock.wall_us / 1000000;

	work_off(b, retention_apply, now_s - (int64_t)o->retention_days * DAY_S,
		 "retention_failed");
	work_off(b, forget_apply, now_s - (int64_t)OPERATION_DAYS * DAY_S, "retention_failed");
	work_off(b, audit_retention_apply, now_s - (int64_t)o->audit_retention_days * DAY_S,
		 "audit_retention_failed");
	work_off(b, usage_retention_apply, now_s - (int64_t)USAGE_DAYS_KEPT * DAY_S,
		 "usage_retention_failed");
}

static void background_thread(void *arg)
{
	struct background *b = arg;

	/* What is too many needs no clock. */
	work_off(b, audit_retention_apply, INT64_MIN, "audit_retention_failed");
	while (!is_stopping(b)) {
		rulesets_tick(b->svc);
		work_off(b, delete_apply, 0, "stream_delete_failed");
		operations_work(b->svc);
		work_off(b, sweep_apply, 0, "retrohunt_sweep_failed");
		if (retention_is_due(b))
			retention(b);
		erasures_again(b, clock_unix_s(b->svc->clock));
		garbage_erase(b);
		users_flush(b->svc);
		usage_flush(b->svc);
		audit_flush(b->svc);
		log_flush();
		hunt_tick(b->svc);
		lock_take(&b->lock);
		if (!b->woken && !b->stopping)
			cond_wait_ms(&b->wake, &b->lock, TICK_MS);
		b->woken = false;
		lock_drop(&b->lock);
	}
}

bool background_stops(struct service *svc)
{
	return !svc->background || is_stopping(svc->background);
}

int background_start(struct service *svc, struct err *err)
{
	struct background *b = mem_must_zalloc(sizeof *b);

	b->svc = svc;
	lock_init(&b->lock, LOCK_POOL);
	cond_init(&b->wake);
	/* The thread may come to it late: a clock that is set from here on is noticed. */
	(void)clock_watch_look(&b->clock, svc->clock);
	svc->background = b;
	return thread_start(&b->thread, "background", background_thread, b, err);
}

void background_wake(struct service *svc)
{
	struct background *b = svc->background;

	if (!b)
		return;
	lock_take(&b->lock);
	b->woken = true;
	cond_signal(&b->wake);
	lock_drop(&b->lock);
}

void background_stop(struct service *svc)
{
	struct background *b = svc->background;

	if (!b)
		return;
	lock_take(&b->lock);
	b->stopping = true;
	cond_signal(&b->wake);
	lock_drop(&b->lock);
	thread_join(&b->thread);
	svc->background = NULL;
	cond_release(&b->wake);
	lock_release(&b->lock);
	free(b);
}
