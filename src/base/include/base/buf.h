#ifndef BASE_BUF_H
#define BASE_BUF_H
#include <stdarg.h>
#include "base/str.h"
#include "base/err.h"

/*
 * A byte buffer that grows up to a maximum given at birth. Always terminated.
 * Failure is sticky: append freely, ask buf_failed() once at the end. After a
 * failure the content is what fitted before.
 */
struct buf {
	char *p; /* owned; NULL until the first byte */
	size_t n;
	size_t cap;
	size_t max; /* bytes, without the terminator */
	bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){ NULL, 0, 0, (max_bytes), false })

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b); /* frees; the buffer may be used again */
void buf_reset(struct buf *b);   /* empties, keeps memory, clears failure */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_str(struct buf *b, struct str s);
void buf_add_z(struct buf *b, const char *z);
void buf_add_c_slow(struct buf *b, char c); /* grows it, or fails */
static inline void buf_add_c(struct buf *b, char c)
{
	if (b->failed || b->n + 1 >= b->cap) {
		buf_add_c_slow(b, c);
		return;
	}
	b->p[b->n++] = c;
	b->p[b->n] = '\0';
}
void buf_add_u64(struct buf *b, uint64_t v);
void buf_add_i64(struct buf *b, int64_t v);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
/*
 * Room for n more bytes to be written directly; NULL if over max. Then add what
 * was written to b->n; if less than n, the terminator comes with the next append.
 */
char *buf_reserve(struct buf *b, size_t n);
static inline bool buf_failed(const struct buf *b)
{
	return b->failed;
}
static inline struct str buf_str(const struct buf *b)
{
	return (struct str){ b->p ? b->p : "", b->n };
}
/* Fails with ERR_TOO_LARGE (naming `what`) if the buffer failed. */
MUST_USE int buf_check(const struct buf *b, const char *what, struct err *err);
char *buf_steal(struct buf *b); /* terminated, free(); never NULL; b is empty after */
#endif
