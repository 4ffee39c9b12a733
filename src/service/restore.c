#include "backup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "service_internal.h"

/*
 * A data folder from a generation:
 *
 *   target_open   the folder is empty, locked, and says that it is being restored
 *   copy_all      every file, against its checksum
 *   database_settle  the database opens, is whole, and forgets the folder's id
 *   target_end    all is durable; then the mark goes
 */
static const char check_name[] = "backup";

struct restore {
	const struct restore_options *options;
	struct task *task;
	struct io *source; /* owned */
	struct io *target; /* owned; NULL: only check */
	int lock_fd;
	struct manifest manifest;
	uint64_t damaged;
};

static void dir_drop(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* ---- Which generation ---- */

static int newest_of(struct restore *r, uint64_t *ret, struct err *err)
{
	AUTO(mem_drop) uint64_t *whole = NULL;
	AUTO(mem_drop) uint64_t *partial = NULL;
	size_t n, partials;

	TRY(backup_list(r->source, "manifest", &whole, &n, err));
	if (n) {
		*ret = whole[n - 1];
		return 0;
	}
	TRY(backup_list(r->source, "partial", &partial, &partials, err));
	return partials ? err_set(err, ERR_NOT_FOUND,
				  "the backup in '%s' was interrupted before its first generation "
				  "was complete: 'weir backup' goes on with it",
				  r->options->source)
			: err_set(err, ERR_NOT_FOUND, "there is no backup in '%s'",
				  r->options->source);
}

static int manifest_find(struct restore *r, struct err *err)
{
	uint64_t generation = r->options->generation;
	char name[BACKUP_NAME_BYTES];
	int rc;

	TRY(io_posix_new(&r->source, r->options->source, err));
	if (!generation)
		TRY(newest_of(r, &generation, err));
	backup_name(name, generation, "manifest");
	rc = manifest_read(&r->manifest, r->source, name, true, err);
	if (rc == -ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "'%s' has no generation %" PRIu64,
			       r->options->source, generation);
	if (rc == 0 && !manifest_file(&r->manifest, "weir.db"))
		rc = err_set(err, ERR_CORRUPT, "'%s' names no database", name);
	return rc && err ? err_add(err, "the backup in '%s'", r->options->source) : rc;
}

/* ---- The folder ---- */

static int target_is_empty(struct restore *r, bool *ret_again, struct err *err)
{
	const char *data = r->options->data;
	AUTO(dir_drop) DIR *dir = opendir(data);
	struct dirent *entry;
	bool other = false;

	*ret_again = false;
	if (!dir)
		return err_sys(err, errno, "cannot list '%s'", data);
	while ((entry = readdir(dir)) != NULL) {
		struct str name = str_of(entry->d_name);

		if (str_eq_z(name, folder_restoring))
			*ret_again = true;
		else if (!str_eq_z(name, ".") && !str_eq_z(name, "..") && !str_eq_z(name, "lock") &&
			 !str_eq_z(name, "lost+found"))
			other = true;
	}
	return other && !*ret_again
		       ? err_set(err, ERR_EXISTS,
				 "'%s' is not empty: a backup is restored into a folder of its own",
				 data)
		       : 0;
}

/* What an interrupted restore left, so that nothing of another generation stays. */
static int target_empty_packs(struct restore *r, struct err *err)
{
	AUTO(dir_drop) DIR *dir = NULL;
	static const char *const logs[] = { "weir.db-wal", "weir.db-shm" };
	char path[4096 + 256];
	struct dirent *entry;

	for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
		if (r->target->unlink(r->target, logs[i], err) == -(int)ERR_IO)
			return -(int)ERR_IO;
	}
	snprintf(path, sizeof path, "%s/packs", r->options->data);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : err_sys(err, errno, "cannot list '%s'", path);
	while ((entry = readdir(dir)) != NULL) {
		if (!str_ends(str_of(entry->d_name), STR(".pack")))
			continue;
		snprintf(path, sizeof path, "packs/%.200s", entry->d_name);
		TRY(r->target->unlink(r->target, path, err));
	}
	return 0;
}

static int target_mark(struct restore *r, struct err *err)
{
	struct io_file *f;

	TRY(r->target->open(r->target, folder_restoring, O_RDWR | O_CREAT, &f, err));
	r->target->close(r->target, f);
	return r->target->sync_dir(r->target, "", err);
}

static int target_open(struct restore *r, struct err *err)
{
	bool again;

	TRY(folder_make(r->options->data, err));
	TRY(target_is_empty(r, &again, err));
	TRY(folder_lock(r->options->data, &r->lock_fd, err));
	TRY(io_posix_new(&r->target, r->options->data, err));
	TRY(target_mark(r, err));
	if (again)
		TRY(target_empty_packs(r, err));
	return r->target->mkdir(r->target, "packs", err);
}

static int target_end(struct restore *r, struct err *err)
{
	TRY(r->target->sync_dir(r->target, "packs", err));
	TRY(r->target->sync_dir(r->target, "", err));
	TRY(r->target->unlink(r->target, folder_restoring, err));
	return r->target->sync_dir(r->target, "", err);
}

