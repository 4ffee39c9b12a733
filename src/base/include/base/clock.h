#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
#include <stdint.h>
#include "base/str.h"

/* Time is passed in, so that tests can script it. */
struct clock {
	int64_t (*unix_us)(struct clock *c); /* wall clock, microseconds since 1970 UTC; may jump */
	int64_t (*mono_us)(struct clock *c); /* never goes back */
};

struct clock *clock_system(void); /* shared, any thread */

/* A clock that stands still until moved; init with both at start_unix_s. Any thread. */
struct clock_fake {
	struct clock base;
	_Atomic int64_t now_us;
	_Atomic int64_t off_us; /* of the wall clock */
};
void clock_fake_init(struct clock_fake *c, int64_t start_unix_s);
void clock_fake_advance(struct clock_fake *c, int64_t us);
void clock_fake_jump(struct clock_fake *c, int64_t us); /* the wall clock alone, either way */

/*
 * Tells a wall clock that was set from time that passed. One thread looks at it
 * again and again; zeroed at first.
 */
struct clock_watch {
	bool looked;
	int64_t apart_us; /* wall minus monotonic when last looked at */
	/* What both showed then, in one moment: the thread did not stand still in between. */
	int64_t wall_us;
	int64_t mono_us;
};
/* By how much the wall clock was set since the last look, in microseconds; either sign. */
int64_t clock_watch_look(struct clock_watch *w, struct clock *c);

static inline int64_t clock_unix_s(struct clock *c)
{
	return c->unix_us(c) / 1000000;
}
static inline int64_t clock_mono_us(struct clock *c)
{
	return c->mono_us(c);
}

/* Days since 1970-01-01 of a civil date (proleptic Gregorian), and back. */
int64_t date_to_days(int64_t year, unsigned month, unsigned day);
void date_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day);
/* "2026-11-23T06:36:00Z" into at least 32 bytes; returns out. */
char *time_format_utc(int64_t unix_s, char *out);
#endif
