#include "pack_world.h"

#include "base/hex.h"

/* The format's page, its Python reader and the program agree. */

/* What docs/format/read_pack.py prints about these files; it must be content. */
static char *python_reads(const char *dir)
{
	char *said = mem_must_zalloc(1 << 20);
	char command[1024];
	FILE *pipe_from;

	snprintf(command, sizeof command, "python3 '%s/docs/format/read_pack.py' '%s'/packs/*.pack",
		 WEIR_SOURCE_DIR, dir);
	pipe_from = popen(command, "r");
	assert_non_null(pipe_from);
	said[fread(said, 1, (1 << 20) - 1, pipe_from)] = '\0';
	assert_int_equal(pclose(pipe_from), 0);
	return said;
}

static void line_of(const struct pack_locator *at, const struct hashes *h, const char *state,
		    char out[200])
{
	char hex[2 * SHA256_BYTES + 1];

	hex_encode(h->sha256, SHA256_BYTES, hex);
	snprintf(out, 200, "%u %llu %llu %s %s\n", at->pack, (unsigned long long)at->offset,
		 (unsigned long long)at->len, hex, state);
}

/* A reader written from the format page alone sees what we wrote. */
static void test_python_reader(void **state)
{
	struct world *w = *state;
	enum {
		N = 60
	};
	struct pack_locator at[N];
	struct err err;
	struct pack_locator open;
	char *said;

	for (size_t i = 0; i < N; i++) {
		size_t len = i * i * 3;

		if (i % 3)
			append_ok(w, i, len, &at[i]);
		else
			CHECK_OK(
				sample_stream(w->packs, i, i == 9 ? 20000 : len, 100, &at[i], &err),
				&err);
	}
	sync_ok(w);
	for (size_t i = 5; i < N; i += 10)
		CHECK_OK(packs_erase(w->packs, &at[i], &err), &err);
	assert_true(at[N - 1].pack >= 4);
	append_ok(w, 1000, 3, &open);
	said = python_reads(w->dir);
	for (size_t i = 0; i < N; i++) {
		struct hashes h;
		char line[200];

		free(sample_new(i, at[i].len, &h));
		line_of(&at[i], &h, i % 10 == 5 ? "erased" : "alive", line);
		if (!strstr(said, line))
			fail_msg("not said: %s", line);
	}
	assert_non_null(strstr(said, "sealed 1\n"));
	assert_string_equal(said + strlen(said) - 5, "open\n");
	free(said);
}

/* The worked example of docs/format/pack.md is a pack. */
static void test_page_example(void **state)
{
	struct world *w = *state;
	uint8_t bytes[4096];
	struct pack_locator at = { 1, 104, 12 };
	char text[13] = { 0 };
	struct err err;
	size_t page_n, n = 0;
	char *page = (char *)file_read(WEIR_SOURCE_DIR, "docs/format/pack.md", &page_n);
	char *said;

	for (char *line = strstr(page, "\n000000  "); line && n + 16 <= sizeof bytes;) {
		struct str hex = { line + 9, 0 };
		char *end = strchr(line + 1, '\n');

		for (int i = 0; i < 16 && hex.p + 2 <= end; i++, hex.p += 3) {
			if (!hex_decode(str_make(hex.p, 2), &bytes[n], 1))
				break;
			n++;
		}
		line = end && end[1] == '0' ? end : NULL;
	}
	free(page);
	packs_close(w->packs);
	w->packs = NULL;
	file_write(w->dir, "packs/0000000001.pack", bytes, n);
	reopen(w);
	check_walk(w->packs, 1, 0);
	CHECK_OK(packs_read(w->packs, &at, 0, text, 12, &err), &err);
	assert_string_equal(text, "hello, weir\n");
	said = python_reads(w->dir);
	assert_non_null(strstr(said, "sealed 1\n"));
	free(said);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PACK_TEST(test_python_reader),
		PACK_TEST(test_page_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
