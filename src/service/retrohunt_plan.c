#include "retrohunt_split.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "corpus.h"
#include "index/query.h"
#include "store/meta_index.h"

/* What a job looks at: its tasks, and which files of a task's range must be scanned. */

enum {
	READ_FILES = 4096, /* rows read at a time */
	SKIP_ARENA_MAX = 1 << 20,
};

/* ---- The tasks of a new job: on the writer's connection ---- */

struct making {
	struct sql_conn *conn;
	int64_t job_id;
	struct str corpus;
	int64_t number; /* of the last task made */
};

static int make_task(struct making *m, int64_t first_id, int64_t last_id, struct err *err)
{
	const struct retrohunt_task_row task = { ++m->number, first_id, last_id };

	return retrohunt_task_add(m->conn, m->job_id, &task, err);
}

/* Tasks for [first_id, last_id], which no segment covers: run by run, where there are files. */
static int make_runs(struct making *m, int64_t first_id, int64_t last_id, struct err *err)
{
	int64_t run = last_id / FILE_RUN_IDS + 1;
	bool found = first_id <= last_id;

	while (found) {
		int64_t first, last;

		TRY(file_run_before(m->conn, m->corpus, run, &run, &found, err));
		if (!found || (run + 1) * FILE_RUN_IDS <= first_id)
			return 0;
		first = run * FILE_RUN_IDS;
		last = first + FILE_RUN_IDS - 1;
		TRY(make_task(m, first < first_id ? first_id : first,
			      last > last_id ? last_id : last, err));
	}
	return 0;
}

/* Are there files of the corpus in these runs? */
static int range_has_files(struct making *m, int64_t first_id, int64_t last_id, bool *ret,
			   struct err *err)
{
	int64_t run;

	TRY(file_run_before(m->conn, m->corpus, last_id / FILE_RUN_IDS + 1, &run, ret, err));
	*ret = *ret && run >= first_id / FILE_RUN_IDS;
	return 0;
}

static int make_all(struct making *m, const struct segment_row *rows, size_t n, int64_t last_id,
		    struct err *err)
{
	bool has;

	/* The newest first: that is what is looked at first, too. */
	for (size_t i = n; i-- > 0;) {
		if (rows[i].first_id > last_id)
			continue;
		TRY(make_runs(m, rows[i].last_id + 1, last_id, err));
		if (rows[i].last_id < last_id)
			last_id = rows[i].last_id;
		TRY(range_has_files(m, rows[i].first_id, last_id, &has, err));
		if (has)
			TRY(make_task(m, rows[i].first_id, last_id, err));
		last_id = rows[i].first_id - 1;
	}
	return make_runs(m, 1, last_id, err);
}

int retro_tasks_make(struct sql_conn *conn, int64_t job_id, struct str corpus, int64_t last_id,
		     struct err *err)
{
	struct making m = { .conn = conn, .job_id = job_id, .corpus = corpus };
	struct segment_row *rows;
	size_t n;
	int rc;

	TRY(segment_rows(conn, &rows, &n, err));
	rc = make_all(&m, rows, n, last_id, err);
	free(rows);
	return rc;
}

/* ---- A task's files ---- */

struct retrohunt_scope retro_scope(const struct retro_job *job)
{
	return (struct retrohunt_scope){ job->last_id, str_of(job->corpus), job->start_s,
					 job->end_s };
}

void retro_task_free(struct retro_task *task)
{
	free(task->items);
	free(task->skips);
	arena_free(task->arena);
	free(task);
}

void retro_task_skip(struct retro_task *task, int64_t file_id, const char *reason, bool is_failure)
{
	size_t at;

	task->done.skipped++;
	task->done.failed += is_failure;
	if ((is_failure ? task->failure_count : task->skip_count) == RETRO_SKIPS_KEPT)
		return;
	if (!task->arena) {
		task->arena = arena_new("retrohunt task", SKIP_ARENA_MAX);
		task->skips = mem_must_zalloc(RETRO_SKIPS_KEPT * sizeof *task->skips);
	}
	at = is_failure ? task->failure_count++ : task->skip_count;
	if (task->skip_count < RETRO_SKIPS_KEPT)
		task->skips[task->skip_count++] = task->skips[at]; /* else that one goes */
	task->skips[at] =
		(struct retro_skip){ file_id, arena_str(task->arena,
							str_make(reason, strnlen(reason, 512))) };
}

