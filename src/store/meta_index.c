#include "store/meta_index.h"

#include <stdlib.h>

#include "base/mem.h"

enum {
	ROWS_AT_FIRST = 64,
	DELETED_STEP = 256, /* read together, before some of them are deleted */
};

#define SEGMENT_COLUMNS                                                                            \
	"id, first_id, last_id, level, docs, bytes, sample_bytes, features_version, created_s, "   \
	"stale"

static const char SEGMENTS[] = "SELECT " SEGMENT_COLUMNS " FROM segment ORDER BY first_id";
static const char SEGMENT_ADD[] =
	"INSERT INTO segment (id, first_id, last_id, level, docs, bytes, sample_bytes, "
	"features_version, created_s, stale) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
static const char SEGMENT_REMOVE[] = "DELETE FROM segment WHERE id = ?1";
/* Ranges do not overlap, so only the last one that begins before the end can. */
static const char SEGMENT_BEFORE[] =
	"SELECT last_id FROM segment WHERE first_id <= ?1 ORDER BY first_id DESC LIMIT 1";
static const char STALE_ONE[] = "UPDATE segment SET stale = 1 WHERE id = ?1 AND stale = 0";
static const char STALE_ALL[] = "UPDATE segment SET stale = 1 WHERE stale = 0";
static const char SEGMENT_STALE[] = "SELECT stale, first_id, last_id FROM segment WHERE id = ?1";
static const char STALE_COUNT[] =
	"SELECT count(*), coalesce(sum(sample_bytes), 0) FROM segment WHERE stale = 1";
static const char DELETED[] = "SELECT file_id FROM segment_deleted WHERE file_id >= ?1 "
			      "AND file_id <= ?2 ORDER BY file_id LIMIT ?3";
static const char DELETED_FORGET[] = "DELETE FROM segment_deleted WHERE file_id = ?1";
static const char DELETED_UNCOVERED[] =
	"DELETE FROM segment_deleted WHERE file_id >= ?1 AND file_id <= ?2 AND coalesce(("
	"SELECT s.last_id FROM segment s WHERE s.first_id <= segment_deleted.file_id "
	"ORDER BY s.first_id DESC LIMIT 1), 0) < file_id";
static const char FILES[] =
	"SELECT f.id, f.sha256, f.pack, f.pack_offset, f.size, f.first_submission_s, "
	"coalesce(f.file_type, 0), f.corpus = 'goodware', f.file_type IS NULL AND EXISTS ("
	"SELECT 1 FROM analysis a WHERE a.file_id = f.id AND a.state < 2 "
	"AND a.created_s > ?3 AND a.created_s <= ?4), "
	"coalesce((SELECT length(x.features) FROM file_features x WHERE x.file_id = f.id), 0) "
	"FROM file f WHERE f.id > ?1 AND f.id <= ?2 ORDER BY f.id LIMIT ?5";
static const char FILES_COUNT[] = "SELECT count(*) FROM file WHERE id >= ?1 AND id <= ?2";
static const char FEATURES_PUT[] =
	"INSERT INTO file_features (file_id, version, features) "
	"SELECT id, ?2, ?3 FROM file WHERE id = ?1 "
	"ON CONFLICT (file_id) DO UPDATE SET version = excluded.version, "
	"features = excluded.features "
	"WHERE version <> excluded.version OR features <> excluded.features";
static const char FEATURES_VERSION[] = "SELECT version FROM file_features WHERE file_id = ?1";
#define FEATURES_MISSING_FROM                                                                      \
	"FROM file f WHERE f.id > ?1 AND f.id <= ?2 AND f.size <= ?4 AND NOT EXISTS ("             \
	"SELECT 1 FROM file_features x WHERE x.file_id = f.id AND x.version = ?3)"
static const char FEATURES_MISSING[] =
	"SELECT f.id, f.sha256, f.pack, f.pack_offset, f.size " FEATURES_MISSING_FROM
	" ORDER BY f.id LIMIT ?5";
static const char FEATURES_MISSING_COUNT[] =
	"SELECT count(*), coalesce(sum(f.size), 0) " FEATURES_MISSING_FROM;
static const char FEATURES_GET[] = "SELECT version, features FROM file_features WHERE file_id = ?1";

/* ---- Segments ---- */

static struct segment_row segment_row_read(const struct sql_query *q)
{
	return (struct segment_row){
		.id = sql_i64(q, 0),
		.first_id = sql_i64(q, 1),
		.last_id = sql_i64(q, 2),
		.level = sql_i64(q, 3),
		.docs = sql_i64(q, 4),
		.bytes = (uint64_t)sql_i64(q, 5),
		.sample_bytes = (uint64_t)sql_i64(q, 6),
		.features_version = (uint32_t)sql_i64(q, 7),
		.created_s = sql_i64(q, 8),
		.is_stale = sql_i64(q, 9) != 0,
	};
}

