#include "store/meta_file.h"

#include "base/limits.h"

#define FILE_COLUMNS                                                                               \
	"id, sha256, sha1, md5, size, corpus, pack, pack_offset, first_submission_s, "             \
	"last_submission_s, last_analysis_s, times_submitted, unique_sources, last_name, "         \
	"file_type, magic, mime"

static const char FILE_BY_SHA256[] = "SELECT " FILE_COLUMNS " FROM file WHERE sha256 = ?1";
static const char FILE_BY_SHA1[] = "SELECT " FILE_COLUMNS " FROM file WHERE sha1 = ?1";
static const char FILE_BY_MD5[] = "SELECT " FILE_COLUMNS " FROM file WHERE md5 = ?1";
static const char FILE_BY_ID[] = "SELECT " FILE_COLUMNS " FROM file WHERE id = ?1";
static const char FILE_FIND[] = "SELECT id FROM file WHERE sha256 = ?1";
static const char FIRST_USER[] =
	"SELECT user_id FROM submission WHERE file_id = ?1 ORDER BY id LIMIT 1";
static const char FILE_INSERT[] =
	"INSERT INTO file (sha256, sha1, md5, size, corpus, pack, pack_offset, "
	"first_submission_s, last_submission_s, times_submitted, unique_sources, last_name, id) "
	"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
static const char FILE_RESUBMITTED[] =
	"UPDATE file SET times_submitted = times_submitted + 1, "
	"last_submission_s = max(last_submission_s, ?2), last_name = ?3, "
	"unique_sources = unique_sources + ?4 WHERE id = ?1";
static const char FILE_SET_IDENTITY[] =
	"UPDATE file SET file_type = ?2, magic = ?3, mime = ?4 WHERE id = ?1";
static const char FILE_SET_REPORT[] =
	"UPDATE file SET report = ?2, last_analysis_s = CASE WHEN ?3 = 0 THEN last_analysis_s "
	"ELSE ?3 END WHERE id = ?1";
static const char NAME_PUT[] =
	"INSERT INTO file_name (file_id, name, first_s, last_s) VALUES (?1, ?2, ?3, ?3) "
	"ON CONFLICT (file_id, name) DO UPDATE SET last_s = max(last_s, excluded.last_s)";
static const char NAME_TRIM[] =
	"DELETE FROM file_name WHERE file_id = ?1 AND name IN (SELECT name FROM file_name "
	"WHERE file_id = ?1 ORDER BY last_s DESC, name LIMIT -1 OFFSET ?2)";
static const char NAMES[] =
	"SELECT name FROM file_name WHERE file_id = ?1 ORDER BY last_s DESC, name LIMIT ?2";
/* The plus keeps it off the index by user: one user may have sent millions of files. */
static const char SUBMISSION_SEEN[] =
	"SELECT 1 FROM submission WHERE file_id = ?1 AND +user_id IS ?2 LIMIT 1";
static const char SUBMISSION_ADD[] =
	"INSERT INTO submission (file_id, user_id, date_s, name, interface) "
	"VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id";
static const char COUNTER_NEXT[] =
	"UPDATE counter SET value = value + 1 WHERE name = ?1 RETURNING value";
static const char COUNTER_GET[] = "SELECT value FROM counter WHERE name = ?1";
static const char FILE_PLACE[] = "SELECT id, pack, pack_offset, size FROM file WHERE sha256 = ?1";
static const char PLACE_USED[] =
	"SELECT 1 FROM file WHERE pack = ?1 AND pack_offset = ?2 "
	"UNION ALL SELECT 1 FROM erase WHERE pack = ?1 AND pack_offset = ?2 LIMIT 1";
static const char ERASE_ADD[] =
	"INSERT INTO erase (pack, pack_offset, len) VALUES (?1, ?2, ?3) RETURNING id";
static const char ERASE_DONE[] = "DELETE FROM erase WHERE id = ?1";
static const char ERASE_NEXT[] =
	"SELECT id, pack, pack_offset, len FROM erase WHERE id > ?1 ORDER BY id LIMIT 1";
