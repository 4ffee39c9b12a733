#include "packs_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct walk {
	struct packs *p;
	struct io_file *f;
	uint32_t number;
	bool check_bytes;
	bool (*each)(const struct pack_record *record, void *arg);
	void (*bad)(uint32_t pack, uint64_t offset, const char *what, void *arg);
	void *arg;
};

/* A pack being written ends where its last whole record does. */
static bool open_end(struct packs *p, uint32_t number, uint64_t *ret)
{
	bool found = false;

	lock_take(&p->lock);
	for (struct pack_open *o = p->list; o; o = o->next) {
		if (o->id.number == number) {
			*ret = o->done;
			found = true;
		}
	}
	lock_drop(&p->lock);
	return found;
}

static int check_zeros(struct window *w, const struct pack_step *step, bool *ret, struct err *err)
{
	uint64_t at = step->offset + PACK_RECORD_BYTES;

	*ret = true;
	for (uint64_t i = 0; i < step->h.len && *ret; i += PACK_COPY_BYTES) {
		uint64_t left = step->h.len - i;
		size_t n = left < PACK_COPY_BYTES ? left : PACK_COPY_BYTES;
		const uint8_t *p;

		TRY(window_get(w, at + i, n, &p, err));
		*ret = p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
	}
	return 0;
}

/* Once what is being erased is erased: the mark comes before the zeros. */
static int check_zeros_again(struct walk *k, struct window *w, const struct pack_step *step,
			     bool *ret, struct err *err)
{
	lock_take(&k->p->erasing);
	lock_drop(&k->p->erasing);
	w->n = 0;
	return check_zeros(w, step, ret, err);
}

static int walk_step(struct walk *k, struct pack_scan *scan, struct pack_step *step,
		     struct err *err)
{
	struct pack_record record = { .at = { k->number, step->offset + PACK_RECORD_BYTES,
					      step->h.len } };
	uint8_t mark[8];

	if (step->what && step->has_header) {
		/* Erased while we looked? Then its mark came first. */
		TRY(io_pread(k->f, mark, sizeof mark, step->offset + PACK_RECORD_MARK_AT, err));
		step->h.mark = get_le64(mark);
		if (step->h.mark == PACK_MARK_ERASED && !step->short_)
			step->what = NULL;
	}
	if (step->what) {
		k->bad(k->number, step->offset, step->what, k->arg);
		return 0;
	}
	memcpy(record.sha256, step->h.sha256, SHA256_BYTES);
	switch (step->h.mark) {
	case PACK_MARK_BROKEN:
		return 0;
	case PACK_MARK_NONE:
		break;
	case PACK_MARK_ERASED:
		record.erased = true;
		if (k->check_bytes) {
			bool zeros;

			TRY(check_zeros(&scan->w, step, &zeros, err));
			if (!zeros)
				TRY(check_zeros_again(k, &scan->w, step, &zeros, err));
			if (!zeros)
				k->bad(k->number, step->offset,
				       "an erased record still has bytes: its erasure was not "
				       "finished",
				       k->arg);
		}
		break;
	default:
		k->bad(k->number, step->offset, "the record's mark is damaged", k->arg);
		return 0;
	}
	if (!k->each(&record, k->arg))
		return err_set(err, ERR_CLOSED, "the walk was ended");
	return 0;
}

static int walk_records(struct walk *k, const struct pack_id *id, uint64_t end,
			const struct pack_footer *footer, struct err *err)
{
	struct pack_chain chain = { 0 };
	struct pack_scan scan;
	struct pack_step step;
	bool done = false, headers_whole = true;
	int rc;

	TRY(pack_scan_init(&scan, k->f, id, end, err));
	scan.check_bytes = scan.check_sha256 = k->check_bytes;
	while ((rc = pack_scan_next(&scan, &step, &done, err)) == 0 && !done) {
		headers_whole = headers_whole && step.has_header;
		pack_chain_add(&chain, &step.h);
		rc = walk_step(k, &scan, &step, err);
		if (rc != 0)
			break;
	}
	pack_scan_release(&scan);
	TRY(rc);
	if (footer && headers_whole &&
	    (footer->count != chain.count || memcmp(footer->root, chain.root, SHA256_BYTES) != 0))
		k->bad(k->number, end, "the footer does not fit the records", k->arg);
	return 0;
}

