#include "inside.h"

#include "bundle.h"
#include "report.h"
#include "report_cache.h"
#include "service_internal.h"

enum {
	REMOVE_ARENA_MAX = 1 << 20
};

static int insert_file(struct sql_conn *conn, const struct inside_file *f, int64_t now_s,
		       int64_t *ret_id, struct err *err)
{
	const struct file_row row = { .hashes = *f->hashes,
				      .size = f->size,
				      .corpus = f->corpus,
				      .at = f->at,
				      .first_submission_s = now_s,
				      .last_submission_s = now_s,
				      .times_submitted = 0,
				      .unique_sources = 0,
				      .last_name = f->name };

	return file_row_insert(conn, &row, ret_id, err);
}

static int within_budget(struct sql_conn *conn, const struct inside_file *f, struct arena *arena,
			 struct err *err)
{
	struct bundle_budget used;

	TRY(bundle_budget_get(conn, f->inside->root_id, arena, &used, err));
	if (used.entries >= f->inside->entries_max)
		return err_set(err, ERR_TOO_LARGE,
			       "there are more than %llu files in it and in what is inside",
			       (unsigned long long)f->inside->entries_max);
	if (used.bytes > f->inside->bytes_max || f->size > f->inside->bytes_max - used.bytes)
		return err_set(err, ERR_TOO_LARGE,
			       "it and what is inside have more than %llu bytes",
			       (unsigned long long)f->inside->bytes_max);
	return 0;
}

int inside_apply(struct sql_conn *conn, const struct inside_file *f, int64_t file_id, int64_t now_s,
		 struct arena *arena, struct err *err)
{
	const struct upload_inside *in = f->inside;
	const struct bundle_place place = { in->analysis_id, in->root_id, in->submission_id,
					    in->depth };
	struct file_row container;
	bool queued = false;

	TRY(file_row_by_id(conn, in->container_id, arena, &container, err));
	if (!in->only_link && file_id)
		TRY(bundle_is_queued(conn, in->analysis_id, file_id, &queued, err));
	if (!in->only_link && !queued)
		TRY(within_budget(conn, f, arena, err));
	if (!file_id)
		TRY(insert_file(conn, f, now_s, &file_id, err));
	TRY(bundle_link(conn, in->container_id, file_id, in->path, now_s, err));
	if (f->name.n)
		TRY(file_name_put(conn, file_id, f->name, now_s, err));
	if (!in->only_link && !queued)
		TRY(bundle_queue(conn, &place, file_id, f->size, f->lane, now_s, &queued, err));
	return report_refresh(conn, file_id, 0, now_s, arena, err);
}

int inside_remove(struct sql_conn *conn, const struct file_row *row, int64_t now_s,
		  int64_t *ret_erase_id, struct buf *settled, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("remove", REMOVE_ARENA_MAX);
	int64_t *waiting;
	size_t n;

	buf_reset(settled);
	TRY(bundle_unlink(conn, row->id, arena, &waiting, &n, err));
	TRY(file_row_remove(conn, row, ret_erase_id, err));
	for (size_t i = 0; i < n; i++)
		TRY(bundle_settle(conn, waiting[i], now_s, settled, err));
	return 0;
}

void settled_drop(struct service *svc, const struct buf *settled)
{
	for (size_t at = 0; at + SHA256_BYTES <= settled->n; at += SHA256_BYTES)
		report_cache_drop(svc->reports, (const uint8_t *)settled->p + at);
}
