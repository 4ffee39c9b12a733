#ifndef QUERY_WORLD_H
#define QUERY_WORLD_H
/*
 * Corpora for queries: a segment in a folder of the test's own, the samples beside it,
 * and filters.
 */
#include "index/query.h"
#include "query_model.h"

enum {
	QUERY_WORLD_VERSION = 7
};

/* A segment over documents, and the file it is in. */
struct corpus {
	struct index_world w;
	struct model_doc *docs; /* in the order of the segment */
	uint32_t count;
	struct segment *seg;
};

/* ---- a corpus ----------------------------------------------------------------------- */

static inline void corpus_write(struct corpus *c)
{
	struct segment_writer_options options = { 1u << 30, QUERY_WORLD_VERSION,
						  SIGNATURE_FILL_DEFAULT };
	struct segment_writer *writer = segment_writer_new(&options);
	struct model_doc *ordered;
	uint64_t bytes;
	struct err err;

	for (uint32_t i = 0; i < c->count; i++) {
		const struct model_doc *d = &c->docs[i];
		struct signature *sig = NULL;
		uint64_t features[MODEL_FEATURES];
		size_t n = 0;

		for (unsigned k = 0; k < MODEL_FEATURES; k++)
			if (d->features >> k & 1 && !(d->doc.flags & SEGMENT_DOC_NO_FEATURES))
				features[n++] = model_feature(k);
		if (!(d->doc.flags & SEGMENT_DOC_ALWAYS))
			CHECK_OK(signer_sign(c->w.signer, d->sample.p, d->sample.n, &sig, &err),
				 &err);
		CHECK_OK(segment_writer_add(writer, &d->doc, sig, features, n, &err), &err);
	}
	CHECK_OK(segment_writer_write(writer, c->w.io, "a.seg", 1, c->count, &bytes, &err), &err);
	segment_writer_free(writer);
	CHECK_OK(segment_open(&c->seg, c->w.io, "a.seg", &err), &err);
	/* From here on documents are called as the segment calls them. */
	ordered = mem_must_zalloc(c->count * sizeof *ordered);
	for (uint32_t i = 0; i < c->count; i++) {
		uint32_t at;

		assert_true(segment_doc_find(c->seg, c->docs[i].doc.file_id, &at));
		ordered[at] = c->docs[i];
	}
	free(c->docs);
	c->docs = ordered;
}

/* Document i of `n` bytes, with dates, corpora, features and flags by lot. */
static inline void corpus_doc(struct corpus *c, uint32_t i, size_t n, struct rand_seq *r)
{
	struct model_doc *d = &c->docs[i];

	d->sample = sample_new(n, (unsigned)rand_below(r, SAMPLE_KINDS), rand_next(r));
	d->doc = sample_doc(&d->sample, (int64_t)i + 1);
	d->doc.corpus = rand_below(r, 8) == 0;
	d->features = (unsigned)rand_next(r) & (unsigned)rand_next(r) & 0xffff;
	if (rand_below(r, 30) == 0)
		d->doc.flags |= SEGMENT_DOC_ALWAYS;
	if (rand_below(r, 20) == 0)
		d->doc.flags |= SEGMENT_DOC_NO_FEATURES;
}

static inline struct corpus *
corpus_new(uint32_t count, size_t (*size_of)(uint32_t i, struct rand_seq *r), uint64_t seed)
{
	struct corpus *c = mem_must_zalloc(sizeof *c);
	struct rand_seq r = { seed };

	index_world_up(&c->w, SIGNATURE_FILL_DEFAULT);
	c->count = count;
	c->docs = mem_must_zalloc(count * sizeof *c->docs);
	for (uint32_t i = 0; i < count; i++)
		corpus_doc(c, i, size_of(i, &r), &r);
	corpus_write(c);
	return c;
}

static inline void corpus_free(struct corpus *c)
{
	segment_unref(c->seg);
	for (uint32_t i = 0; i < c->count; i++)
		free(c->docs[i].sample.p);
	free(c->docs);
	index_world_down(&c->w);
	free(c);
}

