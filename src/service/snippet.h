#ifndef SERVICE_SNIPPET_H
#define SERVICE_SNIPPET_H
#include "base/buf.h"
#include "scan/scan.h"
#include "store/pack.h"

/*
 * The hex view of what matched, in the form of VirusTotal's notifications:
 * windows of 16-byte lines, one for each match, joined by a line feed; matched
 * bytes between *begin_highlight* and *end_highlight* in both columns; ten
 * windows at most, then "\n\n...". The bytes come from the parent's own copy;
 * only offsets come from the child that scanned.
 */
MUST_USE int snippet_write(struct buf *out, struct packs *packs, const struct pack_locator *at,
			   const struct scan_match *matches, size_t count, struct err *err);

/* One window over bytes in memory: data begins at the 16-aligned `base`. For tests. */
void snippet_window(struct buf *out, const uint8_t *data, size_t n, uint64_t base,
		    uint64_t match_offset, uint64_t match_len);
#endif
