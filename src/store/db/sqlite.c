#include "sqlite_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "sql_internal.h"

enum {
	/* A writer other than the group-committing one never checkpoints: then its log ends here.
	 */
	LOG_PAGES_MAX = 4 * SQL_CHECKPOINT_PAGES,
	BACKUP_PAGES = 256, /* copied between two questions whether to go on: 1 MB */
	FINDING_BYTES = 512,
	FINDING_STEPS = 100000, /* of its machine between two questions: some milliseconds */
	VALUE_BYTES_MAX = 64 * 1024 * 1024, /* the largest stored report, with room */
};

/* A connection. */
struct sq {
	sqlite3 *db;
	sqlite3_stmt *commit, *rollback; /* ready beforehand: they must work when memory is out */
	uint32_t log_pages;
};

static const char SETUP_ALL[] = "PRAGMA foreign_keys = ON;"
				"PRAGMA trusted_schema = OFF;"
				"PRAGMA cell_size_check = ON;";
/*
 * The writer keeps inner pages of all indexes in memory. It maps nothing: a bad
 * disk should be an error here, not a signal. What a savepoint may have to undo
 * goes to a temporary file from 64 KB on: kept in memory it is a linked list that
 * SQLite walks from its head after each statement, so that a request of many rows
 * takes quadratic time.
 */
static const char SETUP_WRITE[] = "PRAGMA temp_store = FILE;"
				  "PRAGMA cache_size = -65536;"
				  "PRAGMA mmap_size = 0;"
				  "PRAGMA journal_size_limit = 67108864;";
/*
 * A reader's page cache is emptied by every commit of the writer; the mapping
 * stays, so a page costs no call.
 */
static const char SETUP_READ[] = "PRAGMA query_only = ON;"
				 "PRAGMA synchronous = FULL;"
				 "PRAGMA temp_store = MEMORY;"
				 "PRAGMA cache_size = -4096;"
				 "PRAGMA mmap_size = 1073741824;";

/* Errors */

static enum err_kind kind_of_io(int rc, int sys)
{
	if (sys == ENOSPC || sys == EDQUOT)
		return ERR_NO_SPACE;
	if (rc == SQLITE_IOERR_NOMEM)
		return ERR_NO_MEMORY;
	if (rc == SQLITE_IOERR_CORRUPTFS)
		return ERR_CORRUPT;
	return ERR_IO;
}

static enum err_kind kind_of(int rc, int sys)
{
	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
				       rc == SQLITE_CONSTRAINT_ROWID
			       ? ERR_EXISTS
			       : ERR_INVALID;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return ERR_BUSY;
	case SQLITE_FULL:
		return ERR_NO_SPACE;
	case SQLITE_TOOBIG:
		return ERR_TOO_LARGE;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return ERR_CORRUPT;
	case SQLITE_NOMEM:
		return ERR_NO_MEMORY;
	case SQLITE_INTERRUPT:
		return ERR_TIMEOUT;
	case SQLITE_CANTOPEN:
		return sys == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	case SQLITE_IOERR:
		return kind_of_io(rc, sys);
	default:
		return ERR_IO;
	}
}

static int sq_fail(struct err *err, sqlite3 *db, int rc)
{
	int sys = sqlite3_system_errno(db);
	int kind;

	REQUIRE((rc & 0xff) != SQLITE_MISUSE && (rc & 0xff) != SQLITE_RANGE);
	if ((rc & 0xff) == SQLITE_READONLY) {
		kind = err_set(err, ERR_IO, "the database is read-only (%s)", sqlite3_errstr(rc));
		sys = EROFS;
	} else {
		kind = err_set(err, kind_of(rc, sys), "SQLite: %s (%d)", sqlite3_errmsg(db), rc);
		if ((rc & 0xff) != SQLITE_IOERR && (rc & 0xff) != SQLITE_CANTOPEN)
			sys = 0;
	}
	if (err)
		err->sys = sys;
	return kind;
}

