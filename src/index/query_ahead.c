#include "query_internal.h"

#include <stdlib.h>

#include "base/mem.h"

/*
 * A row that is not in memory is a page of its own and a wait for it. So, as long as rows
 * seem to come from a disk, those that will be looked at are gathered: of a run in all
 * matrices, and of all runs that an operator may look at; then they are sorted and asked for
 * in few large reads. Advice only: what is not asked for is read when it is looked at.
 *
 * What is between two pages is read with them where that costs less than another read.
 * GAP_PAGES is what a read costs beside its bytes: 52 KB of a disk with 4,000 reads and
 * 210 MB a second, 30 KB of a fast one, more of one that turns. So no page is read twice,
 * and a matrix of which many rows are wanted is read in sequence: the index is a tenth of
 * the samples, so whatever the rules are, it costs less than to read those.
 */
enum {
	GAP_PAGES = 16,
	SAMPLED = 2,  /* matrices that tell whether rows are in memory */
	PROBES = 4,   /* pages looked for before so many are asked for */
	NEAR_MAX = 4, /* in a row that were in memory: then the next ones are, too */
	TILES_MAX = 64,
	FULL = 1000 /* fill is per thousand */
};

void query_ahead_release(struct query *q)
{
	free(q->ahead.pages);
}

/* Is one of the first rows of a run not in memory, in the largest matrices? */
static bool is_run_far(struct query *q, const struct segment_block *b, uint32_t number)
{
	const struct plan_run_rec *run = &q->plan->runs[number];
	struct query_run_rows rows = { .count = run->gram_count };

	query_run_hashes(q->plan, run, &rows);
	for (uint32_t i = 0; i < b->matrix_count && i < SAMPLED && i < rows.known; i++) {
		const struct segment_matrix *m = &b->matrices[b->matrix_count - 1 - i];
		uint32_t row = gram_row(rows.hashes[i], m->class);

		if (!segment_page_is_near(q->seg, segment_row_pages(m, row).first))
			return true;
	}
	return false;
}

void query_ahead_begin(struct query *q, const struct segment_block *b)
{
	if (q->has_sampled)
		return;
	q->has_sampled = true;
	if (q->plan->run_count == 0) {
		uint32_t page =
			segment_column_pages(q->seg, segment_sizes(q->seg) + b->doc_first, 1).first;

		q->is_cold = !segment_page_is_near(q->seg, page);
		return;
	}
	q->is_cold = is_run_far(q, b, 0);
}

void query_column_ahead(const struct query *q, const void *from, size_t bytes)
{
	if (q->is_cold)
		segment_read_ahead(q->seg, segment_column_pages(q->seg, from, bytes));
}

/* ---- Pages -------------------------------------------------------------------------- */

bool query_ahead_row(struct query *q, const struct segment_matrix *m, uint32_t hash)
{
	struct query_ahead *a = &q->ahead;
	struct segment_pages p = segment_row_pages(m, gram_row(hash, m->class));

	if (!a->pages &&
	    mem_try_alloc((void **)&a->pages, QUERY_AHEAD_PAGES * sizeof *a->pages, NULL) != 0)
		return false;
	if (a->count + p.count > QUERY_AHEAD_PAGES)
		return false;
	for (uint32_t i = 0; i < p.count; i++)
		a->pages[a->count++] = p.first + i;
	return true;
}

