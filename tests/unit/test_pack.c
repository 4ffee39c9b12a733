#include "pack_world.h"

#include <dirent.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/thread.h"

static unsigned files_in_packs(struct world *w)
{
	char path[512];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "%s/packs", w->dir);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_round(void **state)
{
	struct world *w = *state;
	/* Empty, shorter and longer than the alignment, over one write, over a pack. */
	static const size_t lens[] = { 0, 1, 7, 8, 9, 4096, 15000, 70000, 300000, 5 };
	struct pack_locator at[COUNT_OF(lens)];
	char part[3];
	struct hashes h;
	uint8_t *data;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(lens); i++)
		append_ok(w, i, lens[i], &at[i]);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(lens); i++) {
			assert_int_equal(at[i].len, lens[i]);
			assert_int_equal(at[i].offset % 8, 0);
			assert_true(sample_is_there(w->packs, i, &at[i]));
		}
		if (round == 0)
			sync_ok(w);
		check_walk(w->packs, COUNT_OF(lens), 0);
		if (round == 1)
			reopen(w);
	}
	assert_int_equal(at[0].pack, 1);
	assert_true(at[9].pack > at[7].pack);
	assert_true(file_exists(w->dir, "packs/0000000001.pack"));
	data = sample_new(5, 4096, &h);
	CHECK_OK(packs_read(w->packs, &at[5], 4093, part, 3, &err), &err);
	assert_memory_equal(part, data + 4093, 3);
	free(data);
	assert_int_equal(packs_read(w->packs, &at[5], 4094, part, 3, &err), -ERR_INVALID);
	at[5].pack = 77;
	assert_int_equal(packs_read(w->packs, &at[5], 0, part, 3, &err), -ERR_NOT_FOUND);
	at[9].len = 1000000;
	data = mem_must_zalloc(1000000);
	assert_int_equal(packs_read(w->packs, &at[9], 0, data, 1000000, &err), -ERR_CORRUPT);
	free(data);
}

/* An appended-to pack goes on after a restart; sealed ones are not touched again. */
static void test_goes_on(void **state)
{
	struct world *w = *state;
	struct pack_locator a, b;
	size_t n, m;
	uint8_t *before, *after;

	append_ok(w, 1, 100, &a);
	reopen(w);
	append_ok(w, 2, 100, &b);
	assert_int_equal(a.pack, b.pack);
	assert_int_equal(b.offset, a.offset + 104 + 64);
	append_ok(w, 3, 64 * 1024, &b);
	sync_ok(w);
	before = file_read(w->dir, "packs/0000000001.pack", &n);
	append_ok(w, 4, 10, &b);
	assert_int_equal(b.pack, 2);
	reopen(w);
	after = file_read(w->dir, "packs/0000000001.pack", &m);
	assert_int_equal(n, m);
	assert_memory_equal(before, after, n);
	free(before);
	free(after);
	check_walk(w->packs, 4, 0);
}

/* The last pack cut at every byte of its last record: the others stay, it goes, appends go on. */
static void test_cut(void **state)
{
	struct world *w = *state;
	struct pack_locator first, last, next;
	size_t n;
	uint8_t *whole;

	append_ok(w, 1, 333, &first);
	append_ok(w, 2, 90, &last);
	sync_ok(w);
	whole = file_read(w->dir, "packs/0000000001.pack", &n);
	assert_int_equal(n, last.offset + 96);
	for (size_t cut = last.offset - 64; cut <= n; cut++) {
		packs_close(w->packs);
		w->packs = NULL;
		file_write(w->dir, "packs/0000000001.pack", whole, cut);
		reopen(w);
		assert_true(sample_is_there(w->packs, 1, &first));
		check_walk(w->packs, cut == n ? 2 : 1, 0);
		append_ok(w, 3, 50, &next);
		assert_int_equal(next.offset, cut == n ? n + 64 : last.offset);
		sync_ok(w);
		assert_true(sample_is_there(w->packs, 3, &next));
		check_walk(w->packs, cut == n ? 3 : 2, 0);
	}
	free(whole);
}

