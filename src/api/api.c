#include "api_internal.h"

#include "base/log.h"
#include "base/mem.h"

const struct http_route api_routes[] = {
#define ROUTE(method_, pattern_, handler_, who_, body_max_, upload_, answer_, summary_)            \
	{ .method = HTTP_##method_,                                                                \
	  .pattern = (pattern_),                                                                   \
	  .handler = handler_,                                                                     \
	  .upload = (upload_),                                                                     \
	  .body_max = (body_max_),                                                                 \
	  .flags = WHO_##who_,                                                                     \
	  .name = #handler_,                                                                       \
	  .summary = (summary_),                                                                   \
	  .extra = (answer_) },
#include "routes.def"
#undef ROUTE
};
const size_t api_route_count = sizeof api_routes / sizeof api_routes[0];

struct api_call *api_call_of(struct http_request *req)
{
	return req->user;
}

int64_t api_user_id(struct http_request *req)
{
	struct api_call *call = api_call_of(req);

	return call ? call->user.id : 0;
}

/* ---- Before the body ---- */

static void on_head(struct http_request *req, void *arg)
{
	if (req->route->flags != WHO_OPEN)
		api_admit(req, arg);
}

/* ---- Faults that HTTP finds ---- */

static const char *code_of_status(unsigned status)
{
	switch (status) {
	case 404:
		return "NotFoundError";
	case 408:
		return "DeadlineExceededError";
	case 500:
	case 503:
		return "TransientError";
	default:
		return "BadRequestError";
	}
}

static void on_error(struct http_request *req, unsigned status, const char *text, void *arg)
{
	(void)arg;
	if (status == 413 && req->route && req->route->upload == &upload_direct)
		text = "Files above 32 MB go to an address from GET /api/v3/files/upload_url";
	api_error(req, status, code_of_status(status), "%s", text);
}

/* What is no request has no line of its own in the log but this. */
static void on_refused(struct buf *out, unsigned status, const char *text, const char *remote,
		       void *arg)
{
	(void)arg;
	api_error_write(out, status == 429 ? "TooManyRequestsError" : code_of_status(status),
			str_of(text));
	log_record(LOG_INFO, "refused", LOG_I64("status", status), LOG_Z("error", text),
		   LOG_Z("remote", remote));
}

/* ---- One line a request ---- */

/*
 * Not as sent where it holds a secret: who reads the log must not be able to use
 * it. A key may stand in /users/{id}.
 */
static struct str path_shown(struct http_request *req)
{
	const struct str users = STR("/api/v3/users/");
	struct str rest, id;

	if (req->route && strstr(req->route->pattern, "{token}"))
		return str_of(req->route->pattern);
	if (!str_starts(req->path, users))
		return req->path;
	rest = str_make(req->path.p + users.n, req->path.n - users.n);
	id = str_make(rest.p, str_find(rest, '/'));
	if (id.n < USER_KEY_CHARS)
		return req->path;
	return str_of(arena_printf(req->arena, STR_FMT "..." STR_FMT, STR_ARG(users),
				   STR_ARG(str_make(rest.p + id.n, rest.n - id.n))));
}

static void on_done(struct http_request *req, const struct http_done *done, void *arg)
{
	struct api *api = arg;
	struct api_call *call = api_call_of(req);

	if (!api->log_requests)
		return;
	log_record(LOG_INFO, "request", LOG_STR("request_id", req->id),
		   LOG_Z("method", req->method_text), LOG_STR("path", path_shown(req)),
		   LOG_Z("route", req->route ? req->route->name : "-"),
		   LOG_I64("status", done->status), LOG_Z("error", req->error ? req->error : "-"),
		   LOG_Z("failure", req->failure ? req->failure : "-"),
		   LOG_Z("user", call ? call->user.name : "-"), LOG_STR("remote", req->remote),
		   LOG_I64("received_bytes", done->received_bytes),
		   LOG_I64("sent_bytes", done->body_bytes), LOG_I64("duration_us", done->us));
}

/* ---- Life ---- */

int api_open(struct api **ret, struct service *svc, const struct api_options *options,
	     struct err *err)
{
	struct api *api = mem_must_zalloc(sizeof *api);
	struct http_server_options http = {
		.address = options->address,
		.port = options->port,
		.threads = options->threads,
		.connections_max = options->connections_max,
		.connections_per_address_max = options->connections_per_address_max,
		.trust_forwarded = options->trust_forwarded,
		.gzip_level = options->gzip_level,
		.cors_origins = options->cors_origins,
		.tls_certificate = options->tls_certificate,
		.tls_key = options->tls_key,
		.routes = api_routes,
		.route_count = api_route_count,
		.on_head = on_head,
		.on_error = on_error,
		.on_refused = on_refused,
		.on_done = on_done,
		.arg = api,
	};
	int rc;

	api->svc = svc;
	api->log_requests = options->log_requests;
	api->tokens = upload_tokens_new();
	api_access_init(api);
	rc = http_server_open(&api->server, &http, err);
	if (rc) {
		api_close(api, 0);
		return rc;
	}
	*ret = api;
	return 0;
}

uint16_t api_port(const struct api *api)
{
	return http_server_port(api->server);
}

int api_tls_reload(struct api *api, struct http_tls_facts *ret, struct err *err)
{
	return http_server_tls_reload(api->server, ret, err);
}

void api_set_ready(struct api *api)
{
	api->ready = true;
}

void api_stop_accepting(struct api *api)
{
	http_server_stop_accepting(api->server);
}

void api_close(struct api *api, uint32_t grace_ms)
{
	if (!api)
		return;
	http_server_close(api->server, grace_ms);
	upload_tokens_free(api->tokens);
	api_access_release(api);
	free(api);
}
