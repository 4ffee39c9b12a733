#ifndef STORE_SQL_H
#define STORE_SQL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/*
 * The SQL driver layer: what weir asks of a database, and no more. sqlite.c is
 * the driver there is; another one is another file that fills struct sql_driver
 * (sql_internal.h). SQL text is written once, in SQLite's and PostgreSQL's
 * common subset, with parameters ?1, ?2, …
 *
 * A connection prepares each text once and finds it again by content (constants
 * by their address first). It keeps the SQL_STATEMENTS_MAX used last, so texts
 * that are put together (filters) may vary freely; values are always bound, never
 * pasted. The same text may run several times at once on one connection.
 *
 * Threads: a struct sql_db is safe from any thread; a connection belongs to one
 * thread at a time.
 *
 * Errors, wherever a statement runs:
 *   ERR_EXISTS    a UNIQUE or PRIMARY KEY constraint
 *   ERR_INVALID   another constraint: foreign key, CHECK, NOT NULL, STRICT type
 *   ERR_BUSY      another process holds the database (after SQL_BUSY_MS)
 *   ERR_NO_SPACE  the disk is full
 *   ERR_TOO_LARGE a value or statement over the database's own limits
 *   ERR_CORRUPT   the file is damaged or no database
 *   ERR_NO_MEMORY
 *   ERR_IO        anything else; with sys == EROFS: the database is read-only
 */
struct sql_db;
struct sql_conn;

struct sql_options {
	const char *path; /* database file */
	const char *vfs;  /* SQLite VFS name; NULL: the default one. Tests lose power through it */
	bool unsafe_no_sync; /* benchmarks and the test that shows syncs matter: never sync */
};

enum sql_mode {
	SQL_READ,
	SQL_WRITE
};

enum {
	SQL_STATEMENTS_MAX = 256, /* prepared ones a connection keeps; our constants are fewer */
	SQL_BUSY_MS = 5000,  /* only a second process can make us wait, and there should be none */
	SQL_RETRIES_MAX = 5, /* of a transaction that lost against another one */
	/*
	 * Pages of the write-ahead log at which a busy writer moves them home: 64 MB. A
	 * group of 256 new samples touches about 1000 pages, mostly of indexes by hash;
	 * the longer the log, the more of them are moved once instead of again and again.
	 */
	SQL_CHECKPOINT_PAGES = 16000,
};

/*
 * Open (creating if there is none) and bring the schema up to date: numbered,
 * forward-only, checksummed migrations. ERR_CORRUPT if an applied migration's
 * text differs from ours or the database is newer than this program; ERR_IO with
 * sys == EROFS if it cannot be written. Finishes what a crash left in the
 * write-ahead log and makes that durable, so that nothing later rests on it.
 */
MUST_USE int sql_open(struct sql_db **ret, const struct sql_options *options, struct err *err);
/* All connections must be closed and readers given back; NULL is fine. */
void sql_close(struct sql_db *db);

MUST_USE int sql_connect(struct sql_conn **ret, struct sql_db *db, enum sql_mode mode,
			 struct err *err);
void sql_disconnect(struct sql_conn *conn); /* rolls back what is open; NULL is fine */

/*
 * A read-only connection from the database's pool, for the calling thread until
 * given back. Blocks while `SQL_READERS_MAX` are out.
 */
enum {
	SQL_READERS_MAX = 64
};
MUST_USE int sql_reader_take(struct sql_conn **ret, struct sql_db *db, struct err *err);
void sql_reader_give(struct sql_db *db, struct sql_conn *conn);

/* A value to bind. Text and blobs must live until the statement is done. */
struct sql_val {
	enum {
		SQL_VAL_NULL,
		SQL_VAL_I64,
		SQL_VAL_F64,
		SQL_VAL_TEXT,
		SQL_VAL_BLOB
	} kind;
	int64_t i;
	double f;
	struct str s;
};
#define SQL_NULL() ((struct sql_val){ SQL_VAL_NULL, 0, 0, { NULL, 0 } })
#define SQL_I64(v) ((struct sql_val){ SQL_VAL_I64, (int64_t)(v), 0, { NULL, 0 } })
#define SQL_F64(v) ((struct sql_val){ SQL_VAL_F64, 0, (v), { NULL, 0 } })
#define SQL_TEXT(str_) ((struct sql_val){ SQL_VAL_TEXT, 0, 0, (str_) })
#define SQL_BLOB(p_, n_) ((struct sql_val){ SQL_VAL_BLOB, 0, 0, { (const char *)(p_), (n_) } })
/* Values and their number as two arguments. An array is never empty, so an unused one stands first.
 */
