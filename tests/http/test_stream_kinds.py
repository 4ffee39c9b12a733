"""Stream entries of every kind of source and entity.

Livehunt and Retrohunt tell today; the rows are put into the database of a server that stands still, as its
writer would put them.
"""

import hashlib
import json
import sqlite3
import time

import pytest
import requests

from weirtest import assert_error, marker, rules_for

SOURCES = {"hunting_ruleset": 1, "retrohunt_job": 2, "collection": 3, "threat_actor": 4}
ENTITIES = {"file": 1, "url": 2, "domain": 3, "ip_address": 4}
URL = "http://evil.example/a?b=c&d=ü"
INFO = {"rule_name": "my_rule", "match_source": "URL_RESPONSE_BODY", "source_key": "433a7343", "source_country": "GB"}

JOB = "label_of_retrohunt_job-7"  # a job's label is its id


def label(source):
    return JOB if source == "retrohunt_job" else f"Label of {source}"


def put(db, owner, source, entity, entity_id, label, tags=(), info=None, url=None, source_id=7):
    """One notification; its number."""
    seq = db.execute("UPDATE counter SET value = value + 1 WHERE name = 'sighting' RETURNING value").fetchone()[0]
    now, kinds = int(time.time()), (owner, SOURCES[source], source_id)
    db.execute("INSERT INTO source_label (owner_id, source_kind, source_id, label, kinds) VALUES (?, ?, ?, ?, 30) "
               "ON CONFLICT DO NOTHING", (*kinds, label))
    (label_id,) = db.execute("SELECT id FROM source_label WHERE owner_id = ? AND source_kind = ? AND source_id = ? "
                             "AND label = ?", (*kinds, label)).fetchone()
    db.execute("INSERT INTO sighting (seq, date_s, owner_id, source_kind, source_id, label_id, entity_kind, entity_id, "
               "rule, tags, info, url) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?)",
               (seq, now, *kinds, label_id, ENTITIES[entity], entity_id, json.dumps(list(tags)),
                json.dumps(info) if info else None, url))
    for tag in tags:
        db.execute("INSERT INTO stream_tag (owner_id, tag) VALUES (?, ?) ON CONFLICT DO NOTHING", (owner, tag))
        db.execute("INSERT INTO sighting_tag SELECT id, ? FROM stream_tag WHERE owner_id = ? AND tag = ?", (seq, owner, tag))
    for of in (0, source_id):
        db.execute("INSERT INTO stream_count VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET live = live + 1",
                   (owner, SOURCES[source], of, ENTITIES[entity], now // 86400))
    return str(seq)


@pytest.fixture(scope="module")
def kinds(weir_bin, tmp_path_factory):
    """(client, ids of notifications by entity and source): one of each, and a file that is there."""
    import weirtest

    one = weirtest.Server(weir_bin, tmp_path_factory.mktemp("kinds"))
    key = one.user("hunter")
    one.start()
    data = marker().encode()
    one.api(key).upload(data)
    one.stop()
    ids = {}
    with sqlite3.connect(one.data / "weir.db") as db:
        (owner,) = db.execute("SELECT id FROM user WHERE name = 'hunter'").fetchone()
        named = {"file": hashlib.sha256(data).digest(), "url": hashlib.sha256(URL.encode()).digest(),
                 "domain": b"evil.example", "ip_address": b"2001:db8::1"}
        for entity, entity_id in named.items():
            for source in SOURCES:
                hunting = source in ("hunting_ruleset", "retrohunt_job")
                ids[entity, source] = put(
                    db, owner, source, entity, entity_id, label(source), ["my_rule"] if hunting else [],
                    INFO if hunting else None, URL if entity == "url" else None)
        put(db, owner, "collection", "file", b"\x01" * 32, "Gone", source_id=9)
    db.close()
    yield one.start().api(key), ids
    one.stop()
    assert not one.new_errors()


def entry(api, notification_id, **params):
    items = api.stream(limit=40, **params)["data"]
    return next(i for i in items if i["context_attributes"]["notification_id"] == notification_id)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("entity, id, collection", [
    ("file", None, "files"), ("url", hashlib.sha256(URL.encode()).hexdigest(), "urls"),
    ("domain", "evil.example", "domains"), ("ip_address", "2001:db8::1", "ip_addresses")])
def test_an_entry_of_each_kind(kinds, source, entity, id, collection):
    api, ids = kinds
    item, descriptor = (entry(api, ids[entity, source], descriptors_only=d) for d in ("false", "true"))
    assert item["type"] == entity and (id is None or item["id"] == id)
    assert item["links"]["self"] == f"{api.base}/api/v3/{collection}/{item['id']}"
    assert descriptor == {k: item[k] for k in ("type", "id", "context_attributes")}
    context = item["context_attributes"]
    hunting = source in ("hunting_ruleset", "retrohunt_job")
    assert context["origin"] == ("hunting" if hunting else "subscriptions")
    assert context["sources"] == [{"type": source, "id": JOB if source == "retrohunt_job" else "7", "label": label(source)}]
    assert context["tags"] == (["my_rule"] if hunting else [])
    assert context["hunting_info"] == (INFO if hunting else None)
    assert context.get("url") == (URL if entity == "url" else None)
    if entity == "file":
        assert item["attributes"]["size"] and "error" not in item
    else:  # nothing is stored about it
        assert "attributes" not in item
        assert item["error"] == {"code": "NotFoundError", "message": f'{entity} with id "{item["id"]}" not found'}


@pytest.mark.parametrize("entity, source", [(e, s) for e in ENTITIES for s in SOURCES])
def test_the_notification_of_each_kind(kinds, entity, source):
    api, ids = kinds
    found = api.get(f"/ioc_stream_notifications/{ids[entity, source]}").json()["data"]["attributes"]
    item = entry(api, ids[entity, source])
    context = item["context_attributes"]
    assert found["entity_type"] == entity and found["entity_id"] == item["id"]
    assert found["date"] == found["notification_date"] == context["notification_date"]
    for name in ("origin", "sources", "tags", "hunting_info"):
        assert found[name] == context[name]


def test_a_file_that_is_gone(kinds):
    api, _ = kinds
    (item,) = api.stream(filter="source_id:9")["data"]
    assert item["error"]["message"] == f'file with id "{"01" * 32}" not found' and "attributes" not in item
    (item,) = api.stream(filter="source_id:9", descriptors_only="True", relationships="submissions")["data"]
    assert "error" not in item and item["relationships"]["submissions"]["data"] == []
    (item,) = api.stream(filter="source_id:9", relationships="submissions")["data"]
    assert "relationships" not in item


@pytest.mark.parametrize("text, count", [
    ("", 17), ("origin:hunting", 8), ("origin:subscriptions", 9), ("NOT origin:hunting", 9),
    ("source_type:hunting_ruleset OR source_type:retrohunt_job", 8), ("source_type:threat_actor", 4),
    ("source_type:*", 17), ("source_type:threat_profile", 0), ("entity_type:url", 4), ("entity_type:ip*", 4),
    ("entity_type:url OR entity_type:domain OR entity_type:ip_address", 12),
    ('date:7d+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) source_type:threat_actor "label"', 3),
    ("date:3d+ entity_type:url source_type:collection", 1),
    ("source_id:7", 16), ("source_id:9", 1), ("source_id:7 source_type:collection", 4),
    (f'entity_id:"{URL}"', 4), (f"entity_id:{hashlib.sha256(URL.encode()).hexdigest().upper()}", 4),
    ("entity_id:aHR0cDovL2V2aWwuZXhhbXBsZS9hP2I9YyZkPcO8", 4), ("entity_id:EVIL.example.", 4), ("entity_id:2001:DB8:0::1", 4),
    ("2001:db8::1", 4), ("evil.example", 4), (URL, 4), ("NOT entity_id:evil.example", 13),
    ("collection", 4), ('"label of" NOT collection', 12), ("source_name:gone", 1), ("tag:my_rule", 8),
    ("tag:my_* entity_type:domain", 2), ("NOT tag:my_rule", 9), ("my_rule", 8), ("(((tag:my_rule)))", 8),
    ("not (entity_type:file or not tag:my_rule)", 6), ("entity_type:file OR entity_type:url tag:my_rule", 7),
    ("tag:my_rule entity_type:url or entity_type:file", 7),
    ("“label of collection”", 4), ("‘label of collection’", 4), ("„label„", 16), ("'label of collection'", 4),
    (r'"la\bel of collection"', 4), (r'"label \*"', 0), ('"label * collection"', 4),
])
def test_filters_over_all_kinds(kinds, text, count):
    api, _ = kinds
    answer = api.stream(filter=text, limit=40)
    assert answer["meta"]["count"] == count and len(answer["data"]) == count
    assert len(api.stream(filter=text, limit=40, order="date+")["data"]) == count


# ---- what is no filter ----


@pytest.mark.parametrize("text, wrong", [
    ("origin:notHunting", 'origin "notHunting" is not valid. Valid origins are: hunting,subscriptions'),
    ("entity_type:hash", 'entity_type "hash" is not valid. Valid entity types are: file,domain,url,ip_address'),
    ("source_type:x", "Valid source types are: hunting_ruleset,retrohunt_job,collection,threat_actor,threat_profile"),
    ("nothing:1", 'unknown key "nothing"'), ("date:yesterday", 'date "yesterday" is not valid'),
    ("date:2023-02-30", "date"), ("date:2023-02-07T25:00:00", "date"), ("date:3y", "date"), ("date:", "expected a value"),
    ("tag:", "expected a value"), ("(tag:a", "parenthesis"), ("tag:a)", "closes nothing"), ("AND tag:a", "AND"),
    ("tag:a OR", "end"), ("NOT", "end"), ("()", '")"'), ('tag:"a', "not closed"), ("“a", "not closed"), ('""', "between the quotes"),
    ("entity_id:*.example", "no wildcard"), ("source_id:7*", "no wildcard"),
    ("tag:a " * 1000, "more than 256 terms"), ("(" * 10_000 + "tag:a" + ")" * 100, "nested deeper than 64"),
    ("not " * 4000 + "tag:a", "nested deeper than 64"), ("tag:" + "a" * 16_400, "longer than 16384 bytes"),
    ("tag:\x01", "control character"),
])
def test_what_is_no_filter(kinds, text, wrong):
    api, _ = kinds
    for request in (api.get, api.delete):
        message = assert_error(request("/ioc_stream", params={"filter": text}), 400, "BadRequestError", wrong)
        assert len(message) < 600


def test_bytes_that_are_no_text(kinds):
    api, _ = kinds
    for raw in ("%ff", "tag:%c3%28", "%f8%88%80%80%80"):
        assert_error(api.get(f"/ioc_stream?filter={raw}"), 400, "BadRequestError", "UTF-8")


def test_a_filter_longer_than_a_request_may_be(kinds):
    """Refused before anything is parsed, and the server goes on."""
    api, _ = kinds
    response = requests.get(f"{api.base}/api/v3/ioc_stream", params={"filter": "tag:a " * 17_000},
                            headers={"x-apikey": api.key}, timeout=30)
    assert response.status_code in (413, 414, 431)
    assert api.stream()["meta"]["count"] == 17


@pytest.mark.parametrize("text, count", [
    ("date:1969-12-31-", 0), ("date:1969-12-31+", 17), ("date:0000-01-01+", 17), ("date:9999-12-31-", 17),
    ("date:2262-04-12-", 17), ("date:2262-04-11T23:47:16+", 0), ("date:9223372036854775808-", 17), ("date:99999999999999999999+", 0),
    ("date:1969-07-20", 0), ("date:2500-01-01", 0), ("date:99999999999w+", 17), ("date:0d+", None), ("date:0-", 0), ("date:0+", 17),
    ("NOT date:1969-12-31-", 17),
])
def test_dates_far_away(kinds, text, count):
    api, _ = kinds
    found = api.stream(filter=text, limit=40)
    if count is not None:
        assert found["meta"]["count"] == len(found["data"]) == count


def test_every_form_of_a_date(kinds):
    api, _ = kinds
    newest = max(i["context_attributes"]["notification_date"] for i in api.stream(limit=40)["data"])
    utc = time.gmtime(newest)
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H-%M-%S", "%Y-%m-%dT%H:%M:%SZ", "%s"):
        text = str(newest) if form == "%s" else time.strftime(form, utc)
        exact = api.stream(filter=f"date:{text}", limit=40)["meta"]["count"]
        assert exact >= 1
        assert api.stream(filter=f"date:{text}+")["meta"]["count"] == exact
        assert api.stream(filter=f"date:{text}-")["meta"]["count"] == 17 - exact
        assert api.stream(filter=f'date:"{text}"+')["meta"]["count"] == exact
    day = time.strftime("%Y-%m-%d", utc)
    assert api.stream(filter=f"date:{day}")["meta"]["count"] >= exact
    assert api.stream(filter=f"date:{day}+ date:{day}-")["meta"]["count"] == 0
    for unit, seconds in (("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)):
        n = 7200 // seconds + 1
        for sign in ("", "+", "%2B", " "):
            text = f"date:{n}{unit}" + sign
            assert api.get(f"/ioc_stream?filter={text}").json()["meta"]["count"] == 17, text
        assert api.stream(filter=f"date:{n}{unit}-")["meta"]["count"] == 0
