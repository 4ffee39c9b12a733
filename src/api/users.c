#include "answer.h"
#include "api_internal.h"

#include <stdio.h>

#include "base/clock.h"
#include "object.h"
#include "relationship.h"

/*
 * Users as objects. An id is a user's name, one of its keys or its e-mail
 * address; answers have the name. Everybody sees himself, administrators see
 * everybody; for the rest it is 403, whether there is such a user or not.
 */
enum {
	DAYS_MAX = 30, /* that api_usage tells at once, as VirusTotal */
	DAY_S = 86400,
};

/* Quotas that VirusTotal has and weir does not count: unlimited, or not there at all. */
static const struct {
	const char *name;
	bool is_there;
} other_quotas[] = {
	{ "intelligence_searches_monthly", true },
	{ "intelligence_vtdiff_creation_monthly", false },
	{ "intelligence_graphs_private", false },
	{ "cases_creation_monthly", false },
	{ "monitor_storage_bytes", false },
	{ "monitor_storage_files", false },
	{ "monitor_uploaded_bytes", false },
	{ "monitor_uploaded_files", false },
};

/* ---- Who is meant, and may he be seen? ---- */

static bool is_self(struct api *api, const struct user *asker, struct str id)
{
	struct user holder;

	if (str_eq_z(id, asker->name) || (asker->email[0] && str_eq_z(id, asker->email)))
		return true;
	return id.n == USER_KEY_CHARS && user_find(api->svc, id, &holder, NULL) == 0 &&
	       holder.id == asker->id;
}

/* ERR_FORBIDDEN; ERR_NOT_FOUND and ERR_INVALID, but to administrators only. */
static int find(struct api *api, const struct user *asker, struct str id, struct user *ret,
		struct err *err)
{
	if (is_self(api, asker, id))
		return user_by_id(api->svc, asker->id, ret, err);
	if (asker->role < ROLE_ADMIN)
		return err_set(err, ERR_FORBIDDEN, "another user");
	return user_find(api->svc, id, ret, err);
}

/* ---- As an object ---- */

/* What is written of a user, and for whom. */
struct shown {
	const struct user *user;
	const struct user_profile *profile;
	const int64_t *used;
	bool is_self;
	/* with the key that asks, for oneself alone */
	struct str key; /* p NULL: not told */
	unsigned scopes;
};

static void kv_if_any(struct json *j, const char *key, struct str s)
{
	if (s.n)
		json_kv_str(j, key, s);
}

static int64_t allowed_shown(int64_t allowed)
{
	return allowed == QUOTA_UNLIMITED ? QUOTA_SHOWN_UNLIMITED : allowed;
}

static void put_quota(struct json *j, int64_t allowed, int64_t used)
{
	json_kv_i64(j, "allowed", allowed);
	json_kv_i64(j, "used", used);
}

/* Every quota by its name; in /overall_quotas whose it is stands between. */
static void put_quotas(struct json *j, const struct user *u, const int64_t *used, const char *whose)
{
	json_obj(j);
	for (unsigned q = 0; q < QUOTA_COUNT + sizeof other_quotas / sizeof other_quotas[0]; q++) {
		bool ours = q < QUOTA_COUNT;
		const char *name = ours ? quota_infos[q].wire : other_quotas[q - QUOTA_COUNT].name;

		if (!name[0])
			continue;
		json_key(j, name);
		json_obj(j);
		if (whose) {
			json_key(j, whose);
			json_obj(j);
		}
		if (ours)
			put_quota(j, allowed_shown(u->allowed[q]), used[q]);
		else
			put_quota(j,
				  other_quotas[q - QUOTA_COUNT].is_there ? QUOTA_SHOWN_UNLIMITED
									 : 0,
				  0);
		if (whose)
			json_obj_end(j);
		json_obj_end(j);
	}
	json_obj_end(j);
}

