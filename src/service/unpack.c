#include "unpack.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "bundle.h"
#include "opening.h"

enum {
	UNPACK_THREADS_MAX = 64,
	BUSY_TRIES_MAX = 5, /* times a container is put back because the writer has no room */
	BUSY_REST_MS = 500,
};

struct unpack_thread {
	struct unpack_stage *stage;
	struct thread thread;
	bool api_alone;
};

struct unpack_stage {
	struct service *svc;
	struct lock lock;
	struct cond work;
	/* under the lock */
	struct hunt_job *waiting[2]; /* by lane */
	struct hunt_job **tails[2];
	/* read without it */
	_Atomic size_t count; /* waiting, both lanes */
	_Atomic bool stopping;
	unsigned thread_count;
	struct unpack_thread threads[UNPACK_THREADS_MAX];
};

/* ---- Which ---- */

unsigned unpack_threads(const struct service_options *options)
{
	unsigned n;

	if (options->workers == 0 || options->unpack.depth_max == 0)
		return 0;
	n = 1 + (options->workers + 1) / 2;
	return n < UNPACK_THREADS_MAX ? n : UNPACK_THREADS_MAX;
}

static bool is_hopeless(const struct hunt_job *job)
{
	for (size_t i = 0; i < job->guilt_count; i++) {
		if (job->guilt[i].ruleset_id == 0)
			return true;
	}
	return job->opened != NULL; /* was opened before its commit failed */
}

void unpack_or_complete(struct hunt_job *job)
{
	struct unpack_stage *s = job->svc->unpack;
	const struct service_options *options = &job->svc->options;
	bool container = job->identified && container_of(job->magic, job->mime);

	if (!container || !s || !s->thread_count || is_hopeless(job)) {
		hunt_job_complete(job);
		return;
	}
	if (job->row->depth >= options->unpack.depth_max) {
		opening_refuse(job, "it lies %u containers deep, where none is opened",
			       options->unpack.depth_max);
		hunt_job_complete(job);
		return;
	}
	unsigned lane = job->row->lane == LANE_API ? 0 : 1;

	job->next = NULL;
	lock_take(&s->lock);
	*s->tails[lane] = job;
	s->tails[lane] = &job->next;
	atomic_fetch_add(&s->count, 1);
	cond_broadcast(&s->work);
	lock_drop(&s->lock);
}

size_t unpack_waiting(struct service *svc)
{
	return svc->unpack ? atomic_load(&svc->unpack->count) : 0;
}

/* ---- The threads ---- */

static struct hunt_job *thread_take(struct unpack_thread *t)
{
	struct unpack_stage *s = t->stage;
	struct hunt_job *job = NULL;
	unsigned lanes = t->api_alone ? 1 : 2;

	lock_take(&s->lock);
	while (!atomic_load(&s->stopping) && !s->waiting[0] && (lanes == 1 || !s->waiting[1]))
		cond_wait(&s->work, &s->lock);
	for (unsigned lane = 0; lane < lanes && !job && !atomic_load(&s->stopping); lane++) {
		job = s->waiting[lane];
		if (!job)
			continue;
		s->waiting[lane] = job->next;
		if (!job->next)
			s->tails[lane] = &s->waiting[lane];
		job->next = NULL;
		atomic_fetch_sub(&s->count, 1);
	}
	lock_drop(&s->lock);
	return job;
}

static void thread_rest(struct unpack_thread *t)
{
	struct unpack_stage *s = t->stage;

	lock_take(&s->lock);
	if (!atomic_load(&s->stopping))
		cond_wait_ms(&s->work, &s->lock, BUSY_REST_MS);
	lock_drop(&s->lock);
}

static void thread_open(struct unpack_thread *t, struct hunt_job *job)
{
	struct err err;
	int rc = 0;

	for (unsigned tries = 0; tries < BUSY_TRIES_MAX; tries++) {
		rc = opening_run(job, &t->stage->stopping, &err);
		if (rc != -ERR_BUSY || atomic_load(&t->stage->stopping))
			break;
		thread_rest(t);
	}
	if (atomic_load(&t->stage->stopping) || rc == -ERR_CLOSED) {
		hunt_job_over(job->svc, job); /* stays claimed: the next start opens it anew */
		return;
	}
	if (rc)
		opening_refuse(job, "%s", err.msg);
	hunt_job_complete(job);
}

static void thread_run(void *arg)
{
	struct unpack_thread *t = arg;
	struct hunt_job *job;

	while ((job = thread_take(t)) != NULL) {
		int64_t start_us = clock_mono_us(clock_system());
		struct service *svc = job->svc;
		enum write_lane lane = job->row->lane;

		crash_note(job->row->id);
		thread_open(t, job);
		crash_note(0);
		metric_add(METRIC_unpack_us_total, clock_mono_us(clock_system()) - start_us);
		hunt_wake(svc, lane); /* fewer wait: more may be claimed */
	}
}

/* ---- Life ---- */

int unpack_start(struct service *svc, struct err *err)
{
	struct unpack_stage *s = mem_must_zalloc(sizeof *s);
	unsigned wanted = unpack_threads(&svc->options);

	s->svc = svc;
	lock_init(&s->lock, LOCK_UNPACK);
	cond_init(&s->work);
	s->tails[0] = &s->waiting[0];
	s->tails[1] = &s->waiting[1];
	svc->unpack = s;
	for (; s->thread_count < wanted; s->thread_count++) {
		struct unpack_thread *t = &s->threads[s->thread_count];
		char name[24];

		t->stage = s;
		t->api_alone = s->thread_count == 0;
		snprintf(name, sizeof name, "unpack-%u", s->thread_count);
		TRY(thread_start(&t->thread, name, thread_run, t, err));
	}
	return 0;
}

void unpack_cancel(struct service *svc)
{
	struct unpack_stage *s = svc->unpack;

	if (!s)
		return;
	lock_take(&s->lock);
	atomic_store(&s->stopping, true);
	cond_broadcast(&s->work);
	lock_drop(&s->lock);
}

void unpack_stop(struct service *svc)
{
	struct unpack_stage *s = svc->unpack;

	if (!s)
		return;
	unpack_cancel(svc);
	for (unsigned i = 0; i < s->thread_count; i++)
		thread_join(&s->threads[i].thread);
}

void unpack_free(struct service *svc)
{
	struct unpack_stage *s = svc->unpack;
	struct hunt_job *job, *next;

	if (!s)
		return;
	for (unsigned lane = 0; lane < 2; lane++) {
		for (job = s->waiting[lane]; job; job = next) {
			next = job->next;
			hunt_job_free(job);
		}
	}
	cond_release(&s->work);
	lock_release(&s->lock);
	free(s);
	svc->unpack = NULL;
}
