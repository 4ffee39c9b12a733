#include "store/meta_ruleset.h"

#include "store/meta_file.h"

#define RULESET_COLUMNS                                                                            \
	"r.id, r.owner_id, u.name, r.name, r.rules, r.version, r.generation, r.enabled, "          \
	"r.limit_day, r.entity, r.emails, r.tags, r.rule_names, r.rule_count, r.created_s, "       \
	"r.modified_s, r.suspended, r.scheduled_disable_s"
#define RULESET_FROM " FROM ruleset r JOIN user u ON u.id = r.owner_id "

static const char RULESET_GET[] = "SELECT " RULESET_COLUMNS RULESET_FROM
				  "WHERE r.id = ?1 AND r.owner_id = ?2 AND r.deleted = 0";
static const char RULESET_EXISTS[] = "SELECT 1 FROM ruleset WHERE id = ?1";
static const char RULESET_INSERT[] =
	"INSERT INTO ruleset (id, owner_id, name, rules, version, generation, enabled, limit_day, "
	"entity, emails, tags, rule_names, rule_count, created_s, modified_s, "
	"scheduled_disable_s) "
	"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
static const char RULESET_UPDATE[] =
	"UPDATE ruleset SET name = ?2, rules = ?3, version = ?4, generation = ?5, enabled = ?6, "
	"limit_day = ?7, emails = ?8, tags = ?9, rule_names = ?10, rule_count = ?11, "
	"modified_s = ?12, suspended = ?13, deleted = ?14, scheduled_disable_s = ?15 WHERE id = ?1";
/* How it stands, without its text. */
static const char RULESET_STATE[] =
	"SELECT version, enabled = 1 AND suspended IS NULL, scheduled_disable_s FROM ruleset "
	"WHERE id = ?1 AND owner_id = ?2 AND deleted = 0";
static const char RULESET_STATE_ANY[] =
	"SELECT version, enabled = 1 AND suspended IS NULL, scheduled_disable_s FROM ruleset "
	"WHERE id = ?1 AND deleted = 0";
static const char RULESET_DELETE[] =
	"UPDATE ruleset SET deleted = 1, enabled = 0, scheduled_disable_s = NULL, modified_s = ?2, "
	"generation = coalesce(?3, generation) WHERE id = ?1";
static const char RULESET_OFF[] =
	"UPDATE ruleset SET enabled = 0, scheduled_disable_s = NULL, modified_s = ?2, "
	"generation = coalesce(?3, generation) WHERE id = ?1";
static const char RULESET_DUE[] =
	"SELECT id FROM ruleset WHERE scheduled_disable_s <= ?1 ORDER BY scheduled_disable_s "
	"LIMIT 1";
static const char VERSION_ADD[] =
	"INSERT INTO ruleset_version (ruleset_id, version, rules) VALUES (?1, ?2, ?3)";
static const char GENERATION_ADD[] =
	"INSERT INTO generation (number, ruleset_id, ruleset_version, change, date_s) "
	"VALUES (?1, ?2, ?3, ?4, ?5)";
static const char RULESET_COUNT[] =
	"SELECT count(*) FROM ruleset WHERE owner_id = ?1 AND deleted = 0";

/* Pages: ?1 owner, ?2 rows, ?3 and ?4 the position after which to begin. */
#define PAGE(order, past)                                                                          \
	"SELECT " RULESET_COLUMNS RULESET_FROM "WHERE r.owner_id = ?1 AND r.deleted = 0" past      \
	" ORDER BY " order " LIMIT ?2"
#define PAGES(column)                                                                              \
	{                                                                                          \
		{ PAGE(column ", r.id", ""),                                                       \
		  PAGE(column ", r.id", " AND (" column ", r.id) > (?3, ?4)") },                   \
		{                                                                                  \
			PAGE(column " DESC, r.id DESC", ""),                                       \
				PAGE(column " DESC, r.id DESC",                                    \
				     " AND (" column ", r.id) < (?3, ?4)")                         \
		}                                                                                  \
	}
/* By order, descending, has_after. By id the position is ?3 alone. */
static const char *const LIST[RULESET_ROWS_ORDERS][2][2] = {
	[RULESET_ROWS_BY_ID] = { { PAGE("r.id", ""), PAGE("r.id", " AND r.id > ?3") },
				 { PAGE("r.id DESC", ""), PAGE("r.id DESC", " AND r.id < ?3") } },
	[RULESET_ROWS_BY_NAME] = PAGES("r.name"),
	[RULESET_ROWS_BY_CREATED] = PAGES("r.created_s"),
	[RULESET_ROWS_BY_MODIFIED] = PAGES("r.modified_s"),
};

/* ---- Reading ---- */

