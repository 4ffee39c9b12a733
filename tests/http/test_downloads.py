"""Downloads: addresses that need no key, ranges, conditional requests; and of reports: tags and gzip."""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import weirtest
from weirtest import assert_error, marker

RULESETS = "/intelligence/hunting_rulesets"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def hunter(server):
    return server.api(server.someone())


@pytest.fixture(scope="module")
def stored(hunter):
    """A file of 300,000 bytes that no two parts of are the same."""
    data = os.urandom(300_000)
    hunter.hunt(data)
    return data


def path_of(api, url):
    assert url.startswith(api.base + "/api/v3/"), url
    return url[len(api.base + "/api/v3"):]


def address(api, data):
    response = api.get(f"/files/{sha256(data)}/download_url")
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["data"]
    return path_of(api, response.json()["data"])


# ---- addresses ----


def test_an_address_works_with_and_without_a_key_and_again(server, hunter, stored):
    path = address(hunter, stored)
    for api in (server.api(), hunter, server.api(server.someone("viewer")), server.api("0" * 64), server.api()):
        response = api.get(path)
        assert response.status_code == 200 and response.content == stored
        assert response.headers["Content-Type"] == "application/octet-stream"


def test_an_address_holds_for_an_hour(server, hunter, stored):
    token = address(hunter, stored).rsplit("/", 1)[1]
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert raw[:32].hex() == sha256(stored)
    until = int.from_bytes(raw[40:48], "little")
    assert abs(until - time.time() - 3600) < 60


def test_an_address_cannot_be_made_up(server, hunter, stored):
    """Each changed bit of the token is noticed: file, user, end and MAC."""
    path = address(hunter, stored)
    start, token = path.rsplit("/", 1)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for at in range(len(raw)):
        raw[at] ^= 1 << at % 8
        text = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
        assert_error(server.api().get(f"{start}/{text}"), 400, "BadRequestError", "ask for a new one")
        raw[at] ^= 1 << at % 8
    for text in ("x", token[:-1], token + "A", token + "==", token.upper(), "%00", "a" * 5000):
        assert_error(server.api().get(f"{start}/{text}"), 400, "BadRequestError")


def test_an_address_is_not_logged(server, hunter, stored):
    path = address(hunter, stored)
    start = server.log_path.stat().st_size
    assert server.api().get(path).status_code == 200
    server.api().get("//healthz")
    weirtest.wait_for(lambda: any(e.get("route") == "get_healthz" for e in server.log_events(start)), 5, "no line")
    lines = [e for e in server.log_events(start) if e.get("route") == "get_download_token"]
    assert [e["path"] for e in lines] == ["/api/v3/files/download/{token}"]


def test_an_address_ends_with_its_user(server, hunter, stored):
    name = f"leaves-{marker()[-8:]}"
    path = address(server.api(server.user(name)), stored)
    assert server.api().get(path).status_code == 200
    server.command("user", "disable", name)
    assert_error(server.api().get(path), 401, "UserNotActiveError")
    assert_error(hunter.get(path), 401, "UserNotActiveError")
    server.command("user", "enable", name)
    assert server.api().get(path).content == stored


def test_an_address_survives_a_restart_and_not_another_folder(make_server):
    data = marker().encode()
    one, other = make_server(), make_server(name="other")
    one.start()
    key = one.someone()
    one.api(key).hunt(data)
    path = address(one.api(key), data)
    assert (one.data / "sign.key").stat().st_mode & 0o777 == 0o600
    one.stop()
    one.start()
    assert one.api().get(path).content == data
    other.start()
    other_key = other.someone()
    other.api(other_key).hunt(data)
    assert_error(other.api().get(path), 400, "BadRequestError")


def test_an_address_of_a_file_that_is_removed(server, hunter):
    data = marker().encode()
    hunter.hunt(data)
    path = address(hunter, data)
    assert server.api(server.someone("admin")).delete(f"/files/{sha256(data)}").status_code == 200
    assert_error(server.api().get(path), 404, "NotFoundError", sha256(data))


def test_who_gets_an_address(server, stored):
    path = f"/files/{sha256(stored)}"
    viewer = server.api(server.someone("viewer"))
    for call in ("/download", "/download_url"):
        assert_error(viewer.get(path + call), 403, "ForbiddenError")
        assert_error(server.api().get(path + call), 401, "AuthenticationRequiredError")
        assert_error(server.api(server.someone()).get("/files/" + "0" * 64 + call), 404, "NotFoundError", "0" * 64)
        assert_error(server.api(server.someone()).get("/files/xyz" + call), 400, "BadRequestError")


def test_vt_py_downloads(client, hunter, stored, tmp_path):
    target = tmp_path / "sample"
    with target.open("wb") as f:
        client.download_file(sha256(stored), f)
    assert target.read_bytes() == stored
    url = client.get_data(f"/files/{sha256(stored)}/download_url")
    # As vt-cli does it: the key goes with it.
    assert weirtest.direct_session().get(url, headers={"x-apikey": hunter.key}).content == stored


