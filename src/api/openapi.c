#include "api_internal.h"

#include "api_schemas.h"

/*
 * OpenAPI 3.1 from the route table. The schemas are files of src/api/schema, put
 * into api_schemas.h at build time: one name and one JSON text each.
 */

static const char *const method_names[HTTP_METHOD_COUNT] = {
	[HTTP_GET] = "get",     [HTTP_POST] = "post",     [HTTP_PUT] = "put",
	[HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete",
};

/* A key of queries.json is a path, for GET, or "DELETE /path". */
static bool key_is_of(const char *key, const struct http_route *r)
{
	const char *method = http_method_name(r->method);
	size_t n = strlen(method);

	if (key[0] == '/')
		return r->method == HTTP_GET && strcmp(key, r->pattern) == 0;
	return strncmp(key, method, n) == 0 && key[n] == ' ' &&
	       strcmp(key + n + 1, r->pattern) == 0;
}

/* What a path's parameter must look like; others are any text, and what does not exist is 404. */
static const struct path_schema {
	const char *prefix; /* of patterns, up to the parameter */
	const char *json;
} path_schemas[] = {
	{ "/api/v3/files/{id}", "{\"type\":\"string\",\"pattern\":"
				"\"^([0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})$\"}" },
	{ "/api/v3/files/upload/{token}",
	  "{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_-]+$\"}" },
	{ "/api/v3/files/download/{token}",
	  "{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_-]+$\"}" },
};

static struct str path_schema(struct str prefix)
{
	for (size_t i = 0; i < sizeof path_schemas / sizeof path_schemas[0]; i++) {
		if (str_eq_z(prefix, path_schemas[i].prefix))
			return str_of(path_schemas[i].json);
	}
	return STR("{\"type\":\"string\"}");
}

static void put_parameters(struct json *j, const struct http_route *r)
{
	const char *p = r->pattern;

	json_key(j, "parameters");
	json_arr(j);
	while ((p = strchr(p, '{'))) {
		const char *end = strchr(p, '}');

		REQUIRE(end);
		json_obj(j);
		json_kv_str(j, "name", str_make(p + 1, (size_t)(end - p - 1)));
		json_kv_z(j, "in", "path");
		json_kv_bool(j, "required", true);
		json_key(j, "schema");
		json_raw(j, path_schema(str_make(r->pattern, (size_t)(end + 1 - r->pattern))));
		json_obj_end(j);
		p = end;
	}
	for (size_t i = 0; i < api_query_schema_count; i++) {
		if (key_is_of(api_query_schemas[i].pattern, r))
			json_raw(j, api_query_schemas[i].json);
	}
	json_arr_end(j);
}

static void put_answer(struct json *j, const char *status, const char *text, const char *type,
		       const char *schema)
{
	AUTO(buf_release) struct buf ref = BUF_INIT(256);

	json_key(j, status);
	json_obj(j);
	json_kv_z(j, "description", text);
	json_key(j, "content");
	json_obj(j);
	json_key(j, type);
	json_obj(j);
	json_key(j, "schema");
	json_obj(j);
	buf_addf(&ref, "#/components/schemas/%s", schema);
	json_kv_str(j, "$ref", buf_str(&ref));
	json_obj_end(j);
	json_obj_end(j);
	json_obj_end(j);
	json_obj_end(j);
}

static const char *type_of_answer(const char *schema)
{
	if (strcmp(schema, "text") == 0)
		return "text/plain";
	if (strcmp(schema, "bytes") == 0)
		return "application/octet-stream";
	return "application/json";
}

static void put_json_body(struct json *j, const char *schema)
{
	AUTO(buf_release) struct buf text = BUF_INIT(1024);

	buf_addf(&text,
		 "{\"required\":true,\"content\":{\"application/json\":{\"schema\":"
		 "{\"$ref\":\"#/components/schemas/%s\"}}}}",
		 schema);
	json_raw(j, buf_str(&text));
}

/* What a route's JSON body must be; NULL: it takes none. */
static const char *json_body_of(const struct http_route *r)
{
	if (!r->body_max || (r->method == HTTP_POST && strstr(r->pattern, "/{id}/")))
		return NULL;
	if (strstr(r->pattern, "/users/"))
		return "user_request";
	if (strstr(r->pattern, "/hunting_rulesets"))
		return "hunting_ruleset_request";
	return strstr(r->pattern, "/retrohunt_jobs") ? "retrohunt_job_request" : NULL;
}

static void put_body(struct json *j, const struct http_route *r)
{
	const char *schema = json_body_of(r);

	if (!r->upload && !schema)
		return;
	json_key(j, "requestBody");
	if (r->upload)
		json_raw(j,
			 STR("{\"required\":true,\"content\":{\"multipart/form-data\":{\"schema\":"
			     "{\"type\":\"object\",\"required\":[\"file\"],\"properties\":"
			     "{\"file\":{\"type\":\"string\",\"format\":\"binary\"},"
			     "\"password\":{\"type\":\"string\"}}}}}}"));
	else
		put_json_body(j, schema);
}

/* A handler that serves several routes is told apart by a number. */
static void put_operation_id(struct json *j, const struct http_route *routes, size_t i)
{
	AUTO(buf_release) struct buf id = BUF_INIT(256);
	unsigned before = 0;

	for (size_t k = 0; k < i; k++)
		before += strcmp(routes[k].name, routes[i].name) == 0;
	buf_add_z(&id, routes[i].name);
	if (before)
		buf_addf(&id, "_%u", before + 1);
	json_kv_str(j, "operationId", buf_str(&id));
}

static void put_operation(struct json *j, const struct http_route *routes, size_t i)
{
	const struct http_route *r = &routes[i];

	json_key(j, method_names[r->method]);
	json_obj(j);
	put_operation_id(j, routes, i);
	json_kv_z(j, "summary", r->summary);
	put_parameters(j, r);
	put_body(j, r);
	if (r->flags != WHO_OPEN) {
		json_key(j, "security");
		json_raw(j, STR("[{\"apikey\":[]}]"));
	}
	json_key(j, "responses");
	json_obj(j);
	put_answer(j, "200", "Success", type_of_answer(r->extra), r->extra);
	if (strcmp(r->extra, "bytes") == 0)
		put_answer(j, "206", "The part that the header Range asks for",
			   type_of_answer(r->extra), r->extra);
	if (r->method == HTTP_GET) {
		json_key(j, "304");
		json_raw(j, STR("{\"description\":\"It is as the client knows it\"}"));
	}
	put_answer(j, "default", "Failure", "application/json", "error");
	json_obj_end(j);
	json_obj_end(j);
}

/* Routes of one path stand together in the table, or not: the first one writes them all. */
static bool is_first_of_path(const struct http_route *routes, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (strcmp(routes[k].pattern, routes[i].pattern) == 0)
			return false;
	}
	return true;
}

