#ifndef FILTER_GEN_H
#define FILTER_GEN_H
#include "unit.h"

#include <stdlib.h>
#include <time.h>

#include "base/arena.h"
#include "base/hex.h"
#include "base/rand.h"
#include "store/stream.h"

/*
 * Random filters of the IoC Stream: each as a text, written in one of the many
 * ways there are, and as a tree of plain C; and what that tree says of an entry,
 * worked out as simply as can be. The oracle of test_filter_model: it shares no
 * code with parser, plan and predicate.
 */
enum {
	TAGS_MAX = 5,
	FILES = 12,
	TEXT_MAX = 80
};
#define START INT64_C(1677628800) /* 2023-03-01T00:00:00Z */
#define LITERAL_STAR '\x02'       /* in a tree's text: a star that was escaped */

static const char *const label_names[] = { "Kimsuky",          "APT43 (kimsuky)", "Ransom*ware",
					   "my rule set",      "Miners XMRig",    "MY other",
					   "\xd0\x9a\xd0\xb8", "say \"x\"" };
static const char *const tag_names[] = { "my_rule", "My Other", "ransomware", "xmrig",
					 "kimsuky", "rule_1",   "rule_2",     "a\\b" };
static const char *const domains[] = { "evil.example.com", "example.com", "kimsuky", "a.b" };
static const char *const addresses[] = { "10.0.0.1", "2001:db8::1" };
static const char *const urls[] = { "http://evil.example.com/a?b=c",
				    "https://example.com/kimsuky" };
static const char *const words[] = { "kimsuky", "RANSOM", "my",    "rule",      "xmrig",
				     "a",       "(kim",   "other", "miners my", "zzz" };
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

/* What filters are made from: the entries there are, and the time. */
struct gen {
	struct rand_seq *r;
	int64_t now_s, last_s;
	const struct model_item *items;
	size_t n;
};
#define gen_below(g, n) rand_below((g)->r, (n))
#define GEN_PICK(g, array) (array)[gen_below((g), sizeof(array) / sizeof((array)[0]))]

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
	char text[TEXT_MAX]; /* '*' is a wildcard */
	const char *written; /* of a leaf: how it stands in the filter */
};

static inline char naive_lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
}

static inline bool naive_glob(const char *p, const char *s)
{
	if (!*p)
		return !*s;
	if (*p == '*')
		return naive_glob(p + 1, s) || (*s && naive_glob(p, s + 1));
	return *s && naive_lower(*p == LITERAL_STAR ? '*' : *p) == naive_lower(*s) &&
	       naive_glob(p + 1, s + 1);
}

static inline bool naive_words(const char *text, const char *label)
{
	char copy[TEXT_MAX], around[TEXT_MAX + 2], *save, *word;

	snprintf(copy, sizeof copy, "%s", text);
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		snprintf(around, sizeof around, "*%s*", word);
		if (!naive_glob(around, label))
			return false;
	}
	return true;
}

static inline void naive_tag(const char *text, char out[TEXT_MAX])
{
	size_t i = 0;

	for (; text[i]; i++)
		out[i] = text[i] == ' ' ? '_' : naive_lower(text[i]);
	out[i] = 0;
}

static inline bool naive_has_tag(const struct model_item *m, const char *text)
{
	char tag[TEXT_MAX];

	naive_tag(text, tag);
	for (size_t i = 0; i < m->tag_count; i++)
		if (naive_glob(tag, m->tags[i]) &&
		    (!strchr(tag, '*') || strlen(m->id) != 64 || strcmp(m->tags[i], m->id) != 0))
			return true;
	return strlen(tag) == 64 && strcmp(tag, m->id) == 0;
}

