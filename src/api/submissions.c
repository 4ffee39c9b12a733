#include "api_internal.h"

#include "relationship.h"
#include "service/file_lists.h"

static void write_attributes(struct json *j, const void *arg)
{
	const struct submission *s = arg;

	json_obj(j);
	json_kv_i64(j, "date", s->date_s);
	json_kv_str(j, "interface", s->interface);
	if (s->name.n)
		json_kv_str(j, "name", s->name);
	json_kv_z(j, "source_key", s->source_key);
	json_obj_end(j);
}

static struct object object_of(const struct submission *s, struct arena *arena)
{
	char *id = arena_must(arena, SUBMISSION_ID_CHARS + 1);

	submission_id_format(s, id);
	return (struct object){ .type = &object_types[OBJECT_submission],
				.id = str_of(id),
				.key = s->id,
				.attributes = object_json(arena, write_attributes, s) };
}

int submission_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		    struct object *ret, struct err *err)
{
	struct submission s;
	int rc = submission_by_id(api->svc, id, arena, &s, err);

	(void)user_id;
	if (rc == -ERR_INVALID)
		return err_set(err, ERR_NOT_FOUND, "no such submission");
	if (rc)
		return rc;
	*ret = object_of(&s, arena);
	return 0;
}

void get_submission(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_submission);
}

int file_submissions(const struct related_ask *ask, struct related *ret, struct err *err)
{
	struct list_range range = { .limit = ask->page->limit, .count = ask->page->total < 0 };
	struct submission_page page;
	struct object *objects;

	if (!page_position_number(ask->page->position, &range.before_id))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(file_submissions_read(ask->api->svc, ask->of->key, &range, ask->arena, &page, err));
	objects = arena_must(ask->arena, (page.count + 1) * sizeof *objects);
	for (size_t i = 0; i < page.count; i++)
		objects[i] = object_of(&page.rows[i], ask->arena);
	ret->objects = objects;
	ret->count = page.count;
	ret->total = range.count ? page.total : ask->page->total;
	if (page.more)
		ret->next = page_position_of(ask->arena, page.rows[page.count - 1].id);
	return 0;
}