static const struct {
	const char *name;
	enum user_role role;
	unsigned scope;
} privileges[] = {
#define PRIVILEGE(name, role, scope) { (name), (role), 1u << (scope) },
#include "privileges.def"
#undef PRIVILEGE
};

static void put_privileges(struct json *j, const struct shown *s)
{
	json_obj(j);
	for (size_t i = 0; i < sizeof privileges / sizeof privileges[0]; i++) {
		json_key(j, privileges[i].name);
		json_obj(j);
		json_kv_bool(j, "granted",
			     s->user->role >= privileges[i].role &&
				     (s->scopes & privileges[i].scope));
		json_obj_end(j);
	}
	json_obj_end(j);
}

void api_put_privilege_names(struct json *j)
{
	json_arr(j);
	for (size_t i = 0; i < sizeof privileges / sizeof privileges[0]; i++)
		json_z(j, privileges[i].name);
	json_arr_end(j);
}

static void write_attributes(struct json *j, const void *arg)
{
	const struct shown *s = arg;
	const struct user_profile *p = s->profile;

	json_obj(j);
	kv_if_any(j, "first_name", p->first_name);
	kv_if_any(j, "last_name", p->last_name);
	kv_if_any(j, "email", p->email);
	kv_if_any(j, "profile_phrase", p->phrase);
	json_kv_z(j, "status", s->user->disabled ? "disabled" : "active");
	json_kv_z(j, "role", user_role_name(s->user->role));
	json_kv_i64(j, "reputation", 0);
	json_kv_i64(j, "user_since", s->user->created_s);
	if (p->last_login_s)
		json_kv_i64(j, "last_login", p->last_login_s);
	json_kv_bool(j, "has_2fa", false);
	json_key(j, "privileges");
	put_privileges(j, s);
	json_key(j, "quotas");
	put_quotas(j, s->user, s->used, NULL);
	if (s->is_self) {
		json_key(j, "preferences");
		json_raw(j, p->preferences);
	}
	if (s->key.p)
		json_kv_str(j, "apikey", s->key);
	json_obj_end(j);
}

static int object_of(struct api *api, const struct shown *as, const struct user *user,
		     struct arena *arena, struct object *ret, struct err *err)
{
	int64_t used[QUOTA_COUNT];
	struct user_profile profile;
	struct shown s = *as;

	TRY(user_profile_get(api->svc, user->id, arena, &profile, err));
	TRY(usage_now(api->svc, user, used, err));
	/* Who asks is using a key right now; that is written down within a second. */
	if (s.key.p)
		profile.last_login_s = clock_unix_s(service_clock(api->svc));
	s.user = user;
	s.profile = &profile;
	s.used = used;
	*ret = (struct object){ .type = &object_types[OBJECT_user],
				.id = arena_str(arena, str_of(user->name)),
				.key = user->id,
				.attributes = object_json(arena, write_attributes, &s) };
	return 0;
}

int user_object_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		     struct object *ret, struct err *err)
{
	struct shown s = { .scopes = SCOPES_ALL };
	struct user asker, user;

	TRY(user_by_id(api->svc, user_id, &asker, err));
	TRY(find(api, &asker, id, &user, err));
	s.is_self = user.id == user_id;
	return object_of(api, &s, &user, arena, ret, err);
}

/* Whoever sees a ruleset owns it. */
int object_owner(const struct related_ask *ask, struct related *ret, struct err *err)
{
	struct object *o = arena_must(ask->arena, sizeof *o);
	struct shown s = { .is_self = true, .scopes = SCOPES_ALL };
	struct user owner;

	TRY(user_by_id(ask->api->svc, ask->user_id, &owner, err));
	TRY(object_of(ask->api, &s, &owner, ask->arena, o, err));
	ret->objects = o;
	ret->count = 1;
	return 0;
}

/* ---- Asking for one ---- */

