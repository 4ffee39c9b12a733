#ifndef SERVICE_RETROHUNT_BATCH_H
#define SERVICE_RETROHUNT_BATCH_H
#include "retrohunt_split.h"
#include "scan/many.h"

/*
 * A batch: files that one worker verifies with one child. Rules that ask for facts need
 * those of each file and are scanned one by one (retrohunt_worker.c); all others go
 * many in one message (retrohunt_many.c).
 */
struct batch_item {
	const struct retro_item *item;
	uint8_t sets;     /* bit by set (struct batch): those it is scanned with */
	bool is_left_out; /* gone, or out of the job's time */
	/* of those that are scanned one by one */
	struct scan_facts facts;
	struct pack_file *pack;
	/* of many */
	uint16_t file; /* of the batch's */
	enum {
		ITEM_TODO,
		ITEM_ALONE, /* it may have harmed a child: it is scanned by itself, once */
		ITEM_DONE
	} state;
};

struct batch {
	struct retro_worker *w;
	struct retro_job *job;
	struct retro_task *task;
	struct arena *arena;
	struct arena *facts; /* what rules may ask of the items; NULL: nothing */
	struct batch_item *items;
	size_t n;
	/*
	 * What is scanned with: set 0 is all rules of the job, the others are its parts. Those
	 * that some item wants, and which slot of the child each of them is in.
	 */
	const struct retro_split *split; /* NULL: there are no parts */
	uint8_t sets;
	uint8_t slots[1 + RULE_PARTS_MAX];
	struct retro_hit *hits;
	size_t hit_count, hit_cap;
	struct retrohunt_done sum;
	int64_t until_us;       /* monotonic; 0: nothing is scanned yet */
	uint64_t scan_us;       /* of the child */
	unsigned struck;        /* children that somebody killed since the last item was decided */
	unsigned load_failures; /* children in a row that failed to load the rules */
	/* one by one */
	size_t sent, done; /* items before those are sent, answered */
	ptrdiff_t alone;   /* this item was to blame once: it is scanned by itself */
	/* many */
	struct pack_file *packs[SCAN_MANY_FILES];
	int files[SCAN_MANY_FILES];
	unsigned file_count;
};

/* The job is over, or the service stops: what is found counts no more. */
bool batch_must_end(const struct batch *b);
/*
 * Others have their turn now: what is neither done nor under way goes back to the task. Not
 * while it fails, which is counted here, nor before something is done.
 */
bool batch_is_late(const struct batch *b);
/* A living child with the job's rules; rests where that fails. false: try again. */
bool batch_child(struct batch *b);
/*
 * The child is dead, as `rc` says, but that is no proof yet: somebody killed it, or the job
 * must end. Rests, so that what wants memory finds some. So many in a row are proof.
 */
bool batch_is_struck(struct batch *b, int rc);
/* The child's slots for an item. */
uint16_t batch_slots(const struct batch *b, const struct batch_item *item);
/* The item was not scanned, through nobody's harm. `reason` is for the job's owner. */
void batch_skip(struct batch *b, const struct batch_item *item, const char *reason);
/* The same where that failed; the owner is told in our words, the log has the error's. */
void batch_fail(struct batch *b, const struct batch_item *item, const struct err *why);
/* It harmed the scanner, by itself. */
void batch_blame(struct batch *b, const struct batch_item *item, const char *reason);
/* It is decided; `verified`: by the scanner. */
void batch_count(struct batch *b, struct batch_item *item, bool verified);
/*
 * Keep one hit; commits when many have gathered. ERR_CLOSED: the job is over; else what
 * keeps the hit from being told.
 */
MUST_USE int batch_hit(struct batch *b, const struct batch_item *item, const struct scan_hit *hit,
		       struct err *err);

/* All items, many at a time. ERR_CLOSED: given up in the middle. */
MUST_USE int batch_run_many(struct batch *b, struct err *err);
#endif
