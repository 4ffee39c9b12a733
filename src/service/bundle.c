#include "bundle.h"

#include <stdio.h>
#include <time.h>

#include "base/json.h"
#include "base/utf8.h"
#include "report.h"
#include "scan/filetype.h"

enum {
	SETTLE_ARENA_MAX = 4 << 20,   /* report, names and listing of one container */
	REPORT_BYTES_MAX = 64 * 1024, /* a listing and BUNDLE_TYPES_MAX kinds */
	DATE_MIN_S = 315532800,       /* 1980: what is before is a clock that was never set */
};

/* ---- Paths ---- */

void bundle_path(struct buf *out, struct str raw)
{
	AUTO(buf_release) struct buf text = BUF_INIT(4 * UNPACK_NAME_MAX);
	struct str rest, part;
	size_t start = 0;

	if (raw.n > UNPACK_NAME_MAX)
		raw.n = UNPACK_NAME_MAX;
	utf8_clean(&text, raw);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\\')
			text.p[i] = '/';
		else if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
			text.p[i] = '_';
	}
	rest = buf_str(&text);
	size_t begin = out->n;

	while (str_split(&rest, '/', &part)) {
		if (part.n == 0 || str_eq_z(part, ".") || str_eq_z(part, ".."))
			continue;
		if (out->n > begin)
			buf_add_c(out, '/');
		buf_add_str(out, part);
	}
	if (out->n - begin <= BUNDLE_NAME_BYTES_MAX)
		return;
	/* The end says more than the folders in front; not in the middle of a character. */
	start = out->n - BUNDLE_NAME_BYTES_MAX;
	while (start < out->n && ((unsigned char)out->p[start] & 0xc0) == 0x80)
		start++;
	memmove(out->p + begin, out->p + start, out->n - start);
	out->n -= start - begin;
	out->p[out->n] = '\0';
}

/* ---- The listing ---- */

static void count_extension(struct listing *l, struct str path)
{
	char text[LISTING_EXTENSION_BYTES + 1];
	size_t dot = path.n, n;

	while (dot > 0 && path.p[dot - 1] != '.' && path.p[dot - 1] != '/')
		dot--;
	n = path.n - dot;
	if (dot == 0 || path.p[dot - 1] != '.' || n == 0 || n > LISTING_EXTENSION_BYTES)
		return;
	for (size_t i = 0; i < n; i++) {
		char c = path.p[dot + i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return;
		text[i] = c;
	}
	text[n] = '\0';
	for (size_t i = 0; i < l->extension_count; i++) {
		if (strcmp(l->extensions[i].text, text) == 0) {
			l->extensions[i].files++;
			return;
		}
	}
	if (l->extension_count == LISTING_EXTENSIONS_MAX)
		return;
	memcpy(l->extensions[l->extension_count].text, text, n + 1);
	l->extensions[l->extension_count++].files = 1;
}

void listing_entry(struct listing *l, const struct unpack_entry *entry, struct str path)
{
	l->entries++;
	l->beginning_bytes = 0;
	if (entry->kind == UNPACK_FILE)
		count_extension(l, path);
	if (entry->kind == UNPACK_FOLDER || !entry->has_mtime || entry->mtime_s < DATE_MIN_S)
		return;
	if (!l->dated || entry->mtime_s < l->lowest_s)
		l->lowest_s = entry->mtime_s;
	if (!l->dated || entry->mtime_s > l->highest_s)
		l->highest_s = entry->mtime_s;
	l->dated = true;
}

void listing_bytes(struct listing *l, const void *p, size_t n)
{
	size_t room = LISTING_BEGINNING_BYTES - l->beginning_bytes;

	l->bytes += n;
	if (n > room)
		n = room;
	memcpy(l->beginning + l->beginning_bytes, p, n);
	l->beginning_bytes += n;
}

/* VirusTotal's form: "2015-03-08 01:21:02". */
static void put_date(struct json *j, const char *key, int64_t s)
{
	char text[40];
	time_t t = (time_t)s;
	struct tm tm;

	if (gmtime_r(&t, &tm) != NULL && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) > 0)
		json_kv_z(j, key, text);
}

static void put_beginning(struct json *j, const struct listing *l)
{
	char text[LISTING_BEGINNING_BYTES];

	for (size_t i = 0; i < l->beginning_bytes; i++)
		text[i] = (char)(l->beginning[i] >= ' ' && l->beginning[i] < 0x7f ? l->beginning[i]
										  : '.');
	json_kv_str(j, "beginning", str_make(text, l->beginning_bytes));
}

