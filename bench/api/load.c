#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"

enum {
	ANSWER_BYTES_MAX = 16 << 20,
	RECV_BYTES = 64 * 1024,
	EVENTS = 64,
	STALL_MS = 60 * 1000, /* a server that answers nothing for so long is broken */
	TIMES_MAX = 20 * 1000 * 1000,
};

_Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_api: %s: %s\n", what, why);
	exit(1);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t now_us(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000;
}

double process_cpu_s(void)
{
	return (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

double thread_cpu_s(void)
{
	return (double)clock_ns(CLOCK_THREAD_CPUTIME_ID) / 1e9;
}

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double quantile(double *v, size_t n, double q)
{
	size_t i = (size_t)((double)n * q);

	if (n == 0)
		return 0;
	qsort(v, n, sizeof *v, double_compare);
	return v[i < n ? i : n - 1];
}

/* ---- Answers ---- */

static struct str header_value(struct str head, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i + n < head.n; i++)
		if (head.p[i] == '\n' && strncasecmp(head.p + i + 1, name, n) == 0)
			return str_make(head.p + i + 1 + n, head.n - i - 1 - n);
	return str_make(NULL, 0);
}

/* Length of the whole answer at the buffer's start, 0 while that is not known. */
static size_t answer_length(const struct buf *in, unsigned status, size_t *ret_head)
{
	const char *end = in->n ? memmem(in->p, in->n, "\r\n\r\n", 4) : NULL;
	struct str head, length;
	char *stop;

	if (!end)
		return 0;
	head = str_make(in->p, (size_t)(end - in->p) + 4);
	if (head.n < 16 || strtoul(head.p + 9, &stop, 10) != status)
		die("unexpected answer", in->p);
	length = header_value(head, "Content-Length: ");
	if (!length.p)
		die("answer without a length", in->p);
	*ret_head = head.n;
	return head.n + strtoull(length.p, &stop, 10);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons(port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) != 0)
		die("connecting", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void send_all(int fd, struct str s)
{
	while (s.n > 0) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

		if (n < 0)
			die("sending", strerror(errno));
		s = str_make(s.p + n, s.n - (size_t)n);
	}
}

/* false: nothing there just now. */
static bool receive(int fd, struct buf *in, int flags)
{
	char *to = buf_reserve(in, RECV_BYTES);
	ssize_t n;

	if (!to)
		die("receiving", "the answer is too large");
	n = recv(fd, to, RECV_BYTES, flags);
	if (n == 0)
		die("receiving", "the server closed the connection");
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0)
		die("receiving", strerror(errno));
	in->n += (size_t)n;
	return true;
}

/* ---- One at a time ---- */

void client_open(struct client *c, uint16_t port)
{
	c->fd = connect_to(port);
	buf_init(&c->in, ANSWER_BYTES_MAX);
}

void client_close(struct client *c)
{
	close(c->fd);
	buf_release(&c->in);
}

struct str client_ask(struct client *c, struct str request, unsigned status)
{
	size_t whole = 0, head = 0;

	send_all(c->fd, request);
	buf_reset(&c->in);
	while (whole == 0 || c->in.n < whole) {
		(void)receive(c->fd, &c->in, 0);
		whole = answer_length(&c->in, status, &head);
	}
	return str_make(c->in.p + head, whole - head);
}

/* ---- Many ---- */

struct conn {
	int fd;
	struct buf in;
	int64_t sent_us;
	bool waits;
};

struct run {
	const struct load *load;
	struct load_result result;
	struct conn *conns;
	struct buf out;
	float *times; /* us */
	uint64_t time_count;
};

static void run_send(struct run *r, struct conn *c)
{
	buf_reset(&r->out);
	r->load->request(&r->out, r->load->arg);
	c->sent_us = now_us();
	c->waits = true;
	buf_reset(&c->in);
	send_all(c->fd, buf_str(&r->out));
}

/* One readable connection; false: its answer is not whole yet. */
static bool run_receive(struct run *r, struct conn *c)
{
	size_t head, whole;

	if (!receive(c->fd, &c->in, MSG_DONTWAIT))
		return false;
	whole = answer_length(&c->in, r->load->status, &head);
	if (whole == 0 || c->in.n < whole)
		return false;
	r->result.answers++;
	r->result.body_bytes = whole - head;
	if (r->time_count < TIMES_MAX)
		r->times[r->time_count++] = (float)(now_us() - c->sent_us);
	c->waits = false;
	return true;
}

static void run_loop(struct run *r, int ep)
{
	int64_t start_us = now_us(), until_us = start_us + (int64_t)r->load->ms * 1000;
	unsigned waiting = 0;

	for (unsigned i = 0; i < r->load->connections; i++, waiting++)
		run_send(r, &r->conns[i]);
	while (waiting > 0) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(ep, events, EVENTS, STALL_MS);

		if (n == 0)
			die("waiting", "no answer for a minute");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (!run_receive(r, c))
				continue;
			if (now_us() < until_us)
				run_send(r, c);
			else
				waiting--;
		}
	}
	r->result.seconds = (double)(now_us() - start_us) / 1e6;
}

static void run_thread(void *arg)
{
	struct run *r = arg;
	double process_s = process_cpu_s();
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (r->load->cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((unsigned)r->load->cpu, &set);
		sched_setaffinity(0, sizeof set, &set);
	}
	for (unsigned i = 0; i < r->load->connections; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = &r->conns[i] };

		r->conns[i].fd = connect_to(r->load->port);
		buf_init(&r->conns[i].in, ANSWER_BYTES_MAX);
		if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, r->conns[i].fd, &e) != 0)
			die("epoll", strerror(errno));
	}
	run_loop(r, ep);
	r->result.client_s = thread_cpu_s();
	r->result.process_s = process_cpu_s() - process_s - r->result.client_s;
	for (unsigned i = 0; i < r->load->connections; i++) {
		close(r->conns[i].fd);
		buf_release(&r->conns[i].in);
	}
	close(ep);
}

struct load_result load_run(const struct load *load)
{
	struct run r = { .load = load, .out = BUF_INIT(ANSWER_BYTES_MAX) };
	struct thread thread = { .started = false };
	struct err err;
	void *times;
	double *sorted;

	r.conns = mem_must_zalloc(load->connections * sizeof *r.conns);
	if (mem_try_alloc(&times, TIMES_MAX * sizeof *r.times, &err) != 0)
		die("memory", err.msg);
	r.times = times;
	if (thread_start(&thread, "load", run_thread, &r, &err) != 0)
		die("thread", err.msg);
	thread_join(&thread);
	sorted = mem_must_zalloc((r.time_count + 1) * sizeof *sorted);
	for (uint64_t i = 0; i < r.time_count; i++)
		sorted[i] = (double)r.times[i];
	r.result.p50_us = quantile(sorted, r.time_count, 0.50);
	r.result.p99_us = quantile(sorted, r.time_count, 0.99);
	free(sorted);
	free(r.times);
	free(r.conns);
	buf_release(&r.out);
	return r.result;
}
