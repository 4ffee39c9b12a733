#include "api_internal.h"

#include "base/hex.h"
#include "relationship.h"
#include "service/file_lists.h"

/* ---- An analysis ---- */

static void write_attributes(struct json *j, const void *arg)
{
	static const char *const states[] = { "queued", "in-progress", "completed" };
	static const char *const categories[] = { "malicious",  "suspicious",
						  "undetected", "harmless",
						  "timeout",    "confirmed-timeout",
						  "failure",    "type-unsupported" };
	const struct analysis_info *a = arg;

	json_obj(j);
	json_kv_i64(j, "date", a->completed_s ? a->completed_s : a->created_s);
	json_kv_z(j, "status", states[a->state]);
	json_key(j, "stats");
	json_obj(j);
	for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
		json_kv_i64(j, categories[i], 0);
	json_obj_end(j);
	json_key(j, "results");
	json_obj(j);
	json_obj_end(j);
	if (a->generation)
		json_kv_i64(j, "hunting_generation", a->generation);
	if (a->state == ANALYSIS_COMPLETED) {
		json_key(j, "not_run");
		json_raw(j, a->not_run.n ? a->not_run : STR("[]"));
	}
	json_obj_end(j);
}

/* What VirusTotal tells beside an analysis: which file it is about. */
static void write_meta(struct json *j, const void *arg)
{
	const struct file_info *file = arg;
	char hex[2 * SHA256_BYTES + 1];

	json_obj(j);
	json_key(j, "file_info");
	json_obj(j);
	hex_encode(file->hashes.sha256, SHA256_BYTES, hex);
	json_kv_z(j, "sha256", hex);
	hex_encode(file->hashes.sha1, SHA1_BYTES, hex);
	json_kv_z(j, "sha1", hex);
	hex_encode(file->hashes.md5, MD5_BYTES, hex);
	json_kv_z(j, "md5", hex);
	json_kv_i64(j, "size", (int64_t)file->size);
	json_obj_end(j);
	json_obj_end(j);
}

static struct object object_of(const struct analysis_info *a, struct arena *arena)
{
	char *id = arena_must(arena, ANALYSIS_ID_CHARS + 1);

	analysis_id_format(a->sha256, a->intake, id);
	return (struct object){ .type = &object_types[OBJECT_analysis],
				.id = str_of(id),
				.key = a->intake,
				.attributes = object_json(arena, write_attributes, a) };
}

int analysis_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		  struct object *ret, struct err *err)
{
	struct analysis_info a;
	struct file_info file;
	int rc = analysis_get(api->svc, id, arena, &a, err);

	(void)user_id;
	if (rc == -ERR_INVALID)
		return err_set(err, ERR_NOT_FOUND, "no such analysis");
	if (rc)
		return rc;
	TRY(file_get_sha256(api->svc, a.sha256, arena, &file, err));
	*ret = object_of(&a, arena);
	ret->meta = object_json(arena, write_meta, &file);
	return 0;
}

void get_analysis(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_analysis);
}

/* ---- What it leads to, and what leads to it ---- */

int analysis_item(const struct related_ask *ask, struct related *ret, struct err *err)
{
	struct object *file = arena_must(ask->arena, sizeof *file);
	uint8_t sha256[SHA256_BYTES];
	int64_t intake;

	TRY(analysis_id_parse(ask->of->id, sha256, &intake, err));
	TRY(file_object_find(ask->api, sha256, ask->arena, file, err));
	ret->objects = file;
	ret->count = 1;
	return 0;
}

int file_analyses(const struct related_ask *ask, struct related *ret, struct err *err)
{
	struct list_range range = { .limit = ask->page->limit, .count = ask->page->total < 0 };
	struct analysis_page page;
	struct object *objects;

	if (!page_position_number(ask->page->position, &range.before_id))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(file_analyses_read(ask->api->svc, ask->of->key, &range, ask->arena, &page, err));
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
