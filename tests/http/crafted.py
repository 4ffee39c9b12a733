"""Small files of known content, made byte by byte: what a report must say of them is certain."""

import struct
import uuid

RSRC_VERSION, RSRC_ICON, RSRC_GROUP = 16, 3, 14


def _align(data, n=0x200):
    return data + bytes(-len(data) % n)


def pe(section=b"", directories=None, timestamp=0x5ECF4B94, overlay=b"", wide=False, subsystem=3, name=b".text"):
    """A PE of one section, at RVA 0x1000 and offset 0x400; directories: index -> (rva, size)."""
    body = _align(section or b"\xc3")
    table = [(directories or {}).get(i, (0, 0)) for i in range(16)]
    optional = struct.pack(
        "<HBBIIIII", 0x20B if wide else 0x10B, 14, 2, len(body), 0, 0, 0x1000, 0x1000
    )
    optional += b"" if wide else struct.pack("<I", 0x2000)
    optional += struct.pack("<QII" if wide else "<III", 0x400000, 0x1000, 0x200)
    optional += struct.pack("<6H", 6, 1, 0, 0, 6, 1) + struct.pack("<4I", 0, 0x2000 + len(body), 0x400, 0)
    optional += struct.pack("<HH", subsystem, 0x8160)
    optional += struct.pack("<4Q" if wide else "<4I", 0x100000, 0x1000, 0x100000, 0x1000)
    optional += struct.pack("<II", 0, 16) + b"".join(struct.pack("<II", *entry) for entry in table)
    header = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    header += struct.pack("<HHIIIHH", 0x8664 if wide else 0x14C, 1, timestamp, 0, 0, len(optional), 0x102)
    header += optional
    header += struct.pack("<8sIIIIIIHHI", name, len(body), 0x1000, len(body), 0x400, 0, 0, 0, 0, 0x60000020)
    return _align(header, 0x400) + body + overlay


PDB_GUID = uuid.UUID("e48addf6-fd27-4a9c-815c-bf60afa7566a")


def pe_with_pdb(**more):
    pdb = b"RSDS" + PDB_GUID.bytes_le + struct.pack("<I", 7) + b"E:\\987.pdb\0"
    entry = struct.pack("<IIHHIIII", 0, 0x5ECF4B94, 0, 0, 2, len(pdb), 0x101C, 0x41C)
    return pe(entry + pdb, {6: (0x1000, 28)}, **more)


MVID = uuid.UUID("746a48dd-5234-4945-aa08-2ebddca5a942")


