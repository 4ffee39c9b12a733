#include "service/users.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "service_internal.h"
#include "store/meta_ruleset.h"
#include "store/meta_user.h"
#include "users_internal.h"

/* ---- Roles, scopes, names ---- */

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

static const char *const SCOPE_NAMES[] = {
#define SCOPE(id, name, text) [SCOPE_##id] = (name),
#include "service/scopes.def"
#undef SCOPE
};

static unsigned scope_bit(struct str name)
{
	if (str_eq_z(name, "all"))
		return SCOPES_ALL;
	for (unsigned i = 0; i < SCOPE_COUNT; i++) {
		if (str_eq_z(name, SCOPE_NAMES[i]))
			return 1u << i;
	}
	return 0;
}

int user_scopes_parse(struct str s, unsigned *ret, struct err *err)
{
	struct str rest = s, part;
	unsigned scopes = 0, bit;

	while (str_split(&rest, ',', &part)) {
		bit = scope_bit(str_trim(part));
		if (!bit)
			return err_set(err, ERR_INVALID,
				       "there is no scope '" STR_FMT
				       "': all, or some of read, stream, upload, download, write "
				       "with commas between",
				       STR_ARG(part.n > 64 ? str_make(part.p, 64) : part));
		scopes |= bit;
	}
	if (!scopes)
		return err_set(err, ERR_INVALID, "a key has at least one scope");
	*ret = scopes;
	return 0;
}

void user_scopes_print(unsigned scopes, char ret[SCOPES_TEXT_BYTES])
{
	size_t n = 0;

	REQUIRE(scopes && scopes <= SCOPES_ALL);
	if (scopes == SCOPES_ALL) {
		snprintf(ret, SCOPES_TEXT_BYTES, "all");
		return;
	}
	for (unsigned i = 0; i < SCOPE_COUNT; i++) {
		if (scopes & 1u << i)
			n += (size_t)snprintf(ret + n, SCOPES_TEXT_BYTES - n, "%s%s", n ? "," : "",
					      SCOPE_NAMES[i]);
	}
	REQUIRE(n < SCOPES_TEXT_BYTES);
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

/* One line of readable text. */
static bool text_is_valid(struct str s, size_t max)
{
	if (s.n > max || !utf8_valid(s))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	}
	return true;
}

bool user_key_is_well_formed(struct str key)
{
	for (size_t i = 0; i < key.n; i++) {
		if (!((key.p[i] >= '0' && key.p[i] <= '9') || (key.p[i] >= 'a' && key.p[i] <= 'f')))
			return false;
	}
	return key.n == USER_KEY_CHARS;
}

void user_of_row(const struct user_row *row, struct user *ret)
{
	*ret = (struct user){ .id = row->id,
			      .created_s = row->created_s,
			      .disabled = row->disabled,
			      .scopes = SCOPES_ALL };
	REQUIRE(user_role_parse(row->role, &ret->role));
	snprintf(ret->name, sizeof ret->name, STR_FMT, STR_ARG(row->name));
	snprintf(ret->email, sizeof ret->email, STR_FMT, STR_ARG(row->email));
}

int user_missing(struct str name, struct err *err)
{
	if (!name_is_valid(name))
		return err_set(err, ERR_NOT_FOUND, "no user of that name");
	return err_set(err, ERR_NOT_FOUND, "no user '" STR_FMT "'", STR_ARG(name));
}

/* ---- Quotas ---- */

struct quotas_arg {
	int64_t *allowed;
	unsigned own;
};

static void quota_read(struct str quota, int64_t allowed, void *arg)
{
	struct quotas_arg *a = arg;
	enum quota q = quota_find(quota);

	if (q == QUOTA_COUNT)
		return; /* one that this program does not know any more */
	a->allowed[q] = allowed;
	a->own |= 1u << q;
}

int user_quotas_read(struct service *svc, struct sql_conn *conn, int64_t user_id,
		     int64_t *ret_allowed, unsigned *ret_own, struct err *err)
{
	struct quotas_arg a = { .allowed = ret_allowed };

	memcpy(ret_allowed, svc->options.quotas, sizeof svc->options.quotas);
	TRY(quota_rows_each(conn, user_id, quota_read, &a, err));
	if (ret_own)
		*ret_own = a.own;
	return 0;
}

