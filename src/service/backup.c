#include "backup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "inside.h"
#include "service_internal.h"

/*
 * One generation, step by step:
 *
 *   place_open       the folder is ours
 *   snapshot_take    DATA/backup.db, a copy of the database in one moment
 *   backup_packs_copy  what it needs of the packs, unless it is there already
 *   snapshot_finish  samples removed meanwhile go from the snapshot as well
 *   copy_files       the snapshot and the small files
 *   manifest_put     the generation exists
 *   place_prune      what nothing needs any more goes
 *
 * The snapshot is made beside the database and not at the backup's place, so that
 * a slow or remote disk does not keep the write-ahead log from beginning anew.
 */
static const char snapshot_name[] = "backup.db";

struct backup {
	struct service *svc;
	const struct backup_options *options;
	struct task *task;
	struct place place;
	char snapshot_path[4096];
	struct sql_db *snapshot;
	struct manifest manifest;
	struct manifest *earlier; /* owned */
	size_t earlier_count;
	struct io_file *partial;
	char partial_name[BACKUP_NAME_BYTES];
	struct backup_packs packs;
};

/* ---- The folder's id ---- */

struct id_req {
	struct write_req req;
	char id[FOLDER_ID_CHARS + 1];
};

static int id_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct id_req *r = (struct id_req *)req;
	uint8_t bytes[FOLDER_ID_CHARS / 2];

	TRY(folder_id_get(conn, r->id, err));
	if (r->id[0])
		return 0;
	rand_bytes(bytes, sizeof bytes);
	hex_encode(bytes, sizeof bytes, r->id);
	return folder_id_set(conn, r->id, err);
}

static int folder_id(struct service *svc, char ret[FOLDER_ID_CHARS + 1], struct err *err)
{
	struct id_req r = { .req = { .apply = id_apply, .lane = LANE_API } };

	TRY(writer_call(svc->writer, &r.req, err));
	memcpy(ret, r.id, sizeof r.id);
	return 0;
}

/* ---- The snapshot ---- */

/* With what SQLite puts beside it. */
void backup_snapshot_remove(const char *data)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
	char path[4096 + 16];

	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		snprintf(path, sizeof path, "%s/%s%s", data, snapshot_name, ends[i]);
		(void)unlink(path);
	}
}

/* It must not fill the disk that the samples come to. */
static int check_room(struct backup *b, struct err *err)
{
	uint64_t reserve = b->svc->options.disk_reserve_bytes, avail, need = 0;
	static const char *const ends[] = { "", "-wal" };
	char path[4096 + 16];
	struct stat st;

	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		snprintf(path, sizeof path, "%s/weir.db%s", b->svc->io->root, ends[i]);
		if (stat(path, &st) == 0)
			need += (uint64_t)st.st_size;
	}
	TRY(packs_disk_free(b->svc->packs, &avail, err));
	if (avail / 2 < need / 2 + reserve / 2)
		return err_set(err, ERR_NO_SPACE,
			       "the snapshot of the database needs %" PRIu64
			       " bytes on the disk of the data folder; %" PRIu64
			       " are free, of which %" PRIu64 " are kept in reserve",
			       need, avail, reserve);
	return 0;
}

static bool snapshot_goes_on(uint64_t done, uint64_t all, void *arg)
{
	struct task *task = arg;

	task->all = all;
	return task_goes_on(task, done - task->done);
}

static int snapshot_take(struct backup *b, struct err *err)
{
	struct sql_options options = { .path = b->snapshot_path, .vfs = b->svc->options.vfs };

	TRY(check_room(b, err));
	backup_snapshot_remove(b->svc->io->root);
	task_step(b->task, "database, pages", 0);
	/* Not later than the snapshot: whoever compares dates wants the earlier one. */
	b->manifest.date_s = clock_unix_s(b->svc->clock);
	TRY(sql_backup(b->svc->db, b->snapshot_path, snapshot_goes_on, b->task, err));
	return sql_open(&b->snapshot, &options, err);
}

/* ---- What earlier backups have ---- */

