"""What objects lead to, how much of them is shown, and the pages of lists."""

import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from weirtest import assert_error, marker, rules_for

FILE_RELATIONSHIPS = """
    analyses behaviours bundled_files collections comments compressed_parents contacted_domains contacted_ips
    contacted_urls dropped_files embedded_domains embedded_ips embedded_urls execution_parents graphs itw_domains
    itw_ips itw_urls memory_pattern_domains memory_pattern_ips memory_pattern_urls overlay_children overlay_parents
    pcap_children pcap_parents pe_resource_children pe_resource_parents email_attachments email_parents
    carbonblack_children carbonblack_parents ciphered_bundled_files ciphered_parents related_references
    related_threat_actors similar_files submissions screenshots urls_for_embedded_js votes""".split()


@pytest.fixture(scope="module")
def sent(server):
    """(client, SHA-256, analyses newest first) of a file that was sent five times, by two users."""
    api, other = server.api(server.someone()), server.api(server.someone())
    data = marker().encode()
    analyses = []
    for i in range(5):
        analyses.insert(0, (api if i < 3 else other).upload(data, f"name {i}"))
        api.wait_analysis(analyses[0])
    return api, hashlib.sha256(data).hexdigest(), analyses


def whole_list(api, path, **params):
    """Objects of all pages; every page is checked for what holds for all."""
    objects, answer = [], api.get(path, params=params).json()
    while True:
        assert answer["links"]["self"].startswith(f"{api.base}/api/v3/")
        replayed = api.get(answer["links"]["self"].removeprefix(f"{api.base}/api/v3")).json()
        assert replayed["data"] == answer["data"]
        objects += answer["data"]
        assert ("next" in answer["links"]) == ("cursor" in answer["meta"])
        if "cursor" not in answer["meta"]:
            return objects
        cursor = answer["meta"]["cursor"]
        assert answer["data"] and cursor.replace("-", "").replace("_", "").isalnum() and cursor.isascii()
        alone = api.get(path, params={"cursor": cursor}).json()
        answer = api.get(answer["links"]["next"].removeprefix(f"{api.base}/api/v3")).json()
        assert [o["id"] for o in alone["data"]] == [o["id"] for o in answer["data"]]


# ---- relationships ----


def test_submissions_of_a_file(sent):
    api, sha256, _ = sent
    answer = api.get(f"/files/{sha256}/submissions").json()
    assert answer["meta"] == {"count": 5}
    assert [o["attributes"]["name"] for o in answer["data"]] == [f"name {i}" for i in range(4, -1, -1)]
    keys = [o["attributes"]["source_key"] for o in answer["data"]]
    assert len(set(keys)) == 2 and keys[0] == keys[1] and keys[2] == keys[4]
    for o in answer["data"]:
        assert o["type"] == "submission" and o["attributes"]["interface"] == "api" and "country" not in o["attributes"]
        alone = api.get(f"/submissions/{o['id']}").json()["data"]
        assert alone == o and o["links"]["self"] == f"{api.base}/api/v3/submissions/{o['id']}"


def test_unknown_submissions(sent):
    api, sha256, _ = sent
    for wrong in ("nothing", f"f-{sha256}-999999999", f"f-{'0' * 64}-1"):
        assert_error(api.get(f"/submissions/{wrong}"), 404, "NotFoundError", f'Submission "{wrong}" not found')


def test_analyses_of_a_file_and_back(sent):
    api, sha256, analyses = sent
    answer = api.get(f"/files/{sha256}/analyses").json()
    assert [o["id"] for o in answer["data"]] == analyses and answer["meta"] == {"count": 5}
    assert all(o["attributes"]["status"] == "completed" for o in answer["data"])
    item = api.get(f"/analyses/{analyses[0]}/item").json()["data"]
    assert item == api.get(f"/files/{sha256}").json()["data"]
    descriptor = api.get(f"/analyses/{analyses[0]}/relationships/item").json()
    assert descriptor["data"] == {"type": "file", "id": sha256}
    assert descriptor["links"]["related"] == f"{api.base}/api/v3/analyses/{analyses[0]}/item"
    assert api.get(f"/analyses/{analyses[0]}/relationship/item").json() == descriptor


