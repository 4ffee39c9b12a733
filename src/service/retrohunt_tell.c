#include "retrohunt_internal.h"

#include "base/log.h"
#include "base/metric.h"
#include "match_info.h"
#include "store/meta_file.h"
#include "store/stream.h"

/* What jobs commit: claims, matches, ends. On the writer's thread, but for those who wait. */

enum {
	INFO_ARENA_MAX = 1 << 20, /* one match told on one file */
	TRIES_MAX = 3,            /* at a commit that fails for a lasting reason */
	TELL_US = 20000,          /* of the writer for one request */
};

/* ---- Matches ---- */

struct tell_req {
	struct write_req req; /* first */
	struct retro_job *job;
	const struct retro_task *task;
	const struct place *places;
	size_t n;
	bool ends; /* the task with them */
	/* outcome */
	size_t told; /* of the places */
	bool full;   /* there is one more than the job may have */
	bool over;   /* the job has ended with it */
};

/* Where a match is told: on the file itself, then on the containers around it. */
struct place {
	const struct retro_hit *hit;
	int64_t file_id;
};
/* The file itself that a hit is on, as it is in a transaction. */
struct inner {
	const struct retro_hit *hit; /* NULL: nobody looked yet */
	bool found;
	struct retrohunt_subject subject;
};

/* The ruleset that watches on may have been faster. */
static int ruleset_has_told(struct sql_conn *conn, const struct retro_job *job,
			    struct sighting_new sighting, bool *ret, struct err *err)
{
	*ret = false;
	if (!job->ruleset_id)
		return 0;
	sighting.source_kind = STREAM_RULESET;
	sighting.source_id = job->ruleset_id;
	return stream_is_told(conn, &sighting, ret, err);
}

static int tell_new(struct sql_conn *conn, const struct retro_job *job, const struct retro_hit *hit,
		    int64_t file_id, const uint8_t *sha256, const uint8_t *subfile, int64_t now_s,
		    struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("retrohunt match", INFO_ARENA_MAX);
	struct match_facts facts = {
		.rule = hit->rule, .with_tags = true, .snippet = hit->snippet, .subfile = subfile
	};
	struct sighting_new sighting = { .owner_id = job->owner_id,
					 .source_kind = STREAM_RETROHUNT,
					 .source_id = job->id,
					 .label = str_of(job->name),
					 .entity_kind = STREAM_FILE,
					 .entity_id = str_make(sha256, SHA256_BYTES),
					 .rule = hit->rule->name };
	const struct str *tags;
	size_t tag_count;
	bool told;

	TRY(ruleset_has_told(conn, job, sighting, &told, err));
	if (told)
		return 0;
	TRY(submission_first_user(conn, file_id, &facts.user_id, err));
	TRY(match_info(&facts, arena, &sighting.info, err));
	tags = match_tags(hit->rule, arena, &tag_count);
	return match_tell(conn, &sighting, tags, tag_count, now_s, &told, err);
}

/* What is removed meanwhile is not told, and nothing around it. */
static int tell_place(struct sql_conn *conn, struct tell_req *r, const struct place *place,
		      struct inner *inner, int64_t now_s, struct err *err)
{
	const struct retro_hit *hit = place->hit;
	const struct retrohunt_scope scope = retro_scope(r->job);
	bool is_inside = place->file_id != hit->file_id, found, is_new;
	struct retrohunt_match_row match = { .job_id = r->job->id,
					     .file_id = place->file_id,
					     .rule = hit->rule->name,
					     .is_inside = is_inside };
	struct retrohunt_subject subject;

	if (inner->hit != hit)
		TRY(retrohunt_subject(conn, hit->file_id, &scope, &inner->subject, &inner->found,
				      err));
	inner->hit = hit;
	found = inner->found;
	subject = inner->subject;
	if (found && is_inside)
		TRY(retrohunt_subject(conn, place->file_id, &scope, &subject, &found, err));
	if (!found || !subject.in_scope)
		return 0;
	match.sha256 = subject.sha256;
	TRY(retrohunt_match_add(conn, &match,
				(int64_t)r->job->engine->svc->options.retrohunt_matches_max,
				&is_new, &r->full, err));
	if (!is_new)
		return 0;
	metric_add(METRIC_retrohunt_matches_total, 1);
	return tell_new(conn, r->job, hit, place->file_id, subject.sha256,
			is_inside ? inner->subject.sha256 : NULL, now_s, err);
}

