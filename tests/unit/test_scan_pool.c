/*
 * What kills scan children, and what the pool does about it. This program is its
 * own child (`test_scan_pool scan-child`).
 */
#include "scan_group.h"

static void compile_that_takes_too_long(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	struct scan_rules *rules = NULL;
	struct err err = { 0 };

	(void)state;
	options.compile_timeout_ms = 300;

	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = take(p);
	/* Nested calls cost the parser a power of their depth. */
	struct scan_source s = {
		STR("slow.1"),
		STR("rule a { condition: "
		    "f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(f(1)))))))))))))))))))) }")
	};

	assert_int_equal(scan_compile(child, &s, 1, &plain, &rules, NULL, &err), -ERR_TIMEOUT);
	assert_true(scan_child_is_dead(child));
	assert_string_equal(scan_child_cause(child), "took longer than 300 ms");
	assert_int_equal(scan_pool_deaths(p), 1);
	assert_int_equal(scan_compile(child, &s, 1, &plain, &rules, NULL, &err), -ERR_DIED);
	scan_child_give(p, child);
	child = child_with(p, "rule a { condition: true }"); /* the pool recovers */
	assert_int_equal(hits_with(child, "x", &no_facts), 1);
	scan_child_give(p, child);
	scan_pool_close(p);
}

static void compile_that_eats_memory(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	struct buf source = BUF_INIT(64 << 20);
	struct scan_rules *rules = NULL;
	struct err err = { 0 };

	(void)state;
	options.memory_max = WEIR_SANITIZED ? 600 << 20 : 80 << 20;
	for (unsigned i = 0; i < (WEIR_SANITIZED ? 150000u : 20000u); i++)
		buf_addf(&source,
			 "rule r%u { strings: $a = \"text number %u\" nocase $b = /x%u[a-z]{2,9}y/ "
			 "condition: any of them }\n",
			 i, i, i);
	assert_false(buf_failed(&source));

	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = take(p);
	struct scan_source s = { STR("big.1"), buf_str(&source) };

	assert_int_equal(scan_compile(child, &s, 1, &plain, &rules, NULL, &err), -ERR_DIED);
	if (strstr(scan_child_cause(child), "over its memory limit") == NULL)
		fail_msg("%s", scan_child_cause(child));
	assert_non_null(strstr(err.msg, "over its memory limit"));
	scan_child_give(p, child);
	scan_pool_close(p);
	buf_release(&source);
}

static void a_scan_that_does_not_end(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	struct scan_sample sample = sample_of_z("x");
	struct scan_result result = { 0 };
	struct err err = { 0 };

	(void)state;
	options.scan_timeout_ms = 200;

	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = child_with(p, ENDLESS);
	int64_t start_us = clock_mono_us(clock_system());

	send_sample(child, sample, &no_facts);
	send_sample(child, sample, &no_facts);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_TIMEOUT);
	assert_true(clock_mono_us(clock_system()) - start_us >= 200000);
	assert_true(scan_child_is_dead(child));
	assert_int_equal(scan_recv(child, &result, &err), -ERR_DIED); /* the one behind it */
	scan_child_give(p, child);
	child = child_with(p, "rule a { condition: true }");
	assert_int_equal(hits_with(child, "x", &no_facts), 1);
	scan_child_give(p, child);
	assert_int_equal(scan_pool_deaths(p), 1);
	scan_pool_close(p);
	scan_result_release(&result);
	close(sample.fd);
}

static void a_child_killed_in_mid_scan(void **state)
{
	struct scan_child *child = child_with(pool, ENDLESS);
	struct scan_sample sample = sample_of_z("x");
	struct scan_result result = { 0 };
	struct err err = { 0 };
	uint64_t deaths = scan_pool_deaths(pool);

	(void)state;
	send_sample(child, sample, &no_facts);
	assert_false(scan_child_is_struck(child));
	kill(scan_child_pid(child), SIGKILL);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_DIED);
	assert_true(scan_child_is_dead(child));
	assert_string_equal(scan_child_cause(child), "killed by signal 9 (KILL)");
	assert_true(scan_child_is_struck(child));
	assert_int_equal(scan_pool_deaths(pool), deaths + 1);
	assert_int_equal(scan_send(child, &sample, &no_facts, SCAN_ALL_SLOTS, &err), -ERR_DIED);
	scan_child_give(pool, child);
	child = child_with(pool, "rule a { condition: true }");
	assert_int_equal(hits_with(child, "x", &no_facts), 1);
	scan_child_give(pool, child);
	close(sample.fd);
}

/* An end that is wanted does not wait for what children do, and proves nothing. */
static void a_pool_is_cancelled_in_mid_scan(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	int fd = memfd_create("small", MFD_CLOEXEC);
	struct scan_result result = { 0 };
	struct scan_child *second;
	struct err err = { 0 };

	(void)state;

	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = child_with(p, ENDLESS);

	assert_int_equal(ftruncate(fd, 100), 0);
	send_sample(child, (struct scan_sample){ fd, 0, 100 }, &no_facts);
	scan_pool_cancel(p);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_DIED);
	assert_true(scan_child_is_struck(child));
	scan_child_give(p, child);
	assert_int_equal(scan_child_take(&second, p, &err), -ERR_CLOSED);
	assert_int_equal(scan_pool_deaths(p), 0);
	scan_pool_close(p);
	close(fd);
}

