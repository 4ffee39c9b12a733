#include "service/retrohunt.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "liveset.h"
#include "retrohunt_internal.h"
#include "ruleset_check.h"
#include "service/usage.h"
#include "store/meta_file.h"
#include "store/meta_ruleset.h"

enum {
	CREATION_ARENA_MAX = 96 << 20, /* rules, messages, a few tries of the writer */
	NAMES_MAX = 1 << 20,           /* jobs of one user in one second */
};

/*
 * A job on its way into the database:
 *
 *   asked --> compiling --accepted--> writing --> admitted, answered
 *                   \--refused--------------------------------^
 */
struct creation {
	struct write_req req; /* first: the writer hands it back */
	struct service *svc;
	struct user user;
	struct audit_by by;
	struct arena *arena;
	struct retrohunt_new ask; /* checked, in the arena */
	struct ruleset_compiled compiled;
	struct plan *plan;
	struct str messages;
	bool charged;
	retrohunt_done done;
	void *done_arg;
	/* outcome */
	char name[RETROHUNT_NAME_BYTES];
	struct retrohunt_row row;
	struct retrohunt_task_row tasks[RETRO_CLAIM_MAX]; /* the first, claimed */
	size_t task_count;
	int rc;
	struct err err;
};

/* ---- Checking what was asked ---- */

static int check_range(const struct retrohunt_new *ask, struct err *err)
{
	if (ask->start_s < 0 || ask->end_s < 0 || ask->start_s > RULESET_DATE_MAX ||
	    ask->end_s > RULESET_DATE_MAX)
		return err_set(err, ERR_INVALID,
			       "time_range has a time that is no number of seconds since 1970");
	if (ask->start_s && ask->end_s && ask->start_s > ask->end_s)
		return err_set(err, ERR_INVALID, "time_range ends before it starts");
	return 0;
}

int retro_check(const struct retrohunt_new *ask, struct arena *arena, struct retrohunt_new *ret,
		struct err *err)
{
	struct retrohunt_new c = *ask;

	if (!ask->rules.n)
		return err_set(err, ERR_INVALID, "a job needs rules");
	TRY(ruleset_text_check(ask->rules, err));
	c.rules = arena_str(arena, ask->rules);
	c.corpus = ask->corpus.n ? arena_str(arena, ask->corpus) : STR("main");
	if (!str_eq_z(c.corpus, "main") && !str_eq_z(c.corpus, "goodware"))
		return err_set(err, ERR_INVALID, "Valid corpora are: main,goodware");
	if (ask->keep_watching && !str_eq_z(c.corpus, "main"))
		return err_set(err, ERR_INVALID,
			       "keep_watching goes with the corpus main: what arrives is in it");
	TRY(check_range(ask, err));
	if (ask->keep_watching && ask->end_s)
		return err_set(err, ERR_INVALID,
			       "keep_watching goes on where a job ends now: time_range can have "
			       "no end");
	c.emails_json = STR("[]");
	if (ask->emails_json.n)
		TRY(emails_check(ask->emails_json, "notification_email", RETROHUNT_EMAILS_MAX,
				 arena, &c.emails_json, err));
	c.by = NULL;
	*ret = c;
	return 0;
}

/* ---- Who waits for rules ---- */

void retrohunt_wish_init(struct retrohunt_wish *w)
{
	*w = (struct retrohunt_wish){ 0 };
	lock_init(&w->lock, LOCK_RETROHUNT_WISH);
}

void retrohunt_wish_release(struct retrohunt_wish *w)
{
	lock_release(&w->lock);
}

void retrohunt_wish_end(struct retrohunt_wish *w)
{
	lock_take(&w->lock);
	w->over = true;
	if (w->child)
		scan_child_cancel(w->child);
	lock_drop(&w->lock);
}

bool retro_wish_is_over(struct retrohunt_wish *w)
{
	bool over;

	if (!w)
		return false;
	lock_take(&w->lock);
	over = w->over;
	lock_drop(&w->lock);
	return over;
}

/* ruleset_compile's show */
static bool wish_compiles(struct scan_child *child, void *arg)
{
	struct retrohunt_wish *w = arg;
	bool over;

	lock_take(&w->lock);
	over = w->over;
	w->child = over ? NULL : child;
	lock_drop(&w->lock);
	return !over;
}

