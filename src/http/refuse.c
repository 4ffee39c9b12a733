#include <dlfcn.h>
#include <pthread.h>

#include "base/metric.h"
#include "http_internal.h"

/*
 * What is refused before there is a request, in the API's form.
 *
 * libmicrohttpd answers a broken request line, a head that is too large and the
 * like itself, with a page of HTML (and where Content-Length is no number with
 * two heads, 0.9.75), and has no hook for that. But it queues that page through
 * its own public MHD_queue_response, and a program's definition of a function
 * comes before a shared library's. So this file defines it: the answer is written
 * here and libmicrohttpd told that its page cannot be queued, at which it closes
 * the connection. Where that does not take hold (one that is bound to itself keeps
 * calling its own) clients see the page, and unit.http_limits fails.
 */

typedef enum MHD_Result queue_fn(struct MHD_Connection *mhd, unsigned status,
				 struct MHD_Response *r);

static queue_fn *queue_real;
static pthread_once_t queue_once = PTHREAD_ONCE_INIT;

static void queue_find(void)
{
	union {
		void *found;
		queue_fn *fn;
	} u = { .found = dlsym(RTLD_NEXT, "MHD_queue_response") };

	REQUIRE(u.fn != NULL);
	queue_real = u.fn;
}

enum MHD_Result refuse_queue(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *r)
{
	pthread_once(&queue_once, queue_find);
	return queue_real(mhd, status, r);
}

static const char *text_of(unsigned status)
{
	switch (status) {
	case 400:
		return "The request is malformed";
	case 413:
	case 431:
		return "The request's header is too large";
	case 414:
		return "The request's URL is too long";
	case 429:
		return "Too many connections from this address";
	case 505:
		return "This version of HTTP is not supported";
	default:
		return "The request cannot be served";
	}
}

/* The whole answer; `id` may be NULL. */
static void answer_make(const struct http_server *s, struct buf *out, unsigned status,
			const char *text, const char *remote, const char *id)
{
	AUTO(buf_release) struct buf body = BUF_INIT(HTTP_REFUSAL_BYTES_MAX);

	if (s->o.on_refused)
		s->o.on_refused(&body, status, text ? text : text_of(status), remote, s->o.arg);
	buf_addf(out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n", status,
		 MHD_get_reason_phrase_for(status), body.n);
	if (body.n > 0)
		buf_add_z(out, "Content-Type: application/json\r\n");
	if (status == 429)
		buf_add_z(out, "Retry-After: 5\r\n");
	if (id)
		buf_addf(out, "X-Request-Id: %s\r\n", id);
	buf_add_z(out, "\r\n");
	buf_add_str(out, buf_str(&body));
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned status,
				   struct MHD_Response *page)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_conn *c = info ? info->socket_context : NULL;
	AUTO(buf_release) struct buf out = BUF_INIT(2 * HTTP_REFUSAL_BYTES_MAX);
	struct http_exchange *x;

	/* Not a connection of ours: another server in this program. */
	if (!c)
		return refuse_queue(mhd, status, page);
	metric_add(status == 413 || status == 414 || status == 431 ? METRIC_http_head_large_total
								   : METRIC_http_malformed_total,
		   1);
	x = c->exchange;
	answer_make(c->server, &out, status, NULL, c->remote, x ? x->req.id.p : NULL);
	c->linger = true; /* what is still coming must not take the answer away */
	if (!buf_failed(&out) && conn_send(c, out.p, out.n) && x) {
		x->raw_sent = true;
		x->answer.status = status;
	}
	return MHD_NO;
}

/* One send, on a socket that nothing was written to yet: it takes all or the client gets nothing.
 */
void refuse_socket(const struct http_server *s, int fd, const char *remote, unsigned status,
		   const char *text)
{
	AUTO(buf_release) struct buf out = BUF_INIT(2 * HTTP_REFUSAL_BYTES_MAX);

	answer_make(s, &out, status, text, remote, NULL);
	if (!buf_failed(&out))
		(void)!send(fd, out.p, out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
}
