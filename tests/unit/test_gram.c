
#include "base/mem.h"
#include "gram_set_internal.h"
#include "index_world.h"

/* ---- Hashes ---- */

/* They are in files: what a hash is may never change. The page segment.md has these, too. */
static void test_known_hashes(void **state)
{
	static const struct {
		const char *name;
		const uint8_t bytes[8];
		uint32_t fold;
		bool is_wide;
		uint32_t wide;
	} rows[] = {
		{ "zeros", { 0 }, 0x00000000, true, 0xc291feaf },
		{ "weir", "weir\0\0\0", 0x375cf6d7, false, 0 },
		{ "WEIR", "WEIR\0\0\0", 0x375cf6d7, false, 0 },
		{ "wide WeIr", { 'W', 0, 'e', 0, 'I', 0, 'r', 0 }, 0x870017b6, true, 0xd2fe6db8 },
		{ "wide weir", { 'w', 0, 'e', 0, 'i', 0, 'r', 0 }, 0x870017b6, true, 0xd2fe6db8 },
		{ "ends of the alphabet", "@AZ[`az", 0xf0ebbe33, false, 0 },
		{ "ff", { 255, 255, 255, 255, 255 }, 0xf4035231, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint32_t wide = 0;
		bool is_wide = gram_wide4(rows[i].bytes, &wide);

		CHECK_ROW(rows[i].name, gram_fold4(rows[i].bytes) == rows[i].fold);
		CHECK_ROW(rows[i].name, is_wide == rows[i].is_wide);
		CHECK_ROW(rows[i].name, wide == rows[i].wide);
	}
}

/* … nor may what row it has in a class. */
static void test_known_rows(void **state)
{
	static const struct {
		const char *name;
		unsigned class;
		uint32_t rows;
		uint32_t hash;
		uint32_t row;
	} rows[] = {
		{ "the smallest class", 18, 512, 0x375cf6d7, 0xd7 },
		{ "three of 2^8, the first", 19, 768, 0x375cf6d7, 0xd7 },
		{ "the end of the first", 19, 768, 0x55555555, 0x55 },
		{ "the second", 19, 768, 0x55555556, 0x156 },
		{ "its end", 19, 768, 0xaaaaaaaa, 0x1aa },
		{ "the last", 19, 768, 0xaaaaaaab, 0x2ab },
		{ "the last row", 19, 768, 0xffffffff, 0x2ff },
		{ "2^10", 20, 1024, 0x375cf6d7, 0x2d7 },
		{ "three of 2^21", 45, 3u << 21, 0x90000000, 1u << 21 },
		{ "the largest class", 46, 1u << 23, 0xffffffff, (1u << 23) - 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CHECK_ROW(rows[i].name, gram_rows(rows[i].class) == rows[i].rows);
		CHECK_ROW(rows[i].name, gram_row(rows[i].hash, rows[i].class) == rows[i].row);
	}
}

/* A-Z alone is folded: no other byte of the 256 is taken for another. */
static void test_fold(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		bool upper = c >= 'A' && c <= 'Z';

		assert_int_equal(gram_fold((uint8_t)c), upper ? c + 32 : c);
	}
}

/*
 * As many grams as fill half of all bits: half of what is not there seems to be, in every
 * class, for random grams and for text.
 */
static void test_chance(void **state)
{
	static const struct {
		const char *name;
		unsigned class;
		unsigned kinds; /* of bytes */
		uint8_t first;
	} rows[] = {
		{ "random, small", 18, 256, 0 },      { "random, middle", 30, 256, 0 },
		{ "random, large", 42, 256, 0 },      { "text, small", 18, 26, 'a' },
		{ "text, middle", 30, 26, 'a' },      { "text, large", 38, 60, '0' },
		{ "random, small, odd", 19, 256, 0 }, { "random, large, odd", 41, 256, 0 },
		{ "text, middle, odd", 29, 26, 'a' }, { "text, large, odd", 37, 60, '0' },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t size = gram_rows(rows[i].class);
		uint32_t *bits = mem_must_zalloc(size / 8);
		struct rand_seq r = { i };
		unsigned hits = 0;
		unsigned asked = 100000;
		double share;

		for (size_t k = 0; k < size * 6931 / 10000 + asked; k++) {
			bool ask = k >= size * 6931 / 10000;
			uint8_t g[4];
			uint32_t row;

			for (int j = 0; j < 4; j++)
				g[j] = (uint8_t)(rows[i].first + rand_below(&r, rows[i].kinds));
			row = gram_row(gram_fold4(g), rows[i].class);
			if (ask)
				hits += bits[row / 32] >> row % 32 & 1;
			else
				bits[row / 32] |= 1u << row % 32;
		}
		share = (double)hits / asked;
		free(bits);
		if (share < 0.45 || share > 0.55)
			fail_msg("row '%s': %.3f", rows[i].name, share);
	}
}

/* ---- Setting bits ---- */

static void set_one(uint32_t *bits, unsigned class, uint32_t hash)
{
	bits[gram_row(hash, class) / 32] |= 1u << gram_row(hash, class) % 32;
}

/* By the definition in gram.h, gram for gram. */
static void set_plainly(uint32_t *bits, unsigned class, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t wide;

		if (i + GRAM_FOLD4_BYTES <= n)
			set_one(bits, class, gram_fold4(p + i));
		if (i + GRAM_WIDE4_BYTES <= n && gram_wide4(p + i, &wide))
			set_one(bits, class, wide);
	}
}

