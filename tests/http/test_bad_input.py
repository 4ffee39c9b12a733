"""What nobody should send, and what everybody does: each gets its documented error, and the server serves on."""

import errno
import json
import os
import re
import resource
import socket
import sqlite3
import subprocess

import pytest

import weirtest
from weirtest import assert_error, marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"
MIB = 1 << 20


@pytest.fixture(scope="module")
def crank(server):
    """A client who sends only what is refused."""
    return server.api(server.someone())


def rows(*table):
    """Parameters of a test, called by their number and what letters the first value begins with."""
    table = [row if isinstance(row, tuple) else (row,) for row in table]
    return [pytest.param(*row, id=f"{i:02}-" + re.sub(r"[^A-Za-z0-9]+", "-", str(row[0])[:24]).strip("-"))
            for i, row in enumerate(table)]


@pytest.fixture(autouse=True)
def served_and_logged(request):
    """After each test its server still serves, and each refusal of the test is in the log."""
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    log_start, said = server.log_path.stat().st_size, len(weirtest.TRAFFIC)
    yield
    assert server.api().get("//readyz").status_code == 200
    refused = sum(e.status >= 400 for e in weirtest.TRAFFIC[said:])

    def logged():
        """Each by its own line, or counted: equal events are coalesced above 50 a second."""
        server.api().get("//healthz")  # whatever is logged next ends a window
        events = server.log_events(log_start)
        lines = sum(e["event"] == "request" and e["status"] >= 400 for e in events)
        return lines + sum(e["count"] for e in events if e["event"] == "repeats") >= refused

    wait_for(logged, 5, f"the log does not tell of {refused} refusals")


# ---- JSON ----


def send(api, body, **kwargs):
    return api.post(RULESETS, data=body, headers={"Content-Type": "application/json"}, **kwargs)


def with_attributes(**attributes):
    return {"data": {"type": "hunting_ruleset",
                     "attributes": {"name": "n", "rules": "rule r { condition: false }", **attributes}}}


GOOD = json.dumps(with_attributes()).encode()
NO_ATTRIBUTES = b'{"data": {}}'


@pytest.mark.parametrize("body", rows(
    b"", b" ", b"{", b"}", GOOD[:-1], GOOD[:40], GOOD + b"}", GOOD + GOOD, b"'" + GOOD + b"'", b"\xef\xbb\xbf" + GOOD,
    b"null", b"[]", b'"data"', b"1", b"{}", b'{"data": null}', b'{"data": []}', NO_ATTRIBUTES,
    b'{"data": {"attributes": []}}', b'{"data": {"attributes": null}}', b'{"data": {"type": 1, "attributes": {}}}',
    b'{"data": {"type": "file", "attributes": {}}}',
    b'{"data": {"type": "hunting_ruleset", "type": "hunting_ruleset", "attributes": {}}}',
    GOOD.replace(b'"name": "n"', b'"name": "a", "name": "b"'),
    GOOD.replace(b'"name": "n"', b'name: "n"'), GOOD.replace(b'"n"', b"'n'"), GOOD.replace(b'"n"', b'"n" // c'),
    GOOD.replace(b'"n"', b'"\xff\xfe"'), GOOD.replace(b'"n"', b'"\xc0\xaf"'), GOOD.replace(b'"n"', b'"\xed\xa0\x80"'),
    GOOD.replace(b'"n"', b'"\\ud800"'), GOOD.replace(b'"n"', b'"a\\u0000b"'), GOOD.replace(b'"n"', b'"a\x01b"'),
    GOOD.replace(b'"n"', b'"n", "x": NaN'), GOOD.replace(b'"n"', b'"n", "x": Infinity'),
    GOOD.replace(b'"n"', b'"n", "x": 1e999'), GOOD.replace(b'"n"', b'"n", "limit": ' + b"9" * 400),
    GOOD.replace(b'"n"', b'"n", "x": 01'), GOOD.replace(b'"n"', b'"n", "x": .5'), GOOD.replace(b'"n"', b'"n", "x": 0x1'),
    b"[" * 10_000 + b"]" * 10_000, b'{"data":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 1_000_000,
    GOOD.replace(b'"n"', b'"n", "x": ' + b"[" * 10_000 + b"]" * 10_000),))
