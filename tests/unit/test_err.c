#include "unit.h"

#include <errno.h>

static void test_set(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(err_set(&err, ERR_INVALID, "bad '%s'", "x"), -(int)ERR_INVALID);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(err.sys, 0);
	assert_string_equal(err.msg, "bad 'x'");
	assert_int_equal(err_set(NULL, ERR_BUSY, "nobody asks"), -(int)ERR_BUSY);
}

static void test_sys(void **state)
{
	static const struct {
		const char *name;
		int sys;
		enum err_kind kind;
	} rows[] = {
		{ "full", ENOSPC, ERR_NO_SPACE },        { "quota", EDQUOT, ERR_NO_SPACE },
		{ "missing", ENOENT, ERR_NOT_FOUND },    { "memory", ENOMEM, ERR_NO_MEMORY },
		{ "there already", EEXIST, ERR_EXISTS }, { "other", EIO, ERR_IO },
		{ "permission", EACCES, ERR_IO },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err err = { 0 };
		char want[128];

		snprintf(want, sizeof want, "doing 'it': %s", strerror(rows[i].sys));
		CHECK_ROW(rows[i].name,
			  err_sys(&err, rows[i].sys, "doing '%s'", "it") == -(int)rows[i].kind);
		CHECK_ROW(rows[i].name, err.kind == rows[i].kind && err.sys == rows[i].sys);
		CHECK_ROW_STR(rows[i].name, str_of(err.msg), str_of(want));
	}
}

static void test_add(void **state)
{
	struct err err = { 0 };
	char big[600];

	(void)state;
	err_set(&err, ERR_CORRUPT, "inner");
	assert_int_equal(err_add(&err, "at %d", 7), -(int)ERR_CORRUPT);
	assert_string_equal(err.msg, "at 7: inner");
	assert_int_equal(err.kind, ERR_CORRUPT);

	/* Neither a long text nor a long context leaves the message. */
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	err_set(&err, ERR_IO, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
	err_add(&err, "front");
	assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
	assert_memory_equal(err.msg, "front: xxx", 10);
	err_add(&err, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
	err_sys(&err, EIO, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
	for (size_t n = sizeof err.msg - 5; n < sizeof err.msg + 2; n++) {
		err_set(&err, ERR_IO, "tail");
		err_add(&err, "%.*s", (int)n, big);
		assert_in_range(strlen(err.msg), sizeof err.msg - 5, sizeof err.msg - 1);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(err_kind_name(ERR_NONE), "NONE");
	assert_string_equal(err_kind_name(ERR_UNCERTAIN), "UNCERTAIN");
	for (int k = 0; k < ERR_KIND_COUNT; k++) {
		assert_non_null(err_kind_name((enum err_kind)k));
		assert_true(strlen(err_kind_text((enum err_kind)k)) > 0);
	}
}

static void require_false(void *arg)
{
	REQUIRE(arg != NULL);
}

static int try_twice(int first, int second)
{
	TRY(first);
	TRY(second);
	return 0;
}

static void test_macros(void **state)
{
	char *p = str_dup(STR("mine"));
	char *moved = STEAL(p);

	(void)state;
	assert_null(p);
	assert_string_equal(moved, "mine");
	free(moved);
	assert_int_equal(try_twice(0, 0), 0);
	assert_int_equal(try_twice(-3, -4), -3);
	assert_int_equal(try_twice(0, -4), -4);
	assert_true(test_aborts(require_false, NULL, "require_false: required: arg != NULL"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),    cmocka_unit_test(test_sys),
		cmocka_unit_test(test_add),    cmocka_unit_test(test_names),
		cmocka_unit_test(test_macros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
