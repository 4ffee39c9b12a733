#include "accounts_world.h"

#include <stdio.h>

#include "base/hash.h"
#include "service/usage.h"
#include "service_internal.h"

/* ---- Windows ---- */

static const struct {
	const char *row;
	enum quota_period period;
	int64_t now_s;
	int64_t begin_s;
	int64_t end_s;
} windows[] = {
	{ "minute", QUOTA_PERIOD_MINUTE, 1764000059, 1764000000, 1764000060 },
	{ "its first second", QUOTA_PERIOD_MINUTE, 1764000060, 1764000060, 1764000120 },
	{ "hour", QUOTA_PERIOD_HOUR, 1764003599, 1764000000, 1764003600 },
	{ "day", QUOTA_PERIOD_DAY, 1764000000, 1763942400, 1764028800 },
	{ "month of 30", QUOTA_PERIOD_MONTH, 1764000000, 1761955200, 1764547200 },
	{ "december", QUOTA_PERIOD_MONTH, 1767225599, 1764547200, 1767225600 },
	{ "january", QUOTA_PERIOD_MONTH, 1767225600, 1767225600, 1769904000 },
	{ "february of a leap year", QUOTA_PERIOD_MONTH, 1835395200, 1832976000, 1835481600 },
	{ "before 1970", QUOTA_PERIOD_DAY, -1, -86400, 0 },
	{ "the month before 1970", QUOTA_PERIOD_MONTH, -1, -2678400, 0 },
};

static void windows_begin_and_end(void **state)
{
	int64_t begin_s, end_s;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(windows); i++) {
		quota_window(windows[i].period, windows[i].now_s, &begin_s, &end_s);
		CHECK_ROW(windows[i].row, begin_s == windows[i].begin_s);
		CHECK_ROW(windows[i].row, end_s == windows[i].end_s);
	}
}

static void quotas_have_names(void **state)
{
	(void)state;
	for (unsigned q = 0; q < QUOTA_COUNT; q++)
		assert_int_equal(quota_find(str_of(quota_infos[q].name)), q);
	assert_int_equal(quota_find(STR("requests")), QUOTA_COUNT);
	assert_int_equal(quota_find(STR("")), QUOTA_COUNT);
}

/* ---- A world with a user ---- */

struct fixture {
	struct world *w;
	char key[USER_KEY_CHARS + 1];
	unsigned endpoint;
};

static void fixture_login(struct fixture *f, struct user *ret)
{
	struct err err;

	CHECK_OK(user_authenticate(f->w->svc, str_of(f->key), ret, &err), &err);
}

static int setup(void **state)
{
	struct fixture *f = mem_must_zalloc(sizeof *f);
	struct err err;

	f->w = world_new();
	world_open(f->w);
	CHECK_OK(user_add(f->w->svc, STR("ann"), ROLE_HUNTER, STR(""), NULL, f->key, &err), &err);
	f->endpoint = usage_endpoint(f->w->svc, "files");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	world_free(f->w);
	free(f);
	return 0;
}

static void allow(struct fixture *f, enum quota quota, int64_t allowed)
{
	const struct user_quota_change change = { .quota = quota, .allowed = allowed };
	struct err err;

	CHECK_OK(user_set_quotas(f->w->svc, STR("ann"), &change, 1, NULL, &err), &err);
}

static int charge(struct fixture *f, bool download)
{
	struct err err;
	struct user u;

	fixture_login(f, &u);
	return usage_charge(f->w->svc, &u, f->endpoint, download, &err);
}

static int64_t used(struct fixture *f, enum quota quota)
{
	int64_t all[QUOTA_COUNT];
	struct err err;
	struct user u;

	CHECK_OK(user_get(f->w->svc, STR("ann"), &u, &err), &err);
	CHECK_OK(usage_now(f->w->svc, &u, all, &err), &err);
	return all[quota];
}

static uint32_t retry_s(struct fixture *f)
{
	struct user u;

	fixture_login(f, &u);
	return usage_retry_s(f->w->svc, &u, QUOTAS_OF_CALLS | 1u << QUOTA_DOWNLOADS_MONTH);
}

static void without_quotas_all_is_counted(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(charge(f, i % 10 == 0), 0);
	for (unsigned q = QUOTA_REQUESTS_MINUTE; q <= QUOTA_REQUESTS_MONTH; q++)
		assert_int_equal(used(f, (enum quota)q), 1000);
	assert_int_equal(used(f, QUOTA_DOWNLOADS_MONTH), 100);
	assert_int_equal(retry_s(f), 0);
}

