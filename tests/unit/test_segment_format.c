#include "index_world.h"

#include "base/buf.h"
#include "base/hex.h"

/* The format's page, its Python reader and the program agree. */

enum {
	DOCS = 60,
	SAID_BYTES = 1 << 20
};

/* What docs/format/read_segment.py prints; it must be content. */
static char *python_reads(const struct index_world *w, const char *name, const char *arguments)
{
	char *said = mem_must_zalloc(SAID_BYTES);
	char *command = mem_must_zalloc(SAID_BYTES);
	FILE *pipe_from;

	snprintf(command, SAID_BYTES, "python3 '%s/docs/format/read_segment.py' '%s/%s' %s",
		 WEIR_SOURCE_DIR, w->dir, name, arguments);
	pipe_from = popen(command, "r");
	assert_non_null(pipe_from);
	said[fread(said, 1, SAID_BYTES - 1, pipe_from)] = '\0';
	assert_int_equal(pclose(pipe_from), 0);
	free(command);
	return said;
}

static uint64_t feature_of(uint32_t i)
{
	struct rand_seq r = { i + 3 };

	return rand_next(&r);
}

static struct segment *write_one(const struct index_world *w, struct sample *samples)
{
	struct segment_writer_options options = { 1 << 30, 9, SIGNATURE_FILL_DEFAULT };
	struct segment_writer *writer = segment_writer_new(&options);
	struct segment *seg;
	uint64_t bytes;
	struct err err;

	for (uint32_t i = 0; i < DOCS; i++) {
		uint64_t features[DOCS];
		size_t n = 0;

		/* One in chunks, some shorter than a gram; few classes, so that rows are narrow,
		 * too. */
		samples[i] = sample_new(i == 5 ? SEGMENT_CHUNK_FROM + 9 : i % 20 * i * 7,
					i == 5 ? 3 : i % SAMPLE_KINDS, i);
		if (i == 11) {
			struct segment_doc doc = sample_doc(&samples[i], 1000 + i);

			doc.flags = SEGMENT_DOC_ALWAYS;
			CHECK_OK(segment_writer_add(writer, &doc, NULL, NULL, 0, &err), &err);
			continue;
		}
		for (uint32_t k = 1; k <= 30; k++) {
			if (i % k == 0)
				features[n++] = feature_of(k);
		}
		features[n++] = feature_of(100 + i);
		features[n++] = feature_of(200 + i);
		writer_add(w, writer, &samples[i], 1000 + i, features, n);
	}
	CHECK_OK(segment_writer_write(writer, w->io, "one.seg", 900, 2000, &bytes, &err), &err);
	segment_writer_free(writer);
	CHECK_OK(segment_open(&seg, w->io, "one.seg", &err), &err);
	return seg;
}

static void say_hex(struct buf *out, const uint8_t *p, size_t n)
{
	char hex[2 * SHA256_BYTES + 1];

	hex_encode(p, n, hex);
	buf_add_z(out, hex);
}

/* The classes of a document's columns, in the order of matrices. */
static void say_classes(struct segment *seg, uint32_t doc, struct buf *out)
{
	const struct segment_block *b = block_of(seg, doc);
	bool any = false;

	for (uint32_t k = 0; k < b->matrix_count; k++) {
		const struct segment_matrix *m = &b->matrices[k];

		for (uint32_t i = 0; i < m->columns; i++) {
			if (b->doc_first + (m->docs ? m->docs[i] : m->doc_base + i) != doc)
				continue;
			buf_addf(out, "%c%u", any ? ',' : ' ', m->class);
			any = true;
		}
	}
	buf_add_z(out, any ? "\n" : " -\n");
}

static void say_doc(struct segment *seg, uint32_t doc, struct buf *out)
{
	struct segment_doc d;

	segment_doc_get(seg, doc, &d);
	buf_addf(out, "doc %u %lld %llu ", doc, (long long)d.file_id, (unsigned long long)d.size);
	say_hex(out, d.sha256, sizeof d.sha256);
	buf_addf(out, " %u %llu %lld %u %u %u ", d.pack, (unsigned long long)d.offset,
		 (long long)d.first_seen_s, d.file_type, d.corpus, d.flags);
	say_hex(out, d.head, sizeof d.head);
	say_classes(seg, doc, out);
}

struct feature {
	uint64_t hash; /* the 40 bits that are kept */
	uint64_t whole;
};

static int compare_features(const void *pa, const void *pb)
{
	const struct feature *a = pa;
	const struct feature *b = pb;

	return (a->hash > b->hash) - (a->hash < b->hash);
}

static void say_features(struct segment *seg, struct buf *out)
{
	struct feature all[30 + 2 * DOCS];
	uint32_t docs[DOCS];
	size_t n = 0;
	struct err err;

	for (uint32_t k = 1; k < 200 + DOCS; k++) {
		if (k <= 30 || (k >= 100 && k < 100 + DOCS) || k >= 200)
			all[n++].whole = feature_of(k);
	}
	assert_int_equal(n, COUNT_OF(all));
	for (size_t i = 0; i < n; i++)
		all[i].hash = all[i].whole >> 24;
	qsort(all, n, sizeof *all, compare_features);
	for (size_t i = 0; i < n; i++) {
		uint32_t docs_n;

		CHECK_OK(segment_feature(seg, all[i].whole, docs, DOCS, &docs_n, &err), &err);
		if (docs_n == 0)
			continue;
		buf_addf(out, "feature %010llx", (unsigned long long)all[i].hash);
		for (uint32_t k = 0; k < docs_n; k++)
			buf_addf(out, " %u", docs[k]);
		buf_add_c(out, '\n');
	}
}

