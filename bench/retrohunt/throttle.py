"""A store of a stated speed: a file system in a file, whose reads are limited and counted by the kernel.

Needs the right to mount and the blkio controller; `available` says what is missing.
"""

import os
import shutil
import subprocess
from pathlib import Path

CONTROLLER = Path("/sys/fs/cgroup/blkio")
GROUP = "weir-bench"
SECTOR = 512


def available():
    """What is missing, or "" where it can be done."""
    if os.geteuid() != 0:
        return "the right to mount"
    if not (CONTROLLER / "blkio.throttle.read_bps_device").exists():
        return "the blkio controller of cgroups"
    return "" if shutil.which("losetup") and shutil.which("mkfs.ext4") else "losetup and mkfs.ext4"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Store:
    """A mounted folder. Processes that `enter` read from it at most so many bytes and times a second."""

    def __init__(self, image, size_bytes, bytes_s, reads_s):
        self.image, self.folder = Path(image), Path(image).with_suffix(".mounted")
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as f:
            f.truncate(size_bytes)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self.device = run("losetup", "-f", "--show", "--direct-io=on", self.image)
        run("mount", "-o", "noatime", self.device, self.folder)
        self.group = CONTROLLER / GROUP
        self.group.mkdir(exist_ok=True)
        number = (Path("/sys/block") / Path(self.device).name / "dev").read_text().strip()
        (self.group / "blkio.throttle.read_bps_device").write_text(f"{number} {bytes_s}")
        (self.group / "blkio.throttle.read_iops_device").write_text(f"{number} {reads_s}")

    def enter(self):
        """For preexec_fn: this process and its children."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def count(self):
        """Reads and bytes so far."""
        fields = (Path("/sys/block") / Path(self.device).name / "stat").read_text().split()
        return int(fields[0]), int(fields[2]) * SECTOR

    @staticmethod
    def forget():
        """Drop the page cache."""
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def close(self):
        run("umount", self.folder)
        run("losetup", "-d", self.device)
        self.group.rmdir()
        self.image.unlink()
        self.folder.rmdir()
