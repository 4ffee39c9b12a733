#include "backup_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/mem.h"

static const char step_name[] = "packs";

/* A pack on its way into the backup. */
struct pack_job {
	struct backup_packs *b;
	struct pack_need need;
	struct pack_rows rows;
	uint64_t gone;
};

/* What is to be done with a pack that the snapshot needs. */
struct plan {
	struct pack_need need;
	uint64_t bytes;                    /* of the file, to be copied; 0: nothing is */
	const struct manifest_pack *there; /* the copy that is there already, or NULL */
};
struct plans {
	struct plan *at; /* owned */
	size_t n, room;
	uint64_t bytes;
};

/* ---- What has to be copied ---- */

static bool file_is_there(struct place *place, const struct manifest_pack *pack)
{
	struct io_file *f;
	uint64_t size;
	bool fine;

	if (place->io->open(place->io, pack->path, 0, &f, NULL) != 0)
		return false;
	fine = io_size(f, &size, NULL) == 0 && size == pack->bytes;
	place->io->close(place->io, f);
	return fine;
}

/*
 * The pack as an earlier backup has it, if nothing can have changed: the file was
 * not written since, and the snapshot knows as many samples in it. Rows come
 * without a write where a sample was stored before that backup and committed after
 * its snapshot; they go without one only while their erasure is still to be done.
 */
static const struct manifest_pack *find_earlier(const struct backup_packs *b,
						const struct pack_need *need,
						const struct pack_stamp *now)
{
	for (size_t i = 0; i < b->earlier_count && !need->erasing; i++) {
		const struct manifest_pack *p = manifest_pack(&b->earlier[i], need->pack);

		if (p && p->samples == need->samples && pack_stamp_is_same(&p->stamp, now) &&
		    file_is_there(b->place, p))
			return p;
	}
	return NULL;
}

static int plan_add(struct backup_packs *b, struct plans *plans, const struct pack_need *need,
		    struct err *err)
{
	struct pack_stamp now = { 0 };
	struct plan *plan;
	int rc = packs_stamp(service_packs(b->svc), need->pack, &now, err);

	if (rc && rc != -ERR_NOT_FOUND)
		return rc;
	if (plans->n == plans->room) {
		plans->room = plans->room ? 2 * plans->room : 64;
		mem_must_grow((void **)&plans->at, plans->room, sizeof *plans->at);
	}
	plan = &plans->at[plans->n++];
	*plan = (struct plan){ .need = *need, .there = find_earlier(b, need, &now) };
	if (!plan->there)
		plan->bytes = now.size;
	plans->bytes += plan->bytes;
	return 0;
}

static int plans_make(struct backup_packs *b, struct plans *plans, struct err *err)
{
	struct pack_need need = { .pack = 0 };

	for (;;) {
		TRY(pack_need_next(b->snapshot, need.pack, &need, err));
		if (!need.pack)
			return 0;
		TRY(plan_add(b, plans, &need, err));
		if (!task_goes_on(b->task, 0))
			return err_set(err, ERR_CLOSED, "it was stopped");
	}
}

/* ---- What lives on in a copy: what the snapshot knows ---- */

static void row_lost(struct pack_job *j, const char *why)
{
	char hex[2 * SHA256_BYTES + 1];

	hex_encode(j->rows.sha256, SHA256_BYTES, hex);
	task_found(j->b->task, "packs", "file %s: its bytes in pack %" PRIu32 " at %" PRIu64 " %s",
		   hex, j->need.pack, j->rows.offset, why);
}

/* *ret: the present row is this record's. Rows before it have none. */
static int row_of(struct pack_job *j, const struct pack_record *record, bool *ret, struct err *err)
{
	while (j->rows.id && j->rows.offset < record->at.offset) {
		row_lost(j, "are damaged or not there");
		TRY(pack_rows_next(&j->rows, err));
	}
	*ret = j->rows.id && j->rows.offset == record->at.offset;
	return 0;
}

static int record_lives(const struct pack_record *record, bool *ret, void *arg, struct err *err)
{
	struct pack_job *j = arg;

	TRY(row_of(j, record, ret, err));
	if (!*ret)
		return 0;
	if (memcmp(j->rows.sha256, record->sha256, SHA256_BYTES) != 0 ||
	    j->rows.size != record->at.len)
		row_lost(j, "are another sample's");
	return pack_rows_next(&j->rows, err);
}

