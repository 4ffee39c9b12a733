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
 * after that the object it was called on may only be freed.
 *
 * Threads:   a compiler and a scanner belong to the thread that made them.
 *            Rules are read-only and shared by any number of threads.
 *            The first scan with a timeout starts one clock thread in the
 *            process; fork() after that leaves the child without timeouts.
 * Ownership: out-parameters are set only on ENGINE_OK. Each _new/_build/_load
 *            has one _free, which accepts NULL.
 * Strings:   pointer and length, UTF-8 unless said otherwise, no terminator.
 */
enum engine_result {
	ENGINE_OK = 0,
	ENGINE_INVALID = 1, /* bad argument: NULL, not UTF-8, unknown entity */
	ENGINE_COMPILE = 2, /* rules refused; see engine_compiler_messages */
	ENGINE_TIMEOUT = 3, /* the scan ran into its time limit; no matches */
	ENGINE_SCAN = 4,    /* the scan failed; see engine_last_error */
	ENGINE_FORMAT = 5,  /* not rules that this very build serialized */
	ENGINE_PANIC = 6,   /* a bug in the engine; free the object */
};

/* Text of this thread's last failing call; "" if none. Valid until the next call. */
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
 * every module. Call it on the thread that will scan.
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
 * other import and every include is an error. For ENGINE_FILE the legacy external variables
 * are defined: file_name file_type imphash md5 sha1 sha256 signatures ssdeep
 * tags vhash (strings), positives submissions (integers), new_file (boolean).
 */
enum engine_result engine_compiler_new(const struct engine_compile_options *options,
                                       struct engine_compiler **ret);
void engine_compiler_free(struct engine_compiler *compiler);

/*
 * Add one source in a namespace of its own. ENGINE_COMPILE: it had errors
 * (engine_compiler_messages has them) and nothing of it may be used; the
 * caller gives the compiler up, as earlier sources' rules share its state.
 * Also ENGINE_COMPILE if the engine dropped a rule without saying so (it does
 * for syntax trees deeper than 3,000 levels); the message has code "W001".
 * Sources that are not UTF-8 are ENGINE_COMPILE with line and column.
 */
enum engine_result engine_compiler_add(struct engine_compiler *compiler,
                                       const char *ns, size_t ns_len,
                                       const char *source, size_t source_len);

/*
 * Every message so far as a JSON array of
 * {"level":"error"|"warning","code":"E009","title":…,"line":1,"column":5,
 *  "namespace":…,"text":the rendered report}; line and column count from 1.
 */
enum engine_result engine_compiler_messages(const struct engine_compiler *compiler,
                                            struct engine_buffer *ret);

struct engine_rules;

/* Turn what was added into rules. The compiler is used up; only free it. */
enum engine_result engine_compiler_build(struct engine_compiler *compiler,
                                         struct engine_rules **ret);
void engine_rules_free(struct engine_rules *rules);

/* Serialize with native code, so that engine_rules_load takes milliseconds. */
enum engine_result engine_rules_serialize(const struct engine_rules *rules,
                                          struct engine_buffer *ret);
/* Only bytes that engine_rules_serialize of this build wrote: foreign ones are unsafe. */
enum engine_result engine_rules_load(const uint8_t *data, size_t len,
                                     struct engine_rules **ret);

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
	struct engine_str metadata_json; /* [["key",value],…] in source order */
};

/* Call `each` for every rule in index order. What it gets dies with the call. */
enum engine_result engine_rules_each(const struct engine_rules *rules,
                                     void (*each)(const struct engine_rule *rule, void *arg),
                                     void *arg);
uint32_t engine_rules_count(const struct engine_rules *rules); /* private ones too */

/* ---- Scan ---- */

struct engine_match {
	uint64_t offset; /* bytes from the start of the scanned data */
	uint64_t len;
};

struct engine_hit {
	uint32_t rule_index; /* as in engine_rule.index */
	const struct engine_match *matches; /* ascending by offset, then length */
	size_t match_count;
	bool matches_cut; /* there were more than matches_max */
};

struct engine_scanner;

enum engine_result engine_scanner_new(const struct engine_rules *rules,
                                      struct engine_scanner **ret);
void engine_scanner_free(struct engine_scanner *scanner); /* before its rules */

/* Limit for each later scan; the clock ticks once a second and rounds up. 0: none. */
enum engine_result engine_scanner_set_timeout(struct engine_scanner *scanner, uint32_t seconds);

/* Give the next scan its `vt` data: a serialized vt.titan.LiveHuntData message. */
enum engine_result engine_scanner_set_vt(struct engine_scanner *scanner,
                                         const uint8_t *data, size_t len);

/* Values of external variables; they stay until changed. */
enum engine_result engine_scanner_set_str(struct engine_scanner *scanner, const char *name,
                                          const char *value, size_t value_len);
enum engine_result engine_scanner_set_int(struct engine_scanner *scanner, const char *name,
                                          int64_t value);
enum engine_result engine_scanner_set_bool(struct engine_scanner *scanner, const char *name,
                                           bool value);

/*
 * Scan and call `each` for every matching rule that is not private. What it
 * gets dies with the call. At most matches_max matches a rule (the lowest offsets).
 * ENGINE_TIMEOUT, ENGINE_SCAN, ENGINE_PANIC: `each` was not called.
 */
enum engine_result engine_scanner_scan(struct engine_scanner *scanner,
                                       const uint8_t *data, size_t len, size_t matches_max,
                                       void (*each)(const struct engine_hit *hit, void *arg),
                                       void *arg);

/*
 * Run the file-format modules over the data and return mods.Modules (the
 * crate's protos/mods.proto) serialized. Not under any time limit: call it in
 * a process that may be killed.
 */
enum engine_result engine_modules(const uint8_t *data, size_t len, struct engine_buffer *ret);
#endif
