#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

static const char socket_name[] = "control.sock";

struct slot {
	struct control *control;
	struct thread thread;
	int fd;
	_Atomic bool over;
	bool used; /* the listening thread's */
};

struct control {
	struct service *svc;
	int dir_fd;
	int listen_fd;
	int stop_fd; /* eventfd; readable once we stop, and for ever after */
	struct thread thread;
	struct slot slots[CONTROL_CONNECTIONS_MAX];
};

/* A socket's address has 108 bytes; the folder's path may have more. */
static void address_of(struct sockaddr_un *ret, int dir_fd)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", dir_fd, socket_name);
}

static void slot_run(void *arg)
{
	struct slot *s = arg;

	control_serve(s->control->svc, s->fd, s->control->stop_fd);
	s->over = true;
}

static struct slot *slot_free(struct control *c)
{
	struct slot *found = NULL;

	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		struct slot *s = &c->slots[i];

		if (s->used && s->over) {
			thread_join(&s->thread);
			s->used = false;
		}
		if (!s->used)
			found = s;
	}
	return found;
}

static bool peer_is_allowed(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static void refuse(int fd, const char *why)
{
	log_event(LOG_WARN, "control_refused", LOG_Z("why", why));
	close(fd);
}

static void accept_one(struct control *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct slot *s;
	struct err err;

	if (fd < 0)
		return;
	if (!peer_is_allowed(fd)) {
		refuse(fd, "another user");
		return;
	}
	s = slot_free(c);
	if (!s) {
		refuse(fd, "too many connections");
		return;
	}
	*s = (struct slot){ .control = c, .fd = fd, .used = true };
	if (thread_start(&s->thread, "control", slot_run, s, &err) != 0) {
		s->used = false;
		refuse(fd, err.msg);
	}
}

static void control_run(void *arg)
{
	struct control *c = arg;

	for (;;) {
		struct pollfd ready[2] = { { .fd = c->listen_fd, .events = POLLIN },
					   { .fd = c->stop_fd, .events = POLLIN } };

		if (poll(ready, 2, -1) < 0 && errno != EINTR)
			return;
		if (ready[1].revents)
			return;
		if (ready[0].revents)
			accept_one(c);
	}
}

static int control_listen(struct control *c, const char *data, struct err *err)
{
	struct sockaddr_un address;

	c->dir_fd = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		return err_sys(err, errno, "cannot open '%s'", data);
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->stop_fd < 0 || c->listen_fd < 0)
		return err_sys(err, errno, "cannot make the control socket");
	/* One left by a crash: the folder is ours, so nobody listens on it. */
	if (unlinkat(c->dir_fd, socket_name, 0) != 0 && errno != ENOENT)
		return err_sys(err, errno, "cannot remove '%s/%s'", data, socket_name);
	address_of(&address, c->dir_fd);
	if (bind(c->listen_fd, (struct sockaddr *)&address, sizeof address) != 0 ||
	    fchmodat(c->dir_fd, socket_name, 0600, 0) != 0 ||
	    listen(c->listen_fd, CONTROL_CONNECTIONS_MAX) != 0)
		return err_sys(err, errno, "cannot listen on '%s/%s'", data, socket_name);
	return thread_start(&c->thread, "control", control_run, c, err);
}

int control_open(struct control **ret, struct service *svc, const char *data, struct err *err)
{
	struct control *c = mem_must_zalloc(sizeof *c);
	int rc;

	c->svc = svc;
	c->dir_fd = c->listen_fd = c->stop_fd = -1;
	rc = control_listen(c, data, err);
	if (rc) {
		control_close(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	if (c->stop_fd >= 0)
		eventfd_write(c->stop_fd, 1);
	thread_join(&c->thread);
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		if (c->slots[i].used)
			thread_join(&c->slots[i].thread);
	}
	if (c->listen_fd >= 0) {
		unlinkat(c->dir_fd, socket_name, 0);
		close(c->listen_fd);
	}
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	free(c);
}

int control_connect(int *ret_fd, const char *data, struct err *err)
{
	struct sockaddr_un address;
	int dir_fd = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC), fd, rc = 0;

	if (dir_fd < 0)
		return err_sys(err, errno, "cannot open '%s'", data);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address_of(&address, dir_fd);
	if (fd < 0)
		rc = err_sys(err, errno, "cannot make a socket");
	else if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		rc = errno == ECONNREFUSED
			     ? err_set(err, ERR_NOT_FOUND, "nobody listens on '%s/%s'", data,
				       socket_name)
			     : err_sys(err, errno, "cannot connect to '%s/%s'", data, socket_name);
	close(dir_fd);
	if (rc == 0)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return rc;
}
