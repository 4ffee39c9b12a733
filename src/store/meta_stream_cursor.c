#include "store/stream_cursor.h"
#include "base/hash.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/varint.h"

/*
 * version 1 | flags | varints: owner, position, now (zigzag), count, limit |
 * filter bytes | checksum, 8 bytes little-endian, over all before it.
 */
enum {
	VERSION = 1,
	CHECKSUM_BYTES = 8,
	HEAD_MAX = 64
};
enum {
	FLAG_COUNT = 1,
	FLAG_OLDEST_FIRST = 2,
	FLAG_DESCRIPTORS = 4,
	FLAGS_ALL = 7
};

void stream_cursor_encode(struct buf *out, const struct stream_cursor *c, uint64_t key)
{
	struct buf b = BUF_INIT(HEAD_MAX + LIMIT_FILTER_BYTES + CHECKSUM_BYTES);
	uint64_t sum;

	REQUIRE(c->filter.n <= LIMIT_FILTER_BYTES);
	REQUIRE(c->owner_id >= 0 && c->position >= 0);
	buf_add_c(&b, VERSION);
	buf_add_c(&b, (char)((c->has_count ? FLAG_COUNT : 0) |
			     (c->oldest_first ? FLAG_OLDEST_FIRST : 0) |
			     (c->descriptors_only ? FLAG_DESCRIPTORS : 0)));
	varint_put(&b, (uint64_t)c->owner_id);
	varint_put(&b, (uint64_t)c->position);
	varint_put(&b, varint_zigzag(c->now_s));
	varint_put(&b, c->has_count ? c->count : 0);
	varint_put(&b, c->limit);
	buf_add_str(&b, c->filter);
	sum = hash64(b.p, b.n, key);
	for (unsigned i = 0; i < CHECKSUM_BYTES; i++)
		buf_add_c(&b, (char)(sum >> (8 * i)));
	REQUIRE(!buf_failed(&b));
	base64url_encode(out, b.p, b.n);
	buf_release(&b);
}

static bool read_fields(struct str s, struct stream_cursor *c)
{
	uint64_t owner, position, now, limit;

	if (s.n < 2 || s.p[0] != VERSION || ((unsigned char)s.p[1] & ~FLAGS_ALL) != 0)
		return false;
	c->has_count = (s.p[1] & FLAG_COUNT) != 0;
	c->oldest_first = (s.p[1] & FLAG_OLDEST_FIRST) != 0;
	c->descriptors_only = (s.p[1] & FLAG_DESCRIPTORS) != 0;
	s = (struct str){ s.p + 2, s.n - 2 };
	if (!varint_get(&s, INT64_MAX, &owner) || !varint_get(&s, INT64_MAX, &position) ||
	    !varint_get(&s, UINT64_MAX, &now) || !varint_get(&s, UINT64_MAX, &c->count) ||
	    !varint_get(&s, UINT32_MAX, &limit) || s.n > LIMIT_FILTER_BYTES)
		return false;
	c->owner_id = (int64_t)owner;
	c->position = (int64_t)position;
	c->now_s = varint_unzigzag(now);
	c->limit = (uint32_t)limit;
	c->filter = s;
	return limit > 0;
}

int stream_cursor_decode(struct arena *arena, struct str text, uint64_t key,
			 struct stream_cursor *ret, struct err *err)
{
	struct stream_cursor c = { 0 };
	uint64_t sum = 0;
	size_t n;
	char *p;

	if (text.n > LIMIT_CURSOR_BYTES || !base64url_is(text))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	p = arena_try(arena, text.n + 1);
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for a cursor");
	if (!base64_decode(text, p, text.n, &n) || n < CHECKSUM_BYTES)
		return err_set(err, ERR_INVALID, "Invalid cursor");
	n -= CHECKSUM_BYTES;
	for (unsigned i = 0; i < CHECKSUM_BYTES; i++)
		sum |= (uint64_t)(unsigned char)p[n + i] << (8 * i);
	if (sum != hash64(p, n, key) || !read_fields((struct str){ p, n }, &c))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	*ret = c;
	return 0;
}
