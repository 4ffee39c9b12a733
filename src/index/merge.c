#include "index/merge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "assemble_internal.h"
#include "base/mem.h"
#include "bits_internal.h"
#include "segment_internal.h"
#include "transpose_internal.h"

/*
 * A source (assemble_internal.h) is a document of an input, counted through all inputs.
 * A matrix of the new segment is made of *pieces*: columns that lie beside each other in
 * a matrix of an input, in the order of the new documents. What lies between columns of a
 * piece and is left out has zeros in its mask.
 */
enum {
	TILE_BYTES = 1 << 20,
	GAP_COLUMNS = 64 /* from here on two pieces are cheaper than one with a mask */
};

struct input {
	struct segment *seg;
	uint32_t base;  /* its first source */
	uint32_t block; /* the one that was looked at last: the next is mostly there */
};

struct merge {
	const struct segment_merge *options;
	struct input inputs[SEGMENT_MERGE_MAX];
	size_t n;
	uint32_t features_version;
	uint8_t flags; /* of the source that was asked for last, where they change */
	uint64_t told;
};

static struct input *input_of(struct merge *m, uint32_t source)
{
	size_t low = 0;
	size_t high = m->n;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (m->inputs[middle].base <= source)
			low = middle;
		else
			high = middle;
	}
	return &m->inputs[low];
}

static const struct segment_block *block_of(struct input *in, uint32_t doc)
{
	const struct segment_block *b = &in->seg->blocks[in->block];
	uint32_t low = 0;
	uint32_t high = in->seg->header.blocks;

	if (doc - b->doc_first < b->doc_count)
		return b;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (in->seg->blocks[middle].doc_first <= doc)
			low = middle;
		else
			high = middle;
	}
	in->block = low;
	return &in->seg->blocks[low];
}

static const void *source_field(void *arg, uint32_t source, enum format_column c)
{
	struct merge *m = arg;
	struct input *in = input_of(m, source);
	const uint8_t *p =
		in->seg->columns[c] + (uint64_t)(source - in->base) * format_column_width(c);

	if (c != COLUMN_FLAGS || in->seg->header.features_version == m->features_version)
		return p;
	m->flags = *p | SEGMENT_DOC_NO_FEATURES;
	return &m->flags;
}

static void source_counts(void *arg, uint32_t source, uint32_t counts[FORMAT_CLASSES])
{
	struct input *in = input_of(arg, source);
	uint32_t doc = source - in->base;
	const struct segment_block *b = block_of(in, doc);
	uint32_t first;

	memset(counts, 0, FORMAT_CLASSES * sizeof *counts);
	for (uint32_t i = 0; i < b->matrix_count; i++)
		counts[b->matrices[i].class - SEGMENT_CLASS_MIN] +=
			segment_matrix_columns_of(&b->matrices[i], doc - b->doc_first, &first);
}

/* ---- Pieces ---- */

struct piece {
	struct segment *seg;
	const struct segment_matrix *matrix;
	struct bit_piece bits;
	uint64_t *keep; /* bits.keep, owned */
};

struct pieces {
	struct piece *all;
	uint32_t n;
	uint32_t cap;
};

static void pieces_release(struct pieces *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		free(p->all[i].keep);
	free(p->all);
}

static void keep_bits(uint64_t *keep, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++)
		keep[i / 64] |= 1ull << (i % 64);
}

/* Columns that follow the last piece's in its matrix become a part of it. */
static bool piece_extend(struct piece *p, const struct segment_matrix *m, uint32_t first,
			 uint32_t n)
{
	uint32_t end = p->bits.first + p->bits.n;

	if (p->matrix != m || first < end || first - end >= GAP_COLUMNS)
		return false;
	if (first > end && !p->keep) {
		p->keep = mem_must_zalloc((m->columns - p->bits.first + 63) / 64 * 8);
		p->bits.keep = p->keep;
		keep_bits(p->keep, 0, p->bits.n);
	}
	if (p->keep)
		keep_bits(p->keep, first - p->bits.first, n);
	p->bits.n = first + n - p->bits.first;
	return true;
}

