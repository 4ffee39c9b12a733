/*
 * Backups on the service: what is in one, what is left out, what an interrupted
 * one leaves, what a restore refuses; and random operations against a plain list.
 */
#include "accounts_world.h"
#include "failing_io.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/rand.h"
#include "service/backup.h"
#include "service/files.h"
#include "service/verify.h"

struct backup_world {
	struct world *w;
	char *place; /* where backups go */
	char *target;
	char found[4096]; /* the last backup's or restore's findings, a line each */
	uint64_t asked;   /* questions whether to stop */
	uint64_t stop_at; /* the one that is answered yes; 0: none */
};

static bool stops(void *arg)
{
	struct backup_world *b = arg;

	return ++b->asked == b->stop_at;
}

static void found(const char *check, const char *what, void *arg)
{
	struct backup_world *b = arg;
	size_t n = strlen(b->found);

	(void)check;
	snprintf(b->found + n, sizeof b->found - n, "%s\n", what);
}

static struct task task_of(struct backup_world *b)
{
	b->found[0] = 0;
	return (struct task){ .found = found, .stops = stops, .arg = b };
}

static int set_up(void **state)
{
	struct backup_world *b = mem_must_zalloc(sizeof *b);

	b->w = world_new();
	world_open(b->w);
	b->place = test_dir_new();
	b->target = test_dir_new();
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct backup_world *b = *state;

	world_free(b->w);
	test_dir_remove(b->place);
	test_dir_remove(b->target);
	free(b);
	return 0;
}

/* ---- What is done ---- */

static void text_of(uint64_t n, struct buf *out)
{
	struct rand_seq r = { n };

	buf_reset(out);
	for (uint64_t i = 0; i < n % 97; i++)
		buf_addf(out, "%016llx", (unsigned long long)rand_next(&r));
	buf_addf(out, "sample %llu", (unsigned long long)n);
}

static int memory_file(const struct buf *content)
{
	int fd = memfd_create("sample", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content->p, content->n), content->n);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void upload(struct backup_world *b, uint64_t n, char hex[65])
{
	struct upload_options options = { .lane = LANE_API,
					  .name = STR("a name"),
					  .corpus = STR("main"),
					  .interface = "ingest",
					  .bytes_max = 1 << 20 };
	struct buf content = BUF_INIT(1 << 20);
	struct upload_outcome outcome;
	struct err err;
	int fd;

	text_of(n, &content);
	fd = memory_file(&content);
	CHECK_OK(upload_fd(b->w->svc, &options, fd, &outcome, &err), &err);
	close(fd);
	hex_encode(outcome.hashes.sha256, SHA256_BYTES, hex);
	buf_release(&content);
}

static void remove_sample(struct backup_world *b, const char *hex)
{
	struct err err;

	CHECK_OK(file_remove(b->w->svc, str_of(hex), 0, NULL, &err), &err);
}

static int backup_to(struct backup_world *b, uint32_t keep, bool adopt, struct backup_result *ret,
		     struct err *err)
{
	struct backup_options options = { .folder_fd = open(b->place, O_RDONLY | O_DIRECTORY),
					  .folder = b->place,
					  .keep = keep,
					  .adopt = adopt,
					  .version = "1.2.3" };
	struct task task = task_of(b);
	int rc = service_backup(b->w->svc, &options, &task, ret, err);

	close(options.folder_fd);
	return rc;
}

static struct backup_result backup_ok(struct backup_world *b)
{
	struct backup_result r;
	struct err err;

	CHECK_OK(backup_to(b, 1, false, &r, &err), &err);
	return r;
}

static int restore_to(struct backup_world *b, const char *data, uint64_t generation, bool damaged,
		      struct err *err)
{
	struct restore_options options = {
		.source = b->place, .data = data, .generation = generation, .damaged = damaged
	};
	struct task task = task_of(b);
	struct backup_result r;

	return backup_restore(&options, &task, &r, err);
}

static void print_finding(const char *check, const char *what, void *arg)
{
	(void)arg;
	print_error("%s: %s\n", check, what);
}

