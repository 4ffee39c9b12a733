#include "api_internal.h"

#include <stdio.h>

#include "base/hex.h"
#include "service/stream.h"

/* ---- What was asked ---- */

struct stream_call {
	struct http_request *req;
	struct api *api;
	struct stream_request ask;
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

static bool read_ask(struct http_request *req, struct stream_request *ask)
{
	struct str limit = http_query(req, "limit");

	ask->owner_id = api_user_id(req);
	ask->filter = http_query(req, "filter");
	ask->cursor = http_query(req, "cursor");
	ask->has_limit = limit.p != NULL;
	ask->has_descriptors_only = http_query(req, "descriptors_only").p != NULL;
	return api_limit(req, 10, LIMIT_PAGE, &ask->limit) &&
	       api_bool(req, "descriptors_only", false, &ask->descriptors_only) &&
	       read_order(req, ask);
}

/* ---- An entry as an object ---- */

static void put_entity_id(struct json *j, const struct stream_entry *e)
{
	char hex[2 * SHA256_BYTES + 1];

	if (e->entity_kind == STREAM_FILE || e->entity_kind == STREAM_URL) {
		REQUIRE(e->entity_id.n == SHA256_BYTES);
		hex_encode(e->entity_id.p, SHA256_BYTES, hex);
		json_z(j, hex);
	} else {
		json_str(j, e->entity_id);
	}
}

static void put_sources(struct json *j, const struct stream_entry *e)
{
	char id[24];

	snprintf(id, sizeof id, "%lld", (long long)e->source_id);
	json_key(j, "sources");
	json_arr(j);
	json_obj(j);
	json_kv_z(j, "type", stream_source_name(e->source_kind));
	json_kv_z(j, "id", id);
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

static void put_context(struct json *j, const struct stream_entry *e)
{
	char id[24];

	snprintf(id, sizeof id, "%lld", (long long)e->seq);
	json_key(j, "context_attributes");
	json_obj(j);
	json_kv_z(j, "notification_id", id);
	json_kv_i64(j, "notification_date", e->date_s);
	json_kv_z(j, "origin", stream_origin_name(e->source_kind));
	put_sources(j, e);
	json_key(j, "tags");
	json_raw(j, e->tags);
	put_hunting_info(j, e);
	json_obj_end(j);
}

/* A file that was removed since: no attributes, but why. */
static void put_gone(struct json *j, const char *type, const char *id)
{
	char text[160];

	snprintf(text, sizeof text, "%s with id \"%.100s\" not found", type, id);
	json_key(j, "error");
	json_obj(j);
	json_kv_z(j, "code", "NotFoundError");
	json_kv_z(j, "message", text);
	json_obj_end(j);
}

static void put_entry(struct json *j, struct http_request *req, const struct stream_entry *e,
		      struct str report, bool descriptor)
{
	static const char *const collections[] = { "", "files", "urls", "domains", "ip_addresses" };
	char id[300];

	REQUIRE(e->entity_kind >= 1 && e->entity_kind <= STREAM_KIND_MAX);
	if (e->entity_kind == STREAM_FILE || e->entity_kind == STREAM_URL)
		hex_encode(e->entity_id.p, SHA256_BYTES, id);
	else
		snprintf(id, sizeof id, STR_FMT, STR_ARG(e->entity_id));
	json_obj(j);
	json_kv_z(j, "type", stream_entity_name(e->entity_kind));
	json_key(j, "id");
	put_entity_id(j, e);
	if (!descriptor) {
		api_links_self(j, req, "/%s/%s", collections[e->entity_kind], id);
		if (report.n) {
			json_key(j, "attributes");
			json_raw(j, report);
		} else {
			put_gone(j, stream_entity_name(e->entity_kind), id);
		}
	}
	put_context(j, e);
	json_obj_end(j);
}

/* ---- The page ---- */

static void put_query_text(struct buf *link, const struct stream_answer *answer, struct str cursor)
{
	buf_add_z(link, "/ioc_stream?");
	if (answer->filter.n) {
		buf_add_z(link, "filter=");
		api_query_escape(link, answer->filter);
		buf_add_c(link, '&');
	}
	buf_addf(link, "limit=%u&order=date%s&descriptors_only=%s", answer->limit,
		 answer->oldest_first ? "%2B" : "-", answer->descriptors_only ? "true" : "false");
	if (cursor.n) {
		buf_add_z(link, "&cursor=");
		buf_add_str(link, cursor);
	}
}

/* Both absolute; self replays this very page, next goes on. */
static void put_links(struct json *j, struct http_request *req, const struct stream_answer *answer,
		      struct str cursor)
{
	AUTO(buf_release) struct buf link = BUF_INIT(8 * LIMIT_CURSOR_BYTES);

	json_key(j, "links");
	json_obj(j);
	api_link(&link, req, "%s", "");
	put_query_text(&link, answer, cursor);
	json_kv_str(j, "self", buf_str(&link));
	if (answer->next.n) {
		buf_reset(&link);
		api_link(&link, req, "%s", "");
		put_query_text(&link, answer, answer->next);
		json_kv_str(j, "next", buf_str(&link));
	}
	json_obj_end(j);
}

static void send_page(struct http_request *req, const struct stream_answer *answer,
		      struct str cursor)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "data");
	json_arr(&j);
	for (size_t i = 0; i < answer->count; i++)
		put_entry(&j, req, &answer->entries[i],
			  answer->reports ? answer->reports[i] : STR(""), answer->descriptors_only);
	json_arr_end(&j);
	json_key(&j, "meta");
	json_obj(&j);
	json_kv_i64(&j, "count", (int64_t)answer->total);
	if (answer->next.n)
		json_kv_str(&j, "cursor", answer->next);
	json_obj_end(&j);
	put_links(&j, req, answer, cursor);
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
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
		send_page(req, &answer, call->ask.cursor);
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

