#include "retrohunt_batch.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ruleset_check.h"
#include "sample_facts.h"
#include "snippet.h"
#include "store/meta_facts.h"

/* Verifying: a batch of files, scanned by the worker's child with the job's rules. */

enum {
	BATCH_ARENA_MAX = 128 << 20, /* hits … */
	FULL_HITS_BYTES = 96 << 20,  /* … that have a snippet up to here */
	/* A file's facts, 1 MB, as much again of what `vt` shows, its row and short texts. */
	FACTS_ARENA_MAX = RETRO_BATCH_FACTS * (3 << 20),
	COMPILE_ARENA_MAX = 96 << 20,
	COMPILE_MS_MAX = 3600000, /* as much as the setting may be */
	ALONE_NONE = -1,
};

/* ---- The child ---- */

void retro_child_bury(struct retro_worker *w)
{
	struct scan_child *child;

	lock_take(&w->engine->lock);
	child = STEAL(w->child);
	lock_drop(&w->engine->lock);
	scan_child_give(w->engine->svc->scan, child);
}

bool retro_child_show(struct scan_child *child, void *worker)
{
	struct retro_worker *w = worker;
	bool goes_on;

	lock_take(&w->engine->lock);
	goes_on = !w->job->stop;
	w->child = goes_on ? child : NULL;
	lock_drop(&w->engine->lock);
	return goes_on;
}

bool retro_child_is_wanted(void *arg)
{
	const struct retro_job *job = arg;

	return !job->stop;
}

int retro_child(struct retro_worker *w, struct err *err)
{
	struct scan_child *child;

	if (w->child && (scan_child_is_dead(w->child) || scan_child_is_used_up(w->child)))
		retro_child_bury(w);
	if (w->child)
		return 0;
	TRY(scan_child_take_while(&child, w->engine->svc->scan, retro_child_is_wanted, w->job,
				  err));
	if (retro_child_show(child, w))
		return 0;
	scan_child_give(w->engine->svc->scan, child);
	return err_set(err, ERR_CLOSED, "the job is over");
}

/* After a restart all jobs compile at once, beside everything else. */
static uint32_t compile_ms(const struct retro_worker *w, const struct retro_job *job)
{
	uint64_t ms = (uint64_t)w->engine->svc->options.compile_timeout_ms << job->compile_failures;

	return ms < COMPILE_MS_MAX ? (uint32_t)ms : COMPILE_MS_MAX;
}

int retro_compile(struct retro_worker *w, struct retro_job *job, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("retrohunt compile", COMPILE_ARENA_MAX);
	const struct ruleset_compile_ask ask = { .rules = str_of(job->text),
						 .entity = STR("file"),
						 .retrohunt = true,
						 .compiled_before = true,
						 .timeout_ms = compile_ms(w, job),
						 .wants_child = retro_child_is_wanted,
						 .wants_arg = job,
						 .show = retro_child_show,
						 .arg = w };
	struct ruleset_compiled made = { 0 };
	struct plan *plan;
	struct str messages;

	retro_child_bury(w); /* the one that compiles is the worker's meanwhile */
	TRY(ruleset_compile(w->engine->svc, &ask, arena, &made, &messages, err));
	plan = retro_plan_of(made.rules);
	lock_take(&w->engine->lock);
	job->rules = made.rules;
	job->asks_facts = scan_rules_asks_facts(made.rules);
	job->plan = plan;
	free(STEAL(job->text));
	lock_drop(&w->engine->lock);
	return 0;
}

/* ---- A batch ---- */

bool batch_must_end(const struct batch *b)
{
	return b->job->stop || retro_is_stopping(b->w->engine);
}

bool batch_is_late(const struct batch *b)
{
	return b->sum.files && !b->struck && !b->load_failures && b->until_us &&
	       clock_mono_us(clock_system()) >= b->until_us;
}

/* Is there anything in the job's time that a match would be told on? */
static int look_item(struct batch *b, struct sql_conn *conn, struct batch_item *item,
		     struct err *err)
{
	const struct retrohunt_scope scope = retro_scope(b->job);
	bool asked;

	TRY(retrohunt_is_asked(conn, item->item->file_id, &scope, &asked, err));
	item->is_left_out = !asked;
	return 0;
}

