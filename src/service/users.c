#include "service/users.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "service_internal.h"
#include "store/meta_user.h"

enum {
	CACHE_SLOTS = 4096,        /* keys in use at once on a busy server; 2 MB */
	USES_MAX = 4096,           /* distinct keys used between two flushes; further uses wait */
	USES_SLOTS = 2 * USES_MAX, /* half empty, so that probes stay short */
	USER_ARENA_MAX = 64 * 1024,
	KEY_BYTES = USER_KEY_CHARS / 2,
};

/*
 * Who holds which key, in memory. A slot is chosen by the key's hash; a newcomer
 * takes the place of the one before. A change to accounts begins a new epoch,
 * which makes all slots worthless; who looked into the database in an earlier
 * epoch does not put what it saw there.
 */
struct cached_key {
	uint64_t epoch; /* 0: empty */
	uint8_t hash[SHA256_BYTES];
	int64_t expires_s; /* 0: never */
	struct user user;
};

/* When a key was used last. */
struct key_use {
	uint8_t hash[SHA256_BYTES];
	int64_t when_s; /* 0: empty */
};

struct user_cache {
	struct lock lock;
	_Atomic uint64_t epoch; /* written under the lock; unlike any other cache's */
	/* under the lock */
	size_t use_count;
	struct key_use *uses; /* USES_SLOTS, open addressing; NULL until the first use */
	struct cached_key keys[CACHE_SLOTS];
};

/* ---- Roles and names ---- */

static const char *const ROLE_NAMES[] = {
	[ROLE_VIEWER] = "viewer",
	[ROLE_HUNTER] = "hunter",
	[ROLE_EDITOR] = "editor",
	[ROLE_ADMIN] = "admin",
};

const char *user_role_name(enum user_role role)
{
	REQUIRE(role <= ROLE_ADMIN);
	return ROLE_NAMES[role];
}

bool user_role_parse(struct str s, enum user_role *ret)
{
	for (unsigned i = ROLE_VIEWER; i <= ROLE_ADMIN; i++) {
		if (str_eq_z(s, ROLE_NAMES[i])) {
			*ret = (enum user_role)i;
			return true;
		}
	}
	return false;
}

static bool name_is_valid(struct str name)
{
	if (name.n == 0 || name.n > LIMIT_USER_NAME_BYTES || name.p[0] == '.' || name.p[0] == '-')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		      c == '_' || c == '.' || c == '-'))
			return false;
	}
	return true;
}

bool user_email_is_valid(struct str email)
{
	size_t at = str_find(email, '@');

	if (email.n > USER_EMAIL_BYTES_MAX || at == 0 || at + 1 >= email.n || !utf8_valid(email))
		return false;
	for (size_t i = 0; i < email.n; i++) {
		unsigned char c = (unsigned char)email.p[i];

		if (c <= ' ' || c == 0x7f || (c == '@' && i != at))
			return false;
	}
	return true;
}

static void user_of_row(const struct user_row *row, struct user *ret)
{
	*ret = (struct user){ .id = row->id,
			      .created_s = row->created_s,
			      .disabled = row->disabled };
	REQUIRE(user_role_parse(row->role, &ret->role));
	snprintf(ret->name, sizeof ret->name, STR_FMT, STR_ARG(row->name));
	snprintf(ret->email, sizeof ret->email, STR_FMT, STR_ARG(row->email));
}

/* ---- The cache ---- */

static uint64_t epoch_next(void)
{
	static _Atomic uint64_t last;

	return atomic_fetch_add(&last, 1) + 1;
}

struct user_cache *user_cache_new(void)
{
	struct user_cache *c = mem_must_zalloc(sizeof *c);

	lock_init(&c->lock, LOCK_USERS);
	c->epoch = epoch_next();
	return c;
}

void user_cache_free(struct user_cache *c)
{
	if (!c)
		return;
	lock_release(&c->lock);
	free(c->uses);
	free(c);
}

static size_t hash_slot(const uint8_t hash[SHA256_BYTES], size_t slots)
{
	return ((size_t)hash[0] | (size_t)hash[1] << 8) % slots;
}

static void cache_empty(struct user_cache *c)
{
	lock_take(&c->lock);
	c->epoch = epoch_next();
	lock_drop(&c->lock);
}

