#include "query_internal.h"

#include <stdlib.h>

#include "base/mem.h"

static bool bits_and(uint64_t *to, const uint64_t *bits, uint32_t n)
{
	uint64_t any = 0;

	for (uint32_t i = 0; i * 64 < n; i++)
		any |= to[i] &= bits[i];
	return any != 0;
}

/* ---- the filter --------------------------------------------------------------------- */

/* Whether one that is removed right now is still seen does not matter. */
static uint64_t dead_word(const struct query *q, uint64_t word)
{
	if (word * 64 >= segment_docs(q->seg))
		return 0;
	return atomic_load_explicit(&q->filter->dead[word], memory_order_relaxed);
}

static void dead_drop(const struct query *q, const struct segment_block *b, uint64_t *bits)
{
	unsigned shift = b->doc_first % 64;

	for (uint32_t i = 0; i * 64 < b->doc_count; i++) {
		uint64_t word = (uint64_t)b->doc_first / 64 + i;

		bits[i] &= ~(dead_word(q, word) >> shift);
		if (shift)
			bits[i] &= ~(dead_word(q, word + 1) << (64 - shift));
	}
}

/* The documents that are in the corpus that is asked for. */
static void corpus_bits(const struct query *q, const struct segment_block *b, uint64_t *bits)
{
	uint32_t words = (b->doc_count + 63) / 64;

	if (b->corpora == 1u << q->filter->corpus) {
		memset(bits, 0xff, words * 8ull);
	} else {
		const uint8_t *corpora = segment_corpora(q->seg) + b->doc_first;

		query_column_ahead(q, corpora, b->doc_count);
		q->kernel->byte_bits(bits, corpora, b->doc_count, 0);
		for (uint32_t i = 0; i < words && q->filter->corpus == SEGMENT_MAIN; i++)
			bits[i] = ~bits[i];
	}
	if (b->doc_count % 64)
		bits[words - 1] &= (1ull << b->doc_count % 64) - 1;
}

static bool corpus_is_there(const struct query *q, const struct segment_block *b)
{
	return b->corpora >> q->filter->corpus & 1;
}

bool query_filter_block(struct query *q, const struct segment_block *b)
{
	const uint64_t sign = 1ull
			      << 63; /* flipped, signed numbers are in order as unsigned ones */
	const struct query_filter *f = q->filter;
	uint64_t *alive = q->doc_alive, *bits = q->doc_bits;
	uint32_t n = b->doc_count;
	bool any = true;

	if (b->size_min > f->size_max || b->first_seen_min_s > f->end_s || b->id_min > f->last_id ||
	    b->id_max < f->first_id || !corpus_is_there(q, b))
		return false;
	corpus_bits(q, b, alive);
	q->is_all_alive = b->corpora == 1u << f->corpus && b->id_min >= f->first_id &&
			  b->id_max <= f->last_id && b->first_seen_max_s <= f->end_s &&
			  b->size_max <= f->size_max && !f->dead;
	if (b->id_min < f->first_id || b->id_max > f->last_id) {
		const uint64_t *ids = (const uint64_t *)segment_file_ids(q->seg) + b->doc_first;

		query_column_ahead(q, ids, n * sizeof *ids);
		q->kernel->between(bits, ids, n, (uint64_t)f->first_id ^ sign,
				   (uint64_t)f->last_id ^ sign, sign);
		any = bits_and(alive, bits, n);
	}
	if (any && b->first_seen_max_s > f->end_s) {
		const uint64_t *seen = (const uint64_t *)segment_first_seen(q->seg) + b->doc_first;

		query_column_ahead(q, seen, n * sizeof *seen);
		q->kernel->between(bits, seen, n, 0, (uint64_t)f->end_s ^ sign, sign);
		any = bits_and(alive, bits, n);
	}
	if (any && b->size_max > f->size_max) {
		const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;

		query_column_ahead(q, sizes, n * sizeof *sizes);
		q->kernel->between(bits, sizes, n, 0, f->size_max, 0);
		any = bits_and(alive, bits, n);
	}
	if (any && f->dead) {
		dead_drop(q, b, alive);
		any = bits_and(alive, alive, n);
	}
	if (b->flags & SEGMENT_DOC_ALWAYS) {
		const uint8_t *flags = segment_flags(q->seg) + b->doc_first;

		query_column_ahead(q, flags, n);
		q->kernel->byte_bits(q->doc_always, flags, n,
				     (unsigned)__builtin_ctz(SEGMENT_DOC_ALWAYS));
		(void)bits_and(q->doc_always, alive, n);
	} else {
		memset(q->doc_always, 0, ((size_t)n + 63) / 64 * 8);
	}
	return any;
}

/* ---- predicates --------------------------------------------------------------------- */

