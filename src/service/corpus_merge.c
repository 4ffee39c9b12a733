#include "corpus_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "index/merge.h"

/*
 * Sizes go by powers of the fan-in. Neighbours merge when there are as many of one size
 * as that, smaller ones between them included: so each sample's columns are written
 * again once for each power, some three times up to 10^8 samples. Where the largest
 * segment allowed would be exceeded, fewer are enough if they fill half of it. One of
 * whose files a quarter is removed is written again alone.
 *
 * A look-up reads some rows of each segment, so many segments cost most on a cold disk.
 * While nothing comes in there is time to have fewer: then neighbours merge whatever their
 * sizes are, as soon as the largest of them grows by a third. Each sample's columns are
 * written again at most once for each such growth.
 */
enum {
	MERGE_BASE_BYTES = 1 << 20, /* up to here all are of one size */
	MERGE_DEAD_SHARE = 4,
	MERGE_REST_SHARE = 3,
	DEAD_AT_FIRST = 256
};

/* ---- Which ---- */

struct choice {
	const struct segment_row *rows;
	size_t n;
	const struct corpus_merge_limits *limits;
};

static unsigned size_class(const struct choice *c, const struct segment_row *row)
{
	uint64_t bytes = row->sample_bytes / MERGE_BASE_BYTES;
	unsigned class = 0;

	for (; bytes >= c->limits->fan_in; bytes /= c->limits->fan_in)
		class ++;
	return class;
}

/* How many from `first` on are one class at most, and when that is enough; 0: it is not. */
static size_t run_at(const struct choice *c, size_t first, unsigned class)
{
	uint64_t docs = 0, bytes = 0;
	uint32_t of_class = 0;
	size_t i = first;

	for (; i < c->n && i - first < SEGMENT_MERGE_MAX; i++) {
		const struct segment_row *row = &c->rows[i];

		if (row->is_stale || size_class(c, row) > class)
			break;
		if (docs + (uint64_t)row->docs > c->limits->docs_max ||
		    bytes + row->bytes > c->limits->bytes_max)
			return i - first > 1 && (docs >= c->limits->docs_max / 2 ||
						 bytes >= c->limits->bytes_max / 2)
				       ? i - first
				       : 0;
		docs += (uint64_t)row->docs;
		bytes += row->bytes;
		of_class += size_class(c, row) == class;
		if (of_class == c->limits->fan_in)
			return i - first + 1;
	}
	return i - first == SEGMENT_MERGE_MAX ? i - first : 0;
}

/* How many from `first` on are worth merging while nothing comes in; 0: none are. */
static size_t rest_run_at(const struct choice *c, size_t first)
{
	uint64_t docs = 0, bytes = 0, samples = 0, largest = 0;
	size_t best = 0;

	for (size_t i = first; i < c->n && i - first < SEGMENT_MERGE_MAX; i++) {
		const struct segment_row *row = &c->rows[i];

		docs += (uint64_t)row->docs;
		bytes += row->bytes;
		if (row->is_stale || docs > c->limits->docs_max || bytes > c->limits->bytes_max)
			break;
		samples += row->sample_bytes;
		largest = row->sample_bytes > largest ? row->sample_bytes : largest;
		if (i > first && (samples - largest) * MERGE_REST_SHARE >= largest)
			best = i - first + 1;
	}
	return best;
}

/* As many as can be: each is one less to look at. */
static void rest_choose(const struct choice *c, size_t *ret_first, size_t *ret_n)
{
	for (size_t i = 0; i < c->n; i++) {
		size_t n = rest_run_at(c, i);

		if (n > *ret_n) {
			*ret_first = i;
			*ret_n = n;
		}
	}
}