	if (read_ask(req, &call->ask))
		api_run(req, arg, get_stream_run, call);
}

/* ---- Deleting ---- */

static void delete_stream_run(void *arg)
{
	struct stream_call *call = arg;
	struct http_request *req = call->req;
	struct err err;
	int rc = stream_remove_matching(call->api->svc, call->ask.owner_id, call->ask.filter, &err);

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
	struct err err;
	int rc = stream_remove(call->api->svc, call->ask.owner_id, call->seq, &err);

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

static void put_notification(struct json *j, struct http_request *req, const struct stream_entry *e)
{
	json_kv_z(j, "type", "ioc_stream_notification");
	json_kv_str(j, "id", req->params[0]);
	api_links_self(j, req, "/ioc_stream_notifications/" STR_FMT, STR_ARG(req->params[0]));
	json_key(j, "attributes");
	json_obj(j);
	json_kv_i64(j, "date", e->date_s);
	json_kv_i64(j, "notification_date", e->date_s);
	json_kv_z(j, "entity_type", stream_entity_name(e->entity_kind));
	json_key(j, "entity_id");
	put_entity_id(j, e);
	json_kv_z(j, "origin", stream_origin_name(e->source_kind));
	put_sources(j, e);
	json_key(j, "tags");
	json_raw(j, e->tags);
	put_hunting_info(j, e);
	json_obj_end(j);
}

void get_notification(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	struct stream_entry e;
	struct json j;
	struct err err;
	int64_t seq;
	int rc;

	if (!api_id(req, "Notification", &seq))
		return;
	rc = stream_find(api->svc, api_user_id(req), seq, req->arena, &e, &err);
	if (rc == -ERR_NOT_FOUND) {
		api_not_found(req, "Notification", req->params[0]);
		return;
	}
	if (rc) {
		api_fail(req, rc, &err);
		return;
	}
	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "data");
	json_obj(&j);
	put_notification(&j, req, &e);
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
}
