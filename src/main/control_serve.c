#include "control_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "service/files.h"

enum {
	PIECE_BYTES = 256 * 1024,      /* read at once from a sample */
	INGEST_PATHS_BYTES_MAX = 1024, /* of the paths of a run, in the audit log */
	OUT_BYTES_MAX = 4 << 20,       /* answers not sent yet; items wait at a quarter of it */
};

/* ---- Answers ---- */

static void answer_error(struct buf *out, uint64_t id, int rc, const struct err *err)
{
	size_t at = frame_begin(out, CONTROL_ERROR, id);

	frame_u64(out, (uint64_t)-rc);
	frame_str(out, str_of(err->msg));
	frame_end(out, at);
}

void connection_flush(struct connection *c, bool all)
{
	struct pollfd ready[2] = { { .fd = c->fd, .events = POLLOUT },
				   { .fd = c->stop_fd, .events = POLLIN } };

	lock_take(&c->lock);
	while (c->out.n && !c->broken) {
		ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			memmove(c->out.p, c->out.p + n, c->out.n - (size_t)n);
			c->out.n -= (size_t)n;
		} else if (errno == EAGAIN && all) {
			lock_drop(&c->lock);
			poll(ready, 2, -1);
			lock_take(&c->lock);
			all = !ready[1].revents;
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			c->broken = true;
		}
	}
	c->broken = c->broken || buf_failed(&c->out);
	lock_drop(&c->lock);
}

void connection_answer(struct connection *c, enum control_kind kind, const struct field *fields,
		       size_t n)
{
	size_t at;
	bool much;

	lock_take(&c->lock);
	at = frame_begin(&c->out, kind, c->request);
	for (size_t i = 0; i < n; i++) {
		if (fields[i].is_number)
			frame_u64(&c->out, fields[i].v);
		else
			frame_str(&c->out, fields[i].s);
	}
	frame_end(&c->out, at);
	much = c->out.n > OUT_BYTES_MAX / 4;
	lock_drop(&c->lock);
	if (much)
		connection_flush(c, true);
}

/* ---- Samples ---- */

static int do_remove(struct connection *c, struct frame *f, struct err *err)
{
	bool erased;

	TRY(file_remove(c->svc, frame_take_str(f), &c->by, &erased, err));
	ANSWER(c, CONTROL_OK, FIELD_U64(erased));
	return 0;
}

static int do_open(struct connection *c, struct frame *f, struct err *err)
{
	uint64_t open;

	TRY(analyses_open(c->svc, (int64_t)frame_take_u64(f), &open, err));
	ANSWER(c, CONTROL_OK, FIELD_U64(open));
	return 0;
}

/* ---- Uploads ---- */

struct ingest_call {
	struct connection *c;
	uint64_t id;
};

/* On the writer's thread, or a pool's. */
static void ingest_done(const struct upload_outcome *outcome, int rc, const struct err *err,
			void *arg)
{
	struct ingest_call *call = arg;
	struct connection *c = call->c;
	size_t at;

	lock_take(&c->lock);
	if (rc) {
		answer_error(&c->out, call->id, rc, err);
	} else {
		at = frame_begin(&c->out, CONTROL_OK, call->id);
		frame_u64(&c->out, outcome->is_new);
		frame_u64(&c->out, outcome->size);
		frame_u64(&c->out, (uint64_t)outcome->analysis_id);
		frame_end(&c->out, at);
	}
	c->in_flight--;
	/* Under the lock: once it is free the connection may end. */
	eventfd_write(c->wake, 1);
	lock_drop(&c->lock);
	free(call);
}

