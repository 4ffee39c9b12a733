#include "store/meta_audit.h"

#include "base/buf.h"

static const char AUDIT_ADD[] =
	"INSERT INTO audit (date_s, user_id, action, object_type, object_id, detail, address, "
	"request_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
/* The newest row stays, whatever its date, so that no id is given out again. */
static const char AUDIT_TOO_OLD[] =
	"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE date_s < ?1 "
	"AND id < (SELECT max(id) FROM audit) ORDER BY date_s LIMIT ?2)";
/* Rows are about as many as their ids span: only retention makes holes, mostly at the old end. */
static const char AUDIT_TOO_MANY[] =
	"DELETE FROM audit WHERE id IN (SELECT id FROM audit "
	"WHERE id <= (SELECT max(id) FROM audit) - ?1 ORDER BY id LIMIT ?2)";

enum {
	QUERY_BYTES_MAX = 2048,
	QUERY_VALS_MAX = 8,
};

static struct sql_val text_or_null(struct str s)
{
	return s.n ? SQL_TEXT(s) : SQL_NULL();
}

int audit_row_add(struct sql_conn *conn, const struct audit_row *row, struct err *err)
{
	return sql_exec(conn, AUDIT_ADD, err, SQL_I64(row->date_s),
			row->user_id ? SQL_I64(row->user_id) : SQL_NULL(), SQL_TEXT(row->action),
			SQL_TEXT(row->object_type), SQL_TEXT(row->object_id),
			text_or_null(row->detail), text_or_null(row->address),
			text_or_null(row->request_id));
}

/* ---- Looking ---- */

/* A statement that is put together, with its values. */
struct audit_query {
	struct buf text;
	struct buf upper; /* end of a range of actions */
	struct sql_val vals[QUERY_VALS_MAX];
	size_t n;
};

static void query_drop(struct audit_query *q)
{
	buf_release(&q->text);
	buf_release(&q->upper);
}

/* Append SQL text and the value of the parameter that it ends before. */
static void query_add(struct audit_query *q, const char *before, struct sql_val v,
		      const char *after)
{
	REQUIRE(q->n < QUERY_VALS_MAX);
	q->vals[q->n++] = v;
	buf_addf(&q->text, "%s?%zu%s", before, q->n, after);
}

/* "file." is everything from there up to the next sign, which is '/'. */
static void query_where_action(struct audit_query *q, struct str action)
{
	if (!action.n)
		return;
	if (action.p[action.n - 1] != '.') {
		query_add(q, " AND a.action = ", SQL_TEXT(action), "");
		return;
	}
	buf_add(&q->upper, action.p, action.n - 1);
	buf_add_c(&q->upper, '.' + 1);
	query_add(q, " AND a.action >= ", SQL_TEXT(action), "");
	query_add(q, " AND a.action < ", SQL_TEXT(buf_str(&q->upper)), "");
}

static void query_where(struct audit_query *q, const struct audit_filter *f, int64_t after_id)
{
	query_add(q, " WHERE a.id > ", SQL_I64(after_id), "");
	if (str_eq_z(f->user, "-"))
		buf_add_z(&q->text, " AND a.user_id IS NULL");
	else if (f->user.n)
		query_add(q,
			  " AND a.user_id = (SELECT id FROM user WHERE name = ", SQL_TEXT(f->user),
			  ")");
	query_where_action(q, f->action);
	if (f->object.n)
		query_add(q, " AND a.object_id = ", SQL_TEXT(f->object), "");
	if (f->since_s != INT64_MIN)
		query_add(q, " AND a.date_s >= ", SQL_I64(f->since_s), "");
	/* What was written before is older; pages after the first begin behind it anyway. */
	if (f->since_s != INT64_MIN && f->is_late && !after_id)
		query_add(q, " AND a.id >= (SELECT min(id) FROM audit WHERE date_s >= ",
			  SQL_I64(f->since_s), ")");
	if (f->until_s != INT64_MAX)
		query_add(q, " AND a.date_s < ", SQL_I64(f->until_s), "");
}

static struct audit_row row_read(const struct sql_query *q)
{
	return (struct audit_row){ .id = sql_i64(q, 0),
				   .date_s = sql_i64(q, 1),
				   .user_id = sql_i64(q, 2),
				   .user = sql_str(q, 3),
				   .action = sql_str(q, 4),
				   .object_type = sql_str(q, 5),
				   .object_id = sql_str(q, 6),
				   .detail = sql_str(q, 7),
				   .address = sql_str(q, 8),
				   .request_id = sql_str(q, 9) };
}

int audit_rows(struct sql_conn *conn, const struct audit_filter *filter, int64_t after_id,
	       uint32_t limit, void (*each)(const struct audit_row *row, void *arg), void *arg,
	       int64_t *ret_last, uint32_t *ret_n, struct err *err)
{
	AUTO(query_drop)
	struct audit_query text = { .text = BUF_INIT(QUERY_BYTES_MAX),
				    .upper = BUF_INIT(QUERY_BYTES_MAX) };
	AUTO(sql_end) struct sql_query q = { 0 };
	struct audit_row row;
	int64_t last = after_id;
	uint32_t n = 0;
	bool more;

	buf_add_z(&text.text, "SELECT a.id, a.date_s, a.user_id, u.name, a.action, a.object_type, "
			      "a.object_id, a.detail, a.address, a.request_id "
			      "FROM audit a LEFT JOIN user u ON u.id = a.user_id");
	query_where(&text, filter, after_id);
	query_add(&text, " ORDER BY a.id LIMIT ", SQL_I64(limit), "");
	TRY(buf_check(&text.text, "the query", err));
	TRY(sql_start_vals(&q, conn, text.text.p, text.vals, text.n, err));
	for (;;) {
		TRY(sql_next(&q, &more, err));
		if (!more)
			break;
		row = row_read(&q);
		last = row.id;
		n++;
		each(&row, arg);
	}
	*ret_last = last;
	*ret_n = n;
	return 0;
}

int audit_rows_newest(struct sql_conn *conn, const struct audit_filter *filter, uint64_t n,
		      int64_t *ret_after_id, struct err *err)
{
	AUTO(query_drop)
	struct audit_query text = { .text = BUF_INIT(QUERY_BYTES_MAX),
				    .upper = BUF_INIT(QUERY_BYTES_MAX) };
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	buf_add_z(&text.text, "SELECT a.id FROM audit a");
	query_where(&text, filter, 0);
	query_add(&text, " ORDER BY a.id DESC LIMIT 1 OFFSET ", SQL_I64(n), "");
	TRY(buf_check(&text.text, "the query", err));
	TRY(sql_start_vals(&q, conn, text.text.p, text.vals, text.n, err));
	TRY(sql_next(&q, &row, err));
	*ret_after_id = row ? sql_i64(&q, 0) : 0;
	return 0;
}

int audit_retention_step(struct sql_conn *conn, int64_t before_s, uint64_t rows_max, uint32_t limit,
			 uint32_t *ret_n, struct err *err)
{
	const struct sql_val old[] = { SQL_I64(before_s), SQL_I64(limit) };
	uint64_t too_old, too_many;

	TRY(sql_exec_vals(conn, AUDIT_TOO_OLD, old, 2, &too_old, err));
	if (too_old < limit) {
		const struct sql_val many[] = { SQL_I64(rows_max), SQL_I64(limit - too_old) };

		TRY(sql_exec_vals(conn, AUDIT_TOO_MANY, many, 2, &too_many, err));
		too_old += too_many;
	}
	*ret_n = (uint32_t)too_old;
	return 0;
}
