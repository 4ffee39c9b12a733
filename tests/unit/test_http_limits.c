#include "http_client.h"

#include <fcntl.h>
#include <gnutls/x509.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "address_internal.h"
#include "base/metric.h"
#include "http/server.h"

/*
 * What is refused before it is a request, who is cut for being slow, and how many
 * an address may be. Each test has a server of its own.
 */

enum {
	FILE_BYTES =
		64 * 1024 * 1024 /* more than the kernel keeps for a client that does not read */
};

static struct http_server *server;
static uint16_t port;
static int file_fd = -1;

static void on_now(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_static(req, 200, STR("{}"));
}

static void on_file(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_fd(req, 200, file_fd, 0, FILE_BYTES, NULL, NULL);
}

static const struct http_route routes[] = {
	{ .method = HTTP_GET, .pattern = "/now", .handler = on_now },
	{ .method = HTTP_GET, .pattern = "/file", .handler = on_file },
	{ .method = HTTP_POST, .pattern = "/body", .handler = on_now, .body_max = 1000000 },
};

static void on_error(struct http_request *req, unsigned status, const char *text, void *arg)
{
	(void)arg;
	http_respond(req, status, str_of(text));
}

static void on_refused(struct buf *out, unsigned status, const char *text, const char *remote,
		       void *arg)
{
	(void)arg;
	assert_string_equal(remote, "127.0.0.1");
	buf_addf(out, "{\"%u\":\"%s\"}", status, text);
}

static void start_with(struct http_server_options o)
{
	struct err err = { 0 };

	o.address = "127.0.0.1";
	o.threads = 1;
	o.routes = routes;
	o.route_count = COUNT_OF(routes);
	o.on_error = on_error;
	o.on_refused = on_refused;
	if (http_server_open(&server, &o, &err) != 0)
		fail_msg("%s", err.msg);
	port = http_server_port(server);
}

/* ---- no requests ---- */

