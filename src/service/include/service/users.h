#ifndef SERVICE_USERS_H
#define SERVICE_USERS_H
#include "service/audit.h"
#include "service/quota.h"
#include "service/service.h"

/*
 * Accounts. A key is 256 random bits as 64 lower-case hex digits (the form of
 * VirusTotal's keys), shown once and stored as its SHA-256.
 */
enum user_role {
	ROLE_VIEWER,
	ROLE_HUNTER,
	ROLE_EDITOR,
	ROLE_ADMIN
};
const char *user_role_name(enum user_role role);
bool user_role_parse(struct str s, enum user_role *ret);

/* What a key may be used for: bits (1 << scope). */
enum user_scope {
#define SCOPE(id, ...) SCOPE_##id,
#include "service/scopes.def"
#undef SCOPE
	SCOPE_COUNT
};
enum {
	SCOPES_ALL = (1 << SCOPE_COUNT) - 1,
	SCOPES_TEXT_BYTES = 64
};
/* "read,upload"; "all". ERR_INVALID, naming the scopes there are. */
MUST_USE int user_scopes_parse(struct str s, unsigned *ret, struct err *err);
void user_scopes_print(unsigned scopes, char ret[SCOPES_TEXT_BYTES]);

struct account; /* of usage.c */

struct user {
	int64_t id;
	char name[65]; /* [A-Za-z0-9_.-]{1,64} */
	enum user_role role;
	char email[255];
	int64_t created_s;
	bool disabled;
	int64_t allowed[QUOTA_COUNT]; /* the user's own, or the server's; QUOTA_UNLIMITED */
	/* of the key it came with; zeros, SCOPES_ALL and NULL if it came without one */
	uint8_t key_hash[32];
	unsigned scopes;
	struct account *account;
};

enum {
	USER_KEY_CHARS = 64,
	USER_KEY_ID_CHARS = 12,     /* a key's id: the beginning of its SHA-256 in hex */
	USER_EMAIL_BYTES_MAX = 254, /* RFC 5321 section 4.5.3.1.3 */
	USER_TEXT_BYTES_MAX = 128,  /* first and last name, names of keys */
	USER_PHRASE_BYTES_MAX = 512,
	USER_PREFERENCES_BYTES_MAX = 16 * 1024,
	USER_KEYS_MAX = 100, /* of one user, revoked ones not counted */
	USERS_MAX = 100000,
};

/* Something that mail could be sent to: one '@' with text around it, no blanks. */
bool user_email_is_valid(struct str email);

/*
 * Who holds this key. Served from a small cache that every change to accounts
 * empties. ERR_UNAUTHENTICATED: unknown, revoked or expired key;
 * ERR_FORBIDDEN: the account is disabled.
 */
MUST_USE int user_authenticate(struct service *svc, struct str key, struct user *ret,
			       struct err *err);

/*
 * Changes. All block for a commit: not on an HTTP loop or the writer's thread.
 * When they return the change holds for every request that comes later. `by`:
 * who does it, for the audit log (NULL: the server itself). ERR_NOT_FOUND where
 * there is no user of that name.
 */

/* ERR_EXISTS, ERR_INVALID, ERR_TOO_LARGE: USERS_MAX. The key is of all scopes and never expires. */
MUST_USE int user_add(struct service *svc, struct str name, enum user_role role, struct str email,
		      const struct audit_by *by, char ret_key[USER_KEY_CHARS + 1], struct err *err);

struct user_key_options {
	struct str name; /* what it is for; may be empty */
	unsigned scopes;
	int64_t expires_s; /* 0: never */
};
/* A further key; the old ones stay until revoked. ERR_INVALID, ERR_TOO_LARGE: USER_KEYS_MAX. */
MUST_USE int user_key_add(struct service *svc, struct str name,
			  const struct user_key_options *options, const struct audit_by *by,
			  char ret_key[USER_KEY_CHARS + 1], struct err *err);
/*
 * Revoke the key of this id (the first digits of it, if no other key has them),
 * or the key itself. Empty: all keys of the user. ERR_NOT_FOUND, ERR_INVALID.
 */
MUST_USE int user_key_revoke(struct service *svc, struct str name, struct str key,
			     const struct audit_by *by, struct err *err);
MUST_USE int user_set_disabled(struct service *svc, struct str name, bool disabled,
			       const struct audit_by *by, struct err *err);
MUST_USE int user_set_role(struct service *svc, struct str name, enum user_role role,
			   const struct audit_by *by, struct err *err);

/* What users say of themselves. A member is written only if its flag is in `set`. */
enum user_profile_set {
	PROFILE_FIRST_NAME = 1 << 0,
	PROFILE_LAST_NAME = 1 << 1,
	PROFILE_EMAIL = 1 << 2,
	PROFILE_PHRASE = 1 << 3,
	PROFILE_PREFERENCES = 1 << 4
};
struct user_profile {
	unsigned set;
	struct str first_name; /* "": none, as the next three */
	struct str last_name;
	struct str email;
	struct str phrase;
	struct str preferences; /* a JSON object */
	int64_t last_login_s;   /* last use of a key, 0: never; only read */
};
/* ERR_INVALID: text that is too long, not UTF-8 or with control characters; no e-mail address. */
MUST_USE int user_set_profile(struct service *svc, struct str name,
			      const struct user_profile *profile, const struct audit_by *by,
			      struct err *err);

/* One quota of a user: a number, QUOTA_UNLIMITED, or back to the server's default. */
struct user_quota_change {
	enum quota quota;
	bool is_default;
	int64_t allowed;
};
/* All of them or none. */
MUST_USE int user_set_quotas(struct service *svc, struct str name,
			     const struct user_quota_change *changes, size_t n,
			     const struct audit_by *by, struct err *err);

/* ---- Looking: these read the database ---- */

MUST_USE int user_get(struct service *svc, struct str name, struct user *ret, struct err *err);
MUST_USE int user_by_id(struct service *svc, int64_t id, struct user *ret, struct err *err);
/* By name, key or e-mail address. ERR_INVALID: several have that address. */
MUST_USE int user_find(struct service *svc, struct str what, struct user *ret, struct err *err);
/* In the arena. */
MUST_USE int user_profile_get(struct service *svc, int64_t id, struct arena *arena,
			      struct user_profile *ret, struct err *err);
/* Every account in order of name; without quotas. */
MUST_USE int user_each(struct service *svc, void (*each)(const struct user *u, void *arg),
		       void *arg, struct err *err);
/* Which quotas of the user are its own, as bits (1 << quota). */
MUST_USE int user_own_quotas(struct service *svc, int64_t id, unsigned *ret, struct err *err);

struct user_key {
	char id[USER_KEY_ID_CHARS + 1];
	struct str name;
	unsigned scopes;
	int64_t created_s;
	int64_t expires_s;   /* 0: never */
	int64_t last_used_s; /* 0: never */
	bool revoked;
};
/* Keys of a user in the order they were made; uses before the call are in. Blocks. */
MUST_USE int user_keys_each(struct service *svc, struct str name,
			    void (*each)(const struct user_key *key, void *arg), void *arg,
			    struct err *err);

/*
 * Note the use of the key that `u` came with (user_authenticate); kept in memory
 * and flushed each second. Users without a key leave no trace.
 */
void user_seen(struct service *svc, const struct user *u);
#endif
