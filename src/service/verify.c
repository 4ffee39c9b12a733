#include "verify_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/mem.h"
#include "store/meta_file.h"
#include "store/meta_verify.h"

enum {
	VERIFY_ARENA_MAX = 1 << 20,
	VERIFY_PIECE = 256 * 1024,
};

/* A record that no file had when it was met. */
struct loose {
	struct pack_locator at;
	uint8_t sha256[SHA256_BYTES];
};

struct verify {
	struct service *svc;
	struct sql_conn *conn;
	struct task *task;
	const char *check; /* whose findings come now */
	uint64_t records;
	int64_t last_id;     /* files that came later are not looked for */
	uint8_t *seen;       /* owned; a bit for each id up to last_id: its record is whole */
	struct loose *loose; /* owned */
	size_t loose_n, loose_room;
};

static int stopped(struct err *err)
{
	return err_set(err, ERR_CLOSED, "it was stopped");
}

/* ---- The database's structure ---- */

static void structure_found(const char *what, void *arg)
{
	struct verify *v = arg;

	task_found(v->task, "database", "%s", what);
}

static bool structure_goes_on(void *arg)
{
	struct verify *v = arg;

	return task_goes_on(v->task, 0);
}

static int verify_structure(struct verify *v, struct err *err)
{
	task_step(v->task, "structure of the database", 0);
	return sql_findings(v->svc->db, structure_found, structure_goes_on, v, err);
}

/* ---- The packs ---- */

static void bad_record(struct verify *v, const struct pack_record *record, const char *what)
{
	char hex[2 * SHA256_BYTES + 1];

	hex_encode(record->sha256, SHA256_BYTES, hex);
	task_found(v->task, "files", "file %s: its record in pack %" PRIu32 " at %" PRIu64 " %s",
		   hex, record->at.pack, record->at.offset, what);
}

/* It may be on its way to a file: told later, if it still has none. */
static void note_loose(struct verify *v, const struct pack_record *record)
{
	struct loose *l;

	if (v->loose_n == VERIFY_LOOSE_MAX)
		return;
	if (v->loose_n == v->loose_room) {
		v->loose_room = v->loose_room ? 2 * v->loose_room : 64;
		mem_must_grow((void **)&v->loose, v->loose_room, sizeof *v->loose);
	}
	l = &v->loose[v->loose_n++];
	l->at = record->at;
	memcpy(l->sha256, record->sha256, SHA256_BYTES);
}

static bool pack_record(const struct pack_record *record, void *arg)
{
	struct pack_locator at = { 0 };
	struct verify *v = arg;
	struct err err;
	int64_t id = 0;

	v->records++;
	if (file_row_place(v->conn, record->sha256, &id, &at, &err) != 0)
		bad_record(v, record, err.msg);
	else if (!id || at.pack != record->at.pack || at.offset != record->at.offset)
		id = 0;
	if (id) {
		if (id <= v->last_id)
			v->seen[id / 8] |= (uint8_t)(1u << id % 8);
		if (record->erased)
			bad_record(v, record, "is erased");
		else if (at.len != record->at.len)
			bad_record(v, record, "has another size");
	} else if (!record->erased) {
		note_loose(v, record);
	}
	return task_goes_on(v->task, record->at.len);
}

static void pack_damage(uint32_t pack, uint64_t offset, const char *what, void *arg)
{
	struct verify *v = arg;

	task_found(v->task, "packs", "pack %" PRIu32 " at %" PRIu64 ": %s", pack, offset, what);
}

static int verify_packs(struct verify *v, struct err *err)
{
	uint64_t bytes;
	void *seen;

	TRY(packs_bytes(v->svc->packs, &bytes, err));
	TRY(files_last_id(v->conn, &v->last_id, err));
	TRY(mem_try_array(&seen, (size_t)v->last_id / 8 + 1, 1, err));
	v->seen = seen;
	task_step(v->task, "packs", bytes);
	return packs_walk(v->svc->packs, true, pack_record, pack_damage, v, err);
}

/* ---- The files ---- */

/* Are the bytes where the row says, whole? */
static int read_bytes(struct verify *v, const struct file_row *row, struct err *err)
{
	AUTO(sha256_drop) struct sha256 *h = sha256_new();
	AUTO(mem_drop) void *piece = mem_must_zalloc(VERIFY_PIECE);
	uint8_t sha256[SHA256_BYTES];

	for (uint64_t from = 0; from < row->at.len; from += VERIFY_PIECE) {
		uint64_t left = row->at.len - from;
		size_t n = left < VERIFY_PIECE ? left : VERIFY_PIECE;

		TRY(packs_read(v->svc->packs, &row->at, from, piece, n, err));
		sha256_add(h, piece, n);
	}
	sha256_end(h, sha256);
	if (row->size != row->at.len || memcmp(sha256, row->hashes.sha256, SHA256_BYTES) != 0)
		return err_set(err, ERR_CORRUPT, "they have another SHA-256");
	return 0;
}

