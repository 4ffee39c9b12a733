#include "service/users.h"

#include "base/hex.h"
#include "base/mem.h"
#include "service_internal.h"
#include "users_internal.h"

/* ---- One account ---- */

/* Read on one connection: the row by `look`, then what belongs to it. */
typedef int (*look_fn)(struct sql_conn *conn, struct str what, struct arena *arena,
		       struct user_row *ret, struct err *err);

static int user_look(struct service *svc, struct str what, look_fn look, struct user *ret,
		     struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("user", USER_ARENA_MAX);
	struct sql_conn *conn;
	struct user_row row;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = look(conn, what, arena, &row, err);
	if (rc == 0) {
		user_of_row(&row, ret);
		rc = user_quotas_read(svc, conn, row.id, ret->allowed, NULL, err);
	}
	sql_reader_give(svc->db, conn);
	return rc;
}

static int look_name(struct sql_conn *conn, struct str name, struct arena *arena,
		     struct user_row *ret, struct err *err)
{
	int rc = user_row_by_name(conn, name, arena, ret, err);

	return rc == -ERR_NOT_FOUND ? user_missing(name, err) : rc;
}

static int look_id(struct sql_conn *conn, struct str id, struct arena *arena, struct user_row *ret,
		   struct err *err)
{
	int64_t v;

	REQUIRE(id.n == sizeof v);
	memcpy(&v, id.p, sizeof v);
	return user_row_by_id(conn, v, arena, ret, err);
}

static int look_any(struct sql_conn *conn, struct str what, struct arena *arena,
		    struct user_row *ret, struct err *err)
{
	uint8_t hash[SHA256_BYTES];
	struct key_row key;
	uint32_t n;

	if (user_key_is_well_formed(what)) {
		sha256_of(what.p, what.n, hash);
		TRY(key_row_holder(conn, hash, arena, &key, ret, err));
		return key.revoked ? err_set(err, ERR_NOT_FOUND, "a revoked key") : 0;
	}
	if (str_find(what, '@') == what.n)
		return user_row_by_name(conn, what, arena, ret, err);
	TRY(user_row_by_email(conn, what, arena, ret, &n, err));
	if (n == 0)
		return err_set(err, ERR_NOT_FOUND, "no user of that address");
	if (n > 1)
		return err_set(err, ERR_INVALID,
			       "%u users have this e-mail address: ask by user name", n);
	return 0;
}

int user_get(struct service *svc, struct str name, struct user *ret, struct err *err)
{
	return user_look(svc, name, look_name, ret, err);
}

int user_by_id(struct service *svc, int64_t id, struct user *ret, struct err *err)
{
	return user_look(svc, str_make(&id, sizeof id), look_id, ret, err);
}

int user_find(struct service *svc, struct str what, struct user *ret, struct err *err)
{
	return user_look(svc, what, look_any, ret, err);
}

int user_profile_get(struct service *svc, int64_t id, struct arena *arena, struct user_profile *ret,
		     struct err *err)
{
	struct sql_conn *conn;
	struct profile_row row;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = profile_row_get(conn, id, arena, &row, err);
	sql_reader_give(svc->db, conn);
	if (rc == 0)
		*ret = (struct user_profile){ .first_name = row.first_name,
					      .last_name = row.last_name,
					      .email = row.email,
					      .phrase = row.phrase,
					      .preferences = row.preferences,
					      .last_login_s = row.last_used_s };
	return rc;
}

int user_own_quotas(struct service *svc, int64_t id, unsigned *ret, struct err *err)
{
	int64_t allowed[QUOTA_COUNT];
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = user_quotas_read(svc, conn, id, allowed, ret, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

/* ---- Lists ---- */

struct each_user {
	void (*each)(const struct user *u, void *arg);
	void *arg;
};

static void each_row(const struct user_row *row, void *arg)
{
	const struct each_user *e = arg;
	struct user u;

	user_of_row(row, &u);
	e->each(&u, e->arg);
}

int user_each(struct service *svc, void (*each)(const struct user *u, void *arg), void *arg,
	      struct err *err)
{
	struct each_user e = { each, arg };
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = user_rows_each(conn, each_row, &e, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

struct each_key {
	void (*each)(const struct user_key *key, void *arg);
	void *arg;
	int rc;
	struct err err;
};

static void each_key_row(const struct key_row *row, void *arg)
{
	struct each_key *e = arg;
	struct user_key key = { .name = row->name,
				.created_s = row->created_s,
				.expires_s = row->expires_s,
				.last_used_s = row->last_used_s,
				.revoked = row->revoked };

	if (e->rc == 0)
		e->rc = user_scopes_parse(row->scope, &key.scopes, &e->err);
	if (e->rc)
		return;
	hex_encode(row->hash, USER_KEY_ID_CHARS / 2, key.id);
	e->each(&key, e->arg);
}

int user_keys_each(struct service *svc, struct str name,
		   void (*each)(const struct user_key *key, void *arg), void *arg, struct err *err)
{
	struct each_key e = { .each = each, .arg = arg };
	struct sql_conn *conn;
	struct user user;
	int rc;

	TRY(user_get(svc, name, &user, err));
	users_flush(svc);
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = key_rows_each(conn, user.id, each_key_row, &e, err);
	sql_reader_give(svc->db, conn);
	if (rc == 0 && e.rc && err)
		*err = e.err;
	return rc ? rc : e.rc;
}
