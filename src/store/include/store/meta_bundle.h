#ifndef STORE_META_BUNDLE_H
#define STORE_META_BUNDLE_H
#include "store/meta_analysis.h"

/*
 * Containers: which files are inside which (bundle), what is known of a container
 * (bundle_info), and analyses of what was found inside (columns of analysis;
 * unpacking). Functions that change rows are for the writer's connection.
 *
 *   an analysis that found files inside:
 *     claimed --bundle_wait--> claimed, stage 1 --bundle_release--> completed
 *                                  (all it found is completed)
 */
enum {
	BUNDLE_DEPTH_MAX = 32, /* containers in containers, at the very most */
	BUNDLE_NAME_BYTES_MAX = 1024,
	BUNDLE_TYPES_MAX = 64 /* kinds of file told of one container */
};

/* ---- What is inside ---- */

/* Idempotent. */
MUST_USE int bundle_link(struct sql_conn *conn, int64_t parent_file_id, int64_t child_file_id,
			 struct str name, int64_t now_s, struct err *err);

/* One file of a list; once, however many names it has there. */
struct bundle_row {
	int64_t id; /* position in the list */
	int64_t file_id;
	uint8_t sha256[SHA256_BYTES];
	struct str name; /* one of its paths in the container */
};
/*
 * Files inside `file_id` (inside: true), or the containers it was found in, in the order
 * they were found, behind position `after` (0: from the start). Up to `max` rows.
 */
MUST_USE int bundle_page(struct sql_conn *conn, int64_t file_id, bool inside, int64_t after,
			 uint32_t max, struct arena *arena, struct bundle_row **ret, size_t *ret_n,
			 struct err *err);
MUST_USE int bundle_count(struct sql_conn *conn, int64_t file_id, bool inside, uint64_t *ret,
			  struct err *err);

struct bundle_type {
	uint32_t file_type; /* vt.FileType; 0 also where it is not known */
	uint64_t files;
};
/* Kinds of what is inside, most first. */
MUST_USE int bundle_types(struct sql_conn *conn, int64_t file_id,
			  struct bundle_type ret[BUNDLE_TYPES_MAX], size_t *ret_n, struct err *err);

/* ---- What is known of a container ---- */

struct bundle_info {
	struct str listing; /* as in the schema */
	struct str tags;
	struct str report; /* "" while nothing is known */
	struct str report_tags;
};
/* Empty texts if there is none. */
MUST_USE int bundle_info_get(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			     struct bundle_info *ret, struct err *err);
MUST_USE int bundle_info_put(struct sql_conn *conn, int64_t file_id, const struct bundle_info *info,
			     struct err *err);

/* ---- Analyses of what is inside ---- */

struct bundle_place {
	int64_t analysis_id;   /* that found the file */
	int64_t root_id;       /* the one at the top; the same where it is that itself */
	int64_t submission_id; /* that brought it all; 0: none */
	int64_t depth;         /* of the file found */
};
/*
 * Queue the file's analysis for that one; *ret_new false: it has one already. It
 * counts against the root's budget then.
 */
MUST_USE int bundle_queue(struct sql_conn *conn, const struct bundle_place *place, int64_t file_id,
			  uint64_t bytes, enum write_lane lane, int64_t now_s, bool *ret_new,
			  struct err *err);
/* Does that analysis have one of this file? */
MUST_USE int bundle_is_queued(struct sql_conn *conn, int64_t analysis_id, int64_t file_id,
			      bool *ret, struct err *err);

struct bundle_budget {
	uint64_t entries; /* used */
	uint64_t bytes;
	struct str password; /* n 0: none */
};
MUST_USE int bundle_budget_get(struct sql_conn *conn, int64_t root_id, struct arena *arena,
			       struct bundle_budget *ret, struct err *err);
/* The password that its container shall be opened with. */
MUST_USE int bundle_password_set(struct sql_conn *conn, int64_t root_id, struct str password,
				 struct err *err);

struct bundle_ancestor {
	int64_t analysis_id;
	int64_t file_id;
	uint8_t sha256[SHA256_BYTES];
};
/* The analyses around this one, from the nearest up. */
MUST_USE int bundle_ancestors(struct sql_conn *conn, int64_t analysis_id,
			      struct bundle_ancestor ret[BUNDLE_DEPTH_MAX], size_t *ret_n,
			      struct err *err);

/* Is any analysis that this one caused not completed? */
MUST_USE int bundle_has_open(struct sql_conn *conn, int64_t analysis_id, bool *ret,
			     struct err *err);
/* Let a claimed one of ours wait for those. *ret_mine as analysis_complete's. */
MUST_USE int bundle_wait(struct sql_conn *conn, int64_t analysis_id, struct str owner,
			 int64_t generation, struct str not_run, bool *ret_mine, struct err *err);

struct bundle_waiting {
	bool waits; /* it does, and nothing is open any more */
	int64_t file_id;
	int64_t parent_id; /* 0: it is at the top */
	struct str not_run;
	uint64_t incomplete; /* analyses it caused in which something was not run */
	uint8_t sha256[SHA256_BYTES];
};
MUST_USE int bundle_waiting(struct sql_conn *conn, int64_t analysis_id, struct arena *arena,
			    struct bundle_waiting *ret, struct err *err);
/* Complete one that waited. */
MUST_USE int bundle_release(struct sql_conn *conn, int64_t analysis_id, struct str not_run,
			    int64_t now_s, struct err *err);
/* An analysis at the top is completed: what was kept for its duration goes. */
MUST_USE int bundle_forget(struct sql_conn *conn, int64_t analysis_id, struct err *err);

/*
 * Before a file's rows are removed: the analyses that wait for one of its own, to be
 * looked at again afterwards; then its links go.
 */
MUST_USE int bundle_unlink(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			   int64_t **ret_waiting, size_t *ret_n, struct err *err);
#endif
