#include "hunt_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "ingest.h"
#include "progress.h"

enum {
	RULES_BYTES_MAX = 64 << 20, /* every public rule there is has 20 MB */
	MESSAGES_BYTES_MAX = 8 << 20,
	WARNINGS_MAX = 100, /* made; fewer are shown */
	WORKERS_MAX = 256,
	BATCH_BYTES = 8 << 20, /* so that all cores end together */
	QUEUED_FOR_EACH = 2,   /* batches, for each worker */
	TICK_MS = 100,         /* between two looks at Ctrl-C */
};

/* ---- What is told ---- */

void hunt_dir_failed(struct hunt_dir *h, const char *path, const char *reason)
{
	AUTO(buf_release) struct buf shown = BUF_INIT(512 * 1024);

	show_text(&shown, str_of(path));
	lock_take(&h->lock);
	hunt_view_line(h->view, "error: " STR_FMT ": %s", STR_ARG(buf_str(&shown)), reason);
	h->numbers.failed++;
	lock_drop(&h->lock);
}

void hunt_dir_stop(struct hunt_dir *h, const char *why)
{
	lock_take(&h->lock);
	if (!h->stopped)
		snprintf(h->why, sizeof h->why, "%s", why);
	h->stopped = true;
	cond_broadcast(&h->changed);
	lock_drop(&h->lock);
	/* What is being scanned is not waited for. */
	scan_pool_cancel(h->pool);
}

void hunt_batch_free(struct hunt_batch *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->count; i++) {
		if (b->files[i].fd >= 0)
			close(b->files[i].fd);
		free(b->files[i].path);
	}
	free(b);
}

/* ---- The walk ---- */

struct walker {
	struct hunt_dir *h;
	struct walk *walk;
	struct ingest_count count;
	struct hunt_batch *batch; /* being filled; NULL: none */
	uint64_t bytes_max;
	unsigned workers;
	uint64_t links, skipped;
	bool over;
};

/* What is known of the end, and a look at Ctrl-C. */
static void tick(struct hunt_dir *h, const struct ingest_count *all) MUST_HOLD(&h->lock)
{
	if (all->over) {
		h->numbers.files_all = all->files;
		h->numbers.bytes_all = all->bytes;
	}
	if (!h->stopped)
		hunt_view_tick(h->view, &h->numbers);
	if (!h->stopped && (hunt_is_interrupted() || h->view->closed)) {
		lock_drop(&h->lock);
		hunt_dir_stop(h, hunt_is_interrupted() ? "interrupted" : "");
		lock_take(&h->lock);
	}
}

/* Hand the batch over, when there is room. */
static void push(struct walker *w)
{
	struct hunt_dir *h = w->h;
	struct hunt_batch *b = STEAL(w->batch);

	lock_take(&h->lock);
	tick(h, &w->count);
	while (h->queued >= QUEUED_FOR_EACH * w->workers && !h->stopped) {
		(void)cond_wait_ms(&h->changed, &h->lock, TICK_MS);
		tick(h, &w->count);
	}
	if (!h->stopped) {
		*h->last = b;
		h->last = &b->next;
		h->queued++;
		b = NULL;
		cond_broadcast(&h->changed);
	} else {
		h->left += b->count;
	}
	lock_drop(&h->lock);
	hunt_batch_free(b);
}

/* Is somebody waiting who could begin with half a batch? */
static bool is_awaited(struct hunt_dir *h)
{
	lock_take(&h->lock);
	bool awaited = h->queued < h->idle;

	lock_drop(&h->lock);
	return awaited;
}

