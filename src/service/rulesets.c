#include "service/rulesets.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "liveset.h"
#include "ruleset_check.h"
#include "ruleset_list.h"
#include "service_internal.h"
#include "store/meta_file.h"
#include "store/meta_limit.h"
#include "store/meta_ruleset.h"
#include "store/meta_user.h"

enum {
	JOB_ARENA_MAX = 96 << 20, /* rules old and new, messages, a few tries of the writer */
	ID_TRIES_MAX = 64,        /* random ids until a free one: 10^9 rulesets need two */
};
#define ID_MIN UINT64_C(1000000000) /* ten digits, as VirusTotal's look */
#define ID_SPAN UINT64_C(9000000000)

/*
 * A change on its way:
 *
 *   asked --(rules are set)--> compiling --accepted--> writing --> answered
 *     \------------------------------------------------^           ^
 *                               compiling --refused----------------/
 *
 * Invariants
 *  1. The rules that are committed are those that were compiled by this very job:
 *     text, names and count go together. The last writer wins.
 *  2. What hunting sees (text while live, live or not) changes with a generation
 *     in the same transaction, and the live set is told before the owner is.
 *  3. The job belongs to the caller, then to a thread of the pool, then to the
 *     writer, then to the pool again; never to two.
 */
enum job_kind {
	JOB_CREATE,
	JOB_UPDATE,
	JOB_DELETE
};

struct ruleset_job {
	struct write_req req; /* first: the writer hands it back */
	struct service *svc;
	enum job_kind kind;
	int64_t user_id;
	int64_t id;
	struct ruleset_change change; /* checked, in the arena */
	struct audit_by by;
	struct arena *arena;
	struct ruleset_compiled compiled;
	struct str messages;
	ruleset_holds holds; /* NULL: whatever it is now */
	ruleset_done done;
	void *done_arg;
	/* outcome */
	struct ruleset_row row;
	struct limit_view limit;
	bool live_changed;
	int rc;
	struct err err;
};

/* ---- In the writer's transaction; it may run more than once ---- */

static int apply_audit(struct sql_conn *conn, const struct ruleset_job *job,
		       enum audit_action action, const struct ruleset_row *row, struct err *err)
{
	static const char *const names[] = { "name",
					     "rules",
					     "enabled",
					     "limit",
					     "notification_emails",
					     "tags",
					     "match_object_type",
					     "scheduled_disable_date" };
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	char id[24];

	audit_detail_init(&d);
	snprintf(id, sizeof id, "%lld", (long long)row->id);
	json_kv_str(&d.json, "name", row->name);
	if (action != AUDIT_RULESET_DELETE) {
		json_key(&d.json, "set");
		json_arr(&d.json);
		for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
			if (job->change.set & 1u << i)
				json_z(&d.json, names[i]);
		}
		json_arr_end(&d.json);
		json_kv_bool(&d.json, "enabled", row->enabled);
		json_kv_i64(&d.json, "version", row->version);
		json_kv_i64(&d.json, "rules", row->rule_count);
	}
	return audit_write(job->svc, conn, &job->by, action, str_of(id), audit_detail_end(&d), err);
}

static int free_id(struct sql_conn *conn, int64_t *ret, struct err *err)
{
	bool taken = true;
	uint64_t random;
	int64_t id = 0;

	for (unsigned i = 0; i < ID_TRIES_MAX && taken; i++) {
		rand_bytes(&random, sizeof random);
		id = (int64_t)(ID_MIN + random % ID_SPAN);
		TRY(ruleset_row_exists(conn, id, &taken, err));
	}
	REQUIRE(!taken);
	*ret = id;
	return 0;
}

