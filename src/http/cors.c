#include "http_internal.h"

/*
 * Which pages of other origins a browser lets read our answers (the Fetch
 * standard, section 3.2). Keys travel in a header of their own, never in cookies,
 * so credentials are not allowed.
 */

/* The request's origin if it is one of those allowed; p NULL otherwise. */
static struct str origin_allowed(const struct http_exchange *x)
{
	struct str list = str_of(x->server->o.cors_origins), one;
	struct str origin = str_trim(http_header(&x->req, "Origin"));

	while (origin.n > 0 && list.n > 0 && str_split(&list, ' ', &one))
		if (one.n > 0 && (str_eq_z(one, "*") || str_eq_nocase(one, origin)))
			return origin;
	return (struct str){ NULL, 0 };
}

static bool is_on(const struct http_exchange *x)
{
	return x->server->o.cors_origins && x->server->o.cors_origins[0] != '\0';
}

void cors_apply(struct http_exchange *x)
{
	struct str origin;

	if (!is_on(x))
		return;
	http_respond_header(&x->req, "Vary", STR("Origin"));
	origin = origin_allowed(x);
	if (!origin.p)
		return;
	http_respond_header(&x->req, "Access-Control-Allow-Origin", origin);
	http_respond_header(&x->req, "Access-Control-Expose-Headers",
			    STR("ETag, Content-Range, Content-Disposition, Retry-After, "
				"X-Request-Id"));
}

void cors_preflight(struct http_exchange *x)
{
	if (!is_on(x) || !origin_allowed(x).p ||
	    !http_header(&x->req, "Access-Control-Request-Method").p)
		return;
	http_respond_header(&x->req, "Access-Control-Allow-Methods", allow_text(x));
	http_respond_header(&x->req, "Access-Control-Allow-Headers",
			    STR("x-apikey, x-tool, Content-Type, Content-Encoding, If-Match, "
				"If-None-Match, If-Modified-Since, If-Unmodified-Since, Range, "
				"If-Range"));
	http_respond_header(&x->req, "Access-Control-Max-Age", STR("600"));
}
