"""kill -9 of the server at random under ingest, merges of the index and running Retrohunt jobs.

After the last round every job that was answered has ended by itself and told exactly what it had to, each
match once; a last job finds every acknowledged file; `weir verify` finds nothing. CRASH_ROUNDS is how many
rounds (default 6), CRASH_SEED repeats their lots.
"""

import os
import random
import sqlite3
import threading
import time
from dataclasses import dataclass

import pytest
import requests
from hunting import Client, WORDS, sha256_of
from weirtest import Server, wait_for

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("CRASH_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
UPLOADERS, HUNTERS = 4, 2
LIFE_S = (0.05, 1.2)
LONG_EVERY = 6  # so many lives are followed by one in which jobs end: a user may have ten at a time
SETTLE_S = 240
UPLOADS_MAX_A_ROUND, JOBS_MAX_A_ROUND = 60, 3  # the check looks at each pair of them
BIG_BYTES = (4 << 20) + 70_000  # of several chunks
# Segments come and merge at once.
SETTINGS = ("--unpack-depth-max=0", "--retrohunt-matches-max=1000000", "--index-seconds=0", "--index-merge-fan=2")


@dataclass
class Job:
    number: int
    words: list
    before: set  # acknowledged when it was sent
    gone: set  # removed, and answered so, when it was sent
    name: str = ""  # "": its answer was lost
    aborted: bool = False  # asked for

    @property
    def rules(self):
        return f"// job {self.number}\nrule any_file {{ condition: filesize >= 0 }}\n" + "".join(
            f'rule has_{WORDS.index(w)} {{ strings: $a = "{w}" condition: $a }}\n' for w in self.words)

    def pairs(self, contents):
        return {(sha, "any_file") for sha in contents} | {
            (sha, f"has_{WORDS.index(w)}") for sha, data in contents.items() for w in self.words if w.encode() in data}


class World:
    def __init__(self, server):
        self.server = server
        self.keys = {"root": server.user("root", "admin"), "ann": server.user("ann")}
        self.lock = threading.Lock()
        self.serving, self.over = threading.Event(), False
        self.contents = {}  # all that was ever sent
        self.acknowledged, self.removing, self.gone = set(), set(), set()
        self.jobs, self.errors = [], []
        self.uploads_left = self.jobs_left = 0

    def take(self, what):
        """One more of these in this round?"""
        with self.lock:
            left = getattr(self, what)
            setattr(self, what, left - 1)
        return self.serving.is_set() and not self.over and left > 0

    def run(self, job, number):
        def guarded():
            r = random.Random(f"{SEED} {job.__name__} {number}")
            while not self.over and not self.errors:
                self.serving.wait()
                try:
                    job(self, r)
                except requests.RequestException:
                    pass  # the server is gone: what was asked may have happened or not
                except Exception as error:  # pylint: disable=broad-except
                    self.errors.append(f"{job.__name__}: {error!r}")
                wait_for(lambda: self.over or not self.serving.is_set(), SETTLE_S, "the round does not end")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread


def content(r):
    parts = [r.randbytes(r.choice([5, 300, 3000, 40000]))] + [w.encode() for w in r.sample(WORDS, r.randrange(4))]
    if r.random() < 0.02:
        parts.insert(1, bytes(BIG_BYTES))
    return b" ".join(parts)


def uploader(world, r):
    client = Client(world.server, world.keys["ann"])
    while world.take("uploads_left"):
        data = content(r)
        with world.lock:
            world.contents[sha256_of(data)] = data
        answer = client.upload(data)
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200:
            with world.lock:
                world.acknowledged.add(sha256_of(data))
        if r.random() < 0.05:
            remove(world, r)


def remove(world, r):
    with world.lock:
        victim = r.choice(sorted(world.acknowledged - world.removing))
        world.removing.add(victim)
    answer = Client(world.server, world.keys["root"]).ask("DELETE", f"/files/{victim}")
    assert answer.status_code in (200, 503), answer.text
    if answer.status_code == 200:
        with world.lock:
            world.gone.add(victim)


def hunter(world, r):
    client = Client(world.server, world.keys["ann"])
    while world.take("jobs_left"):
        with world.lock:
            job = Job(len(world.jobs), r.sample(WORDS, r.randint(1, 4)), set(world.acknowledged), set(world.gone))
            world.jobs.append(job)
        answer = client.ask("POST", "/intelligence/retrohunt_jobs", json={
            "data": {"type": "retrohunt_job", "attributes": {"rules": job.rules}}})
        if answer.status_code in (429, 503):  # too many run already, or scanners were not there yet
            continue
        assert answer.status_code == 200, answer.text
        job.name = answer.json()["data"]["id"]
        if r.random() < 0.1:
            job.aborted = True
            answer = client.ask("POST", f"/intelligence/retrohunt_jobs/{job.name}/abort")
            assert answer.status_code in (200, 400), answer.text  # 400: it had finished


def one_round(world, r, number):
    world.server.start()
    if number % LONG_EVERY == LONG_EVERY - 1:
        wait_jobs(world.server)
    with world.lock:
        world.uploads_left, world.jobs_left = UPLOADS_MAX_A_ROUND, JOBS_MAX_A_ROUND
    world.serving.set()
    threading.Event().wait(r.uniform(*LIFE_S))  # a life of this length
    world.serving.clear()
    world.server.kill()


def rows(server, query, *values):
    db = sqlite3.connect(f"file:{server.data / 'weir.db'}?mode=ro", uri=True, timeout=30)
    try:
        return db.execute(query, values).fetchall()
    finally:
        db.close()


def wait_jobs(server):
    wait_for(lambda: rows(server, "SELECT count(*) FROM retrohunt_job WHERE status NOT IN ('finished', 'aborted')") == [(0,)],
             SETTLE_S, "jobs do not end")


def check_job(world, number, name, status, rules):
    """Lines of what is wrong with one job."""
    job = world.jobs[int(rules.split()[2])]
    listed = [(sha.hex(), rule) for sha, rule in rows(world.server, "SELECT sha256, rule FROM retrohunt_match WHERE job_id = ?", number)]
    streamed = [(sha.hex(), rule) for sha, rule in rows(
        world.server, "SELECT entity_id, rule FROM sighting WHERE source_kind = 2 AND source_id = ?", number)]
    problems = [f"{name}: told twice" for told in (listed, streamed) if len(told) != len(set(told))]
    if set(listed) != set(streamed):
        problems.append(f"{name}: {len(set(listed) ^ set(streamed))} matches are in the job or the stream alone")
    with world.lock:
        may = job.pairs({sha: data for sha, data in world.contents.items() if sha not in job.gone})
        must = job.pairs({sha: world.contents[sha] for sha in job.before - world.removing})
    problems += [f"{name}: {pair} told, is not there" for pair in set(listed) - may]
    if status == "finished":
        problems += [f"{name}: MISSED {pair}" for pair in must - set(listed)]
    elif status != "aborted" or not job.aborted:
        problems.append(f"{name}: is {status}")
    return problems[:5]


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_jobs_survive(weir_bin, tmp_path):
    print(f"CRASH_SEED={SEED} CRASH_ROUNDS={ROUNDS}")
    r = random.Random(SEED)
    server = Server(weir_bin, tmp_path / "weir", *SETTINGS)
    try:
        world = World(server.start())
        server.stop()
        threads = [world.run(uploader, i) for i in range(UPLOADERS)] + [world.run(hunter, i) for i in range(HUNTERS)]
        resumed = 0
        for number in range(ROUNDS):
            one_round(world, r, number)
            resumed += rows(server, "SELECT count(*) FROM retrohunt_job WHERE status IN ('starting', 'running')")[0][0]
            if world.errors:
                break
        world.over = True
        world.serving.set()
        for thread in threads:
            thread.join()
        assert not world.errors, world.errors
        server.start()
        check_all(world, resumed)
        server.stop()
    finally:
        if server.process:
            server.kill()


def check_all(world, resumed):
    server, client = world.server, Client(world.server, world.keys["ann"])
    wait_jobs(server)
    problems = [p for row in rows(server, "SELECT id, name, status, rules FROM retrohunt_job WHERE deleted = 0")
                for p in check_job(world, *row)]
    named = {name for name, in rows(server, "SELECT name FROM retrohunt_job")}
    problems += [f"job {job.name} was answered and is gone" for job in world.jobs if job.name and job.name not in named]
    assert not problems, "\n".join(problems[:20])

    last = Job(0, [], set(), set())
    answer = client.ask("POST", "/intelligence/retrohunt_jobs", json={
        "data": {"type": "retrohunt_job", "attributes": {"rules": last.rules}}})
    assert answer.status_code == 200, answer.text
    name = answer.json()["data"]["id"]
    ended = wait_for(lambda: (a := client.ask("GET", f"/intelligence/retrohunt_jobs/{name}").json()["data"]["attributes"])["status"]
                     == "finished" and a, SETTLE_S, "the last job does not end")
    found = {sha.hex() for sha, in rows(server, "SELECT m.sha256 FROM retrohunt_match m JOIN retrohunt_job j ON j.id = m.job_id WHERE j.name = ?", name)}
    assert ended["complete"] and world.acknowledged - world.removing <= found <= set(world.contents) - world.gone
    segments, merged = rows(server, "SELECT count(*), max(level) FROM segment")[0]
    verified = server.command("verify", check=False)
    assert verified.returncode == 0, verified.stdout
    assert not server.new_errors()
    print(f"{len(world.acknowledged)} files acknowledged, {len(world.gone)} removed, {len(world.jobs)} jobs, killed under {resumed} of them, "
          f"{segments} segments, merged {merged} deep")
    assert len(world.acknowledged) > 5 * ROUNDS and len(named) > ROUNDS // 5 and segments
    assert resumed or ROUNDS < 50  # by luck in a short run
