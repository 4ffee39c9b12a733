#ifndef STORE_META_FILE_LISTS_H
#define STORE_META_FILE_LISTS_H
#include "store/meta_analysis.h"

/* What a sample has many of, newest first, for lists. Text lives in the arena. */

struct submission_entry {
	int64_t id;
	int64_t user_id; /* 0: the operator, by `weir ingest` */
	int64_t date_s;
	struct str name; /* as sent, cleaned; may be empty */
	struct str interface;
	uint8_t sha256[SHA256_BYTES];
};
/* Up to `limit` of a file's with ids below before_id (0: from the newest). */
MUST_USE int submission_list(struct sql_conn *conn, int64_t file_id, int64_t before_id,
			     uint32_t limit, struct arena *arena, struct submission_entry **ret,
			     size_t *ret_n, struct err *err);
MUST_USE int submission_count(struct sql_conn *conn, int64_t file_id, int64_t *ret,
			      struct err *err);
/* ERR_NOT_FOUND. */
MUST_USE int submission_get(struct sql_conn *conn, int64_t id, struct arena *arena,
			    struct submission_entry *ret, struct err *err);

/* The same of its analyses. */
MUST_USE int analysis_list(struct sql_conn *conn, int64_t file_id, int64_t before_id,
			   uint32_t limit, struct arena *arena, struct analysis_row **ret,
			   size_t *ret_n, struct err *err);
MUST_USE int analysis_count(struct sql_conn *conn, int64_t file_id, int64_t *ret, struct err *err);
#endif
