#include "unit.h"

static void test_compare(void **state)
{
	static const struct {
		const char *a;
		const char *b;
		int order;
		bool same_nocase;
	} rows[] = {
		{ "", "", 0, true },      { "", "a", -1, false },    { "a", "b", -1, false },
		{ "a", "ab", -1, false }, { "ab", "ab", 0, true },   { "AB", "ab", -1, true },
		{ "[", "{", -1, false },  { "\x80", "a", 1, false }, { "@", "`", -1, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct str a = str_of(rows[i].a);
		struct str b = str_of(rows[i].b);

		CHECK_ROW(rows[i].a, str_cmp(a, b) == rows[i].order);
		CHECK_ROW(rows[i].a, str_cmp(b, a) == -rows[i].order);
		CHECK_ROW(rows[i].a, str_eq(a, b) == (rows[i].order == 0));
		CHECK_ROW(rows[i].a, str_eq_z(a, rows[i].b) == (rows[i].order == 0));
		CHECK_ROW(rows[i].a, str_eq_nocase(a, b) == rows[i].same_nocase);
	}
	assert_true(str_eq(str_of(NULL), STR("")));
	assert_int_equal(str_cmp(str_of(NULL), STR("")), 0);
	assert_true(str_eq(str_make("a\0b", 3), STR("a\0b")));
	assert_false(str_eq(str_make("a\0b", 3), STR("a\0c")));
}

static void test_edges(void **state)
{
	static const struct {
		const char *s;
		const char *part;
		bool starts;
		bool ends;
	} rows[] = {
		{ "weir", "", true, true },     { "", "", true, true },
		{ "weir", "we", true, false },  { "weir", "ir", false, true },
		{ "weir", "weir", true, true }, { "weir", "weirs", false, false },
		{ "", "w", false, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct str s = str_of(rows[i].s);
		struct str part = str_of(rows[i].part);

		CHECK_ROW(rows[i].part, str_starts(s, part) == rows[i].starts);
		CHECK_ROW(rows[i].part, str_ends(s, part) == rows[i].ends);
	}
	assert_true(str_starts(str_of(NULL), str_of(NULL)));
	assert_true(str_ends(str_of(NULL), str_of(NULL)));
}

static void test_trim(void **state)
{
	static const struct {
		const char *s;
		const char *want;
	} rows[] = {
		{ "", "" },   { " ", "" },         { " \t\r\n\v\f", "" },
		{ "a", "a" }, { " a b\t", "a b" }, { "\xc2\xa0", "\xc2\xa0" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		CHECK_ROW_STR(rows[i].s, str_trim(str_of(rows[i].s)), str_of(rows[i].want));
}

static void test_split(void **state)
{
	static const struct {
		const char *s;
		const char *parts[5]; /* NULL ends */
	} rows[] = {
		{ "", { "" } },
		{ "a", { "a" } },
		{ "a,b", { "a", "b" } },
		{ ",", { "", "" } },
		{ "a,,b,", { "a", "", "b", "" } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct str rest = str_of(rows[i].s);
		struct str part;
		size_t n = 0;

		while (str_split(&rest, ',', &part)) {
			CHECK_ROW(rows[i].s, n < COUNT_OF(rows[i].parts) && rows[i].parts[n]);
			CHECK_ROW_STR(rows[i].s, part, str_of(rows[i].parts[n]));
			n++;
		}
		CHECK_ROW(rows[i].s, rows[i].parts[n] == NULL);
		CHECK_ROW(rows[i].s, rest.p == NULL && rest.n == 0);
	}
	assert_int_equal(str_find(STR("abca"), 'a'), 0);
	assert_int_equal(str_find(STR("abca"), 'c'), 2);
	assert_int_equal(str_find(STR("abca"), 'x'), 4);
	assert_int_equal(str_find(str_of(NULL), 'x'), 0);
}

static void test_u64(void **state)
{
	static const struct {
		const char *s;
		uint64_t max;
		bool ok;
		uint64_t want;
	} rows[] = {
		{ "0", UINT64_MAX, true, 0 },
		{ "007", UINT64_MAX, true, 7 },
		{ "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, false, 0 },
		{ "18446744073709551620", UINT64_MAX, false, 0 },
		{ "99999999999999999999", UINT64_MAX, false, 0 },
		{ "184467440737095516150", UINT64_MAX, false, 0 },
		{ "40", 40, true, 40 },
		{ "41", 40, false, 0 },
		{ "0", 0, true, 0 },
		{ "", 10, false, 0 },
		{ "-1", 10, false, 0 },
		{ "+1", 10, false, 0 },
		{ " 1", 10, false, 0 },
		{ "1 ", 10, false, 0 },
		{ "1.0", 10, false, 0 },
		{ "0x1", 10, false, 0 },
		{ "1e1", 10, false, 0 },
		{ "\xd9\xa1", 10, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t got = 12345;
		bool ok = str_to_u64(str_of(rows[i].s), rows[i].max, &got);

		CHECK_ROW(rows[i].s, ok == rows[i].ok);
		CHECK_ROW(rows[i].s, got == (ok ? rows[i].want : 12345));
	}
}

static void test_i64(void **state)
{
	static const struct {
		const char *s;
		bool ok;
		int64_t want;
	} rows[] = {
		{ "0", true, 0 },
		{ "-0", true, 0 },
		{ "-1", true, -1 },
		{ "9223372036854775807", true, INT64_MAX },
		{ "9223372036854775808", false, 0 },
		{ "-9223372036854775808", true, INT64_MIN },
		{ "-9223372036854775809", false, 0 },
		{ "-", false, 0 },
		{ "", false, 0 },
		{ "--1", false, 0 },
		{ "+1", false, 0 },
		{ "- 1", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t got = 12345;
		bool ok = str_to_i64(str_of(rows[i].s), &got);

		CHECK_ROW(rows[i].s, ok == rows[i].ok);
		CHECK_ROW(rows[i].s, got == (ok ? rows[i].want : 12345));
	}
}

static void test_dup(void **state)
{
	char *copy = str_dup(str_make("abcdef", 3));

	(void)state;
	assert_string_equal(copy, "abc");
	free(copy);
	copy = str_dup(str_of(NULL));
	assert_string_equal(copy, "");
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare), cmocka_unit_test(test_edges),
		cmocka_unit_test(test_trim),    cmocka_unit_test(test_split),
		cmocka_unit_test(test_u64),     cmocka_unit_test(test_i64),
		cmocka_unit_test(test_dup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
