#include "fuzz.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/limits.h"
#include "page.h"
#include "view.h"

/*
 * Any bytes as the cursor of a list: taken only if they are one of ours, and then
 * they are what is made of what they hold. And any JSON object as a stored one: cut
 * into its members, each of them alone or left out, it stays the object it is.
 */
enum {
	KEY = 77,
	ARENA_BYTES = 1 << 20,
	TEXT_MAX = 1 << 20
};

static void check_cursor(struct str text)
{
	struct arena *a = arena_new("fuzz", ARENA_BYTES);
	struct buf again = BUF_INIT(LIMIT_CURSOR_BYTES);
	struct page page = { .key = KEY };

	if (page_cursor_decode(a, text, &page)) {
		REQUIRE(page.limit > 0 && page.position.n > 0 && page.total >= -1);
		page_cursor_encode(&again, &page, page.position);
		REQUIRE(str_eq(buf_str(&again), text));
		page.key++; /* of another list */
		REQUIRE(!page_cursor_decode(a, text, &page));
	}
	buf_release(&again);
	arena_free(a);
}

/* A position and a filter made of the bytes come back from their cursor. */
static void check_round_trip(struct str bytes)
{
	size_t filter_bytes = bytes.n ? (unsigned char)bytes.p[0] % bytes.n : 0;
	struct arena *a = arena_new("fuzz", ARENA_BYTES);
	struct buf text = BUF_INIT(LIMIT_CURSOR_BYTES);
	struct page page = { .key = KEY, .limit = 7, .total = (int64_t)bytes.n - 1, .now_s = -5 };
	struct page back = { .key = KEY };
	struct str position = str_make(bytes.p + filter_bytes, bytes.n - filter_bytes);

	page.filter = str_make(bytes.p, filter_bytes);
	if (position.n > 0 && position.n <= PAGE_POSITION_BYTES) {
		page_cursor_encode(&text, &page, position);
		REQUIRE(page_cursor_decode(a, buf_str(&text), &back));
		REQUIRE(str_eq(back.filter, page.filter) && str_eq(back.position, position));
		REQUIRE(back.total == page.total && back.limit == 7);
		REQUIRE(back.now_s == (filter_bytes ? page.now_s : 0));
		text.p[text.n / 2] ^= 1; /* still of the alphabet, or not */
		REQUIRE(!page_cursor_decode(a, buf_str(&text), &back));
	}
	buf_release(&text);
	arena_free(a);
}

/* The members that the view shows, against what jansson makes of the whole. */
static void check_shown(struct str text, json_t *whole, const struct view *view)
{
	struct buf out = BUF_INIT(TEXT_MAX);
	json_t *answer, *shown, *value;
	const char *key;
	size_t want = 0;
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	view_put_attributes(&j, view, text);
	json_obj_end(&j);
	json_end(&j);
	answer = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
	shown = json_object_get(answer, "attributes");
	REQUIRE(json_is_object(shown));
	json_object_foreach(whole, key, value)
	{
		bool is_shown = (!view->attributes.given ||
				 view_names_have(&view->attributes, str_of(key))) &&
				!view_names_have(&view->without, str_of(key));

		want += is_shown;
		REQUIRE(is_shown == json_equal(json_object_get(shown, key), value));
	}
	REQUIRE(json_object_size(shown) == want);
	json_decref(answer);
	buf_release(&out);
}

/* Names of attributes are plain; a key that needs an escape is no name of ours. */
static bool has_plain_keys(json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		for (const char *p = key; *p; p++)
			if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
				return false;
	}
	return true;
}

static void check_view(struct str bytes)
{
	json_t *whole = json_loadb(bytes.p, bytes.n, JSON_REJECT_DUPLICATES, NULL);
	struct view view = { .descriptors = false };
	const char *key;
	json_t *value;
	char *text;

	if (json_is_object(whole) && has_plain_keys(whole)) {
		text = json_dumps(whole, JSON_COMPACT);
		REQUIRE(text);
		check_shown(str_of(text), whole, &view);
		json_object_foreach(whole, key, value)
		{
			const struct str name = str_of(key);
			const struct view_names one = { .given = true, .names = &name, .count = 1 };

			check_shown(str_of(text), whole, &(struct view){ .attributes = one });
			check_shown(str_of(text), whole, &(struct view){ .without = one });
		}
		free(text);
	}
	json_decref(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str text = { (const char *)data, n };

	if (n <= LIMIT_CURSOR_BYTES)
		check_cursor(text);
	if (n <= PAGE_POSITION_BYTES)
		check_round_trip(text);
	if (n <= 8192)
		check_view(text);
	return 0;
}

void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const char *const texts[] = {
		"{}",
		"{\"a\":1,\"names\":[\"a \\\"b\\\" {c} [d] "
		"\\\\\"],\"o\":{\"a\":{\"b\":[]}},\"z\":null}",
		"{\"size\":12,\"md5\":\"d41d8cd98f00b204e9800998ecf8427e\",\"tags\":[],\"f\":-1."
		"5e3}",
		"{\"\":\"\",\"\xc3\xbc\":\"\\u0000\"}",
		"f-0000000000000000000000000000000000000000000000000000000000000000-12",
	};
	struct buf b = BUF_INIT(LIMIT_CURSOR_BYTES);
	const struct page page = { .key = KEY,
				   .limit = 40,
				   .total = 99,
				   .now_s = 1677628800,
				   .order = 1,
				   .ordered = true,
				   .filter = { "tag:a", 5 } };

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		run((const uint8_t *)texts[i], strlen(texts[i]));
	page_cursor_encode(&b, &page, STR("17.name"));
	run((const uint8_t *)b.p, b.n);
	buf_release(&b);
}
