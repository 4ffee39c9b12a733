#ifndef STORE_META_USER_H
#define STORE_META_USER_H
#include "base/arena.h"
#include "base/hash.h"
#include "store/sql.h"

/*
 * Rows of accounts: user, api_key, user_quota, and what was used: user_used,
 * user_usage. Functions that change rows are for the
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
/* By e-mail address; *ret_n: how many have it, of whom *ret is one. */
MUST_USE int user_row_by_email(struct sql_conn *conn, struct str email, struct arena *arena,
			       struct user_row *ret, uint32_t *ret_n, struct err *err);
MUST_USE int user_rows_count(struct sql_conn *conn, int64_t *ret, struct err *err);
MUST_USE int user_row_set_disabled(struct sql_conn *conn, int64_t id, bool disabled,
				   struct err *err);
MUST_USE int user_row_set_role(struct sql_conn *conn, int64_t id, struct str role, struct err *err);

/* What users say of themselves; "" where there is nothing. */
struct profile_row {
	struct str first_name;
	struct str last_name;
	struct str email;
	struct str phrase;
	struct str preferences; /* JSON object */
	int64_t last_used_s;    /* of any key, 0: never; only read */
};
MUST_USE int profile_row_get(struct sql_conn *conn, int64_t user_id, struct arena *arena,
			     struct profile_row *ret, struct err *err);
MUST_USE int profile_row_set(struct sql_conn *conn, int64_t user_id, const struct profile_row *row,
			     struct err *err);

/* A key is known by the SHA-256 of its text alone. */
struct key_row {
	uint8_t hash[SHA256_BYTES];
	int64_t user_id;
	struct str name;
	struct str scope;
	int64_t created_s;
	int64_t expires_s;   /* 0: never */
	int64_t last_used_s; /* 0: never */
	bool revoked;
};

/* `last_used_s` and `revoked` are not looked at. */
MUST_USE int key_row_insert(struct sql_conn *conn, const struct key_row *row, struct err *err);
/* The key and who holds it. ERR_NOT_FOUND. */
MUST_USE int key_row_holder(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES],
			    struct arena *arena, struct key_row *ret_key, struct user_row *ret_user,
			    struct err *err);
/* The keys of a user in the order they were made; the row's text dies when `each` returns. */
MUST_USE int key_rows_each(struct sql_conn *conn, int64_t user_id,
			   void (*each)(const struct key_row *row, void *arg), void *arg,
			   struct err *err);
MUST_USE int key_rows_revoke(struct sql_conn *conn, int64_t user_id, struct err *err);
MUST_USE int key_row_revoke(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES],
			    struct err *err);
/* Note a use; the latest one stays. */
MUST_USE int key_row_used(struct sql_conn *conn, const uint8_t hash[SHA256_BYTES], int64_t when_s,
			  struct err *err);

/* ---- Quotas and what is used of them ---- */

/* allowed < 0: no limit. */
MUST_USE int quota_row_put(struct sql_conn *conn, int64_t user_id, struct str quota,
			   int64_t allowed, struct err *err);
MUST_USE int quota_row_remove(struct sql_conn *conn, int64_t user_id, struct str quota,
			      struct err *err);
MUST_USE int quota_rows_each(struct sql_conn *conn, int64_t user_id,
			     void (*each)(struct str quota, int64_t allowed, void *arg), void *arg,
			     struct err *err);

MUST_USE int used_row_put(struct sql_conn *conn, int64_t user_id, struct str quota, int64_t begin_s,
			  int64_t used, struct err *err);
MUST_USE int used_rows_each(struct sql_conn *conn, int64_t user_id,
			    void (*each)(struct str quota, int64_t begin_s, int64_t used,
					 void *arg),
			    void *arg, struct err *err);

MUST_USE int usage_row_add(struct sql_conn *conn, int64_t user_id, int64_t day, struct str endpoint,
			   int64_t calls, struct err *err);
/* Of these days, both included, by day and endpoint; the text dies when `each` returns. */
MUST_USE int
usage_rows_each(struct sql_conn *conn, int64_t user_id, int64_t first_day, int64_t last_day,
		void (*each)(int64_t day, struct str endpoint, int64_t calls, void *arg), void *arg,
		struct err *err);
/* Forget days before this one, at most `limit` rows. */
MUST_USE int usage_rows_forget(struct sql_conn *conn, int64_t before_day, uint32_t limit,
			       uint32_t *ret_n, struct err *err);

/* Rules of the user's enabled rulesets but `except_id`, and all its rulesets. */
MUST_USE int user_rules_count(struct sql_conn *conn, int64_t user_id, int64_t except_id,
			      int64_t *ret, struct err *err);
MUST_USE int user_rulesets_count(struct sql_conn *conn, int64_t user_id, int64_t *ret,
				 struct err *err);
#endif
