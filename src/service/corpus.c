#include "corpus_internal.h"

#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

enum {
	TICK_MS = 1000,
	RETRY_S = 30, /* after something failed */
	NICENESS = 5, /* of the threads that read, sign and merge */
};

bool corpus_stops(struct corpus *c)
{
	bool stopping;

	lock_take(&c->lock);
	stopping = c->stopping;
	lock_drop(&c->lock);
	return stopping;
}

void corpus_give_way(void)
{
	/* On Linux it holds for this thread alone. */
	(void)setpriority(PRIO_PROCESS, 0, NICENESS);
}

/* ---- One step ---- */

static bool has_room(struct corpus *c)
{
	uint64_t free_bytes = 0;
	struct err err;
	bool full;

	if (packs_disk_free(c->svc->packs, &free_bytes, &err) != 0)
		return true; /* what writes finds out */
	full = free_bytes < c->svc->options.disk_reserve_bytes;
	if (full && !c->is_full)
		log_event(LOG_WARN, "index_waits_for_disk", LOG_I64("free", (int64_t)free_bytes),
			  LOG_I64("reserve", (int64_t)c->svc->options.disk_reserve_bytes));
	c->is_full = full;
	return !full;
}

static int build(struct corpus *c, bool *ret_did, struct err *err)
{
	int64_t now_us = clock_mono_us(c->svc->clock);
	int rc;

	*ret_did = false;
	if (now_us < c->build_retry_us)
		return 0;
	rc = corpus_build_step(c, ret_did, err);
	c->build_failure = (struct err){ .kind = ERR_NONE };
	if (*ret_did)
		c->built_us = clock_mono_us(c->svc->clock);
	if (rc != -ERR_CORRUPT)
		return rc;
	c->build_failure = *err;
	c->build_retry_us = now_us + RETRY_S * INT64_C(1000000);
	return 0;
}

/* What came in first: it is scanned sample by sample until it is in a segment. */
static int work(struct corpus *c, bool *ret_did, struct err *err)
{
	TRY(build(c, ret_did, err));
	if (!*ret_did)
		TRY(corpus_rebuild_step(c, ret_did, err));
	if (!*ret_did)
		TRY(corpus_merge_step(c, ret_did, err));
	return 0;
}

int corpus_failure(struct corpus *c, struct err *err)
{
	struct err failure;

	lock_take(&c->lock);
	failure = c->failure;
	lock_drop(&c->lock);
	return failure.kind == ERR_NONE ? 0 : err_set(err, failure.kind, "%s", failure.msg);
}

/* Said when it begins and when it is over. */
static void note_outcome(struct corpus *c, const struct err *failure)
{
	bool has = failure->kind != ERR_NONE, had;

	lock_take(&c->lock);
	had = c->failure.kind != ERR_NONE;
	c->failure = *failure;
	lock_drop(&c->lock);
	if (has && !had)
		log_event(LOG_ERROR, "index_failed", LOG_Z("error", failure->msg),
			  LOG_I64("again_in_s", RETRY_S));
	else if (!has && had)
		log_event(LOG_INFO, "index_goes_on",
			  LOG_I64("segments", metric_get(METRIC_index_segments)));
}

/* false: there is nothing to do for now. */
static bool step(struct corpus *c)
{
	int64_t now_us = clock_mono_us(c->svc->clock);
	struct err err = { 0 };
	bool did = false;
	int rc;

	if (now_us < c->retry_us || !has_room(c))
		return false;
	rc = work(c, &did, &err);
	if (rc == -ERR_CLOSED)
		return false;
	if (rc) {
		corpus_rebuild_drop(c);
		c->retry_us = now_us + RETRY_S * INT64_C(1000000);
	}
	note_outcome(c, rc ? &err : &c->build_failure);
	return rc == 0 && did;
}

static void corpus_thread(void *arg)
{
	struct corpus *c = arg;

	corpus_give_way();
	while (!corpus_stops(c)) {
		bool did = step(c);

		lock_take(&c->lock);
		if (!did && !c->woken && !c->stopping)
			cond_wait_ms(&c->wake, &c->lock, TICK_MS);
		c->woken = false;
		lock_drop(&c->lock);
	}
	corpus_rebuild_drop(c);
}

/* ---- Life ---- */

int corpus_start(struct service *svc, struct err *err)
{
	struct corpus *c = mem_must_zalloc(sizeof *c);

	c->svc = svc;
	c->from_id = 1;
	c->built_us = clock_mono_us(svc->clock);
	lock_init(&c->lock, LOCK_CORPUS);
	cond_init(&c->wake);
	cond_init(&c->changed);
	corpus_list_init(c);
	svc->corpus = c;
	if (!svc->options.index.on)
		return 0;
	TRY(corpus_open(c, err));
	return thread_start(&c->thread, "corpus", corpus_thread, c, err);
}

void corpus_wake(struct service *svc)
{
	struct corpus *c = svc->corpus;

	lock_take(&c->lock);
	c->woken = true;
	cond_signal(&c->wake);
	lock_drop(&c->lock);
}

void corpus_stop(struct service *svc)
{
	struct corpus *c = svc->corpus;

	if (!c)
		return;
	lock_take(&c->lock);
	c->stopping = true;
	cond_signal(&c->wake);
	lock_drop(&c->lock);
	thread_join(&c->thread);
}

void corpus_free(struct service *svc)
{
	struct corpus *c = svc->corpus;

	if (!c)
		return;
	REQUIRE(c->list->refs == 1);
	corpus_snapshot_free(c->list);
	cond_release(&c->changed);
	cond_release(&c->wake);
	lock_release(&c->lock);
	free(c);
	svc->corpus = NULL;
}
