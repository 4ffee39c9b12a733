#ifndef SERVICE_NOTIFICATIONS_H
#define SERVICE_NOTIFICATIONS_H
#include "service/service.h"
#include "service/stream.h"

/*
 * Hunting notifications: the IoC Stream's entries of one user's rulesets, in the
 * words of VirusTotal's older lists. They are the same entries under the same
 * numbers: what is deleted here is gone there, and the other way round.
 */
struct notification_query {
	int64_t owner_id;
	struct str owner;   /* the user's name, for the key `owner` of filters */
	int64_t ruleset_id; /* only this one's; 0: all */
	struct str filter;  /* "" is all */
	int64_t now_s;      /* relative dates count from then */
	bool oldest_first;
	uint32_t limit;
	int64_t position;     /* number of the last one seen; 0: from the start */
	uint32_t count_limit; /* counting stops there; 0: no count */
};

struct notification_page {
	struct stream_entry *entries;
	size_t count;
	bool more;      /* there are more behind them */
	uint64_t total; /* that match, at most count_limit */
};

/*
 * One page. Filters have the keys `tag`, `date` and `owner`; text without a key is a
 * tag. Reads of one moment; may take milliseconds: not on an HTTP loop. ERR_INVALID:
 * the filter, with a text for the client.
 */
MUST_USE int notifications_read(struct service *svc, const struct notification_query *query,
				struct arena *arena, struct notification_page *ret,
				struct err *err);

/* One. ERR_NOT_FOUND, also for entries of other sources than rulesets. */
MUST_USE int notification_get(struct service *svc, int64_t owner_id, int64_t seq,
			      struct arena *arena, struct stream_entry *ret, struct err *err);

/*
 * Delete those with this tag, or (p NULL) all, of rulesets: one stored decision, as
 * stream_remove_matching. ERR_BUSY: a deletion is under way.
 */
MUST_USE int notifications_remove(struct service *svc, int64_t owner_id, struct str tag,
				  const struct audit_by *by, struct err *err);
#endif
