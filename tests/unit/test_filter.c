#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "base/hex.h"
#include "base/limits.h"
#include "store/stream_filter.h"

/* 2023-03-01T00:00:00Z */
#define NOW INT64_C(1677628800)

static const struct filter_env env = { .now_s = NOW };

static int parse(struct arena *a, struct str text, const struct filter_node **ret, struct err *err)
{
	return filter_parse(ret, a, &stream_schema, text, &env, err);
}

/* Each filter that is taken, and its canonical text. */
static const struct {
	const char *text;
	const char *canonical;
} good[] = {
	/* api.md 1.9: operators, quotes, juxtaposition, precedence */
	{ "", "" },
	{ "  \t ", "" },
	{ "origin:hunting", "origin:hunting" },
	{ "ORIGIN:Hunting", "origin:hunting" },
	{ "origin:hunting entity_type:file", "origin:hunting entity_type:file" },
	{ "origin:hunting and entity_type:file", "origin:hunting entity_type:file" },
	{ "origin:hunting AND entity_type:file or tag:x",
	  "origin:hunting entity_type:file OR tag:x" },
	{ "tag:a (tag:b or tag:c)", "tag:a (tag:b OR tag:c)" },
	{ "tag:a (tag:b tag:c)", "tag:a tag:b tag:c" },
	{ "((tag:a)) OR (tag:b OR tag:c)", "tag:a OR tag:b OR tag:c" },
	{ "not tag:a tag:b", "NOT tag:a tag:b" },
	{ "NOT (tag:a tag:b)", "NOT (tag:a tag:b)" },
	{ "tag:a NOT tag:b", "tag:a NOT tag:b" },
	{ "NOT not Not tag:a", "NOT NOT NOT tag:a" },
	{ "(tag:a)(tag:b)", "tag:a tag:b" },
	{ "owner", "\"owner\"" },
	{ "'Google Threat Intelligence'", "\"Google Threat Intelligence\"" },
	{ "source_name:'Google Threat Intelligence'",
	  "source_name:\"Google Threat Intelligence\"" },
	{ "source_name:auto_network_watch_*", "source_name:auto_network_watch_*" },
	{ "tag:Ransom*", "tag:ransom*" },
	{ "\"and\"", "\"and\"" },
	{ "android", "\"android\"" },
	{ "\"say \\\"hi\\\" \\\\ \\*\"", "\"say \\\"hi\\\" \\\\ \\*\"" },
	{ "“Kimsuky”", "\"Kimsuky\"" },
	{ "‘Kimsuky’", "\"Kimsuky\"" },
	{ "“Kimsuky\"", "\"Kimsuky\"" },
	{ "\"it’s\"", "\"it\\’s\"" },
	{ "tag:“Chinese Files”", "tag:chinese_files" },
	{ "tag:a\xc2\xa0tag:b", "tag:a tag:b" },
	/* dates */
	{ "date:3d+", "date:1677369600+" },
	{ "date:3d", "date:1677369600+" },
	{ "date:3d entity_type:url", "date:1677369600+ entity_type:url" },
	{ "date:3d-", "date:1677369600-" },
	{ "date:60d+", "date:1672444800+" },
	{ "date:10m+", "date:1677628200+" },
	{ "date:1d+", "date:1677542400+" },
	{ "date:7d+", "date:1677024000+" },
	{ "date:2023-02-07T10:00:00+", "date:1675764000+" },
	{ "date:2023-02-07-", "date:1675728000-" },
	{ "date:2023-02-07", "date:2023-02-07" },
	{ "date:2023-02-07T10-00-00", "date:1675764000" },
	{ "date:1675778611", "date:1675778611" },
	{ "date:1675778611+", "date:1675778611+" },
	{ "date:2021-07-21+ date:2021-07-23-", "date:1626825600+ date:1626998400-" },
	{ "date:2021-07-23-", "date:1626998400-" },
	{ "date:\"2023-02-07 10:00:00+\"", "date:1675764000+" },
	{ "date:\"2023-02-07\"+ tag:a", "date:1675728000+ tag:a" },
	{ "date:1960-01-01+", "date:1960-01-01T00:00:00+" },
	{ "date:1960-01-02", "date:1960-01-02" },
	{ "date:2500-01-01-", "date:16725225600-" },
	/* api.md 2.3 */
	{ "origin:subscriptions", "origin:subscriptions" },
	{ "entity_type:ip_address", "entity_type:ip_address" },
	{ "entity_type:FILE", "entity_type:file" },
	{ "source_type:retrohunt_job", "source_type:retrohunt_job" },
	{ "source_type:threat_profile", "source_type:threat_profile" },
	{ "source_id:7926136120", "source_id:7926136120" },
	{ "notification_tag:vulnerability_weaponization",
	  "notification_tag:vulnerability_weaponization" },
	{ "origin:hunting tag:my_rule", "origin:hunting tag:my_rule" },
	{ "entity_id:Evil.Example.COM.", "entity_id:evil.example.com" },
	{ "entity_id:2001:0DB8::0:1", "entity_id:\"2001:db8::1\"" },
	{ "entity_id:10.0.0.1", "entity_id:10.0.0.1" },
	{ "entity_id:http://a/",
	  "entity_id:282a35d7a0da6ae48eee116ad6193fa861bd88958a4c38a8042f6712ed9474f7" },
	{ "entity_id:aHR0cDovL2Ev",
	  "entity_id:282a35d7a0da6ae48eee116ad6193fa861bd88958a4c38a8042f6712ed9474f7" },
	{ "entity_id:D41D8CD98F00B204E9800998ECF8427E",
	  "entity_id:d41d8cd98f00b204e9800998ecf8427e" },
	{ "http://evil.example/a?b=1", "\"http://evil.example/a?b=1\"" },
	{ "2001:db8::1", "\"2001:db8::1\"" },
	{ "fe80::1", "\"fe80::1\"" },
	/* the three filters of the seeds, verbatim */
	{ "date:3d+ entity_type:url source_type:collection",
	  "date:1677369600+ entity_type:url source_type:collection" },
	{ "date:7d+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) "
	  "source_type:threat_actor “Kimsuky”",
	  "date:1677024000+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) "
	  "source_type:threat_actor \"Kimsuky\"" },
	{ "date:1d+ entity_type:file origin:hunting",
	  "date:1677542400+ entity_type:file origin:hunting" },
};

