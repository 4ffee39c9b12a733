#include "unit.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/rand.h"

static void test_alloc(void **state)
{
	struct arena *a = arena_new("test", (size_t)64 << 20);
	struct rand_seq r = { 7 };
	struct {
		uint8_t *p;
		size_t n;
	} blocks[500];
	size_t sum = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(blocks); i++) {
		/* Mostly small, sometimes over a chunk. */
		size_t n = rand_below(&r, i % 50 == 0 ? 600 * 1024 : 700);

		blocks[i].p = arena_must(a, n);
		blocks[i].n = n;
		assert_int_equal((uintptr_t)blocks[i].p % _Alignof(max_align_t), 0);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(blocks[i].p[k], 0);
		memset(blocks[i].p, (int)(i % 251) + 1, n);
		sum += n;
		assert_int_equal(arena_bytes(a), sum);
	}
	/* No block was handed out over another one. */
	for (size_t i = 0; i < COUNT_OF(blocks); i++) {
		for (size_t k = 0; k < blocks[i].n; k++)
			assert_int_equal(blocks[i].p[k], i % 251 + 1);
	}
	arena_drop(&a);
	assert_null(a);
	arena_drop(&a);
	arena_free(NULL);
}

static void test_maximum(void **state)
{
	struct arena *a = arena_new("small", 100);

	(void)state;
	assert_null(arena_try(a, 101));
	assert_null(arena_try(a, SIZE_MAX));
	assert_non_null(arena_try(a, 60));
	assert_null(arena_try(a, 41));
	assert_non_null(arena_try(a, 40));
	assert_non_null(arena_try(a, 0));
	assert_null(arena_try(a, 1));
	assert_int_equal(arena_bytes(a), 100);
	arena_free(a);
}

static void over_maximum(void *arg)
{
	arena_must(arg, 101);
}

static void test_must_aborts(void **state)
{
	struct arena *a = arena_new("tiny one", 100);

	(void)state;
	assert_true(test_aborts(over_maximum, a, "arena 'tiny one'"));
	arena_free(a);
}

static void test_text(void **state)
{
	struct arena *a = arena_new("text", 100000);
	struct str s = arena_str(a, str_make("abcdef", 3));
	char *big;

	(void)state;
	assert_int_equal(s.n, 3);
	assert_string_equal(s.p, "abc");
	s = arena_str(a, str_of(NULL));
	assert_string_equal(s.p, "");
	assert_string_equal(arena_printf(a, "%s=%d", "k", 5), "k=5");
	big = arena_printf(a, "%05000d", 1);
	assert_int_equal(strlen(big), 5000);
	arena_free(a);
}

static void note(void *arg)
{
	static const char letters[] = "abc";
	struct buf *b = arg;

	buf_add_c(b, letters[b->n % 3]);
}

static void note_z(void *arg)
{
	buf_add_c(arg, 'z');
}

static void test_keep(void **state)
{
	struct arena *a = arena_new("test", 12);
	char from[] = "abcdef";
	struct str one = str_make(from, 3), none = { NULL, 0 }, two = str_make(from + 3, 3);
	struct str *const texts[] = { &one, &none, &two };

	(void)state;
	assert_true(arena_keep(a, texts, 3));
	memset(from, 'x', sizeof from);
	assert_string_equal(one.p, "abc");
	assert_string_equal(none.p, "");
	assert_string_equal(two.p, "def");
	assert_false(arena_keep(a, texts, 3)); /* 3 bytes are left, for "" and no more */
	arena_free(a);
}

static void test_cleanups(void **state)
{
	struct buf order = BUF_INIT(10);
	struct arena *a = arena_new("cleanups", 1000);

	(void)state;
	arena_on_free(a, note_z, &order);
	arena_on_free(a, note, &order);
	assert_int_equal(order.n, 0);
	arena_free(a);
	assert_string_equal(buf_str(&order).p, "az"); /* the last one first */
	buf_release(&order);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc),       cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_must_aborts), cmocka_unit_test(test_text),
		cmocka_unit_test(test_keep),        cmocka_unit_test(test_cleanups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
