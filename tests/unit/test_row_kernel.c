#include "unit.h"

#include "base/rand.h"
#include "row_kernel_internal.h"

enum {
	WORDS = 64,
	DIGITS = 4
};

struct kernel_data {
	_Alignas(64) uint64_t sets[4][WORDS];
	_Alignas(64) uint64_t planes[DIGITS][WORDS];
	uint8_t rows[ROW_AT_ONCE][WORDS * 8 + 3];
	uint64_t lines, left;
	bool cut, any[3];
};

/* Everything a kernel does, on data that sparse lots made. */
static void kernel_run(const struct row_kernel *k, struct kernel_data *d)
{
	const uint8_t *rows[ROW_AT_ONCE];
	uint64_t *planes[DIGITS];

	for (unsigned i = 0; i < ROW_AT_ONCE; i++)
		rows[i] = d->rows[i] + i % 3; /* at any address */
	for (unsigned i = 0; i < DIGITS; i++)
		planes[i] = d->planes[i];
	d->cut = false;
	d->lines = k->lines((const uint8_t *)d->sets[0], WORDS / 8);
	d->left = k->and_rows((uint8_t *)d->sets[0], rows, d->lines & 0xf7, &d->cut);
	d->any[0] = k->and (d->sets[1], d->sets[1], d->sets[2], WORDS);
	d->any[1] = k->and_not(d->sets[3], d->sets[2], d->sets[1], WORDS);
	for (unsigned i = 0; i < 4; i++)
		k->count(planes, DIGITS, d->sets[i], WORDS);
	k->or (d->sets[1], d->sets[3], WORDS);
	k->count(planes, DIGITS, d->sets[1], WORDS);
	d->any[2] = k->at_least(d->sets[2], d->sets[3], planes, DIGITS, 3, WORDS);
}

static void test_kernels(void **state)
{
	static struct kernel_data want, got;
	struct rand_seq r = { 5 };

	(void)state;
	assert_non_null(row_kernel_at(0));
	assert_ptr_not_equal(row_kernel(), NULL);
	for (int round = 0; round < 2000; round++) {
		uint64_t *words = (uint64_t *)&want;

		for (size_t i = 0; i < sizeof want / 8; i++) {
			words[i] = rand_next(&r);
			for (int k = 0; k < round % 7; k++)
				words[i] &= rand_next(&r);
		}
		memset(want.planes, 0, sizeof want.planes);
		got = want;
		kernel_run(row_kernel_at(0), &want);
		for (unsigned i = 1; row_kernel_at(i); i++) {
			struct kernel_data fresh = got;

			kernel_run(row_kernel_at(i), &fresh);
			assert_memory_equal(fresh.sets, want.sets, sizeof want.sets);
			assert_memory_equal(fresh.planes, want.planes, sizeof want.planes);
			assert_int_equal(fresh.lines, want.lines);
			assert_int_equal(fresh.left, want.left);
			assert_int_equal(fresh.cut, want.cut);
			assert_memory_equal(fresh.any, want.any, sizeof want.any);
		}
	}
}

/* The portable one does what it says, bit by bit. */
static void test_kernel_bits(void **state)
{
	static struct kernel_data before, after;
	struct rand_seq r = { 6 };

	(void)state;
	for (size_t i = 0; i < sizeof before / 8; i++)
		((uint64_t *)&before)[i] = rand_next(&r);
	memset(before.planes, 0, sizeof before.planes);
	memset(before.sets[0] + 16, 0, 64);
	after = before;
	kernel_run(row_kernel_at(0), &after);
	assert_int_equal(after.lines, 0xff & ~(1u << 2));
	for (unsigned bit = 0; bit < WORDS * 64; bit++) {
		bool was = before.sets[0][bit / 64] >> bit % 64 & 1, is = was;
		unsigned count = 0;

		for (unsigned i = 0; i < ROW_AT_ONCE && bit / 512 != 3; i++)
			is &= before.rows[i][i % 3 + bit / 8] >> bit % 8 & 1;
		assert_int_equal(after.sets[0][bit / 64] >> bit % 64 & 1, is);
		for (unsigned i = 0; i < DIGITS; i++)
			count += (unsigned)(after.planes[i][bit / 64] >> bit % 64 & 1) << i;
		assert_int_equal(after.sets[2][bit / 64] >> bit % 64 & 1,
				 count >= 3 && (after.sets[3][bit / 64] >> bit % 64 & 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_kernel_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
