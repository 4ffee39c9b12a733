#include "meta_stream_internal.h"
#include "base/json.h"
#include "base/utf8.h"

/* All that adding needs to know, at once: told already, last number and date, label. */
#define PLACE_SQL                                                                                  \
	"SELECT (SELECT 1 FROM sighting WHERE source_kind = ?2 AND source_id = ?3 AND "            \
	"entity_kind = ?5 AND entity_id = ?6 AND rule = ?7), "                                     \
	"coalesce((SELECT date_s FROM sighting ORDER BY seq DESC LIMIT 1), "                       \
	"(SELECT value FROM counter WHERE name = 'sighting_date')), c.value, l.id, l.kinds "       \
	"FROM counter c LEFT JOIN source_label l ON l.owner_id = ?1 AND l.source_kind = ?2 AND "   \
	"l.source_id = ?3 AND l.label = ?4 WHERE c.name = 'sighting'"
#define TOLD_SQL                                                                                   \
	"SELECT 1 FROM sighting WHERE source_kind = ?1 AND source_id = ?2 AND entity_kind = ?3 "   \
	"AND entity_id = ?4 AND rule = ?5"
#define LABEL_ADD_SQL                                                                              \
	"INSERT INTO source_label (owner_id, source_kind, source_id, label, kinds) VALUES (?1, "   \
	"?2, ?3, ?4, ?5) RETURNING id"
#define LABEL_KINDS_SQL "UPDATE source_label SET kinds = ?2 WHERE id = ?1"
#define ADD_SQL                                                                                    \
	"INSERT INTO sighting (seq, date_s, owner_id, source_kind, source_id, label_id, "          \
	"entity_kind, entity_id, rule, tags, info, analysis_id, url, state) "                      \
	"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0)"
#define COUNTER_SET_SQL "UPDATE counter SET value = ?1 WHERE name = 'sighting'"
#define TAG_FIND_SQL "SELECT id FROM stream_tag WHERE owner_id = ?1 AND tag = ?2"
#define TAG_ADD_SQL "INSERT INTO stream_tag (owner_id, tag) VALUES (?1, ?2) RETURNING id"
/* TAGS_AT_ONCE of them; those that are fewer repeat the last. */
#define TAGS_FIND_SQL                                                                              \
	"SELECT id, tag FROM stream_tag WHERE owner_id = ?1 AND tag IN (?2, ?3, ?4, ?5, ?6, ?7)"
#define UNTAGGED_SQL "DELETE FROM sighting_tag WHERE tag_id = ?1 AND seq = ?2"
#define COUNT_UP_SQL                                                                               \
	"INSERT INTO stream_count (owner_id, source_kind, source_id, entity_kind, day, live) "     \
	"VALUES (?1, ?2, ?3, ?4, ?5, 1), (?1, ?2, 0, ?4, ?5, 1) ON CONFLICT (owner_id, "           \
	"source_kind, source_id, "                                                                 \
	"entity_kind, day) DO UPDATE SET live = live + 1"
#define COUNT_DOWN_SQL                                                                             \
	"UPDATE stream_count SET live = live - 1 WHERE owner_id = ?1 AND source_kind = ?2 AND "    \
	"source_id IN (0, ?3) AND entity_kind = ?4 AND day = ?5"
#define ROW_SQL                                                                                    \
	"SELECT s.date_s, s.owner_id, s.source_kind, s.source_id, s.entity_kind, s.entity_id, "    \
	"s.rule, s.tags, s.info, s.analysis_id, l.label, s.url FROM sighting s JOIN source_label " \
	"l ON "                                                                                    \
	"l.id = s.label_id WHERE s.seq = ?1 AND s.state = 0"
#define BURY_SQL "UPDATE sighting SET state = 1 WHERE seq = ?1"
#define OLDEST_SQL                                                                                 \
	"SELECT seq, state, date_s FROM sighting WHERE date_s < ?1 ORDER BY date_s, seq LIMIT 1"
