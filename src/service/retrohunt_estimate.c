#include "service/retrohunt.h"

#include "base/json.h"
#include "base/mem.h"
#include "corpus.h"
#include "index/query.h"
#include "retrohunt_internal.h"
#include "ruleset_check.h"
#include "store/meta_file.h"

/* What a job would cost: its plan over every segment, without reading a sample. */

enum {
	ESTIMATE_ARENA_MAX = 96 << 20, /* rules, messages, the answer */
	ANSWER_BYTES_MAX = 32 << 20,   /* 65,536 strings of 1 MB of rules, each with its figures */
	ESTIMATE_MAX_MS = 30000,
	RATE_DEFAULT = 500, /* bytes in a microsecond and worker until some was measured */
	FIXED_US = 20000,   /* compile, plan and commits of a job that finds nothing */
	SLOW_PERCENT = 10,  /* a rule that leaves more of the corpus makes a job slow */
};

struct estimate {
	struct estimate *next; /* of those under way; under the engine's lock */
	struct service *svc;
	int64_t owner_id;
	struct arena *arena;
	struct retrohunt_new ask; /* checked, in the arena */
	struct ruleset_compiled compiled;
	struct plan *plan; /* NULL: nothing is known */
	struct str messages;
	retrohunt_estimated done;
	void *done_arg;
	int64_t until_us;
	/* figures */
	int64_t files, bytes;             /* of the corpus */
	int64_t loose_files, loose_bytes; /* in no segment */
	struct query_counters counters;
	struct query_left *strings, *rules; /* by the plan's; owned */
};

static void estimate_free(struct estimate *e)
{
	scan_rules_unref(e->compiled.rules);
	plan_unref(e->plan);
	free(e->strings);
	free(e->rules);
	arena_free(e->arena);
	free(e);
}

/* ---- Figures ---- */

static bool goes_on(void *arg)
{
	const struct estimate *e = arg;

	return clock_mono_us(clock_system()) < e->until_us &&
	       !retro_is_stopping(e->svc->retrohunt) && !retro_wish_is_over(e->ask.wish);
}

static int add_segment(struct estimate *e, const struct corpus_part *part, struct err *err)
{
	static const uint8_t one_group[PLAN_RULES_MAX] = { 0 };
	const struct query_filter filter = {
		.corpus = str_eq_z(e->ask.corpus, "goodware") ? SEGMENT_GOODWARE : SEGMENT_MAIN,
		.first_id = part->first_id,
		.last_id = part->last_id,
		.end_s = INT64_MAX, /* as a job's plan */
		.size_max = e->svc->options.hunt_bytes_max,
		.dead = part->dead,
		.groups = one_group,
		.features_version = e->svc->options.index.features_version,
		.wants_details = true,
		.goes_on = goes_on,
		.arg = e,
	};
	struct query_answer answer;
	int rc = query_run(e->plan, part->segment, &filter, &answer, err);

	if (rc == -ERR_CLOSED)
		return err_set(err, ERR_TIMEOUT, "the estimate takes longer than %d ms",
			       ESTIMATE_MAX_MS);
	TRY(rc);
	query_counters_add(&e->counters, &answer.counters);
	for (uint32_t i = 0; i < plan_strings(e->plan); i++)
		query_left_add(&e->strings[i], &answer.strings[i]);
	for (uint32_t i = 0; i < plan_rules(e->plan); i++)
		query_left_add(&e->rules[i], &answer.rules[i]);
	query_answer_release(&answer);
	return 0;
}

static int add_loose(struct estimate *e, const struct corpus_part *part, struct err *err)
{
	struct sql_conn *conn;
	int64_t files, bytes;
	int rc;

	TRY(sql_reader_take(&conn, e->svc->db, err));
	rc = file_runs_range(conn, e->ask.corpus, part->first_id, part->last_id, &files, &bytes,
			     err);
	sql_reader_give(e->svc->db, conn);
	TRY(rc);
	e->loose_files += files;
	e->loose_bytes += bytes;
	return 0;
}

/* Segments take a while: no connection is held meanwhile. */
static int add_parts(struct estimate *e, int64_t last_id, const struct corpus_snapshot *snapshot,
		     struct err *err)
{
	int64_t at = 1;
	struct corpus_part part;

	while (corpus_snapshot_next(snapshot, &at, last_id, &part)) {
		TRY(part.segment && e->plan ? add_segment(e, &part, err)
					    : add_loose(e, &part, err));
	}
	return 0;
}

