#include "index/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "segment_internal.h"

enum {
	READ_BYTES = 64 * FORMAT_PAGE_BYTES, /* at a time, when pages are checked in a row */
	PLACES_AHEAD = 4096 /* documents: pieces that cost little more than a read */
};

/* Check whole pages from `at` to `to`, of one section or several. */
static int pages_check(const struct segment *seg, uint64_t at, uint64_t to, struct err *err)
{
	AUTO(mem_drop) uint8_t *piece = mem_must_zalloc(READ_BYTES);

	while (at < to) {
		size_t n = to - at < READ_BYTES ? (size_t)(to - at) : READ_BYTES;

		TRY(io_pread(seg->file, piece, n, at, err));
		for (size_t i = 0; i < n; i += FORMAT_PAGE_BYTES) {
			uint64_t page = (at + i) / FORMAT_PAGE_BYTES;

			if (get_le32(seg->checks + 4 * page) ==
			    format_sum(seg->header.salt, page, piece + i, FORMAT_PAGE_BYTES))
				continue;
			return err_set(err, ERR_CORRUPT, "%s at %llu: a page's checksum is wrong",
				       segment_section_at(seg, at + i),
				       (unsigned long long)(at + i));
		}
		at += n;
	}
	return 0;
}

static int checks_check(const struct segment *seg, uint32_t crc, struct err *err)
{
	const struct format_extent *s = &seg->header.sections[SECTION_CHECKS];
	AUTO(mem_drop) uint8_t *piece = mem_must_zalloc(READ_BYTES);
	uint32_t got = format_sum(seg->header.salt, FORMAT_SUM_CHECKS, "", 0);

	for (uint64_t at = 0; at < s->bytes;) {
		size_t n = s->bytes - at < READ_BYTES ? (size_t)(s->bytes - at) : READ_BYTES;

		TRY(io_pread(seg->file, piece, n, s->at + at, err));
		got = crc32c(got, piece, n);
		at += n;
	}
	if (got != crc)
		return err_set(err, ERR_CORRUPT, "checksums at %llu: their checksum is wrong",
			       (unsigned long long)s->at);
	return 0;
}

/* Header and footer, from the file: before they are known to be whole nothing is mapped. */
static int frame_read(struct segment *seg, uint32_t *ret_checks_crc, struct err *err)
{
	uint8_t header[FORMAT_HEADER_BYTES];
	uint8_t footer[FORMAT_FOOTER_BYTES];

	TRY(io_size(seg->file, &seg->bytes, err));
	if (seg->bytes < FORMAT_PAGE_BYTES + FORMAT_FOOTER_BYTES)
		return err_set(err, ERR_CORRUPT, "header at 0: the file has only %llu bytes",
			       (unsigned long long)seg->bytes);
	TRY(io_pread(seg->file, header, sizeof header, 0, err));
	TRY(format_header_decode(&seg->header, header, seg->bytes, err));
	TRY(io_pread(seg->file, footer, sizeof footer, seg->bytes - sizeof footer, err));
	return format_footer_decode(&seg->header, seg->bytes, footer, ret_checks_crc, err);
}

static int map_file(struct segment *seg, struct err *err)
{
	void *map = mmap(NULL, seg->bytes, PROT_READ, MAP_SHARED, seg->file->fd, 0);

	if (map == MAP_FAILED)
		return err_sys(err, errno, "cannot map %llu bytes", (unsigned long long)seg->bytes);
	seg->map = map;
	seg->checks = segment_section(seg, SECTION_CHECKS);
	for (int i = 0; i < COLUMN_COUNT; i++)
		seg->columns[i] =
			segment_section(seg, SECTION_DOCS) + format_column_at(i, seg->header.docs);
	return 0;
}

static int segment_load(struct segment *seg, const char *path, struct err *err)
{
	const struct format_extent *s = seg->header.sections;
	uint32_t checks_crc;
	size_t words;

	TRY(seg->io->open(seg->io, path, O_RDONLY, &seg->file, err));
	TRY(frame_read(seg, &checks_crc, err));
	TRY(map_file(seg, err));
	TRY(checks_check(seg, checks_crc, err));
	TRY(pages_check(seg, 0, s[SECTION_ROWS].at, err));
	TRY(pages_check(seg, s[SECTION_FEATURE_ENTRIES].at, s[SECTION_CHECKS].at, err));
	words = s[SECTION_CHECKS].at / FORMAT_PAGE_BYTES / 64 + 1;
	TRY(mem_try_array(&seg->page_bits, 2 * words, sizeof(_Atomic uint64_t), err));
	seg->pages_whole = seg->page_bits;
	seg->pages_damaged = seg->pages_whole + words;
	TRY(segment_validate(seg, err));
	/* One row is read here and one there: what stands around it is not wanted. */
	(void)madvise((void *)(uintptr_t)seg->map, seg->bytes, MADV_RANDOM);
	return 0;
}

static void segment_drop(struct segment **seg)
{
	*seg = segment_unref(*seg);
}

int segment_open(struct segment **ret, struct io *io, const char *path, struct err *err)
{
	AUTO(segment_drop) struct segment *seg = mem_must_zalloc(sizeof *seg);
	int rc;

	seg->magic = SEGMENT_MAGIC;
	seg->refs = 1;
	seg->io = io;
	seg->path = mem_must_strdup(path);
	rc = segment_load(seg, path, err);
	if (rc != 0)
		return err_add(err, "segment '%s'", path);
	*ret = STEAL(seg);
	return 0;
}

