#include "asking.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "main/when.h"
#include "service/quota.h"

/*
 * weir user: accounts, their keys and quotas. What it prints for scripts (a key)
 * stands alone on standard output.
 */
enum user_action {
	ACTION_ADD,
	ACTION_LIST,
	ACTION_SHOW,
	ACTION_ROLE,
	ACTION_EMAIL,
	ACTION_QUOTA,
	ACTION_KEY,
	ACTION_KEYS,
	ACTION_REVOKE,
	ACTION_DISABLE,
	ACTION_ENABLE,
	ACTIONS
};

static const struct {
	const char *name;
	const char *takes; /* in words */
	size_t words_min;  /* without the action itself */
	size_t words_max;
	unsigned options; /* bits (1 << option) */
} actions[ACTIONS] = {
	[ACTION_ADD] = { "add", "one NAME", 1, 1, 1 << OPTION_role | 1 << OPTION_email },
	[ACTION_LIST] = { "list", "no NAME", 0, 0, 0 },
	[ACTION_SHOW] = { "show", "one NAME", 1, 1, 0 },
	[ACTION_ROLE] = { "role", "a NAME and a ROLE", 2, 2, 0 },
	[ACTION_EMAIL] = { "email", "a NAME and an ADDRESS ('' for none)", 2, 2, 0 },
	[ACTION_QUOTA] = { "quota", "a NAME and any number of QUOTA=VALUE", 1, 32, 0 },
	[ACTION_KEY] = { "key", "one NAME", 1, 1,
			 1 << OPTION_scope | 1 << OPTION_expires | 1 << OPTION_name },
	[ACTION_KEYS] = { "keys", "one NAME", 1, 1, 0 },
	[ACTION_REVOKE] = { "revoke", "a NAME and, for one key alone, its id", 1, 2, 0 },
	[ACTION_DISABLE] = { "disable", "one NAME", 1, 1, 0 },
	[ACTION_ENABLE] = { "enable", "one NAME", 1, 1, 0 },
};

/* ---- What was typed ---- */

static bool options_fit(const struct options *o, enum user_action action)
{
	static const struct {
		enum option_id id;
		const char *text;
	} known[] = { { OPTION_role, "'--role' and '--email' are for 'weir user add'" },
		      { OPTION_email, "'--role' and '--email' are for 'weir user add'" },
		      { OPTION_scope, "'--scope' is for 'weir user key'" },
		      { OPTION_expires, "'--expires' is for 'weir user key'" },
		      { OPTION_name, "'--name' is for 'weir user key'" } };

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (option_given(o, known[i].id) && !(actions[action].options >> known[i].id & 1)) {
			say("%s", known[i].text);
			return false;
		}
	}
	return true;
}

/* Which action, with the right words? ACTIONS if not; it has been said. */
static enum user_action action_of(const struct options *o)
{
	const char *names[ACTIONS];
	char hint[SETTING_NAME_MAX + 32];
	struct str word = o->word_count ? str_of(o->words[0]) : STR("");
	unsigned i = 0;

	for (size_t k = 0; k < ACTIONS; k++)
		names[k] = actions[k].name;
	while (i < ACTIONS && !str_eq_z(word, names[i]))
		i++;
	if (i == ACTIONS) {
		nearest_hint(word, names, ACTIONS, hint, sizeof hint);
		say("weir user takes add, list, show, role, email, quota, key, keys, revoke, "
		    "disable or enable, not '" STR_FMT "'%s",
		    STR_ARG(word), hint);
		return ACTIONS;
	}
	if (o->word_count - 1 < actions[i].words_min || o->word_count - 1 > actions[i].words_max) {
		say("weir user %s takes %s", names[i], actions[i].takes);
		return ACTIONS;
	}
	return options_fit(o, (enum user_action)i) ? (enum user_action)i : ACTIONS;
}

/* ---- What is shown ---- */

/* "2026-11-23T06:36:00Z", or "-" for 0. */
static const char *date_shown(int64_t unix_s, char out[32])
{
	return unix_s ? time_format_utc(unix_s, out) : "-";
}

