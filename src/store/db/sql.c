#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/thread.h"
#include "migrate_internal.h"
#include "sql_internal.h"

enum {
	CONN_MAGIC = 0x53514c43,
	BUCKETS = 512,   /* of statements by content; a power of two, twice SQL_STATEMENTS_MAX */
	ADDRESSES = 512, /* of statements by address */
};

/* One prepared statement. Owned by its connection, or (not cached) by its query. */
struct sql_stmt {
	void *stmt; /* the driver's */
	char *text;
	uint64_t hash;
	bool is_running; /* a query uses it: it can be neither shared nor dropped */
	bool is_done;    /* the last row was seen: another step would start it anew */
	bool is_cached;
	struct sql_stmt *chain;         /* same bucket */
	struct sql_stmt *older, *newer; /* by last use */
};

struct sql_conn {
	uint32_t magic; /* CONN_MAGIC while alive, 0 after */
	const struct sql_driver *driver;
	void *handle;
	enum sql_mode mode;
	uint32_t running; /* queries that are not ended */
	uint32_t cached;
	struct sql_stmt *oldest, *newest;
	struct sql_stmt *buckets[BUCKETS];
	/* A hint only: what it points to is compared with the text, for a buffer's content changes.
	 */
	struct {
		const char *text;
		struct sql_stmt *s;
	} addresses[ADDRESSES];
	struct sql_conn *next_idle;
};

struct sql_db {
	const struct sql_driver *driver;
	struct sql_options options; /* strings owned */
	struct lock lock;           /* guards what follows */
	struct cond given;          /* a reader came back */
	struct sql_conn *idle;
	uint32_t readers_out;
};

/* Statements */

static size_t address_slot(const char *text)
{
	return (size_t)(((uintptr_t)text * 0x9e3779b97f4a7c15u) >> 40) & (ADDRESSES - 1);
}

static void lru_remove(struct sql_conn *c, struct sql_stmt *s)
{
	*(s->older ? &s->older->newer : &c->oldest) = s->newer;
	*(s->newer ? &s->newer->older : &c->newest) = s->older;
	s->older = s->newer = NULL;
}

static void lru_add(struct sql_conn *c, struct sql_stmt *s)
{
	s->older = c->newest;
	s->newer = NULL;
	*(c->newest ? &c->newest->newer : &c->oldest) = s;
	c->newest = s;
}

static void stmt_free(const struct sql_driver *driver, struct sql_stmt *s)
{
	driver->finalize(s->stmt);
	free(s->text);
	free(s);
}

static void cache_remove(struct sql_conn *c, struct sql_stmt *s)
{
	struct sql_stmt **at = &c->buckets[s->hash & (BUCKETS - 1)];

	while (*at != s)
		at = &(*at)->chain;
	*at = s->chain;
	for (size_t i = 0; i < ADDRESSES; i++)
		if (c->addresses[i].s == s)
			c->addresses[i].s = NULL;
	lru_remove(c, s);
	c->cached--;
	stmt_free(c->driver, s);
}

/* Drops the statement used longest ago; false if all are running. */
static bool cache_make_room(struct sql_conn *c)
{
	struct sql_stmt *s = c->oldest;

	if (c->cached < SQL_STATEMENTS_MAX)
		return true;
	while (s && s->is_running)
		s = s->newer;
	if (s)
		cache_remove(c, s);
	return s != NULL;
}

static struct sql_stmt *cache_find(struct sql_conn *c, const char *text, size_t n, uint64_t hash)
{
	struct sql_stmt *s = c->buckets[hash & (BUCKETS - 1)];

	while (s && (s->hash != hash || strlen(s->text) != n || memcmp(s->text, text, n) != 0))
		s = s->chain;
	return s;
}

static int stmt_new(struct sql_stmt **ret, struct sql_conn *c, const char *text, size_t n,
		    uint64_t hash, struct err *err)
{
	struct sql_stmt *s;
	void *stmt;

	TRY(c->driver->prepare(&stmt, c->handle, str_make(text, n), err));
	s = mem_must_zalloc(sizeof *s);
	s->stmt = stmt;
	s->text = mem_must_dup(text, n + 1);
	s->hash = hash;
	*ret = s;
	return 0;
}

