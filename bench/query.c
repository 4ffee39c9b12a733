/*
 * Look-ups in the corpus index, warm:
 *
 *   files     strings of FILES files below a folder, in one segment; and absent ones
 *   columns   10^7 synthetic columns whose bits are half set, against the rate at which a
 *             plain loop reads the same memory in the same minute
 *
 *   bench_query [--folder DIR] [--files N] [--columns N] [--passes N] [--work DIR]
 *
 * Times are of the processor, so that what else the machine does is left out.
 */
#include <ftw.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "index/gram.h"
#include "index/query.h"
#include "index/segment_writer.h"
#include "plan_make.h"

enum {
	STRINGS = 300,
	STRING_BYTES_MIN = 12,
	STRING_BYTES_MAX = 24,
	FILE_BYTES_MAX = 20 << 20,
	SEGMENT_DOCS = 1000000,
	COLUMN_CLASS = 20,  /* 1,024 rows */
	COLUMN_BYTES = 600, /* of a sample that is said to have such a column */
	SEGMENTS_MAX = 64,
	COLD_STRINGS = 16
};

static struct {
	const char *folder, *work;
	unsigned files, passes;
	uint32_t columns;
} options = { "/usr", "/tmp", 13000, 5, 10000000 };

static void need(int rc, const struct err *err)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s\n", err->msg);
	exit(1);
}

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof *v, by_value);
	return v[n / 2];
}

/* ---- segments and plans ------------------------------------------------------------- */

struct bench {
	struct io *io;
	char root[512];
	struct segment *segs[SEGMENTS_MAX];
	unsigned seg_count;
	uint64_t corpus_bytes, index_bytes;
};

static struct segment_writer *writer_new(void)
{
	struct segment_writer_options o = { 4ull << 30, 1, SIGNATURE_FILL_DEFAULT };

	return segment_writer_new(&o);
}

static void write_segment(struct bench *b, struct segment_writer *w, int64_t first, int64_t last)
{
	struct segment **seg = &b->segs[b->seg_count];
	struct err err;
	char name[32];
	uint64_t bytes;

	if (b->seg_count == SEGMENTS_MAX) {
		fprintf(stderr, "too many columns\n");
		exit(1);
	}
	snprintf(name, sizeof name, "%u.seg", b->seg_count);
	need(segment_writer_write(w, b->io, name, first, last, &bytes, &err), &err);
	segment_writer_free(w);
	need(segment_open(seg, b->io, name, &err), &err);
	b->index_bytes += bytes;
	b->seg_count++;
}

static void segments_close(struct bench *b)
{
	struct err err;
	char name[32];

	while (b->seg_count > 0) {
		segment_unref(b->segs[--b->seg_count]);
		snprintf(name, sizeof name, "%u.seg", b->seg_count);
		need(b->io->unlink(b->io, name, &err), &err);
	}
	b->index_bytes = b->corpus_bytes = 0;
}

/* One rule for each of n strings. */
static struct plan *plan_of(const struct str *strings, unsigned n)
{
	struct buf out = BUF_INIT(PLAN_BYTES_MAX);
	struct plan_make m;
	struct plan *plan;
	struct err err;

	plan_make_init(&m);
	for (unsigned i = 0; i < n; i++) {
		plan_op_run(&m, plan_make_run(&m, strings[i].p, strings[i].n, false));
		plan_make_string(&m, i, "$a", true);
	}
	for (unsigned i = 0; i < n; i++) {
		plan_op_string(&m, i);
		plan_make_rule(&m, "r", 0);
	}
	plan_make_end(&m, &out);
	plan_make_release(&m);
	need(plan_new(&plan, out.p, out.n, &err), &err);
	buf_release(&out);
	return plan;
}

/* The plan over all segments; counters are added. */
static void ask(struct bench *b, const struct plan *plan, struct query_counters *sum)
{
	static uint8_t groups[PLAN_RULES_MAX];
	const struct query_filter filter = { .last_id = INT64_MAX,
					     .end_s = INT64_MAX,
					     .size_max = UINT64_MAX,
					     .groups = groups,
					     .features_version = 1 };

	for (unsigned i = 0; i < PLAN_RULES_MAX; i++)
		groups[i] = (uint8_t)(i % QUERY_GROUPS);
	for (unsigned i = 0; i < b->seg_count; i++) {
		struct query_answer answer;
		struct err err;

		need(query_run(plan, b->segs[i], &filter, &answer, &err), &err);
		query_counters_add(sum, &answer.counters);
		query_answer_release(&answer);
	}
}

