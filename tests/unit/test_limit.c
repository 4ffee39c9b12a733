#include "store_db.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "store/meta_limit.h"

/* Daily limits, by rows and against a plain list of what was told. */

enum {
	DAY_S = 86400,
	NOW_S = 1764000000
};

struct world {
	char *dir;
	struct sql_db *db;
	struct sql_conn *c;
};

static int set_up(void **state)
{
	struct world *w = mem_must_zalloc(sizeof *w);

	w->dir = test_db_new(&w->db, &w->c);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	test_db_remove(w->dir, w->db, w->c);
	free(w);
	return 0;
}

/* `n` matches at now_s under the limit; how many of them are told. */
static int64_t tell(struct world *w, int64_t ruleset, int64_t limit, int64_t n, int64_t now_s)
{
	struct limit_state state;
	int64_t room, told;
	struct err err;

	CHECK_OK(limit_state(w->c, ruleset, now_s, &state, &err), &err);
	room = limit > state.day ? limit - state.day : 0;
	told = n < room ? n : room;
	CHECK_OK(limit_count(w->c, ruleset, limit, &state, told, n - told, &err), &err);
	return told;
}

static struct limit_view view(struct world *w, int64_t ruleset, int64_t now_s)
{
	struct limit_view v;
	struct err err;

	CHECK_OK(limit_view(w->c, ruleset, now_s, &v, &err), &err);
	return v;
}

static void a_day_of_a_small_limit(void **state)
{
	static const struct {
		const char *row;
		int64_t at_s, matches, told;
		bool limited;    /* after it */
		double quarters; /* of the last day, after it */
		int64_t dropped;
	} steps[] = {
		{ "the first", 0, 2, 2, false, 0, 0 },
		{ "six hours later", DAY_S / 4, 2, 1, true, 0, 1 },
		{ "dropped", DAY_S / 2, 5, 0, true, 1, 6 },
		{ "the last second of the first", DAY_S - 1, 1, 0, true, 3 - 4.0 / DAY_S, 7 },
		{ "the first two are a day old", DAY_S, 1, 1, false, 3, 7 },
		{ "full again", DAY_S + 10, 3, 1, true, 3, 9 },
		{ "the one of six hours is a day old", DAY_S + DAY_S / 4, 0, 0, false,
		  4 - 40.0 / DAY_S, 9 },
		{ "much later", 9 * DAY_S, 0, 0, false, 0, 9 },
		{ "a clock that goes back counts from the last", 9 * DAY_S, 3, 3, true, 0, 9 },
		{ "an hour back", 9 * DAY_S - 3600, 1, 0, false, 0, 10 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		int64_t now_s = NOW_S + steps[i].at_s;
		struct limit_view v;

		CHECK_ROW(steps[i].row, tell(w, 1, 3, steps[i].matches, now_s) == steps[i].told);
		v = view(w, 1, now_s);
		CHECK_ROW(steps[i].row, v.is_limited == steps[i].limited);
		CHECK_ROW(steps[i].row, v.dropped == steps[i].dropped);
		CHECK_ROW(steps[i].row, v.day_ratio * 4 - steps[i].quarters < 1e-9 &&
						steps[i].quarters - v.day_ratio * 4 < 1e-9);
		v = view(w, 2, now_s);
		CHECK_ROW(steps[i].row, !v.is_limited && v.day_ratio <= 0 && v.dropped == 0);
	}
}

static void limits_that_change(void **state)
{
	struct world *w = *state;
	struct err err;

	assert_int_equal(tell(w, 1, 2, 3, NOW_S), 2);
	assert_true(view(w, 1, NOW_S).is_limited);
	CHECK_OK(limit_changed(w->c, 1, 3, NOW_S + 8640, &err), &err);
	assert_false(view(w, 1, NOW_S + 8640).is_limited);
	assert_int_equal(tell(w, 1, 3, 1, NOW_S + 8640), 1);
	assert_true(view(w, 1, NOW_S + 8640).is_limited);
	CHECK_OK(limit_changed(w->c, 1, 10, NOW_S + 2 * 8640, &err), &err);
	assert_true(view(w, 1, NOW_S + DAY_S / 2).day_ratio > 0.1999 &&
		    view(w, 1, NOW_S + DAY_S / 2).day_ratio < 0.2001);
	/* 0 stops it until the limit is another. */
	CHECK_OK(limit_changed(w->c, 1, 0, NOW_S + DAY_S, &err), &err);
	assert_int_equal(tell(w, 1, 0, 1, NOW_S + 5 * DAY_S), 0);
	assert_true(view(w, 1, NOW_S + 5 * DAY_S).is_limited);
	assert_true(view(w, 1, NOW_S + 5 * DAY_S).day_ratio >= 1);
	CHECK_OK(limit_changed(w->c, 1, 1, NOW_S + 5 * DAY_S, &err), &err);
	assert_int_equal(tell(w, 1, 1, 1, NOW_S + 5 * DAY_S), 1);
	CHECK_OK(limit_forget(w->c, 1, &err), &err);
	assert_int_equal(view(w, 1, NOW_S + 5 * DAY_S).dropped, 0);
}

/* Random matches over some days, and the same by hand. */
static void as_a_plain_list_says(void **state)
{
	enum {
		STEPS = 3000
	};
	struct rand_seq random = { 20261126 };
	static int64_t dates[STEPS];
	struct world *w = *state;
	int64_t now_s = NOW_S, dropped = 0;
	size_t n = 0, first = 0;

	for (unsigned i = 0; i < STEPS; i++) {
		now_s += (int64_t)(rand_next(&random) % 500);
		while (first < n && dates[first] <= now_s - DAY_S)
			first++;
		if (n - first < 150)
			dates[n++] = now_s;
		else
			dropped++;
		CHECK_ROW("told",
			  tell(w, 1, 150, 1, now_s) == (dates[n - 1] == now_s && n - first <= 150));
		if (view(w, 1, now_s).is_limited != (n - first >= 150))
			fail_msg("step %u: limited", i);
		assert_int_equal(view(w, 1, now_s).dropped, dropped);
	}
	assert_true(dropped > 500 && n > 500);
}

#define WITH_WORLD(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(a_day_of_a_small_limit),
		WITH_WORLD(limits_that_change),
		WITH_WORLD(as_a_plain_list_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
