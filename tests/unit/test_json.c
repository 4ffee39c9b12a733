#include "unit.h"

#include <float.h>
#include <math.h>

#include "base/json.h"
#include "base/rand.h"

static void test_document(void **state)
{
	struct buf b = BUF_INIT(1000);
	struct json j;

	(void)state;
	json_init(&j, &b);
	json_obj(&j);
	json_kv_str(&j, "a", STR("x"));
	json_kv_z(&j, "none", NULL);
	json_kv_i64(&j, "n", -5);
	json_kv_bool(&j, "yes", true);
	json_key(&j, "list");
	json_arr(&j);
	json_u64(&j, UINT64_MAX);
	json_i64(&j, INT64_MIN);
	json_bool(&j, false);
	json_put_null(&j);
	json_obj(&j);
	json_obj_end(&j);
	json_arr(&j);
	json_arr_end(&j);
	json_z(&j, "z");
	json_arr_end(&j);
	json_key(&j, "stored");
	json_raw(&j, STR("{\"k\":[1,2]}"));
	json_raw_members(&j, STR(""));
	json_raw_members(&j, STR("\"m\":1,\"o\":2"));
	json_kv_i64(&j, "last", 1);
	json_key(&j, "inner");
	json_obj(&j);
	json_raw_members(&j, STR("\"first\":true"));
	json_kv_i64(&j, "second", 2);
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
	assert_string_equal(buf_str(&b).p,
			    "{\"a\":\"x\",\"none\":null,\"n\":-5,\"yes\":true,"
			    "\"list\":[18446744073709551615,-9223372036854775808,false,null,{},[],"
			    "\"z\"],\"stored\":{\"k\":[1,2]},\"m\":1,\"o\":2,\"last\":1,"
			    "\"inner\":{\"first\":true,\"second\":2}}");
	buf_release(&b);
}

static void test_escape(void **state)
{
	static const struct {
		const char *name;
		struct str s;
		const char *want;
	} rows[] = {
		{ "empty", { "", 0 }, "\"\"" },
		{ "nothing", { NULL, 0 }, "\"\"" },
		{ "plain", { "abc/'<>&", 8 }, "\"abc/'<>&\"" },
		{ "quote and backslash", { "\"\\", 2 }, "\"\\\"\\\\\"" },
		{ "short forms", { "\b\f\n\r\t", 5 }, "\"\\b\\f\\n\\r\\t\"" },
		{ "controls", { "\x01\x1f\x0b", 3 }, "\"\\u0001\\u001f\\u000b\"" },
		{ "NUL", { "a\0b", 3 }, "\"a\\u0000b\"" },
		{ "DEL stands", { "\x7f", 1 }, "\"\x7f\"" },
		{ "UTF-8 stands",
		  { "\xc3\xa4\xf0\x9f\x90\x9f", 6 },
		  "\"\xc3\xa4\xf0\x9f\x90\x9f\"" },
		{ "bad byte",
		  { "a\xff"
		    "b",
		    3 },
		  "\"a\xef\xbf\xbd"
		  "b\"" },
		{ "cut", { "a\xe2\x82", 3 }, "\"a\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "surrogate", { "\xed\xa0\x80", 3 }, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "bad byte beside a quote", { "\xff\"", 2 }, "\"\xef\xbf\xbd\\\"\"" },
	};
	struct buf b = BUF_INIT(1000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		buf_reset(&b);
		json_escape(&b, rows[i].s);
		CHECK_ROW_STR(rows[i].name, buf_str(&b), str_of(rows[i].want));
	}
	buf_reset(&b);
	struct json j;
	json_init(&j, &b);
	json_obj(&j);
	json_kv_i64(&j, "a\"key", 1);
	json_obj_end(&j);
	json_end(&j);
	assert_string_equal(buf_str(&b).p, "{\"a\\\"key\":1}");
	buf_release(&b);
}

static void write_f64(struct buf *b, double v)
{
	struct json j;

	buf_reset(b);
	json_init(&j, b);
	json_f64(&j, v);
	json_end(&j);
}

