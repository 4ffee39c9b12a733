#include "corpus_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

static const char folder[] = "index";

void corpus_path(char path[CORPUS_PATH_BYTES], int64_t segment_id)
{
	snprintf(path, CORPUS_PATH_BYTES, "%s/%010" PRId64 ".seg", folder, segment_id);
}

/* ---- What no row names ---- */

static int row_by_id(const void *a, const void *b)
{
	int64_t x = ((const struct segment_row *)a)->id, y = ((const struct segment_row *)b)->id;

	return x < y ? -1 : x > y;
}

static void garbage_remove(struct corpus *c, const char *name)
{
	struct io *io = c->svc->io;
	char path[NAME_MAX + sizeof folder + 1];
	struct err err;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (io->unlink(io, path, &err) == 0)
		log_event(LOG_INFO, "index_garbage_removed", LOG_Z("file", path));
	else
		log_event(LOG_WARN, "segment_file_kept", LOG_Z("file", path),
			  LOG_Z("error", err.msg));
}

/* Of a name that segments have, written or half written; others are nobody's business. */
static bool is_ours(const char *name, int64_t *ret_id, bool *ret_whole)
{
	struct str s = str_of(name);
	uint64_t id;

	*ret_whole = !str_ends(s, STR(".tmp"));
	if (!*ret_whole)
		s.n -= 4;
	if (!str_ends(s, STR(".seg")))
		return false;
	s.n -= 4;
	if (!str_to_u64(s, INT64_MAX, &id))
		return false;
	*ret_id = (int64_t)id;
	return true;
}

/* `rows` by id. */
static int garbage_find(struct corpus *c, const struct segment_row *rows, size_t n, struct err *err)
{
	char path[4096];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof path, "%s/%s", c->svc->io->root, folder);
	dir = opendir(path);
	if (!dir)
		return err_sys(err, errno, "cannot list '%s'", path);
	while ((entry = readdir(dir)) != NULL) {
		struct segment_row key = { 0 };
		bool whole;

		if (!is_ours(entry->d_name, &key.id, &whole))
			continue;
		if (!whole || !n || !bsearch(&key, rows, n, sizeof *rows, row_by_id))
			garbage_remove(c, entry->d_name);
	}
	closedir(dir);
	return 0;
}

/* ---- Opening ---- */

static int check_row(const struct segment_row *row, const struct segment *seg, struct err *err)
{
	if (segment_first_id(seg) != row->first_id || segment_last_id(seg) != row->last_id ||
	    segment_docs(seg) != row->docs || segment_file_bytes(seg) != row->bytes)
		return err_set(err, ERR_CORRUPT,
			       "it has %u files from %" PRId64 " to %" PRId64
			       ", and should have %" PRId64 " from %" PRId64 " to %" PRId64,
			       segment_docs(seg), segment_first_id(seg), segment_last_id(seg),
			       row->docs, row->first_id, row->last_id);
	return 0;
}

/*
 * Does a failure to open say that the file is not to be used any more? It is not there, its
 * bytes are wrong, or the disk does not give them. All else says nothing of the file: rights,
 * mounts and descriptors can be mended, and what it holds took long to make.
 */
static bool is_lost(int rc, const struct err *why)
{
	return rc == -ERR_CORRUPT || rc == -ERR_NOT_FOUND || (rc == -ERR_IO && why->sys == EIO);
}

static int refuse(const char *path, int rc, struct err *err)
{
	const struct err why = *err;

	return err_set(err, (enum err_kind) - rc,
		       "%.180s. Make it readable, or remove '%s': then it is built again", why.msg,
		       path);
}

/* *ret NULL: it is lost, and *err says why. */
static int open_one(struct corpus *c, const struct segment_row *row, struct corpus_segment **ret,
		    struct err *err)
{
	struct segment *seg = NULL;
	char path[CORPUS_PATH_BYTES];
	int rc;

	*ret = NULL;
	corpus_path(path, row->id);
	rc = segment_open(&seg, c->svc->io, path, err);
	if (rc && (rc == -ERR_NO_MEMORY || err->sys == EMFILE || err->sys == ENFILE))
		return rc;
	if (rc && !is_lost(rc, err))
		return refuse(path, rc, err);
	if (rc == 0 && check_row(row, seg, err) != 0)
		seg = segment_unref(seg);
	if (seg)
		*ret = corpus_segment_new(c, row, seg);
	return 0;
}

static void kill_one(int64_t file_id, void *arg)
{
	corpus_segment_kill(arg, file_id);
}

struct lost_req {
	struct write_req req;
	const int64_t *ids;
	size_t n;
};

static int lost_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct lost_req *r = (const struct lost_req *)req;
	const struct segment_change change = { .outs = r->ids, .out_count = r->n };
	bool is_stale; /* nothing comes */

	return segment_rows_change(conn, &change, &is_stale, err);
}

