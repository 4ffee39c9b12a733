#ifndef SCAN_CHILD_INTERNAL_H
#define SCAN_CHILD_INTERNAL_H
#include <magic.h>
#include "base/str.h"
#include "engine.h"
#include "protocol_internal.h"
#include "scan/scan.h"

/*
 * The child's side. One thread, one request at a time, no secrets. Requests
 * come from the parent, which is trusted; samples, sources and compiled
 * rules are not, but only the engine and libmagic look into those.
 */

/* One loaded set. */
struct worker_slot {
	struct engine_rules *rules; /* owned */
	struct engine_scanner *scanner;
	uint32_t uses; /* facts to set, bit 1 << enum fact */
};

struct worker {
	int sock;
	magic_t magic; /* owned */
	struct worker_slot slots[SCAN_SLOTS];
	uint8_t *sample; /* owned mapping of sample_cap bytes, reused for every sample */
	size_t sample_cap;
	struct mark *mark; /* shared with the parent */
	uint32_t seq;      /* of the request at hand */
	size_t out_bytes;  /* hits or records collected in `out` */
	uint8_t out[PACKET_BYTES_MAX];
	uint8_t in[PACKET_BYTES_MAX];
};

/* The parent is gone or talks nonsense: end the process without ceremony. */
_Noreturn void worker_exit(int status);

/* Send one packet; ends the process when nobody is there. */
void worker_send(const struct worker *w, struct packet_head head, const struct iovec *parts,
		 size_t n);
/* w->sample has room for so many; false: no memory. */
bool worker_sample_room(struct worker *w, size_t bytes);

/* One hit in room for n bytes; how many it takes, or 0: it does not fit. */
size_t worker_put_hit(uint8_t *room, size_t n, const struct engine_hit *hit, unsigned slot,
		      uint32_t item);
/* A fresh scanner for a slot whose own is spoilt. */
void worker_renew_scanner(struct worker_slot *slot);

/* Send bytes of an answer as as many DATA packets as they need. */
void worker_data(const struct worker *w, enum packet_stream stream, const void *p, size_t n);
/* End the answer: fixed part (may be empty), then bytes. */
void worker_done(const struct worker *w, enum packet_status status, const void *fixed,
		 size_t fixed_bytes, const void *p, size_t n);
void worker_fail(const struct worker *w, enum packet_status status, const char *text);

/* Read [offset, offset + n) of fd into room: STATUS_OK, STATUS_SHORT or STATUS_IO with errno. */
enum packet_status worker_pread(int fd, void *room, size_t n, uint64_t offset);
/* The same into w->sample, which grows; answers by itself and returns false on failure. */
bool worker_read_sample(struct worker *w, int fd, uint64_t offset, uint64_t n);
/* Give a large sample's memory back. */
void worker_forget_sample(struct worker *w);

MUST_USE int worker_open_magic(struct worker *w, struct err *err);
void worker_compile(struct worker *w, const struct packet *p);
void worker_load(struct worker *w, const struct packet *p);
void worker_identify(struct worker *w, const struct packet *p);
void worker_probe(struct worker *w, const struct packet *p);
void worker_scan(struct worker *w, const struct packet *p);
void worker_scan_many(struct worker *w, const struct packet *p);
void worker_unpack(struct worker *w, const struct packet *p);
#endif
