"""The examples of files, analyses, users and metadata."""

import hashlib
import re
import struct
import time

import pytest

from examples import api, ask, check, rows, user  # noqa: F401 (api and user are fixtures)
from weirtest import assert_error, marker

RELATIONSHIPS = """analyses behaviours bundled_files collections comments compressed_parents contacted_domains contacted_ips
contacted_urls dropped_files embedded_domains embedded_ips embedded_urls execution_parents graphs itw_domains itw_ips itw_urls
memory_pattern_domains memory_pattern_ips memory_pattern_urls overlay_children overlay_parents pcap_children pcap_parents
pe_resource_children pe_resource_parents email_attachments email_parents carbonblack_children carbonblack_parents
ciphered_bundled_files ciphered_parents related_references related_threat_actors similar_files submissions screenshots
urls_for_embedded_js votes""".split()

STATS = {"malicious": 0, "suspicious": 0, "undetected": 0, "harmless": 0, "timeout": 0, "confirmed-timeout": 0, "failure": 0,
         "type-unsupported": 0}
ATTRIBUTES = {
    "sha256": "x", "sha1": "x", "md5": "x", "size": 1, "names": ["x"], "meaningful_name": "x", "type_tag": "x",
    "type_description": "x", "type_extension": "x", "type_tags": ["x"], "tags": [], "first_submission_date": 1,
    "last_submission_date": 1, "last_modification_date": 1, "last_analysis_date": 1, "times_submitted": 1, "unique_sources": 1,
    "reputation": 0, "total_votes": {"harmless": 0, "malicious": 0}, "last_analysis_stats": STATS, "last_analysis_results": {},
    "ssdeep": "x", "tlsh": "x", "magic": "x"}


def tiny_pe():
    """A PE of one section, as small as tools still read it."""
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x14C, 1, 1598966772, 0, 0, 224, 0x102)
    optional = struct.pack("<HBBIIIIIIIIIHHHHHHIIIIHHIIIIII", 0x10B, 14, 0, 512, 0, 0, 0x1000, 0x1000, 0, 0x400000, 0x1000, 512,
                           6, 0, 0, 0, 6, 0, 0, 0x2000, 512, 0, 3, 0, 0x100000, 0x1000, 0x100000, 0x1000, 0, 16) + bytes(128)
    section = b".text\0\0\0" + struct.pack("<IIIIIIHHI", 512, 0x1000, 512, 512, 0, 0, 0, 0, 0x60000020)
    head = dos + coff + optional + section
    return head + bytes(512 - len(head)) + marker().encode().ljust(512, b"\xcc")


@pytest.fixture(scope="module")
def names(user, api):
    data = tiny_pe()
    analysis = api.upload(data, "C:\\evil\\setup.exe")
    api.wait_analysis(analysis)
    return {"sha256": hashlib.sha256(data).hexdigest(), "sha1": hashlib.sha1(data).hexdigest(), "data": data,
            "md5": hashlib.md5(data).hexdigest(), "analysis": analysis, "user": user[0], "absent": "0" * 64}


DESCRIPTOR = {"data": {"type": "analysis", "id": "x", "links": {"self": "https://"}}}


def test_uploading(api, names):
    answer = check(api, "POST /files", names, DESCRIPTOR, files={"file": ("a.bin", marker().encode())})
    data = answer["data"]
    assert data["links"]["self"] == f"{api.base}/api/v3/analyses/{data['id']}"
    assert re.fullmatch(r"f-[0-9a-f]{64}-\d+", data["id"])
    address = check(api, "GET /files/upload_url", names, {"data": "https://"})["data"]
    assert address.startswith(api.base)
    response = api.post("/" + address.removeprefix(api.base), files={"file": ("a.bin", marker().encode())})
    assert response.status_code == 200 and response.json()["data"]["type"] == "analysis"


def test_uploading_with_a_password(api, names):
    check(api, "POST /files", names, DESCRIPTOR, files={"file": ("a.bin", marker().encode())}, data={"password": "infected"})


