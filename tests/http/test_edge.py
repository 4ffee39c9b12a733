"""The server's edge from outside: what is no request, how many an address may be, pages of other origins, counters."""

import json
import socket

import pytest

from weirtest import wait_for


def say(port, sent):
    """Everything a server answers to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        try:
            s.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = b""
        while more := s.recv(65536):
            got += more
    return got


def counter(server, name):
    text = server.api().get("//metrics").text
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"weir_{name} "))


@pytest.mark.parametrize("sent, status, metric", (
    (b"GET / HTTP/9.9\r\n\r\n", 505, "http_malformed_total"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "http_malformed_total"),
    (b"POST /api/v3/files HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", 400, "http_malformed_total"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 300_000, 431, "http_head_large_total"),
    (b"GET /api/v3/ioc_stream?filter=" + b"x" * 300_000, 414, "http_head_large_total"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 5000, 431, "http_head_large_total")),
    ids=("version", "no-colon", "length", "header", "url", "lines"))
def test_what_is_no_request_is_answered_like_one(server, sent, status, metric):
    before, start = counter(server, metric), server.log_path.stat().st_size
    head, body = say(server.port, sent).split(b"\r\n\r\n")
    assert int(head.split()[1]) == status and b"Content-Type: application/json" in head
    error = json.loads(body)["error"]
    assert error["code"] == "BadRequestError" and error["message"]
    assert counter(server, metric) == before + 1
    (event,) = [e for e in server.log_events(start) if e["event"] == "refused"]
    assert (event["status"], event["remote"]) == (status, "127.0.0.1")


def test_connections_of_one_address(make_server):
    server = make_server("--connections-per-address-max", "4").start()
    held = []
    try:
        wait_for(lambda: len(held) == 4 or held.append(socket.create_connection(("127.0.0.1", server.port))), 5, "no")
        for s in held:
            s.settimeout(30)
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert s.recv(15) == b"HTTP/1.1 200 OK"
        head, body = say(server.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ") and b"Retry-After" in head
        assert json.loads(body)["error"]["code"] == "TooManyRequestsError"
        held.pop().close()

        def let_in():
            return say(server.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(
                b"HTTP/1.1 200")

        wait_for(let_in, 10, "the place of who left stays taken")
    finally:
        for s in held:
            s.close()
    wait_for(lambda: counter(server, "http_address_full_total") >= 1, 5, "it is not counted")


def test_pages_of_other_origins(make_server):
    server = make_server("--cors-origins", "https://soc.example https://lab.example").start()
    api = server.api(server.someone())
    for origin, allowed in (("https://lab.example", True), ("https://evil.example", False)):
        answer = api.request("OPTIONS", "/ioc_stream", headers={"Origin": origin, "Access-Control-Request-Method": "GET",
                                                                "Access-Control-Request-Headers": "x-apikey"})
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert ("x-apikey" in answer.headers.get("Access-Control-Allow-Headers", "")) == allowed
        answer = api.get("/ioc_stream", headers={"Origin": origin})
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in api.get("/ioc_stream").headers


def test_options_of_the_server_itself(server):
    answer = say(server.port, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and b"Allow: GET, HEAD, POST" in answer
