/* Features of samples that have none yet: all get them, whatever stops it on the way. */
#include "corpus_world.h"
#include "service/reindex.h"

enum {
	FILES = 300 /* more than are examined together */
};

/* Somebody who watches, and stops it when the first samples are examined. */
struct watcher {
	struct task task;
	bool stops_early;
	char findings[2000];
};

static bool watcher_stops(void *arg)
{
	const struct watcher *w = arg;

	return w->stops_early && strcmp(w->task.step, "samples to be examined") == 0;
}

static void watcher_found(const char *check, const char *what, void *arg)
{
	struct watcher *w = arg;
	size_t n = strlen(w->findings);

	snprintf(w->findings + n, sizeof w->findings - n, "%s: %s\n", check, what);
}

static int features(struct corpus_world *v, struct watcher *w, struct reindex_result *ret,
		    struct err *err)
{
	const struct reindex_options options = { .features = true };

	w->findings[0] = 0;
	w->task = (struct task){ .stops = watcher_stops, .found = watcher_found, .arg = w };
	return service_reindex(v->w->svc, &options, &w->task, ret, err);
}

/* Documents whose features the index does not know. */
static unsigned unknown(struct corpus_world *v)
{
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	unsigned n = 0;

	for (size_t i = 0; i < s->count; i++) {
		for (uint32_t d = 0; d < segment_docs(s->segments[i]->seg); d++)
			n += segment_flags(s->segments[i]->seg)[d] & SEGMENT_DOC_NO_FEATURES;
	}
	corpus_snapshot_free(s);
	return n / SEGMENT_DOC_NO_FEATURES;
}

static void what_was_stopped_goes_on(void **state)
{
	struct corpus_world *v = *state;
	struct watcher w = { .stops_early = true };
	struct reindex_result r;
	struct err err;
	int64_t some;

	upload_some(v, 1, FILES);
	let_wait(v);
	wait_list(v, "1-300");
	assert_int_equal(unknown(v), FILES);
	assert_int_equal(features(v, &w, &r, &err), -ERR_CLOSED);
	some = world_i64(v->w, "SELECT count(*) FROM file_features");
	assert_in_range(some, 1, FILES - 1);
	assert_int_equal(unknown(v), FILES);
	w.stops_early = false;
	CHECK_OK(features(v, &w, &r, &err), &err);
	assert_int_equal(r.files, FILES - some);
	assert_int_equal(r.failed_files, 0);
	assert_int_equal(r.segments, 1);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM file_features WHERE version <> 99"),
			 FILES);
	assert_int_equal(unknown(v), 0);
	CHECK_OK(features(v, &w, &r, &err), &err);
	assert_int_equal(r.files, 0);
	assert_int_equal(r.segments, 0);
	/* Those of another version are none. */
	world_exec(v->w, "UPDATE file_features SET version = 99 WHERE file_id <= 10", NULL);
	CHECK_OK(features(v, &w, &r, &err), &err);
	assert_int_equal(r.files, 10);
	assert_string_equal(w.findings, "");
}

/* Stopped after the samples and before the segments. */
static void segments_that_know_less_are_found(void **state)
{
	struct corpus_world *v = *state;
	struct watcher w = { .stops_early = false };
	const int64_t version = SCAN_FEATURES_VERSION;
	struct reindex_result r;
	struct err err;

	v->w->options.index.docs_max = 4;
	reopen(v);
	upload_some(v, 1, 12);
	let_wait(v);
	wait_list(v, "1-4 5-8 9-12");
	world_exec(v->w,
		   "INSERT INTO file_features (file_id, version, features) "
		   "SELECT id, ?1, zeroblob(8) FROM file WHERE id BETWEEN 5 AND 8",
		   &version);
	world_exec(v->w, "UPDATE file SET size = 1000000000 WHERE id NOT BETWEEN 5 AND 8", NULL);
	CHECK_OK(features(v, &w, &r, &err), &err);
	assert_int_equal(r.files, 0); /* the others are too large to be examined */
	assert_int_equal(r.segments, 1);
	assert_int_equal(unknown(v), 8);
}

static void what_cannot_be_read_is_named_and_stays(void **state)
{
	struct corpus_world *v = *state;
	struct watcher w = { .stops_early = false };
	struct reindex_result r;
	struct err err;
	int64_t bad = 3;

	upload_some(v, 1, 5);
	let_wait(v);
	wait_list(v, "1-5");
	world_exec(v->w, "UPDATE file SET pack = 4711 WHERE id = ?1", &bad);
	CHECK_OK(features(v, &w, &r, &err), &err);
	assert_int_equal(r.files, 4);
	assert_int_equal(r.failed_files, 1);
	assert_int_equal(w.task.findings, 1);
	assert_non_null(strstr(w.findings, "features: file "));
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM file_features"), 4);
	assert_int_equal(unknown(v), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_stopped_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(segments_that_know_less_are_found, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_is_named_and_stays, set_up,
						tear_down),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
