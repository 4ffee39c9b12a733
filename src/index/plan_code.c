#include "plan_internal.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/le.h"
#include "index/segment.h"

enum op {
	OP_TRUE,
	OP_AND,
	OP_OR,
	OP_ATLEAST,
	OP_RUN,
	OP_STRING,
	OP_RULE,
	OP_SIZE,
	OP_BYTES,
	OP_FEATURE,
	OP_COUNT
};

enum {
	IN_STRINGS = 1,
	IN_RULES = 2
};

/* By op: bytes of its arguments (those of BYTES depend on them), and where it may stand. */
static const struct {
	uint8_t arguments;
	uint8_t in;
} ops[OP_COUNT] = {
	[OP_TRUE] = { 0, IN_STRINGS | IN_RULES },
	[OP_AND] = { 2, IN_STRINGS | IN_RULES },
	[OP_OR] = { 2, IN_STRINGS | IN_RULES },
	[OP_ATLEAST] = { 4, IN_STRINGS | IN_RULES },
	[OP_RUN] = { 4, IN_STRINGS },
	[OP_STRING] = { 4, IN_RULES },
	[OP_RULE] = { 4, IN_RULES },
	[OP_SIZE] = { 16, IN_RULES },
	[OP_BYTES] = { 2, IN_RULES },
	[OP_FEATURE] = { 8, IN_RULES },
};

enum {
	COST_PRED = 1,
	COST_RULE = 1,
	COST_RUN = 12,      /* rows after which a run that is nowhere has died */
	COST_RUN_SHORT = 20 /* few grams: leaves more, so that it is asked later */
};

static bool is_operator(uint8_t op)
{
	return op == OP_AND || op == OP_OR || op == OP_ATLEAST;
}

/* Bytes of the instruction at p, of which there are n > 0; 0: it is not whole. */
static size_t op_bytes(const uint8_t *p, size_t n)
{
	size_t bytes = 1u + ops[p[0]].arguments;

	if (p[0] == OP_BYTES && n >= bytes)
		bytes += 2u * p[2];
	return bytes <= n ? bytes : 0;
}

/* ---- checking ----------------------------------------------------------------------- */

static int bad(const struct plan_code *code, size_t at, struct err *err, const char *what)
{
	return err_set(err, ERR_CORRUPT, "plan: byte %zu: code of %s %u: %s", at,
		       code->is_rule ? "rule" : "string", code->number, what);
}

/* The argument of a leaf names something that there is. */
static int leaf_check(const struct plan *plan, const struct plan_code *code, size_t at,
		      struct err *err)
{
	const uint8_t *p = plan->bytes + at;

	switch (p[0]) {
	case OP_RUN:
		if (get_le32(p + 1) >= plan->run_count)
			return bad(code, at, err, "no such run");
		break;
	case OP_STRING:
		if (get_le32(p + 1) >= plan->string_count)
			return bad(code, at, err, "no such string");
		break;
	case OP_RULE:
		if (get_le32(p + 1) >= code->number)
			return bad(code, at, err, "not an earlier rule");
		break;
	case OP_BYTES:
		if (p[2] < 1 || p[2] > 8 || p[1] + p[2] > SEGMENT_HEAD_BYTES)
			return bad(code, at, err, "bytes beyond the head");
		break;
	default:
		break;
	}
	return 0;
}

/* What the operator takes: *ret_n values, of the `have` that are there. */
static int operator_check(const struct plan *plan, const struct plan_code *code, size_t at,
			  uint32_t have, uint32_t *ret_n, struct err *err)
{
	const uint8_t *p = plan->bytes + at;
	bool has_k = p[0] == OP_ATLEAST;
	uint32_t k = has_k ? get_le16(p + 1) : 1;
	uint32_t n = get_le16(p + (has_k ? 3 : 1));

	if (k < 1 || n < k)
		return bad(code, at, err, "an operator over nothing");
	if (n > have)
		return bad(code, at, err, "an operator over more than there is");
	*ret_n = n;
	return 0;
}