def test_malformed_json(crank, body):
    assert_error(send(crank, body), 400, "BadRequestError")
    if body != NO_ATTRIBUTES:  # a change of nothing
        assert_error(crank.patch(f"{RULESETS}/1", data=body), 400, "BadRequestError")
    assert crank.get(RULESETS).json()["data"] == []


def test_malformed_json_is_told_with_its_place(crank):
    assert_error(send(crank, b'{\n  "data": x'), 400, "BadRequestError", "line 2, column")


def test_json_of_more_than_4_mb(crank):
    assert_error(send(crank, b" " * (4 * MIB + 1)), 413, "BadRequestError")
    assert_error(send(crank, iter([b" " * MIB] * 5)), 413, "BadRequestError")


@pytest.mark.parametrize("attribute, values", rows(
    ("name", (None, 1, True, [], {}, "", "x" * 257, "a\nb", "a\x7fb", "\x85")),
    ("rules", (None, 1, True, [], {}, "", "   ", "// nothing")),
    ("enabled", (None, 1, 0, "true", "True", [], {})),
    ("limit", (None, -1, 1.5, 1e3, "1", True, [], {}, 2 ** 63 - 1)),
    ("notification_emails", (None, "a@example.com", {}, 1, [1], [None], [[]], ["nobody"], ["a b@c"], ["a@b\n"],
                             ["a@example.com"] * 65, ["x" * 300 + "@example.com"])),
    ("tags", (None, "t", {}, 1, [1], [None], [[]], [""], ["a\nb"], ["t"] * 65, ["x" * 10_000])),
    ("match_object_type", (None, 1, "", "File", "files", [], {})),))
def test_attributes_of_a_wrong_kind(api, attribute, values):
    for value in values:
        message = assert_error(api.post(RULESETS, json=with_attributes(**{attribute: value})), 400,
                               "InvalidArgumentError")
        assert message, value
    made = api.ruleset(rules_for(marker()), "unchanged")
    for value in values:
        response = api.patch(f"{RULESETS}/{made['id']}", json={"data": {"attributes": {attribute: value}}})
        assert_error(response, 400, "InvalidArgumentError")
    assert api.get(RULESETS).json()["data"] == [made]


def test_attributes_that_must_be_there(crank):
    for attributes in ({}, {"name": "n"}, {"rules": "rule r { condition: false }"}):
        response = crank.post(RULESETS, json={"data": {"type": "hunting_ruleset", "attributes": attributes}})
        assert_error(response, 400, "InvalidArgumentError", "is required")


# ---- multipart ----


def part(name=b"file", filename=b"a.bin", data=b"data", extra=b""):
    return (b'--b\r\nContent-Disposition: form-data; name="' + name + b'"; filename="' + filename + b'"\r\n' + extra +
            b"\r\n" + data + b"\r\n")


def upload(api, body, kind="multipart/form-data; boundary=b", path="/files"):
    return api.post(path, data=body, headers={"Content-Type": kind} if kind else {})


