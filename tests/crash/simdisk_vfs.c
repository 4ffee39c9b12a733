#include "simdisk_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/*
 * The disk as a SQLite VFS over SQLite's own unix one, which does the real work
 * in live/: locks, shared memory (never durable, rebuilt from the WAL), reads.
 */

struct sim_db_file {
	sqlite3_file base; /* first */
	struct simdisk *disk;
	struct sim_node *node; /* NULL: a temporary file, gone after a crash anyway */
	char *folder;          /* owned; to be synced with the first sync, or NULL */
	sqlite3_file *real;    /* behind this struct */
};

static struct sim_db_file *db_file(sqlite3_file *f)
{
	return (struct sim_db_file *)f;
}

static sqlite3_file *real_of(sqlite3_file *f)
{
	return db_file(f)->real;
}

static sqlite3_vfs *unix_of(sqlite3_vfs *vfs)
{
	(void)vfs;
	return sqlite3_vfs_find("unix");
}

static struct simdisk *disk_of(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static int fail_code(struct simdisk *d, int code)
{
	return d->options.fail_errno == ENOSPC ? SQLITE_FULL : code;
}

static int db_close(sqlite3_file *f)
{
	int rc = real_of(f)->pMethods->xClose(real_of(f));

	free(db_file(f)->folder);
	db_file(f)->folder = NULL;
	return rc;
}

static int db_read(sqlite3_file *f, void *p, int n, sqlite3_int64 offset)
{
	if (simdisk_is_off(db_file(f)->disk))
		return SQLITE_IOERR_READ;
	return real_of(f)->pMethods->xRead(real_of(f), p, n, offset);
}

static int db_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 offset)
{
	struct sim_db_file *db = db_file(f);
	struct simdisk *d = db->disk;
	enum sim_gate gate;
	int rc = SQLITE_OK;

	lock_take(&d->lock);
	gate = sim_enter(d);
	if (gate == SIM_FAIL)
		n = (int)rand_below(&d->lots, (uint64_t)n + 1);
	if (gate == SIM_OFF)
		rc = SQLITE_IOERR_WRITE;
	else if (n > 0)
		rc = db->real->pMethods->xWrite(db->real, p, n, offset);
	if (rc == SQLITE_OK && db->node)
		sim_write(db->node, p, (size_t)n, (uint64_t)offset);
	if (gate == SIM_FAIL)
		rc = fail_code(d, SQLITE_IOERR_WRITE);
	lock_drop(&d->lock);
	return rc;
}

static int db_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct sim_db_file *db = db_file(f);
	struct simdisk *d = db->disk;
	int rc = SQLITE_IOERR_TRUNCATE;

	lock_take(&d->lock);
	if (sim_enter(d) == SIM_GO) {
		rc = db->real->pMethods->xTruncate(db->real, size);
		if (rc == SQLITE_OK && db->node)
			sim_truncate(db->node, (uint64_t)size);
	}
	lock_drop(&d->lock);
	return rc;
}

static int db_sync(sqlite3_file *f, int flags)
{
	struct sim_db_file *db = db_file(f);
	struct simdisk *d = db->disk;
	int rc = SQLITE_IOERR_FSYNC;

	(void)flags; /* full or data only: sizes are data here, as with fdatasync */
	lock_take(&d->lock);
	switch (sim_enter(d)) {
	case SIM_GO:
		/* As SQLite's unix VFS: the first sync of a new journal saves its name. */
		if (sim_sync(d, db->node, db->folder)) {
			free(db->folder);
			db->folder = NULL;
			atomic_fetch_add(&d->io.sync_count, 1);
			rc = SQLITE_OK;
		}
		break;
	case SIM_FAIL:
		sim_sync_failed(d, db->node);
		break;
	case SIM_OFF:
		break;
	}
	lock_drop(&d->lock);
	return rc;
}

static int db_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	if (simdisk_is_off(db_file(f)->disk))
		return SQLITE_IOERR_FSTAT;
	return real_of(f)->pMethods->xFileSize(real_of(f), ret);
}

static int db_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int db_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int db_reserved(sqlite3_file *f, int *ret)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret);
}

static int db_control(sqlite3_file *f, int op, void *arg)
{
	/* Nothing may change the file, or promise more, behind the disk's back. */
	switch (op) {
	case SQLITE_FCNTL_SIZE_HINT:
	case SQLITE_FCNTL_CHUNK_SIZE:
	case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
	case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
	case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
		return SQLITE_NOTFOUND;
	default:
		return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
	}
}

static int db_sector_size(sqlite3_file *f)
{
	(void)f;
	return SIM_SECTOR;
}

static int db_characteristics(sqlite3_file *f)
{
	(void)f;
	/* What SQLite assumes of every disk by default: a write harms nothing beside it. */
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int db_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, ret);
}

static int db_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}

static void db_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int db_shm_unmap(sqlite3_file *f, int delete_it)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), delete_it);
}

