#include "accounts_world.h"

#include <jansson.h>
#include <stdio.h>

#include "base/limits.h"
#include "service/rulesets.h"
#include "store/meta_live.h"

#define RULE_A "rule a { condition: true }"
#define RULE_B "rule b { strings: $x = \"weir\" condition: $x }"

/* ---- A world with two users, and changes that are waited for ---- */

struct fixture {
	struct world *w;
	int64_t ann;
	int64_t bob;
	struct arena *arena;
};

static int64_t user_new(struct world *w, const char *name)
{
	char key[USER_KEY_CHARS + 1];
	struct user u;
	struct err err;

	CHECK_OK(user_add(w->svc, str_of(name), ROLE_HUNTER, STR(""), key, &err), &err);
	CHECK_OK(user_get(w->svc, str_of(name), &u, &err), &err);
	return u.id;
}

static struct fixture *fixture_new(uint32_t compile_timeout_ms, uint64_t scan_memory_max)
{
	struct fixture *f = mem_must_zalloc(sizeof *f);

	f->w = world_new();
	if (compile_timeout_ms)
		f->w->options.compile_timeout_ms = compile_timeout_ms;
	if (scan_memory_max)
		f->w->options.scan_memory_max = scan_memory_max;
	world_open(f->w);
	f->ann = user_new(f->w, "ann");
	f->bob = user_new(f->w, "bob");
	f->arena = arena_new("test", 512 << 20);
	return f;
}

static void fixture_free(struct fixture *f)
{
	arena_free(f->arena);
	world_free(f->w);
	free(f);
}

static int setup(void **state)
{
	*state = fixture_new(0, 0);
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* What came of a change. */
struct outcome {
	struct world *w;
	struct arena *arena;
	struct lock lock;
	struct cond over;
	bool is_over;
	int rc;
	struct err err;
	struct str messages;
	struct ruleset r;
};

static struct ruleset ruleset_copy(const struct ruleset *r, struct arena *arena)
{
	struct ruleset copy = *r;
	struct str *texts[] = { &copy.owner,           &copy.name,        &copy.rules,
				&copy.entity,          &copy.emails_json, &copy.tags_json,
				&copy.rule_names_json, &copy.suspended };

	for (size_t i = 0; i < COUNT_OF(texts); i++)
		*texts[i] = arena_str(arena, *texts[i]);
	return copy;
}

static void changed(const struct ruleset *r, int rc, const struct err *err, struct str messages,
		    void *arg)
{
	struct outcome *o = arg;

	/* Would hang or stop the process on the writer's own thread. */
	world_exec(o->w, "UPDATE counter SET value = value WHERE name = 'id'", NULL);
	if (rc)
		o->err = *err;
	else
		o->r = ruleset_copy(r, o->arena);
	o->messages = arena_str(o->arena, messages);
	lock_take(&o->lock);
	o->rc = rc;
	o->is_over = true;
	cond_signal(&o->over);
	lock_drop(&o->lock);
}

static void outcome_init(struct outcome *o, struct fixture *f, struct arena *arena)
{
	*o = (struct outcome){ .w = f->w, .arena = arena };
	lock_init(&o->lock, LOCK_TEST);
	cond_init(&o->over);
}

/* The outcome of a call that returned rc; refused calls have no answer to wait for. */
static int outcome_wait(struct outcome *o, int rc)
{
	lock_take(&o->lock);
	while (rc == 0 && !o->is_over)
		cond_wait(&o->over, &o->lock);
	lock_drop(&o->lock);
	cond_release(&o->over);
	lock_release(&o->lock);
	return rc ? rc : o->rc;
}

static int create(struct fixture *f, int64_t user, struct ruleset_change change, struct outcome *o)
{
	outcome_init(o, f, f->arena);
	return outcome_wait(o, ruleset_create(f->w->svc, user, &change, changed, o, &o->err));
}

static int update(struct fixture *f, int64_t user, int64_t id, struct ruleset_change change,
		  struct outcome *o)
{
	outcome_init(o, f, f->arena);
	return outcome_wait(o, ruleset_update(f->w->svc, user, id, &change, changed, o, &o->err));
}

static int delete (struct fixture *f, int64_t user, int64_t id, struct outcome *o)
{
	outcome_init(o, f, f->arena);
	return outcome_wait(o, ruleset_delete(f->w->svc, user, id, changed, o, &o->err));
}

static struct ruleset_change minimal(const char *name, const char *rules)
{
	return (struct ruleset_change){ .set = RULESET_NAME | RULESET_RULES,
					.name = str_of(name),
					.rules = str_of(rules) };
}

static struct ruleset_change enable(bool enabled)
{
	return (struct ruleset_change){ .set = RULESET_ENABLED, .enabled = enabled };
}

static struct ruleset make(struct fixture *f, const char *name, const char *rules, bool enabled)
{
	struct ruleset_change change = minimal(name, rules);
	struct outcome o;

	change.set |= RULESET_ENABLED;
	change.enabled = enabled;
	CHECK_OK(create(f, f->ann, change, &o), &o.err);
	return o.r;
}

static struct str rows(struct fixture *f, const char *text)
{
	struct buf out = BUF_INIT(1 << 20);
	struct str s = arena_str(f->arena, world_rows(f->w, text, &out));

	buf_release(&out);
	return s;
}

static const char GENERATIONS[] = "SELECT number || ' ' || change || ' ' || ruleset_version FROM "
				  "generation ORDER BY number";

/* ---- Creating ---- */

static void defaults(void **state)
{
	struct fixture *f = *state;
	struct outcome o;
	struct ruleset r;
	struct err err;

	CHECK_OK(create(f, f->ann, minimal("nets", RULE_B "\n" RULE_A), &o), &o.err);
	assert_in_range(o.r.id, 1000000000, 9999999999);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, o.r.id, f->arena, &r, &err), &err);
	for (unsigned i = 0; i < 2; i++) { /* as answered, as stored */
		const struct ruleset *x = i ? &r : &o.r;

		assert_int_equal(x->id, o.r.id);
		assert_int_equal(x->owner_id, f->ann);
		CHECK_ROW_STR("owner", x->owner, STR("ann"));
		CHECK_ROW_STR("name", x->name, STR("nets"));
		CHECK_ROW_STR("rules", x->rules, STR(RULE_B "\n" RULE_A));
		CHECK_ROW_STR("entity", x->entity, STR("file"));
		CHECK_ROW_STR("emails", x->emails_json, STR("[]"));
		CHECK_ROW_STR("tags", x->tags_json, STR("[]"));
		CHECK_ROW_STR("rule names", x->rule_names_json, STR("[\"b\",\"a\"]"));
		CHECK_ROW_STR("suspended", x->suspended, STR(""));
		assert_int_equal(x->rule_count, 2);
		assert_int_equal(x->version, 1);
		assert_int_equal(x->generation, 0);
		assert_false(x->enabled);
		assert_int_equal(x->limit, 1000000);
		assert_int_equal(x->created_s, WORLD_START_S);
		assert_int_equal(x->modified_s, WORLD_START_S);
	}
	CHECK_ROW_STR("no generation", rows(f, GENERATIONS), STR(""));
	CHECK_ROW_STR("the version's text",
		      rows(f, "SELECT version || ' ' || rules FROM ruleset_version"),
		      STR("1 " RULE_B "\n" RULE_A "\n"));
}

