#include "base/hex.h"

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(const void *p, size_t n, char *out)
{
	const uint8_t *in = p;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex_digits[in[i] >> 4];
		out[2 * i + 1] = hex_digits[in[i] & 15];
	}
	out[2 * n] = '\0';
}

/* What each character stands for, plus one; 0: no digit. */
static const uint8_t hex_values[256] = {
	['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
	['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
	['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
	['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static unsigned hex_value(char c)
{
	return hex_values[(uint8_t)c];
}

bool hex_is(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (hex_value(s.p[i]) == 0)
			return false;
	}
	return s.n > 0;
}

bool hex_decode(struct str s, void *out, size_t n)
{
	uint8_t *to = out;

	if (s.n / 2 != n || s.n % 2 != 0 || (n > 0 && !hex_is(s)))
		return false;
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)((hex_value(s.p[2 * i]) - 1) << 4 |
				  (hex_value(s.p[2 * i + 1]) - 1));
	return true;
}

static const char base64url_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(struct buf *b, const void *p, size_t n)
{
	const uint8_t *in = p;

	for (size_t i = 0; i < n; i += 3) {
		size_t take = n - i < 3 ? n - i : 3;
		uint32_t bits = (uint32_t)in[i] << 16;
		char four[4];

		if (take > 1)
			bits |= (uint32_t)in[i + 1] << 8;
		if (take > 2)
			bits |= in[i + 2];
		for (unsigned k = 0; k < 4; k++)
			four[k] = base64url_digits[bits >> (18 - 6 * k) & 63];
		buf_add(b, four, take + 1);
	}
}

/* 0-63, or -1. */
static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-' || c == '+')
		return 62;
	if (c == '_' || c == '/')
		return 63;
	return -1;
}

bool base64url_is(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '+' || s.p[i] == '/' || base64_value(s.p[i]) < 0)
			return false;
	}
	return s.n > 0;
}

bool base64_decode(struct str s, void *out, size_t max, size_t *ret_n)
{
	uint8_t *to = out;
	uint32_t bits = 0;
	unsigned have = 0; /* bits of `bits` not written yet */
	size_t n = 0;

	/* Padding, where there is some, must fill the last group of four. */
	if (s.n > 0 && s.p[s.n - 1] == '=') {
		if (s.n % 4 != 0)
			return false;
		s.n--;
		if (s.p[s.n - 1] == '=')
			s.n--;
	}
	if (s.n % 4 == 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int v = base64_value(s.p[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			if (n == max)
				return false;
			have -= 8;
			to[n++] = (uint8_t)(bits >> have);
		}
	}
	/* One value has one text: the bits left over are zero. */
	if ((bits & ((1u << have) - 1)) != 0)
		return false;
	*ret_n = n;
	return true;
}
