#ifndef SCAN_VT_DATA_H
#define SCAN_VT_DATA_H
#include <stdint.h>
#include "base/buf.h"

/*
 * What is known about a file, as the `vt` module of the rules sees it:
 * a serialized vt.titan.LiveHuntData (titan.proto of the yara-x crate). In
 * proto3 an absent number, text or boolean reads as 0, "" and false, never as
 * undefined; so what is not known is left out.
 */
struct vt_data {
	struct str sha256, sha1, md5; /* lower-case hex */
	struct str ssdeep, imphash, tlsh, vhash, telfhash;
	struct str file_name;
	struct str magic;
	uint32_t file_type; /* vt.FileType; its tags become file_type_tags */
	uint64_t file_size; /* bytes */
	uint32_t times_submitted;
	uint32_t unique_sources;
	int64_t first_submission_date; /* Unix seconds */
	bool new_file;
	bool subfile;
	struct str tags;     /* blank-separated */
	struct str exiftool; /* a checked JSON object of texts, or empty */
	struct str icon_raw_md5, icon_dhash;
	struct str submitter_city;
	struct str submitter_country;
};

/* Tags beyond this are left out: a rule looks for one, and lists come from reports. */
enum {
	VT_DATA_TAGS_MAX = 256,
	VT_DATA_EXIF_MAX = 300, /* more than a report's exiftool has */
	VT_DATA_BYTES_MAX = 1 << 20
};

/*
 * Append the message to `out`. Texts may hold anything: what is not UTF-8
 * becomes U+FFFD, NUL a question mark. ERR_TOO_LARGE: over VT_DATA_BYTES_MAX or out's maximum.
 */
MUST_USE int vt_data_encode(const struct vt_data *data, struct buf *out, struct err *err);
#endif