static void everything_set(void **state)
{
	struct fixture *f = *state;
	struct ruleset_change change = {
		.set = RULESET_NAME | RULESET_RULES | RULESET_ENABLED | RULESET_LIMIT |
		       RULESET_EMAILS | RULESET_TAGS | RULESET_ENTITY,
		.name = STR("n\xc3\xa4me 'quoted'"),
		.rules = STR("import \"vt\" rule u { condition: vt.net.url.new_url }"),
		.enabled = true,
		.limit = 0,
		.emails_json = STR(" [ \"a@b.example\" ] "),
		.tags_json = STR("[\"autogenerated\",\"\\u00e4\\\"\"]"),
		.entity = STR("url"),
	};
	struct outcome o;

	CHECK_OK(create(f, f->ann, change, &o), &o.err);
	CHECK_ROW_STR("name", o.r.name, change.name);
	CHECK_ROW_STR("emails", o.r.emails_json, STR("[\"a@b.example\"]"));
	CHECK_ROW_STR("tags", o.r.tags_json, STR("[\"autogenerated\",\"\xc3\xa4\\\"\"]"));
	CHECK_ROW_STR("entity", o.r.entity, STR("url"));
	assert_true(o.r.enabled);
	assert_int_equal(o.r.limit, 0);
	assert_int_equal(o.r.generation, 1);
	CHECK_ROW_STR("generation", rows(f, GENERATIONS), STR("1 create 1\n"));
	change.entity = STR("ip");
	change.rules = STR(RULE_A);
	CHECK_OK(create(f, f->ann, change, &o), &o.err);
	CHECK_ROW_STR("ip", o.r.entity, STR("ip_address"));
	assert_int_equal(o.r.generation, 2);
}

#define SIXTEEN "aaaaaaaaaaaaaaaa"
#define SIXTY_FOUR SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define TIMES_13(x) x x x x x x x x x x x x x
#define TIMES_65(x) TIMES_13(x) TIMES_13(x) TIMES_13(x) TIMES_13(x) TIMES_13(x)

