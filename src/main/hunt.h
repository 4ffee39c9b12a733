#ifndef MAIN_HUNT_H
#define MAIN_HUNT_H
#include "base/hash.h"
#include "hunt_rules.h"
#include "main_internal.h"
#include "scan/scan.h"

/*
 * What both kinds of `weir hunt` have in common (hunt_command.c): rules from a file,
 * results on standard output, progress on standard error.
 */
enum {
	HUNT_FOUND = 0, /* exit statuses, as grep's */
	HUNT_NONE = 1,
	HUNT_FAILED = 2, /* or something could not be looked at */
};

enum hunt_format {
	HUNT_LINES, /* rule and file */
	HUNT_JSON,  /* an object a line */
	HUNT_CSV,
	HUNT_HASHES /* SHA-256 of each file, once */
};

/* Was Ctrl-C pressed, or SIGTERM sent? */
bool hunt_is_interrupted(void);

/* ---- Results and progress: hunt_view.c ---- */

/* What is known of how far it is. */
struct hunt_numbers {
	uint64_t files, bytes;         /* decided */
	uint64_t files_all, bytes_all; /* 0: not known yet */
	uint64_t matches;              /* pairs of file and rule */
	uint64_t failed;
	int64_t eta_s; /* -1: not known */
};

struct hunt_view {
	enum hunt_format format;
	bool is_terminal;
	bool results_are_seen; /* standard output is a terminal, too */
	bool drawn;
	bool closed; /* nobody reads standard output any more */
	int64_t started_us, shown_us, every_us;
};
void hunt_view_init(struct hunt_view *v, enum hunt_format format, uint64_t every_s);
/* Show it if it is time: a bar, or a line where there is no terminal. */
void hunt_view_tick(struct hunt_view *v, const struct hunt_numbers *n);
/* A line of its own on standard error. */
void hunt_view_line(struct hunt_view *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Nothing to count yet: show what is done, and for how long, if it is time. */
void hunt_view_wait(struct hunt_view *v, const char *what);
/*
 * The compiler's messages (a JSON array), as it renders them, with places in files:
 * hunt_messages.c. Errors, and unless the rules are `refused` the first warnings. true: there
 * was an error.
 */
bool hunt_view_messages(struct hunt_view *v, struct str messages_json,
			const struct hunt_rules *rules, bool refused);
void hunt_view_end(struct hunt_view *v);

/* On standard output. Sets `closed` where it cannot be written. */
void hunt_view_print(struct hunt_view *v, const struct buf *text);
/* What a hunt would cost (attributes of a retrohunt_estimate), as it came or for people. */
void hunt_view_estimate(struct hunt_view *v, struct str attributes_json);

/* One rule that matches one file. */
struct hunt_result {
	const struct scan_rule *rule; /* NULL: only its name is known */
	struct str rule_name;
	const char *path;                  /* NULL: a stored sample */
	bool is_inside;                    /* of a stored one: the rule matched a file inside it */
	char sha256[2 * SHA256_BYTES + 1]; /* "": not wanted */
	uint64_t size;
	const struct scan_hit *hit; /* NULL: where it matches is not known */
};
/* Before the first result. */
void hunt_view_head(struct hunt_view *v, bool has_paths);
/* The results of one file. Sets `closed` where they cannot be written. */
void hunt_view_results(struct hunt_view *v, const struct hunt_result *results, size_t n);

/* ---- Kinds ---- */

/* `weir hunt --dir PATH RULES... [PATH...]`: hunt_dir.c. Returns the exit status. */
int hunt_dir(const struct options *o, struct hunt_view *view);
/* `weir hunt RULES...`: hunt_retro.c. */
int hunt_retro(const struct options *o, struct hunt_view *view);
#endif
