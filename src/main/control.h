#ifndef MAIN_CONTROL_H
#define MAIN_CONTROL_H
#include "base/buf.h"
#include "service/service.h"

/*
 * How commands reach the owner of a data folder: frames over a Unix stream
 * socket, DATA/control.sock of a server, or a socket pair where the command
 * itself opened the service. Both ends are the same binary on one machine.
 *
 *   frame   := payload bytes u32, version u16, kind u16, id u64, payload
 *   payload := field*, field := bytes u32, bytes; a number is a field of 8 bytes
 *
 * all little-endian. A request is answered by any number of CONTROL_ITEM and one
 * CONTROL_OK or CONTROL_ERROR (kind of error, text) with its id. Only CONTROL_INGEST may be sent
 * before the one before it is answered, at most CONTROL_IN_FLIGHT_MAX; its
 * answers come in any order. It carries one file descriptor with its first byte.
 */
enum {
	CONTROL_VERSION = 1,
	CONTROL_HEADER_BYTES = 16,
	CONTROL_PAYLOAD_MAX = 64 * 1024, /* names and texts; a sample comes as a descriptor */
	CONTROL_IN_FLIGHT_MAX = 256,     /* uploads of one connection: half a commit's group */
	CONTROL_CONNECTIONS_MAX = 64
};

enum control_kind {
	CONTROL_OK = 1,
	CONTROL_ERROR = 2,
	CONTROL_ITEM = 3,
	CONTROL_USER_ADD = 16,     /* name, role, email -> key */
	CONTROL_USER_KEY = 17,     /* name, scopes, expires, what for -> key */
	CONTROL_USER_REVOKE = 18,  /* name, key or "" -> */
	CONTROL_USER_DISABLE = 19, /* name, 0 or 1 -> */
	CONTROL_USER_LIST = 20,    /* -> items: name, role, email, created, disabled */
	CONTROL_REMOVE = 21,       /* hash -> were the bytes erased, or are they still to be */
	CONTROL_VERIFY = 22,       /* reclaim, rate -> items; numbers of struct verify_result */
	CONTROL_INGEST = 23,       /* name, corpus, descriptor -> is new, bytes, analysis */
	/* folder's name, version, generations kept, adopt, rate, descriptor -> items; numbers */
	CONTROL_BACKUP = 25,
	CONTROL_REINDEX =
		26,        /* segment or 0, features -> items; numbers of struct reindex_result */
	CONTROL_OPEN = 24, /* analysis -> how many up to it are not completed */
	CONTROL_USER_ROLE = 32,    /* name, role -> */
	CONTROL_USER_EMAIL = 33,   /* name, email or "" -> */
	CONTROL_USER_KEYS = 34,    /* name -> items: id, what for, scopes, created, expires, last
				      used, revoked */
	CONTROL_USER_QUOTA = 35,   /* name, count, quota=value… -> items: quota, used, allowed, is
				      the user's own */
	CONTROL_USER_SHOW = 36,    /* name -> role, email, first name, last name, created, disabled,
				      last use */
	CONTROL_AUDIT = 40,        /* user, action, object, since, until, after, limit -> items */
	CONTROL_INGEST_BEGIN = 41, /* paths, corpus -> */
	CONTROL_INGEST_END = 42,   /* files, bytes, duplicates, failed, skipped -> */
	/*
	 * user or "", corpus, since, until, each file once only, descriptor of the rules -> items;
	 * job, status, is complete, reason, error, files and bytes read, files that match. When
	 * the other side sends its end meanwhile, the job is aborted, and that is answered.
	 */
	CONTROL_HUNT = 48,
	CONTROL_ESTIMATE = 49, /* the same fields -> items */
};

/* The first field of an item of work that is watched. */
enum control_item {
	CONTROL_PROGRESS = 1,  /* step, done, of all */
	CONTROL_FINDING = 2,   /* check, text */
	CONTROL_MESSAGES = 3,  /* the next piece of the compiler's messages */
	CONTROL_HUNTED = 4,    /* files, of all, bytes, of all, matches, skipped, seconds left */
	CONTROL_MATCH = 5,     /* rule, SHA-256, is in a file inside */
	CONTROL_SKIPPED = 6,   /* SHA-256, reason, 0: only too large */
	CONTROL_ESTIMATED = 7, /* the next piece of what it would cost: a JSON object */
	CONTROL_JOB = 8,       /* the name of the job that was made */
};

/* ---- Frames ---- */

/* Append a frame: begin, its fields, end. */
size_t frame_begin(struct buf *out, enum control_kind kind, uint64_t id);
void frame_str(struct buf *out, struct str s);
void frame_u64(struct buf *out, uint64_t v);
void frame_end(struct buf *out, size_t begun_at);

/* A received frame. */
struct frame {
	unsigned kind;
	uint64_t id;
	struct str payload; /* what is left of it; valid until the next read */
	bool bad;           /* a field was missing or of the wrong size */
};
struct str frame_take_str(struct frame *f);
uint64_t frame_take_u64(struct frame *f);

/* What has arrived on a socket and is not used yet. */
enum {
	FRAME_FDS_MAX = 64
};
struct frame_in {
	int fd;
	struct buf bytes;
	size_t used;
	int fds[FRAME_FDS_MAX]; /* owned, in order of arrival */
	size_t fd_count;
};
void frame_in_init(struct frame_in *in, int fd);
void frame_in_release(struct frame_in *in); /* not fd itself */
/* Read once; blocks if nothing is there. *ret_end: the other side closed. ERR_INVALID, ERR_IO. */
MUST_USE int frame_in_read(struct frame_in *in, bool *ret_end, struct err *err);
/* The next whole frame, if there is one. ERR_INVALID: not our protocol or version. */
MUST_USE int frame_in_next(struct frame_in *in, struct frame *ret, bool *ret_any, struct err *err);
/* The descriptor that came with the frame just taken; the caller's. -1: none. */
int frame_in_take_fd(struct frame_in *in);

/* Send all of it; `fd` (or -1) travels with the first byte. ERR_CLOSED: the other side is gone. */
MUST_USE int frame_send(int socket, struct str bytes, int fd, struct err *err);

/* ---- The owner's side ---- */

/*
 * Serve one connection until the other side closes or stop_fd (-1: never)
 * becomes readable; what is under way is finished first. Closes `fd`.
 */
void control_serve(struct service *svc, int fd, int stop_fd);

/*
 * Listen on DATA/control.sock, mode 0600, for peers with our user id or root's.
 * Needs the folder's lock, which the service holds.
 */
struct control;
MUST_USE int control_open(struct control **ret, struct service *svc, const char *data,
			  struct err *err);
void control_close(struct control *c); /* NULL is fine */

/* Connect to DATA/control.sock. ERR_NOT_FOUND: nobody listens. */
MUST_USE int control_connect(int *ret_fd, const char *data, struct err *err);
#endif
