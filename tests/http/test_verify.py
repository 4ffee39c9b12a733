"""weir verify: exit statuses, JSON, bytes of no sample, beside a running server; removal that the disk delays."""

import json
import os
import random
import sqlite3
import subprocess
import time

import pytest

import weirtest


@pytest.fixture(params=["with a server", "without"])
def folder(request, make_server, tmp_path):
    one = make_server()
    if request.param == "with a server":
        one.start()
    (tmp_path / "samples").mkdir()
    for i in range(5):
        (tmp_path / "samples" / str(i)).write_bytes(random.Random(i).randbytes(200_000))
    one.command("ingest", tmp_path / "samples")
    return one


def as_json(done):
    return json.loads(done.stdout)


def test_clean(folder):
    said = as_json(folder.command("verify", "--json"))
    assert said.pop("seconds") >= 0
    assert said == {"records": 5, "loose": 0, "loose_bytes": 0, "reclaimed": 0, "finding_count": 0, "findings": []}
    assert folder.command("verify").stdout == "5 records checked, 0 findings\n"


def test_a_finding_is_status_1_and_named(make_server, tmp_path):
    one = make_server()
    (tmp_path / "sample").write_bytes(b"sample")
    one.command("ingest", tmp_path / "sample")
    with sqlite3.connect(one.data / "weir.db") as db:
        db.execute("UPDATE file SET times_submitted = 7")
    done = one.command("verify", "--json", check=False)
    assert done.returncode == 1
    finding, = as_json(done)["findings"]
    assert finding["check"] == "file.times_submitted" and "1 times, and says 7" in finding["text"]
    done = one.command("verify", check=False)
    assert done.returncode == 1 and done.stdout.endswith("1 records checked, 1 findings\n")


def test_what_cannot_be_looked_at_is_status_2(make_server):
    one = make_server()
    done = one.command("verify", check=False)
    assert done.returncode == 2 and "there is no data folder" in done.stderr and not one.data.exists()
    done = one.command("verify", "--json", check=False)
    assert done.returncode == 2 and "there is no data folder" in as_json(done)["error"]
    one.data.mkdir()
    (one.data / "weir.db").write_bytes(b"no database " * 1000)
    assert one.command("verify", check=False).returncode == 2


def test_a_rate_slows_it_down(folder):
    begun = time.monotonic()
    folder.command("verify", "--rate", "500KB")
    # A megabyte, of which a second's worth may come at once.
    assert time.monotonic() - begun > 0.9


def test_bytes_of_no_sample_are_told_and_reclaimed(make_server, tmp_path):
    """As a commit leaves them that never came: the row is taken away behind the program's back."""
    one = make_server()
    for name in ("kept", "lost"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
        one.command("ingest", tmp_path / name)
    with sqlite3.connect(one.data / "weir.db") as db:
        for table in ("analysis", "submission", "file_name"):
            db.execute(f"DELETE FROM {table} WHERE file_id = 2")
        db.execute("DELETE FROM file WHERE id = 2")
    said = one.command("verify").stdout
    assert "4000 bytes of no file, SHA-256 " in said
    assert said.endswith("2 records checked, 0 findings; 1 records (4.0 KB) belong to no sample: "
                         "'weir verify --reclaim' erases them\n")
    assert b"lostlost" in b"".join(p.read_bytes() for p in one.data.glob("packs/*"))
    said = one.command("verify", "--reclaim").stdout
    assert said.endswith("1 records (4.0 KB) belonged to no sample and are erased\n")
    assert b"lostlost" not in b"".join(p.read_bytes() for p in one.data.glob("packs/*"))
    assert one.command("verify").stdout == "2 records checked, 0 findings\n"


def test_reclaiming_beside_uploads_takes_nothing(make_server, tmp_path):
    one = make_server().start()
    (tmp_path / "samples").mkdir()
    for i in range(1500):
        (tmp_path / "samples" / str(i)).write_bytes(b"sample %d" % i)
    with subprocess.Popen([one.binary, "ingest", "--data", one.data, tmp_path / "samples"], env=one.env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            assert one.command("verify", "--reclaim").returncode == 0
        assert b"1500 new" in process.stdout.read()
    said = as_json(one.command("verify", "--json"))
    assert said["finding_count"] == 0 and said["records"] >= 1500


@pytest.mark.parametrize("args, said", [
    (["verify", "x"], "weir verify takes no words"),
    (["verify", "--rate", "0"], "'--rate' is a number of bytes, as 50MB, not '0'"),
    (["verify", "--keep", "3"], "'--keep' is not an option of 'weir verify'"),
], ids=" ".join)
def test_wrong_usage(server, args, said):
    done = server.command(*args, check=False)
    assert done.returncode == 2 and said in done.stderr


@pytest.mark.expect_errors("erasure_failed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable")
def test_rm_says_when_the_disk_did_not_erase(make_server, tmp_path):
    one = make_server().start()
    content = b"a sample whose bytes stay for a while"
    (tmp_path / "sample").write_bytes(content)
    one.command("ingest", "--wait", tmp_path / "sample")
    one.stop()
    pack, = one.data.glob("packs/*")
    one.start()
    if subprocess.run(["chattr", "+i", pack], check=False, capture_output=True).returncode:
        pytest.skip("the file system has no immutable files")
    try:
        sha256 = weirtest.hashlib.sha256(content).hexdigest()
        done = one.command("rm", sha256, check=False)
        assert done.returncode == 1 and done.stdout == f"removed {sha256}\n"
        assert "could not be erased from the disk yet" in done.stderr
        assert one.api(one.someone()).get(f"/files/{sha256}").status_code == 404
    finally:
        subprocess.run(["chattr", "-i", pack], check=True)
    one.stop()
    one.start()
    assert content not in pack.read_bytes()
