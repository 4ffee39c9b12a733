#ifndef SERVICE_RETROHUNT_SPLIT_H
#define SERVICE_RETROHUNT_SPLIT_H
#include "retrohunt_internal.h"
#include "rule_split.h"

/*
 * The rules of one job in parts (rule_split.h), each compiled by itself from the job's source.
 *
 *   none --retro_split_measure--> COMPILING --retro_split_compile--> READY
 *    \--parts would gain little--> OFF  \--a part fails--> OFF
 *
 * It is measured before the first segment's candidates are listed, if they say that one set of
 * all rules would take long: all segments are asked for each rule alone, then for groups. From
 * then on candidates come with the groups that want them. While parts are compiled nothing is
 * verified, as it will be cheaper. Without parts all rules are one set, which is also what a file
 * is scanned with that all parts want.
 *
 * A rule may be in several parts, because others need it: it is told by its own part alone.
 */
enum {
	RETRO_NOT_OWN = UINT32_MAX
};

enum retro_split_state {
	SPLIT_COMPILING,
	SPLIT_READY,
	SPLIT_OFF
};

struct retro_part {
	uint64_t groups;
	struct scan_rules *rules; /* NULL until compiled; a reference */
	uint32_t *own;            /* by its rules: which of the job's, or RETRO_NOT_OWN; owned */
};

struct retro_split {
	uint8_t groups[PLAN_RULES_MAX]; /* by rule */
	/* Groups whose rules narrow nothing: files that only they want are looked at last. */
	uint64_t last;
	struct rule_split costs;
	/* Under the engine's lock, but what is READY stays as it is. */
	enum retro_split_state state;
	struct retro_part parts[RULE_PARTS_MAX];
	unsigned part_count;
	unsigned part_next;  /* those before are being compiled, or are … */
	unsigned parts_done; /* … so many of them */
};

struct corpus_snapshot;
struct query_counters;
struct query_filter;

void retro_split_free(struct retro_split *split); /* NULL is fine */
/* The job's, once there is one that is not off; NULL. Any thread. */
struct retro_split *retro_split_of(struct retro_job *job);
/* The same, if its parts can be scanned with. */
const struct retro_split *retro_split_ready(struct retro_job *job);
/*
 * One segment was asked for all rules as one group. Where its answer says that parts may pay:
 * measure, and make the job's groups. `filter` is what it was asked with. ERR_CLOSED: the
 * job is over.
 */
MUST_USE int retro_split_measure(struct retro_job *job, const struct corpus_snapshot *snapshot,
				 const struct query_filter *filter, const struct query_counters *c,
				 struct err *err);
/* Compile part number `part` in the worker's name; a failure leaves the job with one set. */
void retro_split_compile(struct retro_worker *w, struct retro_job *job, unsigned part);
#endif