/* Restores into a folder of its own and opens it; closes the world's own service. */
static void move_to_restored(struct backup_world *b)
{
	const struct verify_options plain = { .reclaim = false };
	struct task task = { .found = print_finding };
	struct verify_result r;
	struct err err;

	CHECK_OK(restore_to(b, b->target, 0, false, &err), &err);
	service_close(b->w->svc);
	b->w->options.data = b->target;
	world_open(b->w);
	CHECK_OK(service_verify(b->w->svc, &plain, &task, &r, &err), &err);
	assert_int_equal(task.findings, 0);
	assert_int_equal(r.loose, 0);
}

static bool is_there(struct backup_world *b, const char *hex)
{
	struct arena *arena = arena_new("test", 1 << 20);
	uint8_t sha256[SHA256_BYTES], want[SHA256_BYTES];
	struct file_info info;
	struct err err;
	uint8_t *bytes;
	int rc = file_get(b->w->svc, str_of(hex), arena, &info, &err);

	if (rc == 0) {
		bytes = mem_must_zalloc(info.size + 1);
		CHECK_OK(packs_read(service_packs(b->w->svc), &info.at, 0, bytes, info.size, &err),
			 &err);
		sha256_of(bytes, info.size, sha256);
		assert_true(hex_decode(str_of(hex), want, SHA256_BYTES));
		assert_memory_equal(sha256, want, SHA256_BYTES);
		free(bytes);
	}
	arena_free(arena);
	return rc == 0;
}

static bool place_holds(struct backup_world *b, const char *text)
{
	char command[600];

	snprintf(command, sizeof command, "grep -rqaF '%s' '%s'", text, b->place);
	return system(command) == 0;
}

/* ---- Tests ---- */

static void test_all_is_in_it(void **state)
{
	struct backup_world *b = *state;
	struct backup_result r;
	char hex[20][65];

	for (uint64_t i = 0; i < 20; i++)
		upload(b, i, hex[i]);
	r = backup_ok(b);
	assert_int_equal(r.generation, 1);
	assert_int_equal(r.samples, 20);
	assert_int_equal(r.packs, 1);
	assert_int_equal(r.packs_copied, 1);
	move_to_restored(b);
	for (uint64_t i = 0; i < 20; i++)
		assert_true(is_there(b, hex[i]));
}

/* Times of files prove nothing for the first two seconds. */
static void settle(struct backup_world *b)
{
	struct pack_stamp now, later;
	struct err err;

	do {
		(void)poll(NULL, 0, 20);
		CHECK_OK(packs_stamp(service_packs(b->w->svc), 1, &now, &err), &err);
		later = now;
	} while (!pack_stamp_is_same(&now, &later));
}

static void test_only_what_is_new_is_copied(void **state)
{
	struct backup_world *b = *state;
	struct backup_result r;
	char hex[65];

	upload(b, 1, hex);
	settle(b);
	backup_ok(b);
	r = backup_ok(b);
	assert_int_equal(r.generation, 2);
	assert_int_equal(r.packs, 1);
	assert_int_equal(r.packs_copied, 0);
	upload(b, 2, hex);
	r = backup_ok(b);
	assert_int_equal(r.packs_copied, 1);
	/* Once more: it was written a moment ago, so its times prove nothing. */
	r = backup_ok(b);
	assert_int_equal(r.packs_copied, 1);
	remove_sample(b, hex);
	r = backup_ok(b);
	assert_int_equal(r.packs_copied, 1);
	assert_int_equal(r.samples, 1);
}

static void test_no_byte_of_what_was_removed(void **state)
{
	struct backup_world *b = *state;
	char hex[2][65];

	upload(b, 3, hex[0]);
	upload(b, 1000003, hex[1]);
	backup_ok(b);
	assert_true(place_holds(b, "sample 1000003"));
	remove_sample(b, hex[1]);
	backup_ok(b);
	assert_false(place_holds(b, "sample 1000003"));
	assert_true(place_holds(b, "sample 3"));
	move_to_restored(b);
	assert_true(is_there(b, hex[0]));
	assert_false(is_there(b, hex[1]));
}

