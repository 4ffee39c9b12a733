#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "http_internal.h"

/*
 * The watch thread: accepts connections and hands them to the loops; ends those
 * that dribble, which libmicrohttpd's idle time-out does not see because each
 * byte starts it again; ends those whose client has, which libmicrohttpd does not
 * see when the end came together with the last bytes (it reads once for one edge
 * of epoll, 0.9.75); and keeps the sockets of refused uploads open until
 * their client has read the answer (a close with unread input resets the
 * connection and takes the answer away from the client).
 */

enum {
	SWEEP_MS = 250,
	ENDED_MS = 1000,       /* a system call for each connection, so not with every sweep */
	ACCEPT_AT_ONCE = 64,   /* then the lingering ones get their turn */
	LISTEN_BACKLOG = 4096, /* the kernel cuts it to somaxconn */
	LINGER_TOTAL_US = 30 * 1000000, /* as nginx's lingering_time and lingering_timeout */
	LINGER_QUIET_US = 5 * 1000000,
	LINGER_READ_BYTES = 4 * 1024 * 1024, /* in one go */
};

void watch_wake(struct http_server *s)
{
	uint64_t one = 1;
	ssize_t n;

	if (s->wake_fd < 0)
		return;
	n = write(s->wake_fd, &one, sizeof one);
	REQUIRE(n == sizeof one || errno == EAGAIN);
}

/* ---- listening ---- */

static int listen_bind(struct http_server *s, const struct addrinfo *ai, struct err *err)
{
	int one = 1;

	s->listen_fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0)
		return err_sys(err, errno, "making a socket");
	if (setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    bind(s->listen_fd, ai->ai_addr, ai->ai_addrlen) != 0 ||
	    listen(s->listen_fd, LISTEN_BACKLOG) != 0) {
		/* not err_sys: every errno here means the same to the caller */
		return err_set(err, ERR_IO, "listening on '%s' port %u: %s", s->o.address,
			       s->o.port, strerror(errno));
	}
	return 0;
}

static void address_text(const struct sockaddr_storage *ss, char *out, size_t bytes)
{
	union {
		struct sockaddr_storage ss;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u = { .ss = *ss };

	out[0] = '\0';
	if (ss->ss_family == AF_INET)
		inet_ntop(AF_INET, &u.in.sin_addr, out, (socklen_t)bytes);
	else if (ss->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&u.in6.sin6_addr))
		inet_ntop(AF_INET, &u.in6.sin6_addr.s6_addr[12], out, (socklen_t)bytes);
	else if (ss->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &u.in6.sin6_addr, out, (socklen_t)bytes);
}

int watch_listen(struct http_server *s, struct err *err)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai;
	union {
		struct sockaddr_storage any;
		struct sockaddr_in in;
	} bound = { 0 };
	socklen_t n = sizeof bound;
	char port[8], text[HTTP_ADDRESS_BYTES];
	int rc;

	snprintf(port, sizeof port, "%u", s->o.port);
	rc = getaddrinfo(s->o.address, port, &hints, &ai);
	if (rc != 0)
		return err_set(err, ERR_INVALID, "'%s' is not an address: %s", s->o.address,
			       gai_strerror(rc));
	rc = listen_bind(s, ai, err);
	freeaddrinfo(ai);
	TRY(rc);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0 || getsockname(s->listen_fd, (struct sockaddr *)&bound, &n) != 0)
		return err_sys(err, errno, "preparing to listen");
	/* sin_port and sin6_port lie at the same place (both follow the family) */
	s->port = ntohs(bound.in.sin_port);
	address_text(&bound.any, text, sizeof text);
	snprintf(s->listen_host, sizeof s->listen_host, strchr(text, ':') ? "[%s]:%u" : "%s:%u",
		 text, s->port);
	return 0;
}

/* ---- connections ---- */

void conn_phase_set(struct http_conn *c, enum conn_phase phase, int64_t now_us)
{
	atomic_store_explicit(&c->since_us, now_us, memory_order_relaxed);
	atomic_store_explicit(&c->body_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&c->ours_us, 0, memory_order_relaxed);
	/* The phase last: who sees it sees its numbers. */
	atomic_store_explicit(&c->phase, phase, memory_order_release);
}

static void conn_cut_locked(struct http_server *s, struct http_conn *c) MUST_HOLD(s->lk)
{
	if (c->cut)
		return;
	c->cut = true;
	s->cut++;
	shutdown(c->fd, SHUT_RDWR);
}

