/* The corpus: which segments are merged, and what happens while they are. */
#include "corpus_world.h"

#include "index/merge.h"

/* What happens at each merge. */
static _Atomic unsigned merges;
static _Atomic bool merge_is_refused;
static void (*while_merging)(void *arg); /* NULL: nothing */
static void *while_merging_arg;

int __real_segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			 const struct segment_merge *options, uint64_t *ret_bytes, struct err *err);
int __wrap_segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			 const struct segment_merge *options, uint64_t *ret_bytes, struct err *err);

int __wrap_segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			 const struct segment_merge *options, uint64_t *ret_bytes, struct err *err)
{
	merges++;
	if (merge_is_refused)
		return err_set(err, ERR_CORRUPT, "the test's merge");
	if (while_merging)
		while_merging(while_merging_arg);
	return __real_segment_merge(io, segs, n, path, options, ret_bytes, err);
}

/* Three that are going to be merged. */
static void build_three(struct corpus_world *v)
{
	static const char *const lists[] = { "1-1", "1-1 2-2" };

	for (unsigned i = 0; i < COUNT_OF(lists); i++) {
		upload(v, i + 1, NULL);
		let_wait(v);
		wait_list(v, lists[i]);
	}
	upload(v, 3, NULL);
	let_wait(v);
}

/* Its inputs are whole, so it would fail again: not before some time has passed. */
static void a_merge_that_is_refused_waits(void **state)
{
	struct corpus_world *v = *state;
	struct err err;

	log_set_sink(no_log, NULL);
	merges = 0;
	merge_is_refused = true;
	build_three(v);
	wait_list(v, "1-1 2-2 3-3");
	for (int ms = 0; corpus_failure(v->w->svc->corpus, &err) == 0; ms++) {
		assert_true(ms < 500);
		poll(NULL, 0, 1);
	}
	assert_string_equal(err.msg, "the test's merge");
	for (int i = 0; i < 20; i++) {
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	assert_int_equal(merges, 1);
	merge_is_refused = false;
	wait_list(v, "1-3");
	log_set_sink(NULL, NULL);
	check_files(v, 1, 3);
}

static void neighbours_become_one_without_what_was_removed(void **state)
{
	struct corpus_world *v = *state;
	struct corpus_snapshot *before, *after;
	struct err err;
	char hex[65];
	uint32_t doc;

	upload_some(v, 1, 7);
	upload(v, 8, hex);
	let_wait(v);
	wait_list(v, "1-8");
	before = corpus_snapshot_take(v->w->svc);
	CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, NULL, &err), &err);
	/* Seen at once, also by those who look already. */
	assert_true(segment_doc_find(before->segments[0]->seg, 8, &doc));
	assert_int_equal(atomic_load(&before->segments[0]->dead[0]), UINT64_C(1) << doc);
	upload(v, 9, NULL);
	let_wait(v);
	wait_list(v, "1-8 9-9");
	upload(v, 10, NULL);
	let_wait(v);
	wait_list(v, "1-10");
	after = corpus_snapshot_take(v->w->svc);
	assert_int_equal(segment_docs(after->segments[0]->seg), 9);
	assert_int_equal(after->segments[0]->row.level, 1);
	assert_int_equal(after->segments[0]->dead_count, 0);
	corpus_snapshot_free(after);
	corpus_snapshot_free(before);
	check_files(v, 1, 7);
	check_files(v, 9, 10);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM segment_deleted"), 0);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM segment"), 1);
	wait_files(v, 1);
	/* All of them removed: nothing is left to be indexed. */
	for (unsigned i = 1; i <= 10; i++) {
		struct sample s = sample_of(i);
		uint8_t sha256[SHA256_BYTES];

		sha256_of(s.p, s.n, sha256);
		free(s.p);
		hex_encode(sha256, sizeof sha256, hex);
		if (i != 8)
			CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, NULL, &err), &err);
	}
	wait_list(v, "");
	wait_files(v, 0);
}

