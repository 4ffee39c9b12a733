#ifndef MAIN_PROGRESS_H
#define MAIN_PROGRESS_H
#include "base/buf.h"

/*
 * How far long work is, on standard error: a bar in the last line of a terminal,
 * else a line every few seconds.
 */
void progress_put_bytes(struct buf *out, double bytes); /* "12.3 MB" */
void progress_put_duration(struct buf *out, double s);  /* "1:02:03" */
void progress_put_bar(struct buf *out, double share);   /* "[####----]  20% " */
/* The terminal's last line, as much of it as fits; *drawn: it stands there. */
void progress_draw(bool *drawn, struct str text);
void progress_clear(bool *drawn);

/* Work in steps of bytes. */
struct progress {
	const char *command; /* "backup" */
	bool is_terminal;
	bool drawn;
	int64_t started_us;
	int64_t shown_us;
	int64_t every_us;
	/* the present step */
	char step[64];
	int64_t step_us; /* when it began */
	uint64_t done, all;
};
void progress_init(struct progress *p, const char *command, uint64_t every_s);
void progress_tick(struct progress *p, struct str step, uint64_t done, uint64_t all);
/* A line of its own; the bar makes room. */
void progress_line(struct progress *p, struct str line);
void progress_end(struct progress *p);
double progress_seconds(const struct progress *p);
#endif
