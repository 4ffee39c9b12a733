#ifndef SERVICE_RULESET_LIST_H
#define SERVICE_RULESET_LIST_H
#include "service/rulesets.h"
#include "store/filter.h"
#include "store/meta_limit.h"
#include "store/meta_ruleset.h"

/* A stored row as owners see it; the text stays the row's. `limit` NULL: not looked at. */
void ruleset_of_row(const struct ruleset_row *row, const struct limit_view *limit,
		    struct ruleset *ret);

/*
 * Filters of the list of rulesets, in the language of store/filter.h:
 *   enabled:true|false    it hunts
 *   name:word rules:word  whole words (runs of letters and digits); with `*` any text
 *   tag:x                 a tag of the ruleset
 *   text without a key    whole words of the name, or a tag
 * ERR_INVALID has a text for the client.
 */
MUST_USE int ruleset_filter_parse(const struct filter_node **ret, struct arena *arena,
				  struct str text, struct err *err);
bool ruleset_filter_match(const struct filter_node *filter, const struct ruleset *r);
#endif
