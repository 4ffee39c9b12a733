"""The index never misses: candidates of rules by lot against what the YARA-X wheel finds in each file.

No server: plan, signatures, segments, merges and look-ups alone, so many more rules than test_retrohunt_model.py
gets through. RECALL_SECONDS and RECALL_SEED are as there.
"""

import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from recall_files import Facts, big_sample, real_programs, sample
from recall_judge import Judge
from recall_rules import forced, source_by_lot

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "dev" / "tests" / "model" / "index_candidates"
SECONDS = float(os.environ.get("RECALL_SECONDS", "10"))
SEED = int(os.environ.get("RECALL_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
SOURCES, SAMPLES, BIG = 30, 250, 3


def files_for(r, sources, programs):
    files = [b"", b"x", b"MZ", *programs[::r.randint(2, 5)]]
    files += [sample(r, sources, programs) for _ in range(SAMPLES)] + [big_sample(r, sources) for _ in range(BIG)]
    for source in sources:
        for plants in source.plants:
            for turn in range(max(map(len, plants), default=0)):
                files.append(b" ".join(some[turn % len(some)] for some in plants))
    files = list(dict.fromkeys(files))
    r.shuffle(files)
    return files


def candidates(folder, files, sources):
    """Pairs (rule, file) for each source."""
    folder.mkdir()
    (folder / "segments").mkdir()
    for kind, contents in (("file", files), ("rule", [s.text.encode() for s in sources])):
        paths = [folder / f"{kind}{i}" for i in range(len(contents))]
        for path, content in zip(paths, contents):
            path.write_bytes(content)
        (folder / f"{kind}s").write_text("".join(f"{p}\n" for p in paths))
    done = subprocess.run([PROGRAM, folder / "files", folder / "rules", folder / "segments"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [set() for _ in sources]
    for line in done.stdout.splitlines():
        source, rule, file = map(int, line.split("\t"))
        found[source].add((rule, file))
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    return found


def one_round(r, folder, facts, programs, first):
    sources = (list(forced(r)) if first else []) + [source_by_lot(r, facts) for _ in range(SOURCES)]
    files = files_for(r, sources, programs)
    told, counted = candidates(folder, files, sources), Counter(rounds=1, files=len(files))
    for source, pairs in zip(sources, told):
        judge = Judge(source.text)
        for number, content in enumerate(files):
            for rule in judge.rules_of(content):
                counted["matches"] += 1
                if (judge.names.index(rule), number) not in pairs:
                    Path(folder / "missed.bin").write_bytes(content)
                    Path(folder / "missed.yar").write_text(source.text)
                    raise AssertionError(f"MISSED: rule {rule} in a file of {len(content)} bytes, which is kept as {folder}/missed.bin:\n{source.text}")
        counted.update(rules=len(judge.names), candidates=len(pairs), possible=len(judge.names) * len(files))
    return counted


@pytest.mark.timeout(120 + 6 * SECONDS)
@pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")
def test_candidates_hold_every_match(tmp_path):
    print(f"RECALL_SEED={SEED} RECALL_SECONDS={SECONDS:g}")
    until, r, total = time.monotonic() + SECONDS, random.Random(SEED), Counter()
    programs = real_programs()
    facts = Facts(programs)
    while not total or time.monotonic() < until:
        total += one_round(r, tmp_path / f"round{total['rounds']}", facts, programs, not total)
    print(", ".join(f"{name} {count}" for name, count in total.items()))
    # Were everything a candidate, nothing would be proven.
    assert total["matches"] > 500 and total["candidates"] < 0.6 * total["possible"]