static void every_window_has_its_own_quota(void **state)
{
	struct fixture *f = *state;

	for (unsigned q = QUOTA_REQUESTS_MINUTE; q <= QUOTA_REQUESTS_MONTH; q++) {
		enum quota quota = (enum quota)q;
		int64_t start_s = f->w->clock.now_us / 1000000, begin_s, wait_s;

		allow(f, quota, used(f, quota) + 3);
		quota_window(quota_infos[quota].period, start_s, &begin_s, &wait_s);
		wait_s -= start_s;
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(charge(f, false), 0);
		assert_int_equal(charge(f, false), -ERR_QUOTA);
		assert_int_equal(retry_s(f), wait_s);
		clock_fake_advance(&f->w->clock, (wait_s - 1) * 1000000);
		assert_int_equal(charge(f, false), -ERR_QUOTA);
		clock_fake_advance(&f->w->clock, 1000000);
		assert_int_equal(charge(f, false), 0);
		assert_int_equal(used(f, quota), 1);
		allow(f, quota, QUOTA_UNLIMITED);
	}
}

static void a_refused_call_uses_up_nothing(void **state)
{
	struct fixture *f = *state;

	allow(f, QUOTA_DOWNLOADS_MONTH, 1);
	assert_int_equal(charge(f, true), 0);
	assert_int_equal(charge(f, true), -ERR_QUOTA);
	assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 1);
	assert_int_equal(charge(f, false), 0);
	allow(f, QUOTA_REQUESTS_DAY, 0);
	assert_int_equal(charge(f, false), -ERR_QUOTA);
	assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 2);
}

static void a_refund_makes_room(void **state)
{
	struct fixture *f = *state;
	struct user u;

	allow(f, QUOTA_REQUESTS_DAY, 1);
	fixture_login(f, &u);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(charge(f, false), 0);
		assert_int_equal(charge(f, false), -ERR_QUOTA);
		usage_flush(f->w->svc);
		usage_refund(f->w->svc, &u, f->endpoint, false);
		assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 0);
	}
	usage_refund(f->w->svc, &u, f->endpoint, false); /* one too many */
	assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 0);
}

static void clocks_jump(void **state)
{
	struct fixture *f = *state;

	allow(f, QUOTA_REQUESTS_MINUTE, 2);
	assert_int_equal(charge(f, false), 0);
	assert_int_equal(charge(f, false), 0);
	/* Back over the beginning of the minute: the same allowance is not given twice. */
	f->w->clock.now_us -= 5000000;
	assert_int_equal(charge(f, false), -ERR_QUOTA);
	assert_int_equal(retry_s(f), 65);
	f->w->clock.now_us += 5000000;
	assert_int_equal(charge(f, false), -ERR_QUOTA);
	/* A century ahead and back again locks nobody out. */
	f->w->clock.now_us += INT64_C(36500) * 86400 * 1000000;
	assert_int_equal(charge(f, false), 0);
	f->w->clock.now_us -= INT64_C(36500) * 86400 * 1000000;
	assert_int_equal(charge(f, false), 0);
}

struct hammer {
	struct fixture *f;
	_Atomic unsigned let_through;
};

static void hammer_run(void *arg)
{
	struct hammer *h = arg;

	for (unsigned i = 0; i < 2000; i++)
		h->let_through += charge(h->f, false) == 0;
}

static void threads_never_get_more_than_allowed(void **state)
{
	struct fixture *f = *state;
	struct hammer h = { .f = f };
	struct thread threads[8] = { 0 };
	struct err err;

	allow(f, QUOTA_REQUESTS_DAY, 7777);
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		CHECK_OK(thread_start(&threads[i], "hammer", hammer_run, &h, &err), &err);
	for (unsigned i = 0; i < 20; i++)
		usage_flush(f->w->svc);
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		thread_join(&threads[i]);
	assert_int_equal(h.let_through, 7777);
	assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 7777);
	usage_flush(f->w->svc);
	assert_int_equal(world_i64(f->w, "SELECT sum(calls) FROM user_usage"), 7777);
	assert_int_equal(
		world_i64(f->w, "SELECT used FROM user_used WHERE quota = 'requests-per-day'"),
		7777);
}

