#ifndef BASE_UTF8_H
#define BASE_UTF8_H
#include "base/buf.h"

/* Well-formed UTF-8 without surrogates (RFC 3629)? NUL is allowed. */
bool utf8_valid(struct str s);
/* Append s with each bad byte replaced by U+FFFD. */
void utf8_clean(struct buf *b, struct str s);
/* Bytes of the first code point (1-4), 0 if s is empty or malformed there. */
size_t utf8_next(struct str s, uint32_t *ret_cp);
/* Largest prefix of at most max bytes that does not cut a code point. */
struct str utf8_cut(struct str s, size_t max);
void utf8_put(struct buf *b, uint32_t cp);
#endif
