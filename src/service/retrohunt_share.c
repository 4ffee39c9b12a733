#include "retrohunt_internal.h"

#include "base/mem.h"

/* How jobs share the workers: how much of a job is a batch, what it used, how far it is. */

enum {
	BATCH_US = 100000,      /* a batch is to take so long; RETRO_BATCH_MS ends it */
	BATCH_FIRST = 1 << 20,  /* weight of one of a job of which nothing is measured yet */
	FILE_WEIGHT = 8192,     /* what beginning with a file costs, in bytes of scanning */
	RATE_BYTES = 256 << 10, /* a job that scanned less says nothing of the speed */
};

#define SPEED_FADES 0.75 /* for each batch of the job: the last four count */

double retro_weight(int64_t files, int64_t bytes)
{
	return (double)files * FILE_WEIGHT + (double)bytes;
}

/* ---- Whose turn it is ---- */

void retro_account(struct retrohunt *e)
{
	int64_t now_us = clock_mono_us(clock_system());

	for (unsigned i = 0; i < e->worker_count; i++) {
		struct retro_worker *w = &e->workers[i];

		if (w->job)
			w->job->used_us += (uint64_t)(now_us - w->since_us) * w->job->peers;
		w->since_us = now_us;
	}
}

void retro_peers_count(struct retrohunt *e, int64_t owner_id)
{
	uint32_t n = 0;

	for (const struct retro_job *j = e->jobs; j; j = j->next)
		n += j->owner_id == owner_id;
	for (struct retro_job *j = e->jobs; j; j = j->next) {
		if (j->owner_id == owner_id)
			j->peers = n;
	}
}

/* ---- Batches of a task ---- */

/* Items from `from` that are one batch. */
static size_t batch_end(const struct retro_job *job, const struct retro_task *t, size_t from,
			size_t end)
{
	size_t files_max = job->asks_facts ? RETRO_BATCH_FACTS : SCAN_MANY_MAX;
	double left =
		job->speed_us > 0 ? job->speed_weight / job->speed_us * BATCH_US : BATCH_FIRST;
	unsigned packs = 1;
	uint64_t bytes = 0;
	size_t to = from;

	for (; to < end && to - from < files_max; to++) {
		const struct retro_item *item = &t->items[to];

		left -= retro_weight(1, item->len);
		bytes += item->len;
		if (to == from)
			continue;
		if (left < 0 || bytes > RETRO_BATCH_BYTES)
			break;
		if (item->pack != t->items[to - 1].pack && ++packs > SCAN_MANY_FILES)
			break;
	}
	return to;
}

bool retro_batch_next(const struct retro_job *job, const struct retro_task *t, size_t *ret_from,
		      size_t *ret_to)
{
	if (t->back_count) {
		const struct retro_range *back = &t->back[t->back_count - 1];

		*ret_from = back->from;
		/* Each batch may come back: there is to be room for all of them. */
		*ret_to = t->back_count + t->out < RETRO_BACK_MAX
				  ? batch_end(job, t, back->from, back->to)
				  : back->to;
		return true;
	}
	if (t->item_next == t->item_count)
		return false;
	*ret_from = t->item_next;
	*ret_to = batch_end(job, t, t->item_next, t->item_count);
	return true;
}

void retro_batch_take(struct retro_task *t, size_t from, size_t to)
{
	struct retro_range *back = t->back_count ? &t->back[t->back_count - 1] : NULL;

	t->out++;
	if (!back) {
		REQUIRE(from == t->item_next);
		t->item_next = to;
		return;
	}
	REQUIRE(from == back->from && to <= back->to);
	back->from = to;
	t->back_count -= to == back->to;
}

void retro_batch_back(struct retro_task *t, size_t from, size_t to)
{
	if (from == to)
		return;
	REQUIRE(t->back_count < RETRO_BACK_MAX);
	t->back[t->back_count++] = (struct retro_range){ from, to };
}

bool retro_task_is_over(const struct retro_task *t)
{
	return !t->out && !t->back_count && t->item_next == t->item_count;
}

/* ---- How fast a job is, and how far ---- */