int segment_rows(struct sql_conn *conn, struct segment_row **ret, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	AUTO(mem_drop) struct segment_row *rows = NULL;
	size_t n = 0, room = 0;
	bool row;

	TRY(sql_start(&q, conn, SEGMENTS, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		if (n == room) {
			room = room ? 2 * room : ROWS_AT_FIRST;
			mem_must_grow((void **)&rows, room, sizeof *rows);
		}
		rows[n++] = segment_row_read(&q);
	}
	*ret = STEAL(rows);
	*ret_n = n;
	return 0;
}

int segment_row_next_id(struct sql_conn *conn, int64_t *ret, struct err *err)
{
	return counter_next(conn, "segment", ret, err);
}

static int segment_row_add(struct sql_conn *conn, const struct segment_row *row, bool is_stale,
			   struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool any;

	REQUIRE(row->id > 0 && row->first_id > 0 && row->first_id <= row->last_id);
	TRY(sql_start(&q, conn, SEGMENT_BEFORE, err, SQL_I64(row->last_id)));
	TRY(sql_next(&q, &any, err));
	if (any && sql_i64(&q, 0) >= row->first_id)
		return err_set(err, ERR_EXISTS, "files %lld to %lld are in another segment already",
			       (long long)row->first_id, (long long)row->last_id);
	return sql_exec(conn, SEGMENT_ADD, err, SQL_I64(row->id), SQL_I64(row->first_id),
			SQL_I64(row->last_id), SQL_I64(row->level), SQL_I64(row->docs),
			SQL_I64(row->bytes), SQL_I64(row->sample_bytes),
			SQL_I64(row->features_version), SQL_I64(row->created_s), SQL_I64(is_stale));
}

/* Some removed files with ids from `from` on. */
static int deleted_some(struct sql_conn *conn, int64_t from, int64_t last,
			int64_t ids[DELETED_STEP], size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, DELETED, err, SQL_I64(from), SQL_I64(last), SQL_I64(DELETED_STEP)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < DELETED_STEP);
		ids[n++] = sql_i64(&q, 0);
	}
	*ret_n = n;
	return 0;
}

/* Which removed files the new segment has, and which are nobody's any more. */
static int deleted_settle(struct sql_conn *conn, const struct segment_change *change, size_t in,
			  struct err *err)
{
	const struct segment_row *row = &change->ins[in];
	int64_t ids[DELETED_STEP], from = row->first_id;
	size_t n;

	do {
		TRY(deleted_some(conn, from, row->last_id, ids, &n, err));
		for (size_t i = 0; i < n; i++) {
			if (change->has(in, ids[i], change->arg))
				change->dead(in, ids[i], change->arg);
			else
				TRY(sql_exec(conn, DELETED_FORGET, err, SQL_I64(ids[i])));
			from = ids[i] + 1;
		}
	} while (n == DELETED_STEP);
	return 0;
}

/* *went grows by its range, and is stale if it was. */
static int segment_row_remove(struct sql_conn *conn, int64_t id, struct segment_row *went,
			      struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, SEGMENT_STALE, err, SQL_I64(id)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "segment %lld is gone", (long long)id);
	went->is_stale = went->is_stale || sql_i64(&q, 0) != 0;
	if (!went->first_id || sql_i64(&q, 1) < went->first_id)
		went->first_id = sql_i64(&q, 1);
	if (sql_i64(&q, 2) > went->last_id)
		went->last_id = sql_i64(&q, 2);
	sql_end(&q);
	return sql_exec(conn, SEGMENT_REMOVE, err, SQL_I64(id));
}

int segment_rows_change(struct sql_conn *conn, const struct segment_change *change, bool *ret_stale,
			struct err *err)
{
	struct segment_row went = { .first_id = 0 };
	bool is_stale;

	for (size_t i = 0; i < change->out_count; i++)
		TRY(segment_row_remove(conn, change->outs[i], &went, err));
	is_stale = went.is_stale && change->is_merge;
	for (size_t i = 0; i < change->in_count; i++) {
		TRY(segment_row_add(conn, &change->ins[i], is_stale, err));
		TRY(deleted_settle(conn, change, i, err));
	}
	if (change->out_count)
		TRY(sql_exec(conn, DELETED_UNCOVERED, err, SQL_I64(went.first_id),
			     SQL_I64(went.last_id)));
	*ret_stale = is_stale;
	return 0;
}

int segment_deleted_each(struct sql_conn *conn, int64_t first_id, int64_t last_id,
			 void (*each)(int64_t file_id, void *arg), void *arg, struct err *err)
{
	int64_t ids[DELETED_STEP], from = first_id;
	size_t n;

	do {
		TRY(deleted_some(conn, from, last_id, ids, &n, err));
		for (size_t i = 0; i < n; i++) {
			each(ids[i], arg);
			from = ids[i] + 1;
		}
	} while (n == DELETED_STEP);
	return 0;
}

int segment_rows_set_stale(struct sql_conn *conn, int64_t id, uint64_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	const struct sql_val val = SQL_I64(id);
	bool row = true;

	if (id == 0)
		return sql_exec_vals(conn, STALE_ALL, NULL, 0, ret_n, err);
	TRY(sql_start(&q, conn, SEGMENT_STALE, err, val));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "there is no segment %lld", (long long)id);
	sql_end(&q);
	return sql_exec_vals(conn, STALE_ONE, &val, 1, ret_n, err);
}