int ruleset_insert(struct service *svc, struct sql_conn *conn, struct ruleset_row *row,
		   int64_t now_s, struct arena *arena, struct err *err)
{
	struct user_row owner;
	int64_t generation;

	row->version = 1;
	row->created_s = now_s;
	row->modified_s = now_s;
	TRY(user_row_by_id(conn, row->owner_id, arena, &owner, err));
	row->owner = owner.name;
	TRY(free_id(conn, &row->id, err));
	TRY(user_rules_allowed(svc, conn, row, 0, true, err));
	TRY(counter_get(conn, "generation", &row->generation, err));
	row->generation += row->enabled; /* the row must be there before its generation's */
	TRY(ruleset_row_insert(conn, row, err));
	TRY(ruleset_version_add(conn, row->id, row->version, row->rules, err));
	if (row->limit == 0)
		TRY(limit_changed(conn, row->id, 0, now_s, err));
	if (!row->enabled)
		return 0;
	TRY(ruleset_generation_add(conn, row->id, row->version, "create", now_s, &generation, err));
	REQUIRE(generation == row->generation);
	return 0;
}

static int apply_create(struct sql_conn *conn, struct ruleset_job *job, int64_t now_s,
			struct err *err)
{
	const struct ruleset_change *c = &job->change;
	struct ruleset_row row = {
		.owner_id = job->user_id,
		.name = c->name,
		.rules = c->rules,
		.enabled = (c->set & RULESET_ENABLED) && c->enabled,
		.limit = c->set & RULESET_LIMIT ? c->limit
						: (int64_t)job->svc->options.ruleset_limit_default,
		.entity = c->set & RULESET_ENTITY ? c->entity : STR("file"),
		.emails = c->set & RULESET_EMAILS ? c->emails_json : STR("[]"),
		.tags = c->set & RULESET_TAGS ? c->tags_json : STR("[]"),
		.rule_names = job->compiled.rule_names,
		.rule_count = job->compiled.rule_count,
		.disable_s = c->set & RULESET_DISABLE ? c->disable_s : 0,
	};

	TRY(ruleset_insert(job->svc, conn, &row, now_s, job->arena, err));
	job->row = row;
	job->live_changed = row.enabled;
	return apply_audit(conn, job, AUDIT_RULESET_CREATE, &row, err);
}

/* Put the change on the row; *ret_version: it needs a new version. */
static void change_row(struct ruleset_row *row, const struct ruleset_job *job, bool *ret_version)
{
	const struct ruleset_change *c = &job->change;
	bool new_text = (c->set & RULESET_RULES) && !str_eq(c->rules, row->rules);
	bool resumes = (c->set & RULESET_ENABLED) && c->enabled && row->is_suspended;

	if (c->set & RULESET_NAME)
		row->name = c->name;
	if (c->set & RULESET_RULES) {
		row->rules = c->rules;
		row->rule_names = job->compiled.rule_names;
		row->rule_count = job->compiled.rule_count;
	}
	if (c->set & RULESET_LIMIT)
		row->limit = c->limit;
	if (c->set & RULESET_EMAILS)
		row->emails = c->emails_json;
	if (c->set & RULESET_TAGS)
		row->tags = c->tags_json;
	if (c->set & RULESET_ENABLED)
		row->enabled = c->enabled;
	if (c->set & RULESET_DISABLE)
		row->disable_s = c->disable_s;
	if (resumes) {
		row->is_suspended = false;
		row->suspended = STR("");
	}
	/* A resumed one gets a version too, so that what it was blamed for counts no more. */
	*ret_version = new_text || resumes;
}

/* What the caller knows of it is still so. */
static int row_check(struct sql_conn *conn, struct ruleset_job *job, const struct ruleset_row *row,
		     int64_t now_s, struct err *err)
{
	struct limit_view limit;
	struct ruleset r;

	if (!job->holds)
		return 0;
	TRY(limit_view(conn, row->id, now_s, &limit, err));
	ruleset_of_row(row, &limit, &r);
	return job->holds(&r, job->done_arg) ? 0
					     : err_set(err, ERR_EXISTS, "the ruleset has changed");
}

static int apply_update(struct sql_conn *conn, struct ruleset_job *job, int64_t now_s,
			struct err *err)
{
	const char *change = NULL;
	struct ruleset_row row;
	bool was_live, is_live, new_version;
	int64_t limit;
	int64_t was_rules;

