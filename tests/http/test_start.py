"""Start, readiness, accounts from the command line, and a clean stop."""

import re
import socket

import pytest
import requests


def test_healthz_readyz_and_metrics_need_no_key(server):
    for path in ("//healthz", "//readyz", "//metrics"):
        assert server.api().get(path).status_code == 200, path


def test_user_add_prints_the_key_alone(server):
    out = server.command("user", "add", "key-alone", "--role", "viewer").stdout
    assert out == out.strip() + "\n"
    assert server.api(out.strip()).get("/ioc_stream").status_code == 200


def test_user_add_works_without_a_server(make_server):
    one = make_server()
    one.start()
    one.stop()
    key = one.user("added-while-stopped")
    one.start()
    assert one.api(key).get("/ioc_stream").status_code == 200


def test_a_second_server_on_the_same_data_is_refused(server):
    done = server.command("serve", "--listen", "127.0.0.1:0", check=False)
    assert done.returncode != 0
    assert str(server.data) in done.stderr


def test_stop_ends_the_process_with_status_0(make_server):
    one = make_server().start()
    one.stop()
    with pytest.raises(requests.ConnectionError):
        one.api().get("//readyz")


def test_stop_does_not_wait_for_idle_connections(make_server):
    one = make_server().start()
    with socket.create_connection(("127.0.0.1", one.port)) as idle:
        idle.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n")  # half a request
        one.stop()


def test_the_first_start_prints_the_administrators_key_once(make_server):
    one = make_server().start()
    printed = one.folder / "stdout"
    first = printed.read_text()
    keys = [word for word in re.findall(r"[\w-]{40,}", first) if one.api(word).get("/ioc_stream").status_code == 200]
    assert keys, f"no working key in: {first}"
    one.stop()
    one.start()
    assert not any(key in printed.read_text()[len(first):] for key in keys)
