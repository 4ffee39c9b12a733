#include "store/writer.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/thread.h"

enum {
	/* Nothing came for this long: time to move a log of this size, unnoticed. */
	IDLE_MS = 1000,
	/* Less is not worth a checkpoint's syncs, nor so soon after one that readers held up. */
	WORTHWHILE_PAGES = SQL_CHECKPOINT_PAGES / 4,
	/* Bulk requests that are worth a commit of their own: its fixed cost is then small beside.
	 */
	BULK_ENOUGH = 64,
};

/* A caller of writer_call, on its stack. */
struct write_wait {
	struct cond over;
	bool is_over;
};

struct lane {
	struct write_req *first, **end; /* end: where the next is linked */
	uint32_t n;
};

enum writer_state {
	WRITER_BUSY,
	WRITER_IDLE,
	WRITER_GATHERING
};

struct writer {
	struct writer_options options;
	struct sql_conn *conn; /* the thread's */
	struct thread thread;
	uint32_t log_pages;   /* the thread's: after its last commit */
	uint32_t tried_pages; /* the thread's: log_pages at the last checkpoint of this log, or 0 */

	struct sql_conn *mover_conn; /* the mover's */
	struct thread mover;

	struct lock lock; /* guards what follows */
	struct cond move; /* the mover: is_moving, closing */
	bool is_moving;   /* the mover is asked to move the log, or at it */
	bool was_moved;   /* it has; the little that came meanwhile is the writer's to move */
	bool mover_ends;
	struct cond wake; /* the writer: work, enough gathered, closing */
	struct lane lanes[2];
	uint32_t announced;
	enum writer_state state;
	bool bulk_was_passed; /* by the last group */
	bool is_closing;
	bool is_joined;
};

/* What is committed together. */
struct group {
	struct lane reqs;
	bool needs_barrier;
};

static _Thread_local const struct writer *writer_of_thread;

static void lane_init(struct lane *lane)
{
	*lane = (struct lane){ .first = NULL, .end = &lane->first };
}

static void lane_add(struct lane *lane, struct write_req *req)
{
	req->next = NULL;
	*lane->end = req;
	lane->end = &req->next;
	lane->n++;
}

static struct write_req *lane_take(struct lane *lane)
{
	struct write_req *req = lane->first;

	lane->first = req->next;
	if (!lane->first)
		lane->end = &lane->first;
	lane->n--;
	return req;
}

static uint32_t waiting_locked(const struct writer *w) MUST_HOLD(&w->lock);
static uint32_t waiting_locked(const struct writer *w)
{
	return w->lanes[LANE_API].n + w->lanes[LANE_BULK].n;
}

/* Nobody waits for an answer soon: what is there may gather. */
static bool is_bulk_only_locked(const struct writer *w) MUST_HOLD(&w->lock);
static bool is_bulk_only_locked(const struct writer *w)
{
	return w->lanes[LANE_API].n == 0;
}

static bool is_enough_locked(const struct writer *w) MUST_HOLD(&w->lock);
static bool is_enough_locked(const struct writer *w)
{
	uint32_t n = waiting_locked(w);

	if (n >= w->options.group_max || w->is_closing)
		return true;
	if (is_bulk_only_locked(w))
		return w->options.bulk_delay_us == 0 || n >= BULK_ENOUGH;
	return w->announced <= 1 || (uint64_t)n * 2 >= w->announced;
}

/* Wakes the writer if what changed is what it waits for. */
static void wake_locked(struct writer *w) MUST_HOLD(&w->lock);
static void wake_locked(struct writer *w)
{
	if (w->state == WRITER_IDLE ||
	    (w->state == WRITER_GATHERING && (is_enough_locked(w) || !is_bulk_only_locked(w))))
		cond_signal(&w->wake);
}

/* The writer's thread */

static bool checkpoint_is_due(const struct writer *w, bool is_idle)
{
	return w->log_pages >= w->tried_pages + WORTHWHILE_PAGES &&
	       (is_idle || w->log_pages >= SQL_CHECKPOINT_PAGES);
}