	TRY(ruleset_row_get(conn, job->user_id, job->id, job->arena, &row, err));
	TRY(row_check(conn, job, &row, now_s, err));
	if ((job->change.set & RULESET_ENTITY) && !str_eq(job->change.entity, row.entity))
		return err_set(err, ERR_INVALID, "match_object_type cannot be changed");
	was_live = row.enabled && !row.is_suspended;
	limit = row.limit;
	was_rules = was_live ? row.rule_count : 0;
	change_row(&row, job, &new_version);
	is_live = row.enabled && !row.is_suspended;
	TRY(user_rules_allowed(job->svc, conn, &row, was_rules, false, err));
	if (new_version) {
		row.version++;
		TRY(ruleset_version_add(conn, row.id, row.version, row.rules, err));
	}
	if (was_live != is_live)
		change = is_live ? "enable" : "disable";
	else if (is_live && new_version)
		change = "edit";
	if (change)
		TRY(ruleset_generation_add(conn, row.id, row.version, change, now_s,
					   &row.generation, err));
	if (job->change.set) {
		row.modified_s = now_s;
		TRY(ruleset_row_update(conn, &row, err));
	}
	if (row.limit != limit)
		TRY(limit_changed(conn, row.id, row.limit, now_s, err));
	job->row = row;
	job->live_changed = change != NULL;
	return job->change.set ? apply_audit(conn, job, AUDIT_RULESET_CHANGE, &row, err) : 0;
}

static int apply_delete(struct sql_conn *conn, struct ruleset_job *job, int64_t now_s,
			struct err *err)
{
	struct ruleset_row row;
	bool was_live;

	TRY(ruleset_row_get(conn, job->user_id, job->id, job->arena, &row, err));
	TRY(row_check(conn, job, &row, now_s, err));
	was_live = row.enabled && !row.is_suspended;
	row.enabled = false;
	row.deleted = true;
	row.disable_s = 0;
	row.modified_s = now_s;
	if (was_live)
		TRY(ruleset_generation_add(conn, row.id, row.version, "delete", now_s,
					   &row.generation, err));
	TRY(ruleset_row_update(conn, &row, err));
	TRY(limit_forget(conn, row.id, err));
	job->row = row;
	job->live_changed = was_live;
	return apply_audit(conn, job, AUDIT_RULESET_DELETE, &row, err);
}

static int job_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct ruleset_job *job = (struct ruleset_job *)req;
	int64_t now_s = clock_unix_s(job->svc->clock);

	switch (job->kind) {
	case JOB_CREATE:
		TRY(apply_create(conn, job, now_s, err));
		break;
	case JOB_UPDATE:
		TRY(apply_update(conn, job, now_s, err));
		break;
	case JOB_DELETE:
		TRY(apply_delete(conn, job, now_s, err));
		break;
	}
	return limit_view(conn, job->row.id, now_s, &job->limit, err);
}

/* ---- The way through ---- */

static void job_free(struct ruleset_job *job)
{
	arena_free(job->arena);
	free(job);
}

/* Tell the owner; on a thread of the pool. */
static void job_answer(void *arg)
{
	struct ruleset_job *job = arg;
	struct ruleset r;

	if (job->rc == 0)
		ruleset_of_row(&job->row, &job->limit, &r);
	job->done(job->rc == 0 ? &r : NULL, job->rc, &job->err, job->messages, job->done_arg);
	job_free(job);
}

static void job_written(struct write_req *req, int rc, const struct err *err)
{
	struct ruleset_job *job = (struct ruleset_job *)req;

	job->rc = rc;
	if (rc)
		job->err = *err;
	else if (job->live_changed)
		liveset_changed(job->svc);
	if (service_run(job->svc, job_answer, job, NULL) != 0)
		job_answer(job); /* full or stopping: late is better than never */
}

static int job_write(struct ruleset_job *job, struct err *err)
{
	job->req.apply = job_apply;
	job->req.done = job_written;
	job->req.lane = LANE_API;
	return writer_submit(job->svc->writer, &job->req, err);
}

/* What the rules are matched against; also whether the user may see the ruleset at all. */
static int job_entity(struct ruleset_job *job, struct str *ret, struct err *err)
{
	struct sql_conn *conn;
	struct ruleset_row row;
	int rc;

	if (job->kind == JOB_CREATE) {
		*ret = job->change.set & RULESET_ENTITY ? job->change.entity : STR("file");
		return 0;
	}
	TRY(sql_reader_take(&conn, job->svc->db, err));
	rc = ruleset_row_get(conn, job->user_id, job->id, job->arena, &row, err);
	sql_reader_give(job->svc->db, conn);
	if (rc == 0)
		*ret = row.entity;
	return rc;
}

