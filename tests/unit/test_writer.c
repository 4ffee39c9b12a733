#include "writer_world.h"

/* Applied and told in the order of submission, in few commits. */
static void test_order_and_groups(void **state)
{
	enum {
		N = 1000
	};
	struct world *w = *state;
	int64_t commits, requests;
	int syncs;

	writer_begin(w);
	hold_begin(w);
	commits = metric_get(METRIC_commits_total);
	requests = metric_get(METRIC_commit_requests_total);
	syncs = fault.syncs;
	for (int i = 0; i < N; i++)
		submit(work_at(w, i));
	hold_end(w);
	wait_finished(w, N + 1);
	writer_end(w);
	for (int i = 0; i < N; i++) {
		assert_int_equal(w->applied[i + 1], i);
		assert_int_equal(w->finished[i + 1], i);
		assert_int_equal(w->rc_of[i], 0);
	}
	assert_int_equal(rows(w), N);
	/* The held one's commit, which syncs too, and 1000 in groups of 256. */
	assert_int_equal(metric_get(METRIC_commits_total) - commits, 1 + 4);
	assert_int_equal(metric_get(METRIC_commit_requests_total) - requests, 1 + N);
	assert_in_range(fault.syncs - syncs, 5, 10);
}

static void test_failures_are_alone(void **state)
{
	struct world *w = *state;
	int64_t commits;

	writer_begin(w);
	hold_begin(w);
	commits = metric_get(METRIC_commits_total);
	for (int i = 0; i < 10; i++) {
		struct work *k = work_at(w, i);

		k->kind = i % 3 == 1 ? WORK_FAIL : WORK_INSERT;
		submit(k);
	}
	hold_end(w);
	wait_finished(w, 11);
	for (int i = 0; i < 10; i++)
		assert_int_equal(w->rc_of[i], i % 3 == 1 ? -ERR_INVALID : 0);
	assert_int_equal(rows(w), 7);
	assert_int_equal(metric_get(METRIC_commits_total) - commits, 2);
	assert_string_equal(w->work[4].req.err.msg, "no 4");
}

/* A group in which all fail is not committed. */
static void test_all_fail(void **state)
{
	struct world *w = *state;
	int64_t commits;
	int syncs;

	writer_begin(w);
	commits = metric_get(METRIC_commits_total);
	syncs = fault.syncs;
	work_at(w, 0)->kind = WORK_FAIL;
	submit(&w->work[0]);
	wait_finished(w, 1);
	assert_int_equal(w->rc_of[0], -ERR_INVALID);
	assert_int_equal(metric_get(METRIC_commits_total), commits);
	assert_int_equal(fault.syncs, syncs);
	assert_int_equal(rows(w), 0);
}

static void test_barrier(void **state)
{
	struct world *w = *state;

	writer_begin(w);
	submit(work_at(w, 0));
	wait_finished(w, 1);
	assert_int_equal(w->barriers, 0);
	hold_begin(w);
	for (int i = 1; i < 9; i++) {
		work_at(w, i)->req.needs_barrier = i == 4 || i == 7;
		submit(&w->work[i]);
	}
	hold_end(w);
	wait_finished(w, 10);
	assert_int_equal(w->barriers, 1);
	assert_int_equal(rows(w), 9);
}

static void test_barrier_fails(void **state)
{
	struct world *w = *state;

	writer_begin(w);
	hold_begin(w);
	for (int i = 0; i < 3; i++) {
		work_at(w, i)->req.needs_barrier = i == 2;
		submit(&w->work[i]);
	}
	w->barrier_fails = 1;
	hold_end(w);
	wait_finished(w, 4);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(w->rc_of[i], -ERR_IO);
		assert_string_equal(w->work[i].req.err.msg, "packs are not synced");
	}
	assert_int_equal(rows(w), 0);
	/* It goes on: what needs no barrier at once, the rest when it works again. */
	submit(work_at(w, 0));
	wait_finished(w, 5);
	assert_int_equal(w->rc_of[0], 0);
}

struct caller {
	struct world *w;
	struct thread t;
	int from, n, failed;
};

static void caller_run(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < c->n; i++) {
		struct work k = { .req = { .apply = apply }, .w = c->w, .id = c->from + i };
		struct err err = { 0 };

		k.kind = i % 10 == 3 ? WORK_FAIL : WORK_INSERT;
		k.req.lane = i % 2 ? LANE_BULK : LANE_API;
		writer_announce(c->w->writer);
		if (writer_call(c->w->writer, &k.req, &err) == -ERR_INVALID &&
		    err.kind == ERR_INVALID)
			c->failed++;
		writer_withdraw(c->w->writer);
	}
}

