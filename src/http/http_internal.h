#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H
#include <microhttpd.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/thread.h"
#include "http/server.h"
#include "http/upload.h"
#include "address_internal.h"
#include "multipart_internal.h"
#include "tls_internal.h"

enum {
	EXCHANGE_MAGIC = 0x65786368,
	HTTP_IGNORED_BODY_MAX = 64 * 1024, /* bodies where none is expected, e.g. GET with "{}" */
	HTTP_DRAIN_BYTES = 256 * 1024,     /* read and thrown away to keep the connection */
	HTTP_GZIP_BYTES_MIN = 1024,        /* below, the header costs more than it saves */
	HTTP_ADDRESS_BYTES = INET6_ADDRSTRLEN,
};

/* ---- connections ---- */

enum conn_phase {
	CONN_HANDSHAKE, /* connected, TLS is being agreed on */
	CONN_FRESH,     /* no request yet */
	CONN_IDLE,      /* kept alive, between requests */
	CONN_BODY,      /* a body is being received */
	CONN_BUSY,      /* handler, or a small answer is being sent */
	CONN_SEND,      /* a large answer is being sent */
};

/*
 * One client connection. Made by the thread that accepts, freed by the loop
 * thread that closed it. The list is guarded by server->lk; the phase is
 * written by the loop thread and read by the watch.
 */
struct http_conn {
	struct http_conn *prev, *next;
	struct http_server *server;
	struct http_loop *loop;
	int fd;                  /* MHD's; valid while in the list */
	bool cut;                /* the watch has shut it down; under lk */
	bool linger;             /* loop thread: answered before the body was read */
	int64_t ended_us;        /* the watch's: phase in which it saw the client's end … */
	uint64_t ended_bytes;    /* … and the body's bytes then */
	int64_t reader_phase_us; /* the watch's: the answer that it watches being read, … */
	int64_t reader_us;       /* … when it looked last, … */
	uint64_t reader_bytes;   /* … and what the client had taken then */
	struct http_exchange *exchange; /* loop thread: the request under way, or NULL */
	struct http_tls *tls;           /* owned; NULL: no TLS */
	gnutls_session_t session;       /* MHD's; NULL: no TLS */
	bool first_seen;                /* loop thread: something came, and it is TLS */
	uint64_t address_key;           /* 0: not counted */
	_Atomic int phase;
	_Atomic int64_t since_us;    /* of that phase, monotonic */
	_Atomic uint64_t body_bytes; /* received in this phase */
	_Atomic int64_t ours_us;     /* of this phase, spent in our own callbacks */
	struct sockaddr_storage address;
	socklen_t address_bytes;
	char remote[HTTP_ADDRESS_BYTES];
	size_t remote_bytes;
};

void conn_phase_set(struct http_conn *c, enum conn_phase phase, int64_t now_us);

/* A socket that is only read until its client is done, then closed. */
struct http_linger {
	int fd;
	int64_t until_us; /* at the latest */
	int64_t quiet_us; /* when nothing came by then */
};

enum {
	HTTP_LINGER_MAX = 64
}; /* more are closed at once: they get a reset */

struct http_loop {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	struct http_deflate *deflate; /* NULL until the first compressed answer */
};

enum {
	HTTP_THREADS_MAX = 64
};

struct http_server {
	struct http_server_options o;
	struct http_router *router;
	struct http_loop loops[HTTP_THREADS_MAX];
	unsigned loop_count;
	char listen_host[HTTP_ADDRESS_BYTES + 16]; /* "127.0.0.1:8080", "[::1]:8080" */
	uint16_t port;
	int listen_fd;             /* owned by the watch thread once that runs */
	int wake_fd;               /* eventfd: look at the flags */
	gnutls_datum_t ticket_key; /* of TLS sessions that are taken up again; data NULL: no TLS */
	struct thread watch;
	struct lock lk;
	struct cond idle;          /* inflight fell to 0 while closing */
	struct cond listen_closed; /* refused was set */
	/* Under lk, to the end of this group; in C clang cannot check members. */
	struct http_conn *conns;
	_Atomic unsigned conn_count;      /* read by http_server_counts without it */
	unsigned pending;                 /* accepted, not with its loop yet */
	struct http_tls *tls;             /* for new connections; NULL: no TLS */
	struct address_counts *addresses; /* NULL: not counted */
	struct http_linger lingers[HTTP_LINGER_MAX];
	unsigned linger_count;
	bool was_full; /* the watch thread's: connections_max were open when it looked last */
	bool refused;  /* the watch thread has closed the listening socket */

