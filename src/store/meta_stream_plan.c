#include <stdlib.h>
#include "meta_stream_internal.h"
#include "base/hex.h"

/*
 * From a filter to iterators.
 *
 * A conjunction is gathered first: dates become ranges of seq, kinds of source
 * and entity two sets of bits, names and source ids a set of labels. One leaf per
 * pair of kinds, or per label and kind of entity, is then exact for all of these
 * at once, because the indexes hold the kinds before seq. Tags and entities are
 * leaves of their own, disjunctions are built below with the kinds known here,
 * and negations are sets to leave out. Where nothing narrows, the owner's whole
 * stream drives.
 */

#define LABELS_SQL "SELECT id, source_kind, kinds, label FROM source_label WHERE owner_id = ?1"
#define LABELS_OF_SOURCE_SQL                                                                       \
	"SELECT id, source_kind, kinds, label FROM source_label WHERE owner_id = ?1 "              \
	"AND source_kind = ?2 AND source_id = ?3"
#define TAG_SQL "SELECT id, tag FROM stream_tag WHERE owner_id = ?1 AND tag = ?2"
#define TAGS_FROM_SQL                                                                              \
	"SELECT id, tag FROM stream_tag WHERE owner_id = ?1 AND tag >= ?2 ORDER BY tag"
#define SEQ_OF_DATE_SQL                                                                            \
	"SELECT seq FROM sighting INDEXED BY sighting_date WHERE date_s >= ?1 "                    \
	"ORDER BY date_s, seq LIMIT 1"
#define FILE_OF_MD5_SQL "SELECT sha256 FROM file WHERE md5 = ?1"
#define FILE_OF_SHA1_SQL "SELECT sha256 FROM file WHERE sha1 = ?1"
#define DELETIONS_SQL "SELECT filter, seq_max FROM stream_delete WHERE owner_id = ?1 AND done = 0"

enum {
	MERGED_LABELS_MAX = 24 /* lists that are merged at once; 3 us each to begin */
};

struct label {
	int64_t id;
	uint32_t source_kind;
	uint32_t kinds; /* bits of the entity kinds it was ever seen with */
};

struct labels {
	struct label *v; /* by id */
	size_t n, cap;
	bool is_too_many;
};

struct iters {
	struct iter **v;
	size_t n, cap;
};

struct node_list {
	const struct filter_node **node;
	bool *negated;
	size_t n, cap;
};

/* A conjunction while it is gathered. */
struct group {
	struct iter_ctx *cx;
	uint32_t source_kinds, entity_kinds;
	bool has_labels;
	struct labels labels;
	struct seq_range *ranges; /* NULL: anywhere */
	size_t range_count;
	struct iters all, none;
	struct node_list later; /* what is built when the kinds are known */
	struct node_list checks;
};

static int build(struct iter_ctx *cx, const struct filter_node *node, bool negated,
		 uint32_t source_kinds, uint32_t entity_kinds, struct iter **ret, struct err *err);

/* ---- growing arrays in the arena ----------------------------------------------------- */

static int grow(struct iter_ctx *cx, void *array, size_t n, size_t *cap, size_t size,
		struct err *err)
{
	void **p = array;
	void *mem;

	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 8;
	TRY(stream_mem(cx->arena, more, size, &mem, err));
	if (n > 0)
		memcpy(mem, *p, n * size);
	*p = mem;
	*cap = more;
	return 0;
}

static int iters_add(struct iter_ctx *cx, struct iters *to, struct iter *it, struct err *err)
{
	TRY(grow(cx, &to->v, to->n, &to->cap, sizeof(struct iter *), err));
	to->v[to->n++] = it;
	return 0;
}

static int add_leaf(struct iter_ctx *cx, struct iters *to, enum leaf_kind kind, int64_t a,
		    int64_t b, struct str id, struct err *err)
{
	struct iter *it;

	TRY(iter_leaf(cx, kind, a, b, id, &it, err));
	return iters_add(cx, to, it, err);
}

static int list_add(struct iter_ctx *cx, struct node_list *to, const struct filter_node *node,
		    bool negated, struct err *err)
{
	size_t cap = to->cap;

	TRY(grow(cx, &to->node, to->n, &cap, sizeof(struct filter_node *), err));
	TRY(grow(cx, &to->negated, to->n, &to->cap, sizeof(bool), err));
	to->node[to->n] = node;
	to->negated[to->n++] = negated;
	return 0;
}