static void a_scan_over_the_memory_limit(void **state)
{
	enum {
		BYTES_MAX = WEIR_SANITIZED ? 600 << 20 : 400 << 20
	};
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	int fd = memfd_create("large", MFD_CLOEXEC);
	struct scan_result result = { 0 };
	struct err err = { 0 };

	(void)state;
	options.memory_max = WEIR_SANITIZED ? 500 << 20 : 250 << 20;

	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = child_with(p, ENDLESS);

	assert_int_equal(ftruncate(fd, BYTES_MAX), 0);
	send_sample(child, (struct scan_sample){ fd, 0, BYTES_MAX }, &no_facts);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_DIED);
	assert_non_null(strstr(scan_child_cause(child), "over its memory limit"));
	assert_false(scan_child_is_struck(child));
	scan_child_give(p, child);
	scan_pool_close(p);
	close(fd);
}

static void children_are_replaced(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;

	(void)state;
	options.jobs_max = 20;
	options.children_max = 1;

	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = child_with(p, "rule a { condition: true }"); /* three jobs */
	pid_t first = scan_child_pid(child);

	for (unsigned i = 3; i < 20; i++) {
		assert_false(scan_child_is_used_up(child));
		assert_int_equal(hits_with(child, "x", &no_facts), 1);
	}
	assert_true(scan_child_is_used_up(child));
	/* Its successor is there while it still lives, although only one may be. */
	struct scan_child *second = take(p);

	assert_int_not_equal(scan_child_pid(second), first);
	scan_child_give(p, child);
	scan_child_give(p, second);
	child = take(p);
	assert_int_equal(scan_child_pid(child), scan_child_pid(second));
	scan_child_give(p, child);
	assert_int_equal(scan_pool_deaths(p), 0);
	scan_pool_close(p);
}

static bool twice(void *arg)
{
	return ++*(unsigned *)arg <= 2;
}

static void who_wants_no_child_any_more_waits_for_none(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	struct scan_child *child, *other;
	struct err err = { 0 };
	unsigned asked = 0;

	(void)state;
	options.children_max = 1;

	struct scan_pool *p = open_pool(&options);

	child = take(p);
	assert_int_equal(scan_child_take_while(&other, p, twice, &asked, &err), -ERR_CLOSED);
	assert_int_equal(asked, 3);
	scan_child_give(p, child);
	/* Nobody is asked where there is one. */
	assert_int_equal(scan_child_take_while(&other, p, twice, &asked, &err), 0);
	assert_int_equal(asked, 3);
	scan_child_give(p, other);
	scan_pool_close(p);
}

static void programs_that_are_no_children(void **state)
{
	static const char *const programs[] = { "/nonexistent", "/bin/true", "/bin/cat" };
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	struct scan_pool *p = NULL;
	struct err err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
		options.program = programs[i];
		assert_int_equal(scan_pool_open(&p, &options, &err), -ERR_DIED);
		assert_non_null(strstr(err.msg, "no scan child starts"));
	}
}

/* ---- Confinement as seen from outside ---- */

static void read_proc(pid_t pid, const char *rest, char *room, size_t cap)
{
	char path[128];
	int fd;
	ssize_t n;

	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, rest);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, room, cap - 1);
	assert_true(n > 0);
	room[n] = '\0';
	close(fd);
}

static void every_thread_is_confined(void **state)
{
	struct scan_child *child = child_with(pool, "rule a { condition: true }");
	char path[64], text[8192];
	struct dirent *entry;
	unsigned threads = 0;

	(void)state;
	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)scan_child_pid(child));
	DIR *tasks = opendir(path);

	assert_non_null(tasks);
	while ((entry = readdir(tasks)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof path, "task/%.20s/status", entry->d_name);
		read_proc(scan_child_pid(child), path, text, sizeof text);
		assert_non_null(strstr(text, "Seccomp:\t2\n"));
		assert_non_null(strstr(text, "NoNewPrivs:\t1\n"));
		assert_non_null(strstr(text, "CapEff:\t0000000000000000\n"));
		threads++;
	}
	closedir(tasks);
	assert_in_range(threads, 2, 4); /* the first, the scanning one, the engine's clock */
	read_proc(scan_child_pid(child), "limits", text, sizeof text);
	assert_non_null(strstr(text, "Max processes             0                    0"));
	assert_non_null(strstr(text, "Max file size             0                    0"));
	assert_non_null(strstr(text, "Max core file size        0                    0"));
	scan_child_give(pool, child);
}

/* ---- The pool leaves nothing behind ---- */

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void nothing_is_left_behind(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	unsigned before = count_fds();

	(void)state;
	options.children_max = 3;

	struct scan_pool *p = open_pool(&options);
	struct scan_child *a = child_with(p, "rule a { condition: true }");
	struct scan_child *b = take(p);
	pid_t pids[2] = { scan_child_pid(a), scan_child_pid(b) };

	assert_int_equal(hits_with(a, "x", &no_facts), 1);
	kill(pids[1], SIGKILL);
	scan_child_give(p, a);
	scan_child_give(p, b);
	scan_pool_close(p);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
		assert_int_equal(kill(pids[i], 0), -1);
		assert_int_equal(errno, ESRCH);
	}
	assert_int_equal(count_fds(), before);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compile_that_takes_too_long),
		cmocka_unit_test(compile_that_eats_memory),
		cmocka_unit_test(a_scan_that_does_not_end),
		cmocka_unit_test(a_child_killed_in_mid_scan),
		cmocka_unit_test(a_pool_is_cancelled_in_mid_scan),
		cmocka_unit_test(a_scan_over_the_memory_limit),
		cmocka_unit_test(children_are_replaced),
		cmocka_unit_test(who_wants_no_child_any_more_waits_for_none),
		cmocka_unit_test(programs_that_are_no_children),
		cmocka_unit_test(every_thread_is_confined),
		cmocka_unit_test(nothing_is_left_behind),
	};

	SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
