"""Hunting notifications: the stream's entries of one's rulesets, in the words of VirusTotal's older lists."""

import datetime
import hashlib
import io
import re
import time
import zipfile
from urllib.parse import parse_qs, urlsplit

import pytest

from test_rulesets import PATH as RULESETS
from weirtest import assert_error, marker, rules_for, wait_for

PATH = "/intelligence/hunting_notifications"
FILES = "/intelligence/hunting_notification_files"
ATTRIBUTES = {"date", "match_in_subfile", "rule_name", "rule_tags", "snippet", "source_country", "source_key", "tags",
              "ruleset_name", "file_sha256", "owner"}
CONTEXT = {"match_in_subfile", "notification_date", "notification_id", "notification_snippet",
           "notification_source_country", "notification_source_key", "notification_tags", "rule_name", "rule_tags",
           "ruleset_id", "ruleset_name"}


class Hunter:
    """A user with 25 notifications: 5 files, each hit by 3 rules of one ruleset and 2 of another."""

    def __init__(self, server):
        self.name = f"hunter-{marker()}"
        self.api = server.api(server.user(self.name))
        self.mark = marker()
        self.first = self.api.ruleset(rules_for(self.mark, 3), "Chinese Files")
        self.second = self.api.ruleset(rules_for(self.mark, 2, "other").replace(" {", " : TagOne tag_two {", 1), "second")
        self.data = [f"{self.mark} {i}".encode() for i in range(5)]
        self.hashes = [self.api.hunt(data, f"file {i}") for i, data in enumerate(self.data)]

    def list(self, path=PATH, **params):
        response = self.api.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def all(self, path=PATH, **params):
        return [item for page in self.pages(path, **params) for item in page["data"]]

    def pages(self, path=PATH, **params):
        page = self.list(path, **params)
        while True:
            yield page
            if "next" not in page["links"]:
                return
            page = self.api.get(page["links"]["next"].removeprefix(self.api.base + "/api/v3")).json()


@pytest.fixture(scope="module")
def reader(server):
    """Whose notifications no test changes."""
    return Hunter(server)


@pytest.fixture
def hunter(server):
    return Hunter(server)


def ids(items):
    return [item["id"] for item in items]


def test_a_notification_in_full(reader):
    stream = {item["context_attributes"]["notification_id"]: item for item in reader.api.stream(limit=40)["data"]}
    items = reader.all(limit=40)
    assert len(items) == 25 and set(ids(items)) == set(stream)
    for item in items:
        assert item["type"] == "hunting_notification" and item["id"].isdigit()
        assert item["links"]["self"] == f"{reader.api.base}/api/v3{PATH}/{item['id']}"
        a, entry = item["attributes"], stream[item["id"]]["context_attributes"]
        assert set(a) == ATTRIBUTES
        info = entry["hunting_info"]
        assert (a["date"], a["tags"]) == (entry["notification_date"], entry["tags"])
        assert (a["rule_name"], a["snippet"], a["source_key"]) == (
            info["rule_name"], info["snippet"], info["source_key"])
        assert a["rule_tags"] == (["TagOne", "tag_two"] if a["rule_name"] == "other_0" else [])
        assert a["file_sha256"] == stream[item["id"]]["id"] and a["owner"] == reader.name
        assert a["ruleset_name"] == entry["sources"][0]["label"]
        assert a["match_in_subfile"] is False and a["source_country"] is None
        # Yeti takes the SHA-256 out of the tags by a pattern.
        assert re.search("[0-9a-f]{64}", " ".join(a["tags"])).group() == a["file_sha256"]
        assert reader.api.get(f"{PATH}/{item['id']}").json()["data"] == item


def test_a_rule_without_strings_says_nothing(api):
    data = marker().encode()
    sha256 = hashlib.sha256(data).hexdigest()
    api.ruleset(f'import "hash" rule whole {{ condition: hash.sha256(0, filesize) == "{sha256}" }}')
    api.hunt(data)
    (item,) = api.get(PATH).json()["data"]
    assert (item["attributes"]["snippet"], item["attributes"]["rule_tags"]) == ("", [])


