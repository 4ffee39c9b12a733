#include "packs_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/*
 * Erasing, so that a stop at any point leaves a pack that reads well:
 *  1. The mark, and a sync: from now on nobody expects the bytes to fit their
 *     checksum, recovery of an open pack least of all.
 *  2. Zeros over the bytes, and a sync: they are gone from the disk.
 *  3. The blocks are given back, where the file system can. A hole reads as the
 *     zeros it replaces, so nothing depends on it.
 * Repeating goes through all steps again. Header and hash stay: the record keeps
 * its place, and the pack's root checksum, which does not cover marks, its truth.
 */

static int erase_file(struct packs *p, struct io_file *f, const struct pack_locator *at,
		      struct err *err)
{
	AUTO(mem_drop) void *zeros = NULL;
	struct io *io = p->io;
	struct record_header h;
	uint8_t mark[8];

	TRY(pack_record_check(f, at, &h, err));
	TRY(mem_try_array(&zeros, PACK_COPY_BYTES, 1, err));
	put_le64(mark, PACK_MARK_ERASED);
	TRY(io->pwrite(io, f, mark, sizeof mark,
		       at->offset - PACK_RECORD_BYTES + PACK_RECORD_MARK_AT, err));
	TRY(io->sync(io, f, err));
	for (uint64_t i = 0; i < at->len; i += PACK_COPY_BYTES) {
		uint64_t left = at->len - i;

		TRY(io->pwrite(io, f, zeros, left < PACK_COPY_BYTES ? left : PACK_COPY_BYTES,
			       at->offset + i, err));
	}
	TRY(io->sync(io, f, err));
	/* Past the io: it changes no byte. Not every file system can; that is fine. */
	if (at->len > 0)
		(void)fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)at->offset, (off_t)at->len);
	return 0;
}

int packs_erase(struct packs *p, const struct pack_locator *at, struct err *err)
{
	char name[PACK_NAME_BYTES];
	struct io_file *f;
	int rc;

	pack_name(name, at->pack);
	rc = p->io->open(p->io, name, O_RDWR, &f, err);
	if (rc == 0) {
		lock_take(&p->erasing);
		rc = erase_file(p, f, at, err);
		lock_drop(&p->erasing);
		p->io->close(p->io, f);
	}
	if (rc != 0 && err)
		return err_add(err, "erasing in pack %" PRIu32 " at %" PRIu64, at->pack,
			       at->offset);
	return rc;
}
