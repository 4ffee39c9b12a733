#ifndef SERVICE_BACKUP_INTERNAL_H
#define SERVICE_BACKUP_INTERNAL_H
#include "manifest.h"
#include "service/backup.h"

/* Names in a backup's folder; the format is docs/format/backup.md. */
enum {
	BACKUP_NAME_BYTES = 64,
	BACKUP_PIECE = 1 << 20, /* of a file, at once */
};
extern const char backup_marker[];

/* "0000000001.manifest" */
void backup_name(char out[BACKUP_NAME_BYTES], uint64_t generation, const char *what);

/* Generations that end with `what` (".manifest"), rising. free(*ret). */
MUST_USE int backup_list(struct io *io, const char *what, uint64_t **ret, size_t *ret_n,
			 struct err *err);

/* Read a file and tell its checksum; written to `to` at the same time unless that is NULL. */
struct backup_file_copy {
	struct io *from;
	const char *from_path;
	struct io *to; /* NULL: only read */
	const char *to_path;
	struct task *task;
	/* what came of it */
	uint64_t bytes;
	uint8_t sha256[SHA256_BYTES];
};
MUST_USE int backup_file_copy(struct backup_file_copy *c, struct err *err);

/* ---- backup_place.c: the folder that a backup is in ---- */
struct place {
	struct io *io;
	struct io *own_io;    /* owned; NULL: it is the caller's */
	struct io_file *lock; /* owned; locked */
};
/*
 * Take the folder for a backup of data folder `folder`: make it one if it is
 * empty. ERR_INVALID: it is inside the data folder, around it, holds something
 * else or another folder's backups; ERR_BUSY: a backup to it is under way.
 */
MUST_USE int place_open(struct place *ret, const struct backup_options *options, const char *data,
			const char *folder, struct err *err);
void place_close(struct place *p);
/* Remove what no kept generation needs; the newest `keep` stay. */
MUST_USE int place_prune(struct place *p, const struct manifest *newest, uint32_t keep,
			 struct err *err);

/* ---- backup_packs.c: the packs of a snapshot ---- */
struct backup_packs {
	struct service *svc;
	struct place *place;
	struct sql_conn *snapshot;
	struct task *task;
	struct manifest *manifest;      /* what is being made; packs are added */
	const struct manifest *earlier; /* what may be there already */
	size_t earlier_count;
	struct io_file *partial; /* each pack is noted in it */
	uint64_t partial_bytes;
	uint64_t copied_packs;
	uint64_t copied_bytes;
	int64_t *gone; /* owned: ids of samples that were removed meanwhile */
	size_t gone_count, gone_room;
};
MUST_USE int backup_packs_copy(struct backup_packs *b, struct err *err);
#endif
