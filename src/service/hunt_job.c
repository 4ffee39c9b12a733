#include "hunt.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/utf8.h"
#include "bundle.h"
#include "inside.h"
#include "report.h"
#include "report_cache.h"
#include "match_info.h"
#include "sample_facts.h"
#include "snippet.h"
#include "store/meta_facts.h"
#include "store/meta_index.h"
#include "store/meta_live.h"

enum {
	COMMIT_FAILURES_MAX =
		3, /* then the analysis completes and says that its matches are lost */
	JOB_ARENA_MAX = 128 << 20,    /* LIMIT_HITS_PER_FILE, each without snippet and tags … */
	FULL_HITS_BYTES = 32 << 20,   /* … after those with them that fit in here */
	COMPLETE_ARENA_MAX = 1 << 20, /* the file's row and names while completing */
	NOT_RUN_BYTES_MAX = 256 * 1024,
	SUSPEND_AFTER_SAMPLES = 3,  /* distinct samples before a ruleset is switched off */
	SUSPEND_REASON_BYTES = 300, /* of the last failure, in what the owner is told */
};
_Static_assert((size_t)SCAN_FEATURES_MAX <= (size_t)FEATURES_MAX, "what is extracted is stored");

/* ---- Life ---- */

void claim_batch_unref(struct claim_batch *batch)
{
	if (atomic_fetch_sub(&batch->refs, 1) != 1)
		return;
	arena_free(batch->arena);
	free(batch);
}

struct hunt_job *hunt_job_new(struct service *svc, struct claim_batch *batch, size_t index)
{
	struct hunt_job *job = mem_must_zalloc(sizeof *job);

	atomic_fetch_add(&batch->refs, 1);
	job->svc = svc;
	job->batch = batch;
	job->row = &batch->rows[index];
	job->hung_generation = -1;
	job->arena = arena_new("hunt job", JOB_ARENA_MAX);
	buf_init(&job->settled, SHA256_BYTES * BUNDLE_DEPTH_MAX);
	job->identified = job->row->file.identified;
	job->file_type = job->row->file.file_type;
	job->magic = job->row->file.magic;
	job->mime = job->row->file.mime;
	return job;
}

void hunt_job_free(struct hunt_job *job)
{
	if (!job)
		return;
	if (job->pack)
		pack_file_put(job->svc->packs, job->pack);
	live_set_unref(job->set);
	buf_release(&job->settled);
	arena_free(job->arena);
	claim_batch_unref(job->batch);
	free(job);
}

int hunt_job_open(struct hunt_job *job, struct err *err)
{
	const struct pack_locator *at = &job->row->file.at;

	if (job->pack)
		return 0;
	TRY(packs_get(job->svc->packs, at->pack, &job->pack, err));
	job->sample = (struct scan_sample){ pack_file_fd(job->pack), at->offset, at->len };
	return 0;
}

void hunt_job_take_identity(struct hunt_job *job, const struct scan_identity *id)
{
	job->identified = true;
	job->examined = true;
	job->file_type = id->file_type;
	job->magic = arena_str(job->arena, id->magic);
	job->mime = arena_str(job->arena, id->mime);
	job->facts = arena_str(job->arena, id->facts);
	job->tags = arena_str(job->arena, id->tags);
	job->facts_failure = arena_str(job->arena, id->failure);
	job->features_version = id->features_version;
	job->feature_count = id->feature_count;
	job->features = arena_must(job->arena, (id->feature_count + 1) * sizeof *job->features);
	if (id->feature_count)
		memcpy(job->features, id->features, id->feature_count * sizeof *job->features);
}

void hunt_job_no_facts(struct hunt_job *job, struct str reason)
{
	job->examined = true;
	job->facts_failure = arena_str(job->arena, reason);
}

/* ---- What rules may ask ---- */

struct scan_facts hunt_job_facts(struct hunt_job *job)
{
	const struct sample_known known = { .file = &job->row->file,
					    .identified = job->identified,
					    .file_type = job->file_type,
					    .magic = job->magic,
					    .facts = job->facts,
					    .tags = job->tags,
					    .is_inside = job->row->parent_id != 0 };

	return sample_facts(&known, job->arena);
}

/* ---- What was found ---- */

