#include "livehunt.h"

#include <magic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "scan/scan.h"

/* ---- The plain program ---- */

struct plain {
	const struct bench *b;
	struct engine_rules *rules;
	bool whole;
	_Atomic size_t next;
	_Atomic uint64_t hits;
};

static void count_hit(const struct engine_hit *hit, void *arg)
{
	(void)hit;
	(*(uint64_t *)arg)++;
}

static void plain_identify(magic_t magic, struct hasher *hasher, const uint8_t *p, size_t n)
{
	struct hashes h;

	hasher_reset(hasher);
	hasher_add(hasher, p, n);
	hasher_end(hasher, &h);
	if (!magic_buffer(magic, p, n))
		die("libmagic", NULL);
}

static void plain_thread(void *arg)
{
	struct plain *p = arg;
	struct hasher *hasher = hasher_new();
	magic_t magic = magic_open(MAGIC_NONE);
	struct engine_scanner *scanner;
	uint8_t *buf = NULL;
	uint64_t hits = 0;
	size_t cap = 0, i;

	if (!magic || magic_load(magic, NULL) != 0)
		die("libmagic", NULL);
	if (engine_scanner_new(p->rules, &scanner) != ENGINE_OK)
		die(engine_last_error(), NULL);
	while ((i = atomic_fetch_add(&p->next, 1)) < p->b->corpus.n) {
		size_t n = read_whole(p->b->corpus.names[i], &buf, &cap);

		if (p->whole)
			plain_identify(magic, hasher, buf, n);
		if (engine_scanner_scan(scanner, buf, n, SCAN_MATCHES_MAX, count_hit, &hits) !=
		    ENGINE_OK)
			die(engine_last_error(), NULL);
	}
	atomic_fetch_add(&p->hits, hits);
	engine_scanner_free(scanner);
	magic_close(magic);
	hasher_free(hasher);
	free(buf);
}

int64_t plain_pass(const struct bench *b, struct engine_rules *rules, bool whole, uint64_t *hits)
{
	struct plain p = { .b = b, .rules = rules, .whole = whole };
	struct thread *threads = mem_must_zalloc(b->threads * sizeof *threads);
	int64_t start = now_us(), us;
	struct err err;

	for (unsigned i = 0; i < b->threads; i++)
		must(thread_start(&threads[i], "plain", plain_thread, &p, &err), "thread", &err);
	for (unsigned i = 0; i < b->threads; i++)
		thread_join(&threads[i]);
	us = now_us() - start;
	*hits = p.hits;
	free(threads);
	return us;
}

struct engine_rules *plain_compile(const struct bench *b)
{
	const struct engine_compile_options options = { .entity = ENGINE_FILE };
	struct engine_compiler *compiler;
	struct engine_buffer bytes;
	struct engine_rules *rules, *loaded;
	uint8_t *buf = NULL;
	size_t cap = 0;

	if (engine_compiler_new(&options, &compiler) != ENGINE_OK)
		die(engine_last_error(), NULL);
	for (size_t i = 0; i < b->rules.n; i++) {
		size_t n = read_whole(b->rules.names[i], &buf, &cap);
		char ns[32];
		int ns_len = snprintf(ns, sizeof ns, "r%zu", i);

		if (engine_compiler_add(compiler, ns, (size_t)ns_len, (const char *)buf, n) !=
		    ENGINE_OK)
			die(b->rules.names[i], NULL);
	}
	if (engine_compiler_build(compiler, &rules) != ENGINE_OK ||
	    engine_rules_serialize(rules, &bytes) != ENGINE_OK ||
	    engine_rules_load(bytes.data, bytes.len, &loaded) != ENGINE_OK)
		die(engine_last_error(), NULL);
	engine_compiler_free(compiler);
	engine_rules_free(rules);
	engine_buffer_free(&bytes);
	free(buf);
	return loaded;
}
