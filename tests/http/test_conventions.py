"""What holds for every request: errors, methods, request ids, links, the description."""

import contextlib
import gzip
import http.client
import socket

import pytest
import requests

from weirtest import assert_error, marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"


def raw(server, text):
    """Sends bytes, reads until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        got = b""
        while piece := s.recv(65536):
            got += piece
    return got


def test_what_does_not_exist_is_json_too(api):
    for path in ("//", "//api", "//api/v3", "//api/v3/", "/filez", "/files", "//favicon.ico", "/ioc_stream/1", "/a/b/c/d/e/f/g"):
        response = api.get(path)
        if path == "/files":
            assert_error(response, 405, "BadRequestError")
        else:
            assert_error(response, 404, "NotFoundError")


def test_other_methods_are_named(api):
    for method, path, allowed in (("PUT", "/files", {"POST"}), ("POST", "/ioc_stream", {"GET", "HEAD", "DELETE"}),
                                  ("PATCH", "//healthz", {"GET", "HEAD"}),
                                  ("BREW", RULESETS, {"GET", "HEAD", "POST", "DELETE"})):
        response = api.request(method, path)
        assert_error(response, 405, "BadRequestError")
        assert allowed | {"OPTIONS"} == set(response.headers["Allow"].split(", ")), path
    assert api.request("OPTIONS", "/ioc_stream").status_code == 200


def test_head_is_get_without_the_body(api):
    for path in ("/ioc_stream", "//readyz", RULESETS):
        response = api.request("HEAD", path)
        assert (response.status_code, response.content) == (200, b"")
        assert int(response.headers["Content-Length"]) > 0


def test_every_answer_has_a_request_id_which_is_in_the_log(server, api):
    start = server.log_path.stat().st_size
    ids = {api.get(path).headers["X-Request-Id"] for path in ("/ioc_stream", "/nothing", "/files/xyz", "//healthz")}
    assert len(ids) == 4

    def all_logged():  # the line follows the answer's last byte
        logged = {e.get("request_id"): e for e in server.log_events(start) if e["event"] == "request"}
        return logged if ids <= set(logged) else None

    logged = wait_for(all_logged, 5, "requests without a line in the log")
    statuses = sorted(logged[i]["status"] for i in ids)
    assert statuses == [200, 200, 400, 404]


def test_keys_are_never_logged(server, api):
    api.get("/ioc_stream")
    requests.get(server.base + "/api/v3/ioc_stream", headers={"x-apikey": "a-wrong-key-" + "7" * 52}, timeout=10)
    text = server.log_path.read_text()
    assert api.key not in text and "a-wrong-key" not in text


def test_headers_are_found_in_any_case(server, api):
    for name in ("x-apikey", "X-Apikey", "X-APIKEY"):
        response = requests.get(server.base + "/api/v3/ioc_stream", timeout=10,
                                headers={name: api.key, "x-tool": "MyTool", "accept": "application/json"})
        assert response.status_code == 200


def test_json_is_read_whatever_it_is_called(api):
    body = '{"data": {"type": "hunting_ruleset", "attributes": {"name": "n", "rules": "rule r { condition: false }"}}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", None):
        response = api.post(RULESETS, data=body, headers={"Content-Type": kind})
        assert response.status_code == 200, (kind, response.text)


def test_a_body_where_none_is_expected_is_ignored(api):
    assert api.request("GET", "/ioc_stream", data="{}").status_code == 200
    assert api.delete("/ioc_stream", data="{}").status_code == 200


def test_unknown_parameters_are_ignored(api):
    assert api.get("/ioc_stream?nothing=1&x=&=&&").status_code == 200


def test_more_parameters_than_anyone_needs(server, api):
    """libmicrohttpd has no memory for them and would let the client wait for ever."""
    for count in (65, 1000, 5000):
        query = "&".join(f"a{i}" for i in range(count))
        assert_error(api.get("/ioc_stream?" + query), 400, "BadRequestError", "Too many parameters")
    assert_error(api.get("/ioc_stream?" + "&" * 30_000), 400, "BadRequestError")
    assert api.get("/ioc_stream?" + "a=" + "b" * 15_000).status_code == 200


def test_a_path_is_decoded_once_and_by_parts(api):
    assert api.get("/%69oc_stream").status_code == 200
    assert_error(api.get("/files%2Fupload_url"), 404, "NotFoundError")
    assert_error(api.get("/files/%zz"), 400, "BadRequestError")
    for dots in ("/files/../ioc_stream", "/files/%2e%2e/ioc_stream"):
        # http.client sends the path as it is, requests would tidy it up.
        with contextlib.closing(http.client.HTTPConnection(api.base.removeprefix("http://"))) as connection:
            connection.request("GET", "/api/v3" + dots, headers={"x-apikey": api.key})
            assert connection.getresponse().status == 404


def test_a_connection_serves_many_requests(server, api):
    request = f"GET /api/v3/ioc_stream HTTP/1.1\r\nHost: x\r\nx-apikey: {api.key}\r\n".encode()
    got = raw(server, (request + b"\r\n") * 5 + request + b"Connection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 OK") == 6


def test_answers_have_a_length_and_are_not_chunked(api):
    for path in ("/ioc_stream", "/nothing", RULESETS):
        response = api.get(path, headers={"Accept-Encoding": "identity"})
        assert int(response.headers["Content-Length"]) == len(response.content)
        assert "Transfer-Encoding" not in response.headers


def test_gzip_if_at_all_is_gzip(api):
    api.ruleset(rules_for(marker(), 300))
    response = api.get(RULESETS, headers={"Accept-Encoding": "gzip"}, stream=True)
    if response.headers.get("Content-Encoding") == "gzip":
        assert response.json()["meta"]["count"] == 1
    else:
        with pytest.raises(gzip.BadGzipFile):
            gzip.decompress(response.content)


def test_requests_that_are_no_http(server):
    refused = [
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/7.3\r\nHost: x\r\n\r\n",
    ]
    for text in refused:
        try:
            got = raw(server, text)
        except OSError:
            got = b""  # refused before all of it was sent
        assert got == b"" or got.startswith(b"HTTP/1.1 4") or got.startswith(b"HTTP/1.1 505"), (text[:40], got[:40])
    for text in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\r\n" * 100, b"x" * 100_000, b"GET /healthz", bytes(1000)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(text)
    assert server.api().get("//readyz").status_code == 200


def test_two_requests_in_one_are_not_smuggled(server, api):
    """A request with both framings is refused and ends its connection (RFC 9112, 6.3)."""
    got = raw(server, f"POST {'/api/v3' + RULESETS} HTTP/1.1\r\nHost: x\r\nx-apikey: {api.key}\r\nContent-Length: 4\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert got.count(b"HTTP/1.1") == 1 and got.startswith(b"HTTP/1.1 400")


def test_a_client_that_ends_in_the_middle_is_forgotten(server, api):
    """Its end arrives together with its last bytes; nothing waits for it until a time-out."""
    def connections():
        text = server.api().get("//metrics", headers={"Connection": "close"}).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("weir_http_connections "))

    head = f"POST /api/v3/files HTTP/1.1\r\nHost: x\r\nx-apikey: {api.key}\r\n"
    before = connections()
    for text in (head + "Content-Length: 1000\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n", head, "GET"):
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(text.encode())
    wait_for(lambda: connections() <= before, 8, "they are still connected")


def test_the_description_has_every_route_and_its_parameters(server):
    text = server.api().get("//api/openapi.json").json()
    assert text["openapi"].startswith("3.1")
    assert {"get", "delete"} <= set(text["paths"]["/api/v3/ioc_stream"])
    names = {p["name"] for p in text["paths"]["/api/v3/ioc_stream"]["get"]["parameters"]}
    assert names == {"limit", "cursor", "filter", "order", "descriptors_only", "attributes", "exclude_attributes",
                     "relationships", "relationship_attributes"}
    assert {p["name"] for p in text["paths"]["/api/v3/ioc_stream"]["delete"]["parameters"]} == {"filter"}
    ids = [o["operationId"] for item in text["paths"].values() for o in item.values()]
    assert len(ids) == len(set(ids))
    for path, item in text["paths"].items():
        for method, operation in item.items():
            keyless = not operation.get("security")
            # An address got by someone with a key opens without one.
            assert keyless == (not path.startswith("/api/v3/") or path.endswith("/download/{token}")), (method, path)


def test_metrics_are_what_prometheus_reads(server, api):
    api.hunt(marker().encode())
    response = server.api().get("//metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    values = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    uploads = next(v for k, v in values.items() if k.endswith("uploads_total"))
    assert int(uploads) >= 1
    assert int(values["weir_scan_children_started_total"]) >= 1