static void add_file(struct walker *w, const struct walk_entry *e)
{
	struct stat st;
	struct err err;
	char reason[64];
	int fd;

	if (walk_entry_open(e, &fd, &st, &err) != 0) {
		hunt_dir_failed(w->h, e->path, err.msg);
		return;
	}
	if ((uint64_t)st.st_size > w->bytes_max) {
		snprintf(reason, sizeof reason, "larger than %llu bytes",
			 (unsigned long long)w->bytes_max);
		hunt_dir_failed(w->h, e->path, reason);
		close(fd);
		return;
	}
	if (w->batch == NULL)
		w->batch = mem_must_zalloc(sizeof *w->batch);
	w->batch->files[w->batch->count++] =
		(struct hunt_file){ mem_must_strdup(e->path), fd, (uint64_t)st.st_size };
	w->batch->bytes += (uint64_t)st.st_size;
	if (w->batch->count == SCAN_MANY_FILES || w->batch->bytes >= BATCH_BYTES ||
	    is_awaited(w->h))
		push(w);
}

static void skip(struct walker *w, const struct walk_entry *e)
{
	AUTO(buf_release) struct buf shown = BUF_INIT(512 * 1024);

	/* Links are many, and their targets mostly come by themselves. */
	w->links += e->is_link;
	w->skipped += !e->is_link;
	if (e->is_link)
		return;
	show_text(&shown, str_of(e->path));
	lock_take(&w->h->lock);
	hunt_view_line(w->h->view, "skipped: " STR_FMT ": %s", STR_ARG(buf_str(&shown)), e->reason);
	lock_drop(&w->h->lock);
}

static bool is_stopped(struct hunt_dir *h)
{
	lock_take(&h->lock);
	bool stopped = h->stopped;

	lock_drop(&h->lock);
	return stopped;
}

/* Everything there is into the queue, then wait for the workers. */
static void walk_all(struct walker *w)
{
	struct hunt_dir *h = w->h;
	struct walk_entry e;

	for (walk_next(w->walk, &e); e.kind != WALK_END && !is_stopped(h); walk_next(w->walk, &e)) {
		if (e.kind == WALK_FILE)
			add_file(w, &e);
		else if (e.kind == WALK_FAILED)
			hunt_dir_failed(h, e.path, e.reason);
		else
			skip(w, &e);
	}
	w->over = e.kind == WALK_END;
	if (w->batch)
		push(w);
	lock_take(&h->lock);
	h->walked = true;
	cond_broadcast(&h->changed);
	while (h->running > 0) {
		(void)cond_wait_ms(&h->changed, &h->lock, TICK_MS);
		tick(h, &w->count);
	}
	lock_drop(&h->lock);
}

/* ---- Rules ---- */

struct compiling {
	struct hunt_dir *h;
	const struct hunt_rules *rules;
	struct scan_rules *made;
	struct buf messages;
	int rc;
	struct err err;
	bool over; /* under the hunt's lock */
};

static int compile(struct compiling *c, struct err *err)
{
	static const struct scan_compile_options options = { .entity = SCAN_FILE,
							     .warnings_max = WARNINGS_MAX };
	const struct hunt_rules *rules = c->rules;
	AUTO(mem_drop) void *names = NULL;
	AUTO(mem_drop) void *room = NULL;
	struct scan_child *child;

	TRY(mem_try_array(&names, rules->count, HUNT_NS_BYTES, err));
	TRY(mem_try_array(&room, rules->count, sizeof(struct scan_source), err));
	struct scan_source *sources = room;

	for (size_t i = 0; i < rules->count; i++) {
		const struct hunt_rules_file *f = &rules->files[i];
		char *name = (char *)names + i * HUNT_NS_BYTES;

		hunt_rules_ns(i, name);
		sources[i] = (struct scan_source){ str_of(name), str_make(rules->text.p + f->begin,
									  f->end - f->begin) };
	}
	TRY(scan_child_take(&child, c->h->pool, err));
	int rc = scan_compile(child, sources, rules->count, &options, &c->made, &c->messages, err);

	scan_child_give(c->h->pool, child);
	return rc ? err_add(err, "compiling the rules") : 0;
}

static void compile_run(void *arg)
{
	struct compiling *c = arg;
	struct hunt_dir *h = c->h;

	c->rc = compile(c, &c->err);
	lock_take(&h->lock);
	c->over = true;
	cond_broadcast(&h->changed);
	lock_drop(&h->lock);
}

