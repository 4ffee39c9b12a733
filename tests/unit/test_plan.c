#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "index/gram.h"
#include "plan_internal.h"
#include "plan_make.h"

/* Two rules, three strings, four runs; what the rows below break. */
enum {
	STRINGS_AT = 48,
	RULES_AT = STRINGS_AT + 3 * 24,
	RUNS_AT = RULES_AT + 2 * 20,
	CODE_AT = RUNS_AT + 4 * 8
};

static void example(struct plan_make *m)
{
	static const uint8_t mz[] = { 'M', 'Z' }, all[] = { 0xff, 0xff };

	plan_make_init(m);
	plan_make_run(m, "evil text", 9, true);
	plan_make_run(m, "abcd", 4, false);
	plan_make_run(m, "w\0i\0d\0e\0", 8, false);
	plan_make_run(m, "efgh", 4, false);
	plan_op_run(m, 0); /* byte 0 of the code */
	plan_make_string(m, 0, "$a", true);
	plan_op_run(m, 1); /* 5 */
	plan_op_run(m, 3); /* 10 */
	plan_op_and(m, 2); /* 15 */
	plan_op_run(m, 2); /* 18 */
	plan_op_or(m, 2);  /* 23 */
	plan_make_string(m, 0, "$b", false);
	plan_op_true(m); /* 26 */
	plan_make_string(m, 1, "$", false);
	plan_op_string(m, 0);            /* 27 */
	plan_op_string(m, 1);            /* 32 */
	plan_op_bytes(m, 0, mz, all, 2); /* 37 */
	plan_op_size(m, 100, 5000);      /* 44 */
	plan_op_atleast(m, 3, 4);        /* 61 */
	plan_make_rule(m, "first", PLAN_RULE_PRIVATE);
	plan_op_rule(m, 0);     /* 66 */
	plan_op_feature(m, 77); /* 71 */
	plan_op_or(m, 2);       /* 80 */
	plan_make_rule(m, "second", PLAN_RULE_GLOBAL);
}

static struct buf example_bytes(void)
{
	struct buf out = BUF_INIT(PLAN_BYTES_MAX);
	struct plan_make m;

	example(&m);
	plan_make_end(&m, &out);
	plan_make_release(&m);
	return out;
}

static int parse(const struct buf *b, struct plan **ret, struct err *err)
{
	return plan_new(ret, b->p, b->n, err);
}

static void test_reads(void **state)
{
	struct buf b = example_bytes();
	struct plan_string string;
	struct plan_rule rule;
	const uint32_t *strings;
	struct plan_run run;
	struct plan *plan;
	struct err err;
	uint32_t n;

	(void)state;
	CHECK_OK(parse(&b, &plan, &err), &err);
	buf_release(&b); /* it has its own copy */
	assert_int_equal(plan_rules(plan), 2);
	assert_int_equal(plan_strings(plan), 3);
	assert_int_equal(plan_runs(plan), 4);
	plan_rule_get(plan, 0, &rule);
	assert_true(str_eq(rule.name, STR("first")));
	assert_int_equal(rule.flags, PLAN_RULE_PRIVATE);
	assert_false(rule.is_always);
	plan_rule_get(plan, 1, &rule);
	assert_true(str_eq(rule.name, STR("second")));
	assert_int_equal(rule.flags, PLAN_RULE_GLOBAL);
	plan_string_get(plan, 0, &string);
	assert_true(string.is_local && !string.is_always && string.rule == 0);
	plan_string_get(plan, 2, &string);
	assert_true(str_eq(string.name, STR("$")));
	assert_true(!string.is_local && string.is_always && string.rule == 1);
	plan_run_get(plan, 0, &run);
	assert_true(str_eq(run.bytes, STR("evil text")) && run.is_nocase);
	plan_run_get(plan, 2, &run);
	assert_true(str_eq(run.bytes, STR("w\0i\0d\0e\0")) && !run.is_nocase);
	strings = plan_rule_strings(plan, 0, &n);
	assert_true(n == 2 && strings[0] == 0 && strings[1] == 1);
	strings = plan_rule_strings(plan, 1, &n);
	assert_true(n == 1 && strings[0] == 2);
	assert_ptr_equal(plan_ref(plan), plan);
	assert_null(plan_unref(plan));
	assert_int_equal(plan_rules(plan), 2);
	plan_drop(&plan);
	assert_null(plan_unref(NULL));
}

