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
	_Atomic int builds;  /* compilers that are struck */
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

enum engine_result __real_engine_compiler_build(struct engine_compiler *compiler,
						struct engine_rules **ret);
enum engine_result __wrap_engine_compiler_build(struct engine_compiler *compiler,
						struct engine_rules **ret);
enum engine_result __wrap_engine_compiler_build(struct engine_compiler *compiler,
						struct engine_rules **ret)
{
	if (page->builds > 0) {
		page->builds--;
		be_struck();
	}
	return __real_engine_compiler_build(compiler, ret);
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
	page->strikes = page->builds = 0;
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
		retro_admit(f->w->svc, &row, made.rules, NULL, NULL, 0);
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

/* A job that nobody is at ends with its abort, though the only worker is at another's. */
static void an_abort_of_a_waiting_job_waits_for_nobody(void **state)
{
	struct fixture *f = *state;
	struct outcome slow, waiting;
	int64_t from_us;
	struct err err;

	f->w->options.retrohunt_workers = 1;
	reopen(f, 1);
	put_many(f, "needle", FILES);
	service_drain(f->w->svc);
	page->scans = 0; /* and nobody kills the child */
	CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &slow),
		 &slow.err);
	while (!page->child)
		sched_yield();
	CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &waiting),
		 &waiting.err);
	from_us = clock_mono_us(clock_system());
	CHECK_OK(retrohunt_abort(f->w->svc, f->ann.id, str_of(waiting.name), NULL, &err), &err);
	assert_int_equal(look(f, waiting.name).status, RETROHUNT_ABORTED);
	assert_int_equal(look(f, slow.name).status, RETROHUNT_RUNNING);
	CHECK_OK(retrohunt_abort(f->w->svc, f->ann.id, str_of(slow.name), NULL, &err), &err);
	retrohunt_drain(f->w->svc);
	assert_true(clock_mono_us(clock_system()) - from_us < 1000000);
	assert_int_equal(look(f, slow.name).status, RETROHUNT_ABORTED);
	page->scans = -1;
	page->child = 0;
}

/* Rules that were accepted are no worse for a compiler that dies after a restart. */
static void a_job_outlives_compilers(void **state)
{
	static const struct {
		const char *name;
		int strikes, killed;
		bool complete;
	} rows[] = { { "some attempts fail", 2 * STRUCK_TRIES + 1, 2 * STRUCK_TRIES + 1, true },
		     { "all attempts fail", 1000, RETRO_COMPILES_MAX * STRUCK_TRIES, false } };
	struct fixture *f = *state;

	put_many(f, "needle", FILES);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct retrohunt_job job;
		struct killing k;
		struct outcome o;

		reopen(f, 0);
		CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &o),
			 &o.err);
		killing_begin(&k, -1, 0, -1);
		page->builds = rows[i].strikes;
		reopen(f, 1);
		retrohunt_drain(f->w->svc);
		killing_end(&k);
		job = look(f, o.name);
		CHECK_ROW(rows[i].name, job.complete == rows[i].complete);
		CHECK_ROW(rows[i].name, job.num_matches == (rows[i].complete ? FILES : 0));
		CHECK_ROW_STR(rows[i].name, str_of(job.reason),
			      str_of(rows[i].complete ? "" : "scanner_failures"));
		/* Those of Livehunt's set among them. */
		CHECK_ROW(rows[i].name, page->killed >= rows[i].killed);
	}
}

static void estimated(struct str attributes, int rc, const struct err *err, struct str messages,
		      void *arg)
{
	struct outcome *o = arg;

	(void)messages;
	lock_take(&o->lock);
	o->rc = rc;
	if (rc)
		o->err = *err;
	o->is_over = attributes.n > 0 || rc;
	cond_signal(&o->over);
	lock_drop(&o->lock);
}

/* Estimates that take long are in nobody's way: one a user, on threads of their own. */
static void a_slow_estimate_is_alone(void **state)
{
	const struct retrohunt_new ask = { .rules = STR(RULE("needle")) };
	struct outcome slow = { .is_over = false }, other;
	struct fixture *f = *state;
	struct killing k;
	struct err err;

	put_many(f, "needle", FILES);
	service_drain(f->w->svc);
	lock_init(&slow.lock, LOCK_TEST);
	cond_init(&slow.over);
	page->builds = 1; /* and nobody kills the child yet */
	CHECK_OK(retrohunt_estimate(f->w->svc, f->ann.id, &ask, estimated, &slow, &err), &err);
	while (!page->child)
		sched_yield();
	assert_int_equal(retrohunt_estimate(f->w->svc, f->ann.id, &ask, estimated, &slow, &err),
			 -ERR_EXISTS);
	for (unsigned i = 0; i < COMPILER_THREADS + 1; i++)
		CHECK_OK(create(f, &ask, &other), &other.err);
	retrohunt_drain(f->w->svc);
	assert_false(slow.is_over);
	assert_int_equal(look(f, other.name).num_matches, FILES);
	killing_begin(&k, -1, 0, -1); /* the next child makes it */
	lock_take(&slow.lock);
	while (!slow.is_over)
		cond_wait(&slow.over, &slow.lock);
	lock_drop(&slow.lock);
	killing_end(&k);
	CHECK_OK(slow.rc, &slow.err);
	slow.is_over = false;
	CHECK_OK(retrohunt_estimate(f->w->svc, f->ann.id, &ask, estimated, &slow, &err), &err);
	lock_take(&slow.lock);
	while (!slow.is_over)
		cond_wait(&slow.over, &slow.lock);
	lock_drop(&slow.lock);
	cond_release(&slow.over);
	lock_release(&slow.lock);
}

static void items_bytes_set(struct fixture *f, uint64_t bytes)
{
	struct retrohunt *e = f->w->svc->retrohunt;

	lock_take(&e->lock);
	e->items_bytes = bytes;
	cond_broadcast(&e->work);
	lock_drop(&e->lock);
}

/* Candidates of all jobs have one memory: who finds none waits, and goes on. */
static void a_plan_waits_for_memory(void **state)
{
	struct fixture *f = *state;
	struct retrohunt_job job;
	struct outcome o;

	put_many(f, "needle", FILES);
	service_drain(f->w->svc);
	items_bytes_set(f, RETRO_ITEMS_BYTES_MAX);
	CHECK_OK(create(f, &(struct retrohunt_new){ .rules = STR(RULE("needle")) }, &o), &o.err);
	while (world_i64(f->w, "SELECT count(*) FROM retrohunt_task WHERE lease_owner IS NOT "
			       "NULL") == 0)
		sched_yield();
	/* Others work meanwhile. */
	put_many(f, "more", FILES);
	service_drain(f->w->svc);
	job = look(f, o.name);
	assert_int_equal(job.status, RETROHUNT_RUNNING);
	assert_int_equal(job.files_done, 0);
	items_bytes_set(f, 0);
	retrohunt_drain(f->w->svc);
	job = look(f, o.name);
	assert_true(job.complete);
	assert_int_equal(job.num_matches, FILES);
	/* All was given back. */
	assert_int_equal(f->w->svc->retrohunt->items_bytes, 0);
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
		cmocka_unit_test_setup_teardown(an_abort_of_a_waiting_job_waits_for_nobody, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_job_outlives_compilers, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_estimate_is_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_plan_waits_for_memory, setup, teardown),
	};

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0) {
		self = getpid();
		page_map(getppid(), 0);
	}
	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, group_begin, group_end);
}
