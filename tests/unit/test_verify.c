/*
 * Verify: every kind of thing that can be wrong is made so and named; bytes of no
 * file are told apart, and given back; erasures that fail are tried again.
 */
#include "accounts_world.h"
#include "failing_io.h"

#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/metric.h"
#include "service/files.h"
#include "service/verify.h"
#include "service_internal.h"
#include "store/stream.h"

struct verify_world {
	struct world *w;
	struct failing disk;
	char found[8192];
	bool stop;
};

static bool stops(void *arg)
{
	return ((struct verify_world *)arg)->stop;
}

static void found(const char *check, const char *what, void *arg)
{
	struct verify_world *v = arg;
	size_t n = strlen(v->found);

	snprintf(v->found + n, sizeof v->found - n, "%s: %s\n", check, what);
}

static int set_up(void **state)
{
	struct verify_world *v = mem_must_zalloc(sizeof *v);

	v->w = world_new();
	failing_init(&v->disk, v->w->dir);
	v->w->options.io = &v->disk.io;
	world_open(v->w);
	*state = v;
	return 0;
}

static int tear_down(void **state)
{
	struct verify_world *v = *state;
	struct world *w = v->w;

	service_close(w->svc);
	failing_release(&v->disk);
	test_dir_remove(w->dir);
	free(w);
	free(v);
	return 0;
}

static struct verify_result verify(struct verify_world *v, bool reclaim, uint64_t findings)
{
	const struct verify_options options = { .reclaim = reclaim };
	struct task task = { .found = found, .stops = stops, .arg = v };
	struct verify_result r;
	struct err err;

	v->found[0] = 0;
	CHECK_OK(service_verify(v->w->svc, &options, &task, &r, &err), &err);
	if (task.findings != findings)
		fail_msg("%llu findings, not %llu:\n%s", (unsigned long long)task.findings,
			 (unsigned long long)findings, v->found);
	return r;
}

static int upload(struct verify_world *v, const char *text, char hex[65], struct err *err)
{
	struct upload_options options = { .lane = LANE_API,
					  .name = STR("a name"),
					  .corpus = STR("main"),
					  .interface = "ingest",
					  .bytes_max = 1 << 20 };
	int fd = memfd_create("sample", MFD_CLOEXEC);
	struct upload_outcome outcome;
	int rc;

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	lseek(fd, 0, SEEK_SET);
	rc = upload_fd(v->w->svc, &options, fd, &outcome, err);
	close(fd);
	if (rc == 0)
		hex_encode(outcome.hashes.sha256, SHA256_BYTES, hex);
	return rc;
}

static void upload_ok(struct verify_world *v, const char *text, char hex[65])
{
	struct err err;

	CHECK_OK(upload(v, text, hex, &err), &err);
}

/* ---- Damage of the database ---- */

static int tell_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	static const uint8_t sha256[SHA256_BYTES] = { 7 };
	const struct str tags[] = { STR("one"), STR("two") };
	const struct sighting_new s = { .owner_id = 1,
					.source_kind = STREAM_RULESET,
					.source_id = 5,
					.label = STR("a ruleset"),
					.entity_kind = STREAM_FILE,
					.entity_id = str_make(sha256, sizeof sha256),
					.rule = STR("a_rule"),
					.tags = tags,
					.tag_count = 2 };
	int64_t seq;

	(void)req;
	return stream_add(conn, &s, WORLD_START_S, &seq, err);
}

