/*
 * What building the corpus index of a folder costs, how large it is, and how much it lets
 * through.
 *
 *   bench_index [FOLDER] [--fill N,N,…] [--segment-mb N]
 *
 * Files of FOLDER (default /usr/lib; up to FILES_MAX, each up to 650 MB) are read, signed
 * and written as segments of --segment-mb of index (64), which are merged into one, for
 * each fill limit (per thousand, see signature.h). One thread; times are of the processor,
 * so that what else the machine does is left out, and the clock's beside them. Then strings
 * are looked up: some that the files have, from random places, and some that none has.
 *
 * Classes and chunks' sizes are the format's and are not varied here.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "index/gram.h"
#include "index/merge.h"
#include "index/segment.h"
#include "index/segment_writer.h"

enum {
	FILES_MAX = 1 << 20,
	STRINGS = 400 /* looked up of each kind */
};

static char **files;
static uint32_t files_n;

static void need(int rc, const struct err *err)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s\n", err->msg);
	exit(1);
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu(void)
{
	return seconds(CLOCK_THREAD_CPUTIME_ID);
}

static int take_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_F && S_ISREG(st->st_mode) && st->st_size <= LIMIT_SAMPLE_BYTES &&
	    files_n < FILES_MAX)
		files[files_n++] = mem_must_strdup(path);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct content {
	uint8_t *p;
	size_t n;
	size_t cap;
};

static bool file_read(const char *path, struct content *c)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 0;

	c->n = 0;
	if (fd < 0)
		return false;
	do {
		c->n += (size_t)got;
		if (c->n == c->cap) {
			c->cap = c->cap ? 2 * c->cap : 1 << 20;
			mem_must_grow((void **)&c->p, c->cap, 1);
		}
		got = read(fd, c->p + c->n, c->cap - c->n);
	} while (got > 0);
	close(fd);
	return got == 0;
}

/* ---- Building ---- */

struct build {
	struct io *io;
	unsigned fill;
	uint64_t segment_bytes;
	struct segment *segs[SEGMENT_MERGE_MAX];
	unsigned segs_n;
	int64_t first_id;
	uint64_t bytes; /* of samples */
	uint64_t index_bytes;
	double read_s, sign_s, write_s, wall_s, merge_s, merge_wall_s;
};

static void segment_end(struct build *b, struct segment_writer **w, int64_t last_id)
{
	char name[32];
	uint64_t bytes;
	struct err err;
	double start = cpu();

	if (b->segs_n == SEGMENT_MERGE_MAX) {
		fprintf(stderr, "more than %d segments: give a larger --segment-mb\n",
			SEGMENT_MERGE_MAX);
		exit(1);
	}
	snprintf(name, sizeof name, "%u-%u.seg", b->fill, b->segs_n);
	need(segment_writer_write(*w, b->io, name, b->first_id, last_id, &bytes, &err), &err);
	segment_writer_drop(w);
	b->write_s += cpu() - start;
	b->index_bytes += bytes;
	need(segment_open(&b->segs[b->segs_n++], b->io, name, &err), &err);
	b->first_id = last_id + 1;
}

static void add_file(struct build *b, struct signer *signer, struct segment_writer *w,
		     const struct content *c, int64_t id)
{
	struct segment_doc doc = { .file_id = id, .size = c->n };
	struct signature *sig;
	struct err err;
	double start = cpu();

	need(signer_sign(signer, c->p, c->n, &sig, &err), &err);
	b->sign_s += cpu() - start;
	memcpy(doc.head, c->p, c->n < sizeof doc.head ? c->n : sizeof doc.head);
	need(segment_writer_add(w, &doc, sig, NULL, 0, &err), &err);
	b->bytes += c->n;
}

