#include "retrohunt_split.h"

/* What a worker does next for a job. */

enum {
	PLANNING_MAX = 2, /* tasks of a job that are planned at a time */
};

struct retro_step retro_step_of(const struct retro_job *job)
{
	struct retro_step plan = { .kind = STEP_NONE }, verify = { .kind = STEP_VERIFY };
	unsigned planning = 0, planning_max = PLANNING_MAX;
	const struct retro_split *split = job->split;
	bool waits = split && split->state == SPLIT_COMPILING;
	bool unplanned = false;

	if (job->ending || job->over)
		return plan;
	if (job->stop)
		return (struct retro_step){ .kind = job->busy ? STEP_NONE : STEP_END };
	if (!job->rules)
		return (struct retro_step){ .kind = job->compiling ? STEP_NONE : STEP_COMPILE };
	if (waits && split->part_next < split->part_count)
		return (struct retro_step){ .kind = STEP_PART, .part = split->part_next };
	/* What the first one tells of the rules is for the others, too. */
	if (job->plan && !job->is_measured)
		planning_max = 1;
	for (struct retro_task *t = job->tasks; t; t = t->next) {
		planning += t->state == RETRO_PLANNING;
		unplanned = unplanned || t->state == RETRO_CLAIMED;
		verify.task = t;
		if (t->state == RETRO_PLANNED && !waits &&
		    retro_batch_next(job, t, &verify.from, &verify.to))
			return verify;
		if (t->state == RETRO_CLAIMED && !plan.task && retro_items_fit(job, t))
			plan = (struct retro_step){ .kind = STEP_PLAN, .task = t };
	}
	if (plan.task && planning < planning_max)
		return plan;
	if (job->more && !job->claiming && !unplanned)
		return (struct retro_step){ .kind = STEP_CLAIM };
	return (struct retro_step){ .kind = STEP_NONE };
}

void retro_step_mark(struct retro_job *job, const struct retro_step *s)
{
	switch (s->kind) {
	case STEP_COMPILE:
		job->compiling = true;
		break;
	case STEP_PART:
		job->split->part_next++;
		break;
	case STEP_CLAIM:
		job->claiming = true;
		break;
	case STEP_PLAN:
		s->task->state = RETRO_PLANNING;
		retro_items_reserve(job, s->task);
		if (!job->way.begun_us)
			job->way.begun_us = clock_mono_us(job->engine->svc->clock);
		break;
	case STEP_VERIFY:
		retro_batch_take(s->task, s->from, s->to);
		break;
	case STEP_END:
		job->ending = true;
		break;
	case STEP_NONE:
		break;
	}
}
