"""Keys with scopes, an end and a name; revoked ones; the commands that make them."""

import datetime
import http.client
import re

import pytest

from weirtest import assert_error, marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"
SCOPES = ("read", "stream", "upload", "download", "write")


def key_of(server, name, *args):
    return server.command("user", "key", name, *args).stdout.strip()


def keys_of(server, name):
    """Lines of `weir user keys` by id: (state, scopes, created, expires, used, what for)."""
    lines = server.command("user", "keys", name).stdout.splitlines()
    return {line.split()[0]: (line.split() + [""])[1:6] + [" ".join(line.split()[6:])] for line in lines}


@pytest.fixture(scope="module")
def hunter(server):
    """(name, {scope: client}, a stored file, its analysis, a ruleset)"""
    name = "scoped"
    everything = server.api(server.user(name))
    analysis = everything.upload(marker().encode())
    everything.wait_analysis(analysis)
    ruleset = everything.ruleset(rules_for(marker()))["id"]
    clients = {scope: server.api(key_of(server, name, "--scope", scope)) for scope in (*SCOPES, "all")}
    clients["read,download"] = server.api(key_of(server, name, "--scope", " download , read "))
    return name, clients, analysis.split("-")[1], analysis, ruleset


def test_what_each_scope_may(server, hunter):
    name, clients, sha256, analysis, ruleset = hunter
    body = {"data": {"type": "hunting_ruleset", "attributes": {"name": "n", "rules": rules_for(marker())}}}
    calls = [
        ("read stream", lambda c: c.get("/ioc_stream")),
        ("read", lambda c: c.get(f"/files/{sha256}")),
        ("read", lambda c: c.get(f"/files/{sha256}/analyses")),
        ("read", lambda c: c.get(RULESETS)),
        ("read", lambda c: c.get(f"{RULESETS}/{ruleset}")),
        ("read upload", lambda c: c.get(f"/analyses/{analysis}")),
        ("upload", lambda c: c.get("/files/upload_url")),
        ("upload", lambda c: c.post("/files", files={"file": ("a", marker().encode())})),
        ("upload write", lambda c: c.post(f"/files/{sha256}/analyse")),
        ("download", lambda c: c.get(f"/files/{sha256}/download")),
        ("download", lambda c: c.get(f"/files/{sha256}/download_url")),
        ("write", lambda c: c.post(RULESETS, json=body)),
        ("write", lambda c: c.patch(f"{RULESETS}/{ruleset}", json={"data": {"attributes": {"limit": 5}}})),
        ("write", lambda c: c.delete("/ioc_stream", params={"filter": "tag:none"})),
        ("write", lambda c: c.patch("/users/scoped", json={"data": {"attributes": {"first_name": "S"}}})),
        (" ".join(SCOPES), lambda c: c.get("/me")),
        (" ".join(SCOPES), lambda c: c.get(f"/users/{name}")),
        (" ".join(SCOPES), lambda c: c.get(f"/users/{name}/overall_quotas")),
        (" ".join(SCOPES), lambda c: c.get(f"/users/{name}/api_usage")),
        (" ".join(SCOPES), lambda c: c.get("/metadata")),
    ]
    for scope, client in clients.items():
        for needed, call in calls:
            answer = call(client)
            if scope == "all" or set(scope.split(",")) & set(needed.split()):
                assert answer.status_code == 200, (scope, answer.request.url, answer.text)
            else:
                assert_error(answer, 403, "ForbiddenError", "You are not authorized to perform the requested operation")


def test_a_scope_gives_no_more_than_the_role(server):
    server.user("small", "viewer")
    api = server.api(key_of(server, "small", "--scope", "all"))
    assert_error(api.get("/files/upload_url"), 403, "ForbiddenError")
    assert_error(server.api(key_of(server, "small", "--scope", "upload")).get("/files/upload_url"), 403, "ForbiddenError")


def test_keys_are_listed(server):
    first = server.user("lister")
    key_of(server, "lister", "--scope", "stream,read", "--expires", "2099-01-31", "--name", "SIEM, second floor")
    assert server.api(first).get("/ioc_stream").status_code == 200
    listed = sorted(keys_of(server, "lister").values(), key=lambda line: line[1])
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    assert listed[0][0:2] == ["active", "all"] and listed[0][3] == "-" and listed[0][4].startswith(now)
    assert listed[1][0:2] == ["active", "read,stream"]
    assert listed[1][3] == "2099-01-31T23:59:59Z" and listed[1][4] == "-" and listed[1][5] == "SIEM, second floor"
    assert first not in server.command("user", "keys", "lister").stdout


