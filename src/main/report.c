#include "report.h"

#include <inttypes.h>
#include <stdio.h>

enum {
	JSON_BYTES_MAX = 8 << 20, /* findings beyond are counted, not printed */
	FINDING_BYTES_MAX = 8192,
	EVERY_S_MAX = 86400,
};

/* ---- Options ---- */

bool read_number(const struct options *o, enum option_id id, const char *otherwise, uint64_t min,
		 uint64_t max, uint64_t *ret)
{
	const char *text = option_value(o, id, otherwise);

	if (str_to_u64(str_of(text), max, ret) && *ret >= min)
		return true;
	say("'--%s' is a number, %" PRIu64 " to %" PRIu64 ", not '%s'", option_name(id), min, max,
	    text);
	return false;
}

bool read_rate(const struct options *o, uint64_t *ret)
{
	const char *text = option_value(o, OPTION_rate, "0");

	if (settings_parse_bytes(str_of(text), ret) && (*ret || !option_given(o, OPTION_rate)))
		return true;
	say("'--rate' is a number of bytes, as 50MB, not '%s'", text);
	return false;
}

bool report_init(struct report *r, const struct options *o, const char *command)
{
	uint64_t every_s;

	if (!read_number(o, OPTION_every, "5", 0, EVERY_S_MAX, &every_s))
		return false;
	*r = (struct report){ .as_json = option_given(o, OPTION_json),
			      .findings = BUF_INIT(JSON_BYTES_MAX) };
	progress_init(&r->view, command, every_s);
	return true;
}

/* ---- What is said ---- */

void report_finding(struct report *r, struct str check, struct str text)
{
	AUTO(buf_release) struct buf line = BUF_INIT(FINDING_BYTES_MAX);

	r->finding_count++;
	if (!r->as_json) {
		show_text(&line, text);
		if (r->findings_are_output) {
			progress_clear(&r->view.drawn);
			printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
			fflush(stdout);
		} else {
			progress_line(&r->view, buf_str(&line));
		}
		return;
	}
	buf_add_z(&line, r->findings.n ? ",{\"check\":" : "{\"check\":");
	json_escape(&line, check);
	buf_add_z(&line, ",\"text\":");
	json_escape(&line, text);
	buf_add_c(&line, '}');
	if (!buf_failed(&line) && r->findings.n + line.n <= JSON_BYTES_MAX)
		buf_add(&r->findings, line.p, line.n);
}

void report_item(struct frame *f, void *arg)
{
	uint64_t item = frame_take_u64(f);
	struct str name = frame_take_str(f);
	struct report *r = arg;
	uint64_t done;

	if (item == CONTROL_FINDING) {
		report_finding(r, name, frame_take_str(f));
	} else if (item == CONTROL_PROGRESS) {
		done = frame_take_u64(f);
		progress_tick(&r->view, name, done, frame_take_u64(f));
	}
}

void report_print_json(struct report *r, void (*put)(struct json *j, const void *arg),
		       const void *arg, const struct err *err)
{
	AUTO(buf_release) struct buf out = BUF_INIT(2 * JSON_BYTES_MAX);
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	if (put)
		put(&j, arg);
	else
		json_kv_z(&j, "error", err->msg);
	json_key(&j, "seconds");
	json_f64(&j, progress_seconds(&r->view));
	json_kv_i64(&j, "finding_count", (int64_t)r->finding_count);
	json_key(&j, "findings");
	json_arr(&j);
	if (r->findings.n)
		json_raw(&j, buf_str(&r->findings));
	json_arr_end(&j);
	json_obj_end(&j);
	json_end(&j);
	printf(STR_FMT "\n", STR_ARG(buf_str(&out)));
	fflush(stdout);
}

void report_release(struct report *r)
{
	progress_end(&r->view);
	buf_release(&r->findings);
}
