#ifndef INDEX_QUERY_INTERNAL_H
#define INDEX_QUERY_INTERNAL_H
#include "index/gram.h"
#include "index/query.h"
#include "plan_internal.h"
#include "row_kernel_internal.h"

/*
 * A query over one block works on *sets*: a bit for each column of its matrices, one
 * matrix after the other. A document of several columns (chunks) is in a set with all
 * of them or with none, except while a string whose matches lie within one chunk is
 * evaluated; then it is in as soon as one is. So nothing is translated between columns
 * and documents before the answer.
 *
 * Evaluation narrows a set in place to what has the value of a node. Whatever cannot
 * be evaluated leaves the set as it is, and programs are monotone: so an answer can
 * only become larger by it.
 */
struct query_tile {
	const struct segment_matrix *m; /* NULL: documents without any column */
	const uint16_t *docs;           /* by column; NULL: doc_base + the column */
	uint32_t doc_base;
	uint32_t columns;
	size_t word; /* of a set, where its bits begin; a multiple of those of a line */
};

/* A document of several columns: `count` of block.places from `first` on. */
struct query_spread {
	uint32_t first;
	uint32_t count;
};

enum {
	QUERY_DOCS = 65536, /* of a block, as far as the type of their numbers goes */
	QUERY_DOC_WORDS = QUERY_DOCS / 64,
	QUERY_LINE_WORDS = ROW_LINE / 8,
	QUERY_AHEAD_PAGES = 1 << 16 /* 256 MiB of a segment are on their way at most */
};

struct query_block {
	const struct segment_block *b;
	struct query_tile *tiles; /* room for those of any block */
	uint32_t tile_count;
	size_t words;   /* of a set */
	uint16_t *bare; /* documents without any column; room for a block's */
	/* Documents of several columns; the bits of each in a set. */
	struct query_spread *spreads;
	uint32_t spread_count, spread_cap;
	uint32_t *places;
	uint32_t place_cap;
	uint64_t *alive; /* set: what passes the filter */
	bool is_damaged;
};

/* The hashes of a run's grams, in the order in which their rows are looked at. */
struct query_run_rows {
	uint32_t hashes[PLAN_GRAMS_MAX];
	unsigned known; /* so far */
	unsigned count; /* when all are known */
};

/* Pages that are gathered, to be asked for together. */
struct query_ahead {
	uint32_t *pages; /* QUERY_AHEAD_PAGES of room, once there is something to gather; owned */
	uint32_t count;
	unsigned near; /* so often in a row what was gathered was in memory */
};

/* The documents of one feature, rising; read when first asked for. */
struct query_feature {
	uint32_t *docs;
	uint32_t count;
	bool is_read;
	bool is_lost; /* true for all */
};

struct query {
	const struct plan *plan;
	struct segment *seg;
	const struct query_filter *filter;
	const struct row_kernel *kernel;
	struct query_answer *answer;
	struct query_counters *counters; /* the answer's */
	struct query_block block;
	size_t set_words; /* of the largest block */
	uint64_t **free;  /* sets that can be taken: sets_free of sets_made; owned */
	uint32_t sets_made, sets_free, sets_max;
	/* By share number of the plan: what is used more than once in this block. */
	uint64_t **shared;
	uint32_t *shared_list; /* the numbers of those that there are */
	uint32_t shared_count;
	struct query_feature *features; /* by predicate */
	uint64_t feature_bytes;
	/* Bits by document of a block, QUERY_DOC_WORDS each: of a call, and what passes the filter.
	 */
	uint64_t *doc_bits;
	uint64_t *doc_alive;
	uint64_t *doc_always; /* of these, what is a candidate whatever its grams are */
	uint64_t *doc_found;  /* what has a mask; the other masks mean nothing */
	/* Of the block, by document and by group. */
	uint64_t *masks;
	uint64_t *groups[QUERY_GROUPS]; /* sets; NULL: nothing yet */
	/* Masks of groups: that there are; in which everything is; in which something is. */
	uint64_t groups_used, groups_all, groups_some;
	uint32_t *rules; /* those in a group, cheap ones first */
	uint32_t rule_count;
	size_t candidate_cap;
	uint64_t work;     /* bytes gone through since goes_on was asked */
	bool is_all_alive; /* the whole block passes the filter */
	bool has_found;    /* doc_found is not empty */
	bool is_stopped;
	bool has_sampled;
	/* Rows come from a disk, and are asked for ahead: guessed once, then seen by the time. */
	bool is_cold;
	struct query_ahead ahead;
};

