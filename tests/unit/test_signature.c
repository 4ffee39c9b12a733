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

	for (size_t i = 0; i < gram_rows(c->class) / 64; i++)
		ones += (size_t)__builtin_popcountll(c->bits[i]);
	return ones;
}

static bool column_has(const struct signature_column *c, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + GRAM_FOLD4_BYTES <= n; i++) {
		uint32_t h[2] = { gram_fold4(p + i) };
		bool wide = i + GRAM_WIDE4_BYTES <= n && gram_wide4(p + i, &h[1]);

		for (int k = 0; k < 1 + wide; k++) {
			uint32_t row = gram_row(h[k], c->class);

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

/*
 * A column has no more bits set than the fill says, and one class less would have more; but
 * for what chance does to small ones.
 */
static void test_class(void **state)
{
	struct rand_seq r = { 2 };

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		unsigned fill = 200 + (unsigned)rand_below(&r, 500);
		struct signer *s = signer_new(fill);
		struct sample x =
			sample_new(4 + rand_below(&r, 1 << (i % 19)), i % SAMPLE_KINDS, i);
		struct signature *sig = sign(s, &x);
		struct signature_column *c = &sig->columns[0];
		uint32_t *plain = mem_must_zalloc(gram_rows(SEGMENT_CLASS_MAX) / 8);
		size_t size = gram_rows(c->class);
		size_t most = size * fill / 1000;
		struct signature_column less = { .class = c->class - 1, .bits = (void *)plain };

		assert_true(ones_of(c) <= most + most / 64 + 16);
		/* Folding from a larger class gives what this class gives at once. */
		gram_set(plain, c->class, x.p, x.n);
		assert_memory_equal(plain, c->bits, size / 8);
		if (c->class > SEGMENT_CLASS_MIN) {
			memset(plain, 0, size / 8);
			gram_set(plain, less.class, x.p, x.n);
			most = gram_rows(less.class) * (size_t)fill / 1000;
			assert_true(ones_of(&less) >= most - most / 64 - 16);
		}
		free(plain);
		signature_free(sig);
		free(x.p);
		signer_free(s);
	}
}

/* Wide text has up to twice as many grams as bytes: a column is found for them, too. */
static void test_wide(void **state)
{
	struct signer *s = signer_new(SIGNATURE_FILL_DEFAULT);
	struct sample x = sample_new(200000, 0, 3);
	struct signature *sig;
	size_t size;

	(void)state;
	for (size_t i = 1; i < x.n; i += 2)
		x.p[i] = 0;
	sig = sign(s, &x);
	size = gram_rows(sig->columns[0].class);
	assert_true(column_has(&sig->columns[0], x.p, x.n));
	assert_true(ones_of(&sig->columns[0]) <= size * (SIGNATURE_FILL_DEFAULT + 5) / 1000);
	signature_free(sig);
	free(x.p);
	signer_free(s);
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
		{ "all in the overlap", SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_BYTES, 2 },
		{ "one byte beyond it", SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_BYTES + 1, 3 },
		{ "the largest sample", LIMIT_SAMPLE_BYTES, 163 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		CHECK_ROW(rows[i].name, signature_columns(rows[i].n) == rows[i].columns);
}

/* The longest run that rules ask for lies in one chunk, wherever it begins. */
static void test_chunk_borders(void **state)
{
	static const size_t sizes[] = { SEGMENT_CHUNK_FROM + 1,
					SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_BYTES,
					SEGMENT_CHUNK_FROM + SEGMENT_CHUNK_BYTES + 1 };
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
	assert_int_equal(ones_of(&sig->columns[0]), 1);
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
		cmocka_unit_test(test_wide),          cmocka_unit_test(test_columns),
		cmocka_unit_test(test_chunk_borders), cmocka_unit_test(test_nothing_stays),
		cmocka_unit_test(test_bad_fill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