static void checkpoint(struct writer *w)
{
	struct err err;

	w->tried_pages = w->log_pages;
	if (sql_checkpoint(w->conn, &err) != 0)
		log_event(LOG_WARN, "checkpoint_failed", LOG_Z("error", err.msg));
}

static void note_log_pages(struct writer *w)
{
	uint32_t pages = sql_log_pages(w->conn);

	if (pages < w->log_pages)
		w->tried_pages = 0; /* all was moved: the log began anew */
	w->log_pages = pages;
}

/*
 * The log, between groups. A large one is moved by the mover, on a connection of
 * its own, while groups go on; it cannot begin anew, though, while it grows. So what
 * came meanwhile, which is little, is moved by the writer itself.
 */
static void tend_log(struct writer *w)
{
	bool rest, is_due = checkpoint_is_due(w, false);

	lock_take(&w->lock);
	rest = w->was_moved;
	w->was_moved = false;
	if (!rest && is_due && !w->is_moving) {
		w->is_moving = true;
		w->tried_pages = w->log_pages;
		cond_signal(&w->move);
	}
	lock_drop(&w->lock);
	if (rest)
		checkpoint(w);
}

static void mover_run(void *arg)
{
	struct writer *w = arg;
	struct err err;

	lock_take(&w->lock);
	while (!w->mover_ends) {
		if (!w->is_moving) {
			cond_wait(&w->move, &w->lock);
			continue;
		}
		lock_drop(&w->lock);
		/* Twice: the second time there is only what came during the first. */
		for (int i = 0; i < 2; i++) {
			if (sql_checkpoint(w->mover_conn, &err) != 0) {
				log_event(LOG_WARN, "checkpoint_failed", LOG_Z("error", err.msg));
				break;
			}
		}
		lock_take(&w->lock);
		w->is_moving = false;
		w->was_moved = true;
	}
	lock_drop(&w->lock);
}

/* Until something waits; false: closing, and nothing does. */
static bool group_wait_first(struct writer *w) MUST_HOLD(&w->lock);
static bool group_wait_first(struct writer *w)
{
	w->state = WRITER_IDLE;
	while (waiting_locked(w) == 0 && !w->is_closing) {
		if (!checkpoint_is_due(w, true)) {
			cond_wait(&w->wake, &w->lock);
		} else if (!cond_wait_ms(&w->wake, &w->lock, IDLE_MS) && waiting_locked(w) == 0) {
			w->state = WRITER_BUSY;
			lock_drop(&w->lock);
			checkpoint(w);
			lock_take(&w->lock);
			w->state = WRITER_IDLE;
		}
	}
	w->state = WRITER_BUSY;
	return waiting_locked(w) > 0;
}

/* A moment more for those that are announced, or for more of what nobody waits for. */
static void group_wait_more(struct writer *w) MUST_HOLD(&w->lock);
static void group_wait_more(struct writer *w)
{
	int64_t began_us;

	if (is_enough_locked(w))
		return;
	began_us = clock_mono_us(clock_system());
	w->state = WRITER_GATHERING;
	while (!is_enough_locked(w)) {
		uint32_t delay_us = is_bulk_only_locked(w) ? w->options.bulk_delay_us
							   : w->options.group_delay_us;
		int64_t left_us = began_us + delay_us - clock_mono_us(clock_system());

		if (left_us <= 0)
			break;
		(void)cond_wait_ms(&w->wake, &w->lock, (uint32_t)((left_us + 999) / 1000));
	}
	w->state = WRITER_BUSY;
}

