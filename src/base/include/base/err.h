#ifndef BASE_ERR_H
#define BASE_ERR_H
#include <stdbool.h>

/*
 * How functions fail: they return 0 or -kind and fill a struct err on the
 * caller's stack (NULL where the caller is not interested). No allocation.
 */
enum err_kind {
	ERR_NONE,
#define ERR_KIND(name, text) ERR_##name,
#include "base/err.def"
#undef ERR_KIND
	ERR_KIND_COUNT
};

struct err {
	enum err_kind kind;
	int sys;       /* errno where a system call failed, else 0 */
	char msg[512]; /* for operators; user text in it is quoted and escaped */
};

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Return early with the callee's failure; what is owned carries AUTO. */
#define TRY(call)                                                                                  \
	do {                                                                                       \
		int try_rc_ = (call);                                                              \
		if (try_rc_ != 0)                                                                  \
			return try_rc_;                                                            \
	} while (0)

/* `AUTO(drop_fn) struct x *x = …;` calls drop_fn(&x) when the scope ends. */
#define AUTO(fn) __attribute__((cleanup(fn)))

/* Move a pointer out: yields its value and leaves NULL behind. */
#define STEAL(p)                                                                                   \
	({                                                                                         \
		__typeof__(p) steal_ = (p);                                                        \
		(p) = NULL;                                                                        \
		steal_;                                                                            \
	})

/* Set kind and text; returns -kind, so `return err_set(err, ERR_INVALID, …)`. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * The same from errno: ENOSPC, EDQUOT -> NO_SPACE, ENOENT -> NOT_FOUND,
 * EEXIST -> EXISTS, ENOMEM -> NO_MEMORY, else IO.
 */
int err_sys(struct err *err, int sys, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put context in front of the text ("context: text"); kind stays. Returns -kind. */
int err_add(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* None of these returns 0; said so that analyzers know what TRY leaves behind. */
#define ERR_NEVER_0(call)                                                                          \
	({                                                                                         \
		int never_0_ = (call);                                                             \
		if (never_0_ == 0)                                                                 \
			__builtin_unreachable();                                                   \
		never_0_;                                                                          \
	})
#define err_set(...) ERR_NEVER_0((err_set)(__VA_ARGS__))
#define err_sys(...) ERR_NEVER_0((err_sys)(__VA_ARGS__))
#define err_add(...) ERR_NEVER_0((err_add)(__VA_ARGS__))

/* "INVALID", "NOT_FOUND", …: for logs. Static. */
const char *err_kind_name(enum err_kind kind);
const char *err_kind_text(enum err_kind kind);

/*
 * State what is true if our code is right. On in release too: a failure prints
 * place, condition and stack and aborts. Never for input, I/O or memory.
 */
#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			require_failed(#cond, __FILE__, __LINE__, __func__);                       \
	} while (0)
_Noreturn void require_failed(const char *cond, const char *file, int line, const char *func);
#endif
