#include "hunt.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "progress.h"

enum {
	DRAW_US = 200 * 1000,        /* between two bars */
	LINE_BYTES_MAX = 1 << 20,    /* the longest path, escaped, and a rule's name and matches */
	ETA_AFTER_US = 1000 * 1000,  /* what is guessed from less is no guess */
	FILE_COST_BYTES = 64 * 1024, /* what a file costs beside its bytes, for the time left */
};

static int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

void hunt_view_init(struct hunt_view *v, enum hunt_format format, uint64_t every_s)
{
	*v = (struct hunt_view){ .format = format,
				 .is_terminal = isatty(STDERR_FILENO) == 1,
				 .results_are_seen = isatty(STDOUT_FILENO) == 1,
				 .started_us = now_us() };
	v->every_us = v->is_terminal ? DRAW_US : (int64_t)every_s * 1000000;
	v->shown_us = v->started_us;
}

/* ---- Progress ---- */

static double cost(uint64_t files, uint64_t bytes)
{
	return (double)files * FILE_COST_BYTES + (double)bytes;
}

/* 0 to 1; below 0: the end is not known. */
static double share_done(const struct hunt_numbers *n)
{
	double all = cost(n->files_all, n->bytes_all), done = cost(n->files, n->bytes);

	if (all <= 0)
		return -1;
	return done < all ? done / all : 1;
}

static void put_time_left(struct buf *out, const struct hunt_view *v, const struct hunt_numbers *n,
			  double share, int64_t now)
{
	double spent = (double)(now - v->started_us) / 1e6;

	if (n->eta_s < 0 && (share <= 0 || now - v->started_us < ETA_AFTER_US))
		return;
	buf_add_z(out, ", ");
	progress_put_duration(out, n->eta_s >= 0 ? (double)n->eta_s : spent / share - spent);
	buf_add_z(out, " left");
}

static void put_amount(struct buf *out, uint64_t files, uint64_t all)
{
	buf_addf(out, "%llu", (unsigned long long)files);
	if (all)
		buf_addf(out, " of %llu", (unsigned long long)all);
	buf_add_z(out, " files, ");
}

static bool is_time(struct hunt_view *v, int64_t now)
{
	if (now - v->shown_us < v->every_us)
		return false;
	v->shown_us = now;
	return true;
}

static void show(struct hunt_view *v, const struct buf *line)
{
	if (v->is_terminal)
		progress_draw(&v->drawn, buf_str(line));
	else
		hunt_view_line(v, STR_FMT, STR_ARG(buf_str(line)));
}

void hunt_view_wait(struct hunt_view *v, const char *what)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);
	int64_t now = now_us();

	if (!is_time(v, now))
		return;
	buf_addf(&line, "%s, ", what);
	progress_put_duration(&line, (double)(now - v->started_us) / 1e6);
	show(v, &line);
}

void hunt_view_tick(struct hunt_view *v, const struct hunt_numbers *n)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);
	double share = share_done(n), spent;
	int64_t now = now_us();

	if (!is_time(v, now))
		return;
	spent = (double)(now - v->started_us) / 1e6;
	if (v->is_terminal && share >= 0)
		progress_put_bar(&line, share);
	put_amount(&line, n->files, n->files_all);
	progress_put_bytes(&line, (double)n->bytes);
	buf_addf(&line, ", %llu matches, ", (unsigned long long)n->matches);
	progress_put_bytes(&line, (double)n->bytes / spent);
	buf_add_z(&line, "/s");
	if (n->failed)
		buf_addf(&line, ", %llu errors", (unsigned long long)n->failed);
	put_time_left(&line, v, n, share, now);
	show(v, &line);
}

void hunt_view_line(struct hunt_view *v, const char *fmt, ...)
{
	AUTO(buf_release) struct buf line = BUF_INIT(LINE_BYTES_MAX);
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&line, fmt, ap);
	va_end(ap);
	progress_clear(&v->drawn);
	fprintf(stderr, "weir hunt: " STR_FMT "\n", STR_ARG(buf_str(&line)));
	fflush(stderr);
}

