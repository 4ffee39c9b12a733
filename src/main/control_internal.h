#ifndef CONTROL_INTERNAL_H
#define CONTROL_INTERNAL_H
#include "base/thread.h"
#include "control.h"
#include "service/users.h"

/*
 * One connection. Its thread reads requests and does them one after the other;
 * uploads end on the writer's thread, which only puts the answer into `out` and
 * wakes the connection's thread to send it.
 */
struct connection {
	struct service *svc;
	int fd;
	int stop_fd;
	int wake; /* eventfd: something is in `out` */
	struct frame_in in;
	char *piece;
	struct audit_by by; /* who sits at the other end */
	char run[17];       /* id of a `weir ingest` that has begun and not ended; "" */
	uint64_t request;   /* id of the one being done */
	bool broken;        /* the other side is gone or talks nonsense */
	struct lock lock;
	/* under the lock */
	struct buf out;
	unsigned in_flight;
};

/* ---- Answers ---- */

/* Append one frame by its fields; values on the stack of the caller. */
struct field {
	bool is_number;
	struct str s;
	uint64_t v;
};
#define FIELD_STR(s_) ((struct field){ false, (s_), 0 })
#define FIELD_U64(v_) ((struct field){ true, { NULL, 0 }, (uint64_t)(v_) })

/* Send what is waiting. Blocks for the other side if `all`, but not once we are told to stop. */
void connection_flush(struct connection *c, bool all);
void connection_answer(struct connection *c, enum control_kind kind, const struct field *fields,
		       size_t n);
#define ANSWER(c, kind, ...)                                                                       \
	connection_answer((c), (kind), (const struct field[]){ __VA_ARGS__ },                      \
			  sizeof((const struct field[]){ __VA_ARGS__ }) / sizeof(struct field))

/* ---- control_users.c ---- */
/* CONTROL_USER_*; anything else is ERR_INVALID. */
MUST_USE int control_do_user(struct connection *c, struct frame *f, struct err *err);
MUST_USE int control_do_audit(struct connection *c, struct frame *f, struct err *err);

/* ---- control_hunt.c ---- */
MUST_USE int control_hunt(struct connection *c, struct frame *f, struct err *err);
MUST_USE int control_estimate(struct connection *c, struct frame *f, struct err *err);

/* ---- control_operate.c: what takes long and is watched ---- */
MUST_USE int control_verify(struct connection *c, struct frame *f, struct err *err);
MUST_USE int control_reindex(struct connection *c, struct frame *f, struct err *err);
MUST_USE int control_backup(struct connection *c, struct frame *f, struct err *err);
#endif
