#include "query_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "query_internal.h"

/*
 * Rows that come from a disk. The disk is played: a page is in memory when it was asked for
 * or read, and every request is noted.
 */
enum {
	PAGE = SEGMENT_PAGE_BYTES,
	DISK_PAGES = 1 << 16,
	RUN_BYTES = 16,
	KEYS = 255,
	REQUEST_BYTES_MAX = 128 << 10 /* the kernel reads no more of one */
};

static struct {
	bool is_played;
	bool near[DISK_PAGES];
	uint64_t requests, pages; /* asked for */
	uint64_t again;           /* of these, such that were in memory */
	uint64_t waits;           /* pages that were read without having been asked for */
	uint64_t largest;         /* bytes of a request */
} disk;

static void disk_begin(bool is_played)
{
	memset(&disk, 0, sizeof disk);
	disk.is_played = is_played;
}

static bool *disk_page(uint64_t page)
{
	assert_true(page < DISK_PAGES);
	return &disk.near[page];
}

ssize_t __real_preadv2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	if (!disk.is_played || *disk_page((uint64_t)at / PAGE))
		return __real_preadv2(fd, v, n, at, flags);
	errno = EAGAIN;
	return -1;
}

ssize_t __real_pread(int fd, void *p, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *p, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *p, size_t n, off_t at)
{
	if (disk.is_played) {
		disk.waits += !*disk_page((uint64_t)at / PAGE);
		*disk_page((uint64_t)at / PAGE) = true;
	}
	return __real_pread(fd, p, n, at);
}

int __wrap_posix_fadvise(int fd, off_t at, off_t n, int advice);
int __wrap_posix_fadvise(int fd, off_t at, off_t n, int advice)
{
	(void)fd;
	assert_int_equal(advice, POSIX_FADV_WILLNEED);
	if (!disk.is_played)
		return 0;
	disk.requests++;
	disk.pages += (uint64_t)n / PAGE;
	disk.largest = (uint64_t)n > disk.largest ? (uint64_t)n : disk.largest;
	for (uint64_t page = (uint64_t)at / PAGE; page < (uint64_t)(at + n) / PAGE; page++) {
		disk.again += *disk_page(page);
		*disk_page(page) = true;
	}
	return 0;
}

/* ---- a corpus with matrices of many pages ---- */

static size_t size_mixed(uint32_t i, struct rand_seq *r)
{
	if (i % 40 == 0)
		return (1u << 20) + rand_below(r, 1u << 20);
	return i % 3 == 0 ? 100000 + rand_below(r, 100000) : rand_below(r, 20000);
}

static int mixed_up(void **state)
{
	*state = corpus_new(400, size_mixed, 21);
	return 0;
}

/* Open it again: no page was looked at. */
static void reopen(struct corpus *c)
{
	struct err err;

	segment_unref(c->seg);
	CHECK_OK(segment_open(&c->seg, c->w.io, "a.seg", &err), &err);
}

/* One string that is any of n random runs. */
static struct plan *plan_of_any(unsigned n, uint64_t seed)
{
	struct rand_seq r = { seed };
	struct plan_make m;

	plan_make_init(&m);
	for (unsigned i = 0; i < n; i++) {
		uint64_t run[RUN_BYTES / 8] = { rand_next(&r), rand_next(&r) };

		plan_op_run(&m, plan_make_run(&m, run, sizeof run, false));
	}
	if (n > 1)
		plan_op_or(&m, n);
	return plan_of_string(&m);
}

static void ask(const struct corpus *c, const struct plan *plan, const struct query_filter *f,
		struct query_answer *ret)
{
	struct err err;

	CHECK_OK(query_run(plan, c->seg, f, ret, &err), &err);
}

/* ---- the same answers ---- */

static void check_same(const struct query_answer *a, const struct query_answer *b,
		       const struct plan *plan)
{
	assert_int_equal(a->count, b->count);
	for (uint32_t i = 0; i < a->count; i++) {
		assert_int_equal(a->candidates[i].doc, b->candidates[i].doc);
		assert_int_equal(a->candidates[i].groups, b->candidates[i].groups);
	}
	assert_int_equal(a->counters.rows, b->counters.rows);
	assert_int_equal(a->counters.row_bytes, b->counters.row_bytes);
	assert_int_equal(a->counters.docs, b->counters.docs);
	assert_int_equal(a->counters.doc_bytes, b->counters.doc_bytes);
	assert_int_equal(a->counters.candidate_bytes, b->counters.candidate_bytes);
	for (uint32_t i = 0; a->rules && i < plan_rules(plan); i++)
		assert_memory_equal(&a->rules[i], &b->rules[i], sizeof a->rules[i]);
}

static void test_same_answers(void **state)
{
	struct corpus *c = *state;
	uint64_t asked = 0;

	for (uint64_t seed = 1; seed <= 80; seed++) {
		struct rand_seq r = { seed };
		struct query_answer cold, warm;
		struct filter_lot lot;
		struct plan *plan;
		struct buf b;
		struct err err;

		b = model_plan(&r, c->docs, c->count, true);
		CHECK_OK(plan_new(&plan, b.p, b.n, &err), &err);
		filter_by_lot(&lot, c, &r);
		reopen(c);
		disk_begin(true);
		ask(c, plan, &lot.f, &cold);
		asked += disk.requests;
		disk_begin(false);
		ask(c, plan, &lot.f, &warm);
		check_same(&cold, &warm, plan);
		query_answer_release(&cold);
		query_answer_release(&warm);
		filter_release(&lot);
		plan_drop(&plan);
		buf_release(&b);
	}
	assert_true(asked > 500);
}

