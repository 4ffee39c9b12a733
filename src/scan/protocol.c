#include "protocol_internal.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"

const char *const fact_names[FACT_COUNT] = {
	[FACT_FILE_NAME] = "file_name",
	[FACT_FILE_TYPE] = "file_type",
	[FACT_MD5] = "md5",
	[FACT_SHA1] = "sha1",
	[FACT_SHA256] = "sha256",
	[FACT_TAGS] = "tags",
	[FACT_IMPHASH] = "imphash",
	[FACT_SSDEEP] = "ssdeep",
	[FACT_VT] = "vt",
	[FACT_SUBMISSIONS] = "submissions",
	[FACT_NEW_FILE] = "new_file",
};

enum {
	PARTS_MAX = 12
};

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
};

static int wait_for(int sock, short events, int timeout_ms, struct err *err)
{
	struct pollfd p = { .fd = sock, .events = events };

	for (;;) {
		int n = poll(&p, 1, timeout_ms);

		if (n > 0)
			return 0;
		if (n == 0)
			return err_set(err, ERR_TIMEOUT, "waiting on a scan child");
		if (errno != EINTR)
			return err_sys(err, errno, "polling a scan child");
	}
}

static void attach_fds(struct msghdr *msg, union control *control, const int *fds, uint16_t n)
{
	if (n == 0)
		return;
	msg->msg_control = control;
	msg->msg_controllen = CMSG_SPACE(sizeof(int) * n);

	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	REQUIRE(c);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
}

int packet_send(int sock, struct packet_head head, const struct iovec *parts, size_t n,
		const int *fds, int timeout_ms, struct err *err)
{
	struct iovec iov[PARTS_MAX];
	union control control;
	size_t bytes = 0;

	REQUIRE(n < PARTS_MAX);
	REQUIRE(head.fds <= PACKET_FDS_MAX);
	for (size_t i = 0; i < n; i++) {
		iov[i + 1] = parts[i];
		bytes += parts[i].iov_len;
	}
	REQUIRE(bytes <= PACKET_BYTES_MAX - sizeof head);
	head.bytes = (uint32_t)bytes;
	iov[0] = (struct iovec){ &head, sizeof head };

	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n + 1 };

	attach_fds(&msg, &control, fds, head.fds);
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL | (timeout_ms >= 0 ? MSG_DONTWAIT : 0)) >= 0)
			return 0;
		if (errno == EAGAIN) {
			TRY(wait_for(sock, POLLOUT, timeout_ms, err));
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			return err_set(err, ERR_CLOSED, "the other side of the socket is gone");
		if (errno != EINTR)
			return err_sys(err, errno, "sending to a scan process");
	}
}

/* Takes the descriptors out of what arrived; false if they are not as announced. */
static bool take_fds(struct msghdr *msg, struct packet *p)
{
	int got = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		int n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (n > PACKET_FDS_MAX - got)
			n = PACKET_FDS_MAX - got;
		memcpy(p->fds + got, CMSG_DATA(c), sizeof(int) * (size_t)n);
		got += n;
	}
	if ((msg->msg_flags & MSG_CTRUNC) == 0 && got == p->head.fds)
		return true;
	for (int i = 0; i < got; i++)
		close(p->fds[i]);
	return false;
}

static int parse(struct packet *p, struct msghdr *msg, void *room, size_t n, struct err *err)
{
	if (n == 0)
		return err_set(err, ERR_CLOSED, "the other side of the socket is gone");
	p->head = (struct packet_head){ 0 };
	if (n >= sizeof p->head)
		memcpy(&p->head, room, sizeof p->head);
	if (!take_fds(msg, p))
		return err_set(err, ERR_CORRUPT, "descriptors that were not announced");
	if ((msg->msg_flags & MSG_TRUNC) == 0 && n >= sizeof p->head &&
	    p->head.bytes == n - sizeof p->head) {
		p->body = (const uint8_t *)room + sizeof p->head;
		return 0;
	}
	for (int i = 0; i < p->head.fds; i++)
		close(p->fds[i]);
	return err_set(err, ERR_CORRUPT, "a packet of %zu bytes that says it has %u", n,
		       p->head.bytes);
}

int packet_recv(int sock, void *room, int fds_max, int64_t deadline_us, struct packet *ret,
		struct err *err)
{
	int flags = MSG_CMSG_CLOEXEC | (deadline_us == 0 ? MSG_DONTWAIT : 0);
	struct packet p;

	for (;;) {
		union control control;
		struct iovec iov = { room, PACKET_BYTES_MAX };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = fds_max > 0 ? &control : NULL,
				      .msg_controllen = fds_max > 0 ? sizeof control : 0 };
		ssize_t n = recvmsg(sock, &msg, flags);

		if (n >= 0) {
			TRY(parse(&p, &msg, room, (size_t)n, err));
			*ret = p;
			return 0;
		}
		if (errno == ECONNRESET)
			return err_set(err, ERR_CLOSED, "the other side of the socket is gone");
		/* Every RECEIVE_WAKE_MS, as the socket is set: cheaper than a poll for each packet.
		 */
		if (errno == EAGAIN) {
			if (clock_mono_us(clock_system()) >= deadline_us)
				return err_set(err, ERR_TIMEOUT, "waiting on a scan child");
			continue;
		}
		if (errno != EINTR)
			return err_sys(err, errno, "receiving from a scan process");
	}
}