/* One more of its address; several may have come at once since accepting looked. */
static void address_count_locked(struct http_server *s, struct http_conn *c) MUST_HOLD(s->lk)
{
	uint64_t key;

	if (!s->addresses)
		return;
	key = address_key(&c->address);
	if (address_enter(s->addresses, key, s->o.connections_per_address_max)) {
		c->address_key = key;
		return;
	}
	metric_add(METRIC_http_address_full_total, 1);
	conn_cut_locked(s, c);
}

static void conn_start(struct http_loop *loop, struct MHD_Connection *mhd, void **socket_context)
{
	struct http_server *s = loop->server;
	struct http_conn *c = mem_must_zalloc(sizeof *c);
	const union MHD_ConnectionInfo *info;

	c->server = s;
	c->loop = loop;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	c->fd = info->connect_fd;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	c->address_bytes = sizeof(struct sockaddr_in);
	if (info->client_addr->sa_family == AF_INET6)
		c->address_bytes = sizeof(struct sockaddr_in6);
	memcpy(&c->address, info->client_addr, c->address_bytes);
	address_text(&c->address, c->remote, sizeof c->remote);
	c->remote_bytes = strlen(c->remote);
	secure_start(c, mhd);
	conn_phase_set(c, c->session ? CONN_HANDSHAKE : CONN_FRESH, clock_mono_us(clock_system()));
	lock_take(&s->lk);
	c->next = s->conns;
	if (c->next)
		c->next->prev = c;
	s->conns = c;
	s->pending--;
	if (s->conn_count++ == 0)
		watch_wake(s); /* it waits without a time-out while there is nothing to sweep */
	address_count_locked(s, c);
	lock_drop(&s->lk);
	metric_add(METRIC_http_connections, 1);
	*socket_context = c;
}

static void linger_add_locked(struct http_server *s, int fd) MUST_HOLD(s->lk)
{
	int64_t now_us = clock_mono_us(clock_system());
	int own;

	if (s->ended || s->linger_count == HTTP_LINGER_MAX)
		return;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return;
	s->lingers[s->linger_count++] =
		(struct http_linger){ own, now_us + LINGER_TOTAL_US, now_us + LINGER_QUIET_US };
	watch_wake(s);
}

static void conn_end(struct http_conn *c)
{
	struct http_server *s = c->server;

	lock_take(&s->lk);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (s->conn_count-- + s->pending == s->o.connections_max)
		watch_wake(s); /* there is room again */
	if (c->address_key)
		address_leave(s->addresses, c->address_key);
	if (c->linger && !c->cut)
		linger_add_locked(s, c->fd);
	lock_drop(&s->lk);
	metric_add(METRIC_http_connections, -1);
	if (c->phase == CONN_HANDSHAKE && !c->cut)
		metric_add(METRIC_http_handshakes_failed_total, 1);
	tls_unref(c->tls);
	free(c);
}

/* libmicrohttpd calls this with CLOSED before it closes the socket. */
void watch_on_connection(void *arg, struct MHD_Connection *mhd, void **socket_context,
			 enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_start(arg, mhd, socket_context);
		return;
	}
	conn_end(*socket_context);
	*socket_context = NULL;
}

/* ---- accepting ---- */

/* Refuse one more of this address. true: fd is done with. */
static bool accept_refuse(struct http_server *s, int fd, const struct sockaddr_storage *ss)
{
	char text[HTTP_ADDRESS_BYTES];
	bool full;

	if (!s->addresses)
		return false;
	lock_take(&s->lk);
	full = address_is_full(s->addresses, address_key(ss), s->o.connections_per_address_max);
	lock_drop(&s->lk);
	if (!full)
		return false;
	metric_add(METRIC_http_address_full_total, 1);
	if (!s->o.tls_certificate) {
		address_text(ss, text, sizeof text);
		refuse_socket(s, fd, text, 429, NULL);
		lock_take(&s->lk);
		linger_add_locked(s, fd);
		lock_drop(&s->lk);
	}
	close(fd);
	return true;
}

static bool has_room_locked(const struct http_server *s) MUST_HOLD(s->lk)
{
	return s->conn_count + s->pending < s->o.connections_max;
}

static bool room_take(struct http_server *s)
{
	bool room;

	lock_take(&s->lk);
	room = has_room_locked(s);
	s->pending += room;
	lock_drop(&s->lk);
	return room;
}

static void room_give_back(struct http_server *s)
{
	lock_take(&s->lk);
	s->pending--;
	lock_drop(&s->lk);
}

/*
 * Counted when accepted, not when its loop has taken it: libmicrohttpd 0.9.75 locks
 * itself up for ever when a connection that it was given goes over its own limit.
 * false: out of descriptors or memory; try again later.
 */
