#include "service/usage.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "service_internal.h"
#include "store/meta_user.h"

enum {
	BUCKETS = 4096,      /* of the table of accounts: a few in each at USERS_MAX */
	FLUSH_ACCOUNTS = 64, /* written in one transaction: some hundred rows */
};

struct window {
	int64_t begin_s;
	int64_t end_s; /* 0: nothing was counted yet */
	int64_t used;
};

/* Calls of one day that are not written down yet. */
struct pending {
	int64_t day;
	bool any;
	int32_t calls[USAGE_ENDPOINTS_MAX]; /* less than none after a refund of what is written */
};

/* Made at the first use after the start; stays until the end. */
struct account {
	struct account *next; /* of its bucket */
	int64_t user_id;
	_Atomic bool dirty; /* there is something to write */
	struct lock lock;
	/* under the lock */
	struct window windows[QUOTA_WINDOWS];
	struct pending pending[2]; /* of two days: one may end while it waits */
	unsigned current;          /* pending[current] is counted into */
};

struct usage {
	struct lock flush; /* held by whoever writes down; may wait for the writer */
	struct lock lock;
	/* under the lock */
	struct account *buckets[BUCKETS];
	char *endpoints[USAGE_ENDPOINTS_MAX]; /* owned; one that is there stays */
	unsigned endpoint_count;
};

struct usage *usage_new(void)
{
	struct usage *u = mem_must_zalloc(sizeof *u);

	lock_init(&u->flush, LOCK_USAGE_FLUSH);
	lock_init(&u->lock, LOCK_USAGE);
	return u;
}

void usage_free(struct usage *u)
{
	struct account *a, *next;

	if (!u)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (a = u->buckets[i]; a; a = next) {
			next = a->next;
			lock_release(&a->lock);
			free(a);
		}
	}
	for (unsigned i = 0; i < u->endpoint_count; i++)
		free(u->endpoints[i]);
	lock_release(&u->lock);
	lock_release(&u->flush);
	free(u);
}

unsigned usage_endpoint(struct service *svc, const char *name)
{
	struct usage *u = svc->usage;
	unsigned i = 0;

	lock_take(&u->lock);
	while (i < u->endpoint_count && strcmp(u->endpoints[i], name) != 0)
		i++;
	REQUIRE(i < USAGE_ENDPOINTS_MAX);
	if (i == u->endpoint_count)
		u->endpoints[u->endpoint_count++] = mem_must_strdup(name);
	lock_drop(&u->lock);
	return i;
}

/* ---- Accounts ---- */

static struct account *account_find(struct usage *u, int64_t user_id)
{
	struct account *a;

	lock_take(&u->lock);
	a = u->buckets[(uint64_t)user_id % BUCKETS];
	while (a && a->user_id != user_id)
		a = a->next;
	lock_drop(&u->lock);
	return a;
}

static void used_read(struct str quota, int64_t begin_s, int64_t used, void *arg)
{
	struct account *a = arg;
	enum quota q = quota_find(quota);
	struct window *w;

	if ((unsigned)q >= QUOTA_WINDOWS)
		return; /* one that this program does not know any more */
	w = &a->windows[q];
	quota_window(quota_infos[q].period, begin_s, &w->begin_s, &w->end_s);
	w->used = used;
}

/* Into the table, unless another thread was first; that one counts already. */
static struct account *account_add(struct usage *u, struct account *a)
{
	struct account **bucket = &u->buckets[(uint64_t)a->user_id % BUCKETS], *there;

	lock_take(&u->lock);
	there = *bucket;
	while (there && there->user_id != a->user_id)
		there = there->next;
	if (!there) {
		a->next = *bucket;
		*bucket = a;
	}
	lock_drop(&u->lock);
	if (!there)
		return a;
	lock_release(&a->lock);
	free(a);
	return there;
}

int account_get(struct service *svc, struct sql_conn *conn, int64_t user_id, struct account **ret,
		struct err *err)
{
	struct account *a = account_find(svc->usage, user_id);
	int rc;

