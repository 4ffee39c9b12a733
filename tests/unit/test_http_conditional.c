#include <fcntl.h>
#include <sys/mman.h>
#include <zlib.h>
#include "http_client.h"
#include "http/server.h"
#include "http/upload.h"

/* Conditional requests, ranges and both directions of gzip, against a server of this file. */

enum {
	FILE_BYTES = 100000,
	FILE_OFFSET = 100,
	BODY_MAX = 100000,
	FILE_DATE_S = 784111777, /* Sun, 06 Nov 1994 08:49:37 GMT */
};

static struct http_server *server;
static uint16_t port;
static int file_fd;
static _Atomic int released;
static _Atomic int version; /* of the report's body */

static void on_report(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(100000);

	(void)arg;
	buf_addf(&out, "{\"version\":%d,\"text\":\"", (int)version);
	for (int i = 0; i < 3000; i++)
		buf_add_c(&out, 'a');
	buf_add_z(&out, "\"}");
	http_respond_etag_of_body(req);
	http_respond_buf(req, 200, &out);
}

static void on_plain(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_static(req, 200, STR("{}"));
}

static void on_release(void *arg)
{
	(void)arg;
	released++;
}

static void on_file(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_header(req, "Content-Type", STR("application/octet-stream"));
	http_respond_etag(req, STR("abc"));
	http_respond_modified(req, FILE_DATE_S);
	http_respond_fd(req, 200, file_fd, FILE_OFFSET, FILE_BYTES, on_release, NULL);
}

static void on_empty_file(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_etag(req, STR("none"));
	http_respond_fd(req, 200, file_fd, 0, 0, on_release, NULL);
}

static void on_echo(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond(req, 200, req->body);
}

/* An upload that counts. */
static enum http_part_use up_begin(struct http_request *req, const struct http_part *part,
				   void *arg)
{
	(void)part;
	(void)arg;
	if (!req->upload)
		req->upload = arena_must(req->arena, sizeof(uint64_t));
	return HTTP_PART_STREAM;
}

static bool up_data(struct http_request *req, const void *p, size_t n, void *arg)
{
	(void)p;
	(void)arg;
	*(uint64_t *)req->upload += n;
	return true;
}

static bool up_end(struct http_request *req, void *arg)
{
	(void)req;
	(void)arg;
	return true;
}

static _Atomic int aborted;

static void up_aborted(struct http_request *req, void *arg)
{
	(void)req;
	(void)arg;
	aborted++;
}

static const struct http_upload upload = { up_begin, up_data, up_end, up_aborted };

static void on_upload(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(100);

	(void)arg;
	buf_addf(&out, "%llu", (unsigned long long)*(uint64_t *)req->upload);
	http_respond_buf(req, 200, &out);
}

static const struct http_route routes[] = {
	{ .method = HTTP_GET, .pattern = "/report", .handler = on_report },
	{ .method = HTTP_GET, .pattern = "/plain", .handler = on_plain },
	{ .method = HTTP_GET, .pattern = "/file", .handler = on_file },
	{ .method = HTTP_GET, .pattern = "/empty", .handler = on_empty_file },
	{ .method = HTTP_POST, .pattern = "/echo", .handler = on_echo, .body_max = BODY_MAX },
	{ .method = HTTP_POST,
	  .pattern = "/upload",
	  .handler = on_upload,
	  .upload = &upload,
	  .body_max = BODY_MAX },
	{ .method = HTTP_POST, .pattern = "/nobody", .handler = on_plain },
};

static void on_error(struct http_request *req, unsigned status, const char *text, void *arg)
{
	(void)arg;
	http_respond(req, status, str_of(text));
}

static int start(void **state)
{
	struct http_server_options o = { .address = "127.0.0.1",
					 .threads = 2,
					 .gzip_level = 1,
					 .routes = routes,
					 .route_count = COUNT_OF(routes),
					 .on_error = on_error };
	struct err err = { 0 };

	(void)state;
	file_fd = memfd_create("file", MFD_CLOEXEC);
	for (int i = 0; i < FILE_BYTES; i++) {
		char c = (char)(i % 251);

		assert_int_equal(pwrite(file_fd, &c, 1, FILE_OFFSET + i), 1);
	}
	if (http_server_open(&server, &o, &err) != 0)
		fail_msg("%s", err.msg);
	port = http_server_port(server);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	http_server_close(server, 1000);
	close(file_fd);
	return 0;
}

