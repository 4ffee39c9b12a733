"""make bench-retrohunt: jobs of a running server against a plain multi-threaded YARA-X scan of the same bytes.

    run.py WEIR PLAIN WORK [--size S] [--rules 400] [--every 1] [--cold 24]

WORK is kept: the corpus is made once for each lock. Every figure is of this one run. Writes
WORK/SIZE-table.md and WORK/SIZE-rules.tsv, and ends with one line `retrohunt key=value …`.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yara_x
import throttle
from rules import with_imports
from sides import Plain, Server

HUNTED_MAX = 100_000_000  # setting hunt-bytes-max: larger files are named as skipped by every job
FIXED_RULE = 'rule nowhere_at_all { strings: $a = "Qz7#nowhere-at-all#7zQ" condition: $a }'
FULL_RULE = with_imports("rule everything { strings: $a = { 8B ?? 8? 4? } condition: #a > 100000000 or math.entropy(0, filesize) > 7.99999 }")
FIXED_TIMES = 30
OPINIONS = 12  # rules that the wheel judges, too
COLD_BYTES_S, COLD_READS_S = 200 << 20, 4000  # a store over the network
WHOLE_SET = 150  # rules of one job that holds many
LITTLE = 0.01  # of the bytes, that a selective rule leaves
SETTLE_S = 3600
REST_S, SETTLED_S = 3, 8  # the index merges what is left when nothing comes in; the list of segments stays as it is


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(p * len(ordered)))]


class Bench:
    def __init__(self, args):
        self.args, self.work = args, args.work
        corpus = self.work / args.size
        listed = json.loads((corpus / "corpus.json").read_text())["files"]
        self.rules = json.loads((self.work / f"{args.size}-rules.json").read_text())[::args.every]
        self.folder = corpus / "files"
        self.sizes = {sha: f["size"] for sha, f in listed.items()}
        self.bytes = sum(self.sizes.values())
        self.hunted = {sha: n for sha, n in self.sizes.items() if n <= HUNTED_MAX}
        self.hunted_bytes = sum(self.hunted.values())
        self.data = self.work / f"{args.size}-data"
        self.server = Server(args.weir, self.data, ("--unpack-depth-max=0", "--log-requests=false", "--index-seconds=2", f"--index-rest-seconds={REST_S}",
                                                     "--retrohunt-matches-max=10000000", *args.setting))
        self.plain = self.plain_over(self.folder, self.work)
        self.figures, self.misses, self.rows = {}, [], []

    def plain_over(self, folder, lists):
        return Plain(self.args.plain, [folder / sha[:2] / sha for sha in sorted(self.hunted)], lists / f"{self.args.size}.list",
                     lists / f"{self.args.size}.yar")

    def say(self, text):
        print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f}: {text}", file=sys.stderr, flush=True)

    # ---- Ingest and building ----

    def ingest(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.server.start()
        warm_cache(self.folder)
        start = time.perf_counter()
        self.server.command("ingest", self.folder)
        stored = time.perf_counter() - start
        wait(lambda: self.server.rows("SELECT count(*) FROM analysis WHERE state < 2") == [(0,)], "analyses are left")
        analysed = time.perf_counter() - start
        wait(self.is_indexed, "files are not indexed")
        indexed = time.perf_counter() - start
        self.settle()
        index = sum(p.stat().st_size for p in (self.data / "index").iterdir())
        segments, level = self.server.rows("SELECT count(*), max(level) FROM segment")[0]
        self.figures.update(files=len(self.sizes), mb=self.bytes / 1e6, stored_mb_s=self.bytes / 1e6 / stored,
                            analysed_mb_s=self.bytes / 1e6 / analysed, indexed_mb_s=self.bytes / 1e6 / indexed,
                            indexed_files_s=len(self.sizes) / indexed, segments=segments, merges_deep=level or 0,
                            index_of_corpus=index / self.bytes)
        self.say(f"{len(self.sizes)} files, {self.bytes / 1e6:.0f} MB stored in {stored:.1f} s, analysed {analysed:.1f} s, "
                 f"indexed {indexed:.1f} s; index {index / 1e6:.1f} MB in {segments} segments")

    def is_indexed(self):
        """Nothing is stored that no segment holds."""
        return self.server.rows("SELECT count(*) FROM file f WHERE NOT EXISTS "
                                "(SELECT 1 FROM segment s WHERE f.id BETWEEN s.first_id AND s.last_id)") == [(0,)]

    def settle(self):
        """Until merges are over: the list of segments stays as it is."""
        seen, since = None, time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            now = self.server.rows("SELECT id FROM segment ORDER BY id")
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.1)

    # ---- Rules, one job each ----

    def fixed_cost(self):
        """A job whose string stands nowhere: compile, plan, look-up, commit."""
        times = [self.server.hunt(FIXED_RULE).seconds for _ in range(FIXED_TIMES)]
        self.figures.update(fixed_ms=statistics.median(times) * 1e3, fixed_p90_ms=percentile(times, 0.9) * 1e3)
        self.fixed = statistics.median(times)
        self.say(f"fixed cost of a job {self.fixed * 1e3:.1f} ms")

    def each_rule(self):
        for number, rule in enumerate(self.rules):
            first, second = (self.plain, self.server) if number % 2 else (self.server, self.plain)
            hunts = {side: side.hunt(rule["text"]) for side in (first, second)}
            plain, job = hunts[self.plain], hunts[self.server]
            self.judge(rule, plain.found, job.found)
            self.rows.append({**rule, "plain_s": plain.seconds, "job_s": job.seconds, "matches": len(plain.found),
                              "files": job.files, "bytes": job.bytes})
            if number % 50 == 49:
                self.say(f"{number + 1} of {len(self.rules)} rules")

    def judge(self, rule, found, told):
        """Recall, against the plain side and against what was planted."""
        self.misses += [f"{rule['name']}: MISSED {sha}" for sha, _ in found - told]
        self.misses += [f"{rule['name']}: {sha} told, does not match" for sha, _ in told - found]
        planted = {sha for sha in rule.get("files", []) if sha in self.hunted}
        self.misses += [f"{rule['name']}: planted in {sha}, the plain scan does not find it" for sha in planted - {s for s, _ in found}]

    def opinions(self):
        """A third judge on some rules: the wheel, another build of the engine than weir's."""
        differ = 0
        for rule in random.Random(3).sample(self.rules, min(OPINIONS, len(self.rules))):
            scanner = yara_x.Scanner(yara_x.compile(rule["text"]))
            sample = random.Random(rule["name"]).sample(sorted(self.hunted), min(1500, len(self.hunted)))
            sample = set(sample) | {sha for sha in rule.get("files", []) if sha in self.hunted}
            found = {(sha, r.identifier) for sha in sample
                     for r in scanner.scan((self.folder / sha[:2] / sha).read_bytes()).matching_rules}
            told = {pair for pair in self.server.hunt(rule["text"]).found if pair[0] in sample}
            differ += len(found ^ told)
        self.figures.update(third_opinion_differences=differ)

    def summary(self):
        rows, f = self.rows, self.figures
        share = [r["bytes"] / self.hunted_bytes for r in rows]
        files = [r["files"] / len(self.hunted) for r in rows]
        long = [r["bytes"] / self.hunted_bytes for r in rows if r["sure"] >= 8]
        ratios = [r["plain_s"] / r["job_s"] for r in rows]
        slow = [r["name"] for r in rows if r["job_s"] > 1.1 * r["plain_s"] + self.fixed]
        pairs = sum(r["matches"] for r in rows)
        f.update(rules=len(rows), matches=pairs, missed=len(self.misses), touched_bytes_mean=statistics.mean(share),
                 touched_bytes_median=statistics.median(share), touched_bytes_p90=percentile(share, 0.9),
                 touched_files_mean=statistics.mean(files), touched_files_median=statistics.median(files),
                 long_bytes_mean=statistics.mean(long), long_bytes_median=statistics.median(long), long_bytes_p90=percentile(long, 0.9),
                 warm_median_times=statistics.median(ratios), warm_p25_times=percentile(ratios, 0.25), warm_geomean_times=statistics.geometric_mean(ratios),
                 warm_total_times=sum(r["plain_s"] for r in rows) / sum(r["job_s"] for r in rows), slower_jobs=len(slow),
                 worst_warm=max((r["job_s"] - self.fixed) / r["plain_s"] for r in rows))
        if slow:
            self.say(f"slower than 1.1 plain + fixed: {' '.join(slow)}")

    # ---- Many rules, everything, and what goes wrong ----

    @staticmethod
    def source_of(rules):
        return with_imports("".join(re.sub("^import .*\n", "", r["text"], flags=re.M) for r in rules))

    def set_figures(self, name, rules):
        """One job with all of the rules against one plain scan with them."""
        plain, job = self.plain.hunt(self.source_of(rules)), self.server.hunt(self.source_of(rules))
        self.judge({"name": f"{name}: {len(rules)} rules at once"}, plain.found, job.found)
        self.figures.update({f"{name}_rules": len(rules), f"{name}_plain_s": plain.seconds, f"{name}_job_s": job.seconds,
                             f"{name}_times": plain.seconds / job.seconds, f"{name}_touched_bytes": job.bytes / self.hunted_bytes})
        return job

    def whole_set(self):
        """Many rules by lot; and many that leave little with one that leaves everything, which costs what that one does alone."""
        some = random.Random(4).sample([r for r in self.rules if r["group"] not in ("refs", "nothing")], min(WHOLE_SET, len(self.rules) // 2))
        self.set_figures("set", some)
        open_rule = next((r for r in self.rows if r["group"] == "nothing"), None)
        little = [r for r in self.rows if r["group"] != "refs" and r["bytes"] < LITTLE * self.hunted_bytes][:WHOLE_SET - 1]
        if open_rule and little:
            job = self.set_figures("mixed", [*little, open_rule])
            alone = self.server.hunt(open_rule["text"])
            self.figures.update(mixed_alone_s=alone.seconds, mixed_of_alone=job.seconds / alone.seconds)

    def verification(self):
        """Everything is a candidate: what the path of a candidate costs beside a plain scan."""
        ratios = []
        for _ in range(3):
            plain, job = self.plain.hunt(FULL_RULE), self.server.hunt(FULL_RULE)
            self.judge({"name": "everything"}, plain.found, job.found)
            ratios.append(plain.seconds / (job.seconds - self.fixed))
            rate = job.bytes / 1e6 / job.seconds
        self.figures.update(verify_of_plain=statistics.median(ratios), verify_mb_s=rate)
        self.say(f"verification {rate:.0f} MB/s, {statistics.median(ratios):.2f} of the plain scan")

    def abort(self):
        times = []
        for _ in range(5):
            job = self.server.begin(FULL_RULE)
            self.server.wait(job, lambda a: a["progress"] > 0 or a["status"] == "finished")
            start = time.perf_counter()
            status, answer = self.server.ask("POST", f"/intelligence/retrohunt_jobs/{job}/abort")
            if status == 400:
                continue  # it had finished
            if status != 200:
                raise SystemExit(f"abort: {answer}")
            self.server.wait(job)
            times.append(time.perf_counter() - start)
        self.figures.update(abort_ms=max(times) * 1e3 if times else 0, aborts=len(times))

    def resume(self):
        """kill -9 in the middle; the job ends by itself after the next start, with what it would have told."""
        rule = with_imports("rule some { condition: filesize % 7 == 3 and math.entropy(0, filesize) > 4.0 }")
        whole = self.server.hunt(rule)
        job = self.server.begin(rule)
        at = self.server.wait(job, lambda a: a["progress"] > 20 or a["status"] == "finished")["progress"]
        self.server.kill()
        start = time.perf_counter()
        started = self.server.start()
        attributes = self.server.wait(job)
        seconds = time.perf_counter() - start
        told = self.server.told(job, seconds, attributes)
        self.judge({"name": "resumed"}, whole.found, told.found)
        self.figures.update(resume_killed_at=at, resume_start_s=started, resume_s=seconds, resume_whole_s=whole.seconds)
        self.say(f"killed at {at:.0f} %, started in {started:.1f} s, ended after {seconds:.1f} s; a whole job takes {whole.seconds:.1f} s")

    # ---- Cold ----

    def cold(self):
        if not self.args.cold:
            return
        missing = throttle.available()
        if missing:
            self.say(f"cold is left out: {missing} is missing")
            return
        self.server.stop()
        held = sum(p.stat().st_size for p in self.data.rglob("*") if p.is_file())
        store = throttle.Store(self.work / "cold.img", int((self.bytes + held) * 1.1) + (256 << 20), COLD_BYTES_S, COLD_READS_S)
        server = Server(self.args.weir, store.folder / "data", self.server.settings, preexec=store.enter)
        try:
            shutil.copytree(self.folder, store.folder / "files")
            shutil.copytree(self.data, server.data)
            server.key = self.server.key
            server.start()
            plain = self.plain_over(store.folder / "files", store.folder)
            self.cold_rules(store, server, plain)
        finally:
            if server.process:
                server.stop()
            store.close()
            self.server.start()

    def cold_rules(self, store, server, plain):
        chosen = random.Random(5).sample(self.rules, min(self.args.cold, len(self.rules)))
        ratios, reads, rows = [], [], []
        for rule in chosen:
            took = {}
            for what, hunt in (("job", lambda: server.hunt(rule["text"])), ("plain", lambda: plain.hunt(rule["text"], store.enter))):
                store.forget(server.process.pid)
                before = store.count()
                one = hunt()
                after = store.count()
                took[what] = one, after[0] - before[0], after[1] - before[1]
            self.judge({**rule, "name": f"cold {rule['name']}"}, took["plain"][0].found, took["job"][0].found)
            ratios.append(took["plain"][0].seconds / took["job"][0].seconds)
            reads.append(took["job"][2] / max(1, took["plain"][2]))
            rows.append("\t".join((rule["name"], *(f"{t[0].seconds:.3f}\t{t[1]}\t{t[2]}" for t in took.values()))))
        (self.work / f"{self.args.size}-cold.tsv").write_text("rule\tjob_s\treads\tbytes\tplain_s\treads\tbytes\n" + "\n".join(rows) + "\n")
        self.figures.update(cold_rules=len(chosen), cold_mb_s=COLD_BYTES_S / 1e6, cold_reads_s=COLD_READS_S, cold_median_times=statistics.median(ratios),
                            cold_p25_times=percentile(ratios, 0.25), cold_read_bytes_median=statistics.median(reads))
        self.say(f"cold: median {statistics.median(ratios):.0f} times, read bytes {statistics.median(reads):.5f} of the plain scan's")

    # ---- The end ----

    def write(self):
        names = ("name", "group", "origin", "sure", "matches", "files", "bytes", "job_s", "plain_s")
        (self.work / f"{self.args.size}-rules.tsv").write_text("\t".join(names) + "\n" + "".join(
            "\t".join(f"{row[n]:.4f}" if isinstance(row[n], float) else str(row[n]) for n in names) + "\n" for row in self.rows))
        table = "| | |\n| --- | --- |\n" + "".join(f"| {name} | {shown(value)} |\n" for name, value in self.figures.items())
        (self.work / f"{self.args.size}-table.md").write_text(table)
        print(table)
        for miss in self.misses[:50]:
            print(miss)
        print("retrohunt " + " ".join(f"{name}={shown(value)}" for name, value in self.figures.items()))


def shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def wait(look, otherwise):
    end = time.monotonic() + SETTLE_S
    while not look():
        if time.monotonic() > end:
            raise SystemExit(otherwise)
        time.sleep(0.1)


def warm_cache(folder):
    subprocess.run(["find", folder, "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL, check=True)


def main():
    parser = argparse.ArgumentParser()
    for name in ("weir", "plain", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--size", default="S")
    parser.add_argument("--cold", type=int, default=24, help="rules that are hunted cold, too")
    parser.add_argument("--every", type=int, default=1, help="hunt each so many-th rule only")
    parser.add_argument("--setting", action="append", default=[], help="flags for the server")
    bench = Bench(parser.parse_args())
    try:
        bench.ingest()
        bench.fixed_cost()
        bench.each_rule()
        bench.summary()
        bench.whole_set()
        bench.verification()
        bench.opinions()
        bench.abort()
        bench.resume()
        bench.cold()
        bench.figures["missed"] = len(bench.misses)
        bench.write()
    finally:
        if bench.server.process and bench.server.process.poll() is None:
            bench.server.stop()
        shutil.rmtree(bench.data, ignore_errors=True)
    return 1 if bench.misses else 0


if __name__ == "__main__":
    sys.exit(main())
