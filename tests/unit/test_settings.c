#include "unit.h"

#include "main/settings.h"

static void set_up_path(char *page, size_t n)
{
	snprintf(page, n, "%s/docs/settings.md", WEIR_SOURCE_DIR);
}

/* A value that is allowed and is not the default, so that setting it shows. */
static struct str other_value(enum setting_id id, char text[64])
{
	const struct setting_info *info = &setting_infos[id];

	switch (info->type) {
	case SETTING_TYPE_TEXT:
		return STR("a \"text\" with \\ and \xc3\xa4");
	case SETTING_TYPE_CHOICE: {
		struct str rest = str_of(info->unit), one = { 0 };

		while (str_split(&rest, '|', &one) && str_eq_z(one, info->def))
			continue;
		return one;
	}
	case SETTING_TYPE_BOOL:
		return strcmp(info->def, "true") == 0 ? STR("false") : STR("true");
	case SETTING_TYPE_COUNT:
	case SETTING_TYPE_BYTES:
		break;
	}
	snprintf(text, 64, "%llu", (unsigned long long)info->max);
	return str_of(text);
}

static void test_every_entry_of_the_table_can_be_set(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		enum setting_id id = (enum setting_id)i;
		char text[64], line[512], env_name[SETTING_NAME_MAX], env[256];
		char *environment[] = { env, NULL };
		struct str value = other_value(id, text);
		struct settings s;
		struct err err;

		CHECK_ROW(setting_infos[i].name, setting_find(str_of(setting_infos[i].name)) == id);
		settings_init(&s);
		CHECK_ROW(setting_infos[i].name, s.values[i].origin == SETTING_FROM_DEFAULT);
		setting_env_name(id, env_name);
		snprintf(env, sizeof env, "%s=" STR_FMT, env_name, STR_ARG(value));
		CHECK_OK(settings_read_environment(&s, environment, &err), &err);
		CHECK_ROW(setting_infos[i].name, s.values[i].origin == SETTING_FROM_ENVIRONMENT);
		CHECK_ROW_STR(setting_infos[i].name, str_of(settings_text(&s, id)), value);
		CHECK_OK(settings_set(&s, id, str_of(setting_infos[i].def), SETTING_FROM_FLAG,
				      "--x", &err),
			 &err);
		CHECK_ROW_STR(setting_infos[i].name, str_of(settings_text(&s, id)),
			      str_of(setting_infos[i].def));
		if (setting_infos[i].type == SETTING_TYPE_TEXT ||
		    setting_infos[i].type == SETTING_TYPE_CHOICE)
			snprintf(line, sizeof line, "%s = '" STR_FMT "' # why",
				 setting_infos[i].name, STR_ARG(value));
		else
			snprintf(line, sizeof line, "%s=" STR_FMT, setting_infos[i].name,
				 STR_ARG(value));
		CHECK_OK(settings_read_text(&s, str_of(line), "f", &err), &err);
		CHECK_ROW_STR(setting_infos[i].name, str_of(settings_text(&s, id)), value);
		CHECK_ROW_STR(setting_infos[i].name, str_of(s.values[i].where), STR("f:1"));
		settings_release(&s);
	}
}

