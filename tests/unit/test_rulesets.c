#include "rulesets_world.h"

#include <stdio.h>

#include "base/limits.h"
#include "store/meta_live.h"

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

/* ---- Closing ---- */

struct closing {
	_Atomic unsigned answers;
	_Atomic unsigned refusals;
};

static void count_answer(const struct ruleset *r, int rc, const struct err *err,
			 struct str messages, void *arg)
{
	struct closing *c = arg;

	(void)err;
	(void)messages;
	if (rc)
		c->refusals++;
	else
		c->answers += r->id > 0;
}

static void closing_answers_what_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct ruleset r = make(f, "r", RULE_A, true);
	struct ruleset_change rename = { .set = RULESET_NAME, .name = STR("renamed") };
	struct ruleset_change rules = { .set = RULESET_RULES, .rules = STR(RULE_B) };
	struct closing c = { 0 };
	struct err err;

	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 20; i++)
			CHECK_OK(ruleset_update(f->w->svc, f->ann, r.id, i % 4 ? &rename : &rules,
						count_answer, &c, &err),
				 &err);
		service_close(f->w->svc);
		assert_int_equal(c.answers + c.refusals, 20 * (round + 1));
		world_open(f->w);
	}
	assert_int_equal(c.refusals, 0);
	assert_int_equal(world_i64(f->w, "SELECT version FROM ruleset"), 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(generations_count_what_hunting_sees),
		WITH_FIXTURE(the_entity_stays),
		WITH_FIXTURE(what_is_deleted_is_gone_but_kept),
		WITH_FIXTURE(others_see_nothing),
		WITH_FIXTURE(enabling_lifts_a_suspension),
		WITH_FIXTURE(lists_have_every_ruleset_once),
		WITH_FIXTURE(pages_of_large_rulesets_are_short),
		WITH_FIXTURE(edits_at_once_are_told_apart),
		WITH_FIXTURE(closing_answers_what_is_under_way),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