int retro_compile_new(struct service *svc, const struct retrohunt_new *new, struct arena *arena,
		      struct ruleset_compiled *ret, struct str *messages, struct err *err)
{
	const struct ruleset_compile_ask ask = { .rules = new->rules,
						 .entity = STR("file"),
						 .retrohunt = true,
						 .rules_max = svc->options.retrohunt_rules_max,
						 .show = new->wish ? wish_compiles : NULL,
						 .arg = new->wish };

	return ruleset_compile(svc, &ask, arena, ret, messages, err);
}

/* ---- In the writer's transaction; it may run more than once ---- */

/* "<user>-<seconds>" or, not the first of its second, "<user>_<number>-<seconds>". */
static int name_try(struct sql_conn *conn, struct creation *c, uint32_t number, int64_t now_s,
		    bool *ret_taken, struct err *err)
{
	char user[sizeof c->user.name];
	size_t n = 0;

	for (const char *p = c->user.name; *p; p++)
		user[n++] = *p == '.' || *p == '-' ? '_' : *p;
	user[n] = 0;
	if (number == 1)
		snprintf(c->name, sizeof c->name, "%s-%lld", user, (long long)now_s);
	else
		snprintf(c->name, sizeof c->name, "%s_%u-%lld", user, number, (long long)now_s);
	return retrohunt_name_exists(conn, str_of(c->name), ret_taken, err);
}

/*
 * Of letters, digits and '_' but for the last '-'. Names are never given back, so those taken
 * in this second have the first numbers: a free one is found in few looks.
 */
static int name_make(struct sql_conn *conn, struct creation *c, int64_t now_s, struct err *err)
{
	uint32_t taken_to = 0, free_at = 1;
	bool taken;

	for (;;) {
		TRY(name_try(conn, c, free_at, now_s, &taken, err));
		if (!taken)
			break;
		if (free_at >= NAMES_MAX)
			return err_set(err, ERR_BUSY, "too many jobs in one second");
		taken_to = free_at;
		free_at *= 2;
	}
	while (free_at - taken_to > 1) {
		uint32_t middle = taken_to + (free_at - taken_to) / 2;

		TRY(name_try(conn, c, middle, now_s, &taken, err));
		*(taken ? &taken_to : &free_at) = middle;
	}
	return name_try(conn, c, free_at, now_s, &taken, err);
}

static int check_room(struct sql_conn *conn, const struct creation *c, struct err *err)
{
	int64_t max = c->svc->options.retrohunt_jobs_max, open;

	TRY(retrohunt_open_count(conn, c->user.id, &open, err));
	if (open >= max)
		return err_set(err, ERR_EXISTS, "%lld jobs are running, the maximum is %lld",
			       (long long)open, (long long)max);
	return retro_has_room(c->svc) ? 0 : err_set(err, ERR_BUSY, "too many jobs are running");
}

static int put_audit(struct sql_conn *conn, const struct creation *c, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	json_kv_str(&d.json, "corpus", c->ask.corpus);
	json_kv_i64(&d.json, "rules", c->compiled.rule_count);
	json_kv_bool(&d.json, "keep_watching", c->ask.keep_watching);
	return audit_write(c->svc, conn, &c->by, AUDIT_RETROHUNT_CREATE, str_of(c->name),
			   audit_detail_end(&d), err);
}

/* The ruleset that takes over what arrives from now on. */
static int put_ruleset(struct sql_conn *conn, struct creation *c, int64_t now_s, int64_t *ret_id,
		       struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	struct ruleset_row row = {
		.owner_id = c->user.id,
		.name = str_of(c->name),
		.rules = c->ask.rules,
		.enabled = true,
		.limit = (int64_t)c->svc->options.ruleset_limit_default,
		.entity = STR("file"),
		.emails = c->ask.emails_json,
		.tags = STR("[\"retrohunt\"]"),
		.rule_names = c->compiled.rule_names,
		.rule_count = c->compiled.rule_count,
	};
	char id[24];

	TRY(ruleset_insert(c->svc, conn, &row, now_s, c->arena, err));
	audit_detail_init(&d);
	json_kv_str(&d.json, "name", row.name);
	json_kv_bool(&d.json, "enabled", true);
	json_kv_i64(&d.json, "version", row.version);
	json_kv_i64(&d.json, "rules", row.rule_count);
	snprintf(id, sizeof id, "%lld", (long long)row.id);
	*ret_id = row.id;
	return audit_write(c->svc, conn, &c->by, AUDIT_RULESET_CREATE, str_of(id),
			   audit_detail_end(&d), err);
}