static void test_notes(void **state)
{
	(void)state;
	for (int i = 0; i < PLAN_NOTE_COUNT; i++) {
		assert_true(strlen(plan_note_text((enum plan_note)i)) > 5);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(plan_note_text((enum plan_note)i),
						plan_note_text((enum plan_note)k));
	}
}

/* ---- what is refused ---------------------------------------------------------------- */

/* The example with `n` bytes at `at` overwritten; `says` is in the message. */
static const struct {
	const char *row;
	size_t at;
	const char *bytes;
	size_t n;
	const char *says;
} broken[] = {
	{ "magic", 0, "X", 1, "byte 0: not a plan" },
	{ "version", 4, "\2", 1, "byte 4: version 2" },
	{ "reserved", 6, "\1", 1, "byte 6: not zero" },
	{ "reserved end", 47, "\1", 1, "byte 32: not zero" },
	{ "strings many", 8, "\1\0\1\0", 4, "byte 8: 65537 strings" },
	{ "rules many", 12, "\351\3\0\0", 4, "byte 12: 1001 rules" },
	{ "runs many", 16, "\1\0\20\0", 4, "byte 16: 1048577 runs" },
	{ "sections", 20, "\0\0\0\0", 4, "byte 8: sections of" },
	{ "sections huge", 20, "\377\377\377\377", 4, "byte 8: sections of" },
	{ "whole", 28, "\0\0\0\0", 4, "byte 28: 0 bytes where there are" },
	{ "string's rule", STRINGS_AT, "\2", 1, "byte 48: no such rule" },
	{ "string's name", STRINGS_AT + 4, "\377\377\377\377", 4, "byte 52: beyond the text" },
	{ "string's name long", STRINGS_AT + 8, "\377\377\377\377", 4, "byte 52: beyond the text" },
	{ "string's name empty", STRINGS_AT + 8, "\0", 1, "byte 52: a name of 0 bytes" },
	{ "string's name bytes", STRINGS_AT + 4, "\15", 1, "byte 52: not a name" },
	{ "string's code", STRINGS_AT + 12, "\377", 1, "byte 60: beyond the code" },
	{ "string's code long", STRINGS_AT + 16, "\377\377\377\377", 4,
	  "byte 60: beyond the code" },
	{ "string's code empty", STRINGS_AT + 16, "\0", 1, "string 0: it does not leave one" },
	{ "string's code two", STRINGS_AT + 16, "\12", 1, "string 0: it does not leave one" },
	{ "string's code cut", STRINGS_AT + 16, "\4", 1, "string 0: a cut instruction" },
	{ "string's flags", STRINGS_AT + 20, "\2", 1, "byte 68: unknown flags" },
	{ "string's note", STRINGS_AT + 21, "\6", 1, "byte 69: unknown note" },
	{ "string's zero", STRINGS_AT + 23, "\1", 1, "byte 70: not zero" },
	{ "rule's name", RULES_AT, "\377", 1, "byte 120: beyond the text" },
	{ "rule's code", RULES_AT + 8, "\377", 1, "byte 128: beyond the code" },
	{ "rule's flags", RULES_AT + 16, "\10", 1, "byte 136: unknown flags" },
	{ "rule's note", RULES_AT + 17, "\7", 1, "byte 137: unknown note" },
	{ "rule's zero", RULES_AT + 18, "\1", 1, "byte 138: not zero" },
	{ "run short", RUNS_AT + 4, "\3\0", 2, "byte 164: a run of 3 bytes" },
	{ "run long", RUNS_AT + 4, "\1\20", 2, "byte 164: a run of 4097 bytes" },
	{ "run beyond", RUNS_AT, "\377", 1, "byte 160: beyond the text" },
	{ "run's flags", RUNS_AT + 6, "\2", 1, "byte 166: unknown flags" },
	{ "run's zero", RUNS_AT + 7, "\1", 1, "byte 166: unknown flags" },
	{ "instruction", CODE_AT + 0, "\12", 1, "byte 192: code of string 0: unknown" },
	{ "rule's in string", CODE_AT + 0, "\5", 1, "byte 192: code of string 0: an instruction" },
	{ "string's in rule", CODE_AT + 27, "\4", 1, "byte 219: code of rule 0: an instruction" },
	{ "no run", CODE_AT + 1, "\4", 1, "byte 192: code of string 0: no such run" },
	{ "no string", CODE_AT + 28, "\3", 1, "byte 219: code of rule 0: no such string" },
	{ "rule itself", CODE_AT + 67, "\1", 1, "byte 258: code of rule 1: not an earlier" },
	{ "and of none", CODE_AT + 16, "\0", 1, "byte 207: code of string 1: an operator over n" },
	{ "and of more", CODE_AT + 16, "\3", 1, "byte 207: code of string 1: an operator over m" },
	{ "at least none", CODE_AT + 62, "\0", 1, "byte 253: code of rule 0: an operator over n" },
	{ "at least more", CODE_AT + 62, "\5", 1, "byte 253: code of rule 0: an operator over n" },
	{ "no bytes", CODE_AT + 39, "\0", 1, "byte 229: code of rule 0: bytes beyond" },
	{ "bytes beyond", CODE_AT + 38, "\17", 1, "byte 229: code of rule 0: bytes beyond" },
};

