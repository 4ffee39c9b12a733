"""Rules by lot from a grammar that covers what the planner of the index reads, and what to plant for them."""

import base64
import re
from dataclasses import dataclass, field

import yara_x
from recall_patterns import LETTERS, OTHER, STANDARD, escaped, hex_pattern, pattern, text_pattern

MODULES = ("pe", "elf", "dotnet", "macho", "hash", "math", "string", "lnk", "time")
EXTERNALS = ("md5", "sha1", "sha256")  # of which the judge knows the values
COMPARE = ("==", "!=", "<", "<=", ">", ">=")


@dataclass
class Source:
    text: str
    plants: list = field(default_factory=list)  # for each rule, the plants of each of its patterns
    heads: list = field(default_factory=list)  # bytes that its conditions want at the beginning


def compiled(text):
    """The judge's rules, or None where they are refused; slow ones are refused by the server too."""
    compiler = yara_x.Compiler(error_on_slow_pattern=True)
    for name in EXTERNALS:
        compiler.define_global(name, "")
    try:
        compiler.add_source(text)
        return compiler.build()
    except yara_x.CompileError:
        return None


class Conditions:
    """Conditions over the patterns of one rule, earlier rules, and facts of the files that are there."""

    def __init__(self, r, names, earlier, facts, source):
        self.r, self.names, self.earlier, self.facts, self.source = r, names, earlier, facts, source

    def condition(self, depth=0):
        r = self.r
        kind = r.random()
        if depth > 3 or kind < 0.45:
            return self.one()
        if kind < 0.68:
            return f"({self.condition(depth + 1)} and {self.condition(depth + 1)})"
        if kind < 0.86:
            return f"({self.condition(depth + 1)} or {self.condition(depth + 1)})"
        if kind < 0.93:
            return f"not ({self.condition(depth + 1)})"
        if kind < 0.97:
            parts = [self.condition(depth + 1) for _ in range(r.randint(2, 4))]
            return f"{self.quantifier(len(parts))} of ({', '.join(parts)})"
        return r.choice([f"defined ({self.condition(depth + 1)})", f"(with n = filesize, m = 2 : (n > m and {self.condition(depth + 1)}))",
                         f"for any k in (1..3) : (k > 1 and {self.condition(depth + 1)})"])

    def one(self):
        r = self.r
        makers = [self.size, self.bytes_at, self.of_file, self.numbers, self.many_names, self.constant]
        weights = [2, 2, 2, 1, 0.1, 0.3]
        if self.names:
            makers += [self.string, self.of_strings, self.for_strings]
            weights += [7, 4, 3]
        if self.earlier:
            makers.append(self.rules)
            weights.append(1.5)
        if self.facts:
            makers.append(self.fact)
            weights.append(3)
        return r.choices(makers, weights)[0]()

    # ---- Strings ----

    def string(self):
        r, name = self.r, self.r.choice(self.names)
        n = name[1:]
        low = r.choice([0, 0, 1, 10, 1000])
        return r.choice([
            name, name, name, name, f"{name} at {r.choice(['0', '4', 'filesize - 4', 'pe.entry_point', '2 * 2'])}",
            f"{name} in ({low}..{r.choice([str(low + 300), 'filesize', 'filesize - 10'])})",
            f"#{n} {r.choice(COMPARE)} {r.randrange(4)}", f"{r.randrange(3)} {r.choice(COMPARE)} #{n}", f"#{n} in (0..{r.choice([100, 5000])}) >= 1",
            f"@{n} {r.choice(COMPARE)} {r.choice([0, 100, 5000])}", f"@{n}[1] < filesize", f"@{n}[2] > @{n}[1]",
            f"!{n} {r.choice(COMPARE)} {r.choice([3, 4, 10])}", f"!{n}[1] > 2", f"#{n}", f"uint8(@{n}) > 32", f"filesize > @{n} + {r.choice([10, 100])}",
            f"for any i in (1..#{n}) : (@{n}[i] > {r.choice([16, 1000])})", f"for all i in (1..#{n}) : (@{n}[i] < 100000)",
            f"for any x in (0, 4, 64) : ({name} at x)", f"(#{n} == 0)", f"({name} and {r.choice(self.names)})", f"not {name}",
            f"({name} or {r.choice(self.names)})", f"#{n} + {r.randrange(3)} > {r.randrange(3)}", f"#{n} - 1 >= 0", f"#{n} * 2 > 1",
        ])

    def quantifier(self, n):
        r = self.r
        return r.choice(["any", "all", "none", str(r.randint(0, n)), str(max(1, n - 1)), f"{r.choice([1, 34, 50, 100])}%", f"{n}", "1"])

    def strings_set(self):
        r = self.r
        some = r.sample(self.names, r.randint(1, len(self.names)))
        return r.choice(["them", "them", f"({', '.join(some)})", "($s*)", f"({some[0]}*)", f"({', '.join(some)})"])

    def of_strings(self):
        r = self.r
        which = f"{self.quantifier(len(self.names))} of {self.strings_set()}"
        return r.choice([which, which, which, f"{which} in (0..{r.choice(['500', 'filesize'])})", f"{which} at 0"])

    def for_strings(self):
        r = self.r
        head = f"for {self.quantifier(len(self.names))} of {self.strings_set()}"
        return head + " : ( " + r.choice(["$", "$", "@ < 2000", "# > 1", "$ at 0", "! > 3", "$ in (0..1000)", "# == 0", "not $",
                                          "$ and filesize > 10", "@[1] > 8 or $"]) + " )"

    # ---- The file ----

    def size(self):
        r = self.r
        n = r.choice([0, 1, 4, 20, 64, 300, 1000, 4096, 20000, 100000, 2097152, 2500000])
        op = r.choice(COMPARE)
        return r.choice([f"filesize {op} {n}", f"{n} {op} filesize", f"filesize < {r.choice([1, 10, 60])}KB", f"filesize > {r.choice([1, 2])}MB",
                         f"filesize - 10 {op} {n}", f"filesize * 2 {op} {n}", f"filesize \\ 2 {op} {n}", f"filesize % 2 == {r.randrange(2)}",
                         f"(filesize > {n // 2} and filesize < {n * 3})", f"filesize == {r.choice(self.facts.sizes if self.facts else [n])}",
                         f"filesize & 1 == 1", f"0x{n:x} {op} filesize", f"not filesize {op} {n}"])

    def bytes_at(self):
        r = self.r
        head = r.choice(self.source.heads or [b"MZ\x90\0", b"\x7fELF", b"PK\3\4"])
        size, order, sign = r.choice([1, 2, 4]), r.choice(["", "be"]), r.choice(["uint", "uint", "uint", "int"])
        order = order if size > 1 else r.choice(["", "be"])
        at = r.randrange(0, max(1, len(head) - size + 1))
        part = head[at:at + size].ljust(size, b"\0")
        value = int.from_bytes(part, "big" if order else "little", signed=sign == "int")
        self.source.heads.append(head)
        call = f"{sign}{8 * size}{order}({at})"
        number = r.choice([str(value), f"0x{value:x}" if value >= 0 else str(value)])
        return r.choice([f"{call} == {number}", f"{call} == {number}", f"{number} == {call}", f"{call} != {number}", f"{call} > {number}",
                         f"{call} & 0xff == {value & 0xff}", f"{call} < {number} + 1", "uint16(uint32(0x3c)) == 0x4550", "uint8(filesize - 1) == 0",
                         f"for any i in (0..3) : (uint8(i) == {head[0]})", f"for all i in (0, 1) : ({sign}8(i) == {sign}8(i))",
                         f"({call} == {number} or {call} == {value ^ 1})", f"{call} == {number} + 0", f"{call} ^ {value} == 0", f"uint8({at}) | 0 == {head[at]}",
                         f"{call} - {value} == 0", f"not {call} == {number}", f"uint32({r.choice([13, 14, 16, 20])}) == 0"])

    def numbers(self):
        """Edges of integers, floats that are no numbers, and what is undefined."""
        r = self.r
        edge = [r.choice(["(-9223372036854775807 - 1)", "(-9223372036854775807)", "0x7fffffffffffffff", "0", "1", "-5", "(1 << 63)", "(1 << 64)",
                          "(7 \\ 0)", "(7 % 0)", "0.5", "(-1)"]) for _ in range(2)]
        count = f"#{r.choice(self.names)[1:]}" if self.names else "uint8(0)"
        op = r.choice(COMPARE)
        return r.choice([f"filesize + {edge[0]} {op} {edge[1]}", f"filesize - {edge[0]} {op} {edge[1]}", f"{count} * (1.0 \\ {count})", f"{count} * filesize",
                         f"{count} * (1.0 \\ {count}) != 0", f"({count} + {edge[0]}) {op} {edge[1]}", f"{count} >= 0", f"({count} | 1) != 0",
                         f"(0.0 \\ 0.0) {op} {edge[0]}", f"-0.0 == {count}", f"filesize * 1.5 {op} {edge[0]}", f"not (uint8(filesize + 1) == {count})",
                         f"defined uint32(filesize - {r.randrange(6)})", f"not defined uint8(filesize)", f"(uint8(filesize) == 0 or {count} == 0)",
                         f"{count} in (0..{edge[0]}) >= 0" if self.names else "filesize > 0", f"math.min({count}, 3) < 3", f"~{count} < 0"])

    def many_names(self):
        """More variables than the engine can tell apart by their undefined flags."""
        r, n = self.r, self.r.randint(60, 73)
        odd = r.randrange(20)
        value = r.choice(["pe.number_of_sections", "uint32(1000)", "elf.type", "uint8(filesize)"])
        names = ", ".join(f"n{i} = {value if i == odd else f'uint8({i % 3})'}" for i in range(n))
        used = " and ".join(f"n{i} >= 0" for i in range(n) if i != odd)
        return f"(with {names} : ({used} and n{odd} {r.choice(['== 0', '>= 0', '< 9'])}))"

    def of_file(self):
        r = self.r
        zeros = {"md5": 32, "sha1": 40, "sha256": 64}
        name = r.choice(list(zeros))
        digest = r.choice(self.facts.hashes[name]) if self.facts and r.random() < 0.7 else "0" * zeros[name]
        shape = r.choice([digest, digest, digest.upper(), digest[:-1] + ("0" if digest[-1] != "0" else "1")])
        return r.choice([f'hash.{name}(0, filesize) == "{shape}"', f'"{shape}" == hash.{name}(0, filesize)', f'{name} == "{shape}"',
                         f'hash.{name}(0, filesize) icontains "{digest[:6]}"', f'{name} startswith "{digest[:3]}"', f'{name} iequals "{digest.upper()}"',
                         f'hash.{name}(0, 16) == "{digest}"', f'hash.{name}(0, filesize) != "{shape}"', "math.entropy(0, filesize) > 7.0",
                         "hash.crc32(0, filesize) > 0x7fffffff", 'string.to_int("12") == 12', "math.mean(0, filesize) < 100.0",
                         f'hash.{name}("{digest[:4]}") == "{digest}"', f'for any h in ("{shape}", "x") : (hash.{name}(0, filesize) == h)',
                         f'{name} matches /^{digest[:4]}/', "time.now() > 0", f'{name} != ""'])

    def constant(self):
        return self.r.choice(["true", "false", "1", "0", "1 == 1", '"a" == "A"', "not false", "\"abc\" contains \"b\""])

    def rules(self):
        r, name = self.r, self.r.choice(self.earlier)
        return r.choice([name, name, f"not {name}", f"({name} or {r.choice(self.earlier)})", f"any of ({name}, {r.choice(self.earlier)})",
                         f"{r.choice(['any', 'all', 'none', '2'])} of (r*)"])

    def fact(self):
        return self.r.choice(self.r.choice(self.facts.predicates))


