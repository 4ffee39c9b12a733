#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "validate_internal.h"

/*
 * Any bytes as the values of Range, If-None-Match, If-Modified-Since and
 * Accept-Encoding. A range lies inside its file; a date is written as one that is
 * read the same; a list that holds something holds it with more behind it.
 */
enum {
	NOW_S = 1700000000,
	TEXT_BYTES = 4096
};

static void check_range(struct str s)
{
	static const uint64_t sizes[] = { 0, 1, 1000, UINT64_MAX };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct http_range r;

		if (range_parse(s, sizes[i], &r) != RANGE_PART)
			continue;
		REQUIRE(r.n > 0 && r.from < sizes[i]);
		REQUIRE(r.n <= sizes[i] - r.from);
	}
}

static void check_date(struct str s)
{
	char text[HTTP_DATE_CHARS + 1];
	int64_t first, again;

	if (!http_date_parse(s, NOW_S, &first) || first < 0)
		return;
	http_date_format(first, text);
	REQUIRE(http_date_parse(str_of(text), NOW_S, &again));
	/* A leap second at the end of the last year is beyond what can be written. */
	REQUIRE(again == first || first > 253402300799);
}

/* The same with `behind` at its end. */
static struct str longer(char to[TEXT_BYTES], struct str s, const char *behind)
{
	size_t n = strlen(behind);

	memcpy(to, s.p, s.n);
	memcpy(to + s.n, behind, n);
	return str_make(to, s.n + n);
}

static void check_lists(struct str s)
{
	const struct str tag = STR("\"a\"");
	char text[TEXT_BYTES];
	bool strong = tags_hold(s, tag, false);

	if (strong)
		REQUIRE(tags_hold(s, tag, true));
	if (strong && !str_eq(str_trim(s), STR("*")))
		REQUIRE(tags_hold(longer(text, s, ", \"b\""), tag, false));
	if (coding_is_accepted(s, STR("gzip")))
		REQUIRE(coding_is_accepted(longer(text, s, ", br"), STR("gzip")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str s = { (const char *)data, n };

	if (n == 0 || n > TEXT_BYTES - 16)
		return 0;
	check_range(s);
	check_date(s);
	check_lists(s);
	return 0;
}

void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const char *const texts[] = {
		"bytes=0-99,100-,-5",
		"bytes=18446744073709551615-18446744073709551615",
		"Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994",
		"W/\"x\", \"a\" ,*",
		"gzip;q=0.5, *;q=0, br ; q = 1",
	};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		run((const uint8_t *)texts[i], strlen(texts[i]));
}
