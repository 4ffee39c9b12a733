#ifndef WRITER_WORLD_H
#define WRITER_WORLD_H
/* A database with a writer, and requests that insert, fail, write much or wait. */
#include "unit.h"

#include "base/mem.h"
#include "base/metric.h"
#include "base/thread.h"
#include "fault_vfs.h"
#include "store/writer.h"

enum {
	FEW_MAX = 2048
};

struct world;

/* A request that inserts its number, or fails, or does what a test says. */
struct work {
	struct write_req req;
	struct world *w;
	int64_t id;
	enum {
		WORK_INSERT,
		WORK_FAIL,
		WORK_BIG,
		WORK_HOLD
	} kind;
	int64_t commits; /* the counter when done */
};

struct world {
	char *dir;
	char path[600];
	struct sql_db *db;
	struct writer *writer;
	struct writer_options options;
	struct lock lock;
	struct cond changed;
	bool is_held, is_holding;    /* WORK_HOLD waits while is_held */
	int barriers, barrier_fails; /* the writer's */
	int64_t applied[FEW_MAX], finished[FEW_MAX];
	size_t applied_n, finished_n; /* the writer's until it is closed; finished_n: locked */
	int rc_of[FEW_MAX];
	struct work work[FEW_MAX];
	int followed; /* rc of a submit out of done */
};

static inline int barrier(void *arg, struct err *err)
{
	struct world *w = arg;

	w->barriers++;
	return w->barrier_fails ? err_set(err, ERR_IO, "packs are not synced") : 0;
}

static inline void world_open(struct world *w)
{
	struct sql_options options = { .path = w->path, .vfs = "fault" };
	struct err err;

	CHECK_OK(sql_open(&w->db, &options, &err), &err);
}

static inline void writer_begin(struct world *w)
{
	struct err err;

	CHECK_OK(writer_open(&w->writer, w->db, &w->options, &err), &err);
}

static inline void writer_end(struct world *w)
{
	writer_close(w->writer);
	w->writer = NULL;
}

static inline int set_up(void **state)
{
	struct world *w = mem_must_zalloc(sizeof *w);
	struct sql_conn *c = NULL;
	struct err err;

	fault_vfs_register();
	w->dir = test_dir_new();
	snprintf(w->path, sizeof w->path, "%s/weir.db", w->dir);
	lock_init(&w->lock, LOCK_TEST);
	cond_init(&w->changed);
	w->options = (struct writer_options){
		.barrier = barrier, .barrier_arg = w, .group_max = 256, .queue_max = FEW_MAX
	};
	world_open(w);
	CHECK_OK(sql_connect(&c, w->db, SQL_WRITE, &err), &err);
	CHECK_OK(sql_exec(c, "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB) STRICT", &err), &err);
	sql_disconnect(c);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	fault_disarm();
	writer_end(w);
	sql_close(w->db);
	cond_release(&w->changed);
	lock_release(&w->lock);
	test_dir_remove(w->dir);
	free(w);
	return 0;
}

static inline void hold(struct world *w)
{
	lock_take(&w->lock);
	w->is_holding = true;
	cond_broadcast(&w->changed);
	while (w->is_held)
		cond_wait(&w->changed, &w->lock);
	w->is_holding = false;
	lock_drop(&w->lock);
}

static inline int apply(struct sql_conn *c, struct write_req *req, struct err *err)
{
	struct work *k = (struct work *)req;
	AUTO(mem_drop) char *big = NULL;
	size_t big_n =
		17u << 20; /* logged twice, with so small a cache: half of SQL_CHECKPOINT_PAGES */

	k->w->applied[k->w->applied_n++ % FEW_MAX] = k->id;
	switch (k->kind) {
	case WORK_HOLD:
		hold(k->w);
		return 0;
	case WORK_BIG:
		big = calloc(1, big_n);
		TRY(sql_exec(c, "PRAGMA cache_size = 10", err));
		return sql_exec(c, "INSERT INTO t (id, b) VALUES (?1, ?2)", err, SQL_I64(k->id),
				SQL_BLOB(big, big_n));
	case WORK_INSERT:
	case WORK_FAIL:
		break;
	}
	TRY(sql_exec(c, "INSERT INTO t (id) VALUES (?1)", err, SQL_I64(k->id)));
	return k->kind == WORK_FAIL ? err_set(err, ERR_INVALID, "no %d", (int)k->id) : 0;
}

static inline void done(struct write_req *req, int rc, const struct err *err)
{
	struct work *k = (struct work *)req;
	struct world *w = k->w;

	if (rc != 0 && rc != -(int)err->kind)
		abort();
	lock_take(&w->lock);
	k->commits = metric_get(METRIC_commits_total);
	w->rc_of[k - w->work] = rc;
	w->finished[w->finished_n++ % FEW_MAX] = k->id;
	cond_broadcast(&w->changed);
	lock_drop(&w->lock);
}

/* The i-th request of the test, which inserts row `i`. */
static inline struct work *work_at(struct world *w, int i)
{
	struct work *k = &w->work[i];

	*k = (struct work){ .req = { .apply = apply, .done = done }, .w = w, .id = i };
	return k;
}

static inline void submit(struct work *k)
{
	struct err err;

	CHECK_OK(writer_submit(k->w->writer, &k->req, &err), &err);
}

static inline void wait_finished(struct world *w, size_t n)
{
	lock_take(&w->lock);
	while (w->finished_n < n)
		cond_wait(&w->changed, &w->lock);
	lock_drop(&w->lock);
}

/* Keep the writer inside a group of one, so that what comes now forms the next groups. */
static inline void hold_begin(struct world *w)
{
	struct work *k = work_at(w, FEW_MAX - 1);

	k->kind = WORK_HOLD;
	w->is_held = true;
	submit(k);
	lock_take(&w->lock);
	while (!w->is_holding)
		cond_wait(&w->changed, &w->lock);
	lock_drop(&w->lock);
}

static inline void hold_end(struct world *w)
{
	lock_take(&w->lock);
	w->is_held = false;
	cond_broadcast(&w->changed);
	lock_drop(&w->lock);
}

static inline int64_t rows(struct world *w)
{
	struct sql_query q = { 0 };
	struct sql_conn *c = NULL;
	struct err err;
	int64_t n;
	bool row;

	CHECK_OK(sql_reader_take(&c, w->db, &err), &err);
	CHECK_OK(sql_start(&q, c, "SELECT count(*) FROM t", &err), &err);
	CHECK_OK(sql_next(&q, &row, &err), &err);
	n = sql_i64(&q, 0);
	sql_end(&q);
	sql_reader_give(w->db, c);
	return n;
}
#endif
