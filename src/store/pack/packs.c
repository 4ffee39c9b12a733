#include "packs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"

/*
 * Appending.
 *
 * Invariants
 *  1. A file called packs/N.pack begins with a whole, durable header: it is
 *     written and synced under a temporary name. A number is used once.
 *  2. Below `done` a pack is records without gaps. Appends write in parallel but
 *     become done in the order of their offsets, so no append has succeeded
 *     while one before it is missing, and recovery, which stops where records
 *     stop, finds all that was acknowledged.
 *  3. A write that failed cuts its pack: nothing at or after its offset becomes
 *     done, the pack is closed, and those who wrote behind it write again in
 *     another pack. A pack is sealed at `done`, after the last writer has left
 *     and what lies beyond was truncated away.
 *  4. changes_synced = c says that the first c changes (appends that were done,
 *     files that got their name) are durable, contents and names.
 *  5. After a failed sync the kernel may have dropped what it could not write,
 *     and says so once. What was appended and not yet synced may be lost, and
 *     packs cannot know whose it was: every later append and sync fails with
 *     that error until the packs are opened again, when recovery looks at what
 *     there is. Reading goes on.
 *  6. The bytes of a record are written once. Only marks (format_internal.h) and
 *     the zeros of an erasure are ever written over something.
 *
 *               reserve_locked           last record of a full pack, or a cut
 *   (no pack) -----------------> current ------------------------> closed
 *       ^                                                            |
 *       +--- unlinked, if it holds nothing <--- pack_seal <----------+ synced, no writer
 *                                                  |
 *                                                sealed: no struct pack_open any more
 */

enum {
	APPEND_TRIES = 4
}; /* packs tried while others' writes fail below ours */

void pack_name(char out[PACK_NAME_BYTES], uint32_t number)
{
	snprintf(out, PACK_NAME_BYTES, "packs/%010" PRIu32 ".pack", number);
}

void pack_temp_name(char out[PACK_NAME_BYTES], uint32_t number)
{
	snprintf(out, PACK_NAME_BYTES, "packs/%010" PRIu32 ".tmp", number);
}

int packs_lost_locked(struct packs *p, struct err *err)
{
	if (!p->lost)
		return 0;
	if (err)
		*err = p->lost_err;
	return -(int)p->lost_err.kind;
}

