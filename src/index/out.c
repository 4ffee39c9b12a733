#include "out_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"

enum {
	BUFFER_BYTES = 1 << 20, /* a multiple of pages */
	SUMS_FIRST = 1024
};

struct out {
	struct io *io;
	struct io_file *file;
	char *path; /* owned, as all below */
	char *tmp;  /* NULL once it has its own name */
	uint8_t *buffer;
	size_t buffered;
	uint64_t at;    /* of the file, behind the buffer */
	uint32_t *sums; /* of all whole pages before the buffer */
	size_t sums_n;
	size_t sums_cap;
	enum format_section section;
	uint64_t section_at;
	struct format_extent sections[SECTION_COUNT];
	uint8_t salt[FORMAT_SALT_BYTES];
};

static void out_close(struct out *o)
{
	if (o->file)
		o->io->close(o->io, o->file);
	o->file = NULL;
}

void out_drop(struct out **po)
{
	struct out *o = *po;

	if (!o)
		return;
	out_close(o);
	/* What is left after a failure here is removed with other *.tmp at the next start. */
	if (o->tmp)
		(void)o->io->unlink(o->io, o->tmp, NULL);
	free(o->path);
	free(o->tmp);
	free(o->buffer);
	free(o->sums);
	free(o);
	*po = NULL;
}

int out_open(struct out **ret, struct io *io, const char *path, struct err *err)
{
	AUTO(out_drop) struct out *o = mem_must_zalloc(sizeof *o);
	char *tmp = NULL;

	o->io = io;
	o->path = mem_must_strdup(path);
	o->buffer = mem_must_zalloc(BUFFER_BYTES);
	rand_bytes(o->salt, sizeof o->salt);
	tmp = mem_must_zalloc(strlen(path) + sizeof ".tmp");
	memcpy(tmp, path, strlen(path));
	memcpy(tmp + strlen(path), ".tmp", sizeof ".tmp");
	o->tmp = tmp;
	TRY(io->open(io, tmp, O_RDWR | O_CREAT | O_TRUNC, &o->file, err));
	/* The first page is the header's, written last. */
	o->buffered = FORMAT_PAGE_BYTES;
	o->section = SECTION_COUNT;
	*ret = STEAL(o);
	return 0;
}

static void sum_pages(struct out *o, size_t n)
{
	size_t pages = n / FORMAT_PAGE_BYTES;

	REQUIRE(n % FORMAT_PAGE_BYTES == 0 && o->at % FORMAT_PAGE_BYTES == 0);
	if (o->sums_n + pages > o->sums_cap) {
		o->sums_cap = o->sums_cap ? 2 * o->sums_cap : SUMS_FIRST;
		mem_must_grow((void **)&o->sums, o->sums_cap, sizeof *o->sums);
	}
	for (size_t i = 0; i < pages; i++)
		o->sums[o->sums_n + i] =
			format_sum(o->salt, o->sums_n + i, o->buffer + i * FORMAT_PAGE_BYTES,
				   FORMAT_PAGE_BYTES);
	o->sums_n += pages;
}

/* What is buffered: whole pages, or all that remains of a file. */
static int flush(struct out *o, bool with_sums, struct err *err)
{
	if (with_sums)
		sum_pages(o, o->buffered);
	TRY(o->io->pwrite(o->io, o->file, o->buffer, o->buffered, o->at, err));
	o->at += o->buffered;
	o->buffered = 0;
	return 0;
}

static int add(struct out *o, const uint8_t *p, size_t n, bool with_sums, struct err *err)
{
	while (n > 0) {
		size_t part = BUFFER_BYTES - o->buffered;

		part = part < n ? part : n;
		if (p)
			memcpy(o->buffer + o->buffered, p, part);
		else
			memset(o->buffer + o->buffered, 0, part);
		o->buffered += part;
		p = p ? p + part : NULL;
		n -= part;
		if (o->buffered == BUFFER_BYTES)
			TRY(flush(o, with_sums, err));
	}
	return 0;
}

int out_add(struct out *o, const void *p, size_t n, struct err *err)
{
	REQUIRE(p || n == 0);
	return n == 0 ? 0 : add(o, p, n, true, err);
}

uint64_t out_bytes(const struct out *o)
{
	return o->at + o->buffered;
}

uint64_t out_at(const struct out *o)
{
	return out_bytes(o) - o->section_at;
}

int out_pad(struct out *o, uint64_t align, struct err *err)
{
	uint64_t at = out_at(o);

	return add(o, NULL, (size_t)(round_up(at, align) - at), true, err);
}

int out_section(struct out *o, enum format_section s, struct err *err)
{
	REQUIRE(s == (o->section == SECTION_COUNT ? SECTION_DOCS : o->section + 1));
	if (o->section != SECTION_COUNT)
		o->sections[o->section] = (struct format_extent){ o->section_at, out_at(o) };
	o->section_at = 0;
	TRY(out_pad(o, s >= SECTION_ROWS ? FORMAT_PAGE_BYTES : 16, err));
	o->section_at = o->at + o->buffered;
	o->section = s;
	return 0;
}

/* The header's page, which the buffer no longer has or has not written yet. */
static int put_header(struct out *o, struct format_header *h, struct err *err)
{
	uint8_t page[FORMAT_PAGE_BYTES] = { 0 };

	memcpy(h->salt, o->salt, sizeof h->salt);
	memcpy(h->sections, o->sections, sizeof h->sections);
	format_header_encode(h, page);
	REQUIRE(o->at > 0 && o->sums_n > 0);
	o->sums[0] = format_sum(o->salt, 0, page, sizeof page);
	return o->io->pwrite(o->io, o->file, page, sizeof page, 0, err);
}

/* Checksums and footer behind all whole pages. */
static int put_end(struct out *o, struct format_header *h, struct err *err)
{
	uint8_t footer[FORMAT_FOOTER_BYTES];
	uint32_t crc = format_sum(o->salt, FORMAT_SUM_CHECKS, "", 0);
	uint8_t four[4];

	for (size_t i = 0; i < o->sums_n; i++) {
		put_le32(four, o->sums[i]);
		crc = crc32c(crc, four, sizeof four);
		TRY(add(o, four, sizeof four, false, err));
	}
	format_footer_encode(h, o->at + o->buffered + sizeof footer, crc, footer);
	TRY(add(o, footer, sizeof footer, false, err));
	return flush(o, false, err);
}

/* Folder of a path; "" is the root. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return str_dup(str_make(path, slash ? (size_t)(slash - path) : 0));
}

static int make_durable(struct out *o, struct err *err)
{
	AUTO(mem_drop) char *folder = folder_of(o->path);
	int rc;

	TRY(o->io->sync(o->io, o->file, err));
	out_close(o);
	TRY(o->io->rename(o->io, o->tmp, o->path, err));
	rc = o->io->sync_dir(o->io, folder, err);
	/* Its name may or may not outlive a crash; what failed is not there. */
	mem_drop(&o->tmp);
	if (rc != 0)
		(void)o->io->unlink(o->io, o->path, NULL);
	return rc;
}

int out_finish(struct out *o, struct format_header *h, uint64_t *ret_bytes, struct err *err)
{
	TRY(out_section(o, SECTION_CHECKS, err));
	REQUIRE(o->buffered % FORMAT_PAGE_BYTES == 0);
	if (o->buffered > 0)
		TRY(flush(o, true, err));
	o->sections[SECTION_CHECKS] = (struct format_extent){ o->at, 4ull * o->sums_n };
	TRY(put_header(o, h, err));
	TRY(put_end(o, h, err));
	*ret_bytes = o->at;
	return make_durable(o, err);
}
