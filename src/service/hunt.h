#ifndef SERVICE_HUNT_H
#define SERVICE_HUNT_H
#include "liveset.h"
#include "service_internal.h"
#include "store/meta_bundle.h"

/*
 * Livehunt: claims queued analyses, identifies and scans each in a child, and
 * commits what was found together with the completion.
 *
 * Invariants
 *  1. An analysis is scanned with a live set of at least the generation that was
 *     current when it was claimed; that set's generation is recorded with it.
 *  2. Completion, quarantines and the last sightings of an analysis commit in one
 *     transaction; what is more than HUNT_STEP_HITS of them commits in steps before
 *     it, so that nobody waits long for the writer. So: once it is completed, all of
 *     it can be seen. What is lost before that costs only a repeated scan, as a
 *     sighting is told once.
 *  3. A sample or ruleset that kills or hangs a child is found (blame.c), kept
 *     apart and named; everything else of that analysis is still hunted.
 *  4. API work never waits behind bulk work that no child has begun.
 *  5. Few suspects are in memory at a time: those beyond go back into the queue, from
 *     where only the blame thread takes them.
 *
 *   queued --claim--> waiting --worker--> examined --recv--> scanned --recv--> completing --> done
 *                                            |                  |
 *                                            +------------------+--child died or hung--> blame -->
 * completing
 */
struct hunt;

MUST_USE int hunt_start(struct service *svc, struct err *err);
/* From here on nothing is claimed, and a dead child proves nothing. */
void hunt_cancel(struct service *svc);
/* Stops claiming and scanning and waits for the threads; the writer may still call back. */
void hunt_stop(struct service *svc);
void hunt_free(struct service *svc); /* after the writer has stopped */
/* Analyses claimed and not over. */
size_t hunt_held(struct service *svc);
/* Does an analysis that a client waits for wait for a child? */
bool hunt_clients_wait(struct service *svc);
/* Is hunt_stop under way? Then a dead child proves nothing. */
bool hunt_stops(struct service *svc);
/* Something was queued in this lane. Any thread, also the writer's. */
void hunt_wake(struct service *svc, enum write_lane lane);
/* Block until nothing is queued or under way (or the service stops). For `ingest --wait` and tests.
 */
void hunt_drain(struct service *svc);

/* ---- One analysis on its way (hunt_job.c) ---- */

struct claim_batch {
	_Atomic uint32_t refs;
	struct arena *arena;
	struct analysis_claimed *rows;
};

struct hunt_hit {
	int64_t ruleset_id;
	int64_t version;
	struct str rule;
	const struct str *rule_tags;
	size_t rule_tag_count;
	struct str info;        /* hunting_info as JSON */
	struct str info_inside; /* the same for the containers around; empty where there is none */
};

/* A ruleset version (0: the sample by itself) that must not meet this sample again. */
struct hunt_guilt {
	int64_t ruleset_id;
	int64_t version;
	struct str reason;
	bool suspends; /* this sample was one too many for the ruleset */
};

/* What opening a container gave, besides the files. */
enum {
	HUNT_LACKS_MAX = 8
};
struct hunt_opened {
	struct bundle_info info; /* listing and tags; listing n 0: it was not opened after all */
	struct str lacks[HUNT_LACKS_MAX]; /* why something is missing */
	size_t lack_count;
};

struct hunt_left_out {
	struct str what;
	struct str reason;
};

enum {
	HUNT_GUILT_MAX = 256 /* named in one analysis; what is beyond waits for the next one */
};

enum {
	HUNT_STEP_HITS = 256 /* told in one request to the writer: some 10 ms of it */
};

