/*
 * The n-th call of a kind fails once, n = 1, 2, … until a run meets no failure:
 * calls that change files of the packs, writes of the database, allocations. Each
 * run opens the service, uploads, analyses again, changes rulesets and accounts,
 * removes and closes; what was acknowledged, in this run or an earlier one, must be
 * there when the service opens without failures, and verify must find nothing.
 *
 * Without an argument a sample of all n is run; `test_service_faults all` runs each.
 */
#include "accounts_world.h"
#include "failing_io.h"
#include "fault_vfs.h"

#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/log.h"
#include "service/files.h"
#include "service/retrohunt.h"
#include "service/rulesets.h"
#include "service/verify.h"

enum kind {
	KIND_DISK,
	KIND_DATABASE,
	KIND_MEMORY,
	KIND_COUNT
};

enum {
	DENSE = 12,  /* every n up to here … */
	STRIDE = 15, /* … and then one of so many */
	RUNS_MAX = 3000,
	LARGE_BYTES = (1 << 20) + 4096, /* goes through a temporary file */
};

static bool every_n;

/* ---- Allocations ---- */

static struct {
	_Atomic bool armed;
	_Atomic uint64_t calls;
	uint64_t fails_at;
} memory;

int __real_mem_try_alloc(void **ret, size_t bytes, struct err *err);
int __real_mem_try_array(void **ret, size_t n, size_t size, struct err *err);
int __wrap_mem_try_alloc(void **ret, size_t bytes, struct err *err);
int __wrap_mem_try_array(void **ret, size_t n, size_t size, struct err *err);

static bool memory_fails(void)
{
	return memory.armed && ++memory.calls == memory.fails_at;
}

int __wrap_mem_try_alloc(void **ret, size_t bytes, struct err *err)
{
	return memory_fails() ? err_set(err, ERR_NO_MEMORY, "the test's memory")
			      : __real_mem_try_alloc(ret, bytes, err);
}

int __wrap_mem_try_array(void **ret, size_t n, size_t size, struct err *err)
{
	return memory_fails() ? err_set(err, ERR_NO_MEMORY, "the test's memory")
			      : __real_mem_try_array(ret, n, size, err);
}

/* ---- What was acknowledged ---- */

struct ledger {
	char hex[RUNS_MAX * 2][65];
	bool removal_asked[RUNS_MAX * 2]; /* so either may be true, unless it was acknowledged */
	bool removed[RUNS_MAX * 2];
	size_t samples;
	int64_t rulesets[RUNS_MAX];
	size_t ruleset_count;
	int64_t users;
	int64_t jobs, jobs_aborted, jobs_deleted;
};

struct run {
	struct world *w;
	struct failing disk;
	struct ledger *ledger;
	int64_t owner;
};

static void arm(struct run *r, enum kind kind, uint64_t n)
{
	r->disk.calls = 0;
	r->disk.fails_at = kind == KIND_DISK ? n : 0;
	r->disk.sys = n % 2 ? EIO : ENOSPC;
	if (kind == KIND_DATABASE)
		fault_arm(FAULT_WRITE, (int)n, n % 2 ? SQLITE_IOERR_WRITE : SQLITE_FULL, false);
	memory.calls = 0;
	memory.fails_at = n;
	memory.armed = kind == KIND_MEMORY;
}

/* Has the failure come? */
static bool disarm(struct run *r, enum kind kind, uint64_t n)
{
	bool came = kind == KIND_DISK     ? r->disk.calls >= n
		    : kind == KIND_MEMORY ? memory.calls >= n
					  : fault.failed > 0;

	r->disk.fails_at = 0;
	fault_disarm();
	memory.armed = false;
	return came;
}

/* ---- What is done ---- */

static int upload(struct run *r, const char *text, size_t pad, char hex[65])
{
	struct upload_options options = { .lane = LANE_API,
					  .name = STR("a name"),
					  .corpus = STR("main"),
					  .interface = "ingest",
					  .bytes_max = 2 * LARGE_BYTES };
	int fd = memfd_create("sample", MFD_CLOEXEC);
	struct upload_outcome outcome;
	struct err err;
	int rc;

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(ftruncate(fd, (off_t)(strlen(text) + pad)), 0);
	lseek(fd, 0, SEEK_SET);
	rc = upload_fd(r->w->svc, &options, fd, &outcome, &err);
	close(fd);
	if (rc == 0)
		hex_encode(outcome.hashes.sha256, SHA256_BYTES, hex);
	return rc;
}

static void upload_and_note(struct run *r, const char *text, size_t pad)
{
	struct ledger *l = r->ledger;

	if (upload(r, text, pad, l->hex[l->samples]) == 0)
		l->samples++;
}