static const struct {
	const char *row;
	struct ruleset_change change; /* on top of a good name and good rules */
	const char *text;
} unacceptable[] = {
	{ "empty name", { .set = RULESET_NAME, .name = STR("") }, "needs a name" },
	{ "long name",
	  { .set = RULESET_NAME, .name = STR(SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR "a") },
	  "the name has 257 bytes, the maximum is 256" },
	{ "control character", { .set = RULESET_NAME, .name = STR("a\tb") }, "control" },
	{ "later control character", { .set = RULESET_NAME, .name = STR("a\xc2\x85") }, "control" },
	{ "name with NUL", { .set = RULESET_NAME, .name = STR("a\0b") }, "control" },
	{ "name not UTF-8", { .set = RULESET_NAME, .name = STR("a\xff") }, "UTF-8" },
	{ "empty rules", { .set = RULESET_RULES, .rules = STR("") }, "needs rules" },
	{ "rules with NUL",
	  { .set = RULESET_RULES, .rules = STR("rule\0") },
	  "NUL byte at offset 4" },
	{ "negative limit", { .set = RULESET_LIMIT, .limit = -1 }, "between 0 and 1000000000000" },
	{ "huge limit", { .set = RULESET_LIMIT, .limit = 1000000000001 }, "between 0 and" },
	{ "entity", { .set = RULESET_ENTITY, .entity = STR("FILE") }, "'FILE' is not valid" },
	{ "empty entity", { .set = RULESET_ENTITY, .entity = STR("") }, "match_object_type" },
	{ "e-mails no JSON",
	  { .set = RULESET_EMAILS, .emails_json = STR("[") },
	  "list of strings" },
	{ "e-mails empty", { .set = RULESET_EMAILS, .emails_json = STR("") }, "list of strings" },
	{ "e-mails an object",
	  { .set = RULESET_EMAILS, .emails_json = STR("{}") },
	  "list of strings" },
	{ "e-mails of numbers",
	  { .set = RULESET_EMAILS, .emails_json = STR("[\"a@b\",1]") },
	  "entry 2 of notification_emails" },
	{ "no e-mail", { .set = RULESET_EMAILS, .emails_json = STR("[\"x\"]") }, "entry 1" },
	{ "65 e-mails",
	  { .set = RULESET_EMAILS, .emails_json = STR("[" TIMES_65("\"a@b\",") "\"a@b\"]") },
	  "has 66 entries, the maximum is 64" },
	{ "empty tag", { .set = RULESET_TAGS, .tags_json = STR("[\"\"]") }, "entry 1 of tags" },
	{ "long tag",
	  { .set = RULESET_TAGS, .tags_json = STR("[\"" SIXTY_FOUR SIXTY_FOUR "a\"]") },
	  "entry 1 of tags" },
	{ "tag with new line", { .set = RULESET_TAGS, .tags_json = STR("[\"a\\n\"]") }, "entry 1" },
	{ "66 tags",
	  { .set = RULESET_TAGS, .tags_json = STR("[" TIMES_65("\"a\",") "\"a\"]") },
	  "tags has 66 entries" },
};

static void members_are_checked(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, false);
	struct outcome o;

	for (size_t i = 0; i < COUNT_OF(unacceptable); i++) {
		struct ruleset_change change = unacceptable[i].change;

		for (unsigned creating = 0; creating < 2; creating++) {
			if (creating && !(change.set & RULESET_NAME))
				change.name = STR("n");
			if (creating && !(change.set & RULESET_RULES))
				change.rules = STR(RULE_A);
			change.set |= creating ? RULESET_NAME | RULESET_RULES : 0;
			o.is_over = false;
			CHECK_ROW(unacceptable[i].row,
				  (creating ? create(f, f->ann, change, &o)
					    : update(f, f->ann, r.id, change, &o)) == -ERR_INVALID);
			CHECK_ROW(unacceptable[i].row, !o.is_over);
			if (!strstr(o.err.msg, unacceptable[i].text))
				fail_msg("row '%s': %s", unacceptable[i].row, o.err.msg);
		}
	}
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM ruleset"), 1);
	assert_int_equal(world_i64(f->w, "SELECT version FROM ruleset"), 1);
}

static void creating_needs_name_and_rules(void **state)
{
	struct fixture *f = *state;
	struct ruleset_change change = minimal("n", RULE_A);
	struct outcome o;

	change.set = RULESET_RULES;
	assert_int_equal(create(f, f->ann, change, &o), -ERR_INVALID);
	assert_non_null(strstr(o.err.msg, "needs a name"));
	change.set = RULESET_NAME;
	assert_int_equal(create(f, f->ann, change, &o), -ERR_INVALID);
	assert_non_null(strstr(o.err.msg, "needs rules"));
	assert_int_equal(create(f, 99, minimal("n", RULE_A), &o), -ERR_NOT_FOUND);
}

static void the_largest_source(void **state)
{
	struct fixture *f = *state;
	char *rules = mem_must_zalloc(LIMIT_RULES_BYTES + 2);
	struct ruleset_change change;
	struct ruleset r;
	struct arena *small = arena_new("small", 64 * 1024);
	struct outcome o;
	struct err err;

	memset(rules, ' ', LIMIT_RULES_BYTES + 1);
	memcpy(rules, RULE_A, strlen(RULE_A));
	change = minimal("large", rules);
	assert_int_equal(create(f, f->ann, change, &o), -ERR_INVALID);
	assert_string_equal(o.err.msg, "the rules have 1048577 bytes, the maximum is 1048576");
	change.rules.n--;
	CHECK_OK(create(f, f->ann, change, &o), &o.err);
	CHECK_ROW_STR("large", o.r.rules, change.rules);
	assert_int_equal(ruleset_get(f->w->svc, f->ann, o.r.id, small, &r, &err), -ERR_TOO_LARGE);
	arena_free(small);
	free(rules);
}

