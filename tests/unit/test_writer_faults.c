#include "writer_world.h"

#include <sys/stat.h>

/* The n-th write fails, n = 1, 2, …: a group is there whole or not at all. */
static void commit_fails(struct world *w, int code, enum err_kind kind)
{
	int64_t have = 0;
	size_t told = 0;
	int n = 0;

	writer_begin(w);
	for (bool clean = false; !clean;) {
		hold_begin(w);
		for (int i = 0; i < 5; i++) {
			work_at(w, i)->id = have + 1 + i;
			w->work[i].kind = i == 3 ? WORK_FAIL : WORK_INSERT;
			submit(&w->work[i]);
		}
		fault_arm(FAULT_WRITE, ++n, code, false);
		hold_end(w);
		told += 6;
		wait_finished(w, told);
		clean = fault.failed == 0;
		fault_disarm();
		for (int i = 0; i < 5; i++) {
			/* One that failed by itself keeps its own reason. */
			if (i == 3)
				assert_int_equal(w->rc_of[i], -ERR_INVALID);
			else
				assert_int_equal(w->rc_of[i], w->rc_of[0]);
		}
		assert_true(w->rc_of[0] == 0 || w->rc_of[0] == -(int)kind);
		if (w->rc_of[0] == 0)
			have += 5;
		assert_int_equal(rows(w), have / 5 * 4);
	}
	assert_true(n > 2);
	writer_end(w);
}

static void test_commit_fails(void **state)
{
	struct world *w = *state;

	commit_fails(w, SQLITE_FULL, ERR_NO_SPACE);
}

static void test_commit_fails_io(void **state)
{
	struct world *w = *state;

	commit_fails(w, SQLITE_IOERR_WRITE, ERR_IO);
}

static void test_read_only(void **state)
{
	struct world *w = *state;

	writer_begin(w);
	fault_arm(FAULT_WRITE, 1, SQLITE_READONLY, true);
	submit(work_at(w, 0));
	wait_finished(w, 1);
	assert_int_equal(w->rc_of[0], -ERR_IO);
	assert_non_null(strstr(w->work[0].req.err.msg, "read-only"));
	fault_disarm();
	submit(work_at(w, 0));
	wait_finished(w, 2);
	assert_int_equal(w->rc_of[0], 0);
}

/* The disk fills up while a request runs: SQLite drops the whole transaction. */
static void test_transaction_lost(void **state)
{
	struct world *w = *state;

	writer_begin(w);
	hold_begin(w);
	for (int i = 0; i < 3; i++) {
		work_at(w, i)->kind = i == 1 ? WORK_BIG : WORK_INSERT;
		submit(&w->work[i]);
	}
	/* The held group writes as well: only the big one writes so much. */
	fault_arm(FAULT_WRITE, 1000, SQLITE_FULL, true);
	hold_end(w);
	wait_finished(w, 4);
	fault_disarm();
	for (int i = 0; i < 3; i++)
		assert_int_equal(w->rc_of[i], -ERR_NO_SPACE);
	assert_int_equal(rows(w), 0);
	submit(work_at(w, 5));
	wait_finished(w, 5);
	assert_int_equal(w->rc_of[5], 0);
	assert_int_equal(rows(w), 1);
}

/* A commit whose sync failed: the process ends and nobody was told anything. */
static void told_before_exit(struct write_req *req, int rc, const struct err *err)
{
	(void)req;
	(void)rc;
	(void)err;
	_exit(1);
}

static void test_uncertain_stops(void **state)
{
	struct world *w = *state;
	char said[4096];
	size_t n = 0;
	int ends[2], status = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		dup2(ends[1], STDERR_FILENO);
		sql_close(w->db);
		world_open(w);
		writer_begin(w);
		fault_arm(FAULT_SYNC, 1, SQLITE_IOERR_FSYNC, false);
		work_at(w, 0)->req.done = told_before_exit;
		submit(&w->work[0]);
		wait_finished(w, 1);
		_exit(2);
	}
	close(ends[1]);
	for (ssize_t got = 1; got > 0 && n < sizeof said - 1;) {
		got = read(ends[0], said + n, sizeof said - 1 - n);
		n += got > 0 ? (size_t)got : 0;
	}
	said[n] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), WRITER_EXIT_UNCERTAIN);
	assert_non_null(strstr(said, "commit_outcome_unknown"));
	/* The next start decides; whichever it is, the database is whole. */
	sql_close(w->db);
	world_open(w);
	assert_in_range(rows(w), 0, 1);
}

/*
 * A log that grew large is moved home without anybody asking, and begins anew: a transaction
 * comes that does not make it longer. How many that takes is the disk's affair.
 */
static void test_log_stays_small(void **state)
{
	enum {
		ROUNDS_MAX = 60
	};
	struct world *w = *state;
	char path[700];
	struct stat st;
	off_t before = 0;
	int i;

	snprintf(path, sizeof path, "%s-wal", w->path);
	writer_begin(w);
	for (i = 0; i < ROUNDS_MAX; i++) {
		work_at(w, i)->kind = WORK_BIG;
		submit(&w->work[i]);
		wait_finished(w, (size_t)i + 1);
		assert_int_equal(w->rc_of[i], 0);
		assert_int_equal(stat(path, &st), 0);
		if (st.st_size == before)
			break;
		before = st.st_size;
	}
	assert_in_range(i, 2, ROUNDS_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_commit_fails),     TEST(test_commit_fails_io), TEST(test_read_only),
		TEST(test_transaction_lost), TEST(test_uncertain_stops), TEST(test_log_stays_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
