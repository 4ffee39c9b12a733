#include "query_world.h"

#include <errno.h>
#include <sys/uio.h>

/* ---- against the model -------------------------------------------------------------- */

struct model_run {
	const struct corpus *c;
	struct buf bytes; /* of the plan; owned */
	struct plan *plan;
	struct filter_lot *lot;
	struct query_answer answer;
	bool is_exact;
};

/* The groups that the model says are true for a document. */
static uint64_t truth(const struct model_run *m, uint32_t i)
{
	const struct model_plan model = { (const uint8_t *)m->bytes.p, m->plan };
	const struct model_doc *d = &m->c->docs[i];
	uint64_t mask = 0;

	for (uint32_t rule = 0; rule < plan_rules(m->plan); rule++) {
		struct plan_rule info;

		plan_rule_get(m->plan, rule, &info);
		if (info.flags & PLAN_RULE_PRIVATE || m->lot->groups[rule] == QUERY_NO_GROUP)
			continue;
		if (d->doc.flags & SEGMENT_DOC_ALWAYS ||
		    model_value(&model, true, rule, d, str_make(d->sample.p, d->sample.n)))
			mask |= 1ull << m->lot->groups[rule];
	}
	return mask;
}

static void check_details(const struct model_run *m)
{
	const struct model_plan model = { (const uint8_t *)m->bytes.p, m->plan };
	uint64_t docs;

	for (uint32_t rule = 0; rule < plan_rules(m->plan); rule++) {
		docs = 0;
		for (uint32_t i = 0; i < m->c->count; i++) {
			const struct model_doc *d = &m->c->docs[i];

			docs += passes(m->lot, m->c, i) &&
				(d->doc.flags & SEGMENT_DOC_ALWAYS ||
				 model_value(&model, true, rule, d,
					     str_make(d->sample.p, d->sample.n)));
		}
		assert_true(m->answer.rules[rule].docs >= docs);
		assert_true(m->answer.rules[rule].docs <= m->answer.counters.docs);
		assert_true(m->answer.rules[rule].bytes <= m->answer.counters.doc_bytes);
		if (m->is_exact)
			assert_int_equal(m->answer.rules[rule].docs, docs);
	}
	for (uint32_t string = 0; string < plan_strings(m->plan); string++) {
		docs = 0;
		for (uint32_t i = 0; i < m->c->count; i++)
			docs += passes(m->lot, m->c, i) &&
				model_string(&model, string, &m->c->docs[i]);
		assert_true(m->answer.strings[string].docs >= docs);
		assert_true(m->answer.strings[string].docs <= m->answer.counters.docs);
	}
}

/* Nothing is missing; what is there passes the filter; counters count it. */
static void check_answer(const struct model_run *m)
{
	const struct query_answer *a = &m->answer;
	uint64_t docs = 0, doc_bytes = 0, bytes = 0, groups = 0;
	uint32_t at = 0;

	for (uint32_t rule = 0; rule < plan_rules(m->plan); rule++)
		if (m->lot->groups[rule] != QUERY_NO_GROUP)
			groups |= 1ull << m->lot->groups[rule];
	for (uint32_t i = 0; i < m->c->count; i++) {
		uint64_t want = passes(m->lot, m->c, i) ? truth(m, i) : 0, got = 0;

		if (at < a->count && a->candidates[at].doc == i) {
			got = a->candidates[at++].groups;
			bytes += m->c->docs[i].sample.n;
			assert_true(got != 0 && (got & ~groups) == 0);
			assert_true(passes(m->lot, m->c, i));
		}
		if (want & ~got)
			fail_msg("document %u lacks groups %llx", i,
				 (unsigned long long)(want & ~got));
		if (m->is_exact)
			assert_int_equal(got, want);
		docs += passes(m->lot, m->c, i);
		doc_bytes += passes(m->lot, m->c, i) ? m->c->docs[i].sample.n : 0;
	}
	assert_int_equal(at, a->count);
	assert_int_equal(a->counters.candidates, a->count);
	assert_int_equal(a->counters.candidate_bytes, bytes);
	if (a->counters.blocks_pruned == 0) {
		assert_int_equal(a->counters.docs, docs);
		assert_int_equal(a->counters.doc_bytes, doc_bytes);
	}
}