int user_rules_allowed(struct service *svc, struct sql_conn *conn, const struct ruleset_row *row,
		       int64_t was_rules, bool is_new, struct err *err)
{
	int64_t allowed[QUOTA_COUNT], used;
	int64_t rules = row->enabled && !row->is_suspended ? row->rule_count : 0;

	TRY(user_quotas_read(svc, conn, row->owner_id, allowed, NULL, err));
	if (is_new && allowed[QUOTA_HUNTING_RULESETS] >= 0) {
		TRY(user_rulesets_count(conn, row->owner_id, &used, err));
		if (used + 1 > allowed[QUOTA_HUNTING_RULESETS])
			return err_set(err, ERR_QUOTA,
				       "Quota exceeded: %lld rulesets of %lld allowed ones",
				       (long long)used, (long long)allowed[QUOTA_HUNTING_RULESETS]);
	}
	/* Who is over the quota already may still change what makes it no worse. */
	if (rules > was_rules && allowed[QUOTA_HUNTING_RULES] >= 0) {
		TRY(user_rules_count(conn, row->owner_id, row->id, &used, err));
		if (used + rules > allowed[QUOTA_HUNTING_RULES])
			return err_set(
				err, ERR_QUOTA,
				"Quota exceeded: this ruleset has %lld rules, enabled ones have "
				"%lld of %lld allowed rules",
				(long long)rules, (long long)used,
				(long long)allowed[QUOTA_HUNTING_RULES]);
	}
	return 0;
}

/* ---- Changes ---- */

struct user_change;
typedef int (*change_fn)(struct sql_conn *conn, struct user_change *c, struct err *err);

/* One change on its way through the writer. `put` runs in the transaction, maybe more than once. */
struct user_change {
	struct write_req req; /* first */
	struct service *svc;
	change_fn put;
	const struct audit_by *by;
	struct str name;
	struct arena *arena;
	struct user_row row; /* who is changed; not of a new account */
	enum user_role role;
	struct str email;
	bool disabled;
	uint8_t key_hash[SHA256_BYTES];
	const struct user_key_options *key;
	struct str key_id;
	const struct user_profile *profile;
	const struct user_quota_change *quotas;
	size_t quota_count;
};

static int change_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct user_change *c = (struct user_change *)req;
	AUTO(arena_drop) struct arena *arena = arena_new("user change", USER_ARENA_MAX);
	int rc;

	c->arena = arena;
	rc = user_row_by_name(conn, c->name, arena, &c->row, err);
	if (rc == -ERR_NOT_FOUND)
		return user_missing(c->name, err);
	TRY(rc);
	return c->put(conn, c, err);
}

static int change_commit(struct service *svc, struct user_change *c, struct err *err)
{
	int rc;

	c->svc = svc;
	if (!c->req.apply)
		c->req.apply = change_apply;
	c->req.lane = LANE_API;
	rc = writer_call(svc->writer, &c->req, err);
	user_cache_empty(svc->users);
	return rc;
}

static int change_audit(struct sql_conn *conn, struct user_change *c, enum audit_action action,
			struct audit_detail *d, struct err *err)
{
	struct str detail = d ? audit_detail_end(d) : STR("");

	return audit_write(c->svc, conn, c->by, action, c->name, detail, err);
}

static void key_make(char key[USER_KEY_CHARS + 1], uint8_t hash[SHA256_BYTES])
{
	uint8_t secret[USER_KEY_CHARS / 2];

	rand_bytes(secret, sizeof secret);
	hex_encode(secret, sizeof secret, key);
	sha256_of(key, USER_KEY_CHARS, hash);
	explicit_bzero(secret, sizeof secret);
}

static void key_id_of(const uint8_t hash[SHA256_BYTES], char ret[USER_KEY_ID_CHARS + 1])
{
	hex_encode(hash, USER_KEY_ID_CHARS / 2, ret);
}

static void detail_key(struct audit_detail *d, const uint8_t hash[SHA256_BYTES],
		       const struct user_key_options *key)
{
	char id[USER_KEY_ID_CHARS + 1], scopes[SCOPES_TEXT_BYTES];

	key_id_of(hash, id);
	user_scopes_print(key->scopes, scopes);
	json_kv_z(&d->json, "key", id);
	if (key->name.n)
		json_kv_str(&d->json, "name", key->name);
	json_kv_z(&d->json, "scope", scopes);
	if (key->expires_s)
		json_kv_i64(&d->json, "expires", key->expires_s);
}

