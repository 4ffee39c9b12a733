#ifndef ENGINE_H
#define ENGINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * YARA-X (crate yara-x, pinned in engine/Cargo.toml) for C.
 *
 * Why not the official C API: it has no panic barrier (a panic that leaves an
 * extern "C" function aborts), no private/global flags, no module outputs and
 * no linters. Every function here catches panics and returns ENGINE_PANIC;
 * after that the compiler or scanner it was called on may only be freed, and
 * says ENGINE_PANIC to everything else. Panics are real: rules exist that
 * compile without a word and panic in every scan (test_engine_scan.c has one). What
 * is not caught is a stack that overflows or memory that runs out: those kill
 * the process.
 *
 * Threads:   a compiler and a scanner belong to the thread that made them.
 *            Rules are read-only and shared by any number of threads.
 *            Every thread that calls in needs 2 MB of stack. A source with
 *            more than 450 tokens that may nest is compiled on a thread of its
 *            own, with 256 MB of (untouched) stack, while the caller waits;
 *            where no such thread can be made, on the caller's stack.
 *            The first scan with a timeout starts one clock thread in the
 *            process; fork() after that leaves the child without timeouts.
 * Ownership: out-parameters are set only on ENGINE_OK. Each _new/_build/_load
 *            has one _free, which accepts NULL.
 * Cost:      only engine_scanner_scan has a time limit. Every source costs 0.4 ms
 *            beside its rules. Calls nested in each other, f(f(f(...))), cost
 *            the parser three times more with each level: 12 take 2 seconds,
 *            14 20 seconds; beyond, it gives up with E001 after a minute.
 *            Compile in a process that may be killed.
 * Strings:   pointer and length, UTF-8 unless said otherwise, no terminator.
 */
enum engine_result {
	ENGINE_OK = 0,
	ENGINE_INVALID = 1, /* bad argument: NULL, not UTF-8, unknown entity or variable */
	ENGINE_COMPILE = 2, /* rules refused; see engine_compiler_messages */
	ENGINE_TIMEOUT = 3, /* the scan ran into its time limit; no matches */
	ENGINE_SCAN = 4,    /* the scan failed; see engine_last_error */
	ENGINE_FORMAT = 5,  /* not rules that this very build serialized, or damaged */
	ENGINE_PANIC = 6,   /* a bug in the engine; free the object */
};

/*
 * Text of this thread's last failing call; "" if none. Valid until the next
 * call of this thread. For people: it may quote rules.
 */
const char *engine_last_error(void);

/* Version of the yara-x crate, such as "1.22.1". Static. */
const char *engine_version(void);

/* Bytes owned by the engine; release with engine_buffer_free. */
struct engine_buffer {
	uint8_t *data;
	size_t len;
};
void engine_buffer_free(struct engine_buffer *buf); /* zeroes it */

/*
 * Do on this thread what must happen before a sandbox closes: open libmagic's
 * database for the `magic` module, start the timeout clock, fault in the
 * runtime of compiled conditions. Compiles and runs one rule that imports
 * every module, and the file-format modules on their own. Call it on the thread
 * that will scan: libmagic's database is opened per thread. 30 ms.
 * ENGINE_PANIC: libmagic has no database. Afterwards scans, compiles and
 * engine_modules open no file.
 */
enum engine_result engine_warm_up(void);

/* ---- Compile ---- */

/* What the rules are matched against: selects the `vt` fields that compile. */
enum engine_entity {
	ENGINE_FILE = 0,
	ENGINE_URL = 1,
	ENGINE_DOMAIN = 2,
	ENGINE_IP_ADDRESS = 3,
};

struct engine_compile_options {
	enum engine_entity entity;
	bool retrohunt;        /* adds the feature of that name: no vt.metadata.submitter */
	bool refuse_slow;      /* slow patterns and loops are errors, as at VirusTotal */
	uint32_t warnings_max; /* warnings kept; 0 for bulk builds (their cost is quadratic) */
};

struct engine_compiler;

/*
 * Modules accepted: pe elf dotnet lnk macho math magic hash string time vt; any
 * other import is an error (E100, or E010 where this build lacks the module), and
 * so is every include. `vt` fields of other entities are E100. For ENGINE_FILE the
 * legacy external variables are defined, empty, 0 and false: file_name file_type imphash md5 sha1
 * sha256 signatures ssdeep tags vhash (strings), positives submissions (integers), new_file
 * (boolean).
 */
enum engine_result engine_compiler_new(const struct engine_compile_options *options,
				       struct engine_compiler **ret);
void engine_compiler_free(struct engine_compiler *compiler);