/* Connections */

static int sq_log_grew(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct sq *q = arg;
	uint32_t before = q->log_pages;

	q->log_pages = (uint32_t)pages;
	/* At every multiple, not at every commit: a reader may be in the way for long. */
	if (q->log_pages / LOG_PAGES_MAX > before / LOG_PAGES_MAX)
		(void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return SQLITE_OK;
}

static int sq_script(void *handle, const char *text, struct err *err)
{
	struct sq *q = handle;
	int rc = sqlite3_exec(q->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : sq_fail(err, q->db, rc);
}

/* Write-ahead log or nothing: without it readers and the writer would wait for each other. */
static int sq_use_log(struct sq *q, struct err *err)
{
	sqlite3_stmt *s = NULL;
	bool is_wal = false;
	int rc = sqlite3_prepare_v2(q->db, "PRAGMA journal_mode = WAL", -1, &s, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		is_wal = strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
	if (rc != SQLITE_ROW) {
		rc = sq_fail(err, q->db, rc);
		sqlite3_finalize(s);
		return rc;
	}
	sqlite3_finalize(s);
	if (!is_wal)
		return err_set(err, ERR_IO, "the file system cannot hold a SQLite write-ahead log");
	return 0;
}

static int sq_setup(struct sq *q, const struct sql_options *options, enum sql_mode mode,
		    struct err *err)
{
	int rc;

	sqlite3_busy_timeout(q->db, SQL_BUSY_MS);
	sqlite3_limit(q->db, SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX);
	/* "x" is a name, never text; the schema's own tables cannot be written. */
	sqlite3_db_config(q->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(q->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	sqlite3_db_config(q->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (mode == SQL_WRITE && sqlite3_db_readonly(q->db, "main") == 1)
		return sq_fail(err, q->db, SQLITE_READONLY);
	TRY(sq_script(q, SETUP_ALL, err));
	rc = sqlite3_prepare_v3(q->db, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &q->commit, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(q->db, "ROLLBACK", -1, SQLITE_PREPARE_PERSISTENT,
					&q->rollback, NULL);
	if (rc != SQLITE_OK)
		return sq_fail(err, q->db, rc);
	if (mode == SQL_READ)
		return sq_script(q, SETUP_READ, err);
	TRY(sq_use_log(q, err));
	TRY(sq_script(q,
		      options->unsafe_no_sync ? "PRAGMA synchronous = OFF"
					      : "PRAGMA synchronous = FULL",
		      err));
	TRY(sq_script(q, SETUP_WRITE, err));
	sqlite3_wal_hook(q->db, sq_log_grew, q);
	return 0;
}

static void sq_disconnect(void *handle)
{
	struct sq *q = handle;

	sqlite3_finalize(q->commit);
	sqlite3_finalize(q->rollback);
	REQUIRE(sqlite3_close(q->db) == SQLITE_OK); /* busy: a statement was not finalised */
	free(q);
}

static void sq_drop(struct sq **q)
{
	if (*q)
		sq_disconnect(*q);
}

static int sq_connect(void **ret, const struct sql_options *options, enum sql_mode mode,
		      struct err *err)
{
	AUTO(sq_drop) struct sq *q = NULL;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int rc;

	TRY(sqlite_vfs_register(err));
	if (mode == SQL_WRITE)
		flags |= SQLITE_OPEN_CREATE;
	q = mem_must_zalloc(sizeof *q);
	rc = sqlite3_open_v2(options->path, &q->db, flags,
			     options->vfs ? options->vfs : SQLITE_VFS_COUNTING);
	rc = rc == SQLITE_OK ? sq_setup(q, options, mode, err) : sq_fail(err, q->db, rc);
	if (rc != 0) {
		(void)err_add(err, "opening '%s'", options->path);
		return rc;
	}
	*ret = STEAL(q);
	return 0;
}

/* Statements */

static int sq_prepare(void **ret_stmt, void *handle, struct str text, struct err *err)
{
	struct sq *q = handle;
	sqlite3_stmt *s = NULL;
	const char *tail = NULL;
	int rc = sqlite3_prepare_v3(q->db, text.p, (int)text.n, SQLITE_PREPARE_PERSISTENT, &s,
				    &tail);

	if (rc != SQLITE_OK)
		return sq_fail(err, q->db, rc);
	REQUIRE(s && str_trim(str_of(tail)).n == 0); /* one statement, not none, not two */
	*ret_stmt = s;
	return 0;
}

static void sq_finalize(void *stmt)
{
	sqlite3_finalize(stmt);
}

static int bind_one(sqlite3_stmt *s, int i, const struct sql_val *v)
{
	/* A NULL pointer would bind NULL, yet an empty str is an empty string. */
	const char *p = v->s.p ? v->s.p : "";

	switch (v->kind) {
	case SQL_VAL_NULL:
		return sqlite3_bind_null(s, i);
	case SQL_VAL_I64:
		return sqlite3_bind_int64(s, i, v->i);
	case SQL_VAL_F64:
		return sqlite3_bind_double(s, i, v->f);
	case SQL_VAL_TEXT:
		return sqlite3_bind_text64(s, i, p, v->s.n, SQLITE_STATIC, SQLITE_UTF8);
	case SQL_VAL_BLOB:
		return sqlite3_bind_blob64(s, i, p, v->s.n, SQLITE_STATIC);
	}
	return SQLITE_MISUSE; /* no kind of ours: sq_fail stops */
}

static int sq_bind(void *handle, void *stmt, const struct sql_val *vals, size_t n, struct err *err)
{
	struct sq *q = handle;

	REQUIRE((size_t)sqlite3_bind_parameter_count(stmt) == n);
	for (size_t i = 0; i < n; i++) {
		int rc = bind_one(stmt, (int)i + 1, &vals[i]);

		if (rc != SQLITE_OK)
			return sq_fail(err, q->db, rc);
	}
	return 0;
}

static int sq_step(void *handle, void *stmt, bool *ret_row, struct err *err)
{
	struct sq *q = handle;
	int rc = sqlite3_step(stmt);

	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return sq_fail(err, q->db, rc);
	*ret_row = rc == SQLITE_ROW;
	return 0;
}

static void sq_reset(void *stmt)
{
	(void)sqlite3_reset(stmt);
	(void)sqlite3_clear_bindings(stmt); /* they point to memory that is not ours */
}

static uint64_t sq_changes(void *handle)
{
	struct sq *q = handle;

	return (uint64_t)sqlite3_changes64(q->db);
}

static void require_column(void *stmt, int column)
{
	REQUIRE(column >= 0 && column < sqlite3_data_count(stmt));
}

static int64_t sq_column_i64(void *stmt, int column)
{
	require_column(stmt, column);
	return sqlite3_column_int64(stmt, column);
}

static double sq_column_f64(void *stmt, int column)
{
	require_column(stmt, column);
	return sqlite3_column_double(stmt, column);
}

static struct str sq_column_str(void *stmt, int column)
{
	const void *p;

	require_column(stmt, column);
	if (sqlite3_column_type(stmt, column) == SQLITE_BLOB)
		p = sqlite3_column_blob(stmt, column);
	else
		p = sqlite3_column_text(stmt, column);
	return str_make(p, p ? (size_t)sqlite3_column_bytes(stmt, column) : 0);
}

static bool sq_column_is_null(void *stmt, int column)
{
	require_column(stmt, column);
	return sqlite3_column_type(stmt, column) == SQLITE_NULL;
}

/* Transactions */

/*
 * A commit appends pages to the log, the last with the commit's mark, syncs it,
 * then tells readers through shared memory. What fails before the mark is written
 * whole commits nothing. What fails after it (the sync, the shared memory) is
 * undone for this process, but a recovery may find the mark: unknown.
 */
static bool commit_is_undone(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_FULL:
	case SQLITE_CONSTRAINT:
	case SQLITE_READONLY:
	case SQLITE_INTERRUPT:
	case SQLITE_CORRUPT:
		return true;
	case SQLITE_IOERR:
		return rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_READ ||
		       rc == SQLITE_IOERR_SHORT_READ;
	default:
		return false;
	}
}

static int sq_commit(void *handle, struct err *err)
{
	struct sq *q = handle;
	struct err cause = { 0 };
	int rc = 0, step;

	step = sqlite3_step(q->commit);
	if (step != SQLITE_DONE) {
		rc = sq_fail(&cause, q->db, step);
		if (commit_is_undone(step)) {
			if (err)
				*err = cause;
		} else {
			rc = err_set(err, ERR_UNCERTAIN, "the commit's outcome is unknown: %s",
				     cause.msg);
		}
	}
	(void)sqlite3_reset(q->commit);
	return rc;
}

static void sq_rollback(void *handle)
{
	struct sq *q = handle;

	/* It reports what made it necessary; the transaction ends in any case. */
	(void)sqlite3_step(q->rollback);
	(void)sqlite3_reset(q->rollback);
	REQUIRE(sqlite3_get_autocommit(q->db) != 0);
}

static bool sq_in_transaction(void *handle)
{
	struct sq *q = handle;

	return sqlite3_get_autocommit(q->db) == 0;
}

/* Whole database */

static int sq_checkpoint(void *handle, bool all, struct err *err)
{
	struct sq *q = handle;
	int mode = all ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
	int logged = 0, moved = 0;
	int rc = sqlite3_wal_checkpoint_v2(q->db, "main", mode, &logged, &moved);

	/* Someone reads or checkpoints: there is another time. */
	if ((rc & 0xff) == SQLITE_BUSY)
		return 0;
	if (rc != SQLITE_OK)
		return sq_fail(err, q->db, rc);
	q->log_pages = logged > moved ? (uint32_t)(logged - moved) : 0;
	return 0;
}

static uint32_t sq_log_pages(void *handle)
{
	const struct sq *q = handle;

	return q->log_pages;
}

static int sq_backup_to(struct sq *q, sqlite3 *to,
			bool (*goes_on)(uint64_t done, uint64_t all, void *arg), void *arg,
			struct err *err)
{
	sqlite3_backup *b;
	bool ended = false;
	int rc;

	/* One snapshot for all steps: without it each commit would make the copy begin anew. */
	TRY(sq_script(q, "BEGIN; SELECT count(*) FROM sqlite_schema", err));
	b = sqlite3_backup_init(to, "main", q->db, "main");
	if (!b)
		return sq_fail(err, to, sqlite3_extended_errcode(to));
	do {
		rc = sqlite3_backup_step(b, BACKUP_PAGES);
		ended = rc == SQLITE_OK && goes_on &&
			!goes_on((uint64_t)(sqlite3_backup_pagecount(b) -
					    sqlite3_backup_remaining(b)),
				 (uint64_t)sqlite3_backup_pagecount(b), arg);
	} while (rc == SQLITE_OK && !ended);
	rc = sqlite3_backup_finish(b);
	if (rc != SQLITE_OK)
		return sq_fail(err, to, rc);
	return ended ? err_set(err, ERR_CLOSED, "the copy was ended") : 0;
}

static int sq_backup(void *handle, const struct sql_options *options, const char *path,
		     bool (*goes_on)(uint64_t done, uint64_t all, void *arg), void *arg,
		     struct err *err)
{
	struct sq *q = handle;
	sqlite3 *to = NULL;
	int rc;

	if (access(path, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "there is a file already");
	rc = sqlite3_open_v2(path, &to,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
				     SQLITE_OPEN_EXRESCODE,
			     options->vfs ? options->vfs : SQLITE_VFS_COUNTING);
	rc = rc == SQLITE_OK ? sq_backup_to(q, to, goes_on, arg, err) : sq_fail(err, to, rc);
	REQUIRE(sqlite3_close(to) == SQLITE_OK);
	if (rc != 0)
		(void)unlink(path);
	return rc;
}

struct finding {
	void (*found)(const char *what, void *arg);
	bool (*goes_on)(void *arg);
	void *arg;
};

static int sq_asks(void *arg)
{
	const struct finding *f = arg;

	return !f->goes_on(f->arg);
}

/* Every row of a pragma, as `put` says it. */
static int sq_each(struct sq *q, const char *text, const struct finding *f,
		   bool (*put)(sqlite3_stmt *s, char *out, size_t room), struct err *err)
{
	char what[FINDING_BYTES];
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(q->db, text, -1, &s, NULL), n = 0;

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(s);
		if (rc == SQLITE_ROW && put(s, what, sizeof what) && n++ < SQL_FINDINGS_MAX)
			f->found(what, f->arg);
		if (n > SQL_FINDINGS_MAX)
			rc = SQLITE_DONE;
	}
	if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB) {
		/* So damaged that looking ends here. */
		f->found(sqlite3_errmsg(q->db), f->arg);
		rc = SQLITE_DONE;
	}
	if ((rc & 0xff) == SQLITE_INTERRUPT)
		rc = err_set(err, ERR_CLOSED, "the check was ended");
	else
		rc = rc == SQLITE_DONE ? 0 : sq_fail(err, q->db, rc);
	sqlite3_finalize(s);
	return rc;
}

static bool put_structure(sqlite3_stmt *s, char *out, size_t room)
{
	const char *text = (const char *)sqlite3_column_text(s, 0);

	if (!text || strcmp(text, "ok") == 0)
		return false;
	snprintf(out, room, "the database's structure is damaged: %s", text);
	return true;
}

static bool put_key(sqlite3_stmt *s, char *out, size_t room)
{
	const char *table = (const char *)sqlite3_column_text(s, 0);
	const char *parent = (const char *)sqlite3_column_text(s, 2);

	snprintf(out, room, "row %lld of table '%s' refers to a row of '%s' that does not exist",
		 (long long)sqlite3_column_int64(s, 1), table ? table : "", parent ? parent : "");
	return true;
}

static int sq_findings(void *handle, void (*found)(const char *what, void *arg),
		       bool (*goes_on)(void *arg), void *arg, struct err *err)
{
	struct finding f = { found, goes_on, arg };
	struct sq *q = handle;
	int rc;

	if (goes_on)
		sqlite3_progress_handler(q->db, FINDING_STEPS, sq_asks, &f);
	rc = sq_each(q, "PRAGMA integrity_check(1000)", &f, put_structure, err);
	if (rc == 0)
		rc = sq_each(q, "PRAGMA foreign_key_check", &f, put_key, err);
	sqlite3_progress_handler(q->db, 0, NULL, NULL);
	return rc;
}

const struct sql_driver sql_driver_sqlite = {
	.name = "sqlite",
	.begin_read = "BEGIN",
	.begin_write = "BEGIN IMMEDIATE",
	.savepoint = "SAVEPOINT request",
	.savepoint_release = "RELEASE request",
	.savepoint_rollback = "ROLLBACK TO request",
	.connect = sq_connect,
	.disconnect = sq_disconnect,
	.prepare = sq_prepare,
	.finalize = sq_finalize,
	.bind = sq_bind,
	.step = sq_step,
	.reset = sq_reset,
	.changes = sq_changes,
	.column_i64 = sq_column_i64,
	.column_f64 = sq_column_f64,
	.column_str = sq_column_str,
	.column_is_null = sq_column_is_null,
	.commit = sq_commit,
	.rollback = sq_rollback,
	.in_transaction = sq_in_transaction,
	.script = sq_script,
	.checkpoint = sq_checkpoint,
	.log_pages = sq_log_pages,
	.backup = sq_backup,
	.findings = sq_findings,
};
