"""Keys, roles, and whose things are whose."""

import pytest

from weirtest import assert_error, marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"
ROLES = ("viewer", "hunter", "editor", "admin")
KEYLESS = ("//healthz", "//readyz", "//metrics", "//api/openapi.json")


@pytest.fixture(scope="module")
def routes(server):
    """(method, path with made-up ids) of every route that needs a key."""
    paths = server.api().get("//api/openapi.json").json()["paths"]
    return [(method.upper(), "/" + path.replace("{id}", "1234567890").replace("{token}", "A" * 43))
            for path, item in paths.items() for method, operation in item.items() if operation.get("security")]


def test_no_route_is_served_without_a_key(server, routes):
    assert len(routes) >= 18
    for method, path in routes:
        response = server.api().request(method, path)
        assert_error(response, 401, "AuthenticationRequiredError", "X-Apikey header is missing")


def test_no_route_is_served_with_a_wrong_key(server, routes):
    for key in ("0" * 64, "x", "a" * 10_000, "' OR 1=1 --", "Bearer " + "0" * 64):
        for method, path in routes:
            assert_error(server.api(key).request(method, path), 401, "WrongCredentialsError", "Wrong API key")


def test_a_key_must_be_whole(server):
    key = server.someone()
    assert server.api(key).get("/ioc_stream").status_code == 200
    for other in (key[:-1], key + "0", key[:32], key[::-1]):
        assert_error(server.api(other).get("/ioc_stream"), 401, "WrongCredentialsError")


def test_some_routes_need_no_key(server):
    for path in KEYLESS:
        assert server.api().get(path).status_code == 200
        assert server.api("wrong").get(path).status_code == 200


def test_what_each_role_may(server, api):
    sha256 = api.hunt(marker().encode())
    body = {"data": {"type": "hunting_ruleset", "attributes": {"name": "n", "rules": rules_for(marker())}}}
    calls = [  # (the first role that may, what)
        ("viewer", lambda c: c.get("/ioc_stream")),
        ("viewer", lambda c: c.get(RULESETS)),
        ("viewer", lambda c: c.get(f"/files/{sha256}")),
        ("hunter", lambda c: c.get(f"/files/{sha256}/download")),
        ("hunter", lambda c: c.get("/files/upload_url")),
        ("hunter", lambda c: c.post("/files", files={"file": ("a", marker().encode())})),
        ("hunter", lambda c: c.post(f"/files/{sha256}/analyse")),
        ("hunter", lambda c: c.post(RULESETS, json=body)),
        ("hunter", lambda c: c.delete("/ioc_stream", params={"filter": "tag:none"})),
        ("admin", lambda c: c.delete(f"/files/{sha256}")),
    ]
    for role in ROLES:
        client = server.api(server.someone(role))
        for least, call in calls:
            response = call(client)
            if ROLES.index(role) >= ROLES.index(least):
                assert response.status_code == 200, (role, response.request.url, response.text)
            else:
                assert_error(response, 403, "ForbiddenError",
                             "You are not authorized to perform the requested operation")


def test_what_a_viewer_may_not_even_when_it_is_nonsense(server):
    """Who asks is looked at before what is asked."""
    viewer = server.api(server.someone("viewer"))
    assert_error(viewer.post(RULESETS, data="{"), 403, "ForbiddenError")
    assert_error(viewer.post("/files", data=b"x" * 1_000_000), 403, "ForbiddenError")
    assert_error(viewer.patch(f"{RULESETS}/1", data="{"), 403, "ForbiddenError")
    assert_error(viewer.delete(f"{RULESETS}/1"), 403, "ForbiddenError")


def test_who_was_refused_is_in_the_log(make_server):
    server = make_server().start()  # of its own: lines of a busy second are counted instead of written
    refused = server.api(server.someone("viewer")).get("/files/upload_url")
    assert refused.status_code == 403
    request_id = refused.headers["X-Request-Id"]

    def users():
        return [e["user"] for e in server.log_events() if e["event"] == "request" and e["request_id"] == request_id]
    wait_for(users, 5, "the request is not in the log")
    assert users()[0] not in ("-", "")


