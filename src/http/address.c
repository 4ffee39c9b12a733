#include "address_internal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

/* Open addressing. */

struct entry {
	uint64_t address; /* 0: free */
	unsigned count;
};

struct address_counts {
	size_t slots; /* a power of two */
	size_t used;  /* at most half of them, so that looking stays short */
	struct entry entries[];
};

struct address_counts *addresses_new(unsigned connections_max)
{
	size_t slots = 64;
	struct address_counts *t;

	/* A few more are accepted than allowed before it is noticed. */
	while (slots < 4 * (size_t)connections_max)
		slots *= 2;
	t = mem_must_zalloc(sizeof *t + slots * sizeof t->entries[0]);
	t->slots = slots;
	return t;
}

void addresses_free(struct address_counts *t)
{
	free(t);
}

uint64_t address_key(const struct sockaddr_storage *ss)
{
	union {
		struct sockaddr_storage ss;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u = { .ss = *ss };
	uint64_t key = 0;
	uint32_t v4 = 0;

	if (ss->ss_family == AF_INET) {
		v4 = ntohl(u.in.sin_addr.s_addr);
	} else if (IN6_IS_ADDR_V4MAPPED(&u.in6.sin6_addr)) {
		memcpy(&v4, &u.in6.sin6_addr.s6_addr[12], sizeof v4);
		v4 = ntohl(v4);
	} else {
		memcpy(&key, u.in6.sin6_addr.s6_addr, sizeof key);
		return key != 0 ? key : UINT64_MAX; /* "::1" */
	}
	/* No global IPv6 prefix begins with 32 zero bits. */
	return (uint64_t)v4 | 1ull << 40;
}

static size_t slot_of(const struct address_counts *t, uint64_t address)
{
	return hash64(&address, sizeof address, 0) & (t->slots - 1);
}

static struct entry *entry_of(struct address_counts *t, uint64_t address)
{
	size_t i = slot_of(t, address);

	while (t->entries[i].address != 0 && t->entries[i].address != address)
		i = (i + 1) & (t->slots - 1);
	return &t->entries[i];
}

bool address_is_full(struct address_counts *t, uint64_t address, unsigned max)
{
	return entry_of(t, address)->count >= max;
}

bool address_enter(struct address_counts *t, uint64_t address, unsigned max)
{
	struct entry *e = entry_of(t, address);

	if (e->count >= max || (e->count == 0 && t->used == t->slots / 2))
		return false;
	t->used += e->count == 0;
	e->address = address;
	e->count++;
	return true;
}

/* Whoever stands behind a freed place moves up, so that looking finds him (Knuth 6.4 R). */
static void entry_remove(struct address_counts *t, size_t hole)
{
	size_t mask = t->slots - 1;

	for (size_t i = (hole + 1) & mask; t->entries[i].address != 0; i = (i + 1) & mask) {
		size_t home = slot_of(t, t->entries[i].address);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			t->entries[hole] = t->entries[i];
			hole = i;
		}
	}
	t->entries[hole] = (struct entry){ 0, 0 };
}

void address_leave(struct address_counts *t, uint64_t address)
{
	struct entry *e = entry_of(t, address);

	REQUIRE(e->count > 0);
	if (--e->count > 0)
		return;
	t->used--;
	entry_remove(t, (size_t)(e - t->entries));
}
