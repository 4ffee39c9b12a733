#include "scan/scan.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "pool_internal.h"

/* The parent's side of LOAD, SCAN and PROBE. */

/* ---- Requests with one packet of answer ---- */

static int call(struct scan_child *child, enum packet_type type, const struct iovec *part,
		const int *fds, unsigned fd_count, uint32_t timeout_ms, struct packet *ret,
		struct err *err)
{
	REQUIRE(child->pending == 0);
	TRY(client_begin(child, err));
	TRY(client_send(child, type, part, 1, fds, fd_count, err));
	TRY(client_recv(child, child->seq, client_deadline(timeout_ms), timeout_ms, ret, err));
	if (ret->head.type != PACKET_DONE)
		return client_lie(child, err, "data that nobody asked for");
	if (ret->head.status != STATUS_OK)
		return client_failed(child, ret, err);
	return 0;
}

int scan_load(struct scan_child *child, unsigned slot, struct scan_rules *rules, struct err *err)
{
	struct packet_load load = { .slot = slot,
				    .uses = rules != NULL ? rules->uses : 0,
				    .code_bytes = rules != NULL ? rules->code_bytes : 0 };
	struct iovec part = { &load, sizeof load };
	void *seen = NULL;
	struct packet p;

	REQUIRE(slot < SCAN_SLOTS);
	if (rules != NULL)
		TRY(mem_try_array(&seen, rules->count + 1ul, sizeof(uint32_t), err));
	child->slots[slot] = scan_rules_unref(child->slots[slot]);
	free(child->seen[slot]);
	child->seen[slot] = NULL;
	int rc = call(child, PACKET_LOAD, &part, rules != NULL ? &rules->code_fd : NULL,
		      rules != NULL, child->pool->options.compile_timeout_ms, &p, err);

	if (rc != 0 || rules == NULL) {
		free(seen);
		return rc;
	}
	child->slots[slot] = scan_rules_ref(rules);
	child->seen[slot] = seen;
	return 0;
}

int client_check_sample(const struct scan_sample *sample, struct err *err)
{
	REQUIRE(sample->fd >= 0);
	if (sample->len > LIMIT_SAMPLE_BYTES || sample->offset > INT64_MAX - sample->len)
		return err_set(err, ERR_TOO_LARGE, "a sample of %llu bytes",
			       (unsigned long long)sample->len);
	return 0;
}

int scan_probe(struct scan_child *child, const struct scan_sample *sample, struct err *err)
{
	struct packet_sample request = { sample->offset, sample->len };
	struct iovec part = { &request, sizeof request };
	struct packet p;

	TRY(client_check_sample(sample, err));
	return call(child, PACKET_PROBE, &part, &sample->fd, 1,
		    child->pool->options.scan_timeout_ms, &p, err);
}

/* ---- Under way ---- */

static void pending_add(struct scan_child *child, struct scan_pending pending)
{
	pending.sent_us = clock_mono_us(clock_system());
	child->ring[child->seq % SCAN_DEPTH] = pending;
	child->pending++;
}

void client_pending_add(struct scan_child *child, enum pending_kind kind, uint64_t len,
			uint32_t slots)
{
	pending_add(child, (struct scan_pending){
				   .kind = kind,
				   .one = { .len = (uint32_t)len, .slots = (uint16_t)slots },
				   .count = 1 });
}

void client_pending_add_many(struct scan_child *child, struct scan_item *items, uint32_t n,
			     bool ends_early)
{
	pending_add(child, (struct scan_pending){ .kind = PENDING_MANY,
						  .items = items,
						  .count = n,
						  .ends_early = ends_early });
}

int client_pending_oldest(struct scan_child *child, enum pending_kind kind, uint32_t timeout_ms,
			  struct client_wait *ret, struct err *err)
{
	REQUIRE(child->pending > 0);
	uint32_t seq = child->seq - child->pending + 1;
	struct scan_pending *oldest = &child->ring[seq % SCAN_DEPTH];
	int64_t start_us =
		oldest->sent_us > child->answered_us ? oldest->sent_us : child->answered_us;

	REQUIRE(oldest->kind == kind);
	if (child->dead)
		return err_set(err, ERR_DIED, "scan child %d: %s", (int)child->pid, child->cause);
	*ret = (struct client_wait){ seq, oldest, start_us + (int64_t)timeout_ms * 1000 };
	return 0;
}

void client_pending_done(struct scan_child *child)
{
	struct scan_pending *oldest = &child->ring[(child->seq - child->pending + 1) % SCAN_DEPTH];

	free(oldest->items);
	oldest->items = NULL;
	child->looks += oldest->count;
	child->answered_us = clock_mono_us(clock_system());
	child->pending--;
}

/* ---- Scan ---- */

