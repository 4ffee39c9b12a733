#include "unit.h"

#include "validate_internal.h"

/* Values of headers, read alone; what a server makes of them is test_http_conditional's. */

static const struct tag_row {
	const char *list;
	bool strong, weak; /* "\"abc\"" is in it */
} tag_rows[] = {
	{ "*", true, true },
	{ " * ", true, true },
	{ "\"abc\"", true, true },
	{ "  \"abc\"\t", true, true },
	{ "W/\"abc\"", false, true },
	{ "\"x\", \"abc\"", true, true },
	{ "\"x\",\"abc\",\"y\"", true, true },
	{ ",, \"x\" ,,\"abc\"", true, true },
	{ "W/\"x\", W/\"abc\"", false, true },
	{ "\"a,b\", \"abc\"", true, true }, /* a comma inside is none */
	{ "\"ABC\"", false, false },
	{ "\"ab\"", false, false },
	{ "\"abcd\"", false, false },
	{ "abc", false, false },
	{ "\"abc", false, false },
	{ "\"x\" junk \"abc\"", false, false },
	{ "W/", false, false },
	{ "w/\"abc\"", false, false },
	{ "\"", false, false },
	{ "", false, false },
	{ "**", false, false },
};

static void test_tags(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(tag_rows); i++) {
		const struct tag_row *r = &tag_rows[i];

		if (tags_hold(str_of(r->list), STR("\"abc\""), false) != r->strong ||
		    tags_hold(str_of(r->list), STR("\"abc\""), true) != r->weak)
			fail_msg("'%s'", r->list);
	}
}

enum {
	NOW_S = 1700000000 /* 2023 */
};
#define NOT INT64_MIN