def used(text, names):
    if re.search(r"\bthem\b|\(\$s\*\)", text):
        return names
    return [n for n in names if re.search(rf"[$#@!]{n[1:]}\b", text) or f"{n}*" in text]


def rule(r, name, earlier, facts, source, maker=pattern):
    """The text of one rule; what it looks for goes into `source`."""
    names = [f"$s{i}" for i in range(r.choice([0, 1, 1, 2, 2, 3, 5]))]
    patterns = {n: maker(r) for n in names}
    condition = Conditions(r, names, earlier, facts, source).condition()
    names = used(condition, names)
    if not names and r.random() < 0.6 and patterns:  # nothing asked for a string: ask
        names = [next(iter(patterns))]
        condition = f"{names[0]} {r.choice(['and', 'or', 'and not'])} ({condition})"
    source.plants.append([patterns[n].plants for n in names])
    strings = "".join(f"\n\t\t{n} = {patterns[n].text}" for n in names)
    kind = r.choices(["rule", "private rule", "global rule", "global private rule"], [20, 2, 1, 0.5])[0]
    return f"{kind} {name} {{" + (f"\n\tstrings:{strings}" if names else "") + f"\n\tcondition:\n\t\t{condition}\n}}\n"


def source_by_lot(r, facts):
    """Some rules that compile together."""
    imports = "".join(f'import "{m}"\n' for m in MODULES)
    source = Source(imports)
    earlier = []
    wanted = r.choice([1, 2, 3, 5, 8])
    maker = r.choice([pattern, pattern, pattern, text_pattern, hex_pattern])
    for _ in range(20 * wanted):
        if len(earlier) == wanted:
            break
        trial = Source("", list(source.plants), list(source.heads))
        text = rule(r, f"r{len(earlier)}", earlier, facts, trial, maker)
        if compiled(source.text + text):
            source.text += text
            source.plants, source.heads = trial.plants, trial.heads
            earlier.append(f"r{len(earlier)}")
    return source


