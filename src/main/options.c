#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

static const char config_default[] = SETTINGS_FILE_DEFAULT;

/* ---- Flags ---- */

/* One flag as it was written. */
struct flag {
	struct str name;
	struct str value;
	const char *value_z; /* NULL: none was given with '=' */
};

static struct flag flag_of(const char *argument)
{
	struct str text = str_of(argument + 2);
	size_t at = str_find(text, '=');
	struct flag f = { .name = str_make(text.p, at) };

	if (at < text.n) {
		f.value_z = text.p + at + 1;
		f.value = str_of(f.value_z);
	}
	return f;
}

static enum option_id option_find(struct str name)
{
	unsigned i = 0;

	while (i < OPTION_COUNT && !str_eq_z(name, option_infos[i].name))
		i++;
	return (enum option_id)i;
}

static int flag_unknown(struct str name, struct err *err)
{
	const char *names[OPTION_COUNT + SETTING_COUNT];
	char hint[SETTING_NAME_MAX + 32];
	const char *nearest;
	size_t n = 0;

	for (unsigned i = 0; i < OPTION_COUNT; i++)
		names[n++] = option_infos[i].name;
	for (unsigned i = 0; i < SETTING_COUNT; i++)
		names[n++] = setting_infos[i].name;
	nearest = nearest_name(name, names, n);
	if (nearest)
		snprintf(hint, sizeof hint, "; did you mean '--%s'?", nearest);
	else
		hint[0] = 0;
	return err_set(err, ERR_INVALID, "there is no option '--" STR_FMT "'%s", STR_ARG(name),
		       hint);
}

/* The value of a flag that needs one: after '=' or the next argument, which *at then passes. */
static int flag_value(struct options *o, const struct flag *f, int *at, const char **ret,
		      struct err *err)
{
	*ret = f->value_z;
	if (*ret)
		return 0;
	if (*at + 1 >= o->argc)
		return err_set(err, ERR_INVALID, "'--" STR_FMT "' needs a value", STR_ARG(f->name));
	*ret = o->argv[++*at];
	return 0;
}

static int read_option(struct options *o, enum option_id id, const struct flag *f, int *at,
		       struct err *err)
{
	if (*option_infos[id].value)
		return flag_value(o, f, at, &o->values[id], err);
	if (f->value_z)
		return err_set(err, ERR_INVALID, "'--%s' takes no value", option_infos[id].name);
	o->values[id] = "";
	return 0;
}

static int read_setting(struct options *o, struct settings *settings, enum setting_id id,
			const struct flag *f, int *at, struct err *err)
{
	char where[SETTING_NAME_MAX + 2];
	const char *value = f->value_z ? f->value_z : "true";

	if (setting_infos[id].type != SETTING_TYPE_BOOL)
		TRY(flag_value(o, f, at, &value, err));
	snprintf(where, sizeof where, "--%s", setting_infos[id].name);
	/* The first of two passes only looks for the rest. */
	return settings ? settings_set(settings, id, str_of(value), SETTING_FROM_FLAG, where, err)
			: 0;
}

/* Walk the arguments: words and options, or (settings given) the settings among them. */
static int read_arguments(struct options *o, struct settings *settings, struct err *err)
{
	bool flags_end = false;

	o->word_count = 0;
	for (int i = 1; i < o->argc; i++) {
		const char *argument = o->argv[i];
		enum setting_id setting;
		enum option_id option;
		struct flag f;

		if (flags_end || strncmp(argument, "-", 1) != 0 || strcmp(argument, "-") == 0) {
			o->words[o->word_count++] = argument;
			continue;
		}
		if (strcmp(argument, "-h") == 0)
			argument = "--help";
		if (strncmp(argument, "--", 2) != 0)
			return err_set(err, ERR_INVALID, "there is no option '%s'", argument);
		flags_end = strcmp(argument, "--") == 0;
		if (flags_end)
			continue;
		f = flag_of(argument);
		setting = setting_find(f.name);
		option = option_find(f.name);
		if (setting < SETTING_COUNT)
			TRY(read_setting(o, settings, setting, &f, &i, err));
		else if (option < OPTION_COUNT)
			TRY(read_option(o, option, &f, &i, err));
		else
			return flag_unknown(f.name, err);
	}
	return 0;
}

/* ---- Settings ---- */

static int read_file(const struct options *o, struct settings *settings, struct err *err)
{
	const char *path = o->values[OPTION_config];

	if (!path)
		path = getenv("WEIR_CONFIG");
	if (path)
		return *path ? settings_read_file(settings, path, err) : 0;
	return access(config_default, F_OK) == 0 ? settings_read_file(settings, config_default, err)
						 : 0;
}

int options_settings_again(const struct options *o, struct settings *ret, struct err *err)
{
	struct options pass = *o; /* its words are not touched: same arguments, same words */
	int rc;

	settings_init(ret);
	rc = read_file(o, ret, err);
	if (rc == 0)
		rc = settings_read_environment(ret, environ, err);
	if (rc == 0)
		rc = read_arguments(&pass, ret, err);
	if (rc)
		settings_release(ret);
	return rc;
}

/* ---- The command ---- */

static int read_command(struct options *o, struct err *err)
{
	const char *names[COMMAND_COUNT];
	char hint[SETTING_NAME_MAX + 32];
	struct str word;

	if (o->values[OPTION_version]) {
		o->command = COMMAND_version;
		return 0;
	}
	/* 'weir verify --help' is 'weir help verify'. */
	if (o->values[OPTION_help]) {
		o->command = COMMAND_help;
		return 0;
	}
	if (!o->word_count)
		return err_set(err, ERR_INVALID, "which command? 'weir help' lists them");
	word = str_of(o->words[0]);
	for (unsigned i = 0; i < COMMAND_COUNT; i++) {
		names[i] = command_infos[i].name;
		if (str_eq_z(word, command_infos[i].name)) {
			o->command = (enum command_id)i;
			o->word_count--;
			memmove(o->words, o->words + 1, o->word_count * sizeof *o->words);
			return 0;
		}
	}
	return err_set(err, ERR_INVALID, "there is no command '" STR_FMT "'%s", STR_ARG(word),
		       nearest_hint(word, names, COMMAND_COUNT, hint, sizeof hint));
}

static int check_options(const struct options *o, struct err *err)
{
	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		if (o->values[i] && !(option_infos[i].commands >> o->command & 1))
			return err_set(err, ERR_INVALID, "'--%s' is not an option of 'weir %s'",
				       option_infos[i].name, command_infos[o->command].name);
	}
	return 0;
}

static int read_all(struct options *o, struct err *err)
{
	TRY(read_arguments(o, NULL, err));
	TRY(options_settings_again(o, &o->settings, err));
	TRY(read_command(o, err));
	return check_options(o, err);
}

int options_read(struct options *ret, int argc, char **argv, struct err *err)
{
	void *words;

	*ret = (struct options){ .argc = argc, .argv = argv, .program = argc ? argv[0] : "weir" };
	TRY(mem_try_array(&words, (size_t)argc + 1, sizeof *ret->words, err));
	ret->words = words;
	return read_all(ret, err);
}

void options_release(struct options *o)
{
	settings_release(&o->settings);
	free(o->words);
	o->words = NULL;
}

bool option_given(const struct options *o, enum option_id id)
{
	return o->values[id] != NULL;
}

const char *option_value(const struct options *o, enum option_id id, const char *otherwise)
{
	return o->values[id] ? o->values[id] : otherwise;
}

const char *option_name(enum option_id id)
{
	return option_infos[id].name;
}
