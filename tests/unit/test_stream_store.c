#include "store_db.h"

#include "base/hex.h"
#include "base/limits.h"
#include "base/mem.h"
#include "meta_stream_internal.h"

#define NOW INT64_C(1677628800) /* 2023-03-01T00:00:00Z */

struct world {
	char *dir;
	struct sql_db *db;
	struct sql_conn *c;
	struct arena *a;
	int64_t now_s;
};

static int set_up(void **state)
{
	struct world *w = mem_must_zalloc(sizeof *w);
	struct err err;

	w->dir = test_db_new(&w->db, &w->c);
	w->now_s = NOW;
	w->a = arena_new("test", 256 << 20);
	CHECK_OK(sql_exec(w->c,
			  "INSERT INTO user (id, name, role, created_s) VALUES (1, 'alice', "
			  "'hunter', 0), (2, 'bob', 'hunter', 0)",
			  &err),
		 &err);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	arena_free(w->a);
	test_db_remove(w->dir, w->db, w->c);
	free(w);
	return 0;
}

static const struct str two_tags[] = { { "Chinese Files", 13 }, { "my_rule", 7 } };

/* A domain named by n, of alice's ruleset 7. */
static struct sighting_new sample(int n, char id[32])
{
	snprintf(id, 32, "host%d.example", n);
	return (struct sighting_new){ .owner_id = 1,
				      .source_kind = STREAM_RULESET,
				      .source_id = 7,
				      .label = STR("Chinese Files"),
				      .entity_kind = STREAM_DOMAIN,
				      .entity_id = str_of(id),
				      .rule = STR("my_rule"),
				      .tags = two_tags,
				      .tag_count = 2 };
}

