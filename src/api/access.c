#include "api_internal.h"

#include <stdio.h>

#include "base/mem.h"

/*
 * Who may call a route, with which key, and what that costs. Worked out once from
 * routes.def and access.def, so that a request looks at one row.
 */
enum access_cost {
	COST_ONE,
	COST_FREE,
	COST_DOWNLOAD,
	COST_KNOWN,
	COST_IF_FOUND,
	COST_NOT_OWN
};

struct api_access {
	unsigned scopes;
	enum access_cost cost;
	unsigned endpoint;
};

#define BIT(scope) (1u << SCOPE_##scope)
#define ANY SCOPES_ALL

static const struct {
	http_handler_fn *handler;
	unsigned scopes;
	enum access_cost cost;
} exceptions[] = {
#define ACCESS(handler, scopes, cost) { (handler), (scopes), COST_##cost },
#include "access.def"
#undef ACCESS
};

/* "files" of "/api/v3/files/{id}", "hunting_rulesets" of "/api/v3/intelligence/hunting_rulesets".
 */
static void endpoint_name(const char *pattern, char ret[48])
{
	static const char prefix[] = "/api/v3/", group[] = "intelligence/";
	struct str rest = str_of(pattern), part;

	REQUIRE(str_starts(rest, STR("/api/v3/")));
	rest = str_make(rest.p + sizeof prefix - 1, rest.n - (sizeof prefix - 1));
	if (str_starts(rest, str_of(group)))
		rest = str_make(rest.p + sizeof group - 1, rest.n - (sizeof group - 1));
	REQUIRE(str_split(&rest, '/', &part) && part.n < 48);
	snprintf(ret, 48, STR_FMT, STR_ARG(part));
}

static struct api_access access_of(struct service *svc, const struct http_route *route)
{
	struct api_access a = { .scopes = route->method == HTTP_GET ? BIT(READ) : BIT(WRITE),
				.cost = COST_ONE };
	char name[48];

	for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
		if (exceptions[i].handler == route->handler) {
			a.scopes = exceptions[i].scopes;
			a.cost = exceptions[i].cost;
		}
	}
	endpoint_name(route->pattern, name);
	a.endpoint = usage_endpoint(svc, name);
	return a;
}

void api_access_init(struct api *api)
{
	api->access = mem_must_zalloc(api_route_count * sizeof *api->access);
	for (size_t i = 0; i < api_route_count; i++) {
		if (api_routes[i].flags != WHO_OPEN)
			api->access[i] = access_of(api->svc, &api_routes[i]);
	}
}

void api_access_release(struct api *api)
{
	free(api->access);
}

static const struct api_access *access_for(const struct api *api, const struct http_request *req)
{
	REQUIRE(req->route >= api_routes && req->route < api_routes + api_route_count);
	return &api->access[req->route - api_routes];
}

/* ---- Who is it, may he? ---- */

static enum user_role role_needed(enum api_who who)
{
	switch (who) {
	case WHO_VIEWER:
		return ROLE_VIEWER;
	case WHO_HUNTER:
		return ROLE_HUNTER;
	case WHO_OPEN:
	case WHO_ADMIN:
		break;
	}
	return ROLE_ADMIN;
}

static bool charge(struct http_request *req)
{
	struct api_call *call = api_call_of(req);
	const struct api_access *a = access_for(call->api, req);
	struct err err;
	int rc = usage_charge(call->api->svc, &call->user, a->endpoint, a->cost == COST_DOWNLOAD,
			      &err);

	if (rc)
		api_fail(req, rc, &err);
	return rc == 0;
}

bool api_charge_found(struct http_request *req, bool found, bool is_own)
{
	const struct api_call *call = api_call_of(req);
	enum access_cost cost = call ? access_for(call->api, req)->cost : COST_FREE;

	if ((cost == COST_IF_FOUND && found) || (cost == COST_NOT_OWN && !(found && is_own)))
		return charge(req);
	return true;
}

unsigned api_endpoint(const struct http_request *req)
{
	const struct api_call *call = req->user;

	return access_for(call->api, req)->endpoint;
}

void api_forbidden(struct http_request *req)
{
	api_error(req, 403, "ForbiddenError",
		  "You are not authorized to perform the requested operation");
}

void api_admit(struct http_request *req, struct api *api)
{
	struct api_call *call = arena_must(req->arena, sizeof *call);
	const struct api_access *a = access_for(api, req);
	struct str key = http_header(req, "x-apikey");
	struct err err;
	int rc;

	if (!key.p || !key.n) {
		api_error(req, 401, "AuthenticationRequiredError", "X-Apikey header is missing");
		return;
	}
	rc = user_authenticate(api->svc, key, &call->user, &err);
	if (rc == -ERR_FORBIDDEN) {
		api_error(req, 401, "UserNotActiveError", "The account is not active");
		return;
	}
	if (rc) {
		api_fail(req, rc, &err);
		return;
	}
	call->api = api;
	call->quotas = QUOTAS_OF_CALLS;
	if (a->cost == COST_DOWNLOAD)
		call->quotas |= 1u << QUOTA_DOWNLOADS_MONTH;
	req->user = call; /* the log names who was refused, too */
	user_seen(api->svc, &call->user);
	if (call->user.role < role_needed((enum api_who)req->route->flags) ||
	    !(call->user.scopes & a->scopes))
		api_forbidden(req);
	else if (a->cost == COST_ONE || a->cost == COST_DOWNLOAD)
		charge(req);
}

/* ---- For the audit log ---- */

struct audit_by api_by(const struct http_request *req)
{
	const struct api_call *call = req->user;
	struct audit_by by = { .user_id = call ? call->user.id : 0 };

	snprintf(by.address, sizeof by.address, STR_FMT, STR_ARG(req->remote));
	snprintf(by.request_id, sizeof by.request_id, STR_FMT, STR_ARG(req->id));
	return by;
}