/* ---- conditions ---- */

/* One GET (or what the row says) with these header lines. */
static struct answer ask(struct client *c, const char *line, const char *headers)
{
	char request[1024];

	snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n%s%s\r\n", line, headers,
		 headers[0] ? "\r\n" : "");
	return client_ask(c, request);
}

static const struct condition_row {
	const char *line;
	const char *headers;
	unsigned status;
} condition_rows[] = {
	{ "GET /file", "If-None-Match: \"abc\"", 304 },
	{ "GET /file", "If-None-Match: W/\"abc\"", 304 },
	{ "GET /file", "If-None-Match: *", 304 },
	{ "GET /file", "If-None-Match: \"x\", \"abc\"", 304 },
	{ "GET /file", "If-None-Match: \"x\"", 200 },
	{ "GET /file", "If-None-Match: abc", 200 },
	{ "HEAD /file", "If-None-Match: \"abc\"", 304 },
	{ "GET /file", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 304 },
	{ "GET /file", "If-Modified-Since: Sun Nov  6 08:49:38 1994", 304 },
	{ "GET /file", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 200 },
	{ "GET /file", "If-Modified-Since: yesterday", 200 },
	/* The tag outweighs the date. */
	{ "GET /file", "If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
	  200 },
	{ "GET /file", "If-Match: \"abc\"", 200 },
	{ "GET /file", "If-Match: *", 200 },
	{ "GET /file", "If-Match: W/\"abc\"", 412 },
	{ "GET /file", "If-Match: \"x\"", 412 },
	{ "HEAD /file", "If-Match: \"x\"", 412 },
	{ "GET /file", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200 },
	{ "GET /file", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 412 },
	{ "GET /file", "If-Match: \"abc\"\r\nIf-None-Match: \"abc\"", 304 },
	{ "GET /file", "If-Match: \"x\"\r\nIf-None-Match: \"abc\"", 412 },
	/* Ranges. */
	{ "GET /file", "Range: bytes=0-0", 206 },
	{ "GET /file", "Range: bytes=99999-", 206 },
	{ "GET /file", "Range: bytes=0-9,20-29", 200 },
	{ "GET /file", "Range: lines=0-9", 200 },
	{ "GET /file", "Range: bytes=100000-", 416 },
	{ "HEAD /file", "Range: bytes=0-0", 200 },
	{ "GET /report", "Range: bytes=0-0", 200 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-None-Match: \"abc\"", 304 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Match: \"x\"", 412 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Range: \"abc\"", 206 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Range: W/\"abc\"", 200 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Range: \"x\"", 200 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT", 206 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT", 200 },
	{ "GET /file", "Range: bytes=0-9\r\nIf-Range: then", 200 },
	{ "GET /empty", "Range: bytes=0-", 416 },
	{ "GET /empty", "If-None-Match: \"none\"", 304 },
	/* What has no validator has no conditions that hold. */
	{ "GET /plain", "If-None-Match: \"x\"", 200 },
	{ "GET /plain", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200 },
	{ "GET /plain", "If-Match: \"x\"", 412 },
	/* An answer that is not 200 stays what it is. */
	{ "GET /missing", "If-None-Match: *", 404 },
	{ "GET /missing", "If-Match: \"x\"", 404 },
};

static void test_conditions(void **state)
{
	struct client c;
	int before = released, files = 0;

	(void)state;
	client_connect(&c, port);
	for (size_t i = 0; i < COUNT_OF(condition_rows); i++) {
		const struct condition_row *r = &condition_rows[i];
		/* To a 304 Content-Length says what the 200 would have had. */
		bool no_body = r->status == 304 || strncmp(r->line, "HEAD", 4) == 0;
		char request[1024];
		struct answer a;

		files += strstr(r->line, "/file") || strstr(r->line, "/empty");
		snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", r->line,
			 r->headers);
		client_send_z(&c, request);
		a = client_read(&c, no_body);
		if (a.status != r->status)
			fail_msg("'%s' with '%s': %u", r->line, r->headers, a.status);
		if (r->status == 304 && strstr(r->line, "/file")) {
			assert_str_is(answer_header(&a, "ETag"), "\"abc\"");
			assert_str_is(answer_header(&a, "Last-Modified"),
				      "Sun, 06 Nov 1994 08:49:37 GMT");
			assert_str_is(answer_header(&a, "Content-Length"), "100000");
		}
	}
	/* The last one's end follows its answer: ask once more. */
	assert_int_equal(ask(&c, "GET /plain", "").status, 200);
	assert_int_equal(released - before, files);
	client_close(&c);
}

