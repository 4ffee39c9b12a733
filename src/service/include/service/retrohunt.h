#ifndef SERVICE_RETROHUNT_H
#define SERVICE_RETROHUNT_H
#include "base/thread.h"
#include "service/service.h"
#include "service/users.h"

/*
 * Retrohunt: a job runs rules over everything that is stored, once.
 *
 *   create -> starting -> running -> finished
 *                |           |
 *                +-----------+--> aborting -> aborted
 *
 * What a job promises: every file that was stored when it was made, lies in its
 * corpus and time range and is not larger than hunt_bytes_max was either matched
 * against its rules or is named among the skipped ones; `complete` says so. A match
 * is one rule on one file, told once, in the IoC Stream too. A crash loses and
 * doubles none of them.
 *
 * Threads: all calls from any thread; those that block say so.
 */
enum retrohunt_status {
	RETROHUNT_STARTING,
	RETROHUNT_RUNNING,
	RETROHUNT_ABORTING,
	RETROHUNT_ABORTED,
	RETROHUNT_FINISHED,
	RETROHUNT_STATUSES
};
const char *retrohunt_status_name(enum retrohunt_status status);

enum {
	RETROHUNT_NAME_BYTES = 96, /* "<user>-<seconds>" */
	RETROHUNT_REASON_BYTES = 24,
	RETROHUNT_ERROR_BYTES = 240,
	RETROHUNT_WORKERS_MAX = 256,
	RETROHUNT_EMAILS_MAX = 16,
	RETROHUNT_SKIPPED_SHOWN = 100, /* of skipped files, with the job */
};

struct retrohunt_job {
	int64_t id;                      /* the store's */
	char name[RETROHUNT_NAME_BYTES]; /* what clients know it by */
	int64_t owner_id;
	struct str rules;
	int64_t rule_count;
	struct str corpus;      /* "main", "goodware" */
	struct str emails_json; /* JSON array of strings */
	int64_t start_s, end_s; /* of last submissions, both included; 0: open */
	enum retrohunt_status status;
	int64_t created_s, started_s, finished_s; /* 0: not yet */
	double progress;                          /* percent of files decided, 0 to 100 */
	int64_t eta_s;                            /* -1: not known */
	/* the snapshot, and how much of it is decided */
	int64_t files, files_done;
	int64_t bytes, bytes_done;
	int64_t verified_files, verified_bytes; /* of those: read and scanned */
	int64_t num_matches;                    /* pairs of file and rule */
	int64_t num_files;                      /* files that match */
	int64_t num_skipped;
	/* of one that has ended */
	bool complete;
	char reason[RETROHUNT_REASON_BYTES]; /* why not: "match_limit", "skipped_files",
						"scanner_failures", "aborted"; "" if complete */
	char error[RETROHUNT_ERROR_BYTES];   /* what went wrong, for its owner; "" */
	bool keep_watching;
	int64_t ruleset_id; /* the ruleset that keep_watching made; 0: none */
	int64_t live_from;  /* intake position where the snapshot ended */
};

/*
 * Lets who asked take it back while the rules compile, which then ends at once; the outcome is
 * ERR_CLOSED, unless it was there already. Any thread.
 */
struct scan_child;
struct retrohunt_wish {
	struct lock lock;
	/* under the lock */
	struct scan_child *child; /* that compiles now; NULL: none does */
	bool over;
};
void retrohunt_wish_init(struct retrohunt_wish *w);
void retrohunt_wish_release(struct retrohunt_wish *w);
void retrohunt_wish_end(struct retrohunt_wish *w);

struct retrohunt_new {
	struct str rules;
	struct str corpus;      /* "" is "main" */
	struct str emails_json; /* JSON array of strings; "" is none */
	int64_t start_s, end_s; /* as above */
	bool keep_watching;
	const struct audit_by *by;   /* for the audit log; copied. NULL: the user, from nowhere */
	struct retrohunt_wish *wish; /* lives until the outcome; NULL: it stands */
};

/*
 * The outcome, on a thread that may block; everything in it lives until the call
 * returns. `messages`: a JSON array of the compiler's messages.
 */
typedef void (*retrohunt_done)(const struct retrohunt_job *job, int rc, const struct err *err,
			       struct str messages, void *arg);

