/*
 * Random filters over a random stream: what the store answers, what the predicate
 * says and what a naive evaluator here says must be the same, in both orders, page
 * by page, while sightings arrive, are deleted one by one and in bulk, and grow too
 * old. `test_filter_model SEED [ROUNDS]` plays one run again.
 */
#include "unit.h"

#include <stdlib.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/stream.h"

enum {
	ITEMS_MAX = 4000,
	TAGS_MAX = 5,
	DEPTH_MAX = 4,
	PAGE_MAX = 7,
	OWNERS = 2
};
#define START INT64_C(1677628800) /* 2023-03-01T00:00:00Z */

static const char *const label_names[] = { "Kimsuky",          "APT43 (kimsuky)", "Ransom*ware",
					   "my rule set",      "Miners XMRig",    "MY other",
					   "\xd0\x9a\xd0\xb8", "say \"x\"" };
static const char *const tag_names[] = { "my_rule", "My Other", "ransomware", "xmrig",
					 "kimsuky", "rule_1",   "rule_2",     "a\\b" };
static const char *const domains[] = { "evil.example.com", "example.com", "kimsuky", "a.b" };
static const char *const addresses[] = { "10.0.0.1", "2001:db8::1" };
static const char *const words[] = { "kimsuky", "RANSOM", "my",    "rule",      "xmrig",
				     "a",       "(kim",   "other", "miners my", "zzz" };
enum {
	FILES = 12
};

struct model_item {
	int64_t seq, date_s, owner;
	uint32_t source, entity;
	int64_t source_id;
	const char *label;
	char id[80]; /* as text: hex digits for files and URLs */
	uint8_t sha256[32];
	char rule[16];
	char tags[TAGS_MAX][80];
	size_t tag_count;
	bool live;
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
	return (struct filter_env){ .now_s = w->now_s };
}

/* ---- the naive evaluator ---------------------------------------------------------- */

enum term_kind {
	T_DATE,
	T_SOURCE,
	T_ENTITY_KIND,
	T_ENTITY,
	T_SOURCE_ID,
	T_TAG,
	T_NAME,
	T_ANY
};
struct tree {
	enum {
		LEAF,
		NOT,
		AND,
		OR
	} op;
	struct tree *kid[3];
	size_t kids;
	enum term_kind term;
	int64_t lo, hi, id;
	bool source[5], entity[5];
	char text[80]; /* '*' is a wildcard */
};

static char lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
}

static bool naive_glob(const char *p, const char *s)
{
	if (!*p)
		return !*s;
	if (*p == '*')
		return naive_glob(p + 1, s) || (*s && naive_glob(p, s + 1));
	return *s && lower(*p) == lower(*s) && naive_glob(p + 1, s + 1);
}

static bool naive_within(const char *p, const char *s)
{
	char around[100];

	snprintf(around, sizeof around, "*%s*", p);
	return naive_glob(around, s);
}

static bool naive_words(const char *text, const char *label)
{
	char copy[80], *save, *word;

	snprintf(copy, sizeof copy, "%s", text);
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		/* A star in a label is an ordinary character there: hide it from the pattern side.
		 */
		if (!naive_within(word, label))
			return false;
	}
	return true;
}

static void naive_tag(const char *text, char out[80])
{
	size_t i = 0;

	for (; text[i]; i++)
		out[i] = text[i] == ' ' ? '_' : lower(text[i]);
	out[i] = 0;
}

static bool naive_has_tag(const struct model_item *m, const char *text)
{
	char tag[80];

	naive_tag(text, tag);
	for (size_t i = 0; i < m->tag_count; i++)
		if (naive_glob(tag, m->tags[i]) &&
		    (!strchr(tag, '*') || strlen(m->id) != 64 || strcmp(m->tags[i], m->id) != 0))
			return true;
	return strlen(tag) == 64 && strcmp(tag, m->id) == 0;
}

static bool naive_term(const struct tree *t, const struct model_item *m)
{
	switch (t->term) {
	case T_DATE:
		return t->lo <= m->date_s && m->date_s < t->hi;
	case T_SOURCE:
		return t->source[m->source];
	case T_ENTITY_KIND:
		return t->entity[m->entity];
	case T_ENTITY:
		return (!strchr(t->text, '*') && naive_glob(t->text, m->id));
	case T_SOURCE_ID:
		return m->source_id == t->id;
	case T_TAG:
		return naive_has_tag(m, t->text);
	case T_NAME:
		return naive_words(t->text, m->label);
	case T_ANY:
		return naive_words(t->text, m->label) || naive_has_tag(m, t->text) ||
		       (!strchr(t->text, '*') && naive_glob(t->text, m->id));
	}
	return false;
}

static bool naive(const struct tree *t, const struct model_item *m)
{
	bool all = true, any = false;

	if (t->op == LEAF)
		return naive_term(t, m);
	for (size_t i = 0; i < t->kids; i++) {
		bool holds = naive(t->kid[i], m);

		all = all && holds;
		any = any || holds;
	}
	return t->op == NOT ? !all : t->op == AND ? all : any;
}

