#include "failing_io.h"
#include "index_world.h"

#include "base/thread.h"

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
	static const size_t odd[] = {
		0, 1, 3, 4, 5, 63, SEGMENT_CHUNK_FROM, SEGMENT_CHUNK_FROM + 1, 9000000
	};

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
			assert_true(b->matrices[k].class >= class);
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

/* ---- The writer ---- */

static void test_writer_refuses(void **state)
{
	static const struct {
		const char *name;
		int64_t id;
		uint64_t size; /* that the document says; the signature is of 100 bytes */
		bool has_signature;
		uint8_t corpus;
		uint8_t flags;
		size_t features;
		const char *says;
	} rows[] = {
		{ "no id", -1, 100, true, 0, 0, 0, "-1 is no file's id" },
		{ "no signature", 1, 100, false, 0, 0, 0, "file 1 of 100 bytes has a signature" },
		{ "other size", 2, 2 * SEGMENT_CHUNK_BYTES, true, 0, 0, 0,
		  "has a signature of 1 columns" },
		{ "too short", 3, 3, true, 0, 0, 0, "file 3 of 3 bytes has a signature of 1" },
		{ "always", 4, 100, true, 0, SEGMENT_DOC_ALWAYS, 0, "has a signature of 1" },
		{ "corpus", 5, 100, true, 2, 0, 0, "file 5 has corpus 2" },
		{ "flags", 6, 100, true, 0, 4, 0, "flags 0x4" },
		{ "features", 7, 100, true, 0, 0, SEGMENT_FEATURES_PER_DOC + 1,
		  "has 65536 features" },
	};
	struct corpus *c = *state;
	struct segment_writer_options options = { 1u << 30, 1, 500 };
	struct segment_writer *w = segment_writer_new(&options);
	struct sample s = sample_new(100, 0, 1);
	uint64_t *features = mem_must_zalloc((SEGMENT_FEATURES_PER_DOC + 1) * sizeof *features);
	struct segment_doc doc;
	uint64_t bytes;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct signature *sig = NULL;

		doc = (struct segment_doc){ .file_id = rows[i].id,
					    .size = rows[i].size,
					    .corpus = rows[i].corpus,
					    .flags = rows[i].flags };
		if (rows[i].has_signature)
			CHECK_OK(signer_sign(c->w.signer, s.p, s.n, &sig, &err), &err);
		CHECK_ROW(rows[i].name, segment_writer_add(w, &doc, sig, features, rows[i].features,
							   &err) == -ERR_INVALID);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("row '%s': %s", rows[i].name, err.msg);
		CHECK_ROW(rows[i].name, segment_writer_docs(w) == 0);
	}
	free(features);
	writer_add(&c->w, w, &s, 50, NULL, 0);
	assert_int_equal(segment_writer_write(w, c->w.io, "r.seg", 51, 60, &bytes, &err),
			 -ERR_INVALID);
	assert_non_null(strstr(err.msg, "file 50 is not of 51 to 60"));
	writer_add(&c->w, w, &s, 50, NULL, 0);
	assert_int_equal(segment_writer_write(w, c->w.io, "r.seg", 1, 60, &bytes, &err),
			 -ERR_INVALID);
	assert_non_null(strstr(err.msg, "file 50 was added twice"));
	segment_writer_free(w);
	free(s.p);
}

/* It is full by memory, and what it says it takes is near what it takes. */
static void test_writer_full(void **state)
{
	struct corpus *c = *state;
	struct segment_writer_options options = { 1 << 20, 1, 500 };
	struct segment_writer *w = segment_writer_new(&options);
	struct sample s = sample_new(60000, 0, 1);
	int64_t id = 0;

	assert_false(segment_writer_is_full(w));
	while (!segment_writer_is_full(w)) {
		assert_true(segment_writer_memory(w) < 1 << 20);
		writer_add(&c->w, w, &s, id++, NULL, 0);
	}
	/* Each takes 16 KB of bits, and the table of documents some. */
	assert_in_range(id, 56, 64);
	assert_int_equal(segment_writer_docs(w), id);
	segment_writer_free(w);
	free(s.p);
}

