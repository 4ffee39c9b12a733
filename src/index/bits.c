#include "bits_internal.h"

#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

uint64_t bits_extract_portable(uint64_t x, uint64_t mask)
{
	uint64_t out = 0;
	unsigned at = 0;

	/* A run of kept bits at a time. */
	while (mask != 0) {
		unsigned skip = (unsigned)__builtin_ctzll(mask);
		unsigned n;

		mask >>= skip;
		x >>= skip;
		n = ~mask == 0 ? 64 : (unsigned)__builtin_ctzll(~mask);
		out |= (n == 64 ? x : x & ((1ull << n) - 1)) << at;
		if (n == 64)
			break;
		mask >>= n;
		x >>= n;
		at += n;
	}
	return out;
}

/* The 64 bits from bit `at` on, which is in the row; zeros beyond the row's end. */
static inline uint64_t bits_at(const uint8_t *row, size_t row_bytes, size_t at)
{
	size_t byte = at / 8;
	size_t left = row_bytes - byte;
	unsigned shift = (unsigned)(at % 8);
	uint64_t word = 0;

	if (left > 8) {
		memcpy(&word, row + byte, sizeof word);
		return shift == 0 ? word : word >> shift | (uint64_t)row[byte + 8] << (64 - shift);
	}
	if (row_bytes >= 8) {
		/* The row's last eight bytes, of which these are the upper ones. */
		memcpy(&word, row + row_bytes - 8, sizeof word);
		return word >> 8 * (8 - left) >> shift;
	}
	for (size_t i = 0; i < left; i++)
		word |= (uint64_t)row[byte + i] << 8 * i;
	return word >> shift;
}

static inline uint64_t low_bits(uint64_t x, unsigned n)
{
	return n == 64 ? x : x & ((1ull << n) - 1);
}

static inline void piece_add(struct bit_writer *w, const uint8_t *row, size_t row_bytes,
			     const struct bit_piece *piece,
			     uint64_t (*extract)(uint64_t x, uint64_t mask))
{
	for (uint32_t i = 0; i < piece->n; i += 64) {
		unsigned n = piece->n - i < 64 ? piece->n - i : 64;
		uint64_t x = low_bits(bits_at(row, row_bytes, piece->first + i), n);

		if (piece->keep) {
			uint64_t keep = low_bits(piece->keep[i / 64], n);

			x = extract(x, keep);
			n = (unsigned)__builtin_popcountll(keep);
		}
		if (n > 0)
			bit_writer_add(w, x, n);
	}
}

#if defined(__x86_64__)
__attribute__((target("bmi2"))) static inline uint64_t bits_extract_bmi2(uint64_t x, uint64_t mask)
{
	return _pext_u64(x, mask);
}

__attribute__((target("bmi2,popcnt"))) static void piece_add_bmi2(struct bit_writer *w,
								  const uint8_t *row,
								  size_t row_bytes,
								  const struct bit_piece *piece)
{
	for (uint32_t i = 0; i < piece->n; i += 64) {
		unsigned n = piece->n - i < 64 ? piece->n - i : 64;
		uint64_t keep = low_bits(piece->keep[i / 64], n);

		if (keep != 0)
			bit_writer_add(
				w,
				bits_extract_bmi2(bits_at(row, row_bytes, piece->first + i), keep),
				(unsigned)__builtin_popcountll(keep));
	}
}

uint64_t bits_extract(uint64_t x, uint64_t mask)
{
	return __builtin_cpu_supports("bmi2") ? bits_extract_bmi2(x, mask)
					      : bits_extract_portable(x, mask);
}
#else
uint64_t bits_extract(uint64_t x, uint64_t mask)
{
	return bits_extract_portable(x, mask);
}
#endif

void bit_writer_piece(struct bit_writer *w, const uint8_t *row, size_t row_bytes,
		      const struct bit_piece *piece)
{
	REQUIRE(piece->n > 0 && ((size_t)piece->first + piece->n + 7) / 8 <= row_bytes);
#if defined(__x86_64__)
	if (piece->keep && __builtin_cpu_supports("bmi2")) {
		piece_add_bmi2(w, row, row_bytes, piece);
		return;
	}
#endif
	piece_add(w, row, row_bytes, piece, bits_extract_portable);
}

static inline size_t count_or(const uint64_t *a, const uint64_t *b, size_t n)
{
	size_t ones = 0;

	for (size_t i = 0; i < n; i++)
		ones += (size_t)__builtin_popcountll(a[i] | b[i]);
	return ones;
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) static size_t count_or_popcnt(const uint64_t *a,
								const uint64_t *b, size_t n)
{
	size_t ones = 0;

	for (size_t i = 0; i < n; i++)
		ones += (size_t)__builtin_popcountll(a[i] | b[i]);
	return ones;
}

size_t bits_count_or(const uint64_t *a, const uint64_t *b, size_t n)
{
	return __builtin_cpu_supports("popcnt") ? count_or_popcnt(a, b, n) : count_or(a, b, n);
}
#else
size_t bits_count_or(const uint64_t *a, const uint64_t *b, size_t n)
{
	return count_or(a, b, n);
}
#endif

size_t bits_count(const uint64_t *a, size_t n)
{
	return bits_count_or(a, a, n);
}