def test_files_with_their_context(reader):
    notifications = {item["id"]: item["attributes"] for item in reader.all(limit=40)}
    items = reader.all(FILES, limit=7)
    assert len(items) == 25
    for item in items:
        c = item["context_attributes"]
        assert item["type"] == "file" and set(c) == CONTEXT
        assert item["attributes"] == reader.api.get(f"/files/{item['id']}").json()["data"]["attributes"]
        n = notifications[c["notification_id"]]
        assert item["id"] == n["file_sha256"]
        assert c["ruleset_id"] == (reader.second if n["rule_name"].startswith("other") else reader.first)["id"]
        assert {k: c[k] for k in ("match_in_subfile", "rule_name", "rule_tags", "ruleset_name")} == {
            k: n[k] for k in ("match_in_subfile", "rule_name", "rule_tags", "ruleset_name")}
        for name in ("date", "snippet", "source_country", "source_key", "tags"):
            assert c[f"notification_{name}"] == n[name]
    assert ids(reader.all(FILES, limit=40)) == [n["file_sha256"] for n in notifications.values()]


def test_a_match_inside_a_container(api):
    mark = marker()
    api.ruleset(rules_for(mark), "inside")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("inner.txt", f"{mark} " * 9)
    outer = api.hunt(packed.getvalue())
    inner = hashlib.sha256((f"{mark} " * 9).encode()).hexdigest()
    found = {n["attributes"]["file_sha256"]: n["attributes"]["match_in_subfile"] for n in api.get(PATH).json()["data"]}
    assert found == {outer: True, inner: False}
    files = {f["id"]: f["context_attributes"]["match_in_subfile"] for f in api.get(FILES).json()["data"]}
    assert files == found


def test_orders_and_pages(reader):
    newest = ids(reader.list(limit=40)["data"])
    assert newest == sorted(newest, key=int, reverse=True)
    assert ids(reader.list(limit=40, order="date-")["data"]) == newest
    assert ids(reader.list(limit=40, order="date+")["data"]) == newest[::-1]
    assert_error(reader.api.get(PATH, params={"order": "name"}), 400, "BadRequestError", "date-")
    for path in (PATH, FILES):
        for order in ("date-", "date+"):
            pages = list(reader.pages(path, limit=10, order=order, filter="tag:found_0 OR tag:other_1"))
            assert [len(p["data"]) for p in pages] == [10] and pages[0]["meta"] == {"count": 10}
            pages = list(reader.pages(path, limit=10, order=order))
            assert [len(p["data"]) for p in pages] == [10, 10, 5]
            assert all(p["meta"]["count"] == 25 for p in pages)
            assert ["cursor" in p["meta"] for p in pages] == [True, True, False]
            for page in pages:
                again = reader.api.get(page["links"]["self"].removeprefix(reader.api.base + "/api/v3")).json()
                assert again["data"] == page["data"]
    first = reader.list(limit=4, order="date+", filter="other_0")
    rest = reader.list(cursor=first["meta"]["cursor"])
    assert len(first["data"]) == 4 and len(rest["data"]) == 1 and rest["meta"] == {"count": 5}


def test_a_cursor_belongs_to_its_list(reader, api):
    cursor = reader.list(limit=2)["meta"]["cursor"]
    assert cursor.replace("-", "").replace("_", "").isalnum()
    for who, path, params in ((reader.api, FILES, {}), (api, PATH, {}), (reader.api, "/ioc_stream", {}),
                              (reader.api, PATH, {"filter": "tag:x"}), (reader.api, PATH, {"order": "date+"}),
                              (reader.api, f"{RULESETS}/{reader.first['id']}/hunting_notification_files", {})):
        assert_error(who.get(path, params={"cursor": cursor, **params}), 400, "BadRequestError", "ursor")
    assert_error(reader.api.get(PATH, params={"cursor": "x"}), 400, "BadRequestError", "cursor")


