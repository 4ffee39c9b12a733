#include "retrohunt_world.h"

#include <fcntl.h>

#include "service/usage.h"
#include "service/verify.h"

static void check_verifies(struct fixture *f)
{
	const struct verify_options plain = { .reclaim = false };
	struct task task = { .findings = 0 };
	struct verify_result r;
	struct err err;

	service_drain(f->w->svc);
	CHECK_OK(service_verify(f->w->svc, &plain, &task, &r, &err), &err);
	assert_int_equal(task.findings, 0);
}

/* ---- Tests ---- */

static void a_job_finds_all_and_counts_exactly(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;

	put_many(f, "needle", FILES);
	put_many(f, "haystack", FILES);
	clock_fake_advance(&f->w->clock, INT64_C(10) * 1000000);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	assert_int_equal(job.status, RETROHUNT_FINISHED);
	assert_true(job.complete && job.progress == 100 && job.eta_s == -1);
	assert_int_equal(job.num_matches, FILES);
	assert_int_equal(job.num_files, FILES);
	assert_int_equal(job.files, 2 * FILES);
	assert_int_equal(job.files_done, job.files);
	assert_int_equal(job.bytes_done, job.bytes);
	assert_int_equal(job.verified_files, job.files);
	assert_int_equal(job.verified_bytes, job.bytes);
	assert_int_equal(job.created_s, WORLD_START_S + 10);
	assert_int_equal(job.started_s, WORLD_START_S + 10);
	assert_int_equal(job.finished_s, WORLD_START_S + 10);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting WHERE source_kind = 2"),
			 FILES);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM retrohunt_task"), 0);
	check_verifies(f);
}

/* However many there are, at the second that it is. */
static void names_of_one_second_differ(void **state)
{
	static const struct {
		const char *name;
		unsigned more; /* jobs of before, by their numbers */
		const char *want;
	} rows[] = {
		{ "the first", 0, "ann_b-1764000000" },
		{ "the second", 0, "ann_b_2-1764000000" },
		{ "the third", 0, "ann_b_3-1764000000" },
		{ "after many", 3000, "ann_b_3001-1764000000" },
		{ "one more", 0, "ann_b_3002-1764000000" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct retrohunt_job job;
		int64_t more = rows[i].more;

		if (more)
			world_exec(
				f->w,
				"WITH RECURSIVE n (i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n "
				"WHERE i < ?1) INSERT INTO retrohunt_job (name, owner_id, rules, "
				"rule_count, corpus, emails, status, created_s, last_id, "
				"live_from, files, bytes, deleted) SELECT 'ann_b_' || i || "
				"'-1764000000', 1, '', 1, 'main', '[]', 'finished', 1, 1, 1, 0, "
				"0, 2 FROM n",
				&more);
		job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
		CHECK_ROW_STR(rows[i].name, str_of(job.name), str_of(rows[i].want));
		assert_int_equal(job.created_s, WORLD_START_S);
	}
}

static void what_a_dead_process_had_claimed_is_done(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;
	struct outcome o;

	reopen(f, 0); /* nobody works at it */
	put_many(f, "needle", FILES);
	CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &o), &o.err);
	assert_int_equal(look(f, o.name).status, RETROHUNT_STARTING);
	world_exec(f->w, "UPDATE retrohunt_task SET lease_owner = 'x', lease_until_s = 1", NULL);
	world_exec(f->w, "UPDATE retrohunt_job SET status = 'running', started_s = 1", NULL);
	reopen(f, 1);
	retrohunt_drain(f->w->svc);
	job = look(f, o.name);
	assert_int_equal(job.status, RETROHUNT_FINISHED);
	assert_int_equal(job.num_matches, FILES);
	assert_int_equal(job.started_s, 1);
}

