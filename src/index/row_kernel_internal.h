#ifndef INDEX_ROW_KERNEL_INTERNAL_H
#define INDEX_ROW_KERNEL_INTERNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * What is done to many bits at once, by the widest instructions that there are. Sets
 * are aligned to ROW_LINE bytes and a multiple of it long; rows are where they are.
 * All tables give the same results.
 */
enum {
	ROW_LINE = 64,       /* bytes */
	ROW_TILE_LINES = 64, /* a set of lines is a number */
	ROW_AT_ONCE = 4
};

struct row_kernel {
	const char *name;
	/*
	 * The lines of `set` (bit i: bytes 64 i …) narrowed to what all four rows have;
	 * nothing else is read or written. Returns the lines that have a bit left;
	 * *cut |= a bit went.
	 */
	uint64_t (*and_rows)(uint8_t *set, const uint8_t *const rows[ROW_AT_ONCE], uint64_t lines,
			     bool *cut);
	/* Those of the first `count` lines, up to ROW_TILE_LINES, that have a bit. */
	uint64_t (*lines)(const uint8_t *set, unsigned count);
	/* to = a and b; to = a without b. Whether anything is left. */
	bool (*both)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words);
	bool (*without)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words);
	void (*join)(uint64_t *to, const uint64_t *a, size_t words);
	/*
	 * A counter for each bit, in planes of `words` words, one for each of its digits,
	 * lowest first: add 1 where `a` has a bit. They must not overflow.
	 */
	void (*count)(uint64_t *const *planes, unsigned digits, const uint64_t *a, size_t words);
	/* to = a where the counter is at least k. Whether anything is left. */
	bool (*at_least)(uint64_t *to, const uint64_t *a, uint64_t *const *planes, unsigned digits,
			 unsigned k, size_t words);
	/* Of n numbers, each flipped by `flip`: bit i of `to` where number i is between both. */
	void (*between)(uint64_t *to, const uint64_t *numbers, uint32_t n, uint64_t least,
			uint64_t most, uint64_t flip);
	/* Of n pairs of numbers at any address: where both, masked, are the values. */
	void (*pairs)(uint64_t *to, const uint8_t *pairs, uint32_t n, const uint64_t value[2],
		      const uint64_t mask[2]);
	/* Of n bytes: bit i of `to` is bit `bit` of byte i. */
	void (*byte_bits)(uint64_t *to, const uint8_t *p, uint32_t n, unsigned bit);
	/* The sum of those of n numbers whose bit is set. */
	uint64_t (*sum)(const uint64_t *numbers, const uint64_t *bits, uint32_t n);
};

static inline unsigned row_bits(uint64_t v)
{
	v -= v >> 1 & 0x5555555555555555u;
	v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
	return (unsigned)(((v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

/* Bits 0, 2, 4, … as bits 0, 1, 2, …. */
static inline uint32_t row_even_bits(uint64_t v)
{
	v &= 0x5555555555555555u;
	v = (v | v >> 1) & 0x3333333333333333u;
	v = (v | v >> 2) & 0x0f0f0f0f0f0f0f0fu;
	v = (v | v >> 4) & 0x00ff00ff00ff00ffu;
	v = (v | v >> 8) & 0x0000ffff0000ffffu;
	return (uint32_t)(v | v >> 16);
}

/* The best that this processor has. */
const struct row_kernel *row_kernel(void);
/* All that it has, the portable one first; NULL after the last. For tests. */
const struct row_kernel *row_kernel_at(unsigned i);
#endif
