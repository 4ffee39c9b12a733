/*
 * engine.h: rules, scanners and modules. What the rest of the program relies
 * on: `vt` data lives for one scan, rule indexes survive a round trip, a panic
 * is an answer.
 */
#include "engine_fixture.h"

#include <pthread.h>

/* Everything engine_rules_each tells, one line a rule. */
static void describe(const struct engine_rule *rule, void *arg)
{
	FILE *out = arg;

	fprintf(out, "%u %s%s%.*s:%.*s", rule->index, rule->is_private ? "private " : "",
		rule->is_global ? "global " : "", (int)rule->ns.n, rule->ns.p, (int)rule->name.n,
		rule->name.p);
	for (size_t i = 0; i < rule->tag_count; i++)
		fprintf(out, " #%.*s", (int)rule->tags[i].n, rule->tags[i].p);
	fprintf(out, " %.*s\n", (int)rule->metadata_json.n, rule->metadata_json.p);
}

static char *description(const struct engine_rules *rules)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(engine_rules_each(rules, describe, out), ENGINE_OK);
	fclose(out);
	return text;
}

static struct engine_rules *carried(struct engine_rules *rules)
{
	struct engine_buffer buf = { 0 };
	struct engine_rules *ret = NULL;

	assert_int_equal(engine_rules_serialize(rules, &buf), ENGINE_OK);
	assert_int_equal(engine_rules_load(buf.data, buf.len, &ret), ENGINE_OK);
	engine_buffer_free(&buf);
	engine_rules_free(rules);
	return ret;
}

static void test_rules_tell_all_and_survive_a_round_trip(void **state)
{
	static const char expected[] =
		"0 one:b #t1 #T2 [[\"s\",\"q\\\"uote \xc3\xa9\"],[\"i\",-5],[\"b\",true],"
		"[\"f\",1.5],[\"s\",\"again\"],[\"x\",\"A\xef\xbf\xbd\"]]\n"
		"1 private one:a []\n"
		"2 global two:a [[\"big\",9223372036854775807]]\n"
		"3 private global two:c #z []\n";
	struct engine_compiler *c = compiler(&file_options);
	char *text;

	(void)state;
	assert_int_equal(add(c, "one",
			     "rule b : t1 T2 { meta: s = \"q\\\"uote \xc3\xa9\" i = -5 b = true "
			     "f = 1.5 s = \"again\" x = \"\\x41\\xff\" condition: a }"
			     "private rule a { condition: true }"),
			 ENGINE_COMPILE); /* a rule must come before its use */
	engine_compiler_free(c);
	c = compiler(&file_options);
	assert_int_equal(add(c, "one",
			     "rule b : t1 T2 { meta: s = \"q\\\"uote \xc3\xa9\" i = -5 b = true "
			     "f = 1.5 s = \"again\" x = \"\\x41\\xff\" condition: true }"
			     "private rule a { condition: b }"),
			 ENGINE_OK);
	assert_int_equal(add(c, "two",
			     "global rule a { meta: big = 9223372036854775807 condition: true }"
			     "private global rule c : z { condition: true }"),
			 ENGINE_OK);
	struct engine_rules *rules = built(c);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(engine_rules_count(rules), 4);
		text = description(rules);
		assert_string_equal(text, expected);
		free(text);
		rules = carried(rules);
	}
	engine_rules_free(rules);
}

static void test_only_own_bytes_load(void **state)
{
	struct engine_rules *rules = compiled("rule r { condition: true }"), *other = NULL;
	struct engine_buffer buf = { 0 };

	(void)state;
	assert_int_equal(engine_rules_serialize(rules, &buf), ENGINE_OK);
	for (size_t i = 0; i < buf.len; i += i < 40 ? 1 : 997) {
		buf.data[i] ^= 0x20;
		if (engine_rules_load(buf.data, buf.len, &other) != ENGINE_FORMAT)
			fail_msg("byte %zu changed, and it loads", i);
		buf.data[i] ^= 0x20;
	}
	for (size_t len = 0; len < buf.len; len += len < 40 ? 1 : 997)
		assert_int_equal(engine_rules_load(buf.data, len, &other), ENGINE_FORMAT);
	assert_null(other);
	assert_int_equal(engine_rules_load(buf.data, buf.len, &other), ENGINE_OK);
	engine_rules_free(other);
	engine_buffer_free(&buf);
	engine_rules_free(rules);
}