static const struct {
	const char *sql;
	const char *said;
} damages[] = {
	{ "UPDATE file SET times_submitted = 9 WHERE id = 1",
	  "file.times_submitted: file "
	  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 "
	  "was submitted 1 times, and says 9\n" },
	{ "UPDATE file SET unique_sources = 3 WHERE id = 1",
	  "file.unique_sources: file "
	  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 came from 1 users, and "
	  "says 3\n" },
	{ "UPDATE file SET report = '{\"a\":' WHERE id = 1",
	  "file.report: the stored report of file "
	  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is no JSON object\n" },
	{ "UPDATE file SET report = '[]' WHERE id = 1",
	  "file.report: the stored report of file "
	  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is no JSON object\n" },
	{ "UPDATE analysis SET not_run = 'x' WHERE id = 1",
	  "analysis.not_run: the list of what analysis 1 did not run is no JSON\n" },
	{ "UPDATE counter SET value = 0 WHERE name = 'intake'",
	  "analysis.intake: the counter 'intake' is at 0, and 1 is given out\n" },
	{ "INSERT INTO ruleset (id, owner_id, name, rules, generation, limit_day, tags, created_s, "
	  "modified_s) SELECT 4, id, 'r', '', 0, 1, '[', 0, 0 FROM user",
	  "ruleset: a list of ruleset 4 is no JSON\n" },
	{ "INSERT INTO ruleset (id, owner_id, name, rules, generation, limit_day, created_s, "
	  "modified_s) SELECT 4, id, 'r', '', 8, 1, 0, 0 FROM user",
	  "ruleset.generation: the counter 'generation' is at 0, and 8 is given out\n" },
	{ "UPDATE sighting SET info = '{' WHERE seq = 1",
	  "sighting: tags or details of notification 1 are no JSON\n" },
	{ "UPDATE counter SET value = 0 WHERE name = 'sighting'",
	  "sighting.seq: the counter 'sighting' is at 0, and 1 is given out\n" },
	{ "DELETE FROM sighting_tag WHERE tag_id = 1",
	  "sighting_tag: notification 1 is found by 1 of its tags, not 2\n" },
	{ "INSERT INTO sighting_tag VALUES (1, 77)",
	  "sighting_tag.seq: notification 77 is not there, and found by 1 tags\n" },
	{ "UPDATE stream_count SET live = 3 WHERE source_id = 5",
	  "stream_count: the count of owner 1, kind 1, source 5, entity kind 1, day 20416 is 3, "
	  "and "
	  "there are 1\n" },
	{ "DELETE FROM stream_count WHERE source_id = 0",
	  "stream_count: the count of owner 1, kind 1, source 0, entity kind 1, day 20416 is 0, "
	  "and "
	  "there are 1\n" },
	{ "INSERT INTO stream_count VALUES (1, 1, 6, 1, 20416, 2)",
	  "stream_count: the count of owner 1, kind 1, source 6, entity kind 1, day 20416 is 2, "
	  "and "
	  "there are 0\n" },
	{ "UPDATE file SET pack_offset = pack_offset + 8 WHERE id = 1",
	  "files: file 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824: its bytes "
	  "are not in the packs: " },
};

static void test_every_number_that_is_wrong(void **state)
{
	struct verify_world *v = *state;
	struct write_req tell = { .apply = tell_apply, .lane = LANE_API };
	char hex[65], key[USER_KEY_CHARS + 1], undo[600];
	struct err err;

	CHECK_OK(user_add(v->w->svc, STR("ada"), ROLE_HUNTER, STR(""), NULL, key, &err), &err);
	upload_ok(v, "hello", hex);
	CHECK_OK(writer_call(service_writer(v->w->svc), &tell, &err), &err);
	verify(v, false, 0);
	/* The folder as it was before each of them. */
	service_close(v->w->svc);
	snprintf(undo, sizeof undo, "cp %s/weir.db %s/whole", v->w->dir, v->w->dir);
	assert_int_equal(system(undo), 0);
	snprintf(undo, sizeof undo, "cp %s/whole %s/weir.db", v->w->dir, v->w->dir);
	for (size_t i = 0; i < COUNT_OF(damages); i++) {
		world_open(v->w);
		world_exec(v->w, damages[i].sql, NULL);
		verify(v, false, 1);
		if (strncmp(v->found, damages[i].said, strlen(damages[i].said)) != 0)
			fail_msg("%s\nsaid %snot  %s", damages[i].sql, v->found, damages[i].said);
		service_close(v->w->svc);
		assert_int_equal(system(undo), 0);
	}
	world_open(v->w);
	verify(v, false, 0);
}

/* The pages of the table `table` in the database's file, seen by their text. */
static void damage_file(struct verify_world *v, const char *text)
{
	char path[600], page[4096];
	bool any = false;
	int fd;

	snprintf(path, sizeof path, "%s/weir.db", v->w->dir);
	fd = open(path, O_RDWR);
	for (off_t at = 4096; pread(fd, page, sizeof page, at) == sizeof page; at += 4096) {
		if (!memmem(page, sizeof page, text, strlen(text)))
			continue;
		any = true;
		/* How many cells it has: more than fit. */
		assert_int_equal(pwrite(fd, "\x7f", 1, at + 3), 1);
	}
	close(fd);
	assert_true(any);
}

static void test_a_damaged_page(void **state)
{
	struct verify_world *v = *state;
	struct task task = { .found = found, .arg = v };
	const struct verify_options plain = { .reclaim = false };
	struct verify_result r;
	struct err err;
	char hex[65];

	upload_ok(v, "hello", hex);
	service_close(v->w->svc);
	damage_file(v, "a name");
	world_open(v->w);
	/* Looking goes on as far as it can; that something is wrong is said in any case. */
	int rc = service_verify(v->w->svc, &plain, &task, &r, &err);
	assert_true(rc == 0 || rc == -ERR_CORRUPT);
	assert_true(task.findings > 0);
	assert_non_null(strstr(v->found, "database: "));
}

static void test_a_row_that_refers_to_nothing(void **state)
{
	struct verify_world *v = *state;
	char command[700], hex[65];

	upload_ok(v, "hello", hex);
	service_close(v->w->svc);
	snprintf(command, sizeof command,
		 "python3 -c \"import sqlite3; c = sqlite3.connect('%s/weir.db'); "
		 "c.execute('UPDATE analysis SET submission_id = 99'); c.commit()\"",
		 v->w->dir);
	assert_int_equal(system(command), 0);
	world_open(v->w);
	verify(v, false, 1);
	assert_string_equal(v->found, "database: row 1 of table 'analysis' refers to a row of "
				      "'submission' that does not exist\n");
}

static void test_a_record_that_is_damaged(void **state)
{
	struct verify_world *v = *state;
	char path[600], hex[65];
	int fd;

	upload_ok(v, "hello", hex);
	snprintf(path, sizeof path, "%s/packs/0000000001.pack", v->w->dir);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "J", 1, 104), 1);
	close(fd);
	verify(v, false, 2);
	assert_non_null(strstr(v->found, "packs: pack 1 at 40: the bytes' checksum is wrong\n"));
	assert_non_null(strstr(v->found, "files: file 2cf24dba"));
}

