"""Rulesets and samples by lot, and what hunting must have told of them.

The judge is the YARA-X wheel: for every analysis the rulesets that were live at its recorded
generation, by the server's own log of changes, are run plainly over the sample's bytes.
"""

import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import threading
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import yara_x
from weirtest import direct_session

PAGE = 40

WORDS = ["invoice", "Payload", "weirdness", "GetProcAddress", "cmd.exe /c", "powershell", "mutex_77", "beacon",
         "xmrig", "SELECT * FROM", "update.php", "kernel32", "deadbeef", "trout", "salmon run", "fishladder"]
WORDS += [f"{a}{b}" for a in ("tarn", "Brook", "river", "Delta", "pool") for b in ("gate", "Stone", " bank", "_fall", "mill", "ford")]
CODES = [bytes.fromhex(h) for h in ("558bec83ec40", "e80000000058", "4d5a90000300", "31c0648b4030", "cc90cc90cc90c3")]
HEADS = [b"MZ\x90\x00", b"\x7fELF\x02\x01\x01", b"%PDF-1.7\n", b"PK\x03\x04", b"", b"", b"#!/bin/sh\n"]


# ---- Rules ----

def hex_text(r, code):
    """A hex string that finds `code`, with wildcards, a jump or alternatives."""
    parts = [f"{b:02x}" for b in code]
    at = r.randrange(1, len(parts) - 1)
    parts[at] = r.choice(["??", f"{parts[at][0]}?", f"({parts[at]} | 00)", "[1]", "[0-2]"])
    return "{ " + " ".join(parts) + " }"


def one_string(r, name):
    kind = r.randrange(8)
    word = r.choice(WORDS)
    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    if kind < 3:
        return f'{name} = "{quoted}"'
    if kind == 3:
        return f'{name} = "{quoted}" {r.choice(["nocase", "nocase ascii wide", "fullword", "fullword nocase"])}'
    if kind == 4:
        return f'{name} = "{quoted}" {r.choice(["wide", "ascii wide", "xor(1-3)", "base64"])}'
    if kind == 5:
        return f"{name} = {hex_text(r, r.choice(CODES))}"
    if kind == 6:
        return f"{name} = /id={r.choice(['[0-9]{2,4}', '[0-9a-f]+', '(12|77)[0-9]'])};/"
    return f"{name} = /{word[:4]}[a-z]{{0,4}}{r.choice(['', '[ =]', '.{0,6}e'])}/{r.choice(['', 'i'])}"


def one_condition(r, names):
    name = r.choice(names)
    return r.choice([
        "any of them", "all of them", f"{min(2, len(names))} of them", name, name, f"not {name} and filesize < 4KB",
        f"#{name[1:]} > {r.randrange(3)}", f"{name} at 0", f"{name} in (0..{r.choice([100, 2000])})",
        f"filesize < {r.choice([300, 2000, 8000])} and any of them", f"uint16(0) == 0x5a4d and {name}",
        f"uint32be(0) == 0x7f454c46 or {name}", f"@{name[1:]} < 1000", f"for any i in (1..2) : (@{name[1:]}[i] > 64)",
    ])


def one_rule(r, name):
    if r.random() < 0.12:  # of the file as a whole
        return f"rule {name} {{ condition: " + r.choice([
            f"filesize > {r.choice([1000, 5000])}", "uint16(0) == 0x5a4d", "pe.is_pe", "math.entropy(0, filesize) > 7.0",
            f'hash.md5(0, filesize) == "{"0" * 32}"', "elf.type == elf.ET_EXEC or filesize < 200"]) + " }\n"
    names = [f"$s{i}" for i in range(r.choice([1, 1, 2, 3]))]
    strings = "\n    ".join(one_string(r, n) for n in names)
    condition = one_condition(r, names)
    if r.random() < 0.3:
        condition = f"({condition}) {r.choice(['and', 'or'])} ({one_condition(r, names)})"
    used = " or ".join(f"#{n[1:]} > 100000" for n in names)  # a string that nothing uses is refused
    kind = "private rule" if r.random() < 0.05 else "rule"
    return f"{kind} {name} : tag_{r.randrange(5)} {{\n  strings:\n    {strings}\n  condition:\n    ({condition}) or {used}\n}}\n"


