#include "view.h"

#include "api_internal.h"

/* ---- What was asked ---- */

static size_t count_names(struct str text)
{
	struct str rest = text, name;
	size_t n = 0;

	while (str_split(&rest, ',', &name))
		n += str_trim(name).n > 0;
	return n;
}

static bool read_names(struct http_request *req, const char *parameter, struct view_names *ret)
{
	struct str rest = http_query(req, parameter), name;
	struct str *names;
	size_t max;

	*ret = (struct view_names){ .given = rest.p != NULL };
	if (!ret->given)
		return true;
	max = count_names(rest);
	if (max > VIEW_NAMES_MAX) {
		api_error(req, 400, "BadRequestError", "\"%s\" has more than %d names", parameter,
			  VIEW_NAMES_MAX);
		return false;
	}
	names = arena_must(req->arena, (max + 1) * sizeof *names);
	while (str_split(&rest, ',', &name)) {
		name = str_trim(name);
		if (name.n && !view_names_have(ret, name))
			names[ret->count++] = name;
		ret->names = names;
	}
	return true;
}

bool view_read(struct http_request *req, struct view *ret)
{
	*ret = (struct view){ .descriptors = false };
	if (!req->query.n)
		return true;
	ret->descriptors_given = http_query(req, "descriptors_only").p != NULL;
	return api_bool(req, "descriptors_only", false, &ret->descriptors) &&
	       read_names(req, "attributes", &ret->attributes) &&
	       read_names(req, "exclude_attributes", &ret->without) &&
	       read_names(req, "relationships", &ret->relationships) &&
	       read_names(req, "relationship_attributes", &ret->relationship_attributes);
}

bool view_names_have(const struct view_names *names, struct str name)
{
	for (size_t i = 0; i < names->count; i++) {
		if (str_eq(names->names[i], name))
			return true;
	}
	return false;
}

/* ---- A stored object, member by member ---- */

/* Behind the string that starts at s[i]; s.n if it does not end. */
static size_t string_end(struct str s, size_t i)
{
	for (i++; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			return i + 1;
	}
	return s.n;
}

/* Behind the value that starts at s[i]: at the comma or bracket that follows it. */
static size_t value_end(struct str s, size_t i)
{
	unsigned depth = 0;

	while (i < s.n) {
		char c = s.p[i];

		if (c == '"') {
			i = string_end(s, i);
			continue;
		}
		if (depth == 0 && (c == ',' || c == '}'))
			return i;
		depth += c == '{' || c == '[';
		depth -= c == '}' || c == ']';
		i++;
	}
	return s.n;
}

bool view_next_member(struct str *rest, struct str *ret_key, struct str *ret_member)
{
	struct str s = *rest;
	size_t start = 0, key_end, end;

	/* Before the first member there is the bracket, before others a comma. */
	while (start < s.n && s.p[start] != '"') {
		if (s.p[start] == '}')
			return false;
		start++;
	}
	if (start >= s.n)
		return false;
	key_end = string_end(s, start);
	REQUIRE(key_end < s.n && s.p[key_end] == ':');
	end = value_end(s, key_end + 1);
	*ret_key = str_make(s.p + start + 1, key_end - start - 2);
	*ret_member = str_make(s.p + start, end - start);
	*rest = str_make(s.p + end, s.n - end);
	return true;
}

static bool is_shown(const struct view *view, struct str key)
{
	return (!view->attributes.given || view_names_have(&view->attributes, key)) &&
	       !view_names_have(&view->without, key);
}

void view_put_attributes(struct json *j, const struct view *view, struct str attributes)
{
	struct str rest = attributes, key, member;

	json_key(j, "attributes");
	if (!view || (!view->attributes.given && !view->without.count)) {
		json_raw(j, attributes);
		return;
	}
	json_obj(j);
	while (view_next_member(&rest, &key, &member)) {
		if (is_shown(view, key))
			json_raw_members(j, member);
	}
	json_obj_end(j);
}
