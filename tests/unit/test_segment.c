#include "index_world.h"

#include "base/limits.h"

/* ---- What is written is read ---- */

enum {
	DOCS = 400
};

struct corpus {
	struct index_world w;
	struct sample samples[DOCS];
	struct segment *seg;
};

static uint64_t feature_of(uint32_t i)
{
	struct rand_seq r = { i };

	return rand_next(&r);
}

/* Document i has feature k where k divides it: from all documents to only one. */
static size_t features_of(uint32_t i, uint64_t *ret)
{
	size_t n = 0;

	for (uint32_t k = 1; k <= DOCS; k++) {
		if (i % k == 0)
			ret[n++] = feature_of(k);
	}
	return n;
}

static size_t size_of(unsigned i)
{
	static const size_t odd[] = { 0, 1, 3, 4, 5, 63, 2u << 20, (2u << 20) + 1, 3500000 };

	return i < COUNT_OF(odd) ? odd[i] : 20 + (size_t)i * i % 60000;
}

static int corpus_up(void **state)
{
	struct corpus *c = mem_must_zalloc(sizeof *c);
	struct segment_writer_options options = { 1u << 30, 7, SIGNATURE_FILL_DEFAULT };
	struct segment_writer *writer = segment_writer_new(&options);
	uint64_t bytes;
	struct err err;

	index_world_up(&c->w, SIGNATURE_FILL_DEFAULT);
	for (uint32_t i = 0; i < DOCS; i++) {
		uint64_t features[DOCS];
		/* Not in the order of ids. */
		uint32_t k = i * 7 % DOCS;

		c->samples[k] = sample_new(size_of(k), k % SAMPLE_KINDS, k);
		writer_add(&c->w, writer, &c->samples[k], 100 + 3 * (int64_t)k, features,
			   features_of(k, features));
	}
	CHECK_OK(segment_writer_write(writer, c->w.io, "a.seg", 90, 2000, &bytes, &err), &err);
	segment_writer_free(writer);
	CHECK_OK(segment_open(&c->seg, c->w.io, "a.seg", &err), &err);
	assert_int_equal(segment_file_bytes(c->seg), bytes);
	*state = c;
	return 0;
}

static int corpus_down(void **state)
{
	struct corpus *c = *state;

	segment_unref(c->seg);
	for (uint32_t i = 0; i < DOCS; i++)
		free(c->samples[i].p);
	index_world_down(&c->w);
	free(c);
	return 0;
}

static void test_documents(void **state)
{
	struct corpus *c = *state;
	uint64_t bytes = 0;

	assert_int_equal(segment_docs(c->seg), DOCS);
	assert_int_equal(segment_first_id(c->seg), 90);
	assert_int_equal(segment_last_id(c->seg), 2000);
	assert_int_equal(segment_features_version(c->seg), 7);
	assert_int_equal(segment_fill_max(c->seg), SIGNATURE_FILL_DEFAULT);
	for (uint32_t i = 0; i < DOCS; i++) {
		struct segment_doc want = sample_doc(&c->samples[i], 100 + 3 * (int64_t)i);
		struct segment_doc got;
		uint32_t doc;

		assert_true(segment_doc_find(c->seg, want.file_id, &doc));
		segment_doc_get(c->seg, doc, &got);
		assert_int_equal(got.file_id, want.file_id);
		assert_memory_equal(got.sha256, want.sha256, sizeof got.sha256);
		assert_int_equal(got.size, want.size);
		assert_int_equal(got.first_seen_s, want.first_seen_s);
		assert_int_equal(got.pack, want.pack);
		assert_int_equal(got.offset, want.offset);
		assert_int_equal(got.file_type, want.file_type);
		assert_int_equal(got.corpus, want.corpus);
		assert_int_equal(got.flags, want.flags);
		assert_memory_equal(got.head, want.head, sizeof got.head);
		assert_int_equal(segment_sizes(c->seg)[doc], want.size);
		assert_memory_equal(segment_heads(c->seg)[doc], want.head, sizeof want.head);
		assert_int_equal(segment_corpora(c->seg)[doc], want.corpus);
		assert_int_equal(segment_flags(c->seg)[doc], want.flags);
		assert_int_equal(segment_file_ids(c->seg)[doc], want.file_id);
		assert_int_equal(segment_first_seen(c->seg)[doc], want.first_seen_s);
		assert_false(segment_doc_find(c->seg, want.file_id + 1, &doc));
		bytes += want.size;
	}
	assert_int_equal(segment_sample_bytes(c->seg), bytes);
}

