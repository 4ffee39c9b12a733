"""A store of a stated speed: a file system in a file, whose reads are limited and counted by the kernel.

Needs the right to mount and the blkio controller; `available` says what is missing.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

CONTROLLER = Path("/sys/fs/cgroup/blkio")
GROUP = "weir-bench"
SECTOR = 512
# Calls that Python has no names for: pidfd_open, process_madvise and its advice "write back and drop".
PIDFD_OPEN, PROCESS_MADVISE, MADV_PAGEOUT = 434, 440, 21


def available():
    """What is missing, or "" where it can be done."""
    if os.geteuid() != 0:
        return "the right to mount"
    if not (CONTROLLER / "blkio.throttle.read_bps_device").exists():
        return "the blkio controller of cgroups"
    return "" if shutil.which("losetup") and shutil.which("mkfs.ext4") else "losetup and mkfs.ext4"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Piece(ctypes.Structure):  # pylint: disable=too-few-public-methods
    """struct iovec."""
    _fields_ = [("base", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


def unmap(pid, folder):
    """Take what a process has mapped of the files of a folder out of its memory: the page cache keeps what is mapped."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = libc.syscall(PIDFD_OPEN, pid, 0)
    if process < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        pieces = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps if str(folder) in line]
    for start, end in pieces:
        while start < end:
            piece = Piece(start, end - start)
            done = libc.syscall(PROCESS_MADVISE, process, ctypes.byref(piece), 1, MADV_PAGEOUT, 0)
            if done <= 0:
                raise OSError(ctypes.get_errno(), "process_madvise")
            start += done
    os.close(process)


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

    def forget(self, pid):
        """Drop the page cache, and what this process has mapped of the store."""
        os.sync()
        unmap(pid, self.folder)
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def close(self):
        run("umount", self.folder)
        run("losetup", "-d", self.device)
        self.group.rmdir()
        self.image.unlink()
        self.folder.rmdir()
