#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include "http/route.h"

/*
 * One request and its response.
 *
 * Threads:  one thread at a time: the loop thread of its connection, or between
 *           http_request_suspend() and http_request_resume() the thread that
 *           does the work. All functions here follow that rule.
 * Lifetime: from the request line until `on_done` returned. A suspended request
 *           lives until it is resumed, whether its client is still there or not
 *           and also while the server is closing; nobody needs a reference.
 *           After http_request_resume() the pointer is the loop's: do not touch.
 * Strings:  valid as long as the request; those of str type are not terminated
 *           unless said so.
 *
 * Fields are read-only but for the last four.
 */
struct http_request {
	enum http_method method;
	bool is_head;                       /* method is HTTP_GET then; the body is not sent */
	bool has_body;                      /* something was announced, maybe of 0 bytes */
	const char *method_text;            /* as sent, terminated */
	struct str target;                  /* as sent: path and query; terminated */
	struct str path;                    /* as sent, before '?' */
	struct str query;                   /* as sent, after '?' */
	const struct http_route *route;     /* NULL: no route */
	struct str params[HTTP_PARAMS_MAX]; /* of the pattern, decoded, never with NUL */
	unsigned allowed;                   /* methods of this path, bits (1 << method) */
	struct str body;                    /* collected; empty for uploads */
	struct str remote;                  /* client's address in text, terminated */
	struct str id;       /* 16 hex digits, also sent as X-Request-Id; terminated */
	struct arena *arena; /* dies with the request; HTTP_ARENA_BYTES_MAX */
	int64_t start_us;    /* monotonic, at the request line */
	void *user;          /* the upper layer's */
	void *upload;        /* the http_upload's state */
	const char *error;   /* the upper layer's word for a refusal, for its log; NULL: none */
	const char *failure; /* and for what stood behind it; static texts both */
};

enum {
	HTTP_QUERY_PARAMS_MAX = 64,               /* more is answered with 400 */
	HTTP_FORM_FIELDS_MAX = 64,                /* the same, in forms */
	HTTP_FORM_BYTES_MAX = 1024 * 1024,        /* all fields of a form together */
	HTTP_NAME_BYTES_MAX = 1024,               /* part and file names are cut there */
	HTTP_BODY_COLLECT_MAX = 64 * 1024 * 1024, /* no route may collect more */
	HTTP_HEADERS_MAX = 128,                   /* lines of a head; more is answered with 431 */
	HTTP_ARENA_BYTES_MAX = 128 * 1024 * 1024, /* a collected body lies beside it */
};

/* Header by name, any case; p NULL if absent. First one if repeated. Terminated. */
struct str http_header(const struct http_request *req, const char *name);

/*
 * Query parameters, percent-decoded with '+' as blank; an escape that is none
 * stays as it is (as browsers do), "%00" was refused with 400. Repeated keys:
 * the first. p NULL: absent; "a" and "a=" are present and empty. Terminated.
 */
struct str http_query(const struct http_request *req, const char *name);
size_t http_query_count(const struct http_request *req);
void http_query_at(const struct http_request *req, size_t i, struct str *ret_name,
		   struct str *ret_value);

/* Fields of a form body (urlencoded, or multipart parts kept as fields). As http_query. */
struct str http_form(const struct http_request *req, const char *name);

/*
 * "http://host:port" (or "https:…") as the client used it, for absolute links: the Host header
 * if it looks like one, else the address we listen on; X-Forwarded-Host and
 * -Proto first where http_server_options.trust_forwarded. Terminated.
 */
struct str http_base_url(struct http_request *req);

/* ---- answering: the first http_respond_*() wins, later ones free what they were given ---- */

/*
 * Add a header; copied. name and value must not hold line breaks (checked).
 * Set by http itself: Date, Content-Length, Connection, X-Request-Id, and
 * Content-Type "application/json" unless one is added (never with an empty body).
 */
void http_respond_header(struct http_request *req, const char *name, struct str value);

/*
 * Validators of the 200 that is to come: with one of them http itself answers
 * conditional requests with GET and HEAD (RFC 9110 section 13: 304, 412), and
 * both make ranges of http_respond_fd() resumable. Called before the body is
 * given or after.
 */
/* What stays the same exactly as long as the bytes do; without quotes. */
void http_respond_etag(struct http_request *req, struct str opaque);
/* The same, made of the body. */
void http_respond_etag_of_body(struct http_request *req);
void http_respond_modified(struct http_request *req, int64_t unix_s);
/*
 * May a change be made to what a GET answers with this body, by the request's
 * If-Match? true without one. For handlers: http itself asks only for GET.
 */
bool http_if_match(const struct http_request *req, struct str body);

/* Body is copied. An empty one sends Content-Length: 0. */
void http_respond(struct http_request *req, unsigned status, struct str body);
/* Body must live as long as the server: constants, embedded files. */
void http_respond_static(struct http_request *req, unsigned status, struct str body);
/* Body lives in req->arena. */
void http_respond_arena(struct http_request *req, unsigned status, struct str body);
/* Moved: *body is empty after. A failed buffer is answered with 500 through on_error. */
void http_respond_buf(struct http_request *req, unsigned status, struct buf *body);
/*
 * `n` bytes of a file from `offset`, by sendfile, or the part of them that a
 * Range header asks for (206, 416). The descriptor stays the
 * caller's and must stay open until release(arg), which is called exactly once
 * when the request ends, from the loop thread; release may be NULL.
 */
void http_respond_fd(struct http_request *req, unsigned status, int fd, uint64_t offset, uint64_t n,
		     void (*release)(void *arg), void *arg);
/* Let on_error make the answer: `status` and a text for the client. A Content-Type added before is
 * dropped. */
void http_respond_error(struct http_request *req, unsigned status, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
bool http_responded(const struct http_request *req);
unsigned http_status(const struct http_request *req); /* 0: none yet */
/* Forget the answer made so far, headers too (bodies are freed, release is called). */
void http_respond_reset(struct http_request *req);

/* Call fn(arg) when the request ends, on the loop thread. */
static inline void http_on_end(struct http_request *req, void (*fn)(void *arg), void *arg)
{
	arena_on_free(req->arena, fn, arg);
}

/* ---- asynchronous answers ---- */

/*
 * Only inside a handler: the answer will come from elsewhere. Call it before
 * the request is handed to another thread; then return. Another thread (or this
 * one) responds and calls http_request_resume() exactly once, even for a client
 * that went away (that is not noticed before) and when the server closes:
 * http_server_close waits for it. Resuming before the handler returned is fine.
 * A request resumed without a response is answered with 500.
 */
void http_request_suspend(struct http_request *req);
void http_request_resume(struct http_request *req);
#endif
