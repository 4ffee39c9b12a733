#ifndef HTTP_VALIDATE_INTERNAL_H
#define HTTP_VALIDATE_INTERNAL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

/*
 * Header values that clients choose what they want with, read as RFC 9110 has
 * them. Pure functions: no memory, no clock but the one they are given, any
 * bytes are fine.
 */

/*
 * Is `tag` in an If-Match or If-None-Match list (section 13.1)? It is quoted
 * and strong: "\"abc\"". `weak`: W/"abc" counts as the same. "*" is everything.
 * A list that breaks off is read up to there.
 */
bool tags_hold(struct str list, struct str tag, bool weak);

/*
 * A date (section 5.6.7) in any of its three forms; false on anything else. Of a
 * year in two digits the one counts that is less than 50 years after now_s.
 */
bool http_date_parse(struct str s, int64_t now_s, int64_t *ret_unix_s);
enum {
	HTTP_DATE_CHARS = 29
};
/* "Sun, 06 Nov 1994 08:49:37 GMT", terminated. Years 1970 to 9999, others are cut to them. */
void http_date_format(int64_t unix_s, char out[HTTP_DATE_CHARS + 1]);

struct http_range {
	uint64_t from;
	uint64_t n;
};
enum range_wish {
	RANGE_WHOLE, /* no range, one that cannot be read, or several that are not one piece */
	RANGE_PART,
	RANGE_NONE_OF_IT, /* can be read, and nothing of it is there */
};
enum {
	HTTP_RANGES_MAX = 16 /* of one request; more are answered with the whole */
};
/*
 * A Range header (section 14) against `size` bytes. Several ranges that touch or
 * overlap are one; others are answered with the whole, which a server may.
 */
enum range_wish range_parse(struct str value, uint64_t size, struct http_range *ret);

/*
 * May this coding be used, by an Accept-Encoding header (section 12.5.3)? Named
 * with a quality above 0, or not named where "*" has one. No header: no.
 */
bool coding_is_accepted(struct str list, struct str coding);
#endif
