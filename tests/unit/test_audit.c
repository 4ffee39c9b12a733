#include "accounts_world.h"

#include <stdio.h>

#include "service/audit.h"
#include "service_internal.h"

static const struct audit_by here = { .address = "192.0.2.7", .request_id = "00112233aabbccdd" };

static int note(struct world *w, unsigned number)
{
	char id[24];
	struct err err;

	snprintf(id, sizeof id, "%u", number);
	return audit_note(w->svc, &here, AUDIT_FILE_DOWNLOAD, str_of(id), STR("{\"a\":1}"), &err);
}

/* Ids of objects, in order, each with a blank. */
static bool collect(const struct audit_row *row, void *arg)
{
	struct buf *out = arg;

	buf_add_str(out, row->object_id);
	buf_add_c(out, ' ');
	return out->n < 100;
}

static struct str search(struct world *w, struct audit_search s, struct buf *out)
{
	struct err err;

	if (s.filter.since_s == 0)
		s.filter.since_s = INT64_MIN;
	if (s.filter.until_s == 0)
		s.filter.until_s = INT64_MAX;
	buf_reset(out);
	CHECK_OK(audit_each(w->svc, &s, collect, out, &err), &err);
	return buf_str(out);
}

static void names_and_groups(void **state)
{
	(void)state;
	for (unsigned i = 0; i < AUDIT_ACTIONS; i++)
		assert_true(audit_action_is_known(str_of(audit_action_name((enum audit_action)i))));
	assert_true(audit_action_is_known(STR("file.")));
	assert_true(audit_action_is_known(STR("user.")));
	assert_false(audit_action_is_known(STR("file")));
	assert_false(audit_action_is_known(STR("fil.")));
	assert_false(audit_action_is_known(STR(".")));
	assert_false(audit_action_is_known(STR("")));
}

static void notes_come_in_order(void **state)
{
	struct world *w = *state;
	struct buf out = BUF_INIT(4096);

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(note(w, i), 0);
	CHECK_ROW_STR("noted before the look", search(w, (struct audit_search){ .limit = 0 }, &out),
		      STR("0 1 2 3 4 5 6 7 8 9 "));
	CHECK_ROW_STR(
		"as written",
		world_rows(w,
			   "SELECT action || '|' || object_type || '|' || address || '|' || "
			   "request_id || '|' || detail || '|' || date_s FROM audit WHERE id = 1",
			   &out),
		STR("file.download|file|192.0.2.7|00112233aabbccdd|{\"a\":1}|1764000000\n"));
	buf_release(&out);
}

static void the_newest_and_the_next(void **state)
{
	struct world *w = *state;
	struct buf out = BUF_INIT(4096);

	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(note(w, i), 0);
		clock_fake_advance(&w->clock, 1000000);
	}
	CHECK_ROW_STR("the newest three", search(w, (struct audit_search){ .limit = 3 }, &out),
		      STR("7 8 9 "));
	CHECK_ROW_STR("more than there are", search(w, (struct audit_search){ .limit = 30 }, &out),
		      STR("0 1 2 3 4 5 6 7 8 9 "));
	CHECK_ROW_STR("the next two",
		      search(w, (struct audit_search){ .limit = 2, .after_id = 4 }, &out),
		      STR("4 5 "));
	CHECK_ROW_STR("from a second on",
		      search(w, (struct audit_search){ .filter = { .since_s = WORLD_START_S + 8 } },
			     &out),
		      STR("8 9 "));
	CHECK_ROW_STR("before a second",
		      search(w, (struct audit_search){ .filter = { .until_s = WORLD_START_S + 2 } },
			     &out),
		      STR("0 1 "));
	CHECK_ROW_STR("the newest two before",
		      search(w,
			     (struct audit_search){ .filter = { .until_s = WORLD_START_S + 5 },
						    .limit = 2 },
			     &out),
		      STR("3 4 "));
	CHECK_ROW_STR("one object",
		      search(w, (struct audit_search){ .filter = { .object = STR("6") } }, &out),
		      STR("6 "));
	buf_release(&out);
}

static void more_than_a_page(void **state)
{
	struct world *w = *state;
	struct buf out = BUF_INIT(4096);

	for (unsigned i = 0; i < 1700; i++)
		assert_int_equal(note(w, i), 0);
	audit_flush(w->svc);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM audit"), 1700);
	/* The one who looks has enough at some time. */
	assert_true(search(w, (struct audit_search){ .limit = 1200 }, &out).n >= 100);
	assert_true(str_starts(buf_str(&out), STR("500 501 ")));
	buf_release(&out);
}

