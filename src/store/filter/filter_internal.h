#ifndef FILTER_INTERNAL_H
#define FILTER_INTERNAL_H
#include "store/filter.h"

/* filter_lex.c: text to tokens. */
enum token_kind {
	TOKEN_END,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_AND,
	TOKEN_OR,
	TOKEN_NOT,
	TOKEN_TERM
};

struct token {
	enum token_kind kind;
	size_t at;        /* byte offset where it starts */
	struct str key;   /* TERM; p NULL: none */
	struct str value; /* TERM: decoded, FILTER_STAR for wildcards */
	size_t value_at;  /* byte offset */
};

struct lexer {
	struct str text;
	size_t pos;
	struct arena *arena;
};

MUST_USE int lexer_next(struct lexer *lx, struct token *ret, struct err *err);
/* ERR_INVALID: "filter, character N: …" for a byte offset. */
int lexer_fail(const struct lexer *lx, size_t at, struct err *err, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
#define lexer_fail(...) ERR_NEVER_0((lexer_fail)(__VA_ARGS__))
MUST_USE int filter_alloc(struct arena *arena, size_t bytes, void **ret, struct err *err);

/* filter_value.c: give the term its meaning. `at`: where its value stands. */
MUST_USE int filter_value_set(struct filter_node *node, struct str value, struct lexer *lx,
			      size_t at, const struct filter_schema *schema,
			      const struct filter_env *env, struct err *err);
#endif
