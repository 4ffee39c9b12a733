#ifndef SERVICE_HUNT_INTERNAL_H
#define SERVICE_HUNT_INTERNAL_H
#include "hunt.h"

/* What hunt.c (claiming, life), hunt_worker.c (the pipeline) and suspects.c share. */

enum {
	WORKERS_MAX = 256,
	LEASE_S = 3600,             /* one process owns the folder: leases end with it */
	CLAIM_ARENA_MAX = 16 << 20, /* rows of what is claimed at once */
};

struct worker {
	struct hunt *hunt;
	struct thread thread;
	struct scan_child *child;
	struct live_set *set;                   /* loaded into the child */
	struct hunt_job *under_way[SCAN_DEPTH]; /* oldest first */
	unsigned pending;
	uint64_t pending_bytes;
	struct hunt_job *next; /* taken, but must wait for the pipeline to drain */
	struct scan_result result;
};

struct blamed {
	struct blamed *next;
	struct hunt_job *job;
	char cause[256];
};

struct hunt {
	struct service *svc;
	struct lock lock;
	struct cond work; /* waiting jobs, stopping */
	struct cond idle; /* nothing left */
	struct cond suspects;
	/* under the lock, down to `maybe_deferred` */
	struct hunt_job *waiting[2]; /* by lane */
	struct hunt_job **tails[2];
	size_t waiting_count;
	size_t held; /* claimed and not over */
	bool claiming;
	bool maybe_more; /* the queue in the database may hold some … */
	bool maybe_api;  /* … that clients wait for */
	bool stopping;
	struct hunt_job *failed; /* scanned, commit to be tried again */
	struct blamed *blamed;   /* oldest first */
	struct blamed **blamed_tail;
	size_t blamed_count;
	bool maybe_deferred;        /* the queue in the database may hold suspects */
	struct blame_memory memory; /* the blame thread's */
	struct thread blame_thread;
	unsigned worker_count;
	struct worker workers[WORKERS_MAX];
};

/* Ask for more analyses if there may be some and too few wait. */
void hunt_claim(struct hunt *h);
bool hunt_is_stopping(struct hunt *h);
/* The thread of one worker (struct worker). */
void hunt_worker(void *arg);

struct claim_req {
	struct write_req req;
	struct hunt *hunt;
	struct claim_batch *batch;
	enum write_lane last_lane;
	size_t n;
};

/* ---- suspects.c: what harmed a child, until the blame thread has looked into it ---- */
void suspects_init(struct hunt *h);
/* Take a job whose child died or hung. Any thread. */
void suspects_add(struct hunt *h, struct hunt_job *job, const char *cause);
void suspects_thread(void *arg); /* the blame thread; ends when the hunt stops */
void suspects_free(struct hunt *h);
#endif
