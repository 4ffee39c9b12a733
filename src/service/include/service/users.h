#ifndef SERVICE_USERS_H
#define SERVICE_USERS_H
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

struct user {
	int64_t id;
	char name[65]; /* [A-Za-z0-9_.-]{1,64} */
	enum user_role role;
	char email[255];
	int64_t created_s;
	bool disabled;
	uint8_t key_hash[32]; /* of the key it came with; zeros if it came without one */
};

enum {
	USER_KEY_CHARS = 64,
	USER_EMAIL_BYTES_MAX = 254 /* RFC 5321 section 4.5.3.1.3 */
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

/* These block for a commit: not on an HTTP loop or the writer's thread. */
MUST_USE int user_add(struct service *svc, struct str name, enum user_role role, struct str email,
		      char ret_key[USER_KEY_CHARS + 1],
		      struct err *err); /* ERR_EXISTS, ERR_INVALID */
/* A further key; the old ones stay until revoked. */
MUST_USE int user_key_add(struct service *svc, struct str name, char ret_key[USER_KEY_CHARS + 1],
			  struct err *err);
MUST_USE int user_key_revoke_all(struct service *svc, struct str name, struct err *err);
MUST_USE int user_set_disabled(struct service *svc, struct str name, bool disabled,
			       struct err *err);
MUST_USE int user_get(struct service *svc, struct str name, struct user *ret, struct err *err);
MUST_USE int user_by_id(struct service *svc, int64_t id, struct user *ret, struct err *err);
/* Every account in order of name. */
MUST_USE int user_each(struct service *svc, void (*each)(const struct user *u, void *arg),
		       void *arg, struct err *err);
/*
 * Note the use of the key that `u` came with (user_authenticate); kept in memory
 * and flushed each second. Users without a key leave no trace.
 */
void user_seen(struct service *svc, const struct user *u);
#endif
