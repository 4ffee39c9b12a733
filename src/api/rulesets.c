#include "api_internal.h"

#include <stdio.h>

#include "base/hex.h"
#include "service/rulesets.h"

enum {
	RULESET_LIMIT_MAX = 40,
	RULESET_LIMIT_NONE = 10
};

/* ---- Writing a ruleset ---- */

static void put_ruleset_attributes(struct json *j, const struct ruleset *r)
{
	json_key(j, "attributes");
	json_obj(j);
	json_kv_str(j, "name", r->name);
	json_kv_str(j, "rules", r->rules);
	json_kv_bool(j, "enabled", r->enabled);
	json_kv_i64(j, "limit", r->limit);
	json_key(j, "notification_emails");
	json_raw(j, r->emails_json);
	json_kv_str(j, "match_object_type", r->entity);
	json_key(j, "tags");
	json_raw(j, r->tags_json);
	json_kv_i64(j, "creation_date", r->created_s);
	json_kv_i64(j, "modification_date", r->modified_s);
	json_key(j, "rule_names");
	json_raw(j, r->rule_names_json);
	json_kv_i64(j, "number_of_rules", r->rule_count);
	if (r->suspended.n)
		json_kv_str(j, "suspended", r->suspended);
	json_obj_end(j);
}

static void put_ruleset(struct json *j, struct http_request *req, const struct ruleset *r)
{
	char id[24];

	snprintf(id, sizeof id, "%lld", (long long)r->id);
	json_kv_z(j, "type", "hunting_ruleset");
	json_kv_z(j, "id", id);
	api_links_self(j, req, "/intelligence/hunting_rulesets/%s", id);
	put_ruleset_attributes(j, r);
}

/* `beside`: type and id also beside "data", as VirusTotal's documentation of POST has them. */
static void send_ruleset(struct http_request *req, const struct ruleset *r, bool beside)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	char id[24];
	struct json j;

	snprintf(id, sizeof id, "%lld", (long long)r->id);
	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "data");
	json_obj(&j);
	put_ruleset(&j, req, r);
	json_obj_end(&j);
	if (beside) {
		json_kv_z(&j, "type", "hunting_ruleset");
		json_kv_z(&j, "id", id);
	}
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
}

/* ---- Reading what clients send ---- */

static bool want_string(struct http_request *req, const json_t *v, const char *key, struct str *ret)
{
	if (!json_is_string(v)) {
		api_error(req, 400, "InvalidArgumentError", "\"%s\" must be a string", key);
		return false;
	}
	*ret = str_make(json_string_value(v), json_string_length(v));
	return true;
}

/* An array of strings, as JSON text in the request's arena. */
static bool want_strings(struct http_request *req, json_t *v, const char *key, size_t max,
			 struct str *ret)
{
	struct buf out = BUF_INIT(LIMIT_JSON_BODY_BYTES * 2);
	struct json j;
	json_t *item;
	size_t i;

	if (!json_is_array(v) || json_array_size(v) > max) {
		api_error(req, 400, "InvalidArgumentError",
			  "\"%s\" must be an array of at most %zu strings", key, max);
		return false;
	}
	json_init(&j, &out);
	json_arr(&j);
	json_array_foreach(v, i, item)
	{
		if (!json_is_string(item)) {
			buf_release(&out);
			api_error(req, 400, "InvalidArgumentError", "\"%s\"[%zu] must be a string",
				  key, i);
			return false;
		}
		json_str(&j, str_make(json_string_value(item), json_string_length(item)));
	}
	json_arr_end(&j);
	json_end(&j);
	*ret = arena_str(req->arena, buf_str(&out));
	buf_release(&out);
	return true;
}

/* What a read-only attribute holds now, as JSON; NULL: it has no value, or is not read-only. */
static json_t *read_only_value(const struct ruleset *r, const char *key)
{
	if (strcmp(key, "creation_date") == 0)
		return json_integer(r->created_s);
	if (strcmp(key, "modification_date") == 0)
		return json_integer(r->modified_s);
	if (strcmp(key, "number_of_rules") == 0)
		return json_integer(r->rule_count);
	if (strcmp(key, "rule_names") == 0)
		return json_loadb(r->rule_names_json.p, r->rule_names_json.n, 0, NULL);
	if (strcmp(key, "suspended") == 0 && r->suspended.n)
		return json_stringn(r->suspended.p, r->suspended.n);
	return NULL;
}

