#include "settings_internal.h"

#include "base/utf8.h"

enum {
	TOML_VALUE_MAX = 4096 /* the longest path */
};

/* What is left of one line. */
struct toml_line {
	struct str rest;
	struct buf *value;
};

static void skip_blanks(struct toml_line *l)
{
	while (l->rest.n && (*l->rest.p == ' ' || *l->rest.p == '\t'))
		l->rest = str_make(l->rest.p + 1, l->rest.n - 1);
}

static int take(struct toml_line *l)
{
	unsigned char c;

	if (!l->rest.n)
		return -1;
	c = (unsigned char)*l->rest.p;
	l->rest = str_make(l->rest.p + 1, l->rest.n - 1);
	return c;
}

static bool is_key_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

static struct str take_word(struct toml_line *l)
{
	struct str word = str_make(l->rest.p, 0);

	while (l->rest.n && is_key_byte(*l->rest.p)) {
		word.n++;
		take(l);
	}
	return word;
}

static int code_point(struct toml_line *l, unsigned digits, struct err *err)
{
	uint32_t cp = 0;

	for (unsigned i = 0; i < digits; i++) {
		int c = take(l);
		int v = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;

		if (v < 0)
			return err_set(err, ERR_INVALID, "\\u takes 4 hex digits, \\U 8");
		cp = cp << 4 | (uint32_t)v;
	}
	if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return err_set(err, ERR_INVALID, "no such character: U+%X", cp);
	utf8_put(l->value, cp);
	return 0;
}

static int escape(struct toml_line *l, struct err *err)
{
	static const char from[] = "btnfre\"\\", to[] = "\b\t\n\f\r\033\"\\";
	int c = take(l);
	const char *at;

	if (c == 'u')
		return code_point(l, 4, err);
	if (c == 'U')
		return code_point(l, 8, err);
	at = c > 0 && c != 'e' ? strchr(from, c) : NULL;
	if (!at)
		return err_set(err, ERR_INVALID,
			       "unknown escape in a text; a backslash itself is "
			       "written \\\\, or use 'single quotes'");
	buf_add_c(l->value, to[at - from]);
	return 0;
}

static int take_string(struct toml_line *l, struct err *err)
{
	int quote = take(l), c;

	if (l->rest.n >= 2 && l->rest.p[0] == quote && l->rest.p[1] == quote)
		return err_set(err, ERR_INVALID, "texts of several lines are not used here");
	while ((c = take(l)) != quote) {
		if (c < 0)
			return err_set(err, ERR_INVALID, "the text does not end in this line");
		if (c == '\\' && quote == '"')
			TRY(escape(l, err));
		else
			buf_add_c(l->value, (char)c);
	}
	return buf_check(l->value, "the text", err);
}

/* Digits, single underscores between them, no leading zero (TOML 1.0, Integer). */
static int take_integer(struct toml_line *l, struct str word, struct err *err)
{
	bool fine = word.n > 0 && !(word.n > 1 && word.p[0] == '0');
	char before = '_';

	for (size_t i = 0; i < word.n; i++) {
		char c = word.p[i];

		fine = fine && ((c >= '0' && c <= '9') || (c == '_' && before != '_'));
		if (c != '_')
			buf_add_c(l->value, c);
		before = c;
	}
	if (!fine || before == '_')
		return err_set(err, ERR_INVALID,
			       "a value is a \"text\", a number, true or false, not '" STR_FMT "'",
			       STR_ARG(word));
	return buf_check(l->value, "the number", err);
}

static int take_value(struct toml_line *l, enum toml_type *ret, struct err *err)
{
	struct str word;

	buf_reset(l->value);
	if (l->rest.n && (*l->rest.p == '"' || *l->rest.p == '\'')) {
		*ret = TOML_STRING;
		return take_string(l, err);
	}
	if (l->rest.n && (*l->rest.p == '[' || *l->rest.p == '{'))
		return err_set(err, ERR_INVALID, "lists and tables are not used here");
	word = take_word(l);
	if (str_eq_z(word, "true") || str_eq_z(word, "false")) {
		*ret = TOML_BOOLEAN;
		buf_add_str(l->value, word);
		return buf_check(l->value, "the value", err);
	}
	*ret = TOML_INTEGER;
	return take_integer(l, word, err);
}

static int check_bytes(struct str line, struct err *err)
{
	if (!utf8_valid(line))
		return err_set(err, ERR_INVALID, "the line is not UTF-8");
	for (size_t i = 0; i < line.n; i++) {
		if (((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
			return err_set(err, ERR_INVALID, "a control character");
	}
	return 0;
}

/* *ret_any false: nothing but a comment. */
static int read_line(struct toml_line *l, struct toml_entry *e, bool *ret_any, struct err *err)
{
	TRY(check_bytes(l->rest, err));
	skip_blanks(l);
	*ret_any = l->rest.n > 0 && *l->rest.p != '#';
	if (!*ret_any)
		return 0;
	if (*l->rest.p == '[')
		return err_set(err, ERR_INVALID, "tables are not used here: only 'name = value'");
	e->key = take_word(l);
	if (!e->key.n)
		return err_set(err, ERR_INVALID, "a line is 'name = value'");
	skip_blanks(l);
	if (take(l) != '=')
		return err_set(err, ERR_INVALID, "'=' is missing after '" STR_FMT "'",
			       STR_ARG(e->key));
	skip_blanks(l);
	TRY(take_value(l, &e->type, err));
	e->value = buf_str(l->value);
	skip_blanks(l);
	if (l->rest.n && *l->rest.p != '#')
		return err_set(err, ERR_INVALID, "there is more after the value of '" STR_FMT "'",
			       STR_ARG(e->key));
	return 0;
}

int toml_read(struct str text,
	      int (*each)(void *arg, const struct toml_entry *entry, struct err *err), void *arg,
	      unsigned *ret_line, struct err *err)
{
	AUTO(buf_release) struct buf value = BUF_INIT(TOML_VALUE_MAX);
	struct toml_entry e = { .line = 0 };
	struct str line;

	*ret_line = 0;
	while (str_split(&text, '\n', &line)) {
		struct toml_line l = { .rest = line, .value = &value };
		bool any;

		*ret_line = ++e.line;
		if (line.n && line.p[line.n - 1] == '\r')
			l.rest.n--;
		TRY(read_line(&l, &e, &any, err));
		if (any)
			TRY(each(arg, &e, err));
	}
	return 0;
}
