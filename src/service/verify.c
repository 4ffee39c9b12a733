#include "service/files.h"

#include <stdio.h>

#include "base/hex.h"
#include "service_internal.h"
#include "store/meta_file.h"

enum {
	VERIFY_ARENA_MAX = 1 << 20,
	VERIFY_TEXT_MAX = 400
};

struct verify {
	struct sql_conn *conn;
	void (*found)(const char *what, void *arg);
	void *arg;
	uint64_t records;
	uint64_t bad;
	uint64_t matched; /* files whose row points at a record of theirs */
};

static void verify_bad(struct verify *v, const char *text)
{
	v->bad++;
	v->found(text, v->arg);
}

/* Every record that is not erased is either a file's bytes or garbage left by a lost upload. */
static void verify_record(const struct pack_record *record, void *arg)
{
	struct verify *v = arg;
	AUTO(arena_drop) struct arena *arena = arena_new("verify", VERIFY_ARENA_MAX);
	struct file_row row;
	struct err err;

	v->records++;
	if (file_row_by_hash(v->conn, str_make(record->sha256, SHA256_BYTES), arena, &row, &err))
		return;
	if (row.at.pack != record->at.pack || row.at.offset != record->at.offset)
		return;
	v->matched++;
	if (record->erased || row.size != record->at.len) {
		char text[VERIFY_TEXT_MAX], hex[2 * SHA256_BYTES + 1];

		hex_encode(record->sha256, SHA256_BYTES, hex);
		snprintf(text, sizeof text, "file %s: its record in pack %u at %llu %s", hex,
			 record->at.pack, (unsigned long long)record->at.offset,
			 record->erased ? "is erased" : "has another size");
		verify_bad(v, text);
	}
}

static void verify_damage(uint32_t pack, uint64_t offset, const char *what, void *arg)
{
	char text[VERIFY_TEXT_MAX];

	snprintf(text, sizeof text, "pack %u at %llu: %s", pack, (unsigned long long)offset, what);
	verify_bad(arg, text);
}

static int verify_rows(struct verify *v, struct err *err)
{
	uint64_t files, bytes, open_analyses;
	char text[VERIFY_TEXT_MAX];

	TRY(files_totals(v->conn, &files, &bytes, &open_analyses, err));
	if (files != v->matched) {
		snprintf(text, sizeof text,
			 "%llu files are in the database, the packs hold the bytes of %llu of them",
			 (unsigned long long)files, (unsigned long long)v->matched);
		verify_bad(v, text);
	}
	return 0;
}

int service_verify(struct service *svc, void (*found)(const char *what, void *arg), void *arg,
		   uint64_t *ret_records, uint64_t *ret_bad, struct err *err)
{
	struct verify v = { .found = found, .arg = arg };
	struct err why;
	int rc;

	if (sql_check(svc->db, &why) != 0)
		verify_bad(&v, why.msg);
	TRY(sql_reader_take(&v.conn, svc->db, err));
	rc = packs_walk(svc->packs, true, verify_record, verify_damage, &v, err);
	if (rc == 0)
		rc = verify_rows(&v, err);
	sql_reader_give(svc->db, v.conn);
	if (rc)
		return rc;
	*ret_records = v.records;
	*ret_bad = v.bad;
	return 0;
}
