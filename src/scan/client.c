#include "pool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"

enum {
	SEND_TIMEOUT_MS =
		30000, /* the buffer has room for all that may be under way: never reached */
	END_TIMEOUT_MS = 20000, /* a killed process gives back its memory */
	TEXT_SHOWN_MAX = 200,   /* of what a child says went wrong */
};

int64_t client_deadline(uint32_t timeout_ms)
{
	return clock_mono_us(clock_system()) + (int64_t)timeout_ms * 1000;
}

/* Kill and wait until the supervisor has buried it, so that its status is known. */
static void end_child(struct scan_child *child)
{
	struct scan_pool *pool = child->pool;
	bool in_time = true;

	lock_take(&pool->lock);
	if (!child->reaped)
		(void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
	pool_wake(pool);
	while (!child->reaped && in_time)
		in_time = cond_wait_ms(&pool->changed, &pool->lock, END_TIMEOUT_MS);
	lock_drop(&pool->lock);
	child->dead = true;
}

int client_kill(struct scan_child *child, struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(child->cause, sizeof child->cause, fmt, ap);
	va_end(ap);
	end_child(child);
	return err_set(err, kind, "scan child %d: %s", (int)child->pid, child->cause);
}

void client_give_up(struct scan_child *child)
{
	lock_take(&child->pool->lock);
	child->discarded = true;
	lock_drop(&child->pool->lock);
	(void)snprintf(child->cause, sizeof child->cause, "given up");
	end_child(child);
}

/* Its socket ended: find out why. */
static int client_gone(struct scan_child *child, struct err *err)
{
	uint64_t over, max = child->pool->options.memory_max;

	end_child(child);
	over = atomic_load(&child->over_bytes);
	child->struck = over == 0 && child->reaped && WIFSIGNALED(child->status) &&
			WTERMSIG(child->status) == SIGKILL;
	if (over != 0)
		(void)snprintf(child->cause, sizeof child->cause,
			       "over its memory limit: %llu MB resident, %llu MB allowed",
			       (unsigned long long)(over >> 20), (unsigned long long)(max >> 20));
	else if (!child->reaped)
		(void)snprintf(child->cause, sizeof child->cause, "it does not end");
	else if (WIFSIGNALED(child->status) && WTERMSIG(child->status) == SIGSYS)
		(void)snprintf(child->cause, sizeof child->cause,
			       "killed by signal %d (SYS: a system call that it may not make)",
			       SIGSYS);
	else if (WIFSIGNALED(child->status))
		(void)snprintf(child->cause, sizeof child->cause, "killed by signal %d (%s)",
			       WTERMSIG(child->status), sigabbrev_np(WTERMSIG(child->status)));
	else
		(void)snprintf(child->cause, sizeof child->cause, "ended with status %d",
			       WEXITSTATUS(child->status));
	return err_set(err, ERR_DIED, "scan child %d: %s", (int)child->pid, child->cause);
}

int client_begin(struct scan_child *child, struct err *err)
{
	uint32_t max = child->pool->options.jobs_max;

	REQUIRE(child->state == CHILD_TAKEN);
	if (child->dead)
		return err_set(err, ERR_DIED, "scan child %d: %s", (int)child->pid, child->cause);
	child->seq++;
	if (++child->jobs != max - max / 10)
		return 0;
	/* Its successor warms up while it does its last jobs. */
	lock_take(&child->pool->lock);
	child->retiring = true;
	pool_wake(child->pool);
	lock_drop(&child->pool->lock);
	return 0;
}

int client_send(struct scan_child *child, enum packet_type type, const struct iovec *parts,
		size_t n, const int *fds, unsigned fd_count, struct err *err)
{
	struct packet_head head = { .type = (uint8_t)type,
				    .fds = (uint16_t)fd_count,
				    .seq = child->seq };
	struct err why = { 0 };

	int rc = packet_send(child->sock, head, parts, n, fds, SEND_TIMEOUT_MS, &why);

	if (rc == 0)
		return 0;
	if (rc == -ERR_CLOSED)
		return client_gone(child, err);
	return client_kill(child, err, ERR_DIED, "%s", why.msg);
}

int client_recv(struct scan_child *child, uint32_t seq, int64_t deadline_us, uint32_t timeout_ms,
		struct packet *ret, struct err *err)
{
	struct err why = { 0 };
	struct packet p;

	int rc = packet_recv(child->sock, child->room, 0, deadline_us, &p, &why);

	if (rc == -ERR_CLOSED)
		return client_gone(child, err);
	if (rc == -ERR_TIMEOUT)
		return client_kill(child, err, ERR_TIMEOUT, "took longer than %u ms", timeout_ms);
	if (rc == -ERR_CORRUPT)
		return client_lie(child, err, "%s", why.msg);
	if (rc != 0)
		return client_kill(child, err, ERR_DIED, "%s", why.msg);
	if (p.head.seq != seq)
		return client_lie(child, err, "answer %u to request %u", p.head.seq, seq);
	if (p.head.type != PACKET_DATA && p.head.type != PACKET_DONE)
		return client_lie(child, err, "a packet of type %u", p.head.type);
	*ret = p;
	return 0;
}

int client_failed(struct scan_child *child, const struct packet *done, struct err *err)
{
	char text[TEXT_SHOWN_MAX + 1];
	size_t n = done->head.bytes < TEXT_SHOWN_MAX ? done->head.bytes : TEXT_SHOWN_MAX;

	for (size_t i = 0; i < n; i++)
		text[i] =
			(char)(done->body[i] >= ' ' && done->body[i] < 0x7f ? done->body[i] : '?');
	text[n] = '\0';
	switch (done->head.status) {
	case STATUS_FAILED:
		return err_set(err, ERR_INVALID, "the engine failed: %s", text);
	case STATUS_SHORT:
	case STATUS_IO:
		return err_set(err, ERR_IO, "reading the sample: %s", text);
	default:
		return client_lie(child, err, "status %u", done->head.status);
	}
}

int memory_file_new(int *ret_fd, const char *name, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(err, errno, "making a memory file");
	*ret_fd = fd;
	return 0;
}

int memory_file_add(int fd, const void *p, size_t n, struct err *err)
{
	const char *at = p;

	while (n > 0) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return err_sys(err, errno, "writing a memory file");
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

int memory_file_seal(int fd, struct err *err)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
		return err_sys(err, errno, "sealing a memory file");
	return 0;
}
