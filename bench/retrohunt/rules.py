"""Rules of the Retrohunt benchmark, our own, drawn by lot from a fixed seed.

    rules.py CORPUS OUTPUT [--rules 400]

They cover every construct that the planner of the index reads, mixed as in public collections: lengths of
strings, shares of wide, nocase, hex, masks, regular expressions and module conditions. A rule's
strings stand in most cases nowhere in the corpus (as when hunting), else in a few files, in many
files, or are its planted needles. OUTPUT is JSON: a list of {name, group, origin, sure, text}; `sure` is how many fixed
bytes in one piece every match of the rule has, whichever of its strings it has.
"""

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

import yara_x

SEED = 21
LENGTHS = [((1, 3), 0.5), ((4, 7), 9), ((8, 11), 17), ((12, 15), 15), ((16, 24), 30), ((25, 40), 28.5)]  # % of texts
ORIGINS = {"nowhere": 78, "few": 17, "many": 5}  # so that three rules of four touch at most a file, as public ones do
GROUPS = {"text": 34, "hex": 22, "mixed": 14, "regex": 4, "xor": 2, "base64": 2, "of": 4, "for": 4, "refs": 4, "module": 9,
          "hash": 1, "file": 1, "nothing": 1}  # % of rules
MODULES = ("pe", "elf", "dotnet", "hash", "math")
SAMPLED = 1200  # files that strings are taken from
MANY = 12  # a text in so many of them stands in many files
BYTES_LOOKED_AT = 400_000


class Source:
    """Texts and bytes of the corpus by how often they stand there."""

    def __init__(self, corpus, lot):
        listed = json.loads((corpus / "corpus.json").read_text())
        names = sorted(n for n, f in listed["files"].items() if 500 < f["size"] < 20_000_000)
        self.lot, self.needles = lot, listed["needles"]
        self.files = [(corpus / "files" / n[:2] / n).read_bytes()[:BYTES_LOOKED_AT] for n in lot.sample(names, min(SAMPLED, len(names)))]
        seen = Counter()
        for data in self.files:
            seen.update(set(re.findall(rb"[ -~]{6,60}", data)))
        self.few = sorted(t for t, n in seen.items() if n <= 2 and len(t) >= 8 and tells_something(t))
        self.many = sorted(t for t, n in seen.items() if n >= MANY and tells_something(t))
        self.programs = [d for d in self.files if d[:2] == b"MZ"]

    def text(self, origin, n):
        lot = self.lot
        if origin == "nowhere":
            return invented(lot, n)
        some = lot.choice(self.few if origin == "few" else self.many)
        at = lot.randrange(max(1, len(some) - n + 1))
        return some[at:at + n]

    def code(self, origin, n):
        lot = self.lot
        if origin == "nowhere":
            return lot.randbytes(n)
        while True:
            data = lot.choice(self.programs if origin == "many" or lot.random() < 0.5 else self.files)
            at = lot.randrange(max(1, len(data) - n))
            if origin == "many":  # what compilers put everywhere
                at = lot.choice([0x40, 0x4e]) if lot.random() < 0.5 else at
            if len(data) >= at + n and tells_something(data[at:at + n]):
                return data[at:at + n]


def tells_something(data):
    """Blanks and zeros alone are nobody's signature."""
    return len(set(data)) > len(data) // 2 and data.count(0) <= len(data) // 3


def invented(lot, n):
    """A text as malware has them, that nobody has written."""
    vowels, rest = "aeiou", "bcdfghjklmnprstvwz"
    words = []
    while len(".".join(words)) < n:
        words.append("".join(lot.choice(rest) + lot.choice(vowels) for _ in range(lot.randint(2, 4))))
    return lot.choice([".", "_", " ", "/", "\\", "-"]).join(words)[:n].encode()


def with_imports(text):
    """Rules with what they need: an imported module parses each file."""
    conditions = re.sub(r'"[^"\n]*"', "", text)
    return "".join(f'import "{m}"\n' for m in MODULES if re.search(rf"\b{m}\.", conditions)) + text


def quoted(data):
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in data)


def length(lot):
    (low, high), = lot.choices([span for span, _ in LENGTHS], [w for _, w in LENGTHS])
    return lot.randint(low, high)


# ---- Patterns: the text of one, and its longest run of fixed bytes ----

def text_pattern(source, origin):
    lot = source.lot
    data = source.text(origin, length(lot))
    modifiers = lot.choices(["", " wide", " ascii wide", " nocase", " ascii wide nocase", " fullword"], [48, 20, 14, 7, 3, 8])[0]
    return f'"{quoted(data)}"{modifiers}', len(data)


