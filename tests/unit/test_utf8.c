#include "unit.h"

#include "base/utf8.h"

#define BAD "\xef\xbf\xbd" /* U+FFFD */

static void test_rows(void **state)
{
	static const struct {
		const char *name;
		const char *s;
		const char *clean; /* NULL: well-formed */
	} rows[] = {
		{ "empty", "", NULL },
		{ "ascii", "plain\x7f", NULL },
		{ "two bytes, least", "\xc2\x80", NULL },
		{ "two bytes, most", "\xdf\xbf", NULL },
		{ "three bytes, least", "\xe0\xa0\x80", NULL },
		{ "below the surrogates", "\xed\x9f\xbf", NULL },
		{ "above the surrogates", "\xee\x80\x80", NULL },
		{ "three bytes, most", "\xef\xbf\xbf", NULL },
		{ "four bytes, least", "\xf0\x90\x80\x80", NULL },
		{ "U+10FFFF", "\xf4\x8f\xbf\xbf", NULL },
		{ "mixed", "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9fz", NULL },
		{ "lone continuation", "a\x80z", "a" BAD "z" },
		{ "two continuations", "\xbf\x80", BAD BAD },
		{ "overlong slash, two bytes", "\xc0\xaf", BAD BAD },
		{ "overlong U+007F", "\xc1\xbf", BAD BAD },
		{ "overlong slash, three bytes", "\xe0\x80\xaf", BAD BAD BAD },
		{ "overlong U+07FF", "\xe0\x9f\xbf", BAD BAD BAD },
		{ "overlong U+FFFF", "\xf0\x8f\xbf\xbf", BAD BAD BAD BAD },
		{ "first surrogate", "\xed\xa0\x80", BAD BAD BAD },
		{ "last surrogate", "\xed\xbf\xbf", BAD BAD BAD },
		{ "surrogate pair", "\xed\xa0\xbd\xed\xb8\x80", BAD BAD BAD BAD BAD BAD },
		{ "U+110000", "\xf4\x90\x80\x80", BAD BAD BAD BAD },
		{ "lead byte f5", "\xf5\x80\x80\x80", BAD BAD BAD BAD },
		{ "five bytes", "\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD },
		{ "six bytes", "\xfc\x84\x80\x80\x80\x80", BAD BAD BAD BAD BAD BAD },
		{ "fe and ff", "\xfe\xff", BAD BAD },
		{ "cut after one of two", "a\xc3", "a" BAD },
		{ "cut after two of three", "a\xe2\x82", "a" BAD BAD },
		{ "cut after three of four", "a\xf0\x9f\x90", "a" BAD BAD BAD },
		{ "lead, then ascii", "\xc3(\xe2(\x82", BAD "(" BAD "(" BAD },
		{ "lead, then lead", "\xc3\xc3\xa4", BAD "\xc3\xa4" },
		{ "third byte missing", "\xe2\x82(", BAD BAD "(" },
		{ "latin-1", "M\xfcller", "M" BAD "ller" },
	};
	struct buf b = BUF_INIT(1000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct str s = str_of(rows[i].s);

		CHECK_ROW(rows[i].name, utf8_valid(s) == (rows[i].clean == NULL));
		buf_reset(&b);
		utf8_clean(&b, s);
		CHECK_ROW_STR(rows[i].name, buf_str(&b),
			      str_of(rows[i].clean ? rows[i].clean : rows[i].s));
		CHECK_ROW(rows[i].name, utf8_valid(buf_str(&b)));
	}
	assert_true(utf8_valid(str_make("a\0b", 3)));
	assert_true(utf8_valid(str_of(NULL)));
	buf_release(&b);
}

/* Every code point out and in again; every surrogate refused. */
static void test_all_code_points(void **state)
{
	struct buf b = BUF_INIT(8);

	(void)state;
	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		uint32_t got = 0;
		size_t want = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

		if (cp >= 0xd800 && cp <= 0xdfff)
			continue;
		buf_reset(&b);
		utf8_put(&b, cp);
		assert_true(b.n == want);
		assert_true(utf8_next(buf_str(&b), &got) == want);
		assert_true(got == cp);
		for (size_t n = 1; n < want; n++)
			assert_true(utf8_next(str_make(b.p, n), &got) == 0);
	}
	buf_release(&b);
	assert_int_equal(utf8_next(STR(""), &(uint32_t){ 0 }), 0);
}

static void put_surrogate(void *arg)
{
	struct buf b = BUF_INIT(8);

	(void)arg;
	utf8_put(&b, 0xd800);
}

static void put_too_high(void *arg)
{
	struct buf b = BUF_INIT(8);

	(void)arg;
	utf8_put(&b, 0x110000);
}

static void test_put_aborts(void **state)
{
	(void)state;
	assert_true(test_aborts(put_surrogate, NULL, "cp < 0xd800"));
	assert_true(test_aborts(put_too_high, NULL, "cp <= 0x10ffff"));
}

static void test_cut(void **state)
{
	static const struct {
		const char *name;
		const char *s;
		size_t max;
		size_t want;
	} rows[] = {
		{ "fits", "abc", 3, 3 },
		{ "more room", "abc", 100, 3 },
		{ "ascii", "abc", 2, 2 },
		{ "nothing", "abc", 0, 0 },
		{ "in two", "a\xc3\xa4", 2, 1 },
		{ "after two", "\xc3\xa4z", 2, 2 },
		{ "three, one in", "a\xe2\x82\xac", 2, 1 },
		{ "three, two in", "a\xe2\x82\xac", 3, 1 },
		{ "three, all in", "a\xe2\x82\xacz", 4, 4 },
		{ "four, one in", "\xf0\x9f\x90\x9f", 1, 0 },
		{ "four, three in", "\xf0\x9f\x90\x9f", 3, 0 },
		{ "second of two", "\xf0\x9f\x90\x9f\xf0\x9f\x90\x9f", 6, 4 },
		{ "no UTF-8 at all", "\x80\x80\x80\x80\x80\x80", 4, 4 },
		{ "lead without its rest", "a\xf0\x9f", 2, 2 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct str got = utf8_cut(str_of(rows[i].s), rows[i].max);

		CHECK_ROW(rows[i].name, got.p == rows[i].s);
		CHECK_ROW(rows[i].name, got.n == rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_all_code_points),
		cmocka_unit_test(test_put_aborts),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
