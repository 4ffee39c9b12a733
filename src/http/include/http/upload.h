#ifndef HTTP_UPLOAD_H
#define HTTP_UPLOAD_H
#include "http/request.h"

/*
 * Bodies that are worked on while they arrive. A route with an http_upload gets
 * its body piecewise on the loop thread, as parts:
 *
 *   multipart/form-data                each part
 *   application/x-www-form-urlencoded  no parts: all fields are in http_form()
 *   anything else                      one part without name and file name
 *
 * Calls for one request: { begin { data } end }, then the route's handler; or
 * aborted in place of all that would follow: malformed body (400), over
 * body_max (413), client gone, a callback that failed, server closing. aborted
 * is called at most once, and never after the last part's end with a good body.
 * Between them the callbacks keep their state in req->upload.
 *
 * A callback returns false to stop: it has answered with http_respond_*()
 * (otherwise 500). The rest of the body is not given to anyone.
 */
enum http_part_use {
	HTTP_PART_STREAM, /* data and end will be called */
	HTTP_PART_FIELD,  /* kept for http_form() */
	HTTP_PART_SKIP,
	HTTP_PART_STOP, /* refused: see above */
};

struct http_part {
	struct str name;     /* terminated; cut at HTTP_NAME_BYTES_MAX; bytes, not checked UTF-8 */
	struct str filename; /* the same; p NULL: the part has none */
	struct str content_type; /* the same */
};

struct http_upload {
	enum http_part_use (*begin)(struct http_request *req, const struct http_part *part,
				    void *arg);
	bool (*data)(struct http_request *req, const void *p, size_t n, void *arg); /* n > 0 */
	bool (*end)(struct http_request *req, void *arg);
	void (*aborted)(struct http_request *req, void *arg); /* may be NULL */
};
#endif
