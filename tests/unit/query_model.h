#ifndef QUERY_MODEL_H
#define QUERY_MODEL_H
/*
 * A plan taken at its word: docs/format/plan.md read once more, byte by byte, over the
 * samples themselves. And plans by lot, for runs that samples have and such they lack.
 */
#include "index_world.h"
#include "plan_make.h"

/* One sample and what is said of it. */
struct model_doc {
	struct sample sample;
	struct segment_doc doc;
	unsigned features; /* bit i: has model_feature(i) */
};

enum {
	MODEL_FEATURES = 16,
	MODEL_WINDOW = 4096
};

static inline uint64_t model_feature(unsigned i)
{
	struct rand_seq r = { 1000 + i };

	return rand_next(&r);
}

/* ---- evaluating --------------------------------------------------------------------- */

static inline bool model_same(const uint8_t *a, const uint8_t *b, size_t n, bool is_nocase)
{
	if (!is_nocase)
		return memcmp(a, b, n) == 0;
	return str_eq_nocase(str_make(a, n), str_make(b, n));
}

static inline bool model_occurs(struct str bytes, const struct plan_run *run)
{
	const char *p = bytes.p;
	size_t n = run->bytes.n;

	if (!run->is_nocase)
		return memmem(bytes.p, bytes.n, run->bytes.p, n) != NULL;
	for (size_t i = 0; i + n <= bytes.n; i++)
		if (model_same((const uint8_t *)p + i, (const uint8_t *)run->bytes.p, n, true))
			return true;
	return false;
}

struct model_plan {
	const uint8_t *bytes; /* of the plan */
	const struct plan *plan;
};

static inline const uint8_t *model_code(const struct model_plan *m, bool is_rule, uint32_t i,
					uint32_t *ret_n)
{
	uint32_t strings = get_le32(m->bytes + 8), rules = get_le32(m->bytes + 12);
	uint32_t runs = get_le32(m->bytes + 16);
	const uint8_t *entry = m->bytes + 48 + (is_rule ? strings * 24 + i * 20 + 8 : i * 24 + 12);

	*ret_n = get_le32(entry + 4);
	return m->bytes + 48 + strings * 24 + rules * 20 + runs * 8 + get_le32(entry);
}

static inline bool model_value(const struct model_plan *m, bool is_rule, uint32_t i,
			       const struct model_doc *d, struct str bytes);

/*
 * Matches of a local string lie within some 4,096 bytes. In a sample of several chunks
 * that is looked for around the borders and at the beginning and end, a part of the
 * truth; in others all of it counts, which is more than the truth.
 */
static inline bool model_string(const struct model_plan *m, uint32_t i, const struct model_doc *d)
{
	const char *p = (const char *)d->sample.p;
	size_t n = d->sample.n;
	struct plan_string string;

	plan_string_get(m->plan, i, &string);
	if (!string.is_local || n <= SEGMENT_CHUNK_FROM)
		return model_value(m, false, i, d, str_make(p, n));
	for (size_t border = 0; border <= n + SEGMENT_CHUNK_BYTES; border += SEGMENT_CHUNK_BYTES) {
		for (int shift = -MODEL_WINDOW; shift <= 0; shift += 256) {
			size_t at = border < (size_t)-shift ? 0 : border + (size_t)shift;

			at = at + MODEL_WINDOW > n ? n - MODEL_WINDOW : at;
			if (model_value(m, false, i, d, str_make(p + at, MODEL_WINDOW)))
				return true;
		}
	}
	return false;
}

static inline bool model_bytes(const uint8_t *p, const struct model_doc *d)
{
	if (d->sample.n < (size_t)p[1] + p[2])
		return false;
	for (unsigned i = 0; i < p[2]; i++)
		if ((d->sample.p[p[1] + i] & p[3 + p[2] + i]) != p[3 + i])
			return false;
	return true;
}

static inline bool model_has_feature(uint64_t hash, const struct model_doc *d)
{
	if (d->doc.flags & SEGMENT_DOC_NO_FEATURES)
		return true;
	for (unsigned i = 0; i < MODEL_FEATURES; i++)
		if (model_feature(i) == hash && d->features >> i & 1)
			return true;
	return false;
}

static inline bool model_leaf(const struct model_plan *m, const uint8_t *p,
			      const struct model_doc *d, struct str bytes, size_t *ret_bytes)
{
	struct plan_run run;

	*ret_bytes = 5;
	switch (p[0]) {
	case 4:
		plan_run_get(m->plan, get_le32(p + 1), &run);
		return model_occurs(bytes, &run);
	case 5:
		return model_string(m, get_le32(p + 1), d);
	case 6:
		return model_value(m, true, get_le32(p + 1), d, bytes);
	case 7:
		*ret_bytes = 17;
		return get_le64(p + 1) <= d->sample.n && d->sample.n <= get_le64(p + 9);
	case 8:
		*ret_bytes = 3 + 2u * p[2];
		return model_bytes(p, d);
	case 9:
		*ret_bytes = 9;
		return model_has_feature(get_le64(p + 1), d);
	default:
		*ret_bytes = 1;
		return true;
	}
}

static inline bool model_value(const struct model_plan *m, bool is_rule, uint32_t i,
			       const struct model_doc *d, struct str bytes)
{
	bool stack[PLAN_STACK_MAX];
	uint32_t n, have = 0;
	const uint8_t *p = model_code(m, is_rule, i, &n), *end = p + n;
	size_t step;

	while (p < end) {
		unsigned of = 0, need = 0, got = 0;

		if (p[0] < 1 || p[0] > 3) {
			stack[have++] = model_leaf(m, p, d, bytes, &step);
			p += step;
			continue;
		}
		of = get_le16(p + (p[0] == 3 ? 3 : 1));
		need = p[0] == 1 ? of : (p[0] == 2 ? 1 : get_le16(p + 1));
		for (unsigned k = 0; k < of; k++)
			got += stack[--have];
		stack[have++] = got >= need;
		p += p[0] == 3 ? 5 : 3;
	}
	return stack[0];
}

