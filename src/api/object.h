#ifndef API_OBJECT_H
#define API_OBJECT_H
#include "base/arena.h"
#include "base/json.h"

/*
 * Objects as they stand in answers, whatever their type: type, id, links,
 * attributes, relationships, context_attributes. A resource makes struct objects;
 * how they look (projection, embedded relationships, what is gone) is done here,
 * in view.c and in relationship.c, the same for all.
 *
 * A new type is a line in object_types.def with a function that finds one by id;
 * then `object_get` serves GET of it, and relationships.def says what it leads to.
 */
struct api;
struct answer;
struct http_request;
struct object;

/*
 * Find one by its id as clients write it, as `user_id` sees it. Its strings go
 * into the arena. ERR_NOT_FOUND also where the user may not see it; ERR_INVALID:
 * no id at all, with a text for the client. May be called on a loop: look-ups by
 * key only.
 */
typedef int object_find_fn(struct api *api, int64_t user_id, struct str id, struct arena *arena,
			   struct object *ret, struct err *err);

struct object_type {
	const char *name;     /* "file" */
	const char *path;     /* below /api/v3: "files" */
	const char *title;    /* how a 404 calls it: "File" */
	object_find_fn *find; /* NULL: weir has none of these */
};

enum object_kind {
#define OBJECT_TYPE(name, path, title, find) OBJECT_##name,
#include "object_types.def"
#undef OBJECT_TYPE
	OBJECT_KIND_COUNT
};
extern const struct object_type object_types[OBJECT_KIND_COUNT];

/* What the table names, in the resources' files. */
object_find_fn user_object_find;
object_find_fn file_find, analysis_find, submission_find, ruleset_find, notification_find,
	operation_object_find, hunting_notification_find, retrohunt_find;

struct object {
	const struct object_type *type;
	struct str id; /* as clients read it; one segment of a path */
	int64_t key;   /* the store's number, for those who list what it leads to; or 0 */
	struct str
		attributes; /* all of them, one JSON object; p NULL: it does not exist any more */
	struct str context; /* context_attributes, one JSON object; p NULL: none */
	struct str meta;    /* beside "data" when asked for alone; p NULL: none */
	bool is_own;        /* who asks brought it in */
};

/* GET of the object whose id is the path's first parameter. A whole handler. */
void object_get(struct http_request *req, struct api *api, enum object_kind kind);

/* The object whose id is the path's first parameter; and the answer where there is none. */
MUST_USE int object_find(struct api *api, struct http_request *req, const struct object_type *type,
			 struct object *ret, struct err *err);
void object_fail(struct http_request *req, const struct object_type *type, int rc,
		 const struct err *err);

/* {"type","id", …} of one object into an answer, as its view wants it (answer.h). */
void object_put(struct answer *a, const struct object *o);

/* Text of a JSON value that `write` makes, in the arena; for attributes. */
struct str object_json(struct arena *arena, void (*write)(struct json *j, const void *arg),
		       const void *arg);
#endif
