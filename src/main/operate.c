#include "main_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "progress.h"
#include "service/backup.h"

/*
 * weir backup and weir restore. What is said is the same for both: findings as
 * they come, the outcome in one line, or all of it as one JSON object.
 */
enum {
	JSON_BYTES_MAX = 8 << 20, /* findings beyond are counted, not printed */
	FINDING_BYTES_MAX = 8192,
	EVERY_S_MAX = 86400,
	KEEP_MAX = 10000,
};

/* The outcome on its way to the screen. */
struct report {
	struct progress view;
	bool as_json;
	struct buf findings; /* as elements of a JSON array */
	uint64_t finding_count;
};

/* ---- Options ---- */

static bool read_number(const struct options *o, enum option_id id, const char *otherwise,
			uint64_t min, uint64_t max, uint64_t *ret)
{
	const char *text = option_value(o, id, otherwise);

	if (str_to_u64(str_of(text), max, ret) && *ret >= min)
		return true;
	say("'--%s' is a number, %" PRIu64 " to %" PRIu64 ", not '%s'", option_name(id), min, max,
	    text);
	return false;
}

static bool read_rate(const struct options *o, uint64_t *ret)
{
	const char *text = option_value(o, OPTION_rate, "0");

	if (settings_parse_bytes(str_of(text), ret) && (*ret || !option_given(o, OPTION_rate)))
		return true;
	say("'--rate' is a number of bytes, as 50MB, not '%s'", text);
	return false;
}

static bool report_init(struct report *r, const struct options *o, const char *command)
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