void corpus_merge_choose(const struct segment_row *rows, const uint32_t *dead, size_t n,
			 const struct corpus_merge_limits *limits, size_t *ret_first, size_t *ret_n)
{
	const struct choice c = { rows, n, limits };
	unsigned highest = 0;

	*ret_n = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned class = size_class(&c, &rows[i]);

		if (class > highest)
			highest = class;
	}
	/* Small ones first: that is cheap, and there are many. */
	for (unsigned class = 0; class <= highest; class ++) {
		for (size_t i = 0; i < n; i++) {
			/* Smaller ones in front of the first of its class wait for their own. */
			if (size_class(&c, &rows[i]) != class)
				continue;
			*ret_n = run_at(&c, i, class);
			*ret_first = i;
			if (*ret_n)
				return;
		}
	}
	if (limits->rests)
		rest_choose(&c, ret_first, ret_n);
	if (*ret_n)
		return;
	for (size_t i = 0; i < n; i++) {
		if (!rows[i].is_stale && dead[i] &&
		    (uint64_t)dead[i] * MERGE_DEAD_SHARE >= (uint64_t)rows[i].docs) {
			*ret_first = i;
			*ret_n = 1;
			return;
		}
	}
}

/* ---- Removed files ---- */

struct dead_list {
	int64_t *ids; /* owned */
	size_t n, room;
};

static void dead_drop(struct dead_list *d)
{
	free(d->ids);
}

static void dead_add(int64_t file_id, void *arg)
{
	struct dead_list *d = arg;

	if (d->n == d->room) {
		d->room = d->room ? 2 * d->room : DEAD_AT_FIRST;
		mem_must_grow((void **)&d->ids, d->room, sizeof *d->ids);
	}
	d->ids[d->n++] = file_id;
}

/* Also: may all that lies between the first and the last be one range? */
static int look(struct corpus *c, struct corpus_segment *const *ins, size_t n,
		struct dead_list *dead, bool *ret_whole, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	*ret_whole = true;
	TRY(sql_reader_take(&conn, c->svc->db, err));
	rc = segment_deleted_each(conn, ins[0]->row.first_id, ins[n - 1]->row.last_id, dead_add,
				  dead, err);
	for (size_t i = 1; rc == 0 && *ret_whole && i < n; i++) {
		int64_t from = ins[i - 1]->row.last_id + 1, to = ins[i]->row.first_id - 1;
		uint64_t files = 0;

		if (from <= to)
			rc = index_files_count(conn, from, to, &files, err);
		*ret_whole = files == 0;
	}
	sql_reader_give(c->svc->db, conn);
	return rc;
}

/* ---- Merging ---- */

static bool goes_on(uint64_t bytes, void *arg)
{
	(void)bytes;
	return !corpus_stops(arg);
}

static int write_merged(struct corpus *c, struct corpus_segment *const *ins, size_t n,
			const struct dead_list *dead, struct segment_row *row, struct err *err)
{
	const struct segment_merge options = {
		.dead = dead->ids, .dead_n = dead->n, .goes_on = goes_on, .arg = c
	};
	struct segment *segs[SEGMENT_MERGE_MAX];
	int64_t from_us = clock_mono_us(clock_system());
	char path[CORPUS_PATH_BYTES];

	for (size_t i = 0; i < n; i++) {
		segs[i] = ins[i]->seg;
		if (ins[i]->row.level >= row->level)
			row->level = ins[i]->row.level + 1;
	}
	TRY(corpus_next_id(c, &row->id, err));
	corpus_path(path, row->id);
	TRY(segment_merge(c->svc->io, segs, n, path, &options, &row->bytes, err));
	metric_add(METRIC_index_merged_bytes_total, (int64_t)row->bytes);
	metric_add(METRIC_index_merge_us_total, clock_mono_us(clock_system()) - from_us);
	return 0;
}

/* What its file says of itself. */
static int open_merged(struct corpus *c, struct segment_row *row, struct corpus_segment **ret,
		       struct err *err)
{
	TRY(corpus_open_new(c, row, ret, err));
	(*ret)->row.docs = segment_docs((*ret)->seg);
	(*ret)->row.sample_bytes = segment_sample_bytes((*ret)->seg);
	(*ret)->row.features_version = segment_features_version((*ret)->seg);
	return 0;
}

