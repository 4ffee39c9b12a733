#include "ruleset_check.h"

#include <jansson.h>
#include <stdio.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "service_internal.h"
#include "store/filter.h"

enum {
	MESSAGES_BYTES_MAX = 9 << 20, /* more than a child may send */
	LIST_BYTES_MAX = 256 * 1024,  /* 64 of the longest e-mails, escaped */
	NAMES_BYTES_MAX = 4 << 20,    /* they come out of 1 MB of source */
	COMPILE_ATTEMPTS = 2,         /* a child may die of what it did before */
	SUMMARY_BYTES_MAX = 300,      /* of a message's title in the error text */
};

static const struct {
	const char *name;
	enum scan_entity entity;
} ENTITIES[] = {
	{ "file", SCAN_FILE },     { "url", SCAN_URL },
	{ "domain", SCAN_DOMAIN }, { "ip_address", SCAN_IP_ADDRESS },
	{ "ip", SCAN_IP_ADDRESS }, /* VirusTotal's documentation; the one above is canonical */
};

static bool entity_parse(struct str s, enum scan_entity *ret)
{
	for (size_t i = 0; i < sizeof ENTITIES / sizeof ENTITIES[0]; i++) {
		if (str_eq_z(s, ENTITIES[i].name)) {
			*ret = ENTITIES[i].entity;
			return true;
		}
	}
	return false;
}

/* ---- Forms and limits ---- */

/* Valid UTF-8 without control characters. */
static bool is_plain_text(struct str s)
{
	uint32_t cp;

	while (s.n) {
		size_t n = utf8_next(s, &cp);

		if (n == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
			return false;
		s = str_make(s.p + n, s.n - n);
	}
	return true;
}

static int check_name(struct str name, struct err *err)
{
	if (name.n == 0)
		return err_set(err, ERR_INVALID, "a ruleset needs a name");
	if (name.n > LIMIT_RULESET_NAME_BYTES)
		return err_set(err, ERR_INVALID, "the name has %zu bytes, the maximum is %d",
			       name.n, LIMIT_RULESET_NAME_BYTES);
	if (!is_plain_text(name))
		return err_set(err, ERR_INVALID, "the name is not UTF-8 or has control characters");
	return 0;
}

int ruleset_text_check(struct str rules, struct err *err)
{
	if (rules.n == 0)
		return err_set(err, ERR_INVALID, "a ruleset needs rules");
	if (rules.n > LIMIT_RULES_BYTES)
		return err_set(err, ERR_INVALID, "the rules have %zu bytes, the maximum is %d",
			       rules.n, LIMIT_RULES_BYTES);
	if (memchr(rules.p, 0, rules.n))
		return err_set(err, ERR_INVALID, "the rules have a NUL byte at offset %zu",
			       str_find(rules, 0));
	return 0;
}

static int check_limit(int64_t limit, struct err *err)
{
	if (limit < 0 || limit > RULESET_DAY_LIMIT_MAX)
		return err_set(err, ERR_INVALID, "the limit must be between 0 and %lld",
			       (long long)RULESET_DAY_LIMIT_MAX);
	return 0;
}

static bool tag_is_valid(struct str tag)
{
	return tag.n > 0 && tag.n <= RULESET_TAG_BYTES_MAX && is_plain_text(tag);
}

/* One kind of list. */
struct list_kind {
	const char *what;
	size_t count_max;
	bool (*valid)(struct str s);
	bool is_tags; /* normalised, each once */
};
static const struct list_kind EMAILS = { "notification_emails", LIMIT_EMAILS_PER_RULESET,
					 user_email_is_valid, false };
static const struct list_kind TAGS = { "tags", LIMIT_TAGS_PER_RULESET, tag_is_valid, true };

static int refuse_item(const struct list_kind *kind, const json_t *item, size_t at, struct err *err)
{
	struct str s = str_make(json_string_value(item), json_string_length(item));

	if (!json_is_string(item) || kind->is_tags)
		return err_set(err, ERR_INVALID, "entry %zu of %s is not valid", at + 1,
			       kind->what);
	return err_set(err, ERR_INVALID, "Invalid email address: \"" STR_FMT "\"",
		       STR_ARG(utf8_cut(s, SUMMARY_BYTES_MAX / 2)));
}

/* Is the string among those before it? */
static bool is_repeated(const json_t *list, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (json_equal(json_array_get(list, i), json_array_get(list, at)))
			return true;
	return false;
}

static int normalise_tag(json_t *list, size_t at, struct err *err)
{
	AUTO(buf_release) struct buf normal = BUF_INIT(2 * RULESET_TAG_BYTES_MAX);
	const json_t *item = json_array_get(list, at);

	filter_tag_normalise(&normal, str_make(json_string_value(item), json_string_length(item)));
	TRY(buf_check(&normal, "a tag", err));
	if (normal.n == 0)
		return err_set(err, ERR_INVALID, "entry %zu of tags is not valid", at + 1);
	if (json_array_set_new(list, at, json_stringn(buf_str(&normal).p, normal.n)) != 0)
		return err_set(err, ERR_INVALID, "entry %zu of tags is not valid", at + 1);
	return 0;
}

static int put_items(struct json *w, json_t *list, const struct list_kind *kind, struct err *err)
{
	if (!json_is_array(list))
		return err_set(err, ERR_INVALID, "%s must be a list of strings", kind->what);
	if (json_array_size(list) > kind->count_max)
		return err_set(err, ERR_INVALID, "%s has %zu entries, the maximum is %zu",
			       kind->what, json_array_size(list), kind->count_max);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct str s = str_make(json_string_value(item), json_string_length(item));

		if (!json_is_string(item) || !kind->valid(s))
			return refuse_item(kind, item, i, err);
		if (kind->is_tags)
			TRY(normalise_tag(list, i, err));
		if (kind->is_tags && is_repeated(list, i))
			continue;
		item = json_array_get(list, i);
		json_str(w, str_make(json_string_value(item), json_string_length(item)));
	}
	return 0;
}