struct user_call {
	struct api *api;
	struct http_request *req;
	struct view view;
	struct str id;
	struct user_profile change;
	json_t *root; /* what the change's strings lie in */
	json_t *sent; /* its attributes; borrowed */
	int64_t first_day;
	int64_t last_day;
};

static void user_fail(struct http_request *req, struct str id, int rc, const struct err *err)
{
	if (rc == -ERR_NOT_FOUND)
		api_not_found(req, "User", id);
	else if (rc == -ERR_INVALID)
		api_error(req, 400, "InvalidArgumentError", "%s", err->msg);
	else
		api_fail(req, rc, err);
}

/* The user named in the path, if the caller may see it; false: answered. */
static bool find_user(const struct user_call *call, struct user *ret)
{
	struct err err;
	int rc = find(call->api, &api_call_of(call->req)->user, call->id, ret, &err);

	if (rc)
		user_fail(call->req, call->id, rc, &err);
	return rc == 0;
}

/* As the caller may see it; false: answered. */
static bool show_user(const struct user_call *call, const struct user *user, struct object *ret)
{
	struct http_request *req = call->req;
	const struct user *asker = &api_call_of(req)->user;
	struct shown s = { .is_self = user->id == asker->id, .scopes = SCOPES_ALL };
	struct err err;
	int rc;

	if (s.is_self) {
		s.key = http_header(req, "x-apikey");
		s.scopes = asker->scopes;
	}
	rc = object_of(call->api, &s, user, req->arena, ret, &err);
	if (rc)
		api_fail(req, rc, &err);
	return rc == 0;
}

static void get_user_run(void *arg)
{
	const struct user_call *call = arg;
	struct object o;
	struct user user;

	if (find_user(call, &user) && show_user(call, &user, &o))
		answer_one(call->api, call->req, &call->view, &o);
	http_request_resume(call->req);
}

static struct user_call *call_new(struct http_request *req, struct api *api, struct str id)
{
	struct user_call *call = arena_must(req->arena, sizeof *call);

	*call = (struct user_call){ .api = api, .req = req, .id = id };
	return call;
}

static void get_one(struct http_request *req, struct api *api, struct str id)
{
	struct user_call *call = call_new(req, api, id);

	if (!view_read(req, &call->view))
		return;
	call->view.descriptors = false; /* that is for lists */
	http_respond_header(req, "Cache-Control", STR("no-store"));
	api_run(req, api, get_user_run, call);
}

void get_user(struct http_request *req, void *arg)
{
	get_one(req, arg, req->params[0]);
}

void get_me(struct http_request *req, void *arg)
{
	get_one(req, arg, str_of(api_call_of(req)->user.name));
}

/* ---- Changing one ---- */

static bool read_text(struct http_request *req, json_t *attributes, const char *key, unsigned flag,
		      struct user_profile *p, struct str *ret)
{
	json_t *v = json_object_get(attributes, key);

	if (!v)
		return true;
	if (!json_is_string(v)) {
		api_error(req, 400, "InvalidArgumentError", "\"%s\" must be a string", key);
		return false;
	}
	*ret = str_make(json_string_value(v), json_string_length(v));
	p->set |= flag;
	return true;
}

static bool read_preferences(struct http_request *req, json_t *attributes, struct user_profile *p)
{
	json_t *v = json_object_get(attributes, "preferences");
	char *text;

	if (!v)
		return true;
	if (!json_is_object(v)) {
		api_error(req, 400, "InvalidArgumentError", "\"preferences\" must be an object");
		return false;
	}
	text = json_dumps(v, JSON_COMPACT | JSON_PRESERVE_ORDER);
	REQUIRE(text);
	p->preferences = arena_str(req->arena, str_of(text));
	p->set |= PROFILE_PREFERENCES;
	free(text);
	return true;
}

/*
 * Clients send back whole objects: what cannot be changed may stand there as it
 * is, and what moves by itself however it was.
 */
