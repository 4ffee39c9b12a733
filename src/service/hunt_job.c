#include "hunt.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/json.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/utf8.h"
#include "bundle.h"
#include "inside.h"
#include "report.h"
#include "report_cache.h"
#include "scan/filetype.h"
#include "scan/vt_data.h"
#include "service/file_lists.h"
#include "snippet.h"
#include "store/meta_facts.h"
#include "store/meta_live.h"

enum {
	COMMIT_FAILURES_MAX =
		3, /* then the analysis completes and says that its matches are lost */
	JOB_ARENA_MAX = 128 << 20,    /* LIMIT_HITS_PER_FILE, each without snippet and tags … */
	FULL_HITS_BYTES = 32 << 20,   /* … after those with them that fit in here */
	COMPLETE_ARENA_MAX = 1 << 20, /* the file's row and names while completing */
	NOT_RUN_BYTES_MAX = 256 * 1024,
	VT_BYTES_MAX = VT_DATA_BYTES_MAX,
	FACT_TEXT_MAX = 4096,       /* a hash, or all tags */
	SUSPEND_AFTER_SAMPLES = 3,  /* distinct samples before a ruleset is switched off */
	SUSPEND_REASON_BYTES = 300, /* of the last failure, in what the owner is told */
};

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
}

void hunt_job_no_facts(struct hunt_job *job, struct str reason)
{
	job->examined = true;
	job->facts_failure = arena_str(job->arena, reason);
}

/* ---- What rules may ask ---- */

static struct str hex_of(struct arena *arena, const uint8_t *p, size_t n)
{
	char *text = arena_must(arena, 2 * n + 1);

	hex_encode(p, n, text);
	return str_make(text, 2 * n);
}

/* The text of a member of the facts, or of one of their objects; "" if it is not there. */
static struct str fact_text(struct hunt_job *job, struct str object, struct str member)
{
	AUTO(buf_release) struct buf text = BUF_INIT(FACT_TEXT_MAX);

	json_view_text(json_view_find(object, member), &text);
	return arena_str(job->arena, buf_str(&text));
}

/* "peexe 64bits overlay": the type's tag, then what was found. */
static struct str all_tags(struct hunt_job *job, const struct filetype *type)
{
	AUTO(buf_release) struct buf tags = BUF_INIT(FACT_TEXT_MAX);

	report_tags(&tags, job->identified ? type->vt : 0, job->tags);
	return arena_str(job->arena, buf_str(&tags));
}

/*
 * Seen for the first time: sent once and never found in a container before that, or only
 * found, and never analysed.
 */
static bool is_new(const struct file_row *file)
{
	if (file->times_submitted == 0)
		return file->last_analysis_s == 0;
	return file->times_submitted == 1 && file->first_submission_s == file->last_submission_s;
}

struct scan_facts hunt_job_facts(struct hunt_job *job)
{
	const struct file_row *file = &job->row->file;
	const struct filetype *type = filetype_by_id(job->file_type);
	struct str icon = json_view_find(job->facts, STR("main_icon"));
	AUTO(buf_release) struct buf vt = BUF_INIT(VT_BYTES_MAX);
	struct scan_facts facts = {
		.file_name = file->last_name,
		.file_type = str_of(type->tags),
		.md5 = hex_of(job->arena, file->hashes.md5, MD5_BYTES),
		.sha1 = hex_of(job->arena, file->hashes.sha1, SHA1_BYTES),
		.sha256 = hex_of(job->arena, file->hashes.sha256, SHA256_BYTES),
		.tags = all_tags(job, type),
		.imphash =
			fact_text(job, json_view_find(job->facts, STR("pe_info")), STR("imphash")),
		.ssdeep = fact_text(job, job->facts, STR("ssdeep")),
		.submissions = file->times_submitted,
		.new_file = is_new(file),
	};
	const struct vt_data known = {
		.sha256 = facts.sha256,
		.sha1 = facts.sha1,
		.md5 = facts.md5,
		.file_name = facts.file_name,
		.file_type = job->file_type,
		.file_size = file->size,
		.times_submitted = (uint32_t)file->times_submitted,
		.unique_sources = (uint32_t)file->unique_sources,
		.first_submission_date = file->first_submission_s,
		.new_file = facts.new_file,
		.subfile = job->row->parent_id != 0,
		.magic = job->magic,
		.tags = facts.tags,
		.imphash = facts.imphash,
		.ssdeep = facts.ssdeep,
		.tlsh = fact_text(job, job->facts, STR("tlsh")),
		.telfhash = fact_text(job, job->facts, STR("telfhash")),
		.exiftool = json_view_find(job->facts, STR("exiftool")),
		.icon_raw_md5 = fact_text(job, icon, STR("raw_md5")),
		.icon_dhash = fact_text(job, icon, STR("dhash")),
	};

