#include "http_client.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "http/server.h"
#include "http/upload.h"

/* Uploads: the transcript of callbacks is the answer, so tests compare one text. */

static struct http_server *server;
static uint16_t port;
static _Atomic unsigned begun_count, aborted_count;

struct state {
	struct buf transcript;
};

static void state_free(void *p)
{
	struct state *state = p;

	buf_release(&state->transcript);
}

static struct state *state_of(struct http_request *req)
{
	if (!req->upload) {
		struct state *state = arena_must(req->arena, sizeof *state);

		buf_init(&state->transcript, 32 * 1024 * 1024);
		arena_on_free(req->arena, state_free, state);
		req->upload = state;
	}
	return req->upload;
}

static void add_name(struct buf *b, struct str s)
{
	if (s.p)
		buf_addf(b, "<" STR_FMT ">", STR_ARG(s));
	else
		buf_add_z(b, "-");
}

static enum http_part_use on_begin(struct http_request *req, const struct http_part *part,
				   void *arg)
{
	struct buf *b = &state_of(req)->transcript;

	(void)arg;
	begun_count++;
	if (str_eq_z(part->name, "refuse")) {
		http_respond_error(req, 403, "not here");
		return HTTP_PART_STOP;
	}
	if (str_eq_z(part->name, "stop"))
		return HTTP_PART_STOP;
	if (str_eq_z(part->name, "skip"))
		return HTTP_PART_SKIP;
	if (part->name.p && !part->filename.p && !str_eq_z(part->name, "file"))
		return HTTP_PART_FIELD;
	buf_add_z(b, "begin ");
	add_name(b, part->name);
	add_name(b, part->filename);
	add_name(b, part->content_type);
	buf_add_c(b, ' ');
	return HTTP_PART_STREAM;
}

static bool on_data(struct http_request *req, const void *p, size_t n, void *arg)
{
	(void)arg;
	REQUIRE(n > 0);
	if (n >= 4 && memmem(p, n, "FAIL", 4))
		return false;
	buf_add(&state_of(req)->transcript, p, n);
	return true;
}

static bool on_end(struct http_request *req, void *arg)
{
	(void)arg;
	buf_add_z(&state_of(req)->transcript, " end;");
	return true;
}

static void on_aborted(struct http_request *req, void *arg)
{
	(void)req;
	(void)arg;
	aborted_count++;
}

static const struct http_upload upload = { on_begin, on_data, on_end, on_aborted };

static void on_uploaded(struct http_request *req, void *arg)
{
	struct buf *b = &state_of(req)->transcript;
	struct str password = http_form(req, "password");

	(void)arg;
	if (password.p)
		buf_addf(b, "password=" STR_FMT, STR_ARG(password));
	http_respond_header(req, "Content-Type", STR("text/plain"));
	http_respond_buf(req, 200, b);
}

static const struct http_route routes[] = {
	{ .method = HTTP_POST,
	  .pattern = "/files",
	  .handler = on_uploaded,
	  .upload = &upload,
	  .body_max = 8 * 1024 * 1024 },
};

static void on_error(struct http_request *req, unsigned status, const char *text, void *arg)
{
	(void)arg;
	http_respond(req, status, str_of(text));
}

static int start(void **state)
{
	struct http_server_options o = {
		.address = "127.0.0.1",
		.threads = 1,
		.routes = routes,
		.route_count = COUNT_OF(routes),
		.on_error = on_error,
	};
	struct err err = { 0 };

	(void)state;
	if (http_server_open(&server, &o, &err) != 0)
		fail_msg("%s", err.msg);
	port = http_server_port(server);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	http_server_close(server, 1000);
	return 0;
}

/* Post body with this content type; split > 0: as two chunks, cut there. */
static struct answer post(struct client *c, const char *type, struct str body, size_t split)
{
	struct buf b = BUF_INIT(32 * 1024 * 1024);
	struct answer a;

