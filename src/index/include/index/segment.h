#ifndef INDEX_SEGMENT_H
#define INDEX_SEGMENT_H
#include <stdint.h>
#include "base/err.h"
#include "base/hash.h"
#include "base/io.h"

/*
 * One immutable file of the corpus index, mapped read-only: for each sample the
 * grams it has, as columns of bits, and what is known of it. Format:
 * docs/format/segment.md. Written by segment_writer.h, merged by merge.h, never
 * changed after.
 *
 * Documents are samples, 0 to segment_docs(), in the order of blocks. A block has up to
 * SEGMENT_BLOCK_DOCS of them, and one matrix of bits for each width class that they need.
 *
 * Threads:   all calls from any thread; look-ups take no lock.
 * Ownership: counted. The mapping lives until the last segment_unref.
 */
struct segment;

enum {
	SEGMENT_DOCS_MAX = 1 << 27,       /* their columns in memory stay in 32 bits */
	SEGMENT_BLOCK_DOCS = 32768,       /* also the most columns of a matrix: rows of 4 KiB */
	SEGMENT_FEATURES_PER_DOC = 65535, /* far above what any executable has */
	SEGMENT_CLASS_MIN = 18,           /* 512 rows; see gram_rows */
	SEGMENT_CLASS_MAX = 46,           /* 2^23: a chunk without repetition fills them to 0.4 */
	SEGMENT_HEAD_BYTES = 16,
	SEGMENT_PAGE_BYTES = 4096,
	SEGMENT_CHUNK_BYTES = 4 << 20,   /* large samples are chunks that begin so far apart … */
	SEGMENT_CHUNK_OVERLAP = 4 << 10, /* … and are this much longer; … */
	SEGMENT_CHUNK_FROM = SEGMENT_CHUNK_BYTES + SEGMENT_CHUNK_OVERLAP /* … those above this */
};

enum segment_doc_flag {
	SEGMENT_DOC_ALWAYS = 1,     /* its bytes could not be read: always a candidate */
	SEGMENT_DOC_NO_FEATURES = 2 /* its features are not known: predicates on them are true */
};

enum segment_corpus {
	SEGMENT_MAIN,
	SEGMENT_GOODWARE
};

/* What is known of one document. */
struct segment_doc {
	int64_t file_id;
	uint8_t sha256[SHA256_BYTES];
	uint64_t size; /* bytes */
	int64_t first_seen_s;
	uint32_t pack; /* where its bytes are: see store/pack.h */
	uint64_t offset;
	uint32_t file_type; /* vt.FileType */
	uint8_t corpus;
	uint8_t flags;
	uint8_t head[SEGMENT_HEAD_BYTES]; /* its first bytes; zeros beyond its end */
};

/*
 * Open `path` below io's root and check it: magic, version, checksums of all but the
 * rows, and that every stored offset lies inside the file. After success no look-up
 * can leave the mapping, whatever the bytes say.
 *
 * *ret: one reference for the caller; untouched on failure. io must outlive it.
 * Errors: ERR_NOT_FOUND, also for an older version, which is to be built again; ERR_IO;
 * ERR_INVALID for a newer version; ERR_CORRUPT with the section and byte offset.
 */
MUST_USE int segment_open(struct segment **ret, struct io *io, const char *path, struct err *err);
struct segment *segment_ref(struct segment *seg);
struct segment *segment_unref(struct segment *seg); /* NULL is fine; returns NULL */

uint32_t segment_docs(const struct segment *seg);
uint64_t segment_file_bytes(const struct segment *seg);
uint64_t segment_sample_bytes(const struct segment *seg); /* of all its documents' samples */
int64_t segment_first_id(const struct segment *seg);      /* file ids covered, both included */
int64_t segment_last_id(const struct segment *seg);
uint32_t segment_features_version(const struct segment *seg);
unsigned segment_fill_max(const struct segment *seg); /* see signature.h */
void segment_doc_get(const struct segment *seg, uint32_t doc, struct segment_doc *ret);
/* Where the bytes of a document are: a part of segment_doc, of which the rest is not read. */
struct segment_place {
	int64_t file_id;
	uint64_t size; /* bytes */
	uint64_t offset;
	uint32_t pack;
};
void segment_place_get(const struct segment *seg, uint32_t doc, struct segment_place *ret);
/* The document of a file; false: it has none here. Logarithmic. */
bool segment_doc_find(const struct segment *seg, int64_t file_id, uint32_t *ret_doc);

