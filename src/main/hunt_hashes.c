#include <stdlib.h>

#include "base/mem.h"
#include "hunt_dir.h"

/* Which SHA-256 were printed: a table with open addressing, at most half full. */

enum {
	FIRST_SLOTS = 1024,
	HASHES_MAX = 1 << 22, /* 256 MB; of more, some may be printed again */
};

static const uint8_t nothing[SHA256_BYTES];

/* Where it is, or would be. */
static uint8_t *slot_of(const struct hunt_hashes *h, const uint8_t sha256[SHA256_BYTES])
{
	uint64_t at;

	memcpy(&at, sha256, sizeof at);
	for (;; at++) {
		uint8_t *slot = h->slots[at & (h->slot_count - 1)];

		if (memcmp(slot, nothing, SHA256_BYTES) == 0 ||
		    memcmp(slot, sha256, SHA256_BYTES) == 0)
			return slot;
	}
}

static void grow(struct hunt_hashes *h)
{
	struct hunt_hashes larger = { .slot_count = h->slot_count ? h->slot_count * 2 : FIRST_SLOTS,
				      .count = h->count };

	larger.slots = mem_must_zalloc(larger.slot_count * sizeof *larger.slots);
	for (size_t i = 0; i < h->slot_count; i++) {
		if (memcmp(h->slots[i], nothing, SHA256_BYTES) != 0)
			memcpy(slot_of(&larger, h->slots[i]), h->slots[i], SHA256_BYTES);
	}
	free(h->slots);
	*h = larger;
}

bool hunt_hashes_add(struct hunt_hashes *h, const uint8_t sha256[SHA256_BYTES])
{
	uint8_t *slot;

	if (2 * h->count >= h->slot_count && h->count < HASHES_MAX)
		grow(h);
	slot = slot_of(h, sha256);
	if (memcmp(slot, sha256, SHA256_BYTES) == 0)
		return false;
	if (h->count < HASHES_MAX) {
		memcpy(slot, sha256, SHA256_BYTES);
		h->count++;
	}
	return true;
}

void hunt_hashes_release(struct hunt_hashes *h)
{
	free(h->slots);
	*h = (struct hunt_hashes){ 0 };
}
