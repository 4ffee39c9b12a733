#include "store/meta_facts.h"

static const char FACTS_PUT[] =
	"INSERT INTO file_facts (file_id, tags, facts) VALUES (?1, ?2, ?3) "
	"ON CONFLICT (file_id) DO UPDATE SET tags = excluded.tags, facts = excluded.facts "
	"WHERE tags <> excluded.tags OR facts <> excluded.facts";
static const char FACTS_GET[] = "SELECT facts, tags FROM file_facts WHERE file_id = ?1";
static const char FACTS_TAGS[] = "SELECT tags FROM file_facts WHERE file_id = ?1";
static const char REPORT[] = "SELECT f.report, x.facts FROM file f "
			     "LEFT JOIN file_facts x ON x.file_id = f.id WHERE f.id = ?1";

int file_facts_put(struct sql_conn *conn, int64_t file_id, const struct file_facts *facts,
		   struct err *err)
{
	return sql_exec(conn, FACTS_PUT, err, SQL_I64(file_id), SQL_TEXT(facts->tags),
			SQL_TEXT(facts->object));
}

int file_facts_get(struct sql_conn *conn, int64_t file_id, struct arena *arena,
		   struct file_facts *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, FACTS_GET, err, SQL_I64(file_id)));
	TRY(sql_next(&q, &row, err));
	*ret = (struct file_facts){ row ? arena_str(arena, sql_str(&q, 0)) : STR(""),
				    row ? arena_str(arena, sql_str(&q, 1)) : STR("") };
	return 0;
}

int file_facts_tags(struct sql_conn *conn, int64_t file_id, struct arena *arena, struct str *ret,
		    struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, FACTS_TAGS, err, SQL_I64(file_id)));
	TRY(sql_next(&q, &row, err));
	*ret = row ? arena_str(arena, sql_str(&q, 0)) : STR("");
	return 0;
}

/* {a} and {b} as {a,b}; both are objects without blanks around them. */
static struct str join_objects(struct arena *arena, struct str a, struct str b)
{
	bool comma;
	size_t n;
	char *p;

	if (a.n < 2 || b.n <= 2)
		return arena_str(arena, a);
	comma = a.n > 2;
	p = arena_must(arena, a.n + b.n);
	n = a.n - 1;
	memcpy(p, a.p, n);
	if (comma)
		p[n++] = ',';
	memcpy(p + n, b.p + 1, b.n - 1);
	return str_make(p, n + b.n - 1);
}

int file_report(struct sql_conn *conn, int64_t file_id, struct arena *arena, struct str *ret,
		struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, REPORT, err, SQL_I64(file_id)));
	TRY(sql_next(&q, &row, err));
	*ret = row ? join_objects(arena, sql_str(&q, 0), sql_str(&q, 1)) : STR("");
	return 0;
}