void listing_write(struct buf *out, const struct listing *l, const char *type, bool is_stream,
		   const struct unpacked *result)
{
	AUTO(buf_release) struct buf text = BUF_INIT(LISTING_BYTES_MAX);
	struct json j;

	json_init(&j, &text);
	json_obj(&j);
	json_kv_z(&j, "type", type);
	json_kv_i64(&j, "num_children", (int64_t)l->entries);
	json_kv_i64(&j, "uncompressed_size", (int64_t)l->bytes);
	if (l->dated) {
		put_date(&j, "lowest_datetime", l->lowest_s);
		put_date(&j, "highest_datetime", l->highest_s);
	}
	json_key(&j, "extensions");
	json_obj(&j);
	for (size_t i = 0; i < l->extension_count; i++)
		json_kv_i64(&j, l->extensions[i].text, (int64_t)l->extensions[i].files);
	json_obj_end(&j);
	if (is_stream && l->entries == 1 && l->beginning_bytes > 0)
		put_beginning(&j, l);
	if (result->text[0] != '\0')
		json_kv_z(&j, l->entries > 0 ? "warning" : "error", result->text);
	json_obj_end(&j);
	json_end(&j);
	/* Without the braces: what is inside is added later. */
	if (!buf_failed(&text))
		buf_add(out, text.p + 1, text.n - 2);
}

/* ---- The report ---- */

static void put_types(struct json *j, const struct bundle_type *types, size_t n)
{
	json_key(j, "file_types");
	json_obj(j);
	for (size_t i = 0; i < n; i++)
		json_kv_i64(j, filetype_by_id(types[i].file_type)->description,
			    (int64_t)types[i].files);
	json_obj_end(j);
}

static void put_tags(struct json *j, struct str tags)
{
	struct str tag;

	json_arr(j);
	while (str_split(&tags, ' ', &tag)) {
		if (tag.n > 0)
			json_str(j, tag);
	}
	json_arr_end(j);
}

/* "contains-pe" for what holds a file whose type's tags have the word "pe", and so on. */
static void add_contents_tags(struct buf *out, const struct bundle_type *types, size_t n)
{
	static const char *const kinds[] = { "pe",  "elf", "macho", "lnk",   "pdf",
					     "msi", "apk", "jar",   "script" };

	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		bool there = false;

		for (size_t i = 0; i < n && !there; i++) {
			struct str rest = str_of(filetype_by_id(types[i].file_type)->tags), tag;

			while (!there && str_split(&rest, ' ', &tag))
				there = str_eq_z(tag, kinds[k]);
		}
		if (there)
			buf_addf(out, "%scontains-%s", out->n > 0 ? " " : "", kinds[k]);
	}
}

int bundle_describe(struct sql_conn *conn, int64_t file_id, struct arena *arena, struct err *err)
{
	AUTO(buf_release) struct buf report = BUF_INIT(REPORT_BYTES_MAX);
	AUTO(buf_release) struct buf tags = BUF_INIT(1024);
	struct bundle_type types[BUNDLE_TYPES_MAX];
	struct bundle_info info;
	struct json j;
	size_t n;

	TRY(bundle_info_get(conn, file_id, arena, &info, err));
	if (info.listing.n == 0)
		return 0;
	TRY(bundle_types(conn, file_id, types, &n, err));
	buf_add_str(&tags, info.tags);
	add_contents_tags(&tags, types, n);
	json_init(&j, &report);
	json_obj(&j);
	json_raw_members(&j, info.listing);
	put_types(&j, types, n);
	json_key(&j, "tags");
	put_tags(&j, buf_str(&tags));
	json_obj_end(&j);
	json_end(&j);
	TRY(buf_check(&report, "what is known of a container", err));
	info.report = buf_str(&report);
	info.report_tags = buf_str(&tags);
	return bundle_info_put(conn, file_id, &info, err);
}

/* ---- Completing those that waited ---- */

/* The array of what was not run, with a word on what is inside. */
static void not_run_with(struct buf *out, const struct bundle_waiting *w)
{
	if (w->incomplete == 0) {
		buf_add_str(out, w->not_run);
		return;
	}
	if (w->not_run.n > 2) {
		buf_add(out, w->not_run.p, w->not_run.n - 1);
		buf_add_c(out, ',');
	} else {
		buf_add_c(out, '[');
	}
	buf_addf(out,
		 "{\"what\":\"bundled_files\",\"reason\":\"in %llu contained files something was "
		 "not run; their own analyses say what\"}]",
		 (unsigned long long)w->incomplete);
}

static int settle_one(struct sql_conn *conn, int64_t *analysis_id, int64_t now_s,
		      struct buf *settled, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("settle", SETTLE_ARENA_MAX);
	AUTO(buf_release) struct buf not_run = BUF_INIT(SETTLE_ARENA_MAX);
	struct bundle_waiting w;

	TRY(bundle_waiting(conn, *analysis_id, arena, &w, err));
	if (!w.waits) {
		*analysis_id = 0;
		return 0;
	}
	not_run_with(&not_run, &w);
	TRY(buf_check(&not_run, "what was not run", err));
	TRY(bundle_release(conn, *analysis_id, buf_str(&not_run), now_s, err));
	TRY(bundle_describe(conn, w.file_id, arena, err));
	TRY(report_refresh(conn, w.file_id, now_s, now_s, arena, err));
	if (w.parent_id == 0)
		TRY(bundle_forget(conn, *analysis_id, err));
	buf_add(settled, w.sha256, SHA256_BYTES);
	*analysis_id = w.parent_id;
	return 0;
}

int bundle_settle(struct sql_conn *conn, int64_t analysis_id, int64_t now_s, struct buf *settled,
		  struct err *err)
{
	while (analysis_id != 0)
		TRY(settle_one(conn, &analysis_id, now_s, settled, err));
	return 0;
}