static void test_broken(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		struct buf b = example_bytes();
		struct plan *plan = NULL;
		struct err err;
		int rc;

		memcpy(b.p + broken[i].at, broken[i].bytes, broken[i].n);
		rc = parse(&b, &plan, &err);
		CHECK_ROW(broken[i].row, plan == NULL);
		CHECK_ROW(broken[i].row,
			  rc == (strstr(broken[i].row, "many") ? -ERR_TOO_LARGE : -ERR_CORRUPT));
		if (!strstr(err.msg, broken[i].says))
			fail_msg("row '%s': '%s'", broken[i].row, err.msg);
		buf_release(&b);
	}
}

/* Cut at every byte, and with every byte changed: an error or a plan, never more. */
static void test_any_byte(void **state)
{
	struct buf b = example_bytes();
	struct plan *plan;
	struct err err;

	(void)state;
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(plan_new(&plan, b.p, n, &err), -ERR_CORRUPT);
	for (size_t i = 0; i < b.n; i++) {
		for (unsigned v = 1; v < 256; v++) {
			b.p[i] = (char)(b.p[i] ^ v);
			if (parse(&b, &plan, &err) == 0)
				plan_drop(&plan);
			b.p[i] = (char)(b.p[i] ^ v);
		}
	}
	buf_release(&b);
}

/* ---- limits ------------------------------------------------------------------------- */

static char *test_fill(size_t n)
{
	char *p = mem_must_zalloc(n);

	memset(p, 'n', n);
	return p;
}

static int made(struct plan_make *m, struct plan **ret, struct err *err)
{
	struct buf b = BUF_INIT(2 * (size_t)PLAN_BYTES_MAX);
	int rc;

	plan_make_end(m, &b);
	plan_make_release(m);
	assert_false(b.failed);
	rc = parse(&b, ret, err);
	buf_release(&b);
	return rc;
}

static void check_limit(struct plan_make *m, bool is_within, int rc_beyond, const char *says)
{
	struct plan *plan = NULL;
	struct err err;
	int rc = made(m, &plan, &err);

	if (is_within) {
		CHECK_OK(rc, &err);
		plan_drop(&plan);
		return;
	}
	assert_int_equal(rc, rc_beyond);
	if (!strstr(err.msg, says))
		fail_msg("'%s', not '%s'", err.msg, says);
}

