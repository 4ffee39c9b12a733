#ifndef INDEX_PLAN_INTERNAL_H
#define INDEX_PLAN_INTERNAL_H
#include <stdatomic.h>
#include "index/plan.h"

/*
 * A plan as it is evaluated: the postfix code of each string and rule as a tree whose
 * constants are folded away, and whose operators have at least two children. A tree's
 * root is the number of a node; nodes 0 and 1 are the constants.
 */
enum plan_kind {
	PLAN_FALSE,
	PLAN_TRUE,
	PLAN_AND, /* children by rising cost */
	PLAN_OR,
	PLAN_ATLEAST, /* 2 ≤ k < n */
	PLAN_RUN,
	PLAN_STRING,
	PLAN_RULE,
	PLAN_PRED,
};

struct plan_node {
	uint8_t kind;
	uint16_t k;
	uint16_t n;
	uint32_t arg;  /* the first of n in plan.children; of a leaf, the number of what it names */
	uint32_t cost; /* rows to read, roughly */
};

enum plan_pred_kind {
	PLAN_PRED_SIZE,
	PLAN_PRED_BYTES,
	PLAN_PRED_FEATURE
};

/* What is asked of a document without its grams; equal ones are one. No padding: hashed. */
struct plan_pred {
	uint64_t kind;
	uint64_t least, most;       /* bytes, both included */
	uint64_t value[2], mask[2]; /* of the head as two little-endian numbers */
	uint64_t feature;
};

enum {
	PLAN_GRAMS_MAX = 24, /* of one run that are asked for */
	PLAN_GRAM_WIDE = 1 << 15
};

struct plan_run_rec {
	struct plan_run run;
	uint32_t refs; /* strings' leaves that name it */
	uint32_t share;
	uint32_t grams; /* the first of gram_count in plan.grams */
	uint8_t gram_count;
};
struct plan_string_rec {
	struct plan_string string;
	uint32_t root;
	uint32_t refs; /* rules' leaves that name it */
	uint32_t share;
};
struct plan_rule_rec {
	struct plan_rule rule;
	uint32_t root;
	uint32_t refs;
	uint32_t share;
	uint32_t strings; /* the first of string_count in plan.rule_strings */
	uint32_t string_count;
};

struct plan {
	uint32_t magic;
	_Atomic uint32_t refs;
	uint8_t *bytes; /* owned copy of what it was made of, byte_count of them */
	size_t byte_count;
	size_t text_at, text_bytes;
	size_t code_at, code_bytes;
	struct plan_rule_rec *rules;
	struct plan_string_rec *strings;
	struct plan_run_rec *runs;
	uint32_t rule_count, string_count, run_count;
	uint32_t *rule_strings;
	/* Offsets of grams in their runs, in the order in which they are asked for. */
	uint16_t *grams;
	struct plan_node *nodes;
	uint32_t node_count;
	uint32_t *children;
	uint32_t child_count;
	struct plan_pred *preds;
	uint32_t *pred_refs;
	uint32_t *pred_shares;
	uint32_t pred_count;
	/*
	 * What may be asked more than once has a number from 1 to this, its share: strings,
	 * rules, and what is named twice of the others, which have 0.
	 */
	uint32_t share_count;
	uint32_t *pred_table; /* while it is built; pred_slots of them */
	uint32_t pred_slots;
};

/* One string's or rule's code, and who may use what in it. */
struct plan_code {
	size_t at; /* in plan.bytes */
	size_t n;
	bool is_rule;
	uint32_t number; /* of the string or rule */
};

/* Check it, and add its operators and predicates to the counts. ERR_CORRUPT, ERR_TOO_LARGE. */
MUST_USE int plan_code_check(const struct plan *plan, const struct plan_code *code, uint32_t *ops,
			     uint32_t *preds, struct err *err);
/* Its tree; the code was checked, and what it names is built. Returns the root. */
uint32_t plan_code_build(struct plan *plan, const struct plan_code *code);

/*
 * Which grams of a run to ask for first: up to PLAN_GRAMS_MAX offsets into ret,
 * PLAN_GRAM_WIDE set where the wide4 gram there is meant. Returns how many, at least 1.
 */
unsigned plan_gram_order(const uint8_t *p, size_t n, uint16_t ret[PLAN_GRAMS_MAX]);
#endif
