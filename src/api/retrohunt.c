#include "service/retrohunt.h"

#include <stdio.h>

#include "answer.h"
#include "api_internal.h"
#include "base/hex.h"
#include "relationship.h"

struct retrohunt_call {
	struct http_request *req;
	struct api *api;
	/* of the list */
	struct view view;
	struct page page;
};

/* ---- Writing a job ---- */

static void put_range(struct json *j, const struct retrohunt_job *job)
{
	if (!job->start_s && !job->end_s)
		return;
	json_key(j, "time_range");
	json_obj(j);
	if (job->start_s)
		json_kv_i64(j, "start", job->start_s);
	if (job->end_s)
		json_kv_i64(j, "end", job->end_s);
	json_obj_end(j);
}

/* A string where there is one, as VirusTotal; else the list that was sent. */
static void put_emails(struct json *j, struct str list)
{
	struct str one = str_make(list.p + 1, list.n - 2);

	if (!one.n)
		return;
	json_key(j, "notification_email");
	json_raw(j, str_find(one, ',') == one.n ? one : list);
}

static void put_dates(struct json *j, const struct retrohunt_job *job)
{
	json_kv_i64(j, "creation_date", job->created_s);
	if (job->started_s)
		json_kv_i64(j, "start_date", job->started_s);
	if (job->finished_s)
		json_kv_i64(j, "finish_date", job->finished_s);
}

static void put_end(struct json *j, const struct retrohunt_job *job)
{
	if (job->status < RETROHUNT_ABORTED)
		return;
	json_kv_bool(j, "complete", job->complete);
	if (job->reason[0])
		json_kv_z(j, "reason", job->reason);
	if (job->error[0])
		json_kv_z(j, "error", job->error);
}

struct job_text {
	const struct retrohunt_job *job;
	const struct retrohunt_skip *skips;
	size_t skip_count;
};

static void put_skips(struct json *j, const struct job_text *t)
{
	char sha256[2 * SHA256_BYTES + 1];

	json_kv_i64(j, "num_skipped_files", t->job->num_skipped);
	if (!t->skip_count)
		return;
	json_key(j, "skipped_files");
	json_arr(j);
	for (size_t i = 0; i < t->skip_count; i++) {
		hex_encode(t->skips[i].sha256, SHA256_BYTES, sha256);
		json_obj(j);
		json_kv_z(j, "sha256", sha256);
		json_kv_str(j, "reason", t->skips[i].reason);
		json_obj_end(j);
	}
	json_arr_end(j);
}

static void put_progress(struct json *j, const struct retrohunt_job *job)
{
	json_kv_z(j, "status", retrohunt_status_name(job->status));
	json_key(j, "progress");
	if (job->progress <= 0 || job->progress >= 100)
		json_i64(j, (int64_t)job->progress); /* as recorded: whole numbers at both ends */
	else
		json_f64(j, job->progress);
	if (job->eta_s >= 0)
		json_kv_i64(j, "eta_seconds", job->eta_s);
	json_kv_i64(j, "scanned_bytes", job->bytes_done);
	json_kv_i64(j, "verified_bytes", job->verified_bytes);
	json_kv_i64(j, "verified_files", job->verified_files);
	json_kv_i64(j, "total_files", job->files);
	json_kv_i64(j, "total_bytes", job->bytes);
	json_kv_i64(j, "num_matches", job->num_matches);
	json_kv_i64(j, "num_matches_outside_time_range", 0);
	json_kv_i64(j, "num_matching_files", job->num_files);
}

static void write_job(struct json *j, const void *arg)
{
	const struct job_text *t = arg;
	const struct retrohunt_job *job = t->job;
	char id[24];

	json_obj(j);
	json_kv_str(j, "rules", job->rules);
	json_kv_i64(j, "number_of_rules", job->rule_count);
	json_kv_str(j, "corpus", job->corpus);
	put_emails(j, job->emails_json);
	put_range(j, job);
	put_progress(j, job);
	put_dates(j, job);
	put_end(j, job);
	put_skips(j, t);
	json_kv_bool(j, "keep_watching", job->keep_watching);
	if (job->ruleset_id) {
		snprintf(id, sizeof id, "%lld", (long long)job->ruleset_id);
		json_kv_z(j, "ruleset_id", id);
	}
	json_obj_end(j);
}

