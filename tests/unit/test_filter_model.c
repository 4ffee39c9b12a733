/*
 * Random filters over a random stream: what the store answers, what the predicate
 * says and what a naive evaluator (filter_gen.h) says must be the same, in both
 * orders, page by page, while sightings arrive, are deleted one by one and in bulk,
 * and grow too old. `test_filter_model SEED [ROUNDS]` plays one run again.
 */
#include "filter_gen.h"

#include "base/mem.h"

enum {
	ITEMS_MAX = 4000,
	DEPTH_MAX = 4,
	PAGE_MAX = 7,
	OWNERS = 2
};

struct world {
	char *dir;
	struct sql_db *db;
	struct sql_conn *c;
	struct sql_conn *reader;
	struct rand_seq r;
	int64_t now_s, last_s;
	struct model_item items[ITEMS_MAX];
	size_t n, low; /* those below low are purged */
	bool deleting[OWNERS + 1];
};

#define below(w, n) rand_below(&(w)->r, (n))
#define PICK(w, array) (array)[below((w), sizeof(array) / sizeof((array)[0]))]

static struct filter_env env_of(const struct world *w)
{
	return (struct filter_env){ .now_s = w->now_s, .hash = gen_hash };
}

static struct tree *random_tree(struct world *w, struct arena *a, unsigned depth, struct buf *out)
{
	struct gen g = {
		.r = &w->r, .now_s = w->now_s, .last_s = w->last_s, .items = w->items, .n = w->n
	};

	return gen_filter(&g, a, depth, out);
}

/* ---- the world moves ------------------------------------------------------------------ */

static void fill(struct world *w, struct model_item *m)
{
	m->owner = 1 + (int64_t)below(w, OWNERS);
	m->source = 1 + (uint32_t)below(w, 4);
	/* Sources have one owner: the identity of a sighting does not name it. */
	m->source_id = m->owner + OWNERS * (int64_t)below(w, 3);
	m->label = PICK(w, label_names);
	m->entity = 1 + (uint32_t)below(w, 4);
	if (m->entity <= STREAM_URL) {
		uint64_t k = below(w, FILES);
		const char *url = PICK(w, urls);

		if (m->entity == STREAM_URL && below(w, 2))
			sha256_of(url, strlen(url), m->sha256);
		else
			sha256_of(&k, sizeof k, m->sha256);
		hex_encode(m->sha256, 32, m->id);
	} else {
		snprintf(m->id, sizeof m->id, "%s",
			 m->entity == STREAM_DOMAIN ? PICK(w, domains) : PICK(w, addresses));
	}
	snprintf(m->rule, sizeof m->rule, "r%d", (int)below(w, 30));
	m->tag_count = 0;
	for (uint64_t i = below(w, TAGS_MAX); i > 0; i--) {
		char tag[80];
		bool known = false;

		naive_tag(PICK(w, tag_names), tag);
		for (size_t k = 0; k < m->tag_count; k++)
			known = known || strcmp(m->tags[k], tag) == 0;
		if (!known)
			snprintf(m->tags[m->tag_count++], 80, "%s", tag);
	}
	if (m->entity <= STREAM_URL && below(w, 2))
		snprintf(m->tags[m->tag_count++], 80, "%s", m->id);
}

static bool is_told(const struct world *w, const struct model_item *m)
{
	for (const struct model_item *o = w->items + w->low; o < w->items + w->n; o++)
		if (o->source == m->source && o->source_id == m->source_id &&
		    o->entity == m->entity && strcmp(o->id, m->id) == 0 &&
		    strcmp(o->rule, m->rule) == 0)
			return true;
	return false;
}

