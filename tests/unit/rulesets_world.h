#ifndef RULESETS_WORLD_H
#define RULESETS_WORLD_H
#include "accounts_world.h"

#include "service/rulesets.h"

#define RULE_A "rule a { condition: true }"
#define RULE_B "rule b { strings: $x = \"weir\" condition: $x }"

/* ---- A world with two users, and changes that are waited for ---- */

struct fixture {
	struct world *w;
	int64_t ann;
	int64_t bob;
	struct arena *arena;
};

static inline int64_t user_new(struct world *w, const char *name)
{
	char key[USER_KEY_CHARS + 1];
	struct user u;
	struct err err;

	CHECK_OK(user_add(w->svc, str_of(name), ROLE_HUNTER, STR(""), NULL, key, &err), &err);
	CHECK_OK(user_get(w->svc, str_of(name), &u, &err), &err);
	return u.id;
}

static inline struct fixture *fixture_new(uint32_t compile_timeout_ms, uint64_t scan_memory_max)
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

static inline void fixture_free(struct fixture *f)
{
	arena_free(f->arena);
	world_free(f->w);
	free(f);
}

static inline int setup(void **state)
{
	*state = fixture_new(0, 0);
	return 0;
}

static inline int teardown(void **state)
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

static inline struct ruleset ruleset_copy(const struct ruleset *r, struct arena *arena)
{
	struct ruleset copy = *r;
	struct str *texts[] = { &copy.owner,           &copy.name,        &copy.rules,
				&copy.entity,          &copy.emails_json, &copy.tags_json,
				&copy.rule_names_json, &copy.suspended };

	for (size_t i = 0; i < COUNT_OF(texts); i++)
		*texts[i] = arena_str(arena, *texts[i]);
	return copy;
}

static inline void changed(const struct ruleset *r, int rc, const struct err *err,
			   struct str messages, void *arg)
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

static inline void outcome_init(struct outcome *o, struct fixture *f, struct arena *arena)
{
	*o = (struct outcome){ .w = f->w, .arena = arena };
	lock_init(&o->lock, LOCK_TEST);
	cond_init(&o->over);
}

/* The outcome of a call that returned rc; refused calls have no answer to wait for. */
static inline int outcome_wait(struct outcome *o, int rc)
{
	lock_take(&o->lock);
	while (rc == 0 && !o->is_over)
		cond_wait(&o->over, &o->lock);
	lock_drop(&o->lock);
	cond_release(&o->over);
	lock_release(&o->lock);
	return rc ? rc : o->rc;
}

static inline int create(struct fixture *f, int64_t user, struct ruleset_change change,
			 struct outcome *o)
{
	outcome_init(o, f, f->arena);
	return outcome_wait(o, ruleset_create(f->w->svc, user, &change, changed, o, &o->err));
}

static inline int update(struct fixture *f, int64_t user, int64_t id, struct ruleset_change change,
			 struct outcome *o)
{
	outcome_init(o, f, f->arena);
	return outcome_wait(o, ruleset_update(f->w->svc, user, id, &change, changed, o, &o->err));
}

static inline int delete (struct fixture *f, int64_t user, int64_t id, struct outcome *o)
{
	outcome_init(o, f, f->arena);
	return outcome_wait(o, ruleset_delete(f->w->svc, user, id, NULL, changed, o, &o->err));
}

static inline struct ruleset_change minimal(const char *name, const char *rules)
{
	return (struct ruleset_change){ .set = RULESET_NAME | RULESET_RULES,
					.name = str_of(name),
					.rules = str_of(rules) };
}

static inline struct ruleset_change enable(bool enabled)
{
	return (struct ruleset_change){ .set = RULESET_ENABLED, .enabled = enabled };
}

static inline struct ruleset make(struct fixture *f, const char *name, const char *rules,
				  bool enabled)
{
	struct ruleset_change change = minimal(name, rules);
	struct outcome o;

	change.set |= RULESET_ENABLED;
	change.enabled = enabled;
	CHECK_OK(create(f, f->ann, change, &o), &o.err);
	return o.r;
}

static inline struct str rows(struct fixture *f, const char *text)
{
	struct buf out = BUF_INIT(1 << 20);
	struct str s = arena_str(f->arena, world_rows(f->w, text, &out));

	buf_release(&out);
	return s;
}

static const char GENERATIONS[] = "SELECT number || ' ' || change || ' ' || ruleset_version FROM "
				  "generation ORDER BY number";

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#endif
