#ifndef MAIN_OPTIONS_H
#define MAIN_OPTIONS_H
#include "main/settings.h"

/*
 * The command line: a command, its words, its options, and settings as flags.
 */
enum command_id {
#define COMMAND(id, ...) COMMAND_##id,
#include "commands.def"
#undef COMMAND
	COMMAND_COUNT
};

enum option_id {
#define OPTION(id, ...) OPTION_##id,
#include "options.def"
#undef OPTION
	OPTION_COUNT
};

struct command_info {
	const char *name;
	const char *arguments; /* as in a usage line; "" for none */
	const char *text;      /* in one line */
};
extern const struct command_info command_infos[COMMAND_COUNT];

struct option_info {
	const char *name;
	const char *value; /* what follows it; "" for one that stands alone */
	int commands;      /* bits of those that take it */
	const char *text;
};
extern const struct option_info option_infos[OPTION_COUNT];
#define SETTINGS_FILE_DEFAULT "/etc/weir.toml"

struct options {
	enum command_id command;
	const char *program; /* as it was called */
	const char **words;  /* owned list; what follows the command */
	size_t word_count;
	const char *values[OPTION_COUNT]; /* NULL: not given; "" where it stands alone */
	struct settings settings;
	/* kept to read the settings again */
	int argc;
	char **argv;
};

/*
 * Read arguments, settings file and environment. ERR_INVALID: wrong usage, with
 * the nearest right name where there is one.
 */
MUST_USE int options_read(struct options *ret, int argc, char **argv, struct err *err);
void options_release(struct options *o);

/* The settings as file and environment have them now. *ret is initialised by this. */
MUST_USE int options_settings_again(const struct options *o, struct settings *ret, struct err *err);

bool option_given(const struct options *o, enum option_id id);
/* Its value, or `otherwise`. */
const char *option_value(const struct options *o, enum option_id id, const char *otherwise);

/* "keep", without the dashes. */
const char *option_name(enum option_id id);

/* Which command has this name? COMMAND_COUNT: none. */
enum command_id command_find(struct str name);

/* Paragraphs beyond its one line; NULL: there are none. */
const char *command_about(enum command_id id);

/* ---- help.c, man.c: the same tables, printed ---- */
void help_print(struct buf *out);                             /* all of it */
void help_print_command(struct buf *out, enum command_id id); /* one command */
void help_print_man(struct buf *out);                         /* the page weir(1), in man(7) */
void help_print_bash(struct buf *out);                        /* completion for bash */
#endif
