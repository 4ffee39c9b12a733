#ifndef API_RELATIONSHIP_H
#define API_RELATIONSHIP_H
#include "object.h"
#include "page.h"
#include "view.h"

/*
 * What objects lead to (docs/api.md, Relationships). One line in relationships.def
 *
 *	RELATIONSHIP(file, submissions, submission, MANY, file_submissions, NULL, "…")
 *
 * and the function it names serve all of
 *
 *	GET /{collection}/{id}/submissions                 objects
 *	GET /{collection}/{id}/relationships/submissions   descriptors, with their context
 *	GET /{collection}/{id}/relationship/submissions    the same
 *	GET /{collection}/{id}?relationships=submissions   descriptors, embedded
 *	GET /metadata                                      name and description
 *
 * for every type whose three routes stand in routes.def (handlers get_related and
 * get_related_descriptors). An unknown name is answered with 404; one that
 * VirusTotal knows and weir has nothing of has no function and is an empty list,
 * or null.
 */
struct api;

struct related_ask {
	struct api *api;
	struct http_request *req; /* what else was asked for */
	int64_t user_id;          /* who asks: list only what he may see */
	const struct object *of;  /* type, id, key and attributes of the object it starts from */
	const struct page
		*page;       /* limit, position, total; filter and order if the rules take them */
	bool descriptors;    /* attributes are not needed (they do no harm) */
	struct arena *arena; /* for what is found */
};

/*
 * Up to page->limit objects behind page->position. To-one: none or one. An object
 * that is gone has attributes.p NULL and is shown as an error, or as a descriptor.
 */
struct related {
	const struct object *objects; /* in the arena */
	size_t count;
	struct str next; /* position behind the last one if another may follow; else empty */
	int64_t total;   /* -1: not known; page->total if that was counted already */
};

/* Blocks; on the pool. ERR_INVALID: filter or position, with a text for the client. */
typedef int related_fn(const struct related_ask *ask, struct related *ret, struct err *err);

/* What the table names, in the resources' files. */
related_fn analysis_item, file_analyses, file_submissions, file_bundled_files,
	file_compressed_parents, ruleset_notification_files, notification_file, user_notifications,
	user_notification_files, user_rulesets, object_owner, user_retrohunt_jobs, retrohunt_files;
extern const struct page_rules notification_rules, ruleset_rules, retrohunt_rules;

struct relationship {
	enum object_kind of;
	const char *name;
	const char *target; /* type it leads to; "object": several */
	bool many;
	related_fn *list;               /* NULL: there is nothing in weir */
	const struct page_rules *rules; /* NULL: limit up to LIMIT_PAGE, neither filter nor order */
	const char *description;
};
extern const struct relationship relationships[];
extern const size_t relationship_count;

/* NULL: no such name. */
const struct relationship *relationship_find(enum object_kind of, struct str name);

/* "relationships" of one object: those its view names. */
void relationships_put(struct answer *a, const struct object *o);
#endif
