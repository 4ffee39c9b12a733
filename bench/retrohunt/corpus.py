"""The corpus of the Retrohunt benchmark: public packages at locked versions, and what is made of them by lot.

    corpus.py FOLDER [--size smoke|S|M] [--update]

The packages of packages.lock are got with the ordinary clients (apt-get, npm, pip), compared with
their SHA-256, unpacked recursively and kept once for each content. Derivatives (derive.py) come
from a fixed seed, so the same lock gives the same bytes. FOLDER gets `files/` and `corpus.json`.
--update writes the newest versions into the lock instead.
"""

import argparse
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import derive

HERE = Path(__file__).resolve().parent
LOCK = HERE / "packages.lock"
PYTHON = "3.13"  # whose wheels are taken
DEPTH_MAX = 4
FILE_BYTES_MAX = 90_000_000
OTHER_BYTES_MAX = 1_000_000
SIZES = {  # what is taken of packages: bytes of programs, other files and their bytes; copies of all of it with changed bytes
    "smoke": (30_000_000, 400, 10_000_000, 0),
    "S": (800_000_000, 12_000, 230_000_000, 0),
    "M": (800_000_000, 12_000, 230_000_000, 4),
}


@dataclass
class Package:
    kind: str
    name: str
    version: str
    platform: str
    sha256: str
    smoke: str

    @classmethod
    def read(cls):
        return [cls(*line.split("\t")) for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]

    @property
    def line(self):
        return "\t".join((self.kind, self.name, self.version, self.platform, self.sha256, self.smoke))

    @property
    def title(self):
        return " ".join((self.kind, self.name, self.version, self.platform))

    def command(self):
        """What brings the package into the current folder as its only file."""
        exact = self.version != "-"
        if self.kind == "debian":
            return ["apt-get", "download", "-q", self.name + (f"={self.version}" if exact else "")]
        if self.kind == "npm":
            return ["npm", "pack", "--silent", self.name + (f"@{self.version}" if exact else "")]
        platform = [] if self.platform == "any" else ["--platform", self.platform, "--python-version", PYTHON]
        return [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *platform,
                self.name + (f"=={self.version}" if exact else "")]

    def get(self, cache):
        """The package's file in the cache, downloaded when it is not there."""
        kept = cache / self.sha256
        if kept.exists():
            return kept
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            os.chmod(folder, 0o755)
            done = subprocess.run(self.command(), cwd=folder, capture_output=True, text=True, check=False)
            files = list(Path(folder).iterdir())
            if done.returncode != 0 or len(files) != 1:
                raise SystemExit(f"{self.title} cannot be had: {done.stderr.strip()[-400:]}\n"
                                 "if that version is gone: corpus.py FOLDER --update, then name the new lock with the figures")
            got = hashlib.sha256(files[0].read_bytes()).hexdigest()
            if self.sha256 == "-":
                self.sha256, self.version = got, version_of(self.kind, files[0])
                kept = cache / got
            elif got != self.sha256:
                raise SystemExit(f"{self.title} has SHA-256 {got}, the lock says {self.sha256}")
            os.rename(files[0], kept)
        return kept


def version_of(kind, path):
    if kind == "debian":
        return subprocess.run(["dpkg-deb", "-f", path, "Version"], capture_output=True, text=True, check=True).stdout.strip()
    if kind == "npm":
        with tarfile.open(path) as tar:
            member = next(m for m in tar if m.name.count("/") == 1 and m.name.endswith("/package.json"))
            return json.load(tar.extractfile(member))["version"]
    return path.name.split("-")[1]


# ---- Unpacking ----

class Taken:
    """Distinct contents in the order they were met."""

    def __init__(self):
        self.seen, self.contents = set(), []

    def add(self, data, name, depth=0):
        if len(data) > FILE_BYTES_MAX:
            return
        digest = hashlib.sha256(data).hexdigest()
        if digest in self.seen:
            return
        self.seen.add(digest)
        self.contents.append((digest, name, data))
        if depth < DEPTH_MAX:
            for inner, content in inside(data):
                self.add(content, f"{name}/{inner}", depth + 1)


