/* A user's stream through the service: a clock that is set, retention, deletions. */
#include "accounts_world.h"

#include "service/stream.h"
#include "service_internal.h"

enum {
	OWNER = 1,
	DAY = 86400
};
#define SECONDS(n) ((n)*INT64_C(1000000))

/* The world's clock, which may go on right after somebody read it. */
struct between {
	struct clock base; /* first */
	struct clock_fake *fake;
	_Atomic int reads; /* until it goes on; 0: it does not */
	int64_t by_us;
};

struct fixture {
	struct world *w;
	struct arena *arena;
	struct between clock;
};

static int64_t between_read(struct between *b, int64_t (*read)(struct clock *c))
{
	int64_t us = read(&b->fake->base);

	if (b->reads > 0 && --b->reads == 0)
		clock_fake_advance(b->fake, b->by_us);
	return us;
}

static int64_t between_unix_us(struct clock *c)
{
	struct between *b = (struct between *)c;

	return between_read(b, b->fake->base.unix_us);
}

static int64_t between_mono_us(struct clock *c)
{
	struct between *b = (struct between *)c;

	return between_read(b, b->fake->base.mono_us);
}

static int setup(void **state)
{
	struct fixture *f = mem_must_zalloc(sizeof *f);

	f->w = world_new();
	f->clock = (struct between){ .base = { between_unix_us, between_mono_us },
				     .fake = &f->w->clock };
	f->w->options.clock = &f->clock.base;
	f->w->options.retention_days = 30;
	world_open(f->w);
	world_exec(f->w,
		   "INSERT INTO user (id, name, role, created_s) VALUES (1, 'ann', 'hunter', 0)",
		   NULL);
	f->arena = arena_new("test", 64 << 20);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_free(f->arena);
	world_free(f->w);
	free(f);
	return 0;
}

/* ---- what is done to it ---- */

struct add_req {
	struct write_req req;
	struct fixture *f;
	int n;
	int64_t seq;
};

static int add_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct add_req *a = (struct add_req *)req;
	char *host = arena_printf(a->f->arena, "host%d.example", a->n);
	const struct str tags[] = { STR("my_rule") };
	const struct sighting_new s = { .owner_id = OWNER,
					.source_kind = STREAM_COLLECTION,
					.source_id = 7,
					.label = STR("Kimsuky"),
					.entity_kind = STREAM_DOMAIN,
					.entity_id = str_of(host),
					.tags = tags,
					.tag_count = 1 };

	return stream_add(conn, &s, clock_unix_s(&a->f->w->clock.base), &a->seq, err);
}

static int64_t add(struct fixture *f, int n)
{
	struct add_req a = { .req = { .apply = add_apply, .lane = LANE_API }, .f = f, .n = n };
	struct err err;

	CHECK_OK(writer_call(service_writer(f->w->svc), &a.req, &err), &err);
	assert_true(a.seq > 0);
	return a.seq;
}

static int ask(struct fixture *f, struct stream_request *r, struct stream_answer *answer,
	       struct err *err)
{
	r->owner_id = OWNER;
	if (!r->limit)
		r->limit = 10;
	return stream_read(f->w->svc, r, f->arena, answer, err);
}

static struct stream_answer read_stream(struct fixture *f, const char *filter, const char *cursor,
					bool oldest_first)
{
	struct stream_request r = { .filter = str_of(filter),
				    .cursor = str_of(cursor),
				    .has_order = oldest_first,
				    .oldest_first = oldest_first };
	struct stream_answer answer;
	struct err err;

	CHECK_OK(ask(f, &r, &answer, &err), &err);
	return answer;
}

static bool all_is_worked_off(struct fixture *f)
{
	return world_i64(f->w, "SELECT count(*) FROM stream_delete WHERE done = 0") == 0;
}

/* The background thread has looked at the clock at least once since this was called. */
static void background_round(struct fixture *f)
{
	struct err err;

	for (int i = 0; i < 3; i++) {
		/* Deletions are worked off before it looks, one round after the other. */
		CHECK_OK(stream_remove_matching(f->w->svc, OWNER, STR("tag:nothing"), NULL, &err),
			 &err);
		while (!all_is_worked_off(f))
			sched_yield();
	}
}

