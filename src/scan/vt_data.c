#include "scan/vt_data.h"
#include "base/json_view.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "scan/filetype.h"
#include "vt/titan.pb-c.h"

/* Terminated clean copies, by offset, as the buffer may move while it grows. */
struct texts {
	struct buf room;
};

enum {
	NO_TEXT = 0
}; /* offset of the empty text */

static size_t add_text(struct texts *t, struct str s)
{
	size_t at = t->room.n;

	if (s.n == 0)
		return NO_TEXT;
	utf8_clean(&t->room, s);
	/* It becomes a C string, which ends at NUL. */
	for (size_t i = at; i < t->room.n; i++) {
		if (t->room.p[i] == '\0')
			t->room.p[i] = '?';
	}
	buf_add_c(&t->room, '\0');
	return at;
}

static char *text_at(const struct texts *t, size_t at)
{
	return t->room.p + at;
}

struct tag_list {
	size_t at[VT_DATA_TAGS_MAX];
	char *p[VT_DATA_TAGS_MAX];
	size_t n;
};

static void add_tags(struct texts *t, struct tag_list *list, struct str tags)
{
	struct str tag;

	while (list->n < VT_DATA_TAGS_MAX && str_split(&tags, ' ', &tag)) {
		if (tag.n > 0)
			list->at[list->n++] = add_text(t, tag);
	}
}

static char **tag_texts(const struct texts *t, struct tag_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		list->p[i] = text_at(t, list->at[i]);
	return list->p;
}

/* The exiftool map: keys and values by offset, then as entries of the message. */
struct exif_list {
	size_t keys[VT_DATA_EXIF_MAX];
	size_t values[VT_DATA_EXIF_MAX];
	Vt__Titan__FileMetadata__ExiftoolEntry entries[VT_DATA_EXIF_MAX];
	Vt__Titan__FileMetadata__ExiftoolEntry *p[VT_DATA_EXIF_MAX];
	size_t n;
};

static void add_exif(struct texts *t, struct exif_list *list, struct str object)
{
	AUTO(buf_release) struct buf text = BUF_INIT(VT_DATA_BYTES_MAX);
	struct str at, key, value;

	list->n = 0;
	for (at = json_view_inside(object);
	     list->n < VT_DATA_EXIF_MAX && json_view_member(&at, &key, &value);) {
		buf_reset(&text);
		json_view_text(value, &text);
		list->keys[list->n] = add_text(t, key);
		list->values[list->n++] = add_text(t, buf_str(&text));
	}
}

enum {
	TEXT_COUNT = 14
};

static int32_t to_int32(uint32_t v)
{
	return v > INT32_MAX ? INT32_MAX : (int32_t)v;
}

static int pack(const Vt__Titan__LiveHuntData *hunt, struct buf *out, struct err *err)
{
	size_t n = vt__titan__live_hunt_data__get_packed_size(hunt);
	char *room = n <= VT_DATA_BYTES_MAX ? buf_reserve(out, n) : NULL;

	if (room == NULL)
		return err_set(err, ERR_TOO_LARGE, "vt data of %zu bytes", n);
	out->n += vt__titan__live_hunt_data__pack(hunt, (uint8_t *)room);
	return 0;
}

/* The generated initialisers point `char *` fields at constant empty texts. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
static Vt__Titan__FileMetadata__ExiftoolEntry **exif_entries(const struct texts *t,
							     struct exif_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		list->entries[i] = (Vt__Titan__FileMetadata__ExiftoolEntry)
			VT__TITAN__FILE_METADATA__EXIFTOOL_ENTRY__INIT;
		list->entries[i].key = text_at(t, list->keys[i]);
		list->entries[i].value = text_at(t, list->values[i]);
		list->p[i] = &list->entries[i];
	}
	return list->p;
}

static int encode(const struct vt_data *d, struct texts *t, struct exif_list *exif, struct buf *out,
		  struct err *err)
{
	Vt__Titan__LiveHuntData hunt = VT__TITAN__LIVE_HUNT_DATA__INIT;
	Vt__Titan__FileMetadata meta = VT__TITAN__FILE_METADATA__INIT;
	Vt__Submitter__Submitter submitter = VT__SUBMITTER__SUBMITTER__INIT;
	Vt__Titan__MainIcon icon = VT__TITAN__MAIN_ICON__INIT;
	Vt__Analysis__AnalysisStats stats = VT__ANALYSIS__ANALYSIS_STATS__INIT;
	struct tag_list tags = { .n = 0 }, type_tags = { .n = 0 };
	const struct {
		struct str text;
		char **field;
	} texts[TEXT_COUNT] = {
		{ d->sha256, &meta.sha256 },
		{ d->sha1, &meta.sha1 },
		{ d->md5, &meta.md5 },
		{ d->ssdeep, &meta.ssdeep },
		{ d->imphash, &meta.imphash },
		{ d->tlsh, &meta.tlsh },
		{ d->vhash, &meta.vhash },
		{ d->telfhash, &meta.telfhash },
		{ d->file_name, &meta.file_name },
		{ d->magic, &meta.magic },
		{ d->submitter_city, &submitter.city },
		{ d->submitter_country, &submitter.country },
		{ d->icon_raw_md5, &icon.raw_md5 },
		{ d->icon_dhash, &icon.dhash },
	};
	size_t at[TEXT_COUNT];

	buf_add_c(&t->room, '\0'); /* at NO_TEXT */
	for (size_t i = 0; i < TEXT_COUNT; i++)
		at[i] = add_text(t, texts[i].text);
	add_tags(t, &tags, d->tags);
	add_tags(t, &type_tags, str_of(filetype_by_id(d->file_type)->tags));
	add_exif(t, exif, d->exiftool);
	TRY(buf_check(&t->room, "the texts of vt data", err));

	for (size_t i = 0; i < TEXT_COUNT; i++)
		*texts[i].field = text_at(t, at[i]);
	meta.file_type = (Vt__Fileanalysis__FileType)d->file_type;
	meta.file_size = d->file_size > INT64_MAX ? INT64_MAX : (int64_t)d->file_size;
	meta.times_submitted = to_int32(d->times_submitted);
	meta.unique_sources = to_int32(d->unique_sources);
	meta.first_submission_date = d->first_submission_date;
	meta.new_file = d->new_file;
	meta.subfile = d->subfile;
	meta.tags = tag_texts(t, &tags);
	meta.n_tags = tags.n;
	meta.file_type_tags = tag_texts(t, &type_tags);
	meta.n_file_type_tags = type_tags.n;
	meta.exiftool = exif_entries(t, exif);
	meta.n_exiftool = exif->n;
	if (d->icon_raw_md5.n > 0)
		meta.main_icon = &icon;
	meta.submitter = &submitter;
	meta.analysis_stats = &stats;
	hunt.meta = &meta;
	return pack(&hunt, out, err);
}
#pragma GCC diagnostic pop

int vt_data_encode(const struct vt_data *data, struct buf *out, struct err *err)
{
	struct texts t = { .room = BUF_INIT(VT_DATA_BYTES_MAX) };
	AUTO(mem_drop) void *exif = mem_must_zalloc(sizeof(struct exif_list));

	int rc = encode(data, &t, exif, out, err);

	buf_release(&t.room);
	return rc;
}