/* As a crash leaves it that comes between the matches' commits and the task's. */
static void what_was_told_is_not_told_again(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;

	put_many(f, "needle", FILES);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	service_drain(f->w->svc);
	reopen(f, 0);
	world_exec(
		f->w,
		"UPDATE retrohunt_job SET status = 'running', finished_s = NULL, files_done = 0, "
		"bytes_done = 0, verified_files = 0, verified_bytes = 0",
		NULL);
	world_exec(f->w,
		   "INSERT INTO retrohunt_task (job_id, number, first_id, last_id) "
		   "SELECT id, 1, 1, last_id FROM retrohunt_job",
		   NULL);
	reopen(f, 1);
	retrohunt_drain(f->w->svc);
	job = look(f, job.name);
	assert_int_equal(job.status, RETROHUNT_FINISHED);
	assert_int_equal(job.num_matches, FILES);
	assert_int_equal(job.files_done, FILES);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), FILES);
	check_verifies(f);
}

static void the_limit_of_matches_is_exact(void **state)
{
	static const struct {
		const char *name;
		uint64_t limit;
		bool complete;
	} rows[] = { { "as many as there are", FILES, true },
		     { "one fewer", FILES - 1, false },
		     { "one", 1, false } };
	struct fixture *f = *state;

	put_many(f, "needle", FILES);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct retrohunt_job job;

		f->w->options.retrohunt_matches_max = rows[i].limit;
		reopen(f, 1);
		job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
		if (job.num_matches != (int64_t)rows[i].limit || job.complete != rows[i].complete ||
		    strcmp(job.reason, rows[i].complete ? "" : "match_limit") != 0)
			fail_msg("%s: %lld matches, '%s'", rows[i].name, (long long)job.num_matches,
				 job.reason);
		assert_int_equal(job.status, RETROHUNT_FINISHED);
	}
	check_verifies(f);
}

static void a_deleted_job_leaves_its_name_and_its_notifications(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;
	struct err err;

	put_many(f, "needle", FILES);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	CHECK_OK(retrohunt_delete(f->w->svc, f->ann.id, str_of(job.name), NULL, &err), &err);
	assert_int_equal(
		retrohunt_get(f->w->svc, f->ann.id, str_of(job.name), f->arena, &job, &err),
		-ERR_NOT_FOUND);
	while (world_i64(f->w, "SELECT deleted FROM retrohunt_job") != 2)
		sched_yield();
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM retrohunt_match"), 0);
	assert_int_equal(world_i64(f->w, "SELECT length(rules) FROM retrohunt_job"), 0);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), FILES);
	/* The same second again: another name. */
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	assert_int_equal(world_i64(f->w, "SELECT count(DISTINCT name) FROM retrohunt_job"), 2);
	check_verifies(f);
}

static void time_range_is_of_the_last_submission(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_new ask = { .rules = STR(RULE("needle")) };

	put_many(f, "needle old", FILES);
	clock_fake_advance(&f->w->clock, INT64_C(1000) * 1000000);
	put_many(f, "needle new", FILES);
	put(f, "needle old", 0); /* sent again: its last submission is now */
	ask.start_s = WORLD_START_S + 1000;
	assert_int_equal(run(f, ask).num_matches, FILES + 1);
	ask.start_s = 0;
	ask.end_s = WORLD_START_S;
	assert_int_equal(run(f, ask).num_matches, FILES - 1);
	ask.start_s = WORLD_START_S + 1;
	ask.end_s = WORLD_START_S + 999;
	assert_int_equal(run(f, ask).num_matches, 0);
}

/* The file of id `child` came out of all those with ids in [first, last]. */
static void pack(struct fixture *f, int64_t child, int64_t first, int64_t last)
{
	char text[256];

	service_drain(f->w->svc);
	snprintf(text, sizeof text,
		 "INSERT INTO bundle (parent_id, child_id, name, first_s) SELECT id, %lld, 'a', 0 "
		 "FROM file WHERE id BETWEEN %lld AND %lld",
		 (long long)child, (long long)first, (long long)last);
	world_exec(f->w, text, NULL);
}

