#ifndef INDEX_ASSEMBLE_INTERNAL_H
#define INDEX_ASSEMBLE_INTERNAL_H
#include "out_internal.h"

/*
 * What writing and merging have in common: the order of documents, how they are cut
 * into blocks, and all sections of the file but the bits of rows and the features.
 *
 * Documents come from *sources*, numbers from 0; not each need be kept. In the file they
 * are ordered by what columns they have (none, one of class 9, …, several) and then by
 * file id, so that a block has mostly one class and what belongs together lies together.
 */
struct feature_out;
struct assembly_block {
	uint32_t doc_first;
	uint32_t doc_count;
	uint32_t columns[FORMAT_CLASSES];
	uint64_t rows_at[FORMAT_CLASSES]; /* of a class's first matrix; in the section */
};

struct assembly {
	/* Given: */
	uint32_t sources;      /* how many there are */
	const uint32_t *by_id; /* those that are kept, by rising file id */
	uint32_t docs;         /* … and how many */
	void *arg;
	/* A source's value for a column of documents, little-endian; not for COLUMN_BY_ID. */
	const void *(*field)(void *arg, uint32_t source, enum format_column c);
	/* How many columns of each class it has. */
	void (*counts)(void *arg, uint32_t source, uint32_t counts[FORMAT_CLASSES]);
	/*
	 * Add the rows of one matrix, format_rows_bytes of its class and columns: of the
	 * block's columns of that class `n` from `first` on.
	 */
	int (*rows)(void *arg, const struct assembly *a, const struct assembly_block *b,
		    unsigned class, uint32_t first, uint32_t n, struct out *o, struct err *err);
	/* Add all features by feature_out_add. */
	int (*features)(void *arg, const struct assembly *a, struct feature_out *f,
			struct err *err);

	/* Made: */
	uint32_t *order;  /* by document, its source; owned, as all below */
	uint32_t *new_of; /* by source, its document; UINT32_MAX: left out */
	struct assembly_block *blocks;
	uint32_t block_count;
};

enum {
	/* A block with so many documents ends where the class changes. */
	ASSEMBLY_PURE_DOCS = 4096
};

/* Write all of it to o; h has ids, features_version and fill_max, the rest is filled in. */
MUST_USE int assemble(struct assembly *a, struct out *o, struct format_header *h,
		      uint64_t *ret_bytes, struct err *err);
void assembly_release(struct assembly *a);

/* ---- Features ---- */

/* A feature (its upper 40 bits, shifted down; rising) and its documents (rising, n > 0). */
MUST_USE int feature_out_add(struct feature_out *f, uint64_t hash, const uint32_t *docs, uint32_t n,
			     struct err *err);
#endif