static inline size_t size_small(uint32_t i, struct rand_seq *r)
{
	static const size_t odd[] = { 0, 1, 3, 4, 5, 8, 15, 16, 17, 63 };

	if (i < COUNT_OF(odd))
		return odd[i];
	return i % 20 == 0 ? 2000 + rand_below(r, 20000) : rand_below(r, 1200);
}

static inline int small_up(void **state)
{
	*state = corpus_new(600, size_small, 1);
	return 0;
}

static inline int small_down(void **state)
{
	corpus_free(*state);
	return 0;
}

/* ---- a filter ----------------------------------------------------------------------- */

struct filter_lot {
	struct query_filter f;
	uint8_t groups[PLAN_RULES_MAX];
	_Atomic uint64_t *dead;
};

static inline void filter_all(struct filter_lot *lot, enum segment_corpus corpus)
{
	*lot = (struct filter_lot){ .f = { .corpus = corpus,
					   .last_id = INT64_MAX,
					   .end_s = INT64_MAX,
					   .size_max = UINT64_MAX,
					   .features_version = QUERY_WORLD_VERSION } };
	lot->f.groups = lot->groups;
}

static inline void filter_by_lot(struct filter_lot *lot, const struct corpus *c, struct rand_seq *r)
{
	filter_all(lot, rand_below(r, 4) ? SEGMENT_MAIN : SEGMENT_GOODWARE);
	for (unsigned i = 0; i < PLAN_RULES_MAX; i++)
		lot->groups[i] =
			(uint8_t)(rand_below(r, 5) ? rand_below(r, QUERY_GROUPS) : QUERY_NO_GROUP);
	if (rand_below(r, 2)) {
		lot->f.first_id = (int64_t)rand_below(r, c->count / 2);
		lot->f.last_id = lot->f.first_id + (int64_t)rand_below(r, c->count);
	}
	if (rand_below(r, 3) == 0)
		lot->f.end_s = 1700000000 + (int64_t)rand_below(r, 1000);
	if (rand_below(r, 3) == 0)
		lot->f.size_max = rand_below(r, 3000);
	if (rand_below(r, 3) == 0) {
		lot->dead = mem_must_zalloc((c->count + 64) / 64 * sizeof *lot->dead);
		for (uint32_t i = 0; i < c->count / 64; i++)
			lot->dead[i] = rand_next(r) & rand_next(r);
		lot->f.dead = lot->dead;
	}
	lot->f.wants_details = rand_below(r, 2);
}

static inline void filter_release(struct filter_lot *lot)
{
	free(lot->dead);
}

static inline bool passes(const struct filter_lot *lot, const struct corpus *c, uint32_t i)
{
	const struct segment_doc *d = &c->docs[i].doc;

	return d->corpus == lot->f.corpus && d->file_id >= lot->f.first_id &&
	       d->file_id <= lot->f.last_id && d->first_seen_s <= lot->f.end_s &&
	       d->size <= lot->f.size_max && !(lot->dead && lot->dead[i / 64] >> i % 64 & 1);
}

static inline size_t size_tiny(uint32_t i, struct rand_seq *r)
{
	return 4 + (i + rand_below(r, 20)) % 40;
}

/* The plan of one rule with one string, whose runs were put into it. Releases `m`. */
static inline struct plan *plan_of_string(struct plan_make *m)
{
	struct buf b = BUF_INIT(PLAN_BYTES_MAX);
	struct plan *plan;
	struct err err;

	plan_make_string(m, 0, "$", true);
	plan_op_string(m, 0);
	plan_make_rule(m, "r", 0);
	plan_make_end(m, &b);
	plan_make_release(m);
	CHECK_OK(plan_new(&plan, b.p, b.n, &err), &err);
	buf_release(&b);
	return plan;
}

static inline struct plan *plan_of_run(const void *p, size_t n)
{
	struct plan_make m;

	plan_make_init(&m);
	plan_op_run(&m, plan_make_run(&m, p, n, false));
	return plan_of_string(&m);
}
#endif
