#include "meta_stream_internal.h"

#define COUNTS_SQL                                                                                 \
	"SELECT source_kind, source_id, entity_kind, day, live FROM stream_count WHERE "           \
	"owner_id = ?1 AND source_kind = ?2 AND source_id = 0"
#define COUNTS_BY_SOURCE_SQL                                                                       \
	"SELECT source_kind, source_id, entity_kind, day, live FROM stream_count WHERE "           \
	"owner_id = ?1 AND source_kind = ?2 AND source_id > 0"

enum {
	COUNT_ARENA_BYTES = 64 * 1024 * 1024
}; /* thousands of leaves with full chunks */

static int read_page(struct iter_ctx *cx, const struct stream_query *query,
		     const struct filter_env *env, struct stream_entry **ret, size_t *ret_count,
		     bool *ret_more, struct err *err)
{
	struct stream_entry *entries;
	struct iter **deleted, *it;
	size_t deletions, n = 0;
	int64_t key = query->oldest_first ? 0 : -(INT64_MAX - 1);
	int64_t owner;
	void *mem;

	if (query->position > 0)
		key = iter_key(cx, query->position) + 1;
	TRY(plan_deletions(cx, env, &deleted, &deletions, err));
	TRY(plan_filter(cx, query->filter, -1, deleted, deletions, &it, err));
	TRY(stream_mem(cx->arena, query->limit, sizeof *entries, &mem, err));
	entries = mem;
	*ret_more = false;
	for (;;) {
		TRY(iter_seek(it, key, &key, err));
		if (key == ITER_END)
			break;
		if (n == query->limit) {
			*ret_more = true;
			break;
		}
		TRY(stream_row(cx->conn, cx->arena, cx->oldest_first ? key : -key, &entries[n],
			       &owner, err));
		REQUIRE(owner == query->owner_id);
		n++;
		key++;
	}
	*ret = entries;
	*ret_count = n;
	return 0;
}

int stream_page(struct sql_conn *conn, const struct stream_query *query,
		const struct filter_env *env, struct arena *arena, struct stream_entry **ret,
		size_t *ret_count, bool *ret_more, struct err *err)
{
	struct iter_ctx cx = { .conn = conn,
			       .arena = arena,
			       .owner_id = query->owner_id,
			       .oldest_first = query->oldest_first };
	bool own;
	int rc;

	REQUIRE(query->limit > 0 && query->position >= 0);
	TRY(snapshot_begin(conn, &own, err));
	rc = read_page(&cx, query, env, ret, ret_count, ret_more, err);
	snapshot_end(conn, own);
	return rc;
}

/* ---- counting ------------------------------------------------------------------------- */

/* Days that some date of the filter divides: kept as their numbers. */
struct split_days {
	int64_t *day;
	size_t n, cap;
	bool by_source; /* the filter asks for single sources */
};

static int64_t day_of(int64_t t)
{
	return t >= 0 ? t / STREAM_DAY_S : (t + 1) / STREAM_DAY_S - 1;
}

static bool split_has(const struct split_days *s, int64_t day)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->day[i] == day)
			return true;
	return false;
}

static void split_add(struct split_days *s, int64_t t)
{
	if (t == INT64_MIN || t == INT64_MAX || t == day_of(t) * STREAM_DAY_S ||
	    split_has(s, day_of(t)))
		return;
	REQUIRE(s->n < s->cap);
	s->day[s->n++] = day_of(t);
}

/* Speaks the filter only of what stream_count knows? */
static bool is_countable(const struct filter_node *node, struct split_days *s)
{
	if (node->op == FILTER_TERM) {
		switch ((enum stream_column)node->field->column) {
		case STREAM_COL_DATE:
			split_add(s, node->lo);
			split_add(s, node->hi);
			return true;
		case STREAM_COL_SOURCE_ID:
			s->by_source = true;
			return true;
		case STREAM_COL_SOURCE_KIND:
		case STREAM_COL_ENTITY_KIND:
			return true;
		case STREAM_COL_ENTITY:
		case STREAM_COL_TAG:
		case STREAM_COL_LABEL:
		case STREAM_COL_ANY:
			return false;
		}
	}
	for (uint32_t i = 0; i < node->kid_count; i++)
		if (!is_countable(node->kids[i], s))
			return false;
	return true;
}

/* Count what the iterator of `filter`, within the days given, gives, until *ret is max. */
static int count_each(struct sql_conn *conn, int64_t owner_id, const struct filter_node *filter,
		      const struct filter_env *env, const int64_t *day, uint64_t max, uint64_t *ret,
		      struct err *err)
{
	struct arena *arena = arena_new("stream count", COUNT_ARENA_BYTES);
	struct iter_ctx cx = { .conn = conn,
			       .arena = arena,
			       .owner_id = owner_id,
			       .oldest_first = true,
			       .reads_all = true };
	struct seq_range range = { 0, INT64_MAX };
	struct iter **deleted, *it;
	size_t deletions;
	int64_t key = 0;
	int rc;