/* ---- The files ---- */

static void damage(struct restore *r, const char *path, const char *what)
{
	r->damaged++;
	task_found(r->task, check_name, "%s: %s", path, what);
}

static int copy_one(struct restore *r, const char *path, uint64_t bytes,
		    const uint8_t sha256[SHA256_BYTES], const char *to_path, struct err *err)
{
	struct backup_file_copy c = { .from = r->source,
				      .from_path = path,
				      .to = r->target,
				      .to_path = to_path,
				      .task = r->task };
	struct err why = { 0 };
	char text[128];
	int rc = backup_file_copy(&c, &why);

	if (rc == -ERR_NOT_FOUND) {
		damage(r, path, "it is missing");
		return 0;
	}
	if (rc == -ERR_IO && !r->target) {
		damage(r, path, why.msg);
		return 0;
	}
	if (rc) {
		if (err)
			*err = why;
		return rc;
	}
	if (c.bytes != bytes) {
		snprintf(text, sizeof text, "it has %" PRIu64 " bytes, not %" PRIu64, c.bytes,
			 bytes);
		damage(r, path, text);
	} else if (memcmp(c.sha256, sha256, SHA256_BYTES) != 0) {
		damage(r, path, "its SHA-256 is not the manifest's: it is damaged");
	}
	return 0;
}

static int copy_all(struct restore *r, struct err *err)
{
	const struct manifest *m = &r->manifest;
	char to[MANIFEST_PATH_BYTES];
	uint64_t all = 0;

	for (size_t i = 0; i < m->file_count; i++)
		all += m->files[i].bytes;
	for (size_t i = 0; i < m->pack_count; i++)
		all += m->packs[i].bytes;
	task_step(r->task, r->target ? "restoring" : "checking", all);
	for (size_t i = 0; i < m->file_count; i++) {
		const struct manifest_file *f = &m->files[i];

		TRY(copy_one(r, f->path, f->bytes, f->sha256, f->name, err));
	}
	for (size_t i = 0; i < m->pack_count; i++) {
		const struct manifest_pack *p = &m->packs[i];

		snprintf(to, sizeof to, "packs/%010" PRIu32 ".pack", p->pack);
		TRY(copy_one(r, p->path, p->bytes, p->sha256, to, err));
	}
	return 0;
}

/* ---- The database ---- */

static int forget_id(struct sql_conn *conn, void *arg, struct err *err)
{
	(void)arg;
	return folder_id_set(conn, NULL, err);
}

static int database_settle(struct restore *r, struct err *err)
{
	struct sql_options options = { .path = NULL };
	struct sql_conn *conn = NULL;
	struct sql_db *db = NULL;
	struct err why = { 0 };
	char path[4096];
	int rc;

	task_step(r->task, "checking the database", 0);
	snprintf(path, sizeof path, "%s/weir.db", r->options->data);
	options.path = path;
	rc = sql_open(&db, &options, err);
	if (rc == 0 && sql_check(db, &why) != 0)
		damage(r, "weir.db", why.msg);
	if (rc == 0)
		rc = sql_connect(&conn, db, SQL_WRITE, err);
	/* This folder and the one it comes from are two from now on. */
	if (rc == 0)
		rc = sql_transact(conn, forget_id, NULL, err);
	if (rc == 0)
		rc = sql_checkpoint(conn, err);
	sql_disconnect(conn);
	sql_close(db);
	return rc;
}

/* ---- The whole ---- */

static int restore_steps(struct restore *r, struct err *err)
{
	const char *data = r->options->data;

	TRY(manifest_find(r, err));
	if (data)
		TRY(target_open(r, err));
	TRY(copy_all(r, err));
	if (data && (!r->damaged || r->options->damaged))
		TRY(database_settle(r, err));
	if (r->damaged && !(data && r->options->damaged))
		return err_set(
			err, ERR_CORRUPT, "the backup in '%s' is damaged in %" PRIu64 " places%s",
			r->options->source, r->damaged,
			data ? ": nothing was restored (--damaged restores what is left)" : "");
	return data ? target_end(r, err) : 0;
}

static void result_of(const struct manifest *m, struct backup_result *ret)
{
	*ret = (struct backup_result){ .generation = m->generation,
				       .samples = m->samples,
				       .sample_bytes = m->sample_bytes,
				       .packs = m->pack_count,
				       .date_s = m->date_s };
	for (size_t i = 0; i < m->file_count; i++)
		ret->bytes += m->files[i].bytes;
	for (size_t i = 0; i < m->pack_count; i++)
		ret->bytes += m->packs[i].bytes;
}

int backup_restore(const struct restore_options *options, struct task *task,
		   struct backup_result *ret, struct err *err)
{
	struct restore r = { .options = options, .task = task, .lock_fd = -1 };
	int rc = restore_steps(&r, err);

	if (rc == 0)
		result_of(&r.manifest, ret);
	io_posix_free(r.target);
	io_posix_free(r.source);
	if (r.lock_fd >= 0)
		close(r.lock_fd);
	manifest_release(&r.manifest);
	return rc;
}
