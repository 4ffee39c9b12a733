#include "unpack_walk_internal.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <iconv.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "base/mem.h"

enum {
	READ_PIECE = 128 * 1024,
	DATA_PIECE = 48 * 1024,        /* goes into one packet */
	BAD_HEADERS_MAX = 64,          /* in a row: then nothing more is to be expected */
	PASSWORD_BYTES_MAX = 16 << 20, /* of an entry are read to see whether a password fits */
};

struct walk {
	const struct walk_source *source;
	const struct unpack_request *request;
	const struct walk_sink *sink;
	struct unpacked *result;
	struct archive *archive;
	uint64_t at; /* in the source */
	int64_t cpu_end_us;
	bool out_of_time;
	bool read_failed;
	int read_errno;
	uint8_t piece[READ_PIECE];
};

/*
 * Names are converted to it. Without one (a system without C.UTF-8) libarchive asks the
 * C library for tables of characters, which the sandbox refuses; names then come as they are.
 */
static locale_t utf8_locale;

void unpack_walk_prepare(void)
{
	if (utf8_locale == (locale_t)0)
		utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/*
 * libarchive's (and libxml2's) converters of other character sets, in place of the C
 * library's: those are files that iconv_open would load, and opening a file ends the
 * process in the sandbox. Names in such sets come as the bytes they are.
 */
iconv_t iconv_open(const char *to, const char *from)
{
	(void)to;
	(void)from;
	errno = EINVAL;
	return (iconv_t)-1;
}

static int64_t cpu_us(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
		return 0;
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool time_is_up(struct walk *w)
{
	w->out_of_time = w->out_of_time || cpu_us() >= w->cpu_end_us;
	return w->out_of_time;
}

/* ---- Reading the sample ---- */

static la_ssize_t on_read(struct archive *a, void *arg, const void **ret)
{
	struct walk *w = arg;
	uint64_t left = w->source->len - w->at;

	if (time_is_up(w)) {
		archive_set_error(a, ETIMEDOUT, "out of time");
		return ARCHIVE_FATAL;
	}
	*ret = w->piece;
	if (left == 0)
		return 0;
	ssize_t n = w->source->read(w->source->arg, w->piece,
				    left < sizeof w->piece ? (size_t)left : sizeof w->piece, w->at);

	if (n < 0) {
		w->read_failed = true;
		w->read_errno = errno;
		archive_set_error(a, errno, "reading the sample");
		return ARCHIVE_FATAL;
	}
	w->at += (uint64_t)n;
	return n;
}

static la_int64_t on_seek(struct archive *a, void *arg, la_int64_t offset, int whence)
{
	struct walk *w = arg;
	uint64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? w->at : w->source->len;

	(void)a;
	if (offset < 0 ? (uint64_t)-offset > base : (uint64_t)offset > w->source->len - base)
		return ARCHIVE_FATAL;
	w->at = base + (uint64_t)offset;
	return (la_int64_t)w->at;
}

static la_int64_t on_skip(struct archive *a, void *arg, la_int64_t n)
{
	struct walk *w = arg;
	uint64_t left = w->source->len - w->at;

	(void)a;
	if (n < 0)
		return 0;
	if ((uint64_t)n > left)
		n = (la_int64_t)left;
	w->at += (uint64_t)n;
	return n;
}

/* ---- One archive ---- */

typedef int (*support)(struct archive *);

static const support filters[] = {
	archive_read_support_filter_bzip2, archive_read_support_filter_compress,
	archive_read_support_filter_gzip,  archive_read_support_filter_lz4,
	archive_read_support_filter_lzip,  archive_read_support_filter_lzma,
	archive_read_support_filter_rpm,   archive_read_support_filter_xz,
	archive_read_support_filter_zstd,  NULL,
};
static const support formats[] = {
	archive_read_support_format_7zip,    archive_read_support_format_ar,
	archive_read_support_format_cab,     archive_read_support_format_cpio,
	archive_read_support_format_iso9660, archive_read_support_format_lha,
	archive_read_support_format_rar,     archive_read_support_format_rar5,
	archive_read_support_format_tar,     archive_read_support_format_xar,
	archive_read_support_format_zip,     NULL,
};
/* Inside a compressed file: these are opened at once, anything else is the file it is. */
static const support stream_formats[] = {
	archive_read_support_format_cpio,
	archive_read_support_format_raw,
	archive_read_support_format_tar,
	NULL,
};
static const support raw_alone[] = { archive_read_support_format_raw, NULL };

/* One that is missing from the library opens nothing. */
static void enable(struct archive *a, const support *list)
{
	for (; *list != NULL; list++)
		(void)(*list)(a);
}

static bool walk_open(struct walk *w, const support *enabled)
{
	const struct unpack_request *r = w->request;
	struct archive *a = w->archive;

	enable(a, filters);
	enable(a, enabled);
	for (size_t i = 0; i < r->password_count; i++) {
		char text[UNPACK_PASSWORD_BYTES_MAX + 1];
		size_t n = r->passwords[i].n < sizeof text ? r->passwords[i].n : sizeof text - 1;

		memcpy(text, r->passwords[i].p, n);
		text[n] = '\0';
		if (n > 0)
			(void)archive_read_add_passphrase(a, text);
		explicit_bzero(text, sizeof text);
	}
	return archive_read_set_read_callback(a, on_read) == ARCHIVE_OK &&
	       archive_read_set_seek_callback(a, on_seek) == ARCHIVE_OK &&
	       archive_read_set_skip_callback(a, on_skip) == ARCHIVE_OK &&
	       archive_read_set_callback_data(a, w) == ARCHIVE_OK &&
	       archive_read_open1(a) >= ARCHIVE_WARN;
}

/* The first thing that went wrong is the one worth telling. */
static void note_error(struct walk *w)
{
	const char *text = archive_error_string(w->archive);
	char *to = w->result->text;
	size_t n = 0;

	if (to[0] != '\0' || text == NULL)
		return;
	for (; n < UNPACK_TEXT_MAX && text[n] != '\0'; n++)
		to[n] = (char)(text[n] >= ' ' && text[n] < 0x7f ? text[n] : '?');
	to[n] = '\0';
}

static bool says_password(struct archive *a)
{
	const char *text = archive_error_string(a);

	return text != NULL &&
	       (strstr(text, "assphrase") != NULL || strstr(text, "ncrypt") != NULL);
}

static struct str entry_name(struct archive_entry *e)
{
	const char *name = archive_entry_pathname(e);

	if (name == NULL)
		name = archive_entry_pathname_utf8(e);
	struct str s = str_of(name != NULL ? name : "");

	if (s.n > UNPACK_NAME_MAX)
		s.n = UNPACK_NAME_MAX;
	return s;
}

static struct unpack_entry describe(struct archive_entry *e)
{
	struct unpack_entry entry = { .name = entry_name(e),
				      .encrypted = archive_entry_is_encrypted(e) == 1,
				      .has_mtime = archive_entry_mtime_is_set(e) != 0,
				      .mtime_s = archive_entry_mtime(e) };

	if (!entry.has_mtime)
		entry.mtime_s = 0;
	if (archive_entry_hardlink(e) != NULL || archive_entry_symlink(e) != NULL)
		entry.kind = UNPACK_LINK;
	else if (archive_entry_filetype(e) == AE_IFDIR)
		entry.kind = UNPACK_FOLDER;
	else if (archive_entry_filetype(e) == AE_IFREG || archive_entry_filetype(e) == 0)
		entry.kind = UNPACK_FILE;
	else
		entry.kind = archive_entry_filetype(e) == AE_IFLNK ? UNPACK_LINK : UNPACK_OTHER;
	return entry;
}

/* What becomes of a file whose bytes end with an error. */
static enum unpack_end data_failed(struct walk *w, const struct unpack_entry *entry)
{
	struct unpacked *r = w->result;

	if (w->out_of_time) {
		r->missing |= MISSING_TIME;
		return UNPACK_CUT;
	}
	/* No password, the wrong one, or garbage that a wrong one made. */
	if (entry->encrypted || says_password(w->archive)) {
		r->encrypted += !entry->encrypted;
		r->missing |= MISSING_ENCRYPTED;
		return UNPACK_ENCRYPTED;
	}
	note_error(w);
	r->missing |= MISSING_DAMAGED;
	return UNPACK_DAMAGED;
}

/* Bytes of the file at hand (NULL: zeros of a hole); false: they are over a limit. */
static bool pass_on(struct walk *w, const uint8_t *p, uint64_t n, uint64_t *bytes)
{
	static const uint8_t zeros[DATA_PIECE];
	const struct unpack_limits *limits = &w->request->limits;
	struct unpacked *r = w->result;

	while (n > 0) {
		size_t part = n < DATA_PIECE ? (size_t)n : (size_t)DATA_PIECE;

		uint32_t over = part > limits->entry_bytes_max - *bytes ? MISSING_ENTRY_BYTES
				: part > limits->bytes_max - r->bytes   ? MISSING_BYTES
				: time_is_up(w)                         ? MISSING_TIME
									: 0;

		r->missing |= over;
		if (over)
			return false;
		*bytes += part;
		r->bytes += part;
		w->sink->bytes(w->sink->arg, p != NULL ? p : zeros, part);
		p += p != NULL ? part : 0;
		n -= part;
	}
	return true;
}

/*
 * A file's bytes to the sink. Block by block: archive_read_data() of libarchive 3.6 adds
 * to files of a xar what it takes for a hole at their end.
 */
static enum unpack_end walk_data(struct walk *w, const struct unpack_entry *entry, bool *ret_fatal)
{
	uint64_t bytes = 0;
	const void *p;
	la_int64_t at;
	size_t n;

	*ret_fatal = false;
	for (;;) {
		int rc = archive_read_data_block(w->archive, &p, &n, &at);

		if (rc == ARCHIVE_EOF)
			return UNPACK_WHOLE;
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) {
			*ret_fatal = rc == ARCHIVE_FATAL;
			return data_failed(w, entry);
		}
		if (at < 0 || (uint64_t)at < bytes) {
			w->result->missing |= MISSING_DAMAGED;
			return UNPACK_DAMAGED;
		}
		if (!pass_on(w, NULL, (uint64_t)at - bytes, &bytes) || !pass_on(w, p, n, &bytes))
			return UNPACK_CUT;
	}
}

/* false: nothing more can come. */
static bool walk_entry(struct walk *w, struct archive_entry *e)
{
	struct unpack_entry entry = describe(e);
	struct unpacked *r = w->result;
	bool fatal;

	if (r->entries == w->request->limits.entries_max) {
		r->missing |= MISSING_ENTRIES;
		return false;
	}
	r->entries++;
	r->encrypted += entry.encrypted;
	w->sink->entry(w->sink->arg, &entry);
	if (entry.kind != UNPACK_FILE)
		return true;
	enum unpack_end how = walk_data(w, &entry, &fatal);

	r->opened += entry.encrypted && how == UNPACK_WHOLE;
	w->sink->end(w->sink->arg, how);
	return !fatal && !w->out_of_time && (r->missing & MISSING_BYTES) == 0 &&
	       (how == UNPACK_WHOLE || !w->request->is_stream);
}

/* Reads the first encrypted file and sees. */
static bool try_password(struct walk *w, struct archive_entry *e)
{
	struct unpack_entry entry = describe(e);
	struct unpacked *r = w->result;
	uint64_t bytes = 0;
	int rc = ARCHIVE_OK;
	const void *p;
	la_int64_t at;
	size_t n = 0;

	if (entry.kind != UNPACK_FILE || !entry.encrypted)
		return ++r->entries < w->request->limits.entries_max;
	r->entries = 0;
	r->encrypted++;
	while (bytes < PASSWORD_BYTES_MAX && !time_is_up(w) && rc >= ARCHIVE_OK &&
	       rc != ARCHIVE_EOF) {
		rc = archive_read_data_block(w->archive, &p, &n, &at);
		bytes += rc == ARCHIVE_OK ? n : 0;
	}
	if (rc >= ARCHIVE_OK)
		r->opened++;
	else
		r->missing |= MISSING_ENCRYPTED;
	return false;
}

static void walk_all(struct walk *w)
{
	bool (*const each)(struct walk *, struct archive_entry *) =
		w->request->only_passwords ? try_password : walk_entry;
	struct unpacked *r = w->result;
	struct archive_entry *e;
	unsigned bad = 0;

	for (;;) {
		int rc = archive_read_next_header(w->archive, &e);

		if (rc == ARCHIVE_EOF)
			return;
		if (w->out_of_time) {
			r->missing |= MISSING_TIME;
			return;
		}
		if (rc == ARCHIVE_OK || rc == ARCHIVE_WARN) {
			bad = 0;
			if (!each(w, e))
				return;
			continue;
		}
		if (says_password(w->archive) && r->encrypted == 0) {
			r->encrypted++; /* the list of entries itself */
			r->missing |= MISSING_ENCRYPTED;
			return;
		}
		note_error(w);
		r->missing |= MISSING_DAMAGED;
		if (rc == ARCHIVE_FATAL || ++bad == BAD_HEADERS_MAX)
			return;
	}
}

static void walk_with(struct walk *w, const support *enabled)
{
	struct unpacked *r = w->result;

	w->at = 0;
	w->archive = archive_read_new();
	if (w->archive != NULL && walk_open(w, enabled)) {
		walk_all(w);
	} else {
		r->missing |= w->out_of_time ? MISSING_TIME : MISSING_DAMAGED;
		if (w->archive != NULL)
			note_error(w);
	}
	archive_read_free(w->archive);
	w->archive = NULL;
}

bool unpack_walk(const struct walk_source *source, const struct unpack_request *request,
		 const struct walk_sink *sink, struct unpacked *ret)
{
	AUTO(mem_drop) void *room = mem_must_zalloc(sizeof(struct walk));
	struct walk *w = room;
	locale_t before = uselocale(utf8_locale);

	*ret = (struct unpacked){ 0 };
	w->source = source;
	w->request = request;
	w->sink = sink;
	w->result = ret;
	w->cpu_end_us = cpu_us() + (int64_t)request->limits.cpu_ms * 1000;
	walk_with(w, request->is_stream ? stream_formats : formats);
	/* What only began like an archive (zeros are an empty tar) is a file after all. */
	if (request->is_stream && ret->entries == 0 && !w->out_of_time && !w->read_failed) {
		*ret = (struct unpacked){ 0 };
		walk_with(w, raw_alone);
	}
	if (request->only_passwords)
		ret->entries = ret->bytes = 0;
	uselocale(before);
	errno = w->read_errno;
	return !w->read_failed;
}
