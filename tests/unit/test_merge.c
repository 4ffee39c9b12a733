#include "failing_io.h"
#include "index_world.h"

#include <dirent.h>

#include "bits_internal.h"
#include "index/merge.h"

/* ---- Bits ---- */

static bool bit_at(const uint8_t *p, size_t i)
{
	return p[i / 8] >> i % 8 & 1;
}

static void test_extract(void **state)
{
	struct rand_seq r = { 5 };

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t x = rand_next(&r);
		uint64_t mask = rand_next(&r);
		uint64_t want = 0;
		unsigned n = 0;

		if (i % 4 == 1)
			mask &= rand_next(&r) & rand_next(&r);
		if (i % 4 == 2)
			mask |= rand_next(&r) | rand_next(&r);
		if (i % 100 == 0)
			mask = i % 200 == 0 ? 0 : UINT64_MAX;
		for (unsigned k = 0; k < 64; k++) {
			if (mask >> k & 1)
				want |= (x >> k & 1) << n++;
		}
		assert_int_equal(bits_extract(x, mask), want);
		assert_int_equal(bits_extract_portable(x, mask), want);
	}
}

/* Rows put together of pieces of rows, against bit for bit. */
static void test_pieces(void **state)
{
	struct rand_seq r = { 6 };

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		uint8_t out[4096] = { 0 };
		uint8_t want[4096] = { 0 };
		struct bit_writer w = { .p = out };
		size_t bits = 0;

		for (unsigned k = 0; k < 1 + round % 7; k++) {
			size_t row_bytes = 1 + rand_below(&r, 60);
			/* Exactly as long, so that a read beyond is seen. */
			uint8_t *row = mem_must_zalloc(row_bytes);
			uint64_t keep[8];
			struct bit_piece piece;

			for (size_t i = 0; i < row_bytes; i++)
				row[i] = (uint8_t)rand_next(&r);
			for (unsigned i = 0; i < COUNT_OF(keep); i++)
				keep[i] = rand_next(&r) | rand_next(&r);
			piece.first = (uint32_t)rand_below(&r, row_bytes * 8);
			piece.n = 1 + (uint32_t)rand_below(&r, row_bytes * 8 - piece.first);
			piece.keep = rand_below(&r, 2) ? keep : NULL;
			bit_writer_piece(&w, row, row_bytes, &piece);
			for (uint32_t i = 0; i < piece.n; i++) {
				if (piece.keep && !(keep[i / 64] >> i % 64 & 1))
					continue;
				want[bits / 8] |=
					(uint8_t)(bit_at(row, piece.first + i) << bits % 8);
				bits++;
			}
			free(row);
		}
		bit_writer_end(&w);
		assert_int_equal(w.p - out, (bits + 7) / 8);
		assert_memory_equal(out, want, sizeof out);
	}
}

/* ---- Segments ---- */

enum {
	DOCS = 900,
	PARTS_MAX = SEGMENT_MERGE_MAX
};

struct merging {
	struct index_world w;
	struct sample samples[DOCS]; /* file ids are 10 + 2 * index */
};

static int64_t id_of(uint32_t i)
{
	return 10 + 2 * (int64_t)i;
}

static int merging_up(void **state)
{
	struct merging *m = mem_must_zalloc(sizeof *m);
	struct rand_seq r = { 9 };

	index_world_up(&m->w, 200);
	for (uint32_t i = 0; i < DOCS; i++) {
		size_t n = rand_below(&r, 1u << (1 + i % 16));

		/* A few in chunks, and some shorter than a gram. */
		if (i % 300 == 7)
			n = SEGMENT_CHUNK_FROM + rand_below(&r, 1 << 20);
		m->samples[i] = sample_new(n, i % 9 == 0 ? 0 : i % SAMPLE_KINDS, i);
	}
	*state = m;
	return 0;
}

static int merging_down(void **state)
{
	struct merging *m = *state;

	for (uint32_t i = 0; i < DOCS; i++)
		free(m->samples[i].p);
	index_world_down(&m->w);
	free(m);
	return 0;
}