/*
 * Add one source in a namespace of its own. ENGINE_COMPILE: it had errors
 * (engine_compiler_messages has them) and nothing of it may be used; the
 * caller gives the compiler up, as earlier sources' rules share its state: more
 * sources may be added for their messages, but engine_compiler_build refuses.
 * Also ENGINE_COMPILE if the engine dropped a rule without saying so (it does
 * for syntax trees deeper than 3,000 levels); the message is an error with code
 * "W001" at that rule. Sources that are not UTF-8 are ENGINE_COMPILE with line
 * and column. ENGINE_INVALID: the namespace is empty, not UTF-8, or was added
 * before, or the compiler is used up.
 */
enum engine_result engine_compiler_add(struct engine_compiler *compiler, const char *ns,
				       size_t ns_len, const char *source, size_t source_len);

/*
 * Every message so far as a JSON array of
 * {"level":"error"|"warning","code":"E009","title":…,"line":1,"column":5,
 *  "namespace":…,"text":the rendered report}; line and column count from 1,
 * columns in characters. Errors come first, then warnings, each in source order.
 * Warnings have words for codes, such as "slow_pattern". ENGINE_INVALID after
 * engine_compiler_build.
 */
enum engine_result engine_compiler_messages(const struct engine_compiler *compiler,
					    struct engine_buffer *ret);

struct engine_rules;

/*
 * Turn what was added into rules. The compiler is used up; only free it.
 * ENGINE_COMPILE: some source had errors.
 */
enum engine_result engine_compiler_build(struct engine_compiler *compiler,
					 struct engine_rules **ret);
void engine_rules_free(struct engine_rules *rules);

/*
 * Serialize with native code, so that engine_rules_load takes milliseconds.
 * The bytes begin with a header that names the build and a checksum.
 */
enum engine_result engine_rules_serialize(const struct engine_rules *rules,
					  struct engine_buffer *ret);
/*
 * Only bytes that engine_rules_serialize of this build wrote. ENGINE_FORMAT: they
 * are not, or they were damaged by accident. Bytes forged on purpose can run any
 * code: never load what an untrusted process could have written. `data` may go
 * after the call. On a CPU with other features the native code is made anew,
 * which takes as long as the compile did.
 */
enum engine_result engine_rules_load(const uint8_t *data, size_t len, struct engine_rules **ret);

/* ---- Look at rules ---- */

struct engine_str {
	const char *p;
	size_t n;
};

struct engine_rule {
	uint32_t index; /* position in the set; the same after serialize and load */
	bool is_private;
	bool is_global;
	struct engine_str ns;
	struct engine_str name;
	const struct engine_str *tags;
	size_t tag_count;
	/*
	 * [["key",value],…] in source order, keys may repeat. Values: string,
	 * integer (64 bits), float, boolean. Strings that are not UTF-8 (escapes
	 * in the source) have U+FFFD in the bad places.
	 */
	struct engine_str metadata_json;
};

/* Call `each` for every rule in index order. What it gets dies with the call. */
enum engine_result engine_rules_each(const struct engine_rules *rules,
				     void (*each)(const struct engine_rule *rule, void *arg),
				     void *arg);
/* Private ones too; 0 for NULL. */
uint32_t engine_rules_count(const struct engine_rules *rules);

/* ---- Plan ---- */

/*
 * What a sample must have so that the rules of a source can match it, as a program
 * (docs/format/plan.md). It errs only towards "can match". Its rules stand in source
 * order, which is that of engine_rule.index where the source is the only one. Needs no
 * compiler; give it sources that engine_compiler_add takes, as what the engine would
 * refuse is understood as it stands or not at all.
 *
 * ENGINE_COMPILE: a syntax error, not UTF-8, an include, a rule that is nested too
 * deeply. ENGINE_INVALID: more than 1,000 rules or 65,536 patterns.
 * Cost: as much as parsing; nested calls cost what they cost there (see above).
 */
enum engine_result engine_plan(const char *source, size_t source_len, struct engine_buffer *ret);

/* ---- Parts ---- */

/*
 * Some rules of a source as a source of their own, of the same length and lines: those of the
 * given indexes (as in engine_rule.index) and what they need to match as they do among the
 * others, which are the rules their conditions name, directly or not, the global rules, and
 * the imports. All else is blank. Give it sources that engine_compiler_add takes.
 *
 * ENGINE_COMPILE: as engine_plan's. ENGINE_INVALID: an index beyond the last rule.
 */
enum engine_result engine_part(const char *source, size_t source_len, const uint32_t *rules,
			       size_t rule_count, struct engine_buffer *ret);

/* ---- Scan ---- */

/*
 * A pattern that matched so often in one scan is not searched on, and `#a` counts
 * no further. The engine's own limit is ten times that, 40 MB for each pattern.
 */
enum {
	ENGINE_MATCHES_PER_PATTERN = 100000
};

struct engine_match {
	uint64_t offset; /* bytes from the start of the scanned data */
	uint64_t len;
};

