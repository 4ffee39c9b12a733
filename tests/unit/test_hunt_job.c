#include "accounts_world.h"

#include <stdio.h>
#include <unistd.h>

#include "hunt.h"
#include "service/files.h"

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

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(what_clients_wait_for_can_be_claimed_alone),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
