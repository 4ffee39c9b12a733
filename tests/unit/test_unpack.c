/*
 * Containers of every kind opened in real, confined children: what is told, what is
 * cut, and that nothing hostile does more than damage itself.
 */
#include "scan_group.h"
#include "archive_fixture.h"
#include "scan/container.h"
#include "scan/unpack.h"

#define ROWS(a) (sizeof(a) / sizeof((a)[0]))

/* What came out: a line for each entry, "KIND name bytes-or-count END\n". */
struct told {
	struct buf text;
	struct buf bytes; /* of the file at hand */
	unsigned files;
	int fail_after; /* entries; then the callback fails */
};

static int on_entry(void *arg, const struct unpack_entry *entry, struct err *err)
{
	static const char kinds[] = "fdlo";
	struct told *t = arg;

	if (t->fail_after > 0 && --t->fail_after == 0)
		return err_set(err, ERR_NO_SPACE, "the disk is full");
	buf_addf(&t->text, "%c%s " STR_FMT, kinds[entry->kind], entry->encrypted ? "*" : "",
		 STR_ARG(entry->name));
	if (entry->kind != UNPACK_FILE)
		buf_add_c(&t->text, '\n');
	buf_reset(&t->bytes);
	t->files += entry->kind == UNPACK_FILE;
	return 0;
}

static int on_bytes(void *arg, const void *p, size_t n, struct err *err)
{
	struct told *t = arg;

	(void)err;
	buf_add(&t->bytes, p, n);
	return 0;
}

static int on_end(void *arg, enum unpack_end how, struct err *err)
{
	static const char *const ends[] = { "whole", "damaged", "cut", "encrypted" };
	struct told *t = arg;

	(void)err;
	if (t->bytes.n < 100)
		buf_addf(&t->text, " '" STR_FMT "' %s\n", STR_ARG(buf_str(&t->bytes)), ends[how]);
	else
		buf_addf(&t->text, " %zu %s\n", t->bytes.n, ends[how]);
	return 0;
}

static const struct unpack_calls calls = { on_entry, on_bytes, on_end };
static const struct unpack_limits roomy = { 1000, 8 << 20, 16 << 20, 10000, 20000 };

static int unpack_in(struct scan_child *child, const void *bytes, size_t n,
		     const struct unpack_request *request, struct told *told, struct unpacked *ret,
		     struct err *err)
{
	struct scan_sample sample = sample_of(bytes, n);

	told->text = BUF_INIT(1 << 20);
	told->bytes = BUF_INIT(32 << 20);
	int rc = scan_unpack(child, &sample, request, &calls, told, ret, err);

	close(sample.fd);
	return rc;
}

static void told_release(struct told *t)
{
	buf_release(&t->text);
	buf_release(&t->bytes);
}

/* Opened, and exactly this is told. */
static void check(const char *row, const struct made *made, const struct unpack_request *request,
		  const char *wanted, uint32_t missing)
{
	struct scan_child *child = take(pool);
	struct told told = { .files = 0 };
	struct unpacked result;
	struct err err = { 0 };

	if (made->bytes == NULL)
		fail_msg("%s: cannot be made", row);
	if (unpack_in(child, made->bytes, made->n, request, &told, &result, &err) != 0)
		fail_msg("%s: %s", row, err.msg);
	if (wanted != NULL && !str_eq_z(buf_str(&told.text), wanted))
		fail_msg("%s: told\n%s (%s)", row, buf_str(&told.text).p, result.text);
	if (result.missing != missing)
		fail_msg("%s: missing %u, not %u (%s)", row, result.missing, missing, result.text);
	told_release(&told);
	scan_child_give(pool, child);
}

/* What remains of a damaged one: anything may come out, the child lives on. */
static void try_damaged(const char *row, struct scan_child **child, const char *bytes, size_t n)
{
	const struct str passwords[] = { STR("infected") };
	const struct unpack_request request = {
		.limits = { 100, 1 << 20, 2 << 20, 3000, 20000 },
		.is_stream = true,
		.passwords = passwords,
		.password_count = 1,
	};
	struct told told = { .files = 0 };
	struct unpacked result;
	struct err err = { 0 };

	if (unpack_in(*child, bytes, n, &request, &told, &result, &err) != 0)
		fail_msg("%s of %zu bytes: %s", row, n, err.msg);
	told_release(&told);
	if (scan_child_is_used_up(*child)) {
		scan_child_give(pool, *child);
		*child = take(pool);
	}
}

