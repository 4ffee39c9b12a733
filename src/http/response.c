#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "http_internal.h"
#include "validate_internal.h"

enum {
	TEXT_BYTES = 1024,              /* of an error for the client; longer ones are cut */
	FILE_PIECE_BYTES = 64 * 1024,   /* four of TLS's largest records */
	SEND_WATCHED_BYTES = 16 * 1024, /* smaller ones fit into the kernel's buffer */
};

/* ---- making an answer ---- */

static void answer_set(struct http_exchange *x, unsigned status, enum answer_kind kind,
		       const char *p, size_t n)
{
	REQUIRE(status >= 200 && status <= 599);
	x->answer.status = status;
	x->answer.kind = kind;
	x->answer.p = p;
	x->answer.n = n;
}

bool http_responded(const struct http_request *req)
{
	return exchange_of(req)->answer.kind != ANSWER_NONE;
}

unsigned http_status(const struct http_request *req)
{
	return exchange_of(req)->answer.status;
}

void answer_release(struct http_exchange *x)
{
	struct answer *a = &x->answer;

	if (a->kind == ANSWER_OWNED) {
		union {
			const char *from;
			void *to;
		} u = { .from = a->p };

		free(u.to);
	}
	if (a->kind == ANSWER_FD && a->release)
		a->release(a->release_arg);
	*a = (struct answer){ .fd = -1 };
}

void http_respond_reset(struct http_request *req)
{
	answer_release(exchange_of(req));
}

void http_respond_header(struct http_request *req, const char *name, struct str value)
{
	struct http_exchange *x = exchange_of(req);
	struct answer_header *h = arena_must(req->arena, sizeof *h);
	char *copy = arena_must(req->arena, value.n + 1);

	/* Names of files get into headers: a line break must not make a new one. */
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		copy[i] = (c < 0x20 && c != '\t') || c == 0x7f ? '?' : (char)c;
	}
	h->name = arena_str(req->arena, str_of(name)).p;
	h->value = copy;
	h->next = x->answer.headers;
	x->answer.headers = h;
	if (str_eq_nocase(str_of(name), STR("content-type")))
		x->answer.has_type = true;
}

void http_respond_static(struct http_request *req, unsigned status, struct str body)
{
	if (!http_responded(req))
		answer_set(exchange_of(req), status, ANSWER_MEM, body.p, body.n);
}

void http_respond_arena(struct http_request *req, unsigned status, struct str body)
{
	http_respond_static(req, status, body);
}

void http_respond(struct http_request *req, unsigned status, struct str body)
{
	if (!http_responded(req))
		http_respond_arena(req, status, arena_str(req->arena, body));
}

void http_respond_buf(struct http_request *req, unsigned status, struct buf *body)
{
	struct http_exchange *x = exchange_of(req);
	size_t n = body->n;

	if (http_responded(req)) {
		buf_release(body);
	} else if (buf_failed(body)) {
		buf_release(body);
		exchange_fail(x, 500, "The answer is too large");
	} else {
		answer_set(x, status, ANSWER_OWNED, buf_steal(body), n);
	}
}

void http_respond_fd(struct http_request *req, unsigned status, int fd, uint64_t offset, uint64_t n,
		     void (*release)(void *arg), void *arg)
{
	struct http_exchange *x = exchange_of(req);

	if (http_responded(req)) {
		if (release)
			release(arg);
		return;
	}
	answer_set(x, status, ANSWER_FD, NULL, 0);
	x->answer.fd = fd;
	x->answer.offset = offset;
	x->answer.fd_bytes = n;
	x->answer.release = release;
	x->answer.release_arg = arg;
}

/* The type that the answer was to have is not the error's. */
static void type_forget(struct answer *a)
{
	struct answer_header **at = &a->headers;

	a->has_type = false;
	while (*at) {
		if (str_eq_nocase(str_of((*at)->name), STR("content-type")))
			*at = (*at)->next;
		else
			at = &(*at)->next;
	}
}

void exchange_fail(struct http_exchange *x, unsigned status, const char *text)
{
	const struct http_server_options *o = &x->server->o;

	if (http_responded(&x->req))
		return;
	type_forget(&x->answer);
	/* on_error itself may fail, e.g. with a full buffer: then the bare status. */
	if (!x->in_error) {
		x->in_error = true;
		o->on_error(&x->req, status, text, o->arg);
		x->in_error = false;
	}
	if (!http_responded(&x->req))
		http_respond_static(&x->req, status, STR(""));
}

void http_respond_error(struct http_request *req, unsigned status, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	exchange_fail(exchange_of(req), status, arena_str(req->arena, str_of(text)).p);
}

uint64_t answer_bytes(const struct answer *a)
{
	return a->kind == ANSWER_FD ? a->fd_bytes : a->n;
}

/* The same answer with another body. */
void answer_body_replace(struct http_exchange *x, char *body, size_t n)
{
	struct answer *a = &x->answer, kept = *a;

	answer_release(x);
	*a = kept;
	answer_set(x, kept.status, ANSWER_OWNED, body, n);
}

