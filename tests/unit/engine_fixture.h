#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H
/* Shared by the tests of the engine: compile, build, scan, compare. */
#include "engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct engine_compile_options file_options = { .entity = ENGINE_FILE,
							    .warnings_max = 100 };

static inline struct engine_compiler *compiler(const struct engine_compile_options *options)
{
	struct engine_compiler *c = NULL;

	assert_int_equal(engine_compiler_new(options, &c), ENGINE_OK);
	return c;
}

static inline enum engine_result add(struct engine_compiler *c, const char *ns, const char *source)
{
	return engine_compiler_add(c, ns, strlen(ns), source, strlen(source));
}

static inline struct engine_rules *built(struct engine_compiler *c)
{
	struct engine_rules *rules = NULL;

	assert_int_equal(engine_compiler_build(c, &rules), ENGINE_OK);
	engine_compiler_free(c);
	return rules;
}

static inline struct engine_rules *compiled(const char *source)
{
	struct engine_compiler *c = compiler(&file_options);

	if (add(c, "test", source) != ENGINE_OK)
		fail_msg("%s\n%s", engine_last_error(), source);
	return built(c);
}

/* A scanner that outlives its rules: the engine keeps them. */
static inline struct engine_scanner *scanner(const char *source)
{
	struct engine_rules *rules = compiled(source);
	struct engine_scanner *s = NULL;

	assert_int_equal(engine_scanner_new(rules, &s), ENGINE_OK);
	engine_rules_free(rules);
	return s;
}

enum {
	HITS_MAX = 256,
	MATCHES_MAX = 64
};

struct hits {
	size_t count;
	uint32_t index[HITS_MAX];
	struct engine_match matches[MATCHES_MAX]; /* of the last hit */
	size_t match_count;
	bool cut;
};

static inline void on_hit(const struct engine_hit *hit, void *arg)
{
	struct hits *hits = arg;

	assert_in_range(hits->count, 0, HITS_MAX - 1);
	hits->index[hits->count++] = hit->rule_index;
	hits->match_count = hit->match_count;
	hits->cut = hit->matches_cut;
	for (size_t i = 0; i < hit->match_count && i < MATCHES_MAX; i++)
		hits->matches[i] = hit->matches[i];
}

static inline enum engine_result scan(struct engine_scanner *s, const char *data, size_t len,
				      size_t matches_max, struct hits *hits)
{
	memset(hits, 0, sizeof *hits);
	return engine_scanner_scan(s, (const uint8_t *)data, len, matches_max, on_hit, hits);
}

/* How many rules hit. */
static inline size_t hit_count(struct engine_scanner *s, const char *data)
{
	struct hits hits;

	assert_int_equal(scan(s, data, strlen(data), 10, &hits), ENGINE_OK);
	return hits.count;
}

/* The messages as a terminated string; release with free. */
static inline char *messages(const struct engine_compiler *c)
{
	struct engine_buffer buf = { 0 };
	char *text;

	assert_int_equal(engine_compiler_messages(c, &buf), ENGINE_OK);
	text = malloc(buf.len + 1);
	assert_non_null(text);
	memcpy(text, buf.data, buf.len);
	text[buf.len] = '\0';
	engine_buffer_free(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
	return text;
}

static inline void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no\n  %s\nin\n  %s", part, text);
}

#endif