static const struct member two[] = { { "one.txt", "first", 5, 0, NULL },
				     { "dir/two.txt", "second", 6, 0, NULL } };

static void every_format_is_opened(void **state)
{
	static const struct {
		const char *name;
		struct recipe recipe;
		const char *type;
		bool is_stream;
		const char *wanted;
	} rows[] = {
		{ "zip", { .format = "zip" }, "ZIP", false, NULL },
		{ "zip stored",
		  { .format = "zip", .options = "zip:compression=store" },
		  "ZIP",
		  false,
		  NULL },
		{ "7z", { .format = "7zip" }, "7ZIP", false, NULL },
		{ "7z bzip2",
		  { .format = "7zip", .options = "7zip:compression=bzip2" },
		  "7ZIP",
		  false,
		  NULL },
		{ "tar", { .format = "ustar" }, "TAR", false, NULL },
		{ "pax", { .format = "pax" }, "TAR", false, NULL },
		{ "gnutar", { .format = "gnutar" }, "TAR", false, NULL },
		{ "tar.gz", { .format = "ustar", .filter = "gzip" }, "GZIP", true, NULL },
		{ "tar.bz2", { .format = "ustar", .filter = "bzip2" }, "BZIP2", true, NULL },
		{ "tar.xz", { .format = "ustar", .filter = "xz" }, "XZ", true, NULL },
		{ "tar.lzma", { .format = "ustar", .filter = "lzma" }, "LZMA", true, NULL },
		{ "tar.lz", { .format = "ustar", .filter = "lzip" }, "LZIP", true, NULL },
		{ "tar.zst", { .format = "ustar", .filter = "zstd" }, "ZSTD", true, NULL },
		{ "tar.lz4", { .format = "ustar", .filter = "lz4" }, "LZ4", true, NULL },
		{ "tar.Z", { .format = "ustar", .filter = "compress" }, "COMPRESS", true, NULL },
		{ "cpio", { .format = "cpio" }, "CPIO", false, NULL },
		{ "newc", { .format = "newc" }, "CPIO", false, NULL },
		{ "xar", { .format = "xar" }, "XAR", false, NULL },
		{ "iso",
		  { .format = "iso9660" },
		  "ISO",
		  false,
		  "d .\nd dir\nf one.txt 'first' whole\nf dir/two.txt 'second' whole\n" },
		{ "ar",
		  { .format = "arbsd" },
		  "AR",
		  false,
		  "f one.txt 'first' whole\nf two.txt 'second' whole\n" },
	};
	static const char wanted[] = "f one.txt 'first' whole\nf dir/two.txt 'second' whole\n";

	(void)state;
	for (size_t i = 0; i < ROWS(rows); i++) {
		struct made made = archive_make(&rows[i].recipe, two, 2);
		struct unpack_request request = { .limits = roomy, .is_stream = rows[i].is_stream };
		struct scan_child *child = take(pool);
		struct scan_identity id = { 0 };
		struct scan_sample sample = sample_of(made.bytes, made.n);
		struct err err = { 0 };

		if (scan_identify(child, &sample, &id, &err) != 0)
			fail_msg("%s: %s", rows[i].name, err.msg);
		const struct container *c = container_of(id.magic, id.mime);

		if (c == NULL || strcmp(c->type, rows[i].type) != 0 ||
		    c->is_stream != rows[i].is_stream)
			fail_msg("%s: taken for %s (" STR_FMT ", " STR_FMT ")", rows[i].name,
				 c != NULL ? c->type : "none", STR_ARG(id.magic), STR_ARG(id.mime));
		scan_identity_release(&id);
		close(sample.fd);
		scan_child_give(pool, child);
		check(rows[i].name, &made, &request, rows[i].wanted ? rows[i].wanted : wanted, 0);
		free(made.bytes);
	}
}

