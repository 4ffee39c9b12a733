#include "hunt_internal.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "unpack.h"

enum {
	CLAIM_MAX = 64,             /* analyses claimed in one transaction */
	CLAIM_LOW_PER_WORKER = 16,  /* claim more when fewer wait */
	CLAIM_CAP_PER_WORKER = 128, /* what clients wait for is claimed beyond that, up to this */
	CHILD_RETRY_MS = 200,       /* between tries to get a child that comes up */
};

/* ---- Claiming ---- */

static int claim_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct claim_req *c = (struct claim_req *)req;
	struct service *svc = c->hunt->svc;

	return analysis_claim(conn, CLAIM_MAX, c->last_lane, str_of(svc->instance),
			      clock_unix_s(svc->clock) + LEASE_S, c->batch->arena, &c->batch->rows,
			      &c->n, err);
}

static void claim_done(struct write_req *req, int rc, const struct err *err)
{
	struct claim_req *c = (struct claim_req *)req;
	struct hunt *h = c->hunt;
	size_t n = rc ? 0 : c->n;

	if (rc)
		log_event(LOG_WARN, "claim_failed", LOG_Z("error", err->msg));
	lock_take(&h->lock);
	h->claiming = false;
	if (rc || n == CLAIM_MAX)
		h->maybe_more = h->maybe_api = true;
	for (size_t i = 0; i < n; i++) {
		struct hunt_job *job = hunt_job_new(h->svc, c->batch, i);
		unsigned lane = job->row->lane == LANE_API ? 0 : 1;

		*h->tails[lane] = job;
		h->tails[lane] = &job->next;
		h->waiting_count++;
		h->held++;
	}
	metric_set(METRIC_analyses_queued, (int64_t)h->held);
	cond_broadcast(&h->work);
	if (!h->held)
		cond_broadcast(&h->idle);
	lock_drop(&h->lock);
	claim_batch_unref(c->batch);
	free(c);
	if (rc == 0)
		hunt_claim(h); /* else at the next tick */
}

/*
 * Ask for more if there may be some and too few wait; for what clients wait for
 * also while many of the bulk lane do.
 */
void hunt_claim(struct hunt *h)
{
	enum write_lane last_lane;
	struct claim_req *c;
	struct err err;
	bool few, go;

	lock_take(&h->lock);
	few = h->waiting_count + unpack_waiting(h->svc) <
	      (size_t)h->worker_count * CLAIM_LOW_PER_WORKER;
	last_lane = few ? LANE_BULK : LANE_API;
	go = !h->claiming && !h->stopping &&
	     (few ? h->maybe_more
		  : h->maybe_api &&
			      h->waiting_count < (size_t)h->worker_count * CLAIM_CAP_PER_WORKER);
	if (go) {
		h->claiming = true;
		h->maybe_api = false;
		if (few)
			h->maybe_more = false;
	}
	lock_drop(&h->lock);
	if (!go)
		return;
	c = mem_must_zalloc(sizeof *c);
	c->hunt = h;
	c->last_lane = last_lane;
	c->batch = mem_must_zalloc(sizeof *c->batch);
	c->batch->refs = 1;
	c->batch->arena = arena_new("claim", CLAIM_ARENA_MAX);
	c->req.apply = claim_apply;
	c->req.done = claim_done;
	c->req.lane = LANE_API;
	if (writer_submit(h->svc->writer, &c->req, &err) == 0)
		return;
	claim_batch_unref(c->batch);
	free(c);
	lock_take(&h->lock);
	h->claiming = false;
	h->maybe_more = h->maybe_api = true; /* the next wake tries again */
	lock_drop(&h->lock);
}

void hunt_wake(struct service *svc, enum write_lane lane)
{
	struct hunt *h = svc->hunt;

	if (!h || !h->worker_count)
		return;
	lock_take(&h->lock);
	h->maybe_more = true;
	h->maybe_api |= lane == LANE_API;
	lock_drop(&h->lock);
	hunt_claim(h);
}

void hunt_job_over(struct service *svc, struct hunt_job *job)
{
	struct hunt *h = svc->hunt;

	hunt_job_free(job);
	lock_take(&h->lock);
	h->held--;
	metric_set(METRIC_analyses_queued, (int64_t)h->held);
	if (!h->held && !h->claiming && !h->maybe_more)
		cond_broadcast(&h->idle);
	lock_drop(&h->lock);
}

void hunt_job_retry(struct service *svc, struct hunt_job *job)
{
	struct hunt *h = svc->hunt;

	lock_take(&h->lock);
	job->next = h->failed;
	h->failed = job;
	lock_drop(&h->lock);
}

static struct hunt_job *failed_take_all(struct hunt *h)
{
	struct hunt_job *jobs;

	lock_take(&h->lock);
	jobs = STEAL(h->failed);
	lock_drop(&h->lock);
	return jobs;
}

