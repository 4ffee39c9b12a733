#ifndef SERVICE_USERS_INTERNAL_H
#define SERVICE_USERS_INTERNAL_H
#include "service/users.h"
#include "store/meta_user.h"

/* What users.c, user_auth.c and user_look.c share. */
enum {
	USER_ARENA_MAX = 128 * 1024 /* all texts of one user */
};

/* Without quotas and key. */
void user_of_row(const struct user_row *row, struct user *ret);
/* 64 lower-case hex digits. */
bool user_key_is_well_formed(struct str key);
/* "no user 'x'", with the name as it may stand in a message. */
int user_missing(struct str name, struct err *err);
#endif
