"""kill -9 while containers are opened: nothing is lost, nothing is there or told twice."""

import io
import os
import random
import sqlite3
import threading
import zipfile

from hunting import sha256_of
from weirtest import Server, wait_for

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("CRASH_SEED", "4711"))
FILES = 300
RULE = 'rule %s { strings: $a = "%s" condition: $a }'


def made_zip(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return out.getvalue()


def settled(server):
    with sqlite3.connect(f"file:{server.data / 'weir.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM analysis WHERE state < 2").fetchone() == (0,)


def test_killed_while_unpacking(weir_bin, tmp_path):
    r = random.Random(SEED)
    server = Server(weir_bin, tmp_path / "weir")
    server.start()
    api = server.api(server.user("ann"))
    api.ruleset(RULE % ("inner", "needle"))
    expected, opened = set(), 0
    for number in range(ROUNDS):
        inner = {f"{i}": b"needle %d %d " % (number, i) + r.randbytes(r.choice([10, 3000])) for i in range(FILES)}
        nested = made_zip({f"n{i}": b"needle deep %d %d" % (number, i) for i in range(20)})
        container = made_zip({**inner, "nested.zip": nested})
        files = [*inner.values(), *(b"needle deep %d %d" % (number, i) for i in range(20)), nested, container]
        expected |= {sha256_of(data) for data in files}
        analysis = api.upload(container)
        # A life is too short for all of it, until the last.
        for life in range(4):
            threading.Event().wait(r.uniform(0.0, 0.1) * (life + 1))  # a life of this length
            opened += not settled(server)
            server.kill()
            server.start()
            api = server.api(api.key)
        attributes = api.wait_analysis(analysis)
        assert attributes["not_run"] == [], attributes
    wait_for(lambda: settled(server), 60, "analyses are left")
    server.stop()
    with sqlite3.connect(f"file:{server.data / 'weir.db'}?mode=ro", uri=True) as db:
        one = lambda text: db.execute(text).fetchone()[0]
        told = [row[0].hex() for row in db.execute("SELECT entity_id FROM sighting")]
        assert len(told) == len(set(told)) and set(told) == expected
        assert one("SELECT count(*) FROM file") == len(expected)
        assert one("SELECT count(*) FROM bundle") == len(expected) - ROUNDS
        assert one("SELECT count(*) FROM analysis WHERE parent_id IS NOT NULL") == len(expected) - ROUNDS
        assert one("SELECT count(*) FROM analysis WHERE parent_id IS NULL") == ROUNDS
        assert one("SELECT count(*) FROM unpacking") == 0
        assert one("SELECT count(*) FROM file WHERE times_submitted > 0") == ROUNDS
    verified = server.command("verify")
    assert verified.returncode == 0, verified.stdout
    print(f"{4 * ROUNDS} kills, {opened} of them with work under way, {len(expected)} files")
    assert opened >= ROUNDS
