#include "retrohunt_split.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "corpus.h"
#include "index/query.h"
#include "ruleset_check.h"

enum {
	ENOUGH_BYTES = 32 << 20, /* so many of a segment tell what the job will be like, or … */
	ENOUGH_SHARE = 16,       /* … so many of it are the job's corpus */
	MEASURE_MS_MIN = 20,
	SAMPLE_SHARE = 8,  /* so many of the corpus must be asked; what is late is not */
	ALONE_GROUPS = 32, /* the rules that leave most are groups of their own, at least so many */
	SOURCE_ARENA_MAX = 96 << 20,
};
/* Of what scanning with one set would take, for asking about each rule. */
#define MEASURE_OF_SCAN 0.15

void retro_split_free(struct retro_split *split)
{
	if (!split)
		return;
	for (unsigned i = 0; i < split->part_count; i++) {
		scan_rules_unref(split->parts[i].rules);
		free(split->parts[i].own);
	}
	free(split);
}

struct retro_split *retro_split_of(struct retro_job *job)
{
	struct retro_split *split;

	lock_take(&job->engine->lock);
	split = job->split && job->split->state != SPLIT_OFF ? job->split : NULL;
	lock_drop(&job->engine->lock);
	return split;
}

const struct retro_split *retro_split_ready(struct retro_job *job)
{
	const struct retro_split *split;

	lock_take(&job->engine->lock);
	split = job->split && job->split->state == SPLIT_READY ? job->split : NULL;
	lock_drop(&job->engine->lock);
	return split;
}

/* ---- Groups ---- */

/* A rule that is told, and what it leaves of a segment. */
struct measure {
	uint64_t bytes;
	uint32_t rule;
	uint32_t strings;
	bool parses;
	bool is_always;
};

/* What is asked while measuring, of every segment. */
struct measuring {
	struct retro_job *job;
	const struct corpus_snapshot *snapshot;
	const struct query_filter *filter; /* what is the same for all segments */
	int64_t last_id;                   /* of the files whose segments are asked … */
	int64_t until_us; /* … the first time: those that come later are not asked again, either */
	bool is_first;
	bool is_late;
	/* outcome */
	uint64_t seen_bytes;      /* of the corpus, in the last round */
	struct measure *some;     /* by group: what each leaves; or … */
	struct rule_split *costs; /* … what groups want together */
};

static bool measure_goes_on(void *arg)
{
	struct measuring *m = arg;

	m->is_late = clock_mono_us(clock_system()) > m->until_us;
	return !m->is_late && m->filter->goes_on(m->filter->arg);
}

static void take_answer(struct measuring *m, struct segment *seg, const struct query_answer *answer)
{
	const uint64_t *sizes = segment_sizes(seg);

	m->seen_bytes += answer->counters.doc_bytes;
	for (uint32_t i = 0; i < answer->count; i++) {
		const struct query_candidate *c = &answer->candidates[i];

		if (m->costs)
			rule_split_add(m->costs, c->groups, sizes[c->doc]);
		for (uint64_t todo = m->some ? c->groups : 0; todo; todo &= todo - 1)
			m->some[__builtin_ctzll(todo)].bytes += sizes[c->doc] + RULE_FILE_BYTES;
	}
}

/* Every segment of the job, for these groups. */
static int ask_all(struct measuring *m, const uint8_t *groups, struct err *err)
{
	struct query_filter filter = *m->filter;
	struct corpus_part part;
	int64_t at = 1;

	filter.groups = groups;
	filter.goes_on = measure_goes_on;
	filter.arg = m;
	m->seen_bytes = 0;
	while (corpus_snapshot_next(m->snapshot, &at, m->last_id, &part)) {
		struct query_answer answer;
		int rc;

		if (!part.segment)
			continue;
		filter.first_id = part.first_id;
		filter.last_id = part.last_id;
		filter.dead = part.dead;
		rc = query_run(m->job->plan, part.segment, &filter, &answer, err);
		if (rc == -ERR_CLOSED && m->is_late && m->is_first &&
		    m->seen_bytes * SAMPLE_SHARE >= (uint64_t)m->job->bytes) {
			m->last_id = part.first_id - 1;
			break;
		}
		TRY(rc);
		take_answer(m, part.segment, &answer);
		query_answer_release(&answer);
	}
	return 0;
}