/* A statement for `text` that nobody runs. */
static int stmt_get(struct sql_stmt **ret, struct sql_conn *c, const char *text, struct err *err)
{
	size_t slot = address_slot(text);
	struct sql_stmt *s = c->addresses[slot].s;
	bool is_shared = false;
	uint64_t hash;
	size_t n;

	if (s && c->addresses[slot].text == text && !s->is_running && strcmp(s->text, text) == 0)
		goto found;
	n = strlen(text);
	hash = hash64(text, n, 0);
	s = cache_find(c, text, n, hash);
	is_shared = s != NULL; /* running already: a second one, for this run alone */
	if (s && !s->is_running) {
		c->addresses[slot].text = text;
		c->addresses[slot].s = s;
		goto found;
	}
	TRY(stmt_new(&s, c, text, n, hash, err));
	if (!is_shared && cache_make_room(c)) {
		s->is_cached = true;
		s->chain = c->buckets[hash & (BUCKETS - 1)];
		c->buckets[hash & (BUCKETS - 1)] = s;
		c->addresses[slot].text = text;
		c->addresses[slot].s = s;
		c->cached++;
		lru_add(c, s);
	}
	*ret = s;
	return 0;
found:
	if (c->newest != s) {
		lru_remove(c, s);
		lru_add(c, s);
	}
	*ret = s;
	return 0;
}

int sql_start_vals(struct sql_query *ret, struct sql_conn *conn, const char *text,
		   const struct sql_val *vals, size_t n, struct err *err)
{
	struct sql_stmt *s;
	int rc;

	REQUIRE(conn && conn->magic == CONN_MAGIC);
	*ret = (struct sql_query){ NULL, NULL };
	TRY(stmt_get(&s, conn, text, err));
	s->is_running = true;
	s->is_done = false;
	conn->running++;
	*ret = (struct sql_query){ conn, s };
	rc = conn->driver->bind(conn->handle, s->stmt, vals, n, err);
	if (rc != 0)
		sql_end(ret);
	return rc;
}

int sql_next(struct sql_query *q, bool *ret_row, struct err *err)
{
	struct sql_stmt *s = q->stmt;
	bool row = false;
	int rc;

	REQUIRE(s && s->is_running);
	if (!s->is_done) {
		rc = q->conn->driver->step(q->conn->handle, s->stmt, &row, err);
		if (rc != 0 || !row)
			s->is_done = true;
		TRY(rc);
	}
	*ret_row = row;
	return 0;
}

static void *query_row(const struct sql_query *q)
{
	const struct sql_stmt *s = q->stmt;

	REQUIRE(s && s->is_running && !s->is_done);
	return s->stmt;
}

int64_t sql_i64(const struct sql_query *q, int column)
{
	return q->conn->driver->column_i64(query_row(q), column);
}

double sql_f64(const struct sql_query *q, int column)
{
	return q->conn->driver->column_f64(query_row(q), column);
}

struct str sql_str(const struct sql_query *q, int column)
{
	return q->conn->driver->column_str(query_row(q), column);
}

bool sql_is_null(const struct sql_query *q, int column)
{
	return q->conn->driver->column_is_null(query_row(q), column);
}

void sql_end(struct sql_query *q)
{
	struct sql_stmt *s = q->stmt;

	if (!s)
		return;
	REQUIRE(q->conn->magic == CONN_MAGIC && q->conn->running > 0);
	q->conn->driver->reset(s->stmt);
	q->conn->running--;
	s->is_running = false;
	if (!s->is_cached)
		stmt_free(q->conn->driver, s);
	*q = (struct sql_query){ NULL, NULL };
}

int sql_exec_vals(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		  uint64_t *ret_changes, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { NULL, NULL };
	bool row = true;

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	while (row)
		TRY(sql_next(&q, &row, err));
	if (ret_changes)
		*ret_changes = conn->driver->changes(conn->handle);
	return 0;
}

/* Transactions */

int sql_one_i64(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		int64_t none, int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, &row, err));
	*ret = row ? sql_i64(&q, 0) : none;
	return 0;
}