int packs_disk_free(struct packs *p, uint64_t *ret, struct err *err)
{
	struct statvfs fs;

	if (statvfs(p->io->root, &fs) != 0)
		return err_sys(err, errno, "cannot ask for the free space of '%s'", p->io->root);
	*ret = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

int packs_space(struct packs *p, uint64_t n, struct err *err)
{
	int64_t now = clock_mono_us(clock_system());
	uint64_t avail;
	int rc = 0;

	lock_take(&p->lock);
	if (p->space_left < n || now - p->space_asked_us > PACK_SPACE_MS * 1000) {
		rc = packs_disk_free(p, &avail, err);
		if (rc == 0 && avail / 2 < p->options.reserve_bytes / 2 + n / 2 + 1) {
			p->space_left = 0;
			rc = err_set(err, ERR_NO_SPACE,
				     "%" PRIu64 " bytes are free, %" PRIu64 " are kept in reserve",
				     avail, p->options.reserve_bytes);
		} else if (rc == 0) {
			uint64_t left = avail - p->options.reserve_bytes;

			p->space_left = left < PACK_SPACE_BYTES ? left : PACK_SPACE_BYTES;
			p->space_asked_us = now;
		}
	}
	if (rc == 0)
		p->space_left -= p->space_left < n ? p->space_left : n;
	lock_drop(&p->lock);
	return rc;
}

void pack_open_free(struct packs *p, struct pack_open *o)
{
	if (!o)
		return;
	if (o->f)
		p->io->close(p->io, o->f);
	free(o);
}

/* Invariant 1. On failure nothing is left but, at worst, the temporary name. */
static int pack_create(struct packs *p, uint32_t number, struct pack_open **ret, struct err *err)
{
	struct pack_open *o = mem_must_zalloc(sizeof *o);
	struct pack_header h = { .id = { .number = number }, .mark = PACK_MARK_NONE };
	uint8_t bytes[PACK_HEADER_BYTES];
	char temp[PACK_NAME_BYTES], name[PACK_NAME_BYTES];
	struct io *io = p->io;
	int rc;

	rand_bytes(h.id.salt, sizeof h.id.salt);
	pack_header_encode(&h, bytes);
	pack_temp_name(temp, number);
	pack_name(name, number);
	o->id = h.id;
	o->reserved = o->done = o->synced = PACK_HEADER_BYTES;
	o->cut = UINT64_MAX;
	rc = io->open(io, temp, O_RDWR | O_CREAT | O_EXCL, &o->f, err);
	if (rc == 0) {
		rc = io->pwrite(io, o->f, bytes, sizeof bytes, 0, err);
		if (rc == 0)
			rc = io->sync(io, o->f, err);
		if (rc == 0)
			rc = io->rename(io, temp, name, err);
		if (rc != 0)
			(void)io->unlink(io, temp, NULL);
	}
	if (rc != 0) {
		pack_open_free(p, o);
		return err ? err_add(err, "pack %" PRIu32 " cannot be made", number) : rc;
	}
	*ret = o;
	return 0;
}

static void list_add_locked(struct packs *p, struct pack_open *o) MUST_HOLD(p->lock);

static void list_add_locked(struct packs *p, struct pack_open *o)
{
	struct pack_open **end = &p->list;

	while (*end)
		end = &(*end)->next;
	*end = o;
}

static void close_locked(struct packs *p, struct pack_open *o) MUST_HOLD(p->lock);

static void close_locked(struct packs *p, struct pack_open *o)
{
	o->closed = true;
	if (p->current == o)
		p->current = NULL;
}

/* Room for `span` bytes in the current pack, which is made if there is none. */
static int reserve_locked(struct packs *p, uint64_t span, struct pack_open **ret_o,
			  uint64_t *ret_offset, struct err *err) MUST_HOLD(p->lock);

static int reserve_locked(struct packs *p, uint64_t span, struct pack_open **ret_o,
			  uint64_t *ret_offset, struct err *err)
{
	struct pack_open *o = NULL;

	for (;;) {
		uint32_t number;
		int rc;

		TRY(packs_lost_locked(p, err));
		if (p->current)
			break;
		if (p->creating) {
			cond_wait(&p->changed, &p->lock);
			continue;
		}
		if (p->next_number == 0)
			return err_set(err, ERR_TOO_LARGE, "all pack numbers are used up");
		number = p->next_number++;
		p->creating = true;
		lock_drop(&p->lock);
		rc = pack_create(p, number, &o, err);
		lock_take(&p->lock);
		p->creating = false;
		cond_broadcast(&p->changed);
		TRY(rc);
		list_add_locked(p, o);
		p->current = o;
		p->names_changed = true;
	}
	o = p->current;
	REQUIRE(!o->closed && o->cut == UINT64_MAX);
	*ret_offset = o->reserved;
	o->reserved += span;
	o->writing++;
	if (o->reserved >= p->options.seal_bytes)
		close_locked(p, o);
	*ret_o = o;
	return 0;
}

static int write_large(struct packs *p, struct pack_open *o, const uint8_t *header,
		       const struct record_header *h, const struct pack_source *from,
		       uint64_t offset, struct err *err)
{
	static const uint8_t zeros[PACK_ALIGN];
	uint64_t data_at = offset + PACK_RECORD_BYTES;
	uint64_t pad = record_span(h->len) - PACK_RECORD_BYTES - h->len;
	struct io *io = p->io;

	TRY(io->pwrite(io, o->f, header, PACK_RECORD_BYTES, offset, err));
	if (from->data) {
		TRY(io->pwrite(io, o->f, from->data, h->len, data_at, err));
	} else {
		AUTO(mem_drop) void *piece = NULL;

		TRY(mem_try_alloc(&piece, PACK_COPY_BYTES, err));
		for (uint64_t i = 0; i < h->len; i += PACK_COPY_BYTES) {
			uint64_t left = h->len - i;
			size_t n = left < PACK_COPY_BYTES ? left : PACK_COPY_BYTES;

			TRY(io_pread(from->f, piece, n, from->offset + i, err));
			TRY(io->pwrite(io, o->f, piece, n, data_at + i, err));
		}
	}
	if (pad > 0)
		TRY(io->pwrite(io, o->f, zeros, pad, data_at + h->len, err));
	return 0;
}

static int write_record(struct packs *p, struct pack_open *o, const struct record_header *h,
			const struct pack_source *from, uint64_t offset, struct err *err)
{
	uint64_t span = record_span(h->len);
	uint8_t header[PACK_RECORD_BYTES];
	AUTO(mem_drop) void *whole = NULL;
	uint8_t *bytes;

	record_header_encode(h, &o->id, offset, header);
	if (span > PACK_COPY_BYTES || (!from->data && h->len > 0))
		return write_large(p, o, header, h, from, offset, err);
	TRY(mem_try_alloc(&whole, span, err));
	bytes = whole;
	memcpy(bytes, header, PACK_RECORD_BYTES);
	if (h->len > 0)
		memcpy(bytes + PACK_RECORD_BYTES, from->data, h->len);
	memset(bytes + PACK_RECORD_BYTES + h->len, 0, span - PACK_RECORD_BYTES - h->len);
	return p->io->pwrite(p->io, o->f, bytes, span, offset, err);
}

/* Wakes the append whose turn it is; after a cut, those that lost their place. */
static void turns_wake_locked(struct packs *p, struct pack_open *o) MUST_HOLD(p->lock);

static void turns_wake_locked(struct packs *p, struct pack_open *o)
{
	(void)p;
	for (struct pack_turn *t = o->turns; t; t = t->next) {
		if (t->offset == o->done || t->offset >= o->cut)
			cond_signal(&t->come);
	}
}

static void turn_wait_locked(struct packs *p, struct pack_open *o, uint64_t offset)
	MUST_HOLD(p->lock);

static void turn_wait_locked(struct packs *p, struct pack_open *o, uint64_t offset)
{
	struct pack_turn turn = { .next = o->turns, .offset = offset };
	struct pack_turn **link = &o->turns;

	cond_init(&turn.come);
	/* Taken out again before it goes. */
	// cppcheck-suppress autoVariables
	o->turns = &turn;
	while (offset < o->cut && o->done != offset)
		cond_wait(&turn.come, &p->lock);
	while (*link != &turn)
		link = &(*link)->next;
	*link = turn.next;
	cond_release(&turn.come);
}

/*
 * After the write: wait for those before us (invariant 2). *ret_again: one of
 * them failed and our place is gone (invariant 3).
 */
static void settle_locked(struct packs *p, struct pack_open *o, uint64_t offset,
			  const struct record_header *h, bool failed, bool *ret_again)
	MUST_HOLD(p->lock);

static void settle_locked(struct packs *p, struct pack_open *o, uint64_t offset,
			  const struct record_header *h, bool failed, bool *ret_again)
{
	if (failed && offset < o->cut) {
		o->cut = offset;
		close_locked(p, o);
		turns_wake_locked(p, o);
	}
	if (offset < o->cut && o->done != offset)
		turn_wait_locked(p, o, offset);
	REQUIRE(o->writing > 0);
	o->writing--;
	*ret_again = offset >= o->cut;
	if (!*ret_again) {
		o->done = offset + record_span(h->len);
		pack_chain_add(&o->chain, h);
		p->changes++;
		turns_wake_locked(p, o);
	}
}

int packs_append_from(struct packs *p, const struct record_header *h,
		      const struct pack_source *from, struct pack_locator *ret, struct err *err)
{
	uint64_t span = record_span(h->len);

	TRY(packs_space(p, span, err));
	for (int tries = 0; tries < APPEND_TRIES; tries++) {
		struct pack_open *o = NULL; /* sealed and freed, maybe, once it is settled */
		uint64_t offset = 0;
		uint32_t number;
		bool again;
		int rc;

		lock_take(&p->lock);
		rc = reserve_locked(p, span, &o, &offset, err);
		lock_drop(&p->lock);
		TRY(rc);
		REQUIRE(o);
		number = o->id.number;
		rc = write_record(p, o, h, from, offset, err);
		lock_take(&p->lock);
		settle_locked(p, o, offset, h, rc != 0, &again);
		lock_drop(&p->lock);
		TRY(rc);
		if (again)
			continue;
		metric_add(METRIC_pack_bytes_total, (int64_t)span);
		*ret = (struct pack_locator){ number, offset + PACK_RECORD_BYTES, h->len };
		return 0;
	}
	return err_set(err, ERR_IO, "writes to %d packs failed one after another", APPEND_TRIES);
}

int packs_append(struct packs *p, const struct hashes *h, const void *data, size_t len,
		 struct pack_locator *ret, struct err *err)
{
	struct record_header header = { .len = len, .mark = PACK_MARK_NONE };
	struct pack_source from = { .data = data };

	REQUIRE(data || len == 0);
	if (len > LIMIT_SAMPLE_BYTES)
		return err_set(err, ERR_TOO_LARGE, "a sample of %zu bytes, %d is the maximum", len,
			       LIMIT_SAMPLE_BYTES);
	memcpy(header.sha256, h->sha256, SHA256_BYTES);
	header.data_crc = crc32c(0, data, len);
	return packs_append_from(p, &header, &from, ret, err);
}

int packs_open(struct packs **ret, struct io *io, const struct packs_options *options,
	       struct err *err)
{
	struct packs *p = mem_must_zalloc(sizeof *p);
	int rc;

	p->io = io;
	p->options = *options;
	lock_init(&p->erasing, LOCK_ERASING);
	lock_init(&p->lock, LOCK_PACKS);
	lock_init(&p->files_lock, LOCK_PACKS);
	cond_init(&p->changed);
	rc = packs_recover(p, err);
	if (rc != 0) {
		packs_close(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void packs_close(struct packs *p)
{
	struct pack_open *o;

	if (!p)
		return;
	/* Best effort: whoever needed his bytes had asked for a sync of his own. */
	int ignored = packs_sync(p, NULL);
	(void)ignored;
	pack_files_release(p);
	lock_take(&p->lock);
	o = p->list;
	p->list = NULL;
	lock_drop(&p->lock);
	while (o) {
		struct pack_open *next = o->next;

		REQUIRE(o->writing == 0);
		/*
		 * Invariant 5: nobody was promised these bytes, and though they may
		 * read well now, from memory, the disk may not have them.
		 */
		if (p->lost && o->synced < o->done)
			(void)p->io->truncate(p->io, o->f, o->synced, NULL);
		pack_open_free(p, o);
		o = next;
	}
	cond_release(&p->changed);
	lock_release(&p->files_lock);
	lock_release(&p->erasing);
	lock_release(&p->lock);
	free(p);
}