/* If that was the last task, the job ends with it. */
static int end_in(struct sql_conn *conn, const struct retro_job *job, int64_t now_s, bool *ret_over,
		  struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("retrohunt end", 4 << 20);
	struct retrohunt_row row;
	bool left;

	TRY(retrohunt_has_tasks(conn, job->id, &left, err));
	*ret_over = !left;
	if (left)
		return 0;
	TRY(retrohunt_row_by_id(conn, job->id, arena, &row, err));
	return retrohunt_row_end(conn, job->id, RETROHUNT_ROW_FINISHED,
				 row.done.failed ? STR("skipped_files") : STR(""), STR(""), now_s,
				 err);
}

/* Failures are the first of them. */
static int skips_add(struct sql_conn *conn, const struct retro_job *job,
		     const struct retro_task *task, size_t max, struct err *err)
{
	for (size_t i = 0; i < task->skip_count && i < max; i++)
		TRY(retrohunt_skip_add(conn, job->id, task->skips[i].file_id, task->skips[i].reason,
				       i < task->failure_count, err));
	return 0;
}

static int task_end_in(struct sql_conn *conn, const struct retro_job *job,
		       const struct retro_task *task, struct err *err)
{
	bool mine;

	TRY(skips_add(conn, job, task, task->skip_count, err));
	TRY(retrohunt_task_done(conn, job->id, task->row.number, str_of(job->engine->svc->instance),
				&task->done, &mine, err));
	return mine ? 0 : err_set(err, ERR_CLOSED, "the task is another's");
}

static int tell_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct tell_req *r = (struct tell_req *)req;
	struct retro_job *job = r->job;
	int64_t now_s = clock_unix_s(job->engine->svc->clock);
	int64_t until_us = clock_mono_us(clock_system()) + TELL_US;
	struct inner inner = { .hit = NULL };
	bool live, held;

	r->over = r->full = false;
	r->told = 0;
	TRY(retrohunt_is_live(conn, job->id, &live, err));
	TRY(retrohunt_task_is_held(conn, job->id, r->task->row.number,
				   str_of(job->engine->svc->instance), &held, err));
	if (!live || !held)
		return err_set(err, ERR_CLOSED, "the job is over");
	/* Clients wait for the writer, too. */
	while (r->told < r->n && !r->full && (!r->told || clock_mono_us(clock_system()) < until_us))
		TRY(tell_place(conn, r, &r->places[r->told++], &inner, now_s, err));
	if (!r->ends || r->told < r->n || r->full)
		return 0;
	TRY(task_end_in(conn, job, r->task, err));
	return end_in(conn, job, now_s, &r->over, err);
}

static void job_ended(struct retro_job *job)
{
	lock_take(&job->engine->lock);
	job->over = true;
	job->stop = true;
	lock_drop(&job->engine->lock);
	log_record(LOG_INFO, "retrohunt_ended", LOG_Z("job", job->name));
}

/* A commit that is tried again while what hinders it may pass. */
static int commit(struct retro_job *job, struct write_req *req, struct err *err)
{
	struct retrohunt *e = job->engine;
	unsigned failures = 0;
	int rc;

	for (;;) {
		rc = writer_call(e->svc->writer, req, err);
		if (rc == 0)
			return 0;
		if (rc == -ERR_CLOSED || retro_is_stopping(e)) {
			lock_take(&e->lock);
			job->stop |= !e->stopping; /* somebody aborted or deleted it */
			lock_drop(&e->lock);
			return err_set(err, ERR_CLOSED, "the job is over");
		}
		log_event(LOG_WARN, "retrohunt_waits", LOG_Z("job", job->name),
			  LOG_Z("error", err->msg));
		failures += rc != -ERR_BUSY && rc != -ERR_NO_SPACE && rc != -ERR_IO;
		if (failures == TRIES_MAX) {
			retro_give_up(job, "scanner_failures",
				      "what was found could not be stored; the log says why");
			return err_set(err, ERR_CLOSED, "the job gives up");
		}
		retro_rest(e);
	}
}

/* How far it is, for one that ends before all is done. */
static struct retrohunt_done done_of(struct retro_job *job)
{
	struct retrohunt_done done;

	lock_take(&job->engine->lock);
	done = job->done;
	lock_drop(&job->engine->lock);
	return done;
}

/* ---- From hits to places: the containers around a file are read once, and not while writing ----
 */

struct telling {
	struct retro_job *job;
	struct retro_task *task;
	const struct retro_hit *hits;
	size_t n;
	size_t at;       /* the hit whose places come next … */
	size_t place;    /* … of which so many are gone: the file, then what is around it */
	int64_t *around; /* owned; of the file: */
	int64_t file_id; /* 0: none yet */
	size_t around_n;
	struct place places[RETRO_STEP_HITS];
};

