#include "packs_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"

/*
 * What a stop at any instruction leaves, put in order when the packs are opened.
 *
 *  - Temporary files are removed.
 *  - A pack with the sealed mark is left alone (packs_walk says if it is damaged).
 *  - A pack without it, but with a footer, gets the mark: the stop came between.
 *  - Any other is walked record by record and cut after the last whole one. What
 *    is not whole before that one is no torn write but damage, or a write lost by
 *    a sync that failed: it is kept and marked as broken, never cut away.
 *  - The newest pack that is not full goes on; others are sealed.
 *  - A pack with a damaged header was durable once (packs.c, invariant 1): it is
 *    left alone too.
 */

static int number_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool number_of_name(struct str name, uint32_t *ret)
{
	uint64_t v;

	if (name.n != 15 || !str_ends(name, STR(".pack")))
		return false;
	if (!str_to_u64(str_make(name.p, 10), UINT32_MAX, &v) || v == 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static void dir_drop(DIR **d)
{
	if (*d)
		closedir(*d);
}

int packs_list(struct packs *p, bool remove_temps, uint32_t **ret, size_t *ret_n, struct err *err)
{
	AUTO(mem_drop) uint32_t *numbers = NULL;
	AUTO(dir_drop) DIR *dir = NULL;
	char path[4096];
	size_t n = 0, room = 0;
	struct dirent *entry;
	char temp[PACK_NAME_BYTES];
	uint32_t number;
	struct str name;

	if (snprintf(path, sizeof path, "%s/packs", p->io->root) >= (int)sizeof path)
		return err_set(err, ERR_INVALID, "the data folder's path is too long");
	dir = opendir(path);
	if (!dir)
		return err_sys(err, errno, "cannot list '%s'", path);
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		name = str_of(entry->d_name);
		if (remove_temps && name.n == 14 && str_ends(name, STR(".tmp"))) {
			snprintf(temp, sizeof temp, "packs/%.14s", entry->d_name);
			TRY(p->io->unlink(p->io, temp, err));
		}
		if (!number_of_name(name, &number))
			continue;
		if (n == room) {
			room = room ? 2 * room : 64;
			mem_must_grow((void **)&numbers, room, sizeof *numbers);
		}
		numbers[n++] = number;
	}
	if (errno != 0)
		return err_sys(err, errno, "cannot list '%s'", path);
	if (n > 0)
		qsort(numbers, n, sizeof *numbers, number_cmp);
	*ret = STEAL(numbers);
	*ret_n = n;
	return 0;
}

static int write_mark(struct packs *p, struct pack_open *o, uint64_t offset, uint64_t mark,
		      struct err *err)
{
	uint8_t bytes[8];

	put_le64(bytes, mark);
	return p->io->pwrite(p->io, o->f, bytes, sizeof bytes, offset, err);
}

/*
 * [offset, offset + span) is not whole, but whole records follow. Where there is
 * no header one is put there, so that the pack is records without gaps again;
 * the bytes behind it stay as they are.
 */
static int mark_broken(struct packs *p, struct pack_open *o, const struct pack_step *step,
		       struct err *err)
{
	struct record_header h = step->h;
	uint8_t bytes[PACK_RECORD_BYTES];

	if (!step->has_header) {
		h = (struct record_header){ .len = step->span - PACK_RECORD_BYTES,
					    .mark = PACK_MARK_BROKEN };
		record_header_encode(&h, &o->id, step->offset, bytes);
		TRY(p->io->pwrite(p->io, o->f, bytes, sizeof bytes, step->offset, err));
	} else {
		TRY(write_mark(p, o, step->offset + PACK_RECORD_MARK_AT, PACK_MARK_BROKEN, err));
	}
	pack_chain_add(&o->chain, &h);
	return 0;
}

/* Walk o up to `size`; leaves o->done and o->chain at the last whole record. */
static int recover_records(struct packs *p, struct pack_open *o, uint64_t size, struct err *err)
{
	AUTO(mem_drop) struct pack_step *torn = NULL;
	size_t n = 0, room = 0;
	struct pack_scan scan;
	struct pack_step step;
	bool end = false;
	int rc;

	o->done = PACK_HEADER_BYTES;
	TRY(pack_scan_init(&scan, o->f, &o->id, size, err));
	scan.check_bytes = true;
	while ((rc = pack_scan_next(&scan, &step, &end, err)) == 0 && !end) {
		if (step.what) {
			if (n == room) {
				room = room ? 2 * room : 8;
				mem_must_grow((void **)&torn, room, sizeof *torn);
			}
			torn[n++] = step;
			continue;
		}
		for (size_t i = 0; i < n && rc == 0; i++)
			rc = mark_broken(p, o, &torn[i], err);
		if (rc != 0)
			break;
		n = 0;
		pack_chain_add(&o->chain, &step.h);
		o->done = step.offset + step.span;
	}
	pack_scan_release(&scan);
	return rc;
}

/* *ret_sealed: nothing more is to be done with it. */
static int recover_pack(struct packs *p, struct pack_open *o, bool *ret_sealed, struct err *err)
{
	uint8_t bytes[PACK_HEADER_BYTES], end[PACK_FOOTER_BYTES];
	struct pack_header header;
	struct pack_footer footer;
	uint64_t size;
	int rc;

	*ret_sealed = true;
	TRY(io_size(o->f, &size, err));
	if (size < PACK_HEADER_BYTES)
		return 0;
	TRY(io_pread(o->f, bytes, sizeof bytes, 0, err));
	rc = pack_header_decode(&header, bytes, o->id.number, err);
	if (rc == -ERR_CORRUPT || (rc == 0 && header.mark == PACK_MARK_SEALED))
		return 0;
	TRY(rc);
	o->id = header.id;
	if (size >= PACK_HEADER_BYTES + PACK_FOOTER_BYTES && size % PACK_ALIGN == 0) {
		uint64_t at = size - PACK_FOOTER_BYTES;

		TRY(io_pread(o->f, end, sizeof end, at, err));
		if (!pack_footer_decode(&footer, &o->id, at, end)) {
			/* Written again, since its sync may have failed: before the mark it is
			 * durable. */
			TRY(p->io->pwrite(p->io, o->f, end, sizeof end, at, err));
			TRY(p->io->sync(p->io, o->f, err));
			return write_mark(p, o, PACK_HEADER_MARK_AT, PACK_MARK_SEALED, err);
		}
	}
	*ret_sealed = false;
	TRY(recover_records(p, o, size, err));
	if (o->done != size)
		TRY(p->io->truncate(p->io, o->f, o->done, err));
	/* What was never synced was read from memory: now it is on the disk. */
	TRY(p->io->sync(p->io, o->f, err));
	o->reserved = o->synced = o->done;
	return 0;
}

/* The newest pack with room goes on; an older one that waited for this is sealed. */
static int recover_current(struct packs *p, struct pack_open *o, struct err *err)
{
	struct pack_open *older;
	int rc;

	lock_take(&p->lock);
	older = p->current;
	p->list = p->current = o;
	lock_drop(&p->lock);
	if (!older)
		return 0;
	rc = pack_seal(p, older, err);
	pack_open_free(p, older);
	return rc;
}

static int recover_one(struct packs *p, uint32_t number, struct err *err)
{
	struct pack_open *o = mem_must_zalloc(sizeof *o);
	char name[PACK_NAME_BYTES];
	bool sealed = true;
	int rc;

	o->id.number = number;
	o->cut = UINT64_MAX;
	pack_name(name, number);
	rc = p->io->open(p->io, name, O_RDWR, &o->f, err);
	if (rc == 0)
		rc = recover_pack(p, o, &sealed, err);
	if (rc == 0 && !sealed && o->done < p->options.seal_bytes)
		return recover_current(p, o, err);
	if (rc == 0 && !sealed)
		rc = pack_seal(p, o, err);
	pack_open_free(p, o);
	return rc != 0 && err ? err_add(err, "pack %" PRIu32, number) : rc;
}

int packs_recover(struct packs *p, struct err *err)
{
	AUTO(mem_drop) uint32_t *numbers = NULL;
	size_t n = 0;

	TRY(p->io->mkdir(p->io, "packs", err));
	TRY(p->io->sync_dir(p->io, "", err));
	TRY(packs_list(p, true, &numbers, &n, err));
	for (size_t i = 0; i < n; i++)
		TRY(recover_one(p, numbers[i], err));
	/* Names that a stop left undecided, and removals, are made sure. */
	TRY(p->io->sync_dir(p->io, "packs", err));
	lock_take(&p->lock);
	p->next_number = n > 0 ? numbers[n - 1] + 1 : 1;
	lock_drop(&p->lock);
	return 0;
}