static inline bool naive_term(const struct tree *t, const struct model_item *m)
{
	bool is_id = !strchr(t->text, '*') && naive_glob(t->text, m->id);

	switch (t->term) {
	case T_DATE:
		return t->lo <= m->date_s && m->date_s < t->hi;
	case T_SOURCE:
		return t->source[m->source];
	case T_ENTITY_KIND:
		return t->entity[m->entity];
	case T_ENTITY:
		return is_id;
	case T_SOURCE_ID:
		return m->source_id == t->id;
	case T_TAG:
		return naive_has_tag(m, t->text);
	case T_NAME:
		return naive_words(t->text, m->label);
	case T_ANY:
		return naive_words(t->text, m->label) || naive_has_tag(m, t->text) || is_id;
	}
	return false;
}

static inline bool naive(const struct tree *t, const struct model_item *m)
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

/* ---- values in every form ------------------------------------------------------------ */

static inline void gen_key(struct gen *g, struct buf *out, const char *key)
{
	uint64_t how = gen_below(g, 3);

	for (size_t i = 0; key[i]; i++) {
		bool up = (how == 1 || (how == 2 && i == 0)) && key[i] >= 'a' && key[i] <= 'z';

		buf_add_c(out, (char)(up ? key[i] - 32 : key[i]));
	}
	buf_add_c(out, ':');
}

static inline bool gen_may_be_bare(const char *text)
{
	return text[0] && !strpbrk(text, " ()\"':") && !strchr(text, LITERAL_STAR);
}

static inline void gen_value(struct gen *g, struct buf *out, const char *text)
{
	static const struct {
		const char *open, *close, *escaped;
	} quotes[] = { { "\"", "\"", "\"" },
		       { "'", "'", "'" },
		       { "\xe2\x80\x9c", "\xe2\x80\x9d", "\"" },
		       { "\xe2\x80\x98", "\xe2\x80\x99", "'" },
		       { "\xe2\x80\x9e", "\"", "\"" } };
	uint64_t how = gen_below(g, 6);

	if (how == 5 && gen_may_be_bare(text)) {
		buf_add_z(out, text);
		return;
	}
	how %= 5;
	buf_add_z(out, quotes[how].open);
	for (; *text; text++) {
		if (*text == quotes[how].escaped[0] || *text == '\\' || *text == LITERAL_STAR)
			buf_add_c(out, '\\');
		buf_add_c(out, *text == LITERAL_STAR ? '*' : *text);
	}
	buf_add_z(out, quotes[how].close);
}

/* Text of an entry, sometimes with a wildcard in it; a star that was there is escaped, or one. */
static inline void gen_pattern(struct gen *g, const char *from, char out[TEXT_MAX])
{
	size_t n = strlen(from);
	size_t at = n > 3 && gen_below(g, 3) == 0 ? gen_below(g, n) : n;

	snprintf(out, TEXT_MAX, "%s", from);
	for (size_t i = 0; i < n; i++)
		if (out[i] == '*' && gen_below(g, 2))
			out[i] = LITERAL_STAR;
	if (at < n && (unsigned char)out[at] < 0x80) /* not into a character */
		out[at] = '*';
}

/* An instant in one of its forms; those with a blank need quotes. */
static inline bool gen_instant(struct gen *g, struct buf *out, int64_t at)
{
	static const char *const between[] = { "T:", "T-", "t:", " :" };
	uint64_t how = gen_below(g, 5);
	time_t t = (time_t)at;
	struct tm tm;

	if (how == 4) {
		buf_addf(out, "%lld", (long long)at);
		return false;
	}
	gmtime_r(&t, &tm);
	buf_addf(out, "%04d-%02d-%02d%c%02d%c%02d%c%02d%s", tm.tm_year + 1900, tm.tm_mon + 1,
		 tm.tm_mday, between[how][0], tm.tm_hour, between[how][1], tm.tm_min,
		 between[how][1], tm.tm_sec, gen_below(g, 3) ? "" : "Z");
	return between[how][0] == ' ';
}

