"""What clients cannot do without, line by line: thirteen rules, each with whom it would break.

Most rules are held against every answer that any test of the run got, so this module runs after the
others; alone, it makes what it needs itself.
"""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

import weirtest
from weirtest import marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"
JOBS = "/intelligence/retrohunt_jobs"
DATES = re.compile(r"(?:.*_date|date|last_login|user_since)$")  # vt-py: Object.from_dict
TEXT_PATHS = ("/healthz", "/readyz", "/metrics")
# The only numbers with a fraction; vt-go reads all others by GetInt64.
FRACTIONS = {"rate_limited_ratio", "progress", "entropy", "chi2", "probability", "confidence", "similarity_score",
             "seconds"}  # of an estimate, which VirusTotal has not


def is_projected(exchange):
    """Did the client ask for some of the attributes, or for none?"""
    return re.search(r"\b(?:attributes|exclude_attributes|descriptors_only)=", exchange.query) is not None


class Fraction(float):
    """A number that was written with a point or an exponent."""


@pytest.fixture(scope="module")
def traffic(server):
    """Every JSON answer so far as (exchange, value), those of a full round through the API among them."""
    api = server.api(server.someone())
    mark = marker()
    ruleset = api.ruleset(rules_for(mark, 3), "Chinese Files", tags=["checklist"])
    api.ruleset(rules_for(mark, 1, "second"), "second")
    files = [api.hunt(f"{mark} {i}".encode(), f"C:\\temp\\file {i}.exe") for i in range(3)]
    analysis = api.upload(f"{mark} 3".encode())
    api.wait_analysis(analysis)
    for path in (f"/analyses/{analysis}", f"/analyses/{analysis}/item", f"/files/{files[0]}", f"{RULESETS}/{ruleset['id']}"):
        assert api.get(path).status_code == 200
    for path in ("/ioc_stream", RULESETS):
        for params in ({}, {"limit": 1}, {"filter": "tag:nothing_has_it"}):
            assert api.get(path, params=params).status_code == 200
    item = api.stream(limit=1)["data"][0]
    notification = f"/ioc_stream_notifications/{item['context_attributes']['notification_id']}"
    for method in ("GET", "DELETE"):
        assert api.request(method, notification).status_code == 200
    assert api.stream(descriptors_only="true")["data"]
    for _ in range(2):
        job = api.post(JOBS, json={"data": {"attributes": {"rules": rules_for(mark)}}}).json()["data"]["id"]
        wait_for(lambda: api.get(f"{JOBS}/{job}").json()["data"]["attributes"]["status"] == "finished", 60, "it has not ended")
    for path in (JOBS, f"{JOBS}/{job}/matching_files", f"{JOBS}/{job}/owner"):
        assert api.get(path).json()["data"]
    return [(e, json.loads(e.body, parse_float=Fraction)) for e in weirtest.TRAFFIC
            if e.body and e.path.startswith("/api/v3/")]


def successes(traffic):
    return [(e, value) for e, value in traffic if e.status == 200]


def objects(value):
    """Everything with a type and an id, wherever it stands."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str) and isinstance(value.get("id"), str):
            yield value
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)


def where(exchange):
    return f"{exchange.test}: {exchange.method} {exchange.path}?{exchange.query}"


def lists(traffic):
    return [(e, value) for e, value in successes(traffic) if isinstance(value.get("data"), list)]


def test_01_success_is_200_alone(traffic):
    """vt-py takes 201, 202 and 204 for a server error. A part of a file is asked for by Range, which it never sends."""
    odd = [f"{where(e)} -> {e.status}" for e in weirtest.TRAFFIC
           if 200 < e.status < 300 and not (e.status == 206 and "/download" in e.path)]
    assert odd == []


def test_02_whatever_has_a_body_is_json(traffic):
    """vt-go refuses a body of any other type. Bytes of samples are what was asked for, and a head that
    is too large to be read is refused by libmicrohttpd in its own words."""
    odd = [f"{where(e)}: {e.content_type}" for e in weirtest.TRAFFIC
           if e.content_type != "application/json" and e.path not in TEXT_PATHS and e.status != 414
           and not (e.status in (200, 206, 304) and "/download" in e.path) and (e.size or e.content_type)]
    assert odd == []


def test_03_meta_is_an_object(traffic):
    """vt-py asks meta.get("cursor") on every page, the last one too."""
    for exchange, value in lists(traffic):
        if next(objects(value["data"]), None) or value["data"] == []:
            assert isinstance(value.get("meta"), dict), where(exchange)
    assert lists(traffic)


def test_04_no_page_is_empty_and_has_a_cursor(traffic):
    """vt-py's iterator raises IndexError on one; vt-go follows links.next, vt-py meta.cursor: both or neither."""
    empty = 0
    for exchange, value in lists(traffic):
        more = (value.get("meta") or {}).get("cursor"), (value.get("links") or {}).get("next")
        assert (more[0] is None) == (more[1] is None), where(exchange)
        if not value["data"]:
            empty += 1
            assert more == (None, None), where(exchange)
    assert empty, "no empty list was met at all"


