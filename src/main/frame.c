#include "control.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 16 * 1024
};

/* ---- Writing ---- */

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_le(const char *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(uint8_t)p[i] << 8 * i;
	return v;
}

size_t frame_begin(struct buf *out, enum control_kind kind, uint64_t id)
{
	uint8_t header[CONTROL_HEADER_BYTES] = { 0 };
	size_t at = out->n;

	put_le(header + 4, CONTROL_VERSION, 2);
	put_le(header + 6, kind, 2);
	put_le(header + 8, id, 8);
	buf_add(out, header, sizeof header);
	return at;
}

void frame_str(struct buf *out, struct str s)
{
	uint8_t n[4];

	put_le(n, s.n, 4);
	buf_add(out, n, sizeof n);
	buf_add_str(out, s);
}

void frame_u64(struct buf *out, uint64_t v)
{
	uint8_t bytes[8];

	put_le(bytes, v, 8);
	frame_str(out, str_make(bytes, 8));
}

void frame_end(struct buf *out, size_t begun_at)
{
	if (!buf_failed(out))
		put_le((uint8_t *)out->p + begun_at, out->n - begun_at - CONTROL_HEADER_BYTES, 4);
}

int frame_send(int socket, struct str bytes, int fd, struct err *err)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .space = { 0 } };
	struct iovec part;
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control.space;
		msg.msg_controllen = sizeof control.space;
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	while (bytes.n) {
		part = (struct iovec){ (void *)(uintptr_t)bytes.p, bytes.n };
		n = sendmsg(socket, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return err_set(err, ERR_CLOSED, "the server is gone");
		if (n < 0)
			return err_sys(err, errno, "sending to the server");
		bytes = str_make(bytes.p + n, bytes.n - (size_t)n);
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

/* ---- Reading ---- */

void frame_in_init(struct frame_in *in, int fd)
{
	*in = (struct frame_in){ .fd = fd };
	buf_init(&in->bytes, 2 * (CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX) + READ_BYTES);
}

void frame_in_release(struct frame_in *in)
{
	for (size_t i = 0; i < in->fd_count; i++)
		close(in->fds[i]);
	in->fd_count = 0;
	buf_release(&in->bytes);
}

/* All descriptors of a message; false: more than may be waiting. */
static bool take_fds(struct frame_in *in, struct msghdr *msg)
{
	bool fine = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (in->fd_count < FRAME_FDS_MAX) {
				in->fds[in->fd_count++] = fd;
			} else {
				close(fd);
				fine = false;
			}
		}
	}
	return fine;
}

int frame_in_read(struct frame_in *in, bool *ret_end, struct err *err)
{
	union {
		char space[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_len = READ_BYTES };
	struct msghdr msg = { .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof control.space };
	ssize_t n;

	if (in->used) {
		memmove(in->bytes.p, in->bytes.p + in->used, in->bytes.n - in->used);
		in->bytes.n -= in->used;
		in->used = 0;
	}
	part.iov_base = buf_reserve(&in->bytes, READ_BYTES);
	if (!part.iov_base)
		return err_set(err, ERR_INVALID, "more was sent than fits");
	do
		n = recvmsg(in->fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != ECONNRESET)
		return err_sys(err, errno, "receiving");
	*ret_end = n <= 0;
	if (n > 0)
		in->bytes.n += (size_t)n;
	if (n > 0 && !take_fds(in, &msg))
		return err_set(err, ERR_INVALID, "too many descriptors were sent");
	return 0;
}

int frame_in_next(struct frame_in *in, struct frame *ret, bool *ret_any, struct err *err)
{
	const char *p = in->bytes.p ? in->bytes.p + in->used : "";
	size_t n = in->bytes.n - in->used, payload;

	*ret_any = false;
	if (n < CONTROL_HEADER_BYTES)
		return 0;
	if (get_le(p + 4, 2) != CONTROL_VERSION)
		return err_set(err, ERR_INVALID,
			       "the other side is another version of weir: restart the server");
	payload = get_le(p, 4);
	if (payload > CONTROL_PAYLOAD_MAX)
		return err_set(err, ERR_INVALID, "a frame of %zu bytes", payload);
	if (n < CONTROL_HEADER_BYTES + payload)
		return 0;
	*ret = (struct frame){ .kind = (unsigned)get_le(p + 6, 2),
			       .id = get_le(p + 8, 8),
			       .payload = str_make(p + CONTROL_HEADER_BYTES, payload) };
	in->used += CONTROL_HEADER_BYTES + payload;
	*ret_any = true;
	return 0;
}

int frame_in_take_fd(struct frame_in *in)
{
	int fd;

	if (!in->fd_count)
		return -1;
	fd = in->fds[0];
	in->fd_count--;
	memmove(in->fds, in->fds + 1, in->fd_count * sizeof in->fds[0]);
	return fd;
}

struct str frame_take_str(struct frame *f)
{
	struct str s = { "", 0 };
	size_t n;

	if (f->payload.n >= 4) {
		n = get_le(f->payload.p, 4);
		if (n <= f->payload.n - 4) {
			s = str_make(f->payload.p + 4, n);
			f->payload = str_make(s.p + n, f->payload.n - 4 - n);
			return s;
		}
	}
	f->bad = true;
	return s;
}

uint64_t frame_take_u64(struct frame *f)
{
	struct str s = frame_take_str(f);

	if (s.n == 8)
		return get_le(s.p, 8);
	f->bad = true;
	return 0;
}
