#include "http/request.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"
#include "http_internal.h"

struct http_exchange *exchange_of(const struct http_request *req)
{
	union {
		const struct http_request *req;
		struct http_exchange *x;
	} u = { .req = req };

	REQUIRE(u.x->magic == EXCHANGE_MAGIC);
	return u.x;
}

/* Unique enough to find a request in the logs; not secret, so no system call each. */
static struct str id_new(struct arena *a)
{
	static _Thread_local struct rand_seq seq;
	static const char digits[] = "0123456789abcdef";
	char *text = arena_must(a, 17);
	uint64_t v;

	if (seq.state == 0)
		rand_bytes(&seq.state, sizeof seq.state);
	v = rand_next(&seq);
	for (int i = 0; i < 16; i++)
		text[i] = digits[v >> (4 * i) & 15];
	return str_make(text, 16);
}

struct http_exchange *exchange_new(struct http_server *s, struct http_conn *c,
				   struct MHD_Connection *mhd, const char *target)
{
	struct arena *a = arena_new("request", HTTP_ARENA_BYTES_MAX);
	struct http_exchange *x = arena_must(a, sizeof *x);
	size_t query;

	x->magic = EXCHANGE_MAGIC;
	x->server = s;
	x->conn = c;
	x->mhd = mhd;
	x->req.arena = a;
	x->req.method = HTTP_OTHER;
	x->req.method_text = "";
	x->req.start_us = clock_mono_us(clock_system());
	x->req.id = id_new(a);
	x->req.target = arena_str(a, str_of(target));
	query = str_find(x->req.target, '?');
	x->req.path = str_make(x->req.target.p, query);
	x->req.query = query < x->req.target.n
			       ? str_make(x->req.target.p + query + 1, x->req.target.n - query - 1)
			       : str_make("", 0);
	x->req.remote = str_make(c->remote, c->remote_bytes);
	x->answer.fd = -1;
	return x;
}

void exchange_free(struct http_exchange *x)
{
	answer_release(x);
	buf_release(&x->collect);
	buf_release(&x->field);
	x->magic = 0;
	arena_free(x->req.arena);
}

/* ---- parsing ---- */

const char *pairs_parse(struct http_pairs *out, struct arena *a, struct str text, size_t count_max)
{
	struct str rest = text, part;
	char *to;
	size_t count = 1;

	if (text.n == 0)
		return NULL;
	for (size_t i = 0; i < text.n; i++)
		count += text.p[i] == '&';
	if (count > count_max)
		return "Too many parameters";
	out->p = arena_must(a, count * sizeof *out->p);
	to = arena_must(a, text.n + 2 * count);
	while (rest.n > 0 && str_split(&rest, '&', &part)) {
		size_t equals = str_find(part, '='), n;
		struct http_pair *pair = &out->p[out->n];

		if (part.n == 0)
			continue;
		http_decode(str_make(part.p, equals), true, to, &n);
		pair->name = str_make(to, n);
		to[n] = '\0';
		to += n + 1;
		if (equals < part.n)
			equals++;
		http_decode(str_make(part.p + equals, part.n - equals), true, to, &n);
		pair->value = str_make(to, n);
		to[n] = '\0';
		to += n + 1;
		if (memchr(pair->name.p, 0, pair->name.n) || memchr(pair->value.p, 0, n))
			return "Parameters must not hold NUL bytes";
		out->n++;
	}
	return NULL;
}

struct str pairs_find(const struct http_pairs *pairs, const char *name)
{
	for (size_t i = 0; i < pairs->n; i++)
		if (str_eq_z(pairs->p[i].name, name))
			return pairs->p[i].value;
	return (struct str){ NULL, 0 };
}

static void method_parse(struct http_exchange *x, const char *text)
{
	struct http_request *req = &x->req;

	req->method_text = arena_str(req->arena, str_of(text)).p;
	if (strcmp(text, "HEAD") == 0) {
		req->is_head = true;
		req->method = HTTP_GET;
		return;
	}
	x->is_options = strcmp(text, "OPTIONS") == 0;
	for (unsigned m = 0; m < HTTP_METHOD_COUNT; m++)
		if (strcmp(text, http_method_name(m)) == 0)
			req->method = m;
}