@pytest.mark.parametrize("body, kind", rows(
    (part() + b"--b--", "multipart/form-data"), (part() + b"--b--", "multipart/form-data; boundary="),
    (part() + b"--b--", "multipart/form-data; boundary=" + "b" * 300), (part() + b"--b--", "multipart/form-data; boundary=c"),
    (part() + b"--b--", "text/plain"), (part() + b"--b--", None), (b"", None), (b"x", "application/octet-stream"),
    (b"", "multipart/form-data; boundary=b"), (b"--b--\r\n", "multipart/form-data; boundary=b"),
    (part(), "multipart/form-data; boundary=b"), (part()[:-3], "multipart/form-data; boundary=b"),
    (part()[:30], "multipart/form-data; boundary=b"), (part() + b"--b", "multipart/form-data; boundary=b"),
    (part() + b"--b-", "multipart/form-data; boundary=b"), (part() + b"--bx--", "multipart/form-data; boundary=b"),
    (part(name=b"files") + b"--b--", "multipart/form-data; boundary=b"),
    (part(name=b"") + b"--b--", "multipart/form-data; boundary=b"),
    (part() + part() + b"--b--", "multipart/form-data; boundary=b"),
    (b"--b\r\n\r\ndata\r\n--b--", "multipart/form-data; boundary=b"),
    (b"--b\r\nContent-Disposition\r\n\r\ndata\r\n--b--", "multipart/form-data; boundary=b"),
    (part(filename=b"a\0b") + b"--b--", "multipart/form-data; boundary=b"),
    (part(name=b"file\0") + b"--b--", "multipart/form-data; boundary=b"),
    (part(extra=b"X: " + b"y" * 20_000 + b"\r\n") + b"--b--", "multipart/form-data; boundary=b"),
    (part(name=b"other") * 200 + b"--b--", "multipart/form-data; boundary=b"),
    (b"file=data", "application/x-www-form-urlencoded"), (b"\0" * 1000, "multipart/form-data; boundary=b"),))
def test_malformed_uploads(crank, body, kind):
    assert_error(upload(crank, body, kind), 400, "BadRequestError")


def test_malformed_uploads_leave_nothing(server, crank):
    before = server.api().get("//metrics").text
    for body in (part(data=marker().encode()), part(data=b"x" * 3_000_000), part() + part() + b"--b--"):
        assert_error(upload(crank, body), 400, "BadRequestError")
    after = server.api().get("//metrics").text

    assert metric(before, "files_new_total") == metric(after, "files_new_total")
    assert not list((server.data).rglob("*.tmp"))


@pytest.mark.parametrize("filename, kept", rows(
    (b"../../etc/passwd", ["passwd"]), (b"..\\..\\windows\\x.exe", ["x.exe"]), (b"/", []), (b"..", []), (b".", []),
    (b"", []), (b"a\x01b\x1b[31m\x7f", ["a_b_[31m_"]), (b"\xff\xfe.bin", ["��.bin"]),
    ("naïve \U0001f41f".encode(), ["naïve \U0001f41f"]), (b"x" * 10_000, ["x" * 255]),
    ("ü".encode() * 200, ["ü" * 127]), (b'quo\\"te', ['quo"te']), (b"a\tb", ["a_b"]),
    (b"<script>alert(1)</script>", ["script>"]), ("‮gpj.exe".encode(), ["‮gpj.exe"]),
    (b"CON", ["CON"]), (b"a;b=c", ["a;b=c"]), (b"%2e%2e%2fx", ["%2e%2e%2fx"]),))
def test_hostile_file_names(crank, filename, kept):
    data = marker().encode()
    response = upload(crank, part(filename=filename, data=data) + b"--b--")
    assert response.status_code == 200, response.text
    crank.wait_analysis(response.json()["data"]["id"])
    sha256 = response.json()["data"]["id"][2:66]
    assert crank.get(f"/files/{sha256}").json()["data"]["attributes"]["names"] == kept


def test_a_file_name_in_the_extended_form(crank):
    data = marker().encode()
    body = (b"--b\r\nContent-Disposition: form-data; name=file; filename*=utf-8''%e2%82%ac%2f..%2frates%00\r\n\r\n" +
            data + b"\r\n--b--")
    assert_error(upload(crank, body), 400, "BadRequestError")
    assert upload(crank, body.replace(b"%00", b"")).status_code == 200


# ---- filters, cursors, ids, limits ----


