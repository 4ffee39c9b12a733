/*
 * engine.h: sources in, messages and rules out. Each documented error, and what
 * the engine would do silently: dropping rules, taking modules we refuse.
 */
#include "engine_fixture.h"

#define ALL_MODULES                                                                                \
	"import \"pe\" import \"elf\" import \"dotnet\" import \"lnk\" import \"macho\" "          \
	"import \"math\" import \"magic\" import \"hash\" import \"string\" import \"time\" "      \
	"import \"vt\" "

/* `open` n times, `leaf`, `close` n times, as the condition of one rule. */
static char *nested_rule(const char *open, const char *leaf, const char *close, size_t n)
{
	size_t size = n * (strlen(open) + strlen(close)) + strlen(leaf) + 100;
	char *text = malloc(size), *p = text;

	assert_non_null(text);
	p = stpcpy(p, "rule first { condition: true }\nrule nested { condition: ");
	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, open);
	p = stpcpy(p, leaf);
	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, close);
	stpcpy(p, " }");
	return text;
}

static void test_version(void **state)
{
	(void)state;
	assert_string_equal(engine_version(), "1.22.1");
}

static void test_every_module_is_linked_in(void **state)
{
	static const char *const conditions[] = {
		"not pe.is_pe",
		"not defined elf.type",
		"not dotnet.is_dotnet",
		"not lnk.is_lnk",
		"not defined macho.magic",
		"math.max(1, 2) == 2",
		"magic.type() contains \"ASCII\" and magic.mime_type() == \"text/plain\"",
		"hash.md5(0, filesize) == \"5d41402abc4b2a76b9719d911017c592\"",
		"string.to_int(\"12\") == 12",
		"time.now() > 0",
		"vt.metadata.file_size == 0",
		"pe.imphash() == \"x\" or not pe.is_pe",
	};
	char source[1000];

	(void)state;
	for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
		snprintf(source, sizeof source, ALL_MODULES "rule r { condition: %s }",
			 conditions[i]);
		struct engine_scanner *s = scanner(source);
		if (hit_count(s, "hello") != 1)
			fail_msg("no hit: %s", conditions[i]);
		engine_scanner_free(s);
	}
}

/* One row: a source with one error, and where the message must point. */
static const struct {
	const char *name, *source, *code;
	unsigned line, column;
} bad_sources[] = {
	{ "syntax", "rule a {\n  condition: true and\n}", "E001", 3, 1 },
	{ "unknown identifier", "rule a {\n condition:\n  \n   foo }", "E009", 4, 4 },
	{ "columns are characters", "rule a { condition: \"\xc3\xa9\xc3\xa9\" == foo }", "E009", 1,
	  29 },
	{ "unused pattern", "rule a { strings: $x = \"abc\" condition: true }", "E022", 1, 19 },
	{ "twice", "rule a { condition: true }\nrule a { condition: true }", "E012", 2, 6 },
	{ "not UTF-8", "rule a {\n  // \xff\n condition: true }", "E032", 2, 6 },
	{ "include", "include \"/etc/passwd\"\nrule a { condition: true }", "E044", 1, 1 },
	{ "no such module", "import \"nothing\"", "E010", 1, 1 },
	{ "left out: console", "import \"console\"", "E010", 1, 1 },
	{ "left out: cuckoo", "import \"cuckoo\"", "E010", 1, 1 },
	{ "left out: test_proto2", "import \"test_proto2\"", "E010", 1, 1 },
	{ "left out: test_proto3", "import \"test_proto3\"", "E010", 1, 1 },
	{ "banned: dex", "import \"dex\"", "E100", 1, 1 },
	{ "banned: crx", "import \"crx\"", "E100", 1, 1 },
	{ "banned: zip", "\n import \"zip\"", "E100", 2, 2 },
	{ "external of another type", "rule a { condition: positives == \"x\" }", "E003", 1, 21 },
	{ "external as a rule name", "rule md5 { condition: true }", "E013", 1, 6 },
};

static void test_errors_have_code_and_place(void **state)
{
	char part[200];

	(void)state;
	for (size_t i = 0; i < sizeof bad_sources / sizeof *bad_sources; i++) {
		struct engine_compiler *c = compiler(&file_options);
		struct engine_rules *rules = NULL;
		if (add(c, "the.space", bad_sources[i].source) != ENGINE_COMPILE)
			fail_msg("accepted: %s", bad_sources[i].name);
		assert_string_not_equal(engine_last_error(), "");
		char *text = messages(c);
		snprintf(part, sizeof part, "[{\"level\":\"error\",\"code\":\"%s\",\"title\":\"",
			 bad_sources[i].code);
		assert_contains(text, part);
		snprintf(part, sizeof part,
			 ",\"line\":%u,\"column\":%u,\"namespace\":\"the.space\",",
			 bad_sources[i].line, bad_sources[i].column);
		assert_contains(text, part);
		free(text);
		/* Nothing of it may be used. */
		assert_int_equal(engine_compiler_build(c, &rules), ENGINE_COMPILE);
		assert_null(rules);
		engine_compiler_free(c);
	}
}