/* The date of the last one that went, for when none is left to tell it. */
#define PURGED_SQL "UPDATE counter SET value = ?1 WHERE name = 'sighting_date'"
#define PURGE_SQL "DELETE FROM sighting WHERE seq = ?1"

enum {
	SCRATCH_BYTES = 4 * 1024 * 1024, /* one row and its tags */
	TAGS_BYTES_MAX = 1024 * 1024,
	TAGS_AT_ONCE = 6, /* rule, ruleset and a few of the rule's own */
};

static void arena_end(struct arena **a)
{
	arena_free(*a);
	*a = NULL;
}

int snapshot_begin(struct sql_conn *conn, bool *ret_own, struct err *err)
{
	*ret_own = !sql_in_transaction(conn);
	return *ret_own ? sql_begin(conn, err) : 0;
}

void snapshot_end(struct sql_conn *conn, bool own)
{
	if (own)
		sql_rollback(conn); /* nothing was written */
}

/* ---- tags ----------------------------------------------------------------------------- */

int stream_tags_normalise(struct arena *arena, const struct str *tags, size_t count,
			  struct str **ret, size_t *ret_count, struct err *err)
{
	AUTO(buf_release) struct buf clean = BUF_INIT(TAGS_BYTES_MAX);
	AUTO(buf_release) struct buf normal = BUF_INIT(TAGS_BYTES_MAX);
	struct str *out;
	size_t n = 0;
	void *mem;

	if (count > STREAM_TAGS_MAX)
		count = STREAM_TAGS_MAX;
	TRY(stream_mem(arena, count, sizeof *out, &mem, err));
	out = mem;
	for (size_t i = 0; i < count; i++) {
		bool known = false;

		buf_reset(&clean);
		buf_reset(&normal);
		if (!utf8_valid(tags[i]))
			utf8_clean(&clean, tags[i]);
		filter_tag_normalise(&normal, clean.n > 0 ? buf_str(&clean) : tags[i]);
		TRY(buf_check(&clean, "a tag", err));
		TRY(buf_check(&normal, "a tag", err));
		for (size_t k = 0; k < n; k++)
			known = known || str_eq(out[k], buf_str(&normal));
		if (normal.n == 0 || known)
			continue;
		TRY(stream_mem(arena, normal.n + 1, 1, &mem, err));
		memcpy(mem, normal.p, normal.n);
		out[n++] = (struct str){ mem, normal.n };
	}
	*ret = out;
	*ret_count = n;
	return 0;
}

static void tags_json(struct buf *out, const struct str *tags, size_t n)
{
	buf_add_c(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_c(out, ',');
		json_escape(out, tags[i]);
	}
	buf_add_c(out, ']');
}

static int hex4(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Bytes written: a code point that is no surrogate, below U+10000. */
static size_t put_cp(char *out, int cp)
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | cp >> 12);
	out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[2] = (char)(0x80 | (cp & 0x3f));
	return 3;
}

