//! Mach-O: macho_info, an entry for each architecture.

use super::out::{lossy, Out};
use super::read::Reader;
use super::Facts;

const ARCHES_MAX: usize = 16;
const COMMANDS_MAX: usize = 1024;
const SECTIONS_MAX: usize = 255;

struct Section {
    name: String,
    flags: u32,
}

struct Segment {
    name: String,
    address: u64,
    memory: u64,
    offset: u64,
    size: u64,
    sections: Vec<Section>,
}

struct Image {
    magic: u32,
    cpu: u32,
    subtype: u32,
    kind: u32,
    command_count: u32,
    command_bytes: u32,
    flags: u32,
    commands: Vec<u32>,
    libraries: Vec<String>,
    segments: Vec<Segment>,
}

pub fn extract(facts: &mut Facts) {
    let images = images(facts.data);
    if images.is_empty() {
        return;
    }
    if images.len() > 1 {
        facts.tag("multi-arch");
    }
    if images.iter().any(|image| image.cpu & 0x0100_0000 != 0) {
        facts.tag("64bits");
    }
    if images.iter().any(|image| image.commands.contains(&0x1d)) {
        facts.tag("signed");
    }
    facts.out.list("macho_info", &images, |out, image| {
        out.item_object(|out| write_image(out, image));
    });
}

fn images(data: &[u8]) -> Vec<Image> {
    let reader = Reader { data, big: true };
    let Some(fat) = reader.u32(0) else {
        return Vec::new();
    };
    let arches: Vec<(usize, usize)> = match fat {
        0xcafe_babe => {
            let count = reader.u32(4).unwrap_or(0) as usize;
            // Java's class files begin so too; their version makes a count above 40.
            (0..if count > 40 { 0 } else { count.min(ARCHES_MAX) })
                .filter_map(|i| {
                    let at = 8 + i * 20;
                    Some((reader.u32(at + 8)? as usize, reader.u32(at + 12)? as usize))
                })
                .collect()
        }
        0xcafe_babf => (0..(reader.u32(4).unwrap_or(0) as usize).min(ARCHES_MAX))
            .filter_map(|i| {
                let at = 8 + i * 32;
                Some((
                    usize::try_from(reader.u64(at + 8)?).ok()?,
                    usize::try_from(reader.u64(at + 16)?).ok()?,
                ))
            })
            .collect(),
        _ => vec![(0, data.len())],
    };
    arches
        .into_iter()
        .filter_map(|(start, size)| {
            let end = start.checked_add(size)?.min(data.len());
            image(data.get(start..end)?)
        })
        .collect()
}

fn image(data: &[u8]) -> Option<Image> {
    let (big, wide) = match (Reader { data, big: true }).u32(0)? {
        0xfeed_face => (true, false),
        0xfeed_facf => (true, true),
        0xcefa_edfe => (false, false),
        0xcffa_edfe => (false, true),
        _ => return None,
    };
    let reader = Reader { data, big };
    let mut image = Image {
        magic: reader.u32(0)?,
        cpu: reader.u32(4)?,
        subtype: reader.u32(8)?,
        kind: reader.u32(12)?,
        command_count: reader.u32(16)?,
        command_bytes: reader.u32(20)?,
        flags: reader.u32(24)?,
        commands: Vec::new(),
        libraries: Vec::new(),
        segments: Vec::new(),
    };
    let mut at = if wide { 32 } else { 28 };
    for _ in 0..(image.command_count as usize).min(COMMANDS_MAX) {
        let (Some(command), Some(size)) = (reader.u32(at), reader.u32(at + 4)) else {
            break;
        };
        let end = at.saturating_add(size as usize);
        let Some(body) = data.get(at..end).filter(|_| size >= 8) else {
            break;
        };
        take_command(&mut image, command, Reader { data: body, big });
        at = end;
    }
    Some(image)
}

