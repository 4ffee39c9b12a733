#include "meta_stream_internal.h"

enum {
	CHUNK_FIRST = 4, /* a page rarely needs more of one of many leaves */
	CHUNK_MAX = 512, /* 4 KB of keys; larger ones gain nothing measurable */
};

enum iter_kind {
	ITER_NONE,
	ITER_LEAF,
	ITER_OR,
	ITER_AND,
	ITER_WIDE
};

/* See iter_wide. */
struct wide {
	struct iter *driver;
	const struct wide_label *labels; /* by id */
	size_t n;
	size_t leaves;       /* lists that merging them takes */
	uint64_t taken;      /* rows looked at that were of these labels */
	uint64_t passed;     /* and that were not */
	struct iter *merged; /* NULL: rows are looked at */
};

struct leaf {
	enum leaf_kind kind;
	int64_t a, b;
	struct str id;
	int64_t *keys; /* fetched, ascending */
	uint32_t n, pos, cap;
	uint32_t chunk; /* entries to fetch next */
	uint32_t hits;  /* seeks answered from what was fetched last */
	bool is_last;   /* nothing behind what was fetched */
};

struct iter {
	enum iter_kind kind;
	struct iter_ctx *cx;
	bool has_cur;
	int64_t cur; /* last answer: nothing of the set between the key asked for and it */
	union {
		struct leaf leaf;
		struct {
			struct iter **heap; /* smallest cur first, once started */
			size_t n;
			bool is_started;
		} or ;
		struct iter_and_args and; /* ranges in keys */
		struct wide wide;
	} u;
};

/* ?1 bound, ?2 count, then the prefix. INDEXED BY: the choice is ours, not the planner's. */
#define NEWEST(from, where)                                                                        \
	"SELECT seq FROM " from " WHERE " where " AND seq <= ?1 ORDER BY seq DESC LIMIT ?2"
#define OLDEST(from, where)                                                                        \
	"SELECT seq FROM " from " WHERE " where " AND seq >= ?1 ORDER BY seq LIMIT ?2"
#define BOTH(from, where)                                                                          \
	{                                                                                          \
		NEWEST(from, where), OLDEST(from, where)                                           \
	}

static const char *const leaf_texts[LEAF_KIND_COUNT][2] = {
	[LEAF_OWNER] = BOTH("sighting INDEXED BY sighting_owner", "state = 0 AND owner_id = ?3"),
	[LEAF_KINDS] =
		BOTH("sighting INDEXED BY sighting_kinds",
		     "state = 0 AND owner_id = ?3 AND source_kind = ?4 AND entity_kind = ?5"),
	[LEAF_LABEL] = BOTH("sighting INDEXED BY sighting_label",
			    "state = 0 AND label_id = ?3 AND entity_kind = ?4"),
	[LEAF_TAG] = BOTH("sighting_tag", "tag_id = ?3"),
	[LEAF_ENTITY] = BOTH("sighting INDEXED BY sighting_entity",
			     "state = 0 AND owner_id = ?3 AND entity_id = ?4"),
};

const char *leaf_sql(enum leaf_kind kind, bool oldest_first)
{
	return leaf_texts[kind][oldest_first];
}

int stream_mem(struct arena *arena, size_t n, size_t size, void **ret, struct err *err)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) ||
	    !(*ret = arena_try(arena, bytes ? bytes : 1)))
		return err_set(err, ERR_NO_MEMORY, "no memory to read a stream");
	return 0;
}

static int iter_new(struct iter_ctx *cx, enum iter_kind kind, struct iter **ret, struct err *err)
{
	void *mem;

	TRY(stream_mem(cx->arena, 1, sizeof **ret, &mem, err));
	*ret = mem;
	(*ret)->kind = kind;
	(*ret)->cx = cx;
	return 0;
}

int iter_none(struct iter_ctx *cx, struct iter **ret, struct err *err)
{
	return iter_new(cx, ITER_NONE, ret, err);
}

int iter_leaf(struct iter_ctx *cx, enum leaf_kind kind, int64_t a, int64_t b, struct str id,
	      struct iter **ret, struct err *err)
{
	TRY(iter_new(cx, ITER_LEAF, ret, err));
	(*ret)->u.leaf =
		(struct leaf){ .kind = kind, .a = a, .b = b, .id = id, .chunk = CHUNK_FIRST };
	return 0;
}

