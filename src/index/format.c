#include "format_internal.h"

#include <string.h>

#include "base/hash.h"
#include "index/signature.h"

static const uint8_t header_magic[8] = { 'w', 'e', 'i', 'r', 's', 'e', 'g', 'm' };
static const uint8_t footer_magic[8] = { 'W', 'S', 'E', 'G', 'E', 'N', 'D', '!' };

enum {
	HEADER_SECTIONS_AT = 96,
	HEADER_SUM_AT = FORMAT_HEADER_BYTES - 4,
	FOOTER_SUM_AT = FORMAT_FOOTER_BYTES - 4
};

const char *section_name(enum format_section s)
{
	static const char *const names[SECTION_COUNT] = {
		[SECTION_DOCS] = "documents",
		[SECTION_BLOCKS] = "blocks",
		[SECTION_MATRICES] = "matrices",
		[SECTION_MAPS] = "column maps",
		[SECTION_ROWS] = "rows",
		[SECTION_FEATURES] = "features",
		[SECTION_FEATURE_ENTRIES] = "feature directory",
		[SECTION_CHECKS] = "checksums",
	};

	return names[s];
}

uint32_t format_sum(const uint8_t salt[FORMAT_SALT_BYTES], uint64_t page, const void *p, size_t n)
{
	uint8_t place[FORMAT_SALT_BYTES + 8];

	memcpy(place, salt, FORMAT_SALT_BYTES);
	put_le64(place + FORMAT_SALT_BYTES, page);
	return crc32c(crc32c(0, place, sizeof place), p, n);
}