static int ingest_read(struct connection *c, struct upload *u, int fd, struct err *err)
{
	uint64_t offset = 0;
	ssize_t n;

	/* Not by the file's own position, which the sender shares and may need again. */
	while ((n = pread(fd, c->piece, PIECE_BYTES, (off_t)offset)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot be read");
		TRY(upload_add(u, c->piece, (size_t)n, err));
		offset += (uint64_t)n;
	}
	return 0;
}

static int ingest_fd(struct connection *c, const struct upload_options *options, int fd,
		     struct err *err)
{
	struct ingest_call *call;
	struct upload *u;
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "no open file was sent");
	TRY(upload_new(&u, c->svc, options, err));
	rc = ingest_read(c, u, fd, err);
	if (rc) {
		upload_free(u);
		return rc;
	}
	call = mem_must_zalloc(sizeof *call);
	*call = (struct ingest_call){ c, c->request };
	lock_take(&c->lock);
	c->in_flight++;
	lock_drop(&c->lock);
	rc = upload_finish(u, ingest_done, call, err);
	if (rc) {
		lock_take(&c->lock);
		c->in_flight--;
		lock_drop(&c->lock);
		free(call);
	}
	return rc;
}

static int do_ingest(struct connection *c, struct frame *f, struct err *err)
{
	struct upload_options options = { .user_id = 0, /* the operator */
					  .lane = LANE_BULK,
					  .name = frame_take_str(f),
					  .corpus = frame_take_str(f),
					  .interface = "ingest",
					  .bytes_max = LIMIT_SAMPLE_BYTES };
	int fd = frame_in_take_fd(&c->in);
	int rc = ingest_fd(c, &options, fd, err);

	if (fd >= 0)
		close(fd);
	return rc;
}

/*
 * A run of `weir ingest` has two lines in the audit log instead of one for each
 * of its samples: when it begins and when it ends. The connection that began it
 * ends it, too, if the command goes away before.
 */
static int do_ingest_begin(struct connection *c, struct frame *f, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	struct str paths = frame_take_str(f), corpus = frame_take_str(f);
	uint8_t id[8];

	audit_detail_init(&d);
	json_kv_str(&d.json, "paths", utf8_cut(paths, INGEST_PATHS_BYTES_MAX));
	json_kv_str(&d.json, "corpus", utf8_cut(corpus, LIMIT_NAME_BYTES));
	rand_bytes(id, sizeof id);
	hex_encode(id, sizeof id, c->run);
	TRY(audit_write_alone(c->svc, &c->by, AUDIT_INGEST_BEGIN, str_of(c->run),
			      audit_detail_end(&d), err));
	connection_answer(c, CONTROL_OK, NULL, 0);
	return 0;
}

static int ingest_end(struct connection *c, const char *const *names, const uint64_t *numbers,
		      size_t n, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	int rc;

	audit_detail_init(&d);
	for (size_t i = 0; i < n; i++)
		json_kv_i64(&d.json, names[i], (int64_t)numbers[i]);
	json_kv_bool(&d.json, "complete", n > 0);
	rc = audit_write_alone(c->svc, &c->by, AUDIT_INGEST_END, str_of(c->run),
			       audit_detail_end(&d), err);
	c->run[0] = 0;
	return rc;
}

static int do_ingest_end(struct connection *c, struct frame *f, struct err *err)
{
	static const char *const names[] = { "files", "bytes", "duplicates", "failed", "skipped" };
	uint64_t numbers[sizeof names / sizeof names[0]];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		numbers[i] = frame_take_u64(f);
	if (!c->run[0])
		return err_set(err, ERR_INVALID, "no run has begun");
	TRY(ingest_end(c, names, numbers, sizeof names / sizeof names[0], err));
	connection_answer(c, CONTROL_OK, NULL, 0);
	return 0;
}

/* ---- Requests ---- */

static int connection_do(struct connection *c, struct frame *f, struct err *err)
{
	switch (f->kind) {
	case CONTROL_REMOVE:
		return do_remove(c, f, err);
	case CONTROL_VERIFY:
		return control_verify(c, f, err);
	case CONTROL_REINDEX:
		return control_reindex(c, f, err);
	case CONTROL_BACKUP:
		return control_backup(c, f, err);
	case CONTROL_INGEST:
		return do_ingest(c, f, err);
	case CONTROL_OPEN:
		return do_open(c, f, err);
	case CONTROL_INGEST_BEGIN:
		return do_ingest_begin(c, f, err);
	case CONTROL_INGEST_END:
		return do_ingest_end(c, f, err);
	case CONTROL_HUNT:
		return control_hunt(c, f, err);
	case CONTROL_ESTIMATE:
		return control_estimate(c, f, err);
	case CONTROL_AUDIT:
		return control_do_audit(c, f, err);
	default:
		return control_do_user(c, f, err);
	}
}

