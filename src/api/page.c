#include "page.h"

#include <stdio.h>

#include "api_internal.h"
#include "service/stream.h"
#include "view.h"

/* ---- What was asked ---- */

static const char *const no_orders[] = { NULL };

static const char *const *orders_of(const struct page_rules *rules)
{
	return rules && rules->orders ? rules->orders : no_orders;
}

static unsigned order_count(const struct page_rules *rules)
{
	unsigned n = 0;

	while (orders_of(rules)[n])
		n++;
	return n;
}

static void page_init(struct page *page, struct api *api, struct http_request *req,
		      const struct page_rules *rules, struct str list)
{
	uint64_t of_user = stream_cursor_key(api->svc) + (uint64_t)api_user_id(req);

	*page = (struct page){ .limit = PAGE_LIMIT_NONE,
			       .filter = STR(""),
			       .descending = rules && rules->descending,
			       .now_s = clock_unix_s(service_clock(api->svc)),
			       .total = -1,
			       .rules = rules,
			       .key = hash64(list.p, list.n, of_user) };
}

void page_first(struct page *ret, struct api *api, struct http_request *req,
		const struct page_rules *rules, struct str list, struct str path)
{
	page_init(ret, api, req, rules, list);
	ret->path = path;
}

static void refuse_order(struct http_request *req, const struct page *page, struct str text)
{
	AUTO(buf_release) struct buf valid = BUF_INIT(4096);

	for (const char *const *o = orders_of(page->rules); *o; o++)
		buf_addf(&valid, "%s%s-,%s+", valid.n ? "," : "", *o, *o);
	api_error(req, 400, "BadRequestError",
		  "order \"" STR_FMT "\" is not valid. Valid orders are: " STR_FMT,
		  STR_ARG(text.n > 64 ? str_make(text.p, 64) : text), STR_ARG(buf_str(&valid)));
}

/* order=name, name+, name-; the plus may have become a blank. */
static bool read_order(struct http_request *req, struct page *page)
{
	struct str text = http_query(req, "order"), name = text;
	const char *const *orders = orders_of(page->rules);

	if (!text.p || !text.n || !orders[0])
		return true;
	page->ordered = true;
	page->descending = text.p[text.n - 1] == '-';
	if (page->descending || text.p[text.n - 1] == '+' || text.p[text.n - 1] == ' ')
		name.n--;
	for (page->order = 0; orders[page->order]; page->order++) {
		if (str_eq_z(name, orders[page->order]))
			return true;
	}
	refuse_order(req, page, text);
	return false;
}

static bool read_filter(struct http_request *req, struct page *page)
{
	struct str text = http_query(req, "filter");

	if (!page->rules || !page->rules->filter || !text.p)
		return true;
	page->filter = text;
	if (text.n <= LIMIT_FILTER_BYTES)
		return true;
	api_error(req, 400, "BadRequestError", "The filter has %zu bytes, %d at most", text.n,
		  LIMIT_FILTER_BYTES);
	return false;
}

/* What stands beside a cursor must agree with it, but for how much is shown. */
static bool read_cursor(struct http_request *req, uint32_t max, struct view *view,
			struct page *page)
{
	const struct page asked = *page;
	const char *wrong = NULL;

	if (!page_cursor_decode(req->arena, page->cursor, page) ||
	    (page->order && page->order >= order_count(page->rules)))
		wrong = "Invalid cursor";
	else if (page->rules && page->rules->filter && http_query(req, "filter").p &&
		 !str_eq(asked.filter, page->filter))
		wrong = "The cursor belongs to another filter";
	else if (asked.ordered &&
		 (asked.order != page->order || asked.descending != page->descending))
		wrong = "The cursor belongs to another order";
	if (wrong) {
		api_error(req, 400, "BadRequestError", "%s", wrong);
		return false;
	}
	if (http_query(req, "limit").p || page->limit > max)
		page->limit = asked.limit;
	if (!view->descriptors_given)
		view->descriptors = page->descriptors_only;
	return true;
}

bool page_read(struct api *api, struct http_request *req, const struct page_rules *rules,
	       struct str list, struct view *view, struct page *ret)
{
	uint32_t max = rules && rules->limit_max ? rules->limit_max : (uint32_t)LIMIT_PAGE;

