#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "service/files.h"

enum {
	UPLOAD_PIECE = 256 * 1024 /* read at once from a file */
};

/* ---- From a file, blocking ---- */

struct upload_wait {
	struct lock lock;
	struct cond cond;
	bool over;
	int rc;
	struct err err;
	struct upload_outcome outcome;
};

static void upload_wait_done(const struct upload_outcome *outcome, int rc, const struct err *err,
			     void *arg)
{
	struct upload_wait *w = arg;

	lock_take(&w->lock);
	w->rc = rc;
	if (rc)
		w->err = *err;
	else
		w->outcome = *outcome;
	w->over = true;
	cond_signal(&w->cond);
	lock_drop(&w->lock);
}

static int upload_read(struct upload *u, int fd, struct err *err)
{
	void *mem;
	char *piece;
	ssize_t n;
	int rc = 0;

	TRY(mem_try_alloc(&mem, UPLOAD_PIECE, err));
	piece = mem;
	while (rc == 0 && (n = read(fd, piece, UPLOAD_PIECE)) != 0) {
		if (n < 0)
			rc = err_sys(err, errno, "reading the file");
		else
			rc = upload_add(u, piece, (size_t)n, err);
	}
	free(piece);
	return rc;
}

int upload_fd(struct service *svc, const struct upload_options *options, int fd,
	      struct upload_outcome *ret, struct err *err)
{
	struct upload_wait wait = { .over = false };
	struct upload *u;
	int rc;

	TRY(upload_new(&u, svc, options, err));
	rc = upload_read(u, fd, err);
	if (rc) {
		upload_free(u);
		return rc;
	}
	lock_init(&wait.lock, LOCK_POOL);
	cond_init(&wait.cond);
	rc = upload_finish(u, upload_wait_done, &wait, err);
	if (rc == 0) {
		lock_take(&wait.lock);
		while (!wait.over)
			cond_wait(&wait.cond, &wait.lock);
		lock_drop(&wait.lock);
		rc = wait.rc;
		if (rc && err)
			*err = wait.err;
		else if (rc == 0)
			*ret = wait.outcome;
	}
	cond_release(&wait.cond);
	lock_release(&wait.lock);
	return rc;
}