static void test_a_stop(void **state)
{
	struct verify_world *v = *state;
	struct task task = { .stops = stops, .arg = v };
	const struct verify_options plain = { .reclaim = false };
	struct verify_result r;
	struct err err;

	v->stop = true;
	assert_int_equal(service_verify(v->w->svc, &plain, &task, &r, &err), -ERR_CLOSED);
}

/* ---- Bytes of no file ---- */

static struct pack_locator append(struct verify_world *v, const char *text)
{
	struct hashes h = { .md5 = { 0 } };
	struct pack_locator at;
	struct err err;

	sha256_of(text, strlen(text), h.sha256);
	CHECK_OK(packs_append(service_packs(v->w->svc), &h, text, strlen(text), &at, &err), &err);
	return at;
}

static void test_bytes_of_no_file(void **state)
{
	struct verify_world *v = *state;
	struct verify_result r;
	char hex[65];

	upload_ok(v, "hello", hex);
	append(v, "left over");
	append(v, "hello"); /* the same sample once more */
	r = verify(v, false, 0);
	assert_int_equal(r.records, 3);
	assert_int_equal(r.loose, 2);
	assert_int_equal(r.loose_bytes, 14);
	assert_int_equal(r.reclaimed, 0);
	assert_non_null(strstr(v->found, "loose: pack 1 at 176: 9 bytes of no file, SHA-256 "));
	r = verify(v, true, 0);
	assert_int_equal(r.reclaimed, 2);
	r = verify(v, false, 0);
	assert_int_equal(r.records, 3);
	assert_int_equal(r.loose, 0);
}

