#include "http/server.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "http_internal.h"

/*
 * One libmicrohttpd daemon per loop thread, each without a listening socket:
 * the watch thread (watch.c) accepts and hands connections round. A daemon with
 * a thread pool and its own listening socket cannot be told to stop accepting
 * without a race: MHD_quiesce_daemon and a worker at its connection limit both
 * take the socket out of the worker's epoll set, and who comes second panics
 * (0.9.75, daemon.c).
 *
 *   request line  -> on_request_line   exchange_new
 *   head complete -> on_access, first  exchange_head: parse, on_head, body_begin
 *   body          -> on_access, data   exchange_data
 *   body complete -> on_access, final  exchange_finish: handler, answer
 *                    [suspended; final once more after the resume]
 *   sent, or gone -> on_completed      on_done, exchange_free
 *
 * An answer given in the first call makes libmicrohttpd close the connection,
 * so those without a body to come wait for the final call.
 */

enum {
	CONNECTIONS_DEFAULT = 16384,
	CONNECTIONS_MHD_MAX = INT_MAX, /* its own limit is never met: see accept_some() */
	/*
	 * A filter of LIMIT_FILTER_BYTES beside a cursor that carries it fits into a
	 * head. libmicrohttpd zeroes all of it after each request (0.7 us for 16 KB);
	 * above 32 KB it is mapped, so connections that never ask touch little.
	 */
	CONNECTION_BYTES_DEFAULT = 48 * 1024,
	IDLE_MS_DEFAULT = 60 * 1000,
	HEAD_MS_DEFAULT = 20 * 1000,
	BODY_RATE_DEFAULT = 1024, /* bytes/s: slower than any working line */
	BODY_GRACE_MS_DEFAULT = 20 * 1000,
	SEND_RATE_DEFAULT = 1024,
	SEND_GRACE_MS_DEFAULT = 20 * 1000,
	HANDSHAKE_MS_DEFAULT = 10 * 1000,
	THREADS_DEFAULT_MAX = 8,
	FILES_RESERVED = 1024, /* descriptors for the rest of the program */
	CUT_EVERY_MS = 100,    /* while closing */
};

static struct http_exchange *exchange_check(void *p)
{
	struct http_exchange *x = p;

	REQUIRE(x && x->magic == EXCHANGE_MAGIC);
	return x;
}

static struct http_conn *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	REQUIRE(info && info->socket_context);
	return info->socket_context;
}

/* ---- the course of a request ---- */

/*
 * libmicrohttpd takes the query apart as well, in the connection's memory; where
 * that ends (some 700 parameters) it forgets the request and neither answers nor
 * closes (0.9.75). We read the query ourselves, so for it all is made one
 * parameter. The text is its own buffer, which it is about to cut to pieces.
 */
static void query_join(const char *target)
{
	union {
		const char *from;
		char *to;
	} query = { .from = strchr(target, '?') };

	while (query.from && (query.from = strchr(query.from, '&')))
		*query.to = '_';
}

static void *on_request_line(void *server, const char *target, struct MHD_Connection *mhd)
{
	struct http_exchange *x = exchange_new(server, conn_of(mhd), mhd, target);

	query_join(target);
	x->conn->exchange = x;
	return x;
}

/* We decode path and query ourselves: "%2F" must not become a separator. */
static size_t no_unescape(void *arg, struct MHD_Connection *mhd, char *s)
{
	(void)arg;
	(void)mhd;
	return strlen(s);
}

static void busy(struct http_exchange *x)
{
	atomic_store_explicit(&x->conn->phase, CONN_BUSY, memory_order_relaxed);
}

static enum MHD_Result exchange_head(struct http_exchange *x, const char *method)
{
	struct http_server *s = x->server;
	bool expects;

