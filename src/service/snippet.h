#ifndef SERVICE_SNIPPET_H
#define SERVICE_SNIPPET_H
#include "base/buf.h"
#include "scan/scan.h"
#include "store/pack.h"

/*
 * The hex view of what matched, byte for byte in the form of VirusTotal's notifications:
 *
 *  1. One window for each match, ascending by offset whatever pattern it is of, joined
 *     by a line feed. (The scanner tells a place only once, though several patterns
 *     match it in the same length.)
 *  2. A window is lines of 16 bytes at offsets that are multiples of 16. It begins one
 *     line before the one with the first matched byte, if there is one, and has
 *     2 + ceil(length / 16) lines, cut at the end of the sample.
 *  3. A line is pairs of upper-case hex digits, two blanks, and the bytes as text, `.`
 *     for what is not printable ASCII.
 *  4. Matched bytes stand between *begin_highlight* and *end_highlight* in both columns.
 *     In the hex column the blank behind the last matched pair stands inside.
 *  5. Ten windows, then "\n\n..." if there are more matches. The same stands in the
 *     place of what would exceed LIMIT_SNIPPET_BYTES; of a match above
 *     SNIPPET_MATCH_BYTES_MAX the window shows the beginning.
 *
 * The bytes come from the parent's own copy; only offsets come from the child that
 * scanned. Errors: those of packs_read.
 */
enum {
	SNIPPET_MATCH_BYTES_MAX = 4096 /* as far as the engine follows a regular expression */
};
MUST_USE int snippet_write(struct buf *out, struct packs *packs, const struct pack_locator *at,
			   const struct scan_match *matches, size_t count, struct err *err);

/* One window over bytes in memory: data begins at the 16-aligned `base`. For tests. */
void snippet_window(struct buf *out, const uint8_t *data, size_t n, uint64_t base,
		    uint64_t match_offset, uint64_t match_len);
#endif