void retro_speed_add(struct retro_job *job, const struct retrohunt_done *sum, uint64_t us)
{
	job->speed_weight = SPEED_FADES * job->speed_weight +
			    retro_weight(sum->verified_files, sum->verified_bytes);
	job->speed_us = SPEED_FADES * job->speed_us + (double)us;
}

/*
 * What the plan decided of a task counts as its items are over: that is what takes time. So a
 * job's progress is one of its work, and goes one way.
 */
static void show(struct retro_job *job, struct retro_task *task)
{
	double part = task->over < task->weight ? task->over / task->weight : 1;
	int64_t files = (int64_t)(part * (double)task->planned.files);
	int64_t bytes = (int64_t)(part * (double)task->planned.bytes);

	if (files > task->shown.files) {
		job->done.files += files - task->shown.files;
		task->shown.files = files;
	}
	if (bytes > task->shown.bytes) {
		job->done.bytes += bytes - task->shown.bytes;
		task->shown.bytes = bytes;
	}
}

void retro_task_planned(struct retro_job *job, struct retro_task *task)
{
	task->over = 0;
	task->planned = task->done;
	task->shown = (struct retrohunt_done){ 0 };
	job->way.planned += retro_weight(task->done.files, task->done.bytes) + task->weight;
	job->way.items += task->weight;
	job->done.skipped += task->done.skipped;
	job->done.failed += task->done.failed;
	show(job, task);
}

void retro_task_verified(struct retro_job *job, struct retro_task *task,
			 const struct retrohunt_done *sum)
{
	struct retrohunt_done *sums[] = { &task->done, &job->done };

	for (size_t i = 0; i < 2; i++) {
		sums[i]->files += sum->files;
		sums[i]->bytes += sum->bytes;
		sums[i]->verified_files += sum->verified_files;
		sums[i]->verified_bytes += sum->verified_bytes;
	}
	task->over += retro_weight(sum->files, sum->bytes);
	job->way.over += retro_weight(sum->files, sum->bytes);
	show(job, task);
}

double retro_way_left_us(const struct retro_way *way, int64_t files, int64_t bytes, int64_t now_us)
{
	double us = (double)(now_us - way->begun_us);
	double ahead =
		retro_weight(files, bytes) - way->before - way->planned; /* not planned yet */

	if (!way->begun_us || us <= 0 || way->planned <= 0)
		return -1;
	if (ahead < 0)
		ahead = 0;
	if (way->items <= 0)
		return us * ahead / way->planned;
	if (way->over <= 0)
		return -1;
	return us * (way->items - way->over + ahead * way->items / way->planned) / way->over;
}

/* ---- How fast jobs are ---- */

void retro_rate_add(struct retro_job *job, const struct retrohunt_done *sum, int64_t us)
{
	struct retrohunt *e = job->engine;
	struct retro_rate *rate = e->rates;
	int64_t files_us = sum->verified_files * RETRO_FILE_US;

	while (rate < e->rates + RETRO_RATES && rate->job_id != job->id)
		rate++;
	if (rate == e->rates + RETRO_RATES) {
		rate = &e->rates[e->rate_next++ % RETRO_RATES];
		*rate = (struct retro_rate){ .job_id = job->id };
	}
	rate->bytes += (double)sum->verified_bytes;
	rate->us += (double)(files_us < us / 2 ? us - files_us : us - us / 2);
}

static int compare_rates(const void *a_, const void *b_)
{
	double a = *(const double *)a_, b = *(const double *)b_;

	return a < b ? -1 : a > b;
}

double retro_rate(struct service *svc)
{
	struct retrohunt *e = svc->retrohunt;
	double rates[RETRO_RATES];
	size_t n = 0;

	lock_take(&e->lock);
	for (size_t i = 0; i < RETRO_RATES; i++) {
		if (e->rates[i].bytes >= RATE_BYTES && e->rates[i].us > 0)
			rates[n++] = e->rates[i].bytes / e->rates[i].us;
	}
	lock_drop(&e->lock);
	if (!n)
		return 0;
	qsort(rates, n, sizeof rates[0], compare_rates);
	return rates[n / 2];
}
