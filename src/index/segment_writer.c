#include "index/segment_writer.h"

#include <stdlib.h>
#include <string.h>

#include "assemble_internal.h"
#include "base/mem.h"
#include "transpose_internal.h"

enum {
	SOURCE_BITS = 64 - FORMAT_FEATURE_BITS /* beside a feature's hash in one number */
};
_Static_assert(SEGMENT_WRITER_DOCS_MAX <= 1 << SOURCE_BITS, "a document fits beside a feature");

struct source {
	struct segment_doc doc;
	struct signature *sig; /* owned; NULL: none */
};

struct segment_writer {
	struct segment_writer_options options;
	struct source *sources;
	uint32_t n;
	uint32_t cap;
	uint64_t *features; /* hash << SOURCE_BITS | source */
	size_t features_n;
	size_t features_cap;
	uint64_t signature_bytes;
};

struct segment_writer *segment_writer_new(const struct segment_writer_options *options)
{
	struct segment_writer *w = mem_must_zalloc(sizeof *w);

	REQUIRE(options->fill_max >= SIGNATURE_FILL_MIN && options->fill_max <= SIGNATURE_FILL_MAX);
	w->options = *options;
	return w;
}

void segment_writer_free(struct segment_writer *w)
{
	if (!w)
		return;
	for (uint32_t i = 0; i < w->n; i++)
		signature_free(w->sources[i].sig);
	free(w->sources);
	free(w->features);
	free(w);
}

void segment_writer_drop(struct segment_writer **w)
{
	segment_writer_free(*w);
	*w = NULL;
}

uint32_t segment_writer_docs(const struct segment_writer *w)
{
	return w->n;
}

uint64_t segment_writer_memory(const struct segment_writer *w)
{
	return w->signature_bytes + w->cap * sizeof *w->sources +
	       w->features_cap * sizeof *w->features;
}

bool segment_writer_is_full(const struct segment_writer *w)
{
	return w->n == SEGMENT_WRITER_DOCS_MAX ||
	       segment_writer_memory(w) >= w->options.memory_bytes;
}

static int doc_check(const struct segment_writer *w, const struct segment_doc *doc,
		     const struct signature *sig, size_t features_n, struct err *err)
{
	long long id = doc->file_id;
	bool always = doc->flags & SEGMENT_DOC_ALWAYS;

	if (w->n == SEGMENT_WRITER_DOCS_MAX)
		return err_set(err, ERR_INVALID, "file %lld is one too many for a segment", id);
	if (doc->file_id < 0)
		return err_set(err, ERR_INVALID, "%lld is no file's id", id);
	if (features_n > SEGMENT_FEATURES_PER_DOC)
		return err_set(err, ERR_INVALID, "file %lld has %zu features, %u at most", id,
			       features_n, SEGMENT_FEATURES_PER_DOC);
	if (always != !sig || (sig && sig->column_count != signature_columns(doc->size)))
		return err_set(err, ERR_INVALID,
			       "file %lld of %llu bytes has a signature of %u columns", id,
			       (unsigned long long)doc->size, sig ? sig->column_count : 0);
	if (doc->corpus > SEGMENT_GOODWARE ||
	    doc->flags & ~(SEGMENT_DOC_ALWAYS | SEGMENT_DOC_NO_FEATURES))
		return err_set(err, ERR_INVALID, "file %lld has corpus %u and flags %#x", id,
			       doc->corpus, doc->flags);
	return 0;
}

static int features_room(struct segment_writer *w, size_t n, struct err *err)
{
	size_t cap = 2 * w->features_cap + n;
	uint64_t *grown;

	if (w->features_n + n <= w->features_cap)
		return 0;
	TRY(mem_try_array((void **)&grown, cap, sizeof *grown, err));
	if (w->features_n)
		memcpy(grown, w->features, w->features_n * sizeof *grown);
	free(w->features);
	w->features = grown;
	w->features_cap = cap;
	return 0;
}