/* Clients send back whole objects: a read-only attribute may say what holds anyway, no more. */
static bool read_only_is_same(struct http_request *req, const struct ruleset *now, json_t *sent)
{
	static const char *const names[] = { "creation_date", "modification_date",
					     "rule_names",    "number_of_rules",
					     "rate_limited",  "rate_limited_ratio",
					     "suspended" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		json_t *v = json_object_get(sent, names[i]), *holds;
		bool same;

		if (!v)
			continue;
		holds = read_only_value(now, names[i]);
		same = holds && json_equal(v, holds);
		json_decref(holds);
		if (!same) {
			api_error(req, 400, "InvalidArgumentError", "\"%s\" cannot be changed",
				  names[i]);
			return false;
		}
	}
	return true;
}

/* One attribute; false: answered with 400. */
static bool read_attribute(struct http_request *req, const char *key, json_t *v,
			   struct ruleset_change *to)
{
	if (strcmp(key, "name") == 0) {
		to->set |= RULESET_NAME;
		return want_string(req, v, key, &to->name);
	}
	if (strcmp(key, "rules") == 0) {
		to->set |= RULESET_RULES;
		return want_string(req, v, key, &to->rules);
	}
	if (strcmp(key, "notification_emails") == 0) {
		to->set |= RULESET_EMAILS;
		return want_strings(req, v, key, LIMIT_EMAILS_PER_RULESET, &to->emails_json);
	}
	if (strcmp(key, "tags") == 0) {
		to->set |= RULESET_TAGS;
		return want_strings(req, v, key, LIMIT_TAGS_PER_RULESET, &to->tags_json);
	}
	if (strcmp(key, "enabled") == 0) {
		to->set |= RULESET_ENABLED;
		to->enabled = json_is_true(v);
		if (json_is_boolean(v))
			return true;
		api_error(req, 400, "InvalidArgumentError", "\"enabled\" must be true or false");
		return false;
	}
	if (strcmp(key, "limit") == 0) {
		to->set |= RULESET_LIMIT;
		to->limit = json_integer_value(v);
		if (json_is_integer(v) && to->limit >= 0)
			return true;
		api_error(req, 400, "InvalidArgumentError", "\"limit\" must be a number from 0 up");
		return false;
	}
	if (strcmp(key, "match_object_type") == 0) {
		to->set |= RULESET_ENTITY;
		return want_string(req, v, key, &to->entity);
	}
	return true; /* unknown attributes are ignored, as VirusTotal does */
}

static bool read_change(struct http_request *req, json_t *attributes, bool creating,
			struct ruleset_change *ret)
{
	const char *key;
	json_t *v;

	*ret = (struct ruleset_change){ .set = 0 };
	json_object_foreach(attributes, key, v)
	{
		if (!read_attribute(req, key, v, ret))
			return false;
	}
	if (creating &&
	    (ret->set & (RULESET_NAME | RULESET_RULES)) != (RULESET_NAME | RULESET_RULES)) {
		api_error(req, 400, "InvalidArgumentError", "\"%s\" is required",
			  ret->set & RULESET_NAME ? "rules" : "name");
		return false;
	}
	return true;
}

/* ---- Answers ---- */

/* VirusTotal's error with the compiler's text, and every message as data beside it. */
static void refuse_rules(struct http_request *req, const struct err *err, struct str messages)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "error");
	json_obj(&j);
	json_kv_z(&j, "code", "InvalidArgumentError");
	json_kv_z(&j, "message", err->msg);
	if (messages.n) {
		json_key(&j, "messages");
		json_raw(&j, messages);
	}
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
	http_respond_buf(req, 400, &out);
}

static void ruleset_fail(struct http_request *req, int rc, const struct err *err,
			 struct str messages)
{
	if (rc == -ERR_INVALID)
		refuse_rules(req, err, messages);
	else if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "Hunting ruleset", req->params[0]);
	else
		api_fail(req, rc, err);
}

static void ruleset_created(const struct ruleset *r, int rc, const struct err *err,
			    struct str messages, void *arg)
{
	struct http_request *req = arg;

	if (rc)
		ruleset_fail(req, rc, err, messages);
	else
		send_ruleset(req, r, true);
	http_request_resume(req);
}

static void ruleset_changed(const struct ruleset *r, int rc, const struct err *err,
			    struct str messages, void *arg)
{
	struct http_request *req = arg;

	if (rc)
		ruleset_fail(req, rc, err, messages);
	else
		send_ruleset(req, r, false);
	http_request_resume(req);
}

static void ruleset_deleted(const struct ruleset *r, int rc, const struct err *err,
			    struct str messages, void *arg)
{
	struct http_request *req = arg;

	(void)r;
	if (rc)
		ruleset_fail(req, rc, err, messages);
	else
		api_send_empty(req);
	http_request_resume(req);
}