static const sqlite3_io_methods db_methods = {
	.iVersion = 2, /* shared memory, no mapped reads: those would pass by */
	.xClose = db_close,
	.xRead = db_read,
	.xWrite = db_write,
	.xTruncate = db_truncate,
	.xSync = db_sync,
	.xFileSize = db_size,
	.xLock = db_lock,
	.xUnlock = db_unlock,
	.xCheckReservedLock = db_reserved,
	.xFileControl = db_control,
	.xSectorSize = db_sector_size,
	.xDeviceCharacteristics = db_characteristics,
	.xShmMap = db_shm_map,
	.xShmLock = db_shm_lock,
	.xShmBarrier = db_shm_barrier,
	.xShmUnmap = db_shm_unmap,
};

/* The path below live/, or NULL. */
static const char *below(const struct simdisk *d, const char *path)
{
	size_t n = strlen(d->live);

	if (!path || strncmp(path, d->live, n) != 0 || path[n] != '/')
		return NULL;
	return path + n + 1;
}

static int vfs_open_locked(struct simdisk *d, const char *path, struct sim_db_file *db, int flags,
			   int *ret_flags) MUST_HOLD(d->lock);

static int vfs_open_locked(struct simdisk *d, const char *path, struct sim_db_file *db, int flags,
			   int *ret_flags)
{
	enum {
		KEPT = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL |
		       SQLITE_OPEN_SUPER_JOURNAL,
		JOURNALS = KEPT & ~SQLITE_OPEN_MAIN_DB
	};
	sqlite3_vfs *unix_vfs = unix_of(NULL);
	const char *name = flags & KEPT ? below(d, path) : NULL;
	enum sim_gate gate = sim_enter(d);
	char folder[512];
	bool is_new;
	int rc;

	if (gate != SIM_GO)
		return gate == SIM_FAIL ? fail_code(d, SQLITE_CANTOPEN) : SQLITE_CANTOPEN;
	is_new = name && (flags & SQLITE_OPEN_CREATE) && !sim_find(d->live_names, name);
	rc = unix_vfs->xOpen(unix_vfs, path, db->real, flags, ret_flags);
	if (rc != SQLITE_OK)
		return rc;
	db->disk = d;
	if (name)
		db->node = sim_opened(d, name, is_new);
	if (is_new && (flags & JOURNALS))
		db->folder = mem_must_strdup(sim_parent(name, folder));
	db->base.pMethods = &db_methods;
	return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *f, int flags, int *ret_flags)
{
	struct simdisk *d = disk_of(vfs);
	struct sim_db_file *db = db_file(f);
	int rc;

	memset(db, 0, sizeof *db);
	db->real = (sqlite3_file *)(db + 1);
	lock_take(&d->lock);
	rc = vfs_open_locked(d, path, db, flags, ret_flags);
	lock_drop(&d->lock);
	return rc;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
	struct simdisk *d = disk_of(vfs);
	const char *name = below(d, path);
	int rc = SQLITE_IOERR_DELETE;
	char folder[512];

	lock_take(&d->lock);
	if (sim_enter(d) == SIM_GO) {
		rc = unix_of(vfs)->xDelete(unix_of(vfs), path, 0);
		if (rc == SQLITE_OK && name && sim_find(d->live_names, name))
			sim_renamed(d, name, NULL);
		if (rc == SQLITE_OK && name && sync_folder &&
		    !sim_sync(d, NULL, sim_parent(name, folder)))
			rc = SQLITE_IOERR_DIR_FSYNC;
	}
	lock_drop(&d->lock);
	return rc;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
	return unix_of(vfs)->xAccess(unix_of(vfs), path, flags, ret);
}

static int vfs_full(sqlite3_vfs *vfs, const char *path, int n, char *out)
{
	return unix_of(vfs)->xFullPathname(unix_of(vfs), path, n, out);
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	return unix_of(vfs)->xRandomness(unix_of(vfs), n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	return unix_of(vfs)->xSleep(unix_of(vfs), us);
}

static int vfs_time(sqlite3_vfs *vfs, double *ret)
{
	return unix_of(vfs)->xCurrentTime(unix_of(vfs), ret);
}

static int vfs_time64(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
	return unix_of(vfs)->xCurrentTimeInt64(unix_of(vfs), ret);
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	return unix_of(vfs)->xGetLastError(unix_of(vfs), n, out);
}

int sim_vfs_init(struct simdisk *d, struct err *err)
{
	static _Atomic unsigned number;
	sqlite3_vfs *unix_vfs;

	if (sqlite3_initialize() != SQLITE_OK || !(unix_vfs = sqlite3_vfs_find("unix")))
		return err_set(err, ERR_IO, "SQLite has no unix VFS");
	snprintf(d->vfs_name, sizeof d->vfs_name, "simdisk-%u", atomic_fetch_add(&number, 1));
	d->vfs = (sqlite3_vfs){
		.iVersion = 2,
		.szOsFile = (int)sizeof(struct sim_db_file) + unix_vfs->szOsFile,
		.mxPathname = unix_vfs->mxPathname,
		.zName = d->vfs_name,
		.pAppData = d,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_time,
		.xGetLastError = vfs_last_error,
		.xCurrentTimeInt64 = vfs_time64,
	};
	if (sqlite3_vfs_register(&d->vfs, 0) != SQLITE_OK)
		return err_set(err, ERR_IO, "cannot register the VFS");
	return 0;
}

void sim_vfs_release(struct simdisk *d)
{
	if (d->vfs.zName)
		sqlite3_vfs_unregister(&d->vfs);
}
