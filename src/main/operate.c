#include "main_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "report.h"
#include "service/backup.h"

/* weir backup, weir restore, weir verify. */
enum {
	KEEP_MAX = 10000,
};

struct outcome {
	const struct backup_result *result;
	bool is_backup;
};

static void put_result_json(struct json *j, const void *arg)
{
	const struct outcome *o = arg;
	const struct backup_result *b = o->result;
	char date[32];

	json_kv_i64(j, "generation", (int64_t)b->generation);
	json_kv_z(j, "date", time_format_utc(b->date_s, date));
	json_kv_i64(j, "samples", (int64_t)b->samples);
	json_kv_i64(j, "sample_bytes", (int64_t)b->sample_bytes);
	json_kv_i64(j, "packs", (int64_t)b->packs);
	json_kv_i64(j, "bytes", (int64_t)b->bytes);
	if (!o->is_backup)
		return;
	json_kv_i64(j, "packs_copied", (int64_t)b->packs_copied);
	json_kv_i64(j, "bytes_copied", (int64_t)b->bytes_copied);
	json_kv_i64(j, "removed_meanwhile", (int64_t)b->removed);
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
		report_print_json(r, rc ? NULL : put_result_json, &(struct outcome){ b, is_backup },
				  err);
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
	report_release(r);
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
	rc = session_open_existing(&s, &o->settings, SESSION_STORES, &err);
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

/* ---- weir verify ---- */

/* Of struct verify_result, as the server counted. */
struct verified {
	uint64_t records, findings, loose, loose_bytes, reclaimed;
};

static void put_verified_json(struct json *j, const void *arg)
{
	const struct verified *v = arg;

	json_kv_i64(j, "records", (int64_t)v->records);
	json_kv_i64(j, "loose", (int64_t)v->loose);
	json_kv_i64(j, "loose_bytes", (int64_t)v->loose_bytes);
	json_kv_i64(j, "reclaimed", (int64_t)v->reclaimed);
}

static void print_verified(const struct verified *v)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);

	buf_addf(&line, "%" PRIu64 " records checked, %" PRIu64 " findings", v->records,
		 v->findings);
	if (v->loose) {
		buf_addf(&line, "; %" PRIu64 " records (", v->loose);
		progress_put_bytes(&line, (double)v->loose_bytes);
		buf_add_z(&line, v->reclaimed ? ") belonged to no sample and are erased"
					      : ") belong to no sample: 'weir verify --reclaim' "
						"erases them");
	}
	printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
}

static int verify_ask(struct session *s, struct report *r, const struct options *o, uint64_t rate,
		      struct verified *ret, struct err *err)
{
	AUTO(buf_release) struct buf request = BUF_INIT(1024);
	struct frame_in *link;
	struct frame answer;
	size_t at = frame_begin(&request, CONTROL_VERIFY, 1);

	frame_u64(&request, option_given(o, OPTION_reclaim));
	frame_u64(&request, rate);
	frame_end(&request, at);
	TRY(session_link(s, &link, err));
	TRY(session_call(link, buf_str(&request), report_item, r, &answer, err));
	ret->records = frame_take_u64(&answer);
	ret->findings = frame_take_u64(&answer);
	ret->loose = frame_take_u64(&answer);
	ret->loose_bytes = frame_take_u64(&answer);
	ret->reclaimed = frame_take_u64(&answer);
	return 0;
}

/* Clean, findings, or it could not be looked: 0, 1, 2. */
int verify_command(const struct options *o)
{
	struct verified v = { 0 };
	struct session *s = NULL;
	struct err err = { 0 };
	struct report r;
	uint64_t rate;
	int rc;

	if (o->word_count) {
		say("weir verify takes no words");
		return STATUS_USAGE;
	}
	if (!read_rate(o, &rate) || !report_init(&r, o, "verify"))
		return STATUS_USAGE;
	r.findings_are_output = true;
	rc = session_open_existing(&s, &o->settings, SESSION_STORES, &err);
	if (rc == 0)
		rc = verify_ask(s, &r, o, rate, &v, &err);
	session_close(s);
	progress_end(&r.view);
	if (r.as_json)
		report_print_json(&r, rc ? NULL : put_verified_json, &v, &err);
	else if (rc)
		say("%s", err.msg);
	else
		print_verified(&v);
	report_release(&r);
	if (rc)
		return STATUS_USAGE;
	return v.findings ? STATUS_FAILED : STATUS_OK;
}
