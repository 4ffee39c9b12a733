#include "retrohunt_split.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "hunt.h"

enum {
	REST_MS = 200,  /* between tries at what failed */
	YIELD_MS = 10,  /* … and between looks whether Livehunt still has clients waiting */
	YIELD_MAX = 50, /* looks in a row: half a second, then a batch goes on beside it */
};

/* ---- Jobs ---- */

static void job_free(struct retro_job *job)
{
	struct retro_task *next;

	for (struct retro_task *t = job->tasks; t; t = next) {
		next = t->next;
		retro_task_free(t);
	}
	scan_rules_unref(job->rules);
	plan_unref(job->plan);
	retro_split_free(job->split);
	free(job->text);
	free(job);
}

static struct retro_job *job_new(struct retrohunt *e, const struct retrohunt_row *row,
				 struct scan_rules *rules, struct plan *plan)
{
	struct retro_job *job = mem_must_zalloc(sizeof *job);

	job->engine = e;
	job->id = row->id;
	job->owner_id = row->owner_id;
	snprintf(job->name, sizeof job->name, STR_FMT, STR_ARG(row->name));
	snprintf(job->corpus, sizeof job->corpus, STR_FMT, STR_ARG(row->corpus));
	job->start_s = row->start_s;
	job->end_s = row->end_s;
	job->last_id = row->last_id;
	job->ruleset_id = row->ruleset_id;
	job->files = row->files;
	job->bytes = row->bytes;
	job->done = row->done;
	job->way.before = retro_weight(row->done.files, row->done.bytes);
	job->more = true;
	if (rules) {
		job->rules = scan_rules_ref(rules);
		job->asks_facts = scan_rules_asks_facts(rules);
		job->plan = plan ? plan_ref(plan) : NULL;
	} else {
		job->text = mem_must_dup(row->rules.p, row->rules.n + 1);
	}
	job->stop = row->status == RETROHUNT_ROW_ABORTING;
	return job;
}

/* The least that any other has used: a newcomer does not have to catch up. */
static uint64_t used_least(const struct retrohunt *e)
{
	uint64_t least = UINT64_MAX;

	for (const struct retro_job *j = e->jobs; j; j = j->next) {
		if (!j->stop && j->used_us < least)
			least = j->used_us;
	}
	return least == UINT64_MAX ? 0 : least;
}

static void tasks_append(struct retro_job *job, const struct retrohunt_task_row *rows, size_t n)
{
	struct retro_task **at = &job->tasks;

	while (*at)
		at = &(*at)->next;
	for (size_t i = 0; i < n; i++) {
		struct retro_task *t = mem_must_zalloc(sizeof *t);

		t->row = rows[i];
		*at = t;
		at = &t->next;
	}
}

void retro_admit(struct service *svc, const struct retrohunt_row *row, struct scan_rules *rules,
		 struct plan *plan, const struct retrohunt_task_row *tasks, size_t n)
{
	struct retrohunt *e = svc->retrohunt;
	struct retro_job *job;

	if (!e || !e->worker_count)
		return;
	job = job_new(e, row, rules, plan);
	tasks_append(job, tasks, n);
	job->more = n == 0 || n == RETRO_CLAIM_MAX;
	lock_take(&e->lock);
	job->used_us = used_least(e);
	job->next = e->jobs;
	e->jobs = job;
	e->job_count++;
	retro_peers_count(e, job->owner_id);
	metric_set(METRIC_retrohunt_jobs_running, (int64_t)e->job_count);
	cond_broadcast(&e->work);
	lock_drop(&e->lock);
}

bool retro_has_room(struct service *svc)
{
	struct retrohunt *e = svc->retrohunt;
	bool room;

	lock_take(&e->lock);
	room = e->job_count < RETRO_JOBS_MAX;
	lock_drop(&e->lock);
	return room;
}

static struct retro_job *job_find(struct retrohunt *e, int64_t id)
{
	struct retro_job *job = e->jobs;

	while (job && job->id != id)
		job = job->next;
	return job;
}