/* What was suspended is answered here if the work could not even begin. */
static void ruleset_begun(struct http_request *req, int rc, const struct err *err)
{
	if (!rc)
		return;
	ruleset_fail(req, rc, err, STR(""));
	http_request_resume(req);
}

void post_ruleset(struct http_request *req, void *arg)
{
	struct api *api = arg;
	AUTO(json_drop) json_t *root = NULL;
	json_t *attributes = api_attributes(req, "hunting_ruleset", STR(""), &root);
	struct ruleset_change change;
	struct err err;

	if (!attributes || !read_change(req, attributes, true, &change))
		return;
	http_request_suspend(req);
	ruleset_begun(
		req,
		ruleset_create(api->svc, api_user_id(req), &change, ruleset_created, req, &err),
		&err);
}

void patch_ruleset(struct http_request *req, void *arg)
{
	struct api *api = arg;
	AUTO(json_drop) json_t *root = NULL;
	json_t *attributes;
	struct ruleset_change change;
	struct ruleset now;
	struct err err;
	int64_t id;
	int rc;

	if (!api_id(req, "Hunting ruleset", &id))
		return;
	attributes = api_attributes(req, "hunting_ruleset", req->params[0], &root);
	if (!attributes || !read_change(req, attributes, false, &change))
		return;
	rc = ruleset_get(api->svc, api_user_id(req), id, req->arena, &now, &err);
	if (rc) {
		ruleset_fail(req, rc, &err, STR(""));
		return;
	}
	if (!read_only_is_same(req, &now, attributes))
		return;
	http_request_suspend(req);
	ruleset_begun(
		req,
		ruleset_update(api->svc, api_user_id(req), id, &change, ruleset_changed, req, &err),
		&err);
}

void delete_ruleset(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct err err;
	int64_t id;

	if (!api_id(req, "Hunting ruleset", &id))
		return;
	http_request_suspend(req);
	ruleset_begun(req,
		      ruleset_delete(api->svc, api_user_id(req), id, ruleset_deleted, req, &err),
		      &err);
}

void get_ruleset(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct ruleset r;
	struct err err;
	int64_t id;
	int rc;

	if (!api_id(req, "Hunting ruleset", &id))
		return;
	rc = ruleset_get(api->svc, api_user_id(req), id, req->arena, &r, &err);
	if (rc)
		ruleset_fail(req, rc, &err, STR(""));
	else
		send_ruleset(req, &r, false);
}

/* ---- The list ---- */

static const struct {
	const char *name;
	enum ruleset_order order;
} orders[] = {
	{ "name", RULESET_BY_NAME },
	{ "creation_date", RULESET_BY_CREATED },
	{ "modification_date", RULESET_BY_MODIFIED },
};

/* order=name, name+, name-; the plus may have become a blank. */
static bool read_order(struct http_request *req, struct ruleset_query *q)
{
	struct str text = http_query(req, "order");

	q->order = RULESET_BY_ID;
	if (!text.p || !text.n)
		return true;
	q->descending = text.p[text.n - 1] == '-';
	if (q->descending || text.p[text.n - 1] == '+' || text.p[text.n - 1] == ' ')
		text.n--;
	for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
		if (str_eq_z(text, orders[i].name)) {
			q->order = orders[i].order;
			return true;
		}
	}
	api_error(req, 400, "BadRequestError",
		  "order \"" STR_FMT
		  "\" is not valid. Valid orders are: name,creation_date,modification_date",
		  STR_ARG(text.n > 64 ? str_make(text.p, 64) : text));
	return false;
}

/*
 * The cursor: "<order><-|+><id>.<bytes of filter>.<filter><key>" in base64url. It
 * names its order and its filter, so that it stands alone.
 */
enum {
	RULESET_CURSOR_MAX = LIMIT_RULESET_NAME_BYTES + LIMIT_FILTER_BYTES + 96
};

static void put_cursor(struct buf *out, const struct ruleset_query *q, const struct ruleset *last)
{
	AUTO(buf_release) struct buf text = BUF_INIT(RULESET_CURSOR_MAX);

	buf_addf(&text, "%d%c%lld.%zu.", (int)q->order, q->descending ? '-' : '+',
		 (long long)last->id, q->filter.n);
	buf_add_str(&text, q->filter);
	switch (q->order) {
	case RULESET_BY_NAME:
		buf_add_str(&text, last->name);
		break;
	case RULESET_BY_CREATED:
		buf_add_i64(&text, last->created_s);
		break;
	case RULESET_BY_MODIFIED:
		buf_add_i64(&text, last->modified_s);
		break;
	case RULESET_BY_ID:
		break;
	}
	base64url_encode(out, text.p, text.n);
}

