"""The IoC Stream by plain requests."""

import hashlib
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from weirtest import assert_error, marker, rules_for, wait_for


def notifications(answer):
    return [int(item["context_attributes"]["notification_id"]) for item in answer["data"]]


def fill(api):
    """25 notifications: 5 files, each hit by 5 rules of two rulesets; their text."""
    mark = marker()
    api.ruleset(rules_for(mark, 3), "Chinese Files")
    api.ruleset(rules_for(mark, 2, "other").replace(" {", " : TagOne tag_two {", 1), "second set")
    for i in range(5):
        api.hunt(f"{mark} {i}".encode(), f"file {i}")
    return mark


@pytest.fixture
def filled(api):
    return fill(api)


@pytest.fixture(scope="module")
def reader(server):
    """A client whose 25 notifications no test changes."""
    api = server.api(server.someone())
    fill(api)
    return api


def test_an_entry_in_full(api, filled):
    sha256 = hashlib.sha256(f"{filled} 4".encode()).hexdigest()
    (item,) = api.stream(filter=f"entity_id:{sha256} tag:other_0")["data"]
    assert (item["type"], item["id"]) == ("file", sha256)
    assert item["links"]["self"] == f"{api.base}/api/v3/files/{sha256}"
    assert item["attributes"] == api.get(f"/files/{sha256}").json()["data"]["attributes"]
    context = item["context_attributes"]
    assert set(context) == {"notification_id", "notification_date", "origin", "sources", "tags", "hunting_info"}
    assert context["notification_id"].isdigit() and abs(context["notification_date"] - time.time()) < 300
    assert context["origin"] == "hunting"
    (source,) = context["sources"]
    assert (source["type"], source["label"]) == ("hunting_ruleset", "second set") and source["id"].isdigit()
    assert set(context["tags"]) == {sha256, "second_set", "other_0", "tagone", "tag_two"}
    info = context["hunting_info"]
    assert (info["rule_name"], info["rule_tags"], info["match_source"], info["match_in_subfile"]) == (
        "other_0", ["TagOne", "tag_two"], "ORIGINAL_FILE", False)
    assert len(info["source_key"]) == 8 and int(info["source_key"], 16) >= 0
    assert "*begin_highlight*" in info["snippet"] and "*end_highlight*" in info["snippet"]


def test_a_rule_without_strings_has_no_snippet(api):
    data = marker().encode()
    sha256 = hashlib.sha256(data).hexdigest()
    api.ruleset(f'import "hash" rule whole {{ condition: hash.sha256(0, filesize) == "{sha256}" }}')
    api.hunt(data)
    (item,) = api.stream()["data"]
    assert "snippet" not in item["context_attributes"]["hunting_info"]
    assert "rule_tags" not in item["context_attributes"]["hunting_info"]


def test_everyone_has_his_own_stream(server, api, filled):
    other = server.api(server.someone())
    assert other.stream()["data"] == [] and other.stream()["meta"] == {"count": 0}
    other.ruleset(rules_for(filled), "mine")
    api.hunt(f"{filled} shared".encode())
    assert len(other.stream()["data"]) == 1
    assert api.stream()["meta"]["count"] == 30


def test_limits(api, filled):
    for i in range(5, 9):
        api.hunt(f"{filled} {i}".encode())
    assert len(api.stream()["data"]) == 10
    for asked, given in ((1, 1), (40, 40), (41, 40), (10 ** 9, 40), (10 ** 30, 40)):
        assert len(api.stream(limit=asked)["data"]) == given, asked


def test_orders(api, filled):
    newest = notifications(api.stream(limit=40))
    assert newest == sorted(newest, reverse=True)
    assert notifications(api.stream(limit=40, order="date-")) == newest
    for order in ("date+", "date"):
        assert notifications(api.stream(limit=40, order=order)) == newest[::-1]
    # A plus that was not encoded arrives as a blank.
    assert notifications(api.get("/ioc_stream?order=date+&limit=40").json()) == newest[::-1]


