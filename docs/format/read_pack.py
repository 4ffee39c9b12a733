#!/usr/bin/env python3
"""Reads packs by their format page (pack.md) alone, and is the tests' second opinion.

    read_pack.py FILE…

One line a record: pack, offset of the sample, its length, SHA-256, and `alive`,
`erased` or `broken`; then `sealed COUNT` or `open`. Exits with 1 at the first
thing that does not hold.
"""

import hashlib
import re
import struct
import sys

MARKS = {0: "alive", int.from_bytes(b"!ERASED!", "little"): "erased",
         int.from_bytes(b"!BROKEN!", "little"): "broken"}
SEALED = int.from_bytes(b"!SEALED!", "little")

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    number = int(re.search(r"(\d{10})\.pack$", path).group(1))
    need(len(data) >= 40, "shorter than a header")
    magic, version, length, stored, features, salt, crc, mark = struct.unpack_from(
        "<8sHHII8sIQ", data)
    need(magic == b"weirpack" and version == 1 and length == 40 and features == 0, "header")
    need(stored == number, "number")
    need(crc == crc32c(data[:28]), "header checksum")

    def bound(offset, size):
        return crc32c(struct.pack("<I8sQ", number, salt, offset) + data[offset:offset + size])

    end = len(data) - (56 if mark == SEALED else 0)
    at, count, root = 40, 0, bytes(32)
    while at < end:
        need(end - at >= 64, f"{at}: too short for a record header")
        magic, length, flags, size, sha256, data_crc, crc, state = struct.unpack_from(
            "<4sHHQ32sIIQ", data, at)
        need(magic == b"WREC" and length == 64 and flags == 0, f"{at}: record header")
        need(crc == bound(at, 52), f"{at}: record header checksum")
        sample = data[at + 64:at + 64 + size]
        need(at + 64 + (size + 7) // 8 * 8 <= end, f"{at}: beyond the end")
        need(state in MARKS, f"{at}: mark")
        if MARKS[state] == "alive":
            need(data_crc == crc32c(sample), f"{at}: checksum")
            need(sha256 == hashlib.sha256(sample).digest(), f"{at}: SHA-256")
        elif MARKS[state] == "erased":
            need(not any(sample), f"{at}: erased, but not zero")
        print(number, at + 64, size, sha256.hex(), MARKS[state])
        root = hashlib.sha256(root + data[at + 8:at + 52]).digest()
        count += 1
        at += 64 + (size + 7) // 8 * 8
    if mark != SEALED:
        print("open")
        return
    magic, length, flags, total, stored_root, reserved, crc = struct.unpack_from(
        "<4sHHQ32sII", data, end)
    need(magic == b"WEND" and length == 56 and flags == 0 and reserved == 0, "footer")
    need(crc == bound(end, 52), "footer checksum")
    need(total == count and stored_root == root, "the footer does not fit the records")
    print("sealed", count)


def main():
    for path in sys.argv[1:]:
        try:
            read(path)
        except Damaged as problem:
            sys.exit(f"{path}: {problem}")


main()
