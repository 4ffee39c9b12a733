#include <stdio.h>

#include "base/hash.h"
#include "base/hex.h"
#include "http_internal.h"
#include "validate_internal.h"

/*
 * Conditional requests and ranges (RFC 9110 sections 13 and 14), asked of a
 * finished 200 to GET or HEAD, in the order of section 13.2.2.
 */

enum {
	TAG_SUMS = 2, /* 128 bits: no two bodies of one object ever have the same */
};

/* The quoted tag of these bytes. */
static struct str tag_of(struct arena *a, struct str body)
{
	uint64_t sums[TAG_SUMS];
	char *text = arena_must(a, 2 * sizeof sums + 3);

	for (uint64_t i = 0; i < TAG_SUMS; i++)
		sums[i] = hash64(body.p, body.n, i + 1);
	text[0] = '"';
	hex_encode(sums, sizeof sums, text + 1);
	text[1 + 2 * sizeof sums] = '"';
	return str_make(text, 2 * sizeof sums + 2);
}

void http_respond_etag(struct http_request *req, struct str opaque)
{
	struct http_exchange *x = exchange_of(req);

	x->answer.etag = str_of(arena_printf(req->arena, "\"" STR_FMT "\"", STR_ARG(opaque)));
}

void http_respond_etag_of_body(struct http_request *req)
{
	exchange_of(req)->answer.tags_body = true;
}

void http_respond_modified(struct http_request *req, int64_t unix_s)
{
	exchange_of(req)->answer.modified_s = unix_s;
}

static struct str tag_coded(struct arena *a, struct str tag)
{
	return str_of(arena_printf(a, STR_FMT "-gzip\"", (int)tag.n - 1, tag.p));
}

bool http_if_match(const struct http_request *req, struct str body)
{
	struct str match = http_header(req, "If-Match"), tag;

	if (!match.p)
		return true;
	tag = tag_of(req->arena, body);
	return tags_hold(match, tag, false) || tags_hold(match, tag_coded(req->arena, tag), false);
}

/* ---- what the client knows ---- */

static int64_t now_s(void)
{
	return clock_unix_s(clock_system());
}

/* A date header against the answer's: false if either is missing. */
static bool modified_after(const struct http_exchange *x, const char *header, bool *ret_after)
{
	struct str text = http_header(&x->req, header);
	int64_t then_s;

	if (!text.p || x->answer.modified_s == 0 || !http_date_parse(text, now_s(), &then_s))
		return false;
	*ret_after = x->answer.modified_s > then_s;
	return true;
}

/* It was asked for on condition that it is as the client knows it. */
static bool is_refused(const struct http_exchange *x)
{
	struct str match = http_header(&x->req, "If-Match");
	bool after;

	if (match.p)
		return !tags_hold(match, x->answer.etag, false);
	return modified_after(x, "If-Unmodified-Since", &after) && after;
}

/* The client has it. */
static bool is_known(const struct http_exchange *x)
{
	const struct answer *a = &x->answer;
	struct str match = http_header(&x->req, "If-None-Match");
	bool after;

	if (match.p)
		return tags_hold(match, a->etag, true) ||
		       (a->etag_plain.p && tags_hold(match, a->etag_plain, true));
	return modified_after(x, "If-Modified-Since", &after) && !after;
}

/* ---- ranges ---- */

/* What the client has a part of is still this. */
static bool range_is_of_this(const struct http_exchange *x)
{
	struct str wish = str_trim(http_header(&x->req, "If-Range"));
	int64_t then_s;

	if (!wish.p)
		return true;
	if (wish.n > 0 && (wish.p[0] == '"' || str_starts(wish, STR("W/"))))
		return x->answer.etag.p && str_eq(wish, x->answer.etag);
	return x->answer.modified_s != 0 && http_date_parse(wish, now_s(), &then_s) &&
	       then_s == x->answer.modified_s;
}

static void range_apply(struct http_exchange *x)
{
	struct answer *a = &x->answer;
	struct str wish = http_header(&x->req, "Range");
	struct http_range range;
	char text[80];

	if (!wish.p || x->req.is_head || !range_is_of_this(x))
		return;
	switch (range_parse(wish, a->fd_bytes, &range)) {
	case RANGE_WHOLE:
		return;
	case RANGE_PART:
		snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)range.from,
			 (unsigned long long)(range.from + range.n - 1),
			 (unsigned long long)a->fd_bytes);
		a->status = 206;
		a->offset += range.from;
		a->fd_bytes = range.n;
		break;
	case RANGE_NONE_OF_IT:
		snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)a->fd_bytes);
		answer_release(x);
		exchange_fail(x, 416, "Nothing of the file lies in this range");
		break;
	}
	http_respond_header(&x->req, "Content-Range", str_of(text));
}

/* ---- the whole ---- */

static void validators_add(struct http_exchange *x)
{
	struct answer *a = &x->answer;
	char date[HTTP_DATE_CHARS + 1];

	/*
	 * Kept by nobody but the client, and used by it only after asking (RFC 9111
	 * 5.2.2). Without a date nobody keeps it unasked anyway (4.2.2).
	 */
	if (a->modified_s)
		http_respond_header(&x->req, "Cache-Control", STR("private, no-cache"));
	if (a->etag.p)
		http_respond_header(&x->req, "ETag", a->etag);
	if (a->modified_s == 0)
		return;
	http_date_format(a->modified_s, date);
	http_respond_header(&x->req, "Last-Modified", str_of(date));
}

void precondition_tag(struct http_exchange *x)
{
	struct answer *a = &x->answer;

	if (a->tags_body && a->kind != ANSWER_FD && a->status == 200)
		a->etag = tag_of(x->req.arena, str_make(a->p, a->n));
}

void precondition_tag_coded(struct http_exchange *x)
{
	struct answer *a = &x->answer;

	if (!a->etag.p)
		return;
	a->etag_plain = a->etag;
	a->etag = tag_coded(x->req.arena, a->etag);
}

void precondition_apply(struct http_exchange *x)
{
	struct answer *a = &x->answer;

	if (a->status != 200 || x->req.method != HTTP_GET)
		return;
	if (x->is_conditional && is_refused(x)) {
		answer_release(x);
		exchange_fail(x, 412, "It is not what the request expects it to be");
		return;
	}
	if (a->kind == ANSWER_FD)
		http_respond_header(&x->req, "Accept-Ranges", STR("bytes"));
	validators_add(x);
	if (!x->is_conditional)
		return;
	if (is_known(x))
		a->status = 304;
	else if (a->kind == ANSWER_FD)
		range_apply(x);
}
