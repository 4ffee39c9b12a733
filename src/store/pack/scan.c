#include "packs_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

int window_init(struct window *w, const struct io_file *f, uint64_t end, struct err *err)
{
	void *buf;

	TRY(mem_try_alloc(&buf, PACK_WINDOW_BYTES, err));
	*w = (struct window){ .f = f, .buf = buf, .end = end };
	return 0;
}

void window_release(struct window *w)
{
	free(w->buf);
	w->buf = NULL;
}

int window_get(struct window *w, uint64_t offset, size_t n, const uint8_t **ret, struct err *err)
{
	REQUIRE(n <= PACK_WINDOW_BYTES && offset <= w->end && n <= w->end - offset);
	if (offset < w->at || offset - w->at > w->n || n > w->n - (offset - w->at)) {
		uint64_t left = w->end - offset;
		size_t fill = left < PACK_WINDOW_BYTES ? left : PACK_WINDOW_BYTES;

		w->n = 0;
		TRY(io_pread(w->f, w->buf, fill, offset, err));
		w->at = offset;
		w->n = fill;
	}
	*ret = w->buf + (offset - w->at);
	return 0;
}

int pack_scan_init(struct pack_scan *s, const struct io_file *f, const struct pack_id *id,
		   uint64_t end, struct err *err)
{
	memset(s, 0, sizeof *s);
	s->id = *id;
	s->at = PACK_HEADER_BYTES;
	return window_init(&s->w, f, end, err);
}

void pack_scan_release(struct pack_scan *s)
{
	window_release(&s->w);
	hasher_free(s->hasher);
	s->hasher = NULL;
}

static int header_at(struct pack_scan *s, uint64_t offset, struct record_header *ret,
		     const char **ret_what, struct err *err)
{
	const uint8_t *p;

	if (s->w.end - offset < PACK_RECORD_BYTES) {
		*ret_what = "the pack ends inside a record header";
		return 0;
	}
	TRY(window_get(&s->w, offset, PACK_RECORD_BYTES, &p, err));
	*ret_what = record_header_decode(ret, &s->id, offset, p);
	return 0;
}

/*
 * Where the next record begins after a header that cannot be read; the end if
 * there is none. Its checksum is bound to place and salt, so bytes of a sample
 * do not look like one.
 */
static int next_header(struct pack_scan *s, uint64_t offset, uint64_t *ret, struct err *err)
{
	struct record_header h;
	const char *what;

	for (offset += PACK_RECORD_BYTES;
	     offset < s->w.end && s->w.end - offset >= PACK_RECORD_BYTES; offset += PACK_ALIGN) {
		TRY(header_at(s, offset, &h, &what, err));
		if (!what) {
			*ret = offset;
			return 0;
		}
	}
	*ret = s->w.end;
	return 0;
}

static int check_bytes(struct pack_scan *s, struct pack_step *step, struct err *err)
{
	uint64_t at = step->offset + PACK_RECORD_BYTES;
	uint64_t len = step->h.len;
	uint8_t sha256[SHA256_BYTES];
	const uint8_t *p = NULL;
	uint32_t crc = 0;

	if (len <= PACK_WINDOW_BYTES) {
		TRY(window_get(&s->w, at, len, &p, err));
		crc = crc32c(0, p, len);
		if (s->check_sha256)
			sha256_of(p, len, sha256);
	} else {
		struct hashes all;

		if (!s->hasher)
			s->hasher = hasher_new();
		hasher_reset(s->hasher);
		for (uint64_t i = 0; i < len; i += PACK_WINDOW_BYTES) {
			size_t n = len - i < PACK_WINDOW_BYTES ? len - i : PACK_WINDOW_BYTES;

			TRY(window_get(&s->w, at + i, n, &p, err));
			crc = crc32c(crc, p, n);
			if (s->check_sha256)
				hasher_add(s->hasher, p, n);
		}
		hasher_end(s->hasher, &all);
		memcpy(sha256, all.sha256, SHA256_BYTES);
	}
	if (crc != step->h.data_crc)
		step->what = "the bytes' checksum is wrong";
	else if (s->check_sha256 && memcmp(sha256, step->h.sha256, SHA256_BYTES) != 0)
		step->what = "the bytes' SHA-256 is not the record's name";
	return 0;
}

int pack_scan_next(struct pack_scan *s, struct pack_step *ret, bool *ret_end, struct err *err)
{
	struct pack_step step = { .offset = s->at };
	uint64_t room = s->w.end - s->at;

	*ret_end = room == 0;
	if (*ret_end)
		return 0;
	TRY(header_at(s, s->at, &step.h, &step.what, err));
	step.has_header = !step.what;
	if (!step.has_header) {
		uint64_t next;

		TRY(next_header(s, s->at, &next, err));
		step.span = next - s->at;
	} else if (record_span(step.h.len) > room) {
		step.what = "the record goes on beyond the end of the pack";
		step.short_ = true;
		step.span = room;
	} else {
		step.span = record_span(step.h.len);
		if (s->check_bytes && step.h.mark == PACK_MARK_NONE)
			TRY(check_bytes(s, &step, err));
	}
	s->at += step.span;
	*ret = step;
	return 0;
}