static int figures(struct estimate *e, struct err *err)
{
	struct corpus_snapshot *snapshot;
	struct sql_conn *conn;
	int64_t last_id;
	int rc;

	e->plan = retro_plan_of(e->compiled.rules);
	if (e->plan) {
		e->strings = mem_must_zalloc((plan_strings(e->plan) + 1) * sizeof *e->strings);
		e->rules = mem_must_zalloc((plan_rules(e->plan) + 1) * sizeof *e->rules);
	}
	TRY(sql_reader_take(&conn, e->svc->db, err));
	rc = files_last_id(conn, &last_id, err);
	if (rc == 0)
		rc = file_runs_total(conn, e->ask.corpus, &e->files, &e->bytes, err);
	sql_reader_give(e->svc->db, conn);
	TRY(rc);
	snapshot = corpus_snapshot_take(e->svc);
	rc = add_parts(e, last_id, snapshot, err);
	corpus_snapshot_free(snapshot);
	return rc;
}

/* ---- The answer ---- */

static double seconds_of(const struct estimate *e, int64_t files, int64_t bytes)
{
	double workers = retrohunt_workers(&e->svc->options);
	double rate = retro_rate(e->svc);
	double us = FIXED_US + (double)e->counters.us;

	if (rate <= 0)
		rate = RATE_DEFAULT;
	us += ((double)bytes / rate + (double)files * RETRO_FILE_US) / (workers > 0 ? workers : 1);
	return us / 1e6;
}

/* Files that are in no segment are candidates of every rule. */
static void put_left(struct json *j, const struct estimate *e, const struct query_left *left)
{
	json_kv_i64(j, "candidate_files", (int64_t)left->docs + e->loose_files);
	json_kv_i64(j, "candidate_bytes", (int64_t)left->bytes + e->loose_bytes);
}

static void put_note(struct json *j, bool narrows, enum plan_note note)
{
	json_kv_bool(j, "narrows", narrows);
	if (!narrows && note != PLAN_NOTE_NONE)
		json_kv_z(j, "note", plan_note_text(note));
}

static void put_string(struct json *j, const struct estimate *e, uint32_t index)
{
	struct plan_string s;

	plan_string_get(e->plan, index, &s);
	json_obj(j);
	json_kv_str(j, "name", s.name);
	put_note(j, !s.is_always, s.note);
	put_left(j, e, &e->strings[index]);
	json_obj_end(j);
}

/* Files that are in no segment are candidates of every rule. */
static bool is_slow(const struct estimate *e, const struct query_left *left)
{
	return ((double)left->bytes + (double)e->loose_bytes) * 100 >
	       (double)e->bytes * SLOW_PERCENT;
}

static void put_rule(struct json *j, const struct estimate *e, uint32_t index)
{
	struct plan_rule r;
	const uint32_t *strings;
	uint32_t n;

	plan_rule_get(e->plan, index, &r);
	strings = plan_rule_strings(e->plan, index, &n);
	json_obj(j);
	json_kv_str(j, "name", r.name);
	put_note(j, !r.is_always, r.note);
	put_left(j, e, &e->rules[index]);
	json_kv_bool(j, "slow", is_slow(e, &e->rules[index]));
	json_key(j, "strings");
	json_arr(j);
	for (uint32_t i = 0; i < n; i++)
		put_string(j, e, strings[i]);
	json_arr_end(j);
	json_obj_end(j);
}

/* Where nothing is known of the rules each may match any file. */
static void put_unknown_rule(struct json *j, const struct estimate *e, const struct scan_rule *rule)
{
	const struct query_left none = { 0 };

	json_obj(j);
	json_kv_str(j, "name", rule->name);
	put_note(j, false, PLAN_NOTE_UNKNOWN);
	put_left(j, e, &none);
	json_kv_bool(j, "slow", is_slow(e, &none));
	json_key(j, "strings");
	json_arr(j);
	json_arr_end(j);
	json_obj_end(j);
}

static void put_rules(struct json *j, const struct estimate *e)
{
	uint32_t n = e->plan ? plan_rules(e->plan) : scan_rules_count(e->compiled.rules);

	json_key(j, "rules");
	json_arr(j);
	for (uint32_t i = 0; i < n; i++) {
		if (e->plan)
			put_rule(j, e, i);
		else
			put_unknown_rule(j, e, scan_rules_at(e->compiled.rules, i));
	}
	json_arr_end(j);
}