static uint64_t feature_of(uint32_t i)
{
	struct rand_seq r = { i + 77 };

	return rand_next(&r);
}

/* The documents from..to but the dead ones, written at once. */
static void write_docs(struct merging *m, const char *name, uint32_t from, uint32_t to,
		       const bool *dead, uint32_t version)
{
	struct segment_writer_options options = { 1u << 30, version, 500 };
	struct segment_writer *writer = segment_writer_new(&options);
	uint64_t bytes;
	struct err err;

	for (uint32_t i = from; i < to; i++) {
		uint64_t features[40];
		size_t n = 0;

		if (dead && dead[i])
			continue;
		for (uint32_t k = 1; k < 40; k++) {
			if (i % k == 0)
				features[n++] = feature_of(k);
		}
		features[n++] = feature_of(1000 + i);
		if (i % 50 == 3) {
			struct segment_doc doc = sample_doc(&m->samples[i], id_of(i));

			doc.flags = SEGMENT_DOC_ALWAYS | SEGMENT_DOC_NO_FEATURES;
			CHECK_OK(segment_writer_add(writer, &doc, NULL, NULL, 0, &err), &err);
			continue;
		}
		writer_add(&m->w, writer, &m->samples[i], id_of(i), features, n);
	}
	CHECK_OK(segment_writer_write(writer, m->w.io, name, id_of(from), id_of(to) - 1, &bytes,
				      &err),
		 &err);
	segment_writer_free(writer);
}

static struct segment *open_ok(struct merging *m, const char *name)
{
	struct segment *seg;
	struct err err;

	CHECK_OK(segment_open(&seg, m->w.io, name, &err), &err);
	return seg;
}

static void check_same_matrix(struct segment *a, const struct segment_matrix *ma, struct segment *b,
			      const struct segment_matrix *mb)
{
	assert_int_equal(ma->class, mb->class);
	assert_int_equal(ma->columns, mb->columns);
	assert_int_equal(ma->row_bytes, mb->row_bytes);
	assert_int_equal(ma->doc_base, mb->doc_base);
	assert_int_equal(!ma->docs, !mb->docs);
	if (ma->docs)
		assert_memory_equal(ma->docs, mb->docs, ma->columns * 2);
	for (uint32_t row = 0; row < gram_rows(ma->class); row++) {
		const uint8_t *ra = segment_row(a, ma, row);
		const uint8_t *rb = segment_row(b, mb, row);

		assert_true(ra && rb);
		if (memcmp(ra, rb, ma->row_bytes) != 0)
			fail_msg("class %u, row %u of %u columns", ma->class, row, ma->columns);
	}
}

static void check_same_features(struct segment *a, struct segment *b)
{
	uint32_t docs_a[DOCS];
	uint32_t docs_b[DOCS];
	struct err err;

	for (uint32_t k = 0; k < 1000 + DOCS; k += 1 + (k > 40 && k < 999) * 40) {
		uint32_t na;
		uint32_t nb;

		CHECK_OK(segment_feature(a, feature_of(k), docs_a, DOCS, &na, &err), &err);
		CHECK_OK(segment_feature(b, feature_of(k), docs_b, DOCS, &nb, &err), &err);
		assert_int_equal(na, nb);
		assert_memory_equal(docs_a, docs_b, na * sizeof *docs_a);
	}
}

