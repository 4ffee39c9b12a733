#include "main_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "report.h"

/* ---- weir reindex ---- */

struct reindexed {
	bool features; /* it was asked for them */
	uint64_t segments, sample_bytes, files, failed_files;
};

static void put_json(struct json *j, const void *arg)
{
	const struct reindexed *r = arg;

	json_kv_i64(j, "segments", (int64_t)r->segments);
	json_kv_i64(j, "sample_bytes", (int64_t)r->sample_bytes);
	if (!r->features)
		return;
	json_kv_i64(j, "examined_files", (int64_t)r->files);
	json_kv_i64(j, "failed_files", (int64_t)r->failed_files);
}

static void print_line(const struct reindexed *r, const struct report *report)
{
	AUTO(buf_release) struct buf line = BUF_INIT(1024);

	if (r->features)
		buf_addf(&line, "%" PRIu64 " samples were examined, %" PRIu64 " could not be; ",
			 r->files, r->failed_files);
	buf_addf(&line, "%" PRIu64 " segments (", r->segments);
	progress_put_bytes(&line, (double)r->sample_bytes);
	buf_addf(&line, " of samples) were built again in %.1f s", progress_seconds(&report->view));
	printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
}

static int ask(struct session *s, struct report *r, uint64_t segment, struct reindexed *ret,
	       struct err *err)
{
	AUTO(buf_release) struct buf request = BUF_INIT(1024);
	struct frame_in *link;
	struct frame answer;
	size_t at = frame_begin(&request, CONTROL_REINDEX, 1);

	frame_u64(&request, segment);
	frame_u64(&request, ret->features);
	frame_end(&request, at);
	TRY(session_link(s, &link, err));
	TRY(session_call(link, buf_str(&request), report_item, r, &answer, err));
	ret->segments = frame_take_u64(&answer);
	ret->sample_bytes = frame_take_u64(&answer);
	ret->files = frame_take_u64(&answer);
	ret->failed_files = frame_take_u64(&answer);
	return 0;
}

int reindex_command(const struct options *o)
{
	struct reindexed done = { 0 };
	struct session *s = NULL;
	struct err err = { 0 };
	struct report r;
	uint64_t segment = 0;
	int rc;

	if (o->word_count) {
		say("weir reindex takes no words");
		return STATUS_USAGE;
	}
	if (option_given(o, OPTION_all) && option_given(o, OPTION_segment)) {
		say("'--all' is every segment, so '--segment' has no meaning beside it");
		return STATUS_USAGE;
	}
	done.features = option_given(o, OPTION_features);
	if (done.features && (option_given(o, OPTION_all) || option_given(o, OPTION_segment))) {
		say("'--features' finds the segments by itself: '--all' and '--segment' have no "
		    "meaning beside it");
		return STATUS_USAGE;
	}
	if ((option_given(o, OPTION_segment) &&
	     !read_number(o, OPTION_segment, "1", 1, INT64_MAX, &segment)) ||
	    !report_init(&r, o, "reindex"))
		return STATUS_USAGE;
	rc = session_open_existing(&s, &o->settings, SESSION_INDEXES, &err);
	if (rc == 0)
		rc = ask(s, &r, segment, &done, &err);
	session_close(s);
	progress_end(&r.view);
	if (r.as_json)
		report_print_json(&r, rc ? NULL : put_json, &done, &err);
	else if (rc)
		say("%s", err.msg);
	else
		print_line(&done, &r);
	report_release(&r);
	return rc ? STATUS_FAILED : STATUS_OK;
}
