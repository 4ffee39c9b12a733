#include "options.h"

#include <stdio.h>

/*
 * The manual page, in the macros of man(7). In text a backslash, and a dot or
 * quote at the start of a line, mean something to roff; a '-' is a hyphen and
 * must be '\-' where it is typed.
 */

static void put_text(struct buf *out, struct str s, bool typed)
{
	bool at_start = true;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (at_start && (c == '.' || c == '\''))
			buf_add_z(out, "\\&");
		if (c == '\\')
			buf_add_z(out, "\\e");
		/* An option is typed wherever it stands. */
		else if (c == '-' && (typed || (i + 1 < s.n && s.p[i + 1] == '-') ||
				      (i > 0 && s.p[i - 1] == '-')))
			buf_add_z(out, "\\-");
		else
			buf_add_c(out, c);
		at_start = c == '\n';
	}
}

static void put_typed(struct buf *out, const char *text)
{
	put_text(out, str_of(text), true);
}

/* One sentence a line, as roff likes it; an empty line is a paragraph. */
static void put_paragraphs(struct buf *out, const char *text)
{
	struct str rest = str_of(text), line;

	while (str_split(&rest, '\n', &line)) {
		if (line.n == 0) {
			buf_add_z(out, ".PP\n");
			continue;
		}
		while (line.n) {
			size_t n = 0;

			while (n < line.n &&
			       !(n + 2 < line.n && line.p[n] == '.' && line.p[n + 1] == ' '))
				n++;
			n = n < line.n ? n + 1 : n;
			put_text(out, str_make(line.p, n), false);
			buf_add_c(out, '\n');
			n = n < line.n ? n + 1 : n;
			line = str_make(line.p + n, line.n - n);
		}
	}
}

static void put_flag(struct buf *out, const char *name, const char *value)
{
	buf_add_z(out, ".TP\n\\fB\\-\\-");
	put_typed(out, name);
	buf_add_z(out, "\\fR");
	if (*value) {
		buf_add_z(out, " \\fI");
		put_typed(out, value);
		buf_add_z(out, "\\fR");
	}
	buf_add_c(out, '\n');
}

static void put_commands(struct buf *out)
{
	buf_add_z(out, ".SH COMMANDS\n");
	for (unsigned i = 0; i < COMMAND_COUNT; i++) {
		const struct command_info *c = &command_infos[i];
		const char *about = command_about((enum command_id)i);

		buf_addf(out, ".SS \"weir %s\"\n.B weir %s\n", c->name, c->name);
		if (*c->arguments) {
			put_typed(out, c->arguments);
			buf_add_c(out, '\n');
		}
		buf_add_z(out, ".PP\n");
		if (about)
			put_paragraphs(out, about);
		else
			buf_addf(out, "%c%s.\n", c->text[0] - 'a' + 'A', c->text + 1);
		for (unsigned k = 0; k < OPTION_COUNT; k++) {
			const struct option_info *o = &option_infos[k];

			/* Those of every command have a section of their own. */
			if (!(o->commands >> i & 1) || o->commands == (int)(~0u >> 1))
				continue;
			put_flag(out, o->name, o->value);
			put_text(out, str_of(o->text), false);
			buf_add_z(out, ".\n");
		}
	}
}

static void put_options(struct buf *out)
{
	buf_add_z(out, ".SH OPTIONS\nEvery command takes these, and every setting as an option:\n");
	for (unsigned k = 0; k < OPTION_COUNT; k++) {
		const struct option_info *o = &option_infos[k];

		if (o->commands != (int)(~0u >> 1))
			continue;
		put_flag(out, o->name, o->value);
		put_text(out, str_of(o->text), false);
		buf_add_z(out, ".\n");
	}
}

