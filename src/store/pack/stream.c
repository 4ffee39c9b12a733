#include "packs_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"

/*
 * Up to PACK_COPY_BYTES of a stream are in memory; what goes beyond is in a
 * temporary file that looks like a pack from its first byte, with the sample
 * where the only record's bytes belong. Finishing writes the headers and the
 * footer around it, or copies it into the current pack if it is small.
 */
struct pack_stream {
	struct packs *p;
	uint8_t *buf;      /* owned, PACK_COPY_BYTES */
	size_t n;          /* bytes in buf */
	struct io_file *f; /* owned; NULL until buf was full once */
	uint32_t temp;
	uint64_t written; /* bytes of the sample in the file */
	uint32_t crc;     /* of all bytes so far */
	bool failed;
};

enum {
	STREAM_DATA_AT = PACK_HEADER_BYTES + PACK_RECORD_BYTES
};

/* Temporary names of streams count down from the top, packs' own up. */
static void stream_temp(const struct pack_stream *s, char out[PACK_NAME_BYTES])
{
	pack_temp_name(out, UINT32_MAX - s->temp);
}

int pack_stream_new(struct pack_stream **ret, struct packs *p, struct err *err)
{
	struct pack_stream *s = mem_must_zalloc(sizeof *s);
	void *buf;
	int rc = mem_try_alloc(&buf, PACK_COPY_BYTES, err);

	if (rc != 0) {
		free(s);
		return rc;
	}
	s->p = p;
	s->buf = buf;
	*ret = s;
	return 0;
}

static int stream_flush(struct pack_stream *s, struct err *err)
{
	struct packs *p = s->p;
	char temp[PACK_NAME_BYTES];

	if (s->n == 0)
		return 0;
	TRY(packs_space(p, s->n, err));
	if (!s->f) {
		lock_take(&p->lock);
		s->temp = p->next_temp++;
		lock_drop(&p->lock);
		stream_temp(s, temp);
		TRY(p->io->open(p->io, temp, O_RDWR | O_CREAT | O_EXCL, &s->f, err));
	}
	TRY(p->io->pwrite(p->io, s->f, s->buf, s->n, STREAM_DATA_AT + s->written, err));
	s->written += s->n;
	s->n = 0;
	return 0;
}

int pack_stream_add(struct pack_stream *s, const void *data, size_t len, struct err *err)
{
	const uint8_t *at = data;

	if (s->failed)
		return err_set(err, ERR_IO, "the stream failed before");
	if (len > LIMIT_SAMPLE_BYTES - s->written - s->n) {
		s->failed = true;
		return err_set(err, ERR_TOO_LARGE, "a sample of more than %d bytes",
			       LIMIT_SAMPLE_BYTES);
	}
	s->crc = crc32c(s->crc, data, len);
	while (len > 0) {
		size_t n = PACK_COPY_BYTES - s->n;

		n = n < len ? n : len;
		memcpy(s->buf + s->n, at, n);
		s->n += n;
		at += n;
		len -= n;
		if (s->n == PACK_COPY_BYTES) {
			int rc = stream_flush(s, err);

			s->failed = rc != 0;
			TRY(rc);
		}
	}
	return 0;
}

/* The parts around the sample, then sync and rename: a sealed pack of one record. */
static int stream_seal(struct pack_stream *s, const struct record_header *h, uint32_t number,
		       struct err *err)
{
	struct pack_header header = { .id = { .number = number }, .mark = PACK_MARK_SEALED };
	uint8_t start[STREAM_DATA_AT], end[PACK_ALIGN + PACK_FOOTER_BYTES] = { 0 };
	uint64_t footer_at = PACK_HEADER_BYTES + record_span(h->len);
	size_t pad = footer_at - STREAM_DATA_AT - h->len;
	struct pack_chain chain = { 0 };
	struct pack_footer footer;
	struct io *io = s->p->io;
	char temp[PACK_NAME_BYTES], name[PACK_NAME_BYTES];

	rand_bytes(header.id.salt, sizeof header.id.salt);
	pack_header_encode(&header, start);
	record_header_encode(h, &header.id, PACK_HEADER_BYTES, start + PACK_HEADER_BYTES);
	pack_chain_add(&chain, h);
	footer.count = chain.count;
	memcpy(footer.root, chain.root, SHA256_BYTES);
	pack_footer_encode(&footer, &header.id, footer_at, end + pad);
	TRY(io->pwrite(io, s->f, end, pad + PACK_FOOTER_BYTES, STREAM_DATA_AT + h->len, err));
	TRY(io->pwrite(io, s->f, start, sizeof start, 0, err));
	/* Synced here, without company: large samples are few, and the name must not come first. */
	TRY(io->sync(io, s->f, err));
	stream_temp(s, temp);
	pack_name(name, number);
	return io->rename(io, temp, name, err);
}

static int stream_own_pack(struct pack_stream *s, const struct record_header *h,
			   struct pack_locator *ret, struct err *err)
{
	struct packs *p = s->p;
	uint32_t number = 0;
	int rc;

	TRY(stream_flush(s, err));
	lock_take(&p->lock);
	rc = packs_lost_locked(p, err);
	if (rc == 0 && p->next_number == 0)
		rc = err_set(err, ERR_TOO_LARGE, "all pack numbers are used up");
	if (rc == 0)
		number = p->next_number++;
	lock_drop(&p->lock);
	TRY(rc);
	TRY(stream_seal(s, h, number, err));
	/* The temporary name is gone; the next packs_sync makes the new one durable. */
	p->io->close(p->io, STEAL(s->f));
	lock_take(&p->lock);
	p->names_changed = true;
	p->changes++;
	lock_drop(&p->lock);
	metric_add(METRIC_pack_bytes_total, (int64_t)h->len);
	*ret = (struct pack_locator){ number, STREAM_DATA_AT, h->len };
	return 0;
}

int pack_stream_finish(struct pack_stream *s, const struct hashes *h, struct pack_locator *ret,
		       struct err *err)
{
	struct record_header header = { .len = s->written + s->n,
					.data_crc = s->crc,
					.mark = PACK_MARK_NONE };
	struct pack_source from = { .data = s->buf };
	int rc;

	memcpy(header.sha256, h->sha256, SHA256_BYTES);
	if (s->failed) {
		rc = err_set(err, ERR_IO, "the stream failed before");
	} else if (!s->f && header.len < s->p->options.own_pack_bytes) {
		rc = packs_append_from(s->p, &header, &from, ret, err);
	} else if (header.len >= s->p->options.own_pack_bytes && header.len > 0) {
		rc = stream_own_pack(s, &header, ret, err);
	} else {
		rc = stream_flush(s, err);
		from = (struct pack_source){ .f = s->f, .offset = STREAM_DATA_AT };
		if (rc == 0)
			rc = packs_append_from(s->p, &header, &from, ret, err);
	}
	pack_stream_free(s);
	return rc;
}

void pack_stream_free(struct pack_stream *s)
{
	char temp[PACK_NAME_BYTES];

	if (!s)
		return;
	if (s->f) {
		struct io *io = s->p->io;

		io->close(io, s->f);
		stream_temp(s, temp);
		/* Left behind by a failing disk, it is removed by the next packs_open. */
		(void)io->unlink(io, temp, NULL);
	}
	free(s->buf);
	free(s);
}
