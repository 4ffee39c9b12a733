#ifndef SERVICE_LEDGER_H
#define SERVICE_LEDGER_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the service was asked and what it acknowledged, in a mapped file that
 * outlives the process that asked. `asked` is set before the call, `acked` where
 * the answer arrives; both stand after what they speak of.
 *
 * Samples are noise in which some of TOKENS words stand; rules are one word each.
 * So a check needs no engine to know what must have been found.
 */
enum {
	TOKENS = 8,
	ALL_TOKENS = (1 << TOKENS) - 1,
	LED_USERS = 3,
	LED_UPLOADS = 400,
	LED_RULESETS = 16,
	LED_OPS = 16,
	LED_REMOVALS = 8,
	LED_DELETIONS = 32,
	SAMPLE_BYTES_BIG = 17 << 20, /* becomes a pack of its own */
	SAMPLE_BYTES_STREAM = 2 << 20,
};

struct led_upload {
	uint32_t sample;
	int64_t intake;
	int64_t generation; /* the highest one acknowledged when this was */
	_Atomic int asked, acked;
};

struct led_op {
	unsigned tokens;
	bool enabled;
	bool deleted;
	int64_t generation;
};

/* One client changes a ruleset, one change after the other. */
struct led_ruleset {
	int user;
	int64_t id;
	struct led_op ops[LED_OPS];
	_Atomic int asked, acked; /* how many of the ops */
};

struct led_removal {
	uint32_t sample;
	uint32_t pack;
	uint64_t offset, len;
	_Atomic int asked, acked;
};

struct led_deletion {
	int user;
	bool all; /* everything of this user up to seq; else this one */
	int64_t seq;
	_Atomic int asked, acked;
};

struct ledger {
	uint64_t seed;
	int64_t users[LED_USERS];
	_Atomic int user_count; /* acknowledged */
	_Atomic int64_t generation;
	_Atomic int upload_count, ruleset_count, removal_count, deletion_count;
	_Atomic uint64_t syncs;
	struct led_upload uploads[LED_UPLOADS];
	struct led_ruleset rulesets[LED_RULESETS];
	struct led_removal removals[LED_REMOVALS];
	struct led_deletion deletions[LED_DELETIONS];
};

/* Map dir/ledger; made if it is not there. Ends the process if that fails. */
struct ledger *ledger_map(const char *dir);

struct sample {
	uint8_t *p; /* the caller's to free */
	size_t n;
	unsigned tokens;
};
/* Sample number `n` of this ledger; the number says what size it has. */
struct sample sample_make(const struct ledger *led, uint32_t n);
enum {
	SAMPLE_KIND_SMALL = 0,
	SAMPLE_KIND_STREAM = 10000, /* numbers from here */
	SAMPLE_KIND_BIG = 20000,
};

/* One rule "hit_<i>" for each token of the set; into `out`. */
void rules_make(unsigned tokens, char out[1024]);
/* The set that such a text speaks of. */
unsigned rules_tokens(const char *text, size_t n);

/* The two roles of the test program beside the test itself; both exit statuses. */
struct work_options {
	uint64_t crash_at_sync;
	bool no_sync;        /* the disk acknowledges syncs and does nothing */
	bool unsafe_no_sync; /* the service is told to leave them out */
};
/* Work until the power goes or all is done, and leave what survived in dir/durable. */
int work_main(const char *dir, const struct work_options *options);
/* 0: all that was acknowledged is there; 1: dir/why says what is not. */
int check_main(const char *dir);
#endif
