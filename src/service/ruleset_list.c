#include "ruleset_list.h"

#include "base/limits.h"
#include "service_internal.h"

enum {
	PAGE_TEXT_MAX = 8 << 20,    /* escaped at its worst this still fits a response */
	PIECE_ARENA_MAX = 16 << 20, /* a piece of PAGE_TEXT_MAX with its rows */
};

void ruleset_of_row(const struct ruleset_row *row, const struct limit_view *limit,
		    struct ruleset *ret)
{
	*ret = (struct ruleset){ .id = row->id,
				 .owner_id = row->owner_id,
				 .owner = row->owner,
				 .name = row->name,
				 .rules = row->rules,
				 .version = row->version,
				 .generation = row->generation,
				 .enabled = row->enabled && !row->is_suspended,
				 .limit = row->limit,
				 .entity = row->entity,
				 .emails_json = row->emails,
				 .tags_json = row->tags,
				 .rule_names_json = row->rule_names,
				 .rule_count = row->rule_count,
				 .created_s = row->created_s,
				 .modified_s = row->modified_s,
				 .disable_s = row->disable_s,
				 .suspended = row->suspended };
	if (limit) {
		ret->is_limited = limit->is_limited;
		ret->limited_ratio = limit->day_ratio;
		ret->dropped = limit->dropped;
	}
	if (row->is_suspended && row->suspended.n == 0)
		ret->suspended = STR("suspended");
}

static int rows_query(const struct ruleset_query *query, struct ruleset_rows_query *ret,
		      struct err *err)
{
	static const enum ruleset_rows_order orders[] = {
		[RULESET_BY_ID] = RULESET_ROWS_BY_ID,
		[RULESET_BY_NAME] = RULESET_ROWS_BY_NAME,
		[RULESET_BY_CREATED] = RULESET_ROWS_BY_CREATED,
		[RULESET_BY_MODIFIED] = RULESET_ROWS_BY_MODIFIED,
	};
	bool by_date = query->order == RULESET_BY_CREATED || query->order == RULESET_BY_MODIFIED;

	REQUIRE(query->order <= RULESET_BY_MODIFIED);
	*ret = (struct ruleset_rows_query){
		.owner_id = query->owner_id,
		.order = orders[query->order],
		.descending = query->descending,
		.limit = query->limit < LIMIT_PAGE_WIDE ? query->limit : LIMIT_PAGE_WIDE,
		.has_after = query->has_after,
		.after_name = query->after_key,
		.after_id = query->after_id,
		.bytes_max = PAGE_TEXT_MAX,
	};
	if (query->has_after && by_date && !str_to_i64(query->after_key, &ret->after_s))
		return err_set(err, ERR_INVALID, "the position in the list is not valid");
	return 0;
}

static int list_in(struct sql_conn *conn, const struct ruleset_rows_query *query, int64_t now_s,
		   struct arena *arena, struct ruleset_page *ret, struct err *err)
{
	struct ruleset_page page = { 0 };
	struct limit_view limit;
	struct ruleset_row *rows;

	TRY(ruleset_rows_count(conn, query->owner_id, &page.total, err));
	TRY(ruleset_rows(conn, query, arena, &rows, &page.count, &page.more, err));
	page.rows = arena_try(arena, (page.count + 1) * sizeof *page.rows);
	if (!page.rows)
		return err_set(err, ERR_TOO_LARGE, "no room for %zu rulesets", page.count);
	for (size_t i = 0; i < page.count; i++) {
		TRY(limit_view(conn, rows[i].id, now_s, &limit, err));
		ruleset_of_row(&rows[i], &limit, &page.rows[i]);
	}
	*ret = page;
	return 0;
}

/* ---- Those that a filter picks ---- */

static bool keep_str(struct arena *arena, struct str *s)
{
	char *p = arena_try(arena, s->n + 1);

	if (!p)
		return false;
	if (s->n)
		memcpy(p, s->p, s->n);
	s->p = p;
	return true;
}

static bool keep_ruleset(struct arena *arena, struct ruleset *r)
{
	return keep_str(arena, &r->owner) && keep_str(arena, &r->name) &&
	       keep_str(arena, &r->rules) && keep_str(arena, &r->entity) &&
	       keep_str(arena, &r->emails_json) && keep_str(arena, &r->tags_json) &&
	       keep_str(arena, &r->rule_names_json) && keep_str(arena, &r->suspended);
}