@pytest.mark.parametrize("text, place", rows(
    ("nope:1", "character 1"), ("tag:a nope:1", "character 7"), ("“ü” nope:1", "character 5"),
    ("(tag:a", "character 1"), ("tag:a)", "character 6"), ("()", "character 2"), ("tag:a OR", "before the end"),
    ("OR tag:a", "before OR"), ("AND", "before AND"), ("NOT", "before the end"), ("tag:a AND OR tag:b", "before OR"),
    ('"open', "character 1"), ("tag:'open", "character 5"), ("“open", "character 1"), ("tag:", "character"),
    ("date:yesterday", 'date "yesterday" is not valid'), ("date:2023-13-01", "is not valid"),
    ("date:2023-02-30+", "is not valid"), ("date:20230207T100000", "is not valid"),
    ("date:3y+", "is not valid"), ("date:-", "is not valid"), ("date:*", "is not valid"),
    ("origin:notHunting", 'origin "notHunting" is not valid. Valid origins are: hunting,subscriptions'),
    ("entity_type:files", "Valid entity types are: file,domain,url,ip_address"),
    ("source_type:x", "Valid source types are: hunting_ruleset,retrohunt_job,collection,threat_actor"),
    ("a\x01b", "character 2"), ("tag:" + "a " * 300, "more than 256 terms"),
    ("(" * 100 + "tag:a" + ")" * 100, "nested deeper than 64"), ("NOT " * 100 + "tag:a", "nested deeper than 64"),
    ("(" * 10_000, "nested deeper than 64"), ("x" * 17_000, "longer than 16384 bytes"),))
def test_malformed_filters(crank, text, place):
    assert_error(crank.get("/ioc_stream", params={"filter": text}), 400, "BadRequestError", place)
    assert_error(crank.delete("/ioc_stream", params={"filter": text}), 400, "BadRequestError", place)


def test_a_filter_that_is_not_utf8(crank):
    assert_error(crank.get("/ioc_stream?filter=tag:%ff"), 400, "BadRequestError", "character 5: this is not UTF-8")
    assert_error(crank.get("/ioc_stream?filter=a%00b"), 400, "BadRequestError", "NUL")


def test_altered_cursors(api):
    mark = marker()
    api.ruleset(rules_for(mark, 3))
    api.hunt(mark.encode())
    cursor = api.stream(limit=1, filter="tag:found_*")["meta"]["cursor"]
    altered = [cursor[:n] for n in range(1, len(cursor))] + [cursor + "A", cursor * 2, cursor[::-1], " ", "*", "%",
                                                             "A" * 30_000, "-1", "ü", cursor + "="]
    for i in range(len(cursor)):
        altered.append(cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1:])
    for text in altered:
        assert_error(api.get("/ioc_stream", params={"cursor": text}), 400, "BadRequestError", "Invalid cursor")


def test_altered_cursors_of_the_list_of_rulesets(api):
    for i in range(3):
        api.ruleset(rules_for(marker()), f"r{i}")
    cursor = api.get(RULESETS, params={"limit": 1, "order": "name"}).json()["meta"]["cursor"]
    for text in ("x", "AAAA", "*", cursor[:4], "-1", "ü", "A" * 10_000, "OSsxLg", "MisxMC54"):
        assert_error(api.get(RULESETS, params={"cursor": text}), 400, "BadRequestError")


@pytest.mark.parametrize("text", rows("0", "-1", "x", "", "1.5", "1e3", "0x10", "+5", " 5", "00", "１"))
def test_limits_that_are_none(crank, text):
    for path in ("/ioc_stream", RULESETS):
        assert_error(crank.get(path, params={"limit": text}), 400, "BadRequestError", "limit")


def test_limits_that_are_too_large_are_cut(crank):
    for path in ("/ioc_stream", RULESETS):
        for value in (41, 1000, 2 ** 32, 2 ** 64, 10 ** 30):
            assert crank.get(path, params={"limit": value}).status_code == 200


