#include "index/query.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "query_internal.h"

enum {
	ASK_AFTER = 8 << 20, /* bytes gone through between two questions whether to go on */
	SETS_MIN = 32,       /* whatever the size of one */
	CANDIDATES_FIRST = 64,
};

/* ---- what it runs with -------------------------------------------------------------- */

uint64_t *query_set_take(struct query *q)
{
	void *set;

	if (q->sets_free > 0)
		return q->free[--q->sets_free];
	if (q->sets_made == q->sets_max || posix_memalign(&set, ROW_LINE, q->set_words * 8) != 0)
		return NULL;
	q->sets_made++;
	return set;
}

void query_set_give(struct query *q, uint64_t *set)
{
	if (set)
		q->free[q->sets_free++] = set;
}

static bool ask(struct query *q)
{
	q->work = 0;
	if (!q->is_stopped && q->filter->goes_on && !q->filter->goes_on(q->filter->arg))
		q->is_stopped = true;
	return !q->is_stopped;
}

bool query_goes_on(struct query *q, uint64_t bytes)
{
	q->work += bytes;
	return q->work < ASK_AFTER ? !q->is_stopped : ask(q);
}

static int by_cost(const void *a, const void *b, void *arg)
{
	const struct plan *plan = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint32_t cx = plan->nodes[plan->rules[x].root].cost;
	uint32_t cy = plan->nodes[plan->rules[y].root].cost;

	return cx != cy ? (cx < cy ? -1 : 1) : (x > y) - (x < y);
}

/* The rules that are looked for, and their groups. */
static void rules_choose(struct query *q)
{
	const struct plan *plan = q->plan;

	for (uint32_t i = 0; i < plan->rule_count; i++) {
		uint8_t group = q->filter->groups[i];

		if (group == QUERY_NO_GROUP || plan->rules[i].rule.flags & PLAN_RULE_PRIVATE)
			continue;
		REQUIRE(group < QUERY_GROUPS);
		q->groups_used |= 1ull << group;
		q->rules[q->rule_count++] = i;
	}
	/* What is always true leaves nothing to ask for in its group. */
	qsort_r(q->rules, q->rule_count, sizeof *q->rules, by_cost, (void *)(uintptr_t)plan);
}

static int tables_make(struct query *q, struct err *err)
{
	const struct plan *plan = q->plan;
	struct query_block *block = &q->block;
	size_t matrices = 0;
	uint32_t docs = 1;

	for (uint32_t i = 0; i < segment_blocks(q->seg); i++) {
		const struct segment_block *b = segment_block_at(q->seg, i);
		size_t words = query_block_words(b);

		q->set_words = words > q->set_words ? words : q->set_words;
		matrices = b->matrix_count > matrices ? b->matrix_count : matrices;
		docs = b->doc_count > docs ? b->doc_count : docs;
	}
	q->set_words = q->set_words ? q->set_words : QUERY_LINE_WORDS;
	q->sets_max = (uint32_t)(QUERY_SCRATCH_BYTES / (q->set_words * 8));
	q->sets_max = q->sets_max < SETS_MIN ? SETS_MIN : q->sets_max;
	TRY(mem_try_alloc((void **)&q->free, q->sets_max * sizeof *q->free, err));
	TRY(mem_try_array((void **)&q->shared, plan->share_count + 1u, sizeof *q->shared, err));
	TRY(mem_try_array((void **)&q->shared_list, plan->share_count, sizeof *q->shared_list,
			  err));
	TRY(mem_try_array((void **)&q->features, plan->pred_count, sizeof *q->features, err));
	TRY(mem_try_array((void **)&q->rules, plan->rule_count, sizeof *q->rules, err));
	TRY(mem_try_alloc((void **)&q->masks, docs * sizeof *q->masks, err));
	TRY(mem_try_array((void **)&q->doc_bits, QUERY_DOC_WORDS, sizeof *q->doc_bits, err));
	TRY(mem_try_array((void **)&q->doc_alive, QUERY_DOC_WORDS, sizeof *q->doc_alive, err));
	TRY(mem_try_array((void **)&q->doc_found, QUERY_DOC_WORDS, sizeof *q->doc_found, err));
	TRY(mem_try_array((void **)&q->doc_always, QUERY_DOC_WORDS, sizeof *q->doc_always, err));
	TRY(mem_try_alloc((void **)&block->bare, docs * sizeof *block->bare, err));
	/* One more for the documents without columns. */
	TRY(mem_try_array((void **)&block->tiles, matrices + 1, sizeof *block->tiles, err));
	block->alive = query_set_take(q);
	return block->alive ? 0 : err_set(err, ERR_NO_MEMORY, "sets of a query");
}

static void query_end(struct query *q)
{
	query_set_give(q, q->block.alive);
	REQUIRE(q->sets_free == q->sets_made);
	while (q->sets_free > 0)
		free(q->free[--q->sets_free]);
	for (uint32_t i = 0; q->features && i < q->plan->pred_count; i++)
		free(q->features[i].docs);
	free(q->free);
	free(q->shared);
	free(q->shared_list);
	free(q->features);
	free(q->rules);
	free(q->masks);
	free(q->doc_bits);
	free(q->doc_alive);
	free(q->doc_always);
	free(q->doc_found);
	free(q->block.bare);
	free(q->block.tiles);
	free(q->block.spreads);
	free(q->block.places);
	query_ahead_release(q);
}

