#include "simdisk_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

/* The disk as a struct io. */

struct sim_file {
	struct io_file file; /* first; fd is that of `real` */
	struct io_file *real;
	struct sim_node *node;
};

static struct simdisk *disk_of(struct io *io)
{
	return (struct simdisk *)io;
}

static struct sim_file *file_of(struct io_file *f)
{
	return (struct sim_file *)(void *)f;
}

static int off_error(struct err *err)
{
	return err_set(err, ERR_IO, "the power is gone");
}

/* 0 to go on; otherwise the failure to return. */
static int gate(struct simdisk *d, const char *what, struct err *err) MUST_HOLD(d->lock);

static int gate(struct simdisk *d, const char *what, struct err *err)
{
	switch (sim_enter(d)) {
	case SIM_GO:
		return 0;
	case SIM_FAIL:
		return err_sys(err, d->options.fail_errno, "made to fail: %s", what);
	case SIM_OFF:
		break;
	}
	return off_error(err);
}

static int sim_open_locked(struct simdisk *d, const char *path, int flags, struct io_file **ret,
			   struct err *err) MUST_HOLD(d->lock);

static int sim_open_locked(struct simdisk *d, const char *path, int flags, struct io_file **ret,
			   struct err *err)
{
	struct io_file *real;
	struct sim_file *f;
	bool is_new;

	TRY(gate(d, "open", err));
	is_new = (flags & O_CREAT) && !sim_find(d->live_names, path);
	TRY(d->under->open(d->under, path, flags, &real, err));
	f = mem_must_zalloc(sizeof *f);
	f->real = real;
	f->file.fd = real->fd;
	f->node = sim_opened(d, path, is_new);
	if (flags & O_TRUNC)
		sim_truncate(f->node, 0);
	*ret = &f->file;
	return 0;
}

static int sim_open(struct io *io, const char *path, int flags, struct io_file **ret,
		    struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc;

	lock_take(&d->lock);
	rc = sim_open_locked(d, path, flags, ret, err);
	lock_drop(&d->lock);
	return rc;
}

static void sim_close(struct io *io, struct io_file *f)
{
	struct simdisk *d = disk_of(io);

	if (!f)
		return;
	d->under->close(d->under, file_of(f)->real);
	free(f);
}

static int sim_pwrite_io(struct io *io, struct io_file *f, const void *p, size_t n, uint64_t offset,
			 struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc, real = 0;

	lock_take(&d->lock);
	rc = gate(d, "write", err);
	/* A write that fails may have come through in part. */
	if (rc != 0)
		n = d->off ? 0 : rand_below(&d->lots, n + 1);
	if (n > 0) {
		real = d->under->pwrite(d->under, file_of(f)->real, p, n, offset,
					rc == 0 ? err : NULL);
		sim_write(file_of(f)->node, p, n, offset);
	}
	lock_drop(&d->lock);
	return rc != 0 ? rc : real;
}

static int sim_sync_io(struct io *io, struct io_file *f, struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc;

	lock_take(&d->lock);
	rc = gate(d, "sync", err);
	if (rc != 0 && !d->off)
		sim_sync_failed(d, file_of(f)->node);
	else if (rc == 0 && !sim_sync(d, file_of(f)->node, NULL))
		rc = off_error(err);
	lock_drop(&d->lock);
	if (rc == 0)
		atomic_fetch_add(&io->sync_count, 1);
	return rc;
}

static int sim_sync_dir(struct io *io, const char *path, struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc;

	lock_take(&d->lock);
	rc = gate(d, "sync of a folder", err);
	if (rc == 0 && !sim_sync(d, NULL, path))
		rc = off_error(err);
	lock_drop(&d->lock);
	if (rc == 0)
		atomic_fetch_add(&io->sync_count, 1);
	return rc;
}

static int sim_truncate_io(struct io *io, struct io_file *f, uint64_t size, struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc;

	lock_take(&d->lock);
	rc = gate(d, "truncate", err);
	if (rc == 0)
		rc = d->under->truncate(d->under, file_of(f)->real, size, err);
	if (rc == 0)
		sim_truncate(file_of(f)->node, size);
	lock_drop(&d->lock);
	return rc;
}

static int sim_rename(struct io *io, const char *from, const char *to, struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc;

	lock_take(&d->lock);
	rc = gate(d, "rename", err);
	if (rc == 0)
		rc = d->under->rename(d->under, from, to, err);
	if (rc == 0)
		sim_renamed(d, from, to);
	lock_drop(&d->lock);
	return rc;
}

static int sim_unlink(struct io *io, const char *path, struct err *err)
{
	struct simdisk *d = disk_of(io);
	int rc;

	lock_take(&d->lock);
	rc = gate(d, "unlink", err);
	if (rc == 0)
		rc = d->under->unlink(d->under, path, err);
	if (rc == 0)
		sim_renamed(d, path, NULL);
	lock_drop(&d->lock);
	return rc;
}

static int sim_mkdir(struct io *io, const char *path, struct err *err)
{
	struct simdisk *d = disk_of(io);
	char full[4096];
	bool there;
	int rc;

	snprintf(full, sizeof full, "%s/%s", d->live, path);
	lock_take(&d->lock);
	there = access(full, F_OK) == 0;
	rc = gate(d, "mkdir", err);
	if (rc == 0)
		rc = d->under->mkdir(d->under, path, err);
	if (rc == 0 && !there)
		sim_made_folder(d, path);
	lock_drop(&d->lock);
	return rc;
}

void sim_io_init(struct simdisk *d)
{
	d->io.open = sim_open;
	d->io.close = sim_close;
	d->io.pwrite = sim_pwrite_io;
	d->io.sync = sim_sync_io;
	d->io.truncate = sim_truncate_io;
	d->io.rename = sim_rename;
	d->io.unlink = sim_unlink;
	d->io.mkdir = sim_mkdir;
	d->io.sync_dir = sim_sync_dir;
	d->io.root = d->live;
	atomic_init(&d->io.sync_count, 0);
}
