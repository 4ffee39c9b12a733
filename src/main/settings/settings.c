#include "main/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "index/signature.h"
#include "settings_internal.h"

/* A macro's number as text. */
#define NUMBER_TEXT_(number) #number
#define NUMBER_TEXT(number) NUMBER_TEXT_(number)

enum {
	SETTING_LIVE = 1,
	SETTING_RESTART = 0
};

const struct setting_info setting_infos[SETTING_COUNT] = {
#define SETTING(id_, name_, type_, unit_, def_, min_, max_, change_, secret_, text_)               \
	[SETTING_##id_] = { .name = (name_),                                                       \
			    .type = SETTING_TYPE_##type_,                                          \
			    .unit = (unit_),                                                       \
			    .def = (def_),                                                         \
			    .min = (min_),                                                         \
			    .max = (max_),                                                         \
			    .live = (SETTING_##change_) == SETTING_LIVE,                           \
			    .secret = (secret_),                                                   \
			    .text = (text_) },
#include "main/settings.def"
#undef SETTING
};

/* ---- One value ---- */

static int out_of_range(const struct setting_info *info, struct str value, struct err *err)
{
	return err_set(err, ERR_INVALID,
		       "'%s' is a number of %s from %llu to %llu, not '" STR_FMT "'", info->name,
		       info->unit, (unsigned long long)info->min, (unsigned long long)info->max,
		       STR_ARG(value));
}

static bool multiplier(struct str suffix, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} suffixes[] = {
		{ "", 1 },
		{ "B", 1 },
		{ "KB", 1000 },
		{ "MB", 1000000 },
		{ "GB", 1000000000 },
		{ "TB", 1000000000000 },
		{ "KiB", 1ull << 10 },
		{ "MiB", 1ull << 20 },
		{ "GiB", 1ull << 30 },
		{ "TiB", 1ull << 40 },
	};

	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		if (str_eq_nocase(suffix, str_of(suffixes[i].name))) {
			*ret = suffixes[i].factor;
			return true;
		}
	}
	return false;
}

bool settings_parse_bytes(struct str value, uint64_t *ret)
{
	uint64_t number, factor;
	size_t digits = 0;

	while (digits < value.n && value.p[digits] >= '0' && value.p[digits] <= '9')
		digits++;
	return str_to_u64(str_make(value.p, digits), UINT64_MAX, &number) &&
	       multiplier(str_trim(str_make(value.p + digits, value.n - digits)), &factor) &&
	       !__builtin_mul_overflow(number, factor, ret);
}

static bool is_choice(const char *choices, struct str value)
{
	struct str rest = str_of(choices), one;

	while (str_split(&rest, '|', &one)) {
		if (str_eq(one, value))
			return true;
	}
	return false;
}

static int parse_text(const struct setting_info *info, struct str value, struct err *err)
{
	for (size_t i = 0; i < value.n; i++) {
		if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
			return err_set(err, ERR_INVALID, "'%s' must not hold control characters",
				       info->name);
	}
	if (value.n < info->min || value.n > info->max)
		return err_set(err, ERR_INVALID, "'%s' is a text of %llu to %llu bytes", info->name,
			       (unsigned long long)info->min, (unsigned long long)info->max);
	return 0;
}

static int parse_value(const struct setting_info *info, struct str value, uint64_t *ret,
		       struct err *err)
{
	uint64_t number = 0;

