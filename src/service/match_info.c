#include "match_info.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/metric.h"
#include "service/file_lists.h"
#include "store/stream.h"

static size_t tag_count(const struct scan_rule *rule)
{
	return rule->tag_count < MATCH_RULE_TAGS_MAX ? rule->tag_count : MATCH_RULE_TAGS_MAX;
}

static void put_rule_tags(struct json *j, const struct scan_rule *rule)
{
	if (!rule->tag_count)
		return;
	json_key(j, "rule_tags");
	json_arr(j);
	for (size_t i = 0; i < tag_count(rule); i++)
		json_str(j, rule->tags[i]);
	json_arr_end(j);
}

int match_info(const struct match_facts *facts, struct arena *arena, struct str *ret,
	       struct err *err)
{
	AUTO(buf_release) struct buf info = BUF_INIT(4 * LIMIT_SNIPPET_BYTES);
	char key[SOURCE_KEY_CHARS + 1], sha256[2 * SHA256_BYTES + 1];
	struct json j;

	source_key_format(facts->user_id, key);
	json_init(&j, &info);
	json_obj(&j);
	json_kv_str(&j, "rule_name", facts->rule->name);
	if (facts->with_tags)
		put_rule_tags(&j, facts->rule);
	json_kv_z(&j, "match_source", facts->subfile ? "SUBFILE" : "ORIGINAL_FILE");
	json_kv_bool(&j, "match_in_subfile", facts->subfile != NULL);
	if (facts->subfile) {
		hex_encode(facts->subfile, SHA256_BYTES, sha256);
		json_kv_z(&j, "subfile_sha256", sha256);
	}
	if (facts->snippet.n)
		json_kv_str(&j, "snippet", facts->snippet);
	json_kv_z(&j, "source_key", key);
	json_obj_end(&j);
	json_end(&j);
	TRY(buf_check(&info, "a match's context", err));
	*ret = arena_str(arena, buf_str(&info));
	return 0;
}

const struct str *match_tags(const struct scan_rule *rule, struct arena *arena, size_t *ret_n)
{
	size_t n = tag_count(rule);
	struct str *tags = arena_must(arena, (n + 1) * sizeof *tags);

	for (size_t i = 0; i < n; i++)
		tags[i] = arena_str(arena, rule->tags[i]);
	*ret_n = n;
	return tags;
}

int match_tell(struct sql_conn *conn, struct sighting_new *sighting, const struct str *rule_tags,
	       size_t rule_tag_count, int64_t now_s, bool *ret_new, struct err *err)
{
	char sha256[2 * SHA256_BYTES + 1];
	struct str tags[3 + MATCH_RULE_TAGS_MAX];
	size_t n = 0;
	int64_t seq;

	REQUIRE(sighting->entity_id.n == SHA256_BYTES && rule_tag_count <= MATCH_RULE_TAGS_MAX);
	hex_encode(sighting->entity_id.p, SHA256_BYTES, sha256);
	tags[n++] = str_of(sha256);
	tags[n++] = sighting->label;
	tags[n++] = sighting->rule;
	for (size_t i = 0; i < rule_tag_count; i++)
		tags[n++] = rule_tags[i];
	sighting->tags = tags;
	sighting->tag_count = n;
	TRY(stream_add(conn, sighting, now_s, &seq, err));
	sighting->tags = NULL;
	sighting->tag_count = 0;
	*ret_new = seq != 0;
	if (seq)
		metric_add(METRIC_sightings_total, 1);
	return 0;
}
