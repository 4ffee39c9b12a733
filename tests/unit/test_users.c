#include "accounts_world.h"

#include <sched.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/hex.h"
#include "service_internal.h"

static void add(struct world *w, const char *name, char key[USER_KEY_CHARS + 1])
{
	struct err err;

	CHECK_OK(user_add(w->svc, str_of(name), ROLE_HUNTER, STR("a@b.example"), NULL, key, &err),
		 &err);
}

static const struct user_key_options all_scopes = { .scopes = SCOPES_ALL };

static int login(struct world *w, const char *key, struct err *err)
{
	struct user u;

	return user_authenticate(w->svc, str_of(key), &u, err);
}

static void roles_have_names(void **state)
{
	enum user_role role = ROLE_VIEWER;

	(void)state;
	for (unsigned i = ROLE_VIEWER; i <= ROLE_ADMIN; i++) {
		assert_true(user_role_parse(str_of(user_role_name((enum user_role)i)), &role));
		assert_int_equal(role, i);
	}
	assert_false(user_role_parse(STR("root"), &role));
	assert_false(user_role_parse(STR(""), &role));
}

static const struct {
	const char *text;
	unsigned scopes; /* 0: refused */
	const char *printed;
} scopes[] = {
	{ "all", SCOPES_ALL, "all" },
	{ "read", 1 << SCOPE_READ, "read" },
	{ "write,read", 1 << SCOPE_READ | 1 << SCOPE_WRITE, "read,write" },
	{ " upload , stream,upload ", 1 << SCOPE_UPLOAD | 1 << SCOPE_STREAM, "stream,upload" },
	{ "read,stream,upload,download,write", SCOPES_ALL, "all" },
	{ "read,all", SCOPES_ALL, "all" },
	{ "", 0, "" },
	{ "READ", 0, "" },
	{ "read,", 0, "" },
	{ "read;write", 0, "" },
	{ "everything", 0, "" },
};

static void scopes_have_names(void **state)
{
	char printed[SCOPES_TEXT_BYTES];
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(scopes); i++) {
		unsigned v = 0;
		int rc = user_scopes_parse(str_of(scopes[i].text), &v, &err);

		CHECK_ROW(scopes[i].text, rc == (scopes[i].scopes ? 0 : -ERR_INVALID));
		CHECK_ROW(scopes[i].text, v == scopes[i].scopes);
		if (rc)
			continue;
		user_scopes_print(v, printed);
		CHECK_ROW_STR(scopes[i].text, str_of(printed), str_of(scopes[i].printed));
	}
}

static void a_new_user_can_log_in(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1], hex[2 * SHA256_BYTES + 2];
	uint8_t hash[SHA256_BYTES];
	struct buf rows = BUF_INIT(4096);
	struct user u, same;
	struct err err;

	CHECK_OK(user_add(w->svc, STR("ann"), ROLE_EDITOR, STR("ann@example.org"), NULL, key, &err),
		 &err);
	assert_int_equal(strlen(key), USER_KEY_CHARS);
	assert_int_equal(strspn(key, "0123456789abcdef"), USER_KEY_CHARS);
	for (unsigned i = 0; i < 2; i++) { /* from the database, from the cache */
		CHECK_OK(user_authenticate(w->svc, str_of(key), &u, &err), &err);
		assert_string_equal(u.name, "ann");
		assert_string_equal(u.email, "ann@example.org");
		assert_int_equal(u.role, ROLE_EDITOR);
		assert_int_equal(u.created_s, WORLD_START_S);
		assert_false(u.disabled);
	}
	CHECK_OK(user_by_id(w->svc, u.id, &same, &err), &err);
	assert_string_equal(same.name, "ann");
	CHECK_OK(user_get(w->svc, STR("ann"), &same, &err), &err);
	assert_int_equal(same.id, u.id);
	sha256_of(key, USER_KEY_CHARS, hash);
	hex_encode(hash, sizeof hash, hex);
	memcpy(hex + 2 * SHA256_BYTES, "\n", 2);
	CHECK_ROW_STR("the key is stored as its hash alone",
		      world_rows(w, "SELECT lower(hex(hash)) FROM api_key", &rows), str_of(hex));
	buf_release(&rows);
}