/* ---- tests ---- */

static void dates_never_fall_and_nothing_is_lost_when_the_clock_is_set(void **state)
{
	static const int64_t jumps[] = { -100 * SECONDS(DAY), 400 * SECONDS(DAY),
					 -399 * SECONDS(DAY), SECONDS(3600), -SECONDS(7200) };
	struct fixture *f = *state;
	int64_t last_s = 0;
	struct stream_answer answer;

	for (int i = 0; i < 20; i++) {
		add(f, i);
		clock_fake_advance(&f->w->clock, SECONDS(1));
		if (i % 3 == 2)
			clock_fake_jump(&f->w->clock, jumps[i / 3 % COUNT_OF(jumps)]);
	}
	answer = read_stream(f, "", NULL, true);
	assert_int_equal(answer.total, 20);
	for (int pages = 0; pages < 2; pages++) {
		assert_int_equal(answer.count, 10);
		for (size_t i = 0; i < answer.count; i++) {
			assert_int_equal(answer.entries[i].seq, 10 * pages + (int)i + 1);
			assert_true(answer.entries[i].date_s >= last_s);
			last_s = answer.entries[i].date_s;
		}
		if (pages == 0)
			answer = read_stream(f, NULL, answer.next.p, false);
	}
	assert_int_equal(answer.next.n, 0);
}

static void a_cursors_relative_dates_stay_where_they_were(void **state)
{
	struct fixture *f = *state;
	struct stream_answer answer;
	int64_t first;

	for (int i = 0; i < 25; i++)
		add(f, i);
	answer = read_stream(f, "date:1h+", NULL, false);
	assert_int_equal(answer.total, 25);
	first = answer.entries[0].seq;
	clock_fake_jump(&f->w->clock, SECONDS(2 * DAY)); /* "an hour ago" is after them all now */
	assert_int_equal(read_stream(f, "date:1h+", NULL, false).total, 0);
	answer = read_stream(f, NULL, answer.next.p, false);
	assert_int_equal(answer.count, 10);
	assert_int_equal(answer.entries[0].seq, first - 10);
	assert_int_equal(answer.total, 25);
}

static void retention_keeps_to_its_days(void **state)
{
	struct fixture *f = *state;

	add(f, 1);
	clock_fake_advance(&f->w->clock, SECONDS(20 * DAY));
	add(f, 2);
	background_round(f);
	assert_int_equal(read_stream(f, "", NULL, false).total, 2);
	clock_fake_advance(&f->w->clock, SECONDS(11 * DAY));
	background_round(f);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), 1);
	assert_int_equal(read_stream(f, "", NULL, false).entries[0].seq, 2);
	add(f, 1); /* it may be told anew once it is gone */
}

static void retention_waits_when_the_clock_was_set(void **state)
{
	struct fixture *f = *state;

	add(f, 1);
	background_round(f);
	clock_fake_jump(&f->w->clock, SECONDS(400 * DAY));
	background_round(f);
	clock_fake_advance(&f->w->clock, SECONDS(DAY / 2));
	background_round(f);
	assert_int_equal(read_stream(f, "", NULL, false).total, 1);
	/* Somebody sets it right again. */
	clock_fake_jump(&f->w->clock, -SECONDS(400 * DAY));
	background_round(f);
	clock_fake_advance(&f->w->clock, SECONDS(2 * DAY));
	background_round(f);
	assert_int_equal(read_stream(f, "", NULL, false).total, 1);
}

static void retention_goes_on_when_the_clock_stays_as_it_was_set(void **state)
{
	struct fixture *f = *state;

	add(f, 1);
	background_round(f);
	clock_fake_jump(&f->w->clock, SECONDS(400 * DAY));
	background_round(f);
	clock_fake_advance(&f->w->clock, SECONDS(DAY));
	background_round(f);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), 0);
}

