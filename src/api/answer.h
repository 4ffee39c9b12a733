#ifndef API_ANSWER_H
#define API_ANSWER_H
#include "base/json.h"
#include "object.h"
#include "page.h"
#include "view.h"

/*
 * An answer of objects while it is written. Failure is sticky: put in all there
 * is, `answer_send` sends it, or the error that came first.
 *
 *	struct answer a;
 *
 *	answer_begin(&a, api, req, &view);
 *	answer_list(&a);                                "data": [
 *	for (…)
 *		object_put(&a, &objects[i]);
 *	answer_list_end(&a, &page, next, total);        ], "meta": …, "links": …
 *	answer_send(&a);
 *
 * Objects whose view embeds relationships read the database: write such answers
 * on the pool (api_run), not on an HTTP loop.
 */
struct answer {
	struct api *api;
	struct http_request *req;
	const struct view *view; /* of the objects in it */
	struct buf out;
	struct json json;
	int rc; /* the first failure; 0 so far */
	struct err err;
};

/* `view` NULL: everything. It must live until the answer is sent. */
void answer_begin(struct answer *a, struct api *api, struct http_request *req,
		  const struct view *view);
void answer_send(struct answer *a);
/* rc < 0: this is what will be sent. */
void answer_fail(struct answer *a, int rc, const struct err *err);

void answer_list(struct answer *a);
/*
 * `next`: the position behind the last object (page.h), empty on the last page.
 * `total`: all there are; negative: unknown, no meta.count.
 */
void answer_list_end(struct answer *a, const struct page *page, struct str next, int64_t total);

/*
 * All of a list and send: what finding it returned (`rc`, with `err`) and found.
 */
struct related;
void answer_related(struct answer *a, const struct page *page, int rc, const struct related *found,
		    const struct err *err);

/* {"data": object}; `o` NULL: null. From begin to send. */
void answer_one(struct api *api, struct http_request *req, const struct view *view,
		const struct object *o);
#endif
