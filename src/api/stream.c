#include "answer.h"
#include "api_internal.h"

#include <stdio.h>

#include "base/hex.h"
#include "service/stream.h"

/* ---- What was asked ---- */

struct stream_call {
	struct http_request *req;
	struct api *api;
	struct stream_request ask;
	struct view view;
	int64_t seq;
};

/* order=date-, date+, date; the plus may have become a blank. */
static bool read_order(struct http_request *req, struct stream_request *ask)
{
	struct str text = http_query(req, "order");

	ask->has_order = text.p && text.n;
	if (!ask->has_order || str_eq_z(text, "date-"))
		return true;
	ask->oldest_first =
		str_eq_z(text, "date+") || str_eq_z(text, "date ") || str_eq_z(text, "date");
	if (ask->oldest_first)
		return true;
	api_error(req, 400, "BadRequestError",
		  "order \"" STR_FMT "\" is not valid. Valid orders are: date-,date+",
		  STR_ARG(text.n > 64 ? str_make(text.p, 64) : text));
	return false;
}

static bool read_ask(struct http_request *req, struct view *view, struct stream_request *ask)
{
	struct str limit = http_query(req, "limit");

	ask->owner_id = api_user_id(req);
	ask->filter = http_query(req, "filter");
	ask->cursor = http_query(req, "cursor");
	ask->has_limit = limit.p != NULL;
	if (!view_read(req, view))
		return false;
	ask->has_descriptors_only = view->descriptors_given;
	ask->descriptors_only = view->descriptors;
	return api_limit(req, PAGE_LIMIT_NONE, LIMIT_PAGE, &ask->limit) && read_order(req, ask);
}

/* ---- An entry as an object ---- */

/* The kinds of entities are types of objects. */
static const enum object_kind kinds[STREAM_KIND_MAX + 1] = {
	[STREAM_FILE] = OBJECT_file,
	[STREAM_URL] = OBJECT_url,
	[STREAM_DOMAIN] = OBJECT_domain,
	[STREAM_IP_ADDRESS] = OBJECT_ip_address,
};

static struct str entity_id(const struct stream_entry *e, struct arena *arena)
{
	char *hex;

	if (e->entity_kind != STREAM_FILE && e->entity_kind != STREAM_URL)
		return e->entity_id;
	REQUIRE(e->entity_id.n == SHA256_BYTES);
	hex = arena_must(arena, 2 * SHA256_BYTES + 1);
	hex_encode(e->entity_id.p, SHA256_BYTES, hex);
	return str_of(hex);
}

static void put_sources(struct json *j, const struct stream_entry *e)
{
	char id[24];

	snprintf(id, sizeof id, "%lld", (long long)e->source_id);
	json_key(j, "sources");
	json_arr(j);
	json_obj(j);
	json_kv_z(j, "type", stream_source_name(e->source_kind));
	/* A job is known by its name, which is its label and never changes. */
	json_kv_str(j, "id", e->source_kind == STREAM_RETROHUNT ? e->label : str_of(id));
	json_kv_str(j, "label", e->label);
	json_obj_end(j);
	json_arr_end(j);
}

static void put_hunting_info(struct json *j, const struct stream_entry *e)
{
	json_key(j, "hunting_info");
	if (e->info.p)
		json_raw(j, e->info);
	else
		json_put_null(j);
}

static void write_context(struct json *j, const void *arg)
{
	const struct stream_entry *e = arg;
	char id[24];

	snprintf(id, sizeof id, "%lld", (long long)e->seq);
	json_obj(j);
	json_kv_z(j, "notification_id", id);
	json_kv_i64(j, "notification_date", e->date_s);
	json_kv_z(j, "origin", stream_origin_name(e->source_kind));
	put_sources(j, e);
	json_key(j, "tags");
	json_raw(j, e->tags);
	put_hunting_info(j, e);
	if (e->url.n)
		json_kv_str(j, "url", e->url);
	json_obj_end(j);
}

/* The entity, and in its context why it is there. */
static struct object entry_object(const struct stream_entry *e, struct str report,
				  struct arena *arena)
{
	REQUIRE(e->entity_kind >= 1 && e->entity_kind <= STREAM_KIND_MAX);
	return (struct object){ .type = &object_types[kinds[e->entity_kind]],
				.id = entity_id(e, arena),
				.attributes = report.n ? report : (struct str){ NULL, 0 },
				.context = object_json(arena, write_context, e) };
}

/* ---- The page ---- */

static void put_links(struct json *j, struct http_request *req, const struct stream_answer *answer,
		      struct str cursor)
{
	const struct page_links links = {
		.filter = answer->filter.n ? answer->filter : (struct str){ NULL, 0 },
		.limit = answer->limit,
		.order = answer->oldest_first ? STR("date+") : STR("date-"),
		.descriptors_only = answer->descriptors_only ? STR("true") : STR("false"),
		.cursor = cursor,
		.next = answer->next,
	};

	page_put_links(j, req, &links);
}

