#include "reindex_internal.h"

#include <inttypes.h>

#include "base/hex.h"
#include "base/mem.h"
#include "scan/scan.h"

/*
 * Features of samples that were stored before there were any, or by an older extractor.
 *
 * In the order of ids, some at a time: read by children, stored in one transaction. So what
 * is stopped goes on where it was, and what is in memory is bounded. Then segments are built
 * anew that have a sample whose features they do not know and the database does.
 */
enum {
	EXAMINE_FILES = 256,      /* at a time … */
	EXAMINE_BYTES = 64 << 20, /* … or so many bytes of them: 32 MB of features at most */
	EXAMINE_THREADS_MAX = 64,
	COUNT_IDS = 1 << 16, /* looked at between two looks whether it goes on */
};

struct examined {
	struct features_row row;
	struct pack_file *pack; /* while it is read */
	uint64_t *features;     /* owned */
	size_t count;
	uint32_t version; /* 0: there are none … */
	char why[160];    /* … for this reason */
};

struct examining {
	struct service *svc;
	struct task *task;
	struct examined files[EXAMINE_FILES];
	size_t n;
	/* shared by the threads */
	_Atomic uint32_t next;
	_Atomic bool stop;
};

/* ---- One sample ---- */

static void take_identity(struct examined *x, struct scan_identity *id)
{
	x->version = id->features_version;
	x->count = id->feature_count;
	x->features = STEAL(id->features);
	if (!x->version)
		snprintf(x->why, sizeof x->why, "%.150s",
			 id->failure.n ? id->failure.p : "nothing is known of it");
}

/* A child that it kills, or that takes too long, says what happened. ERR_CLOSED. */
static int examine_by(struct examining *e, struct examined *x, const struct scan_sample *sample,
		      struct err *err)
{
	struct scan_identity id = { 0 };
	struct scan_child *child;
	unsigned tries = 0;
	struct err why;
	bool again;
	int rc;

	do {
		TRY(scan_child_take(&child, e->svc->scan, err));
		rc = scan_identify(child, sample, &id, &why);
		if (rc == 0)
			take_identity(x, &id);
		else
			snprintf(x->why, sizeof x->why, "%.150s",
				 scan_child_is_dead(child) ? scan_child_cause(child) : why.msg);
		scan_identity_release(&id);
		again = struck_again(&tries, rc, child);
		scan_child_give(e->svc->scan, child);
	} while (again && !atomic_load(&e->stop));
	if (again)
		x->why[0] = 0; /* stopped: it is no verdict on the sample */
	return 0;
}

static int examine(struct examining *e, struct examined *x, struct err *err)
{
	struct packs *packs = e->svc->packs;
	struct scan_sample sample = { .offset = x->row.at.offset, .len = x->row.at.len };
	struct pack_file *pack;
	struct err why;
	int rc;

	if (packs_get(packs, x->row.at.pack, &pack, &why) != 0) {
		snprintf(x->why, sizeof x->why, "%.150s", why.msg);
		return 0;
	}
	sample.fd = pack_file_fd(pack);
	rc = examine_by(e, x, &sample, err);
	pack_file_put(packs, pack);
	return rc;
}

/* ---- Some of them ---- */

static int examine_some(struct examining *e, bool is_first, struct err *err)
{
	while (!atomic_load(&e->stop)) {
		uint32_t i = atomic_fetch_add(&e->next, 1);

		if (i >= e->n)
			break;
		TRY(examine(e, &e->files[i], err));
		/* Only one of them may talk to whoever watches. */
		if (is_first && !task_goes_on(e->task, 0))
			atomic_store(&e->stop, true);
	}
	return 0;
}

static void examine_thread(void *arg)
{
	struct examining *e = arg;
	struct err err;

	if (examine_some(e, false, &err) != 0)
		atomic_store(&e->stop, true);
}

static int examine_all(struct examining *e, struct err *err)
{
	struct thread threads[EXAMINE_THREADS_MAX] = { 0 };
	uint32_t n = e->svc->options.index.threads;
	struct err why;
	int rc;

	e->next = 0;
	/* This thread is one of them: with fewer it only takes longer. */
	for (uint32_t i = 1; i < n && i < EXAMINE_THREADS_MAX && i < e->n; i++) {
		if (thread_start(&threads[i], "features", examine_thread, e, &why) != 0)
			break;
	}
	rc = examine_some(e, true, err);
	if (rc)
		atomic_store(&e->stop, true);
	for (uint32_t i = 0; i < EXAMINE_THREADS_MAX; i++)
		thread_join(&threads[i]);
	return rc;
}

/* ---- What they are stored with ---- */

struct store_req {
	struct write_req req; /* first */
	const struct examining *e;
};

static int store_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct examining *e = ((struct store_req *)req)->e;

	for (size_t i = 0; i < e->n; i++) {
		const struct examined *x = &e->files[i];

		if (x->version)
			TRY(file_features_put(conn, x->row.id, x->version, x->features, x->count,
					      err));
	}
	return 0;
}

static void examined_drop(struct examining *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(STEAL(e->files[i].features));
	e->n = 0;
}

/* Those that were come to; the others stay as they are. */
static int store(struct examining *e, struct reindex_result *ret, struct err *err)
{
	struct store_req r = { .req = { .apply = store_apply, .lane = LANE_BULK }, .e = e };

	TRY(writer_call(e->svc->writer, &r.req, err));
	for (size_t i = 0; i < e->n; i++) {
		const struct examined *x = &e->files[i];
		char hex[2 * SHA256_BYTES + 1];

		ret->files += x->version > 0;
		e->task->done += x->version || x->why[0] ? x->row.at.len : 0;
		if (x->version || !x->why[0])
			continue;
		ret->failed_files++;
		hex_encode(x->row.sha256, SHA256_BYTES, hex);
		task_found(e->task, "features", "file %s: %s", hex, x->why);
	}
	return 0;
}

