#include "accounts_world.h"

#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"
#include "hunt.h"
#include "service/files.h"

enum {
	MANY_RULES = 20000,   /* with all their snippets they are more than a job may hold */
	MANY_RULESETS = 8000, /* with names of 200 bytes they are more than completing may hold */
};

static int setup(void **state)
{
	*state = world_new();
	world_open(*state);
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

/* A stored sample of zeros whose analysis is queued. */
static struct upload_outcome store(struct world *w, size_t n)
{
	const struct upload_options options = { .lane = LANE_BULK,
						.name = STR("zeros"),
						.corpus = STR("main"),
						.interface = "ingest",
						.bytes_max = n };
	struct upload_outcome outcome = { 0 };
	FILE *f = tmpfile();
	struct err err;

	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), (off_t)n), 0);
	CHECK_OK(upload_fd(w->svc, &options, fileno(f), &outcome, &err), &err);
	fclose(f);
	return outcome;
}

struct claim {
	struct write_req req;
	struct service *svc;
	struct claim_batch *batch;
	enum write_lane last_lane;
	size_t n;
};

static int claim_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct claim *c = (struct claim *)req;

	return analysis_claim(conn, 10, c->last_lane, str_of(c->svc->instance), 0, c->batch->arena,
			      &c->batch->rows, &c->n, err);
}

/* As hunting does it; the caller's reference. */
static struct claim_batch *claim(struct world *w, enum write_lane last_lane, size_t *ret_n)
{
	struct claim c = { .req = { .apply = claim_apply, .lane = LANE_API },
			   .svc = w->svc,
			   .last_lane = last_lane };
	struct err err;

	c.batch = mem_must_zalloc(sizeof *c.batch);
	c.batch->refs = 1;
	c.batch->arena = arena_new("test", 1 << 20);
	CHECK_OK(writer_call(service_writer(w->svc), &c.req, &err), &err);
	*ret_n = c.n;
	return c.batch;
}

static struct hunt_job *job_new(struct world *w, size_t bytes)
{
	struct claim_batch *batch;
	struct hunt_job *job;
	size_t n;

	store(w, bytes);
	batch = claim(w, LANE_BULK, &n);
	assert_int_equal(n, 1);
	job = hunt_job_new(w->svc, batch, 0);
	claim_batch_unref(batch);
	return job;
}

static bool has_snippet(const struct hunt_hit *hit)
{
	return memmem(hit->info.p, hit->info.n, "snippet", 7) != NULL;
}

static void a_file_that_many_rules_match_fits_into_memory(void **state)
{
	struct world *w = *state;
	struct hunt_job *job = job_new(w, 65536);
	const struct live_source source = { 7, 1 };
	struct str tags[] = { STR("one"), STR("two") };
	const struct scan_rule rule = { .name = STR("many"), .tags = tags, .tag_count = 2 };
	struct scan_match matches[LIMIT_SNIPPET_WINDOWS];
	const struct scan_hit hit = { .matches = matches, .match_count = COUNT_OF(matches) };
	const struct hunt_hit *last;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(matches); i++)
		matches[i] = (struct scan_match){ 4096 * i, 1000 };
	for (size_t i = 0; i < MANY_RULES; i++)
		CHECK_OK(hunt_job_add_hit(job, &source, &rule, &hit, &err), &err);
	assert_int_equal(job->hit_count, MANY_RULES);
	assert_true(has_snippet(&job->hits[0]));
	assert_int_equal(job->hits[0].rule_tag_count, 2);
	last = &job->hits[MANY_RULES - 1];
	assert_true(str_eq_z(last->rule, "many"));
	assert_false(has_snippet(last));
	assert_int_equal(last->rule_tag_count, 0);
	while (!job->hits_cut)
		CHECK_OK(hunt_job_add_hit(job, &source, &rule, &hit, &err), &err);
	assert_int_equal(job->hit_count, LIMIT_HITS_PER_FILE);
	hunt_job_free(job);
}

static int nothing_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	(void)conn;
	(void)req;
	(void)err;
	return 0;
}

static void a_file_that_many_rulesets_match_completes(void **state)
{
	struct world *w = *state;
	struct write_req behind = { .apply = nothing_apply, .lane = LANE_BULK };
	struct hunt_job *job = job_new(w, 100);
	const struct scan_rule rule = { .name = STR("r") };
	const struct scan_hit hit = { .match_count = 0 };
	int64_t many = MANY_RULESETS, told = 0;
	unsigned steps = 0;
	char key[USER_KEY_CHARS + 1];
	struct err err;

	CHECK_OK(user_add(w->svc, STR("ann"), ROLE_HUNTER, STR(""), NULL, key, &err), &err);
	world_exec(w,
		   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
		   "INSERT INTO ruleset (id, owner_id, name, rules, generation, enabled, "
		   "limit_day, created_s, modified_s) SELECT i, (SELECT id FROM user), "
		   "printf('%0200d', i), '', 0, 1, 10, 0, 0 FROM n",
		   &many);
	for (int64_t i = 1; i <= many; i++) {
		const struct live_source source = { i, 1 };

		CHECK_OK(hunt_job_add_hit(job, &source, &rule, &hit, &err), &err);
	}
	hunt_job_complete(job);
	/* In steps, between which others have their turn; what is completed is whole. */
	while (told != -many) {
		CHECK_OK(writer_call(service_writer(w->svc), &behind, &err), &err);
		told = world_i64(w, "SELECT (SELECT count(*) FROM sighting) * (3 - 2 * state) "
				    "FROM analysis");
		assert_true(told == -many || (told > 0 && told < many));
		steps++;
	}
	assert_in_range(steps, 2, MANY_RULESETS / HUNT_STEP_HITS + 2);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM sighting"), many);
}

static void what_clients_wait_for_can_be_claimed_alone(void **state)
{
	struct world *w = *state;
	struct claim_batch *batch;
	size_t n;

	store(w, 10);
	store(w, 11);
	world_exec(w, "UPDATE analysis SET lane = 0 WHERE id = 2", NULL);
	batch = claim(w, LANE_API, &n);
	assert_int_equal(n, 1);
	assert_int_equal(batch->rows[0].file.size, 11);
	claim_batch_unref(batch);
	batch = claim(w, LANE_BULK, &n);
	assert_int_equal(n, 1);
	assert_int_equal(batch->rows[0].file.size, 10);
	claim_batch_unref(batch);
}

static void an_erasure_that_fails_keeps_nobody_from_starting(void **state)
{
	struct world *w = *state;

	store(w, 10);
	world_exec(w, "INSERT INTO erase (pack, pack_offset, len) VALUES (77, 4096, 5)", NULL);
	/* As after a crash between a removal and its erasure. */
	world_exec(w,
		   "INSERT INTO erase (pack, pack_offset, len) SELECT pack, pack_offset, size "
		   "FROM file",
		   NULL);
	service_close(w->svc);
	world_open(w);
	assert_int_equal(world_i64(w, "SELECT pack FROM erase"), 77);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(a_file_that_many_rules_match_fits_into_memory),
		WITH_FIXTURE(a_file_that_many_rulesets_match_completes),
		WITH_FIXTURE(what_clients_wait_for_can_be_claimed_alone),
		WITH_FIXTURE(an_erasure_that_fails_keeps_nobody_from_starting),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