static void pieces_add(struct pieces *p, struct segment *seg, const struct segment_matrix *m,
		       uint32_t first, uint32_t n)
{
	if (p->n > 0 && piece_extend(&p->all[p->n - 1], m, first, n))
		return;
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 64;
		mem_must_grow((void **)&p->all, p->cap, sizeof *p->all);
	}
	p->all[p->n++] = (struct piece){ .seg = seg, .matrix = m, .bits = { first, n, NULL } };
}

/* The same of those only that are within two numbers, the first being number *at. */
static void pieces_cut(struct pieces *p, struct segment *seg, const struct segment_matrix *m,
		       uint32_t first, uint32_t n, uint32_t *at, uint32_t from, uint32_t to)
{
	uint32_t low = *at < from ? from : *at;
	uint32_t high = *at + n > to ? to : *at + n;

	if (low < high)
		pieces_add(p, seg, m, first + low - *at, high - low);
	*at += n;
}

/* Of the block's columns of a class those from `from_column` to before `to_column`. */
static void pieces_find(struct merge *m, const struct assembly *a, const struct assembly_block *b,
			unsigned class, uint32_t from_column, uint32_t to_column,
			struct pieces *ret)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < b->doc_count; i++) {
		uint32_t source = a->order[b->doc_first + i];
		struct input *in = input_of(m, source);
		uint32_t doc = source - in->base;
		const struct segment_block *from = block_of(in, doc);

		for (uint32_t k = 0; k < from->matrix_count; k++) {
			const struct segment_matrix *matrix = &from->matrices[k];
			uint32_t first;
			uint32_t n;

			if (matrix->class != class)
				continue;
			n = segment_matrix_columns_of(matrix, doc - from->doc_first, &first);
			pieces_cut(ret, in->seg, matrix, first, n, &at, from_column, to_column);
		}
	}
}

/* Rows first to first + rows of all pieces will be read next. */
static void pieces_prefetch(const struct pieces *p, uint32_t first, size_t rows)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct segment_matrix *m = p->all[i].matrix;
		uint64_t at = m->rows_at + (uint64_t)first * m->row_bits / 8;
		uint64_t from = at / FORMAT_PAGE_BYTES * FORMAT_PAGE_BYTES;

		(void)madvise((void *)(uintptr_t)(p->all[i].seg->map + from),
			      at - from + rows * m->row_bits / 8, MADV_WILLNEED);
	}
}

/* Are rows `first` to `first` + `rows` of all pieces whole? */
static int pieces_check(const struct pieces *p, uint32_t first, size_t rows, struct err *err)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct segment_matrix *m = p->all[i].matrix;
		uint64_t at = m->rows_at + (uint64_t)first * m->row_bits / 8;
		uint64_t bytes = (uint64_t)rows * m->row_bits / 8;
		uint64_t bad;

		if (!segment_whole(p->all[i].seg, at, bytes, &bad))
			return err_set(err, ERR_CORRUPT,
				       "segment '%s': rows at %llu: a page's checksum is wrong",
				       p->all[i].seg->path, (unsigned long long)bad);
	}
	return 0;
}

static void row_make(const struct pieces *p, uint32_t row, uint8_t *out)
{
	struct bit_writer w = { .p = out };

	for (uint32_t i = 0; i < p->n; i++) {
		const struct piece *piece = &p->all[i];

		bit_writer_piece(&w, segment_row_whole(piece->seg, piece->matrix, row),
				 piece->matrix->row_bytes, &piece->bits);
	}
	bit_writer_end(&w);
}

static int goes_on(struct merge *m, const struct out *o, struct err *err)
{
	if (!m->options->goes_on || out_bytes(o) - m->told < TILE_BYTES)
		return 0;
	m->told = out_bytes(o);
	if (m->options->goes_on(m->told, m->options->arg))
		return 0;
	return err_set(err, ERR_CLOSED, "the merge was stopped");
}

