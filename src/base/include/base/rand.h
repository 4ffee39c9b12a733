#ifndef BASE_RAND_H
#define BASE_RAND_H
#include <stddef.h>
#include <stdint.h>

/* Unpredictable bytes from the kernel; aborts if it has none. Any thread. */
void rand_bytes(void *p, size_t n);

/* A small repeatable generator for tests and jitter (splitmix64). Not secret. */
struct rand_seq {
	uint64_t state;
};
uint64_t rand_next(struct rand_seq *r);
uint64_t rand_below(struct rand_seq *r, uint64_t n); /* n > 0 */
#endif