@pytest.mark.parametrize("path", ["{}/analyses", "{}/submissions", "{}/relationships/analyses",
                                  "{}/relationship/submissions"])
def test_pages_of_a_relationship(sent, path):
    api, sha256, _ = sent
    path = "/files/" + path.format(sha256)
    whole = whole_list(api, path)
    assert len(whole) == 5
    for limit in (1, 2, 4, 5):
        assert [o["id"] for o in whole_list(api, path, limit=limit)] == [o["id"] for o in whole]
    assert all(("attributes" in o) == ("relationship" not in path) for o in whole)
    assert all("attributes" not in o for o in whole_list(api, path, limit=2, descriptors_only="True"))


def test_md5_and_sha1_lead_to_the_same(sent):
    api, sha256, _ = sent
    attributes = api.get(f"/files/{sha256}").json()["data"]["attributes"]
    first = api.get(f"/files/{attributes['md5']}/submissions?limit=2").json()
    rest = api.get(f"/files/{attributes['sha1']}/relationships/submissions?cursor={first['meta']['cursor']}").json()
    assert len(rest["data"]) == 2 and first["meta"]["count"] == rest["meta"]["count"] == 5


def test_every_relationship_of_files_is_known(sent):
    api, sha256, _ = sent
    for name in FILE_RELATIONSHIPS:
        for path in (name, f"relationships/{name}", f"relationship/{name}"):
            answer = api.get(f"/files/{sha256}/{path}")
            assert answer.status_code == 200, (path, answer.text)
            if name not in ("analyses", "submissions"):
                assert answer.json()["data"] == [] and answer.json()["meta"] == {"count": 0}
    embedded = api.get(f"/files/{sha256}?relationships={','.join(FILE_RELATIONSHIPS)}").json()["data"]["relationships"]
    assert list(embedded) == FILE_RELATIONSHIPS


def test_unknown_ones_are_not_found(sent):
    api, sha256, analyses = sent
    for path in (f"files/{sha256}", f"analyses/{analyses[0]}"):
        for form in ("nothing", "relationships/nothing", "relationship/nothing"):
            assert_error(api.get(f"/{path}/{form}"), 404, "NotFoundError", 'Relationship "nothing" not found')
    for form in ("submissions", "relationships/submissions"):
        assert_error(api.get(f"/files/{'0' * 64}/{form}"), 404, "NotFoundError", f'File "{"0" * 64}" not found')
        assert_error(api.get(f"/files/xyz/{form}"), 400, "BadRequestError")
    assert api.get(f"/files/{sha256}?relationships=nothing,,item").json()["data"]["relationships"] == {}


def test_embedded_relationships(sent):
    api, sha256, analyses = sent
    o = api.get(f"/files/{sha256}?relationships=submissions,%20analyses").json()["data"]
    plain = api.get(f"/files/{sha256}").json()["data"]
    assert o["attributes"] == plain["attributes"] and "relationships" not in plain
    embedded = o["relationships"]["analyses"]
    assert embedded["data"] == [{"type": "analysis", "id": id} for id in analyses] and embedded["meta"] == {"count": 5}
    assert embedded["links"]["related"] == f"{api.base}/api/v3/files/{sha256}/analyses"
    assert embedded["links"]["self"].startswith(f"{api.base}/api/v3/files/{sha256}/relationships/analyses")
    one = api.get(f"/analyses/{analyses[1]}?relationships=item").json()["data"]["relationships"]["item"]
    assert one == {"data": {"type": "file", "id": sha256}, "links": {
        "self": f"{api.base}/api/v3/analyses/{analyses[1]}/relationships/item",
        "related": f"{api.base}/api/v3/analyses/{analyses[1]}/item"}}


def test_embedded_ones_go_on_where_they_stopped(api):
    data = marker().encode()
    for i in range(12):
        api.upload(data, f"n{i}")
    sha256 = hashlib.sha256(data).hexdigest()
    embedded = api.get(f"/files/{sha256}?relationships=submissions").json()["data"]["relationships"]["submissions"]
    assert len(embedded["data"]) == 10 and embedded["meta"]["count"] == 12
    for rest in (api.get(embedded["links"]["next"].removeprefix(f"{api.base}/api/v3")).json(),
                 api.get(f"/files/{sha256}/submissions", params={"cursor": embedded["meta"]["cursor"]}).json()):
        assert len(rest["data"]) == 2 and "cursor" not in rest["meta"]
        assert not {o["id"] for o in rest["data"]} & {o["id"] for o in embedded["data"]}


