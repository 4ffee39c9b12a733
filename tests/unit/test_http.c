#include <fcntl.h>
#include <sys/mman.h>
#include "http_client.h"
#include "base/json.h"
#include "http/server.h"

/* One server for all tests here; routes that show what a handler sees. */

static struct http_server *server;
static uint16_t port;
static _Atomic int released;
static _Atomic unsigned done_status, done_count;
static int file_fd;

static void on_echo(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(1024 * 1024);

	(void)arg;
	buf_addf(&out, "%s %s id=" STR_FMT " q=", req->route->name, http_method_name(req->method),
		 STR_ARG(req->params[0]));
	for (size_t i = 0; i < http_query_count(req); i++) {
		struct str name, value;

		http_query_at(req, i, &name, &value);
		buf_addf(&out, "[" STR_FMT "=" STR_FMT "]", STR_ARG(name), STR_ARG(value));
	}
	buf_addf(&out, " body=" STR_FMT, STR_ARG(req->body));
	http_respond_buf(req, 200, &out);
}

static void on_second(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond(req, 200, req->params[1]);
}

static void on_base(struct http_request *req, void *arg)
{
	struct str got = http_header(req, "x-SHOW");

	(void)arg;
	http_respond_header(req, "X-Shown", got.p ? got : STR("-"));
	http_respond_header(req, "X-Remote", req->remote);
	http_respond_arena(req, 200, http_base_url(req));
}

static void on_nothing(struct http_request *req, void *arg)
{
	(void)req;
	(void)arg;
}

static void on_empty(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_static(req, 200, STR(""));
}

static void on_overflow(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(4);

	(void)arg;
	buf_add_z(&out, "12345");
	http_respond_header(req, "Content-Type",
			    STR("text/csv")); /* not of the error that follows */
	http_respond_buf(req, 200, &out);
}

static void file_release(void *arg)
{
	REQUIRE(arg == &released);
	released++;
}

static void on_file(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_header(req, "Content-Type", STR("application/octet-stream"));
	http_respond_header(req, "Content-Disposition",
			    STR("attachment; filename=\"a\r\nX-Bad: 1\""));
	http_respond_fd(req, 200, file_fd, 100, 1000000, file_release, &released);
	http_respond_fd(req, 200, file_fd, 0, 1, file_release,
			&released); /* too late: only released */
}

static void on_big(struct http_request *req, void *arg)
{
	struct buf out = BUF_INIT(100000);

	(void)arg;
	buf_add_z(&out, "{\"a\":\"");
	for (int i = 0; i < 5000; i++)
		buf_add_c(&out, 'a');
	buf_add_z(&out, "\"}");
	http_respond_buf(req, 200, &out);
}

static const struct http_route routes[] = {
	{ .method = HTTP_GET, .pattern = "/f/{id}", .handler = on_echo, .name = "get" },
	{ .method = HTTP_DELETE, .pattern = "/f/{id}", .handler = on_echo, .name = "delete" },
	{ .method = HTTP_GET, .pattern = "/f/special", .handler = on_echo, .name = "special" },
	{ .method = HTTP_GET, .pattern = "/f/special/x", .handler = on_echo, .name = "special_x" },
	{ .method = HTTP_GET, .pattern = "/f/{id}/r/{rel}", .handler = on_second, .name = "rel" },
	{ .method = HTTP_GET, .pattern = "/ui/{path*}", .handler = on_echo, .name = "ui" },
	{ .method = HTTP_POST,
	  .pattern = "/c",
	  .handler = on_echo,
	  .name = "post",
	  .body_max = 1000 },
	{ .method = HTTP_GET, .pattern = "/base", .handler = on_base, .name = "base" },
	{ .method = HTTP_GET, .pattern = "/nothing", .handler = on_nothing, .name = "nothing" },
	{ .method = HTTP_GET, .pattern = "/empty", .handler = on_empty, .name = "empty" },
	{ .method = HTTP_GET, .pattern = "/overflow", .handler = on_overflow, .name = "overflow" },
	{ .method = HTTP_GET, .pattern = "/file", .handler = on_file, .name = "file" },
	{ .method = HTTP_GET, .pattern = "/big", .handler = on_big, .name = "big" },
	{ .method = HTTP_GET, .pattern = "/", .handler = on_echo, .name = "root" },
};

static void on_head(struct http_request *req, void *arg)
{
	(void)arg;
	if (http_header(req, "x-refuse").p)
		http_respond_error(req, 401, "%s is missing", "the key");
}

static void on_error(struct http_request *req, unsigned status, const char *text, void *arg)
{
	char body[512];

	(void)arg;
	snprintf(body, sizeof body, "{\"error\":{\"code\":\"%u\",\"message\":\"%s\"}}", status,
		 text);
	http_respond(req, status, str_of(body));
}

