#ifndef SERVICE_NOTIFICATION_FILTER_H
#define SERVICE_NOTIFICATION_FILTER_H
#include "store/stream_filter.h"

/*
 * The filter language of hunting notifications (api: tag, date, owner; text alone is a
 * tag), parsed into a filter of the stream that also picks the source: rulesets of the
 * user, or this one of them (ruleset_id > 0). All of it lives in the arena.
 */
MUST_USE int notification_filter_parse(const struct filter_node **ret, struct arena *arena,
				       struct str text, struct str owner, int64_t ruleset_id,
				       const struct filter_env *env, struct err *err);
#endif
