#include "unit.h"

#include "base/clock.h"
#include "base/rand.h"

static void test_format(void **state)
{
	static const struct {
		int64_t unix_s;
		const char *want;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ -1, "1969-12-31T23:59:59Z" },
		{ 951782400, "2000-02-29T00:00:00Z" },
		{ 951868799, "2000-02-29T23:59:59Z" },
		{ 951868800, "2000-03-01T00:00:00Z" },
		{ 1795415760, "2026-11-23T06:36:00Z" },
		{ 2147483648, "2038-01-19T03:14:08Z" },
		{ 4107542400, "2100-03-01T00:00:00Z" }, /* 2100 has no leap day */
		{ 253402300799, "9999-12-31T23:59:59Z" },
		{ -62135596800, "0001-01-01T00:00:00Z" },
		{ INT64_MAX, "292277026596-12-04T15:30:07Z" },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		CHECK_ROW_STR(rows[i].want, str_of(time_format_utc(rows[i].unix_s, out)),
			      str_of(rows[i].want));
	assert_in_range(strlen(time_format_utc(INT64_MIN, out)), 20, 31);
}

/* Every day from 1600 to 2500, counted by hand and compared with timegm. */
static void test_every_day(void **state)
{
	static const unsigned month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int64_t days = date_to_days(1600, 1, 1);

	(void)state;
	for (int year = 1600; year <= 2500; year++) {
		bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

		for (unsigned month = 1; month <= 12; month++) {
			unsigned last = month_days[month - 1] + (month == 2 && leap);

			for (unsigned day = 1; day <= last; day++, days++) {
				struct tm tm = { .tm_year = year - 1900,
						 .tm_mon = (int)month - 1,
						 .tm_mday = (int)day };
				int64_t got_year;
				unsigned got_month;
				unsigned got_day;

				assert_true(date_to_days(year, month, day) == days);
				assert_true(timegm(&tm) == days * 86400);
				date_from_days(days, &got_year, &got_month, &got_day);
				assert_true(got_year == year && got_month == month &&
					    got_day == day);
			}
		}
	}
}

static void test_far_days(void **state)
{
	struct rand_seq r = { 1 };

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int64_t days = (int64_t)rand_below(&r, 2000000000000) - 1000000000000;
		int64_t year;
		unsigned month;
		unsigned day;

		date_from_days(days, &year, &month, &day);
		assert_in_range(month, 1, 12);
		assert_in_range(day, 1, 31);
		assert_true(date_to_days(year, month, day) == days);
	}
}

static void month_13(void *arg)
{
	(void)arg;
	date_to_days(2026, 13, 1);
}

static void test_bad_month(void **state)
{
	(void)state;
	assert_true(test_aborts(month_13, NULL, "required: month >= 1 && month <= 12"));
}

static void test_system(void **state)
{
	struct clock *c = clock_system();
	int64_t before = (int64_t)time(NULL);
	int64_t unix_s = clock_unix_s(c);
	int64_t mono = clock_mono_us(c);

	(void)state;
	/* time() may be a tick behind; a second of slack on each side. */
	assert_true(unix_s >= before - 1 && unix_s <= (int64_t)time(NULL) + 1);
	for (int i = 0; i < 1000; i++) {
		int64_t next = clock_mono_us(c);

		assert_true(next >= mono);
		mono = next;
	}
}

static void test_fake(void **state)
{
	struct clock_fake c;

	(void)state;
	clock_fake_init(&c, 1000);
	assert_int_equal(clock_unix_s(&c.base), 1000);
	assert_int_equal(clock_mono_us(&c.base), 1000000000);
	assert_int_equal(clock_mono_us(&c.base), 1000000000);
	clock_fake_advance(&c, 1999999);
	assert_int_equal(clock_unix_s(&c.base), 1001);
	assert_int_equal(clock_mono_us(&c.base), 1001999999);
}

static void test_a_clock_that_is_set(void **state)
{
	struct clock_fake c;
	struct clock_watch w = { .looked = false };

	(void)state;
	clock_fake_init(&c, 1700000000);
	assert_int_equal(clock_watch_look(&w, &c.base), 0);
	clock_fake_advance(&c, 5000000);
	assert_int_equal(clock_watch_look(&w, &c.base), 0);
	clock_fake_jump(&c, -7000000);
	clock_fake_advance(&c, 1000000);
	assert_int_equal(clock_unix_s(&c.base), 1699999999);
	assert_int_equal(clock_watch_look(&w, &c.base), -7000000);
	assert_int_equal(clock_watch_look(&w, &c.base), 0);
	clock_fake_jump(&c, INT64_C(9000000000000));
	assert_int_equal(clock_watch_look(&w, &c.base), INT64_C(9000000000000));
}

struct slow_clock {
	struct clock base; /* first */
	struct clock_fake fake;
	int slow_reads;
};

/* Whoever reads the wall clock stands still for an hour then, so often. */
static int64_t slow_unix_us(struct clock *c)
{
	struct slow_clock *s = (struct slow_clock *)c;
	int64_t us = s->fake.base.unix_us(&s->fake.base);

	if (s->slow_reads-- > 0)
		clock_fake_advance(&s->fake, INT64_C(3600000000));
	return us;
}

static int64_t slow_mono_us(struct clock *c)
{
	struct slow_clock *s = (struct slow_clock *)c;

	return s->fake.base.mono_us(&s->fake.base);
}

static void test_time_that_passes_while_it_is_looked_at(void **state)
{
	struct slow_clock c = { .base = { slow_unix_us, slow_mono_us } };
	struct clock_watch w = { .looked = false };

	(void)state;
	clock_fake_init(&c.fake, 1700000000);
	assert_int_equal(clock_watch_look(&w, &c.base), 0);
	for (int reads = 1; reads <= 4; reads++) {
		c.slow_reads = reads;
		assert_int_equal(clock_watch_look(&w, &c.base), 0);
		assert_int_equal(w.wall_us, c.fake.base.unix_us(&c.fake.base));
		assert_int_equal(w.mono_us, c.fake.base.mono_us(&c.fake.base));
	}
	c.slow_reads = 1;
	clock_fake_jump(&c.fake, 7000000);
	assert_int_equal(clock_watch_look(&w, &c.base), 7000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_a_clock_that_is_set),
		cmocka_unit_test(test_time_that_passes_while_it_is_looked_at),
		cmocka_unit_test(test_every_day),
		cmocka_unit_test(test_far_days),
		cmocka_unit_test(test_bad_month),
		cmocka_unit_test(test_system),
		cmocka_unit_test(test_fake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