static int key_put(struct sql_conn *conn, struct user_change *c, int64_t user_id, struct err *err)
{
	char scopes[SCOPES_TEXT_BYTES];
	struct key_row row = { .user_id = user_id,
			       .name = c->key->name,
			       .created_s = clock_unix_s(c->svc->clock),
			       .expires_s = c->key->expires_s };

	user_scopes_print(c->key->scopes, scopes);
	row.scope = str_of(scopes);
	memcpy(row.hash, c->key_hash, SHA256_BYTES);
	return key_row_insert(conn, &row, err);
}

/* ---- A new account ---- */

static int add_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct user_change *c = (struct user_change *)req;
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	const struct user_row row = { .name = c->name,
				      .role = str_of(user_role_name(c->role)),
				      .email = c->email,
				      .created_s = clock_unix_s(c->svc->clock) };
	int64_t count, id;
	int rc;

	audit_detail_init(&d);
	TRY(user_rows_count(conn, &count, err));
	if (count >= USERS_MAX)
		return err_set(err, ERR_TOO_LARGE, "there are %d users, the most there may be",
			       USERS_MAX);
	rc = user_row_insert(conn, &row, &id, err);
	if (rc == -ERR_EXISTS)
		return err_set(err, ERR_EXISTS, "there is a user '" STR_FMT "' already",
			       STR_ARG(c->name));
	TRY(rc);
	TRY(key_put(conn, c, id, err));
	json_kv_z(&d.json, "role", user_role_name(c->role));
	if (c->email.n)
		json_kv_str(&d.json, "email", c->email);
	detail_key(&d, c->key_hash, c->key);
	return change_audit(conn, c, AUDIT_USER_ADD, &d, err);
}

int user_add(struct service *svc, struct str name, enum user_role role, struct str email,
	     const struct audit_by *by, char ret_key[USER_KEY_CHARS + 1], struct err *err)
{
	static const struct user_key_options first = { .scopes = SCOPES_ALL };
	struct user_change c = { .req = { .apply = add_apply },
				 .by = by,
				 .name = name,
				 .role = role,
				 .email = email,
				 .key = &first };
	char key[USER_KEY_CHARS + 1];

	if (!name_is_valid(name))
		return err_set(err, ERR_INVALID,
			       "a user name has 1 to %d letters, digits, '_', '.' or '-', and "
			       "does not begin with '.' or '-'",
			       LIMIT_USER_NAME_BYTES);
	/* It could not be told from a key where either may stand. */
	if (user_key_is_well_formed(name))
		return err_set(err, ERR_INVALID, "that name looks like an API key");
	if (email.n && !user_email_is_valid(email))
		return err_set(err, ERR_INVALID, "that is not an e-mail address");
	key_make(key, c.key_hash);
	TRY(change_commit(svc, &c, err));
	memcpy(ret_key, key, sizeof key);
	return 0;
}

/* ---- Keys ---- */

static void key_count(const struct key_row *row, void *arg)
{
	*(size_t *)arg += !row->revoked;
}

static int key_add_put(struct sql_conn *conn, struct user_change *c, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	size_t count = 0;

	audit_detail_init(&d);
	TRY(key_rows_each(conn, c->row.id, key_count, &count, err));
	if (count >= USER_KEYS_MAX)
		return err_set(err, ERR_TOO_LARGE,
			       "'" STR_FMT "' has %d keys, the most there may be: revoke one first",
			       STR_ARG(c->name), USER_KEYS_MAX);
	TRY(key_put(conn, c, c->row.id, err));
	detail_key(&d, c->key_hash, c->key);
	return change_audit(conn, c, AUDIT_USER_KEY, &d, err);
}