static int source_rows(void *arg, const struct assembly *a, const struct assembly_block *b,
		       unsigned class, uint32_t column, uint32_t n, struct out *o, struct err *err)
{
	struct merge *m = arg;
	uint32_t bits = format_row_bits(n);
	size_t stride = (bits + 7) / 8;
	size_t all = gram_rows(class);
	size_t rows = TILE_BYTES / stride / 64 * 64;
	AUTO(mem_drop) uint8_t *tile = mem_must_zalloc(TILE_BYTES);
	AUTO(pieces_release) struct pieces p = { 0 };

	pieces_find(m, a, b, class, column, column + n, &p);
	for (size_t first = 0; first < all; first += rows) {
		size_t some = all - first < rows ? all - first : rows;
		size_t bytes = some * stride;

		pieces_prefetch(&p, (uint32_t)first, some);
		TRY(pieces_check(&p, (uint32_t)first, some, err));
		for (size_t i = 0; i < some; i++)
			row_make(&p, (uint32_t)(first + i), tile + i * stride);
		if (bits < 8)
			bytes = rows_pack(tile, some, bits);
		TRY(out_add(o, tile, bytes, err));
		TRY(goes_on(m, o, err));
	}
	return 0;
}

/* ---- Features ---- */

struct feature_merge {
	struct feature_reader readers[SEGMENT_MERGE_MAX];
	uint32_t bases[SEGMENT_MERGE_MAX];
	size_t n;
	uint32_t *docs; /* of one feature, new numbers; room for all documents */
	uint64_t *seen; /* one bit for each document, zeros between features */
};

static void feature_merge_release(struct feature_merge *f)
{
	for (size_t i = 0; i < f->n; i++)
		feature_reader_release(&f->readers[i]);
	free(f->docs);
	free(f->seen);
}

static int compare_u32(const void *pa, const void *pb)
{
	uint32_t a;
	uint32_t b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return (a > b) - (a < b);
}