/* The rules that are told. Returns how many. */
static uint32_t measures_of(const struct plan *plan, struct measure *ret)
{
	struct plan_rule rule;
	uint32_t n = 0;

	for (uint32_t i = 0; i < plan_rules(plan); i++) {
		struct measure *m = &ret[n];

		plan_rule_get(plan, i, &rule);
		if (rule.flags & PLAN_RULE_PRIVATE)
			continue;
		*m = (struct measure){ .rule = i,
				       .parses = rule.flags & PLAN_RULE_PARSES,
				       .is_always = rule.is_always };
		(void)plan_rule_strings(plan, i, &m->strings);
		n++;
	}
	return n;
}

/* What each of up to RULE_GROUPS rules leaves. */
static int measure_some(struct measuring *m, struct measure *some, uint32_t n, struct err *err)
{
	uint8_t groups[PLAN_RULES_MAX];

	memset(groups, QUERY_NO_GROUP, sizeof groups);
	for (uint32_t i = 0; i < n; i++)
		groups[some[i].rule] = (uint8_t)i;
	m->some = some;
	return ask_all(m, groups, err);
}

static int by_bytes(const void *a_, const void *b_)
{
	const struct measure *a = a_, *b = b_;

	if (a->is_always != b->is_always)
		return a->is_always ? 1 : -1;
	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? -1 : 1;
	if (a->parses != b->parses)
		return a->parses ? 1 : -1;
	return a->rule < b->rule ? -1 : a->rule > b->rule;
}

/* Rule i of n by rank: the last ones have a group each, the others share what is left. */
static unsigned group_at(uint32_t i, uint32_t n)
{
	const uint32_t shared = RULE_GROUPS - ALONE_GROUPS, sharing = n - ALONE_GROUPS;

	if (n <= RULE_GROUPS)
		return i;
	return i < sharing ? (unsigned)((uint64_t)i * shared / sharing) : i - sharing + shared;
}

static struct retro_split *split_new(struct measure *measures, uint32_t n)
{
	struct retro_split *split = mem_must_zalloc(sizeof *split);
	uint64_t narrowing = 0;

	qsort(measures, n, sizeof *measures, by_bytes);
	memset(split->groups, QUERY_NO_GROUP, sizeof split->groups);
	for (uint32_t i = 0; i < n; i++) {
		const struct measure *m = &measures[i];
		unsigned g = group_at(i, n);

		split->groups[m->rule] = (uint8_t)g;
		split->costs.group_count = g + 1;
		split->costs.rules[g]++;
		split->costs.strings[g] += m->strings;
		split->costs.parsing |= (uint64_t)m->parses << g;
		split->last |= UINT64_C(1) << g;
		narrowing |= (uint64_t)!m->is_always << g;
	}
	split->last &= ~narrowing;
	return split;
}

static bool is_forced(const struct retro_job *job)
{
	return job->engine->svc->options.retrohunt_split_ms == 0;
}

/* Do parts pay? */
static void decide(const struct retro_job *job, struct retro_split *split, uint64_t seen_bytes)
{
	double times = (double)job->bytes / (double)(seen_bytes ? seen_bytes : 1);
	uint64_t groups[RULE_PARTS_MAX];

	split->part_count =
		rule_split_choose(&split->costs, times < 1 ? 1 : times, is_forced(job), groups);
	split->state = split->part_count ? SPLIT_COMPILING : SPLIT_OFF;
	for (unsigned i = 0; i < split->part_count; i++)
		split->parts[i].groups = groups[i];
}