static int earlier_read(struct backup *b, const char *what, bool whole, struct err *err)
{
	AUTO(mem_drop) uint64_t *all = NULL;
	char name[BACKUP_NAME_BYTES];
	size_t n;

	TRY(backup_list(b->place.io, what, &all, &n, err));
	for (size_t i = 0; i < n; i++) {
		struct manifest *m;
		struct err why;

		if (all[i] >= b->manifest.generation)
			b->manifest.generation = all[i] + 1;
		/* Of whole ones the newest is enough. */
		if (whole && i + 1 < n)
			continue;
		mem_must_grow((void **)&b->earlier, b->earlier_count + 1, sizeof *b->earlier);
		m = &b->earlier[b->earlier_count++];
		backup_name(name, all[i], what);
		if (manifest_read(m, b->place.io, name, whole, &why) != 0) {
			task_found(b->task, "earlier backups", "%s", why.msg);
			manifest_release(m);
		} else if (strcmp(m->folder, b->manifest.folder) != 0) {
			manifest_release(m);
		}
	}
	return 0;
}

static int partial_begin(struct backup *b, struct err *err)
{
	AUTO(buf_release) struct buf head = BUF_INIT(1024);
	struct io *io = b->place.io;

	manifest_print_head(&b->manifest, &head);
	TRY(buf_check(&head, "the manifest's head", err));
	backup_name(b->partial_name, b->manifest.generation, "partial");
	TRY(io->open(io, b->partial_name, O_RDWR | O_CREAT | O_TRUNC, &b->partial, err));
	TRY(io->pwrite(io, b->partial, head.p, head.n, 0, err));
	b->packs.partial_bytes = head.n;
	TRY(io->sync(io, b->partial, err));
	return io->sync_dir(io, "", err);
}

/* ---- Files ---- */

static int copy_one(struct backup *b, const char *from, const char *name, struct err *err)
{
	struct manifest_file *file = &b->manifest.files[b->manifest.file_count];
	struct backup_file_copy c = { .from = b->svc->io,
				      .from_path = from,
				      .to = b->place.io,
				      .to_path = file->path,
				      .task = b->task };

	snprintf(file->name, sizeof file->name, "%s", name);
	snprintf(file->path, sizeof file->path, "%010" PRIu64 ".%s", b->manifest.generation, name);
	TRY(backup_file_copy(&c, err));
	file->bytes = c.bytes;
	memcpy(file->sha256, c.sha256, SHA256_BYTES);
	b->packs.copied_bytes += c.bytes;
	b->manifest.file_count++;
	return 0;
}

