#include "hunt.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/meta_live.h"
#include "unpack.h"

/*
 * Who killed or hung the child? Asked in this order, each in a fresh child:
 *
 *   1. the sample by itself (libmagic and all modules, no user's rules);
 *   2. the whole live set once more: it may have been bad luck (memory left over
 *      by earlier scans, a machine under load);
 *   3. rulesets that were accused lately, each alone, and then all others together;
 *   4. halves of the rulesets, until single ones stand alone. Those of too many
 *      users that do no harm to ordinary text clear each other: it is the sample.
 *
 * Every half that runs through gives its hits, so in the end all innocent
 * rulesets have been hunted and the guilty ones are named.
 *
 * Time. An inquiry into a hang would take the scan's whole time limit at every step
 * of halving. So all these scans have a shorter limit (inquiry_limit), which proves
 * nothing by itself: a half above it is halved on, and a single ruleset above it is
 * guilty only
 *   - if it alone, in a last scan, exceeds the whole limit; or
 *   - if it exceeds a third of that, and all the others of the very set whose scan had
 *     not ended took but a small part of its time together: the rest was this one's.
 * After INQUIRY_LIMITS of that limit the last scans are left out: what they were for
 * is named as not run, and accused of nothing.
 */

enum {
	BLAME_ARENA_MAX = 1 << 30, /* text of all rulesets while halves are compiled */
	BLAME_COMPILE_MS = 600000, /* as the live set */
	OWNERS_MAX = 3,  /* whose rulesets one sample harms scanners with; more: it is the sample */
	LIMIT_PART = 30, /* of the scan's time limit: an inquiry's scans get this, at least … */
	LIMIT_LEAST_MS = 1000,      /* … this */
	LIMIT_BYTES_PER_MS = 10000, /* and a large sample more, as if read at 10 MB/s */
	REST_PART = 10, /* all others took no more than this part of it: then it was one's own */
	PROOF_PART = 3, /* and this part, taken by it alone, is proof enough */
	INQUIRY_LIMITS = 4,
};

struct suspect {
	struct live_source source;
	int64_t owner_id;
	struct str rules;
};

struct accused {
	const struct suspect *suspect;
	struct str cause;
};

struct inquiry {
	struct service *svc;
	struct hunt_job *job;
	struct arena *arena;
	struct suspect *suspects;
	size_t count;
	struct str cause; /* of the last failure */
	/* harm with this sample, and not with an ordinary one */
	struct accused *accused;
	size_t accused_count;
	int64_t owners[OWNERS_MAX]; /* of those, each once */
	size_t owner_count;
	bool sample_is_it;
	/* time */
	uint32_t limit_ms; /* of its scans */
	uint64_t ran_us;   /* what those took that ran through, without accused rulesets */
	int64_t end_us;    /* no long scans after that */
	const struct suspect **slow; /* alone they exceed limit_ms */
	size_t slow_count;
	struct blame_memory *memory;
};

static uint32_t inquiry_limit(const struct service *svc, uint64_t sample_bytes)
{
	uint64_t all = svc->options.scan_timeout_ms;
	uint64_t ms = all / LIMIT_PART > LIMIT_LEAST_MS ? all / LIMIT_PART : LIMIT_LEAST_MS;

	ms += sample_bytes / LIMIT_BYTES_PER_MS;
	return (uint32_t)(ms < all ? ms : all);
}

static void inquiry_cause(struct inquiry *q, const struct err *err)
{
	q->cause = arena_str(q->arena, str_of(err->msg));
}

/* A child, however long it takes to get one: that none comes up proves nothing. ERR_CLOSED. */
static int take_child(struct inquiry *q, struct scan_child **ret, struct err *err)
{
	while (scan_child_take(ret, q->svc->scan, err) != 0) {
		if (hunt_stops(q->svc))
			return err_set(err, ERR_CLOSED, "stopping");
		log_event(LOG_WARN, "scan_child_failed", LOG_Z("error", err->msg));
		hunt_rest(q->svc);
	}
	return 0;
}

/* ---- One scan in a child of its own ---- */

static int scan_in(struct inquiry *q, struct scan_child *child,
		   struct scan_rules *const parts[SCAN_SLOTS_LIVE], struct scan_result *result,
		   struct err *err)
{
	struct scan_facts facts = hunt_job_facts(q->job);