/* ERR_CLOSED: m->is_late, or the job is over. */
static int measure_all(struct measuring *m, struct measure *measures, uint32_t n,
		       struct retro_split **ret, struct err *err)
{
	struct retro_split *split;
	int rc;

	for (uint32_t i = 0; i < n; i += RULE_GROUPS) {
		TRY(measure_some(m, measures + i, n - i < RULE_GROUPS ? n - i : RULE_GROUPS, err));
		m->is_first = false;
		m->until_us = INT64_MAX; /* as many rows again, and they are in memory now */
	}
	split = split_new(measures, n);
	m->some = NULL;
	m->costs = &split->costs;
	rc = ask_all(m, split->groups, err);
	if (rc) {
		retro_split_free(split);
		return rc;
	}
	decide(m->job, split, m->seen_bytes);
	*ret = split;
	return 0;
}

/* What the answer of one segment says of scanning all with one set. */
static double whole_ns(const struct retro_job *job, const struct query_counters *c,
		       const struct measure *measures, uint32_t n)
{
	double times = (double)job->bytes / (double)(c->doc_bytes ? c->doc_bytes : 1);
	uint64_t strings = 0;
	bool parses = false;

	for (uint32_t i = 0; i < n; i++) {
		strings += measures[i].strings;
		parses |= measures[i].parses;
	}
	return rule_scan_ns(times * (double)c->candidate_bytes, n, strings, parses);
}

static int measure(struct retro_job *job, const struct corpus_snapshot *snapshot,
		   const struct query_filter *filter, const struct query_counters *c,
		   struct retro_split **ret, struct err *err)
{
	struct measuring m = { .job = job,
			       .snapshot = snapshot,
			       .filter = filter,
			       .last_id = job->last_id,
			       .is_first = true };
	AUTO(mem_drop) void *room = NULL;
	struct measure *measures;
	int64_t budget_us;
	uint32_t n;
	double ns;
	int rc;

	*ret = NULL;
	TRY(mem_try_array(&room, plan_rules(job->plan) + 1, sizeof *measures, err));
	measures = room;
	n = measures_of(job->plan, measures);
	ns = whole_ns(job, c, measures, n);
	if (n < 2 || ns < 1e6 * job->engine->svc->options.retrohunt_split_ms)
		return 0;
	/* Of which the first of some rounds has its share. */
	budget_us = (int64_t)(MEASURE_OF_SCAN * ns / 1e3) / (n / RULE_GROUPS + 2);
	budget_us = budget_us < 1000 * MEASURE_MS_MIN ? 1000 * MEASURE_MS_MIN : budget_us;
	m.until_us = is_forced(job) ? INT64_MAX : clock_mono_us(clock_system()) + budget_us;
	rc = measure_all(&m, measures, n, ret, err);
	return rc == -ERR_CLOSED && m.is_late ? 0 : rc; /* then scanning is no dearer than asking */
}

int retro_split_measure(struct retro_job *job, const struct corpus_snapshot *snapshot,
			const struct query_filter *filter, const struct query_counters *c,
			struct err *err)
{
	struct retro_split *split;
	bool is_done;
	int rc;

	if (c->doc_bytes < ENOUGH_BYTES && c->doc_bytes * ENOUGH_SHARE < (uint64_t)job->bytes)
		return 0;
	lock_take(&job->engine->lock);
	is_done = job->is_measured;
	lock_drop(&job->engine->lock);
	/* A plan of other rules than the engine's came out of a child that lies, or of a bug. */
	if (is_done || plan_rules(job->plan) != scan_rules_count(job->rules))
		return 0;
	rc = measure(job, snapshot, filter, c, &split, err);
	if (rc == -ERR_CLOSED)
		return rc;
	REQUIRE(rc == 0 || !split); /* for want of memory: one set will do */
	lock_take(&job->engine->lock);
	job->is_measured = true;
	if (!job->split)
		job->split = STEAL(split);
	cond_broadcast(&job->engine->work);
	lock_drop(&job->engine->lock);
	retro_split_free(split);
	return 0;
}