def test_05_dates_are_numbers_or_absent(traffic):
    """vt-py makes a datetime of each: null or a string is a TypeError."""
    seen = set()
    for exchange, value in successes(traffic):
        for item in objects(value):
            for group in ("attributes", "context_attributes"):
                for name, date in (item.get(group) or {}).items():
                    if DATES.match(name):
                        seen.add(name)
                        assert type(date) is int, f"{where(exchange)}: {name} = {date!r}"
    assert {"date", "creation_date", "notification_date", "first_submission_date", "last_analysis_date"} <= seen


def test_06_integers_are_written_as_integers(traffic):
    """vt-go's GetInt64 reads neither 1e3 nor 1.0."""

    def look(value, name, exchange):
        if isinstance(value, dict):
            for key, inner in value.items():
                look(inner, key, exchange)
        elif isinstance(value, list):
            for inner in value:
                look(inner, name, exchange)
        else:
            assert not isinstance(value, Fraction) or name in FRACTIONS, f"{where(exchange)}: {name} = {value!r}"

    for exchange, value in traffic:
        if exchange.path != "/api/openapi.json":
            look(value, "", exchange)


def test_07_links_are_absolute(traffic):
    """vt-go follows links as they are, adding nothing."""

    def look(value, exchange):
        if isinstance(value, dict):
            for name, link in (value.get("links") or {}).items() if isinstance(value.get("links"), dict) else ():
                assert isinstance(link, str) and re.match(r"https?://[^/ ]+/api/v3/[!-~]+$", link), (
                    f"{where(exchange)}: {name} = {link!r}")
            for inner in value.values():
                look(inner, exchange)
        elif isinstance(value, list):
            for inner in value:
                look(inner, exchange)

    for exchange, value in successes(traffic):
        if exchange.path != "/api/openapi.json":
            look(value, exchange)


@pytest.mark.parametrize("path, params", [
    ("/ioc_stream", {"filter": "date:1d+ (entity_type:file OR entity_type:url)", "order": "date+"}),
    ("/ioc_stream", {"descriptors_only": "true"}),
    (RULESETS, {"filter": "enabled:true rules:found", "order": "name-"}),
])
def test_07_links_replay_the_page_and_bring_the_next(server, path, params):
    """vt-cli resumes in mid-page by links.self and an offset, also when new things came in the meantime."""
    api = server.api(server.someone())
    mark = marker()
    for i in range(3):
        api.ruleset(f"{rules_for(mark, 2)} // found {i}", f"ruleset {i}")
    api.hunt(mark.encode())

    def follow(link):
        assert urlsplit(link).netloc == urlsplit(api.base).netloc
        answer = api.get("/" + link.removeprefix(api.base))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ids(page):
        return [item.get("context_attributes", {}).get("notification_id") or item["id"] for item in page["data"]]

    whole = ids(api.get(path, params={**params, "limit": 40}).json())
    page, got = api.get(path, params={**params, "limit": 2}).json(), []
    while True:
        if len(got) < 4:
            api.hunt(f"{mark} {len(got)}".encode())  # entries arrive in the meantime
        got += ids(page)
        again = follow(page["links"]["self"])
        assert ids(again) == ids(page) and again["links"]["self"] == page["links"]["self"]
        if "next" not in page["links"]:
            break
        query = parse_qs(urlsplit(page["links"]["next"]).query)
        assert {name: query[name] for name in params} == {name: [value] for name, value in params.items()}
        assert query["limit"] == ["2"] and query["cursor"]
        page = follow(page["links"]["next"])
    assert [i for i in got if i in whole] == whole and len(got) == len(set(got))


ID_FORMS = {  # vt-cli passes by whatever does not match
    "hunting_ruleset": r"\d+",
    "hunting_notification": r"\d+",
    "ioc_stream_notification": r"\d+",
    "retrohunt_job": r"\w+-\d+",
    "analysis": r"(?:f|u)-[0-9a-f]{64}-\d+|[A-Za-z0-9_=]{20,}",
    "url": r"[0-9a-f]{64}",
    "file": r"[0-9a-f]{64}",
    "operation": r"[0-9a-f]+",
}