/* ---- a block ------------------------------------------------------------------------ */

static void left_of(struct query *q, const uint64_t *set, struct query_left *left)
{
	query_set_docs(q, set, q->doc_bits);
	for (uint32_t i = 0; i * 64 < q->block.b->doc_count; i++)
		q->doc_bits[i] |= q->doc_always[i];
	query_docs_sum(q, q->doc_bits, &left->docs, &left->bytes);
}

/* What each string and rule leaves; of a damaged block everything. */
static void details_block(struct query *q)
{
	struct query_answer *answer = q->answer;
	const struct plan *plan = q->plan;
	uint64_t *set = query_set_take(q);

	for (uint32_t i = 0; i < plan->string_count + plan->rule_count && !q->is_stopped; i++) {
		bool is_rule = i >= plan->string_count;
		uint32_t number = is_rule ? i - plan->string_count : i;
		struct query_left *left =
			is_rule ? &answer->rules[number] : &answer->strings[number];
		uint64_t rows = q->counters->rows, row_bytes = q->counters->row_bytes;

		if (set && !q->block.is_damaged) {
			memcpy(set, q->block.alive, q->block.words * 8);
			(void)(is_rule ? query_rule : query_string)(q, number, set);
		}
		left_of(q, set && !q->block.is_damaged ? set : q->block.alive, left);
		if (is_rule)
			continue;
		left->rows += q->counters->rows - rows;
		left->row_bytes += q->counters->row_bytes - row_bytes;
	}
	query_set_give(q, set);
}

/* What rule `rule` leaves of what its group does not have yet is added to the group. */
static void group_add(struct query *q, uint32_t rule, uint64_t *set)
{
	unsigned group = q->filter->groups[rule];
	uint64_t **found = &q->groups[group];
	size_t words = q->block.words;

	if (q->groups_all >> group & 1)
		return;
	if (!*found) {
		*found = query_set_take(q);
		if (*found)
			memset(*found, 0, words * 8);
	}
	if (!set || !*found || q->plan->rules[rule].root == PLAN_TRUE ||
	    !q->kernel->without(set, q->block.alive, *found, words)) {
		q->groups_all |= 1ull << group;
		return;
	}
	if (query_rule(q, rule, set)) {
		q->kernel->join(*found, set, words);
		q->groups_some |= 1ull << group;
	}
}

static void groups_evaluate(struct query *q)
{
	uint64_t *set = query_set_take(q);
	uint32_t ahead = 0; /* rules before it were read ahead */

	for (uint32_t i = 0; i < q->rule_count; i++) {
		if (q->block.is_damaged || q->is_stopped)
			break;
		if (i >= ahead)
			ahead = i + query_ahead_rules(q, q->rules + i, q->rule_count - i,
						      q->block.alive);
		group_add(q, q->rules[i], set);
	}
	query_set_give(q, set);
	if (q->block.is_damaged)
		q->groups_all = q->groups_used;
}

static void mask_add(struct query *q, const uint64_t *bits, uint64_t mask)
{
	for (uint32_t word = 0; word * 64 < q->block.b->doc_count && mask; word++) {
		if (bits[word] == 0)
			continue;
		q->has_found = true;
		for (uint64_t todo = bits[word]; todo; todo &= todo - 1) {
			unsigned bit = (unsigned)__builtin_ctzll(todo);
			uint64_t had =
				q->doc_found[word] >> bit & 1 ? q->masks[word * 64 + bit] : 0;

			q->masks[word * 64 + bit] = had | mask;
		}
		q->doc_found[word] |= bits[word];
	}
}

static int candidates_reserve(struct query *q, uint32_t more, struct err *err)
{
	struct query_answer *answer = q->answer;
	size_t need = (size_t)answer->count + more;
	size_t cap = 2 * q->candidate_cap;
	struct query_candidate *grown = NULL;

	if (need <= q->candidate_cap)
		return 0;
	cap = cap < CANDIDATES_FIRST ? CANDIDATES_FIRST : cap;
	cap = cap < need ? need : cap;
	TRY(mem_try_array((void **)&grown, cap, sizeof *grown, err));
	if (answer->count > 0)
		memcpy(grown, answer->candidates, answer->count * sizeof *grown);
	free(answer->candidates);
	answer->candidates = grown;
	q->candidate_cap = cap;
	return 0;
}

