#include "query_internal.h"

#include "base/clock.h"
#include "index/gram.h"

enum {
	/*
	 * Rows of a run that take nothing away, one after the other, until it is left: what
	 * is still there most likely has it, and to verify costs less than to go on.
	 */
	QUIET_ROWS = 16,
	COLD_US = 1000,     /* for the rows of a run: then they came from a disk */
	TILES_AT_ONCE = 32, /* there is one for each class */
	LINE_BITS = ROW_LINE * 8,
	/* The share of all sets, in quarters, that what is kept for later may take. */
	SHARED_QUARTERS = 3
};

/* Columns are evaluated on their own, or a document's as one after each run. */
enum mode {
	BY_COLUMN,
	BY_DOC
};

static bool narrow(struct query *q, const struct plan_node *node, enum mode mode, uint64_t *set);

/* ---- runs --------------------------------------------------------------------------- */

/* Four rows over a matrix whose last line may go beyond them. */
static uint64_t and_rows(struct query *q, uint32_t row_bytes, uint8_t *set,
			 const uint8_t *const rows[ROW_AT_ONCE], uint64_t lines, bool *cut)
{
	unsigned whole = row_bytes / ROW_LINE, tail = row_bytes % ROW_LINE;
	uint64_t last = tail ? lines & 1ull << whole : 0;
	uint64_t left = q->kernel->and_rows(set, rows, lines ^ last, cut);
	uint8_t tails[ROW_AT_ONCE][ROW_LINE];
	const uint8_t *tail_rows[ROW_AT_ONCE];

	if (!last)
		return left;
	for (unsigned i = 0; i < ROW_AT_ONCE; i++) {
		memset(tails[i], 0, ROW_LINE);
		memcpy(tails[i], rows[i] + (size_t)whole * ROW_LINE, tail);
		tail_rows[i] = tails[i];
	}
	set += (size_t)whole * ROW_LINE;
	return left | q->kernel->and_rows(set, tail_rows, 1, cut) << whole;
}

/* The next grams of a run. */
void query_run_hashes(const struct plan *plan, const struct plan_run_rec *run,
		      struct query_run_rows *rows)
{
	const uint8_t *p = (const uint8_t *)run->run.bytes.p;
	unsigned left = run->gram_count - rows->known;
	unsigned n = left < ROW_AT_ONCE ? left : ROW_AT_ONCE;

	for (unsigned i = 0; i < n; i++, rows->known++) {
		uint16_t gram = plan->grams[run->grams + rows->known];
		const uint8_t *at = p + (gram & ~PLAN_GRAM_WIDE);
		uint32_t *hash = &rows->hashes[rows->known];

		if (gram & PLAN_GRAM_WIDE)
			REQUIRE(gram_wide4(at, hash));
		else
			*hash = gram_fold4(at);
	}
}

/* A matrix on its way through the rows of a run. */
struct run_tile {
	const struct segment_matrix *m;
	uint8_t *set;
	uint64_t lines; /* of the set that still have a bit */
	unsigned quiet; /* rows since the last one that took a bit away */
	unsigned asked; /* rows that were read ahead, from a disk */
	const uint8_t *rows[ROW_AT_ONCE];
};

/* Columns that are left. */
static uint32_t tile_columns(const struct run_tile *t)
{
	uint32_t columns = 0;

	for (uint64_t todo = t->lines; todo; todo &= todo - 1) {
		const uint8_t *line = t->set + (size_t)__builtin_ctzll(todo) * ROW_LINE;
		uint64_t words[QUERY_LINE_WORDS];

		memcpy(words, line, sizeof words);
		for (unsigned i = 0; i < QUERY_LINE_WORDS; i++)
			columns += row_bits(words[i]);
	}
	return columns;
}

/* The next n rows are found and on their way from memory. False: damaged. */
static bool rows_fetch(struct query *q, struct run_tile *t, const uint32_t *hashes, unsigned n)
{
	for (unsigned i = 0; i < ROW_AT_ONCE; i++) {
		if (i >= n) {
			t->rows[i] = t->rows[0];
			continue;
		}
		t->rows[i] = segment_row(q->seg, t->m, gram_row(hashes[i], t->m->class));
		if (!t->rows[i]) {
			q->block.is_damaged = true;
			return false;
		}
		__builtin_prefetch(t->rows[i]);
	}
	return true;
}