/* *ret_epoch: to hand to cache_put after a look into the database. */
static bool cache_get(struct user_cache *c, const uint8_t hash[SHA256_BYTES],
		      struct cached_key *ret, uint64_t *ret_epoch)
{
	const struct cached_key *slot = &c->keys[hash_slot(hash, CACHE_SLOTS)];
	bool found;

	lock_take(&c->lock);
	*ret_epoch = c->epoch;
	found = slot->epoch == c->epoch && memcmp(slot->hash, hash, SHA256_BYTES) == 0;
	if (found)
		*ret = *slot;
	lock_drop(&c->lock);
	return found;
}

static void cache_put(struct user_cache *c, const struct cached_key *key, uint64_t epoch)
{
	struct cached_key *slot = &c->keys[hash_slot(key->hash, CACHE_SLOTS)];

	lock_take(&c->lock);
	if (c->epoch == epoch) {
		*slot = *key;
		slot->epoch = epoch;
	}
	lock_drop(&c->lock);
}

/* ---- Authentication ---- */

static int holder_read(struct service *svc, const uint8_t hash[SHA256_BYTES],
		       struct cached_key *ret, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("user", USER_ARENA_MAX);
	struct sql_conn *conn;
	struct user_row user;
	struct key_row key;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = key_row_holder(conn, hash, arena, &key, &user, err);
	sql_reader_give(svc->db, conn);
	if (rc == -ERR_NOT_FOUND || (rc == 0 && key.revoked))
		return err_set(err, ERR_UNAUTHENTICATED, "unknown or revoked key");
	if (rc)
		return rc;
	memcpy(ret->hash, hash, SHA256_BYTES);
	ret->expires_s = key.expires_s;
	user_of_row(&user, &ret->user);
	memcpy(ret->user.key_hash, hash, SHA256_BYTES);
	return 0;
}

static bool key_is_well_formed(struct str key)
{
	for (size_t i = 0; i < key.n; i++) {
		if (!((key.p[i] >= '0' && key.p[i] <= '9') || (key.p[i] >= 'a' && key.p[i] <= 'f')))
			return false;
	}
	return key.n == USER_KEY_CHARS;
}

/*
 * The key this thread saw last: a client sends the same one over and over, and
 * neither its hash nor a lock is needed to know it again in the same epoch.
 */
static _Thread_local struct {
	uint64_t epoch; /* 0: none */
	char text[USER_KEY_CHARS];
	struct cached_key key;
} last_key;

static int key_find(struct service *svc, struct str key, struct cached_key *ret, struct err *err)
{
	uint8_t hash[SHA256_BYTES];
	uint64_t epoch = atomic_load(&svc->users->epoch);

	if (last_key.epoch == epoch && memcmp(last_key.text, key.p, USER_KEY_CHARS) == 0) {
		*ret = last_key.key;
		return 0;
	}
	sha256_of(key.p, key.n, hash);
	if (!cache_get(svc->users, hash, ret, &epoch)) {
		TRY(holder_read(svc, hash, ret, err));
		cache_put(svc->users, ret, epoch);
	}
	last_key.epoch = epoch;
	memcpy(last_key.text, key.p, USER_KEY_CHARS);
	last_key.key = *ret;
	return 0;
}

int user_authenticate(struct service *svc, struct str key, struct user *ret, struct err *err)
{
	struct cached_key found;

	if (!key_is_well_formed(key))
		return err_set(err, ERR_UNAUTHENTICATED, "a key has %d lower-case hex digits",
			       USER_KEY_CHARS);
	TRY(key_find(svc, key, &found, err));
	if (found.expires_s && clock_unix_s(svc->clock) >= found.expires_s)
		return err_set(err, ERR_UNAUTHENTICATED, "the key has expired");
	if (found.user.disabled)
		return err_set(err, ERR_FORBIDDEN, "the account '%s' is disabled", found.user.name);
	*ret = found.user;
	return 0;
}

/* ---- Last use ---- */