static struct ruleset_row row_read(const struct sql_query *q)
{
	return (struct ruleset_row){ .id = sql_i64(q, 0),
				     .owner_id = sql_i64(q, 1),
				     .owner = sql_str(q, 2),
				     .name = sql_str(q, 3),
				     .rules = sql_str(q, 4),
				     .version = sql_i64(q, 5),
				     .generation = sql_i64(q, 6),
				     .enabled = sql_i64(q, 7) != 0,
				     .limit = sql_i64(q, 8),
				     .entity = sql_str(q, 9),
				     .emails = sql_str(q, 10),
				     .tags = sql_str(q, 11),
				     .rule_names = sql_str(q, 12),
				     .rule_count = sql_i64(q, 13),
				     .created_s = sql_i64(q, 14),
				     .modified_s = sql_i64(q, 15),
				     .is_suspended = !sql_is_null(q, 16),
				     .suspended = sql_str(q, 16),
				     .disable_s = sql_is_null(q, 17) ? 0 : sql_i64(q, 17) };
}

static size_t row_bytes(const struct ruleset_row *row)
{
	return row->owner.n + row->name.n + row->rules.n + row->entity.n + row->emails.n +
	       row->tags.n + row->rule_names.n + row->suspended.n;
}

/* Copy the row's text into the arena; false if that has no room. */
static bool row_keep(struct ruleset_row *row, struct arena *arena)
{
	struct str *texts[] = { &row->owner,  &row->name, &row->rules,      &row->entity,
				&row->emails, &row->tags, &row->rule_names, &row->suspended };

	return arena_keep(arena, texts, sizeof texts / sizeof texts[0]);
}

int ruleset_row_get(struct sql_conn *conn, int64_t owner_id, int64_t id, struct arena *arena,
		    struct ruleset_row *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct ruleset_row row;
	bool has_row;

	TRY(sql_start(&q, conn, RULESET_GET, err, SQL_I64(id), SQL_I64(owner_id)));
	TRY(sql_next(&q, &has_row, err));
	if (!has_row)
		return err_set(err, ERR_NOT_FOUND, "no ruleset %lld", (long long)id);
	row = row_read(&q);
	if (!row_keep(&row, arena))
		return err_set(err, ERR_TOO_LARGE, "ruleset %lld has %zu bytes", (long long)id,
			       row_bytes(&row));
	*ret = row;
	return 0;
}

int ruleset_row_exists(struct sql_conn *conn, int64_t id, bool *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, RULESET_EXISTS, err, SQL_I64(id)));
	return sql_next(&q, ret, err);
}

/* ---- Writing ---- */

int ruleset_row_insert(struct sql_conn *conn, const struct ruleset_row *row, struct err *err)
{
	return sql_exec(conn, RULESET_INSERT, err, SQL_I64(row->id), SQL_I64(row->owner_id),
			SQL_TEXT(row->name), SQL_TEXT(row->rules), SQL_I64(row->version),
			SQL_I64(row->generation), SQL_I64(row->enabled), SQL_I64(row->limit),
			SQL_TEXT(row->entity), SQL_TEXT(row->emails), SQL_TEXT(row->tags),
			SQL_TEXT(row->rule_names), SQL_I64(row->rule_count),
			SQL_I64(row->created_s), SQL_I64(row->modified_s),
			row->disable_s ? SQL_I64(row->disable_s) : SQL_NULL());
}

int ruleset_row_update(struct sql_conn *conn, const struct ruleset_row *row, struct err *err)
{
	return sql_exec(
		conn, RULESET_UPDATE, err, SQL_I64(row->id), SQL_TEXT(row->name),
		SQL_TEXT(row->rules), SQL_I64(row->version), SQL_I64(row->generation),
		SQL_I64(row->enabled), SQL_I64(row->limit), SQL_TEXT(row->emails),
		SQL_TEXT(row->tags), SQL_TEXT(row->rule_names), SQL_I64(row->rule_count),
		SQL_I64(row->modified_s), row->is_suspended ? SQL_TEXT(row->suspended) : SQL_NULL(),
		SQL_I64(row->deleted), row->disable_s ? SQL_I64(row->disable_s) : SQL_NULL());
}

/* How a ruleset stands before it is deleted or switched off. */
struct state {
	int64_t version;
	bool is_live;
	int64_t disable_s;
};

static int state_of(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		    struct state *ret, bool *ret_found, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, ret_found, err));
	if (*ret_found)
		*ret = (struct state){ .version = sql_i64(&q, 0),
				       .is_live = sql_i64(&q, 1) != 0,
				       .disable_s = sql_is_null(&q, 2) ? 0 : sql_i64(&q, 2) };
	return 0;
}