/* Many small documents: blocks are full, and pure where there are enough. */
static void test_many(void **state)
{
	enum {
		MANY = SEGMENT_BLOCK_DOCS + 6000
	};
	struct corpus *c = *state;
	struct segment_writer_options options = { 1u << 30, 1, 500 };
	struct segment_writer *w = segment_writer_new(&options);
	struct segment *seg;
	struct rand_seq r = { 7 };
	uint64_t bytes;
	uint32_t docs = 0;
	struct err err;

	for (uint32_t i = 0; i < MANY; i++) {
		struct sample s = sample_new(4 + i % 3 * 180, 0, i);

		writer_add(&c->w, w, &s, i, NULL, 0);
		free(s.p);
	}
	CHECK_OK(segment_writer_write(w, c->w.io, "many.seg", 0, MANY, &bytes, &err), &err);
	segment_writer_free(w);
	CHECK_OK(segment_open(&seg, c->w.io, "many.seg", &err), &err);
	for (uint32_t i = 0; i < segment_blocks(seg); i++) {
		const struct segment_block *b = segment_block_at(seg, i);

		assert_int_equal(b->matrix_count, 1);
		assert_null(b->matrices[0].docs);
		assert_int_equal(b->matrices[0].columns, b->doc_count);
		docs += b->doc_count;
	}
	assert_int_equal(docs, MANY);
	assert_true(segment_blocks(seg) <= 4);
	for (uint32_t k = 0; k < 300; k++) {
		uint32_t i = (uint32_t)rand_below(&r, MANY);
		struct sample s = sample_new(4 + i % 3 * 180, 0, i);
		uint8_t run[4096];
		size_t n = run_of(&s, &r, run);
		uint32_t doc;

		assert_true(segment_doc_find(seg, i, &doc));
		assert_true(doc_may_contain(seg, doc, run, n));
		free(s.p);
	}
	segment_unref(seg);
}

/* Each call that writes fails once; nothing is left, and the writer can be asked again. */
static void test_write_failures(void **state)
{
	struct corpus *c = *state;
	struct segment_writer_options options = { 1u << 30, 1, 500 };
	struct segment_writer *w = segment_writer_new(&options);
	struct failing f;
	uint64_t bytes;
	uint64_t calls;
	struct err err;
	char path[600];

	for (uint32_t i = 0; i < 20; i++)
		writer_add(&c->w, w, &c->samples[i], i, NULL, 0);
	failing_init(&f, c->w.dir);
	CHECK_OK(segment_writer_write(w, &f.io, "f.seg", 0, 20, &bytes, &err), &err);
	calls = f.calls;
	path_of(&c->w, "f.seg", path);
	assert_int_equal(remove(path), 0);
	for (uint64_t k = 1; k <= calls; k++) {
		f.calls = 0;
		f.fails_at = k;
		f.sys = k % 2 ? EIO : ENOSPC;
		assert_int_equal(segment_writer_write(w, &f.io, "f.seg", 0, 20, &bytes, &err),
				 k % 2 ? -ERR_IO : -ERR_NO_SPACE);
		path_of(&c->w, "f.seg", path);
		assert_int_not_equal(access(path, F_OK), 0);
		path_of(&c->w, "f.seg.tmp", path);
		assert_int_not_equal(access(path, F_OK), 0);
	}
	f.fails_at = 0;
	CHECK_OK(segment_writer_write(w, &f.io, "f.seg", 0, 20, &bytes, &err), &err);
	segment_writer_free(w);
	failing_release(&f);
}

/* ---- Damage ---- */

static int small_up(struct corpus *c, uint8_t **ret, size_t *ret_n)
{
	struct segment_writer_options options = { 1u << 30, 1, 500 };
	struct segment_writer *w = segment_writer_new(&options);
	uint64_t bytes;
	struct err err;

	for (uint32_t i = 0; i < 90; i++) {
		uint64_t features[DOCS];

		writer_add(&c->w, w, &c->samples[i == 6 || i == 8 ? 9 : i], i, features,
			   features_of(i, features));
	}
	CHECK_OK(segment_writer_write(w, c->w.io, "small.seg", 0, 90, &bytes, &err), &err);
	segment_writer_free(w);
	*ret = file_load(&c->w, "small.seg", ret_n);
	return 0;
}

struct bad_pages {
	unsigned n;
	char section[32];
	uint64_t offset;
};