/* From the row `first` on: as many as most likely decide about what is left. */
static void rows_ahead(struct query *q, const struct plan_run_rec *run, struct query_run_rows *rows,
		       struct run_tile *tiles, unsigned n, unsigned first)
{
	for (unsigned k = 0; k < n; k++) {
		struct run_tile *t = &tiles[k];
		unsigned to = first + query_rows_for(q, tile_columns(t));

		if (t->asked > first)
			continue;
		for (t->asked = first; t->asked < to && t->asked < rows->count; t->asked++) {
			if (t->asked == rows->known)
				query_run_hashes(q->plan, run, rows);
			if (!query_ahead_row(q, t->m, rows->hashes[t->asked]))
				break;
		}
	}
	query_ahead_read(q);
}

/* The n tiles that are left after all rows, or after enough of them, remain. */
static bool run_tiles(struct query *q, const struct plan_run_rec *run, struct query_run_rows *rows,
		      struct run_tile *tiles, unsigned n, bool *any)
{
	for (unsigned i = 0; n > 0 && i < rows->count; i += ROW_AT_ONCE) {
		unsigned row_count = rows->count - i < ROW_AT_ONCE ? rows->count - i : ROW_AT_ONCE;
		unsigned left = 0;

		if (q->is_cold)
			rows_ahead(q, run, rows, tiles, n, i);
		if (i >= rows->known)
			query_run_hashes(q->plan, run, rows);
		/* First all of them, so that they come from memory together. */
		for (unsigned k = 0; k < n; k++)
			if (!rows_fetch(q, &tiles[k], rows->hashes + i, row_count))
				return false;
		for (unsigned k = 0; k < n; k++) {
			struct run_tile *t = &tiles[k];
			uint64_t bytes = (uint64_t)row_bits(t->lines) * ROW_LINE * row_count;
			bool cut = false;

			t->lines = and_rows(q, t->m->row_bytes, t->set, t->rows, t->lines, &cut);
			t->quiet = cut ? 0 : t->quiet + row_count;
			q->counters->rows += row_count;
			q->counters->row_bytes += bytes;
			if (!query_goes_on(q, bytes))
				return false;
			if (t->lines && t->quiet >= QUIET_ROWS)
				*any = true;
			else if (t->lines)
				tiles[left++] = *t;
		}
		n = left;
	}
	*any |= n > 0;
	return true;
}

/* Where it takes long, rows come from a disk: those of the next one are read ahead. */
static bool run_tiles_timed(struct query *q, const struct plan_run_rec *run,
			    struct query_run_rows *rows, struct run_tile *tiles, unsigned n,
			    bool *any)
{
	struct clock *clock = clock_system();
	int64_t start_us = clock_mono_us(clock);
	bool goes_on = run_tiles(q, run, rows, tiles, n, any);

	q->is_cold |= clock_mono_us(clock) - start_us > COLD_US;
	return goes_on;
}

static bool run_narrow(struct query *q, uint32_t number, uint64_t *set)
{
	const struct plan_run_rec *run = &q->plan->runs[number];
	struct query_run_rows rows = { .count = run->gram_count };
	struct run_tile tiles[TILES_AT_ONCE];
	unsigned n = 0;
	bool any = false;

	for (uint32_t i = 0; i < q->block.tile_count; i++) {
		const struct query_tile *t = &q->block.tiles[i];
		struct run_tile *to = &tiles[n];

		if (!t->m) { /* too short for any gram */
			memset(set + t->word, 0, (q->block.words - t->word) * 8);
			continue;
		}
		to->m = t->m;
		to->set = (uint8_t *)(set + t->word);
		to->lines = q->kernel->lines(to->set, (t->columns + LINE_BITS - 1) / LINE_BITS);
		to->quiet = 0;
		to->asked = 0;
		n += to->lines != 0;
		if (n == TILES_AT_ONCE) {
			if (!run_tiles_timed(q, run, &rows, tiles, n, &any))
				return false;
			n = 0;
		}
	}
	return run_tiles_timed(q, run, &rows, tiles, n, &any) && any;
}

/* ---- what is used more than once ---------------------------------------------------- */

