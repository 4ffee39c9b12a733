#include <stdlib.h>

#include "base/mem.h"
#include "base/metric.h"
#include "http_internal.h"

/* Once for one request, whatever ended it. */
void body_abort(struct http_exchange *x)
{
	const struct http_request *req = &x->req;

	if (!x->upload_open)
		return;
	x->upload_open = false;
	if (req->route->upload->aborted)
		req->route->upload->aborted(&x->req, x->server->o.arg);
}

static bool body_refuse(struct http_exchange *x, unsigned status, const char *text)
{
	if (status == 413)
		metric_add(METRIC_http_body_large_total, 1);
	exchange_fail(x, status, text);
	body_abort(x);
	x->mode = BODY_IGNORE;
	x->ignored = 0;
	buf_release(&x->collect);
	return false;
}

/* A callback stopped: it should have answered. */
static bool body_stopped(struct http_exchange *x)
{
	return body_refuse(x, 500, "The upload failed");
}

/* ---- parts ---- */

static bool field_add(struct http_exchange *x)
{
	struct http_pairs *form = &x->form;

	if (!form->p)
		form->p = arena_must(x->req.arena, HTTP_FORM_FIELDS_MAX * sizeof *form->p);
	if (form->n == HTTP_FORM_FIELDS_MAX || memchr(buf_str(&x->field).p, 0, x->field.n)) {
		exchange_fail(x, 400, "Too many form fields, or one with NUL bytes");
		return false;
	}
	form->p[form->n++] =
		(struct http_pair){ x->field_name, arena_str(x->req.arena, buf_str(&x->field)) };
	x->field_bytes += x->field.n;
	buf_reset(&x->field);
	return true;
}

static bool on_begin(void *arg, const struct http_part *part)
{
	struct http_exchange *x = arg;

	x->part_use = x->req.route->upload->begin(&x->req, part, x->server->o.arg);
	x->field_name = part->name;
	if (x->part_use == HTTP_PART_FIELD) {
		buf_release(&x->field);
		buf_init(&x->field, HTTP_FORM_BYTES_MAX - x->field_bytes);
	}
	return x->part_use != HTTP_PART_STOP;
}

static bool on_data(void *arg, const char *p, size_t n)
{
	struct http_exchange *x = arg;

	if (x->part_use == HTTP_PART_STREAM)
		return x->req.route->upload->data(&x->req, p, n, x->server->o.arg);
	if (x->part_use == HTTP_PART_FIELD) {
		buf_add(&x->field, p, n);
		if (buf_failed(&x->field)) {
			exchange_fail(x, 413, "The form fields are too large");
			return false;
		}
	}
	return true;
}

static bool on_end(void *arg)
{
	struct http_exchange *x = arg;

	if (x->part_use == HTTP_PART_STREAM)
		return x->req.route->upload->end(&x->req, x->server->o.arg);
	return x->part_use == HTTP_PART_SKIP || field_add(x);
}

static const struct multipart_calls part_calls = { on_begin, on_data, on_end };

/* ---- the whole ---- */

static bool type_is(struct str content_type, struct str want)
{
	return str_eq_nocase(str_trim(str_make(content_type.p, str_find(content_type, ';'))), want);
}

static bool upload_begin(struct http_exchange *x)
{
	struct str type = http_header(&x->req, "Content-Type");
	struct http_part whole = { { NULL, 0 }, { NULL, 0 }, type };

	if (type.p && type_is(type, STR("application/x-www-form-urlencoded"))) {
		x->mode = BODY_FORM;
		buf_init(&x->collect, HTTP_FORM_BYTES_MAX);
		return true;
	}
	x->upload_open = true;
	if (type.p && type_is(type, STR("multipart/form-data"))) {
		x->mode = BODY_PARTS;
		x->parts = multipart_new(x->req.arena, type, &part_calls, x);
		return x->parts || body_refuse(x, 400, "multipart/form-data without a boundary");
	}
	x->mode = BODY_RAW;
	return on_begin(x, &whole) || body_stopped(x);
}

