"""Files of all kinds for the recall test: real programs, noise and text with planted bytes, big and tiny ones."""

import hashlib
import os
from pathlib import Path

import crafted
import yara_x

MIB = 1 << 20
CHUNK, OVERLAP = 4 * MIB, 4096  # of docs/format/segment.md
CHUNK_FROM = CHUNK + OVERLAP
REAL_MAX = 60
REAL_BYTES_MAX = 300_000
LISTS_MAX = 6  # values of one list of a module that become predicates


def real_programs():
    """Windows programs that Python's packages bring, Linux ones of this machine, and crafted ones of every format."""
    site = Path(yara_x.__file__).parents[1]
    found = sorted(site.glob("**/*.exe")) + sorted(site.glob("**/*.so"))[:12]
    found += [p for p in sorted(Path("/usr/bin").iterdir()) if p.is_file() and not p.is_symlink()][::9]
    if "RECALL_FILES" in os.environ:  # a folder of one's own
        found = sorted(p for p in Path(os.environ["RECALL_FILES"]).rglob("*") if p.is_file())[::7] + found
    programs = [path.read_bytes() for path in found if 0 < path.stat().st_size < REAL_BYTES_MAX and os.access(path, os.R_OK)]
    made = [data for item in crafted.corpus() for data in (item if isinstance(item, tuple) else (item,)) if isinstance(data, bytes)]
    return made + programs[:REAL_MAX]


def any_case(text):
    """As it may be written where case is not minded, by Unicode's folding too."""
    other = {"k": "\u212a", "K": "\u212a", "i": "\u0130"}
    upper = text.upper()
    return [quoted(c.encode()) for c in (upper, text.lower(), "".join(other.get(c, c) for c in text))]


def quoted(value):
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    text = data.decode("latin-1")
    return "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else f"\\x{ord(c):02x}" for c in text if ord(c) < 256)


