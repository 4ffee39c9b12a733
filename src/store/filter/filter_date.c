#include "base/clock.h"
#include "store/filter.h"

/*
 * Instants are kept between the years 0 and 9999: what can be written as a date.
 * Everything a stream holds is far inside, so clamping there changes no answer
 * and no arithmetic can overflow.
 */
#define DAY_S INT64_C(86400)
#define INSTANT_MIN INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define INSTANT_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

enum precision {
	SECOND,
	DAY,
	RELATIVE
};

static int64_t clamp(int64_t t)
{
	if (t < INSTANT_MIN)
		return INSTANT_MIN;
	return t > INSTANT_MAX ? INSTANT_MAX : t;
}

static bool digits(struct str s, size_t at, size_t n, unsigned *ret)
{
	uint64_t v;

	if (at + n > s.n || !str_to_u64(str_make(s.p + at, n), 9999, &v))
		return false;
	*ret = (unsigned)v;
	return true;
}

static unsigned month_days(unsigned year, unsigned month)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	return days[month - 1];
}

/* YYYY-MM-DD, then nothing or T and a time with ':' or '-' between its parts. */
static bool parse_calendar(struct str s, int64_t *ret, enum precision *ret_precision)
{
	unsigned year, month, day, hour, minute, second;

	if (s.n < 10 || s.p[4] != '-' || s.p[7] != '-' || !digits(s, 0, 4, &year) ||
	    !digits(s, 5, 2, &month) || !digits(s, 8, 2, &day))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return false;
	*ret = date_to_days(year, month, day) * DAY_S;
	*ret_precision = DAY;
	if (s.n == 10)
		return true;
	if (s.n == 20 && (s.p[19] == 'Z' || s.p[19] == 'z'))
		s.n--;
	if (s.n != 19 || (s.p[10] != 'T' && s.p[10] != 't' && s.p[10] != ' '))
		return false;
	if ((s.p[13] != ':' && s.p[13] != '-') || s.p[16] != s.p[13] || !digits(s, 11, 2, &hour) ||
	    !digits(s, 14, 2, &minute) || !digits(s, 17, 2, &second))
		return false;
	if (hour > 23 || minute > 59 || second > 59)
		return false;
	*ret += (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
	*ret_precision = SECOND;
	return true;
}

static int64_t unit_s(char c)
{
	switch (c) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return DAY_S;
	case 'w':
		return 7 * DAY_S;
	default:
		return 0;
	}
}

static bool all_digits(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

static bool parse_instant(struct str s, int64_t now_s, int64_t *ret, enum precision *ret_precision)
{
	int64_t unit = s.n > 1 ? unit_s(s.p[s.n - 1]) : 0;
	uint64_t n;

	if (all_digits(s)) {
		/* A number of any length is a time; what is later than all is the end. */
		*ret = str_to_u64(s, INSTANT_MAX, &n) ? (int64_t)n : INSTANT_MAX;
		*ret_precision = SECOND;
		return true;
	}
	if (unit != 0) {
		struct str count = { s.p, s.n - 1 };

		if (all_digits(count)) {
			int64_t back = INSTANT_MAX - INSTANT_MIN;

			if (str_to_u64(count, (uint64_t)(back / unit), &n))
				back = (int64_t)n * unit;
			*ret = clamp(clamp(now_s) - back);
			*ret_precision = RELATIVE;
			return true;
		}
	}
	return parse_calendar(s, ret, ret_precision);
}

bool filter_date_parse(struct str s, int64_t now_s, int64_t *ret_lo, int64_t *ret_hi)
{
	enum precision precision;
	int64_t t;
	char sign = 0;

	s = str_trim(s);
	if (s.n > 0 && (s.p[s.n - 1] == '+' || s.p[s.n - 1] == '-'))
		sign = s.p[--s.n];
	if (!parse_instant(s, now_s, &t, &precision))
		return false;
	if (sign == '-') {
		*ret_lo = INT64_MIN;
		*ret_hi = t;
	} else if (sign == '+' || precision == RELATIVE) {
		*ret_lo = t;
		*ret_hi = INT64_MAX;
	} else {
		*ret_lo = t;
		*ret_hi = t + (precision == DAY ? DAY_S : 1);
	}
	return true;
}

static void print_day(struct buf *out, int64_t days)
{
	int64_t year;
	unsigned month, day;

	date_from_days(days, &year, &month, &day);
	buf_addf(out, "%04d-%02u-%02u", (int)year, month, day);
}

static void print_instant(struct buf *out, int64_t t)
{
	if (t >= 0) {
		buf_add_i64(out, t);
		return;
	}
	int64_t days = (t - (DAY_S - 1)) / DAY_S;
	int64_t rest = t - days * DAY_S;
	print_day(out, days);
	buf_addf(out, "T%02d:%02d:%02d", (int)(rest / 3600), (int)(rest / 60 % 60),
		 (int)(rest % 60));
}

void filter_date_print(struct buf *out, int64_t lo, int64_t hi)
{
	if (hi == INT64_MAX) {
		print_instant(out, lo);
		buf_add_c(out, '+');
	} else if (lo == INT64_MIN) {
		print_instant(out, hi);
		buf_add_c(out, '-');
	} else if (hi - lo == DAY_S) {
		print_day(out, (lo >= 0 ? lo : lo - (DAY_S - 1)) / DAY_S);
	} else {
		print_instant(out, lo);
	}
}