def test_one_key_is_revoked(server):
    first = server.user("revoker")
    second, third = key_of(server, "revoker"), key_of(server, "revoker", "--name", "third")
    ids = list(keys_of(server, "revoker"))
    (of_third,) = [i for i, line in keys_of(server, "revoker").items() if line[5] == "third"]
    server.command("user", "revoke", "revoker", of_third[:8])
    assert_error(server.api(third).get("/ioc_stream"), 401, "WrongCredentialsError", "Wrong API key")
    server.command("user", "revoke", "revoker", second)  # the key itself
    assert_error(server.api(second).get("/ioc_stream"), 401, "WrongCredentialsError")
    assert server.api(first).get("/ioc_stream").status_code == 200
    assert sorted(line[0] for line in keys_of(server, "revoker").values()) == ["active", "revoked", "revoked"]
    for wrong in (of_third, "nonsense", "f" * 64):
        done = server.command("user", "revoke", "revoker", wrong, check=False)
        assert done.returncode == 1 and "'revoker' has no such key" in done.stderr
    fourth = key_of(server, "revoker")
    assert len(ids) == 3
    server.command("user", "revoke", "revoker")
    for key in (first, fourth):
        assert_error(server.api(key).get("/ioc_stream"), 401, "WrongCredentialsError")


def test_a_key_of_somebody_else_is_not_revoked(server):
    mine, theirs = server.user("me-alone"), server.user("them-alone")
    assert server.command("user", "revoke", "me-alone", theirs, check=False).returncode == 1
    assert server.api(theirs).get("/ioc_stream").status_code == 200
    assert server.api(mine).get("/ioc_stream").status_code == 200


def test_an_end_comes(make_server):
    """Set into the past behind the server's back, as if time had passed."""
    import sqlite3
    server = make_server()
    server.user("ender")
    key = key_of(server, "ender", "--expires", "1h", "--name", "short")
    for left_s in (2, 8, 32):  # the start takes some of it
        with sqlite3.connect(server.data / "weir.db") as db:
            db.execute(f"UPDATE api_key SET expires_s = unixepoch() + {left_s} WHERE name = 'short'")
        api = server.start().api(key)
        if api.get("/ioc_stream").status_code == 200:
            break
        server.stop()
    wait_for(lambda: api.get("/ioc_stream").status_code == 401, left_s + 10, "the key does not end")
    assert_error(api.get("/ioc_stream"), 401, "WrongCredentialsError")
    assert [line[0] for line in keys_of(server, "ender").values() if line[5] == "short"] == ["expired"]


def test_revoked_in_the_middle_of_a_request(server):
    """What is under way ends, the next is refused."""
    key = server.user("interrupted")
    body = (b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + marker().encode() + b"\r\n--x--\r\n")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", "/api/v3/files")
    for name, value in (("x-apikey", key), ("Content-Type", "multipart/form-data; boundary=x"), ("Content-Length", len(body))):
        connection.putheader(name, value)
    connection.endheaders(body[:40])
    # The head is through when the server notes the key's use.
    wait_for(lambda: [line[4] for line in keys_of(server, "interrupted").values()] != ["-"], 10, "the request is not under way")
    server.command("user", "revoke", "interrupted")
    assert_error(server.api(key).get("/ioc_stream"), 401, "WrongCredentialsError")
    connection.send(body[40:])
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("args, said, status", [
    (["key", "admin", "--scope", "everything"], "there is no scope 'everything': all, or some of read, stream", 1),
    (["key", "admin", "--scope", ""], "there is no scope ''", 1),
    (["key", "admin", "--scope", "read,"], "there is no scope ''", 1),
    (["key", "admin", "--expires", "2020-01-01"], "the key would have expired already", 1),
    (["key", "admin", "--expires", "tomorrow"], "'tomorrow' is no time: write 2027-01-31", 2),
    (["key", "admin", "--expires", "2027-02-30"], "is no time", 2),
    (["key", "admin", "--name", "x" * 129], "a key's name is one line of at most 128 bytes", 1),
    (["role", "admin"], "weir user role takes a NAME and a ROLE", 2),
    (["role", "admin", "king"], "there is no role 'king'", 1),
    (["role", "nobody", "viewer"], "no user 'nobody'", 1),
    (["email", "admin", "nonsense"], "Invalid email address", 1),
    (["show", "nobody"], "no user 'nobody'", 1),
    (["keys", "nobody"], "no user 'nobody'", 1),
    (["quota", "nobody"], "no user 'nobody'", 1),
    (["revoke", "nobody", "12"], "no user 'nobody'", 1),
    (["list", "--scope", "read"], "'--scope' is for 'weir user key'", 2),
    (["add", "b" * 64], "looks like an API key", 1),
    (["kyes", "admin"], "did you mean 'keys'?", 2),
], ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else None)
def test_what_commands_refuse(server, args, said, status):
    done = server.command("user", *args, check=False)
    assert done.returncode == status and said in done.stderr and done.stdout == ""


def test_role_and_address_change_at_once(server):
    key = server.user("riser", "viewer")
    api = server.api(key)
    assert_error(api.get("/files/upload_url"), 403, "ForbiddenError")
    server.command("user", "role", "riser", "hunter")
    assert api.get("/files/upload_url").status_code == 200
    server.command("user", "email", "riser", "riser@example.org")
    assert api.get("/me").json()["data"]["attributes"]["email"] == "riser@example.org"
    shown = server.command("user", "show", "riser").stdout
    assert re.search(r"^role +hunter$", shown, re.M) and re.search(r"^email +riser@example.org$", shown, re.M)
    server.command("user", "email", "riser", "")
    assert "email" not in api.get("/me").json()["data"]["attributes"]
