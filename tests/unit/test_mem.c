#include "unit.h"

#include "base/mem.h"

static void test_must(void **state)
{
	AUTO(mem_drop) char *z = mem_must_zalloc(100);
	AUTO(mem_drop) char *copy = mem_must_dup("a\0b", 3);
	AUTO(mem_drop) char *text = mem_must_strdup("text");
	AUTO(mem_drop) void *none = mem_must_dup(NULL, 0);
	AUTO(mem_drop) void *empty = mem_must_zalloc(0);

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(z[i], 0);
	assert_memory_equal(copy, "a\0b", 3);
	assert_string_equal(text, "text");
	assert_non_null(none);
	assert_non_null(empty);
}

static void test_try(void **state)
{
	static const struct {
		const char *name;
		size_t n;
		size_t size;
		int rc;
	} rows[] = {
		{ "plain", 10, 8, 0 },
		{ "none", 0, 8, 0 },
		{ "no size", 10, 0, 0 },
		{ "product wraps to 0", SIZE_MAX / 2 + 1, 2, -(int)ERR_NO_MEMORY },
		{ "product wraps to 8", SIZE_MAX / 8 + 2, 8, -(int)ERR_NO_MEMORY },
		{ "half of everything", SIZE_MAX / 2, 1, -(int)ERR_NO_MEMORY },
		{ "everything", SIZE_MAX, 1, -(int)ERR_NO_MEMORY },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err err = { 0 };
		void *p = (void *)1;
		int rc;

		/* Sanitizers stop at such sizes instead of answering NULL. */
		if (WEIR_SANITIZED && rows[i].rc != 0 && rows[i].n == SIZE_MAX / 2)
			continue;
		rc = mem_try_array(&p, rows[i].n, rows[i].size, &err);
		CHECK_ROW(rows[i].name, rc == rows[i].rc);
		if (rc != 0) {
			CHECK_ROW(rows[i].name, p == (void *)1);
			continue;
		}
		for (size_t k = 0; k < rows[i].n * rows[i].size; k++)
			CHECK_ROW(rows[i].name, ((char *)p)[k] == 0);
		free(p);
	}
}

static void test_try_alloc(void **state)
{
	struct err err = { 0 };
	void *p = NULL;

	(void)state;
	CHECK_OK(mem_try_alloc(&p, 1000, &err), &err);
	memset(p, 1, 1000);
	free(p);
	CHECK_OK(mem_try_alloc(&p, 0, &err), &err);
	assert_non_null(p);
	free(p);
	p = NULL;
	assert_int_equal(mem_try_alloc(&p, SIZE_MAX, &err), -(int)ERR_NO_MEMORY);
	assert_null(p);
	assert_int_equal(err.kind, ERR_NO_MEMORY);
}

static void grow_over_all(void *arg)
{
	mem_must_grow(arg, SIZE_MAX / 4, 8);
}

static void test_grow(void **state)
{
	void *p = NULL;

	(void)state;
	for (uint32_t n = 1; n < 300; n++) {
		mem_must_grow(&p, n, sizeof n);
		((uint32_t *)p)[n - 1] = n;
	}
	for (uint32_t n = 1; n < 300; n++)
		assert_int_equal(((uint32_t *)p)[n - 1], n);
	assert_true(test_aborts(grow_over_all, &p, "out of memory"));
	mem_drop(&p);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_must),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_try_alloc),
		cmocka_unit_test(test_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
