
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
		uint32_t fold[2];
		bool is_wide;
		uint32_t wide[2];
	} rows[] = {
		{ "zeros", { 0 }, { 0x00000000, 0x00000000 }, true, { 0xc291feaf, 0xb8be3a54 } },
		{ "weir", "weir\0\0\0", { 0x375cf6d7, 0xe282031b }, false, { 0 } },
		{ "WEIR", "WEIR\0\0\0", { 0x375cf6d7, 0xe282031b }, false, { 0 } },
		{ "wide WeIr",
		  { 'W', 0, 'e', 0, 'I', 0, 'r', 0 },
		  { 0x870017b6, 0x8e53eb41 },
		  true,
		  { 0xd2fe6db8, 0xcdd83e9a } },
		{ "wide weir",
		  { 'w', 0, 'e', 0, 'i', 0, 'r', 0 },
		  { 0x870017b6, 0x8e53eb41 },
		  true,
		  { 0xd2fe6db8, 0xcdd83e9a } },
		{ "ends of the alphabet", "@AZ[`az", { 0xf0ebbe33, 0xfe77663f }, false, { 0 } },
		{ "ff", { 255, 255, 255, 255, 255 }, { 0xf4035231, 0x3c91b577 }, false, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct gram_hash fold = gram_fold4(rows[i].bytes);
		struct gram_hash wide = { { 0, 0 } };
		bool is_wide = gram_wide4(rows[i].bytes, &wide);

		CHECK_ROW(rows[i].name, fold.of[0] == rows[i].fold[0]);
		CHECK_ROW(rows[i].name, fold.of[1] == rows[i].fold[1]);
		CHECK_ROW(rows[i].name, is_wide == rows[i].is_wide);
		CHECK_ROW(rows[i].name, wide.of[0] == rows[i].wide[0]);
		CHECK_ROW(rows[i].name, wide.of[1] == rows[i].wide[1]);
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
 * Half of all bits set and two of them looked at: a quarter of what is not there seems to
 * be, in every class, for random grams and for text.
 */
static void test_chance(void **state)
{
	static const struct {
		const char *name;
		unsigned class;
		unsigned kinds; /* of bytes */
		uint8_t first;
	} rows[] = {
		{ "random, small", 9, 256, 0 },  { "random, middle", 15, 256, 0 },
		{ "random, large", 21, 256, 0 }, { "text, small", 9, 26, 'a' },
		{ "text, middle", 15, 26, 'a' }, { "text, large", 19, 60, '0' },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t size = (size_t)1 << rows[i].class;
		uint32_t *bits = mem_must_zalloc(size / 8);
		struct rand_seq r = { i };
		unsigned hits = 0;
		unsigned asked = 100000;
		double share;

		for (size_t k = 0; k < size * 3466 / 10000 + asked; k++) {
			bool ask = k >= size * 3466 / 10000;
			bool all = true;
			uint8_t g[4];
			struct gram_hash h;

			for (int j = 0; j < 4; j++)
				g[j] = (uint8_t)(rows[i].first + rand_below(&r, rows[i].kinds));
			h = gram_fold4(g);
			for (int j = 0; j < 2; j++) {
				uint32_t row = gram_row(h.of[j], rows[i].class);

				if (ask)
					all &= bits[row / 32] >> row % 32 & 1;
				else
					bits[row / 32] |= 1u << row % 32;
			}
			hits += ask && all;
		}
		share = (double)hits / asked;
		free(bits);
		if (share < 0.2 || share > 0.3)
			fail_msg("row '%s': %.3f", rows[i].name, share);
	}
}

/* ---- Setting bits ---- */

static void set_one(uint32_t *bits, unsigned class, struct gram_hash h)
{
	for (int i = 0; i < GRAM_HASHES; i++)
		bits[gram_row(h.of[i], class) / 32] |= 1u << gram_row(h.of[i], class) % 32;
}

/* By the definition in gram.h, gram for gram. */
static void set_plainly(uint32_t *bits, unsigned class, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct gram_hash wide;

		if (i + GRAM_FOLD4_BYTES <= n)
			set_one(bits, class, gram_fold4(p + i));
		if (i + GRAM_WIDE4_BYTES <= n && gram_wide4(p + i, &wide))
			set_one(bits, class, wide);
	}
}

static void check_kernels(const uint8_t *p, size_t n, unsigned class, const char *what)
{
	size_t bytes = ((size_t)1 << class) / 8;
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
		check_kernels(s.p, s.n, 9 + (unsigned)rand_below(&r, 12), what);
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
				check_kernels(data, sizeof data, 14, "a run");
			}
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_hashes), cmocka_unit_test(test_fold),
		cmocka_unit_test(test_chance),       cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_kernels_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