static int job_object(struct api *api, const struct retrohunt_job *job, struct arena *arena,
		      struct object *ret, struct err *err)
{
	struct job_text text = { .job = job };
	struct retrohunt_skip *skips = NULL;

	if (job->num_skipped && job->status >= RETROHUNT_ABORTED)
		TRY(retrohunt_skipped(api->svc, job->id, RETROHUNT_SKIPPED_SHOWN, arena, &skips,
				      &text.skip_count, err));
	text.skips = skips;
	*ret = (struct object){ .type = &object_types[OBJECT_retrohunt_job],
				.id = arena_str(arena, str_of(job->name)),
				.key = job->id,
				.attributes = object_json(arena, write_job, &text) };
	return 0;
}

/* ---- Reading what clients send ---- */

static bool refuse(struct http_request *req, const char *key, const char *what)
{
	api_error(req, 400, "InvalidArgumentError", "\"%s\" must be %s", key, what);
	return false;
}

static bool read_string(struct http_request *req, const json_t *v, const char *key, struct str *ret)
{
	if (!json_is_string(v))
		return refuse(req, key, "a string");
	*ret = str_make(json_string_value(v), json_string_length(v));
	return true;
}

/* A string (an empty one is none) or an array of strings, as a JSON array. */
static bool read_emails(struct http_request *req, json_t *v, const char *key, struct str *ret)
{
	struct buf out = BUF_INIT(LIMIT_JSON_BODY_BYTES * 2);
	bool fine = json_is_string(v) || json_is_array(v);
	struct json j;
	json_t *item;
	size_t i;

	json_init(&j, &out);
	json_arr(&j);
	if (json_string_length(v))
		json_str(&j, str_make(json_string_value(v), json_string_length(v)));
	json_array_foreach(v, i, item)
	{
		fine = fine && json_is_string(item);
		if (fine)
			json_str(&j, str_make(json_string_value(item), json_string_length(item)));
	}
	json_arr_end(&j);
	json_end(&j);
	*ret = arena_str(req->arena, buf_str(&out));
	buf_release(&out);
	return fine || refuse(req, key, "a string or an array of strings");
}

/* An open bound is 0, which is a start, too, but no end. */
static bool read_time(struct http_request *req, json_t *range, const char *key, bool may_be_zero,
		      int64_t *ret)
{
	json_t *v = json_object_get(range, key);

	if (!v || json_is_null(v))
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return refuse(req, key, "a time in seconds since 1970");
	if (json_integer_value(v) == 0 && !may_be_zero)
		return refuse(req, key, "a time in seconds since 1970, and later than that");
	*ret = json_integer_value(v);
	return true;
}

static bool read_attribute(struct http_request *req, const char *key, json_t *v,
			   struct retrohunt_new *to)
{
	if (strcmp(key, "rules") == 0)
		return read_string(req, v, key, &to->rules);
	if (strcmp(key, "corpus") == 0)
		return json_is_null(v) || read_string(req, v, key, &to->corpus);
	if (strcmp(key, "notification_email") == 0)
		return json_is_null(v) || read_emails(req, v, key, &to->emails_json);
	if (strcmp(key, "keep_watching") == 0) {
		to->keep_watching = json_is_true(v);
		return json_is_boolean(v) || refuse(req, key, "true or false");
	}
	if (strcmp(key, "time_range") == 0 && !json_is_null(v)) {
		if (!json_is_object(v))
			return refuse(req, key, "an object with \"start\" and \"end\"");
		return read_time(req, v, "start", true, &to->start_s) &&
		       read_time(req, v, "end", false, &to->end_s);
	}
	return true; /* unknown attributes are ignored, as VirusTotal does */
}

/* The body; false: answered. Release *ret_root. */
static bool read_new(struct http_request *req, json_t **ret_root, struct retrohunt_new *ret)
{
	json_t *attributes = api_attributes(req, "retrohunt_job", STR(""), ret_root), *v;
	const char *key;

	if (!attributes)
		return false;
	*ret = (struct retrohunt_new){ 0 };
	if (!json_object_get(attributes, "rules")) {
		api_error(req, 400, "InvalidArgumentError", "\"rules\" is required");
		return false;
	}
	json_object_foreach(attributes, key, v)
	{
		if (!read_attribute(req, key, v, ret))
			return false;
	}
	return true;
}

