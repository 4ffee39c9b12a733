#include "multipart_internal.h"
#include "http_internal.h"

enum state {
	STATE_PREAMBLE,
	STATE_BOUNDARY, /* after the delimiter: "--" or the line's end */
	STATE_DASH,     /* after one '-' */
	STATE_LINE_END, /* after '\r' */
	STATE_HEADERS,
	STATE_DATA,
	STATE_DONE, /* the epilogue is ignored */
};

struct multipart {
	struct arena *arena;
	const struct multipart_calls *calls;
	void *arg;
	enum state state;
	char delimiter[MULTIPART_BOUNDARY_MAX + 8]; /* "\r\n--boundary" */
	size_t delimiter_bytes;
	size_t matched; /* bytes of the delimiter seen at the end of earlier pieces */
	size_t lent;    /* of those, "\r\n" that ended a line before and is no data */
	unsigned parts;
	struct buf headers;
};

static struct str skip_blanks(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = str_make(s.p + 1, s.n - 1);
	return s;
}

/*
 * Cut one value off *rest: a quoted string, where a backslash escapes only a
 * quote or itself (browsers send "C:\dir\x" as it is), or everything up to ';'.
 * Into out if that is not NULL.
 */
static size_t value_cut(struct str *rest, char *out)
{
	size_t n = 0, i;

	if (rest->n == 0 || rest->p[0] != '"') {
		size_t end = str_find(*rest, ';');
		struct str token = str_trim(str_make(rest->p, end));

		*rest = str_make(rest->p + end, rest->n - end);
		if (out && token.n > 0)
			memcpy(out, token.p, token.n);
		return token.n;
	}
	for (i = 1; i < rest->n && rest->p[i] != '"'; i++) {
		if (rest->p[i] == '\\' && i + 1 < rest->n &&
		    (rest->p[i + 1] == '"' || rest->p[i + 1] == '\\'))
			i++;
		if (out)
			out[n] = rest->p[i];
		n++;
	}
	*rest = i < rest->n ? str_make(rest->p + i + 1, rest->n - i - 1) : str_make("", 0);
	return n;
}

struct str header_param(struct arena *a, struct str value, const char *name)
{
	struct str rest = value;

	for (;;) {
		size_t semicolon = str_find(rest, ';'), equals;
		struct str key;

		if (semicolon == rest.n)
			return (struct str){ NULL, 0 };
		rest = skip_blanks(str_make(rest.p + semicolon + 1, rest.n - semicolon - 1));
		equals = str_find(rest, '=');
		if (equals > str_find(rest, ';') || equals == rest.n)
			continue;
		key = str_trim(str_make(rest.p, equals));
		rest = skip_blanks(str_make(rest.p + equals + 1, rest.n - equals - 1));
		if (str_eq_nocase(key, str_of(name))) {
			char *out = arena_must(a, rest.n + 1);

			return str_make(out, value_cut(&rest, out));
		}
		value_cut(&rest, NULL);
	}
}

static void headers_free(void *buf)
{
	buf_release(buf);
}

struct multipart *multipart_new(struct arena *a, struct str content_type,
				const struct multipart_calls *calls, void *arg)
{
	struct str boundary = header_param(a, content_type, "boundary");
	struct multipart *m;

	if (boundary.n == 0 || boundary.n > MULTIPART_BOUNDARY_MAX ||
	    memchr(boundary.p, '\r', boundary.n))
		return NULL;
	m = arena_must(a, sizeof *m);
	m->arena = a;
	m->calls = calls;
	m->arg = arg;
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary.p, boundary.n);
	m->delimiter_bytes = boundary.n + 4;
	m->matched = m->lent = 2; /* the body's begin is the begin of a line */
	buf_init(&m->headers, MULTIPART_HEADER_BYTES_MAX);
	arena_on_free(a, headers_free, &m->headers);
	return m;
}

/* "utf-8'en'na%C3%AFve": the bytes after the second quote, decoded (RFC 8187). */
static struct str extended_value(struct arena *a, struct str s)
{
	char *out;
	size_t n;

	for (int i = 0; i < 2; i++) {
		size_t quote = str_find(s, '\'');

		if (quote == s.n)
			return (struct str){ NULL, 0 };
		s = str_make(s.p + quote + 1, s.n - quote - 1);
	}
	out = arena_must(a, s.n + 1);
	http_decode(s, false, out, &n);
	return str_make(out, n);
}

/* Cut to the maximum, terminated. false: it holds a NUL. */
static bool name_finish(struct arena *a, struct str *name)
{
	if (!name->p)
		return true;
	if (memchr(name->p, 0, name->n))
		return false;
	if (name->n > HTTP_NAME_BYTES_MAX)
		name->n = HTTP_NAME_BYTES_MAX;
	*name = arena_str(a, *name);
	return true;
}

