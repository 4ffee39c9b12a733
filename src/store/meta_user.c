#include "store/meta_user.h"

#define USER_COLUMNS "u.id, u.name, u.role, u.email, u.created_s, u.disabled"

static const char USER_INSERT[] =
	"INSERT INTO user (name, role, email, created_s) VALUES (?1, ?2, ?3, ?4) RETURNING id";
static const char USER_BY_NAME[] = "SELECT " USER_COLUMNS " FROM user u WHERE u.name = ?1";
static const char USER_BY_ID[] = "SELECT " USER_COLUMNS " FROM user u WHERE u.id = ?1";
static const char USER_ALL[] = "SELECT " USER_COLUMNS " FROM user u ORDER BY u.name";
static const char USER_SET_DISABLED[] = "UPDATE user SET disabled = ?2 WHERE id = ?1";
static const char USER_BY_EMAIL[] =
	"SELECT " USER_COLUMNS " FROM user u WHERE u.email = ?1 ORDER BY u.id LIMIT 100";
static const char USER_COUNT[] = "SELECT count(*) FROM user";
static const char USER_SET_ROLE[] = "UPDATE user SET role = ?2 WHERE id = ?1";
static const char PROFILE_GET[] =
	"SELECT first_name, last_name, email, profile_phrase, preferences, "
	"(SELECT max(last_used_s) FROM api_key WHERE user_id = ?1) FROM user WHERE id = ?1";
static const char PROFILE_SET[] = "UPDATE user SET first_name = ?2, last_name = ?3, email = ?4, "
				  "profile_phrase = ?5, preferences = ?6 WHERE id = ?1";

#define KEY_COLUMNS                                                                                \
	"k.hash, k.user_id, k.name, k.scope, k.created_s, k.expires_s, k.last_used_s, k.revoked"

static const char KEY_INSERT[] =
	"INSERT INTO api_key (hash, user_id, name, scope, created_s, expires_s) "
	"VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
static const char KEY_HOLDER[] =
	"SELECT " USER_COLUMNS ", " KEY_COLUMNS
	" FROM api_key k JOIN user u ON u.id = k.user_id WHERE k.hash = ?1";
static const char KEY_ALL[] = "SELECT " KEY_COLUMNS " FROM api_key k WHERE k.user_id = ?1 "
			      "ORDER BY k.created_s, k.hash";
static const char KEYS_REVOKE[] = "UPDATE api_key SET revoked = 1 WHERE user_id = ?1";
static const char KEY_REVOKE[] = "UPDATE api_key SET revoked = 1 WHERE hash = ?1";
static const char KEY_USED[] = "UPDATE api_key SET last_used_s = ?2 WHERE hash = ?1 "
			       "AND (last_used_s IS NULL OR last_used_s < ?2)";

static struct user_row user_row_read(const struct sql_query *q)
{
	return (struct user_row){ .id = sql_i64(q, 0),
				  .name = sql_str(q, 1),
				  .role = sql_str(q, 2),
				  .email = sql_str(q, 3),
				  .created_s = sql_i64(q, 4),
				  .disabled = sql_i64(q, 5) != 0 };
}

static struct user_row user_row_keep(struct user_row row, struct arena *arena)
{
	row.name = arena_str(arena, row.name);
	row.role = arena_str(arena, row.role);
	row.email = arena_str(arena, row.email);
	return row;
}

static struct sql_val text_or_null(struct str s)
{
	return s.n ? SQL_TEXT(s) : SQL_NULL();
}

static struct sql_val time_or_null(int64_t unix_s)
{
	return unix_s ? SQL_I64(unix_s) : SQL_NULL();
}

int user_row_insert(struct sql_conn *conn, const struct user_row *row, int64_t *ret_id,
		    struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool has_row;

	TRY(sql_start(&q, conn, USER_INSERT, err, SQL_TEXT(row->name), SQL_TEXT(row->role),
		      text_or_null(row->email), SQL_I64(row->created_s)));
	TRY(sql_next(&q, &has_row, err));
	REQUIRE(has_row);
	*ret_id = sql_i64(&q, 0);
	return 0;
}

static int user_row_one(struct sql_conn *conn, const char *text, struct sql_val key,
			struct arena *arena, struct user_row *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, text, err, key));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no such user");
	*ret = user_row_keep(user_row_read(&q), arena);
	return 0;
}

int user_row_by_name(struct sql_conn *conn, struct str name, struct arena *arena,
		     struct user_row *ret, struct err *err)
{
	return user_row_one(conn, USER_BY_NAME, SQL_TEXT(name), arena, ret, err);
}

int user_row_by_id(struct sql_conn *conn, int64_t id, struct arena *arena, struct user_row *ret,
		   struct err *err)
{
	return user_row_one(conn, USER_BY_ID, SQL_I64(id), arena, ret, err);
}