static void every_accepted_filter_has_its_canonical_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		struct arena *a = arena_new("test", FILTER_ARENA_BYTES);
		const struct filter_node *node, *again;
		struct buf out = BUF_INIT(LIMIT_FILTER_BYTES);
		struct err err = { 0 };

		if (parse(a, str_of(good[i].text), &node, &err))
			fail_msg("'%s': %s", good[i].text, err.msg);
		filter_print(&out, node);
		if (!str_eq_z(buf_str(&out), good[i].canonical))
			fail_msg("'%s' prints '" STR_FMT "', not '%s'", good[i].text,
				 STR_ARG(buf_str(&out)), good[i].canonical);
		if (parse(a, buf_str(&out), &again, &err))
			fail_msg("'" STR_FMT "' again: %s", STR_ARG(buf_str(&out)), err.msg);
		if (!filter_equal(node, again))
			fail_msg("'%s' is another tree when printed and parsed", good[i].text);
		buf_release(&out);
		arena_free(a);
	}
}

static const struct {
	const char *text;
	const char *message;
} bad[] = {
	{ "origin:notHunting",
	  "origin \"notHunting\" is not valid. Valid origins are: hunting,subscriptions" },
	{ "entity_type:files", "entity_type \"files\" is not valid. Valid entity types are: "
			       "file,domain,url,ip_address" },
	{ "source_type:\"*x\"",
	  "source_type \"*x\" is not valid. Valid source types are: hunting_ruleset,retrohunt_job,"
	  "collection,threat_actor,threat_profile" },
	{ "colour:red",
	  "filter, character 1: unknown key \"colour\" (quote it if it is text). Valid "
	  "keys are: date,origin,entity_type,entity_id,source_type,source_id,"
	  "notification_tag,tag,source_name" },
	{ "tag:é colour:red",
	  "filter, character 7: unknown key \"colour\" (quote it if it is text). Valid "
	  "keys are: date,origin,entity_type,entity_id,source_type,source_id,"
	  "notification_tag,tag,source_name" },
	{ "date:yesterday",
	  "date \"yesterday\" is not valid. Valid dates are: 2023-02-07, "
	  "2023-02-07T10:00:00, 1675778611, 3d; followed by + (since) or - (before)" },
	{ "date:*", "date \"*\" is not valid. Valid dates are: 2023-02-07, "
		    "2023-02-07T10:00:00, 1675778611, 3d; followed by + (since) or - (before)" },
	{ "(tag:a", "filter, character 1: the parenthesis that opens here is not closed" },
	{ "tag:a (tag:b (tag:c)",
	  "filter, character 7: the parenthesis that opens here is not closed" },
	{ "tag:a)", "filter, character 6: this \")\" closes nothing" },
	{ "()", "filter, character 2: expected a term or \"(\" before \")\"" },
	{ "tag:a OR", "filter, character 9: expected a term or \"(\" before the end" },
	{ "OR tag:a", "filter, character 1: expected a term or \"(\" before OR" },
	{ "tag:a OR AND tag:b", "filter, character 10: expected a term or \"(\" before AND" },
	{ "NOT", "filter, character 4: expected a term or \"(\" before the end" },
	{ "tag:\"abc", "filter, character 5: the quote that opens here is not closed" },
	{ "“abc", "filter, character 1: the quote that opens here is not closed" },
	{ "\"abc\\", "filter, character 1: the quote that opens here is not closed" },
	{ "tag:", "filter, character 5: expected a value after \"tag:\"" },
	{ "tag: x", "filter, character 5: expected a value after \"tag:\"" },
	{ "tag:(x)", "filter, character 5: expected a value after \"tag:\"" },
	{ "\"\"", "filter, character 1: expected text between the quotes" },
	{ "tag:\"  \"", "filter, character 5: expected more than blanks between the quotes" },
	{ "entity_id:*.example.com", "filter, character 11: entity_id takes no wildcard (*)" },
	{ "source_id:7*", "filter, character 11: source_id takes no wildcard (*)" },
	{ "tag:\xff", "filter, character 5: this is not UTF-8" },
	{ "tag:a\x01", "filter, character 6: a control character" },
};

