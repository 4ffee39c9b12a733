#include "store/filter.h"

static bool is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_' || c == '.' || c == '-' || c == '+' || c == FILTER_STAR))
			return false;
	}
	return s.n > 0;
}

static void print_value(struct buf *out, struct str s, bool quote)
{
	if (quote)
		buf_add_c(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		/* Any quote of the family ends it, so typographic ones are escaped as well. */
		if (c == '"' || c == '\\' || c == '*' || c == '\xe2')
			buf_add_c(out, '\\');
		buf_add_c(out, c == FILTER_STAR ? '*' : c);
	}
	if (quote)
		buf_add_c(out, '"');
}

static void print_term(struct buf *out, const struct filter_node *node)
{
	if (node->field->key)
		buf_addf(out, "%s:", node->field->key);
	if (node->field->kind == FILTER_DATE)
		filter_date_print(out, node->lo, node->hi);
	else
		print_value(out, node->text, !node->field->key || !is_plain(node->text));
}

static void print_at(struct buf *out, const struct filter_node *node, enum filter_op parent)
{
	/* OR binds weakest: it needs parentheses inside anything; AND inside NOT only. */
	bool parens = (node->op == FILTER_OR && parent != FILTER_ALL) ||
		      (node->op == FILTER_AND && parent == FILTER_NOT);

	if (parens)
		buf_add_c(out, '(');
	switch (node->op) {
	case FILTER_ALL:
		break;
	case FILTER_TERM:
		print_term(out, node);
		break;
	case FILTER_NOT:
		buf_add_z(out, "NOT ");
		print_at(out, node->kids[0], FILTER_NOT);
		break;
	case FILTER_AND:
	case FILTER_OR:
		for (uint32_t i = 0; i < node->kid_count; i++) {
			if (i > 0)
				buf_add_z(out, node->op == FILTER_OR ? " OR " : " ");
			print_at(out, node->kids[i], node->op);
		}
		break;
	}
	if (parens)
		buf_add_c(out, ')');
}

void filter_print(struct buf *out, const struct filter_node *node)
{
	print_at(out, node, FILTER_ALL);
}

static bool term_equal(const struct filter_node *a, const struct filter_node *b)
{
	return a->field == b->field && str_eq(a->text, b->text) && a->lo == b->lo &&
	       a->hi == b->hi && a->mask == b->mask && a->id == b->id;
}

bool filter_equal(const struct filter_node *a, const struct filter_node *b)
{
	if (a->op != b->op || a->kid_count != b->kid_count)
		return false;
	if (a->op == FILTER_TERM)
		return term_equal(a, b);
	for (uint32_t i = 0; i < a->kid_count; i++)
		if (!filter_equal(a->kids[i], b->kids[i]))
			return false;
	return true;
}

bool filter_eval(const struct filter_node *node, filter_term_fn term, const void *item)
{
	switch (node->op) {
	case FILTER_ALL:
		return true;
	case FILTER_TERM:
		return term(node, item);
	case FILTER_NOT:
		return !filter_eval(node->kids[0], term, item);
	case FILTER_AND:
		for (uint32_t i = 0; i < node->kid_count; i++)
			if (!filter_eval(node->kids[i], term, item))
				return false;
		return true;
	case FILTER_OR:
		for (uint32_t i = 0; i < node->kid_count; i++)
			if (filter_eval(node->kids[i], term, item))
				return true;
		return false;
	}
	return false;
}