static void test_stack(void **state)
{
	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		struct plan_make m;

		plan_make_init(&m);
		for (unsigned i = 0; i < PLAN_STACK_MAX + more; i++)
			plan_op_true(&m);
		plan_op_and(&m, PLAN_STACK_MAX + more);
		plan_make_rule(&m, "r", 0);
		check_limit(&m, !more, -ERR_CORRUPT, "too many values");
	}
}

static void test_depth(void **state)
{
	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		struct plan_make m;

		plan_make_init(&m);
		plan_op_size(&m, 1, 2);
		for (unsigned i = 0; i < PLAN_DEPTH_MAX + more; i++) {
			if (i % 2) {
				plan_op_size(&m, i, i + 10);
				plan_op_or(&m, 2);
			} else {
				plan_op_and(&m, 1);
			}
		}
		plan_make_rule(&m, "r", 0);
		check_limit(&m, !more, -ERR_CORRUPT, "nested too deep");
	}
}

/* `count` strings that all use the first `code` bytes of code and `name` bytes of text. */
static void strings_alike(struct plan_make *m, unsigned count, size_t code, size_t name)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t *at;

		plan_make_string(m, 0, "$", false);
		at = (uint8_t *)m->strings.p + m->strings.n - 20;
		put_le32(at, 0);
		put_le32(at + 4, (uint32_t)name);
		put_le32(at + 8, 0);
		put_le32(at + 12, (uint32_t)code);
	}
}

/* Few bytes of code that many strings use are as much work as many bytes. */
static void test_ops(void **state)
{
	enum {
		EACH = 1024,
		STRINGS = PLAN_OPS_MAX / EACH
	};

	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		struct plan_make m;

		plan_make_init(&m);
		buf_add_z(&m.text, "$");
		for (unsigned i = 0; i < EACH - 1; i++)
			plan_op_true(&m);
		plan_op_or(&m, EACH - 1);
		strings_alike(&m, STRINGS - 1 + more, m.code.n, 1);
		m.code_from = m.code.n;
		plan_op_true(&m);
		plan_make_rule(&m, "r", 0);
		check_limit(&m, !more, -ERR_TOO_LARGE, "instructions");
	}
}

/* And so is text. */
static void test_used(void **state)
{
	enum {
		EACH = 64 << 10,
		STRINGS = PLAN_USED_MAX / EACH
	};
	char *name = test_fill(EACH);

	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		struct plan_make m;

		plan_make_init(&m);
		buf_add(&m.text, name, EACH);
		plan_op_true(&m);
		strings_alike(&m, STRINGS - 1 + more, 1, EACH);
		m.code_from = m.code.n;
		plan_op_true(&m);
		plan_make_rule(&m, "r", 0);
		check_limit(&m, !more, -ERR_TOO_LARGE, "bytes in use");
	}
	free(name);
}

/* More bytes than a plan may have are not even looked at. */
static void test_large(void **state)
{
	struct plan *plan = NULL;
	struct err err;

	(void)state;
	assert_int_equal(plan_new(&plan, NULL, PLAN_BYTES_MAX + 1, &err), -ERR_TOO_LARGE);
	assert_null(plan);
}

/* ---- trees -------------------------------------------------------------------------- */

enum leaf {
	T, /* true */
	F, /* never */
	X  /* a size */
};

