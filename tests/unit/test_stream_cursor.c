#include "unit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/stream_cursor.h"

static struct buf encode(const struct stream_cursor *c, uint64_t key)
{
	struct buf b = BUF_INIT(LIMIT_CURSOR_BYTES);

	stream_cursor_encode(&b, c, key);
	assert_false(buf_failed(&b));
	return b;
}

static const struct {
	const char *row;
	struct stream_cursor c;
} cursors[] = {
	{ "first page", { .owner_id = 1, .now_s = 1677628800, .limit = 10 } },
	{ "everything set",
	  { .owner_id = INT64_MAX,
	    .position = INT64_MAX,
	    .now_s = INT64_MAX,
	    .count = UINT64_MAX,
	    .has_count = true,
	    .oldest_first = true,
	    .descriptors_only = true,
	    .limit = UINT32_MAX,
	    .filter = { "date:3d+ “x”", 16 } } },
	{ "a clock before 1970", { .owner_id = 7, .now_s = -1, .limit = 40 } },
	{ "the smallest time", { .owner_id = 7, .now_s = INT64_MIN, .limit = 40 } },
};

static void what_goes_in_comes_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cursors); i++) {
		const struct stream_cursor *c = &cursors[i].c;
		struct arena *a = arena_new("test", 1 << 20);
		struct buf b = encode(c, 99);
		struct stream_cursor got;
		struct err err;

		for (size_t k = 0; k < b.n; k++)
			CHECK_ROW(cursors[i].row, strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"
							 "pqrstuvwxyz01234567"
							 "89-_",
							 b.p[k]) != NULL);
		CHECK_OK(stream_cursor_decode(a, buf_str(&b), 99, &got, &err), &err);
		CHECK_ROW(cursors[i].row, got.owner_id == c->owner_id);
		CHECK_ROW(cursors[i].row, got.position == c->position);
		CHECK_ROW(cursors[i].row, got.now_s == c->now_s);
		CHECK_ROW(cursors[i].row, got.has_count == c->has_count);
		CHECK_ROW(cursors[i].row, got.count == c->count);
		CHECK_ROW(cursors[i].row, got.oldest_first == c->oldest_first);
		CHECK_ROW(cursors[i].row, got.descriptors_only == c->descriptors_only);
		CHECK_ROW(cursors[i].row, got.limit == c->limit);
		CHECK_ROW_STR(cursors[i].row, got.filter, c->filter);
		buf_release(&b);
		arena_free(a);
	}
}

static void refuse(struct str text, uint64_t key)
{
	struct arena *a = arena_new("test", 1 << 20);
	struct stream_cursor got;
	struct err err = { 0 };

	if (stream_cursor_decode(a, text, key, &got, &err) != -ERR_INVALID)
		fail_msg("'" STR_FMT "' was taken", STR_ARG(text));
	assert_string_equal(err.msg, "Invalid cursor");
	arena_free(a);
}

static void anything_else_is_refused(void **state)
{
	static const char *const texts[] = { "",
					     "x",
					     "abc+",
					     "ab/c",
					     "ab c",
					     "AAAA=",
					     "AAAA==",
					     "\xff",
					     "AQAAAA",
					     "-",
					     "AQAAAAAAAAAAAAAAAAAAAA" };
	struct buf b = encode(&cursors[1].c, 99);
	struct rand_seq r = { 5 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		refuse(str_of(texts[i]), 99);
	refuse(buf_str(&b), 98); /* another instance's */
	for (size_t n = 0; n < b.n; n++)
		refuse((struct str){ b.p, n }, 99);
	for (size_t i = 0; i + 1 < b.n; i++) { /* the last digit holds unused bits */
		char was = b.p[i];

		b.p[i] = was == 'A' ? 'B' : 'A';
		refuse(buf_str(&b), 99);
		b.p[i] = was;
	}
	for (int i = 0; i < 20000; i++) {
		char noise[64];
		size_t n = 1 + rand_below(&r, sizeof noise);

		for (size_t k = 0; k < n; k++)
			noise[k] = "AQgwBCz_-019"[rand_below(&r, 12)];
		refuse((struct str){ noise, n }, 99);
	}
	buf_release(&b);
}

static void the_longest_filter_fits_and_more_is_refused(void **state)
{
	char *long_filter = mem_must_zalloc(LIMIT_FILTER_BYTES);
	struct stream_cursor c = cursors[1].c;

	(void)state;
	memset(long_filter, 'x', LIMIT_FILTER_BYTES);
	c.filter = (struct str){ long_filter, LIMIT_FILTER_BYTES };
	struct buf b = encode(&c, 1);
	struct arena *a = arena_new("test", 1 << 20);
	struct stream_cursor got;
	struct err err;
	CHECK_OK(stream_cursor_decode(a, buf_str(&b), 1, &got, &err), &err);
	assert_int_equal(got.filter.n, LIMIT_FILTER_BYTES);
	arena_free(a);
	buf_release(&b);

	b = BUF_INIT(LIMIT_CURSOR_BYTES + 1);
	while (b.n <= LIMIT_CURSOR_BYTES)
		buf_add_c(&b, 'A');
	refuse(buf_str(&b), 1);
	buf_release(&b);

	a = arena_new("test", 10);
	b = encode(&cursors[1].c, 1);
	assert_int_equal(stream_cursor_decode(a, buf_str(&b), 1, &got, &err), -ERR_NO_MEMORY);
	buf_release(&b);
	arena_free(a);
	free(long_filter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_comes_out),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(the_longest_filter_fits_and_more_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