	x->head_done = true;
	busy(x);
	/* Counted before `closing` is read, while the closer sets it before it counts. */
	s->inflight++;
	if (exchange_parse(x, method)) {
		if (s->closing)
			exchange_fail(x, 503, "The server is shutting down");
		else if (s->o.on_head)
			s->o.on_head(&x->req, s->o.arg);
		if (!http_responded(&x->req))
			body_begin(x);
	}
	if (x->announced == 0)
		return MHD_YES;
	if (!http_responded(&x->req)) {
		conn_phase_set(x->conn, CONN_BODY, clock_mono_us(clock_system()));
		return MHD_YES;
	}
	/* Refused: throw a small body away; answer a large one, or one that waits for our word, at
	 * once. */
	expects = http_header(&x->req, "Expect").p != NULL;
	if (x->announced <= HTTP_DRAIN_BYTES && !expects) {
		conn_phase_set(x->conn, CONN_BODY, clock_mono_us(clock_system()));
		return MHD_YES;
	}
	x->conn->linger = !expects;
	return exchange_queue(x);
}

static enum MHD_Result exchange_data(struct http_exchange *x, const char *p, size_t n)
{
	struct http_conn *c = x->conn;
	int64_t before = clock_mono_us(clock_system()), ours;
	bool over;

	busy(x);
	body_data(x, p, n);
	ours = clock_mono_us(clock_system()) - before;
	atomic_fetch_add_explicit(&c->ours_us, ours, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->body_bytes, n, memory_order_relaxed);
	atomic_store_explicit(&c->phase, CONN_BODY, memory_order_relaxed);
	if (!http_responded(&x->req))
		return MHD_YES;
	over = x->announced == UINT64_MAX ? x->ignored > HTTP_DRAIN_BYTES
					  : x->announced - x->received > HTTP_DRAIN_BYTES;
	if (!over)
		return MHD_YES;
	exchange_send_raw(x);
	return MHD_NO;
}

/* Back from another thread: once, in the final call or, if the client was gone, at the end. */
static void exchange_unsuspend(struct http_exchange *x)
{
	if (x->async == ASYNC_RESUMED) {
		x->async = ASYNC_OVER;
		x->server->suspended--;
	}
}

static enum MHD_Result exchange_answer(struct http_exchange *x)
{
	exchange_unsuspend(x);
	if (!http_responded(&x->req))
		exchange_fail(x, 500, "No answer was made");
	return exchange_queue(x);
}

/* The other half of http_request_resume. After PARKED the exchange is not ours. */
static enum MHD_Result exchange_park(struct http_exchange *x)
{
	struct MHD_Connection *mhd = x->mhd;
	int was = ASYNC_PENDING;

	if (x->async == ASYNC_RESUMED)
		return exchange_answer(x);
	MHD_suspend_connection(mhd);
	if (!atomic_compare_exchange_strong(&x->async, &was, ASYNC_PARKED))
		MHD_resume_connection(mhd);
	return MHD_YES;
}

static enum MHD_Result exchange_finish(struct http_exchange *x)
{
	int async = x->async;

	busy(x);
	if (async == ASYNC_PENDING || async == ASYNC_PARKED)
		return MHD_YES; /* called for nothing */
	if (async == ASYNC_NONE && !http_responded(&x->req) && body_end(x)) {
		x->dispatched = true;
		x->req.route->handler(&x->req, x->server->o.arg);
		if (x->async != ASYNC_NONE)
			return exchange_park(x);
	}
	return exchange_answer(x);
}

static enum MHD_Result on_access(void *server, struct MHD_Connection *mhd, const char *url,
				 const char *method, const char *version, const char *data,
				 size_t *data_bytes, void **context)
{
	struct http_exchange *x = exchange_check(*context);
	size_t n = *data_bytes;

	(void)server;
	(void)mhd;
	(void)url;
	(void)version;
	if (!x->head_done)
		return exchange_head(x, method);
	if (n == 0)
		return exchange_finish(x);
	*data_bytes = 0;
	return exchange_data(x, data, n);
}

static void on_completed(void *server, struct MHD_Connection *mhd, void **context,
			 enum MHD_RequestTerminationCode code)
{
	struct http_server *s = server;
	struct http_exchange *x;
	struct http_done done;
	const union MHD_ConnectionInfo *info;
	int64_t now_us = clock_mono_us(clock_system());

