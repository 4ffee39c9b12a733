#include "child_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

/* Samples in the child: which rules match. */

struct hits {
	struct worker *w;
	uint8_t slot;
};

static void flush_hits(struct worker *w)
{
	worker_data(w, STREAM_HITS, w->out, w->out_bytes);
	w->out_bytes = 0;
}

size_t worker_put_hit(uint8_t *room, size_t n, const struct engine_hit *hit, unsigned slot,
		      uint32_t item)
{
	size_t matches = hit->match_count < SCAN_MATCHES_MAX ? hit->match_count : SCAN_MATCHES_MAX;
	struct packet_hit head = { .slot = (uint8_t)slot,
				   .cut = hit->matches_cut || matches < hit->match_count,
				   .matches = (uint16_t)matches,
				   .rule = hit->rule_index,
				   .item = item };
	size_t at = sizeof head;

	if (n < sizeof head + matches * sizeof(struct packet_match))
		return 0;
	memcpy(room, &head, sizeof head);
	for (size_t i = 0; i < matches; i++) {
		struct packet_match m = { hit->matches[i].offset, hit->matches[i].len };

		memcpy(room + at, &m, sizeof m);
		at += sizeof m;
	}
	return at;
}

static void add_hit(const struct engine_hit *hit, void *arg)
{
	const struct hits *hits = arg;
	struct worker *w = hits->w;
	/* The last packet also carries the fixed part of DONE. */
	const size_t cap =
		sizeof w->out - sizeof(struct packet_head) - sizeof(struct packet_scanned);
	size_t n = worker_put_hit(w->out + w->out_bytes, cap - w->out_bytes, hit, hits->slot, 0);

	if (n == 0) {
		flush_hits(w);
		n = worker_put_hit(w->out, cap, hit, hits->slot, 0);
	}
	w->out_bytes += n;
}

static enum engine_result set_facts(const struct worker_slot *slot, const struct packet_scan *scan,
				    const char *texts)
{
	enum engine_result rc = ENGINE_OK;

	for (unsigned i = 0; i < FACT_TEXTS && rc == ENGINE_OK; i++) {
		size_t n = scan->fact_bytes[i];

		if (!(slot->uses & (1u << i)))
			rc = ENGINE_OK;
		else if (i != FACT_VT)
			rc = engine_scanner_set_str(slot->scanner, fact_names[i], texts, n);
		else if (n > 0)
			rc = engine_scanner_set_vt(slot->scanner, (const uint8_t *)texts, n);
		texts += n;
	}
	if (rc == ENGINE_OK && (slot->uses & (1u << FACT_SUBMISSIONS)))
		rc = engine_scanner_set_int(slot->scanner, fact_names[FACT_SUBMISSIONS],
					    scan->submissions);
	if (rc == ENGINE_OK && (slot->uses & (1u << FACT_NEW_FILE)))
		rc = engine_scanner_set_bool(slot->scanner, fact_names[FACT_NEW_FILE],
					     scan->new_file != 0);
	return rc;
}

void worker_renew_scanner(struct worker_slot *slot)
{
	engine_scanner_free(slot->scanner);
	slot->scanner = NULL;
	if (engine_scanner_new(slot->rules, &slot->scanner) != ENGINE_OK)
		worker_exit(4);
}

/* The facts' texts: in the packet, or in a memory file of their own (*ret_owned). */
static const char *take_facts(struct worker *w, const struct packet *p,
			      const struct packet_scan *scan, void **ret_owned)
{
	size_t n = 0;

	for (unsigned i = 0; i < FACT_TEXTS; i++)
		n += scan->fact_bytes[i];
	if (p->head.fds == 1 && p->head.bytes == sizeof *scan + n)
		return (const char *)p->body + sizeof *scan;
	if (p->head.fds != 2 || p->head.bytes != sizeof *scan)
		worker_exit(3);
	if (mem_try_alloc(ret_owned, n, NULL) != 0 ||
	    worker_pread(p->fds[1], *ret_owned, n, 0) != STATUS_OK) {
		worker_fail(w, STATUS_FAILED, "the facts cannot be read");
		return NULL;
	}
	return *ret_owned;
}

void worker_scan(struct worker *w, const struct packet *p)
{
	AUTO(mem_drop) void *owned = NULL;
	struct packet_scan scan;
	struct packet_scanned done;
	const char *texts;

	if (p->head.bytes < sizeof scan || p->head.fds < 1)
		worker_exit(3);
	memcpy(&scan, p->body, sizeof scan);
	texts = take_facts(w, p, &scan, &owned);
	if (texts == NULL || !worker_read_sample(w, p->fds[0], scan.sample.offset, scan.sample.len))
		return;

	int64_t start_us = clock_mono_us(clock_system());

	w->out_bytes = 0;
	for (unsigned i = 0; i < SCAN_SLOTS; i++) {
		struct worker_slot *slot = &w->slots[i];
		struct hits hits = { w, (uint8_t)i };

		if ((scan.slots >> i & 1) == 0 || slot->scanner == NULL)
			continue;
		if (set_facts(slot, &scan, texts) != ENGINE_OK ||
		    engine_scanner_scan(slot->scanner, w->sample, (size_t)scan.sample.len,
					SCAN_MATCHES_MAX, add_hit, &hits) != ENGINE_OK) {
			worker_fail(w, STATUS_FAILED, engine_last_error());
			worker_renew_scanner(slot);
			worker_forget_sample(w);
			return;
		}
	}
	done.scan_us = (uint64_t)(clock_mono_us(clock_system()) - start_us);
	worker_forget_sample(w);
	worker_done(w, STATUS_OK, &done, sizeof done, w->out, w->out_bytes);
}
