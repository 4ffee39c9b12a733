"""The examples of the IoC Stream and of what all lists and errors have in common."""

import hashlib
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import weirtest
from examples import api, ask, check, rows, user  # noqa: F401 (api and user are fixtures)
from weirtest import assert_error, marker, rules_for

RULESETS = "/intelligence/hunting_rulesets"
RANSOMWARE = """
rule vulnerability_weaponization : x {
	strings: $a = "%s"
	condition: $a
}
rule second { strings: $a = "%s" condition: $a }
"""

ENTRY = {
    "type": "file", "id": "c9c4ee34", "links": {"self": "https://"},
    "attributes": {"sha256": "c9c4ee34", "size": 1, "names": ["x"], "last_analysis_stats": {"malicious": 0}},
    "context_attributes": {
        "notification_id": "9047905968", "notification_date": 1675778611, "origin": "hunting",
        "sources": [{"type": "hunting_ruleset", "id": "7926136120", "label": "Ransomware"}],
        "tags": ["c9c4ee34"],
        "hunting_info": {"rule_name": "vulnerability_weaponization", "snippet": "...", "match_source": "ORIGINAL_FILE",
                         "source_key": "433a7343"}}}
PAGE = {"data": [ENTRY], "meta": {"cursor": "...", "count": 2545}, "links": {"self": "https://", "next": "https://"}}


@pytest.fixture(scope="module")
def names(user, api):
    """24 entries: 12 files, each found by two rules of "Ransomware"."""
    mark = marker()
    ruleset = api.ruleset(RANSOMWARE % (mark, mark), "Ransomware")
    files = [api.hunt(f"{mark} {i}".encode(), f"file {i}.exe") for i in range(12)]
    entry = api.stream(filter="tag:vulnerability_weaponization", limit=1)["data"][0]
    context = entry["context_attributes"]
    return {"ruleset": ruleset["id"], "sha256": entry["id"], "notification": context["notification_id"],
            "date": context["notification_date"], "files": files, "mark": mark, "username": user[0],
            "md5": hashlib.md5(f"{mark} 3".encode()).hexdigest(), "sha1": hashlib.sha1(f"{mark} 3".encode()).hexdigest()}


def test_the_page_of_the_documentation(api, names):
    page = check(api, "GET /ioc_stream", names, PAGE)
    assert len(page["data"]) == 10 and page["meta"]["count"] == 24
    item = next(item for item in page["data"] if item["context_attributes"]["hunting_info"]["rule_name"] != "second")
    context = item["context_attributes"]
    assert context["sources"] == [{"type": "hunting_ruleset", "id": names["ruleset"], "label": "Ransomware"}]
    assert {item["id"], "vulnerability_weaponization", "ransomware", "x"} <= set(context["tags"])
    assert context["hunting_info"]["rule_tags"] == ["x"] and context["hunting_info"]["match_source"] == "ORIGINAL_FILE"
    assert context["notification_id"].isdigit() and context["origin"] == "hunting"
    for link in page["links"].values():
        assert link.startswith(f"{api.base}/api/v3/ioc_stream?")


def test_descriptors_only_has_no_attributes(api, names):
    page = check(api, "GET /ioc_stream?descriptors_only=true&limit=40", names,
                 {**PAGE, "data": [{k: v for k, v in ENTRY.items() if k not in ("attributes", "links")}],
                  "links": {"self": ""}, "meta": {"count": 1}})
    assert all("attributes" not in item for item in page["data"])


# (filter as it is written, what it finds of the 24: all, none, or a number)
FILTERS = rows(
    ("date:3d+ entity_type:url source_type:collection", 0),
    ("date:7d+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) source_type:threat_actor “Kimsuky”", 0),
    ('date:7d+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) source_type:threat_actor "Kimsuky"', 0),
    ("date:1d+ entity_type:file origin:hunting", 24), ("date:3d+", 24), ("date:1d+", 24), ("date:7d+", 24), ("date:60d+", 24),
    ("date:10m+", 24), ("date:3d", 24), ("date:2023-02-07T10:00:00+", 24), ("date:2023-02-07-", 0), ("date:2023-02-07+", 24),
    ("date:2023-02-07T10-00-00+", 24), ("date:1626960086+", 24), ("date:2021-07-23-", 0), ("date:2021-07-21+ date:2021-07-23-", 0),
    ("date:1675778611", 0), ("date:1675778611+", 24), ("origin:hunting", 24), ("origin:subscriptions", 0), ("entity_type:file", 24),
    ("entity_type:domain", 0), ("entity_type:url", 0), ("entity_type:ip_address", 0), ("source_type:hunting_ruleset", 24),
    ("source_type:retrohunt_job", 0), ("source_type:collection", 0), ("source_type:threat_actor", 0),
    ("source_type:threat_profile", 0), ("source_type:hunting_ruleset OR source_type:retrohunt_job", 24),
    ("source_id:{ruleset}", 24), ("source_id:1", 0), ("entity_id:{sha256}", 2), ("entity_id:{md5}", 2), ("entity_id:{sha1}", 2),
    ("notification_tag:vulnerability_weaponization", 12), ("notification_tag:Ransomware", 24), ("notification_tag:{sha256}", 2),
    ("tag:second", 12), ("origin:hunting tag:second", 12), ("tag:x", 12), ("source_name:Ransomware", 24), ("Ransomware", 24),
    ("ransomware", 24), ('"Ransomware"', 24), ("'Ransomware'", 24), ("{sha256}", 2), ("nothing of the kind", 0),
    ("NOT tag:second", 12), ("not tag:second", 12), ("tag:second or tag:x", 24), ("tag:second and tag:x", 0),
    ("(tag:second OR tag:x) NOT tag:second", 12), ("TAG:second", None), ("origin:hunting entity_id:{sha256} tag:second", 1),
    ("date:{date}", None), ("date:{date}+", None), ("name:x", -1), ("", 24))