static void features_add(struct segment_writer *w, const uint64_t *features, size_t n)
{
	REQUIRE(w->features_n + n <= w->features_cap);
	for (size_t i = 0; i < n; i++)
		w->features[w->features_n++] = features[i] >> SOURCE_BITS << SOURCE_BITS | w->n;
}

int segment_writer_add(struct segment_writer *w, const struct segment_doc *doc,
		       struct signature *sig_given, const uint64_t *features, size_t features_n,
		       struct err *err)
{
	AUTO(signature_drop) struct signature *sig = sig_given;

	TRY(doc_check(w, doc, sig, features_n, err));
	TRY(features_room(w, features_n, err));
	if (w->n == w->cap) {
		w->cap = w->cap ? w->cap + w->cap / 2 : 256;
		mem_must_grow((void **)&w->sources, w->cap, sizeof *w->sources);
	}
	features_add(w, features, features_n);
	w->signature_bytes += sig ? sig->bytes : 0;
	w->sources[w->n++] = (struct source){ .doc = *doc, .sig = STEAL(sig) };
	return 0;
}

/* ---- As an assembly ---- */

static const void *source_field(void *arg, uint32_t source, enum format_column c)
{
	const struct segment_doc *d = &((struct segment_writer *)arg)->sources[source].doc;

	switch (c) {
	case COLUMN_FILE_ID:
		return &d->file_id;
	case COLUMN_SHA256:
		return d->sha256;
	case COLUMN_SIZE:
		return &d->size;
	case COLUMN_FIRST_SEEN:
		return &d->first_seen_s;
	case COLUMN_OFFSET:
		return &d->offset;
	case COLUMN_PACK:
		return &d->pack;
	case COLUMN_FILE_TYPE:
		return &d->file_type;
	case COLUMN_HEAD:
		return d->head;
	case COLUMN_CORPUS:
		return &d->corpus;
	case COLUMN_FLAGS:
		return &d->flags;
	case COLUMN_BY_ID:
	case COLUMN_COUNT:
		break;
	}
	REQUIRE(!"a column of documents");
	return NULL;
}

static void source_counts(void *arg, uint32_t source, uint32_t counts[FORMAT_CLASSES])
{
	const struct signature *sig = ((struct segment_writer *)arg)->sources[source].sig;

	memset(counts, 0, FORMAT_CLASSES * sizeof *counts);
	for (uint32_t i = 0; sig && i < sig->column_count; i++)
		counts[sig->columns[i].class - SEGMENT_CLASS_MIN]++;
}

static int source_rows(void *arg, const struct assembly *a, const struct assembly_block *b,
		       unsigned class, uint32_t first, uint32_t some, struct out *o,
		       struct err *err)
{
	struct segment_writer *w = arg;
	uint32_t columns_n = b->columns[class - SEGMENT_CLASS_MIN];
	AUTO(mem_drop) const uint64_t **columns = mem_must_zalloc(columns_n * sizeof *columns);
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->doc_count; i++) {
		const struct signature *sig = w->sources[a->order[b->doc_first + i]].sig;

		for (uint32_t k = 0; sig && k < sig->column_count; k++) {
			if (sig->columns[k].class == class)
				columns[n++] = sig->columns[k].bits;
		}
	}
	REQUIRE(n == columns_n);
	REQUIRE(first + some <= n);
	return transpose_out(o, class, columns + first, some, err);
}

/* By digits of eleven bits, the lowest first. */
static void sort_u64(uint64_t *p, uint64_t *other, size_t n)
{
	enum {
		DIGIT_BITS = 11,
		DIGITS = 1 << DIGIT_BITS
	};
	uint64_t *from = p;
	uint64_t *to = other;

	for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS) {
		size_t at[DIGITS] = { 0 };
		size_t sum = 0;

		for (size_t i = 0; i < n; i++)
			at[from[i] >> shift & (DIGITS - 1)]++;
		for (size_t d = 0; d < DIGITS; d++) {
			size_t here = at[d];

			at[d] = sum;
			sum += here;
		}
		for (size_t i = 0; i < n; i++)
			to[at[from[i] >> shift & (DIGITS - 1)]++] = from[i];
		from = to;
		to = to == other ? p : other;
	}
	/* Six rounds: they are where they were. */
	REQUIRE(from == p);
}

