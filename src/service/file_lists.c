#include "service/file_lists.h"

#include <stdio.h>

#include "base/hex.h"
#include "service_internal.h"
#include "store/meta_file_lists.h"

/* ---- Submissions ---- */

void source_key_format(int64_t user_id, char ret[SOURCE_KEY_CHARS + 1])
{
	char text[48];
	uint8_t digest[SHA256_BYTES];
	int n = snprintf(text, sizeof text, "source %lld", (long long)user_id);

	sha256_of(text, (size_t)n, digest);
	hex_encode(digest, SOURCE_KEY_CHARS / 2, ret);
}

static struct submission submission_of(const struct submission_entry *e)
{
	struct submission s = {
		.id = e->id, .date_s = e->date_s, .name = e->name, .interface = e->interface
	};

	memcpy(s.sha256, e->sha256, SHA256_BYTES);
	source_key_format(e->user_id, s.source_key);
	return s;
}

static int read_submissions(struct sql_conn *conn, int64_t file_id, const struct list_range *range,
			    struct arena *arena, struct submission_page *ret, struct err *err)
{
	struct submission_entry *entries;
	size_t n;

	TRY(submission_list(conn, file_id, range->before_id, range->limit + 1, arena, &entries, &n,
			    err));
	if (range->count)
		TRY(submission_count(conn, file_id, &ret->total, err));
	ret->more = n > range->limit;
	ret->count = ret->more ? range->limit : n;
	ret->rows = arena_must(arena, (n + 1) * sizeof *ret->rows);
	for (size_t i = 0; i < ret->count; i++)
		ret->rows[i] = submission_of(&entries[i]);
	return 0;
}

int file_submissions_read(struct service *svc, int64_t file_id, const struct list_range *range,
			  struct arena *arena, struct submission_page *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	*ret = (struct submission_page){ .total = -1 };
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = read_submissions(conn, file_id, range, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}

void submission_id_format(const struct submission *s, char ret[SUBMISSION_ID_CHARS + 1])
{
	analysis_id_format(s->sha256, s->id, ret);
}

int submission_by_id(struct service *svc, struct str id, struct arena *arena,
		     struct submission *ret, struct err *err)
{
	uint8_t sha256[SHA256_BYTES];
	struct submission_entry entry;
	struct sql_conn *conn;
	int64_t number;
	int rc;

	TRY(analysis_id_parse(id, sha256, &number, err));
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = submission_get(conn, number, arena, &entry, err);
	sql_reader_give(svc->db, conn);
	if (rc)
		return rc;
	if (memcmp(entry.sha256, sha256, SHA256_BYTES) != 0)
		return err_set(err, ERR_NOT_FOUND, "no such submission");
	*ret = submission_of(&entry);
	return 0;
}

/* ---- Analyses ---- */

static int read_analyses(struct sql_conn *conn, int64_t file_id, const struct list_range *range,
			 struct arena *arena, struct analysis_page *ret, struct err *err)
{
	struct analysis_row *rows;
	size_t n;

	TRY(analysis_list(conn, file_id, range->before_id, range->limit + 1, arena, &rows, &n,
			  err));
	if (range->count)
		TRY(analysis_count(conn, file_id, &ret->total, err));
	ret->more = n > range->limit;
	ret->count = ret->more ? range->limit : n;
	ret->rows = arena_must(arena, (n + 1) * sizeof *ret->rows);
	for (size_t i = 0; i < ret->count; i++)
		ret->rows[i] = analysis_info_of(&rows[i]);
	return 0;
}

int file_analyses_read(struct service *svc, int64_t file_id, const struct list_range *range,
		       struct arena *arena, struct analysis_page *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	*ret = (struct analysis_page){ .total = -1 };
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = read_analyses(conn, file_id, range, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}
