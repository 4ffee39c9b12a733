#include "relationship.h"

#include "answer.h"
#include "api_internal.h"

const struct relationship relationships[] = {
#define RELATIONSHIP(of_, name_, target_, arity_, list_, rules_, description_)                     \
	{ .of = OBJECT_##of_,                                                                      \
	  .name = #name_,                                                                          \
	  .target = #target_,                                                                      \
	  .many = RELATIONSHIP_##arity_,                                                           \
	  .list = (list_),                                                                         \
	  .rules = (rules_),                                                                       \
	  .description = (description_) },
#define RELATIONSHIP_ONE false
#define RELATIONSHIP_MANY true
#include "relationships.def"
#undef RELATIONSHIP
};
const size_t relationship_count = sizeof relationships / sizeof relationships[0];

const struct relationship *relationship_find(enum object_kind of, struct str name)
{
	for (size_t i = 0; i < relationship_count; i++) {
		if (relationships[i].of == of && str_eq_z(name, relationships[i].name))
			return &relationships[i];
	}
	return NULL;
}

/* ---- What stands there ---- */

/* "file/<sha256>/submissions": which list it is, for cursors. */
static struct str list_name(struct arena *arena, const struct object *o,
			    const struct relationship *r)
{
	return str_of(
		arena_printf(arena, "%s/" STR_FMT "/%s", o->type->name, STR_ARG(o->id), r->name));
}

static int list(struct answer *a, const struct relationship *r, const struct object *o,
		const struct page *page, const struct view *view, struct related *ret,
		struct err *err)
{
	const struct related_ask ask = { .api = a->api,
					 .req = a->req,
					 .user_id = api_user_id(a->req),
					 .of = o,
					 .page = page,
					 .descriptors = view->descriptors &&
							!view->relationship_attributes.count,
					 .arena = a->req->arena };

	*ret = (struct related){ .next = STR(""), .total = r->list ? -1 : 0 };
	if (r->list)
		TRY(r->list(&ask, ret, err));
	REQUIRE(r->many || (ret->count <= 1 && !ret->next.n));
	REQUIRE(ret->count || !ret->next.n); /* never an empty page with a cursor */
	return 0;
}

static void put_data(struct answer *a, const struct relationship *r, const struct related *found)
{
	json_key(&a->json, "data");
	if (r->many)
		json_arr(&a->json);
	for (size_t i = 0; i < found->count; i++)
		object_put(a, &found->objects[i]);
	if (r->many)
		json_arr_end(&a->json);
	else if (!found->count)
		json_put_null(&a->json);
}

/* ---- Embedded in an object ---- */

static void put_links_of_one(struct answer *a, const struct object *o, const struct relationship *r)
{
	AUTO(buf_release) struct buf link = BUF_INIT(8192);

	json_key(&a->json, "links");
	json_obj(&a->json);
	api_link(&link, a->req, "/%s/" STR_FMT "/relationships/%s", o->type->path, STR_ARG(o->id),
		 r->name);
	json_kv_str(&a->json, "self", buf_str(&link));
	buf_reset(&link);
	api_link(&link, a->req, "/%s/" STR_FMT "/%s", o->type->path, STR_ARG(o->id), r->name);
	json_kv_str(&a->json, "related", buf_str(&link));
	json_obj_end(&a->json);
}