static void put_settings(struct buf *out)
{
	char env_name[SETTING_NAME_MAX];

	buf_add_z(out,
		  ".SH SETTINGS\n"
		  "A setting is given in the settings file, as an environment variable or as an "
		  "option; the later of these wins.\n"
		  "The file is the one that\n.B \\-\\-config\nor\n.B WEIR_CONFIG\nnames, "
		  "else\n.IR " SETTINGS_FILE_DEFAULT
		  " .\nIt is TOML, one \"name = value\" a line.\n");
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		const struct setting_info *info = &setting_infos[i];

		setting_env_name((enum setting_id)i, env_name);
		put_flag(out, info->name, info->unit);
		put_paragraphs(out, info->text);
		buf_addf(out, ".br\nDefault:\n.BR ");
		put_typed(out, *info->def ? info->def : "\"\"");
		buf_addf(out, " .\nVariable:\n.BR %s .\nA change holds after a %s.\n", env_name,
			 info->live ? "SIGHUP or a restart" : "restart");
	}
}

static const char before[] =
	".SH NAME\n"
	"weir \\- hunting server behind VirusTotal's API v3\n"
	".SH SYNOPSIS\n"
	".B weir\n"
	".I command\n"
	"[\\fIword\\fR ...] [\\fB\\-\\-\\fIoption\\fR ...]\n"
	".SH DESCRIPTION\n"
	"weir keeps an organisation's own samples and hunts them with everyone's YARA rules.\n"
	"Each match arrives in its owner's IoC Stream.\n"
	"It speaks VirusTotal's API v3, so clients made for that work when their host is changed.\n"
	".PP\n"
	"All it knows is in one data folder, which has one owner at a time: a server, or a command "
	"while no server runs.\n"
	"A command beside a running server goes through that.\n";

static const char after[] =
	".SH FILES\n"
	".TP\n.I " SETTINGS_FILE_DEFAULT "\nThe settings file, if no other is named.\n"
	".TP\n.I DATA/weir.db\nThe database (SQLite), with its log beside it.\n"
	".TP\n.I DATA/packs\nThe samples.\n"
	".TP\n.I DATA/*.key\nSecrets that cursors and signed links are tied to.\n"
	".TP\n.I DATA/control.sock\nHow commands reach the server; for its own user alone.\n"
	".TP\n.I DATA/address\nWhere the server listens, while it runs.\n"
	".TP\n.I DATA/lock\nHeld by the folder's owner.\n"
	".SH \"EXIT STATUS\"\n"
	".TP\n0\nDone.\n"
	".TP\n1\nFailed; or, of several things, some did; or there are findings.\n"
	".TP\n2\nWrong usage or settings; of\n.BR \"weir verify\" ,\nalso: it could not look.\n"
	".TP\n74\nThe disk failed in the middle of a commit, and only a new start can tell whether "
	"it was made.\n"
	".SH SIGNALS\n"
	".TP\n.BR SIGTERM \", \" SIGINT\nFinish and end; a second one ends at once.\n"
	".TP\n.B SIGHUP\nRead the settings again.\n"
	".SH ENVIRONMENT\n"
	".TP\n.BI WEIR_ NAME\nA setting.\n"
	".TP\n.B WEIR_CONFIG\nThe settings file.\n"
	".TP\n.B NOTIFY_SOCKET\nWhere a supervisor is told of readiness, reload and stop; see\n"
	".BR sd_notify (3).\n"
	".SH EXAMPLES\n"
	".EX\n"
	"weir serve \\-\\-data /srv/weir \\-\\-listen 127.0.0.1:8080\n"
	"weir ingest \\-\\-data /srv/weir /srv/samples\n"
	"weir user add alice \\-\\-role hunter \\-\\-data /srv/weir\n"
	"weir backup /backup/weir \\-\\-keep 7 \\-\\-data /srv/weir\n"
	"weir restore \\-\\-check /backup/weir\n"
	"weir verify \\-\\-rate 50MB \\-\\-data /srv/weir\n"
	".EE\n"
	".SH \"SEE ALSO\"\n"
	".BR systemd.service (5),\n"
	".BR sqlite3 (1)\n";

void help_print_man(struct buf *out)
{
	buf_add_z(out, ".TH WEIR 1 2026-11-26 \"weir " WEIR_VERSION "\"\n");
	buf_add_z(out, before);
	put_commands(out);
	put_options(out);
	put_settings(out);
	buf_add_z(out, after);
}
