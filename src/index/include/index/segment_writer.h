#ifndef INDEX_SEGMENT_WRITER_H
#define INDEX_SEGMENT_WRITER_H
#include "index/segment.h"
#include "index/signature.h"

/*
 * Gathers documents in memory and writes them as one segment. A writer is for one thread
 * at a time; signatures may be made by others (signature.h) and handed over.
 *
 *   segment_writer_new -> segment_writer_add until full -> segment_writer_write -> _free
 */
struct segment_writer;

struct segment_writer_options {
	uint64_t memory_bytes;     /* when it says that it is full; writing takes little more */
	uint32_t features_version; /* of the extractor */
	unsigned fill_max;         /* of the signatures; see signature.h */
};

enum {
	SEGMENT_WRITER_DOCS_MAX = 1 << 20 /* then it is full whatever its memory */
};

struct segment_writer *segment_writer_new(const struct segment_writer_options *options);
void segment_writer_free(struct segment_writer *w); /* NULL is fine */
void segment_writer_drop(struct segment_writer **w);

/*
 * Add a document. Its signature becomes the writer's, also on failure. Features are 64-bit
 * hashes in any order. A sample that could not be read whole has SEGMENT_DOC_ALWAYS and no
 * signature (NULL); all others have one of the size that the document says.
 *
 * Errors: ERR_INVALID: full, too many features, or a
 * signature that is not of a sample of this size. Nothing was added then.
 */
MUST_USE int segment_writer_add(struct segment_writer *w, const struct segment_doc *doc,
				struct signature *sig, const uint64_t *features, size_t features_n,
				struct err *err);

uint32_t segment_writer_docs(const struct segment_writer *w);
uint64_t segment_writer_memory(const struct segment_writer *w);
/* Write it before you add more. One document may take it over its memory. */
bool segment_writer_is_full(const struct segment_writer *w);

/*
 * Write a segment that covers the file ids from first_id to last_id, among them those of
 * all documents added, to `path` below io's root: as `path`.tmp, synced, renamed, its
 * folder synced. *ret_bytes: the file's. The writer may be written again or freed.
 *
 * Errors: ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY, ERR_INVALID for ids outside the range or twice;
 * no file of either name is left then.
 */
MUST_USE int segment_writer_write(struct segment_writer *w, struct io *io, const char *path,
				  int64_t first_id, int64_t last_id, uint64_t *ret_bytes,
				  struct err *err);
#endif