static void telling_drop(struct telling *t)
{
	free(t->around);
}

static int around_read(struct telling *t, int64_t file_id, bool *ret_cut, struct err *err)
{
	const struct retrohunt_scope scope = retro_scope(t->job);
	struct service *svc = t->job->engine->svc;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = retrohunt_around(conn, file_id, &scope, &t->around, &t->around_n, ret_cut, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

/* ERR_CLOSED: the job is over before they could be had. */
static int around_have(struct telling *t, int64_t file_id, struct err *err)
{
	struct retro_job *job = t->job;
	bool cut = false;

	if (t->file_id == file_id)
		return 0;
	free(STEAL(t->around));
	t->around_n = 0;
	while (around_read(t, file_id, &cut, err) != 0) {
		if (job->stop || retro_is_stopping(job->engine))
			return err_set(err, ERR_CLOSED, "the job is over");
		log_event(LOG_WARN, "retrohunt_waits", LOG_Z("job", job->name),
			  LOG_Z("error", err->msg));
		retro_rest(job->engine);
	}
	t->file_id = file_id;
	if (cut)
		retro_file_skip(job, t->task, file_id,
				"it is in more containers than matches are told on");
	return 0;
}

/* The next ones that are told together. */
static int places_next(struct telling *t, size_t *ret_n, struct err *err)
{
	size_t n = 0;

	while (n < RETRO_STEP_HITS && t->at < t->n) {
		const struct retro_hit *hit = &t->hits[t->at];

		TRY(around_have(t, hit->file_id, err));
		while (n < RETRO_STEP_HITS && t->place <= t->around_n) {
			t->places[n++] = (struct place){ hit, t->place ? t->around[t->place - 1]
								       : hit->file_id };
			t->place++;
		}
		if (t->place > t->around_n) {
			t->at++;
			t->place = 0;
		}
	}
	*ret_n = n;
	return 0;
}

int retro_tell(struct retro_job *job, struct retro_task *task, const struct retro_hit *hits,
	       size_t n, bool ends, struct err *err)
{
	AUTO(telling_drop) struct telling t = { .job = job, .task = task, .hits = hits, .n = n };
	size_t ready = 0, told = 0; /* of t.places */

	do {
		struct tell_req r = { .req = { .apply = tell_apply, .lane = LANE_BULK },
				      .job = job,
				      .task = task };

		if (told == ready) {
			TRY(places_next(&t, &ready, err));
			told = 0;
		}
		r.places = t.places + told;
		r.n = ready - told;
		r.ends = ends && t.at == n;
		/* A client may be waiting for the end of a short job. */
		if (r.ends)
			r.req.lane = LANE_API;
		TRY(commit(job, &r.req, err));
		if (r.full) { /* it ends as soon as nobody is in it, so that all skips are named */
			retro_give_up(job, "match_limit", "");
			return err_set(err, ERR_CLOSED, "the job is full");
		}
		if (r.over) {
			job_ended(job);
			return 0;
		}
		told += r.told;
	} while (t.at < n || told < ready);
	return 0;
}

/* ---- Tasks of which nothing is to be verified ---- */

struct decided_req {
	struct write_req req; /* first */
	struct retro_job *job;
	struct retro_task *const *tasks;
	size_t n;
	bool over; /* the job has ended with them */
};

static int decided_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct decided_req *r = (struct decided_req *)req;
	int64_t now_s = clock_unix_s(r->job->engine->svc->clock);
	bool live;

	TRY(retrohunt_is_live(conn, r->job->id, &live, err));
	if (!live)
		return err_set(err, ERR_CLOSED, "the job is over");
	for (size_t i = 0; i < r->n; i++)
		TRY(task_end_in(conn, r->job, r->tasks[i], err));
	return end_in(conn, r->job, now_s, &r->over, err);
}

/* Take those that are decided out of the job's list, if no other may follow soon. */
static size_t decided_take(struct retro_job *job, struct retro_task **ret, size_t max)
{
	struct retrohunt *e = job->engine;
	size_t n = 0;
	bool waits = false;

	lock_take(&e->lock);
	for (const struct retro_task *t = job->tasks; t && !waits; t = t->next)
		waits = t->state == RETRO_CLAIMED || t->state == RETRO_PLANNING;
	for (struct retro_task **at = &job->tasks; *at && !waits && n < max;) {
		if ((*at)->state == RETRO_DECIDED) {
			ret[n++] = *at;
			*at = (*at)->next;
		} else {
			at = &(*at)->next;
		}
	}
	lock_drop(&e->lock);
	return n;
}

/* Their names of skipped files are for who ends the job. */
static void decided_give_back(struct retro_job *job, struct retro_task *const *tasks, size_t n)
{
	lock_take(&job->engine->lock);
	for (size_t i = 0; i < n; i++) {
		tasks[i]->next = job->tasks;
		job->tasks = tasks[i];
	}
	lock_drop(&job->engine->lock);
}

void retro_end_decided(struct retro_job *job)
{
	struct retro_task *tasks[RETRO_CLAIM_MAX];
	size_t n;

	while ((n = decided_take(job, tasks, RETRO_CLAIM_MAX)) > 0) {
		struct decided_req r = { .req = { .apply = decided_apply, .lane = LANE_API },
					 .job = job,
					 .tasks = tasks,
					 .n = n };
		struct err err;

		if (commit(job, &r.req, &err) != 0) {
			decided_give_back(job, tasks, n);
			return;
		}
		for (size_t i = 0; i < n; i++)
			retro_task_free(tasks[i]);
		if (r.over)
			job_ended(job);
	}
}

/* ---- The end of one that is stopped ---- */

struct end_req {
	struct write_req req; /* first */
	struct retro_job *job;
	struct retrohunt_done done;
};

static int end_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct end_req *r = (const struct end_req *)req;
	struct retro_job *job = r->job;
	int64_t now_s = clock_unix_s(job->engine->svc->clock);
	bool gave_up = job->reason[0] != 0, live;

	TRY(retrohunt_is_open(conn, job->id, &live, err));
	if (!live)
		return 0; /* it had ended in another way */
	/* Nobody is in it: its tasks are ours to read. As many as are shown; the rest is counted.
	 */
	for (const struct retro_task *t = job->tasks; t; t = t->next) {
		if (t->state >= RETRO_PLANNED)
			TRY(skips_add(conn, job, t, RETROHUNT_SKIPPED_SHOWN, err));
	}
	TRY(retrohunt_row_set_done(conn, job->id, &r->done, err));
	return retrohunt_row_end(
		conn, job->id, gave_up ? RETROHUNT_ROW_FINISHED : RETROHUNT_ROW_ABORTED,
		gave_up ? str_of(job->reason) : STR("aborted"), str_of(job->error), now_s, err);
}

