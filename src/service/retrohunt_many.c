#include "retrohunt_batch.h"

#include "base/metric.h"

/*
 * Many files in one message. What harms a child is found like this:
 *
 *   todo --answered--> done
 *     \--(the child died while it was under way)--> alone --answered--> done
 *                                                      \--(again)--> blamed, done
 */
enum {
	LOST_ROUNDS_MAX = 5 /* children that end for no visible reason: then each item goes alone */
};

/* One message: which items of the batch it has. */
struct request {
	uint32_t index[SCAN_MANY_MAX];
	struct scan_item items[SCAN_MANY_MAX];
	uint32_t n;
};

/* ---- Files ---- */

/* The pack of each item, which come by pack; those of one that cannot be had are skipped. */
static void packs_open_all(struct batch *b)
{
	const struct batch_item *before = NULL;
	struct err err;
	int rc = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct batch_item *item = &b->items[i];

		if (!before || before->item->pack != item->item->pack) {
			REQUIRE(b->file_count < SCAN_MANY_FILES);
			rc = packs_get(b->w->engine->svc->packs, item->item->pack,
				       &b->packs[b->file_count], &err);
			if (rc == 0)
				b->files[b->file_count] = pack_file_fd(b->packs[b->file_count]);
			b->file_count += rc == 0;
		}
		before = item;
		if (rc == 0) {
			item->file = (uint16_t)(b->file_count - 1);
			continue;
		}
		batch_fail(b, item, &err);
		batch_count(b, item, false);
	}
}

static void packs_put_all(struct batch *b)
{
	while (b->file_count)
		pack_file_put(b->w->engine->svc->packs, b->packs[--b->file_count]);
}

/* ---- One message ---- */

static void request_add(struct batch *b, struct request *r, size_t i)
{
	const struct retro_item *item = b->items[i].item;

	r->index[r->n] = (uint32_t)i;
	r->items[r->n++] = (struct scan_item){ .offset = item->offset,
					       .len = item->len,
					       .slots = batch_slots(b, &b->items[i]),
					       .file = b->items[i].file };
}

/* All that is to do. false: nothing is, but for those that go alone. */
static bool request_fill(struct batch *b, struct request *r)
{
	r->n = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].state == ITEM_TODO)
			request_add(b, r, i);
	}
	return r->n > 0;
}

static struct batch_item *request_item(struct batch *b, const struct request *r, uint32_t i)
{
	REQUIRE(i < r->n);
	return &b->items[r->index[i]];
}

/* What came back of items [from, to). ERR_CLOSED: the job is over. */
static int take_found(struct batch *b, const struct request *r, const struct scan_found *found,
		      struct err *err)
{
	for (size_t i = 0; i < found->failure_count; i++) {
		const struct scan_failure *f = &found->failures[i];
		struct batch_item *item = request_item(b, r, f->item);

		if (item->state == ITEM_DONE)
			continue; /* with another set, too */
		batch_skip(b, item,
			   f->slot == SCAN_EVERY_SLOT ? "its bytes could not be read"
						      : "the scanner gave up on it");
		batch_count(b, item, false);
	}
	for (size_t i = 0; i < found->result.hit_count; i++) {
		const struct scan_hit *hit = &found->result.hits[i];
		struct batch_item *item = request_item(b, r, hit->item);
		struct err why;
		int rc = item->state == ITEM_DONE ? 0 : batch_hit(b, item, hit, &why);

		if (rc == -ERR_CLOSED)
			return err_set(err, ERR_CLOSED, "the job is over");
		if (rc) {
			batch_fail(b, item, &why);
			batch_count(b, item, false);
		}
	}
	for (uint32_t i = found->from; i < found->to; i++) {
		struct batch_item *item = request_item(b, r, i);

		if (item->state == ITEM_DONE)
			continue;
		metric_add(METRIC_retrohunt_bytes_total, item->item->len);
		batch_count(b, item, true);
	}
	metric_add(METRIC_retrohunt_us_total, (int64_t)found->result.scan_us);
	b->scan_us += found->result.scan_us;
	return 0;
}