static void on_done(struct http_request *req, const struct http_done *done, void *arg)
{
	(void)req;
	(void)arg;
	done_status = done->status;
	done_count++;
}

static int start(void **state)
{
	struct http_server_options o = { .address = "127.0.0.1", .threads = 2, .gzip_level = 1 };
	struct err err = { 0 };

	(void)state;
	file_fd = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(ftruncate(file_fd, 2000000), 0);
	assert_int_equal(pwrite(file_fd, "begin", 5, 100), 5);
	o.routes = routes;
	o.route_count = COUNT_OF(routes);
	o.on_head = on_head;
	o.on_error = on_error;
	o.on_done = on_done;
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

/* ---- routes and parameters ---- */

static const struct row {
	const char *request_line;
	unsigned status;
	const char *body; /* NULL: an error, in our own form */
} rows[] = {
	{ "GET /f/abc", 200, "get GET id=abc q= body=" },
	{ "GET /f/abc/", 200, "get GET id=abc q= body=" },
	{ "DELETE /f/abc", 200, "delete DELETE id=abc q= body=" },
	{ "GET /f/special", 200, "special GET id= q= body=" },
	{ "GET /f/special/x", 200, "special_x GET id= q= body=" },
	{ "GET /f/special/r/other", 200, "other" }, /* literal first, then the parameter */
	{ "GET /f/sp%65cial", 200, "special GET id= q= body=" },
	{ "GET /f/a%2Fb%20c+d", 200, "get GET id=a/b c+d q= body=" },
	{ "GET /f/%e4%F6", 200, "get GET id=\xe4\xf6 q= body=" },
	{ "GET /ui/a/b%2f/c.js", 200, "ui GET id=a/b//c.js q= body=" },
	{ "GET /ui", 200, "ui GET id= q= body=" },
	{ "GET /ui/", 200, "ui GET id= q= body=" },
	{ "GET /", 200, "root GET id= q= body=" },
	{ "GET /?a=1&a=2&b&c=", 200, "root GET id= q=[a=1][a=2][b=][c=] body=" },
	{ "GET /?f=date%3A3d%2B+x%26y&g=%zz%4&&=e=f", 200,
	  "root GET id= q=[f=date:3d+ x&y][g=%zz%4][=e=f] body=" },
	{ "GET //f/abc", 404, NULL },
	{ "GET /f//", 404, NULL },
	{ "GET /f", 404, NULL },
	{ "GET /f/abc/r", 404, NULL },
	{ "GET /F/abc", 404, NULL },
	{ "GET /f/%zz", 400, NULL },
	{ "GET /f/%", 400, NULL },
	{ "GET /f/a%00b", 400, NULL },
	{ "GET /?a=%00", 400, NULL },
	{ "POST /f/abc", 405, NULL },
	{ "BREW /f/abc", 405, NULL },
	{ "GET /nothing", 500, NULL },
	{ "GET /overflow", 500, NULL },
};

static void test_rows(void **state)
{
	struct client c;
	char request[512];

	(void)state;
	client_connect(&c, port);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct answer a;

		snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n\r\n",
			 rows[i].request_line);
		a = client_ask(&c, request);
		if (a.status != rows[i].status ||
		    (rows[i].body && !str_eq_z(a.body, rows[i].body)) ||
		    (!rows[i].body && !str_starts(a.body, STR("{\"error\":{\"code\":\""))))
			fail_msg("'%s': %u '" STR_FMT "'", rows[i].request_line, a.status,
				 STR_ARG(a.body));
		assert_int_equal(answer_header(&a, "X-Request-Id").n, 16);
		assert_str_is(answer_header(&a, "Content-Type"), "application/json");
	}
	client_close(&c);
}

static void test_too_many_parameters(void **state)
{
	struct client c;
	struct buf request = BUF_INIT(10000);

	(void)state;
	client_connect(&c, port);
	buf_add_z(&request, "GET /?a");
	for (int i = 0; i < HTTP_QUERY_PARAMS_MAX; i++)
		buf_add_z(&request, "&a");
	buf_add_z(&request, " HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(client_ask(&c, request.p).status, 400);
	buf_release(&request);
	client_close(&c);
}

/* A cursor with its filter, and that filter again. */
static void test_long_target(void **state)
{
	struct client c;
	struct buf request = BUF_INIT(100000);

	(void)state;
	client_connect(&c, port);
	buf_add_z(&request, "GET /?cursor=");
	while (request.n < 40000)
		buf_add_z(&request, "0123456789");
	buf_add_z(&request, " HTTP/1.1\r\nHost: x\r\nx-apikey: 0123456789\r\n\r\n");
	for (int i = 0; i < 3; i++)
		assert_int_equal(client_ask(&c, request.p).status, 200);
	buf_release(&request);
	client_close(&c);
}

static void handler_none(struct http_request *req, void *arg)
{
	(void)req;
	(void)arg;
}

static void test_bad_patterns(void **state)
{
	static const char *const bad[] = { "f",      "",        "/a//b",
					   "/{}",    "/{x*}/a", "/a{x}",
					   "/a/%20", "/a/b",    "/{a}/{b}/{c}/{d}/{e}" };
	struct http_router *router = NULL;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct http_route two[2] = {
			{ .pattern = "/a/b", .handler = handler_none },
			{ .pattern = bad[i], .handler = handler_none },
		};
		struct err err = { 0 };

		if (http_router_new(&router, two, 2, &err) != -ERR_INVALID)
			fail_msg("'%s' was taken", bad[i]);
		assert_null(router);
	}
}

