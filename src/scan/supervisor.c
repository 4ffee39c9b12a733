#include "pool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"

/*
 * The one thread that makes and buries children. It must live as long as they
 * do: a child's parent-death signal is tied to the thread that made it.
 */
enum {
	WATCH_MS = 50, /* between looks at memory while any child is at work */
	START_TIMEOUT_MS =
		60000, /* warming up takes half a second; sanitizers and full machines longer */
	SEND_BUFFER_BYTES =
		256 << 10, /* SCAN_DEPTH requests with their overhead, and a large answer packet */
};

/* ---- Spawn ---- */

static int set_up(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr, int sock)
{
	sigset_t blocked, all;
	int rc = posix_spawn_file_actions_adddup2(files, sock, PROTOCOL_FD);

	rc |= posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	rc |= posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
#ifdef NDEBUG
	rc |= posix_spawn_file_actions_addopen(files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
#endif
	rc |= posix_spawn_file_actions_addclosefrom_np(files, PROTOCOL_FD + 1);
	/* Whoever stops the service may mean all its processes: children end by our hand alone. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGHUP);
	sigfillset(&all);
	rc |= posix_spawnattr_setsigmask(attr, &blocked);
	rc |= posix_spawnattr_setsigdefault(attr, &all);
	/* A session of its own: Ctrl-C at the terminal is the parent's to handle. */
	rc |= posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						     POSIX_SPAWN_SETSID);
	return rc;
}

static int spawn(const struct scan_pool *pool, int sock, pid_t *ret)
{
	const char *program = pool->program != NULL ? pool->program : "/proc/self/exe";
	char name[] = "weir", verb[] = "scan-child";
	char *argv[] = { name, verb, NULL };
	char mark[] = SCAN_CHILD_MARK "=1";
	char *environment[] = { mark, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;

	if (posix_spawn_file_actions_init(&files) != 0)
		return ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&files);
		return ENOMEM;
	}
	int rc = set_up(&files, &attr, sock);

	if (rc == 0)
		rc = posix_spawn(ret, program, &files, &attr, argv, environment);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return rc;
}

static void child_free(struct scan_child *child)
{
	for (unsigned i = 0; i < SCAN_SLOTS; i++) {
		scan_rules_unref(child->slots[i]);
		free(child->seen[i]);
	}
	if (child->pidfd >= 0)
		close(child->pidfd);
	if (child->sock >= 0)
		close(child->sock);
	if (child->statm >= 0)
		close(child->statm);
	if (child->mark != NULL)
		munmap(child->mark, sizeof *child->mark);
	for (unsigned i = 0; i < SCAN_DEPTH; i++)
		free(child->ring[i].items);
	free(child);
}

/* The page that it and we share; its size is sealed, so that looking into it is safe. */
static int mark_new(struct mark **ret, int *ret_fd, struct err *err)
{
	int fd;

	TRY(memory_file_new(&fd, "weir-mark", err));
	void *p = MAP_FAILED;

	if (ftruncate(fd, sizeof **ret) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		p = mmap(NULL, sizeof **ret, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		int rc = err_sys(err, errno, "sharing a page with a scan child");

		close(fd);
		return rc;
	}
	*ret = p;
	*ret_fd = fd;
	return 0;
}

/* Our first words. If they do not arrive the child is dead, and its pidfd will say so. */
static int greet(struct scan_child *child, struct err *err)
{
	struct packet_hello hello = { .version = PROTOCOL_VERSION,
				      .memory_max = child->pool->options.memory_max };
	struct iovec part = { &hello, sizeof hello };
	int fd;

	TRY(mark_new(&child->mark, &fd, err));
	(void)!packet_send(child->sock, (struct packet_head){ .type = PACKET_HELLO, .fds = 1 },
			   &part, 1, &fd, 0, NULL);
	close(fd);
	return 0;
}

/* Sockets are made here, so both ends' recorded peer is this process. */
static int child_new(struct scan_pool *pool, struct scan_child **ret, struct err *err)
{
	struct scan_child *child = mem_must_zalloc(sizeof *child);
	const struct timeval wake = { .tv_usec = RECEIVE_WAKE_MS * 1000 };
	int pair[2], size = SEND_BUFFER_BYTES;
	char path[64];

	child->pool = pool;
	child->pidfd = child->sock = child->statm = -1;
	child->born_us = clock_mono_us(clock_system());
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		child_free(child);
		return err_sys(err, errno, "making a socket pair");
	}
	child->sock = pair[0];
	for (int i = 0; i < 2; i++)
		(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);

	(void)setsockopt(child->sock, SOL_SOCKET, SO_RCVTIMEO, &wake, sizeof wake);

	int rc = spawn(pool, pair[1], &child->pid);

	close(pair[1]);
	if (rc != 0) {
		child_free(child);
		return err_sys(err, rc, "starting a scan child");
	}
	metric_add(METRIC_scan_children_started_total, 1);
	/* Not reaped yet, so the number cannot belong to another. */
	child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	(void)snprintf(path, sizeof path, "/proc/%d/statm", (int)child->pid);
	child->statm = open(path, O_RDONLY | O_CLOEXEC);
	if (child->pidfd < 0 || child->statm < 0)
		rc = err_sys(err, errno, "watching a scan child");
	else
		rc = greet(child, err);
	if (rc != 0) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
		child_free(child);
		return rc;
	}
	*ret = child;
	return 0;
}

