#include "query_world.h"

/* ---- single rows of what was promised ----------------------------------------------- */

/* A plan of one rule whose code the caller wrote into m. */
static struct plan *plan_of(struct plan_make *m)
{
	struct buf b = BUF_INIT(PLAN_BYTES_MAX);
	struct plan *plan;
	struct err err;

	plan_make_rule(m, "r", 0);
	plan_make_end(m, &b);
	plan_make_release(m);
	CHECK_OK(plan_new(&plan, b.p, b.n, &err), &err);
	buf_release(&b);
	return plan;
}

static struct plan *plan_of_feature(uint64_t hash)
{
	struct plan_make m;

	plan_make_init(&m);
	plan_op_feature(&m, hash);
	return plan_of(&m);
}

static struct query_answer ask_all(const struct corpus *c, const struct plan *plan,
				   const struct filter_lot *lot)
{
	struct query_answer answer;
	struct err err;

	CHECK_OK(query_run(plan, c->seg, &lot->f, &answer, &err), &err);
	return answer;
}

/* Features of another extractor say nothing. */
static void test_features_version(void **state)
{
	struct corpus *c = *state;
	struct plan *plan = plan_of_feature(model_feature(3));
	struct filter_lot lot;
	struct query_answer same, other;

	filter_all(&lot, SEGMENT_MAIN);
	same = ask_all(c, plan, &lot);
	assert_true(same.count > 0 && same.count < same.counters.docs);
	assert_int_equal(same.counters.features_lost, 0);
	lot.f.features_version = QUERY_WORLD_VERSION + 1;
	other = ask_all(c, plan, &lot);
	assert_int_equal(other.count, other.counters.docs);
	assert_int_equal(other.counters.features_lost, 1);
	query_answer_release(&same);
	query_answer_release(&other);
	plan_drop(&plan);
}

/* A run that is nowhere leaves little, and is given up early. */
static void test_absent(void **state)
{
	struct corpus *c = *state;
	uint64_t docs = 0, rows = 0, found = 0, always = 0;
	struct rand_seq r = { 77 };

	for (uint32_t i = 0; i < c->count; i++)
		always += c->docs[i].doc.corpus == SEGMENT_MAIN &&
			  c->docs[i].doc.flags & SEGMENT_DOC_ALWAYS;

	for (int i = 0; i < 200; i++) {
		uint64_t run[2] = { rand_next(&r), rand_next(&r) };
		struct plan *plan = plan_of_run(run, sizeof run);
		struct filter_lot lot;
		struct query_answer answer;

		filter_all(&lot, SEGMENT_MAIN);
		lot.f.wants_details = true;
		answer = ask_all(c, plan, &lot);
		found += answer.strings[0].docs - always;
		docs += answer.counters.docs;
		rows += answer.counters.rows;
		assert_int_equal(answer.strings[0].rows, answer.counters.rows);
		assert_int_equal(answer.rules[0].row_bytes, answer.counters.row_bytes);
		query_answer_release(&answer);
		plan_drop(&plan);
	}
	assert_true(found * 200 < docs);
	assert_true(rows > 0);
}

/* A document of a group is told once, whatever rules of it match; private ones have none. */
static void test_groups(void **state)
{
	struct corpus *c = *state;
	struct filter_lot lot;
	struct query_answer answer;
	struct plan_make m;
	struct plan *plan;

	plan_make_init(&m);
	for (unsigned i = 0; i < 3; i++) {
		plan_op_size(&m, 0, 50);
		plan_make_rule(&m, "r", i == 1 ? PLAN_RULE_PRIVATE : 0);
	}
	plan_op_size(&m, 0, 100);
	plan = plan_of(&m);
	filter_all(&lot, SEGMENT_MAIN);
	lot.groups[0] = lot.groups[2] = 63;
	lot.groups[1] = 5;
	lot.groups[3] = 0;
	answer = ask_all(c, plan, &lot);
	assert_true(answer.count > 0);
	for (uint32_t i = 0; i < answer.count; i++) {
		const struct model_doc *d = &c->docs[answer.candidates[i].doc];
		uint64_t want = 1 | (d->sample.n <= 50 ? 1ull << 63 : 0);

		if (d->doc.flags & SEGMENT_DOC_ALWAYS)
			want = 1 | 1ull << 63;
		assert_int_equal(answer.candidates[i].groups, want);
	}
	query_answer_release(&answer);
	for (unsigned i = 0; i < 4; i++)
		lot.groups[i] = QUERY_NO_GROUP;
	answer = ask_all(c, plan, &lot);
	assert_int_equal(answer.count, 0);
	query_answer_release(&answer);
	plan_drop(&plan);
}

