#ifndef SERVICE_CORPUS_INTERNAL_H
#define SERVICE_CORPUS_INTERNAL_H
#include "corpus.h"
#include "index/segment.h"
#include "service_internal.h"
#include "store/meta_index.h"

/*
 * The corpus, by file:
 *
 *   corpus.c         the thread, and what it does next
 *   corpus_list.c    the list of open segments, snapshots, removed files
 *   corpus_open.c    the start: segments opened, lost ones dropped, garbage removed
 *   corpus_build.c   which files wait; samples read, signed and written as a segment
 *   corpus_rebuild.c segments that are built anew, for damage or because somebody asked
 *   corpus_merge.c   neighbours that become one
 *   corpus_change.c  a change: rows in one transaction, then the list, then files go
 *
 * Invariants
 *  1. One thread, the corpus's, writes segments and changes their rows.
 *  2. A segment's file is whole and durable under its name before its row commits, and
 *     unlinked only after the transaction that removed its row.
 *  3. The list in memory changes on the writer's thread, after the commit, so that the
 *     removals that commit later find the new segments there.
 *
 *   files wait --build--> file --change--> row, listed --merge, rebuild--> row gone, file unlinked
 *                           |                                            (who reads it, reads on)
 *                     failed, stopped: unlinked
 */
enum {
	CORPUS_PATH_BYTES = 32, /* "index/0000000001.seg" */
};
#define CORPUS_ID_MAX (INT64_MAX - 1) /* ids are counted from 1: nobody gets there */

/* An open segment. Counted. */
struct corpus_segment {
	_Atomic uint32_t refs;
	struct corpus *corpus;
	struct segment *seg; /* owned */
	struct segment_row row;
	_Atomic uint64_t *dead; /* owned; by document */
	_Atomic uint32_t dead_count;
	_Atomic bool is_damaged; /* some of its pages are: its row is to be made stale */
	_Atomic bool is_stale;   /* to be built anew */
};

/* Immutable once it is shared. By rising range. */
struct corpus_snapshot {
	_Atomic uint32_t refs;
	size_t count;
	struct corpus_segment *segments[]; /* a reference each */
};

/* A segment that is built anew, piece by piece; its pieces take its place together. */
struct corpus_rebuild {
	struct corpus_segment *old; /* a reference; NULL: none is under way */
	int64_t at_id;              /* files below are in the pieces */
	struct corpus_segment **pieces;
	size_t piece_count;
};

struct corpus {
	struct service *svc;
	struct thread thread;
	struct lock lock;
	struct cond wake;    /* for the thread */
	struct cond changed; /* a change that was submitted is over */
	/* under the lock */
	struct corpus_snapshot *list;
	bool woken;
	bool stopping;
	struct err failure;             /* of the last step; kind ERR_NONE: it went well */
	_Atomic uint64_t rebuilt_bytes; /* of samples, in pieces of what is being built anew */
	/* the thread's own */
	int64_t from_id;    /* files below are in segments */
	int64_t waiting_id; /* the first file in none that is ready for one … */
	int64_t waiting_us; /* … since then (monotonic) */
	int64_t built_us;   /* when files were put into a segment last; at first the start */
	int64_t looked_us;  /* when it was last looked whether what waits fills a segment */
	int64_t retry_us;   /* nothing is written before */
	/* A row of a file that waits is damaged: what is in segments is worked on meanwhile. */
	struct err build_failure; /* kind ERR_NONE: none is */
	int64_t build_retry_us;   /* nothing is built before */
	bool is_full;             /* the disk; and it was said */
	struct corpus_rebuild rebuild;
};

/* ---- corpus.c ---- */
bool corpus_stops(struct corpus *c);
/* Why nothing is written for now; 0: all is well. */
MUST_USE int corpus_failure(struct corpus *c, struct err *err);
/* The thread and those it starts give way to everybody else. */
void corpus_give_way(void);

/* ---- corpus_list.c ---- */
/* Takes `seg` over; one reference for the caller. Damage of its pages is noted from now on. */
struct corpus_segment *corpus_segment_new(struct corpus *c, const struct segment_row *row,
					  struct segment *seg);
struct corpus_segment *corpus_segment_ref(struct corpus_segment *s);
struct corpus_segment *corpus_segment_unref(struct corpus_segment *s); /* NULL is fine */
void corpus_segment_kill(struct corpus_segment *s, int64_t file_id);   /* the file is removed */
void corpus_list_init(struct corpus *c);
struct corpus_snapshot *corpus_list_get(struct corpus *c);
/* Take some out and put others in. */
void corpus_list_change(struct corpus *c, struct corpus_segment *const *outs, size_t out_count,
			struct corpus_segment *const *ins, size_t in_count);

/* ---- corpus_open.c ---- */
void corpus_path(char path[CORPUS_PATH_BYTES], int64_t segment_id);
/* Open the segments of the table. */
MUST_USE int corpus_open(struct corpus *c, struct err *err);

/* ---- corpus_build.c ---- */
/*
 * Write one segment of files with ids from first_id on, as many as fit into one and up
 * to last_id at most. It is open and has no row. *ret NULL: there is no such file.
 */
MUST_USE int corpus_build(struct corpus *c, int64_t first_id, int64_t last_id,
			  struct corpus_segment **ret, struct err *err);
/* Make a segment of files that wait, if it is time. *ret_did false: it is not. */
MUST_USE int corpus_build_step(struct corpus *c, bool *ret_did, struct err *err);

/* ---- corpus_rebuild.c ---- */
MUST_USE int corpus_rebuild_step(struct corpus *c, bool *ret_did, struct err *err);
void corpus_rebuild_drop(struct corpus *c); /* what is under way goes */

/* ---- corpus_merge.c ---- */
MUST_USE int corpus_merge_step(struct corpus *c, bool *ret_did, struct err *err);
struct corpus_merge_limits {
	uint32_t fan_in;
	uint64_t docs_max; /* of a merged segment */
	uint64_t bytes_max;
	bool rests; /* nothing comes in: fewer are enough */
};
/*
 * Neighbours that should be one, or one that should be written without its removed files
 * (dead[i] of them); *ret_n 0: none. By rows alone.
 */
void corpus_merge_choose(const struct segment_row *rows, const uint32_t *dead, size_t n,
			 const struct corpus_merge_limits *limits, size_t *ret_first,
			 size_t *ret_n);

/* ---- corpus_change.c ---- */
/* The id for a segment that is going to be written. */
MUST_USE int corpus_next_id(struct corpus *c, int64_t *ret, struct err *err);
/*
 * Put segments in the place of others: rows, list, files. The caller's references stay
 * its own. On failure nothing has changed, and the files of those that would have come
 * are gone.
 */
MUST_USE int corpus_change(struct corpus *c, struct corpus_segment *const *outs, size_t out_count,
			   struct corpus_segment *const *ins, size_t in_count, struct err *err);
/* The same for one that others were merged into: to be built anew if one of them is by now. */
MUST_USE int corpus_change_merged(struct corpus *c, struct corpus_segment *const *outs,
				  size_t out_count, struct corpus_segment *in, struct err *err);
/* Open a segment that was just written, with its row; its file goes if that fails. */
MUST_USE int corpus_open_new(struct corpus *c, const struct segment_row *row,
			     struct corpus_segment **ret, struct err *err);
void corpus_unlink(struct corpus *c, int64_t segment_id);
#endif