@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha256"])
def test_a_file_by_each_hash(api, names, hash_name):
    answer = check(api, f"GET /files/{{{hash_name}}}", names, {"data": {
        "type": "file", "id": "x", "links": {"self": "https://"}, "attributes": ATTRIBUTES}})
    assert answer["data"]["id"] == names["sha256"]
    attributes = answer["data"]["attributes"]
    for name in ("md5", "sha1", "sha256"):
        assert attributes[name] == names[name]
    assert attributes["size"] == len(names["data"]) and attributes["meaningful_name"] == "setup.exe"
    assert set(attributes["last_analysis_stats"]) == set(STATS) and not any(attributes["last_analysis_stats"].values())


def test_facts_of_a_pe(api, names):
    attributes = check(api, "GET /files/{sha256}", names, {"data": {"attributes": {
        "type_tag": "peexe", "creation_date": 1, "pe_info": {"timestamp": 1, "entry_point": 1, "machine_type": 1, "sections": [{}]}}}})
    assert attributes["data"]["attributes"]["type_tag"] == "peexe"
    assert attributes["data"]["attributes"]["pe_info"]["timestamp"] == 1598966772
    assert attributes["data"]["attributes"]["pe_info"]["machine_type"] == 0x14C
    assert attributes["data"]["attributes"]["creation_date"] == 1598966772


def test_what_is_not_there(api, names):
    for request in ("GET /files/{absent}", "POST /files/{absent}/analyse", "GET /files/{absent}/download",
                    "GET /files/{absent}/download_url", "GET /files/{absent}/submissions"):
        assert_error(ask(api, request, names), 404, "NotFoundError", f'File "{names["absent"]}" not found')


def test_analysing_again(api, names):
    check(api, "POST /files/{md5}/analyse", names, {"data": {"type": "analysis", "id": "x"}})


def test_downloads(api, names):
    assert ask(api, "GET /files/{sha256}/download", names).content == names["data"]
    address = check(api, "GET /files/{md5}/download_url", names, {"data": "https://"})["data"]
    assert api.get("/" + address.removeprefix(api.base)).content == names["data"]


@pytest.mark.parametrize("path", ["behaviour_summary", "behaviours", "behaviour_mitre_trees", "comments", "votes"])
def test_what_is_known_of_no_file_here(api, names, path):
    answer = check(api, "GET /files/{sha256}/" + path, names)
    assert answer["data"] in ({}, [])


@pytest.mark.parametrize("name", RELATIONSHIPS)
def test_relationships(api, names, name):
    """Those that are known but have nothing are empty lists, not errors."""
    empty = {"data": [], "meta": {}, "links": {"self": "https://"}}
    objects = check(api, "GET /files/{sha256}/" + name, names, empty)
    descriptors = check(api, "GET /files/{sha256}/relationships/" + name, names, empty)
    assert [item["id"] for item in objects["data"]] == [item["id"] for item in descriptors["data"]]
    embedded = check(api, "GET /files/{sha256}?relationships=" + name, names, {"data": {"relationships": {name: {"data": []}}}})
    assert [i["id"] for i in embedded["data"]["relationships"][name]["data"]] == [i["id"] for i in descriptors["data"]]


def test_submissions_and_analyses(api, names):
    check(api, "GET /files/{sha256}/submissions", names, {"data": [{"type": "submission", "id": "x", "attributes": {"date": 1}}]})
    check(api, "GET /files/{sha256}/analyses", names, {"data": [{"type": "analysis", "id": "x", "attributes": {
        "date": 1, "status": "completed", "stats": STATS, "results": {}}}]})


def test_an_analysis(api, names):
    answer = check(api, "GET /analyses/{analysis}", names, {"data": {
        "type": "analysis", "id": "x", "links": {"self": "https://"},
        "attributes": {"date": 1, "status": "completed", "stats": STATS, "results": {}}}})
    assert answer["data"]["attributes"]["status"] in ("queued", "in-progress", "completed")
    item = check(api, "GET /analyses/{analysis}/item", names, {"data": {"type": "file", "id": "x", "attributes": {"size": 1}}})
    assert item["data"]["id"] == names["sha256"]
    item = check(api, "GET /analyses/{analysis}/relationships/item", names, {"data": {"type": "file", "id": "x"}})
    assert "attributes" not in item["data"]


def test_metadata(api, names):
    answer = check(api, "GET /metadata", names, {"data": {
        "engines": {}, "privileges": [], "relationships": {"file": [{"name": "x", "description": "x"}]}}})
    relationships = answer["data"]["relationships"]
    assert set(RELATIONSHIPS) - {item["name"] for item in relationships["file"]} == set()
    assert {"file", "url", "domain", "ip_address", "collection"} <= set(relationships)


