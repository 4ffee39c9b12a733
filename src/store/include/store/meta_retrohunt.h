#ifndef STORE_META_RETROHUNT_H
#define STORE_META_RETROHUNT_H
#include "base/arena.h"
#include "base/hash.h"
#include "store/sql.h"

/*
 * Rows of Retrohunt: retrohunt_job, retrohunt_task, retrohunt_match, retrohunt_skipped,
 * retrohunt_watch, and the counts in file_run. Functions that change rows are for the
 * writer's connection. Text in rows lives in the given arena.
 *
 * Invariants, each within every transaction
 *  1. A job is open (starting, running, aborting) as long as it may have tasks; one that
 *     ended has none.
 *  2. files_done … failed of a job are sums over its tasks that are done; of one that
 *     ended before, they say how far it was.
 *  3. matches and matching_files are the numbers of its rows in retrohunt_match.
 */

/* Bits by status, for lists. In the order of retrohunt_row_status. */
enum retrohunt_row_status {
	RETROHUNT_ROW_STARTING,
	RETROHUNT_ROW_RUNNING,
	RETROHUNT_ROW_ABORTING,
	RETROHUNT_ROW_ABORTED,
	RETROHUNT_ROW_FINISHED,
	RETROHUNT_ROW_STATUSES
};
const char *retrohunt_row_status_name(enum retrohunt_row_status status);

/* What a task adds to its job when it is done. */
struct retrohunt_done {
	int64_t files, bytes; /* decided, in whatever way */
	int64_t verified_files, verified_bytes;
	int64_t skipped, failed;
};

struct retrohunt_row {
	int64_t id;
	struct str name;
	int64_t owner_id;
	struct str rules;
	int64_t rule_count;
	struct str corpus;
	struct str emails;
	int64_t start_s, end_s; /* 0: open */
	enum retrohunt_row_status status;
	int64_t created_s, started_s, finished_s; /* 0: not yet */
	int64_t last_id;
	int64_t live_from;
	int64_t files, bytes;
	struct retrohunt_done done;
	int64_t matches, matching_files;
	struct str reason, error; /* empty: none */
	int64_t ruleset_id;       /* 0: none */
};

/* Insert all but id, dates of start and end, counters, reason and error. */
MUST_USE int retrohunt_row_insert(struct sql_conn *conn, const struct retrohunt_row *row,
				  int64_t *ret_id, struct err *err);
/* Is or was there one of this name? */
MUST_USE int retrohunt_name_exists(struct sql_conn *conn, struct str name, bool *ret,
				   struct err *err);
/* The id of one of this name, deleted ones too; 0: there is and was none. */
MUST_USE int retrohunt_name_id(struct sql_conn *conn, struct str name, int64_t *ret,
			       struct err *err);
/* What has not been deleted. ERR_NOT_FOUND also where somebody else owns it. */
MUST_USE int retrohunt_row_get(struct sql_conn *conn, int64_t owner_id, struct str name,
			       struct arena *arena, struct retrohunt_row *ret, struct err *err);
/* Whatever became of it. ERR_NOT_FOUND. */
MUST_USE int retrohunt_row_by_id(struct sql_conn *conn, int64_t id, struct arena *arena,
				 struct retrohunt_row *ret, struct err *err);
struct retrohunt_rows_query {
	int64_t owner_id;
	unsigned statuses; /* bits 1 << status */
	int64_t before_id; /* 0: from the newest */
	uint32_t limit;
	size_t bytes_max; /* of rules: the list ends early, but not before its first row */
};
/* Newest first. *ret_more: there are rows behind them. */
MUST_USE int retrohunt_rows(struct sql_conn *conn, const struct retrohunt_rows_query *query,
			    struct arena *arena, struct retrohunt_row **ret, size_t *ret_n,
			    bool *ret_more, struct err *err);
MUST_USE int retrohunt_rows_count(struct sql_conn *conn, int64_t owner_id, unsigned statuses,
				  int64_t *ret, struct err *err);
/* How many of the owner's are open. */
MUST_USE int retrohunt_open_count(struct sql_conn *conn, int64_t owner_id, int64_t *ret,
				  struct err *err);
/* Ids of open jobs behind that one, ascending, up to `max`. */
MUST_USE int retrohunt_open_ids(struct sql_conn *conn, int64_t after_id, int64_t *ret, size_t max,
				size_t *ret_n, struct err *err);
