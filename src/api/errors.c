#include "api_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

struct api_error_row {
	unsigned status;
	const char *code;
	const char *text;
};

static const struct api_error_row rows[ERR_KIND_COUNT] = {
#define API_ERROR(kind, status, code, text) [ERR_##kind] = { (status), (code), (text) },
#include "errors.def"
#undef API_ERROR
};

/* When to come back: after a quota as soon as it begins anew, else a little later. */
static void put_retry_after(struct http_request *req, const char *code)
{
	const struct api_call *call = api_call_of(req);
	uint32_t wait_s = 5;
	char text[16];

	if (strcmp(code, "QuotaExceededError") == 0)
		wait_s = call ? usage_retry_s(call->api->svc, &call->user, call->quotas) : 0;
	if (!wait_s)
		return; /* a quota that time does not heal */
	snprintf(text, sizeof text, "%u", wait_s);
	http_respond_header(req, "Retry-After", str_of(text));
}

void api_error_write(struct buf *out, const char *code, struct str text)
{
	struct json j;

	json_init(&j, out);
	json_obj(&j);
	json_key(&j, "error");
	json_obj(&j);
	json_kv_z(&j, "code", code);
	json_kv_str(&j, "message", text);
	json_obj_end(&j);
	json_obj_end(&j);
	json_end(&j);
}

static void put_error(struct http_request *req, unsigned status, const char *code, struct str text)
{
	struct buf out = BUF_INIT(API_RESPONSE_MAX);

	req->error = code;
	api_error_write(&out, code, text);
	if (status == 429 || status == 503)
		put_retry_after(req, code);
	http_respond_buf(req, status, &out);
}

void api_error(struct http_request *req, unsigned status, const char *code, const char *fmt, ...)
{
	AUTO(buf_release) struct buf text = BUF_INIT(64 * 1024);
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	put_error(req, status, code, buf_str(&text));
}

void api_fail(struct http_request *req, int rc, const struct err *err)
{
	const struct api_error_row *row;

	REQUIRE(rc < 0 && -rc < ERR_KIND_COUNT);
	row = &rows[-rc];
	REQUIRE(row->code);
	req->failure = err_kind_name((enum err_kind) - rc);
	if (row->text)
		log_record(row->status >= 500 && rc != -ERR_BUSY && rc != -ERR_CLOSED ? LOG_WARN
										      : LOG_INFO,
			   "request_failed", LOG_STR("request_id", req->id),
			   LOG_Z("kind", req->failure), LOG_Z("error", err->msg));
	put_error(req, row->status, row->code, str_of(row->text ? row->text : err->msg));
}

void api_not_found(struct http_request *req, const char *what, struct str id)
{
	api_error(req, 404, "NotFoundError", "%s \"" STR_FMT "\" not found", what,
		  STR_ARG(id.n > 256 ? str_make(id.p, 256) : id));
}
