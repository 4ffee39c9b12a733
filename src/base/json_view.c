#include "base/json_view.h"

#include "base/hex.h"
#include "base/utf8.h"

/* A reader over the text; `at` never passes n. */
struct view {
	const char *p;
	size_t n;
	size_t at;
	unsigned depth;
	bool too_deep;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char peek(const struct view *v)
{
	return v->at < v->n ? v->p[v->at] : '\0';
}

static void skip_blanks(struct view *v)
{
	while (v->at < v->n && is_blank(v->p[v->at]))
		v->at++;
}

static bool take(struct view *v, char c)
{
	if (v->at >= v->n || v->p[v->at] != c)
		return false;
	v->at++;
	return true;
}

static bool take_word(struct view *v, struct str word)
{
	if (v->n - v->at < word.n || memcmp(v->p + v->at, word.p, word.n) != 0)
		return false;
	v->at += word.n;
	return true;
}

static bool take_digits(struct view *v)
{
	size_t start = v->at;

	while (v->at < v->n && is_digit(v->p[v->at]))
		v->at++;
	return v->at > start;
}

static bool take_number(struct view *v)
{
	(void)take(v, '-');
	if (!take(v, '0') && !take_digits(v))
		return false;
	if (take(v, '.') && !take_digits(v))
		return false;
	if (take(v, 'e') || take(v, 'E')) {
		if (!take(v, '+'))
			(void)take(v, '-');
		return take_digits(v);
	}
	return true;
}

static bool take_escape(struct view *v)
{
	static const char simple[] = "\"\\/bfnrt";

	if (v->at < v->n && memchr(simple, v->p[v->at], sizeof simple - 1) != NULL) {
		v->at++;
		return true;
	}
	if (!take(v, 'u') || v->n - v->at < 4)
		return false;
	uint8_t unit[2];

	if (!hex_decode(str_make(v->p + v->at, 4), unit, sizeof unit))
		return false;
	v->at += 4;
	return true;
}

/* The opening quote was taken. */
static bool take_rest_of_string(struct view *v)
{
	while (v->at < v->n) {
		char c = v->p[v->at++];

		if (c == '"')
			return true;
		if ((uint8_t)c < 0x20 || (c == '\\' && !take_escape(v)))
			return false;
	}
	return false;
}

static bool take_value(struct view *v);

static bool take_member(struct view *v)
{
	skip_blanks(v);
	if (!take(v, '"') || !take_rest_of_string(v))
		return false;
	skip_blanks(v);
	if (!take(v, ':'))
		return false;
	skip_blanks(v);
	return take_value(v);
}

static bool take_element(struct view *v)
{
	skip_blanks(v);
	return take_value(v);
}

/* The opening brace or bracket was taken. */
static bool take_rest_of_list(struct view *v, char end, bool (*take_one)(struct view *v))
{
	if (++v->depth > JSON_VIEW_DEPTH_MAX) {
		v->too_deep = true;
		return false;
	}
	skip_blanks(v);
	if (!take(v, end)) {
		do {
			if (!take_one(v))
				return false;
			skip_blanks(v);
		} while (take(v, ','));
		if (!take(v, end))
			return false;
	}
	v->depth--;
	return true;
}

static bool take_value(struct view *v)
{
	switch (peek(v)) {
	case '{':
		v->at++;
		return take_rest_of_list(v, '}', take_member);
	case '[':
		v->at++;
		return take_rest_of_list(v, ']', take_element);
	case '"':
		v->at++;
		return take_rest_of_string(v);
	case 't':
		return take_word(v, STR("true"));
	case 'f':
		return take_word(v, STR("false"));
	case 'n':
		return take_word(v, STR("null"));
	default:
		return take_number(v);
	}
}

int json_view_check(struct str text, struct err *err)
{
	struct view v = { .p = text.p, .n = text.n };

	if (take_value(&v) && v.at == v.n) {
		if (!utf8_valid(text))
			return err_set(err, ERR_CORRUPT, "JSON that is not UTF-8");
		return 0;
	}
	if (v.too_deep)
		return err_set(err, ERR_TOO_LARGE, "JSON nested deeper than %d levels",
			       JSON_VIEW_DEPTH_MAX);
	return err_set(err, ERR_CORRUPT, "not JSON at byte %zu", v.at);
}

struct str json_view_inside(struct str object)
{
	if (object.n < 2 || object.p[0] != '{')
		return STR("");
	return str_make(object.p + 1, object.n - 2);
}

bool json_view_member(struct str *at, struct str *ret_key, struct str *ret_value)
{
	struct view v = { .p = at->p, .n = at->n };

	skip_blanks(&v);
	if (!take(&v, '"'))
		return false;
	size_t key = v.at;

	if (!take_rest_of_string(&v))
		return false;
	size_t key_end = v.at - 1;

	skip_blanks(&v);
	if (!take(&v, ':'))
		return false;
	skip_blanks(&v);
	size_t value = v.at;

	if (!take_value(&v))
		return false;
	*ret_key = str_make(v.p + key, key_end - key);
	*ret_value = str_make(v.p + value, v.at - value);
	skip_blanks(&v);
	(void)take(&v, ',');
	*at = str_make(v.p + v.at, v.n - v.at);
	return true;
}

struct str json_view_find(struct str object, struct str key)
{
	struct str at = json_view_inside(object), name, value;

	while (json_view_member(&at, &name, &value)) {
		if (str_eq(name, key))
			return value;
	}
	return STR("");
}

/* The code unit of a \u escape whose four digits are at s. */
static uint32_t unit_at(const char *s)
{
	uint8_t unit[2] = { 0 };

	(void)hex_decode(str_make(s, 4), unit, sizeof unit);
	return (uint32_t)unit[0] << 8 | unit[1];
}

/* One \u escape, or two that make a surrogate pair, at v->at; 'u' is the next byte. */
static void put_unicode(struct view *v, struct buf *out)
{
	enum {
		REPLACEMENT = 0xfffd
	};
	uint32_t high = unit_at(v->p + v->at + 1), low;

	v->at += 5;
	if (high < 0xd800 || high > 0xdfff) {
		utf8_put(out, high);
		return;
	}
	if (high > 0xdbff || v->n - v->at < 6 || v->p[v->at] != '\\' || v->p[v->at + 1] != 'u') {
		utf8_put(out, REPLACEMENT);
		return;
	}
	low = unit_at(v->p + v->at + 2);
	if (low < 0xdc00 || low > 0xdfff) {
		utf8_put(out, REPLACEMENT);
		return;
	}
	v->at += 6;
	utf8_put(out, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
}

void json_view_text(struct str value, struct buf *out)
{
	static const char escapes[] = "bfnrt", meanings[] = "\b\f\n\r\t";

	if (value.n < 2 || value.p[0] != '"')
		return;
	struct view v = { .p = value.p, .n = value.n - 1, .at = 1 };

	while (v.at < v.n) {
		char c = v.p[v.at];

		if (c != '\\') {
			size_t start = v.at;

			while (v.at < v.n && v.p[v.at] != '\\')
				v.at++;
			buf_add(out, v.p + start, v.at - start);
			continue;
		}
		c = v.p[++v.at];
		if (c == 'u') {
			put_unicode(&v, out);
			continue;
		}
		const char *escape = memchr(escapes, c, sizeof escapes - 1);

		buf_add_c(out, escape != NULL ? meanings[escape - escapes] : c);
		v.at++;
	}
}
