#ifndef SERVICE_QUOTA_H
#define SERVICE_QUOTA_H
#include <stdint.h>
#include "base/str.h"

/*
 * Quotas by name: a table of what a user may use up. Requests are counted in
 * windows that begin with each minute, hour, day and month UTC (VirusTotal: the
 * day at 00:00 UTC, the month on its 1st).
 */
enum quota {
#define QUOTA(id, ...) QUOTA_##id,
#include "service/quotas.def"
#undef QUOTA
	QUOTA_COUNT
};

enum quota_period {
	QUOTA_PERIOD_MINUTE,
	QUOTA_PERIOD_HOUR,
	QUOTA_PERIOD_DAY,
	QUOTA_PERIOD_MONTH,
	QUOTA_PERIOD_NONE
};

struct quota_info {
	const char *name;
	const char *wire;
	const char *text;
	enum quota_period period;
	int64_t public_allowed;
};
extern const struct quota_info quota_infos[QUOTA_COUNT];

enum {
	QUOTA_UNLIMITED = -1,
	QUOTA_ALLOWED_MAX = 999999999,
	QUOTA_SHOWN_UNLIMITED = 1000000000,             /* clients expect a number */
	QUOTA_CALLS = QUOTA_DOWNLOADS_MONTH,            /* the first ones count calls … */
	QUOTA_WINDOWS = QUOTA_RETROHUNT_JOBS_MONTH + 1, /* … and these have a counter, too */
};

/* Which one has this name? QUOTA_COUNT: none. */
enum quota quota_find(struct str name);
/* Begin and end of the window that `now_s` lies in. */
void quota_window(enum quota_period period, int64_t now_s, int64_t *ret_begin_s,
		  int64_t *ret_end_s);
#endif