static bool part_read(struct multipart *m, struct http_part *part)
{
	struct str rest = buf_str(&m->headers), line;
	bool disposed = false;

	*part = (struct http_part){ { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
	while (rest.n > 0 && str_split(&rest, '\n', &line)) {
		size_t colon = str_find(line, ':');
		struct str name = str_trim(str_make(line.p, colon)), value;

		if (colon == line.n)
			continue;
		value = str_trim(str_make(line.p + colon + 1, line.n - colon - 1));
		if (str_eq_nocase(name, STR("content-type"))) {
			part->content_type = value;
		} else if (str_eq_nocase(name, STR("content-disposition"))) {
			struct str extended = header_param(m->arena, value, "filename*");

			disposed = true;
			part->name = header_param(m->arena, value, "name");
			part->filename = header_param(m->arena, value, "filename");
			if (extended.p)
				extended = extended_value(m->arena, extended);
			if (extended.p)
				part->filename = extended;
		}
	}
	return disposed && name_finish(m->arena, &part->name) &&
	       name_finish(m->arena, &part->filename) && name_finish(m->arena, &part->content_type);
}

static bool headers_complete(const struct buf *b)
{
	if (b->n == 2)
		return memcmp(b->p, "\r\n", 2) == 0;
	return b->n >= 4 && memcmp(b->p + b->n - 4, "\r\n\r\n", 4) == 0;
}

/* Takes bytes up to the empty line; *used of them were taken. */
static enum multipart_result feed_headers(struct multipart *m, const char *p, size_t n,
					  size_t *used)
{
	struct http_part part;

	for (*used = 0; *used < n;) {
		const char *nl = memchr(p + *used, '\n', n - *used);
		size_t take = nl ? (size_t)(nl - p) + 1 - *used : n - *used;

		buf_add(&m->headers, p + *used, take);
		*used += take;
		if (buf_failed(&m->headers))
			return MULTIPART_MALFORMED;
		if (!nl || !headers_complete(&m->headers))
			continue;
		if (!part_read(m, &part))
			return MULTIPART_MALFORMED;
		buf_reset(&m->headers);
		if (++m->parts > MULTIPART_PARTS_MAX)
			return MULTIPART_MALFORMED;
		m->state = STATE_DATA;
		m->matched = m->lent = 2; /* a part may end right after its headers */
		return m->calls->begin(m->arg, &part) ? MULTIPART_OK : MULTIPART_STOPPED;
	}
	return MULTIPART_OK;
}

static bool emit(struct multipart *m, const char *p, size_t n)
{
	return n == 0 || m->state == STATE_PREAMBLE || m->calls->data(m->arg, p, n);
}

/*
 * Look for the delimiter. '\r' stands only at its begin, so after a mismatch
 * nothing before the present byte can begin another one: one pass, no going
 * back. `carry` of the matched bytes were in earlier pieces and, if they turn
 * out to be data, are emitted from the delimiter itself.
 */
static enum multipart_result feed_data(struct multipart *m, const char *p, size_t n, size_t *used)
{
	size_t carry = m->matched, matched = m->matched, i = 0;

	while (i < n) {
		if (matched == 0) {
			const char *r = memchr(p + i, '\r', n - i);

			if (!r) {
				i = n;
				break;
			}
			i = (size_t)(r - p) + 1;
			matched = 1;
		} else if (p[i] == m->delimiter[matched]) {
			i++;
			if (++matched == m->delimiter_bytes)
				break;
		} else {
			if (carry > 0 && !emit(m, m->delimiter + m->lent, carry - m->lent))
				return MULTIPART_STOPPED;
			carry = 0;
			matched = 0;
			m->lent = 0;
		}
	}
	*used = i;
	if (!emit(m, p, i - (matched - carry)))
		return MULTIPART_STOPPED;
	m->matched = matched;
	if (matched < m->delimiter_bytes)
		return MULTIPART_OK;
	m->matched = m->lent = 0;
	if (m->state == STATE_DATA && !m->calls->end(m->arg))
		return MULTIPART_STOPPED;
	m->state = STATE_BOUNDARY;
	return MULTIPART_OK;
}

/* The few bytes after a delimiter. */
static enum multipart_result feed_boundary(struct multipart *m, char c)
{
	switch (m->state) {
	case STATE_BOUNDARY:
		if (c == '-')
			m->state = STATE_DASH;
		else if (c == '\r')
			m->state = STATE_LINE_END;
		else if (c != ' ' && c != '\t')
			return MULTIPART_MALFORMED;
		return MULTIPART_OK;
	case STATE_DASH:
		m->state = STATE_DONE;
		return c == '-' ? MULTIPART_OK : MULTIPART_MALFORMED;
	case STATE_LINE_END:
		m->state = STATE_HEADERS;
		return c == '\n' ? MULTIPART_OK : MULTIPART_MALFORMED;
	case STATE_PREAMBLE:
	case STATE_HEADERS:
	case STATE_DATA:
	case STATE_DONE:
		break;
	}
	REQUIRE(m->state == STATE_BOUNDARY);
	return MULTIPART_MALFORMED;
}

enum multipart_result multipart_feed(struct multipart *m, const char *p, size_t n)
{
	while (n > 0 && m->state != STATE_DONE) {
		enum multipart_result r;
		size_t used = 1;

		if (m->state == STATE_PREAMBLE || m->state == STATE_DATA)
			r = feed_data(m, p, n, &used);
		else if (m->state == STATE_HEADERS)
			r = feed_headers(m, p, n, &used);
		else
			r = feed_boundary(m, *p);
		if (r != MULTIPART_OK)
			return r;
		p += used;
		n -= used;
	}
	return MULTIPART_OK;
}

bool multipart_done(const struct multipart *m)
{
	return m->state == STATE_DONE;
}