/* ---- Answers ---- */

static void job_fail(struct http_request *req, int rc, const struct err *err, struct str messages)
{
	if (rc == -ERR_INVALID)
		api_refuse_rules(req, err, messages);
	else if (rc == -ERR_EXISTS)
		api_error(req, 429, "TooManyRequestsError", "%s", err->msg);
	else
		api_fail(req, rc, err);
}

static void job_created(const struct retrohunt_job *job, int rc, const struct err *err,
			struct str messages, void *arg)
{
	struct http_request *req = arg;
	struct api *api = api_call_of(req)->api;
	struct err why = { 0 };
	struct object o;

	if (rc == 0) {
		rc = job_object(api, job, req->arena, &o, &why);
		err = &why;
	}
	if (rc)
		job_fail(req, rc, err, messages);
	else
		answer_one(api, req, NULL, &o);
	http_request_resume(req);
}

void post_retrohunt_job(struct http_request *req, void *arg)
{
	AUTO(json_drop) json_t *root = NULL;
	const struct audit_by by = api_by(req);
	struct api *api = arg;
	struct retrohunt_new ask;
	struct err err;
	int rc;

	if (!read_new(req, &root, &ask))
		return;
	ask.by = &by;
	api_call_of(req)->quotas |= 1u << QUOTA_RETROHUNT_JOBS_MONTH;
	http_request_suspend(req);
	rc = retrohunt_create(api->svc, &api_call_of(req)->user, &ask, job_created, req, &err);
	if (!rc)
		return;
	job_fail(req, rc, &err, STR(""));
	http_request_resume(req);
}

/* ---- What one would cost ---- */

static void job_estimated(struct str attributes, int rc, const struct err *err, struct str messages,
			  void *arg)
{
	struct http_request *req = arg;
	struct answer a;

	if (rc) {
		job_fail(req, rc, err, messages);
	} else {
		answer_begin(&a, NULL, req, NULL);
		json_key(&a.json, "data");
		json_obj(&a.json);
		json_kv_z(&a.json, "type", "retrohunt_estimate");
		json_key(&a.json, "attributes");
		json_raw(&a.json, attributes);
		json_obj_end(&a.json);
		answer_send(&a);
	}
	http_request_resume(req);
}

void post_retrohunt_estimate(struct http_request *req, void *arg)
{
	AUTO(json_drop) json_t *root = NULL;
	struct api *api = arg;
	struct retrohunt_new ask;
	struct err err;
	int rc;

	if (!read_new(req, &root, &ask))
		return;
	http_request_suspend(req);
	rc = retrohunt_estimate(api->svc, api_call_of(req)->user.id, &ask, job_estimated, req,
				&err);
	if (!rc)
		return;
	job_fail(req, rc, &err, STR(""));
	http_request_resume(req);
}

/* ---- One ---- */

int retrohunt_find(struct api *api, int64_t user_id, struct str id, struct arena *arena,
		   struct object *ret, struct err *err)
{
	struct retrohunt_job job;

	TRY(retrohunt_get(api->svc, user_id, id, arena, &job, err));
	return job_object(api, &job, arena, ret, err);
}

void get_retrohunt_job(struct http_request *req, void *arg)
{
	object_get(req, arg, OBJECT_retrohunt_job);
}

static void stop_answer(struct retrohunt_call *call, int rc, const struct err *err)
{
	if (rc == -ERR_NOT_FOUND)
		api_not_found(call->req, "Retrohunt job", call->req->params[0]);
	else if (rc)
		api_fail(call->req, rc, err);
	else
		api_send_empty(call->req);
	http_request_resume(call->req);
}

static void delete_run(void *arg)
{
	struct retrohunt_call *call = arg;
	const struct audit_by by = api_by(call->req);
	struct err err;
	int rc = retrohunt_delete(call->api->svc, by.user_id, call->req->params[0], &by, &err);

	stop_answer(call, rc, &err);
}