/* The descriptors, with the attributes that relationship_attributes= names. */
static void put_embedded(struct answer *a, const struct object *o, const struct relationship *r)
{
	const struct view *whole = a->view;
	struct view embedded = { .descriptors = !whole->relationship_attributes.count,
				 .attributes = whole->relationship_attributes,
				 .relationship_attributes = whole->relationship_attributes };
	struct arena *arena = a->req->arena;
	struct str path = str_of(arena_printf(arena, "/api/v3/%s/" STR_FMT "/relationships/%s",
					      o->type->path, STR_ARG(o->id), r->name));
	struct related found;
	struct page page;
	struct err err;

	page_first(&page, a->api, a->req, r->rules, list_name(arena, o, r), path);
	page.related = str_of(arena_printf(arena, "/api/v3/%s/" STR_FMT "/%s", o->type->path,
					   STR_ARG(o->id), r->name));
	answer_fail(a, list(a, r, o, &page, &embedded, &found, &err), &err);
	json_key(&a->json, r->name);
	json_obj(&a->json);
	if (a->rc)
		found = (struct related){ .next = STR(""), .total = 0 };
	a->view = &embedded;
	put_data(a, r, &found);
	a->view = whole;
	if (r->many)
		page_put_end(&a->json, a->req, &page, found.next, found.total);
	else
		put_links_of_one(a, o, r);
	json_obj_end(&a->json);
}

void relationships_put(struct answer *a, const struct object *o)
{
	const struct view_names *names = &a->view->relationships;
	enum object_kind kind = (enum object_kind)(o->type - object_types);

	json_key(&a->json, "relationships");
	json_obj(&a->json);
	for (size_t i = 0; i < names->count; i++) {
		const struct relationship *r = relationship_find(kind, names->names[i]);

		if (r)
			put_embedded(a, o, r);
	}
	json_obj_end(&a->json);
}

/* ---- Asked for by itself ---- */

struct related_call {
	struct api *api;
	struct http_request *req;
	const struct relationship *of;
	struct view view;
};

static void send_related(const struct related_call *call, const struct object *o)
{
	struct http_request *req = call->req;
	struct view view = call->view;
	struct related found = { .count = 0 };
	struct answer a;
	struct page page;
	struct err err;
	int rc;

	if (!page_read(call->api, req, call->of->rules, list_name(req->arena, o, call->of), &view,
		       &page))
		return;
	answer_begin(&a, call->api, req, &view);
	rc = list(&a, call->of, o, &page, &view, &found, &err);
	if (rc) {
		answer_fail(&a, rc, &err);
		answer_send(&a);
		return;
	}
	put_data(&a, call->of, &found);
	if (call->of->many)
		page_put_end(&a.json, req, &page, found.next, found.total);
	else
		put_links_of_one(&a, o, call->of);
	answer_send(&a);
}

static void related_run(void *arg)
{
	const struct related_call *call = arg;
	struct http_request *req = call->req;
	const struct object_type *type = &object_types[call->of->of];
	struct object o;
	struct err err;
	int rc = object_find(call->api, req, type, &o, &err);

	if (rc)
		object_fail(req, type, rc, &err);
	else
		send_related(call, &o);
	http_request_resume(req);
}

/* The type whose path the request's route begins with: "/api/v3/files/{id}/…". */
static enum object_kind kind_of_route(const struct http_route *route)
{
	struct str rest = str_of(route->pattern + strlen("/api/v3/"));

	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
		struct str path = str_of(object_types[kind].path);

		if (str_starts(rest, path) && rest.n > path.n && rest.p[path.n] == '/')
			return (enum object_kind)kind;
	}
	REQUIRE(false); /* a route of a relationship stands below no object type */
	return OBJECT_KIND_COUNT;
}

static void get_relationship(struct http_request *req, struct api *api, bool descriptors)
{
	struct related_call *call = arena_must(req->arena, sizeof *call);

	*call = (struct related_call){ .api = api,
				       .req = req,
				       .of = relationship_find(kind_of_route(req->route),
							       req->params[1]) };
	if (!call->of) {
		api_not_found(req, "Relationship", req->params[1]);
		return;
	}
	if (!view_read(req, &call->view))
		return;
	if (descriptors) {
		call->view.descriptors = true;
		call->view.descriptors_given = true;
	}
	api_run(req, api, related_run, call);
}

void get_related(struct http_request *req, void *arg)
{
	get_relationship(req, arg, false);
}

void get_related_descriptors(struct http_request *req, void *arg)
{
	get_relationship(req, arg, true);
}
