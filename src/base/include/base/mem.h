#ifndef BASE_MEM_H
#define BASE_MEM_H
#include <stddef.h>
#include "base/err.h"

/*
 * Two families. mem_must_*: small, fixed sizes; abort when memory is out.
 * mem_try_*: any size that came from outside, after comparing it with its
 * maximum; ERR_NO_MEMORY on failure. Free both with free().
 */
void *mem_must_zalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_must_dup(const void *p, size_t bytes) __attribute__((returns_nonnull));
char *mem_must_strdup(const char *s) __attribute__((returns_nonnull));
MUST_USE int mem_try_alloc(void **ret, size_t bytes, struct err *err);
/* n * size zeroed bytes; the product is checked. */
MUST_USE int mem_try_array(void **ret, size_t n, size_t size, struct err *err);
/* Grow *p to n * size bytes, contents kept, new part not zeroed. Aborts when memory is out. */
void mem_must_grow(void **p, size_t n, size_t size);

static inline void mem_drop(void *pp)
{
	void **p = pp;
	__builtin_free(*p);
	*p = NULL;
}
#endif