/* Its rows are gone, its bytes are not yet: the disk would not. */
static void test_an_erasure_still_to_be_done(void **state)
{
	struct backup_world *b = *state;
	char hex[65];

	upload(b, 4, hex);
	upload(b, 1000004, hex);
	settle(b);
	backup_ok(b);
	world_exec(b->w,
		   "INSERT INTO erase (pack, pack_offset, len) SELECT pack, pack_offset, size FROM "
		   "file WHERE id = 2",
		   NULL);
	world_exec(b->w, "DELETE FROM analysis WHERE file_id = 2", NULL);
	world_exec(b->w, "DELETE FROM submission WHERE file_id = 2", NULL);
	world_exec(b->w, "DELETE FROM file_name WHERE file_id = 2", NULL);
	world_exec(b->w, "DELETE FROM file WHERE id = 2", NULL);
	backup_ok(b);
	assert_false(place_holds(b, "sample 1000004"));
	move_to_restored(b);
	assert_int_equal(world_i64(b->w, "SELECT count(*) FROM erase"), 0);
}

/* Bytes that no row knows, as an upload leaves whose commit failed. */
static void test_bytes_of_nobody_stay_behind(void **state)
{
	struct backup_world *b = *state;
	const char text[] = "bytes of nobody";
	struct hashes h = { .md5 = { 0 } };
	struct pack_locator at;
	struct err err;
	char hex[65];

	upload(b, 5, hex);
	sha256_of(text, sizeof text, h.sha256);
	CHECK_OK(packs_append(service_packs(b->w->svc), &h, text, sizeof text, &at, &err), &err);
	upload(b, 6, hex);
	backup_ok(b);
	assert_false(place_holds(b, text));
	move_to_restored(b);
	assert_true(is_there(b, hex));
}

/* Rows of the snapshot whose bytes were erased after it was taken. */
static void test_removed_while_it_was_made(void **state)
{
	struct backup_world *b = *state;
	struct pack_locator at = { 0 };
	struct backup_result r;
	struct err err;
	char hex[2][65];

	upload(b, 7, hex[0]);
	upload(b, 8, hex[1]);
	at.pack = 1;
	at.offset = (uint64_t)world_i64(b->w, "SELECT pack_offset FROM file WHERE id = 1");
	at.len = (uint64_t)world_i64(b->w, "SELECT size FROM file WHERE id = 1");
	CHECK_OK(packs_erase(service_packs(b->w->svc), &at, &err), &err);
	r = backup_ok(b);
	assert_int_equal(r.removed, 1);
	assert_int_equal(r.samples, 1);
	assert_string_equal(b->found, "");
	move_to_restored(b);
	assert_false(is_there(b, hex[0]));
	assert_true(is_there(b, hex[1]));
}

static void test_what_is_kept(void **state)
{
	struct backup_world *b = *state;
	struct backup_result r;
	struct err err;
	char hex[65];

	for (uint64_t i = 1; i <= 4; i++) {
		upload(b, i, hex);
		CHECK_OK(backup_to(b, 2, false, &r, &err), &err);
		assert_int_equal(r.generation, i);
	}
	assert_int_equal(restore_to(b, NULL, 2, false, &err), -ERR_NOT_FOUND);
	CHECK_OK(restore_to(b, NULL, 3, false, &err), &err);
	CHECK_OK(restore_to(b, NULL, 4, false, &err), &err);
	CHECK_OK(restore_to(b, b->target, 3, false, &err), &err);
	service_close(b->w->svc);
	b->w->options.data = b->target;
	world_open(b->w);
	assert_int_equal(world_i64(b->w, "SELECT count(*) FROM file"), 3);
}

static void test_a_stop_at_every_question(void **state)
{
	struct backup_world *b = *state;
	struct backup_result r;
	struct err err;
	char hex[65];
	int rc;

	for (uint64_t i = 0; i < 30; i++)
		upload(b, i, hex);
	b->stop_at = 1;
	do {
		b->asked = 0;
		rc = backup_to(b, 1, false, &r, &err);
		if (rc == 0)
			break;
		assert_int_equal(rc, -ERR_CLOSED);
		assert_int_equal(restore_to(b, NULL, 0, false, &err), -ERR_NOT_FOUND);
		b->stop_at++;
	} while (b->stop_at < 1000);
	assert_true(b->stop_at > 1);
	b->stop_at = 0;
	move_to_restored(b);
	assert_true(is_there(b, hex));
}

