#include "http_client.h"

#include <stdatomic.h>

#include "base/metric.h"
#include "base/thread.h"
#include "http/server.h"

/*
 * Answers from other threads, clients that go away or dribble, and the end of
 * the server. Each test has a server of its own.
 */

enum {
	QUEUE_MAX = 4096
};

/* Requests handed to the worker thread; NULL ends it. */
static struct {
	pthread_mutex_t m;
	pthread_cond_t c;
	struct http_request *q[QUEUE_MAX];
	size_t n;
	bool held; /* the worker waits */
} work = { .m = PTHREAD_MUTEX_INITIALIZER, .c = PTHREAD_COND_INITIALIZER };

static struct http_server *server;
static uint16_t port;
static struct thread worker;
static _Atomic unsigned done_total, done_unsent, ends;

static void work_put(struct http_request *req)
{
	pthread_mutex_lock(&work.m);
	REQUIRE(work.n < QUEUE_MAX);
	work.q[work.n++] = req;
	pthread_cond_broadcast(&work.c);
	pthread_mutex_unlock(&work.m);
}

static void work_hold(bool held)
{
	pthread_mutex_lock(&work.m);
	work.held = held;
	pthread_cond_broadcast(&work.c);
	pthread_mutex_unlock(&work.m);
}

static void work_run(void *arg)
{
	(void)arg;
	for (;;) {
		struct http_request *req;

		pthread_mutex_lock(&work.m);
		while (work.n == 0 || work.held)
			pthread_cond_wait(&work.c, &work.m);
		req = work.q[--work.n];
		pthread_mutex_unlock(&work.m);
		if (!req)
			return;
		http_respond(req, 200, req->params[0]); /* reads and writes the request's memory */
		http_request_resume(req);
	}
}

static void on_end(void *arg)
{
	REQUIRE(arg == &ends);
	ends++;
}

static void on_async(struct http_request *req, void *arg)
{
	(void)arg;
	http_on_end(req, on_end, &ends);
	http_request_suspend(req);
	work_put(req);
}

/* Resumed before the handler returns. */
static void on_at_once(struct http_request *req, void *arg)
{
	(void)arg;
	http_request_suspend(req);
	http_respond_static(req, 200, STR("at once"));
	http_request_resume(req);
}

static void on_unanswered(struct http_request *req, void *arg)
{
	(void)arg;
	http_request_suspend(req);
	http_request_resume(req);
}

static void on_now(struct http_request *req, void *arg)
{
	(void)arg;
	http_respond_static(req, 200, STR("now"));
}

static const struct http_route routes[] = {
	{ .method = HTTP_GET, .pattern = "/async/{n}", .handler = on_async },
	{ .method = HTTP_GET, .pattern = "/at_once", .handler = on_at_once },
	{ .method = HTTP_GET, .pattern = "/unanswered", .handler = on_unanswered },
	{ .method = HTTP_GET, .pattern = "/now", .handler = on_now },
	{ .method = HTTP_POST, .pattern = "/body", .handler = on_now, .body_max = 1000000 },
};

static void on_error(struct http_request *req, unsigned status, const char *text, void *arg)
{
	(void)arg;
	http_respond(req, status, str_of(text));
}

static void on_done(struct http_request *req, const struct http_done *done, void *arg)
{
	(void)req;
	(void)arg;
	if (!done->sent)
		done_unsent++;
	done_total++;
}

static void start_with(struct http_server_options o)
{
	struct err err = { 0 };

	o.address = "127.0.0.1";
	o.threads = 2;
	o.routes = routes;
	o.route_count = COUNT_OF(routes);
	o.on_error = on_error;
	o.on_done = on_done;
	done_total = done_unsent = ends = 0;
	if (http_server_open(&server, &o, &err) != 0)
		fail_msg("%s", err.msg);
	port = http_server_port(server);
	if (thread_start(&worker, "worker", work_run, NULL, &err) != 0)
		fail_msg("%s", err.msg);
}