/* Of the file itself, and of those it lies in. */
static int hit_infos(struct hunt_job *job, const struct scan_rule *rule, const struct scan_hit *hit,
		     bool full, struct hunt_hit *to, struct err *err)
{
	AUTO(buf_release) struct buf snippet = BUF_INIT(LIMIT_SNIPPET_BYTES);
	struct match_facts facts = { .rule = rule,
				     .with_tags = full,
				     .user_id = job->row->user_id };

	if (full && hit->match_count)
		TRY(snippet_write(&snippet, job->svc->packs, &job->row->file.at, hit->matches,
				  hit->match_count, err));
	facts.snippet = buf_str(&snippet);
	TRY(match_info(&facts, job->arena, &to->info, err));
	if (!job->row->parent_id)
		return 0;
	facts.subfile = job->row->file.hashes.sha256;
	return match_info(&facts, job->arena, &to->info_inside, err);
}

int hunt_job_add_hit(struct hunt_job *job, const struct live_source *source,
		     const struct scan_rule *rule, const struct scan_hit *hit, struct err *err)
{
	bool full = arena_bytes(job->arena) < FULL_HITS_BYTES;
	struct hunt_hit *to;

	if (job->hit_count == LIMIT_HITS_PER_FILE) {
		job->hits_cut = true;
		return 0;
	}
	if (job->hit_count == job->hit_cap) {
		size_t cap = job->hit_cap ? 2 * job->hit_cap : 8;
		struct hunt_hit *bigger = arena_must(job->arena, cap * sizeof *bigger);
		if (job->hit_count)
			memcpy(bigger, job->hits, job->hit_count * sizeof *bigger);
		job->hits = bigger;
		job->hit_cap = cap;
	}
	to = &job->hits[job->hit_count];
	*to = (struct hunt_hit){ .ruleset_id = source->ruleset_id,
				 .version = source->version,
				 .rule = arena_str(job->arena, rule->name) };
	TRY(hit_infos(job, rule, hit, full, to, err));
	if (full)
		to->rule_tags = match_tags(rule, job->arena, &to->rule_tag_count);
	job->hit_count++;
	return 0;
}

int hunt_job_take_hits(struct hunt_job *job, const struct scan_result *result,
		       const struct live_set *set, struct err *err)
{
	for (size_t i = 0; i < result->hit_count; i++) {
		const struct scan_hit *hit = &result->hits[i];
		const struct live_part *part = set->parts[hit->slot];
		const struct scan_rule *rule;

		REQUIRE(part);
		rule = scan_rules_at(part->rules, hit->rule);
		if (rule->is_private || !live_set_counts(set, hit->slot, rule->source))
			continue;
		TRY(hunt_job_add_hit(job, &part->sources[rule->source], rule, hit, err));
	}
	return 0;
}

void hunt_job_add_guilt(struct hunt_job *job, int64_t ruleset_id, int64_t version,
			struct str reason)
{
	if (!job->guilt)
		job->guilt = arena_must(job->arena, HUNT_GUILT_MAX * sizeof *job->guilt);
	if (job->guilt_count == HUNT_GUILT_MAX)
		return;
	job->guilt[job->guilt_count++] =
		(struct hunt_guilt){ .ruleset_id = ruleset_id,
				     .version = version,
				     .reason = arena_str(job->arena, reason) };
}

void hunt_job_leave_out(struct hunt_job *job, struct str what, struct str reason)
{
	if (!job->left_out)
		job->left_out = arena_must(job->arena, HUNT_GUILT_MAX * sizeof *job->left_out);
	if (job->left_out_count < HUNT_GUILT_MAX)
		job->left_out[job->left_out_count++] =
			(struct hunt_left_out){ arena_str(job->arena, what),
						arena_str(job->arena, reason) };
}

void hunt_job_skip(struct hunt_job *job, struct str reason)
{
	job->skipped = true;
	job->skipped_reason = arena_str(job->arena, reason);
}

void hunt_job_reset(struct hunt_job *job)
{
	job->hit_count = 0;
	job->hits_cut = false;
	job->told = 0;
	job->guilt_count = 0;
	job->left_out_count = 0;
}

/* ---- Completing: all below runs on the writer's thread ---- */

static void not_run_entry(struct json *j, struct str what, struct str reason)
{
	json_obj(j);
	json_kv_str(j, "what", what);
	json_kv_str(j, "reason", reason);
	json_obj_end(j);
}

