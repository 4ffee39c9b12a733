#include "unit.h"

#include <sys/prctl.h>

#include "base/clock.h"
#include "base/thread.h"

enum {
	THREADS = 4,
	ROUNDS = 2000
};

struct counter {
	struct lock lock;
	struct cond changed;
	unsigned n; /* guarded by lock */
};

static void counter_init(struct counter *c)
{
	*c = (struct counter){ 0 };
	lock_init(&c->lock, LOCK_TEST);
	cond_init(&c->changed);
}

static void counter_release(struct counter *c)
{
	cond_release(&c->changed);
	lock_release(&c->lock);
}

static void count_up(void *arg)
{
	struct counter *c = arg;

	for (int i = 0; i < ROUNDS; i++) {
		lock_take(&c->lock);
		c->n++;
		lock_drop(&c->lock);
	}
}

static void test_mutual(void **state)
{
	struct thread t[THREADS];
	struct counter c;
	struct err err;

	(void)state;
	counter_init(&c);
	for (int i = 0; i < THREADS; i++)
		CHECK_OK(thread_start(&t[i], "count", count_up, &c, &err), &err);
	for (int i = 0; i < THREADS; i++)
		thread_join(&t[i]);
	for (int i = 0; i < THREADS; i++)
		assert_false(t[i].started);
	thread_join(&t[0]); /* fine a second time */
	lock_take(&c.lock);
	assert_int_equal(c.n, THREADS * ROUNDS);
	lock_drop(&c.lock);
	counter_release(&c);
}

/* Two threads take turns: each waits for the other's signal. */
static void take_odd_turns(void *arg)
{
	struct counter *c = arg;

	lock_take(&c->lock);
	while (c->n < 200) {
		while (c->n % 2 == 0 && c->n < 200)
			cond_wait(&c->changed, &c->lock);
		c->n++;
		cond_signal(&c->changed);
	}
	lock_drop(&c->lock);
}

static void test_turns(void **state)
{
	struct thread t = { 0 };
	struct counter c;
	struct err err;

	(void)state;
	counter_init(&c);
	CHECK_OK(thread_start(&t, "turns", take_odd_turns, &c, &err), &err);
	lock_take(&c.lock);
	while (c.n < 200) {
		while (c.n % 2 == 1)
			assert_true(cond_wait_ms(&c.changed, &c.lock, 60000));
		c.n++;
		cond_broadcast(&c.changed);
	}
	lock_drop(&c.lock);
	thread_join(&t);
	counter_release(&c);
}

static void test_time_out(void **state)
{
	static const uint32_t waits[] = { 0, 1, 20 };
	struct counter c;

	(void)state;
	counter_init(&c);
	for (size_t i = 0; i < COUNT_OF(waits); i++) {
		int64_t start = clock_mono_us(clock_system());

		lock_take(&c.lock);
		/* Nobody signals; waking for nothing is allowed, but not before the time. */
		while (cond_wait_ms(&c.changed, &c.lock, waits[i]))
			continue;
		lock_drop(&c.lock);
		assert_true(clock_mono_us(clock_system()) - start >= (int64_t)waits[i] * 1000);
	}
	counter_release(&c);
}

struct seen {
	char name[16];
	sigset_t mask;
};

static void look(void *arg)
{
	struct seen *s = arg;

	prctl(PR_GET_NAME, s->name);
	pthread_sigmask(SIG_BLOCK, NULL, &s->mask);
}

static void test_signals_and_name(void **state)
{
	static const struct {
		const char *name;
		int sig;
		int blocked;
	} rows[] = {
		{ "TERM", SIGTERM, 1 }, { "INT", SIGINT, 1 },   { "CHLD", SIGCHLD, 1 },
		{ "PIPE", SIGPIPE, 1 }, { "USR1", SIGUSR1, 1 }, { "SEGV", SIGSEGV, 0 },
		{ "BUS", SIGBUS, 0 },   { "FPE", SIGFPE, 0 },   { "ILL", SIGILL, 0 },
		{ "SYS", SIGSYS, 0 },
	};
	struct seen s = { 0 };
	struct thread t = { 0 };
	struct err err;
	sigset_t mine;

	(void)state;
	CHECK_OK(thread_start(&t, "fifteen-letters", look, &s, &err), &err);
	thread_join(&t);
	assert_string_equal(s.name, "fifteen-letters");
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		CHECK_ROW(rows[i].name, sigismember(&s.mask, rows[i].sig) == rows[i].blocked);
	/* The starter's own mask is as it was. */
	pthread_sigmask(SIG_BLOCK, NULL, &mine);
	assert_int_equal(sigismember(&mine, SIGTERM), 0);
}