static const struct {
	const char *row;
	struct str name;
	struct str email;
	bool good;
} names[] = {
	{ "one letter", STR("a"), STR(""), true },
	{ "every sign", STR("A_z.0-9"), STR(""), true },
	{ "64 letters", STR("kkkkkkkkkkkkkkkkbbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"),
	  STR(""), true },
	{ "65 letters", STR("aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddd"),
	  STR(""), false },
	{ "empty", STR(""), STR(""), false },
	{ "leading dot", STR(".a"), STR(""), false },
	{ "leading dash", STR("-a"), STR(""), false },
	{ "blank", STR("a b"), STR(""), false },
	{ "slash", STR("a/b"), STR(""), false },
	{ "NUL", STR("a\0b"), STR(""), false },
	{ "not ASCII", STR("b\xc3\xa4r"), STR(""), false },
	{ "new line", STR("a\n"), STR(""), false },
	{ "e-mail", STR("e1"), STR("x@y"), true },
	{ "e-mail without @", STR("e2"), STR("xy"), false },
	{ "e-mail with two @", STR("e2"), STR("x@y@z"), false },
	{ "e-mail that begins with @", STR("e2"), STR("@y"), false },
	{ "e-mail that ends with @", STR("e2"), STR("x@"), false },
	{ "e-mail with a blank", STR("e2"), STR("x y@z"), false },
	{ "e-mail with a new line", STR("e2"), STR("x@z\nBcc: a"), false },
	{ "e-mail that is not UTF-8", STR("e2"), STR("x@\xff"), false },
};

static void names_are_checked(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1], long_email[USER_EMAIL_BYTES_MAX + 2];
	struct user u;
	struct err err;
	int rc;

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		rc = user_add(w->svc, names[i].name, ROLE_VIEWER, names[i].email, NULL, key, &err);
		CHECK_ROW(names[i].row, rc == (names[i].good ? 0 : -ERR_INVALID));
		if (!names[i].good)
			continue;
		CHECK_OK(user_get(w->svc, names[i].name, &u, &err), &err);
		CHECK_ROW_STR(names[i].row, str_of(u.name), names[i].name);
		CHECK_ROW_STR(names[i].row, str_of(u.email), names[i].email);
	}
	memset(long_email, 'x', sizeof long_email);
	long_email[1] = '@';
	assert_true(user_email_is_valid(str_make(long_email, USER_EMAIL_BYTES_MAX)));
	assert_false(user_email_is_valid(str_make(long_email, USER_EMAIL_BYTES_MAX + 1)));
	assert_false(user_email_is_valid(STR("")));
}

static void names_are_taken_once(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1], other[USER_KEY_CHARS + 1];
	struct err err;

	add(w, "ann", key);
	assert_int_equal(user_add(w->svc, STR("ann"), ROLE_ADMIN, STR(""), NULL, other, &err),
			 -ERR_EXISTS);
	assert_non_null(strstr(err.msg, "'ann'"));
	CHECK_OK(login(w, key, &err), &err);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM api_key"), 1);
}

static void other_keys_open_nothing(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1], wrong[USER_KEY_CHARS + 2];
	struct err err;

	add(w, "ann", key);
	for (unsigned i = 0; i < USER_KEY_CHARS; i++) {
		memcpy(wrong, key, sizeof key);
		wrong[i] = wrong[i] == '0' ? '1' : '0';
		assert_int_equal(login(w, wrong, &err), -ERR_UNAUTHENTICATED);
	}
	for (unsigned i = 0; i < USER_KEY_CHARS; i++) {
		memcpy(wrong, key, sizeof key);
		wrong[i] = 0;
		assert_int_equal(login(w, wrong, &err), -ERR_UNAUTHENTICATED);
	}
	snprintf(wrong, sizeof wrong, "%s0", key);
	assert_int_equal(login(w, wrong, &err), -ERR_UNAUTHENTICATED);
	for (unsigned i = 0; i < USER_KEY_CHARS; i++)
		wrong[i] = (char)(key[i] >= 'a' ? key[i] - 'a' + 'A' : key[i]);
	wrong[0] = 'A';
	wrong[USER_KEY_CHARS] = 0;
	assert_int_equal(login(w, wrong, &err), -ERR_UNAUTHENTICATED);
	CHECK_OK(login(w, key, &err), &err);
}