/* What stands behind a backslash; bytes written to out, 0 if it is no escape of ours. */
static size_t parse_escape(struct str *s, char *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = s->n > 0 ? *s->p : 0;
	const char *at = c ? strchr(from, c) : NULL;
	if (at) {
		*out = to[at - from];
		s->p++;
		s->n--;
		return 1;
	}
	int cp = c == 'u' && s->n > 4 ? hex4(s->p + 1) : -1;
	/* The writer escapes control characters so, never surrogates. */
	if (cp < 0 || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	s->p += 5;
	s->n -= 5;
	return put_cp(out, cp);
}

/* One JSON string at *s, its opening quote already taken. It is shorter than its text. */
static bool parse_string(struct str *s, char *out, size_t *ret_n)
{
	size_t n = 0;

	while (s->n > 0) {
		char c = *s->p++;

		s->n--;
		if (c == '"') {
			*ret_n = n;
			return true;
		}
		if (c != '\\') {
			out[n++] = c;
			continue;
		}
		size_t wrote = parse_escape(s, out + n);
		if (wrote == 0)
			return false;
		n += wrote;
	}
	return false;
}

int stream_tags_parse(struct arena *arena, struct str json, struct str **ret, size_t *ret_count,
		      struct err *err)
{
	struct str s = json;
	struct str *out;
	size_t n = 0, max = 0;
	void *mem;

	for (size_t i = 0; i < s.n; i++)
		max += s.p[i] == ',';
	TRY(stream_mem(arena, max + 1, sizeof *out, &mem, err));
	out = mem;
	if (str_eq(s, STR("[]"))) {
		*ret = out;
		*ret_count = 0;
		return 0;
	}
	char before = '[';
	while (s.n > 2 && s.p[0] == before && s.p[1] == '"' && n <= max) {
		s = (struct str){ s.p + 2, s.n - 2 };
		TRY(stream_mem(arena, s.n + 2, 1, &mem, err));
		if (!parse_string(&s, mem, &out[n].n))
			break;
		out[n++].p = mem;
		before = ',';
	}
	if (n == 0 || !str_eq(s, STR("]")))
		return err_set(err, ERR_CORRUPT, "stored tags are no array of strings");
	*ret = out;
	*ret_count = n;
	return 0;
}

/* A tag that is the entity's own SHA-256 is found by the entity: it needs no entry. */
static bool is_own_hash(struct str tag, uint32_t entity_kind, struct str entity_id)
{
	static const char digits[] = "0123456789abcdef";

	if (entity_kind > STREAM_URL || entity_id.n != SHA256_BYTES || tag.n != 2 * SHA256_BYTES)
		return false;
	for (size_t i = 0; i < SHA256_BYTES; i++) {
		unsigned char c = (unsigned char)entity_id.p[i];

		if (tag.p[2 * i] != digits[c >> 4] || tag.p[2 * i + 1] != digits[c & 15])
			return false;
	}
	return true;
}

/* ---- one value ------------------------------------------------------------------------ */

/* Run a statement for one number; *ret_found false if it gives no row. */
static int one_i64(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		   int64_t *ret, bool *ret_found, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, ret_found, err));
	if (*ret_found)
		*ret = sql_i64(&q, 0);
	return 0;
}
#define ONE_I64(conn, text, ret, found, err, ...)                                                  \
	one_i64((conn), (text), (const struct sql_val[]){ __VA_ARGS__ },                           \
		sizeof((const struct sql_val[]){ __VA_ARGS__ }) / sizeof(struct sql_val), (ret),   \
		(found), (err))

/* ---- adding --------------------------------------------------------------------------- */

/* Where a sighting goes. */
struct place {
	bool is_told;
	int64_t seq, date_s;
	int64_t label_id; /* 0: new */
	uint32_t label_kinds;
};

static int find_place(struct sql_conn *conn, const struct sighting_new *s, struct str label,
		      int64_t now_s, struct place *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, PLACE_SQL, err, SQL_I64(s->owner_id), SQL_I64(s->source_kind),
		      SQL_I64(s->source_id), SQL_TEXT(label), SQL_I64(s->entity_kind),
		      SQL_BLOB(s->entity_id.p, s->entity_id.n), SQL_TEXT(s->rule)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_CORRUPT, "the counter of sightings is missing");
	ret->is_told = !sql_is_null(&q, 0);
	/* A clock that jumped back must not put an entry before the last one. */
	ret->date_s = sql_is_null(&q, 1) || sql_i64(&q, 1) < now_s ? now_s : sql_i64(&q, 1);
	ret->seq = sql_i64(&q, 2) + 1;
	ret->label_id = sql_is_null(&q, 3) ? 0 : sql_i64(&q, 3);
	ret->label_kinds = sql_is_null(&q, 3) ? 0 : (uint32_t)sql_i64(&q, 4);
	return 0;
}

static int keep_label(struct sql_conn *conn, const struct sighting_new *s, struct str label,
		      struct place *at, struct err *err)
{
	const uint32_t bit = STREAM_BIT((uint32_t)s->entity_kind);
	bool found;