static int walk_pack(struct walk *k, struct err *err)
{
	uint8_t bytes[PACK_HEADER_BYTES], end[PACK_FOOTER_BYTES];
	struct pack_footer footer;
	struct pack_header header;
	struct err why = { 0 };
	const char *what;
	uint64_t size, at;
	bool open = open_end(k->p, k->number, &at);

	TRY(io_size(k->f, &size, err));
	if (size < PACK_HEADER_BYTES) {
		k->bad(k->number, 0, "the pack is shorter than its header", k->arg);
		return 0;
	}
	TRY(io_pread(k->f, bytes, sizeof bytes, 0, err));
	if (pack_header_decode(&header, bytes, k->number, &why) != 0) {
		k->bad(k->number, 0, why.msg, k->arg);
		return 0;
	}
	if (open)
		return walk_records(k, &header.id, at, NULL, err);
	if (header.mark != PACK_MARK_SEALED)
		k->bad(k->number, PACK_HEADER_MARK_AT, "the pack's sealed mark is damaged", k->arg);
	if (size < PACK_HEADER_BYTES + PACK_FOOTER_BYTES) {
		k->bad(k->number, size, "the pack ends before its footer", k->arg);
		return 0;
	}
	at = size - PACK_FOOTER_BYTES;
	TRY(io_pread(k->f, end, sizeof end, at, err));
	what = pack_footer_decode(&footer, &header.id, at, end);
	if (what)
		k->bad(k->number, at, what, k->arg);
	return walk_records(k, &header.id, at, what ? NULL : &footer, err);
}

int packs_bytes(struct packs *p, uint64_t *ret, struct err *err)
{
	AUTO(mem_drop) uint32_t *numbers = NULL;
	struct pack_stamp stamp;
	uint64_t all = 0;
	size_t n = 0;

	TRY(packs_list(p, false, &numbers, &n, err));
	for (size_t i = 0; i < n; i++) {
		/* One that vanishes or cannot be opened is the walk's to tell. */
		if (packs_stamp(p, numbers[i], &stamp, NULL) == 0)
			all += stamp.size;
	}
	*ret = all;
	return 0;
}

int packs_walk(struct packs *p, bool check_bytes,
	       bool (*each)(const struct pack_record *record, void *arg),
	       void (*bad)(uint32_t pack, uint64_t offset, const char *what, void *arg), void *arg,
	       struct err *err)
{
	AUTO(mem_drop) uint32_t *numbers = NULL;
	size_t n = 0;

	TRY(packs_list(p, false, &numbers, &n, err));
	for (size_t i = 0; i < n; i++) {
		struct walk k = { .p = p,
				  .number = numbers[i],
				  .check_bytes = check_bytes,
				  .each = each,
				  .bad = bad,
				  .arg = arg };
		char name[PACK_NAME_BYTES];
		struct err why = { 0 };
		int rc;

		pack_name(name, numbers[i]);
		rc = p->io->open(p->io, name, O_RDONLY, &k.f, &why);
		/* Packs that never got a record may vanish meanwhile. */
		if (rc == -ERR_NOT_FOUND)
			continue;
		if (rc == 0) {
			rc = walk_pack(&k, &why);
			p->io->close(p->io, k.f);
		}
		/* A disk that cannot be read is a finding; the other packs still count. */
		if (rc == -ERR_IO || rc == -ERR_CORRUPT) {
			bad(numbers[i], 0, why.msg, arg);
			continue;
		}
		if (rc != 0) {
			if (err)
				*err = why;
			return rc;
		}
	}
	return 0;
}
