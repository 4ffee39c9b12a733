#include "corpus_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "index/segment_writer.h"
#include "index/signature.h"

enum {
	BUILD_DOCS_MAX =
		65536,     /* files of one segment that is built: two full blocks, 8 MB of rows */
	BUILD_STEP = 1024, /* files asked for together */
	BUILD_THREADS_MAX = 64,
	BUILD_DOC_BYTES = 256,        /* of memory for a file beside its signature and features */
	BUILD_LARGE_BYTES = 64 << 20, /* samples from here on are read one at a time */
	BUILD_WAIT_S = 900, /* for an analysis; then a file is indexed without its facts */
	BUILD_LOOK_US = 5 * 1000 * 1000, /* between looks whether what waits fills a segment */
};

/* What is known of one file that is going into the segment. */
struct build_file {
	struct index_file row;
	struct signature *sig; /* owned; NULL: its bytes could not be read */
	uint8_t head[SEGMENT_HEAD_BYTES];
};

struct build {
	struct corpus *corpus;
	struct build_file *files; /* owned, by id */
	uint32_t count;
	uint32_t *order; /* owned; as they lie in the packs */
	uint64_t bytes;  /* of samples */
	uint64_t memory; /* that they may take */
	bool is_full;    /* more would not fit */
	/* shared by the threads that sign */
	_Atomic uint32_t next;
	_Atomic uint64_t signed_bytes;
	_Atomic bool failed; /* no memory */
	struct lock large;   /* one sample that needs much memory at a time */
};

static void build_drop(struct build *b)
{
	for (uint32_t i = 0; i < b->count; i++)
		signature_free(b->files[i].sig);
	free(b->files);
	free(b->order);
}

/* ---- Which files ---- */

/*
 * A signature takes at most half of its sample's bytes. Features are in a list that grows
 * by doubling and, while they are sorted, in two more of their length.
 */
static uint64_t memory_of(const struct index_file *row)
{
	return row->at.len / 2 + 4 * row->features_bytes + BUILD_DOC_BYTES;
}

/* true: the next one would not fit, or is not ready. */
static bool gather_one(struct build *b, const struct index_file *row, bool wait)
{
	const struct service_options *o = &b->corpus->svc->options;
	uint32_t docs_max = o->index.docs_max < BUILD_DOCS_MAX ? o->index.docs_max : BUILD_DOCS_MAX;

	if (row->waits && wait)
		return true;
	b->is_full = b->count == docs_max ||
		     (b->count && b->memory + memory_of(row) > o->index.memory_bytes);
	if (b->is_full)
		return true;
	b->files[b->count++].row = *row;
	b->bytes += row->at.len;
	b->memory += memory_of(row);
	return false;
}

/* Files of the range from its beginning on, as many as one segment takes. */
static int gather_in(struct build *b, struct sql_conn *conn, struct index_files_query *q, bool wait,
		     struct err *err)
{
	AUTO(mem_drop) struct index_file *rows = mem_must_zalloc(BUILD_STEP * sizeof *rows);
	size_t n;

	do {
		TRY(index_files(conn, q, rows, &n, err));
		for (size_t i = 0; i < n; i++) {
			if (b->count % BUILD_STEP == 0)
				mem_must_grow((void **)&b->files, b->count + BUILD_STEP + 1,
					      sizeof *b->files);
			b->files[b->count] = (struct build_file){ .sig = NULL };
			if (gather_one(b, &rows[i], wait))
				return 0;
			q->after_id = rows[i].id;
		}
	} while (n == BUILD_STEP);
	return 0;
}

static struct index_files_query files_query(struct corpus *c, int64_t first_id, int64_t last_id,
					    uint32_t max)
{
	int64_t now_s = clock_unix_s(c->svc->clock);

	return (struct index_files_query){ .after_id = first_id - 1,
					   .last_id = last_id,
					   .since_s = now_s - BUILD_WAIT_S,
					   .until_s = now_s,
					   .max = max };
}

