#include "scan/unpack.h"
#include <string.h>
#include "base/clock.h"
#include "base/limits.h"
#include "pool_internal.h"

/* The parent's side of UNPACK. */

struct unpack_reader {
	struct scan_child *child;
	const struct unpack_request *request;
	const struct unpack_calls *calls;
	void *arg;
	bool open; /* a file's bytes are being told */
	uint64_t entry_bytes;
	uint64_t entries;
	uint64_t bytes;
	uint64_t encrypted;
	const char *lie; /* what was wrong, if something was */
};

static int read_entry(struct unpack_reader *r, struct packet_record head, const uint8_t *at,
		      struct err *err)
{
	struct unpack_entry entry = { .kind = (enum unpack_kind)head.how,
				      .encrypted = (head.flags & RECORD_ENCRYPTED) != 0,
				      .has_mtime = (head.flags & RECORD_MTIME) != 0 };

	if (r->open || head.how > UNPACK_OTHER || head.bytes < sizeof entry.mtime_s ||
	    head.bytes - sizeof entry.mtime_s > UNPACK_NAME_MAX ||
	    (head.flags & ~(RECORD_ENCRYPTED | RECORD_MTIME)) != 0) {
		r->lie = "an entry that is none";
		return 0;
	}
	if (r->entries == r->request->limits.entries_max) {
		r->lie = "more entries than were allowed";
		return 0;
	}
	memcpy(&entry.mtime_s, at, sizeof entry.mtime_s);
	entry.name = str_make(at + sizeof entry.mtime_s, head.bytes - sizeof entry.mtime_s);
	r->entries++;
	r->encrypted += entry.encrypted;
	r->open = entry.kind == UNPACK_FILE;
	r->entry_bytes = 0;
	return r->calls->entry(r->arg, &entry, err);
}

static int read_bytes(struct unpack_reader *r, struct packet_record head, const uint8_t *at,
		      struct err *err)
{
	const struct unpack_limits *limits = &r->request->limits;

	if (!r->open || head.how != 0 || head.flags != 0 || head.bytes == 0) {
		r->lie = "bytes of nothing";
		return 0;
	}
	if (head.bytes > limits->entry_bytes_max - r->entry_bytes ||
	    head.bytes > limits->bytes_max - r->bytes) {
		r->lie = "more bytes than were allowed";
		return 0;
	}
	r->entry_bytes += head.bytes;
	r->bytes += head.bytes;
	return r->calls->bytes(r->arg, at, head.bytes, err);
}

static int read_end(struct unpack_reader *r, struct packet_record head, struct err *err)
{
	if (!r->open || head.how >= UNPACK_ENDS || head.flags != 0 || head.bytes != 0) {
		r->lie = "an end of nothing";
		return 0;
	}
	r->open = false;
	return r->calls->end(r->arg, (enum unpack_end)head.how, err);
}

/* 0, or what a callback returned; r->lie says what is wrong with these bytes. */
static int read_records(struct unpack_reader *r, const uint8_t *at, size_t left, struct err *err)
{
	struct packet_record head;
	int rc = 0;

	while (left > 0 && rc == 0 && r->lie == NULL) {
		if (left < sizeof head) {
			r->lie = "a record cut short";
			break;
		}
		memcpy(&head, at, sizeof head);
		at += sizeof head;
		left -= sizeof head;
		if (head.bytes > left) {
			r->lie = "a record over the end of its packet";
			break;
		}
		if (head.kind == RECORD_ENTRY)
			rc = read_entry(r, head, at, err);
		else if (head.kind == RECORD_BYTES)
			rc = read_bytes(r, head, at, err);
		else if (head.kind == RECORD_END)
			rc = read_end(r, head, err);
		else
			r->lie = "a record of no kind";
		at += head.bytes;
		left -= head.bytes;
	}
	return rc;
}

static int read_done(struct unpack_reader *r, const struct packet *p, struct unpacked *ret,
		     struct err *err)
{
	struct packet_unpacked done;
	struct unpacked result = { 0 };

