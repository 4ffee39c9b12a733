#ifndef SERVICE_USAGE_H
#define SERVICE_USAGE_H
#include "service/quota.h"
#include "service/users.h"

/*
 * What users use up. Requests are counted in memory, exactly: under the user's
 * lock it is seen whether one more is allowed, and counted, so that any number of
 * threads never let more through. Each second the counters are written down; a
 * restart begins with them, and a crash forgets the last second at most.
 *
 * A clock that goes back by less than a window's length stays in that window.
 */

/*
 * Endpoints as /api_usage names them; registered once, before they are charged.
 * The same name gives the same number.
 */
enum {
	USAGE_ENDPOINTS_MAX = 64,
	USAGE_DAYS_KEPT = 60 /* as VirusTotal */
};
unsigned usage_endpoint(struct service *svc, const char *name);

/*
 * Count a call of the user that came with a key (user_authenticate), and a
 * download where it is one. ERR_QUOTA: more than allowed, nothing was counted.
 * Any thread, also the writer's; takes one lock for some 50 ns.
 */
MUST_USE int usage_charge(struct service *svc, const struct user *u, unsigned endpoint,
			  bool download, struct err *err);
/* A call that was charged came to cost nothing after all. */
void usage_refund(struct service *svc, const struct user *u, unsigned endpoint, bool download);

/*
 * Count one of what a quota other than on calls has a counter for, also for who came without a
 * key. ERR_QUOTA. May read the database. A refund is of what was charged since the start.
 */
MUST_USE int usage_charge_one(struct service *svc, const struct user *u, enum quota quota,
			      struct err *err);
void usage_refund_one(struct service *svc, const struct user *u, enum quota quota);

/* Quotas as bits (1 << quota): those on any call. */
#define QUOTAS_OF_CALLS ((1u << QUOTA_CALLS) - 1)
/* Seconds until none of these quotas, which have a counter, is used up any more; 0: none is. */
uint32_t usage_retry_s(struct service *svc, const struct user *u, unsigned quotas);

/* What of each quota is used now. May read the database. */
MUST_USE int usage_now(struct service *svc, const struct user *u, int64_t ret_used[QUOTA_COUNT],
		       struct err *err);

struct usage_row {
	int64_t day; /* days since 1970 */
	struct str endpoint;
	int64_t calls;
};
/* Calls of these days, both included, by day and endpoint. Blocks. */
MUST_USE int usage_by_day(struct service *svc, int64_t user_id, int64_t first_day, int64_t last_day,
			  struct arena *arena, struct usage_row **ret, size_t *ret_n,
			  struct err *err);
#endif