static void single_files_are_opened(void **state)
{
	static const char *const filters[] = { "gzip", "bzip2", "xz",  "lzma",
					       "lzip", "zstd",  "lz4", "compress" };
	const struct member one = { "data", "some text", 9, 0, NULL };
	const struct unpack_request request = { .limits = roomy, .is_stream = true };
	const struct unpack_request not_stream = { .limits = roomy };

	(void)state;
	for (size_t i = 0; i < ROWS(filters); i++) {
		const struct recipe recipe = { .filter = filters[i] };
		struct made made = archive_make(&recipe, &one, 1);

		check(filters[i], &made, &request, "f data 'some text' whole\n", 0);
		/* Unless the type says so, bytes that are no archive are not one. */
		check(filters[i], &made, &not_stream, "", MISSING_DAMAGED);
		free(made.bytes);
	}
}

static void links_and_devices_are_told_and_not_followed(void **state)
{
	static const struct member members[] = {
		{ "/etc/passwd", "x", 1, 0, NULL },
		{ "../../up", "y", 1, 0, NULL },
		{ "folder", NULL, 0, AE_IFDIR, NULL },
		{ "soft", NULL, 0, AE_IFLNK, "/etc/passwd" },
		{ "hard", NULL, 0, 0, "/etc/passwd" },
		{ "tty", NULL, 0, AE_IFCHR, NULL },
		{ "pipe", NULL, 0, AE_IFIFO, NULL },
		{ "../../up", "z", 1, 0, NULL },
		{ "a\nb", "", 0, 0, NULL },
	};
	const struct recipe recipe = { .format = "pax" };
	const struct unpack_request request = { .limits = roomy };
	struct made made = archive_make(&recipe, members, ROWS(members));

	(void)state;
	check("tar", &made, &request,
	      "f /etc/passwd 'x' whole\nf ../../up 'y' whole\nd folder/\nl soft\nl hard\n"
	      "o tty\no pipe\nf ../../up 'z' whole\nf a\nb '' whole\n",
	      0);
	free(made.bytes);
}

static uint16_t crc16(const uint8_t *p, size_t n)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < n; i++) {
		crc = (uint16_t)(crc ^ p[i]);
		for (unsigned k = 0; k < 8; k++)
			crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0xa001 : crc >> 1);
	}
	return crc;
}

static void put16(uint8_t *to, uint16_t v)
{
	to[0] = (uint8_t)v;
	to[1] = (uint8_t)(v >> 8);
}

/* An LHA of level 2 that holds 'x'; its name is said to be in that code page. */
static size_t make_lha(uint8_t out[64], uint32_t codepage)
{
	static const uint8_t start[] = { 0, 0, '-', 'l', 'h', '0', '-',  1,    0, 0, 0,   1, 0,
					 0, 0, 0,   0,   0,   0,   0x20, 2,    0, 0, 'U', 5, 0,
					 0, 0, 0,   5,   0,   1,   0x83, 0x41, 7, 0, 0x46 };
	size_t n = sizeof start;

	memcpy(out, start, n);
	memcpy(out + n, &codepage, 4);
	put16(out + n + 4, 0);
	n += 6;
	put16(out, (uint16_t)n);
	put16(out + 21, crc16((const uint8_t *)"x", 1));
	put16(out + 27, crc16(out, n));
	out[n++] = 'x';
	out[n++] = 0;
	return n;
}

static void names_in_other_character_sets_load_nothing(void **state)
{
	static const uint32_t pages[] = { 932, 1251, 437, 12345 };
	struct scan_child *child = take(pool);
	uint8_t bytes[64];

	(void)state;
	for (size_t i = 0; i < ROWS(pages); i++)
		try_damaged("lha", &child, (const char *)bytes, make_lha(bytes, pages[i]));
	scan_child_give(pool, child);
}

