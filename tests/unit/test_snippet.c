#include "pack_world.h"

#include "base/limits.h"
#include "snippet.h"

/* Snippets byte for byte: rows that were written down by the rules of snippet.h, not by this code.
 */

struct sample {
	const char *bytes;
	size_t n;
};
static const struct sample text = {
	"A weir is the fence that anglers set across a stream to catch fish~\x7f"
	"\x80\x1f !",
	72
};
static const struct sample trout = { "trout!", 6 };
static const struct sample feed = { "\n", 1 };

static const struct {
	const char *row;
	const struct sample *sample;
	struct scan_match matches[3];
	size_t count;
	const char *want;
} rows[] = {
	{ "three bytes in the middle",
	  &text,
	  { { 20, 3 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "6E 63 65 20 *begin_highlight*74 68 61 *end_highlight*74 20 61 6E 67 6C 65 72 73  nce "
	  "*begin_highlight*tha*end_highlight*t anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "sixteen bytes, one line",
	  &text,
	  { { 32, 16 } },
	  1,
	  "6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  nce that anglers\n"
	  "*begin_highlight*20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74*end_highlight*  "
	  "*begin_highlight* set across a st*end_highlight*\n"
	  "72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  ream to catch fi" },
	{ "sixteen bytes over two lines",
	  &text,
	  { { 25, 16 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "6E 63 65 20 74 68 61 74 20 *begin_highlight*61 6E 67 6C 65 72 73*end_highlight*  nce "
	  "that *begin_highlight*anglers*end_highlight*\n"
	  "*begin_highlight*20 73 65 74 20 61 63 72 6F *end_highlight*73 73 20 61 20 73 74  "
	  "*begin_highlight* set acro*end_highlight*ss a st" },
	{ "thirty-two bytes, two lines",
	  &text,
	  { { 16, 32 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "*begin_highlight*6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73*end_highlight*  "
	  "*begin_highlight*nce that anglers*end_highlight*\n"
	  "*begin_highlight*20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74*end_highlight*  "
	  "*begin_highlight* set across a st*end_highlight*\n"
	  "72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  ream to catch fi" },
	{ "thirty-two bytes over three lines",
	  &text,
	  { { 17, 32 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "6E *begin_highlight*63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73*end_highlight*  "
	  "n*begin_highlight*ce that anglers*end_highlight*\n"
	  "*begin_highlight*20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74*end_highlight*  "
	  "*begin_highlight* set across a st*end_highlight*\n"
	  "*begin_highlight*72 *end_highlight*65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  "
	  "*begin_highlight*r*end_highlight*eam to catch fi" },
	{ "seventeen bytes",
	  &text,
	  { { 32, 17 } },
	  1,
	  "6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  nce that anglers\n"
	  "*begin_highlight*20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74*end_highlight*  "
	  "*begin_highlight* set across a st*end_highlight*\n"
	  "*begin_highlight*72 *end_highlight*65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  "
	  "*begin_highlight*r*end_highlight*eam to catch fi\n"
	  "73 68 7E 7F 80 1F 20 21  sh~... !" },
	{ "the first byte",
	  &text,
	  { { 0, 1 } },
	  1,
	  "*begin_highlight*41 *end_highlight*20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  "
	  "*begin_highlight*A*end_highlight* weir is the fe\n"
	  "6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  nce that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "the first sixteen bytes",
	  &text,
	  { { 0, 16 } },
	  1,
	  "*begin_highlight*41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65*end_highlight*  "
	  "*begin_highlight*A weir is the fe*end_highlight*\n"
	  "6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  nce that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "the last byte of the first line",
	  &text,
	  { { 15, 1 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 *begin_highlight*65*end_highlight*  A weir "
	  "is the f*begin_highlight*e*end_highlight*\n"
	  "6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  nce that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "the first byte of the second line",
	  &text,
	  { { 16, 1 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "*begin_highlight*6E *end_highlight*63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  "
	  "*begin_highlight*n*end_highlight*ce that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "into the second line",
	  &text,
	  { { 14, 4 } },
	  1,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 *begin_highlight*66 65*end_highlight*  A weir "
	  "is the *begin_highlight*fe*end_highlight*\n"
	  "*begin_highlight*6E 63 *end_highlight*65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  "
	  "*begin_highlight*nc*end_highlight*e that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "the last byte of the sample",
	  &text,
	  { { 71, 1 } },
	  1,
	  "72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  ream to catch fi\n"
	  "73 68 7E 7F 80 1F 20 *begin_highlight*21*end_highlight*  sh~... "
	  "*begin_highlight*!*end_highlight*" },
	{ "the last sixteen bytes",
	  &text,
	  { { 56, 16 } },
	  1,
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st\n"
	  "72 65 61 6D 20 74 6F 20 *begin_highlight*63 61 74 63 68 20 66 69*end_highlight*  ream "
	  "to *begin_highlight*catch fi*end_highlight*\n"
	  "*begin_highlight*73 68 7E 7F 80 1F 20 21*end_highlight*  *begin_highlight*sh~... "
	  "!*end_highlight*" },
	{ "the last line, which is short",
	  &text,
	  { { 64, 8 } },
	  1,
	  "72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  ream to catch fi\n"
	  "*begin_highlight*73 68 7E 7F 80 1F 20 21*end_highlight*  *begin_highlight*sh~... "
	  "!*end_highlight*" },
	{ "all of the sample",
	  &text,
	  { { 0, 72 } },
	  1,
	  "*begin_highlight*41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65*end_highlight*  "
	  "*begin_highlight*A weir is the fe*end_highlight*\n"
	  "*begin_highlight*6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73*end_highlight*  "
	  "*begin_highlight*nce that anglers*end_highlight*\n"
	  "*begin_highlight*20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74*end_highlight*  "
	  "*begin_highlight* set across a st*end_highlight*\n"
	  "*begin_highlight*72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69*end_highlight*  "
	  "*begin_highlight*ream to catch fi*end_highlight*\n"
	  "*begin_highlight*73 68 7E 7F 80 1F 20 21*end_highlight*  *begin_highlight*sh~... "
	  "!*end_highlight*" },
	{ "what is not printable",
	  &text,
	  { { 65, 6 } },
	  1,
	  "72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 66 69  ream to catch fi\n"
	  "73 *begin_highlight*68 7E 7F 80 1F 20 *end_highlight*21  s*begin_highlight*h~... "
	  "*end_highlight*!" },
	{ "one line in all",
	  &trout,
	  { { 2, 3 } },
	  1,
	  "74 72 *begin_highlight*6F 75 74 *end_highlight*21  "
	  "tr*begin_highlight*out*end_highlight*!" },
	{ "one byte in all",
	  &feed,
	  { { 0, 1 } },
	  1,
	  "*begin_highlight*0A*end_highlight*  *begin_highlight*.*end_highlight*" },
	{ "two that overlap",
	  &text,
	  { { 20, 5 }, { 22, 4 } },
	  2,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "6E 63 65 20 *begin_highlight*74 68 61 74 20 *end_highlight*61 6E 67 6C 65 72 73  nce "
	  "*begin_highlight*that *end_highlight*anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st\n"
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 66 65  A weir is the fe\n"
	  "6E 63 65 20 74 68 *begin_highlight*61 74 20 61 *end_highlight*6E 67 6C 65 72 73  nce "
	  "th*begin_highlight*at a*end_highlight*nglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
	{ "several patterns, by offset",
	  &text,
	  { { 2, 4 }, { 14, 5 }, { 62, 4 } },
	  3,
	  "41 20 *begin_highlight*77 65 69 72 *end_highlight*20 69 73 20 74 68 65 20 66 65  A "
	  "*begin_highlight*weir*end_highlight* is the fe\n"
	  "6E 63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  nce that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st\n"
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 *begin_highlight*66 65*end_highlight*  A weir "
	  "is the *begin_highlight*fe*end_highlight*\n"
	  "*begin_highlight*6E 63 65 *end_highlight*20 74 68 61 74 20 61 6E 67 6C 65 72 73  "
	  "*begin_highlight*nce*end_highlight* that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st\n"
	  "72 65 61 6D 20 74 6F 20 63 61 74 63 68 20 *begin_highlight*66 69*end_highlight*  ream "
	  "to catch *begin_highlight*fi*end_highlight*\n"
	  "*begin_highlight*73 68 *end_highlight*7E 7F 80 1F 20 21  "
	  "*begin_highlight*sh*end_highlight*~... !" },
	{ "one offset, two lengths",
	  &text,
	  { { 14, 3 }, { 14, 5 } },
	  2,
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 *begin_highlight*66 65*end_highlight*  A weir "
	  "is the *begin_highlight*fe*end_highlight*\n"
	  "*begin_highlight*6E *end_highlight*63 65 20 74 68 61 74 20 61 6E 67 6C 65 72 73  "
	  "*begin_highlight*n*end_highlight*ce that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st\n"
	  "41 20 77 65 69 72 20 69 73 20 74 68 65 20 *begin_highlight*66 65*end_highlight*  A weir "
	  "is the *begin_highlight*fe*end_highlight*\n"
	  "*begin_highlight*6E 63 65 *end_highlight*20 74 68 61 74 20 61 6E 67 6C 65 72 73  "
	  "*begin_highlight*nce*end_highlight* that anglers\n"
	  "20 73 65 74 20 61 63 72 6F 73 73 20 61 20 73 74   set across a st" },
};

static struct pack_locator store(struct world *w, const void *data, size_t n)
{
	struct pack_locator at;
	struct hashes h = { 0 };
	struct err err;

	sha256_of(data, n, h.sha256);
	CHECK_OK(packs_append(w->packs, &h, data, n, &at, &err), &err);
	return at;
}

static char *snippet_of(struct world *w, const void *data, size_t n,
			const struct scan_match *matches, size_t count)
{
	struct pack_locator at = store(w, data, n);
	struct buf out = BUF_INIT(LIMIT_SNIPPET_BYTES);
	struct err err;

	CHECK_OK(snippet_write(&out, w->packs, &at, matches, count, &err), &err);
	assert_false(buf_failed(&out));
	return buf_steal(&out);
}

static void every_case(void **state)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct sample *s = rows[i].sample;
		char *got = snippet_of(*state, s->bytes, s->n, rows[i].matches, rows[i].count);

		CHECK_ROW_STR(rows[i].row, str_of(got), str_of(rows[i].want));
		free(got);
	}
}

/* The three lines of VirusTotal's documentation. */
static void the_documented_example(void **state)
{
	static const struct {
		const char *row;
		const char *bytes;
		uint64_t from, len;
		const char *want;
	} lines[] = {
		{ "inside a line",
		  "\r\0lyInCell\x9b"
		  "0\x0en\x17'",
		  4, 3,
		  "0D 00 6C 79 *begin_highlight*49 6E 43 *end_highlight*65 6C 6C 9B 30 0E 6E 17 27 "
		  " "
		  "..ly*begin_highlight*InC*end_highlight*ell.0.n.'" },
		{ "to the end of a line", "ype 2 def\n1 begi", 15, 3,
		  "79 70 65 20 32 20 64 65 66 0A 31 20 62 65 67 *begin_highlight*69*end_highlight* "
		  " "
		  "ype 2 def.1 beg*begin_highlight*i*end_highlight*" },
		{ "from the start of a line", "ncodespacerange\n", -1, 3,
		  "*begin_highlight*6E 63 *end_highlight*6F 64 65 73 70 61 63 65 72 61 6E 67 65 0A "
		  " "
		  "*begin_highlight*nc*end_highlight*odespacerange." },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		struct buf out = BUF_INIT(1024);

		snippet_window(&out, (const uint8_t *)lines[i].bytes, 16, 1600,
			       1600 + lines[i].from, lines[i].len);
		CHECK_ROW_STR(lines[i].row, buf_str(&out), str_of(lines[i].want));
		buf_release(&out);
	}
}

static size_t count_of(const char *s, const char *what)
{
	size_t n = 0;

	for (const char *at = strstr(s, what); at; at = strstr(at + 1, what))
		n++;
	return n;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static void ten_windows_and_no_more(void **state)
{
	struct scan_match matches[11];
	uint8_t zeros[1024] = { 0 };

	for (size_t i = 0; i < COUNT_OF(matches); i++)
		matches[i] = (struct scan_match){ 64 * i + 16, 1 };
	for (size_t n = 9; n <= COUNT_OF(matches); n++) {
		char *got = snippet_of(*state, zeros, sizeof zeros, matches, n);
		size_t shown = n < 10 ? n : 10;

		assert_int_equal(count_of(got, "*begin_highlight*"), 2 * shown);
		assert_true(ends_with(got,
				      n > 10 ? "  ................\n\n..." : "  ................"));
		/* Three lines in each, a line feed between all. */
		assert_int_equal(count_of(got, "\n"), 3 * shown - 1 + (n > 10 ? 2 : 0));
		free(got);
	}
}

/* What has a maximum of its own: the part of a match that is shown, and the whole. */
static void long_matches(void **state)
{
	enum {
		BYTES = 64 * 1024
	};
	struct scan_match matches[10];
	uint8_t *data = mem_must_zalloc(BYTES);
	char *got;

	matches[0] = (struct scan_match){ 16, SNIPPET_MATCH_BYTES_MAX };
	got = snippet_of(*state, data, BYTES, matches, 1);
	assert_int_equal(count_of(got, "\n"), SNIPPET_MATCH_BYTES_MAX / 16 + 1);
	assert_true(ends_with(got, "00 00  ................"));
	free(got);
	matches[0] = (struct scan_match){ 16, BYTES - 16 };
	got = snippet_of(*state, data, BYTES, matches, 1);
	assert_int_equal(count_of(got, "\n"), SNIPPET_MATCH_BYTES_MAX / 16 + 1);
	assert_true(ends_with(got, "*end_highlight*"));
	free(got);
	for (size_t i = 0; i < COUNT_OF(matches); i++)
		matches[i] = (struct scan_match){ 16 * i, 3000 };
	got = snippet_of(*state, data, BYTES, matches, COUNT_OF(matches));
	assert_in_range(strlen(got), LIMIT_SNIPPET_BYTES / 2, LIMIT_SNIPPET_BYTES);
	assert_true(ends_with(got, "  ................\n\n..."));
	assert_int_equal((count_of(got, "\n") - 2 + 1) % (2 + 188), 0); /* whole windows */
	free(got);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PACK_TEST(every_case),
		cmocka_unit_test(the_documented_example),
		PACK_TEST(ten_windows_and_no_more),
		PACK_TEST(long_matches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
