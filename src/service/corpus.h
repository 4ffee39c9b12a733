#ifndef SERVICE_CORPUS_H
#define SERVICE_CORPUS_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "service/service.h"

/*
 * Which segments of the corpus index there are, and for each range of file ids where
 * to look: in a segment, or at the samples themselves.
 *
 * Threads: all calls from any thread.
 */
struct segment;

/*
 * The segments as they are in one moment. They stay open, and their files stay, until
 * corpus_snapshot_free, whatever is merged meanwhile; files that are removed meanwhile
 * are seen as dead at once.
 *
 * A snapshot says nothing of which files there are: an id in no segment may be a file's
 * that is not indexed yet, or nobody's. Take it after the ids that are asked for were
 * fixed; a range that is covered once may be uncovered in a later snapshot (a damaged
 * segment was dropped) and the other way round.
 */
struct corpus_snapshot;

/* Without an index (setting `index`) it has no segment. Cheap: one counted reference. */
struct corpus_snapshot *corpus_snapshot_take(struct service *svc);
void corpus_snapshot_free(struct corpus_snapshot *s); /* NULL is fine */
/* How many segments it has. */
size_t corpus_snapshot_segments(const struct corpus_snapshot *s);

/* A part of a range of file ids. */
struct corpus_part {
	int64_t first_id; /* both included */
	int64_t last_id;
	/*
	 * Covers all files of the part, and maybe others around it: documents outside of
	 * first_id to last_id are to be left out. NULL: nobody covers it. Lives as long as
	 * the snapshot.
	 */
	struct segment *segment;
	int64_t segment_id; /* as in the table and in messages; 0: none */
	/*
	 * By document of the segment, bit d % 64 of word d / 64: it is removed and to be
	 * left out. Read with corpus_is_dead or by words; the tail of the last word is 0.
	 */
	const _Atomic uint64_t *dead;
};
/*
 * The part of *from to last_id that begins at *from, and *from past it. false: *from is
 * past last_id, there is no further one. Parts are as large as they can be: one for each
 * segment, one for each hole between two.
 *
 *   for (int64_t at = first; corpus_snapshot_next(s, &at, last, &part);) …
 */
bool corpus_snapshot_next(const struct corpus_snapshot *s, int64_t *from, int64_t last_id,
			  struct corpus_part *ret);

static inline bool corpus_is_dead(const struct corpus_part *part, uint32_t doc)
{
	return atomic_load_explicit(&part->dead[doc / 64], memory_order_relaxed) >> doc % 64 & 1;
}

/* ---- For the parts of the service ---- */

/* Open the segments; with the setting `index`, and unless nothing is hunted, write them from now
 * on. */
MUST_USE int corpus_start(struct service *svc, struct err *err);
/* Stop writing segments: what is half written goes. Snapshots can still be taken. */
void corpus_stop(struct service *svc);
/* All snapshots must have been given back. */
void corpus_free(struct service *svc);
/* There may be something to do now. */
void corpus_wake(struct service *svc);
/* After the commit that removed a file. */
void corpus_file_removed(struct service *svc, int64_t file_id);
#endif
