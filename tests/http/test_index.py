"""The corpus index from outside: written in the background, checked by `weir verify`, built again by `weir reindex`."""

import json
import os
import random
import re
import shutil
import sqlite3
import subprocess

import pytest

import crafted
import weirtest

PAGE = 4096
# Segments at once, and small ones.
AT_ONCE = ("--index-seconds", "0", "--index-merge-fan", "4", "--index-threads", "2", "--index-memory-bytes", "32MiB",
           "--index-fill", "500", "--index-segment-files-max", "100000", "--index-segment-bytes-max", "1GiB")


def sample(number, size=3000):
    lots = random.Random(number)
    return b"sample %d " % number + lots.randbytes(size // 2) + bytes(lots.choices(b"etaoin shrdlu", k=size // 2))


def metric(one, name):
    text = weirtest.direct_session().get(f"{one.base}/metrics", timeout=10).text
    return int(re.search(rf"^weir_{name} (\d+)$", text, re.MULTILINE)[1])


def segments(one):
    return sorted((one.data / "index").glob("*.seg"))


def wait_indexed(one, files):
    """Until so many files are in segments and nothing is left to do."""
    weirtest.wait_for(lambda: metric(one, "index_docs") == files and metric(one, "index_waiting") == 0, 60,
                      f"{files} files are not indexed")


def ingest(one, folder, numbers, **kwargs):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / str(number)).write_bytes(sample(number, **kwargs))
    one.command("ingest", "--wait", folder)