def test_filters(reader):
    now = int(time.time())
    day = datetime.datetime.now(datetime.timezone.utc)
    dates = [day - datetime.timedelta(days=1), day + datetime.timedelta(days=1)]
    rows = [
        ("", 25), ("tag:found_0", 5), ("found_0", 5), ("FOUND_0", 5), ("tag:chinese_files", 15), ('"chinese files"', 15),
        ("tagone", 5), ("found", 0), ("found_*", 15), (reader.hashes[2], 5), (f"tag:{reader.hashes[2]} other_1", 1),
        ("found_0 found_1", 0), ("found_0 OR found_1", 10), ("NOT found_0", 20),
        (f"owner:{reader.name}", 25), (f"owner:{reader.name.upper()} found_0", 5), ("owner:nobody", 0),
        ("NOT owner:nobody", 25), ("owner:nobody OR found_0", 5),
        ("date:1d+", 25), (f"date:{now - 9000}+ tag:found_0", 5), (f"date:{now + 9000}+", 0), ("date:1d-", 0),
        # py-livehunt and XSOAR.
        (f"date:{dates[0]:%Y-%m-%dT%H:%M:%S}+ date:{dates[1]:%Y-%m-%dT%H:%M:%S}- tag:second", 10),
        (f"date:{dates[0]:%Y-%m-%d}+", 25), (f"date:{dates[1]:%Y-%m-%d}+", 0),
    ]
    for text, count in rows:
        for path in (PATH, FILES):
            answer = reader.list(path, filter=text, limit=40)
            assert (len(answer["data"]), answer["meta"]["count"]) == (count, count), (path, text)
    for text in ("origin:hunting", "date:yesterday", "((", "tag:", '"'):
        assert_error(reader.api.get(PATH, params={"filter": text}), 400, "BadRequestError")


def test_counting_stops_at_its_limit(reader):
    for path in (PATH, FILES, f"{RULESETS}/{reader.first['id']}/relationships/hunting_notification_files"):
        for limit, filter_, count in ((1, "", 1), (7, "", 7), (7, "NOT found_0", 7), (4, "tag:found_0", 4), (10 ** 6, "", 25)):
            got = reader.list(path, count_limit=limit, filter=filter_, limit=2)["meta"]["count"]
            if path.startswith(RULESETS):
                count = min(count, 10 if filter_.startswith("NOT") else 15)
            assert got == count, (path, limit, filter_)
        for wrong in ("0", "-1", "x", "1.5", ""):
            assert_error(reader.api.get(path, params={"count_limit": wrong}), 400, "BadRequestError", "count_limit")
    link = reader.list(count_limit=3, limit=2)["links"]["next"]
    assert parse_qs(urlsplit(link).query)["count_limit"] == ["3"]


def test_the_default_count_is_200(api):
    mark = marker()
    api.ruleset(rules_for(mark, 210))
    api.hunt(mark.encode())
    assert api.get(PATH).json()["meta"]["count"] == 200
    assert api.get(PATH, params={"count_limit": 10000}).json()["meta"]["count"] == 210
    assert api.stream()["meta"]["count"] == 210


def test_the_file_of_a_notification(reader):
    item = reader.list(limit=1, relationships="file")["data"][0]
    sha256 = item["attributes"]["file_sha256"]
    base = f"{reader.api.base}/api/v3{PATH}/{item['id']}"
    assert item["relationships"] == {"file": {"data": {"type": "file", "id": sha256},
                                              "links": {"self": f"{base}/relationships/file", "related": f"{base}/file"}}}
    whole = reader.api.get(f"{PATH}/{item['id']}/file").json()["data"]
    assert whole == reader.api.get(f"/files/{sha256}").json()["data"]
    for alias in ("relationships", "relationship"):
        assert reader.api.get(f"{PATH}/{item['id']}/{alias}/file").json()["data"] == {"type": "file", "id": sha256}
    assert_error(reader.api.get(f"{PATH}/{item['id']}/submissions"), 404, "NotFoundError")