/* The last entry is the one our own proxy wrote. */
static void remote_from_proxy(struct http_request *req)
{
	struct str list = http_header(req, "X-Forwarded-For"), part, last = { NULL, 0 };

	while (list.n > 0 && str_split(&list, ',', &part))
		last = str_trim(part);
	if (last.n > 0 && last.n < HTTP_ADDRESS_BYTES + 16)
		req->remote = arena_str(req->arena, last);
}

/* What the header's lines are together, in one pass. */
struct head_seen {
	unsigned lines;
	unsigned framings; /* both at once, or two lengths, are how requests are smuggled (RFC
			      9112 6.3) */
	bool conditional;
	bool misnamed; /* "Content-Length :" is read as another name by some (RFC 9112 5.1) */
};

/* A token of RFC 9110 5.6.2, as far as anything depends on it. */
static bool is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
			return false;
	return s.n > 0;
}

static enum MHD_Result head_line(void *arg, enum MHD_ValueKind kind, const char *name,
				 size_t name_bytes, const char *value, size_t value_bytes)
{
	struct head_seen *seen = arg;
	struct str n = str_make(name, name_bytes);

	(void)kind;
	(void)value;
	(void)value_bytes;
	seen->lines++;
	seen->misnamed |= !is_token(n);
	seen->framings += str_eq_nocase(n, STR("content-length")) ||
			  str_eq_nocase(n, STR("transfer-encoding"));
	seen->conditional |= str_eq_nocase(n, STR("range")) ||
			     (n.n > 3 && str_eq_nocase(str_make(name, 3), STR("if-")));
	return MHD_YES;
}

static const char *framing_parse(struct http_exchange *x, unsigned count)
{
	struct str encoding, length;

	if (count == 0)
		return NULL;
	encoding = http_header(&x->req, "Transfer-Encoding");
	length = http_header(&x->req, "Content-Length");
	x->req.has_body = true;
	if (encoding.p) {
		x->announced = UINT64_MAX;
		if (!str_eq_nocase(str_trim(encoding), STR("chunked")))
			return "Transfer-Encoding must be chunked";
	} else if (!str_to_u64(str_trim(length), INT64_MAX, &x->announced)) {
		x->announced = UINT64_MAX;
		return "Content-Length is not a number";
	}
	if (count == 1)
		return NULL;
	x->announced = UINT64_MAX;
	return "Content-Length or Transfer-Encoding more than once";
}

/* false: an error was answered. */
static bool head_parse(struct http_exchange *x)
{
	struct head_seen seen = { 0 };
	const char *wrong;

	MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, head_line, &seen);
	x->is_conditional = seen.conditional;
	wrong = framing_parse(x, seen.framings);
	if (seen.lines > HTTP_HEADERS_MAX) {
		metric_add(METRIC_http_head_large_total, 1);
		exchange_fail(x, 431, "The request has too many header lines");
		return false;
	}
	if (seen.misnamed)
		wrong = "The name of a header line is malformed";
	if (!wrong)
		wrong = pairs_parse(&x->query, x->req.arena, x->req.query, HTTP_QUERY_PARAMS_MAX);
	if (wrong)
		exchange_fail(x, 400, wrong);
	return !wrong;
}

struct str allow_text(const struct http_exchange *x)
{
	char text[64];
	size_t n = 0;

	for (unsigned m = 0; m < HTTP_METHOD_COUNT; m++)
		if (x->req.allowed & 1U << m)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s%s, ",
					      http_method_name(m), m == HTTP_GET ? ", HEAD" : "");
	n += (size_t)snprintf(text + n, sizeof text - n, "OPTIONS");
	return arena_str(x->req.arena, str_make(text, n));
}

static void other_method(struct http_exchange *x)
{
	http_respond_header(&x->req, "Allow", allow_text(x));
	if (!x->is_options) {
		exchange_fail(x, 405, "This method is not allowed here");
		return;
	}
	cors_preflight(x);
	http_respond_static(&x->req, 200, STR(""));
}