@pytest.mark.parametrize("text, count", FILTERS)
def test_filters_as_they_are_written(api, names, text, count):
    text = text.format(**names) if "{" in text else text
    response = api.get("/ioc_stream", params={"filter": text, "limit": 1})
    if count == -1:
        assert_error(response, 400, "BadRequestError", "name")
        return
    assert response.status_code in ((200,) if count is not None else (200, 400)), response.text
    if count is not None:
        assert response.json()["meta"]["count"] == count, response.text


def test_dates_are_inclusive_and_exact(api, names):
    date = names["date"]
    exact = api.stream(filter=f"date:{date}")["meta"]["count"]
    assert exact >= 1
    after = api.stream(filter=f"date:{date}+")["meta"]["count"]
    before = api.stream(filter=f"date:{date}-")["meta"]["count"]
    assert before + after == 24 and after >= exact
    today = time.strftime("%Y-%m-%d", time.gmtime(date))
    assert api.stream(filter=f"date:{today}")["meta"]["count"] >= exact


def test_a_sign_that_was_lost_on_the_way(api, names):
    """A plus that is not encoded arrives as a blank: date:3d then means date:3d+."""
    assert api.get("/ioc_stream?filter=date:3d+entity_type:file").json()["meta"]["count"] == 24
    assert api.get("/ioc_stream?filter=date:3d%2B+entity_type:file").json()["meta"]["count"] == 24


def test_next_links_encode_blanks_as_plus_and_plus_as_percent(api, names):
    page = api.stream(filter="date:7d+ entity_type:file", limit=2, order="date-")
    query = urlsplit(page["links"]["next"]).query
    assert "date%3A7d%2B+entity_type%3Afile" in query or "date:7d%2B+entity_type:file" in query, query
    assert parse_qs(query)["filter"] == ["date:7d+ entity_type:file"] and parse_qs(query)["limit"] == ["2"]


@pytest.mark.parametrize("order, sign", [("date-", -1), ("date+", 1), ("date", 1), (None, -1)])
def test_orders(api, names, order, sign):
    params = {"limit": 40, **({"order": order} if order else {})}
    ids = [int(item["context_attributes"]["notification_id"]) for item in api.stream(**params)["data"]]
    assert ids == sorted(ids)[::sign]


def test_a_cursor_is_kept_and_sent_alone(api, names):
    """The official polling sample keeps only meta.cursor."""
    page = api.stream(filter="tag:second", limit=5)
    rest = api.get("/ioc_stream", params={"cursor": page["meta"]["cursor"]}).json()
    assert len(rest["data"]) == 5
    assert all(item["context_attributes"]["hunting_info"]["rule_name"] == "second" for item in rest["data"])


def test_limits(api, names):
    assert len(api.stream(limit=40)["data"]) == 24
    assert len(api.stream(limit=1000)["data"]) == 24  # cut, not refused
    for value in ("True", "true", "1"):
        assert "attributes" not in api.stream(descriptors_only=value)["data"][0]
    for value in ("False", "false", "0"):
        assert "attributes" in api.stream(descriptors_only=value)["data"][0]


NOTIFICATION = {"data": {
    "type": "ioc_stream_notification", "id": "9047905968", "links": {"self": "https://"},
    "attributes": {
        "date": 1675778611, "notification_date": 1675778611, "entity_type": "file", "entity_id": "c9c4", "origin": "hunting",
        "sources": [{"type": "hunting_ruleset", "id": "7926136120", "label": "Ransomware"}], "tags": ["..."],
        "hunting_info": {"match_in_subfile": False, "rule_name": "vulnerability_weaponization", "rule_tags": ["x"],
                         "snippet": "...", "source_key": "..."}}}}


def test_a_notification(api, names):
    answer = check(api, "GET /ioc_stream_notifications/{notification}", names, NOTIFICATION)
    data = answer["data"]
    assert data["links"]["self"] == f"{api.base}/api/v3/ioc_stream_notifications/{names['notification']}"
    assert data["attributes"]["entity_id"] == names["sha256"]
    assert data["attributes"]["date"] == data["attributes"]["notification_date"] == names["date"]


