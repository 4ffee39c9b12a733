#include "options.h"

#include <stdio.h>

enum {
	ANY = ~0u >> 1,
	LINE_BYTES = 200,
	WRAP = 78, /* columns of the printed text */
};
#define BIT(command) (1 << COMMAND_##command)

const struct command_info command_infos[COMMAND_COUNT] = {
#define COMMAND(id_, name_, arguments_, text_)                                                     \
	[COMMAND_##id_] = { .name = (name_), .arguments = (arguments_), .text = (text_) },
#include "commands.def"
#undef COMMAND
};

static const char *const abouts[COMMAND_COUNT] = {
#define ABOUT(id_, text_) [COMMAND_##id_] = (text_),
#include "about.def"
#undef ABOUT
};

const struct option_info option_infos[OPTION_COUNT] = {
#define OPTION(id_, name_, value_, commands_, text_)                                               \
	[OPTION_##id_] = { (name_), (value_), (commands_), (text_) },
#include "options.def"
#undef OPTION
};

enum command_id command_find(struct str name)
{
	unsigned i = 0;

	while (i < COMMAND_COUNT && !str_eq_z(name, command_infos[i].name))
		i++;
	return (enum command_id)i;
}

const char *command_about(enum command_id id)
{
	return abouts[id];
}

/* ---- Text ---- */

/* Paragraphs in lines that begin with `indent`. */
static void put_wrapped(struct buf *out, const char *indent, const char *text)
{
	struct str rest = str_of(text), line, word;

	while (str_split(&rest, '\n', &line)) {
		size_t column = 0;

		while (line.n && str_split(&line, ' ', &word)) {
			if (column && column + 1 + word.n + strlen(indent) > WRAP) {
				buf_add_c(out, '\n');
				column = 0;
			}
			buf_add_z(out, column ? " " : indent);
			buf_add_str(out, word);
			column += 1 + word.n;
		}
		buf_add_c(out, '\n');
	}
}

static void put_option(struct buf *out, const struct option_info *o)
{
	char line[LINE_BYTES];

	snprintf(line, sizeof line, "--%s%s%s", o->name, *o->value ? " " : "", o->value);
	buf_addf(out, "  %-20s %s\n", line, o->text);
}

/* What stays on one line: an alternative, or where there are none, what a bracket holds. */
static struct str take_piece(struct str *rest, bool alternatives)
{
	size_t n = 0;
	int depth = 0;

	while (n < rest->n &&
	       (depth > 0 || rest->p[n] != ' ' || (alternatives && n && rest->p[n - 1] != '|'))) {
		depth += rest->p[n] == '[';
		depth -= rest->p[n] == ']';
		n++;
	}

	struct str piece = str_make(rest->p, n);

	n += n < rest->n;
	*rest = str_make(rest->p + n, rest->n - n);
	return piece;
}

static void put_usage(struct buf *out, const char *indent, const struct command_info *c)
{
	struct str rest = str_of(c->arguments);
	size_t column = strlen(indent) + strlen("weir ") + strlen(c->name);

	buf_addf(out, "%sweir %s", indent, c->name);
	while (rest.n) {
		struct str piece = take_piece(&rest, strstr(c->arguments, " | ") != NULL);

		if (column + 1 + piece.n > WRAP) {
			buf_addf(out, "\n%s         ", indent);
			column = strlen(indent) + 9;
		}
		buf_add_c(out, ' ');
		buf_add_str(out, piece);
		column += 1 + piece.n;
	}
}

void help_print_command(struct buf *out, enum command_id id)
{
	const struct command_info *c = &command_infos[id];

	put_usage(out, "", c);
	buf_addf(out, "\n\n  %s\n\n", c->text);
	if (abouts[id]) {
		put_wrapped(out, "", abouts[id]);
		buf_add_c(out, '\n');
	}
	buf_add_z(out, "Options\n");
	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		if (option_infos[i].commands >> id & 1)
			put_option(out, &option_infos[i]);
	}
	buf_add_z(out, "\nEvery setting is an option too, as --data FOLDER: 'weir help' lists "
		       "them, 'weir config' explains them.\n");
}

void help_print(struct buf *out)
{
	char line[LINE_BYTES];

	buf_add_z(
		out,
		"weir hunts through an organisation's own samples behind VirusTotal's API v3.\n\n");
	for (unsigned i = 0; i < COMMAND_COUNT; i++) {
		put_usage(out, "  ", &command_infos[i]);
		buf_addf(out, "\n        %s\n", command_infos[i].text);
	}
	buf_add_z(out, "\nOptions ('weir help COMMAND' says more)\n");
	for (unsigned i = 0; i < OPTION_COUNT; i++)
		put_option(out, &option_infos[i]);
	buf_add_z(out, "\nSettings, each also a variable and a line of the settings file ('weir "
		       "config' explains them)\n");
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		const struct setting_info *info = &setting_infos[i];

		snprintf(line, sizeof line, "--%s", info->name);
		buf_addf(out, "  %-26s %s\n", line, info->def);
	}
	buf_add_z(out, "\nStatus: 0 done, 1 failed or something found, 2 wrong usage.\n");
}