static void test_many_callers(void **state)
{
	enum {
		THREADS = 8,
		EACH = 1000
	};
	struct world *w = *state;
	struct caller callers[THREADS] = { 0 };
	int64_t commits = metric_get(METRIC_commits_total);
	int64_t requests = metric_get(METRIC_commit_requests_total);
	struct err err;
	int failed = 0;

	w->options.group_delay_us = 2000;
	writer_begin(w);
	for (int i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){ .w = w, .from = i * EACH, .n = EACH };
		CHECK_OK(thread_start(&callers[i].t, "caller", caller_run, &callers[i], &err),
			 &err);
	}
	for (int i = 0; i < THREADS; i++) {
		thread_join(&callers[i].t);
		failed += callers[i].failed;
	}
	writer_end(w);
	assert_int_equal(failed, THREADS * EACH / 10);
	assert_int_equal(rows(w), THREADS * EACH * 9 / 10);
	requests = metric_get(METRIC_commit_requests_total) - requests;
	commits = metric_get(METRIC_commits_total) - commits;
	assert_int_equal(requests, THREADS * EACH * 9 / 10);
	/* They wait for each other: half of eight share a commit, at least mostly. */
	assert_true(commits * 2 < requests);
}

static void test_api_first(void **state)
{
	struct world *w = *state;

	writer_begin(w);
	hold_begin(w);
	for (int i = 0; i < 20; i++) {
		work_at(w, i)->req.lane = i < 15 ? LANE_BULK : LANE_API;
		submit(&w->work[i]);
	}
	hold_end(w);
	wait_finished(w, 21);
	writer_end(w);
	for (int i = 0; i < 20; i++)
		assert_int_equal(w->applied[i + 1], i < 5 ? 15 + i : i - 5);
}

/* An endless stream of API requests leaves bulk its share. */
static void again(struct write_req *req, int rc, const struct err *err)
{
	struct work *k = (struct work *)req;
	int64_t id = k->id;

	done(req, rc, err);
	if (id >= 1500)
		return;
	k->id = id + 8; /* eight of them, one after the other each */
	(void)!writer_submit(k->w->writer, req, NULL);
}

static void test_bulk_is_not_starved(void **state)
{
	enum {
		BULK = 40,
		API = 8
	};
	struct world *w = *state;
	int64_t first;

	w->options.group_max = 4;
	writer_begin(w);
	hold_begin(w);
	first = metric_get(METRIC_commits_total) + 1;
	for (int i = 0; i < BULK; i++) {
		work_at(w, i)->req.lane = LANE_BULK;
		w->work[i].id = 100000 + i;
		submit(&w->work[i]);
	}
	for (int i = 0; i < API; i++) {
		work_at(w, BULK + i)->req.done = again;
		w->work[BULK + i].id = i;
		submit(&w->work[BULK + i]);
	}
	hold_end(w);
	lock_take(&w->lock);
	while (w->work[BULK - 1].commits == 0)
		cond_wait(&w->changed, &w->lock);
	lock_drop(&w->lock);
	writer_end(w);
	/* Two of four places in every second group. */
	for (int i = 0; i < BULK; i++)
		assert_in_range(w->work[i].commits - first, 1, 2 * (i / 2 + 1));
}

static void test_queue_is_bounded(void **state)
{
	struct world *w = *state;
	struct err err = { 0 };

	w->options.queue_max = 3;
	writer_begin(w);
	hold_begin(w);
	for (int i = 0; i < 3; i++)
		submit(work_at(w, i));
	assert_int_equal(writer_submit(w->writer, &work_at(w, 3)->req, &err), -ERR_BUSY);
	assert_int_equal(err.kind, ERR_BUSY);
	w->work[3].req.done = NULL;
	assert_int_equal(writer_call(w->writer, &w->work[3].req, &err), -ERR_BUSY);
	hold_end(w);
	writer_stop(w->writer);
	assert_int_equal(w->finished_n, 4);
	assert_int_equal(rows(w), 3);
}

static void closer_run(void *arg)
{
	struct world *w = arg;

	writer_stop(w->writer);
}

/* Follows itself until that is refused. */
static void done_and_follow(struct write_req *req, int rc, const struct err *err)
{
	struct work *k = (struct work *)req;
	struct world *w = k->w;

	done(req, rc, err);
	k->id += FEW_MAX;
	w->followed = writer_submit(w->writer, req, NULL);
}

