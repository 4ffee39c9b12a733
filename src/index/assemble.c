#include "assemble_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/varint.h"

void assembly_release(struct assembly *a)
{
	free(a->order);
	free(a->new_of);
	free(a->blocks);
	a->order = NULL;
	a->new_of = NULL;
	a->blocks = NULL;
}

/* ---- Order and blocks ---- */

enum {
	KEYS = 2 * (FORMAT_CLASSES + 1) /* none, one of a class, several up to a class */
};

static unsigned key_of(const uint32_t counts[FORMAT_CLASSES])
{
	unsigned largest = 0;
	uint32_t all = 0;

	for (unsigned i = 0; i < FORMAT_CLASSES; i++) {
		all += counts[i];
		if (counts[i] > 0)
			largest = i + 1;
	}
	return all > 1 ? FORMAT_CLASSES + 1 + largest : largest;
}

/* Sort by key; by_id's order remains among equals. */
static int order_docs(struct assembly *a, struct err *err)
{
	uint32_t at[KEYS + 1] = { 0 };
	uint32_t counts[FORMAT_CLASSES];
	AUTO(mem_drop) uint8_t *keys = NULL;

	TRY(mem_try_array((void **)&keys, a->docs, 1, err));
	TRY(mem_try_array((void **)&a->order, a->docs, sizeof *a->order, err));
	TRY(mem_try_array((void **)&a->new_of, a->sources, sizeof *a->new_of, err));
	memset(a->new_of, 0xff, a->sources * sizeof *a->new_of);
	for (uint32_t i = 0; i < a->docs; i++) {
		a->counts(a->arg, a->by_id[i], counts);
		keys[i] = (uint8_t)key_of(counts);
		at[keys[i] + 1]++;
	}
	for (unsigned k = 0; k < KEYS; k++)
		at[k + 1] += at[k];
	for (uint32_t i = 0; i < a->docs; i++) {
		uint32_t doc = at[keys[i]]++;

		a->order[doc] = a->by_id[i];
		a->new_of[a->by_id[i]] = doc;
	}
	return 0;
}

static bool block_takes(const struct assembly_block *b, const uint32_t counts[FORMAT_CLASSES],
			bool same_key)
{
	if (b->doc_count == SEGMENT_BLOCK_DOCS || (b->doc_count >= ASSEMBLY_PURE_DOCS && !same_key))
		return false;
	for (unsigned i = 0; i < FORMAT_CLASSES; i++) {
		if (b->columns[i] + counts[i] > SEGMENT_BLOCK_DOCS)
			return false;
	}
	return true;
}

static void cut_blocks(struct assembly *a)
{
	struct assembly_block *b = NULL;
	unsigned key_before = KEYS;
	uint32_t cap = 0;

	for (uint32_t doc = 0; doc < a->docs; doc++) {
		uint32_t counts[FORMAT_CLASSES];
		unsigned key;

		a->counts(a->arg, a->order[doc], counts);
		key = key_of(counts);
		if (!b || !block_takes(b, counts, key == key_before)) {
			if (a->block_count == cap) {
				cap = cap ? 2 * cap : 16;
				mem_must_grow((void **)&a->blocks, cap, sizeof *a->blocks);
			}
			b = &a->blocks[a->block_count++];
			*b = (struct assembly_block){ .doc_first = doc };
		}
		b->doc_count++;
		for (unsigned i = 0; i < FORMAT_CLASSES; i++)
			b->columns[i] += counts[i];
		key_before = key;
	}
}

/* ---- Documents and directories ---- */

static int put_docs(const struct assembly *a, struct out *o, struct format_header *h,
		    struct err *err)
{
	uint8_t four[4];

	TRY(out_section(o, SECTION_DOCS, err));
	for (enum format_column c = 0; c < COLUMN_BY_ID; c++) {
		for (uint32_t doc = 0; doc < a->docs; doc++) {
			const void *value = a->field(a->arg, a->order[doc], c);

			TRY(out_add(o, value, format_column_width(c), err));
			if (c == COLUMN_SIZE)
				h->sample_bytes += get_le64(value);
		}
		TRY(out_pad(o, 16, err));
	}
	for (uint32_t i = 0; i < a->docs; i++) {
		put_le32(four, a->new_of[a->by_id[i]]);
		TRY(out_add(o, four, sizeof four, err));
	}
	return out_pad(o, 16, err);
}

