#ifndef SERVICE_RULESET_CHECK_H
#define SERVICE_RULESET_CHECK_H
#include "base/arena.h"
#include "service/rulesets.h"

/*
 * What an owner wants to set, checked at the edge: forms and limits here, the
 * rules by compiling them alone in a child.
 */
enum {
	RULESET_TAG_BYTES_MAX = 128, /* a word; VirusTotal's are shorter */
	RULESET_WARNINGS_MAX = 100,  /* shown with an accepted ruleset */
};
#define RULESET_DAY_LIMIT_MAX INT64_C(1000000000000) /* more than anybody could be told */
#define RULESET_DATE_MAX INT64_C(253402300799)       /* the last second of the year 9999 */

/*
 * Check every member that is set and copy it into the arena in its canonical
 * form (lists written anew, tags normalised and each once, `ip` as `ip_address`).
 * ERR_INVALID says what is wrong.
 */
MUST_USE int ruleset_change_check(const struct ruleset_change *change, bool creating, int64_t now_s,
				  struct arena *arena, struct ruleset_change *ret, struct err *err);

struct scan_child;
struct ruleset_compile_ask {
	struct str rules;
	struct str entity;  /* "file", … */
	bool retrohunt;     /* with what Retrohunt alone knows and forbids */
	uint32_t rules_max; /* 0: LIMIT_RULES_PER_SET */
	/* Not all rules, but these and what they need (see scan_compile_options); then no plan. */
	const uint32_t *only;
	uint32_t only_count;
	uint32_t timeout_ms; /* 0: the service's */
	/*
	 * They were accepted once: that they take too long now, or kill the compiler, is
	 * ERR_TIMEOUT or ERR_DIED and no verdict on them.
	 */
	bool compiled_before;
	/*
	 * Not NULL: told which child is about to compile, so that another thread can cancel it,
	 * and NULL after that. false: it shall not; the outcome is ERR_CLOSED.
	 */
	bool (*show)(struct scan_child *child, void *arg);
	void *arg;
	/* Not NULL: asked while it waits for a child, as scan_child_take_while says. */
	bool (*wants_child)(void *arg);
	void *wants_arg;
};
struct ruleset_compiled {
	struct str rule_names; /* JSON array */
	int64_t rule_count;
	struct scan_rules *rules; /* the caller's reference */
};

/*
 * Compile alone, in a child. Blocks. *messages, a JSON array, is set in any case.
 * ERR_INVALID: the rules are refused, or took too long, or killed the compiler;
 * the text is for their owner.
 */
MUST_USE int ruleset_compile(struct service *svc, const struct ruleset_compile_ask *ask,
			     struct arena *arena, struct ruleset_compiled *ret,
			     struct str *messages, struct err *err);

/* Are these rules that could be compiled: not empty, not too long, no NUL? ERR_INVALID. */
MUST_USE int ruleset_text_check(struct str rules, struct err *err);
/* A JSON array of up to `max` e-mail addresses, written anew. ERR_INVALID, calling it `what`. */
MUST_USE int emails_check(struct str json, const char *what, size_t max, struct arena *arena,
			  struct str *ret, struct err *err);
#endif
