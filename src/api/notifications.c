#include "service/notifications.h"

#include <stdio.h>

#include "answer.h"
#include "api_internal.h"
#include "base/hex.h"
#include "relationship.h"

/*
 * Hunting notifications, as VirusTotal had them before the IoC Stream: a list of
 * notifications, and the same as a list of files. Both are views of the stream.
 */
enum {
	COUNT_LIMIT_NONE = 200,
	COUNT_LIMIT_MAX = 10000
};

static const char *const order_names[] = { "date", NULL };
const struct page_rules notification_rules = { .filter = true,
					       .orders = order_names,
					       .descending = true };

/* ---- What an entry says ---- */

/* The members of hunting_info as JSON; what is unknown as clients find it in recorded answers. */
struct hunting_facts {
	struct str match_in_subfile;
	struct str rule_name;
	struct str rule_tags;
	struct str snippet;
	struct str source_country;
	struct str source_key;
};

static struct hunting_facts facts_of(const struct stream_entry *e)
{
	struct hunting_facts f = { STR("false"), STR("\"\""), STR("[]"),
				   STR("\"\""),  STR("null"), STR("null") };
	const struct {
		const char *key;
		struct str *value;
	} members[] = {
		{ "match_in_subfile", &f.match_in_subfile },
		{ "rule_name", &f.rule_name },
		{ "rule_tags", &f.rule_tags },
		{ "snippet", &f.snippet },
		{ "source_country", &f.source_country },
		{ "source_key", &f.source_key },
	};
	struct str rest = e->info.p ? e->info : STR("{}"), key, member;

	while (view_next_member(&rest, &key, &member)) {
		size_t head = key.n + 3; /* its quotes and the colon */

		for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
			if (str_eq_z(key, members[i].key))
				*members[i].value = str_make(member.p + head, member.n - head);
	}
	return f;
}

static void put_raw(struct json *j, const char *key, struct str value)
{
	json_key(j, key);
	json_raw(j, value);
}

/* ---- As a notification ---- */

struct notification {
	const struct stream_entry *entry;
	struct str owner;
};

static void write_notification(struct json *j, const void *arg)
{
	const struct notification *n = arg;
	const struct stream_entry *e = n->entry;
	const struct hunting_facts f = facts_of(e);
	char sha256[2 * SHA256_BYTES + 1];

	hex_encode(e->entity_id.p, SHA256_BYTES, sha256);
	json_obj(j);
	json_kv_i64(j, "date", e->date_s);
	put_raw(j, "match_in_subfile", f.match_in_subfile);
	put_raw(j, "rule_name", f.rule_name);
	put_raw(j, "rule_tags", f.rule_tags);
	put_raw(j, "snippet", f.snippet);
	put_raw(j, "source_country", f.source_country);
	put_raw(j, "source_key", f.source_key);
	put_raw(j, "tags", e->tags);
	json_kv_str(j, "ruleset_name", e->label);
	json_kv_z(j, "file_sha256", sha256);
	json_kv_str(j, "owner", n->owner);
	json_obj_end(j);
}

static struct str number_text(struct arena *arena, int64_t v)
{
	return str_of(arena_printf(arena, "%lld", (long long)v));
}

/* So far rulesets tell of files alone. */
static bool is_of_file(const struct stream_entry *e)
{
	return e->entity_kind == STREAM_FILE && e->entity_id.n == SHA256_BYTES;
}

static struct object notification_object(const struct stream_entry *e, struct str owner,
					 struct arena *arena)
{
	const struct notification n = { e, owner };

	REQUIRE(is_of_file(e));
	return (struct object){ .type = &object_types[OBJECT_hunting_notification],
				.id = number_text(arena, e->seq),
				.key = e->seq,
				.attributes = object_json(arena, write_notification, &n) };
}

/* ---- As a file ---- */

static void write_context(struct json *j, const void *arg)
{
	const struct stream_entry *e = arg;
	const struct hunting_facts f = facts_of(e);
	char id[24];

	json_obj(j);
	put_raw(j, "match_in_subfile", f.match_in_subfile);
	json_kv_i64(j, "notification_date", e->date_s);
	snprintf(id, sizeof id, "%lld", (long long)e->seq);
	json_kv_z(j, "notification_id", id);
	put_raw(j, "notification_snippet", f.snippet);
	put_raw(j, "notification_source_country", f.source_country);
	put_raw(j, "notification_source_key", f.source_key);
	put_raw(j, "notification_tags", e->tags);
	put_raw(j, "rule_name", f.rule_name);
	put_raw(j, "rule_tags", f.rule_tags);
	snprintf(id, sizeof id, "%lld", (long long)e->source_id);
	json_kv_z(j, "ruleset_id", id);
	json_kv_str(j, "ruleset_name", e->label);
	json_obj_end(j);
}

