#include "service_internal.h"

#include "base/mem.h"

struct pool_job {
	struct pool_job *next;
	void (*fn)(void *arg);
	void *arg;
};

struct pool {
	struct lock lock;
	struct cond work;
	/* under the lock */
	struct pool_job *head;
	struct pool_job **tail;
	size_t queued;
	bool stopping;
	unsigned thread_count;
	struct thread threads[POOL_THREADS];
};

/* The next job, or NULL when stopping and nothing is left. */
static struct pool_job *pool_take(struct pool *p)
{
	struct pool_job *job;

	lock_take(&p->lock);
	while (!p->head && !p->stopping)
		cond_wait(&p->work, &p->lock);
	job = p->head;
	if (job) {
		p->head = job->next;
		if (!p->head)
			p->tail = &p->head;
		p->queued--;
	}
	lock_drop(&p->lock);
	return job;
}

static void pool_thread(void *arg)
{
	struct pool *p = arg;
	struct pool_job *job;

	while ((job = pool_take(p))) {
		job->fn(job->arg);
		free(job);
	}
}

int pool_new(struct pool **ret, unsigned threads, struct err *err)
{
	struct pool *p = mem_must_zalloc(sizeof *p);
	int rc;

	REQUIRE(threads > 0 && threads <= POOL_THREADS);
	lock_init(&p->lock, LOCK_POOL);
	cond_init(&p->work);
	p->tail = &p->head;
	for (p->thread_count = 0; p->thread_count < threads; p->thread_count++) {
		rc = thread_start(&p->threads[p->thread_count], "pool", pool_thread, p, err);
		if (rc) {
			pool_free(p);
			return rc;
		}
	}
	*ret = p;
	return 0;
}

void pool_stop(struct pool *p)
{
	if (!p)
		return;
	lock_take(&p->lock);
	p->stopping = true;
	cond_broadcast(&p->work);
	lock_drop(&p->lock);
	for (unsigned i = 0; i < p->thread_count; i++)
		thread_join(&p->threads[i]);
	p->thread_count = 0;
	REQUIRE(!p->head);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pool_stop(p);
	cond_release(&p->work);
	lock_release(&p->lock);
	free(p);
}

int pool_run(struct pool *p, void (*fn)(void *arg), void *arg, struct err *err)
{
	struct pool_job *job = mem_must_zalloc(sizeof *job);
	bool closed, full;

	job->fn = fn;
	job->arg = arg;
	lock_take(&p->lock);
	closed = p->stopping;
	full = p->queued >= POOL_QUEUE_MAX;
	if (!closed && !full) {
		*p->tail = job;
		p->tail = &job->next;
		p->queued++;
		cond_signal(&p->work);
	}
	lock_drop(&p->lock);
	if (!closed && !full)
		return 0;
	free(job);
	if (closed)
		return err_set(err, ERR_CLOSED, "the server is stopping");
	return err_set(err, ERR_BUSY, "too much work is waiting");
}