static void further_keys_and_revocation(void **state)
{
	struct world *w = *state;
	char first[USER_KEY_CHARS + 1], second[USER_KEY_CHARS + 1], third[USER_KEY_CHARS + 1];
	char other[USER_KEY_CHARS + 1];
	struct err err;

	add(w, "ann", first);
	add(w, "bob", other);
	CHECK_OK(user_key_add(w->svc, STR("ann"), &all_scopes, NULL, second, &err), &err);
	assert_string_not_equal(first, second);
	CHECK_OK(login(w, first, &err), &err);
	CHECK_OK(login(w, second, &err), &err);
	CHECK_OK(login(w, other, &err), &err);
	CHECK_OK(user_key_revoke(w->svc, STR("ann"), STR(""), NULL, &err), &err);
	assert_int_equal(login(w, first, &err), -ERR_UNAUTHENTICATED);
	assert_int_equal(login(w, second, &err), -ERR_UNAUTHENTICATED);
	CHECK_OK(login(w, other, &err), &err);
	CHECK_OK(user_key_add(w->svc, STR("ann"), &all_scopes, NULL, third, &err), &err);
	CHECK_OK(login(w, third, &err), &err);
	assert_int_equal(login(w, first, &err), -ERR_UNAUTHENTICATED);
}

static void note_key(const struct user_key *key, void *arg)
{
	buf_addf(arg, "%s%s ", key->revoked ? "-" : "", key->id);
}

static void one_key_is_revoked(void **state)
{
	struct world *w = *state;
	const struct user_key_options reader = { .scopes = 1 << SCOPE_READ, .name = STR("siem") };
	char first[USER_KEY_CHARS + 1], second[USER_KEY_CHARS + 1], other[USER_KEY_CHARS + 1];
	struct buf keys = BUF_INIT(4096);
	uint8_t hash[SHA256_BYTES];
	char id[2 * SHA256_BYTES + 1];
	struct user u;
	struct err err;

	add(w, "ann", first);
	add(w, "bob", other);
	CHECK_OK(user_key_add(w->svc, STR("ann"), &reader, NULL, second, &err), &err);
	CHECK_OK(user_authenticate(w->svc, str_of(second), &u, &err), &err);
	assert_int_equal(u.scopes, 1 << SCOPE_READ);
	CHECK_OK(user_authenticate(w->svc, str_of(first), &u, &err), &err);
	assert_int_equal(u.scopes, SCOPES_ALL);
	assert_int_equal(user_key_revoke(w->svc, STR("ann"), str_of(other), NULL, &err),
			 -ERR_NOT_FOUND);
	assert_int_equal(user_key_revoke(w->svc, STR("ann"), STR("x"), NULL, &err), -ERR_NOT_FOUND);
	sha256_of(second, USER_KEY_CHARS, hash);
	hex_encode(hash, sizeof hash, id);
	CHECK_OK(user_key_revoke(w->svc, STR("ann"), str_make(id, 16), NULL, &err), &err);
	assert_int_equal(login(w, second, &err), -ERR_UNAUTHENTICATED);
	assert_int_equal(user_key_revoke(w->svc, STR("ann"), str_make(id, 16), NULL, &err),
			 -ERR_NOT_FOUND);
	CHECK_OK(login(w, first, &err), &err);
	CHECK_OK(user_keys_each(w->svc, STR("ann"), note_key, &keys, &err), &err);
	assert_int_equal(keys.n, 2 * (USER_KEY_ID_CHARS + 1) + 1);
	CHECK_OK(user_key_revoke(w->svc, STR("ann"), str_of(first), NULL, &err), &err);
	assert_int_equal(login(w, first, &err), -ERR_UNAUTHENTICATED);
	CHECK_OK(login(w, other, &err), &err);
	buf_release(&keys);
}