int plan_code_check(const struct plan *plan, const struct plan_code *code, uint32_t *op_count,
		    uint32_t *preds, struct err *err)
{
	uint16_t depths[PLAN_STACK_MAX]; /* of the values on the stack */
	size_t at = code->at, end = code->at + code->n;
	uint32_t have = 0;

	while (at < end) {
		uint8_t op = plan->bytes[at];
		uint16_t depth = 0;
		uint32_t n = 0;
		size_t bytes;

		if (op >= OP_COUNT)
			return bad(code, at, err, "unknown instruction");
		if (!(ops[op].in & (code->is_rule ? IN_RULES : IN_STRINGS)))
			return bad(code, at, err, "an instruction that has no place there");
		bytes = op_bytes(plan->bytes + at, end - at);
		if (bytes == 0)
			return bad(code, at, err, "a cut instruction");
		if (is_operator(op))
			TRY(operator_check(plan, code, at, have, &n, err));
		else
			TRY(leaf_check(plan, code, at, err));
		for (uint32_t i = have - n; i < have; i++)
			depth = depths[i] > depth ? depths[i] : depth;
		if (is_operator(op) && ++depth > PLAN_DEPTH_MAX)
			return bad(code, at, err, "operators are nested too deep");
		have -= n;
		if (have == PLAN_STACK_MAX)
			return bad(code, at, err, "too many values on the stack");
		depths[have++] = depth;
		if (++*op_count > PLAN_OPS_MAX)
			return err_set(err, ERR_TOO_LARGE, "plan: byte %zu: over %d instructions",
				       at, PLAN_OPS_MAX);
		*preds += op >= OP_SIZE;
		at += bytes;
	}
	return have == 1 ? 0 : bad(code, end, err, "it does not leave one value");
}

/* ---- trees -------------------------------------------------------------------------- */

static uint32_t node_add(struct plan *plan, enum plan_kind kind, uint32_t arg, uint32_t cost)
{
	struct plan_node *node = &plan->nodes[plan->node_count];

	*node = (struct plan_node){ .kind = (uint8_t)kind, .arg = arg, .cost = cost };
	return plan->node_count++;
}

static uint32_t constant(bool is_true)
{
	return is_true ? PLAN_TRUE : PLAN_FALSE;
}

/* A leaf for something whose own root is known: constants need no leaf. */
static uint32_t reference(struct plan *plan, enum plan_kind kind, uint32_t number, uint32_t root,
			  uint32_t *refs)
{
	if (root == PLAN_TRUE || root == PLAN_FALSE)
		return root;
	(*refs)++;
	return node_add(plan, kind, number, kind == PLAN_RULE ? COST_RULE : plan->nodes[root].cost);
}

/* Equal predicates share a number, so that they are evaluated once for each block. */
static uint32_t predicate(struct plan *plan, const struct plan_pred *pred)
{
	enum {
		PROBES = 32 /* hostile ones may collide: then they are not shared */
	};
	uint64_t h = hash64(pred, sizeof *pred, 0);
	uint32_t *free_slot = NULL;

	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t *slot = &plan->pred_table[(h + i) & (plan->pred_slots - 1)];

		if (*slot == 0) {
			free_slot = slot;
			break;
		}
		if (memcmp(&plan->preds[*slot - 1], pred, sizeof *pred) == 0) {
			plan->pred_refs[*slot - 1]++;
			return node_add(plan, PLAN_PRED, *slot - 1, COST_PRED);
		}
	}
	plan->preds[plan->pred_count] = *pred;
	plan->pred_refs[plan->pred_count++] = 1;
	if (free_slot)
		*free_slot = plan->pred_count;
	return node_add(plan, PLAN_PRED, plan->pred_count - 1, COST_PRED);
}

static uint32_t size_leaf(struct plan *plan, const uint8_t *p)
{
	struct plan_pred pred = { .kind = PLAN_PRED_SIZE };

	pred.least = get_le64(p + 1);
	pred.most = get_le64(p + 9);
	if (pred.least > pred.most || (pred.least == 0 && pred.most == UINT64_MAX))
		return constant(pred.least <= pred.most);
	return predicate(plan, &pred);
}