int sql_all_i64(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		int64_t *ret, size_t max, size_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	size_t found = 0;
	bool row;

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		REQUIRE(found < max);
		ret[found++] = sql_i64(&q, 0);
	}
	*ret_n = found;
	return 0;
}

int sql_begin(struct sql_conn *conn, struct err *err)
{
	REQUIRE(!sql_in_transaction(conn));
	return sql_exec(conn,
			conn->mode == SQL_WRITE ? conn->driver->begin_write
						: conn->driver->begin_read,
			err);
}

int sql_commit(struct sql_conn *conn, struct err *err)
{
	int rc;

	REQUIRE(conn->running == 0);
	REQUIRE(sql_in_transaction(conn));
	rc = conn->driver->commit(conn->handle, err);
	if (rc != 0)
		sql_rollback(conn);
	return rc;
}

void sql_rollback(struct sql_conn *conn)
{
	if (sql_in_transaction(conn))
		conn->driver->rollback(conn->handle);
}

int sql_savepoint(struct sql_conn *conn, struct err *err)
{
	REQUIRE(sql_in_transaction(conn));
	return sql_exec(conn, conn->driver->savepoint, err);
}

int sql_savepoint_release(struct sql_conn *conn, struct err *err)
{
	REQUIRE(conn->running == 0);
	return sql_exec(conn, conn->driver->savepoint_release, err);
}

void sql_savepoint_rollback(struct sql_conn *conn)
{
	REQUIRE(conn->running == 0);
	/* The database may have given up the whole transaction by itself. */
	if (!sql_in_transaction(conn))
		return;
	if (sql_exec(conn, conn->driver->savepoint_rollback, NULL) != 0 ||
	    sql_exec(conn, conn->driver->savepoint_release, NULL) != 0)
		sql_rollback(conn);
}

bool sql_in_transaction(struct sql_conn *conn)
{
	REQUIRE(conn && conn->magic == CONN_MAGIC);
	return conn->driver->in_transaction(conn->handle);
}

int sql_transact(struct sql_conn *conn,
		 int (*body)(struct sql_conn *conn, void *arg, struct err *err), void *arg,
		 struct err *err)
{
	for (int try = 1;; try++) {
		int rc = sql_begin(conn, err);

		if (rc == 0) {
			rc = body(conn, arg, err);
			if (rc == 0)
				rc = sql_commit(conn, err);
			else
				sql_rollback(conn);
		}
		if (rc != -(int)ERR_BUSY || try == SQL_RETRIES_MAX)
			return rc;
	}
}

int sql_script(struct sql_conn *conn, const char *text, struct err *err)
{
	return conn->driver->script(conn->handle, text, err);
}

int sql_checkpoint(struct sql_conn *conn, struct err *err)
{
	REQUIRE(conn->mode == SQL_WRITE && !sql_in_transaction(conn));
	return conn->driver->checkpoint(conn->handle, false, err);
}

uint32_t sql_log_pages(const struct sql_conn *conn)
{
	return conn->driver->log_pages(conn->handle);
}

/* Connections */

int sql_connect(struct sql_conn **ret, struct sql_db *db, enum sql_mode mode, struct err *err)
{
	struct sql_conn *c;
	void *handle;

	TRY(db->driver->connect(&handle, &db->options, mode, err));
	c = mem_must_zalloc(sizeof *c);
	c->magic = CONN_MAGIC;
	c->driver = db->driver;
	c->handle = handle;
	c->mode = mode;
	*ret = c;
	return 0;
}

void sql_disconnect(struct sql_conn *conn)
{
	if (!conn)
		return;
	REQUIRE(conn->magic == CONN_MAGIC && conn->running == 0);
	sql_rollback(conn);
	while (conn->oldest)
		cache_remove(conn, conn->oldest);
	conn->driver->disconnect(conn->handle);
	conn->magic = 0;
	free(conn);
}

static void conn_drop(struct sql_conn **conn)
{
	sql_disconnect(*conn);
}

static void db_drop(struct sql_db **db)
{
	sql_close(*db);
}