/* Facts too large for a packet go in a memory file of their own. */
static int send_large(struct scan_child *child, const struct iovec *parts, size_t n, int sample_fd,
		      struct err *err)
{
	int fds[2] = { sample_fd, -1 };

	TRY(memory_file_new(&fds[1], "weir-facts", err));
	int rc = 0;

	for (size_t i = 1; i < n && rc == 0; i++)
		rc = memory_file_add(fds[1], parts[i].iov_base, parts[i].iov_len, err);
	if (rc == 0)
		rc = memory_file_seal(fds[1], err);
	if (rc == 0)
		rc = client_send(child, PACKET_SCAN, parts, 1, fds, 2, err);
	close(fds[1]);
	return rc;
}

int scan_send(struct scan_child *child, const struct scan_sample *sample,
	      const struct scan_facts *facts, uint32_t slots, struct err *err)
{
	const struct str texts[FACT_TEXTS] = { facts->file_name, facts->file_type, facts->md5,
					       facts->sha1,      facts->sha256,    facts->tags,
					       facts->imphash,   facts->ssdeep,    facts->vt };
	struct packet_scan request = { .sample = { sample->offset, sample->len },
				       .submissions = facts->submissions,
				       .new_file = facts->new_file,
				       .slots = slots };
	struct iovec parts[1 + FACT_TEXTS] = { { &request, sizeof request } };
	uint64_t bytes = sizeof request;

	REQUIRE(child->pending < SCAN_DEPTH);
	REQUIRE(slots >> SCAN_SLOTS == 0);
	TRY(client_check_sample(sample, err));
	for (unsigned i = 0; i < FACT_TEXTS; i++) {
		if (texts[i].n > LIMIT_SAMPLE_BYTES)
			return err_set(err, ERR_TOO_LARGE, "facts of %zu bytes", texts[i].n);
		request.fact_bytes[i] = (uint32_t)texts[i].n;
		parts[1 + i] = (struct iovec){ (void *)(uintptr_t)texts[i].p, texts[i].n };
		bytes += texts[i].n;
	}
	TRY(client_begin(child, err));
	int rc = bytes <= PACKET_INLINE_MAX
			 ? client_send(child, PACKET_SCAN, parts, 1 + FACT_TEXTS, &sample->fd, 1,
				       err)
			 : send_large(child, parts, 1 + FACT_TEXTS, sample->fd, err);

	if (rc != 0) {
		child->seq--; /* nothing was asked */
		return rc;
	}
	client_pending_add(child, PENDING_SCAN, sample->len, slots);
	return 0;
}

/* Read packets up to DONE; *ret_done is in child->room. */
static int read_answer(struct hit_reader *r, uint32_t seq, int64_t deadline_us,
		       struct packet *ret_done, struct err *err)
{
	struct scan_child *child = r->child;
	uint32_t timeout_ms = child->scan_timeout_ms;

	for (;;) {
		TRY(client_recv(child, seq, deadline_us, timeout_ms, ret_done, err));
		if (ret_done->head.type == PACKET_DONE)
			return 0;
		if (ret_done->head.stream != STREAM_HITS || ret_done->head.bytes == 0)
			return client_lie(child, err, "data of kind %u", ret_done->head.stream);
		const char *wrong = hit_reader_add(r, ret_done->body, ret_done->head.bytes);

		if (wrong != NULL)
			return client_lie(child, err, "%s", wrong);
		/* It is past the scan and only waits for us to read. */
		int64_t more_us = client_deadline(MORE_TIMEOUT_MS);

		deadline_us = deadline_us > more_us ? deadline_us : more_us;
	}
}

int scan_recv(struct scan_child *child, struct scan_result *ret, struct err *err)
{
	struct client_wait wait;
	struct packet done;
	struct packet_scanned scanned;

	ret->hit_count = 0;
	TRY(client_pending_oldest(child, PENDING_SCAN, child->scan_timeout_ms, &wait, err));

	struct hit_reader r = hit_reader_make(child, wait.pending, ret, NULL);

	TRY(read_answer(&r, wait.seq, wait.deadline_us, &done, err));
	client_pending_done(child);
	if (done.head.status != STATUS_OK) {
		ret->hit_count = 0;
		return client_failed(child, &done, err);
	}
	if (done.head.bytes < sizeof scanned)
		return client_lie(child, err, "an end of %u bytes", done.head.bytes);
	memcpy(&scanned, done.body, sizeof scanned);
	const char *wrong =
		hit_reader_add(&r, done.body + sizeof scanned, done.head.bytes - sizeof scanned);

	if (wrong != NULL)
		return client_lie(child, err, "%s", wrong);
	hit_reader_end(&r);
	ret->scan_us = scanned.scan_us;
	return 0;
}