static void every_refused_filter_says_where_and_why(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct arena *a = arena_new("test", FILTER_ARENA_BYTES);
		const struct filter_node *node = NULL;
		struct err err = { 0 };

		if (parse(a, str_of(bad[i].text), &node, &err) != -ERR_INVALID || node)
			fail_msg("'%s' was taken", bad[i].text);
		if (strcmp(err.msg, bad[i].message) != 0)
			fail_msg("'%s' says '%s', not '%s'", bad[i].text, err.msg, bad[i].message);
		arena_free(a);
	}
}

static void add_many(struct buf *b, const char *z, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buf_add_z(b, z);
}

/* n times the opening, a term, n times the closing. */
static int parse_nested(const char *open, unsigned n, const char *close, struct err *err)
{
	struct arena *a = arena_new("test", FILTER_ARENA_BYTES);
	struct buf b = BUF_INIT(1 << 20);
	const struct filter_node *node;

	add_many(&b, open, n);
	buf_add_z(&b, "tag:a");
	add_many(&b, close, n);
	int rc = parse(a, buf_str(&b), &node, err);
	buf_release(&b);
	arena_free(a);
	return rc;
}

static void limits_are_errors_that_name_them(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(parse_nested("(", LIMIT_FILTER_DEPTH, ")", &err), 0);
	assert_int_equal(parse_nested("NOT ", LIMIT_FILTER_DEPTH, "", &err), 0);
	assert_int_equal(parse_nested("(", LIMIT_FILTER_DEPTH + 1, ")", &err), -ERR_INVALID);
	assert_string_equal(err.msg, "filter, character 65: nested deeper than 64");
	assert_int_equal(parse_nested("(", 8000, "", &err), -ERR_INVALID);
	assert_string_equal(err.msg, "filter, character 65: nested deeper than 64");
	assert_int_equal(parse_nested("(NOT ", 3000, ")", &err), -ERR_INVALID);
	assert_string_equal(err.msg, "filter: longer than 16384 bytes");
	assert_int_equal(parse_nested("NOT ", 4000, "", &err), -ERR_INVALID);
	assert_string_equal(err.msg, "filter, character 257: nested deeper than 64");
	assert_int_equal(parse_nested("(", 10000, "", &err), -ERR_INVALID);
	assert_int_equal(parse_nested("tag:b ", LIMIT_FILTER_TERMS - 1, "", &err), 0);
	assert_int_equal(parse_nested("tag:b ", LIMIT_FILTER_TERMS, "", &err), -ERR_INVALID);
	assert_string_equal(err.msg, "filter, character 1537: more than 256 terms");
}