static void test_a_hundred_namespaces(void **state)
{
	struct engine_compiler *c = compiler(&file_options);
	char ns[20], source[400], expected[20];
	struct hits hits;

	(void)state;
	/* Two rules each, same names in all; in the 50th a global rule forbids both. */
	for (int i = 0; i < 100; i++) {
		snprintf(ns, sizeof ns, "set.%d", i);
		snprintf(source, sizeof source,
			 "private rule p { condition: filesize > 0 }"
			 "%srule r { strings: $a = \"word%02d\" $b = \"all\" condition: p and any "
			 "of them }",
			 i == 50 ? "global rule g { condition: filesize == 0 }" : "", i);
		assert_int_equal(add(c, ns, source), ENGINE_OK);
	}
	struct engine_rules *rules = built(c);
	assert_int_equal(engine_rules_count(rules), 201);
	struct engine_rules *loaded = carried(rules);
	char *text = description(loaded);
	struct engine_scanner *s = NULL;
	assert_int_equal(engine_scanner_new(loaded, &s), ENGINE_OK);
	for (int i = 0; i < 100; i++) {
		snprintf(source, sizeof source, "the word%02d", i);
		assert_int_equal(scan(s, source, strlen(source), 1, &hits), ENGINE_OK);
		assert_int_equal(hits.count, i == 50 ? 0 : 1);
		if (i == 50)
			continue;
		snprintf(expected, sizeof expected, "%u set.%d:r ", hits.index[0], i);
		assert_contains(text, expected);
	}
	assert_int_equal(scan(s, "all", 3, 1, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 99); /* no private rule among them */
	free(text);
	engine_scanner_free(s);
	engine_rules_free(loaded);
}

static void test_matches_are_merged_sorted_and_cut(void **state)
{
	static const struct engine_match all[] = {
		{ 0, 3 }, { 1, 2 }, { 3, 3 }, { 4, 2 }, { 7, 2 }
	};
	struct engine_scanner *s = scanner(
		"rule r { strings: $bc = \"bc\" $abc = \"abc\" $same = /abc/ $p = \"ca\" private "
		"condition: all of them }");
	struct hits hits;

	(void)state;
	for (size_t max = 0; max <= 6; max++) {
		assert_int_equal(scan(s, "abcabc-bc", 9, max, &hits), ENGINE_OK);
		assert_int_equal(hits.count, 1);
		assert_int_equal(hits.match_count, max < 5 ? max : 5);
		assert_int_equal(hits.cut, max < 5);
		for (size_t i = 0; i < hits.match_count; i++) {
			assert_int_equal(hits.matches[i].offset, all[i].offset);
			assert_int_equal(hits.matches[i].len, all[i].len);
		}
	}
	assert_int_equal(scan(s, "abc", 3, SIZE_MAX, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 0);
	engine_scanner_free(s);
}

static void test_data_may_hold_anything(void **state)
{
	struct engine_scanner *s = scanner("rule r { strings: $a = { 61 00 62 } $b = "
					   "\"a\\x00b\\x00c\" condition: any of them }"
					   "rule empty { condition: filesize == 0 }");
	struct hits hits;

	(void)state;
	assert_int_equal(scan(s, "\0\0a\0b\0c\0", 8, 9, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 1);
	assert_int_equal(hits.match_count, 2);
	assert_int_equal(hits.matches[0].offset, 2);
	assert_int_equal(hits.matches[1].len, 5);
	assert_int_equal(scan(s, NULL, 0, 9, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 1);
	assert_int_equal(hits.match_count, 0);
	engine_scanner_free(s);

	/* A NUL in a source is an error like any other. */
	struct engine_compiler *c = compiler(&file_options);
	static const char source[] = "rule a { condition: true }\0rule b { condition: true }";
	assert_int_equal(engine_compiler_add(c, "a", 1, source, sizeof source - 1), ENGINE_COMPILE);
	char *text = messages(c);
	assert_contains(text, "\"code\":\"E001\"");
	free(text);
	engine_compiler_free(c);
}

static void test_matches_per_pattern_are_bounded(void **state)
{
	size_t count = ENGINE_MATCHES_PER_PATTERN + 5000;
	char *data = malloc(2 * count), source[200];
	struct hits hits;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < count; i++)
		memcpy(data + 2 * i, "xy", 2);
	snprintf(source, sizeof source, "rule r { strings: $a = \"xy\" condition: #a == %d }",
		 ENGINE_MATCHES_PER_PATTERN);
	struct engine_scanner *s = scanner(source);
	assert_int_equal(scan(s, data, 2 * count, 5, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 1);
	assert_int_equal(hits.match_count, 5);
	assert_int_equal(hits.matches[4].offset, 8);
	assert_true(hits.cut);
	engine_scanner_free(s);
	free(data);
}

/* LiveHuntData { meta: FileMetadata { file_size: 1234, new_file: true, tags: ["x"] } } */
static const uint8_t vt_data[] = { 0x0a, 8, 0x48, 0xd2, 0x09, 0x58, 1, 0x62, 1, 'x' };

/* tags: ["\xff"], and protobuf wants UTF-8 */
static const uint8_t vt_bad[] = { 0x0a, 3, 0x62, 1, 0xff };

static void test_vt_data_lives_for_one_scan(void **state)
{
	struct engine_scanner *s =
		scanner("import \"vt\" rule r { condition: vt.metadata.file_size == 1234 and "
			"vt.metadata.new_file and for any t in vt.metadata.tags : (t == \"x\") }");

	(void)state;
	for (int round = 0; round < 3; round++) {
		assert_int_equal(engine_scanner_set_vt(s, vt_data, sizeof vt_data), ENGINE_OK);
		assert_int_equal(hit_count(s, "x"), 1);
		assert_int_equal(hit_count(s, "x"), 0);
	}
	engine_scanner_free(s);

	/* Without data a field is what it is in empty data: never undefined. */
	s = scanner("import \"vt\" rule r { condition: defined vt.metadata.file_size and "
		    "vt.metadata.file_size == 0 }");
	assert_int_equal(hit_count(s, "x"), 1);
	assert_int_equal(engine_scanner_set_vt(s, NULL, 0), ENGINE_OK);
	assert_int_equal(hit_count(s, "x"), 1);
	/* A message that does not parse changes nothing; neither do rules without vt. */
	assert_int_equal(engine_scanner_set_vt(s, vt_data, sizeof vt_data), ENGINE_OK);
	assert_int_equal(engine_scanner_set_vt(s, vt_bad, sizeof vt_bad), ENGINE_INVALID);
	assert_int_equal(hit_count(s, "x"), 0);
	engine_scanner_free(s);
	s = scanner("rule r { condition: true }");
	assert_int_equal(engine_scanner_set_vt(s, vt_data, sizeof vt_data), ENGINE_OK);
	assert_int_equal(hit_count(s, "x"), 1);
	engine_scanner_free(s);
}

static void test_externals(void **state)
{
	static const char *const strings[] = { "file_name", "file_type", "imphash", "md5",
					       "sha1",      "sha256",    "ssdeep",  "tags",
					       "vhash",     "signatures" };
	static const char *const integers[] = { "positives", "submissions" };
	char source[200];

	(void)state;
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		snprintf(source, sizeof source,
			 "rule set { condition: %s contains \"v\xc3\xa9l\" } "
			 "rule unset { condition: %s == \"\" }",
			 strings[i], strings[i]);
		struct engine_scanner *s = scanner(source);
		assert_int_equal(engine_scanner_set_str(s, strings[i], "a v\xc3\xa9l b", 8),
				 ENGINE_OK);
		assert_int_equal(hit_count(s, ""), 1);
		assert_int_equal(hit_count(s, ""), 1); /* it stays */
		assert_int_equal(engine_scanner_set_str(s, strings[i], "other", 5), ENGINE_OK);
		assert_int_equal(hit_count(s, ""), 0);
		engine_scanner_free(s);
	}
	for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
		snprintf(source, sizeof source, "rule r { condition: %s > 4 }", integers[i]);
		struct engine_scanner *s = scanner(source);
		assert_int_equal(hit_count(s, ""), 0);
		assert_int_equal(engine_scanner_set_int(s, integers[i], INT64_MAX), ENGINE_OK);
		assert_int_equal(hit_count(s, ""), 1);
		assert_int_equal(engine_scanner_set_int(s, integers[i], INT64_MIN), ENGINE_OK);
		assert_int_equal(hit_count(s, ""), 0);
		engine_scanner_free(s);
	}
	struct engine_scanner *s = scanner("rule r { condition: new_file }");
	assert_int_equal(hit_count(s, ""), 0);
	assert_int_equal(engine_scanner_set_bool(s, "new_file", true), ENGINE_OK);
	assert_int_equal(hit_count(s, ""), 1);
	engine_scanner_free(s);

	/* Other entities have none. */
	struct engine_compile_options options = { .entity = ENGINE_URL };
	struct engine_compiler *c = compiler(&options);
	assert_int_equal(add(c, "a", "rule r { condition: new_file }"), ENGINE_COMPILE);
	engine_compiler_free(c);
}

static void test_timeout(void **state)
{
	struct engine_scanner *s =
		scanner("rule always { condition: true }"
			"rule slow { condition: filesize > 3 and for all i in (0..1000000) : "
			"(for all j in (0..1000000) : (i + j + filesize > 0)) }");
	struct hits hits;

	(void)state;
	assert_int_equal(engine_scanner_set_timeout(s, 1), ENGINE_OK);
	assert_int_equal(scan(s, "long", 4, 1, &hits), ENGINE_TIMEOUT);
	assert_int_equal(hits.count, 0);
	assert_int_equal(hit_count(s, "ab"), 1); /* as good as new */
	assert_int_equal(engine_scanner_set_timeout(s, 0), ENGINE_OK);
	assert_int_equal(hit_count(s, "ab"), 1);
	engine_scanner_free(s);
}

/*
 * yara-x 1.22.1 takes this rule and panics when it runs it: alternatives nested
 * 110 deep pass the limit of 250 levels when compiled, but not when the two
 * expressions are printed and parsed again as a set. The panic leaves through
 * compiled conditions, as any other at scan time would.
 */
static void test_a_panic_in_a_scan_is_an_answer(void **state)
{
	char regex[2000], source[5000], *p = regex;
	struct hits hits;

	(void)state;
	for (int i = 0; i < 110; i++)
		p = stpcpy(p, "(");
	p = stpcpy(p, "ab");
	for (int i = 0; i < 110; i++)
		p = stpcpy(p, "|cd)");
	snprintf(source, sizeof source,
		 "rule before { condition: true } rule r { condition: filesize > 1 and "
		 "(file_name matches /%s/ or file_name matches /x%s/) }",
		 regex, regex);
	struct engine_rules *rules = compiled(source);
	struct engine_scanner *s = NULL;
	assert_int_equal(engine_scanner_new(rules, &s), ENGINE_OK);
	assert_int_equal(scan(s, "a", 1, 1, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 1);
	assert_int_equal(scan(s, "ab", 2, 1, &hits), ENGINE_PANIC);
	assert_int_equal(hits.count, 0);
	assert_contains(engine_last_error(), "panic in the engine: error compiling RegexSet");
	assert_in_range(strlen(engine_last_error()), 1, 600);
	/* That scanner is done for; its rules are not. */
	assert_int_equal(scan(s, "a", 1, 1, &hits), ENGINE_PANIC);
	assert_int_equal(engine_scanner_set_timeout(s, 1), ENGINE_PANIC);
	assert_string_equal(engine_last_error(),
			    "an earlier call left this object unusable; free it");
	engine_scanner_free(s);
	assert_int_equal(engine_scanner_new(rules, &s), ENGINE_OK);
	assert_int_equal(hit_count(s, "a"), 1);
	engine_scanner_free(s);
	engine_rules_free(rules);
}

struct scan_thread {
	pthread_t thread;
	const struct engine_rules *rules;
	size_t hits;
};

static void count_hit(const struct engine_hit *hit, void *arg)
{
	(void)hit;
	++*(size_t *)arg;
}

static void *scan_thread_run(void *arg)
{
	struct scan_thread *t = arg;
	struct engine_scanner *s = NULL;

	for (int i = 0; i < 50; i++) {
		if (engine_scanner_new(t->rules, &s) != ENGINE_OK)
			return NULL;
		engine_scanner_set_timeout(s, 60);
		for (int j = 0; j < 10; j++)
			engine_scanner_scan(s, (const uint8_t *)"a thread", 8, 1, count_hit,
					    &t->hits);
		engine_scanner_free(s);
	}
	return NULL;
}

static void test_threads_share_rules(void **state)
{
	struct engine_rules *rules = compiled("import \"magic\" rule r { strings: $a = \"thread\" "
					      "condition: $a and magic.type() != \"\" }");
	struct scan_thread threads[4] = { 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		threads[i].rules = rules;
		assert_int_equal(
			pthread_create(&threads[i].thread, NULL, scan_thread_run, &threads[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i].thread, NULL);
		assert_int_equal(threads[i].hits, 500);
	}
	engine_rules_free(rules);
}

static void *fail_here(void *arg)
{
	struct engine_rules *rules = NULL;

	assert_string_equal(engine_last_error(), ""); /* none yet on this thread */
	assert_int_equal(engine_rules_load((const uint8_t *)"x", 1, &rules), ENGINE_FORMAT);
	assert_string_equal(engine_last_error(), "not compiled rules");
	return arg;
}

static void test_last_error_is_of_the_thread(void **state)
{
	pthread_t thread;

	(void)state;
	assert_int_equal(engine_scanner_set_timeout(NULL, 1), ENGINE_INVALID);
	assert_int_equal(pthread_create(&thread, NULL, fail_here, NULL), 0);
	pthread_join(thread, NULL);
	assert_string_equal(engine_last_error(), "the object is NULL");
}

/* ---- Modules alone ---- */

static void *warm_up_run(void *arg)
{
	*(enum engine_result *)arg = engine_warm_up();
	return NULL;
}

static void test_warm_up(void **state)
{
	enum engine_result rc = ENGINE_SCAN;
	pthread_t thread;

	(void)state;
	if (engine_warm_up() != ENGINE_OK || engine_warm_up() != ENGINE_OK)
		fail_msg("%s", engine_last_error());
	assert_int_equal(pthread_create(&thread, NULL, warm_up_run, &rc), 0);
	pthread_join(thread, NULL);
	assert_int_equal(rc, ENGINE_OK);
}

/* The bytes of the length-delimited field `number`, 0 if it is not there. */
static size_t field_len(const struct engine_buffer *buf, unsigned number)
{
	for (size_t i = 0; i < buf->len;) {
		unsigned tag = buf->data[i++], shift = 0;
		size_t len = 0;
		assert_int_equal(tag & 7, 2);
		for (bool more = true; more; shift += 7) {
			len |= (size_t)(buf->data[i] & 0x7f) << shift;
			more = buf->data[i++] & 0x80;
		}
		if (tag >> 3 == number)
			return len;
		i += len;
	}
	return 0;
}

static void test_modules_alone(void **state)
{
	enum {
		FIELD_ELF = 2,
		BYTES_MAX = 200000
	};
	uint8_t *data = malloc(BYTES_MAX);
	struct engine_buffer text = { 0 }, elf = { 0 };
	FILE *self = fopen("/proc/self/exe", "rb");

	(void)state;
	assert_non_null(data);
	assert_non_null(self);
	size_t len = fread(data, 1, BYTES_MAX, self);
	fclose(self);
	assert_int_equal(engine_modules((const uint8_t *)"text", 4, &text), ENGINE_OK);
	assert_int_equal(engine_modules(data, len, &elf), ENGINE_OK);
	assert_in_range(field_len(&text, FIELD_ELF), 0, 20);
	assert_in_range(field_len(&elf, FIELD_ELF), 200, elf.len);
	engine_buffer_free(&text);
	engine_buffer_free(&elf);
	assert_int_equal(engine_modules(NULL, 0, &text), ENGINE_OK);
	engine_buffer_free(&text);
	free(data);
}

static void test_bad_arguments_of_rules_and_scanner(void **state)
{
	struct engine_rules *rules = compiled("rule r { condition: true }");
	struct engine_scanner *s = NULL;
	struct engine_buffer buf = { 0 };
	struct hits hits;

	(void)state;
	assert_int_equal(engine_rules_serialize(NULL, &buf), ENGINE_INVALID);
	assert_int_equal(engine_rules_serialize(rules, NULL), ENGINE_INVALID);
	assert_int_equal(engine_rules_load(NULL, 1, &rules), ENGINE_INVALID);
	assert_int_equal(engine_rules_load((const uint8_t *)"", 0, NULL), ENGINE_INVALID);
	assert_int_equal(engine_rules_each(rules, NULL, NULL), ENGINE_INVALID);
	assert_int_equal(engine_rules_count(NULL), 0);
	assert_int_equal(engine_scanner_new(NULL, &s), ENGINE_INVALID);
	assert_int_equal(engine_scanner_new(rules, NULL), ENGINE_INVALID);
	assert_int_equal(engine_scanner_new(rules, &s), ENGINE_OK);
	engine_rules_free(rules);
	engine_rules_free(NULL);

	assert_int_equal(engine_scanner_set_timeout(NULL, 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_vt(s, NULL, 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_vt(s, (const uint8_t *)"\xff\xff", 2), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_str(s, "no_such", "x", 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_str(s, NULL, "x", 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_str(s, "file_name", "\xff", 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_str(s, "positives", "x", 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_int(s, "file_name", 1), ENGINE_INVALID);
	assert_int_equal(engine_scanner_set_bool(s, "file_name", true), ENGINE_INVALID);
	assert_int_equal(engine_scanner_scan(s, NULL, 1, 1, on_hit, &hits), ENGINE_INVALID);
	assert_int_equal(engine_scanner_scan(s, NULL, 0, 1, NULL, NULL), ENGINE_INVALID);
	assert_int_equal(scan(s, "x", 1, 1, &hits), ENGINE_OK);
	assert_int_equal(hits.count, 1);
	engine_scanner_free(s);
	engine_scanner_free(NULL);
	assert_int_equal(engine_modules(NULL, 1, &buf), ENGINE_INVALID);
	assert_int_equal(engine_modules(NULL, 0, NULL), ENGINE_INVALID);
	engine_buffer_free(&buf);
	engine_buffer_free(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_tell_all_and_survive_a_round_trip),
		cmocka_unit_test(test_only_own_bytes_load),
		cmocka_unit_test(test_a_hundred_namespaces),
		cmocka_unit_test(test_matches_are_merged_sorted_and_cut),
		cmocka_unit_test(test_data_may_hold_anything),
		cmocka_unit_test(test_matches_per_pattern_are_bounded),
		cmocka_unit_test(test_vt_data_lives_for_one_scan),
		cmocka_unit_test(test_externals),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_a_panic_in_a_scan_is_an_answer),
		cmocka_unit_test(test_threads_share_rules),
		cmocka_unit_test(test_last_error_is_of_the_thread),
		cmocka_unit_test(test_warm_up),
		cmocka_unit_test(test_modules_alone),
		cmocka_unit_test(test_bad_arguments_of_rules_and_scanner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
