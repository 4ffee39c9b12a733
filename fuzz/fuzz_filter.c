#include "fuzz.h"

#include <string.h>

#include "base/limits.h"
#include "store/stream_cursor.h"
#include "store/stream_filter.h"

/*
 * Any bytes as a filter, as a date and as a cursor. A filter that is taken prints
 * to a text that is taken again, means the same, and prints the same.
 */
enum {
	PRINTED_MAX = 8 * LIMIT_FILTER_BYTES
};

static const struct filter_env env = { .now_s = 1677628800 };

static void check_filter(struct str text)
{
	struct arena *a = arena_new("fuzz", 8 * FILTER_ARENA_BYTES);
	struct buf once = BUF_INIT(PRINTED_MAX), twice = BUF_INIT(PRINTED_MAX);
	const struct str tags[] = { { "malware", 7 } };
	const struct stream_item item = { .date_s = 1677628000,
					  .source_kind = STREAM_RULESET,
					  .entity_kind = STREAM_DOMAIN,
					  .source_id = 7,
					  .label = { "Kimsuky watch", 13 },
					  .entity_id = { "a.example", 9 },
					  .tags = tags,
					  .tag_count = 1 };
	const struct filter_node *node, *again;
	struct err err;
	int rc = filter_parse(&node, a, &stream_schema, text, &env, &err);

	REQUIRE(rc == 0 || rc == -ERR_INVALID);
	if (rc == 0) {
		filter_print(&once, node);
		REQUIRE(!buf_failed(&once));
		rc = filter_parse(&again, a, &stream_schema, buf_str(&once), &env, &err);
		/* Quotes and escapes may take it over the limit, and nothing else. */
		REQUIRE(rc == 0 || once.n > LIMIT_FILTER_BYTES);
	}
	if (rc == 0) {
		filter_print(&twice, again);
		REQUIRE(filter_equal(node, again));
		REQUIRE(str_eq(buf_str(&once), buf_str(&twice)));
		REQUIRE(filter_match(node, &item) == filter_match(again, &item));
	}
	buf_release(&once);
	buf_release(&twice);
	arena_free(a);
}

static void check_date(struct str text)
{
	int64_t lo, hi, lo2, hi2;
	struct buf out = BUF_INIT(64);

	if (filter_date_parse(text, env.now_s, &lo, &hi)) {
		REQUIRE(lo < hi);
		filter_date_print(&out, lo, hi);
		REQUIRE(filter_date_parse(buf_str(&out), env.now_s, &lo2, &hi2));
		REQUIRE(lo == lo2 && hi == hi2);
	}
	buf_release(&out);
}

static void check_cursor(struct str text)
{
	struct arena *a = arena_new("fuzz", 2 * LIMIT_CURSOR_BYTES);
	struct stream_cursor c;
	struct err err;
	int rc = stream_cursor_decode(a, text, 0, &c, &err);

	REQUIRE(rc == 0 || rc == -ERR_INVALID);
	arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str text = { (const char *)data, n };

	check_filter(text);
	check_date(text);
	if (n <= LIMIT_CURSOR_BYTES)
		check_cursor(text);
	return 0;
}

void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const char *const texts[] = {
		"date:3d+ entity_type:url source_type:collection",
		("date:7d+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) "
		 "source_type:threat_actor “Kimsuky”"),
		"date:1d+ entity_type:file origin:hunting",
		"NOT (tag:\"a\\\"b*\" or notification_tag:x) and source_id:7 'Google Threat'",
		"entity_id:http://a/ date:2023-02-07T10-00-00- date:1675778611 source_name:k*y",
		"entity_id:d41d8cd98f00b204e9800998ecf8427e 2001:db8::1",
		"2023-02-07T10:00:00Z+",
		"1969-12-31",
		"99999999999999999999w-",
		"",
	};
	struct buf b = BUF_INIT(LIMIT_CURSOR_BYTES);
	const struct stream_cursor c = { .owner_id = 1,
					 .position = 9,
					 .now_s = 1677628800,
					 .limit = 40,
					 .filter = { "tag:a", 5 } };

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		run((const uint8_t *)texts[i], strlen(texts[i]));
	stream_cursor_encode(&b, &c, 0);
	run((const uint8_t *)b.p, b.n);
	buf_release(&b);
}
