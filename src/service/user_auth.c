#include "service/users.h"

#include <stdatomic.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "service_internal.h"
#include "store/meta_user.h"
#include "users_internal.h"

enum {
	CACHE_SLOTS = 4096,        /* keys in use at once on a busy server; 2 MB */
	USES_MAX = 4096,           /* distinct keys used between two flushes; further uses wait */
	USES_SLOTS = 2 * USES_MAX, /* half empty, so that probes stay short */
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

void user_cache_empty(struct user_cache *c)
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

static int holder_of(struct service *svc, struct sql_conn *conn, const uint8_t hash[SHA256_BYTES],
		     struct cached_key *ret, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("user", USER_ARENA_MAX);
	struct user_row user;
	struct key_row key;
	int rc = key_row_holder(conn, hash, arena, &key, &user, err);

	if (rc == -ERR_NOT_FOUND || (rc == 0 && key.revoked))
		return err_set(err, ERR_UNAUTHENTICATED, "unknown or revoked key");
	TRY(rc);
	memcpy(ret->hash, hash, SHA256_BYTES);
	ret->expires_s = key.expires_s;
	user_of_row(&user, &ret->user);
	memcpy(ret->user.key_hash, hash, SHA256_BYTES);
	TRY(user_scopes_parse(key.scope, &ret->user.scopes, err));
	TRY(user_quotas_read(svc, conn, user.id, ret->user.allowed, NULL, err));
	return account_get(svc, conn, user.id, &ret->user.account, err);
}

static int holder_read(struct service *svc, const uint8_t hash[SHA256_BYTES],
		       struct cached_key *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = holder_of(svc, conn, hash, ret, err);
	sql_reader_give(svc->db, conn);
	return rc;
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

	if (!user_key_is_well_formed(key))
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