	if (vt_data_encode(&known, &vt, NULL) == 0)
		facts.vt = arena_str(job->arena, buf_str(&vt));
	return facts;
}

/* ---- What was found ---- */

static void put_rule_tags(struct json *j, const struct scan_rule *rule)
{
	if (!rule->tag_count)
		return;
	json_key(j, "rule_tags");
	json_arr(j);
	for (uint32_t i = 0; i < rule->tag_count && i < HUNT_RULE_TAGS_MAX; i++)
		json_str(j, rule->tags[i]);
	json_arr_end(j);
}

static int hit_info(struct hunt_job *job, const struct scan_rule *rule, struct str snippet,
		    bool full, bool inside, struct str *ret, struct err *err)
{
	AUTO(buf_release) struct buf info = BUF_INIT(4 * LIMIT_SNIPPET_BYTES);
	char key[SOURCE_KEY_CHARS + 1], sha256[2 * SHA256_BYTES + 1];
	struct json j;

	source_key_format(job->row->user_id, key);
	json_init(&j, &info);
	json_obj(&j);
	json_kv_str(&j, "rule_name", rule->name);
	if (full)
		put_rule_tags(&j, rule);
	json_kv_z(&j, "match_source", inside ? "SUBFILE" : "ORIGINAL_FILE");
	json_kv_bool(&j, "match_in_subfile", inside);
	if (inside) {
		hex_encode(job->row->file.hashes.sha256, SHA256_BYTES, sha256);
		json_kv_z(&j, "subfile_sha256", sha256);
	}
	if (snippet.n)
		json_kv_str(&j, "snippet", snippet);
	json_kv_z(&j, "source_key", key);
	json_obj_end(&j);
	json_end(&j);
	TRY(buf_check(&info, "a match's context", err));
	*ret = arena_str(job->arena, buf_str(&info));
	return 0;
}

/* Of the file itself, and of those it lies in. */
static int hit_infos(struct hunt_job *job, const struct scan_rule *rule, const struct scan_hit *hit,
		     bool full, struct hunt_hit *to, struct err *err)
{
	AUTO(buf_release) struct buf snippet = BUF_INIT(LIMIT_SNIPPET_BYTES);

	if (full && hit->match_count)
		TRY(snippet_write(&snippet, job->svc->packs, &job->row->file.at, hit->matches,
				  hit->match_count, err));
	TRY(hit_info(job, rule, buf_str(&snippet), full, false, &to->info, err));
	if (job->row->parent_id)
		TRY(hit_info(job, rule, buf_str(&snippet), full, true, &to->info_inside, err));
	return 0;
}

int hunt_job_add_hit(struct hunt_job *job, const struct live_source *source,
		     const struct scan_rule *rule, const struct scan_hit *hit, struct err *err)
{
	bool full = arena_bytes(job->arena) < FULL_HITS_BYTES;
	struct hunt_hit *to;
	struct str *tags;

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
	to->rule_tag_count =
		rule->tag_count < HUNT_RULE_TAGS_MAX ? rule->tag_count : HUNT_RULE_TAGS_MAX;
	if (!full)
		to->rule_tag_count = 0;
	tags = arena_must(job->arena, (to->rule_tag_count + 1) * sizeof *tags);
	for (size_t i = 0; i < to->rule_tag_count; i++)
		tags[i] = arena_str(job->arena, rule->tags[i]);
	to->rule_tags = tags;
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
	return job->facts.n ? file_facts_put(conn, job->row->file.id, &facts, err) : 0;
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
