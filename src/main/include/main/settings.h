#ifndef MAIN_SETTINGS_H
#define MAIN_SETTINGS_H
#include "base/buf.h"
#include "base/err.h"

/*
 * Settings: declared in settings.def; a file, the environment and flags set
 * them, in rising order. A value is checked where it is set, so that what is
 * read later is always within its limits.
 *
 * Threads: none of its own; a struct settings that nobody writes may be read by any.
 */
enum setting_id {
#define SETTING(id, ...) SETTING_##id,
#include "main/settings.def"
#undef SETTING
	SETTING_COUNT
};

enum setting_type {
	SETTING_TYPE_TEXT,
	SETTING_TYPE_COUNT,
	SETTING_TYPE_BYTES,
	SETTING_TYPE_BOOL,
	SETTING_TYPE_CHOICE
};

struct setting_info {
	const char *name; /* "hunt-bytes-max" */
	const char *unit; /* of a choice: "a|b|c" */
	const char *def;
	const char *text;
	uint64_t min;
	uint64_t max;
	enum setting_type type;
	bool live;
	bool secret;
};
extern const struct setting_info setting_infos[SETTING_COUNT];

enum setting_origin {
	SETTING_FROM_DEFAULT,
	SETTING_FROM_FILE,
	SETTING_FROM_ENVIRONMENT,
	SETTING_FROM_FLAG
};

struct setting_value {
	uint64_t number; /* counts, bytes, 0 or 1 */
	char *text;      /* owned; as it was given */
	enum setting_origin origin;
	char *where; /* owned: "weir.toml:3", "WEIR_DATA", "--data"; NULL for a default */
};

struct settings {
	struct setting_value values[SETTING_COUNT];
};

enum {
	SETTINGS_FILE_BYTES_MAX = 64 * 1024, /* each setting a hundred times over */
	SETTING_NAME_MAX = 64
};

void settings_init(struct settings *s); /* the defaults */
void settings_release(struct settings *s);

/* Which setting has this name? SETTING_COUNT: none. */
enum setting_id setting_find(struct str name);
/* "WEIR_HUNT_BYTES_MAX" */
void setting_env_name(enum setting_id id, char ret[SETTING_NAME_MAX]);

/* ERR_INVALID, naming the setting and what it takes. */
MUST_USE int settings_set(struct settings *s, enum setting_id id, struct str value,
			  enum setting_origin origin, const char *where, struct err *err);

/*
 * Read a settings file: the part of TOML 1.0 (toml.io) that flat settings need,
 * `name = value` with strings, integers and booleans, and comments. ERR_INVALID
 * with file and line; ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE.
 */
MUST_USE int settings_read_file(struct settings *s, const char *path, struct err *err);
/* The same of a text; `name` stands for it in messages. */
MUST_USE int settings_read_text(struct settings *s, struct str text, const char *name,
				struct err *err);
/*
 * Every WEIR_NAME of `environ` (ends with NULL). Unknown ones are ERR_INVALID but
 * for those that building, testing and finding the settings file use.
 */
MUST_USE int settings_read_environment(struct settings *s, char *const *environment,
				       struct err *err);

const char *settings_text(const struct settings *s, enum setting_id id);
uint64_t settings_number(const struct settings *s, enum setting_id id);
bool settings_bool(const struct settings *s, enum setting_id id);

/* "1500", "50MB", "2 GiB": a number of bytes. false: it is none. */
bool settings_parse_bytes(struct str value, uint64_t *ret);

/* As a settings file that says of each setting what it is for and where its value is from. */
void settings_print(const struct settings *s, struct buf *out);
/* The reference page docs/settings.md. */
void settings_print_page(struct buf *out);

/*
 * The name most like `unknown`, NULL if none is like it. Typing errors count:
 * a letter too many, too few, wrong, or two swapped.
 */
const char *nearest_name(struct str unknown, const char *const *names, size_t n);
/* "; did you mean 'x'?" for messages, or ""; returns ret. */
const char *nearest_hint(struct str unknown, const char *const *names, size_t n, char *ret,
			 size_t ret_bytes);
#endif