static void what_is_over_a_limit_is_cut(void **state)
{
	static const char zeros[4 << 20];
	const struct member members[] = { { "small", "s", 1, 0, NULL },
					  { "large", zeros, sizeof zeros, 0, NULL },
					  { "last", "l", 1, 0, NULL } };
	const struct recipe zip = { .format = "zip" }, gz = { .filter = "gzip" };
	struct made made = archive_make(&zip, members, 3);
	struct made bomb = archive_make(&gz, &members[1], 1);
	struct unpack_request request = { .limits = roomy };

	(void)state;
	request.limits.entry_bytes_max = 1000000;
	check("bytes of an entry", &made, &request,
	      "f small 's' whole\nf large 983040 cut\nf last 'l' whole\n", MISSING_ENTRY_BYTES);
	request.limits = roomy;
	request.limits.bytes_max = 1000000;
	check("bytes in all", &made, &request, "f small 's' whole\nf large 983040 cut\n",
	      MISSING_BYTES);
	request.limits = roomy;
	request.limits.entries_max = 2;
	check("entries", &made, &request, "f small 's' whole\nf large 4194304 whole\n",
	      MISSING_ENTRIES);
	request.limits = roomy;
	request.limits.cpu_ms = 0;
	check("time", &made, &request, "", MISSING_TIME);
	request.is_stream = true;
	check("time of a single file", &bomb, &request, "", MISSING_TIME);
	request.limits = roomy;
	request.limits.entry_bytes_max = 1000000;
	request.is_stream = true;
	check("a single file", &bomb, &request, "f data 983040 cut\n", MISSING_ENTRY_BYTES);
	free(made.bytes);
	free(bomb.bytes);
}

static void passwords_open_a_zip(void **state)
{
	static const char *const kinds[] = { "zip:encryption=zipcrypt", "zip:encryption=aes128",
					     "zip:encryption=aes256" };
	const struct str right[] = { STR("wrong"), STR("infected") }, wrong[] = { STR("wrong") };
	struct unpack_request request = { .limits = roomy };
	static const char opened[] = "f* one.txt 'first' whole\nf* dir/two.txt 'second' whole\n";
	static const char closed[] = "f* one.txt '' encrypted\nf* dir/two.txt '' encrypted\n";

	(void)state;
	for (size_t i = 0; i < ROWS(kinds); i++) {
		const struct recipe recipe = { .format = "zip",
					       .options = kinds[i],
					       .password = "infected" };
		struct made made = archive_make(&recipe, two, 2);
		struct scan_child *child = take(pool);
		struct told told = { .files = 0 };
		struct unpacked result;
		struct err err = { 0 };

		request.passwords = right;
		request.password_count = 2;
		check(kinds[i], &made, &request, opened, 0);
		request.passwords = wrong;
		request.password_count = 1;
		check(kinds[i], &made, &request, closed, MISSING_ENCRYPTED);
		request.password_count = 0;
		check(kinds[i], &made, &request, closed, MISSING_ENCRYPTED);

		/* Only asking: nothing is told. */
		request.only_passwords = true;
		for (unsigned fits = 0; fits < 2; fits++) {
			request.passwords = fits ? right : wrong;
			request.password_count = 1 + fits;
			if (unpack_in(child, made.bytes, made.n, &request, &told, &result, &err) !=
			    0)
				fail_msg("%s: %s", kinds[i], err.msg);
			assert_int_equal(told.text.n, 0);
			assert_int_equal(result.encrypted, 1);
			assert_int_equal(result.opened, fits);
			told_release(&told);
		}
		request.only_passwords = false;
		scan_child_give(pool, child);
		free(made.bytes);
	}
}

static void the_caller_may_stop(void **state)
{
	const struct recipe recipe = { .format = "zip" };
	const struct unpack_request request = { .limits = roomy };
	struct made made = archive_make(&recipe, two, 2);
	struct scan_child *child = take(pool);
	struct told told = { .fail_after = 2 };
	uint64_t deaths = scan_pool_deaths(pool);
	struct unpacked result;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(unpack_in(child, made.bytes, made.n, &request, &told, &result, &err),
			 -ERR_NO_SPACE);
	assert_true(scan_child_is_dead(child));
	assert_int_equal(scan_pool_deaths(pool), deaths);
	scan_child_give(pool, child);
	told_release(&told);
	free(made.bytes);
}

