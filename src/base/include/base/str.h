#ifndef BASE_STR_H
#define BASE_STR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes to look at, by value; not owned, not terminated. {NULL, 0} is empty. */
struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){ "" literal, sizeof(literal) - 1 })
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z)
{
	return (struct str){ z, z ? strlen(z) : 0 };
}
static inline struct str str_make(const void *p, size_t n)
{
	return (struct str){ p, n };
}
bool str_eq(struct str a, struct str b);
bool str_eq_z(struct str a, const char *b);
bool str_eq_nocase(struct str a, struct str b); /* ASCII letters */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b); /* bytes, then length */
struct str str_trim(struct str s);       /* ASCII white space at both ends */
/* Index of the first c, or s.n. */
size_t str_find(struct str s, char c);
/* Cut the part before `sep` off *rest; false when *rest was empty (p NULL). */
bool str_split(struct str *rest, char sep, struct str *ret_part);

/* Decimal digits only, 0..max; false on anything else (sign, blank, overflow, empty). */
bool str_to_u64(struct str s, uint64_t max, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret); /* optional leading '-' */

char *str_dup(struct str s); /* terminated copy; free() */
#endif
