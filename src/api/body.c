#include "api_internal.h"

static json_t *body_parse(struct http_request *req)
{
	json_error_t error;
	json_t *root;

	if (!req->body.n) {
		api_error(req, 400, "BadRequestError", "The request has no body, JSON is expected");
		return NULL;
	}
	root = json_loadb(req->body.p, req->body.n, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		api_error(req, 400, "BadRequestError", "Malformed JSON at line %d, column %d: %s",
			  error.line, error.column, error.text);
	return root;
}

json_t *api_attributes(struct http_request *req, const char *type, json_t **ret_root)
{
	json_t *data, *attributes, *named;

	*ret_root = body_parse(req);
	if (!*ret_root)
		return NULL;
	data = json_object_get(*ret_root, "data");
	if (!json_is_object(data)) {
		api_error(req, 400, "BadRequestError", "\"data\" must be an object");
		return NULL;
	}
	named = json_object_get(data, "type");
	if (named && (!json_is_string(named) || strcmp(json_string_value(named), type) != 0)) {
		api_error(req, 400, "BadRequestError", "\"data.type\" must be \"%s\"", type);
		return NULL;
	}
	attributes = json_object_get(data, "attributes");
	if (!json_is_object(attributes)) {
		api_error(req, 400, "BadRequestError", "\"data.attributes\" must be an object");
		return NULL;
	}
	return attributes;
}

void api_run(struct http_request *req, struct api *api, void (*fn)(void *arg), void *arg)
{
	struct err err;
	int rc;

	http_request_suspend(req);
	rc = service_run(api->svc, fn, arg, &err);
	if (rc) {
		api_fail(req, rc, &err);
		http_request_resume(req);
	}
}
