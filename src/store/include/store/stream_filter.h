#ifndef STORE_STREAM_FILTER_H
#define STORE_STREAM_FILTER_H
#include "store/filter.h"

/* The filter table of the IoC Stream and its predicate for live delivery. */

/* Values are stored. */
enum stream_source {
	STREAM_RULESET = 1,
	STREAM_RETROHUNT,
	STREAM_COLLECTION,
	STREAM_THREAT_ACTOR
};
enum stream_entity {
	STREAM_FILE = 1,
	STREAM_URL,
	STREAM_DOMAIN,
	STREAM_IP_ADDRESS
};
enum {
	STREAM_KIND_MAX = 4
}; /* of both */
#define STREAM_BIT(kind) (1u << (kind))
enum {
	STREAM_KINDS_ALL = 0x1e
}; /* bits 1 to 4 */

enum stream_column {
	STREAM_COL_DATE,
	STREAM_COL_SOURCE_KIND,
	STREAM_COL_ENTITY_KIND,
	STREAM_COL_ENTITY,
	STREAM_COL_SOURCE_ID,
	STREAM_COL_TAG,
	STREAM_COL_LABEL,
	STREAM_COL_ANY,
};

extern const struct filter_schema stream_schema;

/* "hunting_ruleset", "file", …; NULL for other numbers. Static. */
const char *stream_source_name(uint32_t kind);
const char *stream_entity_name(uint32_t kind);
const char *stream_origin_name(uint32_t source_kind); /* "hunting", "subscriptions" */

/* One entry of a stream, to be looked at. */
struct stream_item {
	int64_t date_s; /* UNIX seconds */
	uint32_t source_kind;
	uint32_t entity_kind;
	int64_t source_id;
	struct str label;       /* the source's name when it was found */
	struct str entity_id;   /* 32 bytes of SHA-256 for files and URLs, else text */
	const struct str *tags; /* normalised */
	size_t tag_count;
	const struct hashes *hashes; /* of a file; NULL where not at hand */
};

/*
 * Does the filter hold for the item? What a value means:
 *   - text in a source's name: each of its words occurs in the label; `*` in a
 *     word is any text;
 *   - text without a key: that, or it is a tag (whole, normalised, `*` allowed),
 *     or it is the entity's id;
 *   - a tag of 64 hex digits is also the file or URL of that SHA-256: a hunting
 *     notification's tags name it, whether they were stored with it or not. A
 *     pattern (`*`) is not tried on that one.
 */
bool filter_match(const struct filter_node *filter, const struct stream_item *item);
#endif
