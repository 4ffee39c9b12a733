#include "filter_internal.h"
#include "base/limits.h"
#include "base/utf8.h"

/*
 * Recursive descent with the grammar of store/filter.h. Recursion is bounded by
 * LIMIT_FILTER_DEPTH (parentheses and NOTs), work by LIMIT_FILTER_BYTES.
 */
struct parser {
	struct lexer lx;
	struct token token; /* the next one */
	const struct filter_schema *schema;
	const struct filter_env *env;
	unsigned depth;
	unsigned terms;
	struct err *err;
};

/* Children while they are collected. */
struct kids {
	const struct filter_node **v;
	uint32_t n, cap;
};

static int parse_or(struct parser *ps, const struct filter_node **ret);

static int advance(struct parser *ps)
{
	return lexer_next(&ps->lx, &ps->token, ps->err);
}

static int node_new(struct parser *ps, enum filter_op op, struct filter_node **ret)
{
	void *mem;

	TRY(filter_alloc(ps->lx.arena, sizeof **ret, &mem, ps->err));
	*ret = mem;
	(*ret)->op = op;
	return 0;
}

static int kids_add(struct parser *ps, struct kids *kids, const struct filter_node *node)
{
	if (kids->n == kids->cap) {
		uint32_t cap = kids->cap ? kids->cap * 2 : 4;
		void *mem;

		TRY(filter_alloc(ps->lx.arena, cap * sizeof *kids->v, &mem, ps->err));
		if (kids->n > 0)
			memcpy(mem, kids->v, kids->n * sizeof *kids->v);
		kids->v = mem;
		kids->cap = cap;
	}
	kids->v[kids->n++] = node;
	return 0;
}

/* Add a child of an AND (OR); one that is an AND (OR) itself dissolves in it. */
static int kids_merge(struct parser *ps, struct kids *kids, enum filter_op op,
		      const struct filter_node *node)
{
	if (node->op != op)
		return kids_add(ps, kids, node);
	for (uint32_t i = 0; i < node->kid_count; i++)
		TRY(kids_add(ps, kids, node->kids[i]));
	return 0;
}

static int kids_end(struct parser *ps, struct kids *kids, enum filter_op op,
		    const struct filter_node **ret)
{
	struct filter_node *node;

	REQUIRE(kids->n > 0);
	if (kids->n == 1) {
		*ret = kids->v[0];
		return 0;
	}
	TRY(node_new(ps, op, &node));
	node->kids = kids->v;
	node->kid_count = kids->n;
	*ret = node;
	return 0;
}

static int unknown_key(struct parser *ps)
{
	char list[256];
	size_t n = 0;

	for (size_t i = 0; i < ps->schema->field_count && n < sizeof list; i++)
		n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? "," : "",
				      ps->schema->fields[i].key);
	return lexer_fail(&ps->lx, ps->token.at, ps->err,
			  "unknown key \"" STR_FMT
			  "\" (quote it if it is text). Valid keys are: %s",
			  STR_ARG(utf8_cut(ps->token.key, 64)), list);
}

static int parse_term(struct parser *ps, const struct filter_node **ret)
{
	const struct filter_field *field = ps->token.key.p ? NULL : ps->schema->any;
	struct filter_node *node;

	if (++ps->terms > LIMIT_FILTER_TERMS)
		return lexer_fail(&ps->lx, ps->token.at, ps->err, "more than %d terms",
				  LIMIT_FILTER_TERMS);
	for (size_t i = 0; ps->token.key.p && i < ps->schema->field_count; i++)
		if (str_eq_nocase(ps->token.key, str_of(ps->schema->fields[i].key)))
			field = &ps->schema->fields[i];
	if (!field && ps->token.key.p)
		return unknown_key(ps);
	if (!field)
		return lexer_fail(&ps->lx, ps->token.at, ps->err, "expected a key such as \"%s:\"",
				  ps->schema->fields[0].key);
	TRY(node_new(ps, FILTER_TERM, &node));
	node->field = field;
	TRY(filter_value_set(node, ps->token.value, &ps->lx, ps->token.value_at, ps->schema,
			     ps->env, ps->err));
	*ret = node;
	return advance(ps);
}

static int enter(struct parser *ps)
{
	if (++ps->depth > LIMIT_FILTER_DEPTH)
		return lexer_fail(&ps->lx, ps->token.at, ps->err, "nested deeper than %d",
				  LIMIT_FILTER_DEPTH);
	return advance(ps);
}