static void note_bad(const char *section, uint64_t offset, void *arg)
{
	struct bad_pages *b = arg;

	b->n++;
	b->offset = offset;
	snprintf(b->section, sizeof b->section, "%s", section);
}

static void count_damage(struct segment *seg, uint64_t offset, void *arg)
{
	(void)seg;
	(void)offset;
	++*(unsigned *)arg;
}

/* Ask for all there is; rows that are damaged are told, documents then are candidates. */
static void walk(struct segment *seg, unsigned *ret_null)
{
	*ret_null = 0;
	for (uint32_t i = 0; i < segment_blocks(seg); i++) {
		const struct segment_block *b = segment_block_at(seg, i);

		for (uint32_t k = 0; k < b->matrix_count; k++) {
			for (uint32_t row = 0; row < gram_rows(b->matrices[k].class); row++)
				*ret_null += !segment_row(seg, &b->matrices[k], row);
		}
	}
}

/*
 * One bit flipped anywhere is found: when the segment is opened, or in the page that it is
 * in, by segment_row as well as by segment_check.
 */
static void test_flips(void **state)
{
	struct corpus *c = *state;
	struct rand_seq r = { 11 };
	unsigned at_open = 0;
	unsigned later = 0;
	uint8_t *p;
	size_t n;

	small_up(c, &p, &n);
	for (size_t at = 0; at < n; at += 1 + rand_below(&r, n / 300)) {
		uint8_t bit = (uint8_t)(1u << rand_below(&r, 8));
		struct bad_pages bad = { 0 };
		unsigned damaged = 0;
		struct segment *seg;
		unsigned nulls;
		struct err err;
		int rc;

		p[at] ^= bit;
		file_store(&c->w, "flip.seg", p, n);
		p[at] ^= bit;
		rc = segment_open(&seg, c->w.io, "flip.seg", &err);
		if (rc != 0) {
			if (rc != -ERR_CORRUPT || !strstr(err.msg, "segment 'flip.seg': ") ||
			    !strstr(err.msg, " at "))
				fail_msg("at %zu: %s", at, err.msg);
			at_open++;
			continue;
		}
		segment_on_damage(seg, count_damage, &damaged);
		walk(seg, &nulls);
		CHECK_OK(segment_check(seg, note_bad, NULL, &bad, &err), &err);
		assert_int_equal(bad.n, 1);
		assert_int_equal(bad.offset, at / 4096 * 4096);
		assert_int_equal(damaged, 1);
		assert_int_equal(segment_damaged_pages(seg), 1);
		if (nulls > 0)
			assert_string_equal(bad.section, "rows");
		later++;
		segment_unref(seg);
	}
	assert_true(at_open > 10 && later > 50);
	free(p);
}

struct walker {
	struct thread thread;
	struct segment *seg;
	unsigned nulls;
};

static void walk_in_thread(void *arg)
{
	struct walker *w = arg;

	walk(w->seg, &w->nulls);
	segment_unref(w->seg);
}

