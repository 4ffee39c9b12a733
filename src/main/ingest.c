#include "ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "main_internal.h"

/*
 * weir ingest: walks, opens, and hands open files over to whoever holds the data
 * folder, many at a time, so that they share commits.
 *
 *   walked --send--> under way --answer--> over --all before it over--> behind the mark
 *                      ^    |
 *                      +----+ the owner is busy: sent again a moment later
 *
 * Invariants
 *  1. Files have numbers in the order of the walk; the window holds those from
 *     `first`, the oldest that is not over, up to `next`.
 *  2. The mark (ingest_mark) is only ever put at a file when it and all before it
 *     are durable or told as failed. What an interrupted run had under way is
 *     sent again by the next and found to be there.
 *  3. No link has more under way than its other end accepts, so sending never
 *     waits for an answer that waits for us.
 */
enum {
	LINKS_MAX = SESSION_LINKS_MAX - 1, /* one is for questions */
	UNDER_WAY_MAX = CONTROL_IN_FLIGHT_MAX,
	UNDER_WAY_BYTES =
		64 << 20, /* the owner keeps small samples in memory until they are stored */
	SAMPLE_MEMORY_MAX = 1 << 20, /* larger ones it does not */
	WINDOW = 4096,               /* one huge file must not hold up the small ones behind it */
	AGAIN_MS = 20,         /* before a file is sent again that the owner was too busy for */
	MARK_US = 1000 * 1000, /* between two marks */
	MARK_FILES = 1000,     /* or after so many files */
	OPEN_MS = 200,         /* between two looks at what is still to be hunted */
};

struct item {
	char *path; /* owned */
	size_t below_at;
	size_t place_path;
	uint64_t bytes;
	int fd; /* until it is over, to send it again */
	unsigned link;
	bool over;
	bool failed;
	bool again;
};

struct link_use {
	struct frame_in *in;
	unsigned under_way;
	bool dead; /* the other end is gone */
};