/* Removed since the snapshot: it is taken out of that too. */
static int record_erased(const struct pack_record *record, void *arg, struct err *err)
{
	struct pack_job *j = arg;
	struct backup_packs *b = j->b;
	bool known;

	TRY(row_of(j, record, &known, err));
	if (!known)
		return 0;
	if (b->gone_count == b->gone_room) {
		b->gone_room = b->gone_room ? 2 * b->gone_room : 64;
		mem_must_grow((void **)&b->gone, b->gone_room, sizeof *b->gone);
	}
	b->gone[b->gone_count++] = j->rows.id;
	j->gone++;
	return pack_rows_next(&j->rows, err);
}

static void pack_bad(uint32_t pack, uint64_t offset, const char *what, void *arg)
{
	struct pack_job *j = arg;

	task_found(j->b->task, "packs", "pack %" PRIu32 " at %" PRIu64 ": %s", pack, offset, what);
}

static bool pack_goes_on(uint64_t bytes, void *arg)
{
	struct pack_job *j = arg;

	j->b->copied_bytes += bytes;
	return task_goes_on(j->b->task, bytes);
}

/* ---- Copying ---- */

/* So that a backup after an interrupted one need not copy it again. */
static int note(struct backup_packs *b, const struct manifest_pack *pack, struct err *err)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);
	struct io *io = b->place->io;

	manifest_print_pack(pack, &line);
	TRY(buf_check(&line, "a line of the manifest", err));
	TRY(io->pwrite(io, b->partial, line.p, line.n, b->partial_bytes, err));
	b->partial_bytes += line.n;
	return io->sync(io, b->partial, err);
}

static int rows_rest(struct pack_job *j, struct err *err)
{
	while (j->rows.id) {
		row_lost(j, "are damaged or not there");
		TRY(pack_rows_next(&j->rows, err));
	}
	return 0;
}

static int copy_pack(struct pack_job *j, struct err *err)
{
	const struct pack_copy_rules rules = { .lives = record_lives,
					       .erased = record_erased,
					       .bad = pack_bad,
					       .goes_on = pack_goes_on,
					       .arg = j };
	struct backup_packs *b = j->b;
	struct manifest_pack made = { .pack = j->need.pack };
	struct pack_copied copied = { 0 };
	char aside[MANIFEST_PATH_BYTES];
	struct io *io = b->place->io;

	snprintf(aside, sizeof aside, "packs/%010" PRIu32 ".tmp", j->need.pack);
	TRY(packs_copy(service_packs(b->svc), j->need.pack, j->need.end, io, aside, &rules, &copied,
		       err));
	TRY(rows_rest(j, err));
	manifest_pack_path(made.path, j->need.pack, copied.sha256);
	memcpy(made.sha256, copied.sha256, SHA256_BYTES);
	made.bytes = copied.bytes;
	made.stamp = copied.stamp;
	made.samples = j->need.samples - j->gone;
	/* Where a file has that name it has that content, but for damage: a new one is better. */
	TRY(io->rename(io, aside, made.path, err));
	TRY(io->sync_dir(io, "packs", err));
	TRY(note(b, &made, err));
	manifest_add_pack(b->manifest, &made);
	b->copied_packs++;
	return 0;
}

static int take_pack(struct backup_packs *b, const struct plan *plan, struct err *err)
{
	struct pack_job j = { .b = b, .need = plan->need };
	int rc;

	if (plan->there) {
		manifest_add_pack(b->manifest, plan->there);
		return 0;
	}
	TRY(pack_rows_start(&j.rows, b->snapshot, plan->need.pack, err));
	rc = copy_pack(&j, err);
	if (rc == -ERR_NOT_FOUND && !plan->bytes) {
		task_found(b->task, "packs",
			   "pack %" PRIu32 " is missing, and with it %" PRIu64 " samples",
			   plan->need.pack, plan->need.samples);
		rc = 0;
	}
	pack_rows_end(&j.rows);
	return rc;
}

int backup_packs_copy(struct backup_packs *b, struct err *err)
{
	struct plans plans = { .n = 0 };
	int rc = plans_make(b, &plans, err);

	if (rc == 0) {
		task_step(b->task, step_name, plans.bytes);
		for (size_t i = 0; i < plans.n && rc == 0; i++)
			rc = take_pack(b, &plans.at[i], err);
	}
	free(plans.at);
	return rc;
}