struct hunt_job {
	struct write_req req; /* first: completing */
	struct hunt_job *next;
	struct service *svc;
	struct claim_batch *batch;
	const struct analysis_claimed *row;
	struct arena *arena; /* everything below */
	struct pack_file *pack;
	struct scan_sample sample;
	/* what it is: as the database has it, then as it was found out now */
	bool identified;
	bool examined;            /* found out now, with the next three */
	struct str facts;         /* a JSON object, see scan/facts.def; empty: none */
	struct str tags;          /* blank-separated */
	struct str facts_failure; /* why there are no facts */
	uint64_t *features;       /* see scan_identity; in the arena */
	size_t feature_count;
	uint32_t features_version; /* 0: they are not known */
	uint32_t file_type;
	struct str magic;
	struct str mime;
	/* outcome */
	struct live_set *set; /* scanned with; NULL: not hunted */
	struct hunt_hit *hits;
	size_t hit_count;
	size_t hit_cap;
	bool hits_cut;     /* there were more than LIMIT_HITS_PER_FILE */
	size_t told;       /* of hits: committed in earlier steps */
	size_t telling;    /* in the step at the writer */
	bool is_last_step; /* and the completion with them */
	struct hunt_guilt *guilt;
	size_t guilt_count;
	/* what makes it a suspect: a scan with all rules exceeded its time … */
	bool timed_out;
	int64_t hung_generation;        /* … with this live set; -1: none that is known */
	struct hunt_left_out *left_out; /* not run, without anybody's guilt */
	size_t left_out_count;
	unsigned failures; /* commits of it that failed for a lasting reason */
	bool skipped;      /* not hunted at all */
	struct str skipped_reason;
	/* what is inside (unpack.c) */
	struct hunt_opened *opened; /* NULL: it was not opened */
	struct buf settled;         /* SHA-256 of containers completed with it */
};

struct hunt_job *hunt_job_new(struct service *svc, struct claim_batch *batch, size_t index);
void hunt_job_free(struct hunt_job *job);
void claim_batch_unref(struct claim_batch *batch);

/* Hold the sample's file. ERR_* where the pack cannot be had. */
MUST_USE int hunt_job_open(struct hunt_job *job, struct err *err);
void hunt_job_take_identity(struct hunt_job *job, const struct scan_identity *id);
/* The sample cannot be examined for this reason; it is hunted without facts. */
void hunt_job_no_facts(struct hunt_job *job, struct str reason);
/* Facts for the rules; text lives in the job's arena. */
struct scan_facts hunt_job_facts(struct hunt_job *job);
/*
 * Keep what counts of a scan with these parts; makes snippets. However many rules
 * match it takes JOB_ARENA_MAX at most: late ones are kept without snippet and tags.
 */
MUST_USE int hunt_job_take_hits(struct hunt_job *job, const struct scan_result *result,
				const struct live_set *set, struct err *err);
/* One hit of a rule that came from this source. */
MUST_USE int hunt_job_add_hit(struct hunt_job *job, const struct live_source *source,
			      const struct scan_rule *rule, const struct scan_hit *hit,
			      struct err *err);
void hunt_job_add_guilt(struct hunt_job *job, int64_t ruleset_id, int64_t version,
			struct str reason);
/* Name something as not run. */
void hunt_job_leave_out(struct hunt_job *job, struct str what, struct str reason);
void hunt_job_skip(struct hunt_job *job, struct str reason);
/* Forget hits and guilt, to scan again. */
void hunt_job_reset(struct hunt_job *job);
/* Tell the hits of the step at hand (told, telling). On the writer's connection. hunt_tell.c */
MUST_USE int hunt_job_tell_step(struct sql_conn *conn, const struct hunt_job *job, int64_t now_s,
				struct err *err);
/* Commit its hits ahead of its completion; blocks. ERR_CLOSED: it is not ours any more. */
MUST_USE int hunt_job_tell(struct hunt_job *job, struct err *err);
/* Hand to the writer; the job is freed after the commit and `hunt` told. */
void hunt_job_complete(struct hunt_job *job);

/* ---- For hunt_job.c and blame.c ---- */
/* Children do not come up: wait a moment (or until stopping), so as not to spin. */
void hunt_rest(struct service *svc);
void hunt_job_over(struct service *svc,
		   struct hunt_job *job); /* completed, or left to the next start */
/* Its commit failed (a full disk, say): what was found is kept and committed later. */
void hunt_job_retry(struct service *svc, struct hunt_job *job);
/* Called each second by the background thread: tries those again. */
void hunt_tick(struct service *svc);
/* Whom the last inquiries accused, newest first: the next one begins with them. */
enum {
	BLAME_RECENT_MAX = 16
};
struct blame_memory {
	struct live_source recent[BLAME_RECENT_MAX];
	size_t count;
};
/* Find out what harmed the child and finish the analysis without it. Own thread. */
void blame(struct service *svc, struct hunt_job *job, struct str cause,
	   struct blame_memory *memory);

/* ---- crash.c: what was under way when the server itself crashed ---- */
enum {
	CRASH_ATTEMPTS_MAX = 3
};
/* This thread is busy with this analysis (0: none). */
void crash_note(int64_t analysis_id);
/* Read and put away what a crash left in the data folder. */
MUST_USE int crash_recover(struct service *svc, struct err *err);
#endif
