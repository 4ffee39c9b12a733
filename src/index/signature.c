#include "index/signature.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "bits_internal.h"
#include "gram_set_internal.h"
#include "index/gram.h"
#include "index/segment.h"

/*
 * A column is filled at a *base*, an odd class: three of a power of two beside each other.
 * Columns of all odd classes up to it are parts of it OR-ed, and of even ones up to three below.
 * How much of the base is filled says how many different hashes there are, and this
 * what class they need.
 */
enum {
	BASE_MAX = SEGMENT_CLASS_MAX + 3
};

struct signer {
	double load_max; /* different hashes for each bit of a column */
	uint64_t *bits;  /* gram_rows(BASE_MAX) of them; zeros between calls */
};

/* So many hashes for each bit fill, as if by chance, 1 - exp(-load) of them. */
static double load_of_fill(double fill)
{
	return -log1p(-fill);
}

struct signer *signer_new(unsigned fill_max)
{
	struct signer *s = mem_must_zalloc(sizeof *s);

	REQUIRE(fill_max >= SIGNATURE_FILL_MIN && fill_max <= SIGNATURE_FILL_MAX);
	s->load_max = load_of_fill(fill_max / 1000.0);
	s->bits = mem_must_zalloc(gram_rows(BASE_MAX) / 8);
	return s;
}

void signer_free(struct signer *s)
{
	if (!s)
		return;
	free(s->bits);
	free(s);
}

void signer_drop(struct signer **s)
{
	signer_free(*s);
	*s = NULL;
}

uint32_t signature_columns(uint64_t n)
{
	if (n < GRAM_FOLD4_BYTES)
		return 0;
	if (n <= SEGMENT_CHUNK_FROM)
		return 1;
	/* A chunk that would lie inside the overlap of the one before is none. */
	return (uint32_t)((n - SEGMENT_CHUNK_OVERLAP + SEGMENT_CHUNK_BYTES - 1) /
			  SEGMENT_CHUNK_BYTES);
}

static size_t words_of(unsigned class)
{
	return gram_rows(class) / 64;
}

/* The smallest class that so many different hashes do not load beyond `load`. */
static unsigned class_of(double hashes, double load)
{
	unsigned class = SEGMENT_CLASS_MIN;

	while (class < SEGMENT_CLASS_MAX && hashes > load * gram_rows(class))
		class ++;
	return class;
}

/* The base as a column of a class that is_below it. */
static void fold(const uint64_t *from, unsigned from_class, uint64_t *to, unsigned class)
{
	size_t third = words_of(from_class) / 3;
	size_t to_third = class % 2 ? words_of(class) / 3 : 0;
	size_t part = to_third ? to_third : words_of(class);

	REQUIRE(from_class % 2 == 1 && part <= third);
	memset(to, 0, words_of(class) * sizeof *to);
	for (size_t t = 0; t < 3; t++) {
		for (size_t at = 0; at < third; at += part)
			for (size_t i = 0; i < part; i++)
				to[t * to_third + i] |= from[t * third + at + i];
	}
}

/* Can a column of that class be made of one of class `base`? */
static bool is_below(unsigned class, unsigned base)
{
	return class + (class % 2 ? 0 : 3) <= base;
}

static int sign_column(struct signer *s, const uint8_t *p, size_t n, struct signature_column *ret,
		       struct err *err)
{
	/* As if no gram were there twice, and none were wide. */
	unsigned class = class_of((double)n, s->load_max);
	unsigned base = class % 2 ? class + 2 : class + 3;
	void *bits;
	int rc;

	for (;;) {
		double bit_count = gram_rows(base);
		double fill;

		gram_set((uint32_t *)s->bits, base, p, n);
		fill = (double)bits_count(s->bits, words_of(base)) / bit_count;
		class = class_of(load_of_fill(fill) * bit_count, s->load_max);
		if (is_below(class, base))
			break;
		/* By bad luck, or because of wide grams beside the others: seldom. */
		memset(s->bits, 0, gram_rows(base) / 8);
		base = class % 2 ? class : class + 3;
	}
	rc = mem_try_alloc(&bits, gram_rows(class) / 8, err);
	if (rc == 0) {
		fold(s->bits, base, bits, class);
		*ret = (struct signature_column){ .class = (uint8_t) class, .bits = bits };
	}
	memset(s->bits, 0, gram_rows(base) / 8);
	return rc;
}

int signer_sign(struct signer *s, const void *bytes, size_t n, struct signature **ret,
		struct err *err)
{
	uint32_t columns = signature_columns(n);
	AUTO(signature_drop) struct signature *sig = NULL;
	const uint8_t *p = bytes;

	REQUIRE(n <= LIMIT_SAMPLE_BYTES);
	sig = mem_must_zalloc(sizeof *sig + columns * sizeof sig->columns[0]);
	sig->bytes = (uint32_t)(sizeof *sig + columns * sizeof sig->columns[0]);
	for (uint32_t i = 0; i < columns; i++) {
		size_t at = (size_t)i * SEGMENT_CHUNK_BYTES;
		size_t len = n - at;

		if (columns > 1 && len > SEGMENT_CHUNK_BYTES + SEGMENT_CHUNK_OVERLAP)
			len = SEGMENT_CHUNK_BYTES + SEGMENT_CHUNK_OVERLAP;
		TRY(sign_column(s, p + at, len, &sig->columns[i], err));
		sig->column_count++;
		sig->bytes += gram_rows(sig->columns[i].class) / 8;
	}
	*ret = STEAL(sig);
	return 0;
}

void signature_free(struct signature *sig)
{
	if (!sig)
		return;
	for (uint32_t i = 0; i < sig->column_count; i++)
		free(sig->columns[i].bits);
	free(sig);
}

void signature_drop(struct signature **sig)
{
	signature_free(*sig);
	*sig = NULL;
}