bool retro_cancel(struct service *svc, int64_t job_id)
{
	struct retrohunt *e = svc->retrohunt;
	struct retro_job *job;

	lock_take(&e->lock);
	job = job_find(e, job_id);
	if (job) {
		job->stop = true;
		for (unsigned i = 0; i < e->worker_count; i++) {
			if (e->workers[i].job == job && e->workers[i].child)
				scan_child_cancel(e->workers[i].child);
		}
		cond_broadcast(&e->work);
	}
	lock_drop(&e->lock);
	return job != NULL;
}

void retro_give_up(struct retro_job *job, const char *reason, const char *error)
{
	struct retrohunt *e = job->engine;

	lock_take(&e->lock);
	if (!job->stop) {
		snprintf(job->reason, sizeof job->reason, "%s", reason);
		snprintf(job->error, sizeof job->error, "%s", error);
		job->stop = true;
		cond_broadcast(&e->work);
	}
	lock_drop(&e->lock);
}

bool retro_live(struct service *svc, int64_t job_id, struct retro_live *ret)
{
	struct retrohunt *e = svc->retrohunt;
	const struct retro_job *job;

	lock_take(&e->lock);
	job = job_find(e, job_id);
	if (job)
		*ret = (struct retro_live){ job->done, job->way };
	lock_drop(&e->lock);
	return job != NULL;
}

bool retro_is_stopping(struct retrohunt *e)
{
	bool stopping;

	lock_take(&e->lock);
	stopping = e->stopping;
	lock_drop(&e->lock);
	return stopping;
}

void retro_rest(struct retrohunt *e)
{
	lock_take(&e->lock);
	if (!e->stopping)
		cond_wait_ms(&e->work, &e->lock, REST_MS);
	lock_drop(&e->lock);
}

/* ---- Taking and leaving ---- */

/* Wait for work. NULL: stopping. */
static struct retro_job *worker_take(struct retro_worker *w, struct retro_step *ret)
{
	struct retrohunt *e = w->engine;
	struct retro_job *best = NULL;

	lock_take(&e->lock);
	while (!best && !e->stopping) {
		retro_account(e);
		for (struct retro_job *j = e->jobs; j; j = j->next) {
			struct retro_step s;

			if (best && j->used_us >= best->used_us)
				continue;
			s = retro_step_of(j);
			if (s.kind == STEP_NONE)
				continue;
			best = j;
			*ret = s;
		}
		if (!best)
			cond_wait(&e->work, &e->lock);
	}
	if (best) {
		retro_step_mark(best, ret);
		best->busy++;
		retro_account(e);
		w->job = best;
	}
	lock_drop(&e->lock);
	return best;
}

static void unlink_job(struct retrohunt *e, struct retro_job *job)
{
	struct retro_job **at = &e->jobs;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	for (struct retro_task *t = job->tasks; t; t = t->next)
		retro_items_keep(job, t, 0);
	e->job_count--;
	retro_peers_count(e, job->owner_id);
	metric_set(METRIC_retrohunt_jobs_running, (int64_t)e->job_count);
	if (!e->jobs)
		cond_broadcast(&e->idle);
}

/* A worker, or NULL, is not in it any more; the last one frees it when it is over. */
static void job_leave(struct retro_job *job, struct retro_worker *w)
{
	struct retrohunt *e = job->engine;
	bool gone;

	lock_take(&e->lock);
	retro_account(e);
	if (w)
		w->job = NULL;
	job->busy--;
	gone = job->over && !job->busy;
	if (gone)
		unlink_job(e, job);
	cond_broadcast(&e->work);
	lock_drop(&e->lock);
	if (gone)
		job_free(job);
}

/* ---- The steps ---- */

static void run_compile(struct retro_worker *w, struct retro_job *job)
{
	struct err err;
	int rc = retro_compile(w, job, &err);

	if (rc && !job->stop && !retro_is_stopping(w->engine)) {
		log_event(LOG_WARN, "retrohunt_compile_failed", LOG_Z("job", job->name),
			  LOG_Z("error", err.msg));
		job->compile_failures += rc == -ERR_DIED || rc == -ERR_TIMEOUT;
		if (rc == -ERR_INVALID || job->compile_failures == RETRO_COMPILES_MAX)
			retro_give_up(job, "scanner_failures", err.msg);
		else
			retro_rest(w->engine);
	}
	lock_take(&w->engine->lock);
	job->compiling = false;
	lock_drop(&w->engine->lock);
}