/* A container in time is told what is in it, whenever that was sent itself. */
static void time_range_is_of_the_containers_too(void **state)
{
	static const char *const rules[] = {
		RULE("needle"),
		"import \"vt\" rule found { strings: $a = \"needle\" condition: $a and "
		"vt.metadata.file_size > 1 }"
	};
	struct fixture *f = *state;
	struct retrohunt_new ask = { .rules = STR("") };

	put(f, "needle", 1); /* 1: old, inside 4, which is new */
	put(f, "box", 4);    /* 2: old, around 3, which is new */
	clock_fake_advance(&f->w->clock, INT64_C(1000) * 1000000);
	put(f, "needle", 3);
	put(f, "box", 2);
	pack(f, 1, 4, 4);
	pack(f, 3, 2, 2);
	for (size_t i = 0; i < COUNT_OF(rules); i++) {
		struct retrohunt_job job;

		ask.rules = str_of(rules[i]);
		ask.start_s = WORLD_START_S + 1000;
		ask.end_s = 0;
		job = run(f, ask);
		assert_int_equal(job.num_matches, 2); /* 3 and 4 */
		ask.start_s = 0;
		ask.end_s = WORLD_START_S;
		job = run(f, ask);
		assert_int_equal(job.num_matches, 2); /* 1 and 2 */
		assert_int_equal(job.files_done, 4);
	}
	check_verifies(f);
}

static void containers_of_another_corpus_are_not_told(void **state)
{
	struct fixture *f = *state;

	put(f, "needle", 1);
	put(f, "box", 1);
	put(f, "box", 2);
	pack(f, 1, 2, 3);
	world_exec(f->w, "UPDATE file SET corpus = 'goodware' WHERE id = 2", NULL);
	assert_int_equal(run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) }).num_matches,
			 2);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM retrohunt_match WHERE file_id = 2"),
			 0);
}

/* A match is told on every container, and all that is told is within its bound. */
static void many_containers_are_all_told(void **state)
{
	enum {
		BOXES = 600
	};
	struct fixture *f = *state;
	struct retrohunt_job job;

	put(f, "needle", 1);
	put_many(f, "box", BOXES);
	pack(f, 1, 2, BOXES + 1);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	assert_true(job.complete);
	assert_int_equal(job.num_matches, BOXES + 1);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), BOXES + 1);
}

/* Bytes that are not there any more are named, and everything else is found. */
static void a_truncated_pack_is_no_silent_miss(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_skip *skips;
	struct retrohunt_job job;
	struct err err;
	char path[600];
	int64_t cut;
	size_t n;

	put_many(f, "needle", FILES);
	service_drain(f->w->svc);
	cut = world_i64(f->w, "SELECT max(pack_offset) FROM file");
	snprintf(path, sizeof path, "%s/packs/%010lld.pack", f->w->dir,
		 (long long)world_i64(f->w, "SELECT max(pack) FROM file"));
	assert_int_equal(truncate(path, cut), 0);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	assert_int_equal(job.num_matches, FILES - 1);
	assert_false(job.complete);
	assert_string_equal(job.reason, "skipped_files");
	CHECK_OK(retrohunt_skipped(f->w->svc, job.id, 10, f->arena, &skips, &n, &err), &err);
	assert_int_equal(n, 1);
	assert_true(skips[0].reason.n > 0);
}

/* Among many that are too large, and where the job ends early. */
static void what_could_not_be_read_is_named_first(void **state)
{
	enum {
		LARGE = 1001
	}; /* more than a task keeps */
	struct fixture *f = *state;
	struct retrohunt_skip *skips;
	struct retrohunt_job job;
	struct err err;
	char path[600];
	int64_t cut;
	size_t n;

	f->w->options.hunt_bytes_max = 16;
	f->w->options.retrohunt_matches_max = FILES;
	reopen(f, 1);
	put_many(f, "much too large, all of it", LARGE);
	put_many(f, "needle", FILES + 1);
	service_drain(f->w->svc);
	cut = world_i64(f->w, "SELECT max(pack_offset) FROM file");
	snprintf(path, sizeof path, "%s/packs/%010lld.pack", f->w->dir,
		 (long long)world_i64(f->w, "SELECT max(pack) FROM file"));
	assert_int_equal(truncate(path, cut), 0);
	for (int full = 0; full < 2; full++) {
		job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
		assert_string_equal(job.reason, full ? "match_limit" : "skipped_files");
		assert_false(job.complete);
		assert_int_equal(job.num_skipped, LARGE + 1);
		CHECK_OK(retrohunt_skipped(f->w->svc, job.id, 100, f->arena, &skips, &n, &err),
			 &err);
		assert_int_equal(n, 100);
		assert_null(memmem(skips[0].reason.p, skips[0].reason.n, "above", 5));
		assert_non_null(memmem(skips[1].reason.p, skips[1].reason.n, "above", 5));
		f->w->options.retrohunt_matches_max = 2;
		reopen(f, 1);
	}
}

