/* How much of a job is a batch, what comes back of it, and how far a job is. */
#include "unit.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "retrohunt_internal.h"

enum {
	ITEMS = 1500,
	LEN = 1000,
	STEPS = 20000
};

struct fixture {
	struct retrohunt e;
	struct retro_job job;
	struct retro_task task;
	struct retro_item items[ITEMS];
	unsigned given[ITEMS]; /* how often each is under way or over */
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = mem_must_zalloc(sizeof *f);

	f->job.engine = &f->e;
	f->task.items = f->items;
	f->task.item_count = ITEMS;
	for (int i = 0; i < ITEMS; i++) {
		f->items[i] = (struct retro_item){ .file_id = i + 1, .len = LEN };
		f->task.weight += retro_weight(1, LEN);
	}
	return f;
}

static bool take(struct fixture *f, struct retro_range *ret)
{
	if (!retro_batch_next(&f->job, &f->task, &ret->from, &ret->to))
		return false;
	retro_batch_take(&f->task, ret->from, ret->to);
	assert_true(ret->from < ret->to && ret->to <= ITEMS);
	assert_true(ret->to - ret->from <= SCAN_MANY_MAX);
	for (size_t i = ret->from; i < ret->to; i++)
		assert_int_equal(f->given[i]++, 0);
	return true;
}

/* It did `done` items of the batch. */
static void leave(struct fixture *f, struct retro_range batch, size_t done)
{
	for (size_t i = batch.from + done; i < batch.to; i++)
		f->given[i]--;
	retro_batch_back(&f->task, batch.from + done, batch.to);
	f->task.out--;
}

/* As many workers as there may be take batches and bring some of them back, in any order. */
static void each_item_is_given_out_until_it_is_done(void **state)
{
	struct rand_seq lots = { 7 };

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct fixture *f = fixture_new();
		struct retro_range out[RETROHUNT_WORKERS_MAX];
		unsigned n = 0, steps = 0;

		/* From an item a batch to all of them. */
		f->job.speed_us = 1e6;
		f->job.speed_weight = retro_weight(1, LEN) * (double)(1u << round % 12);
		while (!retro_task_is_over(&f->task)) {
			bool takes = n < RETROHUNT_WORKERS_MAX && (n == 0 || rand_below(&lots, 2));

			assert_true(++steps < STEPS);
			if (takes && take(f, &out[n])) {
				n++;
				continue;
			}
			if (!n)
				continue;
			unsigned k = (unsigned)rand_below(&lots, n);
			size_t items = out[k].to - out[k].from;

			leave(f, out[k], 1 + (size_t)rand_below(&lots, items));
			out[k] = out[--n];
		}
		assert_int_equal(n, 0);
		for (int i = 0; i < ITEMS; i++)
			assert_int_equal(f->given[i], 1);
		free(f);
	}
}

static void batches_are_sized_by_the_jobs_own_speed(void **state)
{
	struct fixture *f = fixture_new();
	struct retrohunt_done sum = { .verified_files = 10, .verified_bytes = 10 * LEN };
	struct retro_range first, slow, fast;

	(void)state;
	assert_true(take(f, &first));
	assert_true(first.to - first.from < SCAN_MANY_MAX); /* nothing is known yet */
	retro_speed_add(&f->job, &sum, 1000000);            /* 100 ms a file */
	assert_true(take(f, &slow));
	assert_int_equal(slow.to - slow.from, 1);
	f->job.speed_us = f->job.speed_weight = 0;
	retro_speed_add(&f->job, &sum, 100);
	assert_true(take(f, &fast));
	assert_int_equal(fast.to - fast.from, SCAN_MANY_MAX);
	free(f);
}

