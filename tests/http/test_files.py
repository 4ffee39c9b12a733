"""Files: uploading, looking up, downloading, removing."""

import hashlib
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor


from weirtest import assert_error, marker, rules_for

DIRECT_MAX = 32 * 1024 * 1024
HUNT_MAX = 100_000_000


def sample(extra=""):
    return f"{marker()} {extra}".encode()


def attributes_of(api, data):
    response = api.get(f"/files/{hashlib.sha256(data).hexdigest()}")
    assert response.status_code == 200, response.text
    return response.json()["data"]["attributes"]


def test_an_upload_answers_with_its_analysis(api):
    data = sample()
    response = api.post("/files", files={"file": ("a.bin", data)})
    assert response.status_code == 200
    found = response.json()["data"]
    assert found["type"] == "analysis"
    assert re.fullmatch(r"f-" + hashlib.sha256(data).hexdigest() + r"-\d+", found["id"])
    assert found["links"]["self"] == f"{api.base}/api/v3/analyses/{found['id']}"


def test_a_file_is_found_by_each_hash_in_any_case(api):
    data = sample()
    api.hunt(data)
    for name in ("md5", "sha1", "sha256"):
        for written in (str.lower, str.upper):
            found = api.get(f"/files/{written(hashlib.new(name, data).hexdigest())}").json()["data"]
            assert found["id"] == hashlib.sha256(data).hexdigest()
            assert found["links"]["self"] == f"{api.base}/api/v3/files/{found['id']}"


def test_what_is_known_of_a_file(api):
    data = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + sample()
    api.hunt(data, "tool.elf")
    known = attributes_of(api, data)
    for name in ("md5", "sha1", "sha256"):
        assert known[name] == hashlib.new(name, data).hexdigest()
    assert (known["size"], known["meaningful_name"], known["names"]) == (len(data), "tool.elf", ["tool.elf"])
    assert (known["times_submitted"], known["unique_sources"]) == (1, 1)
    assert known["type_tag"] == "elf" and known["magic"].startswith("ELF 64-bit")
    assert known["last_analysis_date"] >= known["first_submission_date"] > 1_600_000_000
    assert known["last_analysis_stats"]["malicious"] == 0 and known["last_analysis_results"] == {}


def test_a_second_upload_counts_and_keeps_both_names(server, api):
    data = sample()
    api.hunt(data, "first.bin")
    server.api(server.someone()).hunt(data, "second.bin")
    api.hunt(data, "second.bin")
    known = attributes_of(api, data)
    assert (known["times_submitted"], known["unique_sources"]) == (3, 2)
    assert set(known["names"]) == {"first.bin", "second.bin"}
    assert known["meaningful_name"] == "second.bin"


def test_the_empty_file_is_a_file(api):
    api.hunt(b"", "empty")
    assert attributes_of(api, b"")["size"] == 0
    response = api.get(f"/files/{hashlib.md5(b'').hexdigest()}/download")
    assert (response.status_code, response.content) == (200, b"")


def test_a_form_without_a_file_name(api):
    data = sample()
    response = api.post("/files", files={"file": (None, data)})
    assert response.status_code == 200
    api.wait_analysis(response.json()["data"]["id"])
    assert "meaningful_name" not in attributes_of(api, data) and attributes_of(api, data)["names"] == []


def test_other_parts_of_the_form_are_ignored(api):
    data = sample()
    response = api.post("/files", data={"password": "infected", "comment": "x"}, files={"file": ("a", data)})
    assert response.status_code == 200
    api.wait_analysis(response.json()["data"]["id"])
    assert attributes_of(api, data)["size"] == len(data)


def test_a_download_is_the_bytes(api):
    data = os.urandom(1_500_000) + sample()
    api.hunt(data)
    response = api.get(f"/files/{hashlib.sha1(data).hexdigest()}/download")
    assert response.status_code == 200 and response.content == data
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(data).hexdigest() in response.headers["Content-Disposition"]


def test_a_download_can_start_before_the_analysis_ends(api):
    data = sample()
    analysis = api.upload(data)
    response = api.get(f"/files/{hashlib.sha256(data).hexdigest()}/download")
    assert response.content == data
    api.wait_analysis(analysis)


# ---- large ones ----


def upload_url(api):
    return api.get("/files/upload_url").json()["data"]


def path_of(api, url):
    assert url.startswith(api.base + "/api/v3/"), url
    return url[len(api.base + "/api/v3"):]


def test_32_mb_is_the_direct_maximum(api):
    data = os.urandom(1 << 20) * 32
    assert len(data) == DIRECT_MAX
    api.wait_analysis(api.upload(data))
    assert attributes_of(api, data)["size"] == DIRECT_MAX
    assert_error(api.post("/files", files={"file": ("big", data + b"x")}), 413, "BadRequestError", "33554432 bytes")


def test_an_upload_address_works_once(api):
    url = path_of(api, upload_url(api))
    data = sample()
    response = api.post(url, files={"file": ("a", data)})
    assert response.status_code == 200
    api.wait_analysis(response.json()["data"]["id"])
    assert_error(api.post(url, files={"file": ("a", data)}), 400, "BadRequestError", "ask for a new one")


def test_an_upload_address_is_its_owners(server, api):
    url = path_of(api, upload_url(api))
    other = server.api(server.someone())
    assert_error(other.post(url, files={"file": ("a", sample())}), 400, "BadRequestError", "upload address")
    assert api.post(url, files={"file": ("a", sample())}).status_code == 200, "and was not used up"