struct answer {
	_Atomic int left;
	int rc;
	int64_t id;
};

static void reanalysed(const struct upload_outcome *outcome, int rc, const struct err *err,
		       void *arg)
{
	struct answer *a = arg;

	(void)outcome;
	(void)err;
	a->rc = rc;
	a->left = 0;
}

static void ruleset_changed(const struct ruleset *ruleset, int rc, const struct err *err,
			    struct str messages, void *arg)
{
	struct answer *a = arg;

	(void)err;
	(void)messages;
	a->rc = rc;
	a->id = rc ? 0 : ruleset->id;
	a->left = 0;
}

static void wait_for(struct answer *a)
{
	while (a->left)
		(void)poll(NULL, 0, 1);
}

static void analyse_again(struct run *r, const char *hex)
{
	struct arena *arena = arena_new("test", 1 << 20);
	struct answer a = { .left = 1 };
	struct file_info info;
	struct err err;

	if (file_get(r->w->svc, str_of(hex), arena, &info, &err) == 0 &&
	    file_reanalyse(r->w->svc, &info, NULL, reanalysed, &a, &err) == 0)
		wait_for(&a);
	arena_free(arena);
}

static void change_rulesets(struct run *r, const char *name)
{
	const struct ruleset_change make = { .set = RULESET_NAME | RULESET_RULES,
					     .name = str_of(name),
					     .rules = STR("rule a { condition: true }") };
	const struct ruleset_change edit = { .set = RULESET_RULES,
					     .rules = STR("rule b { condition: false }") };
	struct answer a = { .left = 1 };
	struct ledger *l = r->ledger;
	struct err err;

	if (ruleset_create(r->w->svc, r->owner, &make, ruleset_changed, &a, &err) != 0)
		return;
	wait_for(&a);
	if (a.rc)
		return;
	l->rulesets[l->ruleset_count++] = a.id;
	a.left = 1;
	if (ruleset_update(r->w->svc, r->owner, a.id, &edit, ruleset_changed, &a, &err) == 0)
		wait_for(&a);
}

struct hunted {
	struct answer answer;
	char name[RETROHUNT_NAME_BYTES];
};

static void job_made(const struct retrohunt_job *job, int rc, const struct err *err,
		     struct str messages, void *arg)
{
	struct hunted *h = arg;

	(void)err;
	(void)messages;
	h->answer.rc = rc;
	if (rc == 0)
		memcpy(h->name, job->name, sizeof h->name);
	h->answer.left = 0;
}

/* Nobody works at jobs here: one is made, aborted and deleted. */
static void hunt_back(struct run *r)
{
	const struct retrohunt_new ask = { .rules = STR("rule a { condition: true }"),
					   .keep_watching = true };
	struct hunted h = { .answer = { .left = 1 } };
	struct ledger *l = r->ledger;
	struct user owner;
	struct err err;

	if (user_by_id(r->w->svc, r->owner, &owner, &err) != 0 ||
	    retrohunt_create(r->w->svc, &owner, &ask, job_made, &h, &err) != 0)
		return;
	wait_for(&h.answer);
	if (h.answer.rc)
		return;
	l->jobs++;
	l->jobs_aborted += retrohunt_abort(r->w->svc, r->owner, str_of(h.name), NULL, &err) == 0;
	l->jobs_deleted += retrohunt_delete(r->w->svc, r->owner, str_of(h.name), NULL, &err) == 0;
}

static void remove_one(struct run *r, size_t i)
{
	struct ledger *l = r->ledger;
	struct err err;

	l->removal_asked[i] = true;
	l->removed[i] = file_remove(r->w->svc, str_of(l->hex[i]), 0, NULL, &err) == 0;
}

static void work(struct run *r, enum kind kind, uint64_t n)
{
	char text[64], key[USER_KEY_CHARS + 1];
	struct ledger *l = r->ledger;
	size_t first = l->samples;
	struct err err;

	snprintf(text, sizeof text, "sample %d %llu", (int)kind, (unsigned long long)n);
	upload_and_note(r, text, 0);
	upload_and_note(r, text, LARGE_BYTES);
	if (l->samples > first) {
		char again[65];

		(void)upload(r, text, 0, again);
		analyse_again(r, l->hex[first]);
	}
	snprintf(text, sizeof text, "r%d.%llu", (int)kind, (unsigned long long)n);
	change_rulesets(r, text);
	hunt_back(r);
	l->users += user_add(r->w->svc, str_of(text), ROLE_HUNTER, STR(""), NULL, key, &err) == 0;
	if (first > 0 && !l->removal_asked[first - 1])
		remove_one(r, first - 1);
}

/* ---- What must hold ---- */