static void abort_run(void *arg)
{
	struct retrohunt_call *call = arg;
	const struct audit_by by = api_by(call->req);
	struct err err;
	int rc = retrohunt_abort(call->api->svc, by.user_id, call->req->params[0], &by, &err);

	stop_answer(call, rc, &err);
}

static struct retrohunt_call *call_new(struct http_request *req, void *arg)
{
	struct retrohunt_call *call = arena_must(req->arena, sizeof *call);

	*call = (struct retrohunt_call){ .req = req, .api = arg };
	return call;
}

void delete_retrohunt_job(struct http_request *req, void *arg)
{
	api_run(req, arg, delete_run, call_new(req, arg));
}

void abort_retrohunt_job(struct http_request *req, void *arg)
{
	api_run(req, arg, abort_run, call_new(req, arg));
}

/* ---- The list ---- */

const struct page_rules retrohunt_rules = { .filter = true };

static int list_jobs(struct api *api, int64_t owner_id, const struct page *page,
		     struct arena *arena, struct related *ret, struct err *err)
{
	struct retrohunt_query q = { .owner_id = owner_id,
				     .filter = page->filter,
				     .limit = page->limit,
				     .count = page->total < 0 };
	struct retrohunt_page found;
	struct object *objects;

	if (!page_position_number(page->position, &q.before_id))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(retrohunt_list(api->svc, &q, arena, &found, err));
	objects = arena_must(arena, (found.count + 1) * sizeof *objects);
	for (size_t i = 0; i < found.count; i++)
		TRY(job_object(api, &found.rows[i], arena, &objects[i], err));
	*ret = (struct related){ .objects = objects,
				 .count = found.count,
				 .total = q.count ? found.total : page->total };
	if (found.more)
		ret->next = page_position_of(arena, found.rows[found.count - 1].id);
	return 0;
}

int user_retrohunt_jobs(const struct related_ask *ask, struct related *ret, struct err *err)
{
	/* What somebody hunts for is nobody else's business, whoever may see the account. */
	if (ask->user_id != ask->of->key)
		return err_set(err, ERR_FORBIDDEN, "the jobs of another user");
	return list_jobs(ask->api, ask->of->key, ask->page, ask->arena, ret, err);
}

static void list_run(void *arg)
{
	struct retrohunt_call *call = arg;
	struct http_request *req = call->req;
	struct related found;
	struct answer a;
	struct err err;
	int rc;

	answer_begin(&a, call->api, req, &call->view);
	rc = list_jobs(call->api, api_user_id(req), &call->page, req->arena, &found, &err);
	answer_related(&a, &call->page, rc, &found, &err);
	http_request_resume(req);
}

void get_retrohunt_jobs(struct http_request *req, void *arg)
{
	struct retrohunt_call *call = call_new(req, arg);

	if (view_read(req, &call->view) &&
	    page_read(arg, req, &retrohunt_rules, STR(""), &call->view, &call->page))
		api_run(req, arg, list_run, call);
}

/* ---- What a job leads to ---- */

static void write_context(struct json *j, const void *arg)
{
	const struct retrohunt_file *f = arg;

	json_obj(j);
	json_kv_str(j, "rule_name", f->rule);
	json_kv_bool(j, "match_in_subfile", f->is_inside);
	json_obj_end(j);
}

int retrohunt_files(const struct related_ask *ask, struct related *ret, struct err *err)
{
	bool count = ask->page->total < 0;
	struct retrohunt_files found;
	struct object *objects;
	int64_t after;

	if (!page_position_number(ask->page->position, &after))
		return err_set(err, ERR_INVALID, "Invalid cursor");
	TRY(retrohunt_matching_files(ask->api->svc, ask->of->key, after, ask->page->limit, count,
				     ask->arena, &found, err));
	objects = arena_must(ask->arena, (found.count + 1) * sizeof *objects);
	for (size_t i = 0; i < found.count; i++) {
		TRY(file_object_find(ask->api, found.rows[i].sha256, ask->arena, &objects[i], err));
		objects[i].context = object_json(ask->arena, write_context, &found.rows[i]);
	}
	*ret = (struct related){ .objects = objects,
				 .count = found.count,
				 .total = count ? found.total : ask->page->total };
	if (found.more)
		ret->next = page_position_of(ask->arena, found.rows[found.count - 1].position);
	return 0;
}