static void a_small_arena_is_an_error(void **state)
{
	struct arena *a = arena_new("test", 300);
	const struct filter_node *node;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(parse(a, STR("tag:a tag:b tag:c tag:d"), &node, &err), -ERR_NO_MEMORY);
	arena_free(a);
}

/* ---- what filters mean ------------------------------------------------------------ */

static const struct hashes sample = { .sha256 = { 0xab, 0xcd }, .sha1 = { 1 }, .md5 = { 2 } };
static const struct str file_tags[] = { { "chinese_files", 13 }, { "my_rule", 7 } };

enum {
	FILE_ITEM,
	URL_ITEM,
	DOMAIN_ITEM,
	IP_ITEM,
	ITEM_COUNT
};
static const struct stream_item items[ITEM_COUNT] = {
	[FILE_ITEM] = { NOW - 3600,
			STREAM_RULESET,
			STREAM_FILE,
			17,
			{ "Chinese Files", 13 },
			{ (const char *)sample.sha256, 32 },
			file_tags,
			2,
			&sample },
	[URL_ITEM] = { NOW - 86400 * 2,
		       STREAM_COLLECTION,
		       STREAM_URL,
		       18,
		       { "XMRig miners", 12 },
		       { (const char *)sample.sha1, 0 },
		       NULL,
		       0,
		       NULL },
	[DOMAIN_ITEM] = { NOW - 86400 * 5,
			  STREAM_THREAT_ACTOR,
			  STREAM_DOMAIN,
			  19,
			  { "APT43 (Kimsuky)", 15 },
			  { "evil.example.com", 16 },
			  NULL,
			  0,
			  NULL },
	[IP_ITEM] = { NOW - 86400 * 30,
		      STREAM_RETROHUNT,
		      STREAM_IP_ADDRESS,
		      20,
		      { "my retrohunt", 12 },
		      { "2001:db8::1", 11 },
		      file_tags + 1,
		      1,
		      NULL },
};