fn take_command(image: &mut Image, command: u32, body: Reader) {
    image.commands.push(command);
    match command & 0x7fff_ffff {
        0x01 => image.segments.extend(segment(body, false)),
        0x19 => image.segments.extend(segment(body, true)),
        // LC_LOAD_DYLIB, _WEAK_, REEXPORT, LAZY_LOAD, UPWARD
        0x0c | 0x18 | 0x1f | 0x20 | 0x23 => {
            let name = body.u32(8).and_then(|at| body.data.get(at as usize..));
            image.libraries.extend(name.map(lossy));
        }
        _ => {}
    }
}

fn segment(body: Reader, wide: bool) -> Option<Segment> {
    let word = |i: usize| {
        if wide {
            body.u64(24 + i * 8)
        } else {
            body.u32(24 + i * 4).map(u64::from)
        }
    };
    let (count_at, first, each, flags_at) = if wide {
        (64, 72, 80, 64)
    } else {
        (48, 56, 68, 56)
    };
    let count = body.u32(count_at)? as usize;
    let sections = (0..count.min(SECTIONS_MAX))
        .map_while(|i| {
            let at = first + i * each;
            Some(Section {
                name: lossy(body.data.get(at..at + 16)?),
                flags: body.u32(at + flags_at)?,
            })
        })
        .collect();
    Some(Segment {
        name: lossy(body.data.get(8..24)?),
        address: word(0)?,
        memory: word(1)?,
        offset: word(2)?,
        size: word(3)?,
        sections,
    })
}

fn write_image(out: &mut Out, image: &Image) {
    out.object("headers", |out| {
        out.text("magic", &format!("0x{:x}", image.magic));
        out.text("cpu_type", &cpu_name(image.cpu));
        out.text("cpu_subtype", &subtype_name(image.cpu, image.subtype & 0x00ff_ffff));
        out.text("file_type", &kind_name(image.kind));
        out.int("num_cmds", image.command_count);
        out.int("size_cmds", image.command_bytes);
        out.list("flags", header_flags(image.flags), |out, name| out.item(name));
    });
    out.list("commands", &image.commands, |out, command| {
        out.item_object(|out| out.text("type", &command_name(*command)));
    });
    out.list("libs", &image.libraries, |out, name| out.item(name));
    out.list("segments", &image.segments, |out, segment| {
        out.item_object(|out| {
            out.text("name", &segment.name);
            for (key, value) in [
                ("vmaddr", segment.address),
                ("vmsize", segment.memory),
                ("fileoff", segment.offset),
                ("filesize", segment.size),
            ] {
                out.text(key, &format!("0x{value:x}"));
            }
            out.list("sections", &segment.sections, |out, section| {
                out.item_object(|out| {
                    out.text("name", &section.name);
                    out.text("type", &section_type(section.flags & 0xff));
                    out.list("flags", attributes(section.flags), |out, name| out.item(name));
                });
            });
        });
    });
}

fn cpu_name(cpu: u32) -> String {
    match cpu {
        1 => "VAX".into(),
        6 => "MC680x0".into(),
        7 => "i386".into(),
        8 => "MIPS".into(),
        10 => "MC98000".into(),
        11 => "HPPA".into(),
        12 => "ARM".into(),
        13 => "MC88000".into(),
        14 => "SPARC".into(),
        15 => "i860".into(),
        18 => "PowerPC".into(),
        0x0100_0007 => "x86_64".into(),
        0x0100_000c => "ARM64".into(),
        0x0200_000c => "ARM64_32".into(),
        0x0100_0012 => "PowerPC64".into(),
        other => format!("0x{other:x}"),
    }
}

fn subtype_name(cpu: u32, subtype: u32) -> String {
    match (cpu, subtype) {
        (7, 3) => "I386_ALL".into(),
        (0x0100_0007, 3) => "X86_64_ALL".into(),
        (0x0100_0007, 8) => "X86_64_H".into(),
        (12, 0) => "ARM_ALL".into(),
        (12, 5) => "ARM_V4T".into(),
        (12, 6) => "ARM_V6".into(),
        (12, 9) => "ARM_V7".into(),
        (12, 11) => "ARM_V7S".into(),
        (12, 12) => "ARM_V7K".into(),
        (0x0100_000c, 0) => "ARM64_ALL".into(),
        (0x0100_000c, 1) => "ARM64_V8".into(),
        (0x0100_000c, 2) => "ARM64E".into(),
        (18 | 0x0100_0012, 0) => "POWERPC_ALL".into(),
        (_, other) => other.to_string(),
    }
}

