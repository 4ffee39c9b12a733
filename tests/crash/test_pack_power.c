#include "pack_world.h"

#include <errno.h>

#include "base/thread.h"
#include "simdisk.h"

/*
 * Packs on a disk that loses power, and on one whose calls fail: whatever
 * packs_sync acknowledged is there afterwards, and what was erased is not.
 */
enum {
	WORK_STEPS = 60,
	WORK_MAX = 400
};

struct sample {
	uint64_t n;
	struct pack_locator at;
	bool acked;
	bool erase; /* asked for; the caller keeps the intent and repeats it */
};

/* What a program that uses packs knows. Survives the lives of a disk. */
struct work {
	struct rand_seq r;
	struct sample samples[WORK_MAX];
	size_t n;
	size_t acked_to; /* samples before this one are settled */
	uint64_t next;
};

static const struct packs_options OPTIONS = { 12000, 6000, 0 };

static void add_sample(struct work *w, struct packs *p, int *rc, struct err *err)
{
	struct sample *s = &w->samples[w->n];
	uint64_t kind = rand_below(&w->r, 10);
	size_t len = rand_below(&w->r, kind == 9 ? 20000 : kind >= 7 ? 5999 : 1500);

	REQUIRE(w->n < WORK_MAX);
	*s = (struct sample){ .n = w->next++ };
	if (kind >= 6)
		*rc = sample_stream(p, s->n, len, 1 + rand_below(&w->r, 5000), &s->at, err);
	else
		*rc = sample_append(p, s->n, len, &s->at, err);
	w->n += *rc == 0;
}

/* The owners of what was not acknowledged were told so, and forget it. */
static void forget(struct work *w)
{
	w->n = w->acked_to;
}

static int erase_all(struct work *w, struct packs *p, struct err *err)
{
	for (size_t i = 0; i < w->acked_to; i++) {
		if (w->samples[i].erase)
			TRY(packs_erase(p, &w->samples[i].at, err));
	}
	return 0;
}

static int step(struct work *w, struct packs *p, struct err *err)
{
	uint64_t kind = rand_below(&w->r, 20);
	int rc = 0;

	if (kind < 13) {
		add_sample(w, p, &rc, err);
	} else if (kind < 18 || w->acked_to == 0) {
		TRY(packs_sync(p, err));
		for (; w->acked_to < w->n; w->acked_to++)
			w->samples[w->acked_to].acked = true;
	} else {
		struct sample *s = &w->samples[rand_below(&w->r, w->acked_to)];

		s->erase = true;
		rc = packs_erase(p, &s->at, err);
	}
	return rc;
}

/* One life: to the first failure if `stop`, else on, opening anew after a failed sync. */
static void live(struct work *w, struct simdisk *d, int steps, bool stop)
{
	struct packs *p = NULL;
	struct err err;

	for (int i = 0; i < steps; i++) {
		int rc = 0;

		if (!p)
			rc = packs_open(&p, simdisk_io(d), &OPTIONS, &err);
		if (rc == 0)
			rc = step(w, p, &err);
		if (rc != 0 && (stop || simdisk_is_off(d)))
			break;
		if (rc != 0 || i == steps / 2) {
			packs_close(p);
			p = NULL;
			forget(w);
		}
	}
	packs_close(p);
	forget(w);
}

/* *ret_why: what is not as it was promised, or NULL. */
static void survey(struct work *w, struct packs *p, char why[200])
{
	struct walked walked;
	struct err err;

	why[0] = '\0';
	CHECK_OK(erase_all(w, p, &err), &err);
	for (size_t i = 0; i < w->n && !why[0]; i++) {
		const struct sample *s = &w->samples[i];

		if (!s->erase && !sample_is_there(p, s->n, &s->at))
			snprintf(why, 200, "sample %d of %d in pack %u at %llu is gone", (int)i,
				 (int)w->n, s->at.pack, (unsigned long long)s->at.offset);
	}
	walked = walk_all(p);
	if (walked.bad > 0 && !why[0])
		snprintf(why, 200, "pack %u at %llu: %s", walked.bad_pack,
			 (unsigned long long)walked.bad_offset, walked.what);
	if (walked.records < w->n - walked.erased && !why[0])
		snprintf(why, 200, "the walk saw %u + %u of %d", walked.records, walked.erased,
			 (int)w->n);
}

