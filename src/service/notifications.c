#include "service/notifications.h"

#include "base/limits.h"
#include "notification_filter.h"
#include "service_internal.h"

static int read_in(struct sql_conn *conn, struct service *svc, const struct notification_query *ask,
		   struct arena *arena, struct notification_page *ret, struct err *err)
{
	struct stream_query query = { .owner_id = ask->owner_id,
				      .oldest_first = ask->oldest_first,
				      .limit = ask->limit,
				      .position = ask->position };
	struct stream_env env;

	stream_env_init(&env, svc, conn, ask->now_s);
	TRY(notification_filter_parse(&query.filter, arena, ask->filter, ask->owner,
				      ask->ruleset_id, &env.env, err));
	TRY(stream_page(conn, &query, &env.env, arena, &ret->entries, &ret->count, &ret->more,
			err));
	if (ask->count_limit)
		TRY(stream_count_upto(conn, ask->owner_id, query.filter, &env.env, ask->count_limit,
				      &ret->total, err));
	return 0;
}

int notifications_read(struct service *svc, const struct notification_query *query,
		       struct arena *arena, struct notification_page *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	*ret = (struct notification_page){ .count = 0 };
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = read_in(conn, svc, query, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}

int notification_get(struct service *svc, int64_t owner_id, int64_t seq, struct arena *arena,
		     struct stream_entry *ret, struct err *err)
{
	TRY(stream_find(svc, owner_id, seq, arena, ret, err));
	if (ret->source_kind != STREAM_RULESET)
		return err_set(err, ERR_NOT_FOUND, "no notification %lld", (long long)seq);
	return 0;
}

/* A quoted value in which nothing has a meaning of its own; typographic quotes begin with E2. */
static void put_quoted(struct buf *out, struct str s)
{
	buf_add_c(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '*' || s.p[i] == '\xe2')
			buf_add_c(out, '\\');
		buf_add_c(out, s.p[i]);
	}
	buf_add_c(out, '"');
}

int notifications_remove(struct service *svc, int64_t owner_id, struct str tag,
			 const struct audit_by *by, struct err *err)
{
	AUTO(buf_release) struct buf filter = BUF_INIT(LIMIT_FILTER_BYTES);

	for (size_t i = 0; i < tag.n; i++)
		if ((unsigned char)tag.p[i] < ' ')
			return err_set(err, ERR_INVALID, "\"tag\" has a control character");
	buf_addf(&filter, "source_type:%s", stream_source_name(STREAM_RULESET));
	if (tag.p) {
		buf_add_z(&filter, " notification_tag:");
		put_quoted(&filter, tag);
	}
	if (buf_failed(&filter))
		return err_set(err, ERR_INVALID, "\"tag\" is longer than %d bytes",
			       LIMIT_FILTER_BYTES / 2);
	return stream_remove_matching(svc, owner_id, buf_str(&filter), by, err);
}
