#include "base/utf8.h"

static const char utf8_replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

size_t utf8_next(struct str s, uint32_t *ret_cp)
{
	const uint8_t *p = (const uint8_t *)s.p;
	uint32_t cp;
	uint32_t least; /* smallest code point that needs this length */
	size_t len;

	if (s.n == 0)
		return 0;
	if (p[0] < 0x80) {
		*ret_cp = p[0];
		return 1;
	}
	if ((p[0] & 0xe0) == 0xc0) {
		len = 2;
		cp = p[0] & 0x1f;
		least = 0x80;
	} else if ((p[0] & 0xf0) == 0xe0) {
		len = 3;
		cp = p[0] & 0x0f;
		least = 0x800;
	} else if ((p[0] & 0xf8) == 0xf0) {
		len = 4;
		cp = p[0] & 0x07;
		least = 0x10000;
	} else {
		return 0;
	}
	if (s.n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	if (cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	*ret_cp = cp;
	return len;
}

/* Bytes at the start of s that are well-formed. */
static size_t utf8_good(struct str s)
{
	size_t i = 0;

	while (i < s.n) {
		uint32_t cp;
		size_t len;

		if ((uint8_t)s.p[i] < 0x80) {
			i++;
			continue;
		}
		len = utf8_next(str_make(s.p + i, s.n - i), &cp);
		if (len == 0)
			break;
		i += len;
	}
	return i;
}

bool utf8_valid(struct str s)
{
	return utf8_good(s) == s.n;
}

void utf8_clean(struct buf *b, struct str s)
{
	while (s.n > 0) {
		size_t good = utf8_good(s);

		buf_add(b, s.p, good);
		if (good == s.n)
			return;
		buf_add(b, utf8_replacement, sizeof utf8_replacement - 1);
		s = str_make(s.p + good + 1, s.n - good - 1);
	}
}

struct str utf8_cut(struct str s, size_t max)
{
	size_t start = max;
	uint32_t cp;

	if (s.n <= max)
		return s;
	/* Back over at most three trailing bytes to where a code point might start. */
	while (start > 0 && max - start < 3 && ((uint8_t)s.p[start] & 0xc0) == 0x80)
		start--;
	if (start < max && start + utf8_next(str_make(s.p + start, s.n - start), &cp) > max)
		return str_make(s.p, start);
	return str_make(s.p, max);
}

void utf8_put(struct buf *b, uint32_t cp)
{
	char out[4];

	REQUIRE(cp <= 0x10ffff);
	REQUIRE(cp < 0xd800 || cp > 0xdfff);
	if (cp < 0x80) {
		out[0] = (char)cp;
		buf_add(b, out, 1);
		return;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		buf_add(b, out, 2);
		return;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		buf_add(b, out, 3);
		return;
	}
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	buf_add(b, out, 4);
}
