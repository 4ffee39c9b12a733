#include "rulesets_world.h"

#include <stdio.h>

#include "liveset.h"

/* Rulesets that compile one by one but are too much together must not stop hunting. */

/* A ruleset of this much text, most of it comment; `name` is its rule. */
static char *padded(const char *name, size_t bytes)
{
	char *text = mem_must_zalloc(bytes + 1);
	int n = snprintf(text, bytes, "rule %s { condition: filesize > 0 } /*", name);

	memset(text + n, ' ', bytes - (size_t)n);
	memcpy(text + bytes - 2, "*/", 2);
	return text;
}

/* Rules that take the compiler's memory. */
static char *heavy(unsigned count, unsigned seed)
{
	struct buf b = BUF_INIT(1 << 20);

	for (unsigned i = 0; i < count; i++)
		buf_addf(&b, "rule r%u{strings:$a=\"%08x%08x%08x%08x\" condition:$a}\n", i,
			 i * 2654435761u + seed, i * 40503u + seed, ~i, i ^ 0x5bd1e995u);
	assert_false(buf_failed(&b));
	return buf_steal(&b);
}

/* Hunting goes on with the newest generation; how many rulesets are in its set. */
static size_t sources_of_newest(struct fixture *f)
{
	struct live_set *set =
		liveset_take(f->w->svc, world_i64(f->w, "SELECT value FROM counter WHERE name = "
							"'generation'"));
	size_t n = 0;

	assert_non_null(set);
	for (unsigned slot = 0; slot < SCAN_SLOTS_LIVE; slot++)
		for (size_t i = 0; set->parts[slot] && i < set->parts[slot]->source_count; i++)
			n += live_set_counts(set, slot, (uint32_t)i);
	live_set_unref(set);
	return n;
}

/* Once no suspension is under way. */
static size_t settled(struct fixture *f)
{
	int64_t before, after;
	size_t n;

	do {
		before = world_i64(f->w, "SELECT max(number) FROM generation");
		n = sources_of_newest(f);
		after = world_i64(f->w, "SELECT max(number) FROM generation");
	} while (before != after ||
		 (int64_t)n != world_i64(f->w, "SELECT count(*) FROM ruleset WHERE enabled = 1 "
					       "AND suspended IS NULL"));
	return n;
}

static struct fixture *hunting(uint64_t live_text_max, uint64_t memory_max)
{
	struct fixture *f = fixture_new(0, memory_max);

	service_close(f->w->svc);
	f->w->options.workers = 1;
	if (live_text_max)
		f->w->options.live_text_max = live_text_max;
	world_open(f->w);
	return f;
}

static void more_text_than_is_compiled_together(void **state)
{
	struct fixture *f = hunting(400 * 1024, 0);
	char name[8];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		char *rules;

		snprintf(name, sizeof name, "n%u", i);
		rules = padded(name, 100 * 1024);
		make(f, name, rules, true);
		free(rules);
	}
	/* A start reads all at once: the first four stay. */
	service_close(f->w->svc);
	world_open(f->w);
	assert_int_equal(settled(f), 4);
	CHECK_ROW_STR("the newest went",
		      rows(f, "SELECT name FROM ruleset WHERE suspended IS NOT NULL ORDER BY name"),
		      STR("n4\nn5\n"));
	CHECK_ROW_STR(
		"and why",
		rows(f, "SELECT DISTINCT suspended FROM ruleset WHERE suspended IS NOT NULL"),
		STR("compiles by itself, but not together with all others that are enabled, of "
		    "which it is among the newest: their rules are more than 400 KB\n"));
	fixture_free(f);
}

/*
 * What a child takes before it compiles anything is most of this. Under a sanitizer a single
 * ruleset takes so much that no limit lies between one and a few.
 */
#define MEMORY_MAX (UINT64_C(96) << 20)

static void more_than_the_compilers_memory(void **state)
{
	enum {
		MANY = 60
	};
	struct fixture *f;
	unsigned i;

	(void)state;
	if (WEIR_SANITIZED)
		skip();
	f = hunting(0, MEMORY_MAX);
	make(f, "light", RULE_A, true);
	for (i = 0; i < MANY; i++) {
		char *rules = heavy(2500, i * 7919);

		make(f, "heavy", rules, true);
		free(rules);
		if (settled(f) < 2 + i)
			break;
	}
	assert_in_range(i, 1, MANY - 1);
	CHECK_ROW_STR("the oldest stays",
		      rows(f, "SELECT suspended IS NULL FROM ruleset WHERE name = 'light'"),
		      STR("1\n"));
	CHECK_ROW_STR("none that is older than one that stays",
		      rows(f, "SELECT count(*) FROM ruleset a JOIN ruleset b ON a.suspended IS NOT "
			      "NULL AND b.suspended IS NULL AND a.created_s < b.created_s"),
		      STR("0\n"));
	assert_non_null(strstr(rows(f, "SELECT suspended FROM ruleset WHERE suspended IS NOT NULL "
				       "LIMIT 1")
				       .p,
			       "memory limit"));
	fixture_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_text_than_is_compiled_together),
		cmocka_unit_test(more_than_the_compilers_memory),
	};

	WORLD_SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
