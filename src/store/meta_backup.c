#include "store/meta_backup.h"

enum {
	GONE_ARENA_MAX = 8 << 20 /* one sample's row: its report is the largest part */
};

static const char ID_GET[] = "SELECT value FROM setting WHERE name = 'folder_id'";
static const char ID_DROP[] = "DELETE FROM setting WHERE name = 'folder_id'";
static const char ID_SET[] = "INSERT INTO setting (name, value) VALUES ('folder_id', ?1)";
static const char NEXT_PACK[] = "SELECT pack FROM file WHERE pack > ?1 ORDER BY pack LIMIT 1";
static const char LAST_OF_PACK[] = "SELECT pack_offset + size FROM file WHERE pack = ?1 "
				   "ORDER BY pack_offset DESC LIMIT 1";
static const char COUNT_OF_PACK[] = "SELECT count(*) FROM file WHERE pack = ?1";
static const char ERASING[] = "SELECT count(*) FROM erase WHERE pack = ?1";
static const char ROWS_OF_PACK[] = "SELECT id, pack_offset, size, sha256 FROM file "
				   "WHERE pack = ?1 ORDER BY pack_offset";
static const char FORGET_ERASURES[] = "DELETE FROM erase";
/* The index is built again from the packs. */
static const char FORGET_SEGMENTS[] = "DELETE FROM segment";
static const char FORGET_DELETED[] = "DELETE FROM segment_deleted";

int folder_id_get(struct sql_conn *conn, char ret[FOLDER_ID_CHARS + 1], struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct str id;
	bool row;

	ret[0] = 0;
	TRY(sql_start(&q, conn, ID_GET, err));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return 0;
	id = sql_str(&q, 0);
	if (id.n != FOLDER_ID_CHARS)
		return err_set(err, ERR_CORRUPT, "the folder's id '" STR_FMT "' is none",
			       STR_ARG(id));
	memcpy(ret, id.p, id.n);
	ret[id.n] = 0;
	return 0;
}

int folder_id_set(struct sql_conn *conn, const char *id, struct err *err)
{
	TRY(sql_exec(conn, ID_DROP, err));
	return id ? sql_exec(conn, ID_SET, err, SQL_TEXT(str_of(id))) : 0;
}

/* The first row's number; 0: there is none. */
static int number_of(struct sql_conn *conn, const char *text, uint32_t pack, uint64_t *ret,
		     struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, text, err, SQL_I64(pack)));
	TRY(sql_next(&q, &row, err));
	*ret = row ? (uint64_t)sql_i64(&q, 0) : 0;
	return 0;
}

int pack_need_next(struct sql_conn *conn, uint32_t after, struct pack_need *ret, struct err *err)
{
	uint64_t pack, end, samples, erasing;

	*ret = (struct pack_need){ 0 };
	TRY(number_of(conn, NEXT_PACK, after, &pack, err));
	if (!pack)
		return 0;
	if (pack > UINT32_MAX)
		return err_set(err, ERR_CORRUPT, "a sample is said to be in pack %llu",
			       (unsigned long long)pack);
	TRY(number_of(conn, LAST_OF_PACK, (uint32_t)pack, &end, err));
	TRY(number_of(conn, COUNT_OF_PACK, (uint32_t)pack, &samples, err));
	TRY(number_of(conn, ERASING, (uint32_t)pack, &erasing, err));
	*ret = (struct pack_need){ .pack = (uint32_t)pack,
				   .samples = samples,
				   .end = (end + 7) / 8 * 8,
				   .erasing = erasing > 0 };
	return 0;
}

int pack_rows_start(struct pack_rows *ret, struct sql_conn *conn, uint32_t pack, struct err *err)
{
	*ret = (struct pack_rows){ .pack = pack };
	TRY(sql_start(&ret->q, conn, ROWS_OF_PACK, err, SQL_I64(pack)));
	return pack_rows_next(ret, err);
}

int pack_rows_next(struct pack_rows *r, struct err *err)
{
	struct str sha256;
	bool row;

	r->id = 0;
	TRY(sql_next(&r->q, &row, err));
	if (!row)
		return 0;
	sha256 = sql_str(&r->q, 3);
	if (sha256.n != SHA256_BYTES)
		return err_set(err, ERR_CORRUPT, "a file's SHA-256 has %zu bytes", sha256.n);
	r->id = sql_i64(&r->q, 0);
	r->offset = (uint64_t)sql_i64(&r->q, 1);
	r->size = (uint64_t)sql_i64(&r->q, 2);
	memcpy(r->sha256, sha256.p, SHA256_BYTES);
	return 0;
}

void pack_rows_end(struct pack_rows *r)
{
	sql_end(&r->q);
}

struct gone {
	const int64_t *ids;
	size_t n;
	int (*remove)(struct sql_conn *conn, const struct file_row *row, void *arg,
		      struct err *err);
	void *arg;
};

static int finish_body(struct sql_conn *conn, void *arg, struct err *err)
{
	const struct gone *g = arg;

	for (size_t i = 0; i < g->n; i++) {
		AUTO(arena_drop) struct arena *arena = arena_new("gone", GONE_ARENA_MAX);
		struct file_row row;

		TRY(file_row_by_id(conn, g->ids[i], arena, &row, err));
		TRY(g->remove(conn, &row, g->arg, err));
	}
	TRY(sql_exec(conn, FORGET_SEGMENTS, err));
	TRY(sql_exec(conn, FORGET_DELETED, err));
	return sql_exec(conn, FORGET_ERASURES, err);
}

int snapshot_finish(struct sql_conn *conn, const int64_t *gone, size_t n,
		    int (*remove)(struct sql_conn *conn, const struct file_row *row, void *arg,
				  struct err *err),
		    void *arg, struct err *err)
{
	struct gone g = { gone, n, remove, arg };

	return sql_transact(conn, finish_body, &g, err);
}
