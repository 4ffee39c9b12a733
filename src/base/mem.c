#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void mem_out(void)
{
	static const char text[] = "weir: out of memory\n";
	ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);

	(void)ignored;
	abort();
}

/* malloc(0) may be NULL, which would read as a failure. */
static size_t at_least_one(size_t bytes)
{
	return bytes == 0 ? 1 : bytes;
}

void *mem_must_zalloc(size_t bytes)
{
	void *p = calloc(1, at_least_one(bytes));

	if (!p)
		mem_out();
	return p;
}

void *mem_must_dup(const void *p, size_t bytes)
{
	void *copy = malloc(at_least_one(bytes));

	if (!copy)
		mem_out();
	if (bytes > 0)
		memcpy(copy, p, bytes);
	return copy;
}

char *mem_must_strdup(const char *s)
{
	return mem_must_dup(s, strlen(s) + 1);
}

int mem_try_alloc(void **ret, size_t bytes, struct err *err)
{
	/* Over half the address space is a size that was never checked. */
	void *p = bytes > PTRDIFF_MAX ? NULL : malloc(at_least_one(bytes));

	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for %zu bytes", bytes);
	*ret = p;
	return 0;
}

int mem_try_array(void **ret, size_t n, size_t size, struct err *err)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
		return err_set(err, ERR_NO_MEMORY, "no memory for %zu times %zu bytes", n, size);
	p = calloc(1, at_least_one(bytes));
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for %zu times %zu bytes", n, size);
	*ret = p;
	return 0;
}

void mem_must_grow(void **p, size_t n, size_t size)
{
	void *grown;
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
		mem_out();
	grown = realloc(*p, at_least_one(bytes));
	if (!grown)
		mem_out();
	*p = grown;
}
