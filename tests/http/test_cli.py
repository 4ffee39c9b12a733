"""The command line: accounts, ingest, removal, verify, settings, start and stop; with a server and without."""

import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import termios
import time

import pytest

import weirtest

MARK = "{condition_mark}"
HELD_BACK = 4000  # files of which an ingest that is stopped halfway has more to do


@pytest.fixture(params=["with a server", "without"])
def folder(request, make_server):
    """A data folder, with its server running or not."""
    one = make_server()
    if request.param == "with a server":
        one.start()
    return one


@pytest.fixture
def samples(tmp_path):
    """samples(**files): a folder with them; names may hold '/'."""

    def make(files, name="samples"):
        return weirtest.write_files(tmp_path / name, files)

    return make


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def many(n):
    return {f"{i % 7}/{i:05}": b"sample %d" % i for i in range(n)}


def ingested(done):
    """(files, new, duplicates, errors, of an earlier run) of the summary."""
    found = re.search(r"^(\d+) files .*: (\d+) new, (\d+) duplicates, (\d+) errors", done, re.M)
    assert found, done
    before = re.search(r"an earlier run had brought in (\d+)", done)
    return (*map(int, found.groups()), int(before.group(1)) if before else 0)


def begin(one, *args):
    """`weir ARGS...` under way; what it prints has to be read, which holds it back."""
    return subprocess.Popen([one.binary, *args, "--data", one.data], env=one.env, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def begin_ingest_until_marked(one, path):
    """An ingest that says a line a file and stands still, the pipe being full, soon after its first mark."""
    process = begin(one, "ingest", "--every", "0", path)
    for _ in process.stderr:
        if list(one.data.glob("ingest/*.progress")):
            return process
    raise AssertionError("the ingest ended without a mark")


def restarted(one):
    if not one.process:
        one.start()
    return one


# ---- Accounts ----


def test_a_user_from_add_to_disable(folder):
    key = folder.command("user", "add", "alice", "--role", "viewer", "--email", "a@example.org").stdout
    assert re.fullmatch(r"[0-9a-f]{64}\n", key)
    more = folder.command("user", "key", "alice").stdout
    assert re.fullmatch(r"[0-9a-f]{64}\n", more) and more != key
    line = re.search(r"^alice .*$", folder.command("user", "list").stdout, re.M).group()
    assert re.fullmatch(r"alice +viewer +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ +active +a@example\.org", line)

    folder.command("user", "disable", "alice")
    assert re.search(r"^alice .* disabled ", folder.command("user", "list").stdout, re.M)
    server = restarted(folder)
    assert server.api(key.strip()).get("/ioc_stream").status_code == 401
    server.command("user", "enable", "alice")
    for one in (key, more):
        assert server.api(one.strip()).get("/ioc_stream").status_code == 200
    server.command("user", "revoke", "alice")
    for one in (key, more):
        assert server.api(one.strip()).get("/ioc_stream").status_code == 401


@pytest.mark.parametrize("args, said, status", [
    (["user", "add", "bob", "--role", "king"], "there is no role 'king': viewer, hunter, editor or admin", 1),
    (["user", "add", "two words"], "name", 1),
    (["user", "add", ""], "name", 1),
    (["user", "key", "nobody"], "nobody", 1),
    (["user", "disable", "nobody"], "nobody", 1),
    (["user", "add"], "weir user add takes one NAME", 2),
    (["user", "list", "x"], "weir user list takes no NAME", 2),
    (["user", "dissable", "x"], "did you mean 'disable'?", 2),
    (["user"], "weir user takes add, list", 2),
    (["user", "list", "--role", "admin"], "'--role' and '--email' are for 'weir user add'", 2),
], ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_what_user_refuses(folder, args, said, status):
    done = folder.command(*args, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stdout == ""


def test_a_user_is_made_once(folder):
    folder.command("user", "add", "carol")
    done = folder.command("user", "add", "carol", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert len(re.findall(r"^carol ", folder.command("user", "list").stdout, re.M)) == 1


# ---- Ingest ----


def test_ingest_of_files_and_folders(folder, samples):
    tree = samples({"a": b"one", "b/c/d": b"two", "b/c/same": b"one", "empty": b""})
    alone = samples({"alone": b"three"}, "other") / "alone"
    (tree / "link").symlink_to("a")
    os.mkfifo(tree / "pipe")
    done = folder.command("ingest", tree, alone)
    assert ingested(done.stdout) == (5, 4, 1, 0, 0)
    assert "1 symbolic links not followed; 1 others skipped" in done.stdout
    assert f"skipped: {tree}/pipe: a pipe" in done.stderr
    assert ("no server runs on this folder" in done.stderr) == (folder.process is None)
    again = folder.command("ingest", tree, alone)
    assert ingested(again.stdout) == (5, 0, 5, 0, 0)
    assert not list(folder.data.glob("ingest/*"))

    api = restarted(folder).api(folder.user("reader"))
    for content, name in ((b"one", "a"), (b"two", "d"), (b"three", "alone"), (b"", "empty")):
        attributes = api.get("/files/" + sha256(content)).json()["data"]["attributes"]
        assert name in attributes["names"] and attributes["size"] == len(content)
    assert api.get("/files/" + sha256(b"two") + "/download").content == b"two"


def test_the_corpus_is_kept(make_server, samples):
    one = make_server()
    one.command("ingest", "--corpus", "goodware", samples({"good": b"benign"}))
    one.command("ingest", samples({"bad": b"malign"}, "others"))
    with sqlite3.connect(one.data / "weir.db") as db:
        assert dict(db.execute("SELECT last_name, corpus FROM file")) == {"good": "goodware", "bad": "main"}


def stream_of(api, count):
    def all_there():
        entries = api.get("/ioc_stream").json()["data"]
        return entries if len(entries) >= count else None

    return weirtest.wait_for(all_there, 60, f"{count} notifications are not there")


def add_ruleset(api, text):
    body = {"data": {"type": "hunting_ruleset", "attributes": {
        "name": "cli", "enabled": True, "rules": f'rule found {{ strings: $a = "{text}" condition: $a }}'}}}
    answer = api.post("/intelligence/hunting_rulesets", json=body)
    assert answer.status_code == 200, answer.text


def test_wait_returns_when_all_is_hunted(make_server, samples):
    server = make_server().start()
    api = server.api(server.user("hunter"))
    add_ruleset(api, MARK)
    server.command("ingest", "--wait", samples({f"{i}": f"{MARK} {i}".encode() for i in range(30)}))
    assert len(api.get("/ioc_stream?limit=40").json()["data"]) == 30


def test_wait_hunts_without_a_server(make_server, samples):
    server = make_server().start()
    key = server.user("hunter")
    add_ruleset(server.api(key), MARK)
    server.stop()
    done = server.command("ingest", "--wait", samples({"hit": f"a {MARK}".encode(), "miss": b"nothing"}))
    assert "no server runs" not in done.stderr
    with sqlite3.connect(server.data / "weir.db") as db:
        assert db.execute("SELECT count(*) FROM analysis WHERE state <> 2").fetchone() == (0,)
    server.start()
    assert [e["id"] for e in stream_of(server.api(key), 1)] == [sha256(f"a {MARK}".encode())]


def test_what_is_queued_runs_when_the_server_starts(make_server, samples):
    server = make_server().start()
    key = server.user("hunter")
    add_ruleset(server.api(key), MARK)
    server.stop()
    server.command("ingest", samples({"hit": f"b {MARK}".encode()}))
    server.start()
    assert [e["id"] for e in stream_of(server.api(key), 1)] == [sha256(f"b {MARK}".encode())]


def test_each_failure_has_its_path_and_reason(folder, samples):
    tree = samples({"good": b"good", "bad\x1b[2Jname": b""})
    (tree / "bad\x1b[2Jname").unlink()
    with (tree / "bad\x1b[2Jname").open("wb") as f:
        f.truncate(650 * 1024 * 1024 + 1)
    done = folder.command("ingest", tree, tree / "missing", "/proc/self/mem", check=False)
    assert done.returncode == 1
    assert ingested(done.stdout) == (1, 1, 0, 3, 0)
    errors = re.findall(r"^weir ingest: error: (.*)$", done.stderr, re.M)
    assert errors[0] == f"{tree}/bad\\x1b[2Jname: larger than 681574400 bytes"
    assert f"{tree}/missing: cannot be looked at: No such file or directory" in errors
    assert "/proc/self/mem: cannot be read: Input/output error" in errors
    assert "\x1b" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(folder, samples):
    tree = samples({"good": b"good", "secret": b"secret"})
    (tree / "secret").chmod(0)
    done = folder.command("ingest", tree, check=False)
    assert done.returncode == 1
    assert f"error: {tree}/secret: cannot be opened: Permission denied" in done.stderr


def test_ingest_of_nothing(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for args in (["ingest", tmp_path / "empty"], ["ingest", tmp_path / "missing"], ["ingest"]):
        assert folder.command(*args, check=False).returncode == 2, args
    done = folder.command("ingest", "--corpus", "evil", tmp_path, check=False)
    assert done.returncode == 2 and "there is no corpus 'evil'" in done.stderr


def test_the_data_folder_does_not_swallow_itself(folder):
    (folder.folder / "outside").write_bytes(b"outside")
    done = folder.command("ingest", folder.folder)
    assert "weir's own data folder" in done.stderr
    names = {"outside"} | ({"server.log", "stdout"} if folder.process else set())
    assert ingested(done.stdout)[0] <= len(names)


def test_a_line_of_progress_every_so_often(folder, samples):
    done = folder.command("ingest", "--every", "0", samples(many(300)))
    lines = [line for line in done.stderr.splitlines() if "files/s" in line]
    assert len(lines) > 10
    assert all(re.fullmatch(r"weir ingest: \d+( of \d+)? files, [\d.]+ [KM]?B, \d+ files/s, [\d.]+ [KM]?B/s, "
                            r"\d+ duplicates, \d+ errors(, [\d:]+ left)?", line) for line in lines), lines[:3]
    assert "\r" not in done.stderr and "\x1b" not in done.stderr


def test_a_bar_on_a_terminal(folder, samples):
    tree = samples(many(1500))
    # What it says of these fills the terminal, which nobody reads yet, and holds it back.
    gone = [tree / f"gone-{i:060}" for i in range(2000)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([folder.binary, "ingest", "--wait", *gone, tree, "--data", folder.data],
                               env=folder.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 1)
    begun = time.monotonic()
    weirtest.wait_for(lambda: time.monotonic() > begun + 0.3, 1, "")  # a bar is due every fifth of a second
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert ingested(out.decode()) == (1500, 1500, 0, len(gone), 0)
    drawn = [part for part in shown.decode().split("\r") if part.startswith("[")]
    assert drawn and all(re.match(r"\[[#-]{20}\] +\d+% \d+ of 1500 files, ", part) for part in drawn), drawn[:3]
    assert all(len(part.split("\x1b")[0]) < 100 for part in drawn)
    assert shown.decode().count("cannot be looked at: No such file or directory") == len(gone)


# ---- Going on ----


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_ingest_goes_on_where_it_was_stopped(folder, samples, end):
    tree = samples(many(HELD_BACK))
    process = begin_ingest_until_marked(folder, tree)
    process.send_signal(end)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if end == signal.SIGKILL else 1)
    if end != signal.SIGKILL:
        assert b"stopped: interrupted. The same command goes on from here." in err
        assert 0 < ingested(out.decode())[0] < HELD_BACK

    done = folder.command("ingest", tree)
    assert "going on after '" in done.stderr
    files, _, _, errors, before = ingested(done.stdout)
    assert before > 0 and files + before == HELD_BACK and errors == 0
    assert not list(folder.data.glob("ingest/*"))
    # Nothing was left out.
    assert ingested(folder.command("ingest", tree).stdout) == (HELD_BACK, 0, HELD_BACK, 0, 0)


def test_restart_begins_anew(folder, samples):
    tree = samples(many(HELD_BACK))
    process = begin_ingest_until_marked(folder, tree)
    process.kill()
    process.communicate(timeout=60)
    done = folder.command("ingest", "--restart", tree)
    assert "going on" not in done.stderr
    assert ingested(done.stdout)[0] == HELD_BACK


def test_a_mark_belongs_to_its_command(folder, samples):
    tree = samples(many(HELD_BACK))
    process = begin_ingest_until_marked(folder, tree)
    process.kill()
    process.communicate(timeout=60)
    other = samples({"x": b"x"}, "other")
    assert ingested(folder.command("ingest", other).stdout) == (1, 1, 0, 0, 0)
    assert ingested(folder.command("ingest", "--corpus", "goodware", tree / "0" / "00000").stdout)[0] == 1
    # The same folder by another name is the same command; a damaged mark is none.
    mark, = folder.data.glob("ingest/*.progress")
    assert "going on" in folder.command("ingest", f"{tree}/../samples").stderr
    mark.write_bytes(b"weir-ingest 1 0 5 17 1000 0\n0/000")
    assert "going on" not in folder.command("ingest", tree).stderr


def test_a_server_that_is_killed_under_an_ingest(make_server, samples):
    server = make_server().start()
    tree = samples(many(HELD_BACK))
    process = begin_ingest_until_marked(server, tree)
    server.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"The same command goes on from here." in err
    server.start()
    files, _, _, errors, before = ingested(server.command("ingest", tree).stdout)
    assert before > 0 and files + before == HELD_BACK and errors == 0
    assert ingested(server.command("ingest", tree).stdout) == (HELD_BACK, 0, HELD_BACK, 0, 0)


def test_a_stop_under_load_loses_nothing(make_server, samples):
    server = make_server().start()
    tree = samples(many(HELD_BACK))
    process = begin_ingest_until_marked(server, tree)
    api = server.api(server.user("uploader"))
    uploaded = [api.post("/files", files={"file": b"upload %d" % i}).status_code for i in range(20)]
    assert uploaded == [200] * 20
    server.stop()  # status 0, or this fails
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    acknowledged = ingested(out.decode())[0]
    assert 0 < acknowledged < HELD_BACK
    with sqlite3.connect(server.data / "weir.db") as db:
        stored, = db.execute("SELECT count(*) FROM file").fetchone()
    assert stored >= acknowledged + 20
    done = server.command("verify")
    assert ", 0 findings" in done.stdout
    server.start()
    files, _, _, _, before = ingested(server.command("ingest", "--wait", tree).stdout)
    assert files + before == HELD_BACK
    for i in range(20):
        assert api_again(server, api).get("/files/" + sha256(b"upload %d" % i)).status_code == 200


def api_again(server, api):
    """The same key after a restart, which has another port."""
    return server.api(api.key)


# ---- Removal and verify ----


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_rm(folder, samples, algorithm):
    secret = b"a secret that must go"
    folder.command("ingest", samples({"secret": secret, "other": b"other"}))
    assert any(secret in pack.read_bytes() for pack in folder.data.glob("packs/*"))
    name = hashlib.new(algorithm, secret).hexdigest()
    assert folder.command("rm", name).stdout == f"removed {name}\n"
    assert not any(secret in pack.read_bytes() for pack in folder.data.glob("packs/*"))
    assert ", 0 findings" in folder.command("verify").stdout
    again = folder.command("rm", name, check=False)
    assert again.returncode == 1 and f"weir: {name}: " in again.stderr
    api = restarted(folder).api(folder.user("reader"))
    assert api.get("/files/" + sha256(secret)).status_code == 404
    assert api.get("/files/" + sha256(b"other")).status_code == 200


def test_rm_goes_on_after_what_it_does_not_find(folder, samples):
    folder.command("ingest", samples({"a": b"a", "b": b"b"}))
    done = folder.command("rm", sha256(b"a"), "0" * 64, "no hash", sha256(b"b"), check=False)
    assert done.returncode == 1
    assert done.stdout == f"removed {sha256(b'a')}\nremoved {sha256(b'b')}\n"
    assert "0" * 64 in done.stderr and "not an MD5, SHA-1 or SHA-256 hash" in done.stderr
    assert folder.command("rm", check=False).returncode == 2


def test_verify_finds_a_flipped_byte(folder, samples):
    content = b"bytes that will not stay as they are"
    folder.command("ingest", "--wait", samples({"victim": content, "other": b"other"}))
    assert folder.command("verify").stdout == "2 records checked, 0 findings\n"
    pack, = folder.data.glob("packs/*.pack")
    with pack.open("r+b") as f:
        at = f.read().index(content)
        f.seek(at)
        f.write(b"B")
    done = folder.command("verify", check=False)
    assert done.returncode == 1
    # A server that is running finds the record; one that starts has set it aside already.
    assert bool(re.search(r"^pack 1 at \d+: ", done.stdout, re.M)) == bool(folder.process)
    assert re.search(rf"^file {sha256(content)}: its bytes are not in the packs", done.stdout, re.M)
    assert re.search(rf", {2 if folder.process else 1} findings$", done.stdout, re.M)


def test_verify_takes_uploads_for_no_damage(make_server, samples):
    server = make_server().start()
    process = begin(server, "ingest", "--every", "0", samples(many(HELD_BACK)))
    for line, _ in enumerate(process.stderr):
        if line % 800 == 400:  # it goes on meanwhile until the pipe is full
            assert ", 0 findings" in server.command("verify").stdout
    process.communicate(timeout=60)
    assert ", 0 findings" in server.command("verify").stdout


# ---- Settings and usage ----


def settings_of(text):
    """The settings lines but for the folder, which each command is given."""
    return [line for line in text.splitlines() if " = " in line and not line.startswith("data")]


def test_config_says_value_and_origin(make_server, tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("# ours\nworkers = 3\nscan-timeout-ms = 5_000\nhunt-bytes-max = \"1MiB\"\n")
    one = make_server(env={"WEIR_CONFIG": str(file), "WEIR_SCAN_TIMEOUT_MS": "6000", "WEIR_LOG_LEVEL": "warn"})
    out = one.command("config", "--log-level=debug", "--unsafe-no-sync").stdout
    for expected in (f"# set in {file}:2\nworkers = 3\n",
                     "# set by the variable WEIR_SCAN_TIMEOUT_MS\nscan-timeout-ms = 6000\n",
                     f"# set in {file}:4\nhunt-bytes-max = \"1MiB\"\n",
                     "# set by the flag --log-level\nlog-level = \"debug\"\n",
                     "# set by the flag --unsafe-no-sync\nunsafe-no-sync = true\n",
                     "# default\nretention-days = 365\n",
                     f"# set by the flag --data\ndata = \"{one.data}\"\n"):
        assert expected in out
    # What it prints is a settings file.
    again = tmp_path / "again.toml"
    again.write_text(out)
    second = make_server(name="second").command("config", "--config", again).stdout
    assert settings_of(second) == settings_of(out)


def test_the_settings_page_is_up_to_date(weir_bin):
    page = subprocess.run([weir_bin, "config", "--markdown"], capture_output=True, text=True, check=True).stdout
    assert page == (weirtest.Path(__file__).parents[2] / "docs" / "settings.md").read_text()


@pytest.mark.parametrize("args, env, said", [
    (["--lisetn", "127.0.0.1:1", "serve"], {}, "there is no option '--lisetn'; did you mean '--listen'?"),
    (["serve", "--wait"], {}, "'--wait' is not an option of 'weir serve'"),
    (["serve", "--workers"], {}, "'--workers' needs a value"),
    (["serve", "--workers", "many"], {}, "'workers' is a number of processes from 0 to 256, not 'many'"),
    (["serve", "--workers=-1"], {}, "'workers' is a number of processes"),
    (["serve", "--listen", "localhost"], {}, "'listen' is a numeric address and a port"),
    (["serve", "--listen", "127.0.0.1:65536"], {}, "'listen' is a numeric address and a port"),
    (["serve", "now"], {}, "weir serve takes no words"),
    (["sevre"], {}, "there is no command 'sevre'; did you mean 'serve'?"),
    ([], {}, "which command?"),
    (["-x"], {}, "there is no option '-x'"),
    (["config", "--markdown=yes"], {}, "'--markdown' takes no value"),
    (["config"], {"WEIR_LISTNE": "x"}, "'WEIR_LISTNE'; did you mean 'WEIR_LISTEN'?"),
    (["config"], {"WEIR_CONFIG": "/nowhere/weir.toml"}, "'/nowhere/weir.toml'"),
], ids=str)
def test_wrong_usage(weir_bin, tmp_path, args, env, said):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    done = subprocess.run([weir_bin, *args], env=clean | {"WEIR_DATA": str(tmp_path / "none")} | env,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "none").exists()


def test_an_error_in_the_file_has_its_line(make_server, tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("\nworkers = 3\nhunt-byte-max = 1\n")
    done = make_server().command("config", "--config", file, check=False)
    assert done.returncode == 2
    assert done.stderr == f"weir: {file}:3: there is no setting 'hunt-byte-max'; did you mean 'hunt-bytes-max'?\n"


def test_version_and_help(weir_bin):
    assert re.fullmatch(r"weir \d+\.\d+\.\d+\n", subprocess.check_output([weir_bin, "version"], text=True))
    text = subprocess.check_output([weir_bin, "help"], text=True)
    assert "weir ingest" in text and "--retention-days" in text


# ---- Start and stop ----


def test_the_lines_of_the_first_start_can_be_pasted(make_server, samples):
    server = make_server().start()
    text = (server.folder / "stdout").read_text()
    lines = [line.strip() for line in text.splitlines() if re.match(r"  (export|curl|\S+/weir) ", line)]
    assert len(lines) == 4
    elf = samples({"elf": b"\x7fELF and more"})
    script = "\n".join(line.replace("/usr/bin", str(elf)) for line in lines)
    done = subprocess.run(["bash", "-euo", "pipefail"], input=script, env=server.env, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"rule_name":"elf_file"' in re.sub(r"\s", "", done.stdout), done.stdout


def test_the_address_file_names_the_port(make_server):
    one = make_server()
    process = begin(one, "serve", "--listen", "127.0.0.1:0")
    try:
        file = one.data / "address"
        weirtest.wait_for(file.exists, weirtest.START_MAX_S, "no address")
        host, port = file.read_text().strip().split(":")
        assert host == "127.0.0.1"
        socket.create_connection((host, int(port))).close()
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=weirtest.STOP_MAX_S)
        assert process.returncode == 0
        ready = [line for line in log.decode().splitlines() if '"event":"ready"' in line]
        assert len(ready) == 1 and f'"port":{port}' in ready[0]
        assert not file.exists() and not (one.data / "control.sock").exists()
    finally:
        process.kill()
        process.wait()


def test_a_second_server_names_the_holder(server):
    done = server.command("serve", "--listen", "127.0.0.1:0", check=False)
    assert done.returncode == 1
    assert f"'{server.data}/lock' is held by process {server.process.pid}" in done.stderr


def test_the_control_socket_is_for_its_owner_alone(server):
    mode = (server.data / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_by_the_control_socket(server):
    path = server.data / "control.sock"
    end = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(server.data)  # its path is longer than an address may be
    path.chmod(0o666)
    server.data.chmod(0o711)
    try:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setresuid(65534, 65534, 65534)
                end.connect("control.sock")
                end.settimeout(20)
                status = 0 if end.recv(1) == b"" else 2  # closed without a word
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.chdir(here)
        path.chmod(0o600)
        server.data.chmod(0o700)
    assert any(e["event"] == "control_refused" for e in server.log_events())


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, struct.pack("<IHHQ", 0, 1, 999, 1),
                                   struct.pack("<IHHQ", 0, 1, 23, 1), struct.pack("<IHHQ", 5, 1, 16, 1) + b"\xff" * 5,
                                   struct.pack("<IHHQ", 1 << 30, 1, 16, 1)],
                         ids=["http", "ones", "unknown", "no file", "cut field", "huge"])
def test_nonsense_on_the_control_socket(server, noise):
    here = os.getcwd()
    os.chdir(server.data)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.connect("control.sock")
            end.settimeout(20)
            end.sendall(noise)
            answer = end.recv(4096)
    finally:
        os.chdir(here)
    assert struct.unpack("<H", answer[6:8]) == (2,)  # an error, and the server serves on
    server.command("user", "list")


def test_a_second_signal_ends_at_once(make_server):
    server = make_server().start()
    key = server.user("slow")
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(f"POST /api/v3/files HTTP/1.1\r\nHost: x\r\nx-apikey: {key}\r\nContent-Length: 1000\r\n"
                     "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b".encode())
        weirtest.wait_for(lambda: server.api().get("//healthz").status_code == 200, 20, "not served")
        process, server.process = server.process, None
        process.send_signal(signal.SIGTERM)
        weirtest.wait_for(lambda: any(e["event"] == "stopping" for e in server.log_events()), 20, "does not stop")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 1
    # Which leaves everything valid.
    assert ", 0 findings" in server.command("verify").stdout


def test_sighup_reads_the_log_level_again(make_server, tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("log-level = 'info'\n")
    server = make_server("--config", str(file)).start()

    def requests_logged():
        return sum(e["event"] == "request" for e in server.log_events())

    def reload(event):
        before = sum(e["event"] == event for e in server.log_events())
        server.process.send_signal(signal.SIGHUP)
        weirtest.wait_for(lambda: sum(e["event"] == event for e in server.log_events()) > before, 20, f"no {event}")

    server.api().get("//healthz")
    assert requests_logged() > 0
    file.write_text("log-level = 'loud'\n")
    reload("settings_kept")
    file.write_text("log-level = 'error'\n")
    server.process.send_signal(signal.SIGHUP)

    def is_silent():
        before = requests_logged()
        server.api().get("//healthz")
        return requests_logged() == before

    weirtest.wait_for(is_silent, 20, "requests are still logged")
    file.write_text("log-level = 'info'\n")
    reload("settings_read")


def test_unsafe_no_sync_warns_loudly(make_server):
    server = make_server("--unsafe-no-sync")
    process = begin(server, "serve", "--listen", "127.0.0.1:0", "--unsafe-no-sync")
    weirtest.wait_for((server.data / "address").exists, weirtest.START_MAX_S, "not ready")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=weirtest.STOP_MAX_S)
    assert b"weir: WARNING: unsafe-no-sync is set." in log
    assert process.returncode == 0


def test_a_folder_held_by_who_does_not_answer(make_server):
    one = make_server()
    one.data.mkdir()
    with (one.data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("12345\n")
        lock.flush()
        done = one.command("user", "list", check=False)
    assert done.returncode == 1
    assert "held by process 12345" in done.stderr and "no server answers" in done.stderr