/* As survey, over what survived (a copy of it); false: it is not all well. */
static bool check(struct work *w, const char *dir, char why[200])
{
	const struct simdisk_options calm = { 0 };
	struct packs *p = NULL;
	struct simdisk *d;
	struct err err;

	CHECK_OK(simdisk_new(&d, dir, &calm, &err), &err);
	/* Once for the recovery, once for what it left. */
	for (int round = 0; round < 2; round++) {
		if (packs_open(&p, simdisk_io(d), &OPTIONS, &err) != 0) {
			snprintf(why, 200, "%.190s", err.msg);
			simdisk_free(d);
			return false;
		}
		/* A sample that cannot be erased any more is a loss too. */
		for (size_t i = 0; i < w->n && !why[0]; i++) {
			if (w->samples[i].erase && packs_erase(p, &w->samples[i].at, &err) != 0)
				snprintf(why, 200, "%.190s", err.msg);
		}
		if (!why[0])
			survey(w, p, why);
		packs_close(p);
		if (why[0])
			break;
	}
	simdisk_free(d);
	return !why[0];
}

struct run {
	struct simdisk_options options;
	int lives;
	bool stop;
};

/* Lives of one disk; *ret_syncs and *ret_calls: of the first. */
static bool run_lives(struct run run, uint64_t *ret_syncs, uint64_t *ret_calls, char why[200])
{
	struct work *w = mem_must_zalloc(sizeof *w);
	char *dir = test_dir_new();
	bool good = true;

	w->r.state = run.options.seed;
	why[0] = '\0';
	for (int i = 0; i < run.lives && good; i++) {
		struct simdisk *d;
		struct err err;

		CHECK_OK(simdisk_new(&d, dir, &run.options, &err), &err);
		live(w, d, WORK_STEPS, run.stop);
		if (i == 0) {
			*ret_syncs = simdisk_syncs(d);
			*ret_calls = simdisk_calls(d);
		}
		CHECK_OK(simdisk_crash_image(d, &err), &err);
		simdisk_free(d);
		good = check(w, dir, why);
		run.options.seed += 1000003;
		run.options.crash_at_sync = run.options.crash_at_sync / 2 + 2;
	}
	free(w);
	test_dir_remove(dir);
	return good;
}

static void test_power(void **state)
{
	enum {
		SEEDS = WEIR_SANITIZED ? 3 : 12
	};
	unsigned cuts = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t syncs, calls, ignored;
		char why[200];

		assert_true(
			run_lives((struct run){ { .seed = seed }, 1, true }, &syncs, &calls, why));
		assert_true(syncs > 10);
		for (uint64_t k = 1; k <= syncs; k++, cuts++) {
			struct run run = { { .seed = seed, .crash_at_sync = k }, 3, true };

			if (!run_lives(run, &ignored, &calls, why))
				fail_msg("seed %d, power lost at sync %d: %s", (int)seed, (int)k,
					 why);
		}
	}
	print_message("%u power cuts, and two more lives after each\n", cuts);
}

/* The same with syncs that do nothing must fail, or the test shows nothing. */
static void test_without_syncs(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t syncs, calls;
		char why[200];
		struct run run = { { .seed = seed, .crash_at_sync = 15, .no_sync = true },
				   1,
				   true };

		failed += !run_lives(run, &syncs, &calls, why);
	}
	assert_true(failed > 10);
}

/* Every call fails once, and later the power goes. */
static void test_faults(void **state)
{
	enum {
		STRIDE = WEIR_SANITIZED ? 3 : 1
	};
	static const int errnos[] = { ENOSPC, EIO };
	uint64_t syncs, calls, ignored;
	char why[200];

	(void)state;
	for (size_t e = 0; e < COUNT_OF(errnos); e++) {
		uint64_t seed = 50 + e;
		struct run run = { { .seed = seed, .fail_errno = errnos[e] }, 1, false };

		assert_true(run_lives(run, &syncs, &calls, why));
		for (uint64_t n = 1; n <= calls; n += STRIDE) {
			run.options.fail_at_call = n;
			if (!run_lives(run, &syncs, &ignored, why))
				fail_msg("call %d fails with errno %d: %s", (int)n, errnos[e], why);
		}
		print_message("%d calls failed\n", (int)calls);
	}
}