	switch (info->type) {
	case SETTING_TYPE_TEXT:
		TRY(parse_text(info, value, err));
		break;
	case SETTING_TYPE_COUNT:
		if (!str_to_u64(value, info->max, &number) || number < info->min)
			return out_of_range(info, value, err);
		break;
	case SETTING_TYPE_BYTES:
		if (!settings_parse_bytes(value, &number) || number < info->min ||
		    number > info->max)
			return out_of_range(info, value, err);
		break;
	case SETTING_TYPE_BOOL:
		number = str_eq_z(value, "true");
		if (!number && !str_eq_z(value, "false"))
			return err_set(err, ERR_INVALID, "'%s' is true or false, not '" STR_FMT "'",
				       info->name, STR_ARG(value));
		break;
	case SETTING_TYPE_CHOICE:
		if (!is_choice(info->unit, value))
			return err_set(err, ERR_INVALID, "'%s' is one of %s, not '" STR_FMT "'",
				       info->name, info->unit, STR_ARG(value));
		break;
	}
	*ret = number;
	return 0;
}

int settings_set(struct settings *s, enum setting_id id, struct str value,
		 enum setting_origin origin, const char *where, struct err *err)
{
	struct setting_value *v = &s->values[id];
	uint64_t number;

	REQUIRE(id < SETTING_COUNT);
	TRY(parse_value(&setting_infos[id], value, &number, err));
	free(v->text);
	free(v->where);
	v->number = number;
	v->text = str_dup(value);
	v->where = where ? mem_must_strdup(where) : NULL;
	v->origin = origin;
	return 0;
}

void settings_init(struct settings *s)
{
	struct err err;

	*s = (struct settings){ 0 };
	for (unsigned i = 0; i < SETTING_COUNT; i++)
		REQUIRE(settings_set(s, (enum setting_id)i, str_of(setting_infos[i].def),
				     SETTING_FROM_DEFAULT, NULL, &err) == 0);
}

void settings_release(struct settings *s)
{
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		free(s->values[i].text);
		free(s->values[i].where);
	}
	*s = (struct settings){ 0 };
}

const char *settings_text(const struct settings *s, enum setting_id id)
{
	return s->values[id].text;
}

uint64_t settings_number(const struct settings *s, enum setting_id id)
{
	return s->values[id].number;
}

bool settings_bool(const struct settings *s, enum setting_id id)
{
	return s->values[id].number != 0;
}

/* ---- Names ---- */

enum setting_id setting_find(struct str name)
{
	unsigned i = 0;

	while (i < SETTING_COUNT && !str_eq_z(name, setting_infos[i].name))
		i++;
	return (enum setting_id)i;
}

void setting_env_name(enum setting_id id, char ret[SETTING_NAME_MAX])
{
	snprintf(ret, SETTING_NAME_MAX, "WEIR_%s", setting_infos[id].name);
	for (char *c = ret; *c; c++) {
		if (*c == '-')
			*c = '_';
		else if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
	}
}

/* ---- The environment ---- */

/* Not settings: they name the settings file, and what building and testing use. */
static const char *const other_variables[] = { "WEIR_CONFIG", "WEIR_CACHE", "WEIR_BIN" };

static int environment_unknown(struct str name, struct err *err)
{
	char names[SETTING_COUNT][SETTING_NAME_MAX], hint[SETTING_NAME_MAX + 32];
	const char *list[SETTING_COUNT];

	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		setting_env_name((enum setting_id)i, names[i]);
		list[i] = names[i];
	}
	return err_set(err, ERR_INVALID, "there is no setting for the variable '" STR_FMT "'%s",
		       STR_ARG(name), nearest_hint(name, list, SETTING_COUNT, hint, sizeof hint));
}

static int environment_one(struct settings *s, struct str name, struct str value, struct err *err)
{
	char env_name[SETTING_NAME_MAX];
	int rc;

	for (size_t i = 0; i < sizeof other_variables / sizeof other_variables[0]; i++) {
		if (str_eq_z(name, other_variables[i]))
			return 0;
	}
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		setting_env_name((enum setting_id)i, env_name);
		if (!str_eq_z(name, env_name))
			continue;
		rc = settings_set(s, (enum setting_id)i, value, SETTING_FROM_ENVIRONMENT, env_name,
				  err);
		return rc ? err_add(err, "%s", env_name) : 0;
	}
	return environment_unknown(name, err);
}