/* ---- Compiling ---- */

static const struct {
	const char *row;
	const char *rules;
	const char *text; /* the summary begins like this */
	int line, column; /* of the first message, 0: there is none */
} refused[] = {
	{ "unknown pattern", "rule a {\n  condition:\n    $x\n}",
	  "line 3, column 5: unknown pattern", 3, 5 },
	{ "syntax", "rule a { condition: }", "line 1, column 21: syntax error", 1, 21 },
	{ "no rule at all", "hello", "line 1, column 1: syntax error", 1, 1 },
	{ "the second rule", RULE_A "\n\n rule c { condition: d }",
	  "line 3, column 22: unknown identifier", 3, 22 },
	{ "the same rule twice", RULE_A "\n" RULE_A, "line 2, column 6: duplicate rule", 2, 6 },
	{ "unknown module", "import \"nope\"\nrule a { condition: true }", "line 1, column 1: ", 1,
	  1 },
	{ "include", "include \"/etc/passwd\"\n" RULE_A, "line 1, column 1: ", 1, 1 },
	{ "slow pattern", "rule a { strings: $x = { 00 [1-] 01 } condition: $x }",
	  "line 1, column ", 1, -1 },
	{ "urls in a ruleset for files", "import \"vt\"\nrule a { condition: vt.net.url.new_url }",
	  "line 2, column ", 2, -1 },
	{ "not UTF-8", "rule a { meta: x = \"\xff\" condition: true }", "line 1, column 21", 1,
	  21 },
	{ "nothing but a comment", "// nothing here", "there is no rule in the ruleset", 0, 0 },
	{ "nothing but an import", "import \"pe\"\n", "there is no rule in the ruleset", 0, 0 },
};

static void check_messages(const char *row, struct str messages, int line, int column)
{
	json_t *list = json_loadb(messages.p, messages.n, 0, NULL);
	const json_t *first = json_array_get(list, 0);

	CHECK_ROW(row, json_is_array(list));
	if (line) {
		CHECK_ROW_STR(row, str_of(json_string_value(json_object_get(first, "level"))),
			      STR("error"));
		CHECK_ROW(row, json_integer_value(json_object_get(first, "line")) == line);
		CHECK_ROW(row, column < 0 || json_integer_value(json_object_get(first, "column")) ==
						     column);
		CHECK_ROW(row, json_string_length(json_object_get(first, "text")) > 0);
	}
	json_decref(list);
}

static void rules_that_do_not_compile(void **state)
{
	struct fixture *f = *state;
	struct ruleset kept = make(f, "kept", RULE_A, true), r;
	struct outcome o;
	struct err err;

	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		const char *row = refused[i].row;

		for (unsigned creating = 0; creating < 2; creating++) {
			CHECK_ROW(row,
				  (creating ? create(f, f->ann, minimal("n", refused[i].rules), &o)
					    : update(f, f->ann, kept.id,
						     minimal("n", refused[i].rules), &o)) ==
					  -ERR_INVALID);
			CHECK_ROW(row, o.is_over);
			if (!str_starts(str_of(o.err.msg), str_of(refused[i].text)))
				fail_msg("row '%s': %s", row, o.err.msg);
			check_messages(row, o.messages, refused[i].line, refused[i].column);
		}
	}
	CHECK_OK(ruleset_get(f->w->svc, f->ann, kept.id, f->arena, &r, &err), &err);
	CHECK_ROW_STR("untouched", r.name, STR("kept"));
	CHECK_ROW_STR("untouched", r.rules, STR(RULE_A));
	assert_int_equal(r.version, 1);
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM ruleset"), 1);
	assert_int_equal(world_i64(f->w, "SELECT value FROM counter WHERE name = 'generation'"), 1);
}

static void warnings_come_with_success(void **state)
{
	struct fixture *f = *state;
	struct outcome o;

	CHECK_OK(create(f, f->ann, minimal("w", "rule a { condition: 2 and true }"), &o), &o.err);
	assert_non_null(strstr(o.messages.p, "\"level\":\"warning\""));
	CHECK_OK(update(f, f->ann, o.r.id, minimal("w", RULE_B), &o), &o.err);
	CHECK_ROW_STR("none", o.messages, STR("[]"));
}

/* n rules, each with a regular expression that takes a while. */
static char *rules_many(unsigned n, const char *condition)
{
	struct buf b = BUF_INIT(LIMIT_RULES_BYTES);

	for (unsigned i = 0; i < n; i++)
		buf_addf(&b, "rule r%u{condition:%s}\n", i, condition);
	assert_false(buf_failed(&b));
	return buf_steal(&b);
}