void retro_file_skip(struct retro_job *job, struct retro_task *task, int64_t file_id,
		     const char *reason)
{
	struct retrohunt *e = job->engine;

	lock_take(&e->lock);
	retro_task_skip(task, file_id, reason, true);
	job->done.skipped++;
	job->done.failed++;
	lock_drop(&e->lock);
}

static void decide(struct retro_task *task, uint64_t size)
{
	task->done.files++;
	task->done.bytes += (int64_t)size;
}

/* ---- Candidates ---- */

/*
 * Every file of the range, once as the index's answer and once as an item; a list that grows
 * by doubling takes no more than both.
 */
static uint64_t items_bytes_at_most(const struct retro_job *job, const struct retro_task *task)
{
	uint64_t files = (uint64_t)(task->row.last_id - task->row.first_id + 1);

	if (files > (uint64_t)job->files)
		files = (uint64_t)job->files;
	return files * (sizeof(struct retro_item) + sizeof(struct query_candidate) + 8);
}

bool retro_items_fit(const struct retro_job *job, const struct retro_task *task)
{
	uint64_t held = job->engine->items_bytes, wanted = items_bytes_at_most(job, task);

	/* A large one does not wait until there is no other at all: that may be never. */
	return held <= RETRO_ITEMS_BYTES_MAX / 2 || held + wanted <= RETRO_ITEMS_BYTES_MAX;
}

void retro_items_keep(struct retro_job *job, struct retro_task *task, uint64_t bytes)
{
	struct retrohunt *e = job->engine;

	REQUIRE(e->items_bytes >= task->items_bytes);
	e->items_bytes += bytes - task->items_bytes;
	task->items_bytes = bytes;
}

void retro_items_reserve(struct retro_job *job, struct retro_task *task)
{
	retro_items_keep(job, task, items_bytes_at_most(job, task));
}

static int items_room(struct retro_task *task, size_t *cap, size_t room, struct err *err)
{
	struct retro_item *moved;

	if (room <= *cap)
		return 0;
	moved = realloc(task->items, room * sizeof *moved);
	if (!moved)
		return err_set(err, ERR_NO_MEMORY, "a list of %zu files", room);
	task->items = moved;
	*cap = room;
	return 0;
}

/* What is left of it is kept until all of it is verified. */
static void items_trim(struct retro_task *task)
{
	struct retro_item *moved;

	if (!task->item_count) {
		free(STEAL(task->items));
		return;
	}
	moved = realloc(task->items, task->item_count * sizeof *moved);
	if (moved)
		task->items = moved;
}

static int item_add(struct retro_task *task, size_t *cap, const struct retro_item *item,
		    struct err *err)
{
	if (task->item_count == *cap)
		TRY(items_room(task, cap, *cap ? 2 * *cap : READ_FILES, err));
	REQUIRE(task->items);
	task->items[task->item_count++] = *item;
	task->weight += retro_weight(1, item->len);
	return 0;
}

static void skip_large(const struct retro_job *job, struct retro_task *task, int64_t file_id,
		       uint64_t size)
{
	char reason[128];

	snprintf(reason, sizeof reason, "the file has %llu bytes, files above %llu are not hunted",
		 (unsigned long long)size,
		 (unsigned long long)job->engine->svc->options.hunt_bytes_max);
	retro_task_skip(task, file_id, reason, false);
}

/* One file of the range: to be verified, or too large for it. */
static int take_file(const struct retro_job *job, struct retro_task *task,
		     const struct retrohunt_file_row *file, size_t *cap, struct err *err)
{
	if (file->size > job->engine->svc->options.hunt_bytes_max) {
		skip_large(job, task, file->id, file->size);
		decide(task, file->size);
		return 0;
	}
	return item_add(task, cap,
			&(struct retro_item){ .file_id = file->id,
					      .offset = file->offset,
					      .len = (uint32_t)file->size,
					      .pack = file->pack,
					      .groups = RULE_EVERY_GROUP },
			err);
}

