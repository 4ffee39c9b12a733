#include "unit.h"

#include "base/rand.h"
#include "row_kernel_internal.h"

enum {
	WORDS = 64,
	DIGITS = 4,
	NUMBERS = WORDS - 1 /* the last ones are not a whole vector */
};
#define LEAST 0x2000000000000000u
#define MOST 0x9000000000000000u
#define FLIP (1ull << 63)
static const uint64_t pair_value[2] = { 0, 0x0000000000000003u };
static const uint64_t pair_mask[2] = { 0x0000000000000001u, 0x0000000000000103u };

struct kernel_data {
	_Alignas(64) uint64_t sets[4][WORDS];
	_Alignas(64) uint64_t planes[DIGITS][WORDS];
	uint64_t sum_bits[1];
	uint8_t rows[ROW_AT_ONCE][WORDS * 8 + 32];
	uint64_t lines, left, sum;
	uint64_t between[2][2], pairs[2], bytes[2];
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
	d->any[0] = k->both(d->sets[1], d->sets[1], d->sets[2], WORDS);
	d->any[1] = k->without(d->sets[3], d->sets[2], d->sets[1], WORDS);
	for (unsigned i = 0; i < 4; i++)
		k->count(planes, DIGITS, d->sets[i], WORDS);
	k->join(d->sets[1], d->sets[3], WORDS);
	k->count(planes, DIGITS, d->sets[1], WORDS);
	d->any[2] = k->at_least(d->sets[2], d->sets[3], planes, DIGITS, 3, WORDS);
	k->between(d->between[0], d->sets[1], NUMBERS, LEAST, MOST, 0);
	k->between(d->between[1], d->sets[1], NUMBERS, LEAST, MOST, FLIP);
	k->pairs(d->pairs, d->rows[0] + 1, WORDS / 2 + 1, pair_value, pair_mask);
	k->byte_bits(d->bytes, d->rows[1] + 3, 2 * NUMBERS - 3, 6);
	d->sum = k->sum(d->sets[1], d->sum_bits, WORDS);
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
			assert_memory_equal(fresh.between, want.between, sizeof want.between);
			assert_memory_equal(fresh.pairs, want.pairs, sizeof want.pairs);
			assert_memory_equal(fresh.bytes, want.bytes, sizeof want.bytes);
			assert_int_equal(fresh.sum, want.sum);
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

static uint64_t word_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

/* And what it does to numbers, one by one. */
static void test_kernel_numbers(void **state)
{
	static struct kernel_data d;
	struct rand_seq r = { 7 };

	(void)state;
	for (int round = 0; round < 50; round++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < sizeof d / 8; i++)
			((uint64_t *)&d)[i] = rand_next(&r);
		d.sum_bits[0] |= round % 2 ? UINT64_MAX : 0;
		kernel_run(row_kernel_at(0), &d);
		for (unsigned i = 0; i < NUMBERS; i++) {
			uint64_t v = d.sets[1][i], f = v ^ FLIP;

			assert_int_equal(d.between[0][0] >> i & 1, v >= LEAST && v <= MOST);
			assert_int_equal(d.between[1][0] >> i & 1, f >= LEAST && f <= MOST);
		}
		for (unsigned i = 0; i < WORDS / 2 + 1; i++) {
			const uint8_t *p = d.rows[0] + 1 + 16 * i;
			bool is = (word_at(p) & pair_mask[0]) == pair_value[0] &&
				  (word_at(p + 8) & pair_mask[1]) == pair_value[1];

			assert_int_equal(d.pairs[0] >> i & 1, is);
		}
		for (unsigned i = 0; i < 2 * NUMBERS - 3; i++)
			assert_int_equal(d.bytes[i / 64] >> i % 64 & 1, d.rows[1][3 + i] >> 6 & 1);
		for (unsigned i = 0; i < WORDS; i++)
			sum += d.sum_bits[0] >> i & 1 ? d.sets[1][i] : 0;
		assert_int_equal(d.sum, sum);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_kernel_bits),
		cmocka_unit_test(test_kernel_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
