#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "child_internal.h"
#include "unpack_walk_internal.h"

/* UNPACK in the child: the walk's entries as records in DATA packets. */

enum {
	OUT_MAX = PACKET_BYTES_MAX - sizeof(struct packet_head)
};

struct unpack_job {
	struct worker *w;
	struct packet_unpack request;
	int fd;
};

static ssize_t read_sample(void *arg, void *room, size_t n, uint64_t offset)
{
	const struct unpack_job *job = arg;

	enum packet_status status =
		worker_pread(job->fd, room, n, job->request.sample.offset + offset);

	if (status == STATUS_SHORT)
		errno = ENODATA;
	return status == STATUS_OK ? (ssize_t)n : -1;
}

static void flush_records(struct worker *w)
{
	worker_data(w, STREAM_RECORDS, w->out, w->out_bytes);
	w->out_bytes = 0;
}

static void add_record(struct worker *w, struct packet_record head, const void *fixed,
		       size_t fixed_bytes, const void *p, size_t n)
{
	head.bytes = (uint32_t)(fixed_bytes + n);
	if (w->out_bytes + sizeof head + head.bytes > OUT_MAX)
		flush_records(w);
	memcpy(w->out + w->out_bytes, &head, sizeof head);
	w->out_bytes += sizeof head;
	if (fixed_bytes > 0)
		memcpy(w->out + w->out_bytes, fixed, fixed_bytes);
	w->out_bytes += fixed_bytes;
	if (n > 0)
		memcpy(w->out + w->out_bytes, p, n);
	w->out_bytes += n;
}

static void tell_entry(void *arg, const struct unpack_entry *entry)
{
	struct unpack_job *job = arg;
	struct packet_record head = { .kind = RECORD_ENTRY, .how = (uint8_t)entry->kind };

	head.flags = (uint16_t)((entry->encrypted ? RECORD_ENCRYPTED : 0) |
				(entry->has_mtime ? RECORD_MTIME : 0));
	add_record(job->w, head, &entry->mtime_s, sizeof entry->mtime_s, entry->name.p,
		   entry->name.n);
}

static void tell_bytes(void *arg, const void *p, size_t n)
{
	struct unpack_job *job = arg;

	add_record(job->w, (struct packet_record){ .kind = RECORD_BYTES }, NULL, 0, p, n);
}

static void tell_end(void *arg, enum unpack_end how)
{
	struct unpack_job *job = arg;

	add_record(job->w, (struct packet_record){ .kind = RECORD_END, .how = (uint8_t)how }, NULL,
		   0, NULL, 0);
}

/* The request's passwords, inside the packet. */
static void take_passwords(const struct packet *p, const struct packet_unpack *request,
			   struct str passwords[UNPACK_PASSWORDS_MAX])
{
	const char *at = (const char *)p->body + sizeof *request;
	size_t left = p->head.bytes - sizeof *request;

	if (request->passwords > UNPACK_PASSWORDS_MAX)
		worker_exit(3);
	for (size_t i = 0; i < request->passwords; i++) {
		if (request->password_bytes[i] > left)
			worker_exit(3);
		passwords[i] = str_make(at, request->password_bytes[i]);
		at += passwords[i].n;
		left -= passwords[i].n;
	}
}

void worker_unpack(struct worker *w, const struct packet *p)
{
	struct unpack_job job = { .w = w };
	struct str passwords[UNPACK_PASSWORDS_MAX];
	struct unpacked result;

	if (p->head.bytes < sizeof job.request || p->head.fds != 1)
		worker_exit(3);
	memcpy(&job.request, p->body, sizeof job.request);
	job.fd = p->fds[0];
	take_passwords(p, &job.request, passwords);

	const struct unpack_request request = {
		.limits = { .entries_max = job.request.entries_max,
			    .entry_bytes_max = job.request.entry_bytes_max,
			    .bytes_max = job.request.bytes_max,
			    .cpu_ms = job.request.cpu_ms },
		.is_stream = job.request.is_stream != 0,
		.only_passwords = job.request.only_passwords != 0,
		.passwords = passwords,
		.password_count = job.request.passwords,
	};
	const struct walk_source source = { read_sample, job.request.sample.len, &job };
	const struct walk_sink sink = { tell_entry, tell_bytes, tell_end, &job };

	w->out_bytes = 0;
	if (!unpack_walk(&source, &request, &sink, &result)) {
		worker_fail(w, errno == ENODATA ? STATUS_SHORT : STATUS_IO,
			    errno == ENODATA ? "the file ends before the sample does"
					     : strerror(errno));
		return;
	}
	const struct packet_unpacked done = { .entries = result.entries,
					      .bytes = result.bytes,
					      .encrypted = result.encrypted,
					      .opened = result.opened,
					      .missing = result.missing };

	flush_records(w);
	worker_done(w, STATUS_OK, &done, sizeof done, result.text, strlen(result.text));
}
