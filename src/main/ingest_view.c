#include "ingest.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "progress.h"

enum {
	DRAW_US = 200 * 1000,        /* between two bars: smooth enough, and cheap */
	RATE_US = 3000 * 1000,       /* time over which a rate is measured */
	FILE_COST_BYTES = 64 * 1024, /* what a file costs beside its bytes, for the time left */
};

/* ---- Counting ahead ---- */

static void count_run(void *arg)
{
	struct ingest_count *c = arg;
	struct walk_entry e;

	for (walk_next(c->walk, &e); e.kind != WALK_END && !c->stop; walk_next(c->walk, &e)) {
		if (e.kind == WALK_FILE) {
			c->files++;
			c->bytes += e.size;
		}
	}
	c->over = e.kind == WALK_END;
}

void ingest_count_start(struct ingest_count *c, struct walk *walk)
{
	struct err err;

	*c = (struct ingest_count){ .walk = walk };
	/* Without it there is no time left to show: no reason to fail. */
	if (thread_start(&c->thread, "count", count_run, c, &err) != 0)
		c->thread.started = false;
}

void ingest_count_stop(struct ingest_count *c)
{
	c->stop = true;
	thread_join(&c->thread);
	walk_free(c->walk);
	c->walk = NULL;
}

/* ---- Numbers ---- */

static int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

void ingest_view_init(struct ingest_view *v, uint64_t every_s)
{
	*v = (struct ingest_view){ .is_terminal = isatty(STDERR_FILENO) == 1,
				   .started_us = now_us() };
	v->every_us = v->is_terminal ? DRAW_US : (int64_t)every_s * 1000000;
	v->shown_us = v->rate_since_us = v->started_us;
}

int ingest_view_due_ms(const struct ingest_view *v)
{
	int64_t left = v->shown_us + v->every_us - now_us();

	return left > 0 ? (int)(left / 1000 + 1) : 0;
}

static void measure(struct ingest_view *v, const struct ingest_numbers *n, int64_t now)
{
	double s = (double)(now - v->rate_since_us) / 1e6;

	if (v->files_per_s > 0 && now - v->rate_since_us < RATE_US)
		return;
	if (s < 0.2)
		return;
	v->files_per_s = (double)(n->files - v->rate_files) / s;
	v->bytes_per_s = (double)(n->bytes - v->rate_bytes) / s;
	v->rate_since_us = now;
	v->rate_files = n->files;
	v->rate_bytes = n->bytes;
}

static double cost(uint64_t files, uint64_t bytes)
{
	return (double)files * FILE_COST_BYTES + (double)bytes;
}

/* 0 to 1; below 0 when the end is not known. */
static double share_done(const struct ingest_numbers *n, const struct ingest_count *count)
{
	double all = cost(count->files, count->bytes);
	double done = cost(n->files + n->failed, n->bytes);

	if (!count->over || all <= 0)
		return -1;
	return done < all ? done / all : 1;
}

static void put_numbers(struct buf *out, const struct ingest_view *v,
			const struct ingest_numbers *n, const struct ingest_count *count)
{
	buf_addf(out, "%llu", (unsigned long long)n->files);
	if (count->over)
		buf_addf(out, " of %llu", (unsigned long long)count->files);
	buf_add_z(out, " files, ");
	progress_put_bytes(out, (double)n->bytes);
	buf_addf(out, ", %.0f files/s, ", v->files_per_s);
	progress_put_bytes(out, v->bytes_per_s);
	buf_addf(out, "/s, %llu duplicates, %llu errors", (unsigned long long)n->duplicates,
		 (unsigned long long)n->failed);
}

static void put_time_left(struct buf *out, const struct ingest_view *v, double share, int64_t now)
{
	double spent = (double)(now - v->started_us) / 1e6;

	if (share > 0.01 || (share > 0 && spent > 2)) {
		buf_add_z(out, ", ");
		progress_put_duration(out, spent / share - spent);
		buf_add_z(out, " left");
	}
}

/* ---- Showing ---- */

/* Is it time to show something? Then it counts as shown. */
static bool is_time(struct ingest_view *v, int64_t now)
{
	if (now - v->shown_us < v->every_us)
		return false;
	v->shown_us = now;
	return true;
}

void ingest_view_tick(struct ingest_view *v, const struct ingest_numbers *n,
		      const struct ingest_count *count)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);
	int64_t now = now_us();
	double share;

	if (!is_time(v, now))
		return;
	measure(v, n, now);
	share = share_done(n, count);
	if (v->is_terminal && share >= 0)
		progress_put_bar(&line, share);
	put_numbers(&line, v, n, count);
	put_time_left(&line, v, share, now);
	if (v->is_terminal)
		progress_draw(&v->drawn, buf_str(&line));
	else
		ingest_view_line(v, STR_FMT, STR_ARG(buf_str(&line)));
}

void ingest_view_waiting(struct ingest_view *v, uint64_t open)
{
	char line[64];

	if (!is_time(v, now_us()))
		return;
	snprintf(line, sizeof line, "hunting: %llu files to go", (unsigned long long)open);
	if (v->is_terminal)
		progress_draw(&v->drawn, str_of(line));
	else
		ingest_view_line(v, "%s", line);
}

void ingest_view_line(struct ingest_view *v, const char *fmt, ...)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1 << 20); /* the longest path, escaped */
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&line, fmt, ap);
	va_end(ap);
	progress_clear(&v->drawn);
	fprintf(stderr, "weir ingest: " STR_FMT "\n", STR_ARG(buf_str(&line)));
	fflush(stderr);
}

void ingest_view_end(struct ingest_view *v)
{
	progress_clear(&v->drawn);
	fflush(stderr);
}

void ingest_view_summary(const struct ingest_view *v, const struct ingest_numbers *n)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);
	double s = (double)(now_us() - v->started_us) / 1e6;

	buf_addf(&line, "%llu files (", (unsigned long long)n->files);
	progress_put_bytes(&line, (double)n->bytes);
	buf_addf(&line, ") in %.1f s: %llu new, %llu duplicates, %llu errors", s,
		 (unsigned long long)(n->files - n->duplicates), (unsigned long long)n->duplicates,
		 (unsigned long long)n->failed);
	if (s > 0.05) {
		buf_addf(&line, "; %.0f files/s, ", (double)n->files / s);
		progress_put_bytes(&line, (double)n->bytes / s);
		buf_add_z(&line, "/s");
	}
	if (n->before || n->failed_before)
		buf_addf(&line, "; an earlier run had brought in %llu, with %llu errors",
			 (unsigned long long)n->before, (unsigned long long)n->failed_before);
	if (n->links)
		buf_addf(&line, "; %llu symbolic links not followed", (unsigned long long)n->links);
	if (n->skipped)
		buf_addf(&line, "; %llu others skipped", (unsigned long long)n->skipped);
	printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
	fflush(stdout);
}
