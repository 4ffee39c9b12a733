#include "api_internal.h"

#include "relationship.h"
#include "service/bundles.h"

/* What lies inside a container, and what a file lies in. */

static void write_context(struct json *j, const void *arg)
{
	const struct bundled_file *b = arg;

	json_obj(j);
	json_kv_str(j, "filename", b->name);
	json_obj_end(j);
}

static int list(const struct related_ask *ask, bool inside, struct related *ret, struct err *err)
{
	struct bundle_ask range = { .file_id = ask->of->key,
				    .inside = inside,
				    .limit = ask->page->limit,
				    .count = ask->page->total < 0 };
	struct bundled_page page;
	struct object *objects;

	if (!page_position_number(ask->page->position, &range.after_id))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(bundled_read(ask->api->svc, &range, ask->arena, &page, err));
	objects = arena_must(ask->arena, (page.count + 1) * sizeof *objects);
	for (size_t i = 0; i < page.count; i++) {
		const struct bundled_file *b = &page.rows[i];

		TRY(file_object_find(ask->api, b->sha256, ask->arena, &objects[i], err));
		objects[i].context = object_json(ask->arena, write_context, b);
	}
	ret->objects = objects;
	ret->count = page.count;
	ret->total = range.count ? page.total : ask->page->total;
	if (page.more)
		ret->next = page_position_of(ask->arena, page.rows[page.count - 1].id);
	return 0;
}

int file_bundled_files(const struct related_ask *ask, struct related *ret, struct err *err)
{
	return list(ask, true, ret, err);
}

int file_compressed_parents(const struct related_ask *ask, struct related *ret, struct err *err)
{
	return list(ask, false, ret, err);
}