static void keys_have_a_maximum(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct err err;

	add(w, "ann", key);
	for (unsigned i = 1; i < USER_KEYS_MAX; i++)
		CHECK_OK(user_key_add(w->svc, STR("ann"), &all_scopes, NULL, key, &err), &err);
	assert_int_equal(user_key_add(w->svc, STR("ann"), &all_scopes, NULL, key, &err),
			 -ERR_TOO_LARGE);
	CHECK_OK(user_key_revoke(w->svc, STR("ann"), str_of(key), NULL, &err), &err);
	CHECK_OK(user_key_add(w->svc, STR("ann"), &all_scopes, NULL, key, &err), &err);
}

static void users_are_found_by_what_they_have(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1], unused[USER_KEY_CHARS + 1];
	struct user u;
	struct err err;

	CHECK_OK(user_add(w->svc, STR("ann"), ROLE_HUNTER, STR("ann@a.example"), NULL, key, &err),
		 &err);
	add(w, "bob", unused);
	add(w, "cid", unused);
	CHECK_OK(user_find(w->svc, STR("ann"), &u, &err), &err);
	CHECK_OK(user_find(w->svc, STR("ann@a.example"), &u, &err), &err);
	assert_string_equal(u.name, "ann");
	CHECK_OK(user_find(w->svc, str_of(key), &u, &err), &err);
	assert_string_equal(u.name, "ann");
	assert_int_equal(user_find(w->svc, STR("a@b.example"), &u, &err), -ERR_INVALID);
	assert_int_equal(user_find(w->svc, STR("x@b.example"), &u, &err), -ERR_NOT_FOUND);
	assert_int_equal(user_find(w->svc, STR(""), &u, &err), -ERR_NOT_FOUND);
	CHECK_OK(user_key_revoke(w->svc, STR("ann"), STR(""), NULL, &err), &err);
	assert_int_equal(user_find(w->svc, str_of(key), &u, &err), -ERR_NOT_FOUND);
}

static void roles_and_quotas_hold_at_once(void **state)
{
	struct world *w = *state;
	const struct user_quota_change changes[] = {
		{ .quota = QUOTA_HUNTING_RULES, .allowed = 5 },
		{ .quota = QUOTA_REQUESTS_DAY, .allowed = QUOTA_UNLIMITED },
	};
	const struct user_quota_change back = { .quota = QUOTA_HUNTING_RULES, .is_default = true };
	char key[USER_KEY_CHARS + 1];
	unsigned own;
	struct user u;
	struct err err;

	add(w, "ann", key);
	CHECK_OK(login(w, key, &err), &err);
	CHECK_OK(user_set_role(w->svc, STR("ann"), ROLE_ADMIN, NULL, &err), &err);
	CHECK_OK(user_set_quotas(w->svc, STR("ann"), changes, 2, NULL, &err), &err);
	CHECK_OK(user_authenticate(w->svc, str_of(key), &u, &err), &err);
	assert_int_equal(u.role, ROLE_ADMIN);
	assert_int_equal(u.allowed[QUOTA_HUNTING_RULES], 5);
	CHECK_OK(user_own_quotas(w->svc, u.id, &own, &err), &err);
	assert_int_equal(own, 1 << QUOTA_HUNTING_RULES | 1 << QUOTA_REQUESTS_DAY);
	CHECK_OK(user_set_quotas(w->svc, STR("ann"), &back, 1, NULL, &err), &err);
	CHECK_OK(user_authenticate(w->svc, str_of(key), &u, &err), &err);
	assert_int_equal(u.allowed[QUOTA_HUNTING_RULES], QUOTA_UNLIMITED);
	assert_int_equal(user_set_role(w->svc, STR("nobody"), ROLE_ADMIN, NULL, &err),
			 -ERR_NOT_FOUND);
	assert_int_equal(user_set_quotas(w->svc, STR("nobody"), &back, 1, NULL, &err),
			 -ERR_NOT_FOUND);
}

