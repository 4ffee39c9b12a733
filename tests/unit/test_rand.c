#include "unit.h"

#include "base/rand.h"

static void test_bytes(void **state)
{
	uint8_t a[1000] = { 0 };
	uint8_t b[1000] = { 0 };
	unsigned ones = 0;

	(void)state;
	rand_bytes(a, sizeof a);
	rand_bytes(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	for (size_t i = 0; i < sizeof a; i++)
		ones += (unsigned)__builtin_popcount(a[i]);
	/* 4,000 of 8,000 bits expected; 500 is eleven standard deviations. */
	assert_in_range(ones, 3500, 4500);
	a[1] = 77;
	rand_bytes(a, 0);
	assert_int_equal(a[1], 77);
}

/* The numbers of the authors' own generator (splitmix64.c), seed 1234567. */
static void test_sequence(void **state)
{
	static const uint64_t want[] = { 6457827717110365317u, 3203168211198807973u,
					 9817491932198370423u, 4593380528125082431u,
					 16408922859458223821u };
	struct rand_seq r = { 1234567 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(want); i++)
		assert_true(rand_next(&r) == want[i]);
}

static void test_below(void **state)
{
	struct rand_seq r = { 5 };
	unsigned seen[7] = { 0 };

	(void)state;
	for (int i = 0; i < 7000; i++)
		seen[rand_below(&r, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 800, 1200);
	for (int i = 0; i < 10; i++)
		assert_int_equal(rand_below(&r, 1), 0);
	for (int i = 0; i < 100; i++)
		assert_true(rand_below(&r, (UINT64_MAX / 3) * 2) < (UINT64_MAX / 3) * 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