static void found(const char *check, const char *what, void *arg)
{
	(void)arg;
	if (strcmp(check, "loose") != 0)
		print_error("%s: %s\n", check, what);
}

static void check_sample(struct run *r, size_t i)
{
	struct arena *arena = arena_new("test", 1 << 20);
	struct ledger *l = r->ledger;
	struct file_info info;
	struct err err;
	int rc = file_get(r->w->svc, str_of(l->hex[i]), arena, &info, &err);

	arena_free(arena);
	if (rc == 0 && l->removed[i])
		fail_msg("sample %zu is there, and its removal was acknowledged", i);
	if (rc != 0 && !l->removal_asked[i])
		fail_msg("sample %zu is lost: %s", i, err.msg);
}

static void check(struct run *r)
{
	const struct verify_options plain = { .reclaim = false };
	struct task task = { .found = found };
	struct verify_result verified;
	struct ledger *l = r->ledger;
	struct err err;
	char text[128];

	for (size_t i = 0; i < l->samples; i++)
		check_sample(r, i);
	for (size_t i = 0; i < l->ruleset_count; i++) {
		snprintf(text, sizeof text, "SELECT count(*) FROM ruleset WHERE id = %lld",
			 (long long)l->rulesets[i]);
		if (world_i64(r->w, text) != 1)
			fail_msg("ruleset %zu is lost", i);
	}
	assert_true(world_i64(r->w, "SELECT count(*) FROM user") >= l->users);
	assert_true(world_i64(r->w, "SELECT count(*) FROM retrohunt_job") >= l->jobs);
	assert_true(
		world_i64(r->w, "SELECT count(*) FROM retrohunt_job WHERE status = 'aborted'") >=
		l->jobs_aborted);
	assert_int_equal(world_i64(r->w,
				   "SELECT count(*) FROM retrohunt_job j LEFT JOIN "
				   "retrohunt_watch w ON w.job_id = j.id WHERE w.job_id IS NULL"),
			 0);
	CHECK_OK(service_verify(r->w->svc, &plain, &task, &verified, &err), &err);
	assert_int_equal(task.findings, 0);
}

static void no_line(enum log_level level, struct str line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

/* One run with its failure, one look without; false: the failure never came. */
static bool run_once(struct run *r, enum kind kind, uint64_t n)
{
	struct err err;
	bool came;

	arm(r, kind, n);
	r->w->svc = NULL;
	if (service_open(&r->w->svc, &r->w->options, &err) == 0)
		work(r, kind, n);
	else
		r->w->svc = NULL;
	service_close(r->w->svc);
	came = disarm(r, kind, n);
	world_open(r->w);
	check(r);
	service_close(r->w->svc);
	r->w->svc = NULL;
	return came;
}

static void run_all(enum kind kind)
{
	struct run r = { .w = world_new(), .ledger = mem_must_zalloc(sizeof *r.ledger) };
	char key[USER_KEY_CHARS + 1];
	struct user owner;
	struct err err;
	uint64_t n = 1, runs = 0;

	fault_vfs_register();
	log_set_sink(no_line, NULL);
	failing_init(&r.disk, r.w->dir);
	r.w->options.io = &r.disk.io;
	r.w->options.vfs = "fault";
	r.w->options.unsafe_no_sync = false;
	world_open(r.w);
	CHECK_OK(user_add(r.w->svc, STR("owner"), ROLE_HUNTER, STR(""), NULL, key, &err), &err);
	CHECK_OK(user_get(r.w->svc, STR("owner"), &owner, &err), &err);
	r.owner = owner.id;
	r.ledger->users = 1;
	service_close(r.w->svc);
	while (runs < RUNS_MAX && run_once(&r, kind, n)) {
		runs++;
		n += every_n || n < DENSE ? 1 : STRIDE;
	}
	assert_true(runs > 5 && runs < RUNS_MAX);
	printf("%llu runs, %llu calls, %zu samples\n", (unsigned long long)runs,
	       (unsigned long long)n, r.ledger->samples);
	log_set_sink(NULL, NULL);
	failing_release(&r.disk);
	test_dir_remove(r.w->dir);
	free(r.w);
	free(r.ledger);
}

static void test_the_disk(void **state)
{
	(void)state;
	run_all(KIND_DISK);
}

static void test_the_database(void **state)
{
	(void)state;
	run_all(KIND_DATABASE);
}

static void test_memory(void **state)
{
	(void)state;
	run_all(KIND_MEMORY);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_disk),
		cmocka_unit_test(test_the_database),
		cmocka_unit_test(test_memory),
	};

	WORLD_SCAN_CHILD(argc, argv);
	every_n = argc == 2 && strcmp(argv[1], "all") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