static void test_blocks(void **state)
{
	struct corpus *c = *state;
	uint32_t docs = 0;

	for (uint32_t i = 0; i < segment_blocks(c->seg); i++) {
		const struct segment_block *b = segment_block_at(c->seg, i);
		unsigned class = 0;
		bool chunks = false;

		assert_int_equal(b->doc_first, docs);
		for (uint32_t k = 0; k < b->matrix_count; k++) {
			assert_true(b->matrices[k].class > class);
			class = b->matrices[k].class;
		}
		for (uint32_t k = docs; k < docs + b->doc_count; k++) {
			assert_in_range(segment_sizes(c->seg)[k], b->size_min, b->size_max);
			assert_true(segment_first_seen(c->seg)[k] >= b->first_seen_min_s);
			chunks |= signature_columns(segment_sizes(c->seg)[k]) > 1;
		}
		assert_int_equal(b->has_chunks, chunks);
		docs += b->doc_count;
	}
	assert_int_equal(docs, DOCS);
}

/* Nothing that a sample contains is missed; most of what it does not contain is told. */
static void test_rows(void **state)
{
	struct corpus *c = *state;
	struct rand_seq r = { 3 };
	uint32_t found = 0;

	for (unsigned i = 0; i < 6000; i++) {
		uint32_t k = (uint32_t)rand_below(&r, DOCS);
		const struct sample *s = &c->samples[k];
		uint8_t run[4096];
		uint32_t doc;
		size_t n;

		if (s->n < 4)
			continue;
		n = run_of(s, &r, run);
		assert_true(segment_doc_find(c->seg, 100 + 3 * (int64_t)k, &doc));
		if (!doc_may_contain(c->seg, doc, run, n))
			fail_msg("missed: %zu bytes of sample %u", n, k);
	}
	for (unsigned i = 0; i < 50; i++) {
		uint8_t run[16];

		sample_fill(run, sizeof run, 0, &r);
		found += candidates(c->seg, run, sizeof run);
	}
	assert_true(found < 50);
	assert_int_equal(segment_damaged_pages(c->seg), 0);
}

static void test_features(void **state)
{
	struct corpus *c = *state;
	uint32_t docs[DOCS];
	uint32_t n;
	struct err err;

	for (uint32_t k = 1; k <= DOCS; k++) {
		CHECK_OK(segment_feature(c->seg, feature_of(k), docs, DOCS, &n, &err), &err);
		assert_int_equal(n, (DOCS + k - 1) / k);
		for (uint32_t i = 0; i < n; i++) {
			assert_int_equal((segment_file_ids(c->seg)[docs[i]] - 100) / 3 % k, 0);
			assert_true(i == 0 || docs[i] > docs[i - 1]);
		}
		/* What is cut off, and a hash that is none. */
		CHECK_OK(segment_feature(c->seg, feature_of(k), docs, 0, &n, &err), &err);
		assert_int_equal(n, (DOCS + k - 1) / k);
		CHECK_OK(segment_feature(c->seg, feature_of(k + DOCS), docs, DOCS, &n, &err), &err);
		assert_int_equal(n, 0);
	}
	CHECK_OK(segment_feature(c->seg, 0, docs, DOCS, &n, &err), &err);
	assert_int_equal(n, 0);
	CHECK_OK(segment_feature(c->seg, UINT64_MAX, docs, DOCS, &n, &err), &err);
	assert_int_equal(n, 0);
}

static void test_empty(void **state)
{
	struct corpus *c = *state;
	struct segment_writer_options options = { 1000, 1, 500 };
	struct segment_writer *writer = segment_writer_new(&options);
	struct segment *seg;
	uint64_t bytes;
	uint32_t doc;
	struct err err;

	CHECK_OK(segment_writer_write(writer, c->w.io, "empty.seg", 5, 9, &bytes, &err), &err);
	CHECK_OK(segment_open(&seg, c->w.io, "empty.seg", &err), &err);
	assert_int_equal(segment_docs(seg), 0);
	assert_int_equal(segment_blocks(seg), 0);
	assert_false(segment_doc_find(seg, 5, &doc));
	CHECK_OK(segment_feature(seg, 1, NULL, 0, &doc, &err), &err);
	assert_int_equal(doc, 0);
	assert_null(segment_unref(seg));
	assert_null(segment_unref(NULL));
	segment_writer_drop(&writer);
	segment_writer_free(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents), cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_rows),      cmocka_unit_test(test_features),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, corpus_up, corpus_down);
}