static inline void gen_day(struct buf *out, int64_t at)
{
	time_t t = (time_t)at;
	struct tm tm;

	gmtime_r(&t, &tm);
	buf_addf(out, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

static inline void gen_relative(struct gen *g, struct tree *t, struct buf *out, char sign)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	const int64_t span = g->now_s - START + 7200;
	size_t u = gen_below(g, 5);
	int64_t n = (int64_t)gen_below(g, (uint64_t)(span / units[u].seconds + 2));
	int64_t at = g->now_s - n * units[u].seconds;

	buf_addf(out, "%lld%c", (long long)n, units[u].unit);
	if (sign != '+' || gen_below(g, 2)) /* the plus may have been lost */
		buf_add_c(out, sign);
	*(sign == '+' ? &t->lo : &t->hi) = at;
}

/* Before 1970, after 2262: all there is, or nothing. */
static inline void gen_far(struct gen *g, struct tree *t, struct buf *out, char sign)
{
	static const struct {
		const char *text;
		int64_t at;
	} far[] = { { "1969-12-31", -86400 },
		    { "0000-01-01T00:00:00", INT64_C(-62167219200) },
		    { "2262-04-12", INT64_C(9223372800) },
		    { "9999-12-31T23-59-59", INT64_C(253402300799) },
		    { "99999999999999999999", INT64_C(253402300799) } };
	size_t i = gen_below(g, COUNT_OF(far));

	buf_addf(out, "%s%c", far[i].text, sign);
	*(sign == '+' ? &t->lo : &t->hi) = far[i].at;
}

static inline void gen_date(struct gen *g, struct tree *t, struct buf *out)
{
	int64_t at =
		START + (int64_t)gen_below(g, (uint64_t)((g->n ? g->last_s - START : 0) + 86400));
	AUTO(buf_release) struct buf value = BUF_INIT(256);
	char sign = "+-"[gen_below(g, 2)];
	bool quote = false;

	if (gen_below(g, 3) == 0 && g->n > 0)
		at = g->items[gen_below(g, g->n)].date_s;
	t->term = T_DATE;
	t->lo = INT64_MIN;
	t->hi = INT64_MAX;
	gen_key(g, out, "date");
	switch (gen_below(g, 6)) {
	case 0: /* that second */
		quote = gen_instant(g, &value, at);
		t->lo = at;
		t->hi = at + 1;
		sign = 0;
		break;
	case 1: /* that day, or from it, or until it */
		t->lo = at / 86400 * 86400;
		t->hi = t->lo + 86400;
		gen_day(&value, at);
		if (gen_below(g, 2)) {
			sign = 0;
		} else {
			at = t->lo;
			t->lo = sign == '+' ? at : INT64_MIN;
			t->hi = sign == '+' ? INT64_MAX : at;
		}
		break;
	case 2:
		gen_relative(g, t, out, sign);
		return;
	case 3:
		gen_far(g, t, out, sign);
		return;
	default:
		quote = gen_instant(g, &value, at);
		*(sign == '+' ? &t->lo : &t->hi) = at;
		break;
	}
	if (quote)
		buf_add_c(out, '"');
	buf_add_str(out, buf_str(&value));
	if (quote)
		buf_add_c(out, '"');
	if (sign)
		buf_add_c(out, sign);
}

/* A name of a kind, or a pattern of which at least one is meant. */
static inline void gen_names(struct gen *g, struct buf *out, const char *const *names, size_t n,
			     bool picked[6])
{
	size_t k = gen_below(g, n);
	char text[TEXT_MAX];

	gen_pattern(g, names[k], text);
	for (size_t i = 0; i < n; i++)
		picked[i] = naive_glob(text, names[i]);
	gen_value(g, out, text);
}

static inline void gen_kind(struct gen *g, struct tree *t, struct buf *out)
{
	static const char *const sources[] = { "hunting_ruleset", "retrohunt_job", "collection",
					       "threat_actor", "threat_profile" };
	static const char *const entities[] = { "file", "url", "domain", "ip_address" };
	static const char *const origins[] = { "Hunting", "SUBSCRIPTIONS" };
	bool picked[6] = { false };

	switch (gen_below(g, 3)) {
	case 0:
		t->term = T_SOURCE;
		gen_key(g, out, "source_type");
		gen_names(g, out, sources, 5, picked);
		for (size_t i = 0; i < 4; i++)
			t->source[i + 1] = picked[i];
		return;
	case 1:
		t->term = T_SOURCE;
		gen_key(g, out, "origin");
		gen_names(g, out, origins, 2, picked);
		for (size_t i = 0; i < 4; i++)
			t->source[i + 1] = picked[i / 2];
		return;
	default:
		t->term = T_ENTITY_KIND;
		gen_key(g, out, "entity_type");
		gen_names(g, out, entities, 4, picked);
		for (size_t i = 0; i < 4; i++)
			t->entity[i + 1] = picked[i];
		return;
	}
}

/* Stands for the database: the MD5 (SHA-1) of a file is the beginning of its SHA-256. */
static inline bool gen_hash(void *arg, struct str hex, uint8_t ret[SHA256_BYTES])
{
	(void)arg;
	for (uint64_t k = 0; k < FILES; k++) {
		char id[65];

		sha256_of(&k, sizeof k, ret);
		hex_encode(ret, SHA256_BYTES, id);
		if (strncmp(id, hex.p, hex.n) == 0)
			return true;
	}
	return false;
}

/* The id of an entry's entity in another form: what it must be read as is in t->text. */
static inline void gen_entity(struct gen *g, struct tree *t, struct buf *out)
{
	const char *url = GEN_PICK(g, urls);
	char text[2 * TEXT_MAX];
	uint8_t sha256[32];

	t->term = T_ENTITY;
	gen_key(g, out, "entity_id");
	snprintf(t->text, sizeof t->text, "%s", g->n ? g->items[gen_below(g, g->n)].id : "x");
	snprintf(text, sizeof text, "%s", t->text);
	switch (gen_below(g, 6)) {
	case 0: /* a URL as it is, or in base64url */
	case 1:
		sha256_of(url, strlen(url), sha256);
		hex_encode(sha256, sizeof sha256, t->text);
		snprintf(text, sizeof text, "%s", url);
		if (gen_below(g, 2)) {
			AUTO(buf_release) struct buf id = BUF_INIT(256);

			base64url_encode(&id, url, strlen(url));
			snprintf(text, sizeof text, "%s", id.p);
		}
		break;
	case 2: /* MD5 or SHA-1: of a file that is known, or of none */
		if (strlen(text) == 64) {
			text[gen_below(g, 2) ? 32 : 40] = 0;
			if (!gen_hash(NULL, str_of(text), sha256))
				snprintf(t->text, sizeof t->text, "no entity");
		}
		break;
	case 3:
		if (strchr(text, ':') && !strchr(text, '/'))
			snprintf(text, sizeof text, "2001:0DB8:0:0::1");
		else if (strlen(text) < 64 && !strchr(text, ':') && text[0] > '9')
			strncat(text, ".", 2);
		break;
	default:
		for (size_t i = 0; gen_below(g, 2) && text[i]; i++)
			text[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i]);
		break;
	}
	gen_value(g, out, text);
}