static void count_damage_once(struct segment *seg, uint64_t offset, void *arg)
{
	(void)seg;
	(void)offset;
	atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

/* Threads that look for the first time at the same pages: each is told of damage, one tells. */
static void test_threads(void **state)
{
	struct corpus *c = *state;
	struct walker walkers[4];
	_Atomic unsigned damaged = 0;
	struct segment *seg;
	uint64_t at = 0;
	uint8_t *p;
	size_t n;
	struct err err;

	small_up(c, &p, &n);
	for (int i = 0; i < 8; i++)
		at |= (uint64_t)p[96 + 16 * 4 + i] << 8 * i;
	p[at + 9000] ^= 2;
	file_store(&c->w, "threads.seg", p, n);
	free(p);
	CHECK_OK(segment_open(&seg, c->w.io, "threads.seg", &err), &err);
	segment_on_damage(seg, count_damage_once, &damaged);
	for (size_t i = 0; i < COUNT_OF(walkers); i++) {
		walkers[i] = (struct walker){ .seg = segment_ref(seg) };
		CHECK_OK(thread_start(&walkers[i].thread, "walker", walk_in_thread, &walkers[i],
				      &err),
			 &err);
	}
	for (size_t i = 0; i < COUNT_OF(walkers); i++) {
		thread_join(&walkers[i].thread);
		assert_true(walkers[i].nulls > 0);
		assert_int_equal(walkers[i].nulls, walkers[0].nulls);
	}
	assert_int_equal(damaged, 1);
	assert_int_equal(segment_damaged_pages(seg), 1);
	segment_unref(seg);
}

/* In features: the error names where, and the other features are still there. */
static void test_flipped_features(void **state)
{
	struct corpus *c = *state;
	uint32_t docs[DOCS];
	struct segment *seg;
	uint64_t at = 0;
	unsigned bad = 0;
	uint32_t n;
	uint8_t *p;
	size_t size;
	struct err err;

	small_up(c, &p, &size);
	for (int i = 0; i < 8; i++)
		at |= (uint64_t)p[96 + 16 * 5 + i] << 8 * i;
	p[at + 20] ^= 1;
	file_store(&c->w, "flip.seg", p, size);
	CHECK_OK(segment_open(&seg, c->w.io, "flip.seg", &err), &err);
	for (uint32_t k = 1; k <= 90; k++) {
		int rc = segment_feature(seg, feature_of(k), docs, DOCS, &n, &err);

		if (rc == 0)
			continue;
		assert_int_equal(rc, -ERR_CORRUPT);
		assert_non_null(strstr(err.msg, "features at "));
		bad++;
	}
	assert_true(bad > 0);
	segment_unref(seg);
	free(p);
}

/* Cut anywhere, and with bytes behind its end, it is no segment. */
static void test_cut(void **state)
{
	struct corpus *c = *state;
	struct segment *seg = NULL;
	uint8_t *p;
	size_t n;
	struct err err;

	small_up(c, &p, &n);
	for (size_t to = 0; to < n; to += 1 + (to > 5000 && to + 70 < n) * (n / 200)) {
		file_store(&c->w, "cut.seg", p, to);
		if (segment_open(&seg, c->w.io, "cut.seg", &err) != -ERR_CORRUPT)
			fail_msg("cut to %zu of %zu: %s", to, n, err.msg);
		if (to < 4000)
			to += 300;
	}
	mem_must_grow((void **)&p, n + 1, 1);
	p[n] = 0;
	file_store(&c->w, "cut.seg", p, n + 1);
	assert_int_equal(segment_open(&seg, c->w.io, "cut.seg", &err), -ERR_CORRUPT);
	assert_null(seg);
	assert_int_equal(segment_open(&seg, c->w.io, "none.seg", &err), -ERR_NOT_FOUND);
	free(p);
}

/* Another version is not damage. */
static void test_versions(void **state)
{
	static const struct {
		uint8_t version;
		int rc;
		const char *says;
	} rows[] = { { 1, -ERR_NOT_FOUND, "an older weir wrote it" },
		     { 3, -ERR_INVALID, "a newer weir wrote it" } };
	struct corpus *c = *state;
	struct segment *seg;
	uint8_t *p;
	size_t n;
	struct err err;

	small_up(c, &p, &n);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		p[8] = rows[i].version;
		put_le32(p + 252, crc32c(0, p, 252));
		file_store(&c->w, "other.seg", p, n);
		assert_int_equal(segment_open(&seg, c->w.io, "other.seg", &err), rows[i].rc);
		assert_non_null(strstr(err.msg, rows[i].says));
	}
	free(p);
}

static bool stops(uint64_t bytes, void *arg)
{
	(void)arg;
	return bytes == 0;
}

static void test_check_stops(void **state)
{
	struct corpus *c = *state;
	struct bad_pages bad = { 0 };
	struct err err;

	assert_int_equal(segment_check(c->seg, note_bad, stops, &bad, &err), -ERR_CLOSED);
	CHECK_OK(segment_check(c->seg, note_bad, NULL, &bad, &err), &err);
	assert_int_equal(bad.n, 0);
}

static void test_references(void **state)
{
	struct corpus *c = *state;
	struct segment *seg = segment_ref(c->seg);

	assert_ptr_equal(seg, c->seg);
	assert_null(segment_unref(seg));
	assert_int_equal(segment_docs(c->seg), DOCS);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_writer_refuses),
		cmocka_unit_test(test_writer_full),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_write_failures),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_flipped_features),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_check_stops),
		cmocka_unit_test(test_references),
	};

	return cmocka_run_group_tests(tests, corpus_up, corpus_down);
}
