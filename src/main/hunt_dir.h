#ifndef MAIN_HUNT_DIR_H
#define MAIN_HUNT_DIR_H
#include "base/thread.h"
#include "hunt.h"
#include "scan/many.h"

/*
 * `weir hunt --dir`: one thread walks and opens, others give what it found to scan
 * children, many files in one message.
 *
 *   walked --push--> queue --pop--> under way --answer--> over
 *                      ^               |
 *                      +-- the child died: the others again, the suspect alone --> over or told
 *
 * A file is over once: its matches were printed, or it was named with the reason why it was
 * not looked at. Where the hunt is stopped, what is left is counted.
 */
struct hunt_file {
	char *path; /* owned */
	int fd;
	uint64_t bytes;
};

struct hunt_batch {
	struct hunt_batch *next;
	uint64_t bytes;
	unsigned count;
	struct hunt_file files[SCAN_MANY_FILES];
};

/* SHA-256 of files, each once: hunt_hashes.c. Zero it first. */
struct hunt_hashes {
	uint8_t (*slots)[SHA256_BYTES]; /* all zero: free */
	size_t slot_count, count;
};
/* false: it was added before. */
bool hunt_hashes_add(struct hunt_hashes *h, const uint8_t sha256[SHA256_BYTES]);
void hunt_hashes_release(struct hunt_hashes *h);

struct hunt_dir {
	struct hunt_view *view;
	struct scan_pool *pool;
	struct scan_rules *rules; /* one reference */
	bool asks_facts;
	bool wants_hashes;
	struct lock lock;
	struct cond changed; /* a batch came or went, or a file is over */
	/* under the lock */
	struct hunt_batch *first, **last;
	unsigned queued;
	unsigned idle;    /* workers without anything to do */
	unsigned running; /* workers */
	bool walked;      /* no batch comes any more */
	bool stopped;     /* nothing is begun any more */
	char why[300];    /* it was stopped for this; "" */
	struct hunt_numbers numbers;
	uint64_t matching_files;
	uint64_t left;           /* files that were not looked at because of the stop */
	struct hunt_hashes told; /* with --hashes */
};

/* A worker's thread: until the queue is at its end or the hunt is stopped. */
void hunt_worker_run(void *hunt_dir);

/* Name what was not looked at. Any thread; not under the lock. */
void hunt_dir_failed(struct hunt_dir *h, const char *path, const char *reason);
/* Begin nothing more. The first reason stays. */
void hunt_dir_stop(struct hunt_dir *h, const char *why);
void hunt_batch_free(struct hunt_batch *b);
/* One scan slot: Livehunt has the first ones elsewhere. */
enum {
	HUNT_SLOT = SCAN_SLOTS_LIVE
};
#endif