/* ---- All that have none ---- */

static int stopped(struct err *err)
{
	return err_set(err, ERR_CLOSED, "it was stopped; the same command goes on where it was");
}

static struct features_query query_of(const struct examining *e, int64_t after_id, int64_t last_id)
{
	return (struct features_query){ .after_id = after_id,
					.last_id = last_id < after_id + COUNT_IDS
							   ? last_id
							   : after_id + COUNT_IDS,
					.version = e->svc->options.index.features_version,
					.size_max = e->svc->options.hunt_bytes_max };
}

static int count_all(struct examining *e, struct sql_conn *conn, int64_t last_id,
		     uint64_t *ret_bytes, struct err *err)
{
	*ret_bytes = 0;
	for (int64_t after = 0; after < last_id; after += COUNT_IDS) {
		struct features_query q = query_of(e, after, last_id);
		uint64_t files, bytes;

		TRY(features_missing_count(conn, &q, &files, &bytes, err));
		*ret_bytes += bytes;
		if (!task_goes_on(e->task, 0))
			return stopped(err);
	}
	return 0;
}

/* Fill e->files with those behind *after; *ret_end: there are no more. */
static int gather(struct examining *e, int64_t *after, int64_t last_id, bool *ret_end,
		  struct err *err)
{
	struct features_row rows[EXAMINE_FILES];
	struct sql_conn *conn;
	uint64_t bytes = 0;
	size_t n = 0;
	int rc = 0;

	TRY(sql_reader_take(&conn, e->svc->db, err));
	while (rc == 0 && !n && *after < last_id) {
		struct features_query q = query_of(e, *after, last_id);

		rc = features_missing(conn, &q, rows, EXAMINE_FILES, &n, err);
		if (!n)
			*after = q.last_id;
	}
	sql_reader_give(e->svc->db, conn);
	TRY(rc);
	for (e->n = 0; e->n < n && (!e->n || bytes + rows[e->n].at.len <= EXAMINE_BYTES); e->n++) {
		e->files[e->n] = (struct examined){ .row = rows[e->n] };
		bytes += rows[e->n].at.len;
		*after = rows[e->n].id;
	}
	*ret_end = n == 0;
	return 0;
}

static int examine_missing(struct examining *e, int64_t last_id, struct reindex_result *ret,
			   struct err *err)
{
	int64_t after = 0;
	bool end = false;

	while (!end) {
		int rc;

		TRY(gather(e, &after, last_id, &end, err));
		rc = e->n ? examine_all(e, err) : 0;
		if (e->n && (rc == 0 || rc == -ERR_CLOSED)) {
			int stored = store(e, ret, err);

			rc = rc ? rc : stored;
		}
		examined_drop(e);
		TRY(rc);
		if (atomic_load(&e->stop) || !task_goes_on(e->task, 0))
			return stopped(err);
	}
	return 0;
}

/* ---- Segments that do not know them ---- */

static int knows_less(struct service *svc, struct sql_conn *conn, const struct corpus_segment *s,
		      bool *ret, struct err *err)
{
	const int64_t *ids = segment_file_ids(s->seg);
	const uint8_t *flags = segment_flags(s->seg);
	uint32_t wanted = svc->options.index.features_version;
	bool older = segment_features_version(s->seg) != wanted;

	*ret = false;
	for (uint32_t d = 0; d < segment_docs(s->seg) && !*ret; d++) {
		uint32_t version = 0;

		if (older || flags[d] & SEGMENT_DOC_NO_FEATURES)
			TRY(file_features_version(conn, ids[d], &version, err));
		*ret = version == wanted;
	}
	return 0;
}

/* ERR_NOT_FOUND: one was merged meanwhile, so that the list is another. */
static int mark_listed(struct service *svc, struct sql_conn *conn,
		       const struct corpus_snapshot *list, struct task *task, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		bool less;

		TRY(knows_less(svc, conn, list->segments[i], &less, err));
		if (less && !atomic_load(&list->segments[i]->is_stale))
			TRY(reindex_mark(svc, list->segments[i]->row.id, err));
		if (!task_goes_on(task, 0))
			return stopped(err);
	}
	return 0;
}

static int mark_segments(struct service *svc, struct task *task, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	do {
		struct corpus_snapshot *list = corpus_list_get(svc->corpus);

		rc = mark_listed(svc, conn, list, task, err);
		corpus_snapshot_free(list);
	} while (rc == -ERR_NOT_FOUND);
	sql_reader_give(svc->db, conn);
	return rc;
}

int reindex_features(struct service *svc, struct task *task, struct reindex_result *ret,
		     struct err *err)
{
	struct examining *e = mem_must_zalloc(sizeof *e);
	struct sql_conn *conn;
	uint64_t bytes = 0;
	int64_t last_id = 0;
	int rc;

	e->svc = svc;
	e->task = task;
	rc = sql_reader_take(&conn, svc->db, err);
	if (rc == 0) {
		task_step(task, "samples without features", 0);
		rc = files_last_id(conn, &last_id, err);
		if (rc == 0)
			rc = count_all(e, conn, last_id, &bytes, err);
		sql_reader_give(svc->db, conn);
	}
	if (rc == 0) {
		task_step(task, "samples to be examined", bytes);
		rc = examine_missing(e, last_id, ret, err);
	}
	free(e);
	return rc ? rc : mark_segments(svc, task, err);
}
