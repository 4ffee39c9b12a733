#include "retrohunt_world.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>

#include "engine.h"
#include "ruleset_check.h"

/*
 * Jobs whose scan children are killed from outside at a moment of the test's choice, or are
 * not to be had. A child that reaches the moment says so in a page that it shares with the
 * test, and waits for its end.
 */
struct page {
	_Atomic int loads;   /* of rules that pass; then each is struck; < 0: all pass */
	_Atomic int strikes; /* … so many of them at most */
	_Atomic int scans;   /* that pass before one is struck; < 0: all pass */
	_Atomic pid_t child; /* which is to be killed now */
	_Atomic int killed;
};

static struct page *page;
static pid_t self;

static void page_path(char path[64], pid_t test)
{
	snprintf(path, 64, "/tmp/weir-strike-%d", (int)test);
}

static void page_map(pid_t test, int flags)
{
	char path[64];
	int fd;

	page_path(path, test);
	fd = open(path, flags | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof *page) != 0)
		abort();
	page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		abort();
	close(fd);
}

/* ---- In the child ---- */

static void be_struck(void)
{
	page->child = self;
	for (;;)
		;
}

enum engine_result __real_engine_rules_load(const uint8_t *data, size_t len,
					    struct engine_rules **ret);
enum engine_result __wrap_engine_rules_load(const uint8_t *data, size_t len,
					    struct engine_rules **ret);
enum engine_result __wrap_engine_rules_load(const uint8_t *data, size_t len,
					    struct engine_rules **ret)
{
	if (page->loads == 0 && page->strikes > 0) {
		page->strikes--;
		be_struck();
	}
	if (page->loads > 0)
		page->loads--;
	return __real_engine_rules_load(data, len, ret);
}

enum engine_result __real_engine_scanner_scan(struct engine_scanner *scanner, const uint8_t *data,
					      size_t len, size_t matches_max,
					      void (*each)(const struct engine_hit *hit, void *arg),
					      void *arg);
enum engine_result __wrap_engine_scanner_scan(struct engine_scanner *scanner, const uint8_t *data,
					      size_t len, size_t matches_max,
					      void (*each)(const struct engine_hit *hit, void *arg),
					      void *arg);
enum engine_result __wrap_engine_scanner_scan(struct engine_scanner *scanner, const uint8_t *data,
					      size_t len, size_t matches_max,
					      void (*each)(const struct engine_hit *hit, void *arg),
					      void *arg)
{
	if (page->scans == 0)
		be_struck();
	if (page->scans > 0)
		page->scans--;
	return __real_engine_scanner_scan(scanner, data, len, matches_max, each, arg);
}

/* ---- Whoever kills ---- */

static void killer(void *arg)
{
	const _Atomic bool *over = arg;

	while (!*over) {
		pid_t child = atomic_exchange(&page->child, 0);

		if (child && kill(child, SIGKILL) == 0)
			page->killed++;
		poll(NULL, 0, 1);
	}
}

struct killing {
	struct thread thread;
	_Atomic bool over;
};

static void killing_begin(struct killing *k, int loads, int strikes, int scans)
{
	struct err err;

	k->over = false;
	page->killed = 0;
	page->loads = loads;
	page->strikes = strikes;
	page->scans = scans;
	CHECK_OK(thread_start(&k->thread, "killer", killer, &k->over, &err), &err);
}

static void killing_end(struct killing *k)
{
	k->over = true;
	thread_join(&k->thread);
	page->loads = page->scans = -1;
	page->strikes = 0;
}

/* ---- Tests ---- */

static void a_child_killed_while_it_loads_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;
	struct killing k;

	put_many(f, "needle", FILES);
	killing_begin(&k, 0, 3, -1);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	killing_end(&k);
	assert_int_equal(page->killed, 3);
	assert_true(job.complete);
	assert_int_equal(job.num_matches, FILES);
}

static void so_many_end_the_job(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;
	struct killing k;

	put_many(f, "needle", FILES);
	killing_begin(&k, 0, 1000, -1);
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	killing_end(&k);
	assert_true(page->killed >= RETRO_LOADS_MAX);
	assert_int_equal(job.status, RETROHUNT_FINISHED);
	assert_false(job.complete);
	assert_string_equal(job.reason, "scanner_failures");
	assert_non_null(strstr(job.error, "while it loaded the rules"));
	assert_non_null(strstr(job.error, "KILL"));
	assert_int_equal(job.files_done, 0);
	assert_int_equal(job.num_matches, 0);
	/* The next one has nothing to do with it. */
	job = run(f, (struct retrohunt_new){ .rules = STR(RULE("needle")) });
	assert_true(job.complete);
	assert_int_equal(job.num_matches, FILES);
}