/* What the owner is told of it names no pack. */
static void a_pack_that_is_gone_is_said_in_plain_words(void **state)
{
	static const char *const rows[] = {
		RULE("needle"),
		"import \"vt\" rule found { condition: vt.metadata.file_size > 0 }",
	};
	struct fixture *f = *state;
	struct err err;
	char path[600];
	size_t n;

	put_many(f, "needle", FILES);
	snprintf(path, sizeof path, "%s/packs/%010lld.pack", f->w->dir,
		 (long long)world_i64(f->w, "SELECT max(pack) FROM file"));
	service_drain(f->w->svc);
	service_close(f->w->svc);
	assert_int_equal(unlink(path), 0);
	world_open(f->w);
	CHECK_OK(user_authenticate(f->w->svc, str_of(f->key), &f->ann, &err), &err);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct retrohunt_job job =
			run(f, (struct retrohunt_new){ .rules = str_of(rows[i]) });
		struct retrohunt_skip *skips;

		assert_string_equal(job.reason, "skipped_files");
		CHECK_OK(retrohunt_skipped(f->w->svc, job.id, FILES, f->arena, &skips, &n, &err),
			 &err);
		assert_int_equal(n, FILES);
		for (size_t k = 0; k < n; k++)
			assert_true(str_eq(skips[k].reason, STR("its bytes could not be read")));
	}
}

/* What had arrived by the snapshot is the job's, though it is analysed later. */
static void what_waits_at_the_snapshot_is_told_by_the_job_alone(void **state)
{
	struct fixture *f = *state;
	struct outcome o;

	reopen(f, 0);
	put_many(f, "needle", FILES);
	CHECK_OK(create(f,
			&(struct retrohunt_new){ .rules = STR(RULE("needle")),
						 .keep_watching = true },
			&o),
		 &o.err);
	assert_true(o.ruleset_id != 0);
	put_many(f, "needle later", FILES);
	reopen(f, 1);
	service_drain(f->w->svc);
	retrohunt_drain(f->w->svc);
	assert_int_equal(look(f, o.name).num_matches, FILES);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting WHERE source_kind = 2"),
			 FILES);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting WHERE source_kind = 1"),
			 FILES);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM (SELECT 1 FROM sighting "
					 "GROUP BY entity_id, rule HAVING count(*) > 1)"),
			 0);
}

static void an_abort_with_nobody_at_work_ends_the_job(void **state)
{
	struct fixture *f = *state;
	struct outcome o;
	struct err err;

	reopen(f, 0);
	CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &o), &o.err);
	CHECK_OK(retrohunt_abort(f->w->svc, f->ann.id, str_of(o.name), NULL, &err), &err);
	assert_int_equal(look(f, o.name).status, RETROHUNT_ABORTED);
	CHECK_OK(retrohunt_abort(f->w->svc, f->ann.id, str_of(o.name), NULL, &err), &err);
	assert_string_equal(look(f, o.name).reason, "aborted");
}

static int64_t jobs_used(struct fixture *f)
{
	int64_t used[QUOTA_COUNT];
	struct err err;

	CHECK_OK(usage_now(f->w->svc, &f->ann, used, &err), &err);
	return used[QUOTA_RETROHUNT_JOBS_MONTH];
}

/* What nobody waits for is neither made nor counted. */
static void a_job_is_taken_back(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_wish wish;
	struct retrohunt_new ask = { .rules = STR(RULE("needle")), .wish = &wish };
	struct outcome o;

	retrohunt_wish_init(&wish);
	retrohunt_wish_end(&wish);
	assert_int_equal(create(f, &ask, &o), -ERR_CLOSED);
	retrohunt_wish_release(&wish);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM retrohunt_job"), 0);
	assert_int_equal(jobs_used(f), 0);
	retrohunt_wish_init(&wish);
	CHECK_OK(create(f, &ask, &o), &o.err);
	retrohunt_wish_release(&wish);
	assert_int_equal(jobs_used(f), 1);
}

