#ifndef SCAN_SCAN_H
#define SCAN_SCAN_H
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/err.h"

/*
 * Hostile bytes are only parsed in children: processes that one permanent
 * supervisor thread spawns from the program's own file (`weir scan-child`), that
 * hold nothing but a socket pair, give up every right before they see the first
 * byte, and may die at any time. The parent never compiles or loads rules.
 *
 * A child does one thing at a time for one thread of the parent. It compiles
 * rules, identifies samples and scans them; which, is up to who took it.
 *
 * The parent believes nothing: every index and offset a child reports is checked
 * against what the parent knows; a child that lies is killed (ERR_DIED).
 */

/* ---- The pool ---- */

struct scan_pool;

struct scan_pool_options {
	const char *program;      /* run as `program scan-child`; NULL: /proc/self/exe */
	uint32_t children_max;    /* processes at once, spare included; one near jobs_max is
				     not counted, so that its successor is warm in time */
	uint64_t memory_max;      /* resident bytes of a child's own beyond which it is killed;
				     files that it maps are not counted */
	uint32_t scan_timeout_ms; /* wall time of one scan */
	uint32_t compile_timeout_ms;
	uint32_t identify_timeout_ms;
	uint32_t jobs_max; /* a child is replaced after so many jobs */
};
#define SCAN_POOL_OPTIONS_DEFAULT                                                                  \
	((struct scan_pool_options){ NULL, 8, 2ull << 30, 90000, 60000, 30000, 20000 })

/* Starts the supervisor thread and one warm spare child; ERR_DIED if that does not come up. */
MUST_USE int scan_pool_open(struct scan_pool **ret, const struct scan_pool_options *options,
			    struct err *err);
/*
 * Kills every child that is taken, so that nobody waits long for what it does:
 * its owner sees ERR_DIED (struck) and gives it back. From here on
 * scan_child_take is ERR_CLOSED. Any thread; NULL is fine.
 */
void scan_pool_cancel(struct scan_pool *pool);
/* Kills all children. Every child must have been given back. NULL is fine. */
void scan_pool_close(struct scan_pool *pool);

/* How many children died or were killed for a limit so far. */
uint64_t scan_pool_deaths(const struct scan_pool *pool);

/* ---- A child ---- */

struct scan_child;

/*
 * A confined, warmed-up child for this thread alone. Waits for one at children_max.
 * ERR_DIED: none comes up, though it was tried a few times.
 */
MUST_USE int scan_child_take(struct scan_child **ret, struct scan_pool *pool, struct err *err);
/*
 * The same for somebody who may not want it any more: `goes_on` is asked every 100 ms while
 * it waits, under the pool's lock, so it may take none. ERR_CLOSED: it said no.
 */
MUST_USE int scan_child_take_while(struct scan_child **ret, struct scan_pool *pool,
				   bool (*goes_on)(void *arg), void *arg, struct err *err);
/* Give it back; one that is dead, used up or still scanning is buried. NULL is fine. */
void scan_child_give(struct scan_pool *pool, struct scan_child *child);
/*
 * Kill a child that another thread has taken and cannot give back meanwhile: its owner
 * sees ERR_DIED soon, whatever it waits for.
 */
void scan_child_cancel(struct scan_child *child);
/* Wall time of each later scan of this child, until it is given back; 0: the pool's. */
void scan_child_limit(struct scan_child *child, uint32_t timeout_ms);
pid_t scan_child_pid(const struct scan_child *child);
/* It died, was killed, or broke the protocol: only give it back. */
bool scan_child_is_dead(const struct scan_child *child);
/*
 * It was ended by a SIGKILL that its pool did not send: somebody's, or the kernel's
 * for want of memory. That says little about what it was at; ask after a failure.
 */
bool scan_child_is_struck(const struct scan_child *child);
/* It did jobs_max jobs: give it back soon and take another (it still works). */
bool scan_child_is_used_up(const struct scan_child *child);
/* Why: "killed by signal 11", "over its memory limit", "took longer than 90000 ms", … */
const char *scan_child_cause(const struct scan_child *child);

/* ---- Compile ---- */

enum scan_entity {
	SCAN_FILE,
	SCAN_URL,
	SCAN_DOMAIN,
	SCAN_IP_ADDRESS
};

struct scan_source {
	struct str ns; /* namespace: "<ruleset>.<version>", unique in the set */
	struct str source;
};