/* What rules may ask. */
static int load_item(struct batch *b, struct sql_conn *conn, struct batch_item *item,
		     struct err *err)
{
	struct file_facts facts;
	struct sample_known known = { 0 };
	struct file_row row;
	int rc;

	TRY(look_item(b, conn, item, err));
	if (item->is_left_out)
		return 0;
	rc = file_row_by_id(conn, item->item->file_id, b->facts, &row, err);
	item->is_left_out = rc == -ERR_NOT_FOUND;
	if (item->is_left_out)
		return 0;
	TRY(rc);
	TRY(file_facts_get(conn, row.id, b->facts, &facts, err));
	known = (struct sample_known){ .file = &row,
				       .identified = row.identified,
				       .file_type = row.file_type,
				       .magic = row.magic,
				       .facts = facts.object,
				       .tags = facts.tags };
	item->facts = sample_facts(&known, b->facts);
	return 0;
}

/* After a failure it may be called again: what it had loaded is let go. */
static int batch_load(struct batch *b, struct err *err)
{
	bool facts = b->job->asks_facts;
	struct service *svc = b->w->engine->svc;
	struct sql_conn *conn;
	int rc = 0;

	if (!facts && !b->job->start_s && !b->job->end_s)
		return 0; /* whether they are there is seen when they match */
	arena_drop(&b->facts);
	b->facts = arena_new("retrohunt facts", FACTS_ARENA_MAX);
	TRY(sql_reader_take(&conn, svc->db, err));
	for (size_t i = 0; i < b->n && rc == 0; i++)
		rc = facts ? load_item(b, conn, &b->items[i], err)
			   : look_item(b, conn, &b->items[i], err);
	sql_reader_give(svc->db, conn);
	return rc;
}

void batch_skip(struct batch *b, const struct batch_item *item, const char *reason)
{
	retro_file_skip(b->job, b->task, item->item->file_id, reason);
}

void batch_fail(struct batch *b, const struct batch_item *item, const struct err *why)
{
	log_event(LOG_WARN, "retrohunt_file_failed", LOG_Z("job", b->job->name),
		  LOG_I64("file", item->item->file_id), LOG_Z("error", why->msg));
	batch_skip(b, item,
		   why->kind == ERR_INVALID ? "the scanner gave up on it"
					    : "its bytes could not be read");
}

/* The file harmed the scanner, by itself. */
void batch_blame(struct batch *b, const struct batch_item *item, const char *reason)
{
	struct retrohunt *e = b->w->engine;
	char text[160];
	bool enough;

	batch_skip(b, item, reason);
	metric_add(METRIC_retrohunt_harm_total, 1);
	log_event(LOG_WARN, "retrohunt_file_skipped", LOG_Z("job", b->job->name),
		  LOG_I64("file", item->item->file_id), LOG_Z("reason", reason));
	lock_take(&e->lock);
	enough = ++b->job->harm >= RETRO_HARM_MAX;
	lock_drop(&e->lock);
	if (!enough)
		return;
	snprintf(text, sizeof text, "the scanner failed on %d files; the last time: %.80s",
		 RETRO_HARM_MAX, reason);
	retro_give_up(b->job, "scanner_failures", text);
}

bool batch_is_struck(struct batch *b, int rc)
{
	if (batch_must_end(b))
		return true;
	if (struck_again(&b->struck, rc, b->w->child)) {
		retro_rest(b->w->engine);
		return true;
	}
	b->struck = 0; /* alone it may be as often */
	return false;
}

void batch_count(struct batch *b, struct batch_item *item, bool verified)
{
	b->struck = 0;
	item->state = ITEM_DONE;
	b->sum.files++;
	b->sum.bytes += item->item->len;
	if (!verified)
		return;
	b->sum.verified_files++;
	b->sum.verified_bytes += item->item->len;
}

/* ---- Sets in slots ---- */

static struct scan_rules *set_rules(const struct batch *b, unsigned set)
{
	return set ? b->split->parts[set - 1].rules : b->job->rules;
}

/* What wants every part is scanned with all rules at once. */
static uint8_t item_sets(const struct batch *b, const struct retro_item *item)
{
	unsigned sets = 0, parts = b->split ? b->split->part_count : 0;

	for (unsigned i = 0; i < parts; i++)
		sets |= b->split->parts[i].groups & item->groups ? 2u << i : 0;
	REQUIRE(sets || !parts);
	return (uint8_t)(sets == (2u << parts) - 2 ? 1 : sets);
}