# ---- ranges ----


def test_ranges(hunter, stored):
    path = f"/files/{sha256(stored)}/download"
    for text, first, end in (("bytes=0-99", 0, 100), ("bytes=-100", 299_900, 300_000), ("bytes=299999-", 299_999, 300_000),
                             ("bytes=100000-199999", 100_000, 200_000), ("bytes=10-19,0-9", 0, 20)):
        response = hunter.get(path, headers={"Range": text})
        assert response.status_code == 206 and response.content == stored[first:end], text
        assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(stored)}"
    for text in ("bytes=0-9,100-109", "bytes=x", "lines=1-2"):
        response = hunter.get(path, headers={"Range": text})
        assert response.status_code == 200 and response.content == stored
    response = hunter.get(path, headers={"Range": "bytes=300000-"})
    assert_error(response, 416, "BadRequestError")
    assert response.headers["Content-Range"] == "bytes */300000"


def test_a_download_is_resumed_by_curl(server, hunter, stored, tmp_path):
    target = tmp_path / "part"
    target.write_bytes(stored[:123_456])
    url = server.base + "/api/v3" + address(hunter, stored)
    subprocess.run([shutil.which("curl"), "--noproxy", "*", "-sf", "-C", "-", "-o", target, url], check=True, timeout=60)
    assert target.read_bytes() == stored


def test_a_resumed_download_of_something_else_is_whole(hunter, stored):
    path = f"/files/{sha256(stored)}/download"
    for if_range, status in ((f'"{sha256(stored)}"', 206), ('"' + "0" * 64 + '"', 200)):
        response = hunter.get(path, headers={"Range": "bytes=5-", "If-Range": if_range})
        assert response.status_code == status
        assert response.content == (stored[5:] if status == 206 else stored)


# ---- conditions ----


def test_a_download_is_known_by_its_hash(hunter, stored):
    path = f"/files/{sha256(stored)}/download"
    first = hunter.get(path)
    tag = f'"{sha256(stored)}"'
    assert first.headers["ETag"] == tag and first.headers["Accept-Ranges"] == "bytes"
    again = hunter.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    again = hunter.get(path, headers={"If-Modified-Since": first.headers["Last-Modified"]})
    assert again.status_code == 304
    assert_error(hunter.get(path, headers={"If-Match": '"x"'}), 412, "BadRequestError")
    head = hunter.request("HEAD", path)
    assert (head.status_code, head.content, int(head.headers["Content-Length"])) == (200, b"", len(stored))
    assert head.headers["ETag"] == tag


def test_a_report_is_known_until_it_changes(server, hunter):
    data = marker().encode()
    hunter.hunt(data, "first.bin")
    path = f"/files/{sha256(data)}"
    tag = hunter.get(path).headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}(-gzip)?"', tag)
    assert hunter.get(path).headers["ETag"] == tag
    assert hunter.get(path, headers={"If-None-Match": tag}).status_code == 304
    # Somebody else's answer is the same, one to another address is not: its links differ.
    assert server.api(server.someone()).get(path).headers["ETag"] == tag
    assert hunter.get(path, headers={"Host": "elsewhere.example"}).headers["ETag"] != tag
    hunter.hunt(data, "second.bin")
    response = hunter.get(path, headers={"If-None-Match": tag})
    assert response.status_code == 200 and response.headers["ETag"] != tag
    assert "second.bin" in response.json()["data"]["attributes"]["names"]


def test_objects_and_lists_have_tags(hunter):
    made = hunter.ruleset(weirtest.rules_for(marker()))
    for path in (RULESETS, f"{RULESETS}/{made['id']}", "/ioc_stream"):
        tag = hunter.get(path).headers["ETag"]
        assert hunter.get(path, headers={"If-None-Match": f'"x", {tag}'}).status_code == 304
    tag = hunter.get(f"{RULESETS}/{made['id']}").headers["ETag"]
    hunter.patch(f"{RULESETS}/{made['id']}", json={"data": {"attributes": {"name": "other"}}})
    assert hunter.get(f"{RULESETS}/{made['id']}", headers={"If-None-Match": tag}).status_code == 200


def test_a_ruleset_is_changed_only_as_known(hunter):
    """If-Match on PATCH and DELETE; of many who change what they all have read, one does."""
    for rules in (weirtest.rules_for(marker()), weirtest.rules_for(marker(), 100)):  # plain, compressed
        path = f"{RULESETS}/{hunter.ruleset(rules)['id']}"
        tag = hunter.get(path).headers["ETag"]
        assert tag.endswith('-gzip"') == (len(rules) > 1000)

        def change(i, tag=tag, path=path):
            return hunter.patch(path, json={"data": {"attributes": {"name": f"by {i}"}}}, headers={"If-Match": tag})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(change, range(8)))
        (made,) = [i for i, answer in enumerate(answers) if answer.status_code == 200]
        for answer in answers[:made] + answers[made + 1:]:
            assert_error(answer, 412, "BadRequestError", "If-Match")
        assert hunter.get(path).json()["data"]["attributes"]["name"] == f"by {made}"
        assert_error(hunter.delete(path, headers={"If-Match": tag}), 412, "BadRequestError")
        assert change(9, tag="*").status_code == 200
        assert hunter.delete(path, headers={"If-Match": hunter.get(path).headers["ETag"]}).status_code == 200
        assert_error(hunter.delete(path, headers={"If-Match": "*"}), 404, "NotFoundError")