static void job_is_over(struct retro_job *job)
{
	lock_take(&job->engine->lock);
	job->over = true;
	lock_drop(&job->engine->lock);
}

static void run_claim(struct retro_worker *w, struct retro_job *job)
{
	struct retrohunt_task_row rows[RETRO_CLAIM_MAX];
	size_t n = 0;
	struct err err;
	int rc = retro_claim(job, rows, &n, &err);

	if (rc && rc != -ERR_CLOSED) {
		log_event(LOG_WARN, "retrohunt_claim_failed", LOG_Z("job", job->name),
			  LOG_Z("error", err.msg));
		retro_rest(w->engine);
	}
	lock_take(&w->engine->lock);
	job->claiming = false;
	if (rc == 0)
		job->more = n == RETRO_CLAIM_MAX;
	if (rc == -ERR_CLOSED && !w->engine->stopping)
		job->stop = true;
	tasks_append(job, rows, n);
	lock_drop(&w->engine->lock);
}

static void task_unlink(struct retro_job *job, struct retro_task *task)
{
	struct retro_task **at = &job->tasks;

	while (*at != task)
		at = &(*at)->next;
	*at = task->next;
	retro_items_keep(job, task, 0);
	cond_broadcast(&job->engine->work);
}

/* Commit the end of a task of which nothing is left to verify. */
static void task_end(struct retro_worker *w, struct retro_job *job, struct retro_task *task)
{
	struct retrohunt *e = w->engine;
	struct err err;
	int rc = retro_tell(job, task, NULL, 0, true, &err);

	lock_take(&e->lock);
	if (rc == 0)
		task_unlink(job, task);
	lock_drop(&e->lock);
	if (rc == 0)
		retro_task_free(task);
}

static void run_plan(struct retro_worker *w, struct retro_job *job, struct retro_task *task)
{
	struct retrohunt *e = w->engine;
	struct err err;
	int rc = retro_task_plan(job, task, &err);
	bool empty;

	if (rc && rc != -ERR_CLOSED && !retro_is_stopping(e)) {
		log_event(LOG_WARN, "retrohunt_plan_failed", LOG_Z("job", job->name),
			  LOG_Z("error", err.msg));
		retro_rest(e);
	}
	lock_take(&e->lock);
	retro_items_keep(job, task, task->item_count * sizeof *task->items);
	empty = rc == 0 && task->item_count == 0;
	task->state = rc ? RETRO_CLAIMED : empty ? RETRO_DECIDED : RETRO_PLANNED;
	if (rc == 0)
		retro_task_planned(job, task);
	cond_broadcast(&e->work);
	lock_drop(&e->lock);
	if (rc == 0)
		retro_end_decided(job);
}

static void run_verify(struct retro_worker *w, struct retro_job *job, const struct retro_step *s)
{
	struct retrohunt *e = w->engine;
	bool last;

	retro_verify(w, job, s->task, s->from, s->to);
	lock_take(&e->lock);
	s->task->out--;
	last = !job->stop && !job->over && !e->stopping && retro_task_is_over(s->task);
	lock_drop(&e->lock);
	if (last)
		task_end(w, job, s->task);
}

/* false: it is to be tried again. */
static bool run_end(struct retro_job *job)
{
	struct retrohunt *e = job->engine;
	struct err err;
	int rc = retro_end(job, &err);

	if (rc && rc != -ERR_CLOSED)
		log_event(LOG_WARN, "retrohunt_end_failed", LOG_Z("job", job->name),
			  LOG_Z("error", err.msg));
	lock_take(&e->lock);
	job->ending = false;
	lock_drop(&e->lock);
	if (rc == 0)
		job_is_over(job);
	return rc == 0 || rc == -ERR_CLOSED;
}

void retro_end_idle(struct service *svc, int64_t job_id)
{
	struct retrohunt *e = svc->retrohunt;
	struct retro_job *job;
	bool idle;

	lock_take(&e->lock);
	job = job_find(e, job_id);
	idle = job && job->stop && !job->busy && !job->ending && !job->over && !e->stopping;
	if (idle) {
		job->ending = true;
		job->busy++;
	}
	lock_drop(&e->lock);
	if (!idle)
		return; /* who is in it ends it */
	(void)run_end(job);
	job_leave(job, NULL);
}