/* ---- query.c ---- */
/* A set of any content, or NULL when they may not be more. */
uint64_t *query_set_take(struct query *q);
void query_set_give(struct query *q, uint64_t *set); /* NULL is fine */
/* Tell of work; false: the query is to end. */
bool query_goes_on(struct query *q, uint64_t bytes);

/* ---- query_block.c: columns and documents ---- */
/* Words of a set over the block. */
size_t query_block_words(const struct segment_block *b);
/* Begin with the block b: tiles, and the set of q->doc_alive. ERR_NO_MEMORY. */
MUST_USE int query_block_begin(struct query *q, const struct segment_block *b, struct err *err);
/* The set of the documents in `bits`. */
void query_set_of_docs(struct query *q, const uint64_t *bits, uint64_t *set);
/* The documents of a set into `bits`. */
void query_set_docs(struct query *q, const uint64_t *set, uint64_t *bits);
/* A document of which one column is in the set is in it with all. */
void query_set_spread(struct query *q, uint64_t *set);

/* ---- query_meta.c: what is known of documents without their grams ---- */
/* What passes the filter into q->doc_alive and doc_always; whether something does. */
bool query_filter_block(struct query *q, const struct segment_block *b);
/* The set narrowed to what has the predicate; whether something is left. */
bool query_pred(struct query *q, uint32_t pred, uint64_t *set);
/* How many there are among `bits`, and how many bytes their samples have. */
void query_docs_sum(const struct query *q, const uint64_t *bits, uint64_t *docs, uint64_t *bytes);

/* ---- query_ahead.c: rows that come from a disk ---- */
/* Once, with the first block that is looked at: is it in memory? A guess by some rows. */
void query_ahead_begin(struct query *q, const struct segment_block *b);
/* Bytes of documents' columns will be read next: ask for them, if the query is cold. */
void query_column_ahead(const struct query *q, const void *from, size_t bytes);
/* Rows that leave none of so many columns that have no gram of them, most likely. */
unsigned query_rows_for(const struct query *q, uint32_t columns);
/* Gather a row. false: there is no more room. */
bool query_ahead_row(struct query *q, const struct segment_matrix *m, uint32_t hash);
/*
 * Ask for what is gathered, and forget it. Nothing is asked for where a sample of it is in
 * memory; after that has happened often the query is not cold any more.
 */
void query_ahead_read(struct query *q);
/*
 * Before any of these nodes is evaluated over the set: ask for what their first looks need,
 * as far as there is room. Returns how many of them that holds for; 0: nothing is read ahead.
 */
uint32_t query_ahead_nodes(struct query *q, const uint32_t *nodes, uint32_t n, const uint64_t *set);
uint32_t query_ahead_rules(struct query *q, const uint32_t *rules, uint32_t n, const uint64_t *set);
void query_ahead_release(struct query *q);

/* ---- query_eval.c: programs ---- */
/* The next few hashes of a run. */
void query_run_hashes(const struct plan *plan, const struct plan_run_rec *run,
		      struct query_run_rows *rows);
/* Evaluate the rules that others name, first to last, before anything that names them. */
void query_shared_rules(struct query *q);
/* The set narrowed to the value of a string or a rule; whether something is left. */
bool query_string(struct query *q, uint32_t string, uint64_t *set);
bool query_rule(struct query *q, uint32_t rule, uint64_t *set);
/* Once for each block, whatever ended it: sets that were kept can be taken again. */
void query_shared_end(struct query *q);
#endif