static void size_bits(const struct query *q, const struct plan_pred *p, uint64_t *bits)
{
	const struct segment_block *b = q->block.b;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;

	query_column_ahead(q, sizes, b->doc_count * sizeof *sizes);
	q->kernel->between(bits, sizes, b->doc_count, p->least, p->most, 0);
}

static void head_bits(const struct query *q, const struct plan_pred *p, uint64_t *bits)
{
	const struct segment_block *b = q->block.b;
	uint64_t long_enough[SEGMENT_BLOCK_DOCS / 64];

	query_column_ahead(q, segment_heads(q->seg)[b->doc_first],
			   (size_t)b->doc_count * SEGMENT_HEAD_BYTES);
	q->kernel->pairs(bits, segment_heads(q->seg)[b->doc_first], b->doc_count, p->value,
			 p->mask);
	if (b->size_min < p->least) {
		size_bits(q, p, long_enough);
		(void)bits_and(bits, long_enough, b->doc_count);
	}
}

/* All documents of a feature, once for each query. */
static void feature_read(struct query *q, struct query_feature *f, uint64_t hash)
{
	uint32_t n = 0;

	f->is_read = true;
	f->is_lost = true;
	if (segment_features_version(q->seg) == q->filter->features_version &&
	    segment_feature(q->seg, hash, NULL, 0, &n, NULL) == 0 &&
	    q->feature_bytes + n * sizeof *f->docs <= QUERY_FEATURE_BYTES &&
	    mem_try_array((void **)&f->docs, n, sizeof *f->docs, NULL) == 0) {
		f->is_lost = segment_feature(q->seg, hash, f->docs, n, &f->count, NULL) != 0 ||
			     f->count > n;
		q->feature_bytes += n * sizeof *f->docs;
	}
	q->counters->features_lost += f->is_lost;
}

static uint32_t first_at_least(const struct query_feature *f, uint32_t doc)
{
	uint32_t low = 0, high = f->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (f->docs[middle] < doc)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* False: it narrows nothing. */
static bool feature_bits(struct query *q, uint32_t pred, uint64_t *bits)
{
	struct query_feature *f = &q->features[pred];
	const struct segment_block *b = q->block.b;

	if (!f->is_read)
		feature_read(q, f, q->plan->preds[pred].feature);
	if (f->is_lost)
		return false;
	if (b->flags & SEGMENT_DOC_NO_FEATURES) {
		query_column_ahead(q, segment_flags(q->seg) + b->doc_first, b->doc_count);
		q->kernel->byte_bits(bits, segment_flags(q->seg) + b->doc_first, b->doc_count,
				     (unsigned)__builtin_ctz(SEGMENT_DOC_NO_FEATURES));
	} else {
		memset(bits, 0, ((size_t)b->doc_count + 63) / 64 * 8);
	}
	for (uint32_t i = first_at_least(f, b->doc_first); i < f->count; i++) {
		uint32_t doc = f->docs[i] - b->doc_first;

		if (doc >= b->doc_count)
			break;
		bits[doc / 64] |= 1ull << doc % 64;
	}
	return true;
}

bool query_pred(struct query *q, uint32_t pred, uint64_t *set)
{
	const struct plan_pred *p = &q->plan->preds[pred];
	const struct segment_block *b = q->block.b;
	uint64_t *bits = q->doc_bits;
	uint64_t *value;
	bool any;

	if (b->size_max < p->least || b->size_min > p->most) {
		memset(set, 0, q->block.words * 8);
		return false;
	}
	switch ((enum plan_pred_kind)p->kind) {
	case PLAN_PRED_SIZE:
		if (b->size_min >= p->least && b->size_max <= p->most)
			return true;
		size_bits(q, p, bits);
		break;
	case PLAN_PRED_BYTES:
		head_bits(q, p, bits);
		break;
	case PLAN_PRED_FEATURE:
		if (!feature_bits(q, pred, bits))
			return true;
		break;
	}
	if (!query_goes_on(q, b->doc_count * sizeof(uint64_t)))
		return false;
	value = query_set_take(q);
	if (!value)
		return true;
	query_set_of_docs(q, bits, value);
	any = q->kernel->both(set, set, value, q->block.words);
	query_set_give(q, value);
	return any;
}

void query_docs_sum(const struct query *q, const uint64_t *bits, uint64_t *docs, uint64_t *bytes)
{
	const struct segment_block *b = q->block.b;
	uint32_t n = 0;

	for (uint32_t word = 0; word * 64 < b->doc_count; word++)
		n += row_bits(bits[word]);
	*docs += n;
	if (n == b->doc_count) {
		*bytes += b->sample_bytes;
	} else if (n > 0) {
		const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;

		query_column_ahead(q, sizes, b->doc_count * sizeof *sizes);
		*bytes += q->kernel->sum(sizes, bits, b->doc_count);
	}
}