/* The documents with a mask become candidates. */
static int candidates_add(struct query *q, struct err *err)
{
	const struct segment_block *b = q->block.b;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;
	struct query_answer *answer = q->answer;
	uint32_t n = 0;

	if (!q->has_found)
		return 0;
	q->has_found = false;
	query_column_ahead(q, sizes, b->doc_count * sizeof *sizes);
	for (uint32_t word = 0; word * 64 < b->doc_count; word++)
		n += row_bits(q->doc_found[word]);
	TRY(candidates_reserve(q, n, err));
	for (uint32_t word = 0; word * 64 < b->doc_count; word++) {
		for (uint64_t todo = q->doc_found[word]; todo; todo &= todo - 1) {
			uint32_t doc = word * 64 + (uint32_t)__builtin_ctzll(todo);

			answer->candidates[answer->count++] =
				(struct query_candidate){ .doc = b->doc_first + doc,
							  .groups = q->masks[doc] };
			q->counters->candidate_bytes += sizes[doc];
		}
		q->doc_found[word] = 0;
	}
	q->counters->candidates += n;
	return 0;
}

static void groups_end(struct query *q)
{
	for (unsigned g = 0; g < QUERY_GROUPS; g++) {
		bool is_all = q->groups_all >> g & 1;

		if (is_all) {
			mask_add(q, q->doc_alive, 1ull << g);
		} else if (q->groups_some >> g & 1) {
			query_set_docs(q, q->groups[g], q->doc_bits);
			mask_add(q, q->doc_bits, 1ull << g);
		}
		query_set_give(q, q->groups[g]);
		q->groups[g] = NULL;
	}
	q->groups_all = q->groups_some = 0;
}

static int block_run(struct query *q, const struct segment_block *b, struct err *err)
{
	q->counters->blocks++;
	query_ahead_begin(q, b);
	if (!query_filter_block(q, b)) {
		q->counters->blocks_pruned++;
		return 0;
	}
	TRY(query_block_begin(q, b, err));
	if (q->is_all_alive) {
		q->counters->docs += b->doc_count;
		q->counters->doc_bytes += b->sample_bytes;
	} else {
		query_docs_sum(q, q->doc_alive, &q->counters->docs, &q->counters->doc_bytes);
	}
	query_shared_rules(q);
	if (q->filter->wants_details)
		details_block(q);
	groups_evaluate(q);
	groups_end(q);
	query_shared_end(q);
	q->counters->blocks_damaged += q->block.is_damaged;
	if (b->flags & SEGMENT_DOC_ALWAYS)
		mask_add(q, q->doc_always, q->groups_used);
	return candidates_add(q, err);
}

/* ---- the whole ---------------------------------------------------------------------- */

/* A rule costs what its strings cost. */
static void rules_cost(const struct plan *plan, struct query_answer *answer)
{
	for (uint32_t i = 0; i < plan->string_count; i++) {
		struct query_left *rule = &answer->rules[plan->strings[i].string.rule];

		rule->rows += answer->strings[i].rows;
		rule->row_bytes += answer->strings[i].row_bytes;
	}
}

static int query_blocks(struct query *q, struct err *err)
{
	TRY(tables_make(q, err));
	rules_choose(q);
	for (uint32_t i = 0; i < segment_blocks(q->seg); i++) {
		if (!ask(q))
			break;
		TRY(block_run(q, segment_block_at(q->seg, i), err));
	}
	return q->is_stopped ? err_set(err, ERR_CLOSED, "the query was stopped") : 0;
}

static void answer_drop(struct query_answer *answer)
{
	query_answer_release(answer);
}

int query_run(const struct plan *plan, struct segment *seg, const struct query_filter *filter,
	      struct query_answer *ret, struct err *err)
{
	AUTO(answer_drop) struct query_answer answer = { 0 };
	struct query q = { .plan = plan, .seg = seg, .filter = filter, .kernel = row_kernel() };
	int64_t start_us = clock_mono_us(clock_system());
	int rc;

	if (filter->wants_details) {
		TRY(mem_try_array((void **)&answer.strings, plan->string_count,
				  sizeof *answer.strings, err));
		TRY(mem_try_array((void **)&answer.rules, plan->rule_count, sizeof *answer.rules,
				  err));
	}
	q.answer = &answer;
	q.counters = &answer.counters;
	rc = query_blocks(&q, err);
	query_end(&q);
	TRY(rc);
	if (filter->wants_details)
		rules_cost(plan, &answer);
	answer.counters.us = (uint64_t)(clock_mono_us(clock_system()) - start_us);
	*ret = answer;
	answer = (struct query_answer){ 0 };
	return 0;
}

void query_answer_release(struct query_answer *answer)
{
	free(answer->candidates);
	free(answer->strings);
	free(answer->rules);
	*answer = (struct query_answer){ 0 };
}

void query_counters_add(struct query_counters *sum, const struct query_counters *c)
{
	sum->blocks += c->blocks;
	sum->blocks_pruned += c->blocks_pruned;
	sum->blocks_damaged += c->blocks_damaged;
	sum->rows += c->rows;
	sum->row_bytes += c->row_bytes;
	sum->docs += c->docs;
	sum->doc_bytes += c->doc_bytes;
	sum->candidates += c->candidates;
	sum->candidate_bytes += c->candidate_bytes;
	sum->features_lost += c->features_lost;
	sum->us += c->us;
}

void query_left_add(struct query_left *sum, const struct query_left *l)
{
	sum->docs += l->docs;
	sum->bytes += l->bytes;
	sum->rows += l->rows;
	sum->row_bytes += l->row_bytes;
}
