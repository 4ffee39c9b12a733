#ifndef INDEX_MERGE_H
#define INDEX_MERGE_H
#include "index/segment.h"

/*
 * Neighbouring segments become one: their columns are put side by side, class by class,
 * without a look at the samples. Documents whose file was removed are left out.
 */
enum {
	SEGMENT_MERGE_MAX = 64 /* segments at once: each is read at several places in turn */
};

struct segment_merge {
	const int64_t *dead; /* file ids that are left out, rising; others than theirs are fine */
	size_t dead_n;
	/* Asked after each MB or so; bytes of the new file written. false: ERR_CLOSED. */
	bool (*goes_on)(uint64_t bytes, void *arg);
	void *arg;
};

/*
 * Merge n segments (1 to SEGMENT_MERGE_MAX; their ranges rise and do not overlap) into
 * one at `path` that covers their ids from the first to the last, and is written as
 * segment_writer_write says. *ret_bytes: the new file's.
 *
 * Features that an older extractor made than that of the newest segment are dropped, and
 * their documents have SEGMENT_DOC_NO_FEATURES. Takes some 20 bytes of memory for each
 * document, and reads and writes each byte once. `options` NULL: none.
 *
 * Errors: ERR_CORRUPT when a page of an input is damaged (the message names its path, what
 * and where): build that range again from its samples. ERR_INVALID: segments out of order,
 * or with more than SEGMENT_DOCS_MAX documents. ERR_CLOSED, ERR_IO, ERR_NO_SPACE,
 * ERR_NO_MEMORY. No file is left then.
 */
MUST_USE int segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			   const struct segment_merge *options, uint64_t *ret_bytes,
			   struct err *err);
#endif