static bool read_only_is_same(struct http_request *req, const struct object *o, json_t *sent)
{
	static const char *const others[] = { "first_name",     "last_name",   "email",
					      "profile_phrase", "preferences", "last_login",
					      "quotas",         "apikey" };
	AUTO(json_drop) json_t *now = json_loadb(o->attributes.p, o->attributes.n, 0, NULL);
	const char *key;
	json_t *v;

	REQUIRE(now);
	json_object_foreach(sent, key, v)
	{
		bool free_to_say = false;

		for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
			free_to_say |= strcmp(key, others[i]) == 0;
		if (!free_to_say && !json_equal(v, json_object_get(now, key))) {
			api_error(req, 400, "InvalidArgumentError", "\"%.64s\" cannot be changed",
				  key);
			return false;
		}
	}
	return true;
}

static bool read_change(struct http_request *req, json_t *attributes, struct user_profile *p)
{
	return read_text(req, attributes, "first_name", PROFILE_FIRST_NAME, p, &p->first_name) &&
	       read_text(req, attributes, "last_name", PROFILE_LAST_NAME, p, &p->last_name) &&
	       read_text(req, attributes, "email", PROFILE_EMAIL, p, &p->email) &&
	       read_text(req, attributes, "profile_phrase", PROFILE_PHRASE, p, &p->phrase) &&
	       read_preferences(req, attributes, p);
}

/* false: answered. */
static bool change_user(const struct user_call *call, struct user *user)
{
	struct service *svc = call->api->svc;
	const struct audit_by by = api_by(call->req);
	struct err err;
	int rc = 0;

	if (call->change.set)
		rc = user_set_profile(svc, str_of(user->name), &call->change, &by, &err);
	if (rc == 0)
		rc = user_by_id(svc, user->id, user, &err);
	if (rc)
		user_fail(call->req, call->id, rc, &err);
	return rc == 0;
}

static void patch_user_run(void *arg)
{
	const struct user_call *call = arg;
	struct http_request *req = call->req;
	struct object o;
	struct user user;

	if (find_user(call, &user) && show_user(call, &user, &o) &&
	    read_only_is_same(req, &o, call->sent) && change_user(call, &user) &&
	    show_user(call, &user, &o))
		answer_one(call->api, req, &call->view, &o);
	json_decref(call->root);
	http_request_resume(req);
}

void patch_user(struct http_request *req, void *arg)
{
	struct user_call *call = call_new(req, arg, req->params[0]);
	AUTO(json_drop) json_t *root = NULL;
	struct str id = call->id;
	json_t *attributes;

	if (!view_read(req, &call->view))
		return;
	call->view.descriptors = false;
	/* data.id is the name, whatever stands in the path. */
	if (is_self(call->api, &api_call_of(req)->user, call->id))
		id = str_of(api_call_of(req)->user.name);
	attributes = api_attributes(req, "user", id, &root);
	if (!attributes || !read_change(req, attributes, &call->change))
		return;
	call->sent = attributes;
	call->root = STEAL(root);
	api_run(req, arg, patch_user_run, call);
}

/* ---- Quotas and use ---- */

static void get_user_quotas_run(void *arg)
{
	const struct user_call *call = arg;
	struct http_request *req = call->req;
	int64_t used[QUOTA_COUNT];
	struct answer a;
	struct user user;
	struct err err;
	int rc;

	if (find_user(call, &user)) {
		rc = usage_now(call->api->svc, &user, used, &err);
		answer_begin(&a, call->api, req, NULL);
		answer_fail(&a, rc, &err);
		json_key(&a.json, "data");
		if (rc)
			json_put_null(&a.json);
		else
			put_quotas(&a.json, &user, used, "user");
		answer_send(&a);
	}
	http_request_resume(req);
}

void get_user_quotas(struct http_request *req, void *arg)
{
	api_run(req, arg, get_user_quotas_run, call_new(req, arg, req->params[0]));
}