int user_key_add(struct service *svc, struct str name, const struct user_key_options *options,
		 const struct audit_by *by, char ret_key[USER_KEY_CHARS + 1], struct err *err)
{
	struct user_change c = { .put = key_add_put, .by = by, .name = name, .key = options };
	char key[USER_KEY_CHARS + 1];

	REQUIRE(options->scopes && options->scopes <= SCOPES_ALL);
	if (!text_is_valid(options->name, USER_TEXT_BYTES_MAX))
		return err_set(err, ERR_INVALID, "a key's name is one line of at most %d bytes",
			       USER_TEXT_BYTES_MAX);
	if (options->expires_s && options->expires_s <= clock_unix_s(svc->clock))
		return err_set(err, ERR_INVALID, "the key would have expired already");
	key_make(key, c.key_hash);
	TRY(change_commit(svc, &c, err));
	memcpy(ret_key, key, sizeof key);
	return 0;
}

/* The one key that is meant. */
struct key_search {
	struct str wanted;
	bool by_hash;
	uint8_t hash[SHA256_BYTES];
	unsigned found;
};

static void key_search_one(const struct key_row *row, void *arg)
{
	struct key_search *s = arg;
	char hex[2 * SHA256_BYTES + 1];
	bool same;

	if (row->revoked)
		return;
	hex_encode(row->hash, SHA256_BYTES, hex);
	same = s->by_hash ? memcmp(row->hash, s->hash, SHA256_BYTES) == 0
			  : str_starts(str_of(hex), s->wanted);
	if (!same)
		return;
	s->found++;
	memcpy(s->hash, row->hash, SHA256_BYTES);
}

static int revoke_one(struct sql_conn *conn, struct user_change *c, struct audit_detail *d,
		      struct err *err)
{
	struct key_search s = { .wanted = c->key_id };
	char id[USER_KEY_ID_CHARS + 1];

	/* Who has the key itself need not look its id up. */
	s.by_hash = user_key_is_well_formed(c->key_id);
	if (s.by_hash)
		sha256_of(c->key_id.p, c->key_id.n, s.hash);
	TRY(key_rows_each(conn, c->row.id, key_search_one, &s, err));
	if (s.found == 0)
		return err_set(err, ERR_NOT_FOUND,
			       "'" STR_FMT "' has no such key: 'weir user keys " STR_FMT
			       "' lists them",
			       STR_ARG(c->name), STR_ARG(c->name));
	if (s.found > 1)
		return err_set(err, ERR_INVALID, "%u keys of '" STR_FMT "' begin so", s.found,
			       STR_ARG(c->name));
	key_id_of(s.hash, id);
	json_kv_z(&d->json, "key", id);
	return key_row_revoke(conn, s.hash, err);
}

static int revoke_put(struct sql_conn *conn, struct user_change *c, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	if (c->key_id.n) {
		TRY(revoke_one(conn, c, &d, err));
	} else {
		json_kv_z(&d.json, "key", "all");
		TRY(key_rows_revoke(conn, c->row.id, err));
	}
	return change_audit(conn, c, AUDIT_USER_REVOKE, &d, err);
}

int user_key_revoke(struct service *svc, struct str name, struct str key, const struct audit_by *by,
		    struct err *err)
{
	struct user_change c = { .put = revoke_put, .by = by, .name = name, .key_id = key };

	return change_commit(svc, &c, err);
}

/* ---- State and role ---- */

static int disable_put(struct sql_conn *conn, struct user_change *c, struct err *err)
{
	TRY(user_row_set_disabled(conn, c->row.id, c->disabled, err));
	return change_audit(conn, c, c->disabled ? AUDIT_USER_DISABLE : AUDIT_USER_ENABLE, NULL,
			    err);
}

int user_set_disabled(struct service *svc, struct str name, bool disabled,
		      const struct audit_by *by, struct err *err)
{
	struct user_change c = { .put = disable_put, .by = by, .name = name, .disabled = disabled };

	return change_commit(svc, &c, err);
}

static int role_put(struct sql_conn *conn, struct user_change *c, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	json_kv_z(&d.json, "role", user_role_name(c->role));
	json_kv_str(&d.json, "was", c->row.role);
	TRY(user_row_set_role(conn, c->row.id, str_of(user_role_name(c->role)), err));
	return change_audit(conn, c, AUDIT_USER_ROLE, &d, err);
}

int user_set_role(struct service *svc, struct str name, enum user_role role,
		  const struct audit_by *by, struct err *err)
{
	struct user_change c = { .put = role_put, .by = by, .name = name, .role = role };

	return change_commit(svc, &c, err);
}

/* ---- What users say of themselves ---- */

