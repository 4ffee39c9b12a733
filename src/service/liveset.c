#include "liveset.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/utf8.h"
#include "service_internal.h"
#include "store/meta_live.h"

enum {
	DELTA_SOURCES_MAX = 64,       /* more changed rulesets than this: rebuild the base */
	DELTA_BYTES_MAX = 512 * 1024, /* or more changed text: keeps a delta under 0.2 s */
	LIVE_ARENA_MAX = 1 << 30,     /* text of all rulesets while they are compiled */
	LIVE_COMPILE_MS = 600000,     /* all rulesets together: minutes for 10^5 rules */
	RETRY_MS = 2000,              /* after a build that failed for want of resources */
	WHY_BYTES_MAX = 9 << 20,      /* more than a child may send, so that a refusal is one */
	REASON_BYTES_MAX = 4096,      /* of a refusal, in what the owner is told */
};

struct liveset {
	struct service *svc;
	struct lock lock;
	struct cond moved;
	/* under the lock, down to `stopping` */
	int64_t wanted; /* changes seen; a build covers at least those */
	int64_t built;  /* value of `wanted` the last build began with */
	struct live_set *current;
	struct live_part *next_base; /* built in the background, not yet used */
	bool base_wanted;
	bool stopping;
	struct live_part *base; /* the delta builder's own */
	struct thread delta_thread;
	struct thread base_thread;
};

/* ---- Parts and sets ---- */

static struct live_part *live_part_ref(struct live_part *part)
{
	if (part)
		atomic_fetch_add(&part->refs, 1);
	return part;
}

static struct live_part *live_part_unref(struct live_part *part)
{
	if (part && atomic_fetch_sub(&part->refs, 1) == 1) {
		scan_rules_unref(part->rules);
		free(part->sources);
		free(part);
	}
	return NULL;
}

struct live_set *live_set_unref(struct live_set *set)
{
	if (set && atomic_fetch_sub(&set->refs, 1) == 1) {
		for (unsigned i = 0; i < SCAN_SLOTS_LIVE; i++)
			live_part_unref(set->parts[i]);
		free(set->base_stale);
		free(set);
	}
	return NULL;
}

bool live_set_counts(const struct live_set *set, unsigned slot, uint32_t source)
{
	REQUIRE(slot < SCAN_SLOTS_LIVE && set->parts[slot]);
	REQUIRE(source < set->parts[slot]->source_count);
	return slot != 0 || !set->base_stale[source];
}

/* ---- Building ---- */

/* Compile rows in a child of their own; *ret NULL and 0: refused, killed or hung (`why`). */
static int compile_rows(struct service *svc, const struct live_row *rows, size_t n,
			struct scan_rules **ret, struct buf *why, struct err *err)
{
	const struct scan_compile_options options = { .entity = SCAN_FILE,
						      .timeout_ms = LIVE_COMPILE_MS };
	struct scan_source *sources = mem_must_zalloc((n ? n : 1) * sizeof *sources);
	char(*names)[48] = mem_must_zalloc((n ? n : 1) * sizeof *names);
	struct err cause = { 0 };
	bool again, is_dead = false, is_struck = false;
	unsigned tries = 0;
	int rc;

	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof names[i], "%lld.%lld", (long long)rows[i].id,
			 (long long)rows[i].version);
		sources[i] = (struct scan_source){ str_of(names[i]), rows[i].rules };
	}
	*ret = NULL;
	do {
		struct scan_child *child;

		is_dead = false;
		rc = scan_child_take(&child, svc->scan, &cause);
		if (rc)
			break;
		buf_reset(why);
		rc = scan_compile(child, sources, n, &options, ret, why, &cause);
		again = struck_again(&tries, rc, child);
		is_dead = rc == -ERR_DIED || rc == -ERR_TIMEOUT || rc == -ERR_TOO_LARGE;
		is_struck = is_dead && scan_child_is_struck(child);
		scan_child_give(svc->scan, child);
	} while (again);
	free(sources);
	free(names);
	/* Killed from outside each time: no proof against any of the rows. */
	if (is_struck)
		return err_set(err, ERR_BUSY, "%s", cause.msg);
	if (is_dead) {
		buf_add_z(why, cause.msg);
		return 0;
	}
	if (rc && err)
		*err = cause;
	return rc;
}

struct suspension {
	struct write_req req;
	struct service *svc;
	int64_t ruleset_id;
	int64_t version;
	struct str reason;
	bool done;
};

static int suspension_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct suspension *s = (struct suspension *)req;

	return live_suspend(conn, s->ruleset_id, s->version, s->reason, clock_unix_s(s->svc->clock),
			    &s->done, err);
}