/* ---- few waits, few requests ---- */

/* Nothing that was not asked for is waited for; no page twice; requests not above `most`. */
static void check_disk(struct corpus *c, unsigned runs, uint64_t most)
{
	struct plan *plan = plan_of_any(runs, 100 + runs);
	struct filter_lot lot;
	struct query_answer answer;

	filter_all(&lot, SEGMENT_MAIN);
	reopen(c);
	disk_begin(true);
	ask(c, plan, &lot.f, &answer);
	disk.is_played = false;
	assert_int_equal(disk.waits, 0);
	assert_true(answer.counters.rows > 20ull * runs);
	assert_true(disk.largest <= REQUEST_BYTES_MAX);
	if (disk.requests > most || disk.again > disk.pages / 4)
		fail_msg("%u runs: %llu requests for %llu pages, %llu of them again; %llu rows",
			 runs, (unsigned long long)disk.requests, (unsigned long long)disk.pages,
			 (unsigned long long)disk.again, (unsigned long long)answer.counters.rows);
	assert_true(disk.pages * PAGE < segment_file_bytes(c->seg) * 5 / 4);
	query_answer_release(&answer);
	plan_drop(&plan);
}

static void test_one_run(void **state)
{
	check_disk(*state, 1, 80);
}

/* All keys of a xor: the matrices in sequence, not row by row. */
static void test_many_runs(void **state)
{
	struct corpus *c = *state;

	check_disk(c, KEYS, 3 * segment_file_bytes(c->seg) / REQUEST_BYTES_MAX);
}

/* In memory nothing is asked for. */
static void test_near(void **state)
{
	struct corpus *c = *state;
	struct plan *plan = plan_of_any(KEYS, 5);
	struct filter_lot lot;
	struct query_answer answer;

	filter_all(&lot, SEGMENT_MAIN);
	disk_begin(true);
	memset(disk.near, 1, sizeof disk.near);
	ask(c, plan, &lot.f, &answer);
	disk.is_played = false;
	assert_int_equal(disk.requests, 0);
	query_answer_release(&answer);
	plan_drop(&plan);
}

/* ---- bounds ---- */

/* Rows of a matrix larger than any: the room is full at some time, and gaps are not read. */
static void test_bounded(void **state)
{
	const struct corpus *c = *state;
	const struct segment_matrix m = {
		.class = 16, .columns = 1, .row_bytes = 1, .row_bits = 8
	};
	struct query_counters counters = { 0 };
	struct query_filter filter = { 0 };
	struct query q = { .seg = c->seg, .filter = &filter, .counters = &counters };
	uint32_t n = 0;

	disk_begin(true);
	/* Every other page, each twice: that is one. */
	for (uint32_t page = 0; page < DISK_PAGES / 2; page++) {
		const struct segment_matrix far = { .class = SEGMENT_CLASS_MIN,
						    .row_bytes = 1,
						    .row_bits = 8,
						    .rows_at = 2ull * page * PAGE };

		n += query_ahead_row(&q, &far, 0);
		n += query_ahead_row(&q, &far, 0);
	}
	assert_int_equal(n, QUERY_AHEAD_PAGES);
	assert_false(query_ahead_row(&q, &m, 0));
	query_ahead_read(&q);
	disk.is_played = false;
	assert_true(disk.pages >= DISK_PAGES / 2);
	assert_true(disk.pages <= QUERY_AHEAD_PAGES);
	query_ahead_release(&q);
}

static bool count_down(void *arg)
{
	unsigned *left = arg;

	return *left > 0 && --*left > 0;
}

/* Who gives up does not wait until all is asked for. */
static void test_given_up(void **state)
{
	const struct corpus *c = *state;
	unsigned left = 2;
	struct query_counters counters = { 0 };
	struct query_filter filter = { .goes_on = count_down, .arg = &left };
	struct query q = { .seg = c->seg, .filter = &filter, .counters = &counters };

	disk_begin(true);
	for (uint32_t page = 0; page < DISK_PAGES; page += 32) {
		const struct segment_matrix far = { .class = SEGMENT_CLASS_MIN,
						    .row_bytes = 1,
						    .row_bits = 8,
						    .rows_at = (uint64_t)page * PAGE };

		assert_true(query_ahead_row(&q, &far, 0));
	}
	query_ahead_read(&q);
	disk.is_played = false;
	assert_true(q.is_stopped);
	assert_in_range(disk.requests, 100, 400); /* of 2,048 */
	query_ahead_release(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_answers), cmocka_unit_test(test_one_run),
		cmocka_unit_test(test_many_runs),    cmocka_unit_test(test_near),
		cmocka_unit_test(test_bounded),      cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, mixed_up, small_down);
}
