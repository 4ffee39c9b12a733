#include "transpose_internal.h"

#include <string.h>

#include "base/mem.h"

enum {
	TILE_BYTES = 256 << 10, /* 64 of the widest rows */
	WORD_ROWS = 64
};

/* Bit k of byte j becomes bit j of byte k: three rounds of swapping blocks over the diagonal. */
static uint64_t transpose_8x8(uint64_t x)
{
	uint64_t t;

	t = (x ^ x >> 7) & 0x00aa00aa00aa00aaull;
	x ^= t ^ t << 7;
	t = (x ^ x >> 14) & 0x0000cccc0000ccccull;
	x ^= t ^ t << 14;
	t = (x ^ x >> 28) & 0x00000000f0f0f0f0ull;
	return x ^ t ^ t << 28;
}

/* Sixty-four rows of up to eight columns: one byte of each row, `stride` bytes apart. */
static void transpose_words(const uint64_t words[8], uint8_t *out, size_t stride)
{
	for (unsigned b = 0; b < 8; b++) {
		uint64_t x = 0;

		for (unsigned j = 0; j < 8; j++)
			x |= (words[j] >> 8 * b & 255) << 8 * j;
		x = transpose_8x8(x);
		for (unsigned r = 0; r < 8; r++)
			out[(8 * b + r) * stride] = (uint8_t)(x >> 8 * r);
	}
}

/* `rows` rows from row `first`, both multiples of 64, into rows of `stride` bytes. */
static void tile_make(const uint64_t *const *columns, uint32_t n, size_t first, size_t rows,
		      uint8_t *tile, size_t stride)
{
	for (uint32_t c = 0; c < n; c += 8) {
		uint64_t words[8] = { 0 };
		uint32_t some = n - c < 8 ? n - c : 8;

		for (size_t row = 0; row < rows; row += WORD_ROWS) {
			for (uint32_t j = 0; j < some; j++)
				words[j] = columns[c + j][(first + row) / 64];
			transpose_words(words, tile + row * stride + c / 8, stride);
		}
	}
}

size_t rows_pack(uint8_t *p, size_t rows, unsigned bits)
{
	unsigned each = 8 / bits;

	for (size_t i = 0; i < rows / each; i++) {
		unsigned packed = 0;

		for (unsigned k = 0; k < each; k++)
			packed |= (unsigned)p[i * each + k] << bits * k;
		p[i] = (uint8_t)packed;
	}
	return rows / each;
}

int transpose_out(struct out *o, unsigned class, const uint64_t *const *columns, uint32_t n,
		  struct err *err)
{
	uint32_t bits = format_row_bits(n);
	size_t stride = (bits + 7) / 8;
	size_t all = gram_rows(class);
	size_t rows = TILE_BYTES / stride / WORD_ROWS * WORD_ROWS;
	AUTO(mem_drop) uint8_t *tile = mem_must_zalloc(TILE_BYTES);

	REQUIRE(n > 0 && n <= SEGMENT_BLOCK_DOCS && rows > 0);
	for (size_t first = 0; first < all; first += rows) {
		size_t some = all - first < rows ? all - first : rows;
		size_t bytes = some * stride;

		tile_make(columns, n, first, some, tile, stride);
		if (bits < 8)
			bytes = rows_pack(tile, some, bits);
		TRY(out_add(o, tile, bytes, err));
	}
	return 0;
}
