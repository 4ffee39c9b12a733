#ifndef INDEX_GRAM_SET_INTERNAL_H
#define INDEX_GRAM_SET_INTERNAL_H
#include <stddef.h>
#include <stdint.h>

/*
 * Set the bits of all grams of n bytes in a column of a class: the inner loop of
 * building an index. The kernels set the same bits; gram_set is the best one that this
 * machine has.
 */
typedef void gram_set_fn(uint32_t *bits, unsigned class, const uint8_t *p, size_t n);

void gram_set(uint32_t *bits, unsigned class, const uint8_t *p, size_t n);

/* All that this machine can run, the best first; for tests. Ends with a NULL name. */
struct gram_set_kernel {
	const char *name;
	gram_set_fn *set;
};
const struct gram_set_kernel *gram_set_kernels(void);
#endif
