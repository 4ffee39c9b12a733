#ifndef STORE_DB_H
#define STORE_DB_H
#include "unit.h"

#include <stdio.h>

#include "store/sql.h"

/* A database with all migrations in a folder of its own, and a writing connection; the folder. */
static inline char *test_db_new(struct sql_db **db, struct sql_conn **c)
{
	char *dir = test_dir_new();
	char path[600];
	struct sql_options options = { .path = path, .unsafe_no_sync = true };
	struct err err;

	snprintf(path, sizeof path, "%s/weir.db", dir);
	CHECK_OK(sql_open(db, &options, &err), &err);
	CHECK_OK(sql_connect(c, *db, SQL_WRITE, &err), &err);
	return dir;
}

static inline void test_db_remove(char *dir, struct sql_db *db, struct sql_conn *c)
{
	sql_disconnect(c);
	sql_close(db);
	test_dir_remove(dir);
}
#endif
