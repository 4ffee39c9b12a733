#include "child_internal.h"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "confine_internal.h"
#include "unpack_walk_internal.h"

enum {
	/* engine/src/depth.rs compiles deep rules on 256 MB; there are no threads in here, so this
	 * one has it. */
	WORKER_STACK_BYTES = 264 << 20,
	SAMPLE_CAP_FIRST = 1 << 20, /* most samples fit */
	SAMPLE_CAP_KEPT = 16 << 20, /* memory of larger ones is given back at once */
};

/* What the first thread hands to the scanning one. */
struct start {
	struct worker *w;
	uint64_t memory_max;
};

_Noreturn void worker_exit(int status)
{
	_exit(status);
}

void worker_send(const struct worker *w, struct packet_head head, const struct iovec *parts,
		 size_t n)
{
	if (packet_send(w->sock, head, parts, n, NULL, -1, NULL) != 0)
		worker_exit(1);
}

void worker_data(const struct worker *w, enum packet_stream stream, const void *p, size_t n)
{
	const size_t most = PACKET_BYTES_MAX - sizeof(struct packet_head);

	for (size_t at = 0; at < n;) {
		size_t part = n - at < most ? n - at : most;
		struct iovec iov = { (char *)(uintptr_t)p + at, part };

		worker_send(w,
			    (struct packet_head){
				    .type = PACKET_DATA, .stream = (uint8_t)stream, .seq = w->seq },
			    &iov, 1);
		at += part;
	}
}

void worker_done(const struct worker *w, enum packet_status status, const void *fixed,
		 size_t fixed_bytes, const void *p, size_t n)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)fixed, fixed_bytes },
				{ (void *)(uintptr_t)p, n } };

	worker_send(w, (struct packet_head){ .type = PACKET_DONE, .seq = w->seq, .status = status },
		    iov, 2);
}

void worker_fail(const struct worker *w, enum packet_status status, const char *text)
{
	size_t n = strlen(text);

	worker_done(w, status, NULL, 0, text, n < 1024 ? n : 1024);
}

enum packet_status worker_pread(int fd, void *room, size_t n, uint64_t offset)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = pread(fd, (char *)room + at, n - at, (off_t)(offset + at));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return STATUS_IO;
		if (got == 0)
			return STATUS_SHORT;
		at += (size_t)got;
	}
	return STATUS_OK;
}

bool worker_sample_room(struct worker *w, size_t bytes)
{
	if (bytes <= w->sample_cap && w->sample != NULL)
		return true;
	size_t cap = (bytes / SAMPLE_CAP_FIRST + 1) * SAMPLE_CAP_FIRST;

	if (w->sample != NULL)
		munmap(w->sample, w->sample_cap);
	w->sample = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->sample == MAP_FAILED)
		w->sample = NULL;
	w->sample_cap = w->sample == NULL ? 0 : cap;
	return w->sample != NULL;
}

bool worker_read_sample(struct worker *w, int fd, uint64_t offset, uint64_t n)
{
	if (!worker_sample_room(w, (size_t)n)) {
		worker_fail(w, STATUS_IO, "no memory for the sample");
		return false;
	}
	enum packet_status status = worker_pread(fd, w->sample, (size_t)n, offset);

	if (status == STATUS_IO)
		worker_fail(w, status, strerror(errno));
	else if (status != STATUS_OK)
		worker_fail(w, status, "the file ends before the sample does");
	return status == STATUS_OK;
}

void worker_forget_sample(struct worker *w)
{
	if (w->sample_cap <= SAMPLE_CAP_KEPT)
		return;
	munmap(w->sample, w->sample_cap);
	w->sample = NULL;
	w->sample_cap = 0;
}