	if (!a) {
		a = mem_must_zalloc(sizeof *a);
		a->user_id = user_id;
		lock_init(&a->lock, LOCK_ACCOUNT);
		rc = used_rows_each(conn, user_id, used_read, a, err);
		if (rc) {
			lock_release(&a->lock);
			free(a);
			return rc;
		}
		a = account_add(svc->usage, a);
	}
	*ret = a;
	return 0;
}

/* ---- Counting ---- */

/* Let the window be that of now. */
static void window_roll(struct window *w, enum quota_period period, int64_t now_s)
{
	if (now_s >= w->begin_s && now_s < w->end_s)
		return;
	if (now_s < w->begin_s && w->begin_s - now_s <= w->end_s - w->begin_s)
		return; /* the clock went back a little: the same allowance is not given twice */
	quota_window(period, now_s, &w->begin_s, &w->end_s);
	w->used = 0;
}

/* Where calls of this day are counted. */
static struct pending *pending_of(struct account *a, int64_t day)
{
	struct pending *p = &a->pending[a->current];

	if (p->any && p->day != day && !a->pending[!a->current].any) {
		a->current = !a->current;
		p = &a->pending[a->current];
	}
	/* Both are taken when nothing could be written for a day: the call counts for an older one.
	 */
	if (!p->any)
		p->day = day;
	return p;
}

int usage_charge(struct service *svc, const struct user *u, unsigned endpoint, bool download,
		 struct err *err)
{
	const unsigned windows = QUOTA_CALLS + download;
	int64_t now_s = clock_unix_s(svc->clock);
	struct account *a = u->account;
	struct pending *p;
	int rc = 0;

	REQUIRE(a && endpoint < USAGE_ENDPOINTS_MAX);
	lock_take(&a->lock);
	for (unsigned i = 0; i < windows && rc == 0; i++) {
		struct window *w = &a->windows[i];

		window_roll(w, quota_infos[i].period, now_s);
		if (u->allowed[i] >= 0 && w->used >= u->allowed[i])
			rc = err_set(err, ERR_QUOTA, "Quota exceeded");
	}
	if (rc == 0) {
		for (unsigned i = 0; i < windows; i++)
			a->windows[i].used++;
		p = pending_of(a, now_s / 86400);
		p->any = true;
		p->calls[endpoint]++;
		atomic_store_explicit(&a->dirty, true, memory_order_relaxed);
	}
	lock_drop(&a->lock);
	return rc;
}

void usage_refund(struct service *svc, const struct user *u, unsigned endpoint, bool download)
{
	const unsigned windows = QUOTA_CALLS + download;
	struct account *a = u->account;
	struct pending *p;

	REQUIRE(a && endpoint < USAGE_ENDPOINTS_MAX);
	lock_take(&a->lock);
	/* A window that began since owes nothing: it may be at 0. */
	for (unsigned i = 0; i < windows; i++)
		a->windows[i].used -= a->windows[i].used > 0;
	p = pending_of(a, clock_unix_s(svc->clock) / 86400);
	p->any = true;
	p->calls[endpoint]--;
	atomic_store_explicit(&a->dirty, true, memory_order_relaxed);
	lock_drop(&a->lock);
}

/* Also of a user who came without a key. */
static int account_of(struct service *svc, const struct user *u, struct account **ret,
		      struct err *err)
{
	struct sql_conn *conn;
	int rc;