struct engine_hit {
	uint32_t rule_index; /* as in engine_rule.index */
	/*
	 * Of all patterns that are not private, ascending by offset, then length,
	 * none twice. NULL or not when there are none.
	 */
	const struct engine_match *matches;
	size_t match_count;
	bool matches_cut; /* there were more than matches_max */
};

struct engine_scanner;

enum engine_result engine_scanner_new(const struct engine_rules *rules,
				      struct engine_scanner **ret);
/* Before or after its rules: a scanner keeps them alive. */
void engine_scanner_free(struct engine_scanner *scanner);

/*
 * Limit for each later scan; the clock ticks once a second and rounds up. 0: none.
 * It is looked at in pattern searches and loops, not while modules parse.
 */
enum engine_result engine_scanner_set_timeout(struct engine_scanner *scanner, uint32_t seconds);

/*
 * Give the next scan its `vt` data: a serialized vt.titan.LiveHuntData message.
 * It is copied, and gone after that scan. ENGINE_INVALID: it does not parse
 * (strings must be UTF-8), and nothing changed. Fields that are not sent, all of
 * them without data, are 0, false or "", never undefined.
 */
enum engine_result engine_scanner_set_vt(struct engine_scanner *scanner, const uint8_t *data,
					 size_t len);

/*
 * Values of external variables; they stay until changed. ENGINE_INVALID: no such
 * variable (only file rules have them), another type, not UTF-8.
 */
enum engine_result engine_scanner_set_str(struct engine_scanner *scanner, const char *name,
					  const char *value, size_t value_len);
enum engine_result engine_scanner_set_int(struct engine_scanner *scanner, const char *name,
					  int64_t value);
enum engine_result engine_scanner_set_bool(struct engine_scanner *scanner, const char *name,
					   bool value);

/*
 * Scan and call `each` for every matching rule that is not private. What it
 * gets dies with the call. At most matches_max matches a rule (the lowest offsets).
 * Hits come in any order. `each` must return (no longjmp) and leave the scanner alone.
 * ENGINE_TIMEOUT, ENGINE_SCAN, ENGINE_PANIC: `each` was not called. After
 * ENGINE_TIMEOUT the scanner is as good as new; after the other two free it.
 */
enum engine_result engine_scanner_scan(struct engine_scanner *scanner, const uint8_t *data,
				       size_t len, size_t matches_max,
				       void (*each)(const struct engine_hit *hit, void *arg),
				       void *arg);

/*
 * Run the file-format modules over the data and return mods.Modules (the
 * crate's protos/mods.proto) serialized. Not under any time limit: call it in
 * a process that may be killed.
 */
enum engine_result engine_modules(const uint8_t *data, size_t len, struct engine_buffer *ret);

/* ---- Facts ---- */

/*
 * What can be known of a sample by reading it, in the words of VirusTotal's file object.
 * Release with engine_facts_release.
 */
struct engine_facts {
	/*
	 * A JSON object of at most ENGINE_FACTS_BYTES_MAX bytes, UTF-8: those of tlsh creation_date
	 * authentihash telfhash pe_info main_icon exiftool signature_info dot_net_assembly
	 * dot_net_guids elf_info macho_info lnk_info that the sample has, each once.
	 */
	struct engine_buffer object;
	struct engine_buffer tags; /* blank-separated, of a-z 0-9 and '-': "64bits overlay" */
	/* What file(1) adds to libmagic's description of an ELF file, which needs a file. */
	struct engine_buffer magic_tail;
	bool is_pie; /* "shared object" in that description should read "pie executable" */
	/*
	 * Hashes of what the engine's modules say of it and plans (engine_plan) ask for: rising,
	 * each once, at most ENGINE_FEATURES_MAX. They are of version ENGINE_FEATURES_VERSION; a
	 * plan may be held only against features of its own version. Version 0: it has too
	 * many, none are given, and it must count as one that has every feature.
	 */
	uint64_t *features;
	size_t feature_count;
	uint32_t features_version;
};

enum {
	ENGINE_FACTS_BYTES_MAX = (1 << 20) + 2,
	ENGINE_FEATURES_VERSION = 2,
	ENGINE_FEATURES_MAX = (1 << 16) - 1
};

/*
 * Lists have at most 256 entries (as VirusTotal's), texts at most 1 KB. file_type
 * names the type of a part; what it answers is copied; it may be NULL or answer NULL.
 * Not under any time limit: some 50 MB/s, but for files made to be slow.
 */
enum engine_result engine_facts(const uint8_t *data, size_t len,
				const char *(*file_type)(const uint8_t *part, size_t n, void *arg),
				void *arg, struct engine_facts *ret);
void engine_facts_release(struct engine_facts *facts); /* zeroes it */
#endif