/* The names of those that make it slow, or of all where nothing is known of them. */
static void put_slow(struct json *j, const struct estimate *e)
{
	const struct query_left none = { 0 };
	struct plan_rule r;

	json_key(j, "slow_rules");
	json_arr(j);
	for (uint32_t i = 0; e->plan && i < plan_rules(e->plan); i++) {
		plan_rule_get(e->plan, i, &r);
		if (!(r.flags & PLAN_RULE_PRIVATE) && is_slow(e, &e->rules[i]))
			json_str(j, r.name);
	}
	for (uint32_t i = 0; !e->plan && i < scan_rules_count(e->compiled.rules); i++) {
		const struct scan_rule *rule = scan_rules_at(e->compiled.rules, i);

		if (!rule->is_private && is_slow(e, &none))
			json_str(j, rule->name);
	}
	json_arr_end(j);
}

static int write_answer(struct estimate *e, struct str *ret, struct err *err)
{
	AUTO(buf_release) struct buf out = BUF_INIT(ANSWER_BYTES_MAX);
	int64_t files = (int64_t)e->counters.candidates + e->loose_files;
	int64_t bytes = (int64_t)e->counters.candidate_bytes + e->loose_bytes;
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	json_kv_str(&j, "corpus", e->ask.corpus);
	json_kv_i64(&j, "number_of_rules", e->compiled.rule_count);
	json_kv_i64(&j, "total_files", e->files);
	json_kv_i64(&j, "total_bytes", e->bytes);
	json_kv_i64(&j, "not_indexed_files", e->loose_files);
	json_kv_i64(&j, "not_indexed_bytes", e->loose_bytes);
	json_kv_i64(&j, "candidate_files", files);
	json_kv_i64(&j, "candidate_bytes", bytes);
	json_key(&j, "seconds");
	json_f64(&j, seconds_of(e, files, bytes));
	put_slow(&j, e);
	put_rules(&j, e);
	json_obj_end(&j);
	json_end(&j);
	TRY(buf_check(&out, "the estimate", err));
	*ret = arena_str(e->arena, buf_str(&out));
	return 0;
}

/* ---- One a user at a time: each may take half a minute of a thread ---- */

static bool estimate_enter(struct estimate *e)
{
	struct retrohunt *engine = e->svc->retrohunt;
	const struct estimate *other;

	lock_take(&engine->lock);
	for (other = engine->estimates; other && other->owner_id != e->owner_id;)
		other = other->next;
	if (!other) {
		e->next = engine->estimates;
		engine->estimates = e;
	}
	lock_drop(&engine->lock);
	return !other;
}

static void estimate_leave(struct estimate *e)
{
	struct retrohunt *engine = e->svc->retrohunt;
	struct estimate **at = &engine->estimates;

	lock_take(&engine->lock);
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	lock_drop(&engine->lock);
}

/* ---- The way through ---- */

static int estimate_make(struct estimate *e, struct str *ret, struct err *err)
{
	TRY(retro_compile_new(e->svc, &e->ask, e->arena, &e->compiled, &e->messages, err));
	e->until_us = clock_mono_us(clock_system()) + INT64_C(1000) * ESTIMATE_MAX_MS;
	TRY(figures(e, err));
	return write_answer(e, ret, err);
}

static void estimate_run(void *arg)
{
	struct estimate *e = arg;
	struct str answer = STR("");
	struct err err = { 0 };
	int rc = estimate_make(e, &answer, &err);

	estimate_leave(e); /* who is answered may ask for the next one */
	e->done(answer, rc, &err, e->messages, e->done_arg);
	estimate_free(e);
}

int retrohunt_estimate(struct service *svc, int64_t owner_id, const struct retrohunt_new *ask,
		       retrohunt_estimated done, void *arg, struct err *err)
{
	struct estimate *e = mem_must_zalloc(sizeof *e);
	int rc;

	e->svc = svc;
	e->arena = arena_new("retrohunt estimate", ESTIMATE_ARENA_MAX);
	e->messages = STR("[]");
	e->done = done;
	e->done_arg = arg;
	e->owner_id = owner_id;
	rc = retro_check(ask, e->arena, &e->ask, err);
	if (rc == 0 && !estimate_enter(e))
		rc = err_set(err, ERR_EXISTS, "an estimate of yours is under way: wait for it");
	else if (rc == 0 && (rc = pool_run(svc->estimators, estimate_run, e, err)) != 0)
		estimate_leave(e);
	if (rc)
		estimate_free(e);
	return rc;
}