def test_other_parameters_that_are_wrong(crank):
    for params in ({"descriptors_only": "maybe"}, {"descriptors_only": ""}, {"order": "name"}, {"order": "date*"}):
        assert_error(crank.get("/ioc_stream", params=params), 400, "BadRequestError")
    assert_error(crank.get("/ioc_stream?" + "&".join(f"a{i}=1" for i in range(1000))), 400, "BadRequestError")


HASHES = ["0" * 31, "0" * 33, "0" * 65, "g" * 64, "0" * 63 + "g", "x", "-1", "*", "' OR 1=1", "0" * 2000, "ü" * 32]


@pytest.mark.parametrize("text", rows(*HASHES))
def test_hashes_that_are_none(server, crank, text):
    admin = server.api(server_admin(server))
    for response in (crank.get(f"/files/{text}"), crank.get(f"/files/{text}/download"),
                     crank.post(f"/files/{text}/analyse"), admin.delete(f"/files/{text}")):
        assert_error(response, 400, "BadRequestError", "not an MD5, SHA-1 or SHA-256 hash")


def test_hashes_that_nobody_sent(server, crank):
    for n in (32, 40, 64):
        for response in (crank.get(f"/files/{'a' * n}"), crank.get(f"/files/{'a' * n}/download"),
                         crank.post(f"/files/{'a' * n}/analyse"),
                         server.api(server_admin(server)).delete(f"/files/{'a' * n}")):
            assert_error(response, 404, "NotFoundError", f'File "{"a" * n}" not found')


def metric(text, name):
    """A value out of /metrics."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return next(float(value) for key, value in lines if key.endswith(name))


def server_admin(server):
    if not hasattr(server, "an_admin"):
        server.an_admin = server.someone("admin")
    return server.an_admin


@pytest.mark.parametrize("text", rows("0", "-1", "x", "9" * 30, "1.5", "1 ", "+1", "٣", str(2 ** 63), str(2 ** 63 - 1)))
def test_ids_that_are_none(crank, text):
    for path in (f"{RULESETS}/{text}", f"/ioc_stream_notifications/{text}"):
        assert_error(crank.get(path), 404, "NotFoundError")
        assert_error(crank.delete(path), 404, "NotFoundError")
    assert_error(crank.patch(f"{RULESETS}/{text}", json={"data": {"attributes": {}}}), 404, "NotFoundError")


# ---- YARA ----


def refused(api, rules, *texts):
    """The compiler's messages."""
    response = api.post(RULESETS, json=with_attributes(rules=rules))
    assert_error(response, 400, "InvalidArgumentError", *texts)
    return response.json()["error"].get("messages", [])


@pytest.mark.parametrize("rules, line, column, text", rows(
    ("rule r { condition: $a }", 1, 21, "unknown pattern"),
    ("rule a { condition: true }\nrule b {\n  condition: nothing }", 3, 14, "unknown identifier"),
    ("rule r { condition: }", 1, 21, "syntax error"),
    ("rule", 1, 5, "syntax error"),
    ("rule r { condition: true } rule r { condition: true }", 1, 33, "duplicate rule"),
    ('rule r { strings: $a = /(/ condition: $a }', 1, 25, "invalid regular expression"),
    ('rule r { strings: $a = "some text" condition: true }', 1, 19, "unused pattern"),
    ('rule r { strings: $a = { 0 } condition: $a }', 1, None, ""),
    ('rule r { condition: 1 / 0 == 1 }', 1, None, ""),
    ('import "nothing" rule r { condition: true }', 1, 1, "unknown module"),
    ('import "pe" rule r { condition: pe.nothing }', 1, 36, "unknown field"),
    ('import "vt" rule r { condition: vt.net.url.raw == "x" }', 1, None, "vt.net is not supported in rulesets"),
    ('include "x.yar" rule r { condition: true }', 1, 1, "include"),
    ('import "cuckoo" rule r { condition: cuckoo.network.http_get(/x/) }', 1, 1, "cuckoo"),
    ('import "console" rule r { condition: console.log("x") }', 1, 1, "console"),
    ('rule r { condition: "x" + 1 == 2 }', 1, 21, "wrong type"),
    ("rule r { strings: $a = \"\xff\" condition: }", 1, None, "syntax error"),))