static void build(struct build *b)
{
	struct segment_writer_options options = { b->segment_bytes, 1, b->fill };
	struct signer *signer = signer_new(b->fill);
	struct segment_writer *w = segment_writer_new(&options);
	struct content c = { 0 };
	double wall = seconds(CLOCK_MONOTONIC);

	for (uint32_t i = 0; i < files_n; i++) {
		double start = cpu();
		bool is_read = file_read(files[i], &c);

		b->read_s += cpu() - start;
		if (!is_read)
			continue;
		add_file(b, signer, w, &c, i);
		if (segment_writer_is_full(w)) {
			segment_end(b, &w, i);
			w = segment_writer_new(&options);
		}
	}
	segment_end(b, &w, files_n);
	b->wall_s = seconds(CLOCK_MONOTONIC) - wall;
	signer_free(signer);
	free(c.p);
}

static struct segment *merge(struct build *b)
{
	struct segment *seg;
	char name[32];
	uint64_t bytes;
	struct err err;
	double start = cpu();
	double wall = seconds(CLOCK_MONOTONIC);

	snprintf(name, sizeof name, "%u.seg", b->fill);
	need(segment_merge(b->io, b->segs, b->segs_n, name, NULL, &bytes, &err), &err);
	b->merge_s = cpu() - start;
	b->merge_wall_s = seconds(CLOCK_MONOTONIC) - wall;
	for (unsigned i = 0; i < b->segs_n; i++) {
		char part[32];

		segment_unref(b->segs[i]);
		snprintf(part, sizeof part, "%u-%u.seg", b->fill, i);
		need(b->io->unlink(b->io, part, &err), &err);
	}
	need(segment_open(&seg, b->io, name, &err), &err);
	return seg;
}

/* ---- What it lets through ---- */

/* Columns of a matrix that may have all grams of a run. */
static uint32_t matrix_count(struct segment *seg, const struct segment_matrix *m, const uint8_t *p,
			     size_t n)
{
	uint8_t all[SEGMENT_BLOCK_DOCS / 8];
	uint32_t count = 0;

	memset(all, 0xff, m->row_bytes);
	for (size_t i = 0; i + GRAM_FOLD4_BYTES <= n; i++) {
		const uint8_t *row = segment_row(seg, m, gram_row(gram_fold4(p + i), m->class));

		for (uint32_t j = 0; row && j < m->row_bytes; j++)
			all[j] &= row[j];
	}
	for (uint32_t j = 0; j < m->columns; j++)
		count += all[j / 8] >> j % 8 & 1;
	return count;
}

static double mean_candidates(struct segment *seg, size_t n, bool from_files)
{
	struct rand_seq r = { n };
	struct content c = { 0 };
	uint64_t found = 0;
	unsigned strings = 0;

	for (unsigned tries = 0; strings < STRINGS && tries < 100 * STRINGS; tries++) {
		uint8_t run[64];
		unsigned different = 0;

		for (size_t i = 0; i < n; i++)
			run[i] = (uint8_t)rand_next(&r);
		if (from_files) {
			if (!file_read(files[rand_below(&r, files_n)], &c) || c.n < n)
				continue;
			memcpy(run, c.p + rand_below(&r, c.n - n + 1), n);
		}
		for (size_t i = 1; i < n; i++)
			different += run[i] != run[i - 1];
		/* No one hunts for runs of zeros. */
		if (different < n / 2)
			continue;
		strings++;
		for (uint32_t i = 0; i < segment_blocks(seg); i++) {
			const struct segment_block *b = segment_block_at(seg, i);

			for (uint32_t k = 0; k < b->matrix_count; k++)
				found += matrix_count(seg, &b->matrices[k], run, n);
		}
	}
	free(c.p);
	return strings ? (double)found / strings : 0;
}

static void print_classes(const struct segment *seg)
{
	uint64_t columns[SEGMENT_CLASS_MAX + 1] = { 0 };

	for (uint32_t i = 0; i < segment_blocks(seg); i++) {
		const struct segment_block *b = segment_block_at(seg, i);

		for (uint32_t k = 0; k < b->matrix_count; k++)
			columns[b->matrices[k].class] += b->matrices[k].columns;
	}
	printf("  columns by rows:");
	for (unsigned c = SEGMENT_CLASS_MIN; c <= SEGMENT_CLASS_MAX; c++)
		printf(" %u:%llu", gram_rows(c), (unsigned long long)columns[c]);
	printf("\n");
}

