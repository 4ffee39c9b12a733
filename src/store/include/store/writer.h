#ifndef STORE_WRITER_H
#define STORE_WRITER_H
#include "base/clock.h"
#include "store/sql.h"

/*
 * The one writer: a thread that owns the only writing connection and commits
 * everything that waits as one group.
 *
 * Invariants
 *  1. Requests of a lane are applied in the order they were submitted, each in a
 *     savepoint of its own: one that fails is undone alone and told why.
 *  2. `done` runs after the group's commit is durable (or has failed), in order,
 *     on the writer's thread. It must not block; it may submit. After it nothing
 *     of the request is touched.
 *  3. Before the commit of a group with a request that sets `needs_barrier`, the
 *     barrier ran once (the packs' sync), after those requests were submitted.
 *  4. If the barrier or the commit fails, every request of the group fails with
 *     that error (one that had failed by itself keeps its own) and nothing of it
 *     is in the database. A commit of unknown outcome (ERR_UNCERTAIN: its sync
 *     failed) stops the process with exit status WRITER_EXIT_UNCERTAIN: the next
 *     start's recovery decides. The same holds when the database gives up a whole
 *     transaction in the middle of a group, for lack of disk or memory.
 *
 * Two lanes: LANE_API is taken before LANE_BULK when both wait, but the bulk lane
 * is never left out of two groups in a row: after one without it, the next gives
 * it half its places.
 *
 *   submit -> waiting -> (gather) -> barrier -> begin -> apply… -> commit -> done
 *             lane_add   group_wait  group_run           request_apply       group_finish
 *
 * The write-ahead log is moved home when it has grown to SQL_CHECKPOINT_PAGES, by a
 * thread of its own while groups go on; what came meanwhile by the writer, between
 * groups, after `done`. In idle moments the writer moves it earlier.
 */
enum {
	WRITER_EXIT_UNCERTAIN = 74 /* EX_IOERR of sysexits.h */
};
struct writer;
struct write_req;

typedef int (*write_apply)(struct sql_conn *conn, struct write_req *req, struct err *err);
typedef void (*write_done)(struct write_req *req, int rc, const struct err *err);

enum write_lane {
	LANE_API,
	LANE_BULK
};

/* Embedded at the start of the caller's own struct; the caller's until `done`. */
struct write_req {
	write_apply apply;
	write_done done;
	enum write_lane lane;
	bool needs_barrier;
	/* the writer's */
	struct write_req *next;
	struct write_wait *wait;
	int rc;
	struct err err;
};

struct writer_options {
	int (*barrier)(void *arg, struct err *err); /* may be NULL */
	void *barrier_arg;
	uint32_t group_max; /* requests in one commit */
	uint32_t queue_max; /* more waiting than this: ERR_BUSY */
	/* How long a group waits for announced requests, at most; rounded up to milliseconds. */
	uint32_t group_delay_us;
	uint32_t bulk_delay_us; /* how long bulk requests alone gather; 0: not at all */
};

MUST_USE int writer_open(struct writer **ret, struct sql_db *db,
			 const struct writer_options *options, struct err *err);
/*
 * Work off what was submitted, then stop. From its start on submitting is
 * ERR_CLOSED. Not on the writer's own thread; may be called again.
 */
void writer_stop(struct writer *w);
/* Stop and free: nobody may use it any more. NULL is fine. */
void writer_close(struct writer *w);

/* Any thread. On failure (ERR_BUSY, ERR_CLOSED) `done` is not called. */
MUST_USE int writer_submit(struct writer *w, struct write_req *req, struct err *err);
/* Submit and wait for the outcome; not on the writer's own thread. `done` must be NULL. */
MUST_USE int writer_call(struct writer *w, struct write_req *req, struct err *err);

/*
 * An upload that is still being received announces itself, so that a group can
 * wait a moment for it: until at least half as many requests wait as are
 * announced, at most group_delay_us, and only if more than one is announced (a
 * single client never waits). Every announce has one withdraw, after its submit
 * (or when there will be none). Any thread.
 */
void writer_announce(struct writer *w);
void writer_withdraw(struct writer *w);
#endif
