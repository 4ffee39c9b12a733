"""Containers for tests, made by the programs people use, by Python, or byte by byte.

Every maker takes {path: bytes} and returns the container's bytes.
"""

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from weirtest import write_files


def run(*command, cwd=None, data=None):
    done = subprocess.run([str(c) for c in command], cwd=cwd, input=data, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout


class Folder:
    """A temporary folder that holds the files."""

    def __init__(self, files):
        self.files = files

    def __enter__(self):
        self.path = Path(tempfile.mkdtemp(prefix="weir-archive-"))
        self.root = self.path / "in"
        self.root.mkdir()
        write_files(self.root, self.files)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def made(self, name="out"):
        return (self.path / name).read_bytes()


def made_zip(files, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return out.getvalue()


def encrypted_zip(files, password, how="AES256"):
    """how: AES256, AES128, ZipCrypto; by 7-Zip."""
    with Folder(files) as f:
        run("7z", "a", "-tzip", f"-mem={how}", f"-p{password}", f.path / "out.zip", ".", cwd=f.root)
        return f.made("out.zip")


def made_7z(files, *options):
    with Folder(files) as f:
        run("7z", "a", *options, f.path / "out.7z", ".", cwd=f.root)
        return f.made("out.7z")


def made_tar(files, mode="w", **kwargs):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **kwargs) as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1600000000
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def bsdtar(files, *options):
    with Folder(files) as f:
        run("bsdtar", "-c", *options, "-f", f.path / "out", *files, cwd=f.root)
        return f.made()


def made_cab(files):
    with Folder(files) as f:
        run("gcab", "-c", "-z", f.path / "out.cab", *files, cwd=f.root)
        return f.made("out.cab")


def made_iso(files):
    with Folder(files) as f:
        run("xorriso", "-joliet", "on", "-outdev", f.path / "out.iso", "-map", f.root, "/")
        return f.made("out.iso")


def made_deb(files):
    with Folder(files) as f:
        (f.root / "DEBIAN").mkdir()
        (f.root / "DEBIAN/control").write_text(
            "Package: weir-test\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: t\n")
        run("dpkg-deb", "--root-owner-group", "-b", f.root, f.path / "out.deb")
        return f.made("out.deb")


def made_rpm(files):
    with Folder(files) as f:
        spec = ("Name: weirtest\nVersion: 1\nRelease: 1\nSummary: t\nLicense: t\nBuildArch: noarch\n%description\nt\n"
                "%install\nmkdir -p %{buildroot}/opt\ncp -r " + str(f.root) + "/. %{buildroot}/opt/\n"
                "%files\n" + "".join(f"/opt/{name}\n" for name in files))
        (f.path / "t.spec").write_text(spec)
        run("rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {f.path}/rpm", "--define", "_build_id_links none",
            "--define", "__os_install_post %{nil}", f.path / "t.spec")
        return next((f.path / "rpm/RPMS").rglob("*.rpm")).read_bytes()


def made_ar(files):
    with Folder(files) as f:
        run("ar", "rc", f.path / "out.a", *files, cwd=f.root)
        return f.made("out.a")


def made_cpio(files):
    with Folder(files) as f:
        return run("cpio", "-o", "-H", "newc", "--quiet", cwd=f.root, data="\n".join(files).encode() + b"\n")


def made_lha(files):
    """Level 0, stored."""
    out = b""
    for name, data in files.items():
        body = b"-lh0-" + struct.pack("<IIIBBB", len(data), len(data), 0x4f215b2e, 0x20, 0, len(name)) + name.encode()
        body += struct.pack("<H", crc16(data))
        out += bytes([len(body), sum(body) & 255]) + body + data
    return out + b"\0"


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def made_rar4(files):
    """Stored."""

    def block(kind, flags, body, data=b""):
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + data

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, b"\0" * 6)
    for name, data in files.items():
        raw = name.replace("/", "\\").encode()
        body = struct.pack("<IIBIIBBHI", len(data), len(data), 3, zlib.crc32(data), 0x4f215b2e, 20, 0x30, len(raw),
                           0o100644) + raw
        out += block(0x74, 0x8000, body, data)
    return out + block(0x7B, 0x4000, b"")


def made_rar5(files):
    """Stored."""

    def number(n):
        out = b""
        while n > 127:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n])

    def block(kind, flags, body, data=b""):
        head = number(kind) + number(flags | (2 if data else 0)) + (number(len(data)) if data else b"") + body
        head = number(len(head)) + head
        return struct.pack("<I", zlib.crc32(head)) + head + data

    out = b"Rar!\x1a\x07\x01\x00" + block(1, 0, number(0))
    for name, data in files.items():
        body = (number(4) + number(len(data)) + number(0o100644) + struct.pack("<I", zlib.crc32(data)) + number(0)
                + number(1) + number(len(name.encode())) + name.encode())
        out += block(2, 0, body, data)
    return out + block(5, 0, number(0))


def single(data, how):
    return {"gz": lambda: gzip.compress(data), "bz2": lambda: bz2.compress(data), "xz": lambda: lzma.compress(data),
            "lzma": lambda: lzma.compress(data, lzma.FORMAT_ALONE), "zst": lambda: run("zstd", "-q", "-c", data=data),
            "lz4": lambda: run("lz4", "-q", "-c", data=data)}[how]()


MAKERS = {
    "zip": ("ZIP", made_zip),
    "zip stored": ("ZIP", lambda files: made_zip(files, zipfile.ZIP_STORED)),
    "zip bzip2": ("ZIP", lambda files: made_zip(files, zipfile.ZIP_BZIP2)),
    "zip lzma": ("ZIP", lambda files: made_zip(files, zipfile.ZIP_LZMA)),
    "7z": ("7ZIP", made_7z),
    "tar": ("TAR", made_tar),
    "tar.gz": ("GZIP", lambda files: made_tar(files, "w:gz")),
    "tar.bz2": ("BZIP2", lambda files: made_tar(files, "w:bz2")),
    "tar.xz": ("XZ", lambda files: made_tar(files, "w:xz")),
    "tar.zst": ("ZSTD", lambda files: single(made_tar(files), "zst")),
    "tar.lz4": ("LZ4", lambda files: single(made_tar(files), "lz4")),
    "cab": ("CAB", made_cab),
    "iso": ("ISO", made_iso),
    "rpm": ("RPM", made_rpm),
    "cpio": ("CPIO", made_cpio),
    "ar": ("AR", lambda files: made_ar({Path(name).name: data for name, data in files.items()})),
    "xar": ("XAR", lambda files: bsdtar(files, "--format", "xar")),
    "lzh": ("LZH", made_lha),
    "rar4": ("RAR", made_rar4),
    "rar5": ("RAR", made_rar5),
}