static uint32_t bytes_leaf(struct plan *plan, const uint8_t *p)
{
	struct plan_pred pred = { .kind = PLAN_PRED_BYTES, .most = UINT64_MAX };
	uint8_t value[SEGMENT_HEAD_BYTES] = { 0 }, mask[SEGMENT_HEAD_BYTES] = { 0 };

	memcpy(value + p[1], p + 3, p[2]);
	memcpy(mask + p[1], p + 3 + p[2], p[2]);
	pred.least = (uint64_t)p[1] + p[2];
	for (int i = 0; i < 2; i++) {
		pred.value[i] = get_le64(value + 8 * i);
		pred.mask[i] = get_le64(mask + 8 * i);
		if (pred.value[i] & ~pred.mask[i])
			return PLAN_FALSE;
	}
	return predicate(plan, &pred);
}

static uint32_t leaf(struct plan *plan, const uint8_t *p)
{
	struct plan_pred feature = { .kind = PLAN_PRED_FEATURE, .most = UINT64_MAX };
	uint32_t number;

	switch (p[0]) {
	case OP_RUN:
		number = get_le32(p + 1);
		plan->runs[number].refs++;
		return node_add(plan, PLAN_RUN, number,
				plan->runs[number].gram_count > 4 ? COST_RUN : COST_RUN_SHORT);
	case OP_STRING:
		number = get_le32(p + 1);
		return reference(plan, PLAN_STRING, number, plan->strings[number].root,
				 &plan->strings[number].refs);
	case OP_RULE:
		number = get_le32(p + 1);
		return reference(plan, PLAN_RULE, number, plan->rules[number].root,
				 &plan->rules[number].refs);
	case OP_SIZE:
		return size_leaf(plan, p);
	case OP_BYTES:
		return bytes_leaf(plan, p);
	case OP_FEATURE:
		feature.feature = get_le64(p + 1);
		return predicate(plan, &feature);
	default:
		return PLAN_TRUE;
	}
}

static int by_cost(const void *a, const void *b, void *arg)
{
	const struct plan_node *nodes = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint32_t cx = nodes[x].cost, cy = nodes[y].cost;

	return cx != cy ? (cx < cy ? -1 : 1) : (x > y) - (x < y);
}

/* At least k of the n values, without those that are constants. */
static uint32_t operator_node(struct plan *plan, uint32_t k, const uint32_t *values, uint32_t n)
{
	uint32_t *children = plan->children + plan->child_count;
	uint32_t left = 0, node;
	uint64_t cost = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (values[i] == PLAN_TRUE)
			k -= k > 0;
		else if (values[i] != PLAN_FALSE)
			children[left++] = values[i];
	}
	if (k == 0 || k > left)
		return constant(k == 0);
	if (left == 1)
		return children[0];
	qsort_r(children, left, sizeof *children, by_cost, plan->nodes);
	for (uint32_t i = 0; i < left; i++)
		cost += plan->nodes[children[i]].cost;
	if (k == left)
		cost = plan->nodes[children[0]].cost + left - 1;
	node = node_add(plan, k == left ? PLAN_AND : (k == 1 ? PLAN_OR : PLAN_ATLEAST),
			plan->child_count, cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX);
	plan->nodes[node].k = (uint16_t)k;
	plan->nodes[node].n = (uint16_t)left;
	plan->child_count += left;
	return node;
}

uint32_t plan_code_build(struct plan *plan, const struct plan_code *code)
{
	uint32_t stack[PLAN_STACK_MAX];
	const uint8_t *p = plan->bytes + code->at, *end = p + code->n;
	uint32_t have = 0, k, n, value;

	while (p < end) {
		size_t bytes = op_bytes(p, (size_t)(end - p));

		REQUIRE(bytes > 0 && (have < PLAN_STACK_MAX || is_operator(p[0])));
		if (is_operator(p[0])) {
			n = get_le16(p + (p[0] == OP_ATLEAST ? 3 : 1));
			k = p[0] == OP_AND ? n : (p[0] == OP_OR ? 1 : get_le16(p + 1));
			REQUIRE(n <= have);
			have -= n;
			value = operator_node(plan, k, stack + have, n);
		} else {
			value = leaf(plan, p);
		}
		stack[have++] = value;
		p += bytes;
	}
	REQUIRE(have == 1);
	return stack[0];
}
