#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/err.h"

void rand_bytes(void *p, size_t n)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		REQUIRE(got > 0); /* no key of ours may ever be guessable */
		at += got;
		n -= (size_t)got;
	}
}

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t rand_next(struct rand_seq *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t rand_below(struct rand_seq *r, uint64_t n)
{
	uint64_t rest;
	uint64_t v;

	REQUIRE(n > 0);
	/* 2^64 mod n: values below it would favour small results. */
	rest = (0 - n) % n;
	do
		v = rand_next(r);
	while (v < rest);
	return v % n;
}