def verify(one, status):
    done = one.command("verify", "--json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return [f["text"] for f in json.loads(done.stdout)["findings"]]


def test_what_is_uploaded_is_indexed_merged_and_forgotten(make_server, tmp_path):
    one = make_server(*AT_ONCE).start()
    key = one.someone("admin")
    for number in range(9):
        one.api(key).upload(sample(number))
        wait_indexed(one, number + 1)
    weirtest.wait_for(lambda: metric(one, "index_segments") < 5, 60, "nothing was merged")
    assert metric(one, "index_merged_bytes_total") > 0 and metric(one, "index_built_bytes_total") >= 9 * 3000
    assert verify(one, 0) == []
    for number in range(9):
        sha256 = weirtest.hashlib.sha256(sample(number)).hexdigest()
        assert one.api(key).delete(f"/files/{sha256}").status_code == 200
    weirtest.wait_for(lambda: metric(one, "index_segments") == 0, 60, "segments of removed files stay")
    weirtest.wait_for(lambda: segments(one) == [], 10, "files of removed segments stay")
    assert verify(one, 0) == []


def test_what_rests_is_merged_whatever_its_sizes(make_server, tmp_path):
    """Too few of one size for the fan-in, which are enough once nothing has come in for a while."""
    one = make_server("--index-seconds=0", "--index-rest-seconds=0").start()
    for number in range(3):
        ingest(one, tmp_path / str(number), [number])
        wait_indexed(one, number + 1)
    assert metric(one, "index_segments") == 3 and metric(one, "index_merged_bytes_total") == 0
    one.stop()
    one.args = ("--index-seconds=0", "--index-rest-seconds=1")
    one.start()
    weirtest.wait_for(lambda: metric(one, "index_segments") == 1, 60, "what rests is not merged")
    assert metric(one, "index_docs") == 3 and verify(one, 0) == []


def test_features_are_stored_with_the_analysis_and_indexed(make_server, tmp_path):
    one = make_server(*AT_ONCE).start()
    (tmp_path / "samples").mkdir()
    shutil.copy(one.binary, tmp_path / "samples" / "an ELF file")
    (tmp_path / "samples" / "a text").write_bytes(b"no features but that of no file type\n")
    one.command("ingest", "--wait", tmp_path / "samples")
    wait_indexed(one, 2)
    one.stop()
    with sqlite3.connect(one.data / "weir.db") as db:
        versions, = db.execute("SELECT count(*) FROM file_features WHERE version > 0").fetchone()
        most, = db.execute("SELECT max(length(features)) FROM file_features").fetchone()
        assert versions == 2 and most > 8
        assert db.execute("SELECT DISTINCT features_version FROM segment").fetchall() == \
            db.execute("SELECT DISTINCT version FROM file_features").fetchall()
    assert verify(one, 0) == []


@pytest.fixture(params=["with a server", "without"])
def indexed(request, make_server, tmp_path):
    one = make_server(*AT_ONCE).start()
    ingest(one, tmp_path / "samples", range(40))
    wait_indexed(one, 40)
    if request.param == "without":
        one.stop()
    return one


def test_reindex_builds_new_segments_of_the_same(indexed):
    one = indexed
    before = {path.name for path in segments(one)}
    said = json.loads(one.command("reindex", "--json").stdout)
    assert said["segments"] == len(before) and said["sample_bytes"] > 100_000
    weirtest.wait_for(lambda: before.isdisjoint(path.name for path in segments(one)), 10, "old segments stay")
    assert verify(one, 0) == []
    name = segments(one)[0].name
    done = one.command("reindex", "--segment", str(int(name[:10])))
    assert re.fullmatch(r"1 segments \([0-9.]+ KB of samples\) were built again in [0-9.]+ s\n", done.stdout)
    weirtest.wait_for(lambda: name not in [path.name for path in segments(one)], 10, "the old segment stays")
    assert verify(one, 0) == []


def test_reindex_says_what_it_cannot(indexed):
    done = indexed.command("reindex", "--segment", "4711", check=False)
    assert done.returncode == 1 and done.stderr == "weir: there is no segment 4711\n"


def test_without_an_index_there_is_none_to_build(make_server, tmp_path):
    one = make_server("--index=false").start()
    ingest(one, tmp_path / "samples", range(3))
    done = one.command("reindex", check=False)
    assert done.returncode == 1 and "there is no index: the setting 'index' is false" in done.stderr
    assert not (one.data / "index").exists()
    one.stop()
    # Switched on later, it is made of what is stored.
    one.args = AT_ONCE
    one.start()
    wait_indexed(one, 3)
    assert verify(one, 0) == []


@pytest.mark.parametrize("running", [True, False], ids=["with a server", "without"])
def test_features_of_samples_of_before(make_server, tmp_path, running):
    """As if the samples had been stored before features were extracted."""
    one = make_server(*AT_ONCE).start()
    key = one.someone("hunter")
    (tmp_path / "samples").mkdir()
    for number in range(6):
        (tmp_path / "samples" / str(number)).write_bytes(crafted.pe(timestamp=number + 1, overlay=b"a tail" * number))
    one.command("ingest", "--wait", tmp_path / "samples")
    wait_indexed(one, 6)
    one.stop()
    rows = "SELECT file_id, version, features FROM file_features ORDER BY file_id"
    with sqlite3.connect(one.data / "weir.db") as db:
        before = db.execute(rows).fetchall()
        db.execute("DELETE FROM file_features WHERE file_id % 2 = 0")
        db.execute("UPDATE file_features SET version = 99, features = x'' WHERE file_id % 2 = 1")
    rules = 'import "pe" rule r { condition: pe.timestamp == 4711 }'

    def candidates():
        made = one.api(key).post("/intelligence/retrohunt_jobs/estimate", json={
            "data": {"type": "retrohunt_job", "attributes": {"rules": rules}}})
        return made.json()["data"]["attributes"]["candidate_files"]

    one.start()
    one.command("reindex")
    assert candidates() == 6  # nothing but their first bytes is known of them
    if not running:
        one.stop()
    said = json.loads(one.command("reindex", "--features", "--json").stdout)
    assert (said["examined_files"], said["failed_files"], said["findings"]) == (6, 0, [])
    assert said["segments"] > 0
    again = one.command("reindex", "--features")
    assert again.stdout.startswith("0 samples were examined, 0 could not be; 0 segments (0 B of samples) were built")
    if not running:
        one.start()
    assert candidates() == 0
    one.stop()
    with sqlite3.connect(one.data / "weir.db") as db:
        assert db.execute(rows).fetchall() == before
    assert verify(one, 0) == []


@pytest.mark.parametrize("args, said", [
    (["reindex", "--features", "--segment", "3"], "'--features' finds the segments by itself"),
    (["reindex", "x"], "weir reindex takes no words"),
    (["reindex", "--all", "--segment", "3"], "'--all' is every segment, so '--segment' has no meaning beside it"),
    (["reindex", "--segment", "0"], "'--segment' is a number, 1 to 9223372036854775807, not '0'"),
    (["reindex", "--reclaim"], "'--reclaim' is not an option of 'weir reindex'"),
], ids=" ".join)
def test_wrong_usage(server, args, said):
    done = server.command(*args, check=False)
    assert done.returncode == 2 and said in done.stderr


def test_reindex_needs_a_data_folder(make_server):
    one = make_server()
    done = one.command("reindex", "--all", check=False)
    assert done.returncode == 1 and "there is no data folder" in done.stderr


@pytest.mark.expect_errors("segment_damaged")
def test_a_flipped_bit_anywhere_is_found_and_named(make_server, tmp_path):
    one = make_server(*AT_ONCE).start()
    ingest(one, tmp_path / "samples", range(300))
    wait_indexed(one, 300)
    one.stop()
    path = max(segments(one), key=lambda p: p.stat().st_size)
    whole = path.read_bytes()
    lots = random.Random(5)
    pages = range(0, len(whole), PAGE)
    for page in {pages[0], pages[1], pages[-1], pages[-2], *lots.sample(pages, min(len(pages), 8))}:
        at = min(page + lots.randrange(PAGE), len(whole) - 1)
        damaged = bytearray(whole)
        damaged[at] ^= 1 << lots.randrange(8)
        path.write_bytes(damaged)
        texts = verify(one, 1)
        assert any(f"index/{path.name}" in text for text in texts), f"byte {at}: {texts}"
        assert any("damaged" in text or "checksum" in text or "magic" in text or "version" in text for text in texts), \
            f"byte {at}: {texts}"
    path.write_bytes(whole)
    assert verify(one, 0) == []


def test_other_damage_is_found_and_named(make_server, tmp_path):
    one = make_server(*AT_ONCE).start()
    ingest(one, tmp_path / "samples", range(5))
    wait_indexed(one, 5)
    one.stop()
    path, = segments(one)
    kept = tmp_path / "kept"
    shutil.move(path, kept)
    text, = verify(one, 1)
    assert f"index/{path.name}" in text
    shutil.copy(kept, path)
    with sqlite3.connect(one.data / "weir.db") as db:
        db.execute("UPDATE file SET pack_offset = pack_offset + 8 WHERE id = 2")
    assert any("it is said to be at another place" in text for text in verify(one, 1))
    with sqlite3.connect(one.data / "weir.db") as db:
        db.execute("UPDATE file SET pack_offset = pack_offset - 8 WHERE id = 2")
        db.execute("UPDATE segment SET docs = 4")
    texts = verify(one, 1)
    assert "segment 1 has 4 files, and there are 5 in its range" in texts
    assert any("range, files or bytes are not those of its row" in text for text in texts)


@pytest.mark.expect_errors("segment_lost")
@pytest.mark.parametrize("how", ["missing", "cut", "damaged", "empty"])
def test_what_is_lost_is_built_again(make_server, tmp_path, how):
    one = make_server(*AT_ONCE).start()
    ingest(one, tmp_path / "samples", range(20))
    wait_indexed(one, 20)
    one.stop()
    path = segments(one)[0]
    if how == "missing":
        path.unlink()
    elif how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    else:
        with path.open("r+b") as f:
            f.seek(64)
            f.write(b"?" * 64)
    one.start()
    lost = [e for e in one.log_events() if e["event"] == "segment_lost"]
    assert [e["file"] for e in lost] == [f"index/{path.name}"] and lost[0]["error"]
    wait_indexed(one, 20)
    assert verify(one, 0) == []


def test_a_backup_has_no_segments_and_what_is_restored_is_indexed_again(make_server, tmp_path):
    one = make_server(*AT_ONCE).start()
    ingest(one, tmp_path / "samples", range(20))
    wait_indexed(one, 20)
    one.command("backup", tmp_path / "backup")
    assert not list((tmp_path / "backup").rglob("*.seg*"))
    other = make_server(*AT_ONCE, name="restored")
    other.command("restore", tmp_path / "backup")
    assert verify(other, 0) == []
    other.start()
    wait_indexed(other, 20)
    assert verify(other, 0) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own for the index's folder."""
    path = tmp_path / "weir" / "data" / "index"
    path.mkdir(parents=True)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "weir-test", path], check=False,
                                           capture_output=True).returncode:
        pytest.skip("no right to mount")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.expect_errors("index_failed")
def test_a_full_disk_stops_the_index_and_nothing_else(make_server, tmp_path, small_disk):
    one = make_server(*AT_ONCE).start()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1 << 20))
    ingest(one, tmp_path / "samples", range(30))
    weirtest.wait_for(lambda: any(e["event"] == "index_failed" for e in one.log_events()), 60, "it is not said")
    failed = [e for e in one.log_events() if e["event"] == "index_failed"]
    assert len(failed) == 1 and "No space left" in failed[0]["error"]
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    assert metric(one, "index_docs") == 0 and metric(one, "index_waiting") == 30
    # Everything else goes on.
    one.api(one.someone()).hunt(sample(77))
    filler.unlink()
    one.stop()
    one.start()
    wait_indexed(one, 31)
    assert verify(one, 0) == []