def test_yara_that_does_not_compile(crank, rules, line, column, text):
    messages = refused(crank, rules, text)
    first = messages[0]
    assert first["level"] == "error" and text in first["title"] + first["text"] + first["code"], first
    assert first["line"] == line and (column is None or first["column"] == column), first
    assert crank.get(RULESETS).json()["data"] == []


def test_every_message_of_the_compiler_is_told(crank):
    rules = "\n".join(f"rule r{i} {{ condition: nothing{i} }}" for i in range(5))
    messages = refused(crank, rules, "line 1, column 22")
    assert [m["line"] for m in messages if m["level"] == "error"] == [1, 2, 3, 4, 5]


def test_includes_do_not_read_files(crank):
    for name in ("/etc/passwd", "../../../etc/passwd", "/proc/self/environ"):
        messages = refused(crank, f'include "{name}" rule r {{ condition: true }}', "include")
        assert "root:" not in json.dumps(messages)


@pytest.mark.parametrize("rules", rows(
    'rule r { strings: $a = { 00 [1-] 00 } condition: $a }', 'rule r { strings: $a = "a" condition: $a }',
    "rule r { condition: for all i in (0..filesize) : (uint8(i) == 0) }",))
def test_yara_that_is_slow(crank, rules):
    messages = refused(crank, rules)
    assert any("slow" in m["title"] for m in messages), messages


@pytest.mark.parametrize("rules", rows(
    "rule r { condition: " + "(" * 10_000 + "true" + ")" * 10_000 + " }",
    "rule r { condition: " + "not " * 10_000 + "true }",
    "rule r { condition: " + "-" * 10_000 + "1 == 1 }",
    "rule r { condition: " + "for any i in (0..1) : (" * 10_000 + "true" + ")" * 10_000 + " }",
    'rule r { strings: $a = /' + "(" * 10_000 + "abcd" + ")" * 10_000 + "/ condition: $a }",
    'rule r { strings: $a = { 00 11 22 33 ' + "( 44 | " * 10_000 + "55" + ")" * 10_000 + " } condition: $a }",
    "/*" * 10_000, "{" * 100_000, '"' + "\\" * 100_000, "rule r { meta: " + 'a = "x" ' * 10_000,))
def test_yara_that_nests_10000_deep(crank, rules):
    refused(crank, rules)
    assert crank.get(RULESETS).json()["data"] == []


def test_yara_of_odd_bytes(api):
    refused(api, "rule r { condition: true } \ufffd")
    refused(api, "\ufeffrule\u2028r { condition: true }")
    for size, status in ((MIB, 200), (MIB + 1, 400)):
        rules = "rule r { condition: false } //"
        response = api.post(RULESETS, json=with_attributes(rules=rules + "x" * (size - len(rules))))
        assert response.status_code == status, response.text[:300]


def test_rulesets_without_or_with_too_many_rules(crank):
    for rules in ("import \"pe\"", "// nothing", "\n"):
        refused(crank, rules, "no rule")
    refused(crank, "\n".join(f"rule r{i} {{ condition: false }}" for i in range(10_001)), "10000")


@pytest.mark.parametrize("rules", rows(
    "rule r { condition: " + "uint8(" * 22 + "0" + ")" * 22 + " == 0 }",
    "rule r { condition: " + "uint8(" * 10_000 + "0" + ")" * 10_000 + " == 0 }", "rule " * 200_000))
def test_rules_that_take_forever_to_compile(impatient, rules):
    refused(impatient, rules, "took longer than 1000 ms to compile")
    made = impatient.ruleset(rules_for(marker()))
    assert impatient.delete(f"{RULESETS}/{made['id']}").status_code == 200