static void report_finding(struct report *r, struct str check, struct str text)
{
	AUTO(buf_release) struct buf line = BUF_INIT(FINDING_BYTES_MAX);

	r->finding_count++;
	if (!r->as_json) {
		show_text(&line, text);
		progress_line(&r->view, buf_str(&line));
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

static void report_item(struct frame *f, void *arg)
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

static void put_result_json(struct json *j, const struct backup_result *b, bool is_backup)
{
	char date[32];

	json_kv_i64(j, "generation", (int64_t)b->generation);
	json_kv_z(j, "date", time_format_utc(b->date_s, date));
	json_kv_i64(j, "samples", (int64_t)b->samples);
	json_kv_i64(j, "sample_bytes", (int64_t)b->sample_bytes);
	json_kv_i64(j, "packs", (int64_t)b->packs);
	json_kv_i64(j, "bytes", (int64_t)b->bytes);
	if (!is_backup)
		return;
	json_kv_i64(j, "packs_copied", (int64_t)b->packs_copied);
	json_kv_i64(j, "bytes_copied", (int64_t)b->bytes_copied);
	json_kv_i64(j, "removed_meanwhile", (int64_t)b->removed);
}

/* One object: the outcome or the error, and what was found. */
static void print_json(struct report *r, const struct backup_result *b, bool is_backup,
		       const struct err *err)
{
	AUTO(buf_release) struct buf out = BUF_INIT(2 * JSON_BYTES_MAX);
	struct json j;

	json_init(&j, &out);
	json_obj(&j);
	if (b)
		put_result_json(&j, b, is_backup);
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
}

static void put_amount(struct buf *out, const struct backup_result *b)
{
	char date[32];

	buf_addf(out, "generation %" PRIu64 " of %s: %" PRIu64 " samples (", b->generation,
		 time_format_utc(b->date_s, date), b->samples);
	progress_put_bytes(out, (double)b->sample_bytes);
	buf_addf(out, ") in %" PRIu64 " packs", b->packs);
}

static void put_speed(struct buf *out, const struct report *r, uint64_t bytes)
{
	double s = progress_seconds(&r->view);

	progress_put_bytes(out, (double)bytes);
	buf_addf(out, " in %.1f s", s);
	if (s > 0.05) {
		buf_add_z(out, ", ");
		progress_put_bytes(out, (double)bytes / s);
		buf_add_z(out, "/s");
	}
}

/* The last words and the exit status. */
static int report_end(struct report *r, int rc, const struct backup_result *b, const char *did,
		      const struct err *err)
{
	AUTO(buf_release) struct buf line = BUF_INIT(4096);
	bool is_backup = strcmp(r->view.command, "backup") == 0;

	progress_end(&r->view);
	if (r->as_json)
		print_json(r, rc ? NULL : b, is_backup, err);
	else if (rc)
		say("%s", err->msg);
	if (rc == 0 && !r->as_json) {
		put_amount(&line, b);
		buf_addf(&line, "; %s ", did);
		put_speed(&line, r, is_backup ? b->bytes_copied : b->bytes);
		if (is_backup && b->removed)
			buf_addf(&line, "; %" PRIu64 " samples removed meanwhile are not in it",
				 b->removed);
		if (r->finding_count)
			buf_addf(&line, "; %" PRIu64 " findings", r->finding_count);
		printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
	}
	fflush(stdout);
	buf_release(&r->findings);
	return rc || r->finding_count ? STATUS_FAILED : STATUS_OK;
}

/* ---- weir backup ---- */

static int folder_open(const char *path, int *ret, bool *ret_made, struct err *err)
{
	*ret_made = mkdir(path, 0700) == 0;
	if (!*ret_made && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder '%s'", path);
	*ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret >= 0 ? 0 : err_sys(err, errno, "cannot open the folder '%s'", path);
}

static int backup_ask(struct session *s, struct report *r, const struct options *o, int folder,
		      uint64_t keep, uint64_t rate, struct backup_result *ret, struct err *err)
{
	AUTO(buf_release) struct buf request = BUF_INIT(CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX);
	struct frame_in *link;
	struct frame answer;
	size_t at = frame_begin(&request, CONTROL_BACKUP, 1);

	frame_str(&request, str_of(o->words[0]));
	frame_str(&request, STR(WEIR_VERSION));
	frame_u64(&request, keep);
	frame_u64(&request, option_given(o, OPTION_adopt));
	frame_u64(&request, rate);
	frame_end(&request, at);
	TRY(buf_check(&request, "what you typed", err));
	TRY(session_link(s, &link, err));
	TRY(session_call_fd(link, buf_str(&request), folder, report_item, r, &answer, err));
	ret->generation = frame_take_u64(&answer);
	ret->samples = frame_take_u64(&answer);
	ret->sample_bytes = frame_take_u64(&answer);
	ret->packs = frame_take_u64(&answer);
	ret->packs_copied = frame_take_u64(&answer);
	ret->bytes = frame_take_u64(&answer);
	ret->bytes_copied = frame_take_u64(&answer);
	ret->removed = frame_take_u64(&answer);
	ret->date_s = (int64_t)frame_take_u64(&answer);
	return 0;
}

int backup_command(const struct options *o)
{
	struct backup_result result = { 0 };
	struct session *s = NULL;
	struct report r;
	struct err err = { 0 };
	uint64_t keep, rate;
	int folder = -1, rc;
	bool made = false;

	if (o->word_count != 1) {
		say("weir backup takes one FOLDER");
		return STATUS_USAGE;
	}
	if (!read_number(o, OPTION_keep, "1", 1, KEEP_MAX, &keep) || !read_rate(o, &rate) ||
	    !report_init(&r, o, "backup"))
		return STATUS_USAGE;
	rc = session_open_existing(&s, &o->settings, &err);
	if (rc == 0)
		rc = folder_open(o->words[0], &folder, &made, &err);
	if (rc == 0)
		rc = backup_ask(s, &r, o, folder, keep, rate, &result, &err);
	session_close(s);
	if (folder >= 0)
		close(folder);
	/* Made in vain: it goes again, if nothing is in it. */
	if (rc && made)
		(void)rmdir(o->words[0]);
	return report_end(&r, rc, &result, "copied", &err);
}

/* ---- weir restore ---- */

static void restore_progress(const char *step, uint64_t done, uint64_t all, void *arg)
{
	struct report *r = arg;

	progress_tick(&r->view, str_of(step), done, all);
}

static void restore_found(const char *check, const char *what, void *arg)
{
	report_finding(arg, str_of(check), str_of(what));
}

int restore_command(const struct options *o)
{
	bool check = option_given(o, OPTION_check);
	struct restore_options options = { .damaged = option_given(o, OPTION_damaged) };
	struct backup_result result = { 0 };
	struct task task = { .progress = restore_progress, .found = restore_found };
	struct report r;
	struct err err = { 0 };
	int rc;

	if (o->word_count != 1) {
		say("weir restore takes one FOLDER, the backup's");
		return STATUS_USAGE;
	}
	/* Not into the folder that everything else finds by itself: that must be meant. */
	if (!check && o->settings.values[SETTING_data].origin == SETTING_FROM_DEFAULT) {
		say("weir restore needs the folder to make: --data FOLDER");
		return STATUS_USAGE;
	}
	if (check && options.damaged) {
		say("'--check' restores nothing, so '--damaged' has no meaning");
		return STATUS_USAGE;
	}
	if (!read_number(o, OPTION_generation, "0", 0, INT64_MAX, &options.generation) ||
	    !read_rate(o, &task.rate) || !report_init(&r, o, "restore"))
		return STATUS_USAGE;
	options.source = o->words[0];
	options.data = check ? NULL : settings_text(&o->settings, SETTING_data);
	task.arg = &r;
	rc = backup_restore(&options, &task, &result, &err);
	return report_end(&r, rc, &result, check ? "checked" : "restored", &err);
}
