#include "unit.h"

#include "base/json_view.h"

static const struct {
	const char *text;
	int rc;
} texts[] = {
	{ "{}", 0 },
	{ "[]", 0 },
	{ "{\"a\":1,\"b\":[true,false,null,{\"c\":\"d\"}]}", 0 },
	{ "{ \"a\" : [ 1 , 2 ] }", 0 },
	{ "-0.5e+10", 0 },
	{ "\"\\u00e9\\n\\\"\\\\\\/\"", 0 },
	{ "\"\xc3\xa9\"", 0 },
	{ "", -ERR_CORRUPT },
	{ " {}", -ERR_CORRUPT },
	{ "{} ", -ERR_CORRUPT },
	{ "{}{}", -ERR_CORRUPT },
	{ "{\"a\":1,}", -ERR_CORRUPT },
	{ "[1,]", -ERR_CORRUPT },
	{ "[1 2]", -ERR_CORRUPT },
	{ "{\"a\"}", -ERR_CORRUPT },
	{ "{\"a\":}", -ERR_CORRUPT },
	{ "{a:1}", -ERR_CORRUPT },
	{ "{\"a\":1", -ERR_CORRUPT },
	{ "[", -ERR_CORRUPT },
	{ "\"a", -ERR_CORRUPT },
	{ "\"a\n\"", -ERR_CORRUPT },
	{ "\"\\x\"", -ERR_CORRUPT },
	{ "\"\\u12g4\"", -ERR_CORRUPT },
	{ "\"\\u12\"", -ERR_CORRUPT },
	{ "\"\\", -ERR_CORRUPT },
	{ "\"\xff\"", -ERR_CORRUPT },
	{ "01", -ERR_CORRUPT },
	{ "+1", -ERR_CORRUPT },
	{ "1.", -ERR_CORRUPT },
	{ ".5", -ERR_CORRUPT },
	{ "1e", -ERR_CORRUPT },
	{ "-", -ERR_CORRUPT },
	{ "tru", -ERR_CORRUPT },
	{ "NaN", -ERR_CORRUPT },
};

static void what_is_json(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct err err = { 0 };
		int rc = json_view_check(str_of(texts[i].text), &err);

		if (rc != texts[i].rc)
			fail_msg("'%s': %d (%s)", texts[i].text, rc, err.msg);
	}
}

static void depth_is_bounded(void **state)
{
	char text[2 * JSON_VIEW_DEPTH_MAX + 2];

	(void)state;
	for (size_t depth = JSON_VIEW_DEPTH_MAX; depth <= JSON_VIEW_DEPTH_MAX + 1; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(json_view_check(str_make(text, 2 * depth), NULL),
				 depth > JSON_VIEW_DEPTH_MAX ? -ERR_TOO_LARGE : 0);
	}
}

static void members_are_found(void **state)
{
	static const char text[] =
		"{\"a\":1,\"b\":{\"a\":\"inner\"}, \"c\\n\" : [1,{\"b\":2}],\"a\":3}";
	static const char *const found[] = {
		"a", "1", "b", "{\"a\":\"inner\"}", "c\\n", "[1,{\"b\":2}]", "a", "3"
	};
	struct str object = str_of(text), at, key, value;
	size_t n = 0;

	(void)state;
	assert_int_equal(json_view_check(object, NULL), 0);
	for (at = json_view_inside(object); json_view_member(&at, &key, &value); n += 2) {
		assert_true(n < sizeof found / sizeof found[0]);
		assert_true(str_eq_z(key, found[n]));
		assert_true(str_eq_z(value, found[n + 1]));
	}
	assert_int_equal(n, sizeof found / sizeof found[0]);
	assert_true(str_eq_z(json_view_find(object, STR("a")), "1"));
	assert_true(
		str_eq_z(json_view_find(json_view_find(object, STR("b")), STR("a")), "\"inner\""));
	assert_int_equal(json_view_find(object, STR("inner")).n, 0);
	assert_int_equal(json_view_find(STR("[1]"), STR("a")).n, 0);
	assert_int_equal(json_view_find(STR(""), STR("a")).n, 0);
}

static void strings_are_read(void **state)
{
	static const struct {
		const char *value, *text;
	} rows[] = {
		{ "\"plain\"", "plain" },
		{ "\"\"", "" },
		{ "\"\\b\\f\\n\\r\\t\\\"\\\\\\/\"", "\b\f\n\r\t\"\\/" },
		{ "\"a\\u00e9b\"", "a\xc3\xa9"
				   "b" },
		{ "\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80" },
		{ "\"\\ud83d\"", "\xef\xbf\xbd" },
		{ "\"\\ud83dx\"", "\xef\xbf\xbdx" },
		{ "\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
					"A" },
		{ "\"\\ude00\"", "\xef\xbf\xbd" },
		{ "1", "" },
		{ "null", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct buf out = BUF_INIT(100);

		json_view_text(str_of(rows[i].value), &out);
		if (!str_eq_z(buf_str(&out), rows[i].text))
			fail_msg("%s", rows[i].value);
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_json),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(members_are_found),
		cmocka_unit_test(strings_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