/*
 * Documents of a matrix's columns, in order: of the block's of a class n from `first` on.
 * *ret_base: the first, where they only count up.
 */
static bool map_make(const struct assembly *a, const struct assembly_block *b, unsigned class,
		     uint32_t first, uint32_t n, uint16_t *docs, uint32_t *ret_base)
{
	uint32_t counts[FORMAT_CLASSES];
	uint32_t at = 0;
	bool counts_up = true;

	for (uint32_t i = 0; i < b->doc_count && at < first + n; i++) {
		a->counts(a->arg, a->order[b->doc_first + i], counts);
		for (uint32_t k = 0; k < counts[class - SEGMENT_CLASS_MIN]; k++, at++) {
			if (at < first || at >= first + n)
				continue;
			docs[at - first] = (uint16_t)i;
			counts_up &= docs[at - first] == docs[0] + (at - first);
		}
	}
	REQUIRE(at >= first + n);
	*ret_base = counts_up ? docs[0] : 0;
	return !counts_up;
}

static unsigned matrices_of(const struct assembly_block *b)
{
	unsigned n = 0;

	for (unsigned c = SEGMENT_CLASS_MIN; c <= SEGMENT_CLASS_MAX; c++)
		for (uint32_t left = b->columns[c - SEGMENT_CLASS_MIN]; left > 0; n++)
			left -= format_matrix_columns(c, left);
	return n;
}

static int put_blocks(const struct assembly *a, struct out *o, struct format_header *h,
		      struct err *err)
{
	uint8_t stored[FORMAT_BLOCK_BYTES];

	TRY(out_section(o, SECTION_BLOCKS, err));
	for (uint32_t i = 0; i < a->block_count; i++) {
		put_le32(stored, a->blocks[i].doc_count);
		put_le32(stored + 4, matrices_of(&a->blocks[i]));
		h->matrices += matrices_of(&a->blocks[i]);
		TRY(out_add(o, stored, sizeof stored, err));
	}
	return 0;
}

/* Of the columns of one class in a block; *rows_at: where rows have come to. */
static int put_class(const struct assembly *a, struct assembly_block *b, unsigned class,
		     uint64_t *rows_at, uint16_t *docs, struct out *o, struct buf *maps,
		     struct err *err)
{
	uint32_t all = b->columns[class - SEGMENT_CLASS_MIN];
	uint8_t stored[FORMAT_MATRIX_BYTES];
	uint32_t n;

	for (uint32_t first = 0; first < all; first += n) {
		struct format_matrix m = { .class = (uint8_t) class };
		uint64_t bytes;

		n = m.columns = format_matrix_columns(class, all - first);
		bytes = format_rows_bytes(class, n);
		m.rows_at = format_rows_align(*rows_at, bytes);
		m.has_map = map_make(a, b, class, first, n, docs, &m.doc_base);
		m.map_at = m.has_map ? maps->n : 0;
		if (m.has_map)
			buf_add(maps, docs, n * sizeof *docs);
		format_matrix_encode(&m, stored);
		TRY(out_add(o, stored, sizeof stored, err));
		if (first == 0)
			b->rows_at[class - SEGMENT_CLASS_MIN] = m.rows_at;
		*rows_at = m.rows_at + bytes;
	}
	return 0;
}

/* Directory entries go out at once, maps are kept for the section after. */
static int put_matrices(const struct assembly *a, struct out *o, struct buf *maps, struct err *err)
{
	AUTO(mem_drop) uint16_t *docs = mem_must_zalloc(SEGMENT_BLOCK_DOCS * sizeof *docs);
	uint64_t rows_at = 0;

	TRY(out_section(o, SECTION_MATRICES, err));
	for (uint32_t i = 0; i < a->block_count; i++)
		for (unsigned c = SEGMENT_CLASS_MIN; c <= SEGMENT_CLASS_MAX; c++)
			TRY(put_class(a, &a->blocks[i], c, &rows_at, docs, o, maps, err));
	return buf_check(maps, "column maps of a segment", err);
}

static int put_directories(const struct assembly *a, struct out *o, struct format_header *h,
			   struct err *err)
{
	/* A column's map takes two bytes, its rows at least 64. */
	AUTO(buf_release) struct buf maps = BUF_INIT(SIZE_MAX / 4);