/* ---- files -------------------------------------------------------------------------- */

static struct {
	struct bench *b;
	struct segment_writer *writer;
	struct signer *signer;
	struct rand_seq lots;
	unsigned files;
	struct str strings[STRINGS];
} collecting;

static bool is_varied(const uint8_t *p, size_t n)
{
	unsigned kinds = 0;

	for (size_t i = 0; i < n; i++)
		kinds += !memchr(p, p[i], i);
	return kinds >= 8;
}

/* A string of this file takes the place of one of another: each file is as likely. */
static void string_draw(const uint8_t *p, size_t n)
{
	size_t len = STRING_BYTES_MIN +
		     rand_below(&collecting.lots, STRING_BYTES_MAX - STRING_BYTES_MIN + 1);
	uint64_t place = collecting.files < STRINGS
				 ? collecting.files
				 : rand_below(&collecting.lots, collecting.files + 1);

	if (place >= STRINGS || n < len)
		return;
	for (int tries = 0; tries < 100; tries++) {
		const uint8_t *at = p + rand_below(&collecting.lots, n - len + 1);

		if (!is_varied(at, len))
			continue;
		free((void *)(uintptr_t)collecting.strings[place].p);
		collecting.strings[place] = str_make(mem_must_dup(at, len), len);
		return;
	}
}