static bool accept_some(struct http_server *s, unsigned *turn)
{
	for (int i = 0; i < ACCEPT_AT_ONCE && room_take(s); i++) {
		struct sockaddr_storage ss = { 0 };
		socklen_t n = sizeof ss;
		struct http_loop *loop = &s->loops[*turn % s->loop_count];
		int fd = accept4(s->listen_fd, (struct sockaddr *)&ss, &n,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			bool empty = errno != EMFILE && errno != ENFILE && errno != ENOBUFS &&
				     errno != ENOMEM;

			room_give_back(s);
			return empty;
		}
		if (accept_refuse(s, fd, &ss)) {
			room_give_back(s);
			continue;
		}
		++*turn;
		/* On failure it has closed fd. */
		if (MHD_add_connection(loop->daemon, fd, (struct sockaddr *)&ss, n) != MHD_YES)
			room_give_back(s);
	}
	return true;
}

static void listen_stop(struct http_server *s)
{
	close(s->listen_fd);
	lock_take(&s->lk);
	s->listen_fd = -1;
	s->refused = true;
	cond_broadcast(&s->listen_closed);
	lock_drop(&s->lk);
}

/* ---- ending what is slow ---- */

/*
 * Does the client take so little of a large answer that it only keeps us? Asked
 * of the kernel once in send_grace_ms: what the other side has confirmed, and
 * whether there is anything that waits for it at all.
 */