/* Every bit of a sealed pack that is flipped is found, and named. */
static void test_flip_sealed(void **state)
{
	struct world *w = *state;
	struct pack_locator at[3];
	size_t n;
	uint8_t *whole;

	w->options.seal_bytes = 400;
	reopen(w);
	append_ok(w, 1, 61, &at[0]);
	append_ok(w, 2, 0, &at[1]);
	append_ok(w, 3, 200, &at[2]);
	sync_ok(w);
	whole = file_read(w->dir, "packs/0000000001.pack", &n);
	assert_int_equal(n, 40 + 64 + 64 + 64 + 64 + 200 + 56);
	packs_close(w->packs);
	w->packs = NULL;
	for (size_t i = 0; i < n; i++) {
		bool padding = i >= at[0].offset + 61 && i < at[0].offset + 64;
		struct walked walked;

		/* A damaged mark of the pack makes it look open, and it is marked again. */
		if (padding || (i >= 32 && i < 40))
			continue;
		whole[i] ^= (uint8_t)(1u << i % 8);
		file_write(w->dir, "packs/0000000001.pack", whole, n);
		whole[i] ^= (uint8_t)(1u << i % 8);
		reopen(w);
		walked = walk_all(w->packs);
		if (walked.bad == 0 || walked.bad_pack != 1)
			fail_msg("byte %zu: nothing found", i);
		if (i >= at[2].offset && i < at[2].offset + 200)
			assert_int_equal(walked.bad_offset, at[2].offset - 64);
		packs_close(w->packs);
		w->packs = NULL;
		free(file_read(w->dir, "packs/0000000001.pack", &n));
	}
	free(whole);
}

/* Damage in the middle of an open pack must not cost what comes after it. */
static void test_flip_open(void **state)
{
	struct world *w = *state;
	struct pack_locator at[4], next;
	size_t n;
	uint8_t *whole;

	for (size_t i = 0; i < 4; i++)
		append_ok(w, i, 100 + i, &at[i]);
	sync_ok(w);
	whole = file_read(w->dir, "packs/0000000001.pack", &n);
	for (size_t i = at[1].offset - 64; i < at[1].offset + 101; i++) {
		/* The mark is not under a checksum: the record counts, the walk finds the mark. */
		bool mark = i >= at[1].offset - 8 && i < at[1].offset;
		struct walked walked;

		packs_close(w->packs);
		w->packs = NULL;
		whole[i] ^= 0x10;
		file_write(w->dir, "packs/0000000001.pack", whole, n);
		whole[i] ^= 0x10;
		for (int round = 0; round < 2; round++) {
			reopen(w);
			walked = walk_all(w->packs);
			assert_int_equal(walked.records, 3);
			assert_int_equal(walked.bad, mark ? 1 : 0);
			assert_true(sample_is_there(w->packs, 0, &at[0]));
			assert_true(sample_is_there(w->packs, 2, &at[2]));
			assert_true(sample_is_there(w->packs, 3, &at[3]));
		}
		append_ok(w, 9, 10, &next);
		assert_int_equal(next.offset, n + 64);
	}
	free(whole);
}

