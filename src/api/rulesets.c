#include "answer.h"
#include "api_internal.h"
#include "relationship.h"
#include "service/rulesets.h"

struct ruleset_call {
	struct http_request *req;
	struct api *api;
	/* of the list */
	struct view view;
	struct page page;
};

/* ---- Writing a ruleset ---- */

static void write_ruleset(struct json *j, const void *arg)
{
	const struct ruleset *r = arg;

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
	json_kv_bool(j, "rate_limited", r->is_limited);
	json_key(j, "rate_limited_ratio");
	json_f64(j, r->limited_ratio);
	json_kv_i64(j, "dropped_matches", r->dropped);
	if (r->disable_s)
		json_kv_i64(j, "scheduled_disable_date", r->disable_s);
	if (r->suspended.n)
		json_kv_str(j, "suspended", r->suspended);
	json_obj_end(j);
}

static struct object ruleset_object(const struct ruleset *r, struct arena *arena)
{
	return (struct object){ .type = &object_types[OBJECT_hunting_ruleset],
				.id = str_of(arena_printf(arena, "%lld", (long long)r->id)),
				.key = r->id,
				.attributes = object_json(arena, write_ruleset, r) };
}

/* `beside`: type and id also beside "data", as VirusTotal's documentation of POST has them. */
static void send_ruleset(struct http_request *req, const struct ruleset *r, bool beside)
{
	const struct object o = ruleset_object(r, req->arena);
	struct answer a;

	answer_begin(&a, NULL, req, NULL);
	json_key(&a.json, "data");
	object_put(&a, &o);
	if (beside) {
		json_kv_z(&a.json, "type", o.type->name);
		json_kv_str(&a.json, "id", o.id);
	}
	answer_send(&a);
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
	if (strcmp(key, "rate_limited") == 0)
		return json_boolean(r->is_limited);
	if (strcmp(key, "suspended") == 0 && r->suspended.n)
		return json_stringn(r->suspended.p, r->suspended.n);
	return NULL;
}

/* What moves by itself between a client's reading it and sending it back: any number will do. */
static bool is_moving(const char *key, const json_t *v)
{
	return (strcmp(key, "rate_limited_ratio") == 0 || strcmp(key, "dropped_matches") == 0) &&
	       json_is_number(v);
}

/* Clients send back whole objects: a read-only attribute may say what holds anyway, no more. */
static bool read_only_is_same(struct http_request *req, const struct ruleset *now, json_t *sent)
{
	static const char *const names[] = { "creation_date", "modification_date",
					     "rule_names",    "number_of_rules",
					     "rate_limited",  "rate_limited_ratio",
					     "suspended",     "dropped_matches" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		json_t *v = json_object_get(sent, names[i]), *holds;
		bool same;

		if (!v || is_moving(names[i], v))
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
	if (strcmp(key, "scheduled_disable_date") == 0) {
		to->set |= RULESET_DISABLE;
		to->disable_s = json_integer_value(v); /* null: never */
		if (json_is_null(v) || (json_is_integer(v) && to->disable_s != 0))
			return true;
		api_error(req, 400, "InvalidArgumentError",
			  "\"scheduled_disable_date\" must be a time to come, in seconds since "
			  "1970, or null");
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
void api_refuse_rules(struct http_request *req, const struct err *err, struct str messages)
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
		api_refuse_rules(req, err, messages);
	else if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "Hunting ruleset", req->params[0]);
	else if (rc == -ERR_EXISTS)
		api_error(req, 412, "BadRequestError",
			  "The ruleset is not what If-Match expects it to be");
	else
		api_fail(req, rc, err);
}

/* If-Match names it as it is now. The suspended request is the writer's for that long. */
static bool is_as_known(const struct ruleset *r, void *arg)
{
	struct http_request *req = arg;
	const struct object o = ruleset_object(r, req->arena);
	struct answer a;
	bool same;

	answer_begin(&a, NULL, req, NULL);
	json_key(&a.json, "data");
	object_put(&a, &o);
	json_obj_end(&a.json);
	json_end(&a.json);
	same = !a.rc && !buf_failed(&a.out) && http_if_match(req, buf_str(&a.out));
	buf_release(&a.out);
	return same;
}

static ruleset_holds condition_of(const struct http_request *req)
{
	return http_header(req, "If-Match").p ? is_as_known : NULL;
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
	struct audit_by by;
	struct err err;

	if (!attributes || !read_change(req, attributes, true, &change))
		return;
	by = api_by(req);
	change.by = &by;
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
	struct audit_by by;
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
	by = api_by(req);
	change.by = &by;
	http_request_suspend(req);
	ruleset_begun(req,
		      ruleset_update_if(api->svc, api_user_id(req), id, &change, condition_of(req),
					ruleset_changed, req, &err),
		      &err);
}

void delete_ruleset(struct http_request *req, void *arg)
{
	const struct audit_by by = api_by(req);
	struct api *api = arg;
	struct err err;
	int64_t id;

	if (!api_id(req, "Hunting ruleset", &id))
		return;
	http_request_suspend(req);
	ruleset_begun(req,
		      ruleset_delete_if(api->svc, api_user_id(req), id, &by, condition_of(req),
					ruleset_deleted, req, &err),
		      &err);
}

/* ---- All of them ---- */

static void delete_rulesets_run(void *arg)
{
	struct ruleset_call *call = arg;
	const struct audit_by by = api_by(call->req);
	struct operation op;
	struct object o;
	struct err err;
	int rc = ruleset_delete_all(call->api->svc, by.user_id, &by, &op, &err);

	if (rc == 0)
		o = operation_object(&op, call->req->arena);
	if (rc == -ERR_BUSY)
		api_error(call->req, 429, "TooManyRequestsError",
			  "Hunting rulesets already being deleted");
	else if (rc)
		api_fail(call->req, rc, &err);
	else
		answer_one(call->api, call->req, NULL, &o);
	http_request_resume(call->req);
}

void delete_rulesets(struct http_request *req, void *arg)
{
	struct ruleset_call *call = arena_must(req->arena, sizeof *call);
	struct str confirmed = http_header(req, "x-confirm-delete");

	call->req = req;
	call->api = arg;
	if (confirmed.p && str_eq_z(confirmed, api_call_of(req)->user.name))
		api_run(req, arg, delete_rulesets_run, call);
	else
		api_error(req, 400, "BadRequestError",
			  "Send a x-confirm-delete header with your username as a confirmation");
}

/* ---- One ---- */

int ruleset_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		 struct object *ret, struct err *err)
{
	struct ruleset r;
	uint64_t number;

	if (!str_to_u64(id, INT64_MAX, &number))
		return err_set(err, ERR_NOT_FOUND, "no such ruleset");
	TRY(ruleset_get(api->svc, user_id, (int64_t)number, arena, &r, err));
	*ret = ruleset_object(&r, arena);
	return 0;
}

