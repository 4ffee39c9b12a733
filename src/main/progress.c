#include "progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	DRAW_US = 200 * 1000, /* between two bars: smooth enough, and cheap */
	COLUMNS_DEFAULT = 80,
	BAR_CELLS = 20,
	RATE_AFTER_US = 500 * 1000, /* a rate of less says nothing */
};

void progress_put_bytes(struct buf *out, double bytes)
{
	static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
	size_t i = 0;

	while (bytes >= 1000 && i + 1 < sizeof units / sizeof units[0]) {
		bytes /= 1000;
		i++;
	}
	buf_addf(out, i ? "%.1f %s" : "%.0f %s", bytes, units[i]);
}

void progress_put_duration(struct buf *out, double s)
{
	uint64_t whole = (uint64_t)s;

	if (whole >= 3600)
		buf_addf(out, "%llu:%02u:%02u", (unsigned long long)(whole / 3600),
			 (unsigned)(whole / 60 % 60), (unsigned)(whole % 60));
	else
		buf_addf(out, "%u:%02u", (unsigned)(whole / 60), (unsigned)(whole % 60));
}

static size_t columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col
									   : COLUMNS_DEFAULT;
}

void progress_draw(bool *drawn, struct str text)
{
	size_t width = columns() - 1;

	fprintf(stderr, "\r%.*s\033[K", (int)(text.n < width ? text.n : width), text.p);
	fflush(stderr);
	*drawn = true;
}

void progress_clear(bool *drawn)
{
	if (*drawn)
		fputs("\r\033[K", stderr);
	*drawn = false;
}

void progress_put_bar(struct buf *out, double share)
{
	int cells = (int)(share * BAR_CELLS);

	buf_add_c(out, '[');
	for (int i = 0; i < BAR_CELLS; i++)
		buf_add_c(out, i < cells ? '#' : '-');
	buf_addf(out, "] %3d%% ", (int)(share * 100));
}

static int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

void progress_init(struct progress *p, const char *command, uint64_t every_s)
{
	*p = (struct progress){ .command = command,
				.is_terminal = isatty(STDERR_FILENO) == 1,
				.started_us = now_us() };
	p->every_us = p->is_terminal ? DRAW_US : (int64_t)every_s * 1000000;
	p->shown_us = p->step_us = p->started_us;
}

static void put_line(struct buf *out, const struct progress *p, int64_t now)
{
	double spent = (double)(now - p->step_us) / 1e6, share;

	share = p->all ? (double)p->done / (double)p->all : 0;
	share = share < 1 ? share : 1;
	if (p->is_terminal && p->all)
		progress_put_bar(out, share);
	buf_add_z(out, p->step);
	if (!p->all)
		return;
	buf_add_z(out, ": ");
	/* A step of other things than bytes says so. */
	if (strchr(p->step, ',')) {
		buf_addf(out, "%llu of %llu", (unsigned long long)p->done,
			 (unsigned long long)p->all);
	} else {
		progress_put_bytes(out, (double)p->done);
		buf_add_z(out, " of ");
		progress_put_bytes(out, (double)p->all);
	}
	if (now - p->step_us < RATE_AFTER_US)
		return;
	buf_add_z(out, ", ");
	if (strchr(p->step, ','))
		buf_addf(out, "%.0f", (double)p->done / spent);
	else
		progress_put_bytes(out, (double)p->done / spent);
	buf_add_z(out, "/s");
	if (share > 0) {
		buf_add_z(out, ", ");
		progress_put_duration(out, spent / share - spent);
		buf_add_z(out, " left");
	}
}

void progress_tick(struct progress *p, struct str step, uint64_t done, uint64_t all)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);
	int64_t now = now_us();

	if (!str_eq_z(step, p->step)) {
		snprintf(p->step, sizeof p->step, STR_FMT, STR_ARG(step));
		p->step_us = now;
	}
	p->done = done;
	p->all = all;
	if (now - p->shown_us < p->every_us)
		return;
	p->shown_us = now;
	put_line(&line, p, now);
	if (p->is_terminal)
		progress_draw(&p->drawn, buf_str(&line));
	else
		progress_line(p, buf_str(&line));
}

void progress_line(struct progress *p, struct str line)
{
	progress_clear(&p->drawn);
	fprintf(stderr, "weir %s: " STR_FMT "\n", p->command, STR_ARG(line));
	fflush(stderr);
}

void progress_end(struct progress *p)
{
	progress_clear(&p->drawn);
	fflush(stderr);
}

double progress_seconds(const struct progress *p)
{
	return (double)(now_us() - p->started_us) / 1e6;
}