static int creation_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct creation *c = (struct creation *)req;
	int64_t now_s = clock_unix_s(c->svc->clock);
	struct retrohunt_row row = { .owner_id = c->user.id,
				     .rules = c->ask.rules,
				     .rule_count = c->compiled.rule_count,
				     .corpus = c->ask.corpus,
				     .emails = c->ask.emails_json,
				     .start_s = c->ask.start_s,
				     .end_s = c->ask.end_s,
				     .status = RETROHUNT_ROW_STARTING,
				     .created_s = now_s };

	TRY(check_room(conn, c, err));
	TRY(name_make(conn, c, now_s, err));
	row.name = str_of(c->name);
	/* The snapshot: what is there now, and from where on everything comes later. */
	TRY(files_last_id(conn, &row.last_id, err));
	TRY(counter_get(conn, "intake", &row.live_from, err));
	TRY(file_runs_total(conn, row.corpus, &row.files, &row.bytes, err));
	if (c->ask.keep_watching)
		TRY(put_ruleset(conn, c, now_s, &row.ruleset_id, err));
	TRY(retrohunt_row_insert(conn, &row, &row.id, err));
	if (row.ruleset_id)
		TRY(retrohunt_watch_add(conn, row.ruleset_id, row.id, row.live_from, err));
	TRY(retro_tasks_make(conn, row.id, row.corpus, row.last_id, err));
	/* Nobody else is at them yet. Who asked is told that the job starts. */
	c->task_count = 0;
	if (retrohunt_workers(&c->svc->options))
		TRY(retro_claim_in(c->svc, conn, row.id, c->tasks, &c->task_count, err));
	c->row = row;
	return put_audit(conn, c, err);
}

/* ---- The way through ---- */

static void creation_free(struct creation *c)
{
	scan_rules_unref(c->compiled.rules);
	plan_unref(c->plan);
	arena_free(c->arena);
	free(c);
}

/* Tell who asked; on a thread of the pool. */
static void creation_answer(void *arg)
{
	struct creation *c = arg;
	struct retrohunt_job job;

	if (c->rc && c->charged)
		usage_refund_one(c->svc, &c->user, QUOTA_RETROHUNT_JOBS_MONTH);
	if (c->rc == 0)
		retro_job_of_row(c->svc, &c->row, false, &job);
	c->done(c->rc == 0 ? &job : NULL, c->rc, &c->err, c->messages, c->done_arg);
	creation_free(c);
}

static void creation_written(struct write_req *req, int rc, const struct err *err)
{
	struct creation *c = (struct creation *)req;

	c->rc = rc;
	if (rc) {
		c->err = *err;
	} else {
		if (c->row.ruleset_id)
			liveset_changed(c->svc);
		retro_admit(c->svc, &c->row, c->compiled.rules, c->plan, c->tasks, c->task_count);
		log_record(LOG_INFO, "retrohunt_created", LOG_Z("job", c->name),
			   LOG_I64("user_id", c->user.id), LOG_I64("files", c->row.files));
	}
	if (service_run(c->svc, creation_answer, c, NULL) != 0)
		creation_answer(c); /* full or stopping: late is better than never */
}

static int creation_compile(struct creation *c, struct err *err)
{
	TRY(retro_compile_new(c->svc, &c->ask, c->arena, &c->compiled, &c->messages, err));
	if (retro_wish_is_over(c->ask.wish))
		return err_set(err, ERR_CLOSED, "nobody wants the job any more");
	c->plan = retro_plan_of(c->compiled.rules);
	TRY(usage_charge_one(c->svc, &c->user, QUOTA_RETROHUNT_JOBS_MONTH, err));
	c->charged = true;
	c->req.apply = creation_apply;
	c->req.done = creation_written;
	c->req.lane = LANE_API;
	return writer_submit(c->svc->writer, &c->req, err);
}

