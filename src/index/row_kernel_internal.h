#ifndef INDEX_ROW_KERNEL_INTERNAL_H
#define INDEX_ROW_KERNEL_INTERNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
	/* to = a and b; to = a and not b. Whether anything is left. */
	bool (*and)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words);
	bool (*and_not)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words);
	void (* or)(uint64_t *to, const uint64_t *a, size_t words);
	/*
	 * A counter for each bit, in planes of `words` words, one for each of its digits,
	 * lowest first: add 1 where `a` has a bit. They must not overflow.
	 */
	void (*count)(uint64_t *const *planes, unsigned digits, const uint64_t *a, size_t words);
	/* to = a where the counter is at least k. Whether anything is left. */
	bool (*at_least)(uint64_t *to, const uint64_t *a, uint64_t *const *planes, unsigned digits,
			 unsigned k, size_t words);
};

/* The best that this processor has. */
const struct row_kernel *row_kernel(void);
/* All that it has, the portable one first; NULL after the last. For tests. */
const struct row_kernel *row_kernel_at(unsigned i);
#endif
