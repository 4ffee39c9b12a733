#ifndef INDEX_SEGMENT_INTERNAL_H
#define INDEX_SEGMENT_INTERNAL_H
#include "base/str.h"
#include "format_internal.h"
#include "index/segment.h"

#define SEGMENT_MAGIC 0x5e63e47au

struct segment {
	uint32_t magic; /* SEGMENT_MAGIC while alive, 0 after */
	_Atomic uint32_t refs;
	struct io *io;
	char *path; /* owned, as all below */
	struct io_file *file;
	const uint8_t *map;
	uint64_t bytes;
	struct format_header header;
	const uint8_t *columns[COLUMN_COUNT];
	struct segment_block *blocks;
	struct segment_matrix *matrices;
	const uint8_t *checks; /* u32 for each page before them */

	/* By page, one bit: it was read against its checksum; it was found damaged. */
	void *page_bits;
	_Atomic uint64_t *pages_whole;
	_Atomic uint64_t *pages_damaged;
	_Atomic uint64_t damaged;
	void (*on_damage)(struct segment *seg, uint64_t offset, void *arg);
	void *on_damage_arg;
};

static inline const uint8_t *segment_section(const struct segment *seg, enum format_section s)
{
	return seg->map + seg->header.sections[s].at;
}

/*
 * Are the pages that hold these bytes whole? The first look at each reads it.
 * *ret_bad (may be NULL): where the first one begins that is not.
 */
bool segment_whole(struct segment *seg, uint64_t at, uint64_t bytes, uint64_t *ret_bad);

/* Note a page as damaged, and tell of it the first time. */
void segment_page_damaged(struct segment *seg, uint64_t page);

/* What rows narrower than a byte are given as. */
extern const uint8_t segment_small_rows[16];

/* segment_row where its pages are known to be whole. */
static inline const uint8_t *segment_row_whole(const struct segment *seg,
					       const struct segment_matrix *m, uint32_t row)
{
	uint64_t bit = (uint64_t)row * m->row_bits;
	const uint8_t *p = seg->map + m->rows_at + bit / 8;

	if (m->row_bits >= 8)
		return p;
	return &segment_small_rows[*p >> (bit % 8) & ((1u << m->row_bits) - 1)];
}

/* Parse blocks and matrices and check all that is computed with later. */
MUST_USE int segment_validate(struct segment *seg, struct err *err);

/* Columns of this document (counted from the block's first) in a matrix: *ret_first and the count.
 */
uint32_t segment_matrix_columns_of(const struct segment_matrix *m, uint32_t doc,
				   uint32_t *ret_first);

/* ---- Features ---- */

/* Up to FORMAT_FEATURE_STEP of them. */
struct feature_step {
	struct str rest; /* of the stream, in this step */
	uint64_t hash;
	uint64_t left; /* features of the step not read yet */
};

/* All features of a segment, by rising hash. Zeroed but for seg; then next until n is 0. */
struct feature_reader {
	struct segment *seg;
	uint64_t hash; /* its upper FORMAT_FEATURE_BITS, shifted down */
	uint32_t n;    /* documents; 0: there are no more features */
	uint32_t *docs;
	/* private */
	uint32_t docs_cap;
	uint64_t step_next;
	bool any;
	struct feature_step step;
};
MUST_USE int feature_reader_next(struct feature_reader *r, struct err *err);
void feature_reader_release(struct feature_reader *r);
#endif
