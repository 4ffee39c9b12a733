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
			  error.line, error.column,
			  json_error_code(&error) == json_error_null_character
				  ? "\\u0000 is not allowed"
				  : error.text);
	return root;
}

/* data.<key>, if it is there at all, is this text; false: answered with 400. */
static bool says(struct http_request *req, const json_t *data, const char *key, struct str want)
{
	const json_t *v = json_object_get(data, key);

	if (!v || (json_is_string(v) &&
		   str_eq(str_make(json_string_value(v), json_string_length(v)), want)))
		return true;
	api_error(req, 400, "BadRequestError", "\"data.%s\" must be \"" STR_FMT "\"", key,
		  STR_ARG(want));
	return false;
}

json_t *api_attributes(struct http_request *req, const char *type, struct str id, json_t **ret_root)
{
	json_t *data, *attributes;

	*ret_root = body_parse(req);
	if (!*ret_root)
		return NULL;
	data = json_object_get(*ret_root, "data");
	if (!json_is_object(data)) {
		api_error(req, 400, "BadRequestError", "\"data\" must be an object");
		return NULL;
	}
	if (!says(req, data, "type", str_of(type)) || (id.n && !says(req, data, "id", id)))
		return NULL;
	attributes = json_object_get(data, "attributes");
	if (!attributes && id.n) {
		attributes = json_object();
		json_object_set_new(data, "attributes", attributes);
	}
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
