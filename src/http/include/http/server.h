#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "http/request.h"
#include "http/route.h"
#include "http/tls.h"

/*
 * An HTTP/1.1 server over libmicrohttpd: epoll in a few loop threads, each
 * owning its connections. Here are routing, requests, limits and time-outs;
 * what is said in answers is the upper layer's.
 *
 * Order of calls for one request, all on the loop thread of its connection:
 *
 *   request line and headers --> on_head --> body (collected, or http_upload)
 *     --> route's handler [--> suspend ... resume] --> answer sent --> on_done
 *
 * on_error makes the answer wherever http itself finds a fault; on_head or the
 * handler are then not called. on_done is called exactly once for every request
 * whose request line was read, also when the client went away.
 *
 * What libmicrohttpd refuses before it has a request (broken request line or
 * header, head over its memory limit, a Content-Length that is no number) is
 * answered with 400, 413, 414, 431 or 505 and what on_refused says, and the
 * connection closed. on_done is called for those only if the request line was
 * good. Nor does it always notice at once that a client closed in the middle of
 * a head or body: then the limits below end it.
 */
struct http_server;

struct http_done {
	unsigned status;         /* 0: the client went away before an answer */
	uint64_t body_bytes;     /* of the answer, as announced */
	uint64_t received_bytes; /* of the request's body */
	int64_t us;              /* from request line to the last byte given to the kernel */
	bool sent;               /* false: cut by the client, a limit, or the server closing */
};

struct http_server_options {
	const char *address; /* "127.0.0.1", "::1", "0.0.0.0" */
	uint16_t port;       /* 0: any free one; ask http_server_port */
	unsigned threads;    /* loop threads; 0: one per processor, at most 8 */

	/*
	 * Open connections, all together; RLIMIT_NOFILE is raised for them as far as
	 * it goes and the limit lowered to what is left. When three quarters are
	 * taken, slow heads and idle connections get an eighth of their time. 0: 16384
	 */
	unsigned connections_max;
	/*
	 * Of one IPv4 address or IPv6 /64; more are answered with 429, over TLS just
	 * closed. 0: no limit. Not looked at with trust_forwarded: then all come from
	 * one's own proxy.
	 */
	unsigned connections_per_address_max;
	unsigned connection_bytes; /* head and buffer of one connection; 0: 48 KB */

	uint32_t idle_ms; /* without a byte in either direction; rounded to s; 0: 60,000 */
	uint32_t head_ms; /* connect (or, kept alive, idle_ms after the last answer) to end of head;
			     0: 20,000 */
	uint32_t body_rate;     /* bytes a second a body must average; 0: 1024 */
	uint32_t body_grace_ms; /* before that counts; 0: 20,000 */
	uint32_t send_rate;     /* bytes a second a client must take of an answer; 0: 1024 */
	uint32_t send_grace_ms; /* over so long each time; 0: 20,000 */

	/* PEM files (http/tls.h): both or neither. With them this port speaks HTTPS alone. */
	const char *tls_certificate;
	const char *tls_key;
	uint32_t handshake_ms; /* connect to end of the TLS handshake; 0: 10,000 */

	bool trust_forwarded; /* X-Forwarded-For (its last entry), -Host, -Proto: only behind one's
				 own proxy */
	int gzip_level;       /* 1-9: JSON and text over 1 KB for clients that ask; 0: never */

	/*
	 * Origins that browsers may show answers to (the Fetch standard's CORS), with
	 * blanks between them; "*" is every one. NULL or "": none.
	 */
	const char *cors_origins;

	const struct http_route *routes; /* live as long as the server */
	size_t route_count;

	/* After routing, before the body: who is it, may he? Answers to refuse. May be NULL. */
	void (*on_head)(struct http_request *req, void *arg);
	/*
	 * Make the answer for a fault: http_respond_*() with this status, a body in
	 * the API's form. `text` is for the client. 400, 404, 405 (Allow is set
	 * already), 413, 500, 503. req->route may be NULL.
	 */
	void (*on_error)(struct http_request *req, unsigned status, const char *text, void *arg);
	/*
	 * The body, JSON, of an answer to what is no request yet. Any thread of the
	 * server's; `remote` is the client's address. NULL: an answer without body.
	 */
	void (*on_refused)(struct buf *out, unsigned status, const char *text, const char *remote,
			   void *arg);
	/* The request is over. May be NULL. */
	void (*on_done)(struct http_request *req, const struct http_done *done, void *arg);
	void *arg;
};

/*
 * Listen and serve. The options are copied, their strings too.
 * ERR_INVALID: address, routes, TLS files; ERR_IO: e.g. the port is taken.
 */
MUST_USE int http_server_open(struct http_server **ret, const struct http_server_options *options,
			      struct err *err);
uint16_t http_server_port(const struct http_server *s);

/*
 * Read both TLS files again: new connections get what they hold now, those that
 * are open keep what they have. After a failure (as http_tls_check's) all stays
 * as it was. Only with a server that was opened with TLS. Any thread.
 */
MUST_USE int http_server_tls_reload(struct http_server *s, struct http_tls_facts *ret,
				    struct err *err);

/*
 * New connections are refused from now on; requests under way and those that
 * come over kept-alive connections are answered, each with Connection: close.
 * Any thread, more than once is fine.
 */
void http_server_stop_accepting(struct http_server *s);

/*
 * Stop accepting, give requests under way up to `grace_ms` to finish, cut those
 * that still read or send, wait for every suspended request to be resumed (so
 * the workers must still run or cancel), end the threads, free. NULL is fine.
 */
void http_server_close(struct http_server *s, uint32_t grace_ms);

struct http_server_counts {
	unsigned connections;
	unsigned requests;  /* under way */
	unsigned suspended; /* of those */
	uint64_t cut;       /* connections ended for being slow, since the start */
};
/* Any thread. Also kept: METRIC_http_*. */
struct http_server_counts http_server_counts(const struct http_server *s);
#endif
