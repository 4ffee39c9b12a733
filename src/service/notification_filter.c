#include "notification_filter.h"

enum {
	COL_OWNER = 1000 /* not a column of the stream: it is decided here */
};

static const struct filter_field fields[] = {
	{ "tag", FILTER_TAG, STREAM_COL_TAG, "tags",
	  "A tag: the file's SHA-256, the ruleset, the rule, or a tag of the rule." },
	{ "date", FILTER_DATE, STREAM_COL_DATE, "dates", "When the notification was made." },
	{ "owner", FILTER_TEXT, COL_OWNER, "owners", "User name of the ruleset's owner." },
};
static const struct filter_field any_field = { NULL, FILTER_TAG, STREAM_COL_TAG, "tags", "A tag." };
static const struct filter_schema schema = { fields, sizeof fields / sizeof fields[0], NULL, 0,
					     &any_field };

static const struct filter_field kind_field = { "source_type", FILTER_ENUM, STREAM_COL_SOURCE_KIND,
						"source types", "" };
static const struct filter_field id_field = { "source_id", FILTER_ID, STREAM_COL_SOURCE_ID,
					      "source ids", "" };

static int node_new(struct arena *arena, const struct filter_node *from, struct filter_node **ret,
		    struct err *err)
{
	struct filter_node *node = arena_try(arena, sizeof *node);

	if (!node)
		return err_set(err, ERR_NO_MEMORY, "no room for the filter");
	*node = *from;
	*ret = node;
	return 0;
}

/* A term that holds for entries of these kinds of source: all or none of a user's own. */
static int kinds_node(struct arena *arena, uint32_t mask, const struct filter_node **ret,
		      struct err *err)
{
	const struct filter_node made = {
		.op = FILTER_TERM, .field = &kind_field, .text = STR(""), .mask = mask
	};
	struct filter_node *node;

	TRY(node_new(arena, &made, &node, err));
	*ret = node;
	return 0;
}

static int kids_new(struct arena *arena, size_t n, const struct filter_node ***ret, struct err *err)
{
	*ret = arena_try(arena, (n + 1) * sizeof **ret);
	return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "no room for the filter");
}

/* The tree with its terms on owners decided: what one may see here is one's own. */
static int decide_owners(struct arena *arena, const struct filter_node *from, struct str owner,
			 const struct filter_node **ret, struct err *err)
{
	const struct filter_node **kids;
	struct filter_node *node;

	if (from->op == FILTER_TERM && from->field->column == COL_OWNER)
		return kinds_node(arena,
				  filter_glob(from->text, owner) ? STREAM_BIT(STREAM_RULESET) : 0,
				  ret, err);
	if (!from->kid_count) {
		*ret = from;
		return 0;
	}
	TRY(kids_new(arena, from->kid_count, &kids, err));
	for (uint32_t i = 0; i < from->kid_count; i++)
		TRY(decide_owners(arena, from->kids[i], owner, &kids[i], err));
	TRY(node_new(arena, from, &node, err));
	node->kids = kids;
	*ret = node;
	return 0;
}

int notification_filter_parse(const struct filter_node **ret, struct arena *arena, struct str text,
			      struct str owner, int64_t ruleset_id, const struct filter_env *env,
			      struct err *err)
{
	const struct filter_node *asked, **kids;
	struct filter_node both = { .op = FILTER_AND }, *node;
	uint32_t n = 0;

	TRY(filter_parse(&asked, arena, &schema, text, env, err));
	TRY(decide_owners(arena, asked, owner, &asked, err));
	TRY(kids_new(arena, asked->kid_count + 3, &kids, err));
	TRY(kinds_node(arena, STREAM_BIT(STREAM_RULESET), &kids[n++], err));
	if (ruleset_id > 0) {
		const struct filter_node of = { .op = FILTER_TERM,
						.field = &id_field,
						.text = STR(""),
						.mask = STREAM_BIT(STREAM_RULESET),
						.id = ruleset_id };

		TRY(node_new(arena, &of, &node, err));
		kids[n++] = node;
	}
	if (asked->op == FILTER_AND) /* none of its children is one, too */
		for (uint32_t i = 0; i < asked->kid_count; i++)
			kids[n++] = asked->kids[i];
	else if (asked->op != FILTER_ALL)
		kids[n++] = asked;
	both.kids = kids;
	both.kid_count = n;
	if (n == 1) {
		*ret = kids[0];
		return 0;
	}
	TRY(node_new(arena, &both, &node, err));
	*ret = node;
	return 0;
}
