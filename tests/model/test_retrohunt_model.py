"""Retrohunt misses nothing: rules by lot over files of all kinds, and the YARA-X wheel over each of them.

What a job tells, in its own list and in the IoC Stream, must be exactly what a plain scan finds of
the files that were there when it was made. Meanwhile files are stored and removed, segments are
written and merged. RECALL_SECONDS is how long (default 12), RECALL_SEED repeats a run's lots;
RECALL_FILES names a folder with more real files.
"""

import os
import random
import shutil
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hunting import Client, sha256_of
from recall_files import Facts, big_sample, real_programs, sample
from recall_judge import Judge
from recall_rules import forced, source_by_lot
from weirtest import Server, wait_for

SECONDS = float(os.environ.get("RECALL_SECONDS", "12"))
SEED = int(os.environ.get("RECALL_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
SOURCES_A_ROUND = 24
FILES_A_ROUND = 160
JOBS_AT_ONCE = 4
FILES_MAX = 2500  # of one server: the judge scans each of them for each job
SETTLE_S = 120
# Segments are written at once and merged often.
SETTINGS = ("--unpack-depth-max=0", "--log-requests=false", "--retrohunt-matches-max=1000000", "--index-seconds=0", "--index-merge-fan=2")


class World:
    def __init__(self, server, tmp_path, seed):
        self.server, self.folder = server, tmp_path / "ingest"
        self.r = random.Random(seed)
        self.programs = real_programs()
        self.facts = Facts(self.programs)
        self.contents = {}  # by SHA-256, removed ones too
        self.removing, self.gone = set(), set()  # asked for, answered
        self.lock = threading.Lock()
        self.counted = Counter()

    # ---- Files ----

    def store(self, contents, corpus="main"):
        self.folder.mkdir()
        with self.lock:  # what was removed stays so: whether a job saw it before or after nobody could say
            contents = [c for c in contents if sha256_of(c) not in self.removing]
        for content in contents:
            (self.folder / sha256_of(content)).write_bytes(content)
        self.server.command("ingest", self.folder, "--corpus", corpus)
        shutil.rmtree(self.folder)
        with self.lock:
            self.contents.update((sha256_of(c), c) for c in contents)

    def files_for(self, sources):
        r = self.r
        files = [sample(r, sources, self.programs) for _ in range(FILES_A_ROUND)]
        files += [big_sample(r, sources) for _ in range(3)]
        for number, source in enumerate(sources):  # each plant is in some file
            for plants in source.plants:
                for turn in range(max(map(len, plants), default=0)):
                    files.append(b" ".join(some[turn % len(some)] for some in plants) + b" %d" % number)
        return list(dict.fromkeys(files))

    def remove_some(self, client, count):
        with self.lock:
            victims = self.r.sample(sorted(set(self.contents) - self.removing), count)
            self.removing.update(victims)
        for victim in victims:
            answer = client.ask("DELETE", f"/files/{victim}")
            assert answer.status_code == 200, answer.text
            with self.lock:
                self.gone.add(victim)

    def rows(self, query, *values):
        db = sqlite3.connect(f"file:{self.server.data / 'weir.db'}?mode=ro", uri=True, timeout=30)
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()

    # ---- Jobs ----

    def hunt(self, key, source, corpus, time_range):
        """One job from the beginning to the end, judged; a line of what is wrong, or None."""
        client = Client(self.server, key)
        attributes = {"rules": source.text, "corpus": corpus}
        if time_range:
            attributes["time_range"] = time_range
        with self.lock:
            before, gone = set(self.contents), set(self.gone)
        answer = client.ask("POST", "/intelligence/retrohunt_jobs", json={"data": {"type": "retrohunt_job", "attributes": attributes}})
        if answer.status_code == 400 and "slow" in answer.text:
            self.counted["refused"] += 1
            return None
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}\n{source.text}"
        job = answer.json()["data"]["id"]
        ended = wait_for(lambda: self.ended(client, job), SETTLE_S, f"job {job} does not end")
        with self.lock:
            after, removing = dict(self.contents), set(self.removing)
        where = {sha.hex(): (in_corpus, last) for sha, in_corpus, last in
                 self.rows("SELECT sha256, corpus, last_submission_s FROM file")}
        start, end = (time_range or {}).get("start", 0), (time_range or {}).get("end", 1 << 40)
        wanted = {sha for sha, (in_corpus, last) in where.items() if in_corpus == corpus and start <= last <= end}
        judge = Judge(source.text)
        found = {(sha, rule) for sha in after for rule in judge.rules_of(after[sha])}
        must = {(sha, rule) for sha, rule in found if sha in before and sha not in removing and sha in wanted}
        may = {(sha, rule) for sha, rule in found if sha not in gone and (sha in wanted or sha in removing)}
        return self.compare(client, job, ended, must, may, source)

    def ended(self, client, job):
        attributes = client.ask("GET", f"/intelligence/retrohunt_jobs/{job}").json()["data"]["attributes"]
        return attributes if attributes["status"] in ("finished", "aborted") else None

    def compare(self, client, job, ended, must, may, source):
        number, checked, verified = self.rows("SELECT id, files, verified_files FROM retrohunt_job WHERE name = ?", job)[0]
        listed = [(sha.hex(), rule) for sha, rule in self.rows("SELECT sha256, rule FROM retrohunt_match WHERE job_id = ?", number)]
        streamed = [(sha.hex(), rule) for sha, rule in
                    self.rows("SELECT entity_id, rule FROM sighting WHERE source_kind = 2 AND source_id = ?", number)]
        problems = []
        for what, told in (("the job", listed), ("the stream", streamed)):
            if len(told) != len(set(told)):
                problems.append(f"{what} tells some matches twice")
            problems += [f"MISSED by {what}: rule {rule} of {sha}" for sha, rule in sorted(must - set(told))]
            problems += [f"{what} tells what does not match: rule {rule} of {sha}" for sha, rule in sorted(set(told) - may)]
        if not (ended["status"] == "finished" and ended["complete"] and ended["progress"] == 100):
            problems.append(f"it ended as {({k: v for k, v in ended.items() if k != 'rules'})}")
        if ended["num_matches"] != len(listed):
            problems.append(f"num_matches is {ended['num_matches']}, there are {len(listed)}")
        if self.r.random() < 0.1:
            problems += self.compare_lists(client, job, {sha for sha, _ in listed})
        with self.lock:
            self.counted.update(jobs=1, pairs=len(must), checked_files=checked, verified_files=verified)
        return f"job {job}:\n  " + "\n  ".join(problems[:10]) + f"\nits rules:\n{source.text}" if problems else None

    @staticmethod
    def compare_lists(client, job, files):
        """What the API says of matching files against the rows behind it."""
        told, cursor = [], None
        while True:
            answer = client.ask("GET", f"/intelligence/retrohunt_jobs/{job}/relationships/matching_files",
                                params={"limit": 40, **({"cursor": cursor} if cursor else {})}).json()
            told += [item["id"] for item in answer["data"]]
            cursor = answer["meta"].get("cursor")
            if not cursor:
                break
        there = set(told)
        return [] if len(there) == len(told) and there <= files else [f"matching_files: {len(told)} entries, {len(files)} files"]

    def wait_indexed(self):
        wait_for(lambda: self.rows("SELECT count(*) FROM file f WHERE NOT EXISTS "
                                   "(SELECT 1 FROM segment s WHERE f.id BETWEEN s.first_id AND s.last_id)") == [(0,)],
                 SETTLE_S, "files are not indexed")

    def segments(self):
        return self.rows("SELECT count(*), max(level), sum(docs) FROM segment")[0]


def times(world):
    """A range of last submissions that parts the files, or none."""
    if world.r.random() < 0.7:
        return None
    seen = sorted(last for (last,) in world.rows("SELECT DISTINCT last_submission_s FROM file"))
    cut = world.r.choice(seen)
    return world.r.choice([{"start": cut}, {"end": cut}, {"start": seen[0], "end": cut}, {"start": cut, "end": cut}])


def one_round(world, keys, number):
    r = world.r
    sources = [source_by_lot(r, world.facts) for _ in range(SOURCES_A_ROUND)]
    if number == 0:
        sources = list(forced(r)) + sources
    files = world.files_for(sources)
    extra = world.programs[number::4] if number < 4 else []
    late = len(files) // 5
    world.store(files[late:] + extra)
    if number == 0:
        world.store([b"", b"a", b"MZ", *(r.randbytes(n) for n in range(3, 9))])
    world.store([sample(r, sources, world.programs) for _ in range(25)], "goodware")
    if number == 0 or r.random() < 0.6:
        world.wait_indexed()  # else some of it is while they run
    corpora = [r.choices(["main", "goodware"], [9, 1])[0] for _ in sources]
    ranges = [times(world) for _ in sources]
    admin = Client(world.server, keys["admin"])
    with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
        running = [pool.submit(world.hunt, keys["hunter"], source, corpus, time_range)
                   for source, corpus, time_range in zip(sources, corpora, ranges)]
        world.store(files[:late])  # while they run
        world.remove_some(admin, 6)
        return [p for p in (one.result() for one in running) if p]


def one_life(world, until, sums):
    """Rounds on one server until it has enough files, or the time is over and segments were merged.

    Whether a round's segments are alike enough to be merged depends on how fast it was."""
    server, number = world.server, 0
    server.start()
    keys = {"admin": server.user("root", "admin"), "hunter": server.user("hunter")}
    while (time.monotonic() < until or not world.segments()[1]) and len(world.contents) < FILES_MAX:
        problems = one_round(world, keys, number)
        assert not problems, f"life {sums['lives']}, round {number}:\n" + "\n".join(problems[:5])
        number += 1
    wait_for(lambda: world.segments()[1], SETTLE_S, "nothing is merged")
    _, level, docs = world.segments()
    verified = server.command("verify", check=False)
    assert verified.returncode == 0, verified.stdout
    assert not server.new_errors()
    server.stop()
    sums.update(world.counted)
    sums.update(lives=1, rounds=number, files=len(world.contents), indexed=docs or 0, merges=level or 0)


@pytest.mark.timeout(120 + 6 * SECONDS)
def test_jobs_tell_what_a_plain_scan_finds(weir_bin, tmp_path):
    print(f"RECALL_SEED={SEED} RECALL_SECONDS={SECONDS:g}")
    until = time.monotonic() + SECONDS
    seeds = random.Random(SEED)
    sums = Counter()
    while not sums["lives"] or time.monotonic() < until:
        # Most lives scan the rules of a source in parts, however little that gains.
        parts = ["--retrohunt-split-ms=0"] if seeds.random() < 0.7 else []
        server = Server(weir_bin, tmp_path / f"life{sums['lives']}", *SETTINGS, *parts)
        try:
            one_life(World(server, tmp_path, seeds.randrange(1 << 30)), until, sums)
        finally:
            if server.process:
                server.kill()
        shutil.rmtree(server.data)
    print(", ".join(f"{name} {count}" for name, count in sums.items()))
    # A run that did next to nothing, or looked at every file, proves nothing of the index.
    assert sums["jobs"] >= 20 and sums["pairs"] > 100 and sums["merges"] > 0 and sums["indexed"] > sums["files"] / 2
    assert sums["refused"] < sums["jobs"] / 2
    assert sums["verified_files"] < 0.7 * sums["checked_files"]
