#include "packs_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/*
 * Syncing in rounds. Whoever asks while a round runs waits for it and, if it
 * began too early for him, leads the next one for all who came meanwhile: any
 * number of callers costs two rounds at most.
 */

static void lost_locked(struct packs *p, const struct err *why) MUST_HOLD(p->lock);

static void lost_locked(struct packs *p, const struct err *why)
{
	p->lost = true;
	p->lost_err = *why;
	for (struct pack_open *o = p->list; o; o = o->next)
		o->closed = true;
	p->current = NULL;
}

/* Syncs all dirty files, then the folder. The lock is given up during the syncs. */
static void sync_all_locked(struct packs *p) MUST_HOLD(p->lock);

static void sync_all_locked(struct packs *p)
{
	uint64_t target = p->changes;
	bool names = p->names_changed;
	struct io *io = p->io;
	struct err why = { 0 };
	int rc = 0;

	p->names_changed = false;
	/* Only the leader takes packs off the list; others add at its end. */
	for (struct pack_open *o = p->list; o && rc == 0; o = o->next) {
		uint64_t done = o->done;

		if (done == o->synced)
			continue;
		lock_drop(&p->lock);
		rc = io->sync(io, o->f, &why);
		lock_take(&p->lock);
		if (rc == 0)
			o->synced = done;
		else
			(void)err_add(&why, "pack %" PRIu32 " may have lost samples", o->id.number);
	}
	if (rc == 0 && names) {
		lock_drop(&p->lock);
		rc = io->sync_dir(io, "packs", &why);
		lock_take(&p->lock);
		if (rc != 0)
			(void)err_add(&why, "new packs may be lost");
	}
	if (rc != 0)
		lost_locked(p, &why);
	else
		p->changes_synced = target;
}

/* One closed pack that is ready to be sealed, taken off the list; NULL: none. */
static struct pack_open *take_full_locked(struct packs *p) MUST_HOLD(p->lock);

static struct pack_open *take_full_locked(struct packs *p)
{
	for (struct pack_open *o = p->list; o; o = o->next) {
		if (o->closed && !o->left && o->writing == 0 && o->synced == o->done && !p->lost)
			return o;
	}
	return NULL;
}

/* The pack stays on the list while it is sealed: a walk must see where it ends. */
static void seal_full_locked(struct packs *p) MUST_HOLD(p->lock);

static void seal_full_locked(struct packs *p)
{
	struct pack_open *o;

	while ((o = take_full_locked(p)) != NULL) {
		struct pack_open **link = &p->list;
		int rc;

		lock_drop(&p->lock);
		rc = pack_seal(p, o, NULL);
		lock_take(&p->lock);
		if (rc != 0) {
			o->left = true;
			continue;
		}
		while (*link != o)
			link = &(*link)->next;
		*link = o->next;
		pack_open_free(p, o);
	}
}

int packs_sync(struct packs *p, struct err *err)
{
	uint64_t need;
	int rc = 0;

	lock_take(&p->lock);
	need = p->changes;
	while (rc == 0 && p->changes_synced < need) {
		rc = packs_lost_locked(p, err);
		if (rc != 0)
			break;
		if (p->round_running) {
			cond_wait(&p->changed, &p->lock);
			continue;
		}
		p->round_running = true;
		sync_all_locked(p);
		cond_broadcast(&p->changed);
		seal_full_locked(p);
		p->round_running = false;
		cond_broadcast(&p->changed);
	}
	lock_drop(&p->lock);
	return rc;
}

int pack_seal(struct packs *p, struct pack_open *o, struct err *err)
{
	struct pack_footer footer = { .count = o->chain.count };
	uint8_t bytes[PACK_FOOTER_BYTES], mark[8];
	char name[PACK_NAME_BYTES];
	struct io *io = p->io;

	REQUIRE(o->writing == 0 && o->synced == o->done);
	if (o->done == PACK_HEADER_BYTES) {
		pack_name(name, o->id.number);
		return io->unlink(io, name, err);
	}
	if (o->reserved != o->done)
		TRY(io->truncate(io, o->f, o->done, err));
	for (int i = 0; i < SHA256_BYTES; i++)
		footer.root[i] = o->chain.root[i];
	pack_footer_encode(&footer, &o->id, o->done, bytes);
	TRY(io->pwrite(io, o->f, bytes, sizeof bytes, o->done, err));
	/* The mark says that the footer is there, so the footer is durable first. */
	TRY(io->sync(io, o->f, err));
	put_le64(mark, PACK_MARK_SEALED);
	return io->pwrite(io, o->f, mark, sizeof mark, PACK_HEADER_MARK_AT, err);
}