	if (!*context)
		return;
	x = exchange_check(*context);
	*context = NULL;
	x->conn->exchange = NULL;
	exchange_unsuspend(x);
	REQUIRE(x->async == ASYNC_NONE || x->async == ASYNC_OVER);
	body_abort(x);
	/* libmicrohttpd may have answered itself, then there is a status that is not ours. */
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
	done.sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK || x->raw_sent;
	done.status = info ? info->http_status : done.sent ? x->answer.status : 0;
	done.body_bytes = x->answer.status == 304 ? 0 : answer_bytes(&x->answer);
	done.received_bytes = x->received;
	done.us = now_us - x->req.start_us;
	metric_add(METRIC_http_us_total, done.us);
	metric_add(METRIC_http_requests_total, 1);
	if (done.status >= 400)
		metric_add(METRIC_http_errors_total, 1);
	if (s->o.on_done)
		s->o.on_done(&x->req, &done, s->o.arg);
	conn_phase_set(x->conn, CONN_IDLE, now_us);
	if (x->head_done && atomic_fetch_sub(&s->inflight, 1) == 1 && s->closing) {
		lock_take(&s->lk);
		cond_broadcast(&s->idle);
		lock_drop(&s->lk);
	}
	exchange_free(x);
}

/* ---- opening ---- */

static void options_fill(struct http_server_options *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (o->threads == 0)
		o->threads = cpus < 1                     ? 1
			     : cpus > THREADS_DEFAULT_MAX ? THREADS_DEFAULT_MAX
							  : (unsigned)cpus;
	if (o->threads > HTTP_THREADS_MAX)
		o->threads = HTTP_THREADS_MAX;
	if (o->connections_max == 0)
		o->connections_max = CONNECTIONS_DEFAULT;
	if (o->connection_bytes == 0)
		o->connection_bytes = CONNECTION_BYTES_DEFAULT;
	if (o->idle_ms == 0)
		o->idle_ms = IDLE_MS_DEFAULT;
	if (o->head_ms == 0)
		o->head_ms = HEAD_MS_DEFAULT;
	if (o->body_rate == 0)
		o->body_rate = BODY_RATE_DEFAULT;
	if (o->body_grace_ms == 0)
		o->body_grace_ms = BODY_GRACE_MS_DEFAULT;
	if (o->send_rate == 0)
		o->send_rate = SEND_RATE_DEFAULT;
	if (o->send_grace_ms == 0)
		o->send_grace_ms = SEND_GRACE_MS_DEFAULT;
	if (o->handshake_ms == 0)
		o->handshake_ms = HANDSHAKE_MS_DEFAULT;
}

static const char *text_copy(const char *text)
{
	return text ? mem_must_strdup(text) : NULL;
}

static void options_copy(struct http_server_options *o, const struct http_server_options *from)
{
	*o = *from;
	o->address = text_copy(from->address);
	o->tls_certificate = text_copy(from->tls_certificate);
	o->tls_key = text_copy(from->tls_key);
	o->cors_origins = text_copy(from->cors_origins);
}

static void options_free(struct http_server_options *o)
{
	const char *const texts[] = { o->address, o->tls_certificate, o->tls_key, o->cors_origins };

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		union {
			const char *from;
			void *to;
		} u = { .from = texts[i] };

		free(u.to);
	}
}

/* Raise the soft limit as far as needed and allowed; then take what is there. */
static void files_limit(struct http_server_options *o)
{
	rlim_t want = (rlim_t)o->connections_max + FILES_RESERVED;
	struct rlimit lim;
	rlim_t spare;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
		return;
	if (lim.rlim_cur < want) {
		struct rlimit more = { lim.rlim_max < want ? lim.rlim_max : want, lim.rlim_max };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			lim = more;
	}
	spare = lim.rlim_cur / 4 < FILES_RESERVED ? lim.rlim_cur / 4 : FILES_RESERVED;
	if (lim.rlim_cur - spare < o->connections_max)
		o->connections_max = (unsigned)(lim.rlim_cur - spare);
}

