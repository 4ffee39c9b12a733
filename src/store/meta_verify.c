#include "store/meta_verify.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/hex.h"

enum {
	TEXT_BYTES = 2048
};

const struct verify_info verify_infos[VERIFY_COUNT] = {
#define VERIFY(id_, name_, text_, per_, last_, find_) [VERIFY_##id_] = { (name_), (text_), (per_) },
#include "store/verify.def"
#undef VERIFY
};

static const struct {
	const char *last;
	const char *find;
} texts[VERIFY_COUNT] = {
#define VERIFY(id_, name_, text_, per_, last_, find_) [VERIFY_##id_] = { (last_), (find_) },
#include "store/verify.def"
#undef VERIFY
};

int verify_last(struct sql_conn *conn, enum verify_check check, int64_t *ret, struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	if (!verify_infos[check].per) {
		*ret = 1;
		return 0;
	}
	TRY(sql_start(&q, conn, texts[check].last, err));
	TRY(sql_next(&q, &row, err));
	*ret = row ? sql_i64(&q, 0) : 0;
	return 0;
}

static void put_subject(struct buf *out, struct str subject)
{
	char hex[2 * SHA256_BYTES + 1];

	if (subject.n == SHA256_BYTES) {
		hex_encode(subject.p, subject.n, hex);
		subject = str_of(hex);
	}
	buf_add_str(out, subject);
}

/* The check's text with its places filled. */
static void put_finding(struct buf *out, const char *text, const struct sql_query *q)
{
	struct str rest = str_of(text), part, name;

	while (str_split(&rest, '{', &part)) {
		buf_add_str(out, part);
		if (!rest.p || !str_split(&rest, '}', &name))
			continue;
		if (name.n == 0)
			put_subject(out, sql_str(q, 0));
		else
			buf_add_i64(out, sql_i64(q, str_eq_z(name, "has") ? 1 : 2));
	}
}

int verify_find(struct sql_conn *conn, enum verify_check check, int64_t after, int64_t last,
		void (*found)(const char *what, void *arg), void *arg, struct err *err)
{
	const struct verify_info *info = &verify_infos[check];
	AUTO(sql_end) struct sql_query q = { 0 };
	AUTO(buf_release) struct buf text = BUF_INIT(TEXT_BYTES);
	bool row;

	if (info->per)
		TRY(sql_start(&q, conn, texts[check].find, err, SQL_I64(after), SQL_I64(last)));
	else
		TRY(sql_start(&q, conn, texts[check].find, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		buf_reset(&text);
		put_finding(&text, info->text, &q);
		found(text.p, arg);
	}
}
