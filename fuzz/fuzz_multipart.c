#include "fuzz.h"

#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "http/upload.h"
#include "multipart_internal.h"

/*
 * A multipart body: the first line is the Content-Type, the rest the body. It is
 * read in one piece and in pieces of sizes taken from the input; both say the same
 * parts with the same bytes and end the same way.
 */
enum {
	ARENA_BYTES = 16 << 20,
	SAID_BYTES = 4 << 20
};

/* What the callbacks heard, written down so that it can be compared. */
struct heard {
	struct buf said;
	bool open; /* between begin and end */
	uint64_t bytes;
};

static void say_str(struct heard *h, struct str s)
{
	if (s.p)
		REQUIRE(s.p[s.n] == '\0' && strlen(s.p) == s.n && s.n <= HTTP_NAME_BYTES_MAX);
	buf_addf(&h->said, "%d:%zu:", s.p != NULL, s.n);
	buf_add_str(&h->said, s);
}

static bool on_begin(void *arg, const struct http_part *part)
{
	struct heard *h = arg;

	REQUIRE(!h->open);
	h->open = true;
	h->bytes = 0;
	buf_add_c(&h->said, '{');
	say_str(h, part->name);
	say_str(h, part->filename);
	say_str(h, part->content_type);
	return part->name.n != 13; /* some are stopped at */
}

static bool on_data(void *arg, const char *p, size_t n)
{
	struct heard *h = arg;

	REQUIRE(h->open && n > 0);
	h->bytes += n;
	buf_add(&h->said, p, n);
	return true;
}

static bool on_end(void *arg)
{
	struct heard *h = arg;

	REQUIRE(h->open);
	h->open = false;
	buf_addf(&h->said, ":%llu}", (unsigned long long)h->bytes);
	return true;
}

static const struct multipart_calls calls = { on_begin, on_data, on_end };

/* step 0: in one piece. */
static enum multipart_result listen(struct heard *h, struct str type, struct str body, size_t step)
{
	struct arena *a = arena_new("fuzz", ARENA_BYTES);
	struct multipart *m = multipart_new(a, type, &calls, h);
	enum multipart_result r = MULTIPART_OK;

	*h = (struct heard){ .said = BUF_INIT(SAID_BYTES) };
	for (size_t at = 0, n; m && at < body.n && r == MULTIPART_OK; at += n) {
		n = step == 0 ? body.n : 1 + hash64(&at, sizeof at, step) % (2 * step);
		n = n < body.n - at ? n : body.n - at;
		r = multipart_feed(m, body.p + at, n);
	}
	buf_addf(&h->said, "=%d %d", m != NULL, m && r == MULTIPART_OK && multipart_done(m));
	if (m && r == MULTIPART_OK && multipart_done(m))
		REQUIRE(!h->open);
	arena_free(a);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str rest = { (const char *)data, n }, type = rest;
	struct heard whole, pieces;
	enum multipart_result r;
	size_t line = str_find(rest, '\n');

	if (n == 0 || n > SAID_BYTES / 4)
		return 0;
	type.n = line;
	rest = line < n ? str_make(rest.p + line + 1, n - line - 1) : str_make(rest.p, 0);
	r = listen(&whole, type, rest, 0);
	for (size_t step = 1; step <= 64; step *= 8) {
		REQUIRE(listen(&pieces, type, rest, step) == r);
		REQUIRE(!buf_failed(&whole.said));
		REQUIRE(str_eq(buf_str(&whole.said), buf_str(&pieces.said)));
		buf_release(&pieces.said);
	}
	buf_release(&whole.said);
	return 0;
}

void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const char *const texts[] = {
		"multipart/form-data; boundary=xyz\n--xyz\r\nContent-Disposition: form-data; "
		"name=\"file\"; filename=\"a.exe\"\r\n\r\nMZ\r\n--xyz--\r\n",
		"multipart/form-data; boundary=\"a b\"\npreamble\r\n--a b\r\nContent-Disposition: "
		"form-data; name=password\r\n\r\ninfected\r\n--a b\r\ncontent-disposition: "
		"form-data; "
		"name=\"file\"; filename*=utf-8''na%C3%AFve\r\nContent-Type: text/plain\r\n\r\n\r\n"
		"\r\n--a \r\n--a b--epilogue",
		"multipart/form-data; boundary=-\n---\r\nContent-Disposition: x; "
		"name=\"C:\\dir\\x\\\"\"\r\n"
		"\r\n\r\n-----",
		"multipart/form-data; boundary=x\n--x\r\n\r\nno disposition\r\n--x--",
		"multipart/form-data\n--x--",
	};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		run((const uint8_t *)texts[i], strlen(texts[i]));
}