def test_a_disabled_account_is_told_so_until_it_is_enabled(server):
    api = server.api(server.user("leaver"))
    assert api.get("/ioc_stream").status_code == 200
    server.command("user", "disable", "leaver")
    for response in (api.get("/ioc_stream"), api.post("/files", files={"file": ("a", b"x")}), api.get(f"{RULESETS}/1")):
        assert_error(response, 401, "UserNotActiveError", "not active")
    server.command("user", "enable", "leaver")
    assert api.get("/ioc_stream").status_code == 200


def test_rules_of_a_disabled_account(server, api):
    """Its rulesets are its own still; nobody else's matches are missing."""
    mark = marker()
    leaver = server.api(server.user("leaver-with-rules"))
    leaver.ruleset(rules_for(mark))
    api.ruleset(rules_for(mark))
    server.command("user", "disable", "leaver-with-rules")
    api.hunt(mark.encode())
    assert api.stream()["meta"]["count"] == 1
    server.command("user", "enable", "leaver-with-rules")
    assert len(leaver.get(RULESETS).json()["data"]) == 1


def test_a_new_key_beside_the_old_one(server):
    old = server.user("two-keys")
    new = server.command("user", "key", "two-keys").stdout.strip()
    assert new != old
    for key in (old, new):
        assert server.api(key).get("/ioc_stream").status_code == 200


def test_another_users_ruleset_does_not_exist(server, api):
    made = api.ruleset(rules_for(marker()), "mine")
    path = f"{RULESETS}/{made['id']}"
    for role in ("hunter", "editor"):
        other = server.api(server.someone(role))
        for response in (other.get(path), other.delete(path),
                         other.patch(path, json={"data": {"attributes": {"name": "theirs"}}}),
                         other.patch(path, json={"data": {"attributes": {"rules": rules_for("x")}}})):
            assert_error(response, 404, "NotFoundError", made["id"])
        assert other.get(RULESETS).json()["data"] == []
    assert api.get(path).json()["data"] == made


def test_another_users_notification_does_not_exist(server, api):
    mark = marker()
    api.ruleset(rules_for(mark))
    api.hunt(mark.encode())
    notification = api.stream()["data"][0]["context_attributes"]["notification_id"]
    path = f"/ioc_stream_notifications/{notification}"
    other = server.api(server.someone())
    for response in (other.get(path), other.delete(path)):
        assert_error(response, 404, "NotFoundError", notification)
    assert other.delete("/ioc_stream").status_code == 200  # everything of his own
    assert other.stream()["data"] == []
    assert api.get(path).status_code == 200 and api.stream()["meta"]["count"] == 1


def test_another_users_cursor_is_refused(server, api):
    mark = marker()
    api.ruleset(rules_for(mark, 3))
    api.hunt(mark.encode())
    cursor = api.stream(limit=1)["meta"]["cursor"]
    assert api.stream(cursor=cursor)["data"]
    other = server.api(server.someone())
    assert_error(other.get("/ioc_stream", params={"cursor": cursor}), 400, "BadRequestError", "Invalid cursor")


def test_another_users_place_in_the_list_shows_nothing(server, api):
    for i in range(3):
        api.ruleset(rules_for(marker()), f"secret {i}")
    cursor = api.get(RULESETS, params={"limit": 1, "order": "name"}).json()["meta"]["cursor"]
    other = server.api(server.someone())
    answer = other.get(RULESETS, params={"cursor": cursor})
    assert answer.status_code == 400 or answer.json()["data"] == []


def test_files_are_everyones(server, api):
    """Samples belong to the house; notifications and rules to their owners."""
    data = marker().encode()
    sha256 = api.hunt(data)
    other = server.api(server.someone())
    assert other.get(f"/files/{sha256}").status_code == 200
    assert other.get(f"/files/{sha256}/download").content == data
