#ifndef SERVICE_MANIFEST_H
#define SERVICE_MANIFEST_H
#include "base/buf.h"
#include "base/hash.h"
#include "base/io.h"
#include "store/meta_backup.h"
#include "store/pack.h"

/*
 * What one backup consists of: a text file, its last line the SHA-256 of the lines
 * before. Format: docs/format/backup.md.
 */
enum {
	MANIFEST_FILES_MAX = 8,
	MANIFEST_NAME_BYTES = 32,      /* "weir.db" */
	MANIFEST_PATH_BYTES = 64,      /* "packs/0000000001-0123456789abcdef.pack" */
	MANIFEST_VERSION_BYTES = 32,   /* of the program */
	MANIFEST_BYTES_MAX = 256 << 20 /* a million packs, 250 TB of samples */
};

/* A file of the data folder other than packs. */
struct manifest_file {
	char name[MANIFEST_NAME_BYTES]; /* in the data folder */
	char path[MANIFEST_PATH_BYTES]; /* in the backup */
	uint64_t bytes;
	uint8_t sha256[SHA256_BYTES];
};

struct manifest_pack {
	uint32_t pack;
	char path[MANIFEST_PATH_BYTES];
	uint64_t bytes;
	uint8_t sha256[SHA256_BYTES];
	uint64_t samples; /* that live in it */
	struct pack_stamp stamp;
};

struct manifest {
	char folder[FOLDER_ID_CHARS + 1];
	uint64_t generation;
	int64_t date_s; /* of the snapshot */
	char version[MANIFEST_VERSION_BYTES];
	uint64_t samples;
	uint64_t sample_bytes;
	struct manifest_file files[MANIFEST_FILES_MAX];
	size_t file_count;
	struct manifest_pack *packs; /* owned, by rising number */
	size_t pack_count;
	size_t pack_room;
};

void manifest_release(struct manifest *m);
void manifest_add_pack(struct manifest *m, const struct manifest_pack *pack);
/* NULL: it has none of that name. */
const struct manifest_file *manifest_file(const struct manifest *m, const char *name);
const struct manifest_pack *manifest_pack(const struct manifest *m, uint32_t pack);

void manifest_pack_path(char out[MANIFEST_PATH_BYTES], uint32_t pack,
			const uint8_t sha256[SHA256_BYTES]);

/* Text of the whole, checksum and all; of the first lines; of one pack. */
void manifest_print(const struct manifest *m, struct buf *out);
void manifest_print_head(const struct manifest *m, struct buf *out);
void manifest_print_pack(const struct manifest_pack *pack, struct buf *out);

/*
 * Read one. `whole`: it must be all there and fit its checksum (ERR_CORRUPT with
 * the line); otherwise it is what an interrupted backup had noted, and counts up to
 * the first line that is none. *ret is to be released, also after a failure.
 */
MUST_USE int manifest_read(struct manifest *ret, struct io *io, const char *path, bool whole,
			   struct err *err);
#endif
