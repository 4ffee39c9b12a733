#include <stdlib.h>

#include "base/mem.h"
#include "base/varint.h"
#include "segment_internal.h"

/*
 * Features are a stream of (difference to the hash before, number of documents, bytes of
 * the list if it is a long one, differences of the documents), all varints; every
 * FORMAT_FEATURE_STEP-th begins anew with its whole hash and stands in the directory.
 */

static const uint8_t *entry_at(const struct segment *seg, uint64_t i)
{
	return segment_section(seg, SECTION_FEATURE_ENTRIES) + i * FORMAT_FEATURE_ENTRY_BYTES;
}

static uint64_t steps_of(const struct segment *seg)
{
	return (seg->header.features + FORMAT_FEATURE_STEP - 1) / FORMAT_FEATURE_STEP;
}

/* The last step that begins at or below the hash; false: none does. */
static bool step_find(const struct segment *seg, uint64_t hash, uint64_t *ret)
{
	uint64_t low = 0;
	uint64_t high = steps_of(seg);

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (get_le64(entry_at(seg, middle)) <= hash)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = low - 1;
	return low > 0;
}

static int step_open(struct segment *seg, uint64_t step, struct feature_step *ret, struct err *err)
{
	const struct format_extent *s = &seg->header.sections[SECTION_FEATURES];
	uint64_t steps = steps_of(seg);
	uint64_t bad;
	uint64_t from = get_le64(entry_at(seg, step) + 8);
	uint64_t to = step + 1 < steps ? get_le64(entry_at(seg, step + 1) + 8) : s->bytes;

	if (from > to || to > s->bytes) {
		uint64_t offset = (uint64_t)(entry_at(seg, step) - seg->map);

		segment_page_damaged(seg, offset / FORMAT_PAGE_BYTES);
		return err_set(err, ERR_CORRUPT, "feature directory at %llu: outside the features",
			       (unsigned long long)offset);
	}
	if (!segment_whole(seg, s->at + from, to - from, &bad))
		return err_set(err, ERR_CORRUPT, "features at %llu: a page's checksum is wrong",
			       (unsigned long long)bad);
	*ret = (struct feature_step){
		.rest = str_make(seg->map + s->at + from, to - from),
		.left = step + 1 < steps ? FORMAT_FEATURE_STEP
					 : seg->header.features - step * FORMAT_FEATURE_STEP,
	};
	return 0;
}

/* The next feature's hash, how many documents follow, and for long lists their bytes. */
static bool feature_next(struct feature_step *at, uint32_t docs, uint32_t *ret_n,
			 uint64_t *ret_bytes)
{
	uint64_t more;
	uint64_t n;

	*ret_bytes = 0;
	if (!varint_get(&at->rest, UINT64_MAX >> (64 - FORMAT_FEATURE_BITS), &more) ||
	    !varint_get(&at->rest, docs, &n) || n == 0)
		return false;
	if (n >= FORMAT_FEATURE_LONG && !varint_get(&at->rest, UINT64_MAX, ret_bytes))
		return false;
	at->hash += more;
	at->left--;
	*ret_n = (uint32_t)n;
	return true;
}

/* Step over a list without reading it, if it is a long one. */
static bool docs_skip(struct feature_step *at, uint64_t bytes)
{
	if (bytes > at->rest.n)
		return false;
	at->rest.p += bytes;
	at->rest.n -= bytes;
	return true;
}

/* n documents, up to cap of them stored. */
static bool docs_next(struct feature_step *at, uint32_t docs, uint32_t n, uint32_t *ret,
		      uint32_t cap)
{
	uint64_t doc = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t more;

		if (!varint_get(&at->rest, docs, &more) || (i > 0 && more == 0))
			return false;
		doc += more;
		if (doc >= docs)
			return false;
		if (i < cap)
			ret[i] = (uint32_t)doc;
	}
	return true;
}

/* Read on to the feature with this hash; *ret_n: its documents, 0 if there is none. */
static bool step_read(struct feature_step *at, uint64_t hash, uint32_t all, uint32_t *docs,
		      uint32_t cap, uint32_t *ret_n)
{
	while (at->left > 0) {
		uint64_t bytes;
		uint32_t n;

		if (!feature_next(at, all, &n, &bytes))
			return false;
		if (at->hash == hash) {
			*ret_n = n;
			return docs_next(at, all, n, docs, cap);
		}
		if (at->hash > hash)
			break;
		if (bytes > 0 ? !docs_skip(at, bytes) : !docs_next(at, all, n, NULL, 0))
			return false;
	}
	*ret_n = 0;
	return true;
}

/* Written wrongly, under right checksums: damage like any other. */
static int bad_step(struct segment *seg, const struct feature_step *at, struct err *err)
{
	uint64_t offset = (uint64_t)((const uint8_t *)at->rest.p - seg->map);

	segment_page_damaged(seg, offset / FORMAT_PAGE_BYTES);
	return err_set(err, ERR_CORRUPT, "features at %llu: not a list of documents",
		       (unsigned long long)offset);
}

int segment_feature(struct segment *seg, uint64_t hash, uint32_t *docs, uint32_t cap,
		    uint32_t *ret_n, struct err *err)
{
	struct feature_step at;
	uint64_t step;
	uint32_t n;

	hash >>= 64 - FORMAT_FEATURE_BITS;
	if (!step_find(seg, hash, &step)) {
		*ret_n = 0;
		return 0;
	}
	TRY(step_open(seg, step, &at, err));
	if (!step_read(&at, hash, seg->header.docs, docs, cap, &n))
		return bad_step(seg, &at, err);
	*ret_n = n;
	return 0;
}

/* ---- All of them ---- */

int feature_reader_next(struct feature_reader *r, struct err *err)
{
	struct segment *seg = r->seg;
	uint64_t before = r->step.hash;
	uint64_t bytes;
	bool is_first = r->step.left == 0;

	r->n = 0;
	if (is_first) {
		if (r->step_next == steps_of(seg))
			return 0;
		TRY(step_open(seg, r->step_next, &r->step, err));
		r->step_next++;
	}
	if (!feature_next(&r->step, seg->header.docs, &r->n, &bytes))
		return bad_step(seg, &r->step, err);
	/* Within a step they rise, and from step to step. */
	if (r->step.hash <= before && r->any)
		return bad_step(seg, &r->step, err);
	r->any = true;
	if (r->n > r->docs_cap) {
		free(r->docs);
		r->docs = NULL;
		r->docs_cap = 0;
		TRY(mem_try_array((void **)&r->docs, r->n, sizeof *r->docs, err));
		r->docs_cap = r->n;
	}
	if (!docs_next(&r->step, seg->header.docs, r->n, r->docs, r->n))
		return bad_step(seg, &r->step, err);
	r->hash = r->step.hash;
	return 0;
}

void feature_reader_release(struct feature_reader *r)
{
	free(r->docs);
	r->docs = NULL;
}
