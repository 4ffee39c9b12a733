#include "service_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char folder_restoring[] = "restoring";

int folder_make(const char *path, struct err *err)
{
	char parent[4096];
	int fd, rc = 0;

	if (mkdir(path, 0700) != 0)
		return errno == EEXIST ? 0
				       : err_sys(err, errno, "making the data folder '%s'", path);
	/* What is synced in a folder without a name is lost. */
	snprintf(parent, sizeof parent, "%s/..", path);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		return 0; /* we may write there but not look */
	if (fd < 0 || fsync(fd) != 0)
		rc = err_sys(err, errno, "syncing the folder of '%s'", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int lock_held_by(const char *path, int fd, struct err *err)
{
	char holder[32] = { 0 };
	ssize_t n = pread(fd, holder, sizeof holder - 1, 0);

	if (n > 0 && holder[n - 1] == '\n')
		holder[n - 1] = 0;
	return err_set(err, ERR_BUSY, "'%s' is held by process %s", path,
		       n > 0 ? holder : "(unknown)");
}

int folder_lock(const char *data, int *ret_fd, struct err *err)
{
	char path[4096], pid[32];
	int fd, n, rc = 0;

	snprintf(path, sizeof path, "%s/lock", data);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "opening '%s'", path);
	n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		rc = errno == EWOULDBLOCK ? lock_held_by(path, fd, err)
					  : err_sys(err, errno, "locking '%s'", path);
	else if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
		rc = err_sys(err, errno, "writing '%s'", path);
	if (rc) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int folder_check_whole(const char *data, struct err *err)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", data, folder_restoring);
	if (access(path, F_OK) == 0)
		return err_set(err, ERR_CORRUPT,
			       "'%s' holds a restore that did not end: repeat 'weir restore', or "
			       "remove the folder",
			       data);
	return 0;
}
