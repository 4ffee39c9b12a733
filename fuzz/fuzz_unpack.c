#include "fuzz.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "unpack_walk_internal.h"

/*
 * Any bytes as a container. Whatever they are, what is told keeps its order, stays
 * within the limits, and the summary adds up.
 */
enum {
	ENTRIES_MAX = 40,
	ENTRY_BYTES_MAX = 4096,
	BYTES_MAX = 16384,
	CPU_MS = 500,
	SEED_BYTES_MAX = 1 << 20
};

struct told {
	uint64_t entries, bytes, entry_bytes;
	bool open; /* a file whose end has not come */
};

struct input {
	const uint8_t *data;
	size_t n;
	struct told told;
};

static ssize_t read_input(void *arg, void *room, size_t n, uint64_t offset)
{
	const struct input *in = arg;

	if (offset >= in->n)
		return 0;
	if (n > in->n - offset)
		n = in->n - (size_t)offset;
	memcpy(room, in->data + offset, n);
	return (ssize_t)n;
}

static void on_entry(void *arg, const struct unpack_entry *entry)
{
	struct told *t = &((struct input *)arg)->told;

	REQUIRE(!t->open);
	REQUIRE(entry->name.n <= UNPACK_NAME_MAX);
	REQUIRE(entry->kind <= UNPACK_OTHER);
	t->entries++;
	t->entry_bytes = 0;
	t->open = entry->kind == UNPACK_FILE;
}

static void on_bytes(void *arg, const void *p, size_t n)
{
	struct told *t = &((struct input *)arg)->told;
	const volatile char *byte = p;

	REQUIRE(t->open);
	if (n > 0)
		(void)(byte[0] + byte[n - 1]); /* all of it is there */
	t->entry_bytes += n;
	t->bytes += n;
}

static void on_end(void *arg, enum unpack_end how)
{
	struct told *t = &((struct input *)arg)->told;

	REQUIRE(t->open);
	REQUIRE(how < UNPACK_ENDS);
	t->open = false;
}

static void walk(const uint8_t *data, size_t n, bool is_stream, bool only_passwords)
{
	static const struct str passwords[] = { { "infected", 8 }, { "", 0 } };
	struct input in = { .data = data, .n = n };
	const struct walk_source source = { read_input, n, &in };
	const struct walk_sink sink = { on_entry, on_bytes, on_end, &in };
	const struct unpack_request request = {
		.limits = { .entries_max = ENTRIES_MAX,
			    .entry_bytes_max = ENTRY_BYTES_MAX,
			    .bytes_max = BYTES_MAX,
			    .cpu_ms = CPU_MS },
		.is_stream = is_stream,
		.only_passwords = only_passwords,
		.passwords = passwords,
		.password_count = sizeof passwords / sizeof passwords[0],
	};
	struct unpacked result = { 0 };

	REQUIRE(unpack_walk(&source, &request, &sink, &result));
	REQUIRE(!in.told.open);
	REQUIRE(result.entries == in.told.entries && result.bytes == in.told.bytes);
	REQUIRE(result.entries <= ENTRIES_MAX && result.bytes <= BYTES_MAX);
	REQUIRE(!only_passwords || result.entries == 0);
	REQUIRE((result.missing & ~(uint32_t)MISSING_ALL) == 0);
	REQUIRE(result.opened <= result.encrypted);
	for (const char *p = result.text; *p; p++)
		REQUIRE((unsigned char)*p >= ' ' && *p != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static bool prepared;

	if (!prepared)
		unpack_walk_prepare();
	prepared = true;
	walk(data, n, false, false);
	walk(data, n, true, false);
	walk(data, n, false, true);
	return 0;
}

/* ---- seeds: two files, a folder and a link in each format, and each compression ---- */

static void add(struct archive *a, const char *name, unsigned type, const char *bytes, size_t n)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, type);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_size(e, (la_int64_t)n);
	if (type == AE_IFLNK)
		archive_entry_set_symlink(e, "../../etc/passwd");
	if (archive_write_header(a, e) == ARCHIVE_OK && n > 0)
		(void)archive_write_data(a, bytes, n);
	archive_entry_free(e);
}

static size_t make(uint8_t *room, int format, int filter, const char *password)
{
	struct archive *a = archive_write_new();
	size_t used = 0;

	REQUIRE(archive_write_set_format(a, format) <= ARCHIVE_OK);
	(void)archive_write_add_filter(a, filter);
	if (password) {
		(void)archive_write_set_options(a, "zip:encryption=aes256");
		(void)archive_write_set_passphrase(a, password);
	}
	(void)archive_write_set_bytes_per_block(a, 0);
	if (archive_write_open_memory(a, room, SEED_BYTES_MAX, &used) == ARCHIVE_OK) {
		add(a, "a/folder", AE_IFDIR, NULL, 0);
		add(a, "a/folder/first.txt", AE_IFREG, "some text, some text, some text", 31);
		add(a, "../second", AE_IFREG, "MZ", 2);
		if (format != ARCHIVE_FORMAT_ZIP)
			add(a, "link", AE_IFLNK, NULL, 0);
	}
	(void)archive_write_close(a);
	archive_write_free(a);
	return used;
}

void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const int formats[] = { ARCHIVE_FORMAT_TAR_USTAR,
				       ARCHIVE_FORMAT_TAR_GNUTAR,
				       ARCHIVE_FORMAT_TAR_PAX_RESTRICTED,
				       ARCHIVE_FORMAT_ZIP,
				       ARCHIVE_FORMAT_CPIO_SVR4_NOCRC,
				       ARCHIVE_FORMAT_7ZIP,
				       ARCHIVE_FORMAT_ISO9660,
				       ARCHIVE_FORMAT_AR_BSD,
				       ARCHIVE_FORMAT_XAR };
	static const int filters[] = { ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_BZIP2,
				       ARCHIVE_FILTER_XZ,   ARCHIVE_FILTER_ZSTD,
				       ARCHIVE_FILTER_LZ4,  ARCHIVE_FILTER_COMPRESS };
	uint8_t *room = mem_must_zalloc(SEED_BYTES_MAX);
	size_t n;

	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
		n = make(room, formats[i], ARCHIVE_FILTER_NONE, NULL);
		if (n > 0 && n < SEED_BYTES_MAX / 2)
			run(room, n);
	}
	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
		n = make(room, ARCHIVE_FORMAT_TAR_USTAR, filters[i], NULL);
		if (n > 0)
			run(room, n);
	}
	n = make(room, ARCHIVE_FORMAT_ZIP, ARCHIVE_FILTER_NONE, "infected");
	run(room, n);
	n = make(room, ARCHIVE_FORMAT_ZIP, ARCHIVE_FILTER_NONE, "unknown");
	run(room, n);
	free(room);
}