static int job_compile(struct ruleset_job *job, struct err *err)
{
	struct ruleset_compile_ask ask = { .rules = job->change.rules };

	TRY(job_entity(job, &ask.entity, err));
	TRY(ruleset_compile(job->svc, &ask, job->arena, &job->compiled, &job->messages, err));
	job->compiled.rules = scan_rules_unref(job->compiled.rules); /* hunted as a whole set */
	return job_write(job, err);
}

static void job_run(void *arg)
{
	struct ruleset_job *job = arg;
	struct err err;
	int rc = job_compile(job, &err);

	if (rc == 0)
		return; /* it is the writer's now, or gone already */
	job->rc = rc;
	job->err = err;
	job_answer(job);
}

static int job_start(struct service *svc, const struct ruleset_job *wanted,
		     const struct ruleset_change *change, const struct audit_by *by,
		     struct err *err)
{
	struct ruleset_job *job = mem_must_dup(wanted, sizeof *wanted);
	int rc = 0;

	job->svc = svc;
	job->arena = arena_new("ruleset change", JOB_ARENA_MAX);
	job->messages = STR("[]");
	if (by)
		job->by = *by;
	else
		job->by.user_id = job->user_id;
	if (change)
		rc = ruleset_change_check(change, job->kind == JOB_CREATE, clock_unix_s(svc->clock),
					  job->arena, &job->change, err);
	if (rc == 0 && (job->change.set & RULESET_RULES))
		rc = pool_run(svc->compilers, job_run, job, err);
	else if (rc == 0)
		rc = job_write(job, err);
	if (rc)
		job_free(job);
	return rc;
}

int ruleset_create(struct service *svc, int64_t owner_id, const struct ruleset_change *change,
		   ruleset_done done, void *arg, struct err *err)
{
	const struct ruleset_job job = {
		.kind = JOB_CREATE, .user_id = owner_id, .done = done, .done_arg = arg
	};

	return job_start(svc, &job, change, change->by, err);
}

int ruleset_update_if(struct service *svc, int64_t user_id, int64_t id,
		      const struct ruleset_change *change, ruleset_holds holds, ruleset_done done,
		      void *arg, struct err *err)
{
	const struct ruleset_job job = { .kind = JOB_UPDATE,
					 .user_id = user_id,
					 .id = id,
					 .holds = holds,
					 .done = done,
					 .done_arg = arg };

	return job_start(svc, &job, change, change->by, err);
}

int ruleset_update(struct service *svc, int64_t user_id, int64_t id,
		   const struct ruleset_change *change, ruleset_done done, void *arg,
		   struct err *err)
{
	return ruleset_update_if(svc, user_id, id, change, NULL, done, arg, err);
}

int ruleset_delete_if(struct service *svc, int64_t user_id, int64_t id, const struct audit_by *by,
		      ruleset_holds holds, ruleset_done done, void *arg, struct err *err)
{
	const struct ruleset_job job = { .kind = JOB_DELETE,
					 .user_id = user_id,
					 .id = id,
					 .holds = holds,
					 .done = done,
					 .done_arg = arg };

	return job_start(svc, &job, NULL, by, err);
}

int ruleset_delete(struct service *svc, int64_t user_id, int64_t id, const struct audit_by *by,
		   ruleset_done done, void *arg, struct err *err)
{
	return ruleset_delete_if(svc, user_id, id, by, NULL, done, arg, err);
}

/* ---- Looking ---- */

int ruleset_get(struct service *svc, int64_t user_id, int64_t id, struct arena *arena,
		struct ruleset *ret, struct err *err)
{
	struct limit_view limit;
	struct ruleset_row row;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = ruleset_row_get(conn, user_id, id, arena, &row, err);
	if (rc == 0)
		rc = limit_view(conn, id, clock_unix_s(svc->clock), &limit, err);
	sql_reader_give(svc->db, conn);
	if (rc == 0)
		ruleset_of_row(&row, &limit, ret);
	return rc;
}
