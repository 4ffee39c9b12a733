"""What other people's programs say of a file, held against its report.

pefile, readelf, file(1), py-tlsh and ppdeep (ssdeep in Python) each look at the same bytes;
`differences` lists where the report says something else. What is known to differ for a reason
is in docs/reports.md and left out here.
"""

import hashlib
import re
import subprocess

LIST_MAX = 256
TEXT_MAX = 1024


def differences(data, path, known):
    found = []

    def check(what, expected, said):
        if expected != said:
            found.append(f"{what}: {str(expected)[:300]!r} expected, {str(said)[:300]!r} said")

    check_hashes(data, known, check)
    if data[:4] == b"\x7fELF":
        check_elf(path, known, check)
    elif data[:2] == b"MZ":
        check_pe(data, known, check)
    return found


# ---- Of any file ----


def check_hashes(data, known, check):
    import ppdeep
    import tlsh

    digest = tlsh.hash(data)
    check("tlsh", None if digest in ("", "TNULL") else digest, known.get("tlsh"))
    if len(data) <= 300_000:  # it is Python: a second for each megabyte
        check("ssdeep", ppdeep.hash(data), known["ssdeep"])


# ---- ELF ----


def readelf(path, *options):
    run = subprocess.run(
        ["readelf", "-W", *options, str(path)], capture_output=True, text=True, errors="replace", env={"LC_ALL": "C"}
    )
    return run.stdout


def check_elf(path, known, check):
    info = known["elf_info"]
    header = dict(
        (key.strip(), value.strip())
        for key, value in (line.split(":", 1) for line in readelf(path, "-h").splitlines() if ":" in line)
    )
    said = info["header"]
    check("class", header["Class"], said["class"])
    check("data", header["Data"], said["data"])
    check("abi version", header["ABI Version"], str(said["abi_version"]))
    check("entry", int(header["Entry point address"], 16), said["entrypoint"])
    check("machine", header["Machine"], said["machine"])
    check("type", header["Type"].split()[0], said["type"].split()[0])
    check("os", header["OS/ABI"].replace("UNIX - GNU", "UNIX - Linux"), said["os_abi"])
    check("segments", header["Number of program headers"].split()[0], str(said["num_prog_headers"]))
    check("sections", header["Number of section headers"].split()[0], str(said["num_section_headers"]))
    check_elf_tables(path, info, check)
    check_magic(path, known, check)
    check_telfhash(path, known, check)


SECTION_LINE = re.compile(
    r"  \[ *\d+\] (\S*) +([A-Z][A-Z_0-9]*|SYMTAB SECTION INDICES|LOOS\+\S+|LOPROC\+\S+|<\S+>:? ?\S*) +([0-9a-f]{8,16}) "
    r"([0-9a-f]{6,}) ([0-9a-f]{6,}) [0-9a-f]{2} ([ A-Za-z]*?) +\d+ +\d+ +\d+$"
)


def check_elf_tables(path, info, check):
    sections = []
    for line in readelf(path, "-S").splitlines():
        m = SECTION_LINE.match(line)
        if m:
            name, _, address, offset, size, flags = m.groups()
            flags = flags.strip().replace("l", "p").replace("R", "o")  # told apart by machine and system
            sections.append((name, int(address, 16), int(offset, 16), int(size, 16), flags))
    said = [
        (s["name"], s["virtual_address"], s["physical_offset"], s["size"], s["flags"])
        for s in info.get("section_list", [])
    ]
    check("sections", sections[1:LIST_MAX], said[1:])
    segments = re.findall(r"^  ([A-Z_0-9]+) +0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x", readelf(path, "-l"), re.M)
    check("segments", segments[:LIST_MAX], [s["segment_type"] for s in info.get("segment_list", [])])
    needed = re.findall(r"\(NEEDED\) +Shared library: \[(.*)\]", readelf(path, "-d"))
    check("libraries", needed, info.get("shared_libraries", []))
    imports, exports = [], []
    for _, kind, bind, _, index, name in dynamic_symbols(path):
        if bind != "LOCAL" and name:
            (imports if index == "UND" else exports).append((name, kind))
    for what, expected in (("import_list", imports), ("export_list", exports)):
        said = [(s["name"], s["type"]) for s in info.get(what, [])]
        check(what, expected[:LIST_MAX], said)


def dynamic_symbols(path):
    for line in readelf(path, "--dyn-syms").splitlines():
        parts = line.replace("<OS specific>: 10", "UNIQUE").split()
        if len(parts) >= 7 and parts[0].rstrip(":").isdigit():
            name = parts[7] if len(parts) > 7 and not parts[7].startswith("[") else ""
            yield parts[2], parts[3], parts[4], parts[5], parts[6], name.split("@")[0]


def check_magic(path, known, check):
    expected = subprocess.run(["file", "-b", str(path)], capture_output=True, text=True).stdout.strip()
    # The file's mode is not part of the sample; notes of the BSDs are not read.
    expected = re.sub(r"^(setuid |setgid |sticky )+", "", expected)
    expected = re.sub(r", for (FreeBSD|NetBSD|OpenBSD)( [0-9.]+)?(, FreeBSD-style)?", "", expected)
    shared = ("pie executable", "shared object")
    check("magic", expected.replace(*shared), known["magic"].replace(*shared))