static int64_t add(struct world *w, const struct sighting_new *s)
{
	struct err err;
	int64_t seq = -1;

	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_add(w->c, s, w->now_s, &seq, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	return seq;
}

static int64_t add_host(struct world *w, int n)
{
	char id[32];
	struct sighting_new s = sample(n, id);

	return add(w, &s);
}

static const struct filter_node *parse(struct world *w, const char *text)
{
	const struct filter_env env = { .now_s = w->now_s };
	const struct filter_node *node;
	struct err err;

	CHECK_OK(filter_parse(&node, w->a, &stream_schema, str_of(text), &env, &err), &err);
	return node;
}

static size_t page(struct world *w, int64_t owner, const char *text, int64_t position,
		   uint32_t limit, bool oldest_first, struct stream_entry **ret, bool *ret_more)
{
	const struct filter_env env = { .now_s = w->now_s };
	const struct stream_query q = { .owner_id = owner,
					.filter = parse(w, text),
					.oldest_first = oldest_first,
					.limit = limit,
					.position = position };
	struct err err;
	size_t n;

	CHECK_OK(stream_page(w->c, &q, &env, w->a, ret, &n, ret_more, &err), &err);
	return n;
}

static uint64_t count(struct world *w, int64_t owner, const char *text)
{
	const struct filter_env env = { .now_s = w->now_s };
	struct err err;
	uint64_t n;

	CHECK_OK(stream_count_matching(w->c, owner, parse(w, text), &env, &n, &err), &err);
	return n;
}

static size_t found(struct world *w, int64_t owner, const char *text)
{
	struct stream_entry *got;
	bool more;
	size_t n = page(w, owner, text, 0, 3000, false, &got, &more);

	assert_false(more);
	assert_int_equal(count(w, owner, text), n);
	return n;
}

static int delete_all(struct world *w, int64_t owner, const char *filter)
{
	const struct filter_env env = { .now_s = w->now_s };
	struct err err;

	CHECK_OK(sql_begin(w->c, &err), &err);
	int rc = stream_delete_start(w->c, owner, str_of(filter), &env, &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	return rc;
}

static bool delete_step(struct world *w, uint32_t rows)
{
	const struct filter_env env = { .now_s = w->now_s };
	struct err err;
	bool done;

	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_delete_step(w->c, rows, &env, &done, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	return done;
}

static void what_is_added_is_read_whole(void **state)
{
	static const struct str tags[] = { { "Chinese Files", 13 },
					   { "chinese  files", 14 },
					   { "", 0 },
					   { "a\"\\\n\x01\xff", 6 },
					   { "\xd0\x9a\xd0\xb8", 4 } };
	struct world *w = *state;
	const struct filter_env env = { .now_s = w->now_s };
	uint8_t sha256[32] = { 0xab, 0xcd };
	struct sighting_new s = { .owner_id = 1,
				  .source_kind = STREAM_RETROHUNT,
				  .source_id = 9,
				  .label = STR("job \xff"),
				  .entity_kind = STREAM_FILE,
				  .entity_id = str_make(sha256, 32),
				  .rule = STR("r"),
				  .tags = tags,
				  .tag_count = COUNT_OF(tags),
				  .info = STR("{\"rule_name\":\"r\"}"),
				  .analysis_id = 5 };
	struct stream_entry e;
	struct err err;
	struct str *list;
	size_t n;

	assert_int_equal(add(w, &s), 1);
	CHECK_OK(stream_get(w->c, 1, 1, &env, w->a, &e, &err), &err);
	assert_int_equal(e.seq, 1);
	assert_int_equal(e.date_s, NOW);
	assert_int_equal(e.source_kind, STREAM_RETROHUNT);
	assert_int_equal(e.source_id, 9);
	assert_int_equal(e.entity_kind, STREAM_FILE);
	assert_true(str_eq(e.entity_id, s.entity_id));
	assert_true(str_eq(e.label, STR("job \xef\xbf\xbd")));
	assert_true(str_eq(e.rule, STR("r")));
	assert_true(str_eq(e.info, s.info));
	assert_int_equal(e.analysis_id, 5);
	CHECK_OK(stream_tags_parse(w->a, e.tags, &list, &n, &err), &err);
	assert_int_equal(n, 3);
	assert_true(str_eq(list[0], STR("chinese_files")));
	assert_true(str_eq(list[1], STR("a\"\\_\x01\xef\xbf\xbd")));
	assert_true(str_eq(list[2], STR("\xd0\x9a\xd0\xb8")));
	assert_int_equal(stream_get(w->c, 2, 1, &env, w->a, &e, &err), -ERR_NOT_FOUND);
	assert_int_equal(stream_get(w->c, 1, 2, &env, w->a, &e, &err), -ERR_NOT_FOUND);
}

static void damaged_tags_are_an_error(void **state)
{
	static const char *const texts[] = { "",         "[",        "[1]",       "[\"a\"",
					     "[\"a\",]", "[\"a\" ]", "[\"\\x\"]", "[\"\\ud800\"]",
					     "[\"a]",    "{}",       "[\"a\"]x" };
	struct world *w = *state;

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct err err;
		struct str *list;
		size_t n;

		CHECK_ROW(texts[i], stream_tags_parse(w->a, str_of(texts[i]), &list, &n, &err) ==
					    -ERR_CORRUPT);
	}
}

static void nothing_is_told_twice(void **state)
{
	struct world *w = *state;
	const struct filter_env env = { .now_s = w->now_s };
	struct err err;
	char id[32];

	assert_int_equal(add_host(w, 1), 1);
	assert_int_equal(add_host(w, 1), 0);
	struct sighting_new s = sample(1, id);
	s.rule = STR("other_rule");
	assert_int_equal(add(w, &s), 2);
	s.label = STR("renamed");
	assert_int_equal(add(w, &s), 0);
	s.source_id = 8;
	assert_int_equal(add(w, &s), 3);
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_delete_one(w->c, 1, 1, &env, &err), &err);
	assert_int_equal(stream_delete_one(w->c, 1, 1, &env, &err), -ERR_NOT_FOUND);
	assert_int_equal(stream_delete_one(w->c, 2, 2, &env, &err), -ERR_NOT_FOUND);
	CHECK_OK(sql_commit(w->c, &err), &err);
	assert_int_equal(add_host(w, 1), 0);
	assert_int_equal(found(w, 1, ""), 2);
	assert_int_equal(found(w, 1, "tag:my_rule"), 2);
	assert_int_equal(add_host(w, 2), 4);
}

static void dates_never_go_back(void **state)
{
	struct world *w = *state;
	struct stream_entry *got;
	bool more;

	add_host(w, 1);
	w->now_s = NOW - 1000;
	add_host(w, 2);
	w->now_s = NOW + 5;
	add_host(w, 3);
	assert_int_equal(page(w, 1, "", 0, 10, true, &got, &more), 3);
	assert_int_equal(got[0].date_s, NOW);
	assert_int_equal(got[1].date_s, NOW);
	assert_int_equal(got[2].date_s, NOW + 5);
}

static void pages_stay_put_while_entries_arrive(void **state)
{
	struct world *w = *state;
	struct stream_entry *got;
	bool more;

	for (int i = 1; i <= 10; i++)
		add_host(w, i);
	assert_int_equal(page(w, 1, "", 0, 4, false, &got, &more), 4);
	assert_true(more);
	assert_int_equal(got[3].seq, 7);
	add_host(w, 11);
	assert_int_equal(page(w, 1, "", 7, 4, false, &got, &more), 4);
	assert_int_equal(got[0].seq, 6);
	assert_int_equal(page(w, 1, "", 3, 2, false, &got, &more), 2);
	assert_false(more); /* exactly full is the last page too */
	assert_int_equal(page(w, 1, "", 1, 2, false, &got, &more), 0);
	assert_false(more);
	assert_int_equal(page(w, 1, "", 9, 40, true, &got, &more), 2);
	assert_int_equal(got[1].seq, 11);
	assert_int_equal(found(w, 2, ""), 0);
}

static void a_bulk_deletion_holds_at_once_and_freezes(void **state)
{
	struct world *w = *state;
	const struct filter_env env = { .now_s = w->now_s };
	struct stream_entry e;
	struct err err;

	for (int i = 1; i <= 20; i++)
		add_host(w, i);
	assert_int_equal(delete_all(w, 1, "date:(x"), -ERR_INVALID);
	assert_int_equal(delete_all(w, 1, "date:1d+ NOT entity_id:host5.example"), 0);
	assert_int_equal(found(w, 1, ""), 1);
	assert_int_equal(stream_get(w->c, 1, 4, &env, w->a, &e, &err), -ERR_NOT_FOUND);
	CHECK_OK(stream_get(w->c, 1, 5, &env, w->a, &e, &err), &err);
	assert_int_equal(delete_all(w, 1, ""), -ERR_BUSY);
	assert_int_equal(delete_all(w, 2, ""), 0); /* another owner's, of nothing */
	add_host(w, 21);                           /* later arrivals stay */
	w->now_s += 10 * 86400;                    /* "the last day" was frozen */
	assert_int_equal(found(w, 1, ""), 2);
	assert_false(delete_step(w, 5));
	assert_int_equal(found(w, 1, ""), 2);
	while (!delete_step(w, 5))
		assert_int_equal(found(w, 1, ""), 2);
	assert_int_equal(found(w, 1, ""), 2);
	assert_int_equal(delete_all(w, 1, ""), 0);
	assert_true(delete_step(w, 100));
	assert_int_equal(found(w, 1, ""), 0);
	assert_int_equal(add_host(w, 3), 0); /* the tombstone remembers */
}

static void deleting_an_empty_stream_deletes_nothing_later(void **state)
{
	struct world *w = *state;

	assert_int_equal(delete_all(w, 1, ""), 0);
	add_host(w, 1);
	assert_int_equal(found(w, 1, ""), 1);
	assert_true(delete_step(w, 10));
	assert_int_equal(found(w, 1, ""), 1);
}

static void retention_takes_the_low_end(void **state)
{
	struct world *w = *state;
	struct stream_entry *got;
	struct err err;
	uint32_t rows;
	bool more;

	for (int i = 1; i <= 10; i++) {
		add_host(w, i);
		w->now_s += 86400;
	}
	assert_int_equal(delete_all(w, 1, "entity_id:host2.example"), 0);
	assert_true(delete_step(w, 10));
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_retention_step(w->c, NOW + 5 * 86400, 3, &rows, &err), &err);
	assert_int_equal(rows, 3);
	CHECK_OK(stream_retention_step(w->c, NOW + 5 * 86400, 3, &rows, &err), &err);
	assert_int_equal(rows, 2);
	CHECK_OK(sql_commit(w->c, &err), &err);
	assert_int_equal(found(w, 1, ""), 5);
	assert_int_equal(found(w, 1, "tag:my_rule"), 5);
	/* A cursor from before continues behind the hole. */
	assert_int_equal(page(w, 1, "", 2, 3, true, &got, &more), 3);
	assert_int_equal(got[0].seq, 6);
	assert_int_equal(page(w, 1, "", 4, 3, false, &got, &more), 0);
	/* Tombstones went too: it may be told again, with a new number. */
	assert_int_equal(add_host(w, 2), 11);
}