static void name_too_long(void *arg)
{
	struct thread t = { 0 };
	int rc = thread_start(&t, "sixteen-letters!", look, arg, NULL);

	(void)rc;
}

static void test_name_too_long(void **state)
{
	struct seen s;

	(void)state;
	assert_true(test_aborts(name_too_long, &s, "strlen(name)"));
}

static void take_nothing(void *arg)
{
	(void)arg;
}

static void test_join_unstarted(void **state)
{
	struct thread t = { 0 };
	struct err err;

	(void)state;
	thread_join(&t);
	CHECK_OK(thread_start(&t, "short", take_nothing, NULL, &err), &err);
	assert_true(t.started);
	thread_join(&t);
}

#ifndef NDEBUG
/* Each of these breaks a rule of locks; Clang would refuse some at compile time. */
static void wrong_order(void *arg) NO_LOCK_ANALYSIS
{
	struct lock a;
	struct lock b;

	(void)arg;
	lock_init(&a, LOCK_WRITER);
	lock_init(&b, LOCK_LIVESET);
	lock_take(&a);
	lock_take(&b);
}

static void same_rank(void *arg) NO_LOCK_ANALYSIS
{
	struct lock a;
	struct lock b;

	(void)arg;
	lock_init(&a, LOCK_TEST);
	lock_init(&b, LOCK_TEST);
	lock_take(&a);
	lock_take(&b);
}

static void take_twice(void *arg) NO_LOCK_ANALYSIS
{
	struct lock a;

	(void)arg;
	lock_init(&a, LOCK_TEST);
	lock_take(&a);
	lock_take(&a);
}

static void drop_not_held(void *arg) NO_LOCK_ANALYSIS
{
	struct lock a;

	(void)arg;
	lock_init(&a, LOCK_TEST);
	lock_drop(&a);
}

static void wait_not_held(void *arg) NO_LOCK_ANALYSIS
{
	struct lock a;
	struct cond c;

	(void)arg;
	lock_init(&a, LOCK_TEST);
	cond_init(&c);
	cond_wait_ms(&c, &a, 1);
}

static void test_rank_violations(void **state)
{
	static const struct {
		const char *name;
		void (*fn)(void *arg);
		const char *text;
	} rows[] = {
		{ "wrong order", wrong_order, "rank < l->rank" },
		{ "same rank", same_rank, "rank < l->rank" },
		{ "twice", take_twice, "rank < l->rank" },
		{ "drop of one not held", drop_not_held, "rank_pop" },
		{ "wait without it", wait_not_held, "rank_require_held" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		CHECK_ROW(rows[i].name, test_aborts(rows[i].fn, NULL, rows[i].text));
}

/* Allowed: rising ranks, dropped in any order, and again after that. */
static void test_rank_order(void **state) NO_LOCK_ANALYSIS
{
	struct lock low;
	struct lock mid;
	struct lock high;

	(void)state;
	lock_init(&low, LOCK_LIVESET);
	lock_init(&mid, LOCK_WRITER);
	lock_init(&high, LOCK_TEST);
	lock_take(&low);
	lock_take(&mid);
	lock_take(&high);
	lock_drop(&mid);
	lock_drop(&low);
	lock_drop(&high);
	lock_take(&low);
	lock_take(&high);
	lock_drop(&high);
	lock_take(&mid);
	lock_drop(&low);
	lock_drop(&mid);
	lock_release(&low);
	lock_release(&mid);
	lock_release(&high);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutual),          cmocka_unit_test(test_turns),
		cmocka_unit_test(test_time_out),        cmocka_unit_test(test_signals_and_name),
		cmocka_unit_test(test_name_too_long),   cmocka_unit_test(test_join_unstarted),
#ifndef NDEBUG
		cmocka_unit_test(test_rank_violations), cmocka_unit_test(test_rank_order),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
