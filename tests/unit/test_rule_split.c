/* Which rules are scanned together. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "rule_split.h"

#define MB (UINT64_C(1) << 20)

/* Groups of one rule with one string each. */
static struct rule_split *groups_of(unsigned n)
{
	struct rule_split *s = mem_must_zalloc(sizeof *s);

	s->group_count = n;
	for (unsigned i = 0; i < n; i++)
		s->rules[i] = s->strings[i] = 1;
	return s;
}

static void files_add(struct rule_split *s, unsigned n, uint64_t groups, uint64_t len)
{
	for (unsigned i = 0; i < n; i++)
		rule_split_add(s, groups, len);
}

static void expect(const char *what, const struct rule_split *s, bool always, const char *wanted)
{
	uint64_t parts[RULE_PARTS_MAX], all = 0;
	unsigned n = rule_split_choose(s, 1, always, parts);
	char text[200] = "";
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		CHECK_ROW(what, parts[i] && (parts[i] & all) == 0);
		CHECK_ROW(what, all < parts[i]);
		all |= parts[i];
		at += (size_t)snprintf(text + at, sizeof text - at, "%d-%d ",
				       __builtin_ctzll(parts[i]), 63 - __builtin_clzll(parts[i]));
	}
	/* Every group is in one part. */
	CHECK_ROW(what, n == 0 || all == UINT64_MAX >> (RULE_GROUPS - s->group_count));
	if (strcmp(text, wanted) != 0)
		fail_msg("%s: parts %s, not %s", what, text, wanted);
}

static void a_rule_that_narrows_nothing_is_alone(void **state)
{
	struct rule_split *s = groups_of(RULE_GROUPS);

	(void)state;
	/* Three rules a group, and everything is wanted by the last. */
	for (unsigned i = 0; i + 1 < RULE_GROUPS; i++)
		s->rules[i] = s->strings[i] = 3;
	files_add(s, 1000, UINT64_C(1) << 63, MB);
	rule_split_add(s, UINT64_C(1) << 63 | 1, MB);
	expect("one of many", s, false, "0-62 63-63 ");
	free(s);
}

static void rules_of_a_kind_stay_together(void **state)
{
	struct rule_split *s = groups_of(8);

	(void)state;
	files_add(s, 1000, 0xff, MB);
	expect("all want all", s, false, "");
	free(s);
	s = groups_of(8);
	files_add(s, 100, 0x80, 1000);
	expect("little", s, false, "");
	expect("little, but wanted", s, true, "0-6 7-7 ");
	free(s);
	s = groups_of(8);
	expect("nothing", s, false, "");
	free(s);
	s = groups_of(1);
	files_add(s, 100000, 1, MB);
	expect("one group", s, false, "");
	expect("one group, always", s, true, "");
	free(s);
}

static void each_size_has_a_part(void **state)
{
	struct rule_split *s = groups_of(48);

	(void)state;
	for (unsigned i = 0; i < 48; i++)
		s->strings[i] = 9;
	files_add(s, 4, UINT64_C(1) << 15, MB);
	files_add(s, 400, UINT64_C(1) << 31, MB);
	files_add(s, 40000, UINT64_C(1) << 47, MB);
	expect("three sizes", s, false, "0-30 31-31 32-46 47-47 ");
	free(s);
}

/* The engine is faster with few patterns, but which those are is not known: no part counts on it.
 */
static void what_may_cost_more_is_left_as_it_is(void **state)
{
	(void)state;
	for (unsigned n = 2; n <= RULE_GROUPS; n++) {
		struct rule_split *s = groups_of(n);

		files_add(s, 1000, UINT64_MAX >> (RULE_GROUPS - n), MB);
		expect("all want all", s, false, "");
		free(s);
	}
}

static void modules_are_kept_from_what_needs_none(void **state)
{
	struct rule_split *s = groups_of(4);

	(void)state;
	/* Files of one rule and files of another: with one set all are parsed for a module. */
	s->parsing = 1 << 3;
	files_add(s, 1000, 1 << 2, MB);
	files_add(s, 1000, 1 << 3, MB);
	expect("half", s, false, "0-1 2-2 3-3 ");
	s->parsing = 0;
	expect("no modules", s, false, "");
	free(s);
}

static void a_part_pays_for_what_its_rules_want_together(void **state)
{
	struct rule_split *s = groups_of(3), *more = groups_of(3);

	(void)state;
	rule_split_add(s, 1 << 1, 100);
	rule_split_add(s, 1 | 1 << 2, 1000);
	rule_split_add(more, 1 << 1 | 1 << 2, 10000);
	rule_split_join(s, more);
	/* By the first group from i on. */
	assert_int_equal(s->bytes[0][0], 1000 + RULE_FILE_BYTES);
	assert_int_equal(s->bytes[0][1], 10100 + 2 * RULE_FILE_BYTES);
	assert_int_equal(s->bytes[0][2], 0);
	assert_int_equal(s->bytes[1][1], 10100 + 2 * RULE_FILE_BYTES);
	assert_int_equal(s->bytes[1][2], 1000 + RULE_FILE_BYTES);
	assert_int_equal(s->bytes[2][2], 11000 + 2 * RULE_FILE_BYTES);
	free(s);
	free(more);
}

static void costs_only_grow(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 1000; n++) {
		assert_true(rule_scan_ns(1e9, n, n, false) >= rule_scan_ns(1e9, n - 1, n, false));
		assert_true(rule_scan_ns(1e9, n, n, true) > rule_scan_ns(1e9, n, n, false));
	}
	assert_true(rule_scan_ns(0, 100, 100, true) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_that_narrows_nothing_is_alone),
		cmocka_unit_test(rules_of_a_kind_stay_together),
		cmocka_unit_test(each_size_has_a_part),
		cmocka_unit_test(what_may_cost_more_is_left_as_it_is),
		cmocka_unit_test(modules_are_kept_from_what_needs_none),
		cmocka_unit_test(a_part_pays_for_what_its_rules_want_together),
		cmocka_unit_test(costs_only_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
