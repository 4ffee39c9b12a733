#include "pool_internal.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum {
	HITS_GROW = 64,
};

void scan_result_release(struct scan_result *r)
{
	free(r->hits);
	free(r->match_pool);
	*r = (struct scan_result){ 0 };
}

static void *grow(void *p, size_t *cap, size_t need, size_t size)
{
	size_t wanted = *cap > 0 ? *cap : HITS_GROW;

	if (need <= *cap)
		return p;
	while (wanted < need)
		wanted *= 2;
	mem_must_grow(&p, wanted, size);
	*cap = wanted;
	return p;
}

struct hit_reader hit_reader_make(struct scan_child *child, const struct scan_pending *pending,
				  struct scan_result *result, struct scan_found *found)
{
	result->hit_count = 0;
	return (struct hit_reader){
		.child = child,
		.result = result,
		.found = found,
		.items = pending->items != NULL ? pending->items : &pending->one,
		.count = pending->count,
		.least = pending->done,
		.look_first = child->looks + 1,
	};
}

static const char *read_matches(struct hit_reader *r, const uint8_t *at, unsigned n)
{
	struct scan_result *result = r->result;
	uint64_t sample_bytes = r->items[r->item].len;
	struct packet_match m, before = { 0, 0 };

	result->match_pool = grow(result->match_pool, &result->match_cap, r->matches + n,
				  sizeof *result->match_pool);
	for (unsigned i = 0; i < n; i++, before = m) {
		memcpy(&m, at + i * sizeof m, sizeof m);
		if (m.len > sample_bytes || m.offset > sample_bytes - m.len)
			return "a match outside the sample";
		if (i > 0 && (m.offset < before.offset ||
			      (m.offset == before.offset && m.len <= before.len)))
			return "matches out of order";
		result->match_pool[r->matches++] = (struct scan_match){ m.offset, m.len };
	}
	return NULL;
}

/* Items come in order, and an item's slots; a slot that failed says nothing else. */
static const char *check_order(struct hit_reader *r, const struct packet_hit *head)
{
	bool failed = head->status != STATUS_OK;

	if (head->item < r->least || head->item >= r->count)
		return "a hit of an item that is not under way";
	if (r->has_last) {
		bool is_same = head->item == r->item && head->slot == r->slot;

		if (head->item < r->item || (head->item == r->item && head->slot < r->slot) ||
		    (is_same && (failed || r->last_failed)))
			return "hits out of order";
	}
	r->has_last = true;
	r->last_failed = failed;
	r->item = head->item;
	r->slot = head->slot;
	return NULL;
}

static const char *read_failure(struct hit_reader *r, const struct packet_hit *head)
{
	struct scan_found *found = r->found;

	if (found == NULL || head->rule != 0 || head->matches != 0 || head->cut != 0)
		return "a failure that is none";
	if (head->slot != SCAN_EVERY_SLOT &&
	    (head->slot >= SCAN_SLOTS || (r->items[head->item].slots >> head->slot & 1) == 0))
		return "a failure of a set that was not asked for";
	found->failures = grow(found->failures, &found->failure_cap, found->failure_count + 1,
			       sizeof *found->failures);
	found->failures[found->failure_count++] = (struct scan_failure){ head->item, head->slot };
	return NULL;
}

static const char *check_rule(struct hit_reader *r, const struct packet_hit *head)
{
	struct scan_child *child = r->child;

	if (head->slot >= SCAN_SLOTS || (r->items[head->item].slots >> head->slot & 1) == 0 ||
	    child->slots[head->slot] == NULL || head->rule >= child->slots[head->slot]->count ||
	    child->slots[head->slot]->rules[head->rule].is_private)
		return "a hit of a rule that is not loaded";

	uint32_t *seen = &child->seen[head->slot][head->rule], look = r->look_first + head->item;

	if (*seen == look)
		return "a hit told twice";
	*seen = look;
	return NULL;
}

const char *hit_reader_add(struct hit_reader *r, const uint8_t *at, size_t left)
{
	struct scan_result *result = r->result;
	struct packet_hit head;
	const char *wrong;

	while (left > 0) {
		if (left < sizeof head)
			return "a hit cut short";
		memcpy(&head, at, sizeof head);
		at += sizeof head;
		left -= sizeof head;
		if ((wrong = check_order(r, &head)) != NULL)
			return wrong;
		if (head.status != STATUS_OK) {
			if ((wrong = read_failure(r, &head)) != NULL)
				return wrong;
			continue;
		}
		if ((wrong = check_rule(r, &head)) != NULL)
			return wrong;
		if (head.matches > SCAN_MATCHES_MAX || head.cut > 1 ||
		    left < head.matches * sizeof(struct packet_match))
			return "a hit with wrong counts";
		if ((wrong = read_matches(r, at, head.matches)) != NULL)
			return wrong;
		at += head.matches * sizeof(struct packet_match);
		left -= head.matches * sizeof(struct packet_match);
		result->hits = grow(result->hits, &result->hit_cap, result->hit_count + 1,
				    sizeof *result->hits);
		result->hits[result->hit_count++] = (struct scan_hit){
			.slot = head.slot,
			.rule = head.rule,
			.item = head.item,
			.matches_cut = head.cut,
			.match_count = head.matches,
		};
	}
	return NULL;
}

void hit_reader_end(struct hit_reader *r)
{
	struct scan_match *at = r->result->match_pool;

	for (size_t i = 0; i < r->result->hit_count; i++) {
		r->result->hits[i].matches = at;
		if (r->result->hits[i].match_count > 0)
			at += r->result->hits[i].match_count;
	}
}