void format_header_encode(const struct format_header *h, uint8_t out[FORMAT_HEADER_BYTES])
{
	memset(out, 0, FORMAT_HEADER_BYTES);
	memcpy(out, header_magic, sizeof header_magic);
	put_le16(out + 8, FORMAT_VERSION);
	put_le16(out + 10, FORMAT_HEADER_BYTES);
	memcpy(out + 16, h->salt, FORMAT_SALT_BYTES);
	put_le64(out + 24, (uint64_t)h->first_id);
	put_le64(out + 32, (uint64_t)h->last_id);
	put_le32(out + 40, h->docs);
	put_le32(out + 44, h->blocks);
	put_le32(out + 48, h->matrices);
	put_le32(out + 52, h->features_version);
	put_le64(out + 56, h->sample_bytes);
	put_le64(out + 64, h->features);
	put_le16(out + 72, h->fill_max);
	for (int i = 0; i < SECTION_COUNT; i++) {
		put_le64(out + HEADER_SECTIONS_AT + 16 * i, h->sections[i].at);
		put_le64(out + HEADER_SECTIONS_AT + 16 * i + 8, h->sections[i].bytes);
	}
	put_le32(out + HEADER_SUM_AT, crc32c(0, out, HEADER_SUM_AT));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

static int header_magic_check(const uint8_t *p, struct err *err)
{
	if (memcmp(p, header_magic, sizeof header_magic) != 0)
		return err_set(err, ERR_CORRUPT, "header at 0: not a segment");
	if (get_le32(p + HEADER_SUM_AT) != crc32c(0, p, HEADER_SUM_AT))
		return err_set(err, ERR_CORRUPT, "header at 0: its checksum is wrong");
	if (get_le16(p + 8) < FORMAT_VERSION)
		return err_set(err, ERR_NOT_FOUND, "segment of version %u: an older weir wrote it",
			       get_le16(p + 8));
	if (get_le16(p + 8) != FORMAT_VERSION || get_le16(p + 10) != FORMAT_HEADER_BYTES ||
	    get_le32(p + 12) != 0)
		return err_set(err, ERR_INVALID,
			       "segment of version %u with features %#x: a newer weir wrote it",
			       get_le16(p + 8), get_le32(p + 12));
	if (!all_zero(p + 74, HEADER_SECTIONS_AT - 74) ||
	    !all_zero(p + HEADER_SECTIONS_AT + 16 * SECTION_COUNT,
		      HEADER_SUM_AT - HEADER_SECTIONS_AT - 16 * SECTION_COUNT))
		return err_set(err, ERR_CORRUPT, "header at 74: bytes that must be zero are not");
	return 0;
}

static int header_counts_check(const struct format_header *h, struct err *err)
{
	if (h->docs > SEGMENT_DOCS_MAX)
		return err_set(err, ERR_CORRUPT, "header at 40: %u documents", h->docs);
	if (h->blocks > h->docs || (h->blocks == 0) != (h->docs == 0))
		return err_set(err, ERR_CORRUPT, "header at 44: %u blocks of %u documents",
			       h->blocks, h->docs);
	if (h->matrices > (uint64_t)h->blocks * FORMAT_CLASSES * FORMAT_MATRICES_OF_CLASS)
		return err_set(err, ERR_CORRUPT, "header at 48: %u matrices in %u blocks",
			       h->matrices, h->blocks);
	if (h->first_id < 0 || h->last_id < h->first_id)
		return err_set(err, ERR_CORRUPT, "header at 24: ids %lld to %lld",
			       (long long)h->first_id, (long long)h->last_id);
	if (h->features > (uint64_t)h->docs * SEGMENT_FEATURES_PER_DOC)
		return err_set(err, ERR_CORRUPT, "header at 64: %llu features of %u documents",
			       (unsigned long long)h->features, h->docs);
	if (h->fill_max < SIGNATURE_FILL_MIN || h->fill_max > SIGNATURE_FILL_MAX)
		return err_set(err, ERR_CORRUPT, "header at 72: a fill of %u", h->fill_max);
	return 0;
}

static int sections_check(const struct format_header *h, uint64_t file_bytes, struct err *err)
{
	const struct format_extent *s = h->sections;
	uint64_t at = FORMAT_PAGE_BYTES;
	const struct {
		enum format_section section;
		uint64_t bytes;
	} known[] = {
		{ SECTION_DOCS, format_column_at(COLUMN_COUNT, h->docs) },
		{ SECTION_BLOCKS, (uint64_t)h->blocks * FORMAT_BLOCK_BYTES },
		{ SECTION_MATRICES, (uint64_t)h->matrices * FORMAT_MATRIX_BYTES },
		{ SECTION_FEATURE_ENTRIES, (h->features + FORMAT_FEATURE_STEP - 1) /
						   FORMAT_FEATURE_STEP *
						   FORMAT_FEATURE_ENTRY_BYTES },
		{ SECTION_CHECKS, s[SECTION_CHECKS].at / FORMAT_PAGE_BYTES * 4 },
	};

	for (int i = 0; i < SECTION_COUNT; i++) {
		uint64_t align = i >= SECTION_ROWS ? FORMAT_PAGE_BYTES : 16;

		at = round_up(at, align);
		if (s[i].at != at || s[i].bytes > file_bytes - FORMAT_FOOTER_BYTES ||
		    at + s[i].bytes > file_bytes - FORMAT_FOOTER_BYTES)
			return err_set(err, ERR_CORRUPT,
				       "header at %d: %s of %llu bytes at %llu in a file of %llu",
				       HEADER_SECTIONS_AT + 16 * i, section_name(i),
				       (unsigned long long)s[i].bytes, (unsigned long long)s[i].at,
				       (unsigned long long)file_bytes);
		at += s[i].bytes;
	}
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (s[known[i].section].bytes != known[i].bytes)
			return err_set(err, ERR_CORRUPT, "header at %d: %s of %llu bytes, not %llu",
				       HEADER_SECTIONS_AT + 16 * (int)known[i].section,
				       section_name(known[i].section),
				       (unsigned long long)s[known[i].section].bytes,
				       (unsigned long long)known[i].bytes);
	}
	if (at + FORMAT_FOOTER_BYTES != file_bytes)
		return err_set(err, ERR_CORRUPT,
			       "footer at %llu: the file has %llu bytes, not %llu",
			       (unsigned long long)at, (unsigned long long)file_bytes,
			       (unsigned long long)at + FORMAT_FOOTER_BYTES);
	return 0;
}

int format_header_decode(struct format_header *ret, const uint8_t p[FORMAT_HEADER_BYTES],
			 uint64_t file_bytes, struct err *err)
{
	struct format_header h = { 0 };

	REQUIRE(file_bytes >= FORMAT_PAGE_BYTES + FORMAT_FOOTER_BYTES);
	TRY(header_magic_check(p, err));
	memcpy(h.salt, p + 16, FORMAT_SALT_BYTES);
	h.first_id = (int64_t)get_le64(p + 24);
	h.last_id = (int64_t)get_le64(p + 32);
	h.docs = get_le32(p + 40);
	h.blocks = get_le32(p + 44);
	h.matrices = get_le32(p + 48);
	h.features_version = get_le32(p + 52);
	h.sample_bytes = get_le64(p + 56);
	h.features = get_le64(p + 64);
	h.fill_max = get_le16(p + 72);
	for (int i = 0; i < SECTION_COUNT; i++) {
		h.sections[i].at = get_le64(p + HEADER_SECTIONS_AT + 16 * i);
		h.sections[i].bytes = get_le64(p + HEADER_SECTIONS_AT + 16 * i + 8);
	}
	TRY(header_counts_check(&h, err));
	TRY(sections_check(&h, file_bytes, err));
	*ret = h;
	return 0;
}

