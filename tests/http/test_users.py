"""Users as objects: who sees whom, what they may change, what they have used."""

import datetime
import re

import pytest

from weirtest import assert_error, marker, rules_for, wait_for

EMPTY_MANY = ("collections", "comments", "graphs", "groups", "mentions", "retrohunt_jobs", "votes")
EMPTY_ONE = ("api_quota_group", "intelligence_quota_group", "monitor_quota_group")


@pytest.fixture
def ann(server, request):
    """(name, key, client) of a user with an e-mail address of her own."""
    name = re.sub(r"\W", "-", request.node.name)[-48:].strip("-")
    key = server.command("user", "add", name, "--email", f"{name}@example.org").stdout.strip()
    return name, key, server.api(key)


def data(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_oneself_by_every_id(server, ann):
    name, key, api = ann
    seen = [data(api.get(path)) for path in ("/me", f"/users/{name}", f"/users/{key}", f"/users/{name}@example.org")]
    for user in seen:
        user["attributes"].pop("last_login")
        user["attributes"].pop("quotas")
        assert user == seen[0] | {}
    user = seen[0]
    assert (user["type"], user["id"]) == ("user", name)
    assert user["links"]["self"] == f"{server.base}/api/v3/users/{name}"
    attributes = user["attributes"]
    assert attributes["email"] == f"{name}@example.org" and attributes["apikey"] == key
    assert attributes["status"] == "active" and attributes["preferences"] == {}
    assert attributes["has_2fa"] is False and attributes["reputation"] == 0
    assert abs(attributes["user_since"] - datetime.datetime.now().timestamp()) < 600
    assert "first_name" not in attributes and "profile_phrase" not in attributes


def test_the_last_login_is_now(ann):
    login = data(ann[2].get("/me"))["attributes"]["last_login"]
    assert abs(login - datetime.datetime.now().timestamp()) < 60


def test_others_are_forbidden_and_do_not_even_exist(server, ann):
    other_key = server.user("somebody-else")
    for who in ("somebody-else", other_key, "nobody-at-all", "x@example.org", "0" * 64):
        for path in ("", "/overall_quotas", "/api_usage", "/groups", "/relationships/groups"):
            assert_error(ann[2].get(f"/users/{who}{path}"), 403, "ForbiddenError",
                         "You are not authorized to perform the requested operation")
        assert_error(ann[2].patch(f"/users/{who}", json={"data": {"type": "user", "attributes": {"first_name": "x"}}}),
                     403, "ForbiddenError")


def test_administrators_see_everybody(server, ann):
    name, key, _ = ann
    admin = server.api(server.someone("admin"))
    for who in (name, key, f"{name}@example.org"):
        user = data(admin.get(f"/users/{who}"))
        assert user["id"] == name
        assert "apikey" not in user["attributes"] and "preferences" not in user["attributes"]
        assert data(admin.get(f"/users/{who}/overall_quotas"))
        assert data(admin.get(f"/users/{who}/api_usage"))["daily"]
    assert_error(admin.get("/users/no-such-user"), 404, "NotFoundError", 'User "no-such-user" not found')
    assert_error(admin.get("/users/" + "0" * 64), 404, "NotFoundError")


def test_an_address_that_several_have(server):
    for name in ("shared-1", "shared-2"):
        server.command("user", "add", name, "--email", "soc@example.org")
    admin = server.api(server.someone("admin"))
    assert_error(admin.get("/users/soc@example.org"), 400, "InvalidArgumentError", "2 users have this e-mail address")


def test_a_revoked_key_names_nobody(server, ann):
    name, key, _ = ann
    server.command("user", "key", name)
    server.command("user", "revoke", name, key)
    admin = server.api(server.someone("admin"))
    assert_error(admin.get(f"/users/{key}"), 404, "NotFoundError")


def test_a_key_in_the_path_is_not_in_the_log(make_server):
    server = make_server().start()
    key = server.someone()
    api = server.api(key)
    ids = {api.get(path).headers["X-Request-Id"]
           for path in (f"/users/{key}", f"/users/{key}/overall_quotas", f"/users/{key}/nothing/at/all", f"/users/x{key}")}

    def logged():
        return ids <= {e.get("request_id") for e in server.log_events() if e["event"] == "request"}

    wait_for(logged, 5, "the requests are not in the log")
    assert key not in server.log_path.read_text()


def test_relationships_that_clients_ask_for(ann):
    name, _, api = ann
    asked = ",".join(EMPTY_MANY + EMPTY_ONE)
    for path in (f"/users/{name}", "/me"):
        related = data(api.get(path, params={"relationships": asked, "relationship_attributes": "name"}))["relationships"]
        assert set(related) == set(EMPTY_MANY + EMPTY_ONE)
        assert all(related[r]["data"] == [] for r in EMPTY_MANY)
        assert all(related[r]["data"] is None for r in EMPTY_ONE)
    for relationship in EMPTY_MANY:
        for path in (f"/users/{name}/{relationship}", f"/users/{name}/relationships/{relationship}"):
            assert data(api.get(path, params={"limit": 5, "descriptors_only": "true", "cursor": ""})) == []
            assert data(api.get(path, params={"attributes": "a", "exclude_attributes": "b", "relationships": "c",
                                              "relationship_attributes": "d"})) == []
    for relationship in EMPTY_ONE:
        assert data(api.get(f"/users/{name}/{relationship}")) is None
    assert_error(api.get(f"/users/{name}/nothing"), 404, "NotFoundError", 'Relationship "nothing" not found')


def test_projection(ann):
    name, _, api = ann
    for path in ("/me", f"/users/{name}"):
        assert set(data(api.get(path, params={"attributes": "status,role"}))["attributes"]) == {"status", "role"}
        assert "quotas" not in data(api.get(path, params={"exclude_attributes": "quotas"}))["attributes"]


def test_what_users_change_of_themselves(ann):
    name, key, api = ann
    change = {"first_name": "Ann", "last_name": "Łukasiewicz", "profile_phrase": "I hunt.", "email": "ann@example.net",
              "preferences": {"theme": "dark", "list": [1, {"a": None}]}}
    user = data(api.patch(f"/users/{name}", json={"data": {"type": "user", "id": name, "attributes": change}}))
    assert {k: user["attributes"][k] for k in change} == change
    again = data(api.get(f"/users/{key}"))
    assert {k: again["attributes"][k] for k in change} == change
    # Absent attributes keep their value; an empty text takes it away.
    user = data(api.patch(f"/users/{key}", json={"data": {"attributes": {"first_name": ""}}}))
    assert "first_name" not in user["attributes"] and user["attributes"]["last_name"] == "Łukasiewicz"
    # The whole object comes back as it is.
    answer = data(api.patch(f"/users/{name}", json={"data": user}, params={"attributes": "profile_phrase"}))
    assert answer["attributes"] == {"profile_phrase": "I hunt."}
    for params in ({"exclude_attributes": "quotas"}, {"relationships": "groups"}, {"relationship_attributes": "name"}):
        data(api.patch(f"/users/{name}", json={"data": {"attributes": {}}}, params=params))


@pytest.mark.parametrize("attributes, said", [
    ({"email": "spellman"}, 'Invalid email address: "spellman"'),
    ({"email": "a b@c"}, "Invalid email address"),
    ({"first_name": "x" * 129}, '"first_name" must be one line of at most 128 bytes'),
    ({"last_name": "a\nb"}, '"last_name" must be one line'),
    ({"profile_phrase": "x" * 513}, '"profile_phrase" must be one line of at most 512 bytes'),
    ({"first_name": 1}, '"first_name" must be a string'),
    ({"preferences": []}, '"preferences" must be an object'),
    ({"preferences": {"a": "x" * 17000}}, '"preferences" must be at most 16384 bytes'),
    ({"role": "admin"}, '"role" cannot be changed'),
    ({"status": "disabled"}, '"status" cannot be changed'),
    ({"privileges": {"administration": {"granted": True}}}, '"privileges" cannot be changed'),
    ({"no_such_thing": 1}, '"no_such_thing" cannot be changed'),
], ids=lambda v: next(iter(v)) if isinstance(v, dict) else None)
def test_what_is_refused(ann, attributes, said):
    name, _, api = ann
    answer = api.patch(f"/users/{name}", json={"data": {"type": "user", "attributes": attributes}})
    assert_error(answer, 400, "InvalidArgumentError", said)


def test_what_is_no_change_at_all(ann):
    name, _, api = ann
    for body in (b"", b"{", b"[]", b'{"data": 1}', b'{"data": {"type": "file", "attributes": {}}}',
                 b'{"data": {"id": "another", "attributes": {}}}', b'{"data": {"attributes": 1}}'):
        assert_error(api.patch(f"/users/{name}", data=body), 400, "BadRequestError")


def test_quotas_without_limits_are_large_numbers(ann):
    name, _, api = ann
    quotas = data(api.get(f"/users/{name}/overall_quotas"))
    for quota in ("api_requests_hourly", "api_requests_daily", "api_requests_monthly", "intelligence_hunting_rules",
                  "intelligence_downloads_monthly", "intelligence_retrohunt_jobs_monthly", "intelligence_searches_monthly"):
        assert quotas[quota]["user"] == {"allowed": 10**9, "used": 0}, quota
    assert quotas["monitor_storage_bytes"]["user"] == {"allowed": 0, "used": 0}
    assert not any("minute" in quota for quota in quotas)  # VirusTotal reports none
    assert {q: v["user"] for q, v in quotas.items()} == data(api.get("/me"))["attributes"]["quotas"] | {
        q: {"allowed": 10**9, "used": 0} for q in ("api_requests_hourly", "api_requests_daily", "api_requests_monthly")}


def test_use_by_day_and_endpoint(server, ann):
    name, _, api = ann
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    mark = marker()
    sha256 = api.hunt(mark.encode())
    api.ruleset(rules_for(mark), enabled=False)
    other = server.api(server.someone())
    known = other.hunt(b"other " + mark.encode())
    for path in ("/ioc_stream", f"/files/{known}", f"/files/{known}", f"/files/{sha256}", "/intelligence/hunting_rulesets"):
        assert api.get(path).status_code == 200
    usage = data(api.get(f"/users/{name}/api_usage"))
    assert len(usage["daily"]) == 30 and list(usage["daily"])[-1] == today
    calls = usage["daily"][today]
    assert calls == usage["total"]
    assert calls.pop("analyses") >= 1
    assert calls == {"files": 2, "hunting_rulesets": 2, "ioc_stream": 1}


def test_use_in_a_range_of_days(ann):
    name, _, api = ann
    today = datetime.datetime.now(datetime.UTC).date()

    def usage(first=None, last=None):
        days = {"start_date": first, "end_date": last}
        return api.get(f"/users/{name}/api_usage",
                       params={k: f"{today - datetime.timedelta(d):%Y%m%d}" for k, d in days.items() if d is not None})

    assert len(data(usage(30, 0))["daily"]) == 31
    assert len(data(usage(59))["daily"]) == 30
    assert list(data(usage(None, 40))["daily"])[-1] == f"{today - datetime.timedelta(40)}"
    assert len(data(usage(0, 0))["daily"]) == 1
    assert_error(usage(31, 0), 400, "BadRequestError", "more than 30 days")
    assert_error(usage(1, 2), 400, "BadRequestError", "later than")
    for wrong in ("2026-01-01", "20260230", "20261301", "0", "", "x" * 100, "202601011"):
        assert_error(api.get(f"/users/{name}/api_usage", params={"start_date": wrong}), 400, "BadRequestError",
                     '"start_date" must be a date as YYYYMMDD')


def test_privileges_follow_role_and_key(server, ann):
    name, _, api = ann
    granted = {k: v["granted"] for k, v in data(api.get("/me"))["attributes"]["privileges"].items()}
    assert granted == {"intelligence": True, "hunting": True, "uploads": True, "downloads": True, "administration": False}
    reader = server.api(server.command("user", "key", name, "--scope", "read").stdout.strip())
    granted = {k: v["granted"] for k, v in data(reader.get("/me"))["attributes"]["privileges"].items()}
    assert granted == {"intelligence": True, "hunting": False, "uploads": False, "downloads": False, "administration": False}
    assert set(api.get("/metadata").json()["data"]["privileges"]) == set(granted)


def test_vt_py_reads_users(server, client):
    me = client.get_object("/me")
    assert me.type == "user" and me.status == "active"
    quotas = client.get_data(f"/users/{me.id}/overall_quotas")
    assert quotas["api_requests_daily"]["user"]["allowed"] == 10**9
    usage = client.get_json(f"/users/{me.id}/api_usage")["data"]
    assert usage["total"] == {"me": 1}
    me.first_name = "Vera"
    client.patch_object(f"/users/{me.id}", obj=me)
    assert client.get_object(f"/users/{me.id}").first_name == "Vera"