static void suspend_row(struct service *svc, const struct live_row *row, struct str why)
{
	struct suspension s = { .req = { .apply = suspension_apply, .lane = LANE_API },
				.svc = svc,
				.ruleset_id = row->id,
				.version = row->version,
				.reason = utf8_cut(why, REASON_BYTES_MAX) };
	struct err err;

	if (writer_call(svc->writer, &s.req, &err) != 0) {
		log_event(LOG_ERROR, "ruleset_suspend_failed", LOG_I64("ruleset", row->id),
			  LOG_Z("error", err.msg));
	} else if (s.done) {
		metric_add(METRIC_rulesets_suspended_total, 1);
		log_record(LOG_WARN, "ruleset_suspended", LOG_I64("ruleset", row->id),
			   LOG_STR("reason", s.reason));
		liveset_changed(svc);
	}
}

/*
 * Which of these rows cannot be compiled by themselves? They are suspended and
 * taken out; halves that compile are left alone. *n shrinks by what was found.
 */
static int weed_out(struct service *svc, struct live_row *rows, size_t *n, struct err *err)
{
	AUTO(buf_release) struct buf why = BUF_INIT(WHY_BYTES_MAX);
	struct scan_rules *rules;
	size_t left, right;

	if (*n == 0)
		return 0;
	TRY(compile_rows(svc, rows, *n, &rules, &why, err));
	if (rules) {
		scan_rules_unref(rules);
		return 0;
	}
	if (*n == 1) {
		suspend_row(svc, &rows[0], buf_str(&why));
		*n = 0;
		return 0;
	}
	left = *n / 2;
	right = *n - left;
	TRY(weed_out(svc, rows + left, &right, err));
	{
		size_t half = left;
		TRY(weed_out(svc, rows, &left, err));
		memmove(rows + left, rows + half, right * sizeof *rows);
	}
	*n = left + right;
	return 0;
}

/* ---- Too much together ---- */

