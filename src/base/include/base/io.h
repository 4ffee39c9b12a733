#ifndef BASE_IO_H
#define BASE_IO_H
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

/*
 * Everything weir itself writes durably goes through this table, so that a test
 * can lose power: it keeps unsynced writes and drops, reorders or tears them.
 * (SQLite has its own VFS; the same test wraps that too.)
 *
 * Paths are relative to the data folder, '/'-separated, never "..".
 * Any thread. A struct io_file may be read and written by several threads.
 */
struct io_file {
	int fd; /* for pread, mmap, sendmsg; never write or sync through it */
};

struct io {
	/* flags: O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC. Release with close. */
	int (*open)(struct io *io, const char *path, int flags, struct io_file **ret,
		    struct err *err);
	void (*close)(struct io *io, struct io_file *f);
	/* All n bytes or an error. */
	int (*pwrite)(struct io *io, struct io_file *f, const void *p, size_t n, uint64_t offset,
		      struct err *err);
	int (*sync)(struct io *io, struct io_file *f, struct err *err); /* data and size */
	int (*truncate)(struct io *io, struct io_file *f, uint64_t size, struct err *err);
	int (*rename)(struct io *io, const char *from, const char *to, struct err *err);
	int (*unlink)(struct io *io, const char *path, struct err *err);
	int (*mkdir)(struct io *io, const char *path, struct err *err); /* EXISTS is fine: 0 */
	/* Make creates, renames and unlinks in the folder durable; "" is the root. */
	int (*sync_dir)(struct io *io, const char *path, struct err *err);
	/* The data folder's path, for SQLite and listings. Never changes. */
	const char *root;
	_Atomic uint64_t sync_count; /* sync and sync_dir calls that succeeded */
};

/* The real thing over `root`, which must exist. Free with io_posix_free. */
MUST_USE int io_posix_new(struct io **ret, const char *root, struct err *err);
/*
 * The same over a folder that somebody opened, maybe in another mount namespace:
 * nothing of it is looked up by path. The descriptor stays the caller's.
 */
MUST_USE int io_posix_new_fd(struct io **ret, int folder_fd, struct err *err);
void io_posix_free(struct io *io);

/* Read exactly n bytes at offset; ERR_CORRUPT if the file ends before. */
MUST_USE int io_pread(const struct io_file *f, void *p, size_t n, uint64_t offset, struct err *err);
MUST_USE int io_size(const struct io_file *f, uint64_t *ret, struct err *err);
#endif
