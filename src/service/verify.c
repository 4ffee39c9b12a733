#include "service/files.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/mem.h"
#include "service_internal.h"
#include "store/meta_file.h"

enum {
	VERIFY_ARENA_MAX = 1 << 20,
	VERIFY_TEXT_MAX = 400,
	VERIFY_PIECE = 256 * 1024
};

struct verify {
	struct service *svc;
	struct sql_conn *conn;
	void (*found)(const char *what, void *arg);
	bool (*stops)(void *arg);
	void *arg;
	uint64_t records;
	uint64_t bad;
	int64_t last_id; /* files that came later are not looked for */
	uint8_t *seen;   /* a bit for each id up to last_id: its record is whole */
};

static void verify_bad(struct verify *v, const char *text)
{
	v->bad++;
	v->found(text, v->arg);
}

static bool verify_goes_on(struct verify *v)
{
	return !v->stops || !v->stops(v->arg);
}

static void verify_bad_record(struct verify *v, const struct pack_record *record, const char *what)
{
	char text[VERIFY_TEXT_MAX], hex[2 * SHA256_BYTES + 1];

	hex_encode(record->sha256, SHA256_BYTES, hex);
	snprintf(text, sizeof text, "file %s: its record in pack %u at %llu %s", hex,
		 record->at.pack, (unsigned long long)record->at.offset, what);
	verify_bad(v, text);
}

/* Every record that is not erased is either a file's bytes or garbage left by a lost upload. */
static bool verify_record(const struct pack_record *record, void *arg)
{
	struct verify *v = arg;
	AUTO(arena_drop) struct arena *arena = arena_new("verify", VERIFY_ARENA_MAX);
	struct file_row row;
	struct err err;
	int rc;

	v->records++;
	rc = file_row_by_hash(v->conn, str_make(record->sha256, SHA256_BYTES), arena, &row, &err);
	if (rc && rc != -ERR_NOT_FOUND)
		verify_bad_record(v, record, err.msg);
	if (rc || row.at.pack != record->at.pack || row.at.offset != record->at.offset)
		return verify_goes_on(v);
	if (row.id <= v->last_id)
		v->seen[row.id / 8] |= (uint8_t)(1u << row.id % 8);
	if (record->erased)
		verify_bad_record(v, record, "is erased");
	else if (row.size != record->at.len)
		verify_bad_record(v, record, "has another size");
	return verify_goes_on(v);
}

static void verify_damage(uint32_t pack, uint64_t offset, const char *what, void *arg)
{
	char text[VERIFY_TEXT_MAX];

	snprintf(text, sizeof text, "pack %u at %llu: %s", pack, (unsigned long long)offset, what);
	verify_bad(arg, text);
}

/* Are the bytes where the row says, whole? */
static int verify_bytes(struct verify *v, const struct file_row *row, struct err *err)
{
	AUTO(hasher_drop) struct hasher *hasher = hasher_new();
	AUTO(mem_drop) void *piece = mem_must_zalloc(VERIFY_PIECE);
	struct hashes hashes;

	for (uint64_t from = 0; from < row->at.len; from += VERIFY_PIECE) {
		uint64_t left = row->at.len - from;
		size_t n = left < VERIFY_PIECE ? left : VERIFY_PIECE;

		TRY(packs_read(v->svc->packs, &row->at, from, piece, n, err));
		hasher_add(hasher, piece, n);
	}
	hasher_end(hasher, &hashes);
	if (row->size != row->at.len ||
	    memcmp(hashes.sha256, row->hashes.sha256, SHA256_BYTES) != 0)
		return err_set(err, ERR_CORRUPT, "they have another SHA-256");
	return 0;
}

/* A file whose record was not met: it was removed, or came in this moment, or its bytes are lost.
 */
static int verify_missing(struct verify *v, int64_t id, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("verify", VERIFY_ARENA_MAX);
	char text[VERIFY_TEXT_MAX], hex[2 * SHA256_BYTES + 1];
	struct file_row row;
	struct err why;
	int rc = file_row_by_id(v->conn, id, arena, &row, err);

	if (rc)
		return rc == -ERR_NOT_FOUND ? 0 : rc;
	if (verify_bytes(v, &row, &why) == 0)
		return 0;
	hex_encode(row.hashes.sha256, SHA256_BYTES, hex);
	snprintf(text, sizeof text, "file %s: its bytes are not in the packs: %.200s", hex,
		 why.msg);
	/* Removed while we looked? */
	rc = file_row_by_id(v->conn, id, arena, &row, err);
	if (rc == 0)
		verify_bad(v, text);
	return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int verify_rows(struct verify *v, struct err *err)
{
	for (int64_t id = 1; id <= v->last_id; id++) {
		if (v->seen[id / 8] >> id % 8 & 1)
			continue;
		TRY(verify_missing(v, id, err));
		if (!verify_goes_on(v))
			return err_set(err, ERR_CLOSED, "stopped");
	}
	return 0;
}

static int verify_all(struct verify *v, struct err *err)
{
	void *seen;

	TRY(files_last_id(v->conn, &v->last_id, err));
	TRY(mem_try_array(&seen, (size_t)v->last_id / 8 + 1, 1, err));
	v->seen = seen;
	TRY(packs_walk(v->svc->packs, true, verify_record, verify_damage, v, err));
	return verify_rows(v, err);
}

int service_verify(struct service *svc, void (*found)(const char *what, void *arg),
		   bool (*stops)(void *arg), void *arg, uint64_t *ret_records, uint64_t *ret_bad,
		   struct err *err)
{
	struct verify v = { .svc = svc, .found = found, .stops = stops, .arg = arg };
	struct err why;
	int rc;

	if (sql_check(svc->db, &why) != 0)
		verify_bad(&v, why.msg);
	TRY(sql_reader_take(&v.conn, svc->db, err));
	rc = verify_all(&v, err);
	sql_reader_give(svc->db, v.conn);
	free(v.seen);
	if (rc)
		return rc;
	*ret_records = v.records;
	*ret_bad = v.bad;
	return 0;
}
