//! ELF: elf_info, telfhash, and the words of `file` that libmagic has only for files.

use yara_x::mods::elf::{Sym, ELF};

use super::out::{lossy, Out};
use super::read::Reader;
use super::stats::hex;
use super::{tlsh_of, Facts};

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_INTERP: i32 = 3;
const PT_NOTE: i32 = 4;
const PT_LOAD: i32 = 1;
const SHT_SYMTAB: i32 = 2;
const SHT_NOTE: i32 = 7;
const SHT_NOBITS: i32 = 8;
const DT_NEEDED: i32 = 1;
const DT_STRTAB: i32 = 5;
const DT_FLAGS_1: i32 = 0x6fff_fffb;
const DF_1_PIE: i64 = 0x0800_0000;
/// UPX writes its mark right behind the program headers.
const UPX_SEARCH: usize = 1024;

struct Header {
    wide: bool,
    big: bool,
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    segments: u16,
    sections: u16,
}

impl Header {
    fn of(data: &[u8]) -> Option<Self> {
        let (wide, big) = (*data.get(4)? == 2, *data.get(5)? == 2);
        let reader = Reader { data, big };
        let counts = if wide { 56 } else { 44 };
        Some(Self {
            wide,
            big,
            kind: reader.u16(16)?,
            machine: reader.u16(18)?,
            version: reader.u32(20)?,
            entry: if wide {
                reader.u64(24)?
            } else {
                reader.u32(24)?.into()
            },
            segments: reader.u16(counts)?,
            sections: reader.u16(counts + 4)?,
        })
    }
}

pub fn extract(facts: &mut Facts) {
    let Some(header) = Header::of(facts.data) else {
        return;
    };
    let Some(elf) = yara_x::mods::invoke::<ELF>(facts.data) else {
        return;
    };
    if elf.type_.is_none() {
        return;
    }
    let data = facts.data;
    let interpreter = interpreter(data, &elf);
    let is_upx = data[..data.len().min(UPX_SEARCH)].windows(4).any(|w| w == b"UPX!")
        && header.sections == 0;
    if header.wide {
        facts.tag("64bits");
    }
    if header.kind == ET_DYN && interpreter.is_none() && !is_pie(&elf) {
        facts.tag("shared-lib");
    }
    if is_upx {
        facts.tag("upx");
    }
    if let Some(hash) = telfhash(&elf) {
        facts.out.text("telfhash", &hash);
    }
    facts.out.object("elf_info", |out| {
        out.object("header", |out| write_header(out, &header, data));
        write_sections(out, &elf);
        write_segments(out, header.machine, &elf);
        let named = |import: bool| {
            elf.dynsym.iter().filter(move |sym| {
                !sym.name().is_empty() && sym_bind(sym) != 0 && (sym.shndx() == 0) == import
            })
        };
        out.list("import_list", named(true), write_symbol);
        out.list("export_list", named(false), write_symbol);
        out.list("shared_libraries", needed(data, &elf), |out, name| out.item(&name));
        if is_upx {
            out.list("packers", ["upx"], |out, name| out.item(name));
        }
    });
    facts.magic_tail = magic_tail(data, &header, &elf, interpreter.as_deref());
    facts.is_pie = is_pie(&elf);
}

fn sym_bind(sym: &Sym) -> i32 {
    sym.bind.map_or(0, |bind| bind.value())
}

fn write_symbol(out: &mut Out, sym: &Sym) {
    const TYPES: [&str; 7] = ["NOTYPE", "OBJECT", "FUNC", "SECTION", "FILE", "COMMON", "TLS"];
    let kind = sym.type_.map_or(0, |kind| kind.value());
    let name = match kind {
        10 => "IFUNC",
        _ => TYPES.get(kind as usize).copied().unwrap_or("UNKNOWN"),
    };
    out.item_object(|out| {
        out.text("name", sym.name());
        out.text("type", name);
    });
}

// ---- The header, in readelf's words ----

fn write_header(out: &mut Out, header: &Header, data: &[u8]) {
    out.text("class", if header.wide { "ELF64" } else { "ELF32" });
    out.text(
        "data",
        match data[5] {
            1 => "2's complement, little endian",
            2 => "2's complement, big endian",
            _ => "unknown",
        },
    );
    out.text(
        "hdr_version",
        &match data[6] {
            1 => "1 (current)".to_string(),
            other => other.to_string(),
        },
    );
    out.text("os_abi", &os_abi(data[7]));
    out.int("abi_version", data[8]);
    out.text("type", &type_name(header.kind));
    out.text("machine", &machine_name(header.machine));
    out.text("obj_version", &format!("0x{:x}", header.version));
    out.int("entrypoint", header.entry);
    out.int("num_prog_headers", header.segments);
    out.int("num_section_headers", header.sections);
}

