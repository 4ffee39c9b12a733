#include "scan/many.h"
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "pool_internal.h"

/* The parent's side of MANY. */

_Static_assert(sizeof(struct packet_many) + SCAN_MANY_MAX * sizeof(struct packet_item) <=
		       PACKET_INLINE_MAX,
	       "SCAN_DEPTH requests fit the send buffer");

void scan_found_release(struct scan_found *f)
{
	scan_result_release(&f->result);
	free(f->failures);
	*f = (struct scan_found){ 0 };
}

static int check_items(const struct scan_child *child, unsigned file_count,
		       const struct scan_item *items, uint32_t n, struct err *err)
{
	uint32_t ready = 0;

	for (unsigned slot = 0; slot < SCAN_SLOTS; slot++) {
		if (child->slots[slot] != NULL && child->slots[slot]->uses == 0)
			ready |= 1u << slot;
	}
	for (uint32_t i = 0; i < n; i++) {
		REQUIRE((items[i].slots & ~ready) == 0);
		REQUIRE(items[i].file < file_count);
		if (items[i].len > LIMIT_SAMPLE_BYTES ||
		    items[i].offset > (uint64_t)INT64_MAX - items[i].len)
			return err_set(err, ERR_TOO_LARGE, "a sample of %u bytes", items[i].len);
	}
	return 0;
}

int scan_many_send(struct scan_child *child, const int *files, unsigned file_count,
		   const struct scan_item *items, uint32_t n, struct err *err)
{
	return scan_many_send_for(child, files, file_count, items, n, 0, err);
}

int scan_many_send_for(struct scan_child *child, const int *files, unsigned file_count,
		       const struct scan_item *items, uint32_t n, uint32_t ms, struct err *err)
{
	struct packet_many head = { .ms_max = ms };
	struct packet_item request[SCAN_MANY_MAX];

	REQUIRE(n > 0 && n <= SCAN_MANY_MAX);
	REQUIRE(file_count > 0 && file_count <= SCAN_MANY_FILES);
	REQUIRE(child->pending < SCAN_DEPTH);
	TRY(check_items(child, file_count, items, n, err));
	for (uint32_t i = 0; i < n; i++)
		request[i] = (struct packet_item){ items[i].offset, items[i].len, items[i].slots,
						   items[i].file };
	TRY(client_begin(child, err));

	struct iovec parts[] = { { &head, sizeof head }, { request, n * sizeof request[0] } };
	int rc = client_send(child, PACKET_MANY, parts, 2, files, file_count, err);

	if (rc != 0) {
		child->seq--; /* nothing was asked */
		return rc;
	}
	client_pending_add_many(child, mem_must_dup(items, n * sizeof *items), n, ms != 0);
	return 0;
}

/* One packet. *ret_done: items finished; NULL, or what is wrong with it. */
static const char *read_found(struct hit_reader *r, const struct packet *p, bool ends_early,
			      uint32_t *ret_done)
{
	struct packet_found head;
	uint32_t done_before = *ret_done;
	const char *wrong;

	if (p->head.type == PACKET_DONE ? p->head.status != STATUS_OK
					: p->head.stream != STREAM_FOUND)
		return "another answer than asked for";
	if (p->head.bytes < sizeof head)
		return "an answer cut short";
	memcpy(&head, p->body, sizeof head);
	if (head.done < done_before || head.done > r->count ||
	    (p->head.type == PACKET_DONE && head.done != r->count &&
	     (!ends_early || head.done == done_before)))
		return "a count of items that is not true";
	if (head.done == done_before && p->head.bytes == sizeof head)
		return "an answer without news";
	wrong = hit_reader_add(r, p->body + sizeof head, p->head.bytes - sizeof head);
	if (wrong == NULL && r->has_last && r->item >= head.done + (p->head.type != PACKET_DONE))
		wrong = "a hit of an item that has not begun";
	r->result->scan_us += head.scan_us;
	*ret_done = head.done;
	return wrong;
}

int scan_many_recv(struct scan_child *child, struct scan_found *ret, struct err *err)
{
	uint32_t timeout_ms = child->scan_timeout_ms;
	struct client_wait wait;
	struct packet p;

	TRY(client_pending_oldest(child, PENDING_MANY, timeout_ms + SCAN_MANY_TELL_MS, &wait, err));

	struct hit_reader r = hit_reader_make(child, wait.pending, &ret->result, ret);
	uint32_t done = r.least;

	ret->failure_count = 0;
	ret->result.scan_us = 0;
	do {
		TRY(client_recv(child, wait.seq, wait.deadline_us, timeout_ms, &p, err));
		const char *wrong = read_found(&r, &p, wait.pending->ends_early, &done);

		if (wrong != NULL)
			return client_lie(child, err, "%s", wrong);
		int64_t more_us = client_deadline(done > r.least ? timeout_ms + SCAN_MANY_TELL_MS
								 : MORE_TIMEOUT_MS);

		if (wait.deadline_us < more_us)
			wait.deadline_us = more_us;
		r.least = done;
		/* An item's hits are told together. */
	} while (done == wait.pending->done || (r.has_last && r.item >= done));
	hit_reader_end(&r);
	ret->from = wait.pending->done;
	ret->to = done;
	ret->is_last = p.head.type == PACKET_DONE;
	wait.pending->done = done;
	child->answered_us = clock_mono_us(clock_system());
	if (ret->is_last)
		client_pending_done(child);
	return 0;
}

bool scan_many_suspects(const struct scan_child *child, uint32_t *ret_done, uint32_t *ret_from,
			uint32_t *ret_to)
{
	if (!child->dead || child->pending == 0)
		return false;
	uint32_t seq = child->seq - child->pending + 1;
	const struct scan_pending *oldest = &child->ring[seq % SCAN_DEPTH];

	if (oldest->kind != PENDING_MANY)
		return false;
	uint64_t at = atomic_load(&child->mark->at);
	uint32_t item = (uint32_t)at;
	bool is_known = at >> 32 == seq && item >= oldest->done && item < oldest->count;

	*ret_done = oldest->done;
	*ret_from = is_known ? item : oldest->done;
	*ret_to = is_known ? item + 1 : oldest->count;
	return true;
}