int iter_or(struct iter_ctx *cx, struct iter **kids, size_t n, struct iter **ret, struct err *err)
{
	if (n == 0)
		return iter_none(cx, ret, err);
	if (n == 1) {
		*ret = kids[0];
		return 0;
	}
	TRY(iter_new(cx, ITER_OR, ret, err));
	(*ret)->u.or.heap = kids;
	(*ret)->u.or.n = n;
	return 0;
}

/* Ranges of seq become ranges of keys, which ascend the other way when the newest is first. */
static int turn_ranges(struct iter_ctx *cx, struct iter_and_args *args, struct err *err)
{
	struct seq_range *to;
	void *mem;

	if (!args->ranges || cx->oldest_first)
		return 0;
	TRY(stream_mem(cx->arena, args->range_count, sizeof *to, &mem, err));
	to = mem;
	for (size_t i = 0; i < args->range_count; i++) {
		const struct seq_range *from = &args->ranges[args->range_count - 1 - i];

		REQUIRE(from->lo >= 0 && from->lo <= from->hi);
		to[i] = (struct seq_range){ -from->hi + 1, -from->lo + 1 };
	}
	args->ranges = to;
	return 0;
}

int iter_and(struct iter_ctx *cx, const struct iter_and_args *args, struct iter **ret,
	     struct err *err)
{
	REQUIRE(args->all_count > 0);
	if (args->all_count == 1 && args->none_count == 0 && !args->ranges &&
	    args->check_count == 0) {
		*ret = args->all[0];
		return 0;
	}
	TRY(iter_new(cx, ITER_AND, ret, err));
	(*ret)->u.and = *args;
	return turn_ranges(cx, &(*ret)->u.and, err);
}

/* ---- leaves ------------------------------------------------------------------------- */

static size_t leaf_bind(const struct iter *it, int64_t key, struct sql_val v[5])
{
	const struct leaf *lf = &it->u.leaf;

	v[0] = SQL_I64(it->cx->oldest_first ? key : -key);
	v[1] = SQL_I64(lf->chunk);
	switch (lf->kind) {
	case LEAF_OWNER:
		v[2] = SQL_I64(it->cx->owner_id);
		return 3;
	case LEAF_KINDS:
		v[2] = SQL_I64(it->cx->owner_id);
		v[3] = SQL_I64(lf->a);
		v[4] = SQL_I64(lf->b);
		return 5;
	case LEAF_LABEL:
		v[2] = SQL_I64(lf->a);
		v[3] = SQL_I64(lf->b);
		return 4;
	case LEAF_TAG:
		v[2] = SQL_I64(lf->a);
		return 3;
	case LEAF_ENTITY:
		v[2] = SQL_I64(it->cx->owner_id);
		v[3] = SQL_BLOB(lf->id.p, lf->id.n);
		return 4;
	case LEAF_KIND_COUNT:
		break;
	}
	REQUIRE(!"a leaf of unknown kind");
	return 0;
}

/* Fetch more at once while nearly all of it is used, less while it is jumped over. */
static int leaf_room(struct iter *it, struct err *err)
{
	struct leaf *lf = &it->u.leaf;
	void *mem;

	if (lf->n > 0 && lf->hits * 2 >= lf->n && lf->chunk < CHUNK_MAX)
		lf->chunk *= 2;
	else if (lf->n > 0 && lf->hits * 4 < lf->n && lf->chunk > CHUNK_FIRST)
		lf->chunk /= 2;
	if (lf->chunk > lf->cap) {
		TRY(stream_mem(it->cx->arena, lf->chunk, sizeof *lf->keys, &mem, err));
		lf->keys = mem;
		lf->cap = lf->chunk;
	}
	return 0;
}

