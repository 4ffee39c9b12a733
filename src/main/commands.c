#include "main_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum {
	REQUEST_BYTES_MAX = CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX
};

static int fail(const struct err *err)
{
	say("%s", err->msg);
	return STATUS_FAILED;
}

/* Open the folder, ask one thing, close. */
struct asking {
	struct session *session;
	struct frame_in *link;
	struct buf request;
	struct frame answer;
};

static int ask_open(struct asking *a, const struct options *o, struct err *err)
{
	*a = (struct asking){ .request = BUF_INIT(REQUEST_BYTES_MAX) };
	TRY(session_open(&a->session, &o->settings, false, err));
	return session_link(a->session, &a->link, err);
}

static void ask_close(struct asking *a)
{
	session_close(a->session);
	buf_release(&a->request);
}

static int ask(struct asking *a, enum control_kind kind, const char *const *texts, size_t n,
	       void (*item)(struct frame *f, void *arg), void *arg, struct err *err)
{
	size_t at;

	buf_reset(&a->request);
	at = frame_begin(&a->request, kind, 1);
	for (size_t i = 0; i < n; i++)
		frame_str(&a->request, str_of(texts[i]));
	if (kind == CONTROL_USER_DISABLE)
		frame_u64(&a->request, *(const bool *)arg);
	frame_end(&a->request, at);
	TRY(buf_check(&a->request, "what you typed", err));
	return session_call(a->link, buf_str(&a->request), item, arg, &a->answer, err);
}

/* ---- weir user ---- */

static void print_user(struct frame *f, void *arg)
{
	AUTO(buf_release) struct buf line = BUF_INIT(4096);
	struct str name = frame_take_str(f), role = frame_take_str(f), email = frame_take_str(f);
	int64_t created_s = (int64_t)frame_take_u64(f);
	bool disabled = frame_take_u64(f) != 0;
	char date[32];

	(void)arg;
	buf_addf(&line, "%-24.*s  %-6.*s  %s  %-8s  ", STR_ARG(name), STR_ARG(role),
		 time_format_utc(created_s, date), disabled ? "disabled" : "active");
	show_text(&line, email);
	while (line.n && line.p[line.n - 1] == ' ')
		line.n--;
	printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
}

static void print_nothing(struct frame *f, void *arg)
{
	(void)f;
	(void)arg;
}

static const struct {
	const char *name;
	enum control_kind kind;
	bool disables;
	bool prints_key;
} user_actions[] = {
	{ "add", CONTROL_USER_ADD, false, true },
	{ "key", CONTROL_USER_KEY, false, true },
	{ "revoke", CONTROL_USER_REVOKE, false, false },
	{ "disable", CONTROL_USER_DISABLE, true, false },
	{ "enable", CONTROL_USER_DISABLE, false, false },
	{ "list", CONTROL_USER_LIST, false, false },
};
enum {
	USER_ACTIONS = sizeof user_actions / sizeof user_actions[0]
};

/* Which action, with the right words? USER_ACTIONS if not; it has been said. */
static size_t user_action(const struct options *o)
{
	const char *names[USER_ACTIONS];
	char hint[SETTING_NAME_MAX + 32];
	struct str word = o->word_count ? str_of(o->words[0]) : STR("");
	size_t i = 0, words;

	for (size_t k = 0; k < USER_ACTIONS; k++)
		names[k] = user_actions[k].name;
	while (i < USER_ACTIONS && !str_eq_z(word, names[i]))
		i++;
	if (i == USER_ACTIONS) {
		nearest_hint(word, names, USER_ACTIONS, hint, sizeof hint);
		say("weir user takes add, list, key, revoke, disable or enable, not '" STR_FMT
		    "'%s",
		    STR_ARG(word), hint);
		return i;
	}
	words = user_actions[i].kind == CONTROL_USER_LIST ? 1 : 2;
	if (o->word_count != words) {
		say(words == 2 ? "weir user %s takes one NAME" : "weir user %s takes no NAME",
		    names[i]);
		return USER_ACTIONS;
	}
	if (user_actions[i].kind != CONTROL_USER_ADD &&
	    (option_given(o, OPTION_role) || option_given(o, OPTION_email))) {
		say("'--role' and '--email' are for 'weir user add'");
		return USER_ACTIONS;
	}
	return i;
}

/* Alone on standard output, for scripts. */
static void print_key(struct frame *answer)
{
	struct str key = frame_take_str(answer);

	printf(STR_FMT "\n", STR_ARG(key));
}

int user_command(const struct options *o)
{
	size_t action = user_action(o);
	const char *texts[] = { o->word_count > 1 ? o->words[1] : "",
				option_value(o, OPTION_role, "hunter"),
				option_value(o, OPTION_email, "") };
	bool disables;
	struct asking a;
	struct err err;
	int rc;

	if (action == USER_ACTIONS)
		return STATUS_USAGE;
	disables = user_actions[action].disables;
	rc = ask_open(&a, o, &err);
	if (rc == 0 && user_actions[action].kind == CONTROL_USER_LIST)
		rc = ask(&a, CONTROL_USER_LIST, NULL, 0, print_user, NULL, &err);
	else if (rc == 0)
		rc = ask(&a, user_actions[action].kind, texts,
			 user_actions[action].kind == CONTROL_USER_ADD ? 3 : 1, print_nothing,
			 &disables, &err);
	if (rc == 0 && user_actions[action].prints_key)
		print_key(&a.answer);
	ask_close(&a);
	return rc ? fail(&err) : STATUS_OK;
}

/* ---- weir rm ---- */

int rm_command(const struct options *o)
{
	int status = STATUS_OK;
	struct asking a;
	struct err err;

	if (!o->word_count) {
		say("weir rm takes the MD5, SHA-1 or SHA-256 of each sample to remove");
		return STATUS_USAGE;
	}
	if (ask_open(&a, o, &err) != 0) {
		ask_close(&a);
		return fail(&err);
	}
	for (size_t i = 0; i < o->word_count; i++) {
		int rc = ask(&a, CONTROL_REMOVE, &o->words[i], 1, print_nothing, NULL, &err);

		if (rc == 0) {
			printf("removed %s\n", o->words[i]);
			if (!frame_take_u64(&a.answer)) {
				say("%s: its bytes could not be erased from the disk yet; a "
				    "running "
				    "server tries again, and each start",
				    o->words[i]);
				status = STATUS_FAILED;
			}
			continue;
		}
		say("%s: %s", o->words[i], err.msg);
		status = STATUS_FAILED;
		if (rc == -ERR_CLOSED)
			break;
	}
	ask_close(&a);
	return status;
}
