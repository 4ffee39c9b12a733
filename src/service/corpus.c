#include "corpus.h"

#include "base/mem.h"
#include "service_internal.h"

/* Immutable once it is shared; by rising range. */
struct corpus_snapshot {
	_Atomic uint32_t refs;
	size_t count;
	struct corpus_part parts[];
};

struct corpus {
	struct lock lock;
	struct corpus_snapshot *list; /* under the lock */
};

static void snapshot_unref(struct corpus_snapshot *s)
{
	if (s && atomic_fetch_sub(&s->refs, 1) == 1)
		free(s);
}

struct corpus_snapshot *corpus_snapshot_take(struct service *svc)
{
	struct corpus *c = svc->corpus;
	struct corpus_snapshot *s;

	lock_take(&c->lock);
	s = c->list;
	atomic_fetch_add(&s->refs, 1);
	lock_drop(&c->lock);
	return s;
}

void corpus_snapshot_free(struct corpus_snapshot *s)
{
	snapshot_unref(s);
}

size_t corpus_snapshot_segments(const struct corpus_snapshot *s)
{
	return s->count;
}

/* The first segment that ends at or behind the id. */
static size_t snapshot_find(const struct corpus_snapshot *s, int64_t id)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->parts[middle].last_id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool corpus_snapshot_next(const struct corpus_snapshot *s, int64_t *from, int64_t last_id,
			  struct corpus_part *ret)
{
	size_t at;

	if (*from > last_id)
		return false;
	at = snapshot_find(s, *from);
	if (at < s->count && s->parts[at].first_id <= *from) {
		*ret = s->parts[at];
	} else {
		*ret = (struct corpus_part){ .last_id = at < s->count ? s->parts[at].first_id - 1
								      : last_id };
	}
	ret->first_id = *from;
	if (ret->last_id > last_id)
		ret->last_id = last_id;
	*from = ret->last_id + 1;
	return true;
}

int corpus_start(struct service *svc, struct err *err)
{
	struct corpus *c = mem_must_zalloc(sizeof *c);

	(void)err;
	lock_init(&c->lock, LOCK_CORPUS);
	c->list = mem_must_zalloc(sizeof *c->list);
	c->list->refs = 1;
	svc->corpus = c;
	return 0;
}

void corpus_free(struct service *svc)
{
	struct corpus *c = svc->corpus;

	if (!c)
		return;
	REQUIRE(c->list->refs == 1);
	snapshot_unref(c->list);
	lock_release(&c->lock);
	free(c);
	svc->corpus = NULL;
}