/* Time may pass between any two readings of the clock: a thread stands still for long. */
static void time_that_passes_between_two_readings_is_no_clock_that_was_set(void **state)
{
	enum {
		READS = 24 /* more than a round of the background thread has */
	};
	struct fixture *f = *state;

	f->clock.by_us = SECONDS(31 * DAY);
	for (int i = 1; i <= READS; i++) {
		add(f, i);
		background_round(f);
		assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), 1);
		f->clock.reads = i;
		while (f->clock.reads > 0)
			background_round(f);
		background_round(f);
		assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), 0);
	}
}

/* Not even before the background thread came to its first look. */
static void a_clock_that_is_set_right_after_the_start(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 8; i++) {
		struct err err;

		add(f, i);
		service_close(f->w->svc);
		f->w->svc = NULL;
		CHECK_OK(service_open(&f->w->svc, &f->w->options, &err), &err);
		clock_fake_jump(&f->w->clock, SECONDS(400 * DAY));
		background_round(f);
		clock_fake_jump(&f->w->clock, -SECONDS(400 * DAY));
		assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting"), i + 1);
	}
}

static void what_may_stand_beside_a_cursor(void **state)
{
	static const struct {
		const char *name;
		struct stream_request ask;
		int rc;
		const char *message;
	} rows[] = {
		{ "alone", { .limit = 0 }, 0, "" },
		{ "its own filter", { .filter = STR("tag:my_rule") }, 0, "" },
		{ "another", { .filter = STR("tag:other") }, -ERR_INVALID, "another filter" },
		{ "none", { .filter = STR("") }, -ERR_INVALID, "another filter" },
		{ "its own order", { .has_order = true }, 0, "" },
		{ "another order",
		  { .has_order = true, .oldest_first = true },
		  -ERR_INVALID,
		  "another order" },
		{ "another limit", { .has_limit = true, .limit = 3 }, 0, "" },
	};
	struct fixture *f = *state;
	struct stream_answer answer;
	struct str cursor;

	for (int i = 0; i < 25; i++)
		add(f, i);
	cursor = read_stream(f, "tag:my_rule", NULL, false).next;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct stream_request r = rows[i].ask;
		struct err err = { .kind = ERR_NONE };

		r.cursor = cursor;
		CHECK_ROW(rows[i].name, ask(f, &r, &answer, &err) == rows[i].rc);
		assert_true(strstr(err.msg, rows[i].message) != NULL);
		if (rows[i].rc == 0)
			CHECK_ROW(rows[i].name, answer.count == (rows[i].ask.has_limit ? 3 : 10));
	}
}

static void one_deletion_at_a_time_and_later_arrivals_stay(void **state)
{
	struct fixture *f = *state;
	struct err err;
	bool busy = false;

	for (int i = 0; i < 1500; i++) /* several steps of the background */
		add(f, i);
	CHECK_OK(stream_remove_matching(f->w->svc, OWNER, STR("tag:my_rule date:1h+"), NULL, &err),
		 &err);
	assert_int_equal(read_stream(f, "", NULL, false).total, 0);
	busy = stream_remove_matching(f->w->svc, OWNER, STR(""), NULL, &err) == -ERR_BUSY;
	add(f, 5000);
	assert_int_equal(read_stream(f, "", NULL, false).total, 1);
	while (!all_is_worked_off(f))
		sched_yield();
	assert_int_equal(read_stream(f, "", NULL, false).total, 1);
	assert_true(busy || world_i64(f->w, "SELECT count(*) FROM stream_delete") == 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			dates_never_fall_and_nothing_is_lost_when_the_clock_is_set, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_cursors_relative_dates_stay_where_they_were,
						setup, teardown),
		cmocka_unit_test_setup_teardown(retention_keeps_to_its_days, setup, teardown),
		cmocka_unit_test_setup_teardown(retention_waits_when_the_clock_was_set, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			retention_goes_on_when_the_clock_stays_as_it_was_set, setup, teardown),
		cmocka_unit_test_setup_teardown(
			time_that_passes_between_two_readings_is_no_clock_that_was_set, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_clock_that_is_set_right_after_the_start, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_may_stand_beside_a_cursor, setup, teardown),
		cmocka_unit_test_setup_teardown(one_deletion_at_a_time_and_later_arrivals_stay,
						setup, teardown),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