/* How it stands: is it starting or running, and not deleted? */
MUST_USE int retrohunt_is_live(struct sql_conn *conn, int64_t id, bool *ret, struct err *err);
/* Has it not ended yet? */
MUST_USE int retrohunt_is_open(struct sql_conn *conn, int64_t id, bool *ret, struct err *err);
/* How far it is: for one that is to end before all its tasks are done. */
MUST_USE int retrohunt_row_set_done(struct sql_conn *conn, int64_t id,
				    const struct retrohunt_done *done, struct err *err);
/* starting becomes running. */
MUST_USE int retrohunt_row_start(struct sql_conn *conn, int64_t id, int64_t now_s, struct err *err);
/*
 * It ends as `status` with this reason and error (empty: none); its tasks go. Nothing
 * happens to one that has ended.
 */
MUST_USE int retrohunt_row_end(struct sql_conn *conn, int64_t id, enum retrohunt_row_status status,
			       struct str reason, struct str error, int64_t now_s, struct err *err);
/* A live one is to be aborted; *ret_changed false: it was not live. */
MUST_USE int retrohunt_row_abort(struct sql_conn *conn, int64_t id, bool *ret_changed,
				 struct err *err);
/* Hide it for good; retrohunt_sweep takes its rows away. */
MUST_USE int retrohunt_row_delete(struct sql_conn *conn, int64_t id, struct err *err);
/*
 * Take away up to max_rows rows of deleted jobs that have ended. *ret_done: nothing is
 * left to take.
 */
MUST_USE int retrohunt_sweep(struct sql_conn *conn, uint32_t max_rows, bool *ret_done,
			     struct err *err);

/* ---- Tasks ---- */

struct retrohunt_task_row {
	int64_t number;
	int64_t first_id, last_id; /* both included */
};
MUST_USE int retrohunt_task_add(struct sql_conn *conn, int64_t job_id,
				const struct retrohunt_task_row *task, struct err *err);
/* Claim up to `max` of those that nobody is at, in order of their numbers. */
MUST_USE int retrohunt_tasks_claim(struct sql_conn *conn, int64_t job_id, struct str owner,
				   int64_t lease_until_s, struct retrohunt_task_row *ret,
				   size_t max, size_t *ret_n, struct err *err);
/* Nobody is at any task. */
MUST_USE int retrohunt_tasks_release(struct sql_conn *conn, struct err *err);
/* One of ours is done: its job's counters move. *ret_mine false: it is not ours any more. */
MUST_USE int retrohunt_task_done(struct sql_conn *conn, int64_t job_id, int64_t number,
				 struct str owner, const struct retrohunt_done *done,
				 bool *ret_mine, struct err *err);
/* Is it claimed by this owner? */
MUST_USE int retrohunt_task_is_held(struct sql_conn *conn, int64_t job_id, int64_t number,
				    struct str owner, bool *ret, struct err *err);
MUST_USE int retrohunt_has_tasks(struct sql_conn *conn, int64_t job_id, bool *ret, struct err *err);

/* ---- What was found ---- */

struct retrohunt_match_row {
	int64_t job_id;
	int64_t file_id;
	const uint8_t *sha256;
	struct str rule;
	bool is_inside; /* in a file inside this one */
};
/*
 * Note a match, unless the job has `matches_max` already (*ret_full). *ret_new false: it
 * is there; one of the file itself then counts more than one inside. The job's counters move
 * with a new one.
 */
MUST_USE int retrohunt_match_add(struct sql_conn *conn, const struct retrohunt_match_row *match,
				 int64_t matches_max, bool *ret_new, bool *ret_full,
				 struct err *err);
struct retrohunt_match_file {
	int64_t id; /* position in the list */
	uint8_t sha256[SHA256_BYTES];
	struct str rule;
	bool is_inside;
};
/* Files behind position `after`, each with the first rule that matched it. */
MUST_USE int retrohunt_match_files(struct sql_conn *conn, int64_t job_id, int64_t after,
				   uint32_t limit, struct arena *arena,
				   struct retrohunt_match_file **ret, size_t *ret_n,
				   struct err *err);