static void check_kernels(const uint8_t *p, size_t n, unsigned class, const char *what)
{
	size_t bytes = gram_rows(class) / 8;
	uint32_t *want = mem_must_zalloc(bytes);

	set_plainly(want, class, p, n);
	for (const struct gram_set_kernel *k = gram_set_kernels(); k->name; k++) {
		uint32_t *got = mem_must_zalloc(bytes);

		k->set(got, class, p, n);
		if (memcmp(got, want, bytes) != 0)
			fail_msg("kernel %s: %s of %zu bytes, class %u", k->name, what, n, class);
		free(got);
	}
	free(want);
}

/* Every kernel sets the bits of the definition, no more and no fewer. */
static void test_kernels(void **state)
{
	struct rand_seq r = { 4 };
	char what[64];

	(void)state;
	assert_non_null(gram_set_kernels()[0].name);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned kind = i % SAMPLE_KINDS;
		size_t n = i < 400 ? i / 2 : rand_below(&r, i % 50 == 0 ? 20000 : 700);
		/* Exactly as long, so that a read beyond is seen. */
		struct sample s = sample_new(n, kind, i);

		snprintf(what, sizeof what, "kind %u, seed %u", kind, i);
		check_kernels(s.p, s.n, 18 + (unsigned)rand_below(&r, 24), what);
		free(s.p);
	}
}

/* Runs of one byte, of every length, before and behind something else. */
static void test_kernels_runs(void **state)
{
	static const uint8_t bytes[] = { 0, 'A', 'a', 0xff };
	uint8_t data[420];

	(void)state;
	for (size_t c = 0; c < COUNT_OF(bytes); c++) {
		for (size_t from = 0; from < 80; from += 1 + from / 8) {
			for (size_t n = 0; n < 200; n += 1 + n / 70) {
				struct rand_seq r = { n };

				sample_fill(data, sizeof data, c % 2 ? 1 : 2, &r);
				memset(data + from, bytes[c], n);
				check_kernels(data, sizeof data, 28 + n % 2, "a run");
			}
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_hashes), cmocka_unit_test(test_known_rows),
		cmocka_unit_test(test_fold),         cmocka_unit_test(test_chance),
		cmocka_unit_test(test_kernels),      cmocka_unit_test(test_kernels_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