static void too_many_are_refused_not_lost(void **state)
{
	struct world *w = *state;
	unsigned taken = 0;

	world_exec(w,
		   "CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END",
		   NULL);
	for (unsigned i = 0; i < AUDIT_WAITING_MAX + 10; i++)
		taken += note(w, i) == 0;
	assert_int_equal(taken, AUDIT_WAITING_MAX);
	assert_int_equal(note(w, 1), -ERR_BUSY);
	audit_flush(w->svc);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM audit"), 0);
	world_exec(w, "DROP TRIGGER no", NULL);
	audit_flush(w->svc);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM audit"), AUDIT_WAITING_MAX);
	assert_int_equal(note(w, 1), 0);
}

static void a_stop_loses_none(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 777; i++)
		assert_int_equal(note(w, i), 0);
	service_close(w->svc);
	world_open(w);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM audit"), 777);
}

static void a_change_and_its_line_are_one(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct err err;

	world_exec(w,
		   "CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END",
		   NULL);
	assert_true(user_add(w->svc, STR("ann"), ROLE_HUNTER, STR(""), &here, key, &err) < 0);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM user"), 0);
	world_exec(w, "DROP TRIGGER no", NULL);
	CHECK_OK(user_add(w->svc, STR("ann"), ROLE_HUNTER, STR(""), &here, key, &err), &err);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM audit WHERE action = 'user.add' AND "
				      "object_id = 'ann' AND user_id IS NULL"),
			 1);
	/* And one that fails leaves none. */
	assert_int_equal(user_add(w->svc, STR("ann"), ROLE_HUNTER, STR(""), &here, key, &err),
			 -ERR_EXISTS);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM audit"), 1);
}

static void unknown_users_and_actions(void **state)
{
	struct world *w = *state;
	struct audit_search s = {
		.filter = { .user = STR("nobody"), .since_s = INT64_MIN, .until_s = INT64_MAX }
	};
	struct err err;

	assert_int_equal(audit_each(w->svc, &s, collect, NULL, &err), -ERR_NOT_FOUND);
	s.filter.user = STR("");
	s.filter.action = STR("no.thing");
	assert_int_equal(audit_each(w->svc, &s, collect, NULL, &err), -ERR_INVALID);
}

struct retention_req {
	struct write_req req; /* first */
	int64_t before_s;
	uint64_t rows_max;
	uint32_t limit;
	uint32_t n;
};

static int retention_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct retention_req *r = (struct retention_req *)req;

	return audit_retention_step(conn, r->before_s, r->rows_max, r->limit, &r->n, err);
}

static uint32_t retention(struct world *w, int64_t before_s, uint64_t rows_max, uint32_t limit)
{
	struct retention_req r = { .req = { .apply = retention_apply, .lane = LANE_API },
				   .before_s = before_s,
				   .rows_max = rows_max,
				   .limit = limit };
	struct err err;

	CHECK_OK(writer_call(service_writer(w->svc), &r.req, &err), &err);
	return r.n;
}

static void old_lines_go(void **state)
{
	struct world *w = *state;
	struct buf out = BUF_INIT(4096);

	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(note(w, i), 0);
		clock_fake_advance(&w->clock, 1000000);
	}
	audit_flush(w->svc);
	assert_int_equal(retention(w, WORLD_START_S, 100, 5), 0);
	assert_int_equal(retention(w, WORLD_START_S + 4, 100, 3), 3); /* by age, in steps */
	assert_int_equal(retention(w, WORLD_START_S + 4, 100, 3), 1);
	assert_int_equal(retention(w, 0, 4, 100), 2); /* by number */
	CHECK_ROW_STR("the newest stay", search(w, (struct audit_search){ .limit = 0 }, &out),
		      STR("6 7 8 9 "));
	assert_int_equal(retention(w, INT64_MAX, 1, 100), 3);
	CHECK_ROW_STR("the last one always", search(w, (struct audit_search){ .limit = 0 }, &out),
		      STR("9 "));
	assert_int_equal(note(w, 10), 0);
	CHECK_ROW_STR("ids go on", search(w, (struct audit_search){ .after_id = 10 }, &out),
		      STR("10 "));
	buf_release(&out);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_groups),
		WITH_WORLD(notes_come_in_order),
		WITH_WORLD(the_newest_and_the_next),
		WITH_WORLD(more_than_a_page),
		WITH_WORLD(too_many_are_refused_not_lost),
		WITH_WORLD(a_stop_loses_none),
		WITH_WORLD(a_change_and_its_line_are_one),
		WITH_WORLD(unknown_users_and_actions),
		WITH_WORLD(old_lines_go),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