void hunt_tick(struct service *svc)
{
	struct hunt *h = svc->hunt;
	struct hunt_job *job, *next;

	if (!h)
		return;
	for (job = failed_take_all(h); job; job = next) {
		next = job->next;
		job->next = NULL;
		hunt_job_complete(job);
	}
	hunt_claim(h);
}

void hunt_drain(struct service *svc)
{
	struct hunt *h = svc->hunt;

	lock_take(&h->lock);
	while (!h->stopping && (h->held || h->claiming || h->maybe_more || h->maybe_deferred)) {
		lock_drop(&h->lock);
		hunt_claim(h);
		lock_take(&h->lock);
		if (h->held || h->claiming || h->maybe_deferred)
			cond_wait_ms(&h->idle, &h->lock, 1000);
	}
	lock_drop(&h->lock);
}

/* ---- For those who wait ---- */

bool hunt_is_stopping(struct hunt *h)
{
	bool stopping;

	lock_take(&h->lock);
	stopping = h->stopping;
	lock_drop(&h->lock);
	return stopping;
}

void hunt_rest(struct service *svc)
{
	struct hunt *h = svc->hunt;

	lock_take(&h->lock);
	if (!h->stopping)
		cond_wait_ms(&h->work, &h->lock, CHILD_RETRY_MS);
	lock_drop(&h->lock);
}

/* ---- Life ---- */

static int hunt_start_threads(struct hunt *h, unsigned workers, struct err *err)
{
	TRY(thread_start(&h->blame_thread, "blame", suspects_thread, h, err));
	for (; h->worker_count < workers; h->worker_count++) {
		struct worker *w = &h->workers[h->worker_count];
		char name[16];

		w->hunt = h;
		snprintf(name, sizeof name, "hunt-%u", h->worker_count);
		TRY(thread_start(&w->thread, name, hunt_worker, w, err));
	}
	return 0;
}

struct release_req {
	struct write_req req;
};

static int release_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	(void)req;
	return analysis_release(conn, STR(""), err);
}

int hunt_start(struct service *svc, struct err *err)
{
	struct hunt *h = mem_must_zalloc(sizeof *h);
	struct release_req release = { .req = { .apply = release_apply, .lane = LANE_API } };

	h->svc = svc;
	lock_init(&h->lock, LOCK_HUNT);
	cond_init(&h->work);
	cond_init(&h->idle);
	cond_init(&h->suspects);
	h->tails[0] = &h->waiting[0];
	h->tails[1] = &h->waiting[1];
	suspects_init(h);
	svc->hunt = h;
	TRY(crash_recover(svc, err));
	TRY(writer_call(svc->writer, &release.req, err));
	REQUIRE(svc->options.workers <= WORKERS_MAX);
	if (!svc->options.workers)
		return 0;
	h->maybe_deferred = true;
	TRY(hunt_start_threads(h, svc->options.workers, err));
	hunt_wake(svc, LANE_API);
	return 0;
}

void hunt_cancel(struct service *svc)
{
	struct hunt *h = svc->hunt;

	if (!h)
		return;
	lock_take(&h->lock);
	h->stopping = true;
	cond_broadcast(&h->work);
	cond_broadcast(&h->idle);
	cond_broadcast(&h->suspects);
	lock_drop(&h->lock);
}

void hunt_stop(struct service *svc)
{
	struct hunt *h = svc->hunt;

	if (!h)
		return;
	hunt_cancel(svc);
	for (unsigned i = 0; i < h->worker_count; i++)
		thread_join(&h->workers[i].thread);
	thread_join(&h->blame_thread);
}

size_t hunt_held(struct service *svc)
{
	struct hunt *h = svc->hunt;
	size_t held;

	lock_take(&h->lock);
	held = h->held;
	lock_drop(&h->lock);
	return held;
}

bool hunt_clients_wait(struct service *svc)
{
	struct hunt *h = svc->hunt;
	bool wait;

	lock_take(&h->lock);
	wait = h->waiting[0] != NULL;
	lock_drop(&h->lock);
	return wait;
}

bool hunt_stops(struct service *svc)
{
	return hunt_is_stopping(svc->hunt);
}

/* After the writer has stopped: nobody calls back any more. */
void hunt_free(struct service *svc)
{
	struct hunt *h = svc->hunt;
	struct hunt_job *job, *next;

	if (!h)
		return;
	for (unsigned lane = 0; lane < 2; lane++) {
		for (job = h->waiting[lane]; job; job = next) {
			next = job->next;
			hunt_job_free(job);
		}
	}
	for (job = h->failed; job; job = next) {
		next = job->next;
		hunt_job_free(job);
	}
	suspects_free(h);
	cond_release(&h->work);
	cond_release(&h->idle);
	cond_release(&h->suspects);
	lock_release(&h->lock);
	free(h);
	svc->hunt = NULL;
}