void openapi_render(struct buf *out, const struct http_route *routes, size_t n)
{
	struct json j;

	json_init(&j, out);
	json_obj(&j);
	json_kv_z(&j, "openapi", "3.1.0");
	json_key(&j, "info");
	json_raw(&j, STR("{\"title\":\"weir\",\"version\":\"0.1.0\",\"description\":"
			 "\"VirusTotal's API v3 for hunting, over one's own samples\"}"));
	json_key(&j, "paths");
	json_obj(&j);
	for (size_t i = 0; i < n; i++) {
		if (!is_first_of_path(routes, i))
			continue;
		json_key(&j, routes[i].pattern);
		json_obj(&j);
		for (size_t k = i; k < n; k++) {
			if (strcmp(routes[k].pattern, routes[i].pattern) == 0)
				put_operation(&j, routes, k);
		}
		json_obj_end(&j);
	}
	json_obj_end(&j);
	json_key(&j, "components");
	json_obj(&j);
	json_key(&j, "securitySchemes");
	json_raw(&j,
		 STR("{\"apikey\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"x-apikey\"}}"));
	json_key(&j, "schemas");
	json_obj(&j);
	for (size_t i = 0; i < api_schema_count; i++) {
		json_key(&j, api_schemas[i].name);
		json_raw(&j, api_schemas[i].json);
	}
	json_obj_end(&j);
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
}
