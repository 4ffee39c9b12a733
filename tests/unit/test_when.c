#include "unit.h"

#include "main/when.h"

enum {
	NOW_S = 1795694633 /* 2026-11-26T12:03:53Z */
};

static const struct {
	const char *text;
	unsigned flags;
	int64_t s; /* 0: refused */
} rows[] = {
	{ "2026-11-26", 0, 1795651200 },
	{ "2026-11-26", WHEN_LAST, 1795651200 + 86399 },
	{ "2026-11-26", WHEN_AHEAD, 1795651200 },
	{ "2026-11-26T12:03:53Z", 0, NOW_S },
	{ "2026-11-26T12:03:53Z", WHEN_LAST, NOW_S },
	{ "2028-02-29", 0, 1835395200 },
	{ "9999-12-31T23:59:59Z", 0, INT64_C(253402300799) },
	{ "2026-11-26T12:03:53", 0, NOW_S },
	{ "2026-11-26T14:03:53+02:00", 0, NOW_S },
	{ "2026-11-26T06:33:53-05:30", WHEN_LAST, NOW_S },
	{ "1795694633", 0, NOW_S },
	{ "1795694633", WHEN_LAST | WHEN_AHEAD, NOW_S },
	{ "253402300799", 0, INT64_C(253402300799) },
	{ "3w", 0, NOW_S - 21 * 86400 },
	{ "90d", 0, NOW_S - 90 * 86400 },
	{ "90d", WHEN_AHEAD | WHEN_LAST, NOW_S + 90 * 86400 },
	{ "12h", 0, NOW_S - 12 * 3600 },
	{ "30m", WHEN_AHEAD, NOW_S + 1800 },
	{ "36500d", 0, NOW_S - INT64_C(36500) * 86400 },
	{ "0d", 0, NOW_S },
	{ "36501d", 0, 0 },
	{ "99999999999999999999d", 0, 0 },
	{ "-1d", 0, 0 },
	{ "d", 0, 0 },
	{ "", 0, 0 },
	{ "1y", 0, 0 },
	{ "90", 0, 0 },
	{ "2027-02-29", 0, 0 },
	{ "2027-02-30", 0, 0 },
	{ "2027-13-01", 0, 0 },
	{ "2027-00-01", 0, 0 },
	{ "2027-01-00", 0, 0 },
	{ "1969-12-31", 0, 0 },
	{ "27-01-01", 0, 0 },
	{ "2027-1-1", 0, 0 },
	{ "2027/01/01", 0, 0 },
	{ "2027-01-01T24:00:00Z", 0, 0 },
	{ "2027-01-01T00:60:00Z", 0, 0 },
	{ "2027-01-01T00:00:00+25:00", 0, 0 },
	{ "2027-01-01T00:00:00+01:60", 0, 0 },
	{ "2027-01-01T00:00:00+0100", 0, 0 },
	{ "2027-01-01T00:00:00ZZ", 0, 0 },
	{ "2027-01-01T00:00", 0, 0 },
	{ "1970-01-01T00:00:00+00:01", 0, 0 },
	{ "9999-12-31T23:59:59-00:01", 0, 0 },
	{ "99999999", 0, 0 },
	{ "253402300800", 0, 0 },
	{ "5215w", 0, 0 },
	{ "2027-01-01 ", 0, 0 },
	{ "tomorrow", 0, 0 },
};

static void times_as_people_type_them(void **state)
{
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t s = 0;
		int rc = when_parse(str_of(rows[i].text), NOW_S, rows[i].flags, &s, &err);

		CHECK_ROW(rows[i].text, rc == (rows[i].s ? 0 : -ERR_INVALID));
		CHECK_ROW(rows[i].text, s == rows[i].s);
	}
	assert_int_equal(when_parse(STR("soon"), NOW_S, 0, &(int64_t){ 0 }, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "'soon' is no time"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(times_as_people_type_them) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