/* ---- dates --------------------------------------------------------------------------- */

static int seq_of_date(struct iter_ctx *cx, int64_t date_s, int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	if (date_s == INT64_MIN) {
		*ret = 0;
		return 0;
	}
	*ret = INT64_MAX;
	if (date_s == INT64_MAX)
		return 0;
	TRY(sql_start(&q, cx->conn, SEQ_OF_DATE_SQL, err, SQL_I64(date_s)));
	TRY(sql_next(&q, &row, err));
	if (row)
		*ret = sql_i64(&q, 0);
	return 0;
}

int plan_dates(struct iter_ctx *cx, int64_t lo, int64_t hi, struct seq_range *ret, struct err *err)
{
	/* Dates never fall as seq grows, so a span of time is a span of numbers. */
	TRY(seq_of_date(cx, lo, &ret->lo, err));
	return seq_of_date(cx, hi, &ret->hi, err);
}

/* Intersect the group's ranges with `with` (ascending, apart). */
static int add_ranges(struct group *g, const struct seq_range *with, size_t n, struct err *err)
{
	struct seq_range *out;
	size_t count = 0;
	void *mem;

	if (!g->ranges) {
		TRY(stream_mem(g->cx->arena, 1, sizeof *g->ranges, &mem, err));
		g->ranges = mem;
		g->ranges[0] = (struct seq_range){ 0, INT64_MAX };
		g->range_count = 1;
	}
	TRY(stream_mem(g->cx->arena, g->range_count + n, sizeof *out, &mem, err));
	out = mem;
	for (size_t i = 0, k = 0; i < g->range_count && k < n;) {
		int64_t lo = g->ranges[i].lo > with[k].lo ? g->ranges[i].lo : with[k].lo;
		int64_t hi = g->ranges[i].hi < with[k].hi ? g->ranges[i].hi : with[k].hi;

		if (lo < hi)
			out[count++] = (struct seq_range){ lo, hi };
		if (g->ranges[i].hi < with[k].hi)
			i++;
		else
			k++;
	}
	g->ranges = out;
	g->range_count = count;
	return 0;
}

static int add_dates(struct group *g, const struct filter_node *term, bool negated, struct err *err)
{
	struct seq_range r[2];

	TRY(plan_dates(g->cx, term->lo, term->hi, &r[0], err));
	if (!negated)
		return add_ranges(g, r, 1, err);
	r[1] = (struct seq_range){ r[0].hi, INT64_MAX };
	r[0] = (struct seq_range){ 0, r[0].lo };
	return add_ranges(g, r, 2, err);
}

/* ---- labels -------------------------------------------------------------------------- */

/* Does the label's name hold for the term? A source id was looked up already. */
static bool label_holds(const struct filter_node *term, struct str label)
{
	return term->field->column == STREAM_COL_SOURCE_ID || filter_words_within(term, label);
}

static int read_labels(struct iter_ctx *cx, struct sql_query *q, const struct filter_node *term,
		       uint32_t source_kinds, struct labels *out, struct err *err)
{
	bool row;

	for (;;) {
		TRY(sql_next(q, &row, err));
		if (!row)
			return 0;
		struct label l = { sql_i64(q, 0), (uint32_t)sql_i64(q, 1),
				   (uint32_t)sql_i64(q, 2) };
		if (!(source_kinds & STREAM_BIT(l.source_kind)) ||
		    !label_holds(term, sql_str(q, 3)))
			continue;
		if (out->n == STREAM_LEAVES_MAX) {
			out->is_too_many = true;
			return 0;
		}
		TRY(grow(cx, &out->v, out->n, &out->cap, sizeof *out->v, err));
		out->v[out->n++] = l;
	}
}

