#include "object.h"

#include "answer.h"
#include "api_internal.h"
#include "relationship.h"

const struct object_type object_types[OBJECT_KIND_COUNT] = {
#define OBJECT_TYPE(name_, path_, title_, find_)                                                   \
	[OBJECT_##name_] = { .name = #name_, .path = (path_), .title = (title_), .find = (find_) },
#include "object_types.def"
#undef OBJECT_TYPE
};

/* ---- Writing ---- */

/* Where it was: no attributes, but why. VirusTotal's form of an object that is gone. */
static void put_gone(struct json *j, const struct object *o)
{
	AUTO(buf_release) struct buf text = BUF_INIT(4096);

	buf_addf(&text, "%s with id \"" STR_FMT "\" not found", o->type->name, STR_ARG(o->id));
	json_key(j, "error");
	json_obj(j);
	json_kv_z(j, "code", "NotFoundError");
	json_kv_str(j, "message", buf_str(&text));
	json_obj_end(j);
}

void object_put(struct answer *a, const struct object *o)
{
	struct json *j = &a->json;
	bool descriptor = a->view && a->view->descriptors;

	json_obj(j);
	json_kv_z(j, "type", o->type->name);
	json_kv_str(j, "id", o->id);
	if (!descriptor) {
		api_links_self(j, a->req, "/%s/" STR_FMT, o->type->path, STR_ARG(o->id));
		if (o->attributes.p)
			view_put_attributes(j, a->view, o->attributes);
		else
			put_gone(j, o);
	}
	if (a->view && a->view->relationships.count && (descriptor || o->attributes.p))
		relationships_put(a, o);
	if (o->context.p) {
		json_key(j, "context_attributes");
		json_raw(j, o->context);
	}
	json_obj_end(j);
}

struct str object_json(struct arena *arena, void (*write)(struct json *j, const void *arg),
		       const void *arg)
{
	AUTO(buf_release) struct buf out = BUF_INIT(API_RESPONSE_MAX);
	struct json j;

	json_init(&j, &out);
	write(&j, arg);
	json_end(&j);
	REQUIRE(!buf_failed(&out));
	return arena_str(arena, buf_str(&out));
}

/* ---- One by its id ---- */

struct object_call {
	struct api *api;
	struct http_request *req;
	const struct object_type *type;
	struct view view;
};

static void send_found(const struct object_call *call)
{
	struct http_request *req = call->req;
	struct object o;
	struct err err;
	int rc = object_find(call->api, req, call->type, &o, &err);

	if (!api_charge_found(req, rc == 0, o.is_own))
		return;
	if (rc)
		object_fail(req, call->type, rc, &err);
	else
		answer_one(call->api, req, &call->view, &o);
}

static void send_found_run(void *arg)
{
	const struct object_call *call = arg;
	struct http_request *req = call->req;

	send_found(call);
	http_request_resume(req);
}

void object_get(struct http_request *req, struct api *api, enum object_kind kind)
{
	struct object_call *call = arena_must(req->arena, sizeof *call);

	*call = (struct object_call){ .api = api, .req = req, .type = &object_types[kind] };
	if (!view_read(req, &call->view))
		return;
	call->view.descriptors = false; /* that is for lists */
	if (call->view.relationships.count)
		api_run(req, api, send_found_run, call);
	else
		send_found(call);
}

int object_find(struct api *api, struct http_request *req, const struct object_type *type,
		struct object *ret, struct err *err)
{
	*ret = (struct object){ .type = type };
	if (!type->find)
		return err_set(err, ERR_NOT_FOUND, "weir has no %s", type->name);
	return type->find(api, api_user_id(req), req->params[0], req->arena, ret, err);
}

void object_fail(struct http_request *req, const struct object_type *type, int rc,
		 const struct err *err)
{
	if (rc == -ERR_NOT_FOUND)
		api_not_found(req, type->title, req->params[0]);
	else
		api_fail(req, rc, err);
}