static int loop_open(struct http_loop *loop, struct err *err)
{
	struct http_server *s = loop->server;

	/* Without TLS libmicrohttpd takes no notice of its options. */
	loop->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_NO_LISTEN_SOCKET | (s->tls ? MHD_USE_TLS : 0),
		0, NULL, NULL, on_access, s, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, s,
		MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, watch_on_connection, loop,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MHD_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		(s->o.idle_ms + 999) / 1000, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)s->o.connection_bytes, MHD_OPTION_HTTPS_CERT_CALLBACK,
		secure_no_credentials, MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITIES, MHD_OPTION_END);
	return loop->daemon ? 0 : err_set(err, ERR_IO, "starting an HTTP loop thread");
}

static void server_free(struct http_server *s)
{
	s->ended = true;
	watch_wake(s);
	thread_join(&s->watch);
	for (unsigned i = 0; i < s->loop_count; i++) {
		if (s->loops[i].daemon)
			MHD_stop_daemon(s->loops[i].daemon);
		deflate_free(s->loops[i].deflate);
	}
	for (unsigned i = 0; i < s->linger_count; i++)
		close(s->lingers[i].fd);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	http_router_free(s->router);
	secure_close(s);
	addresses_free(s->addresses);
	options_free(&s->o);
	cond_release(&s->idle);
	cond_release(&s->listen_closed);
	lock_release(&s->lk);
	free(s);
}

static void server_drop(struct http_server **s)
{
	if (*s)
		server_free(*s);
}

int http_server_open(struct http_server **ret, const struct http_server_options *options,
		     struct err *err)
{
	AUTO(server_drop) struct http_server *s = mem_must_zalloc(sizeof *s);

	REQUIRE(options->on_error != NULL);
	REQUIRE(!options->tls_certificate == !options->tls_key);
	options_copy(&s->o, options);
	s->listen_fd = s->wake_fd = -1;
	lock_init(&s->lk, LOCK_SERVER);
	cond_init(&s->idle);
	cond_init(&s->listen_closed);
	options_fill(&s->o);
	files_limit(&s->o);
	TRY(http_router_new(&s->router, s->o.routes, s->o.route_count, err));
	TRY(secure_open(s, err));
	if (s->o.connections_per_address_max > 0 && !s->o.trust_forwarded)
		s->addresses = addresses_new(s->o.connections_max);
	TRY(watch_listen(s, err));
	for (; s->loop_count < s->o.threads; s->loop_count++) {
		s->loops[s->loop_count].server = s;
		TRY(loop_open(&s->loops[s->loop_count], err));
	}
	TRY(thread_start(&s->watch, "http-watch", watch_run, s, err));
	*ret = STEAL(s);
	return 0;
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

/* ---- closing ---- */

void http_server_stop_accepting(struct http_server *s)
{
	s->stopping = true;
	watch_wake(s);
	lock_take(&s->lk);
	while (!s->refused)
		cond_wait(&s->listen_closed, &s->lk);
	lock_drop(&s->lk);
}

void http_server_close(struct http_server *s, uint32_t grace_ms)
{
	int64_t until_us;

	if (!s)
		return;
	http_server_stop_accepting(s);
	until_us = clock_mono_us(clock_system()) + (int64_t)grace_ms * 1000;
	s->closing = true;
	lock_take(&s->lk);
	while (s->inflight > 0) {
		int64_t left_us = until_us - clock_mono_us(clock_system());

		if (left_us <= 0)
			break;
		cond_wait_ms(&s->idle, &s->lk, (uint32_t)(left_us / 1000 + 1));
	}
	while (s->inflight > 0) {
		lock_drop(&s->lk);
		watch_cut_all(s); /* again and again: one may just have been resumed */
		lock_take(&s->lk);
		if (s->inflight > 0)
			cond_wait_ms(&s->idle, &s->lk, CUT_EVERY_MS);
	}
	lock_drop(&s->lk);
	server_free(s);
}

struct http_server_counts http_server_counts(const struct http_server *s)
{
	return (struct http_server_counts){ s->conn_count, s->inflight, s->suspended, s->cut };
}