/* start_date=20260831; false: answered with 400. */
static bool read_day(struct http_request *req, const char *name, int64_t none, int64_t *ret)
{
	struct str text = http_query(req, name);
	uint64_t v;
	int64_t year;
	unsigned month, day;

	*ret = none;
	if (!text.p)
		return true;
	if (text.n == 8 && str_to_u64(text, 99991231, &v) && v % 100 >= 1 && v % 100 <= 31 &&
	    v / 100 % 100 >= 1 && v / 100 % 100 <= 12) {
		*ret = date_to_days((int64_t)(v / 10000), (unsigned)(v / 100 % 100),
				    (unsigned)(v % 100));
		date_from_days(*ret, &year, &month, &day);
		if (day == v % 100) /* no 30th of February */
			return true;
	}
	api_error(req, 400, "BadRequestError", "\"%s\" must be a date as YYYYMMDD", name);
	return false;
}

static void day_text(int64_t days, char ret[32])
{
	time_format_utc(days * DAY_S, ret);
	ret[10] = 0;
}

/* By day, every day of the range, then all together. */
static void put_usage(struct json *j, const struct user_call *call, const struct usage_row *rows,
		      size_t n)
{
	char date[32];
	size_t i = 0;

	json_obj(j);
	json_key(j, "daily");
	json_obj(j);
	for (int64_t day = call->first_day; day <= call->last_day; day++) {
		day_text(day, date);
		json_key(j, date);
		json_obj(j);
		for (; i < n && rows[i].day == day; i++) {
			if (rows[i].calls > 0)
				json_kv_i64(j, rows[i].endpoint.p, rows[i].calls);
		}
		json_obj_end(j);
	}
	json_obj_end(j);
	json_key(j, "total");
	json_obj(j);
	for (i = 0; i < n; i++) {
		int64_t total = 0;
		bool seen = false;

		for (size_t k = 0; k < n; k++) {
			bool same = str_eq(rows[k].endpoint, rows[i].endpoint);

			seen |= same && k < i;
			total += same ? rows[k].calls : 0;
		}
		if (!seen && total > 0)
			json_kv_i64(j, rows[i].endpoint.p, total);
	}
	json_obj_end(j);
	json_obj_end(j);
}

static void get_user_usage_run(void *arg)
{
	const struct user_call *call = arg;
	struct http_request *req = call->req;
	struct usage_row *rows = NULL;
	struct answer a;
	struct user user;
	struct err err;
	size_t n = 0;
	int rc;

	if (find_user(call, &user)) {
		rc = usage_by_day(call->api->svc, user.id, call->first_day, call->last_day,
				  req->arena, &rows, &n, &err);
		answer_begin(&a, call->api, req, NULL);
		answer_fail(&a, rc, &err);
		json_key(&a.json, "data");
		put_usage(&a.json, call, rows, n);
		answer_send(&a);
	}
	http_request_resume(req);
}

void get_user_usage(struct http_request *req, void *arg)
{
	struct user_call *call = call_new(req, arg, req->params[0]);
	int64_t today = clock_unix_s(service_clock(call->api->svc)) / DAY_S;
	bool has_start = http_query(req, "start_date").p != NULL;

	if (!read_day(req, "end_date", today, &call->last_day) ||
	    !read_day(req, "start_date", call->last_day - DAYS_MAX + 1, &call->first_day))
		return;
	/* A start alone goes as far as it may. */
	if (has_start && !http_query(req, "end_date").p &&
	    call->last_day > call->first_day + DAYS_MAX - 1)
		call->last_day = call->first_day + DAYS_MAX - 1;
	if (call->first_day > call->last_day) {
		api_error(req, 400, "BadRequestError", "\"start_date\" is later than \"end_date\"");
		return;
	}
	if (call->last_day - call->first_day > DAYS_MAX) {
		api_error(req, 400, "BadRequestError", "The range of dates is more than %d days",
			  DAYS_MAX);
		return;
	}
	api_run(req, arg, get_user_usage_run, call);
}
