"""Clients upload, edit, switch and delete while scanners are killed; a plain scan judges what was told.

MODEL_SECONDS is how long they do (default 8), MODEL_SEED repeats a run's lots (not its timing).
"""

import os
import random
import threading
import time

import pytest
import weirtest
from hunting import Client, Killer, Told, ruleset_text, sample_bytes, sha256_of

SECONDS = float(os.environ.get("MODEL_SECONDS", "8"))
SEED = int(os.environ.get("MODEL_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
USERS = 5
RULESETS_EACH = 9
UPLOADERS = 6
ANALYSES_PER_S = 150  # no more: judging them takes longer than hunting
SETTLE_S = 120


class Ruleset:
    """What its one client knows: how many changes of what hunts were answered."""

    def __init__(self, answer, text, enabled):
        self.id = int(answer["data"]["id"])
        self.text, self.enabled = text, enabled
        self.changes = int(enabled)


class World:
    def __init__(self, server):
        self.server = server
        self.random = random.Random(SEED)
        self.keys = {name: server.user(name) for name in (f"user{i}" for i in range(USERS))}
        self.lock = threading.Lock()
        self.contents = {}  # sha256: bytes
        self.answered = []  # (ruleset, how many of its changes), in order of the answers
        self.acknowledged = []  # (analysis id, edits answered before it was sent)
        self.errors = []
        self.until = 0

    def over(self):
        enough = len(self.acknowledged) >= ANALYSES_PER_S * SECONDS
        return enough or time.monotonic() > self.until or self.errors

    def run(self, job, *args):
        def guarded():
            try:
                job(*args)
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(f"{job.__name__}: {error!r}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread


def must(answer):
    assert answer.status_code == 200, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def persist(ask, *args, **kwargs):
    """A change whose compiling scanner was killed each time it was tried is refused with 503, and did nothing."""
    while (answer := ask(*args, **kwargs)).status_code == 503:
        pass
    return must(answer)


def uploader(world, number):
    r = random.Random(SEED * 1000 + number)
    client = Client(world.server, list(world.keys.values())[number % USERS])
    while not world.over():
        with world.lock:
            known = list(world.contents.values()) if r.random() < 0.15 else None
        content = r.choice(known) if known else sample_bytes(r)
        with world.lock:
            world.contents[sha256_of(content)] = content
            edits = len(world.answered)
        if known and r.random() < 0.5:
            answer = client.ask("POST", f"/files/{sha256_of(content)}/analyse")
            if answer.status_code == 404:
                continue  # its upload is still under way
        else:
            answer = client.upload(content)
        world.acknowledged.append((must(answer)["data"]["id"], edits))


def editor(world, number):
    r = random.Random(SEED * 2000 + number)
    client = Client(world.server, list(world.keys.values())[number])
    mine = []
    while not world.over():
        if len(mine) < RULESETS_EACH or r.random() < 0.1:
            text, enabled = ruleset_text(r), r.random() < 0.9
            one = Ruleset(persist(client.create, f"set {len(mine)}", text, enabled), text, enabled)
            mine.append(one)
        else:
            one = r.choice(mine)
            one.changes += edit(client, r, one, mine)
        with world.lock:
            world.answered.append((one.id, one.changes))


def edit(client, r, one, mine):
    """One change of it; whether that concerns hunting."""
    kind = r.random()
    if kind < 0.08:
        mine.remove(one)
        must(client.remove(one.id))
        return one.enabled
    if kind < 0.3:
        was, one.enabled = one.enabled, r.random() < 0.6
        must(client.change(one.id, enabled=one.enabled))
        return was != one.enabled
    if kind < 0.4:
        must(client.change(one.id, name=f"renamed {r.randrange(100)}"))
        return False
    old, one.text = one.text, ruleset_text(r)
    persist(client.change, one.id, rules=one.text)
    return one.enabled and old != one.text


def wait_for_hunts(world, client):
    """The generation that each acknowledged analysis was hunted with."""

    def completed(analysis):
        attributes = must(client.ask("GET", f"/analyses/{analysis}"))["data"]["attributes"]
        return attributes if attributes["status"] == "completed" else None

    return {analysis: weirtest.wait_for(lambda: completed(analysis), SETTLE_S, f"analysis {analysis} is not completed")
            .get("hunting_generation", 0) for analysis in {one for one, _ in world.acknowledged}}


def generation_after(told, answered):
    """For n edits answered the generation that was reached, n = 0, 1, ..."""
    reached = [0]
    for ruleset, changes in answered:
        now = told.changes[ruleset][changes - 1][0] if changes else 0
        reached.append(max(reached[-1], now))
    return reached


@pytest.mark.timeout(60 + 10 * SECONDS + 2 * SETTLE_S)
def test_what_is_told_is_what_a_plain_scan_finds(server, tmp_path):
    print(f"MODEL_SEED={SEED} MODEL_SECONDS={SECONDS:g}")
    world = World(server)
    server.start()
    world.until = time.monotonic() + SECONDS
    killer = Killer(server.process.pid, SEED, (0.01, 0.15))
    killer.start()
    jobs = [world.run(uploader, world, i) for i in range(UPLOADERS)]
    jobs += [world.run(editor, world, i) for i in range(USERS)]
    for job in jobs:
        job.join()
    killer.stop()
    assert not world.errors, world.errors
    clients = {name: Client(server, key) for name, key in world.keys.items()}
    generations = wait_for_hunts(world, clients["user0"])
    streams = {name: client.stream() for name, client in clients.items()}
    server.stop()

    told = Told.read(server.data, tmp_path)
    problems = told.check(world.contents, streams)
    reached = generation_after(told, world.answered)
    for analysis, edits in world.acknowledged:
        if generations[analysis] < reached[edits]:
            problems.append(f"{analysis} was hunted at {generations[analysis]}, acknowledged after {reached[edits]}")
    notifications = sum(map(len, streams.values()))
    print(f"{len(world.contents)} files, {len(told.analyses)} analyses, {len(told.owners)} rulesets, "
          f"{told.last} generations, {notifications} notifications, {killer.killed} scanners killed")
    assert not problems, "\n".join(problems[:20])
    assert not server.new_errors()
    # A run that did next to nothing proves nothing.
    assert len(told.analyses) > 50 and told.last > 30 and notifications > 50 and killer.killed > 2