bool exchange_parse(struct http_exchange *x, const char *method)
{
	struct http_request *req = &x->req;
	struct http_matched matched = { 0 };
	enum http_match match;

	method_parse(x, method);
	if (x->server->o.trust_forwarded)
		remote_from_proxy(req);
	if (!head_parse(x))
		return false;
	if (x->is_options && str_eq(req->path, STR("*"))) { /* the server itself (RFC 9110 9.3.7) */
		req->allowed = (1U << HTTP_METHOD_COUNT) - 1;
		other_method(x);
		return false;
	}
	match = http_router_match(x->server->router, req->method, req->path,
				  arena_must(req->arena, req->path.n + 1), &matched);
	req->allowed = matched.allowed;
	switch (match) {
	case HTTP_MATCH_BAD_PATH:
		exchange_fail(x, 400, "The path is not percent-encoded correctly");
		return false;
	case HTTP_MATCH_NONE:
		exchange_fail(x, 404, "There is nothing at this path");
		return false;
	case HTTP_MATCH_OTHER_METHOD:
		other_method(x);
		return false;
	case HTTP_MATCH_OK:
		break;
	}
	req->route = matched.route;
	memcpy(req->params, matched.params, sizeof req->params);
	return true;
}

/* ---- reading ---- */

struct str http_header(const struct http_request *req, const char *name)
{
	const char *value =
		MHD_lookup_connection_value(exchange_of(req)->mhd, MHD_HEADER_KIND, name);

	return str_of(value);
}

struct str http_query(const struct http_request *req, const char *name)
{
	return pairs_find(&exchange_of(req)->query, name);
}

size_t http_query_count(const struct http_request *req)
{
	return exchange_of(req)->query.n;
}

void http_query_at(const struct http_request *req, size_t i, struct str *ret_name,
		   struct str *ret_value)
{
	const struct http_exchange *x = exchange_of(req);

	REQUIRE(i < x->query.n);
	*ret_name = x->query.p[i].name;
	*ret_value = x->query.p[i].value;
}

struct str http_form(const struct http_request *req, const char *name)
{
	return pairs_find(&exchange_of(req)->form, name);
}

/* A name, an IPv4 or a bracketed IPv6 address, maybe a port: nothing that could leave a URL's host.
 */
static bool host_is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      (c != '\0' && strchr("-._:[]", c))))
			return false;
	}
	return s.n > 0 && s.n <= 300;
}

static struct str base_make(struct http_exchange *x)
{
	struct http_request *req = &x->req;
	struct str host = { NULL, 0 }, proto = x->conn->session ? STR("https") : STR("http");
	char *text;

	if (x->server->o.trust_forwarded) {
		host = str_trim(http_header(req, "X-Forwarded-Host"));
		if (http_header(req, "X-Forwarded-Proto").p)
			proto = str_trim(http_header(req, "X-Forwarded-Proto"));
	}
	if (!host_is_plain(host))
		host = str_trim(http_header(req, "Host"));
	if (!host_is_plain(host))
		host = str_of(x->server->listen_host);
	proto = str_eq_nocase(proto, STR("https")) ? STR("https://") : STR("http://");
	text = arena_must(req->arena, proto.n + host.n + 1);
	memcpy(text, proto.p, proto.n);
	memcpy(text + proto.n, host.p, host.n);
	return str_make(text, proto.n + host.n);
}

/* A page of objects asks for each of its links. */
struct str http_base_url(struct http_request *req)
{
	struct http_exchange *x = exchange_of(req);

	if (!x->base_url.p)
		x->base_url = base_make(x);
	return x->base_url;
}

/* ---- asynchronous answers ---- */

void http_request_suspend(struct http_request *req)
{
	struct http_exchange *x = exchange_of(req);

	REQUIRE(x->dispatched);
	REQUIRE(x->async == ASYNC_NONE);
	x->server->suspended++;
	x->async = ASYNC_PENDING;
}

/*
 * Whoever comes second moves on: if the loop has parked the connection, this
 * thread tells libmicrohttpd; else the loop sees RESUMED when the handler returns.
 */
void http_request_resume(struct http_request *req)
{
	struct http_exchange *x = exchange_of(req);
	struct MHD_Connection *mhd = x->mhd;
	int was = atomic_exchange(&x->async, ASYNC_RESUMED);

	REQUIRE(was == ASYNC_PENDING || was == ASYNC_PARKED);
	if (was == ASYNC_PARKED)
		MHD_resume_connection(mhd);
}