	if (p->head.status != STATUS_OK)
		return client_failed(r->child, p, err);
	if (p->head.bytes < sizeof done || p->head.bytes - sizeof done > UNPACK_TEXT_MAX)
		return client_lie(r->child, err, "an end of %u bytes", p->head.bytes);
	memcpy(&done, p->body, sizeof done);
	if (r->open || done.entries != r->entries || done.bytes != r->bytes ||
	    done.missing > MISSING_ALL || done.opened > done.encrypted ||
	    (!r->request->only_passwords && done.encrypted < r->encrypted))
		return client_lie(r->child, err, "an end that does not add up");
	result.entries = done.entries;
	result.bytes = done.bytes;
	result.encrypted = done.encrypted;
	result.opened = done.opened;
	result.missing = (uint32_t)done.missing;
	for (size_t i = 0; i < p->head.bytes - sizeof done; i++) {
		uint8_t c = p->body[sizeof done + i];

		result.text[i] = (char)(c >= ' ' && c < 0x7f ? c : '?');
	}
	*ret = result;
	return 0;
}

static int send_request(struct scan_child *child, const struct scan_sample *sample,
			const struct unpack_request *r, struct err *err)
{
	struct packet_unpack request = {
		.sample = { sample->offset, sample->len },
		.entries_max = r->limits.entries_max,
		.entry_bytes_max = r->limits.entry_bytes_max,
		.bytes_max = r->limits.bytes_max,
		.cpu_ms = r->limits.cpu_ms,
		.is_stream = r->is_stream,
		.only_passwords = r->only_passwords,
		.passwords = (uint16_t)r->password_count,
	};
	struct iovec parts[1 + UNPACK_PASSWORDS_MAX] = { { &request, sizeof request } };

	REQUIRE(r->password_count <= UNPACK_PASSWORDS_MAX);
	for (size_t i = 0; i < r->password_count; i++) {
		REQUIRE(r->passwords[i].n <= UNPACK_PASSWORD_BYTES_MAX);
		request.password_bytes[i] = (uint16_t)r->passwords[i].n;
		parts[1 + i] =
			(struct iovec){ (void *)(uintptr_t)r->passwords[i].p, r->passwords[i].n };
	}
	TRY(client_begin(child, err));
	return client_send(child, PACKET_UNPACK, parts, 1 + r->password_count, &sample->fd, 1, err);
}

int scan_unpack(struct scan_child *child, const struct scan_sample *sample,
		const struct unpack_request *request, const struct unpack_calls *calls, void *arg,
		struct unpacked *ret, struct err *err)
{
	struct unpack_reader r = { .child = child, .request = request, .calls = calls, .arg = arg };
	int64_t left_us = (int64_t)request->limits.timeout_ms * 1000;
	struct packet p;

	REQUIRE(child->pending == 0);
	REQUIRE(sample->fd >= 0);
	if (sample->len > LIMIT_SAMPLE_BYTES || sample->offset > INT64_MAX - sample->len)
		return err_set(err, ERR_TOO_LARGE, "a sample of %llu bytes",
			       (unsigned long long)sample->len);
	TRY(send_request(child, sample, request, err));
	for (;;) {
		/* What the caller does with the bytes is not the child's time. */
		int64_t asked_us = clock_mono_us(clock_system());

		TRY(client_recv(child, child->seq, asked_us + left_us, request->limits.timeout_ms,
				&p, err));
		left_us -= clock_mono_us(clock_system()) - asked_us;
		if (left_us < 0)
			left_us = 0;
		if (p.head.type == PACKET_DONE)
			return read_done(&r, &p, ret, err);
		if (p.head.stream != STREAM_RECORDS || p.head.bytes == 0 || request->only_passwords)
			return client_lie(child, err, "data of kind %u", p.head.stream);
		int rc = read_records(&r, p.body, p.head.bytes, err);

		if (r.lie != NULL)
			return client_lie(child, err, "%s", r.lie);
		if (rc != 0) {
			client_give_up(child);
			return rc;
		}
	}
}