	buf_addf(&b, "POST /files HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n", type);
	if (split == 0 || split >= body.n) {
		buf_addf(&b, "Content-Length: %zu\r\n\r\n", body.n);
		buf_add_str(&b, body);
	} else {
		buf_addf(&b, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", split);
		buf_add(&b, body.p, split);
		buf_addf(&b, "\r\n%zx\r\n", body.n - split);
		buf_add(&b, body.p + split, body.n - split);
		buf_add_z(&b, "\r\n0\r\n\r\n");
	}
	client_send(c, b.p, b.n);
	a = client_read(c, false);
	buf_release(&b);
	return a;
}

#define TYPE "multipart/form-data; boundary=XyZ"

static const struct {
	const char *name;
	const char *body;
	const char *want;
} good[] = {
	{ "plain",
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.exe\"\r\n"
	  "Content-Type: application/octet-stream\r\n\r\nMZ\r\n--XyZ--\r\n",
	  "begin <file><a.exe><application/octet-stream> MZ end;" },
	{ "fields, preamble, epilogue, padding",
	  "hello\r\n--XyZ  \r\ncontent-disposition:form-data;name=password\r\n\r\nin\r\nfe\r\n"
	  "--XyZ\t\r\nContent-Disposition: form-data; filename=b; "
	  "name=file\r\n\r\nx\r\n--XyZ--bye\r\n--XyZ\r\n",
	  "begin <file><b>- x end;password=in\r\nfe" },
	{ "nearly a boundary",
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
	  "\r\n-\r\n--Xy\r\r\n--X\r\n\r\n--\n--XyZ\r\r\n--XyZ--",
	  "begin <file>-- \r\n-\r\n--Xy\r\r\n--X\r\n\r\n--\n--XyZ\r end;" },
	{ "empty parts, with and without their line end",
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n"
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"e\"\r\n\r\n"
	  "--XyZ--\r\n",
	  "begin <file><>-  end;begin <file><e>-  end;" },
	{ "same name twice, one skipped between",
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n1\r\n"
	  "--XyZ\r\nContent-Disposition: form-data; name=\"skip\"\r\n\r\nFAIL\r\n"
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n2\r\n--XyZ--\r\n",
	  "begin <file>-- 1 end;begin <file>-- 2 end;" },
	{ "names with quotes, backslashes, semicolons, other bytes",
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; "
	  "filename=\"C:\\dir\\a\\\"b; name=\\\\x\xff\xc3\"\r\n\r\n1\r\n--XyZ--\r\n",
	  "begin <file><C:\\dir\\a\"b; name=\\x\xff\xc3>- 1 end;" },
	{ "the extended name wins",
	  "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"; "
	  "filename*=utf-8''na%C3%AFve.exe\r\n\r\n1\r\n--XyZ--\r\n",
	  "begin <file><na\xc3\xafve.exe>- 1 end;" },
	{ "no parts", "--XyZ--\r\n", "" },
};

static void test_good_at_every_split(void **state)
{
	struct client c;

	(void)state;
	client_connect(&c, port);
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct str body = str_of(good[i].body);

		for (size_t split = 0; split < body.n; split++) {
			struct answer a = post(&c, TYPE, body, split);

			if (a.status != 200 || !str_eq_z(a.body, good[i].want))
				fail_msg("'%s' at %zu: %u '" STR_FMT "'", good[i].name, split,
					 a.status, STR_ARG(a.body));
		}
	}
	assert_int_equal(aborted_count, 0);
	client_close(&c);
}

static void test_other_types(void **state)
{
	struct client c;
	struct answer a;

	(void)state;
	client_connect(&c, port);
	a = post(&c, "application/octet-stream", STR("raw bytes"), 3);
	assert_str_is(a.body, "begin --<application/octet-stream> raw bytes end;");
	a = post(&c, "application/x-www-form-urlencoded", STR("a=b&password=x%26+y==&c"), 5);
	assert_str_is(a.body, "password=x& y==");
	a = post(&c, "multipart/form-data; charset=x; boundary=\"a b\"",
		 STR("--a b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n1\r\n--a b--"),
		 0);
	assert_str_is(a.body, "begin <file>-- 1 end;");
	client_close(&c);
}

#define DISPOSITION "--XyZ\r\nContent-Disposition: form-data; name="

/* The connection stays, as the body is small. */
static void test_bad(void **state)
{
	static const struct {
		const char *type;
		const char *body;
		unsigned status;
		unsigned aborted;
	} bad[] = {
		{ TYPE, "", 400, 1 },
		{ TYPE, "garbage", 400, 1 },
		{ TYPE, DISPOSITION "\"file\"\r\n\r\n1\r\n", 400, 1 },
		{ TYPE, DISPOSITION "\"file\"\r\n\r\n1\r\n--XyZ", 400, 1 },
		{ TYPE, DISPOSITION "\"file\"\r\n\r\n1\r\n--XyZa\r\n", 400, 1 },
		{ TYPE, DISPOSITION "\"file\"\r\n\r\n1\r\n--XyZ-a", 400, 1 },
		{ TYPE, DISPOSITION "\"file\"\r\n", 400, 1 },
		{ TYPE, "--XyZ\r\nX: y\r\n\r\n1\r\n--XyZ--", 400, 1 },
		{ TYPE, "--XyZ\r\n\r\n1\r\n--XyZ--", 400, 1 },
		{ TYPE, DISPOSITION "f; filename*=a''x%00y\r\n\r\n1\r\n--XyZ--", 400, 1 },
		{ TYPE, DISPOSITION "refuse\r\n\r\n1\r\n--XyZ--", 403, 1 },
		{ TYPE, DISPOSITION "stop\r\n\r\n1\r\n--XyZ--", 500, 1 },
		{ TYPE, DISPOSITION "file\r\n\r\nFAIL\r\n--XyZ--", 500, 1 },
		{ "multipart/form-data", "x", 400, 1 },
		{ "multipart/form-data; boundary=\"\"", "x", 400, 1 },
		{ "application/x-www-form-urlencoded", "a=%00", 400, 0 },
	};
	struct client c;

	(void)state;
	client_connect(&c, port);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct answer a;

		aborted_count = 0;
		a = post(&c, bad[i].type, str_of(bad[i].body), 0);
		if (a.status != bad[i].status || aborted_count != bad[i].aborted)
			fail_msg("row %zu: %u, aborted %u", i, a.status, aborted_count);
	}
	aborted_count = 0;
	client_close(&c);
}