/* One rule of a compiled set, in the engine's index order. */
struct scan_rule {
	uint32_t source; /* index into the sources it was compiled from */
	bool is_private;
	bool is_global;
	struct str name;
	const struct str *tags;
	uint32_t tag_count;
	struct str metadata_json; /* [["key",value],…] */
};

/* A compiled set: serialized code in a memory file, and its table of rules. Immutable, counted, any
 * thread. */
enum {
	SCAN_PLAN_BYTES_MAX = 64 << 20
};
struct scan_rules;
struct scan_rules *scan_rules_ref(struct scan_rules *r);
struct scan_rules *scan_rules_unref(struct scan_rules *r); /* returns NULL */
uint32_t scan_rules_count(const struct scan_rules *r);
const struct scan_rule *scan_rules_at(const struct scan_rules *r, uint32_t index);
uint64_t scan_rules_bytes(const struct scan_rules *r);
/*
 * Can the rules ask for anything of struct scan_facts? Answered from their text; no is certain.
 */
bool scan_rules_asks_facts(const struct scan_rules *r);
/*
 * What samples must have so that the rules can match them (docs/format/plan.md), as the
 * child made it: at most SCAN_PLAN_BYTES_MAX hostile bytes, for index/plan.h to check. Empty:
 * it was not wanted, or could not be made: then any sample may match.
 */
struct str scan_rules_plan(const struct scan_rules *r);

/*
 * Compile sources, each in its namespace, into one set, in the child.
 * *ret_rules is NULL and the result 0 when the rules are refused: then
 * `messages` (a JSON array, see engine_compiler_messages) has an error. Warnings
 * are added to it on success. `messages` may be NULL for bulk builds.
 * Errors: ERR_TIMEOUT and ERR_DIED name the cause; the child is dead then.
 * ERR_TOO_LARGE: more sources than any child gets; ERR_INVALID: an empty or
 * repeated namespace.
 */
enum {
	SCAN_ONLY_MAX = 65536
};
struct scan_compile_options {
	enum scan_entity entity;
	bool retrohunt;
	bool refuse_slow;
	uint32_t warnings_max;
	bool want_plan; /* of one source; see scan_rules_plan */
	/*
	 * Of one source that compiles: these of its rules alone, with what they need to match as
	 * they do among all (engine_part). 0: all. At most SCAN_ONLY_MAX.
	 */
	const uint32_t *only;
	uint32_t only_count;
	uint32_t timeout_ms; /* 0: the pool's compile_timeout_ms */
};
MUST_USE int scan_compile(struct scan_child *child, const struct scan_source *sources, size_t n,
			  const struct scan_compile_options *options, struct scan_rules **ret_rules,
			  struct buf *messages, struct err *err);

/* ---- Identify ---- */

enum {
	/* Sets that a child holds. The first two are Livehunt's, so that they stay loaded. */
	SCAN_SLOTS = 16,
	SCAN_SLOTS_LIVE = 2,
	SCAN_LIVE_SLOTS = (1 << SCAN_SLOTS_LIVE) - 1,
	SCAN_ALL_SLOTS = (1 << SCAN_SLOTS) - 1,
	SCAN_DEPTH = 4 /* samples that may be under way in one child */,
	SCAN_FACTS_BYTES_MAX = (1 << 20) + 1024, /* the engine's, and ssdeep */
	SCAN_FEATURES_MAX = (1 << 16) - 1,
	SCAN_FEATURES_VERSION = 2 /* of what a child extracts: ENGINE_FEATURES_VERSION */
};

/* What the bytes are; text lives in `text` and is valid UTF-8. */
struct scan_identity {
	struct buf text;    /* owned: scan_identity_release */
	struct str magic;   /* libmagic's description, for ELF files as file(1) completes it */
	struct str mime;    /* libmagic's MIME type */
	uint32_t file_type; /* vt.FileType, from scan/filetype.h */
	/*
	 * A JSON object whose members are those of scan/facts.def that the sample has, each
	 * once: checked, so that it may be spliced into an answer. Empty: none were wanted, or
	 * `failure` says why there are none.
	 */
	struct str facts;
	struct str tags;    /* blank-separated, such as "64bits overlay" */
	struct str failure; /* of the extraction; empty: there was none */
	/*
	 * What plans may ask of the sample (engine_facts), rising, each once: owned. Of version
	 * SCAN_FEATURES_VERSION; version 0: they are not known, and it counts as having every one.
	 */
	uint64_t *features;
	size_t feature_count; /* at most SCAN_FEATURES_MAX */
	uint32_t features_version;
	uint64_t examine_us; /* time in the child */
};
void scan_identity_release(struct scan_identity *id);