/* By place, but what only rules want that narrow nothing comes last. */
static int compare_items(const void *a_, const void *b_, void *arg)
{
	const struct retro_item *a = a_, *b = b_;
	const struct retro_split *split = arg;
	bool a_waits = split && !(a->groups & ~split->last);
	bool b_waits = split && !(b->groups & ~split->last);

	if (a_waits != b_waits)
		return a_waits - b_waits;
	if (a->pack != b->pack)
		return a->pack < b->pack ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static bool goes_on(void *arg)
{
	const struct retro_job *job = arg;

	return !job->stop && !retro_is_stopping(job->engine);
}

/* ---- Without a segment ---- */

/* What reading a range needs. */
struct reading {
	struct retrohunt_file_row *rows; /* READ_FILES of them */
	size_t cap;                      /* of the task's items */
	const struct corpus_snapshot *snapshot;
};

/* The next files of the range: a connection is not held for longer than that. */
static int read_files(const struct retro_job *job, int64_t after, int64_t last_id,
		      struct reading *r, size_t *ret_n, struct err *err)
{
	struct sql_db *db = job->engine->svc->db;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, db, err));
	rc = retrohunt_range_files(conn, str_of(job->corpus), after, last_id, r->rows, READ_FILES,
				   ret_n, err);
	sql_reader_give(db, conn);
	return rc;
}

/* Every file of the range, from the database. */
static int plan_direct(struct retro_job *job, struct retro_task *task, int64_t first_id,
		       int64_t last_id, struct reading *r, struct err *err)
{
	int64_t after = first_id - 1;
	size_t n;

	do {
		if (!goes_on(job))
			return err_set(err, ERR_CLOSED, "the job is over");
		TRY(read_files(job, after, last_id, r, &n, err));
		for (size_t i = 0; i < n; i++)
			TRY(take_file(job, task, &r->rows[i], &r->cap, err));
		if (n)
			after = r->rows[n - 1].id;
	} while (n == READ_FILES);
	return 0;
}

/* ---- By the index ---- */

struct plan *retro_plan_of(const struct scan_rules *rules)
{
	struct str bytes = scan_rules_plan(rules);
	struct plan *plan = NULL;
	struct err err;

	if (bytes.n && plan_new(&plan, bytes.p, bytes.n, &err) != 0)
		log_event(LOG_WARN, "plan_refused", LOG_Z("error", err.msg));
	return plan;
}

/* Documents of a block that are too large to be hunted. */
static void skip_block(struct retro_job *job, struct retro_task *task,
		       const struct corpus_part *part, const struct segment_block *b,
		       enum segment_corpus corpus)
{
	const int64_t *ids = segment_file_ids(part->segment);
	const uint64_t *sizes = segment_sizes(part->segment);
	const uint8_t *corpora = segment_corpora(part->segment);
	uint64_t max = job->engine->svc->options.hunt_bytes_max;

	segment_read_ahead(part->segment, segment_column_pages(part->segment, sizes + b->doc_first,
							       b->doc_count * sizeof *sizes));
	for (uint32_t d = b->doc_first; d < b->doc_first + b->doc_count; d++) {
		if (sizes[d] <= max || ids[d] < part->first_id || ids[d] > part->last_id ||
		    corpora[d] != corpus || corpus_is_dead(part, d))
			continue;
		skip_large(job, task, ids[d], sizes[d]);
		decide(task, sizes[d]);
	}
}

/*
 * All files of the part are decided now, but for those that the plan leaves. Blocks say
 * enough of most: columns of documents would be read from the disk for nothing.
 */
static void decide_part(struct retro_job *job, struct retro_task *task,
			const struct corpus_part *part, enum segment_corpus corpus,
			const struct query_counters *counters)
{
	task->done.files += (int64_t)counters->docs;
	task->done.bytes += (int64_t)counters->doc_bytes;
	for (uint32_t i = 0; i < segment_blocks(part->segment); i++) {
		const struct segment_block *b = segment_block_at(part->segment, i);

		if (b->size_max > job->engine->svc->options.hunt_bytes_max)
			skip_block(job, task, part, b, corpus);
	}
}

static int take_candidates(struct retro_task *task, struct segment *seg,
			   const struct query_answer *answer, bool grouped, struct reading *r,
			   struct err *err)
{
	uint32_t ahead = 0; /* documents before it were read ahead */