struct ingest {
	const struct options *o;
	const char *corpus;
	struct session *session;
	struct frame_in *asking;
	struct link_use links[LINKS_MAX];
	unsigned link_count;
	struct walk *walk;
	bool walked; /* the walk is at its end */
	struct item window[WINDOW];
	uint64_t first;
	uint64_t next;
	unsigned under_way;
	uint64_t under_way_bytes;
	unsigned again_count;
	struct ingest_numbers numbers;
	struct ingest_numbers marked; /* of files before `first` */
	struct ingest_count count;
	struct ingest_view view;
	struct ingest_mark mark;
	int64_t marked_us;
	uint64_t marked_first; /* `first` at the last mark */
	char *last_path;       /* owned: of the file before `first`; NULL: none */
	struct walk_place last_place;
	uint64_t last_analysis;
	struct buf request;
	bool ended;     /* nothing more is sent */
	struct err why; /* ... because */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

/* ---- Ends of files ---- */

static void tell_failed(struct ingest *g, const char *path, const char *reason)
{
	AUTO(buf_release) struct buf shown = BUF_INIT(512 * 1024);

	show_text(&shown, str_of(path));
	ingest_view_line(&g->view, "error: " STR_FMT ": %s", STR_ARG(buf_str(&shown)), reason);
	g->numbers.failed++;
}

/* Move the window past what is over. */
static void window_pass(struct ingest *g)
{
	while (g->first < g->next && g->window[g->first % WINDOW].over) {
		struct item *item = &g->window[g->first % WINDOW];

		g->marked.files += !item->failed;
		g->marked.failed += item->failed;
		free(g->last_path);
		g->last_path = STEAL(item->path);
		g->last_place = (struct walk_place){ item->place_path,
						     str_of(g->last_path + item->below_at) };
		*item = (struct item){ .fd = -1 };
		g->first++;
	}
}

static void item_over(struct item *item, bool failed)
{
	item->over = true;
	item->failed = failed;
	if (item->fd >= 0)
		close(item->fd);
	item->fd = -1;
}

static uint64_t memory_of(const struct item *item)
{
	return item->bytes < SAMPLE_MEMORY_MAX ? item->bytes : SAMPLE_MEMORY_MAX;
}

static void stop_sending(struct ingest *g, const struct err *why)
{
	if (!g->ended)
		g->why = *why;
	g->ended = true;
}

/* ---- Answers ---- */

static void answer_good(struct ingest *g, struct item *item, struct frame *f)
{
	bool is_new = frame_take_u64(f) != 0;
	uint64_t bytes = frame_take_u64(f), analysis = frame_take_u64(f);

	g->numbers.files++;
	g->numbers.bytes += bytes;
	g->numbers.duplicates += !is_new;
	if (analysis > g->last_analysis)
		g->last_analysis = analysis;
	item_over(item, false);
}

static void answer_bad(struct ingest *g, struct item *item, struct frame *f)
{
	struct err err;
	int rc = session_error(f, &err);

	if (rc == -ERR_BUSY) {
		item->again = true;
		g->again_count++;
	} else if (rc == -ERR_NO_SPACE || rc == -ERR_CLOSED) {
		/* It would be the same with every other: stop, and go on from here later. */
		stop_sending(g, &err);
	} else {
		tell_failed(g, item->path, err.msg);
		item_over(item, true);
	}
}

static int answer_take(struct ingest *g, struct link_use *link, struct frame *f, struct err *err)
{
	struct item *item = &g->window[f->id % WINDOW];

	if (f->id < g->first || f->id >= g->next || item->over || item->again || !item->path ||
	    &g->links[item->link] != link)
		return f->kind == CONTROL_ERROR
			       ? session_error(f, err)
			       : err_set(err, ERR_IO, "the server's answer is damaged");
	link->under_way--;
	g->under_way--;
	g->under_way_bytes -= memory_of(item);
	if (f->kind == CONTROL_OK)
		answer_good(g, item, f);
	else
		answer_bad(g, item, f);
	return 0;
}

static int link_read(struct ingest *g, struct link_use *link, struct err *err)
{
	bool end, any = true;
	struct frame f;

	TRY(frame_in_read(link->in, &end, err));
	while (any) {
		TRY(frame_in_next(link->in, &f, &any, err));
		if (any)
			TRY(answer_take(g, link, &f, err));
	}
	return end ? err_set(err, ERR_CLOSED, "the server has gone away") : 0;
}

/* Wait for answers, at most until there is something else to do. */
static void answers_wait(struct ingest *g, int timeout_ms)
{
	struct pollfd ready[LINKS_MAX];
	struct err err;
	int due_ms = ingest_view_due_ms(&g->view);

	for (unsigned i = 0; i < g->link_count; i++)
		ready[i] = (struct pollfd){ .fd = g->links[i].dead ? -1 : g->links[i].in->fd,
					    .events = POLLIN };
	if (timeout_ms < 0 || due_ms < timeout_ms)
		timeout_ms = due_ms;
	if (poll(ready, g->link_count, timeout_ms) <= 0)
		return;
	for (unsigned i = 0; i < g->link_count; i++) {
		if (!ready[i].revents || link_read(g, &g->links[i], &err) == 0)
			continue;
		/* No answer of this link will come any more. */
		stop_sending(g, &err);
		g->under_way -= g->links[i].under_way;
		g->links[i].under_way = 0;
		g->links[i].dead = true;
		return;
	}
}

/* ---- Sending ---- */

static unsigned idle_link(const struct ingest *g)
{
	unsigned best = 0;

	for (unsigned i = 1; i < g->link_count; i++) {
		if (g->links[i].under_way < g->links[best].under_way)
			best = i;
	}
	return best;
}

static int item_send(struct ingest *g, uint64_t number, struct err *err)
{
	struct item *item = &g->window[number % WINDOW];
	const char *slash = strrchr(item->path, '/');
	struct link_use *link;
	size_t at;

	item->link = idle_link(g);
	link = &g->links[item->link];
	buf_reset(&g->request);
	at = frame_begin(&g->request, CONTROL_INGEST, number);
	frame_str(&g->request, str_of(slash ? slash + 1 : item->path));
	frame_str(&g->request, str_of(g->corpus));
	frame_end(&g->request, at);
	TRY(buf_check(&g->request, "the name", err));
	TRY(frame_send(link->in->fd, buf_str(&g->request), item->fd, err));
	link->under_way++;
	g->under_way++;
	g->under_way_bytes += memory_of(item);
	return 0;
}

static void item_try_send(struct ingest *g, uint64_t number)
{
	struct err err;

	if (item_send(g, number, &err) != 0)
		stop_sending(g, &err);
}

/* A file of the walk gets its number. */
static void item_new(struct ingest *g, const struct walk_entry *e)
{
	struct item *item = &g->window[g->next % WINDOW];
	char reason[64];
	struct stat st;
	struct err err;

	*item = (struct item){ .path = mem_must_strdup(e->path),
			       .below_at = (size_t)(e->place.below.p - e->path),
			       .place_path = e->place.path,
			       .fd = -1 };
	g->next++;
	if (walk_entry_open(e, &item->fd, &st, &err) != 0) {
		tell_failed(g, e->path, err.msg);
		item_over(item, true);
		return;
	}
	item->bytes = (uint64_t)st.st_size;
	if (item->bytes > LIMIT_SAMPLE_BYTES) {
		snprintf(reason, sizeof reason, "larger than %d bytes", LIMIT_SAMPLE_BYTES);
		tell_failed(g, e->path, reason);
		item_over(item, true);
		return;
	}
	/* The disk may begin while the file waits for its turn. */
	(void)posix_fadvise(item->fd, 0, 0, POSIX_FADV_WILLNEED);
	item_try_send(g, g->next - 1);
}

static void walk_on(struct ingest *g)
{
	AUTO(buf_release) struct buf shown = BUF_INIT(512 * 1024);
	struct walk_entry e;

	walk_next(g->walk, &e);
	switch (e.kind) {
	case WALK_FILE:
		item_new(g, &e);
		break;
	case WALK_FAILED:
		tell_failed(g, e.path, e.reason);
		break;
	case WALK_SKIPPED:
		/* Links are many, and their targets mostly come by themselves. */
		g->numbers.links += e.is_link;
		g->numbers.skipped += !e.is_link;
		show_text(&shown, str_of(e.path));
		if (!e.is_link)
			ingest_view_line(&g->view, "skipped: " STR_FMT ": %s",
					 STR_ARG(buf_str(&shown)), e.reason);
		break;
	case WALK_END:
		g->walked = true;
		break;
	}
}

/* Send those again that the owner was too busy for. */
static void send_again(struct ingest *g)
{
	for (uint64_t i = g->first; i < g->next && g->again_count && !g->ended; i++) {
		struct item *item = &g->window[i % WINDOW];

		if (!item->again)
			continue;
		item->again = false;
		g->again_count--;
		item_try_send(g, i);
	}
}

static bool may_send(const struct ingest *g)
{
	return !g->ended && !g->walked && !g->again_count && g->next - g->first < WINDOW &&
	       g->under_way < UNDER_WAY_MAX && g->under_way_bytes < UNDER_WAY_BYTES;
}

/* ---- The whole ---- */

static void mark_now(struct ingest *g)
{
	struct ingest_numbers numbers = g->marked;
	struct err err;

	g->marked_us = clock_mono_us(clock_system());
	g->marked_first = g->first;
	if (!g->last_path)
		return;
	numbers.before = g->numbers.before;
	numbers.failed_before = g->numbers.failed_before;
	if (ingest_mark_write(&g->mark, &g->last_place, &numbers, &err) != 0)
		ingest_view_line(&g->view, "the place to go on from is not kept: %s", err.msg);
}

static void ingest_all(struct ingest *g)
{
	struct err err;

	while (g->under_way || (!g->ended && (!g->walked || g->again_count))) {
		if (may_send(g))
			walk_on(g);
		if (may_send(g)) {
			answers_wait(g, 0);
		} else if (g->under_way || g->again_count) {
			answers_wait(g, g->again_count ? AGAIN_MS : -1);
			send_again(g);
		}
		window_pass(g);
		ingest_view_tick(&g->view, &g->numbers, &g->count);
		if (g->first - g->marked_first >= MARK_FILES ||
		    clock_mono_us(clock_system()) - g->marked_us >= MARK_US)
			mark_now(g);
		if (interrupted && !g->ended) {
			(void)err_set(&err, ERR_CLOSED, "interrupted");
			stop_sending(g, &err);
		}
	}
	window_pass(g);
}

/* Wait until all that was sent is hunted. */
static int wait_hunted(struct ingest *g, struct err *err)
{
	uint64_t open = g->last_analysis;
	struct frame answer;
	size_t at;

	while (open && !interrupted) {
		buf_reset(&g->request);
		at = frame_begin(&g->request, CONTROL_OPEN, 0);
		frame_u64(&g->request, g->last_analysis);
		frame_end(&g->request, at);
		TRY(session_call(g->asking, buf_str(&g->request), NULL, NULL, &answer, err));
		open = frame_take_u64(&answer);
		ingest_view_waiting(&g->view, open);
		if (open)
			poll(NULL, 0, OPEN_MS);
	}
	return open ? err_set(err, ERR_CLOSED, "interrupted; %llu files are still to be hunted",
			      (unsigned long long)open)
		    : 0;
}

/* ---- Start and end ---- */

/* Where an earlier run stopped. *ret_below: owned, NULL: begin at the beginning. */
static int earlier_run(struct ingest *g, struct walk_place *ret, char **ret_below, struct err *err)
{
	const struct options *o = g->o;
	const char *data = settings_text(&o->settings, SETTING_data);

	*ret_below = NULL;
	TRY(ingest_mark_init(&g->mark, data, g->corpus, o->words, o->word_count, err));
	if (option_given(o, OPTION_restart))
		ingest_mark_remove(&g->mark);
	TRY(ingest_mark_read(&g->mark, o->word_count, &ret->path, ret_below, &g->numbers, err));
	if (*ret_below) {
		AUTO(buf_release) struct buf shown = BUF_INIT(512 * 1024);

		ret->below = str_of(*ret_below);
		show_text(&shown, str_of(o->words[ret->path]));
		buf_add_z(&shown, **ret_below ? "/" : "");
		show_text(&shown, ret->below);
		ingest_view_line(&g->view,
				 "going on after '" STR_FMT
				 "', up to where an earlier run brought in "
				 "%llu files (--restart begins anew)",
				 STR_ARG(buf_str(&shown)), (unsigned long long)g->numbers.before);
	}
	return 0;
}

/* ---- For the audit log: a run has a line at its begin and one at its end ---- */

static int run_begin(struct ingest *g, struct err *err)
{
	AUTO(buf_release) struct buf paths = BUF_INIT(CONTROL_PAYLOAD_MAX / 2);
	struct frame answer;
	size_t at;

	for (size_t i = 0; i < g->o->word_count; i++)
		buf_addf(&paths, "%s%s", i ? " " : "", g->o->words[i]);
	buf_reset(&g->request);
	at = frame_begin(&g->request, CONTROL_INGEST_BEGIN, 0);
	frame_str(&g->request, buf_str(&paths));
	frame_str(&g->request, str_of(g->corpus));
	frame_end(&g->request, at);
	return session_call(g->asking, buf_str(&g->request), NULL, NULL, &answer, err);
}

static void run_end(struct ingest *g)
{
	const struct ingest_numbers *n = &g->numbers;
	const uint64_t numbers[] = { n->files, n->bytes, n->duplicates, n->failed, n->skipped };
	struct frame answer;
	struct err err;
	size_t at;

	buf_reset(&g->request);
	at = frame_begin(&g->request, CONTROL_INGEST_END, 0);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		frame_u64(&g->request, numbers[i]);
	frame_end(&g->request, at);
	/* Where the owner has gone away there is nobody to tell; it has been said. */
	if (session_call(g->asking, buf_str(&g->request), NULL, NULL, &answer, &err) != 0 &&
	    !g->ended)
		ingest_view_line(&g->view, "the audit log: %s", err.msg);
}

static int ingest_open(struct ingest *g, struct err *err)
{
	const struct options *o = g->o;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	AUTO(mem_drop) char *below = NULL;
	struct walk_place after = { 0 };
	struct stat own;
	bool has_own;

	TRY(session_open(&g->session, &o->settings,
			 option_given(o, OPTION_wait) ? SESSION_HUNTS : SESSION_STORES, err));
	TRY(session_link(g->session, &g->asking, err));
	g->link_count = cores < 1 ? 1 : cores > LINKS_MAX ? LINKS_MAX : (unsigned)cores;
	for (unsigned i = 0; i < g->link_count; i++)
		TRY(session_link(g->session, &g->links[i].in, err));
	TRY(earlier_run(g, &after, &below, err));
	TRY(run_begin(g, err));
	has_own = stat(settings_text(&o->settings, SETTING_data), &own) == 0;
	g->walk = walk_new(o->words, o->word_count, below ? &after : NULL, has_own ? &own : NULL);
	ingest_count_start(&g->count, walk_new(o->words, o->word_count, below ? &after : NULL,
					       has_own ? &own : NULL));
	return 0;
}

static void ingest_release(struct ingest *g)
{
	if (g->count.walk)
		ingest_count_stop(&g->count);
	for (; g->first < g->next; g->first++) {
		struct item *item = &g->window[g->first % WINDOW];

		if (item->fd >= 0)
			close(item->fd);
		free(item->path);
	}
	walk_free(g->walk);
	free(g->last_path);
	buf_release(&g->request);
	session_close(g->session);
}

/* What remains to be said and done after the last answer; the exit status. */
static int ingest_end(struct ingest *g)
{
	bool wait = option_given(g->o, OPTION_wait);
	const struct ingest_numbers *n = &g->numbers;
	int status = n->failed || n->failed_before ? STATUS_FAILED : STATUS_OK;
	struct err err;

	run_end(g);
	ingest_view_end(&g->view);
	ingest_view_summary(&g->view, n);
	if (g->ended) {
		mark_now(g);
		ingest_view_line(&g->view, "stopped: %s. The same command goes on from here.",
				 g->why.msg);
		return STATUS_FAILED;
	}
	ingest_mark_remove(&g->mark);
	if (!n->files && !n->before) {
		ingest_view_line(&g->view, "no file was brought in");
		return STATUS_USAGE;
	}
	if (wait && wait_hunted(g, &err) != 0) {
		ingest_view_end(&g->view);
		ingest_view_line(&g->view, "%s", err.msg);
		return STATUS_FAILED;
	}
	ingest_view_end(&g->view);
	if (!wait && !session_is_remote(g->session))
		ingest_view_line(&g->view,
				 "no server runs on this folder: the files are stored, and "
				 "hunted when 'weir serve' starts (--wait hunts now)");
	return status;
}

static int check_words(const struct options *o, const char *corpus, uint64_t *ret_every_s)
{
	if (!o->word_count) {
		say("weir ingest takes files and folders");
		return STATUS_USAGE;
	}
	if (strcmp(corpus, "main") != 0 && strcmp(corpus, "goodware") != 0) {
		say("there is no corpus '%s': main or goodware", corpus);
		return STATUS_USAGE;
	}
	if (!str_to_u64(str_of(option_value(o, OPTION_every, "5")), 86400, ret_every_s)) {
		say("'--every' is a number of seconds, 0 to 86400");
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

int ingest_command(const struct options *o)
{
	struct sigaction once = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };
	const char *corpus = option_value(o, OPTION_corpus, "main");
	struct ingest *g;
	uint64_t every_s;
	struct err err;
	int status = check_words(o, corpus, &every_s);

	if (status)
		return status;
	/* A second one ends at once, which loses nothing either. */
	sigaction(SIGINT, &once, NULL);
	sigaction(SIGTERM, &once, NULL);
	g = mem_must_zalloc(sizeof *g);
	g->o = o;
	g->corpus = corpus;
	buf_init(&g->request, CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX);
	ingest_view_init(&g->view, every_s);
	if (ingest_open(g, &err) != 0) {
		say("%s", err.msg);
		status = STATUS_FAILED;
	} else {
		ingest_all(g);
		ingest_count_stop(&g->count);
		status = ingest_end(g);
	}
	ingest_release(g);
	free(g);
	return status;
}
