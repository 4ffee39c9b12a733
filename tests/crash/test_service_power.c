#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "scan/scan.h"
#include "service_ledger.h"

/*
 * The whole service loses power: whatever it acknowledged is there afterwards.
 * Each life is a process (service_work.c) that ends with the power, each look at
 * what survived another one (service_check.c).
 *
 *     test_service_power            a seeded sample of the power cuts
 *     test_service_power all        at every sync, over several seeds
 *     test_service_power SEED SYNC  one, its folder kept
 */
enum {
	CUTS_SAMPLED = WEIR_SANITIZED ? 3 : 10,
	SEEDS_ALL = 3,
	NO_SYNC_TRIES = 3,
	ROLE_SECONDS_MAX = WEIR_SANITIZED ? 600 : 120, /* a life, or a look: else it hangs */
};

extern char **environ;
static bool every_sync;

/* Run this program as `role`; its exit status, or -signal. Its output goes to dir/log. */
static int run_role(const char *role, const char *dir, const struct work_options *o)
{
	posix_spawn_file_actions_t files;
	char at[24], log[600];
	char *argv[] = { (char[]){ "test" },
			 str_dup(str_of(role)),
			 str_dup(str_of(dir)),
			 at,
			 (char[]){ o->no_sync ? '1' : '0', 0 },
			 (char[]){ o->unsafe_no_sync ? '1' : '0', 0 },
			 NULL };
	int status;
	pid_t pid;

	snprintf(at, sizeof at, "%llu", (unsigned long long)o->crash_at_sync);
	snprintf(log, sizeof log, "%s/log", dir);
	assert_int_equal(posix_spawn_file_actions_init(&files), 0);
	assert_int_equal(posix_spawn_file_actions_addopen(&files, 2, log,
							  O_WRONLY | O_CREAT | O_APPEND, 0600),
			 0);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	free(argv[1]);
	free(argv[2]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void show(const char *dir, const char *name, long bytes)
{
	char path[600], line[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		return;
	if (bytes && fseek(f, -bytes, SEEK_END) != 0)
		rewind(f);
	while (fgets(line, sizeof line, f))
		print_error("  %s", line);
	fclose(f);
}

struct totals {
	unsigned cuts;
	uint64_t syncs;
	uint64_t uploads, changes, removals, deletions;
};

static void count(struct totals *t, const char *dir)
{
	struct ledger *led = ledger_map(dir);

	t->cuts++;
	t->syncs = atomic_load(&led->syncs);
	for (int i = 0; i < LED_UPLOADS; i++)
		t->uploads += (uint64_t)atomic_load(&led->uploads[i].acked);
	for (int i = 0; i < LED_RULESETS; i++)
		t->changes += (uint64_t)atomic_load(&led->rulesets[i].acked);
	for (int i = 0; i < LED_REMOVALS; i++)
		t->removals += (uint64_t)atomic_load(&led->removals[i].acked);
	for (int i = 0; i < LED_DELETIONS; i++)
		t->deletions += (uint64_t)atomic_load(&led->deletions[i].acked);
}

/* One life and a look at it. true: all is there. */
static bool live_and_look(uint64_t seed, const struct work_options *o, bool keep, struct totals *t)
{
	char *dir = test_dir_new();
	int worked, looked;
	bool good;

	ledger_map(dir)->seed = seed;
	worked = run_role("work", dir, o);
	count(t, dir);
	looked = worked == 0 || worked == 74 ? run_role("check", dir, o) : -1;
	good = looked == 0;
	if (keep || (!good && !o->no_sync && !o->unsafe_no_sync)) {
		print_message("seed %llu, power lost at sync %llu of %llu: the life ended with %d, "
			      "the look at %s with %d\n",
			      (unsigned long long)seed, (unsigned long long)o->crash_at_sync,
			      (unsigned long long)t->syncs, worked, dir, looked);
		show(dir, "why", 0);
		if (looked != 0 && looked != 1)
			show(dir, "log", 4000);
		free(dir);
	} else {
		test_dir_remove(dir);
	}
	return good;
}

static void report(const struct totals *t)
{
	print_message("%u power cuts; acknowledged: %llu uploads, %llu changes of rulesets, %llu "
		      "removals, %llu deletions\n",
		      t->cuts, (unsigned long long)t->uploads, (unsigned long long)t->changes,
		      (unsigned long long)t->removals, (unsigned long long)t->deletions);
}

static void test_power(void **state)
{
	uint64_t seeds = every_sync ? SEEDS_ALL : 1;
	struct totals t = { 0 };
	unsigned failed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct work_options o = { .crash_at_sync = 0 };
		struct rand_seq r = { seed };
		uint64_t syncs, stride;

		failed += !live_and_look(seed, &o, false, &t);
		syncs = t.syncs;
		assert_true(syncs > 40);
		stride = every_sync ? 1 : syncs / CUTS_SAMPLED + 1;
		for (uint64_t k = 1 + rand_below(&r, stride); k <= syncs; k += stride) {
			o.crash_at_sync = k;
			failed += !live_and_look(seed + k % 2, &o, false, &t);
		}
	}
	report(&t);
	assert_true(t.uploads > 100 && t.changes > 30);
	assert_int_equal(failed, 0);
}

/* Without syncs the same checks must find losses, or they show nothing. */
static void test_without_syncs(void **state)
{
	struct work_options o = { .crash_at_sync = 0 };
	struct totals t = { 0 };
	unsigned lost[2] = { 0 };

	(void)state;
	for (uint64_t seed = 1; seed <= NO_SYNC_TRIES; seed++) {
		o = (struct work_options){ .crash_at_sync = 60, .no_sync = true };
		lost[0] += !live_and_look(seed, &o, false, &t);
		o = (struct work_options){ .unsafe_no_sync = true };
		lost[1] += !live_and_look(seed, &o, false, &t);
	}
	print_message("of %d lives each, found lost: %u on a disk that does not sync, %u of a "
		      "service that does not\n",
		      NO_SYNC_TRIES, lost[0], lost[1]);
	assert_true(lost[0] > 0);
	assert_true(lost[1] > 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power),
		cmocka_unit_test(test_without_syncs),
	};

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	if (argc == 6) {
		const struct work_options o = { strtoull(argv[3], NULL, 10), argv[4][0] == '1',
						argv[5][0] == '1' };

		alarm(ROLE_SECONDS_MAX);
		return strcmp(argv[1], "work") == 0 ? work_main(argv[2], &o) : check_main(argv[2]);
	}
	if (argc == 3) {
		const struct work_options o = { .crash_at_sync = strtoull(argv[2], NULL, 10) };
		struct totals t = { 0 };

		return !live_and_look(strtoull(argv[1], NULL, 10), &o, true, &t);
	}
	every_sync = argc == 2 && strcmp(argv[1], "all") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