# ---- gzip ----


def test_answers_are_compressed_for_who_asks(server, hunter):
    hunter.ruleset(weirtest.rules_for(marker(), 100))
    answers = {}
    for accepted in ("gzip", "gzip;q=0", "*;q=0.1", "br, gzip;q=0.5", "identity", "identity, *;q=0"):
        response = hunter.get(RULESETS, headers={"Accept-Encoding": accepted})
        coded = response.headers.get("Content-Encoding") == "gzip"
        assert coded == (accepted in ("gzip", "*;q=0.1", "br, gzip;q=0.5")), accepted
        assert response.headers["Vary"] == "Accept-Encoding"
        answers[coded] = response
    assert answers[True].json() == answers[False].json()
    assert int(answers[True].headers["Content-Length"]) < int(answers[False].headers["Content-Length"]) / 2
    assert answers[True].headers["ETag"] != answers[False].headers["ETag"]


def test_gzip_can_be_switched_off(make_server):
    server = make_server("--gzip-level", "0").start()
    response = server.api().get("//api/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in response.headers and "Vary" not in response.headers


def test_compressed_requests(hunter):
    body = gzip.compress(json.dumps({"data": {"type": "hunting_ruleset", "attributes": {
        "name": "packed", "rules": weirtest.rules_for(marker())}}}).encode())
    response = hunter.post(RULESETS, data=body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 200 and response.json()["data"]["attributes"]["name"] == "packed"
    for bad in (body[:-1], body[:20], b"\x1f\x8b", b"{}", body + b"x"):
        assert_error(hunter.post(RULESETS, data=bad, headers={"Content-Encoding": "gzip"}), 400, "BadRequestError",
                     "gzip")
    for coding in ("br", "zstd", "deflate", "gzip, gzip"):
        response = hunter.post(RULESETS, data=body, headers={"Content-Encoding": coding})
        assert_error(response, 415, "BadRequestError", "Content-Encoding")
        assert response.headers["Accept-Encoding"] == "gzip, identity"


def test_a_compressed_upload(hunter):
    data = marker().encode() * 1000
    request = requests.Request("POST", "http://x/", files={"file": ("a.bin", data)}).prepare()
    response = hunter.post("/files", data=gzip.compress(request.body),
                           headers={"Content-Encoding": "gzip", "Content-Type": request.headers["Content-Type"]})
    assert response.status_code == 200, response.text
    hunter.wait_analysis(response.json()["data"]["id"])
    assert hunter.get(f"/files/{sha256(data)}").json()["data"]["attributes"]["size"] == len(data)


def test_a_bomb_is_cut_at_the_limit_of_what_it_expands_to(server, hunter):
    """64 MB in 64 KB, to where 4 MB are allowed; 40 MB to where 32 MB are."""
    assert_error(hunter.post(RULESETS, data=gzip.compress(bytes(64 << 20)), headers={"Content-Encoding": "gzip"}),
                 413, "BadRequestError")
    request = requests.Request("POST", "http://x/", files={"file": ("a.bin", bytes(40 << 20))}).prepare()
    response = hunter.post("/files", data=gzip.compress(request.body),
                           headers={"Content-Encoding": "gzip", "Content-Type": request.headers["Content-Type"]})
    assert_error(response, 413, "BadRequestError")


# ---- methods ----


def test_every_get_answers_head(server, hunter, stored):
    made = hunter.ruleset(weirtest.rules_for(marker()))
    for path in ("//healthz", "//readyz", "//metrics", "//api/openapi.json", f"/files/{sha256(stored)}",
                 f"/files/{sha256(stored)}/download", address(hunter, stored), RULESETS, f"{RULESETS}/{made['id']}",
                 "/ioc_stream"):
        get, head = hunter.get(path), hunter.request("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers.get("Content-Type") == get.headers["Content-Type"]
        if path != "//metrics":
            assert head.headers["Content-Length"] == get.headers["Content-Length"], path


def test_options_and_what_is_not_allowed(server, hunter):
    for path, allowed in (("/files", "POST, OPTIONS"), ("/ioc_stream", "GET, HEAD, DELETE, OPTIONS"),
                          (f"{RULESETS}/1", "GET, HEAD, PATCH, DELETE, OPTIONS")):
        response = server.api().request("OPTIONS", path)
        assert (response.status_code, response.content, response.headers["Allow"]) == (200, b"", allowed)
        assert "Access-Control-Allow-Origin" not in response.headers
        response = hunter.request("PUT", path)
        assert_error(response, 405, "BadRequestError")
        assert response.headers["Allow"] == allowed