static void what_the_plan_decided_counts_with_the_work(void **state)
{
	struct fixture *f = fixture_new();
	const struct retrohunt_done half = { .files = ITEMS / 2,
					     .bytes = ITEMS / 2 * LEN,
					     .verified_files = ITEMS / 2,
					     .verified_bytes = ITEMS / 2 * LEN };

	(void)state;
	/* Half of the corpus: of it 8,500 files are decided, 1,500 are to be verified. */
	f->task.done = (struct retrohunt_done){ .files = 8500, .bytes = 8500 * LEN, .skipped = 2 };
	f->job.way.begun_us = 1000;
	assert_true(retro_way_left_us(&f->job.way, 20000, 20000 * LEN, 2000) < 0);
	retro_task_planned(&f->job, &f->task);
	assert_int_equal(f->job.done.files, 0);
	assert_int_equal(f->job.done.skipped, 2);
	assert_true(retro_way_left_us(&f->job.way, 20000, 20000 * LEN, 2000) < 0);
	retro_task_verified(&f->job, &f->task, &half);
	assert_int_equal(f->job.done.files, 5000);
	assert_int_equal(f->job.done.bytes, 5000 * LEN);
	assert_int_equal(f->job.done.verified_files, ITEMS / 2);
	/* 750 files took 1000 us: 750 are left of these, and 1,500 of the other half. */
	double left_us = retro_way_left_us(&f->job.way, 20000, 20000 * LEN, 2000);

	assert_true(left_us > 2999 && left_us < 3001);
	retro_task_verified(&f->job, &f->task, &half);
	assert_int_equal(f->job.done.files, 10000);
	assert_int_equal(f->task.done.files, 10000);
	free(f);
}

static void a_plan_alone_counts_where_nothing_is_to_verify(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->task.item_count = 0;
	f->task.weight = 0;
	f->task.done = (struct retrohunt_done){ .files = 100, .bytes = 100 * LEN };
	f->job.way.begun_us = 1000;
	retro_task_planned(&f->job, &f->task);
	assert_int_equal(f->job.done.files, 100);
	double left_us = retro_way_left_us(&f->job.way, 300, 300 * LEN, 2000);

	assert_true(left_us > 1999 && left_us < 2001);
	free(f);
}

/* Ten jobs of one user get what one of another gets. */
static void users_share_evenly(void **state)
{
	struct retrohunt *e = mem_must_zalloc(sizeof *e);
	struct retro_job jobs[3] = { { .owner_id = 1 }, { .owner_id = 1 }, { .owner_id = 2 } };
	int64_t now_us = clock_mono_us(clock_system());

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		jobs[i].next = e->jobs;
		e->jobs = &jobs[i];
	}
	retro_peers_count(e, 1);
	retro_peers_count(e, 2);
	assert_int_equal(jobs[0].peers, 2);
	assert_int_equal(jobs[2].peers, 1);
	e->worker_count = 3;
	for (unsigned i = 0; i < 2; i++)
		e->workers[i] = (struct retro_worker){ .job = &jobs[2 * i],
						       .since_us = now_us - 1000000000 };
	retro_account(e);
	assert_int_equal(jobs[0].used_us, 2 * jobs[2].used_us);
	assert_true(jobs[2].used_us >= 1000000000);
	assert_int_equal(jobs[1].used_us, 0);
	free(e);
}

static void one_job_has_one_voice_in_the_rate(void **state)
{
	struct service *svc = mem_must_zalloc(sizeof *svc);
	struct retrohunt *e = mem_must_zalloc(sizeof *e);
	struct retro_job job = { .engine = e };
	const struct retrohunt_done sum = { .verified_files = 1, .verified_bytes = 1 << 20 };

	(void)state;
	lock_init(&e->lock, LOCK_RETROHUNT);
	svc->retrohunt = e;
	assert_true(retro_rate(svc) == 0);
	for (job.id = 1; job.id <= 3; job.id++)
		retro_rate_add(&job, &sum, 1 << 10);
	double rate = retro_rate(svc);

	assert_true(rate > 1000 && rate < 1100);
	for (unsigned i = 0; i < 1000; i++)
		retro_rate_add(&job, &sum, 1 << 24);
	assert_true(retro_rate(svc) == rate);
	lock_release(&e->lock);
	free(e);
	free(svc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_item_is_given_out_until_it_is_done),
		cmocka_unit_test(batches_are_sized_by_the_jobs_own_speed),
		cmocka_unit_test(what_the_plan_decided_counts_with_the_work),
		cmocka_unit_test(a_plan_alone_counts_where_nothing_is_to_verify),
		cmocka_unit_test(users_share_evenly),
		cmocka_unit_test(one_job_has_one_voice_in_the_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
