#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include "filter_internal.h"
#include "base/hex.h"
#include "base/utf8.h"

static struct str fold_copy(char *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		out[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
	return (struct str){ out, s.n };
}

/* The value as the client wrote it, short enough for a message. */
static struct str shown(const struct filter_node *node, char out[65])
{
	struct str cut = utf8_cut(node->text, 64);

	for (size_t i = 0; i < cut.n; i++)
		out[i] = cut.p[i] == FILTER_STAR ? '*' : cut.p[i];
	return (struct str){ out, cut.n };
}

static int no_star(const struct filter_node *node, struct lexer *lx, size_t at, struct err *err)
{
	if (!node->has_star)
		return 0;
	return lexer_fail(lx, at, err, "%s takes no wildcard (*)", node->field->key);
}

static int set_date(struct filter_node *node, const struct filter_env *env, struct err *err)
{
	char out[65];

	if (!node->has_star && filter_date_parse(node->text, env->now_s, &node->lo, &node->hi)) {
		node->text = (struct str){ NULL, 0 };
		return 0;
	}
	return err_set(err, ERR_INVALID,
		       "%s \"" STR_FMT "\" is not valid. Valid dates are: 2023-02-07, "
		       "2023-02-07T10:00:00, 1675778611, 3d; followed by + (since) or - (before)",
		       node->field->key, STR_ARG(shown(node, out)));
}

static int set_number(struct filter_node *node, struct err *err)
{
	struct str s = node->text;
	char text[65];
	char sign = 0;
	char *end;

	if (s.n > 1 && (s.p[s.n - 1] == '+' || s.p[s.n - 1] == '-'))
		sign = s.p[--s.n];
	/* Digits and one point: strtod() alone would take "inf", "0x1p3" and the locale's. */
	bool ok = s.n > 0 && s.n < sizeof text && s.p[0] != '.';
	for (size_t i = 0, points = 0; ok && i < s.n; i++)
		ok = (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] == '.' && points++ == 0);
	if (!ok)
		return err_set(err, ERR_INVALID,
			       "%s \"" STR_FMT "\" is not valid. Valid values are numbers such as "
			       "5, 5+ (at least) and 5- (at most)",
			       node->field->key, STR_ARG(shown(node, text)));
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	double v = strtod(text, &end);
	node->num_lo = sign == '-' ? -HUGE_VAL : v;
	node->num_hi = sign == '+' ? HUGE_VAL : v;
	return 0;
}

static int set_enum(struct filter_node *node, struct lexer *lx, const struct filter_schema *schema,
		    struct err *err)
{
	char list[256], out[65];
	size_t n = 0;
	bool found = false;
	void *mem;

	for (size_t i = 0; i < schema->value_count; i++) {
		const struct filter_value *v = &schema->values[i];

		if (strcmp(v->key, node->field->key) != 0)
			continue;
		if (filter_glob(node->text, str_of(v->name))) {
			node->mask |= v->mask;
			found = true;
		}
		if (n < sizeof list)
			n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? "," : "",
					      v->name);
	}
	if (!found)
		return err_set(
			err, ERR_INVALID, "%s \"" STR_FMT "\" is not valid. Valid %s are: %s",
			node->field->key, STR_ARG(shown(node, out)), node->field->plural, list);
	TRY(filter_alloc(lx->arena, node->text.n + 1, &mem, err));
	node->text = fold_copy(mem, node->text);
	return 0;
}

static bool is_url(struct str s)
{
	for (size_t i = 0; i + 2 < s.n; i++)
		if (s.p[i] == ':' && s.p[i + 1] == '/' && s.p[i + 2] == '/')
			return i > 0;
	return false;
}

static void url_sha256(const struct filter_env *env, struct str url, uint8_t ret[SHA256_BYTES])
{
	if (!env->url || !env->url(env->arg, url, ret))
		sha256_of(url.p, url.n, ret);
}

/* VirusTotal's other id of a URL: its base64url. */
static bool url_from_id(struct str id, char *out, size_t max, struct str *ret)
{
	size_t n;

	if (!base64_decode(id, out, max, &n))
		return false;
	*ret = (struct str){ out, n };
	return (str_starts(*ret, STR("http://")) || str_starts(*ret, STR("https://"))) &&
	       utf8_valid(*ret);
}

/* Addresses in the one form in which they are stored (RFC 5952 for IPv6). */
static struct str canonical_name(char *out, size_t max, struct str s)
{
	unsigned char address[16];
	char text[INET6_ADDRSTRLEN];

	if (s.n < sizeof text) {
		memcpy(text, s.p, s.n);
		text[s.n] = 0;
		if (strchr(text, ':') && inet_pton(AF_INET6, text, address) == 1 &&
		    inet_ntop(AF_INET6, address, out, (socklen_t)max))
			return str_of(out);
	}
	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--; /* a domain's root */
	return fold_copy(out, s);
}