static void group_fill(struct writer *w, struct group *g) MUST_HOLD(&w->lock);
static void group_fill(struct writer *w, struct group *g)
{
	struct lane *api = &w->lanes[LANE_API], *bulk = &w->lanes[LANE_BULK];
	uint32_t max = w->options.group_max, kept = 0, taken = 0;
	bool bulk_waits = bulk->n > 0;

	if (w->bulk_was_passed) {
		kept = (max + 1) / 2;
		kept = kept < bulk->n ? kept : bulk->n;
	}
	lane_init(&g->reqs);
	g->needs_barrier = false;
	while (api->n > 0 && g->reqs.n < max - kept)
		lane_add(&g->reqs, lane_take(api));
	while (bulk->n > 0 && g->reqs.n < max) {
		lane_add(&g->reqs, lane_take(bulk));
		taken++;
	}
	w->bulk_was_passed = bulk_waits && taken == 0;
	for (const struct write_req *req = g->reqs.first; req; req = req->next)
		g->needs_barrier |= req->needs_barrier;
}

static bool group_next(struct writer *w, struct group *g)
{
	bool have;

	lock_take(&w->lock);
	have = group_wait_first(w);
	if (have) {
		group_wait_more(w);
		group_fill(w, g);
	}
	lock_drop(&w->lock);
	return have;
}

/*
 * One request in its savepoint. Failure of the request is its own; what is
 * returned is failure of the group.
 */
static int request_apply(struct writer *w, struct write_req *req, struct err *err)
{
	TRY(sql_savepoint(w->conn, err));
	req->rc = req->apply(w->conn, req, &req->err);
	if (req->rc == 0)
		return sql_savepoint_release(w->conn, err);
	sql_savepoint_rollback(w->conn);
	if (sql_in_transaction(w->conn))
		return 0;
	if (err)
		*err = req->err;
	return req->rc;
}

/* *ret: how many were applied. Whatever is returned, no transaction is open after. */
static int group_run(struct writer *w, struct group *g, uint32_t *ret, struct err *err)
{
	uint32_t ok = 0;
	int rc = 0;

	if (g->needs_barrier && w->options.barrier)
		TRY(w->options.barrier(w->options.barrier_arg, err));
	TRY(sql_begin(w->conn, err));
	for (struct write_req *req = g->reqs.first; req && rc == 0; req = req->next) {
		rc = request_apply(w, req, err);
		ok += req->rc == 0;
	}
	if (rc != 0 || ok == 0)
		sql_rollback(w->conn);
	else
		rc = sql_commit(w->conn, err);
	*ret = ok;
	return rc;
}

_Noreturn static void stop_process(const struct err *err)
{
	log_event(LOG_ERROR, "commit_outcome_unknown", LOG_Z("error", err->msg),
		  LOG_Z("action", "the process ends; the next start recovers the database and "
				  "finds what was committed"));
	_exit(WRITER_EXIT_UNCERTAIN);
}

static void request_finish(struct writer *w, struct write_req *req)
{
	struct write_wait *wait = req->wait;

	if (!wait) {
		if (req->done)
			req->done(req, req->rc, &req->err);
		return;
	}
	lock_take(&w->lock);
	wait->is_over = true;
	cond_signal(&wait->over);
	lock_drop(&w->lock);
}

static void group_finish(struct writer *w, struct group *g, int rc, const struct err *err)
{
	struct write_req *next;

	for (struct write_req *req = g->reqs.first; req; req = next) {
		next = req->next; /* the request is gone after */
		if (rc != 0 && req->rc == 0) {
			req->rc = rc;
			req->err = *err;
		}
		request_finish(w, req);
	}
}

static void writer_run(void *arg)
{
	struct writer *w = arg;
	struct group g;

	writer_of_thread = w;
	while (group_next(w, &g)) {
		struct err err = { 0 };
		uint32_t ok = 0;
		int rc = group_run(w, &g, &ok, &err);

		if (rc == -(int)ERR_UNCERTAIN)
			stop_process(&err);
		if (rc == 0 && ok > 0) {
			metric_add(METRIC_commits_total, 1);
			metric_add(METRIC_commit_requests_total, ok);
			note_log_pages(w);
		}
		group_finish(w, &g, rc, &err);
		tend_log(w);
	}
}

/* Everybody else's */

static void writer_free(struct writer *w)
{
	sql_disconnect(w->mover_conn);
	sql_disconnect(w->conn);
	cond_release(&w->move);
	cond_release(&w->wake);
	lock_release(&w->lock);
	free(w);
}

