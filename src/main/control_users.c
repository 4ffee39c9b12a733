#include "control_internal.h"

#include <stdio.h>

#include "service/usage.h"

/* Accounts, as the command line asks for them. */

enum {
	QUOTA_CHANGES_MAX = 64
};

/* ---- Making and changing ---- */

static int take_role(struct frame *f, enum user_role *ret, struct err *err)
{
	struct str name = frame_take_str(f);

	if (user_role_parse(name, ret))
		return 0;
	return err_set(err, ERR_INVALID,
		       "there is no role '" STR_FMT "': viewer, hunter, editor or admin",
		       STR_ARG(name.n > 64 ? str_make(name.p, 64) : name));
}

static int do_add(struct connection *c, struct frame *f, struct err *err)
{
	struct str name = frame_take_str(f), email;
	char key[USER_KEY_CHARS + 1];
	enum user_role role;

	TRY(take_role(f, &role, err));
	email = frame_take_str(f);
	TRY(user_add(c->svc, name, role, email, &c->by, key, err));
	ANSWER(c, CONTROL_OK, FIELD_STR(str_of(key)));
	return 0;
}

static int do_key(struct connection *c, struct frame *f, struct err *err)
{
	struct user_key_options options = { .scopes = SCOPES_ALL };
	struct str name = frame_take_str(f), scopes = frame_take_str(f);
	char key[USER_KEY_CHARS + 1];

	TRY(user_scopes_parse(scopes, &options.scopes, err));
	options.expires_s = (int64_t)frame_take_u64(f);
	options.name = frame_take_str(f);
	TRY(user_key_add(c->svc, name, &options, &c->by, key, err));
	ANSWER(c, CONTROL_OK, FIELD_STR(str_of(key)));
	return 0;
}

static int do_revoke(struct connection *c, struct frame *f, struct err *err)
{
	struct str name = frame_take_str(f);

	return user_key_revoke(c->svc, name, frame_take_str(f), &c->by, err);
}

static int do_disable(struct connection *c, struct frame *f, struct err *err)
{
	struct str name = frame_take_str(f);

	return user_set_disabled(c->svc, name, frame_take_u64(f) != 0, &c->by, err);
}

static int do_role(struct connection *c, struct frame *f, struct err *err)
{
	struct str name = frame_take_str(f);
	enum user_role role;

	TRY(take_role(f, &role, err));
	return user_set_role(c->svc, name, role, &c->by, err);
}

static int do_email(struct connection *c, struct frame *f, struct err *err)
{
	struct str name = frame_take_str(f);
	const struct user_profile profile = { .set = PROFILE_EMAIL, .email = frame_take_str(f) };

	return user_set_profile(c->svc, name, &profile, &c->by, err);
}

/* ---- Quotas ---- */

static int quota_value(struct str text, struct user_quota_change *ret, struct err *err)
{
	uint64_t v = 0;

	ret->is_default = str_eq_z(text, "default");
	if (ret->is_default)
		return 0;
	if (str_eq_z(text, "unlimited")) {
		ret->allowed = QUOTA_UNLIMITED;
		return 0;
	}
	if (!str_to_u64(text, QUOTA_ALLOWED_MAX, &v))
		return err_set(err, ERR_INVALID,
			       "a quota is a number of at most %d, 'unlimited' or 'default', not "
			       "'" STR_FMT "'",
			       QUOTA_ALLOWED_MAX,
			       STR_ARG(text.n > 64 ? str_make(text.p, 64) : text));
	ret->allowed = (int64_t)v;
	return 0;
}

/* tier=public, tier=unlimited, tier=default: every quota at once. */
static int quota_tier(struct str tier, struct user_quota_change *changes, size_t *n,
		      struct err *err)
{
	bool public = str_eq_z(tier, "public");
	struct user_quota_change one;

	if (!public && !str_eq_z(tier, "unlimited") && !str_eq_z(tier, "default"))
		return err_set(err, ERR_INVALID,
			       "a tier is public, unlimited or default, not '" STR_FMT "'",
			       STR_ARG(tier.n > 64 ? str_make(tier.p, 64) : tier));
	for (unsigned q = 0; q < QUOTA_COUNT; q++) {
		one = (struct user_quota_change){ .quota = (enum quota)q,
						  .is_default = str_eq_z(tier, "default"),
						  .allowed = public ? quota_infos[q].public_allowed
								    : QUOTA_UNLIMITED };
		changes[(*n)++] = one;
	}
	return 0;
}

/* "requests-per-day=500" */
static int quota_change(struct str text, struct user_quota_change *changes, size_t *n,
			struct err *err)
{
	AUTO(buf_release) struct buf names = BUF_INIT(1024);
	size_t at = str_find(text, '=');
	struct str name = str_make(text.p, at), value;

	if (at == text.n)
		return err_set(err, ERR_INVALID, "'" STR_FMT "' is not QUOTA=VALUE",
			       STR_ARG(text.n > 64 ? str_make(text.p, 64) : text));
	value = str_make(text.p + at + 1, text.n - at - 1);
	if (*n + QUOTA_COUNT > QUOTA_CHANGES_MAX)
		return err_set(err, ERR_INVALID, "too many quotas at once");
	if (str_eq_z(name, "tier"))
		return quota_tier(value, changes, n, err);
	changes[*n].quota = quota_find(name);
	if (changes[*n].quota == QUOTA_COUNT) {
		for (unsigned q = 0; q < QUOTA_COUNT; q++)
			buf_addf(&names, "%s, ", quota_infos[q].name);
		return err_set(err, ERR_INVALID, "there is no quota '" STR_FMT "': %sor tier",
			       STR_ARG(name.n > 64 ? str_make(name.p, 64) : name), names.p);
	}
	TRY(quota_value(value, &changes[*n], err));
	++*n;
	return 0;
}

