#include "query_internal.h"

#include <stdlib.h>

#include "base/le.h"
#include "base/mem.h"

/* Bits by document, `n` of them from `first` on of a column of the segment. */
#define DOC_BITS(to, n, test)                                                                      \
	for (uint32_t doc_ = 0; doc_ < (n);) {                                                     \
		uint32_t end_ = (n)-doc_ < 64 ? (n) : doc_ + 64;                                   \
		uint64_t word_ = 0;                                                                \
		uint32_t word_at_ = doc_ / 64;                                                     \
		for (unsigned bit_ = 0; doc_ < end_; doc_++, bit_++) {                             \
			uint32_t d = doc_;                                                         \
			word_ |= (uint64_t)(test) << bit_;                                         \
		}                                                                                  \
		(to)[word_at_] = word_;                                                            \
	}

static void bits_fill(uint64_t *bits, uint32_t n)
{
	memset(bits, 0xff, n / 64 * 8);
	if (n % 64)
		bits[n / 64] = (1ull << n % 64) - 1;
}

static bool bits_and(uint64_t *to, const uint64_t *bits, uint32_t n)
{
	uint64_t any = 0;

	for (uint32_t i = 0; i * 64 < n; i++)
		any |= to[i] &= bits[i];
	return any != 0;
}

/* ---- the filter --------------------------------------------------------------------- */

static void dead_drop(const struct query *q, const struct segment_block *b, uint64_t *bits)
{
	const _Atomic uint64_t *dead = q->filter->dead;

	for (uint32_t i = 0; i < b->doc_count; i++) {
		uint32_t doc = b->doc_first + i;

		/* Whether one that is removed right now is still seen does not matter. */
		if (atomic_load_explicit(&dead[doc / 64], memory_order_relaxed) >> doc % 64 & 1)
			bits[i / 64] &= ~(1ull << i % 64);
	}
}

bool query_filter_block(struct query *q, const struct segment_block *b)
{
	const struct query_filter *f = q->filter;
	uint64_t *alive = q->doc_alive, *bits = q->doc_bits;
	uint32_t n = b->doc_count;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;
	const uint8_t *corpora = segment_corpora(q->seg) + b->doc_first;
	const int64_t *ids = segment_file_ids(q->seg) + b->doc_first;
	const int64_t *seen = segment_first_seen(q->seg) + b->doc_first;
	const uint8_t *flags = segment_flags(q->seg) + b->doc_first;
	const uint8_t corpus = (uint8_t)f->corpus;
	bool any;

	if (n == 0 || b->size_min > f->size_max || b->first_seen_min_s > f->end_s)
		return false;
	memset(alive, 0, QUERY_DOC_WORDS * 8);
	DOC_BITS(alive, n, corpora[d] == corpus);
	bits_fill(bits, n);
	any = bits_and(alive, bits, n);
	if (any &&
	    (segment_first_id(q->seg) < f->first_id || segment_last_id(q->seg) > f->last_id)) {
		DOC_BITS(bits, n, ids[d] >= f->first_id && ids[d] <= f->last_id);
		any = bits_and(alive, bits, n);
	}
	if (any && f->end_s != INT64_MAX) {
		DOC_BITS(bits, n, seen[d] <= f->end_s);
		any = bits_and(alive, bits, n);
	}
	if (any && b->size_max > f->size_max) {
		DOC_BITS(bits, n, sizes[d] <= f->size_max);
		any = bits_and(alive, bits, n);
	}
	if (any && f->dead) {
		dead_drop(q, b, alive);
		any = bits_and(alive, alive, n);
	}
	DOC_BITS(q->doc_always, n, (flags[d] & SEGMENT_DOC_ALWAYS) != 0);
	(void)bits_and(q->doc_always, alive, n);
	return any;
}

/* ---- predicates --------------------------------------------------------------------- */

static void bytes_bits(const struct query *q, const struct plan_pred *p, uint64_t *bits)
{
	const struct segment_block *b = q->block.b;
	const uint8_t(*heads)[SEGMENT_HEAD_BYTES] = segment_heads(q->seg) + b->doc_first;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;

	DOC_BITS(bits, b->doc_count,
		 (get_le64(heads[d]) & p->mask[0]) == p->value[0] &&
			 (get_le64(heads[d] + 8) & p->mask[1]) == p->value[1] &&
			 sizes[d] >= p->least);
}

static void size_bits(const struct query *q, const struct plan_pred *p, uint64_t *bits)
{
	const struct segment_block *b = q->block.b;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;

	DOC_BITS(bits, b->doc_count, sizes[d] >= p->least && sizes[d] <= p->most);
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
	const uint8_t *flags = segment_flags(q->seg) + b->doc_first;

	if (!f->is_read)
		feature_read(q, f, q->plan->preds[pred].feature);
	if (f->is_lost)
		return false;
	DOC_BITS(bits, b->doc_count, (flags[d] & SEGMENT_DOC_NO_FEATURES) != 0);
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
		bytes_bits(q, p, bits);
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
	any = q->kernel->and (set, set, value, q->block.words);
	query_set_give(q, value);
	return any;
}

void query_docs_sum(const struct query *q, const uint64_t *bits, uint64_t *docs, uint64_t *bytes)
{
	const struct segment_block *b = q->block.b;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;

	for (uint32_t word = 0; word * 64 < b->doc_count; word++) {
		*docs += (uint64_t)__builtin_popcountll(bits[word]);
		for (uint64_t todo = bits[word]; todo; todo &= todo - 1)
			*bytes += sizes[word * 64 + (uint32_t)__builtin_ctzll(todo)];
	}
}