static int source_features(void *arg, const struct assembly *a, struct feature_out *f,
			   struct err *err)
{
	const uint64_t doc_mask = (1ull << SOURCE_BITS) - 1;
	struct segment_writer *w = arg;
	AUTO(mem_drop) uint64_t *pairs = NULL;
	AUTO(mem_drop) uint64_t *other = NULL;
	AUTO(mem_drop) uint32_t *docs = NULL;

	TRY(mem_try_array((void **)&pairs, w->features_n, sizeof *pairs, err));
	TRY(mem_try_array((void **)&other, w->features_n, sizeof *other, err));
	TRY(mem_try_array((void **)&docs, w->n, sizeof *docs, err));
	for (size_t i = 0; i < w->features_n; i++)
		pairs[i] = (w->features[i] & ~doc_mask) | a->new_of[w->features[i] & doc_mask];
	sort_u64(pairs, other, w->features_n);
	for (size_t i = 0; i < w->features_n;) {
		uint64_t hash = pairs[i] >> SOURCE_BITS;
		uint32_t n = 0;

		for (; i < w->features_n && pairs[i] >> SOURCE_BITS == hash; i++) {
			uint32_t doc = (uint32_t)(pairs[i] & doc_mask);

			/* Hashes that differ below the bits that are kept. */
			if (n == 0 || docs[n - 1] != doc)
				docs[n++] = doc;
		}
		TRY(feature_out_add(f, hash, docs, n, err));
	}
	return 0;
}

/* ---- Writing ---- */

struct id_of {
	int64_t id;
	uint32_t source;
};

static int compare_ids(const void *pa, const void *pb)
{
	const struct id_of *a = pa;
	const struct id_of *b = pb;

	return (a->id > b->id) - (a->id < b->id);
}

static int sort_by_id(const struct segment_writer *w, int64_t first_id, int64_t last_id,
		      uint32_t *by_id, struct err *err)
{
	AUTO(mem_drop) struct id_of *ids = NULL;

	TRY(mem_try_array((void **)&ids, w->n, sizeof *ids, err));
	for (uint32_t i = 0; i < w->n; i++)
		ids[i] = (struct id_of){ w->sources[i].doc.file_id, i };
	qsort(ids, w->n, sizeof *ids, compare_ids);
	for (uint32_t i = 0; i < w->n; i++) {
		if (ids[i].id < first_id || ids[i].id > last_id)
			return err_set(err, ERR_INVALID, "file %lld is not of %lld to %lld",
				       (long long)ids[i].id, (long long)first_id,
				       (long long)last_id);
		if (i > 0 && ids[i].id == ids[i - 1].id)
			return err_set(err, ERR_INVALID, "file %lld was added twice",
				       (long long)ids[i].id);
		by_id[i] = ids[i].source;
	}
	return 0;
}

int segment_writer_write(struct segment_writer *w, struct io *io, const char *path,
			 int64_t first_id, int64_t last_id, uint64_t *ret_bytes, struct err *err)
{
	AUTO(mem_drop) uint32_t *by_id = NULL;
	AUTO(out_drop) struct out *o = NULL;
	AUTO(assembly_release)
	struct assembly a = { .sources = w->n,
			      .docs = w->n,
			      .arg = w,
			      .field = source_field,
			      .counts = source_counts,
			      .rows = source_rows,
			      .features = source_features };
	struct format_header h = { .first_id = first_id,
				   .last_id = last_id,
				   .features_version = w->options.features_version,
				   .fill_max = (uint16_t)w->options.fill_max };

	REQUIRE(first_id >= 0 && first_id <= last_id);
	TRY(mem_try_array((void **)&by_id, w->n, sizeof *by_id, err));
	TRY(sort_by_id(w, first_id, last_id, by_id, err));
	a.by_id = by_id;
	TRY(out_open(&o, io, path, err));
	return assemble(&a, o, &h, ret_bytes, err);
}