/* Two segments say the same of the same documents in the same places. */
static void check_same(struct segment *a, struct segment *b)
{
	assert_int_equal(segment_docs(a), segment_docs(b));
	assert_int_equal(segment_blocks(a), segment_blocks(b));
	assert_int_equal(segment_first_id(a), segment_first_id(b));
	assert_int_equal(segment_last_id(a), segment_last_id(b));
	assert_int_equal(segment_sample_bytes(a), segment_sample_bytes(b));
	assert_int_equal(segment_features_version(a), segment_features_version(b));
	assert_int_equal(segment_file_bytes(a), segment_file_bytes(b));
	for (uint32_t i = 0; i < segment_docs(a); i++) {
		struct segment_doc da;
		struct segment_doc db;
		uint32_t doc;

		memset(&da, 0, sizeof da);
		memset(&db, 0, sizeof db);
		segment_doc_get(a, i, &da);
		segment_doc_get(b, i, &db);
		assert_int_equal(da.file_id, db.file_id);
		assert_memory_equal(da.sha256, db.sha256, sizeof da.sha256);
		assert_int_equal(da.size, db.size);
		assert_int_equal(da.first_seen_s, db.first_seen_s);
		assert_int_equal(da.pack, db.pack);
		assert_int_equal(da.offset, db.offset);
		assert_int_equal(da.file_type, db.file_type);
		assert_int_equal(da.corpus, db.corpus);
		assert_int_equal(da.flags, db.flags);
		assert_memory_equal(da.head, db.head, sizeof da.head);
		assert_true(segment_doc_find(a, da.file_id, &doc) && doc == i);
	}
	for (uint32_t i = 0; i < segment_blocks(a); i++) {
		const struct segment_block *ba = segment_block_at(a, i);
		const struct segment_block *bb = segment_block_at(b, i);

		assert_int_equal(ba->doc_count, bb->doc_count);
		assert_int_equal(ba->matrix_count, bb->matrix_count);
		for (uint32_t k = 0; k < ba->matrix_count; k++)
			check_same_matrix(a, &ba->matrices[k], b, &bb->matrices[k]);
	}
	check_same_features(a, b);
}

/* Write `parts` segments of 0..DOCS, cut by chance. */
static void write_parts(struct merging *m, struct segment **segs, unsigned parts,
			struct rand_seq *r)
{
	uint32_t from = 0;

	for (unsigned i = 0; i < parts; i++) {
		uint32_t left = DOCS - from - (parts - 1 - i);
		uint32_t n = i == parts - 1 ? left : 1 + (uint32_t)rand_below(r, left / 2 + 1);
		char name[32];

		snprintf(name, sizeof name, "part%u", i);
		write_docs(m, name, from, from + n, NULL, 1);
		segs[i] = open_ok(m, name);
		from += n;
	}
}

static void parts_drop(struct segment **segs, unsigned parts)
{
	for (unsigned i = 0; i < parts; i++)
		segs[i] = segment_unref(segs[i]);
}

static size_t kill_some(bool *dead, int64_t *ids, unsigned percent, struct rand_seq *r)
{
	size_t n = 0;

	for (uint32_t i = 0; i < DOCS; i++) {
		dead[i] = rand_below(r, 100) < percent;
		if (dead[i])
			ids[n++] = id_of(i);
		else if (i % 100 == 5)
			ids[n++] = id_of(i) + 1; /* no document's */
	}
	return n;
}

/* What is merged is what would have been written at once, whatever died between. */
static void test_same_as_written(void **state)
{
	static const struct {
		const char *name;
		unsigned parts;
		unsigned dead; /* percent */
	} rows[] = {
		{ "one", 1, 0 },
		{ "one, some dead", 1, 10 },
		{ "two", 2, 0 },
		{ "two, half dead", 2, 50 },
		{ "nine, a few dead", 9, 1 },
		{ "sixty-four", PARTS_MAX, 0 },
		{ "sixty-four, most dead", PARTS_MAX, 90 },
		{ "all dead", 3, 100 },
	};
	struct merging *m = *state;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct rand_seq r = { i };
		struct segment *segs[PARTS_MAX];
		bool dead[DOCS];
		int64_t ids[DOCS];
		struct segment_merge options = { .dead = ids };
		struct segment *merged;
		struct segment *written;
		uint64_t bytes;
		struct err err;

		print_message("%s\n", rows[i].name);
		write_parts(m, segs, rows[i].parts, &r);
		options.dead_n = kill_some(dead, ids, rows[i].dead, &r);
		CHECK_OK(segment_merge(m->w.io, segs, rows[i].parts, "merged", &options, &bytes,
				       &err),
			 &err);
		parts_drop(segs, rows[i].parts);
		write_docs(m, "written", 0, DOCS, dead, 1);
		merged = open_ok(m, "merged");
		written = open_ok(m, "written");
		assert_int_equal(segment_file_bytes(merged), bytes);
		check_same(merged, written);
		segment_unref(merged);
		segment_unref(written);
	}
}

