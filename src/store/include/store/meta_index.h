#ifndef STORE_META_INDEX_H
#define STORE_META_INDEX_H
#include "store/meta_file.h"

/*
 * Rows of the corpus index: segment, segment_deleted, file_features. Functions that
 * change rows are for the writer's connection.
 *
 * Invariants, each within every transaction
 *  1. Ids of files only grow (counter 'file') and are never given out again.
 *  2. Ranges of segments do not overlap. All files whose id lies in a segment's range
 *     are in that segment.
 *  3. A removed file that is in a segment is in segment_deleted. (So may be one that is
 *     in none, until a segment covers its id.)
 */
struct segment_row {
	int64_t id;
	int64_t first_id; /* files covered, both included */
	int64_t last_id;
	int64_t level; /* merges behind it */
	int64_t docs;  /* files in it, removed ones included */
	uint64_t bytes;
	uint64_t sample_bytes;
	uint32_t features_version;
	int64_t created_s;
	bool is_stale; /* to be built anew */
};

/* All, by rising range. *ret: the caller's, to be freed; NULL where there are none. */
MUST_USE int segment_rows(struct sql_conn *conn, struct segment_row **ret, size_t *ret_n,
			  struct err *err);
/* The id for a segment that is going to be written: never given out again. */
MUST_USE int segment_row_next_id(struct sql_conn *conn, int64_t *ret, struct err *err);

/* One change of the list of segments. */
struct segment_change {
	const int64_t *outs; /* ids of those that go */
	size_t out_count;
	const struct segment_row *ins; /* those that come, by rising range */
	size_t in_count;
	bool is_merge; /* what comes is made of what goes, not of samples */
	/* Is the file in the one that comes at that index? */
	bool (*has)(size_t in, int64_t file_id, void *arg);
	/* Called for each removed file that it has; undone if the transaction is. */
	void (*dead)(size_t in, int64_t file_id, void *arg);
	void *arg;
};
/*
 * Make the change. Removed files in the ranges that come and that go that no segment has any more
 * are forgotten. *ret_stale: what comes is to be built anew, as one it was merged of was.
 * ERR_NOT_FOUND: one that goes is gone already. ERR_EXISTS: a range that comes would
 * overlap one that stays.
 */
MUST_USE int segment_rows_change(struct sql_conn *conn, const struct segment_change *change,
				 bool *ret_stale, struct err *err);
/* Removed files in a segment's range, by rising id. */
MUST_USE int segment_deleted_each(struct sql_conn *conn, int64_t first_id, int64_t last_id,
				  void (*each)(int64_t file_id, void *arg), void *arg,
				  struct err *err);
/* Have a segment built anew; 0: all of them. *ret_n: how many were not yet. ERR_NOT_FOUND. */
MUST_USE int segment_rows_set_stale(struct sql_conn *conn, int64_t id, uint64_t *ret_n,
				    struct err *err);
/* How many are to be built anew, and the bytes of their samples. */
MUST_USE int segment_rows_stale(struct sql_conn *conn, uint64_t *ret_n, uint64_t *ret_sample_bytes,
				struct err *err);

/* ---- Files that are in no segment yet ---- */

struct index_file {
	int64_t id;
	uint8_t sha256[SHA256_BYTES];
	struct pack_locator at;
	int64_t first_submission_s;
	uint32_t file_type; /* vt.FileType; 0 where it is not known */
	bool is_goodware;
	bool waits; /* its first analysis is under way, and not for long */
	uint64_t features_bytes;
};
struct index_files_query {
	int64_t after_id;
	int64_t last_id; /* included */
	/* An analysis from before this moment, or after the later one, is not waited for. */
	int64_t since_s;
	int64_t until_s;
	uint32_t max;
};
/* Up to query->max files by rising id, into the caller's array. */
MUST_USE int index_files(struct sql_conn *conn, const struct index_files_query *query,
			 struct index_file *ret, size_t *ret_n, struct err *err);
/* Files with ids in a range, both included. */
MUST_USE int index_files_count(struct sql_conn *conn, int64_t first_id, int64_t last_id,
			       uint64_t *ret, struct err *err);

/* ---- Features ---- */

enum {
	/* Hashes kept of one sample: some hundred are usual, a million imports are hostile. */
	FEATURES_MAX = 65535
};
/* Store or replace; nothing is written if they are as they were, or the file is gone. */
MUST_USE int file_features_put(struct sql_conn *conn, int64_t file_id, uint32_t version,
			       const uint64_t *features, size_t n, struct err *err);
/* Their version alone; 0: there are none. */
MUST_USE int file_features_version(struct sql_conn *conn, int64_t file_id, uint32_t *ret,
				   struct err *err);

/* Files without features of a version. */
struct features_query {
	int64_t after_id;
	int64_t last_id; /* included */
	uint32_t version;
	uint64_t size_max; /* larger ones are not examined */
};
struct features_row {
	int64_t id;
	uint8_t sha256[SHA256_BYTES];
	struct pack_locator at;
};
/* Up to `max` of them by rising id. */
MUST_USE int features_missing(struct sql_conn *conn, const struct features_query *query,
			      struct features_row *ret, size_t max, size_t *ret_n, struct err *err);
MUST_USE int features_missing_count(struct sql_conn *conn, const struct features_query *query,
				    uint64_t *ret_files, uint64_t *ret_bytes, struct err *err);
/* *ret_version 0: there are none. `ret` has room for FEATURES_MAX. */
MUST_USE int file_features_get(struct sql_conn *conn, int64_t file_id, uint32_t *ret_version,
			       uint64_t *ret, size_t *ret_n, struct err *err);
#endif
