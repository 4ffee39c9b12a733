#ifndef BASE_VARINT_H
#define BASE_VARINT_H
#include "base/buf.h"

/* Numbers as 1 to 10 bytes, seven bits each, low ones first (LEB128). */

static inline void varint_put(struct buf *b, uint64_t v)
{
	while (v >= 0x80) {
		buf_add_c(b, (char)(v | 0x80));
		v >>= 7;
	}
	buf_add_c(b, (char)v);
}

/* Cut one off *s; false: cut short, over 64 bits, or over max. */
static inline bool varint_get(struct str *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && s->n > 0; shift += 7) {
		unsigned char c = (unsigned char)s->p[0];

		s->p++;
		s->n--;
		if (shift == 63 && c > 1)
			return false;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (c < 0x80) {
			*ret = v;
			return v <= max;
		}
	}
	return false;
}

/* Signed ones, small in size whatever their sign. */
static inline uint64_t varint_zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}
static inline int64_t varint_unzigzag(uint64_t v)
{
	return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}
#endif