static int parse_primary(struct parser *ps, const struct filter_node **ret)
{
	size_t open = ps->token.at;

	if (ps->token.kind == TOKEN_TERM)
		return parse_term(ps, ret);
	if (ps->token.kind != TOKEN_OPEN)
		return lexer_fail(&ps->lx, ps->token.at, ps->err,
				  "expected a term or \"(\" before %s",
				  ps->token.kind == TOKEN_END     ? "the end"
				  : ps->token.kind == TOKEN_CLOSE ? "\")\""
				  : ps->token.kind == TOKEN_AND   ? "AND"
								  : "OR");
	TRY(enter(ps));
	TRY(parse_or(ps, ret));
	if (ps->token.kind != TOKEN_CLOSE)
		return lexer_fail(&ps->lx, open, ps->err,
				  "the parenthesis that opens here is not closed");
	ps->depth--;
	return advance(ps);
}

static int parse_not(struct parser *ps, const struct filter_node **ret)
{
	const struct filter_node *inner;
	unsigned nots = 0;

	while (ps->token.kind == TOKEN_NOT) {
		TRY(enter(ps));
		nots++;
	}
	TRY(parse_primary(ps, &inner));
	ps->depth -= nots;
	for (; nots > 0; nots--) {
		struct kids kids = { 0 };
		struct filter_node *node;

		TRY(kids_add(ps, &kids, inner));
		TRY(node_new(ps, FILTER_NOT, &node));
		node->kids = kids.v;
		node->kid_count = 1;
		inner = node;
	}
	*ret = inner;
	return 0;
}

static int parse_and(struct parser *ps, const struct filter_node **ret)
{
	struct kids kids = { 0 };

	for (;;) {
		const struct filter_node *node;

		TRY(parse_not(ps, &node));
		TRY(kids_merge(ps, &kids, FILTER_AND, node));
		if (ps->token.kind == TOKEN_AND)
			TRY(advance(ps));
		else if (ps->token.kind != TOKEN_TERM && ps->token.kind != TOKEN_OPEN &&
			 ps->token.kind != TOKEN_NOT)
			break;
	}
	return kids_end(ps, &kids, FILTER_AND, ret);
}

static int parse_or(struct parser *ps, const struct filter_node **ret)
{
	struct kids kids = { 0 };

	for (;;) {
		const struct filter_node *node;

		TRY(parse_and(ps, &node));
		TRY(kids_merge(ps, &kids, FILTER_OR, node));
		if (ps->token.kind != TOKEN_OR)
			break;
		TRY(advance(ps));
	}
	return kids_end(ps, &kids, FILTER_OR, ret);
}

/* Valid UTF-8 without control characters other than white space. */
static int check_text(struct parser *ps)
{
	struct str rest = ps->lx.text;

	if (rest.n > LIMIT_FILTER_BYTES)
		return err_set(ps->err, ERR_INVALID, "filter: longer than %d bytes",
			       LIMIT_FILTER_BYTES);
	while (rest.n > 0) {
		size_t at = (size_t)(rest.p - ps->lx.text.p);
		uint32_t cp;
		size_t n = utf8_next(rest, &cp);

		if (n == 0)
			return lexer_fail(&ps->lx, at, ps->err, "this is not UTF-8");
		if ((cp < ' ' && !(cp >= '\t' && cp <= '\r')) || cp == 0x7f)
			return lexer_fail(&ps->lx, at, ps->err, "a control character");
		rest.p += n;
		rest.n -= n;
	}
	return 0;
}

int filter_parse(const struct filter_node **ret, struct arena *arena,
		 const struct filter_schema *schema, struct str text, const struct filter_env *env,
		 struct err *err)
{
	struct parser ps = { .lx = { text, 0, arena }, .schema = schema, .env = env, .err = err };
	const struct filter_node *root;

	TRY(check_text(&ps));
	TRY(advance(&ps));
	if (ps.token.kind == TOKEN_END) {
		struct filter_node *all;

		TRY(node_new(&ps, FILTER_ALL, &all));
		*ret = all;
		return 0;
	}
	TRY(parse_or(&ps, &root));
	if (ps.token.kind != TOKEN_END)
		return lexer_fail(&ps.lx, ps.token.at, err, "this \")\" closes nothing");
	*ret = root;
	return 0;
}
