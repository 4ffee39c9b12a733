#include "index_world.h"

#include "base/limits.h"
#include "gram_set_internal.h"

static struct signature *sign(struct signer *s, const struct sample *x)
{
	struct signature *sig;
	struct err err;

	CHECK_OK(signer_sign(s, x->p, x->n, &sig, &err), &err);
	return sig;
}

static size_t ones_of(const struct signature_column *c)
{
	size_t ones = 0;

	for (size_t i = 0; i < (size_t)1 << c->class >> 6; i++)
		ones += (size_t)__builtin_popcountll(c->bits[i]);
	return ones;
}

static bool column_has(const struct signature_column *c, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + GRAM_FOLD4_BYTES <= n; i++) {
		struct gram_hash h[2] = { gram_fold4(p + i) };
		bool wide = i + GRAM_WIDE4_BYTES <= n && gram_wide4(p + i, &h[1]);

		for (int k = 0; k < 2 * (1 + wide); k++) {
			uint32_t row = gram_row(h[k / 2].of[k % 2], c->class);

			if (!(c->bits[row / 64] >> row % 64 & 1))
				return false;
		}
	}
	return true;
}

static bool any_column_has(const struct signature *sig, const uint8_t *p, size_t n)
{
	for (uint32_t i = 0; i < sig->column_count; i++) {
		if (column_has(&sig->columns[i], p, n))
			return true;
	}
	return false;
}

/* What a sample contains is in its signature, whatever its kind, its length and the fill. */
static void test_no_miss(void **state)
{
	static const unsigned fills[] = { SIGNATURE_FILL_MIN, 500, SIGNATURE_FILL_DEFAULT,
					  SIGNATURE_FILL_MAX };
	struct rand_seq r = { 1 };

	(void)state;
	for (size_t f = 0; f < COUNT_OF(fills); f++) {
		struct signer *s = signer_new(fills[f]);

		for (unsigned i = 0; i < 200; i++) {
			size_t n = 4 + rand_below(&r, i % 40 == 0 ? 1 << 20 : 1u << (i % 15 + 1));
			struct sample x = sample_new(n, i % SAMPLE_KINDS, i);
			struct signature *sig = sign(s, &x);

			assert_int_equal(sig->column_count, 1);
			for (int k = 0; k < 50; k++) {
				uint8_t run[4096];
				size_t run_n = run_of(&x, &r, run);

				if (!any_column_has(sig, run, run_n))
					fail_msg("fill %u, sample %u: missed", fills[f], i);
			}
			assert_true(column_has(&sig->columns[0], x.p, x.n));
			signature_free(sig);
			free(x.p);
		}
		signer_free(s);
	}
}

/* The class is the smallest within the fill: one less would be over it. */
static void test_class(void **state)
{
	struct rand_seq r = { 2 };

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		unsigned fill = 300 + (unsigned)rand_below(&r, 500);
		struct signer *s = signer_new(fill);
		struct sample x =
			sample_new(4 + rand_below(&r, 1 << (i % 19)), i % SAMPLE_KINDS, i);
		struct signature *sig = sign(s, &x);
		struct signature_column *c = &sig->columns[0];
		size_t size = (size_t)1 << c->class;
		uint32_t *plain = mem_must_zalloc(size / 8);
		size_t half_ones = 0;

		assert_true(ones_of(c) * 1000 <= size * fill || c->class == SEGMENT_CLASS_MAX);
		/* Folding from a larger class gives what this class gives at once. */
		gram_set(plain, c->class, x.p, x.n);
		assert_memory_equal(plain, c->bits, size / 8);
		for (size_t k = 0; k < size / 128; k++)
			half_ones +=
				(size_t)__builtin_popcountll(c->bits[k] | c->bits[k + size / 128]);
		if (c->class > SEGMENT_CLASS_MIN)
			assert_true(half_ones * 1000 > size / 2 * fill);
		free(plain);
		signature_free(sig);
		free(x.p);
		signer_free(s);
	}
}

static void test_columns(void **state)
{
	static const struct {
		const char *name;
		uint64_t n;
		uint32_t columns;
	} rows[] = {
		{ "nothing", 0, 0 },
		{ "shorter than a gram", 3, 0 },
		{ "one gram", 4, 1 },
		{ "the largest in one column", SEGMENT_CHUNK_FROM, 1 },
		{ "one byte more", SEGMENT_CHUNK_FROM + 1, 2 },
		{ "all in the overlap", SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_OVERLAP, 2 },
		{ "one byte beyond it", SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_OVERLAP + 1, 3 },
		{ "the largest sample", LIMIT_SAMPLE_BYTES, 650 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		CHECK_ROW(rows[i].name, signature_columns(rows[i].n) == rows[i].columns);
}

/* The longest run that rules ask for lies in one chunk, wherever it begins. */
static void test_chunk_borders(void **state)
{
	static const size_t sizes[] = { SEGMENT_CHUNK_FROM + 1,
					SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_OVERLAP,
					SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_OVERLAP + 1,
					3 * SEGMENT_CHUNK_BYTES + 12345 };
	struct signer *s = signer_new(SIGNATURE_FILL_DEFAULT);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct sample x = sample_new(sizes[i], i % 2 ? 0 : 5, i);
		struct signature *sig = sign(s, &x);

		assert_int_equal(sig->column_count, signature_columns(x.n));
		for (size_t border = SEGMENT_CHUNK_BYTES; border < x.n;
		     border += SEGMENT_CHUNK_BYTES) {
			for (size_t before = 0; before <= 4096; before += 1 + before / 3) {
				size_t at = border - before;
				size_t n = x.n - at < 4096 ? x.n - at : 4096;

				if (!any_column_has(sig, x.p + at, n))
					fail_msg("size %zu: %zu bytes at %zu", x.n, n, at);
			}
		}
		assert_true(any_column_has(sig, x.p + x.n - 4096, 4096));
		assert_true(any_column_has(sig, x.p + x.n - 4, 4));
		signature_free(sig);
		free(x.p);
	}
	signer_free(s);
}

/* A signer holds nothing of the sample before. */
static void test_nothing_stays(void **state)
{
	struct signer *s = signer_new(SIGNATURE_FILL_DEFAULT);
	struct sample big = sample_new(1 << 20, 0, 1);
	struct sample small = sample_new(4, 0, 2);
	struct signature *sig = sign(s, &big);

	(void)state;
	signature_drop(&sig);
	sig = sign(s, &small);
	assert_int_equal(ones_of(&sig->columns[0]), 2);
	signature_drop(&sig);
	assert_null(sig);
	signature_free(NULL);
	signer_drop(&s);
	signer_free(NULL);
	free(big.p);
	free(small.p);
}

static void bad_fill(void *arg)
{
	signer_free(signer_new(*(unsigned *)arg));
}

static void test_bad_fill(void **state)
{
	unsigned low = SIGNATURE_FILL_MIN - 1;
	unsigned high = SIGNATURE_FILL_MAX + 1;

	(void)state;
	assert_true(test_aborts(bad_fill, &low, "fill_max"));
	assert_true(test_aborts(bad_fill, &high, "fill_max"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_miss),       cmocka_unit_test(test_class),
		cmocka_unit_test(test_columns),       cmocka_unit_test(test_chunk_borders),
		cmocka_unit_test(test_nothing_stays), cmocka_unit_test(test_bad_fill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
