#include "validate_internal.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"

/* ---- entity tags ---- */

static struct str skip(struct str s, size_t n)
{
	return str_make(s.p + n, s.n - n);
}

static struct str skip_separators(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == ','))
		s = skip(s, 1);
	return s;
}

bool tags_hold(struct str list, struct str tag, bool weak)
{
	if (str_eq(str_trim(list), STR("*")))
		return true;
	for (list = skip_separators(list); list.n > 0; list = skip_separators(list)) {
		bool is_weak = str_starts(list, STR("W/"));
		size_t end;

		if (is_weak)
			list = skip(list, 2);
		if (list.n == 0 || list.p[0] != '"')
			return false;
		end = str_find(skip(list, 1), '"') + 2; /* both quotes */
		if (end > list.n)
			return false;
		if ((weak || !is_weak) && str_eq(str_make(list.p, end), tag))
			return true;
		list = skip(list, end);
	}
	return false;
}

/* ---- dates ---- */

static const char *const DAYS[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char *const MONTHS[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
				      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

struct date {
	uint64_t year;
	unsigned month;
	uint64_t day;
	uint64_t hour;
	uint64_t minute;
	uint64_t second;
};

/* The next word; blanks before it are skipped. */
static struct str word(struct str *rest)
{
	struct str w;
	size_t n;

	while (rest->n > 0 && rest->p[0] == ' ')
		*rest = skip(*rest, 1);
	n = str_find(*rest, ' ');
	w = str_make(rest->p, n);
	*rest = skip(*rest, n);
	return w;
}

static bool month_parse(struct str s, unsigned *ret)
{
	for (unsigned i = 0; i < 12; i++) {
		if (str_eq_z(s, MONTHS[i])) {
			*ret = i + 1;
			return true;
		}
	}
	return false;
}

static bool time_parse(struct str s, struct date *d)
{
	return s.n == 8 && s.p[2] == ':' && s.p[5] == ':' &&
	       str_to_u64(str_make(s.p, 2), 23, &d->hour) &&
	       str_to_u64(str_make(s.p + 3, 2), 59, &d->minute) &&
	       str_to_u64(str_make(s.p + 6, 2), 60, &d->second);
}

/* "06 Nov 1994 08:49:37 GMT" */
static bool fixdate_parse(struct str rest, struct date *d)
{
	struct str day = word(&rest), month = word(&rest), year = word(&rest);
	struct str time = word(&rest), zone = word(&rest);

	return day.n == 2 && str_to_u64(day, 31, &d->day) && month_parse(month, &d->month) &&
	       year.n == 4 && str_to_u64(year, 9999, &d->year) && time_parse(time, d) &&
	       str_eq_z(zone, "GMT") && rest.n == 0;
}

static uint64_t year_of(int64_t unix_s)
{
	int64_t year;
	unsigned month, day;

	date_from_days(unix_s / 86400, &year, &month, &day);
	return (uint64_t)year;
}

/* "06-Nov-94 08:49:37 GMT" */
static bool rfc850_parse(struct str rest, int64_t now_s, struct date *d)
{
	struct str date = word(&rest), time = word(&rest), zone = word(&rest);
	uint64_t now = year_of(now_s);

	if (date.n != 9 || date.p[2] != '-' || date.p[6] != '-' ||
	    !str_to_u64(str_make(date.p, 2), 31, &d->day) ||
	    !month_parse(str_make(date.p + 3, 3), &d->month) ||
	    !str_to_u64(str_make(date.p + 7, 2), 99, &d->year) || !time_parse(time, d) ||
	    !str_eq_z(zone, "GMT") || rest.n > 0)
		return false;
	d->year += now - now % 100;
	if (d->year > now + 50)
		d->year -= 100;
	return true;
}

/* "Nov  6 08:49:37 1994" */
static bool asctime_parse(struct str rest, struct date *d)
{
	struct str month = word(&rest), day = word(&rest), time = word(&rest), year = word(&rest);

	return month_parse(month, &d->month) && day.n <= 2 && str_to_u64(day, 31, &d->day) &&
	       time_parse(time, d) && year.n == 4 && str_to_u64(year, 9999, &d->year) &&
	       rest.n == 0;
}

bool http_date_parse(struct str s, int64_t now_s, int64_t *ret_unix_s)
{
	struct date d = { 0 };
	struct str rest = str_trim(s);
	size_t comma = str_find(rest, ',');
	bool read;

	/* The day of the week says nothing that the date does not. */
	if (comma == rest.n) {
		(void)word(&rest);
		read = asctime_parse(rest, &d);
	} else if (comma == 3) {
		read = fixdate_parse(skip(rest, comma + 1), &d);
	} else {
		read = rfc850_parse(skip(rest, comma + 1), now_s, &d);
	}
	if (!read || d.day == 0)
		return false;
	*ret_unix_s = date_to_days((int64_t)d.year, d.month, (unsigned)d.day) * 86400 +
		      (int64_t)(d.hour * 3600 + d.minute * 60 + d.second);
	return true;
}

void http_date_format(int64_t unix_s, char out[HTTP_DATE_CHARS + 1])
{
	const int64_t last_s = 253402300799; /* of the year 9999 */
	int64_t s = unix_s < 0 ? 0 : unix_s > last_s ? last_s : unix_s, year;
	unsigned month, day, of_day = (unsigned)(s % 86400);
	char text[64];
	int n;

	date_from_days(s / 86400, &year, &month, &day);
	n = snprintf(text, sizeof text, "%s, %02u %s %04u %02u:%02u:%02u GMT",
		     DAYS[(s / 86400 + 4) % 7], day, MONTHS[month - 1], (unsigned)year,
		     of_day / 3600, of_day / 60 % 60, of_day % 60);
	REQUIRE(n == HTTP_DATE_CHARS);
	memcpy(out, text, HTTP_DATE_CHARS + 1);
}

/* ---- ranges ---- */

/*
 * One of them: "0-99", "100-" or "-100". false: it cannot be read. ret->n is 0
 * where nothing of it is there.
 */
static bool range_one(struct str s, uint64_t size, struct http_range *ret)
{
	size_t dash = str_find(s, '-');
	struct str first = str_make(s.p, dash), last;
	uint64_t a, b;

	if (dash == s.n)
		return false;
	last = skip(s, dash + 1);
	if (first.n == 0) {
		if (!str_to_u64(last, UINT64_MAX, &b))
			return false;
		ret->n = b < size ? b : size;
		ret->from = size - ret->n;
		return true;
	}
	if (!str_to_u64(first, UINT64_MAX, &a))
		return false;
	b = UINT64_MAX;
	if (last.n > 0 && (!str_to_u64(last, UINT64_MAX, &b) || b < a))
		return false;
	ret->from = a < size ? a : size;
	ret->n = a >= size ? 0 : (b < size - 1 ? b : size - 1) - a + 1;
	return true;
}

/* All of them as one piece, if they are; they are few. */
static bool ranges_join(struct http_range *r, size_t count)
{
	for (size_t i = 1; i < count; i++) { /* by their begin */
		struct http_range moved = r[i];
		size_t k = i;

		for (; k > 0 && r[k - 1].from > moved.from; k--)
			r[k] = r[k - 1];
		r[k] = moved;
	}
	for (size_t i = 1; i < count; i++) {
		uint64_t end = r[0].from + r[0].n, own_end = r[i].from + r[i].n;

		if (r[i].from > end)
			return false;
		if (own_end > end)
			r[0].n = own_end - r[0].from;
	}
	return true;
}

enum range_wish range_parse(struct str value, uint64_t size, struct http_range *ret)
{
	struct http_range found[HTTP_RANGES_MAX];
	struct str rest = str_trim(value), part;
	size_t equals = str_find(rest, '='), count = 0, seen = 0;

	if (equals == rest.n || !str_eq_nocase(str_make(rest.p, equals), STR("bytes")))
		return RANGE_WHOLE;
	rest = skip(rest, equals + 1);
	while (rest.n > 0 && str_split(&rest, ',', &part)) {
		struct http_range one;

		part = str_trim(part);
		if (part.n == 0)
			continue;
		if (++seen > HTTP_RANGES_MAX || !range_one(part, size, &one))
			return RANGE_WHOLE;
		if (one.n > 0)
			found[count++] = one;
	}
	if (seen == 0)
		return RANGE_WHOLE;
	if (count == 0)
		return RANGE_NONE_OF_IT;
	if (!ranges_join(found, count))
		return RANGE_WHOLE;
	*ret = found[0];
	return RANGE_PART;
}

/* ---- codings ---- */

/* The quality of "gzip;q=0.5" is above nothing. One that cannot be read counts as not given. */
static bool quality_is_some(struct str parameters)
{
	struct str part;

	while (parameters.n > 0 && str_split(&parameters, ';', &part)) {
		size_t equals = str_find(part, '=');
		struct str value;

		if (equals == part.n ||
		    !str_eq_nocase(str_trim(str_make(part.p, equals)), STR("q")))
			continue;
		value = str_trim(skip(part, equals + 1));
		for (size_t i = 0; i < value.n; i++)
			if (value.p[i] != '0' && value.p[i] != '.')
				return true;
		return value.n == 0;
	}
	return true;
}

bool coding_is_accepted(struct str list, struct str coding)
{
	bool any = false;
	struct str part;

	while (list.n > 0 && str_split(&list, ',', &part)) {
		size_t semicolon = str_find(part, ';');
		struct str name = str_trim(str_make(part.p, semicolon));
		bool some = quality_is_some(skip(part, semicolon));

		if (str_eq_nocase(name, coding))
			return some;
		if (str_eq(name, STR("*")))
			any = some;
	}
	return any;
}
