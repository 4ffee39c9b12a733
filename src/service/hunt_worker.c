#include "hunt_internal.h"

#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "unpack.h"

/* A worker: one child, and up to SCAN_DEPTH analyses that it examines and scans. */

enum {
	PIPELINE_BYTES_MAX =
		8 << 20, /* bytes queued behind a scan: an API upload waits for no more */
};

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
	for (unsigned slot = 0; slot < SCAN_SLOTS_LIVE; slot++) {
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
	unpack_or_complete(job);
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
	suspects_add(w->hunt, job, "quarantined before");
	return false;
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

	TRY(scan_send(w->child, &job->sample, &facts, SCAN_LIVE_SLOTS, err));
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
		metric_add(METRIC_examine_us_total, (int64_t)id.examine_us);
		hunt_job_take_identity(job, &id);
		worker_send(w, job);
	} else if (rc == -ERR_DIED || rc == -ERR_TIMEOUT) {
		suspects_add(w->hunt, job, err.msg);
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
		unpack_or_complete(job);
	} else if (rc == -ERR_IO || rc == -ERR_CORRUPT) {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
	} else {
		job->hung_generation = rc == -ERR_TIMEOUT ? job->set->generation : -1;
		job->set = live_set_unref(job->set);
		hunt_job_reset(job);
		suspects_add(w->hunt, job, err.msg);
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

void hunt_worker(void *arg)
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
