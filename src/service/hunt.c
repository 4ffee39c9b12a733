#include "hunt.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

enum {
	WORKERS_MAX = 256,
	CLAIM_MAX = 64,             /* analyses claimed in one transaction */
	CLAIM_LOW_PER_WORKER = 16,  /* claim more when fewer wait */
	CLAIM_CAP_PER_WORKER = 128, /* what clients wait for is claimed beyond that, up to this */
	LEASE_S = 3600,             /* one process owns the folder: leases end with it */
	CLAIM_ARENA_MAX = 16 << 20, /* rows of CLAIM_MAX files */
	CHILD_RETRY_MS = 200,       /* between tries to get a child that comes up */
	PIPELINE_BYTES_MAX =
		8 << 20, /* bytes queued behind a scan: an API upload waits for no more */
};

struct worker {
	struct hunt *hunt;
	struct thread thread;
	struct scan_child *child;
	struct live_set *set;                   /* loaded into the child */
	struct hunt_job *under_way[SCAN_DEPTH]; /* oldest first */
	unsigned pending;
	uint64_t pending_bytes;
	struct hunt_job *next; /* taken, but must wait for the pipeline to drain */
	struct scan_result result;
};

struct blamed {
	struct blamed *next;
	struct hunt_job *job;
	char cause[256];
};

struct hunt {
	struct service *svc;
	struct lock lock;
	struct cond work; /* waiting jobs, stopping */
	struct cond idle; /* nothing left */
	struct cond suspects;
	/* under the lock, down to `blamed` */
	struct hunt_job *waiting[2]; /* by lane */
	struct hunt_job **tails[2];
	size_t waiting_count;
	size_t held; /* claimed and not over */
	bool claiming;
	bool maybe_more; /* the queue in the database may hold some … */
	bool maybe_api;  /* … that clients wait for */
	bool stopping;
	struct hunt_job *failed; /* scanned, commit to be tried again */
	struct blamed *blamed;
	struct thread blame_thread;
	unsigned worker_count;
	struct worker workers[WORKERS_MAX];
};

/* ---- Claiming ---- */

struct claim_req {
	struct write_req req;
	struct hunt *hunt;
	struct claim_batch *batch;
	enum write_lane last_lane;
	size_t n;
};

static int claim_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct claim_req *c = (struct claim_req *)req;
	struct service *svc = c->hunt->svc;

	return analysis_claim(conn, CLAIM_MAX, c->last_lane, str_of(svc->instance),
			      clock_unix_s(svc->clock) + LEASE_S, c->batch->arena, &c->batch->rows,
			      &c->n, err);
}

static void hunt_claim(struct hunt *h);

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
static void hunt_claim(struct hunt *h)
{
	enum write_lane last_lane;
	struct claim_req *c;
	struct err err;
	bool few, go;

	lock_take(&h->lock);
	few = h->waiting_count < (size_t)h->worker_count * CLAIM_LOW_PER_WORKER;
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
	while (!h->stopping && (h->held || h->claiming || h->maybe_more)) {
		lock_drop(&h->lock);
		hunt_claim(h);
		lock_take(&h->lock);
		if (h->held || h->claiming)
			cond_wait_ms(&h->idle, &h->lock, 1000);
	}
	lock_drop(&h->lock);
}

/* ---- A worker ---- */

/* The next job, API first. NULL: none (now, unless `wait`), or stopping. */
static struct hunt_job *worker_take(struct worker *w, bool wait)
{
	struct hunt *h = w->hunt;
	struct hunt_job *job = NULL;

	if (w->next)
		return STEAL(w->next);
	lock_take(&h->lock);
	while (wait && !h->waiting_count && !h->stopping)
		cond_wait(&h->work, &h->lock);
	for (unsigned lane = 0; lane < 2 && !job && !h->stopping; lane++) {
		job = h->waiting[lane];
		if (!job)
			continue;
		h->waiting[lane] = job->next;
		if (!job->next)
			h->tails[lane] = &h->waiting[lane];
		job->next = NULL;
		h->waiting_count--;
	}
	lock_drop(&h->lock);
	if (job)
		hunt_claim(h);
	return job;
}

static void worker_bury(struct worker *w)
{
	scan_child_give(w->hunt->svc->scan, w->child);
	w->child = NULL;
	w->set = live_set_unref(w->set);
}

/* A living child with at least this generation loaded. */
static int worker_ready(struct worker *w, int64_t generation, struct err *err)
{
	struct live_set *set;

	if (w->pending)
		return 0; /* worker_must_drain saw that child and set will do; both are in use */
	if (w->child && (scan_child_is_dead(w->child) || scan_child_is_used_up(w->child)))
		worker_bury(w);
	if (!w->child)
		TRY(scan_child_take(&w->child, w->hunt->svc->scan, err));
	set = liveset_take(w->hunt->svc, generation);
	if (!set)
		return err_set(err, ERR_CLOSED, "stopping");
	for (unsigned slot = 0; slot < SCAN_SLOTS; slot++) {
		struct scan_rules *rules = set->parts[slot] ? set->parts[slot]->rules : NULL;
		int rc = scan_loaded(w->child, slot) == rules
				 ? 0
				 : scan_load(w->child, slot, rules, err);
		if (rc) {
			live_set_unref(set);
			return rc;
		}
	}
	live_set_unref(w->set);
	w->set = set;
	return 0;
}