/* Columns of all documents, for predicates over many; aligned, in the order of documents. */
const uint64_t *segment_sizes(const struct segment *seg);
const uint8_t (*segment_heads(const struct segment *seg))[SEGMENT_HEAD_BYTES];
const uint8_t *segment_corpora(const struct segment *seg);
const uint8_t *segment_flags(const struct segment *seg);
const int64_t *segment_file_ids(const struct segment *seg);
const int64_t *segment_first_seen(const struct segment *seg);

/* ---- Blocks ---- */

struct segment_matrix {
	uint8_t class;      /* gram_rows(class) rows */
	uint32_t columns;   /* bits of a row that mean something; a reader masks the rest */
	uint32_t row_bytes; /* what segment_row gives: at least 1 */
	/*
	 * By column, its document counted from the block's first, never falling; NULL:
	 * column i is document doc_base + i.
	 */
	const uint16_t *docs;
	uint32_t doc_base;
	/* private to src/index */
	uint32_t row_bits; /* in the file: 1, 2, 4 or a multiple of 8 */
	uint64_t rows_at;
};
struct segment_block {
	uint32_t doc_first;
	uint32_t doc_count;
	bool has_chunks; /* some document has more than one column */
	/* Over its documents: what many look-ups need to know of them. */
	uint64_t size_min, size_max;
	uint64_t sample_bytes;
	int64_t first_seen_min_s, first_seen_max_s;
	int64_t id_min, id_max;
	uint8_t corpora;                       /* bit c: some are of segment_corpus c */
	uint8_t flags;                         /* segment_doc_flag that some have */
	const struct segment_matrix *matrices; /* by class, never falling */
	uint32_t matrix_count;
};
uint32_t segment_blocks(const struct segment *seg);
const struct segment_block *segment_block_at(const struct segment *seg, uint32_t block);

/*
 * row_bytes bytes of one row, column i in bit i % 8 of byte i / 8. NULL: a page of it
 * is damaged (told once to segment_on_damage's function); then the block's documents
 * are all candidates. The first look at a page reads it against its checksum; after
 * that it costs two loads.
 */
const uint8_t *segment_row(struct segment *seg, const struct segment_matrix *m, uint32_t row);

/*
 * Reading ahead. A look at a page that is not in memory reads that page alone and waits for
 * it, so pages of a disk are asked for together before. Pages are of SEGMENT_PAGE_BYTES, counted
 * from the begin of the file. All of it is advice: nothing is wrong without them.
 */
struct segment_pages {
	uint32_t first;
	uint32_t count;
};
/* Those of a row; of some bytes of the documents' columns. */
struct segment_pages segment_row_pages(const struct segment_matrix *m, uint32_t row);
struct segment_pages segment_column_pages(const struct segment *seg, const void *from,
					  size_t bytes);
/* Start reading them, without waiting: a system call for each 128 KiB. */
void segment_read_ahead(const struct segment *seg, struct segment_pages pages);
/* The same for the places of documents from `doc` on. Returns the first one that is left out. */
uint32_t segment_places_ahead(const struct segment *seg, uint32_t doc);
/* Is the page in memory? Also true where that cannot be told. A system call, too. */
bool segment_page_is_near(const struct segment *seg, uint32_t page);
/* Set before the segment is shared. Any thread may call it. */
void segment_on_damage(struct segment *seg,
		       void (*damaged)(struct segment *seg, uint64_t offset, void *arg), void *arg);
/* The section at an offset of the file, for messages. */
const char *segment_section_at(const struct segment *seg, uint64_t at);
/* Pages found damaged so far: of rows, or of features. */
uint64_t segment_damaged_pages(const struct segment *seg);

/* ---- Features ---- */

/*
 * Documents (rising) that have the feature, up to `cap`; the count of all. Only the top
 * 40 bits of a hash are kept, so about one document in 10^12 / (features of the segment)
 * is given for a hash that only looks the same. ERR_CORRUPT: damage, told as segment_row's
 * is; then all documents may have it.
 */
MUST_USE int segment_feature(struct segment *seg, uint64_t hash, uint32_t *docs, uint32_t cap,
			     uint32_t *ret_n, struct err *err);

/* ---- Checking ---- */

/*
 * Read every page against its checksum; calls `bad` with section and offset of each
 * that is damaged. `goes_on` is asked after each MB; false: ERR_CLOSED.
 */
MUST_USE int segment_check(struct segment *seg,
			   void (*bad)(const char *section, uint64_t offset, void *arg),
			   bool (*goes_on)(uint64_t bytes, void *arg), void *arg, struct err *err);
#endif
