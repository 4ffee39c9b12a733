#include "retrohunt_internal.h"

#include <stdio.h>

#include "base/mem.h"

/* What a job looks at: its tasks, and which files of a task's range must be scanned. */

enum {
	READ_FILES = 4096, /* rows read at a time */
	SKIP_ARENA_MAX = 1 << 20,
};

/* ---- The tasks of a new job: on the writer's connection ---- */

int retro_tasks_make(struct sql_conn *conn, int64_t job_id, struct str corpus, int64_t last_id,
		     struct err *err)
{
	struct retrohunt_task_row task = { .number = 0 };
	int64_t run = last_id / FILE_RUN_IDS + 1;
	bool found;

	/* The newest first: that is what is looked at first, too. */
	for (;;) {
		TRY(file_run_before(conn, corpus, run, &run, &found, err));
		if (!found)
			return 0;
		task.number++;
		task.first_id = run * FILE_RUN_IDS;
		task.last_id = task.first_id + FILE_RUN_IDS - 1;
		if (task.last_id > last_id)
			task.last_id = last_id;
		TRY(retrohunt_task_add(conn, job_id, &task, err));
	}
}

/* ---- A task's files ---- */

void retro_task_free(struct retro_task *task)
{
	free(task->items);
	free(task->skips);
	arena_free(task->arena);
	free(task);
}

void retro_task_skip(struct retro_task *task, int64_t file_id, const char *reason, bool is_failure)
{
	task->done.skipped++;
	task->done.failed += is_failure;
	if (task->skip_count == RETRO_SKIPS_KEPT)
		return;
	if (!task->arena) {
		task->arena = arena_new("retrohunt task", SKIP_ARENA_MAX);
		task->skips = mem_must_zalloc(RETRO_SKIPS_KEPT * sizeof *task->skips);
	}
	task->skips[task->skip_count++] =
		(struct retro_skip){ file_id, arena_str(task->arena,
							str_make(reason, strnlen(reason, 512))) };
}

static void decide(struct retro_task *task, uint64_t size)
{
	task->done.files++;
	task->done.bytes += (int64_t)size;
}

static int items_grow(struct retro_task *task, size_t *cap, struct err *err)
{
	struct retro_item *bigger;

	if (task->item_count < *cap)
		return 0;
	*cap = *cap ? 2 * *cap : READ_FILES;
	bigger = realloc(task->items, *cap * sizeof *bigger);
	if (!bigger)
		return err_set(err, ERR_NO_MEMORY, "a list of %zu files", *cap);
	task->items = bigger;
	return 0;
}

/* One file of the range: to be verified, or too large for it. */
static int take_file(struct retro_job *job, struct retro_task *task,
		     const struct retrohunt_file_row *file, size_t *cap, struct err *err)
{
	uint64_t max = job->engine->svc->options.hunt_bytes_max;
	char reason[128];

	if (file->size > max) {
		snprintf(reason, sizeof reason,
			 "the file has %llu bytes, files above %llu are not hunted",
			 (unsigned long long)file->size, (unsigned long long)max);
		retro_task_skip(task, file->id, reason, false);
		decide(task, file->size);
		return 0;
	}
	TRY(items_grow(task, cap, err));
	task->items[task->item_count++] = (struct retro_item){ .file_id = file->id,
							       .offset = file->offset,
							       .len = (uint32_t)file->size,
							       .pack = file->pack };
	return 0;
}

static int compare_places(const void *a_, const void *b_)
{
	const struct retro_item *a = a_, *b = b_;

	if (a->pack != b->pack)
		return a->pack < b->pack ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Every file of the range, from the database. */
static int plan_direct(struct retro_job *job, struct retro_task *task, struct sql_conn *conn,
		       struct retrohunt_file_row *rows, struct err *err)
{
	int64_t after = task->row.first_id - 1;
	size_t n, cap = 0;

	do {
		if (job->stop || retro_is_stopping(job->engine))
			return err_set(err, ERR_CLOSED, "the job is over");
		TRY(retrohunt_range_files(conn, str_of(job->corpus), after, task->row.last_id, rows,
					  READ_FILES, &n, err));
		for (size_t i = 0; i < n; i++)
			TRY(take_file(job, task, &rows[i], &cap, err));
		if (n)
			after = rows[n - 1].id;
	} while (n == READ_FILES);
	return 0;
}

static void task_reset(struct retro_task *task)
{
	free(task->items);
	task->items = NULL;
	task->item_count = 0;
	task->item_next = 0;
	task->skip_count = 0;
	task->done = (struct retrohunt_done){ 0 };
}

int retro_task_plan(struct retro_job *job, struct retro_task *task, struct err *err)
{
	struct service *svc = job->engine->svc;
	struct retrohunt_file_row *rows;
	struct sql_conn *conn;
	int rc;

	task_reset(task);
	TRY(sql_reader_take(&conn, svc->db, err));
	rows = mem_must_zalloc(READ_FILES * sizeof *rows);
	rc = plan_direct(job, task, conn, rows, err);
	free(rows);
	sql_reader_give(svc->db, conn);
	if (rc == 0 && task->item_count)
		qsort(task->items, task->item_count, sizeof *task->items, compare_places);
	return rc;
}