static int by_page(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void pages_sort(struct query_ahead *a)
{
	uint32_t n = 0;

	qsort(a->pages, a->count, sizeof *a->pages, by_page);
	for (uint32_t i = 0; i < a->count; i++)
		if (n == 0 || a->pages[n - 1] != a->pages[i])
			a->pages[n++] = a->pages[i];
	a->count = n;
}

/* One of those that lie far apart. */
static bool is_far(const struct query *q)
{
	const struct query_ahead *a = &q->ahead;

	for (uint32_t i = 1; i <= PROBES; i++)
		if (!segment_page_is_near(q->seg, a->pages[(uint64_t)(a->count - 1) * i / PROBES]))
			return true;
	return false;
}

/* The pages that are read where gaps up to so many are; asked for, or counted only. */
static uint64_t pages_read(struct query *q, uint32_t gap, bool asks)
{
	const struct query_ahead *a = &q->ahead;
	uint64_t sum = 0;

	for (uint32_t i = 0, to; i < a->count; i = to) {
		struct segment_pages pages = { .first = a->pages[i] };

		to = i + 1;
		while (to < a->count && a->pages[to] - a->pages[to - 1] <= gap + 1)
			to++;
		pages.count = a->pages[to - 1] - pages.first + 1;
		sum += pages.count;
		if (!asks)
			continue;
		/* What waits for the disk can be given up, too. */
		if (!query_goes_on(q, (uint64_t)(pages.count + GAP_PAGES) * SEGMENT_PAGE_BYTES))
			break;
		segment_read_ahead(q->seg, pages);
	}
	return sum;
}

/* What was looked for was in memory: after some times of it, it is taken for warm. */
static void note_near(struct query *q)
{
	if (++q->ahead.near < NEAR_MAX)
		return;
	q->ahead.near = 0;
	q->is_cold = false;
}

void query_ahead_read(struct query *q)
{
	uint32_t gap = GAP_PAGES;

	if (q->ahead.count == 0)
		return;
	pages_sort(&q->ahead);
	if (is_far(q)) {
		while (gap > 0 && pages_read(q, gap, false) > QUERY_AHEAD_PAGES)
			gap /= 2;
		pages_read(q, gap, true);
		q->ahead.near = 0;
	} else {
		note_near(q);
	}
	q->ahead.count = 0;
}

/* ---- Rows of runs ------------------------------------------------------------------- */

unsigned query_rows_for(const struct query *q, uint32_t columns)
{
	unsigned fill = segment_fill_max(q->seg); /* of those without the gram a row leaves this */
	uint64_t left = (uint64_t)columns * FULL;
	unsigned rows = 0;

	for (; left > FULL / 2 && rows < PLAN_GRAMS_MAX; rows++)
		left = left * fill / FULL;
	rows = (rows + ROW_AT_ONCE / 2) / ROW_AT_ONCE * ROW_AT_ONCE;
	return rows > ROW_AT_ONCE ? rows : ROW_AT_ONCE;
}

/* What is gathered for: the matrices that have columns in the set. */
struct gathering {
	struct query *q;
	const struct segment_matrix *matrices[TILES_MAX];
	uint8_t rows[TILES_MAX];
	unsigned n;
};

static void gathering_begin(struct gathering *g, struct query *q, const uint64_t *set)
{
	const struct query_block *block = &q->block;

	g->q = q;
	g->n = 0;
	for (uint32_t i = 0; i < block->tile_count && g->n < TILES_MAX; i++) {
		const struct query_tile *t = &block->tiles[i];
		uint32_t left = 0;

		for (uint32_t word = 0; t->m && word * 64 < t->columns; word++)
			left += row_bits(set[t->word + word]);
		if (left == 0)
			continue;
		g->matrices[g->n] = t->m;
		g->rows[g->n++] = (uint8_t)query_rows_for(q, left);
	}
}

static bool gather_run(struct gathering *g, uint32_t number)
{
	struct query *q = g->q;
	const struct plan_run_rec *run = &q->plan->runs[number];
	struct query_run_rows rows = { .count = run->gram_count };

	for (unsigned k = 0; k < g->n; k++) {
		unsigned n = g->rows[k] < rows.count ? g->rows[k] : rows.count;

		while (rows.known < n)
			query_run_hashes(q->plan, run, &rows);
		for (unsigned i = 0; i < n; i++)
			if (!query_ahead_row(q, g->matrices[k], rows.hashes[i]))
				return false;
	}
	return true;
}

/*
 * What the first look at a node needs: all children of an "or", the first of an "and". What
 * is decided by predicates comes when they have narrowed the set. false: no more room.
 */
static bool gather(struct gathering *g, uint32_t number)
{
	const struct plan *plan = g->q->plan;
	const struct plan_node *node = &plan->nodes[number];
	uint32_t n;

	switch ((enum plan_kind)node->kind) {
	case PLAN_RUN:
		return g->q->shared[plan->runs[node->arg].share] || gather_run(g, node->arg);
	case PLAN_STRING:
		return g->q->shared[plan->strings[node->arg].share] ||
		       gather(g, plan->strings[node->arg].root);
	case PLAN_AND:
		return gather(g, plan->children[node->arg]);
	case PLAN_OR:
	case PLAN_ATLEAST:
		/* So many must fail before nothing is left to be found. */
		n = node->kind == PLAN_OR ? node->n : node->n - node->k + 1u;
		for (uint32_t i = 0; i < n; i++)
			if (!gather(g, plan->children[node->arg + i]))
				return false;
		return true;
	case PLAN_TRUE:
	case PLAN_FALSE:
	case PLAN_RULE:
	case PLAN_PRED:
		break;
	}
	return true;
}

/* The run that is looked at first; false: there is none. */
static bool first_run(const struct plan *plan, uint32_t number, uint32_t *ret)
{
	for (;;) {
		const struct plan_node *node = &plan->nodes[number];

		switch ((enum plan_kind)node->kind) {
		case PLAN_RUN:
			*ret = node->arg;
			return true;
		case PLAN_STRING:
			number = plan->strings[node->arg].root;
			break;
		case PLAN_AND:
		case PLAN_OR:
		case PLAN_ATLEAST:
			number = plan->children[node->arg];
			break;
		case PLAN_TRUE:
		case PLAN_FALSE:
		case PLAN_RULE:
		case PLAN_PRED:
			return false;
		}
	}
}

/* To gather costs more than a look at what would come first. */
static bool is_worth_it(struct query *q, uint32_t node)
{
	uint32_t run;

	if (!q->is_cold)
		return false;
	if (!first_run(q->plan, node, &run) || is_run_far(q, q->block.b, run))
		return true;
	note_near(q);
	return false;
}

uint32_t query_ahead_nodes(struct query *q, const uint32_t *nodes, uint32_t n, const uint64_t *set)
{
	struct gathering g;
	uint32_t i = 0;

	if (!is_worth_it(q, nodes[0]))
		return 0;
	gathering_begin(&g, q, set);
	while (i < n && gather(&g, nodes[i]))
		i++;
	query_ahead_read(q);
	/* One that does not fit alone is read ahead in parts, where it is evaluated. */
	return i > 0 ? i : 1;
}

uint32_t query_ahead_rules(struct query *q, const uint32_t *rules, uint32_t n, const uint64_t *set)
{
	struct gathering g;
	uint32_t i = 0;

	if (!is_worth_it(q, q->plan->rules[rules[0]].root))
		return 0;
	gathering_begin(&g, q, set);
	while (i < n && gather(&g, q->plan->rules[rules[i]].root))
		i++;
	query_ahead_read(q);
	return i > 0 ? i : 1;
}