	if (at->label_id == 0)
		return ONE_I64(conn, LABEL_ADD_SQL, &at->label_id, &found, err,
			       SQL_I64(s->owner_id), SQL_I64(s->source_kind), SQL_I64(s->source_id),
			       SQL_TEXT(label), SQL_I64(bit));
	if (at->label_kinds & bit)
		return 0;
	return sql_exec(conn, LABEL_KINDS_SQL, err, SQL_I64(at->label_id),
			SQL_I64(at->label_kinds | bit));
}

/* Numbers of up to TAGS_AT_ONCE tags; unknown ones are made. */
static int tag_ids(struct sql_conn *conn, int64_t owner_id, const struct str *tags, size_t n,
		   int64_t ids[TAGS_AT_ONCE], struct err *err)
{
	struct sql_val vals[1 + TAGS_AT_ONCE];
	bool row;

	REQUIRE(n > 0 && n <= TAGS_AT_ONCE);
	vals[0] = SQL_I64(owner_id);
	for (size_t i = 0; i < TAGS_AT_ONCE; i++)
		vals[1 + i] = SQL_TEXT(tags[i < n ? i : n - 1]);
	memset(ids, 0, TAGS_AT_ONCE * sizeof ids[0]);
	{
		AUTO(sql_end) struct sql_query q = { 0 };

		TRY(sql_start_vals(&q, conn, TAGS_FIND_SQL, vals, 1 + TAGS_AT_ONCE, err));
		for (;;) {
			TRY(sql_next(&q, &row, err));
			if (!row)
				break;
			for (size_t i = 0; i < n; i++)
				if (str_eq(tags[i], sql_str(&q, 1)))
					ids[i] = sql_i64(&q, 0);
		}
	}
	for (size_t i = 0; i < n; i++)
		if (ids[i] == 0)
			TRY(ONE_I64(conn, TAG_ADD_SQL, &ids[i], &row, err, SQL_I64(owner_id),
				    SQL_TEXT(tags[i])));
	return 0;
}

static int tag_sighting(struct sql_conn *conn, const struct sighting_new *s, int64_t seq,
			const struct str *tags, size_t count, struct err *err)
{
	static const char *const texts[TAGS_AT_ONCE] = {
		"INSERT OR IGNORE INTO sighting_tag (seq, tag_id) VALUES (?1, ?2)",
		"INSERT OR IGNORE INTO sighting_tag (seq, tag_id) VALUES (?1, ?2), (?1, ?3)",
		"INSERT OR IGNORE INTO sighting_tag (seq, tag_id) VALUES (?1, ?2), (?1, ?3), (?1, "
		"?4)",
		"INSERT OR IGNORE INTO sighting_tag (seq, tag_id) VALUES (?1, ?2), (?1, ?3), (?1, "
		"?4), "
		"(?1, ?5)",
		"INSERT OR IGNORE INTO sighting_tag (seq, tag_id) VALUES (?1, ?2), (?1, ?3), (?1, "
		"?4), "
		"(?1, ?5), (?1, ?6)",
		"INSERT OR IGNORE INTO sighting_tag (seq, tag_id) VALUES (?1, ?2), (?1, ?3), (?1, "
		"?4), "
		"(?1, ?5), (?1, ?6), (?1, ?7)",
	};
	struct sql_val vals[1 + TAGS_AT_ONCE] = { SQL_I64(seq) };
	struct str some[TAGS_AT_ONCE];
	int64_t ids[TAGS_AT_ONCE];

	for (size_t i = 0, n = 0; i < count; i++) {
		if (!is_own_hash(tags[i], s->entity_kind, s->entity_id))
			some[n++] = tags[i];
		if (n == 0 || (n < TAGS_AT_ONCE && i + 1 < count))
			continue;
		TRY(tag_ids(conn, s->owner_id, some, n, ids, err));
		for (size_t k = 0; k < n; k++)
			vals[1 + k] = SQL_I64(ids[k]);
		TRY(sql_exec_vals(conn, texts[n - 1], vals, 1 + n, NULL, err));
		n = 0;
	}
	return 0;
}