	TRY(put_blocks(a, o, h, err));
	TRY(put_matrices(a, o, &maps, err));
	TRY(out_section(o, SECTION_MAPS, err));
	return out_add(o, buf_str(&maps).p, maps.n, err);
}

static int put_class_rows(const struct assembly *a, const struct assembly_block *b, unsigned class,
			  struct out *o, struct err *err)
{
	uint32_t all = b->columns[class - SEGMENT_CLASS_MIN];
	uint64_t at = b->rows_at[class - SEGMENT_CLASS_MIN];
	uint32_t n;

	for (uint32_t first = 0; first < all; first += n) {
		uint64_t bytes;

		n = format_matrix_columns(class, all - first);
		bytes = format_rows_bytes(class, n);
		at = format_rows_align(at, bytes);
		TRY(out_pad(o, format_rows_align(1, bytes), err));
		REQUIRE(out_at(o) == at);
		TRY(a->rows(a->arg, a, b, class, first, n, o, err));
		at += bytes;
		REQUIRE(out_at(o) == at);
	}
	return 0;
}

static int put_rows(const struct assembly *a, struct out *o, struct err *err)
{
	TRY(out_section(o, SECTION_ROWS, err));
	for (uint32_t i = 0; i < a->block_count; i++)
		for (unsigned c = SEGMENT_CLASS_MIN; c <= SEGMENT_CLASS_MAX; c++)
			TRY(put_class_rows(a, &a->blocks[i], c, o, err));
	return 0;
}

/* ---- Features ---- */

struct feature_out {
	struct out *o;
	struct buf entries; /* the directory */
	struct buf one;     /* a feature as it is stored */
	struct buf list;
	uint64_t n;
	uint64_t hash;
};

int feature_out_add(struct feature_out *f, uint64_t hash, const uint32_t *docs, uint32_t n,
		    struct err *err)
{
	uint8_t entry[FORMAT_FEATURE_ENTRY_BYTES];
	uint64_t before = f->hash;

	REQUIRE(n > 0 && hash >> FORMAT_FEATURE_BITS == 0 && (f->n == 0 || hash > before));
	if (f->n % FORMAT_FEATURE_STEP == 0) {
		put_le64(entry, hash);
		put_le64(entry + 8, out_at(f->o));
		buf_add(&f->entries, entry, sizeof entry);
		before = 0;
	}
	buf_reset(&f->one);
	buf_reset(&f->list);
	for (uint32_t i = 0; i < n; i++)
		varint_put(&f->list, docs[i] - (i > 0 ? docs[i - 1] : 0));
	varint_put(&f->one, hash - before);
	varint_put(&f->one, n);
	if (n >= FORMAT_FEATURE_LONG)
		varint_put(&f->one, f->list.n);
	f->n++;
	f->hash = hash;
	TRY(buf_check(&f->entries, "features of a segment", err));
	TRY(out_add(f->o, f->one.p, f->one.n, err));
	return out_add(f->o, f->list.p, f->list.n, err);
}

static int put_features(const struct assembly *a, struct feature_out *f, struct err *err)
{
	TRY(out_section(f->o, SECTION_FEATURES, err));
	TRY(a->features(a->arg, a, f, err));
	TRY(out_section(f->o, SECTION_FEATURE_ENTRIES, err));
	return out_add(f->o, buf_str(&f->entries).p, f->entries.n, err);
}

int assemble(struct assembly *a, struct out *o, struct format_header *h, uint64_t *ret_bytes,
	     struct err *err)
{
	struct feature_out f = { .o = o,
				 .entries = BUF_INIT(SIZE_MAX / 4),
				 .one = BUF_INIT(64),
				 .list = BUF_INIT(SIZE_MAX / 4) };
	int rc;

	TRY(order_docs(a, err));
	cut_blocks(a);
	h->docs = a->docs;
	h->blocks = a->block_count;
	TRY(put_docs(a, o, h, err));
	TRY(put_directories(a, o, h, err));
	TRY(put_rows(a, o, err));
	rc = put_features(a, &f, err);
	h->features = f.n;
	buf_release(&f.entries);
	buf_release(&f.one);
	buf_release(&f.list);
	TRY(rc);
	return out_finish(o, h, ret_bytes, err);
}