static void run_one(const struct corpus *c, uint64_t seed, bool has_strings)
{
	struct rand_seq r = { seed };
	struct filter_lot lot;
	struct model_run m = { .c = c, .lot = &lot, .is_exact = !has_strings };
	struct err err;

	m.bytes = model_plan(&r, c->docs, c->count, has_strings);
	filter_by_lot(&lot, c, &r);
	CHECK_OK(plan_new(&m.plan, m.bytes.p, m.bytes.n, &err), &err);
	CHECK_OK(query_run(m.plan, c->seg, &lot.f, &m.answer, &err), &err);
	check_answer(&m);
	assert_true((m.answer.strings != NULL) == lot.f.wants_details);
	if (lot.f.wants_details)
		check_details(&m);
	query_answer_release(&m.answer);
	plan_drop(&m.plan);
	buf_release(&m.bytes);
	filter_release(&lot);
}

static void test_model(void **state)
{
	for (uint64_t seed = 0; seed < 300; seed++)
		run_one(*state, seed, true);
}

static void test_model_exact(void **state)
{
	for (uint64_t seed = 1000; seed < 1200; seed++)
		run_one(*state, seed, false);
}

/* ---- scratch memory that runs out --------------------------------------------------- */

static uint64_t memalign_lot; /* 0: never fails */
static unsigned memalign_calls, memalign_failures;

int __real_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	struct rand_seq r = { memalign_lot + memalign_calls };

	/* The first is the block's own. */
	if (memalign_lot && memalign_calls++ > 0 && rand_below(&r, 2)) {
		memalign_failures++;
		return ENOMEM;
	}
	return __real_posix_memalign(p, align, n);
}

static void test_no_scratch(void **state)
{
	for (uint64_t seed = 2000; seed < 2150; seed++) {
		memalign_lot = seed;
		memalign_calls = 0;
		run_one(*state, seed, true);
	}
	assert_true(memalign_failures > 75);
}

static int no_scratch_down(void **state)
{
	memalign_lot = 0;
	return small_down(state);
}

/* ---- rows that are not in memory ---- */

static bool is_far;
static unsigned far_asked;

ssize_t __real_preadv2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	if (!is_far)
		return __real_preadv2(fd, v, n, at, flags);
	far_asked++;
	errno = EAGAIN;
	return -1;
}

static void test_cold(void **state)
{
	is_far = true;
	for (uint64_t seed = 2500; seed < 2550; seed++)
		run_one(*state, seed, true);
	is_far = false;
	assert_true(far_asked > 10);
}

/* ---- samples of several chunks ------------------------------------------------------ */

static size_t size_large(uint32_t i, struct rand_seq *r)
{
	static const size_t odd[] = { SEGMENT_CHUNK_FROM, SEGMENT_CHUNK_FROM + 1,
				      2 * SEGMENT_CHUNK_BYTES + SEGMENT_CHUNK_OVERLAP + 77 };

	return i < COUNT_OF(odd) ? odd[i] : rand_below(r, 5000);
}

/* Runs that begin on either side of each border of chunks, in every place of theirs. */
static void test_chunk_borders(void **state)
{
	struct corpus *c = corpus_new(30, size_large, 5);
	struct filter_lot lot;
	unsigned looked = 0;

	(void)state;
	filter_all(&lot, SEGMENT_MAIN);
	for (uint32_t i = 0; i < c->count; i++) {
		const struct sample *s = &c->docs[i].sample;

		for (size_t border = SEGMENT_CHUNK_BYTES; border < s->n;
		     border += SEGMENT_CHUNK_BYTES) {
			for (int before = 0; before <= 4096 && border + 4 <= s->n; before += 512) {
				size_t at = border - (size_t)before;
				size_t n = s->n - at < 4096 ? s->n - at : 4096;
				struct model_run m = { .c = c, .lot = &lot };
				struct plan_make make;
				struct err err;

				plan_make_init(&make);
				plan_op_run(&make, plan_make_run(&make, s->p + at, n, false));
				plan_make_string(&make, 0, "$", before % 1024 == 0);
				plan_op_string(&make, 0);
				plan_make_rule(&make, "r", 0);
				buf_init(&m.bytes, PLAN_BYTES_MAX);
				plan_make_end(&make, &m.bytes);
				plan_make_release(&make);
				lot.f.corpus = (enum segment_corpus)c->docs[i].doc.corpus;
				CHECK_OK(plan_new(&m.plan, m.bytes.p, m.bytes.n, &err), &err);
				CHECK_OK(query_run(m.plan, c->seg, &lot.f, &m.answer, &err), &err);
				check_answer(&m);
				query_answer_release(&m.answer);
				plan_drop(&m.plan);
				buf_release(&m.bytes);
				looked++;
			}
		}
	}
	assert_true(looked > 30);
	for (uint64_t seed = 3000; seed < 3040; seed++)
		run_one(c, seed, true);
	corpus_free(c);
}