static const struct recipe damaged[] = {
	{ .format = "zip" },
	{ .format = "zip", .options = "zip:encryption=aes256", .password = "infected" },
	{ .format = "7zip" },
	{ .format = "pax" },
	{ .format = "pax", .filter = "gzip" },
	{ .format = "ustar", .filter = "bzip2" },
	{ .format = "ustar", .filter = "xz" },
	{ .format = "ustar", .filter = "zstd" },
	{ .format = "ustar", .filter = "lz4" },
	{ .format = "ustar", .filter = "compress" },
	{ .format = "newc" },
	{ .format = "xar" },
	{ .format = "arbsd" },
};

static void cut_anywhere_they_do_no_harm(void **state)
{
	struct scan_child *child = take(pool);

	(void)state;
	for (size_t i = 0; i < ROWS(damaged); i++) {
		struct made made = archive_make(&damaged[i], two, 2);
		size_t step = made.n / 700 + 1;

		for (size_t n = 0; n < made.n; n += step)
			try_damaged(damaged[i].format, &child, made.bytes, n);
		free(made.bytes);
	}
	scan_child_give(pool, child);
}

static void mutated_they_do_no_harm(void **state)
{
	enum {
		TRIES = 120
	};
	struct scan_child *child = take(pool);
	unsigned seed = 4711;

	(void)state;
	for (size_t i = 0; i < ROWS(damaged); i++) {
		struct made made = archive_make(&damaged[i], two, 2);

		for (unsigned t = 0; t < TRIES; t++) {
			char *copy = malloc(made.n + 1);

			assert_non_null(copy);
			assert_true(made.n > 0);
			memcpy(copy, made.bytes, made.n);
			for (unsigned k = 0; k < 1 + t % 8; k++)
				copy[(unsigned)rand_r(&seed) % made.n] = (char)rand_r(&seed);
			try_damaged(damaged[i].format, &child, copy, made.n);
			free(copy);
		}
		free(made.bytes);
	}
	scan_child_give(pool, child);
}

static void a_million_entries_are_cut(void **state)
{
	enum {
		ENTRIES = 1000000,
		ONE = 512
	};
	/* A tar of a million empty files, each its header alone. */
	struct made one;
	const struct member member = { "empty", "", 0, 0, NULL };
	const struct recipe recipe = { .format = "ustar" };
	struct unpack_request request = { .limits = roomy };
	int fd = memfd_create("million", MFD_CLOEXEC);
	struct scan_child *child = take(pool);
	struct told told = { .text = BUF_INIT(32 << 20) };
	struct unpacked result;
	struct err err = { 0 };
	char *block;

	(void)state;
	one = archive_make(&recipe, &member, 1);
	assert_non_null(one.bytes);
	block = malloc((size_t)1000 * ONE);
	assert_non_null(block);
	for (size_t i = 0; i < 1000; i++)
		memcpy(block + i * ONE, one.bytes, ONE);
	for (size_t i = 0; i < ENTRIES / 1000; i++)
		assert_int_equal(write(fd, block, (size_t)1000 * ONE), 1000 * ONE);
	struct scan_sample sample = { fd, 0, (uint64_t)ENTRIES * ONE };

	request.limits.entries_max = 10000;
	told.bytes = BUF_INIT(100);
	if (scan_unpack(child, &sample, &request, &calls, &told, &result, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(result.entries, 10000);
	assert_int_equal(result.missing, MISSING_ENTRIES);
	told_release(&told);
	scan_child_give(pool, child);
	free(block);
	free(one.bytes);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_format_is_opened),
		cmocka_unit_test(single_files_are_opened),
		cmocka_unit_test(links_and_devices_are_told_and_not_followed),
		cmocka_unit_test(names_in_other_character_sets_load_nothing),
		cmocka_unit_test(what_is_over_a_limit_is_cut),
		cmocka_unit_test(passwords_open_a_zip),
		cmocka_unit_test(the_caller_may_stop),
		cmocka_unit_test(cut_anywhere_they_do_no_harm),
		cmocka_unit_test(mutated_they_do_no_harm),
		cmocka_unit_test(a_million_entries_are_cut),
	};

	SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
