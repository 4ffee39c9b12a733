#include "main/when.h"

#include "base/clock.h"

enum {
	SPAN_DAYS_MAX = 36500 /* a century: nobody means more */
};

static int when_refused(struct str text, struct err *err)
{
	return err_set(err, ERR_INVALID,
		       "'" STR_FMT "' is no time: write 2027-01-31, 2027-01-31T12:00:00Z, 90d, 12h "
		       "or 30m",
		       STR_ARG(text.n > 64 ? str_make(text.p, 64) : text));
}

/* `n` digits at `at`, of at most `max`. */
static bool digits(struct str s, size_t at, size_t n, uint64_t max, uint64_t *ret)
{
	return at + n <= s.n && str_to_u64(str_make(s.p + at, n), max, ret);
}

/* "2027-01-31" */
static bool day_parse(struct str s, int64_t *ret_days)
{
	uint64_t year, month, day;
	unsigned back_month, back_day;
	int64_t back_year;

	if (s.n < 10 || s.p[4] != '-' || s.p[7] != '-' || !digits(s, 0, 4, 9999, &year) ||
	    !digits(s, 5, 2, 12, &month) || !digits(s, 8, 2, 31, &day) || year < 1970 ||
	    month < 1 || day < 1)
		return false;
	*ret_days = date_to_days((int64_t)year, (unsigned)month, (unsigned)day);
	date_from_days(*ret_days, &back_year, &back_month, &back_day);
	return back_month == month && back_day == day; /* no 30th of February */
}

/* "T12:00:00Z" */
static bool time_parse(struct str s, int64_t *ret_s)
{
	uint64_t hour, minute, second;

	if (s.n != 10 || s.p[0] != 'T' || s.p[3] != ':' || s.p[6] != ':' || s.p[9] != 'Z' ||
	    !digits(s, 1, 2, 23, &hour) || !digits(s, 4, 2, 59, &minute) ||
	    !digits(s, 7, 2, 59, &second))
		return false;
	*ret_s = (int64_t)(hour * 3600 + minute * 60 + second);
	return true;
}

static bool span_parse(struct str s, int64_t *ret_s)
{
	int64_t unit_s;
	uint64_t n;

	if (s.n < 2)
		return false;
	switch (s.p[s.n - 1]) {
	case 'd':
		unit_s = 86400;
		break;
	case 'h':
		unit_s = 3600;
		break;
	case 'm':
		unit_s = 60;
		break;
	default:
		return false;
	}
	if (!str_to_u64(str_make(s.p, s.n - 1), (uint64_t)(SPAN_DAYS_MAX * (86400 / unit_s)), &n))
		return false;
	*ret_s = (int64_t)n * unit_s;
	return true;
}

int when_parse(struct str text, int64_t now_s, unsigned flags, int64_t *ret_s, struct err *err)
{
	int64_t days, second;

	if (span_parse(text, &second)) {
		*ret_s = flags & WHEN_AHEAD ? now_s + second : now_s - second;
		return 0;
	}
	if (!day_parse(text, &days))
		return when_refused(text, err);
	if (text.n == 10)
		second = flags & WHEN_LAST ? 86399 : 0;
	else if (!time_parse(str_make(text.p + 10, text.n - 10), &second))
		return when_refused(text, err);
	*ret_s = days * 86400 + second;
	return 0;
}
