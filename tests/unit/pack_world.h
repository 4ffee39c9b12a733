#ifndef PACK_WORLD_H
#define PACK_WORLD_H
/* What tests of packs share: packs over a folder, samples by number, and a walk's outcome. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/pack.h"

/* Small packs without a reserve, so that tests cross every border quickly. */
#define PACK_TEST_OPTIONS ((struct packs_options){ 64 * 1024, 16 * 1024, 0 })

/* Sample number n of `len` bytes: repeatable, and different for each n. */
static inline uint8_t *sample_new(uint64_t n, size_t len, struct hashes *ret)
{
	struct rand_seq r = { n * 0x9e3779b97f4a7c15ull + 1 };
	uint8_t *p = mem_must_zalloc(len + 8);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = rand_next(&r);

		memcpy(p + i, &v, 8);
	}
	memset(ret, 0, sizeof *ret);
	sha256_of(p, len, ret->sha256);
	return p;
}

static inline int sample_append(struct packs *p, uint64_t n, size_t len, struct pack_locator *ret,
				struct err *err)
{
	struct hashes h;
	uint8_t *data = sample_new(n, len, &h);
	int rc = packs_append(p, &h, data, len, ret, err);

	free(data);
	return rc;
}

static inline int sample_stream(struct packs *p, uint64_t n, size_t len, size_t piece,
				struct pack_locator *ret, struct err *err)
{
	struct hashes h;
	uint8_t *data = sample_new(n, len, &h);
	struct pack_stream *s;
	int rc = pack_stream_new(&s, p, err);

	for (size_t i = 0; i < len && rc == 0; i += piece) {
		rc = pack_stream_add(s, data + i, len - i < piece ? len - i : piece, err);
		if (rc != 0)
			pack_stream_free(s);
	}
	if (rc == 0)
		rc = pack_stream_finish(s, &h, ret, err);
	free(data);
	return rc;
}

/* Is sample n whole at that place? */
static inline bool sample_is_there(struct packs *p, uint64_t n, const struct pack_locator *at)
{
	struct hashes h;
	uint8_t *want = sample_new(n, at->len, &h);
	uint8_t *got = mem_must_zalloc(at->len + 1);
	bool same =
		packs_read(p, at, 0, got, at->len, NULL) == 0 && memcmp(got, want, at->len) == 0;

	free(got);
	free(want);
	return same;
}

struct walked {
	uint32_t records;
	uint32_t erased;
	uint32_t bad;
	uint32_t bad_pack;
	uint64_t bad_offset;
	char what[128];
};

static inline bool walked_each(const struct pack_record *record, void *arg)
{
	struct walked *w = arg;

	w->records += !record->erased;
	w->erased += record->erased;
	return true;
}

static inline void walked_bad(uint32_t pack, uint64_t offset, const char *what, void *arg)
{
	struct walked *w = arg;

	if (w->bad++ == 0) {
		w->bad_pack = pack;
		w->bad_offset = offset;
		snprintf(w->what, sizeof w->what, "%s", what);
	}
}

static inline struct walked walk_all(struct packs *p)
{
	struct walked w = { 0 };
	struct err err;

	CHECK_OK(packs_walk(p, true, walked_each, walked_bad, &w, &err), &err);
	return w;
}

static inline void check_walk(struct packs *p, uint32_t records, uint32_t erased)
{
	struct walked w = walk_all(p);

	if (w.bad != 0)
		fail_msg("pack %u at %llu: %s", w.bad_pack, (unsigned long long)w.bad_offset,
			 w.what);
	assert_int_equal(w.records, records);
	assert_int_equal(w.erased, erased);
}

static inline uint8_t *file_read(const char *dir, const char *name, size_t *ret_n)
{
	char path[512];
	uint8_t *p;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("cannot open %s", path);
	fseek(f, 0, SEEK_END);
	*ret_n = (size_t)ftell(f);
	rewind(f);
	p = mem_must_zalloc(*ret_n + 1);
	if (fread(p, 1, *ret_n, f) != *ret_n)
		fail_msg("cannot read %s", path);
	fclose(f);
	return p;
}

static inline void file_write(const char *dir, const char *name, const void *p, size_t n)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0)
		fail_msg("cannot write %s", path);
}

static inline bool file_exists(const char *dir, const char *name)
{
	char path[512];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

struct world {
	char *dir;
	struct io *io;
	struct packs_options options;
	struct packs *packs;
};

static inline void reopen(struct world *w)
{
	struct err err;

	packs_close(w->packs);
	w->packs = NULL;
	CHECK_OK(packs_open(&w->packs, w->io, &w->options, &err), &err);
}

static inline int set_up(void **state)
{
	struct world *w = mem_must_zalloc(sizeof *w);
	struct err err;

	w->dir = test_dir_new();
	w->options = PACK_TEST_OPTIONS;
	CHECK_OK(io_posix_new(&w->io, w->dir, &err), &err);
	reopen(w);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	packs_close(w->packs);
	io_posix_free(w->io);
	test_dir_remove(w->dir);
	free(w);
	return 0;
}

static inline void append_ok(struct world *w, uint64_t n, size_t len, struct pack_locator *ret)
{
	struct err err;

	CHECK_OK(sample_append(w->packs, n, len, ret, &err), &err);
}

static inline void sync_ok(struct world *w)
{
	struct err err;

	CHECK_OK(packs_sync(w->packs, &err), &err);
}

#define PACK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#endif
