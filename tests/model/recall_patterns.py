"""Patterns of YARA rules by lot, each with bytes that it finds.

Every way of writing one that the planner of the index has to understand: texts with all modifiers, hex
strings with masks, jumps, alternatives and nots, regular expressions. What does not compile is drawn
again by the caller, so nothing here needs to know what goes with what.
"""

import base64
from dataclasses import dataclass

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Right beside the letters, where folding of cases goes wrong; and what people write.
SYMBOLS = "@[`{Z^_~ -=.:/\\%$#!0123456789\"'|&"
WORDS = ["invoice", "Payload", "GetProcAddress", "cmd.exe /c ", "powershell", "MUTEX_77", "beacon", "kernel32.dll", "http://",
         "update.php?id=", "Salmon Run", "fishladder", "AAAAAAAA", "abababab", "0000", "Ünï-çødé", "password", "ZzZz"]
STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
OTHER = "!@#$%^&*(){}[].,|ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstu"


@dataclass
class Pattern:
    text: str  # as it stands behind `$name =`
    plants: list  # bytes, each found by it in most surroundings


def escaped(data):
    """Bytes inside the quotes of a text."""
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in data)


def literal(r, least=1):
    n = max(least, r.choice([1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 12, 16, 25, 60]))
    kind = r.randrange(8)
    if kind < 3:
        text = r.choice(WORDS) + "".join(r.choice(LETTERS) for _ in range(r.choice([0, 2, 5])))
        return text.encode()[:max(n, 4)]
    if kind == 3:
        return r.randbytes(n)
    if kind == 4:
        return "".join(r.choice(SYMBOLS + LETTERS[:3]) for _ in range(n)).encode()
    if kind == 5:
        return (r.choice("aAzZ0\0") * n).encode()
    if kind == 6:
        return "".join(r.choice(LETTERS) + "\0" for _ in range((n + 1) // 2)).encode()  # looks wide
    return "".join(r.choice(LETTERS) for _ in range(n)).encode()


def widened(data):
    return b"".join(bytes((b, 0)) for b in data)


def any_case(r, data):
    return bytes(r.choice((b, b ^ 0x20)) if chr(b) in LETTERS and b < 128 else b for b in data)


# ---- Texts ----

def text_pattern(r):
    kind = r.random()
    if kind < 0.12:
        return base64_pattern(r)
    data = literal(r)
    if kind < 0.3:
        return xor_pattern(r, data)
    nocase, wide, fullword = r.random() < 0.35, r.random() < 0.35, r.random() < 0.2
    ascii_too = wide and r.random() < 0.5
    modifiers = [m for m, on in (("nocase", nocase), ("wide", wide), ("ascii", ascii_too or (not wide and r.random() < 0.1)),
                                 ("fullword", fullword), ("private", r.random() < 0.05)) if on]
    r.shuffle(modifiers)
    plants = []
    for _ in range(3):
        one = any_case(r, data) if nocase else data
        if wide and (not ascii_too or r.random() < 0.5):
            one = widened(one)
        if fullword:
            edge = r.choice([b" ", b"\0", b"-", b"x", b"\xff"])  # an x makes it no word: a near miss
            one = edge + one + edge
        plants.append(one)
    return Pattern(f'"{escaped(data)}" {" ".join(modifiers)}'.strip(), plants)


def xor_pattern(r, data):
    low, high = sorted((r.randrange(256), r.randrange(256)))
    which, keys = r.choice([("xor", range(256)), (f"xor({low}-{high})", range(low, high + 1)), (f"xor({low})", (low,)),
                            ("xor(0)", (0,)), ("xor(1-255)", range(1, 256)), ("xor(32)", (32,))])
    form = r.choice(["", " wide", " ascii wide", " ascii"])
    forms = {"": [data], " wide": [widened(data)], " ascii wide": [data, widened(data)], " ascii": [data]}[form]
    fullword = " fullword" if r.random() < 0.15 else ""
    return Pattern(f'"{escaped(data)}" {which}{form}{fullword}',
                   [bytes(b ^ key for b in r.choice(forms)) for key in (keys[0], keys[-1], r.choice(keys))])


def base64_pattern(r):
    data = literal(r, 3)
    alphabet = r.choice([STANDARD, STANDARD, OTHER])
    argument = f'("{escaped(alphabet.encode())}")' if alphabet == OTHER else ""
    ascii_too, wide_too = r.choice([(True, False), (True, False), (False, True), (True, True)])
    modifiers = " ".join(m for m, on in ((f"base64{argument}", ascii_too), (f"base64wide{argument}", wide_too)) if on)
    if r.random() < 0.2:
        modifiers += r.choice([" wide", " ascii wide"])
    plants = []
    for before in (0, 1, 2):
        one = base64.b64encode(r.randbytes(before) + data + r.randbytes(r.choice([0, 1, 2, 4, 7]))).rstrip(b"=")
        one = one.translate(bytes.maketrans(STANDARD.encode(), alphabet.encode()))
        source = r.random()
        if wide_too and (not ascii_too or source < 0.5):
            one = widened(one)
        plants.append(one)
    if "ide" in modifiers.split("base64")[-1] and "base64wide" not in modifiers:
        one = base64.b64encode(widened(data)).rstrip(b"=")
        plants.append(one.translate(bytes.maketrans(STANDARD.encode(), alphabet.encode())))
    return Pattern(f'"{escaped(data)}" {modifiers}', plants)


def four_of_a_kind(r):
    """Four bytes that look like one with a mask to the engine, and all that it then finds."""
    least = r.choice([0x81, 0x61, 0x30, 0x41, 0])
    low, high = r.sample([1 << i for i in range(7) if not least >> i & 1], 2)
    within = [b for b in range(least, (least | low | high) + 1) if b & least == least]
    some = sorted({least, least | low | high, *r.sample(within, min(4, len(within)))})[:4]
    return some, [least, least | low, least | high, least | low | high, *some]


# ---- Hex strings ----

def hex_byte(r):
    """One token and what makes a byte for it."""
    b, kind = r.randrange(256), r.randrange(20)
    if kind == 0:
        return "??", lambda: r.randrange(256)
    if kind == 1:
        return f"{b >> 4:x}?", lambda: b & 0xf0 | r.randrange(16)
    if kind == 2:
        return f"?{b & 15:x}", lambda: b & 15 | r.randrange(16) << 4
    if kind == 3:
        return f"~{b:02x}", lambda: r.choice([x for x in range(256) if x != b])
    if kind == 4:
        return f"~{b >> 4:x}?", lambda: r.choice([x for x in range(256) if x >> 4 != b >> 4])
    return f"{b:02X}" if r.random() < 0.5 else f"{b:02x}", lambda: b


def hex_run(r, n):
    tokens = [hex_byte(r) for _ in range(n)]
    return " ".join(t for t, _ in tokens), lambda: bytes(make() for _, make in tokens)


def hex_jump(r):
    if r.random() < 0.02:  # exact ones have 16 bits
        return r.choice(["[65536]", "[65535][1]", "[65537]"]), lambda: r.randbytes(r.randrange(3))
    low = r.choice([0, 0, 1, 2, 5, 100])
    high = low + r.choice([0, 1, 4, 30, 1000, 6000])
    text = r.choice([f"[{low}-{high}]", f"[{high}]", f"[{low}-]", "[-]"])
    least, most = {f"[{high}]": (high, high), f"[{low}-]": (low, low + 200), "[-]": (0, 5000)}.get(text, (low, high))
    return text, lambda: r.randbytes(r.randint(least, most))


def hex_alternative(r, depth):
    if r.random() < 0.2:
        some, found = four_of_a_kind(r)
        return "( " + " | ".join(f"{b:02X}" for b in some) + " )", lambda: bytes((r.choice(found),))
    parts = [hex_sequence(r, depth + 1, r.choice([1, 1, 2, 3])) for _ in range(r.randint(2, 4))]
    return "( " + " | ".join(t for t, _ in parts) + " )", lambda: r.choice(parts)[1]()


def hex_sequence(r, depth, length):
    """A list of parts that begins and ends with bytes."""
    if depth:
        return hex_run(r, length)
    parts = [hex_run(r, r.choice([1, 2, 3, 4, 5, 6, 9]))]
    for _ in range(r.choice([0, 0, 1, 1, 2, 3])):
        kind = r.random()
        if kind < 0.5:
            parts += [hex_jump(r), hex_run(r, r.choice([1, 2, 4, 5, 7]))]
        else:
            parts.append(hex_alternative(r, depth))
            if r.random() < 0.8:
                parts.append(hex_run(r, r.choice([1, 2, 4, 5])))
    return " ".join(t for t, _ in parts), lambda: b"".join(make() for _, make in parts)


def hex_pattern(r):
    text, make = hex_sequence(r, 0, 0)
    return Pattern("{ " + text + " }" + (" private" if r.random() < 0.03 else ""), [make() for _ in range(3)])


# ---- Regular expressions ----

CLASSES = [("[a-c]", b"abc"), ("[0-9]", b"0123456789"), ("[^x]", b"yz09 A"), (".", b"aZ0. \xff"), (r"\d", b"0123456789"),
           (r"\w", b"azAZ09_"), (r"\s", b" \t\n"), (r"\x41", b"A"), ("[xyz_@-]", b"xyz_@-"), ("[a-z]", b"aqz"), (r"\D", b"ax "),
           (r"[\x80-\xff]", b"\x80\xff\xc3"), (r"\S", b"ax9"), (r"[^\n]", b"ab\0"), (r"\.", b"."), (r"\/", b"/"), ("[A-Z]", b"AQZ"),
           (r"[^a-z]", b"A0@["), ("k", b"k"), ("[kK]", b"kK")]
ONCE = [("", 1, 1)] * 8
GREEDY = [*ONCE, ("?", 0, 1), ("*", 0, 4), ("+", 1, 4), ("{2}", 2, 2), ("{1,3}", 1, 3), ("{0,2}", 0, 2), ("{2,}", 2, 4), ("{0}", 0, 0)]
LAZY = [*ONCE, ("*?", 0, 3), ("+?", 1, 3), ("??", 0, 1), ("{3,5}?", 3, 5), ("{2}", 2, 2)]  # an expression has one kind


def regex_part(r, depth, marks):
    kind = r.random()
    if kind < 0.5:
        text = r.choice([r.choice(WORDS), "".join(r.choice(LETTERS) for _ in range(r.randint(1, 7)))])
        if r.random() < 0.3:
            text = text[:r.randint(1, 4)]
        quoted = "".join("\\" + c if c in "\\/.^$|?*+()[]{}" else c for c in text)
        return quoted, lambda: text.encode()
    if kind < 0.75 or depth > 2:
        text, some = r.choice(CLASSES)
        if r.random() < 0.2:
            members, some = four_of_a_kind(r)
            text = "[" + "".join(f"\\x{b:02x}" for b in members) + "]"
        return quantified(r, text, marks, lambda: bytes((r.choice(some),)))
    options = [regex_sequence(r, depth + 1, marks) for _ in range(r.choice([1, 2, 2, 3]))]
    if r.random() < 0.1:
        options.append(("", lambda: b""))
    group = r.choice(["(", "(", "(?:"]) + "|".join(t for t, _ in options) + ")"
    return quantified(r, group, marks, lambda: r.choice(options)[1]())


def quantified(r, text, marks, make):
    mark, least, most = r.choice(marks)
    return text + mark, lambda: b"".join(make() for _ in range(r.randint(least, most)))


def regex_sequence(r, depth, marks):
    parts = [regex_part(r, depth, marks) for _ in range(r.choice([1, 2, 2, 3, 4]))]
    return "".join(t for t, _ in parts), lambda: b"".join(make() for _, make in parts)


def regex_pattern(r):
    marks = r.choice([GREEDY, GREEDY, LAZY])
    text, make = regex_sequence(r, 0, marks)
    anchor = r.random()
    if anchor < 0.05:
        text = "^" + text
    elif anchor < 0.1:
        text += "$"
    elif anchor < 0.15:
        text = r"\b" + text
    if r.random() < 0.05:
        text = "(" + text + "|" + regex_sequence(r, 1, marks)[0] + ")"
    flags = r.choice(["", "", "", "i", "s", "is"])
    modifiers = r.choice(["", "", "", " nocase", " wide", " ascii wide", " wide nocase", " fullword"])
    plants = []
    for _ in range(3):
        one = make()
        if "i" in flags or "nocase" in modifiers:
            one = any_case(r, one)
        if "wide" in modifiers and (modifiers != " ascii wide" or r.random() < 0.5):
            one = widened(one)
        plants.append(one)
    return Pattern(f"/{text}/{flags}{modifiers}", plants)


def pattern(r):
    return r.choices([text_pattern, hex_pattern, regex_pattern], [5, 4, 4])[0](r)
