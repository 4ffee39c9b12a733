#ifndef SERVICE_REPORT_CACHE_H
#define SERVICE_REPORT_CACHE_H
#include "service/files.h"

/*
 * File reports by SHA-256 as they were last read, so that asking for one file
 * over and over costs no database. Bounded; any thread.
 *
 * Never stale after an acknowledgement: whoever changes a file's row drops its
 * entry after the commit and before the change is answered, and a read that
 * began before a drop cannot put back what it read (the shard's version moved).
 */
struct report_cache;
struct report_cache *report_cache_new(void);
void report_cache_free(struct report_cache *c);

/* true: *ret is filled, its text in the arena. *ret_version is for report_cache_put. */
bool report_cache_get(struct report_cache *c, const uint8_t sha256[SHA256_BYTES],
		      struct arena *arena, struct file_info *ret, uint64_t *ret_version);
/* Keep what was read after report_cache_get gave this version. */
void report_cache_put(struct report_cache *c, uint64_t version, const struct file_info *info);
void report_cache_drop(struct report_cache *c, const uint8_t sha256[SHA256_BYTES]);
#endif
