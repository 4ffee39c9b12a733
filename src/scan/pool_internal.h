#ifndef SCAN_POOL_INTERNAL_H
#define SCAN_POOL_INTERNAL_H
#include <stdatomic.h>
#include "base/thread.h"
#include "protocol_internal.h"
#include "scan/scan.h"

/*
 * A child's life, and who moves it (all under pool->lock):
 *
 *   STARTING --READY (supervisor)--> IDLE --scan_child_take--> TAKEN
 *      |                              ^                          |
 *      |                              +----- scan_child_give ----+
 *      +--refused, died, too slow--> BURIED <--dead or used up---+
 *
 * BURIED children are killed; the supervisor alone reaps (waitpid on each pid
 * of its own, told by pidfd) and then frees them. Invariants:
 *  1. A pid is reaped once, and its pidfd is open until then: no signal ever
 *     goes to a stranger.
 *  2. A child that is TAKEN belongs to one thread; only that thread touches its
 *     socket. It is freed only after scan_child_give.
 *  3. `reaped` is set once, by the supervisor; `cause` of a TAKEN child is the
 *     owner's to write.
 */
enum child_state {
	CHILD_STARTING,
	CHILD_IDLE,
	CHILD_TAKEN,
	CHILD_BURIED
};

enum {
	CHILD_CAUSE_BYTES = 200
};

enum pending_kind {
	PENDING_SCAN,
	PENDING_IDENTIFY,
	PENDING_MANY
};

/* One request under way. */
struct scan_pending {
	enum pending_kind kind;
	int64_t sent_us;
	struct scan_item one;    /* of all but MANY */
	struct scan_item *items; /* owned; of MANY */
	uint32_t count;
	uint32_t done;   /* items answered and told */
	bool ends_early; /* it may */
};

struct scan_child {
	struct scan_pool *pool;
	struct scan_child *next; /* in pool->children */
	pid_t pid;
	int pidfd;
	int sock;
	int statm;         /* /proc/PID/statm */
	struct mark *mark; /* owned mapping */
	enum child_state state;
	bool reaped;
	int status;     /* of waitpid, once reaped */
	bool discarded; /* its end was wanted: not a death */
	bool retiring;  /* near its last job: does not count against children_max */
	int64_t born_us;
	_Atomic uint64_t over_bytes; /* resident bytes it was killed for, or 0 */

	/* the owner's */
	bool dead;
	bool struck; /* see scan_child_is_struck */
	uint32_t scan_timeout_ms;
	char cause[CHILD_CAUSE_BYTES];
	uint32_t jobs;
	uint32_t seq;        /* of the last request */
	uint32_t pending;    /* of the ring, unanswered; the oldest is seq - pending + 1 */
	int64_t answered_us; /* when the last answer came */
	struct scan_pending ring[SCAN_DEPTH];
	uint32_t looks;                       /* samples scanned */
	struct scan_rules *slots[SCAN_SLOTS]; /* references */
	uint32_t *seen[SCAN_SLOTS];           /* by rule: the look it last hit in */
	uint8_t room[PACKET_BYTES_MAX];
};

struct scan_pool {
	struct scan_pool_options options;
	char *program; /* owned; NULL: /proc/self/exe */
	struct lock lock;
	struct cond changed; /* a child became idle or was reaped, or a start failed */
	struct scan_child *children;
	uint32_t waiting; /* threads in scan_child_take */
	bool cancelled;   /* see scan_pool_cancel */
	bool closing;
	bool start_blocked; /* the last start failed: wait until somebody asks */
	uint64_t start_failures;
	char start_error[CHILD_CAUSE_BYTES + 100];
	_Atomic uint64_t deaths;
	int wake; /* eventfd: the supervisor shall look */
	struct thread supervisor;
};

/* In the environment of every child. */
#define SCAN_CHILD_MARK "WEIR_SCAN_CHILD"

void pool_wake(struct scan_pool *pool);
void supervisor_run(void *pool); /* the thread */

/* ---- client.c: the owner's side of the talk ---- */