/* Nothing that a living sample contains is missed after merges of merges. */
static void test_no_miss(void **state)
{
	struct merging *m = *state;
	struct rand_seq r = { 8 };
	struct segment *segs[12];
	struct segment *two[2];
	bool dead[DOCS];
	int64_t ids[DOCS];
	struct segment_merge options = { .dead = ids };
	struct segment *seg;
	uint64_t bytes;
	struct err err;

	write_parts(m, segs, 12, &r);
	options.dead_n = kill_some(dead, ids, 20, &r);
	CHECK_OK(segment_merge(m->w.io, segs, 5, "left", NULL, &bytes, &err), &err);
	CHECK_OK(segment_merge(m->w.io, segs + 5, 7, "right", &options, &bytes, &err), &err);
	parts_drop(segs, 12);
	two[0] = open_ok(m, "left");
	two[1] = open_ok(m, "right");
	CHECK_OK(segment_merge(m->w.io, two, 2, "both", &options, &bytes, &err), &err);
	parts_drop(two, 2);
	seg = open_ok(m, "both");
	for (uint32_t i = 0; i < DOCS; i++) {
		uint32_t doc;

		assert_int_equal(segment_doc_find(seg, id_of(i), &doc), !dead[i]);
		for (unsigned k = 0; !dead[i] && m->samples[i].n >= 4 && k < 8; k++) {
			uint8_t run[4096];
			size_t n = run_of(&m->samples[i], &r, run);

			if (!doc_may_contain(seg, doc, run, n))
				fail_msg("missed: %zu bytes of sample %u", n, i);
		}
	}
	segment_unref(seg);
}

/* Features of an older extractor are dropped, and their documents say so. */
static void test_versions(void **state)
{
	struct merging *m = *state;
	struct segment *segs[3];
	struct segment *seg;
	uint32_t docs[DOCS];
	uint32_t n;
	uint64_t bytes;
	struct err err;

	write_docs(m, "old", 0, 300, NULL, 1);
	write_docs(m, "new", 300, 600, NULL, 4);
	write_docs(m, "middle", 600, DOCS, NULL, 3);
	segs[0] = open_ok(m, "old");
	segs[1] = open_ok(m, "new");
	segs[2] = open_ok(m, "middle");
	CHECK_OK(segment_merge(m->w.io, segs, 3, "mixed", NULL, &bytes, &err), &err);
	parts_drop(segs, 3);
	seg = open_ok(m, "mixed");
	assert_int_equal(segment_features_version(seg), 4);
	for (uint32_t i = 0; i < DOCS; i++) {
		bool none = segment_flags(seg)[i] & SEGMENT_DOC_NO_FEATURES;
		int64_t id = segment_file_ids(seg)[i];

		assert_int_equal(none,
				 id < id_of(300) || id >= id_of(600) || (id - 10) / 2 % 50 == 3);
	}
	CHECK_OK(segment_feature(seg, feature_of(1), docs, DOCS, &n, &err), &err);
	assert_int_equal(n, 300 - 6);
	CHECK_OK(segment_feature(seg, feature_of(1000 + 10), docs, DOCS, &n, &err), &err);
	assert_int_equal(n, 0);
	segment_unref(seg);
}

/* ---- What goes wrong ---- */