/* Clients who wait for Livehunt go first, for a while that no job is charged for. */
static void yield_to_clients(struct retro_worker *w)
{
	struct retrohunt *e = w->engine;

	for (unsigned i = 0; i < YIELD_MAX && hunt_clients_wait(e->svc); i++) {
		lock_take(&e->lock);
		if (!e->stopping)
			cond_wait_ms(&e->work, &e->lock, YIELD_MS);
		w->since_us = clock_mono_us(clock_system());
		lock_drop(&e->lock);
	}
}

static void worker_run(void *arg)
{
	struct retro_worker *w = arg;
	struct retro_step s = { .kind = STEP_NONE };
	struct retro_job *job;

	while ((job = worker_take(w, &s)) != NULL) {
		switch (s.kind) {
		case STEP_COMPILE:
			run_compile(w, job);
			break;
		case STEP_PART:
			retro_split_compile(w, job, s.part);
			break;
		case STEP_CLAIM:
			run_claim(w, job);
			break;
		case STEP_PLAN:
			run_plan(w, job, s.task);
			break;
		case STEP_VERIFY:
			yield_to_clients(w);
			run_verify(w, job, &s);
			break;
		case STEP_END:
			if (!run_end(job))
				retro_rest(w->engine);
			break;
		case STEP_NONE:
			break;
		}
		job_leave(job, w);
	}
	retro_child_bury(w);
	scan_found_release(&w->found);
	scan_result_release(&w->result);
}

void retrohunt_drain(struct service *svc)
{
	struct retrohunt *e = svc->retrohunt;

	lock_take(&e->lock);
	while (e->jobs && !e->stopping)
		cond_wait_ms(&e->idle, &e->lock, 1000);
	lock_drop(&e->lock);
}

/* ---- Life ---- */

unsigned retrohunt_workers(const struct service_options *options)
{
	return options->workers == 0 ? 0 : options->retrohunt_workers;
}

static int workers_start(struct retrohunt *e, unsigned n, struct err *err)
{
	REQUIRE(n <= RETROHUNT_WORKERS_MAX);
	for (unsigned i = 0; i < n; i++) {
		struct retro_worker *w = &e->workers[i];
		char name[24];

		w->engine = e;
		snprintf(name, sizeof name, "retro-%u", i);
		TRY(thread_start(&w->thread, name, worker_run, w, err));
		lock_take(&e->lock);
		e->worker_count++;
		lock_drop(&e->lock);
	}
	return 0;
}

int retrohunt_start(struct service *svc, struct err *err)
{
	struct retrohunt *e = mem_must_zalloc(sizeof *e);

	e->svc = svc;
	lock_init(&e->lock, LOCK_RETROHUNT);
	cond_init(&e->work);
	cond_init(&e->idle);
	svc->retrohunt = e;
	if (!retrohunt_workers(&svc->options))
		return 0;
	TRY(workers_start(e, retrohunt_workers(&svc->options), err));
	return retro_restart(svc, err);
}

void retrohunt_cancel(struct service *svc)
{
	struct retrohunt *e = svc->retrohunt;

	if (!e)
		return;
	lock_take(&e->lock);
	e->stopping = true;
	cond_broadcast(&e->work);
	cond_broadcast(&e->idle);
	lock_drop(&e->lock);
}

void retrohunt_stop(struct service *svc)
{
	struct retrohunt *e = svc->retrohunt;

	if (!e)
		return;
	retrohunt_cancel(svc);
	for (unsigned i = 0; i < e->worker_count; i++)
		thread_join(&e->workers[i].thread);
}

void retrohunt_free(struct service *svc)
{
	struct retrohunt *e = svc->retrohunt;
	struct retro_job *next;

	if (!e)
		return;
	for (struct retro_job *job = e->jobs; job; job = next) {
		next = job->next;
		job_free(job);
	}
	cond_release(&e->work);
	cond_release(&e->idle);
	lock_release(&e->lock);
	free(e);
	svc->retrohunt = NULL;
}
