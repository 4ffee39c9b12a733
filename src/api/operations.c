#include "answer.h"
#include "api_internal.h"
#include "service/rulesets.h"

static void write_operation(struct json *j, const void *arg)
{
	const struct operation *op = arg;

	json_obj(j);
	json_kv_z(j, "status", op->status);
	json_obj_end(j);
}

struct object operation_object(const struct operation *op, struct arena *arena)
{
	return (struct object){ .type = &object_types[OBJECT_operation],
				.id = arena_str(arena, str_of(op->id)),
				.attributes = object_json(arena, write_operation, op) };
}

int operation_object_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
			  struct object *ret, struct err *err)
{
	struct operation op;

	TRY(operation_find(api->svc, user_id, id, &op, err));
	*ret = operation_object(&op, arena);
	return 0;
}

void get_operation(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_operation);
}