/* A pack whose header is damaged holds what was promised: neither cut nor removed. */
static void test_header_damage(void **state)
{
	struct world *w = *state;
	struct pack_locator at, next;
	struct walked walked;
	struct err err;
	size_t n;
	uint8_t *whole;

	append_ok(w, 1, 100, &at);
	sync_ok(w);
	whole = file_read(w->dir, "packs/0000000001.pack", &n);
	packs_close(w->packs);
	w->packs = NULL;
	whole[21] ^= 1;
	file_write(w->dir, "packs/0000000001.pack", whole, n);
	reopen(w);
	assert_true(sample_is_there(w->packs, 1, &at));
	walked = walk_all(w->packs);
	assert_int_equal(walked.bad, 1);
	assert_int_equal(walked.bad_offset, 0);
	append_ok(w, 2, 100, &next);
	assert_int_equal(next.pack, 2);
	packs_close(w->packs);
	w->packs = NULL;

	/* A version from the future stops the start: guessing would do harm. */
	whole[21] ^= 1;
	whole[8] = 2;
	for (int i = 0; i < 4; i++)
		whole[28 + i] = (uint8_t)(crc32c(0, whole, 28) >> 8 * i);
	file_write(w->dir, "packs/0000000001.pack", whole, n);
	assert_int_equal(packs_open(&w->packs, w->io, &w->options, &err), -ERR_INVALID);
	assert_non_null(strstr(err.msg, "pack 1"));
	whole[8] = 1;
	for (int i = 0; i < 4; i++)
		whole[28 + i] = (uint8_t)(crc32c(0, whole, 28) >> 8 * i);
	file_write(w->dir, "packs/0000000001.pack", whole, n);
	free(whole);
	reopen(w);
	check_walk(w->packs, 2, 0);
}

static bool is_zero(struct packs *p, const struct pack_locator *at)
{
	uint8_t *got = mem_must_zalloc(at->len + 1);
	bool zero = packs_read(p, at, 0, got, at->len, NULL) == 0;

	for (uint64_t i = 0; i < at->len; i++)
		zero = zero && got[i] == 0;
	free(got);
	return zero;
}

static void test_erase(void **state)
{
	struct world *w = *state;
	static const size_t lens[] = { 100, 0, 30000, 20000, 300000, 10 };
	struct pack_locator at[COUNT_OF(lens)], wrong;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(lens); i++)
		append_ok(w, i, lens[i], &at[i]);
	sync_ok(w);
	for (size_t i = 0; i < COUNT_OF(lens) - 1; i++) {
		for (int twice = 0; twice < 2; twice++)
			CHECK_OK(packs_erase(w->packs, &at[i], &err), &err);
		assert_true(is_zero(w->packs, &at[i]));
		check_walk(w->packs, (uint32_t)(COUNT_OF(lens) - 1 - i), (uint32_t)(i + 1));
	}
	reopen(w);
	check_walk(w->packs, 1, COUNT_OF(lens) - 1);
	assert_true(sample_is_there(w->packs, 5, &at[5]));

	/* Only a record that is there as described is erased. */
	wrong = at[5];
	wrong.len++;
	assert_int_equal(packs_erase(w->packs, &wrong, &err), -ERR_CORRUPT);
	wrong = at[5];
	wrong.offset += 8;
	assert_int_equal(packs_erase(w->packs, &wrong, &err), -ERR_CORRUPT);
	wrong.offset = 3;
	assert_int_equal(packs_erase(w->packs, &wrong, &err), -ERR_CORRUPT);
	wrong.pack = 99;
	assert_int_equal(packs_erase(w->packs, &wrong, &err), -ERR_NOT_FOUND);
	assert_true(sample_is_there(w->packs, 5, &at[5]));
}

static bool can_punch(struct world *w)
{
	struct io_file *f;
	struct err err;
	bool can;

	CHECK_OK(w->io->open(w->io, "probe", O_RDWR | O_CREAT, &f, &err), &err);
	can = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;
	w->io->close(w->io, f);
	return can;
}

