#ifndef SCAN_MANY_H
#define SCAN_MANY_H
#include <stdint.h>
#include "base/err.h"
#include "scan/scan.h"

/*
 * Many samples for one message: no hop, copy or allocation for each. What scan.h
 * says of scans holds: one thread, nothing that a child says is believed.
 *
 * A request is a list of items in up to SCAN_MANY_FILES files. Answers come while
 * it is under way, so its caller can show how far it is and store what was found:
 *
 *	scan_many_send(child, …);
 *	do {
 *		rc = scan_many_recv(child, &found, &err);
 *	} while (rc == 0 && !found.is_last);
 *
 * Files must not shrink while a request is under way. Where one is erased in place (see
 * store/pack.h), its item may see old bytes, zeros, or both: ask afterwards whether it still
 * counts.
 *
 * The limit of time is each item's own. When the child dies or an item takes too
 * long, scan_many_suspects names the item that was under way: the caller
 * repeats the others in a new child, and that one alone by scan_send, which reads
 * where this maps: so a disk that fails is told from a sample that kills.
 *
 * A request may have a limit of time of its own (scan_many_send_for): what slow rules leave of
 * it then is its caller's again, who may have something better to do.
 *
 * Requests of some MB keep all cores busy to the end; two under way keep a child
 * busy. 3 us an item beside the engine's own time.
 */
enum {
	SCAN_MANY_MAX = 512,    /* items of a request */
	SCAN_MANY_FILES = 16,   /* files of a request */
	SCAN_MANY_TELL_MS = 250 /* an answer comes as often, but while an item takes longer */
};

struct scan_item {
	uint64_t offset; /* of the sample's first byte in the file */
	uint32_t len;    /* at most LIMIT_SAMPLE_BYTES */
	uint16_t slots;  /* bit 1 << slot: the sets to run, each of them loaded */
	uint16_t file;   /* index into the request's files */
};

/*
 * Queue one request; at most SCAN_DEPTH of these and of scans may be under way. No set of any
 * item's slots may ask for facts (scan_rules_asks_facts): those are scanned one by one
 * (scan_send). Everything is copied; the files may be closed.
 *
 * n: 1 to SCAN_MANY_MAX. Errors: ERR_DIED, of the oldest request under way if there
 * is one; ERR_TOO_LARGE: an item over LIMIT_SAMPLE_BYTES.
 */
MUST_USE int scan_many_send(struct scan_child *child, const int *files, unsigned file_count,
			    const struct scan_item *items, uint32_t n, struct err *err);

/*
 * The same for a request that ends early where it takes longer than `ms`: with the item that is
 * under way then. `to` of its last answer says how far it came, at least one item.
 */
MUST_USE int scan_many_send_for(struct scan_child *child, const int *files, unsigned file_count,
				const struct scan_item *items, uint32_t n, uint32_t ms,
				struct err *err);

enum {
	SCAN_EVERY_SLOT = 0xff
};
/* What could not be looked at, though the child lives on. */
struct scan_failure {
	uint32_t item;
	/* The engine failed with this set, the item's others count. SCAN_EVERY_SLOT: its bytes
	 * could not be read. */
	uint8_t slot;
};

/* Reused from call to call; zero it before the first, release after the last. */
struct scan_found {
	uint32_t from, to;             /* items finished with this answer, `to` excluded … */
	bool is_last;                  /* … and none follows */
	struct scan_result result;     /* their hits, by item, then slot; their time */
	struct scan_failure *failures; /* theirs, by item, then slot */
	size_t failure_count;
	size_t failure_cap;
};
void scan_found_release(struct scan_found *f);

/*
 * Wait for more of the oldest request under way, which is one of these.
 * ERR_TIMEOUT, ERR_DIED: the child is dead; see scan_many_suspects.
 */
MUST_USE int scan_many_recv(struct scan_child *child, struct scan_found *ret, struct err *err);

/*
 * After the child died with a request of this kind as the oldest under way: items below
 * *ret_done were answered. One of those from *ret_from up to and without *ret_to did it;
 * nearly always that is a single one. False: the child is not dead, or was at something else.
 */
bool scan_many_suspects(const struct scan_child *child, uint32_t *ret_done, uint32_t *ret_from,
			uint32_t *ret_to);
#endif