uint16_t batch_slots(const struct batch *b, const struct batch_item *item)
{
	unsigned slots = 0;

	for (unsigned set = 0; set <= RULE_PARTS_MAX; set++)
		slots |= item->sets >> set & 1 ? 1u << b->slots[set] : 0;
	return (uint16_t)slots;
}

/* A slot for rules that have none, but for those taken: Livehunt's stay as they are. */
static unsigned slot_next(struct retro_worker *w, uint32_t taken)
{
	do {
		w->slot_last++;
		if (w->slot_last < SCAN_SLOTS_LIVE || w->slot_last >= SCAN_SLOTS)
			w->slot_last = SCAN_SLOTS_LIVE;
	} while (taken >> w->slot_last & 1);
	return w->slot_last;
}

static int sets_load(struct batch *b, struct err *err)
{
	struct scan_child *child = b->w->child;
	unsigned missing = b->sets;
	uint32_t taken = 0;

	for (unsigned set = 0; set <= RULE_PARTS_MAX; set++) {
		for (unsigned slot = SCAN_SLOTS_LIVE; slot < SCAN_SLOTS && missing >> set & 1;
		     slot++) {
			if (scan_loaded(child, slot) != set_rules(b, set))
				continue;
			b->slots[set] = (uint8_t)slot;
			taken |= 1u << slot;
			missing &= ~(1u << set);
		}
	}
	for (unsigned set = 0; set <= RULE_PARTS_MAX; set++) {
		if (!(missing >> set & 1))
			continue;
		b->slots[set] = (uint8_t)slot_next(b->w, taken);
		taken |= 1u << b->slots[set];
		TRY(scan_load(child, b->slots[set], set_rules(b, set), err));
	}
	return 0;
}

/* The job's rule that was hit; NULL: the part has it for others' sake. */
static const struct scan_rule *hit_rule(const struct batch *b, const struct scan_hit *hit)
{
	uint32_t rule = hit->rule;

	for (unsigned set = 1; set <= RULE_PARTS_MAX; set++) {
		if (b->sets >> set & 1 && b->slots[set] == hit->slot)
			rule = b->split->parts[set - 1].own[hit->rule];
	}
	return rule == RETRO_NOT_OWN ? NULL : scan_rules_at(b->job->rules, rule);
}

/* ---- What matches ---- */

static int flush_hits(struct batch *b, struct err *err)
{
	size_t n = b->hit_count;

	b->hit_count = 0;
	return n ? retro_tell(b->job, b->task, b->hits, n, false, err) : 0;
}

int batch_hit(struct batch *b, const struct batch_item *item, const struct scan_hit *hit,
	      struct err *err)
{
	const struct scan_rule *rule = hit_rule(b, hit);
	AUTO(buf_release) struct buf snippet = BUF_INIT(LIMIT_SNIPPET_BYTES);
	const struct pack_locator at = { item->item->pack, item->item->offset, item->item->len };

	if (!rule || rule->is_private)
		return 0;
	if (b->hit_count == b->hit_cap) {
		size_t cap = b->hit_cap ? 2 * b->hit_cap : 32;
		struct retro_hit *bigger = arena_must(b->arena, cap * sizeof *bigger);

		if (b->hit_count)
			memcpy(bigger, b->hits, b->hit_count * sizeof *bigger);
		b->hits = bigger;
		b->hit_cap = cap;
	}
	if (hit->match_count && arena_bytes(b->arena) < FULL_HITS_BYTES)
		TRY(snippet_write(&snippet, b->w->engine->svc->packs, &at, hit->matches,
				  hit->match_count, err));
	b->hits[b->hit_count++] = (struct retro_hit){ item->item->file_id, rule,
						      arena_str(b->arena, buf_str(&snippet)) };
	return b->hit_count >= RETRO_STEP_HITS ? flush_hits(b, err) : 0;
}

static int take_hits(struct batch *b, const struct batch_item *item, struct err *err)
{
	const struct scan_result *result = &b->w->result;

	for (size_t i = 0; i < result->hit_count; i++)
		TRY(batch_hit(b, item, &result->hits[i], err));
	return 0;
}

/* ---- Through the child ---- */

static void batch_put_packs(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].pack)
			pack_file_put(b->w->engine->svc->packs, STEAL(b->items[i].pack));
	}
}

