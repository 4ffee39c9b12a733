#include "api_internal.h"

#include "base/metric.h"

void get_healthz(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_header(req, "Content-Type", STR("text/plain; charset=utf-8"));
	http_respond_static(req, 200, STR("ok\n"));
}

void get_readyz(struct http_request *req, void *arg)
{
	struct api *api = arg;
	const char *why = "starting";

	if (!api->ready || !service_is_ready(api->svc, &why)) {
		api_error(req, 503, "TransientError", "Not ready: %s", why);
		return;
	}
	http_respond_header(req, "Content-Type", STR("text/plain; charset=utf-8"));
	http_respond_static(req, 200, STR("ready\n"));
}

void get_metrics(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);

	(void)arg;
	metric_render(&out);
	http_respond_header(req, "Content-Type", STR("text/plain; version=0.0.4; charset=utf-8"));
	http_respond_buf(req, 200, &out);
}

void get_openapi(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);

	(void)arg;
	openapi_render(&out, api_routes, api_route_count);
	http_respond_buf(req, 200, &out);
}
