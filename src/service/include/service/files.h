#ifndef SERVICE_FILES_H
#define SERVICE_FILES_H
#include "base/hash.h"
#include "service/audit.h"
#include "service/service.h"

/*
 * Samples: intake, look-up, bytes, removal.
 *
 * An upload is acknowledged when its bytes (pack) and its rows (file,
 * submission, queued analysis with its intake position) are durable.
 */

/* Where a file was found that nobody sent by itself: in a container under analysis. */
struct upload_inside {
	int64_t container_id; /* the container's file */
	struct str path;      /* inside it, cleaned (bundle_path) */
	/*
	 * Is a file with this hash the container, or around it? Then it is noted, not analysed
	 * again. Asked in upload_finish.
	 */
	bool (*is_around)(const void *arg, const uint8_t sha256[SHA256_BYTES]);
	const void *is_around_arg;
	bool only_link;      /* the answer */
	int64_t analysis_id; /* as struct bundle_place */
	int64_t root_id;
	int64_t submission_id;
	int64_t depth;
	uint64_t entries_max; /* of the whole tree below the root; ERR_TOO_LARGE beyond */
	uint64_t bytes_max;
};

struct upload_options {
	int64_t user_id;
	const struct upload_inside *inside; /* NULL: it was sent */
	enum write_lane lane;      /* LANE_API for clients that wait, LANE_BULK for ingest */
	struct str name;           /* as sent; stored cleaned: UTF-8, last path part, bounded */
	struct str corpus;         /* "main" or "goodware" */
	const char *interface;     /* "api", "ingest"; static */
	uint64_t bytes_max;        /* ERR_TOO_LARGE beyond */
	const struct audit_by *by; /* for the audit log; NULL: no line. Copied */
	/*
	 * Who pays, with usage_charge, if the sample turns out to be known (a new one is
	 * free); NULL: nobody. Copied. ERR_QUOTA, and nothing has happened.
	 */
	const struct user *payer;
	unsigned endpoint;
};

struct upload_outcome {
	struct hashes hashes;
	uint64_t size;
	bool is_new;         /* stored for the first time */
	int64_t analysis_id; /* queued, or the queued one this upload joined */
	int64_t intake;      /* its intake position */
};

struct upload;
MUST_USE int upload_new(struct upload **ret, struct service *svc,
			const struct upload_options *options, struct err *err);
/* Hashes and keeps the bytes (memory up to 1 MB, then a temporary file). */
MUST_USE int upload_add(struct upload *u, const void *p, size_t n, struct err *err);
/* The name may come later than the first bytes. */
void upload_set_name(struct upload *u, struct str name);
/*
 * What opens it, should it be a protected ZIP; before upload_finish, which then ends with
 * ERR_FORBIDDEN if it does not. Kept until its analysis has opened it. ERR_INVALID: too long.
 */
MUST_USE int upload_set_password(struct upload *u, struct str password, struct err *err);
void upload_free(struct upload *u); /* gives up; NULL is fine */

/*
 * Finish: returns at once; `done` runs on another thread (it must not block)
 * when the upload is durable or has failed. The upload is freed after `done`.
 * ERR_BUSY, ERR_CLOSED: not taken, `done` is not called, and the upload is freed.
 */
MUST_USE int upload_finish(struct upload *u,
			   void (*done)(const struct upload_outcome *outcome, int rc,
					const struct err *err, void *arg),
			   void *arg, struct err *err);

/* The same from start to end from an open file; blocks. */
MUST_USE int upload_fd(struct service *svc, const struct upload_options *options, int fd,
		       struct upload_outcome *ret, struct err *err);

/* ---- Look-up; fast, on the calling thread ---- */

struct file_info {
	int64_t id;
	struct hashes hashes;
	uint64_t size;
	struct pack_locator at;
	struct str report; /* the attributes object as JSON, in the arena */
	struct str name;   /* the last one it was sent under */
	int64_t first_submission_s;
	int64_t last_submission_s;
	int64_t first_user_id; /* who brought it in; 0: the operator */
};
/* id: MD5, SHA-1 or SHA-256 in hex. ERR_INVALID: not a hash; ERR_NOT_FOUND. */
MUST_USE int file_get(struct service *svc, struct str id, struct arena *arena,
		      struct file_info *ret, struct err *err);
MUST_USE int file_get_sha256(struct service *svc, const uint8_t sha256[SHA256_BYTES],
			     struct arena *arena, struct file_info *ret, struct err *err);

enum analysis_state {
	ANALYSIS_QUEUED = 0,
	ANALYSIS_CLAIMED = 1,
	ANALYSIS_COMPLETED = 2
};
struct analysis_info {
	int64_t id;
	uint8_t sha256[SHA256_BYTES];
	int64_t created_s;
	int64_t completed_s; /* 0 until completed */
	enum analysis_state state;
	int64_t generation; /* of the rules it was hunted with; 0 until claimed */
	int64_t intake;
	struct str not_run; /* JSON array of {"what","reason"}; "" when all ran */
};
/* "f-<sha256>-<intake>" */
enum {
	ANALYSIS_ID_CHARS = 2 + 64 + 1 + 20
};
void analysis_id_format(const uint8_t sha256[SHA256_BYTES], int64_t intake,
			char ret[ANALYSIS_ID_CHARS + 1]);
/* ERR_INVALID: not of that form. */
MUST_USE int analysis_id_parse(struct str id, uint8_t ret_sha256[SHA256_BYTES], int64_t *ret_intake,
			       struct err *err);
MUST_USE int analysis_get(struct service *svc, struct str id, struct arena *arena,
			  struct analysis_info *ret, struct err *err);

/* Queue a new analysis of a stored file. `by`: for the audit log. Asynchronous like upload_finish.
 */
MUST_USE int file_reanalyse(struct service *svc, const struct file_info *file,
			    const struct audit_by *by,
			    void (*done)(const struct upload_outcome *outcome, int rc,
					 const struct err *err, void *arg),
			    void *arg, struct err *err);

/*
 * Remove a sample: at once from every answer, then its bytes from the pack. Where
 * the disk fails at those, it is tried again in the background until it succeeds;
 * *ret_erased (may be NULL) says whether it has. `by`: for the audit log, NULL is the
 * server itself. Blocks.
 */
MUST_USE int file_remove(struct service *svc, struct str id, const struct audit_by *by,
			 bool *ret_erased, struct err *err);

/* Counts for humans. */
struct files_summary {
	uint64_t files;
	uint64_t bytes;
	uint64_t queued;
};
MUST_USE int files_summary(struct service *svc, struct files_summary *ret, struct err *err);

/* How many analyses, of those with ids up to this one, are not completed. */
MUST_USE int analyses_open(struct service *svc, int64_t id, uint64_t *ret, struct err *err);
#endif