	scan_child_limit(child, q->limit_ms);
	for (unsigned slot = 0; slot < SCAN_SLOTS_LIVE; slot++) {
		/* A child that survived may still hold what it was given before: NULL empties. */
		if (scan_loaded(child, slot) != parts[slot])
			TRY(scan_load(child, slot, parts[slot], err));
	}
	TRY(scan_send(child, &q->job->sample, &facts, SCAN_LIVE_SLOTS, err));
	return scan_recv(child, result, err);
}

enum ending {
	RAN,      /* through: the result is filled */
	HUNG,     /* longer than the limit of now */
	DESTROYED /* killed, or failed in the engine */
};

/* An error: it could not be tried. */
static int scan_once(struct inquiry *q, struct scan_rules *const parts[SCAN_SLOTS_LIVE],
		     struct scan_result *result, enum ending *ret, struct err *err)
{
	struct scan_child *child;
	unsigned tries = 0;
	bool again;
	int rc;

	do {
		TRY(take_child(q, &child, err));
		rc = scan_in(q, child, parts, result, err);
		again = struck_again(&tries, rc, child);
		scan_child_give(q->svc->scan, child);
	} while (again);
	*ret = rc == 0 ? RAN : rc == -ERR_TIMEOUT ? HUNG : DESTROYED;
	if (rc != -ERR_DIED && rc != -ERR_TIMEOUT && rc != -ERR_INVALID)
		return rc;
	inquiry_cause(q, err);
	return 0;
}

/* ---- Step 1 ---- */

static int sample_is_guilty(struct inquiry *q, bool *ret, struct err *err)
{
	struct scan_child *child;
	unsigned tries = 0;
	bool again;
	int rc;

	do {
		TRY(take_child(q, &child, err));
		rc = scan_probe(child, &q->job->sample, err);
		again = struck_again(&tries, rc, child);
		scan_child_give(q->svc->scan, child);
	} while (again);
	*ret = rc == -ERR_DIED || rc == -ERR_TIMEOUT;
	if (*ret) {
		inquiry_cause(q, err);
		return 0;
	}
	return rc;
}

/* ---- Step 2 ---- */

static int whole_set(struct inquiry *q, const struct live_set *set, bool *ret_ran, struct err *err)
{
	struct scan_rules *parts[SCAN_SLOTS_LIVE];
	struct scan_result result = { 0 };
	enum ending end;
	int rc;

	for (unsigned i = 0; i < SCAN_SLOTS_LIVE; i++)
		parts[i] = set->parts[i] ? set->parts[i]->rules : NULL;
	rc = scan_once(q, parts, &result, &end, err);
	*ret_ran = rc == 0 && end == RAN;
	if (*ret_ran)
		rc = hunt_job_take_hits(q->job, &result, set, err);
	scan_result_release(&result);
	return rc;
}

/* ---- Steps 3 and 4 ---- */

static int take_hits(struct inquiry *q, const struct suspect *suspects,
		     const struct scan_rules *rules, const struct scan_result *result,
		     struct err *err)
{
	for (size_t i = 0; i < result->hit_count; i++) {
		const struct scan_hit *hit = &result->hits[i];
		const struct scan_rule *rule = scan_rules_at(rules, hit->rule);

		if (!rule->is_private)
			TRY(hunt_job_add_hit(q->job, &suspects[rule->source].source, rule, hit,
					     err));
	}
	return 0;
}

static int compile_suspects(struct inquiry *q, const struct suspect *suspects, size_t n,
			    struct scan_rules **ret, struct err *err)
{
	const struct scan_compile_options options = { .entity = SCAN_FILE,
						      .timeout_ms = BLAME_COMPILE_MS };
	struct scan_source *sources = mem_must_zalloc(n * sizeof *sources);
	char(*names)[48] = mem_must_zalloc(n * sizeof *names);
	struct scan_child *child;
	unsigned tries = 0;
	bool again = true;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof names[i], "%lld.%lld",
			 (long long)suspects[i].source.ruleset_id,
			 (long long)suspects[i].source.version);
		sources[i] = (struct scan_source){ str_of(names[i]), suspects[i].rules };
	}
	*ret = NULL;
	while (again && (rc = take_child(q, &child, err)) == 0) {
		rc = scan_compile(child, sources, n, &options, ret, NULL, err);
		again = struck_again(&tries, rc, child);
		scan_child_give(q->svc->scan, child);
	}
	free(sources);
	free(names);
	return rc;
}

/* Scan with these alone; what they hit is kept if they run through. */
static int try_suspects(struct inquiry *q, const struct suspect *suspects, size_t n,
			enum ending *ret, struct err *err)
{
	struct scan_rules *parts[SCAN_SLOTS_LIVE] = { NULL };
	struct scan_result result = { 0 };
	int rc = compile_suspects(q, suspects, n, &parts[0], err);

