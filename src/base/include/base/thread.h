#ifndef BASE_THREAD_H
#define BASE_THREAD_H
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/*
 * Checked by Clang. GUARDED_BY is for variables of a file: in C it cannot name
 * another member of the same struct, where a comment says it instead.
 */
#if defined(__clang__)
#define CAPABILITY(x) __attribute__((capability(x)))
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#define MUST_HOLD(...) __attribute__((requires_capability(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define NO_LOCK_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define CAPABILITY(x)
#define GUARDED_BY(x)
#define MUST_HOLD(...)
#define ACQUIRES(...)
#define RELEASES(...)
#define NO_LOCK_ANALYSIS
#endif

/*
 * Locks have a rank (locks.def): a thread may only take a lock of a higher rank
 * than those it holds. Checked in debug builds.
 */
enum lock_rank {
	LOCK_RANK_NONE,
#define LOCK(name, text) LOCK_##name,
#include "base/locks.def"
#undef LOCK
};

struct CAPABILITY("mutex") lock {
	pthread_mutex_t m;
	enum lock_rank rank;
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_release(struct lock *l);
void lock_take(struct lock *l) ACQUIRES(l);
void lock_drop(struct lock *l) RELEASES(l);

struct cond {
	pthread_cond_t c; /* on the monotonic clock */
};
void cond_init(struct cond *c);
void cond_release(struct cond *c);
void cond_wait(struct cond *c, struct lock *l) MUST_HOLD(l);
/* false: the time was up. */
bool cond_wait_ms(struct cond *c, struct lock *l, uint32_t ms) MUST_HOLD(l);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

struct thread {
	pthread_t t;
	bool started;
};
/*
 * `name` at most 15 bytes. Signals sent from outside are blocked in the new
 * thread; those of its own faults (SIGSEGV, SIGBUS, ...) stay deliverable.
 */
MUST_USE int thread_start(struct thread *t, const char *name, void (*run)(void *arg), void *arg,
			  struct err *err);
void thread_join(struct thread *t); /* fine if it never started */
#endif
