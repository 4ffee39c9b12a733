#include "base/str.h"

#include "base/mem.h"

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_z(struct str a, const char *b)
{
	return str_eq(a, str_of(b));
}

/* Not tolower(): the program's answers must not depend on a locale. */
static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	}
	return true;
}

bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_make(s.p, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	if (s.n < suffix.n)
		return false;
	if (suffix.n == 0)
		return true;
	return str_eq(str_make(s.p + (s.n - suffix.n), suffix.n), suffix);
}

int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n == 0 ? 0 : memcmp(a.p, b.p, n);

	if (order != 0)
		return order < 0 ? -1 : 1;
	return (a.n > b.n) - (a.n < b.n);
}

static bool ascii_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
	while (s.n > 0 && ascii_space(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && ascii_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

size_t str_find(struct str s, char c)
{
	const char *hit = s.n == 0 ? NULL : memchr(s.p, c, s.n);

	return hit ? (size_t)(hit - s.p) : s.n;
}

bool str_split(struct str *rest, char sep, struct str *ret_part)
{
	size_t at;

	if (!rest->p)
		return false;
	at = str_find(*rest, sep);
	*ret_part = str_make(rest->p, at);
	if (at == rest->n)
		*rest = (struct str){ NULL, 0 };
	else
		*rest = str_make(rest->p + at + 1, rest->n - at - 1);
	return true;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, digit, &v) || v > max)
			return false;
	}
	*ret = v;
	return true;
}

bool str_to_i64(struct str s, int64_t *ret)
{
	bool negative = s.n > 0 && s.p[0] == '-';
	uint64_t v;

	if (negative) {
		if (!str_to_u64(str_make(s.p + 1, s.n - 1), (uint64_t)INT64_MAX + 1, &v))
			return false;
		/* Negated as unsigned: INT64_MIN has no positive twin. */
		*ret = (int64_t)(0 - v);
		return true;
	}
	if (!str_to_u64(s, INT64_MAX, &v))
		return false;
	*ret = (int64_t)v;
	return true;
}

char *str_dup(struct str s)
{
	char *copy = mem_must_zalloc(s.n + 1);

	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	return copy;
}