static void print_line(struct buf *line)
{
	while (line->n && line->p[line->n - 1] == ' ')
		line->n--;
	printf(STR_FMT "\n", STR_ARG(buf_str(line)));
}

static void print_user(struct frame *f, void *arg)
{
	AUTO(buf_release) struct buf line = BUF_INIT(4096);
	struct str name = frame_take_str(f), role = frame_take_str(f), email = frame_take_str(f);
	int64_t created_s = (int64_t)frame_take_u64(f);
	bool disabled = frame_take_u64(f) != 0;
	char date[32];

	(void)arg;
	buf_addf(&line, "%-24.*s  %-6.*s  %s  %-8s  ", STR_ARG(name), STR_ARG(role),
		 date_shown(created_s, date), disabled ? "disabled" : "active");
	show_text(&line, email);
	print_line(&line);
}

static void print_key_line(struct frame *f, void *arg)
{
	AUTO(buf_release) struct buf line = BUF_INIT(4096);
	struct str id = frame_take_str(f), name = frame_take_str(f), scopes = frame_take_str(f);
	int64_t created_s = (int64_t)frame_take_u64(f), expires_s = (int64_t)frame_take_u64(f);
	int64_t used_s = (int64_t)frame_take_u64(f);
	bool revoked = frame_take_u64(f) != 0;
	char created[32], expires[32], used[32];
	const char *state = "active";

	if (revoked)
		state = "revoked";
	else if (expires_s && expires_s <= *(const int64_t *)arg)
		state = "expired";
	buf_addf(&line, "%.*s  %-7s  %-20.*s  %-20s  %-20s  %-20s  ", STR_ARG(id), state,
		 STR_ARG(scopes), date_shown(created_s, created), date_shown(expires_s, expires),
		 date_shown(used_s, used));
	show_text(&line, name);
	print_line(&line);
}

static void print_quota(struct frame *f, void *arg)
{
	struct str name = frame_take_str(f);
	int64_t used = (int64_t)frame_take_u64(f), allowed = (int64_t)frame_take_u64(f);
	bool own = frame_take_u64(f) != 0;
	char text[24] = "unlimited";

	(void)arg;
	if (allowed != QUOTA_UNLIMITED)
		snprintf(text, sizeof text, "%lld", (long long)allowed);
	printf("%-22.*s  %10lld of %-10s  %s\n", STR_ARG(name), (long long)used, text,
	       own ? "own" : "default");
}

static void print_shown(struct frame *f, const char *name)
{
	AUTO(buf_release) struct buf text = BUF_INIT(8192);
	struct str role = frame_take_str(f), email = frame_take_str(f);
	struct str first = frame_take_str(f), last = frame_take_str(f);
	int64_t created_s = (int64_t)frame_take_u64(f);
	bool disabled = frame_take_u64(f) != 0;
	int64_t used_s = (int64_t)frame_take_u64(f);
	char created[32], used[32];

	buf_addf(&text, "name      %s\nrole      " STR_FMT "\nstate     %s\ncreated   %s\n", name,
		 STR_ARG(role), disabled ? "disabled" : "active", date_shown(created_s, created));
	buf_addf(&text, "last use  %s\n", date_shown(used_s, used));
	if (email.n) {
		buf_add_z(&text, "email     ");
		show_text(&text, email);
		buf_add_c(&text, '\n');
	}
	if (first.n || last.n) {
		buf_add_z(&text, "person    ");
		show_text(&text, first);
		buf_add_z(&text, first.n && last.n ? " " : "");
		show_text(&text, last);
		buf_add_c(&text, '\n');
	}
	printf(STR_FMT, STR_ARG(buf_str(&text)));
}

/* Alone on standard output, for scripts. */
static void print_key(struct frame *answer)
{
	struct str key = frame_take_str(answer);

	printf(STR_FMT "\n", STR_ARG(key));
}

/* ---- Asking ---- */