/* The source's own count, and the one of all sources of its kind (source_id 0). */
static int count_move(struct sql_conn *conn, const char *text, int64_t owner_id,
		      uint32_t source_kind, int64_t source_id, uint32_t entity_kind, int64_t date_s,
		      struct err *err)
{
	int64_t day = date_s >= 0 ? date_s / STREAM_DAY_S : (date_s + 1) / STREAM_DAY_S - 1;

	return sql_exec(conn, text, err, SQL_I64(owner_id), SQL_I64(source_kind),
			SQL_I64(source_id), SQL_I64(entity_kind), SQL_I64(day));
}

static int insert_row(struct sql_conn *conn, const struct sighting_new *s, const struct place *at,
		      struct str tags, struct err *err)
{
	TRY(sql_exec(conn, ADD_SQL, err, SQL_I64(at->seq), SQL_I64(at->date_s),
		     SQL_I64(s->owner_id), SQL_I64(s->source_kind), SQL_I64(s->source_id),
		     SQL_I64(at->label_id), SQL_I64(s->entity_kind),
		     SQL_BLOB(s->entity_id.p, s->entity_id.n), SQL_TEXT(s->rule), SQL_TEXT(tags),
		     s->info.p ? SQL_TEXT(s->info) : SQL_NULL(),
		     s->analysis_id ? SQL_I64(s->analysis_id) : SQL_NULL(),
		     s->url.n ? SQL_TEXT(s->url) : SQL_NULL()));
	TRY(sql_exec(conn, COUNTER_SET_SQL, err, SQL_I64(at->seq)));
	return count_move(conn, COUNT_UP_SQL, s->owner_id, s->source_kind, s->source_id,
			  s->entity_kind, at->date_s, err);
}

static int add_clean(struct sql_conn *conn, const struct sighting_new *s, struct str label,
		     int64_t now_s, int64_t *ret_seq, struct err *err)
{
	AUTO(arena_end) struct arena *scratch = NULL;
	AUTO(buf_release) struct buf json = BUF_INIT(TAGS_BYTES_MAX);
	struct place at = { 0 };
	struct str *tags;
	size_t count;

	TRY(find_place(conn, s, label, now_s, &at, err));
	if (at.is_told) {
		*ret_seq = 0;
		return 0;
	}
	scratch = arena_new("stream_add", SCRATCH_BYTES);
	TRY(stream_tags_normalise(scratch, s->tags, s->tag_count, &tags, &count, err));
	tags_json(&json, tags, count);
	TRY(buf_check(&json, "tags", err));
	TRY(keep_label(conn, s, label, &at, err));
	TRY(insert_row(conn, s, &at, buf_str(&json), err));
	TRY(tag_sighting(conn, s, at.seq, tags, count, err));
	*ret_seq = at.seq;
	return 0;
}

int stream_add(struct sql_conn *conn, const struct sighting_new *s, int64_t now_s, int64_t *ret_seq,
	       struct err *err)
{
	AUTO(buf_release) struct buf clean = BUF_INIT(TAGS_BYTES_MAX);

	REQUIRE(s->source_kind >= 1 && (int)s->source_kind <= STREAM_KIND_MAX && s->source_id > 0);
	REQUIRE(s->entity_kind >= 1 && (int)s->entity_kind <= STREAM_KIND_MAX);
	REQUIRE(s->entity_kind > STREAM_URL || s->entity_id.n == SHA256_BYTES);
	if (utf8_valid(s->label))
		return add_clean(conn, s, s->label, now_s, ret_seq, err);
	utf8_clean(&clean, s->label);
	TRY(buf_check(&clean, "a source's name", err));
	return add_clean(conn, s, buf_str(&clean), now_s, ret_seq, err);
}

int stream_is_told(struct sql_conn *conn, const struct sighting_new *s, bool *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, TOLD_SQL, err, SQL_I64(s->source_kind), SQL_I64(s->source_id),
		      SQL_I64(s->entity_kind), SQL_BLOB(s->entity_id.p, s->entity_id.n),
		      SQL_TEXT(s->rule)));
	return sql_next(&q, ret, err);
}

