#include "stream_data.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"

static enum stream_source kind_of_source(unsigned source)
{
	return source % 40 == 7    ? STREAM_RETROHUNT
	       : source % 40 == 17 ? STREAM_COLLECTION
	       : source % 40 == 27 ? STREAM_THREAT_ACTOR
				   : STREAM_RULESET;
}

static enum stream_entity kind_of_entity(unsigned source, struct rand_seq *r)
{
	if (kind_of_source(source) >= STREAM_COLLECTION) /* indicators of all kinds */
		return STREAM_FILE + (unsigned)rand_below(r, 4);
	return source % 10 == 3 ? STREAM_URL + (unsigned)rand_below(r, 3) : STREAM_FILE;
}

static void name_of_source(unsigned source, char out[64])
{
	static const char *const first[] = { "APT",     "Ransom", "Loader", "Stealer", "Packed",
					     "Kimsuky", "Emotet", "Cobalt", "Phish",   "Miner" };

	if (source == 27)
		snprintf(out, 64, "Kimsuky");
	else
		snprintf(out, 64, "%s watch %u", first[source % 10], source);
}

/* Popularity falls as 1/rank: the logarithm of a uniform number. */
static unsigned pick_source(struct rand_seq *r)
{
	uint64_t u = rand_below(r, 1u << 20);
	unsigned bits = (unsigned)(u * 10 >> 20); /* 0..9 */

	return (unsigned)(((1u << bits) - 1 + rand_below(r, 1u << bits)) * STREAM_DATA_SOURCES /
			  1023);
}

int stream_data_add(struct sql_conn *c, struct rand_seq *r, int64_t owner_id, uint64_t i,
		    uint64_t count, int64_t *ret, struct err *err)
{
	int64_t date_s = STREAM_DATA_START + (int64_t)(i * (uint64_t)STREAM_DATA_YEAR_S / count);
	unsigned source = pick_source(r);
	char label[64], rule[32], sha_tag[65], name[64], family[32];
	uint8_t sha[32];
	uint64_t rule_number = rand_below(r, 1 + source % 10);

	name_of_source(source, label);
	snprintf(rule, sizeof rule, "rule_%u_%u", source, (unsigned)rule_number);
	snprintf(family, sizeof family, "family_%u", source % 97);
	for (unsigned k = 0; k < 4; k++) {
		uint64_t v = rand_next(r);

		memcpy(sha + 8 * k, &v, 8);
	}
	hex_encode(sha, sizeof sha, sha_tag);
	snprintf(name, sizeof name, "host%llu.example", (unsigned long long)i);
	const struct str tags[] = { str_of(sha_tag), str_of(label), str_of(rule), STR("malware"),
				    str_of(family) };
	const struct sighting_new s = {
		.owner_id = owner_id,
		.source_kind = kind_of_source(source),
		.source_id = source + 1,
		.label = str_of(label),
		.entity_kind = kind_of_entity(source, r),
		.entity_id = str_make(sha, 32),
		.rule = str_of(rule),
		.tags = tags,
		.tag_count = kind_of_source(source) <= STREAM_RETROHUNT ? 5 : 0,
		.info = STR("{\"rule_name\":\"rule\",\"rule_tags\":[\"malware\"],\"match_source\":"
			    "\"ORIGINAL_FILE\",\"source_key\":\"433a7343\"}"),
	};
	struct sighting_new named = s;
	if (s.entity_kind > STREAM_URL) {
		named.entity_id = str_of(name);
		named.tags = tags + 1; /* no SHA-256 to name */
		named.tag_count = s.tag_count ? s.tag_count - 1 : 0;
	}
	return stream_add(c, &named, date_s, ret, err);
}