@pytest.fixture(scope="module")
def impatient(weir_bin, tmp_path_factory):
    """A client of a server whose compiler is given a second."""
    one = weirtest.Server(weir_bin, tmp_path_factory.mktemp("impatient"), env={"WEIR_COMPILE_TIMEOUT_MS": "1000"})
    try:
        yield started(one)
        one.stop()
    finally:
        if one.process:
            one.kill()


# ---- rules that break the engine while it scans ----


def panicking_rules():
    """It compiles, and the engine panics whenever it runs (yara-x 1.22.1)."""
    nested = "(" * 110 + "ab" + "|cd)" * 110
    return f"rule breaks {{ condition: filesize > 1 and (file_name matches /{nested}/ or file_name matches /x{nested}/) }}"


def test_rules_that_break_every_scan_harm_only_themselves(make_server):
    one = make_server()
    bad, good = one.user("bad"), one.user("good")
    bad, good = one.start().api(bad), one.api(good)
    mark = marker()
    good.ruleset(rules_for(mark, 2), "before")
    harmful = bad.ruleset(panicking_rules(), "harmful")
    good.ruleset(rules_for(mark, 1, "later"), "after")
    path = f"{RULESETS}/{harmful['id']}"

    for i in range(3):
        attributes = good.wait_analysis(good.upload(f"{mark} {i}".encode()))
        assert [skipped["what"] for skipped in attributes["not_run"]] == [f"hunting_ruleset {harmful['id']}"]
        assert good.stream()["meta"]["count"] == 3 * (i + 1), "the others are told of each file"
        if i < 2:
            assert bad.get(path).json()["data"]["attributes"]["enabled"]

    def suspended():
        return bad.get(path).json()["data"]["attributes"].get("suspended")

    assert "3" in wait_for(suspended, 10, "not suspended")
    assert not bad.get(path).json()["data"]["attributes"]["enabled"]
    assert good.wait_analysis(good.upload(f"{mark} 4".encode()))["not_run"] == []
    assert good.stream()["meta"]["count"] == 12 and bad.stream()["data"] == []
    events = [e["event"] for e in one.log_events()]
    assert events.count("quarantined") == 3 and events.count("ruleset_suspended") == 1

    repaired = {"data": {"attributes": {"rules": rules_for(mark), "enabled": True}}}
    assert "suspended" not in bad.patch(path, json=repaired).json()["data"]["attributes"]
    assert good.wait_analysis(good.upload(f"{mark} 5".encode()))["not_run"] == []
    assert bad.stream()["meta"]["count"] == 1


# ---- the machine fails ----