def ruleset_text(r):
    text = 'import "pe"\nimport "elf"\nimport "math"\nimport "hash"\n'
    if r.random() < 0.1:
        text += "global rule not_huge { condition: filesize < 60KB }\n"
    return text + "".join(one_rule(r, f"r{r.randrange(12)}_{i}") for i in range(r.choice([1, 2, 3, 5])))


# ---- Samples ----

def sample_bytes(r):
    """Noise with a head and some of what rules look for, never the same twice."""
    parts = [r.choice(HEADS)]
    for _ in range(r.choice([1, 2, 4, 9])):
        word = r.choice(WORDS)
        code = bytearray(r.choice(CODES))
        parts.append(r.choice([
            lambda: word.encode(), lambda: word.upper().encode(), lambda: word.encode("utf-16-le"),
            lambda: bytes(b ^ r.randrange(1, 4) for b in word.encode()), lambda: bytes(code),
            lambda: f"id={r.randrange(3000)};".encode(), lambda: f" {word} ".encode(),
        ])())
        parts.append(r.choice([b" ", b"=", b"\0", r.randbytes(r.choice([3, 40, 700]))]))
    parts.append(r.randbytes(r.choice([16, 16, 400, 20000])))
    return b"".join(parts)


# ---- The judge ----

@functools.lru_cache(maxsize=None)
def scanner(text):
    return yara_x.Scanner(yara_x.compile(text))  # making one costs more than many scans


@functools.lru_cache(maxsize=None)
def matching(text, sha256, content):
    """Names of the rules of this source that match; private ones are not told."""
    return frozenset(rule.identifier for rule in scanner(text).scan(content).matching_rules)


@dataclass
class Analysis:
    id: str
    sha256: str
    generation: int
    completed: bool
    not_run: str


@dataclass
class Told:
    """What the database of a stopped server says, read from a copy."""
    analyses: list
    changes: dict  # ruleset: [(generation, version, change)], ascending
    rules: dict  # (ruleset, version): text
    owners: dict  # ruleset: user name
    last: int  # generation
    problems: list = field(default_factory=list)

    @classmethod
    def read(cls, data, scratch):
        copy = Path(scratch) / "copy"
        copy.mkdir(parents=True)
        for name in ("weir.db", "weir.db-wal"):
            if (Path(data) / name).exists():
                shutil.copy(Path(data) / name, copy / name)
        db = sqlite3.connect(copy / "weir.db")
        analyses = [Analysis(f"f-{sha.hex()}-{intake}", sha.hex(), generation or 0, state == 2, not_run or "")
                    for sha, intake, generation, state, not_run in db.execute(
                        "SELECT f.sha256, a.intake, a.generation, a.state, a.not_run "
                        "FROM analysis a JOIN file f ON f.id = a.file_id")]
        changes, last = {}, 0
        for number, ruleset, version, change in db.execute(
                "SELECT number, ruleset_id, ruleset_version, change FROM generation ORDER BY number"):
            changes.setdefault(ruleset, []).append((number, version, change))
            last = number
        rules = {(ruleset, version): text
                 for ruleset, version, text in db.execute("SELECT ruleset_id, version, rules FROM ruleset_version")}
        owners = dict(db.execute("SELECT r.id, u.name FROM ruleset r JOIN user u ON u.id = r.owner_id"))
        db.close()
        return cls(analyses, changes, rules, owners, last)

    def live_version(self, ruleset, generation):
        """The version that hunted at this generation, or None."""
        changes = self.changes[ruleset]
        at = bisect_right(changes, generation, key=lambda c: c[0])
        if not at or changes[at - 1][2] in ("disable", "delete", "suspend"):
            return None
        return changes[at - 1][1]

    def stopped_after(self, ruleset, generation):
        return any(n > generation and change in ("disable", "delete", "suspend")
                   for n, _, change in self.changes[ruleset])

    def expected(self, contents):
        """By user name: pairs that must have been told, and those that may have been, as (ruleset, rule, sha256)."""
        must, may = {}, {}
        for analysis in self.analyses:
            content = contents[analysis.sha256]
            for ruleset, owner in self.owners.items():
                if ruleset not in self.changes:
                    continue  # never live
                version = self.live_version(ruleset, analysis.generation)
                if version is None:
                    continue
                to = may if self.stopped_after(ruleset, analysis.generation) else must
                for rule in matching(self.rules[ruleset, version], analysis.sha256, content):
                    to.setdefault(owner, set()).add((ruleset, rule, analysis.sha256))
        return must, may

    def check(self, contents, streams):
        """Problems of `streams`, {user: [(ruleset, rule, sha256), ...]}, as lines; none is good."""
        problems = [f"analysis {a.id} of a sample that nobody sent" for a in self.analyses if a.sha256 not in contents]
        problems += [f"analysis {a.id} is not completed" for a in self.analyses if not a.completed]
        # Contents begin like containers and go on as they like: that nothing could be taken out is right.
        problems += [f"analysis {a.id}: not run: {one}" for a in self.analyses for one in json.loads(a.not_run or "[]")
                     if one["what"] != "unpack" or not re.match("damaged: |[0-9]+ entries are encrypted", one["reason"])]
        problems += [f"ruleset {ruleset} was suspended at {c[0]}"
                     for ruleset, changes in self.changes.items() for c in changes if c[2] == "suspend"]
        if problems:
            return problems
        must, may = self.expected(contents)
        for user, stream in streams.items():
            told = set(stream)
            if len(told) != len(stream):
                problems.append(f"{user}: {len(stream) - len(told)} notifications tell what another one tells")
            for pair in must.get(user, set()) - told:
                problems.append(f"{user}: {self.describe(pair)} was not told")
            for pair in told - must.get(user, set()) - may.get(user, set()):
                problems.append(f"{user}: {self.describe(pair)} was told and does not match")
        return problems

    def describe(self, pair):
        ruleset, rule, sha256 = pair
        runs = [f"{a.id} at {a.generation}" for a in self.analyses if a.sha256 == sha256]
        return f"rule {rule} of {ruleset} (changes {self.changes.get(ruleset)}) and file {sha256} (analyses {runs})"


