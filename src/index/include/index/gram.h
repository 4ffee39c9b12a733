#ifndef INDEX_GRAM_H
#define INDEX_GRAM_H
#include <stdbool.h>
#include <stdint.h>
#include "base/le.h"

/*
 * What of a sample's bytes is indexed, and in which rows. Two views:
 *
 *   fold4   every four neighbouring bytes, A-Z taken as a-z
 *   wide4   where bytes 1, 3, 5 and 7 of eight are zero: bytes 0, 2, 4 and 6, folded
 *
 * Each gram has a hash, and sets one row for it in a column. How many rows there are is the
 * column's class: a power of two, or three times one, so that each class has a third or a
 * half more than the one before. A column of an odd class is three of a power of
 * two beside each other, and becomes one of a smaller class by OR-ing parts of it; all are
 * asked with the same hashes. A sample may contain a run of bytes only if its column
 * has the row of each gram of the run.
 *
 * This is the format of segments (docs/format/segment.md): changing a constant here
 * is a new version there. Any thread.
 */
enum {
	GRAM_FOLD4_BYTES = 4,
	GRAM_WIDE4_BYTES = 8
};

#define GRAM_SEED_FOLD4 0u
#define GRAM_SEED_WIDE4 0xd6e8feb8u
#define GRAM_MIX 0x9e3779b1u
#define GRAM_MIX_LAST 0x85ebca77u

static inline uint8_t gram_fold(uint8_t c)
{
	return (uint8_t)(c - 'A') < 26 ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* Of four folded bytes, the first lowest. */
static inline uint32_t gram_hash(uint32_t folded, uint32_t seed)
{
	uint32_t m = (folded ^ seed) * GRAM_MIX;

	m ^= m >> 15;
	m *= GRAM_MIX_LAST;
	return m ^ m >> 16;
}

/* The fold4 gram of the four bytes at p. */
static inline uint32_t gram_fold4(const uint8_t *p)
{
	uint8_t folded[4] = { gram_fold(p[0]), gram_fold(p[1]), gram_fold(p[2]), gram_fold(p[3]) };

	return gram_hash(get_le32(folded), GRAM_SEED_FOLD4);
}

/* The wide4 gram of the eight bytes at p; false: they have none. */
static inline bool gram_wide4(const uint8_t *p, uint32_t *ret)
{
	uint8_t folded[4] = { gram_fold(p[0]), gram_fold(p[2]), gram_fold(p[4]), gram_fold(p[6]) };

	if ((p[1] | p[3] | p[5] | p[7]) != 0)
		return false;
	*ret = gram_hash(get_le32(folded), GRAM_SEED_WIDE4);
	return true;
}

/* Rows of columns of a class: 2^(class / 2), in odd classes half as many again as in the one
 * before. */
static inline uint32_t gram_rows(unsigned class)
{
	return class % 2 ? 3u << (class - 3) / 2 : 1u << class / 2;
}

/* How many low bits of a hash number a row, in odd classes within a third of them. */
static inline unsigned gram_low_bits(unsigned class)
{
	return class % 2 ? (class - 3) / 2 : class / 2;
}

/* The row of a hash in columns of a class. Its upper bits choose the third. */
static inline uint32_t gram_row(uint32_t hash, unsigned class)
{
	unsigned low = gram_low_bits(class);
	uint32_t third = class % 2 ? (uint32_t)((uint64_t)hash * 3 >> 32) : 0;

	return third << low | (hash & ((1u << low) - 1));
}
#endif