fn type_name(kind: u16) -> String {
    match kind {
        0 => "NONE (None)".into(),
        1 => "REL (Relocatable file)".into(),
        2 => "EXEC (Executable file)".into(),
        3 => "DYN (Shared object file)".into(),
        4 => "CORE (Core file)".into(),
        0xfe00..=0xfeff => format!("OS Specific: ({kind:x})"),
        0xff00..=0xffff => format!("Processor Specific: ({kind:x})"),
        other => format!("<unknown>: {other:x}"),
    }
}

fn os_abi(abi: u8) -> String {
    match abi {
        0 => "UNIX - System V".into(),
        1 => "UNIX - HP-UX".into(),
        2 => "UNIX - NetBSD".into(),
        3 => "UNIX - Linux".into(),
        6 => "UNIX - Solaris".into(),
        7 => "UNIX - AIX".into(),
        8 => "UNIX - IRIX".into(),
        9 => "UNIX - FreeBSD".into(),
        10 => "UNIX - TRU64".into(),
        11 => "Novell - Modesto".into(),
        12 => "UNIX - OpenBSD".into(),
        13 => "VMS - OpenVMS".into(),
        14 => "HP - Non-Stop Kernel".into(),
        15 => "AROS".into(),
        16 => "FenixOS".into(),
        17 => "Nuxi CloudABI".into(),
        97 => "ARM".into(),
        255 => "Standalone App".into(),
        other => format!("<unknown: {other:x}>"),
    }
}

fn machine_name(machine: u16) -> String {
    let name = match machine {
        0 => "None",
        2 => "Sparc",
        3 => "Intel 80386",
        4 => "MC68000",
        6 => "Intel MCU",
        7 => "Intel 80860",
        8 => "MIPS R3000",
        9 => "IBM System/370",
        10 => "MIPS R4000 big-endian",
        15 => "HPPA",
        18 => "Sparc v8+",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "IBM S/390",
        40 => "ARM",
        42 => "Renesas / SuperH SH",
        43 => "Sparc v9",
        50 => "Intel IA-64",
        62 => "Advanced Micro Devices X86-64",
        83 => "Atmel AVR 8-bit microcontroller",
        93 => "ARCompact",
        94 => "Tensilica Xtensa Processor",
        164 => "QUALCOMM Hexagon",
        183 => "AArch64",
        195 => "ARCv2",
        224 => "AMD GPU",
        243 => "RISC-V",
        247 => "Linux BPF",
        252 => "C-SKY",
        258 => "LoongArch",
        0x9026 => "Alpha",
        other => return format!("<unknown>: 0x{other:x}"),
    };
    name.to_string()
}

// ---- Sections and segments ----

fn section_type(kind: i32) -> String {
    let name = match kind as u32 {
        0 => "NULL",
        1 => "PROGBITS",
        2 => "SYMTAB",
        3 => "STRTAB",
        4 => "RELA",
        5 => "HASH",
        6 => "DYNAMIC",
        7 => "NOTE",
        8 => "NOBITS",
        9 => "REL",
        10 => "SHLIB",
        11 => "DYNSYM",
        14 => "INIT_ARRAY",
        15 => "FINI_ARRAY",
        16 => "PREINIT_ARRAY",
        17 => "GROUP",
        18 => "SYMTAB SECTION INDICES",
        19 => "RELR",
        0x6fff_fff5 => "GNU_ATTRIBUTES",
        0x6fff_fff6 => "GNU_HASH",
        0x6fff_fff7 => "GNU_LIBLIST",
        0x6fff_fffd => "VERDEF",
        0x6fff_fffe => "VERNEED",
        0x6fff_ffff => "VERSYM",
        0x7000_0001 => "X86_64_UNWIND",
        0x7000_0003 => "ARM_ATTRIBUTES",
        other => return format!("0x{other:x}"),
    };
    name.to_string()
}

fn section_flags(flags: i64) -> String {
    const LETTERS: [(i64, char); 14] = [
        (0x1, 'W'),
        (0x2, 'A'),
        (0x4, 'X'),
        (0x10, 'M'),
        (0x20, 'S'),
        (0x40, 'I'),
        (0x80, 'L'),
        (0x100, 'O'),
        (0x200, 'G'),
        (0x400, 'T'),
        (0x800, 'C'),
        (0x0ff0_0000, 'o'), // of the system, and …
        (0x8000_0000, 'E'),
        (0x7000_0000, 'p'), // … of the processor
    ];
    LETTERS
        .into_iter()
        .filter_map(|(bit, letter)| (flags & bit != 0).then_some(letter))
        .collect()
}

