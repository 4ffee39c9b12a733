#ifndef INDEX_PLAN_H
#define INDEX_PLAN_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/*
 * What samples must have so that the rules of one source can match them: a monotone
 * program for each rule over its strings, the sample's size, its first bytes and its
 * features. Made by the engine; format: docs/format/plan.md. Evaluated by query.h.
 *
 * The bytes come from a process that may have been taken over: everything is checked
 * here, once. A plan that was accepted can only be wrong in what it asks for.
 *
 * Threads:   nothing changes after plan_new; all calls from any thread.
 * Ownership: counted. Names point into the plan.
 */
struct plan;

enum {
	PLAN_BYTES_MAX = 64 << 20,
	PLAN_RULES_MAX = 1000,
	PLAN_STRINGS_MAX = 65536,
	PLAN_RUNS_MAX = 1 << 20,
	PLAN_RUN_BYTES_MIN = 4,
	PLAN_RUN_BYTES_MAX = 4096,
	PLAN_OPS_MAX = 4 << 20,    /* of all strings and rules; some 20 bytes of memory each */
	PLAN_STACK_MAX = 1024,     /* values */
	PLAN_DEPTH_MAX = 256,      /* operators within operators: evaluation recurses */
	PLAN_USED_MAX = 256 << 20, /* bytes of names, code and runs, for each that uses them */
	PLAN_NAME_BYTES_MAX = 1 << 20
};

enum plan_rule_flag {
	PLAN_RULE_PRIVATE = 1,
	PLAN_RULE_GLOBAL = 2,
	PLAN_RULE_PARSES = 4 /* it asks a module that goes through the sample */
};

/* Why a string or a rule narrows nothing. */
enum plan_note {
	PLAN_NOTE_NONE, /* it does narrow */
	PLAN_NOTE_SHORT,
	PLAN_NOTE_VARIANTS,
	PLAN_NOTE_REGEX,
	PLAN_NOTE_UNKNOWN,
	PLAN_NOTE_LARGE,
	PLAN_NOTE_CONDITION, /* rules only */
	PLAN_NOTE_COUNT
};
/* "no part of 4 fixed bytes", …: half a sentence for users. Static. */
const char *plan_note_text(enum plan_note note);

struct plan_rule {
	struct str name;
	unsigned flags; /* plan_rule_flag */
	enum plan_note note;
	bool is_always; /* its program is true whatever the sample is */
};
struct plan_string {
	uint32_t rule;   /* the one it stands in */
	struct str name; /* with its '$' */
	bool is_local;   /* its matches are at most 4,096 bytes long */
	enum plan_note note;
	bool is_always;
};
struct plan_run {
	struct str bytes;
	bool is_nocase;
};

/*
 * Check the n bytes and keep a copy. Memory: some four times n.
 *
 * *ret: one reference for the caller; untouched on failure.
 * Errors: ERR_CORRUPT naming what is wrong and the byte offset; ERR_TOO_LARGE for
 * more than a limit above; ERR_NO_MEMORY.
 */
MUST_USE int plan_new(struct plan **ret, const void *bytes, size_t n, struct err *err);
struct plan *plan_ref(struct plan *plan);
struct plan *plan_unref(struct plan *plan); /* NULL is fine; returns NULL */
void plan_drop(struct plan **plan);

/* Rules are in source order, which is the engine's. */
uint32_t plan_rules(const struct plan *plan);
uint32_t plan_strings(const struct plan *plan);
uint32_t plan_runs(const struct plan *plan);
void plan_rule_get(const struct plan *plan, uint32_t rule, struct plan_rule *ret);
void plan_string_get(const struct plan *plan, uint32_t string, struct plan_string *ret);
void plan_run_get(const struct plan *plan, uint32_t run, struct plan_run *ret);
/* The strings that stand in a rule, rising. *ret_n may be 0. */
const uint32_t *plan_rule_strings(const struct plan *plan, uint32_t rule, uint32_t *ret_n);
#endif