static unsigned files_in(const struct merging *m)
{
	DIR *d = opendir(m->w.dir);
	unsigned n = 0;

	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_order(void **state)
{
	struct merging *m = *state;
	struct segment *segs[2];
	uint64_t bytes;
	unsigned before;
	struct err err;

	write_docs(m, "low", 0, 10, NULL, 1);
	write_docs(m, "high", 10, 20, NULL, 1);
	segs[0] = open_ok(m, "high");
	segs[1] = open_ok(m, "low");
	before = files_in(m);
	assert_int_equal(segment_merge(m->w.io, segs, 2, "x", NULL, &bytes, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "segment 'low' begins at file 10"));
	segment_unref(segs[1]);
	segs[1] = segment_ref(segs[0]);
	assert_int_equal(segment_merge(m->w.io, segs, 2, "x", NULL, &bytes, &err), -ERR_INVALID);
	assert_int_equal(files_in(m), before);
	parts_drop(segs, 2);
}

struct stopping {
	unsigned calls;
	unsigned stop_at;
	uint64_t bytes;
};

static bool stops(uint64_t bytes, void *arg)
{
	struct stopping *s = arg;

	assert_true(bytes > s->bytes);
	s->bytes = bytes;
	return ++s->calls != s->stop_at;
}

static void test_stopped(void **state)
{
	struct merging *m = *state;
	struct segment *segs[2];
	struct stopping s = { 0 };
	struct segment_merge options = { .goes_on = stops, .arg = &s };
	uint64_t bytes;
	unsigned before;
	unsigned calls;
	struct err err;

	write_docs(m, "low", 0, 500, NULL, 1);
	write_docs(m, "high", 500, DOCS, NULL, 1);
	segs[0] = open_ok(m, "low");
	segs[1] = open_ok(m, "high");
	before = files_in(m);
	for (s.stop_at = 1; s.stop_at < 3; s.stop_at++) {
		s.calls = 0;
		s.bytes = 0;
		assert_int_equal(segment_merge(m->w.io, segs, 2, "y", &options, &bytes, &err),
				 -ERR_CLOSED);
		assert_int_equal(s.calls, s.stop_at);
		assert_int_equal(files_in(m), before);
	}
	s = (struct stopping){ 0 };
	CHECK_OK(segment_merge(m->w.io, segs, 2, "y", &options, &bytes, &err), &err);
	calls = s.calls;
	assert_true(calls >= 2 && s.bytes <= bytes && bytes - s.bytes < 4 << 20);
	parts_drop(segs, 2);
}

/* A damaged page of rows or features: no merge, a message that names it, no file. */
static void test_damaged(void **state)
{
	struct merging *m = *state;
	unsigned failed = 0;

	write_docs(m, "sound", 10, 20, NULL, 1);
	write_docs(m, "other", 20, 60, NULL, 1);
	for (unsigned i = 0; i < 40; i++) {
		struct segment *segs[2];
		size_t n;
		uint8_t *p;
		uint64_t bytes;
		struct err err;
		unsigned before;
		int rc;

		write_docs(m, "other", 20, 60, NULL, 1);
		segs[0] = open_ok(m, "sound");
		segs[1] = open_ok(m, "other");
		p = file_load(&m->w, "other", &n);
		/* Under an open segment: what is checked at once was good when it was opened. */
		p[n - 1 - n * i / 40] ^= 4;
		file_store(&m->w, "other", p, n);
		free(p);
		before = files_in(m);
		rc = segment_merge(m->w.io, segs, 2, "z", NULL, &bytes, &err);
		if (rc != 0) {
			assert_int_equal(rc, -ERR_CORRUPT);
			assert_non_null(strstr(err.msg, " at "));
			assert_int_equal(files_in(m), before);
			failed++;
		}
		parts_drop(segs, 2);
		if (rc == 0) {
			char path[600];

			path_of(&m->w, "z", path);
			assert_int_equal(remove(path), 0);
		}
	}
	assert_true(failed > 20);
}

/* Each call that writes fails once: the error is told, no file is left, inputs are as before. */
static void test_write_failures(void **state)
{
	struct merging *m = *state;
	struct failing f;
	struct segment *segs[2];
	struct segment *merged;
	unsigned before;
	uint64_t bytes;
	struct err err;
	uint64_t calls;

	write_docs(m, "low", 0, 30, NULL, 1);
	write_docs(m, "high", 30, 60, NULL, 1);
	segs[0] = open_ok(m, "low");
	segs[1] = open_ok(m, "high");
	before = files_in(m);
	failing_init(&f, m->w.dir);
	CHECK_OK(segment_merge(&f.io, segs, 2, "w", NULL, &bytes, &err), &err);
	calls = f.calls;
	assert_true(calls >= 6);
	CHECK_OK(m->w.io->unlink(m->w.io, "w", &err), &err);
	for (uint64_t k = 1; k <= calls; k++) {
		f.calls = 0;
		f.fails_at = k;
		f.sys = k % 2 ? EIO : ENOSPC;
		assert_int_equal(segment_merge(&f.io, segs, 2, "w", NULL, &bytes, &err),
				 k % 2 ? -ERR_IO : -ERR_NO_SPACE);
		assert_int_equal(files_in(m), before);
	}
	f.fails_at = 0;
	CHECK_OK(segment_merge(&f.io, segs, 2, "w", NULL, &bytes, &err), &err);
	merged = open_ok(m, "w");
	segment_unref(merged);
	parts_drop(segs, 2);
	failing_release(&f);
}

/* ---- Large columns ---- */

static void check_columns(struct segment *seg, const uint32_t *want, uint32_t n)
{
	const struct segment_block *b = segment_block_at(seg, 0);

	assert_int_equal(segment_blocks(seg), 1);
	assert_int_equal(b->matrix_count, n);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(b->matrices[i].class, b->matrices[0].class);
		assert_int_equal(b->matrices[i].columns, want[i]);
	}
}

