#ifndef SERVICE_BACKUP_H
#define SERVICE_BACKUP_H
#include "service/service.h"
#include "service/task.h"

/*
 * Backups of a data folder: generations in a folder of their own, which share the
 * packs that did not change. Format: docs/format/backup.md.
 *
 * Invariants
 *  1. A generation exists when its manifest has its name; everything the manifest
 *     names is durable before. What no manifest reaches is garbage.
 *  2. Files of a backup are never changed, only made and removed.
 *  3. A generation is the state of one moment, that of its snapshot of the
 *     database: all that was acknowledged before is in it. Only what was removed
 *     since is left out, rows and bytes.
 *  4. Its packs hold the bytes of the samples that its database knows, and no
 *     others: what was removed before has left no bytes.
 *
 * A backup that was interrupted leaves no generation; the packs it had copied are
 * used by the next.
 */
struct backup_options {
	int folder_fd;       /* where to; the caller's */
	const char *folder;  /* its name, for messages */
	uint32_t keep;       /* generations to keep, at least 1 */
	bool adopt;          /* go on with another data folder's backups: after a restore */
	const char *version; /* of the program */
	struct io *io;       /* over the same folder; NULL: the real one. Tests fail through it */
};

struct backup_result {
	uint64_t generation;
	uint64_t samples;
	uint64_t sample_bytes;
	uint64_t packs;
	uint64_t packs_copied;
	uint64_t bytes; /* of all files of the generation */
	uint64_t bytes_copied;
	uint64_t removed; /* samples that were removed while the backup was made */
	int64_t date_s;   /* of the snapshot */
};

/*
 * Make one generation. Blocks; one at a time (ERR_BUSY). Damage is a finding of
 * the task: what is damaged is backed up as far as it goes.
 *
 * Errors: place_open's; ERR_NO_SPACE, ERR_IO with the place; ERR_CLOSED when the
 * task was stopped.
 */
MUST_USE int service_backup(struct service *svc, const struct backup_options *options,
			    struct task *task, struct backup_result *ret, struct err *err);

struct restore_options {
	const char *source;  /* the backup's folder */
	const char *data;    /* the data folder to make; NULL: only check the backup */
	uint64_t generation; /* 0: the newest */
	bool damaged;        /* restore even so */
};

/*
 * Check a generation, every file against its checksum, and make a data folder of
 * it: `data` must be missing or empty, or hold a restore that did not end. Until
 * all is there and durable it holds the file `restoring`, and nobody opens it.
 * Damage is a finding of the task. Needs no service; the folder must not be held
 * by one (ERR_BUSY).
 *
 * Errors: ERR_NOT_FOUND: no backup, or no such generation; ERR_EXISTS: the data
 * folder is not empty; ERR_CORRUPT: there were findings, and nothing was restored;
 * ERR_INVALID: a backup of a newer version.
 */
MUST_USE int backup_restore(const struct restore_options *options, struct task *task,
			    struct backup_result *ret, struct err *err);
#endif