/*
 * Must the pipeline be empty before this job can go in? So that another set can be
 * loaded, and what may not go to the child at all finds it idle.
 */
static bool worker_must_drain(const struct worker *w, const struct hunt_job *job)
{
	return !w->set || w->set->generation < job->row->generation ||
	       scan_child_is_dead(w->child) || scan_child_is_used_up(w->child) ||
	       job->row->attempts || w->pending_bytes + job->sample.len > PIPELINE_BYTES_MAX;
}

static bool hunt_is_stopping(struct hunt *h)
{
	bool stopping;

	lock_take(&h->lock);
	stopping = h->stopping;
	lock_drop(&h->lock);
	return stopping;
}

static void hunt_blame(struct hunt *h, struct hunt_job *job, const char *cause)
{
	struct blamed *b;

	if (hunt_is_stopping(h)) {
		/* We may have killed the child ourselves; the next start hunts it anew. */
		hunt_job_over(h->svc, job);
		return;
	}
	b = mem_must_zalloc(sizeof *b);
	b->job = job;
	snprintf(b->cause, sizeof b->cause, "%.255s", cause);
	lock_take(&h->lock);
	b->next = h->blamed;
	h->blamed = b;
	cond_signal(&h->suspects);
	lock_drop(&h->lock);
}

/* What keeps a sample from being hunted at all. false: it was completed without. */
static bool worker_may_hunt(struct worker *w, struct hunt_job *job)
{
	char text[128];
	uint64_t max = w->hunt->svc->options.hunt_bytes_max;

	if (job->row->file.size <= max)
		return true;
	snprintf(text, sizeof text, "the file has %llu bytes, files above %llu are not hunted",
		 (unsigned long long)job->row->file.size, (unsigned long long)max);
	hunt_job_skip(job, str_of(text));
	hunt_job_complete(job);
	return false;
}

/* Quarantined pairs of this sample are left to the blame thread, which hunts around them. */
static bool worker_is_clean(struct worker *w, struct hunt_job *job)
{
	if (job->row->attempts >= CRASH_ATTEMPTS_MAX) {
		hunt_job_add_guilt(job, 0, 0, STR("the server crashed three times on this file"));
		hunt_job_complete(job);
		return false;
	}
	if (!job->row->quarantined)
		return true;
	hunt_blame(w->hunt, job, "quarantined before");
	return false;
}

void hunt_rest(struct service *svc)
{
	struct hunt *h = svc->hunt;

	lock_take(&h->lock);
	if (!h->stopping)
		cond_wait_ms(&h->work, &h->lock, CHILD_RETRY_MS);
	lock_drop(&h->lock);
}

/* Back to the head of the line: what became of it was not its doing. */
static void worker_put_back(struct worker *w, struct hunt_job *job)
{
	struct hunt *h = w->hunt;
	unsigned lane = job->row->lane == LANE_API ? 0 : 1;

	job->set = live_set_unref(job->set);
	lock_take(&h->lock);
	job->next = h->waiting[lane];
	h->waiting[lane] = job;
	if (!job->next)
		h->tails[lane] = &job->next;
	h->waiting_count++;
	cond_signal(&h->work);
	lock_drop(&h->lock);
}

static int worker_send_scan(struct worker *w, struct hunt_job *job, struct err *err)
{
	struct scan_facts facts = hunt_job_facts(job);

	TRY(scan_send(w->child, &job->sample, &facts, err));
	job->set = w->set;
	atomic_fetch_add(&w->set->refs, 1);
	return 0;
}

/* Ask the child what comes next for this job: what it is, or which rules match. */
static void worker_send(struct worker *w, struct hunt_job *job)
{
	bool whole = job->row->file.size <= w->hunt->svc->options.hunt_bytes_max;
	struct err err;
	int rc;

	if (job->examined && !worker_may_hunt(w, job))
		return;
	rc = job->examined ? worker_send_scan(w, job, &err)
			   : scan_identify_send(w->child, &job->sample, whole, &err);
	if (rc == -ERR_DIED) {
		worker_put_back(w, job); /* it was not even received */
		if (!w->pending)
			worker_bury(w);
		return;
	}
	if (rc) {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
		return;
	}
	w->under_way[w->pending++] = job;
	w->pending_bytes += job->sample.len;
}

/* Put one job into the pipeline (empty, if worker_must_drain says so). */
static void worker_begin(struct worker *w, struct hunt_job *job)
{
	struct err err;
	int rc = hunt_job_open(job, &err);

	if (rc) {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
		return;
	}
	rc = worker_ready(w, job->row->generation, &err);
	if (rc == -ERR_CLOSED || (rc && hunt_is_stopping(w->hunt))) {
		hunt_job_over(w->hunt->svc, job); /* stays claimed: the next start takes it back */
		return;
	}
	if (rc) {
		/* The child never saw the sample, which must not go unhunted; the next may do
		 * better. */
		log_event(LOG_WARN, "scan_child_failed", LOG_Z("error", err.msg));
		worker_bury(w);
		w->next = job;
		hunt_rest(w->hunt->svc);
		return;
	}
	if (worker_is_clean(w, job))
		worker_send(w, job);
}