void user_seen(struct service *svc, const struct user *u)
{
	static const uint8_t none[SHA256_BYTES];
	static _Thread_local struct {
		uint64_t epoch;
		struct key_use use;
	} last;
	struct user_cache *c = svc->users;
	uint64_t epoch = atomic_load(&c->epoch);
	int64_t now_s = clock_unix_s(svc->clock);
	size_t i;

	if (memcmp(u->key_hash, none, SHA256_BYTES) == 0)
		return;
	if (last.epoch == epoch && last.use.when_s == now_s &&
	    memcmp(last.use.hash, u->key_hash, SHA256_BYTES) == 0)
		return; /* noted in this second */
	last.epoch = epoch;
	last.use.when_s = now_s;
	memcpy(last.use.hash, u->key_hash, SHA256_BYTES);
	i = hash_slot(u->key_hash, USES_SLOTS);
	lock_take(&c->lock);
	if (!c->uses)
		c->uses = mem_must_zalloc(USES_SLOTS * sizeof *c->uses);
	while (c->uses[i].when_s && memcmp(c->uses[i].hash, u->key_hash, SHA256_BYTES) != 0)
		i = (i + 1) % USES_SLOTS;
	if (c->uses[i].when_s || c->use_count < USES_MAX) {
		c->use_count += c->uses[i].when_s == 0;
		memcpy(c->uses[i].hash, u->key_hash, SHA256_BYTES);
		c->uses[i].when_s = now_s;
	}
	lock_drop(&c->lock);
}

struct uses_req {
	struct write_req req; /* first */
	const struct key_use *uses;
};

static int uses_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct uses_req *r = (const struct uses_req *)req;

	for (size_t i = 0; i < USES_SLOTS; i++) {
		if (r->uses[i].when_s)
			TRY(key_row_used(conn, r->uses[i].hash, r->uses[i].when_s, err));
	}
	return 0;
}

void users_flush(struct service *svc)
{
	struct user_cache *c = svc->users;
	struct uses_req r = { .req = { .apply = uses_apply, .lane = LANE_BULK } };
	struct key_use *uses;
	struct err err;

	lock_take(&c->lock);
	uses = STEAL(c->uses);
	c->use_count = 0;
	lock_drop(&c->lock);
	if (!uses)
		return;
	r.uses = uses;
	/* What is lost is a date that the next use brings back. */
	if (writer_call(svc->writer, &r.req, &err) != 0)
		log_event(LOG_WARN, "key_uses_not_kept", LOG_Z("error", err.msg));
	free(uses);
}

/* ---- Changes ---- */

enum change_kind {
	CHANGE_ADD,
	CHANGE_KEY_ADD,
	CHANGE_KEYS_REVOKE,
	CHANGE_DISABLE,
};

struct user_change {
	struct write_req req; /* first */
	struct service *svc;
	enum change_kind kind;
	struct str name;
	enum user_role role;
	struct str email;
	bool disabled;
	uint8_t key_hash[SHA256_BYTES];
};

/* The name as it may stand in a message. */
static int user_missing(struct str name, struct err *err)
{
	if (!name_is_valid(name))
		return err_set(err, ERR_NOT_FOUND, "no user of that name");
	return err_set(err, ERR_NOT_FOUND, "no user '" STR_FMT "'", STR_ARG(name));
}

static int change_add_apply(struct sql_conn *conn, struct user_change *c, struct key_row *key,
			    struct err *err)
{
	const struct user_row row = { .name = c->name,
				      .role = str_of(user_role_name(c->role)),
				      .email = c->email,
				      .created_s = key->created_s };
	int rc = user_row_insert(conn, &row, &key->user_id, err);

	if (rc == -ERR_EXISTS)
		return err_set(err, ERR_EXISTS, "there is a user '" STR_FMT "' already",
			       STR_ARG(c->name));
	TRY(rc);
	return key_row_insert(conn, c->key_hash, key, err);
}

static int change_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("user change", USER_ARENA_MAX);
	struct user_change *c = (struct user_change *)req;
	struct key_row key = { .created_s = clock_unix_s(c->svc->clock) };
	struct user_row row;
	int rc;

	if (c->kind == CHANGE_ADD)
		return change_add_apply(conn, c, &key, err);
	rc = user_row_by_name(conn, c->name, arena, &row, err);
	if (rc == -ERR_NOT_FOUND)
		return user_missing(c->name, err);
	TRY(rc);
	key.user_id = row.id;
	switch (c->kind) {
	case CHANGE_KEY_ADD:
		return key_row_insert(conn, c->key_hash, &key, err);
	case CHANGE_KEYS_REVOKE:
		return key_rows_revoke(conn, row.id, err);
	case CHANGE_DISABLE:
		return user_row_set_disabled(conn, row.id, c->disabled, err);
	case CHANGE_ADD:
	default:
		REQUIRE(!"a change of a known kind");
		return 0;
	}
}

