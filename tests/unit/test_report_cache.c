#include "unit.h"

#include "base/arena.h"
#include "report_cache.h"

static struct file_info info_of(uint8_t first, const char *report)
{
	struct file_info info = { .id = 7, .size = 3, .report = str_of(report), .name = STR("a") };

	info.hashes.sha256[0] = first;
	info.hashes.sha256[2] = first;
	return info;
}

static bool get(struct report_cache *c, const struct file_info *of, struct arena *arena,
		struct file_info *ret, uint64_t *version)
{
	return report_cache_get(c, of->hashes.sha256, arena, ret, version);
}

static void test_keeps_and_drops(void **state)
{
	struct report_cache *c = report_cache_new();
	struct arena *arena = arena_new("test", 1 << 20);
	struct file_info one = info_of(1, "{\"a\":1}"), found;
	uint64_t version;

	(void)state;
	assert_false(get(c, &one, arena, &found, &version));
	report_cache_put(c, version, &one);
	assert_true(get(c, &one, arena, &found, &version));
	assert_int_equal(found.id, 7);
	assert_true(str_eq_z(found.report, "{\"a\":1}"));
	assert_true(str_eq_z(found.name, "a"));
	report_cache_drop(c, one.hashes.sha256);
	assert_false(get(c, &one, arena, &found, &version));
	arena_free(arena);
	report_cache_free(c);
}

/* A read that began before a change must not bring the old report back. */
static void test_late_reader(void **state)
{
	struct report_cache *c = report_cache_new();
	struct arena *arena = arena_new("test", 1 << 20);
	struct file_info old = info_of(1, "{\"old\":1}"), found;
	uint64_t version;

	(void)state;
	assert_false(get(c, &old, arena, &found, &version));
	report_cache_drop(c, old.hashes.sha256); /* the change, between look and put */
	report_cache_put(c, version, &old);
	assert_false(get(c, &old, arena, &found, &version));
	arena_free(arena);
	report_cache_free(c);
}

/* Two files of one slot: the later one stands there, and each finds only itself. */
static void test_same_slot(void **state)
{
	struct report_cache *c = report_cache_new();
	struct arena *arena = arena_new("test", 1 << 20);
	struct file_info a = info_of(1, "{}"), b = info_of(1, "[]"), found;
	uint64_t version;

	(void)state;
	b.hashes.sha256[9] = 1;
	assert_false(get(c, &a, arena, &found, &version));
	report_cache_put(c, version, &a);
	assert_false(get(c, &b, arena, &found, &version));
	report_cache_put(c, version, &b);
	assert_true(get(c, &b, arena, &found, &version));
	assert_false(get(c, &a, arena, &found, &version));
	arena_free(arena);
	report_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_and_drops),
		cmocka_unit_test(test_late_reader),
		cmocka_unit_test(test_same_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