/* Their files are not indexed from now on, and are built again. */
static int forget_lost(struct corpus *c, const int64_t *ids, size_t n, struct err *err)
{
	struct lost_req r = { .req = { .apply = lost_apply, .lane = LANE_API },
			      .ids = ids,
			      .n = n };

	return n ? writer_call(c->svc->writer, &r.req, err) : 0;
}

static void say_lost(const struct segment_row *row, const struct err *why)
{
	char path[CORPUS_PATH_BYTES];

	corpus_path(path, row->id);
	metric_add(METRIC_index_lost_total, 1);
	log_event(LOG_ERROR, "segment_lost", LOG_Z("file", path), LOG_I64("files", row->docs),
		  LOG_I64("first_id", row->first_id), LOG_I64("last_id", row->last_id),
		  LOG_Z("error", why->msg));
}

/* ---- All of the table ---- */

struct opened {
	struct corpus_segment **segments; /* owned, a reference each */
	size_t count;
	int64_t *lost; /* owned */
	size_t lost_count;
};

static void opened_drop(struct opened *o)
{
	for (size_t i = 0; i < o->count; i++)
		corpus_segment_unref(o->segments[i]);
	free(o->segments);
	free(o->lost);
}

/* Does the range of row `i` overlap one beside it? Rows are by rising first id. */
static bool overlaps(const struct segment_row *rows, size_t n, size_t i)
{
	for (size_t before = 0; before < i; before++) {
		if (rows[before].last_id >= rows[i].first_id)
			return true;
	}
	return i + 1 < n && rows[i + 1].first_id <= rows[i].last_id;
}

/* Which of two is right nobody can say: both are built again, if somebody asks for it. */
static int check_overlaps(const struct corpus *c, const struct segment_row *rows, size_t n,
			  struct err *err)
{
	const struct segment_row *reach = rows; /* of those before, the one that ends last */

	for (size_t i = 1; i < n && !c->svc->options.index.repairs; i++) {
		if (reach->last_id >= rows[i].first_id)
			return err_set(err, ERR_CORRUPT,
				       "segments %" PRId64 " (files %" PRId64 " to %" PRId64
				       ") and %" PRId64 " (files %" PRId64 " to %" PRId64
				       ") of the corpus index overlap: run 'weir reindex', "
				       "and they are built again",
				       reach->id, reach->first_id, reach->last_id, rows[i].id,
				       rows[i].first_id, rows[i].last_id);
		if (rows[i].last_id > reach->last_id)
			reach = &rows[i];
	}
	return 0;
}

static int open_rows(struct corpus *c, struct sql_conn *conn, const struct segment_row *rows,
		     size_t n, struct opened *o, struct err *err)
{
	o->segments = mem_must_zalloc((n + 1) * sizeof(struct corpus_segment *));
	o->lost = mem_must_zalloc((n + 1) * sizeof *o->lost);
	for (size_t i = 0; i < n; i++) {
		struct corpus_segment *s = NULL;
		struct err why = { 0 };
		int rc = 0;

		if (overlaps(rows, n, i))
			(void)err_set(&why, ERR_CORRUPT, "its range overlaps another's");
		else
			rc = open_one(c, &rows[i], &s, &why);
		if (rc) {
			if (err)
				*err = why;
			return rc;
		}
		if (!s) {
			say_lost(&rows[i], &why);
			o->lost[o->lost_count++] = rows[i].id;
			continue;
		}
		o->segments[o->count++] = s;
		TRY(segment_deleted_each(conn, rows[i].first_id, rows[i].last_id, kill_one, s,
					 err));
	}
	return 0;
}

static int open_all(struct corpus *c, struct sql_conn *conn, struct opened *o, struct err *err)
{
	AUTO(mem_drop) struct segment_row *rows = NULL;
	size_t n;

	TRY(segment_rows(conn, &rows, &n, err));
	TRY(check_overlaps(c, rows, n, err));
	TRY(open_rows(c, conn, rows, n, o, err));
	if (n)
		qsort(rows, n, sizeof *rows, row_by_id);
	return garbage_find(c, rows, n, err);
}

int corpus_open(struct corpus *c, struct err *err)
{
	AUTO(opened_drop) struct opened o = { 0 };
	struct sql_conn *conn;
	int rc;

	TRY(c->svc->io->mkdir(c->svc->io, folder, err));
	TRY(c->svc->io->sync_dir(c->svc->io, "", err));
	TRY(sql_reader_take(&conn, c->svc->db, err));
	rc = open_all(c, conn, &o, err);
	sql_reader_give(c->svc->db, conn);
	TRY(rc);
	TRY(forget_lost(c, o.lost, o.lost_count, err));
	for (size_t i = 0; i < o.lost_count; i++)
		corpus_unlink(c, o.lost[i]);
	corpus_list_change(c, NULL, 0, o.segments, o.count);
	return 0;
}