void format_footer_encode(const struct format_header *h, uint64_t file_bytes, uint32_t checks_crc,
			  uint8_t out[FORMAT_FOOTER_BYTES])
{
	memset(out, 0, FORMAT_FOOTER_BYTES);
	memcpy(out, footer_magic, sizeof footer_magic);
	put_le64(out + 8, file_bytes);
	put_le32(out + 16, checks_crc);
	put_le32(out + FOOTER_SUM_AT, format_sum(h->salt, FORMAT_SUM_FOOTER, out, FOOTER_SUM_AT));
}

int format_footer_decode(const struct format_header *h, uint64_t file_bytes,
			 const uint8_t p[FORMAT_FOOTER_BYTES], uint32_t *ret_checks_crc,
			 struct err *err)
{
	unsigned long long at = file_bytes - FORMAT_FOOTER_BYTES;

	if (memcmp(p, footer_magic, sizeof footer_magic) != 0)
		return err_set(err, ERR_CORRUPT, "footer at %llu: there is none", at);
	if (get_le32(p + FOOTER_SUM_AT) != format_sum(h->salt, FORMAT_SUM_FOOTER, p, FOOTER_SUM_AT))
		return err_set(err, ERR_CORRUPT, "footer at %llu: its checksum is wrong", at);
	if (get_le64(p + 8) != file_bytes || !all_zero(p + 20, FOOTER_SUM_AT - 20))
		return err_set(err, ERR_CORRUPT, "footer at %llu: of a file of %llu bytes", at,
			       (unsigned long long)get_le64(p + 8));
	*ret_checks_crc = get_le32(p + 16);
	return 0;
}

size_t format_column_width(enum format_column c)
{
	static const uint8_t widths[COLUMN_COUNT] = {
		[COLUMN_FILE_ID] = 8,   [COLUMN_SHA256] = SHA256_BYTES,
		[COLUMN_SIZE] = 8,      [COLUMN_FIRST_SEEN] = 8,
		[COLUMN_OFFSET] = 8,    [COLUMN_PACK] = 4,
		[COLUMN_FILE_TYPE] = 4, [COLUMN_HEAD] = SEGMENT_HEAD_BYTES,
		[COLUMN_CORPUS] = 1,    [COLUMN_FLAGS] = 1,
		[COLUMN_BY_ID] = 4,
	};

	return widths[c];
}

uint64_t format_column_at(enum format_column c, uint64_t docs)
{
	uint64_t at = 0;

	for (enum format_column i = 0; i < c; i++)
		at += round_up(docs * format_column_width(i), 16);
	return at;
}

void format_matrix_encode(const struct format_matrix *m, uint8_t out[FORMAT_MATRIX_BYTES])
{
	memset(out, 0, FORMAT_MATRIX_BYTES);
	out[0] = m->class;
	out[1] = m->has_map;
	put_le32(out + 4, m->columns);
	put_le32(out + 8, m->doc_base);
	put_le64(out + 16, m->rows_at);
	put_le64(out + 24, m->map_at);
}

void format_matrix_decode(struct format_matrix *ret, const uint8_t p[FORMAT_MATRIX_BYTES])
{
	*ret = (struct format_matrix){ .class = p[0],
				       .has_map = p[1] != 0,
				       .columns = get_le32(p + 4),
				       .doc_base = get_le32(p + 8),
				       .rows_at = get_le64(p + 16),
				       .map_at = get_le64(p + 24) };
}

uint32_t format_row_bits(uint32_t columns)
{
	uint32_t bytes = (columns + 7) / 8;

	if (columns <= 2)
		return columns;
	if (columns <= 4)
		return 4;
	return 8 * (bytes < FORMAT_WIDE_ROW_BYTES ? bytes : (uint32_t)round_up(bytes, 8));
}

uint32_t format_matrix_columns(unsigned class, uint32_t n)
{
	if (class < FORMAT_CLASS_LARGE || n <= 4 || n % 8 == 7)
		return n;
	return n < 8 ? 4 : n - n % 8;
}

uint64_t format_rows_bytes(unsigned class, uint32_t columns)
{
	return (uint64_t)format_row_bits(columns) * gram_rows(class) / 8;
}

uint64_t format_rows_align(uint64_t at, uint64_t rows_bytes)
{
	return round_up(at, rows_bytes >= FORMAT_ROWS_ALIGN_FROM ? FORMAT_PAGE_BYTES : 64);
}