def test_embedded_descriptors_with_attributes(sent):
    api, sha256, analyses = sent
    params = {"relationships": "submissions", "relationship_attributes": "name,date,nothing", "attributes": "size"}
    o = api.get(f"/files/{sha256}", params=params).json()["data"]
    assert set(o["attributes"]) == {"size"}
    for member in o["relationships"]["submissions"]["data"]:
        assert set(member["attributes"]) == {"name", "date"}
    o = api.get(f"/analyses/{analyses[0]}", params={"relationships": "item", "relationship_attributes": "md5"}).json()["data"]
    assert set(o["relationships"]["item"]["data"]["attributes"]) == {"md5"} and "status" in o["attributes"]


def test_relationships_of_a_lists_objects(api):
    mark = marker()
    api.ruleset(rules_for(mark))
    api.hunt(mark.encode())
    (item,) = api.stream(relationships="submissions,item")["data"]
    assert item["relationships"]["submissions"]["meta"] == {"count": 1} and list(item["relationships"]) == ["submissions"]
    (item,) = api.stream(relationships="submissions", descriptors_only="true")["data"]
    assert "attributes" not in item and item["relationships"]["submissions"]["data"]


# ---- projection ----


def test_only_some_attributes(sent):
    api, sha256, _ = sent
    whole = api.get(f"/files/{sha256}").json()["data"]["attributes"]

    def shown(**params):
        answer = api.get(f"/files/{sha256}", params=params)
        assert answer.status_code == 200
        found = answer.json()["data"]["attributes"]
        assert all(whole[name] == value for name, value in found.items())
        return list(found)

    assert shown(attributes="names,md5") == ["md5", "names"], "in the stored order"
    assert shown(attributes=" last_analysis_stats , nothing,,") == ["last_analysis_stats"]
    assert shown(attributes="") == [] and shown(attributes="nothing") == []
    assert shown(exclude_attributes="names,total_votes,last_analysis_results") == [
        name for name in whole if name not in ("names", "total_votes", "last_analysis_results")]
    assert shown(exclude_attributes="") == list(whole)
    assert shown(attributes="md5,sha1", exclude_attributes="sha1") == ["md5"]


def test_projection_reads_any_text(api):
    data = marker().encode()
    name = 'a "quoted\\" name, {with} [brackets] \\'
    api.hunt(data, "first")
    api.hunt(data, name)
    path = f"/files/{hashlib.sha256(data).hexdigest()}"
    whole = api.get(path).json()["data"]["attributes"]
    for key in whole:
        assert api.get(path, params={"attributes": key}).json()["data"]["attributes"] == {key: whole[key]}
        rest = {k: v for k, v in whole.items() if k != key}
        assert api.get(path, params={"exclude_attributes": key}).json()["data"]["attributes"] == rest


def test_projection_on_every_object_and_list(sent):
    api, sha256, analyses = sent
    mark = marker()
    ruleset = api.ruleset(rules_for(mark))["id"]
    api.hunt(mark.encode())
    notification = api.stream()["data"][0]["context_attributes"]["notification_id"]
    submission = api.get(f"/files/{sha256}/submissions?limit=1").json()["data"][0]["id"]
    for path, name in ((f"/analyses/{analyses[0]}", "status"), (f"/submissions/{submission}", "interface"),
                       (f"/intelligence/hunting_rulesets/{ruleset}", "rule_names"),
                       (f"/ioc_stream_notifications/{notification}", "tags"), (f"/files/{sha256}", "md5")):
        assert set(api.get(path, params={"attributes": name}).json()["data"]["attributes"]) == {name}
        assert name not in api.get(path, params={"exclude_attributes": name}).json()["data"]["attributes"]
    for path, name in (("/ioc_stream", "md5"), ("/intelligence/hunting_rulesets", "name"),
                       (f"/files/{sha256}/submissions", "date")):
        for item in api.get(path, params={"attributes": name}).json()["data"]:
            assert set(item["attributes"]) == {name}, path


