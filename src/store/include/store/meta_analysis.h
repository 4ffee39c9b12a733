#ifndef STORE_META_ANALYSIS_H
#define STORE_META_ANALYSIS_H
#include "store/meta_file.h"
#include "store/writer.h"

/*
 * The durable queue of analyses.
 *
 *   queued --analysis_claim--> claimed --analysis_complete--> completed
 *     ^                           |
 *     +---- analysis_release -----+   (start-up, shutdown, lost lease)
 *
 * Intake positions are assigned in commit order. All calls are for the writer's
 * connection, except the look-ups.
 */
enum {
	ANALYSIS_ROW_QUEUED = 0,
	ANALYSIS_ROW_CLAIMED = 1,
	ANALYSIS_ROW_COMPLETED = 2
};

/*
 * Queue an analysis of the file, or join the one that is queued and not yet
 * claimed (*ret_joined). A joined one moves up if `lane` is the faster one.
 */
MUST_USE int analysis_queue(struct sql_conn *conn, int64_t file_id, int64_t submission_id,
			    enum write_lane lane, int64_t now_s, int64_t *ret_id,
			    int64_t *ret_intake, bool *ret_joined, struct err *err);

/* Values are stored. */
enum analysis_suspect {
	ANALYSIS_PLAIN,
	ANALYSIS_KILLED, /* a scan of it killed a child: it is to be looked into, not scanned */
	ANALYSIS_HUNG    /* or exceeded its time */
};

struct analysis_claimed {
	int64_t id;
	int64_t intake;
	int64_t generation; /* current when it was claimed */
	enum write_lane lane;
	int64_t attempts; /* times it was under way when the server crashed */
	bool quarantined; /* something is not to be run on this sample: quarantine_of */
	enum analysis_suspect suspect;
	int64_t user_id;       /* who sent the sample this time; 0: nobody, an analysis anew */
	int64_t submission_id; /* how; 0: none */
	int64_t parent_id;     /* the analysis that found the file inside its own; 0: none */
	int64_t root_id;       /* the one at the top; `id` where parent_id is 0 */
	int64_t depth;         /* how many containers are around the file */
	bool has_unpacking;    /* a password is kept for it (bundle_budget_get) */
	struct file_row file;
};
/*
 * Claim up to `max` of the queue's head for `owner`, lane by lane up to `last_lane`,
 * in order of arrival, suspects left out. Rows and their text live in the arena; *ret_n may be 0.
 */
MUST_USE int analysis_claim(struct sql_conn *conn, uint32_t max, enum write_lane last_lane,
			    struct str owner, int64_t lease_until_s, struct arena *arena,
			    struct analysis_claimed **ret, size_t *ret_n, struct err *err);

/* Give a claimed one back as a suspect: analysis_claim_suspects alone takes it from now on. */
MUST_USE int analysis_defer(struct sql_conn *conn, int64_t id, struct str owner,
			    enum analysis_suspect suspect, struct err *err);
/* As analysis_claim, but of suspects in any lane, in order of arrival. */
MUST_USE int analysis_claim_suspects(struct sql_conn *conn, uint32_t max, struct str owner,
				     int64_t lease_until_s, struct arena *arena,
				     struct analysis_claimed **ret, size_t *ret_n, struct err *err);
/* Is it (still) claimed by this owner? */
MUST_USE int analysis_is_held(struct sql_conn *conn, int64_t id, struct str owner, bool *ret,
			      struct err *err);
/* Complete a claimed one of ours; *ret_mine false: it is not ours any more, do nothing. */
MUST_USE int analysis_complete(struct sql_conn *conn, int64_t id, struct str owner,
			       int64_t generation, struct str not_run, int64_t now_s,
			       bool *ret_mine, struct err *err);

/* Give every claimed analysis that `owner` does not hold back to the queue ("" : all). */
MUST_USE int analysis_release(struct sql_conn *conn, struct str keep_owner, struct err *err);
/* Give one claimed analysis back. */
MUST_USE int analysis_release_one(struct sql_conn *conn, int64_t id, struct err *err);
/* It was under way when the server crashed. */
MUST_USE int analysis_crashed(struct sql_conn *conn, int64_t id, struct err *err);

struct analysis_row {
	int64_t id;
	int64_t file_id;
	int64_t intake;
	int64_t state;
	int64_t generation;
	int64_t created_s;
	int64_t completed_s;
	struct str not_run;
	uint8_t sha256[SHA256_BYTES];
};
/* By intake position. ERR_NOT_FOUND. */
MUST_USE int analysis_row_get(struct sql_conn *conn, int64_t intake, struct arena *arena,
			      struct analysis_row *ret, struct err *err);

/* How many analyses with ids up to this one are not completed. */
MUST_USE int analyses_open_until(struct sql_conn *conn, int64_t id, uint64_t *ret, struct err *err);

/* ---- Quarantine: pairs of sample and ruleset version that are not run together ---- */

/* ruleset_id 0: the sample by itself. Idempotent. */
MUST_USE int quarantine_add(struct sql_conn *conn, int64_t file_id, int64_t ruleset_id,
			    int64_t version, struct str reason, int64_t now_s, struct err *err);
/* How many distinct samples stand against this ruleset version. */
MUST_USE int quarantine_samples(struct sql_conn *conn, int64_t ruleset_id, int64_t version,
				int64_t *ret, struct err *err);
struct quarantine_row {
	int64_t ruleset_id;
	int64_t version;
	struct str reason;
};
MUST_USE int quarantine_of(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			   struct quarantine_row **ret, size_t *ret_n, struct err *err);
#endif
