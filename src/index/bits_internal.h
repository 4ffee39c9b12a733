#ifndef INDEX_BITS_INTERNAL_H
#define INDEX_BITS_INTERNAL_H
#include <stddef.h>
#include <stdint.h>

/* Rows are put together from parts of rows: bits appended to bits. */
struct bit_writer {
	uint8_t *p;      /* where the next whole bytes go */
	uint64_t word;   /* bits that do not fill eight bytes yet, the first lowest */
	unsigned filled; /* … and how many: below 64 */
};

/* The lowest n of bits, n up to 64; the others must be zero. */
static inline void bit_writer_add(struct bit_writer *w, uint64_t bits, unsigned n)
{
	w->word |= bits << w->filled;
	w->filled += n;
	if (w->filled < 64)
		return;
	__builtin_memcpy(w->p, &w->word, sizeof w->word);
	w->p += sizeof w->word;
	w->filled -= 64;
	w->word = w->filled > 0 ? bits >> (n - w->filled) : 0;
}

/* What is left, as whole bytes; ready for the next row. */
static inline void bit_writer_end(struct bit_writer *w)
{
	for (unsigned i = 0; i < w->filled; i += 8)
		*w->p++ = (uint8_t)(w->word >> i);
	w->word = 0;
	w->filled = 0;
}

/*
 * Bits of a row that are taken: n of them from `first` on, or of these only those that
 * are set in `keep` (bit 0 is `first`).
 */
struct bit_piece {
	uint32_t first;
	uint32_t n;
	const uint64_t *keep; /* NULL: all */
};

/* Append the piece of a row of row_bytes bytes; nothing beyond them is read. */
void bit_writer_piece(struct bit_writer *w, const uint8_t *row, size_t row_bytes,
		      const struct bit_piece *piece);

/* The bits of x that are set in mask, pushed together; by an instruction where there is one. */
uint64_t bits_extract(uint64_t x, uint64_t mask);
uint64_t bits_extract_portable(uint64_t x, uint64_t mask);

/* Set bits of n words; of the words of a and b OR-ed. */
size_t bits_count(const uint64_t *a, size_t n);
size_t bits_count_or(const uint64_t *a, const uint64_t *b, size_t n);
#endif