/* ---- random filters ----------------------------------------------------------------- */

static void quoted(struct buf *out, const char *text)
{
	buf_add_c(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_add_c(out, '\\');
		buf_add_c(out, *text);
	}
	buf_add_c(out, '"');
}

static void random_pattern(struct world *w, const char *from, char out[80])
{
	size_t n = strlen(from);
	size_t at = n > 3 && below(w, 3) == 0 ? below(w, n) : n;

	snprintf(out, 80, "%s", from);
	if (at < n && (unsigned char)out[at] < 0x80) /* not into a character */
		out[at] = '*';
}

static void random_date(struct world *w, struct tree *t, struct buf *out)
{
	int64_t at = START + (int64_t)below(w, (uint64_t)((w->n ? w->last_s - START : 0) + 86400));
	int64_t back = (int64_t)below(w, 40);
	char sign = "+-"[below(w, 2)];

	if (below(w, 3) == 0 && w->n > 0)
		at = w->items[below(w, w->n)].date_s;
	t->lo = INT64_MIN;
	t->hi = INT64_MAX;
	switch (below(w, 4)) {
	case 0: /* that second */
		t->lo = at;
		t->hi = at + 1;
		buf_addf(out, "date:%lld", (long long)at);
		return;
	case 1: /* that day */
		t->lo = at / 86400 * 86400;
		t->hi = t->lo + 86400;
		buf_addf(out, "date:2023-03-%02d", (int)((t->lo - START) / 86400) + 1);
		return;
	case 2:
		at = w->now_s - back * 3600;
		buf_addf(out, "date:%lldh%c", (long long)back, sign);
		break;
	default:
		buf_addf(out, "date:%lld%c", (long long)at, sign);
		break;
	}
	*(sign == '+' ? &t->lo : &t->hi) = at;
}

static void random_kind(struct world *w, struct tree *t, struct buf *out)
{
	static const char *const sources[] = { "hunting_ruleset", "retrohunt_job", "collection",
					       "threat_actor", "threat_profile" };
	static const char *const entities[] = { "file", "url", "domain", "ip_address" };
	uint64_t k;

	switch (below(w, 3)) {
	case 0:
		k = below(w, 5);
		t->term = T_SOURCE;
		if (k < 4)
			t->source[k + 1] = true;
		buf_addf(out, "source_type:%s", sources[k]);
		return;
	case 1:
		k = below(w, 2);
		t->term = T_SOURCE;
		t->source[2 * k + 1] = t->source[2 * k + 2] = true;
		buf_addf(out, "Origin:%s", k ? "SUBSCRIPTIONS" : "hunting");
		return;
	default:
		k = below(w, 4);
		t->term = T_ENTITY_KIND;
		t->entity[k + 1] = true;
		buf_addf(out, "entity_type:%s", entities[k]);
		return;
	}
}

static void random_text(struct world *w, struct tree *t, struct buf *out)
{
	const char *from = PICK(w, words);

	if (w->n > 0 && below(w, 2)) {
		const struct model_item *m = &w->items[below(w, w->n)];

		from = below(w, 2) ? m->id : m->tag_count ? m->tags[0] : m->label;
	}
	random_pattern(w, from, t->text);
	switch (below(w, 4)) {
	case 0:
		t->term = T_TAG;
		buf_add_z(out, below(w, 2) ? "tag:" : "notification_tag:");
		break;
	case 1:
		t->term = T_NAME;
		buf_add_z(out, "source_name:");
		break;
	case 2:
		t->term = T_ENTITY;
		snprintf(t->text, sizeof t->text, "%s", w->n ? w->items[below(w, w->n)].id : "x");
		buf_add_z(out, "entity_id:");
		break;
	default:
		t->term = T_ANY;
		break;
	}
	quoted(out, t->text);
}

static struct tree *random_tree(struct world *w, struct arena *a, unsigned depth, struct buf *out)
{
	struct tree *t = arena_must(a, sizeof *t);
	uint64_t dice = below(w, depth == 0 ? 4 : 10);

	if (dice < 4) {
		t->op = LEAF;
		if (dice == 0) {
			t->term = T_DATE;
			random_date(w, t, out);
		} else if (dice == 1) {
			random_kind(w, t, out);
		} else if (below(w, 4) == 0) {
			t->term = T_SOURCE_ID;
			t->id = 1 + (int64_t)below(w, 7);
			buf_addf(out, "source_id:%d", (int)t->id);
		} else {
			random_text(w, t, out);
		}
		return t;
	}
	t->op = dice < 6 ? NOT : dice < 8 ? AND : OR;
	t->kids = t->op == NOT ? 1 : 2 + below(w, 2);
	for (size_t i = 0; i < t->kids; i++) {
		if (t->op == NOT)
			buf_add_z(out, "not ");
		else if (i > 0)
			buf_add_z(out, t->op == OR ? " or " : below(w, 2) ? " AND " : " ");
		buf_add_c(out, '(');
		t->kid[i] = random_tree(w, a, depth - 1, out);
		buf_add_c(out, ')');
	}
	return t;
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