static void test_floats(void **state)
{
	static const struct {
		double v;
		const char *want;
	} rows[] = {
		{ 0.0, "0.0" },
		{ -0.0, "-0.0" },
		{ 0.1, "0.1" },
		{ 1.0 / 3, "0.3333333333333333" },
		{ 62.06203, "62.06203" },
		{ 100.0, "100.0" },
		{ -1.5, "-1.5" },
		{ 123456789.0, "123456789.0" },
		{ 999999999999999.0, "999999999999999.0" },
		{ 1e15, "1e15" },
		{ 1e300, "1e300" },
		{ -1e300, "-1e300" },
		{ 1e-7, "1e-07" },
		{ 0.1 + 0.2, "0.30000000000000004" },
		{ DBL_MAX, "1.7976931348623157e308" },
		{ DBL_MIN, "2.2250738585072014e-308" },
		{ (double)NAN, "null" },
		{ (double)INFINITY, "null" },
		{ -(double)INFINITY, "null" },
	};
	struct buf b = BUF_INIT(100);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		write_f64(&b, rows[i].v);
		CHECK_ROW_STR(rows[i].want, buf_str(&b), str_of(rows[i].want));
	}
	buf_release(&b);
}

/* Any double comes back bit by bit. */
static void test_floats_round(void **state)
{
	struct buf b = BUF_INIT(100);
	struct rand_seq r = { 11 };

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint64_t bits = rand_next(&r);
		uint64_t back_bits;
		double v;
		double back;

		memcpy(&v, &bits, sizeof v);
		if (!isfinite(v))
			continue;
		write_f64(&b, v);
		back = strtod(buf_str(&b).p, NULL);
		memcpy(&back_bits, &back, sizeof back);
		if (bits != back_bits)
			fail_msg("%a was written as %s", v, buf_str(&b).p);
	}
	buf_release(&b);
}

static void test_depth(void **state)
{
	struct buf b = BUF_INIT(1000);
	struct json j;

	(void)state;
	json_init(&j, &b);
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		json_arr(&j);
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		json_arr_end(&j);
	json_end(&j);
	assert_int_equal(b.n, 2 * JSON_DEPTH_MAX);
	buf_release(&b);
}

static void test_full(void **state)
{
	struct buf b = BUF_INIT(10);
	struct err err;
	struct json j;

	(void)state;
	json_init(&j, &b);
	json_obj(&j);
	for (int i = 0; i < 100; i++)
		json_kv_i64(&j, "key", i);
	json_obj_end(&j);
	json_end(&j);
	assert_int_equal(buf_check(&b, "the page", &err), -(int)ERR_TOO_LARGE);
	buf_release(&b);
}

/* Misuse stops the process: one function a row. */
static void value_without_key(struct json *j)
{
	json_obj(j);
	json_put_null(j);
}

static void key_in_array(struct json *j)
{
	json_arr(j);
	json_key(j, "k");
}

static void key_after_key(struct json *j)
{
	json_obj(j);
	json_key(j, "k");
	json_key(j, "l");
}

static void end_after_key(struct json *j)
{
	json_obj(j);
	json_key(j, "k");
	json_obj_end(j);
}

static void wrong_end(struct json *j)
{
	json_obj(j);
	json_arr_end(j);
}

static void end_of_nothing(struct json *j)
{
	json_obj_end(j);
}

static void open_at_end(struct json *j)
{
	json_obj(j);
	json_end(j);
}

static void no_value(struct json *j)
{
	json_end(j);
}

static void two_values(struct json *j)
{
	json_put_null(j);
	json_put_null(j);
}

static void too_deep(struct json *j)
{
	for (int i = 0; i <= JSON_DEPTH_MAX; i++)
		json_arr(j);
}

static void members_in_array(struct json *j)
{
	json_arr(j);
	json_raw_members(j, STR("\"a\":1"));
}

static void raw_nothing(struct json *j)
{
	json_raw(j, STR(""));
}

static const struct misuse {
	const char *name;
	void (*fn)(struct json *j);
} misuses[] = {
	{ "value without key", value_without_key },
	{ "key in array", key_in_array },
	{ "key after key", key_after_key },
	{ "end after key", end_after_key },
	{ "wrong end", wrong_end },
	{ "end of nothing", end_of_nothing },
	{ "open at end", open_at_end },
	{ "no value", no_value },
	{ "two values", two_values },
	{ "too deep", too_deep },
	{ "members in array", members_in_array },
	{ "raw nothing", raw_nothing },
};

static void run_misuse(void *arg)
{
	const struct misuse *m = arg;
	struct buf b = BUF_INIT(1000);
	struct json j;

	json_init(&j, &b);
	m->fn(&j);
}

static void test_misuse(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(misuses); i++) {
		struct misuse m = misuses[i];

		CHECK_ROW(m.name, test_aborts(run_misuse, &m, "required:"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document), cmocka_unit_test(test_escape),
		cmocka_unit_test(test_floats),   cmocka_unit_test(test_floats_round),
		cmocka_unit_test(test_depth),    cmocka_unit_test(test_full),
		cmocka_unit_test(test_misuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