/* ---- Completion ---- */

/* The flags of one command, options first. */
static void put_flags(struct buf *out, unsigned command)
{
	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		if (option_infos[i].commands >> command & 1)
			buf_addf(out, " --%s", option_infos[i].name);
	}
}

void help_print_bash(struct buf *out)
{
	buf_add_z(out, "# Completion for bash, from 'weir help --bash'.\n"
		       "_weir()\n"
		       "{\n"
		       "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
		       "command= flags= i\n"
		       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		       "\t\tcase ${COMP_WORDS[i]} in\n");
	for (unsigned i = 0; i < COMMAND_COUNT; i++) {
		buf_addf(out, "\t\t%s) command=%s flags='", command_infos[i].name,
			 command_infos[i].name);
		put_flags(out, i);
		buf_add_z(out, "'; break ;;\n");
	}
	buf_add_z(out, "\t\tesac\n\tdone\n\tcase $before in\n");
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		const struct setting_info *info = &setting_infos[i];
		struct str rest = str_of(info->unit), one;

		if (info->type == SETTING_TYPE_CHOICE) {
			buf_addf(out, "\t--%s) COMPREPLY=($(compgen -W '", info->name);
			while (str_split(&rest, '|', &one))
				buf_addf(out, STR_FMT " ", STR_ARG(one));
			buf_add_z(out, "' -- \"$word\")); return ;;\n");
		} else if (info->type == SETTING_TYPE_TEXT) {
			buf_addf(out, "\t--%s) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n",
				 info->name);
		}
	}
	buf_add_z(out, "\t--config) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
		       "\t--role) COMPREPLY=($(compgen -W 'viewer hunter editor admin' -- "
		       "\"$word\")); return ;;\n"
		       "\t--corpus) COMPREPLY=($(compgen -W 'main goodware' -- \"$word\")); return "
		       ";;\n"
		       "\tesac\n"
		       "\tif [[ $word == -* ]]; then\n"
		       "\t\tCOMPREPLY=($(compgen -W \"$flags");
	for (unsigned i = 0; i < SETTING_COUNT; i++)
		buf_addf(out, " --%s", setting_infos[i].name);
	buf_add_z(out, "\" -- \"$word\"))\n\telif [[ -z $command || $command == help ]]; then\n"
		       "\t\tCOMPREPLY=($(compgen -W '");
	for (unsigned i = 0; i < COMMAND_COUNT; i++)
		buf_addf(out, "%s%s", i ? " " : "", command_infos[i].name);
	buf_add_z(out, "' -- \"$word\"))\n\telif [[ $command == user && $before == user ]]; then\n"
		       "\t\tCOMPREPLY=($(compgen -W 'add list key revoke disable enable' -- "
		       "\"$word\"))\n\telse\n"
		       "\t\tCOMPREPLY=($(compgen -f -- \"$word\"))\n\tfi\n}\n"
		       "complete -o filenames -F _weir weir\n");
}
