#ifndef SERVICE_LIVESET_H
#define SERVICE_LIVESET_H
#include <stdatomic.h>
#include "scan/scan.h"
#include "service/service.h"

/*
 * The live set: every enabled file ruleset compiled together.
 *
 * Invariants
 *  1. A published set is immutable and stands for one generation: scanning with
 *     it gives exactly what the rulesets enabled at that generation match.
 *  2. It is a base, compiled at an earlier generation, plus a delta of what
 *     changed since. Sources of the base that changed since are stale: what they
 *     hit is dropped.
 *  3. Generations of published sets only grow. liveset_take(g) returns a set of
 *     at least g, waiting for it to be built.
 *  4. A ruleset that no longer compiles, or that kills or hangs the compiler
 *     although it passed alone when it was accepted, is suspended with the
 *     reason; the others are built without it.
 *  5. Rulesets that compile one by one but not together (they are more text than
 *     live_text_max, or more than the compiler's memory or time) stop nobody: as
 *     many as can be stay, the longest unchanged first; the newest changes are
 *     suspended with the reason. How many is found by halves, in some ten compiles
 *     for a thousand; the set published last goes on hunting meanwhile, and what
 *     was claimed later waits.
 *
 *   changed --liveset_changed--> wanted --build_delta--> published
 *                                   \--(delta grew large)--> build_base (in the
 *                                       background) --> next delta stands on it
 */
struct liveset;

struct live_source {
	int64_t ruleset_id;
	int64_t version;
};

/* One compiled set and where its rules come from. Counted, immutable. */
struct live_part {
	_Atomic uint32_t refs;
	int64_t generation;
	struct scan_rules *rules;
	struct live_source *sources; /* by scan_rule.source */
	size_t source_count;
};

struct live_set {
	_Atomic uint32_t refs;
	int64_t generation;
	struct live_part *parts[SCAN_SLOTS_LIVE]; /* base, delta; either may be NULL: no rules */
	bool *base_stale;                         /* by source of the base */
};

MUST_USE int liveset_start(struct service *svc, struct err *err);
/* From here on liveset_take returns NULL. */
void liveset_cancel(struct service *svc);
void liveset_stop(struct service *svc); /* joins the threads; the writer may still call back */
void liveset_free(struct service *svc); /* after the writer has stopped */
/* A ruleset change was committed. Any thread, also the writer's. */
void liveset_changed(struct service *svc);
/* A set of at least this generation; NULL when stopping. Blocks. */
struct live_set *liveset_take(struct service *svc, int64_t generation);
/* The published one, or NULL if there is none so far. */
struct live_set *liveset_current(struct service *svc);
struct live_set *live_set_unref(struct live_set *set); /* returns NULL */
/* Does a hit of this slot and source count? */
bool live_set_counts(const struct live_set *set, unsigned slot, uint32_t source);
#endif