def test_links_replay_this_page_and_bring_the_next(api, filled):
    asked = {"filter": 'date:1d+ (tag:found_0 OR tag:found_1) "chinese files"', "limit": 3, "order": "date+",
             "descriptors_only": "true"}
    answer = api.stream(**asked)
    seen = []
    while True:
        for link in answer["links"].values():
            assert link.startswith(f"{api.base}/api/v3/ioc_stream?")
            query = parse_qs(urlsplit(link).query)
            assert query["filter"] == [asked["filter"]] and query["limit"] == ["3"]
            assert query["order"] == ["date+"] and query["descriptors_only"] == ["true"]
        again = api.get(answer["links"]["self"].removeprefix(api.base + "/api/v3")).json()
        assert again["data"] == answer["data"] and again["meta"]["count"] == answer["meta"]["count"]
        seen += notifications(answer)
        assert ("next" in answer["links"]) == ("cursor" in answer["meta"])
        if "next" not in answer["links"]:
            break
        assert len(answer["data"]) == 3
        answer = api.get(answer["links"]["next"].removeprefix(api.base + "/api/v3")).json()
    assert len(seen) == len(set(seen)) == 10 and seen == sorted(seen)
    assert answer["meta"]["count"] == 10


def test_links_name_the_host_that_the_client_used(api, filled):
    answer = api.get("/ioc_stream?limit=1", headers={"Host": "weir.example:8443"}).json()
    assert answer["links"]["self"].startswith("http://weir.example:8443/api/v3/ioc_stream?")
    assert answer["data"][0]["links"]["self"].startswith("http://weir.example:8443/api/v3/files/")


def test_a_cursor_needs_nothing_beside_it(api, filled):
    whole = notifications(api.stream(limit=40, order="date+", filter="tag:found_2 OR tag:other_1"))
    first = api.stream(limit=4, order="date+", filter="tag:found_2 OR tag:other_1", descriptors_only="1")
    rest, answer = notifications(first), first
    while "cursor" in answer["meta"]:
        answer = api.stream(cursor=answer["meta"]["cursor"])
        assert all("attributes" not in item for item in answer["data"])
        rest += notifications(answer)
    assert rest == whole and len(whole) == 10


def test_what_may_stand_beside_a_cursor(api, filled):
    cursor = api.stream(limit=2, filter="tag:found_0")["meta"]["cursor"]
    assert len(api.stream(cursor=cursor, limit=1)["data"]) == 1
    assert api.stream(cursor=cursor, filter="tag:found_0", order="date-")["data"]
    assert "attributes" not in api.stream(cursor=cursor, descriptors_only="true")["data"][0]
    for params in ({"filter": "tag:found_1"}, {"filter": ""}, {"order": "date+"}):
        assert_error(api.get("/ioc_stream", params={"cursor": cursor, **params}), 400, "BadRequestError", "cursor")


def test_a_cursor_is_of_url_safe_characters(api, filled):
    cursor = api.stream(limit=1, filter="tag:found_0 OR 'ÿ~?'")["meta"]["cursor"]
    assert cursor.replace("-", "").replace("_", "").isalnum() and cursor.isascii()


def test_a_cursor_survives_deletions_and_a_restart(make_server):
    one = make_server()
    key = one.user("restart")
    one.start()
    api = one.api(key)
    mark = marker()
    api.ruleset(rules_for(mark, 9))
    api.hunt(mark.encode())
    whole = api.stream(limit=40)
    first = api.stream(limit=3)
    for item in first["data"]:
        path = f"/ioc_stream_notifications/{item['context_attributes']['notification_id']}"
        assert api.delete(path).json() == {}
    one.stop()
    one.start()
    rest = one.api(key).stream(cursor=first["meta"]["cursor"], limit=40)
    assert notifications(first) + notifications(rest) == notifications(whole)


@pytest.mark.parametrize("text, count", [
    ("", 25), ("  ", 25), ("date:1d+", 25), ("date:1d", 25), ("date:1d-", 0), ("date:10m+", 25), ("date:1w+", 25),
    ("date:2023-02-07-", 0), ("date:2023-02-07+", 25), ("date:2023-02-07T10:00:00+", 25),
    ("date:2023-02-07T10-00-00+", 25), ("date:1626960086+", 25), ("date:1626960086", 0),
    ("date:2021-07-21+ date:2021-07-23-", 0), ("NOT date:2023-02-07-", 25),
    ("origin:hunting", 25), ("origin:subscriptions", 0), ("ORIGIN:Hunting", 25),
    ("entity_type:file", 25), ("entity_type:url", 0),
    ("entity_type:url or entity_type:file", 25), ("(entity_type:file AND origin:hunting)", 25),
    ("source_type:hunting_ruleset", 25), ("source_type:retrohunt_job OR source_type:threat_profile", 0),
    ("tag:found_0", 5), ("notification_tag:FOUND_0", 5), ("tag:found_*", 15), ("tag:'chinese files'", 15),
    ("tag:chinese_files NOT tag:found_0", 10), ("not tag:found_0", 20),
    ("“Chinese Files”", 15), ("chinese", 15), ('"second set"', 10), ("source_name:second", 10), ("nothing", 0),
    ("tag:tagone", 5), ("tag:TagOne tag:tag_two", 5),
    ("((tag:found_0) OR (tag:found_1)) second", 0),
    ("source_id:1", 0), ("entity_id:www.example.com", 0),
])
def test_filters(reader, text, count):
    assert reader.stream(filter=text)["meta"]["count"] == count