class Facts:
    """What the modules say of files, as conditions that are true for one of them, or nearly."""

    def __init__(self, programs):
        self.sizes = [len(p) for p in programs]
        self.hashes = {name: [hashlib.new(name, p).hexdigest() for p in programs] for name in ("md5", "sha1", "sha256")}
        self.predicates = []
        for data in programs:
            for name in ("pe", "elf", "dotnet", "macho", "lnk"):
                facts = yara_x.Module(name).invoke(data)
                some = list(getattr(self, name)(facts)) if facts and facts.get(f"is_{name}", name == "elf" and "type" in facts) else []
                if some:
                    self.predicates.append(some)

    @staticmethod
    def pe(f):
        yield from ("pe.is_pe", "pe.is_pe == true", "pe.is_dll()", "pe.is_32bit()", "pe.is_64bit()", "pe.is_signed", "not pe.is_signed",
                    "pe.number_of_signatures > 0", "pe.overlay.size > 0", "pe.rich_signature.toolid(1) > 0", "pe.number_of_resources > 0",
                    "for any s in pe.sections : (s.raw_data_size > 0)", "defined pe.entry_point", 'pe.imphash() != ""', "pe.checksum != 0",
                    "for any i in (0..pe.number_of_sections - 1) : (pe.sections[i].characteristics & 0x20000000 != 0)",
                    "pe.entry_point < pe.sections[0].raw_data_offset + pe.sections[0].raw_data_size", "not pe.is_dll()")
        for field in ("machine", "subsystem"):
            if field in f:
                yield f"pe.{field} == pe.{f[field]}"
        for field in ("number_of_sections", "entry_point", "image_base", "number_of_exports", "number_of_imports", "number_of_imported_functions",
                      "size_of_code", "checksum", "characteristics"):
            if isinstance(f.get(field), int):
                yield f"pe.{field} == {f[field]}"
                yield f"pe.{field} >= {f[field]}"
        if "timestamp" in f:
            stamp = int(f["timestamp"].timestamp())
            yield f"pe.timestamp == {stamp}"
            yield f"pe.timestamp > {stamp - 10} and pe.timestamp < {stamp + 10}"
        for field in ("dll_name", "pdb_path"):
            if f.get(field):
                value = quoted(f[field])
                yield f'pe.{field} == "{value}"'
                yield f'pe.{field} iequals "{value.upper()}"' if "\\x" not in value else f'pe.{field} == "{value}"'
                yield f'pe.{field} contains "{quoted(f[field][1:6])}"'
                if isinstance(f[field], str):
                    for text in any_case(f[field]):
                        yield f'pe.{field} iequals "{text}"'
                        yield f'pe.{field} icontains "{text}"'
                yield f'pe.{field} endswith "{quoted(f[field][-3:])}"'
        for s in f.get("sections", [])[:LISTS_MAX]:
            name = quoted(s["name"])
            yield f'for any s in pe.sections : (s.name == "{name}")'
            yield f'for any s in pe.sections : (s.name == "{name}" and s.raw_data_size > {s["raw_data_size"] // 2})'
            yield f'pe.sections[0].name == "{name}"'
            yield f'for all s in pe.sections : (s.name != "{name}")'
            yield f'for any s in pe.sections : (s.name startswith "{name[:2]}" or s.name == ".zzz")' if "\\x" not in name else "pe.is_pe"
            yield f'pe.section_index("{name}") >= 0'
        for library in f.get("import_details", [])[:LISTS_MAX]:
            dll = quoted(library["library_name"])
            yield f'pe.imports("{dll}")'
            for which in (0, 1):
                yield f'pe.imports(pe.import_details[{which}].library_name) > 0'
            for x in [x for x in library.get("functions", []) if x.get("name")][:2]:
                yield f'pe.imports(pe.import_details[0].library_name, "{quoted(x["name"])}")'
                yield f'pe.imports(pe.IMPORT_ANY, pe.import_details[0].library_name, "{quoted(x["name"])}")'
            yield f'pe.imports("{dll.swapcase()}") > 0'
            yield f"pe.imports(/^{dll[:4]}/i, /./) > 0" if dll[:4].isalnum() else "pe.is_pe"
            yield f'for any d in pe.import_details : (d.library_name == "{dll}")'
            for function in [x for x in library.get("functions", []) if x.get("name")][:3]:
                name = quoted(function["name"])
                yield f'pe.imports("{dll}", "{name}")'
                yield f'pe.imports("{dll}", "{name}") and pe.imports("{dll.upper()}", "{name}")'
                yield f'pe.imports(pe.IMPORT_STANDARD, "{dll}", "{name}")'
                yield f'pe.imports(pe.IMPORT_ANY, "{dll}", "{name}")'
                yield f'pe.imports(pe.IMPORT_DELAYED, "{dll}", "{name}")'
                yield f'pe.imports("{dll}", "{name.lower()}")'
                yield f'not pe.imports("{dll}", "{name}")'
                yield f'pe.imports("{dll}", "{name}") == 1'
                yield f'for any d in pe.import_details : (for any x in d.functions : (x.name == "{name}"))'
        for e in [x for x in f.get("export_details", []) if x.get("name")][:LISTS_MAX]:
            name = quoted(e["name"])
            yield f'pe.exports("{name}")'
            yield f'pe.exports_index("{name}") >= 0'
            yield f'for any e in pe.export_details : (e.name == "{name}")'
        for pair in f.get("version_info_list", [])[:LISTS_MAX]:
            key, value = quoted(pair["key"]), quoted(pair["value"])
            yield f'pe.version_info["{key}"] == "{value}"'
            yield f'pe.version_info["{key}"] contains "{quoted(pair["value"][:4])}"'
            yield f'for any k, v in pe.version_info : (k == "{key}" and v == "{value}")'
        for s in f.get("signatures", [])[:LISTS_MAX]:
            for field in ("issuer", "subject", "serial", "thumbprint"):
                if s.get(field):
                    yield f'for any s in pe.signatures : (s.{field} == "{quoted(s[field])}")'
                    yield f'for any s in pe.signatures : (s.{field} contains "{quoted(s[field][:8])}")'
                    yield f'pe.signatures[0].{field} == "{quoted(s[field])}"'

    @staticmethod
    def elf(f):
        yield from ("elf.type == elf.ET_DYN", "elf.machine == elf.EM_X86_64", "elf.number_of_sections > 3", 'elf.telfhash() != ""',
                    "for any s in elf.sections : (s.type == elf.SHT_STRTAB)", "elf.dynamic_section_entries > 0", "defined elf.entry_point",
                    'elf.import_md5() != ""', "elf.type != elf.ET_EXEC")
        yield "elf.machine == elf.EM_RCE or elf.machine == elf.EM_MCORE"
        for field in ("number_of_sections", "number_of_segments", "entry_point"):
            if isinstance(f.get(field), int):
                yield f"elf.{field} == {f[field]}"
        for s in f.get("sections", [])[:LISTS_MAX]:
            if s.get("name"):
                yield f'for any s in elf.sections : (s.name == "{quoted(s["name"])}")'
        for s in [x for x in f.get("dynsym", []) if x.get("name")][:LISTS_MAX]:
            yield f'for any s in elf.dynsym : (s.name == "{quoted(s["name"])}")'

    @staticmethod
    def dotnet(f):
        yield from ("dotnet.is_dotnet", "dotnet.number_of_streams > 0", 'dotnet.version contains "v"', "dotnet.number_of_guids > 0")
        for guid in f.get("guids", [])[:LISTS_MAX]:
            yield f'dotnet.guids[0] == "{quoted(guid)}"'
            yield f'for any g in dotnet.guids : (g == "{quoted(guid).upper()}" or g == "{quoted(guid)}")'
        for field in ("module_name", "typelib", "version"):
            if f.get(field):
                yield f'dotnet.{field} == "{quoted(f[field])}"'
        for s in f.get("streams", [])[:LISTS_MAX]:
            yield f'for any s in dotnet.streams : (s.name == "{quoted(s["name"])}")'
        if f.get("assembly", {}).get("name"):
            yield f'dotnet.assembly.name == "{quoted(f["assembly"]["name"])}"'

    @staticmethod
    def macho(f):
        yield from ("macho.magic == 0xfeedfacf", "macho.ncmds > 0", "macho.cputype == macho.CPU_TYPE_X86_64", "defined macho.entry_point",
                    'macho.has_dylib("/usr/lib/libSystem.B.dylib")', "for any s in macho.segments : (s.nsects >= 0)")

    @staticmethod
    def lnk(f):
        yield from ("lnk.is_lnk", "lnk.has_arguments" if "has_arguments" in f else "lnk.is_lnk")
        for field in ("cmd_line_args", "relative_path", "local_base_path"):
            if f.get(field):
                yield f'lnk.{field} == "{quoted(f[field])}"'
                for text in any_case(f[field]):
                    yield f'lnk.{field} iequals "{text}"'
                    yield f'lnk.{field} icontains "{text}"'