static void a_job_counts_without_a_key(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_new ask = { .rules = STR(RULE("needle")) };
	const struct user_quota_change two = { .quota = QUOTA_RETROHUNT_JOBS_MONTH, .allowed = 2 };
	struct outcome o;
	struct err err;

	CHECK_OK(user_set_quotas(f->w->svc, STR("ann.b"), &two, 1, NULL, &err), &err);
	CHECK_OK(user_get(f->w->svc, STR("ann.b"), &f->ann, &err), &err);
	assert_null(f->ann.account);
	for (unsigned i = 0; i < 2; i++)
		CHECK_OK(create(f, &ask, &o), &o.err);
	assert_int_equal(create(f, &ask, &o), -ERR_QUOTA);
	assert_string_equal(o.err.msg, "Quota exceeded");
	assert_int_equal(jobs_used(f), 2);
}

struct inside_req {
	struct write_req req; /* first */
	int64_t job_id;
	bool inside_first;
};

/* One file, matched itself and through what is inside it, in either order. */
static int inside_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct inside_req *r = (const struct inside_req *)req;
	static const uint8_t sha256[SHA256_BYTES] = { 1 };
	struct retrohunt_match_row match = { .job_id = r->job_id,
					     .file_id = 1,
					     .sha256 = sha256,
					     .rule = STR("found"),
					     .is_inside = r->inside_first };
	bool is_new, full;

	TRY(retrohunt_match_add(conn, &match, 10, &is_new, &full, err));
	match.is_inside = !match.is_inside;
	TRY(retrohunt_match_add(conn, &match, 10, &is_new, &full, err));
	return is_new ? err_set(err, ERR_CORRUPT, "it is told twice") : 0;
}

static void a_file_that_matches_itself_is_told_as_such(void **state)
{
	struct fixture *f = *state;

	reopen(f, 0);
	put(f, "needle", 1);
	for (unsigned inside_first = 0; inside_first < 2; inside_first++) {
		struct inside_req r = { .req = { .apply = inside_apply, .lane = LANE_API },
					.inside_first = inside_first };
		struct outcome o;
		struct err err;

		CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &o),
			 &o.err);
		r.job_id = look(f, o.name).id;
		CHECK_OK(writer_call(service_writer(f->w->svc), &r.req, &err), &err);
	}
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM retrohunt_match"), 2);
	assert_int_equal(world_i64(f->w, "SELECT sum(is_inside) FROM retrohunt_match"), 0);
	assert_int_equal(world_i64(f->w, "SELECT sum(matches) FROM retrohunt_job"), 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_job_finds_all_and_counts_exactly, setup,
						teardown),
		cmocka_unit_test_setup_teardown(names_of_one_second_differ, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_dead_process_had_claimed_is_done, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_was_told_is_not_told_again, setup, teardown),
		cmocka_unit_test_setup_teardown(the_limit_of_matches_is_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(a_deleted_job_leaves_its_name_and_its_notifications,
						setup, teardown),
		cmocka_unit_test_setup_teardown(time_range_is_of_the_last_submission, setup,
						teardown),
		cmocka_unit_test_setup_teardown(time_range_is_of_the_containers_too, setup,
						teardown),
		cmocka_unit_test_setup_teardown(containers_of_another_corpus_are_not_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(many_containers_are_all_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_truncated_pack_is_no_silent_miss, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_could_not_be_read_is_named_first, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_pack_that_is_gone_is_said_in_plain_words, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_waits_at_the_snapshot_is_told_by_the_job_alone,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_job_is_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_job_counts_without_a_key, setup, teardown),
		cmocka_unit_test_setup_teardown(an_abort_with_nobody_at_work_ends_the_job, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_file_that_matches_itself_is_told_as_such, setup,
						teardown),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