/* Off with it by this statement, as a generation of its own if it was live. */
static int take_out(struct sql_conn *conn, const char *text, int64_t id, const struct state *state,
		    const char *change, int64_t now_s, struct err *err)
{
	int64_t generation = 0;

	if (state->is_live)
		TRY(ruleset_generation_add(conn, id, state->version, change, now_s, &generation,
					   err));
	return sql_exec(conn, text, err, SQL_I64(id), SQL_I64(now_s),
			state->is_live ? SQL_I64(generation) : SQL_NULL());
}

int ruleset_row_delete(struct sql_conn *conn, int64_t owner_id, int64_t id, int64_t now_s,
		       bool *ret_done, bool *ret_was_live, struct err *err)
{
	struct state state = { 0 };
	bool found;

	TRY(state_of(conn, RULESET_STATE, SQL_VALS(SQL_I64(id), SQL_I64(owner_id)), &state, &found,
		     err));
	if (found)
		TRY(take_out(conn, RULESET_DELETE, id, &state, "delete", now_s, err));
	*ret_done = found;
	*ret_was_live = state.is_live;
	return 0;
}

int ruleset_row_due(struct sql_conn *conn, int64_t now_s, int64_t *ret_id, bool *ret_found,
		    struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, RULESET_DUE, err, SQL_I64(now_s)));
	TRY(sql_next(&q, ret_found, err));
	if (*ret_found)
		*ret_id = sql_i64(&q, 0);
	return 0;
}

int ruleset_row_switch_off(struct sql_conn *conn, int64_t id, int64_t now_s, bool *ret_done,
			   bool *ret_was_live, struct err *err)
{
	struct state state = { 0 };
	bool found;

	TRY(state_of(conn, RULESET_STATE_ANY, SQL_VALS(SQL_I64(id)), &state, &found, err));
	*ret_done = found && state.disable_s && state.disable_s <= now_s;
	*ret_was_live = *ret_done && state.is_live;
	return *ret_done ? take_out(conn, RULESET_OFF, id, &state, "disable", now_s, err) : 0;
}

int ruleset_version_add(struct sql_conn *conn, int64_t id, int64_t version, struct str rules,
			struct err *err)
{
	return sql_exec(conn, VERSION_ADD, err, SQL_I64(id), SQL_I64(version), SQL_TEXT(rules));
}

int ruleset_generation_add(struct sql_conn *conn, int64_t id, int64_t version, const char *change,
			   int64_t now_s, int64_t *ret_generation, struct err *err)
{
	int64_t generation;

	TRY(counter_next(conn, "generation", &generation, err));
	TRY(sql_exec(conn, GENERATION_ADD, err, SQL_I64(generation), SQL_I64(id), SQL_I64(version),
		     SQL_TEXT(str_of(change)), SQL_I64(now_s)));
	*ret_generation = generation;
	return 0;
}

/* ---- Lists ---- */

static int rows_start(struct sql_query *q, struct sql_conn *conn,
		      const struct ruleset_rows_query *query, struct err *err)
{
	struct sql_val vals[4] = { SQL_I64(query->owner_id), SQL_I64((int64_t)query->limit + 1) };
	size_t n = 2;

	REQUIRE(query->order < RULESET_ROWS_ORDERS);
	if (query->has_after) {
		if (query->order == RULESET_ROWS_BY_NAME)
			vals[n++] = SQL_TEXT(query->after_name);
		else if (query->order != RULESET_ROWS_BY_ID)
			vals[n++] = SQL_I64(query->after_s);
		vals[n++] = SQL_I64(query->after_id);
	}
	return sql_start_vals(q, conn, LIST[query->order][query->descending][query->has_after],
			      vals, n, err);
}

int ruleset_rows(struct sql_conn *conn, const struct ruleset_rows_query *query, struct arena *arena,
		 struct ruleset_row **ret, size_t *ret_n, bool *ret_more, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct ruleset_row *rows = arena_try(arena, ((size_t)query->limit + 1) * sizeof *rows);
	size_t n = 0, bytes = 0;
	bool more;

	if (!rows)
		return err_set(err, ERR_TOO_LARGE, "no room for %u rulesets", query->limit);
	TRY(rows_start(&q, conn, query, err));
	for (;;) {
		TRY(sql_next(&q, &more, err));
		if (!more || n == query->limit)
			break;
		rows[n] = row_read(&q);
		bytes += row_bytes(&rows[n]);
		if (n > 0 && bytes > query->bytes_max)
			break;
		if (!row_keep(&rows[n], arena)) {
			if (n > 0)
				break;
			return err_set(err, ERR_TOO_LARGE, "ruleset %lld has %zu bytes",
				       (long long)rows[n].id, bytes);
		}
		n++;
	}
	*ret = rows;
	*ret_n = n;
	*ret_more = more;
	return 0;
}

int ruleset_rows_count(struct sql_conn *conn, int64_t owner_id, int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, RULESET_COUNT, err, SQL_I64(owner_id)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret = sql_i64(&q, 0);
	return 0;
}
