#ifndef META_STREAM_INTERNAL_H
#define META_STREAM_INTERNAL_H
#include "store/stream.h"

/*
 * meta_stream_iter.c: streams of sequence numbers, joined without sorting.
 *
 * An iterator stands for a set of live sightings of one owner. Positions are
 * keys: seq when the oldest comes first, -seq when the newest does, so that every
 * iterator only ever moves up. ITER_END is behind all.
 */
#define ITER_END INT64_MAX

struct iter;

/* What iterators of one read share. */
struct iter_ctx {
	struct sql_conn *conn;
	struct arena *arena;
	int64_t owner_id;
	bool oldest_first;
	bool reads_all;     /* everything will be asked for: a count, a deletion */
	uint64_t rows_read; /* index entries fetched: for tests and figures */
};

static inline int64_t iter_key(const struct iter_ctx *cx, int64_t seq)
{
	return cx->oldest_first ? seq : -seq;
}

/* A leaf is one index prefix. */
enum leaf_kind {
	LEAF_OWNER,  /* all of the owner's */
	LEAF_KINDS,  /* of a source kind (a) and an entity kind (b) */
	LEAF_LABEL,  /* of a label (a) and an entity kind (b) */
	LEAF_TAG,    /* with a tag (a) */
	LEAF_ENTITY, /* of an entity (id) */
	LEAF_KIND_COUNT
};

/* For the test that reads SQLite's plans: `newest` is the descending one. */
const char *leaf_sql(enum leaf_kind kind, bool oldest_first);

/* Sequence numbers lo <= seq < hi. */
struct seq_range {
	int64_t lo, hi;
};

/*
 * Constructors; all memory is the context's arena. Arrays are used as they are
 * given (in the arena) and may be reordered.
 */
MUST_USE int iter_none(struct iter_ctx *cx, struct iter **ret, struct err *err);
MUST_USE int iter_leaf(struct iter_ctx *cx, enum leaf_kind kind, int64_t a, int64_t b,
		       struct str id, struct iter **ret, struct err *err);
MUST_USE int iter_or(struct iter_ctx *cx, struct iter **kids, size_t n, struct iter **ret,
		     struct err *err);

/*
 * The sightings of many labels. Merging a list for each costs a statement for each
 * before the first answer; where nearly all that comes by is of these labels, looking
 * at what comes by is faster. So it begins with that: what `driver` gives is looked
 * at, row by row, until that was in vain too often, and then the lists are merged.
 */
struct wide_label {
	int64_t id;
	uint32_t kinds; /* bits of the entity kinds it was ever seen with, and is wanted with */
};
MUST_USE int iter_wide(struct iter_ctx *cx, struct iter *driver, const struct wide_label *labels,
		       size_t n, struct iter **ret, struct err *err);

/* All of `all` (at least one), in one of `ranges`, none of `none`, and every check holds. */
struct iter_and_args {
	struct iter **all;
	size_t all_count;
	struct iter **none;
	size_t none_count;
	const struct seq_range *ranges; /* ascending, apart; NULL: anywhere */
	size_t range_count;
	const struct filter_node **checks; /* terms that are decided row by row */
	const bool *checks_negated;
	size_t check_count;
};
MUST_USE int iter_and(struct iter_ctx *cx, const struct iter_and_args *args, struct iter **ret,
		      struct err *err);

/* The first key >= `key` of the set, or ITER_END. Keys asked for never fall. */
MUST_USE int iter_seek(struct iter *it, int64_t key, int64_t *ret, struct err *err);

/*
 * meta_stream_plan.c: a filter's iterator. `seq_max` < 0: no bound; else only
 * sightings up to it. `except`: sets to leave out.
 */
MUST_USE int plan_filter(struct iter_ctx *cx, const struct filter_node *filter, int64_t seq_max,
			 struct iter **except, size_t except_count, struct iter **ret,
			 struct err *err);
/* The owner's unfinished deletions as sets to leave out. */
MUST_USE int plan_deletions(struct iter_ctx *cx, const struct filter_env *env, struct iter ***ret,
			    size_t *ret_count, struct err *err);
/* Sequence numbers of lo <= date_s < hi. */
MUST_USE int plan_dates(struct iter_ctx *cx, int64_t lo, int64_t hi, struct seq_range *ret,
			struct err *err);

/* meta_stream.c: rows. ERR_NOT_FOUND: no such live sighting. */
MUST_USE int stream_row(struct sql_conn *conn, struct arena *arena, int64_t seq,
			struct stream_entry *ret, int64_t *ret_owner, struct err *err);
/* Turn a live row into a tombstone: counts and tags follow. */
MUST_USE int stream_bury(struct sql_conn *conn, int64_t seq, struct err *err);

/* A reading snapshot, unless a transaction is open already. */
MUST_USE int snapshot_begin(struct sql_conn *conn, bool *ret_own, struct err *err);
void snapshot_end(struct sql_conn *conn, bool own);
MUST_USE int stream_mem(struct arena *arena, size_t n, size_t size, void **ret, struct err *err);
#endif
