#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/* The route table: which function answers which method and path. */
struct http_request;
struct http_upload;

enum http_method {
	HTTP_GET, /* HEAD is answered by the GET route, without body */
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_METHOD_COUNT,
	HTTP_OTHER = HTTP_METHOD_COUNT, /* what no route can have: answered with 405 */
};
const char *http_method_name(enum http_method m); /* "GET"; static */

/*
 * Answers a request: calls one of http_respond_*() before it returns, or
 * http_request_suspend() and lets another thread respond (request.h). One that
 * does neither is answered with 500. Runs on a loop thread, so it must not
 * block for long (style.md 9). `arg` is http_server_options.arg.
 */
typedef void http_handler_fn(struct http_request *req, void *arg);

enum {
	HTTP_PARAMS_MAX = 4
}; /* {braces} in one pattern */

/*
 * One line of the route table; the table and its strings live as long as the
 * server.
 *
 * Pattern: segments, literal or "{name}" for exactly one non-empty segment;
 * the last may be "{name*}" for all the rest, slashes included, maybe empty.
 * "/api/v3/files/{id}/download", "/ui/{path*}". Literals win over parameters
 * at the same place; if the literal leads nowhere the parameter is tried. One
 * trailing slash of the request is ignored. Segments are compared and handed
 * over percent-decoded one by one, so "%2F" stays inside its segment.
 */
struct http_route {
	enum http_method method;
	const char *pattern;
	http_handler_fn *handler;
	const struct http_upload *upload; /* body goes there piecewise; NULL: it is collected */
	uint64_t body_max;   /* bytes; 0: no body is expected, a small one is ignored */
	uint32_t flags;      /* the upper layer's; http does not look at them */
	const char *name;    /* for logs, metrics and OpenAPI's operationId */
	const char *summary; /* for OpenAPI */
	const void *extra;   /* the upper layer's */
};

/* A compiled table. Immutable: any thread may match. */
struct http_router;

/* ERR_INVALID: a pattern that cannot be read, or the same method and pattern twice. */
MUST_USE int http_router_new(struct http_router **ret, const struct http_route *routes, size_t n,
			     struct err *err);
void http_router_free(struct http_router *r);

enum http_match {
	HTTP_MATCH_NONE,
	HTTP_MATCH_OTHER_METHOD,
	HTTP_MATCH_OK,
	HTTP_MATCH_BAD_PATH
};

struct http_matched {
	const struct http_route *route;     /* OK only */
	struct str params[HTTP_PARAMS_MAX]; /* in the pattern's order; into `scratch` or the path */
	unsigned allowed; /* OK, OTHER_METHOD: bit (1 << method) for each route there */
};

/*
 * `path` begins with '/', has no query, not yet decoded. `scratch` has room for
 * path.n bytes. BAD_PATH: an escape that is none ("%zz") or a NUL (also "%00").
 */
enum http_match http_router_match(const struct http_router *r, enum http_method method,
				  struct str path, char *scratch, struct http_matched *ret);
#endif
