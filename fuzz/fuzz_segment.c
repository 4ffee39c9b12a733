#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "format_internal.h"
#include "index/merge.h"
#include "index/segment.h"
#include "index/segment_writer.h"

/*
 * A segment of any bytes, opened and asked for all that it holds, checked, and merged with
 * itself. The first byte says whether checksums are put right first: hostile bytes would
 * hardly come past them, our own mistakes do.
 */
enum {
	FIX_SUMS = 1,
	FEATURES = 40 /* looked up */
};

static char dir[256];
static char file[400];
static struct io *io;
static volatile uint64_t sink; /* what is read is used */

static void clean_up(void)
{
	char path[400];

	(void)unlink(file);
	snprintf(path, sizeof path, "%s/m", dir);
	(void)unlink(path);
	(void)rmdir(dir);
	io_posix_free(io);
}

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");
	struct err err;

	if (dir[0])
		return;
	snprintf(dir, sizeof dir, "%s/weir-fuzz-XXXXXX", tmp ? tmp : "/tmp");
	REQUIRE(mkdtemp(dir));
	snprintf(file, sizeof file, "%s/s", dir);
	REQUIRE(io_posix_new(&io, dir, &err) == 0);
	(void)atexit(clean_up);
}

/* Sums of all pages, of the sums, of header and footer: where the header says that they are. */
static void fix_sums(uint8_t *p, size_t n)
{
	struct format_header h = { 0 };
	struct format_header parsed;
	uint64_t at;
	uint32_t crc;

	if (n < FORMAT_PAGE_BYTES + FORMAT_FOOTER_BYTES)
		return;
	put_le32(p + FORMAT_HEADER_BYTES - 4, crc32c(0, p, FORMAT_HEADER_BYTES - 4));
	if (format_header_decode(&parsed, p, n, NULL) != 0)
		return;
	memcpy(h.salt, parsed.salt, sizeof h.salt);
	at = parsed.sections[SECTION_CHECKS].at;
	for (uint64_t page = 0; page < at / FORMAT_PAGE_BYTES; page++)
		put_le32(p + at + 4 * page,
			 format_sum(h.salt, page, p + page * FORMAT_PAGE_BYTES, FORMAT_PAGE_BYTES));
	crc = format_sum(h.salt, FORMAT_SUM_CHECKS, p + at, parsed.sections[SECTION_CHECKS].bytes);
	format_footer_encode(&h, n, crc, p + n - FORMAT_FOOTER_BYTES);
}

static void walk_docs(struct segment *seg)
{
	for (uint32_t i = 0; i < segment_docs(seg); i++) {
		struct segment_doc d;
		uint32_t found;

		segment_doc_get(seg, i, &d);
		REQUIRE(segment_doc_find(seg, d.file_id, &found) && found == i);
		REQUIRE(segment_file_ids(seg)[i] >= segment_first_id(seg) &&
			segment_file_ids(seg)[i] <= segment_last_id(seg));
		REQUIRE(segment_corpora(seg)[i] <= SEGMENT_GOODWARE);
		sink += d.size + segment_sizes(seg)[i] + segment_heads(seg)[i][15] +
			segment_flags(seg)[i] + (uint64_t)segment_first_seen(seg)[i];
	}
}

static void walk_rows(struct segment *seg)
{
	for (uint32_t i = 0; i < segment_blocks(seg); i++) {
		const struct segment_block *b = segment_block_at(seg, i);

		REQUIRE(b->doc_first + b->doc_count <= segment_docs(seg));
		for (uint32_t k = 0; k < b->matrix_count; k++) {
			const struct segment_matrix *m = &b->matrices[k];
			uint32_t step = gram_rows(m->class) / 512;

			for (uint32_t c = 0; c < m->columns; c++)
				REQUIRE((m->docs ? m->docs[c] : m->doc_base + c) < b->doc_count);
			for (uint32_t row = 0; row + step <= gram_rows(m->class); row += step) {
				const uint8_t *p = segment_row(seg, m, row + step - 1);

				for (uint32_t j = 0; p && j < m->row_bytes; j++)
					sink += p[j];
				segment_read_ahead(seg, segment_row_pages(m, row));
			}
		}
	}
}

