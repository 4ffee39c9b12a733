#include "filter_internal.h"
#include "base/utf8.h"

int filter_alloc(struct arena *arena, size_t bytes, void **ret, struct err *err)
{
	*ret = arena_try(arena, bytes);
	if (!*ret)
		return err_set(err, ERR_NO_MEMORY, "no memory for a filter");
	return 0;
}

int(lexer_fail)(const struct lexer *lx, size_t at, struct err *err, const char *fmt, ...)
{
	char text[400];
	size_t character = 1;
	va_list ap;

	/* Characters, not bytes: what the writer of the filter counts. */
	for (size_t i = 0; i < at && i < lx->text.n; i++)
		if (((unsigned char)lx->text.p[i] & 0xc0) != 0x80)
			character++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return err_set(err, ERR_INVALID, "filter, character %zu: %s", character, text);
}

/* Bytes of a blank at pos: ASCII white space, or the no-break space of web pages. */
static size_t blank_at(struct str s, size_t pos)
{
	if (pos >= s.n)
		return 0;
	if (s.p[pos] == ' ' || (s.p[pos] >= '\t' && s.p[pos] <= '\r'))
		return 1;
	return pos + 1 < s.n && s.p[pos] == '\xc2' && s.p[pos + 1] == '\xa0' ? 2 : 0;
}

/* Bytes of a quote at pos and its family: '"' or '\''. U+2018 to U+201F are quotes too. */
static size_t quote_at(struct str s, size_t pos, char *ret_family)
{
	if (pos >= s.n)
		return 0;
	if (s.p[pos] == '"' || s.p[pos] == '\'') {
		*ret_family = s.p[pos];
		return 1;
	}
	if (pos + 2 < s.n && s.p[pos] == '\xe2' && s.p[pos + 1] == '\x80' &&
	    ((unsigned char)s.p[pos + 2] & 0xf8) == 0x98) {
		*ret_family = (unsigned char)s.p[pos + 2] < 0x9c ? '\'' : '"';
		return 3;
	}
	return 0;
}

static bool word_ends(struct str s, size_t pos)
{
	char family;

	return pos >= s.n || s.p[pos] == '(' || s.p[pos] == ')' || blank_at(s, pos) ||
	       quote_at(s, pos, &family);
}

static int lex_quoted(struct lexer *lx, struct str *ret, struct err *err)
{
	struct str s = lx->text;
	size_t start = lx->pos;
	char family = 0, end = 0;
	size_t n = 0;
	void *mem;
	char *out;

	lx->pos += quote_at(s, lx->pos, &family);
	TRY(filter_alloc(lx->arena, s.n - lx->pos + 1, &mem, err));
	out = mem;
	for (;;) {
		if (lx->pos >= s.n)
			return lexer_fail(lx, start, err,
					  "the quote that opens here is not closed");
		size_t q = quote_at(s, lx->pos, &end);
		if (q && end == family) {
			lx->pos += q;
			break;
		}
		char c = s.p[lx->pos++];
		if (c == '\\') {
			if (lx->pos >= s.n)
				return lexer_fail(lx, start, err,
						  "the quote that opens here is not closed");
			c = s.p[lx->pos++];
		} else if (c == '*') {
			c = FILTER_STAR;
		}
		out[n++] = c;
	}
	*ret = (struct str){ out, n };
	return 0;
}

static int lex_word(struct lexer *lx, struct str *ret, struct err *err)
{
	size_t start = lx->pos;
	void *mem;
	char *out;

	while (!word_ends(lx->text, lx->pos))
		lx->pos++;
	TRY(filter_alloc(lx->arena, lx->pos - start + 1, &mem, err));
	out = mem;
	for (size_t i = start; i < lx->pos; i++)
		out[i - start] = lx->text.p[i] == '*' ? FILTER_STAR : lx->text.p[i];
	*ret = (struct str){ out, lx->pos - start };
	return 0;
}

/*
 * Bytes of "key:" at pos, or 0. What cannot be a key, or is followed by "//" or
 * another ':' (a URL, an IPv6 address), is text.
 */
static size_t key_at(struct str s, size_t pos)
{
	size_t i = pos;

	while (i < s.n && ((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
			   s.p[i] == '_' || (i > pos && s.p[i] >= '0' && s.p[i] <= '9')))
		i++;
	if (i == pos || i >= s.n || s.p[i] != ':')
		return 0;
	if (i + 1 < s.n && s.p[i + 1] == ':')
		return 0;
	if (i + 2 < s.n && s.p[i + 1] == '/' && s.p[i + 2] == '/')
		return 0;
	return i + 1 - pos;
}

/* A sign right after a closing quote belongs to the value: date:"2023-02-07"+ */
static int lex_sign(struct lexer *lx, struct str *value, struct err *err)
{
	char c = lx->pos < lx->text.n ? lx->text.p[lx->pos] : 0;
	void *mem;

	if ((c != '+' && c != '-') || !word_ends(lx->text, lx->pos + 1))
		return 0;
	lx->pos++;
	TRY(filter_alloc(lx->arena, value->n + 1, &mem, err));
	memcpy(mem, value->p, value->n);
	((char *)mem)[value->n] = c;
	*value = (struct str){ mem, value->n + 1 };
	return 0;
}

static int lex_term(struct lexer *lx, struct token *ret, struct err *err)
{
	size_t key = key_at(lx->text, lx->pos);
	char family;

	if (key) {
		ret->key = (struct str){ lx->text.p + lx->pos, key - 1 };
		lx->pos += key;
	}
	ret->value_at = lx->pos;
	if (quote_at(lx->text, lx->pos, &family)) {
		TRY(lex_quoted(lx, &ret->value, err));
		if (key)
			TRY(lex_sign(lx, &ret->value, err));
	} else {
		TRY(lex_word(lx, &ret->value, err));
	}
	if (ret->value.n > 0)
		return 0;
	if (key)
		return lexer_fail(lx, ret->value_at, err, "expected a value after \"" STR_FMT ":\"",
				  STR_ARG(utf8_cut(ret->key, 64)));
	return lexer_fail(lx, ret->value_at, err, "expected text between the quotes");
}

int lexer_next(struct lexer *lx, struct token *ret, struct err *err)
{
	struct str s = lx->text;
	size_t blank;

	while ((blank = blank_at(s, lx->pos)) > 0)
		lx->pos += blank;
	*ret = (struct token){ .kind = TOKEN_END, .at = lx->pos };
	if (lx->pos >= s.n)
		return 0;
	if (s.p[lx->pos] == '(' || s.p[lx->pos] == ')') {
		ret->kind = s.p[lx->pos++] == '(' ? TOKEN_OPEN : TOKEN_CLOSE;
		return 0;
	}
	static const struct {
		struct str word;
		enum token_kind kind;
	} operators[] = {
		{ { "and", 3 }, TOKEN_AND },
		{ { "or", 2 }, TOKEN_OR },
		{ { "not", 3 }, TOKEN_NOT },
	};
	for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
		size_t n = operators[i].word.n;

		if (lx->pos + n <= s.n && word_ends(s, lx->pos + n) &&
		    str_eq_nocase(str_make(s.p + lx->pos, n), operators[i].word)) {
			lx->pos += n;
			ret->kind = operators[i].kind;
			return 0;
		}
	}
	ret->kind = TOKEN_TERM;
	return lex_term(lx, ret, err);
}