static void worker_serve(struct worker *w)
{
	for (;;) {
		struct packet p;

		if (packet_recv(w->sock, w->in, PACKET_FDS_MAX, INT64_MAX, &p, NULL) != 0)
			worker_exit(0); /* the parent closed: nobody waits for us */
		w->seq = p.head.seq;
		switch (p.head.type) {
		case PACKET_COMPILE:
			worker_compile(w, &p);
			break;
		case PACKET_LOAD:
			worker_load(w, &p);
			break;
		case PACKET_IDENTIFY:
			worker_identify(w, &p);
			break;
		case PACKET_PROBE:
			worker_probe(w, &p);
			break;
		case PACKET_SCAN:
			worker_scan(w, &p);
			break;
		case PACKET_MANY:
			worker_scan_many(w, &p);
			break;
		case PACKET_UNPACK:
			worker_unpack(w, &p);
			break;
		default:
			worker_exit(3);
		}
		for (int i = 0; i < p.head.fds; i++)
			close(p.fds[i]);
	}
}

static _Noreturn void refuse(const struct worker *w, const char *why)
{
	size_t n = strlen(why);
	struct iovec iov = { (void *)(uintptr_t)why, n };

	worker_send(w, (struct packet_head){ .type = PACKET_REFUSED }, &iov, 1);
	worker_exit(2);
}

/* Everything that opens files or sets itself up on first use, then the sandbox. */
static void *worker_run(void *arg)
{
	const struct start *start = arg;
	struct worker *w = start->w;
	struct err err = { 0 };

	if (engine_warm_up() != ENGINE_OK)
		refuse(w, engine_last_error());
	if (worker_open_magic(w, &err) != 0)
		refuse(w, err.msg);
	tzset(); /* libmagic prints dates; the zone is read here or never */
	(void)clock_mono_us(clock_system());
	if (!worker_sample_room(w, SAMPLE_CAP_FIRST))
		refuse(w, "no memory for samples");
	if (confine(start->memory_max, &err) != 0)
		refuse(w, err.msg);
	worker_send(w, (struct packet_head){ .type = PACKET_READY }, NULL, 0);
	worker_serve(w);
	return NULL;
}

/* The process at the other end of the pair when it was made. */
static pid_t peer_pid(int sock)
{
	struct ucred cred;
	socklen_t n = sizeof cred;

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 ? cred.pid : -1;
}

static uint64_t hello(struct worker *w)
{
	struct packet p;
	struct packet_hello h;

	if (packet_recv(w->sock, w->in, 1, INT64_MAX, &p, NULL) != 0)
		worker_exit(1); /* nobody there: not started by weir */
	if (p.head.type != PACKET_HELLO || p.head.bytes != sizeof h || p.head.fds != 1)
		worker_exit(3);
	memcpy(&h, p.body, sizeof h);
	if (h.version != PROTOCOL_VERSION)
		refuse(w, "the program's file was replaced while it runs: restart it");
	w->mark = mmap(NULL, sizeof *w->mark, PROT_READ | PROT_WRITE, MAP_SHARED, p.fds[0], 0);
	if (w->mark == MAP_FAILED)
		refuse(w, "no memory to share");
	close(p.fds[0]);
	return h.memory_max;
}

int scan_child_main(void)
{
	struct worker *w = mem_must_zalloc(sizeof *w);
	struct err err = { 0 };
	pthread_attr_t attr;
	pthread_t thread;

	/* glibc asks /proc before it shrinks any arena but the first: have the first only. */
	(void)mallopt(M_ARENA_MAX, 1);
	w->sock = PROTOCOL_FD;
	setenv("TZ", "UTC0", 1);

	struct start start = { .w = w, .memory_max = hello(w) };

	unpack_walk_prepare();
	if (confine_begin(peer_pid(w->sock), &err) != 0)
		refuse(w, err.msg);
	if (pthread_attr_init(&attr) != 0 ||
	    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES) != 0 ||
	    pthread_create(&thread, &attr, worker_run, &start) != 0)
		refuse(w, "cannot start the scanning thread");
	pthread_join(thread, NULL);
	worker_exit(0);
}