/* A sample that is read whole is the one that was stored, or damaged by name. */
static void test_read_whole(void **state)
{
	struct world *w = *state;
	struct pack_locator at[3], wrong;
	uint8_t got[2000], *want, *file;
	struct hashes h;
	struct err err;
	bool erased;
	size_t n;

	append_ok(w, 1, 61, &at[0]);
	append_ok(w, 2, 0, &at[1]);
	append_ok(w, 3, 200, &at[2]);
	sync_ok(w);
	for (int i = 0; i < 3; i++) {
		want = sample_new((uint64_t)i + 1, at[i].len, &h);
		CHECK_OK(packs_read_whole(w->packs, &at[i], got, &erased, &err), &err);
		assert_false(erased);
		assert_memory_equal(got, want, at[i].len);
		free(want);
	}
	wrong = at[2];
	wrong.len--;
	assert_int_equal(packs_read_whole(w->packs, &wrong, got, &erased, &err), -ERR_CORRUPT);
	wrong.pack = 99;
	assert_int_equal(packs_read_whole(w->packs, &wrong, got, &erased, &err), -ERR_NOT_FOUND);
	/* Every bit of the record but its mark. */
	file = file_read(w->dir, "packs/0000000001.pack", &n);
	for (uint64_t i = at[2].offset - 64; i < at[2].offset + 200; i++) {
		if (i >= at[2].offset - 8 && i < at[2].offset)
			continue;
		file[i] ^= (uint8_t)(1u << i % 8);
		file_write(w->dir, "packs/0000000001.pack", file, n);
		file[i] ^= (uint8_t)(1u << i % 8);
		if (packs_read_whole(w->packs, &at[2], got, &erased, &err) != -ERR_CORRUPT)
			fail_msg("byte %llu: nothing found", (unsigned long long)i);
	}
	file_write(w->dir, "packs/0000000001.pack", file, n);
	free(file);
	CHECK_OK(packs_read_whole(w->packs, &at[2], got, &erased, &err), &err);
	CHECK_OK(packs_erase(w->packs, &at[2], &err), &err);
	CHECK_OK(packs_read_whole(w->packs, &at[2], got, &erased, &err), &err);
	assert_true(erased);
}

/* The blocks of an erased sample go back to the file system. */
static void test_erase_frees(void **state)
{
	struct world *w = *state;
	struct pack_locator at, other;
	struct pack_file *f;
	struct stat before, after;
	struct err err;

	append_ok(w, 1, 2000000, &at);
	append_ok(w, 2, 10, &other);
	sync_ok(w);
	CHECK_OK(packs_get(w->packs, at.pack, &f, &err), &err);
	assert_int_equal(fcntl(pack_file_fd(f), F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fstat(pack_file_fd(f), &before), 0);
	CHECK_OK(packs_erase(w->packs, &at, &err), &err);
	assert_int_equal(fstat(pack_file_fd(f), &after), 0);
	pack_file_put(w->packs, f);
	assert_int_equal(before.st_size, after.st_size);
	if (can_punch(w))
		assert_true(after.st_blocks < before.st_blocks / 10);
}

static void test_streams(void **state)
{
	struct world *w = *state;
	static const struct {
		size_t len, piece;
		bool own;
	} rows[] = {
		{ 0, 1, false },         { 1, 1, false },         { 1000, 7, false },
		{ 16383, 4096, false },  { 16384, 4096, true },   { 16385, 100, true },
		{ 262144, 65536, true }, { 262145, 65536, true }, { 1000003, 10007, true },
	};
	struct pack_locator at[COUNT_OF(rows)];
	struct pack_stream *s;
	struct err err;
	uint32_t files;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CHECK_OK(sample_stream(w->packs, i, rows[i].len, rows[i].piece, &at[i], &err),
			 &err);
		assert_true(sample_is_there(w->packs, i, &at[i]));
		assert_true((at[i].offset == 104 && at[i].pack > 1) == rows[i].own);
	}
	sync_ok(w);
	check_walk(w->packs, COUNT_OF(rows), 0);
	files = files_in_packs(w);

	/* Given up: nothing stays. */
	CHECK_OK(pack_stream_new(&s, w->packs, &err), &err);
	for (int i = 0; i < 100; i++)
		CHECK_OK(pack_stream_add(s, w, sizeof *w, &err), &err);
	for (int i = 0; i < 10000; i++)
		CHECK_OK(pack_stream_add(s, w, sizeof *w, &err), &err);
	assert_int_equal(files_in_packs(w), files + 1);
	pack_stream_free(s);
	assert_int_equal(files_in_packs(w), files);
	pack_stream_free(NULL);

	/* A stop before the end: the temporary file goes at the next start. */
	file_write(w->dir, "packs/4294967295.tmp", "x", 1);
	reopen(w);
	assert_int_equal(files_in_packs(w), files);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_true(sample_is_there(w->packs, i, &at[i]));

	/* Middle-sized ones come from a file into the current pack. */
	w->options.own_pack_bytes = 4000000;
	w->options.seal_bytes = 10000000;
	reopen(w);
	CHECK_OK(sample_stream(w->packs, 50, 1000003, 10007, &at[0], &err), &err);
	CHECK_OK(sample_stream(w->packs, 51, 1000003, 10007, &at[1], &err), &err);
	assert_int_equal(at[0].pack, at[1].pack);
	assert_true(sample_is_there(w->packs, 50, &at[0]));
	assert_true(sample_is_there(w->packs, 51, &at[1]));
	check_walk(w->packs, COUNT_OF(rows) + 2, 0);
}