static void stop(uint32_t grace_ms)
{
	http_server_close(server, grace_ms);
	work_put(NULL);
	thread_join(&worker);
	worker = (struct thread){ 0 };
	assert_int_equal(metric_get(METRIC_http_connections), 0);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_async_1000(void **state)
{
	enum {
		CLIENTS = 10,
		ROUNDS = 100
	};
	struct client c[CLIENTS];

	(void)state;
	start_with((struct http_server_options){ 0 });
	for (int i = 0; i < CLIENTS; i++)
		client_connect(&c[i], port);
	for (int round = 0; round < ROUNDS; round++) {
		char want[16], request[64];

		for (int i = 0; i < CLIENTS; i++) {
			snprintf(request, sizeof request,
				 "GET /async/%d HTTP/1.1\r\nHost: x\r\n\r\n", round * CLIENTS + i);
			client_send_z(&c[i], request);
		}
		for (int i = 0; i < CLIENTS; i++) {
			snprintf(want, sizeof want, "%d", round * CLIENTS + i);
			assert_str_is(client_read(&c[i], false).body, want);
		}
	}
	assert_str_is(client_ask(&c[0], GET("/at_once")).body, "at once");
	assert_int_equal(client_ask(&c[0], GET("/unanswered")).status, 500);
	for (int i = 0; i < CLIENTS; i++)
		client_close(&c[i]);
	stop(1000);
	assert_int_equal(ends, CLIENTS * ROUNDS);
	assert_int_equal(done_total, CLIENTS * ROUNDS + 2);
}

/* The clients are gone long before the worker answers: no use after free, all end once. */
static void test_client_gone_while_suspended(void **state)
{
	enum {
		CLIENTS = 50
	};
	struct linger reset = { 1, 0 };

	(void)state;
	start_with((struct http_server_options){ 0 });
	work_hold(true);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client c;

		client_connect(&c, port);
		client_send_z(&c, GET("/async/1"));
		WAIT_FOR(http_server_counts(server).suspended == i + 1);
		if (i % 2)
			setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		client_close(&c);
	}
	assert_int_equal(ends, 0);
	work_hold(false);
	WAIT_FOR(http_server_counts(server).suspended == 0 && done_total == CLIENTS);
	stop(1000);
	assert_int_equal(ends, CLIENTS);
}

/* Requests under way finish, new ones and new connections are refused. */
static void close_run(void *arg)
{
	(void)arg;
	http_server_close(server, CLIENT_WAIT_MS);
}

static void test_graceful_stop(void **state)
{
	struct client c[3], other;
	struct thread closer = { 0 };
	struct err err = { 0 };
	struct answer a;

	(void)state;
	start_with((struct http_server_options){ 0 });
	work_hold(true);
	for (int i = 0; i < 3; i++)
		client_connect(&c[i], port);
	client_connect(&other, port);
	client_send_z(&c[0], GET("/async/7"));
	client_send_z(&c[1], "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
	WAIT_FOR(http_server_counts(server).requests == 2);
	http_server_stop_accepting(server);
	/* Still served, but told to go. */
	a = client_ask(&c[2], GET("/now"));
	assert_int_equal(a.status, 200);
	assert_str_is(answer_header(&a, "Connection"), "close");
	{
		struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof sin), -1);
		close(fd);
	}
	assert_int_equal(thread_start(&closer, "closer", close_run, NULL, &err), 0);
	/* Once it is closing, requests on open connections get 503; until then they are served. */
	a = client_ask(&other, GET("/now"));
	assert_true(a.status == 200 || a.status == 503);
	client_send_z(&c[1], "cde");
	a = client_read(&c[1], false);
	assert_int_equal(a.status, 200);
	work_hold(false);
	a = client_read(&c[0], false);
	assert_int_equal(a.status, 200);
	assert_str_is(a.body, "7");
	thread_join(&closer);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
	client_close(&other);
	assert_int_equal(done_unsent, 0);
	work_put(NULL);
	thread_join(&worker);
}