/* A sample's bytes: [offset, offset + len) of a file open for reading. */
struct scan_sample {
	int fd;
	uint64_t offset;
	uint64_t len;
};

/*
 * Queue one identification; at most SCAN_DEPTH of these and of scans may be under way.
 * want_facts: read all of it, else only what libmagic looks at. Errors: as scan_send.
 */
MUST_USE int scan_identify_send(struct scan_child *child, const struct scan_sample *sample,
				bool want_facts, struct err *err);
/* Wait for the oldest under way, which is an identification. Errors: as scan_recv. */
MUST_USE int scan_identify_recv(struct scan_child *child, struct scan_identity *ret,
				struct err *err);

/*
 * Both, with facts, while nothing is under way.
 * ERR_IO: the file ends before the sample does, or reading failed; the child lives on.
 */
MUST_USE int scan_identify(struct scan_child *child, const struct scan_sample *sample,
			   struct scan_identity *ret, struct err *err);

/*
 * Run what identifies and every file-format module over the sample without any user's
 * rules. 0: the sample is harmless by itself. ERR_DIED, ERR_TIMEOUT: it is guilty.
 */
MUST_USE int scan_probe(struct scan_child *child, const struct scan_sample *sample,
			struct err *err);

/* ---- Scan ---- */

enum {
	SCAN_MATCHES_MAX = 11 /* one more than a snippet shows */
};

/* Load a set into a slot of the child (NULL empties it). Not while scans are under way. */
MUST_USE int scan_load(struct scan_child *child, unsigned slot, struct scan_rules *rules,
		       struct err *err);
struct scan_rules *scan_loaded(const struct scan_child *child, unsigned slot);

/* What rules may ask about the sample; all text UTF-8. Copied by scan_send. */
struct scan_facts {
	struct str vt; /* serialized vt.titan.LiveHuntData, or empty */
	struct str file_name;
	struct str file_type;         /* blank-separated tags */
	struct str md5, sha1, sha256; /* lower-case hex */
	struct str tags;              /* blank-separated */
	struct str imphash, ssdeep;
	int64_t submissions;
	bool new_file;
};

/*
 * Queue one scan against the loaded sets of `slots` (bit 1 << slot). At most SCAN_DEPTH may be
 * under way. The descriptor may be closed when this returns. ERR_DIED: the child died of the oldest
 * scan under way, if there is one; ERR_TOO_LARGE: over LIMIT_SAMPLE_BYTES.
 */
MUST_USE int scan_send(struct scan_child *child, const struct scan_sample *sample,
		       const struct scan_facts *facts, uint32_t slots, struct err *err);

struct scan_match {
	uint64_t offset;
	uint64_t len;
};
struct scan_hit {
	uint8_t slot;
	uint32_t rule;    /* checked index into the slot's scan_rules */
	uint32_t item;    /* of many; else 0 */
	bool matches_cut; /* there were more than SCAN_MATCHES_MAX */
	uint32_t match_count;
	struct scan_match *matches; /* inside the sample, ascending */
};
/* Reused from scan to scan; zero it before the first, release after the last. */
struct scan_result {
	struct scan_hit *hits;
	size_t hit_count;
	size_t hit_cap;
	struct scan_match *match_pool;
	size_t match_cap;
	uint64_t scan_us; /* time in the child */
};
void scan_result_release(struct scan_result *r);

/*
 * Wait for the oldest under way, which is a scan. Errors: ERR_TIMEOUT, ERR_DIED (child is dead;
 * that oldest sample is the suspect, the others under way were not looked at); ERR_INVALID: the
 * engine failed this scan; ERR_IO: the sample could not be read in full; the child lives on and the
 * next answer is the next sample's.
 */
MUST_USE int scan_recv(struct scan_child *child, struct scan_result *ret, struct err *err);
unsigned scan_pending(const struct scan_child *child);

/* ---- The child's side: `weir scan-child` ends here; returns its exit status. ---- */
int scan_child_main(void);
#endif