/* A record whose upload is still under way is nobody's yet, and is waited for. */
static void test_what_is_under_way_is_waited_for(void **state)
{
	struct verify_world *v = *state;
	struct task task = { .stops = stops, .arg = v };
	const struct verify_options reclaim = { .reclaim = true };
	struct stored_hold hold = { .number = 0 };
	struct verify_result r;
	struct err err;

	stored_enter(v->w->svc, &hold);
	append(v, "under way");
	v->stop = true;
	task.step[0] = 0;
	assert_int_equal(service_verify(v->w->svc, &reclaim, &task, &r, &err), -ERR_CLOSED);
	assert_int_equal(r.reclaimed, 0);
	v->stop = false;
	stored_leave(v->w->svc, &hold);
	r = verify(v, true, 0);
	assert_int_equal(r.reclaimed, 1);
}

struct gate {
	struct write_req req;
	int ends[2];
};

static int gate_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	char c;

	(void)conn;
	(void)err;
	return read(((struct gate *)req)->ends[0], &c, 1) == 1 ? 0 : -1;
}

static void gate_done(struct write_req *req, int rc, const struct err *err)
{
	(void)req;
	(void)rc;
	(void)err;
}

static void uploaded(const struct upload_outcome *outcome, int rc, const struct err *err, void *arg)
{
	_Atomic int *left = arg;

	(void)outcome;
	(void)err;
	assert_int_equal(rc, 0);
	--*left;
}

/* Polls until the background thread is through with what is to be erased. */
static void wait_erased(struct verify_world *v)
{
	struct verify_result r;

	do {
		background_wake(v->w->svc);
		(void)poll(NULL, 0, 5);
		r = verify(v, false, 0);
	} while (r.loose > 0);
}

static void test_the_second_copy_of_a_new_sample_goes(void **state)
{
	const struct upload_options options = { .lane = LANE_API,
						.name = STR("twice"),
						.corpus = STR("main"),
						.interface = "api",
						.bytes_max = 100 };
	struct verify_world *v = *state;
	struct gate gate = { .req = { .apply = gate_apply, .done = gate_done, .lane = LANE_API } };
	_Atomic int left = 2;
	struct upload *u;
	struct err err;

	assert_int_equal(pipe(gate.ends), 0);
	CHECK_OK(writer_submit(service_writer(v->w->svc), &gate.req, &err), &err);
	for (int i = 0; i < 2; i++) {
		CHECK_OK(upload_new(&u, v->w->svc, &options, &err), &err);
		CHECK_OK(upload_add(u, "twice", 5, &err), &err);
		CHECK_OK(upload_finish(u, uploaded, &left, &err), &err);
	}
	assert_int_equal(write(gate.ends[1], "x", 1), 1);
	while (left > 0)
		(void)poll(NULL, 0, 1);
	wait_erased(v);
	assert_int_equal(world_i64(v->w, "SELECT times_submitted FROM file"), 2);
	close(gate.ends[0]);
	close(gate.ends[1]);
}

static void test_bytes_of_a_failed_commit_go(void **state)
{
	struct verify_world *v = *state;
	struct err err;
	char hex[65];

	world_exec(v->w,
		   "CREATE TRIGGER no BEFORE INSERT ON file BEGIN SELECT raise(ABORT, 'no'); END",
		   NULL);
	assert_int_not_equal(upload(v, "never a file", hex, &err), 0);
	wait_erased(v);
	world_exec(v->w, "DROP TRIGGER no", NULL);
	upload_ok(v, "never a file", hex);
	verify(v, false, 0);
}

/* ---- Erasures that fail ---- */

