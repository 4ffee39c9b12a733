#include "bare.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/mem.h"
#include "load.h"

struct bare {
	struct MHD_Daemon *daemon;
	struct MHD_Response *answer;
	char *body;
	int seen; /* its address marks a request whose head was seen */
};

static enum MHD_Result on_access(void *arg, struct MHD_Connection *conn, const char *url,
				 const char *method, const char *version, const char *data,
				 size_t *data_bytes, void **context)
{
	struct bare *b = arg;

	(void)url;
	(void)method;
	(void)version;
	(void)data;
	*data_bytes = 0;
	if (!*context) { /* answering now would make libmicrohttpd close the connection */
		*context = &b->seen;
		return MHD_YES;
	}
	return MHD_queue_response(conn, MHD_HTTP_OK, b->answer);
}

struct bare *bare_open(struct str body, unsigned threads, unsigned connections_max)
{
	struct bare *b = mem_must_zalloc(sizeof *b);
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	b->body = mem_must_dup(body.p, body.n);
	b->answer = MHD_create_response_from_buffer(body.n, b->body, MHD_RESPMEM_PERSISTENT);
	if (!b->answer)
		die("libmicrohttpd", "no memory");
	MHD_add_response_header(b->answer, "Content-Type", "application/json");
	/* A pool of one is refused: then the daemon's own thread is the loop. */
	b->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_access, b, MHD_OPTION_SOCK_ADDR,
		(struct sockaddr *)&sin, MHD_OPTION_CONNECTION_LIMIT, connections_max,
		MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0, MHD_OPTION_END);
	if (!b->daemon)
		die("libmicrohttpd", "cannot start");
	return b;
}

uint16_t bare_port(const struct bare *b)
{
	return MHD_get_daemon_info(b->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void bare_close(struct bare *b)
{
	MHD_stop_daemon(b->daemon);
	MHD_destroy_response(b->answer);
	free(b->body);
	free(b);
}
