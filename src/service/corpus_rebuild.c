#include "corpus_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

/*
 * A segment that is built anew stays in the list until all pieces of its range are
 * written; they take its place together. What a stop or a failure loses is begun again.
 */

void corpus_rebuild_drop(struct corpus *c)
{
	struct corpus_rebuild *r = &c->rebuild;

	for (size_t i = 0; i < r->piece_count; i++) {
		corpus_unlink(c, r->pieces[i]->row.id);
		corpus_segment_unref(r->pieces[i]);
	}
	free(r->pieces);
	corpus_segment_unref(r->old);
	*r = (struct corpus_rebuild){ .old = NULL };
	atomic_store(&c->rebuilt_bytes, 0);
}

/* ---- Which ---- */

struct stale_req {
	struct write_req req;
	int64_t id;
};

static int stale_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	uint64_t n;

	return segment_rows_set_stale(conn, ((struct stale_req *)req)->id, &n, err);
}

/* Its damage was found while it was read: kept, so that a restart knows it too. */
static int mark_damaged(struct corpus *c, struct corpus_segment *s, struct err *err)
{
	struct stale_req r = { .req = { .apply = stale_apply, .lane = LANE_BULK },
			       .id = s->row.id };

	TRY(writer_call(c->svc->writer, &r.req, err));
	atomic_store(&s->is_stale, true);
	return 0;
}

/* The first that is to be built anew; *ret NULL: none. */
static int find_stale(struct corpus *c, struct corpus_segment **ret, struct err *err)
{
	struct corpus_snapshot *list = corpus_list_get(c);
	int rc = 0;

	*ret = NULL;
	for (size_t i = 0; rc == 0 && !*ret && i < list->count; i++) {
		struct corpus_segment *s = list->segments[i];

		if (atomic_load(&s->is_damaged) && !atomic_load(&s->is_stale))
			rc = mark_damaged(c, s, err);
		if (rc == 0 && atomic_load(&s->is_stale))
			*ret = corpus_segment_ref(s);
	}
	corpus_snapshot_free(list);
	return rc;
}

/* ---- A piece at a time ---- */

static int finish(struct corpus *c, struct err *err)
{
	struct corpus_rebuild *r = &c->rebuild;
	int rc = corpus_change(c, &r->old, 1, r->pieces, r->piece_count, err);

	if (rc == 0)
		log_event(LOG_INFO, "segment_rebuilt", LOG_I64("segment", r->old->row.id),
			  LOG_I64("files", r->old->row.docs),
			  LOG_I64("segments", (int64_t)r->piece_count));
	/* Nothing is unlinked twice: the files are the list's now, or gone already. */
	for (size_t i = 0; i < r->piece_count; i++)
		corpus_segment_unref(r->pieces[i]);
	r->piece_count = 0;
	corpus_rebuild_drop(c);
	return rc;
}

int corpus_rebuild_step(struct corpus *c, bool *ret_did, struct err *err)
{
	struct corpus_rebuild *r = &c->rebuild;
	struct corpus_segment *piece = NULL;

	*ret_did = false;
	if (!r->old) {
		TRY(find_stale(c, &r->old, err));
		if (!r->old)
			return 0;
		r->at_id = r->old->row.first_id;
	}
	*ret_did = true;
	if (r->at_id <= r->old->row.last_id)
		TRY(corpus_build(c, r->at_id, r->old->row.last_id, &piece, err));
	if (!piece)
		return finish(c, err);
	mem_must_grow((void **)&r->pieces, r->piece_count + 1, sizeof(struct corpus_segment *));
	r->pieces[r->piece_count++] = piece;
	r->at_id = piece->row.last_id + 1;
	atomic_fetch_add(&c->rebuilt_bytes, piece->row.sample_bytes);
	return 0;
}
