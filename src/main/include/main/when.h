#ifndef MAIN_WHEN_H
#define MAIN_WHEN_H
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/*
 * Times as people type them:
 *
 *   2027-01-31            a day, UTC: its first second, or with `last` its last
 *   2027-01-31T12:00:00Z  a second, UTC; also without the Z, or with an offset as +02:00
 *   1801396800            the same in seconds since 1970 (from 1973 on: nine digits or more)
 *   8w, 90d, 12h, 30m     so long from `now_s`: before it, or with `ahead` after it
 *
 * ERR_INVALID, saying which forms there are. Years 1970 to 9999.
 */
enum when_flags {
	WHEN_LAST = 1 << 0,
	WHEN_AHEAD = 1 << 1
};
MUST_USE int when_parse(struct str text, int64_t now_s, unsigned flags, int64_t *ret_s,
			struct err *err);
#endif