/*
 * Compile and begin. Returns at once and copies what it is given; on failure `done`
 * is not called: ERR_INVALID, a member that is not acceptable; ERR_BUSY; ERR_CLOSED.
 * `done` gets ERR_INVALID where the rules do not compile, ERR_QUOTA for the month's
 * jobs, ERR_EXISTS where too many of the user's jobs run.
 */
MUST_USE int retrohunt_create(struct service *svc, const struct user *user,
			      const struct retrohunt_new *ask, retrohunt_done done, void *arg,
			      struct err *err);

/*
 * What such a job would cost, without making one: a JSON object, see the schema
 * retrohunt_estimate. Outcome and errors as retrohunt_create's; ERR_TIMEOUT after
 * half a minute. ERR_EXISTS at once: another of the same owner is under way.
 */
typedef void (*retrohunt_estimated)(struct str attributes_json, int rc, const struct err *err,
				    struct str messages, void *arg);
MUST_USE int retrohunt_estimate(struct service *svc, int64_t owner_id,
				const struct retrohunt_new *ask, retrohunt_estimated done,
				void *arg, struct err *err);

/* By name. ERR_NOT_FOUND also where it is another's. With live counters. */
MUST_USE int retrohunt_get(struct service *svc, int64_t owner_id, struct str name,
			   struct arena *arena, struct retrohunt_job *ret, struct err *err);

struct retrohunt_query {
	int64_t owner_id;
	struct str filter; /* "status:running OR status:starting"; "" is all */
	uint32_t limit;
	int64_t before_id; /* continue behind this one; 0: from the newest */
	bool count;        /* count those that the filter picks */
};
struct retrohunt_page {
	struct retrohunt_job *rows; /* in the arena, newest first */
	size_t count;
	bool more;
	int64_t total; /* -1: not counted */
};
/* Blocks. ERR_INVALID: the filter, with a text for the client. */
MUST_USE int retrohunt_list(struct service *svc, const struct retrohunt_query *query,
			    struct arena *arena, struct retrohunt_page *ret, struct err *err);

/*
 * Stop it: nothing is told any more when this returns. One that was aborted before
 * stays so, and that is no error. Blocks for a commit. ERR_NOT_FOUND; ERR_INVALID:
 * it is finished.
 */
MUST_USE int retrohunt_abort(struct service *svc, int64_t owner_id, struct str name,
			     const struct audit_by *by, struct err *err);
/*
 * Forget it, at once for all who look; a running one is aborted. What it told stays
 * in the stream. Blocks for a commit. ERR_NOT_FOUND.
 */
MUST_USE int retrohunt_delete(struct service *svc, int64_t owner_id, struct str name,
			      const struct audit_by *by, struct err *err);

/* Files that match, in the order they were found. */
struct retrohunt_file {
	int64_t position; /* in the list */
	uint8_t sha256[SHA256_BYTES];
	struct str rule; /* the first that matched it */
	bool is_inside;  /* … in a file inside it */
};
struct retrohunt_files {
	struct retrohunt_file *rows; /* in the arena */
	size_t count;
	bool more;
	int64_t total; /* -1: not counted */
};
/* Behind position `after` (0: from the start). Blocks. */
MUST_USE int retrohunt_matching_files(struct service *svc, int64_t job_id, int64_t after,
				      uint32_t limit, bool count, struct arena *arena,
				      struct retrohunt_files *ret, struct err *err);

/* The same with a row for each rule that matched a file; nothing is counted. Blocks. */
MUST_USE int retrohunt_matches(struct service *svc, int64_t job_id, int64_t after, uint32_t limit,
			       struct arena *arena, struct retrohunt_files *ret, struct err *err);

/* Files that were not scanned: failures first, each in the order of their ids. */
struct retrohunt_skip {
	uint8_t sha256[SHA256_BYTES];
	struct str reason;
	bool is_failure; /* false: it is too large to be hunted */
};
MUST_USE int retrohunt_skipped(struct service *svc, int64_t job_id, uint32_t limit,
			       struct arena *arena, struct retrohunt_skip **ret, size_t *ret_n,
			       struct err *err);

/* Block until no job is under way (or the service stops). For tests. */
void retrohunt_drain(struct service *svc);
#endif