/* Sort n of `all` documents: a few by comparing, many by marking them. */
static void docs_sort(struct feature_merge *f, uint32_t n, uint32_t all)
{
	uint32_t k = 0;

	if (n < all / 256) {
		qsort(f->docs, n, sizeof *f->docs, compare_u32);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		f->seen[f->docs[i] / 64] |= 1ull << (f->docs[i] % 64);
	for (uint32_t i = 0; i <= all / 64; i++) {
		for (; f->seen[i] != 0; f->seen[i] &= f->seen[i] - 1)
			f->docs[k++] = i * 64 + (uint32_t)__builtin_ctzll(f->seen[i]);
	}
	REQUIRE(k == n);
}

static bool feature_least(const struct feature_merge *f, uint64_t *ret)
{
	bool any = false;

	for (size_t i = 0; i < f->n; i++) {
		if (f->readers[i].n == 0 || (any && f->readers[i].hash >= *ret))
			continue;
		*ret = f->readers[i].hash;
		any = true;
	}
	return any;
}

static int feature_merge_open(struct feature_merge *f, struct merge *m, const struct assembly *a,
			      struct err *err)
{
	TRY(mem_try_array((void **)&f->docs, a->docs, sizeof *f->docs, err));
	TRY(mem_try_array((void **)&f->seen, a->docs / 64 + 1, sizeof *f->seen, err));
	for (size_t i = 0; i < m->n; i++) {
		if (m->inputs[i].seg->header.features_version != m->features_version)
			continue;
		f->readers[f->n] = (struct feature_reader){ .seg = m->inputs[i].seg };
		f->bases[f->n] = m->inputs[i].base;
		f->n++;
		TRY(feature_reader_next(&f->readers[f->n - 1], err));
	}
	return 0;
}

static int source_features(void *arg, const struct assembly *a, struct feature_out *out,
			   struct err *err)
{
	AUTO(feature_merge_release) struct feature_merge f = { .n = 0 };
	uint64_t hash = 0;

	TRY(feature_merge_open(&f, arg, a, err));
	while (feature_least(&f, &hash)) {
		uint32_t n = 0;

		for (size_t i = 0; i < f.n; i++) {
			struct feature_reader *r = &f.readers[i];

			if (r->n == 0 || r->hash != hash)
				continue;
			for (uint32_t k = 0; k < r->n; k++) {
				uint32_t doc = a->new_of[f.bases[i] + r->docs[k]];

				if (doc != UINT32_MAX)
					f.docs[n++] = doc;
			}
			TRY(feature_reader_next(r, err));
		}
		if (n == 0)
			continue;
		docs_sort(&f, n, a->docs);
		TRY(feature_out_add(out, hash, f.docs, n, err));
	}
	return 0;
}

/* ---- Merging ---- */

static int inputs_take(struct merge *m, struct segment *const *segs, size_t n,
		       struct format_header *h, uint32_t *ret_sources, struct err *err)
{
	uint64_t sources = 0;

	for (size_t i = 0; i < n; i++) {
		const struct format_header *in = &segs[i]->header;

		if (i > 0 && in->first_id <= h->last_id)
			return err_set(
				err, ERR_INVALID,
				"segment '%s' begins at file %lld, the one before it ends at "
				"%lld",
				segs[i]->path, (long long)in->first_id, (long long)h->last_id);
		m->inputs[i] = (struct input){ .seg = segs[i], .base = (uint32_t)sources };
		sources += in->docs;
		if (sources > SEGMENT_DOCS_MAX)
			return err_set(err, ERR_INVALID, "more than %u documents in a segment",
				       SEGMENT_DOCS_MAX);
		h->first_id = i == 0 ? in->first_id : h->first_id;
		h->last_id = in->last_id;
		if (in->fill_max > h->fill_max)
			h->fill_max = in->fill_max;
		if (in->features_version > h->features_version)
			h->features_version = in->features_version;
	}
	m->n = n;
	m->features_version = h->features_version;
	*ret_sources = (uint32_t)sources;
	return 0;
}

/* Sources by rising file id but for the dead ones; how many. */
static uint32_t find_kept(const struct merge *m, uint32_t *by_id)
{
	const struct segment_merge *options = m->options;
	size_t dead = 0;
	uint32_t n = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct input *in = &m->inputs[i];
		const int64_t *ids = segment_file_ids(in->seg);

		for (uint32_t k = 0; k < in->seg->header.docs; k++) {
			uint32_t doc = get_le32(in->seg->columns[COLUMN_BY_ID] + 4ull * k);

			while (dead < options->dead_n && options->dead[dead] < ids[doc])
				dead++;
			if (dead == options->dead_n || options->dead[dead] != ids[doc])
				by_id[n++] = in->base + doc;
		}
	}
	return n;
}

int segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
		  const struct segment_merge *options, uint64_t *ret_bytes, struct err *err)
{
	static const struct segment_merge none = { 0 };
	AUTO(mem_drop) struct merge *m = mem_must_zalloc(sizeof *m);
	AUTO(mem_drop) uint32_t *by_id = NULL;
	AUTO(out_drop) struct out *o = NULL;
	AUTO(assembly_release)
	struct assembly a = { .arg = m,
			      .field = source_field,
			      .counts = source_counts,
			      .rows = source_rows,
			      .features = source_features };
	struct format_header h = { 0 };

	REQUIRE(n > 0 && n <= SEGMENT_MERGE_MAX);
	m->options = options ? options : &none;
	for (size_t i = 1; i < m->options->dead_n; i++)
		REQUIRE(m->options->dead[i - 1] < m->options->dead[i]);
	TRY(inputs_take(m, segs, n, &h, &a.sources, err));
	TRY(mem_try_array((void **)&by_id, a.sources, sizeof *by_id, err));
	a.docs = find_kept(m, by_id);
	a.by_id = by_id;
	TRY(out_open(&o, io, path, err));
	return assemble(&a, o, &h, ret_bytes, err);
}