static void test_ranges(void **state)
{
	static const struct {
		const char *range;
		size_t from, n;
	} rows[] = {
		{ "bytes=0-9", 0, 10 },           { "bytes=-1", 99999, 1 },
		{ "bytes=50000-", 50000, 50000 }, { "bytes=0-99999999", 0, 100000 },
		{ "bytes=10-19,0-9", 0, 20 },
	};
	struct client c;

	(void)state;
	client_connect(&c, port);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char header[100], want[100];
		struct answer a;

		snprintf(header, sizeof header, "Range: %s", rows[i].range);
		snprintf(want, sizeof want, "bytes %zu-%zu/100000", rows[i].from,
			 rows[i].from + rows[i].n - 1);
		a = ask(&c, "GET /file", header);
		assert_int_equal(a.status, 206);
		assert_str_is(answer_header(&a, "Content-Range"), want);
		assert_str_is(answer_header(&a, "ETag"), "\"abc\"");
		assert_int_equal(a.body.n, rows[i].n);
		for (size_t k = 0; k < a.body.n; k++)
			assert_int_equal((unsigned char)a.body.p[k], (rows[i].from + k) % 251);
	}
	{
		struct answer a = ask(&c, "GET /file", "Range: bytes=100000-");

		assert_str_is(answer_header(&a, "Content-Range"), "bytes */100000");
		assert_str_is(answer_header(&a, "Content-Type"), "application/json");
		a = ask(&c, "GET /file", "");
		assert_str_is(answer_header(&a, "Accept-Ranges"), "bytes");
		assert_str_is(answer_header(&a, "Cache-Control"), "private, no-cache");
	}
	client_close(&c);
}

/* Into out, terminated. */
static void header_copy(const struct answer *a, const char *name, char *out, size_t room)
{
	struct str v = answer_header(a, name);

	snprintf(out, room, STR_FMT, STR_ARG(v));
}

static void test_tag_of_a_body(void **state)
{
	struct client c;
	char plain[100], coded[100], later[100], header[300];
	struct answer a;

	(void)state;
	client_connect(&c, port);
	a = ask(&c, "GET /report", "");
	header_copy(&a, "ETag", plain, sizeof plain);
	assert_int_equal(strlen(plain), 34);
	assert_str_is(answer_header(&a, "Vary"), "Accept-Encoding");
	a = ask(&c, "GET /report", "Accept-Encoding: gzip");
	assert_str_is(answer_header(&a, "Content-Encoding"), "gzip");
	assert_str_is(answer_header(&a, "Vary"), "Accept-Encoding");
	header_copy(&a, "ETag", coded, sizeof coded);
	assert_string_not_equal(plain, coded);
	/* Either is known again, whatever is accepted now. */
	for (int i = 0; i < 4; i++) {
		snprintf(header, sizeof header, "If-None-Match: %s%s", i % 2 ? plain : coded,
			 i / 2 ? "\r\nAccept-Encoding: gzip" : "");
		client_send_z(&c, "GET /report HTTP/1.1\r\nHost: x\r\n");
		client_send_z(&c, header);
		client_send_z(&c, "\r\n\r\n");
		a = client_read(&c, true);
		/* But the compressed one only to those who accept it. */
		assert_int_equal(a.status, i == 0 ? 200 : 304);
		if (i == 0) { /* its body was not read */
			client_close(&c);
			client_connect(&c, port);
		}
	}
	version++;
	a = ask(&c, "GET /report", "");
	header_copy(&a, "ETag", later, sizeof later);
	assert_string_not_equal(plain, later);
	snprintf(header, sizeof header, "If-None-Match: %s", plain);
	assert_int_equal(ask(&c, "GET /report", header).status, 200);
	version--;
	a = ask(&c, "GET /report", "");
	assert_str_is(answer_header(&a, "ETag"), plain);
	client_close(&c);
}