static unsigned connection_in_flight(struct connection *c)
{
	unsigned n;

	lock_take(&c->lock);
	n = c->in_flight;
	lock_drop(&c->lock);
	return n;
}

static void connection_refuse(struct connection *c, uint64_t id, int rc, const struct err *err)
{
	lock_take(&c->lock);
	answer_error(&c->out, id, rc, err);
	lock_drop(&c->lock);
}

/* Do every whole request that has arrived, as long as more may be under way. */
static void connection_work(struct connection *c)
{
	struct frame f;
	struct err err = { 0 };
	bool any = true;
	int rc;

	while (!c->broken && connection_in_flight(c) < CONTROL_IN_FLIGHT_MAX) {
		rc = frame_in_next(&c->in, &f, &any, &err);
		if (rc == 0 && !any)
			return;
		if (rc) {
			connection_refuse(c, 0, rc, &err);
			connection_flush(c, false);
			c->broken = true;
			return;
		}
		c->request = f.id;
		rc = connection_do(c, &f, &err);
		if (rc)
			connection_refuse(c, f.id, rc, &err);
	}
}

static void connection_read(struct connection *c, bool *end)
{
	struct err err;

	if (frame_in_read(&c->in, end, &err) != 0)
		c->broken = true;
}

/* Serve until the other side closes or we are told to stop. */
static void connection_run(struct connection *c)
{
	bool end = false;

	while (!c->broken && !end) {
		struct pollfd ready[3] = { { .fd = c->fd },
					   { .fd = c->wake, .events = POLLIN },
					   { .fd = c->stop_fd, .events = POLLIN } };
		eventfd_t ignored;

		if (connection_in_flight(c) < CONTROL_IN_FLIGHT_MAX)
			ready[0].events |= POLLIN;
		lock_take(&c->lock);
		if (c->out.n)
			ready[0].events |= POLLOUT;
		lock_drop(&c->lock);
		if (poll(ready, 3, -1) < 0 && errno != EINTR)
			return;
		if (ready[2].revents)
			return;
		if (ready[1].revents)
			(void)eventfd_read(c->wake, &ignored);
		if (ready[0].revents & (POLLIN | POLLHUP | POLLERR))
			connection_read(c, &end);
		connection_work(c);
		connection_flush(c, false);
	}
}

/* What was begun ends, and is answered if the other side still listens. */
static void connection_finish(struct connection *c)
{
	eventfd_t ignored;
	struct err err;

	while (connection_in_flight(c))
		(void)eventfd_read(c->wake, &ignored);
	if (c->run[0] && ingest_end(c, NULL, NULL, 0, &err) != 0)
		log_event(LOG_WARN, "ingest_end_not_audited", LOG_Z("error", err.msg));
	connection_flush(c, false);
}

/* Who sits at the other end, as the audit log names him. */
static void peer_name(int fd, struct audit_by *ret)
{
	struct ucred peer;
	socklen_t n = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0)
		snprintf(ret->address, sizeof ret->address, "local uid %u", (unsigned)peer.uid);
	else
		snprintf(ret->address, sizeof ret->address, "local");
}

void control_serve(struct service *svc, int fd, int stop_fd)
{
	struct connection c = {
		.svc = svc, .fd = fd, .stop_fd = stop_fd, .wake = eventfd(0, EFD_CLOEXEC)
	};

	if (c.wake < 0) {
		log_event(LOG_WARN, "control_refused", LOG_Z("why", strerror(errno)));
		close(fd);
		return;
	}
	peer_name(fd, &c.by);
	frame_in_init(&c.in, fd);
	buf_init(&c.out, OUT_BYTES_MAX);
	lock_init(&c.lock, LOCK_CONTROL);
	c.piece = mem_must_zalloc(PIECE_BYTES);
	connection_run(&c);
	connection_finish(&c);
	lock_release(&c.lock);
	free(c.piece);
	buf_release(&c.out);
	frame_in_release(&c.in);
	close(c.wake);
	close(fd);
}