struct segment *segment_ref(struct segment *seg)
{
	REQUIRE(seg->magic == SEGMENT_MAGIC);
	atomic_fetch_add_explicit(&seg->refs, 1, memory_order_relaxed);
	return seg;
}

struct segment *segment_unref(struct segment *seg)
{
	if (!seg)
		return NULL;
	REQUIRE(seg->magic == SEGMENT_MAGIC);
	/* What other threads did with it comes before its end. */
	if (atomic_fetch_sub_explicit(&seg->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	seg->magic = 0;
	if (seg->map)
		munmap((void *)(uintptr_t)seg->map, seg->bytes);
	seg->io->close(seg->io, seg->file);
	free(seg->path);
	free(seg->blocks);
	free(seg->matrices);
	free(seg->page_bits);
	free(seg);
	return NULL;
}

/* ---- What it holds ---- */

uint32_t segment_docs(const struct segment *seg)
{
	return seg->header.docs;
}

uint64_t segment_file_bytes(const struct segment *seg)
{
	return seg->bytes;
}

uint64_t segment_sample_bytes(const struct segment *seg)
{
	return seg->header.sample_bytes;
}

int64_t segment_first_id(const struct segment *seg)
{
	return seg->header.first_id;
}

int64_t segment_last_id(const struct segment *seg)
{
	return seg->header.last_id;
}

uint32_t segment_features_version(const struct segment *seg)
{
	return seg->header.features_version;
}

unsigned segment_fill_max(const struct segment *seg)
{
	return seg->header.fill_max;
}

static const void *column_at(const struct segment *seg, enum format_column c, uint32_t doc)
{
	return seg->columns[c] + doc * format_column_width(c);
}

void segment_doc_get(const struct segment *seg, uint32_t doc, struct segment_doc *ret)
{
	REQUIRE(doc < seg->header.docs);
	*ret = (struct segment_doc){
		.file_id = segment_file_ids(seg)[doc],
		.size = segment_sizes(seg)[doc],
		.first_seen_s = segment_first_seen(seg)[doc],
		.pack = get_le32(column_at(seg, COLUMN_PACK, doc)),
		.offset = get_le64(column_at(seg, COLUMN_OFFSET, doc)),
		.file_type = get_le32(column_at(seg, COLUMN_FILE_TYPE, doc)),
		.corpus = segment_corpora(seg)[doc],
		.flags = segment_flags(seg)[doc],
	};
	memcpy(ret->sha256, column_at(seg, COLUMN_SHA256, doc), sizeof ret->sha256);
	memcpy(ret->head, column_at(seg, COLUMN_HEAD, doc), sizeof ret->head);
}

void segment_place_get(const struct segment *seg, uint32_t doc, struct segment_place *ret)
{
	REQUIRE(doc < seg->header.docs);
	*ret = (struct segment_place){
		.file_id = segment_file_ids(seg)[doc],
		.size = segment_sizes(seg)[doc],
		.offset = get_le64(column_at(seg, COLUMN_OFFSET, doc)),
		.pack = get_le32(column_at(seg, COLUMN_PACK, doc)),
	};
}

uint32_t segment_places_ahead(const struct segment *seg, uint32_t doc)
{
	static const enum format_column columns[] = { COLUMN_FILE_ID, COLUMN_SIZE, COLUMN_OFFSET,
						      COLUMN_PACK };
	uint32_t n = seg->header.docs - doc;

	REQUIRE(doc < seg->header.docs);
	n = n < PLACES_AHEAD ? n : PLACES_AHEAD;
	for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
		segment_read_ahead(seg, segment_column_pages(seg, column_at(seg, columns[i], doc),
							     n * format_column_width(columns[i])));
	return doc + n;
}

bool segment_doc_find(const struct segment *seg, int64_t file_id, uint32_t *ret_doc)
{
	const int64_t *ids = segment_file_ids(seg);
	uint32_t low = 0;
	uint32_t high = seg->header.docs;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint32_t doc = get_le32(column_at(seg, COLUMN_BY_ID, middle));

		if (ids[doc] == file_id) {
			*ret_doc = doc;
			return true;
		}
		if (ids[doc] < file_id)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

const uint64_t *segment_sizes(const struct segment *seg)
{
	return column_at(seg, COLUMN_SIZE, 0);
}

const uint8_t (*segment_heads(const struct segment *seg))[SEGMENT_HEAD_BYTES]
{
	return column_at(seg, COLUMN_HEAD, 0);
}

const uint8_t *segment_corpora(const struct segment *seg)
{
	return column_at(seg, COLUMN_CORPUS, 0);
}

const uint8_t *segment_flags(const struct segment *seg)
{
	return column_at(seg, COLUMN_FLAGS, 0);
}

const int64_t *segment_file_ids(const struct segment *seg)
{
	return column_at(seg, COLUMN_FILE_ID, 0);
}

const int64_t *segment_first_seen(const struct segment *seg)
{
	return column_at(seg, COLUMN_FIRST_SEEN, 0);
}

uint32_t segment_blocks(const struct segment *seg)
{
	return seg->header.blocks;
}

const struct segment_block *segment_block_at(const struct segment *seg, uint32_t block)
{
	REQUIRE(block < seg->header.blocks);
	return &seg->blocks[block];
}
