#include <jansson.h>

#include "ruleset_list.h"

enum ruleset_column {
	RULESET_COL_ENABLED,
	RULESET_COL_NAME,
	RULESET_COL_RULES,
	RULESET_COL_TAG,
	RULESET_COL_ANY
};
enum {
	BIT_OFF = 1 << 0,
	BIT_ON = 1 << 1
};

static const struct filter_field fields[] = {
	{ "enabled", FILTER_ENUM, RULESET_COL_ENABLED, "values", "It hunts: `true` or `false`." },
	{ "name", FILTER_TEXT, RULESET_COL_NAME, "names", "Whole words of the name." },
	{ "rules", FILTER_TEXT, RULESET_COL_RULES, "words", "Whole words of the YARA text." },
	{ "tag", FILTER_TAG, RULESET_COL_TAG, "tags", "A tag; `*` stands for any text." },
};
static const struct filter_value values[] = {
	{ "enabled", "true", BIT_ON },
	{ "enabled", "false", BIT_OFF },
};
static const struct filter_field any_field = { NULL, FILTER_ANY, RULESET_COL_ANY, NULL,
					       "Whole words of the name, or a tag." };
static const struct filter_schema schema = {
	fields,     sizeof fields / sizeof fields[0], values, sizeof values / sizeof values[0],
	&any_field,
};

int ruleset_filter_parse(const struct filter_node **ret, struct arena *arena, struct str text,
			 struct err *err)
{
	const struct filter_env env = { 0 };

	return filter_parse(ret, arena, &schema, text, &env, err);
}

/* ---- Words ---- */

/* Letters beyond ASCII are in words. */
static bool in_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (unsigned char)c >= 0x80;
}

/* Does it stand in s with the ends of words at its own ends? */
static bool has_word(struct str s, struct str word)
{
	for (size_t i = 0; word.n > 0 && word.n <= s.n && i <= s.n - word.n; i++) {
		size_t end = i + word.n;

		if (i > 0 && in_word(s.p[i - 1]) && in_word(s.p[i]))
			continue;
		if (end < s.n && in_word(s.p[end - 1]) && in_word(s.p[end]))
			continue;
		if (filter_glob(word, str_make(s.p + i, word.n)))
			return true;
	}
	return false;
}

static bool has_words(const struct filter_node *term, struct str s)
{
	if (term->has_star)
		return filter_words_within(term, s);
	for (uint32_t i = 0; i < term->word_count; i++)
		if (!has_word(s, term->words[i]))
			return false;
	return true;
}

/* ---- Tags ---- */

static bool is_tag(struct str pattern, struct str tag)
{
	AUTO(buf_release) struct buf normal = BUF_INIT(64 * 1024);

	filter_tag_normalise(&normal, tag);
	return filter_glob(pattern, buf_str(&normal));
}

static bool has_tag(const struct filter_node *term, const struct ruleset *r)
{
	json_t *tags = json_loadb(r->tags_json.p, r->tags_json.n, 0, NULL);
	bool found = false;

	for (size_t i = 0; !found && i < json_array_size(tags); i++) {
		const json_t *tag = json_array_get(tags, i);

		found = is_tag(term->tag,
			       str_make(json_string_value(tag), json_string_length(tag)));
	}
	json_decref(tags);
	return found;
}

static bool match_term(const struct filter_node *term, const void *item)
{
	const struct ruleset *r = item;

	switch ((enum ruleset_column)term->field->column) {
	case RULESET_COL_ENABLED:
		return (term->mask & (r->enabled ? BIT_ON : BIT_OFF)) != 0;
	case RULESET_COL_NAME:
		return has_words(term, r->name);
	case RULESET_COL_RULES:
		return has_words(term, r->rules);
	case RULESET_COL_TAG:
		return has_tag(term, r);
	case RULESET_COL_ANY:
		return has_words(term, r->name) || has_tag(term, r);
	}
	return false;
}

bool ruleset_filter_match(const struct filter_node *filter, const struct ruleset *r)
{
	return filter_eval(filter, match_term, r);
}