/* After the grace, who only reads or sends is cut; who is suspended is waited for. */
static void test_stop_cuts_slow_ones(void **state)
{
	struct client c[2];

	(void)state;
	start_with((struct http_server_options){ 0 });
	client_connect(&c[0], port);
	client_connect(&c[1], port);
	client_send_z(&c[0], "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
	client_send_z(&c[1], "GET /now HT");
	WAIT_FOR(http_server_counts(server).requests == 1);
	stop(1);
	assert_int_equal(client_read(&c[0], false).status, 0);
	assert_int_equal(client_read(&c[1], false).status, 0);
	assert_int_equal(done_unsent, 1);
	client_close(&c[0]);
	client_close(&c[1]);
}

/* 2,000 dribble their heads, 100 their bodies, some are idle; one more is served, and they end. */
static void test_slow_loris(void **state)
{
	enum {
		SLOW = 2000,
		BODIES = 100
	};
	struct client *slow = calloc(SLOW, sizeof *slow), good;
	struct http_server_options o = {
		.head_ms = 2000, .idle_ms = 4000, .body_grace_ms = 2000, .body_rate = 100000
	};

	(void)state;
	start_with(o);
	for (int i = 0; i < SLOW; i++) {
		client_connect(&slow[i], port);
		client_send_z(&slow[i], i < BODIES ? "POST /body HTTP/1.1\r\nHost: x\r\n"
						     "Content-Length: 100000\r\n\r\n"
						   : "GET /now HTTP/1.1\r\nHost: ");
	}
	client_connect(&good, port);
	for (int i = 0; i < 1000; i++) {
		assert_str_is(client_ask(&good, GET("/now")).body, "now");
		/* A byte now and then, which keeps libmicrohttpd's own time-out away. */
		(void)!send(slow[i * 2 % SLOW].fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	WAIT_FOR(http_server_counts(server).cut >= SLOW);
	WAIT_FOR(http_server_counts(server).connections <= 1);
	for (int i = 0; i < SLOW; i++) {
		assert_int_equal(client_read(&slow[i], false).status, 0);
		client_close(&slow[i]);
	}
	client_close(&good);
	free(slow);
	stop(1000);
}

/* At the limit slow ones have less time, and the next client waits only that long. */
static void test_connection_limits(void **state)
{
	enum {
		MAX = 16
	};
	struct client c[MAX], next;

	(void)state;
	start_with((struct http_server_options){ .connections_max = MAX, .head_ms = 8000 });
	for (int i = 0; i < MAX; i++)
		client_connect(&c[i], port);
	client_connect(&next, port);
	assert_int_equal(client_ask(&next, GET("/now")).status, 200);
	client_close(&next);
	for (int i = 0; i < MAX; i++)
		client_close(&c[i]);
	stop(1000);
	start_with((struct http_server_options){ .connections_per_address_max = 2 });
	for (int i = 0; i < 2; i++) {
		client_connect(&c[i], port);
		assert_int_equal(client_ask(&c[i], GET("/now")).status, 200);
	}
	client_connect(&next, port);
	assert_int_equal(client_read(&next, false).status, 429);
	assert_false(client_more(&next));
	client_close(&next);
	/* Whoever leaves makes room, at once or a little later. */
	client_close(&c[0]);
	WAIT_FOR(http_server_counts(server).connections == 1);
	client_connect(&c[0], port);
	assert_int_equal(client_ask(&c[0], GET("/now")).status, 200);
	client_close(&c[0]);
	client_close(&c[1]);
	stop(1000);
	/* One's own proxy is one address. */
	start_with((struct http_server_options){ .connections_per_address_max = 1,
						 .trust_forwarded = true });
	for (int i = 0; i < 2; i++)
		client_connect(&c[i], port);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(client_ask(&c[i], GET("/now")).status, 200);
		client_close(&c[i]);
	}
	stop(1000);
}

static void test_open_errors(void **state)
{
	struct http_server_options o = { .address = "localhost",
					 .routes = routes,
					 .route_count = COUNT_OF(routes),
					 .on_error = on_error };
	struct http_server *second = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(http_server_open(&second, &o, &err), -ERR_INVALID);
	start_with((struct http_server_options){ 0 });
	o.address = "127.0.0.1";
	o.port = port;
	assert_int_equal(http_server_open(&second, &o, &err), -ERR_IO);
	assert_null(second);
	stop(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_async_1000),
		cmocka_unit_test(test_client_gone_while_suspended),
		cmocka_unit_test(test_graceful_stop),
		cmocka_unit_test(test_stop_cuts_slow_ones),
		cmocka_unit_test(test_slow_loris),
		cmocka_unit_test(test_connection_limits),
		cmocka_unit_test(test_open_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
