#ifndef PLAN_MAKE_H
#define PLAN_MAKE_H
/*
 * Writes plans (docs/format/plan.md) by hand. Instructions are appended to the code;
 * the next string or rule that is added takes all since the last one.
 */
#include "base/buf.h"
#include "base/le.h"
#include "index/plan.h"

struct plan_make {
	struct buf strings, rules, runs, code, text;
	uint32_t string_count, rule_count, run_count;
	size_t code_from;
};

static inline void plan_make_init(struct plan_make *m)
{
	*m = (struct plan_make){ 0 };
	buf_init(&m->strings, PLAN_BYTES_MAX);
	buf_init(&m->rules, PLAN_BYTES_MAX);
	buf_init(&m->runs, PLAN_BYTES_MAX);
	buf_init(&m->code, PLAN_BYTES_MAX);
	buf_init(&m->text, PLAN_BYTES_MAX);
}

static inline void plan_make_release(struct plan_make *m)
{
	buf_release(&m->strings);
	buf_release(&m->rules);
	buf_release(&m->runs);
	buf_release(&m->code);
	buf_release(&m->text);
}

static inline void plan_make_le(struct buf *b, uint64_t v, size_t bytes)
{
	uint8_t p[8];

	put_le64(p, v);
	buf_add(b, p, bytes);
}

static inline void plan_make_text(struct plan_make *m, struct buf *to, const void *p, size_t n)
{
	plan_make_le(to, m->text.n, 4);
	buf_add(&m->text, p, n);
}

static inline uint32_t plan_make_run(struct plan_make *m, const void *p, size_t n, bool is_nocase)
{
	plan_make_text(m, &m->runs, p, n);
	plan_make_le(&m->runs, n, 2);
	plan_make_le(&m->runs, is_nocase, 2);
	return m->run_count++;
}

/* ---- instructions ---- */

static inline void plan_op_true(struct plan_make *m)
{
	plan_make_le(&m->code, 0, 1);
}

static inline void plan_op_and(struct plan_make *m, unsigned n)
{
	plan_make_le(&m->code, 1 | n << 8, 3);
}

static inline void plan_op_or(struct plan_make *m, unsigned n)
{
	plan_make_le(&m->code, 2 | n << 8, 3);
}

static inline void plan_op_atleast(struct plan_make *m, unsigned k, unsigned n)
{
	plan_make_le(&m->code, 3 | k << 8, 3);
	plan_make_le(&m->code, n, 2);
}

static inline void plan_op_run(struct plan_make *m, uint32_t run)
{
	plan_make_le(&m->code, 4 | (uint64_t)run << 8, 5);
}

static inline void plan_op_string(struct plan_make *m, uint32_t string)
{
	plan_make_le(&m->code, 5 | (uint64_t)string << 8, 5);
}

static inline void plan_op_rule(struct plan_make *m, uint32_t rule)
{
	plan_make_le(&m->code, 6 | (uint64_t)rule << 8, 5);
}

static inline void plan_op_size(struct plan_make *m, uint64_t least, uint64_t most)
{
	plan_make_le(&m->code, 7, 1);
	plan_make_le(&m->code, least, 8);
	plan_make_le(&m->code, most, 8);
}

static inline void plan_op_bytes(struct plan_make *m, unsigned offset, const void *value,
				 const void *mask, unsigned n)
{
	plan_make_le(&m->code, 8 | offset << 8 | n << 16, 3);
	buf_add(&m->code, value, n);
	buf_add(&m->code, mask, n);
}

static inline void plan_op_feature(struct plan_make *m, uint64_t hash)
{
	plan_make_le(&m->code, 9, 1);
	plan_make_le(&m->code, hash, 8);
}

/* ---- strings, rules, the whole ---- */

static inline void plan_make_name_code(struct plan_make *m, struct buf *to, const char *name)
{
	plan_make_text(m, to, name, strlen(name));
	plan_make_le(to, strlen(name), 4);
	plan_make_le(to, m->code_from, 4);
	plan_make_le(to, m->code.n - m->code_from, 4);
	m->code_from = m->code.n;
}

static inline uint32_t plan_make_string(struct plan_make *m, uint32_t rule, const char *name,
					bool is_local)
{
	plan_make_le(&m->strings, rule, 4);
	plan_make_name_code(m, &m->strings, name);
	plan_make_le(&m->strings, is_local, 4);
	return m->string_count++;
}

static inline uint32_t plan_make_rule(struct plan_make *m, const char *name, unsigned flags)
{
	plan_make_name_code(m, &m->rules, name);
	plan_make_le(&m->rules, flags, 4);
	return m->rule_count++;
}

/* The whole, appended to `out`. */
static inline void plan_make_end(const struct plan_make *m, struct buf *out)
{
	size_t parts = m->strings.n + m->rules.n + m->runs.n + m->code.n + m->text.n;
	const uint32_t head[7] = { m->string_count,
				   m->rule_count,
				   m->run_count,
				   (uint32_t)m->code.n,
				   (uint32_t)m->text.n,
				   (uint32_t)(48 + parts),
				   0 };

	buf_add(out, "WPLN\1\0\0\0", 8);
	for (int i = 0; i < 6; i++)
		plan_make_le(out, head[i], 4);
	plan_make_le(out, 0, 8);
	plan_make_le(out, 0, 8);
	buf_add(out, m->strings.p, m->strings.n);
	buf_add(out, m->rules.p, m->rules.n);
	buf_add(out, m->runs.p, m->runs.n);
	buf_add(out, m->code.p, m->code.n);
	buf_add(out, m->text.p, m->text.n);
}
#endif