/* Mark the child dead for this cause (kills it, waits for its end); returns -kind. */
int client_kill(struct scan_child *child, struct err *err, enum err_kind kind, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* It answered what it must not: kill it. */
#define client_lie(child, err, ...)                                                                \
	client_kill((child), (err), ERR_DIED, "broke the protocol: " __VA_ARGS__)

/* Nobody wants its answer any more: end it, which is not its fault. */
void client_give_up(struct scan_child *child);

/* Start a request: ERR_DIED if the child is dead; counts the job. */
MUST_USE int client_begin(struct scan_child *child, struct err *err);
/* Send a packet of the request begun; fds stay the caller's. */
MUST_USE int client_send(struct scan_child *child, enum packet_type type, const struct iovec *parts,
			 size_t n, const int *fds, unsigned fd_count, struct err *err);
/*
 * Next packet of the answer to request `seq`: DATA or DONE. timeout_ms is for
 * the text only; what counts is deadline_us.
 */
MUST_USE int client_recv(struct scan_child *child, uint32_t seq, int64_t deadline_us,
			 uint32_t timeout_ms, struct packet *ret, struct err *err);
/* Turn a DONE that is not STATUS_OK into an error; the child lives on. */
int client_failed(struct scan_child *child, const struct packet *done, struct err *err);
int64_t client_deadline(uint32_t timeout_ms);
/* ERR_TOO_LARGE: more than any sample is. */
MUST_USE int client_check_sample(const struct scan_sample *sample, struct err *err);

enum {
	MORE_TIMEOUT_MS = 10000 /* between the packets of one answer */
};

/* ---- scan.c: requests that may be under way together ---- */

/* The request of child->seq was sent. */
void client_pending_add(struct scan_child *child, enum pending_kind kind, uint64_t len,
			uint32_t slots);
/* The same of many samples; takes the items over. */
void client_pending_add_many(struct scan_child *child, struct scan_item *items, uint32_t n,
			     bool ends_early);
struct client_wait {
	uint32_t seq;
	struct scan_pending *pending;
	int64_t deadline_us;
};
/* Whose answer comes next; it must be of that kind. ERR_DIED: the child is dead. */
MUST_USE int client_pending_oldest(struct scan_child *child, enum pending_kind kind,
				   uint32_t timeout_ms, struct client_wait *ret, struct err *err);
/* Its DONE is here. */
void client_pending_done(struct scan_child *child);

/* ---- hits.c: hits as a child tells them, and what may be believed of them ---- */

struct hit_reader {
	struct scan_child *child;
	struct scan_result *result;
	struct scan_found *found; /* where failures go; NULL: there can be none */
	const struct scan_item *items;
	uint32_t count;
	uint32_t least; /* items below this were finished before */
	uint32_t look_first;
	/* The last record. */
	bool has_last;
	bool last_failed;
	uint32_t item;
	uint8_t slot;
	size_t matches;
};
/* To read an answer to this request; empties result. */
struct hit_reader hit_reader_make(struct scan_child *child, const struct scan_pending *pending,
				  struct scan_result *result, struct scan_found *found);
/* Add the hits of one packet. NULL, or what is wrong with these bytes. */
const char *hit_reader_add(struct hit_reader *r, const uint8_t *at, size_t left);
/* All are read: link matches to hits. */
void hit_reader_end(struct hit_reader *r);

/* A memory file with these bytes, sealed against every change. */
MUST_USE int memory_file_new(int *ret_fd, const char *name, struct err *err);
MUST_USE int memory_file_add(int fd, const void *p, size_t n, struct err *err);
MUST_USE int memory_file_seal(int fd, struct err *err);

/* ---- rules.c ---- */

struct scan_rules {
	_Atomic uint32_t refs;
	int code_fd; /* owned, sealed */
	uint64_t code_bytes;
	struct str plan; /* owned */
	uint32_t uses;   /* facts its sources name */
	uint32_t count;
	struct scan_rule *rules; /* owned; texts point into `table` */
	struct str *tags;        /* owned */
	char *table;             /* owned */
};

/*
 * Make a set of what a child answered. Takes `table` and `code_fd` over, on failure too.
 * ERR_CORRUPT: the table is not one.
 */
MUST_USE int scan_rules_parse(struct scan_rules **ret, char *table, size_t table_bytes,
			      const struct packet_compiled *head, uint32_t sources, int code_fd,
			      struct err *err);
#endif
