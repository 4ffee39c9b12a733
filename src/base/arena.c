#include "base/arena.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	ARENA_ALIGN = 16,             /* enough for max_align_t */
	ARENA_CHUNK_FIRST = 8 * 1024, /* most requests stay within it */
	ARENA_CHUNK_MAX = 256 * 1024, /* chunks double up to here */
	ARENA_MAGIC = 0x61726e61,     /* while alive */
	SPARES_MAX = 4,               /* first chunks that a thread keeps */
};

struct arena_chunk {
	struct arena_chunk *next;
	size_t bytes;
	size_t used;
	_Alignas(ARENA_ALIGN) char data[];
};

struct arena_cleanup {
	struct arena_cleanup *next;
	void (*fn)(void *arg);
	void *arg;
};

struct arena {
	uint32_t magic;
	const char *name;
	size_t max;
	size_t handed_out;
	size_t chunk_next;              /* size of the next chunk */
	struct arena_chunk *chunks;     /* the first one is being filled */
	struct arena_cleanup *cleanups; /* last one first */
};

/*
 * First chunks that arenas of this thread gave back, all zero: one request follows
 * the other, and making them anew, zeroed, costs more than what is done in them.
 */
struct spares {
	struct arena_chunk *chunks[SPARES_MAX];
	unsigned n;
	bool known; /* they are freed with the thread */
};
static _Thread_local struct spares spares;
static pthread_key_t spares_key;
static pthread_once_t spares_once = PTHREAD_ONCE_INIT;

static void spares_free(void *arg)
{
	struct spares *s = arg;

	while (s->n > 0)
		free(s->chunks[--s->n]);
	s->known = false;
}

static void spares_key_make(void)
{
	REQUIRE(pthread_key_create(&spares_key, spares_free) == 0);
}

/* false: there are enough. */
static bool spare_keep(struct arena_chunk *c)
{
	struct spares *s = &spares;

	if (WEIR_ARENA_MALLOC || c->bytes != ARENA_CHUNK_FIRST || s->n == SPARES_MAX)
		return false;
	if (!s->known) {
		pthread_once(&spares_once, spares_key_make);
		if (pthread_setspecific(spares_key, s) != 0)
			return false;
		s->known = true;
	}
	memset(c->data, 0, c->used);
	c->used = 0;
	s->chunks[s->n++] = c;
	return true;
}

static struct arena_chunk *spare_take(size_t bytes)
{
	struct spares *s = &spares;

	return bytes == ARENA_CHUNK_FIRST && s->n > 0 ? s->chunks[--s->n] : NULL;
}

struct arena *arena_new(const char *name, size_t max)
{
	struct arena *a = mem_must_zalloc(sizeof *a);

	REQUIRE(name != NULL);
	REQUIRE(max < SIZE_MAX / 2);
	a->magic = ARENA_MAGIC;
	a->name = name;
	a->max = max;
	a->chunk_next = ARENA_CHUNK_FIRST;
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	REQUIRE(a->magic == ARENA_MAGIC);
	while (a->cleanups) {
		struct arena_cleanup *c = a->cleanups;

		a->cleanups = c->next;
		c->fn(c->arg);
		free(c);
	}
	while (a->chunks) {
		struct arena_chunk *c = a->chunks;

		a->chunks = c->next;
		if (!spare_keep(c))
			free(c);
	}
	a->magic = 0;
	free(a);
}

void arena_drop(struct arena **a)
{
	arena_free(*a);
	*a = NULL;
}

static struct arena_chunk *chunk_new(size_t bytes)
{
	struct arena_chunk *c = spare_take(bytes);

	if (c)
		return c;
	c = calloc(1, sizeof *c + bytes);
	if (c)
		c->bytes = bytes;
	return c;
}

static void *arena_take(struct arena *a, size_t bytes, size_t rounded)
{
	struct arena_chunk *c;
	void *p;

	if (WEIR_ARENA_MALLOC || rounded > ARENA_CHUNK_MAX / 4) {
		/* Its own chunk, of the exact size; behind the one being filled. */
		c = chunk_new(bytes);
		if (!c)
			return NULL;
		c->used = bytes;
		if (a->chunks) {
			c->next = a->chunks->next;
			a->chunks->next = c;
		} else {
			a->chunks = c;
		}
		return c->data;
	}
	c = a->chunks;
	if (!c || c->bytes < rounded || c->used > c->bytes - rounded) {
		while (a->chunk_next < rounded)
			a->chunk_next *= 2;
		c = chunk_new(a->chunk_next);
		if (!c)
			return NULL;
		if (a->chunk_next < ARENA_CHUNK_MAX)
			a->chunk_next *= 2;
		c->next = a->chunks;
		a->chunks = c;
	}
	p = c->data + c->used;
	c->used += rounded;
	return p;
}

void *arena_try(struct arena *a, size_t bytes)
{
	size_t rounded;
	void *p;

	REQUIRE(a->magic == ARENA_MAGIC);
	if (bytes > a->max)
		return NULL;
	rounded = bytes == 0 ? ARENA_ALIGN : (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (bytes > a->max - a->handed_out)
		return NULL;
	p = arena_take(a, bytes, rounded);
	if (p)
		a->handed_out += bytes;
	return p;
}

void *arena_must(struct arena *a, size_t bytes)
{
	void *p = arena_try(a, bytes);

	if (!p) {
		fprintf(stderr, "weir: arena '%s': %zu bytes more than its %zu\n", a->name, bytes,
			a->max);
		abort();
	}
	return p;
}

struct str arena_str(struct arena *a, struct str s)
{
	char *copy = arena_must(a, s.n + 1);

	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	return str_make(copy, s.n);
}

bool arena_keep(struct arena *a, struct str *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *copy = arena_try(a, texts[i]->n + 1);

		if (!copy)
			return false;
		if (texts[i]->n)
			memcpy(copy, texts[i]->p, texts[i]->n);
		texts[i]->p = copy;
	}
	return true;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	REQUIRE(n >= 0);
	text = arena_must(a, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return text;
}

void arena_on_free(struct arena *a, void (*fn)(void *arg), void *arg)
{
	struct arena_cleanup *c = mem_must_zalloc(sizeof *c);

	REQUIRE(a->magic == ARENA_MAGIC);
	c->fn = fn;
	c->arg = arg;
	c->next = a->cleanups;
	a->cleanups = c;
}

size_t arena_bytes(const struct arena *a)
{
	return a->handed_out;
}
