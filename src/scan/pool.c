#include "scan/scan.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <errno.h>
#include "base/mem.h"
#include "pool_internal.h"

enum {
	START_TRIES = 3,   /* one may be killed by others, or find no memory just then */
	TAKE_LOOK_MS = 100 /* between looks whether who waits for a child still wants it */
};

void pool_wake(struct scan_pool *pool)
{
	uint64_t one = 1;

	/* Only fails when the counter is full, and then it is awake anyway. */
	(void)!write(pool->wake, &one, sizeof one);
}

static void pool_free(struct scan_pool *pool)
{
	if (pool->wake >= 0)
		close(pool->wake);
	cond_release(&pool->changed);
	lock_release(&pool->lock);
	free(pool->program);
	free(pool);
}

static struct scan_child *find(const struct scan_pool *pool, enum child_state state)
{
	for (struct scan_child *c = pool->children; c != NULL; c = c->next) {
		if (c->state == state)
			return c;
	}
	return NULL;
}

static bool always(void *arg)
{
	(void)arg;
	return true;
}

/* Wait for an idle child, or until starting one has failed START_TRIES times since now. */
static int wait_for_idle(struct scan_pool *pool, bool (*goes_on)(void *arg), void *arg,
			 struct scan_child **ret, struct err *err) MUST_HOLD(&pool->lock)
{
	uint64_t failures = pool->start_failures;
	struct scan_child *child;
	bool wanted = true;

	pool->waiting++;
	while ((child = find(pool, CHILD_IDLE)) == NULL && !pool->cancelled &&
	       pool->start_failures < failures + START_TRIES && (wanted = goes_on(arg))) {
		pool->start_blocked = false;
		pool_wake(pool);
		if (goes_on == always)
			cond_wait(&pool->changed, &pool->lock);
		else
			(void)cond_wait_ms(&pool->changed, &pool->lock, TAKE_LOOK_MS);
	}
	pool->waiting--;
	if (pool->cancelled)
		return err_set(err, ERR_CLOSED, "scanning is over");
	if (!wanted)
		return err_set(err, ERR_CLOSED, "the child is not wanted any more");
	if (child == NULL)
		return err_set(err, ERR_DIED, "no scan child starts: %s", pool->start_error);
	*ret = child;
	return 0;
}

int scan_pool_open(struct scan_pool **ret, const struct scan_pool_options *options, struct err *err)
{
	struct scan_pool *pool = mem_must_zalloc(sizeof *pool);
	struct scan_child *first;

	REQUIRE(options->children_max > 0);
	REQUIRE(options->jobs_max > 0);
	/* A program that does not know `scan-child` would open a pool again, and again. */
	REQUIRE(getenv(SCAN_CHILD_MARK) == NULL);
	pool->options = *options;
	if (options->program != NULL)
		pool->program = mem_must_strdup(options->program);
	lock_init(&pool->lock, LOCK_SCAN_POOL);
	cond_init(&pool->changed);
	pool->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	int rc = pool->wake < 0 ? err_sys(err, errno, "making an eventfd") : 0;

	if (rc == 0)
		rc = thread_start(&pool->supervisor, "scan-supervisor", supervisor_run, pool, err);
	if (rc != 0) {
		pool_free(pool);
		return rc;
	}
	lock_take(&pool->lock);
	rc = wait_for_idle(pool, always, NULL, &first, err);
	lock_drop(&pool->lock);
	if (rc != 0) {
		scan_pool_close(pool);
		return rc;
	}
	*ret = pool;
	return 0;
}

void scan_pool_cancel(struct scan_pool *pool)
{
	if (pool == NULL)
		return;
	lock_take(&pool->lock);
	pool->cancelled = true;
	for (struct scan_child *c = pool->children; c != NULL; c = c->next) {
		if (c->state != CHILD_TAKEN || c->reaped)
			continue;
		c->discarded = true;
		(void)syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
	}
	cond_broadcast(&pool->changed);
	lock_drop(&pool->lock);
}

void scan_pool_close(struct scan_pool *pool)
{
	if (pool == NULL)
		return;
	lock_take(&pool->lock);
	REQUIRE(find(pool, CHILD_TAKEN) == NULL);
	REQUIRE(pool->waiting == 0);
	pool->closing = true;
	pool_wake(pool);
	lock_drop(&pool->lock);
	thread_join(&pool->supervisor);
	REQUIRE(pool->children == NULL);
	pool_free(pool);
}

uint64_t scan_pool_deaths(const struct scan_pool *pool)
{
	return atomic_load(&pool->deaths);
}

int scan_child_take(struct scan_child **ret, struct scan_pool *pool, struct err *err)
{
	return scan_child_take_while(ret, pool, always, NULL, err);
}

int scan_child_take_while(struct scan_child **ret, struct scan_pool *pool,
			  bool (*goes_on)(void *arg), void *arg, struct err *err)
{
	struct scan_child *child;

	lock_take(&pool->lock);
	int rc = pool->cancelled ? err_set(err, ERR_CLOSED, "scanning is over") : 0;

	while (rc == 0 && (child = find(pool, CHILD_IDLE)) == NULL)
		rc = wait_for_idle(pool, goes_on, arg, &child, err);
	if (rc == 0) {
		child->state = CHILD_TAKEN;
		child->scan_timeout_ms = pool->options.scan_timeout_ms;
		pool_wake(pool); /* a new spare, and watch this one */
	}
	lock_drop(&pool->lock);
	if (rc == 0)
		*ret = child;
	return rc;
}

void scan_child_give(struct scan_pool *pool, struct scan_child *child)
{
	if (child == NULL)
		return;
	REQUIRE(child->pool == pool);
	bool healthy = !child->dead && child->pending == 0;
	bool keep = healthy && !scan_child_is_used_up(child);

	lock_take(&pool->lock);
	REQUIRE(child->state == CHILD_TAKEN);
	if (keep && !child->reaped) {
		child->state = CHILD_IDLE;
		cond_broadcast(&pool->changed);
	} else {
		if (!child->reaped) {
			child->discarded = !child->dead;
			(void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
		}
		child->state = CHILD_BURIED;
	}
	pool_wake(pool);
	lock_drop(&pool->lock);
}

void scan_child_cancel(struct scan_child *child)
{
	struct scan_pool *pool = child->pool;

	lock_take(&pool->lock);
	REQUIRE(child->state == CHILD_TAKEN);
	if (!child->reaped) {
		child->discarded = true;
		(void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
	}
	lock_drop(&pool->lock);
}

void scan_child_limit(struct scan_child *child, uint32_t timeout_ms)
{
	child->scan_timeout_ms = timeout_ms ? timeout_ms : child->pool->options.scan_timeout_ms;
}

pid_t scan_child_pid(const struct scan_child *child)
{
	return child->pid;
}

bool scan_child_is_dead(const struct scan_child *child)
{
	return child->dead;
}

bool scan_child_is_struck(const struct scan_child *child)
{
	return child->struck;
}

bool scan_child_is_used_up(const struct scan_child *child)
{
	return child->jobs >= child->pool->options.jobs_max;
}

const char *scan_child_cause(const struct scan_child *child)
{
	return child->cause;
}

struct scan_rules *scan_loaded(const struct scan_child *child, unsigned slot)
{
	REQUIRE(slot < SCAN_SLOTS);
	return child->slots[slot];
}

unsigned scan_pending(const struct scan_child *child)
{
	return child->pending;
}