# ---- Each construct alone, so that no lot can pass it by ----

def forced(r):
    """A source for each way to write a pattern, and for each way to ask for one, with nothing beside it."""
    def word():
        return "".join(r.choice(LETTERS) for _ in range(r.randint(8, 14)))

    def coded(data, before, alphabet=STANDARD):
        text = base64.b64encode(b"x" * before + data + b"yz12").rstrip(b"=")
        return text.translate(bytes.maketrans(STANDARD.encode(), alphabet.encode()))

    def patterns():
        t = word().encode()
        q, hexed, wide = t.decode(), t.hex(" "), t.decode().encode("utf-16-le")
        parts = hexed.split(" ")
        xored = [bytes(b ^ k for b in t) for k in (0, 1, 31, 32, 127, 128, 255)]
        yield f'"{q}"', [t]
        yield f'"{q}" wide', [wide]
        yield f'"{q}" ascii wide', [t, wide]
        yield f'"{q}" nocase', [t, t.swapcase(), t.upper()]
        yield f'"{q}" nocase wide', [wide.swapcase(), wide.lower()]
        yield f'"{q}" fullword', [b" " + t + b"."]
        yield f'"{q}" fullword nocase ascii wide', [b" " + t.upper() + b" ", b"\0\0" + wide + b"-\0"]
        yield f'"{q}" xor', xored
        yield f'"{q}" xor(31-32)', xored[2:4]
        yield f'"{q}" xor wide', [bytes(b ^ k for b in wide) for k in (0, 7, 255)]
        yield f'"{q}" xor ascii wide', [xored[4], bytes(b ^ 9 for b in wide)]
        for k in (0, 1, 2):
            yield f'"{q}" base64', [coded(t, k)]
            yield f'"{q}" base64wide', [coded(t, k).decode().encode("utf-16-le")]
            yield f'"{q}" base64 base64wide', [coded(t, k), coded(t, k).decode().encode("utf-16-le")]
            yield f'"{q}" base64("{escaped(OTHER.encode())}")', [coded(t, k, OTHER)]
            yield f'"{q}" base64 wide', [coded(wide, k)]
        yield f"{{ {hexed} }}", [t]
        yield f"{{ {' '.join(parts[:5])} ?? {' '.join(parts[6:])} }}", [t[:5] + b"\xee" + t[6:]]
        yield f"{{ {' '.join(parts[:5])} {parts[5][0]}? {' '.join(parts[6:])} }}", [t[:5] + bytes((t[5] & 0xf0 | 3,)) + t[6:]]
        yield f"{{ {' '.join(parts[:5])} ~{parts[5]} {' '.join(parts[6:])} }}", [t[:5] + b"\1" + t[6:]]
        yield f"{{ {' '.join(parts[:4])} [2-9] {' '.join(parts[4:])} }}", [t[:4] + b"12" + t[4:], t[:4] + b"123456789" + t[4:]]
        yield f"{{ {' '.join(parts[:4])} [-] {' '.join(parts[4:])} }}", [t[:4] + bytes(9000) + t[4:]]
        yield f"{{ {' '.join(parts[:4])} ( 01 | 02 03 | {parts[0]} ?? ) {' '.join(parts[4:])} }}", [
            t[:4] + b"\1" + t[4:], t[:4] + b"\2\3" + t[4:], t[:4] + t[:1] + b"q" + t[4:]]
        yield f"/{q}/", [t]
        yield f"/{q}/i", [t.swapcase()]
        yield f"/{q}[0-9]{{2,5}}x?/", [t + b"123", t + b"55x"]
        yield f"/({q}|{q[::-1]})end/ wide", [wide + b"e\0n\0d\0", q[::-1].encode("utf-16-le") + b"e\0n\0d\0"]
        yield f"/{q[:5]}.{{0,40}}{q[5:]}/s", [t[:5] + b"\n" * 7 + t[5:], t]
        yield f"/{q[:5]}(ab)+{q[5:]}/ nocase ascii wide", [(t[:5] + b"abABab" + t[5:]).swapcase()]
        yield f"/[xyz]{q}\\b/", [b"y" + t + b" "]

    def conditions():
        t = word().encode()
        other = word().encode()
        for text in ("$s0", "#s0 == 1", "#s0 > 0", "@s0 >= 0", "!s0 > 2", "$s0 in (0..filesize)", "any of them", "for any of them : ( $ )",
                     "for all i in (1..#s0) : (@s0[i] >= 0) and $s0", "1 of ($s*)", "defined @s0", "not not $s0", "$s0 and filesize > 3",
                     "filesize < 10MB and $s0", "$s0 or false", "100% of them", "with n = #s0 : ( n > 0 )", "not (#s0 == 0)"):
            yield f'$s0 = "{t.decode()}"', text, [[t]]
        both = f'$s0 = "{t.decode()}"\n$s1 = "{other.decode()}"'
        for text in ("all of them", "2 of them", "$s0 and $s1", "any of them", "none of them or $s0", "$s0 and not (not $s1)", "1 of ($s1, $s0)",
                     "for 2 of them : ( # > 0 )", "any of ($s0, $s1) and #s1 + #s0 > 1", "not ($s0 and $s1) or true"):
            yield both, text, [[t], [other]]

    for text, plants in patterns():
        yield Source(f"rule r0 {{ strings: $s0 = {text} condition: $s0 }}\n", [[plants]])
    for strings, text, plants in conditions():
        yield Source(f"rule r0 {{ strings: {strings} condition: {text} }}\n", [plants])
