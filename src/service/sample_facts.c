#include "sample_facts.h"

#include "base/hex.h"
#include "base/json_view.h"
#include "report.h"
#include "scan/filetype.h"
#include "scan/vt_data.h"

enum {
	FACT_TEXT_MAX = 4096 /* a hash, or all tags */
};

static struct str hex_of(struct arena *arena, const uint8_t *p, size_t n)
{
	char *text = arena_must(arena, 2 * n + 1);

	hex_encode(p, n, text);
	return str_make(text, 2 * n);
}

/* The text of a member of the facts, or of one of their objects; "" if it is not there. */
static struct str fact_text(struct arena *arena, struct str object, struct str member)
{
	AUTO(buf_release) struct buf text = BUF_INIT(FACT_TEXT_MAX);

	json_view_text(json_view_find(object, member), &text);
	return arena_str(arena, buf_str(&text));
}

/* "peexe 64bits overlay": the type's tag, then what was found. */
static struct str all_tags(const struct sample_known *known, const struct filetype *type,
			   struct arena *arena)
{
	AUTO(buf_release) struct buf tags = BUF_INIT(FACT_TEXT_MAX);

	report_tags(&tags, known->identified ? type->vt : 0, known->tags);
	return arena_str(arena, buf_str(&tags));
}

/*
 * Seen for the first time: sent once and never found in a container before that, or only
 * found, and never analysed.
 */
static bool is_new(const struct file_row *file)
{
	if (file->times_submitted == 0)
		return file->last_analysis_s == 0;
	return file->times_submitted == 1 && file->first_submission_s == file->last_submission_s;
}

struct scan_facts sample_facts(const struct sample_known *known, struct arena *arena)
{
	const struct file_row *file = known->file;
	const struct filetype *type = filetype_by_id(known->file_type);
	struct str icon = json_view_find(known->facts, STR("main_icon"));
	AUTO(buf_release) struct buf vt = BUF_INIT(VT_DATA_BYTES_MAX);
	struct scan_facts facts = {
		.file_name = file->last_name,
		.file_type = str_of(type->tags),
		.md5 = hex_of(arena, file->hashes.md5, MD5_BYTES),
		.sha1 = hex_of(arena, file->hashes.sha1, SHA1_BYTES),
		.sha256 = hex_of(arena, file->hashes.sha256, SHA256_BYTES),
		.tags = all_tags(known, type, arena),
		.imphash = fact_text(arena, json_view_find(known->facts, STR("pe_info")),
				     STR("imphash")),
		.ssdeep = fact_text(arena, known->facts, STR("ssdeep")),
		.submissions = file->times_submitted,
		.new_file = is_new(file),
	};
	const struct vt_data data = {
		.sha256 = facts.sha256,
		.sha1 = facts.sha1,
		.md5 = facts.md5,
		.file_name = facts.file_name,
		.file_type = known->file_type,
		.file_size = file->size,
		.times_submitted = (uint32_t)file->times_submitted,
		.unique_sources = (uint32_t)file->unique_sources,
		.first_submission_date = file->first_submission_s,
		.new_file = facts.new_file,
		.subfile = known->is_inside,
		.magic = known->magic,
		.tags = facts.tags,
		.imphash = facts.imphash,
		.ssdeep = facts.ssdeep,
		.tlsh = fact_text(arena, known->facts, STR("tlsh")),
		.telfhash = fact_text(arena, known->facts, STR("telfhash")),
		.exiftool = json_view_find(known->facts, STR("exiftool")),
		.icon_raw_md5 = fact_text(arena, icon, STR("raw_md5")),
		.icon_dhash = fact_text(arena, icon, STR("dhash")),
	};

	if (vt_data_encode(&data, &vt, NULL) == 0)
		facts.vt = arena_str(arena, buf_str(&vt));
	return facts;
}
