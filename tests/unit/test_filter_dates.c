#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "base/rand.h"
#include "store/filter.h"

/* 2023-03-01T00:00:00Z */
#define NOW INT64_C(1677628800)
#define LOW INT64_MIN
#define HIGH INT64_MAX
#define YEAR_0 INT64_C(-62167219200)
#define YEAR_9999 INT64_C(253402300799)

static const struct {
	const char *text;
	int64_t lo, hi;
} dates[] = {
	{ "2023-02-07", 1675728000, 1675814400 },
	{ "2023-02-07+", 1675728000, HIGH },
	{ "2023-02-07-", LOW, 1675728000 },
	{ "2023-02-07T10:00:00", 1675764000, 1675764001 },
	{ "2023-02-07t10:00:00z+", 1675764000, HIGH },
	{ "2023-02-07T10:00:00Z-", LOW, 1675764000 },
	{ "2023-02-07T10-20-30+", 1675765230, HIGH },
	{ "2023-02-07 10:20:30-", LOW, 1675765230 },
	{ "1626960086", 1626960086, 1626960087 },
	{ "1626960086+", 1626960086, HIGH },
	{ "0", 0, 1 },
	{ "3d", NOW - 3 * 86400, HIGH },
	{ "3d+", NOW - 3 * 86400, HIGH },
	{ "3d-", LOW, NOW - 3 * 86400 },
	{ " 3d ", NOW - 3 * 86400, HIGH },
	{ "10m+", NOW - 600, HIGH },
	{ "5s+", NOW - 5, HIGH },
	{ "2h+", NOW - 7200, HIGH },
	{ "2w+", NOW - 14 * 86400, HIGH },
	{ "0d+", NOW, HIGH },
	{ "2024-02-29", 1709164800, 1709251200 },
	{ "2000-02-29", 951782400, 951868800 },
	/* before 1970 and after 2262 (where 64-bit nanoseconds end) */
	{ "1969-12-31", -86400, 0 },
	{ "1969-12-31T23:59:59", -1, 0 },
	{ "1900-03-01+", -2203891200, HIGH },
	{ "0000-01-01", YEAR_0, YEAR_0 + 86400 },
	{ "2262-04-12", 9223372800, 9223459200 },
	{ "9999-12-31", YEAR_9999 - 86399, YEAR_9999 + 1 },
	{ "253402300800", YEAR_9999, YEAR_9999 + 1 },
	{ "99999999999999999999999999+", YEAR_9999, HIGH },
	{ "99999999999999999999d+", YEAR_0, HIGH },
	{ "106751991167300d-", LOW, YEAR_0 },
	{ "9223372036854775807s+", YEAR_0, HIGH },
};

static void every_form_means_its_interval(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
		int64_t lo = 0, hi = 0;

		if (!filter_date_parse(str_of(dates[i].text), NOW, &lo, &hi))
			fail_msg("'%s' was refused", dates[i].text);
		if (lo != dates[i].lo || hi != dates[i].hi)
			fail_msg("'%s' is %lld to %lld", dates[i].text, (long long)lo,
				 (long long)hi);
	}
}

static const char *const refused[] = {
	"",
	"+",
	"-",
	"d",
	"+3d",
	"-5",
	"3x",
	"3D",
	"3 d",
	"3.5d",
	"2023-2-7",
	"2023-02-30",
	"2023-02-29",
	"1900-02-29",
	"2023-00-10",
	"2023-13-01",
	"2023-01-00",
	"2023-01-32",
	"2023-02-07T",
	"2023-02-07T10:00",
	"2023-02-07T24:00:00",
	"2023-02-07T10:60:00",
	"2023-02-07T10:00:60",
	"2023-02-07T10:00-00",
	"2023-02-07T10:00:00X",
	"2023-02-07X10:00:00",
	"2023/02/07",
	"20230207T100000",
	"2023-02-07T10:00:00ZZ",
	"0x10",
	"1e9",
	"3d++",
};

static void everything_else_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		int64_t lo, hi;

		if (filter_date_parse(str_of(refused[i]), NOW, &lo, &hi))
			fail_msg("'%s' was taken", refused[i]);
	}
}

static void a_clock_far_off_overflows_nothing(void **state)
{
	static const int64_t nows[] = { INT64_MIN, -1, 0, INT64_MAX };
	int64_t lo, hi;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_true(filter_date_parse(STR("99999999999w+"), nows[i], &lo, &hi));
		assert_int_equal(lo, YEAR_0);
		assert_true(filter_date_parse(STR("1s+"), nows[i], &lo, &hi));
		assert_in_range(lo - YEAR_0, 0, YEAR_9999 - YEAR_0);
	}
}

static void printed_dates_mean_the_same(void **state)
{
	struct rand_seq r = { 11 };

	(void)state;
	for (int i = 0; i < 200000; i++) {
		int64_t t = YEAR_0 + (int64_t)rand_below(&r, (uint64_t)(YEAR_9999 - YEAR_0));
		int64_t day = t - ((t % 86400) + 86400) % 86400;
		int64_t lo, hi, lo2, hi2;
		struct buf b = BUF_INIT(64);

		switch (rand_below(&r, 4)) {
		case 0:
			lo = t;
			hi = HIGH;
			break;
		case 1:
			lo = LOW;
			hi = t;
			break;
		case 2:
			lo = t;
			hi = t + 1;
			break;
		default:
			lo = day;
			hi = day + 86400;
			break;
		}
		filter_date_print(&b, lo, hi);
		if (!filter_date_parse(buf_str(&b), NOW, &lo2, &hi2) || lo != lo2 || hi != hi2)
			fail_msg("%lld to %lld prints '" STR_FMT "'", (long long)lo, (long long)hi,
				 STR_ARG(buf_str(&b)));
		buf_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_means_its_interval),
		cmocka_unit_test(everything_else_is_refused),
		cmocka_unit_test(a_clock_far_off_overflows_nothing),
		cmocka_unit_test(printed_dates_mean_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