/* ---- plans by lot ------------------------------------------------------------------- */

/* A run that one of the samples has, or nearly has, or hardly any has. */
static inline uint32_t model_run(struct plan_make *m, struct rand_seq *r,
				 const struct model_doc *docs, uint32_t count)
{
	uint8_t run[64];
	size_t n = 4 + rand_below(r, 20);
	bool is_nocase = rand_below(r, 4) == 0;
	unsigned lot = (unsigned)rand_below(r, 10);

	for (size_t i = 0; i < n; i++)
		run[i] = (uint8_t)rand_next(r);
	for (int tries = 0; tries < 10 && lot > 0; tries++) {
		const struct sample *s = &docs[rand_below(r, count)].sample;

		if (s->n < n)
			continue;
		memcpy(run, s->p + rand_below(r, s->n - n + 1), n);
		break;
	}
	if (lot == 1)
		run[rand_below(r, n)] ^= 1;
	for (size_t i = 0; i < n && is_nocase; i++)
		if ((uint8_t)((run[i] | 32) - 'a') < 26 && rand_below(r, 2))
			run[i] ^= 32;
	return plan_make_run(m, run, n, is_nocase);
}

static inline void model_operator(struct plan_make *m, struct rand_seq *r, unsigned n)
{
	switch (rand_below(r, 3)) {
	case 0:
		plan_op_and(m, n);
		break;
	case 1:
		plan_op_or(m, n);
		break;
	default:
		plan_op_atleast(m, 1 + (unsigned)rand_below(r, n), n);
		break;
	}
}

/* A tree of a string or of a rule; leaves by `leaf`. */
struct model_lot {
	struct plan_make *m;
	struct rand_seq *r;
	uint32_t runs, strings, rules; /* what leaves may name; a rule: has runs = 0 */
	bool has_strings;
};

static inline void model_rule_leaf(const struct model_lot *lot)
{
	static const uint8_t all[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	struct rand_seq *r = lot->r;
	uint8_t value[8] = { 0 }, mask[8];
	unsigned n = 1 + (unsigned)rand_below(r, 3);

	switch (rand_below(r, lot->has_strings && lot->strings > 0 ? 9 : 4)) {
	case 0:
		plan_op_size(lot->m, rand_below(r, 800), 100 + rand_below(r, 3000));
		return;
	case 1:
		memcpy(mask, all, n);
		if (rand_below(r, 3) == 0)
			mask[0] = (uint8_t)(1u << rand_below(r, 8));
		if (rand_below(r, 2))
			value[0] = (uint8_t)rand_next(r) & mask[0];
		n = value[0] ? 1 : n;
		plan_op_bytes(lot->m, (unsigned)rand_below(r, 17 - n), value, mask, n);
		return;
	case 2:
		plan_op_feature(lot->m, model_feature((unsigned)rand_below(r, MODEL_FEATURES + 1)));
		return;
	case 3:
		if (lot->rules > 0)
			plan_op_rule(lot->m, (uint32_t)rand_below(r, lot->rules));
		else
			plan_op_true(lot->m);
		return;
	default:
		plan_op_string(lot->m, (uint32_t)rand_below(r, lot->strings));
		return;
	}
}

static inline void model_tree(const struct model_lot *lot, unsigned depth)
{
	unsigned n = 1 + (unsigned)rand_below(lot->r, 4);

	if (depth == 0 || rand_below(lot->r, 3) == 0) {
		if (lot->runs == 0)
			model_rule_leaf(lot);
		else if (rand_below(lot->r, 20) == 0)
			plan_op_true(lot->m);
		else
			plan_op_run(lot->m, (uint32_t)rand_below(lot->r, lot->runs));
		return;
	}
	for (unsigned i = 0; i < n; i++)
		model_tree(lot, depth - 1);
	model_operator(lot->m, lot->r, n);
}

/* A plan of some rules; without strings its answers are exact. */
static inline struct buf model_plan(struct rand_seq *r, const struct model_doc *docs,
				    uint32_t count, bool has_strings)
{
	struct buf out = BUF_INIT(PLAN_BYTES_MAX);
	struct plan_make m;
	struct model_lot lot = { .m = &m, .r = r, .has_strings = has_strings };
	uint32_t rules = 1 + (uint32_t)rand_below(r, 6);

	plan_make_init(&m);
	lot.runs = 1 + (uint32_t)rand_below(r, 12);
	for (uint32_t i = 0; i < lot.runs; i++)
		(void)model_run(&m, r, docs, count);
	for (uint32_t i = 0; i < 2 * rules && has_strings; i++) {
		model_tree(&lot, (unsigned)rand_below(r, 3));
		lot.strings = plan_make_string(&m, i / 2, "$s", rand_below(r, 2)) + 1;
	}
	lot.runs = 0;
	for (uint32_t i = 0; i < rules; i++) {
		model_tree(&lot, (unsigned)rand_below(r, 4));
		lot.rules = plan_make_rule(&m, "r", rand_below(r, 5) ? 0 : PLAN_RULE_PRIVATE) + 1;
	}
	plan_make_end(&m, &out);
	plan_make_release(&m);
	return out;
}
#endif
