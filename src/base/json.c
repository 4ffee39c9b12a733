#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void json_init(struct json *j, struct buf *out)
{
	*j = (struct json){ .out = out };
}

/* What stands before any value: a comma, or nothing after a key. */
static void json_before_value(struct json *j)
{
	if (j->depth > 0 && j->nest[j->depth - 1] == '{')
		REQUIRE(j->after_key);
	else if (j->depth == 0)
		REQUIRE(!j->need_comma); /* one value a document */
	else if (j->need_comma)
		buf_add_c(j->out, ',');
	j->after_key = false;
	j->need_comma = true;
}

static void json_open(struct json *j, char bracket)
{
	REQUIRE(j->depth < JSON_DEPTH_MAX);
	json_before_value(j);
	j->nest[j->depth++] = bracket;
	j->need_comma = false;
	buf_add_c(j->out, bracket);
}

static void json_close(struct json *j, char open, char close)
{
	REQUIRE(j->depth > 0 && j->nest[j->depth - 1] == open);
	REQUIRE(!j->after_key);
	j->depth--;
	j->need_comma = true;
	buf_add_c(j->out, close);
}

void json_obj(struct json *j)
{
	json_open(j, '{');
}

void json_obj_end(struct json *j)
{
	json_close(j, '{', '}');
}

void json_arr(struct json *j)
{
	json_open(j, '[');
}

void json_arr_end(struct json *j)
{
	json_close(j, '[', ']');
}

void json_key(struct json *j, const char *key)
{
	REQUIRE(j->depth > 0 && j->nest[j->depth - 1] == '{');
	REQUIRE(!j->after_key);
	if (j->need_comma)
		buf_add_c(j->out, ',');
	json_escape(j->out, str_of(key));
	buf_add_c(j->out, ':');
	j->after_key = true;
}

void json_str(struct json *j, struct str s)
{
	json_before_value(j);
	json_escape(j->out, s);
}

void json_z(struct json *j, const char *z)
{
	if (z)
		json_str(j, str_of(z));
	else
		json_put_null(j);
}

void json_i64(struct json *j, int64_t v)
{
	json_before_value(j);
	buf_add_i64(j->out, v);
}

void json_u64(struct json *j, uint64_t v)
{
	json_before_value(j);
	buf_add_u64(j->out, v);
}

/*
 * Whole numbers keep their ".0", so that a typed reader sees the same kind of
 * number every time: 62.06203, then 100.0.
 */
void json_f64(struct json *j, double v)
{
	char text[40];
	char *plus;

	if (!isfinite(v)) {
		json_put_null(j);
		return;
	}
	json_before_value(j);
	if (fabs(v) < 1e15 && floor(v) >= v) {
		buf_addf(j->out, "%.1f", v);
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, v);
		/* Equal, said so that -Wfloat-equal and NaN have no part in it. */
		if (strtod(text, NULL) <= v && strtod(text, NULL) >= v)
			break;
	}
	plus = strchr(text, '+');
	if (plus)
		memmove(plus, plus + 1, strlen(plus));
	buf_add_z(j->out, text);
}

void json_bool(struct json *j, bool v)
{
	json_before_value(j);
	buf_add_z(j->out, v ? "true" : "false");
}

void json_put_null(struct json *j)
{
	json_before_value(j);
	buf_add_z(j->out, "null");
}

void json_raw(struct json *j, struct str value)
{
	REQUIRE(value.n > 0);
	json_before_value(j);
	buf_add_str(j->out, value);
}

void json_raw_members(struct json *j, struct str members)
{
	REQUIRE(j->depth > 0 && j->nest[j->depth - 1] == '{');
	REQUIRE(!j->after_key);
	if (members.n == 0)
		return;
	if (j->need_comma)
		buf_add_c(j->out, ',');
	buf_add_str(j->out, members);
	j->need_comma = true;
}

void json_end(struct json *j)
{
	REQUIRE(j->depth == 0);
	REQUIRE(j->need_comma); /* a value was written */
}

void json_kv_str(struct json *j, const char *key, struct str s)
{
	json_key(j, key);
	json_str(j, s);
}

void json_kv_z(struct json *j, const char *key, const char *z)
{
	json_key(j, key);
	json_z(j, z);
}

void json_kv_i64(struct json *j, const char *key, int64_t v)
{
	json_key(j, key);
	json_i64(j, v);
}

void json_kv_bool(struct json *j, const char *key, bool v)
{
	json_key(j, key);
	json_bool(j, v);
}

/* The letter after the backslash, or 0 where the byte stands for itself. */
static char json_short_escape(uint8_t c)
{
	switch (c) {
	case '"':
	case '\\':
		return (char)c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

static void json_escape_byte(struct buf *out, uint8_t c)
{
	char letter = json_short_escape(c);

	if (letter) {
		buf_add_c(out, '\\');
		buf_add_c(out, letter);
	} else if (c < 0x20) {
		buf_addf(out, "\\u%04x", c);
	} else {
		buf_add_z(out, "\xef\xbf\xbd"); /* a byte that is no UTF-8 */
	}
}

/* The top bit of each byte of x that is 0; of bytes behind the first such one perhaps too. */
static uint64_t zero_bytes(uint64_t x)
{
	return (x - 0x0101010101010101u) & ~x & 0x8080808080808080u;
}

/* How many bytes at the begin stand for themselves, counted in eights while it lasts. */
static size_t plain_eights(struct str s)
{
	size_t i = 0;

	for (; s.n - i >= 8; i += 8) {
		uint64_t x, odd;

		memcpy(&x, s.p + i, sizeof x);
		odd = x & 0x8080808080808080u;
		odd |= zero_bytes(x ^ 0x2222222222222222u);                  /* the quote */
		odd |= zero_bytes(x ^ 0x5c5c5c5c5c5c5c5cu);                  /* the backslash */
		odd |= (x - 0x2020202020202020u) & ~x & 0x8080808080808080u; /* below the blank */
		if (odd)
			break;
	}
	return i;
}

/* false: something has to be written otherwise. */
static bool is_plain(struct str s)
{
	for (size_t i = plain_eights(s); i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if (c >= 0x80 || c < 0x20 || c == '"' || c == '\\')
			return false;
	}
	return true;
}

static void json_escape_slow(struct buf *out, struct str s)
{
	size_t plain = 0; /* start of what can be copied as it is */
	size_t i = plain_eights(s);

	while (i < s.n) {
		uint8_t c = (uint8_t)s.p[i];
		uint32_t cp;
		size_t len = 1;

		if (c >= 0x80)
			len = utf8_next(str_make(s.p + i, s.n - i), &cp);
		else if (c < 0x20 || c == '"' || c == '\\')
			len = 0;
		if (len > 0) {
			i += len;
			continue;
		}
		buf_add(out, s.p + plain, i - plain);
		json_escape_byte(out, c);
		plain = ++i;
	}
	if (plain < s.n)
		buf_add(out, s.p + plain, s.n - plain);
}

void json_escape(struct buf *out, struct str s)
{
	char *to;

	if (!is_plain(s)) {
		buf_add_c(out, '"');
		json_escape_slow(out, s);
		buf_add_c(out, '"');
		return;
	}
	to = buf_reserve(out, s.n + 2);
	if (!to)
		return;
	to[0] = '"';
	if (s.n > 0)
		memcpy(to + 1, s.p, s.n);
	to[s.n + 1] = '"';
	out->n += s.n + 2;
}
