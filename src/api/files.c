#include "answer.h"
#include "api_internal.h"

#include <stdio.h>

#include "base/hex.h"

/* ---- Upload ---- */

/* State of one upload request (http_request.upload). */
struct upload_call {
	struct upload *upload; /* NULL until the part "file" begins, and after it was handed on */
	bool complete;
};

static void upload_refuse(struct http_request *req, int rc, const struct err *err)
{
	api_fail(req, rc, err);
}

static enum http_part_use upload_begin(struct http_request *req, const struct http_part *part,
				       struct api *api, uint64_t bytes_max)
{
	const struct audit_by by = api_by(req);
	const struct upload_options options = {
		.user_id = by.user_id,
		.by = &by,
		.payer = &api_call_of(req)->user,
		.endpoint = api_endpoint(req),
		.lane = LANE_API,
		.name = part->filename,
		.corpus = STR("main"),
		.interface = "api",
		.bytes_max = bytes_max,
	};
	struct upload_call *call = req->upload;
	struct err err;
	int rc;

	if (!part->name.p) {
		api_error(req, 400, "BadRequestError",
			  "The body must be multipart/form-data with a part \"file\"");
		return HTTP_PART_STOP;
	}
	if (!str_eq_z(part->name, "file"))
		return str_eq_z(part->name, "password") ? HTTP_PART_FIELD : HTTP_PART_SKIP;
	if (call) {
		api_error(req, 400, "BadRequestError", "There is more than one part \"file\"");
		return HTTP_PART_STOP;
	}
	call = arena_must(req->arena, sizeof *call);
	rc = upload_new(&call->upload, api->svc, &options, &err);
	if (rc) {
		upload_refuse(req, rc, &err);
		return HTTP_PART_STOP;
	}
	req->upload = call;
	return HTTP_PART_STREAM;
}

static enum http_part_use upload_begin_direct(struct http_request *req,
					      const struct http_part *part, void *arg)
{
	return upload_begin(req, part, arg, LIMIT_UPLOAD_DIRECT_BYTES);
}

static enum http_part_use upload_begin_large(struct http_request *req, const struct http_part *part,
					     void *arg)
{
	struct api *api = arg;

	if (!req->upload && str_eq_z(part->name, "file") &&
	    !upload_token_use(api->tokens, req->params[0], api_user_id(req),
			      clock_unix_s(service_clock(api->svc)))) {
		api_error(req, 400, "BadRequestError",
			  "This upload address is unknown, used or too old: ask for a new one");
		return HTTP_PART_STOP;
	}
	return upload_begin(req, part, api, LIMIT_SAMPLE_BYTES);
}

static bool upload_data(struct http_request *req, const void *p, size_t n, void *arg)
{
	struct upload_call *call = req->upload;
	struct err err;
	int rc = upload_add(call->upload, p, n, &err);

	(void)arg;
	if (rc)
		upload_refuse(req, rc, &err);
	return rc == 0;
}

static bool upload_part_end(struct http_request *req, void *arg)
{
	struct upload_call *call = req->upload;

	(void)arg;
	call->complete = true;
	return true;
}

static void upload_aborted(struct http_request *req, void *arg)
{
	struct upload_call *call = req->upload;

	(void)arg;
	if (call) {
		upload_free(call->upload);
		call->upload = NULL;
	}
}

const struct http_upload upload_direct = { upload_begin_direct, upload_data, upload_part_end,
					   upload_aborted };
const struct http_upload upload_large = { upload_begin_large, upload_data, upload_part_end,
					  upload_aborted };

static void put_analysis_descriptor(struct http_request *req, const struct upload_outcome *o)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	char id[ANALYSIS_ID_CHARS + 1];
	struct json j;

	analysis_id_format(o->hashes.sha256, o->intake, id);
	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "data");
	json_obj(&j);
	json_kv_z(&j, "type", "analysis");
	json_kv_z(&j, "id", id);
	api_links_self(&j, req, "/analyses/%s", id);
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
}

/* On the writer's thread: only the answer is made here. */
static void upload_answered(const struct upload_outcome *outcome, int rc, const struct err *err,
			    void *arg)
{
	struct http_request *req = arg;

	if (rc == -ERR_FORBIDDEN)
		api_error(req, 401, "WrongCredentialsError", "Wrong password: %s", err->msg);
	else if (rc)
		api_fail(req, rc, err);
	else
		put_analysis_descriptor(req, outcome);
	http_request_resume(req);
}