def dotnet():
    """CLI header, metadata with one Module row, and an assembly reference to nothing."""
    strings = b"\0Crafted.exe\0"
    tables = struct.pack("<IBBBBQQ", 0, 2, 0, 0, 1, 1, 0) + struct.pack("<I", 1)
    tables += struct.pack("<HHHHH", 0, 1, 1, 0, 0)
    tables += bytes(-len(tables) % 4)
    streams = [(b"#~", tables), (b"#Strings", strings + bytes(-len(strings) % 4)), (b"#GUID", MVID.bytes_le)]
    version = b"v4.0.30319\0\0"
    head = b"BSJB" + struct.pack("<HHII", 1, 1, 0, len(version)) + version + struct.pack("<HH", 0, len(streams))
    heads = sum(8 + (len(name) + 4) // 4 * 4 for name, _ in streams)
    at, directory, data = len(head) + heads, b"", b""
    for name, content in streams:
        directory += struct.pack("<II", at + len(data), len(content)) + name + bytes(4 - len(name) % 4)
        data += content
    metadata = head + directory + data
    cli = struct.pack("<IHHIIII", 72, 2, 5, 0x1048, len(metadata), 3, 0x06000001) + bytes(48)
    return pe(cli + metadata, {14: (0x1000, 72)})


def _resources(entries):
    """A resource section at RVA 0x1000 with one entry (type, id, language, data) for each type and id."""
    kinds = {}
    for kind, number, language, data in entries:
        kinds.setdefault(kind, []).append((number, language, data))
    head, leaves = 16 + 8 * len(kinds), []
    second_at = head
    root, seconds, thirds = struct.pack("<IIHHHH", 0, 0, 0, 0, 0, len(kinds)), b"", b""
    third_at = second_at + sum(16 + 8 * len(v) for v in kinds.values())
    leaf_at = third_at + 24 * len(entries)
    data_at = leaf_at + 16 * len(entries)
    blob = b""
    for kind in sorted(kinds):
        root += struct.pack("<II", kind, 0x80000000 | (second_at + len(seconds)))
        seconds += struct.pack("<IIHHHH", 0, 0, 0, 0, 0, len(kinds[kind]))
        for number, language, data in kinds[kind]:
            seconds += struct.pack("<II", number, 0x80000000 | (third_at + len(thirds)))
            thirds += struct.pack("<IIHHHH", 0, 0, 0, 0, 0, 1) + struct.pack("<II", language, leaf_at + 16 * len(leaves))
            leaves.append(struct.pack("<IIII", 0x1000 + data_at + len(blob), len(data), 0, 0))
            blob += data + bytes(-len(data) % 4)
    return root + seconds + thirds + b"".join(leaves) + blob


def _version_node(key, value=b"", children=b"", is_text=1):
    body = key.encode("utf-16-le") + b"\0\0"
    body += bytes(-(6 + len(body)) % 4)
    length_of_value = len(value) // 2 if is_text else len(value)
    body += value + bytes(-len(value) % 4) + children
    node = struct.pack("<HHH", 6 + len(body), length_of_value, is_text) + body
    return node + bytes(-len(node) % 4)


def version_resource(texts):
    strings = b"".join(_version_node(k, v.encode("utf-16-le") + b"\0\0") for k, v in texts.items())
    table = _version_node("StringFileInfo", children=_version_node("040904b0", children=strings))
    fixed = struct.pack("<13I", 0xFEEF04BD, 0x10000, 0x10002, 0x30004, 0x50006, 0x70008, 0x3F, 1, 0x40004, 1, 0, 0, 0)
    return _version_node("VS_VERSION_INFO", fixed, table, is_text=0)


ICON = struct.pack("<IiiHHIIiiII", 40, 16, 32, 1, 32, 0, 1024, 0, 0, 0, 0) + bytes(range(256)) * 4 + bytes(64)


def pe_with_resources(texts):
    group = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHIH", 16, 16, 0, 0, 1, 32, len(ICON), 5)
    section = _resources([
        (RSRC_ICON, 5, 0x409, ICON),
        (RSRC_GROUP, 1, 0x409, group),
        (RSRC_VERSION, 1, 0, version_resource(texts)),
    ])
    return pe(section, {2: (0x1000, len(section))}, name=b".rsrc")


def lnk(arguments="/c calc", target="..\\cmd.exe"):
    """A shell link with a relative path and arguments, MS-SHLLINK."""
    flags = 0x08 | 0x20 | 0x80  # relative path, arguments, Unicode
    guid = uuid.UUID("00021401-0000-0000-c000-000000000046").bytes_le
    ticks = (1_590_645_204 + 11_644_473_600) * 10_000_000
    header = struct.pack("<I", 0x4C) + guid + struct.pack("<II", flags, 0x20)
    header += struct.pack("<QQQIIIHHII", ticks, ticks, ticks, 1234, 0, 1, 0, 0, 0, 0)
    texts = b""
    for value in (target, arguments):
        texts += struct.pack("<H", len(value)) + value.encode("utf-16-le")
    return header + texts + bytes(4)


def macho(libraries=("/usr/lib/libSystem.B.dylib",)):
    """A 64-bit executable with one segment of one section."""
    segment = struct.pack("<16sQQQQIIII", b"__TEXT", 0x100000000, 0x1000, 0, 0x1000, 7, 5, 1, 0)
    segment += struct.pack("<16s16sQQIIIIIIII", b"__text", b"__TEXT", 0x100000F00, 0x10, 0xF00, 4, 0, 0, 0x80000400, 0, 0, 0)
    commands = [struct.pack("<II", 0x19, 8 + len(segment)) + segment]
    for name in libraries:
        path = name.encode() + b"\0"
        path += bytes(-len(path) % 8)
        commands.append(struct.pack("<IIIIII", 0xC, 24 + len(path), 24, 0, 0, 0) + path)
    body = b"".join(commands)
    header = struct.pack("<IIIIIIII", 0xFEEDFACF, 0x01000007, 3, 2, len(commands), len(body), 0x200085, 0)
    return header + body + bytes(0x1000 - len(header) - len(body))


def corpus():
    """By name, for fuzzing."""
    texts = {"CompanyName": "Example", "OriginalFilename": "tool.exe"}
    return {
        "pe": pe(), "pe64": pe(wide=True, overlay=b"behind"), "pdb": pe_with_pdb(), "dotnet": dotnet(),
        "resources": pe_with_resources(texts), "lnk": lnk(), "macho": macho(),
    }


if __name__ == "__main__":  # python3 tests/http/crafted.py fuzz/corpus/facts
    import pathlib
    import sys

    for name, data in corpus().items():
        (pathlib.Path(sys.argv[1]) / name).write_bytes(data)