/* A reader written from the format page alone reads what we wrote, all of it. */
static void test_python_reader(void **state)
{
	struct sample samples[DOCS];
	struct index_world w;
	struct segment *seg;
	struct buf want = BUF_INIT(SAID_BYTES);
	char *said;

	(void)state;
	index_world_up(&w, SIGNATURE_FILL_DEFAULT);
	seg = write_one(&w, samples);
	buf_addf(&want, "segment 900 2000 %u 9 %u\n", DOCS, SIGNATURE_FILL_DEFAULT);
	for (uint32_t i = 0; i < DOCS; i++)
		say_doc(seg, i, &want);
	say_features(seg, &want);
	said = python_reads(&w, "one.seg", "");
	assert_string_equal(said, buf_str(&want).p);
	free(said);
	buf_release(&want);
	segment_unref(seg);
	for (uint32_t i = 0; i < DOCS; i++)
		free(samples[i].p);
	index_world_down(&w);
}

/* … and gives the same candidates, those that have the bytes among them. */
static void test_python_candidates(void **state)
{
	enum {
		RUNS = 60
	};
	struct sample samples[DOCS];
	struct index_world w;
	struct segment *seg;
	struct rand_seq r = { 12 };
	struct buf want = BUF_INIT(SAID_BYTES);
	struct buf ask = BUF_INIT(SAID_BYTES);
	char *said;

	(void)state;
	index_world_up(&w, SIGNATURE_FILL_DEFAULT);
	seg = write_one(&w, samples);
	for (unsigned i = 0; i < RUNS; i++) {
		const struct sample *s = &samples[rand_below(&r, DOCS)];
		uint8_t run[4096];
		char hex[2 * 64 + 1];
		size_t n = 4 + rand_below(&r, 12);

		sample_fill(run, n, i % 3, &r);
		if (i % 2 && s->n >= 64)
			n = run_of(s, &r, run);
		hex_encode(run, n, hex);
		buf_addf(&ask, "--may %s ", hex);
		buf_add_z(&want, "may");
		for (uint32_t doc = 0; doc < DOCS; doc++) {
			if (doc_may_contain(seg, doc, run, n))
				buf_addf(&want, " %u", doc);
		}
		buf_add_c(&want, '\n');
	}
	said = python_reads(&w, "one.seg", buf_str(&ask).p);
	assert_string_equal(said, buf_str(&want).p);
	free(said);
	buf_release(&ask);
	buf_release(&want);
	segment_unref(seg);
	for (uint32_t i = 0; i < DOCS; i++)
		free(samples[i].p);
	index_world_down(&w);
}

static char *page_load(void)
{
	struct index_world here = { .dir = mem_must_strdup(WEIR_SOURCE_DIR) };
	size_t n;
	uint8_t *page = file_load(&here, "docs/format/segment.md", &n);
	char *text = str_dup(str_make(page, n));

	free(page);
	free(here.dir);
	return text;
}

/* The worked example of docs/format/segment.md is a segment; lines of zeros are left out there. */
static void test_page_example(void **state)
{
	static uint8_t bytes[65536];
	struct index_world w;
	struct segment *seg;
	size_t n = 0;
	char *page = page_load();
	char *said;
	struct err err;

	(void)state;
	for (char *line = strstr(page, "\n000000  "); line && strlen(line) > 9;) {
		size_t at = strtoul(line + 1, NULL, 16);
		char *end = strchr(line + 1, '\n');

		assert_true(at + 16 <= sizeof bytes);
		for (char *hex = line + 9; hex + 2 <= end; hex += 3) {
			if (!hex_decode(str_make(hex, 2), &bytes[at], 1))
				break;
			n = ++at;
		}
		line = end && end[1] == '0' ? end : NULL;
	}
	free(page);
	index_world_up(&w, SIGNATURE_FILL_DEFAULT);
	file_store(&w, "one.seg", bytes, n);
	CHECK_OK(segment_open(&seg, w.io, "one.seg", &err), &err);
	assert_int_equal(segment_docs(seg), 1);
	assert_int_equal(segment_file_ids(seg)[0], 7);
	assert_memory_equal(segment_heads(seg)[0], "hello, weir\n\0\0\0\0", 16);
	assert_true(doc_may_contain(seg, 0, (const uint8_t *)"HELLO, Weir", 11));
	assert_false(doc_may_contain(seg, 0, (const uint8_t *)"goodbye", 7));
	segment_unref(seg);
	said = python_reads(&w, "one.seg", "--may 48454c4c4f2c20776569 --may 676f6f64627965");
	assert_string_equal(said, "may 0\nmay\n");
	free(said);
	index_world_down(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_python_reader),
		cmocka_unit_test(test_python_candidates),
		cmocka_unit_test(test_page_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
