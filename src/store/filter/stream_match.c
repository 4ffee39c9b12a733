#include "store/stream_filter.h"
#include "base/hex.h"

static const struct filter_field fields[] = {
#define STREAM_FIELD(key, kind, column, plural, doc) { key, kind, column, plural, doc },
#include "store/stream_fields.def"
};

static const struct filter_value values[] = {
#define STREAM_VALUE(key, name, mask) { key, name, mask },
#include "store/stream_fields.def"
};

static const struct filter_field any_field = {
	NULL, FILTER_ANY, STREAM_COL_ANY, NULL, "Text in a source's name, a tag, or an entity's id."
};

const struct filter_schema stream_schema = {
	fields,     sizeof fields / sizeof fields[0], values, sizeof values / sizeof values[0],
	&any_field,
};

static const char *const source_names[] = {
	[STREAM_RULESET] = "hunting_ruleset",
	[STREAM_RETROHUNT] = "retrohunt_job",
	[STREAM_COLLECTION] = "collection",
	[STREAM_THREAT_ACTOR] = "threat_actor",
};
static const char *const entity_names[] = {
	[STREAM_FILE] = "file",
	[STREAM_URL] = "url",
	[STREAM_DOMAIN] = "domain",
	[STREAM_IP_ADDRESS] = "ip_address",
};

const char *stream_source_name(uint32_t kind)
{
	return kind <= STREAM_KIND_MAX ? source_names[kind] : NULL;
}

const char *stream_entity_name(uint32_t kind)
{
	return kind <= STREAM_KIND_MAX ? entity_names[kind] : NULL;
}

const char *stream_origin_name(uint32_t source_kind)
{
	return source_kind <= STREAM_RETROHUNT ? "hunting" : "subscriptions";
}

static bool has_mask(uint32_t mask, uint32_t kind)
{
	return kind <= STREAM_KIND_MAX && (mask & STREAM_BIT(kind)) != 0;
}

static bool is_sha_entity(const struct stream_item *it)
{
	return it->entity_kind == STREAM_FILE || it->entity_kind == STREAM_URL;
}

static bool match_sha256(const struct stream_item *it, const uint8_t sha256[SHA256_BYTES])
{
	return is_sha_entity(it) &&
	       str_eq(it->entity_id, (struct str){ (const char *)sha256, SHA256_BYTES });
}

static bool match_entity(const struct filter_entity *e, const struct stream_item *it)
{
	uint8_t raw[SHA1_BYTES];

	switch (e->kind) {
	case FILTER_ENTITY_NONE:
		return false;
	case FILTER_ENTITY_SHA256:
		return match_sha256(it, e->sha256);
	case FILTER_ENTITY_TEXT:
		return !is_sha_entity(it) && str_eq(it->entity_id, e->text);
	case FILTER_ENTITY_HASH:
		if (!it->hashes || it->entity_kind != STREAM_FILE)
			return false;
		if (hex_decode(e->text, raw, MD5_BYTES))
			return memcmp(raw, it->hashes->md5, MD5_BYTES) == 0;
		return hex_decode(e->text, raw, SHA1_BYTES) &&
		       memcmp(raw, it->hashes->sha1, SHA1_BYTES) == 0;
	}
	return false;
}

static bool names_itself(struct str tag, const struct stream_item *it)
{
	uint8_t sha256[SHA256_BYTES];

	return hex_decode(tag, sha256, SHA256_BYTES) && match_sha256(it, sha256);
}

static bool match_tag(const struct filter_node *term, const struct stream_item *it)
{
	if (!term->has_star && names_itself(term->tag, it))
		return true;
	for (size_t i = 0; i < it->tag_count; i++)
		if (filter_glob(term->tag, it->tags[i]) && !names_itself(it->tags[i], it))
			return true;
	return false;
}

static bool match_term(const struct filter_node *term, const void *item)
{
	const struct stream_item *it = item;

	switch ((enum stream_column)term->field->column) {
	case STREAM_COL_DATE:
		return it->date_s >= term->lo && it->date_s < term->hi;
	case STREAM_COL_SOURCE_KIND:
		return has_mask(term->mask, it->source_kind);
	case STREAM_COL_ENTITY_KIND:
		return has_mask(term->mask, it->entity_kind);
	case STREAM_COL_ENTITY:
		return match_entity(&term->entity, it);
	case STREAM_COL_SOURCE_ID:
		return has_mask(term->mask, it->source_kind) && it->source_id == term->id;
	case STREAM_COL_TAG:
		return match_tag(term, it);
	case STREAM_COL_LABEL:
		return filter_words_within(term, it->label);
	case STREAM_COL_ANY:
		return filter_words_within(term, it->label) || match_tag(term, it) ||
		       match_entity(&term->entity, it);
	}
	return false;
}

bool filter_match(const struct filter_node *filter, const struct stream_item *item)
{
	return filter_eval(filter, match_term, item);
}