static int ask_key(struct asking *a, const struct options *o, int64_t expires_s, struct err *err)
{
	ask_begin(a, CONTROL_USER_KEY);
	frame_str(&a->request, str_of(o->words[1]));
	frame_str(&a->request, str_of(option_value(o, OPTION_scope, "all")));
	frame_u64(&a->request, (uint64_t)expires_s);
	frame_str(&a->request, str_of(option_value(o, OPTION_name, "")));
	return ask_end(a, NULL, NULL, err);
}

static int ask_disable(struct asking *a, const char *name, bool disabled, struct err *err)
{
	ask_begin(a, CONTROL_USER_DISABLE);
	frame_str(&a->request, str_of(name));
	frame_u64(&a->request, disabled);
	return ask_end(a, NULL, NULL, err);
}

static int ask_quota(struct asking *a, const struct options *o, struct err *err)
{
	ask_begin(a, CONTROL_USER_QUOTA);
	frame_str(&a->request, str_of(o->words[1]));
	frame_u64(&a->request, o->word_count - 2);
	for (size_t i = 2; i < o->word_count; i++)
		frame_str(&a->request, str_of(o->words[i]));
	return ask_end(a, print_quota, NULL, err);
}

static int ask_add(struct asking *a, const struct options *o, struct err *err)
{
	const char *texts[] = { o->words[1], option_value(o, OPTION_role, "hunter"),
				option_value(o, OPTION_email, "") };

	return ask(a, CONTROL_USER_ADD, texts, 3, NULL, NULL, err);
}

static int act(struct asking *a, const struct options *o, enum user_action action,
	       int64_t expires_s, struct err *err)
{
	const char *const none[] = { "" };
	const char *const *name = o->word_count > 1 ? o->words + 1 : none;
	int64_t now_s = clock_unix_s(clock_system());
	const char *const one_key[] = { name[0], o->word_count > 2 ? o->words[2] : "" };

	switch (action) {
	case ACTION_ADD:
		return ask_add(a, o, err);
	case ACTION_LIST:
		return ask(a, CONTROL_USER_LIST, NULL, 0, print_user, NULL, err);
	case ACTION_SHOW:
		return ask(a, CONTROL_USER_SHOW, name, 1, NULL, NULL, err);
	case ACTION_ROLE:
		return ask(a, CONTROL_USER_ROLE, name, 2, NULL, NULL, err);
	case ACTION_EMAIL:
		return ask(a, CONTROL_USER_EMAIL, name, 2, NULL, NULL, err);
	case ACTION_QUOTA:
		return ask_quota(a, o, err);
	case ACTION_KEY:
		return ask_key(a, o, expires_s, err);
	case ACTION_KEYS:
		return ask(a, CONTROL_USER_KEYS, name, 1, print_key_line, &now_s, err);
	case ACTION_REVOKE:
		return ask(a, CONTROL_USER_REVOKE, one_key, 2, NULL, NULL, err);
	case ACTION_DISABLE:
	case ACTION_ENABLE:
		return ask_disable(a, name[0], action == ACTION_DISABLE, err);
	case ACTIONS:
	default:
		REQUIRE(!"an action");
		return 0;
	}
}

int user_command(const struct options *o)
{
	enum user_action action = action_of(o);
	int64_t expires_s = 0;
	struct asking a;
	struct err err;
	int rc;

	if (action == ACTIONS)
		return STATUS_USAGE;
	/* A day that is named is whole: the key ends with its last second. */
	if (option_given(o, OPTION_expires) &&
	    when_parse(str_of(option_value(o, OPTION_expires, "")), clock_unix_s(clock_system()),
		       WHEN_AHEAD | WHEN_LAST, &expires_s, &err) != 0) {
		say("--expires: %s", err.msg);
		return STATUS_USAGE;
	}
	rc = ask_open(&a, o, &err);
	if (rc == 0)
		rc = act(&a, o, action, expires_s, &err);
	if (rc == 0 && (action == ACTION_ADD || action == ACTION_KEY))
		print_key(&a.answer);
	if (rc == 0 && action == ACTION_SHOW)
		print_shown(&a.answer, o->words[1]);
	ask_close(&a);
	return rc ? ask_failed(&err) : STATUS_OK;
}