static void test_files_that_are_accepted(void **state)
{
	static const struct {
		const char *name;
		const char *text;
		enum setting_id id;
		const char *value;
	} rows[] = {
		{ "empty", "", SETTING_data, "weir-data" },
		{ "comments, blank lines, CRLF", "# a\r\n\r\n\t\r\ndata = \"x\"\r\n", SETTING_data,
		  "x" },
		{ "no newline at the end", "data = 'x'", SETTING_data, "x" },
		{ "escapes", "data = \"a\\\"\\\\\\u00e4\\U0001F600\"", SETTING_data,
		  "a\"\\\xc3\xa4\xf0\x9f\x98\x80" },
		{ "a literal keeps its backslashes", "data = 'a\\n#'", SETTING_data, "a\\n#" },
		{ "hash inside a text", "data = \"a#b\" # c", SETTING_data, "a#b" },
		{ "underscores", "connections-max = 10_000", SETTING_connections_max, "10000" },
		{ "a size with a unit", "hunt-bytes-max = \"2 MiB\"", SETTING_hunt_bytes_max,
		  "2 MiB" },
		{ "a size", "hunt-bytes-max = 17", SETTING_hunt_bytes_max, "17" },
		{ "boolean", "log-requests = false", SETTING_log_requests, "false" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct settings s;
		struct err err;

		settings_init(&s);
		CHECK_OK(settings_read_text(&s, str_of(rows[i].text), "f", &err), &err);
		CHECK_ROW_STR(rows[i].name, str_of(settings_text(&s, rows[i].id)),
			      str_of(rows[i].value));
		settings_release(&s);
	}
}

static void test_files_that_are_refused(void **state)
{
	static const struct {
		const char *name;
		const char *text;
		const char *error;
	} rows[] = {
		{ "unknown name", "\nhunt-byte-max = 1",
		  "f:2: there is no setting 'hunt-byte-max'; did you mean "
		  "'hunt-bytes-max'?" },
		{ "unknown and like nothing", "zzzzzz = 1", "f:1: there is no setting 'zzzzzz'" },
		{ "twice", "data = 'x'\ndata = 'x'", "f:2: 'data' was set in line 1 already" },
		{ "text for a number", "workers = '4'",
		  "f:1: 'workers' takes a number without quotes here" },
		{ "number for a text", "data = 4", "f:1: 'data' takes a text in quotes here" },
		{ "text for a boolean", "log-requests = 'true'",
		  "f:1: 'log-requests' takes true or false here" },
		{ "boolean for a size", "hunt-bytes-max = true",
		  "f:1: 'hunt-bytes-max' takes a number, or \"1GiB\" "
		  "here" },
		{ "over the maximum", "workers = 257",
		  "f:1: 'workers' is a number of processes from 0 to 256, not "
		  "'257'" },
		{ "over any number", "workers = 99999999999999999999",
		  "f:1: 'workers' is a number of processes from "
		  "0 to 256, not '99999999999999999999'" },
		{ "size that overflows", "hunt-bytes-max = \"99999999999TiB\"",
		  "f:1: 'hunt-bytes-max' is a number of bytes from 1 to 681574400, not "
		  "'99999999999TiB'" },
		{ "size of an unknown unit", "hunt-bytes-max = \"3 parsecs\"",
		  "f:1: 'hunt-bytes-max' is a number of bytes from 1 to 681574400, not '3 "
		  "parsecs'" },
		{ "no such choice", "log-level = 'loud'",
		  "f:1: 'log-level' is one of error|warn|info|debug, not "
		  "'loud'" },
		{ "empty text", "data = ''", "f:1: 'data' is a text of 1 to 3500 bytes" },
		{ "control character by escape", "data = \"a\\n\"",
		  "f:1: 'data' must not hold control characters" },
		{ "control character", "data = 'a\x01'", "f:1: a control character" },
		{ "not UTF-8", "data = 'a\xff'", "f:1: the line is not UTF-8" },
		{ "surrogate", "data = \"\\ud800\"", "f:1: no such character: U+D800" },
		{ "bad hex", "data = \"\\u00g0\"", "f:1: \\u takes 4 hex digits, \\U 8" },
		{ "unknown escape", "data = \"C:\\weir\"",
		  "f:1: unknown escape in a text; a backslash itself is "
		  "written \\\\, or use 'single quotes'" },
		{ "no end", "data = \"x", "f:1: the text does not end in this line" },
		{ "several lines", "data = \"\"\"x\"\"\"",
		  "f:1: texts of several lines are not used here" },
		{ "table", "[server]", "f:1: tables are not used here: only 'name = value'" },
		{ "list", "data = [1]", "f:1: lists and tables are not used here" },
		{ "no value",
		  "data =", "f:1: a value is a \"text\", a number, true or false, not ''" },
		{ "no equals", "data 'x'", "f:1: '=' is missing after 'data'" },
		{ "no key", "= 1", "f:1: a line is 'name = value'" },
		{ "more behind", "data = 'x' 'y'", "f:1: there is more after the value of 'data'" },
		{ "negative", "workers = -1",
		  "f:1: a value is a \"text\", a number, true or false, not '-1'" },
		{ "leading zero", "workers = 01",
		  "f:1: a value is a \"text\", a number, true or false, not '01'" },
		{ "two underscores", "workers = 1__0",
		  "f:1: a value is a \"text\", a number, true or false, not "
		  "'1__0'" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct settings s;
		struct err err = { 0 };

		settings_init(&s);
		CHECK_ROW(rows[i].name,
			  settings_read_text(&s, str_of(rows[i].text), "f", &err) == -ERR_INVALID);
		CHECK_ROW_STR(rows[i].name, str_of(err.msg), str_of(rows[i].error));
		settings_release(&s);
	}
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} rows[] = { { "100", 100 },          { "7B", 7 },      { "1KB", 1000 },
		     { "100MB", 100000000 },  { "1KiB", 1024 }, { "2mib", 2097152 },
		     { "600 MiB", 629145600 } };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct settings s;
		struct err err;

		settings_init(&s);
		CHECK_OK(settings_set(&s, SETTING_hunt_bytes_max, str_of(rows[i].text),
				      SETTING_FROM_FLAG, "--x", &err),
			 &err);
		CHECK_ROW(rows[i].text,
			  settings_number(&s, SETTING_hunt_bytes_max) == rows[i].bytes);
		settings_release(&s);
	}
}

