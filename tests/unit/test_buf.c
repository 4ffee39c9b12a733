#include "unit.h"

#include "base/buf.h"

static void test_empty(void **state)
{
	struct buf b = BUF_INIT(10);
	struct err err;
	char *text;

	(void)state;
	assert_string_equal(buf_str(&b).p, "");
	assert_int_equal(buf_str(&b).n, 0);
	buf_add(&b, NULL, 0);
	buf_add_str(&b, str_of(NULL));
	buf_add_z(&b, NULL);
	assert_int_equal(b.n, 0);
	CHECK_OK(buf_check(&b, "nothing", &err), &err);
	text = buf_steal(&b);
	assert_string_equal(text, "");
	free(text);
	buf_release(&b);
	text = buf_steal(&b); /* never touched since */
	assert_string_equal(text, "");
	free(text);
}

static void test_maximum(void **state)
{
	/* Around the first size, a doubling, and none of them. */
	static const size_t maxima[] = { 0, 1, 2, 127, 128, 129, 255, 256, 257, 1000, 5000 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(maxima); i++) {
		struct buf b;
		struct err err;
		char row[32];

		snprintf(row, sizeof row, "max %zu", maxima[i]);
		buf_init(&b, maxima[i]);
		for (size_t k = 0; k < maxima[i]; k++)
			buf_add_c(&b, (char)('a' + k % 26));
		CHECK_ROW(row, !buf_failed(&b));
		CHECK_ROW(row, b.n == maxima[i] && b.cap <= maxima[i] + 1);
		CHECK_ROW(row, strlen(buf_str(&b).p) == maxima[i]);
		CHECK_ROW(row, buf_reserve(&b, 0) != NULL);
		buf_add_c(&b, '!');
		CHECK_ROW(row, buf_failed(&b));
		CHECK_ROW(row, b.n == maxima[i] && strlen(buf_str(&b).p) == maxima[i]);
		buf_add(&b, "", 0);
		CHECK_ROW(row, buf_check(&b, "row", &err) == -(int)ERR_TOO_LARGE);
		CHECK_ROW(row, strncmp(err.msg, "row", 3) == 0);

		buf_reset(&b);
		CHECK_ROW(row, !buf_failed(&b) && b.n == 0);
		CHECK_ROW(row, strlen(buf_str(&b).p) == 0);
		CHECK_ROW(row, buf_reserve(&b, maxima[i]) != NULL);
		CHECK_ROW(row, buf_reserve(&b, maxima[i] + 1) == NULL && buf_failed(&b));
		buf_release(&b);
		CHECK_ROW(row, b.p == NULL && !buf_failed(&b) && b.max == maxima[i]);
	}
}

static void test_sticky(void **state)
{
	struct buf b = BUF_INIT(4);

	(void)state;
	buf_add_z(&b, "abc");
	buf_add_z(&b, "de"); /* does not fit: nothing of it */
	buf_add_c(&b, 'f');  /* would fit, but the failure stays */
	buf_addf(&b, "%d", 1);
	assert_true(buf_failed(&b));
	assert_string_equal(buf_str(&b).p, "abc");
	assert_null(buf_reserve(&b, 1));
	assert_null(buf_reserve(&b, SIZE_MAX)); /* no sum of sizes overflows */
	buf_release(&b);
	buf_add_z(&b, "abcd");
	assert_false(buf_failed(&b));
	assert_string_equal(buf_str(&b).p, "abcd");
	buf_release(&b);
}

static void test_numbers(void **state)
{
	static const struct {
		int64_t v;
		const char *want;
	} rows[] = {
		{ 0, "0" },
		{ 9, "9" },
		{ 10, "10" },
		{ -1, "-1" },
		{ -10, "-10" },
		{ INT64_MAX, "9223372036854775807" },
		{ INT64_MIN, "-9223372036854775808" },
	};
	struct buf b = BUF_INIT(100);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		buf_reset(&b);
		buf_add_i64(&b, rows[i].v);
		CHECK_ROW_STR(rows[i].want, buf_str(&b), str_of(rows[i].want));
	}
	buf_reset(&b);
	buf_add_u64(&b, UINT64_MAX);
	buf_add_c(&b, ' ');
	buf_add_u64(&b, 0);
	assert_string_equal(buf_str(&b).p, "18446744073709551615 0");
	buf_release(&b);
}

static void test_format(void **state)
{
	struct buf b = BUF_INIT(12);

	(void)state;
	buf_addf(&b, "%s-%03d", "ab", 7);
	assert_string_equal(buf_str(&b).p, "ab-007");
	buf_addf(&b, "%s", "123456"); /* exactly full */
	assert_string_equal(buf_str(&b).p, "ab-007123456");
	assert_false(buf_failed(&b));
	buf_addf(&b, "%s", "");
	assert_false(buf_failed(&b));
	buf_addf(&b, "%c", 'x');
	assert_true(buf_failed(&b));
	assert_string_equal(buf_str(&b).p, "ab-007123456");
	buf_release(&b);
}

static void test_reserve_and_steal(void **state)
{
	struct buf b = BUF_INIT(1000);
	char *room = buf_reserve(&b, 5);
	char *text;

	(void)state;
	assert_non_null(room);
	for (int i = 0; i < 5; i++)
		room[i] = "hello"[i];
	b.n += 5;
	assert_string_equal(buf_str(&b).p, "hello");
	room = buf_reserve(&b, 300);
	memset(room, 'x', 300);
	b.n += 1; /* fewer than asked for */
	text = buf_steal(&b);
	assert_string_equal(text, "hellox");
	assert_int_equal(b.n, 0);
	assert_int_equal(b.max, 1000);
	free(text);
	buf_add(&b, "a\0b", 3); /* NUL is a byte like others */
	assert_int_equal(buf_str(&b).n, 3);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),  cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_sticky), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_format), cmocka_unit_test(test_reserve_and_steal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
