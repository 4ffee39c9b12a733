#include "http/route.h"
#include <stdlib.h>
#include "base/mem.h"
#include "http_internal.h"

/*
 * A tree of path segments. Children of a node are few, so a look-up compares
 * lengths and bytes one after the other; that is faster than hashing here.
 */
struct node {
	struct str literal;    /* of the edge that leads here; for literals */
	struct node *literals; /* owned array */
	size_t literal_count;
	struct node *param;                               /* owned: "{name}" */
	const struct http_route *here[HTTP_METHOD_COUNT]; /* the path ends here */
	const struct http_route *tail[HTTP_METHOD_COUNT]; /* "{name*}" begins here */
};

struct http_router {
	struct node root;
};

/* More segments than any pattern has; deeper paths match only tails. */
enum {
	SEGMENTS_MAX = 24
};

const char *http_method_name(enum http_method m)
{
	static const char *const names[] = { "GET", "POST", "PUT", "PATCH", "DELETE", "OTHER" };

	REQUIRE(m <= HTTP_OTHER);
	return names[m];
}

static void node_release(struct node *n)
{
	for (size_t i = 0; i < n->literal_count; i++)
		node_release(&n->literals[i]);
	free(n->literals);
	if (n->param) {
		node_release(n->param);
		free(n->param);
	}
}

void http_router_free(struct http_router *r)
{
	if (!r)
		return;
	node_release(&r->root);
	free(r);
}

static void router_drop(struct http_router **r)
{
	http_router_free(*r);
}

static struct node *node_literal(struct node *n, struct str segment)
{
	struct node *child;
	void *grown = n->literals;

	for (size_t i = 0; i < n->literal_count; i++)
		if (str_eq(n->literals[i].literal, segment))
			return &n->literals[i];
	mem_must_grow(&grown, n->literal_count + 1, sizeof *child);
	n->literals = grown;
	child = &n->literals[n->literal_count++];
	*child = (struct node){ .literal = segment };
	return child;
}

static int route_refuse(const struct http_route *route, const char *why, struct err *err)
{
	return err_set(err, ERR_INVALID, "route '%s %s': %s", http_method_name(route->method),
		       route->pattern, why);
}

static int slot_set(const struct http_route **slots, const struct http_route *route,
		    struct err *err)
{
	if (slots[route->method])
		return route_refuse(route, "declared twice", err);
	slots[route->method] = route;
	return 0;
}

static bool literal_is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (strchr("{}*%?#", s.p[i]))
			return false;
	return s.n > 0;
}

static int router_add(struct node *n, const struct http_route *route, struct err *err)
{
	struct str rest = str_of(route->pattern), segment;
	unsigned params = 0, segments = 0;

	if (route->method >= HTTP_METHOD_COUNT || !route->handler)
		return route_refuse(route, "no such method, or no handler", err);
	if (rest.n == 0 || rest.p[0] != '/')
		return route_refuse(route, "a pattern begins with '/'", err);
	rest = str_make(rest.p + 1, rest.n - 1);
	while (rest.n > 0) {
		size_t n_segment = str_find(rest, '/');

		segment = str_make(rest.p, n_segment);
		rest = n_segment < rest.n ? str_make(rest.p + n_segment + 1, rest.n - n_segment - 1)
					  : str_make("", 0);
		if (++segments >= SEGMENTS_MAX)
			return route_refuse(route, "too many segments", err);
		if (literal_is_plain(segment)) {
			n = node_literal(n, segment);
			continue;
		}
		if (segment.n < 3 || segment.p[0] != '{' || segment.p[segment.n - 1] != '}')
			return route_refuse(route, "a segment is plain text or {name}", err);
		if (++params > HTTP_PARAMS_MAX)
			return route_refuse(route, "too many parameters", err);
		if (segment.p[segment.n - 2] == '*')
			return rest.n > 0 ? route_refuse(route, "{name*} must be last", err)
					  : slot_set(n->tail, route, err);
		if (!n->param)
			n->param = mem_must_zalloc(sizeof *n->param);
		n = n->param;
	}
	return slot_set(n->here, route, err);
}

int http_router_new(struct http_router **ret, const struct http_route *routes, size_t n,
		    struct err *err)
{
	AUTO(router_drop) struct http_router *r = mem_must_zalloc(sizeof *r);