/* ---- Parts ---- */

/* Which rule of the job is which of the part: both are in source order, names are unique. */
static int own_make(struct retro_job *job, const struct retro_split *split, struct retro_part *part,
		    struct scan_rules *rules, struct err *err)
{
	uint32_t n = scan_rules_count(rules), at = 0, wanted = 0, found = 0;
	AUTO(mem_drop) void *room = NULL;
	uint32_t *own;

	TRY(mem_try_array(&room, n, sizeof *own, err));
	own = room;
	for (uint32_t i = 0; i < scan_rules_count(job->rules); i++)
		wanted += split->groups[i] < RULE_GROUPS && part->groups >> split->groups[i] & 1;
	for (uint32_t i = 0; i < n; i++, at++) {
		while (at < scan_rules_count(job->rules) &&
		       !str_eq(scan_rules_at(job->rules, at)->name, scan_rules_at(rules, i)->name))
			at++;
		if (at == scan_rules_count(job->rules))
			return err_set(err, ERR_CORRUPT, "a part has rules that the whole has not");
		own[i] = RETRO_NOT_OWN;
		if (split->groups[at] < RULE_GROUPS && part->groups >> split->groups[at] & 1) {
			own[i] = at;
			found++;
		}
	}
	if (found != wanted)
		return err_set(err, ERR_CORRUPT, "a part has %u of its %u rules", found, wanted);
	part->own = STEAL(room);
	part->rules = rules;
	return 0;
}

static int part_make(struct retro_worker *w, struct retro_job *job, struct retro_split *split,
		     struct retro_part *part, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("retrohunt part", SOURCE_ARENA_MAX);
	struct service *svc = job->engine->svc;
	struct ruleset_compile_ask ask = { .entity = STR("file"),
					   .retrohunt = true,
					   .wants_child = retro_child_is_wanted,
					   .wants_arg = job,
					   .show = retro_child_show,
					   .arg = w };
	struct ruleset_compiled made = { 0 };
	uint32_t only[PLAN_RULES_MAX];
	struct retrohunt_row row;
	struct sql_conn *conn;
	struct str messages;
	int rc;

	for (uint32_t i = 0; i < scan_rules_count(job->rules); i++) {
		if (split->groups[i] < RULE_GROUPS && part->groups >> split->groups[i] & 1)
			only[ask.only_count++] = i;
	}
	ask.only = only;
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = retrohunt_row_by_id(conn, job->id, arena, &row, err);
	sql_reader_give(svc->db, conn);
	TRY(rc);
	ask.rules = row.rules;
	retro_child_bury(w); /* the one that compiles is the worker's meanwhile */
	TRY(ruleset_compile(svc, &ask, arena, &made, &messages, err));
	rc = own_make(job, split, part, made.rules, err);
	if (rc)
		scan_rules_unref(made.rules);
	return rc;
}

void retro_split_compile(struct retro_worker *w, struct retro_job *job, unsigned number)
{
	struct retro_split *split = job->split;
	struct err err;
	int rc = part_make(w, job, split, &split->parts[number], &err);

	if (rc && !job->stop && !retro_is_stopping(w->engine))
		log_event(LOG_WARN, "retrohunt_part_failed", LOG_Z("job", job->name),
			  LOG_Z("error", err.msg));
	lock_take(&w->engine->lock);
	split->parts_done++;
	if (rc)
		split->state = SPLIT_OFF;
	else if (split->state == SPLIT_COMPILING && split->parts_done == split->part_count) {
		split->state = SPLIT_READY;
		metric_add(METRIC_retrohunt_split_total, 1);
	}
	cond_broadcast(&w->engine->work);
	lock_drop(&w->engine->lock);
}
