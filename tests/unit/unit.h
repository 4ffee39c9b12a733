#ifndef UNIT_H
#define UNIT_H
/*
 * What unit tests share: cmocka with its headers, checks that name the row of a
 * table, a folder of one's own, and a way to see that code stops the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Fails naming the row of the table that the test is at. */
#define CHECK_ROW(row, cond)                                                                       \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail_msg("row '%s': %s", (row), #cond);                                    \
	} while (0)

/* Fails naming the row and both texts. */
#define CHECK_ROW_STR(row, got, want)                                                              \
	do {                                                                                       \
		struct str got_ = (got);                                                           \
		struct str want_ = (want);                                                         \
		if (!str_eq(got_, want_))                                                          \
			fail_msg("row '%s': got '" STR_FMT "', not '" STR_FMT "'", (row),          \
				 STR_ARG(got_), STR_ARG(want_));                                   \
	} while (0)

/* The call succeeds; its message is shown if not. */
#define CHECK_OK(call, err)                                                                        \
	do {                                                                                       \
		if ((call) != 0)                                                                   \
			fail_msg("%s: %s", #call, (err)->msg);                                     \
	} while (0)

/* A new empty folder; remove with test_dir_remove, which frees the name too. */
static inline char *test_dir_new(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[512];

	snprintf(path, sizeof path, "%s/weir-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(path))
		fail_msg("cannot make %s", path);
	return str_dup(str_of(path));
}

static inline int test_dir_remove_one(const char *path, const struct stat *st, int type,
				      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void test_dir_remove(char *path)
{
	if (nftw(path, test_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		fail_msg("cannot remove %s", path);
	free(path);
}

/*
 * Does fn(arg) abort with `text` in what it prints? Runs in a child process;
 * what the child printed is shown if it did not.
 */
static inline bool test_aborts(void (*fn)(void *arg), void *arg, const char *text)
{
	char said[8192];
	size_t n = 0;
	int ends[2];
	int status;
	pid_t pid;

	if (pipe(ends) != 0)
		fail_msg("no pipe");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail_msg("no fork");
	if (pid == 0) {
		/* The runner's own handlers would turn the abort into a failed test. */
		signal(SIGABRT, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		fn(arg);
		_exit(0);
	}
	close(ends[1]);
	for (;;) {
		ssize_t got = read(ends[0], said + n, sizeof said - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(ends[0]);
	said[n] = '\0';
	if (waitpid(pid, &status, 0) != pid)
		fail_msg("the child is lost");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, text))
		return true;
	print_error("status %#x, said: %s\n", (unsigned)status, said);
	return false;
}
#endif
