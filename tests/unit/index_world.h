#ifndef INDEX_WORLD_H
#define INDEX_WORLD_H
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "index/gram.h"
#include "index/segment.h"
#include "index/segment_writer.h"
#include "index/signature.h"
#include "unit.h"

/*
 * Samples of many kinds made from a seed, segments of them in a folder of the test's own,
 * and the question that all of it is about: may this document contain these bytes?
 */
struct index_world {
	char *dir; /* owned */
	struct io *io;
	struct signer *signer;
};

struct sample {
	uint8_t *p; /* owned */
	size_t n;
};

static inline void index_world_up(struct index_world *w, unsigned fill_max)
{
	struct err err;

	w->dir = test_dir_new();
	CHECK_OK(io_posix_new(&w->io, w->dir, &err), &err);
	w->signer = signer_new(fill_max);
}

static inline void index_world_down(struct index_world *w)
{
	signer_free(w->signer);
	io_posix_free(w->io);
	test_dir_remove(w->dir);
}

/* Kind k of n bytes: random, text, wide text, zeros, numbers of 32 bits, a mixture. */
enum {
	SAMPLE_KINDS = 6
};
static inline void sample_fill(uint8_t *p, size_t n, unsigned kind, struct rand_seq *r)
{
	static const char letters[] = "etaoin SHRDLU kernel32.dll\r\nVirtualAlloc";

	for (size_t i = 0; i < n; i++) {
		uint64_t lot = rand_next(r);

		switch (kind) {
		case 0:
			p[i] = (uint8_t)lot;
			break;
		case 1:
			p[i] = (uint8_t)letters[lot % (sizeof letters - 1)];
			break;
		case 2:
			p[i] = i % 2 ? 0 : (uint8_t)letters[lot % (sizeof letters - 1)];
			break;
		case 3:
			p[i] = lot % 100 == 0 ? (uint8_t)(lot >> 8) : 0;
			break;
		case 4:
			p[i] = i % 4 == 0 ? (uint8_t)lot : i % 4 == 1 ? (uint8_t)(lot >> 8) & 1 : 0;
			break;
		default: {
			size_t part = 1 + rand_below(r, n - i < 300 ? n - i : 300);

			sample_fill(p + i, part, (unsigned)rand_below(r, 5), r);
			i += part - 1;
			break;
		}
		}
	}
}

static inline struct sample sample_new(size_t n, unsigned kind, uint64_t seed)
{
	struct rand_seq r = { seed };
	struct sample s = { mem_must_zalloc(n), n };

	sample_fill(s.p, n, kind, &r);
	return s;
}

/* What a document with this id is said to be; each field its own. */
static inline struct segment_doc sample_doc(const struct sample *s, int64_t id)
{
	struct segment_doc d = { .file_id = id,
				 .size = s->n,
				 .first_seen_s = 1700000000 + id * 61 % 1000,
				 .pack = (uint32_t)(id / 7 + 1),
				 .offset = (uint64_t)id * 4096 + 104,
				 .file_type = (uint32_t)(id * 3),
				 .corpus = (uint8_t)(id % 2) };

	sha256_of(s->p, s->n, d.sha256);
	memcpy(d.head, s->p, s->n < sizeof d.head ? s->n : sizeof d.head);
	return d;
}

static inline void writer_add(const struct index_world *w, struct segment_writer *writer,
			      const struct sample *s, int64_t id, const uint64_t *features,
			      size_t features_n)
{
	struct segment_doc doc = sample_doc(s, id);
	struct signature *sig;
	struct err err;

	CHECK_OK(signer_sign(w->signer, s->p, s->n, &sig, &err), &err);
	CHECK_OK(segment_writer_add(writer, &doc, sig, features, features_n, &err), &err);
}

/* May column `column` of a matrix have the n bytes? */
static inline bool column_may_contain(struct segment *seg, const struct segment_matrix *m,
				      uint32_t column, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + GRAM_FOLD4_BYTES <= n; i++) {
		uint32_t views[2] = { gram_fold4(p + i) };
		int views_n = 1;

		if (i + GRAM_WIDE4_BYTES <= n && gram_wide4(p + i, &views[1]))
			views_n = 2;
		for (int v = 0; v < views_n; v++) {
			const uint8_t *row = segment_row(seg, m, gram_row(views[v], m->class));

			if (row && !(row[column / 8] >> column % 8 & 1))
				return false;
		}
	}
	return true;
}

static inline const struct segment_block *block_of(const struct segment *seg, uint32_t doc)
{
	for (uint32_t i = 0; i < segment_blocks(seg); i++) {
		const struct segment_block *b = segment_block_at(seg, i);

		if (doc >= b->doc_first && doc - b->doc_first < b->doc_count)
			return b;
	}
	fail_msg("document %u is in no block", doc);
	return segment_block_at(seg, 0);
}

static inline bool doc_may_contain(struct segment *seg, uint32_t doc, const uint8_t *p, size_t n)
{
	const struct segment_block *b = block_of(seg, doc);

	if (segment_flags(seg)[doc] & SEGMENT_DOC_ALWAYS)
		return true;
	for (uint32_t k = 0; k < b->matrix_count; k++) {
		const struct segment_matrix *m = &b->matrices[k];

		for (uint32_t i = 0; i < m->columns; i++) {
			uint32_t at = m->docs ? m->docs[i] : m->doc_base + i;

			if (b->doc_first + at == doc && column_may_contain(seg, m, i, p, n))
				return true;
		}
	}
	return false;
}

/* A run of the sample as a rule could ask for it: any length, any case where nocase is. */
static inline size_t run_of(const struct sample *s, struct rand_seq *r, uint8_t run[4096])
{
	size_t most = s->n < 64 ? s->n : 64;
	size_t n = 4 + rand_below(r, most - 3);
	size_t at = rand_below(r, s->n - n + 1);

	for (size_t i = 0; i < n; i++) {
		uint8_t c = s->p[at + i];
		bool letter = (uint8_t)((c | 32) - 'a') < 26;

		run[i] = letter && rand_below(r, 2) ? c ^ 32 : c;
	}
	return n;
}

/* Count documents of the segment that may have the run. */
static inline uint32_t candidates(struct segment *seg, const uint8_t *p, size_t n)
{
	uint32_t found = 0;

	for (uint32_t doc = 0; doc < segment_docs(seg); doc++)
		found += doc_may_contain(seg, doc, p, n);
	return found;
}

static inline void path_of(const struct index_world *w, const char *name, char out[600])
{
	snprintf(out, 600, "%s/%s", w->dir, name);
}

static inline uint8_t *file_load(const struct index_world *w, const char *name, size_t *ret_n)
{
	char path[600];
	struct stat st;
	uint8_t *p;
	FILE *f;

	path_of(w, name, path);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	p = mem_must_zalloc((size_t)st.st_size);
	assert_int_equal(fread(p, 1, (size_t)st.st_size, f), st.st_size);
	fclose(f);
	*ret_n = (size_t)st.st_size;
	return p;
}

static inline void file_store(const struct index_world *w, const char *name, const uint8_t *p,
			      size_t n)
{
	char path[600];
	FILE *f;

	path_of(w, name, path);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}
#endif
