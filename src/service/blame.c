#include "hunt.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/meta_live.h"

/*
 * Who killed or hung the child? Asked in this order, each in a fresh child:
 *
 *   1. the sample by itself (libmagic and all modules, no user's rules);
 *   2. the whole live set once more: it may have been bad luck (memory left over
 *      by earlier scans, a machine under load);
 *   3. halves of the rulesets, until single ones stand alone. Those of too many
 *      users that do no harm to ordinary text clear each other: it is the sample.
 *
 * Every half that runs through gives its hits, so in the end all innocent
 * rulesets have been hunted and the guilty ones are named.
 */

enum {
	BLAME_ARENA_MAX = 1 << 30, /* text of all rulesets while halves are compiled */
	BLAME_COMPILE_MS = 600000, /* as the live set */
	OWNERS_MAX = 3, /* whose rulesets one sample harms scanners with; more: it is the sample */
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
};

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
		   struct scan_rules *const parts[SCAN_SLOTS], struct scan_result *result,
		   struct err *err)
{
	struct scan_facts facts = hunt_job_facts(q->job);

	for (unsigned slot = 0; slot < SCAN_SLOTS; slot++) {
		/* A child that survived may still hold what it was given before: NULL empties. */
		if (scan_loaded(child, slot) != parts[slot])
			TRY(scan_load(child, slot, parts[slot], err));
	}
	TRY(scan_send(child, &q->job->sample, &facts, err));
	return scan_recv(child, result, err);
}

/* 0: ran through, the result is filled. 1: killed or hung. Negative: could not be tried. */
static int scan_once(struct inquiry *q, struct scan_rules *const parts[SCAN_SLOTS],
		     struct scan_result *result, struct err *err)
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
	if (rc == -ERR_DIED || rc == -ERR_TIMEOUT || rc == -ERR_INVALID) {
		inquiry_cause(q, err);
		return 1;
	}
	return rc;
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
	struct scan_rules *parts[SCAN_SLOTS];
	struct scan_result result = { 0 };
	int rc;

	for (unsigned i = 0; i < SCAN_SLOTS; i++)
		parts[i] = set->parts[i] ? set->parts[i]->rules : NULL;
	rc = scan_once(q, parts, &result, err);
	*ret_ran = rc == 0;
	if (rc == 0)
		rc = hunt_job_take_hits(q->job, &result, set, err);
	scan_result_release(&result);
	return rc < 0 ? rc : 0;
}

/* ---- Step 3 ---- */

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

/* Scan with these alone. *ret_ran false: it was killed or hung again. */
static int try_suspects(struct inquiry *q, const struct suspect *suspects, size_t n, bool *ret_ran,
			struct err *err)
{
	struct scan_rules *parts[SCAN_SLOTS] = { NULL };
	struct scan_result result = { 0 };
	int rc = compile_suspects(q, suspects, n, &parts[0], err);

	*ret_ran = false;
	if (rc == -ERR_DIED || rc == -ERR_TIMEOUT) {
		inquiry_cause(q, err);
		return 0;
	}
	if (rc == 0 && !parts[0]) {
		q->cause = STR("the rules do not compile any more");
		return 0;
	}
	if (rc == 0)
		rc = scan_once(q, parts, &result, err);
	*ret_ran = rc == 0;
	if (rc == 0)
		rc = take_hits(q, suspects, parts[0], &result, err);
	scan_result_release(&result);
	scan_rules_unref(parts[0]);
	return rc < 0 ? rc : 0;
}

/* Does this one harm the scanner with any sample? Tried with a few words of text. */
static int harms_anyway(struct inquiry *q, const struct suspect *suspect, bool *ret,
			struct err *err)
{
	static const char text[] = "An ordinary text, which nobody made to do harm.\n";
	struct scan_rules *parts[SCAN_SLOTS] = { NULL };
	const struct scan_sample sample = q->job->sample;
	struct scan_result result = { 0 };
	int fd = memfd_create("ordinary", MFD_CLOEXEC);
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
		rc = scan_once(q, parts, &result, err);
		q->job->sample = sample;
		*ret = rc == 1;
	}
	close(fd);
	scan_result_release(&result);
	scan_rules_unref(parts[0]);
	return *ret ? 0 : rc;
}

/*
 * One that stands alone. If the rulesets of many users, harmless otherwise, do harm
 * with this sample, then it was made for that: nobody's ruleset is to blame.
 */
static int accuse(struct inquiry *q, const struct suspect *suspect, struct err *err)
{
	struct str cause = q->cause;
	bool anyway, known = false;

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

static int halve(struct inquiry *q, const struct suspect *suspects, size_t n, struct err *err)
{
	bool ran;

	if (n == 0 || q->sample_is_it)
		return 0;
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	TRY(try_suspects(q, suspects, n, &ran, err));
	if (hunt_stops(q->svc))
		return err_set(err, ERR_CLOSED, "stopping");
	if (ran)
		return 0;
	if (n == 1)
		return accuse(q, suspects, err);
	TRY(halve(q, suspects, n / 2, err));
	return halve(q, suspects + n / 2, n - n / 2, err);
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

	for (unsigned i = 0; i < SCAN_SLOTS; i++)
		max += set->parts[i] ? set->parts[i]->source_count : 0;
	q->suspects = arena_must(q->arena, (max + 1) * sizeof *q->suspects);
	q->accused = arena_must(q->arena, (max + 1) * sizeof *q->accused);
	for (unsigned slot = 0; slot < SCAN_SLOTS; slot++) {
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
	if (!ran)
		TRY(halve(q, q->suspects, q->count, err));
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

void blame(struct service *svc, struct hunt_job *job, struct str cause)
{
	struct inquiry q = {
		.svc = svc, .job = job, .arena = arena_new("blame", BLAME_ARENA_MAX), .cause = cause
	};
	struct err err;
	int rc;

	log_event(LOG_INFO, "inquiry", LOG_I64("analysis", job->row->id), LOG_STR("cause", cause));
	crash_note(job->row->id);
	rc = inquire(&q, &err);
	crash_note(0);
	if (rc == -ERR_CLOSED) {
		hunt_job_over(svc, job);
	} else if (rc) {
		hunt_job_skip(job, str_of(err.msg));
		hunt_job_complete(job);
	} else {
		hunt_job_complete(job);
	}
	arena_free(q.arena);
}
