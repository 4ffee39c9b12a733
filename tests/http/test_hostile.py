"""Wrong values for everything that the description names, made from it: always a clear 4xx, never a 5xx.

What the description gains is attacked without a line here.
"""

import json
import re
import socket
import subprocess
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

import weirtest
from weirtest import assert_error, marker, rules_for

RULESETS = "/intelligence/hunting_rulesets"
DOCUMENT = "urn:weir:openapi"
YEAR_1969, YEAR_2263 = -31_536_000, 9_246_182_400

IDS = [
    "0", "-1", "1.5", "1e3", "x", "9" * 30, "9223372036854775808", "*", "%20", "%ff%fe", "%c3%28", "..%2f..%2fetc%2fpasswd",
    "'%20OR%201=1--", "%3Cscript%3E", "a" * 3000, "%F0%9F%90%9F", "null", "{id}", "f-" + "0" * 64 + "-1", "f-" + "0" * 64,
    "u-" + "0" * 64 + "-1", "0" * 31, "0" * 63 + "g", "0" * 64, "NjY0MjRlOTFjMDIyYTkyNWM0NjU2NWQzYWNlMzFmZmI6MTQ3NTA0ODI3Nw==",
    "aHR0cHM6Ly93d3cuZ29vZ2xlLmNvbQ", "someone-1598966772", "google.com", "8.8.8.8", "2001:db8::1", "-", "_", "~", ";", "a%0Ab", "+1",
]
VALUES = [
    None, True, False, 0, -1, 1, 1.5, 1e300, -1e300, 2**63 - 1, 2**63, -2**63, 10**40, "", " ", "x", "a\nb", "\u202e", "\ufeff",
    "x" * 300, "x" * 100_000, "true", "1", [], [None], [1], [[]], [{}], ["x"] * 2000, ["x" * 100_000], {}, {"a": 1},
    {"start": "x"}, YEAR_1969, YEAR_2263, YEAR_2263 * 1000,
]


@pytest.fixture(scope="module")
def openapi(server):
    return server.api().get("//api/openapi.json").json()


@pytest.fixture(scope="module")
def attacker(server):
    """A client who may do everything; of an account that is made for it."""
    return server.api(server.someone("admin"))


def operations(openapi):
    return [(method.upper(), path, operation) for path, item in openapi["paths"].items()
            for method, operation in item.items() if path.startswith("/api/v3/")]


def refused_or_served(response, what):
    """200, or an error of the API; the status."""
    if response.status_code == 200:
        return 200
    assert 400 <= response.status_code < 500, f"{what}: {response.status_code} {response.text[:300]}"
    assert response.headers["Content-Type"] == "application/json", f"{what}: {response.text[:300]}"
    error = response.json()["error"]
    assert set(error) >= {"code", "message"} and error["message"], f"{what}: {error}"
    return response.status_code


def test_ids_of_every_wrong_kind_on_every_route(openapi, attacker):
    asked = 0
    for method, path, _ in operations(openapi):
        names = re.findall(r"\{(\w+)\}", path)
        for number, identifier in enumerate(IDS):
            if not names:
                continue
            target = re.sub(r"\{\w+\}", lambda _, value=identifier: value, path)
            kwargs = {"data": b"{}"} if method in ("POST", "PATCH", "PUT") and number % 2 else {}
            response = attacker.request(method, "/" + target, **kwargs)
            status = refused_or_served(response, f"{method} {target[:100]}")
            asked += 1
            assert status != 200 or method == "GET", f"{method} {target[:100]} did something"
    assert asked > 20 * len(IDS)


def test_one_wrong_id_beside_good_ones(openapi, attacker):
    """A relationship or a member of what is there, with everything wrong as its name."""
    sha256 = attacker.hunt(marker().encode())
    ruleset = attacker.ruleset(rules_for(marker()))["id"]
    good = {"files": sha256, "hunting_rulesets": ruleset}
    for method, path, _ in operations(openapi):
        collection = next((name for name in good if f"/{name}/{{id}}/" in path), None)
        if not collection or path.count("{") < 2:
            continue
        start = path.replace("{id}", good[collection], 1)
        for identifier in IDS:
            target = re.sub(r"\{\w+\}", lambda _, value=identifier: value, start)
            refused_or_served(attacker.request(method, "/" + target), f"{method} {target[:200]}")


# ---- bodies ----


def resolved(openapi, schema):
    while "$ref" in schema:
        node = openapi
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        schema = node
    return schema