static void creation_run(void *arg)
{
	struct creation *c = arg;
	struct err err;
	int rc = creation_compile(c, &err);

	if (rc == 0)
		return; /* it is the writer's now, or gone already */
	c->rc = rc;
	c->err = err;
	creation_answer(c);
}

int retrohunt_create(struct service *svc, const struct user *user, const struct retrohunt_new *ask,
		     retrohunt_done done, void *arg, struct err *err)
{
	struct creation *c = mem_must_zalloc(sizeof *c);
	int rc;

	c->svc = svc;
	c->user = *user;
	c->arena = arena_new("retrohunt", CREATION_ARENA_MAX);
	c->messages = STR("[]");
	c->done = done;
	c->done_arg = arg;
	if (ask->by)
		c->by = *ask->by;
	else
		c->by.user_id = user->id;
	rc = retro_check(ask, c->arena, &c->ask, err);
	if (rc == 0)
		rc = pool_run(svc->compilers, creation_run, c, err);
	if (rc)
		creation_free(c);
	return rc;
}

/* ---- Aborting and deleting ---- */

struct stop_req {
	struct write_req req; /* first */
	struct service *svc;
	int64_t owner_id;
	struct str name;
	const struct audit_by *by;
	bool deletes;
	bool ends; /* nobody works at it: it has ended with this */
	/* outcome */
	int64_t id;
	bool stops; /* it was live, or is being aborted */
};

enum {
	STOP_ARENA_MAX = 4 << 20
};

static int stop_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("retrohunt stop", STOP_ARENA_MAX);
	struct stop_req *s = (struct stop_req *)req;
	struct retrohunt_row row;
	bool changed;

	TRY(retrohunt_row_get(conn, s->owner_id, s->name, arena, &row, err));
	s->id = row.id;
	s->stops = row.status < RETROHUNT_ROW_ABORTED;
	if (row.status == RETROHUNT_ROW_FINISHED && !s->deletes)
		return err_set(err, ERR_INVALID, "The job is finished");
	TRY(retrohunt_row_abort(conn, row.id, &changed, err));
	if (s->deletes)
		TRY(retrohunt_row_delete(conn, row.id, err));
	if (!changed && !s->deletes)
		return 0; /* aborted before */
	return audit_write(s->svc, conn, s->by,
			   s->deletes ? AUDIT_RETROHUNT_DELETE : AUDIT_RETROHUNT_ABORT, s->name,
			   STR(""), err);
}

static int stop_end_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct stop_req *s = (struct stop_req *)req;

	return retrohunt_row_end(conn, s->id, RETROHUNT_ROW_ABORTED, STR("aborted"), STR(""),
				 clock_unix_s(s->svc->clock), err);
}

static int stop_job(struct service *svc, int64_t owner_id, struct str name,
		    const struct audit_by *by, bool deletes, struct err *err)
{
	const struct audit_by self = { .user_id = owner_id };
	struct stop_req s = { .req = { .apply = stop_apply, .lane = LANE_API },
			      .svc = svc,
			      .owner_id = owner_id,
			      .name = name,
			      .by = by ? by : &self,
			      .deletes = deletes };

	TRY(writer_call(svc->writer, &s.req, err));
	if (s.stops && !retro_cancel(svc, s.id)) {
		s.req = (struct write_req){ .apply = stop_end_apply, .lane = LANE_API };
		TRY(writer_call(svc->writer, &s.req, err));
	} else if (s.stops) {
		retro_end_idle(svc, s.id); /* workers may be at others' jobs for long */
	}
	if (deletes)
		background_wake(svc);
	return 0;
}

int retrohunt_abort(struct service *svc, int64_t owner_id, struct str name,
		    const struct audit_by *by, struct err *err)
{
	return stop_job(svc, owner_id, name, by, false, err);
}

int retrohunt_delete(struct service *svc, int64_t owner_id, struct str name,
		     const struct audit_by *by, struct err *err)
{
	return stop_job(svc, owner_id, name, by, true, err);
}