	_Atomic bool stopping; /* no new connections; answers say Connection: close */
	_Atomic bool closing;  /* new requests are answered with 503 */
	_Atomic bool ended;    /* the watch thread returns */
	/* Sequentially consistent together with `closing`: see exchange_head. */
	_Atomic unsigned inflight;
	_Atomic unsigned suspended;
	_Atomic uint64_t cut;
};

/* watch.c: accepts, ends what is slow, lets refused uploads linger. */
MUST_USE int watch_listen(struct http_server *s, struct err *err);
void watch_run(void *server);
void watch_wake(struct http_server *s);
void watch_cut_all(struct http_server *s); /* shuts every connection's socket */
void watch_on_connection(void *loop, struct MHD_Connection *mhd, void **socket_context,
			 enum MHD_ConnectionNotificationCode code);

/* refuse.c: answers to what is no request, and the way to libmicrohttpd for those that are. */
enum {
	HTTP_REFUSAL_BYTES_MAX = 4096
};
enum MHD_Result refuse_queue(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *r);
/* Straight to a socket that nobody has written to; its sending side is then closed. */
void refuse_socket(const struct http_server *s, int fd, const char *remote, unsigned status,
		   const char *text);

/* secure.c: TLS of the server's connections. */
MUST_USE int secure_open(struct http_server *s, struct err *err);
void secure_close(struct http_server *s);
/* Before the first byte; nothing to do without TLS. */
void secure_start(struct http_conn *c, struct MHD_Connection *mhd);
/* Never called: each session has credentials of its own. */
gnutls_certificate_retrieve_function2 secure_no_credentials;
/* All of it or false; never blocks. */
bool conn_send(struct http_conn *c, const void *p, size_t n);

/* cors.c: who else may see answers, for browsers. */
void cors_apply(struct http_exchange *x);     /* to any answer */
void cors_preflight(struct http_exchange *x); /* to OPTIONS, besides */

/* ---- requests ---- */

struct http_pair {
	struct str name;
	struct str value;
};
struct http_pairs {
	struct http_pair *p; /* in the arena */
	size_t n;
};

/* Into out, decoded. Returns NULL or what is wrong, for the client. */
const char *pairs_parse(struct http_pairs *out, struct arena *a, struct str text, size_t count_max);
struct str pairs_find(const struct http_pairs *pairs, const char *name);

enum body_mode {
	BODY_IGNORE,  /* read and thrown away */
	BODY_COLLECT, /* req->body */
	BODY_FORM,    /* collected, then http_form() */
	BODY_PARTS,   /* multipart, to route->upload */
	BODY_RAW,     /* all one part, to route->upload */
};

enum answer_kind {
	ANSWER_NONE,
	ANSWER_MEM,
	ANSWER_OWNED,
	ANSWER_FD
};

struct answer_header {
	struct answer_header *next;
	const char *name;
	const char *value;
};

struct answer {
	enum answer_kind kind;
	unsigned status;
	const char *p; /* MEM: lives long enough; OWNED: freed by us or given to MHD */
	size_t n;
	int fd;
	uint64_t offset;
	uint64_t fd_bytes;
	void (*release)(void *arg);
	void *release_arg;
	struct answer_header *headers; /* last one first */
	bool has_type;
	bool tags_body;        /* etag is to be made of the body */
	struct str etag;       /* quoted; p NULL: none */
	struct str etag_plain; /* of the body before it was compressed */
	int64_t modified_s;    /* 0: not known */
};

