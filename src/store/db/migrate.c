#include "migrate_internal.h"

#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "sql_internal.h"

static const char CREATE_TABLE[] =
	"CREATE TABLE IF NOT EXISTS schema_migration ("
	"number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, "
	"applied_unix_s INTEGER NOT NULL) STRICT";
static const char APPLIED[] = "SELECT number, name, checksum FROM schema_migration ORDER BY number";
static const char RECORD[] = "INSERT INTO schema_migration (number, name, checksum, "
			     "applied_unix_s) VALUES (?1, ?2, ?3, ?4)";

static void checksum_of(const struct sql_migration *m, uint8_t ret[SHA256_BYTES])
{
	sha256_of(m->text, strlen(m->text), ret);
}

/* The database's history must be the beginning of ours; *ret: how much of it there is. */
static int check_applied(size_t *ret, struct sql_conn *conn, const struct sql_migration *list,
			 size_t n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t have = 0;
	bool row;

	TRY(sql_start(&q, conn, APPLIED, err));
	for (;;) {
		uint8_t sum[SHA256_BYTES];
		struct str name, stored;
		int64_t number;

		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		number = sql_i64(&q, 0);
		name = sql_str(&q, 1);
		stored = sql_str(&q, 2);
		if (number > (int64_t)n)
			return err_set(
				err, ERR_CORRUPT,
				"the database was written by a newer version: it has migration "
				"%" PRId64 " '" STR_FMT "', this program knows %zu",
				number, STR_ARG(name), n);
		if (number != (int64_t)have + 1)
			return err_set(err, ERR_CORRUPT,
				       "migration %zu is missing although %" PRId64 " was applied",
				       have + 1, number);
		checksum_of(&list[have], sum);
		if (!str_eq(stored, str_make(sum, sizeof sum)))
			return err_set(err, ERR_CORRUPT,
				       "migration %" PRId64 " '" STR_FMT
				       "' was applied with another text than this program's '%s'",
				       number, STR_ARG(name), list[have].name);
		have++;
	}
	*ret = have;
	return 0;
}

struct apply_arg {
	const struct sql_migration *m;
	struct clock *clock;
};

static int apply_one(struct sql_conn *conn, void *arg_, struct err *err)
{
	const struct apply_arg *arg = arg_;
	uint8_t sum[SHA256_BYTES];

	checksum_of(arg->m, sum);
	TRY(sql_script(conn, arg->m->text, err));
	return sql_exec(conn, RECORD, err, SQL_I64(arg->m->number), SQL_TEXT(str_of(arg->m->name)),
			SQL_BLOB(sum, sizeof sum), SQL_I64(clock_unix_s(arg->clock)));
}

int sql_migrate(struct sql_conn *conn, const struct sql_migration *list, size_t n,
		struct clock *clock, struct err *err)
{
	size_t have = 0;

	TRY(sql_script(conn, CREATE_TABLE, err));
	TRY(check_applied(&have, conn, list, n, err));
	for (; have < n; have++) {
		struct apply_arg arg = { &list[have], clock };

		REQUIRE(list[have].number == have + 1);
		if (sql_transact(conn, apply_one, &arg, err) != 0)
			return err_add(err, "migration %zu '%s'", have + 1, list[have].name);
	}
	return 0;
}