GOOD = {"limit": "1", "count_limit": "5", "descriptors_only": "true", "attributes": "size,name", "relationships": "item",
        "exclude_attributes": "names", "relationship_attributes": "status", "filter": "", "order": "", "cursor": ""}


def test_every_parameter_of_every_list_and_object_is_taken(server, api, names):
    """Projection, embedding and paging are everyone's."""
    mark = marker()
    ruleset = api.ruleset(f'rule every {{ strings: $a = "{mark}" condition: $a }}')["id"]
    api.hunt(mark.encode())
    notification = api.stream(limit=1)["data"][0]["context_attributes"]["notification_id"]
    submission = api.get(f"/files/{names['sha256']}/submissions").json()["data"][0]["id"]
    ids = {"files": names["sha256"], "analyses": names["analysis"], "hunting_rulesets": ruleset, "submissions": submission,
           "ioc_stream_notifications": notification, "hunting_notifications": notification}
    related = {"files": "submissions", "analyses": "item", "hunting_rulesets": "hunting_notification_files",
               "hunting_notifications": "file"}
    for path, item in server.api().get("//api/openapi.json").json()["paths"].items():
        collection = path.split("/{", 1)[0].rsplit("/", 1)[-1]
        wanted = [p["name"] for p in item.get("get", {}).get("parameters", []) if p["in"] == "query" and p["name"] in GOOD]
        target = path.replace("{id}", str(ids.get(collection))).replace("{relationship}", str(related.get(collection)))
        for name in wanted if "{" not in target and "None" not in target else ():
            response = api.get("/" + target, params={name: GOOD[name]})
            assert response.status_code == 200, f"{path}?{name}={GOOD[name]}: {response.text}"


# ---- users ----

USER = {"data": {"type": "user", "id": "x", "links": {"self": "https://"}, "attributes": {
    "status": "active", "user_since": 1, "privileges": {}, "quotas": {}, "reputation": 0, "has_2fa": False}}}
QUOTAS = ["api_requests_hourly", "api_requests_daily", "api_requests_monthly", "intelligence_hunting_rules"]


@pytest.mark.parametrize("path", rows(
    ("/me",), ("/users/{user}",),
    ("/users/{user}?relationships=groups,api_quota_group,intelligence_quota_group,monitor_quota_group",)))
def test_a_user_about_himself(api, names, path):
    answer = check(api, f"GET {path}", names, USER)
    assert answer["data"]["id"] == names["user"] and answer["data"]["attributes"]["status"] == "active"


def test_a_user_by_key(api, names):
    assert check(api, "GET /users/{key}", {"key": api.key}, USER)["data"]["id"] == names["user"]


def test_another_user(server, api, names):
    other = f"other-{marker()}"
    server.user(other)
    assert_error(api.get(f"/users/{other}"), 403, "ForbiddenError")
    admin = server.api(server.someone("admin"))
    assert check(admin, f"GET /users/{other}", {}, USER)["data"]["id"] == other


def test_overall_quotas(api, names):
    answer = check(api, "GET /users/{user}/overall_quotas", names, {"data": {
        name: {"user": {"allowed": 1, "used": 0}} for name in QUOTAS}})
    for name, quota in answer["data"].items():
        assert 0 <= quota["user"]["used"] <= quota["user"]["allowed"], name


def test_api_usage(api, names):
    answer = check(api, "GET /users/{user}/api_usage", names, {"data": {"daily": {}, "total": {}}})
    for day, counts in answer["data"]["daily"].items():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", day) and all(type(n) is int for n in counts.values())
    today = time.strftime("%Y%m%d", time.gmtime())
    check(api, "GET /users/{user}/api_usage?start_date=" + today + "&end_date=" + today, names, {"data": {"daily": {}, "total": {}}})
    for wrong in ("start_date=2020-08-10", "start_date=20200230", "start_date=20200101&end_date=20200301",
                  "start_date=20200201&end_date=20200101"):
        response = ask(api, "GET /users/{user}/api_usage?" + wrong, names)
        assert response.status_code == 400, f"{wrong}: {response.text}"