/*
 * Two runs far apart in a sample: a string whose parts may lie anywhere is found, one
 * whose matches are short is not looked for across chunks.
 */
static void test_local(void **state)
{
	struct corpus *c = corpus_new(8, size_large, 9);
	uint32_t found[2] = { 0 };

	(void)state;
	for (int is_local = 0; is_local < 2; is_local++) {
		for (uint32_t i = 0; i < c->count; i++) {
			const struct sample *s = &c->docs[i].sample;
			struct filter_lot lot;
			struct plan_make make;
			struct buf b = BUF_INIT(PLAN_BYTES_MAX);
			struct query_answer answer;
			struct plan *plan;
			struct err err;

			if (s->n <= SEGMENT_CHUNK_FROM || c->docs[i].doc.flags & SEGMENT_DOC_ALWAYS)
				continue;
			/* Made different from all else, so that grams tell them. */
			plan_make_init(&make);
			plan_op_run(&make, plan_make_run(&make, s->p + 1000, 60, false));
			plan_op_run(&make, plan_make_run(&make, s->p + s->n - 99, 60, false));
			plan_op_and(&make, 2);
			plan_make_string(&make, 0, "$", is_local);
			plan_op_string(&make, 0);
			plan_make_rule(&make, "r", 0);
			plan_make_end(&make, &b);
			plan_make_release(&make);
			filter_all(&lot, (enum segment_corpus)c->docs[i].doc.corpus);
			CHECK_OK(plan_new(&plan, b.p, b.n, &err), &err);
			CHECK_OK(query_run(plan, c->seg, &lot.f, &answer, &err), &err);
			for (uint32_t k = 0; k < answer.count; k++)
				found[is_local] += answer.candidates[k].doc == i;
			query_answer_release(&answer);
			plan_drop(&plan);
			buf_release(&b);
		}
	}
	assert_true(found[0] >= 2);
	assert_true(found[1] < found[0]);
	corpus_free(c);
}

/* ---- many blocks -------------------------------------------------------------------- */

static bool has_candidate(const struct query_answer *a, uint32_t doc)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (a->candidates[i].doc == doc)
			return true;
	return false;
}

/* Bytes that others hardly have. */
static bool is_varied(const struct sample *s)
{
	uint64_t seen[4] = { 0 };
	int n = 0;

	for (size_t i = 0; i < s->n; i++)
		seen[s->p[i] / 64] |= 1ull << s->p[i] % 64;
	for (int i = 0; i < 4; i++)
		n += __builtin_popcountll(seen[i]);
	return n > 20;
}

/* Every 401st of 70,000 documents by its own bytes, and the first and last of each block. */
static void test_blocks(void **state)
{
	struct corpus *c = corpus_new(70000, size_tiny, 11);
	struct filter_lot lot;
	uint64_t all = 0;
	unsigned looked = 0;

	(void)state;
	assert_true(segment_blocks(c->seg) >= 3);
	for (uint32_t i = 0; i < c->count; i++) {
		const struct sample *s = &c->docs[i].sample;
		const struct segment_block *b = block_of(c->seg, i);
		struct query_answer answer;
		struct plan *plan;
		struct err err;

		if (i % 401 != 0 && i != b->doc_first && i + 1 != b->doc_first + b->doc_count)
			continue;
		plan = plan_of_run(s->p, s->n);
		filter_all(&lot, (enum segment_corpus)c->docs[i].doc.corpus);
		CHECK_OK(query_run(plan, c->seg, &lot.f, &answer, &err), &err);
		assert_true(has_candidate(&answer, i));
		assert_int_equal(answer.counters.blocks, segment_blocks(c->seg));
		if (is_varied(s)) {
			all += answer.count;
			looked++;
		}
		query_answer_release(&answer);
		plan_drop(&plan);
	}
	/* And hardly anything else: documents with ALWAYS are a thirtieth. */
	if (looked < 20 || all / looked > c->count / 20)
		fail_msg("%u looked for, %llu found", looked, (unsigned long long)all);
	corpus_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_model, small_up, small_down),
		cmocka_unit_test_setup_teardown(test_model_exact, small_up, small_down),
		cmocka_unit_test_setup_teardown(test_no_scratch, small_up, no_scratch_down),
		cmocka_unit_test_setup_teardown(test_cold, small_up, small_down),
		cmocka_unit_test(test_chunk_borders),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