static void too_many_rules(void **state)
{
	struct fixture *f = *state;
	char *rules = rules_many(LIMIT_RULES_PER_SET + 1, "true");
	struct ruleset_change change = minimal("many", rules);
	struct outcome o;

	assert_int_equal(create(f, f->ann, change, &o), -ERR_INVALID);
	assert_string_equal(o.err.msg, "the ruleset has 10001 rules, the maximum is 10000");
	*strstr(rules, "rule r10000") = 0;
	CHECK_OK(create(f, f->ann, minimal("many", rules), &o), &o.err);
	assert_int_equal(o.r.rule_count, LIMIT_RULES_PER_SET);
	free(rules);
}

static void a_compiler_that_takes_too_long(void **state)
{
	struct fixture *f = fixture_new(20, 0);
	char *rules = rules_many(9000, "filesize>1 and uint8(0)==2");
	struct outcome o;

	(void)state;
	assert_int_equal(create(f, f->ann, minimal("slow", rules), &o), -ERR_INVALID);
	assert_string_equal(o.err.msg, "the rules took longer than 20 ms to compile");
	CHECK_ROW_STR("messages", o.messages, STR("[]"));
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM ruleset"), 0);
	free(rules);
	fixture_free(f);
}

static void a_compiler_that_is_killed(void **state)
{
	struct fixture *f = fixture_new(0, UINT64_C(160) << 20);
	char *rules = rules_many(9999, "for any i in (1..9):(uint8(i)==2 and uint8(i+1)==3)");
	struct outcome o;

	(void)state;
	CHECK_OK(create(f, f->ann, minimal("small", RULE_A), &o), &o.err);
	assert_int_equal(create(f, f->ann, minimal("big", rules), &o), -ERR_INVALID);
	if (!str_starts(str_of(o.err.msg), STR("the compiler was killed: ")) ||
	    !strstr(o.err.msg, "memory"))
		fail_msg("%s", o.err.msg);
	CHECK_OK(create(f, f->ann, minimal("small", RULE_A), &o), &o.err);
	free(rules);
	fixture_free(f);
}

/* ---- Changing ---- */

static void generations_count_what_hunting_sees(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *row;
		struct ruleset_change change;
		int64_t version, generation;
		bool enabled;
	} steps[] = {
		{ "nothing", { .set = 0 }, 1, 1, true },
		{ "name", { .set = RULESET_NAME, .name = STR("x") }, 1, 1, true },
		{ "limit", { .set = RULESET_LIMIT, .limit = 5 }, 1, 1, true },
		{ "emails", { .set = RULESET_EMAILS, .emails_json = STR("[]") }, 1, 1, true },
		{ "tags", { .set = RULESET_TAGS, .tags_json = STR("[\"t\"]") }, 1, 1, true },
		{ "same entity", { .set = RULESET_ENTITY, .entity = STR("file") }, 1, 1, true },
		{ "enabled again", { .set = RULESET_ENABLED, .enabled = true }, 1, 1, true },
		{ "rules", { .set = RULESET_RULES, .rules = STR(RULE_B) }, 2, 2, true },
		{ "same rules", { .set = RULESET_RULES, .rules = STR(RULE_B) }, 2, 2, true },
		{ "disable", { .set = RULESET_ENABLED, .enabled = false }, 2, 3, false },
		{ "disable again", { .set = RULESET_ENABLED, .enabled = false }, 2, 3, false },
		{ "rules while disabled",
		  { .set = RULESET_RULES, .rules = STR(RULE_A) },
		  3,
		  3,
		  false },
		{ "enable", { .set = RULESET_ENABLED, .enabled = true }, 3, 4, true },
		{ "rules and off",
		  { .set = RULESET_RULES | RULESET_ENABLED, .rules = STR(RULE_B) },
		  4,
		  5,
		  false },
		{ "rules and on",
		  { .set = RULESET_RULES | RULESET_ENABLED, .rules = STR(RULE_A), .enabled = true },
		  5,
		  6,
		  true },
	};
	struct ruleset r = make(f, "r", RULE_A, true);
	struct outcome o;

	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		clock_fake_advance(&f->w->clock, 1000000);
		CHECK_OK(update(f, f->ann, r.id, steps[i].change, &o), &o.err);
		CHECK_ROW(steps[i].row, o.r.version == steps[i].version);
		CHECK_ROW(steps[i].row, o.r.generation == steps[i].generation);
		CHECK_ROW(steps[i].row, o.r.enabled == steps[i].enabled);
		CHECK_ROW(steps[i].row, o.r.created_s == WORLD_START_S);
		CHECK_ROW(steps[i].row,
			  o.r.modified_s == (i ? WORLD_START_S + 1 + (int64_t)i : WORLD_START_S));
	}
	CHECK_ROW_STR("the name stays", o.r.name, STR("x"));
	CHECK_ROW_STR("the tags stay", o.r.tags_json, STR("[\"t\"]"));
	assert_int_equal(o.r.limit, 5);
	CHECK_ROW_STR("rule names follow", o.r.rule_names_json, STR("[\"a\"]"));
	CHECK_OK(delete (f, f->ann, r.id, &o), &o.err);
	assert_int_equal(o.r.generation, 7);
	assert_false(o.r.enabled);
	CHECK_ROW_STR("the log", rows(f, GENERATIONS),
		      STR("1 create 1\n2 edit 2\n3 disable 2\n4 enable 3\n5 disable 4\n"
			  "6 enable 5\n7 delete 5\n"));
	CHECK_ROW_STR("all texts",
		      rows(f, "SELECT version || ' ' || substr(rules, 6, 1) FROM ruleset_version "
			      "ORDER BY version"),
		      STR("1 a\n2 b\n3 a\n4 b\n5 a\n"));
}

