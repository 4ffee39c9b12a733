"""What each setting does, seen from outside. test_contract.py asks that every setting is used somewhere."""

import socket
from pathlib import Path

import pytest

from weirtest import marker, rules_for, wait_for


def threads_of(server, name=""):
    """How many threads of the server have a name that begins so."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/comm")
    return sum(task.read_text().startswith(name) for task in tasks)


def test_threads(make_server):
    one = make_server("--threads", "1", "--workers", "1").start()
    four = make_server("--threads", "4", "--workers", "1", name="four").start()
    assert threads_of(four) == threads_of(one) + 3


def test_workers(make_server):
    for workers in (1, 3):
        server = make_server("--workers", str(workers), name=f"workers-{workers}").start()
        assert threads_of(server, "hunt-") == workers


def test_connections_max(make_server):
    """What is above the number waits until others leave, and then is served."""
    server = make_server("--connections-max", "16").start()
    api = server.api(server.someone())
    assert api.get("/ioc_stream").status_code == 200
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(60)]

    def asked(connection):
        connection.settimeout(0.2)
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(15) == b"HTTP/1.1 200 OK"
        except TimeoutError:
            return False

    try:
        served = [connection for connection in idle[:20] if asked(connection)]
        assert 1 <= len(served) <= 16
        waiting = idle[-1]
        assert not asked(waiting)
        for connection in idle[:-1]:
            connection.close()
        waiting.settimeout(10)
        assert waiting.recv(15) == b"HTTP/1.1 200 OK"
    finally:
        for connection in idle:
            connection.close()
    assert api.get("/ioc_stream").status_code == 200


@pytest.mark.parametrize("trusted", [False, True])
def test_trust_forwarded(make_server, trusted):
    server = make_server(*(["--trust-forwarded"] if trusted else [])).start()
    api = server.api(server.someone())
    answer = api.get("/ioc_stream", headers={"X-Forwarded-Host": "weir.example", "X-Forwarded-Proto": "https",
                                             "X-Forwarded-For": "203.0.113.7"})
    host = "https://weir.example" if trusted else server.base
    assert answer.json()["links"]["self"].startswith(host + "/api/v3/ioc_stream")

    def line():
        return [e for e in server.log_events() if e.get("request_id") == answer.headers["X-Request-Id"]]

    (logged,) = wait_for(line, 5, "no line in the log")
    assert logged["remote"] == ("203.0.113.7" if trusted else "127.0.0.1")


def test_log_requests(make_server):
    server = make_server(env={"WEIR_LOG_REQUESTS": "false"}).start()
    api = server.api(server.someone())
    assert api.get("/ioc_stream").status_code == 200 and api.get("/nothing").status_code == 404
    server.stop()
    assert [e for e in server.log_events() if e["event"] == "request"] == []


def test_ruleset_limit_default(make_server):
    server = make_server("--ruleset-limit-default", "2").start()
    api = server.api(server.someone())
    mark = marker()
    assert api.ruleset(rules_for(mark))["attributes"]["limit"] == 2
    for i in range(4):
        api.hunt(f"{mark} {i}".encode())
    assert api.stream()["meta"]["count"] == 2
