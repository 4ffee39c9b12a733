"""The checks of tools/check.py that read the sources without running them.

Each tool runs once a source file; a clean result is remembered in the cache
folder under the tool's version and arguments, the file, and every header of
ours that it includes, so a warm run only looks at what changed.
"""

import hashlib
import json
import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Check:
    name: str
    preset: str  # whose build it reads; None: the sources alone
    run: callable  # returns what is wrong, empty when nothing is


class Unit:
    """One source file as the compiler of one preset sees it."""

    def __init__(self, source, args, headers):
        self.source = source  # Path
        self.args = args  # compiler arguments without -c, -o and the source
        self.headers = headers  # every file of ours it includes, generated ones too


def read_units(root, preset, under):
    """The sources below `under` that the preset compiles, with their headers as the build recorded them."""
    build = root / "build" / preset
    deps = {}
    listing = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True).stdout
    for block in listing.split("\n\n"):
        lines = block.splitlines()
        while lines and ": #deps" not in lines[0]:
            lines.pop(0)
        if lines:
            files = {(build / line.strip()).resolve() for line in lines[1:]}
            deps[lines[0].split(":")[0]] = sorted(f for f in files if f.is_relative_to(root))
    units = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = Path(entry["file"])
        if source.suffix != ".c" or not any(source.is_relative_to(root / part) for part in under):
            continue
        words = shlex.split(entry["command"])
        words = words[1:] if Path(words[0]).name == "ccache" else words
        output = words[words.index("-o") + 1]
        drop = {"-c", "-o", output, entry["file"]}
        units[source] = Unit(source, [w for w in words[1:] if w not in drop], deps.get(output, []))
    return [units[source] for source in sorted(units)]


class Remembered:
    """Runs a tool over units, two at a time, skipping what was clean before."""

    def __init__(self, cache, root):
        self.clean = cache / "lint"
        self.clean.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.hashes = {}

    def file_hash(self, path):
        if path not in self.hashes:
            self.hashes[path] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "gone"
        return self.hashes[path]

    def key(self, unit, command, salt):
        h = hashlib.sha256()
        # The folder of the clone is no input: a fresh clone of the same text is as clean.
        for part in [salt, *command]:
            h.update(str(part).replace(str(self.root), "").encode() + b"\0")
        for path in [unit.source, *unit.headers]:
            h.update(f"{path.relative_to(self.root)} {self.file_hash(path)}\0".encode())
        return h.hexdigest()

    def run(self, units, command_of, salt):
        def one(unit):
            command = command_of(unit)
            mark = self.clean / self.key(unit, command, salt)
            if mark.exists():
                mark.touch()
                return ""
            done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, errors="replace",
                                  stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                mark.touch()
                return ""
            return f"{unit.source.relative_to(self.root)}:\n{done.stdout}{done.stderr}"

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return "\n".join(text for text in pool.map(one, units) if text)


def version(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def clang_tidy(root, remembered):
    # Tests are left out: they run under the sanitizers, which see more than this does.
    units = read_units(root, "clang", ["src"])
    salt = version("clang-tidy", "--version") + (root / ".clang-tidy").read_text()
    return remembered.run(
        units, lambda u: ["clang-tidy", "--quiet", u.source, "--", *u.args], salt)


def analyzer(root, remembered):
    # Leaks are the leak sanitizer's: GCC 12 takes a pointer into an allocation (an arena's
    # chunk, a list's member) for the loss of the allocation itself. Inlined clean-ups of AUTO
    # variables read as uses of unset ones to it, hence -O0; so do more besides ("uninitialized
    # value '<unknown>'"), hence that is left to clang-tidy.
    units = read_units(root, "dev", ["src"])
    flags = ["-fanalyzer", "-O0", "-Wno-analyzer-malloc-leak", "-Wno-analyzer-use-of-uninitialized-value",
             "-fdiagnostics-path-format=separate-events"]
    return remembered.run(
        units, lambda u: ["gcc", *u.args, *flags, "-c", "-o", os.devnull, u.source], version("gcc", "--version"))


CPPCHECK = [
    "cppcheck", "--quiet", "--std=c11", "--enable=warning,performance,portability", "--inline-suppr",
    "--error-exitcode=1", "--template=gcc", "--max-configs=1",
    "--suppress=missingIncludeSystem", "--suppress=unknownMacro",
    # Set exactly where a status says so is common here; clang-tidy follows the paths and judges this.
    "--suppress=uninitvar",
    # Which this cppcheck does not know. Right wherever there are further arguments.
    "-D__VA_OPT__(...)=__VA_ARGS__",
]


def cppcheck(root, remembered):
    units = read_units(root, "dev", ["src"])

    def command(unit):
        seen = [w for w in unit.args if w.startswith(("-D", "-I")) and "FORTIFY" not in w]
        return [*CPPCHECK, *seen, unit.source]

    return remembered.run(units, command, version("cppcheck", "--version"))


def clang_format(root):
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.c", "*.h"],
                            cwd=root, capture_output=True, text=True, check=True).stdout
    files = [name for name in listed.split("\0") if name and (root / name).exists()]
    done = subprocess.run(["clang-format", "--dry-run", *files], cwd=root, capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "clang-format-violations" in line})
    if done.returncode != 0:
        return done.stderr or "clang-format failed"
    return "run: clang-format -i " + " ".join(wrong) if wrong else ""


def forget_old(cache, keep=20000):
    """The memory of clean results is bounded: the least recently used go first."""
    marks = sorted((cache / "lint").iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    for mark in marks[keep:]:
        mark.unlink(missing_ok=True)


def checks(root, cache):
    remembered = Remembered(cache, root)
    forget_old(cache)
    return [
        Check("clang-format", None, lambda: clang_format(root)),
        Check("cppcheck", "dev", lambda: cppcheck(root, remembered)),
        Check("clang-tidy", "clang", lambda: clang_tidy(root, remembered)),
        Check("analyzer", "dev", lambda: analyzer(root, remembered)),
    ]
