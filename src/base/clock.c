#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

static int64_t clock_read_us(clockid_t id)
{
	struct timespec t;

	REQUIRE(clock_gettime(id, &t) == 0);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_unix_us(struct clock *c)
{
	(void)c;
	return clock_read_us(CLOCK_REALTIME);
}

static int64_t system_mono_us(struct clock *c)
{
	(void)c;
	return clock_read_us(CLOCK_MONOTONIC);
}

struct clock *clock_system(void)
{
	static struct clock system_clock = { system_unix_us, system_mono_us };

	return &system_clock;
}

static int64_t fake_mono_us(struct clock *c)
{
	struct clock_fake *fake = (struct clock_fake *)c;

	return atomic_load(&fake->now_us);
}

static int64_t fake_unix_us(struct clock *c)
{
	struct clock_fake *fake = (struct clock_fake *)c;

	return atomic_load(&fake->now_us) + atomic_load(&fake->off_us);
}

void clock_fake_init(struct clock_fake *c, int64_t start_unix_s)
{
	c->base.unix_us = fake_unix_us;
	c->base.mono_us = fake_mono_us;
	atomic_init(&c->now_us, start_unix_s * 1000000);
	atomic_init(&c->off_us, 0);
}

void clock_fake_jump(struct clock_fake *c, int64_t us)
{
	atomic_fetch_add(&c->off_us, us);
}

enum {
	WATCH_APART_US = 1000000, /* two readings further apart are not of one moment … */
	WATCH_TRIES = 100,        /* … and are taken again, so often */
};

int64_t clock_watch_look(struct clock_watch *w, struct clock *c)
{
	int64_t apart_us;
	int64_t set_us;

	/* Whoever is stopped between the two, for long, must not take that for a clock set. */
	w->mono_us = c->mono_us(c);
	for (int i = 0; i < WATCH_TRIES; i++) {
		int64_t before_us = w->mono_us;

		w->wall_us = c->unix_us(c);
		w->mono_us = c->mono_us(c);
		if (w->mono_us - before_us <= WATCH_APART_US)
			break;
	}
	apart_us = w->wall_us - w->mono_us;
	set_us = w->looked ? apart_us - w->apart_us : 0;
	w->looked = true;
	w->apart_us = apart_us;
	return set_us;
}

void clock_fake_advance(struct clock_fake *c, int64_t us)
{
	REQUIRE(us >= 0);
	atomic_fetch_add(&c->now_us, us);
}

/*
 * Dates by eras of 400 years (146,097 days), with years that begin in March so
 * that the leap day is a year's last. Day 719,468 of era 0 is 1970-01-01.
 */
enum {
	ERA_YEARS = 400,
	ERA_DAYS = 146097,
	EPOCH_DAY = 719468
};

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

int64_t date_to_days(int64_t year, unsigned month, unsigned day)
{
	int64_t era;
	int64_t year_of_era;
	int64_t month_from_march;
	int64_t day_of_year;

	REQUIRE(month >= 1 && month <= 12);
	REQUIRE(day >= 1 && day <= 31);
	if (month <= 2)
		year--;
	era = floor_div(year, ERA_YEARS);
	year_of_era = year - era * ERA_YEARS;
	month_from_march = month > 2 ? (int64_t)month - 3 : (int64_t)month + 9;
	/* March to January come in 31,30,31,30,31 twice: 153 days in five months. */
	day_of_year = (153 * month_from_march + 2) / 5 + (int64_t)day - 1;
	return era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - EPOCH_DAY;
}

void date_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
	int64_t shifted = days + EPOCH_DAY;
	int64_t era = floor_div(shifted, ERA_DAYS);
	int64_t day_of_era = shifted - era * ERA_DAYS;
	/* Take the leap days out, each at the day it falls on, and 365 divides. */
	int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
			       day_of_era / (ERA_DAYS - 1)) /
			      365;
	int64_t day_of_year =
		day_of_era - (year_of_era * 365 + year_of_era / 4 - year_of_era / 100);
	int64_t month_from_march = (5 * day_of_year + 2) / 153;

	*day = (unsigned)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
	*month = (unsigned)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
	*year = era * ERA_YEARS + year_of_era + (*month <= 2);
}

static void put_two(char *to, unsigned v)
{
	to[0] = (char)('0' + v / 10 % 10);
	to[1] = (char)('0' + v % 10);
}

/* Without printf where the year has four digits: each line of the log has one. */
static void time_write(char *out, unsigned year, unsigned month, unsigned day, unsigned second)
{
	memcpy(out, "0000-00-00T00:00:00Z", 21);
	put_two(out, year / 100);
	put_two(out + 2, year % 100);
	put_two(out + 5, month);
	put_two(out + 8, day);
	put_two(out + 11, second / 3600);
	put_two(out + 14, second / 60 % 60);
	put_two(out + 17, second % 60);
}

char *time_format_utc(int64_t unix_s, char *out)
{
	int64_t days = floor_div(unix_s, 86400);
	int64_t second = (unix_s % 86400 + 86400) % 86400;
	int64_t year;
	unsigned month;
	unsigned day;

	date_from_days(days, &year, &month, &day);
	if (year >= 0 && year <= 9999) {
		time_write(out, (unsigned)year, month, day, (unsigned)second);
		return out;
	}
	snprintf(out, 32, "%04lld-%02u-%02uT%02u:%02u:%02uZ", (long long)year, month, day,
		 (unsigned)(second / 3600), (unsigned)(second / 60 % 60), (unsigned)(second % 60));
	return out;
}
