#ifndef SCAN_UNPACK_WALK_INTERNAL_H
#define SCAN_UNPACK_WALK_INTERNAL_H
#include <sys/types.h>
#include "scan/unpack.h"

/*
 * The walk through a container, in the child (and in the fuzzer): libarchive
 * alone parses. Formats and filters are named one by one: those that libarchive
 * hands to other programs, or that refer to files outside (mtree), are not there.
 */

/* Where the bytes are. read: -1 with errno, 0 at the end. */
struct walk_source {
	ssize_t (*read)(void *arg, void *room, size_t n, uint64_t offset);
	uint64_t len;
	void *arg;
};

/* Where they go, in the order of struct unpack_calls; a sink does not fail. */
struct walk_sink {
	void (*entry)(void *arg, const struct unpack_entry *entry);
	void (*bytes)(void *arg, const void *p, size_t n);
	void (*end)(void *arg, enum unpack_end how);
	void *arg;
};

/* Before the sandbox closes: what is looked up once. */
void unpack_walk_prepare(void);

/* request->limits.timeout_ms is not looked at. false: a read failed with errno. */
bool unpack_walk(const struct walk_source *source, const struct unpack_request *request,
		 const struct walk_sink *sink, struct unpacked *ret);
#endif