static void test_variables(void **state)
{
	char unknown[] = "WEIR_LISTNE=x", bad[] = "WEIR_WORKERS=many", far[] = "WEIR_QQQQQQQ=1";
	char fine[] = "WEIR_CONFIG=x", other[] = "HOME=/", data[] = "WEIR_DATA=here";
	char *with_unknown[] = { unknown, NULL }, *with_bad[] = { bad, NULL },
	     *with_far[] = { far, NULL };
	char *good[] = { fine, other, data, NULL };
	struct settings s;
	struct err err;

	(void)state;
	settings_init(&s);
	assert_int_equal(settings_read_environment(&s, with_unknown, &err), -ERR_INVALID);
	assert_string_equal(err.msg,
			    "there is no setting for the variable 'WEIR_LISTNE'; did you mean "
			    "'WEIR_LISTEN'?");
	assert_int_equal(settings_read_environment(&s, with_far, &err), -ERR_INVALID);
	assert_string_equal(err.msg, "there is no setting for the variable 'WEIR_QQQQQQQ'");
	assert_int_equal(settings_read_environment(&s, with_bad, &err), -ERR_INVALID);
	assert_string_equal(
		err.msg,
		"WEIR_WORKERS: 'workers' is a number of processes from 0 to 256, not 'many'");
	CHECK_OK(settings_read_environment(&s, good, &err), &err);
	assert_string_equal(settings_text(&s, SETTING_data), "here");
	settings_release(&s);
}

static void test_nearest(void **state)
{
	static const char *const names[] = { "data", "listen", "hunt-bytes-max", "log-level",
					     "log-requests" };
	static const struct {
		const char *unknown;
		const char *nearest;
	} rows[] = {
		{ "date", "data" },
		{ "lisetn", "listen" },
		{ "hunt_bytes_max", "hunt-bytes-max" },
		{ "log-lvel", "log-level" },
		{ "log-re", "log-requests" },
		{ "xyzzy", NULL },
		{ "", NULL },
		{ "hun", "hunt-bytes-max" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *got = nearest_name(str_of(rows[i].unknown), names, COUNT_OF(names));

		CHECK_ROW_STR(rows[i].unknown, str_of(got ? got : "(none)"),
			      str_of(rows[i].nearest ? rows[i].nearest : "(none)"));
	}
}

/* What `weir config` prints is itself a settings file that says the same. */
static void test_printed_settings_can_be_read_again(void **state)
{
	struct buf out = BUF_INIT(1 << 20);
	struct settings s, again;
	char text[64];
	struct err err;

	(void)state;
	settings_init(&s);
	for (unsigned i = 0; i < SETTING_COUNT; i++)
		CHECK_OK(settings_set(&s, (enum setting_id)i, other_value((enum setting_id)i, text),
				      SETTING_FROM_FLAG, "--f", &err),
			 &err);
	settings_print(&s, &out);
	assert_false(buf_failed(&out));
	settings_init(&again);
	CHECK_OK(settings_read_text(&again, buf_str(&out), "printed", &err), &err);
	for (unsigned i = 0; i < SETTING_COUNT; i++) {
		CHECK_ROW_STR(setting_infos[i].name, str_of(again.values[i].text),
			      str_of(s.values[i].text));
		CHECK_ROW(setting_infos[i].name, again.values[i].origin == SETTING_FROM_FILE);
	}
	settings_release(&again);
	settings_release(&s);
	buf_release(&out);
}

static void test_the_page_is_of_this_table(void **state)
{
	struct buf page = BUF_INIT(1 << 20);
	char path[4096], *text = calloc(1, 1 << 20);
	FILE *f;
	size_t n;

	(void)state;
	set_up_path(path, sizeof path);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	settings_print_page(&page);
	assert_false(buf_failed(&page));
	if (!str_eq(str_make(text, n), buf_str(&page)))
		fail_msg("docs/settings.md is not of this table: write it by `weir config "
			 "--markdown`");
	free(text);
	buf_release(&page);
}

static void test_file_errors(void **state)
{
	char *dir = test_dir_new(), path[512];
	struct settings s;
	struct err err;
	FILE *f;

	(void)state;
	settings_init(&s);
	snprintf(path, sizeof path, "%s/weir.toml", dir);
	assert_int_equal(settings_read_file(&s, path, &err), -ERR_NOT_FOUND);
	assert_int_equal(settings_read_file(&s, dir, &err), -ERR_IO);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("data = 'from the file'\n", f);
	fflush(f);
	CHECK_OK(settings_read_file(&s, path, &err), &err);
	assert_string_equal(settings_text(&s, SETTING_data), "from the file");
	for (int i = 0; i <= SETTINGS_FILE_BYTES_MAX; i++)
		fputc('#', f);
	fclose(f);
	assert_int_equal(settings_read_file(&s, path, &err), -ERR_TOO_LARGE);
	settings_release(&s);
	test_dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_entry_of_the_table_can_be_set),
		cmocka_unit_test(test_files_that_are_accepted),
		cmocka_unit_test(test_files_that_are_refused),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_variables),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_printed_settings_can_be_read_again),
		cmocka_unit_test(test_the_page_is_of_this_table),
		cmocka_unit_test(test_file_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
