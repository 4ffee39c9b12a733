#ifndef STORE_SQL_INTERNAL_H
#define STORE_SQL_INTERNAL_H
#include "base/thread.h"
#include "store/sql.h"

/*
 * What a driver fills. `handle` is its connection, `stmt` its prepared statement.
 * Threads: connect from any thread; everything else from the connection's owner.
 * Failures follow sql.h's table of kinds.
 */
struct sql_driver {
	const char *name;
	/* Constants run through the statement cache. */
	const char *begin_read;
	const char *begin_write;
	const char *savepoint;
	const char *savepoint_release;
	const char *savepoint_rollback;

	int (*connect)(void **ret, const struct sql_options *options, enum sql_mode mode,
		       struct err *err);
	void (*disconnect)(void *handle);
	int (*prepare)(void **ret_stmt, void *handle, struct str text, struct err *err);
	void (*finalize)(void *stmt);
	/* REQUIREs that n is the number of parameters. */
	int (*bind)(void *handle, void *stmt, const struct sql_val *vals, size_t n,
		    struct err *err);
	int (*step)(void *handle, void *stmt, bool *ret_row, struct err *err);
	void (*reset)(void *stmt); /* ends the run and forgets the bound values */
	uint64_t (*changes)(void *handle);
	int64_t (*column_i64)(void *stmt, int column);
	double (*column_f64)(void *stmt, int column);
	struct str (*column_str)(void *stmt, int column);
	bool (*column_is_null)(void *stmt, int column);
	/*
	 * ERR_UNCERTAIN unless it is known that nothing was committed. On failure the
	 * transaction may still be open.
	 */
	int (*commit)(void *handle, struct err *err);
	void (*rollback)(void *handle);
	bool (*in_transaction)(void *handle);
	int (*script)(void *handle, const char *text, struct err *err); /* several statements */
	/* all: wait for readers and empty the log; else what is possible at once. */
	int (*checkpoint)(void *handle, bool all, struct err *err);
	uint32_t (*log_pages)(void *handle);
	int (*backup)(void *handle, const struct sql_options *options, const char *path,
		      bool (*goes_on)(uint64_t done, uint64_t all, void *arg), void *arg,
		      struct err *err);
	int (*findings)(void *handle, void (*found)(const char *what, void *arg),
			bool (*goes_on)(void *arg), void *arg, struct err *err);
};

extern const struct sql_driver sql_driver_sqlite;

/* For migrations. */
MUST_USE int sql_script(struct sql_conn *conn, const char *text, struct err *err);

#endif
