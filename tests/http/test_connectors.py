"""What connectors do with the answers, reduced to the lines that break: each test is named by its trap."""

import datetime
import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
import vt

from weirtest import marker, rules_for


@pytest.fixture
def found(api):
    """found(n): n new files that two rules find; the text of the rules."""
    mark = marker()
    api.ruleset(rules_for(mark, 2), "Chinese Files")
    count = 0

    def more(n):
        nonlocal count
        for _ in range(n):
            api.hunt(f"{mark} {count}".encode(), f"file {count}")
            count += 1

    more(3)
    return more


def headers(api):
    return {"x-apikey": api.key, "Accept": "application/json"}


def test_a_feed_of_indicators_reads_sources_of_every_entry_without_asking(api, found):
    """XSOAR FeedIoCStream: sources[].type and .label of each item, hashes and stats of its attributes."""
    answer = api.stream(filter="date:1d+", limit=40, descriptors_only="False", order="date-")
    for item in answer["data"]:
        context, attributes = item["context_attributes"], item["attributes"]
        line = ", ".join(f"{source['type']} - {source['label']}" for source in context["sources"])
        assert line == "hunting_ruleset - Chinese Files"
        stats = attributes["last_analysis_stats"]
        assert stats["malicious"] + stats["harmless"] + stats["suspicious"] + stats["undetected"] == 0
        assert {attributes["md5"], attributes["sha1"], attributes["sha256"]} and attributes.get("tags", []) is not None


def test_a_livehunt_connector_builds_its_query_from_a_date_and_parses_every_match(api, client, found):
    """OpenCTI Livehunt: vt-py's iterator over the stream, context_attributes by name, order and filter in params."""
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    params = {"filter": f"date:{int(start.timestamp())}+ origin:hunting entity_type:file", "order": "date+"}
    theirs = vt.Client(api.key, host=api.base)
    try:
        matches = list(theirs.iterator("/ioc_stream", params=params, batch_size=40, limit=0))
    finally:
        theirs.close()
    assert len(matches) == 6
    last = 0
    for match in matches:
        context = match.context_attributes
        assert context["notification_date"] >= last
        last = context["notification_date"]
        (source,) = context["sources"]
        assert source["id"] and source["label"] and context["hunting_info"]["rule_name"] and context["tags"]
        assert match.first_submission_date.year >= 2020 and match.sha256 and match.size > 0 and match.names


def test_a_deletion_with_the_id_of_a_file_is_404_without_effect(api, client, found):
    """OpenCTI Livehunt deletes /intelligence/hunting_notifications/{id of the entity}."""
    before = api.stream()["meta"]["count"]
    entity = api.stream(limit=1)["data"][0]["id"]
    assert api.delete(f"/intelligence/hunting_notifications/{entity}").status_code == 404
    assert api.stream()["meta"]["count"] == before


def test_a_hash_is_taken_from_the_tags_by_a_regular_expression(api, found):
    """Yeti: date:<timestamp>+ and the SHA-256 among the tags; it goes on while meta has a cursor."""
    params, hashes = {"limit": 4, "filter": f"date:{int(datetime.datetime.now().timestamp()) - 3600}+"}, []
    while True:
        answer = requests.get(f"{api.base}/api/v3/intelligence/hunting_notifications", params=params, headers=headers(api), timeout=30).json()
        for item in answer["data"]:
            hashes += re.findall(r"\b[a-f0-9]{64}\b", " ".join(item["attributes"]["tags"]))
        if "cursor" not in answer["meta"]:
            break
        params["cursor"] = answer["meta"]["cursor"]
    assert len(hashes) == 6 and len(set(hashes)) == 3