static void writer_drop(struct writer **w)
{
	if (*w)
		writer_free(*w);
}

static void mover_stop(struct writer *w)
{
	lock_take(&w->lock);
	w->mover_ends = true;
	cond_signal(&w->move);
	lock_drop(&w->lock);
	thread_join(&w->mover);
}

int writer_open(struct writer **ret, struct sql_db *db, const struct writer_options *options,
		struct err *err)
{
	AUTO(writer_drop) struct writer *w = mem_must_zalloc(sizeof *w);
	int rc;

	REQUIRE(options->group_max > 0 && options->queue_max > 0);
	w->options = *options;
	lock_init(&w->lock, LOCK_WRITER);
	cond_init(&w->wake);
	cond_init(&w->move);
	lock_take(&w->lock);
	lane_init(&w->lanes[LANE_API]);
	lane_init(&w->lanes[LANE_BULK]);
	lock_drop(&w->lock);
	TRY(sql_connect(&w->conn, db, SQL_WRITE, err));
	TRY(sql_connect(&w->mover_conn, db, SQL_WRITE, err));
	TRY(thread_start(&w->mover, "mover", mover_run, w, err));
	rc = thread_start(&w->thread, "writer", writer_run, w, err);
	if (rc) {
		mover_stop(w);
		return rc;
	}
	*ret = STEAL(w);
	return 0;
}

void writer_stop(struct writer *w)
{
	bool is_joined;

	REQUIRE(writer_of_thread != w);
	lock_take(&w->lock);
	w->is_closing = true;
	cond_signal(&w->wake);
	is_joined = w->is_joined;
	w->is_joined = true;
	lock_drop(&w->lock);
	if (!is_joined) {
		thread_join(&w->thread);
		mover_stop(w);
	}
}

void writer_close(struct writer *w)
{
	if (!w)
		return;
	writer_stop(w);
	writer_free(w);
}

static int submit_locked(struct writer *w, struct write_req *req, struct write_wait *wait,
			 struct err *err) MUST_HOLD(&w->lock);
static int submit_locked(struct writer *w, struct write_req *req, struct write_wait *wait,
			 struct err *err)
{
	REQUIRE(req->apply && (req->lane == LANE_API || req->lane == LANE_BULK));
	if (w->is_closing)
		return err_set(err, ERR_CLOSED, "the database's writer is shutting down");
	if (waiting_locked(w) >= w->options.queue_max)
		return err_set(err, ERR_BUSY, "%u writes are waiting already",
			       w->options.queue_max);
	req->rc = 0;
	req->err.kind = ERR_NONE;
	req->err.sys = 0;
	req->err.msg[0] = '\0';
	req->wait = wait;
	lane_add(&w->lanes[req->lane], req);
	wake_locked(w);
	return 0;
}

int writer_submit(struct writer *w, struct write_req *req, struct err *err)
{
	int rc;

	lock_take(&w->lock);
	rc = submit_locked(w, req, NULL, err);
	lock_drop(&w->lock);
	return rc;
}

int writer_call(struct writer *w, struct write_req *req, struct err *err)
{
	struct write_wait wait = { .is_over = false };
	int rc;

	REQUIRE(!req->done && writer_of_thread != w);
	cond_init(&wait.over);
	lock_take(&w->lock);
	rc = submit_locked(w, req, &wait, err);
	while (rc == 0 && !wait.is_over)
		cond_wait(&wait.over, &w->lock);
	lock_drop(&w->lock);
	cond_release(&wait.over);
	if (rc != 0)
		return rc;
	if (req->rc != 0 && err)
		*err = req->err;
	return req->rc;
}

void writer_announce(struct writer *w)
{
	lock_take(&w->lock);
	w->announced++;
	lock_drop(&w->lock);
}

void writer_withdraw(struct writer *w)
{
	lock_take(&w->lock);
	REQUIRE(w->announced > 0);
	w->announced--;
	wake_locked(w);
	lock_drop(&w->lock);
}
