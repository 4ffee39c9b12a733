#ifndef MAIN_REPORT_H
#define MAIN_REPORT_H
#include "base/json.h"
#include "main_internal.h"
#include "progress.h"

/*
 * What a command of long work says: how far it is, what it found, and its outcome in
 * one line, or findings and outcome as one JSON object.
 */
struct report {
	struct progress view;
	bool as_json;
	bool findings_are_output; /* they go to standard output, not among the progress */
	struct buf findings;      /* as elements of a JSON array */
	uint64_t finding_count;
};

/* Reads `--json` and `--every`. false: wrong usage, which has been said. */
bool report_init(struct report *r, const struct options *o, const char *command);
void report_release(struct report *r);
void report_finding(struct report *r, struct str check, struct str text);
/* For session_call: an item of a task. */
void report_item(struct frame *f, void *arg);
/* Print one object: what `put` puts (NULL: the error), seconds, findings. */
void report_print_json(struct report *r, void (*put)(struct json *j, const void *arg),
		       const void *arg, const struct err *err);

/* Options that several commands have. false: wrong usage, which has been said. */
bool read_number(const struct options *o, enum option_id id, const char *otherwise, uint64_t min,
		 uint64_t max, uint64_t *ret);
bool read_rate(const struct options *o, uint64_t *ret);
#endif
