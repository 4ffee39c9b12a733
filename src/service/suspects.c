#include "hunt_internal.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

/*
 * Analyses whose scan harmed a child, on their way to the blame thread:
 *
 *   suspects_add --room in memory--> blamed --suspects_thread--> blame
 *        \--suspects_max are there--> deferred: queued in the database, marked,
 *                                       --claim_suspects, when none is in memory--> blamed
 */
enum {
	SUSPECTS_CLAIM_MAX = 8,
};

void suspects_init(struct hunt *h)
{
	h->blamed_tail = &h->blamed;
}

static void blamed_add_locked(struct hunt *h, struct hunt_job *job, const char *cause)
	MUST_HOLD(&h->lock);
static void blamed_add_locked(struct hunt *h, struct hunt_job *job, const char *cause)
{
	struct blamed *b = mem_must_zalloc(sizeof *b);

	b->job = job;
	snprintf(b->cause, sizeof b->cause, "%.255s", cause);
	*h->blamed_tail = b;
	h->blamed_tail = &b->next;
	h->blamed_count++;
	cond_signal(&h->suspects);
}

struct defer_req {
	struct write_req req;
	struct hunt *hunt;
	struct hunt_job *job;
};

static int defer_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct defer_req *d = (struct defer_req *)req;

	return analysis_defer(conn, d->job->row->id, str_of(d->hunt->svc->instance),
			      d->job->hung_generation >= 0 ? ANALYSIS_HUNG : ANALYSIS_KILLED, err);
}

static void defer_done(struct write_req *req, int rc, const struct err *err)
{
	struct defer_req *d = (struct defer_req *)req;
	struct hunt *h = d->hunt;

	lock_take(&h->lock);
	if (rc)
		blamed_add_locked(h, d->job, err->msg); /* one more in memory, then */
	else
		h->maybe_deferred = true;
	metric_add(METRIC_suspects_deferred_total, rc == 0);
	cond_signal(&h->suspects);
	lock_drop(&h->lock);
	if (rc == 0)
		hunt_job_over(h->svc, d->job);
	free(d);
}

/* There are enough in memory: back into the queue with it. */
static void hunt_defer(struct hunt *h, struct hunt_job *job)
{
	struct defer_req *d = mem_must_zalloc(sizeof *d);
	struct err err;
	int rc;

	d->req.apply = defer_apply;
	d->req.done = defer_done;
	d->req.lane = LANE_API;
	d->hunt = h;
	d->job = job;
	rc = writer_submit(h->svc->writer, &d->req, &err);
	if (rc)
		defer_done(&d->req, rc, &err);
}

void suspects_add(struct hunt *h, struct hunt_job *job, const char *cause)
{
	bool full = false;

	if (hunt_is_stopping(h)) {
		/* We may have killed the child ourselves; the next start hunts it anew. */
		hunt_job_over(h->svc, job);
		return;
	}
	lock_take(&h->lock);
	full = h->blamed_count >= h->svc->options.suspects_max;
	if (!full)
		blamed_add_locked(h, job, cause);
	lock_drop(&h->lock);
	if (full)
		hunt_defer(h, job);
}

/* ---- The blame thread ---- */

static int suspects_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct claim_req *c = (struct claim_req *)req;
	struct service *svc = c->hunt->svc;

	return analysis_claim_suspects(conn, SUSPECTS_CLAIM_MAX, str_of(svc->instance),
				       clock_unix_s(svc->clock) + LEASE_S, c->batch->arena,
				       &c->batch->rows, &c->n, err);
}

/* Take some of those that went back into the queue. */
static void claim_suspects(struct hunt *h)
{
	struct claim_req c = { .req = { .apply = suspects_apply, .lane = LANE_API }, .hunt = h };
	struct err err;
	int rc;

	c.batch = mem_must_zalloc(sizeof *c.batch);
	c.batch->refs = 1;
	c.batch->arena = arena_new("claim", CLAIM_ARENA_MAX);
	rc = writer_call(h->svc->writer, &c.req, &err);
	if (rc)
		log_event(LOG_WARN, "claim_failed", LOG_Z("error", err.msg));
	lock_take(&h->lock);
	if (rc || c.n == SUSPECTS_CLAIM_MAX)
		h->maybe_deferred = true;
	for (size_t i = 0; rc == 0 && i < c.n; i++) {
		struct hunt_job *job = hunt_job_new(h->svc, c.batch, i);

		h->held++;
		blamed_add_locked(h, job, "harmed a scanner before");
	}
	if (!h->held && !h->claiming && !h->maybe_more && !h->maybe_deferred)
		cond_broadcast(&h->idle);
	lock_drop(&h->lock);
	claim_batch_unref(c.batch);
	if (rc)
		hunt_rest(h->svc);
}

/* The next suspect; NULL: none is in memory (*ret_stop: and none will be). */
static struct blamed *blamed_take(struct hunt *h, bool *ret_stop)
{
	struct blamed *b = NULL;

	lock_take(&h->lock);
	while (!h->blamed && !h->maybe_deferred && !h->stopping)
		cond_wait(&h->suspects, &h->lock);
	*ret_stop = h->stopping;
	if (!h->stopping)
		b = h->blamed;
	if (b) {
		h->blamed = b->next;
		h->blamed_count--;
		if (!h->blamed)
			h->blamed_tail = &h->blamed;
	} else {
		h->maybe_deferred = false;
	}
	lock_drop(&h->lock);
	return b;
}

void suspects_thread(void *arg)
{
	struct hunt *h = arg;
	bool stop;

	for (;;) {
		struct blamed *b = blamed_take(h, &stop);

		if (stop)
			return;
		if (b)
			blame(h->svc, b->job, str_of(b->cause), &h->memory);
		else
			claim_suspects(h);
		free(b);
	}
}

void suspects_free(struct hunt *h)
{
	while (h->blamed) {
		struct blamed *b = h->blamed;

		h->blamed = b->next;
		hunt_job_free(b->job);
		free(b);
	}
}
