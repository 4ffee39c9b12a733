#include "report.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"
#include "scan/container.h"
#include "scan/filetype.h"
#include "store/meta_facts.h"

enum {
	REPORT_BYTES_MAX = 256 * 1024, /* a hundred names of 255 bytes, escaped, and the rest */
	TAGS_BYTES_MAX = 4096,
};

static void put_digest(struct json *j, const char *key, const uint8_t *digest, size_t n)
{
	char hex[2 * SHA256_BYTES + 1];

	hex_encode(digest, n, hex);
	json_kv_z(j, key, hex);
}

/* weir has no engines of its own: the counts are there, because clients read them, and zero. */
static void put_stats(struct json *j)
{
	static const char *const categories[] = { "malicious",  "suspicious",
						  "undetected", "harmless",
						  "timeout",    "confirmed-timeout",
						  "failure",    "type-unsupported" };

	json_key(j, "last_analysis_stats");
	json_obj(j);
	for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
		json_kv_i64(j, categories[i], 0);
	json_obj_end(j);
	json_key(j, "last_analysis_results");
	json_obj(j);
	json_obj_end(j);
	json_key(j, "total_votes");
	json_obj(j);
	json_kv_i64(j, "harmless", 0);
	json_kv_i64(j, "malicious", 0);
	json_obj_end(j);
	json_kv_i64(j, "reputation", 0);
}

static void put_type(struct json *j, const struct file_row *file)
{
	const struct filetype *type = filetype_by_id(file->file_type);
	struct str rest = str_of(type->tags), tag;

	json_kv_z(j, "type_tag", type->tag);
	json_kv_z(j, "type_description", type->description);
	if (type->extension[0])
		json_kv_z(j, "type_extension", type->extension);
	json_key(j, "type_tags");
	json_arr(j);
	while (str_split(&rest, ' ', &tag)) {
		if (tag.n)
			json_str(j, tag);
	}
	json_arr_end(j);
	if (file->magic.n)
		json_kv_str(j, "magic", file->magic);
}

void report_tags(struct buf *out, uint32_t file_type, struct str found)
{
	if (file_type)
		buf_add_z(out, filetype_by_id(file_type)->tag);
	if (out->n && found.n)
		buf_add_c(out, ' ');
	buf_add_str(out, found);
}

static void put_tags(struct json *j, const struct file_row *file, struct str found)
{
	AUTO(buf_release) struct buf tags = BUF_INIT(TAGS_BYTES_MAX);
	struct str rest, tag;

	report_tags(&tags, file->identified ? file->file_type : 0, found);
	json_key(j, "tags");
	json_arr(j);
	for (rest = buf_str(&tags); str_split(&rest, ' ', &tag);) {
		if (tag.n)
			json_str(j, tag);
	}
	json_arr_end(j);
}

void report_write(struct buf *out, const struct file_row *file, struct str tags,
		  struct str bundle_info, const struct str *names, size_t name_count, int64_t now_s)
{
	struct json j;

	json_init(&j, out);
	json_obj(&j);
	put_digest(&j, "sha256", file->hashes.sha256, SHA256_BYTES);
	put_digest(&j, "sha1", file->hashes.sha1, SHA1_BYTES);
	put_digest(&j, "md5", file->hashes.md5, MD5_BYTES);
	json_kv_i64(&j, "size", (int64_t)file->size);
	json_key(&j, "names");
	json_arr(&j);
	for (size_t i = 0; i < name_count; i++)
		json_str(&j, names[i]);
	json_arr_end(&j);
	if (file->last_name.n)
		json_kv_str(&j, "meaningful_name", file->last_name);
	if (file->identified)
		put_type(&j, file);
	put_tags(&j, file, tags);
	if (bundle_info.n) {
		json_key(&j, "bundle_info");
		json_raw(&j, bundle_info);
	}
	json_kv_i64(&j, "first_submission_date", file->first_submission_s);
	json_kv_i64(&j, "last_submission_date", file->last_submission_s);
	json_kv_i64(&j, "last_modification_date", now_s);
	if (file->last_analysis_s)
		json_kv_i64(&j, "last_analysis_date", file->last_analysis_s);
	json_kv_i64(&j, "times_submitted", file->times_submitted);
	json_kv_i64(&j, "unique_sources", file->unique_sources);
	put_stats(&j);
	json_kv_bool(&j, "downloadable", true);
	json_obj_end(&j);
	json_end(&j);
}

int report_refresh(struct sql_conn *conn, int64_t file_id, int64_t analysis_s, int64_t now_s,
		   struct arena *arena, struct err *err)
{
	AUTO(buf_release) struct buf out = BUF_INIT(REPORT_BYTES_MAX);
	struct bundle_info bundle = { 0 };
	struct file_row file;
	struct str *names, tags;
	size_t name_count;

	TRY(file_row_by_id(conn, file_id, arena, &file, err));
	TRY(file_names(conn, file_id, arena, &names, &name_count, err));
	if (analysis_s)
		file.last_analysis_s = analysis_s;
	TRY(file_facts_tags(conn, file_id, arena, &tags, err));
	if (file.identified && container_of(file.magic, file.mime))
		TRY(bundle_info_get(conn, file_id, arena, &bundle, err));
	if (tags.n && bundle.report_tags.n)
		tags = str_of(arena_printf(arena, STR_FMT " " STR_FMT, STR_ARG(tags),
					   STR_ARG(bundle.report_tags)));
	else if (bundle.report_tags.n)
		tags = bundle.report_tags;
	report_write(&out, &file, tags, bundle.report, names, name_count, now_s);
	TRY(buf_check(&out, "a file's report", err));
	return file_row_set_report(conn, file_id, buf_str(&out), analysis_s, err);
}
