#include "packs_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"

/*
 * Descriptors for reading: one per pack in use, and up to PACK_FILES_CACHED in
 * all kept for the next reader. A file is in the table as long as it is open,
 * and in the idle list while nobody holds it.
 */
struct pack_file {
	struct io_file *f; /* owned */
	uint32_t number;
	uint32_t refs;
	struct pack_file *next; /* in its bucket */
	struct pack_file *idle_prev, *idle_next;
};

static struct pack_file **bucket_locked(struct packs *p, uint32_t number) MUST_HOLD(p->files_lock);

static struct pack_file **bucket_locked(struct packs *p, uint32_t number)
{
	struct pack_file **at = &p->buckets[number % PACK_FILES_BUCKETS];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static void idle_remove_locked(struct packs *p, struct pack_file *f) MUST_HOLD(p->files_lock);

static void idle_remove_locked(struct packs *p, struct pack_file *f)
{
	*(f->idle_prev ? &f->idle_prev->idle_next : &p->idle_first) = f->idle_next;
	*(f->idle_next ? &f->idle_next->idle_prev : &p->idle_last) = f->idle_prev;
	f->idle_prev = f->idle_next = NULL;
}

/* Takes the longest unused file out of the table; the caller closes it. NULL: none is idle. */
static struct pack_file *evict_locked(struct packs *p) MUST_HOLD(p->files_lock);

static struct pack_file *evict_locked(struct packs *p)
{
	struct pack_file *f = p->idle_first;

	if (!f)
		return NULL;
	idle_remove_locked(p, f);
	*bucket_locked(p, f->number) = f->next;
	p->files--;
	return f;
}

static void file_free(struct packs *p, struct pack_file *f)
{
	if (!f)
		return;
	p->io->close(p->io, f->f);
	free(f);
}

static struct pack_file *find_locked(struct packs *p, uint32_t number) MUST_HOLD(p->files_lock);

static struct pack_file *find_locked(struct packs *p, uint32_t number)
{
	struct pack_file *f = *bucket_locked(p, number);

	if (!f)
		return NULL;
	if (f->refs++ == 0)
		idle_remove_locked(p, f);
	return f;
}

int packs_get(struct packs *p, uint32_t pack, struct pack_file **ret, struct err *err)
{
	struct pack_file *f, *spare = NULL;
	struct io_file *opened;
	char name[PACK_NAME_BYTES];

	lock_take(&p->files_lock);
	f = find_locked(p, pack);
	lock_drop(&p->files_lock);
	if (f) {
		*ret = f;
		return 0;
	}
	pack_name(name, pack);
	TRY(p->io->open(p->io, name, O_RDONLY, &opened, err));
	lock_take(&p->files_lock);
	f = find_locked(p, pack);
	if (f) {
		lock_drop(&p->files_lock);
		p->io->close(p->io, opened);
		*ret = f;
		return 0;
	}
	f = mem_must_zalloc(sizeof *f);
	f->f = opened;
	f->number = pack;
	f->refs = 1;
	*bucket_locked(p, pack) = f;
	if (++p->files > PACK_FILES_CACHED)
		spare = evict_locked(p);
	lock_drop(&p->files_lock);
	file_free(p, spare);
	*ret = f;
	return 0;
}

int pack_file_fd(const struct pack_file *f)
{
	return f->f->fd;
}

void pack_file_put(struct packs *p, struct pack_file *f)
{
	struct pack_file *spare = NULL;

	if (!f)
		return;
	lock_take(&p->files_lock);
	REQUIRE(f->refs > 0);
	if (--f->refs == 0) {
		f->idle_prev = p->idle_last;
		*(p->idle_last ? &p->idle_last->idle_next : &p->idle_first) = f;
		p->idle_last = f;
		if (p->files > PACK_FILES_CACHED)
			spare = evict_locked(p);
	}
	lock_drop(&p->files_lock);
	file_free(p, spare);
}

void pack_files_release(struct packs *p)
{
	struct pack_file *f;

	do {
		lock_take(&p->files_lock);
		f = evict_locked(p);
		lock_drop(&p->files_lock);
		file_free(p, f);
	} while (f);
	lock_take(&p->files_lock);
	REQUIRE(p->files == 0);
	lock_drop(&p->files_lock);
}

int pack_record_check(const struct io_file *f, const struct pack_locator *at,
		      struct record_header *ret, struct err *err)
{
	uint8_t bytes[PACK_HEADER_BYTES], record[PACK_RECORD_BYTES];
	struct pack_header header;
	const char *what;
	uint64_t size;

	if (at->offset < PACK_HEADER_BYTES + PACK_RECORD_BYTES || at->offset > INT64_MAX ||
	    at->offset % PACK_ALIGN != 0)
		return err_set(err, ERR_CORRUPT, "no record can be there");
	TRY(io_pread(f, bytes, sizeof bytes, 0, err));
	TRY(pack_header_decode(&header, bytes, at->pack, err));
	TRY(io_pread(f, record, sizeof record, at->offset - PACK_RECORD_BYTES, err));
	what = record_header_decode(ret, &header.id, at->offset - PACK_RECORD_BYTES, record);
	if (what)
		return err_set(err, ERR_CORRUPT, "%s", what);
	TRY(io_size(f, &size, err));
	if (ret->len != at->len || size < at->offset || ret->len > size - at->offset)
		return err_set(err, ERR_CORRUPT, "the record has %" PRIu64 " bytes, not %" PRIu64,
			       ret->len, at->len);
	return 0;
}

static int read_whole(const struct io_file *f, const struct pack_locator *at, void *data,
		      bool *ret_erased, struct err *err)
{
	struct record_header h;

	TRY(pack_record_check(f, at, &h, err));
	*ret_erased = h.mark == PACK_MARK_ERASED;
	if (*ret_erased)
		return 0;
	if (h.mark == PACK_MARK_BROKEN)
		return err_set(err, ERR_CORRUPT, "the record is broken");
	if (at->len)
		TRY(io_pread(f, data, (size_t)at->len, at->offset, err));
	if (crc32c(0, data, (size_t)at->len) != h.data_crc)
		return err_set(err, ERR_CORRUPT, "the sample's checksum is wrong");
	return 0;
}

int packs_read_whole(struct packs *p, const struct pack_locator *at, void *data, bool *ret_erased,
		     struct err *err)
{
	struct pack_file *f;
	int rc = packs_get(p, at->pack, &f, err);

	if (rc == 0) {
		rc = read_whole(f->f, at, data, ret_erased, err);
		pack_file_put(p, f);
	}
	if (rc != 0 && err)
		return err_add(err, "pack %" PRIu32 " at %" PRIu64, at->pack, at->offset);
	return rc;
}

int packs_read(struct packs *p, const struct pack_locator *at, uint64_t from, void *data, size_t n,
	       struct err *err)
{
	struct pack_file *f;
	int rc;

	if (from > at->len || n > at->len - from)
		return err_set(err, ERR_INVALID,
			       "%zu bytes from %" PRIu64 " of a sample of %" PRIu64 " bytes", n,
			       from, at->len);
	rc = packs_get(p, at->pack, &f, err);
	if (rc == 0) {
		rc = io_pread(f->f, data, n, at->offset + from, err);
		pack_file_put(p, f);
	}
	if (rc != 0 && err)
		return err_add(err, "pack %" PRIu32 " at %" PRIu64, at->pack, at->offset);
	return rc;
}
