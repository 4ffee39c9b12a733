#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "format_internal.h"
#include "store/pack.h"

/*
 * A pack file of any bytes, opened, walked, appended to and opened again. The
 * first byte says which checksums are put right first: hostile bytes would
 * hardly come past them, damaged disks and our own mistakes do.
 */
enum {
	FIX_HEADER = 1,
	FIX_RECORDS = 2,
	FIX_FOOTER = 4,
	FIX_ALL = 7
};

static char dir[256];
static char file[400];

static void clean_up(void)
{
	char path[300];

	for (unsigned i = 1; i < 4; i++) {
		snprintf(path, sizeof path, "%s/packs/%010u.pack", dir, i);
		(void)unlink(path);
	}
	snprintf(path, sizeof path, "%s/packs", dir);
	(void)rmdir(path);
	(void)rmdir(dir);
}

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[300];

	if (dir[0])
		return;
	snprintf(dir, sizeof dir, "%s/weir-fuzz-XXXXXX", tmp ? tmp : "/tmp");
	REQUIRE(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/packs", dir);
	REQUIRE(mkdir(path, 0700) == 0);
	snprintf(file, sizeof file, "%s/0000000001.pack", path);
	(void)atexit(clean_up);
}

static uint32_t bound(const uint8_t *pack, uint64_t offset, size_t n)
{
	uint8_t place[20];

	memcpy(place, pack + 12, 4);
	memcpy(place + 4, pack + 20, 8);
	put_le64(place + 12, offset);
	return crc32c(crc32c(0, place, sizeof place), pack + offset, n);
}

static void fix(uint8_t *p, size_t n, unsigned how)
{
	uint64_t at = PACK_HEADER_BYTES;

	if (n < PACK_HEADER_BYTES)
		return;
	if (how & FIX_HEADER) {
		put_le32(p + 12, 1);
		put_le32(p + 28, crc32c(0, p, 28));
	}
	while ((how & FIX_RECORDS) && n - at >= PACK_RECORD_BYTES &&
	       get_le32(p + at) == PACK_RECORD_MAGIC) {
		uint64_t len = get_le64(p + at + 8);

		if (len < n - at - PACK_RECORD_BYTES)
			put_le32(p + at + 48, crc32c(0, p + at + PACK_RECORD_BYTES, len));
		put_le32(p + at + 52, bound(p, at, 52));
		if (len >= n || record_span(len) > n - at)
			break;
		at += record_span(len);
	}
	if ((how & FIX_FOOTER) && n >= PACK_HEADER_BYTES + PACK_FOOTER_BYTES) {
		at = n - PACK_FOOTER_BYTES;
		put_le32(p + n - 4, bound(p, at, 52));
	}
}

struct seen {
	uint64_t records, erased, bad;
	struct pack_locator last;
};

static bool each(const struct pack_record *record, void *arg)
{
	struct seen *s = arg;

	s->records += !record->erased;
	s->erased += record->erased;
	s->last = record->at;
	return true;
}

static void bad(uint32_t pack, uint64_t offset, const char *what, void *arg)
{
	(void)offset;
	REQUIRE(pack >= 1 && what[0] != '\0');
	((struct seen *)arg)->bad++;
}

static struct seen walk(struct packs *p)
{
	struct seen s = { 0 };
	struct err err;

	REQUIRE(packs_walk(p, true, each, bad, &s, &err) == 0);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct packs_options options = { 4096, 1024, 0 };
	struct seen before, after;
	struct pack_locator at;
	struct hashes h = { 0 };
	struct packs *p;
	struct io *io;
	struct err err;
	uint8_t *bytes, got[3];
	FILE *f;

	if (n < 1 || n > 65536)
		return 0;
	set_up();
	bytes = mem_must_dup(data, n);
	fix(bytes + 1, n - 1, data[0]);
	f = fopen(file, "wb");
	REQUIRE(f && fwrite(bytes + 1, 1, n - 1, f) == n - 1 && fclose(f) == 0);
	free(bytes);
	REQUIRE(io_posix_new(&io, dir, &err) == 0);
	if (packs_open(&p, io, &options, &err) != 0) {
		io_posix_free(io);
		return 0;
	}
	before = walk(p);
	/* Whatever there was: it takes samples, and they are there after the next start. */
	sha256_of("abc", 3, h.sha256);
	REQUIRE(packs_append(p, &h, "abc", 3, &at, &err) == 0);
	REQUIRE(packs_sync(p, &err) == 0);
	packs_close(p);
	REQUIRE(packs_open(&p, io, &options, &err) == 0);
	after = walk(p);
	REQUIRE(after.records == before.records + 1);
	REQUIRE(after.erased == before.erased && after.bad == before.bad);
	REQUIRE(packs_read(p, &at, 0, got, 3, &err) == 0 && memcmp(got, "abc", 3) == 0);
	REQUIRE(packs_erase(p, &at, &err) == 0);
	packs_close(p);
	io_posix_free(io);
	for (unsigned i = 1; i < 4; i++) {
		char path[300];

		snprintf(path, sizeof path, "%s/packs/%010u.pack", dir, i);
		(void)unlink(path);
	}
	return 0;
}

/* A pack with an alive, an empty, an erased and a broken record; sealed or not. */
void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const uint64_t marks[] = { PACK_MARK_NONE, PACK_MARK_NONE, PACK_MARK_ERASED,
					  PACK_MARK_BROKEN };
	static const uint64_t lens[] = { 20, 0, 5, 100 };

	for (unsigned how = 0; how <= FIX_ALL; how++) {
		struct pack_header header = { .id = { .number = 1 } };
		uint8_t pack[1024] = { (uint8_t)how };
		uint64_t at = PACK_HEADER_BYTES;
		struct pack_chain chain = { 0 };
		struct pack_footer footer;
		uint8_t *p = pack + 1;

		header.mark = how & 1 ? PACK_MARK_SEALED : PACK_MARK_NONE;
		pack_header_encode(&header, p);
		for (unsigned i = 0; i < 4; i++) {
			struct record_header h = { .len = lens[i], .mark = marks[i] };

			memset(p + at + PACK_RECORD_BYTES, i == 2 ? 0 : 'x', lens[i]);
			h.data_crc = crc32c(0, p + at + PACK_RECORD_BYTES, lens[i]);
			sha256_of(p + at + PACK_RECORD_BYTES, lens[i], h.sha256);
			record_header_encode(&h, &header.id, at, p + at);
			pack_chain_add(&chain, &h);
			at += record_span(lens[i]);
		}
		run(pack, 1 + at);
		footer.count = chain.count;
		memcpy(footer.root, chain.root, SHA256_BYTES);
		pack_footer_encode(&footer, &header.id, at, p + at);
		run(pack, 1 + at + PACK_FOOTER_BYTES);
	}
}