static void add_part(struct buf *b, const char *name, size_t n)
{
	buf_addf(b, "--XyZ\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n", name);
	memset(buf_reserve(b, n), 'd', n);
	b->n += n;
	buf_add_z(b, "\r\n");
}

static void test_limits(void **state)
{
	struct buf b = BUF_INIT(32 * 1024 * 1024);
	struct client c;
	struct answer a;

	(void)state;
	client_connect(&c, port);
	for (int i = 0; i < 101; i++)
		add_part(&b, i < 50 ? "skip" : "password", 1);
	assert_int_equal(post(&c, TYPE, buf_str(&b), 0).status, 400);
	buf_reset(&b);
	add_part(&b, "a", 600 * 1024);
	add_part(&b, "b", 600 * 1024);
	buf_add_z(&b, "--XyZ--");
	assert_int_equal(post(&c, TYPE, buf_str(&b), 0).status, 413);
	buf_reset(&b);
	buf_addf(&b, "--XyZ\r\nContent-Disposition: form-data; filename=\"");
	memset(buf_reserve(&b, 3000), 'n', 3000);
	b.n += 3000;
	buf_add_z(&b, "\"\r\n\r\n1\r\n--XyZ--");
	a = post(&c, TYPE, buf_str(&b), 100);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.body.n, strlen("begin -<>- 1 end;") + HTTP_NAME_BYTES_MAX);
	buf_reset(&b);
	buf_add_z(&b, "--XyZ\r\nX: ");
	memset(buf_reserve(&b, 20000), 'n', 20000);
	b.n += 20000;
	assert_int_equal(post(&c, TYPE, buf_str(&b), 0).status, 400);
	client_close(&c);
	buf_release(&b);
	aborted_count = 0;
}

/* 7 MB come through whole; a failure in the middle of them is answered at once. */
static void test_large(void **state)
{
	struct buf b = BUF_INIT(32 * 1024 * 1024);
	struct client c;
	struct answer a;

	(void)state;
	client_connect(&c, port);
	add_part(&b, "file", 7 * 1024 * 1024);
	for (size_t i = 100; i < 7 * 1024 * 1024; i++)
		b.p[i] = (char)(i * 2654435761U >> 13);
	memcpy(b.p + 5000000, "\r\n--XyY\r\n--", 11);
	buf_add_z(&b, "--XyZ--\r\n");
	a = post(&c, TYPE, buf_str(&b), 0);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.body.n, 7 * 1024 * 1024 + strlen("begin <file>--  end;"));
	assert_memory_equal(a.body.p + a.body.n - 5 - 2000000, b.p + b.n - 2 - 9 - 2000000,
			    2000000);
	aborted_count = 0;
	memcpy(b.p + 1000000, "FAIL", 4);
	memcpy(b.p + 1000000 - 20, "\r\nFAILFAILFAILFAILFA", 20);
	a = post(&c, TYPE, buf_str(&b), 0);
	assert_int_equal(a.status, 500);
	assert_str_is(a.body, "The upload failed");
	assert_int_equal(client_read(&c, false).status, 0);
	assert_int_equal(aborted_count, 1);
	client_close(&c);
	buf_release(&b);
}

/* Each round trip lets the one loop look at its sockets. */
static void round_trips_until(const _Atomic unsigned *count)
{
	struct client c;

	for (int i = 0; i < 10000 && *count == 0; i++) {
		client_connect(&c, port);
		assert_int_equal(client_ask(&c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
		client_close(&c);
	}
	assert_int_equal(*count, 1);
}

static void test_client_gone(void **state)
{
	struct client c;

	(void)state;
	aborted_count = begun_count = 0;
	client_connect(&c, port);
	client_send_z(&c, "POST /files HTTP/1.1\r\nHost: x\r\nContent-Type: " TYPE
			  "\r\nContent-Length: 5000\r\n\r\n" DISPOSITION "file\r\n\r\nabc");
	round_trips_until(&begun_count);
	client_close(&c);
	round_trips_until(&aborted_count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_at_every_split),
		cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_client_gone),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
