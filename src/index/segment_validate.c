#include "segment_internal.h"

#include "base/limits.h"
#include "base/mem.h"
#include "index/signature.h"

/*
 * What a file with right checksums can still lie about. Afterwards every number that
 * offsets, documents or columns are computed with is in its range.
 */

static int bad_at(const struct segment *seg, enum format_section s, uint64_t at, const char *what,
		  struct err *err)
{
	return err_set(err, ERR_CORRUPT, "%s at %llu: %s", section_name(s),
		       (unsigned long long)(seg->header.sections[s].at + at), what);
}

static int bad_column(const struct segment *seg, enum format_column c, uint32_t doc,
		      const char *what, struct err *err)
{
	return bad_at(seg, SECTION_DOCS,
		      format_column_at(c, seg->header.docs) +
			      (uint64_t)doc * format_column_width(c),
		      what, err);
}

static int docs_validate(const struct segment *seg, struct err *err)
{
	const struct format_header *h = &seg->header;
	const int64_t *ids = segment_file_ids(seg);
	int64_t before = -1;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < h->docs; i++) {
		uint32_t doc = get_le32(seg->columns[COLUMN_BY_ID] + 4ull * i);

		if (doc >= h->docs)
			return bad_column(seg, COLUMN_BY_ID, i, "no such document", err);
		if (ids[doc] <= before)
			return bad_column(seg, COLUMN_BY_ID, i, "ids do not rise", err);
		if (ids[doc] < h->first_id || ids[doc] > h->last_id)
			return bad_column(seg, COLUMN_FILE_ID, doc, "an id outside the range", err);
		if (segment_corpora(seg)[i] > SEGMENT_GOODWARE)
			return bad_column(seg, COLUMN_CORPUS, i, "no such corpus", err);
		if (segment_flags(seg)[i] & ~(SEGMENT_DOC_ALWAYS | SEGMENT_DOC_NO_FEATURES))
			return bad_column(seg, COLUMN_FLAGS, i, "unknown flags", err);
		bytes += segment_sizes(seg)[i];
		before = ids[doc];
	}
	if (bytes != h->sample_bytes)
		return bad_column(seg, COLUMN_SIZE, 0, "sizes that do not add up", err);
	return 0;
}

static int map_validate(const struct segment *seg, const struct segment_block *b,
			const struct segment_matrix *m, uint64_t at, struct err *err)
{
	uint16_t before = 0;

	for (uint32_t i = 0; i < m->columns; i++) {
		if (m->docs[i] >= b->doc_count || m->docs[i] < before)
			return bad_at(seg, SECTION_MAPS, at + 2ull * i,
				      "a column of no document, or out of order", err);
		before = m->docs[i];
	}
	return 0;
}

/* One matrix; `*class` is that of the one before it in its block, the first time the least. */
static int matrix_validate(const struct segment *seg, struct segment_block *b, uint32_t i,
			   unsigned *class, struct err *err)
{
	const struct format_extent *rows = &seg->header.sections[SECTION_ROWS];
	const struct format_extent *maps = &seg->header.sections[SECTION_MAPS];
	uint64_t at = (uint64_t)i * FORMAT_MATRIX_BYTES;
	const uint8_t *stored = segment_section(seg, SECTION_MATRICES) + at;
	struct segment_matrix *m = &seg->matrices[i];
	struct format_matrix f;
	uint64_t bytes;

	format_matrix_decode(&f, stored);
	if (f.class < *class || f.class > SEGMENT_CLASS_MAX)
		return bad_at(seg, SECTION_MATRICES, at, "a class out of order", err);
	if (stored[1] > 1 || get_le16(stored + 2) != 0 || get_le32(stored + 12) != 0)
		return bad_at(seg, SECTION_MATRICES, at + 1, "unknown flags", err);
	if (f.columns == 0 || f.columns > SEGMENT_BLOCK_DOCS)
		return bad_at(seg, SECTION_MATRICES, at + 4, "a wrong number of columns", err);
	if (f.has_map ? f.doc_base != 0
		      : f.doc_base > b->doc_count || f.columns > b->doc_count - f.doc_base)
		return bad_at(seg, SECTION_MATRICES, at + 8, "columns of no document", err);
	bytes = format_rows_bytes(f.class, f.columns);
	if (bytes > rows->bytes || f.rows_at > rows->bytes - bytes || f.rows_at % 8 != 0)
		return bad_at(seg, SECTION_MATRICES, at + 16, "rows outside their section", err);
	if (f.has_map ? 2ull * f.columns > maps->bytes ||
				f.map_at > maps->bytes - 2ull * f.columns || f.map_at % 2 != 0
		      : f.map_at != 0)
		return bad_at(seg, SECTION_MATRICES, at + 24, "a map outside its section", err);
	*m = (struct segment_matrix){
		.class = f.class,
		.columns = f.columns,
		.row_bytes = (format_row_bits(f.columns) + 7) / 8,
		.docs = f.has_map ? (const uint16_t *)(const void *)(segment_section(seg,
										     SECTION_MAPS) +
								     f.map_at)
				  : NULL,
		.doc_base = f.doc_base,
		.row_bits = format_row_bits(f.columns),
		.rows_at = rows->at + f.rows_at,
	};
	*class = f.class;
	return f.has_map ? map_validate(seg, b, m, f.map_at, err) : 0;
}

