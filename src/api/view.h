#ifndef API_VIEW_H
#define API_VIEW_H
#include "base/json.h"

/*
 * How much of each object an answer shows (docs/api.md, Projection):
 *
 *   attributes=a,b               only these attributes
 *   exclude_attributes=a,b       all but these
 *   relationships=a,b            descriptors of what it leads to, embedded
 *   relationship_attributes=a,b  those descriptors with these attributes
 *   descriptors_only=true        types and ids, no attributes
 *
 * Names that do not exist are ignored. Where nothing was asked a stored object is
 * spliced into the answer as it is, unread.
 */
struct http_request;

enum {
	VIEW_NAMES_MAX = 128 /* of one parameter; a file has about 60 attributes */
};

/* A list of names from a parameter; in the request's arena. */
struct view_names {
	bool given; /* the parameter is there, maybe empty */
	const struct str *names;
	size_t count;
};

struct view {
	bool descriptors;       /* no attributes */
	bool descriptors_given; /* it was said in the request */
	struct view_names attributes;
	struct view_names without;
	struct view_names relationships;
	struct view_names relationship_attributes;
};

/* What the request asks for. false: answered with 400. */
bool view_read(struct http_request *req, struct view *ret);

/* "attributes": what the view shows of a stored JSON object. */
void view_put_attributes(struct json *j, const struct view *view, struct str attributes);

bool view_names_have(const struct view_names *names, struct str name);

/*
 * Walk the members of a JSON object that we wrote ourselves: cut the next
 * `"key":value` off *rest (which starts as the whole object). The key is between
 * its quotes as written. false at the end.
 */
bool view_next_member(struct str *rest, struct str *ret_key, struct str *ret_member);
#endif
