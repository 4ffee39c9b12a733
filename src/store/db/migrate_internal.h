#ifndef STORE_MIGRATE_INTERNAL_H
#define STORE_MIGRATE_INTERNAL_H
#include "base/clock.h"
#include "store/sql.h"

/*
 * Migrations: numbered 1, 2, 3, …, forward only. What was applied is kept with
 * the SHA-256 of its text in the table schema_migration, and a database whose
 * history is not the beginning of ours is refused.
 */
struct sql_migration {
	uint32_t number;
	const char *name;
	const char *text;
};

/* Made by tools/embed_sql.py from migrations/NNNN_name.sql. */
extern const struct sql_migration sql_migrations[];
extern const size_t sql_migrations_count;

/*
 * Apply those of `list` (numbered from 1) that are missing, each in a transaction
 * of its own. ERR_CORRUPT: an applied one differs from ours, or the database is
 * newer. A migration that fails leaves the database at the one before.
 */
MUST_USE int sql_migrate(struct sql_conn *conn, const struct sql_migration *list, size_t n,
			 struct clock *clock, struct err *err);
#endif