static bool all_dead(struct corpus_segment *const *ins, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ins[i]->dead_count < ins[i]->row.docs)
			return false;
	}
	return true;
}

static bool rests(const struct corpus *c)
{
	int64_t wait_us = c->svc->options.index.rest_seconds * INT64_C(1000000);

	return wait_us > 0 && clock_mono_us(c->svc->clock) - c->built_us >= wait_us;
}

static int merge(struct corpus *c, struct corpus_segment *const *ins, size_t n, bool *ret_did,
		 struct err *err)
{
	AUTO(dead_drop) struct dead_list dead = { 0 };
	struct corpus_segment *out = NULL;
	struct segment_row row = { .first_id = ins[0]->row.first_id,
				   .last_id = ins[n - 1]->row.last_id,
				   .created_s = clock_unix_s(c->svc->clock) };
	bool whole;
	int rc;

	/* Nothing is left of them: a range without files needs no segment. */
	if (all_dead(ins, n))
		return corpus_change(c, ins, n, NULL, 0, err);
	TRY(look(c, ins, n, &dead, &whole, err));
	*ret_did = whole;
	if (!whole)
		return 0; /* what is between them is built first */
	TRY(write_merged(c, ins, n, &dead, &row, err));
	TRY(open_merged(c, &row, &out, err));
	rc = corpus_change_merged(c, ins, n, out, err);
	if (rc == 0)
		log_event(LOG_INFO, "segments_merged", LOG_I64("segment", out->row.id),
			  LOG_I64("segments", (int64_t)n), LOG_I64("files", out->row.docs),
			  LOG_I64("bytes", (int64_t)out->row.bytes));
	corpus_segment_unref(out);
	return rc;
}

static void bad_page(const char *section, uint64_t offset, void *arg)
{
	(void)section;
	(void)offset;
	/* It was said when the page was found. */
	atomic_store(&((struct corpus_segment *)arg)->is_damaged, true);
}

static bool check_goes_on(uint64_t bytes, void *arg)
{
	(void)bytes;
	return !corpus_stops(((const struct corpus_segment *)arg)->corpus);
}

/*
 * After a merge that failed with ERR_CORRUPT. 0: a damaged input was found, which is built
 * anew from its samples. If all are whole it would fail again: *err stays the merge's.
 */
static int check_inputs(struct corpus_segment *const *ins, size_t n, struct err *err)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		struct corpus_segment *s = ins[i];

		if (!atomic_load(&s->is_damaged))
			TRY(segment_check(s->seg, bad_page, check_goes_on, s, err));
		any = any || atomic_load(&s->is_damaged);
	}
	return any ? 0 : -ERR_CORRUPT;
}

int corpus_merge_step(struct corpus *c, bool *ret_did, struct err *err)
{
	struct corpus_snapshot *list = corpus_list_get(c);
	AUTO(mem_drop) struct segment_row *rows = mem_must_zalloc((list->count + 1) * sizeof *rows);
	AUTO(mem_drop) uint32_t *dead = mem_must_zalloc((list->count + 1) * sizeof *dead);
	const struct service_options *o = &c->svc->options;
	const struct corpus_merge_limits limits = { o->index.merge_fan, o->index.docs_max,
						    o->index.bytes_max, rests(c) };
	size_t first, n;
	int rc = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct corpus_segment *s = list->segments[i];

		rows[i] = s->row;
		rows[i].is_stale = atomic_load(&s->is_stale) || atomic_load(&s->is_damaged);
		dead[i] = atomic_load(&s->dead_count);
	}
	corpus_merge_choose(rows, dead, list->count, &limits, &first, &n);
	*ret_did = n > 0;
	if (n)
		rc = merge(c, list->segments + first, n, ret_did, err);
	if (rc == -ERR_CORRUPT)
		rc = check_inputs(list->segments + first, n, err);
	corpus_snapshot_free(list);
	return rc;
}