	*ret = u->account ? u->account : account_find(svc->usage, u->id);
	if (*ret)
		return 0;
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = account_get(svc, conn, u->id, ret, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

int usage_charge_one(struct service *svc, const struct user *u, enum quota quota, struct err *err)
{
	int64_t now_s = clock_unix_s(svc->clock);
	struct account *a;
	struct window *w;
	int rc = 0;

	REQUIRE((unsigned)quota > QUOTA_CALLS && (unsigned)quota < QUOTA_WINDOWS);
	TRY(account_of(svc, u, &a, err));
	lock_take(&a->lock);
	w = &a->windows[quota];
	window_roll(w, quota_infos[quota].period, now_s);
	if (u->allowed[quota] >= 0 && w->used >= u->allowed[quota])
		rc = err_set(err, ERR_QUOTA, "Quota exceeded");
	else
		w->used++;
	atomic_store_explicit(&a->dirty, true, memory_order_relaxed);
	lock_drop(&a->lock);
	return rc;
}

void usage_refund_one(struct service *svc, const struct user *u, enum quota quota)
{
	struct account *a = account_find(svc->usage, u->id);

	REQUIRE(a);
	lock_take(&a->lock);
	a->windows[quota].used -= a->windows[quota].used > 0;
	atomic_store_explicit(&a->dirty, true, memory_order_relaxed);
	lock_drop(&a->lock);
}

uint32_t usage_retry_s(struct service *svc, const struct user *u, unsigned quotas)
{
	int64_t now_s = clock_unix_s(svc->clock), wait_s = 0;
	struct account *a = u->account;

	if (!a)
		return 0;
	lock_take(&a->lock);
	for (unsigned i = 0; i < QUOTA_WINDOWS; i++) {
		struct window *w = &a->windows[i];

		if (!(quotas >> i & 1))
			continue;
		window_roll(w, quota_infos[i].period, now_s);
		if (u->allowed[i] >= 0 && w->used >= u->allowed[i] && w->end_s - now_s > wait_s)
			wait_s = w->end_s - now_s;
	}
	lock_drop(&a->lock);
	return (uint32_t)wait_s;
}

/* ---- Writing down ---- */

/* What one account has to write. */
struct flush_item {
	struct account *account;
	struct window windows[QUOTA_WINDOWS];
	struct pending pending[2];
};

struct flush_req {
	struct write_req req; /* first */
	struct usage *usage;
	size_t n;
	struct flush_item items[FLUSH_ACCOUNTS];
};

static int pending_write(struct sql_conn *conn, const struct flush_req *r, int64_t user_id,
			 const struct pending *p, struct err *err)
{
	for (unsigned i = 0; i < USAGE_ENDPOINTS_MAX && p->any; i++) {
		/* An endpoint that is counted is registered, and its name stays. */
		if (p->calls[i])
			TRY(usage_row_add(conn, user_id, p->day, str_of(r->usage->endpoints[i]),
					  p->calls[i], err));
	}
	return 0;
}

static int flush_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct flush_req *r = (const struct flush_req *)req;

	for (size_t i = 0; i < r->n; i++) {
		const struct flush_item *item = &r->items[i];
		int64_t user_id = item->account->user_id;

		for (unsigned w = 0; w < QUOTA_WINDOWS; w++) {
			if (item->windows[w].end_s)
				TRY(used_row_put(conn, user_id, str_of(quota_infos[w].name),
						 item->windows[w].begin_s, item->windows[w].used,
						 err));
		}
		TRY(pending_write(conn, r, user_id, &item->pending[0], err));
		TRY(pending_write(conn, r, user_id, &item->pending[1], err));
	}
	return 0;
}

static void item_take(struct flush_item *item, struct account *a)
{
	item->account = a;
	lock_take(&a->lock);
	atomic_store_explicit(&a->dirty, false, memory_order_relaxed);
	memcpy(item->windows, a->windows, sizeof item->windows);
	memcpy(item->pending, a->pending, sizeof item->pending);
	memset(a->pending, 0, sizeof a->pending);
	lock_drop(&a->lock);
}

/* It could not be written: let it wait on. */
static void item_give_back(const struct flush_item *item)
{
	struct account *a = item->account;

	lock_take(&a->lock);
	for (unsigned i = 0; i < 2; i++) {
		const struct pending *from = &item->pending[i];
		struct pending *to;

		if (!from->any)
			continue;
		to = pending_of(a, from->day);
		to->any = true;
		for (unsigned e = 0; e < USAGE_ENDPOINTS_MAX; e++)
			to->calls[e] += from->calls[e];
	}
	atomic_store_explicit(&a->dirty, true, memory_order_relaxed);
	lock_drop(&a->lock);
}

static bool flush_write(struct service *svc, struct flush_req *r)
{
	struct err err;

	r->req = (struct write_req){ .apply = flush_apply, .lane = LANE_BULK };
	if (writer_call(svc->writer, &r->req, &err) == 0) {
		r->n = 0;
		return true;
	}
	log_event(LOG_WARN, "usage_waits", LOG_Z("error", err.msg));
	for (size_t i = 0; i < r->n; i++)
		item_give_back(&r->items[i]);
	r->n = 0;
	return false;
}

void usage_flush(struct service *svc)
{
	struct flush_req *r = mem_must_zalloc(sizeof *r);
	struct usage *u = svc->usage;
	bool fine = true;

	r->usage = u;
	lock_take(&u->flush);
	for (size_t i = 0; i < BUCKETS && fine; i++) {
		struct account *a;

		lock_take(&u->lock);
		a = u->buckets[i]; /* newcomers come before it; nobody leaves */
		lock_drop(&u->lock);
		for (; a && fine; a = a->next) {
			if (!atomic_load_explicit(&a->dirty, memory_order_relaxed))
				continue;
			item_take(&r->items[r->n++], a);
			if (r->n == FLUSH_ACCOUNTS)
				fine = flush_write(svc, r);
		}
	}
	if (r->n)
		flush_write(svc, r);
	lock_drop(&u->flush);
	free(r);
}

/* ---- Looking ---- */

int usage_now(struct service *svc, const struct user *u, int64_t ret_used[QUOTA_COUNT],
	      struct err *err)
{
	int64_t now_s = clock_unix_s(svc->clock);
	struct sql_conn *conn;
	struct account *a;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = account_get(svc, conn, u->id, &a, err);
	if (rc == 0)
		rc = user_rules_count(conn, u->id, 0, &ret_used[QUOTA_HUNTING_RULES], err);
	if (rc == 0)
		rc = user_rulesets_count(conn, u->id, &ret_used[QUOTA_HUNTING_RULESETS], err);
	sql_reader_give(svc->db, conn);
	if (rc)
		return rc;
	lock_take(&a->lock);
	for (unsigned i = 0; i < QUOTA_WINDOWS; i++) {
		window_roll(&a->windows[i], quota_infos[i].period, now_s);
		ret_used[i] = a->windows[i].used;
	}
	lock_drop(&a->lock);
	return 0;
}

struct rows {
	struct arena *arena;
	struct usage_row *rows;
	size_t n;
	bool full;
};

static void rows_add(int64_t day, struct str endpoint, int64_t calls, void *arg)
{
	struct rows *r = arg;

	if (r->n == USAGE_DAYS_KEPT * USAGE_ENDPOINTS_MAX)
		r->full = true; /* endpoints of older programs, too: not in 60 days */
	if (!r->full)
		r->rows[r->n++] = (struct usage_row){ day, arena_str(r->arena, endpoint), calls };
}

int usage_by_day(struct service *svc, int64_t user_id, int64_t first_day, int64_t last_day,
		 struct arena *arena, struct usage_row **ret, size_t *ret_n, struct err *err)
{
	struct rows r = { .arena = arena };
	struct sql_conn *conn;
	int rc;

	r.rows = arena_must(arena, USAGE_DAYS_KEPT * USAGE_ENDPOINTS_MAX * sizeof *r.rows);
	usage_flush(svc);
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = usage_rows_each(conn, user_id, first_day, last_day, rows_add, &r, err);
	sql_reader_give(svc->db, conn);
	*ret = r.rows;
	*ret_n = r.n;
	return rc;
}
