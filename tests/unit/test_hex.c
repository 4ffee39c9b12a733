#include "unit.h"

#include "base/hex.h"
#include "base/rand.h"

static void test_hex(void **state)
{
	static const struct {
		const char *s;
		size_t n;
		bool ok;
		const char *bytes;
	} rows[] = {
		{ "", 0, true, "" },
		{ "00", 1, true, "\x00" },
		{ "fF0a", 2, true, "\xff\x0a" },
		{ "DEADbeef", 4, true, "\xde\xad\xbe\xef" },
		{ "0", 0, false, "" },
		{ "000", 1, false, "" },
		{ "0000", 1, false, "" },
		{ "00", 2, false, "" },
		{ "0g", 1, false, "" },
		{ "/0", 1, false, "" },
		{ ":0", 1, false, "" },
		{ "@0", 1, false, "" },
		{ "`0", 1, false, "" },
		{ " 0", 1, false, "" },
		{ "0x", 1, false, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t out[8] = { 0 };

		CHECK_ROW(rows[i].s, hex_decode(str_of(rows[i].s), out, rows[i].n) == rows[i].ok);
		if (rows[i].ok)
			CHECK_ROW(rows[i].s, memcmp(out, rows[i].bytes, rows[i].n) == 0);
	}
	assert_true(hex_is(STR("09afAF")));
	assert_true(hex_is(STR("0")));
	assert_false(hex_is(STR("")));
	assert_false(hex_is(STR("0-")));
	assert_false(hex_is(str_make("0\0", 2)));
}

static void test_hex_round(void **state)
{
	uint8_t in[256];
	uint8_t out[256];
	char text[513];

	(void)state;
	for (unsigned i = 0; i < 256; i++)
		in[i] = (uint8_t)i;
	hex_encode(in, sizeof in, text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(&text[(size_t)2 * 0xab], "abac", 4);
	assert_true(hex_decode(str_of(text), out, sizeof out));
	assert_memory_equal(in, out, sizeof in);
	hex_encode(NULL, 0, text);
	assert_string_equal(text, "");
}

static void test_base64(void **state)
{
	/* RFC 4648 section 10, then both alphabets and what is not base64. */
	static const struct {
		const char *s;
		bool ok;
		const char *want;
	} rows[] = {
		{ "", true, "" },
		{ "Zg", true, "f" },
		{ "Zg==", true, "f" },
		{ "Zm8", true, "fo" },
		{ "Zm8=", true, "fo" },
		{ "Zm9v", true, "foo" },
		{ "Zm9vYg==", true, "foob" },
		{ "Zm9vYmE=", true, "fooba" },
		{ "Zm9vYmFy", true, "foobar" },
		{ "-_-_", true, "\xfb\xff\xbf" },
		{ "+/+/", true, "\xfb\xff\xbf" },
		{ "-/+_", true, "\xfb\xff\xbf" },
		{ "Z", false, "" },
		{ "A", false, "" },
		{ "Zm9vA", false, "" },
		{ "Zg=", false, "" },
		{ "Zg===", false, "" },
		{ "=", false, "" },
		{ "==", false, "" },
		{ "====", false, "" },
		{ "Z===", false, "" },
		{ "Zm9v====", false, "" },
		{ "Zm9v=", false, "" },
		{ "Zg==Zg==", false, "" },
		{ "Z=g=", false, "" },
		{ "Zm 9", false, "" },
		{ "Zm9v\n", false, "" },
		{ "Zm9*", false, "" },
		{ "Zh", false, "" }, /* bits left over that are not zero */
		{ "Zm9", false, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t out[16];
		size_t n = 999;
		bool ok = base64_decode(str_of(rows[i].s), out, sizeof out, &n);

		CHECK_ROW(rows[i].s, ok == rows[i].ok);
		CHECK_ROW(rows[i].s, n == (ok ? strlen(rows[i].want) : 999));
		if (ok)
			CHECK_ROW(rows[i].s, memcmp(out, rows[i].want, n) == 0);
	}
}

static void test_base64url_is(void **state)
{
	static const char *const other[] = { "", "Zg==", "+A", "A/", "A*", "A ", "A\n" };

	(void)state;
	assert_true(base64url_is(STR("-_azAZ09")));
	for (size_t i = 0; i < COUNT_OF(other); i++)
		CHECK_ROW(other[i], !base64url_is(str_of(other[i])));
	assert_false(base64url_is(str_make("A\0", 2)));
}

static void test_base64_round(void **state)
{
	struct buf b = BUF_INIT(1000);
	struct rand_seq r = { 3 };

	(void)state;
	for (size_t n = 0; n < 200; n++) {
		uint8_t in[200];
		uint8_t out[200];
		size_t got = 0;

		for (size_t i = 0; i < n; i++)
			in[i] = (uint8_t)rand_next(&r);
		buf_reset(&b);
		base64url_encode(&b, in, n);
		assert_int_equal(b.n, (n * 4 + 2) / 3);
		assert_int_equal(strcspn(buf_str(&b).p, "+/="), b.n);
		assert_int_equal(base64url_is(buf_str(&b)), n > 0);
		assert_true(base64_decode(buf_str(&b), out, n, &got));
		assert_int_equal(got, n);
		assert_memory_equal(in, out, n);
		/* One byte less room: refused, and nothing written past it. */
		if (n > 0) {
			out[n - 1] = 0x5a;
			assert_false(base64_decode(buf_str(&b), out, n - 1, &got));
			assert_int_equal(out[n - 1], 0x5a);
		}
	}
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hex),          cmocka_unit_test(test_hex_round),
		cmocka_unit_test(test_base64),       cmocka_unit_test(test_base64url_is),
		cmocka_unit_test(test_base64_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
