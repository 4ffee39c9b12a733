#include "index/plan.h"

#include <stdlib.h>

#include "base/le.h"
#include "base/mem.h"
#include "plan_internal.h"

enum {
	PLAN_MAGIC = 0x6e616c70, /* while alive */
	HEADER_BYTES = 48,
	STRING_BYTES = 24,
	RULE_BYTES = 20,
	RUN_BYTES = 8,
	VERSION = 1,
	STRING_LOCAL = 1,
	RUN_NOCASE = 1,
};

/* Where the sections begin, and what has been used of the limits. */
struct reading {
	struct plan *plan;
	size_t strings_at, rules_at, runs_at;
	uint64_t used;
	uint32_t ops, preds, grams;
};

const char *plan_note_text(enum plan_note note)
{
	static const char *const texts[PLAN_NOTE_COUNT] = {
		[PLAN_NOTE_NONE] = "it narrows",
		[PLAN_NOTE_SHORT] = "no part of four fixed bytes",
		[PLAN_NOTE_VARIANTS] = "too many variants",
		[PLAN_NOTE_REGEX] = "a regular expression without required text",
		[PLAN_NOTE_UNKNOWN] = "not understood",
		[PLAN_NOTE_LARGE] = "the program would grow too large",
		[PLAN_NOTE_CONDITION] = "the condition asks for nothing that is indexed",
	};

	REQUIRE(note < PLAN_NOTE_COUNT);
	return texts[note];
}

/* ---- reading ------------------------------------------------------------------------ */

/* The header, and that its sections are all of the n bytes. */
static int header_read(struct reading *r, struct err *err)
{
	static const uint8_t zeros[16];
	struct plan *plan = r->plan;
	const uint8_t *p = plan->bytes;
	size_t n = plan->byte_count;

	if (n < HEADER_BYTES)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: it ends in its header", n);
	if (memcmp(p, "WPLN", 4) != 0)
		return err_set(err, ERR_CORRUPT, "plan: byte 0: not a plan");
	if (get_le16(p + 4) != VERSION)
		return err_set(err, ERR_CORRUPT, "plan: byte 4: version %u", get_le16(p + 4));
	if (get_le16(p + 6) != 0 || memcmp(p + 32, zeros, sizeof zeros) != 0)
		return err_set(err, ERR_CORRUPT, "plan: byte %d: not zero",
			       get_le16(p + 6) ? 6 : 32);
	plan->string_count = get_le32(p + 8);
	plan->rule_count = get_le32(p + 12);
	plan->run_count = get_le32(p + 16);
	plan->code_bytes = get_le32(p + 20);
	plan->text_bytes = get_le32(p + 24);
	if (plan->string_count > PLAN_STRINGS_MAX)
		return err_set(err, ERR_TOO_LARGE, "plan: byte 8: %u strings, %d at most",
			       plan->string_count, PLAN_STRINGS_MAX);
	if (plan->rule_count > PLAN_RULES_MAX)
		return err_set(err, ERR_TOO_LARGE, "plan: byte 12: %u rules, %d at most",
			       plan->rule_count, PLAN_RULES_MAX);
	if (plan->run_count > PLAN_RUNS_MAX)
		return err_set(err, ERR_TOO_LARGE, "plan: byte 16: %u runs, %d at most",
			       plan->run_count, PLAN_RUNS_MAX);
	if (get_le32(p + 28) != n)
		return err_set(err, ERR_CORRUPT, "plan: byte 28: %u bytes where there are %zu",
			       get_le32(p + 28), n);
	r->strings_at = HEADER_BYTES;
	r->rules_at = r->strings_at + (size_t)plan->string_count * STRING_BYTES;
	r->runs_at = r->rules_at + (size_t)plan->rule_count * RULE_BYTES;
	plan->code_at = r->runs_at + (size_t)plan->run_count * RUN_BYTES;
	plan->text_at = plan->code_at + plan->code_bytes;
	if (plan->text_at + plan->text_bytes != n)
		return err_set(err, ERR_CORRUPT, "plan: byte 8: sections of %zu bytes, not %zu",
			       plan->text_at + plan->text_bytes, n);
	return 0;
}

static int use(struct reading *r, size_t at, uint64_t bytes, struct err *err)
{
	r->used += bytes;
	if (r->used > PLAN_USED_MAX)
		return err_set(err, ERR_TOO_LARGE, "plan: byte %zu: over %d bytes in use", at,
			       PLAN_USED_MAX);
	return 0;
}