/* What http_request_suspend and _resume left behind. */
enum async_state {
	ASYNC_NONE,
	ASYNC_PENDING, /* suspend was called, the handler may still run */
	ASYNC_PARKED,  /* libmicrohttpd has put the connection aside */
	ASYNC_RESUMED,
	ASYNC_OVER, /* the loop has it back */
};

struct http_exchange {
	struct http_request req; /* first: the two are cast into each other */
	uint32_t magic;
	struct http_server *server;
	struct http_conn *conn;
	struct MHD_Connection *mhd;
	struct http_pairs query;
	struct http_pairs form;
	struct str base_url; /* p NULL until somebody asks */
	/* progress */
	bool head_done;
	bool dispatched; /* the handler was called */
	bool in_error;   /* on_error is running */
	bool raw_sent;   /* the answer was written past libmicrohttpd */
	bool is_options;
	bool is_conditional; /* it has If-… or Range headers */
	_Atomic int async;
	/* body */
	enum body_mode mode;
	uint64_t announced; /* Content-Length; UINT64_MAX: chunked; 0: none */
	uint64_t received;
	uint64_t ignored;             /* thrown away since mode became BODY_IGNORE */
	struct http_inflate *inflate; /* NULL: the body is not compressed */
	uint64_t expanded;            /* bytes of the body after that */
	struct buf collect;
	struct multipart *parts;
	bool upload_open; /* aborted() is due if it ends now */
	bool part_open;   /* begin() was called, end() not yet */
	enum http_part_use part_use;
	struct buf field; /* value of the part that is kept as a field */
	struct str field_name;
	struct http_pairs fields; /* grown in the arena */
	size_t field_bytes;
	struct answer answer;
};

struct http_exchange *exchange_of(const struct http_request *req);

/* request.c */
struct http_exchange *exchange_new(struct http_server *s, struct http_conn *c,
				   struct MHD_Connection *mhd, const char *target);
void exchange_free(struct http_exchange *x);
/* The methods of its path, as Allow says them. */
struct str allow_text(const struct http_exchange *x);
/* Method, path, query, route. false: an error was answered. */
bool exchange_parse(struct http_exchange *x, const char *method);

/* response.c */
void exchange_fail(struct http_exchange *x, unsigned status, const char *text);
enum MHD_Result exchange_queue(struct http_exchange *x);
/* The answer written straight to the socket, for when a body is still coming. */
void exchange_send_raw(struct http_exchange *x);
void answer_release(struct http_exchange *x);
void answer_body_replace(struct http_exchange *x, char *body, size_t n); /* owns body */
uint64_t answer_bytes(const struct answer *a);

/* body.c */
bool body_begin(struct http_exchange *x); /* false: an error was answered */
bool body_data(struct http_exchange *x, const char *p, size_t n);
bool body_end(struct http_exchange *x);
void body_abort(struct http_exchange *x); /* harmless when nothing is open */

/* precondition.c: of a finished answer, in this order. */
void precondition_tag(struct http_exchange *x);       /* the body's own tag */
void precondition_tag_coded(struct http_exchange *x); /* after it was compressed */
void precondition_apply(struct http_exchange *x);     /* 304, 206, 412, 416 and headers */

/* gzip.c */
bool answer_is_compressible(const struct http_exchange *x);
bool answer_compress(struct http_exchange *x); /* false: it stays as it is */
void deflate_free(struct http_deflate *d);

struct http_inflate;
enum inflate_result {
	INFLATE_OK,
	INFLATE_BROKEN,
	INFLATE_STOPPED /* data() said so */
};
/* In the arena; NULL: no memory. */
struct http_inflate *inflate_new(struct arena *a);
enum inflate_result inflate_feed(struct http_inflate *i, const char *p, size_t n,
				 bool (*data)(void *arg, const char *p, size_t n), void *arg);
bool inflate_done(const struct http_inflate *i); /* not in the middle of a member */

/*
 * Percent-decode s into out (room for s.n bytes); with `form` '+' is a blank.
 * An escape that is none stays as it is and makes the result false.
 */
bool http_decode(struct str s, bool form, char *out, size_t *ret_n);
#endif