def inside(data):
    """Names and contents of what is packed in here; nothing where it is no archive, or a damaged one."""
    try:
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as z:
                return [(i.filename, z.read(i)) for i in z.infolist() if not i.is_dir() and i.file_size <= FILE_BYTES_MAX]
        if data[:2] == b"\x1f\x8b":
            plain = gzip.decompress(data)
            return members(plain) or [("unpacked", plain)]
        if data[:6] == b"\xfd7zXZ\0":
            plain = lzma.decompress(data)
            return members(plain) or [("unpacked", plain)]
        return members(data) if data[257:262] == b"ustar" else []
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, lzma.LZMAError,
            tarfile.TarError, zipfile.zlib.error):
        return []


def members(data):
    if data[257:262] != b"ustar":
        return []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar if m.isfile()]


def unpacked(package, path, taken):
    """All files of a package, in the order of their names."""
    if package.kind == "debian":
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["dpkg-deb", "-x", path, folder], check=True)
            for file in sorted(p for p in Path(folder).rglob("*") if p.is_file() and not p.is_symlink()):
                taken.add(file.read_bytes(), f"{package.name}/{file.name}")
    else:
        for name, data in sorted(inside(path.read_bytes())):
            taken.add(data, f"{package.name}/{name}")


# ---- The corpus ----

def chosen(taken, program_bytes, others, other_bytes):
    """Programs until there are so many bytes of them, then other files, both in order of their SHA-256."""
    picked, left, count = [], {True: program_bytes, False: other_bytes}, 0
    for digest, name, data in sorted(taken.contents, key=lambda c: c[0]):
        program = derive.is_executable(data)
        if len(data) <= left[program] and (program or (count < others and len(data) < OTHER_BYTES_MAX)):
            picked.append((digest, name, data))
            left[program] -= len(data)
            count += not program
    return picked


def write(folder, contents):
    """Files by their SHA-256, 256 folders; what corpus.json says of each."""
    listed = {}
    for name, data, how in contents:
        digest = hashlib.sha256(data).hexdigest()
        if digest in listed:
            continue
        path = folder / digest[:2] / digest
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        listed[digest] = {"name": name, "size": len(data), "how": how}
    return listed


def make(folder, size, cache):
    packages = [p for p in Package.read() if size != "smoke" or p.smoke == "smoke"]
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda p: p.get(cache), packages))
    taken = Taken()
    for package, path in zip(packages, paths):
        unpacked(package, path, taken)
    *wanted, copies = SIZES[size]
    base = chosen(taken, *wanted)
    folder.mkdir(parents=True)
    (folder / "files").mkdir()
    made = derive.Derived([(name, data) for _, name, data in base], size)
    listed = write(folder / "files", made.all())
    for number in range(copies):
        listed |= write(folder / "files", made.changed_copies(number))
    summary = {"size": size, "packages": [p.line for p in packages], "files": listed, "needles": made.needles}
    (folder / "corpus.json").write_text(json.dumps(summary, indent=0))
    total = sum(f["size"] for f in listed.values())
    print(f"{len(listed)} files, {total / 1e6:.0f} MB, {len(base)} of them from {len(packages)} packages, of which "
          f"{len(taken.contents)} distinct ones came", file=sys.stderr)


def update(cache):
    packages = Package.read()
    for package in packages:
        package.version = package.sha256 = "-"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda p: p.get(cache), packages))
    comments = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]
    LOCK.write_text("\n".join([*comments, *(p.line for p in packages)]) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    cache = args.folder.parent / "packages"
    cache.mkdir(parents=True, exist_ok=True)
    if args.update:
        update(cache)
        return
    warnings.simplefilter("ignore")  # of archives that name a file twice
    scratch = args.folder.with_name(args.folder.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    make(scratch, args.size, cache)
    scratch.rename(args.folder)


if __name__ == "__main__":
    main()