static int set_entity(struct filter_node *node, struct lexer *lx, const struct filter_env *env,
		      struct err *err)
{
	struct filter_entity *e = &node->entity;
	struct str s = str_trim(node->text), url;
	size_t max = s.n + INET6_ADDRSTRLEN + 1;
	void *mem;

	TRY(filter_alloc(lx->arena, max, &mem, err));
	e->kind = FILTER_ENTITY_SHA256;
	if (is_url(s)) {
		url_sha256(env, s, e->sha256);
	} else if (hex_decode(s, e->sha256, SHA256_BYTES)) {
		/* done */
	} else if (url_from_id(s, mem, max, &url)) {
		url_sha256(env, url, e->sha256);
	} else if ((s.n == 2 * MD5_BYTES || s.n == 2 * SHA1_BYTES) && hex_is(s)) {
		e->text = fold_copy(mem, s);
		if (!env->hash || !env->hash(env->arg, e->text, e->sha256))
			e->kind = FILTER_ENTITY_HASH;
		else
			e->text = (struct str){ NULL, 0 };
	} else {
		e->kind = FILTER_ENTITY_TEXT;
		e->text = canonical_name(mem, max, s);
	}
	return 0;
}

static int set_entity_term(struct filter_node *node, struct lexer *lx, size_t at,
			   const struct filter_env *env, struct err *err)
{
	void *mem;

	TRY(no_star(node, lx, at, err));
	TRY(set_entity(node, lx, env, err));
	if (node->entity.kind != FILTER_ENTITY_SHA256) {
		node->text = node->entity.text;
		return 0;
	}
	TRY(filter_alloc(lx->arena, 2 * SHA256_BYTES + 1, &mem, err));
	hex_encode(node->entity.sha256, SHA256_BYTES, mem);
	node->text = (struct str){ mem, 2 * SHA256_BYTES };
	return 0;
}

static int set_id(struct filter_node *node, struct lexer *lx, size_t at,
		  const struct filter_env *env, struct err *err)
{
	uint64_t id;

	TRY(no_star(node, lx, at, err));
	node->id = -1;
	if (env->id && env->id(env->arg, node->text, &node->mask, &node->id))
		return 0;
	if (str_to_u64(node->text, INT64_MAX, &id)) {
		node->mask = UINT32_MAX;
		node->id = (int64_t)id;
	}
	return 0;
}

static int set_tag(struct filter_node *node, struct lexer *lx, struct err *err)
{
	struct buf b = BUF_INIT(node->text.n + 1);
	void *mem;
	int rc;

	filter_tag_normalise(&b, node->text);
	rc = filter_alloc(lx->arena, b.n + 1, &mem, err);
	if (rc == 0) {
		if (b.n > 0)
			memcpy(mem, b.p, b.n);
		node->tag = (struct str){ mem, b.n };
	}
	buf_release(&b);
	return rc;
}

static int set_words(struct filter_node *node, struct lexer *lx, struct err *err)
{
	struct str *words;
	void *mem, *text;
	size_t i = 0;

	TRY(filter_alloc(lx->arena, (node->text.n / 2 + 1) * sizeof *words, &mem, err));
	TRY(filter_alloc(lx->arena, node->text.n + 1, &text, err));
	words = mem;
	struct str all = fold_copy(text, node->text);
	while (i < all.n) {
		size_t start = i;

		while (i < all.n && all.p[i] != ' ' && !(all.p[i] >= '\t' && all.p[i] <= '\r'))
			i++;
		if (i > start)
			words[node->word_count++] = (struct str){ all.p + start, i - start };
		else
			i++;
	}
	node->words = words;
	return 0;
}

static bool is_blank(struct str s)
{
	return str_trim(s).n == 0;
}

int filter_value_set(struct filter_node *node, struct str value, struct lexer *lx, size_t at,
		     const struct filter_schema *schema, const struct filter_env *env,
		     struct err *err)
{
	node->text = value;
	node->has_star = str_find(value, FILTER_STAR) < value.n;
	if (is_blank(value))
		return lexer_fail(lx, at, err, "expected more than blanks between the quotes");
	switch (node->field->kind) {
	case FILTER_DATE:
		return set_date(node, env, err);
	case FILTER_NUMBER:
		return set_number(node, err);
	case FILTER_ENUM:
		return set_enum(node, lx, schema, err);
	case FILTER_ENTITY:
		return set_entity_term(node, lx, at, env, err);
	case FILTER_ID:
		return set_id(node, lx, at, env, err);
	case FILTER_TAG:
		TRY(set_tag(node, lx, err));
		node->text = node->tag;
		return 0;
	case FILTER_TEXT:
		return set_words(node, lx, err);
	case FILTER_ANY:
		TRY(set_words(node, lx, err));
		TRY(set_tag(node, lx, err));
		return node->has_star ? 0 : set_entity(node, lx, env, err);
	}
	return err_set(err, ERR_INVALID, "filter: a field of unknown kind");
}
