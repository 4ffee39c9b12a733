#ifndef FAILING_IO_H
#define FAILING_IO_H
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "base/io.h"
#include "unit.h"

/*
 * A folder whose n-th call that changes something fails once, with an error of the
 * test's choice; all others reach the disk. And a file that cannot be opened at all.
 */
struct failing {
	struct io io; /* first */
	struct io *real;
	_Atomic uint64_t calls;
	_Atomic uint64_t fails_at; /* 0: none */
	int sys;
	const char *refused; /* part of a file's name, to open which fails; NULL: none */
};

static inline int failing_now(struct io *io, struct err *err)
{
	struct failing *f = (struct failing *)io;

	return ++f->calls == f->fails_at ? err_sys(err, f->sys, "the test's disk") : 0;
}

static inline int failing_open(struct io *io, const char *path, int flags, struct io_file **ret,
			       struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	const char *refused = ((struct failing *)io)->refused;

	if (flags & (O_CREAT | O_TRUNC))
		TRY(failing_now(io, err));
	if (refused && strstr(path, refused))
		return err_sys(err, ((struct failing *)io)->sys, "cannot open '%s'", path);
	return real->open(real, path, flags, ret, err);
}

static inline void failing_close(struct io *io, struct io_file *file)
{
	struct io *real = ((struct failing *)io)->real;

	real->close(real, file);
}

static inline int failing_pwrite(struct io *io, struct io_file *file, const void *p, size_t n,
				 uint64_t offset, struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->pwrite(real, file, p, n, offset, err);
}

static inline int failing_sync(struct io *io, struct io_file *file, struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->sync(real, file, err);
}

static inline int failing_truncate(struct io *io, struct io_file *file, uint64_t size,
				   struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->truncate(real, file, size, err);
}

static inline int failing_rename(struct io *io, const char *from, const char *to, struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->rename(real, from, to, err);
}

static inline int failing_unlink(struct io *io, const char *path, struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->unlink(real, path, err);
}

static inline int failing_mkdir(struct io *io, const char *path, struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->mkdir(real, path, err);
}

static inline int failing_sync_dir(struct io *io, const char *path, struct err *err)
{
	struct io *real = ((struct failing *)io)->real;

	TRY(failing_now(io, err));
	return real->sync_dir(real, path, err);
}

static inline void failing_init(struct failing *f, const char *folder)
{
	struct err err;

	*f = (struct failing){ .io = { .open = failing_open,
				       .close = failing_close,
				       .pwrite = failing_pwrite,
				       .sync = failing_sync,
				       .truncate = failing_truncate,
				       .rename = failing_rename,
				       .unlink = failing_unlink,
				       .mkdir = failing_mkdir,
				       .sync_dir = failing_sync_dir,
				       .root = folder },
			       .sys = EIO };
	CHECK_OK(io_posix_new(&f->real, folder, &err), &err);
}

static inline void failing_release(struct failing *f)
{
	io_posix_free(f->real);
}
#endif