/* Until it is over, with a look at Ctrl-C. */
static void compile_wait(struct compiling *c)
{
	struct hunt_dir *h = c->h;

	lock_take(&h->lock);
	while (!c->over) {
		(void)cond_wait_ms(&h->changed, &h->lock, TICK_MS);
		hunt_view_wait(h->view, "compiling the rules");
		if (c->over || h->stopped || !hunt_is_interrupted())
			continue;
		lock_drop(&h->lock);
		hunt_dir_stop(h, "interrupted");
		lock_take(&h->lock);
	}
	lock_drop(&h->lock);
}

/* Is there a rule that can be told? */
static int check_rules(const struct hunt_rules *rules, const struct scan_rules *made,
		       struct err *err)
{
	uint32_t n = scan_rules_count(made), i = 0;

	while (i < n && scan_rules_at(made, i)->is_private)
		i++;
	if (n == 0)
		return err_set(err, ERR_INVALID, "'%s': no rules in it", rules->files[0].path);
	return i < n ? 0
		     : err_set(err, ERR_INVALID, "'%s': all rules in it are private, none is told",
			       rules->files[0].path);
}

/* *ret NULL: they do not compile, which has been said. */
static int rules_make(struct hunt_dir *h, const struct hunt_rules *rules, struct scan_rules **ret,
		      struct err *err)
{
	struct compiling c = { .h = h, .rules = rules, .messages = BUF_INIT(MESSAGES_BYTES_MAX) };
	struct thread thread;
	int rc = thread_start(&thread, "compiler", compile_run, &c, err);

	if (rc)
		return rc;
	compile_wait(&c);
	thread_join(&thread);
	if (h->stopped)
		rc = err_set(err, ERR_CLOSED, "%s while the rules were compiled", h->why);
	else if ((rc = c.rc) != 0)
		*err = c.err;
	else if (c.made)
		rc = check_rules(rules, c.made, err);
	if (rc == 0)
		(void)hunt_view_messages(h->view, buf_str(&c.messages), rules, c.made == NULL);
	*ret = c.made;
	buf_release(&c.messages);
	return rc;
}

/* ---- The whole ---- */

static void put_summary(const struct hunt_dir *h, const struct walker *w, struct buf *line)
{
	const struct hunt_numbers *n = &h->numbers;
	double s = (double)(clock_mono_us(clock_system()) - h->view->started_us) / 1e6;

	buf_addf(line, "%llu files (", (unsigned long long)n->files);
	progress_put_bytes(line, (double)n->bytes);
	buf_addf(line, ") in %.1f s: %llu matches in %llu files, %llu errors", s,
		 (unsigned long long)n->matches, (unsigned long long)h->matching_files,
		 (unsigned long long)n->failed);
	if (s > 0.05) {
		buf_addf(line, "; %.0f files/s, ", (double)n->files / s);
		progress_put_bytes(line, (double)n->bytes / s);
		buf_add_z(line, "/s");
	}
	if (w->links)
		buf_addf(line, "; %llu symbolic links not followed", (unsigned long long)w->links);
	if (w->skipped)
		buf_addf(line, "; %llu others skipped", (unsigned long long)w->skipped);
	if (h->stopped && *h->why)
		buf_addf(line, "; %s: %llu files that were found%s not scanned", h->why,
			 (unsigned long long)h->left, w->over ? "" : ", and all behind them,");
}

static int end(struct hunt_dir *h, const struct walker *w)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);

	hunt_view_end(h->view);
	put_summary(h, w, &line);
	hunt_view_line(h->view, STR_FMT, STR_ARG(buf_str(&line)));
	if (h->stopped || h->numbers.failed > 0 || h->view->closed)
		return HUNT_FAILED;
	if (h->numbers.files == 0) {
		hunt_view_line(h->view, "there was no file to scan");
		return HUNT_FAILED;
	}
	return h->numbers.matches > 0 ? HUNT_FOUND : HUNT_NONE;
}