/* ERR_DIED: the child did not even receive it. Others were answered with a reason. */
static int send_item(struct batch *b, struct batch_item *item, struct err *err)
{
	struct scan_sample sample = { .offset = item->item->offset, .len = item->item->len };

	if (!item->pack)
		TRY(packs_get(b->w->engine->svc->packs, item->item->pack, &item->pack, err));
	sample.fd = pack_file_fd(item->pack);
	return scan_send(b->w->child, &sample, &item->facts, batch_slots(b, item), err);
}

/* Send what may go. false: the child is dead. */
static bool batch_send(struct batch *b, struct err *err)
{
	while (b->sent < b->n && scan_pending(b->w->child) < SCAN_DEPTH) {
		struct batch_item *item = &b->items[b->sent];
		int rc;

		if (b->alone != ALONE_NONE && scan_pending(b->w->child))
			break; /* it was sent, or waits until those before it are answered */
		if (b->alone == ALONE_NONE && batch_is_late(b))
			break;
		if (item->is_left_out) {
			if (scan_pending(b->w->child))
				break; /* answers come in order */
			batch_count(b, item, false);
			b->done = ++b->sent;
			continue;
		}
		rc = send_item(b, item, err);
		if (rc == -ERR_DIED)
			return false;
		if (rc) {
			if (scan_pending(b->w->child))
				break;
			batch_fail(b, item, err);
			batch_count(b, item, false);
			b->done = ++b->sent;
			continue;
		}
		b->sent++;
	}
	return true;
}

/* The child died or hung at the oldest item. */
static void batch_accuse(struct batch *b, int rc, const char *cause)
{
	struct batch_item *item = &b->items[b->done];

	if (batch_is_struck(b, rc))
		return;
	if (rc == -ERR_TIMEOUT || b->alone == (ptrdiff_t)b->done) {
		batch_blame(b, item, cause);
		batch_count(b, item, false);
		b->done++;
		b->alone = ALONE_NONE;
	} else {
		b->alone = (ptrdiff_t)b->done;
	}
}

/* Take the oldest answer. ERR_CLOSED: nothing more is to be told. */
static int batch_recv(struct batch *b, struct err *err)
{
	struct batch_item *item = &b->items[b->done];
	struct err cause;
	int rc = scan_recv(b->w->child, &b->w->result, &cause);

	if (rc == -ERR_DIED || rc == -ERR_TIMEOUT) {
		batch_accuse(b, rc, scan_child_cause(b->w->child));
		retro_child_bury(b->w);
		b->sent = b->done;
		return 0;
	}
	if (rc == 0) {
		metric_add(METRIC_retrohunt_bytes_total, item->item->len);
		metric_add(METRIC_retrohunt_us_total, (int64_t)b->w->result.scan_us);
		b->scan_us += b->w->result.scan_us;
		rc = take_hits(b, item, &cause);
		if (rc == -ERR_CLOSED)
			return err_set(err, ERR_CLOSED, "the job is over");
	}
	if (rc)
		batch_fail(b, item, &cause);
	batch_count(b, item, rc == 0);
	if (b->alone == (ptrdiff_t)b->done)
		b->alone = ALONE_NONE;
	b->done++;
	return 0;
}

/* *ret_harm: it was the rules that it failed on, or nobody knows of another reason. */
static int child_ready(struct batch *b, bool *ret_harm, struct err *err)
{
	int rc;

	*ret_harm = false;
	TRY(retro_child(b->w, err)); /* that none starts says nothing of this job */
	rc = sets_load(b, err);
	*ret_harm = rc != 0;
	if (rc == 0)
		b->load_failures = 0;
	return rc;
}

/*
 * The job's rules do not come into a child. Once or twice that may be somebody's doing, or
 * want of memory; so often in a row the job ends, with what it found.
 */
static void load_failed(struct batch *b, const struct err *why)
{
	char text[RETROHUNT_ERROR_BYTES];
	const char *cause = why->msg;

	if (b->w->child && scan_child_is_dead(b->w->child))
		cause = scan_child_cause(b->w->child);
	if (++b->load_failures < RETRO_LOADS_MAX)
		return;
	snprintf(text, sizeof text,
		 "the scanner failed %d times while it loaded the rules; the last time: %.80s",
		 RETRO_LOADS_MAX, cause);
	retro_give_up(b->job, "scanner_failures", text);
}