void post_file(struct http_request *req, void *arg)
{
	struct upload_call *call = req->upload;
	struct upload *upload;
	struct err err;
	int rc;

	(void)arg;
	if (!call || !call->complete) {
		api_error(req, 400, "BadRequestError",
			  "The body must be multipart/form-data with a part \"file\"");
		if (call)
			upload_aborted(req, arg);
		return;
	}
	upload = STEAL(call->upload);
	rc = upload_set_password(upload, http_form(req, "password"), &err);
	if (rc) {
		upload_free(upload);
		api_fail(req, rc, &err);
		return;
	}
	http_request_suspend(req);
	rc = upload_finish(upload, upload_answered, req, &err);
	if (rc) {
		api_fail(req, rc, &err);
		http_request_resume(req);
	}
}

void get_upload_url(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	AUTO(buf_release) struct buf url = BUF_INIT(4096);
	char token[UPLOAD_TOKEN_CHARS + 1];
	struct json j;

	if (!upload_token_make(api->tokens, api_user_id(req), clock_unix_s(service_clock(api->svc)),
			       token)) {
		api_error(req, 503, "TransientError", "Too many upload addresses are waiting");
		return;
	}
	api_link(&url, req, "/files/upload/%s", token);
	json_init(&j, &out);
	json_obj(&j);
	json_kv_str(&j, "data", buf_str(&url));
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
}

/* ---- Reading ---- */

bool api_find_file(struct http_request *req, struct api *api, struct file_info *ret)
{
	struct err err;
	int rc = file_get(api->svc, req->params[0], req->arena, ret, &err);

	if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "File", req->params[0]);
	else if (rc)
		api_fail(req, rc, &err);
	return rc == 0;
}

struct object file_object(const struct file_info *file, struct arena *arena)
{
	char *hex = arena_must(arena, 2 * SHA256_BYTES + 1);

	hex_encode(file->hashes.sha256, SHA256_BYTES, hex);
	return (struct object){ .type = &object_types[OBJECT_file],
				.id = str_of(hex),
				.key = file->id,
				.attributes = file->report };
}

int file_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
	      struct object *ret, struct err *err)
{
	struct file_info file;

	/* Everyone sees every sample. */
	TRY(file_get(api->svc, id, arena, &file, err));
	*ret = file_object(&file, arena);
	ret->is_own = user_id && file.first_user_id == user_id;
	return 0;
}

int file_object_find(struct api *api, const uint8_t sha256[SHA256_BYTES], struct arena *arena,
		     struct object *ret, struct err *err)
{
	struct file_info file = { .id = 0 };
	int rc = file_get_sha256(api->svc, sha256, arena, &file, err);

	if (rc && rc != -ERR_NOT_FOUND)
		return rc;
	memcpy(file.hashes.sha256, sha256, SHA256_BYTES);
	*ret = file_object(&file, arena);
	return 0;
}

void get_file(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_file);
}

/* weir runs no samples: an object without members for every file there is. */
void get_behaviour_summary(struct http_request *req, void *arg)
{
	struct file_info file;
	struct answer a;

	if (!api_find_file(req, arg, &file))
		return;
	answer_begin(&a, arg, req, NULL);
	json_key(&a.json, "data");
	json_obj(&a.json);
	json_obj_end(&a.json);
	answer_send(&a);
}

void post_analyse(struct http_request *req, void *arg)
{
	const struct audit_by by = api_by(req);
	struct api *api = arg;
	struct file_info file;
	struct err err;
	int rc;

	if (!api_find_file(req, api, &file))
		return;
	http_request_suspend(req);
	rc = file_reanalyse(api->svc, &file, &by, upload_answered, req, &err);
	if (rc) {
		api_fail(req, rc, &err);
		http_request_resume(req);
	}
}

/* ---- Removing: blocks, so on the pool ---- */

struct file_call {
	struct http_request *req;
	struct api *api;
};

static void delete_file_run(void *arg)
{
	struct file_call *call = arg;
	struct http_request *req = call->req;
	const struct audit_by by = api_by(req);
	struct err err;
	int rc = file_remove(call->api->svc, req->params[0], &by, NULL, &err);

	if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "File", req->params[0]);
	else if (rc)
		api_fail(req, rc, &err);
	else
		api_send_empty(req);
	http_request_resume(req);
}

void delete_file(struct http_request *req, void *arg)
{
	struct file_call *call = arena_must(req->arena, sizeof *call);

	*call = (struct file_call){ req, arg };
	api_run(req, arg, delete_file_run, call);
}
