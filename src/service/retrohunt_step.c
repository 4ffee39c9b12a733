#include "retrohunt_split.h"

/* What a worker does next for a job. */

enum {
	PLANNING_MAX = 2, /* tasks of a job that are planned at a time */
};

/* Items from `from` that are one batch. */
static size_t batch_end(const struct retro_job *job, const struct retro_task *t, size_t from)
{
	size_t files_max = job->asks_facts ? RETRO_BATCH_FACTS : SCAN_MANY_MAX;
	unsigned packs = 1;
	uint64_t bytes = 0;
	size_t to = from;

	while (to < t->item_count && to - from < files_max &&
	       (to == from || bytes + t->items[to].len <= RETRO_BATCH_BYTES)) {
		if (to > from && t->items[to].pack != t->items[to - 1].pack &&
		    ++packs > SCAN_MANY_FILES)
			break;
		bytes += t->items[to++].len;
	}
	return to;
}

struct retro_step retro_step_of(const struct retro_job *job)
{
	struct retro_step plan = { .kind = STEP_NONE };
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
		if (t->state == RETRO_PLANNED && t->item_next < t->item_count && !waits)
			return (struct retro_step){ .kind = STEP_VERIFY,
						    .task = t,
						    .from = t->item_next,
						    .to = batch_end(job, t, t->item_next) };
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
		break;
	case STEP_VERIFY:
		s->task->item_next = s->to;
		s->task->out++;
		break;
	case STEP_END:
		job->ending = true;
		break;
	case STEP_NONE:
		break;
	}
}