static void dir_drop(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* The folder's secrets, *.key: what was signed before must hold after. */
static int copy_keys(struct backup *b, struct err *err)
{
	AUTO(dir_drop) DIR *dir = opendir(b->svc->io->root);
	struct dirent *entry;

	if (!dir)
		return err_sys(err, errno, "cannot list the data folder");
	while ((entry = readdir(dir)) != NULL) {
		struct str name = str_of(entry->d_name);

		if (!str_ends(name, STR(".key")) || name.p[0] == '.')
			continue;
		if (name.n >= MANIFEST_NAME_BYTES || b->manifest.file_count == MANIFEST_FILES_MAX)
			return err_set(err, ERR_TOO_LARGE,
				       "the data folder holds more keys than a backup: '%s'",
				       entry->d_name);
		TRY(copy_one(b, entry->d_name, entry->d_name, err));
	}
	return 0;
}

static int copy_files(struct backup *b, struct err *err)
{
	struct stat st = { 0 };

	if (stat(b->snapshot_path, &st) != 0)
		return err_set(err, ERR_IO, "the snapshot '%s' is gone", b->snapshot_path);
	task_step(b->task, "database", (uint64_t)st.st_size);
	TRY(copy_one(b, snapshot_name, "weir.db", err));
	TRY(copy_keys(b, err));
	return b->place.io->sync_dir(b->place.io, "", err);
}

/* ---- The whole ---- */

static int manifest_put(struct backup *b, struct err *err)
{
	AUTO(buf_release) struct buf text = BUF_INIT(MANIFEST_BYTES_MAX);
	char name[BACKUP_NAME_BYTES];
	struct io *io = b->place.io;

	manifest_print(&b->manifest, &text);
	TRY(buf_check(&text, "the manifest", err));
	TRY(io->truncate(io, b->partial, 0, err));
	TRY(io->pwrite(io, b->partial, text.p, text.n, 0, err));
	TRY(io->sync(io, b->partial, err));
	backup_name(name, b->manifest.generation, "manifest");
	TRY(io->rename(io, b->partial_name, name, err));
	return io->sync_dir(io, "", err);
}

static int remove_gone(struct sql_conn *conn, const struct file_row *row, void *arg,
		       struct err *err)
{
	AUTO(buf_release) struct buf settled = BUF_INIT(SETTLED_BYTES_MAX);
	const struct backup *b = arg;
	int64_t erase_id;

	return inside_remove(conn, row, clock_unix_s(b->svc->clock), &erase_id, &settled, err);
}

static int snapshot_work(struct backup *b, struct sql_conn *conn, struct err *err)
{
	uint64_t queued;

	b->packs.snapshot = conn;
	TRY(backup_packs_copy(&b->packs, err));
	TRY(snapshot_finish(conn, b->packs.gone, b->packs.gone_count, remove_gone, b, err));
	TRY(files_totals(conn, &b->manifest.samples, &b->manifest.sample_bytes, &queued, err));
	/* All of it into the file itself, which is what is copied. */
	TRY(sql_checkpoint(conn, err));
	if (sql_log_pages(conn) != 0)
		return err_set(err, ERR_IO, "the snapshot's log could not be emptied");
	return 0;
}

static int backup_steps(struct backup *b, struct err *err)
{
	struct sql_conn *conn = NULL;
	int rc;

	TRY(folder_id(b->svc, b->manifest.folder, err));
	TRY(place_open(&b->place, b->options, b->svc->data, b->manifest.folder, err));
	TRY(earlier_read(b, "partial", false, err));
	TRY(earlier_read(b, "manifest", true, err));
	TRY(snapshot_take(b, err));
	TRY(partial_begin(b, err));
	b->packs.svc = b->svc;
	b->packs.place = &b->place;
	b->packs.task = b->task;
	b->packs.manifest = &b->manifest;
	b->packs.earlier = b->earlier;
	b->packs.earlier_count = b->earlier_count;
	b->packs.partial = b->partial;
	TRY(sql_connect(&conn, b->snapshot, SQL_WRITE, err));
	rc = snapshot_work(b, conn, err);
	sql_disconnect(conn);
	sql_close(STEAL(b->snapshot));
	TRY(rc);
	TRY(copy_files(b, err));
	return manifest_put(b, err);
}

static void result_of(const struct backup *b, struct backup_result *ret)
{
	const struct manifest *m = &b->manifest;

	*ret = (struct backup_result){ .generation = m->generation,
				       .samples = m->samples,
				       .sample_bytes = m->sample_bytes,
				       .packs = m->pack_count,
				       .packs_copied = b->packs.copied_packs,
				       .bytes_copied = b->packs.copied_bytes,
				       .removed = b->packs.gone_count,
				       .date_s = m->date_s };
	for (size_t i = 0; i < m->file_count; i++)
		ret->bytes += m->files[i].bytes;
	for (size_t i = 0; i < m->pack_count; i++)
		ret->bytes += m->packs[i].bytes;
}

static void backup_release(struct backup *b)
{
	sql_close(b->snapshot);
	backup_snapshot_remove(b->svc->io->root);
	if (b->partial)
		b->place.io->close(b->place.io, b->partial);
	place_close(&b->place);
	for (size_t i = 0; i < b->earlier_count; i++)
		manifest_release(&b->earlier[i]);
	free(b->earlier);
	free(b->packs.gone);
	manifest_release(&b->manifest);
}

static int backup_run(struct backup *b, struct backup_result *ret, struct err *err)
{
	struct err why;

	TRY(backup_steps(b, err));
	result_of(b, ret);
	/* The backup is there, whatever becomes of this. */
	if (place_prune(&b->place, &b->manifest, b->options->keep, &why) != 0)
		task_found(b->task, "earlier backups", "%s", why.msg);
	log_event(LOG_INFO, "backup_made", LOG_STR("folder", str_of(b->options->folder)),
		  LOG_I64("generation", ret->generation), LOG_I64("samples", ret->samples),
		  LOG_I64("bytes_copied", ret->bytes_copied),
		  LOG_I64("findings", b->task->findings));
	return 0;
}

int service_backup(struct service *svc, const struct backup_options *options, struct task *task,
		   struct backup_result *ret, struct err *err)
{
	struct backup b = { .svc = svc, .options = options, .task = task };
	int rc;

	REQUIRE(options->keep > 0);
	if (atomic_exchange(&svc->backup_runs, true))
		return err_set(err, ERR_BUSY, "a backup of this data folder is under way");
	b.manifest.generation = 1;
	snprintf(b.manifest.version, sizeof b.manifest.version, "%s", options->version);
	snprintf(b.snapshot_path, sizeof b.snapshot_path, "%s/%s", svc->io->root, snapshot_name);
	rc = backup_run(&b, ret, err);
	backup_release(&b);
	svc->backup_runs = false;
	if (rc == -ERR_CLOSED)
		log_event(LOG_INFO, "backup_stopped", LOG_STR("folder", str_of(options->folder)));
	return rc;
}
