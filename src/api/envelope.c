#include "api_internal.h"

#include <stdarg.h>

static void link_put(struct buf *out, struct http_request *req, const char *fmt, va_list ap)
	PRINTF_LIKE(3, 0);

static void link_put(struct buf *out, struct http_request *req, const char *fmt, va_list ap)
{
	buf_add_str(out, http_base_url(req));
	buf_add_z(out, "/api/v3");
	buf_vaddf(out, fmt, ap);
}

void api_link(struct buf *out, struct http_request *req, const char *path_fmt, ...)
{
	va_list ap;

	va_start(ap, path_fmt);
	link_put(out, req, path_fmt, ap);
	va_end(ap);
}

void api_links_self(struct json *j, struct http_request *req, const char *path_fmt, ...)
{
	AUTO(buf_release) struct buf link = BUF_INIT(LIMIT_CURSOR_BYTES * 8);
	va_list ap;

	va_start(ap, path_fmt);
	link_put(&link, req, path_fmt, ap);
	va_end(ap);
	json_key(j, "links");
	json_obj(j);
	json_kv_str(j, "self", buf_str(&link));
	json_obj_end(j);
}

void api_query_escape(struct buf *out, struct str s)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';

		if (plain) {
			buf_add_c(out, (char)c);
		} else if (c == ' ') {
			buf_add_c(out, '+');
		} else {
			buf_add_c(out, '%');
			buf_add_c(out, digits[c >> 4]);
			buf_add_c(out, digits[c & 15]);
		}
	}
}

void api_send(struct http_request *req, struct buf *out)
{
	if (req->method == HTTP_GET)
		http_respond_etag_of_body(req);
	http_respond_buf(req, 200, out);
}

void api_send_empty(struct http_request *req)
{
	http_respond_static(req, 200, STR("{}"));
}

/* Digits, not all of them 0: a number that may be larger than any type of ours. */
static bool is_positive_number(struct str s)
{
	bool positive = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		positive |= s.p[i] != '0';
	}
	return positive;
}

bool api_limit(struct http_request *req, uint32_t none, uint32_t max, uint32_t *ret)
{
	struct str text = http_query(req, "limit");
	uint64_t v;

	*ret = none;
	if (!text.p)
		return true;
	if (!is_positive_number(text)) {
		api_error(req, 400, "BadRequestError", "\"limit\" must be a positive number");
		return false;
	}
	*ret = str_to_u64(text, max, &v) ? (uint32_t)v : max;
	return true;
}

bool api_bool(struct http_request *req, const char *name, bool none, bool *ret)
{
	struct str text = http_query(req, name);

	*ret = none;
	if (!text.p)
		return true;
	if (str_eq_nocase(text, STR("true")) || str_eq_z(text, "1")) {
		*ret = true;
	} else if (str_eq_nocase(text, STR("false")) || str_eq_z(text, "0")) {
		*ret = false;
	} else {
		api_error(req, 400, "BadRequestError", "\"%s\" must be true or false", name);
		return false;
	}
	return true;
}

bool api_id(struct http_request *req, const char *what, int64_t *ret)
{
	uint64_t v;

	if (!str_to_u64(req->params[0], INT64_MAX, &v) || v == 0) {
		api_not_found(req, what, req->params[0]);
		return false;
	}
	*ret = (int64_t)v;
	return true;
}
