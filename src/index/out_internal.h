#ifndef INDEX_OUT_INTERNAL_H
#define INDEX_OUT_INTERNAL_H
#include "base/io.h"
#include "format_internal.h"

/*
 * A segment's file while it is written: sections in order, sums of pages taken on the
 * way, under a temporary name until all of it is on the disk. One thread.
 *
 *   out_open -> out_section (once for each, rising) with out_add between -> out_finish
 *
 * A failure at any step, and out_drop before out_finish, leave no file behind (or one
 * called *.tmp where even the removal failed).
 */
struct out;
MUST_USE int out_open(struct out **ret, struct io *io, const char *path, struct err *err);
void out_drop(struct out **o);

/* The section begins here, after padding. */
MUST_USE int out_section(struct out *o, enum format_section s, struct err *err);
MUST_USE int out_add(struct out *o, const void *p, size_t n, struct err *err);
/* Zeros up to a multiple of `align` bytes from the section's begin. */
MUST_USE int out_pad(struct out *o, uint64_t align, struct err *err);
/* Bytes of the section so far. */
uint64_t out_at(const struct out *o);
/* … of the file so far. */
uint64_t out_bytes(const struct out *o);

/*
 * Checksums, header and footer; then it is made durable under its own name. h's salt and
 * sections are filled in. *ret_bytes: the file's.
 */
MUST_USE int out_finish(struct out *o, struct format_header *h, uint64_t *ret_bytes,
			struct err *err);
#endif