def test_08_ids_are_of_the_form_that_vt_cli_recognises(traffic):
    seen = set()
    for exchange, value in successes(traffic):
        for item in objects(value) if exchange.path != "/api/openapi.json" else ():
            form = ID_FORMS.get(item["type"])
            if form:
                seen.add(item["type"])
                assert re.fullmatch(form, item["id"]), f"{where(exchange)}: {item['type']} {item['id']}"
        for item in objects(value.get("data")):
            context = item.get("context_attributes") or {}
            assert re.fullmatch(r"\d+", context.get("notification_id", "0")), where(exchange)
    assert {"hunting_ruleset", "ioc_stream_notification", "analysis", "file", "retrohunt_job"} <= seen


def test_09_jobs_have_a_status_and_a_progress(traffic):
    """vt retrohunt list gives up on a job without them."""
    jobs = 0
    for exchange, value in successes(traffic):
        for item in objects(value):
            if item["type"] == "retrohunt_job" and "attributes" in item and not is_projected(exchange):
                jobs += 1
                attributes = item["attributes"]
                assert attributes["status"] in ("starting", "running", "aborting", "aborted", "finished"), where(exchange)
                assert 0 <= attributes["progress"] <= 100, where(exchange)
    assert jobs > 3


def test_10_entries_of_the_stream_have_what_connectors_require(traffic):
    """XSOAR needs the sources' type and label; OpenCTI also their id, tags, the date and the rule's name."""
    entries = 0
    for exchange, value in lists(traffic):
        if exchange.path != "/api/v3/ioc_stream":
            continue
        for item in value["data"]:
            entries += 1
            context = item["context_attributes"]
            assert context["sources"], where(exchange)
            for source in context["sources"]:
                assert all(isinstance(source[name], str) and source[name] for name in ("type", "label", "id")), source
            assert isinstance(context["tags"], list) and type(context["notification_date"]) is int
            if context["origin"] == "hunting":
                assert context["hunting_info"]["rule_name"]
            else:
                assert context["hunting_info"] is None
    assert entries > 10


def test_11_a_hunted_file_has_what_xsoar_reads(server):
    """FeedRetrohunt and FeedIoCStream index these without asking whether they are there."""
    api = server.api(server.someone())
    sha256 = api.hunt(b"MZ" + marker().encode() * 300, "a file.exe")
    attributes = api.get(f"/files/{sha256}").json()["data"]["attributes"]
    assert {"md5", "sha1", "sha256", "ssdeep", "type_description"} <= set(attributes)
    assert {"malicious", "harmless", "suspicious", "undetected"} <= set(attributes["last_analysis_stats"])


def test_11_the_newest_job_comes_first(traffic):
    for exchange, value in lists(traffic):
        if exchange.path == "/api/v3/intelligence/retrohunt_jobs" and not is_projected(exchange):
            dates = [item["attributes"]["creation_date"] for item in value["data"]]
            assert dates == sorted(dates, reverse=True), where(exchange)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_12_an_upload_address_is_absolute(server, chunked):
    """Clients post to it as it is, with their key and a part "file", vt-go in chunks, vt-py with a whole path."""
    api = server.api(server.someone())
    address = api.get("/files/upload_url").json()["data"]
    assert address.startswith(api.base + "/")
    mark = marker()
    body = (f'--b\r\nContent-Disposition: form-data; name="file"; filename="/home/hunter/{mark}.exe"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n{mark}\r\n--b--\r\n").encode()
    response = api.post("/" + address.removeprefix(api.base), data=iter([body[:50], body[50:]]) if chunked else body,
                        headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 200, response.text
    api.wait_analysis(response.json()["data"]["id"])
    item = api.get(f"/analyses/{response.json()['data']['id']}/item").json()["data"]
    assert item["attributes"]["meaningful_name"] == f"{mark}.exe"


def test_13_downloads_are_the_bytes(server):
    """vt-cli gets the address that download_url names, with its key; others follow a redirect of download."""
    api = server.api(server.someone())
    data = marker().encode() * 1000
    sha256 = api.hunt(data)
    assert api.get(f"/files/{sha256}/download").content == data
    answer = api.get(f"/files/{sha256}/download_url")
    assert answer.status_code == 200, answer.text
    address = answer.json()["data"]
    assert address.startswith(api.base + "/")
    for _ in range(2):  # valid for an hour, as often as one likes
        assert api.get("/" + address.removeprefix(api.base)).content == data
