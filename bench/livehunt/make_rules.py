#!/usr/bin/env python3
"""Write rulesets of our own making that look like those hunters keep.

    make_rules.py FOLDER [--rulesets 1000] [--rules 10] [--seed 1]

One ruleset a file (FOLDER/0000.yar …). The mix follows what public rule
collections hold: text strings (a third of them wide, a tenth nocase), hex
strings with wildcards and jumps, a few regular expressions, conditions on
headers, sizes and modules. The same seed gives the same bytes.
"""
import argparse
import pathlib
import random

APIS = ("VirtualAllocEx WriteProcessMemory CreateRemoteThread NtUnmapViewOfSection SetWindowsHookExA "
        "InternetOpenUrlA HttpSendRequestA WinExec ShellExecuteW RegSetValueExA CryptEncrypt "
        "GetAsyncKeyState IsDebuggerPresent LoadLibraryA GetProcAddress AdjustTokenPrivileges").split()
DLLS = "kernel32.dll advapi32.dll ws2_32.dll wininet.dll user32.dll ntdll.dll crypt32.dll".split()
VERBS = "get put run load drop send recv hook dump scan kill init exec wipe pack log".split()
NOUNS = ("agent beacon stage panel client module config keylog session tunnel loader victim plugin task "
         "payload screen wallet cookie proxy shell socket worker update").split()
TLDS = "com net org info top xyz ru cn biz".split()


def word(r):
    vowels, rest = "aeiou", "bcdfghjklmnprstvwz"
    return "".join(r.choice(rest) + r.choice(vowels) for _ in range(r.randint(2, 4)))


def text(r):
    kind = r.randrange(8)
    a, b = r.choice(VERBS), r.choice(NOUNS)
    if kind == 0:
        return f"{a.title()}{b.title()}{r.randint(1, 99)}"
    if kind == 1:
        return f"/{word(r)}/{a}.php?id=%s&{b}="
    if kind == 2:
        return f"Software\\\\{word(r).title()}\\\\{b.title()}"
    if kind == 3:
        return f"[{word(r)}] {a} {b} failed: %d"
    if kind == 4:
        return f"{word(r)}{word(r)}.{r.choice(TLDS)}"
    if kind == 5:
        return f"Global\\\\{word(r)}_{r.randint(1000, 9999)}"
    if kind == 6:
        return f"C:\\\\Users\\\\{word(r)}\\\\{b}\\\\Release\\\\{word(r)}.pdb"
    return f"{word(r)} {word(r)} {word(r)}"


def text_pattern(r):
    modifiers = r.choices(["", " ascii wide", " wide", " nocase", " fullword", " ascii wide nocase", " xor(1-255)"],
                          [500, 200, 100, 80, 80, 30, 1])[0]
    return f'"{text(r)}"{modifiers}'


def hex_pattern(r):
    tokens = []
    for _ in range(r.randint(8, 24)):
        kind = r.randrange(20)
        if kind == 0 and len(tokens) > 4:
            tokens.append(f"[{r.randint(1, 4)}-{r.randint(5, 16)}]")
        elif kind in (1, 2) and len(tokens) > 4:
            tokens.append("??")
        elif kind == 3 and len(tokens) > 4:
            tokens.append(f"({r.randrange(256):02X} | {r.randrange(256):02X})")
        else:
            tokens.append(f"{r.randrange(256):02X}")
    while not all(c in "0123456789ABCDEF" for c in tokens[-1]):
        tokens[-1] = f"{r.randrange(256):02X}"
    return "{ " + " ".join(tokens) + " }"


def regex_pattern(r):
    a, b = word(r), r.choice(NOUNS)
    return r.choice([
        rf"/https?:\/\/{a}[a-z0-9]{{2,12}}\.(com|net|top)\/{b}/",
        rf"/{b}_{a}=[0-9a-f]{{16,32}}/",
        rf"/{a}\.(exe|dll|tmp) -{b} [A-Za-z0-9+\/]{{20,60}}/ nocase",
        rf"/User-Agent: {a.title()}\/[0-9]\.[0-9]{{1,3}}/",
    ])


def header(r):
    return r.choices(["uint16(0) == 0x5A4D", "uint32(0) == 0x464C457F", "uint16(0) == 0x5A4D and filesize < 2MB",
                      "filesize < 5MB", "uint32be(0) == 0x504B0304", ""], [30, 15, 20, 15, 5, 15])[0]


def module(r):
    return r.choices([f'pe.imports("{r.choice(DLLS)}", "{r.choice(APIS)}")',
                      f"pe.number_of_sections == {r.randint(3, 9)}",
                      f"pe.timestamp > {r.randint(1200000000, 1700000000)}",
                      "elf.type == elf.ET_EXEC",
                      f"for any s in pe.sections : (s.name == \".{word(r)[:5]}\")",
                      f'hash.md5(0, 1024) == "{r.getrandbits(128):032x}"',
                      f'pe.imphash() == "{r.getrandbits(128):032x}"'], [30, 15, 15, 10, 15, 5, 10])[0]


def rule(r, name):
    count = r.randint(2, 7)
    makers = r.choices([text_pattern, hex_pattern, regex_pattern], [62, 34, 4], k=count)
    strings = "".join(f"\t\t${chr(97 + i)} = {make(r)}\n" for i, make in enumerate(makers))
    which = r.choice(["any of them", "all of them", f"{min(2, count)} of them", f"{max(1, count - 1)} of them"])
    parts = [p for p in (header(r), module(r) if r.random() < 0.1 else "", which) if p]
    tags = f" : {word(r)} {r.choice(NOUNS)}" if r.random() < 0.3 else ""
    return (f"rule {name}{tags} {{\n\tmeta:\n\t\tauthor = \"weir bench\"\n\t\tscore = {r.randint(40, 100)}\n"
            f"\tstrings:\n{strings}\tcondition:\n\t\t{' and '.join(parts)}\n}}\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--rulesets", type=int, default=1000)
    p.add_argument("--rules", type=int, default=10)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    r = random.Random(a.seed)
    for i in range(a.rulesets):
        # One rule in five hundred looks for something that ordinary programs hold, so that there is something to tell.
        text = 'import "pe"\nimport "elf"\nimport "hash"\n'
        for k in range(a.rules):
            if (i * a.rules + k) % 500 == 0:
                common = r.choice(["GLIBC_2.3", "__stack_chk_fail", "This program cannot be run", "#!/usr/bin",
                                   "Copyright (C)", "libpthread", "import os", "GNU General Public"])
                size = r.choice([4, 8, 16, 64])
                text += (f'rule common_{i}_{k} {{\n\tstrings:\n\t\t$a = "{common}"\n\t\t$b = "{text_word(r)}"\n'
                         f"\tcondition:\n\t\t$a and $b and filesize < {size}KB\n}}\n")
            else:
                text += rule(r, f"{r.choice(NOUNS)}_{word(r)}_{i}_{k}")
        (a.folder / f"{i:04d}.yar").write_text(text)


def text_word(r):
    return r.choice(["error", "printf", "version", "usage", "main", "free", "open"])


main()
