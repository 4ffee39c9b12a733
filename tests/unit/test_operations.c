#include "rulesets_world.h"

#include <sched.h>

/* Deleting all rulesets, and rulesets that switch themselves off. */

static struct operation find(struct fixture *f, int64_t user, const char *id)
{
	struct operation op = { 0 };
	struct err err;

	CHECK_OK(operation_find(f->w->svc, user, str_of(id), &op, &err), &err);
	return op;
}

static void wait_finished(struct fixture *f, int64_t user, const char *id)
{
	while (strcmp(find(f, user, id).status, "running") == 0)
		sched_yield();
	assert_string_equal(find(f, user, id).status, "finished");
}

static void all_rulesets_go_and_later_ones_stay(void **state)
{
	enum {
		MANY = 50
	};
	struct fixture *f = *state;
	struct operation op, again;
	struct ruleset later, bobs, got;
	struct outcome o;
	struct err err;

	for (unsigned i = 0; i < MANY; i++)
		make(f, "r", RULE_A, i % 2);
	CHECK_OK(create(f, f->bob, minimal("b", RULE_A), &o), &o.err);
	bobs = o.r;
	CHECK_OK(ruleset_delete_all(f->w->svc, f->ann, NULL, &op, &err), &err);
	assert_int_equal(strlen(op.id), 32);
	later = make(f, "later", RULE_B, true);
	wait_finished(f, f->ann, op.id);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM ruleset WHERE deleted = 0"), 2);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, later.id, f->arena, &got, &err), &err);
	CHECK_OK(ruleset_get(f->w->svc, f->bob, bobs.id, f->arena, &got, &err), &err);
	/* Hunting saw those that were enabled go, one by one. */
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM generation WHERE change = 'delete'"),
			 MANY / 2);
	/* Nothing but the operation is left of it, and nobody else may look at it. */
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM operation_target"), 0);
	assert_int_equal(operation_find(f->w->svc, f->bob, str_of(op.id), &again, &err),
			 -ERR_NOT_FOUND);
	assert_int_equal(operation_find(f->w->svc, f->ann, STR("x"), &again, &err), -ERR_NOT_FOUND);
}

static void with_nothing_to_do_it_is_over(void **state)
{
	struct fixture *f = *state;
	struct operation op;
	struct err err;

	CHECK_OK(ruleset_delete_all(f->w->svc, f->ann, NULL, &op, &err), &err);
	assert_string_equal(op.status, "finished");
}

/* As a crash leaves it: begun, some of it done. */
static void the_next_start_goes_on(void **state)
{
	struct fixture *f = *state;
	struct operation again;
	struct err err;

	for (unsigned i = 0; i < 30; i++)
		make(f, "r", RULE_A, true);
	service_close(f->w->svc);
	{
		struct sql_options options = { .unsafe_no_sync = true };
		char path[600];
		struct sql_conn *conn;
		struct sql_db *db;

		snprintf(path, sizeof path, "%s/weir.db", f->w->dir);
		options.path = path;
		CHECK_OK(sql_open(&db, &options, &err), &err);
		CHECK_OK(sql_connect(&conn, db, SQL_WRITE, &err), &err);
		CHECK_OK(sql_exec(conn,
				  "INSERT INTO operation (name, user_id, kind, status, created_s) "
				  "VALUES ('00ff', ?1, 'delete_hunting_rulesets', 'running', 0)",
				  &err, SQL_I64(f->ann)),
			 &err);
		CHECK_OK(sql_exec(conn,
				  "INSERT INTO operation_target (operation_id, target_id) SELECT "
				  "o.id, r.id FROM operation o, ruleset r",
				  &err),
			 &err);
		sql_disconnect(conn);
		sql_close(db);
	}
	world_open(f->w);
	/* Another cannot begin while it runs; whether it still does is a race. */
	{
		int rc = ruleset_delete_all(f->w->svc, f->ann, NULL, &again, &err);

		assert_true(rc == 0 || rc == -ERR_BUSY);
	}
	wait_finished(f, f->ann, "00ff");
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM ruleset WHERE deleted = 0"), 0);
}

static void only_one_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct operation op;
	struct err err;

	world_exec(f->w,
		   "INSERT INTO operation (name, user_id, kind, status, created_s) VALUES "
		   "('01', (SELECT id FROM user WHERE name = 'ann'), 'delete_hunting_rulesets', "
		   "'running', 0)",
		   NULL);
	world_exec(f->w,
		   "INSERT INTO operation_target (operation_id, target_id) SELECT id, -1 FROM "
		   "operation",
		   NULL);
	/* Either it is found running, or the background was quicker. */
	{
		int rc = ruleset_delete_all(f->w->svc, f->ann, NULL, &op, &err);

		assert_true(rc == -ERR_BUSY || strcmp(op.status, "finished") == 0);
	}
	wait_finished(f, f->ann, "01");
}

/* ---- Rulesets that switch themselves off ---- */

static void a_ruleset_switches_itself_off_once(void **state)
{
	struct fixture *f = *state;
	struct ruleset_change change = { .set = RULESET_DISABLE, .disable_s = WORLD_START_S + 100 };
	struct ruleset r = make(f, "r", RULE_A, true), off = make(f, "off", RULE_A, false), got;
	struct outcome o;
	struct err err;

	CHECK_OK(update(f, f->ann, r.id, change, &o), &o.err);
	assert_int_equal(o.r.disable_s, WORLD_START_S + 100);
	assert_int_equal(o.r.generation, r.generation);
	CHECK_OK(update(f, f->ann, off.id, change, &o), &o.err);
	clock_fake_advance(&f->w->clock, 99 * 1000000);
	rulesets_tick(f->w->svc);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err), &err);
	assert_true(got.enabled);
	clock_fake_advance(&f->w->clock, 1000000);
	rulesets_tick(f->w->svc);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err), &err);
	assert_false(got.enabled);
	assert_int_equal(got.disable_s, 0);
	assert_int_equal(got.modified_s, WORLD_START_S + 100);
	CHECK_OK(update(f, f->ann, r.id, enable(true), &o), &o.err);
	clock_fake_advance(&f->w->clock, 1000 * 1000000);
	rulesets_tick(f->w->svc);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err), &err);
	assert_true(got.enabled);
	/* The one that was off anyway was no change for hunting. */
	CHECK_ROW_STR("the log", rows(f, GENERATIONS),
		      STR("1 create 1\n2 disable 1\n3 enable 1\n"));
}

static void the_time_can_be_taken_back(void **state)
{
	struct fixture *f = *state;
	struct ruleset_change change = { .set = RULESET_DISABLE, .disable_s = WORLD_START_S + 5 };
	struct ruleset r = make(f, "r", RULE_A, true), got;
	struct outcome o;
	struct err err;

	CHECK_OK(update(f, f->ann, r.id, change, &o), &o.err);
	change.disable_s = 0;
	CHECK_OK(update(f, f->ann, r.id, change, &o), &o.err);
	assert_int_equal(o.r.disable_s, 0);
	clock_fake_advance(&f->w->clock, 1000 * 1000000);
	rulesets_tick(f->w->svc);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err), &err);
	assert_true(got.enabled);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(all_rulesets_go_and_later_ones_stay),
		WITH_FIXTURE(with_nothing_to_do_it_is_over),
		WITH_FIXTURE(the_next_start_goes_on),
		WITH_FIXTURE(only_one_at_a_time),
		WITH_FIXTURE(a_ruleset_switches_itself_off_once),
		WITH_FIXTURE(the_time_can_be_taken_back),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