static void walk_features(struct segment *seg)
{
	struct rand_seq r = { 1 };

	for (int i = 0; i < FEATURES; i++) {
		uint32_t docs[64];
		uint32_t n;

		if (segment_feature(seg, i % 4 ? rand_next(&r) : (uint64_t)i << 58, docs, 64, &n,
				    NULL) != 0)
			continue;
		REQUIRE(n <= segment_docs(seg));
		for (uint32_t k = 0; k < n && k < 64; k++)
			REQUIRE(docs[k] < segment_docs(seg));
	}
}

static void note_bad(const char *section, uint64_t offset, void *arg)
{
	(void)arg;
	REQUIRE(section[0] != '\0');
	sink += offset;
}

/* What a file that lies is merged into is sound itself. */
static void merge_it(struct segment *seg)
{
	int64_t dead[] = { segment_first_id(seg) };
	struct segment_merge options = { .dead = dead, .dead_n = 1 };
	struct segment *merged;
	uint64_t bytes;
	struct err err;

	if (segment_merge(io, &seg, 1, "m", &options, &bytes, NULL) != 0)
		return;
	REQUIRE(segment_open(&merged, io, "m", &err) == 0);
	walk_docs(merged);
	walk_rows(merged);
	walk_features(merged);
	segment_unref(merged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct segment *seg;
	uint8_t *p;
	FILE *f;

	set_up();
	if (n < 1)
		return 0;
	p = mem_must_dup(data + 1, n - 1);
	if (data[0] & FIX_SUMS)
		fix_sums(p, n - 1);
	f = fopen(file, "wb");
	REQUIRE(f && fwrite(p, 1, n - 1, f) == n - 1 && fclose(f) == 0);
	free(p);
	if (segment_open(&seg, io, "s", NULL) != 0)
		return 0;
	walk_docs(seg);
	walk_rows(seg);
	walk_features(seg);
	REQUIRE(segment_check(seg, note_bad, NULL, NULL, NULL) == 0);
	merge_it(seg);
	segment_unref(seg);
	return 0;
}

/* ---- Seeds: small segments of every shape ---- */

static void seed(void (*run)(const uint8_t *data, size_t n), uint32_t docs, size_t bytes, int fix)
{
	struct segment_writer_options options = { 1 << 30, 1, SIGNATURE_FILL_DEFAULT };
	struct segment_writer *w = segment_writer_new(&options);
	struct signer *signer = signer_new(SIGNATURE_FILL_DEFAULT);
	struct rand_seq r = { docs };
	uint8_t *sample = mem_must_zalloc(bytes + 100);
	uint64_t written;
	struct err err;
	uint8_t *out;
	FILE *f;

	for (uint32_t i = 0; i < docs; i++) {
		struct segment_doc doc = { .file_id = 2 * i, .size = bytes + i % 90 };
		struct signature *sig;
		uint64_t features[3] = { rand_next(&r), (uint64_t)(i % 3) << 50, 1ull << 63 };

		for (size_t k = 0; k < doc.size; k++)
			sample[k] = (uint8_t)rand_next(&r);
		REQUIRE(signer_sign(signer, sample, doc.size, &sig, &err) == 0);
		REQUIRE(segment_writer_add(w, &doc, sig, features, i % 4, &err) == 0);
	}
	REQUIRE(segment_writer_write(w, io, "s", 0, 2 * docs, &written, &err) == 0);
	segment_writer_free(w);
	signer_free(signer);
	free(sample);
	out = mem_must_zalloc(written + 1);
	out[0] = (uint8_t)fix;
	f = fopen(file, "rb");
	REQUIRE(f && fread(out + 1, 1, written, f) == written && fclose(f) == 0);
	run(out, written + 1);
	free(out);
}

void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	set_up();
	for (int fix = 0; fix <= FIX_SUMS; fix++) {
		seed(run, 0, 0, fix);
		seed(run, 1, 0, fix);
		seed(run, 1, 50, fix);
		seed(run, 3, 2000, fix);
		seed(run, 100, 10, fix);
		seed(run, 90, 300, fix);
	}
}