def hex_pattern(source, origin):
    lot = source.lot
    code = source.code(origin, lot.choices([6, 8, 10, 12, 16, 20, 24, 32], [1, 3, 4, 4, 5, 5, 4, 4])[0])
    tokens = [f"{b:02X}" for b in code]
    if lot.random() < 0.62:  # as many have wildcards
        for at in lot.sample(range(2, len(tokens) - 1), k=max(1, len(tokens) // 9)):
            kind = lot.random()
            byte = tokens[at][:2]
            tokens[at] = ("??" if kind < 0.6 else byte[0] + "?" if kind < 0.8 else f"( {byte} | {lot.randrange(256):02X} )" if kind < 0.92
                          else f"[1-{lot.choice([2, 4, 16])}]" if at < len(tokens) - 2 else "??")
    return "{ " + " ".join(tokens) + " }", longest_run(tokens)


def longest_run(tokens):
    return max(map(len, re.findall("x+", "".join("x" if re.fullmatch("[0-9A-F]{2}", t) else "." for t in tokens))), default=0)


def regex_pattern(source, origin):
    lot = source.lot
    text = source.text(origin, lot.randint(6, 16)).decode("latin-1")
    text = "".join(c if c.isalnum() else "\\x%02x" % ord(c) for c in text)
    cut = len(re.findall(r"\\x..|.", text))
    made = lot.choice([rf"{text}[0-9]{{1,4}}", rf"{text}(a|b|c)?", rf"{text}[a-z\-]{{2,8}}\.(com|net)", rf"({text}|{quoted_regex(source)})[\x00-\x20]"])
    return f"/{made}/{lot.choice(['', '', 'i'])}", cut


def quoted_regex(source):
    return "".join(c if c.isalnum() else "\\x%02x" % ord(c) for c in source.text("nowhere", 10).decode())


def xor_pattern(source, origin):
    data = source.text(origin, source.lot.randint(8, 24))
    return f'"{quoted(data)}" ' + source.lot.choice(["xor", "xor(1-255)", "xor(0x20-0x40)", "xor wide"]), len(data)


def base64_pattern(source, origin):
    data = source.text(origin, source.lot.randint(9, 24))
    return f'"{quoted(data)}" ' + source.lot.choice(["base64", "base64wide", "base64 base64wide"]), len(data)


# ---- Rules ----

class Rule:
    def __init__(self, source, name, origin):
        self.source, self.name, self.origin = source, name, origin
        self.strings, self.runs, self.sure = [], [], 0

    def add(self, maker, origin=None):
        text, run = maker(self.source, origin or self.origin)
        self.strings.append(f"\t\t$s{len(self.strings)} = {text}\n")
        self.runs.append(run)

    def needing(self, k):
        """k of the strings have to be there: whichever they are, the longest of them has so many bytes."""
        self.sure = sorted(self.runs)[k - 1]

    def text(self, condition, kind="rule"):
        strings = f"\tstrings:\n{''.join(self.strings)}" if self.strings else ""
        return f"{kind} {self.name} {{\n{strings}\tcondition:\n\t\t{condition}\n}}\n"


def header(lot):
    return lot.choices(["uint16(0) == 0x5A4D and ", "uint16(0) == 0x5A4D and filesize < 4MB and ", "uint32(0) == 0x464C457F and ",
                        "filesize < 2MB and ", "uint32be(0) == 0x504B0304 and ", ""], [28, 22, 8, 14, 3, 25])[0]


def of_strings(rule, lot):
    n = len(rule.strings)
    # One text that stands in many files alone tells nothing, so nobody asks for that.
    text, k = ("all of them", n) if rule.origin == "many" else lot.choice(
        [("any of them", 1), ("all of them", n), (f"{min(2, n)} of them", min(2, n)), (f"{max(1, n - 1)} of ($s*)", max(1, n - 1))])
    rule.needing(k)
    return text


def plain_rule(rule, lot, makers):
    for maker in makers:
        rule.add(maker)
    return rule.text(header(lot) + of_strings(rule, lot))


def make(source, group, name, origin):
    lot, rule = source.lot, Rule(source, name, origin)
    if group in ("text", "hex", "regex", "xor", "base64"):
        maker = {"text": text_pattern, "hex": hex_pattern, "regex": regex_pattern, "xor": xor_pattern, "base64": base64_pattern}[group]
        count = lot.randint(1, 2) if group in ("regex", "xor", "base64") else lot.choice([1, 1, 2, 3, 4, 6])
        return rule, plain_rule(rule, lot, [maker] * count)
    if group == "mixed":
        return rule, plain_rule(rule, lot, lot.choices([text_pattern, hex_pattern, regex_pattern], [6, 4, 1], k=lot.randint(2, 7)))
    if group == "of":
        for _ in range(lot.randint(4, 9)):
            rule.add(text_pattern, lot.choice(["nowhere", origin]))
        rule.needing(2)
        return rule, rule.text(lot.choice([f"3 of them and {header(lot)}true", "2 of ($s0, $s1, $s2) or 3 of them", "60% of them",
                                           "(1 of ($s0, $s1) and 1 of ($s2, $s3)) or all of them"]))
    if group == "for":
        for _ in range(lot.randint(1, 3)):
            rule.add(lot.choice([text_pattern, hex_pattern]))
        rule.needing(1)
        return rule, rule.text(lot.choice([
            "for any of them : ( @ < 4096 )", "for all of them : ( # > 0 )", "$s0 at 0 or #s0 > 2" if len(rule.strings) == 1 else "any of them in (0..filesize)",
            "for any i in (1..#s0) : (@s0[i] > 64)" + "".join(f" and $s{i}" for i in range(1, len(rule.strings))),
            "for any of ($s*) : ( $ at pe.entry_point or # > 1 )"]))
    if group == "refs":
        return rule, referring(source, rule, origin)
    if group == "module":
        return rule, module_rule(rule, lot)
    if group == "hash":
        digest = f"{lot.getrandbits(128):032x}"
        return rule, rule.text(lot.choice([f'hash.md5(0, filesize) == "{digest}"', f'hash.sha256(0, filesize) == "{digest * 2}"',
                                           f'pe.imphash() == "{digest}"']))
    if group == "file":
        return rule, rule.text(lot.choice([f"filesize > 8MB and uint32be(0) == 0x{lot.getrandbits(32):08x}", "filesize == 1234567",
                                           "uint16(0) == 0x5A4D and filesize < 900"]))
    return rule, nothing(rule, lot)


def nothing(rule, lot):
    """What no index can narrow."""
    kind = lot.randrange(3)
    if kind == 0:
        rule.strings = ["\t\t$s0 = { 8D 4? ?? 8? 5? }\n"]
        return rule.text("#s0 > 400")
    return rule.text([f"math.entropy(0, filesize) > 7.9{lot.randrange(90, 99)}", "filesize % 4099 == 7"][kind - 1])


def referring(source, rule, origin):
    """Several rules: a private one that others ask for, or a global one."""
    lot = source.lot
    base = Rule(source, rule.name + "_base", origin)
    base.add(text_pattern)
    rule.add(lot.choice([text_pattern, hex_pattern]))
    rule.sure = max(rule.runs[0], base.runs[0])
    if lot.random() < 0.5:
        return base.text("any of them", "private rule") + rule.text(f"{base.name} and any of them")
    return base.text("uint16(0) == 0x5A4D and any of them", "global rule") + rule.text("any of them")


def module_rule(rule, lot):
    digest = f"{lot.getrandbits(128):032x}"
    word = invented(lot, 9).decode().strip(" ./\\_-") or "word"
    word = re.sub("[^a-z]", "x", word)
    return rule.text("uint16(0) == 0x5A4D and " + lot.choice([
        f'pe.imphash() == "{digest}"', f'for any s in pe.signatures : (s.serial == "{digest[:24]}")',
        f'for any s in pe.signatures : (s.issuer contains "{word}" and s.serial == "0{digest[:15]}")', f'pe.imports("{word}.dll", "{word.title()}")',
        f'pe.exports("{word}")', f'for any s in pe.sections : (s.name == ".{word[:6]}")', f'pe.pdb_path contains "{word}"',
        f'pe.version_info["CompanyName"] == "{word.title()}"', f'pe.number_of_sections == 3 and pe.imports("{word}.dll")',
        f'dotnet.typelib == "{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"',
        'pe.imports("ws2_32.dll", "WSAStartup") and pe.number_of_sections == 2', f'pe.timestamp == {lot.randrange(1 << 31)}']))


def compiles(text):
    compiler = yara_x.Compiler(error_on_slow_pattern=True)
    try:
        compiler.add_source(text)
    except yara_x.CompileError:
        return False
    return not any("slow" in w["code"] for w in compiler.warnings())


def all_rules(source, count):
    lot = source.lot
    rows = [{"name": "needle_" + n["name"], "group": "needle", "origin": "needle", "sure": 9, "text": n["rule"] + "\n",
             "files": n["files"]} for n in source.needles]
    groups = [group for group, share in GROUPS.items() for _ in range(max(1, round(share * count / 100)))]
    for number, group in enumerate(groups):
        origin = lot.choices(list(ORIGINS), list(ORIGINS.values()))[0]
        while True:
            rule, text = make(source, group, f"{group}_{number}", origin)
            text = with_imports(text)
            if compiles(text):
                break
        rows.append({"name": rule.name, "group": group, "origin": origin, "sure": rule.sure, "text": text})
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rules", type=int, default=400)
    args = parser.parse_args()
    args.output.write_text(json.dumps(all_rules(Source(args.corpus, random.Random(SEED)), args.rules), indent=1))


if __name__ == "__main__":
    main()