void get_ruleset(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_hunting_ruleset);
}

/* ---- The list ---- */

/* What page_rules.orders[i] is called below. */
static const enum ruleset_order orders[] = { RULESET_BY_NAME, RULESET_BY_CREATED,
					     RULESET_BY_MODIFIED };
static const char *const order_names[] = { "name", "creation_date", "modification_date", NULL };
const struct page_rules ruleset_rules = { .filter = true, .orders = order_names };

/* The position: "<id>.<value that the order looks at>". */
static struct str position_of(const struct ruleset_query *q, const struct ruleset *last,
			      struct arena *arena)
{
	AUTO(buf_release) struct buf text = BUF_INIT(PAGE_POSITION_BYTES);

	buf_addf(&text, "%lld.", (long long)last->id);
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
	return arena_str(arena, buf_str(&text));
}

static bool read_position(struct str text, struct ruleset_query *q)
{
	struct str id;
	uint64_t v;

	q->has_after = text.n > 0;
	if (!q->has_after)
		return true;
	if (!str_split(&text, '.', &id) || !str_to_u64(id, INT64_MAX, &v))
		return false;
	q->after_id = (int64_t)v;
	q->after_key = text.p ? text : STR("");
	return true;
}

/* The list of one user's rulesets, which is also what the user leads to. */
static int list_rulesets(struct api *api, int64_t owner_id, const struct page *page,
			 struct arena *arena, struct related *ret, struct err *err)
{
	struct ruleset_query q = { .owner_id = owner_id,
				   .order = page->ordered ? orders[page->order] : RULESET_BY_ID,
				   .descending = page->descending,
				   .limit = page->limit,
				   .filter = page->filter };
	struct ruleset_page found;
	struct object *objects;

	if (!read_position(page->position, &q))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(ruleset_list(api->svc, &q, arena, &found, err));
	objects = arena_must(arena, (found.count + 1) * sizeof *objects);
	for (size_t i = 0; i < found.count; i++)
		objects[i] = ruleset_object(&found.rows[i], arena);
	*ret = (struct related){ .objects = objects, .count = found.count, .total = found.total };
	if (found.more)
		ret->next = position_of(&q, &found.rows[found.count - 1], arena);
	return 0;
}

int user_rulesets(const struct related_ask *ask, struct related *ret, struct err *err)
{
	return list_rulesets(ask->api, ask->of->key, ask->page, ask->arena, ret, err);
}

static void get_rulesets_run(void *arg)
{
	struct ruleset_call *call = arg;
	struct http_request *req = call->req;
	struct related found;
	struct answer a;
	struct err err;
	int rc;

	answer_begin(&a, call->api, req, &call->view);
	rc = list_rulesets(call->api, api_user_id(req), &call->page, req->arena, &found, &err);
	answer_related(&a, &call->page, rc, &found, &err);
	http_request_resume(req);
}

void get_rulesets(struct http_request *req, void *arg)
{
	struct ruleset_call *call = arena_must(req->arena, sizeof *call);

	call->req = req;
	call->api = arg;
	if (view_read(req, &call->view) &&
	    page_read(arg, req, &ruleset_rules, STR(""), &call->view, &call->page))
		api_run(req, arg, get_rulesets_run, call);
}
