#include "child_internal.h"
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"

/* Many samples in the child: mapped or read, scanned, and told in as few packets as they need. */

enum {
	/* Below, copying costs less than changing the address space does. */
	MAP_BYTES_MIN = 256 << 10,
	FOUND_ROOM = PACKET_BYTES_MAX - (int)sizeof(struct packet_head) -
		     (int)sizeof(struct packet_found),
};

struct many {
	struct worker *w;
	uint32_t item; /* under way */
	unsigned slot;
	size_t item_at; /* where its hits begin in w->out */
	int64_t told_us;
	int64_t now_us;
};

/* What is collected: that of items which are finished, if there is any; else all. */
static void tell(struct many *m, enum packet_type type)
{
	struct worker *w = m->w;
	size_t n = m->item_at > 0 ? m->item_at : w->out_bytes;
	struct packet_found found = { .done = m->item,
				      .scan_us = (uint64_t)(m->now_us - m->told_us) };

	worker_send(
		w,
		(struct packet_head){ .type = (uint8_t)type,
				      .stream = type == PACKET_DATA ? STREAM_FOUND : STREAM_NONE,
				      .seq = w->seq },
		(const struct iovec[]){ { &found, sizeof found }, { w->out, n } }, 2);
	w->out_bytes -= n;
	memmove(w->out, w->out + n, w->out_bytes);
	m->item_at = 0;
	m->told_us = m->now_us;
}

static void add_hit(const struct engine_hit *hit, void *arg)
{
	struct many *m = arg;
	struct worker *w = m->w;
	size_t n = worker_put_hit(w->out + w->out_bytes, FOUND_ROOM - w->out_bytes, hit, m->slot,
				  m->item);

	while (n == 0) {
		tell(m, PACKET_DATA);
		n = worker_put_hit(w->out + w->out_bytes, FOUND_ROOM - w->out_bytes, hit, m->slot,
				   m->item);
	}
	w->out_bytes += n;
}

static void add_failure(struct many *m, unsigned slot, enum packet_status status)
{
	struct packet_hit failure = { .slot = (uint8_t)slot, .item = m->item, .status = status };

	while (m->w->out_bytes + sizeof failure > FOUND_ROOM)
		tell(m, PACKET_DATA);
	memcpy(m->w->out + m->w->out_bytes, &failure, sizeof failure);
	m->w->out_bytes += sizeof failure;
}

/* Where a sample's bytes are while it is scanned. */
struct view {
	const uint8_t *p;
	void *map; /* NULL: copied into w->sample */
	size_t map_bytes;
};

/*
 * All pages are there when this succeeds; a file that ends early or cannot be read would
 * kill us later or show zeros, so that case is left to reading.
 */
static bool view_map(struct view *v, int fd, const struct packet_item *item)
{
	uint8_t last;
	size_t shift = item->offset % (size_t)sysconf(_SC_PAGESIZE);

	if (worker_pread(fd, &last, 1, item->offset + item->len - 1) != STATUS_OK)
		return false;
	v->map_bytes = shift + item->len;
	v->map =
		mmap(NULL, v->map_bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)(item->offset - shift));
	if (v->map == MAP_FAILED) {
		v->map = NULL;
		return false;
	}
	if (madvise(v->map, v->map_bytes, MADV_POPULATE_READ) != 0) {
		munmap(v->map, v->map_bytes);
		v->map = NULL;
		return false;
	}
	v->p = (const uint8_t *)v->map + shift;
	return true;
}

static enum packet_status view_open(struct view *v, struct worker *w, int fd,
				    const struct packet_item *item)
{
	*v = (struct view){ 0 };
	if (item->len >= MAP_BYTES_MIN && view_map(v, fd, item))
		return STATUS_OK;
	if (!worker_sample_room(w, item->len))
		return STATUS_IO;
	v->p = w->sample;
	return worker_pread(fd, w->sample, item->len, item->offset);
}

static void view_close(struct view *v, struct worker *w)
{
	if (v->map != NULL)
		munmap(v->map, v->map_bytes);
	else
		worker_forget_sample(w);
}

static void scan_item(struct many *m, int fd, const struct packet_item *item)
{
	struct worker *w = m->w;
	struct view v;
	enum packet_status status = view_open(&v, w, fd, item);

	if (status != STATUS_OK)
		add_failure(m, SCAN_EVERY_SLOT, status);
	for (m->slot = 0; m->slot < SCAN_SLOTS && status == STATUS_OK; m->slot++) {
		struct worker_slot *slot = &w->slots[m->slot];

		if ((item->slots >> m->slot & 1) == 0)
			continue;
		if (engine_scanner_scan(slot->scanner, v.p, item->len, SCAN_MATCHES_MAX, add_hit,
					m) == ENGINE_OK)
			continue;
		add_failure(m, m->slot, STATUS_FAILED);
		worker_renew_scanner(slot);
	}
	view_close(&v, w);
}

void worker_scan_many(struct worker *w, const struct packet *p)
{
	struct packet_item items[SCAN_MANY_MAX];
	uint32_t count = p->head.bytes / sizeof items[0];
	struct many m = { .w = w, .told_us = clock_mono_us(clock_system()) };

	if (count > SCAN_MANY_MAX || p->head.bytes != count * sizeof items[0])
		worker_exit(3);
	memcpy(items, p->body, p->head.bytes);
	w->out_bytes = 0;
	m.now_us = m.told_us;
	for (; m.item < count; m.item++) {
		const struct packet_item *item = &items[m.item];

		if (item->file >= p->head.fds)
			worker_exit(3);
		m.item_at = w->out_bytes;
		if (m.now_us - m.told_us >= SCAN_MANY_TELL_MS * 1000)
			tell(&m, PACKET_DATA);
		atomic_store_explicit(&w->mark->at, (uint64_t)w->seq << 32 | m.item,
				      memory_order_relaxed);
		scan_item(&m, p->fds[item->file], item);
		m.now_us = clock_mono_us(clock_system());
	}
	m.item_at = w->out_bytes;
	tell(&m, PACKET_DONE);
}
