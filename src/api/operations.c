#include "api_internal.h"
#include "service/rulesets.h"

void api_send_operation(struct http_request *req, const struct operation *op)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	json_key(&j, "data");
	json_obj(&j);
	json_kv_z(&j, "type", "operation");
	json_kv_z(&j, "id", op->id);
	api_links_self(&j, req, "/operations/%s", op->id);
	json_key(&j, "attributes");
	json_obj(&j);
	json_kv_z(&j, "status", op->status);
	json_obj_end(&j);
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
	api_send(req, &out);
}

void get_operation(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct operation op;
	struct err err;
	int rc = operation_find(api->svc, api_user_id(req), req->params[0], &op, &err);

	if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "Operation", req->params[0]);
	else if (rc)
		api_fail(req, rc, &err);
	else
		api_send_operation(req, &op);
}