static int text_read(struct reading *r, size_t at, uint32_t from, uint32_t n, struct str *ret,
		     struct err *err)
{
	if (from > r->plan->text_bytes || n > r->plan->text_bytes - from)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: beyond the text", at);
	*ret = str_make(r->plan->bytes + r->plan->text_at + from, n);
	return use(r, at, n, err);
}

/* Names go into answers and logs. */
static int name_read(struct reading *r, size_t at, struct str *ret, struct err *err)
{
	const uint8_t *p = r->plan->bytes + at;

	TRY(text_read(r, at, get_le32(p), get_le32(p + 4), ret, err));
	if (ret->n == 0 || ret->n > PLAN_NAME_BYTES_MAX)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: a name of %zu bytes", at, ret->n);
	for (size_t i = 0; i < ret->n; i++)
		if ((unsigned char)ret->p[i] <= ' ' || (unsigned char)ret->p[i] >= 0x7f)
			return err_set(err, ERR_CORRUPT, "plan: byte %zu: not a name", at);
	return 0;
}

/* The code that the entry of a string or rule names at byte `at`. */
static int code_find(struct reading *r, size_t at, struct plan_code *ret, struct err *err)
{
	struct plan *plan = r->plan;
	uint32_t from = get_le32(plan->bytes + at), n = get_le32(plan->bytes + at + 4);

	if (from > plan->code_bytes || n > plan->code_bytes - from)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: beyond the code", at);
	ret->at = plan->code_at + from;
	ret->n = n;
	return 0;
}

static size_t string_at(const struct reading *r, uint32_t i)
{
	return r->strings_at + (size_t)i * STRING_BYTES;
}

static size_t rule_at(const struct reading *r, uint32_t i)
{
	return r->rules_at + (size_t)i * RULE_BYTES;
}

static int string_code(struct reading *r, uint32_t i, struct plan_code *ret, struct err *err)
{
	ret->is_rule = false;
	ret->number = i;
	return code_find(r, string_at(r, i) + 12, ret, err);
}

static int rule_code(struct reading *r, uint32_t i, struct plan_code *ret, struct err *err)
{
	ret->is_rule = true;
	ret->number = i;
	return code_find(r, rule_at(r, i) + 8, ret, err);
}

static int code_read(struct reading *r, const struct plan_code *code, struct err *err)
{
	TRY(use(r, code->at, code->n, err));
	return plan_code_check(r->plan, code, &r->ops, &r->preds, err);
}

/* Flags, note and the zero behind them, as strings and rules have them. */
static int flags_read(struct reading *r, size_t at, unsigned flags_known, enum plan_note note_max,
		      struct err *err)
{
	const uint8_t *p = r->plan->bytes + at;

	if (p[0] & ~flags_known)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: unknown flags", at);
	if (p[1] > note_max)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: unknown note", at + 1);
	if (get_le16(p + 2) != 0)
		return err_set(err, ERR_CORRUPT, "plan: byte %zu: not zero", at + 2);
	return 0;
}

static int strings_read(struct reading *r, struct err *err)
{
	struct plan *plan = r->plan;

	for (uint32_t i = 0; i < plan->string_count; i++) {
		struct plan_string *string = &plan->strings[i].string;
		size_t at = string_at(r, i);
		const uint8_t *p = plan->bytes + at;
		struct plan_code code;

		string->rule = get_le32(p);
		if (string->rule >= plan->rule_count)
			return err_set(err, ERR_CORRUPT, "plan: byte %zu: no such rule", at);
		TRY(name_read(r, at + 4, &string->name, err));
		TRY(string_code(r, i, &code, err));
		TRY(code_read(r, &code, err));
		TRY(flags_read(r, at + 20, STRING_LOCAL, PLAN_NOTE_LARGE, err));
		string->is_local = p[20] & STRING_LOCAL;
		string->note = (enum plan_note)p[21];
		plan->rules[string->rule].string_count++;
	}
	return 0;
}