static const struct date_row {
	const char *text;
	int64_t unix_s; /* NOT: not a date */
} date_rows[] = {
	{ "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 }, /* the three of RFC 9110 5.6.7 */
	{ "Sunday, 06-Nov-94 08:49:37 GMT", 784111777 },
	{ "Sun Nov  6 08:49:37 1994", 784111777 },
	{ "  Sun, 06 Nov 1994 08:49:37 GMT ", 784111777 },
	{ "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
	{ "Wed, 31 Dec 1969 23:59:59 GMT", -1 },
	{ "Tue, 29 Feb 2028 23:59:60 GMT", 1835481600 },
	{ "Sunday, 01-Jan-73 00:00:00 GMT", 3250454400 }, /* 2073: 50 years from NOW_S */
	{ "Tuesday, 01-Jan-74 00:00:00 GMT", 126230400 },
	{ "Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 },
	{ "Sun, 6 Nov 1994 08:49:37 GMT", NOT },
	{ "Sun, 06 Nov 94 08:49:37 GMT", NOT },
	{ "Sun, 06 nov 1994 08:49:37 GMT", NOT },
	{ "Sun, 06 Nov 1994 08:49:37 UTC", NOT },
	{ "Sun, 06 Nov 1994 08:49:37", NOT },
	{ "Sun, 06 Nov 1994 08:49:37 GMT x", NOT },
	{ "Sun, 00 Nov 1994 08:49:37 GMT", NOT },
	{ "Sun, 32 Nov 1994 08:49:37 GMT", NOT },
	{ "Sun, 06 Nov 1994 24:49:37 GMT", NOT },
	{ "Sun, 06 Nov 1994 08:60:37 GMT", NOT },
	{ "Sun, 06 Nov 1994 08:49:61 GMT", NOT },
	{ "Sun, 06 Nov 1994 8:49:37 GMT", NOT },
	{ "Sun Nov 6 1994", NOT },
	{ "784111777", NOT },
	{ ",", NOT },
	{ "", NOT },
};

static void test_dates(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(date_rows); i++) {
		int64_t got = NOT;

		(void)http_date_parse(str_of(date_rows[i].text), NOW_S, &got);
		if (got != date_rows[i].unix_s)
			fail_msg("'%s': %lld", date_rows[i].text, (long long)got);
	}
}

static void test_dates_there_and_back(void **state)
{
	static const int64_t times[] = { 0, 1, 951782400, 784111777, 4102444799, 253402300799 };
	char text[HTTP_DATE_CHARS + 1];
	int64_t got;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(times); i++) {
		http_date_format(times[i], text);
		assert_true(http_date_parse(str_of(text), 0, &got));
		assert_int_equal(got, times[i]);
	}
	http_date_format(784111777, text);
	assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	http_date_format(-5, text);
	assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
	http_date_format(INT64_MAX, text);
	assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static const struct range_row {
	const char *value;
	uint64_t size;
	enum range_wish wish;
	uint64_t from, n;
} range_rows[] = {
	{ "bytes=0-99", 1000, RANGE_PART, 0, 100 },
	{ "bytes=900-", 1000, RANGE_PART, 900, 100 },
	{ "bytes=-100", 1000, RANGE_PART, 900, 100 },
	{ "bytes=-2000", 1000, RANGE_PART, 0, 1000 },
	{ "bytes=999-999", 1000, RANGE_PART, 999, 1 },
	{ "bytes=0-18446744073709551615", 1000, RANGE_PART, 0, 1000 },
	{ "BYTES = 1-2", 1000, RANGE_WHOLE, 0, 0 },
	{ "Bytes=1-2", 1000, RANGE_PART, 1, 2 },
	{ " bytes= 1-2 , ", 1000, RANGE_PART, 1, 2 },
	{ "bytes=0-9,10-19", 1000, RANGE_PART, 0, 20 }, /* they touch */
	{ "bytes=10-19,0-9", 1000, RANGE_PART, 0, 20 },
	{ "bytes=0-99,50-59,99-200", 1000, RANGE_PART, 0, 201 },
	{ "bytes=0-9,5000-", 1000, RANGE_PART, 0, 10 }, /* only what is there counts */
	{ "bytes=0-9,20-29", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=1000-", 1000, RANGE_NONE_OF_IT, 0, 0 },
	{ "bytes=1000-2000", 1000, RANGE_NONE_OF_IT, 0, 0 },
	{ "bytes=-0", 1000, RANGE_NONE_OF_IT, 0, 0 },
	{ "bytes=0-", 0, RANGE_NONE_OF_IT, 0, 0 },
	{ "bytes=-5", 0, RANGE_NONE_OF_IT, 0, 0 },
	{ "bytes=9-0", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=18446744073709551616-", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=-", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=a-b", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=1 - 2", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=+1-2", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=1", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes", 1000, RANGE_WHOLE, 0, 0 },
	{ "items=0-9", 1000, RANGE_WHOLE, 0, 0 },
	{ "", 1000, RANGE_WHOLE, 0, 0 },
	{ "bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 9, RANGE_PART, 0,
	  1 },
	{ "bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 9,
	  RANGE_WHOLE, 0, 0 },
};

static void test_ranges(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(range_rows); i++) {
		const struct range_row *r = &range_rows[i];
		struct http_range got = { 0, 0 };

		if (range_parse(str_of(r->value), r->size, &got) != r->wish ||
		    got.from != r->from || got.n != r->n)
			fail_msg("'%s': %llu %llu", r->value, (unsigned long long)got.from,
				 (unsigned long long)got.n);
	}
}

static const struct coding_row {
	const char *list;
	bool accepted;
} coding_rows[] = {
	{ "gzip", true },
	{ "GZIP", true },
	{ "deflate, gzip;q=0.5, br", true },
	{ "gzip;q=1.0", true },
	{ "gzip ; q = 0.001", true },
	{ "gzip;x=0;q=1", true },
	{ "*", true },
	{ "br, *;q=0.1", true },
	{ "identity, *", true },
	{ "gzip;q=0", false },
	{ "gzip;q=0.000", false },
	{ "gzip;Q=0", false },
	{ "gzip;q=0, *", false },
	{ "*, gzip;q=0", false },
	{ "*;q=0", false },
	{ "gzipped", false },
	{ "x-gzip", false },
	{ "br", false },
	{ "", false },
	{ ",;,", false },
};

static void test_codings(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(coding_rows); i++)
		if (coding_is_accepted(str_of(coding_rows[i].list), STR("gzip")) !=
		    coding_rows[i].accepted)
			fail_msg("'%s'", coding_rows[i].list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_dates_there_and_back),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_codings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