#define SQL_VALS(...)                                                                              \
	(const struct sql_val[]){ SQL_NULL(), ##__VA_ARGS__ } + 1,                                 \
		sizeof((const struct sql_val[]){ SQL_NULL(), ##__VA_ARGS__ }) /                    \
				sizeof(struct sql_val) -                                           \
			1

/* A running statement; lives on the caller's stack. Always end it with sql_end. */
struct sql_query {
	struct sql_conn *conn;
	void *stmt; /* the driver's */
};

MUST_USE int sql_start_vals(struct sql_query *ret, struct sql_conn *conn, const char *text,
			    const struct sql_val *vals, size_t n, struct err *err);
/* sql_start(&q, conn, TEXT, err, SQL_I64(1), SQL_TEXT(s)) */
#define sql_start(q, conn, text, err, ...)                                                         \
	sql_start_vals((q), (conn), (text), SQL_VALS(__VA_ARGS__), (err))
/* *ret_row: there is a row to read. */
MUST_USE int sql_next(struct sql_query *q, bool *ret_row, struct err *err);
int64_t sql_i64(const struct sql_query *q, int column);
double sql_f64(const struct sql_query *q, int column);
/* Text or blob; dies with the next sql_next or sql_end. NULL and empty have no bytes. */
struct str sql_str(const struct sql_query *q, int column);
bool sql_is_null(const struct sql_query *q, int column);
void sql_end(struct sql_query *q); /* fine on a zeroed or ended one; usable with AUTO */

/* Run a statement that returns no rows; *ret_changes may be NULL. */
MUST_USE int sql_exec_vals(struct sql_conn *conn, const char *text, const struct sql_val *vals,
			   size_t n, uint64_t *ret_changes, struct err *err);
#define sql_exec(conn, text, err, ...)                                                             \
	sql_exec_vals((conn), (text), SQL_VALS(__VA_ARGS__), NULL, (err))

/* The integer of a statement's first row; `none` where there is no row. */
MUST_USE int sql_one_i64(struct sql_conn *conn, const char *text, const struct sql_val *vals,
			 size_t n, int64_t none, int64_t *ret, struct err *err);
/* Those of all its rows. The statement must give at most `max`. */
MUST_USE int sql_all_i64(struct sql_conn *conn, const char *text, const struct sql_val *vals,
			 size_t n, int64_t *ret, size_t max, size_t *ret_n, struct err *err);

/*
 * Transactions nest one level: a savepoint inside begin/commit. On a reading
 * connection begin…commit frames one snapshot. No query may be running at a
 * commit or release.
 */
MUST_USE int sql_begin(struct sql_conn *conn, struct err *err);
/*
 * On failure the transaction is gone and nothing of it is in the database, but
 * for ERR_UNCERTAIN: the outcome is known only after the database was opened anew.
 */
MUST_USE int sql_commit(struct sql_conn *conn, struct err *err);
void sql_rollback(struct sql_conn *conn); /* fine if there is none any more */
MUST_USE int sql_savepoint(struct sql_conn *conn, struct err *err);
MUST_USE int sql_savepoint_release(struct sql_conn *conn, struct err *err);
/*
 * Undo to the savepoint. If the database cannot (it gives up a whole transaction
 * when disk or memory run out), all of the transaction is rolled back: ask
 * sql_in_transaction after.
 */
void sql_savepoint_rollback(struct sql_conn *conn);
bool sql_in_transaction(struct sql_conn *conn);

/*
 * Run `body` between begin and commit, once more from the start (up to
 * SQL_RETRIES_MAX times) if it or the commit fails with ERR_BUSY.
 */
MUST_USE int sql_transact(struct sql_conn *conn,
			  int (*body)(struct sql_conn *conn, void *arg, struct err *err), void *arg,
			  struct err *err);

/*
 * Move what the write-ahead log holds to its place, as far as no reader is in the
 * way; waits for nobody. For idle moments, on a writing connection.
 */
MUST_USE int sql_checkpoint(struct sql_conn *conn, struct err *err);
/* Pages in the write-ahead log after this connection's last commit; after its checkpoint,
 * those that could not be moved. */
uint32_t sql_log_pages(const struct sql_conn *conn);

/*
 * Copy the database to `path` while it is in use: the state of one moment soon
 * after the call, durable on return. Holds up nobody, but the write-ahead log
 * cannot begin anew meanwhile. `goes_on` (may be NULL) is asked about each MB, in
 * pages; when it says no this ends with ERR_CLOSED. ERR_EXISTS if there is a file
 * already; a failed copy is removed.
 */
MUST_USE int sql_backup(struct sql_db *db, const char *path,
			bool (*goes_on)(uint64_t done, uint64_t all, void *arg), void *arg,
			struct err *err);
/*
 * Tell what is wrong with the structure and the foreign keys, SQL_FINDINGS_MAX of
 * each at most. `goes_on` (may be NULL) is asked every some milliseconds; ERR_CLOSED
 * when it says no. That there are findings is no error. Reads everything.
 */
enum {
	SQL_FINDINGS_MAX = 1000
};
MUST_USE int sql_findings(struct sql_db *db, void (*found)(const char *what, void *arg),
			  bool (*goes_on)(void *arg), void *arg, struct err *err);
/* Structure and foreign keys are whole? ERR_CORRUPT with the first finding. */
MUST_USE int sql_check(struct sql_db *db, struct err *err);
#endif