void hunt_view_end(struct hunt_view *v)
{
	progress_clear(&v->drawn);
	fflush(stderr);
}

/* ---- Results ---- */

/* Exactly the path for programs; on a terminal what it would harm is shown instead. */
static void put_csv(struct buf *out, const struct hunt_result *r, bool is_seen)
{
	AUTO(buf_release) struct buf shown = BUF_INIT(LINE_BYTES_MAX);
	char size[24];

	snprintf(size, sizeof size, "%llu", (unsigned long long)r->size);
	csv_field(out, r->rule_name);
	csv_field(out, str_of(r->sha256));
	if (r->path) {
		csv_field(out, str_of(size));
		if (is_seen)
			show_text(&shown, str_of(r->path));
		csv_field(out, is_seen ? buf_str(&shown) : str_of(r->path));
	}
	buf_add_c(out, '\n');
}

static void put_matches(struct json *j, const struct scan_hit *hit)
{
	json_key(j, "matches");
	json_arr(j);
	for (uint32_t i = 0; i < hit->match_count; i++) {
		json_obj(j);
		json_kv_i64(j, "offset", (int64_t)hit->matches[i].offset);
		json_kv_i64(j, "length", (int64_t)hit->matches[i].len);
		json_obj_end(j);
	}
	json_arr_end(j);
	json_kv_bool(j, "more_matches", hit->matches_cut);
}

static void put_json(struct buf *out, const struct hunt_result *r)
{
	struct json j;

	json_init(&j, out);
	json_obj(&j);
	json_kv_str(&j, "rule", r->rule_name);
	if (r->rule) {
		json_key(&j, "tags");
		json_arr(&j);
		for (uint32_t i = 0; i < r->rule->tag_count; i++)
			json_str(&j, r->rule->tags[i]);
		json_arr_end(&j);
		json_key(&j, "meta");
		json_raw(&j, r->rule->metadata_json);
	}
	json_kv_z(&j, "sha256", r->sha256);
	if (r->path) {
		json_kv_i64(&j, "size", (int64_t)r->size);
		json_kv_z(&j, "path", r->path);
	} else {
		json_kv_bool(&j, "match_in_subfile", r->is_inside);
	}
	if (r->hit)
		put_matches(&j, r->hit);
	json_obj_end(&j);
	json_end(&j);
	buf_add_c(out, '\n');
}

static void put_line(struct buf *out, const struct hunt_result *r)
{
	buf_add_str(out, r->rule_name);
	buf_add_c(out, ' ');
	show_text(out, str_of(r->path ? r->path : r->sha256));
	buf_add_c(out, '\n');
}

void hunt_view_print(struct hunt_view *v, const struct buf *text)
{
	progress_clear(&v->drawn);
	if (v->closed)
		return;
	if (fwrite(buf_str(text).p, 1, text->n, stdout) == text->n && fflush(stdout) == 0)
		return;
	/* `weir hunt … | head` had enough; anything else is worth a word. */
	if (errno != EPIPE)
		hunt_view_line(v, "cannot write: %s", strerror(errno));
	v->closed = true;
}

void hunt_view_head(struct hunt_view *v, bool has_paths)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);

	if (v->format != HUNT_CSV)
		return;
	buf_add_z(&line, has_paths ? "rule,sha256,size,path\n" : "rule,sha256\n");
	hunt_view_print(v, &line);
}

void hunt_view_results(struct hunt_view *v, const struct hunt_result *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		AUTO(buf_release) struct buf line = BUF_INIT(4 * LINE_BYTES_MAX);

		switch (v->format) {
		case HUNT_LINES:
			put_line(&line, &results[i]);
			break;
		case HUNT_JSON:
			put_json(&line, &results[i]);
			break;
		case HUNT_CSV:
			put_csv(&line, &results[i], v->results_are_seen);
			break;
		case HUNT_HASHES:
			buf_addf(&line, "%s\n", results[i].sha256);
			n = 1; /* the file, once */
			break;
		}
		hunt_view_print(v, &line);
	}
}