static void add_one(struct world *w)
{
	struct model_item m = { 0 };
	struct str tags[TAGS_MAX + 1];
	struct err err;
	int64_t seq = -1;

	if (w->n == ITEMS_MAX)
		return;
	fill(w, &m);
	/* Mostly forward, sometimes the clock jumps back. */
	w->now_s += below(w, 20) == 0 ? -(int64_t)below(w, 7200) : (int64_t)below(w, 1200);
	for (size_t i = 0; i < m.tag_count; i++)
		tags[i] = str_of(m.tags[i]);
	const struct sighting_new s = {
		.owner_id = m.owner,
		.source_kind = m.source,
		.source_id = m.source_id,
		.label = str_of(m.label),
		.entity_kind = m.entity,
		.entity_id = m.entity <= STREAM_URL ? str_make(m.sha256, 32) : str_of(m.id),
		.rule = str_of(m.rule),
		.tags = tags,
		.tag_count = m.tag_count,
	};
	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_add(w->c, &s, w->now_s, &seq, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	if (is_told(w, &m)) {
		assert_int_equal(seq, 0);
		return;
	}
	assert_int_equal(seq, (int64_t)w->n + 1);
	w->last_s = w->now_s > w->last_s ? w->now_s : w->last_s;
	m.seq = seq;
	m.date_s = w->last_s;
	m.live = true;
	w->items[w->n++] = m;
}

static void delete_one(struct world *w)
{
	struct filter_env env = env_of(w);
	int64_t owner = 1 + (int64_t)below(w, OWNERS);
	uint64_t i = below(w, w->n + 2);
	bool is_there = i < w->n && w->items[i].live && w->items[i].owner == owner;
	struct err err;

	CHECK_OK(sql_begin(w->c, &err), &err);
	int rc = stream_delete_one(w->c, owner, (int64_t)i + 1, &env, &err);
	assert_int_equal(rc, is_there ? 0 : -ERR_NOT_FOUND);
	CHECK_OK(sql_commit(w->c, &err), &err);
	if (is_there)
		w->items[i].live = false;
}

static void delete_many(struct world *w)
{
	struct arena *a = arena_new("test", 1 << 20);
	struct buf text = BUF_INIT(16384);
	struct tree *t = random_tree(w, a, 2, &text);
	struct filter_env env = env_of(w);
	int64_t owner = 1 + (int64_t)below(w, OWNERS);
	struct err err;

	CHECK_OK(sql_begin(w->c, &err), &err);
	int rc = stream_delete_start(w->c, owner, buf_str(&text), &env, &err);
	assert_int_equal(rc, w->deleting[owner] ? -ERR_BUSY : 0);
	CHECK_OK(sql_commit(w->c, &err), &err);
	for (size_t i = 0; rc == 0 && i < w->n; i++)
		if (w->items[i].owner == owner && naive(t, &w->items[i]))
			w->items[i].live = false;
	w->deleting[owner] = true;
	buf_release(&text);
	arena_free(a);
}

static void delete_step(struct world *w)
{
	struct filter_env env = env_of(w);
	struct err err;
	bool done;

	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_delete_step(w->c, 1 + (uint32_t)below(w, 40), &env, &done, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	memset(w->deleting, 0, sizeof w->deleting);
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;
	CHECK_OK(sql_start(&q, w->c, "SELECT owner_id FROM stream_delete WHERE done = 0", &err),
		 &err);
	for (;;) {
		CHECK_OK(sql_next(&q, &row, &err), &err);
		if (!row)
			break;
		assert_false(done);
		w->deleting[sql_i64(&q, 0)] = true;
	}
}

static void grow_old(struct world *w)
{
	uint32_t max = 1 + (uint32_t)below(w, 20), rows;
	struct err err;
	int64_t before = w->low < w->n ? w->items[w->low].date_s + 1 : w->last_s;

	CHECK_OK(sql_begin(w->c, &err), &err);
	CHECK_OK(stream_retention_step(w->c, before, max, &rows, &err), &err);
	CHECK_OK(sql_commit(w->c, &err), &err);
	for (uint32_t i = 0; i < rows; i++) {
		assert_true(w->items[w->low].date_s < before);
		w->items[w->low++].live = false;
	}
	assert_true(rows == max || w->low == w->n || w->items[w->low].date_s >= before);
}

static void move(struct world *w)
{
	uint64_t dice = below(w, 40);

	if (dice < 30)
		add_one(w);
	else if (dice < 33)
		delete_one(w);
	else if (dice < 37)
		delete_step(w);
	else if (dice == 37 && below(w, 4) == 0)
		delete_many(w);
	else if (dice == 38 && below(w, 4) == 0)
		grow_old(w);
}

/* ---- comparing -------------------------------------------------------------------------- */

static void check_predicate(const struct filter_node *node, const struct tree *t,
			    const struct model_item *m, struct str text)
{
	struct str tags[TAGS_MAX + 1];

	for (size_t i = 0; i < m->tag_count; i++)
		tags[i] = str_of(m->tags[i]);
	const struct stream_item item = {
		.date_s = m->date_s,
		.source_kind = m->source,
		.entity_kind = m->entity,
		.source_id = m->source_id,
		.label = str_of(m->label),
		.entity_id = m->entity <= STREAM_URL ? str_make(m->sha256, 32) : str_of(m->id),
		.tags = tags,
		.tag_count = m->tag_count,
	};
	if (filter_match(node, &item) != naive(t, m))
		fail_msg("'" STR_FMT "': the predicate says %d of seq %d", STR_ARG(text),
			 filter_match(node, &item), (int)m->seq);
}

static bool expected(const struct tree *t, const struct model_item *m, int64_t owner)
{
	return m->live && m->owner == owner && naive(t, m);
}

/* One page against the model as it is now; false when it was the last. */
static bool check_page(struct world *w, const struct tree *t, struct stream_query *q,
		       struct str text)
{
	struct filter_env env = env_of(w);
	struct arena *a = arena_new("page", 8 << 20);
	struct stream_entry *got;
	struct err err;
	size_t n, k = 0;
	bool more, want_more = false;

	CHECK_OK(stream_page(w->reader, q, &env, a, &got, &n, &more, &err), &err);
	for (size_t step = 0; step < w->n; step++) {
		const struct model_item *m = &w->items[q->oldest_first ? step : w->n - 1 - step];

		if (!expected(t, m, q->owner_id) ||
		    (q->position &&
		     (q->oldest_first ? m->seq <= q->position : m->seq >= q->position)))
			continue;
		if (k == q->limit) {
			want_more = true;
			break;
		}
		if (k >= n || got[k].seq != m->seq)
			fail_msg("'" STR_FMT
				 "' owner %d %s: entry %zu after %lld is %lld, not %lld",
				 STR_ARG(text), (int)q->owner_id,
				 q->oldest_first ? "oldest first" : "newest first", k,
				 (long long)q->position, k < n ? (long long)got[k].seq : -1,
				 (long long)m->seq);
		assert_int_equal(got[k].date_s, m->date_s);
		assert_true(str_eq_z(got[k].label, m->label));
		k++;
	}
	if (k != n || more != want_more)
		fail_msg("'" STR_FMT "': %zu entries and more %d, not %zu and %d", STR_ARG(text), n,
			 more, k, want_more);
	if (n > 0)
		q->position = got[n - 1].seq;
	arena_free(a);
	return more;
}

static void check_count(struct world *w, const struct tree *t, const struct stream_query *q,
			struct str text)
{
	struct filter_env env = env_of(w);
	uint64_t got, want = 0;
	struct err err;

	CHECK_OK(stream_count_matching(w->reader, q->owner_id, q->filter, &env, &got, &err), &err);
	for (size_t i = 0; i < w->n; i++)
		want += expected(t, &w->items[i], q->owner_id);
	if (got != want)
		fail_msg("'" STR_FMT "': counts %d, not %d", STR_ARG(text), (int)got, (int)want);
}

static void check_filter(struct world *w)
{
	struct arena *a = arena_new("test", 4 << 20);
	struct buf text = BUF_INIT(16384), again = BUF_INIT(32768);
	struct tree *t = random_tree(w, a, (unsigned)below(w, DEPTH_MAX), &text);
	struct filter_env env = env_of(w);
	const struct filter_node *node, *reparsed;
	struct err err;

	CHECK_OK(filter_parse(&node, a, &stream_schema, buf_str(&text), &env, &err), &err);
	filter_print(&again, node);
	env.now_s += 100000; /* printed filters are frozen */
	CHECK_OK(filter_parse(&reparsed, a, &stream_schema, buf_str(&again), &env, &err), &err);
	if (!filter_equal(node, reparsed))
		fail_msg("'" STR_FMT "' is another filter when printed", STR_ARG(buf_str(&text)));
	for (size_t i = 0; i < w->n; i++)
		check_predicate(node, t, &w->items[i], buf_str(&text));
	struct stream_query q = { .owner_id = 1 + (int64_t)below(w, OWNERS),
				  .filter = node,
				  .oldest_first = below(w, 2),
				  .limit = 1 + (uint32_t)below(w, PAGE_MAX) };
	check_count(w, t, &q, buf_str(&text));
	for (int page = 0; page < 20 && check_page(w, t, &q, buf_str(&text)); page++)
		for (uint64_t moves = below(w, 3); moves > 0; moves--)
			move(w);
	buf_release(&text);
	buf_release(&again);
	arena_free(a);
}

static uint64_t seed_given;
static unsigned rounds = 400;

static void run(uint64_t seed)
{
	struct world *w = mem_must_zalloc(sizeof *w);
	char path[600];
	struct sql_options options = { .path = path, .unsafe_no_sync = true };
	struct err err;

	print_message("seed %llu\n", (unsigned long long)seed);
	w->r.state = seed;
	w->now_s = START + 3600;
	w->dir = test_dir_new();
	snprintf(path, sizeof path, "%s/weir.db", w->dir);
	CHECK_OK(sql_open(&w->db, &options, &err), &err);
	CHECK_OK(sql_connect(&w->c, w->db, SQL_WRITE, &err), &err);
	CHECK_OK(sql_connect(&w->reader, w->db, SQL_READ, &err), &err);
	CHECK_OK(sql_exec(w->c,
			  "INSERT INTO user (id, name, role, created_s) VALUES (1, 'a', 'hunter', "
			  "0), "
			  "(2, 'b', 'hunter', 0)",
			  &err),
		 &err);
	for (unsigned i = 0; i < rounds; i++) {
		for (uint64_t moves = below(w, 12); moves > 0; moves--)
			move(w);
		check_filter(w);
	}
	CHECK_OK(sql_check(w->db, &err), &err);
	sql_disconnect(w->reader);
	sql_disconnect(w->c);
	sql_close(w->db);
	test_dir_remove(w->dir);
	free(w);
}

static void store_predicate_and_model_agree(void **state)
{
	(void)state;
	if (seed_given) {
		run(seed_given);
		return;
	}
	uint64_t fresh; /* beside two that never change, one that nobody has seen */
	rand_bytes(&fresh, sizeof fresh);
	run(1);
	run(2);
	run(fresh >> 32 | 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_predicate_and_model_agree),
	};

	if (argc > 1)
		seed_given = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		rounds = (unsigned)strtoul(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
