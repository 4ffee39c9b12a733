#ifndef BASE_HEX_H
#define BASE_HEX_H
#include "base/buf.h"

/* Bytes as text and back: hexadecimal, base64 and base64url (RFC 4648). */
void hex_encode(const void *p, size_t n, char *out); /* 2n lower-case digits + NUL */
/* Both cases; false unless s is exactly 2n hex digits. */
bool hex_decode(struct str s, void *out, size_t n);
bool hex_is(struct str s); /* only hex digits, not empty */
/* base64url (RFC 4648 section 5) without padding. */
void base64url_encode(struct buf *b, const void *p, size_t n);
bool base64url_is(
	struct str s); /* only its digits, not empty: no padding, not the other alphabet */
/* Accepts both alphabets, with or without padding. false on anything else or over max. */
bool base64_decode(struct str s, void *out, size_t max, size_t *ret_n);
#endif