	*ret = DESTROYED;
	if (rc == -ERR_DIED || rc == -ERR_TIMEOUT) {
		inquiry_cause(q, err);
		return 0;
	}
	if (rc == 0 && !parts[0]) {
		q->cause = STR("the rules do not compile any more");
		return 0;
	}
	if (rc == 0)
		rc = scan_once(q, parts, &result, ret, err);
	if (rc == 0 && *ret == RAN) {
		q->ran_us += result.scan_us;
		rc = take_hits(q, suspects, parts[0], &result, err);
	}
	scan_result_release(&result);
	scan_rules_unref(parts[0]);
	return rc;
}

/* Does this one harm the scanner with any sample? Tried with a few words of text. */
static int harms_anyway(struct inquiry *q, const struct suspect *suspect, bool *ret,
			struct err *err)
{
	static const char text[] = "An ordinary text, which nobody made to do harm.\n";
	struct scan_rules *parts[SCAN_SLOTS_LIVE] = { NULL };
	const struct scan_sample sample = q->job->sample;
	struct scan_result result = { 0 };
	int fd = memfd_create("ordinary", MFD_CLOEXEC);
	enum ending end = RAN;
	int rc;

	if (fd < 0 || write(fd, text, sizeof text) != (ssize_t)sizeof text) {
		rc = err_sys(err, errno, "making a sample in memory");
		if (fd >= 0)
			close(fd);
		return rc;
	}
	rc = compile_suspects(q, suspect, 1, &parts[0], err);
	*ret = rc == -ERR_DIED || rc == -ERR_TIMEOUT || (rc == 0 && !parts[0]);
	if (rc == 0 && parts[0]) {
		q->job->sample = (struct scan_sample){ fd, 0, sizeof text };
		rc = scan_once(q, parts, &result, &end, err);
		q->job->sample = sample;
		*ret = rc == 0 && end != RAN;
	}
	close(fd);
	scan_result_release(&result);
	scan_rules_unref(parts[0]);
	return *ret ? 0 : rc;
}

/* So that the next inquiry begins with it. */
static void remember(struct blame_memory *m, const struct live_source *source)
{
	size_t at = 0;

	while (at < m->count && (m->recent[at].ruleset_id != source->ruleset_id ||
				 m->recent[at].version != source->version))
		at++;
	if (at == m->count && m->count < BLAME_RECENT_MAX)
		m->count++;
	if (at == BLAME_RECENT_MAX)
		at--;
	memmove(m->recent + 1, m->recent, at * sizeof m->recent[0]);
	m->recent[0] = *source;
}

/*
 * One that stands alone. If the rulesets of many users, harmless otherwise, do harm
 * with this sample, then it was made for that: nobody's ruleset is to blame.
 */
static int accuse(struct inquiry *q, const struct suspect *suspect, struct err *err)
{
	struct str cause = q->cause;
	bool anyway, known = false;

	remember(q->memory, &suspect->source);
	TRY(harms_anyway(q, suspect, &anyway, err));
	if (anyway) {
		hunt_job_add_guilt(q->job, suspect->source.ruleset_id, suspect->source.version,
				   cause);
		return 0;
	}
	q->accused[q->accused_count++] = (struct accused){ suspect, cause };
	for (size_t i = 0; i < q->owner_count; i++)
		known = known || q->owners[i] == suspect->owner_id;
	if (known)
		return 0;
	q->sample_is_it = q->owner_count == OWNERS_MAX;
	if (!q->sample_is_it)
		q->owners[q->owner_count++] = suspect->owner_id;
	return 0;
}

static void sentence(struct inquiry *q)
{
	char reason[400];

	if (q->sample_is_it) {
		snprintf(reason, sizeof reason,
			 "harms the scanner with the rules of more than %d users; with the last: "
			 "%.300s",
			 OWNERS_MAX, q->cause.p);
		hunt_job_add_guilt(q->job, 0, 0, str_of(reason));
		return;
	}
	for (size_t i = 0; i < q->accused_count; i++)
		hunt_job_add_guilt(q->job, q->accused[i].suspect->source.ruleset_id,
				   q->accused[i].suspect->source.version, q->accused[i].cause);
}