static int notified_file(struct api *api, const struct stream_entry *e, struct arena *arena,
			 struct object *ret, struct err *err)
{
	REQUIRE(is_of_file(e));
	TRY(file_object_find(api, (const uint8_t *)e->entity_id.p, arena, ret, err));
	ret->context = object_json(arena, write_context, e);
	return 0;
}

/* ---- The lists ---- */

/* Which of the two, of whom. */
struct notification_list {
	int64_t owner_id;
	struct str owner;
	int64_t ruleset_id; /* 0: all */
	bool files;
	uint32_t count_limit;
};

static int list_entries(struct api *api, const struct notification_list *list,
			const struct page *page, struct arena *arena, struct related *ret,
			struct err *err)
{
	struct notification_query q = { .owner_id = list->owner_id,
					.owner = list->owner,
					.ruleset_id = list->ruleset_id,
					.filter = page->filter,
					.now_s = page->now_s,
					.oldest_first = !page->descending,
					.limit = page->limit,
					.count_limit = page->total < 0 ? list->count_limit : 0 };
	struct notification_page found;
	struct object *objects;

	if (!page_position_number(page->position, &q.position))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(notifications_read(api->svc, &q, arena, &found, err));
	objects = arena_must(arena, (found.count + 1) * sizeof *objects);
	for (size_t i = 0; i < found.count; i++) {
		if (list->files)
			TRY(notified_file(api, &found.entries[i], arena, &objects[i], err));
		else
			objects[i] = notification_object(&found.entries[i], list->owner, arena);
	}
	*ret = (struct related){ .objects = objects,
				 .count = found.count,
				 .total = page->total < 0 ? (int64_t)found.total : page->total };
	if (found.more)
		ret->next = page_position_of(arena, found.entries[found.count - 1].seq);
	return 0;
}

/* count_limit=1…10000 of the request; larger ones are cut. */
static int count_limit_of(struct http_request *req, uint32_t *ret, struct err *err)
{
	struct str text = http_query(req, "count_limit");
	uint64_t v = COUNT_LIMIT_NONE;

	if (text.p && (!str_to_u64(text, UINT32_MAX, &v) || v == 0))
		return err_set(err, ERR_INVALID, "\"count_limit\" must be a number from 1 to %d",
			       COUNT_LIMIT_MAX);
	*ret = v < COUNT_LIMIT_MAX ? (uint32_t)v : COUNT_LIMIT_MAX;
	return 0;
}

struct notifications_call {
	struct http_request *req;
	struct api *api;
	struct notification_list list;
	struct view view;
	struct page page;
	int64_t seq;
	struct str tag;
};

static void get_list_run(void *arg)
{
	struct notifications_call *call = arg;
	struct http_request *req = call->req;
	struct related found;
	struct answer a;
	struct err err;
	int rc;

	answer_begin(&a, call->api, req, &call->view);
	rc = list_entries(call->api, &call->list, &call->page, req->arena, &found, &err);
	answer_related(&a, &call->page, rc, &found, &err);
	http_request_resume(req);
}

static struct notifications_call *new_call(struct http_request *req, void *arg)
{
	struct notifications_call *call = arena_must(req->arena, sizeof *call);

	*call = (struct notifications_call){ .req = req, .api = arg };
	call->list.owner_id = api_user_id(req);
	call->list.owner = str_of(api_call_of(req)->user.name);
	return call;
}

static void get_list(struct http_request *req, void *arg, bool files)
{
	struct notifications_call *call = new_call(req, arg);
	struct err err;
	int rc = count_limit_of(req, &call->list.count_limit, &err);

	call->list.files = files;
	if (rc)
		api_fail(req, rc, &err);
	else if (view_read(req, &call->view) &&
		 page_read(arg, req, &notification_rules, STR(""), &call->view, &call->page))
		api_run(req, arg, get_list_run, call);
}

