"""kill -9 of the server, again and again, under uploads and edits; scan children are killed beside it.

After the last round every acknowledged upload is there byte for byte, hunted and told once, and every
acknowledged edit stands. CRASH_ROUNDS is how many rounds (default 8), CRASH_SEED repeats their lots.
"""

import os
import random
import sqlite3
import threading
import time

import pytest
import requests
from hunting import Client, Killer, Told, WORDS, sha256_of
from weirtest import wait_for

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("CRASH_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
UPLOADERS = 8
EDITORS = 2
LIFE_S = (0.02, 0.8)
SETTLE_S = 120
UPLOADS_MAX_A_ROUND = 300  # of all clients: the check looks at each


GONE = None


def rules_of(words):
    return "".join(f'rule has_{WORDS.index(w)} {{ strings: $a = "{w}" condition: $a }}\n' for w in words)


class Edited:
    """A ruleset as its one client knows it: as the last answer left it, or as asked since without an answer."""

    def __init__(self, user, number):
        self.user, self.number, self.id = user, number, None
        self.possible = []  # (rules, enabled) or GONE; the first is acknowledged

    def change(self, state, ask, *args, **kwargs):
        """The answer; a lost one leaves both states possible, and 503 changed nothing."""
        self.possible.append(state)
        answer = ask(*args, **kwargs)
        if answer.status_code == 200:
            self.possible = [state]
        else:
            assert answer.status_code == 503, answer.text
            self.possible.pop()
        return answer


class World:
    def __init__(self, server):
        self.server = server
        self.keys = {name: server.user(name) for name in ("ada", "ben", "eve")}
        self.lock = threading.Lock()
        self.serving = threading.Event()  # a life is on
        self.over = False
        self.contents = {}  # sha256: bytes, of everything that was ever sent
        self.uploads = []  # (sha256, analysis id) of every 200
        self.edited = []
        self.sent = 0  # in this round
        self.errors = []

    def run(self, job, number):
        def guarded():
            while not self.over and not self.errors:
                self.serving.wait()
                try:
                    job(self, number)
                except requests.RequestException:
                    pass  # the server is gone: what was asked may have happened or not
                except Exception as error:  # pylint: disable=broad-except
                    self.errors.append(f"{job.__name__}: {error!r}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def idle(self):
        """Enough was sent in this round, or none is on."""
        return self.over or not self.serving.is_set() or self.sent >= UPLOADS_MAX_A_ROUND


def content(r):
    words = r.sample(WORDS, r.randrange(4))
    parts = [r.randbytes(r.choice([20, 300, 3000, 40000]))] + [w.encode() + r.randbytes(8) for w in words]
    return b" ".join(parts)


def uploader(world, number):
    r = random.Random(f"{SEED} upload {number} {len(world.uploads)} {time.monotonic()}")
    client = Client(world.server, list(world.keys.values())[number % 3])
    while not world.idle():
        with world.lock:
            known = r.random() < 0.1 and list(world.contents.values())
            data = r.choice(known) if known else content(r)
            world.contents[sha256_of(data)] = data
            world.sent += 1
        answer = client.upload(data)
        if answer.status_code == 200:
            world.uploads.append((sha256_of(data), answer.json()["data"]["id"]))
        else:
            assert answer.status_code == 503, answer.text
    wait_for(lambda: world.over or not world.serving.is_set(), SETTLE_S, "the round does not end")


def editor(world, number):
    """One ruleset after the other is made, changed, switched and now and then deleted."""
    r = random.Random(f"{SEED} edit {number} {time.monotonic()}")
    user = ("ada", "ben")[number]
    client = Client(world.server, world.keys[user])
    mine = [e for e in world.edited if e.user == user and e.number == number and e.id and GONE not in e.possible]
    while not world.idle():
        if len(mine) < 4:
            state = (rules_of(r.sample(WORDS, 2)), True)
            one = Edited(user, number)
            world.edited.append(one)
            answer = one.change(state, client.create, "edited", *state)
            if answer.status_code == 200:
                one.id = int(answer.json()["data"]["id"])
                mine.append(one)
        elif r.random() < 0.1:
            one = mine.pop(r.randrange(len(mine)))
            one.change(GONE, client.remove, one.id)
        else:
            one, state = r.choice(mine), (rules_of(r.sample(WORDS, 2)), r.random() < 0.8)
            one.change(state, client.change, one.id, rules=state[0], enabled=state[1])
    wait_for(lambda: world.over or not world.serving.is_set(), SETTLE_S, "the round does not end")


def one_round(world, r):
    world.server.start()
    killer = Killer(world.server.process.pid, r.random(), (0.05, 0.4))
    killer.start()
    world.sent = 0
    world.serving.set()
    killer.stopped.wait(r.uniform(*LIFE_S))  # nobody sets it: a life of this length
    world.serving.clear()
    world.server.kill()
    killer.stop()
    return killer.killed


def check_uploads(world, client):
    for sha256, analysis in dict.fromkeys(world.uploads):
        answer = client.ask("GET", f"/files/{sha256}/download")
        assert answer.status_code == 200 and sha256_of(answer.content) == sha256, f"{sha256}: {answer.status_code}"
        wait_for(lambda: client.ask("GET", f"/analyses/{analysis}").json()["data"]["attributes"]["status"]
                 == "completed", SETTLE_S, f"analysis {analysis} is not completed")


def check_edits(world, clients):
    for one in world.edited:
        if one.id is None:
            continue  # its creation was never answered
        answer = clients[one.user].ask("GET", f"/intelligence/hunting_rulesets/{one.id}")
        stands = GONE
        if answer.status_code == 200:
            attributes = answer.json()["data"]["attributes"]
            assert "suspended" not in attributes, attributes
            stands = (attributes["rules"], attributes["enabled"])
        assert stands in one.possible, f"{one.id} is {stands}, which is none of {one.possible}"


def queue_is_empty(server):
    db = sqlite3.connect(f"file:{server.data / 'weir.db'}?mode=ro", uri=True)
    try:
        return db.execute("SELECT count(*) FROM analysis WHERE state < 2").fetchone() == (0,)
    finally:
        db.close()


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_nothing_acknowledged_is_lost(server, tmp_path):
    print(f"CRASH_SEED={SEED} CRASH_ROUNDS={ROUNDS}")
    r = random.Random(SEED)
    world = World(server)
    server.start()
    steady = Client(server, world.keys["eve"]).create("steady", rules_of(WORDS), True)
    assert steady.status_code == 200, steady.text
    server.stop()
    jobs = [world.run(uploader, i) for i in range(UPLOADERS)] + [world.run(editor, i) for i in range(EDITORS)]
    killed = sum(one_round(world, r) for _ in range(ROUNDS) if not world.errors)
    world.over = True
    world.serving.set()
    for job in jobs:
        job.join()
    assert not world.errors, world.errors

    server.start()
    clients = {name: Client(server, key) for name, key in world.keys.items()}
    check_uploads(world, clients["eve"])
    check_edits(world, clients)
    # What was stored though its answer was lost is hunted too.
    wait_for(lambda: queue_is_empty(server), SETTLE_S, "analyses are left in the queue")
    streams = {name: client.stream() for name, client in clients.items()}
    server.stop()
    told = Told.read(server.data, tmp_path)
    problems = told.check(world.contents, streams)
    for sha256, analysis in world.uploads:
        if analysis not in {a.id for a in told.analyses}:
            problems.append(f"analysis {analysis} is gone")
    print(f"{len(world.uploads)} uploads acknowledged, {len(told.analyses)} analyses, {told.last} generations, "
          f"{sum(map(len, streams.values()))} notifications, {killed} scanners killed")
    assert not problems, "\n".join(problems[:20])
    verified = server.command("verify")
    assert verified.returncode == 0, verified.stdout
    assert not server.new_errors()
    assert len(world.uploads) > 5 * ROUNDS and told.last > ROUNDS