static void not_run_json(const struct hunt_job *job, struct buf *out)
{
	char what[64];
	struct json j;

	size_t lacks = job->opened ? job->opened->lack_count : 0;

	if (!job->skipped && !job->hits_cut && !job->guilt_count && !job->left_out_count &&
	    !job->facts_failure.n && !lacks)
		return;
	json_init(&j, out);
	json_arr(&j);
	if (job->skipped)
		not_run_entry(&j, STR("hunting"), job->skipped_reason);
	if (job->facts_failure.n)
		not_run_entry(&j, STR("facts"), job->facts_failure);
	if (job->hits_cut) {
		snprintf(what, sizeof what, "more than %d rules match: the others are not told",
			 LIMIT_HITS_PER_FILE);
		not_run_entry(&j, STR("hunting"), str_of(what));
	}
	for (size_t i = 0; i < job->left_out_count; i++)
		not_run_entry(&j, job->left_out[i].what, job->left_out[i].reason);
	for (size_t i = 0; i < job->guilt_count; i++) {
		const struct hunt_guilt *g = &job->guilt[i];

		if (g->ruleset_id)
			snprintf(what, sizeof what, "hunting_ruleset %lld",
				 (long long)g->ruleset_id);
		else
			snprintf(what, sizeof what, "sample");
		not_run_entry(&j, str_of(what), g->reason);
	}
	for (size_t i = 0; i < lacks; i++)
		not_run_entry(&j, STR("unpack"), job->opened->lacks[i]);
	json_arr_end(&j);
	json_end(&j);
}

static int keep_guilt(struct sql_conn *conn, struct hunt_job *job, int64_t now_s, struct err *err)
{
	for (size_t i = 0; i < job->guilt_count; i++) {
		struct hunt_guilt *g = &job->guilt[i];
		struct str last = utf8_cut(g->reason, SUSPEND_REASON_BYTES);
		char reason[SUSPEND_REASON_BYTES + 100];
		int64_t samples;

		TRY(quarantine_add(conn, job->row->file.id, g->ruleset_id, g->version, g->reason,
				   now_s, err));
		metric_add(METRIC_quarantines_total, 1);
		if (!g->ruleset_id)
			continue;
		TRY(quarantine_samples(conn, g->ruleset_id, g->version, &samples, err));
		if (samples < SUSPEND_AFTER_SAMPLES)
			continue;
		snprintf(reason, sizeof reason,
			 "harmed the scanner on %lld different files; the last time: " STR_FMT,
			 (long long)samples, STR_ARG(last));
		TRY(live_suspend(conn, g->ruleset_id, g->version, str_of(reason), now_s,
				 &g->suspends, err));
		if (g->suspends)
			metric_add(METRIC_rulesets_suspended_total, 1);
	}
	return 0;
}

static int keep_identity(struct sql_conn *conn, const struct hunt_job *job, struct err *err)
{
	const struct file_facts facts = { job->facts, job->tags };

	TRY(file_row_set_identity(conn, job->row->file.id, job->file_type, job->magic, job->mime,
				  err));
	/* Where there are none now, those found before still hold: the content is the same. */
	if (job->facts.n)
		TRY(file_facts_put(conn, job->row->file.id, &facts, err));
	return job->features_version
		       ? file_features_put(conn, job->row->file.id, job->features_version,
					   job->features, job->feature_count, err)
		       : 0;
}

/* The row of the analysis: completed, or waiting for what it found inside. */
static int complete_row(struct sql_conn *conn, const struct hunt_job *job, int64_t now_s,
			bool *ret_mine, bool *ret_waits, struct err *err)
{
	AUTO(buf_release) struct buf not_run = BUF_INIT(NOT_RUN_BYTES_MAX);
	struct str owner = str_of(job->svc->instance);
	int64_t generation = job->set ? job->set->generation : job->row->generation;

	not_run_json(job, &not_run);
	TRY(buf_check(&not_run, "what was not run", err));
	*ret_waits = false;
	if (job->opened)
		TRY(bundle_has_open(conn, job->row->id, ret_waits, err));
	if (*ret_waits)
		return bundle_wait(conn, job->row->id, owner, generation, buf_str(&not_run),
				   ret_mine, err);
	return analysis_complete(conn, job->row->id, owner, generation, buf_str(&not_run), now_s,
				 ret_mine, err);
}

static int complete_container(struct sql_conn *conn, const struct hunt_job *job, bool waits,
			      struct arena *arena, struct err *err)
{
	if (job->opened && job->opened->info.listing.n) {
		TRY(bundle_info_put(conn, job->row->file.id, &job->opened->info, err));
		TRY(bundle_describe(conn, job->row->file.id, arena, err));
	}
	if ((job->opened || job->row->has_unpacking) && !waits && !job->row->parent_id)
		TRY(bundle_forget(conn, job->row->id, err));
	return 0;
}