static void disabled_accounts_are_told_apart(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct user u;
	struct err err;

	add(w, "ann", key);
	CHECK_OK(login(w, key, &err), &err);
	CHECK_OK(user_set_disabled(w->svc, STR("ann"), true, NULL, &err), &err);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(login(w, key, &err), -ERR_FORBIDDEN);
	CHECK_OK(user_get(w->svc, STR("ann"), &u, &err), &err);
	assert_true(u.disabled);
	CHECK_OK(user_set_disabled(w->svc, STR("ann"), false, NULL, &err), &err);
	CHECK_OK(login(w, key, &err), &err);
}

static void keys_expire_also_in_the_cache(void **state)
{
	struct world *w = *state;
	const int64_t expires_s = WORLD_START_S + 60;
	char key[USER_KEY_CHARS + 1];
	struct err err;

	add(w, "ann", key);
	world_exec(w, "UPDATE api_key SET expires_s = ?1", &expires_s);
	CHECK_OK(login(w, key, &err), &err);
	clock_fake_advance(&w->clock, 59 * 1000000);
	CHECK_OK(login(w, key, &err), &err);
	clock_fake_advance(&w->clock, 1000000);
	assert_int_equal(login(w, key, &err), -ERR_UNAUTHENTICATED);
	assert_non_null(strstr(err.msg, "expired"));
}

static void nobody_is_not_found(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct user u;
	struct err err;

	assert_int_equal(user_get(w->svc, STR("ann"), &u, &err), -ERR_NOT_FOUND);
	assert_non_null(strstr(err.msg, "'ann'"));
	assert_int_equal(user_get(w->svc, STR("a\nb"), &u, &err), -ERR_NOT_FOUND);
	assert_null(strchr(err.msg, '\n'));
	assert_int_equal(user_by_id(w->svc, 1, &u, &err), -ERR_NOT_FOUND);
	assert_int_equal(user_key_add(w->svc, STR("ann"), &all_scopes, NULL, key, &err),
			 -ERR_NOT_FOUND);
	assert_int_equal(user_key_revoke(w->svc, STR("ann"), STR(""), NULL, &err), -ERR_NOT_FOUND);
	assert_int_equal(user_set_disabled(w->svc, STR("ann"), true, NULL, &err), -ERR_NOT_FOUND);
	assert_int_equal(world_i64(w, "SELECT count(*) FROM api_key"), 0);
}

static void note_name(const struct user *u, void *arg)
{
	buf_add_z(arg, u->name);
	buf_add_c(arg, ' ');
}

static void all_users_in_order_of_name(void **state)
{
	struct world *w = *state;
	struct buf seen = BUF_INIT(4096);
	char key[USER_KEY_CHARS + 1];
	struct err err;

	CHECK_OK(user_each(w->svc, note_name, &seen, &err), &err);
	assert_int_equal(seen.n, 0);
	add(w, "cid", key);
	add(w, "ann", key);
	add(w, "bob", key);
	CHECK_OK(user_each(w->svc, note_name, &seen, &err), &err);
	assert_string_equal(seen.p, "ann bob cid ");
	buf_release(&seen);
}

/* The flush may be the background's: wait until it is committed. */
static void wait_for_use(struct world *w, int64_t when_s)
{
	while (world_i64(w, "SELECT max(last_used_s) FROM api_key") != when_s) {
		users_flush(w->svc);
		sched_yield();
	}
}

static void the_last_use_is_kept(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1], unused[USER_KEY_CHARS + 1];
	struct user u, keyless;
	struct err err;

	add(w, "ann", key);
	add(w, "bob", unused);
	CHECK_OK(user_authenticate(w->svc, str_of(key), &u, &err), &err);
	users_flush(w->svc);
	assert_int_equal(world_i64(w, "SELECT count(last_used_s) FROM api_key"), 0);
	user_seen(w->svc, &u);
	wait_for_use(w, WORLD_START_S);
	assert_int_equal(world_i64(w, "SELECT count(last_used_s) FROM api_key"), 1);
	clock_fake_advance(&w->clock, 5000000);
	user_seen(w->svc, &u);
	user_seen(w->svc, &u);
	wait_for_use(w, WORLD_START_S + 5);
	CHECK_OK(user_get(w->svc, STR("bob"), &keyless, &err), &err);
	user_seen(w->svc, &keyless);
	users_flush(w->svc);
	assert_int_equal(world_i64(w, "SELECT count(last_used_s) FROM api_key"), 1);
	/* A clock that went back, and the flush at closing. */
	w->clock.now_us -= 3000000;
	user_seen(w->svc, &u);
	service_close(w->svc);
	world_open(w);
	assert_int_equal(world_i64(w, "SELECT max(last_used_s) FROM api_key"), WORLD_START_S + 5);
}

