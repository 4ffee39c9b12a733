#include "page.h"

#include "api_internal.h"
#include "base/hex.h"
#include "base/varint.h"

/*
 * version 1 | flags | varints: order, limit, now (zigzag), total + 1, bytes of the
 * filter | filter | position | checksum, 8 bytes little-endian, over all before it.
 * In base64url.
 */
enum {
	VERSION = 1,
	CHECKSUM_BYTES = 8,
	HEAD_MAX = 64,
	CURSOR_BYTES_MAX = HEAD_MAX + LIMIT_FILTER_BYTES + PAGE_POSITION_BYTES + CHECKSUM_BYTES
};
enum {
	FLAG_DESCENDING = 1,
	FLAG_ORDERED = 2,
	FLAG_DESCRIPTORS = 4,
	FLAGS_ALL = 7
};

void page_cursor_encode(struct buf *out, const struct page *page, struct str position)
{
	AUTO(buf_release) struct buf b = BUF_INIT(CURSOR_BYTES_MAX);
	uint64_t sum;

	REQUIRE(page->filter.n <= LIMIT_FILTER_BYTES);
	REQUIRE(position.n > 0 && position.n <= PAGE_POSITION_BYTES);
	buf_add_c(&b, VERSION);
	buf_add_c(&b, (char)((page->descending ? FLAG_DESCENDING : 0) |
			     (page->ordered ? FLAG_ORDERED : 0) |
			     (page->descriptors_only ? FLAG_DESCRIPTORS : 0)));
	varint_put(&b, page->order);
	varint_put(&b, page->limit);
	/* Only filters look at the time: without one the same page has the same cursor. */
	varint_put(&b, page->filter.n ? varint_zigzag(page->now_s) : 0);
	varint_put(&b, page->total < 0 ? 0 : (uint64_t)page->total + 1);
	varint_put(&b, page->filter.n);
	buf_add_str(&b, page->filter);
	buf_add_str(&b, position);
	sum = hash64(b.p, b.n, page->key);
	for (unsigned i = 0; i < CHECKSUM_BYTES; i++)
		buf_add_c(&b, (char)(sum >> (8 * i)));
	REQUIRE(!buf_failed(&b));
	base64url_encode(out, b.p, b.n);
}

static bool read_fields(struct str s, struct page *page)
{
	uint64_t order, limit, now, total, filter_bytes;

	if (s.n < 2 || s.p[0] != VERSION || ((unsigned char)s.p[1] & ~FLAGS_ALL) != 0)
		return false;
	page->descending = (s.p[1] & FLAG_DESCENDING) != 0;
	page->ordered = (s.p[1] & FLAG_ORDERED) != 0;
	page->descriptors_only = (s.p[1] & FLAG_DESCRIPTORS) != 0;
	s = str_make(s.p + 2, s.n - 2);
	if (!varint_get(&s, 255, &order) || !varint_get(&s, UINT32_MAX, &limit) ||
	    !varint_get(&s, UINT64_MAX, &now) || !varint_get(&s, INT64_MAX, &total) ||
	    !varint_get(&s, LIMIT_FILTER_BYTES, &filter_bytes) || filter_bytes >= s.n)
		return false;
	page->order = (unsigned)order;
	page->limit = (uint32_t)limit;
	if (now)
		page->now_s = varint_unzigzag(now);
	page->total = (int64_t)total - 1;
	page->filter = str_make(s.p, (size_t)filter_bytes);
	page->position = str_make(s.p + filter_bytes, s.n - (size_t)filter_bytes);
	return limit > 0 && page->position.n <= PAGE_POSITION_BYTES;
}

bool page_cursor_decode(struct arena *arena, struct str text, struct page *page)
{
	struct page found = *page;
	uint64_t sum = 0;
	size_t n;
	char *p;

	if (text.n > LIMIT_CURSOR_BYTES || !base64url_is(text))
		return false;
	p = arena_try(arena, text.n + 1);
	if (!p || !base64_decode(text, p, text.n, &n) || n < CHECKSUM_BYTES)
		return false;
	n -= CHECKSUM_BYTES;
	for (unsigned i = 0; i < CHECKSUM_BYTES; i++)
		sum |= (uint64_t)(unsigned char)p[n + i] << (8 * i);
	if (sum != hash64(p, n, page->key) || !read_fields(str_make(p, n), &found))
		return false;
	*page = found;
	return true;
}