def test_filters_of_one_entity_by_any_of_its_ids(api, filled):
    data = f"{filled} 2".encode()
    for name in ("md5", "sha1", "sha256"):
        for written in (str.lower, str.upper):
            text = f"entity_id:{written(hashlib.new(name, data).hexdigest())}"
            assert api.stream(filter=text)["meta"]["count"] == 5, text


def test_a_filter_by_source(api, filled):
    source = api.stream(filter="second", limit=1)["data"][0]["context_attributes"]["sources"][0]["id"]
    assert api.stream(filter=f"source_id:{source}")["meta"]["count"] == 10


def test_the_date_of_an_entry_is_inclusive(api, filled):
    items = api.stream(limit=40)["data"]
    date = items[0]["context_attributes"]["notification_date"]
    same = sum(item["context_attributes"]["notification_date"] == date for item in items)
    assert api.stream(filter=f"date:{date}")["meta"]["count"] == same
    assert api.stream(filter=f"date:{date}+")["meta"]["count"] == same
    assert api.stream(filter=f"date:{date}-")["meta"]["count"] == 25 - same


def test_a_plus_that_was_not_encoded(api, filled):
    assert api.get("/ioc_stream?filter=date:3d+").json()["meta"]["count"] == 25
    assert api.get("/ioc_stream?filter=date:3d+%20entity_type:file").json()["meta"]["count"] == 25
    assert api.get("/ioc_stream?filter=date:3d+entity_type:file").json()["meta"]["count"] == 25


@pytest.mark.parametrize("value, descriptors", [("true", True), ("True", True), ("1", True), ("false", False),
                                                ("False", False), ("0", False)])
def test_descriptors_only(reader, value, descriptors):
    item = reader.stream(descriptors_only=value, limit=1)["data"][0]
    assert ("attributes" not in item) == descriptors
    assert item["context_attributes"]["sources"]


# ---- one notification ----


def test_a_notification_in_full(api, filled):
    item = api.stream(limit=1)["data"][0]
    context = item["context_attributes"]
    answer = api.get(f"/ioc_stream_notifications/{context['notification_id']}")
    assert answer.status_code == 200
    found = answer.json()["data"]
    assert (found["type"], found["id"]) == ("ioc_stream_notification", context["notification_id"])
    assert found["links"]["self"] == f"{api.base}/api/v3/ioc_stream_notifications/{found['id']}"
    assert found["attributes"] == {
        "date": context["notification_date"], "notification_date": context["notification_date"],
        "entity_type": "file", "entity_id": item["id"], "origin": "hunting", "sources": context["sources"],
        "tags": context["tags"], "hunting_info": context["hunting_info"]}


def test_deleting_one_tells_it_no_more_and_never_again(api, filled):
    item = api.stream(limit=1)["data"][0]
    path = f"/ioc_stream_notifications/{item['context_attributes']['notification_id']}"
    response = api.delete(path)
    assert (response.status_code, response.json()) == (200, {})
    assert_error(api.delete(path), 404, "NotFoundError")
    assert_error(api.get(path), 404, "NotFoundError")
    assert api.stream()["meta"]["count"] == 24
    api.hunt(f"{filled} 4".encode())  # the same file again
    assert api.stream()["meta"]["count"] == 24


def test_deleting_by_filter(api, filled):
    def delete(**params):
        def deleted():
            response = api.delete("/ioc_stream", params=params)
            if response.status_code == 429:  # one at a time
                assert_error(response, 429, "TooManyRequestsError", "already being deleted")
                return False
            assert (response.status_code, response.json()) == (200, {})
            return True

        wait_for(deleted, 20, "the deletion before is still under way")

    assert_error(api.delete("/ioc_stream", params={"filter": "nope:1"}), 400, "BadRequestError", "nope")
    delete(filter="tag:found_0 date:1d+")
    assert api.stream()["meta"]["count"] == 20
    assert api.stream(filter="tag:found_0")["data"] == []
    api.hunt(f"{filled} later".encode())
    assert api.stream()["meta"]["count"] == 25, "what comes later stays"
    delete(filter="date:2020-01-01-")
    assert api.stream()["meta"]["count"] == 25
    delete()
    assert api.stream()["data"] == []