static inline void gen_text(struct gen *g, struct tree *t, struct buf *out)
{
	const char *from = GEN_PICK(g, words);

	if (g->n > 0 && gen_below(g, 2)) {
		const struct model_item *m = &g->items[gen_below(g, g->n)];

		from = gen_below(g, 2)                   ? m->id
		       : m->tag_count && gen_below(g, 2) ? m->tags[0]
							 : m->label;
	}
	gen_pattern(g, from, t->text);
	switch (gen_below(g, 3)) {
	case 0:
		t->term = T_TAG;
		gen_key(g, out, gen_below(g, 2) ? "tag" : "notification_tag");
		break;
	case 1:
		t->term = T_NAME;
		gen_key(g, out, "source_name");
		break;
	default:
		t->term = T_ANY;
		break;
	}
	gen_value(g, out, t->text);
}

static inline void gen_source_id(struct gen *g, struct tree *t, struct buf *out)
{
	t->term = T_SOURCE_ID;
	t->id = 1 + (int64_t)gen_below(g, 7);
	gen_key(g, out, "source_id");
	switch (gen_below(g, 6)) {
	case 0: /* no such id, however it is written */
		t->id = -1;
		buf_add_z(out, "no-number");
		break;
	case 1:
		buf_addf(out, "00%d", (int)t->id);
		break;
	default:
		buf_addf(out, "%d", (int)t->id);
		break;
	}
}

