#include "store/meta_operation.h"

#include <stdio.h>

#define COLUMNS "id, user_id, name, status"
static const char RUNNING[] =
	"SELECT 1 FROM operation WHERE user_id = ?1 AND status = 'running' LIMIT 1";
static const char ADD[] = "INSERT INTO operation (name, user_id, kind, status, created_s) "
			  "VALUES (?1, ?2, 'delete_hunting_rulesets', 'running', ?3) RETURNING id";
static const char TARGETS_ADD[] =
	"INSERT INTO operation_target (operation_id, target_id) SELECT ?1, id FROM ruleset "
	"WHERE owner_id = ?2 AND deleted = 0";
static const char GET[] = "SELECT " COLUMNS " FROM operation WHERE name = ?1 AND user_id = ?2";
static const char BY_ID[] = "SELECT " COLUMNS " FROM operation WHERE id = ?1";
static const char NEXT[] =
	"SELECT " COLUMNS " FROM operation WHERE status = 'running' ORDER BY id LIMIT 1";
static const char TARGETS[] = "SELECT target_id FROM operation_target WHERE operation_id = ?1 "
			      "ORDER BY target_id LIMIT ?2";
static const char TARGET_DONE[] =
	"DELETE FROM operation_target WHERE operation_id = ?1 AND target_id = ?2";
static const char TARGETS_FORGET[] = "DELETE FROM operation_target WHERE operation_id = ?1";
static const char END[] = "UPDATE operation SET status = ?2, ended_s = ?3 WHERE id = ?1";
static const char FORGET[] = "DELETE FROM operation WHERE status <> 'running' AND ended_s < ?1";

static int read_one(struct sql_conn *conn, const char *text, const struct sql_val *vals, size_t n,
		    struct operation_row *ret, bool *ret_found, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start_vals(&q, conn, text, vals, n, err));
	TRY(sql_next(&q, ret_found, err));
	if (!*ret_found)
		return 0;
	*ret = (struct operation_row){ .id = sql_i64(&q, 0), .user_id = sql_i64(&q, 1) };
	snprintf(ret->name, sizeof ret->name, STR_FMT, STR_ARG(sql_str(&q, 2)));
	snprintf(ret->status, sizeof ret->status, STR_FMT, STR_ARG(sql_str(&q, 3)));
	return 0;
}

static int has_running(struct sql_conn *conn, int64_t user_id, bool *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };

	TRY(sql_start(&q, conn, RUNNING, err, SQL_I64(user_id)));
	return sql_next(&q, ret, err);
}

static int add(struct sql_conn *conn, int64_t user_id, const char *name, int64_t now_s,
	       int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, ADD, err, SQL_TEXT(str_of(name)), SQL_I64(user_id),
		      SQL_I64(now_s)));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret = sql_i64(&q, 0);
	return 0;
}

int operation_delete_rulesets(struct sql_conn *conn, int64_t user_id, const char *name,
			      int64_t now_s, struct operation_row *ret, struct err *err)
{
	uint64_t targets;
	bool found;
	int64_t id;

	TRY(has_running(conn, user_id, &found, err));
	if (found)
		return err_set(err, ERR_BUSY, "your rulesets are already being deleted");
	TRY(add(conn, user_id, name, now_s, &id, err));
	TRY(sql_exec_vals(conn, TARGETS_ADD, SQL_VALS(SQL_I64(id), SQL_I64(user_id)), &targets,
			  err));
	if (!targets)
		TRY(operation_end(conn, id, "finished", now_s, err));
	TRY(read_one(conn, BY_ID, SQL_VALS(SQL_I64(id)), ret, &found, err));
	REQUIRE(found);
	return 0;
}

int operation_get(struct sql_conn *conn, int64_t user_id, struct str name,
		  struct operation_row *ret, struct err *err)
{
	bool found;

	TRY(read_one(conn, GET, SQL_VALS(SQL_TEXT(name), SQL_I64(user_id)), ret, &found, err));
	return found ? 0 : err_set(err, ERR_NOT_FOUND, "no such operation");
}

int operation_next(struct sql_conn *conn, struct operation_row *ret, bool *ret_found,
		   struct err *err)
{
	return read_one(conn, NEXT, SQL_VALS(), ret, ret_found, err);
}

int operation_targets(struct sql_conn *conn, int64_t id, size_t max, int64_t *ret, size_t *ret_n,
		      struct err *err)
{
	return sql_all_i64(conn, TARGETS, SQL_VALS(SQL_I64(id), SQL_I64(max)), ret, max, ret_n,
			   err);
}

int operation_target_done(struct sql_conn *conn, int64_t id, int64_t target, struct err *err)
{
	return sql_exec(conn, TARGET_DONE, err, SQL_I64(id), SQL_I64(target));
}

int operation_end(struct sql_conn *conn, int64_t id, const char *status, int64_t now_s,
		  struct err *err)
{
	TRY(sql_exec(conn, TARGETS_FORGET, err, SQL_I64(id)));
	return sql_exec(conn, END, err, SQL_I64(id), SQL_TEXT(str_of(status)), SQL_I64(now_s));
}

int operation_forget(struct sql_conn *conn, int64_t before_s, struct err *err)
{
	return sql_exec(conn, FORGET, err, SQL_I64(before_s));
}