static void a_file_is_found_by_every_hash(void **state)
{
	struct world *w = *state;
	struct hashes h = { .sha256 = { 1, 2, 3 }, .sha1 = { 4, 5 }, .md5 = { 6, 7 } };
	struct sighting_new s = { .owner_id = 1,
				  .source_kind = STREAM_RULESET,
				  .source_id = 7,
				  .label = STR("l"),
				  .entity_kind = STREAM_FILE,
				  .entity_id = str_make(h.sha256, 32) };
	struct err err;

	add(w, &s);
	CHECK_OK(
		sql_exec(
			w->c,
			"INSERT INTO file (sha256, sha1, md5, size, pack, pack_offset, "
			"first_submission_s, last_submission_s) VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0)",
			&err, SQL_BLOB(h.sha256, 32), SQL_BLOB(h.sha1, 20), SQL_BLOB(h.md5, 16)),
		&err);
	assert_int_equal(found(w, 1, "entity_id:06070000000000000000000000000000"), 1);
	assert_int_equal(found(w, 1, "0405000000000000000000000000000000000000"), 1);
	assert_int_equal(found(w, 1, "entity_id:06080000000000000000000000000000"), 0);
	assert_int_equal(
		found(w, 1, "tag:0102030000000000000000000000000000000000000000000000000000000000"),
		1);
}