/* Matches that had been found by then, and not been committed yet, are told. */
static void what_was_found_until_then_is_kept(void **state)
{
	static const char rules[] = "import \"vt\" rule found { strings: $a = \"needle\" "
				    "condition: $a and vt.metadata.file_size > 1 }";
	enum {
		PASS = 20
	};
	struct fixture *f = *state;
	struct retrohunt_job job;
	struct killing k;

	put_many(f, "needle", FILES);
	service_drain(f->w->svc);
	killing_begin(&k, 1, 1000, PASS);
	job = run(f, (struct retrohunt_new){ .rules = str_of(rules) });
	killing_end(&k);
	assert_string_equal(job.reason, "scanner_failures");
	assert_int_equal(job.num_matches, PASS);
	assert_int_equal(job.verified_files, PASS);
	assert_int_equal(job.files_done, PASS);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM sighting WHERE source_kind = 2"),
			 PASS);
}

struct children {
	struct scan_child *taken[64];
	size_t n;
};

static bool few_times(void *arg)
{
	return ++*(unsigned *)arg < 10;
}

/* All that the pool has: who wants one waits. */
static void children_take_all(struct fixture *f, struct children *c)
{
	unsigned asked = 0;

	while (scan_child_take_while(&c->taken[c->n], f->w->svc->scan, few_times, &asked, NULL) ==
	       0) {
		asked = 0;
		assert_true(++c->n < COUNT_OF(c->taken));
	}
}

static void children_give_all(struct fixture *f, struct children *c)
{
	while (c->n)
		scan_child_give(f->w->svc->scan, c->taken[--c->n]);
}

/* What waits for a child, to scan or to compile its rules, sees an abort at once. */
static void an_abort_waits_for_no_child(void **state)
{
	const struct ruleset_compile_ask ask = { .rules = STR(RULE("needle")),
						 .entity = STR("file"),
						 .retrohunt = true };
	struct fixture *f = *state;
	struct retrohunt_row row;
	struct sql_conn *conn;
	struct str messages;
	struct outcome o;
	struct err err;

	put_many(f, "needle", FILES);
	for (int compiles = 0; compiles < 2; compiles++) {
		struct ruleset_compiled made = { 0 };
		struct children all = { .n = 0 };
		int64_t from_us, us;

		reopen(f, 0);
		CHECK_OK(create(f, &(struct retrohunt_new){ .rules = ask.rules }, &o), &o.err);
		world_exec(f->w, "UPDATE retrohunt_job SET status = 'finished'", NULL);
		reopen(f, 1);
		service_drain(f->w->svc);
		world_exec(
			f->w,
			"UPDATE retrohunt_job SET status = 'starting' WHERE id = (SELECT max(id) "
			"FROM retrohunt_job)",
			NULL);
		if (!compiles)
			CHECK_OK(ruleset_compile(f->w->svc, &ask, f->arena, &made, &messages, &err),
				 &err);
		children_take_all(f, &all);
		CHECK_OK(sql_reader_take(&conn, service_db(f->w->svc), &err), &err);
		CHECK_OK(retrohunt_row_get(conn, f->ann.id, str_of(o.name), f->arena, &row, &err),
			 &err);
		sql_reader_give(service_db(f->w->svc), conn);
		retro_admit(f->w->svc, &row, made.rules, NULL);
		while (!compiles &&
		       world_i64(f->w, "SELECT count(*) FROM retrohunt_task WHERE lease_owner "
				       "IS NOT NULL") == 0)
			sched_yield();
		from_us = clock_mono_us(clock_system());
		CHECK_OK(retrohunt_abort(f->w->svc, f->ann.id, str_of(o.name), NULL, &err), &err);
		while (look(f, o.name).status != RETROHUNT_ABORTED &&
		       clock_mono_us(clock_system()) - from_us < 5000000)
			sched_yield();
		us = clock_mono_us(clock_system()) - from_us;
		children_give_all(f, &all);
		scan_rules_unref(made.rules);
		if (us >= 1000000)
			fail_msg("%s: %lld us", compiles ? "compiling" : "scanning", (long long)us);
	}
}

static int group_begin(void **state)
{
	(void)state;
	page_map(getpid(), O_CREAT | O_EXCL);
	page->loads = page->scans = -1;
	return 0;
}

static int group_end(void **state)
{
	char path[64];

	(void)state;
	page_path(path, getpid());
	return unlink(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_child_killed_while_it_loads_is_replaced, setup,
						teardown),
		cmocka_unit_test_setup_teardown(so_many_end_the_job, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_found_until_then_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(an_abort_waits_for_no_child, setup, teardown),
	};

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0) {
		self = getpid();
		page_map(getppid(), 0);
	}
	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, group_begin, group_end);
}