	page_init(ret, api, req, rules, list.n ? list : req->path);
	if (!api_limit(req, PAGE_LIMIT_NONE, max, &ret->limit) || !read_filter(req, ret) ||
	    !read_order(req, ret))
		return false;
	ret->cursor = http_query(req, "cursor");
	if (ret->cursor.n && !read_cursor(req, max, view, ret))
		return false;
	ret->descriptors_only = view->descriptors;
	return true;
}

/* ---- Links ---- */

static void add_parameter(struct buf *link, const char *name, struct str value)
{
	if (!value.p)
		return;
	buf_add_c(link, link->n && strchr(link->p, '?') ? '&' : '?');
	api_query_escape(link, str_of(name));
	buf_add_c(link, '=');
	api_query_escape(link, value);
}

/* The rest of what was asked: attributes, relationships and whatever else. */
static void add_other_parameters(struct buf *link, struct http_request *req)
{
	static const char *const done[] = { "filter", "limit", "order", "descriptors_only",
					    "cursor" };
	struct str name, value;

	for (size_t i = 0; i < http_query_count(req); i++) {
		bool known = false;

		http_query_at(req, i, &name, &value);
		for (size_t k = 0; k < sizeof done / sizeof done[0]; k++)
			known = known || str_eq_z(name, done[k]);
		if (known || !name.n)
			continue;
		buf_add_c(link, '&');
		api_query_escape(link, name);
		buf_add_c(link, '=');
		api_query_escape(link, value);
	}
}

static void put_link(struct json *j, struct http_request *req, const char *key,
		     const struct page_links *l, struct str cursor)
{
	AUTO(buf_release) struct buf link = BUF_INIT(16 * LIMIT_CURSOR_BYTES);
	char limit[16];

	snprintf(limit, sizeof limit, "%u", l->limit);
	buf_add_str(&link, http_base_url(req));
	buf_add_str(&link, l->path.p ? l->path : req->path);
	add_parameter(&link, "filter", l->filter);
	add_parameter(&link, "limit", str_of(limit));
	add_parameter(&link, "order", l->order);
	add_parameter(&link, "descriptors_only", l->descriptors_only);
	if (!l->path.p)
		add_other_parameters(&link, req);
	if (cursor.n)
		add_parameter(&link, "cursor", cursor);
	json_kv_str(j, key, buf_str(&link));
}

void page_put_links(struct json *j, struct http_request *req, const struct page_links *links)
{
	json_key(j, "links");
	json_obj(j);
	put_link(j, req, "self", links, links->cursor);
	if (links->next.n)
		put_link(j, req, "next", links, links->next);
	if (links->related.p) {
		AUTO(buf_release) struct buf related = BUF_INIT(8192);

		buf_add_str(&related, http_base_url(req));
		buf_add_str(&related, links->related);
		json_kv_str(j, "related", buf_str(&related));
	}
	json_obj_end(j);
}

void page_put_meta(struct json *j, int64_t total, struct str next)
{
	json_key(j, "meta");
	json_obj(j);
	if (total >= 0)
		json_kv_i64(j, "count", total);
	if (next.n)
		json_kv_str(j, "cursor", next);
	json_obj_end(j);
}

void page_put_end(struct json *j, struct http_request *req, const struct page *page,
		  struct str next, int64_t total)
{
	AUTO(buf_release) struct buf order = BUF_INIT(256), cursor = BUF_INIT(LIMIT_CURSOR_BYTES);
	struct page_links links = { .path = page->path,
				    .related = page->related,
				    .limit = page->limit,
				    .cursor = page->cursor };
	struct page counted = *page;

	counted.total = total;
	if (next.n)
		page_cursor_encode(&cursor, &counted, next);
	links.next = buf_str(&cursor);
	if (page->filter.n)
		links.filter = page->filter;
	if (page->ordered) {
		buf_addf(&order, "%s%c", page->rules->orders[page->order],
			 page->descending ? '-' : '+');
		links.order = buf_str(&order);
	}
	if (page->descriptors_only)
		links.descriptors_only = STR("true");
	page_put_meta(j, total, links.next);
	page_put_links(j, req, &links);
}

/* ---- Positions that are numbers ---- */

struct str page_position_of(struct arena *arena, int64_t v)
{
	return str_of(arena_printf(arena, "%lld", (long long)v));
}

bool page_position_number(struct str position, int64_t *ret)
{
	*ret = 0;
	return !position.n || str_to_i64(position, ret);
}