/* A file whose record was not met: it was removed, or came in this moment, or its bytes are lost.
 */
static int verify_missing(struct verify *v, int64_t id, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("verify", VERIFY_ARENA_MAX);
	char hex[2 * SHA256_BYTES + 1];
	struct file_row row;
	struct err why = { 0 };
	int rc = file_row_by_id(v->conn, id, arena, &row, err);

	if (rc)
		return rc == -ERR_NOT_FOUND ? 0 : rc;
	if (read_bytes(v, &row, &why) == 0)
		return 0;
	hex_encode(row.hashes.sha256, SHA256_BYTES, hex);
	/* Removed while we looked? */
	rc = file_row_by_id(v->conn, id, arena, &row, err);
	if (rc == 0)
		task_found(v->task, "files", "file %s: its bytes are not in the packs: %.200s", hex,
			   why.msg);
	return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int verify_files(struct verify *v, struct err *err)
{
	task_step(v->task, "files, rows", (uint64_t)v->last_id);
	for (int64_t id = 1; id <= v->last_id; id++) {
		if (!(v->seen[id / 8] >> id % 8 & 1))
			TRY(verify_missing(v, id, err));
		/* Not bytes: the rate is not for them. */
		v->task->done++;
		if (!task_goes_on(v->task, 0))
			return stopped(err);
	}
	return 0;
}

/* ---- Records of no file ---- */

static void tell_loose(struct verify *v, const struct loose *l)
{
	char text[256], hex[2 * SHA256_BYTES + 1];

	hex_encode(l->sha256, SHA256_BYTES, hex);
	snprintf(text, sizeof text,
		 "pack %" PRIu32 " at %" PRIu64 ": %" PRIu64 " bytes of no file, SHA-256 %s",
		 l->at.pack, l->at.offset, l->at.len, hex);
	if (v->task->found)
		v->task->found("loose", text, v->task->arg);
}

static int verify_loose(struct verify *v, const struct verify_options *options,
			struct verify_result *ret, struct err *err)
{
	task_step(v->task, "bytes of no file, records", v->loose_n);
	/* Whoever stored one of them and is still under way has committed by then, or failed. */
	if (v->loose_n && !uploads_wait(v->svc, v->task))
		return stopped(err);
	for (size_t i = 0; i < v->loose_n; i++) {
		const struct loose *l = &v->loose[i];
		bool used;

		TRY(file_place_is_used(v->conn, &l->at, &used, err));
		v->task->done++;
		if (!task_goes_on(v->task, 0))
			return stopped(err);
		if (used)
			continue;
		ret->loose++;
		ret->loose_bytes += l->at.len;
		tell_loose(v, l);
		if (options->reclaim) {
			TRY(files_erase_garbage(v->svc, &l->at, err));
			ret->reclaimed++;
		}
	}
	return 0;
}

/* ---- What the database says of itself ---- */

static void derived_found(const char *what, void *arg)
{
	struct verify *v = arg;

	task_found(v->task, v->check, "%s", what);
}

static int verify_derived(struct verify *v, enum verify_check check, struct err *err)
{
	const struct verify_info *info = &verify_infos[check];
	char step[64];
	int64_t last;

	TRY(verify_last(v->conn, check, &last, err));
	snprintf(step, sizeof step, "%s, rows", info->name);
	task_step(v->task, step, (uint64_t)last);
	for (int64_t after = 0; after < last; after += info->per ? info->per : last) {
		int64_t to = info->per && last - after > info->per ? after + info->per : last;

		TRY(verify_find(v->conn, check, after, to, derived_found, v, err));
		v->task->done = (uint64_t)to;
		if (!task_goes_on(v->task, 0))
			return stopped(err);
	}
	return 0;
}

static int verify_all(struct verify *v, const struct verify_options *options,
		      struct verify_result *ret, struct err *err)
{
	TRY(verify_structure(v, err));
	for (unsigned i = 0; i < VERIFY_COUNT; i++) {
		struct err why = { 0 };
		int rc;

		v->check = verify_infos[i].name;
		rc = verify_derived(v, (enum verify_check)i, &why);
		/* Damage in one table is no reason not to look at the others. */
		if (rc == -ERR_CORRUPT)
			derived_found(why.msg, v);
		else if (rc)
			return err_set(err, why.kind, "%s", why.msg);
	}
	TRY(verify_packs(v, err));
	TRY(verify_files(v, err));
	TRY(verify_index(v->svc, v->conn, v->task, err));
	return verify_loose(v, options, ret, err);
}

int service_verify(struct service *svc, const struct verify_options *options, struct task *task,
		   struct verify_result *ret, struct err *err)
{
	struct verify v = { .svc = svc, .task = task };
	int rc;

	*ret = (struct verify_result){ .records = 0 };
	TRY(sql_reader_take(&v.conn, svc->db, err));
	rc = verify_all(&v, options, ret, err);
	ret->records = v.records;
	sql_reader_give(svc->db, v.conn);
	free(v.seen);
	free(v.loose);
	return rc;
}