def test_deleting_notifications(server):
    api = server.api(server.someone())
    mark = marker()
    api.ruleset(rules_for(mark, 3))
    api.hunt(mark.encode())
    first = api.stream(limit=1)["data"][0]["context_attributes"]["notification_id"]
    assert check(api, "DELETE /ioc_stream_notifications/{id}", {"id": first}) == {}
    assert_error(api.get(f"/ioc_stream_notifications/{first}"), 404, "NotFoundError")
    assert check(api, "DELETE /ioc_stream?filter=tag:found_1", {}) == {}
    weirtest.wait_for(lambda: api.delete("/ioc_stream").status_code == 200, 20, "a deletion is still under way")
    assert api.stream()["data"] == []


# ---- conventions ----


ERRORS = rows(
    ("GET /ioc_stream?filter=origin:notHunting", 400, "BadRequestError",
     'origin "notHunting" is not valid. Valid origins are: hunting,subscriptions'),
    ("GET /ioc_stream?cursor=none", 400, "BadRequestError", "Invalid cursor"),
    ("GET /ioc_stream?filter=nothing:1", 400, "BadRequestError", "nothing"),
    ("GET /files/" + "0" * 64, 404, "NotFoundError", f'File "{"0" * 64}" not found'),
    ("GET /ioc_stream_notifications/999999999", 404, "NotFoundError", "not found"),
    ("GET /files/{sha256}/no_such_relationship", 404, "NotFoundError", "no_such_relationship"))


@pytest.mark.parametrize("request_text, status, code, message", ERRORS)
def test_errors(api, names, request_text, status, code, message):
    assert_error(ask(api, request_text, names), status, code, message)


def test_errors_of_keys(server):
    assert assert_error(server.api().get("/ioc_stream"), 401, "AuthenticationRequiredError") == "X-Apikey header is missing"
    assert assert_error(server.api("0" * 64).get("/ioc_stream"), 401, "WrongCredentialsError") == "Wrong API key"
    viewer = server.api(server.someone("viewer"))
    assert assert_error(viewer.post("/files", files={"file": b"x"}), 403, "ForbiddenError") == (
        "You are not authorized to perform the requested operation")


OBJECT = {"data": {"type": "file", "id": "x", "links": {"self": "https://"}, "attributes": {}}}


def test_the_envelope(api, names):
    answer = check(api, "GET /files/{sha256}", names, OBJECT)
    assert answer["data"]["links"]["self"] == f"{api.base}/api/v3/files/{names['sha256']}"
    assert "relationships" not in answer["data"] and "context_attributes" not in answer["data"]


def test_embedded_relationships(api, names):
    answer = check(api, "GET /intelligence/hunting_rulesets/{ruleset}?relationships=owner,hunting_notification_files", names, {"data": {
        "relationships": {
            "owner": {"data": {"type": "user", "id": "alice"}, "links": {"self": "https://", "related": "https://"}},
            "hunting_notification_files": {"data": [{"type": "file", "id": "x"}], "meta": {"count": 1}, "links": {"self": "https://"}}}}})
    relationships = answer["data"]["relationships"]
    assert relationships["owner"]["data"]["id"] == names["username"]
    for link, end in (("self", "relationships/owner"), ("related", "owner")):
        assert relationships["owner"]["links"][link] == f"{api.base}/api/v3{RULESETS}/{names['ruleset']}/{end}"


@pytest.mark.parametrize("form", ["relationships", "relationship"])
def test_related_descriptors_and_objects(api, names, form):
    descriptor = check(api, "GET /intelligence/hunting_rulesets/{ruleset}/" + form + "/owner", names, {"data": {"type": "user", "id": "a"}})
    assert "attributes" not in descriptor["data"]
    check(api, "GET /intelligence/hunting_rulesets/{ruleset}/owner", names, {"data": {"type": "user", "id": "a", "attributes": {}}})
    page = check(api, "GET /files/{sha256}/" + form + "/submissions", names,
                 {"data": [{"type": "submission", "id": "x"}], "meta": {"count": 1}, "links": {"self": "https://"}})
    assert "attributes" not in page["data"][0]


def test_projection(api, names):
    answer = check(api, "GET /files/{sha256}?attributes=size,names,no_such_thing", names)
    assert set(answer["data"]["attributes"]) == {"size", "names"}
    answer = check(api, "GET /files/{sha256}?exclude_attributes=names,last_analysis_stats", names)
    assert not {"names", "last_analysis_stats"} & set(answer["data"]["attributes"])
    assert "size" in answer["data"]["attributes"]
    page = check(api, "GET /ioc_stream?attributes=sha256&limit=2", names)
    assert all(set(item["attributes"]) == {"sha256"} for item in page["data"])
    answer = check(api, "GET /files/{sha256}?relationships=analyses&relationship_attributes=status", names)
    assert all(set(item["attributes"]) == {"status"} for item in answer["data"]["relationships"]["analyses"]["data"])