	rc = plan_deletions(&cx, env, &deleted, &deletions, err);
	if (rc == 0)
		rc = plan_filter(&cx, filter, -1, deleted, deletions, &it, err);
	if (rc == 0 && day)
		rc = plan_dates(&cx, *day * STREAM_DAY_S, (*day + 1) * STREAM_DAY_S, &range, err);
	for (key = range.lo; rc == 0 && *ret < max; key++) {
		rc = iter_seek(it, key, &key, err);
		if (rc != 0 || key >= range.hi || key == ITER_END)
			break;
		++*ret;
	}
	arena_free(arena);
	return rc;
}

static int sum_counts(struct sql_conn *conn, int64_t owner_id, const struct filter_node *filter,
		      const struct split_days *split, uint64_t *ret, struct err *err)
{
	for (uint32_t kind = 1; kind <= STREAM_KIND_MAX; kind++) {
		AUTO(sql_end) struct sql_query q = { 0 };
		bool row;

		TRY(sql_start(&q, conn, split->by_source ? COUNTS_BY_SOURCE_SQL : COUNTS_SQL, err,
			      SQL_I64(owner_id), SQL_I64(kind)));
		for (;;) {
			TRY(sql_next(&q, &row, err));
			if (!row)
				break;
			/* Undivided days are wholly in or out: their first second decides. */
			const struct stream_item item = {
				.source_kind = (uint32_t)sql_i64(&q, 0),
				.source_id = sql_i64(&q, 1),
				.entity_kind = (uint32_t)sql_i64(&q, 2),
				.date_s = sql_i64(&q, 3) * STREAM_DAY_S,
			};
			if (!split_has(split, sql_i64(&q, 3)) && filter_match(filter, &item))
				*ret += (uint64_t)sql_i64(&q, 4);
		}
	}
	return 0;
}

static int count_all(struct sql_conn *conn, int64_t owner_id, const struct filter_node *filter,
		     const struct filter_env *env, uint64_t max, uint64_t *ret, struct err *err)
{
	static const struct filter_node all = { .op = FILTER_ALL };
	struct arena *arena = arena_new("stream deletions", 4 * FILTER_ARENA_BYTES);
	struct iter_ctx cx = { .conn = conn, .arena = arena, .owner_id = owner_id };
	int64_t days[2 * 256]; /* two ends of each of LIMIT_FILTER_TERMS terms */
	struct split_days split = { .day = days, .cap = sizeof days / sizeof days[0] };
	struct iter **deleted;
	size_t deletions;
	int rc;

	rc = plan_deletions(&cx, env, &deleted, &deletions, err);
	arena_free(arena);
	TRY(rc);
	if (!filter)
		filter = &all;
	if (deletions > 0 || !is_countable(filter, &split))
		return count_each(conn, owner_id, filter, env, NULL, max, ret, err);
	TRY(sum_counts(conn, owner_id, filter, &split, ret, err));
	for (size_t i = 0; i < split.n; i++)
		TRY(count_each(conn, owner_id, filter, env, &split.day[i], max, ret, err));
	return 0;
}

int stream_count_upto(struct sql_conn *conn, int64_t owner_id, const struct filter_node *filter,
		      const struct filter_env *env, uint64_t max, uint64_t *ret, struct err *err)
{
	uint64_t count = 0;
	bool own;
	int rc;

	TRY(snapshot_begin(conn, &own, err));
	rc = count_all(conn, owner_id, filter, env, max, &count, err);
	snapshot_end(conn, own);
	if (rc == 0)
		*ret = count < max ? count : max;
	return rc;
}

int stream_count_matching(struct sql_conn *conn, int64_t owner_id, const struct filter_node *filter,
			  const struct filter_env *env, uint64_t *ret, struct err *err)
{
	return stream_count_upto(conn, owner_id, filter, env, UINT64_MAX, ret, err);
}

/* ---- one entry ------------------------------------------------------------------------ */

static int get_live(struct sql_conn *conn, int64_t owner_id, int64_t seq,
		    const struct filter_env *env, struct arena *arena, struct stream_entry *ret,
		    struct err *err)
{
	struct iter_ctx cx = {
		.conn = conn, .arena = arena, .owner_id = owner_id, .oldest_first = true
	};
	struct iter **deleted;
	size_t deletions;
	int64_t owner, key;

	TRY(stream_row(conn, arena, seq, ret, &owner, err));
	if (owner != owner_id)
		return err_set(err, ERR_NOT_FOUND, "no notification %lld", (long long)seq);
	TRY(plan_deletions(&cx, env, &deleted, &deletions, err));
	for (size_t i = 0; i < deletions; i++) {
		TRY(iter_seek(deleted[i], seq, &key, err));
		if (key == seq)
			return err_set(err, ERR_NOT_FOUND, "no notification %lld", (long long)seq);
	}
	return 0;
}

int stream_get(struct sql_conn *conn, int64_t owner_id, int64_t seq, const struct filter_env *env,
	       struct arena *arena, struct stream_entry *ret, struct err *err)
{
	struct stream_entry e;
	bool own;
	int rc;

	TRY(snapshot_begin(conn, &own, err));
	rc = get_live(conn, owner_id, seq, env, arena, &e, err);
	snapshot_end(conn, own);
	if (rc == 0)
		*ret = e;
	return rc;
}