/* `n` domains, each of a source and with a tag of its own; a hundredth is "narrow". */
static void add_sources(struct world *w, int n)
{
	struct err err;

	CHECK_OK(sql_begin(w->c, &err), &err);
	for (int i = 0; i < n; i++) {
		char id[32], label[32], tag[32];
		struct sighting_new s = sample(i, id);
		int64_t seq;

		snprintf(label, sizeof label, "%s set %d", i % 100 ? "wide" : "narrow", i);
		snprintf(tag, sizeof tag, "%s_%d", i % 100 ? "wide" : "narrow", i);
		struct str t = str_of(tag);
		s.source_id = i + 1;
		s.label = str_of(label);
		s.tags = &t;
		s.tag_count = 1;
		CHECK_OK(stream_add(w->c, &s, w->now_s, &seq, &err), &err);
	}
	CHECK_OK(sql_commit(w->c, &err), &err);
}

/* Through all pages of a filter in both orders; how many entries there are. */
static size_t walk(struct world *w, const char *text, bool oldest_first)
{
	struct stream_entry *got;
	int64_t position = 0;
	size_t n, all = 0;
	bool more = true;

	while (more) {
		n = page(w, 1, text, position, 7, oldest_first, &got, &more);
		for (size_t i = 0; i < n; i++) {
			assert_true(position == 0 ||
				    (oldest_first ? got[i].seq > position : got[i].seq < position));
			position = got[i].seq;
		}
		all += n;
	}
	return all;
}

/* Hundreds of leaves in one union. */
static void many_names_are_read_in_order(void **state)
{
	struct world *w = *state;
	size_t with_1 = 0;

	add_sources(w, 500);
	for (int i = 0; i < 500; i++) {
		char digits[16];

		snprintf(digits, sizeof digits, "%d", i);
		with_1 += strchr(digits, '1') != NULL;
	}
	assert_in_range(with_1, 150, 300);
	for (int oldest = 0; oldest < 2; oldest++) {
		assert_int_equal(walk(w, "source_name:\"set 1\"", oldest), with_1);
		assert_int_equal(walk(w, "\"set 1\"", oldest), with_1);
		assert_int_equal(walk(w, "\"set 1\" entity_type:url", oldest), 0);
		assert_int_equal(walk(w, "\"set 1\" OR source_name:set", oldest), 500);
		assert_int_equal(walk(w, "NOT source_name:1", oldest), 500 - with_1);
	}
}