static void test_banned_modules_say_what_is_accepted(void **state)
{
	struct engine_compiler *c = compiler(&file_options);

	(void)state;
	assert_int_equal(add(c, "a", "import \"dex\""), ENGINE_COMPILE);
	char *text = messages(c);
	assert_contains(text, "module `dex` is not accepted");
	assert_contains(text, "pe, elf, dotnet, lnk, macho, math, magic, hash, string, time, vt");
	free(text);
	engine_compiler_free(c);
}

static void test_messages_name_their_source(void **state)
{
	static const char warns[] = "rule a { strings: $a = \"ab\" condition: $a or true }";
	struct engine_compiler *c = compiler(&file_options);

	(void)state;
	assert_int_equal(add(c, "one", "rule a { condition: true }"), ENGINE_OK);
	assert_int_equal(add(c, "two", warns), ENGINE_OK);
	assert_int_equal(add(c, "three", "rule a { condition: foo }"), ENGINE_COMPILE);
	assert_int_equal(add(c, "four", "rule a { condition: bar }"), ENGINE_COMPILE);
	char *text = messages(c);
	const char *three = strstr(text, "\"namespace\":\"three\"");
	const char *four = strstr(text, "\"namespace\":\"four\"");
	const char *two = strstr(text, "\"level\":\"warning\",\"code\":\"invariant_expr\"");
	assert_true(three && four && two && three < four && four < two);
	assert_contains(two, "\"namespace\":\"two\"");
	assert_contains(text, "error[E009]: unknown identifier `foo`\\n --> line:1:21\\n");
	free(text);
	engine_compiler_free(c);
}

static void test_warnings_are_bounded(void **state)
{
	static const char source[] = "rule a { condition: 1 } rule b { condition: 1 } "
				     "rule c { condition: 1 }";

	(void)state;
	for (uint32_t max = 0; max <= 2; max++) {
		struct engine_compile_options options = { .warnings_max = max };
		struct engine_compiler *c = compiler(&options);
		size_t count = 0;
		assert_int_equal(add(c, "a", source), ENGINE_OK);
		char *text = messages(c);
		for (char *p = text; (p = strstr(p, "\"level\":\"warning\"")); p++)
			count++;
		assert_int_equal(count, max);
		if (!max)
			assert_string_equal(text, "[]");
		free(text);
		engine_compiler_free(c);
	}
}

static void test_vt_fields_depend_on_the_entity(void **state)
{
	static const struct {
		const char *condition;
		bool accepted[4]; /* by enum engine_entity */
	} rows[] = {
		{ "vt.metadata.file_size > 0", { true, false, false, false } },
		{ "vt.behaviour.verdict_confidence > 0", { true, false, false, false } },
		{ "vt.net.url.port == 80", { false, true, false, false } },
		{ "vt.net.domain.jarm == \"x\"", { false, true, true, false } },
		{ "vt.net.ip.ip_asn == 1", { false, true, true, true } },
		{ "vt.FileType.PE_EXE == 1", { true, true, true, true } },
	};
	char source[200];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(source, sizeof source, "import \"vt\" rule r { condition: %s }",
			 rows[i].condition);
		for (unsigned entity = 0; entity < 4; entity++) {
			struct engine_compile_options options = {
				.entity = (enum engine_entity)entity, .warnings_max = 0
			};
			struct engine_compiler *c = compiler(&options);
			enum engine_result rc = add(c, "a", source);
			if ((rc == ENGINE_OK) != rows[i].accepted[entity])
				fail_msg("entity %u, %s: %d", entity, rows[i].condition, rc);
			char *text = messages(c);
			if (rc != ENGINE_OK)
				assert_contains(text, "\"code\":\"E100\"");
			free(text);
			engine_compiler_free(c);
		}
	}
}

static void test_retrohunt_has_no_submitter(void **state)
{
	static const char source[] =
		"import \"vt\" rule r { condition: vt.metadata.submitter.country == \"ES\" }";

	(void)state;
	for (int retrohunt = 0; retrohunt <= 1; retrohunt++) {
		struct engine_compile_options options = { .retrohunt = retrohunt != 0 };
		struct engine_compiler *c = compiler(&options);
		assert_int_equal(add(c, "a", source), retrohunt ? ENGINE_COMPILE : ENGINE_OK);
		char *text = messages(c);
		if (retrohunt)
			assert_contains(text, "\"code\":\"E100\"");
		free(text);
		engine_compiler_free(c);
	}
}

static void test_slow_rules_can_be_refused(void **state)
{
	static const char *const sources[] = {
		"rule r { strings: $a = { 00 00 00 } condition: $a }",
		"rule r { strings: $a = \"a\" condition: $a }",
		"rule r { condition: for any i in (0..filesize) : (uint8(i) == 1) }",
	};

	(void)state;
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		for (int refuse = 0; refuse <= 1; refuse++) {
			struct engine_compile_options options = { .refuse_slow = refuse != 0,
								  .warnings_max = 9 };
			struct engine_compiler *c = compiler(&options);
			if (add(c, "a", sources[i]) != (refuse ? ENGINE_COMPILE : ENGINE_OK))
				fail_msg("refuse_slow %d: %s", refuse, sources[i]);
			char *text = messages(c);
			assert_contains(text, refuse ? "\"level\":\"error\"" : "slow");
			free(text);
			engine_compiler_free(c);
		}
	}
}

