"""The audit log: every write, download and hunt, who, when, from where."""

import csv
import datetime
import io
import json
import sqlite3

import pytest

from weirtest import marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"


def audit(server, *args):
    return [json.loads(line) for line in server.command("audit", "--json", *args).stdout.splitlines()]


def one(server, *args):
    """The only line that matches; downloads come a second later."""
    def look():
        return audit(server, *args)
    (line,) = wait_for(look, 10, f"no line for {args}")
    return line


@pytest.fixture
def ann(server):
    name = "ann-" + marker()[-8:]
    return name, server.api(server.user(name, "admin"))


def test_every_write_and_download_has_its_line(server, ann):
    name, api = ann
    mark = marker()
    expected = []

    def did(answer, action, object_id, **detail):
        assert answer.status_code == 200, answer.text
        expected.append((action, object_id, answer.headers["X-Request-Id"], detail))

    posted = api.post("/files", files={"file": ("the name.exe", mark.encode())})
    analysis = posted.json()["data"]["id"]
    sha256 = analysis.split("-")[1]
    did(posted, "file.upload", sha256, name="the name.exe", size=len(mark), new=True, analysis=analysis)
    api.wait_analysis(analysis)
    did(api.post("/files", files={"file": ("again", mark.encode())}), "file.upload", sha256, new=False, name="again")
    again = api.post(f"/files/{sha256}/analyse")
    did(again, "file.analyse", sha256, size=len(mark))
    api.wait_analysis(again.json()["data"]["id"])
    did(api.get(f"/files/{sha256}/download"), "file.download", sha256)
    body = {"data": {"type": "hunting_ruleset", "attributes": {"name": "mine", "rules": rules_for(mark, 2), "enabled": True}}}
    made = api.post(RULESETS, json=body)
    ruleset = made.json()["data"]["id"]
    did(made, "ruleset.create", ruleset, name="mine", enabled=True, version=1, rules=2)
    did(api.patch(f"{RULESETS}/{ruleset}", json={"data": {"attributes": {"rules": rules_for(mark, 3), "limit": 7}}}),
        "ruleset.change", ruleset, set=["rules", "limit"], version=2, rules=3, enabled=True)
    api.hunt(mark.encode())
    expected.append(("file.upload", sha256, None, {}))  # by hunt()
    notification = api.stream()["data"][0]["context_attributes"]["notification_id"]
    did(api.delete(f"/ioc_stream_notifications/{notification}"), "notification.delete", notification)
    did(api.delete("/ioc_stream", params={"filter": "origin:hunting"}), "stream.delete", "", filter="origin:hunting")
    did(api.delete(f"{RULESETS}/{ruleset}"), "ruleset.delete", ruleset, name="mine")
    did(api.patch(f"/users/{name}", json={"data": {"attributes": {"first_name": "Ann"}}}), "user.change", name, set=["first_name"])
    did(api.delete(f"/files/{sha256}"), "file.delete", sha256, size=len(mark))
    wait_for(lambda: audit(server, "--user", name, "--action", "file.download"), 10, "the download is not there")

    lines = audit(server, "--user", name)
    assert sorted(e[0] for e in expected) == sorted(line["action"] for line in lines)
    for action, object_id, request_id, detail in expected:
        if request_id is None:
            continue
        (line,) = [line for line in lines if line["request_id"] == request_id]
        assert (line["action"], line["object_id"], line["user"], line["address"]) == (action, object_id, name, "127.0.0.1")
        assert detail.items() <= line.get("detail", {}).items(), line
        assert abs(line["date"] - datetime.datetime.now().timestamp()) < 120
        assert line["time"] == datetime.datetime.fromtimestamp(line["date"], datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_what_failed_or_only_looked_has_none(server, ann):
    name, api = ann
    sha256 = server.api(server.someone()).hunt(marker().encode())
    api.get("/ioc_stream")
    api.get("/me")
    api.request("HEAD", f"/files/{sha256}/download")
    api.get("/files/" + "0" * 64 + "/download")
    api.delete("/files/" + "0" * 64)
    api.post(RULESETS, json={"data": {"type": "hunting_ruleset", "attributes": {"name": "n", "rules": "rule {"}}})
    api.patch(f"{RULESETS}/1234567890", json={"data": {"attributes": {"name": "x"}}})
    api.delete("/ioc_stream_notifications/1")
    api.patch(f"/users/{name}", json={"data": {"attributes": {}}})
    api.post("/files", files={"other": b"x"})
    assert audit(server, "--user", name) == []


def test_no_secret_stands_in_it(server):
    """Neither keys nor rules nor a sample's bytes."""
    mark = marker()
    key = server.user("secretive")
    more = server.command("user", "key", "secretive").stdout.strip()
    api = server.api(key)
    api.ruleset(rules_for(mark), "plain")
    api.hunt(f"{mark} bytes".encode(), "file.bin")
    api.get(f"/users/{key}")
    text = server.command("audit").stdout + (server.data / "weir.db").read_bytes().decode("latin-1")
    assert key not in text and more not in text
    assert mark not in server.command("audit").stdout


def test_commands_have_their_lines(make_server, tmp_path):
    """With a server and without."""
    server = make_server()
    for running in (False, True):
        if running:
            server.start()
        name = f"user-{running}"
        server.command("user", "add", name, "--role", "viewer", "--email", "a@b")
        server.command("user", "key", name, "--scope", "read", "--expires", "2099-12-31", "--name", "siem")
        server.command("user", "quota", name, "requests-per-day=5")
        server.command("user", "role", name, "editor")
        server.command("user", "email", name, "c@d")
        server.command("user", "disable", name)
        server.command("user", "enable", name)
        server.command("user", "revoke", name)
        (tmp_path / f"sample-{running}").write_text(f"sample {running}")
        server.command("ingest", tmp_path / f"sample-{running}")
        sha256 = server.command("audit").stdout and stored_hash(server, f"sample-{running}")
        server.command("rm", sha256)
        server.command("verify")
        lines = audit(server, "--object", name)
        assert [line["action"] for line in lines] == ["user.add", "user.key", "user.quota", "user.role", "user.change",
                                                     "user.disable", "user.enable", "user.revoke"]
        assert all("user" not in line and line["address"].startswith("local uid ") for line in lines)
        assert lines[1]["detail"]["scope"] == "read" and lines[1]["detail"]["expires"] == 4102444799
        assert lines[2]["detail"] == {"requests-per-day": 5}
        assert lines[3]["detail"] == {"role": "editor", "was": "viewer"}
        begin, end = audit(server, "--action", "ingest.")[-2:]
        assert begin["object_id"] == end["object_id"] and str(tmp_path) in begin["detail"]["paths"]
        assert end["detail"] == {"files": 1, "bytes": len(f"sample {running}"), "duplicates": 0, "failed": 0, "skipped": 0,
                                 "complete": True}
        assert audit(server, "--object", sha256, "--action", "file.delete")[0]["address"].startswith("local uid ")
        assert audit(server, "--action", "store.verify")[-1]["detail"]["findings"] == 0


def stored_hash(server, name):
    with sqlite3.connect(server.data / "weir.db") as db:
        return db.execute("SELECT lower(hex(sha256)) FROM file WHERE last_name = ?", (name,)).fetchone()[0]


def test_an_ingest_that_goes_away_has_its_end(server, tmp_path):
    import subprocess
    (tmp_path / "many").mkdir()
    for i in range(3000):
        (tmp_path / "many" / str(i)).write_bytes(marker().encode())
    process = subprocess.Popen([server.binary, "ingest", tmp_path / "many", "--data", server.data], env=server.env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begin = wait_for(lambda: [x for x in audit(server, "--action", "ingest.begin")
                              if str(tmp_path) in x["detail"]["paths"]], 20, "it did not begin")[0]
    process.kill()
    process.wait()
    end = wait_for(lambda: [x for x in audit(server, "--action", "ingest.end") if x["object_id"] == begin["object_id"]],
                   20, "it has no end")[0]
    assert end["detail"].get("complete") in (True, False)  # it may just have made it


def test_downloads_outlive_a_stop(make_server):
    server = make_server().start()
    api = server.api(server.someone())
    sha256 = api.hunt(marker().encode())
    for _ in range(20):
        assert api.get(f"/files/{sha256}/download").status_code == 200
    server.stop()
    assert len(audit(server, "--action", "file.download")) == 20


def test_filters_and_order(server, ann):
    name, api = ann
    for i in range(5):
        api.ruleset(rules_for(marker()), f"r{i}", enabled=False)
    everything = audit(server)
    assert [line["id"] for line in everything] == sorted(line["id"] for line in everything)
    mine = audit(server, "--user", name)
    assert [line["detail"]["name"] for line in mine] == [f"r{i}" for i in range(5)]
    assert audit(server, "--user", name, "--limit", "2") == mine[-2:]
    assert audit(server, "--user", name, "--after", str(mine[1]["id"])) == mine[2:]
    assert audit(server, "--user", name, "--after", str(mine[1]["id"]), "--limit", "1") == mine[2:3]
    assert audit(server, "--object", mine[0]["object_id"]) == mine[:1]
    assert audit(server, "--action", "ruleset.", "--user", name) == mine
    assert audit(server, "--action", "user.", "--user", name) == []
    assert audit(server, "--user", "-", "--object", name)[0]["action"] == "user.add"
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    assert audit(server, "--user", name, "--since", "1h", "--until", today) == mine
    assert audit(server, "--user", name, "--until", "1h") == []
    assert audit(server, "--user", name, "--since", "2099-01-01") == []


def test_forms_of_output(server, ann):
    name, api = ann
    api.ruleset(rules_for(marker()), 'quote " comma, \u202e', enabled=False)
    (line,) = audit(server, "--user", name)
    rows = list(csv.DictReader(io.StringIO(server.command("audit", "--user", name, "--csv").stdout)))
    assert [rows[0][k] for k in ("id", "time", "user", "action", "object_id", "address")] == [
        str(line["id"]), line["time"], name, "ruleset.create", line["object_id"], "127.0.0.1"]
    assert json.loads(rows[0]["detail"]) == line["detail"]
    text = server.command("audit", "--user", name).stdout
    assert text.startswith(f"{line['id']}  {line['time']}  {name}  ruleset.create  {line['object_id']}  127.0.0.1  ")
    assert "\u202e" not in text


@pytest.mark.parametrize("args, said, status", [
    (["--user", "nobody"], "no user 'nobody'", 1),
    (["--action", "file.explode"], "there is no action 'file.explode'", 1),
    (["--since", "yesterday"], "--since: 'yesterday' is no time", 2),
    (["--until", "2026-13-01"], "--until: ", 2),
    (["--limit", "0"], "--limit is a number from 1 on", 2),
    (["--after", "x"], "--after is a number from 1 on", 2),
    (["--json", "--csv"], "one of '--json' and '--csv'", 2),
    (["words"], "weir audit takes no words", 2),
])
def test_what_audit_refuses(server, args, said, status):
    done = server.command("audit", *args, check=False)
    assert done.returncode == status and said in done.stderr and done.stdout == ""


def test_old_lines_go(make_server):
    """By age, and by number."""
    server = make_server("--audit-retention-days", "30", "--audit-rows-max", "1000")
    server.user("ann")
    with sqlite3.connect(server.data / "weir.db") as db:
        db.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) "
                   "INSERT INTO audit (date_s, action, object_type, object_id) "
                   "SELECT unixepoch() - 100, 'user.key', 'user', 'filler' FROM n")
        db.execute("UPDATE audit SET date_s = date_s - 31 * 86400 WHERE id BETWEEN 1000 AND 1010")
    server.start()

    def count(where="1"):
        with sqlite3.connect(server.data / "weir.db") as db:
            return db.execute(f"SELECT count(*) FROM audit WHERE {where}").fetchone()[0]

    wait_for(lambda: count() <= 1000, 20, "nothing goes")
    assert count() >= 980
    # What is too old is not shown at once, and removed when the clock can be trusted.
    shown = {line["id"] for line in audit(server)}
    assert min(shown) > 490 and not shown & set(range(1000, 1011))