static int file_add(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct segment_doc doc = { .file_id = collecting.files + 1 };
	struct signature *sig;
	struct err err;
	uint8_t *p;
	int fd;

	(void)ftw;
	if (collecting.files == options.files)
		return 1;
	if (type != FTW_F || st->st_size == 0 || st->st_size > FILE_BYTES_MAX)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	p = mmap(NULL, (size_t)st->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return 0;
	doc.size = (uint64_t)st->st_size;
	memcpy(doc.head, p, doc.size < sizeof doc.head ? doc.size : sizeof doc.head);
	need(signer_sign(collecting.signer, p, doc.size, &sig, &err), &err);
	need(segment_writer_add(collecting.writer, &doc, sig, NULL, 0, &err), &err);
	string_draw(p, doc.size);
	munmap(p, (size_t)st->st_size);
	collecting.b->corpus_bytes += doc.size;
	collecting.files++;
	return 0;
}

/* Forget what the page cache has of the segment; only pages that are not mapped go. */
static void cache_drop(struct bench *b)
{
	struct err err;
	struct io_file *f;

	segment_unref(b->segs[0]);
	need(b->io->open(b->io, "0.seg", O_RDONLY, &f, &err), &err);
	if (posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		fprintf(stderr, "the page cache keeps what it has\n");
	b->io->close(b->io, f);
	need(segment_open(&b->segs[0], b->io, "0.seg", &err), &err);
}

/* The first look-ups after that; microseconds of the clock, disk included. */
static double cold(struct bench *b, const struct str *strings)
{
	struct query_counters c = { 0 };
	double us[COLD_STRINGS];

	for (unsigned i = 0; i < COLD_STRINGS; i++) {
		struct plan *plan = plan_of(&strings[i], 1);
		struct query_counters one = { 0 };

		cache_drop(b);
		ask(b, plan, &one);
		us[i] = (double)one.us;
		query_counters_add(&c, &one);
		plan_drop(&plan);
	}
	printf("cold     %.0f us, %.0f rows\n", median(us, COLD_STRINGS),
	       (double)c.rows / COLD_STRINGS);
	return median(us, COLD_STRINGS);
}

/* Each string alone, and all of them in one plan; microseconds of one string. */
static void lookups(struct bench *b, const char *what, const struct str *strings, double *ret_one)
{
	double one[64], all[64];
	struct query_counters c = { 0 };
	struct plan *plans[STRINGS], *plan = plan_of(strings, STRINGS);

	for (unsigned i = 0; i < STRINGS; i++)
		plans[i] = plan_of(&strings[i], 1);
	for (unsigned pass = 0; pass <= options.passes; pass++) {
		double start = cpu_us();

		c = (struct query_counters){ 0 };
		for (unsigned i = 0; i < STRINGS; i++)
			ask(b, plans[i], &c);
		one[pass] = (cpu_us() - start) / STRINGS;
		start = cpu_us();
		ask(b, plan, &(struct query_counters){ 0 });
		all[pass] = (cpu_us() - start) / STRINGS;
	}
	/* The first pass read pages for the first time. */
	*ret_one = median(one + 1, options.passes);
	printf("%-8s alone %.1f us, among %d %.1f us; %.0f rows, %.0f bytes, %.1f candidates "
	       "of %llu\n",
	       what, *ret_one, STRINGS, median(all + 1, options.passes), (double)c.rows / STRINGS,
	       (double)c.row_bytes / STRINGS, (double)c.candidates / STRINGS,
	       (unsigned long long)(c.docs / STRINGS));
	for (unsigned i = 0; i < STRINGS; i++)
		plan_drop(&plans[i]);
	plan_drop(&plan);
}

static void bench_files(struct bench *b, double *ret_present, double *ret_absent)
{
	struct str absent[STRINGS];
	double start = cpu_us(), signing;

	collecting.b = b;
	collecting.writer = writer_new();
	collecting.signer = signer_new(SIGNATURE_FILL_DEFAULT);
	collecting.lots.state = 1;
	(void)nftw(options.folder, file_add, 64, FTW_PHYS);
	signer_free(collecting.signer);
	signing = cpu_us() - start;
	write_segment(b, collecting.writer, 1, options.files);
	printf("files    %u of %.1f MB, %.1f %% of it index, made with %.0f MB/s\n",
	       collecting.files, (double)b->corpus_bytes / 1e6,
	       100 * (double)b->index_bytes / (double)b->corpus_bytes,
	       (double)b->corpus_bytes / signing);
	if (collecting.files < STRINGS) {
		fprintf(stderr, "too few files below %s\n", options.folder);
		exit(1);
	}
	for (unsigned i = 0; i < STRINGS; i++) {
		uint8_t *p = mem_must_zalloc(16);

		for (unsigned k = 0; k < 16; k++)
			p[k] = (uint8_t)rand_next(&collecting.lots);
		absent[i] = str_make(p, 16);
	}
	lookups(b, "present", collecting.strings, ret_present);
	lookups(b, "absent", absent, ret_absent);
	cold(b, absent);
	for (unsigned i = 0; i < STRINGS; i++) {
		free((void *)(uintptr_t)absent[i].p);
		free((void *)(uintptr_t)collecting.strings[i].p);
	}
	segments_close(b);
}

/* ---- columns ------------------------------------------------------------------------ */

static void columns_write(struct bench *b, int64_t first, uint32_t n, struct rand_seq *r)
{
	struct segment_writer *w = writer_new();
	struct err err;

	for (uint32_t i = 0; i < n; i++) {
		struct segment_doc doc = { .file_id = first + i, .size = COLUMN_BYTES };
		struct signature *sig = mem_must_zalloc(sizeof *sig + sizeof sig->columns[0]);

		sig->column_count = 1;
		sig->bytes = gram_rows(COLUMN_CLASS) / 8;
		sig->columns[0].class = COLUMN_CLASS;
		sig->columns[0].bits = mem_must_zalloc(sig->bytes);
		for (uint32_t k = 0; k < gram_rows(COLUMN_CLASS) / 64; k++)
			sig->columns[0].bits[k] = rand_next(r);
		need(segment_writer_add(w, &doc, sig, NULL, 0, &err), &err);
	}
	write_segment(b, w, first, first + n - 1);
}

/* All rows of all segments as one loop reads them. */
typedef uint64_t vec __attribute__((vector_size(64), aligned(1), may_alias));

static double plain_read(struct bench *b, uint64_t *ret_bytes)
{
	vec sum[4] = { { 0 } };
	double start = cpu_us();

	*ret_bytes = 0;
	for (unsigned i = 0; i < b->seg_count; i++) {
		for (uint32_t k = 0; k < segment_blocks(b->segs[i]); k++) {
			const struct segment_matrix *m = segment_block_at(b->segs[i], k)->matrices;
			const uint8_t *p = segment_row(b->segs[i], m, 0);
			size_t n = (size_t)m->row_bytes * gram_rows(m->class);

			for (size_t at = 0; at + 256 <= n; at += 256)
				for (unsigned j = 0; j < 4; j++)
					sum[j] |= *(const vec *)(p + at + 64 * j);
			*ret_bytes += n;
		}
	}
	sum[0] |= sum[1] | sum[2] | sum[3];
	__asm__ volatile("" : : "r"(&sum) : "memory");
	return cpu_us() - start;
}

/* Every page of rows is read against its checksum once, when it is first asked for. */
static void first_look(struct bench *b)
{
	double start = cpu_us();
	uint64_t bytes = 0;

	for (unsigned i = 0; i < b->seg_count; i++) {
		for (uint32_t k = 0; k < segment_blocks(b->segs[i]); k++) {
			const struct segment_matrix *m = segment_block_at(b->segs[i], k)->matrices;

			for (uint32_t row = 0; row < gram_rows(m->class); row++)
				bytes += segment_row(b->segs[i], m, row) ? m->row_bytes : 0;
		}
	}
	printf("first look at all rows: %.2f GB/s\n", (double)bytes / (cpu_us() - start) / 1e3);
}

static void bench_columns(struct bench *b, double *ret_query, double *ret_read, double *ret_ratio)
{
	double query[64], read[64], ratio[64];
	struct query_counters c = { 0 };
	struct rand_seq r = { 2 };
	struct plan *plans[STRINGS];

	for (uint32_t at = 0; at < options.columns; at += SEGMENT_DOCS)
		columns_write(b, 1 + (int64_t)at,
			      options.columns - at < SEGMENT_DOCS ? options.columns - at
								  : SEGMENT_DOCS,
			      &r);
	printf("columns  %u in %u segments, %.2f GB\n", options.columns, b->seg_count,
	       (double)b->index_bytes / 1e9);
	for (unsigned i = 0; i < STRINGS; i++) {
		uint64_t run[3] = { rand_next(&r), rand_next(&r), rand_next(&r) };
		struct str s = str_make(run, sizeof run);

		plans[i] = plan_of(&s, 1);
	}
	first_look(b);
	for (unsigned pass = 0; pass <= options.passes; pass++) {
		uint64_t bytes;
		double us = plain_read(b, &bytes), start;

		read[pass] = (double)bytes / us / 1e3;
		c = (struct query_counters){ 0 };
		start = cpu_us();
		for (unsigned i = 0; i < STRINGS / 10; i++)
			ask(b, plans[(pass * STRINGS / 10 + i) % STRINGS], &c);
		us = cpu_us() - start;
		query[pass] = (double)c.row_bytes / us / 1e3;
		ratio[pass] = query[pass] / read[pass];
		printf("pass %u: %.2f ms a string, %.1f rows and %.2f MB; %.2f GB/s, plain loop "
		       "%.2f GB/s\n",
		       pass, us / 1e3 / (STRINGS / 10), (double)c.rows / (STRINGS / 10),
		       (double)c.row_bytes / 1e6 / (STRINGS / 10), query[pass], read[pass]);
	}
	*ret_query = median(query + 1, options.passes);
	*ret_read = median(read + 1, options.passes);
	*ret_ratio = median(ratio + 1, options.passes);
	for (unsigned i = 0; i < STRINGS; i++)
		plan_drop(&plans[i]);
	segments_close(b);
}

static void options_read(int argc, char **argv)
{
	static const struct option known[] = { { "folder", required_argument, NULL, 'f' },
					       { "files", required_argument, NULL, 'n' },
					       { "columns", required_argument, NULL, 'c' },
					       { "passes", required_argument, NULL, 'p' },
					       { "work", required_argument, NULL, 'w' },
					       { 0 } };
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'f') {
			options.folder = optarg;
		} else if (c == 'w') {
			options.work = optarg;
		} else if (c == '?' ||
			   !str_to_u64(str_of(optarg), (uint64_t)SEGMENTS_MAX * SEGMENT_DOCS, &v)) {
			fprintf(stderr, "bench_query [--folder DIR] [--files N] [--columns N] "
					"[--passes N] [--work DIR]\n");
			exit(2);
		} else if (c == 'n') {
			options.files = (unsigned)v;
		} else if (c == 'c') {
			options.columns = (uint32_t)v;
		} else {
			options.passes = v < 1 ? 1 : (v > 60 ? 60 : (unsigned)v);
		}
	}
}

int main(int argc, char **argv)
{
	double present = 0, absent = 0, query = 0, read = 0, ratio = 0;
	struct bench b = { 0 };
	struct err err;

	options_read(argc, argv);
	snprintf(b.root, sizeof b.root, "%s/weir-bench-XXXXXX", options.work);
	if (!mkdtemp(b.root)) {
		perror(b.root);
		return 1;
	}
	need(io_posix_new(&b.io, b.root, &err), &err);
	if (options.files > 0)
		bench_files(&b, &present, &absent);
	if (options.columns > 0)
		bench_columns(&b, &query, &read, &ratio);
	io_posix_free(b.io);
	(void)rmdir(b.root);
	printf("query present_us=%.1f absent_us=%.1f columns_gb_s=%.2f read_gb_s=%.2f "
	       "ratio=%.2f\n",
	       present, absent, query, read, ratio);
	return 0;
}