static void the_entity_stays(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, true);
	struct ruleset_change change = { .set = RULESET_ENTITY, .entity = STR("url") };
	struct outcome o;

	assert_int_equal(update(f, f->ann, r.id, change, &o), -ERR_INVALID);
	assert_string_equal(o.err.msg, "match_object_type cannot be changed");
}

static void what_is_deleted_is_gone_but_kept(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, false), got;
	struct outcome o;
	struct err err;

	CHECK_OK(delete (f, f->ann, r.id, &o), &o.err);
	CHECK_ROW_STR("it did not hunt", rows(f, GENERATIONS), STR(""));
	assert_int_equal(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err),
			 -ERR_NOT_FOUND);
	assert_int_equal(update(f, f->ann, r.id, enable(true), &o), -ERR_NOT_FOUND);
	assert_int_equal(update(f, f->ann, r.id, minimal("n", RULE_B), &o), -ERR_NOT_FOUND);
	assert_int_equal(delete (f, f->ann, r.id, &o), -ERR_NOT_FOUND);
	CHECK_ROW_STR("the row", rows(f, "SELECT deleted || ' ' || enabled FROM ruleset"),
		      STR("1 0\n"));
}

static void others_see_nothing(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, true), got;
	struct ruleset_query query = { .owner_id = f->bob, .limit = 10 };
	struct ruleset_page page;
	struct outcome o;
	struct err err;

	assert_int_equal(ruleset_get(f->w->svc, f->bob, r.id, f->arena, &got, &err),
			 -ERR_NOT_FOUND);
	assert_int_equal(update(f, f->bob, r.id, enable(false), &o), -ERR_NOT_FOUND);
	assert_int_equal(update(f, f->bob, r.id, minimal("n", RULE_B), &o), -ERR_NOT_FOUND);
	/* Not even whether the rules would compile. */
	assert_int_equal(update(f, f->bob, r.id, minimal("n", "x"), &o), -ERR_NOT_FOUND);
	assert_int_equal(delete (f, f->bob, r.id, &o), -ERR_NOT_FOUND);
	CHECK_OK(ruleset_list(f->w->svc, &query, f->arena, &page, &err), &err);
	assert_int_equal(page.total, 0);
	assert_int_equal(page.count, 0);
	assert_false(page.more);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err), &err);
	assert_int_equal(got.generation, 1);
	assert_true(got.enabled);
}

/* ---- Suspension ---- */

struct suspend_req {
	struct write_req req;
	const struct ruleset *r;
	bool done;
};

static int suspend_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct suspend_req *s = (struct suspend_req *)req;

	return live_suspend(conn, s->r->id, s->r->version, STR("it hung"), WORLD_START_S, &s->done,
			    err);
}

static void enabling_lifts_a_suspension(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, true), got;
	struct suspend_req s = { .req = { .apply = suspend_apply, .lane = LANE_API }, .r = &r };
	struct outcome o;
	struct err err;

	CHECK_OK(writer_call(service_writer(f->w->svc), &s.req, &err), &err);
	assert_true(s.done);
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &got, &err), &err);
	assert_false(got.enabled);
	CHECK_ROW_STR("why", got.suspended, STR("it hung"));
	CHECK_OK(update(f, f->ann, r.id, minimal("fixed", RULE_B), &o), &o.err);
	CHECK_ROW_STR("an edit alone does not", o.r.suspended, STR("it hung"));
	assert_int_equal(o.r.version, 2);
	CHECK_OK(update(f, f->ann, r.id, enable(false), &o), &o.err);
	CHECK_ROW_STR("nor switching off", o.r.suspended, STR("it hung"));
	CHECK_OK(update(f, f->ann, r.id, enable(true), &o), &o.err);
	CHECK_ROW_STR("lifted", o.r.suspended, STR(""));
	assert_true(o.r.enabled);
	assert_int_equal(o.r.version, 3);
	assert_int_equal(o.r.generation, 3);
	CHECK_ROW_STR("the log", rows(f, GENERATIONS),
		      STR("1 create 1\n2 suspend 1\n3 enable 3\n"));
	CHECK_ROW_STR("its text",
		      rows(f, "SELECT substr(rules, 6, 1) FROM ruleset_version WHERE version = 3"),
		      STR("b\n"));
	/* With new rules at once it is still one version. */
	r = o.r;
	s.done = false;
	CHECK_OK(writer_call(service_writer(f->w->svc), &s.req, &err), &err);
	assert_true(s.done);
	o.r.enabled = false;
	{
		struct ruleset_change both = minimal("both", RULE_A);

		both.set |= RULESET_ENABLED;
		both.enabled = true;
		CHECK_OK(update(f, f->ann, r.id, both, &o), &o.err);
	}
	assert_true(o.r.enabled);
	assert_int_equal(o.r.version, 4);
	assert_int_equal(o.r.generation, 5);
	/* Deleting one that is suspended changes nothing for hunting. */
	r = o.r;
	CHECK_OK(writer_call(service_writer(f->w->svc), &s.req, &err), &err);
	CHECK_OK(delete (f, f->ann, r.id, &o), &o.err);
	assert_int_equal(world_i64(f->w, "SELECT max(number) FROM generation"), 6);
}

