#include "corpus_internal.h"

#include "base/log.h"
#include "base/mem.h"

/* ---- The id of a new one ---- */

struct id_req {
	struct write_req req;
	int64_t id;
};

static int id_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	return segment_row_next_id(conn, &((struct id_req *)req)->id, err);
}

int corpus_next_id(struct corpus *c, int64_t *ret, struct err *err)
{
	struct id_req r = { .req = { .apply = id_apply, .lane = LANE_BULK } };

	TRY(writer_call(c->svc->writer, &r.req, err));
	*ret = r.id;
	return 0;
}

/* ---- The change ---- */

struct change_req {
	struct write_req req;
	struct corpus *corpus;
	struct segment_change change;
	struct corpus_segment *const *outs;
	struct corpus_segment *const *ins;
	bool is_stale; /* what comes, since one that goes was marked meanwhile */
	/* under the corpus's lock */
	bool is_over;
	int rc;
	struct err err;
};

static bool change_has(size_t in, int64_t file_id, void *arg)
{
	const struct change_req *r = arg;
	uint32_t doc;

	return segment_doc_find(r->ins[in]->seg, file_id, &doc);
}

static void change_dead(size_t in, int64_t file_id, void *arg)
{
	corpus_segment_kill(((const struct change_req *)arg)->ins[in], file_id);
}

static int change_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct change_req *r = (struct change_req *)req;

	return segment_rows_change(conn, &r->change, &r->is_stale, err);
}

/* On the writer's thread: whoever removes a file after this commit finds the new list. */
static void change_done(struct write_req *req, int rc, const struct err *err)
{
	struct change_req *r = (struct change_req *)req;
	struct corpus *c = r->corpus;

	for (size_t i = 0; rc == 0 && r->is_stale && i < r->change.in_count; i++)
		atomic_store(&r->ins[i]->is_stale, true);
	if (rc == 0)
		corpus_list_change(c, r->outs, r->change.out_count, r->ins, r->change.in_count);
	lock_take(&c->lock);
	r->is_over = true;
	r->rc = rc;
	if (rc)
		r->err = *err;
	cond_broadcast(&c->changed);
	lock_drop(&c->lock);
}

static int change_call(struct change_req *r, struct err *err)
{
	struct corpus *c = r->corpus;
	int rc;

	TRY(writer_submit(c->svc->writer, &r->req, err));
	lock_take(&c->lock);
	while (!r->is_over)
		cond_wait(&c->changed, &c->lock);
	rc = r->rc;
	lock_drop(&c->lock);
	if (rc && err)
		*err = r->err;
	return rc;
}

static int change(struct corpus *c, struct corpus_segment *const *outs, size_t out_count,
		  struct corpus_segment *const *ins, size_t in_count, bool is_merge,
		  struct err *err)
{
	AUTO(mem_drop) int64_t *ids = mem_must_zalloc((out_count + 1) * sizeof *ids);
	AUTO(mem_drop) struct segment_row *rows = mem_must_zalloc((in_count + 1) * sizeof *rows);
	struct change_req r = {
		.req = { .apply = change_apply, .done = change_done, .lane = LANE_BULK },
		.corpus = c,
		.outs = outs,
		.ins = ins,
	};
	int rc;

	for (size_t i = 0; i < out_count; i++)
		ids[i] = outs[i]->row.id;
	for (size_t i = 0; i < in_count; i++)
		rows[i] = ins[i]->row;
	r.change = (struct segment_change){ .outs = ids,
					    .out_count = out_count,
					    .ins = rows,
					    .in_count = in_count,
					    .is_merge = is_merge,
					    .has = change_has,
					    .dead = change_dead,
					    .arg = &r };
	rc = change_call(&r, err);
	for (size_t i = 0; rc == 0 && i < out_count; i++)
		corpus_unlink(c, ids[i]);
	for (size_t i = 0; rc != 0 && i < in_count; i++)
		corpus_unlink(c, rows[i].id);
	return rc;
}

int corpus_change(struct corpus *c, struct corpus_segment *const *outs, size_t out_count,
		  struct corpus_segment *const *ins, size_t in_count, struct err *err)
{
	return change(c, outs, out_count, ins, in_count, false, err);
}

int corpus_change_merged(struct corpus *c, struct corpus_segment *const *outs, size_t out_count,
			 struct corpus_segment *in, struct err *err)
{
	return change(c, outs, out_count, &in, 1, true, err);
}

/* ---- Files ---- */

int corpus_open_new(struct corpus *c, const struct segment_row *row, struct corpus_segment **ret,
		    struct err *err)
{
	char path[CORPUS_PATH_BYTES];
	struct segment *seg;
	int rc;

	corpus_path(path, row->id);
	rc = segment_open(&seg, c->svc->io, path, err);
	if (rc) {
		corpus_unlink(c, row->id);
		return rc;
	}
	*ret = corpus_segment_new(c, row, seg);
	return 0;
}

void corpus_unlink(struct corpus *c, int64_t segment_id)
{
	char path[CORPUS_PATH_BYTES];
	struct err err;
	int rc;

	corpus_path(path, segment_id);
	rc = c->svc->io->unlink(c->svc->io, path, &err);
	/* The next start removes what no row names. */
	if (rc && rc != -ERR_NOT_FOUND)
		log_event(LOG_WARN, "segment_file_kept", LOG_Z("file", path),
			  LOG_Z("error", err.msg));
}
