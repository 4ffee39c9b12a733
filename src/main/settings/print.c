#include "main/settings.h"

enum {
	WRAP = 96 /* columns of the printed text */
};

static const char *type_name(enum setting_type type)
{
	switch (type) {
	case SETTING_TYPE_TEXT:
		return "text";
	case SETTING_TYPE_COUNT:
		return "number";
	case SETTING_TYPE_BYTES:
		return "size";
	case SETTING_TYPE_BOOL:
		return "true or false";
	case SETTING_TYPE_CHOICE:
		break;
	}
	return "one of";
}

/* Paragraph in lines that begin with "# ". */
static void put_wrapped(struct buf *out, const char *text)
{
	struct str rest = str_of(text), word;
	size_t column = 0;

	while (str_split(&rest, ' ', &word)) {
		if (column && column + 1 + word.n > WRAP) {
			buf_add_c(out, '\n');
			column = 0;
		}
		buf_add_z(out, column ? " " : "# ");
		buf_add_str(out, word);
		column += 1 + word.n;
	}
	buf_add_c(out, '\n');
}

/* A basic string of TOML. */
static void put_quoted(struct buf *out, const char *text)
{
	buf_add_c(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_add_c(out, '\\');
		buf_add_c(out, *text);
	}
	buf_add_c(out, '"');
}

static bool is_digits(const char *text)
{
	return text[strspn(text, "0123456789")] == 0;
}

static void put_value(struct buf *out, const struct setting_info *info, const char *text)
{
	bool bare = info->type == SETTING_TYPE_COUNT || info->type == SETTING_TYPE_BOOL ||
		    (info->type == SETTING_TYPE_BYTES && is_digits(text));

	if (bare)
		buf_add_z(out, text);
	else
		put_quoted(out, text);
}

static const char *origin_text(const struct setting_value *v)
{
	switch (v->origin) {
	case SETTING_FROM_FILE:
		return "set in ";
	case SETTING_FROM_ENVIRONMENT:
		return "set by the variable ";
	case SETTING_FROM_FLAG:
		return "set by the flag ";
	case SETTING_FROM_DEFAULT:
		break;
	}
	return "default";
}

void settings_print(const struct settings *s, struct buf *out)
{
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		const struct setting_info *info = &setting_infos[i];
		const struct setting_value *v = &s->values[i];

		put_wrapped(out, info->text);
		buf_addf(out, "# %s%s\n", origin_text(v), v->where ? v->where : "");
		if (info->secret) {
			buf_addf(out, "# %s = (secret)\n\n", info->name);
			continue;
		}
		buf_addf(out, "%s = ", info->name);
		put_value(out, info, v->text);
		buf_add_z(out, i + 1 < SETTING_COUNT ? "\n\n" : "\n");
	}
}

static void put_range(struct buf *out, const struct setting_info *info)
{
	if (info->type == SETTING_TYPE_BOOL)
		return;
	if (info->type == SETTING_TYPE_CHOICE) {
		struct str rest = str_of(info->unit), one;
		const char *comma = " ";

		while (str_split(&rest, '|', &one)) {
			buf_addf(out, "%s`" STR_FMT "`", comma, STR_ARG(one));
			comma = ", ";
		}
	} else if (info->type == SETTING_TYPE_TEXT) {
		buf_addf(out, " (%s)", info->unit);
	} else {
		buf_addf(out, " of %s, %llu to %llu", info->unit, (unsigned long long)info->min,
			 (unsigned long long)info->max);
	}
}

void settings_print_page(struct buf *out)
{
	char env_name[SETTING_NAME_MAX];

	buf_add_z(
		out,
		"# Settings\n\n"
		"This page is what `weir config --markdown` prints. `weir config` prints every "
		"setting's present value, where it\nis from and what it is for, in the form of a "
		"settings file.\n\n"
		"A setting can be given in a settings file, as an environment variable and as a "
		"flag of any command; the later of\nthese wins. The file is the one that "
		"`--config FILE` or `WEIR_CONFIG` names, else `/etc/weir.toml` where that exists. "
		"It\nis TOML, one `name = value` a line:\n\n"
		"```toml\n"
		"# weir.toml\n"
		"data = \"/srv/weir\"\n"
		"listen = \"127.0.0.1:8080\"\n"
		"hunt-bytes-max = \"100MB\"   # sizes are bytes, or a text with KB, MB, GB, KiB, "
		"MiB, GiB\n"
		"```\n\n"
		"A flag is `--name value` or `--name=value`; one that is true or false may stand "
		"alone for true. An unknown name,\nalso of a variable that begins with `WEIR_`, is "
		"an error.\n");
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		const struct setting_info *info = &setting_infos[i];

		setting_env_name((enum setting_id)i, env_name);
		buf_addf(out, "\n## %s\n\n%s\n\n", info->name, info->text);
		buf_addf(out, "- Variable: `%s`; flag: `--%s`\n", env_name, info->name);
		buf_addf(out, "- Takes: %s", type_name(info->type));
		put_range(out, info);
		buf_addf(out, "\n- Default: `%s`\n", info->def);
		buf_addf(out, "- A change holds after %s\n",
			 info->live ? "a SIGHUP to the server, or a restart" : "a restart");
		if (info->secret)
			buf_add_z(out, "- Secret: never printed or logged\n");
	}
}
