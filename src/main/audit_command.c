#include "asking.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "main/when.h"

/* weir audit: prints the audit log, oldest line first. */

enum {
	LINE_BYTES_MAX = 256 * 1024 /* a line's texts, each byte shown as four */
};

struct audit_line {
	int64_t id;
	int64_t date_s;
	struct str user, action, object_type, object_id, address, request_id, detail;
};

static struct audit_line line_take(struct frame *f)
{
	struct audit_line line = { .id = (int64_t)frame_take_u64(f),
				   .date_s = (int64_t)frame_take_u64(f) };

	line.user = frame_take_str(f);
	line.action = frame_take_str(f);
	line.object_type = frame_take_str(f);
	line.object_id = frame_take_str(f);
	line.address = frame_take_str(f);
	line.request_id = frame_take_str(f);
	line.detail = frame_take_str(f);
	return line;
}

static void print_line(const struct buf *line)
{
	printf(STR_FMT "\n", STR_ARG(buf_str(line)));
}

static void show_or_dash(struct buf *out, struct str s)
{
	if (s.n)
		show_text(out, s);
	else
		buf_add_c(out, '-');
}

static void print_text(struct frame *f, void *arg)
{
	AUTO(buf_release) struct buf out = BUF_INIT(LINE_BYTES_MAX);
	struct audit_line line = line_take(f);
	const struct str texts[] = { line.user,    line.action,     line.object_id,
				     line.address, line.request_id, line.detail };
	char date[32];

	(void)arg;
	buf_addf(&out, "%lld  %s", (long long)line.id, time_format_utc(line.date_s, date));
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		buf_add_z(&out, "  ");
		show_or_dash(&out, texts[i]);
	}
	print_line(&out);
}

static void kv_if_any(struct json *j, const char *key, struct str s)
{
	if (s.n)
		json_kv_str(j, key, s);
}

static void print_json(struct frame *f, void *arg)
{
	AUTO(buf_release) struct buf out = BUF_INIT(LINE_BYTES_MAX);
	struct audit_line line = line_take(f);
	struct json j;
	char date[32];

	(void)arg;
	json_init(&j, &out);
	json_obj(&j);
	json_kv_i64(&j, "id", line.id);
	json_kv_i64(&j, "date", line.date_s);
	json_kv_z(&j, "time", time_format_utc(line.date_s, date));
	kv_if_any(&j, "user", line.user);
	json_kv_str(&j, "action", line.action);
	json_kv_str(&j, "object_type", line.object_type);
	json_kv_str(&j, "object_id", line.object_id);
	kv_if_any(&j, "address", line.address);
	kv_if_any(&j, "request_id", line.request_id);
	if (line.detail.n) {
		json_key(&j, "detail");
		json_raw(&j, line.detail);
	}
	json_obj_end(&j);
	json_end(&j);
	print_line(&out);
}

static void print_csv(struct frame *f, void *arg)
{
	AUTO(buf_release) struct buf out = BUF_INIT(LINE_BYTES_MAX);
	struct audit_line line = line_take(f);
	char date[32], id[24];

	(void)arg;
	snprintf(id, sizeof id, "%lld", (long long)line.id);
	csv_field(&out, str_of(id));
	csv_field(&out, str_of(time_format_utc(line.date_s, date)));
	csv_field(&out, line.user);
	csv_field(&out, line.action);
	csv_field(&out, line.object_type);
	csv_field(&out, line.object_id);
	csv_field(&out, line.address);
	csv_field(&out, line.request_id);
	csv_field(&out, line.detail);
	print_line(&out);
}

/* ---- What was asked for ---- */

static bool number_option(const struct options *o, enum option_id id, const char *name,
			  uint64_t *ret)
{
	*ret = 0;
	if (!option_given(o, id) ||
	    (str_to_u64(str_of(option_value(o, id, "")), INT64_MAX, ret) && *ret))
		return true;
	say("%s is a number from 1 on", name);
	return false;
}

static bool time_option(const struct options *o, enum option_id id, const char *name,
			unsigned flags, int64_t *ret)
{
	struct err err;

	if (!option_given(o, id) || when_parse(str_of(option_value(o, id, "")),
					       clock_unix_s(clock_system()), flags, ret, &err) == 0)
		return true;
	say("%s: %s", name, err.msg);
	return false;
}

int audit_command(const struct options *o)
{
	void (*print)(struct frame * f, void *arg) = print_text;
	int64_t since_s = INT64_MIN, until_s = INT64_MAX;
	uint64_t after, limit;
	struct asking a;
	struct err err;
	int rc;

	if (o->word_count || (option_given(o, OPTION_json) && option_given(o, OPTION_csv))) {
		say(o->word_count ? "weir audit takes no words, only options"
				  : "one of '--json' and '--csv'");
		return STATUS_USAGE;
	}
	if (!number_option(o, OPTION_after, "--after", &after) ||
	    !number_option(o, OPTION_limit, "--limit", &limit) ||
	    !time_option(o, OPTION_since, "--since", 0, &since_s) ||
	    !time_option(o, OPTION_until, "--until", WHEN_LAST, &until_s))
		return STATUS_USAGE;
	if (option_given(o, OPTION_json))
		print = print_json;
	if (option_given(o, OPTION_csv))
		print = print_csv;
	rc = ask_open(&a, o, &err);
	if (rc == 0) {
		if (print == print_csv)
			printf("id,time,user,action,object_type,object_id,address,request_id,"
			       "detail\n");
		ask_begin(&a, CONTROL_AUDIT);
		frame_str(&a.request, str_of(option_value(o, OPTION_user, "")));
		frame_str(&a.request, str_of(option_value(o, OPTION_action, "")));
		frame_str(&a.request, str_of(option_value(o, OPTION_object, "")));
		frame_u64(&a.request, (uint64_t)since_s);
		/* The second that is named is in. */
		frame_u64(&a.request, (uint64_t)(until_s == INT64_MAX ? until_s : until_s + 1));
		frame_u64(&a.request, after);
		frame_u64(&a.request, limit);
		rc = ask_end(&a, print, NULL, &err);
	}
	ask_close(&a);
	if (rc)
		return ask_failed(&err);
	if (fflush(stdout) != 0) {
		say("cannot write: %s", strerror(errno));
		return STATUS_FAILED;
	}
	return STATUS_OK;
}