/* What look-ups want to know of a block and is not worth storing. */
static void block_summarize(const struct segment *seg, struct segment_block *b)
{
	b->size_min = UINT64_MAX;
	b->first_seen_min_s = b->id_min = INT64_MAX;
	b->first_seen_max_s = b->id_max = INT64_MIN;
	for (uint32_t i = 0; i < b->doc_count; i++) {
		uint64_t size = segment_sizes(seg)[b->doc_first + i];
		int64_t seen = segment_first_seen(seg)[b->doc_first + i];
		int64_t id = segment_file_ids(seg)[b->doc_first + i];

		b->size_min = size < b->size_min ? size : b->size_min;
		b->size_max = size > b->size_max ? size : b->size_max;
		b->sample_bytes += size;
		b->first_seen_min_s = seen < b->first_seen_min_s ? seen : b->first_seen_min_s;
		b->first_seen_max_s = seen > b->first_seen_max_s ? seen : b->first_seen_max_s;
		b->id_min = id < b->id_min ? id : b->id_min;
		b->id_max = id > b->id_max ? id : b->id_max;
		b->corpora |= (uint8_t)(1u << segment_corpora(seg)[b->doc_first + i]);
		b->flags |= segment_flags(seg)[b->doc_first + i];
	}
}

/*
 * Each document has the columns that a sample of its size has: one that lacked any
 * would be missed.
 */
static int columns_validate(const struct segment *seg, struct segment_block *b, uint32_t *counts,
			    struct err *err)
{
	for (uint32_t i = 0; i < b->doc_count; i++)
		counts[i] = 0;
	for (uint32_t k = 0; k < b->matrix_count; k++) {
		const struct segment_matrix *m = &b->matrices[k];

		for (uint32_t i = 0; i < m->columns; i++)
			counts[m->docs ? m->docs[i] : m->doc_base + i]++;
	}
	for (uint32_t i = 0; i < b->doc_count; i++) {
		uint32_t doc = b->doc_first + i;
		uint64_t size = segment_sizes(seg)[doc];

		b->has_chunks |= counts[i] > 1;
		if (segment_flags(seg)[doc] & SEGMENT_DOC_ALWAYS
			    ? counts[i] != 0
			    : size > LIMIT_SAMPLE_BYTES || counts[i] != signature_columns(size))
			return bad_column(seg, COLUMN_SIZE, doc,
					  "a size that its columns do not fit", err);
	}
	return 0;
}

static int blocks_validate(struct segment *seg, struct err *err)
{
	const struct format_header *h = &seg->header;
	AUTO(mem_drop) uint32_t *counts = mem_must_zalloc(SEGMENT_BLOCK_DOCS * sizeof *counts);
	uint32_t doc = 0;
	uint32_t matrix = 0;

	for (uint32_t i = 0; i < h->blocks; i++) {
		uint64_t at = (uint64_t)i * FORMAT_BLOCK_BYTES;
		const uint8_t *stored = segment_section(seg, SECTION_BLOCKS) + at;
		struct segment_block *b = &seg->blocks[i];
		unsigned class = SEGMENT_CLASS_MIN;

		b->doc_first = doc;
		b->doc_count = get_le32(stored);
		b->matrix_count = get_le32(stored + 4);
		b->matrices = seg->matrices + matrix;
		if (b->doc_count == 0 || b->doc_count > SEGMENT_BLOCK_DOCS ||
		    b->doc_count > h->docs - doc)
			return bad_at(seg, SECTION_BLOCKS, at, "a wrong number of documents", err);
		if (b->matrix_count > h->matrices - matrix)
			return bad_at(seg, SECTION_BLOCKS, at + 4, "too many matrices", err);
		for (uint32_t k = 0; k < b->matrix_count; k++)
			TRY(matrix_validate(seg, b, matrix + k, &class, err));
		TRY(columns_validate(seg, b, counts, err));
		block_summarize(seg, b);
		doc += b->doc_count;
		matrix += b->matrix_count;
	}
	if (doc != h->docs || matrix != h->matrices)
		return bad_at(seg, SECTION_BLOCKS, 0, "documents or matrices in no block", err);
	return 0;
}

int segment_validate(struct segment *seg, struct err *err)
{
	const struct format_header *h = &seg->header;

	TRY(mem_try_array((void **)&seg->blocks, h->blocks, sizeof *seg->blocks, err));
	TRY(mem_try_array((void **)&seg->matrices, h->matrices, sizeof *seg->matrices, err));
	TRY(docs_validate(seg, err));
	TRY(blocks_validate(seg, err));
	return 0;
}

uint32_t segment_matrix_columns_of(const struct segment_matrix *m, uint32_t doc,
				   uint32_t *ret_first)
{
	uint32_t low = 0;
	uint32_t high = m->columns;
	uint32_t end;

	if (!m->docs) {
		*ret_first = doc - m->doc_base;
		return doc >= m->doc_base && doc - m->doc_base < m->columns;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (m->docs[middle] < doc)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < m->columns && m->docs[end] == doc; end++)
		;
	*ret_first = low;
	return end - low;
}