/* Every match behind position `after`: as above, but a file for each of its rules. */
MUST_USE int retrohunt_match_rules(struct sql_conn *conn, int64_t job_id, int64_t after,
				   uint32_t limit, struct arena *arena,
				   struct retrohunt_match_file **ret, size_t *ret_n,
				   struct err *err);

/* Name a file that was not scanned; `is_failure`: it should have been. Idempotent. */
MUST_USE int retrohunt_skip_add(struct sql_conn *conn, int64_t job_id, int64_t file_id,
				struct str reason, bool is_failure, struct err *err);
struct retrohunt_skip_row {
	uint8_t sha256[SHA256_BYTES];
	struct str reason;
	bool is_failure;
};
/* Failures first. */
MUST_USE int retrohunt_skips(struct sql_conn *conn, int64_t job_id, uint32_t limit,
			     struct arena *arena, struct retrohunt_skip_row **ret, size_t *ret_n,
			     struct err *err);

/* ---- Rulesets that watch on ---- */

struct retrohunt_watch {
	int64_t job_id; /* 0: the ruleset is not one of those */
	int64_t live_from;
};
MUST_USE int retrohunt_watch_add(struct sql_conn *conn, int64_t ruleset_id, int64_t job_id,
				 int64_t live_from, struct err *err);
MUST_USE int retrohunt_watch_of(struct sql_conn *conn, int64_t ruleset_id,
				struct retrohunt_watch *ret, struct err *err);

/* ---- Files to look at ---- */

enum {
	FILE_RUN_IDS = 65536 /* ids of one row of file_run */
};
/* All files of a corpus that are there now. */
MUST_USE int file_runs_total(struct sql_conn *conn, struct str corpus, int64_t *ret_files,
			     int64_t *ret_bytes, struct err *err);
/* Of those with ids in a range, both included. Counts single files at its ends only. */
MUST_USE int file_runs_range(struct sql_conn *conn, struct str corpus, int64_t first_id,
			     int64_t last_id, int64_t *ret_files, int64_t *ret_bytes,
			     struct err *err);
/* The last run before that one in which a corpus has files. */
MUST_USE int file_run_before(struct sql_conn *conn, struct str corpus, int64_t run, int64_t *ret,
			     bool *ret_found, struct err *err);
struct retrohunt_file_row {
	int64_t id;
	uint64_t size; /* bytes */
	uint64_t offset;
	uint32_t pack;
};
/* Those of a corpus with ids in (after_id, last_id], by rising id, into the caller's array. */
MUST_USE int retrohunt_range_files(struct sql_conn *conn, struct str corpus, int64_t after_id,
				   int64_t last_id, struct retrohunt_file_row *ret, size_t max,
				   size_t *ret_n, struct err *err);
/* What a job is about. */
struct retrohunt_scope {
	int64_t last_id;
	struct str corpus;
	int64_t start_s, end_s; /* of the last submission, both included; 0: open */
};
struct retrohunt_subject {
	uint8_t sha256[SHA256_BYTES];
	bool in_scope;
};
/* What decides whether a match counts now. *ret_found false: the file is gone. */
MUST_USE int retrohunt_subject(struct sql_conn *conn, int64_t file_id,
			       const struct retrohunt_scope *scope, struct retrohunt_subject *ret,
			       bool *ret_found, struct err *err);
enum {
	RETROHUNT_LOOKS_MAX = 1000, /* containers looked at to find out whether a file is asked … */
	RETROHUNT_AROUND_MAX = 100000, /* … and to tell a match: a tenth of a second */
};
/*
 * Is the file in the scope, or anything around it? A match in it is then to be told. Of a file
 * that is in more containers than are looked at it may be yes for none.
 */
MUST_USE int retrohunt_is_asked(struct sql_conn *conn, int64_t file_id,
				const struct retrohunt_scope *scope, bool *ret, struct err *err);
/*
 * The containers around a file, at any depth, that are in the scope: by rising id. *ret: the
 * caller's, to be freed. *ret_cut: there are more than are looked at.
 */
MUST_USE int retrohunt_around(struct sql_conn *conn, int64_t file_id,
			      const struct retrohunt_scope *scope, int64_t **ret, size_t *ret_n,
			      bool *ret_cut, struct err *err);
/* The statements of the last two, for the test of how the database runs them. */
extern const char RETROHUNT_IS_ASKED_SQL[], RETROHUNT_AROUND_SQL[];
#endif