/* ---- Lists ---- */

static int64_t key_of(const struct ruleset *r, enum ruleset_order order)
{
	switch (order) {
	case RULESET_BY_CREATED:
		return r->created_s;
	case RULESET_BY_MODIFIED:
		return r->modified_s;
	case RULESET_BY_NAME:
		return r->name.p[0];
	case RULESET_BY_ID:
		break;
	}
	return r->id;
}

static void walk(struct fixture *f, enum ruleset_order order, bool descending, uint32_t limit)
{
	struct ruleset_query query = {
		.owner_id = f->ann, .order = order, .descending = descending, .limit = limit
	};
	struct ruleset last = { 0 };
	struct ruleset_page page;
	struct err err;
	size_t seen = 0;
	char row[64];

	snprintf(row, sizeof row, "order %d%s by %u", (int)order, descending ? " down" : "", limit);
	do {
		CHECK_OK(ruleset_list(f->w->svc, &query, f->arena, &page, &err), &err);
		CHECK_ROW(row, page.total == 10);
		CHECK_ROW(row, page.count == (seen + limit > 10 ? 10 - seen : limit));
		CHECK_ROW(row, page.more == (seen + page.count < 10));
		for (size_t i = 0; i < page.count; i++) {
			int64_t a = seen + i > 0 ? key_of(&last, order) : 0;
			int64_t b = key_of(&page.rows[i], order);

			if (seen + i > 0 && a == b)
				CHECK_ROW(row, descending ? last.id > page.rows[i].id
							  : last.id < page.rows[i].id);
			else if (seen + i > 0)
				CHECK_ROW(row, descending ? a > b : a < b);
			last = page.rows[i];
		}
		seen += page.count;
		query.has_after = true;
		query.after_id = last.id;
		query.after_key = order == RULESET_BY_NAME
					  ? last.name
					  : str_of(arena_printf(f->arena, "%lld",
								(long long)key_of(&last, order)));
	} while (page.more);
	CHECK_ROW(row, seen == 10);
}

static void lists_have_every_ruleset_once(void **state)
{
	static const char *const list_names[] = { "a", "b", "c" };
	struct fixture *f = *state;
	struct ruleset_query query = { .owner_id = f->ann,
				       .order = RULESET_BY_CREATED,
				       .limit = 10,
				       .has_after = true,
				       .after_key = STR("x") };
	struct ruleset r[11];
	struct ruleset_page page;
	struct outcome o;
	struct err err;

	for (unsigned i = 0; i < 11; i++) {
		clock_fake_advance(&f->w->clock, i % 3 == 0 ? 1000000 : 0);
		r[i] = make(f, list_names[i % 3], RULE_A, i % 2);
	}
	CHECK_OK(delete (f, f->ann, r[5].id, &o), &o.err);
	for (unsigned i = 0; i < 4; i++) {
		clock_fake_advance(&f->w->clock, i % 2 ? 1000000 : 0);
		CHECK_OK(update(f, f->ann, r[i].id, enable(true), &o), &o.err);
	}
	for (int order = RULESET_BY_ID; order <= RULESET_BY_MODIFIED; order++) {
		for (uint32_t limit = 1; limit <= 11; limit += 2) {
			walk(f, (enum ruleset_order)order, false, limit);
			walk(f, (enum ruleset_order)order, true, limit);
		}
	}
	assert_int_equal(ruleset_list(f->w->svc, &query, f->arena, &page, &err), -ERR_INVALID);
}