static int by_id(const void *a, const void *b)
{
	const struct label *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* The labels that a term on source id, source name or anything picks. */
static int find_labels(struct iter_ctx *cx, const struct filter_node *term, uint32_t source_kinds,
		       struct labels *out, struct err *err)
{
	*out = (struct labels){ 0 };
	if (term->field->column == STREAM_COL_SOURCE_ID) {
		for (uint32_t kind = 1; kind <= STREAM_KIND_MAX; kind++) {
			AUTO(sql_end) struct sql_query q = { 0 };

			if (!(term->mask & source_kinds & STREAM_BIT(kind)) || term->id < 0)
				continue;
			TRY(sql_start(&q, cx->conn, LABELS_OF_SOURCE_SQL, err,
				      SQL_I64(cx->owner_id), SQL_I64(kind), SQL_I64(term->id)));
			TRY(read_labels(cx, &q, term, source_kinds, out, err));
		}
	} else {
		AUTO(sql_end) struct sql_query q = { 0 };

		TRY(sql_start(&q, cx->conn, LABELS_SQL, err, SQL_I64(cx->owner_id)));
		TRY(read_labels(cx, &q, term, source_kinds, out, err));
	}
	if (out->n > 1)
		qsort(out->v, out->n, sizeof *out->v, by_id);
	return 0;
}

static bool labels_have(const struct labels *set, const struct label *l)
{
	return set->n > 0 && bsearch(l, set->v, set->n, sizeof *l, by_id) != NULL;
}

/* Keep those that are in `with` (keep) or are not (!keep). */
static void labels_keep(struct labels *set, const struct labels *with, bool keep)
{
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++)
		if (labels_have(with, &set->v[i]) == keep)
			set->v[n++] = set->v[i];
	set->n = n;
}

/* One list for each pair of kinds that are wanted; all of the owner's if all are. */
static int kind_leaves(struct iter_ctx *cx, uint32_t source_kinds, uint32_t entity_kinds,
		       struct iters *to, struct err *err)
{
	if ((source_kinds & entity_kinds & STREAM_KINDS_ALL) == STREAM_KINDS_ALL)
		return add_leaf(cx, to, LEAF_OWNER, 0, 0, STR(""), err);
	for (uint32_t source = 1; source <= STREAM_KIND_MAX; source++)
		for (uint32_t entity = 1; entity <= STREAM_KIND_MAX; entity++)
			if ((source_kinds & STREAM_BIT(source)) &&
			    (entity_kinds & STREAM_BIT(entity)))
				TRY(add_leaf(cx, to, LEAF_KINDS, source, entity, STR(""), err));
	return 0;
}

static int wide_labels(struct iter_ctx *cx, const struct wide_label *labels, size_t n,
		       uint32_t source_kinds, uint32_t entity_kinds, struct iters *to,
		       struct err *err)
{
	struct iters kinds = { 0 };
	struct iter *driver, *it;

	TRY(kind_leaves(cx, source_kinds, entity_kinds, &kinds, err));
	TRY(iter_or(cx, kinds.v, kinds.n, &driver, err));
	TRY(iter_wide(cx, driver, labels, n, &it, err));
	return iters_add(cx, to, it, err);
}

/* The sightings of a set of labels: a list for each, or for many of them one that looks at rows. */
static int label_iters(struct iter_ctx *cx, const struct labels *set, uint32_t source_kinds,
		       uint32_t entity_kinds, struct iters *to, struct err *err)
{
	struct wide_label *wanted;
	size_t n = 0, leaves = 0;
	void *mem;

	TRY(stream_mem(cx->arena, set->n, sizeof *wanted, &mem, err));
	wanted = mem;
	for (size_t i = 0; i < set->n; i++) {
		const struct label *l = &set->v[i];
		uint32_t kinds = l->kinds & entity_kinds & STREAM_KINDS_ALL;

		if (!(source_kinds & STREAM_BIT(l->source_kind)) || !kinds)
			continue;
		leaves += (size_t)__builtin_popcount(kinds);
		wanted[n++] = (struct wide_label){ l->id, kinds };
	}
	if (leaves > MERGED_LABELS_MAX && !cx->reads_all)
		return wide_labels(cx, wanted, n, source_kinds, entity_kinds, to, err);
	for (size_t i = 0; i < n; i++)
		for (uint32_t kind = 1; kind <= STREAM_KIND_MAX; kind++)
			if (wanted[i].kinds & STREAM_BIT(kind))
				TRY(add_leaf(cx, to, LEAF_LABEL, wanted[i].id, kind, STR(""), err));
	return 0;
}

