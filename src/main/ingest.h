#ifndef MAIN_INGEST_H
#define MAIN_INGEST_H
#include <stdatomic.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/thread.h"
#include "main/walk.h"

/*
 * What `weir ingest` shows and keeps beside its work (ingest.c).
 */

struct ingest_numbers {
	uint64_t files; /* in, this run */
	uint64_t bytes;
	uint64_t duplicates; /* of files */
	uint64_t failed;
	uint64_t skipped; /* devices, pipes, our own folder */
	uint64_t links;
	uint64_t before; /* files that an earlier run brought in */
	uint64_t failed_before;
};

/* ---- Counting ahead, on a thread of its own, so that there is an end to compare with ---- */
struct ingest_count {
	struct walk *walk; /* the thread's */
	struct thread thread;
	_Atomic uint64_t files;
	_Atomic uint64_t bytes;
	_Atomic bool over; /* files and bytes are all there is */
	_Atomic bool stop;
};
/* Takes the walk. */
void ingest_count_start(struct ingest_count *c, struct walk *walk);
void ingest_count_stop(struct ingest_count *c);

/* ---- What is shown: a bar on a terminal, else a line every few seconds ---- */
struct ingest_view {
	bool is_terminal;
	bool drawn; /* a bar stands in the last line */
	int64_t started_us;
	int64_t shown_us;
	int64_t every_us;
	/* rates of the last moments */
	int64_t rate_since_us;
	uint64_t rate_files;
	uint64_t rate_bytes;
	double files_per_s;
	double bytes_per_s;
};
void ingest_view_init(struct ingest_view *v, uint64_t every_s);
/* When the next showing is due, in ms from now. */
int ingest_view_due_ms(const struct ingest_view *v);
/* Show it if it is time. */
void ingest_view_tick(struct ingest_view *v, const struct ingest_numbers *n,
		      const struct ingest_count *count);
/* The same while analyses are waited for. */
void ingest_view_waiting(struct ingest_view *v, uint64_t open);
/* A line of its own, on standard error; the bar makes room. */
void ingest_view_line(struct ingest_view *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
void ingest_view_end(struct ingest_view *v);
/* Last words, on standard output. */
void ingest_view_summary(const struct ingest_view *v, const struct ingest_numbers *n);

/* ---- Going on where an earlier run of the same command stopped ---- */

/*
 * DATA/ingest/<hash of corpus and paths>.progress: the last place of the walk up
 * to which everything is durable. Behind the truth after a crash, never before
 * it; files behind it are sent again and found to be there.
 */
struct ingest_mark {
	char path[4096];
	char aside[4096 + 8];
};
MUST_USE int ingest_mark_init(struct ingest_mark *m, const char *data, const char *corpus,
			      const char *const *paths, size_t n, struct err *err);
/* *ret_below: owned by the caller, NULL if there is nothing to go on from. */
MUST_USE int ingest_mark_read(const struct ingest_mark *m, size_t path_count, size_t *ret_path,
			      char **ret_below, struct ingest_numbers *numbers, struct err *err);
MUST_USE int ingest_mark_write(const struct ingest_mark *m, const struct walk_place *place,
			       const struct ingest_numbers *numbers, struct err *err);
void ingest_mark_remove(const struct ingest_mark *m);
#endif
