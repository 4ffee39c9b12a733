#include "corpus_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

/* ---- A segment ---- */

/* Have it built anew. Any thread, once for each page. */
static void page_damaged(struct segment *seg, uint64_t offset, void *arg)
{
	struct corpus_segment *s = arg;
	struct corpus *c = s->corpus;
	char path[CORPUS_PATH_BYTES];

	corpus_path(path, s->row.id);
	log_event(LOG_ERROR, "segment_damaged", LOG_Z("file", path),
		  LOG_Z("section", segment_section_at(seg, offset)),
		  LOG_I64("offset", (int64_t)offset));
	metric_add(METRIC_index_damaged_pages_total, 1);
	atomic_store(&s->is_damaged, true);
	corpus_wake(c->svc);
}

struct corpus_segment *corpus_segment_new(struct corpus *c, const struct segment_row *row,
					  struct segment *seg)
{
	struct corpus_segment *s = mem_must_zalloc(sizeof *s);

	s->refs = 1;
	s->corpus = c;
	s->seg = seg;
	s->row = *row;
	s->is_stale = row->is_stale;
	s->dead = mem_must_zalloc(((size_t)segment_docs(seg) / 64 + 1) * sizeof *s->dead);
	segment_on_damage(seg, page_damaged, s);
	return s;
}

struct corpus_segment *corpus_segment_ref(struct corpus_segment *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

struct corpus_segment *corpus_segment_unref(struct corpus_segment *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return NULL;
	segment_unref(s->seg);
	free(s->dead);
	free(s);
	return NULL;
}

void corpus_segment_kill(struct corpus_segment *s, int64_t file_id)
{
	uint64_t bit;
	uint32_t doc;

	if (!segment_doc_find(s->seg, file_id, &doc))
		return;
	bit = UINT64_C(1) << doc % 64;
	/* Readers only look at the bit. */
	if (!(atomic_fetch_or_explicit(&s->dead[doc / 64], bit, memory_order_relaxed) & bit))
		atomic_fetch_add(&s->dead_count, 1);
}

/* ---- The list ---- */

static struct corpus_snapshot *list_new(size_t room)
{
	struct corpus_snapshot *s =
		mem_must_zalloc(sizeof *s + room * sizeof(struct corpus_segment *));

	s->refs = 1;
	return s;
}

void corpus_snapshot_free(struct corpus_snapshot *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->count; i++)
		corpus_segment_unref(s->segments[i]);
	free(s);
}

struct corpus_snapshot *corpus_list_get(struct corpus *c)
{
	struct corpus_snapshot *s;

	lock_take(&c->lock);
	s = c->list;
	atomic_fetch_add(&s->refs, 1);
	lock_drop(&c->lock);
	return s;
}

static bool is_among(const struct corpus_segment *s, struct corpus_segment *const *some, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (some[i] == s)
			return true;
	}
	return false;
}

static void show(const struct corpus_snapshot *s)
{
	int64_t docs = 0, bytes = 0;

	for (size_t i = 0; i < s->count; i++) {
		docs += s->segments[i]->row.docs;
		bytes += (int64_t)s->segments[i]->row.bytes;
	}
	metric_set(METRIC_index_segments, (int64_t)s->count);
	metric_set(METRIC_index_docs, docs);
	metric_set(METRIC_index_bytes, bytes);
}

void corpus_list_change(struct corpus *c, struct corpus_segment *const *outs, size_t out_count,
			struct corpus_segment *const *ins, size_t in_count)
{
	struct corpus_snapshot *old = corpus_list_get(c);
	struct corpus_snapshot *now = list_new(old->count + in_count);
	size_t in = 0;

	for (size_t i = 0; i < old->count; i++) {
		struct corpus_segment *s = old->segments[i];

		while (in < in_count && ins[in]->row.first_id < s->row.first_id)
			now->segments[now->count++] = corpus_segment_ref(ins[in++]);
		if (!is_among(s, outs, out_count))
			now->segments[now->count++] = corpus_segment_ref(s);
	}
	while (in < in_count)
		now->segments[now->count++] = corpus_segment_ref(ins[in++]);
	for (size_t i = 1; i < now->count; i++)
		REQUIRE(now->segments[i - 1]->row.last_id < now->segments[i]->row.first_id);
	show(now);
	/* Ours is not the last one: the list has its own until now. */
	REQUIRE(atomic_fetch_sub(&old->refs, 1) > 1);
	lock_take(&c->lock);
	c->list = now;
	lock_drop(&c->lock);
	corpus_snapshot_free(old);
}

void corpus_list_init(struct corpus *c)
{
	c->list = list_new(0);
}

/* ---- Snapshots ---- */

struct corpus_snapshot *corpus_snapshot_take(struct service *svc)
{
	return corpus_list_get(svc->corpus);
}

size_t corpus_snapshot_segments(const struct corpus_snapshot *s)
{
	return s->count;
}

/* The first segment that ends at or behind the id. */
static size_t find(const struct corpus_snapshot *s, int64_t id)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->segments[middle]->row.last_id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool corpus_snapshot_next(const struct corpus_snapshot *s, int64_t *from, int64_t last_id,
			  struct corpus_part *ret)
{
	const struct corpus_segment *next;
	size_t at;

	if (*from > last_id)
		return false;
	at = find(s, *from);
	next = at < s->count ? s->segments[at] : NULL;
	*ret = (struct corpus_part){ .first_id = *from, .last_id = last_id };
	if (next && next->row.first_id <= *from) {
		ret->last_id = next->row.last_id;
		ret->segment = next->seg;
		ret->segment_id = next->row.id;
		ret->dead = next->dead;
	} else if (next) {
		ret->last_id = next->row.first_id - 1;
	}
	if (ret->last_id > last_id)
		ret->last_id = last_id;
	*from = ret->last_id + 1;
	return true;
}

/* ---- Removed files ---- */

void corpus_file_removed(struct service *svc, int64_t file_id)
{
	struct corpus_snapshot *s = corpus_snapshot_take(svc);
	size_t at = find(s, file_id);

	if (at < s->count && s->segments[at]->row.first_id <= file_id)
		corpus_segment_kill(s->segments[at], file_id);
	corpus_snapshot_free(s);
}