/* Sets x->inflate where the body is compressed; false: answered. */
static bool coding_begin(struct http_exchange *x)
{
	struct str coding = str_trim(http_header(&x->req, "Content-Encoding"));

	if (coding.n == 0 || str_eq_nocase(coding, STR("identity")))
		return true;
	if (!str_eq_nocase(coding, STR("gzip")) && !str_eq_nocase(coding, STR("x-gzip"))) {
		body_refuse(x, 415, "Content-Encoding must be gzip or identity");
		http_respond_header(&x->req, "Accept-Encoding", STR("gzip, identity"));
		return false;
	}
	x->inflate = inflate_new(x->req.arena);
	return x->inflate || body_refuse(x, 503, "The server is out of memory");
}

bool body_begin(struct http_exchange *x)
{
	const struct http_route *route = x->req.route;
	uint64_t max = route->body_max > 0 ? route->body_max : HTTP_IGNORED_BODY_MAX;

	x->mode = BODY_IGNORE;
	if (x->announced != UINT64_MAX && x->announced > max)
		return body_refuse(x, 413, "The body is too large");
	if (route->body_max == 0)
		return true;
	if (!coding_begin(x))
		return false;
	if (route->upload)
		return upload_begin(x);
	x->mode = BODY_COLLECT;
	REQUIRE(route->body_max <= HTTP_BODY_COLLECT_MAX);
	buf_init(&x->collect, route->body_max);
	return true;
}

static bool parts_data(struct http_exchange *x, const char *p, size_t n)
{
	switch (multipart_feed(x->parts, p, n)) {
	case MULTIPART_OK:
		return true;
	case MULTIPART_MALFORMED:
		return body_refuse(x, 400, "The multipart body is malformed");
	case MULTIPART_STOPPED:
		break;
	}
	return body_stopped(x);
}

/* Of the body as it is meant, whatever it was encoded as on the way. */
static bool body_plain(void *arg, const char *p, size_t n)
{
	struct http_exchange *x = arg;

	x->expanded += n;
	if (x->expanded > x->req.route->body_max)
		return body_refuse(x, 413, "The body is too large");
	switch (x->mode) {
	case BODY_COLLECT:
	case BODY_FORM:
		buf_add(&x->collect, p, n);
		return !buf_failed(&x->collect) || body_refuse(x, 413, "The body is too large");
	case BODY_PARTS:
		return parts_data(x, p, n);
	case BODY_RAW:
		return on_data(x, p, n) || body_stopped(x);
	case BODY_IGNORE:
		break;
	}
	return true;
}

bool body_data(struct http_exchange *x, const char *p, size_t n)
{
	x->received += n;
	if (x->mode == BODY_IGNORE) {
		x->ignored += n;
		return x->ignored <= HTTP_IGNORED_BODY_MAX || http_responded(&x->req) ||
		       body_refuse(x, 413, "The body is too large");
	}
	if (!x->inflate)
		return body_plain(x, p, n);
	if (x->received > x->req.route->body_max)
		return body_refuse(x, 413, "The body is too large");
	switch (inflate_feed(x->inflate, p, n, body_plain, x)) {
	case INFLATE_OK:
		return true;
	case INFLATE_BROKEN:
		return body_refuse(x, 400, "The body is not valid gzip");
	case INFLATE_STOPPED:
		break;
	}
	return false;
}

static bool form_end(struct http_exchange *x)
{
	const char *wrong =
		pairs_parse(&x->form, x->req.arena, buf_str(&x->collect), HTTP_FORM_FIELDS_MAX);

	return !wrong || body_refuse(x, 400, wrong);
}

bool body_end(struct http_exchange *x)
{
	if (x->inflate && x->mode != BODY_IGNORE && !inflate_done(x->inflate))
		return body_refuse(x, 400, "The gzip body ends too early");
	switch (x->mode) {
	case BODY_COLLECT:
		x->req.body = buf_str(&x->collect);
		break;
	case BODY_FORM:
		return form_end(x);
	case BODY_PARTS:
		if (!multipart_done(x->parts))
			return body_refuse(x, 400, "The multipart body ends too early");
		x->upload_open = false;
		break;
	case BODY_RAW:
		if (!on_end(x))
			return body_stopped(x);
		x->upload_open = false;
		break;
	case BODY_IGNORE:
		break;
	}
	return true;
}