static void test_where_it_cannot_be(void **state)
{
	struct backup_world *b = *state;
	char path[600], *own = b->place;
	struct backup_result r;
	struct err err;

	snprintf(path, sizeof path, "%s/inside", b->w->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	b->place = path;
	assert_int_equal(backup_to(b, 1, false, &r, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "it is inside the data folder"));
	b->place = b->w->dir;
	assert_int_equal(backup_to(b, 1, false, &r, &err), -ERR_INVALID);
	snprintf(path, sizeof path, "%s/..", b->w->dir);
	b->place = path;
	assert_int_equal(backup_to(b, 1, false, &r, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "is inside it"));
	b->place = own;
	snprintf(path, sizeof path, "%s/thesis.txt", own);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(backup_to(b, 1, false, &r, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "not empty and holds no backup"));
	unlink(path);
	backup_ok(b);
}

static void test_of_another_folder(void **state)
{
	struct backup_world *b = *state;
	struct backup_result r;
	struct err err;
	char hex[65];

	upload(b, 9, hex);
	backup_ok(b);
	move_to_restored(b);
	assert_int_equal(backup_to(b, 1, false, &r, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "--adopt"));
	CHECK_OK(backup_to(b, 1, true, &r, &err), &err);
	assert_int_equal(r.generation, 2);
	backup_ok(b);
}

/* Turn the bits of one byte of the one file that fits the pattern; twice undoes it. */
static void flip(struct backup_world *b, const char *pattern, off_t at)
{
	char path[600];
	glob_t found_files;
	uint8_t byte;
	int fd;

	snprintf(path, sizeof path, "%s/%s", b->place, pattern);
	assert_int_equal(glob(path, 0, NULL, &found_files), 0);
	assert_int_equal(found_files.gl_pathc, 1);
	fd = open(found_files.gl_pathv[0], O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0xff;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	globfree(&found_files);
}

static void test_a_restore_finds_every_flipped_byte(void **state)
{
	static const struct {
		const char *file;
		off_t at;
	} rows[] = {
		{ "0000000001.weir.db", 5 },
		{ "0000000001.weir.db", 40000 },
		{ "0000000001.cursor.key", 7 },
		{ "0000000001.manifest", 0 },
		{ "0000000001.manifest", 200 },
		{ "packs/*", 0 },
		{ "packs/*", 45 },
	};
	struct backup_world *b = *state;
	char target[600];
	struct err err;
	char hex[65];

	upload(b, 10, hex);
	backup_ok(b);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		flip(b, rows[i].file, rows[i].at);
		CHECK_ROW(rows[i].file, restore_to(b, NULL, 0, false, &err) == -ERR_CORRUPT);
		snprintf(target, sizeof target, "%s/%zu", b->target, i);
		CHECK_ROW(rows[i].file, restore_to(b, target, 0, false, &err) == -ERR_CORRUPT);
		flip(b, rows[i].file, rows[i].at);
		CHECK_OK(restore_to(b, NULL, 0, false, &err), &err);
	}
}

static void test_a_damaged_one_gives_what_is_left(void **state)
{
	struct backup_world *b = *state;
	struct err err;
	char hex[65];

	upload(b, 11, hex);
	backup_ok(b);
	flip(b, "packs/*", 110);
	assert_int_equal(restore_to(b, b->target, 0, false, &err), -ERR_CORRUPT);
	assert_non_null(strstr(b->found, "its SHA-256 is not the manifest's"));
	/* What that left is no data folder, and may be tried again. */
	service_close(b->w->svc);
	b->w->options.data = b->target;
	b->w->svc = NULL;
	assert_int_equal(service_open(&b->w->svc, &b->w->options, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.msg, "holds a restore that did not end"));
	b->w->svc = NULL;
	CHECK_OK(restore_to(b, b->target, 0, true, &err), &err);
	world_open(b->w);
}

/* ---- A disk that fails ---- */

/* Every call that changes the place fails once: the last whole generation is always there. */
static void test_every_call_fails_once(void **state)
{
	struct backup_world *b = *state;
	struct failing f;
	struct backup_options options = { .folder_fd = open(b->place, O_RDONLY | O_DIRECTORY),
					  .folder = "the place",
					  .keep = 1,
					  .version = "1",
					  .io = &f.io };
	struct backup_result r;
	struct err err, ignored;
	char hex[65];
	int rc = -1;

	failing_init(&f, b->place);
	upload(b, 1, hex);
	backup_ok(b);
	for (f.fails_at = 1; f.fails_at < 200; f.fails_at++) {
		struct task task = task_of(b);

		upload(b, f.fails_at, hex);
		f.calls = 0;
		f.sys = f.fails_at % 2 ? ENOSPC : EIO;
		rc = service_backup(b->w->svc, &options, &task, &r, &err);
		if (rc)
			assert_int_equal(rc, f.sys == ENOSPC ? -ERR_NO_SPACE : -ERR_IO);
		CHECK_OK(restore_to(b, NULL, 0, false, &ignored), &ignored);
		if (f.calls < f.fails_at)
			break;
	}
	CHECK_OK(rc, &err);
	assert_true(f.fails_at > 15);
	close(options.folder_fd);
	failing_release(&f);
	move_to_restored(b);
	assert_true(is_there(b, hex));
}

static void test_only_into_an_empty_folder(void **state)
{
	struct backup_world *b = *state;
	char path[600];
	struct err err;
	char hex[65];

	upload(b, 12, hex);
	backup_ok(b);
	snprintf(path, sizeof path, "%s/thesis.txt", b->target);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(restore_to(b, b->target, 0, false, &err), -ERR_EXISTS);
	unlink(path);
	assert_int_equal(restore_to(b, b->w->dir, 0, false, &err), -ERR_EXISTS);
	CHECK_OK(restore_to(b, b->target, 0, false, &err), &err);
	assert_int_equal(restore_to(b, b->target, 0, false, &err), -ERR_EXISTS);
}

/* ---- Random operations against a plain list ---- */

enum {
	MODEL_SAMPLES = 40,
	MODEL_STEPS = 250
};

static void test_model(void **state)
{
	struct backup_world *b = *state;
	struct rand_seq r = { 0x5eed };
	char hex[MODEL_SAMPLES][65] = { { 0 } };
	bool there[MODEL_SAMPLES] = { false };
	struct backup_result result;
	struct err err;

	for (int i = 0; i < MODEL_STEPS; i++) {
		uint64_t n = rand_below(&r, MODEL_SAMPLES), what = rand_below(&r, 10);

		if (what < 6) {
			upload(b, n, hex[n]);
			there[n] = true;
		} else if (what < 8 && there[n]) {
			remove_sample(b, hex[n]);
			there[n] = false;
		} else if (what == 8) {
			b->asked = 0;
			b->stop_at = rand_below(&r, 3); /* 0: to its end */
			(void)backup_to(b, 1 + (uint32_t)rand_below(&r, 3), false, &result, &err);
			b->stop_at = 0;
		}
	}
	backup_ok(b);
	move_to_restored(b);
	for (int n = 0; n < MODEL_SAMPLES; n++) {
		if (hex[n][0] && is_there(b, hex[n]) != there[n])
			fail_msg("sample %d should %sbe there", n, there[n] ? "" : "not ");
	}
}

#define BACKUP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BACKUP_TEST(test_all_is_in_it),
		BACKUP_TEST(test_only_what_is_new_is_copied),
		BACKUP_TEST(test_no_byte_of_what_was_removed),
		BACKUP_TEST(test_an_erasure_still_to_be_done),
		BACKUP_TEST(test_bytes_of_nobody_stay_behind),
		BACKUP_TEST(test_removed_while_it_was_made),
		BACKUP_TEST(test_what_is_kept),
		BACKUP_TEST(test_a_stop_at_every_question),
		BACKUP_TEST(test_where_it_cannot_be),
		BACKUP_TEST(test_of_another_folder),
		BACKUP_TEST(test_a_restore_finds_every_flipped_byte),
		BACKUP_TEST(test_every_call_fails_once),
		BACKUP_TEST(test_a_damaged_one_gives_what_is_left),
		BACKUP_TEST(test_only_into_an_empty_folder),
		BACKUP_TEST(test_model),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
