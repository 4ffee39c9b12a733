#!/usr/bin/env python3
"""Reads segments by their format page (segment.md) alone, and is the tests' second opinion.

    read_segment.py FILE [--may HEX]…

Checks all checksums and all that the page promises, then prints one line a document:
number, file id, size, SHA-256, pack, offset, first seen, file type, corpus, flags, and the
classes of its columns. Then one line for each feature: its hash (40 bits) and documents.
With --may instead one line for each HEX: the documents that may contain these bytes.
Exits with 1 at the first thing that does not hold.
"""

import struct
import sys

PAGE = 4096
SECTIONS = ["documents", "blocks", "matrices", "column maps", "rows", "features",
            "feature directory", "checksums"]
COLUMNS = [("file_id", "q"), ("sha256", "32s"), ("size", "Q"), ("first_seen", "q"),
           ("offset", "Q"), ("pack", "I"), ("file_type", "I"), ("head", "16s"),
           ("corpus", "B"), ("flags", "B"), ("by_id", "I")]
ALWAYS, NO_FEATURES = 1, 2
CHUNK, OVERLAP = 4 << 20, 4 << 10

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


def up(n, to):
    return (n + to - 1) // to * to


def row_bits(columns):
    if columns <= 2:
        return columns
    if columns <= 4:
        return 4
    size = (columns + 7) // 8
    return 8 * (size if size < 128 else up(size, 8))


def columns_of_size(n):
    if n < 4:
        return 0
    return 1 if n <= CHUNK + OVERLAP else (n - OVERLAP + CHUNK - 1) // CHUNK


def fold(c):
    return c + 32 if 65 <= c <= 90 else c