static const struct refused_row {
	const char *sent;
	unsigned status;
} refused_rows[] = {
	{ "GET / HTTP/9.9\r\n\r\n", 505 },
	{ "GET /now HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400 },
	{ "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400 },
	{ "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", 400 },
	{ "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400 },
};

static void check_refused(const char *sent, size_t n, unsigned status)
{
	struct client c;
	struct answer a;
	char want[20];

	client_connect(&c, port);
	(void)!send(c.fd, sent, n, MSG_NOSIGNAL);
	a = client_read(&c, false);
	snprintf(want, sizeof want, "{\"%u\":\"", status);
	if (a.status != status || !str_starts(a.body, str_of(want)))
		fail_msg("'%.60s': %u '" STR_FMT "'", sent, a.status, STR_ARG(a.body));
	assert_str_is(answer_header(&a, "Content-Type"), "application/json");
	assert_int_equal(client_read(&c, false).status, 0);
	client_close(&c);
}

static void test_refused_in_the_apis_form(void **state)
{
	struct buf head = BUF_INIT(1024 * 1024);
	int64_t before;

	(void)state;
	start_with((struct http_server_options){ 0 });
	before = metric_get(METRIC_http_malformed_total);
	for (size_t i = 0; i < COUNT_OF(refused_rows); i++)
		check_refused(refused_rows[i].sent, strlen(refused_rows[i].sent),
			      refused_rows[i].status);
	assert_int_equal(metric_get(METRIC_http_malformed_total) - before, COUNT_OF(refused_rows));
	before = metric_get(METRIC_http_head_large_total);
	/* A header and a URL over the 48 KB of a connection, both still being sent when it is said.
	 */
	buf_add_z(&head, "GET /now HTTP/1.1\r\nHost: x\r\nX: ");
	while (head.n < 300000)
		buf_add_c(&head, 'x');
	check_refused(head.p, head.n, 431);
	buf_reset(&head);
	buf_add_z(&head, "GET /now?");
	while (head.n < 300000)
		buf_add_c(&head, 'x');
	check_refused(head.p, head.n, 414);
	/* Many small lines. */
	buf_reset(&head);
	buf_add_z(&head, "GET /now HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 3000; i++)
		buf_add_z(&head, "a:b\r\n");
	buf_add_z(&head, "\r\n");
	check_refused(head.p, head.n, 431);
	assert_int_equal(metric_get(METRIC_http_head_large_total) - before, 3);
	buf_release(&head);
	http_server_close(server, 1000);
}

static void test_header_lines(void **state)
{
	static const char *const misnamed[] = { "Content-Length ", "a b", "a\tb", "\xc3\xa9" };
	struct client c;

	(void)state;
	start_with((struct http_server_options){ 0 });
	for (size_t i = 0; i < COUNT_OF(misnamed); i++) {
		char request[200];

		client_connect(&c, port);
		snprintf(request, sizeof request, "GET /now HTTP/1.1\r\nHost: x\r\n%s: 5\r\n\r\n",
			 misnamed[i]);
		assert_int_equal(client_ask(&c, request).status, 400);
		client_close(&c);
	}
	for (int lines = HTTP_HEADERS_MAX - 1; lines <= HTTP_HEADERS_MAX + 1; lines++) {
		struct buf head = BUF_INIT(65536);

		buf_add_z(&head, "GET /now HTTP/1.1\r\nHost: x\r\n");
		for (int i = 1; i < lines; i++)
			buf_addf(&head, "x%d: y\r\n", i);
		buf_add_z(&head, "\r\n");
		client_connect(&c, port);
		assert_int_equal(client_ask(&c, head.p).status,
				 lines <= HTTP_HEADERS_MAX ? 200 : 431);
		client_close(&c);
		buf_release(&head);
	}
	http_server_close(server, 1000);
}

/* ---- slow readers ---- */

static void test_slow_reader(void **state)
{
	int64_t before = metric_get(METRIC_http_cut_reader_total);
	struct client slow, steady;
	char byte[4096];
	size_t got = 0;

	(void)state;
	file_fd = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(ftruncate(file_fd, FILE_BYTES), 0);
	start_with((struct http_server_options){ .send_grace_ms = 300, .send_rate = 20000 });
	client_connect(&slow, port);
	client_connect(&steady, port);
	client_send_z(&slow, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
	client_send_z(&steady, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
	/* One reads nothing; the other as much as is asked for, in bites, all the time. */
	while (metric_get(METRIC_http_cut_reader_total) == before) {
		ssize_t n = recv(steady.fd, byte, sizeof byte, 0);

		assert_true(n > 0);
		got += (size_t)n;
		poll(NULL, 0, 1);
	}
	assert_int_equal(metric_get(METRIC_http_cut_reader_total) - before, 1);
	assert_true(recv(steady.fd, byte, sizeof byte, 0) > 0);
	assert_true(got < FILE_BYTES);
	client_close(&slow);
	client_close(&steady);
	http_server_close(server, 0);
	close(file_fd);
}

/* ---- TLS ---- */

static char folder[100], cert_path[200], key_path[200];

static void write_file(const char *path, const gnutls_datum_t *d)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(d->data, 1, d->size, f), d->size);
	fclose(f);
	assert_int_equal(chmod(path, 0600), 0);
}

/* A certificate for `name` that signs itself, and its key, in cert_path and key_path. */
static void make_pair(const char *name)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	gnutls_datum_t out;

	gnutls_x509_privkey_init(&key);
	gnutls_x509_crt_init(&crt);
	gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
				     GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	gnutls_x509_crt_set_version(crt, 3);
	gnutls_x509_crt_set_serial(crt, "\x01", 1);
	gnutls_x509_crt_set_activation_time(crt, 1000000000);
	gnutls_x509_crt_set_expiration_time(crt, 4000000000);
	gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
				      (unsigned)strlen(name));
	gnutls_x509_crt_set_key(crt, key);
	assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
	assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out), 0);
	write_file(cert_path, &out);
	gnutls_free(out.data);
	assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &out), 0);
	write_file(key_path, &out);
	gnutls_free(out.data);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}

struct secure {
	struct client c;
	gnutls_session_t session;
	gnutls_certificate_credentials_t credentials;
};

static void secure_connect(struct secure *s)
{
	int rc;

	client_connect(&s->c, port);
	gnutls_init(&s->session, GNUTLS_CLIENT);
	gnutls_certificate_allocate_credentials(&s->credentials);
	gnutls_set_default_priority(s->session);
	gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->credentials);
	gnutls_transport_set_int(s->session, s->c.fd);
	gnutls_handshake_set_timeout(s->session, CLIENT_WAIT_MS);
	do
		rc = gnutls_handshake(s->session);
	while (rc < 0 && !gnutls_error_is_fatal(rc));
	if (rc != 0)
		fail_msg("handshake: %s", gnutls_strerror(rc));
}

static void secure_end(struct secure *s)
{
	gnutls_deinit(s->session);
	gnutls_certificate_free_credentials(s->credentials);
	client_close(&s->c);
}

/* A request, and the bytes of its answer's body. */
static size_t secure_ask(struct secure *s, const char *request, size_t want)
{
	struct buf in = BUF_INIT(2 * FILE_BYTES);
	const char *end = NULL;
	size_t body;

	assert_int_equal(gnutls_record_send(s->session, request, strlen(request)), strlen(request));
	while (!end || in.n - (size_t)(end - in.p) - 4 < want) {
		ssize_t n = gnutls_record_recv(s->session, buf_reserve(&in, 65536), 65536);

		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
			continue;
		assert_true(n > 0);
		in.n += (size_t)n;
		end = memmem(in.p, in.n, "\r\n\r\n", 4);
	}
	assert_true(str_starts(buf_str(&in), STR("HTTP/1.1 200 ")));
	body = in.n - (size_t)(end - in.p) - 4;
	buf_release(&in);
	return body;
}