/* ---- trees ---------------------------------------------------------------------------- */

static inline struct tree *gen_leaf(struct gen *g, struct arena *a)
{
	AUTO(buf_release) struct buf out = BUF_INIT(4096);
	struct tree *t = arena_must(a, sizeof *t);

	t->op = LEAF;
	switch (gen_below(g, 6)) {
	case 0:
		gen_date(g, t, &out);
		break;
	case 1:
		gen_kind(g, t, &out);
		break;
	case 2:
		gen_entity(g, t, &out);
		break;
	case 3:
		gen_source_id(g, t, &out);
		break;
	default:
		gen_text(g, t, &out);
		break;
	}
	t->written = arena_str(a, buf_str(&out)).p;
	return t;
}

static inline struct tree *gen_tree(struct gen *g, struct arena *a, unsigned depth)
{
	uint64_t dice = gen_below(g, depth == 0 ? 4 : 10);
	struct tree *t;

	if (dice < 4)
		return gen_leaf(g, a);
	t = arena_must(a, sizeof *t);
	t->op = dice < 6 ? NOT : dice < 8 ? AND : OR;
	t->kids = t->op == NOT ? 1 : 2 + gen_below(g, 2);
	for (size_t i = 0; i < t->kids; i++)
		t->kid[i] = gen_tree(g, a, depth - 1);
	return t;
}

static inline void gen_blank(struct gen *g, struct buf *out, bool is_needed)
{
	static const char *const blanks[] = { " ", "  ", "\t", "\xc2\xa0", "\r\n" };

	if (is_needed || gen_below(g, 4) == 0)
		buf_add_z(out, gen_below(g, 4) ? " " : GEN_PICK(g, blanks));
}

/*
 * The tree as text: parentheses where precedence asks for them (NOT before AND
 * before OR), and sometimes where it does not.
 */
static inline void gen_write(struct gen *g, const struct tree *t, int above, struct buf *out)
{
	static const char *const ands[] = { "AND", "and", "And", "" };
	static const char *const ors[] = { "OR", "or", "oR" };
	static const char *const nots[] = { "NOT", "not" };
	const int binds = t->op == LEAF ? 4 : t->op == NOT ? 3 : t->op == AND ? 2 : 1;
	bool paren = binds < above || gen_below(g, 6) == 0;

	if (paren) {
		buf_add_c(out, '(');
		gen_blank(g, out, false);
	}
	if (t->op == LEAF)
		buf_add_z(out, t->written);
	for (size_t i = 0; i < t->kids; i++) {
		if (t->op == NOT || i > 0)
			gen_blank(g, out, true);
		if (t->op == NOT)
			buf_add_z(out, GEN_PICK(g, nots));
		else if (i > 0)
			buf_add_z(out, t->op == OR ? GEN_PICK(g, ors) : GEN_PICK(g, ands));
		if (t->op == NOT || i > 0)
			gen_blank(g, out, true);
		gen_write(g, t->kid[i], binds, out);
	}
	if (paren) {
		gen_blank(g, out, false);
		buf_add_c(out, ')');
	}
}

/* A random filter: its tree in the arena, its text appended. */
static inline struct tree *gen_filter(struct gen *g, struct arena *a, unsigned depth,
				      struct buf *out)
{
	struct tree *t = gen_tree(g, a, depth);

	gen_blank(g, out, false);
	gen_write(g, t, 0, out);
	gen_blank(g, out, false);
	return t;
}
#endif