def test_a_snippet_is_stripped_up_to_the_last_double_space(api, found):
    """py-livehunt: date range and tag in one filter; the ASCII column after the last two blanks, highlights joined."""
    now = datetime.datetime.now(datetime.UTC)
    first, last = (now - datetime.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S"), (now + datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
    url = f"{api.base}/api/v3/intelligence/hunting_notification_files?limit=10&filter={quote(f'date:{first}+ date:{last}- tag:found_0')}"
    answer = requests.get(url, headers=headers(api), timeout=30).json()
    assert len(answer["data"]) == 3
    for item in answer["data"]:
        assert "attributes" in item  # it asks, since a file may be gone
        snippet = item["context_attributes"]["notification_snippet"]
        text = "".join(re.sub(r"^.*  ", "", line) for line in snippet.split("\n")).replace("*end_highlight**begin_highlight*", "")
        assert "*begin_highlight*mark" in text and "*end_highlight*" in text, text


def test_entries_of_the_last_second_come_again_and_are_trimmed_by_count(api, found):
    """GTI's Splunk connector: polls date:<last seen>+ and drops as many as date:<last seen> counts."""
    page = api.stream(order="date+", limit=40)
    last = page["data"][-1]["context_attributes"]["notification_date"]
    trimmed = api.stream(filter=f"date:{last}", limit=40)["meta"]["count"]
    found(2)
    again = api.stream(filter=f"date:{last}+", order="date+", limit=40)["data"]
    new = [item["context_attributes"]["notification_id"] for item in again[trimmed:]]
    seen = {item["context_attributes"]["notification_id"] for item in page["data"]}
    # What came in that same second after the look is among those trimmed or new, never lost.
    all_of_them = {item["context_attributes"]["notification_id"] for item in api.stream(limit=40)["data"]}
    assert {item["context_attributes"]["notification_id"] for item in again} | seen == all_of_them
    assert len(new) == len(again) - trimmed


def test_a_cursor_is_appended_to_the_address_as_it_is(api, found):
    """The same connector: no percent-encoding of the cursor."""
    cursor = api.stream(limit=2)["meta"]["cursor"]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    answer = requests.get(f"{api.base}/api/v3/ioc_stream?limit=2&cursor={cursor}", headers=headers(api), timeout=30)
    assert len(answer.json()["data"]) == 2


def test_the_connectivity_test_reads_me(api):
    assert requests.get(f"{api.base}/api/v3/me", headers=headers(api), timeout=30).json()["data"]["type"] == "user"


def test_a_poller_keeps_the_cursor_alone(api, found):
    """The official polling sample: only meta.cursor is kept, and sent without filter, order and limit."""
    cursor, seen = None, []
    for _ in range(10):
        params = {"cursor": cursor} if cursor else {"filter": "origin:hunting tag:found_1", "order": "date+", "limit": 2}
        answer = requests.get(f"{api.base}/api/v3/ioc_stream", params=params, headers=headers(api), timeout=30).json()
        seen += [item["context_attributes"]["hunting_info"]["rule_name"] for item in answer["data"]]
        cursor = answer["meta"].get("cursor")
        if not cursor:
            break
    assert seen == ["found_1"] * 3


def test_links_next_is_followed_as_it_is(api, found):
    """vt-go and others: nothing is added, so everything must be in it."""
    answer, rules = api.stream(filter="origin:hunting tag:found_0", limit=1, descriptors_only="true"), 0
    while True:
        rules += len(answer["data"])
        assert all("attributes" not in item for item in answer["data"])
        if "next" not in answer["links"]:
            break
        assert parse_qs(urlsplit(answer["links"]["next"]).query)["filter"] == ["origin:hunting tag:found_0"]
        answer = requests.get(answer["links"]["next"], headers=headers(api), timeout=30).json()
    assert rules == 3


def test_a_connector_modelled_on_the_sample_finds_type_and_id_beside_data(api):
    """Swimlane: the sample answer of creating a ruleset has them outside."""
    answer = requests.post(f"{api.base}/api/v3/intelligence/hunting_rulesets", headers=headers(api), timeout=30, json={
        "data": {"type": "hunting_ruleset", "attributes": {"name": "n", "rules": "rule r { condition: false }", "enabled": True,
                                                           "limit": 100, "notification_emails": [], "match_object_type": "file"}}})
    assert answer.status_code == 200 and answer.reason == "OK" and answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body["type"] == "hunting_ruleset" and body["id"] == body["data"]["id"]
    done = requests.delete(f"{api.base}/api/v3/intelligence/hunting_rulesets/{body['id']}", headers=headers(api), timeout=30)
    assert (done.status_code, done.json()) == (200, {})


def test_json_without_a_content_type_is_taken(api):
    """py-livehunt posts JSON as requests sends text, vt-py its own bodies as text/plain."""
    body = '{"data": {"type": "hunting_ruleset", "attributes": {"name": "n", "rules": "rule r { condition: false }"}}}'
    for kind in ("text/plain", None):
        answer = requests.post(f"{api.base}/api/v3/intelligence/hunting_rulesets", data=body, timeout=30,
                               headers={**headers(api), "Content-Type": kind})
        assert answer.status_code == 200, answer.text


def test_python_style_booleans_are_taken_in_filters(api):
    """XSOAR: `name rules:x enabled:True`."""
    made = api.ruleset("rule xsoar { condition: false }", "name of a ruleset")
    answer = api.get("/intelligence/hunting_rulesets", params={"filter": "name rules:xsoar enabled:True", "limit": 40}).json()
    assert [item["id"] for item in answer["data"]] == [made["id"]]
    assert api.get("/intelligence/hunting_rulesets", params={"filter": "name enabled:False"}).json()["data"] == []
