#include "child_internal.h"
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"

/* Many samples in the child: mapped, scanned, and told in as few packets as they need. */

enum {
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

/*
 * The part of a file that a request's items lie in, mapped once for all of them: pages are
 * only read where the engine looks.
 */
struct window {
	const uint8_t *map; /* NULL: there is none, items are read */
	size_t bytes;
	uint64_t from; /* offset in the file */
};

static void window_open(struct window *win, int fd, uint16_t file, const struct packet_item *items,
			uint32_t count)
{
	uint64_t from = UINT64_MAX, to = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint8_t last;

	*win = (struct window){ 0 };
	for (uint32_t i = 0; i < count; i++) {
		if (items[i].file != file || items[i].len == 0)
			continue;
		if (items[i].offset < from)
			from = items[i].offset;
		if (items[i].offset + items[i].len > to)
			to = items[i].offset + items[i].len;
	}
	/* Where the file ends early a look beyond would kill us: reading names the items. */
	if (from >= to || worker_pread(fd, &last, 1, to - 1) != STATUS_OK)
		return;
	from -= from % page;

	void *map = mmap(NULL, to - from, PROT_READ, MAP_PRIVATE, fd, (off_t)from);

	if (map != MAP_FAILED)
		*win = (struct window){ map, to - from, from };
}

static void window_close(struct window *win)
{
	if (win->map != NULL)
		munmap((void *)(uintptr_t)win->map, win->bytes);
}

static enum packet_status item_bytes(struct worker *w, int fd, const struct window *win,
				     const struct packet_item *item, const uint8_t **ret)
{
	if (win->map != NULL && item->len > 0) {
		*ret = win->map + (item->offset - win->from);
		return STATUS_OK;
	}
	if (!worker_sample_room(w, item->len))
		return STATUS_IO;
	*ret = w->sample;
	return worker_pread(fd, w->sample, item->len, item->offset);
}

static void scan_item(struct many *m, int fd, const struct window *win,
		      const struct packet_item *item)
{
	struct worker *w = m->w;
	const uint8_t *p;
	enum packet_status status = item_bytes(w, fd, win, item, &p);

	if (status != STATUS_OK)
		add_failure(m, SCAN_EVERY_SLOT, status);
	for (m->slot = 0; m->slot < SCAN_SLOTS && status == STATUS_OK; m->slot++) {
		struct worker_slot *slot = &w->slots[m->slot];

		if ((item->slots >> m->slot & 1) == 0)
			continue;
		if (engine_scanner_scan(slot->scanner, p, item->len, SCAN_MATCHES_MAX, add_hit,
					m) == ENGINE_OK)
			continue;
		add_failure(m, m->slot, STATUS_FAILED);
		worker_renew_scanner(slot);
	}
	worker_forget_sample(w);
}

void worker_scan_many(struct worker *w, const struct packet *p)
{
	struct packet_item items[SCAN_MANY_MAX];
	struct window windows[SCAN_MANY_FILES] = { 0 };
	struct packet_many head;
	struct many m = { .w = w, .told_us = clock_mono_us(clock_system()) };

	uint32_t bytes = p->head.bytes < sizeof head ? 0 : p->head.bytes - (uint32_t)sizeof head;
	uint32_t count = bytes / sizeof items[0];
	int64_t end_us = INT64_MAX;

	if (bytes == 0 || count > SCAN_MANY_MAX || bytes != count * sizeof items[0])
		worker_exit(3);
	memcpy(&head, p->body, sizeof head);
	memcpy(items, p->body + sizeof head, bytes);
	if (head.ms_max)
		end_us = m.told_us + INT64_C(1000) * head.ms_max;
	w->out_bytes = 0;
	for (uint16_t file = 0; file < p->head.fds; file++)
		window_open(&windows[file], p->fds[file], file, items, count);
	m.now_us = m.told_us;
	for (; m.item < count && (m.item == 0 || m.now_us < end_us); m.item++) {
		const struct packet_item *item = &items[m.item];

		if (item->file >= p->head.fds)
			worker_exit(3);
		m.item_at = w->out_bytes;
		if (m.now_us - m.told_us >= SCAN_MANY_TELL_MS * 1000)
			tell(&m, PACKET_DATA);
		atomic_store_explicit(&w->mark->at, (uint64_t)w->seq << 32 | m.item,
				      memory_order_relaxed);
		scan_item(&m, p->fds[item->file], &windows[item->file], item);
		m.now_us = clock_mono_us(clock_system());
	}
	for (uint16_t file = 0; file < p->head.fds; file++)
		window_close(&windows[file]);
	m.item_at = w->out_bytes;
	tell(&m, PACKET_DONE);
}
