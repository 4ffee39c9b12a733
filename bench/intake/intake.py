"""Ingest of real files by a running server against sha256sum and a plain copy, one after the other.

Prints what it measures and ends with one line `intake key=value …`.
"""

import argparse
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

FILE_BYTES_MAX = 16 << 20
COPY_SYNC_EVERY = 100
SAMPLE_EVERY_S = 0.25
QUIET_S = 2


def choose(paths, count):
    """So many regular files, evenly from everything below the paths, the same each time."""
    found = []
    for path in paths:
        for folder, folders, names in os.walk(path):
            folders[:] = [f for f in folders if f not in ("proc", "sys")]
            for name in names:
                full = os.path.join(folder, name)
                try:
                    info = os.lstat(full)
                except OSError:
                    continue
                if os.path.isfile(full) and not os.path.islink(full) and 0 < info.st_size <= FILE_BYTES_MAX and os.access(full, os.R_OK):
                    found.append(full)
    found.sort()
    random.Random(1).shuffle(found)
    return found[:count]


def gather(files, folder):
    """One folder for `weir ingest`: links where the disk is the same, else copies."""
    folder.mkdir()
    for i, path in enumerate(files):
        to = folder / f"{i:05d}-{os.path.basename(path)[-100:]}"
        try:
            os.link(path, to)
        except OSError:
            shutil.copyfile(path, to)


def timed(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def sha256sum(folder):
    listed = "\0".join(str(p) for p in sorted(folder.iterdir()))
    subprocess.run(["xargs", "-0", "sha256sum"], input=listed.encode(), stdout=subprocess.DEVNULL, check=True)


def copy(folder, to):
    """A plain copy, each lot of files synced before the next is begun."""
    to.mkdir()
    files = sorted(folder.iterdir())
    for first in range(0, len(files), COPY_SYNC_EVERY):
        made = []
        for path in files[first:first + COPY_SYNC_EVERY]:
            shutil.copyfile(path, to / path.name)
            made.append(os.open(to / path.name, os.O_RDONLY))
        for fd in [*made, os.open(to, os.O_RDONLY)]:
            os.fsync(fd)
            os.close(fd)


class Server:
    def __init__(self, binary, data):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.data, self.binary = data, binary
        self.log = open(data.with_suffix(".log"), "wb")
        self.process = subprocess.Popen(
            [binary, "serve", "--data", data, "--listen", f"127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)
        while True:
            try:
                if self.get("/readyz"):
                    break
            except OSError:
                time.sleep(0.05)
                assert self.process.poll() is None, "the server ended"

    def get(self, path):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}").read().decode()

    def metric(self, name):
        return int(re.search(rf"^weir_{name} (\d+)", self.get("/metrics"), re.M).group(1))

    def ingest(self, folder):
        subprocess.run([self.binary, "ingest", "--data", self.data, folder], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def wait_hunted(self):
        """Until nothing is under way and nothing more is done: uploads of one sample may share an analysis."""
        done, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            now = self.metric("analyses_done_total")
            if now != done or self.metric("analyses_queued"):
                done, since = now, time.monotonic()
            time.sleep(0.05)
        return since

    def resident(self):
        """Bytes of the server, and of its children together."""
        def of(pid):
            try:
                return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
            except OSError:
                return 0

        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = set()
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                pids |= set((task / "children").read_text().split())
            except OSError:
                pass
        return of(self.process.pid), sum(of(p) for p in pids) if children.exists() else 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


class Watch(threading.Thread):
    """Resident memory while work goes on."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.seen, self.over = server, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(SAMPLE_EVERY_S):
            self.seen.append(self.server.resident())

    def end(self):
        self.over.set()
        self.join()
        return self.seen


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(f) for f in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weir")
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="weir-bench-intake.", dir=args.folder))
    try:
        measure(args, work)
    finally:
        shutil.rmtree(work)


def measure(args, work):
    source = work / "files"
    gather(choose(args.paths, args.files), source)
    files = sorted(source.iterdir())
    total = sum(p.stat().st_size for p in files)
    megabytes = total / 1e6
    print(f"{len(files)} files, {megabytes:.0f} MB")
    sha256sum(source)  # the page cache is warm for everybody
    server = Server(args.weir, work / "data")
    try:
        watch = Watch(server)
        start = time.monotonic()
        stored = timed(lambda: server.ingest(source))
        done = server.metric("analyses_done_total")
        totals = [server.metric("examine_us_total")]
        hashed = timed(lambda: sha256sum(source))
        copied = timed(lambda: copy(source, work / "copy"))
        hunted = server.wait_hunted() - start
        done_at_all = server.metric("analyses_done_total")
        seen = watch.end()
        examined, scanned = (server.metric(n) / 1e6 for n in ("examine_us_total", "scan_us_total"))
        spent = processor_seconds(server.process.pid)
    finally:
        server.stop()
    print(f"stored and acknowledged in {stored:.1f} s: {len(files) / stored:.0f} files/s, {megabytes / stored:.1f} MB/s; "
          f"{done} analyses were done by then (examine {totals[0] / 1e6:.1f} s)")
    print(f"all {done_at_all} analyses done after {hunted:.1f} s (sha256sum and the copy ran beside that)")
    print(f"stages in the children: examine {examined:.1f} s ({examined / len(files) * 1e3:.2f} ms a file, "
          f"{megabytes / examined:.0f} MB/s), scan {scanned:.1f} s; processor time of the server and its past children {spent:.1f} s")
    print(f"sha256sum {hashed:.1f} s; copy with fsync for every {COPY_SYNC_EVERY} files {copied:.1f} s")
    thirds = [seen[i * (len(seen) - 1) // 4] for i in range(5)] if seen else [(0, 0)]
    print("resident MB of server and children at the quarters: " + ", ".join(f"{a / 1e6:.0f}+{b / 1e6:.0f}" for a, b in thirds))
    print(f"intake files={len(files)} mb={megabytes:.0f} files_s={len(files) / stored:.0f} mb_s={megabytes / stored:.1f} "
          f"of_sha256sum={hashed / stored:.2f} of_copy={copied / stored:.2f} examine_ms={examined / len(files) * 1e3:.2f} "
          f"rss_start_mb={thirds[0][0] / 1e6:.0f} rss_middle_mb={thirds[len(thirds) // 2][0] / 1e6:.0f} rss_end_mb={thirds[-1][0] / 1e6:.0f}")


if __name__ == "__main__":
    main()