def json_bodies(openapi):
    """(method, path, its schema) of each operation that takes JSON."""
    found = []
    for method, path, operation in operations(openapi):
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            found.append((method, path, resolved(openapi, content["application/json"]["schema"])))
    assert found
    return found


def attributes_of(openapi, schema):
    data = resolved(openapi, schema.get("properties", {}).get("data", {}))
    return resolved(openapi, data.get("properties", {}).get("attributes", {})).get("properties", {})


@pytest.fixture
def target(attacker):
    """target(path): the path with the id of something that is there."""
    ids = {"hunting_rulesets": attacker.ruleset(rules_for(marker()))["id"]}

    def fill(path):
        collection = path.split("/{", 1)[0].rsplit("/", 1)[-1]
        return "/" + re.sub(r"\{\w+\}", ids.get(collection, "0" * 64), path)

    return fill


def test_every_attribute_with_every_wrong_value(openapi, attacker, target):
    """A value that the schema refuses is refused; one that it takes may be refused all the same."""
    registry = Registry().with_resource(DOCUMENT, Resource.from_contents(openapi, DRAFT202012))
    good = {"name": "n", "rules": rules_for(marker())}
    accepted = []
    for method, path, schema in json_bodies(openapi):
        for name, own in attributes_of(openapi, schema).items():
            validator = Draft202012Validator(resolved(openapi, own), registry=registry)
            for value in VALUES:
                attributes = {**(good if method == "POST" else {}), name: value}
                body = json.dumps({"data": {"type": "hunting_ruleset", "attributes": attributes}})
                what = f"{method} {path} {name}={str(value)[:60]!r}"
                status = refused_or_served(attacker.request(method, target(path), data=body), what)
                if status == 200 and not validator.is_valid(value):
                    accepted.append(what)
    assert accepted == []