/* A JSON array of strings of this kind, written anew. */
static int check_list(struct str json, const struct list_kind *kind, struct arena *arena,
		      struct str *ret, struct err *err)
{
	AUTO(buf_release) struct buf out = BUF_INIT(LIST_BYTES_MAX);
	json_t *list = json_loadb(json.p ? json.p : "", json.n, 0, NULL);
	struct json w;
	int rc;

	json_init(&w, &out);
	json_arr(&w);
	rc = put_items(&w, list, kind, err);
	json_decref(list);
	if (rc)
		return rc;
	json_arr_end(&w);
	json_end(&w);
	TRY(buf_check(&out, kind->what, err));
	*ret = arena_str(arena, buf_str(&out));
	return 0;
}

int emails_check(struct str json, const char *what, size_t max, struct arena *arena,
		 struct str *ret, struct err *err)
{
	const struct list_kind kind = { what, max, user_email_is_valid, false };

	return check_list(json, &kind, arena, ret, err);
}

static int check_disable(int64_t date_s, int64_t now_s, struct err *err)
{
	if (date_s == 0 || (date_s > now_s && date_s <= RULESET_DATE_MAX))
		return 0;
	return err_set(err, ERR_INVALID,
		       "scheduled_disable_date must be a time to come, in seconds since 1970 "
		       "(it is now %lld)",
		       (long long)now_s);
}

static int check_entity(struct str entity, struct str *ret, struct err *err)
{
	struct str shown = utf8_cut(entity, 32);
	enum scan_entity found;

	if (!entity_parse(entity, &found))
		return err_set(err, ERR_INVALID,
			       "match_object_type '" STR_FMT
			       "' is not valid. Valid types are: file,url,domain,ip_address",
			       STR_ARG(shown));
	*ret = str_of(ENTITIES[found].name);
	REQUIRE(ENTITIES[found].entity == found);
	return 0;
}

int ruleset_change_check(const struct ruleset_change *change, bool creating, int64_t now_s,
			 struct arena *arena, struct ruleset_change *ret, struct err *err)
{
	struct ruleset_change c = { .set = change->set,
				    .enabled = change->enabled,
				    .limit = change->limit,
				    .disable_s = change->disable_s };

	if ((c.set & RULESET_NAME) || creating) {
		TRY(check_name(c.set & RULESET_NAME ? change->name : STR(""), err));
		c.name = arena_str(arena, change->name);
	}
	if ((c.set & RULESET_RULES) || creating) {
		TRY(ruleset_text_check(c.set & RULESET_RULES ? change->rules : STR(""), err));
		c.rules = arena_str(arena, change->rules);
	}
	if (c.set & RULESET_LIMIT)
		TRY(check_limit(c.limit, err));
	if (c.set & RULESET_EMAILS)
		TRY(check_list(change->emails_json, &EMAILS, arena, &c.emails_json, err));
	if (c.set & RULESET_TAGS)
		TRY(check_list(change->tags_json, &TAGS, arena, &c.tags_json, err));
	if (c.set & RULESET_DISABLE)
		TRY(check_disable(c.disable_s, now_s, err));
	if (c.set & RULESET_ENTITY)
		TRY(check_entity(change->entity, &c.entity, err));
	*ret = c;
	return 0;
}