/* A failed sync is told to all whose samples it was for, and never made good by a second one. */
static void test_failed_sync_stays(void **state)
{
	struct pack_locator a, b, c;
	struct packs *p;
	struct simdisk *d;
	struct err err, again;
	char *dir = test_dir_new();
	struct simdisk_options options = { .seed = 7, .fail_errno = EIO };

	(void)state;
	/* mkdir, sync, sync; new pack: open, write, sync, rename; two appends; the sync. */
	options.fail_at_call = 10;
	CHECK_OK(simdisk_new(&d, dir, &options, &err), &err);
	CHECK_OK(packs_open(&p, simdisk_io(d), &OPTIONS, &err), &err);
	CHECK_OK(sample_append(p, 1, 100, &a, &err), &err);
	CHECK_OK(sample_append(p, 2, 100, &b, &err), &err);
	assert_int_equal(simdisk_calls(d), 9);
	assert_int_equal(packs_sync(p, &err), -ERR_IO);
	assert_non_null(strstr(err.msg, "pack 1 may have lost samples"));
	assert_int_equal(packs_sync(p, &again), -ERR_IO);
	assert_string_equal(err.msg, again.msg);
	assert_int_equal(sample_append(p, 3, 100, &c, &again), -ERR_IO);
	assert_true(sample_is_there(p, 1, &a));
	packs_close(p);
	CHECK_OK(packs_open(&p, simdisk_io(d), &OPTIONS, &err), &err);
	CHECK_OK(sample_append(p, 3, 100, &c, &err), &err);
	CHECK_OK(packs_sync(p, &err), &err);
	packs_close(p);
	CHECK_OK(simdisk_crash_image(d, &err), &err);
	simdisk_free(d);
	test_dir_remove(dir);
}

struct thrower {
	struct packs *p;
	uint64_t from;
	struct pack_locator at[100];
	size_t acked;
};

static void thrower_run(void *arg)
{
	struct thrower *t = arg;

	for (size_t i = 0; i < COUNT_OF(t->at); i++) {
		uint64_t n = t->from + i;

		if (sample_append(t->p, n, n * 37 % 2000, &t->at[i], NULL) != 0 ||
		    packs_sync(t->p, NULL) != 0)
			break;
		t->acked = i + 1;
	}
}

/* Several threads that share syncs: each one's acknowledged samples are there. */
static void test_threads(void **state)
{
	enum {
		THREADS = 6
	};
	static struct thrower throwers[THREADS];
	unsigned acked = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 15; seed++) {
		struct simdisk_options options = { .seed = seed, .crash_at_sync = 5 + 9 * seed };
		struct thread threads[THREADS] = { 0 };
		char *dir = test_dir_new();
		struct simdisk *d;
		struct packs *p;
		struct io *io;
		struct err err;

		CHECK_OK(simdisk_new(&d, dir, &options, &err), &err);
		CHECK_OK(packs_open(&p, simdisk_io(d), &OPTIONS, &err), &err);
		for (size_t i = 0; i < THREADS; i++) {
			throwers[i] = (struct thrower){ .p = p, .from = 1000 * i };
			CHECK_OK(
				thread_start(&threads[i], "throw", thrower_run, &throwers[i], &err),
				&err);
		}
		for (size_t i = 0; i < THREADS; i++)
			thread_join(&threads[i]);
		packs_close(p);
		CHECK_OK(simdisk_crash_image(d, &err), &err);
		CHECK_OK(io_posix_new(&io, simdisk_durable(d), &err), &err);
		CHECK_OK(packs_open(&p, io, &OPTIONS, &err), &err);
		for (size_t i = 0; i < THREADS; i++) {
			for (size_t j = 0; j < throwers[i].acked; j++, acked++) {
				if (!sample_is_there(p, 1000 * i + j, &throwers[i].at[j]))
					fail_msg("seed %d: sample %d is gone", (int)seed,
						 (int)(1000 * i + j));
			}
		}
		assert_int_equal(walk_all(p).bad, 0);
		packs_close(p);
		io_posix_free(io);
		simdisk_free(d);
		test_dir_remove(dir);
	}
	print_message("%u samples acknowledged\n", acked);
	assert_true(acked > 500);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power),   cmocka_unit_test(test_without_syncs),
		cmocka_unit_test(test_faults),  cmocka_unit_test(test_failed_sync_stays),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