static void more_uses_than_are_kept_do_no_harm(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct user u = { .id = 1 }, ann;
	struct err err;

	for (uint32_t i = 0; i < 10000; i++) {
		sha256_of(&i, sizeof i, u.key_hash);
		user_seen(w->svc, &u);
	}
	users_flush(w->svc);
	add(w, "ann", key);
	CHECK_OK(user_authenticate(w->svc, str_of(key), &ann, &err), &err);
	user_seen(w->svc, &ann);
	wait_for_use(w, WORLD_START_S);
}

static void many_keys_share_the_cache(void **state)
{
	enum {
		KEYS = 600 /* some forty of them share a slot with another one */
	};
	struct world *w = *state;
	char(*keys)[USER_KEY_CHARS + 1] = mem_must_zalloc(KEYS * sizeof *keys);
	char name[32];
	struct user u;
	struct err err;

	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(name, sizeof name, "u%u", i);
		add(w, name, keys[i]);
	}
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < KEYS; i++) {
			snprintf(name, sizeof name, "u%u", i);
			CHECK_OK(user_authenticate(w->svc, str_of(keys[i]), &u, &err), &err);
			assert_string_equal(u.name, name);
		}
	}
	free(keys);
}

struct hammer {
	struct world *w;
	const char *key;
	_Atomic bool stop;
	_Atomic unsigned wrong;
};

static void hammer_run(void *arg)
{
	struct hammer *h = arg;
	struct err err;

	while (!h->stop) {
		int rc = login(h->w, h->key, &err);

		h->wrong += rc != 0 && rc != -ERR_FORBIDDEN;
	}
}

static void a_change_holds_when_it_is_answered(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct hammer h = { .w = w, .key = key };
	struct thread threads[8] = { 0 };
	struct err err;

	add(w, "ann", key);
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		CHECK_OK(thread_start(&threads[i], "hammer", hammer_run, &h, &err), &err);
	for (unsigned i = 0; i < 200; i++) {
		CHECK_OK(user_set_disabled(w->svc, STR("ann"), i % 2 == 0, NULL, &err), &err);
		assert_int_equal(login(w, key, &err), i % 2 == 0 ? -ERR_FORBIDDEN : 0);
	}
	h.stop = true;
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		thread_join(&threads[i]);
	assert_int_equal(h.wrong, 0);
}

static void accounts_outlive_a_restart(void **state)
{
	struct world *w = *state;
	char key[USER_KEY_CHARS + 1];
	struct err err;

	add(w, "ann", key);
	service_close(w->svc);
	world_open(w);
	CHECK_OK(login(w, key, &err), &err);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roles_have_names),
		cmocka_unit_test(scopes_have_names),
		WITH_WORLD(a_new_user_can_log_in),
		WITH_WORLD(names_are_checked),
		WITH_WORLD(names_are_taken_once),
		WITH_WORLD(other_keys_open_nothing),
		WITH_WORLD(further_keys_and_revocation),
		WITH_WORLD(one_key_is_revoked),
		WITH_WORLD(keys_have_a_maximum),
		WITH_WORLD(users_are_found_by_what_they_have),
		WITH_WORLD(roles_and_quotas_hold_at_once),
		WITH_WORLD(disabled_accounts_are_told_apart),
		WITH_WORLD(keys_expire_also_in_the_cache),
		WITH_WORLD(nobody_is_not_found),
		WITH_WORLD(all_users_in_order_of_name),
		WITH_WORLD(the_last_use_is_kept),
		WITH_WORLD(more_uses_than_are_kept_do_no_harm),
		WITH_WORLD(many_keys_share_the_cache),
		WITH_WORLD(a_change_holds_when_it_is_answered),
		WITH_WORLD(accounts_outlive_a_restart),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
