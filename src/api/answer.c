#include "answer.h"

#include "api_internal.h"
#include "relationship.h"

enum {
	ANSWER_FIRST_BYTES = 2048 /* an object fits without growing */
};

void answer_begin(struct answer *a, struct api *api, struct http_request *req,
		  const struct view *view)
{
	*a = (struct answer){
		.api = api, .req = req, .view = view, .out = BUF_INIT(API_RESPONSE_MAX)
	};
	(void)buf_reserve(&a->out, ANSWER_FIRST_BYTES); /* if not now, it grows or fails later */
	json_init(&a->json, &a->out);
	json_obj(&a->json);
}

void answer_fail(struct answer *a, int rc, const struct err *err)
{
	if (a->rc || !rc)
		return;
	a->rc = rc;
	a->err = *err;
}

void answer_send(struct answer *a)
{
	if (a->rc) {
		buf_release(&a->out);
		api_fail(a->req, a->rc, &a->err);
		return;
	}
	json_obj_end(&a->json);
	json_end(&a->json);
	api_send(a->req, &a->out);
}

void answer_list(struct answer *a)
{
	json_key(&a->json, "data");
	json_arr(&a->json);
}

void answer_list_end(struct answer *a, const struct page *page, struct str next, int64_t total)
{
	json_arr_end(&a->json);
	page_put_end(&a->json, a->req, page, next, total);
}

void answer_related(struct answer *a, const struct page *page, int rc, const struct related *found,
		    const struct err *err)
{
	answer_fail(a, rc, err);
	if (!rc) {
		answer_list(a);
		for (size_t i = 0; i < found->count; i++)
			object_put(a, &found->objects[i]);
		answer_list_end(a, page, found->next, found->total);
	}
	answer_send(a);
}

void answer_one(struct api *api, struct http_request *req, const struct view *view,
		const struct object *o)
{
	struct answer a;

	answer_begin(&a, api, req, view);
	json_key(&a.json, "data");
	if (o)
		object_put(&a, o);
	else
		json_put_null(&a.json);
	if (o && o->meta.p) {
		json_key(&a.json, "meta");
		json_raw(&a.json, o->meta);
	}
	answer_send(&a);
}