static void test_an_erasure_that_fails_is_tried_again(void **state)
{
	struct verify_world *v = *state;
	bool erased = true;
	struct err err;
	char hex[65];

	upload_ok(v, "to be removed", hex);
	v->disk.calls = 0;
	v->disk.fails_at = 1; /* the mark */
	CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, &erased, &err), &err);
	assert_false(erased);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM erase"), 1);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM file"), 0);
	/* Not a finding, and not loose: it is known that it is to go. */
	assert_int_equal(verify(v, false, 0).loose, 0);
	background_wake(v->w->svc);
	while (world_i64(v->w, "SELECT count(*) FROM erase") > 0) {
		clock_fake_advance(&v->w->clock, 31 * 1000000ll);
		background_wake(v->w->svc);
		(void)poll(NULL, 0, 5);
	}
	assert_int_equal(metric_get(METRIC_erasures_waiting), 0);
	verify(v, false, 0);
	upload_ok(v, "to be removed", hex);
	CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, &erased, &err), &err);
	assert_true(erased);
}

static void erase_by_reclaim(struct verify_world *v, const struct pack_locator *at)
{
	const struct verify_options reclaim = { .reclaim = true };
	struct task task = { .stops = stops, .arg = v };
	struct verify_result r;
	struct err err;

	(void)at;
	if (service_verify(v->w->svc, &reclaim, &task, &r, &err) != 0)
		assert_true(v->disk.calls >= v->disk.fails_at);
}

/* As an upload whose commit failed; the background thread does it. */
static void erase_as_garbage(struct verify_world *v, const struct pack_locator *at)
{
	const struct verify_options plain = { .reclaim = false };
	struct verify_result r = { .loose = 1 };
	struct err err;

	stored_garbage_add(v->w->svc, at);
	background_wake(v->w->svc);
	while (r.loose > 0 && v->disk.calls < v->disk.fails_at) {
		struct task task = { .stops = stops, .arg = v };

		(void)poll(NULL, 0, 1);
		CHECK_OK(service_verify(v->w->svc, &plain, &task, &r, &err), &err);
	}
}

/* Nothing else knows of these bytes: whoever begins to erase them notes it first. */
static void stop_half_way(struct verify_world *v,
			  void (*erase)(struct verify_world *v, const struct pack_locator *at))
{
	bool came;
	int n = 0;

	do {
		char text[32];
		struct pack_locator at;

		snprintf(text, sizeof text, "left over %d", ++n);
		at = append(v, text);
		v->disk.calls = 0;
		v->disk.fails_at = (uint64_t)n;
		erase(v, &at);
		service_close(v->w->svc);
		came = v->disk.calls >= v->disk.fails_at;
		v->disk.fails_at = 0;
		world_open(v->w);
		verify(v, true, 0);
		assert_int_equal(verify(v, false, 0).loose, 0);
		assert_int_equal(world_i64(v->w, "SELECT count(*) FROM erase"), 0);
	} while (came);
	assert_true(n > 4);
}

static void test_an_erasure_that_stopped_half_way_is_finished(void **state)
{
	struct verify_world *v = *state;

	service_close(v->w->svc);
	v->w->options.unsafe_no_sync = false;
	world_open(v->w);
	stop_half_way(v, erase_by_reclaim);
	stop_half_way(v, erase_as_garbage);
}

#define VERIFY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		VERIFY_TEST(test_every_number_that_is_wrong),
		VERIFY_TEST(test_a_damaged_page),
		VERIFY_TEST(test_a_row_that_refers_to_nothing),
		VERIFY_TEST(test_a_record_that_is_damaged),
		VERIFY_TEST(test_a_stop),
		VERIFY_TEST(test_bytes_of_no_file),
		VERIFY_TEST(test_what_is_under_way_is_waited_for),
		VERIFY_TEST(test_the_second_copy_of_a_new_sample_goes),
		VERIFY_TEST(test_bytes_of_a_failed_commit_go),
		VERIFY_TEST(test_an_erasure_that_fails_is_tried_again),
		VERIFY_TEST(test_an_erasure_that_stopped_half_way_is_finished),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