def test_a_rulesets_files(reader):
    for ruleset, count in ((reader.first, 15), (reader.second, 10)):
        base = f"{RULESETS}/{ruleset['id']}"
        answer = reader.list(f"{base}/hunting_notification_files", limit=40)
        assert len(answer["data"]) == answer["meta"]["count"] == count
        assert {item["context_attributes"]["ruleset_id"] for item in answer["data"]} == {ruleset["id"]}
        assert all(item["attributes"]["sha256"] == item["id"] for item in answer["data"])
        # XSOAR reads the descriptors, which have their context.
        listed = reader.list(f"{base}/relationships/hunting_notification_files", limit=40)["data"]
        assert all("attributes" not in item and set(item["context_attributes"]) == CONTEXT for item in listed)
        assert ids(listed) == ids(answer["data"])
        some = reader.list(f"{base}/hunting_notification_files", filter="*_1", order="date+")
        assert len(some["data"]) == 5
    embedded = reader.api.get(f"{RULESETS}/{reader.first['id']}?relationships=hunting_notification_files,editors,viewers")
    got = embedded.json()["data"]["relationships"]
    assert len(got["hunting_notification_files"]["data"]) == 10 and got["editors"]["data"] == got["viewers"]["data"] == []


def test_a_file_that_is_gone(server, hunter):
    admin = server.api(server.someone("admin"))
    gone = hunter.hashes[3]
    assert admin.delete(f"/files/{gone}").status_code == 200
    items = [item for item in hunter.list(FILES, limit=40)["data"] if item["id"] == gone]
    assert len(items) == 5
    for item in items:
        assert "attributes" not in item and item["context_attributes"]["rule_name"]
        assert item["error"] == {"code": "NotFoundError", "message": f'file with id "{gone}" not found'}
    one = hunter.list(filter=gone, limit=1)["data"][0]
    assert one["attributes"]["file_sha256"] == gone
    assert hunter.api.get(f"{PATH}/{one['id']}/relationships/file").json()["data"] == {"type": "file", "id": gone}


def test_everyone_has_his_own(reader, api):
    assert api.get(PATH).json() == {"data": [], "meta": {"count": 0},
                                    "links": {"self": f"{api.base}/api/v3{PATH}?limit=10"}}
    one = reader.list(limit=1)["data"][0]["id"]
    for call in (api.get, api.delete):
        assert_error(call(f"{PATH}/{one}"), 404, "NotFoundError", one)
    assert_error(api.get(f"{RULESETS}/{reader.first['id']}/hunting_notification_files"), 404, "NotFoundError")
    assert reader.api.get(f"{PATH}/{one}").status_code == 200


def test_deleting_one(hunter):
    one, two = ids(hunter.list(limit=2)["data"])
    assert hunter.api.delete(f"{PATH}/{one}").json() == {}
    # It is gone from the stream as well, and the other way round.
    assert_error(hunter.api.get(f"/ioc_stream_notifications/{one}"), 404, "NotFoundError")
    assert hunter.api.delete(f"/ioc_stream_notifications/{two}").status_code == 200
    assert_error(hunter.api.get(f"{PATH}/{two}"), 404, "NotFoundError")
    assert_error(hunter.api.delete(f"{PATH}/{one}"), 404, "NotFoundError")
    # OpenCTI's connector sends what it takes for the id: the file's. That is nobody's.
    for wrong in (hunter.hashes[0], "0", "-1", "x", "9" * 30, "961092289288866-4582222113734656-3c7f77cc"):
        assert_error(hunter.api.delete(f"{PATH}/{wrong}"), 404, "NotFoundError")
        assert_error(hunter.api.get(f"{PATH}/{wrong}"), 404, "NotFoundError")
    assert hunter.list()["meta"]["count"] == 23 == hunter.api.stream()["meta"]["count"]
    # Told once: not again, though it was deleted.
    hunter.api.hunt(hunter.data[4])
    assert hunter.list()["meta"]["count"] == 23


