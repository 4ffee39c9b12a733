#ifndef STORE_STREAM_CURSOR_H
#define STORE_STREAM_CURSOR_H
#include "base/arena.h"
#include "base/buf.h"

/*
 * A stream's cursor: all that is needed to go on, so that it works when it is sent
 * alone. Opaque text of [A-Za-z0-9_-] (clients put it into addresses as it is).
 * A checksum keyed by the instance tells what we gave out from everything else; it
 * is no secret: who reads is decided by the request's own authentication, and the
 * owner inside must be the one who asks.
 */
struct stream_cursor {
	int64_t owner_id;
	int64_t position; /* seq of the last entry given; 0: none yet */
	int64_t now_s;    /* when the first page was read: relative dates count from there */
	uint64_t count;   /* of all entries that matched then */
	bool has_count;
	bool oldest_first;
	bool descriptors_only;
	uint32_t limit;
	struct str filter; /* as the client wrote it */
};

/* Append the text. The filter is at most LIMIT_FILTER_BYTES. */
void stream_cursor_encode(struct buf *out, const struct stream_cursor *c, uint64_t key);

/* ERR_INVALID "Invalid cursor" for anything we did not write. The filter goes into the arena. */
MUST_USE int stream_cursor_decode(struct arena *arena, struct str text, uint64_t key,
				  struct stream_cursor *ret, struct err *err);
#endif