static void test_deep_rules_are_never_dropped(void **state)
{
	static const struct {
		const char *open, *leaf, *close;
		size_t n;
		bool accepted;
	} rows[] = {
		{ "(", "1 == 1", ")", 200, true },
		{ "(", "1 == 1", ")", 1400, true },
		{ "(", "1 == 1", ")", 1600, false },
		{ "(", "1 == 1", ")", 10000, false },
		{ "not ", "true", "", 2900, true },
		{ "not ", "true", "", 3100, false },
		{ "not ", "true", "", 10000, false },
		{ "-", "1 == 1", "", 10000, false },
		{ "not (", "true", ")", 900, true },
		{ "not (", "true", ")", 1100, false },
		{ "any of (true, ", "true", ")", 900, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct engine_compiler *c = compiler(&file_options);
		char *source = nested_rule(rows[i].open, rows[i].leaf, rows[i].close, rows[i].n);
		enum engine_result rc = add(c, "a", source);
		if (rc != (rows[i].accepted ? ENGINE_OK : ENGINE_COMPILE))
			fail_msg("%zu times '%s': %d", rows[i].n, rows[i].open, rc);
		if (rc == ENGINE_OK) {
			struct engine_rules *rules = built(c);
			assert_int_equal(engine_rules_count(rules), 2);
			engine_rules_free(rules);
		} else {
			char *text = messages(c);
			assert_contains(text, "\"level\":\"error\",\"code\":\"W001\"");
			assert_contains(text, "\"line\":2,\"column\":1,");
			free(text);
			engine_compiler_free(c);
		}
		free(source);
	}
}

static void test_bad_arguments_of_the_compiler(void **state)
{
	struct engine_compile_options odd = { .entity = (enum engine_entity)4 };
	struct engine_compiler *c = NULL;
	struct engine_rules *rules = NULL;
	struct engine_buffer buf = { 0 };

	(void)state;
	assert_int_equal(engine_compiler_new(NULL, &c), ENGINE_INVALID);
	assert_int_equal(engine_compiler_new(&odd, &c), ENGINE_INVALID);
	assert_string_equal(engine_last_error(), "unknown entity 4");
	assert_int_equal(engine_compiler_new(&file_options, NULL), ENGINE_INVALID);
	assert_null(c);
	assert_int_equal(engine_compiler_add(NULL, "a", 1, "", 0), ENGINE_INVALID);
	assert_int_equal(engine_compiler_messages(NULL, &buf), ENGINE_INVALID);
	assert_int_equal(engine_compiler_build(NULL, &rules), ENGINE_INVALID);
	engine_compiler_free(NULL);

	c = compiler(&file_options);
	assert_int_equal(engine_compiler_add(c, "", 0, "", 0), ENGINE_INVALID);
	assert_int_equal(engine_compiler_add(c, "\xff", 1, "", 0), ENGINE_INVALID);
	assert_int_equal(engine_compiler_add(c, NULL, 1, "", 0), ENGINE_INVALID);
	assert_int_equal(engine_compiler_add(c, "a", 1, NULL, 1), ENGINE_INVALID);
	assert_int_equal(engine_compiler_messages(c, NULL), ENGINE_INVALID);
	assert_int_equal(engine_compiler_build(c, NULL), ENGINE_INVALID);
	assert_int_equal(add(c, "b", "rule r { condition: true }"), ENGINE_OK);
	assert_int_equal(add(c, "b", "rule s { condition: true }"), ENGINE_INVALID);
	assert_string_equal(engine_last_error(), "namespace 'b' was added before");
	engine_compiler_free(c);

	c = compiler(&file_options);
	assert_int_equal(add(c, "b", "rule r { condition: true }"), ENGINE_OK);
	assert_int_equal(engine_compiler_build(c, &rules), ENGINE_OK);
	assert_int_equal(add(c, "c", "rule r { condition: true }"), ENGINE_INVALID);
	assert_int_equal(engine_compiler_messages(c, &buf), ENGINE_INVALID);
	assert_int_equal(engine_compiler_build(c, &rules), ENGINE_INVALID);
	assert_string_equal(engine_last_error(), "the compiler is used up");
	engine_compiler_free(c);
	engine_rules_free(rules);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_every_module_is_linked_in),
		cmocka_unit_test(test_errors_have_code_and_place),
		cmocka_unit_test(test_banned_modules_say_what_is_accepted),
		cmocka_unit_test(test_messages_name_their_source),
		cmocka_unit_test(test_warnings_are_bounded),
		cmocka_unit_test(test_vt_fields_depend_on_the_entity),
		cmocka_unit_test(test_retrohunt_has_no_submitter),
		cmocka_unit_test(test_slow_rules_can_be_refused),
		cmocka_unit_test(test_deep_rules_are_never_dropped),
		cmocka_unit_test(test_bad_arguments_of_the_compiler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
