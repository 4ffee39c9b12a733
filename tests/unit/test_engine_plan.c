#include "engine_fixture.h"

#define EXPECT_PLAN(source, result)                                                                \
	assert_int_equal(engine_plan(source, strlen(source), &plan), result)

static uint32_t word(const struct engine_buffer *plan, size_t at)
{
	uint32_t n = 0;

	assert_true(at + 4 <= plan->len);
	for (size_t i = 4; i-- > 0;)
		n = n << 8 | plan->data[at + i];
	return n;
}

static void test_the_header_counts_what_follows(void **state)
{
	static const char source[] =
		"import \"pe\"\n"
		"private rule a { strings: $x = \"needle\" $y = \"ab\" condition: any of them }\n"
		"rule b { strings: $z = \"needle\" condition: $z and a }\n";
	struct engine_buffer plan;

	(void)state;
	EXPECT_PLAN(source, ENGINE_OK);
	assert_memory_equal(plan.data, "WPLN\1\0\0", 8);
	assert_int_equal(word(&plan, 8), 3);  /* strings */
	assert_int_equal(word(&plan, 12), 2); /* rules */
	assert_int_equal(word(&plan, 16), 1); /* runs: the same is asked once */
	assert_int_equal(word(&plan, 28), plan.len);
	engine_buffer_free(&plan);
}

static void test_a_part_is_as_long_as_its_source(void **state)
{
	static const char source[] = "rule a { condition: true }\nrule b { condition: a }\n"
				     "rule c { condition: true }";
	const uint32_t rules[] = { 1 }, beyond[] = { 3 };
	struct engine_buffer part;

	(void)state;
	assert_int_equal(engine_part(source, strlen(source), rules, 1, &part), ENGINE_OK);
	assert_int_equal(part.len, strlen(source));
	assert_memory_equal(part.data, source,
			    strlen(source) - strlen("rule c { condition: true }"));
	assert_int_equal(part.data[part.len - 1], ' ');
	engine_buffer_free(&part);
	assert_int_equal(engine_part(source, strlen(source), beyond, 1, &part), ENGINE_INVALID);
	assert_int_equal(engine_part("rule a {", 8, rules, 0, &part), ENGINE_COMPILE);
	assert_int_equal(engine_part(source, strlen(source), NULL, 1, &part), ENGINE_INVALID);
	assert_int_equal(engine_part(source, strlen(source), rules, 1, NULL), ENGINE_INVALID);
}

static void test_a_source_without_rules_has_a_plan(void **state)
{
	struct engine_buffer plan;

	(void)state;
	assert_int_equal(engine_plan(NULL, 0, &plan), ENGINE_OK);
	assert_int_equal(word(&plan, 12), 0);
	engine_buffer_free(&plan);
}

static void test_what_does_not_parse_is_refused(void **state)
{
	struct engine_buffer plan;

	(void)state;
	EXPECT_PLAN("rule a {", ENGINE_COMPILE);
	EXPECT_PLAN("rule a { condition: \xff }", ENGINE_COMPILE);
	assert_string_equal(engine_last_error(), "the source is not UTF-8");
	EXPECT_PLAN("include \"x.yar\"", ENGINE_COMPILE);
	assert_string_equal(engine_last_error(), "includes are not accepted");
}

static char *repeated(const char *head, const char *part, int n, const char *tail)
{
	size_t size = strlen(head) + strlen(part) * (size_t)n + strlen(tail) + 1;
	char *text = malloc(size);
	char *p = text;

	assert_non_null(text);
	p += snprintf(p, size, "%s", head);
	for (int i = 0; i < n; i++)
		p += snprintf(p, size - (size_t)(p - text), "%s", part);
	snprintf(p, size - (size_t)(p - text), "%s", tail);
	return text;
}

static void test_the_maxima_are_kept(void **state)
{
	struct engine_buffer plan;
	char *source = repeated("", "rule r { condition: true }\n", 1001, "");

	(void)state;
	EXPECT_PLAN(source, ENGINE_INVALID);
	assert_string_equal(engine_last_error(), "more than 1000 rules");
	free(source);
	source = repeated("rule r { strings:\n", "$ = \"abcd\"\n", 65537,
			  "condition: any of them }");
	EXPECT_PLAN(source, ENGINE_INVALID);
	assert_string_equal(engine_last_error(), "more than 65536 strings");
	free(source);
}

static void test_deep_rules_do_not_overflow_the_stack(void **state)
{
	static const char *const openers[] = { "(", "not ", "-", "1 + (", "for any of them : (" };
	struct engine_buffer plan;

	(void)state;
	for (size_t i = 0; i < sizeof openers / sizeof *openers; i++) {
		char *source = repeated("rule r { strings: $a = \"abcd\" condition: ", openers[i],
					4000, "1");

		EXPECT_PLAN(source, ENGINE_COMPILE);
		free(source);
	}
}

static void test_bad_arguments(void **state)
{
	struct engine_buffer plan;

	(void)state;
	assert_int_equal(engine_plan("", 0, NULL), ENGINE_INVALID);
	assert_int_equal(engine_plan(NULL, 1, &plan), ENGINE_INVALID);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_header_counts_what_follows),
		cmocka_unit_test(test_a_part_is_as_long_as_its_source),
		cmocka_unit_test(test_a_source_without_rules_has_a_plan),
		cmocka_unit_test(test_what_does_not_parse_is_refused),
		cmocka_unit_test(test_the_maxima_are_kept),
		cmocka_unit_test(test_deep_rules_do_not_overflow_the_stack),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