static const char REMOVE_ANALYSES[] = "DELETE FROM analysis WHERE file_id = ?1";
static const char REMOVE_SUBMISSIONS[] = "DELETE FROM submission WHERE file_id = ?1";
static const char REMOVE_NAMES[] = "DELETE FROM file_name WHERE file_id = ?1";
static const char REMOVE_QUARANTINE[] = "DELETE FROM quarantine WHERE file_id = ?1";
static const char REMOVE_FACTS[] = "DELETE FROM file_facts WHERE file_id = ?1";
static const char REMOVE_FEATURES[] = "DELETE FROM file_features WHERE file_id = ?1";
static const char REMOVE_INDEXED[] =
	"INSERT INTO segment_deleted (file_id) VALUES (?1) ON CONFLICT (file_id) DO NOTHING";
static const char REMOVE_FILE[] = "DELETE FROM file WHERE id = ?1";
static const char TOTAL_FILES[] = "SELECT count(*), coalesce(sum(size), 0) FROM file";
static const char LAST_ID[] = "SELECT coalesce(max(id), 0) FROM file";
/* Each part is answered by its partial index. */
static const char TOTAL_OPEN[] = "SELECT (SELECT count(*) FROM analysis WHERE state = 0)"
				 " + (SELECT count(*) FROM analysis WHERE state = 1)";

static void copy_digest(uint8_t *to, size_t n, struct str from)
{
	if (from.n == n)
		memcpy(to, from.p, n);
}

static void file_row_read(const struct sql_query *q, struct arena *arena, struct file_row *row)
{
	*row = (struct file_row){ .id = sql_i64(q, 0) };
	copy_digest(row->hashes.sha256, SHA256_BYTES, sql_str(q, 1));
	copy_digest(row->hashes.sha1, SHA1_BYTES, sql_str(q, 2));
	copy_digest(row->hashes.md5, MD5_BYTES, sql_str(q, 3));
	row->size = (uint64_t)sql_i64(q, 4);
	row->corpus = arena_str(arena, sql_str(q, 5));
	row->at.pack = (uint32_t)sql_i64(q, 6);
	row->at.offset = (uint64_t)sql_i64(q, 7);
	row->at.len = row->size;
	row->first_submission_s = sql_i64(q, 8);
	row->last_submission_s = sql_i64(q, 9);
	row->last_analysis_s = sql_i64(q, 10);
	row->times_submitted = sql_i64(q, 11);
	row->unique_sources = sql_i64(q, 12);
	row->last_name = arena_str(arena, sql_str(q, 13));
	row->identified = !sql_is_null(q, 14);
	row->file_type = (uint32_t)sql_i64(q, 14);
	row->magic = arena_str(arena, sql_str(q, 15));
	row->mime = arena_str(arena, sql_str(q, 16));
}

static int file_row_one(struct sql_conn *conn, const char *text, struct sql_val key,
			struct arena *arena, struct file_row *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, text, err, key));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no such file");
	file_row_read(&q, arena, ret);
	return 0;
}

int file_row_by_hash(struct sql_conn *conn, struct str hash, struct arena *arena,
		     struct file_row *ret, struct err *err)
{
	struct sql_val key = SQL_BLOB(hash.p, hash.n);

	switch (hash.n) {
	case SHA256_BYTES:
		return file_row_one(conn, FILE_BY_SHA256, key, arena, ret, err);
	case SHA1_BYTES:
		return file_row_one(conn, FILE_BY_SHA1, key, arena, ret, err);
	case MD5_BYTES:
		return file_row_one(conn, FILE_BY_MD5, key, arena, ret, err);
	default:
		return err_set(err, ERR_INVALID, "a hash has 16, 20 or 32 bytes, not %zu", hash.n);
	}
}

int file_row_by_id(struct sql_conn *conn, int64_t id, struct arena *arena, struct file_row *ret,
		   struct err *err)
{
	return file_row_one(conn, FILE_BY_ID, SQL_I64(id), arena, ret, err);
}

int file_row_find(struct sql_conn *conn, const uint8_t sha256[SHA256_BYTES], int64_t *ret_id,
		  struct err *err)
{
	const struct sql_val key = SQL_BLOB(sha256, SHA256_BYTES);

