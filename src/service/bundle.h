#ifndef SERVICE_BUNDLE_H
#define SERVICE_BUNDLE_H
#include "base/buf.h"
#include "scan/unpack.h"
#include "store/meta_bundle.h"

/*
 * What is told of a container: VirusTotal's `bundle_info` and tags. Unpacking knows
 * names, dates and sizes (the listing); what kinds of file are inside is known when
 * the last of them was identified, and then the report is made.
 */

enum {
	LISTING_EXTENSIONS_MAX = 100, /* different ones; others are not told */
	LISTING_EXTENSION_BYTES = 12,
	LISTING_BEGINNING_BYTES = 64,
	LISTING_BYTES_MAX = 16 * 1024,
};
struct listing {
	uint64_t entries; /* of all kinds, as VirusTotal counts children */
	uint64_t bytes;
	bool dated; /* the next two are known */
	int64_t lowest_s;
	int64_t highest_s;
	size_t extension_count;
	struct {
		char text[LISTING_EXTENSION_BYTES + 1];
		uint64_t files;
	} extensions[LISTING_EXTENSIONS_MAX];
	uint8_t beginning[LISTING_BEGINNING_BYTES]; /* of the only file */
	size_t beginning_bytes;
};
void listing_entry(struct listing *l, const struct unpack_entry *entry, struct str path);
void listing_bytes(struct listing *l, const void *p, size_t n);
/* The JSON members that are known now, without braces. */
void listing_write(struct buf *out, const struct listing *l, const char *type, bool is_stream,
		   const struct unpacked *result);

/*
 * A path from inside a container as it is stored: UTF-8, '/' between parts, relative,
 * without "." and "..", empty parts and control characters; at most
 * BUNDLE_NAME_BYTES_MAX, cut in front, so that the file's own name is whole.
 */
void bundle_path(struct buf *out, struct str raw);

/* Make bundle_info's report from its listing and what is inside now. */
MUST_USE int bundle_describe(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			     struct err *err);

/*
 * An analysis that `analysis_id` caused is over: complete it if it only waited for that,
 * and those around it. `settled` gets the SHA-256 of each file whose report changed.
 */
MUST_USE int bundle_settle(struct sql_conn *conn, int64_t analysis_id, int64_t now_s,
			   struct buf *settled, struct err *err);
#endif