# ---- Clients ----

class Client:
    """One user on one thread, nothing recorded: these runs are long."""

    def __init__(self, server, key):
        self.server, self.session = server, direct_session()
        self.session.headers["x-apikey"] = key

    def ask(self, method, path, **kwargs):
        return self.session.request(method, f"{self.server.base}/api/v3{path}", timeout=60, **kwargs)

    def upload(self, content):
        return self.ask("POST", "/files", files={"file": ("sample", content)})

    def create(self, name, rules, enabled):
        return self.ask("POST", "/intelligence/hunting_rulesets", json=ruleset_body(
            name=name, rules=rules, enabled=enabled))

    def change(self, ruleset, **attributes):
        return self.ask("PATCH", f"/intelligence/hunting_rulesets/{ruleset}", json=ruleset_body(**attributes))

    def remove(self, ruleset):
        return self.ask("DELETE", f"/intelligence/hunting_rulesets/{ruleset}")

    def stream(self):
        """Every notification, oldest first, as (ruleset, rule, sha256)."""
        told, cursor = [], None
        while True:
            params = {"limit": PAGE, "order": "date+", "descriptors_only": "true"}
            if cursor:
                params["cursor"] = cursor
            answer = self.ask("GET", "/ioc_stream", params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for item in page["data"]:
                context = item["context_attributes"]
                told.append((int(context["sources"][0]["id"]), context["hunting_info"]["rule_name"], item["id"]))
            cursor = page["meta"].get("cursor")
            if not cursor:
                return told


def ruleset_body(**attributes):
    return {"data": {"type": "hunting_ruleset", "attributes": attributes}}


def sha256_of(content):
    return hashlib.sha256(content).hexdigest()


# ---- Harm ----

def scan_children(pid):
    """Process ids of the children of every thread of `pid`; none if it is gone."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except OSError:
        pass  # a thread, or the process, is gone
    return found


class Killer(threading.Thread):
    """SIGKILL to one scan child of the server after the other, at random moments, until stopped."""

    def __init__(self, pid, seed, pause_s):
        super().__init__(daemon=True)
        self.pid, self.random, self.pause_s = pid, random.Random(seed), pause_s
        self.stopped, self.killed = threading.Event(), 0

    def run(self):
        while not self.stopped.wait(self.random.uniform(*self.pause_s)):
            children = scan_children(self.pid)
            if children:
                try:
                    os.kill(self.random.choice(children), signal.SIGKILL)
                    self.killed += 1
                except ProcessLookupError:
                    pass

    def stop(self):
        self.stopped.set()
        self.join()