typedef bool evaluate_fn(struct query *q, uint32_t number, uint64_t *set);

/* The whole block's value of something shared, evaluated when first asked for; NULL: no room. */
static const uint64_t *shared(struct query *q, uint32_t share, uint32_t number,
			      evaluate_fn *evaluate)
{
	uint64_t *set;

	if (q->shared[share])
		return q->shared[share];
	if (q->sets_made - q->sets_free > q->sets_max / 4 * SHARED_QUARTERS)
		return NULL;
	set = query_set_take(q);
	if (!set)
		return NULL;
	memcpy(set, q->block.alive, q->block.words * 8);
	(void)evaluate(q, number, set);
	q->shared[share] = set;
	q->shared_list[q->shared_count++] = share;
	return set;
}

static bool shared_narrow(struct query *q, uint32_t share, uint32_t number, evaluate_fn *evaluate,
			  uint64_t *set)
{
	const uint64_t *value = share ? shared(q, share, number, evaluate) : NULL;

	if (!value)
		return evaluate(q, number, set);
	return q->kernel->both(set, set, value, q->block.words);
}

/* ---- programs ----------------------------------------------------------------------- */

static bool or_narrow(struct query *q, const struct plan_node *node, enum mode mode, uint64_t *set)
{
	const uint32_t *children = q->plan->children + node->arg;
	uint64_t *found = query_set_take(q), *rest = query_set_take(q);
	size_t words = q->block.words;
	uint32_t ahead = 0; /* children before it were read ahead */
	bool any = true;

	if (found && rest) {
		any = false;
		memset(found, 0, words * 8);
		for (unsigned i = 0; i < node->n; i++) {
			if (!q->kernel->without(rest, set, found, words))
				break;
			if (i >= ahead)
				ahead = i + query_ahead_nodes(q, children + i, node->n - i, rest);
			if (!narrow(q, &q->plan->nodes[children[i]], mode, rest))
				continue;
			q->kernel->join(found, rest, words);
			any = true;
		}
		memcpy(set, found, words * 8);
	}
	query_set_give(q, rest);
	query_set_give(q, found);
	return any;
}

enum {
	DIGITS_MAX = 11, /* of a count up to PLAN_STACK_MAX */
	COUNTING_SETS = 3
};
_Static_assert(PLAN_STACK_MAX < 1 << DIGITS_MAX, "a counter has too few digits");

static bool at_least_counted(struct query *q, const struct plan_node *node, enum mode mode,
			     uint64_t *set, uint64_t *const *planes, unsigned digits,
			     uint64_t *const sets[COUNTING_SETS])
{
	const uint32_t *children = q->plan->children + node->arg;
	const struct row_kernel *kernel = q->kernel;
	uint64_t *done = sets[0], *open = sets[1], *value = sets[2];
	size_t words = q->block.words;
	unsigned ahead = 0, first = node->n - node->k + 1u; /* so many must fail */

	for (unsigned i = 0; i < digits; i++)
		memset(planes[i], 0, words * 8);
	memset(done, 0, words * 8);
	memcpy(open, set, words * 8);
	for (unsigned i = 0; i < node->n; i++) {
		unsigned left = node->n - i - 1u; /* children after this one */

		if (i >= ahead)
			ahead = i + query_ahead_nodes(q, children + i,
						      (i < first ? first : node->n) - i, open);
		memcpy(value, open, words * 8);
		if (narrow(q, &q->plan->nodes[children[i]], mode, value)) {
			kernel->count(planes, digits, value, words);
			if (kernel->at_least(value, value, planes, digits, node->k, words))
				kernel->join(done, value, words);
		}
		/* Neither what has enough nor what can no longer get it. */
		if (!kernel->without(open, open, done, words))
			break;
		if (left < node->k &&
		    !kernel->at_least(open, open, planes, digits, node->k - left, words))
			break;
	}
	return kernel->both(set, done, done, words);
}