static int do_quota(struct connection *c, struct frame *f, struct err *err)
{
	struct user_quota_change changes[QUOTA_CHANGES_MAX];
	struct str name = frame_take_str(f);
	uint64_t count = frame_take_u64(f);
	int64_t used[QUOTA_COUNT];
	struct user user;
	unsigned own;
	size_t n = 0;

	for (uint64_t i = 0; i < count && !f->bad; i++)
		TRY(quota_change(frame_take_str(f), changes, &n, err));
	if (n)
		TRY(user_set_quotas(c->svc, name, changes, n, &c->by, err));
	TRY(user_get(c->svc, name, &user, err));
	TRY(user_own_quotas(c->svc, user.id, &own, err));
	TRY(usage_now(c->svc, &user, used, err));
	for (unsigned q = 0; q < QUOTA_COUNT; q++)
		ANSWER(c, CONTROL_ITEM, FIELD_STR(str_of(quota_infos[q].name)), FIELD_U64(used[q]),
		       FIELD_U64(user.allowed[q]), FIELD_U64(own >> q & 1));
	return 0;
}

/* ---- Looking ---- */

static void list_one(const struct user *u, void *arg)
{
	ANSWER(arg, CONTROL_ITEM, FIELD_STR(str_of(u->name)),
	       FIELD_STR(str_of(user_role_name(u->role))), FIELD_STR(str_of(u->email)),
	       FIELD_U64(u->created_s), FIELD_U64(u->disabled));
}

static void list_key(const struct user_key *key, void *arg)
{
	char scopes[SCOPES_TEXT_BYTES];

	user_scopes_print(key->scopes, scopes);
	ANSWER(arg, CONTROL_ITEM, FIELD_STR(str_of(key->id)), FIELD_STR(key->name),
	       FIELD_STR(str_of(scopes)), FIELD_U64(key->created_s), FIELD_U64(key->expires_s),
	       FIELD_U64(key->last_used_s), FIELD_U64(key->revoked));
}

static int do_keys(struct connection *c, struct frame *f, struct err *err)
{
	return user_keys_each(c->svc, frame_take_str(f), list_key, c, err);
}

static int do_show(struct connection *c, struct frame *f, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("show user", 1 << 20);
	struct user_profile profile;
	struct user user;

	TRY(user_get(c->svc, frame_take_str(f), &user, err));
	TRY(user_profile_get(c->svc, user.id, arena, &profile, err));
	ANSWER(c, CONTROL_OK, FIELD_STR(str_of(user_role_name(user.role))),
	       FIELD_STR(profile.email), FIELD_STR(profile.first_name),
	       FIELD_STR(profile.last_name), FIELD_U64(user.created_s), FIELD_U64(user.disabled),
	       FIELD_U64(profile.last_login_s));
	return 0;
}

/* Those that answer with nothing but the end. */
static int do_plain(struct connection *c, struct frame *f, struct err *err)
{
	switch (f->kind) {
	case CONTROL_USER_REVOKE:
		return do_revoke(c, f, err);
	case CONTROL_USER_DISABLE:
		return do_disable(c, f, err);
	case CONTROL_USER_ROLE:
		return do_role(c, f, err);
	case CONTROL_USER_EMAIL:
		return do_email(c, f, err);
	case CONTROL_USER_LIST:
		return user_each(c->svc, list_one, c, err);
	case CONTROL_USER_KEYS:
		return do_keys(c, f, err);
	case CONTROL_USER_QUOTA:
		return do_quota(c, f, err);
	default:
		return err_set(err, ERR_INVALID, "unknown request %u", f->kind);
	}
}

int control_do_user(struct connection *c, struct frame *f, struct err *err)
{
	if (f->kind == CONTROL_USER_ADD)
		return do_add(c, f, err);
	if (f->kind == CONTROL_USER_KEY)
		return do_key(c, f, err);
	if (f->kind == CONTROL_USER_SHOW)
		return do_show(c, f, err);
	TRY(do_plain(c, f, err));
	connection_answer(c, CONTROL_OK, NULL, 0);
	return 0;
}

/* ---- The audit log ---- */

static bool audit_one(const struct audit_row *row, void *arg)
{
	struct connection *c = arg;

	ANSWER(c, CONTROL_ITEM, FIELD_U64(row->id), FIELD_U64(row->date_s), FIELD_STR(row->user),
	       FIELD_STR(row->action), FIELD_STR(row->object_type), FIELD_STR(row->object_id),
	       FIELD_STR(row->address), FIELD_STR(row->request_id), FIELD_STR(row->detail));
	return !c->broken;
}

int control_do_audit(struct connection *c, struct frame *f, struct err *err)
{
	struct audit_search search = { .filter = { .user = frame_take_str(f),
						   .action = frame_take_str(f),
						   .object = frame_take_str(f),
						   .since_s = (int64_t)frame_take_u64(f),
						   .until_s = (int64_t)frame_take_u64(f) },
				       .after_id = (int64_t)frame_take_u64(f),
				       .limit = frame_take_u64(f) };

	TRY(audit_each(c->svc, &search, audit_one, c, err));
	connection_answer(c, CONTROL_OK, NULL, 0);
	return 0;
}