/* ---- answers ---- */

static void test_head_options_405(void **state)
{
	struct client c;
	struct answer a;

	(void)state;
	client_connect(&c, port);
	a = client_ask(&c, "HEAD /f/abc HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a.status, 200);
	assert_str_is(answer_header(&a, "Content-Length"), "23");
	a = client_ask(&c, "HEAD /none HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a.status, 404);
	a = client_ask(&c, "OPTIONS /f/abc HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a.status, 200);
	assert_str_is(answer_header(&a, "Allow"), "GET, HEAD, DELETE, OPTIONS");
	assert_int_equal(a.body.n, 0);
	a = client_ask(&c, "PUT /c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	assert_int_equal(a.status, 405);
	assert_str_is(answer_header(&a, "Allow"), "POST, OPTIONS");
	a = client_ask(&c, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a.status, 200);
	assert_str_is(answer_header(&a, "Content-Length"), "0");
	assert_null(answer_header(&a, "Content-Type").p);
	client_close(&c);
}

static void test_base_url_and_headers(void **state)
{
	struct client c;
	struct answer a;
	char want[64];

	(void)state;
	client_connect(&c, port);
	a = client_ask(&c, "GET /base HTTP/1.1\r\nhost: weir.example:8080\r\nX-Show: yes\r\n\r\n");
	assert_str_is(a.body, "http://weir.example:8080");
	assert_str_is(answer_header(&a, "X-Shown"), "yes");
	assert_str_is(answer_header(&a, "X-Remote"), "127.0.0.1");
	/* A proxy's headers are not trusted here, a host that is none is not repeated. */
	a = client_ask(&c, "GET /base HTTP/1.1\r\nHost: a\"b/<x>\r\nX-Forwarded-Host: evil\r\n"
			   "X-Forwarded-For: 9.9.9.9\r\n\r\n");
	snprintf(want, sizeof want, "http://127.0.0.1:%u", port);
	assert_str_is(a.body, want);
	assert_str_is(answer_header(&a, "X-Remote"), "127.0.0.1");
	client_close(&c);
}

static void test_file_range(void **state)
{
	struct client c;
	struct answer a;

	(void)state;
	released = 0;
	client_connect(&c, port);
	for (int i = 0; i < 3; i++) {
		a = client_ask(&c, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
		assert_int_equal(a.status, 200);
		assert_int_equal(a.body.n, 1000000);
		assert_memory_equal(a.body.p, "begin\0", 6);
		assert_null(answer_header(&a, "X-Bad").p);
	}
	a = client_ask(&c, "HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_str_is(answer_header(&a, "Content-Length"), "1000000");
	/* The next answer comes after the end of the one before. */
	assert_int_equal(client_ask(&c, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
	assert_int_equal(released, 8);
	client_close(&c);
}

static void test_gzip(void **state)
{
	struct client c;
	struct answer a;

	(void)state;
	client_connect(&c, port);
	a = client_ask(&c, "GET /big HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br, gzip\r\n\r\n");
	assert_str_is(answer_header(&a, "Content-Encoding"), "gzip");
	assert_in_range(a.body.n, 20, 200);
	assert_memory_equal(a.body.p, "\x1f\x8b", 2);
	a = client_ask(&c, "GET /big HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=0\r\n\r\n");
	assert_int_equal(a.body.n, 5008);
	a = client_ask(&c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a.body.n, 5008);
	assert_null(answer_header(&a, "Content-Encoding").p);
	client_close(&c);
}

static void test_pipeline(void **state)
{
	struct client c;

	(void)state;
	client_connect(&c, port);
	client_send_z(&c, "GET /f/1 HTTP/1.1\r\nHost: x\r\n\r\n"
			  "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
			  "GET /f/2 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_str_is(client_read(&c, false).body, "get GET id=1 q= body=");
	assert_str_is(client_read(&c, false).body, "post POST id= q= body=hi");
	assert_str_is(client_read(&c, false).body, "get GET id=2 q= body=");
	client_close(&c);
}

/* ---- bodies ---- */

static void test_bodies(void **state)
{
	struct client c;
	struct answer a;

	(void)state;
	client_connect(&c, port);
	a = client_ask(&c, "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: 1\r\n\r\n");
	assert_str_is(a.body, "post POST id= q= body=abcdefg");
	a = client_ask(&c, "POST /c HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_str_is(a.body, "post POST id= q= body=");
	a = client_ask(
		&c,
		"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(a.status, 100);
	client_send_z(&c, "ok");
	assert_str_is(client_read(&c, false).body, "post POST id= q= body=ok");
	/* A body where none is expected is read over. */
	a = client_ask(&c, "GET /f/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
	assert_str_is(a.body, "get GET id=1 q= body=");
	/* Refused before the body, with a body that is small: the connection stays. */
	a = client_ask(&c,
		       "POST /c HTTP/1.1\r\nHost: x\r\nX-Refuse: 1\r\nContent-Length: 2\r\n\r\nok");
	assert_int_equal(a.status, 401);
	assert_str_is(a.body, "{\"error\":{\"code\":\"401\",\"message\":\"the key is missing\"}}");
	assert_int_equal(client_ask(&c, "GET /f/1 HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
	client_close(&c);
}

/* One request a connection; each is refused with this status and then a close or not. */
static void test_refused_bodies(void **state)
{
	static const struct {
		const char *head;
		size_t body; /* bytes sent behind it */
		unsigned status;
	} bad[] = {
		{ "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 1001, 413 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 700000000\r\n\r\n", 0, 413 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n", 9000000, 413 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: "
		  "100-continue\r\n\r\n",
		  0, 413 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nX-Refuse: 1\r\nContent-Length: 9000000\r\n\r\n",
		  9000000, 401 },
		{ "GET /f/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 100000, 413 },
		{ "POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n", 3000000,
		  404 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		  2, 400 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: "
		  "chunked\r\n\r\n",
		  1, 400 },
		{ "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 1, 400 },
	};
	char *zeros = calloc(1, 9000000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct client c;
		struct answer a;

		client_connect(&c, port);
		client_send_z(&c, bad[i].head);
		client_send(&c, zeros, bad[i].body);
		a = client_read(&c, false);
		if (a.status != bad[i].status || !str_starts(a.body, STR("{\"error\"")))
			fail_msg("row %zu: %u '" STR_FMT "'", i, a.status, STR_ARG(a.body));
		client_close(&c);
	}
	free(zeros);
}

/* Without a length it is only seen on the way; 10 MB are sent whatever comes back. */
static void test_chunked_too_large(void **state)
{
	struct client c;
	char *chunk = calloc(1, 65536 + 2);
	struct answer a;

	(void)state;
	memcpy(chunk + 65536, "\r\n", 2);
	client_connect(&c, port);
	client_send_z(&c, "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 160; i++) {
		client_send_z(&c, "10000\r\n");
		client_send(&c, chunk, 65536 + 2);
	}
	a = client_read(&c, false);
	assert_int_equal(a.status, 413);
	assert_str_is(a.body,
		      "{\"error\":{\"code\":\"413\",\"message\":\"The body is too large\"}}");
	assert_int_equal(client_read(&c, false).status, 0);
	client_close(&c);
	free(chunk);
}

/* What libmicrohttpd refuses itself: it answers and closes, and we go on. */
static void test_broken_heads(void **state)
{
	static const char *const bad[] = {
		"\x16\x03\x01\x02\r\n\r\n",
		"GET\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
		"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct buf head = BUF_INIT(1024 * 1024);
	struct client c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		client_connect(&c, port);
		client_send_z(&c, bad[i]);
		shutdown(c.fd, SHUT_WR);
		while (client_more(&c))
			;
		client_close(&c);
	}
	buf_add_z(&head, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
	while (head.n < 300000)
		buf_add_c(&head, 'x');
	client_connect(&c, port);
	(void)!send(c.fd, head.p, head.n, MSG_NOSIGNAL);
	while (client_more(&c))
		;
	client_close(&c);
	client_connect(&c, port);
	assert_int_equal(client_ask(&c, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
	client_close(&c);
	buf_release(&head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_too_many_parameters),
		cmocka_unit_test(test_long_target),
		cmocka_unit_test(test_bad_patterns),
		cmocka_unit_test(test_head_options_405),
		cmocka_unit_test(test_base_url_and_headers),
		cmocka_unit_test(test_file_range),
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_pipeline),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_refused_bodies),
		cmocka_unit_test(test_chunked_too_large),
		cmocka_unit_test(test_broken_heads),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