/* ---- what may happen meanwhile ------------------------------------------------------ */

struct asked {
	unsigned times, until;
};

static bool goes_on(void *arg)
{
	struct asked *a = arg;

	return ++a->times <= a->until;
}

/* Stopped at each question it asks, and not at all. */
static void test_stop(void **state)
{
	struct corpus *c = corpus_new(34000, size_tiny, 21);
	struct filter_lot lot;
	struct asked asked = { 0, UINT32_MAX };
	struct query_answer answer = { .count = 77 };
	struct plan_make m;
	struct plan *plan;
	struct err err;
	unsigned all;

	(void)state;
	plan_make_init(&m);
	for (unsigned i = 0; i < 8000; i++) {
		plan_op_run(&m, plan_make_run(&m, &(uint32_t){ i * 0x01010101u }, 4, false));
		if (i % 1000 == 999)
			plan_op_or(&m, 1000);
	}
	plan_op_or(&m, 8);
	plan_make_string(&m, 0, "$", true);
	plan_op_string(&m, 0);
	plan = plan_of(&m);
	filter_all(&lot, SEGMENT_MAIN);
	lot.f.goes_on = goes_on;
	lot.f.arg = &asked;
	CHECK_OK(query_run(plan, c->seg, &lot.f, &answer, &err), &err);
	query_answer_release(&answer);
	all = asked.times;
	assert_true(all > segment_blocks(c->seg)); /* also within a block */
	for (unsigned until = 0; until < all; until++) {
		asked = (struct asked){ 0, until };
		answer.count = 77;
		assert_int_equal(query_run(plan, c->seg, &lot.f, &answer, &err), -ERR_CLOSED);
		assert_int_equal(answer.count, 77);
		assert_int_equal(asked.times, until + 1);
	}
	plan_drop(&plan);
	corpus_free(c);
}

static void damaged(struct segment *seg, uint64_t offset, void *arg)
{
	(void)seg;
	(void)offset;
	(*(unsigned *)arg)++;
}

/* All rows of the largest class are broken: each document of the block is a candidate. */
static void test_damage(void **state)
{
	struct corpus *c = corpus_new(300, size_small, 31);
	struct filter_lot lot;
	struct query_answer answer;
	unsigned told = 0;
	uint8_t run[16] = "not in a sample";
	struct plan *plan = plan_of_run(run, sizeof run);
	const struct segment_block *b = segment_block_at(c->seg, 0);
	const struct segment_matrix m = b->matrices[b->matrix_count - 1];
	uint64_t rows_bytes = (uint64_t)m.row_bits * gram_rows(m.class) / 8;
	struct err err;
	uint8_t *bytes;
	size_t n;

	(void)state;
	segment_unref(c->seg);
	bytes = file_load(&c->w, "a.seg", &n);
	for (uint64_t i = 0; i < rows_bytes; i += i + 4096 < rows_bytes ? 4096 : rows_bytes - i)
		bytes[m.rows_at + i] ^= 1;
	file_store(&c->w, "a.seg", bytes, n);
	free(bytes);
	CHECK_OK(segment_open(&c->seg, c->w.io, "a.seg", &err), &err);
	segment_on_damage(c->seg, damaged, &told);
	filter_all(&lot, SEGMENT_MAIN);
	lot.f.wants_details = true;
	answer = ask_all(c, plan, &lot);
	assert_int_equal(answer.counters.blocks_damaged, 1);
	assert_int_equal(answer.count, answer.counters.docs);
	assert_int_equal(answer.strings[0].docs, answer.counters.docs);
	assert_int_equal(answer.rules[0].bytes, answer.counters.doc_bytes);
	assert_true(told > 0);
	query_answer_release(&answer);
	/* Others, that are true without rows, still narrow. */
	plan_drop(&plan);
	plan = plan_of_feature(model_feature(3));
	answer = ask_all(c, plan, &lot);
	assert_int_equal(answer.counters.blocks_damaged, 0);
	assert_true(answer.count < answer.counters.docs);
	query_answer_release(&answer);
	plan_drop(&plan);
	corpus_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_features_version, small_up, small_down),
		cmocka_unit_test_setup_teardown(test_absent, small_up, small_down),
		cmocka_unit_test_setup_teardown(test_groups, small_up, small_down),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