static int by_age(const void *a, const void *b)
{
	const struct live_row *x = a, *y = b;

	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Suspend rows[from..n), which are in order of age, the newest first. */
static void leave_out(struct service *svc, const struct live_row *rows, size_t from, size_t n,
		      struct str why)
{
	AUTO(buf_release) struct buf reason = BUF_INIT(WHY_BYTES_MAX + 1024);

	buf_addf(&reason,
		 "compiles by itself, but not together with all others that are enabled, of which "
		 "it is among the newest: " STR_FMT,
		 STR_ARG(utf8_cut(why, REASON_BYTES_MAX / 2)));
	log_event(LOG_WARN, "live_set_too_large", LOG_I64("rulesets", (int64_t)n),
		  LOG_I64("left_out", (int64_t)(n - from)));
	for (size_t i = n; i-- > from;)
		suspend_row(svc, &rows[i], buf_str(&reason));
}

/*
 * Each of the rows compiles, all of them do not: find by halves how many of the
 * oldest do, suspend the others. *n becomes that many.
 */
static int find_most(struct service *svc, struct live_row *rows, size_t *n, struct str why,
		     struct scan_rules **ret, struct err *err)
{
	AUTO(buf_release) struct buf ignored = BUF_INIT(WHY_BYTES_MAX);
	struct scan_rules *best = NULL, *made;
	size_t can = 0, cannot = *n;
	int rc = 0;

	if (*n)
		qsort(rows, *n, sizeof *rows, by_age);
	while (rc == 0 && cannot - can > 1) {
		size_t middle = can + (cannot - can) / 2;

		rc = compile_rows(svc, rows, middle, &made, &ignored, err);
		if (rc == 0 && made) {
			scan_rules_unref(best);
			best = made;
			can = middle;
		} else {
			cannot = middle;
		}
	}
	if (rc || !best) {
		scan_rules_unref(best);
		return rc ? rc
			  : err_set(err, ERR_BUSY, "the live set does not compile: %.200s", why.p);
	}
	leave_out(svc, rows, can, *n, why);
	*n = can;
	*ret = best;
	return 0;
}

/* A part of these rows at this generation. *ret NULL: there is nothing to compile. */
static int part_build(struct service *svc, struct live_row *rows, size_t n, int64_t generation,
		      struct live_part **ret, struct err *err)
{
	AUTO(buf_release) struct buf why = BUF_INIT(WHY_BYTES_MAX);
	struct scan_rules *rules = NULL;
	struct live_part *part;

	TRY(compile_rows(svc, rows, n, &rules, &why, err));
	if (!rules) {
		size_t before = n;

		TRY(weed_out(svc, rows, &n, err));
		if (n < before)
			TRY(compile_rows(svc, rows, n, &rules, &why, err));
		if (!rules)
			TRY(find_most(svc, rows, &n, buf_str(&why), &rules, err));
	}
	part = mem_must_zalloc(sizeof *part);
	part->refs = 1;
	part->generation = generation;
	part->rules = rules;
	part->source_count = n;
	part->sources = mem_must_zalloc((n ? n : 1) * sizeof *part->sources);
	for (size_t i = 0; i < n; i++)
		part->sources[i] = (struct live_source){ rows[i].id, rows[i].version };
	metric_add(METRIC_live_builds_total, 1);
	*ret = part;
	return 0;
}

struct live_view {
	int64_t generation;
	struct live_row *rows;
	size_t row_count;
	int64_t *changed;
	size_t changed_count;
};

static int view_read_in(struct sql_conn *conn, int64_t since, struct arena *arena,
			struct live_view *ret, struct err *err)
{
	TRY(live_generation(conn, &ret->generation, err));
	TRY(live_rows(conn, "file", since, arena, &ret->rows, &ret->row_count, err));
	return live_changed(conn, since, arena, &ret->changed, &ret->changed_count, err);
}

/* What is enabled now and what changed since, of one moment. since 0: all. */
static int view_try(struct service *svc, int64_t since, struct arena *arena, struct live_view *ret,
		    struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = view_read_in(conn, since, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}

/* Suspend the newest of what is more text than is compiled together. */
static int shed_text(struct service *svc, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("live heads", LIVE_ARENA_MAX);
	uint64_t max = svc->options.live_text_max, bytes = 0;
	struct live_row *rows = NULL;
	struct sql_conn *conn;
	size_t n = 0, kept = 0;
	char why[96];
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = live_heads(conn, "file", arena, &rows, &n, err);
	sql_reader_give(svc->db, conn);
	if (rc)
		return rc;
	while (kept < n && bytes + rows[kept].bytes <= max)
		bytes += rows[kept++].bytes;
	snprintf(why, sizeof why, "their rules are more than %llu KB",
		 (unsigned long long)(max >> 10));
	if (kept < n)
		leave_out(svc, rows, kept, n, str_of(why));
	return 0;
}

static int view_read(struct service *svc, int64_t since, struct arena *arena, struct live_view *ret,
		     struct err *err)
{
	uint64_t bytes = 0;
	int rc = view_try(svc, since, arena, ret, err);

	for (size_t i = 0; rc == 0 && i < ret->row_count; i++)
		bytes += ret->rows[i].bytes;
	if (rc == 0 && bytes <= svc->options.live_text_max)
		return 0;
	if (rc && rc != -ERR_TOO_LARGE)
		return rc;
	TRY(shed_text(svc, err));
	/* What was suspended wants a build of its own, which follows at once. */
	return err_set(err, ERR_BUSY, "the rulesets are more than %llu KB of rules",
		       (unsigned long long)(svc->options.live_text_max >> 10));
}

static int build_base(struct service *svc, struct live_part **ret, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("live base", LIVE_ARENA_MAX);
	struct live_view view;

	TRY(view_read(svc, 0, arena, &view, err));
	return part_build(svc, view.rows, view.row_count, view.generation, ret, err);
}

static int id_compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* base + what changed since it = a set of the newest generation. */
static int build_set(struct liveset *l, struct live_set **ret, bool *ret_delta_is_large,
		     struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("live delta", LIVE_ARENA_MAX);
	struct live_part *delta = NULL;
	struct live_view view;
	struct live_set *set;
	size_t bytes = 0;

	TRY(view_read(l->svc, l->base->generation, arena, &view, err));
	if (view.row_count)
		TRY(part_build(l->svc, view.rows, view.row_count, view.generation, &delta, err));
	for (size_t i = 0; i < view.row_count; i++)
		bytes += view.rows[i].rules.n;
	*ret_delta_is_large = view.changed_count > DELTA_SOURCES_MAX || bytes > DELTA_BYTES_MAX;
	set = mem_must_zalloc(sizeof *set);
	set->refs = 1;
	set->generation = view.generation;
	set->parts[0] = live_part_ref(l->base);
	set->parts[1] = delta;
	set->base_stale = mem_must_zalloc(l->base->source_count + 1);
	for (size_t i = 0; i < l->base->source_count && view.changed_count; i++)
		set->base_stale[i] =
			bsearch(&l->base->sources[i].ruleset_id, view.changed, view.changed_count,
				sizeof *view.changed, id_compare) != NULL;
	*ret = set;
	return 0;
}

/* ---- Threads ---- */

static void publish(struct liveset *l, struct live_set *set, int64_t covers, bool want_base)
{
	struct live_set *old;
	int64_t rules = 0;

	for (unsigned i = 0; i < SCAN_SLOTS_LIVE; i++)
		rules += set->parts[i] ? (int64_t)scan_rules_count(set->parts[i]->rules) : 0;
	metric_set(METRIC_live_generation, set->generation);
	metric_set(METRIC_live_rules, rules);
	lock_take(&l->lock);
	old = l->current;
	REQUIRE(!old || old->generation <= set->generation);
	l->current = set;
	l->built = covers;
	l->base_wanted = l->base_wanted || want_base;
	cond_broadcast(&l->moved);
	lock_drop(&l->lock);
	live_set_unref(old);
}

/* One build; false: try again a little later. */
static bool delta_round(struct liveset *l, int64_t covers, struct live_part *next_base)
{
	struct live_set *set;
	struct err err;
	bool large;
	int rc = 0;

	if (next_base) {
		live_part_unref(l->base);
		l->base = next_base;
	}
	if (!l->base)
		rc = build_base(l->svc, &l->base, &err);
	if (rc == 0)
		rc = build_set(l, &set, &large, &err);
	if (rc) {
		log_event(LOG_WARN, "live_set_build_failed", LOG_Z("error", err.msg));
		return false;
	}
	log_event(LOG_DEBUG, "live_set", LOG_I64("generation", set->generation),
		  LOG_I64("base", l->base->generation));
	publish(l, set, covers, large);
	return true;
}

static void delta_thread(void *arg)
{
	struct liveset *l = arg;
	struct live_part *next_base;
	int64_t covers;
	bool done = true;

	for (;;) {
		lock_take(&l->lock);
		if (!done && !l->stopping)
			cond_wait_ms(&l->moved, &l->lock, RETRY_MS);
		while (!l->stopping && done && l->built == l->wanted && !l->next_base)
			cond_wait(&l->moved, &l->lock);
		covers = l->wanted;
		next_base = STEAL(l->next_base);
		if (l->stopping) {
			lock_drop(&l->lock);
			live_part_unref(next_base);
			return;
		}
		lock_drop(&l->lock);
		done = delta_round(l, covers, next_base);
	}
}

static void base_thread(void *arg)
{
	struct liveset *l = arg;
	struct live_part *base, *unused;
	struct err err;

	for (;;) {
		lock_take(&l->lock);
		while (!l->stopping && (!l->base_wanted || l->next_base))
			cond_wait(&l->moved, &l->lock);
		if (l->stopping) {
			lock_drop(&l->lock);
			return;
		}
		l->base_wanted = false;
		lock_drop(&l->lock);
		if (build_base(l->svc, &base, &err) != 0) {
			log_event(LOG_WARN, "live_base_build_failed", LOG_Z("error", err.msg));
			continue;
		}
		lock_take(&l->lock);
		unused = l->next_base;
		l->next_base = base;
		cond_broadcast(&l->moved);
		lock_drop(&l->lock);
		live_part_unref(unused);
	}
}

int liveset_start(struct service *svc, struct err *err)
{
	struct liveset *l = mem_must_zalloc(sizeof *l);

	l->svc = svc;
	lock_init(&l->lock, LOCK_LIVESET);
	cond_init(&l->moved);
	l->wanted = 1; /* the first build */
	svc->live = l;
	TRY(thread_start(&l->delta_thread, "live-delta", delta_thread, l, err));
	return thread_start(&l->base_thread, "live-base", base_thread, l, err);
}

void liveset_cancel(struct service *svc)
{
	struct liveset *l = svc->live;

	if (!l)
		return;
	lock_take(&l->lock);
	l->stopping = true;
	cond_broadcast(&l->moved);
	lock_drop(&l->lock);
}

void liveset_stop(struct service *svc)
{
	struct liveset *l = svc->live;

	if (!l)
		return;
	liveset_cancel(svc);
	thread_join(&l->delta_thread);
	thread_join(&l->base_thread);
}

void liveset_free(struct service *svc)
{
	struct liveset *l = svc->live;

	if (!l)
		return;
	live_set_unref(l->current);
	live_part_unref(l->next_base);
	live_part_unref(l->base);
	cond_release(&l->moved);
	lock_release(&l->lock);
	free(l);
	svc->live = NULL;
}

void liveset_changed(struct service *svc)
{
	struct liveset *l = svc->live;

	if (!l)
		return;
	lock_take(&l->lock);
	l->wanted++;
	cond_broadcast(&l->moved);
	lock_drop(&l->lock);
}

struct live_set *liveset_current(struct service *svc)
{
	struct liveset *l = svc->live;
	struct live_set *set;

	lock_take(&l->lock);
	set = l->current;
	if (set)
		atomic_fetch_add(&set->refs, 1);
	lock_drop(&l->lock);
	return set;
}

struct live_set *liveset_take(struct service *svc, int64_t generation)
{
	struct liveset *l = svc->live;
	struct live_set *set = NULL;

	lock_take(&l->lock);
	while (!l->stopping && (!l->current || l->current->generation < generation))
		cond_wait(&l->moved, &l->lock);
	if (!l->stopping) {
		set = l->current;
		atomic_fetch_add(&set->refs, 1);
	}
	lock_drop(&l->lock);
	return set;
}
