#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "base/buf.h"

/*
 * A raw HTTP client for tests: sends the bytes it is told, reads one answer at
 * a time. Every wait is bounded so that a server that hangs fails a test.
 */
enum {
	CLIENT_WAIT_MS = 30 * 1000
};

/* Wait for something the server is about to do, without a fixed time. */
#define WAIT_FOR(cond)                                                                             \
	do {                                                                                       \
		int waited_ = 0;                                                                   \
		while (!(cond)) {                                                                  \
			if (++waited_ > CLIENT_WAIT_MS)                                            \
				fail_msg("never came: %s", #cond);                                 \
			poll(NULL, 0, 1);                                                          \
		}                                                                                  \
	} while (0)

struct client {
	int fd;
	struct buf in;
	size_t at; /* of in: where the next answer begins */
};

struct answer {
	unsigned status; /* 0: the server closed without one */
	struct str head; /* into the client's buffer, until the next read */
	struct str body;
};

static inline void client_connect(struct client *c, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&sin, sizeof sin), 0);
	buf_init(&c->in, 64 * 1024 * 1024);
	c->at = 0;
}

static inline void client_close(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	buf_release(&c->in);
}

static inline void client_send(struct client *c, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t sent = send(c->fd, at, n, MSG_NOSIGNAL);

		assert_true(sent > 0);
		at += sent;
		n -= (size_t)sent;
	}
}

static inline void client_send_z(struct client *c, const char *z)
{
	client_send(c, z, strlen(z));
}

/* More bytes; false at the end or on a reset. */
static inline bool client_more(struct client *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	char *to = buf_reserve(&c->in, 65536);
	ssize_t n;

	assert_non_null(to);
	if (poll(&p, 1, CLIENT_WAIT_MS) != 1)
		fail_msg("the server does not answer");
	n = recv(c->fd, to, 65536, 0);
	if (n <= 0)
		return false;
	c->in.n += (size_t)n;
	return true;
}

/* The header's value in an answer's head; p NULL if absent. */
static inline struct str answer_header(const struct answer *a, const char *name)
{
	struct str rest = a->head, line;

	while (rest.n > 0 && str_split(&rest, '\n', &line)) {
		size_t colon = str_find(line, ':');

		if (colon < line.n && str_eq_nocase(str_make(line.p, colon), str_of(name)))
			return str_trim(str_make(line.p + colon + 1, line.n - colon - 1));
	}
	return (struct str){ NULL, 0 };
}

/* The next answer ("100 Continue" counts). `no_body`: to a HEAD request. */
static inline struct answer client_read(struct client *c, bool no_body)
{
	struct answer a = { 0 };
	const char *end;
	uint64_t length = 0;
	size_t head;

	if (c->at > 0) {
		memmove(c->in.p, c->in.p + c->at, c->in.n - c->at);
		c->in.n -= c->at;
		c->at = 0;
	}
	while (c->in.n == 0 || !(end = memmem(c->in.p, c->in.n, "\r\n\r\n", 4)))
		if (!client_more(c))
			return a;
	head = (size_t)(end - c->in.p) + 4;
	a.head = str_make(c->in.p, head);
	assert_true(str_starts(a.head, STR("HTTP/1.1 ")) || str_starts(a.head, STR("HTTP/1.0 ")));
	a.status = (unsigned)strtoul(a.head.p + 9, NULL, 10);
	if (a.status >= 200 && !no_body)
		assert_true(str_to_u64(answer_header(&a, "Content-Length"), UINT32_MAX, &length));
	while (c->in.n < head + length)
		if (!client_more(c))
			return (struct answer){ 0 };
	a.head = str_make(c->in.p, head);
	a.body = str_make(c->in.p + head, length);
	c->at = head + length;
	return a;
}

static inline struct answer client_ask(struct client *c, const char *request)
{
	client_send_z(c, request);
	return client_read(c, strncmp(request, "HEAD", 4) == 0);
}

#define assert_str_is(s, want)                                                                     \
	do {                                                                                       \
		struct str s_ = (s);                                                               \
		if (!str_eq_z(s_, (want)))                                                         \
			fail_msg("got '" STR_FMT "', not '%s'", STR_ARG(s_), (want));              \
	} while (0)
#endif
