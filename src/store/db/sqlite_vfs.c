#include "sqlite_internal.h"

#include <pthread.h>

#include "base/metric.h"

/* Our part of a file; the default VFS's own part follows it in memory. */
struct counted_file {
	sqlite3_file base;
};

static sqlite3_file *real_file(sqlite3_file *f)
{
	return (sqlite3_file *)(void *)((struct counted_file *)(void *)f + 1);
}

static sqlite3_vfs *real_vfs(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static int f_close(sqlite3_file *f)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xClose(r);
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xRead(r, p, n, at);
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xWrite(r, p, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xTruncate(r, size);
}

static int f_sync(sqlite3_file *f, int flags)
{
	sqlite3_file *r = real_file(f);
	int rc = r->pMethods->xSync(r, flags);

	if (rc == SQLITE_OK)
		metric_add(METRIC_syncs_total, 1);
	return rc;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xFileSize(r, ret);
}

static int f_lock(sqlite3_file *f, int level)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xLock(r, level);
}

static int f_unlock(sqlite3_file *f, int level)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xUnlock(r, level);
}

static int f_reserved(sqlite3_file *f, int *ret)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xCheckReservedLock(r, ret);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xFileControl(r, op, arg);
}

static int f_sector(sqlite3_file *f)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xSectorSize(r);
}

static int f_traits(sqlite3_file *f)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xDeviceCharacteristics(r);
}

static int f_shm_map(sqlite3_file *f, int page, int bytes, int extend, void volatile **ret)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xShmMap(r, page, bytes, extend, ret);
}

static int f_shm_lock(sqlite3_file *f, int from, int n, int flags)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xShmLock(r, from, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
	sqlite3_file *r = real_file(f);

	r->pMethods->xShmBarrier(r);
}

static int f_shm_unmap(sqlite3_file *f, int remove_it)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xShmUnmap(r, remove_it);
}

static int f_fetch(sqlite3_file *f, sqlite3_int64 at, int n, void **ret)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xFetch(r, at, n, ret);
}

static int f_unfetch(sqlite3_file *f, sqlite3_int64 at, void *p)
{
	sqlite3_file *r = real_file(f);

	return r->pMethods->xUnfetch(r, at, p);
}

#define METHODS(version)                                                                           \
	{                                                                                          \
		(version), f_close, f_read, f_write, f_truncate, f_sync, f_size, f_lock, f_unlock, \
			f_reserved, f_control, f_sector, f_traits, f_shm_map, f_shm_lock,          \
			f_shm_barrier, f_shm_unmap, f_fetch, f_unfetch                             \
	}
/* SQLite asks a file's version before it uses shared memory (2) or maps (3). */
static const sqlite3_io_methods methods[] = { METHODS(1), METHODS(2), METHODS(3) };

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	sqlite3_file *r = real_file(f);
	int rc = real_vfs(vfs)->xOpen(real_vfs(vfs), name, r, flags, ret_flags);
	int version = r->pMethods ? r->pMethods->iVersion : 0;

	f->pMethods = version ? &methods[(version > 3 ? 3 : version) - 1] : NULL;
	return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	int rc = real_vfs(vfs)->xDelete(real_vfs(vfs), name, sync_dir);

	if (rc == SQLITE_OK && sync_dir)
		metric_add(METRIC_syncs_total, 1);
	return rc;
}

static int v_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
	return real_vfs(vfs)->xAccess(real_vfs(vfs), name, flags, ret);
}

static int v_full(sqlite3_vfs *vfs, const char *name, int n, char *ret)
{
	return real_vfs(vfs)->xFullPathname(real_vfs(vfs), name, n, ret);
}

static int v_random(sqlite3_vfs *vfs, int n, char *ret)
{
	return real_vfs(vfs)->xRandomness(real_vfs(vfs), n, ret);
}

static int v_sleep(sqlite3_vfs *vfs, int us)
{
	return real_vfs(vfs)->xSleep(real_vfs(vfs), us);
}

static int v_time(sqlite3_vfs *vfs, double *ret)
{
	return real_vfs(vfs)->xCurrentTime(real_vfs(vfs), ret);
}

static int v_last_error(sqlite3_vfs *vfs, int n, char *ret)
{
	return real_vfs(vfs)->xGetLastError(real_vfs(vfs), n, ret);
}

static int v_time64(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
	return real_vfs(vfs)->xCurrentTimeInt64(real_vfs(vfs), ret);
}

static sqlite3_vfs counting = {
	.iVersion = 2,
	.zName = SQLITE_VFS_COUNTING,
	.xOpen = v_open,
	.xDelete = v_delete,
	.xAccess = v_access,
	.xFullPathname = v_full,
	/* No loading of extensions. */
	.xRandomness = v_random,
	.xSleep = v_sleep,
	.xCurrentTime = v_time,
	.xGetLastError = v_last_error,
	.xCurrentTimeInt64 = v_time64,
};

static int register_rc = SQLITE_ERROR;

static void register_once(void)
{
	sqlite3_vfs *real;

	/* Counting its memory would take one lock for every allocation of every thread. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	register_rc = sqlite3_initialize();
	real = register_rc == SQLITE_OK ? sqlite3_vfs_find(NULL) : NULL;
	if (!real)
		return;
	counting.szOsFile = (int)sizeof(struct counted_file) + real->szOsFile;
	counting.mxPathname = real->mxPathname;
	counting.pAppData = real;
	register_rc = sqlite3_vfs_register(&counting, 0);
}

int sqlite_vfs_register(struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	REQUIRE(sqlite3_threadsafe() != 0);
	pthread_once(&once, register_once);
	if (register_rc != SQLITE_OK)
		return err_set(err, ERR_IO, "SQLite does not start: %s",
			       sqlite3_errstr(register_rc));
	return 0;
}
