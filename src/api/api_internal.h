#ifndef API_API_INTERNAL_H
#define API_API_INTERNAL_H
#include <jansson.h>
#include "api/api.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/thread.h"
#include "http/request.h"
#include "http/server.h"
#include "http/upload.h"
#include "object.h"
#include "service/files.h"
#include "service/usage.h"
#include "service/users.h"

struct upload_tokens;
struct api_access;

struct api {
	struct service *svc;
	struct http_server *server;
	struct upload_tokens *tokens;
	struct api_access *access; /* by route */
	bool log_requests;
	_Atomic bool ready; /* the start is over */
};

/* Who may call a route (http_route.flags). */
enum api_who {
	WHO_OPEN,
	WHO_VIEWER,
	WHO_HUNTER,
	WHO_ADMIN
};

enum {
	API_RESPONSE_MAX = 64 << 20 /* 40 full reports with long snippets fit many times */
};

/* What the API knows of a request (http_request.user). */
struct api_call {
	struct api *api;
	struct user user;
	unsigned quotas; /* that it may use up, as usage_retry_s takes them */
};
struct api_call *api_call_of(struct http_request *req);
int64_t api_user_id(struct http_request *req);

/* ---- access.c: who may, and what it costs ---- */
void api_access_init(struct api *api);
void api_access_release(struct api *api);
/* Authenticate, check role and key, charge. Answers where one of them fails. */
void api_admit(struct http_request *req, struct api *api);
/* What a look-up costs once its outcome is known (access.def). false: answered with 429. */
bool api_charge_found(struct http_request *req, bool found, bool is_own);
/* For usage_charge and usage_refund: what the request's route counts as. */
unsigned api_endpoint(const struct http_request *req);
void api_forbidden(struct http_request *req);
/* Who asks, from where. */
struct audit_by api_by(const struct http_request *req);

/* ---- errors.c ---- */
void api_error(struct http_request *req, unsigned status, const char *code, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* The body of it alone. */
void api_error_write(struct buf *out, const char *code, struct str text);
/* Answer with what became of rc and err; logs what clients must not see. */
void api_fail(struct http_request *req, int rc, const struct err *err);
void api_not_found(struct http_request *req, const char *what, struct str id);

/* ---- envelope.c ---- */
/* "<base>/api/v3<path>" as the client reaches us. */
void api_link(struct buf *out, struct http_request *req, const char *path_fmt, ...)
	PRINTF_LIKE(3, 4);
void api_links_self(struct json *j, struct http_request *req, const char *path_fmt, ...)
	PRINTF_LIKE(3, 4);
/* Percent-encode for a query string, blanks as '+'. */
void api_query_escape(struct buf *out, struct str s);
/* Send the buffer with status 200. */
void api_send(struct http_request *req, struct buf *out);
void api_send_empty(struct http_request *req); /* {} */

/* limit=1…max (clamped), `none` where absent. false: answered with 400. */
bool api_limit(struct http_request *req, uint32_t none, uint32_t max, uint32_t *ret);
/* true/false/1/0 in any case; false: answered with 400. */
bool api_bool(struct http_request *req, const char *name, bool none, bool *ret);
/* A path parameter that is a positive number; false: answered with 404. */
bool api_id(struct http_request *req, const char *what, int64_t *ret);

/* ---- body.c: JSON that clients send ---- */
/*
 * The body's data.attributes object; NULL: answered with 400. Release with json_decref(*ret_root).
 * `type`, and `id` where there is one yet, are what data.type and data.id must say if they are
 * there. Without an id the attributes must be there; with one, leaving them out changes nothing.
 */
json_t *api_attributes(struct http_request *req, const char *type, struct str id,
		       json_t **ret_root);
static inline void json_drop(json_t **j)
{
	json_decref(*j);
}

/* Do the rest on a thread that may block; answers itself when that is not possible. */
void api_run(struct http_request *req, struct api *api, void (*fn)(void *arg), void *arg);

/* ---- objects ---- */
/* The file named by the path's first parameter; false: answered. */
bool api_find_file(struct http_request *req, struct api *api, struct file_info *ret);
struct object file_object(const struct file_info *file, struct arena *arena);
/* The file of that hash, or where it is gone an object without attributes. For lists. */
MUST_USE int file_object_find(struct api *api, const uint8_t sha256[SHA256_BYTES],
			      struct arena *arena, struct object *ret, struct err *err);

/* ---- rulesets.c ---- */
/* Rules do not compile: 400 with the compiler's text and all its messages (a JSON array). */
void api_refuse_rules(struct http_request *req, const struct err *err, struct str messages);

/* ---- operations.c ---- */
struct operation;
struct object operation_object(const struct operation *op, struct arena *arena);

/* ---- users.c ---- */
/* The array of their names. */
void api_put_privilege_names(struct json *j);

/* ---- tokens.c: single-use upload addresses ---- */
struct upload_tokens *upload_tokens_new(void);
void upload_tokens_free(struct upload_tokens *t);
enum {
	UPLOAD_TOKEN_CHARS = 43
};
/* false: too many are out. */
bool upload_token_make(struct upload_tokens *t, int64_t user_id, int64_t now_s,
		       char ret[UPLOAD_TOKEN_CHARS + 1]);
/* Take it; false: unknown, used, somebody else's or too old. */
bool upload_token_use(struct upload_tokens *t, struct str token, int64_t user_id, int64_t now_s);

/* ---- openapi.c ---- */
void openapi_render(struct buf *out, const struct http_route *routes, size_t n);

/* ---- handlers: the names of routes.def ---- */
#define ROUTE(method, pattern, handler, who, body_max, upload, answer, summary)                    \
	void handler(struct http_request *req, void *arg);
#include "routes.def"
#undef ROUTE
extern const struct http_upload upload_direct;
extern const struct http_upload upload_large;
extern const struct http_route api_routes[];
extern const size_t api_route_count;
#endif