/* One ruleset by itself: innocent, accused, or slow and to be judged at the end. */
static int try_one(struct inquiry *q, const struct suspect *suspect, struct err *err)
{
	enum ending end;

	TRY(try_suspects(q, suspect, 1, &end, err));
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	if (end == RAN)
		return 0;
	if (end == HUNG && q->limit_ms < q->svc->options.scan_timeout_ms) {
		q->slow[q->slow_count++] = suspect;
		return 0;
	}
	return accuse(q, suspect, err);
}

/* `is_known`: these together do harm, which was just seen. */
static int halve(struct inquiry *q, const struct suspect *suspects, size_t n, bool is_known,
		 struct err *err)
{
	enum ending end = HUNG;

	if (n == 0 || q->sample_is_it)
		return 0;
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	if (n == 1)
		return try_one(q, suspects, err);
	if (!is_known)
		TRY(try_suspects(q, suspects, n, &end, err));
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	if (end == RAN)
		return 0;
	TRY(halve(q, suspects, n / 2, false, err));
	return halve(q, suspects + n / 2, n - n / 2, false, err);
}

static bool is_remembered(const struct blame_memory *m, const struct live_source *s)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->recent[i].ruleset_id == s->ruleset_id && m->recent[i].version == s->version)
			return true;
	return false;
}

/* Those accused lately, first; they are taken out. */
static int try_remembered(struct inquiry *q, struct err *err)
{
	size_t first = 0;

	for (size_t i = 0; i < q->count; i++) {
		if (is_remembered(q->memory, &q->suspects[i].source)) {
			struct suspect s = q->suspects[first];

			q->suspects[first++] = q->suspects[i];
			q->suspects[i] = s;
		}
	}
	for (size_t i = 0; i < first && !q->sample_is_it; i++)
		TRY(try_one(q, &q->suspects[i], err));
	q->suspects += first;
	q->count -= first;
	return 0;
}

/* ---- The slow ones ---- */

static void name_unjudged(struct inquiry *q, const struct suspect *suspect)
{
	char what[64];

	snprintf(what, sizeof what, "hunting_ruleset %lld", (long long)suspect->source.ruleset_id);
	hunt_job_leave_out(q->job, str_of(what),
			   STR("took too long where there was no time left to look into it"));
}

/* Alone, with so much time. */
static int try_long(struct inquiry *q, const struct suspect *suspect, uint32_t limit_ms,
		    struct err *err)
{
	uint32_t short_ms = q->limit_ms;
	enum ending end;
	int rc;

	q->limit_ms = limit_ms;
	rc = try_suspects(q, suspect, 1, &end, err);
	q->limit_ms = short_ms;
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	return rc || end == RAN ? rc : accuse(q, suspect, err);
}

/*
 * Was it this one that the scan with all rulesets, these very ones, had no end for?
 * Then it need not show again that it takes all that time.
 */
static bool must_be_it(const struct inquiry *q)
{
	const uint64_t all_us = (uint64_t)q->svc->options.scan_timeout_ms * 1000;

	return q->slow_count == 1 && q->job->hung_generation == q->job->set->generation &&
	       q->ran_us <= all_us / REST_PART;
}

static int judge_slow(struct inquiry *q, struct err *err)
{
	uint32_t limit_ms = q->svc->options.scan_timeout_ms;

	if (must_be_it(q))
		limit_ms =
			limit_ms / PROOF_PART > q->limit_ms ? limit_ms / PROOF_PART : q->limit_ms;
	for (size_t i = 0; i < q->slow_count && !q->sample_is_it; i++) {
		if (clock_mono_us(clock_system()) < q->end_us)
			TRY(try_long(q, q->slow[i], limit_ms, err));
		else
			name_unjudged(q, q->slow[i]);
	}
	return 0;
}

static bool is_quarantined(const struct quarantine_row *rows, size_t n, const struct live_source *s)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].ruleset_id == s->ruleset_id && rows[i].version == s->version)
			return true;
	}
	return false;
}