def test_deleting_by_tag_and_all(hunter):
    def delete(**params):
        # One at a time is worked off.
        return wait_for(lambda: [r for r in [hunter.api.delete(PATH, params=params)] if r.status_code != 429], 30, "busy")[0]

    assert delete(tag="nothing").json() == {}
    assert hunter.list()["meta"]["count"] == 25
    assert delete(tag="Found_0").json() == {}
    assert hunter.list()["meta"]["count"] == 20 == hunter.api.stream()["meta"]["count"]
    assert hunter.list(filter="found_0")["data"] == []
    assert delete(tag=hunter.hashes[0]).status_code == 200
    assert hunter.list()["meta"]["count"] == 16
    # What has a meaning in filters has none in a tag.
    for tag in ("found_*", "*", 'x" OR found_1', "x” OR tag:“found_1", "(found_1)", "\\", "found_1 OR other_1"):
        assert delete(tag=tag).status_code == 200
        assert hunter.list()["meta"]["count"] == 16, tag
    for wrong in ("", " ", "\x01", "x\n"):
        assert_error(delete(tag=wrong), 400, "BadRequestError")
    assert hunter.list()["meta"]["count"] == 16
    assert delete().json() == {}
    assert hunter.list()["data"] == [] and hunter.list(FILES)["data"] == [] and hunter.api.stream()["data"] == []
    hunter.api.hunt(hunter.mark.encode())
    assert hunter.list()["meta"]["count"] == 5  # later ones stay


def test_while_one_deletion_is_worked_off_another_is_refused(hunter):
    answers = [hunter.api.delete(PATH, params={"tag": f"t{i}"}) for i in range(30)]
    assert {r.status_code for r in answers} <= {200, 429}
    for r in answers:
        if r.status_code == 429:
            assert_error(r, 429, "TooManyRequestsError")


def matched_text(snippet):
    """What py-livehunt makes of a snippet: the text columns' highlighted parts."""
    text = "".join(line[line.rindex("  ") + 2:] for line in snippet.removesuffix("\n\n...").split("\n"))
    text = text.replace("*end_highlight**begin_highlight*", "")
    return re.findall(r"\*begin_highlight\*(.*?)\*end_highlight\*", text, re.S)


def test_snippets_as_py_livehunt_reads_them(api):
    mark = marker()
    long = f"{mark}_{'abcdefghijklmnopqrstuvwxyz' * 2}"
    api.ruleset(f'rule long {{ strings: $a = "{long}" condition: $a }} rule both {{ strings: $a = "{mark}" $b = "trout" '
                "condition: any of them }")
    api.hunt(f"a trout, {long} and another trout {'.' * 40} trout".encode())
    found = {n["attributes"]["rule_name"]: n["attributes"]["snippet"] for n in api.get(PATH).json()["data"]}
    assert matched_text(found["long"]) == [long]
    assert matched_text(found["both"]) == ["trout", mark, "trout", "trout"]
    for line in found["both"].split("\n"):
        assert line.count("  ") == 1 and len(line[line.rindex("  ") + 2:].replace("*begin_highlight*", "").replace(
            "*end_highlight*", "")) <= 16


def test_more_matches_than_windows(api):
    mark = marker()
    api.ruleset(rules_for(mark))
    api.hunt(b" ".join([mark.encode()] * 12))
    (item,) = api.get(PATH).json()["data"]
    snippet = item["attributes"]["snippet"]
    assert snippet.endswith("\n\n...") and matched_text(snippet) == [mark] * 10
