#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#ifdef NDEBUG
static void rank_push(const struct lock *l)
{
	(void)l;
}
static void rank_pop(const struct lock *l)
{
	(void)l;
}
static void rank_require_held(const struct lock *l)
{
	(void)l;
}
#else
/* The locks this thread holds, by rising rank. */
enum {
	RANK_DEPTH_MAX = 16
}; /* more than there are ranks that nest */
static _Thread_local struct {
	const struct lock *locks[RANK_DEPTH_MAX];
	unsigned n;
} held;

static void rank_push(const struct lock *l)
{
	REQUIRE(l->rank != LOCK_RANK_NONE);
	REQUIRE(held.n < RANK_DEPTH_MAX);
	if (held.n > 0)
		REQUIRE(held.locks[held.n - 1]->rank < l->rank); /* order of locks.def */
	held.locks[held.n++] = l;
}

static void rank_require_held(const struct lock *l)
{
	unsigned i = held.n;

	while (i > 0 && held.locks[i - 1] != l)
		i--;
	REQUIRE(i > 0);
}

static void rank_pop(const struct lock *l)
{
	unsigned i = held.n;

	while (i > 0 && held.locks[i - 1] != l)
		i--;
	REQUIRE(i > 0); /* only its holder drops a lock */
	for (; i < held.n; i++)
		held.locks[i - 1] = held.locks[i];
	held.n--;
}
#endif

void lock_init(struct lock *l, enum lock_rank rank)
{
	REQUIRE(rank > LOCK_RANK_NONE);
	REQUIRE(pthread_mutex_init(&l->m, NULL) == 0);
	l->rank = rank;
}

void lock_release(struct lock *l)
{
	REQUIRE(pthread_mutex_destroy(&l->m) == 0);
	l->rank = LOCK_RANK_NONE;
}

void lock_take(struct lock *l) NO_LOCK_ANALYSIS
{
	/* Before waiting, so that a wrong order shows without the deadlock. */
	rank_push(l);
	REQUIRE(pthread_mutex_lock(&l->m) == 0);
}

void lock_drop(struct lock *l) NO_LOCK_ANALYSIS
{
	rank_pop(l);
	REQUIRE(pthread_mutex_unlock(&l->m) == 0);
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	REQUIRE(pthread_condattr_init(&attr) == 0);
	REQUIRE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	REQUIRE(pthread_cond_init(&c->c, &attr) == 0);
	pthread_condattr_destroy(&attr);
}

void cond_release(struct cond *c)
{
	REQUIRE(pthread_cond_destroy(&c->c) == 0);
}

void cond_wait(struct cond *c, struct lock *l)
{
	rank_require_held(l);
	REQUIRE(pthread_cond_wait(&c->c, &l->m) == 0);
}

bool cond_wait_ms(struct cond *c, struct lock *l, uint32_t ms)
{
	struct timespec until;
	int rc;

	rank_require_held(l);
	REQUIRE(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	rc = pthread_cond_timedwait(&c->c, &l->m, &until);
	REQUIRE(rc == 0 || rc == ETIMEDOUT);
	return rc == 0;
}

void cond_signal(struct cond *c)
{
	REQUIRE(pthread_cond_signal(&c->c) == 0);
}

void cond_broadcast(struct cond *c)
{
	REQUIRE(pthread_cond_broadcast(&c->c) == 0);
}

struct thread_start {
	void (*run)(void *arg);
	void *arg;
	char name[16];
};

static void *thread_main(void *arg)
{
	struct thread_start start = *(struct thread_start *)arg;

	free(arg);
	pthread_setname_np(pthread_self(), start.name); /* for top and core dumps only */
	start.run(start.arg);
	return NULL;
}

/*
 * All but the signals of a thread's own faults: blocked, those would kill the
 * process without a handler, and the rules engine handles some of them.
 */
static void signals_from_outside(sigset_t *set)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };

	sigfillset(set);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(set, faults[i]);
}

int thread_start(struct thread *t, const char *name, void (*run)(void *arg), void *arg,
		 struct err *err)
{
	struct thread_start *start = mem_must_zalloc(sizeof *start);
	sigset_t block;
	sigset_t before;
	int rc;

	REQUIRE(strlen(name) < sizeof start->name);
	start->run = run;
	start->arg = arg;
	memcpy(start->name, name, strlen(name));
	signals_from_outside(&block);
	/* The new thread inherits the mask: no moment in which it could be hit. */
	REQUIRE(pthread_sigmask(SIG_BLOCK, &block, &before) == 0);
	rc = pthread_create(&t->t, NULL, thread_main, start);
	REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	if (rc != 0) {
		free(start);
		t->started = false;
		return err_sys(err, rc, "cannot start thread '%s'", name);
	}
	t->started = true;
	return 0;
}

void thread_join(struct thread *t)
{
	if (!t->started)
		return;
	REQUIRE(pthread_join(t->t, NULL) == 0);
	t->started = false;
}