static int rules_read(struct reading *r, struct err *err)
{
	struct plan *plan = r->plan;

	for (uint32_t i = 0; i < plan->rule_count; i++) {
		struct plan_rule *rule = &plan->rules[i].rule;
		size_t at = rule_at(r, i);
		const uint8_t *p = plan->bytes + at;
		struct plan_code code;

		TRY(name_read(r, at, &rule->name, err));
		TRY(rule_code(r, i, &code, err));
		TRY(code_read(r, &code, err));
		TRY(flags_read(r, at + 16, PLAN_RULE_PRIVATE | PLAN_RULE_GLOBAL | PLAN_RULE_PARSES,
			       PLAN_NOTE_CONDITION, err));
		rule->flags = p[16];
		rule->note = (enum plan_note)p[17];
	}
	return 0;
}

static int runs_read(struct reading *r, struct err *err)
{
	struct plan *plan = r->plan;

	for (uint32_t i = 0; i < plan->run_count; i++) {
		struct plan_run_rec *rec = &plan->runs[i];
		size_t at = r->runs_at + (size_t)i * RUN_BYTES;
		const uint8_t *p = plan->bytes + at;
		uint16_t n = get_le16(p + 4), order[PLAN_GRAMS_MAX];

		if (n < PLAN_RUN_BYTES_MIN || n > PLAN_RUN_BYTES_MAX)
			return err_set(err, ERR_CORRUPT, "plan: byte %zu: a run of %u bytes",
				       at + 4, n);
		if ((p[6] & ~RUN_NOCASE) || p[7] != 0)
			return err_set(err, ERR_CORRUPT, "plan: byte %zu: unknown flags", at + 6);
		TRY(text_read(r, at, get_le32(p), n, &rec->run.bytes, err));
		rec->run.is_nocase = p[6] & RUN_NOCASE;
		rec->gram_count =
			(uint8_t)plan_gram_order((const uint8_t *)rec->run.bytes.p, n, order);
		rec->grams = r->grams;
		memcpy(plan->grams + r->grams, order, rec->gram_count * sizeof *order);
		r->grams += rec->gram_count;
	}
	return 0;
}

/* ---- making ------------------------------------------------------------------------- */

static int tables_make(struct plan *plan, struct err *err)
{
	/* Of a run of n bytes n - 3 grams at most; one run may stand for many in the text. */
	size_t grams = (size_t)plan->run_count * PLAN_GRAMS_MAX;

	TRY(mem_try_array((void **)&plan->strings, plan->string_count, sizeof *plan->strings, err));
	TRY(mem_try_array((void **)&plan->rule_strings, plan->string_count, sizeof(uint32_t), err));
	TRY(mem_try_array((void **)&plan->rules, plan->rule_count, sizeof *plan->rules, err));
	TRY(mem_try_array((void **)&plan->runs, plan->run_count, sizeof *plan->runs, err));
	return mem_try_array((void **)&plan->grams, grams, sizeof *plan->grams, err);
}

static void rule_strings_make(struct plan *plan)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < plan->rule_count; i++) {
		plan->rules[i].strings = at;
		at += plan->rules[i].string_count;
		plan->rules[i].string_count = 0;
	}
	for (uint32_t i = 0; i < plan->string_count; i++) {
		struct plan_rule_rec *rule = &plan->rules[plan->strings[i].string.rule];

		plan->rule_strings[rule->strings + rule->string_count++] = i;
	}
}

/* Trees of all strings, then of the rules, which name strings and earlier rules. */
static int trees_make(struct reading *r, struct err *err)
{
	struct plan *plan = r->plan;
	struct plan_code code;

	for (plan->pred_slots = 64; plan->pred_slots < 2 * r->preds;)
		plan->pred_slots *= 2;
	TRY(mem_try_array((void **)&plan->nodes, r->ops + 2u, sizeof *plan->nodes, err));
	TRY(mem_try_array((void **)&plan->children, r->ops, sizeof *plan->children, err));
	TRY(mem_try_array((void **)&plan->preds, r->preds, sizeof *plan->preds, err));
	TRY(mem_try_array((void **)&plan->pred_refs, r->preds, sizeof(uint32_t), err));
	TRY(mem_try_array((void **)&plan->pred_shares, r->preds, sizeof(uint32_t), err));
	TRY(mem_try_array((void **)&plan->pred_table, plan->pred_slots, sizeof(uint32_t), err));
	plan->nodes[PLAN_FALSE].kind = PLAN_FALSE;
	plan->nodes[PLAN_TRUE].kind = PLAN_TRUE;
	plan->node_count = 2;
	for (uint32_t i = 0; i < plan->string_count; i++) {
		TRY(string_code(r, i, &code, err));
		plan->strings[i].root = plan_code_build(plan, &code);
		plan->strings[i].string.is_always = plan->strings[i].root == PLAN_TRUE;
	}
	for (uint32_t i = 0; i < plan->rule_count; i++) {
		TRY(rule_code(r, i, &code, err));
		plan->rules[i].root = plan_code_build(plan, &code);
		plan->rules[i].rule.is_always = plan->rules[i].root == PLAN_TRUE;
	}
	mem_drop(&plan->pred_table);
	return 0;
}