/* ---- rows ----------------------------------------------------------------------------- */

static int copy(struct arena *arena, struct str s, struct str *ret, struct err *err)
{
	void *mem;

	TRY(stream_mem(arena, s.n + 1, 1, &mem, err));
	if (s.n > 0)
		memcpy(mem, s.p, s.n);
	*ret = (struct str){ mem, s.n };
	return 0;
}

int stream_row(struct sql_conn *conn, struct arena *arena, int64_t seq, struct stream_entry *ret,
	       int64_t *ret_owner, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct stream_entry e = { .seq = seq };
	bool row;

	TRY(sql_start(&q, conn, ROW_SQL, err, SQL_I64(seq)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no notification %lld", (long long)seq);
	e.date_s = sql_i64(&q, 0);
	*ret_owner = sql_i64(&q, 1);
	e.source_kind = (uint32_t)sql_i64(&q, 2);
	e.source_id = sql_i64(&q, 3);
	e.entity_kind = (uint32_t)sql_i64(&q, 4);
	TRY(copy(arena, sql_str(&q, 5), &e.entity_id, err));
	TRY(copy(arena, sql_str(&q, 6), &e.rule, err));
	TRY(copy(arena, sql_str(&q, 7), &e.tags, err));
	if (!sql_is_null(&q, 8))
		TRY(copy(arena, sql_str(&q, 8), &e.info, err));
	e.analysis_id = sql_is_null(&q, 9) ? 0 : sql_i64(&q, 9);
	TRY(copy(arena, sql_str(&q, 10), &e.label, err));
	TRY(copy(arena, sql_str(&q, 11), &e.url, err));
	*ret = e;
	return 0;
}

/* ---- going ---------------------------------------------------------------------------- */

int stream_bury(struct sql_conn *conn, int64_t seq, struct err *err)
{
	AUTO(arena_end) struct arena *scratch = arena_new("stream_bury", SCRATCH_BYTES);
	struct stream_entry e;
	struct str *tags;
	int64_t owner;
	size_t count;

	TRY(stream_row(conn, scratch, seq, &e, &owner, err));
	TRY(stream_tags_parse(scratch, e.tags, &tags, &count, err));
	for (size_t i = 0; i < count; i++) {
		int64_t id = 0;
		bool found;

		TRY(ONE_I64(conn, TAG_FIND_SQL, &id, &found, err, SQL_I64(owner),
			    SQL_TEXT(tags[i])));
		if (found)
			TRY(sql_exec(conn, UNTAGGED_SQL, err, SQL_I64(id), SQL_I64(seq)));
	}
	TRY(count_move(conn, COUNT_DOWN_SQL, owner, e.source_kind, e.source_id, e.entity_kind,
		       e.date_s, err));
	return sql_exec(conn, BURY_SQL, err, SQL_I64(seq));
}

int stream_retention_step(struct sql_conn *conn, int64_t before_s, uint32_t max_rows,
			  uint32_t *ret_rows, struct err *err)
{
	uint32_t rows = 0;
	int64_t date_s = 0;

	for (; rows < max_rows; rows++) {
		int64_t seq = 0, state = 0;
		bool row;

		{
			AUTO(sql_end) struct sql_query q = { 0 };

			TRY(sql_start(&q, conn, OLDEST_SQL, err, SQL_I64(before_s)));
			TRY(sql_next(&q, &row, err));
			if (row) {
				seq = sql_i64(&q, 0);
				state = sql_i64(&q, 1);
				date_s = sql_i64(&q, 2);
			}
		}
		if (!row)
			break;
		if (state == 0)
			TRY(stream_bury(conn, seq, err));
		TRY(sql_exec(conn, PURGE_SQL, err, SQL_I64(seq)));
	}
	if (rows > 0)
		TRY(sql_exec(conn, PURGED_SQL, err, SQL_I64(date_s)));
	*ret_rows = rows;
	return 0;
}
