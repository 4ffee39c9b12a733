#ifndef SERVICE_MATCH_INFO_H
#define SERVICE_MATCH_INFO_H
#include "base/arena.h"
#include "scan/scan.h"
#include "store/sql.h"

/* How a match is told, whatever found it: hunting_info, and the entry in the stream. */

enum {
	MATCH_RULE_TAGS_MAX = 64 /* tags of one rule that are told */
};

struct match_facts {
	const struct scan_rule *rule;
	bool with_tags;         /* tell the rule's */
	struct str snippet;     /* empty: none */
	const uint8_t *subfile; /* SHA-256 of the file inside that matched; NULL: the file itself */
	int64_t user_id;        /* who sent it; 0: the operator */
};
/* hunting_info as JSON, in the arena. */
MUST_USE int match_info(const struct match_facts *facts, struct arena *arena, struct str *ret,
			struct err *err);
/* The rule's tags that are told, copied into the arena; *ret_n up to MATCH_RULE_TAGS_MAX. */
const struct str *match_tags(const struct scan_rule *rule, struct arena *arena, size_t *ret_n);

struct sighting_new;
/*
 * Add the match to the stream with the tags it is found by: SHA-256, source, rule, and
 * the rule's own. `tags` of the sighting is set here. *ret_new: it had not been told before.
 */
MUST_USE int match_tell(struct sql_conn *conn, struct sighting_new *sighting,
			const struct str *rule_tags, size_t rule_tag_count, int64_t now_s,
			bool *ret_new, struct err *err);
#endif