int sql_open(struct sql_db **ret, const struct sql_options *options, struct err *err)
{
	AUTO(db_drop) struct sql_db *db = mem_must_zalloc(sizeof *db);
	AUTO(conn_drop) struct sql_conn *conn = NULL;
	int rc;

	db->driver = &sql_driver_sqlite;
	db->options = *options;
	db->options.path = mem_must_strdup(options->path);
	db->options.vfs = options->vfs ? mem_must_strdup(options->vfs) : NULL;
	lock_init(&db->lock, LOCK_READERS);
	cond_init(&db->given);
	TRY(sql_connect(&conn, db, SQL_WRITE, err));
	/* After a crash the log may hold what was never synced: nothing must rest on it. */
	rc = conn->driver->checkpoint(conn->handle, true, err);
	if (rc == 0)
		rc = sql_migrate(conn, sql_migrations, sql_migrations_count, clock_system(), err);
	if (rc != 0) {
		(void)err_add(err, "database '%s'", options->path);
		return rc;
	}
	*ret = STEAL(db);
	return 0;
}

void sql_close(struct sql_db *db)
{
	struct sql_conn *next;
	uint32_t out;

	if (!db)
		return;
	lock_take(&db->lock);
	out = db->readers_out;
	for (struct sql_conn *c = db->idle; c; c = next) {
		next = c->next_idle;
		sql_disconnect(c);
	}
	lock_drop(&db->lock);
	REQUIRE(out == 0);
	cond_release(&db->given);
	lock_release(&db->lock);
	free((void *)(uintptr_t)db->options.path);
	free((void *)(uintptr_t)db->options.vfs);
	free(db);
}

int sql_reader_take(struct sql_conn **ret, struct sql_db *db, struct err *err)
{
	struct sql_conn *c;
	int rc;

	lock_take(&db->lock);
	while (!db->idle && db->readers_out == SQL_READERS_MAX)
		cond_wait(&db->given, &db->lock);
	c = db->idle;
	if (c)
		db->idle = c->next_idle;
	db->readers_out++;
	lock_drop(&db->lock);
	if (c) {
		c->next_idle = NULL;
		*ret = c;
		return 0;
	}
	rc = sql_connect(ret, db, SQL_READ, err);
	if (rc != 0) {
		lock_take(&db->lock);
		db->readers_out--;
		cond_signal(&db->given);
		lock_drop(&db->lock);
	}
	return rc;
}

void sql_reader_give(struct sql_db *db, struct sql_conn *conn)
{
	REQUIRE(conn->magic == CONN_MAGIC && conn->mode == SQL_READ);
	REQUIRE(conn->running == 0); /* it would hold its snapshot for ever */
	sql_rollback(conn);
	lock_take(&db->lock);
	REQUIRE(db->readers_out > 0);
	conn->next_idle = db->idle;
	db->idle = conn;
	db->readers_out--;
	cond_signal(&db->given);
	lock_drop(&db->lock);
}

int sql_backup(struct sql_db *db, const char *path,
	       bool (*goes_on)(uint64_t done, uint64_t all, void *arg), void *arg, struct err *err)
{
	AUTO(conn_drop) struct sql_conn *conn = NULL;
	int rc;

	TRY(sql_connect(&conn, db, SQL_READ, err));
	rc = db->driver->backup(conn->handle, &db->options, path, goes_on, arg, err);
	if (rc != 0)
		(void)err_add(err, "copying the database to '%s'", path);
	return rc;
}

int sql_findings(struct sql_db *db, void (*found)(const char *what, void *arg),
		 bool (*goes_on)(void *arg), void *arg, struct err *err)
{
	AUTO(conn_drop) struct sql_conn *conn = NULL;

	TRY(sql_connect(&conn, db, SQL_READ, err));
	return db->driver->findings(conn->handle, found, goes_on, arg, err);
}

static void first_finding(const char *what, void *arg)
{
	struct err *first = arg;

	if (!first->kind)
		(void)err_set(first, ERR_CORRUPT, "%s", what);
}

int sql_check(struct sql_db *db, struct err *err)
{
	struct err first = { 0 };

	TRY(sql_findings(db, first_finding, NULL, &first, err));
	if (first.kind && err)
		*err = first;
	return -(int)first.kind;
}
