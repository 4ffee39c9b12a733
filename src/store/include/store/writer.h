#ifndef STORE_WRITER_H
#define STORE_WRITER_H
#include "base/clock.h"
#include "store/sql.h"

/*
 * The one writer: a thread that owns the only writing connection and commits
 * everything that waits as one group.
 *
 * Invariants
 *  1. Requests are applied in the order they were submitted, each in a savepoint
 *     of its own: one that fails is undone alone and told why.
 *  2. `done` runs after the group's commit is durable (or has failed), in order,
 *     on the writer's thread. It must not block; it may submit.
 *  3. Before the commit of a group with a request that sets `needs_barrier`, the
 *     barrier ran once (the packs' sync), after those requests were submitted.
 *  4. If the barrier or the commit fails, every request of the group fails with
 *     that error and nothing of it is in the database (a commit of unknown
 *     outcome stops the process: recovery then decides).
 *
 * Two lanes: LANE_API is taken before LANE_BULK when both wait, but a bulk
 * request is never passed by more than one group.
 */
struct writer;
struct write_req;

typedef int (*write_apply)(struct sql_conn *conn, struct write_req *req, struct err *err);
typedef void (*write_done)(struct write_req *req, int rc, const struct err *err);

enum write_lane { LANE_API, LANE_BULK };

/* Embedded at the start of the caller's own struct; the caller's until `done`. */
struct write_req {
	write_apply apply;
	write_done done;
	enum write_lane lane;
	bool needs_barrier;
	/* the writer's */
	struct write_req *next;
	int rc;
	struct err err;
};

struct writer_options {
	int (*barrier)(void *arg, struct err *err); /* may be NULL */
	void *barrier_arg;
	uint32_t group_max;      /* requests in one commit */
	uint32_t queue_max;      /* more waiting than this: ERR_BUSY */
	uint32_t group_delay_us; /* how long a group waits for announced requests, at most */
};

MUST_USE int writer_open(struct writer **ret, struct sql_db *db, const struct writer_options *options,
                         struct err *err);
/* Works off what was submitted, then stops. Submitting after this is ERR_CLOSED. */
void writer_close(struct writer *w);

/* Any thread. On failure (ERR_BUSY, ERR_CLOSED) `done` is not called. */
MUST_USE int writer_submit(struct writer *w, struct write_req *req, struct err *err);
/* Submit and wait for the outcome; not on the writer's own thread. `done` must be NULL. */
MUST_USE int writer_call(struct writer *w, struct write_req *req, struct err *err);

/*
 * An upload that is still being received announces itself, so that a group can
 * wait a moment for it (at most group_delay_us, and only if others are announced
 * too: a single client never waits). Every announce has one withdraw.
 */
void writer_announce(struct writer *w);
void writer_withdraw(struct writer *w);
#endif
