#include "meta_stream_internal.h"
#include "base/limits.h"

#define RUNNING_SQL "SELECT 1 FROM stream_delete WHERE owner_id = ?1 AND done = 0"
#define START_SQL                                                                                  \
	"INSERT INTO stream_delete (owner_id, filter, seq_max, date_s, done) VALUES (?1, ?2, "     \
	"(SELECT value FROM counter WHERE name = 'sighting'), ?3, 0)"
#define NEXT_SQL                                                                                   \
	"SELECT id, owner_id, filter, seq_max FROM stream_delete WHERE done = 0 ORDER BY id "      \
	"LIMIT 1"
#define DONE_SQL "UPDATE stream_delete SET done = 1 WHERE id = ?1"

enum {
	STEP_ARENA_BYTES = 64 * 1024 * 1024
};

int stream_delete_one(struct sql_conn *conn, int64_t owner_id, int64_t seq,
		      const struct filter_env *env, struct err *err)
{
	struct arena *arena = arena_new("stream_delete_one", STEP_ARENA_BYTES);
	struct stream_entry e;
	int rc = stream_get(conn, owner_id, seq, env, arena, &e, err);

	arena_free(arena);
	return rc != 0 ? rc : stream_bury(conn, seq, err);
}

static int start(struct sql_conn *conn, struct arena *arena, int64_t owner_id, struct str filter,
		 const struct filter_env *env, struct err *err)
{
	/* Canonical text can be longer than what was typed: quotes, resolved ids. */
	struct buf text = BUF_INIT(LIMIT_FILTER_BYTES);
	const struct filter_node *node;
	int rc;

	TRY(filter_parse(&node, arena, &stream_schema, filter, env, err));
	filter_print(&text, node);
	rc = buf_failed(&text) ? err_set(err, ERR_INVALID,
					 "filter: longer than %d bytes when its dates are "
					 "written out",
					 LIMIT_FILTER_BYTES)
			       : sql_exec(conn, START_SQL, err, SQL_I64(owner_id),
					  SQL_TEXT(buf_str(&text)), SQL_I64(env->now_s));
	buf_release(&text);
	return rc;
}

int stream_delete_start(struct sql_conn *conn, int64_t owner_id, struct str filter,
			const struct filter_env *env, struct err *err)
{
	struct arena *arena;
	bool running;
	int rc;

	{
		AUTO(sql_end) struct sql_query q = { 0 };

		TRY(sql_start(&q, conn, RUNNING_SQL, err, SQL_I64(owner_id)));
		TRY(sql_next(&q, &running, err));
	}
	if (running)
		return err_set(err, ERR_BUSY,
			       "Notifications already being deleted. Depending on "
			       "volume this may take a while.");
	arena = arena_new("stream_delete_start", FILTER_ARENA_BYTES);
	rc = start(conn, arena, owner_id, filter, env, err);
	arena_free(arena);
	return rc;
}

struct deletion {
	int64_t id, owner_id, seq_max;
	const struct filter_node *filter;
};

static int next_deletion(struct sql_conn *conn, struct arena *arena, const struct filter_env *env,
			 struct deletion *ret, bool *ret_found, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, NEXT_SQL, err));
	TRY(sql_next(&q, ret_found, err));
	if (!*ret_found)
		return 0;
	ret->id = sql_i64(&q, 0);
	ret->owner_id = sql_i64(&q, 1);
	ret->seq_max = sql_i64(&q, 3);
	return filter_parse(&ret->filter, arena, &stream_schema, sql_str(&q, 2), env, err);
}

/* Bury up to *rows; *rows becomes what is left of them. */
static int bury_some(struct iter_ctx *cx, const struct deletion *d, uint32_t *rows, struct err *err)
{
	struct iter *it;
	int64_t key = 0;

	TRY(plan_filter(cx, d->filter, d->seq_max, NULL, 0, &it, err));
	for (; *rows > 0; key++, --*rows) {
		TRY(iter_seek(it, key, &key, err));
		if (key == ITER_END)
			return sql_exec(cx->conn, DONE_SQL, err, SQL_I64(d->id));
		TRY(stream_bury(cx->conn, key, err));
	}
	return 0;
}

int stream_delete_step(struct sql_conn *conn, uint32_t max_rows, const struct filter_env *env,
		       bool *ret_done, struct err *err)
{
	bool found = true;
	int rc = 0;

	while (rc == 0 && found && max_rows > 0) {
		struct arena *arena = arena_new("stream_delete_step", STEP_ARENA_BYTES);
		struct deletion d;

		rc = next_deletion(conn, arena, env, &d, &found, err);
		if (rc == 0 && found) {
			struct iter_ctx cx = { .conn = conn,
					       .arena = arena,
					       .owner_id = d.owner_id,
					       .oldest_first = true,
					       .reads_all = true };

			rc = bury_some(&cx, &d, &max_rows, err);
		}
		arena_free(arena);
	}
	if (rc == 0)
		*ret_done = !found;
	return rc;
}
