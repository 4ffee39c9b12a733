"""kill -9 while segments of the corpus index are written, merged, built anew and forgotten.

After each life the next start finds every segment whole that has a row; after the last one every file is in
a segment, and `weir verify` is clean. CRASH_ROUNDS is how many rounds (default 6), CRASH_SEED repeats their lots.
"""

import os
import random
import sqlite3
import threading

import pytest
import requests
from hunting import sha256_of
from weirtest import Server, wait_for

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("CRASH_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
FILES = 60  # of a round
SETTLE_S = 120
AT_ONCE = ("--index-seconds=0", "--index-merge-fan=2", "--index-threads=2", "--index-segment-files-max=200")


def rows(server, text):
    with sqlite3.connect(f"file:{server.data / 'weir.db'}?mode=ro", uri=True) as db:
        return db.execute(text).fetchall()


def uncovered(server):
    return rows(server, "SELECT count(*) FROM file f WHERE NOT EXISTS "
                        "(SELECT 1 FROM segment s WHERE s.first_id <= f.id AND s.last_id >= f.id)") != [(0,)]


def under_way(server):
    """Was a segment half written, or one there that no row names?"""
    named = {f"{number:010}.seg" for number, in rows(server, "SELECT id FROM segment")}
    return any(path.name not in named for path in (server.data / "index").iterdir())


def life(server, api, r, number, kept):
    """Files come and go until the server is killed in the middle of it."""
    over = threading.Event()

    def work():
        try:
            for i in range(FILES):
                data = b"round %d file %d " % (number, i) + r.randbytes(r.choice([10, 3000, 60000]))
                if api.post("/files", files={"file": ("a", data)}).status_code == 200:
                    kept[sha256_of(data)] = True
                if kept and r.random() < 0.3:
                    sha256 = r.choice(list(kept))
                    kept[sha256] = None  # from now on it may be gone
                    if api.delete(f"/files/{sha256}").status_code in (200, 404):
                        del kept[sha256]
        except requests.RequestException:
            pass  # the server is gone
        finally:
            over.set()

    thread = threading.Thread(target=work)
    thread.start()
    over.wait(r.uniform(0.1, 1.5))
    server.kill()
    thread.join()


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_killed_while_the_index_is_written(weir_bin, tmp_path):
    print(f"CRASH_SEED={SEED} CRASH_ROUNDS={ROUNDS}")
    r = random.Random(SEED)
    server = Server(weir_bin, tmp_path / "weir", *AT_ONCE)
    server.start()
    api = server.api(server.user("ann", "admin"))
    kept, half = {}, 0
    for number in range(ROUNDS):
        life(server, api, r, number, kept)
        half += under_way(server)
        if r.random() < 0.3:  # all of it anew, which this life does not see the end of
            with sqlite3.connect(server.data / "weir.db") as db:
                db.execute("UPDATE segment SET stale = 1")
        server.start()
        api = server.api(api.key)
    wait_for(lambda: rows(server, "SELECT count(*) FROM analysis WHERE state < 2") == [(0,)], SETTLE_S,
             "analyses are left")
    wait_for(lambda: not uncovered(server), SETTLE_S, "files are in no segment")
    wait_for(lambda: rows(server, "SELECT count(*) FROM segment WHERE stale = 1") == [(0,)], SETTLE_S,
             "segments are to be built anew")
    for sha256, acknowledged in kept.items():
        status = api.get(f"/files/{sha256}").status_code
        assert status == 200 or (status == 404 and not acknowledged), f"{sha256}: {status}"
    assert [e for e in server.log_events() if e["event"] in ("segment_lost", "segment_damaged", "index_failed")] == []
    server.stop()
    verified = server.command("verify")
    assert verified.returncode == 0, verified.stdout
    assert not under_way(server)
    print(f"{ROUNDS} kills, {half} of them with a segment half written; {len(kept)} files")
