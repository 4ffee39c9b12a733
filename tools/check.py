#!/usr/bin/env python3
"""Builds everything, runs every test and check, and counts them.

The last line is `N passed, N failed` (`, N skipped` where some were); the exit
status is 0 only if something passed and nothing failed. What only compiles or
reads runs beside the tests in Python, which wait for the most part, at the
lowest priority. Names in the report:
`unit.x`, `model.x`, ... (CTest, preset dev), `asan.unit.x` (the same under the
sanitizers), `http.file::test`, `docs.file::test`, `lint.x`.
"""

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
import traceback
import venv
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import lint

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "check"  # logs and JUnit files of the last run
FUZZ_SECONDS = 6  # for each target; `make fuzz-smoke` gives them longer
WARM_LIMIT_S = 25 * 60  # the engine and the compiler's objects already cached
FAILURE_LINES_MAX = 120  # of one failed test, the end; the whole is in OUT


def cache_dir():
    base = os.environ.get("WEIR_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weir"


def say(text):
    """In one piece: others may be saying something too."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass
class Report:
    passed: int = 0
    skipped: int = 0
    failures: list = field(default_factory=list)  # (name, output)

    def fail(self, name, output):
        self.failures.append((name, output))
        lines = output.strip().splitlines()
        said = [f"FAILED {name}"]
        if len(lines) > FAILURE_LINES_MAX:
            said.append(f"    ... {len(lines) - FAILURE_LINES_MAX} lines before, see {OUT.relative_to(ROOT)}/")
        say("\n".join(said + [f"    {line}" for line in lines[-FAILURE_LINES_MAX:]]))

    def add(self, other):
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures


class Stage:
    """Prints what starts, and how long it took and what it found when it ends."""

    def __init__(self, report, title):
        self.report, self.title = report, title

    def __enter__(self):
        self.start = time.monotonic()
        self.before = (self.report.passed, len(self.report.failures))
        say(f"== {self.title}")
        return self

    def __exit__(self, kind, value, trace):
        passed = self.report.passed - self.before[0]
        failed = len(self.report.failures) - self.before[1]
        counts = f", {passed} ok" if passed else ""
        counts += f", {failed} FAILED" if failed else ""
        say(f"   {self.title}: {time.monotonic() - self.start:.1f} s{counts}")


def run_logged(args, log_name, env=None):
    """Exit status and all output of a command; the output is kept in OUT too."""
    log = OUT / f"{log_name}.log"
    with log.open("wb") as f:
        status = subprocess.run(args, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=f,
                                stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}).returncode
    return status, log.read_text(errors="replace")


def build(report, preset):
    with Stage(report, f"build {preset}"):
        status, output = run_logged(["tools/build.sh", preset], f"build-{preset}")
        if status != 0:
            report.fail(f"build.{preset}", output)
        return status == 0


def build_engine(report):
    """First and with its output shown: the one step that can take minutes."""
    with Stage(report, "engine"):
        status = subprocess.run(["tools/engine_build.sh"], cwd=ROOT, stdin=subprocess.DEVNULL).returncode
        if status != 0:
            report.fail("build.engine", "see the lines above")
        return status == 0


def python_env(report):
    """The interpreter of an environment that holds tests/requirements.txt, or None."""
    wanted = (ROOT / "tests" / "requirements.txt").read_bytes()
    key = hashlib.sha256(wanted + sys.version.encode() + sys.prefix.encode()).hexdigest()[:16]
    where = cache_dir() / f"python-{key}"
    python = where / "bin" / "python"
    if (where / "complete").exists():
        return python
    where.parent.mkdir(parents=True, exist_ok=True)
    with Stage(report, "install what the Python tests need"), open(f"{where}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (where / "complete").exists():
            return python
        # --clear: an environment whose installation was interrupted starts over.
        venv.EnvBuilder(with_pip=True, clear=True).create(where)
        status, output = run_logged([python, "-m", "pip", "install", "-q", "-r", "tests/requirements.txt"], "pip")
        if status != 0:
            report.fail("install.python", output)
            return None
        (where / "complete").touch()
    return python


def read_junit(report, path, prefix, output, may_be_empty):
    """Adds a JUnit file's cases to the report; a run that left none is a failure unless tests were selected."""
    try:
        cases = list(ET.parse(path).iter("testcase"))
    except (OSError, ET.ParseError):
        cases = []
    if not cases:
        if not may_be_empty:
            report.fail(f"{Path(path).stem}.run", f"{output}\nno test ran")
        return
    for case in cases:
        module = case.get("classname", "").split(".")[-1]
        name = case.get("name", "?")
        name = prefix + (name if module in ("", name) or "::" in name or "." in name else f"{module}::{name}")
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if bad is not None:
            captured = "\n".join(case.findtext(tag) or "" for tag in ("system-out", "system-err"))
            report.fail(name, f"{bad.text or bad.get('message') or ''}\n{captured}")
        elif case.find("skipped") is not None or case.get("status") in ("disabled", "notrun"):
            reason = case.find("skipped")
            say(f"skipped {name}: {reason.get('message', '') if reason is not None else ''}")
            report.skipped += 1
        else:
            report.passed += 1


def ctest(report, preset, prefix, label=None, only=None):
    with Stage(report, f"tests in C, {preset}"):
        junit = OUT / f"ctest-{preset}.xml"
        junit.unlink(missing_ok=True)
        select = (["-L", label] if label else []) + (["-R", only] if only else [])
        # One job a core; cmocka's programs are single processes.
        _, output = run_logged(["ctest", "--test-dir", f"build/{preset}", "--output-junit", junit,
                                "-j", str(os.cpu_count() or 1), *select], f"ctest-{preset}")
        read_junit(report, junit, prefix, output, may_be_empty=bool(only))


def pytest(report, python, folder, only=None):
    with Stage(report, f"tests/{folder}"):
        junit = OUT / f"pytest-{folder}.xml"
        junit.unlink(missing_ok=True)
        env = {"WEIR_BIN": str(ROOT / "build" / "release" / "weir"), "PYTHONDONTWRITEBYTECODE": "1"}
        select = ["--only", only] if only else []
        status, output = run_logged([python, "-m", "pytest", f"tests/{folder}", "-q", "--junitxml", junit, *select],
                                    f"pytest-{folder}", env)
        before = len(report.failures)
        read_junit(report, junit, f"{folder}.", output, may_be_empty=bool(only))
        if status not in (0, 5) and len(report.failures) == before:
            report.fail(f"{folder}.run", output)  # stopped outside of any test


def lint_checks(report, built, only):
    """Those whose preset is among the built ones."""
    for check in lint.checks(ROOT, cache_dir()):
        name = f"lint.{check.name}"
        if check.preset not in built or (only and not re.search(only, name)):
            continue
        with Stage(report, name):
            output = check.run()
            if output:
                (OUT / f"{name}.log").write_text(output)
                report.fail(name, output)
            else:
                report.passed += 1


def fuzz_smoke(report):
    """Each fuzz target for some seconds, all of them counted."""
    targets = len(list((ROOT / "fuzz").glob("fuzz_*.c")))
    with Stage(report, f"fuzz targets, {FUZZ_SECONDS} s each"):
        status, output = run_logged(["tools/fuzz_smoke.sh"], "fuzz-smoke", {"FUZZ_SECONDS": str(FUZZ_SECONDS)})
        found = re.search(r"^(\d+) passed, 0 failed$", output, re.M)
        if status != 0 or not found or int(found.group(1)) != targets:
            report.fail("fuzz_smoke", f"{output}\nof {targets} targets")
        else:
            report.passed += targets


class Beside(threading.Thread):
    """What runs beside the tests. It has a report of its own until it is joined."""

    def __init__(self, steps):
        super().__init__(daemon=True)  # an interrupted run does not wait for it
        self.steps, self.report = steps, Report()

    def run(self):
        os.nice(19)  # of this thread alone, and of what it starts
        try:
            self.steps(self.report)
        except Exception:
            self.report.fail("check.beside", traceback.format_exc())

    def end(self, report):
        if self.is_alive():
            with Stage(report, "waiting for what runs beside"):
                self.join()
        report.add(self.report)


def run(args, report):
    only = args.only
    full = not args.fast
    # A selection builds the other variants only when it names them.
    want = {name for name, word in (("lint", "lint"), ("asan", "asan"), ("fuzz", "fuzz_smoke"))
            if full and (not only or word in only)}
    if not build_engine(report):
        return
    python = python_env(report)
    built = {None}
    if build(report, "dev"):
        built.add("dev")
    released = build(report, "release")

    def compile_and_read(aside):
        if "lint" in want:
            if build(aside, "clang"):
                built.add("clang")
            lint_checks(aside, built, only)
        for preset in ("asan", "fuzz"):
            if preset in want and build(aside, preset):
                built.add(preset)

    if "dev" in built:
        ctest(report, "dev", "", label="unit" if args.fast else None, only=only)
    beside = Beside(compile_and_read)
    beside.start()
    if released and python:
        for folder in ("http", "model", "crash", "docs") if full else ("http",):
            pytest(report, python, folder, only)
    beside.end(report)
    if "asan" in built:
        ctest(report, "asan", "asan.", label="unit", only=only.replace("asan.", "") if only else None)
    if "fuzz" in built:
        fuzz_smoke(report)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="unit tests of preset dev, and tests/http")
    parser.add_argument("--only", metavar="REGEX", help="tests whose name matches; 'asan' and 'lint' checks "
                        "only if the expression says so")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    report = Report()
    run(args, report)

    if report.failures:
        print("\nfailed:")
        for name, _ in report.failures:
            print(f"  {name}")
    took = time.monotonic() - start
    over = " (over the limit for a warm run)" if took > WARM_LIMIT_S else ""
    print(f"\ntotal: {took:.0f} s{over}")
    if report.passed == 0 and not report.failures:
        print("no test ran")
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    print(f"{report.passed} passed, {len(report.failures)} failed{skipped}")
    return 1 if report.failures or report.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