/* A large stream takes no memory that grows with it. */
static void test_stream_flat(void **state)
{
	struct world *w = *state;
	enum {
		PIECE = 1 << 20,
		PIECES = WEIR_SANITIZED ? 32 : 200
	};
	static uint8_t piece[PIECE];
	struct hasher *hasher = hasher_new();
	struct rusage before, after;
	struct pack_locator at;
	struct pack_stream *s;
	struct hashes h;
	struct err err;

	w->options = PACKS_OPTIONS_DEFAULT;
	w->options.reserve_bytes = 0;
	reopen(w);
	memset(piece, 'w', sizeof piece);
	CHECK_OK(pack_stream_new(&s, w->packs, &err), &err);
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < PIECES; i++) {
		piece[0] = (uint8_t)i;
		hasher_add(hasher, piece, PIECE);
		CHECK_OK(pack_stream_add(s, piece, PIECE, &err), &err);
	}
	hasher_end(hasher, &h);
	hasher_free(hasher);
	CHECK_OK(pack_stream_finish(s, &h, &at, &err), &err);
	sync_ok(w);
	check_walk(w->packs, 1, 0);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 8 * 1024);
	assert_int_equal(at.len, (uint64_t)PIECE * PIECES);
}

static void test_too_large(void **state)
{
	struct world *w = *state;
	struct pack_locator at;
	struct hashes h = { 0 };
	struct err err;

	assert_int_equal(packs_append(w->packs, &h, w, (size_t)LIMIT_SAMPLE_BYTES + 1, &at, &err),
			 -ERR_TOO_LARGE);
}

static void test_reserve(void **state)
{
	struct world *w = *state;
	struct pack_locator at, no;
	struct pack_stream *s;
	uint8_t *large;
	uint64_t avail;
	struct err err;

	append_ok(w, 1, 100, &at);
	sync_ok(w);
	CHECK_OK(packs_disk_free(w->packs, &avail, &err), &err);
	assert_true(avail > 0);
	w->options.reserve_bytes = UINT64_MAX / 2;
	reopen(w);
	assert_int_equal(sample_append(w->packs, 2, 100, &no, &err), -ERR_NO_SPACE);
	CHECK_OK(pack_stream_new(&s, w->packs, &err), &err);
	large = mem_must_zalloc(1 << 20);
	assert_int_equal(pack_stream_add(s, large, 1 << 20, &err), -ERR_NO_SPACE);
	free(large);
	assert_int_equal(pack_stream_add(s, w, 1, &err), -ERR_IO);
	pack_stream_free(s);
	assert_true(sample_is_there(w->packs, 1, &at));
	CHECK_OK(packs_erase(w->packs, &at, &err), &err);
}