/* An operator over leaves, and what is left of it. */
static const struct {
	const char *row;
	unsigned k; /* of n; 0: and, n: or is k = 1 */
	enum leaf leaves[4];
	unsigned n;
	enum plan_kind kind;
	unsigned left; /* of an operator: its children */
} folds[] = {
	{ "and true", 2, { T, T }, 2, PLAN_TRUE, 0 },
	{ "and false", 2, { X, F }, 2, PLAN_FALSE, 0 },
	{ "and one", 2, { X, T }, 2, PLAN_PRED, 0 },
	{ "and single", 1, { X }, 1, PLAN_PRED, 0 },
	{ "and", 3, { X, T, X }, 3, PLAN_AND, 2 },
	{ "or true", 1, { X, T }, 2, PLAN_TRUE, 0 },
	{ "or false", 1, { F, F }, 2, PLAN_FALSE, 0 },
	{ "or one", 1, { X, F }, 2, PLAN_PRED, 0 },
	{ "or", 1, { X, F, X }, 3, PLAN_OR, 2 },
	{ "at least", 2, { X, X, X, X }, 4, PLAN_ATLEAST, 4 },
	{ "at least with one true", 2, { X, T, X, X }, 4, PLAN_OR, 3 },
	{ "at least with two true", 2, { X, T, X, T }, 4, PLAN_TRUE, 0 },
	{ "at least with false", 2, { X, F, X, F }, 4, PLAN_AND, 2 },
	{ "at least of too few", 3, { X, F, X, F }, 4, PLAN_FALSE, 0 },
	{ "at least of false and true", 3, { X, F, X, T }, 4, PLAN_AND, 2 },
};

static void test_folds(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(folds); i++) {
		struct plan_make m;
		struct plan *plan;
		struct plan_rule rule;
		struct err err;
		const struct plan_node *root;

		plan_make_init(&m);
		for (unsigned k = 0; k < folds[i].n; k++) {
			if (folds[i].leaves[k] == T)
				plan_op_true(&m);
			else if (folds[i].leaves[k] == F)
				plan_op_size(&m, 5, 4);
			else
				plan_op_size(&m, k, 100);
		}
		if (folds[i].k == folds[i].n)
			plan_op_and(&m, folds[i].n);
		else if (folds[i].k == 1)
			plan_op_or(&m, folds[i].n);
		else
			plan_op_atleast(&m, folds[i].k, folds[i].n);
		plan_make_rule(&m, "r", 0);
		CHECK_OK(made(&m, &plan, &err), &err);
		root = &plan->nodes[plan->rules[0].root];
		CHECK_ROW(folds[i].row, root->kind == folds[i].kind);
		CHECK_ROW(folds[i].row, root->n == folds[i].left);
		plan_rule_get(plan, 0, &rule);
		CHECK_ROW(folds[i].row, rule.is_always == (folds[i].kind == PLAN_TRUE));
		plan_drop(&plan);
	}
}

/* Equal predicates of all rules are one; what is as good as a constant is none. */
static void test_predicates(void **state)
{
	static const uint8_t v[] = { 1, 2 }, m1[] = { 0xff, 0xff }, m2[] = { 0xfe, 0xff };
	struct plan_make m;
	struct plan *plan;
	struct err err;

	(void)state;
	plan_make_init(&m);
	for (int i = 0; i < 3; i++) {
		plan_op_bytes(&m, 4, v, m1, 2);
		plan_op_size(&m, 1, 9);
		plan_op_feature(&m, 5);
		plan_op_size(&m, 0, UINT64_MAX); /* true */
		plan_op_and(&m, 4);
		plan_make_rule(&m, "r", 0);
	}
	plan_op_bytes(&m, 0, v, m2, 2); /* 1 and 0xfe is never 1 */
	plan_make_rule(&m, "never", 0);
	CHECK_OK(made(&m, &plan, &err), &err);
	assert_int_equal(plan->pred_count, 3);
	assert_int_equal(plan->nodes[plan->rules[2].root].n, 3);
	assert_int_equal(plan->rules[3].root, PLAN_FALSE);
	plan_drop(&plan);
}

/* ---- grams -------------------------------------------------------------------------- */

static const struct {
	const char *row;
	struct str run;
	unsigned grams, wide; /* asked for; how many of them are wide */
	uint16_t first;
} orders[] = {
	{ "shortest", { "abcd", 4 }, 1, 0, 0 },
	{ "rare first", { "\0\0\0\0\0\0\0\0\0qzxj\0\0\0\0", 17 }, 8, 0, 9 },
	{ "one byte", { "\0\0\0\0\0\0\0\0\0\0", 10 }, 1, 0, 0 },
	{ "wide", { "e\0v\0i\0l\0.\0d\0l\0l\0", 16 }, 18, 5, PLAN_GRAM_WIDE | 2 },
	{ "wide from the second", { "\0e\0v\0i\0l\0.\0d", 12 }, 11, 2, PLAN_GRAM_WIDE | 3 },
	{ "case", { "ABCDABCDabcdabcd", 16 }, 4, 0, 0 },
};