/* What the entity leads to is found by its number. */
static void find_key(struct answer *a, const struct stream_entry *e, struct object *o)
{
	struct object file;
	struct err err;

	if (e->entity_kind != STREAM_FILE)
		return;
	answer_fail(a,
		    file_object_find(a->api, (const uint8_t *)e->entity_id.p, a->req->arena, &file,
				     &err),
		    &err);
	if (!a->rc)
		o->key = file.key;
}

static void send_page(struct stream_call *call, const struct stream_answer *answer)
{
	struct http_request *req = call->req;
	struct answer a;

	call->view.descriptors = answer->descriptors_only;
	answer_begin(&a, call->api, req, &call->view);
	answer_list(&a);
	for (size_t i = 0; i < answer->count; i++) {
		struct object o =
			entry_object(&answer->entries[i],
				     answer->reports ? answer->reports[i] : STR(""), req->arena);

		if (call->view.relationships.count)
			find_key(&a, &answer->entries[i], &o);
		object_put(&a, &o);
	}
	json_arr_end(&a.json);
	page_put_meta(&a.json, (int64_t)answer->total, answer->next);
	put_links(&a.json, req, answer, answer->self.n ? answer->self : call->ask.cursor);
	answer_send(&a);
}

static void get_stream_run(void *arg)
{
	struct stream_call *call = arg;
	struct http_request *req = call->req;
	struct stream_answer answer;
	struct err err;
	int rc = stream_read(call->api->svc, &call->ask, req->arena, &answer, &err);

	if (rc)
		api_fail(req, rc, &err);
	else
		send_page(call, &answer);
	http_request_resume(req);
}

static struct stream_call *new_call(struct http_request *req, void *arg)
{
	struct stream_call *call = arena_must(req->arena, sizeof *call);

	call->req = req;
	call->api = arg;
	return call;
}

void get_stream(struct http_request *req, void *arg)
{
	struct stream_call *call = new_call(req, arg);

	if (read_ask(req, &call->view, &call->ask))
		api_run(req, arg, get_stream_run, call);
}

/* ---- Deleting ---- */

static void delete_stream_run(void *arg)
{
	struct stream_call *call = arg;
	struct http_request *req = call->req;
	const struct audit_by by = api_by(req);
	struct err err;
	int rc = stream_remove_matching(call->api->svc, call->ask.owner_id, call->ask.filter, &by,
					&err);

	if (rc == -ERR_BUSY)
		api_error(
			req, 429, "TooManyRequestsError",
			"Notifications already being deleted. Depending on volume this may take a "
			"while.");
	else if (rc)
		api_fail(req, rc, &err);
	else
		api_send_empty(req);
	http_request_resume(req);
}

void delete_stream(struct http_request *req, void *arg)
{
	struct stream_call *call = new_call(req, arg);
	struct str filter = http_query(req, "filter");

	call->ask.owner_id = api_user_id(req);
	call->ask.filter = filter.p ? filter : STR("");
	api_run(req, arg, delete_stream_run, call);
}

static void delete_notification_run(void *arg)
{
	struct stream_call *call = arg;
	struct http_request *req = call->req;
	const struct audit_by by = api_by(req);
	struct err err;
	int rc = stream_remove(call->api->svc, call->ask.owner_id, call->seq, &by, &err);

	if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "Notification", req->params[0]);
	else if (rc)
		api_fail(req, rc, &err);
	else
		api_send_empty(req);
	http_request_resume(req);
}

void delete_notification(struct http_request *req, void *arg)
{
	struct stream_call *call = new_call(req, arg);

	call->ask.owner_id = api_user_id(req);
	if (api_id(req, "Notification", &call->seq))
		api_run(req, arg, delete_notification_run, call);
}

/* ---- One notification ---- */

static void write_notification(struct json *j, const void *arg)
{
	const struct stream_entry *e = arg;
	char hex[2 * SHA256_BYTES + 1];

	json_obj(j);
	json_kv_i64(j, "date", e->date_s);
	json_kv_i64(j, "notification_date", e->date_s);
	json_kv_z(j, "entity_type", stream_entity_name(e->entity_kind));
	if (e->entity_kind == STREAM_FILE || e->entity_kind == STREAM_URL) {
		hex_encode(e->entity_id.p, SHA256_BYTES, hex);
		json_kv_z(j, "entity_id", hex);
	} else {
		json_kv_str(j, "entity_id", e->entity_id);
	}
	json_kv_z(j, "origin", stream_origin_name(e->source_kind));
	put_sources(j, e);
	json_key(j, "tags");
	json_raw(j, e->tags);
	put_hunting_info(j, e);
	json_obj_end(j);
}

int notification_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		      struct object *ret, struct err *err)
{
	struct stream_entry e;
	uint64_t seq;

	if (!str_to_u64(id, INT64_MAX, &seq))
		return err_set(err, ERR_NOT_FOUND, "no such notification");
	TRY(stream_find(api->svc, user_id, (int64_t)seq, arena, &e, err));
	*ret = (struct object){ .type = &object_types[OBJECT_ioc_stream_notification],
				.id = id,
				.key = e.seq,
				.attributes = object_json(arena, write_notification, &e) };
	return 0;
}

void get_notification(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_ioc_stream_notification);
}