	for (size_t i = 0; i < n; i++)
		TRY(router_add(&r->root, &routes[i], err));
	*ret = STEAL(r);
	return 0;
}

/* ---- matching ---- */

struct walk {
	struct str segments[SEGMENTS_MAX]; /* decoded */
	size_t count;
	struct str tail_of[SEGMENTS_MAX + 1]; /* decoded rest of the path from segment i on */
	struct str params[HTTP_PARAMS_MAX];
	size_t param_count;
	const struct http_route *const *slots; /* what was found */
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_decode(struct str s, bool form, char *out, size_t *ret_n)
{
	bool strict_ok = true;
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '+' && form) {
			c = ' ';
		} else if (c == '%') {
			int hi = i + 1 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int lo = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;

			if (hi >= 0 && lo >= 0) {
				c = (char)(hi << 4 | lo);
				i += 2;
			} else {
				strict_ok = false;
			}
		}
		out[n++] = c;
	}
	*ret_n = n;
	return strict_ok;
}

/* Cut the path into decoded segments that lie one after the other in scratch. */
static bool walk_split(struct walk *w, struct str path, char *scratch)
{
	size_t ends[SEGMENTS_MAX], at = 0, out = 0, whole;

	/* The first SEGMENTS_MAX segments one by one, what follows as one piece. */
	while (at < path.n) {
		size_t n, from = out;
		bool last = w->count == SEGMENTS_MAX - 1;
		struct str rest = str_make(path.p + at, path.n - at);
		struct str raw = last ? rest : str_make(rest.p, str_find(rest, '/'));

		if (!http_decode(raw, false, scratch + out, &n) || memchr(scratch + out, 0, n))
			return false;
		out += n;
		w->segments[w->count] = str_make(scratch + from, n);
		ends[w->count++] = from;
		at += raw.n;
		if (at < path.n) {
			at++;
			scratch[out++] = '/';
		}
	}
	whole = out;
	for (size_t i = 0; i < w->count; i++)
		w->tail_of[i] = str_make(scratch + ends[i], whole - ends[i]);
	w->tail_of[w->count] = str_make("", 0);
	return true;
}

static bool slots_any(const struct http_route *const *slots)
{
	for (int m = 0; m < HTTP_METHOD_COUNT; m++)
		if (slots[m])
			return true;
	return false;
}

/* Depth is bounded by SEGMENTS_MAX, and so is going back, by the pattern table. */
static bool walk_match(struct walk *w, const struct node *n, size_t depth)
{
	if (depth == w->count) {
		if (slots_any(n->here)) {
			w->slots = n->here;
			return true;
		}
	} else {
		struct str segment = w->segments[depth];

		for (size_t i = 0; i < n->literal_count; i++) {
			const struct node *child = &n->literals[i];

			if (str_eq(child->literal, segment)) {
				if (walk_match(w, child, depth + 1))
					return true;
				break;
			}
		}
		if (n->param && segment.n > 0) {
			size_t mark = w->param_count;

			w->params[w->param_count++] = segment;
			if (walk_match(w, n->param, depth + 1))
				return true;
			w->param_count = mark;
		}
	}
	if (!slots_any(n->tail))
		return false;
	w->params[w->param_count++] = w->tail_of[depth];
	w->slots = n->tail;
	return true;
}

enum http_match http_router_match(const struct http_router *r, enum http_method method,
				  struct str path, char *scratch, struct http_matched *ret)
{
	struct walk w;

	w.count = 0;
	w.param_count = 0;
	w.slots = NULL;
	memset(w.params, 0, sizeof w.params);
	if (path.n == 0 || path.p[0] != '/')
		return HTTP_MATCH_NONE;
	if (!walk_split(&w, str_make(path.p + 1, path.n - 1), scratch))
		return HTTP_MATCH_BAD_PATH;
	if (!walk_match(&w, &r->root, 0))
		return HTTP_MATCH_NONE;
	ret->allowed = 0;
	for (int m = 0; m < HTTP_METHOD_COUNT; m++)
		if (w.slots[m])
			ret->allowed |= 1U << m;
	if (method >= HTTP_METHOD_COUNT || !w.slots[method])
		return HTTP_MATCH_OTHER_METHOD;
	ret->route = w.slots[method];
	memcpy(ret->params, w.params, sizeof w.params);
	return HTTP_MATCH_OK;
}
