"""Backups and restores by the command line: with a server and without, under load, killed halfway, from bad places."""

import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

import weirtest

SLOW = "300KB"  # a second: slow enough to be caught at it


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def random_bytes(n):
    return random.Random(n).randbytes(n)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "place"


def backup(one, place, *args, check=True):
    """The outcome as an object."""
    done = one.command("backup", "--json", *args, place, check=check)
    return json.loads(done.stdout)


def run(one, *args):
    """`weir ARGS...` as it stands."""
    return subprocess.run([one.binary, *args], env=one.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300)


def restore(one, place, into, *args):
    done = run(one, "restore", "--json", "--data", into, *args, place)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def restored(make_server, one, place, name="restored"):
    """A server, not started, on a folder made of the newest backup."""
    other = make_server(name=name)
    restore(one, place, other.data)
    return other


def begin(one, *args):
    return subprocess.Popen([one.binary, *args], env=one.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def begin_until(one, text, *args):
    """`weir ARGS...` at the moment when a line of its progress holds the text."""
    process = begin(one, *args, "--every", "0")
    for line in process.stderr:
        if text in line:
            return process
    raise AssertionError(f"it ended without '{text}'")


# ---- What comes back ----


def test_a_restored_folder_answers_the_same(make_server, place):
    one = make_server().start()
    key = one.someone()
    api = one.api(key)
    mark = weirtest.marker()
    api.ruleset(weirtest.rules_for(mark))
    hashes = [api.hunt(mark.encode() + b" %d" % i, f"name {i}") for i in range(5)]
    weirtest.wait_for(lambda: len(api.stream()["data"]) == 5, 60, "not all are told")
    page = api.stream(limit=2)
    made = backup(one, place)
    assert (made["generation"], made["samples"], made["finding_count"]) == (1, 5, 0)
    asked = ["/ioc_stream?limit=40", f"/ioc_stream?limit=2&cursor={page['meta']['cursor']}",
             "/intelligence/hunting_rulesets"] + [f"/files/{h}" for h in hashes]
    before = [api.get(path).json() for path in asked]
    bytes_before = api.get(f"/files/{hashes[0]}/download").content
    one.stop()

    other = restored(make_server, one, place).start()
    again = other.api(key)
    text = json.dumps(before).replace(one.base, "BASE")
    assert json.dumps([again.get(path).json() for path in asked]).replace(other.base, "BASE") == text
    assert again.get(f"/files/{hashes[0]}/download").content == bytes_before
    # Told is told: the same samples again make no new notifications.
    again.hunt(mark.encode() + b" 0")
    assert len(again.stream()["data"]) == 5
    assert ", 0 findings" in other.command("verify").stdout


def test_without_a_server(make_server, place, tmp_path):
    one = make_server()
    (tmp_path / "sample").write_bytes(b"a sample")
    one.command("ingest", tmp_path / "sample")
    said = one.command("backup", place).stdout
    assert said.startswith("generation 1 of 20") and "1 samples (8 B) in 1 packs; copied " in said
    other = make_server(name="other")
    done = run(one, "restore", place, "--data", other.data)
    assert done.returncode == 0 and "1 samples (8 B) in 1 packs; restored " in done.stdout, done
    assert "1 records checked, 0 findings" in other.command("verify").stdout


def test_generations_are_kept_and_found(make_server, place, tmp_path):
    one = make_server()
    for i in range(3):
        (tmp_path / "sample").write_bytes(b"sample %d" % i)
        one.command("ingest", tmp_path / "sample")
        backup(one, place, "--keep", "2")
    assert sorted(p.name for p in place.glob("*.manifest")) == ["0000000002.manifest", "0000000003.manifest"]
    assert restore(one, place, tmp_path / "second", "--generation", "2")["samples"] == 2
    assert restore(one, place, tmp_path / "newest")["samples"] == 3
    done = run(one, "restore", place, "--data", tmp_path / "first", "--generation", "1")
    assert done.returncode == 1 and "has no generation 1" in done.stderr


def test_other_programs_can_check_it(make_server, place, tmp_path):
    one = make_server()
    (tmp_path / "sample").write_bytes(b"sample")
    one.command("ingest", tmp_path / "sample")
    backup(one, place)
    sums = subprocess.run("awk '/^(file|pack) /{print $5 \"  \" $3}' 0000000001.manifest | sha256sum --strict -c",
                          shell=True, cwd=place, capture_output=True, text=True, check=False)
    assert sums.returncode == 0 and sums.stdout.count(": OK") == 4, sums  # database, two keys, a pack
    manifest = (place / "0000000001.manifest").read_bytes()
    body, end = manifest[:-69], manifest[-69:]
    assert end == b"end " + sha256(body).encode() + b"\n"


# ---- Under load ----


class Load:
    """Clients that upload, remove and edit rulesets until told to stop; what they were acknowledged, and when."""

    def __init__(self, server):
        self.server, self.over, self.errors = server, threading.Event(), []
        self.mark = weirtest.marker()
        self.key, self.admin = server.someone(), server.someone("admin")
        server.api(self.key).ruleset(weirtest.rules_for(self.mark), "found by all")
        self.lock = threading.Lock()
        self.told, self.removed = {}, set()  # sha256: time of its acknowledged analysis; ever asked to be removed
        self.threads = [threading.Thread(target=self.guarded, args=(job, i), daemon=True)
                        for i, job in enumerate([self.upload, self.upload, self.remove, self.edit])]
        for thread in self.threads:
            thread.start()

    def guarded(self, job, number):
        try:
            job(self.server.api(self.admin if job == self.remove else self.key), number)
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(f"{job.__name__}: {error!r}")

    def upload(self, api, number):
        i = 0
        while not self.over.is_set():
            content = b"%s %d %d " % (self.mark.encode(), number, i) + random_bytes(1000 + i % 5000)
            api.hunt(content)
            with self.lock:
                self.told[sha256(content)] = time.monotonic()
            i += 1

    def remove(self, api, _number):
        while not self.over.is_set():
            with self.lock:
                # A third of what comes.
                left = [h for h in self.told if h[0] in "01234" and h not in self.removed]
                self.removed.update(left[:1])
            if left:
                answer = api.delete(f"/files/{left[0]}")
                assert answer.status_code == 200, answer.text
            else:
                time.sleep(weirtest.POLL_S)

    def edit(self, api, _number):
        i = 0
        while not self.over.is_set():
            ruleset = api.ruleset(weirtest.rules_for(weirtest.marker()), f"edited {i}")
            assert api.delete(f"/intelligence/hunting_rulesets/{ruleset['id']}").status_code == 200
            i += 1

    def wait_for(self, count):
        weirtest.wait_for(lambda: self.errors or len(self.told) >= count, 60, f"not {count} uploads")
        assert not self.errors, self.errors

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.errors, self.errors


def test_a_backup_under_load_holds_all_that_was_acknowledged(make_server, place):
    one = make_server().start()
    load = Load(one)
    load.wait_for(40)
    for round_ in range(2):
        begun = time.monotonic()
        made = backup(one, place, *(["--rate", "2MB"] if round_ == 0 else []))
        assert made["finding_count"] == 0, made
        load.wait_for(len(load.told) + 10)
    load.stop()
    one.stop()

    other = restored(make_server, one, place).start()
    api = other.api(load.key)
    must = {h for h, at in load.told.items() if at < begun and h not in load.removed}
    assert len(must) > 5
    told, cursor = set(), None
    while True:
        page = api.stream(limit=40, **({"cursor": cursor} if cursor else {}))
        told |= {entry["id"] for entry in page["data"]}
        cursor = page["meta"].get("cursor")
        if not cursor:
            break
    for h in must:
        assert sha256(api.get(f"/files/{h}/download").content) == h
    assert must <= told
    assert ", 0 findings" in other.command("verify").stdout


def test_removed_bytes_are_in_no_later_backup(make_server, place):
    one = make_server().start()
    mark = weirtest.marker().encode()
    removed = one.api(one.someone()).hunt(b"a sample with " + mark)
    one.api(one.someone()).hunt(b"another sample")
    backup(one, place)
    assert any(mark in p.read_bytes() for p in place.rglob("*.pack"))
    one.command("rm", removed)
    backup(one, place)
    assert not any(mark in p.read_bytes() for p in place.rglob("*.pack"))


# ---- Ended halfway ----


def filled(make_server, tmp_path, count=12):
    """A folder with a few packs."""
    one = make_server()
    folder = tmp_path / "samples"
    folder.mkdir()
    for i in range(count):
        (folder / str(i)).write_bytes(random_bytes(100_000 + i))
    (folder / "large").write_bytes(random_bytes(17 << 20))
    one.command("ingest", folder)
    return one


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_a_server_that_ends_under_a_backup(make_server, tmp_path, place, end):
    one = filled(make_server, tmp_path).start()
    process = begin_until(one, "packs", "backup", place, "--data", one.data, "--rate", SLOW)
    if end == signal.SIGKILL:
        one.kill()
    else:
        one.stop()
    assert process.wait(60) == 1
    assert not list(place.glob("*.manifest")), "no generation came of it"
    done = run(one, "restore", "--check", place)
    assert done.returncode == 1 and "was interrupted before its first generation was complete" in done.stderr
    one.start()
    made = backup(one, place)
    assert made["samples"] == 13 and made["packs"] == 2
    assert not list(one.data.glob("backup.db*"))
    assert not list(place.glob("*.partial")) and not list(place.glob("packs/*.tmp"))
    assert ", 0 findings" in restored(make_server, one, place).command("verify").stdout


def test_a_backup_whose_command_is_killed(make_server, tmp_path, place):
    one = filled(make_server, tmp_path).start()
    backup(one, place)
    (tmp_path / "more").write_bytes(random_bytes(18 << 20))
    one.command("ingest", tmp_path / "more")
    process = begin_until(one, "packs", "backup", place, "--data", one.data, "--rate", SLOW)
    process.kill()
    process.wait()
    # The one before stands until another is whole.
    assert json.loads(run(one, "restore", "--check", "--json", place).stdout)["samples"] == 13
    weirtest.wait_for(lambda: any(e["event"] == "backup_stopped" for e in one.log_events()), 30, "it goes on")
    assert backup(one, place)["samples"] == 14


def test_an_interrupted_backup_goes_on(make_server, tmp_path, place):
    one = filled(make_server, tmp_path)
    old = time.time() - 3600
    weirtest.wait_for(lambda: all(p.stat().st_ctime < time.time() - 2.5 for p in one.data.glob("packs/*")), 30,
                      "files are not old enough for their times to prove anything")
    for p in one.data.glob("packs/*"):
        os.utime(p, (old, old))
    weirtest.wait_for(lambda: all(p.stat().st_ctime < time.time() - 2.5 for p in one.data.glob("packs/*")), 30,
                      "files are not old enough for their times to prove anything")
    one.start()
    process = begin(one, "backup", place, "--data", one.data, "--rate", "4MB", "--every", "0")
    weirtest.wait_for(lambda: any("\npack 1 " in p.read_text() for p in place.glob("*.partial")), 60,
                      "no pack was copied")
    one.kill()
    process.wait(60)
    one.start()
    made = backup(one, place)
    assert made["packs_copied"] < made["packs"], "a pack that was copied is copied again"


def test_a_restore_that_is_killed_is_no_data_folder(make_server, tmp_path, place):
    one = filled(make_server, tmp_path)
    backup(one, place)
    other = make_server(name="other")
    process = begin_until(one, "restoring", "restore", place, "--data", other.data, "--rate", SLOW)
    process.kill()
    process.wait()
    for args, status in (["verify"], 2), (["user", "list"], 1):
        done = other.command(*args, check=False)
        assert done.returncode == status and "holds a restore that did not end" in done.stderr
    restore(one, place, other.data)
    assert "13 records checked, 0 findings" in other.command("verify").stdout


# ---- What is refused, and how it is said ----


@pytest.mark.parametrize("args, said, status", [
    (["backup"], "weir backup takes one FOLDER", 2),
    (["backup", "a", "b"], "weir backup takes one FOLDER", 2),
    (["backup", "--keep", "0", "x"], "'--keep' is a number, 1 to 10000, not '0'", 2),
    (["backup", "--rate", "fast", "x"], "'--rate' is a number of bytes, as 50MB, not 'fast'", 2),
    (["backup", "/proc/nowhere"], "cannot make the folder '/proc/nowhere'", 1),
    (["restore", "--check"], "weir restore takes one FOLDER", 2),
    (["restore", "--check", "--damaged", "x"], "'--check' restores nothing", 2),
    (["restore", "--check", "/nowhere"], "cannot open folder '/nowhere'", 1),
    (["restore", "--check", "/proc"], "there is no backup in '/proc'", 1),
    (["restore", "--generation", "x", "--check", "y"], "'--generation' is a number", 2),
], ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_what_is_refused(server, args, said, status):
    done = server.command(*args, check=False)
    assert done.returncode == status, done
    assert said in done.stderr and done.stdout == ""


def test_restore_wants_to_be_told_where(server, place):
    done = run(server, "restore", place)
    assert done.returncode == 2 and "--data FOLDER" in done.stderr


def test_backup_makes_no_data_folder(make_server, place):
    one = make_server()
    done = one.command("backup", place, check=False)
    assert done.returncode == 1 and "there is no data folder" in done.stderr
    assert not one.data.exists() and not place.exists()


def test_not_inside_the_data_folder(server):
    done = server.command("backup", server.data / "backup", check=False)
    assert done.returncode == 1 and "it is inside the data folder" in done.stderr
    assert not (server.data / "backup").exists()
    done = server.command("backup", server.data.parent, check=False)
    assert done.returncode == 1 and "is inside it" in done.stderr


def test_not_over_something_else(server, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = server.command("backup", tmp_path, check=False)
    assert done.returncode == 1 and "it is not empty and holds no backup of weir" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_not_beside_another_folders(make_server, place):
    one, two = make_server(name="one").start(), make_server(name="two").start()
    backup(one, place)
    done = two.command("backup", place, check=False)
    assert done.returncode == 1 and "holds the backups of another data folder" in done.stderr
    assert backup(one, place)["generation"] == 2


def test_one_at_a_time(make_server, tmp_path, place):
    one = filled(make_server, tmp_path).start()
    process = begin_until(one, "packs", "backup", place, "--data", one.data, "--rate", SLOW)
    done = one.command("backup", tmp_path / "elsewhere", check=False)
    assert done.returncode == 1 and "a backup of this data folder is under way" in done.stderr
    process.kill()
    process.wait()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, where we may make one."""
    path = tmp_path / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], check=False,
                      capture_output=True).returncode:
        pytest.skip("no right to mount")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_is_named_and_leaves_what_was(make_server, tmp_path, small_disk):
    one = make_server().start()
    one.api(one.someone()).hunt(b"a small sample")
    backup(one, small_disk)
    (tmp_path / "large").write_bytes(random_bytes(3 << 20))
    one.command("ingest", tmp_path / "large")
    done = one.command("backup", small_disk, check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr, done.stderr
    assert json.loads(run(one, "restore", "--check", "--json", small_disk).stdout)["samples"] == 1


def test_every_damage_is_named(make_server, tmp_path, place):
    one = filled(make_server, tmp_path)
    backup(one, place)
    packs = sorted(place.glob("packs/*.pack"))
    damaged = bytearray(packs[0].read_bytes())
    damaged[5000] ^= 1
    packs[0].write_bytes(damaged)
    packs[1].unlink()
    done = run(one, "restore", "--check", "--json", place)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and "is damaged in 2 places" in said["error"]
    assert [f["text"].split(":")[0] for f in said["findings"]] == [f"packs/{p.name}" for p in packs]
    into = tmp_path / "into"
    assert run(one, "restore", place, "--data", into).returncode == 1
    assert "holds a restore that did not end" in run(one, "verify", "--data", into).stderr
    # What is left can be had all the same, and verify says what is not.
    assert run(one, "restore", place, "--data", into, "--damaged").returncode == 1
    left = run(one, "verify", "--data", into)
    assert left.returncode == 1 and left.stdout.count("its bytes are not in the packs") == 2


def test_damage_is_backed_up_as_far_as_it_goes(make_server, tmp_path, place):
    one = filled(make_server, tmp_path)
    pack = max(one.data.glob("packs/*.pack"), key=lambda p: p.stat().st_size)
    damaged = bytearray(pack.read_bytes())
    damaged[5000] ^= 1
    pack.write_bytes(damaged)
    made = backup(one, place, check=False)
    assert made["samples"] == 13 and made["finding_count"] == 2, made
    assert "checksum is wrong" in made["findings"][0]["text"]
    assert made["findings"][1]["text"].startswith(f"file {sha256(random_bytes(17 << 20))}: its bytes")
    assert Path(place / "0000000001.manifest").exists()


def test_who_asks_over_http_is_not_held_up(make_server, tmp_path, place):
    """Uploads are acknowledged while a slow backup is under way."""
    one = filled(make_server, tmp_path).start()
    api = one.api(one.someone())
    process = begin_until(one, "packs", "backup", place, "--data", one.data, "--rate", SLOW)
    for i in range(20):
        api.upload(b"meanwhile %d" % i)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert isinstance(api.get("/ioc_stream"), requests.Response)