static bool at_least_narrow(struct query *q, const struct plan_node *node, enum mode mode,
			    uint64_t *set)
{
	unsigned digits = 32u - (unsigned)__builtin_clz(node->k);
	uint64_t *sets[COUNTING_SETS + DIGITS_MAX] = { NULL };
	bool has_all = true, any = true;

	REQUIRE(digits >= 1 && digits <= DIGITS_MAX);
	for (unsigned i = 0; i < COUNTING_SETS + digits; i++) {
		sets[i] = query_set_take(q);
		has_all &= sets[i] != NULL;
	}
	if (has_all)
		any = at_least_counted(q, node, mode, set, sets + COUNTING_SETS, digits, sets);
	for (unsigned i = 0; i < COUNTING_SETS + digits; i++)
		query_set_give(q, sets[i]);
	return any;
}

static bool and_narrow(struct query *q, const struct plan_node *node, enum mode mode, uint64_t *set)
{
	const uint32_t *children = q->plan->children + node->arg;

	for (unsigned i = 0; i < node->n; i++)
		if (!narrow(q, &q->plan->nodes[children[i]], mode, set))
			return false;
	return true;
}

/* Rules that others name were evaluated before them, or there was no room for their sets. */
static bool rule_narrow(struct query *q, uint32_t rule, uint64_t *set)
{
	const uint64_t *value = q->shared[q->plan->rules[rule].share];

	return value ? q->kernel->both(set, set, value, q->block.words) : true;
}

static bool narrow(struct query *q, const struct plan_node *node, enum mode mode, uint64_t *set)
{
	bool any;

	/* Nothing counts any more of a block that is damaged, or of a query that ends. */
	if (q->block.is_damaged || !query_goes_on(q, q->block.words * 8))
		return false;
	switch ((enum plan_kind)node->kind) {
	case PLAN_TRUE:
		return true;
	case PLAN_FALSE:
		memset(set, 0, q->block.words * 8);
		return false;
	case PLAN_AND:
		return and_narrow(q, node, mode, set);
	case PLAN_OR:
		return or_narrow(q, node, mode, set);
	case PLAN_ATLEAST:
		return at_least_narrow(q, node, mode, set);
	case PLAN_RUN:
		any = shared_narrow(q, q->plan->runs[node->arg].share, node->arg, run_narrow, set);
		if (any && mode == BY_DOC)
			query_set_spread(q, set);
		return any;
	case PLAN_STRING:
		return query_string(q, node->arg, set);
	case PLAN_RULE:
		return rule_narrow(q, node->arg, set);
	case PLAN_PRED:
		return shared_narrow(q, q->plan->pred_shares[node->arg], node->arg, query_pred,
				     set);
	}
	REQUIRE(false);
}

static bool string_narrow(struct query *q, uint32_t string, uint64_t *set)
{
	const struct plan_string_rec *rec = &q->plan->strings[string];
	bool has_spreads = q->block.spread_count > 0;
	bool by_doc = has_spreads && !rec->string.is_local;
	bool any = narrow(q, &q->plan->nodes[rec->root], by_doc ? BY_DOC : BY_COLUMN, set);

	if (any && has_spreads && !by_doc)
		query_set_spread(q, set);
	return any;
}

bool query_string(struct query *q, uint32_t string, uint64_t *set)
{
	const struct plan_string_rec *rec = &q->plan->strings[string];
	bool is_shared = rec->refs > 1 || q->filter->wants_details;

	return shared_narrow(q, is_shared ? rec->share : 0, string, string_narrow, set);
}

static bool rule_evaluate(struct query *q, uint32_t rule, uint64_t *set)
{
	return narrow(q, &q->plan->nodes[q->plan->rules[rule].root], BY_DOC, set);
}

bool query_rule(struct query *q, uint32_t rule, uint64_t *set)
{
	const struct plan_rule_rec *rec = &q->plan->rules[rule];
	bool is_shared = rec->refs > 0 || q->filter->wants_details;

	return shared_narrow(q, is_shared ? rec->share : 0, rule, rule_evaluate, set);
}

void query_shared_rules(struct query *q)
{
	for (uint32_t i = 0; i < q->plan->rule_count; i++)
		if (q->plan->rules[i].refs > 0)
			(void)shared(q, q->plan->rules[i].share, i, rule_evaluate);
}

void query_shared_end(struct query *q)
{
	while (q->shared_count > 0) {
		uint32_t share = q->shared_list[--q->shared_count];

		query_set_give(q, q->shared[share]);
		q->shared[share] = NULL;
	}
}