static void more_names_and_tags_than_leaves_are_checked_by_row(void **state)
{
	struct world *w = *state;

	add_sources(w, STREAM_LEAVES_MAX + 100);
	assert_int_equal(found(w, 1, "source_name:set"), STREAM_LEAVES_MAX + 100);
	assert_int_equal(found(w, 1, "set NOT narrow"), 2126);
	assert_int_equal(found(w, 1, "source_name:set NOT (wide OR source_id:1)"), 21);
	assert_int_equal(found(w, 1, "NOT source_name:set"), 0);
	assert_int_equal(found(w, 1, "tag:*_*"), STREAM_LEAVES_MAX + 100);
	assert_int_equal(found(w, 1, "NOT tag:*i*_*"), 22);
	assert_int_equal(found(w, 1, "tag:*_* OR entity_type:url"), STREAM_LEAVES_MAX + 100);
	assert_int_equal(found(w, 1, "tag:*_* tag:narrow*"), 22);
}

/* No leaf sorts or scans, whatever statistics SQLite may come to have. */
static void every_leaf_is_one_run_of_one_index(void **state)
{
	static const char *const indexes[LEAF_KIND_COUNT] = {
		[LEAF_OWNER] = "sighting_owner (",   [LEAF_KINDS] = "sighting_kinds (",
		[LEAF_LABEL] = "sighting_label (",   [LEAF_TAG] = "PRIMARY KEY (",
		[LEAF_ENTITY] = "sighting_entity (",
	};
	struct world *w = *state;

	for (int i = 0; i < 2 * LEAF_KIND_COUNT; i++) {
		AUTO(sql_end) struct sql_query q = { 0 };
		struct sql_val vals[5] = { SQL_I64(1), SQL_I64(1), SQL_I64(1), SQL_I64(1),
					   SQL_I64(1) };
		const char *sql = leaf_sql((enum leaf_kind)(i / 2), i % 2);
		const char *last = strrchr(sql, '?');
		char text[400];
		struct err err;
		size_t n = 0;
		bool row;

		/* The highest parameter number is how many there are. */
		for (const char *p = strchr(sql, '?'); p; p = strchr(p + 1, '?'))
			n = (size_t)(p[1] - '0') > n ? (size_t)(p[1] - '0') : n;
		assert_non_null(last);
		snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", sql);
		CHECK_OK(sql_start_vals(&q, w->c, text, vals, n, &err), &err);
		CHECK_OK(sql_next(&q, &row, &err), &err);
		CHECK_ROW(sql, row);
		char detail[400];
		snprintf(detail, sizeof detail, STR_FMT, STR_ARG(sql_str(&q, 3)));
		if (strncmp(detail, "SEARCH", 6) != 0 || !strstr(detail, indexes[i / 2]) ||
		    !strstr(detail, i % 2 ? "seq>?" : "seq<?"))
			fail_msg("%s: %s", sql, detail);
		CHECK_OK(sql_next(&q, &row, &err), &err);
		CHECK_ROW(sql, !row); /* no second step: nothing is sorted */
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_added_is_read_whole),
		TEST(damaged_tags_are_an_error),
		TEST(nothing_is_told_twice),
		TEST(dates_never_go_back),
		TEST(pages_stay_put_while_entries_arrive),
		TEST(a_bulk_deletion_holds_at_once_and_freezes),
		TEST(deleting_an_empty_stream_deletes_nothing_later),
		TEST(retention_takes_the_low_end),
		TEST(a_file_is_found_by_every_hash),
		TEST(many_names_are_read_in_order),
		TEST(more_names_and_tags_than_leaves_are_checked_by_row),
		TEST(every_leaf_is_one_run_of_one_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