fn write_sections(out: &mut Out, elf: &ELF) {
    out.list("section_list", &elf.sections, |out, section| {
        out.item_object(|out| {
            out.text("name", section.name());
            out.text("section_type", &section_type(section.type_.map_or(0, |t| t.value())));
            out.text("flags", &section_flags(section.flags()));
            out.int("virtual_address", section.address() as u64);
            out.int("physical_offset", section.offset() as u64);
            out.int("size", section.size() as u64);
        });
    });
}

fn segment_type(machine: u16, kind: i32) -> String {
    const ARM: u16 = 40;
    const MIPS: u16 = 8;
    let name = match kind as u32 {
        0 => "NULL",
        1 => "LOAD",
        2 => "DYNAMIC",
        3 => "INTERP",
        4 => "NOTE",
        5 => "SHLIB",
        6 => "PHDR",
        7 => "TLS",
        0x6474_e550 => "GNU_EH_FRAME",
        0x6474_e551 => "GNU_STACK",
        0x6474_e552 => "GNU_RELRO",
        0x6474_e553 => "GNU_PROPERTY",
        0x65a3_dbe5 => "OPENBSD_MUTABLE",
        0x65a3_dbe6 => "OPENBSD_RANDOMIZE",
        0x7000_0001 if machine == ARM => "EXIDX",
        0x7000_0003 if machine == MIPS => "ABIFLAGS",
        other => return format!("0x{other:x}"),
    };
    name.to_string()
}

fn write_segments(out: &mut Out, machine: u16, elf: &ELF) {
    out.list("segment_list", &elf.segments, |out, segment| {
        out.item_object(|out| {
            out.text("segment_type", &segment_type(machine, segment.type_.map_or(0, |t| t.value())));
            let start = segment.virtual_address();
            let end = start.saturating_add(segment.memory_size());
            let inside = elf.sections.iter().filter(|s| {
                // Loaded (SHF_ALLOC) and wholly within; .tbss takes no room of its own.
                s.flags() & 2 != 0
                    && s.size() > 0
                    && s.address() >= start
                    && s.address().saturating_add(s.size()) <= end
            });
            out.list("resources", inside, |out, section| out.item(section.name()));
        });
    });
}

// ---- What it needs to run ----

fn interpreter(data: &[u8], elf: &ELF) -> Option<String> {
    let segment = elf
        .segments
        .iter()
        .find(|s| s.type_.is_some_and(|t| t.value() == PT_INTERP))?;
    let start = usize::try_from(segment.offset()).ok()?;
    let size = usize::try_from(segment.file_size()).ok()?;
    let path = lossy(data.get(start..start.checked_add(size)?)?);
    (!path.is_empty()).then_some(path)
}

fn dynamic(elf: &ELF, kind: i32) -> impl Iterator<Item = i64> + '_ {
    elf.dynamic
        .iter()
        .filter(move |entry| entry.type_.is_some_and(|t| t.value() == kind))
        .map(|entry| entry.val())
}

fn is_pie(elf: &ELF) -> bool {
    dynamic(elf, DT_FLAGS_1).any(|flags| flags & DF_1_PIE != 0)
}

fn offset_of(elf: &ELF, address: i64) -> Option<usize> {
    let segment = elf.segments.iter().find(|s| {
        s.type_.is_some_and(|t| t.value() == PT_LOAD)
            && address >= s.virtual_address()
            && address < s.virtual_address().saturating_add(s.file_size())
    })?;
    usize::try_from(segment.offset().checked_add(address - segment.virtual_address())?).ok()
}

fn needed(data: &[u8], elf: &ELF) -> Vec<String> {
    let Some(table) = dynamic(elf, DT_STRTAB).next().and_then(|at| offset_of(elf, at)) else {
        return Vec::new();
    };
    dynamic(elf, DT_NEEDED)
        .take(super::out::LIST_MAX)
        .filter_map(|at| data.get(table.checked_add(usize::try_from(at).ok()?)?..))
        .map(lossy)
        .filter(|name| !name.is_empty())
        .collect()
}

// ---- telfhash ----

/// TLSH over the sorted names of global functions, as Trend Micro's telfhash has it.
fn telfhash(elf: &ELF) -> Option<String> {
    const EXCLUDED: [&str; 8] = [
        "__libc_start_main",
        "main",
        "abort",
        "cachectl",
        "cacheflush",
        "puts",
        "atol",
        "malloc_trim",
    ];
    let symbols = if elf.dynsym.is_empty() {
        &elf.symtab
    } else {
        &elf.dynsym
    };
    let mut names: Vec<String> = symbols
        .iter()
        .filter(|sym| {
            let is = |value: Option<i32>, wanted: i32| value == Some(wanted);
            is(sym.type_.map(|t| t.value()), 2)
                && is(sym.bind.map(|b| b.value()), 1)
                && is(sym.visibility.map(|v| v.value()), 0)
        })
        .map(|sym| sym.name())
        .filter(|name| {
            !EXCLUDED.contains(name)
                && !["", ".", "_", "mem", "str"]
                    .iter()
                    .any(|start| if start.is_empty() { name.is_empty() } else { name.starts_with(start) })
                && !name.ends_with("64")
        })
        .map(str::to_lowercase)
        .collect();
    names.sort();
    tlsh_of(names.join(",").as_bytes())
}