	TRY(items_room(task, &r->cap, task->item_count + answer->count, err));
	for (uint32_t i = 0; i < answer->count; i++) {
		uint32_t doc = answer->candidates[i].doc;
		struct segment_place place;

		if (doc >= ahead)
			ahead = segment_places_ahead(seg, doc);
		segment_place_get(seg, doc, &place);
		TRY(item_add(task, &r->cap,
			     &(struct retro_item){ .file_id = place.file_id,
						   .offset = place.offset,
						   .len = (uint32_t)place.size,
						   .pack = place.pack,
						   .groups = grouped ? answer->candidates[i].groups
								     : RULE_EVERY_GROUP },
			     err));
		task->done.files--;
		task->done.bytes -= (int64_t)place.size;
	}
	return 0;
}

/* Its candidates; with the groups that want them once the job has some. */
static int ask_segment(struct retro_job *job, struct segment *seg,
		       const struct corpus_snapshot *snapshot, struct query_filter *filter,
		       struct query_answer *ret, bool *ret_grouped, struct err *err)
{
	static const uint8_t one_group[PLAN_RULES_MAX] = { 0 };
	const struct retro_split *split = retro_split_of(job);
	int rc;

	*ret_grouped = split != NULL;
	filter->groups = split ? split->groups : one_group;
	TRY(query_run(job->plan, seg, filter, ret, err));
	if (split)
		return 0;
	rc = retro_split_measure(job, snapshot, filter, &ret->counters, err);
	split = rc == 0 ? retro_split_of(job) : NULL;
	if (rc || split)
		query_answer_release(ret);
	if (rc || !split)
		return rc;
	*ret_grouped = true;
	filter->groups = split->groups;
	return query_run(job->plan, seg, filter, ret, err);
}

static int plan_segment(struct retro_job *job, struct retro_task *task,
			const struct corpus_part *part, struct reading *r, struct err *err)
{
	struct query_filter filter = {
		.corpus = strcmp(job->corpus, "goodware") == 0 ? SEGMENT_GOODWARE : SEGMENT_MAIN,
		.first_id = part->first_id,
		.last_id = part->last_id,
		/* A newer file counts, too, if it came out of a container that is in time. */
		.end_s = INT64_MAX,
		.size_max = job->engine->svc->options.hunt_bytes_max,
		.dead = part->dead,
		.features_version = job->engine->svc->options.index.features_version,
		.goes_on = goes_on,
		.arg = job,
	};
	struct query_answer answer;
	bool grouped;
	int rc;

	TRY(ask_segment(job, part->segment, r->snapshot, &filter, &answer, &grouped, err));
	metric_add(METRIC_retrohunt_candidates_total, answer.count);
	metric_add(METRIC_retrohunt_indexed_total, (int64_t)answer.counters.docs);
	decide_part(job, task, part, filter.corpus, &answer.counters);
	rc = take_candidates(task, part->segment, &answer, grouped, r, err);
	query_answer_release(&answer);
	return rc;
}

/* ---- A task ---- */

static void task_reset(struct retro_task *task)
{
	task->failure_count = 0;
	free(task->items);
	task->items = NULL;
	task->item_count = 0;
	task->item_next = 0;
	task->weight = 0;
	free(STEAL(task->skips));
	arena_drop(&task->arena);
	task->skip_count = 0;
	task->done = (struct retrohunt_done){ 0 };
}

static int plan_range(struct retro_job *job, struct retro_task *task, struct reading *r,
		      struct err *err)
{
	int64_t at = task->row.first_id;
	struct corpus_part part;

	while (corpus_snapshot_next(r->snapshot, &at, task->row.last_id, &part)) {
		if (part.segment && job->plan)
			TRY(plan_segment(job, task, &part, r, err));
		else
			TRY(plan_direct(job, task, part.first_id, part.last_id, r, err));
	}
	return 0;
}

int retro_task_plan(struct retro_job *job, struct retro_task *task, struct err *err)
{
	struct service *svc = job->engine->svc;
	struct corpus_snapshot *snapshot;
	struct reading r = { .cap = 0 };
	int rc;

	task_reset(task);
	r.rows = mem_must_zalloc(READ_FILES * sizeof *r.rows);
	snapshot = corpus_snapshot_take(svc);
	r.snapshot = snapshot;
	rc = plan_range(job, task, &r, err);
	corpus_snapshot_free(snapshot);
	free(r.rows);
	if (rc == 0 && task->item_count)
		qsort_r(task->items, task->item_count, sizeof *task->items, compare_items,
			retro_split_of(job));
	if (rc == 0)
		items_trim(task);
	else
		task_reset(task);
	return rc;
}