/* The child is dead. *lost: children in a row of which nobody knows why. */
static void accuse(struct batch *b, const struct request *r, int rc, const char *cause,
		   unsigned *lost)
{
	uint32_t done, from, to;

	if (batch_is_struck(b, rc))
		return;
	if (!scan_many_suspects(b->w->child, &done, &from, &to) || from >= to) {
		if (++*lost < LOST_ROUNDS_MAX)
			return;
		from = 0;
		to = r->n;
	}
	*lost = 0;
	for (uint32_t i = from; i < to; i++) {
		struct batch_item *item = request_item(b, r, i);

		if (item->state == ITEM_DONE)
			continue;
		if (rc == -ERR_TIMEOUT && to - from == 1) {
			batch_blame(b, item, cause);
			batch_count(b, item, false);
		} else {
			item->state = ITEM_ALONE;
		}
	}
}

/* Send one message and take its answers, until the batch is late. ERR_CLOSED: the job is over. */
static int request_run(struct batch *b, const struct request *r, unsigned *lost, struct err *err)
{
	struct scan_found *found = &b->w->found;
	int64_t us = b->until_us - clock_mono_us(clock_system());
	struct err cause;
	int rc;

	rc = scan_many_send_for(b->w->child, b->files, b->file_count, r->items, r->n,
				us < 1000 ? 1 : (uint32_t)(us / 1000), &cause);
	while (rc == 0) {
		rc = scan_many_recv(b->w->child, found, &cause);
		if (rc)
			break;
		TRY(take_found(b, r, found, err));
		if (found->is_last)
			return 0;
		if (batch_must_end(b))
			return err_set(err, ERR_CLOSED, "the job is over");
	}
	REQUIRE(rc == -ERR_DIED || rc == -ERR_TIMEOUT);
	accuse(b, r, rc, scan_child_cause(b->w->child), lost);
	return 0;
}

/* ---- One by itself: read, not mapped, so that missing bytes are no death ---- */

static struct batch_item *next_alone(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].state == ITEM_ALONE)
			return &b->items[i];
	}
	return NULL;
}

static int alone_run(struct batch *b, struct batch_item *item, struct err *err)
{
	const struct scan_sample sample = { b->files[item->file], item->item->offset,
					    item->item->len };
	const struct scan_facts facts = { .file_name = STR("") };
	const struct scan_result *result = &b->w->result;
	struct err cause;
	int rc = scan_send(b->w->child, &sample, &facts, batch_slots(b, item), &cause);

	if (rc == 0)
		rc = scan_recv(b->w->child, &b->w->result, &cause);
	if (rc == -ERR_DIED || rc == -ERR_TIMEOUT) {
		if (batch_is_struck(b, rc))
			return 0; /* once more, if at all */
		batch_blame(b, item, scan_child_cause(b->w->child));
		batch_count(b, item, false);
		return 0;
	}
	for (size_t i = 0; rc == 0 && i < result->hit_count; i++)
		rc = batch_hit(b, item, &result->hits[i], &cause);
	if (rc == -ERR_CLOSED)
		return err_set(err, ERR_CLOSED, "the job is over");
	if (rc)
		batch_fail(b, item, &cause);
	batch_count(b, item, rc == 0);
	return 0;
}

int batch_run_many(struct batch *b, struct err *err)
{
	struct request *r = arena_must(b->arena, sizeof *r);
	struct batch_item *alone;
	unsigned lost = 0;
	int rc = 0;

	packs_open_all(b);
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].is_left_out && b->items[i].state != ITEM_DONE)
			batch_count(b, &b->items[i], false);
	}
	while (rc == 0) {
		if (batch_must_end(b)) {
			rc = err_set(err, ERR_CLOSED, "the job is over");
			break;
		}
		if (!batch_child(b))
			continue;
		if (!batch_is_late(b) && request_fill(b, r))
			rc = request_run(b, r, &lost, err);
		else if ((alone = next_alone(b)) != NULL)
			rc = alone_run(b, alone, err);
		else
			break;
	}
	packs_put_all(b);
	return rc;
}