/* For each filter, which of the four hold: F, U, D, I. */
static const struct {
	const char *text;
	const char *holds;
} meaning[] = {
	{ "", "FUDI" },
	{ "date:3d+", "FU" },
	{ "date:3d", "FU" },
	{ "date:3d-", "DI" },
	{ "date:2023-02-27", "U" },
	{ "date:2023-02-27+", "FU" },
	{ "date:1677456000", "U" },
	{ "date:1677456000+ date:1677456001-", "U" },
	{ "date:1677456000-", "DI" },
	{ "date:1677456001", "" },
	{ "origin:hunting", "FI" },
	{ "origin:subscriptions", "UD" },
	{ "NOT origin:hunting", "UD" },
	{ "source_type:hunting_ruleset OR source_type:retrohunt_job", "FI" },
	{ "source_type:threat_profile", "" },
	{ "NOT source_type:threat_profile", "FUDI" },
	{ "source_type:*", "FUDI" },
	{ "entity_type:file", "F" },
	{ "entity_type:url OR entity_type:domain", "UD" },
	{ "source_id:18", "U" },
	{ "source_id:elsewhere", "" },
	{ "tag:my_rule", "FI" },
	{ "notification_tag:MY_RULE", "FI" },
	{ "tag:\"Chinese Files\"", "F" },
	{ "tag:chin*", "F" },
	{ "tag:*rule", "FI" },
	{ "tag:chinese", "" },
	{ "tag:abcd000000000000000000000000000000000000000000000000000000000000", "F" },
	{ "\"Kimsuky\"", "D" },
	{ "“Kimsuky”", "D" },
	{ "kimsuky apt43", "D" },
	{ "\"kimsuky apt43\"", "D" },
	{ "k*suky", "D" },
	{ "source_name:MINERS", "U" },
	{ "source_name:my_rule", "" },
	{ "my_rule", "FI" },
	{ "my", "I" },
	{ "evil.example.com", "D" },
	{ "entity_id:EVIL.example.com", "D" },
	{ "entity_id:example.com", "" },
	{ "entity_id:2001:DB8:0::1", "I" },
	{ "2001:db8::1", "I" },
	{ "entity_id:ABCD000000000000000000000000000000000000000000000000000000000000", "F" },
	{ "abcd000000000000000000000000000000000000000000000000000000000000", "F" },
	{ "entity_id:02000000000000000000000000000000", "F" },
	{ "entity_id:0100000000000000000000000000000000000000", "F" },
	{ "entity_id:0300000000000000000000000000000000000000", "" },
	{ "tag:my_rule NOT entity_type:file", "I" },
	{ "entity_type:file OR entity_type:url date:1d+", "F" },
	{ "(entity_type:file OR entity_type:url) date:1d-", "U" },
};

static void the_predicate_holds_where_it_should(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof meaning / sizeof meaning[0]; i++) {
		struct arena *a = arena_new("test", FILTER_ARENA_BYTES);
		const struct filter_node *node;
		struct err err = { 0 };
		char holds[ITEM_COUNT + 1] = "";
		size_t n = 0;

		if (parse(a, str_of(meaning[i].text), &node, &err))
			fail_msg("'%s': %s", meaning[i].text, err.msg);
		for (size_t k = 0; k < ITEM_COUNT; k++)
			if (filter_match(node, &items[k]))
				holds[n++] = "FUDI"[k];
		if (strcmp(holds, meaning[i].holds) != 0)
			fail_msg("'%s' holds for '%s', not '%s'", meaning[i].text, holds,
				 meaning[i].holds);
		arena_free(a);
	}
}

/* ---- what the environment resolves -------------------------------------------------- */

static bool know_hash(void *arg, struct str hex, uint8_t ret[SHA256_BYTES])
{
	(void)arg;
	memset(ret, 0, SHA256_BYTES);
	ret[0] = 0xab;
	ret[1] = 0xcd;
	return str_eq(hex, STR("d41d8cd98f00b204e9800998ecf8427e"));
}

static bool know_url(void *arg, struct str url, uint8_t ret[SHA256_BYTES])
{
	(void)arg;
	(void)url;
	memset(ret, 0x11, SHA256_BYTES);
	return true;
}

static bool know_id(void *arg, struct str id, uint32_t *ret_kinds, int64_t *ret_id)
{
	(void)arg;
	*ret_kinds = STREAM_BIT(STREAM_RETROHUNT);
	*ret_id = 20;
	return str_eq(id, STR("alice-20"));
}