static void counters_outlive_a_restart(void **state)
{
	struct fixture *f = *state;

	allow(f, QUOTA_REQUESTS_DAY, 4);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(charge(f, false), 0);
	service_close(f->w->svc);
	world_open(f->w);
	f->endpoint = usage_endpoint(f->w->svc, "files");
	assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 3);
	assert_int_equal(charge(f, false), 0);
	assert_int_equal(charge(f, false), -ERR_QUOTA);
	/* A day later it begins anew, also for what was read from the database. */
	service_close(f->w->svc);
	clock_fake_advance(&f->w->clock, INT64_C(86400) * 1000000);
	world_open(f->w);
	f->endpoint = usage_endpoint(f->w->svc, "files");
	assert_int_equal(used(f, QUOTA_REQUESTS_DAY), 0);
	assert_int_equal(used(f, QUOTA_REQUESTS_MONTH), 4);
}

static void use_is_kept_by_day_and_endpoint(void **state)
{
	struct fixture *f = *state;
	unsigned other = usage_endpoint(f->w->svc, "ioc_stream");
	struct arena *arena = arena_new("test", 1 << 20);
	struct usage_row *rows;
	struct user u;
	struct err err;
	size_t n;

	assert_int_equal(usage_endpoint(f->w->svc, "files"), f->endpoint);
	fixture_login(f, &u);
	for (unsigned day = 0; day < 3; day++) {
		for (unsigned i = 0; i <= day; i++)
			CHECK_OK(usage_charge(f->w->svc, &u, f->endpoint, false, &err), &err);
		CHECK_OK(usage_charge(f->w->svc, &u, other, false, &err), &err);
		usage_flush(f->w->svc);
		clock_fake_advance(&f->w->clock, INT64_C(86400) * 1000000);
	}
	CHECK_OK(usage_by_day(f->w->svc, u.id, WORLD_START_S / 86400, WORLD_START_S / 86400 + 2,
			      arena, &rows, &n, &err),
		 &err);
	assert_int_equal(n, 6);
	for (unsigned day = 0; day < 3; day++) {
		assert_int_equal(rows[2 * day].day, WORLD_START_S / 86400 + day);
		assert_true(str_eq_z(rows[2 * day].endpoint, "files"));
		assert_int_equal(rows[2 * day].calls, day + 1);
		assert_int_equal(rows[2 * day + 1].calls, 1);
	}
	CHECK_OK(usage_by_day(f->w->svc, u.id, WORLD_START_S / 86400 + 1, WORLD_START_S / 86400 + 1,
			      arena, &rows, &n, &err),
		 &err);
	assert_int_equal(n, 2);
	arena_free(arena);
}

static void what_could_not_be_written_waits(void **state)
{
	struct fixture *f = *state;

	for (unsigned day = 0; day < 4; day++) {
		assert_int_equal(charge(f, false), 0);
		world_exec(f->w,
			   "CREATE TRIGGER IF NOT EXISTS no BEFORE INSERT ON user_used BEGIN "
			   "SELECT RAISE(ABORT, 'no'); END",
			   NULL);
		usage_flush(f->w->svc);
		assert_int_equal(world_i64(f->w, "SELECT count(*) FROM user_usage"), 0);
		clock_fake_advance(&f->w->clock, INT64_C(86400) * 1000000);
	}
	world_exec(f->w, "DROP TRIGGER no", NULL);
	usage_flush(f->w->svc);
	assert_int_equal(world_i64(f->w, "SELECT sum(calls) FROM user_usage"), 4);
	assert_int_equal(used(f, QUOTA_REQUESTS_MONTH), 4);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_begin_and_end),
		cmocka_unit_test(quotas_have_names),
		WITH_FIXTURE(without_quotas_all_is_counted),
		WITH_FIXTURE(every_window_has_its_own_quota),
		WITH_FIXTURE(a_refused_call_uses_up_nothing),
		WITH_FIXTURE(a_refund_makes_room),
		WITH_FIXTURE(clocks_jump),
		WITH_FIXTURE(threads_never_get_more_than_allowed),
		WITH_FIXTURE(counters_outlive_a_restart),
		WITH_FIXTURE(use_is_kept_by_day_and_endpoint),
		WITH_FIXTURE(what_could_not_be_written_waits),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