static int change_commit(struct service *svc, struct user_change *c, struct err *err)
{
	int rc;

	c->svc = svc;
	c->req.apply = change_apply;
	c->req.lane = LANE_API;
	rc = writer_call(svc->writer, &c->req, err);
	cache_empty(svc->users);
	return rc;
}

static void key_make(char key[USER_KEY_CHARS + 1], uint8_t hash[SHA256_BYTES])
{
	uint8_t secret[KEY_BYTES];

	rand_bytes(secret, sizeof secret);
	hex_encode(secret, sizeof secret, key);
	sha256_of(key, USER_KEY_CHARS, hash);
	explicit_bzero(secret, sizeof secret);
}

int user_add(struct service *svc, struct str name, enum user_role role, struct str email,
	     char ret_key[USER_KEY_CHARS + 1], struct err *err)
{
	struct user_change c = { .kind = CHANGE_ADD, .name = name, .role = role, .email = email };
	char key[USER_KEY_CHARS + 1];

	if (!name_is_valid(name))
		return err_set(err, ERR_INVALID,
			       "a user name has 1 to %d letters, digits, '_', '.' or '-', and "
			       "does not begin with '.' or '-'",
			       LIMIT_USER_NAME_BYTES);
	if (email.n && !user_email_is_valid(email))
		return err_set(err, ERR_INVALID, "that is not an e-mail address");
	key_make(key, c.key_hash);
	TRY(change_commit(svc, &c, err));
	memcpy(ret_key, key, sizeof key);
	return 0;
}

int user_key_add(struct service *svc, struct str name, char ret_key[USER_KEY_CHARS + 1],
		 struct err *err)
{
	struct user_change c = { .kind = CHANGE_KEY_ADD, .name = name };
	char key[USER_KEY_CHARS + 1];

	key_make(key, c.key_hash);
	TRY(change_commit(svc, &c, err));
	memcpy(ret_key, key, sizeof key);
	return 0;
}

int user_key_revoke_all(struct service *svc, struct str name, struct err *err)
{
	struct user_change c = { .kind = CHANGE_KEYS_REVOKE, .name = name };

	return change_commit(svc, &c, err);
}

int user_set_disabled(struct service *svc, struct str name, bool disabled, struct err *err)
{
	struct user_change c = { .kind = CHANGE_DISABLE, .name = name, .disabled = disabled };

	return change_commit(svc, &c, err);
}

/* ---- Looking ---- */

int user_get(struct service *svc, struct str name, struct user *ret, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("user", USER_ARENA_MAX);
	struct sql_conn *conn;
	struct user_row row;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = user_row_by_name(conn, name, arena, &row, err);
	sql_reader_give(svc->db, conn);
	if (rc == -ERR_NOT_FOUND)
		return user_missing(name, err);
	if (rc == 0)
		user_of_row(&row, ret);
	return rc;
}

int user_by_id(struct service *svc, int64_t id, struct user *ret, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("user", USER_ARENA_MAX);
	struct sql_conn *conn;
	struct user_row row;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = user_row_by_id(conn, id, arena, &row, err);
	sql_reader_give(svc->db, conn);
	if (rc == 0)
		user_of_row(&row, ret);
	return rc;
}

struct each_arg {
	void (*each)(const struct user *u, void *arg);
	void *arg;
};

static void each_row(const struct user_row *row, void *arg)
{
	const struct each_arg *e = arg;
	struct user u;

	user_of_row(row, &u);
	e->each(&u, e->arg);
}

int user_each(struct service *svc, void (*each)(const struct user *u, void *arg), void *arg,
	      struct err *err)
{
	struct each_arg e = { each, arg };
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = user_rows_each(conn, each_row, &e, err);
	sql_reader_give(svc->db, conn);
	return rc;
}
