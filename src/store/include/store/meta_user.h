#ifndef STORE_META_USER_H
#define STORE_META_USER_H
#include "base/arena.h"
#include "base/hash.h"
#include "store/sql.h"

/*
 * Rows of accounts: user, api_key. Functions that change rows are for the
 * writer's connection. Text in rows lives in the given arena.
 */
struct user_row {
	int64_t id;
	struct str name;
	struct str role;  /* "viewer", "hunter", "editor", "admin" */
	struct str email; /* "" if none */
	int64_t created_s;
	bool disabled;
};

/* Insert everything but id and disabled. ERR_EXISTS: the name is taken. */
MUST_USE int user_row_insert(struct sql_conn *conn, const struct user_row *row, int64_t *ret_id,
			     struct err *err);
/* ERR_NOT_FOUND. */
MUST_USE int user_row_by_name(struct sql_conn *conn, struct str name, struct arena *arena,
			      struct user_row *ret, struct err *err);
MUST_USE int user_row_by_id(struct sql_conn *conn, int64_t id, struct arena *arena,
			    struct user_row *ret, struct err *err);
/* Every account in order of name; the row's text dies when `each` returns. */
MUST_USE int user_rows_each(struct sql_conn *conn,
			    void (*each)(const struct user_row *row, void *arg), void *arg,
			    struct err *err);
MUST_USE int user_row_set_disabled(struct sql_conn *conn, int64_t id, bool disabled,
				   struct err *err);

/* A key is known by the SHA-256 of its text alone. */
struct key_row {
	int64_t user_id;
	int64_t created_s;
	int64_t expires_s;   /* 0: never */
	int64_t last_used_s; /* 0: never */
	bool revoked;
};

/* `last_used_s` and `revoked` are not looked at. */
MUST_USE int key_row_insert(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES],
			    const struct key_row *row, struct err *err);
/* The key and who holds it. ERR_NOT_FOUND. */
MUST_USE int key_row_holder(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES],
			    struct arena *arena, struct key_row *ret_key, struct user_row *ret_user,
			    struct err *err);
MUST_USE int key_rows_revoke(struct sql_conn *conn, int64_t user_id, struct err *err);
/* Note a use; the latest one stays. */
MUST_USE int key_row_used(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES], int64_t when_s,
			  struct err *err);
#endif