/* Every ruleset of the set that this sample may still meet; the others are named again. */
static int gather(struct inquiry *q, struct sql_conn *conn, const struct live_set *set,
		  const struct quarantine_row *rows, size_t row_count, struct err *err)
{
	struct live_teller teller;
	size_t max = 0;

	for (unsigned i = 0; i < SCAN_SLOTS_LIVE; i++)
		max += set->parts[i] ? set->parts[i]->source_count : 0;
	q->suspects = arena_must(q->arena, (max + 1) * sizeof *q->suspects);
	q->accused = arena_must(q->arena, (max + 1) * sizeof *q->accused);
	q->slow = arena_must(q->arena, (max + 1) * sizeof *q->slow);
	for (unsigned slot = 0; slot < SCAN_SLOTS_LIVE; slot++) {
		const struct live_part *part = set->parts[slot];

		for (size_t i = 0; part && i < part->source_count; i++) {
			const struct live_source *s = &part->sources[i];
			struct suspect *to = &q->suspects[q->count];

			if (!live_set_counts(set, slot, (uint32_t)i))
				continue;
			if (is_quarantined(rows, row_count, s)) {
				hunt_job_add_guilt(q->job, s->ruleset_id, s->version,
						   STR("harmed the scanner on this file before"));
				continue;
			}
			TRY(live_teller(conn, s->ruleset_id, clock_unix_s(q->svc->clock), q->arena,
					&teller, err));
			to->source = *s;
			to->owner_id = teller.owner_id;
			TRY(live_version_rules(conn, s->ruleset_id, s->version, q->arena,
					       &to->rules, err));
			q->count++;
		}
	}
	return 0;
}

static int inquire_rulesets(struct inquiry *q, struct live_set *set, struct err *err)
{
	struct quarantine_row *rows;
	struct sql_conn *conn;
	size_t n;
	bool ran = false;
	int rc;

	TRY(sql_reader_take(&conn, q->svc->db, err));
	rc = quarantine_of(conn, q->job->row->file.id, q->arena, &rows, &n, err);
	if (rc == 0)
		rc = gather(q, conn, set, rows, n, err);
	sql_reader_give(q->svc->db, conn);
	if (rc)
		return rc;
	if (n == 0)
		TRY(whole_set(q, set, &ran, err));
	if (!ran) {
		size_t count = q->count;

		TRY(try_remembered(q, err));
		TRY(halve(q, q->suspects, q->count, n == 0 && q->count == count, err));
		TRY(judge_slow(q, err));
	}
	sentence(q);
	return 0;
}

/* What it is; a sample that resists is hunted without its facts. ERR_CLOSED. */
static int identify(struct inquiry *q, struct err *err)
{
	struct scan_identity id = { 0 };
	struct scan_child *child;
	unsigned tries = 0;
	bool again;
	int rc;

	do {
		TRY(take_child(q, &child, err));
		rc = scan_identify(child, &q->job->sample, &id, err);
		if (rc == 0)
			hunt_job_take_identity(q->job, &id);
		scan_identity_release(&id);
		again = struck_again(&tries, rc, child);
		scan_child_give(q->svc->scan, child);
	} while (again);
	if (rc)
		hunt_job_no_facts(q->job, str_of(err->msg));
	return 0;
}

static int inquire(struct inquiry *q, struct err *err)
{
	struct hunt_job *job = q->job;
	struct live_set *set;
	bool guilty;

	TRY(hunt_job_open(job, err));
	q->limit_ms = inquiry_limit(q->svc, job->sample.len);
	TRY(sample_is_guilty(q, &guilty, err));
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	if (guilty) {
		hunt_job_add_guilt(job, 0, 0, q->cause);
		return 0;
	}
	if (!job->examined && job->row->file.size <= q->svc->options.hunt_bytes_max)
		TRY(identify(q, err));
	set = liveset_take(q->svc, job->row->generation);
	if (!set)
		return err_set(err, ERR_CLOSED, "stopping");
	job->set = set;
	return inquire_rulesets(q, set, err);
}

void blame(struct service *svc, struct hunt_job *job, struct str cause, struct blame_memory *memory)
{
	int64_t start_us = clock_mono_us(clock_system());
	struct inquiry q = {
		.svc = svc,
		.job = job,
		.arena = arena_new("blame", BLAME_ARENA_MAX),
		.cause = cause,
		.memory = memory,
		.end_us = start_us + (int64_t)svc->options.scan_timeout_ms * 1000 * INQUIRY_LIMITS,
	};
	struct err err;
	int rc;

	log_event(LOG_INFO, "inquiry", LOG_I64("analysis", job->row->id), LOG_STR("cause", cause));
	crash_note(job->row->id);
	rc = inquire(&q, &err);
	crash_note(0);
	log_event(LOG_INFO, "inquiry_over", LOG_I64("analysis", job->row->id),
		  LOG_I64("guilty", (int64_t)job->guilt_count),
		  LOG_I64("duration_us", clock_mono_us(clock_system()) - start_us));
	if (rc == -ERR_CLOSED) {
		hunt_job_over(svc, job);
	} else if (rc) {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
	} else {
		unpack_or_complete(job);
	}
	arena_free(q.arena);
}