static void shares_make(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->run_count; i++)
		plan->runs[i].share = plan->runs[i].refs > 1 ? ++plan->share_count : 0;
	for (uint32_t i = 0; i < plan->pred_count; i++)
		plan->pred_shares[i] = plan->pred_refs[i] > 1 ? ++plan->share_count : 0;
	for (uint32_t i = 0; i < plan->string_count; i++)
		plan->strings[i].share = ++plan->share_count;
	for (uint32_t i = 0; i < plan->rule_count; i++)
		plan->rules[i].share = ++plan->share_count;
}

int plan_new(struct plan **ret, const void *bytes, size_t n, struct err *err)
{
	struct reading r = { 0 };

	if (n > PLAN_BYTES_MAX)
		return err_set(err, ERR_TOO_LARGE, "plan: %zu bytes, %d at most", n,
			       PLAN_BYTES_MAX);
	AUTO(plan_drop) struct plan *plan = mem_must_zalloc(sizeof *plan);
	plan->magic = PLAN_MAGIC;
	plan->refs = 1;
	plan->byte_count = n;
	TRY(mem_try_alloc((void **)&plan->bytes, n ? n : 1, err));
	memcpy(plan->bytes, bytes, n);
	r.plan = plan;
	TRY(header_read(&r, err));
	TRY(tables_make(plan, err));
	TRY(runs_read(&r, err));
	TRY(strings_read(&r, err));
	TRY(rules_read(&r, err));
	TRY(trees_make(&r, err));
	shares_make(plan);
	rule_strings_make(plan);
	*ret = STEAL(plan);
	return 0;
}

struct plan *plan_ref(struct plan *plan)
{
	REQUIRE(plan->magic == PLAN_MAGIC);
	/* Whoever has a reference may add one; nothing is ordered by it. */
	atomic_fetch_add_explicit(&plan->refs, 1, memory_order_relaxed);
	return plan;
}

struct plan *plan_unref(struct plan *plan)
{
	if (!plan)
		return NULL;
	REQUIRE(plan->magic == PLAN_MAGIC);
	/* What others did with it comes before its end. */
	if (atomic_fetch_sub_explicit(&plan->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	plan->magic = 0;
	free(plan->bytes);
	free(plan->rules);
	free(plan->strings);
	free(plan->runs);
	free(plan->rule_strings);
	free(plan->grams);
	free(plan->nodes);
	free(plan->children);
	free(plan->preds);
	free(plan->pred_refs);
	free(plan->pred_shares);
	free(plan->pred_table);
	free(plan);
	return NULL;
}

void plan_drop(struct plan **plan)
{
	*plan = plan_unref(*plan);
}

/* ---- looking ------------------------------------------------------------------------ */

uint32_t plan_rules(const struct plan *plan)
{
	return plan->rule_count;
}

uint32_t plan_strings(const struct plan *plan)
{
	return plan->string_count;
}

uint32_t plan_runs(const struct plan *plan)
{
	return plan->run_count;
}

void plan_rule_get(const struct plan *plan, uint32_t rule, struct plan_rule *ret)
{
	REQUIRE(rule < plan->rule_count);
	*ret = plan->rules[rule].rule;
}

void plan_string_get(const struct plan *plan, uint32_t string, struct plan_string *ret)
{
	REQUIRE(string < plan->string_count);
	*ret = plan->strings[string].string;
}

void plan_run_get(const struct plan *plan, uint32_t run, struct plan_run *ret)
{
	REQUIRE(run < plan->run_count);
	*ret = plan->runs[run].run;
}

const uint32_t *plan_rule_strings(const struct plan *plan, uint32_t rule, uint32_t *ret_n)
{
	REQUIRE(rule < plan->rule_count);
	*ret_n = plan->rules[rule].string_count;
	return plan->rule_strings + plan->rules[rule].strings;
}