static bool parse_cursor(struct str text, struct ruleset_query *q)
{
	struct str rest, id, size;
	uint64_t v, filter_bytes;

	if (text.n <= 3 || text.p[0] < '0' || text.p[0] > '0' + RULESET_BY_MODIFIED ||
	    (text.p[1] != '+' && text.p[1] != '-'))
		return false;
	rest = str_make(text.p + 2, text.n - 2);
	if (!str_split(&rest, '.', &id) || !str_to_u64(id, INT64_MAX, &v) ||
	    !str_split(&rest, '.', &size) || !str_to_u64(size, rest.n, &filter_bytes))
		return false;
	q->order = (enum ruleset_order)(text.p[0] - '0');
	q->descending = text.p[1] == '-';
	q->has_after = true;
	q->after_id = (int64_t)v;
	if (!rest.p)
		rest = STR("");
	q->filter = str_make(rest.p, (size_t)filter_bytes);
	q->after_key = str_make(rest.p + filter_bytes, rest.n - (size_t)filter_bytes);
	return true;
}

static bool read_cursor(struct http_request *req, struct ruleset_query *q)
{
	struct str cursor = http_query(req, "cursor"), asked = q->filter;
	char *text;
	size_t n;

	if (!cursor.p || !cursor.n)
		return true;
	text = arena_must(req->arena, RULESET_CURSOR_MAX + 1);
	if (!base64_decode(cursor, text, RULESET_CURSOR_MAX, &n) ||
	    !parse_cursor(str_make(text, n), q)) {
		api_error(req, 400, "BadRequestError", "Invalid cursor");
		return false;
	}
	if (asked.p && !str_eq(asked, q->filter)) {
		api_error(req, 400, "BadRequestError", "The cursor belongs to another filter");
		return false;
	}
	return true;
}

static void put_list_links(struct json *j, struct http_request *req, const struct ruleset_query *q,
			   struct str next)
{
	AUTO(buf_release) struct buf link = BUF_INIT(8 * LIMIT_CURSOR_BYTES);

	json_key(j, "links");
	json_obj(j);
	buf_add_str(&link, http_base_url(req));
	buf_add_str(&link, req->target);
	json_kv_str(j, "self", buf_str(&link));
	if (next.n) {
		buf_reset(&link);
		api_link(&link, req, "/intelligence/hunting_rulesets?");
		if (q->filter.n) {
			buf_add_z(&link, "filter=");
			api_query_escape(&link, q->filter);
			buf_add_c(&link, '&');
		}
		buf_addf(&link, "limit=%u&cursor=" STR_FMT, q->limit, STR_ARG(next));
		json_kv_str(j, "next", buf_str(&link));
	}
	json_obj_end(j);
}

static void send_rulesets(struct http_request *req, const struct ruleset_query *q,
			  const struct ruleset_page *page)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	AUTO(buf_release) struct buf next = BUF_INIT(LIMIT_CURSOR_BYTES);
	struct json j;

	if (page->more)
		put_cursor(&next, q, &page->rows[page->count - 1]);
	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "data");
	json_arr(&j);
	for (size_t i = 0; i < page->count; i++) {
		json_obj(&j);
		put_ruleset(&j, req, &page->rows[i]);
		json_obj_end(&j);
	}
	json_arr_end(&j);
	json_key(&j, "meta");
	json_obj(&j);
	json_kv_i64(&j, "count", page->total);
	if (next.n)
		json_kv_str(&j, "cursor", buf_str(&next));
	json_obj_end(&j);
	put_list_links(&j, req, q, buf_str(&next));
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
}

struct rulesets_call {
	struct http_request *req;
	struct api *api;
	struct ruleset_query query;
};

static void get_rulesets_run(void *arg)
{
	struct rulesets_call *call = arg;
	struct http_request *req = call->req;
	struct ruleset_page page;
	struct err err;
	int rc = ruleset_list(call->api->svc, &call->query, req->arena, &page, &err);

	if (rc)
		api_fail(req, rc, &err);
	else
		send_rulesets(req, &call->query, &page);
	http_request_resume(req);
}

void get_rulesets(struct http_request *req, void *arg)
{
	struct rulesets_call *call = arena_must(req->arena, sizeof *call);

	call->req = req;
	call->api = arg;
	call->query.owner_id = api_user_id(req);
	call->query.filter = http_query(req, "filter");
	if (!api_limit(req, RULESET_LIMIT_NONE, RULESET_LIMIT_MAX, &call->query.limit) ||
	    !read_order(req, &call->query) || !read_cursor(req, &call->query))
		return;
	api_run(req, arg, get_rulesets_run, call);
}