static void values_are_resolved_by_the_environment(void **state)
{
	const struct filter_env full = { NOW, know_hash, know_url, know_id, NULL };
	struct arena *a = arena_new("test", FILTER_ARENA_BYTES);
	const struct filter_node *node;
	char hex[2 * SHA256_BYTES + 1];
	struct err err = { 0 };

	(void)state;
	assert_int_equal(filter_parse(&node, a, &stream_schema,
				      STR("entity_id:D41D8CD98F00B204E9800998ECF8427E"), &full,
				      &err),
			 0);
	hex_encode(sample.sha256, SHA256_BYTES, hex);
	assert_true(str_eq_z(node->text, hex));
	assert_true(filter_match(node, &items[FILE_ITEM]));
	assert_int_equal(
		filter_parse(&node, a, &stream_schema, STR("entity_id:HTTP://a"), &full, &err), 0);
	assert_int_equal(node->entity.sha256[31], 0x11);
	assert_int_equal(
		filter_parse(&node, a, &stream_schema, STR("source_id:alice-20"), &full, &err), 0);
	assert_true(filter_match(node, &items[IP_ITEM]));
	assert_int_equal(filter_parse(&node, a, &stream_schema, STR("source_id:18"), &full, &err),
			 0);
	assert_true(filter_match(node, &items[URL_ITEM]));
	arena_free(a);
}

/* ---- another table with the same parser --------------------------------------------- */

static const struct filter_field other_fields[] = {
	{ "rules", FILTER_NUMBER, 0, NULL, "" },
	{ "enabled", FILTER_ENUM, 1, "values", "" },
};
static const struct filter_value other_values[] = { { "enabled", "true", 2 },
						    { "enabled", "false", 1 } };
static const struct filter_schema other = { other_fields, 2, other_values, 2, NULL };

static void another_schema_has_numbers_and_no_free_text(void **state)
{
	struct arena *a = arena_new("test", FILTER_ARENA_BYTES);
	const struct filter_node *node;
	struct err err = { 0 };
	struct buf out = BUF_INIT(100);

	(void)state;
	assert_int_equal(filter_parse(&node, a, &other, STR("rules:5+ enabled:True"), &env, &err),
			 0);
	assert_int_equal(node->kid_count, 2);
	assert_true(node->kids[0]->num_lo >= 5.0 && node->kids[0]->num_lo <= 5.0);
	assert_true(node->kids[0]->num_hi > 1e300);
	assert_int_equal(node->kids[1]->mask, 2);
	filter_print(&out, node);
	assert_true(str_eq(buf_str(&out), STR("rules:5+ enabled:true")));
	assert_int_equal(filter_parse(&node, a, &other, STR("rules:7.5-"), &env, &err), 0);
	assert_true(node->num_lo < -1e300 && node->num_hi > 7.4 && node->num_hi < 7.6);
	assert_int_equal(filter_parse(&node, a, &other, STR("rules:inf"), &env, &err),
			 -ERR_INVALID);
	assert_int_equal(filter_parse(&node, a, &other, STR("rules:1.2.3"), &env, &err),
			 -ERR_INVALID);
	assert_int_equal(filter_parse(&node, a, &other, STR("word"), &env, &err), -ERR_INVALID);
	assert_string_equal(err.msg, "filter, character 1: expected a key such as \"rules:\"");
	buf_release(&out);
	arena_free(a);
}

static const struct {
	struct str raw, normal;
} tags[] = {
	{ { "Chinese Files", 13 }, { "chinese_files", 13 } },
	{ { "  a \t b ", 8 }, { "a_b", 3 } },
	{ { "\xc3\x84x", 3 }, { "\xc3\x84x", 3 } },
	{ { "a_b", 3 }, { "a_b", 3 } },
	{ { " ", 1 }, { "", 0 } },
};

static void tags_have_one_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
		struct buf out = BUF_INIT(100);

		filter_tag_normalise(&out, tags[i].raw);
		if (!str_eq(buf_str(&out), tags[i].normal))
			fail_msg("'" STR_FMT "' becomes '" STR_FMT "'", STR_ARG(tags[i].raw),
				 STR_ARG(buf_str(&out)));
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_accepted_filter_has_its_canonical_text),
		cmocka_unit_test(every_refused_filter_says_where_and_why),
		cmocka_unit_test(limits_are_errors_that_name_them),
		cmocka_unit_test(a_small_arena_is_an_error),
		cmocka_unit_test(the_predicate_holds_where_it_should),
		cmocka_unit_test(values_are_resolved_by_the_environment),
		cmocka_unit_test(another_schema_has_numbers_and_no_free_text),
		cmocka_unit_test(tags_have_one_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
