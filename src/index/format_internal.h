#ifndef INDEX_FORMAT_INTERNAL_H
#define INDEX_FORMAT_INTERNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/le.h"
#include "index/gram.h"
#include "index/segment.h"

/*
 * The bytes of a segment: header, footer, directories and what is computed of them.
 * Pure functions over memory; the page with the tables is docs/format/segment.md.
 */
enum {
	FORMAT_VERSION = 2,
	FORMAT_PAGE_BYTES = SEGMENT_PAGE_BYTES,
	FORMAT_HEADER_BYTES = 256, /* of the first page; the rest of it is zero */
	FORMAT_FOOTER_BYTES = 32,
	FORMAT_SALT_BYTES = 8,
	FORMAT_BLOCK_BYTES = 8,
	FORMAT_MATRIX_BYTES = 32,
	FORMAT_FEATURE_STEP = 64, /* features to an entry of their directory … */
	FORMAT_FEATURE_ENTRY_BYTES = 16,
	FORMAT_FEATURE_BITS = 40, /* … of whose hashes so many upper bits are kept */
	FORMAT_FEATURE_LONG = 16, /* from so many documents on their bytes are told */
	FORMAT_CLASSES = SEGMENT_CLASS_MAX - SEGMENT_CLASS_MIN + 1,
	FORMAT_CLASS_LARGE = 36,        /* 2^18 rows: 32 KB a column */
	FORMAT_MATRICES_OF_CLASS = 3,   /* in a block: of 8 k, 4 and 1 or 2 columns */
	FORMAT_ROWS_ALIGN_FROM = 65536, /* smaller matrices do not begin at a page */
	FORMAT_WIDE_ROW_BYTES = 128,    /* rows from here on are multiples of eight bytes */
};
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "columns of segments are used in place");

/* Sections stand in this order, without gaps but for padding. */
enum format_section {
	SECTION_DOCS,
	SECTION_BLOCKS,
	SECTION_MATRICES,
	SECTION_MAPS,
	SECTION_ROWS, /* at a page, as those that follow */
	SECTION_FEATURES,
	SECTION_FEATURE_ENTRIES,
	SECTION_CHECKS,
	SECTION_COUNT
};
/* Of a page, for messages: "header", "documents", … */
const char *section_name(enum format_section s);

struct format_extent {
	uint64_t at;
	uint64_t bytes;
};

struct format_header {
	uint8_t salt[FORMAT_SALT_BYTES];
	int64_t first_id;
	int64_t last_id;
	uint32_t docs;
	uint32_t blocks;
	uint32_t matrices;
	uint32_t features_version;
	uint64_t sample_bytes;
	uint64_t features; /* different ones */
	uint16_t fill_max; /* per thousand */
	struct format_extent sections[SECTION_COUNT];
};

void format_header_encode(const struct format_header *h, uint8_t out[FORMAT_HEADER_BYTES]);
/*
 * Also: that sections lie in order inside a file of file_bytes and have the sizes that
 * the counts ask for. ERR_CORRUPT; ERR_NOT_FOUND for an older version, ERR_INVALID
 * for a newer one.
 */
MUST_USE int format_header_decode(struct format_header *ret, const uint8_t p[FORMAT_HEADER_BYTES],
				  uint64_t file_bytes, struct err *err);

void format_footer_encode(const struct format_header *h, uint64_t file_bytes, uint32_t checks_crc,
			  uint8_t out[FORMAT_FOOTER_BYTES]);
MUST_USE int format_footer_decode(const struct format_header *h, uint64_t file_bytes,
				  const uint8_t p[FORMAT_FOOTER_BYTES], uint32_t *ret_checks_crc,
				  struct err *err);

/* Checksum of n bytes of the page with this number, or of what stands for a page. */
uint32_t format_sum(const uint8_t salt[FORMAT_SALT_BYTES], uint64_t page, const void *p, size_t n);
/* In place of a page's number. */
#define FORMAT_SUM_CHECKS UINT64_MAX
#define FORMAT_SUM_FOOTER (UINT64_MAX - 1)

/* ---- Columns of documents ---- */

/* In this order in their section, each begun at a multiple of 16 bytes. */
enum format_column {
	COLUMN_FILE_ID,    /* i64 */
	COLUMN_SHA256,     /* 32 bytes */
	COLUMN_SIZE,       /* u64 */
	COLUMN_FIRST_SEEN, /* i64 */
	COLUMN_OFFSET,     /* u64 */
	COLUMN_PACK,       /* u32 */
	COLUMN_FILE_TYPE,  /* u32 */
	COLUMN_HEAD,       /* 16 bytes */
	COLUMN_CORPUS,     /* u8 */
	COLUMN_FLAGS,      /* u8 */
	COLUMN_BY_ID,      /* u32: documents by rising file id */
	COLUMN_COUNT
};
size_t format_column_width(enum format_column c);
/* Where it begins, counted from the section's begin; COLUMN_COUNT: the section's size. */
uint64_t format_column_at(enum format_column c, uint64_t docs);

/* ---- Matrices ---- */

struct format_matrix {
	uint8_t class;
	bool has_map;
	uint32_t columns;
	uint32_t doc_base;
	uint64_t rows_at; /* from the section's begin */
	uint64_t map_at;  /* of u16; from the section's begin */
};
void format_matrix_encode(const struct format_matrix *m, uint8_t out[FORMAT_MATRIX_BYTES]);
void format_matrix_decode(struct format_matrix *ret, const uint8_t p[FORMAT_MATRIX_BYTES]);

/* Bits from one row to the next: 1, 2, 4, or whole bytes. */
uint32_t format_row_bits(uint32_t columns);
/*
 * How many of n columns of a class that are left in a block its next matrix takes. Large
 * columns are divided so that rows are full: bits of none cost as much as those of one.
 */
uint32_t format_matrix_columns(unsigned class, uint32_t n);
uint64_t format_rows_bytes(unsigned class, uint32_t columns);
/* Where rows of that size may begin, at or after `at`. */
uint64_t format_rows_align(uint64_t at, uint64_t rows_bytes);

static inline uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}
#endif
