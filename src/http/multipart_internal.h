#ifndef HTTP_MULTIPART_INTERNAL_H
#define HTTP_MULTIPART_INTERNAL_H
#include "base/arena.h"
#include "base/str.h"

/*
 * multipart/form-data (RFC 7578, RFC 2046 section 5.1) as it arrives, in pieces
 * of any size. libmicrohttpd's post processor is not used because it drops
 * names without quotes, cuts names at an escaped quote, refuses an epilogue,
 * and copies every byte.
 *
 * Data is handed over in place. What is refused: a boundary line that goes on,
 * a part without Content-Disposition, headers over MULTIPART_HEADER_BYTES_MAX,
 * over MULTIPART_PARTS_MAX parts, NUL in a name, an end before the closing boundary.
 */
struct multipart;
struct http_part;

struct multipart_calls {
	/* Each returns false to stop; multipart_feed then returns MULTIPART_STOPPED. */
	bool (*begin)(void *arg, const struct http_part *part);
	bool (*data)(void *arg, const char *p, size_t n);
	bool (*end)(void *arg);
};

enum {
	MULTIPART_BOUNDARY_MAX = 200,           /* RFC 2046 allows 70 */
	MULTIPART_HEADER_BYTES_MAX = 16 * 1024, /* of one part; a file name with a long path fits */
	MULTIPART_PARTS_MAX = 100,              /* each takes memory of the request */
};
enum multipart_result {
	MULTIPART_OK,
	MULTIPART_MALFORMED,
	MULTIPART_STOPPED
};

/* In the arena. NULL: content_type is multipart without a usable boundary. */
struct multipart *multipart_new(struct arena *a, struct str content_type,
				const struct multipart_calls *calls, void *arg);
enum multipart_result multipart_feed(struct multipart *m, const char *p, size_t n);
bool multipart_done(const struct multipart *m); /* the closing boundary was seen */

/*
 * One parameter of a header value ("form-data; name=\"x\""): token or quoted
 * string, any case of the name. Into the arena, terminated; p NULL if absent.
 */
struct str header_param(struct arena *a, struct str value, const char *name);
#endif
