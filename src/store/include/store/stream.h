#ifndef STORE_STREAM_H
#define STORE_STREAM_H
#include "store/sql.h"
#include "store/stream_filter.h"

/*
 * The IoC Stream: one append-only log of sightings ("source S produced entity E
 * because R") and each user's view of it.
 *
 * Invariants
 *  1. seq grows by one with each sighting, in commit order, and is never given
 *     out again; date_s never falls as seq grows, whatever the clock does.
 *  2. A sighting is unique by (source, entity, rule). A deleted one stays as a
 *     tombstone, so it is not told again before retention removes it.
 *  3. Order and position in a view are seq alone.
 *  4. A bulk deletion holds from the moment it is stored: every read here leaves
 *     out what an unfinished one covers.
 *  5. stream_count and sighting_tag tell of live sightings only and change in
 *     the transaction that changes them.
 *
 * Reads are made of index entries in order of seq, joined as a search engine
 * joins posting lists (meta_stream_plan.c): no filter sorts, and only what
 * neither kind, source, name, tag nor entity narrows looks at more than it
 * returns.
 *
 * Threads: as the connection. Functions that write run inside the caller's
 * transaction (the writer's); those that read frame a snapshot of their own
 * unless a transaction is open.
 */

enum {
	STREAM_TAGS_MAX = 256, /* of one sighting: far above rule tags ever seen */
	STREAM_LEAVES_MAX =
		2048, /* names or tags one term may pick one by one; more: rows are checked */
	STREAM_DAY_S = 86400,
};

struct sighting_new {
	int64_t owner_id;
	enum stream_source source_kind;
	int64_t source_id; /* > 0 */
	struct str label;  /* the source's name now; UTF-8 */
	enum stream_entity entity_kind;
	struct str entity_id;   /* 32 bytes of SHA-256 for files and URLs; else lower-case text */
	struct str url;         /* of STREAM_URL: the URL itself, UTF-8; else empty */
	struct str rule;        /* identifier within the source; may be empty */
	const struct str *tags; /* as they come: normalised and made unique here */
	size_t tag_count;       /* those above STREAM_TAGS_MAX are dropped */
	struct str info;        /* hunting_info as JSON; p NULL: none */
	int64_t analysis_id;    /* 0: none */
};

/*
 * Add to the log. *ret_seq: its number; 0 if it was told already (also if it was
 * deleted since). `now_s`: UNIX seconds; the stored date is not before the last
 * one. Cost: six statements and eight index entries, 30 to 50 us in a transaction of many.
 */
MUST_USE int stream_add(struct sql_conn *conn, const struct sighting_new *s, int64_t now_s,
			int64_t *ret_seq, struct err *err);

/* Was it told already, perhaps deleted since? Label, tags and info are not looked at. */
MUST_USE int stream_is_told(struct sql_conn *conn, const struct sighting_new *s, bool *ret,
			    struct err *err);

/* One notification; strings live in the arena it was read into. */
struct stream_entry {
	int64_t seq;
	int64_t date_s;
	uint32_t source_kind;
	uint32_t entity_kind;
	int64_t source_id;
	struct str label;
	struct str entity_id;
	struct str url; /* of STREAM_URL, if it was told; else empty */
	struct str rule;
	struct str tags;     /* JSON array of strings */
	struct str info;     /* JSON object; p NULL: none */
	int64_t analysis_id; /* 0: none */
};

struct stream_query {
	int64_t owner_id;
	const struct filter_node *filter; /* NULL: everything */
	bool oldest_first;
	uint32_t limit;   /* > 0 */
	int64_t position; /* seq of the last entry seen; 0: from the start */
};

/*
 * The next entries after `position`. *ret_more: there are more behind them; never
 * with an empty page. A position that retention has removed continues behind it.
 * `env` as for filter_parse: what unfinished deletions need to be read.
 */
MUST_USE int stream_page(struct sql_conn *conn, const struct stream_query *query,
			 const struct filter_env *env, struct arena *arena,
			 struct stream_entry **ret, size_t *ret_count, bool *ret_more,
			 struct err *err);

/*
 * How many live entries match. From the maintained counts where the filter speaks
 * of dates, kinds and sources only (days that a date divides are looked at);
 * everything else is counted one by one, about 0.3 us each.
 */
MUST_USE int stream_count_matching(struct sql_conn *conn, int64_t owner_id,
				   const struct filter_node *filter, const struct filter_env *env,
				   uint64_t *ret, struct err *err);

/* The same, but counting one by one stops at `max`: never more than that. */
MUST_USE int stream_count_upto(struct sql_conn *conn, int64_t owner_id,
			       const struct filter_node *filter, const struct filter_env *env,
			       uint64_t max, uint64_t *ret, struct err *err);

/* ERR_NOT_FOUND: unknown, deleted, or somebody else's. */
MUST_USE int stream_get(struct sql_conn *conn, int64_t owner_id, int64_t seq,
			const struct filter_env *env, struct arena *arena, struct stream_entry *ret,
			struct err *err);

/* The same errors. */
MUST_USE int stream_delete_one(struct sql_conn *conn, int64_t owner_id, int64_t seq,
			       const struct filter_env *env, struct err *err);

/*
 * Delete what the filter matches up to now: relative dates are frozen (env->now_s)
 * and later arrivals stay. Holds at once. ERR_BUSY: one of this owner is under way;
 * ERR_INVALID: the filter.
 */
MUST_USE int stream_delete_start(struct sql_conn *conn, int64_t owner_id, struct str filter,
				 const struct filter_env *env, struct err *err);

/*
 * Work off up to max_rows of unfinished deletions, oldest first. *ret_done: none
 * is left. Call again until then, each time in a transaction of its own.
 */
MUST_USE int stream_delete_step(struct sql_conn *conn, uint32_t max_rows,
				const struct filter_env *env, bool *ret_done, struct err *err);

/*
 * Remove up to max_rows sightings, tombstones too, that are older than before_s
 * (UNIX seconds), from the low end. *ret_rows: how many; fewer than max_rows
 * means that none is left.
 */
MUST_USE int stream_retention_step(struct sql_conn *conn, int64_t before_s, uint32_t max_rows,
				   uint32_t *ret_rows, struct err *err);

/*
 * Tags as they are stored: normalised (filter_tag_normalise), empty ones and
 * doubles left out, order kept. *ret: array in the arena.
 */
MUST_USE int stream_tags_normalise(struct arena *arena, const struct str *tags, size_t count,
				   struct str **ret, size_t *ret_count, struct err *err);
/* A stored JSON array of strings as strings. ERR_CORRUPT if it is none. */
MUST_USE int stream_tags_parse(struct arena *arena, struct str json, struct str **ret,
			       size_t *ret_count, struct err *err);
#endif
