#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include "base/err.h"
#include "base/str.h"

/*
 * Memory with one lifetime: a request, a job, a scratch step. Freed at once.
 * Not for several threads at a time. Builds with WEIR_ARENA_MALLOC make each
 * allocation a separate malloc so that overruns inside an arena are seen.
 */
struct arena;

/* `name` must outlive the arena; `max` bounds the bytes handed out. */
struct arena *arena_new(const char *name, size_t max);
void arena_free(struct arena *a); /* NULL is fine; runs the clean-ups, last first */
void arena_drop(struct arena **a);
/* Zeroed, aligned for anything. NULL when over max. */
void *arena_try(struct arena *a, size_t bytes);
/* The same, for sizes our own code bounds: aborts when over max. */
void *arena_must(struct arena *a, size_t bytes) __attribute__((returns_nonnull));
struct str arena_str(struct arena *a, struct str s); /* copy, terminated; aborts over max */
/* Makes each text its copy in the arena; false when those are over max. */
bool arena_keep(struct arena *a, struct str *const *texts, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Call fn(arg) when the arena dies. */
void arena_on_free(struct arena *a, void (*fn)(void *arg), void *arg);
size_t arena_bytes(const struct arena *a);
#endif
