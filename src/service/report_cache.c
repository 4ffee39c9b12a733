#include "report_cache.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"

enum {
	SHARDS = 64,
	SLOTS = 1024,          /* of a shard: 65,536 reports in all */
	TEXT_BYTES_MAX = 2048, /* larger reports are read each time: 128 MB at the very most */
};

struct slot {
	struct file_info info; /* text lies in `text`; id 0: empty */
	char *text;
};

struct shard {
	struct lock lock;
	uint64_t version; /* moves with every drop */
	struct slot slots[SLOTS];
};

struct report_cache {
	struct shard shards[SHARDS];
};

struct report_cache *report_cache_new(void)
{
	struct report_cache *c = mem_must_zalloc(sizeof *c);

	for (size_t i = 0; i < SHARDS; i++)
		lock_init(&c->shards[i].lock, LOCK_REPORTS);
	return c;
}

void report_cache_free(struct report_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		for (size_t k = 0; k < SLOTS; k++)
			free(c->shards[i].slots[k].text);
		lock_release(&c->shards[i].lock);
	}
	free(c);
}

static struct shard *shard_of(struct report_cache *c, const uint8_t *sha256)
{
	return &c->shards[sha256[0] % SHARDS];
}

static struct slot *slot_of(struct shard *s, const uint8_t *sha256)
{
	return &s->slots[(sha256[1] | (unsigned)sha256[2] << 8) % SLOTS];
}

static bool slot_holds(const struct slot *slot, const uint8_t *sha256)
{
	return slot->info.id != 0 && memcmp(slot->info.hashes.sha256, sha256, SHA256_BYTES) == 0;
}

bool report_cache_get(struct report_cache *c, const uint8_t sha256[SHA256_BYTES],
		      struct arena *arena, struct file_info *ret, uint64_t *ret_version)
{
	struct shard *s = shard_of(c, sha256);
	struct slot *slot = slot_of(s, sha256);
	bool found;

	lock_take(&s->lock);
	found = slot_holds(slot, sha256);
	if (found) {
		*ret = slot->info;
		ret->report = arena_str(arena, slot->info.report);
		ret->name = arena_str(arena, slot->info.name);
	}
	*ret_version = s->version;
	lock_drop(&s->lock);
	return found;
}

void report_cache_put(struct report_cache *c, uint64_t version, const struct file_info *info)
{
	struct shard *s = shard_of(c, info->hashes.sha256);
	struct slot *slot = slot_of(s, info->hashes.sha256);
	char *text, *old = NULL;

	if (info->report.n + info->name.n > TEXT_BYTES_MAX)
		return;
	text = mem_must_zalloc(info->report.n + info->name.n + 1);
	memcpy(text, info->report.p, info->report.n);
	memcpy(text + info->report.n, info->name.p, info->name.n);
	lock_take(&s->lock);
	if (s->version == version) {
		old = slot->text;
		slot->info = *info;
		slot->info.report = str_make(text, info->report.n);
		slot->info.name = str_make(text + info->report.n, info->name.n);
		slot->text = STEAL(text);
	}
	lock_drop(&s->lock);
	free(old);
	free(text);
}

void report_cache_drop(struct report_cache *c, const uint8_t sha256[SHA256_BYTES])
{
	struct shard *s = shard_of(c, sha256);
	struct slot *slot = slot_of(s, sha256);
	char *old = NULL;

	lock_take(&s->lock);
	s->version++;
	if (slot_holds(slot, sha256)) {
		slot->info.id = 0;
		old = STEAL(slot->text);
	}
	lock_drop(&s->lock);
	free(old);
}
