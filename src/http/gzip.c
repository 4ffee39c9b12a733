#include <stdlib.h>
#include <zlib.h>

#include "base/mem.h"
#include "http_internal.h"
#include "validate_internal.h"

/*
 * gzip (RFC 1952) both ways. Answers are compressed whole on the loop thread,
 * with a state that each loop keeps: making one takes longer than compressing a
 * report. Bodies are expanded as they arrive, in pieces of INFLATE_BYTES, so that
 * what is too large is known before it takes any memory.
 */

enum {
	GZIP_WINDOW = 15 + 16, /* the largest window, and gzip's frame (zlib.h) */
	GZIP_MEMORY = 8,       /* zlib's default */
	INFLATE_BYTES = 32 * 1024,
};

/* ---- answers ---- */

struct http_deflate {
	z_stream z;
	int level;
};

void deflate_free(struct http_deflate *d)
{
	if (!d)
		return;
	deflateEnd(&d->z);
	free(d);
}

static struct http_deflate *deflate_of(struct http_loop *loop)
{
	struct http_deflate *d = loop->deflate;
	int level = loop->server->o.gzip_level;

	if (d)
		return deflateReset(&d->z) == Z_OK ? d : NULL;
	d = mem_must_zalloc(sizeof *d);
	if (deflateInit2(&d->z, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) !=
	    Z_OK) {
		free(d);
		return NULL;
	}
	loop->deflate = d;
	return d;
}

/* JSON and text of some length that nobody has encoded. */
bool answer_is_compressible(const struct http_exchange *x)
{
	const struct answer *a = &x->answer;

	if (x->server->o.gzip_level == 0 || a->n < HTTP_GZIP_BYTES_MIN || a->kind == ANSWER_FD)
		return false;
	for (const struct answer_header *h = a->headers; h; h = h->next) {
		struct str name = str_of(h->name), value = str_of(h->value);

		if (str_eq_nocase(name, STR("content-encoding")))
			return false;
		if (str_eq_nocase(name, STR("content-type")) && !str_starts(value, STR("text/")) &&
		    !str_starts(value, STR("application/json")))
			return false;
	}
	return true;
}

bool answer_compress(struct http_exchange *x)
{
	struct answer *a = &x->answer;
	struct http_deflate *d = a->n <= UINT32_MAX ? deflate_of(x->conn->loop) : NULL;
	size_t room = a->n - 1;
	void *out;
	union {
		const char *from;
		Bytef *to;
	} in = { .from = a->p };

	if (!d || mem_try_alloc(&out, room, NULL) != 0)
		return false;
	d->z.next_in = in.to;
	d->z.avail_in = (uInt)a->n;
	d->z.next_out = out;
	d->z.avail_out = (uInt)room;
	if (deflate(&d->z, Z_FINISH) != Z_STREAM_END) {
		free(out);
		return false; /* it would not be smaller */
	}
	answer_body_replace(x, out, d->z.total_out);
	http_respond_header(&x->req, "Content-Encoding", STR("gzip"));
	return true;
}

/* ---- bodies ---- */

struct http_inflate {
	z_stream z;
	bool ended; /* the last member is whole */
	Bytef out[INFLATE_BYTES];
};

static void inflate_release(void *inflate)
{
	struct http_inflate *i = inflate;

	inflateEnd(&i->z);
	free(i);
}

struct http_inflate *inflate_new(struct arena *a)
{
	struct http_inflate *i = mem_must_zalloc(sizeof *i);

	if (inflateInit2(&i->z, GZIP_WINDOW) != Z_OK) {
		free(i);
		return NULL;
	}
	arena_on_free(a, inflate_release, i);
	return i;
}

enum inflate_result inflate_feed(struct http_inflate *i, const char *p, size_t n,
				 bool (*data)(void *arg, const char *p, size_t n), void *arg)
{
	union {
		const char *from;
		Bytef *to;
	} in = { .from = p };

	REQUIRE(n <= UINT32_MAX);
	i->z.next_in = in.to;
	i->z.avail_in = (uInt)n;
	/* Until the output was not filled: what fills it may have left more inside. */
	do {
		union {
			Bytef *from;
			const char *to;
		} out = { .from = i->out };
		size_t got;
		int rc;

		if (i->ended && i->z.avail_in > 0) { /* a further member (RFC 1952 2.2) */
			if (inflateReset(&i->z) != Z_OK)
				return INFLATE_BROKEN;
			i->ended = false;
		}
		i->z.next_out = i->out;
		i->z.avail_out = INFLATE_BYTES;
		rc = inflate(&i->z, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return INFLATE_BROKEN;
		i->ended = rc == Z_STREAM_END;
		got = INFLATE_BYTES - i->z.avail_out;
		if (got > 0 && !data(arg, out.to, got))
			return INFLATE_STOPPED;
	} while (i->z.avail_in > 0 || (i->z.avail_out == 0 && !i->ended));
	return INFLATE_OK;
}

bool inflate_done(const struct http_inflate *i)
{
	return i->ended;
}
