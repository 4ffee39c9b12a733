#include "main/when.h"

#include "base/clock.h"

enum {
	SPAN_DAYS_MAX = 36500, /* a century: nobody means more */
	UNIX_DIGITS_MIN = 9,   /* fewer are no second that anybody means */
};
#define WHEN_MAX INT64_C(253402300799) /* the last second of the year 9999 */

static int when_refused(struct str text, struct err *err)
{
	return err_set(err, ERR_INVALID,
		       "'" STR_FMT "' is no time: write 2027-01-31, 2027-01-31T12:00:00Z, 8w, 90d, "
		       "12h or 30m",
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

/* "", "Z", "+02:00": what is to be added to come to UTC. */
static bool offset_parse(struct str s, int64_t *ret_s)
{
	uint64_t hour, minute;

	*ret_s = 0;
	if (s.n == 0 || str_eq_z(s, "Z"))
		return true;
	if (s.n != 6 || (s.p[0] != '+' && s.p[0] != '-') || s.p[3] != ':' ||
	    !digits(s, 1, 2, 23, &hour) || !digits(s, 4, 2, 59, &minute))
		return false;
	*ret_s = (int64_t)(hour * 3600 + minute * 60) * (s.p[0] == '+' ? -1 : 1);
	return true;
}

/* "T12:00:00Z" */
static bool time_parse(struct str s, int64_t *ret_s)
{
	uint64_t hour, minute, second;
	int64_t offset_s;

	if (s.n < 9 || s.p[0] != 'T' || s.p[3] != ':' || s.p[6] != ':' ||
	    !digits(s, 1, 2, 23, &hour) || !digits(s, 4, 2, 59, &minute) ||
	    !digits(s, 7, 2, 59, &second) || !offset_parse(str_make(s.p + 9, s.n - 9), &offset_s))
		return false;
	*ret_s = (int64_t)(hour * 3600 + minute * 60 + second) + offset_s;
	return true;
}

static bool span_parse(struct str s, int64_t *ret_s)
{
	int64_t unit_s;
	uint64_t n;

	if (s.n < 2)
		return false;
	switch (s.p[s.n - 1]) {
	case 'w':
		unit_s = 7 * 86400;
		break;
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
	if (!str_to_u64(str_make(s.p, s.n - 1), (uint64_t)(SPAN_DAYS_MAX * INT64_C(86400) / unit_s),
			&n))
		return false;
	*ret_s = (int64_t)n * unit_s;
	return true;
}

int when_parse(struct str text, int64_t now_s, unsigned flags, int64_t *ret_s, struct err *err)
{
	int64_t days, second;
	uint64_t unix_s;

	if (text.n >= UNIX_DIGITS_MIN && str_to_u64(text, WHEN_MAX, &unix_s)) {
		*ret_s = (int64_t)unix_s;
		return 0;
	}
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
	if (days * 86400 + second < 0 || days * 86400 + second > WHEN_MAX)
		return when_refused(text, err);
	*ret_s = days * 86400 + second;
	return 0;
}