def gram_hash(four, seed):
    m = (int.from_bytes(bytes(fold(c) for c in four), "little") ^ seed) * 0x9E3779B1 & 0xFFFFFFFF
    m = (m ^ m >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    return m ^ m >> 16


def rows_of(width):
    """Of a column of a class."""
    return 3 << (width - 3) // 2 if width % 2 else 1 << width // 2


def row_of(value, width):
    if width % 2 == 0:
        return value % rows_of(width)
    third = rows_of(width) // 3
    return (value * 3 >> 32) * third + value % third


def run_hashes(run):
    """Of all grams that bytes containing this run have."""
    found = []
    for i in range(len(run) - 3):
        found.append(gram_hash(run[i:i + 4], 0))
    for i in range(len(run) - 7):
        if not any(run[i + 1:i + 8:2]):
            found.append(gram_hash(run[i:i + 8:2], 0xD6E8FEB8))
    return found


class Segment:
    def __init__(self, data):
        self.data = data
        self.read_header()
        self.read_footer()
        self.check_pages()
        self.read_documents()
        self.read_blocks()
        self.read_features()

    def sum(self, page, data):
        return crc32c(data, crc32c(self.salt + struct.pack("<Q", page)))

    def section(self, name):
        at, size = self.sections[SECTIONS.index(name)]
        return self.data[at:at + size]

    def read_header(self):
        data = self.data
        need(len(data) >= PAGE + 32, "header: too short")
        need(data[:8] == b"weirsegm", "header: magic")
        need(crc32c(data[:252]) == struct.unpack_from("<I", data, 252)[0], "header: checksum")
        version, length, features = struct.unpack_from("<HHI", data, 8)
        need(version == 2 and length == 256 and features == 0, "header: version")
        (self.salt, self.first_id, self.last_id, self.docs, self.block_count, self.matrix_count,
         self.features_version, self.sample_bytes, self.feature_count,
         self.fill) = struct.unpack_from("<8sqqIIIIQQH", data, 16)
        need(not any(data[74:96]) and not any(data[224:252]) and not any(data[256:PAGE]),
             "header: zeros")
        self.sections = [struct.unpack_from("<QQ", data, 96 + 16 * i) for i in range(8)]
        at = PAGE
        for name, (begin, size) in zip(SECTIONS, self.sections):
            at = up(at, PAGE if SECTIONS.index(name) >= 4 else 16)
            need(begin == at, f"header: {name} at {begin}, not {at}")
            at += size
        need(at + 32 == len(data), "header: the file's length")

    def read_footer(self):
        at = len(self.data) - 32
        magic, size, crc, zeros, own = struct.unpack_from("<8sQI8sI", self.data, at)
        need(magic == b"WSEGEND!" and size == len(self.data) and not any(zeros), "footer")
        need(own == self.sum(2 ** 64 - 2, self.data[at:at + 28]), "footer: checksum")
        need(crc == self.sum(2 ** 64 - 1, self.section("checksums")), "checksums: checksum")

    def check_pages(self):
        checks = self.section("checksums")
        pages = self.sections[7][0] // PAGE
        need(len(checks) == 4 * pages, "checksums: size")
        for page in range(pages):
            got = self.sum(page, self.data[page * PAGE:(page + 1) * PAGE])
            need(got == struct.unpack_from("<I", checks, 4 * page)[0], f"page {page}: checksum")

    def read_documents(self):
        data = self.section("documents")
        self.column = {}
        at = 0
        for name, kind in COLUMNS:
            size = struct.calcsize("<" + kind)
            self.column[name] = [struct.unpack_from("<" + kind, data, at + i * size)[0]
                                 for i in range(self.docs)]
            at += up(self.docs * size, 16)
        need(at == len(data), "documents: size")
        ids = [self.column["file_id"][i] for i in self.column["by_id"]]
        need(all(a < b for a, b in zip(ids, ids[1:])), "documents: order of ids")
        need(all(self.first_id <= i <= self.last_id for i in ids), "documents: ids")
        need(sum(self.column["size"]) == self.sample_bytes, "documents: sizes")

    def read_blocks(self):
        self.matrices = []  # class, columns, offset of rows, documents by column
        blocks, maps = self.section("blocks"), self.section("column maps")
        entries = self.section("matrices")
        need(len(blocks) == 8 * self.block_count, "blocks: size")
        need(len(entries) == 32 * self.matrix_count, "matrices: size")
        doc = entry = 0
        for i in range(self.block_count):
            doc_count, matrix_count = struct.unpack_from("<II", blocks, 8 * i)
            need(1 <= doc_count <= 32768, "blocks: documents")
            before = 18
            for _ in range(matrix_count):
                (width, mapped, zero, columns, base, zero2, rows_at,
                 map_at) = struct.unpack_from("<BBHIIIQQ", entries, 32 * entry)
                need(before <= width <= 46 and mapped <= 1 and zero == zero2 == 0, "matrices")
                need(1 <= columns <= 32768, "matrices: columns")
                size = row_bits(columns) * rows_of(width) // 8
                need(rows_at % (PAGE if size >= 65536 else 64) == 0, "matrices: alignment")
                need(rows_at + size <= self.sections[4][1], "matrices: rows")
                docs = (list(struct.unpack_from(f"<{columns}H", maps, map_at)) if mapped
                        else list(range(base, base + columns)))
                need(docs == sorted(docs) and docs[-1] < doc_count, "matrices: documents")
                self.matrices.append((width, columns, self.sections[4][0] + rows_at,
                                      [doc + d for d in docs]))
                before = width
                entry += 1
            doc += doc_count
        need(doc == self.docs and entry == self.matrix_count, "blocks: counts")
        self.classes = [[] for _ in range(self.docs)]
        for width, _, _, docs in self.matrices:
            for d in docs:
                self.classes[d].append(width)
        for d in range(self.docs):
            want = 0 if self.column["flags"][d] & ALWAYS else columns_of_size(
                self.column["size"][d])
            need(len(self.classes[d]) == want, f"document {d}: columns")

    def read_features(self):
        data, entries = self.section("features"), self.section("feature directory")
        need(len(entries) == (self.feature_count + 63) // 64 * 16, "feature directory: size")
        self.features = []
        at = value = 0

        def number():
            nonlocal at
            result = shift = 0
            while True:
                need(at < len(data), "features: cut short")
                c = data[at]
                at += 1
                result |= (c & 127) << shift
                shift += 7
                if c < 128:
                    return result

        for i in range(self.feature_count):
            if i % 64 == 0:
                first, begin = struct.unpack_from("<QQ", entries, i // 64 * 16)
                need(begin == at, "feature directory: offset")
                value = 0
            value += number()
            if i % 64 == 0:
                need(value == first, "feature directory: hash")
            count = number()
            size = number() if count >= 16 else None
            list_at, docs = at, []
            for k in range(count):
                docs.append(number() + (docs[-1] if k else 0))
            need(size in (None, at - list_at), "features: size of a list")
            need(docs and docs[-1] < self.docs and len(set(docs)) == count, "features: documents")
            need(not self.features or value > self.features[-1][0], "features: order")
            self.features.append((value, docs))
        need(at == len(data), "features: size")

    def bit(self, matrix, row, column):
        _, columns, rows_at, _ = matrix
        at = row * row_bits(columns) + column
        return self.data[rows_at + at // 8] >> at % 8 & 1

    def may_contain(self, run):
        found = {d for d in range(self.docs) if self.column["flags"][d] & ALWAYS}
        hashes = run_hashes(run)
        for matrix in self.matrices:
            rows = [row_of(h, matrix[0]) for h in hashes]
            for column in range(matrix[1]):
                if all(self.bit(matrix, row, column) for row in rows):
                    found.add(matrix[3][column])
        return sorted(found)


def main():
    path, runs = sys.argv[1], sys.argv[3::2]
    need(sys.argv[2::2] == ["--may"] * len(runs), "usage")
    with open(path, "rb") as f:
        s = Segment(f.read())
    for run in runs:
        print("may", *s.may_contain(bytes.fromhex(run)))
    if runs:
        return
    print("segment", s.first_id, s.last_id, s.docs, s.features_version, s.fill)
    c = s.column
    for d in range(s.docs):
        print("doc", d, c["file_id"][d], c["size"][d], c["sha256"][d].hex(), c["pack"][d],
              c["offset"][d], c["first_seen"][d], c["file_type"][d], c["corpus"][d],
              c["flags"][d], c["head"][d].hex(), ",".join(map(str, s.classes[d])) or "-")
    for value, docs in s.features:
        print("feature", f"{value:010x}", *docs)


try:
    main()
except Damaged as problem:
    sys.exit(f"{sys.argv[1]}: {problem}")
