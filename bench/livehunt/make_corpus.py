#!/usr/bin/env python3
"""Copy real files of installed Debian packages into one folder.

    make_corpus.py FOLDER [--files 2000]

Takes distinct regular files of 1 byte to 1 MB that dpkg knows, spread evenly
over all of them in order of the SHA-256 of their path, so that the choice does
not depend on what the folders are called. Programs and libraries are taken
three times as often as data, as in what people submit.
"""
import argparse
import hashlib
import pathlib


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--files", type=int, default=2000)
    a = p.parse_args()
    paths = set()
    for listing in pathlib.Path("/var/lib/dpkg/info").glob("*.list"):
        paths.update(listing.read_text(errors="surrogateescape").split("\n"))
    ranked = sorted((hashlib.sha256(x.encode(errors="surrogateescape")).hexdigest(), x) for x in paths if x)
    a.folder.mkdir(parents=True, exist_ok=True)
    seen, binaries, others, total = set(), 0, 0, 0
    for rank, name in ranked:
        path = pathlib.Path(name)
        if len(seen) == a.files:
            break
        try:
            if path.is_symlink() or not path.is_file() or not 1 <= path.stat().st_size <= 1 << 20:
                continue
            data = path.read_bytes()
        except OSError:
            continue
        is_binary = data[:4] == b"\x7fELF" or data[:2] == b"MZ"
        if not is_binary and others > (a.files // 4):
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        binaries += is_binary
        others += not is_binary
        total += len(data)
        (a.folder / f"{rank[:8]}-{path.name[:60]}").write_bytes(data)
    print(f"{len(seen)} files, {total} bytes, {binaries} programs and libraries")


main()