int settings_read_environment(struct settings *s, char *const *environment, struct err *err)
{
	for (; *environment; environment++) {
		struct str entry = str_of(*environment);
		size_t at = str_find(entry, '=');

		if (!str_starts(entry, STR("WEIR_")) || at == entry.n)
			continue;
		TRY(environment_one(s, str_make(entry.p, at),
				    str_make(entry.p + at + 1, entry.n - at - 1), err));
	}
	return 0;
}

/* ---- The file ---- */

struct file_reading {
	struct settings *s;
	const char *name;
	unsigned line_of[SETTING_COUNT]; /* where a setting was set; 0: not yet */
};

static bool type_fits(enum setting_type type, enum toml_type given)
{
	switch (type) {
	case SETTING_TYPE_TEXT:
	case SETTING_TYPE_CHOICE:
		return given == TOML_STRING;
	case SETTING_TYPE_COUNT:
		return given == TOML_INTEGER;
	case SETTING_TYPE_BYTES:
		return given == TOML_INTEGER || given == TOML_STRING;
	case SETTING_TYPE_BOOL:
		break;
	}
	return given == TOML_BOOLEAN;
}

static int file_one(void *arg, const struct toml_entry *e, struct err *err)
{
	struct file_reading *r = arg;
	enum setting_id id = setting_find(e->key);
	char where[512];

	if (id == SETTING_COUNT) {
		const char *list[SETTING_COUNT];
		char hint[SETTING_NAME_MAX + 32];

		for (unsigned i = 0; i < SETTING_COUNT; i++)
			list[i] = setting_infos[i].name;
		return err_set(err, ERR_INVALID, "there is no setting '" STR_FMT "'%s",
			       STR_ARG(e->key),
			       nearest_hint(e->key, list, SETTING_COUNT, hint, sizeof hint));
	}
	if (r->line_of[id])
		return err_set(err, ERR_INVALID, "'%s' was set in line %u already",
			       setting_infos[id].name, r->line_of[id]);
	r->line_of[id] = e->line;
	if (!type_fits(setting_infos[id].type, e->type))
		return err_set(
			err, ERR_INVALID, "'%s' takes %s here", setting_infos[id].name,
			setting_infos[id].type == SETTING_TYPE_BOOL    ? "true or false"
			: setting_infos[id].type == SETTING_TYPE_COUNT ? "a number without quotes"
			: setting_infos[id].type == SETTING_TYPE_BYTES ? "a number, or \"1GiB\""
								       : "a text in quotes");
	snprintf(where, sizeof where, "%s:%u", r->name, e->line);
	return settings_set(r->s, id, e->value, SETTING_FROM_FILE, where, err);
}

int settings_read_text(struct settings *s, struct str text, const char *name, struct err *err)
{
	struct file_reading reading = { .s = s, .name = name };
	unsigned line;
	int rc = toml_read(text, file_one, &reading, &line, err);

	return rc ? err_add(err, "%s:%u", name, line) : 0;
}

int settings_read_file(struct settings *s, const char *path, struct err *err)
{
	AUTO(mem_drop) void *mem = NULL;
	size_t n = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_sys(err, errno, "cannot open the settings file '%s'", path);
	mem = mem_must_zalloc(SETTINGS_FILE_BYTES_MAX + 1);
	do {
		got = read(fd, (char *)mem + n, SETTINGS_FILE_BYTES_MAX + 1 - n);
		if (got > 0)
			n += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	close(fd);
	if (got < 0)
		return err_sys(err, errno, "cannot read the settings file '%s'", path);
	if (n > SETTINGS_FILE_BYTES_MAX)
		return err_set(err, ERR_TOO_LARGE, "the settings file '%s' has more than %d bytes",
			       path, SETTINGS_FILE_BYTES_MAX);
	return settings_read_text(s, str_make(mem, n), path, err);
}
