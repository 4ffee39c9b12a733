#include "main_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/utf8.h"
#include "scan/scan.h"

enum {
	PRINT_BYTES_MAX = 1 << 20 /* the settings page is some 10 KB */
};

void say(const char *fmt, ...)
{
	AUTO(buf_release) struct buf text = BUF_INIT(64 * 1024), shown = BUF_INIT(256 * 1024);
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	show_text(&shown, buf_str(&text));
	fprintf(stderr, "weir: " STR_FMT "\n", STR_ARG(buf_str(&shown)));
}

void show_text(struct buf *out, struct str s)
{
	while (s.n) {
		uint32_t cp = 0;
		size_t n = utf8_next(s, &cp);

		/* C0, C1 and what turns the direction of text around. */
		if (!n || cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x200e || cp == 0x200f ||
		    (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069)) {
			n = n ? n : 1;
			for (size_t i = 0; i < n; i++)
				buf_addf(out, "\\x%02x", (unsigned char)s.p[i]);
		} else {
			buf_add(out, s.p, n);
		}
		s = str_make(s.p + n, s.n - n);
	}
}

void csv_field(struct buf *out, struct str s)
{
	if (out->n && out->p[out->n - 1] != '\n')
		buf_add_c(out, ',');
	buf_add_c(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			buf_add_c(out, '"');
		buf_add_c(out, s.p[i]);
	}
	buf_add_c(out, '"');
}

void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Flushed and checked: what was printed is what the command was for. */
static int print(const struct buf *text)
{
	if (fwrite(buf_str(text).p, 1, text->n, stdout) == text->n && fflush(stdout) == 0)
		return STATUS_OK;
	say("cannot write: %s", strerror(errno));
	return STATUS_FAILED;
}

/* Would a server take this settings file? */
static int check_file(const struct options *o)
{
	struct settings settings;
	struct err err;
	int rc;

	if (o->word_count != 1) {
		say("weir config --check takes one FILE");
		return STATUS_USAGE;
	}
	settings_init(&settings);
	rc = settings_read_file(&settings, o->words[0], &err);
	if (rc == 0)
		rc = serve_check_settings(&settings, &err);
	settings_release(&settings);
	if (rc) {
		say("%s", err.msg);
		return STATUS_FAILED;
	}
	printf("%s: fine\n", o->words[0]);
	return STATUS_OK;
}

static int config_command(const struct options *o)
{
	AUTO(buf_release) struct buf out = BUF_INIT(PRINT_BYTES_MAX);

	if (option_given(o, OPTION_check))
		return check_file(o);
	if (o->word_count) {
		say("weir config takes a FILE only with --check");
		return STATUS_USAGE;
	}
	if (option_given(o, OPTION_markdown))
		settings_print_page(&out);
	else
		settings_print(&o->settings, &out);
	return print(&out);
}

static int help_command(const struct options *o)
{
	AUTO(buf_release) struct buf out = BUF_INIT(PRINT_BYTES_MAX);
	const char *names[COMMAND_COUNT];
	char hint[SETTING_NAME_MAX + 32];
	enum command_id id;

	if (option_given(o, OPTION_man)) {
		help_print_man(&out);
	} else if (option_given(o, OPTION_bash)) {
		help_print_bash(&out);
	} else if (!o->word_count) {
		help_print(&out);
	} else {
		id = command_find(str_of(o->words[0]));
		for (unsigned i = 0; i < COMMAND_COUNT; i++)
			names[i] = command_infos[i].name;
		if (id == COMMAND_COUNT) {
			say("there is no command '%s'%s", o->words[0],
			    nearest_hint(str_of(o->words[0]), names, COMMAND_COUNT, hint,
					 sizeof hint));
			return STATUS_USAGE;
		}
		help_print_command(&out, id);
	}
	return print(&out);
}

static int version_command(void)
{
	AUTO(buf_release) struct buf out = BUF_INIT(PRINT_BYTES_MAX);

	buf_add_z(&out, "weir " WEIR_VERSION "\n");
	return print(&out);
}

static int run(const struct options *o)
{
	switch (o->command) {
	case COMMAND_serve:
		return serve_command(o);
	case COMMAND_ingest:
		return ingest_command(o);
	case COMMAND_hunt:
		return hunt_command(o);
	case COMMAND_user:
		return user_command(o);
	case COMMAND_audit:
		return audit_command(o);
	case COMMAND_rm:
		return rm_command(o);
	case COMMAND_reindex:
		return reindex_command(o);
	case COMMAND_verify:
		return verify_command(o);
	case COMMAND_backup:
		return backup_command(o);
	case COMMAND_restore:
		return restore_command(o);
	case COMMAND_config:
		return config_command(o);
	case COMMAND_version:
		return version_command();
	case COMMAND_help:
	case COMMAND_COUNT:
		break;
	}
	return help_command(o);
}

/* Commands are quiet unless asked; a server's log is its voice. */
static void set_log_level(const struct options *o)
{
	const struct setting_value *v = &o->settings.values[SETTING_log_level];
	enum log_level level = LOG_WARN;

	if (o->command == COMMAND_serve || v->origin != SETTING_FROM_DEFAULT)
		REQUIRE(log_level_parse(str_of(v->text), &level));
	log_set_level(level);
}

int main(int argc, char **argv)
{
	struct options o;
	struct err err;
	int status;

	/* A child that holds nothing: it reads no settings and no environment. */
	if (argc > 1 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	if (options_read(&o, argc, argv, &err) != 0) {
		say("%s", err.msg);
		options_release(&o);
		return STATUS_USAGE;
	}
	set_log_level(&o);
	raise_file_limit();
	status = run(&o);
	log_flush();
	options_release(&o);
	return status;
}
