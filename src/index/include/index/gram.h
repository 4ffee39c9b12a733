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
 * Each gram has two hashes, and in a column of class c it sets the rows numbered by
 * their low c bits. So a column of class c becomes one of class c - 1 by OR-ing its
 * upper half onto its lower, and both are asked with the same hashes. A sample may
 * contain a run of bytes only if its column has both rows of each gram of the run.
 *
 * This is the format of segments (docs/format/segment.md): changing a constant here
 * is a new version there. Any thread.
 */
enum {
	GRAM_FOLD4_BYTES = 4,
	GRAM_WIDE4_BYTES = 8,
	GRAM_HASHES = 2
};

#define GRAM_SEED_FOLD4 0u
#define GRAM_SEED_WIDE4 0xd6e8feb8u
#define GRAM_MIX 0x9e3779b1u
#define GRAM_MIX_A 0x85ebca77u
#define GRAM_MIX_B 0xc2b2ae3du

struct gram_hash {
	uint32_t of[GRAM_HASHES];
};

static inline uint8_t gram_fold(uint8_t c)
{
	return (uint8_t)(c - 'A') < 26 ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* Of four folded bytes, the first lowest. */
static inline struct gram_hash gram_hash(uint32_t folded, uint32_t seed)
{
	uint32_t m = (folded ^ seed) * GRAM_MIX;
	uint32_t a;
	uint32_t b;

	m ^= m >> 15;
	a = m * GRAM_MIX_A;
	b = m * GRAM_MIX_B;
	return (struct gram_hash){ { a ^ a >> 16, b ^ b >> 16 } };
}

/* The fold4 gram of the four bytes at p. */
static inline struct gram_hash gram_fold4(const uint8_t *p)
{
	uint8_t folded[4] = { gram_fold(p[0]), gram_fold(p[1]), gram_fold(p[2]), gram_fold(p[3]) };

	return gram_hash(get_le32(folded), GRAM_SEED_FOLD4);
}

/* The wide4 gram of the eight bytes at p; false: they have none. */
static inline bool gram_wide4(const uint8_t *p, struct gram_hash *ret)
{
	uint8_t folded[4] = { gram_fold(p[0]), gram_fold(p[2]), gram_fold(p[4]), gram_fold(p[6]) };

	if ((p[1] | p[3] | p[5] | p[7]) != 0)
		return false;
	*ret = gram_hash(get_le32(folded), GRAM_SEED_WIDE4);
	return true;
}

/* The row of a hash in columns of a class. */
static inline uint32_t gram_row(uint32_t hash, unsigned class)
{
	return hash & ((1u << class) - 1);
}
#endif