/* ---- tags and entities --------------------------------------------------------------- */

/* *ret_wide: more than STREAM_LEAVES_MAX tags; the leaves do not tell then. */
static int tag_leaves(struct iter_ctx *cx, const struct filter_node *term, struct iters *to,
		      bool *ret_wide, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct str prefix = { term->tag.p, str_find(term->tag, FILTER_STAR) };
	uint8_t *sha256;
	size_t count = 0;
	void *mem;
	bool row;

	TRY(sql_start(&q, cx->conn, term->has_star ? TAGS_FROM_SQL : TAG_SQL, err,
		      SQL_I64(cx->owner_id), SQL_TEXT(prefix)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row || !str_starts(sql_str(&q, 1), prefix))
			break;
		if (term->has_star && !filter_glob(term->tag, sql_str(&q, 1)))
			continue;
		if (count++ == STREAM_LEAVES_MAX) {
			*ret_wide = true;
			return 0;
		}
		TRY(add_leaf(cx, to, LEAF_TAG, sql_i64(&q, 0), 0, STR(""), err));
	}
	TRY(stream_mem(cx->arena, 1, SHA256_BYTES, &mem, err));
	sha256 = mem;
	if (!hex_decode(term->tag, sha256, SHA256_BYTES))
		return 0;
	return add_leaf(cx, to, LEAF_ENTITY, 0, 0, str_make(sha256, SHA256_BYTES), err);
}

