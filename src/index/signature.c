#include "index/signature.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "bits_internal.h"
#include "gram_set_internal.h"
#include "index/gram.h"
#include "index/segment.h"

struct signer {
	unsigned fill_max;
	uint64_t *bits; /* 2^SEGMENT_CLASS_MAX of them; zeros between calls */
	/* By class: bytes whose grams, all different, keep within fill_max. */
	size_t bytes_max[SEGMENT_CLASS_MAX + 1];
};

/*
 * 2^class bits of which n bytes set two each, as if by chance, are filled to about
 * 1 - exp(-2n / 2^class), give or take a part of that: a twentieth is left to chance. ln(1 - fill)
 * by its series: no need for libm here.
 */
static void find_bytes_max(struct signer *s)
{
	double fill = s->fill_max / 1000.0;
	double power = fill;
	double log = 0;

	for (int k = 1; k < 400; k++, power *= fill)
		log += power / k;
	for (unsigned c = SEGMENT_CLASS_MIN; c <= SEGMENT_CLASS_MAX; c++)
		s->bytes_max[c] = (size_t)(0.95 * log * (double)(1u << c) / GRAM_HASHES);
}

struct signer *signer_new(unsigned fill_max)
{
	struct signer *s = mem_must_zalloc(sizeof *s);

	REQUIRE(fill_max >= SIGNATURE_FILL_MIN && fill_max <= SIGNATURE_FILL_MAX);
	s->fill_max = fill_max;
	s->bits = mem_must_zalloc((1u << SEGMENT_CLASS_MAX) / 8);
	find_bytes_max(s);
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
	return (size_t)1 << class >> 6;
}

static bool is_over(const struct signer *s, unsigned class)
{
	return bits_count(s->bits, words_of(class)) * 1000 > ((size_t)1 << class) * s->fill_max;
}

/* Halve the column while it stays within the fill; returns its class. */
static unsigned fold(struct signer *s, unsigned class)
{
	while (class > SEGMENT_CLASS_MIN) {
		size_t half = words_of(class - 1);
		size_t most = ((size_t)1 << (class - 1)) * s->fill_max / 1000;

		if (bits_count_or(s->bits, s->bits + half, half) > most)
			break;
		for (size_t i = 0; i < half; i++)
			s->bits[i] |= s->bits[i + half];
		memset(s->bits + half, 0, half * sizeof *s->bits);
		class --;
	}
	return class;
}

static int sign_column(struct signer *s, const uint8_t *p, size_t n, struct signature_column *ret,
		       struct err *err)
{
	unsigned class = SEGMENT_CLASS_MIN;
	size_t bytes;
	void *bits;
	int rc;

	while (class < SEGMENT_CLASS_MAX && s->bytes_max[class] < n)
		class ++;
	for (;; class ++) {
		gram_set((uint32_t *)s->bits, class, p, n);
		if (class == SEGMENT_CLASS_MAX || !is_over(s, class))
			break;
		/* By bad luck, or because of wide grams beside the others: seldom. */
		memset(s->bits, 0, (size_t)1 << class >> 3);
	}
	class = fold(s, class);
	bytes = (size_t)1 << class >> 3;
	rc = mem_try_alloc(&bits, bytes, err);
	if (rc == 0) {
		memcpy(bits, s->bits, bytes);
		*ret = (struct signature_column){ .class = (uint8_t) class, .bits = bits };
	}
	memset(s->bits, 0, bytes);
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
		sig->bytes += 1u << sig->columns[i].class >> 3;
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