static const struct merge_row {
	const char *name;
	const char *sizes; /* a letter each: 'a' is the smallest class, upper case: stale */
	const char *dead;  /* share of its files in tenths; "": none */
	size_t first, n;
	bool rests; /* nothing comes in */
} merge_rows[] = {
	{ "none", "", "", 0, 0, false },
	{ "too few", "aa", "", 0, 0, false },
	{ "as many as the fan-in", "aaa", "", 0, 3, false },
	{ "the first of more", "aaaaa", "", 0, 3, false },
	{ "behind larger ones", "bbaaa", "", 2, 3, false },
	{ "larger ones", "bbba", "", 0, 3, false },
	{ "small ones between are taken along", "babb", "", 0, 4, false },
	{ "small ones behind are not", "bbba", "", 0, 3, false },
	{ "small ones in front are not", "aabbb", "", 2, 3, false },
	{ "a larger one parts them", "aabaa", "", 0, 0, false },
	{ "one that is built anew parts them", "aaAaa", "", 0, 0, false },
	{ "small ones first", "cccaaa", "", 3, 3, false },
	{ "the largest allowed are full", "eee", "", 0, 0, false },
	{ "two fill half of it", "ddd", "", 0, 2, false },
	{ "a quarter is removed", "ca", "30", 0, 1, false },
	{ "less than that", "ca", "20", 0, 0, false },
	{ "many removed, but it is built anew", "Ca", "90", 0, 0, false },
	{ "at rest, two", "aa", "", 0, 2, true },
	{ "at rest, whatever their sizes are", "abab", "", 0, 4, true },
	{ "at rest, what makes the largest grow by a third", "ba", "", 0, 2, true },
	{ "at rest, too little for the largest", "ca", "", 0, 0, true },
	{ "at rest, the small ones beside it", "caa", "", 1, 2, true },
	{ "at rest, around what is built anew", "aaAaaa", "", 3, 3, true },
	{ "at rest, as many as the largest allowed holds", "ddd", "", 0, 2, true },
	{ "at rest, one too large for it", "eea", "", 0, 0, true },
	{ "at rest, a quarter is removed", "ca", "30", 0, 1, true },
	{ "at rest, one alone", "a", "", 0, 0, true },
};

static void which_neighbours_are_chosen(void **state)
{
	struct corpus_merge_limits limits = { FAN, 1000, 200, false };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(merge_rows); i++) {
		const struct merge_row *r = &merge_rows[i];
		struct segment_row rows[16] = { 0 };
		uint32_t dead[16] = { 0 };
		size_t n = strlen(r->sizes), first = 0, count;

		for (size_t k = 0; k < n; k++) {
			unsigned class = (unsigned)((r->sizes[k] | 32) - 'a');

			rows[k].sample_bytes = 1 << 20;
			for (unsigned times = 0; times < class; times++)
				rows[k].sample_bytes *= FAN;
			rows[k].is_stale = r->sizes[k] < 'a';
			rows[k].bytes = class < 3 ? 1 : class == 3 ? 70 : 150;
			rows[k].docs = 10;
			dead[k] = k < strlen(r->dead) ? (uint32_t)(r->dead[k] - '0') : 0;
		}
		limits.rests = r->rests;
		corpus_merge_choose(rows, dead, n, &limits, &first, &count);
		CHECK_ROW(r->name, count == r->n);
		CHECK_ROW(r->name, count == 0 || first == r->first);
	}
}

/* Two of one size are too few while files come in, and enough when none do. */
static void at_rest_fewer_are_enough(void **state)
{
	struct corpus_world *v = *state;

	for (unsigned i = 1; i <= 2; i++) {
		upload(v, i, NULL);
		let_wait(v);
		wait_list(v, i == 1 ? "1-1" : "1-1 2-2");
	}
	v->w->options.index.rest_seconds = AGE_S;
	reopen(v);
	wait_list(v, "1-2");
	check_files(v, 1, 2);
}

/* What `weir reindex` does before it waits. */
static int mark_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	uint64_t n;

	(void)req;
	return segment_rows_set_stale(conn, 0, &n, err);
}

static void mark_all(void *arg)
{
	struct corpus_world *v = arg;
	struct write_req req = { .apply = mark_apply, .lane = LANE_API };
	struct err err;

	CHECK_OK(writer_call(service_writer(v->w->svc), &req, &err), &err);
	while_merging = NULL;
}

/* Its result was made of what is to be built anew. */
static void a_mark_set_during_a_merge_is_kept(void **state)
{
	struct corpus_world *v = *state;

	while_merging_arg = v;
	while_merging = mark_all;
	build_three(v);
	for (int ms = 0; world_i64(v->w, "SELECT max(id) FROM segment") != 5; ms++) {
		if (ms == DEADLINE_MS / 4)
			fail_msg("segment 4 was merged, and not built anew");
		clock_fake_advance(&v->w->clock, 10 * 1000000);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	wait_list(v, "1-3");
	assert_int_equal(world_i64(v->w, "SELECT max(stale) FROM segment"), 0);
	check_files(v, 1, 3);
}

int main(int argc, char **argv)
{
	WORLD_SCAN_CHILD(argc, argv);
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_merge_that_is_refused_waits),
		TEST(at_rest_fewer_are_enough),
		TEST(neighbours_become_one_without_what_was_removed),
		TEST(a_mark_set_during_a_merge_is_kept),
#undef TEST
		cmocka_unit_test(which_neighbours_are_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
