#include "service/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "hunt.h"
#include "service_internal.h"

/*
 * A crash of the server itself leaves DATA/crash: the analysis that the crashing
 * thread was busy with, as a line "analysis <id>", then the stack. Others' are not
 * named, and kill -9 and power loss leave none, so that bad luck is never counted
 * against a sample.
 */

enum {
	CRASH_FILE_MAX = 256 * 1024
};

static _Thread_local _Atomic int64_t under_way;
static char crash_path[4096];

void crash_note(int64_t analysis_id)
{
	atomic_store_explicit(&under_way, analysis_id, memory_order_relaxed);
}

/* Only async-signal-safe calls from here on. */
static void put_text(int fd, const char *text, size_t n)
{
	ssize_t ignored = write(fd, text, n);

	(void)ignored;
}

static void put_analysis(int fd, int64_t id)
{
	char line[40] = "analysis ";
	char digits[20];
	size_t n = 0, at = 9;

	for (; id > 0; id /= 10)
		digits[n++] = (char)('0' + id % 10);
	while (n)
		line[at++] = digits[--n];
	line[at++] = '\n';
	put_text(fd, line, at);
}

static void on_crash(int signal_number)
{
	void *frames[64];
	int fd = open(crash_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd >= 0) {
		int64_t id = atomic_load_explicit(&under_way, memory_order_relaxed);

		if (id > 0)
			put_analysis(fd, id);
		backtrace_symbols_fd(frames, backtrace(frames, 64), fd);
		close(fd);
	}
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

void crash_handlers_install(const char *data)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	struct sigaction action = { .sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND };
	void *warm[2];

	snprintf(crash_path, sizeof crash_path, "%s/crash", data);
	(void)backtrace(warm, 2); /* loads libgcc now: not possible in a handler */
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &action, NULL);
}

/* ---- At the next start ---- */

struct crashed_req {
	struct write_req req;
	int64_t id;
};

static int crashed_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	return analysis_crashed(conn, ((struct crashed_req *)req)->id, err);
}

static int crash_line(struct service *svc, struct str line, struct err *err)
{
	struct crashed_req c = { .req = { .apply = crashed_apply, .lane = LANE_API } };
	const struct str word = STR("analysis ");
	uint64_t id;

	if (!str_starts(line, word) ||
	    !str_to_u64(str_make(line.p + word.n, line.n - word.n), INT64_MAX, &id))
		return 0;
	c.id = (int64_t)id;
	log_event(LOG_WARN, "crashed_before", LOG_I64("analysis", c.id));
	return writer_call(svc->writer, &c.req, err);
}

int crash_recover(struct service *svc, struct err *err)
{
	char path[4096], aside[4096 + 32];
	struct str text, line;
	void *mem;
	ssize_t n;
	int fd, rc;

	snprintf(path, sizeof path, "%s/crash", svc->data);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "opening '%s'", path);
	rc = mem_try_alloc(&mem, CRASH_FILE_MAX, err);
	if (rc) {
		close(fd);
		return rc;
	}
	n = read(fd, mem, CRASH_FILE_MAX);
	close(fd);
	text = str_make(mem, n > 0 ? (size_t)n : 0);
	while (rc == 0 && str_split(&text, '\n', &line))
		rc = crash_line(svc, line, err);
	free(mem);
	if (rc)
		return rc;
	snprintf(aside, sizeof aside, "%s.%lld", path, (long long)clock_unix_s(svc->clock));
	if (rename(path, aside) != 0)
		return err_sys(err, errno, "putting '%s' away", path);
	return 0;
}