static int complete_in(struct sql_conn *conn, struct hunt_job *job, int64_t now_s, bool *ret_mine,
		       bool *ret_waits, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("complete", COMPLETE_ARENA_MAX);

	TRY(complete_row(conn, job, now_s, ret_mine, ret_waits, err));
	if (!*ret_mine)
		return 0; /* removed, or given to somebody else, meanwhile */
	if (job->examined && job->identified)
		TRY(keep_identity(conn, job, err));
	TRY(complete_container(conn, job, *ret_waits, arena, err));
	return report_refresh(conn, job->row->file.id, *ret_waits ? 0 : now_s, now_s, arena, err);
}

static int complete_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct hunt_job *job = (struct hunt_job *)req;
	int64_t now_s = clock_unix_s(job->svc->clock);
	bool mine, waits = false;

	crash_note(job->row->id);
	buf_reset(&job->settled);
	if (!job->is_last_step)
		TRY(analysis_is_held(conn, job->row->id, str_of(job->svc->instance), &mine, err));
	else
		TRY(complete_in(conn, job, now_s, &mine, &waits, err));
	if (!mine)
		return 0;
	TRY(hunt_job_tell_step(conn, job, now_s, err));
	if (!job->is_last_step)
		return 0;
	TRY(keep_guilt(conn, job, now_s, err));
	if (job->row->parent_id && !waits)
		TRY(bundle_settle(conn, job->row->parent_id, now_s, &job->settled, err));
	return 0;
}

static void log_guilt(const struct hunt_job *job)
{
	char sha256[2 * SHA256_BYTES + 1];

	hex_encode(job->row->file.hashes.sha256, SHA256_BYTES, sha256);
	for (size_t i = 0; i < job->guilt_count; i++) {
		const struct hunt_guilt *g = &job->guilt[i];

		log_record(LOG_WARN, "quarantined", LOG_Z("sha256", sha256),
			   LOG_I64("ruleset", g->ruleset_id), LOG_I64("version", g->version),
			   LOG_STR("reason", g->reason));
		if (g->suspends)
			log_record(LOG_WARN, "ruleset_suspended", LOG_I64("ruleset", g->ruleset_id),
				   LOG_STR("reason", g->reason));
	}
}

/* Will the same commit fail again however long we wait? */
static bool is_lasting(int rc)
{
	return rc != -ERR_BUSY && rc != -ERR_NO_SPACE && rc != -ERR_IO && rc != -ERR_CLOSED;
}

static void complete_done(struct write_req *req, int rc, const struct err *err)
{
	struct hunt_job *job = (struct hunt_job *)req;

	crash_note(0);
	if (rc) {
		if (is_lasting(rc) && !job->skipped && ++job->failures >= COMMIT_FAILURES_MAX) {
			hunt_job_reset(job);
			hunt_job_skip(job,
				      STR("what was found could not be stored; the log says why"));
		}
		log_event(LOG_ERROR, "analysis_not_completed", LOG_I64("analysis", job->row->id),
			  LOG_Z("error", err->msg));
		hunt_job_retry(job->svc, job);
		return;
	}
	job->told += job->telling;
	if (!job->is_last_step) {
		hunt_job_complete(job);
		return;
	}
	report_cache_drop(job->svc->reports, job->row->file.hashes.sha256);
	settled_drop(job->svc, &job->settled);
	metric_add(METRIC_analyses_done_total, 1);
	if (job->guilt_count) {
		metric_add(METRIC_analyses_failed_total, 1);
		log_guilt(job);
		liveset_changed(job->svc); /* somebody may have been suspended */
	}
	hunt_job_over(job->svc, job);
}

void hunt_job_complete(struct hunt_job *job)
{
	struct err err;

	job->is_last_step = job->hit_count - job->told <= HUNT_STEP_HITS;
	job->telling = job->is_last_step ? job->hit_count - job->told : HUNT_STEP_HITS;
	job->req.apply = complete_apply;
	job->req.done = complete_done;
	/* While others are under way nobody notices 10 ms, and a commit is shared by many. */
	job->req.lane = hunt_held(job->svc) > 1 || !job->is_last_step ? LANE_BULK : job->row->lane;
	if (writer_submit(job->svc->writer, &job->req, &err) != 0) {
		log_event(LOG_WARN, "analysis_waits", LOG_I64("analysis", job->row->id),
			  LOG_Z("error", err.msg));
		hunt_job_retry(job->svc, job);
	}
}