	return sql_one_i64(conn, FILE_FIND, &key, 1, 0, ret_id, err);
}

int submission_first_user(struct sql_conn *conn, int64_t file_id, int64_t *ret_user_id,
			  struct err *err)
{
	const struct sql_val key = SQL_I64(file_id);

	return sql_one_i64(conn, FIRST_USER, &key, 1, 0, ret_user_id, err);
}

int file_row_insert(struct sql_conn *conn, const struct file_row *row, int64_t *ret_id,
		    struct err *err)
{
	int64_t id;

	/* Not the highest there is and one: that may have been a removed file's. */
	TRY(counter_next(conn, "file", &id, err));
	const struct sql_val vals[] = {
		SQL_BLOB(row->hashes.sha256, SHA256_BYTES),
		SQL_BLOB(row->hashes.sha1, SHA1_BYTES),
		SQL_BLOB(row->hashes.md5, MD5_BYTES),
		SQL_I64(row->size),
		SQL_TEXT(row->corpus),
		SQL_I64(row->at.pack),
		SQL_I64(row->at.offset),
		SQL_I64(row->first_submission_s),
		SQL_I64(row->last_submission_s),
		SQL_I64(row->times_submitted),
		SQL_I64(row->unique_sources),
		SQL_TEXT(row->last_name),
		SQL_I64(id),
	};

	TRY(sql_exec_vals(conn, FILE_INSERT, vals, sizeof vals / sizeof vals[0], NULL, err));
	*ret_id = id;
	return 0;
}

int file_row_resubmitted(struct sql_conn *conn, int64_t id, int64_t now_s, struct str name,
			 bool new_source, struct err *err)
{
	return sql_exec(conn, FILE_RESUBMITTED, err, SQL_I64(id), SQL_I64(now_s), SQL_TEXT(name),
			SQL_I64(new_source));
}

int file_row_set_identity(struct sql_conn *conn, int64_t id, uint32_t file_type, struct str magic,
			  struct str mime, struct err *err)
{
	return sql_exec(conn, FILE_SET_IDENTITY, err, SQL_I64(id), SQL_I64(file_type),
			SQL_TEXT(magic), SQL_TEXT(mime));
}

int file_row_set_report(struct sql_conn *conn, int64_t id, struct str report,
			int64_t last_analysis_s, struct err *err)
{
	return sql_exec(conn, FILE_SET_REPORT, err, SQL_I64(id), SQL_TEXT(report),
			SQL_I64(last_analysis_s));
}

int file_row_place(struct sql_conn *conn, const uint8_t sha256[SHA256_BYTES], int64_t *ret_id,
		   struct pack_locator *ret_at, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, FILE_PLACE, err, SQL_BLOB(sha256, SHA256_BYTES)));
	TRY(sql_next(&q, &row, err));
	*ret_id = row ? sql_i64(&q, 0) : 0;
	if (row)
		*ret_at = (struct pack_locator){ (uint32_t)sql_i64(&q, 1), (uint64_t)sql_i64(&q, 2),
						 (uint64_t)sql_i64(&q, 3) };
	return 0;
}

int file_place_is_used(struct sql_conn *conn, const struct pack_locator *at, bool *ret,
		       struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, PLACE_USED, err, SQL_I64(at->pack), SQL_I64(at->offset)));
	return sql_next(&q, ret, err);
}

int file_name_put(struct sql_conn *conn, int64_t file_id, struct str name, int64_t now_s,
		  struct err *err)
{
	TRY(sql_exec(conn, NAME_PUT, err, SQL_I64(file_id), SQL_TEXT(name), SQL_I64(now_s)));
	return sql_exec(conn, NAME_TRIM, err, SQL_I64(file_id), SQL_I64(LIMIT_NAMES_PER_FILE));
}

int file_names(struct sql_conn *conn, int64_t file_id, struct arena *arena, struct str **ret,
	       size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct str *names = arena_must(arena, LIMIT_NAMES_PER_FILE * sizeof *names);
	size_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, NAMES, err, SQL_I64(file_id), SQL_I64(LIMIT_NAMES_PER_FILE)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(n < LIMIT_NAMES_PER_FILE);
		names[n++] = arena_str(arena, sql_str(&q, 0));
	}
	*ret = names;
	*ret_n = n;
	return 0;
}