/* More packs than descriptors are kept; one that is held stays open all the while. */
static void test_many_files(void **state)
{
	struct world *w = *state;
	enum {
		PACKS = 600
	};
	static struct pack_locator at[PACKS];
	struct pack_file *held;
	struct err err;
	unsigned fds = 0;
	DIR *d;

	w->options.seal_bytes = 1;
	reopen(w);
	for (size_t i = 0; i < PACKS; i++)
		append_ok(w, i, 10, &at[i]);
	sync_ok(w);
	CHECK_OK(packs_get(w->packs, at[0].pack, &held, &err), &err);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < PACKS; i++)
			assert_true(sample_is_there(w->packs, i, &at[i]));
	}
	assert_true(fcntl(pack_file_fd(held), F_GETFD) >= 0);
	d = opendir("/proc/self/fd");
	while (readdir(d))
		fds++;
	closedir(d);
	assert_in_range(fds, 500, 540);
	pack_file_put(w->packs, held);
	check_walk(w->packs, PACKS, 0);
}

struct many {
	struct world *w;
	uint64_t from;
	struct pack_locator at[400];
};

enum {
	MANY_THREADS = 8,
	MANY_EACH = 400
};

static size_t many_len(uint64_t n)
{
	return n % 50 == 0 ? 20000 : n % 7 == 0 ? 3000 : n % 100;
}

static void many_run(void *arg)
{
	struct many *m = arg;

	for (uint64_t i = 0; i < MANY_EACH; i++) {
		uint64_t n = m->from + i;
		struct err err;
		int rc = n % 3 ? sample_append(m->w->packs, n, many_len(n), &m->at[i], &err)
			       : sample_stream(m->w->packs, n, many_len(n), 999, &m->at[i], &err);

		if (rc == 0 && i % 4 == 0)
			rc = packs_sync(m->w->packs, &err);
		if (rc == 0 && !sample_is_there(m->w->packs, n, &m->at[i]))
			rc = err_set(&err, ERR_CORRUPT, "sample %llu", (unsigned long long)n);
		if (rc != 0) {
			print_error("%s\n", err.msg);
			abort();
		}
	}
}

static void test_threads(void **state)
{
	struct world *w = *state;
	static struct many many[MANY_THREADS];
	struct thread threads[MANY_THREADS] = { 0 };
	uint64_t syncs = w->io->sync_count;
	struct err err;

	for (size_t i = 0; i < MANY_THREADS; i++) {
		many[i] = (struct many){ .w = w, .from = i * MANY_EACH };
		CHECK_OK(thread_start(&threads[i], "append", many_run, &many[i], &err), &err);
	}
	for (size_t i = 0; i < 3; i++)
		(void)walk_all(w->packs);
	for (size_t i = 0; i < MANY_THREADS; i++)
		thread_join(&threads[i]);
	sync_ok(w);
	print_message("%llu syncs for %d asked, with %u files\n",
		      (unsigned long long)(w->io->sync_count - syncs), MANY_THREADS * MANY_EACH / 4,
		      files_in_packs(w));
	reopen(w);
	check_walk(w->packs, MANY_THREADS * MANY_EACH, 0);
	for (size_t i = 0; i < MANY_THREADS; i++) {
		for (uint64_t j = 0; j < MANY_EACH; j++)
			assert_true(sample_is_there(w->packs, i * MANY_EACH + j, &many[i].at[j]));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PACK_TEST(test_round),       PACK_TEST(test_goes_on),
		PACK_TEST(test_cut),         PACK_TEST(test_flip_sealed),
		PACK_TEST(test_flip_open),   PACK_TEST(test_header_damage),
		PACK_TEST(test_read_whole),  PACK_TEST(test_erase),
		PACK_TEST(test_erase_frees), PACK_TEST(test_streams),
		PACK_TEST(test_stream_flat), PACK_TEST(test_too_large),
		PACK_TEST(test_reserve),     PACK_TEST(test_many_files),
		PACK_TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