/*
 * Large columns of one class are divided so that rows are full, when written and when
 * merged; each has its own sample's grams, wherever it lies.
 */
static void test_large_columns(void **state)
{
	enum {
		LARGE = 13
	};
	static const uint32_t written[] = { 8, 4, 1 }, rest[] = { 8, 4 };
	struct merging *m = *state;
	struct segment_writer_options options = { 1u << 30, 1, 400 };
	struct segment_writer *w = segment_writer_new(&options);
	struct segment_merge without = { .dead = (const int64_t[]){ 104 }, .dead_n = 1 };
	struct sample samples[LARGE];
	struct segment *segs[2];
	uint64_t bytes;
	struct err err;

	for (uint32_t i = 0; i < LARGE; i++) {
		samples[i] = sample_new(150000, 0, 900 + i);
		writer_add(&m->w, w, &samples[i], 100 + i, NULL, 0);
	}
	CHECK_OK(segment_writer_write(w, m->w.io, "large", 100, 112, &bytes, &err), &err);
	segs[0] = open_ok(m, "large");
	check_columns(segs[0], written, 3);
	CHECK_OK(segment_merge(m->w.io, segs, 1, "fewer", &without, &bytes, &err), &err);
	segs[1] = open_ok(m, "fewer");
	check_columns(segs[1], rest, 2);
	for (uint32_t k = 0; k < 2; k++) {
		for (uint32_t i = 0; i < LARGE; i++) {
			const uint8_t *run = samples[i].p + 1000 * (size_t)i;
			uint32_t own, others = 0;

			if (!segment_doc_find(segs[k], 100 + i, &own)) {
				assert_true(k == 1 && i == 4);
				continue;
			}
			assert_true(doc_may_contain(segs[k], own, run, 60));
			for (uint32_t doc = 0; doc < segment_docs(segs[k]); doc++)
				others += doc != own && doc_may_contain(segs[k], doc, run, 60);
			assert_int_equal(others, 0);
		}
		segment_unref(segs[k]);
	}
	for (uint32_t i = 0; i < LARGE; i++)
		free(samples[i].p);
	segment_writer_free(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extract),         cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_same_as_written), cmocka_unit_test(test_no_miss),
		cmocka_unit_test(test_versions),        cmocka_unit_test(test_order),
		cmocka_unit_test(test_stopped),         cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_write_failures),  cmocka_unit_test(test_large_columns),
	};

	return cmocka_run_group_tests(tests, merging_up, merging_down);
}