/* ---- Compiling ---- */

/* The place of a message in the rules: lines and columns count from 1, columns in characters. */
static struct str rest_of(struct str rules, json_int_t line, json_int_t column)
{
	struct str rest = rules, one;
	uint32_t cp;

	for (json_int_t i = 1; i < line; i++)
		if (!str_split(&rest, '\n', &one))
			return STR("");
	for (json_int_t i = 1; i < column && rest.n; i++) {
		size_t n = utf8_next(rest, &cp);

		rest = str_make(rest.p + (n ? n : 1), rest.n - (n ? n : 1));
	}
	return rest.p ? rest : STR("");
}

static bool in_identifier(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_';
}

/*
 * `$foo` of the pattern at this place, which is that of its name or of its value;
 * "" if something unusual (a comment) stands between the two.
 */
static struct str pattern_at(struct str rules, json_int_t line, json_int_t column)
{
	struct str at = rest_of(rules, line, column);
	size_t i = at.n ? (size_t)(at.p - rules.p) : 0, end;

	if (at.n && at.p[0] != '$') {
		while (i > 0 && strchr(" \t\r\n=", rules.p[i - 1]))
			i--;
		while (i > 0 && in_identifier(rules.p[i - 1]))
			i--;
		i -= i > 0;
	}
	if (!at.n || rules.p[i] != '$')
		return STR("");
	for (end = i + 1; end < rules.n && in_identifier(rules.p[end]); end++)
		;
	return str_make(rules.p + i, end - i);
}

#define SLOW_PATTERN_CODE "E018"

/* A message's summary: the engine's title, and where VirusTotal has words of its own, those. */
static void put_title(struct buf *out, struct str rules, const json_t *message)
{
	const char *title = json_string_value(json_object_get(message, "title"));
	const char *code = json_string_value(json_object_get(message, "code"));
	struct str pattern = STR("");

	if (code && strcmp(code, SLOW_PATTERN_CODE) == 0)
		pattern = pattern_at(rules, json_integer_value(json_object_get(message, "line")),
				     json_integer_value(json_object_get(message, "column")));
	if (pattern.n)
		buf_addf(out, "string " STR_FMT " may slow down scanning",
			 STR_ARG(utf8_cut(pattern, SUMMARY_BYTES_MAX / 2)));
	else
		buf_add_str(out, utf8_cut(str_of(title ? title : "the rules do not compile"),
					  SUMMARY_BYTES_MAX));
}

/* "line 3, column 5: unknown pattern `$a`", from the first error of the messages. */
static int refused(struct str rules, struct str messages, struct err *err)
{
	AUTO(buf_release) struct buf title = BUF_INIT(2 * SUMMARY_BYTES_MAX);
	json_t *list = json_loadb(messages.p, messages.n, JSON_ALLOW_NUL, NULL);
	const json_t *first = json_array_get(list, 0);
	json_int_t line = json_integer_value(json_object_get(first, "line"));
	json_int_t column = json_integer_value(json_object_get(first, "column"));
	int rc;

	put_title(&title, rules, first);
	if (line > 0)
		rc = err_set(err, ERR_INVALID, "line %lld, column %lld: " STR_FMT, (long long)line,
			     (long long)column, STR_ARG(buf_str(&title)));
	else
		rc = err_set(err, ERR_INVALID, STR_FMT, STR_ARG(buf_str(&title)));
	json_decref(list);
	return rc;
}

enum compile_end {
	COMPILE_ENDED,
	COMPILE_KILLED,
	COMPILE_STRUCK, /* from outside */
	COMPILE_TOO_SLOW
};

/* One attempt. An error is not the rules' fault; *ret_rules is NULL where they are refused. */
static int compile_once(struct service *svc, const struct ruleset_compile_ask *ask,
			const struct scan_source *source,
			const struct scan_compile_options *options, struct scan_rules **ret_rules,
			struct buf *messages, enum compile_end *ret_end, struct err *cause,
			struct err *err)
{
	struct scan_child *child;
	int rc;

