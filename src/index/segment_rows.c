#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "base/mem.h"
#include "segment_internal.h"

/*
 * Rows and features are read when they are asked for, each page of them once against
 * its checksum. The check reads by pread: a disk that fails is an error there, and
 * would be a signal in the mapping.
 */

const uint8_t segment_small_rows[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static bool bit_get(_Atomic uint64_t *bits, uint64_t i)
{
	return atomic_load_explicit(&bits[i / 64], memory_order_relaxed) >> (i % 64) & 1;
}

/* Was it clear before? The file never changes, so there is nothing to order. */
static bool bit_set(_Atomic uint64_t *bits, uint64_t i)
{
	uint64_t bit = 1ull << (i % 64);

	return !(atomic_fetch_or_explicit(&bits[i / 64], bit, memory_order_relaxed) & bit);
}

static bool page_matches(const struct segment *seg, uint64_t page, const uint8_t *p)
{
	return get_le32(seg->checks + 4 * page) ==
	       format_sum(seg->header.salt, page, p, FORMAT_PAGE_BYTES);
}

void segment_page_damaged(struct segment *seg, uint64_t page)
{
	if (!bit_set(seg->pages_damaged, page))
		return;
	atomic_fetch_add_explicit(&seg->damaged, 1, memory_order_relaxed);
	if (seg->on_damage)
		seg->on_damage(seg, page * FORMAT_PAGE_BYTES, seg->on_damage_arg);
}

static bool page_look(struct segment *seg, uint64_t page)
{
	uint8_t bytes[FORMAT_PAGE_BYTES];

	if (!bit_get(seg->pages_damaged, page) &&
	    io_pread(seg->file, bytes, sizeof bytes, page * FORMAT_PAGE_BYTES, NULL) == 0 &&
	    page_matches(seg, page, bytes)) {
		bit_set(seg->pages_whole, page);
		return true;
	}
	segment_page_damaged(seg, page);
	return false;
}

bool segment_whole(struct segment *seg, uint64_t at, uint64_t bytes, uint64_t *ret_bad)
{
	for (uint64_t page = at / FORMAT_PAGE_BYTES; page * FORMAT_PAGE_BYTES < at + bytes;
	     page++) {
		if (bit_get(seg->pages_whole, page) || page_look(seg, page))
			continue;
		if (ret_bad)
			*ret_bad = page * FORMAT_PAGE_BYTES;
		return false;
	}
	return true;
}

const uint8_t *segment_row(struct segment *seg, const struct segment_matrix *m, uint32_t row)
{
	uint64_t at = m->rows_at + (uint64_t)row * m->row_bits / 8;

	REQUIRE(row < gram_rows(m->class));
	if (!segment_whole(seg, at, m->row_bytes, NULL))
		return NULL;
	return segment_row_whole(seg, m, row);
}

/* The kernel takes no more of one request than the read-ahead of the device. */
enum {
	AHEAD_PIECE_BYTES = 128 << 10
};

static struct segment_pages pages_of(uint64_t at, uint64_t bytes)
{
	uint64_t first = at / FORMAT_PAGE_BYTES;
	uint64_t end = (at + bytes + FORMAT_PAGE_BYTES - 1) / FORMAT_PAGE_BYTES;

	return (struct segment_pages){ (uint32_t)first, (uint32_t)(end - first) };
}

struct segment_pages segment_row_pages(const struct segment_matrix *m, uint32_t row)
{
	return pages_of(m->rows_at + (uint64_t)row * m->row_bits / 8, m->row_bytes);
}

struct segment_pages segment_column_pages(const struct segment *seg, const void *from, size_t bytes)
{
	return pages_of((uint64_t)((const uint8_t *)from - seg->map), bytes);
}

void segment_read_ahead(const struct segment *seg, struct segment_pages pages)
{
	uint64_t at = (uint64_t)pages.first * FORMAT_PAGE_BYTES;
	uint64_t to = at + (uint64_t)pages.count * FORMAT_PAGE_BYTES;

	for (; at < to; at += AHEAD_PIECE_BYTES)
		(void)posix_fadvise(
			seg->file->fd, (off_t)at,
			(off_t)(to - at < AHEAD_PIECE_BYTES ? to - at : AHEAD_PIECE_BYTES),
			POSIX_FADV_WILLNEED);
}

bool segment_page_is_near(const struct segment *seg, uint32_t page)
{
	uint8_t byte;
	struct iovec v = { &byte, 1 };
	off_t at = (off_t)page * FORMAT_PAGE_BYTES;

	return preadv2(seg->file->fd, &v, 1, at, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

void segment_on_damage(struct segment *seg,
		       void (*damaged)(struct segment *seg, uint64_t offset, void *arg), void *arg)
{
	seg->on_damage = damaged;
	seg->on_damage_arg = arg;
}

uint64_t segment_damaged_pages(const struct segment *seg)
{
	return atomic_load_explicit(&seg->damaged, memory_order_relaxed);
}

/* ---- Checking all of it ---- */

const char *segment_section_at(const struct segment *seg, uint64_t at)
{
	const struct format_extent *s = seg->header.sections;

	if (at < s[0].at)
		return "header";
	for (int i = SECTION_COUNT - 1; i > 0; i--) {
		if (at >= s[i].at + s[i].bytes && i == SECTION_CHECKS)
			return "footer";
		/* A page is called by the first section that begins before its end. */
		if (at >= s[i].at)
			return section_name(i);
	}
	return section_name(0);
}

/* Pages of a piece that was read, or could not be. */
static void piece_check(struct segment *seg, uint64_t at, const uint8_t *piece, size_t n,
			bool is_read, void (*bad)(const char *section, uint64_t offset, void *arg),
			void *arg)
{
	for (size_t i = 0; i < n; i += FORMAT_PAGE_BYTES) {
		uint64_t page = (at + i) / FORMAT_PAGE_BYTES;
		uint8_t bytes[FORMAT_PAGE_BYTES];
		const uint8_t *p = piece + i;

		if (!is_read) {
			/* One sector of it may be lost: page by page. */
			if (io_pread(seg->file, bytes, sizeof bytes, at + i, NULL) != 0) {
				segment_page_damaged(seg, page);
				bad(segment_section_at(seg, at + i), at + i, arg);
				continue;
			}
			p = bytes;
		}
		if (page_matches(seg, page, p))
			continue;
		segment_page_damaged(seg, page);
		bad(segment_section_at(seg, at + i), at + i, arg);
	}
}

int segment_check(struct segment *seg, void (*bad)(const char *section, uint64_t offset, void *arg),
		  bool (*goes_on)(uint64_t bytes, void *arg), void *arg, struct err *err)
{
	enum {
		PIECE_BYTES = 1 << 20
	};
	AUTO(mem_drop) uint8_t *piece = mem_must_zalloc(PIECE_BYTES);
	uint64_t to = seg->header.sections[SECTION_CHECKS].at;

	for (uint64_t at = 0; at < to;) {
		size_t n = to - at < PIECE_BYTES ? (size_t)(to - at) : PIECE_BYTES;
		bool is_read = io_pread(seg->file, piece, n, at, NULL) == 0;

		piece_check(seg, at, piece, n, is_read, bad, arg);
		at += n;
		if (goes_on && !goes_on(n, arg))
			return err_set(err, ERR_CLOSED, "the check was stopped");
	}
	return 0;
}
