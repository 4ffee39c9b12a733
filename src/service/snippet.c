#include "snippet.h"

#include "base/limits.h"

enum {
	LINE = 16,
	WINDOW_BYTES_MAX = SNIPPET_MATCH_BYTES_MAX + 4 * LINE
};

#define BEGIN_MARK "*begin_highlight*"
#define END_MARK "*end_highlight*"

/* Part [from, to) of the line is highlighted; empty if from == to. */
static void put_hex(struct buf *out, const uint8_t *line, size_t n, size_t from, size_t to)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < n; i++) {
		if (i > 0 && !(i == to && from < to))
			buf_add_c(out, ' ');
		if (i == from && from < to)
			buf_add_z(out, BEGIN_MARK);
		buf_add_c(out, digits[line[i] >> 4]);
		buf_add_c(out, digits[line[i] & 15]);
		if (from < to && i + 1 == to) {
			if (to < n)
				buf_add_c(out, ' ');
			buf_add_z(out, END_MARK);
		}
	}
}

static void put_ascii(struct buf *out, const uint8_t *line, size_t n, size_t from, size_t to)
{
	for (size_t i = 0; i < n; i++) {
		if (i == from && from < to)
			buf_add_z(out, BEGIN_MARK);
		buf_add_c(out, line[i] >= 0x20 && line[i] <= 0x7e ? (char)line[i] : '.');
		if (from < to && i + 1 == to)
			buf_add_z(out, END_MARK);
	}
}

void snippet_window(struct buf *out, const uint8_t *data, size_t n, uint64_t base,
		    uint64_t match_offset, uint64_t match_len)
{
	uint64_t match_end = match_offset + match_len;

	REQUIRE(base % LINE == 0);
	for (size_t i = 0; i < n; i += LINE) {
		size_t len = n - i < LINE ? n - i : LINE;
		uint64_t start = base + i, end = start + len;
		uint64_t from = match_offset > start ? match_offset : start;
		uint64_t to = match_end < end ? match_end : end;
		size_t a = from < to ? (size_t)(from - start) : 0;
		size_t b = from < to ? (size_t)(to - start) : 0;

		if (i > 0)
			buf_add_c(out, '\n');
		put_hex(out, data + i, len, a, b);
		buf_add_z(out, "  ");
		put_ascii(out, data + i, len, a, b);
	}
}

static int put_match(struct buf *out, struct packs *packs, const struct pack_locator *at,
		     const struct scan_match *match, struct err *err)
{
	uint8_t data[WINDOW_BYTES_MAX];
	uint64_t len = match->len < SNIPPET_MATCH_BYTES_MAX ? match->len : SNIPPET_MATCH_BYTES_MAX;
	uint64_t line = match->offset / LINE * LINE;
	uint64_t base = line >= LINE ? line - LINE : 0;
	uint64_t n = (2 + (len + LINE - 1) / LINE) * LINE;

	if (n > at->len - base)
		n = at->len - base;
	REQUIRE(n <= sizeof data);
	TRY(packs_read(packs, at, base, data, (size_t)n, err));
	snippet_window(out, data, (size_t)n, base, match->offset, match->len);
	return 0;
}

#define CUT_MARK "\n\n..."

int snippet_write(struct buf *out, struct packs *packs, const struct pack_locator *at,
		  const struct scan_match *matches, size_t count, struct err *err)
{
	AUTO(buf_release) struct buf window = BUF_INIT(LIMIT_SNIPPET_BYTES);
	size_t shown = count < LIMIT_SNIPPET_WINDOWS ? count : LIMIT_SNIPPET_WINDOWS;
	size_t room = LIMIT_SNIPPET_BYTES - sizeof CUT_MARK, begin = out->n;

	for (size_t i = 0; i < shown; i++) {
		REQUIRE(matches[i].offset <= at->len &&
			matches[i].len <= at->len - matches[i].offset);
		buf_reset(&window);
		TRY(put_match(&window, packs, at, &matches[i], err));
		TRY(buf_check(&window, "a window", err));
		if (out->n - begin + window.n > room) {
			shown = i;
			break;
		}
		if (i > 0)
			buf_add_c(out, '\n');
		buf_add_str(out, buf_str(&window));
	}
	if (count > shown)
		buf_add_z(out, CUT_MARK);
	return 0;
}