static int gather(struct build *b, int64_t first_id, int64_t last_id, bool wait, struct err *err)
{
	struct index_files_query q = files_query(b->corpus, first_id, last_id, BUILD_STEP);
	struct service *svc = b->corpus->svc;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = gather_in(b, conn, &q, wait, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

/* ---- Reading and signing ---- */

static int by_place(const void *a, const void *b, void *arg)
{
	const struct build_file *files = arg;
	const struct pack_locator *x = &files[*(const uint32_t *)a].row.at;
	const struct pack_locator *y = &files[*(const uint32_t *)b].row.at;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

struct build_reader {
	struct signer *signer;
	void *bytes; /* owned */
	size_t room;
};

/*
 * What cannot be read, or is not what its checksum says, has no signature: it is always a
 * candidate, and whoever scans it says why. So columns are of the bytes that were sent, also
 * where those on the disk are put right later. (A file that is removed meanwhile is erased,
 * or reads as zeros; it is dead by then.)
 */
static int sign_one(struct build *b, struct build_reader *r, struct build_file *f)
{
	struct err err;
	size_t n = (size_t)f->row.at.len;
	bool erased;

	if (n > LIMIT_SAMPLE_BYTES)
		return 0;
	if (n > r->room) {
		free(STEAL(r->bytes));
		r->room = 0;
		TRY(mem_try_alloc(&r->bytes, n, &err));
		r->room = n;
	}
	if (packs_read_whole(b->corpus->svc->packs, &f->row.at, r->bytes, &erased, &err) != 0) {
		log_event(LOG_WARN, "index_sample_unreadable", LOG_I64("pack", f->row.at.pack),
			  LOG_I64("offset", (int64_t)f->row.at.offset), LOG_Z("error", err.msg));
		return 0;
	}
	if (erased)
		return 0;
	if (n)
		memcpy(f->head, r->bytes, n < sizeof f->head ? n : sizeof f->head);
	TRY(signer_sign(r->signer, n ? r->bytes : (const void *)"", n, &f->sig, &err));
	atomic_fetch_add(&b->signed_bytes, n);
	return 0;
}

/* A large one alone, and without its memory afterwards. */
static int sign_large(struct build *b, struct build_reader *r, struct build_file *f)
{
	int rc;

	lock_take(&b->large);
	rc = sign_one(b, r, f);
	free(STEAL(r->bytes));
	r->room = 0;
	lock_drop(&b->large);
	return rc;
}

static void sign_some(struct build *b)
{
	struct build_reader r = { .signer = signer_new(b->corpus->svc->options.index.fill_max) };

	while (!corpus_stops(b->corpus) && !atomic_load(&b->failed)) {
		uint32_t i = atomic_fetch_add(&b->next, 1);
		struct build_file *f;

		if (i >= b->count)
			break;
		f = &b->files[b->order[i]];
		if ((f->row.at.len >= BUILD_LARGE_BYTES ? sign_large(b, &r, f)
							: sign_one(b, &r, f)) != 0)
			atomic_store(&b->failed, true);
	}
	free(r.bytes);
	signer_free(r.signer);
}

static void sign_thread(void *arg)
{
	corpus_give_way();
	sign_some(arg);
}

static int sign(struct build *b, struct err *err)
{
	struct thread threads[BUILD_THREADS_MAX] = { 0 };
	uint32_t n = b->corpus->svc->options.index.threads;
	struct err why;

	b->order = mem_must_zalloc(((size_t)b->count + 1) * sizeof *b->order);
	for (uint32_t i = 0; i < b->count; i++)
		b->order[i] = i;
	qsort_r(b->order, b->count, sizeof *b->order, by_place, b->files);
	lock_init(&b->large, LOCK_BUILD);
	/* This thread is one of them: with fewer it only takes longer. */
	for (uint32_t i = 1; i < n && i < BUILD_THREADS_MAX && i < b->count; i++) {
		if (thread_start(&threads[i], "index", sign_thread, b, &why) != 0)
			break;
	}
	sign_some(b);
	for (uint32_t i = 0; i < BUILD_THREADS_MAX; i++)
		thread_join(&threads[i]);
	lock_release(&b->large);
	if (corpus_stops(b->corpus))
		return err_set(err, ERR_CLOSED, "stopping");
	if (atomic_load(&b->failed))
		return err_set(err, ERR_NO_MEMORY, "no memory to read samples for the index");
	return 0;
}

/* ---- Writing ---- */

/* Its signature goes to the writer. */
static int add_one(struct segment_writer *w, struct build_file *f, const uint64_t *features,
		   size_t n, bool has_features, struct err *err)
{
	const struct index_file *row = &f->row;
	struct segment_doc doc = {
		.file_id = row->id,
		.size = row->at.len,
		.first_seen_s = row->first_submission_s,
		.pack = row->at.pack,
		.offset = row->at.offset,
		.file_type = row->file_type,
		.corpus = row->is_goodware ? SEGMENT_GOODWARE : SEGMENT_MAIN,
		.flags = (uint8_t)((f->sig ? 0 : SEGMENT_DOC_ALWAYS) |
				   (has_features ? 0 : SEGMENT_DOC_NO_FEATURES)),
	};

	memcpy(doc.sha256, row->sha256, SHA256_BYTES);
	memcpy(doc.head, f->head, sizeof doc.head);
	return segment_writer_add(w, &doc, STEAL(f->sig), features, has_features ? n : 0, err);
}

/* What cannot be read is not known: predicates on it are true. */
static int features_get(struct sql_conn *conn, int64_t file_id, uint32_t *ret_version,
			uint64_t *ret, size_t *ret_n, struct err *err)
{
	int rc = file_features_get(conn, file_id, ret_version, ret, ret_n, err);

	if (rc != -ERR_CORRUPT)
		return rc;
	log_event(LOG_WARN, "index_features_unreadable", LOG_I64("file", file_id),
		  LOG_Z("error", err->msg));
	*ret_version = 0;
	*ret_n = 0;
	return 0;
}

static int add_all(struct build *b, struct sql_conn *conn, struct segment_writer *w,
		   uint32_t version, struct err *err)
{
	AUTO(mem_drop) uint64_t *features = mem_must_zalloc(FEATURES_MAX * sizeof *features);

	for (uint32_t i = 0; i < b->count; i++) {
		uint32_t has_version;
		size_t n;

		TRY(features_get(conn, b->files[i].row.id, &has_version, features, &n, err));
		TRY(add_one(w, &b->files[i], features, n, version && has_version == version, err));
	}
	return 0;
}

static void writer_drop(struct segment_writer **w)
{
	segment_writer_free(*w);
}

static int write_file(struct build *b, struct segment_row *row, struct err *err)
{
	struct service *svc = b->corpus->svc;
	const struct segment_writer_options options = {
		.memory_bytes = UINT64_MAX, /* what fits was decided before */
		.features_version = row->features_version,
		.fill_max = svc->options.index.fill_max,
	};
	AUTO(writer_drop) struct segment_writer *w = segment_writer_new(&options);
	char path[CORPUS_PATH_BYTES];
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = add_all(b, conn, w, row->features_version, err);
	sql_reader_give(svc->db, conn);
	TRY(rc);
	TRY(corpus_next_id(b->corpus, &row->id, err));
	corpus_path(path, row->id);
	return segment_writer_write(w, svc->io, path, row->first_id, row->last_id, &row->bytes,
				    err);
}

static int write_segment(struct build *b, int64_t first_id, struct corpus_segment **ret,
			 struct err *err)
{
	struct corpus *c = b->corpus;
	struct segment_row row = {
		.first_id = first_id,
		.last_id = b->files[b->count - 1].row.id,
		.docs = b->count,
		.sample_bytes = b->bytes,
		.features_version = c->svc->options.index.features_version,
		.created_s = clock_unix_s(c->svc->clock),
	};

	TRY(write_file(b, &row, err));
	return corpus_open_new(c, &row, ret, err);
}

static int build_gathered(struct build *b, int64_t first_id, struct corpus_segment **ret,
			  struct err *err)
{
	int64_t from_us = clock_mono_us(clock_system());

	TRY(sign(b, err));
	TRY(write_segment(b, first_id, ret, err));
	metric_add(METRIC_index_built_bytes_total, (int64_t)b->bytes);
	metric_add(METRIC_index_build_us_total, clock_mono_us(clock_system()) - from_us);
	return 0;
}

int corpus_build(struct corpus *c, int64_t first_id, int64_t last_id, struct corpus_segment **ret,
		 struct err *err)
{
	AUTO(build_drop) struct build b = { .corpus = c };

	*ret = NULL;
	TRY(gather(&b, first_id, last_id, false, err));
	return b.count ? build_gathered(&b, first_id, ret, err) : 0;
}

/* ---- When ---- */

/*
 * The first range of ids that no segment covers and in which there is a file; *ret_row
 * is the first of them. false: there is none.
 */
static int find_hole(struct corpus *c, struct sql_conn *conn, int64_t *ret_first, int64_t *ret_last,
		     struct index_file *ret_row, bool *ret_found, struct err *err)
{
	struct corpus_snapshot *list = corpus_list_get(c);
	struct corpus_part part;
	int rc = 0;

	*ret_found = false;
	for (int64_t at = c->from_id; rc == 0 && !*ret_found;) {
		size_t n = 0;

		if (!corpus_snapshot_next(list, &at, CORPUS_ID_MAX, &part))
			break;
		if (!part.segment) {
			struct index_files_query q = files_query(c, part.first_id, part.last_id, 1);

			rc = index_files(conn, &q, ret_row, &n, err);
		}
		*ret_found = n > 0;
		*ret_first = part.first_id;
		*ret_last = part.last_id;
		/* A range without files stays without: ids only grow. */
		if (rc == 0 && !n && part.last_id < CORPUS_ID_MAX)
			c->from_id = part.last_id + 1;
	}
	corpus_snapshot_free(list);
	return rc;
}

static int show_waiting(struct sql_conn *conn, int64_t first_id, struct err *err)
{
	int64_t last;

	TRY(counter_get(conn, "file", &last, err));
	metric_set(METRIC_index_waiting, first_id && first_id <= last ? last - first_id + 1 : 0);
	return 0;
}

/* Is there a file that is ready for a segment, and where is it? */
static int look(struct corpus *c, int64_t *ret_first, int64_t *ret_last, bool *ret_ready,
		struct err *err)
{
	struct sql_conn *conn;
	struct index_file row;
	bool found = false;
	int rc;

	TRY(sql_reader_take(&conn, c->svc->db, err));
	rc = find_hole(c, conn, ret_first, ret_last, &row, &found, err);
	if (rc == 0)
		rc = show_waiting(conn, found ? row.id : 0, err);
	sql_reader_give(c->svc->db, conn);
	TRY(rc);
	*ret_ready = found && !row.waits;
	if (*ret_ready && c->waiting_id != row.id) {
		c->waiting_id = row.id;
		c->waiting_us = clock_mono_us(c->svc->clock);
		c->looked_us = 0;
	}
	return 0;
}

/* Has the first one waited for long enough, or may there be enough of them? */
static bool is_due(struct corpus *c, bool *ret_old)
{
	int64_t now_us = clock_mono_us(c->svc->clock);

	*ret_old = now_us - c->waiting_us >= c->svc->options.index.seconds * INT64_C(1000000);
	if (!*ret_old && c->looked_us && now_us - c->looked_us < BUILD_LOOK_US)
		return false;
	c->looked_us = now_us;
	return true;
}

int corpus_build_step(struct corpus *c, bool *ret_did, struct err *err)
{
	AUTO(build_drop) struct build b = { .corpus = c };
	struct corpus_segment *s = NULL;
	int64_t first, last;
	bool ready, old;
	int rc;

	*ret_did = false;
	TRY(look(c, &first, &last, &ready, err));
	if (!ready || !is_due(c, &old))
		return 0;
	TRY(gather(&b, first, last, true, err));
	if (!b.count || (!old && !b.is_full))
		return 0;
	TRY(build_gathered(&b, first, &s, err));
	rc = corpus_change(c, NULL, 0, &s, 1, err);
	if (rc == 0)
		log_event(LOG_INFO, "segment_built", LOG_I64("segment", s->row.id),
			  LOG_I64("files", s->row.docs),
			  LOG_I64("sample_bytes", (int64_t)s->row.sample_bytes),
			  LOG_I64("bytes", (int64_t)s->row.bytes));
	corpus_segment_unref(s);
	*ret_did = rc == 0;
	return rc;
}
