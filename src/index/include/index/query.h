#ifndef INDEX_QUERY_H
#define INDEX_QUERY_H
#include <stdatomic.h>
#include <stdint.h>
#include "base/err.h"
#include "index/plan.h"
#include "index/segment.h"

/*
 * A plan over a segment: which of its documents can match which rules. The answer may
 * hold documents that do not match, never misses one that does: what cannot be told
 * (a damaged page, features of another version) counts as true.
 *
 * Threads: query_run from any number of threads over the same plan and segment.
 * Memory:  QUERY_SCRATCH_BYTES beside the answer, whatever the plan is.
 */
enum {
	QUERY_GROUPS = 64,
	QUERY_NO_GROUP = 255,
	QUERY_SCRATCH_BYTES = 64 << 20, /* 12,000 sets of 32,768 documents beside the lists */
	QUERY_FEATURE_BYTES = 64 << 20  /* lists of documents; what does not fit is true */
};

/* What is looked for where. Everything is the caller's and stays while the query runs. */
struct query_filter {
	enum segment_corpus corpus;
	int64_t first_id, last_id; /* file ids, both included */
	int64_t end_s;             /* first seen at this second at the latest */
	uint64_t size_max;         /* bytes */
	/* By document, bit d % 64 of word d / 64: no candidates. Others may set bits. NULL: none.
	 */
	const _Atomic uint64_t *dead;
	/*
	 * For each rule of the plan the group it is scanned in, below QUERY_GROUPS, or
	 * QUERY_NO_GROUP. Private rules are in no group, whatever stands here.
	 */
	const uint8_t *groups;
	uint32_t features_version; /* of the extractor whose hashes the plan has */
	/* Tell what each string and rule leaves, too: costs what early stops save. */
	bool wants_details;
	/* Asked after each block and some MB of rows; false ends it. NULL: never asked. */
	bool (*goes_on)(void *arg);
	void *arg;
};

struct query_candidate {
	uint32_t doc;
	uint64_t groups; /* bit g: rules of group g may match; never 0 */
};

struct query_counters {
	uint64_t blocks;         /* looked at */
	uint64_t blocks_pruned;  /* nothing in them passes the filter */
	uint64_t blocks_damaged; /* all their documents became candidates */
	uint64_t rows;           /* read, in part or whole */
	uint64_t row_bytes;      /* read of them */
	uint64_t docs;           /* that pass the filter */
	uint64_t doc_bytes;      /* bytes of their samples */
	uint64_t candidates;
	uint64_t candidate_bytes;
	uint64_t features_lost; /* feature predicates that were taken for true: damage, version,
				   memory */
	uint64_t us;
};
void query_counters_add(struct query_counters *sum, const struct query_counters *c);

/* What one string or rule leaves of the documents that pass the filter, and its cost. */
struct query_left {
	uint64_t docs;
	uint64_t bytes;
	uint64_t rows;
	uint64_t row_bytes;
};
void query_left_add(struct query_left *sum, const struct query_left *l);

struct query_answer {
	struct query_candidate *candidates; /* by rising doc; owned */
	uint32_t count;
	struct query_counters counters;
	/* With wants_details, by string and by rule of the plan; else NULL. Owned. */
	struct query_left *strings;
	struct query_left *rules;
};

/*
 * Evaluate the plan. *ret is filled on success only; release it then.
 * Errors: ERR_CLOSED when goes_on said no; ERR_NO_MEMORY.
 */
MUST_USE int query_run(const struct plan *plan, struct segment *seg,
		       const struct query_filter *filter, struct query_answer *ret,
		       struct err *err);
void query_answer_release(struct query_answer *answer);
#endif