/* ---- sending ---- */

/* A file read by ourselves in pieces: over TLS its bytes have to pass through us. */
struct file_piece {
	int fd; /* owned */
	uint64_t offset;
};

static ssize_t file_read(void *arg, uint64_t at, char *to, size_t n)
{
	const struct file_piece *f = arg;
	ssize_t got = pread(f->fd, to, n, (off_t)(f->offset + at));

	return got > 0 ? got : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void file_free(void *arg)
{
	struct file_piece *f = arg;

	close(f->fd);
	free(f);
}

static struct MHD_Response *response_of_pieces(const struct answer *a, int own)
{
	struct file_piece *f = mem_must_zalloc(sizeof *f);
	struct MHD_Response *r;

	*f = (struct file_piece){ own, a->offset };
	r = MHD_create_response_from_callback(a->fd_bytes, FILE_PIECE_BYTES, file_read, f,
					      file_free);
	if (!r)
		free(f);
	return r;
}

static struct MHD_Response *response_of_fd(const struct http_conn *c, const struct answer *a)
{
	struct MHD_Response *r;
	int own = fcntl(a->fd, F_DUPFD_CLOEXEC, 3); /* libmicrohttpd closes what it gets */

	if (own < 0)
		return NULL;
	r = c->session ? response_of_pieces(a, own)
		       : MHD_create_response_from_fd_at_offset64(a->fd_bytes, own, a->offset);
	if (!r)
		close(own);
	return r;
}

static struct MHD_Response *response_of_memory(struct answer *a)
{
	union {
		const char *from;
		void *to;
	} u = { .from = a->n > 0 ? a->p : "" };
	struct MHD_Response *r;
	bool give = a->kind == ANSWER_OWNED && a->n > 0;

	r = MHD_create_response_from_buffer(a->n, u.to,
					    give ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	if (r && give)
		a->kind = ANSWER_MEM; /* libmicrohttpd frees it */
	return r;
}

/* Its coding, and what the client's conditions make of it. */
static void answer_finish(struct http_exchange *x)
{
	precondition_tag(x);
	if (answer_is_compressible(x)) {
		http_respond_header(&x->req, "Vary", STR("Accept-Encoding"));
		if (coding_is_accepted(http_header(&x->req, "Accept-Encoding"), STR("gzip")) &&
		    answer_compress(x))
			precondition_tag_coded(x);
	}
	precondition_apply(x);
	cors_apply(x);
}

enum MHD_Result exchange_queue(struct http_exchange *x)
{
	struct answer *a = &x->answer;
	struct MHD_Response *r;
	enum MHD_Result ret;

	REQUIRE(a->kind != ANSWER_NONE);
	answer_finish(x);
	r = a->kind == ANSWER_FD && a->fd_bytes > 0 ? response_of_fd(x->conn, a)
						    : response_of_memory(a);
	if (!r)
		return MHD_NO; /* out of memory or descriptors: the connection is closed */
	if (!a->has_type && answer_bytes(a) > 0 && a->status != 304)
		MHD_add_response_header(r, "Content-Type", "application/json");
	MHD_add_response_header(r, "X-Request-Id", x->req.id.p);
	for (const struct answer_header *h = a->headers; h; h = h->next)
		MHD_add_response_header(r, h->name, h->value);
	if (x->server->stopping)
		MHD_add_response_header(r, "Connection", "close");
	if (answer_bytes(a) > SEND_WATCHED_BYTES)
		conn_phase_set(x->conn, CONN_SEND, clock_mono_us(clock_system()));
	ret = refuse_queue(x->mhd, a->status, r);
	MHD_destroy_response(r);
	return ret;
}

/*
 * libmicrohttpd takes no answer while a body is being received. So a refusal in
 * the middle of one is written here, and the connection ended behind it.
 * Nothing else is in the socket's send buffer then, so it takes the whole
 * answer at once; if not, the client sees a cut connection.
 */
void exchange_send_raw(struct http_exchange *x)
{
	const struct answer *a = &x->answer;
	struct buf out = BUF_INIT(1024 * 1024);

	if (a->kind == ANSWER_FD)
		return;
	buf_addf(&out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n", a->status,
		 MHD_get_reason_phrase_for(a->status), a->n);
	buf_addf(&out, "X-Request-Id: %s\r\n", x->req.id.p);
	if (!a->has_type && a->n > 0)
		buf_add_z(&out, "Content-Type: application/json\r\n");
	for (const struct answer_header *h = a->headers; h; h = h->next)
		buf_addf(&out, "%s: %s\r\n", h->name, h->value);
	buf_add_z(&out, "\r\n");
	buf_add(&out, a->p, a->n);
	if (!buf_failed(&out) && conn_send(x->conn, out.p, out.n))
		x->raw_sent = true;
	buf_release(&out);
	x->conn->linger = true;
}