int submission_add(struct sql_conn *conn, const struct submission_row *row, int64_t *ret_id,
		   bool *ret_new_source, struct err *err)
{
	const struct sql_val user = row->user_id ? SQL_I64(row->user_id) : SQL_NULL();
	const struct sql_val seen_by[] = { SQL_I64(row->file_id), user };
	const struct sql_val vals[] = {
		SQL_I64(row->file_id),
		user,
		SQL_I64(row->date_s),
		SQL_TEXT(row->name),
		SQL_TEXT(str_of(row->interface)),
	};
	int64_t seen;

	TRY(sql_one_i64(conn, SUBMISSION_SEEN, seen_by, 2, 0, &seen, err));
	TRY(sql_one_i64(conn, SUBMISSION_ADD, vals, 5, 0, ret_id, err));
	*ret_new_source = seen == 0;
	return 0;
}

int erase_add(struct sql_conn *conn, const struct pack_locator *at, int64_t *ret_id,
	      struct err *err)
{
	const struct sql_val where[] = { SQL_I64(at->pack), SQL_I64(at->offset), SQL_I64(at->len) };

	return sql_one_i64(conn, ERASE_ADD, where, 3, 0, ret_id, err);
}

int file_row_remove(struct sql_conn *conn, const struct file_row *row, int64_t *ret_erase_id,
		    struct err *err)
{
	TRY(sql_exec(conn, REMOVE_ANALYSES, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_SUBMISSIONS, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_NAMES, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_QUARANTINE, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_FACTS, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_FEATURES, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_INDEXED, err, SQL_I64(row->id)));
	TRY(sql_exec(conn, REMOVE_FILE, err, SQL_I64(row->id)));
	return erase_add(conn, &row->at, ret_erase_id, err);
}

int erase_done(struct sql_conn *conn, int64_t erase_id, struct err *err)
{
	return sql_exec(conn, ERASE_DONE, err, SQL_I64(erase_id));
}

int erase_next(struct sql_conn *conn, int64_t after_id, int64_t *ret_id,
	       struct pack_locator *ret_at, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, ERASE_NEXT, err, SQL_I64(after_id)));
	TRY(sql_next(&q, &row, err));
	*ret_id = row ? sql_i64(&q, 0) : 0;
	if (row)
		*ret_at = (struct pack_locator){ (uint32_t)sql_i64(&q, 1), (uint64_t)sql_i64(&q, 2),
						 (uint64_t)sql_i64(&q, 3) };
	return 0;
}

int counter_next(struct sql_conn *conn, const char *name, int64_t *ret, struct err *err)
{
	const struct sql_val key = SQL_TEXT(str_of(name));

	TRY(sql_one_i64(conn, COUNTER_NEXT, &key, 1, 0, ret, err));
	REQUIRE(*ret > 0);
	return 0;
}

int counter_get(struct sql_conn *conn, const char *name, int64_t *ret, struct err *err)
{
	const struct sql_val key = SQL_TEXT(str_of(name));

	return sql_one_i64(conn, COUNTER_GET, &key, 1, 0, ret, err);
}

int files_last_id(struct sql_conn *conn, int64_t *ret, struct err *err)
{
	return sql_one_i64(conn, LAST_ID, NULL, 0, 0, ret, err);
}

int files_totals(struct sql_conn *conn, uint64_t *ret_files, uint64_t *ret_bytes,
		 uint64_t *ret_open_analyses, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	int64_t open_analyses;
	bool row;

	TRY(sql_one_i64(conn, TOTAL_OPEN, NULL, 0, 0, &open_analyses, err));
	TRY(sql_start(&q, conn, TOTAL_FILES, err));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret_files = (uint64_t)sql_i64(&q, 0);
	*ret_bytes = (uint64_t)sql_i64(&q, 1);
	*ret_open_analyses = (uint64_t)open_analyses;
	return 0;
}