void get_hunting_notifications(struct http_request *req, void *arg)
{
	get_list(req, arg, false);
}

void get_hunting_notification_files(struct http_request *req, void *arg)
{
	get_list(req, arg, true);
}

/* ---- One ---- */

static int find_entry(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		      struct stream_entry *ret, struct err *err)
{
	uint64_t seq;

	if (!str_to_u64(id, INT64_MAX, &seq))
		return err_set(err, ERR_NOT_FOUND, "no such notification");
	return notification_get(api->svc, user_id, (int64_t)seq, arena, ret, err);
}

int hunting_notification_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
			      struct object *ret, struct err *err)
{
	struct stream_entry e;
	struct user owner;

	TRY(find_entry(api, user_id, id, arena, &e, err));
	TRY(user_by_id(api->svc, user_id, &owner, err));
	*ret = notification_object(&e, arena_str(arena, str_of(owner.name)), arena);
	return 0;
}

void get_hunting_notification(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_hunting_notification);
}

static void answer_removed(struct http_request *req, int rc, const struct err *err)
{
	if (rc == -ERR_BUSY)
		api_error(req, 429, "TooManyRequestsError",
			  "Notifications already being deleted. Depending on volume this may take "
			  "a while.");
	else if (rc)
		api_fail(req, rc, err);
	else
		api_send_empty(req);
	http_request_resume(req);
}

static void delete_one_run(void *arg)
{
	struct notifications_call *call = arg;
	const struct audit_by by = api_by(call->req);
	struct err err;
	int rc = stream_remove(call->api->svc, call->list.owner_id, call->seq, &by, &err);

	if (rc == -ERR_NOT_FOUND) {
		api_not_found(call->req, "Hunting notification", call->req->params[0]);
		http_request_resume(call->req);
		return;
	}
	answer_removed(call->req, rc, &err);
}

void delete_hunting_notification(struct http_request *req, void *arg)
{
	struct notifications_call *call = new_call(req, arg);

	if (api_id(req, "Hunting notification", &call->seq))
		api_run(req, arg, delete_one_run, call);
}

static void delete_many_run(void *arg)
{
	struct notifications_call *call = arg;
	const struct audit_by by = api_by(call->req);
	struct err err;
	int rc = notifications_remove(call->api->svc, call->list.owner_id, call->tag, &by, &err);

	answer_removed(call->req, rc, &err);
}

void delete_hunting_notifications(struct http_request *req, void *arg)
{
	struct notifications_call *call = new_call(req, arg);

	call->tag = http_query(req, "tag");
	api_run(req, arg, delete_many_run, call);
}

/* ---- What leads to them, and where they lead ---- */

int notification_file(const struct related_ask *ask, struct related *ret, struct err *err)
{
	struct stream_entry e;
	struct object *file = arena_must(ask->arena, sizeof *file);

	TRY(notification_get(ask->api->svc, ask->user_id, ask->of->key, ask->arena, &e, err));
	TRY(file_object_find(ask->api, (const uint8_t *)e.entity_id.p, ask->arena, file, err));
	*ret = (struct related){ .objects = file, .count = 1, .total = 1 };
	return 0;
}

static int list_of_user(const struct related_ask *ask, int64_t owner_id, int64_t ruleset_id,
			bool files, struct related *ret, struct err *err)
{
	struct notification_list list = { .owner_id = owner_id,
					  .ruleset_id = ruleset_id,
					  .files = files };
	struct user owner;

	TRY(user_by_id(ask->api->svc, owner_id, &owner, err));
	list.owner = arena_str(ask->arena, str_of(owner.name));
	TRY(count_limit_of(ask->req, &list.count_limit, err));
	return list_entries(ask->api, &list, ask->page, ask->arena, ret, err);
}

int ruleset_notification_files(const struct related_ask *ask, struct related *ret, struct err *err)
{
	return list_of_user(ask, ask->user_id, ask->of->key, true, ret, err);
}

/* ---- The same lists below /users/{id} ---- */

int user_notifications(const struct related_ask *ask, struct related *ret, struct err *err)
{
	return list_of_user(ask, ask->of->key, 0, false, ret, err);
}

int user_notification_files(const struct related_ask *ask, struct related *ret, struct err *err)
{
	return list_of_user(ask, ask->of->key, 0, true, ret, err);
}