// ---- What `file` would add ----

fn magic_tail(data: &[u8], header: &Header, elf: &ELF, interpreter: Option<&str>) -> String {
    let mut tail = String::new();
    if matches!(header.kind, ET_EXEC | ET_DYN) && !elf.segments.is_empty() {
        let has_dynamic = !elf.dynamic.is_empty();
        let style = match (interpreter, has_dynamic) {
            (None, true) if is_pie(elf) => "static-pie",
            (_, true) | (Some(_), _) => "dynamically",
            (None, false) => "statically",
        };
        tail.push_str(&format!(", {style} linked"));
        if let Some(path) = interpreter {
            tail.push_str(&format!(", interpreter {path}"));
        }
    }
    for note in notes(data, elf) {
        describe_notes(&mut tail, note, header.big);
    }
    if !elf.sections.is_empty() {
        let has = |name: &str| elf.sections.iter().any(|s| s.name() == name);
        let symbols = elf
            .sections
            .iter()
            .any(|s| s.type_.is_some_and(|t| t.value() == SHT_SYMTAB));
        if has(".debug_info") {
            tail.push_str(", with debug_info");
        }
        tail.push_str(if symbols { ", not stripped" } else { ", stripped" });
    } else if matches!(header.kind, ET_EXEC | ET_DYN) {
        tail.push_str(", no section header");
    }
    tail
}

/// The bytes of note sections, or of note segments where there are no sections.
fn notes<'a>(data: &'a [u8], elf: &ELF) -> Vec<&'a [u8]> {
    const NOTES_MAX: usize = 16;
    let part = |offset: i64, size: i64| {
        let start = usize::try_from(offset).ok()?;
        data.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    };
    if elf.sections.is_empty() {
        return elf
            .segments
            .iter()
            .filter(|s| s.type_.is_some_and(|t| t.value() == PT_NOTE))
            .take(NOTES_MAX)
            .filter_map(|s| part(s.offset(), s.file_size()))
            .collect();
    }
    elf.sections
        .iter()
        .filter(|s| s.type_.is_some_and(|t| t.value() == SHT_NOTE && t.value() != SHT_NOBITS))
        .take(NOTES_MAX)
        .filter_map(|s| part(s.offset(), s.size()))
        .collect()
}

fn describe_notes(tail: &mut String, bytes: &[u8], big: bool) {
    const PER_SECTION_MAX: usize = 16;
    let reader = Reader { data: bytes, big };
    let mut at = 0usize;
    for _ in 0..PER_SECTION_MAX {
        let (Some(name_len), Some(len), Some(kind)) =
            (reader.u32(at), reader.u32(at + 4), reader.u32(at + 8))
        else {
            return;
        };
        let up = |n: u32| (n as usize).saturating_add(3) & !3;
        let start = (at + 12).saturating_add(up(name_len));
        let end = start.saturating_add(len as usize);
        let (Some(name), Some(body)) = (
            bytes.get(at + 12..(at + 12).saturating_add(name_len as usize)),
            bytes.get(start..end),
        ) else {
            return;
        };
        describe_note(tail, name, kind, Reader { data: body, big });
        at = start.saturating_add(up(len));
    }
}

fn describe_note(tail: &mut String, name: &[u8], kind: u32, body: Reader) {
    match (name, kind) {
        (b"GNU\0", 3) if (4..=20).contains(&body.data.len()) => {
            let word = match body.data.len() {
                8 => "xxHash",
                16 => "md5/uuid",
                20 => "sha1",
                _ => "unknown",
            };
            tail.push_str(&format!(", BuildID[{word}]={}", hex(body.data)));
        }
        (b"GNU\0", 1) => {
            let system = match body.u32(0) {
                Some(0) => "Linux",
                Some(1) => "Hurd",
                Some(2) => "Solaris",
                Some(3) => "kFreeBSD",
                Some(4) => "kNetBSD",
                Some(_) => "<unknown>",
                None => return,
            };
            if let (Some(a), Some(b), Some(c)) = (body.u32(4), body.u32(8), body.u32(12)) {
                tail.push_str(&format!(", for GNU/{system} {a}.{b}.{c}"));
            }
        }
        (b"Go\0\0", 4) if body.data.len() < 128 => {
            tail.push_str(&format!(", Go BuildID={}", lossy(body.data)));
        }
        _ => {}
    }
}
