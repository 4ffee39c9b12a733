#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

/* Small answers and log lines fit without growing twice. */
enum {
	BUF_FIRST_BYTES = 128
};

void buf_init(struct buf *b, size_t max)
{
	REQUIRE(max < SIZE_MAX / 2);
	*b = BUF_INIT(max);
}

void buf_release(struct buf *b)
{
	free(b->p);
	*b = BUF_INIT(b->max);
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->failed = false;
	if (b->p)
		b->p[0] = '\0';
}

/* Room for n more bytes and the terminator; false and the buffer failed if not. */
static bool buf_grow(struct buf *b, size_t n)
{
	size_t need;
	size_t cap;
	char *p;

	REQUIRE(b->n <= b->max);
	if (b->failed)
		return false;
	if (n > b->max - b->n) {
		b->failed = true;
		return false;
	}
	need = b->n + n + 1;
	if (need <= b->cap)
		return true;
	cap = b->cap < BUF_FIRST_BYTES / 2 ? BUF_FIRST_BYTES : b->cap * 2;
	if (cap > b->max + 1)
		cap = b->max + 1;
	if (cap < need)
		cap = need;
	p = realloc(b->p, cap);
	if (!p) {
		b->failed = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

char *buf_reserve(struct buf *b, size_t n)
{
	if (!buf_grow(b, n))
		return NULL;
	b->p[b->n + n] = '\0';
	return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!buf_grow(b, n))
		return;
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void buf_add_str(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

void buf_add_z(struct buf *b, const char *z)
{
	buf_add_str(b, str_of(z));
}

void buf_add_c_slow(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_add_u64(struct buf *b, uint64_t v)
{
	char digits[20]; /* UINT64_MAX has 20 */
	size_t at = sizeof digits;

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	buf_add(b, digits + at, sizeof digits - at);
}

void buf_add_i64(struct buf *b, int64_t v)
{
	char text[21];
	size_t at = sizeof text;
	uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		text[--at] = (char)('0' + left % 10);
		left /= 10;
	} while (left > 0);
	if (v < 0)
		text[--at] = '-';
	buf_add(b, text + at, sizeof text - at);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	REQUIRE(n >= 0);
	if (buf_grow(b, (size_t)n)) {
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
		b->n += (size_t)n;
	}
	va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

int buf_check(const struct buf *b, const char *what, struct err *err)
{
	if (b->failed)
		return err_set(err, ERR_TOO_LARGE, "%s does not fit into %zu bytes", what, b->max);
	return 0;
}

char *buf_steal(struct buf *b)
{
	char *p;

	if (b->p)
		b->p[b->n] = '\0';
	else
		b->p = mem_must_zalloc(1);
	p = STEAL(b->p);
	*b = BUF_INIT(b->max);
	return p;
}