static int files_of_hash(struct iter_ctx *cx, struct str hex, struct iters *to, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t bytes = hex.n / 2;
	uint8_t raw[SHA1_BYTES];
	void *mem;
	bool row;

	REQUIRE(bytes <= sizeof raw && hex_decode(hex, raw, bytes));
	TRY(sql_start(&q, cx->conn, bytes == MD5_BYTES ? FILE_OF_MD5_SQL : FILE_OF_SHA1_SQL, err,
		      SQL_BLOB(raw, bytes)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		TRY(stream_mem(cx->arena, 1, SHA256_BYTES, &mem, err));
		REQUIRE(sql_str(&q, 0).n == SHA256_BYTES);
		memcpy(mem, sql_str(&q, 0).p, SHA256_BYTES);
		TRY(add_leaf(cx, to, LEAF_ENTITY, 0, 0, str_make(mem, SHA256_BYTES), err));
	}
}

static int entity_leaves(struct iter_ctx *cx, const struct filter_entity *e, struct iters *to,
			 struct err *err)
{
	switch (e->kind) {
	case FILTER_ENTITY_NONE:
		return 0;
	case FILTER_ENTITY_SHA256:
		return add_leaf(cx, to, LEAF_ENTITY, 0, 0, str_make(e->sha256, SHA256_BYTES), err);
	case FILTER_ENTITY_HASH:
		return files_of_hash(cx, e->text, to, err);
	case FILTER_ENTITY_TEXT:
		return add_leaf(cx, to, LEAF_ENTITY, 0, 0, e->text, err);
	}
	return 0;
}

/* The leaves whose union is a term on tag, entity, name or anything. */
static int term_leaves(struct iter_ctx *cx, const struct filter_node *term, uint32_t source_kinds,
		       uint32_t entity_kinds, struct iters *to, bool *ret_wide, struct err *err)
{
	enum stream_column column = (enum stream_column)term->field->column;
	struct labels labels;

	if (column == STREAM_COL_LABEL || column == STREAM_COL_SOURCE_ID ||
	    column == STREAM_COL_ANY) {
		TRY(find_labels(cx, term, source_kinds, &labels, err));
		*ret_wide = *ret_wide || labels.is_too_many;
		TRY(label_iters(cx, &labels, source_kinds, entity_kinds, to, err));
	}
	if (column == STREAM_COL_TAG || column == STREAM_COL_ANY)
		TRY(tag_leaves(cx, term, to, ret_wide, err));
	if (column == STREAM_COL_ENTITY || column == STREAM_COL_ANY)
		TRY(entity_leaves(cx, &term->entity, to, err));
	return 0;
}

/* ---- conjunctions -------------------------------------------------------------------- */

/* NOT of a union: each part is left out on its own. */
static int add_negated(struct group *g, const struct filter_node *term, struct err *err)
{
	struct iters leaves = { 0 };
	bool wide = false;

	TRY(term_leaves(g->cx, term, STREAM_KINDS_ALL, STREAM_KINDS_ALL, &leaves, &wide, err));
	if (wide)
		return list_add(g->cx, &g->checks, term, true, err);
	if (leaves.n == 0)
		return 0;
	struct iter *all;
	TRY(iter_or(g->cx, leaves.v, leaves.n, &all, err));
	return iters_add(g->cx, &g->none, all, err);
}

static int add_labels(struct group *g, const struct filter_node *term, struct err *err)
{
	struct labels found;

	TRY(find_labels(g->cx, term, STREAM_KINDS_ALL, &found, err));
	if (found.is_too_many)
		return list_add(g->cx, &g->checks, term, false, err);
	if (g->has_labels)
		labels_keep(&g->labels, &found, true);
	else
		g->labels = found;
	g->has_labels = true;
	return 0;
}

static int collect_term(struct group *g, const struct filter_node *term, bool negated,
			struct err *err)
{
	uint32_t mask = negated ? ~term->mask : term->mask;

	switch ((enum stream_column)term->field->column) {
	case STREAM_COL_DATE:
		return add_dates(g, term, negated, err);
	case STREAM_COL_SOURCE_KIND:
		g->source_kinds &= mask;
		return 0;
	case STREAM_COL_ENTITY_KIND:
		g->entity_kinds &= mask;
		return 0;
	case STREAM_COL_SOURCE_ID:
	case STREAM_COL_LABEL:
		return negated ? add_negated(g, term, err) : add_labels(g, term, err);
	case STREAM_COL_TAG:
	case STREAM_COL_ENTITY:
	case STREAM_COL_ANY:
		return negated ? add_negated(g, term, err)
			       : list_add(g->cx, &g->later, term, false, err);
	}
	return err_set(err, ERR_INVALID, "filter: a key of another list");
}

/* The union of terms on one kind column is a mask: true and *ret_mask. */
static bool is_mask(const struct filter_node *node, bool negated, int *ret_column,
		    uint32_t *ret_mask)
{
	while (node->op == FILTER_NOT) {
		node = node->kids[0];
		negated = !negated;
	}
	if (node->op != FILTER_TERM || node->field->kind != FILTER_ENUM)
		return false;
	if (*ret_column >= 0 && *ret_column != node->field->column)
		return false;
	*ret_column = node->field->column;
	*ret_mask |= negated ? ~node->mask : node->mask;
	return true;
}

static int collect_union(struct group *g, const struct filter_node *node, bool negated,
			 struct err *err)
{
	int column = -1;
	uint32_t mask = 0;

	for (uint32_t i = 0; i < node->kid_count; i++)
		if (!is_mask(node->kids[i], negated, &column, &mask))
			return list_add(g->cx, &g->later, node, negated, err);
	if (column == STREAM_COL_SOURCE_KIND)
		g->source_kinds &= mask;
	else
		g->entity_kinds &= mask;
	return 0;
}

static int collect(struct group *g, const struct filter_node *node, bool negated, struct err *err)
{
	switch (node->op) {
	case FILTER_ALL:
		if (negated)
			g->source_kinds = 0;
		return 0;
	case FILTER_TERM:
		return collect_term(g, node, negated, err);
	case FILTER_NOT:
		return collect(g, node->kids[0], !negated, err);
	case FILTER_AND:
	case FILTER_OR:
		if ((node->op == FILTER_OR) != negated)
			return collect_union(g, node, negated, err);
		for (uint32_t i = 0; i < node->kid_count; i++)
			TRY(collect(g, node->kids[i], negated, err));
		return 0;
	}
	return 0;
}

static int add_union(struct group *g, struct iters *parts, struct err *err)
{
	struct iter *it;

	TRY(iter_or(g->cx, parts->v, parts->n, &it, err));
	return iters_add(g->cx, &g->all, it, err);
}

/* Tags, entities, text and disjunctions, now that the kinds around them are known. */
static int build_later(struct group *g, struct err *err)
{
	for (size_t i = 0; i < g->later.n; i++) {
		const struct filter_node *node = g->later.node[i];
		struct iters parts = { 0 };
		bool wide = false;

		if (node->op == FILTER_TERM) {
			TRY(term_leaves(g->cx, node, g->source_kinds, g->entity_kinds, &parts,
					&wide, err));
			if (wide) {
				TRY(list_add(g->cx, &g->checks, node, false, err));
				continue;
			}
		}
		for (uint32_t k = 0; node->op != FILTER_TERM && k < node->kid_count; k++) {
			struct iter *it;

			TRY(build(g->cx, node->kids[k], g->later.negated[i], g->source_kinds,
				  g->entity_kinds, &it, err));
			TRY(iters_add(g->cx, &parts, it, err));
		}
		TRY(add_union(g, &parts, err));
	}
	return 0;
}

/* Labels are exact for the kinds too; otherwise the kinds need leaves of their own. */
static int build_kinds(struct group *g, struct err *err)
{
	struct iters parts = { 0 };

	if (g->has_labels) {
		TRY(label_iters(g->cx, &g->labels, g->source_kinds, g->entity_kinds, &parts, err));
		return add_union(g, &parts, err);
	}
	if (g->source_kinds == STREAM_KINDS_ALL && g->entity_kinds == STREAM_KINDS_ALL &&
	    g->all.n > 0)
		return 0;
	TRY(kind_leaves(g->cx, g->source_kinds, g->entity_kinds, &parts, err));
	return add_union(g, &parts, err);
}

static int finish(struct group *g, struct iter **ret, struct err *err)
{
	g->source_kinds &= STREAM_KINDS_ALL;
	g->entity_kinds &= STREAM_KINDS_ALL;
	if (g->source_kinds == 0 || g->entity_kinds == 0 || (g->ranges && g->range_count == 0) ||
	    (g->has_labels && g->labels.n == 0))
		return iter_none(g->cx, ret, err);
	TRY(build_later(g, err));
	TRY(build_kinds(g, err));
	struct iter_and_args args = {
		.all = g->all.v,
		.all_count = g->all.n,
		.none = g->none.v,
		.none_count = g->none.n,
		.ranges = g->ranges,
		.range_count = g->range_count,
		.checks = g->checks.node,
		.checks_negated = g->checks.negated,
		.check_count = g->checks.n,
	};
	return iter_and(g->cx, &args, ret, err);
}

static int build(struct iter_ctx *cx, const struct filter_node *node, bool negated,
		 uint32_t source_kinds, uint32_t entity_kinds, struct iter **ret, struct err *err)
{
	struct group g = { .cx = cx, .source_kinds = source_kinds, .entity_kinds = entity_kinds };

	TRY(collect(&g, node, negated, err));
	return finish(&g, ret, err);
}

int plan_filter(struct iter_ctx *cx, const struct filter_node *filter, int64_t seq_max,
		struct iter **except, size_t except_count, struct iter **ret, struct err *err)
{
	struct group g = { .cx = cx,
			   .source_kinds = STREAM_KINDS_ALL,
			   .entity_kinds = STREAM_KINDS_ALL };
	const struct seq_range upto = { 0, seq_max + 1 };

	if (filter)
		TRY(collect(&g, filter, false, err));
	if (seq_max >= 0)
		TRY(add_ranges(&g, &upto, 1, err));
	for (size_t i = 0; i < except_count; i++)
		TRY(iters_add(cx, &g.none, except[i], err));
	return finish(&g, ret, err);
}

int plan_deletions(struct iter_ctx *cx, const struct filter_env *env, struct iter ***ret,
		   size_t *ret_count, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct iters found = { 0 };
	bool row;

	TRY(sql_start(&q, cx->conn, DELETIONS_SQL, err, SQL_I64(cx->owner_id)));
	for (;;) {
		const struct filter_node *filter;
		struct iter *it;

		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		TRY(filter_parse(&filter, cx->arena, &stream_schema, sql_str(&q, 0), env, err));
		TRY(plan_filter(cx, filter, sql_i64(&q, 1), NULL, 0, &it, err));
		TRY(iters_add(cx, &found, it, err));
	}
	*ret = found.v;
	*ret_count = found.n;
	return 0;
}