def test_too_many_names(api):
    assert_error(api.get("/ioc_stream", params={"attributes": ",".join("abc" for _ in range(129))}), 400,
                 "BadRequestError", '"attributes" has more than 128 names')
    assert api.get("/ioc_stream", params={"attributes": ",".join(f"a{i}" for i in range(128))}).status_code == 200


# ---- pages ----


def test_links_repeat_what_was_asked(sent):
    api, sha256, _ = sent
    asked = {"limit": "2", "attributes": "name,date", "relationships": "x y", "descriptors_only": "false", "other": "ü+&="}
    answer = api.get(f"/files/{sha256}/submissions", params=asked).json()
    for link in answer["links"].values():
        query = {k: v[0] for k, v in parse_qs(urlsplit(link).query).items() if k != "cursor"}
        assert query == {k: v for k, v in asked.items() if k != "descriptors_only"} or query == asked


def test_cursors_that_are_none(sent):
    api, sha256, analyses = sent
    path = f"/files/{sha256}/submissions"
    cursor = api.get(path, params={"limit": 2}).json()["meta"]["cursor"]
    for wrong in ("a", "AAAA", cursor[:-1], cursor + "A", cursor + "=", cursor.swapcase(), "-", "9" * 30_000, "ü"):
        assert_error(api.get(path, params={"cursor": wrong}), 400, "BadRequestError", "Invalid cursor")
    assert api.get(path, params={"cursor": ""}).status_code == 200
    # Of another list, or another user's.
    assert_error(api.get(f"/files/{sha256}/analyses", params={"cursor": cursor}), 400, "BadRequestError", "Invalid cursor")
    assert_error(api.get("/intelligence/hunting_rulesets", params={"cursor": cursor}), 400, "BadRequestError")
    assert_error(api.get("/ioc_stream", params={"cursor": cursor}), 400, "BadRequestError", "Invalid cursor")


def test_a_cursor_is_its_users(server, sent):
    api, sha256, _ = sent
    cursor = api.get(f"/files/{sha256}/submissions", params={"limit": 2}).json()["meta"]["cursor"]
    other = server.api(server.someone())
    assert_error(other.get(f"/files/{sha256}/submissions", params={"cursor": cursor}), 400, "BadRequestError")


def test_a_list_that_grows_does_not_move_its_cursor(api):
    data = marker().encode()
    path = f"/files/{hashlib.sha256(data).hexdigest()}/submissions"
    for i in range(4):
        api.upload(data, f"n{i}")
    first = api.get(path, params={"limit": 2}).json()
    api.upload(data, "later")
    rest = api.get(path, params={"cursor": first["meta"]["cursor"]}).json()
    assert [o["attributes"]["name"] for o in first["data"] + rest["data"]] == ["n3", "n2", "n1", "n0"]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "1e3", "+1", "0x10"])
def test_limits_that_are_none(sent, limit):
    api, sha256, _ = sent
    for path in (f"/files/{sha256}/submissions", "/ioc_stream", "/intelligence/hunting_rulesets"):
        assert_error(api.get(path, params={"limit": limit}), 400, "BadRequestError", '"limit"')


# ---- what clients ask first ----


def test_metadata(api):
    data = api.get("/metadata").json()["data"]
    assert data["engines"] == {} and isinstance(data["privileges"], list)
    assert {"file", "url", "domain", "ip_address", "collection", "threat_profile", "analysis"} <= set(data["relationships"])
    assert sorted(r["name"] for r in data["relationships"]["file"]) == sorted(FILE_RELATIONSHIPS)
    assert all(r["description"] for rows in data["relationships"].values() for r in rows)


def test_popular_threat_categories(api):
    words = api.get("/popular_threat_categories").json()["data"]
    assert {"adware", "banker", "downloader", "ransomware", "trojan"} <= set(words)


def test_behaviour_is_empty_for_a_file_that_is_there(sent):
    api, sha256, _ = sent
    for path in ("behaviour_summary", "behaviour_mitre_trees"):
        assert api.get(f"/files/{sha256}/{path}").json() == {"data": {}}
        assert_error(api.get(f"/files/{'1' * 64}/{path}"), 404, "NotFoundError")