static bool reader_is_slow(struct http_conn *c, int64_t now_us)
{
	const struct http_server_options *o = &c->server->o;
	int64_t grace_us = (int64_t)o->send_grace_ms * 1000, us;
	int64_t since_us = atomic_load_explicit(&c->since_us, memory_order_relaxed);
	struct tcp_info info = { 0 };
	socklen_t n = sizeof info;
	uint64_t taken;
	bool first = c->reader_phase_us != since_us;

	us = now_us - (first ? since_us : c->reader_us);
	/* The first look only says where it stands, so it may come early. */
	if (us < (first ? grace_us / 4 : grace_us) ||
	    getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
		return false;
	taken = info.tcpi_bytes_acked - c->reader_bytes;
	c->reader_phase_us = since_us;
	c->reader_us = now_us;
	c->reader_bytes = info.tcpi_bytes_acked;
	return !first && (info.tcpi_notsent_bytes > 0 || info.tcpi_unacked > 0) &&
	       taken < (uint64_t)us / 1000 * o->send_rate / 1000;
}

/* Which limit it has gone over; METRIC_COUNT: none. */
static enum metric conn_slow(struct http_conn *c, int64_t now_us, bool pressure)
{
	const struct http_server_options *o = &c->server->o;
	int64_t head_us = (int64_t)o->head_ms * 1000, idle_us = (int64_t)o->idle_ms * 1000;
	int64_t handshake_us = (int64_t)o->handshake_ms * 1000;
	enum conn_phase phase =
		(enum conn_phase)atomic_load_explicit(&c->phase, memory_order_acquire);
	int64_t us = now_us - atomic_load_explicit(&c->since_us, memory_order_relaxed);
	uint64_t bytes;
	bool slow = false;

	switch (phase) {
	case CONN_HANDSHAKE:
		slow = us > (pressure ? handshake_us / 8 : handshake_us);
		return slow ? METRIC_http_cut_handshake_total : METRIC_COUNT;
	case CONN_FRESH:
		slow = us > (pressure ? head_us / 8 : head_us);
		return slow ? METRIC_http_cut_head_total : METRIC_COUNT;
	case CONN_IDLE:
		slow = us > (pressure ? idle_us / 8 : idle_us + head_us);
		return slow ? METRIC_http_cut_idle_total : METRIC_COUNT;
	case CONN_BODY:
		us -= atomic_load_explicit(&c->ours_us, memory_order_relaxed);
		bytes = atomic_load_explicit(&c->body_bytes, memory_order_relaxed);
		slow = us > (int64_t)o->body_grace_ms * 1000 &&
		       bytes < (uint64_t)us / 1000000 * o->body_rate;
		return slow ? METRIC_http_cut_body_total : METRIC_COUNT;
	case CONN_SEND:
		return reader_is_slow(c, now_us) ? METRIC_http_cut_reader_total : METRIC_COUNT;
	case CONN_BUSY:
		break;
	}
	return METRIC_COUNT;
}

/*
 * Has the client ended in the middle of a request, or between two? Only when it
 * was so at the look before as well: what it sent before its end may just be read.
 */
static bool conn_is_ended(struct http_conn *c)
{
	int64_t since_us = atomic_load_explicit(&c->since_us, memory_order_relaxed);
	uint64_t bytes = atomic_load_explicit(&c->body_bytes, memory_order_relaxed);
	bool again = c->ended_us == since_us && c->ended_bytes == bytes;
	ssize_t n;
	char byte;

	c->ended_us = 0;
	switch ((enum conn_phase)atomic_load_explicit(&c->phase, memory_order_acquire)) {
	case CONN_BUSY:
	case CONN_SEND:
		return false;
	case CONN_HANDSHAKE:
	case CONN_FRESH:
	case CONN_IDLE:
	case CONN_BODY:
		break;
	}
	n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return false;
	c->ended_us = since_us;
	c->ended_bytes = bytes;
	return again;
}

static void sweep(struct http_server *s, bool look_for_ends)
{
	int64_t now_us = clock_mono_us(clock_system());
	bool pressure;

	lock_take(&s->lk);
	pressure = s->conn_count > s->o.connections_max / 4 * 3;
	for (struct http_conn *c = s->conns; c; c = c->next) {
		enum metric over = c->cut ? METRIC_COUNT : conn_slow(c, now_us, pressure);

		if (over != METRIC_COUNT)
			metric_add(over, 1);
		if (over != METRIC_COUNT || (look_for_ends && conn_is_ended(c)))
			conn_cut_locked(s, c);
	}
	lock_drop(&s->lk);
}

void watch_cut_all(struct http_server *s)
{
	lock_take(&s->lk);
	for (struct http_conn *c = s->conns; c; c = c->next)
		conn_cut_locked(s, c);
	lock_drop(&s->lk);
}

/* ---- lingering ---- */

/* false: the client is done, or has had its time. */
static bool linger_read(struct http_linger *l, int64_t now_us)
{
	size_t total = 0;
	ssize_t n;

	if (now_us >= l->until_us || now_us >= l->quiet_us)
		return false;
	do {
		/* Linux throws the bytes away without copying them (tcp(7), MSG_TRUNC). */
		n = recv(l->fd, NULL, 1024 * 1024, MSG_TRUNC | MSG_DONTWAIT);
		if (n > 0) {
			total += (size_t)n;
			l->quiet_us = now_us + LINGER_QUIET_US;
		}
	} while (n > 0 && total < LINGER_READ_BYTES);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void linger_all(struct http_server *s)
{
	int64_t now_us = clock_mono_us(clock_system());

	lock_take(&s->lk);
	for (unsigned i = 0; i < s->linger_count;) {
		if (linger_read(&s->lingers[i], now_us)) {
			i++;
			continue;
		}
		close(s->lingers[i].fd);
		s->lingers[i] = s->lingers[--s->linger_count];
	}
	lock_drop(&s->lk);
}

/* ---- the thread ---- */

struct watch_fds {
	struct pollfd p[2 + HTTP_LINGER_MAX];
	nfds_t n;
	bool idle; /* nothing to sweep */
	bool room; /* for connections */
};

static void watch_fds_fill(struct http_server *s, struct watch_fds *w, bool pause)
{
	w->n = 0;
	w->p[w->n++] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
	lock_take(&s->lk);
	w->idle = s->conn_count == 0 && s->linger_count == 0;
	w->room = has_room_locked(s);
	for (unsigned i = 0; i < s->linger_count; i++)
		w->p[w->n++] = (struct pollfd){ .fd = s->lingers[i].fd, .events = POLLIN };
	lock_drop(&s->lk);
	w->room = w->room && !pause && s->listen_fd >= 0;
	if (!w->room && !pause && s->listen_fd >= 0 && !s->was_full)
		metric_add(METRIC_http_full_total, 1);
	s->was_full = !w->room && !pause;
	if (w->room)
		w->p[w->n++] = (struct pollfd){ .fd = s->listen_fd, .events = POLLIN };
}

void watch_run(void *server)
{
	struct http_server *s = server;
	struct watch_fds w;
	unsigned turn = 0;
	bool pause = false;
	int64_t swept_us = 0, looked_us = 0;

	while (!s->ended) {
		int64_t now_us;
		uint64_t wakes;
		bool accepting;

		watch_fds_fill(s, &w, pause);
		if (poll(w.p, w.n, w.idle && !pause ? -1 : SWEEP_MS) < 0)
			REQUIRE(errno == EINTR);
		if (w.p[0].revents && read(s->wake_fd, &wakes, sizeof wakes) < 0)
			REQUIRE(errno == EAGAIN);
		if (s->stopping && s->listen_fd >= 0)
			listen_stop(s);
		accepting = w.room && s->listen_fd >= 0;
		pause = accepting && w.p[w.n - 1].revents && !accept_some(s, &turn);
		now_us = clock_mono_us(clock_system());
		if (now_us - swept_us >= SWEEP_MS * 1000) {
			bool look = now_us - looked_us >= ENDED_MS * 1000;

			swept_us = now_us;
			looked_us = look ? now_us : looked_us;
			sweep(s, look);
		}
		linger_all(s);
	}
}