BOMBS = [
    b"[" * 100_000, b'{"a":' * 50_000, b"[" * 50_000 + b"]" * 50_000, b'{"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    b'{"data":{"attributes":{' + b",".join(b'"a%d":1' % i for i in range(200_000)) + b"}}}",
    b'{"data":{"attributes":{"name":"' + b"\\u0041" * 200_000 + b'"}}}',
    b'{"data":{"attributes":{"limit":' + b"1" * 1_000_000 + b"}}}", b'{"data":{"attributes":{"limit":1e' + b"9" * 1000 + b"}}}",
    b'{"data":{"attributes":{},"attributes":{}}}', b'{"data":{},"data":{}}', b'{"data":{"attributes":{"name":"a","name":"b"}}}',
    b'{"data":{"attributes":{"tags":[' + b"[" * 3000 + b"]" * 3000 + b"]}}}", b'{"data":[' + b"{}," * 200_000 + b"{}]}",
    b"\x00" * 1000, b"\xff\xfe{\x00}\x00", b'{"data":{"attributes":{"\xff":1}}}', b"", b" " * 1_000_000, b"null", b"1", b'"x"',
]


def test_bombs_in_every_body(openapi, attacker, target):
    for method, path, _ in json_bodies(openapi):
        for bomb in BOMBS:
            response = attacker.request(method, target(path), data=bomb, headers={"Content-Type": "application/json"})
            status = refused_or_served(response, f"{method} {path} {bomb[:40]!r}")
            # Attributes that no one knows are no one's: a change of nothing else is a change of nothing.
            assert status != 200 or (method == "PATCH" and b'"a1":1' in bomb), f"{method} {path} {bomb[:40]!r} was taken"


# ---- query parameters ----


def queries(openapi, *names):
    return [(method, path, p["name"]) for method, path, operation in operations(openapi)
            for p in operation.get("parameters", []) if p["in"] == "query" and (not names or p["name"] in names)]


def test_every_parameter_with_every_wrong_value(openapi, attacker, target):
    texts = ["", "%00", "%ff", "%", "-1", "0", "1.5", "1e3", "9" * 30, "x" * 5000, "'", '"', "(", ")", "null", "true", "[]", "{}",
             "%0d%0aX:1", "a,b,,c", "," * 500, "*", "*" * 200, "::", "a:b:c", "%E2%80%AE", "-", "+", "date%2B"]
    for method, path, name in queries(openapi):
        if method != "GET":
            continue
        for text in texts:
            refused_or_served(attacker.get(f"{target(path)}?{name}={text}"), f"{method} {path}?{name}={text[:40]}")


DATES = ["1969-12-31", "1969-12-31T23:59:59", "0000-01-01", "0001-01-01", "1900-02-29", "-1", "-0", "0", "1", "2262-04-12",
         "2263-01-01", "2263-01-01T00:00:00", "9999-12-31", "9999-12-31T23:59:59", "10000-01-01", "99999-01-01", "9223372036",
         "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e9", "99999999999d", "36500d", "0d", "0s",
         "-3d", "2023-02-29", "2024-02-30", "2023-02-07T24:00:00", "2023-02-07T23:59:60", "2023-2-7", "20230207"]


@pytest.mark.parametrize("sign", ["", "+", "-"])
def test_dates_before_1970_and_after_2262(openapi, attacker, target, sign):
    """A date that can be is compared, one that cannot be is named; nothing wraps around."""
    mark = marker()
    attacker.ruleset(rules_for(mark))
    attacker.hunt(mark.encode())
    for _, path, _ in [row for row in queries(openapi, "filter") if row[0] == "GET"]:
        for date in DATES:
            response = attacker.get(target(path), params={"filter": f"date:{date}{sign}"})
            refused_or_served(response, f"{path} date:{date}{sign}")
    for date in ("1969-12-31", "0001-01-01", "1", "0"):
        answers = [attacker.get("/ioc_stream", params={"filter": f"date:{date}{s}", "limit": 1}) for s in "+-"]
        if answers[0].status_code == 200:
            assert answers[0].json()["data"] and not answers[1].json()["data"], date
    for date in ("2263-01-01", "9999-12-31", "9223372036"):
        answers = [attacker.get("/ioc_stream", params={"filter": f"date:{date}{s}", "limit": 1}) for s in "+-"]
        if answers[0].status_code == 200:
            assert not answers[0].json()["data"] and answers[1].json()["data"], date


FILTERS = {
    "of 15 KB in one word": "x" * 15_000,
    "of 16 KB in one word": "x" * 16_385,
    "of 100 KB": "x" * 100_000,
    "of 100 KB with spaces": "tag:a " * 17_000,
    "of 1,000 terms": "a " * 1000,
    "of 1,000 terms by OR": " OR ".join(f"tag:t{i}" for i in range(1000)),
    "nested 10,000 deep": "(" * 10_000 + "tag:a" + ")" * 10_000,
    "of 10,000 NOTs": "NOT " * 10_000 + "tag:a",
    "of 10,000 quotes": '"' * 10_000,
    "of 10,000 wildcards": "name:" + "*a" * 5_000,
    "of backslashes": '"' + "\\" * 9_999 + '"',
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters(openapi, attacker, target, name):
    """In the query as in a browser, of every list that has one."""
    for method, path, parameter in queries(openapi, "filter", "tag"):
        if parameter == "tag" and method != "DELETE":
            continue
        url = f"{target(path)}?{parameter}={quote(FILTERS[name])}"
        response = attacker.request(method, url)
        assert 400 <= response.status_code < 500 or (response.status_code == 200 and len(FILTERS[name]) <= 16_384), (
            f"{method} {path}: {response.status_code}")
        if len(url) < 40_000:
            refused_or_served(response, f"{method} {path}")


# ---- keys that are revoked ----


def test_a_key_that_is_revoked_in_mid_request(server):
    """An upload that began with a good key is answered, whichever way; the next request is not served."""
    name = f"revoked-{marker()}"
    key = server.user(name)
    data = marker().encode() * 1000
    body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--b--\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.sendall(f"POST /api/v3/files HTTP/1.1\r\nHost: x\r\nx-apikey: {key}\r\nContent-Length: {len(body)}\r\n"
                  "Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n".encode() + body[:100])
        server.command("user", "revoke", name)
        s.sendall(body[100:])
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    assert re.match(rb"HTTP/1\.1 (200|401) ", answer), answer[:200]
    assert_error(server.api(key).get("/ioc_stream"), 401, "WrongCredentialsError")


def test_an_account_that_is_disabled_between_two_pages(server):
    name = f"disabled-{marker()}"
    api = server.api(server.user(name))
    mark = marker()
    api.ruleset(rules_for(mark, 5))
    api.hunt(mark.encode())
    page = api.stream(limit=2)
    server.command("user", "disable", name)
    try:
        assert_error(api.get("/ioc_stream", params={"cursor": page["meta"]["cursor"]}), 401, "UserNotActiveError")
    finally:
        server.command("user", "enable", name)
    assert len(api.stream(cursor=page["meta"]["cursor"])["data"]) == 2


def test_the_server_has_taken_no_harm(server, attacker):
    attacker.hunt(marker().encode())
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(server.process.pid)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1 << 20, "more than 1 GB is resident"
    assert not [e for e in server.log_events() if e.get("level") == "error"]
    assert weirtest.direct_session().get(f"{server.base}/readyz", timeout=10).status_code == 200