def test_an_invented_upload_address(api):
    made = api.post("/files/upload/" + "A" * 43, files={"file": ("a", sample())})
    assert_error(made, 400, "BadRequestError", "upload address")


def test_a_chunked_upload(api):
    data = sample()
    body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="c"\r\n\r\n', data, b"\r\n--b--\r\n")
    response = api.post(path_of(api, upload_url(api)), data=iter(body),
                        headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 200, response.text
    assert hashlib.sha256(data).hexdigest() in response.json()["data"]["id"]


def test_a_file_above_the_hunting_maximum_completes_with_the_reason(api):
    mark = marker()
    api.ruleset(rules_for(mark))
    data = mark.encode() + bytes(HUNT_MAX + 1)
    # As a stream of pieces: what is tested is the server's memory, not the client's.
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="huge"\r\n\r\n'
    pieces = [head, *(data[i:i + (1 << 22)] for i in range(0, len(data), 1 << 22)), b"\r\n--b--\r\n"]
    response = api.post(path_of(api, upload_url(api)), data=iter(pieces),
                        headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 200, response.text
    analysis = api.wait_analysis(response.json()["data"]["id"])
    assert [skipped["what"] for skipped in analysis["not_run"]] == ["hunting"]
    assert str(HUNT_MAX) in analysis["not_run"][0]["reason"]
    assert api.stream()["data"] == []
    assert attributes_of(api, data)["size"] == len(data)


# ---- again ----


def test_a_new_analysis_of_a_stored_file(api):
    data = sample()
    sha256 = api.hunt(data)
    first = attributes_of(api, data)
    mark = data.decode().split()[0]
    api.ruleset(rules_for(mark), "made later")
    assert api.stream()["data"] == []
    response = api.post(f"/files/{sha256}/analyse")
    assert response.status_code == 200
    api.wait_analysis(response.json()["data"]["id"])
    assert [item["id"] for item in api.stream()["data"]] == [sha256]
    again = attributes_of(api, data)
    assert again["times_submitted"] == first["times_submitted"] == 1
    assert again["last_analysis_date"] >= first["last_analysis_date"]


def test_analysing_what_is_not_there(api):
    assert_error(api.post(f"/files/{'0' * 64}/analyse"), 404, "NotFoundError", 'File "000')
    assert_error(api.post("/files/none/analyse"), 400, "BadRequestError", "hash")


# ---- removing ----


def test_an_administrator_removes_a_file(server, api):
    admin = server.api(server.someone("admin"))
    mark = marker()
    api.ruleset(rules_for(mark))
    data = mark.encode()
    sha256 = api.hunt(data)
    assert_error(api.delete(f"/files/{sha256}"), 403, "ForbiddenError")
    response = admin.delete(f"/files/{hashlib.md5(data).hexdigest()}")
    assert (response.status_code, response.json()) == (200, {})
    for path in (f"/files/{sha256}", f"/files/{sha256}/download"):
        assert_error(api.get(path), 404, "NotFoundError", f'File "{sha256}" not found')
    assert_error(api.post(f"/files/{sha256}/analyse"), 404, "NotFoundError")
    assert_error(admin.delete(f"/files/{sha256}"), 404, "NotFoundError")
    for pack in server.data.rglob("*"):
        assert not pack.is_file() or "pack" not in str(pack) or mark.encode() not in pack.read_bytes(), pack

    # The notification is told without the file; sent again, the file is back and told no second time.
    (entry,) = api.stream()["data"]
    assert entry["id"] == sha256 and "attributes" not in entry
    assert entry["error"] == {"code": "NotFoundError", "message": f'file with id "{sha256}" not found'}
    assert api.hunt(data) == sha256
    (entry,) = api.stream()["data"]
    assert entry["attributes"]["sha256"] == sha256
    assert api.get(f"/files/{sha256}/download").content == data


def test_analyses_of_a_removed_file(server, api):
    admin = server.api(server.someone("admin"))
    data = sample()
    analysis = api.upload(data)
    api.wait_analysis(analysis)
    assert admin.delete(f"/files/{hashlib.sha256(data).hexdigest()}").status_code == 200
    for path in (f"/analyses/{analysis}", f"/analyses/{analysis}/item"):
        assert_error(api.get(path), 404, "NotFoundError")


# ---- many at once ----


def test_uploads_of_the_same_file_at_the_same_time(server, api):
    mark = marker()
    api.ruleset(rules_for(mark), "told once")
    data = mark.encode()
    with ThreadPoolExecutor(8) as pool:
        clients = [server.api(api.key) for _ in range(24)]
        ids = set(pool.map(lambda one: one.upload(data), clients))
    for analysis in ids:
        api.wait_analysis(analysis)
    assert len(api.stream()["data"]) == 1
    assert attributes_of(api, data)["times_submitted"] == 24


def test_a_client_that_goes_away_in_the_middle_of_an_upload(server, api):
    data = marker().encode() * 5000
    head = (f"POST /api/v3/files HTTP/1.1\r\nHost: x\r\nx-apikey: {api.key}\r\nContent-Length: 9999999\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="half"\r\n\r\n').encode()
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(head + data)
    api.hunt(sample())
    assert_error(api.get(f"/files/{hashlib.md5(data).hexdigest()}"), 404, "NotFoundError")