# ---- Samples with planted bytes ----

def filler(r, n):
    """Noise that sets many bits, text that sets few, or nothing at all."""
    kind = r.randrange(4)
    if kind == 0:
        return r.randbytes(n)
    if kind == 1:
        return bytes(n)
    words = [r.randbytes(r.randint(2, 9)) for _ in range(12)]
    return b" ".join(r.choice(words) for _ in range(n // 5 + 1))[:n]


def wanted_plants(r, rule_plants):
    """Bytes for some of the patterns of one rule; now and then spoilt by one bit."""
    some = [p for p in rule_plants if r.random() < 0.75] or rule_plants
    plants = [r.choice(p) for p in some for _ in range(r.choice([1, 1, 1, 2])) if p]
    if plants and r.random() < 0.15:
        at = r.randrange(len(plants))
        spoilt = bytearray(plants[at] or b"\0")
        spoilt[r.randrange(len(spoilt))] ^= 1 << r.randrange(8)
        plants[at] = bytes(spoilt)
    return plants


def sample(r, sources, programs):
    """One file, and what it is called."""
    source = r.choice(sources)
    plants = wanted_plants(r, r.choice(source.plants)) if source.plants else []
    if r.random() < 0.3:  # of several rules of the source
        plants += [p for rule_plants in source.plants for p in wanted_plants(r, rule_plants)]
    r.shuffle(plants)
    head = r.choice(source.heads) if source.heads and r.random() < 0.5 else b""
    kind = r.random()
    if kind < 0.02:
        return head[:r.randrange(4)] + r.randbytes(r.randrange(6))
    if kind < 0.2:  # hardly more than what is planted, or a byte less
        made = head + r.choice([b"", b" ", b"\0"]).join(plants)
        return made[:len(made) - r.choice([0, 0, 1, 1, 2])]
    if kind < 0.35 and programs:
        return planted_into(r, r.choice(programs), plants)
    size = r.choice([30, 300, 300, 3000, 3000, 30_000, 70_000])
    parts = [head] + [x for plant in plants for x in (filler(r, r.randrange(size // (len(plants) + 1) + 1)), plant)]
    return b"".join(parts) + filler(r, r.choice([0, 1, 3, size // 4]))


def planted_into(r, program, plants):
    """Over the bytes of a program behind its headers, or at its end."""
    made = bytearray(program)
    for plant in plants:
        if r.random() < 0.4 or len(made) < len(plant) + 2048:
            made += plant
        else:
            at = r.randrange(1024, len(made) - len(plant))
            made[at:at + len(plant)] = plant
    return bytes(made)


def big_sample(r, sources):
    """A file of several chunks; what is planted lies across their borders."""
    size = r.choice([CHUNK_FROM, CHUNK_FROM + 1, CHUNK_FROM + 5000, 2 * CHUNK + OVERLAP, 2 * CHUNK + OVERLAP + 1, 2 * CHUNK + 7])
    made = bytearray(filler(r, size).ljust(size, b"."))
    source = r.choice(sources)
    plants = [p for rule_plants in source.plants for p in wanted_plants(r, rule_plants)]
    if source.heads and r.random() < 0.5:
        head = r.choice(source.heads)
        made[:len(head)] = head
    for plant in plants:
        border = r.randrange(1, size // CHUNK + 1) * CHUNK + r.choice([0, 0, OVERLAP, OVERLAP, 1, OVERLAP - 1])
        at = r.choice([border - r.randrange(len(plant) + 1), border - len(plant), border, size - len(plant), r.randrange(size)])
        at = max(0, min(at, size - len(plant)))
        made[at:at + len(plant)] = plant
    return bytes(made[:size])