static void start_failed(struct scan_pool *pool, const char *why) MUST_HOLD(&pool->lock)
{
	(void)snprintf(pool->start_error, sizeof pool->start_error, "%.299s", why);
	pool->start_failures++;
	pool->start_blocked = true;
	cond_broadcast(&pool->changed);
}

static void bury(struct scan_child *child)
{
	child->state = CHILD_BURIED;
	(void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

/* Is another child wanted, and allowed? */
static bool wants_child(const struct scan_pool *pool) MUST_HOLD(&pool->lock)
{
	uint32_t alive = 0, coming = 0;

	if (pool->start_blocked)
		return false;
	for (const struct scan_child *c = pool->children; c != NULL; c = c->next) {
		alive += !c->retiring || c->state == CHILD_STARTING;
		coming += c->state == CHILD_STARTING || c->state == CHILD_IDLE;
	}
	return alive < pool->options.children_max && (coming == 0 || coming < pool->waiting);
}

/* ---- Watch ---- */

/* Of its own memory. */
static uint64_t resident_bytes(int statm)
{
	char text[128];
	ssize_t n = pread(statm, text, sizeof text - 1, 0);
	struct str rest, field;
	uint64_t pages[3] = { 0 };

	/* "size resident shared …", in pages; shared are those of files, which the kernel can drop
	 */
	rest = str_make(text, n > 0 ? (size_t)n : 0);
	for (unsigned i = 0; i < 3; i++) {
		if (!str_split(&rest, ' ', &field) ||
		    !str_to_u64(field, UINT64_MAX / 65536, &pages[i]))
			return 0;
	}
	uint64_t own = pages[1] > pages[2] ? pages[1] - pages[2] : 0;

	return own * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void watch(struct scan_child *child)
{
	uint64_t bytes = resident_bytes(child->statm);

	if (bytes <= child->pool->options.memory_max || atomic_load(&child->over_bytes) != 0)
		return;
	atomic_store(&child->over_bytes, bytes); /* before its end can be seen */
	(void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

/* What a child that starts has said: READY, or why not. */
static void hear(struct scan_pool *pool, struct scan_child *child) MUST_HOLD(&pool->lock)
{
	struct packet p;
	char why[CHILD_CAUSE_BYTES];

	int rc = packet_recv(child->sock, child->room, 0, 0, &p, NULL);

	if (rc == -ERR_TIMEOUT)
		return;
	if (rc == 0 && p.head.type == PACKET_READY && p.head.bytes == 0) {
		child->state = CHILD_IDLE;
		cond_broadcast(&pool->changed);
		return;
	}
	if (rc == 0 && p.head.type == PACKET_REFUSED)
		(void)snprintf(why, sizeof why, "%.*s", (int)p.head.bytes, (const char *)p.body);
	else
		(void)snprintf(why, sizeof why, "it ended before it was ready");
	start_failed(pool, why);
	bury(child);
}

static void reap(struct scan_pool *pool, struct scan_child *child) MUST_HOLD(&pool->lock)
{
	int status;

	if (waitpid(child->pid, &status, WNOHANG) != child->pid)
		return;
	child->reaped = true;
	child->status = status;
	if (child->state == CHILD_STARTING)
		hear(pool, child); /* its last words, or none */
	if (!child->discarded) {
		atomic_fetch_add(&pool->deaths, 1);
		metric_add(METRIC_scan_children_died_total, 1);
	}
	if (child->state != CHILD_TAKEN)
		child->state = CHILD_BURIED;
	cond_broadcast(&pool->changed);
}

static void free_buried(struct scan_pool *pool) MUST_HOLD(&pool->lock)
{
	for (struct scan_child **at = &pool->children; *at != NULL;) {
		struct scan_child *child = *at;

		if (child->state == CHILD_BURIED && child->reaped) {
			*at = child->next;
			child_free(child);
		} else {
			at = &child->next;
		}
	}
}

/* One look at everybody; returns how long to sleep until the next, -1 for ever. */
static int tend(struct scan_pool *pool) MUST_HOLD(&pool->lock)
{
	int64_t now_us = clock_mono_us(clock_system());
	int sleep_ms = -1;

	for (struct scan_child *c = pool->children; c != NULL; c = c->next) {
		if (!c->reaped && c->state == CHILD_STARTING)
			hear(pool, c);
		if (!c->reaped)
			reap(pool, c);
		if (c->reaped)
			continue;
		if (c->state == CHILD_STARTING &&
		    now_us - c->born_us > START_TIMEOUT_MS * INT64_C(1000)) {
			start_failed(pool, "it took too long to start");
			bury(c);
		}
		if (c->state != CHILD_IDLE)
			watch(c);
		if (c->state == CHILD_STARTING || c->state == CHILD_TAKEN)
			sleep_ms = WATCH_MS;
	}
	free_buried(pool);
	return sleep_ms;
}

/* Sleep until a child says something or ends, somebody asks, or the time is up. */
static void sleep_until_needed(struct scan_pool *pool, struct pollfd *fds, size_t n, int sleep_ms)
{
	uint64_t count;

	if (poll(fds, n, sleep_ms) > 0 && (fds[0].revents & POLLIN) != 0)
		(void)!read(pool->wake, &count, sizeof count);
}

struct poll_list {
	struct pollfd *p; /* owned */
	size_t cap;
};

static size_t collect(const struct scan_pool *pool, struct poll_list *list) MUST_HOLD(&pool->lock)
{
	size_t n = 1, need = 1;

	for (const struct scan_child *c = pool->children; c != NULL; c = c->next)
		need += 2;
	if (need > list->cap) {
		void *room = list->p;

		mem_must_grow(&room, need, sizeof *list->p);
		list->p = room;
		list->cap = need;
	}
	struct pollfd *p = list->p;

	REQUIRE(p != NULL);
	p[0] = (struct pollfd){ .fd = pool->wake, .events = POLLIN };
	for (const struct scan_child *c = pool->children; c != NULL; c = c->next) {
		if (c->reaped)
			continue;
		p[n++] = (struct pollfd){ .fd = c->pidfd, .events = POLLIN };
		if (c->state == CHILD_STARTING)
			p[n++] = (struct pollfd){ .fd = c->sock, .events = POLLIN };
	}
	return n;
}

static void spawn_one(struct scan_pool *pool) MUST_HOLD(&pool->lock)
{
	struct scan_child *child = NULL;
	struct err err = { 0 };

	lock_drop(&pool->lock);
	int rc = child_new(pool, &child, &err);

	lock_take(&pool->lock);
	if (rc != 0) {
		start_failed(pool, err.msg);
		return;
	}
	REQUIRE(child != NULL);
	child->next = pool->children;
	pool->children = child;
}

void supervisor_run(void *arg)
{
	struct scan_pool *pool = arg;
	struct poll_list list = { NULL, 0 };

	lock_take(&pool->lock);
	while (!pool->closing || pool->children != NULL) {
		if (pool->closing) {
			for (struct scan_child *c = pool->children; c != NULL; c = c->next) {
				if (c->state != CHILD_BURIED) {
					c->discarded = true;
					bury(c);
				}
			}
		} else if (wants_child(pool)) {
			spawn_one(pool);
		}
		int sleep_ms = tend(pool);

		if (pool->closing && pool->children == NULL)
			break;
		if (!pool->closing && wants_child(pool))
			continue;
		size_t n = collect(pool, &list);

		lock_drop(&pool->lock);
		sleep_until_needed(pool, list.p, n, sleep_ms);
		lock_take(&pool->lock);
	}
	lock_drop(&pool->lock);
	free(list.p);
}