	*ret_rules = NULL;
	*ret_end = COMPILE_ENDED;
	TRY(ask->wants_child ? scan_child_take_while(&child, svc->scan, ask->wants_child,
						     ask->wants_arg, err)
			     : scan_child_take(&child, svc->scan, err));
	if (ask->show && !ask->show(child, ask->arg)) {
		scan_child_give(svc->scan, child);
		return err_set(err, ERR_CLOSED, "nobody wants the rules any more");
	}
	rc = scan_compile(child, source, 1, options, ret_rules, messages, cause);
	if (ask->show)
		(void)ask->show(NULL, ask->arg);
	if (rc == -ERR_DIED) {
		*ret_end = scan_child_is_struck(child) ? COMPILE_STRUCK : COMPILE_KILLED;
		rc = err_set(cause, ERR_INVALID, "the compiler was killed: %s",
			     scan_child_cause(child));
	} else if (rc == -ERR_TIMEOUT) {
		*ret_end = COMPILE_TOO_SLOW;
		rc = err_set(cause, ERR_INVALID, "the rules took longer than %u ms to compile",
			     options->timeout_ms ? options->timeout_ms
						 : svc->options.compile_timeout_ms);
	} else if (rc && err) {
		*err = *cause;
	}
	scan_child_give(svc->scan, child);
	return *ret_end == COMPILE_ENDED ? rc : 0;
}

static int take_rules(const struct scan_rules *rules, uint32_t max, struct arena *arena,
		      struct ruleset_compiled *ret, struct err *err)
{
	AUTO(buf_release) struct buf names = BUF_INIT(NAMES_BYTES_MAX);
	uint32_t n = scan_rules_count(rules);
	struct json w;

	if (n == 0)
		return err_set(err, ERR_INVALID, "there is no rule in the ruleset");
	if (n > max)
		return err_set(err, ERR_INVALID, "the ruleset has %u rules, the maximum is %u", n,
			       max);
	json_init(&w, &names);
	json_arr(&w);
	for (uint32_t i = 0; i < n; i++)
		json_str(&w, scan_rules_at(rules, i)->name);
	json_arr_end(&w);
	json_end(&w);
	TRY(buf_check(&names, "the list of rules", err));
	ret->rule_names = arena_str(arena, buf_str(&names));
	ret->rule_count = n;
	return 0;
}

int ruleset_compile(struct service *svc, const struct ruleset_compile_ask *ask, struct arena *arena,
		    struct ruleset_compiled *ret, struct str *messages, struct err *err)
{
	AUTO(buf_release) struct buf said = BUF_INIT(MESSAGES_BYTES_MAX);
	struct scan_compile_options options = { .retrohunt = ask->retrohunt,
						.want_plan = ask->retrohunt && !ask->only_count,
						.only = ask->only,
						.only_count = ask->only_count,
						.refuse_slow = true,
						.warnings_max = RULESET_WARNINGS_MAX,
						.timeout_ms = ask->timeout_ms };
	const struct scan_source source = { STR("default"), ask->rules }; /* as YARA calls it */
	enum compile_end end = COMPILE_KILLED;
	struct scan_rules *made = NULL;
	struct err cause = { 0 };
	int rc;

	*messages = STR("[]");
	REQUIRE(entity_parse(ask->entity, &options.entity));
	for (unsigned i = 0; i < (end == COMPILE_STRUCK ? STRUCK_TRIES : COMPILE_ATTEMPTS) &&
			     (end == COMPILE_KILLED || end == COMPILE_STRUCK);
	     i++) {
		buf_reset(&said);
		TRY(compile_once(svc, ask, &source, &options, &made, &said, &end, &cause, err));
	}
	if (end == COMPILE_STRUCK)
		return err_set(err, ERR_DIED, "%s", cause.msg); /* perhaps not the rules' doing */
	if (end != COMPILE_ENDED) {
		enum err_kind verdict = end == COMPILE_TOO_SLOW ? ERR_TIMEOUT : ERR_DIED;

		return err_set(err, ask->compiled_before ? verdict : ERR_INVALID, "%s", cause.msg);
	}
	if (said.n)
		*messages = arena_str(arena, buf_str(&said));
	if (!made)
		return refused(ask->rules, *messages, err);
	rc = take_rules(made, ask->rules_max ? ask->rules_max : LIMIT_RULES_PER_SET, arena, ret,
			err);
	if (rc == 0)
		ret->rules = made;
	else
		scan_rules_unref(made);
	return rc;
}
