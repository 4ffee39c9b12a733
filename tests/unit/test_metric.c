#include "unit.h"

#include "base/metric.h"
#include "base/thread.h"

static void add_some(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++)
		metric_add(METRIC_uploads_total, 2);
}

static void test_counter(void **state)
{
	struct thread t[20]; /* more than there are shards */
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(t); i++)
		CHECK_OK(thread_start(&t[i], "metric", add_some, NULL, &err), &err);
	for (size_t i = 0; i < COUNT_OF(t); i++)
		thread_join(&t[i]);
	assert_int_equal(metric_get(METRIC_uploads_total), 40000);
	assert_int_equal(metric_get(METRIC_upload_bytes_total), 0);
}

static void move_gauge(void *arg)
{
	metric_add(METRIC_http_connections, *(const int *)arg);
}

static void test_gauge(void **state)
{
	struct thread t = { 0 };
	struct err err;
	int up = 5;
	int down = -7;

	(void)state;
	metric_set(METRIC_http_connections, 10);
	CHECK_OK(thread_start(&t, "gauge", move_gauge, &up, &err), &err);
	thread_join(&t);
	CHECK_OK(thread_start(&t, "gauge", move_gauge, &down, &err), &err);
	thread_join(&t);
	assert_int_equal(metric_get(METRIC_http_connections), 8);
	metric_set(METRIC_http_connections, -1);
	assert_int_equal(metric_get(METRIC_http_connections), -1);
}

static void set_counter(void *arg)
{
	(void)arg;
	metric_set(METRIC_uploads_total, 1);
}

static void test_set_counter(void **state)
{
	(void)state;
	assert_true(test_aborts(set_counter, NULL, "METRIC_KIND_gauge"));
}

static void test_render(void **state)
{
	struct buf b = BUF_INIT(100000);
	struct str rest;
	struct str line;
	unsigned lines = 0;

	(void)state;
	metric_set(METRIC_live_generation, 12);
	metric_add(METRIC_pack_bytes_total, INT64_C(5000000000));
	metric_render(&b);
	assert_false(buf_failed(&b));
	assert_non_null(strstr(buf_str(&b).p,
			       "# HELP weir_live_generation Ruleset generation in use by scanners\n"
			       "# TYPE weir_live_generation gauge\nweir_live_generation 12\n"));
	assert_non_null(strstr(buf_str(&b).p, "# TYPE weir_pack_bytes_total counter\n"
					      "weir_pack_bytes_total 5000000000\n"));
	assert_true(str_ends(buf_str(&b), STR("\n")));
	/* Three lines each, in the format's order. */
	rest = str_make(b.p, b.n - 1);
	while (str_split(&rest, '\n', &line)) {
		static const char *const heads[] = { "# HELP weir_", "# TYPE weir_", "weir_" };

		assert_true(str_starts(line, str_of(heads[lines % 3])));
		lines++;
	}
	assert_int_equal(lines, 3 * METRIC_COUNT);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counter),
		cmocka_unit_test(test_gauge),
		cmocka_unit_test(test_set_counter),
		cmocka_unit_test(test_render),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