/* What was submitted is worked off; what comes while it closes is refused. */
static void test_close_while_busy(void **state)
{
	enum {
		N = 100
	};
	struct world *w = *state;
	struct thread closer = { 0 };
	struct err err = { 0 };

	w->options.group_max = 10;
	w->options.queue_max = N + 20;
	writer_begin(w);
	hold_begin(w);
	for (int i = 0; i < N; i++)
		submit(work_at(w, i));
	w->work[N - 1].req.done = done_and_follow;
	CHECK_OK(thread_start(&closer, "closer", closer_run, w, &err), &err);
	/* Until it has begun to close, submitting works: those belong to what is worked off. */
	for (int i = N; writer_submit(w->writer, &work_at(w, i)->req, &err) == 0; i++)
		continue;
	assert_true(err.kind == ERR_CLOSED || err.kind == ERR_BUSY);
	hold_end(w);
	thread_join(&closer);
	assert_int_equal(writer_submit(w->writer, &work_at(w, 1001)->req, &err), -ERR_CLOSED);
	assert_int_equal(err.kind, ERR_CLOSED);
	assert_int_equal(w->followed, -ERR_CLOSED);
	for (int i = 0; i < N; i++)
		assert_int_equal(w->rc_of[i], 0);
	assert_int_equal(rows(w), w->finished_n - 1);
	writer_stop(w->writer);
}

/* One announced never waits; the delay here would outlast the test. */
static void test_single_does_not_wait(void **state)
{
	struct world *w = *state;

	w->options.group_delay_us = 3600u * 1000000;
	writer_begin(w);
	writer_announce(w->writer);
	submit(work_at(w, 0));
	wait_finished(w, 1);
	writer_withdraw(w->writer);
	submit(work_at(w, 1));
	wait_finished(w, 2);
}

static void test_group_waits_for_half(void **state)
{
	struct world *w = *state;
	int64_t commits;

	w->options.group_delay_us = 3600u * 1000000;
	writer_begin(w);
	commits = metric_get(METRIC_commits_total);
	for (int i = 0; i < 6; i++)
		writer_announce(w->writer);
	for (int i = 0; i < 3; i++)
		submit(work_at(w, i));
	wait_finished(w, 3);
	assert_int_equal(metric_get(METRIC_commits_total) - commits, 1);
	/* Those who give up let the others go. */
	submit(work_at(w, 3));
	for (int i = 0; i < 4; i++)
		writer_withdraw(w->writer);
	wait_finished(w, 4);
	writer_withdraw(w->writer);
	writer_withdraw(w->writer);
}

static void test_delay_ends(void **state)
{
	struct world *w = *state;

	w->options.group_delay_us = 1500;
	writer_begin(w);
	for (int i = 0; i < 100; i++)
		writer_announce(w->writer);
	submit(work_at(w, 0));
	wait_finished(w, 1);
	assert_int_equal(w->rc_of[0], 0);
	for (int i = 0; i < 100; i++)
		writer_withdraw(w->writer);
}

/* Bulk requests alone gather; many of them, or one that somebody waits for, end that. */
static void test_bulk_gathers(void **state)
{
	enum {
		MINUTE_US = 60000000,
		FEW = 10,
		ENOUGH = 64
	};
	struct world *w = *state;

	w->options.bulk_delay_us = MINUTE_US;
	writer_begin(w);
	for (int i = 0; i < FEW; i++) {
		struct work *k = work_at(w, i);

		k->req.lane = LANE_BULK;
		submit(k);
	}
	submit(work_at(w, FEW));
	wait_finished(w, FEW + 1);
	assert_int_equal(w->work[0].commits, w->work[FEW].commits);
	for (int i = 0; i < ENOUGH; i++) {
		struct work *k = work_at(w, 100 + i);

		k->req.lane = LANE_BULK;
		submit(k);
	}
	wait_finished(w, FEW + 1 + ENOUGH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_order_and_groups),
		TEST(test_failures_are_alone),
		TEST(test_all_fail),
		TEST(test_barrier),
		TEST(test_barrier_fails),
		TEST(test_many_callers),
		TEST(test_api_first),
		TEST(test_bulk_is_not_starved),
		TEST(test_queue_is_bounded),
		TEST(test_close_while_busy),
		TEST(test_single_does_not_wait),
		TEST(test_group_waits_for_half),
		TEST(test_delay_ends),
		TEST(test_bulk_gathers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