fn kind_name(kind: u32) -> String {
    match kind {
        1 => "relocatable object file".into(),
        2 => "demand paged executable file".into(),
        3 => "fixed vm shared library file".into(),
        4 => "core file".into(),
        5 => "preloaded executable file".into(),
        6 => "dynamically bound shared library".into(),
        7 => "dynamic link editor".into(),
        8 => "dynamically bound bundle file".into(),
        9 => "shared library stub for static linking only".into(),
        10 => "companion file with only debug sections".into(),
        11 => "kext bundle".into(),
        12 => "fileset".into(),
        other => other.to_string(),
    }
}

/// Those that are set, by name.
fn names_of(bits: u32, table: &[(u32, &'static str)]) -> Vec<&'static str> {
    let mut names: Vec<_> = table
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    names.sort_unstable();
    names
}

fn header_flags(flags: u32) -> Vec<&'static str> {
    names_of(
        flags,
        &[
            (0x1, "NOUNDEFS"),
            (0x2, "INCRLINK"),
            (0x4, "DYLDLINK"),
            (0x8, "BINDATLOAD"),
            (0x10, "PREBOUND"),
            (0x20, "SPLIT_SEGS"),
            (0x40, "LAZY_INIT"),
            (0x80, "TWOLEVEL"),
            (0x100, "FORCE_FLAT"),
            (0x200, "NOMULTIDEFS"),
            (0x400, "NOFIXPREBINDING"),
            (0x800, "PREBINDABLE"),
            (0x1000, "ALLMODSBOUND"),
            (0x2000, "SUBSECTIONS_VIA_SYMBOLS"),
            (0x4000, "CANONICAL"),
            (0x8000, "WEAK_DEFINES"),
            (0x1_0000, "BINDS_TO_WEAK"),
            (0x2_0000, "ALLOW_STACK_EXECUTION"),
            (0x4_0000, "ROOT_SAFE"),
            (0x8_0000, "SETUID_SAFE"),
            (0x10_0000, "NO_REEXPORTED_DYLIBS"),
            (0x20_0000, "PIE"),
            (0x40_0000, "DEAD_STRIPPABLE_DYLIB"),
            (0x80_0000, "HAS_TLV_DESCRIPTORS"),
            (0x100_0000, "NO_HEAP_EXECUTION"),
            (0x200_0000, "APP_EXTENSION_SAFE"),
        ],
    )
}

fn attributes(flags: u32) -> Vec<&'static str> {
    names_of(
        flags,
        &[
            (0x8000_0000, "S_ATTR_PURE_INSTRUCTIONS"),
            (0x4000_0000, "S_ATTR_NO_TOC"),
            (0x2000_0000, "S_ATTR_STRIP_STATIC_SYMS"),
            (0x1000_0000, "S_ATTR_NO_DEAD_STRIP"),
            (0x0800_0000, "S_ATTR_LIVE_SUPPORT"),
            (0x0400_0000, "S_ATTR_SELF_MODIFYING_CODE"),
            (0x0200_0000, "S_ATTR_DEBUG"),
            (0x0000_0400, "S_ATTR_SOME_INSTRUCTIONS"),
            (0x0000_0200, "S_ATTR_EXT_RELOC"),
            (0x0000_0100, "S_ATTR_LOC_RELOC"),
        ],
    )
}

fn section_type(kind: u32) -> String {
    const NAMES: [&str; 23] = [
        "S_REGULAR",
        "S_ZEROFILL",
        "S_CSTRING_LITERALS",
        "S_4BYTE_LITERALS",
        "S_8BYTE_LITERALS",
        "S_LITERAL_POINTERS",
        "S_NON_LAZY_SYMBOL_POINTERS",
        "S_LAZY_SYMBOL_POINTERS",
        "S_SYMBOL_STUBS",
        "S_MOD_INIT_FUNC_POINTERS",
        "S_MOD_TERM_FUNC_POINTERS",
        "S_COALESCED",
        "S_GB_ZEROFILL",
        "S_INTERPOSING",
        "S_16BYTE_LITERALS",
        "S_DTRACE_DOF",
        "S_LAZY_DYLIB_SYMBOL_POINTERS",
        "S_THREAD_LOCAL_REGULAR",
        "S_THREAD_LOCAL_ZEROFILL",
        "S_THREAD_LOCAL_VARIABLES",
        "S_THREAD_LOCAL_VARIABLE_POINTERS",
        "S_THREAD_LOCAL_INIT_FUNCTION_POINTERS",
        "S_INIT_FUNC_OFFSETS",
    ];
    NAMES
        .get(kind as usize)
        .map_or_else(|| kind.to_string(), |name| name.to_string())
}

fn command_name(command: u32) -> String {
    let name = match command & 0x7fff_ffff {
        0x01 => "LC_SEGMENT",
        0x02 => "LC_SYMTAB",
        0x03 => "LC_SYMSEG",
        0x04 => "LC_THREAD",
        0x05 => "LC_UNIXTHREAD",
        0x06 => "LC_LOADFVMLIB",
        0x07 => "LC_IDFVMLIB",
        0x08 => "LC_IDENT",
        0x09 => "LC_FVMFILE",
        0x0a => "LC_PREPAGE",
        0x0b => "LC_DYSYMTAB",
        0x0c => "LC_LOAD_DYLIB",
        0x0d => "LC_ID_DYLIB",
        0x0e => "LC_LOAD_DYLINKER",
        0x0f => "LC_ID_DYLINKER",
        0x10 => "LC_PREBOUND_DYLIB",
        0x11 => "LC_ROUTINES",
        0x12 => "LC_SUB_FRAMEWORK",
        0x13 => "LC_SUB_UMBRELLA",
        0x14 => "LC_SUB_CLIENT",
        0x15 => "LC_SUB_LIBRARY",
        0x16 => "LC_TWOLEVEL_HINTS",
        0x17 => "LC_PREBIND_CKSUM",
        0x18 => "LC_LOAD_WEAK_DYLIB",
        0x19 => "LC_SEGMENT_64",
        0x1a => "LC_ROUTINES_64",
        0x1b => "LC_UUID",
        0x1c => "LC_RPATH",
        0x1d => "LC_CODE_SIGNATURE",
        0x1e => "LC_SEGMENT_SPLIT_INFO",
        0x1f => "LC_REEXPORT_DYLIB",
        0x20 => "LC_LAZY_LOAD_DYLIB",
        0x21 => "LC_ENCRYPTION_INFO",
        0x22 if command & 0x8000_0000 != 0 => "LC_DYLD_INFO_ONLY",
        0x22 => "LC_DYLD_INFO",
        0x23 => "LC_LOAD_UPWARD_DYLIB",
        0x24 => "LC_VERSION_MIN_MACOSX",
        0x25 => "LC_VERSION_MIN_IPHONEOS",
        0x26 => "LC_FUNCTION_STARTS",
        0x27 => "LC_DYLD_ENVIRONMENT",
        0x28 => "LC_MAIN",
        0x29 => "LC_DATA_IN_CODE",
        0x2a => "LC_SOURCE_VERSION",
        0x2b => "LC_DYLIB_CODE_SIGN_DRS",
        0x2c => "LC_ENCRYPTION_INFO_64",
        0x2d => "LC_LINKER_OPTION",
        0x2e => "LC_LINKER_OPTIMIZATION_HINT",
        0x2f => "LC_VERSION_MIN_TVOS",
        0x30 => "LC_VERSION_MIN_WATCHOS",
        0x31 => "LC_NOTE",
        0x32 => "LC_BUILD_VERSION",
        0x33 => "LC_DYLD_EXPORTS_TRIE",
        0x34 => "LC_DYLD_CHAINED_FIXUPS",
        0x35 => "LC_FILESET_ENTRY",
        _ => return format!("0x{command:x}"),
    };
    name.to_string()
}