def check_telfhash(path, known, check):
    """Trend Micro's description, over what readelf lists."""
    import tlsh

    symbols = list(dynamic_symbols(path))
    if not symbols:
        return
    excluded = {"__libc_start_main", "main", "abort", "cachectl", "cacheflush", "puts", "atol", "malloc_trim"}
    names = sorted(
        name.lower()
        for _, kind, bind, visibility, _, name in symbols
        if kind == "FUNC" and bind == "GLOBAL" and visibility == "DEFAULT" and name
        and name not in excluded and not re.match(r"\.|_|mem|str", name) and not name.endswith("64")
    )
    digest = tlsh.forcehash(",".join(names).encode())
    if len(",".join(names)) >= 256:
        check("telfhash", None if digest in ("", "TNULL") else digest, known.get("telfhash"))


# ---- PE ----


def text(raw):
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def check_pe(data, known, check):
    import pefile

    try:
        pe = pefile.PE(data=data)
    except pefile.PEFormatError:
        check("pe_info", None, known.get("pe_info"))
        return
    info = known.get("pe_info")
    if info is None:
        check("pe_info", "a PE", None)
        return
    check("timestamp", pe.FILE_HEADER.TimeDateStamp, info["timestamp"])
    check("machine", pe.FILE_HEADER.Machine, info["machine_type"])
    check("entry", pe.OPTIONAL_HEADER.AddressOfEntryPoint, info["entry_point"])
    check("imphash", pe.get_imphash() or None, info.get("imphash"))
    check("rich hash", pe.get_rich_header_hash() or None, info.get("rich_pe_header_hash"))
    check_pe_sections(pe, info, check)
    check_pe_tables(pe, info, check)
    overlay = pe.get_overlay_data_start_offset()
    said = info.get("overlay", {})
    if not any(s.SizeOfRawData for s in pe.sections):
        return  # pefile takes all behind the headers for an overlay, the engine for headers
    check("overlay", overlay, said.get("offset"))
    if overlay is not None:
        check("overlay md5", hashlib.md5(data[overlay:]).hexdigest(), said.get("md5"))
    check_pe_debug(pe, info, check)


def check_pe_sections(pe, info, check):
    expected, said = [], []
    for section, shown in zip(pe.sections, info.get("sections", [])):
        flags = "".join(
            letter
            for name, letter in (("READ", "r"), ("WRITE", "w"), ("EXECUTE", "x"))
            if getattr(section, f"IMAGE_SCN_MEM_{name}")
        )
        expected.append((text(section.Name), section.VirtualAddress, section.Misc_VirtualSize, section.SizeOfRawData,
                         section.get_hash_md5() if section.SizeOfRawData else hashlib.md5(b"").hexdigest(),
                         round(section.get_entropy(), 2), flags))
        said.append((shown["name"], shown["virtual_address"], shown["virtual_size"], shown["raw_size"],
                     shown.get("md5"), shown.get("entropy"), shown["flags"]))
    check("section count", min(len(pe.sections), LIST_MAX), len(info.get("sections", [])))
    check("sections", expected, said)


def check_pe_tables(pe, info, check):
    imports = [
        (entry.dll.decode("latin-1").lower(), [i.name.decode("latin-1") for i in entry.imports if i.name][:LIST_MAX])
        for entry in getattr(pe, "DIRECTORY_ENTRY_IMPORT", [])
    ]
    said = [
        (i["library_name"].lower(), [n for n in i.get("imported_functions", []) if not re.fullmatch(r"ord\d+", n)])
        for i in info.get("import_list", [])
    ]
    by_ordinal = any(i.name is None for e in getattr(pe, "DIRECTORY_ENTRY_IMPORT", []) for i in e.imports)
    if not by_ordinal:  # the engine names some of those by table
        check("imports", imports[:LIST_MAX], said)
    symbols = getattr(pe, "DIRECTORY_ENTRY_EXPORT", None)
    exports = [s.name.decode("latin-1") for s in symbols.symbols if s.name] if symbols else []
    check("exports", sorted(exports)[:LIST_MAX] if len(exports) < LIST_MAX else None,
          sorted(info.get("exports", [])) if len(exports) < LIST_MAX else None)
    resources = sorted(hashes_of_resources(pe))
    if len(resources) <= LIST_MAX:
        check("resources", resources, sorted(r["sha256"] for r in info.get("resource_details", []) if "sha256" in r))


def hashes_of_resources(pe):
    def leaves(directory):
        for entry in directory.entries:
            if hasattr(entry, "directory"):
                yield from leaves(entry.directory)
            else:
                yield entry.data.struct

    root = getattr(pe, "DIRECTORY_ENTRY_RESOURCE", None)
    for leaf in leaves(root) if root else []:
        yield hashlib.sha256(pe.get_data(leaf.OffsetToData, leaf.Size)).hexdigest()


def check_pe_debug(pe, info, check):
    expected = [
        (d.struct.Type, d.struct.SizeOfData, d.struct.PointerToRawData,
         text(d.entry.PdbFileName) if d.entry is not None and hasattr(d.entry, "PdbFileName") else None)
        for d in getattr(pe, "DIRECTORY_ENTRY_DEBUG", [])
    ]
    said = [(d["type"], d["size"], d["offset"], d.get("codeview", {}).get("name")) for d in info.get("debug", [])]
    check("debug", expected, said)
