#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"

/* Samples and keys: for the server's own user alone. */
enum {
	IO_FILE_MODE = 0600,
	IO_DIR_MODE = 0700
};

struct io_posix {
	struct io io; /* first: callers hold a pointer to it */
	int root_fd;
	char *root; /* owned */
};

static struct io_posix *posix_of(struct io *io)
{
	return (struct io_posix *)io;
}

/* Paths are made by our own code, but from names that came from outside: checked. */
static int path_check(const char *path, struct err *err)
{
	struct str rest = str_of(path);
	struct str part;

	if (rest.n == 0 || path[0] == '/')
		return err_set(err, ERR_INVALID, "path '%s' is not below the data folder", path);
	while (str_split(&rest, '/', &part)) {
		if (str_eq(part, STR("..")))
			return err_set(err, ERR_INVALID, "path '%s' leaves the data folder", path);
	}
	return 0;
}

static int posix_open(struct io *io, const char *path, int flags, struct io_file **ret,
		      struct err *err)
{
	struct io_file *f;
	int fd;

	REQUIRE((flags & ~(O_RDONLY | O_RDWR | O_CREAT | O_EXCL | O_TRUNC)) == 0);
	TRY(path_check(path, err));
	do
		fd = openat(posix_of(io)->root_fd, path, flags | O_CLOEXEC, IO_FILE_MODE);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return err_sys(err, errno, "cannot open '%s'", path);
	f = mem_must_zalloc(sizeof *f);
	f->fd = fd;
	*ret = f;
	return 0;
}

static void posix_close(struct io *io, struct io_file *f)
{
	(void)io;
	if (!f)
		return;
	/* What had to reach the disk was synced before; Linux closes on EINTR too. */
	close(f->fd);
	f->fd = -1;
	free(f);
}

static int posix_pwrite(struct io *io, struct io_file *f, const void *p, size_t n, uint64_t offset,
			struct err *err)
{
	const char *at = p;

	(void)io;
	REQUIRE(offset <= (uint64_t)INT64_MAX - n);
	while (n > 0) {
		ssize_t put = pwrite(f->fd, at, n, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_sys(err, errno, "cannot write %zu bytes at %llu", n,
				       (unsigned long long)offset);
		if (put == 0)
			return err_set(err, ERR_IO, "the file takes no byte at %llu",
				       (unsigned long long)offset);
		at += put;
		n -= (size_t)put;
		offset += (uint64_t)put;
	}
	return 0;
}

static void count_sync(struct io *io)
{
	atomic_fetch_add_explicit(&io->sync_count, 1, memory_order_relaxed);
	metric_add(METRIC_syncs_total, 1);
}

/*
 * Never repeated after a failure: the kernel may have dropped the pages that it
 * could not write, and a second call would then report success.
 */
static int posix_sync(struct io *io, struct io_file *f, struct err *err)
{
	if (fdatasync(f->fd) != 0)
		return err_sys(err, errno, "cannot sync");
	count_sync(io);
	return 0;
}

static int posix_truncate(struct io *io, struct io_file *f, uint64_t size, struct err *err)
{
	int rc;

	(void)io;
	REQUIRE(size <= INT64_MAX);
	do
		rc = ftruncate(f->fd, (off_t)size);
	while (rc != 0 && errno == EINTR);
	if (rc != 0)
		return err_sys(err, errno, "cannot set the size to %llu", (unsigned long long)size);
	return 0;
}

static int posix_rename(struct io *io, const char *from, const char *to, struct err *err)
{
	int root_fd = posix_of(io)->root_fd;

	TRY(path_check(from, err));
	TRY(path_check(to, err));
	if (renameat(root_fd, from, root_fd, to) != 0)
		return err_sys(err, errno, "cannot rename '%s' to '%s'", from, to);
	return 0;
}

static int posix_unlink(struct io *io, const char *path, struct err *err)
{
	TRY(path_check(path, err));
	if (unlinkat(posix_of(io)->root_fd, path, 0) != 0)
		return err_sys(err, errno, "cannot remove '%s'", path);
	return 0;
}

static int posix_mkdir(struct io *io, const char *path, struct err *err)
{
	int root_fd = posix_of(io)->root_fd;
	struct stat st;

	TRY(path_check(path, err));
	if (mkdirat(root_fd, path, IO_DIR_MODE) == 0)
		return 0;
	if (errno == EEXIST && fstatat(root_fd, path, &st, 0) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return err_sys(err, errno, "cannot make folder '%s'", path);
}

static int posix_sync_dir(struct io *io, const char *path, struct err *err)
{
	int root_fd = posix_of(io)->root_fd;
	int sys = 0;
	int fd = root_fd;

	if (path[0] != '\0') {
		TRY(path_check(path, err));
		fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return err_sys(err, errno, "cannot open folder '%s'", path);
	}
	if (fsync(fd) != 0)
		sys = errno;
	if (fd != root_fd)
		close(fd);
	if (sys != 0)
		return err_sys(err, sys, "cannot sync folder '%s'", path);
	count_sync(io);
	return 0;
}

/* Takes fd. */
static struct io *posix_new(int fd, const char *root)
{
	struct io_posix *px = mem_must_zalloc(sizeof *px);

	px->root_fd = fd;
	px->root = mem_must_strdup(root);
	px->io.open = posix_open;
	px->io.close = posix_close;
	px->io.pwrite = posix_pwrite;
	px->io.sync = posix_sync;
	px->io.truncate = posix_truncate;
	px->io.rename = posix_rename;
	px->io.unlink = posix_unlink;
	px->io.mkdir = posix_mkdir;
	px->io.sync_dir = posix_sync_dir;
	px->io.root = px->root;
	atomic_init(&px->io.sync_count, 0);
	return &px->io;
}

int io_posix_new(struct io **ret, const char *root, struct err *err)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "cannot open folder '%s'", root);
	*ret = posix_new(fd, root);
	return 0;
}

int io_posix_new_fd(struct io **ret, int folder_fd, struct err *err)
{
	/* Opened anew: a descriptor that was only looked up (O_PATH) cannot be synced. */
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char root[64];

	if (fd < 0)
		return err_sys(err, errno, "cannot open the folder");
	snprintf(root, sizeof root, "/proc/self/fd/%d", fd);
	*ret = posix_new(fd, root);
	return 0;
}

void io_posix_free(struct io *io)
{
	struct io_posix *px = posix_of(io);

	if (!io)
		return;
	close(px->root_fd);
	free(px->root);
	free(px);
}

int io_pread(const struct io_file *f, void *p, size_t n, uint64_t offset, struct err *err)
{
	char *at = p;

	if (offset > (uint64_t)INT64_MAX - n)
		return err_set(err, ERR_CORRUPT, "no file reaches %zu bytes at %llu", n,
			       (unsigned long long)offset);
	while (n > 0) {
		ssize_t got = pread(f->fd, at, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(err, errno, "cannot read %zu bytes at %llu", n,
				       (unsigned long long)offset);
		if (got == 0)
			return err_set(err, ERR_CORRUPT, "the file ends at %llu, %zu bytes early",
				       (unsigned long long)offset, n);
		at += got;
		n -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

int io_size(const struct io_file *f, uint64_t *ret, struct err *err)
{
	struct stat st;

	if (fstat(f->fd, &st) != 0)
		return err_sys(err, errno, "cannot read the size");
	*ret = (uint64_t)st.st_size;
	return 0;
}