static void test_orders(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		const uint8_t *p = (const uint8_t *)orders[i].run.p;
		uint16_t got[PLAN_GRAMS_MAX];
		unsigned n = plan_gram_order(p, orders[i].run.n, got), wide = 0;
		uint32_t h;

		for (unsigned k = 0; k < n; k++) {
			unsigned at = got[k] & ~PLAN_GRAM_WIDE;

			wide += (got[k] & PLAN_GRAM_WIDE) != 0;
			CHECK_ROW(orders[i].row,
				  at + (got[k] & PLAN_GRAM_WIDE ? 8 : 4) <= orders[i].run.n);
			CHECK_ROW(orders[i].row,
				  !(got[k] & PLAN_GRAM_WIDE) || gram_wide4(p + at, &h));
			for (unsigned j = 0; j < k; j++)
				CHECK_ROW(orders[i].row, got[j] != got[k]);
		}
		if (n != orders[i].grams || wide != orders[i].wide)
			fail_msg("row '%s': %u grams, %u wide", orders[i].row, n, wide);
		if (orders[i].first)
			CHECK_ROW(orders[i].row, got[0] == orders[i].first);
	}
}

/* Of the longest run grams from all of it are asked for. */
static void test_order_long(void **state)
{
	struct rand_seq r = { 7 };
	uint8_t run[PLAN_RUN_BYTES_MAX];
	uint16_t got[PLAN_GRAMS_MAX];
	unsigned seen = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof run; i++)
		run[i] = (uint8_t)(rand_next(&r) | 1);
	assert_int_equal(plan_gram_order(run, sizeof run, got), PLAN_GRAMS_MAX);
	for (unsigned i = 0; i < PLAN_GRAMS_MAX; i++)
		seen |= 1u << got[i] * PLAN_GRAMS_MAX / sizeof run;
	assert_true(__builtin_popcount(seen) >= PLAN_GRAMS_MAX - 2);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *row;
		uint32_t strings, rules, runs;
		bool is_within;
	} rows[] = {
		{ "rules", 0, PLAN_RULES_MAX, 0, true },
		{ "strings", PLAN_STRINGS_MAX, 1, 0, true },
		{ "runs", 0, 1, PLAN_RUNS_MAX, true },
		{ "rules", 0, PLAN_RULES_MAX + 1, 0, false },
		{ "strings", PLAN_STRINGS_MAX + 1, 1, 0, false },
		{ "runs", 0, 1, PLAN_RUNS_MAX + 1, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct plan_make m;

		plan_make_init(&m);
		for (uint32_t k = 0; k < rows[i].runs; k++)
			plan_make_run(&m, &k, 4, false);
		for (uint32_t k = 0; k < rows[i].strings; k++) {
			plan_op_true(&m);
			plan_make_string(&m, 0, "$a", false);
		}
		for (uint32_t k = 0; k < rows[i].rules; k++) {
			plan_op_true(&m);
			plan_make_rule(&m, "r", 0);
		}
		check_limit(&m, rows[i].is_within, -ERR_TOO_LARGE, rows[i].row);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),      cmocka_unit_test(test_notes),
		cmocka_unit_test(test_broken),     cmocka_unit_test(test_any_byte),
		cmocka_unit_test(test_stack),      cmocka_unit_test(test_depth),
		cmocka_unit_test(test_ops),        cmocka_unit_test(test_used),
		cmocka_unit_test(test_large),      cmocka_unit_test(test_folds),
		cmocka_unit_test(test_predicates), cmocka_unit_test(test_orders),
		cmocka_unit_test(test_order_long), cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
