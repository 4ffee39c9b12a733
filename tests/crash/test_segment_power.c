#include "index_world.h"

#include "index/merge.h"
#include "simdisk.h"

/*
 * Segments on a disk that loses power while one is written and while two are merged: what
 * was acknowledged is there and whole; what was not is whole or not there at all, its
 * name included. The inputs of a merge are as they were.
 */
enum {
	LOTS = 40,       /* for each place where the power goes */
	WRITE_SYNCS = 2, /* of a segment: its file and its folder */
	DOCS = 12
};

static int write_docs(struct io *io, const char *name, uint32_t first, struct err *err)
{
	struct segment_writer_options options = { 1 << 30, 1, SIGNATURE_FILL_DEFAULT };
	AUTO(segment_writer_drop) struct segment_writer *w = segment_writer_new(&options);
	AUTO(signer_drop) struct signer *signer = signer_new(SIGNATURE_FILL_DEFAULT);
	uint64_t bytes;

	for (uint32_t i = first; i < first + DOCS; i++) {
		struct sample s = sample_new(100 + i * 37, i % SAMPLE_KINDS, i);
		struct segment_doc doc = sample_doc(&s, i);
		struct signature *sig;
		int rc = signer_sign(signer, s.p, s.n, &sig, err);

		free(s.p);
		TRY(rc);
		TRY(segment_writer_add(w, &doc, sig, NULL, 0, err));
	}
	return segment_writer_write(w, io, name, first, first + DOCS - 1, &bytes, err);
}

static int merge_two(struct io *io, const char *name, struct err *err)
{
	struct segment *segs[2] = { NULL, NULL };
	uint64_t bytes;
	int rc = segment_open(&segs[0], io, "a.seg", err);

	if (rc == 0)
		rc = segment_open(&segs[1], io, "b.seg", err);
	if (rc == 0)
		rc = segment_merge(io, segs, 2, name, NULL, &bytes, err);
	segment_unref(segs[0]);
	segment_unref(segs[1]);
	return rc;
}

static void never_bad(const char *section, uint64_t offset, void *arg)
{
	(void)arg;
	fail_msg("%s at %llu is damaged", section, (unsigned long long)offset);
}

/* true: it is there, and whole. false: there is no such file. */
static bool survived(struct io *io, const char *name, uint32_t docs)
{
	struct segment *seg;
	struct err err;
	int rc = segment_open(&seg, io, name, &err);

	if (rc == -ERR_NOT_FOUND)
		return false;
	CHECK_OK(rc, &err);
	assert_int_equal(segment_docs(seg), docs);
	CHECK_OK(segment_check(seg, never_bad, NULL, NULL, &err), &err);
	segment_unref(seg);
	return true;
}

/* Lots and a place where the power goes; how many of the new segments were there afterwards. */
static unsigned lose_power(uint64_t seed, uint64_t at_sync)
{
	struct simdisk_options options = { .seed = seed, .crash_at_sync = at_sync };
	char *dir = test_dir_new();
	struct simdisk *d;
	struct io *after;
	struct err err;
	bool has_a, has_b, has_both;
	int a, b, both;

	CHECK_OK(simdisk_new(&d, dir, &options, &err), &err);
	a = write_docs(simdisk_io(d), "a.seg", 0, &err);
	b = a == 0 ? write_docs(simdisk_io(d), "b.seg", DOCS, &err) : -1;
	both = b == 0 ? merge_two(simdisk_io(d), "both.seg", &err) : -1;
	assert_int_equal(both == 0, at_sync > 3 * WRITE_SYNCS);
	CHECK_OK(simdisk_crash_image(d, &err), &err);
	CHECK_OK(io_posix_new(&after, simdisk_durable(d), &err), &err);
	has_a = survived(after, "a.seg", DOCS);
	has_b = survived(after, "b.seg", DOCS);
	has_both = survived(after, "both.seg", 2 * DOCS);
	assert_true(has_a || a != 0);
	assert_true(has_b || b != 0);
	assert_true(has_both || both != 0);
	io_posix_free(after);
	simdisk_free(d);
	test_dir_remove(dir);
	return has_a + has_b + has_both;
}

static void test_power(void **state)
{
	unsigned least = UINT32_MAX;
	unsigned most = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= LOTS; seed++) {
		for (uint64_t at = 1; at <= 3 * WRITE_SYNCS + 1; at++) {
			unsigned there = lose_power(seed, at);

			least = there < least ? there : least;
			most = there > most ? there : most;
		}
	}
	/* The lots reached both ends. */
	assert_int_equal(least, 0);
	assert_int_equal(most, 3);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