int user_rows_each(struct sql_conn *conn, void (*each)(const struct user_row *row, void *arg),
		   void *arg, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct user_row user;
	bool row;

	TRY(sql_start(&q, conn, USER_ALL, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		user = user_row_read(&q);
		each(&user, arg);
	}
}

int user_row_set_disabled(struct sql_conn *conn, int64_t id, bool disabled, struct err *err)
{
	return sql_exec(conn, USER_SET_DISABLED, err, SQL_I64(id), SQL_I64(disabled));
}

int user_row_by_email(struct sql_conn *conn, struct str email, struct arena *arena,
		      struct user_row *ret, uint32_t *ret_n, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	uint32_t n = 0;
	bool row;

	TRY(sql_start(&q, conn, USER_BY_EMAIL, err, SQL_TEXT(email)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			break;
		if (n++ == 0)
			*ret = user_row_keep(user_row_read(&q), arena);
	}
	*ret_n = n;
	return 0;
}

int user_rows_count(struct sql_conn *conn, int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, USER_COUNT, err));
	TRY(sql_next(&q, &row, err));
	REQUIRE(row);
	*ret = sql_i64(&q, 0);
	return 0;
}

int user_row_set_role(struct sql_conn *conn, int64_t id, struct str role, struct err *err)
{
	return sql_exec(conn, USER_SET_ROLE, err, SQL_I64(id), SQL_TEXT(role));
}

int profile_row_get(struct sql_conn *conn, int64_t user_id, struct arena *arena,
		    struct profile_row *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, PROFILE_GET, err, SQL_I64(user_id)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no such user");
	*ret = (struct profile_row){ .first_name = arena_str(arena, sql_str(&q, 0)),
				     .last_name = arena_str(arena, sql_str(&q, 1)),
				     .email = arena_str(arena, sql_str(&q, 2)),
				     .phrase = arena_str(arena, sql_str(&q, 3)),
				     .preferences = arena_str(arena, sql_str(&q, 4)),
				     .last_used_s = sql_i64(&q, 5) };
	return 0;
}

int profile_row_set(struct sql_conn *conn, int64_t user_id, const struct profile_row *row,
		    struct err *err)
{
	return sql_exec(conn, PROFILE_SET, err, SQL_I64(user_id), text_or_null(row->first_name),
			text_or_null(row->last_name), text_or_null(row->email),
			text_or_null(row->phrase), SQL_TEXT(row->preferences));
}

/* ---- Keys ---- */

/* From `at` on in the row; its text dies with it. */
static struct key_row key_row_read(const struct sql_query *q, int at)
{
	struct str hash = sql_str(q, at);
	struct key_row row = { .user_id = sql_i64(q, at + 1),
			       .name = sql_str(q, at + 2),
			       .scope = sql_str(q, at + 3),
			       .created_s = sql_i64(q, at + 4),
			       .expires_s = sql_i64(q, at + 5),
			       .last_used_s = sql_i64(q, at + 6),
			       .revoked = sql_i64(q, at + 7) != 0 };

	REQUIRE(hash.n == SHA256_BYTES);
	memcpy(row.hash, hash.p, SHA256_BYTES);
	return row;
}

int key_row_insert(struct sql_conn *conn, const struct key_row *row, struct err *err)
{
	return sql_exec(conn, KEY_INSERT, err, SQL_BLOB(row->hash, SHA256_BYTES),
			SQL_I64(row->user_id), SQL_TEXT(row->name), SQL_TEXT(row->scope),
			SQL_I64(row->created_s), time_or_null(row->expires_s));
}

int key_row_holder(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES], struct arena *arena,
		   struct key_row *ret_key, struct user_row *ret_user, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, KEY_HOLDER, err, SQL_BLOB(hash, SHA256_BYTES)));
	TRY(sql_next(&q, &row, err));
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "no such key");
	*ret_user = user_row_keep(user_row_read(&q), arena);
	*ret_key = key_row_read(&q, 6);
	ret_key->name = arena_str(arena, ret_key->name);
	ret_key->scope = arena_str(arena, ret_key->scope);
	return 0;
}

int key_rows_each(struct sql_conn *conn, int64_t user_id,
		  void (*each)(const struct key_row *row, void *arg), void *arg, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	struct key_row key;
	bool row;

	TRY(sql_start(&q, conn, KEY_ALL, err, SQL_I64(user_id)));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		key = key_row_read(&q, 0);
		each(&key, arg);
	}
}

int key_row_revoke(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES], struct err *err)
{
	return sql_exec(conn, KEY_REVOKE, err, SQL_BLOB(hash, SHA256_BYTES));
}

int key_rows_revoke(struct sql_conn *conn, int64_t user_id, struct err *err)
{
	return sql_exec(conn, KEYS_REVOKE, err, SQL_I64(user_id));
}

int key_row_used(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES], int64_t when_s,
		 struct err *err)
{
	return sql_exec(conn, KEY_USED, err, SQL_BLOB(hash, SHA256_BYTES), SQL_I64(when_s));
}
