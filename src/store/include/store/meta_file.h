#ifndef STORE_META_FILE_H
#define STORE_META_FILE_H
#include "base/arena.h"
#include "base/hash.h"
#include "store/pack.h"
#include "store/sql.h"

/*
 * Rows of samples: file, file_name, submission, erase. Reports, which can be long, are read
 * by file_report alone (store/meta_facts.h). Functions that change
 * rows are for the writer's connection. Text in rows lives in the given arena.
 */
struct file_row {
	int64_t id;
	struct hashes hashes;
	uint64_t size; /* bytes */
	struct str corpus;
	struct pack_locator at;
	int64_t first_submission_s;
	int64_t last_submission_s;
	int64_t last_analysis_s; /* 0: never */
	int64_t times_submitted;
	int64_t unique_sources; /* distinct users who sent it */
	struct str last_name;
	bool identified;    /* the next three are known */
	uint32_t file_type; /* vt.FileType */
	struct str magic;
	struct str mime;
};

/* hash: 16 (MD5), 20 (SHA-1) or 32 (SHA-256) raw bytes. ERR_NOT_FOUND. */
MUST_USE int file_row_by_hash(struct sql_conn *conn, struct str hash, struct arena *arena,
			      struct file_row *ret, struct err *err);
MUST_USE int file_row_by_id(struct sql_conn *conn, int64_t id, struct arena *arena,
			    struct file_row *ret, struct err *err);
/* Is the sample stored? Sets *ret_id to 0 if not. */
MUST_USE int file_row_find(struct sql_conn *conn, const uint8_t sha256[SHA256_BYTES],
			   int64_t *ret_id, struct err *err);

/* Where the sample's bytes are; *ret_id 0 if it is not stored. */
MUST_USE int file_row_place(struct sql_conn *conn, const uint8_t sha256[SHA256_BYTES],
			    int64_t *ret_id, struct pack_locator *ret_at, struct err *err);
/* Is there a sample, or an erasure still to be done, at this place? */
MUST_USE int file_place_is_used(struct sql_conn *conn, const struct pack_locator *at, bool *ret,
				struct err *err);

/* Insert everything but id, identity and report. Ids only grow, also past removed files. */
MUST_USE int file_row_insert(struct sql_conn *conn, const struct file_row *row, int64_t *ret_id,
			     struct err *err);
/* Another submission of a known sample. */
MUST_USE int file_row_resubmitted(struct sql_conn *conn, int64_t id, int64_t now_s, struct str name,
				  bool new_source, struct err *err);
MUST_USE int file_row_set_identity(struct sql_conn *conn, int64_t id, uint32_t file_type,
				   struct str magic, struct str mime, struct err *err);
/*
 * The stored report (attributes as a JSON object, without the facts: file_report joins
 * them) and the date of the analysis it stands for (0 leaves the date).
 */
MUST_USE int file_row_set_report(struct sql_conn *conn, int64_t id, struct str report,
				 int64_t last_analysis_s, struct err *err);

/* Note the name; beyond LIMIT_NAMES_PER_FILE the one unused for longest goes. */
MUST_USE int file_name_put(struct sql_conn *conn, int64_t file_id, struct str name, int64_t now_s,
			   struct err *err);
/* Names, newest first, as an array in the arena. */
MUST_USE int file_names(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			struct str **ret, size_t *ret_n, struct err *err);

/* Who brought the sample in first; 0: the operator, or nobody any more. */
MUST_USE int submission_first_user(struct sql_conn *conn, int64_t file_id, int64_t *ret_user_id,
				   struct err *err);

struct submission_row {
	int64_t file_id;
	int64_t user_id; /* 0: the operator, by `weir ingest` */
	int64_t date_s;
	struct str name;
	const char *interface; /* "api", "ingest" */
};
/* *ret_new_source: this user had not sent this sample before. */
MUST_USE int submission_add(struct sql_conn *conn, const struct submission_row *row,
			    int64_t *ret_id, bool *ret_new_source, struct err *err);

/*
 * Delete the sample's rows, note its bytes as still to be erased (*ret_erase_id) and
 * that segments of the index may still hold it.
 */
MUST_USE int file_row_remove(struct sql_conn *conn, const struct file_row *row,
			     int64_t *ret_erase_id, struct err *err);
/* Note bytes of no sample as still to be erased. */
MUST_USE int erase_add(struct sql_conn *conn, const struct pack_locator *at, int64_t *ret_id,
		       struct err *err);
MUST_USE int erase_done(struct sql_conn *conn, int64_t erase_id, struct err *err);
/* The oldest erasure still to be done after that one (0: of all); *ret_id 0 if none. */
MUST_USE int erase_next(struct sql_conn *conn, int64_t after_id, int64_t *ret_id,
			struct pack_locator *ret_at, struct err *err);

/* Add one to a counter row and return its new value. */
MUST_USE int counter_next(struct sql_conn *conn, const char *name, int64_t *ret, struct err *err);
MUST_USE int counter_get(struct sql_conn *conn, const char *name, int64_t *ret, struct err *err);

/* The highest id given out to a file that is there; 0: there is none. */
MUST_USE int files_last_id(struct sql_conn *conn, int64_t *ret, struct err *err);

/* How many files, their bytes, and analyses not completed. */
MUST_USE int files_totals(struct sql_conn *conn, uint64_t *ret_files, uint64_t *ret_bytes,
			  uint64_t *ret_open_analyses, struct err *err);
#endif