@pytest.fixture
def small_disk(make_server):
    """A server, not started yet, whose data folder is a file system of its own; and the free bytes of that."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    one = make_server(env={"WEIR_DISK_RESERVE_BYTES": "32MiB"})
    one.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "weir-test", one.data], check=True)
    yield one
    if one.process:
        one.stop()
    subprocess.run(["umount", "-l", one.data], check=True)


def leave_free(folder, free):
    """Fills the file system up to so many free bytes; what the server writes meanwhile takes part."""
    filler = folder / "filler"
    with filler.open("ab") as f:
        while True:
            have = os.statvfs(folder)
            size = os.fstat(f.fileno()).st_size + have.f_bavail * have.f_frsize - free
            try:
                os.posix_fallocate(f.fileno(), 0, size)
                return
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise


def test_a_disk_below_its_reserve_takes_no_uploads_but_serves(small_disk):
    one = small_disk
    hunter, admin = one.user("hunter"), one.user("admin-2", "admin")
    api, admin = one.start().api(hunter), one.api(admin)
    mark = marker()
    api.ruleset(rules_for(mark))
    kept, removed = api.hunt(mark.encode()), api.hunt(f"{mark} to be removed".encode())

    leave_free(one.data, 16 * MIB)

    def noticed():  # it looks once a second
        return api.post("/files", files={"file": ("a", marker().encode())}).status_code == 503

    wait_for(noticed, 5, "uploads are still taken")
    told = api.stream()["meta"]["count"]
    for data in (marker().encode(), os.urandom(3 * MIB)):
        response = api.post("/files", files={"file": ("a", data)})
        assert_error(response, 503, "TransientError", "disk space")
        assert response.headers["Retry-After"]
    assert api.get(f"/files/{kept}/download").content == mark.encode()
    assert api.stream()["meta"]["count"] == told == 2
    notification = api.stream(limit=1)["data"][0]["context_attributes"]["notification_id"]
    assert api.delete(f"/ioc_stream_notifications/{notification}").json() == {}
    assert admin.delete(f"/files/{removed}").json() == {}
    assert any(e["event"] == "request_failed" and e["kind"] == "NO_SPACE" for e in one.log_events())

    (one.data / "filler").unlink()
    api.hunt(marker().encode())


@pytest.mark.expect_errors("analysis_not_completed", "commit_outcome_unknown")
def test_a_disk_without_a_byte_left(small_disk):
    one = small_disk
    api = started(one)
    mark = marker()
    api.ruleset(rules_for(mark))
    kept = api.hunt(mark.encode())
    leave_free(one.data, 0)
    assert_error(api.post("/files", files={"file": ("a", marker().encode())}), 503, "TransientError")
    assert_error(api.post(RULESETS, json=with_attributes(rules=rules_for(marker(), 500))), 503, "TransientError")
    assert api.get(f"/files/{kept}").status_code == 200
    assert api.get(f"/files/{kept}/download").content == mark.encode()
    assert api.stream()["meta"]["count"] == 1
    (one.data / "filler").unlink()
    api.hunt(f"{mark} again".encode())
    assert api.stream()["meta"]["count"] == 2


def started(one):
    key = one.user("hunter")
    return one.start().api(key)


def test_a_data_folder_that_cannot_be_written(small_disk):
    """Read-only from the start: the server says so and does not start."""
    one = small_disk
    one.user("hunter")
    subprocess.run(["mount", "-o", "remount,ro", one.data], check=True)
    done = one.command("serve", "--listen", "127.0.0.1:0", check=False)
    assert done.returncode == 1
    assert "ead-only file system" in done.stderr, done.stderr
    subprocess.run(["mount", "-o", "remount,rw", one.data], check=True)
    one.start()


def test_a_database_that_another_process_has_locked(make_server):
    """Writes are refused after a while, reads go on; afterwards all is as before."""
    one = make_server()
    api = started(one)
    kept = api.hunt(marker().encode())
    (database,) = one.data.glob("*.db")
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert_error(api.post("/files", files={"file": ("a", marker().encode())}), 503, "TransientError")
    assert api.get(f"/files/{kept}").status_code == 200 and api.get("/ioc_stream").status_code == 200
    other.execute("ROLLBACK")
    other.close()
    api.hunt(marker().encode())


def test_10000_half_open_connections(server, api):
    count = 10000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        assert hard >= count + 200, "too few descriptors are allowed"
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, hard))
    half = [b"", b"G", b"GET /readyz HTTP/1.1\r\nHost: x\r\n",
            b"POST /api/v3/files HTTP/1.1\r\nHost: x\r\nx-apikey: " + api.key.encode() +
            b"\r\nContent-Length: 1000\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"]
    connections = []
    try:
        for i in range(count):
            connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            connections[-1].sendall(half[i % len(half)])

        def open_now():
            text = server.api().get("//metrics").text
            return metric(text, "http_connections") >= count

        wait_for(open_now, 30, "the connections are not all accepted")
        api.hunt(marker().encode())
        assert api.stream()["data"] == []
        assert api.ruleset(rules_for(marker()))["id"]
    finally:
        for connection in connections:
            connection.close()
