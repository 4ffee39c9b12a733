#include "service/stream.h"

#include "base/limits.h"
#include "service_internal.h"
#include "store/meta_facts.h"
#include "store/stream_cursor.h"

/* ---- What holds: the cursor's values, and what is said beside it ---- */

static int merge_cursor(struct service *svc, const struct stream_request *ask, struct arena *arena,
			struct stream_cursor *c, struct err *err)
{
	*c = (struct stream_cursor){ .owner_id = ask->owner_id,
				     .now_s = clock_unix_s(svc->clock),
				     .oldest_first = ask->oldest_first,
				     .descriptors_only = ask->descriptors_only,
				     .limit = ask->limit,
				     .filter = ask->filter.p ? ask->filter : STR("") };
	if (!ask->cursor.p || !ask->cursor.n)
		return 0;
	TRY(stream_cursor_decode(arena, ask->cursor, svc->cursor_key, c, err));
	if (c->owner_id != ask->owner_id)
		return err_set(err, ERR_INVALID, "Invalid cursor");
	if (ask->filter.p && !str_eq(ask->filter, c->filter))
		return err_set(err, ERR_INVALID, "The cursor belongs to another filter");
	if (ask->has_order && ask->oldest_first != c->oldest_first)
		return err_set(err, ERR_INVALID, "The cursor belongs to another order");
	if (ask->has_limit)
		c->limit = ask->limit;
	if (ask->has_descriptors_only)
		c->descriptors_only = ask->descriptors_only;
	return 0;
}

/* ---- Reading ---- */

static int read_reports(struct sql_conn *conn, struct arena *arena, struct stream_answer *ret,
			struct err *err)
{
	struct file_row row;
	int rc;

	ret->reports = arena_must(arena, (ret->count + 1) * sizeof *ret->reports);
	for (size_t i = 0; i < ret->count; i++) {
		const struct stream_entry *e = &ret->entries[i];

		if (e->entity_kind != STREAM_FILE)
			continue;
		rc = file_row_by_hash(conn, e->entity_id, arena, &row, err);
		if (rc == 0)
			rc = file_report(conn, row.id, arena, &ret->reports[i], err);
		if (rc && rc != -ERR_NOT_FOUND)
			return rc;
	}
	return 0;
}

/* The cursor's text in the arena. */
static int cursor_text(const struct stream_cursor *c, struct service *svc, struct arena *arena,
		       struct str *ret, struct err *err)
{
	AUTO(buf_release) struct buf text = BUF_INIT(LIMIT_CURSOR_BYTES);
	struct stream_cursor timeless = *c;

	if (!c->filter.n)
		timeless.now_s = 0; /* only filters look at it: the same page, the same cursor */
	stream_cursor_encode(&text, &timeless, svc->cursor_key);
	TRY(buf_check(&text, "the cursor", err));
	*ret = arena_str(arena, buf_str(&text));
	return 0;
}

/*
 * What brings this page again. The first page of the newest has begun at no place of
 * its own, and entries that come later must not move it.
 */
static int set_self(struct stream_cursor c, struct service *svc, struct arena *arena,
		    struct stream_answer *ret, struct err *err)
{
	if (c.position || c.oldest_first || !ret->count)
		return 0;
	c.position = ret->entries[0].seq + 1;
	return cursor_text(&c, svc, arena, &ret->self, err);
}

static int read_page(struct sql_conn *conn, struct service *svc, struct stream_cursor *c,
		     struct arena *arena, struct stream_answer *ret, struct err *err)
{
	struct stream_query query = { .owner_id = c->owner_id,
				      .oldest_first = c->oldest_first,
				      .limit = c->limit,
				      .position = c->position };
	struct stream_env env;
	bool more;

	stream_env_init(&env, svc, conn, c->now_s);
	TRY(filter_parse(&query.filter, arena, &stream_schema, c->filter, &env.env, err));
	TRY(stream_page(conn, &query, &env.env, arena, &ret->entries, &ret->count, &more, err));
	if (!c->has_count) {
		TRY(stream_count_matching(conn, c->owner_id, query.filter, &env.env, &c->count,
					  err));
		c->has_count = true;
	}
	ret->total = c->count;
	if (!c->descriptors_only)
		TRY(read_reports(conn, arena, ret, err));
	TRY(set_self(*c, svc, arena, ret, err));
	if (!more)
		return 0;
	REQUIRE(ret->count);
	c->position = ret->entries[ret->count - 1].seq;
	return cursor_text(c, svc, arena, &ret->next, err);
}

int stream_read(struct service *svc, const struct stream_request *ask, struct arena *arena,
		struct stream_answer *ret, struct err *err)
{
	struct stream_cursor c;
	struct sql_conn *conn;
	int rc;

	*ret = (struct stream_answer){ .count = 0 };
	TRY(merge_cursor(svc, ask, arena, &c, err));
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = read_page(conn, svc, &c, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	ret->filter = c.filter;
	ret->limit = c.limit;
	ret->oldest_first = c.oldest_first;
	ret->descriptors_only = c.descriptors_only;
	return rc;
}

int stream_find(struct service *svc, int64_t owner_id, int64_t seq, struct arena *arena,
		struct stream_entry *ret, struct err *err)
{
	struct stream_env env;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	stream_env_init(&env, svc, conn, clock_unix_s(svc->clock));
	rc = stream_get(conn, owner_id, seq, &env.env, arena, ret, err);
	sql_reader_give(svc->db, conn);
	return rc;
}