static void pages_of_large_rulesets_are_short(void **state)
{
	struct fixture *f = *state;
	struct ruleset_query query = { .owner_id = f->ann, .order = RULESET_BY_NAME, .limit = 40 };
	char *rules = mem_must_zalloc(LIMIT_RULES_BYTES + 1);
	struct arena *small = arena_new("small", 3 << 20);
	struct ruleset_page page;
	struct err err;
	char name[2] = "a";

	memset(rules, ' ', LIMIT_RULES_BYTES);
	memcpy(rules, RULE_A, strlen(RULE_A));
	for (unsigned i = 0; i < 10; i++, name[0]++)
		make(f, name, rules, false);
	CHECK_OK(ruleset_list(f->w->svc, &query, f->arena, &page, &err), &err);
	assert_int_equal(page.count, 7); /* 8 MB of text, with names and all */
	assert_true(page.more);
	query.has_after = true;
	query.after_key = page.rows[6].name;
	query.after_id = page.rows[6].id;
	CHECK_OK(ruleset_list(f->w->svc, &query, f->arena, &page, &err), &err);
	assert_int_equal(page.count, 3);
	assert_false(page.more);
	/* What the caller has no room for is left to the next page. */
	query.has_after = false;
	CHECK_OK(ruleset_list(f->w->svc, &query, small, &page, &err), &err);
	assert_int_equal(page.count, 2);
	assert_true(page.more);
	arena_free(small);
	free(rules);
}

/* ---- Many at once ---- */

enum {
	EDITORS = 8,
	EDITS = 15
};

struct editor {
	struct fixture *f;
	struct arena *arena;
	struct thread thread;
	int64_t id;
	unsigned number;
	unsigned wrong;
	int64_t versions[EDITS];
};

static void editor_run(void *arg)
{
	struct editor *e = arg;

	for (unsigned i = 0; i < EDITS; i++) {
		const char *rule = arena_printf(e->arena, "t%u_%u", e->number, i);
		struct ruleset_change change = {
			.set = RULESET_RULES | (i % 3 == 2 ? RULESET_ENABLED : 0),
			.rules =
				str_of(arena_printf(e->arena, "rule %s { condition: true }", rule)),
			.enabled = (i + e->number) % 2,
		};
		struct str names = str_of(arena_printf(e->arena, "[\"%s\"]", rule));
		struct outcome o;

		outcome_init(&o, e->f, e->arena);
		if (outcome_wait(&o, ruleset_update(e->f->w->svc, e->f->ann, e->id, &change,
						    changed, &o, &o.err)) != 0) {
			e->wrong++;
			return;
		}
		e->versions[i] = o.r.version;
		e->wrong += !str_eq(o.r.rules, change.rules) ||
			    !str_eq(o.r.rule_names_json, names) ||
			    ((change.set & RULESET_ENABLED) && o.r.enabled != change.enabled);
	}
}

static void edits_at_once_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, true), last;
	struct editor editors[EDITORS];
	bool seen[EDITORS * EDITS + 2] = { false };
	struct err err;

	for (unsigned i = 0; i < EDITORS; i++) {
		editors[i] = (struct editor){ .f = f, .id = r.id, .number = i };
		editors[i].arena = arena_new("editor", 16 << 20);
		CHECK_OK(thread_start(&editors[i].thread, "editor", editor_run, &editors[i], &err),
			 &err);
	}
	for (unsigned i = 0; i < EDITORS; i++) {
		thread_join(&editors[i].thread);
		arena_free(editors[i].arena);
		assert_int_equal(editors[i].wrong, 0);
		for (unsigned k = 0; k < EDITS; k++) {
			assert_in_range(editors[i].versions[k], 2, EDITORS * EDITS + 1);
			assert_false(seen[editors[i].versions[k]]);
			seen[editors[i].versions[k]] = true;
		}
	}
	CHECK_OK(ruleset_get(f->w->svc, f->ann, r.id, f->arena, &last, &err), &err);
	assert_int_equal(last.version, EDITORS * EDITS + 1);
	CHECK_ROW_STR("the stored text is the last version's",
		      rows(f, "SELECT v.rules = r.rules FROM ruleset_version v JOIN ruleset r "
			      "ON r.id = v.ruleset_id AND r.version = v.version"),
		      STR("1\n"));
	assert_int_equal(world_i64(f->w, "SELECT count(*) FROM ruleset_version"),
			 EDITORS * EDITS + 1);
	CHECK_ROW_STR("generations have no gap",
		      rows(f, "SELECT count(*) = max(number) AND max(number) = (SELECT value FROM "
			      "counter WHERE name = 'generation') FROM generation"),
		      STR("1\n"));
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(defaults),
		WITH_FIXTURE(everything_set),
		WITH_FIXTURE(members_are_checked),
		WITH_FIXTURE(creating_needs_name_and_rules),
		WITH_FIXTURE(the_largest_source),
		WITH_FIXTURE(rules_that_do_not_compile),
		WITH_FIXTURE(warnings_come_with_success),
		WITH_FIXTURE(too_many_rules),
		cmocka_unit_test(a_compiler_that_takes_too_long),
		cmocka_unit_test(a_compiler_that_is_killed),
		WITH_FIXTURE(generations_count_what_hunting_sees),
		WITH_FIXTURE(the_entity_stays),
		WITH_FIXTURE(what_is_deleted_is_gone_but_kept),
		WITH_FIXTURE(others_see_nothing),
		WITH_FIXTURE(enabling_lifts_a_suspension),
		WITH_FIXTURE(lists_have_every_ruleset_once),
		WITH_FIXTURE(pages_of_large_rulesets_are_short),
		WITH_FIXTURE(edits_at_once_are_told_apart),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