int segment_rows_stale(struct sql_conn *conn, uint64_t *ret_n, uint64_t *ret_sample_bytes,
		       struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, STALE_COUNT, err));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret_n = (uint64_t)sql_i64(&q, 0);
	*ret_sample_bytes = (uint64_t)sql_i64(&q, 1);
	return 0;
}

/* ---- Files that are in no segment yet ---- */

static int index_file_read(const struct sql_query *q, struct index_file *ret, struct err *err)
{
	struct str sha256 = sql_str(q, 1);

	*ret = (struct index_file){
		.id = sql_i64(q, 0),
		.at = { (uint32_t)sql_i64(q, 2), (uint64_t)sql_i64(q, 3), (uint64_t)sql_i64(q, 4) },
		.first_submission_s = sql_i64(q, 5),
		.file_type = (uint32_t)sql_i64(q, 6),
		.is_goodware = sql_i64(q, 7) != 0,
		.waits = sql_i64(q, 8) != 0,
		.features_bytes = (uint64_t)sql_i64(q, 9),
	};
	if (sha256.n != SHA256_BYTES)
		return err_set(err, ERR_CORRUPT, "the SHA-256 of file %lld has %zu bytes",
			       (long long)ret->id, sha256.n);
	memcpy(ret->sha256, sha256.p, SHA256_BYTES);
	return 0;
}

int index_files(struct sql_conn *conn, const struct index_files_query *query,
		struct index_file *ret, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, FILES, err, SQL_I64(query->after_id), SQL_I64(query->last_id),
		      SQL_I64(query->since_s), SQL_I64(query->until_s), SQL_I64(query->max)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < query->max);
		TRY(index_file_read(&q, &ret[n++], err));
	}
	*ret_n = n;
	return 0;
}

int index_files_count(struct sql_conn *conn, int64_t first_id, int64_t last_id, uint64_t *ret,
		      struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, FILES_COUNT, err, SQL_I64(first_id), SQL_I64(last_id)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret = (uint64_t)sql_i64(&q, 0);
	return 0;
}

/* ---- Features ---- */

int file_features_put(struct sql_conn *conn, int64_t file_id, uint32_t version,
		      const uint64_t *features, size_t n, struct err *err)
{
	static const uint64_t none;

	REQUIRE(n <= FEATURES_MAX && version > 0);
	return sql_exec(conn, FEATURES_PUT, err, SQL_I64(file_id), SQL_I64(version),
			SQL_BLOB(n ? features : &none, n * sizeof *features));
}

int file_features_get(struct sql_conn *conn, int64_t file_id, uint32_t *ret_version, uint64_t *ret,
		      size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct str bytes;
	bool row;

	*ret_version = 0;
	*ret_n = 0;
	TRY(sql_start(&q, conn, FEATURES_GET, err, SQL_I64(file_id)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	bytes = sql_str(&q, 1);
	if (bytes.n % sizeof *ret || bytes.n / sizeof *ret > FEATURES_MAX)
		return err_set(err, ERR_CORRUPT, "the features of file %lld have %zu bytes",
			       (long long)file_id, bytes.n);
	if (bytes.n)
		memcpy(ret, bytes.p, bytes.n);
	*ret_n = bytes.n / sizeof *ret;
	*ret_version = (uint32_t)sql_i64(&q, 0);
	return 0;
}

int file_features_version(struct sql_conn *conn, int64_t file_id, uint32_t *ret, struct err *err)
{
	int64_t version;

	TRY(sql_one_i64(conn, FEATURES_VERSION, SQL_VALS(SQL_I64(file_id)), 0, &version, err));
	*ret = (uint32_t)version;
	return 0;
}

#define QUERY_VALS(q)                                                                              \
	SQL_I64((q)->after_id), SQL_I64((q)->last_id), SQL_I64((q)->version), SQL_I64((q)->size_max)

int features_missing(struct sql_conn *conn, const struct features_query *query,
		     struct features_row *ret, size_t max, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, FEATURES_MISSING, err, QUERY_VALS(query), SQL_I64(max)));
	for (;;) {
		struct str sha256;

		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < max);
		sha256 = sql_str(&q, 1);
		ret[n] = (struct features_row){
			.id = sql_i64(&q, 0),
			.at = { (uint32_t)sql_i64(&q, 2), (uint64_t)sql_i64(&q, 3),
				(uint64_t)sql_i64(&q, 4) },
		};
		if (sha256.n == SHA256_BYTES)
			memcpy(ret[n].sha256, sha256.p, SHA256_BYTES);
		n++;
	}
	*ret_n = n;
	return 0;
}

int features_missing_count(struct sql_conn *conn, const struct features_query *query,
			   uint64_t *ret_files, uint64_t *ret_bytes, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, FEATURES_MISSING_COUNT, err, QUERY_VALS(query)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret_files = (uint64_t)sql_i64(&q, 0);
	*ret_bytes = (uint64_t)sql_i64(&q, 1);
	return 0;
}
