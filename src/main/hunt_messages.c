#include <jansson.h>
#include <stdio.h>

#include "hunt.h"
#include "progress.h"

/* What the compiler says of rules, as it renders it, but with the files that people know. */

enum {
	OUT_BYTES_MAX = 16 << 20,
	WARNINGS_SHOWN = 20,
};

struct report {
	const struct hunt_rules *rules;
	size_t source;                      /* as hunt_rules_place takes it */
	const struct hunt_rules_file *told; /* whose place stood there last */
};

/* Cut a number of digits off; false: there is none. */
static bool take_number(struct str *rest, uint64_t *ret)
{
	size_t n = 0;

	while (n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9')
		n++;
	if (!str_to_u64(str_make(rest->p, n), UINT32_MAX, ret))
		return false;
	*rest = str_make(rest->p + n, rest->n - n);
	return true;
}

static size_t blanks(struct str s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] == ' ')
		n++;
	return n;
}

/* " --> line:4:17" */
static bool put_place(struct buf *out, struct report *r, struct str line)
{
	static const struct str marks[] = { { "--> line:", 9 }, { "::: line:", 9 } };
	size_t indent = blanks(line);
	struct str rest = str_make(line.p + indent, line.n - indent);
	const struct hunt_rules_file *f;
	uint64_t number;

	if (!str_starts(rest, marks[0]) && !str_starts(rest, marks[1]))
		return false;
	rest = str_make(rest.p + marks[0].n, rest.n - marks[0].n);
	if (!take_number(&rest, &number))
		return false;
	f = hunt_rules_place(r->rules, r->source, number, &number);
	if (!f)
		return false;
	r->told = f;
	buf_add(out, line.p, indent + 4);
	buf_addf(out, "%s:%llu", f->path, (unsigned long long)number);
	show_text(out, rest);
	return true;
}

/* "12 | rule a {": its number is that of the source, which may be several files. */
static bool put_quote(struct buf *out, struct report *r, struct str line)
{
	size_t indent = blanks(line);
	struct str rest = str_make(line.p + indent, line.n - indent);
	const struct hunt_rules_file *f;
	char text[24];
	uint64_t number;
	size_t width;

	if (!take_number(&rest, &number))
		return false;
	width = (size_t)(rest.p - line.p);
	if (blanks(rest) >= rest.n || rest.p[blanks(rest)] != '|')
		return false;
	f = hunt_rules_place(r->rules, r->source, number, &number);
	if (!f)
		return false;
	snprintf(text, sizeof text, "%llu", (unsigned long long)number);
	buf_addf(out, "%-*s", (int)width, text);
	show_text(out, rest);
	if (r->told && f != r->told)
		buf_addf(out, "    (%s)", f->path);
	return true;
}

/* Lines stay lines; all else in them is shown as what it is. */
static void put_report(struct buf *out, struct report *r, struct str text)
{
	struct str line;

	while (str_split(&text, '\n', &line)) {
		if (!put_place(out, r, line) && !put_quote(out, r, line))
			show_text(out, line);
		buf_add_c(out, '\n');
	}
}

static struct str member(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);

	return str_make(json_string_value(v), json_string_length(v));
}

bool hunt_view_messages(struct hunt_view *v, struct str messages_json,
			const struct hunt_rules *rules, bool refused)
{
	AUTO(buf_release) struct buf out = BUF_INIT(OUT_BYTES_MAX);
	json_t *root = json_loadb(messages_json.p ? messages_json.p : "", messages_json.n,
				  JSON_ALLOW_NUL, NULL);
	size_t i, warnings = 0;
	bool any_error = false;
	json_t *one;

	json_array_foreach(root, i, one)
	{
		struct report r = { .rules = rules,
				    .source = hunt_rules_of_ns(rules, member(one, "namespace")) };
		bool is_error = str_eq_z(member(one, "level"), "error");

		any_error = any_error || is_error;
		warnings += !is_error;
		/* Of rules that are refused, what they are refused for counts. */
		if (is_error || (!refused && warnings <= WARNINGS_SHOWN))
			put_report(&out, &r, member(one, "text"));
	}
	json_decref(root);
	if (!refused && warnings > WARNINGS_SHOWN)
		buf_addf(&out, "… and more warnings (%d are shown)\n", WARNINGS_SHOWN);
	progress_clear(&v->drawn);
	fwrite(buf_str(&out).p, 1, out.n, stderr);
	fflush(stderr);
	return any_error;
}