/* ---- bodies ---- */

/* gzip members, one after the other. */
static size_t gzip(const void *p, size_t n, unsigned char *out, size_t room)
{
	z_stream z = { 0 };
	union {
		const void *from;
		Bytef *to;
	} in = { .from = p };

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = in.to;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = (uInt)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static struct answer post(struct client *c, const char *path, const char *headers, const void *p,
			  size_t n)
{
	char head[512];

	client_connect(c, port);
	snprintf(head, sizeof head,
		 "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %zu\r\n\r\n", path, headers,
		 n);
	client_send_z(c, head);
	client_send(c, p, n);
	return client_read(c, false);
}

#define GZIP "Content-Encoding: gzip"

static void test_gzip_bodies(void **state)
{
	static unsigned char z[200000];
	struct client c;
	struct answer a;
	size_t n, first;
	char *zeros = calloc(1, 50 * 1000 * 1000);

	(void)state;
	n = gzip("hello", 5, z, sizeof z);
	assert_str_is(post(&c, "/echo", GZIP, z, n).body, "hello");
	client_close(&c);
	assert_str_is(post(&c, "/echo", "content-encoding: X-GZIP", z, n).body, "hello");
	client_close(&c);
	assert_str_is(post(&c, "/upload", GZIP, z, n).body, "5");
	client_close(&c);
	/* In two members; then with something else behind it. */
	first = n;
	n += gzip(" world", 6, z + n, sizeof z - n);
	assert_str_is(post(&c, "/echo", GZIP, z, n).body, "hello world");
	client_close(&c);
	memcpy(z + first, "junk", 4);
	a = post(&c, "/echo", GZIP, z, first + 4);
	assert_int_equal(a.status, 400);
	client_close(&c);
	/* Cut, at each place. */
	for (size_t i = 0; i < first; i++) {
		assert_int_equal(post(&c, "/echo", GZIP, z, i).status, 400);
		client_close(&c);
	}
	/* With a wrong checksum, and no gzip at all. */
	z[first - 5] ^= 1;
	assert_int_equal(post(&c, "/echo", GZIP, z, first).status, 400);
	client_close(&c);
	assert_str_is(post(&c, "/echo", GZIP, "hello", 5).body, "The body is not valid gzip");
	client_close(&c);
	/* As large as allowed, and what goes beyond: the limit is of the expanded bytes. */
	n = gzip(zeros, BODY_MAX, z, sizeof z);
	assert_int_equal(post(&c, "/echo", GZIP, z, n).body.n, BODY_MAX);
	client_close(&c);
	n = gzip(zeros, BODY_MAX + 1, z, sizeof z);
	assert_int_equal(post(&c, "/echo", GZIP, z, n).status, 413);
	client_close(&c);
	n = gzip(zeros, 50 * 1000 * 1000, z, sizeof z);
	assert_true(n < BODY_MAX);
	assert_int_equal(post(&c, "/echo", GZIP, z, n).status, 413);
	client_close(&c);
	aborted = 0;
	assert_int_equal(post(&c, "/upload", GZIP, z, n).status, 413);
	assert_int_equal(aborted, 1);
	client_close(&c);
	/* Where no body is looked at, its coding is not either. */
	assert_int_equal(post(&c, "/nobody", GZIP, "hello", 5).status, 200);
	client_close(&c);
	free(zeros);
}

static void test_other_codings(void **state)
{
	static const char *const codings[] = { "br", "deflate", "gzip, gzip", "zstd", "gzip;q=1" };
	struct client c;

	(void)state;
	assert_str_is(post(&c, "/echo", "Content-Encoding: identity", "hello", 5).body, "hello");
	client_close(&c);
	for (size_t i = 0; i < COUNT_OF(codings); i++) {
		char header[100];
		struct answer a;

		snprintf(header, sizeof header, "Content-Encoding: %s", codings[i]);
		a = post(&c, "/echo", header, "hello", 5);
		assert_int_equal(a.status, 415);
		assert_str_is(answer_header(&a, "Accept-Encoding"), "gzip, identity");
		client_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conditions),    cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_tag_of_a_body), cmocka_unit_test(test_gzip_bodies),
		cmocka_unit_test(test_other_codings),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