static int profile_check(const struct user_profile *p, struct err *err)
{
	const struct {
		unsigned flag;
		const char *what;
		struct str text;
		size_t max;
	} lines[] = {
		{ PROFILE_FIRST_NAME, "first_name", p->first_name, USER_TEXT_BYTES_MAX },
		{ PROFILE_LAST_NAME, "last_name", p->last_name, USER_TEXT_BYTES_MAX },
		{ PROFILE_PHRASE, "profile_phrase", p->phrase, USER_PHRASE_BYTES_MAX },
	};

	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		if ((p->set & lines[i].flag) && !text_is_valid(lines[i].text, lines[i].max))
			return err_set(err, ERR_INVALID,
				       "\"%s\" must be one line of at most %zu bytes",
				       lines[i].what, lines[i].max);
	}
	if ((p->set & PROFILE_EMAIL) && p->email.n && !user_email_is_valid(p->email))
		return err_set(err, ERR_INVALID, "Invalid email address: \"" STR_FMT "\"",
			       STR_ARG(p->email.n > 256 ? str_make(p->email.p, 256) : p->email));
	if ((p->set & PROFILE_PREFERENCES) && p->preferences.n > USER_PREFERENCES_BYTES_MAX)
		return err_set(err, ERR_INVALID, "\"preferences\" must be at most %d bytes",
			       USER_PREFERENCES_BYTES_MAX);
	return 0;
}

static int profile_put(struct sql_conn *conn, struct user_change *c, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	const struct user_profile *p = c->profile;
	struct profile_row row;

	audit_detail_init(&d);
	TRY(profile_row_get(conn, c->row.id, c->arena, &row, err));
	if (p->set & PROFILE_FIRST_NAME)
		row.first_name = p->first_name;
	if (p->set & PROFILE_LAST_NAME)
		row.last_name = p->last_name;
	if (p->set & PROFILE_PHRASE)
		row.phrase = p->phrase;
	if (p->set & PROFILE_PREFERENCES)
		row.preferences = p->preferences;
	if (p->set & PROFILE_EMAIL)
		row.email = p->email;
	json_key(&d.json, "set");
	json_arr(&d.json);
	for (unsigned i = 0; i < 5; i++) {
		static const char *const names[] = { "first_name", "last_name", "email",
						     "profile_phrase", "preferences" };

		if (p->set & 1u << i)
			json_z(&d.json, names[i]);
	}
	json_arr_end(&d.json);
	if (p->set & PROFILE_EMAIL)
		json_kv_str(&d.json, "email", p->email);
	TRY(profile_row_set(conn, c->row.id, &row, err));
	return change_audit(conn, c, AUDIT_USER_CHANGE, &d, err);
}

int user_set_profile(struct service *svc, struct str name, const struct user_profile *profile,
		     const struct audit_by *by, struct err *err)
{
	struct user_change c = { .put = profile_put, .by = by, .name = name, .profile = profile };

	TRY(profile_check(profile, err));
	return change_commit(svc, &c, err);
}

/* ---- Quotas of a user ---- */

static int quotas_put(struct sql_conn *conn, struct user_change *c, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	for (size_t i = 0; i < c->quota_count; i++) {
		const struct user_quota_change *q = &c->quotas[i];
		const char *name = quota_infos[q->quota].name;

		if (q->is_default) {
			json_kv_z(&d.json, name, "default");
			TRY(quota_row_remove(conn, c->row.id, str_of(name), err));
			continue;
		}
		if (q->allowed < 0)
			json_kv_z(&d.json, name, "unlimited");
		else
			json_kv_i64(&d.json, name, q->allowed);
		TRY(quota_row_put(conn, c->row.id, str_of(name), q->allowed, err));
	}
	return change_audit(conn, c, AUDIT_USER_QUOTA, &d, err);
}

int user_set_quotas(struct service *svc, struct str name, const struct user_quota_change *changes,
		    size_t n, const struct audit_by *by, struct err *err)
{
	struct user_change c = {
		.put = quotas_put, .by = by, .name = name, .quotas = changes, .quota_count = n
	};

	for (size_t i = 0; i < n; i++) {
		REQUIRE(changes[i].quota < QUOTA_COUNT);
		REQUIRE(changes[i].is_default || changes[i].allowed <= QUOTA_ALLOWED_MAX);
	}
	return change_commit(svc, &c, err);
}
