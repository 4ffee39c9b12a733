#ifndef FAULT_VFS_H
#define FAULT_VFS_H
/*
 * A SQLite VFS for tests, "fault": the default one, whose n-th write or sync can
 * fail with a chosen code, or whose files open read-only. It replaces single
 * methods of the files that the default VFS opens.
 */
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

enum fault_op {
	FAULT_NONE,
	FAULT_WRITE,
	FAULT_SYNC
};

static struct {
	_Atomic int op;        /* enum fault_op */
	_Atomic int countdown; /* calls until the failing one, which is 1; 0: no more */
	_Atomic bool stays;    /* all calls after it fail too */
	_Atomic int code;
	_Atomic int failed; /* how many did */
	_Atomic bool read_only;
	_Atomic int syncs;
} fault;

/* The n-th `op` from now (from 1) fails with `code`. */
static inline void fault_arm(enum fault_op op, int n, int code, bool stays)
{
	fault.failed = 0;
	fault.code = code;
	fault.stays = stays;
	fault.countdown = n;
	fault.op = (int)op;
}

static inline void fault_disarm(void)
{
	fault.op = FAULT_NONE;
}

static inline bool fault_now(enum fault_op op)
{
	int left;

	if (fault.op != (int)op)
		return false;
	left = atomic_load(&fault.countdown);
	if (left == 0)
		return false;
	if (left == 1) {
		if (!fault.stays)
			fault.countdown = 0;
		fault.failed++;
		return true;
	}
	fault.countdown = left - 1;
	return false;
}

/* A file's methods with ours in place, and where the others lead. */
struct fault_methods {
	sqlite3_io_methods m;
	const sqlite3_io_methods *real;
};
static struct fault_methods fault_tables[8];

static const sqlite3_io_methods *fault_real(sqlite3_file *f)
{
	return ((const struct fault_methods *)(const void *)f->pMethods)->real;
}

static int fault_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	if (fault_now(FAULT_WRITE))
		return fault.code;
	return fault_real(f)->xWrite(f, p, n, at);
}

static int fault_sync(sqlite3_file *f, int flags)
{
	fault.syncs++;
	if (fault_now(FAULT_SYNC))
		return fault.code;
	return fault_real(f)->xSync(f, flags);
}

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags,
		      int *ret_flags)
{
	sqlite3_vfs *real = vfs->pAppData;
	int rc;

	if (fault.read_only)
		flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) |
			SQLITE_OPEN_READONLY;
	rc = real->xOpen(real, name, f, flags, ret_flags);
	if (!f->pMethods)
		return rc;
	for (size_t i = 0; i < sizeof fault_tables / sizeof fault_tables[0]; i++) {
		struct fault_methods *t = &fault_tables[i];

		if (t->real != f->pMethods && t->real)
			continue;
		if (!t->real) {
			t->m = *f->pMethods;
			t->m.xWrite = fault_write;
			t->m.xSync = fault_sync;
			t->real = f->pMethods;
		}
		f->pMethods = &t->m;
		return rc;
	}
	abort();
}

static inline void fault_vfs_register(void)
{
	static sqlite3_vfs vfs;
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);

	if (vfs.zName)
		return;
	vfs = *real;
	vfs.zName = "fault";
	vfs.pNext = NULL;
	vfs.pAppData = real;
	vfs.xOpen = fault_open;
	if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
		abort();
}
#endif