/* A page being filled; without `rows` the matches are only counted. */
struct picking {
	const struct filter_node *filter;
	struct sql_conn *conn;
	int64_t now_s;
	struct arena *arena;
	struct ruleset *rows;
	size_t count, limit, bytes;
	bool more;
};

static int pick(struct picking *p, const struct ruleset_row *row, struct err *err)
{
	struct limit_view limit;
	struct ruleset r;

	ruleset_of_row(row, NULL, &r);
	if (!ruleset_filter_match(p->filter, &r))
		return 0;
	if (p->rows) {
		TRY(limit_view(p->conn, row->id, p->now_s, &limit, err));
		ruleset_of_row(row, &limit, &r);
		p->bytes += r.rules.n;
		p->more = p->count == p->limit || (p->count > 0 && p->bytes > PAGE_TEXT_MAX);
		if (!p->more && !keep_ruleset(p->arena, &r)) {
			if (p->count == 0)
				return err_set(err, ERR_TOO_LARGE, "no room for ruleset %lld",
					       (long long)r.id);
			p->more = true;
		}
		if (p->more)
			return 0;
		p->rows[p->count] = r;
	}
	p->count++;
	return 0;
}

/* All rows from `at` on, a piece at a time, until the page is full. */
static int pick_rows(struct sql_conn *conn, struct ruleset_rows_query at, struct picking *p,
		     struct err *err)
{
	char name[LIMIT_RULESET_NAME_BYTES];
	bool more = true;

	at.limit = LIMIT_PAGE_WIDE;
	while (more && !p->more) {
		AUTO(arena_drop) struct arena *piece = arena_new("rulesets", PIECE_ARENA_MAX);
		struct ruleset_row *rows;
		size_t n;

		TRY(ruleset_rows(conn, &at, piece, &rows, &n, &more, err));
		for (size_t i = 0; i < n && !p->more; i++)
			TRY(pick(p, &rows[i], err));
		if (n == 0)
			break;
		at.has_after = true;
		at.after_id = rows[n - 1].id;
		at.after_s = at.order == RULESET_ROWS_BY_CREATED ? rows[n - 1].created_s
								 : rows[n - 1].modified_s;
		REQUIRE(rows[n - 1].name.n <= sizeof name);
		memcpy(name, rows[n - 1].name.p, rows[n - 1].name.n);
		at.after_name = str_make(name, rows[n - 1].name.n);
	}
	return 0;
}

/* Every ruleset of the owner is looked at, for the count: some milliseconds for a thousand. */
static int matching_in(struct sql_conn *conn, const struct ruleset_rows_query *query,
		       const struct filter_node *filter, int64_t now_s, struct arena *arena,
		       struct ruleset_page *ret, struct err *err)
{
	struct ruleset_rows_query all = *query;
	struct picking counted = { .filter = filter };
	struct picking page = { .filter = filter,
				.conn = conn,
				.now_s = now_s,
				.arena = arena,
				.limit = query->limit };

	all.has_after = false;
	TRY(pick_rows(conn, all, &counted, err));
	page.rows = arena_try(arena, (page.limit + 1) * sizeof *page.rows);
	if (!page.rows)
		return err_set(err, ERR_TOO_LARGE, "no room for %zu rulesets", page.limit);
	TRY(pick_rows(conn, *query, &page, err));
	*ret = (struct ruleset_page){ .rows = page.rows,
				      .count = page.count,
				      .more = page.more,
				      .total = (int64_t)counted.count };
	return 0;
}

int ruleset_list(struct service *svc, const struct ruleset_query *query, struct arena *arena,
		 struct ruleset_page *ret, struct err *err)
{
	struct ruleset_rows_query rows;
	struct sql_conn *conn;
	const struct filter_node *filter = NULL;
	int64_t now_s = clock_unix_s(svc->clock);
	int rc;

	TRY(rows_query(query, &rows, err));
	if (query->filter.n)
		TRY(ruleset_filter_parse(&filter, arena, query->filter, err));
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = sql_begin(conn, err);
	if (rc == 0) {
		rc = filter ? matching_in(conn, &rows, filter, now_s, arena, ret, err)
			    : list_in(conn, &rows, now_s, arena, ret, err);
		sql_rollback(conn);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}