static const char *peer_name(const struct secure *s)
{
	static char name[100];
	const gnutls_datum_t *list;
	gnutls_x509_crt_t crt;
	size_t n = sizeof name;
	unsigned count;

	list = gnutls_certificate_get_peers(s->session, &count);
	assert_non_null(list);
	gnutls_x509_crt_init(&crt);
	assert_int_equal(gnutls_x509_crt_import(crt, list, GNUTLS_X509_FMT_DER), 0);
	gnutls_x509_crt_get_dn(crt, name, &n);
	gnutls_x509_crt_deinit(crt);
	return name;
}

static void tls_files(void)
{
	snprintf(folder, sizeof folder, "/tmp/weir-tls-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(cert_path, sizeof cert_path, "%s/cert", folder);
	snprintf(key_path, sizeof key_path, "%s/key", folder);
	make_pair("one");
}

static void tls_files_remove(void)
{
	unlink(cert_path);
	unlink(key_path);
	rmdir(folder);
}

static void test_tls(void **state)
{
	struct http_tls_facts facts;
	struct secure first, second;
	struct err err;

	(void)state;
	tls_files();
	file_fd = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(ftruncate(file_fd, FILE_BYTES), 0);
	assert_int_equal(http_tls_check(cert_path, key_path, &facts, &err), 0);
	assert_string_equal(facts.subject, "CN=one");
	assert_int_equal(facts.begins_s, 1000000000);
	assert_int_equal(facts.ends_s, 4000000000);
	assert_int_equal(facts.chain, 1);
	assert_false(facts.key_is_exposed);
	assert_int_equal(chmod(key_path, 0640), 0);
	assert_int_equal(http_tls_check(cert_path, key_path, &facts, &err), 0);
	assert_true(facts.key_is_exposed);
	start_with(
		(struct http_server_options){ .tls_certificate = cert_path, .tls_key = key_path });
	secure_connect(&first);
	assert_string_equal(peer_name(&first), "CN=one");
	assert_int_equal(secure_ask(&first, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", 2), 2);
	/* Not by sendfile, and whole. */
	assert_int_equal(secure_ask(&first, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n", FILE_BYTES),
			 FILE_BYTES);
	make_pair("two");
	assert_int_equal(http_server_tls_reload(server, &facts, &err), 0);
	secure_connect(&second);
	assert_string_equal(peer_name(&second), "CN=two");
	assert_int_equal(secure_ask(&first, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", 2), 2);
	secure_end(&second);
	/* Bad ones change nothing. */
	assert_int_equal(truncate(key_path, 10), 0);
	assert_int_equal(http_server_tls_reload(server, &facts, &err), -ERR_INVALID);
	secure_connect(&second);
	assert_string_equal(peer_name(&second), "CN=two");
	secure_end(&second);
	secure_end(&first);
	http_server_close(server, 1000);
	close(file_fd);
	tls_files_remove();
}

/* Connected and silent, or half-way: cut by the handshake's time, and counted as that. */
static void test_slow_handshakes(void **state)
{
	enum {
		CLIENTS = 20
	};
	int64_t before = metric_get(METRIC_http_cut_handshake_total);
	struct client c[CLIENTS];
	struct secure good;

	(void)state;
	tls_files();
	start_with((struct http_server_options){
		.tls_certificate = cert_path, .tls_key = key_path, .handshake_ms = 500 });
	for (int i = 0; i < CLIENTS; i++) {
		client_connect(&c[i], port);
		if (i % 2)
			client_send(&c[i], "\x16\x03\x01\x02\x00\x01", 6);
	}
	secure_connect(&good);
	for (int i = 0; i < CLIENTS; i++) {
		assert_false(client_more(&c[i]));
		client_close(&c[i]);
	}
	assert_int_equal(metric_get(METRIC_http_cut_handshake_total) - before, CLIENTS);
	/* Whose handshake was done has the time of a head. */
	assert_int_equal(secure_ask(&good, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", 2), 2);
	secure_end(&good);
	http_server_close(server, 1000);
	tls_files_remove();
}

/* ---- addresses ---- */

static struct sockaddr_storage address(const char *text)
{
	union {
		struct sockaddr_storage ss;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u = { 0 };

	if (inet_pton(AF_INET, text, &u.in.sin_addr) == 1) {
		u.in.sin_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &u.in6.sin6_addr), 1);
		u.in6.sin6_family = AF_INET6;
	}
	return u.ss;
}

static uint64_t key_of(const char *text)
{
	struct sockaddr_storage ss = address(text);

	return address_key(&ss);
}

static void test_address_keys(void **state)
{
	static const char *const same[][2] = {
		{ "10.0.0.1", "::ffff:10.0.0.1" },
		{ "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff" },
		{ "::1", "::1" },
	};
	static const char *const different[] = { "10.0.0.1",        "10.0.0.2",        "0.0.0.0",
						 "2001:db8:1:2::1", "2001:db8:1:3::1", "::1",
						 "fe80::1" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(same); i++)
		assert_true(key_of(same[i][0]) == key_of(same[i][1]));
	for (size_t i = 0; i < COUNT_OF(different); i++) {
		assert_true(key_of(different[i]) != 0);
		for (size_t k = 0; k < i; k++)
			assert_true(key_of(different[i]) != key_of(different[k]));
	}
}

/* Against plain counts, with addresses that collide often. */
static void test_address_counts(void **state)
{
	enum {
		ADDRESSES = 200,
		MAX = 5
	};
	struct address_counts *t = addresses_new(64);
	unsigned counts[ADDRESSES] = { 0 }, present = 0;
	uint64_t lots = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		unsigned a, grow;

		lots = lots * 6364136223846793005u + 1442695040888963407u;
		a = (unsigned)(lots >> 33) % ADDRESSES;
		grow = (unsigned)(lots >> 60) & 1;
		assert_true(address_is_full(t, a + 1, MAX) == (counts[a] >= MAX));
		if (grow) {
			bool room = counts[a] > 0 ? counts[a] < MAX : present < 128;

			assert_true(address_enter(t, a + 1, MAX) == room);
			present += room && counts[a] == 0;
			counts[a] += room;
		} else if (counts[a] > 0) {
			address_leave(t, a + 1);
			present -= --counts[a] == 0;
		}
	}
	addresses_free(t);
}

/* ---- other origins ---- */

static void test_cors(void **state)
{
	static const struct {
		const char *allowed, *origin, *want; /* want NULL: nothing is said */
	} rows[] = {
		{ "https://soc.example https://lab.example", "https://lab.example",
		  "https://lab.example" },
		{ "https://soc.example", "https://evil.example", NULL },
		{ "https://soc.example", "https://soc.example.evil", NULL },
		{ "https://soc.example", "null", NULL },
		{ "*", "https://any.example", "https://any.example" },
		{ "", "https://any.example", NULL },
		{ NULL, "https://any.example", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		struct answer a;
		char request[300];

		start_with((struct http_server_options){ .cors_origins = rows[i].allowed });
		client_connect(&c, port);
		snprintf(request, sizeof request,
			 "OPTIONS /now HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\n"
			 "Access-Control-Request-Method: GET\r\n\r\n",
			 rows[i].origin);
		a = client_ask(&c, request);
		assert_int_equal(a.status, 200);
		assert_str_is(answer_header(&a, "Allow"), "GET, HEAD, OPTIONS");
		if (rows[i].want) {
			assert_str_is(answer_header(&a, "Access-Control-Allow-Origin"),
				      rows[i].want);
			assert_str_is(answer_header(&a, "Access-Control-Allow-Methods"),
				      "GET, HEAD, OPTIONS");
			assert_non_null(memmem(a.head.p, a.head.n, "x-apikey", strlen("x-apikey")));
		} else {
			assert_null(answer_header(&a, "Access-Control-Allow-Origin").p);
			assert_null(answer_header(&a, "Access-Control-Allow-Methods").p);
		}
		/* Errors are answers as well. */
		snprintf(request, sizeof request,
			 "GET /no HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\n\r\n", rows[i].origin);
		a = client_ask(&c, request);
		assert_int_equal(a.status, 404);
		assert_int_equal(answer_header(&a, "Access-Control-Allow-Origin").p != NULL,
				 rows[i].want != NULL);
		assert_null(answer_header(&a, "Access-Control-Allow-Credentials").p);
		client_close(&c);
		http_server_close(server, 1000);
	}
}

static void test_options_of_the_server(void **state)
{
	struct client c;
	struct answer a;

	(void)state;
	start_with((struct http_server_options){ 0 });
	client_connect(&c, port);
	a = client_ask(&c, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a.status, 200);
	assert_str_is(answer_header(&a, "Allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
	client_close(&c);
	http_server_close(server, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_in_the_apis_form),
		cmocka_unit_test(test_header_lines),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_slow_handshakes),
		cmocka_unit_test(test_address_keys),
		cmocka_unit_test(test_address_counts),
		cmocka_unit_test(test_cors),
		cmocka_unit_test(test_options_of_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