int retro_end(struct retro_job *job, struct err *err)
{
	struct end_req r = { .req = { .apply = end_apply, .lane = LANE_API },
			     .job = job,
			     .done = done_of(job) };

	TRY(writer_call(job->engine->svc->writer, &r.req, err));
	background_wake(job->engine->svc); /* one that was deleted is swept now */
	log_record(LOG_INFO, "retrohunt_ended", LOG_Z("job", job->name),
		   LOG_Z("reason", job->reason[0] ? job->reason : "aborted"));
	return 0;
}

/* ---- Claims ---- */

struct claim_req {
	struct write_req req; /* first */
	struct retro_job *job;
	struct retrohunt_task_row *rows;
	size_t n;
	bool over; /* there was nothing to look at */
};

int retro_claim_in(struct service *svc, struct sql_conn *conn, int64_t job_id,
		   struct retrohunt_task_row *ret, size_t *ret_n, struct err *err)
{
	int64_t now_s = clock_unix_s(svc->clock);

	TRY(retrohunt_row_start(conn, job_id, now_s, err));
	return retrohunt_tasks_claim(conn, job_id, str_of(svc->instance), now_s + RETRO_LEASE_S,
				     ret, RETRO_CLAIM_MAX, ret_n, err);
}

static int claim_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct claim_req *c = (struct claim_req *)req;
	struct service *svc = c->job->engine->svc;
	int64_t now_s = clock_unix_s(svc->clock);
	bool live, left;

	TRY(retrohunt_is_live(conn, c->job->id, &live, err));
	if (!live)
		return err_set(err, ERR_CLOSED, "the job is over");
	TRY(retro_claim_in(svc, conn, c->job->id, c->rows, &c->n, err));
	TRY(retrohunt_has_tasks(conn, c->job->id, &left, err));
	c->over = !left;
	return c->over ? retrohunt_row_end(conn, c->job->id, RETROHUNT_ROW_FINISHED, STR(""),
					   STR(""), now_s, err)
		       : 0;
}

int retro_claim(struct retro_job *job, struct retrohunt_task_row *ret, size_t *ret_n,
		struct err *err)
{
	struct claim_req c = { .req = { .apply = claim_apply, .lane = LANE_API },
			       .job = job,
			       .rows = ret };

	TRY(writer_call(job->engine->svc->writer, &c.req, err));
	*ret_n = c.n;
	if (c.over)
		job_ended(job);
	return 0;
}