static unsigned worker_count(const struct options *o)
{
	uint64_t asked = settings_number(&o->settings, SETTING_workers);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (asked == 0)
		asked = cores > 0 ? (uint64_t)cores : 1;
	return asked < WORKERS_MAX ? (unsigned)asked : WORKERS_MAX;
}

static int hunt_all(struct hunt_dir *h, const struct options *o, const char *const *paths,
		    size_t path_count)
{
	struct walker w = { .h = h, .workers = worker_count(o) };
	struct thread threads[WORKERS_MAX];
	unsigned started = 0;
	struct err err;
	int rc = 0;

	w.bytes_max = settings_number(&o->settings, SETTING_hunt_bytes_max);
	w.walk = walk_new(paths, path_count, NULL, NULL);
	ingest_count_start(&w.count, walk_new(paths, path_count, NULL, NULL));
	hunt_view_head(h->view, true);
	h->running = w.workers;
	while (started < w.workers && rc == 0) {
		rc = thread_start(&threads[started], "hunter", hunt_worker_run, h, &err);
		started += rc == 0;
	}
	if (rc != 0) {
		lock_take(&h->lock);
		h->running -= w.workers - started;
		lock_drop(&h->lock);
		hunt_dir_stop(h, err.msg);
	}
	walk_all(&w);
	for (unsigned i = 0; i < started; i++)
		thread_join(&threads[i]);
	ingest_count_stop(&w.count);
	for (struct hunt_batch *b = h->first, *next; b; b = next) {
		next = b->next;
		h->left += b->count;
		hunt_batch_free(b);
	}
	walk_free(w.walk);
	return end(h, &w);
}

static int open_pool(struct hunt_dir *h, const struct options *o, struct err *err)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;

	options.children_max = worker_count(o);
	options.memory_max = settings_number(&o->settings, SETTING_scan_memory_max);
	options.scan_timeout_ms = (uint32_t)settings_number(&o->settings, SETTING_scan_timeout_ms);
	options.compile_timeout_ms =
		(uint32_t)settings_number(&o->settings, SETTING_compile_timeout_ms);
	return scan_pool_open(&h->pool, &options, err);
}

static int hunt_with(struct hunt_dir *h, const struct options *o, struct err *err)
{
	/* Words that are named like rules are rules, the others what is scanned. */
	AUTO(mem_drop) const char **paths = mem_must_zalloc((o->word_count + 1) * sizeof *paths);
	AUTO(mem_drop) const char **files = mem_must_zalloc((o->word_count + 1) * sizeof *files);
	size_t path_count = 0, file_count = 0;
	struct hunt_rules rules;
	int rc;

	paths[path_count++] = option_value(o, OPTION_dir, "");
	for (size_t i = 0; i < o->word_count; i++) {
		if (i == 0 || hunt_rules_is_file(o->words[i]))
			files[file_count++] = o->words[i];
		else
			paths[path_count++] = o->words[i];
	}
	rc = hunt_rules_read(&rules, files, file_count, RULES_BYTES_MAX, err);
	if (rc == 0)
		rc = open_pool(h, o, err);
	if (rc == 0)
		rc = rules_make(h, &rules, &h->rules, err);
	hunt_rules_release(&rules);
	if (rc || !h->rules)
		return rc ? rc : HUNT_FAILED;
	h->asks_facts = scan_rules_asks_facts(h->rules);
	return hunt_all(h, o, paths, path_count);
}

int hunt_dir(const struct options *o, struct hunt_view *view)
{
	struct hunt_dir h = { .view = view, .wants_hashes = view->format != HUNT_LINES };
	struct err err;
	int rc;

	lock_init(&h.lock, LOCK_HUNT_DIR);
	cond_init(&h.changed);
	h.last = &h.first;
	rc = hunt_with(&h, o, &err);
	hunt_view_end(view);
	if (rc < 0)
		say("%s", err.msg);
	scan_rules_unref(h.rules);
	scan_pool_close(h.pool);
	hunt_hashes_release(&h.told);
	cond_release(&h.changed);
	lock_release(&h.lock);
	return rc < 0 ? HUNT_FAILED : rc;
}