static void run(struct io *io, unsigned fill, uint64_t segment_bytes)
{
	struct build b = { .io = io, .fill = fill, .segment_bytes = segment_bytes };
	struct segment *seg;
	double build_s, mb;
	uint64_t merged;
	char name[32];
	struct err err;

	build(&b);
	seg = merge(&b);
	merged = segment_file_bytes(seg);
	build_s = b.sign_s + b.write_s;
	mb = (double)b.bytes / 1e6;
	printf("fill %u: %u files, %.0f MB; %u segments of %.1f MB in all, merged %.1f MB\n", fill,
	       segment_docs(seg), mb, b.segs_n, (double)b.index_bytes / 1e6, (double)merged / 1e6);
	print_classes(seg);
	printf("  processor s: read %.2f, sign %.2f, write %.2f, merge %.2f; clock: %.2f and "
	       "%.2f\n",
	       b.read_s, b.sign_s, b.write_s, b.merge_s, b.wall_s, b.merge_wall_s);
	printf("index fill=%u files=%u corpus_mb=%.0f build_mb_s=%.0f sign_mb_s=%.0f "
	       "write_share=%.2f "
	       "merge_mb_s=%.0f merge_wall_mb_s=%.0f ratio=%.4f merged_ratio=%.4f cand_8=%.1f "
	       "cand_12=%.1f none_5=%.1f none_6=%.1f none_8=%.2f none_12=%.3f\n",
	       fill, segment_docs(seg), mb, mb / build_s, mb / b.sign_s, b.write_s / build_s,
	       (double)merged / 1e6 / b.merge_s, (double)merged / 1e6 / b.merge_wall_s,
	       (double)b.index_bytes / (double)b.bytes, (double)merged / (double)b.bytes,
	       mean_candidates(seg, 8, true), mean_candidates(seg, 12, true),
	       mean_candidates(seg, 5, false), mean_candidates(seg, 6, false),
	       mean_candidates(seg, 8, false), mean_candidates(seg, 12, false));
	segment_unref(seg);
	snprintf(name, sizeof name, "%u.seg", fill);
	need(io->unlink(io, name, &err), &err);
}

int main(int argc, char **argv)
{
	const char *folder = "/usr/lib";
	char default_fills[] = "300,340,380,400,420";
	char *fill_text = default_fills;
	char work[] = "/tmp/weir-bench-index-XXXXXX";
	uint64_t segment_mb = 64;
	struct str rest, part;
	struct io *io;
	struct err err;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--fill") == 0 && i + 1 < argc)
			fill_text = argv[++i];
		else if (strcmp(argv[i], "--segment-mb") == 0 && i + 1 < argc &&
			 str_to_u64(str_of(argv[i + 1]), 4096, &segment_mb))
			i++;
		else if (argv[i][0] != '-')
			folder = argv[i];
		else {
			fprintf(stderr, "bench_index [FOLDER] [--fill N,N,...] [--segment-mb N]\n");
			return 2;
		}
	}
	files = mem_must_zalloc(FILES_MAX * sizeof *files);
	if (nftw(folder, take_file, 32, FTW_PHYS) != 0 || files_n == 0) {
		fprintf(stderr, "no files in '%s'\n", folder);
		return 1;
	}
	qsort(files, files_n, sizeof *files, by_path);
	if (!mkdtemp(work)) {
		fprintf(stderr, "cannot make '%s'\n", work);
		return 1;
	}
	need(io_posix_new(&io, work, &err), &err);
	rest = str_of(fill_text);
	while (str_split(&rest, ',', &part)) {
		uint64_t fill;

		if (!str_to_u64(part, SIGNATURE_FILL_MAX, &fill) || fill < SIGNATURE_FILL_MIN) {
			fprintf(stderr, "'" STR_FMT "' is no fill limit\n", STR_ARG(part));
			return 2;
		}
		run(io, (unsigned)fill, segment_mb << 20);
	}
	io_posix_free(io);
	(void)rmdir(work);
	for (uint32_t i = 0; i < files_n; i++)
		free(files[i]);
	free(files);
	return 0;
}