static int leaf_fill(struct iter *it, int64_t key, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct leaf *lf = &it->u.leaf;
	struct sql_val vals[5];
	bool row;

	TRY(leaf_room(it, err));
	lf->n = lf->pos = lf->hits = 0;
	TRY(sql_start_vals(&q, it->cx->conn, leaf_sql(lf->kind, it->cx->oldest_first), vals,
			   leaf_bind(it, key, vals), err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(lf->n < lf->cap);
		lf->keys[lf->n++] = iter_key(it->cx, sql_i64(&q, 0));
	}
	lf->is_last = lf->n < lf->chunk;
	it->cx->rows_read += lf->n;
	return 0;
}

static int leaf_seek(struct iter *it, int64_t key, int64_t *ret, struct err *err)
{
	struct leaf *lf = &it->u.leaf;

	while (lf->pos < lf->n && lf->keys[lf->pos] < key)
		lf->pos++;
	if (lf->pos == lf->n && !lf->is_last)
		TRY(leaf_fill(it, key, err));
	lf->hits++;
	*ret = lf->pos < lf->n ? lf->keys[lf->pos] : ITER_END;
	return 0;
}

/* ---- union -------------------------------------------------------------------------- */

static void heap_down(struct iter **heap, size_t n, size_t i)
{
	for (;;) {
		size_t least = i;

		for (size_t kid = 2 * i + 1; kid <= 2 * i + 2 && kid < n; kid++)
			if (heap[kid]->cur < heap[least]->cur)
				least = kid;
		if (least == i)
			return;
		struct iter *t = heap[i];
		heap[i] = heap[least];
		heap[least] = t;
		i = least;
	}
}

static int or_seek(struct iter *it, int64_t key, int64_t *ret, struct err *err)
{
	struct iter **heap = it->u.or.heap;
	size_t n = it->u.or.n;
	int64_t cur;

	if (!it->u.or.is_started) {
		for (size_t i = 0; i < n; i++)
			TRY(iter_seek(heap[i], key, &cur, err));
		for (size_t i = n / 2; i-- > 0;)
			heap_down(heap, n, i);
		it->u.or.is_started = true;
	}
	while (heap[0]->cur < key) {
		TRY(iter_seek(heap[0], key, &cur, err));
		heap_down(heap, n, 0);
	}
	*ret = heap[0]->cur;
	return 0;
}

/* ---- many labels -------------------------------------------------------------------- */

#define LABEL_OF_ROW_SQL "SELECT label_id, entity_kind FROM sighting WHERE seq = ?1 AND state = 0"

static size_t count_leaves(const struct wide_label *labels, size_t n)
{
	size_t leaves = 0;

	for (size_t i = 0; i < n; i++)
		leaves += (size_t)__builtin_popcount(labels[i].kinds);
	return leaves;
}

static int merge_labels(struct iter_ctx *cx, const struct wide_label *labels, size_t n,
			size_t leaves, struct iter **ret, struct err *err)
{
	struct iter **lists;
	size_t count = 0;
	void *mem;

	TRY(stream_mem(cx->arena, leaves, sizeof(struct iter *), &mem, err));
	lists = mem;
	for (size_t i = 0; i < n; i++) {
		for (uint32_t kind = 1; kind <= STREAM_KIND_MAX; kind++) {
			if (labels[i].kinds & STREAM_BIT(kind))
				TRY(iter_leaf(cx, LEAF_LABEL, labels[i].id, kind, STR(""),
					      &lists[count++], err));
		}
	}
	return iter_or(cx, lists, count, ret, err);
}

int iter_wide(struct iter_ctx *cx, struct iter *driver, const struct wide_label *labels, size_t n,
	      struct iter **ret, struct err *err)
{
	TRY(iter_new(cx, ITER_WIDE, ret, err));
	(*ret)->u.wide = (struct wide){
		.driver = driver, .labels = labels, .n = n, .leaves = count_leaves(labels, n)
	};
	return 0;
}

/* Is the row of one of the labels, and of a kind wanted with it? */
static int wide_holds(struct iter *it, int64_t key, bool *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	const struct wide *w = &it->u.wide;
	size_t lo = 0, hi = w->n;
	int64_t label;
	bool row;

	*ret = false;
	TRY(sql_start(&q, it->cx->conn, LABEL_OF_ROW_SQL, err,
		      SQL_I64(it->cx->oldest_first ? key : -key)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	label = sql_i64(&q, 0);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->labels[mid].id < label)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret = lo < w->n && w->labels[lo].id == label &&
	       (w->labels[lo].kinds & STREAM_BIT((uint32_t)sql_i64(&q, 1)));
	return 0;
}

static int wide_seek(struct iter *it, int64_t key, int64_t *ret, struct err *err)
{
	struct wide *w = &it->u.wide;
	bool holds;

	for (; !w->merged; key++) {
		TRY(iter_seek(w->driver, key, &key, err));
		if (key == ITER_END) {
			*ret = ITER_END;
			return 0;
		}
		TRY(wide_holds(it, key, &holds, err));
		if (holds) {
			w->taken++;
			*ret = key;
			return 0;
		}
		/* So the search in vain costs a part of what merging does, whatever comes. */
		if (++w->passed > w->taken + w->leaves / 4)
			TRY(merge_labels(it->cx, w->labels, w->n, w->leaves, &w->merged, err));
	}
	return iter_seek(w->merged, key, ret, err);
}

/* ---- intersection ------------------------------------------------------------------- */

static int64_t next_in_ranges(const struct iter_and_args *and, int64_t key)
{
	size_t lo = 0, hi = and->range_count;

	if (!and->ranges)
		return key;
	while (lo < hi) { /* the first range that does not end before key */
		size_t mid = lo + (hi - lo) / 2;

		if (and->ranges[mid].hi <= key)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == and->range_count)
		return ITER_END;
	return and->ranges[lo].lo > key ? and->ranges[lo].lo : key;
}

/* What filters look at. The rest of a row, snippets among it, may be long. */
#define ITEM_SQL                                                                                   \
	"SELECT s.date_s, s.source_kind, s.source_id, s.entity_kind, s.entity_id, s.tags, "        \
	"l.label FROM sighting s JOIN source_label l ON l.id = s.label_id "                        \
	"WHERE s.seq = ?1 AND s.state = 0"

static int check_item(const struct iter_and_args *and, const struct sql_query *q,
		      struct arena *scratch, bool *ret, struct err *err)
{
	struct stream_item item = { .date_s = sql_i64(q, 0),
				    .source_kind = (uint32_t)sql_i64(q, 1),
				    .source_id = sql_i64(q, 2),
				    .entity_kind = (uint32_t)sql_i64(q, 3),
				    .entity_id = sql_str(q, 4),
				    .label = sql_str(q, 6) };
	struct str *tags;

	TRY(stream_tags_parse(scratch, sql_str(q, 5), &tags, &item.tag_count, err));
	item.tags = tags;
	*ret = true;
	for (size_t i = 0; *ret && i < and->check_count; i++)
		*ret = filter_match(and->checks[i], &item) != and->checks_negated[i];
	return 0;
}

static int check_row(struct iter *it, int64_t key, bool *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct arena *scratch;
	bool row;
	int rc;

	*ret = false;
	TRY(sql_start(&q, it->cx->conn, ITEM_SQL, err, SQL_I64(it->cx->oldest_first ? key : -key)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	scratch = arena_new("stream check", 1024 * 1024);
	rc = check_item(&it->u.and, &q, scratch, ret, err);
	arena_free(scratch);
	return rc;
}

/* Is the key in nothing that is to be left out, and does every check hold? */
static int and_accepts(struct iter *it, int64_t key, bool *ret, struct err *err)
{
	const struct iter_and_args *and = &it->u.and;
	int64_t cur;

	*ret = false;
	for (size_t i = 0; i < and->none_count; i++) {
		TRY(iter_seek(and->none[i], key, &cur, err));
		if (cur == key)
			return 0;
	}
	*ret = true;
	return and->check_count > 0 ? check_row(it, key, ret, err) : 0;
}

static int and_seek(struct iter *it, int64_t key, int64_t *ret, struct err *err)
{
	const struct iter_and_args *and = &it->u.and;

	for (;;) {
		int64_t cur = next_in_ranges(and, key);
		bool is_accepted;

		/* Each in turn moves the key up; who moves it makes all others look again. */
		for (size_t i = 0; cur == key && i < and->all_count; i++)
			TRY(iter_seek(and->all[i], key, &cur, err));
		if (cur == ITER_END) {
			*ret = ITER_END;
			return 0;
		}
		if (cur > key) {
			key = cur;
			continue;
		}
		TRY(and_accepts(it, key, &is_accepted, err));
		if (is_accepted) {
			*ret = key;
			return 0;
		}
		key++;
	}
}

int iter_seek(struct iter *it, int64_t key, int64_t *ret, struct err *err)
{
	int64_t cur = ITER_END;

	if (!it->has_cur || it->cur < key) {
		switch (it->kind) {
		case ITER_NONE:
			break;
		case ITER_LEAF:
			TRY(leaf_seek(it, key, &cur, err));
			break;
		case ITER_OR:
			TRY(or_seek(it, key, &cur, err));
			break;
		case ITER_AND:
			TRY(and_seek(it, key, &cur, err));
			break;
		case ITER_WIDE:
			TRY(wide_seek(it, key, &cur, err));
			break;
		}
		it->cur = cur;
		it->has_cur = true;
	}
	*ret = it->cur;
	return 0;
}