static struct hunt_job *worker_oldest(struct worker *w)
{
	struct hunt_job *job = w->under_way[0];

	w->pending--;
	w->pending_bytes -= job->sample.len;
	memmove(w->under_way, w->under_way + 1, w->pending * sizeof w->under_way[0]);
	return job;
}

/* Those behind the suspect were not looked at: back to the head of the line. */
static void worker_return_rest(struct worker *w)
{
	while (w->pending)
		worker_put_back(w, w->under_way[--w->pending]);
	w->pending_bytes = 0;
}

static void worker_end_identify(struct worker *w)
{
	struct scan_identity id = { 0 };
	struct hunt_job *job;
	struct err err;
	int rc = scan_identify_recv(w->child, &id, &err);

	job = worker_oldest(w);
	crash_note(job->row->id);
	if (rc == 0) {
		hunt_job_take_identity(job, &id);
		worker_send(w, job);
	} else if (rc == -ERR_DIED || rc == -ERR_TIMEOUT) {
		hunt_blame(w->hunt, job, err.msg);
	} else {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
	}
	scan_identity_release(&id);
	crash_note(0);
}

static void worker_end_scan(struct worker *w)
{
	struct hunt_job *job;
	struct err err;
	int rc = scan_recv(w->child, &w->result, &err);

	job = worker_oldest(w);
	crash_note(job->row->id);
	if (rc == 0)
		rc = hunt_job_take_hits(job, &w->result, job->set, &err);
	if (rc == 0) {
		metric_add(METRIC_scan_bytes_total, (int64_t)job->sample.len);
		metric_add(METRIC_scan_us_total, (int64_t)w->result.scan_us);
		hunt_job_complete(job);
	} else if (rc == -ERR_IO || rc == -ERR_CORRUPT) {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
	} else {
		job->set = live_set_unref(job->set);
		hunt_job_reset(job);
		hunt_blame(w->hunt, job, err.msg);
	}
	crash_note(0);
}

/* Take the answer about the oldest job under way. */
static void worker_end(struct worker *w)
{
	if (w->under_way[0]->examined)
		worker_end_scan(w);
	else
		worker_end_identify(w);
	if (w->child && scan_child_is_dead(w->child)) {
		worker_return_rest(w);
		worker_bury(w);
	}
}

static void worker_thread(void *arg)
{
	struct worker *w = arg;
	struct hunt_job *job;

	for (;;) {
		while (w->pending < SCAN_DEPTH && (job = worker_take(w, w->pending == 0))) {
			struct err err;
			if (w->pending &&
			    (hunt_job_open(job, &err) != 0 || worker_must_drain(w, job))) {
				w->next = job;
				break;
			}
			worker_begin(w, job);
		}
		if (!w->pending && !w->next)
			break; /* stopping */
		if (w->pending)
			worker_end(w);
		else if (hunt_is_stopping(w->hunt))
			break;
	}
	if (w->next)
		hunt_job_over(w->hunt->svc, STEAL(w->next));
	worker_bury(w);
	scan_result_release(&w->result);
}

/* ---- Suspects ---- */

static void blame_thread(void *arg)
{
	struct hunt *h = arg;
	struct blamed *b;

	for (;;) {
		lock_take(&h->lock);
		while (!h->blamed && !h->stopping)
			cond_wait(&h->suspects, &h->lock);
		b = h->stopping ? NULL : h->blamed;
		if (b)
			h->blamed = b->next;
		lock_drop(&h->lock);
		if (!b)
			return;
		blame(h->svc, b->job, str_of(b->cause));
		free(b);
	}
}

/* ---- Life ---- */

static int hunt_start_threads(struct hunt *h, unsigned workers, struct err *err)
{
	TRY(thread_start(&h->blame_thread, "blame", blame_thread, h, err));
	for (; h->worker_count < workers; h->worker_count++) {
		struct worker *w = &h->workers[h->worker_count];
		char name[16];

		w->hunt = h;
		snprintf(name, sizeof name, "hunt-%u", h->worker_count);
		TRY(thread_start(&w->thread, name, worker_thread, w, err));
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
	svc->hunt = h;
	TRY(crash_recover(svc, err));
	TRY(writer_call(svc->writer, &release.req, err));
	REQUIRE(svc->options.workers <= WORKERS_MAX);
	if (!svc->options.workers)
		return 0;
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
	while (h->blamed) {
		struct blamed *b = h->blamed;

		h->blamed = b->next;
		hunt_job_free(b->job);
		free(b);
	}
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
	cond_release(&h->work);
	cond_release(&h->idle);
	cond_release(&h->suspects);
	lock_release(&h->lock);
	free(h);
	svc->hunt = NULL;
}
