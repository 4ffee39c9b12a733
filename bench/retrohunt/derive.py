"""What the benchmark's corpus holds beside files of packages, made by lot from a fixed seed.

Executables packed by deflate and LZMA (malware is packed), copies with patched bytes, overlays,
truncated, tiny and empty files, nested archives, very big files, and needles: texts that stand
nowhere else, planted in every way that a string of a rule can ask for.
"""

import base64
import gzip
import hashlib
import io
import lzma
import random
import tarfile
import zipfile
import zlib

SEED = 20
HEADER_KEPT = 1024  # of a packed executable
PACKED = 0.6  # packed ones for each plain one: 37 % of all
LZMA_BYTES_MAX = 400_000  # it is slow
MIB = 1 << 20
CHUNK = 4 * MIB  # of big samples in the index …
OVERLAP = 4 << 10  # … and what it has beyond the next one's begin
CUSTOM_ALPHABET = "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba9876543210-_"
STANDARD_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def is_executable(data):
    return data[:2] == b"MZ" or data[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe")


def packed(data, lot):
    """The headers of an executable, and the rest as a packer leaves it."""
    rest = data[HEADER_KEPT:]
    if lot.random() < 0.3 and len(data) < LZMA_BYTES_MAX:
        return data[:HEADER_KEPT] + lzma.compress(rest, format=lzma.FORMAT_ALONE, preset=1)
    return data[:HEADER_KEPT] + zlib.compress(rest, 6)


def patched(data, lot, changes):
    """Some bytes are others."""
    data = bytearray(data)
    for _ in range(changes):
        data[lot.randrange(len(data))] = lot.randrange(256)
    return bytes(data)


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files:
            z.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def nested(files):
    """A ZIP in a tar.gz in a ZIP."""
    inner = zipped(files)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        info = tarfile.TarInfo("inner.zip")
        info.size = len(inner)
        t.addfile(info, io.BytesIO(inner))
    return zipped([("middle.tar.gz", gzip.compress(tar.getvalue(), mtime=0)), ("readme.txt", b"nested\n")])


# ---- Needles ----

def word(lot, n=None):
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(lot.choice(letters) for _ in range(n or lot.randint(9, 16)))


def mixed_case(lot, text):
    return "".join(c.upper() if lot.random() < 0.5 else c for c in text)


def xored(data, key):
    return bytes(b ^ key for b in data)


def encoded(data, alphabet, before):
    """As base64 behind so many other bytes."""
    text = base64.b64encode(b"?" * before + data + b"??").rstrip(b"=")
    return text.translate(bytes.maketrans(STANDARD_ALPHABET.encode(), alphabet.encode()))


def wide(text):
    return text.encode("utf-16-le")


def needle_kinds(lot):
    """Rows of (name, pattern of a rule, what is planted; one of these a file)."""
    def text(name, modifiers, plant):
        needle = word(lot)
        return name, f'"{needle}" {modifiers}'.strip(), [p if isinstance(p, bytes) else p.encode() for p in plant(needle)]

    code = lot.randbytes(24)
    spaced = " ".join(f"{b:02x}" for b in code)
    masked = " ".join(f"{b:02x}" if i % 7 != 5 else "??" for i, b in enumerate(code))
    nibbles = " ".join(f"{b:02x}" if i % 8 != 6 else f"{b:02x}"[0] + "?" for i, b in enumerate(code))
    halves = spaced[:35], spaced[36:]
    digits = [f"id{lot.randrange(10 ** 6)}" for _ in range(6)]
    tail = word(lot)
    return [
        text("plain", "", lambda n: [n] * 6),
        text("fullword", "fullword", lambda n: [f" {n} "] * 3),
        text("nocase", "nocase", lambda n: [mixed_case(lot, n) for _ in range(6)]),
        text("wide", "wide", lambda n: [wide(n)] * 6),
        text("wide_nocase", "wide ascii nocase", lambda n: [wide(mixed_case(lot, n)), mixed_case(lot, n), wide(n), n]),
        text("xor", "xor", lambda n: [xored(n.encode(), k) for k in (0, 1, 32, 90, 128, 255)]),
        text("xor_wide", "xor(3-19) wide", lambda n: [xored(wide(n), k) for k in (3, 7, 19)]),
        text("base64", "base64", lambda n: [encoded(n.encode(), STANDARD_ALPHABET, k) for k in (0, 1, 2)]),
        text("base64_custom", f'base64("{CUSTOM_ALPHABET}")',
             lambda n: [encoded(n.encode(), CUSTOM_ALPHABET, k) for k in (0, 1, 2)]),
        text("base64wide", "base64wide",
             lambda n: [wide(encoded(n.encode(), STANDARD_ALPHABET, k).decode()) for k in (0, 1, 2)]),
        ("hex", f"{{ {spaced} }}", [code] * 4),
        ("hex_mask", f"{{ {masked} }}", [bytes(b if i % 7 != 5 else lot.randrange(256) for i, b in enumerate(code))
                                         for _ in range(4)]),
        ("hex_nibble", f"{{ {nibbles} }}", [bytes(b if i % 8 != 6 else b & 0xf0 | lot.randrange(16) for i, b in enumerate(code))
                                            for _ in range(4)]),
        ("hex_jump", f"{{ {halves[0]} [3-400] {halves[1]} }}", [code[:12] + bytes(k) + code[12:] for k in (3, 57, 400)]),
        ("hex_alternative", f"{{ {halves[0]} ( 01 02 | 03 | 04 05 06 ) {halves[1]} }}",
         [code[:12] + k + code[12:] for k in (b"\1\2", b"\3", b"\4\5\6")]),
        ("regex", f"/{tail}\\/id[0-9]{{1,6}}\\.(php|asp)/", [f"{tail}/{d}.{lot.choice(['php', 'asp'])}".encode() for d in digits]),
        ("regex_nocase", f"/{tail[:6]}[a-f]{{2,4}}{tail[6:]}xy/i",
         [mixed_case(lot, tail[:6] + k + tail[6:] + "xy").encode() for k in ("ab", "fed", "cafe")]),
    ]


class Needle:
    def __init__(self, name, pattern):
        self.name, self.pattern, self.files = name, pattern, []

    def row(self):
        return {"name": self.name, "rule": f"rule needle_{self.name} {{ strings: $a = {self.pattern} condition: $a }}",
                "files": self.files}


# ---- All of it ----

class Derived:
    def __init__(self, base, size):
        self.base, self.small = base, size == "smoke"
        self.needles = []

    def lot(self, name):
        return random.Random(f"{SEED} {name}")

    def all(self):
        """(name, bytes, how it was made) of everything."""
        for name, data in self.base:
            yield name, data, "package"
        yield from self.executables()
        yield from self.others()
        yield from self.tiny()
        yield from self.big()
        yield from self.planted()

    def changed_copies(self, number):
        """Each file with eight bytes of every 16 KB changed: other contents with the same shape."""
        for name, data, _ in self.all():
            if len(data) < 32:
                continue
            lot = self.lot(f"copy {number} {name} {len(data)}")
            data = bytearray(data)
            for at in range(0, len(data), 16384):
                place = min(at + lot.randrange(16376), len(data) - 8)
                data[max(place, 16):place + 8] = lot.randbytes(place + 8 - max(place, 16))
            yield f"{name}.{number}", bytes(data), "changed copy"

    def executables(self):
        for name, data in self.base:
            if not is_executable(data) or len(data) < 4 * HEADER_KEPT:
                continue
            lot = self.lot("executable " + name)
            if lot.random() < PACKED:
                yield name + ".packed", packed(data, lot), "packed"
            if lot.random() < 0.08 and len(data) < 2 * MIB:
                yield name + ".patched", patched(data, lot, 12), "patched"
            if lot.random() < 0.04 and len(data) < 2 * MIB:
                yield name + ".overlay", data + lot.randbytes(lot.randrange(64, 50_000)), "overlay"
            if lot.random() < 0.05:
                yield name + ".cut", data[:lot.randrange(1, min(len(data), 2 * MIB))], "truncated"

    def others(self):
        lot = self.lot("archives")
        short = [(name, data) for name, data in self.base if 100 < len(data) < 100_000]
        for number in range(20 if self.small else 300):
            yield f"nested{number}.zip", nested(lot.sample(short, lot.randint(1, 5))), "nested archive"
        for number, (name, data) in enumerate(lot.choices(short, k=50 if self.small else 6200)):
            yield f"{name}.{number}", patched(data, lot, 6) + b"\n%d\n" % number, "patched"

    def tiny(self):
        lot = self.lot("tiny")
        yield "empty", b"", "empty"
        for n in (*range(1, 9), 15, 16, 17, 31):
            for kind in range(3):
                yield f"tiny{n}.{kind}", [lot.randbytes(n), b"MZ\x90\0"[:n] + bytes(max(0, n - 4)), b"a" * n][kind], "tiny"

    def big(self):
        """Noise and code in turn; two are above the size that is hunted."""
        lot = self.lot("big")
        sizes = (5 * MIB, 9 * MIB + 17) if self.small else (5 * MIB, 9 * MIB + 17, 33 * MIB + 1, 100_000_001, 120 * MIB)
        parts = [data for _, data in self.base if 100_000 < len(data) < 4 * MIB] or [data for _, data in self.base]
        for number, size in enumerate(sizes):
            made = bytearray()
            while len(made) < size:
                made += lot.choice(parts)
                made += lot.randbytes(lot.randrange(4096))
            yield f"big{number}", bytes(made[:size]), "big"

    def planted(self):
        lot = self.lot("needles")
        short = [data for _, data in self.base if 2_000 < len(data) < 300_000]
        long = [data for _, data in self.base if CHUNK + 200_000 < len(data) < 3 * CHUNK] or [lot.randbytes(CHUNK + MIB)]
        self.needles = []
        for name, pattern, plants in needle_kinds(lot):
            needle = Needle(name, pattern)
            self.needles.append(needle.row())
            for place, plant in enumerate(plants):
                yield self.host(needle, plant, lot.choice(short), f"short{place}", lot)
            for border in ("chunk",) if self.small else ("chunk", "overlap", "last"):
                yield self.host(needle, lot.choice(plants), lot.choice(long), border, lot)

    @staticmethod
    def host(needle, plant, data, place, lot):
        """A copy of a file with the needle written over it."""
        n = len(plant)
        if place == "chunk":  # across the beginning of a chunk
            at = lot.randrange(1, len(data) // CHUNK + 1) * CHUNK - lot.randrange(1, n)
        elif place == "overlap":  # across the end of a chunk
            at = lot.randrange(1, (len(data) - OVERLAP) // CHUNK + 1) * CHUNK + OVERLAP - lot.randrange(1, n)
        elif place == "last" or place.endswith("1"):
            at = len(data) - n
        else:
            at = 0 if place.endswith("2") else lot.randrange(len(data) - n)
        made = data[:at] + plant + data[at + n:]
        needle.files.append(hashlib.sha256(made).hexdigest())
        return f"needle.{needle.name}.{place}", made, "needle"