bool batch_child(struct batch *b)
{
	struct err err;
	bool harm;

	if (child_ready(b, &harm, &err) == 0) {
		if (!b->until_us)
			b->until_us =
				clock_mono_us(clock_system()) + INT64_C(1000) * RETRO_BATCH_MS;
		return true;
	}
	if (!batch_must_end(b)) {
		log_event(LOG_WARN, "scan_child_failed", LOG_Z("job", b->job->name),
			  LOG_Z("error", err.msg));
		if (harm)
			load_failed(b, &err);
	}
	retro_child_bury(b->w);
	if (!batch_must_end(b))
		retro_rest(b->w->engine);
	return false;
}

static int batch_run(struct batch *b, struct err *err)
{
	while (b->done < b->n) {
		bool idle = !b->w->child || !scan_pending(b->w->child);

		if (batch_must_end(b))
			return err_set(err, ERR_CLOSED, "the job is over");
		if (idle && b->alone == ALONE_NONE && batch_is_late(b))
			return 0;
		if (idle && !batch_child(b))
			continue;
		if (!batch_send(b, err) && !scan_pending(b->w->child)) {
			retro_child_bury(b->w);
			b->sent = b->done;
			continue;
		}
		if (scan_pending(b->w->child))
			TRY(batch_recv(b, err));
	}
	return 0;
}

/* What was done counts, whatever became of the rest, which goes back: items up to `to`. */
static void batch_end(struct batch *b, size_t from, size_t to, int64_t us)
{
	struct retrohunt *e = b->w->engine;
	struct retro_item *items = b->task->items;
	size_t left = to;

	/* Nobody else looks at these: what is left may go to their end. */
	for (size_t i = b->n; i-- > 0;) {
		if (b->items[i].state != ITEM_DONE)
			items[--left] = items[from + i];
	}
	lock_take(&e->lock);
	retro_task_verified(b->job, b->task, &b->sum);
	retro_batch_back(b->task, left, to);
	if (b->sum.verified_files) {
		retro_speed_add(b->job, &b->sum, b->scan_us);
		retro_rate_add(b->job, &b->sum, us);
	}
	lock_drop(&e->lock);
}

static bool job_gave_up(struct retro_job *job)
{
	bool gave_up;

	lock_take(&job->engine->lock);
	gave_up = job->stop && job->reason[0];
	lock_drop(&job->engine->lock);
	return gave_up;
}

void retro_verify(struct retro_worker *w, struct retro_job *job, struct retro_task *task,
		  size_t from, size_t to)
{
	AUTO(arena_drop) struct arena *arena = arena_new("retrohunt batch", BATCH_ARENA_MAX);
	struct batch *b = arena_must(arena, sizeof *b);
	struct err err;
	int64_t since_us = clock_mono_us(clock_system());
	int rc;

	REQUIRE(to > from && to - from <= SCAN_MANY_MAX);
	*b = (struct batch){ .w = w,
			     .job = job,
			     .task = task,
			     .arena = arena,
			     .items = arena_must(arena, (to - from) * sizeof *b->items),
			     .n = to - from,
			     .alone = ALONE_NONE };
	b->split = retro_split_ready(job);
	for (size_t i = 0; i < b->n; i++) {
		const struct retro_item *item = &task->items[from + i];

		b->items[i] = (struct batch_item){ .item = item, .sets = item_sets(b, item) };
		b->sets |= b->items[i].sets;
	}
	while ((rc = batch_load(b, &err)) != 0 && !batch_must_end(b)) {
		log_event(LOG_WARN, "retrohunt_waits", LOG_Z("job", job->name),
			  LOG_Z("error", err.msg));
		retro_rest(w->engine);
	}
	if (rc == 0)
		rc = job->asks_facts ? batch_run(b, &err) : batch_run_many(b, &err);
	if (w->child && scan_pending(w->child))
		retro_child_bury(w); /* given up in the middle */
	batch_put_packs(b);
	arena_free(b->facts);
	/* A job that gives up keeps what it found; of one that was aborted nothing is told. */
	if (rc == 0 || job_gave_up(job))
		(void)flush_hits(b, &err); /* where it fails the job is over */
	batch_end(b, from, to, clock_mono_us(clock_system()) - since_us);
}
