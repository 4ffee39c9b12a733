//! `exiftool`: what that program says of a PE, in its words, read from the same places.

use yara_x::mods::pe::PE;

use super::out::Out;
use super::read::{Date, Reader};
use super::Facts;

const VERSION: i32 = 16;
const FIXED_MAGIC: [u8; 4] = 0xfeef_04bd_u32.to_le_bytes();
/// The fixed part follows the name of the structure.
const FIXED_SEARCH: usize = 64;

/// The version resource: its numbers and its texts.
pub struct Versions {
    fixed: Option<[u32; 13]>,
    texts: Vec<(String, String)>,
}

impl Versions {
    pub fn of(facts: &mut Facts, pe: &PE) -> Self {
        let texts = pe
            .version_info_list
            .iter()
            .map(|pair| (pair.key().to_string(), pair.value().to_string()))
            .collect();
        Self {
            fixed: fixed(facts, pe),
            texts,
        }
    }

    pub fn text(&self, key: &str) -> &str {
        self.texts
            .iter()
            .find(|(known, _)| known == key)
            .map_or("", |(_, value)| value)
    }
}

fn fixed(facts: &mut Facts, pe: &PE) -> Option<[u32; 13]> {
    let resource = pe
        .resources
        .iter()
        .find(|r| r.type_.is_some_and(|t| t.value() == VERSION))?;
    let data = facts.part(resource.offset? as usize, resource.length() as usize)?;
    let at = data
        .get(..data.len().min(FIXED_SEARCH))?
        .windows(4)
        .position(|w| w == FIXED_MAGIC)?;
    let reader = Reader::little(data);
    let mut words = [0; 13];
    for (i, word) in words.iter_mut().enumerate() {
        *word = reader.u32(at + i * 4)?;
    }
    Some(words)
}

pub fn extract(facts: &mut Facts, pe: &PE, versions: &Versions) {
    let is_dll = pe.characteristics() & 0x2000 != 0;
    facts.out.object("exiftool", |out| {
        let wide = pe.opthdr_magic.is_some_and(|m| m.value() == 0x20b);
        let bits = if wide { "Win64" } else { "Win32" };
        out.text("FileType", &format!("{bits} {}", if is_dll { "DLL" } else { "EXE" }));
        out.text("FileTypeExtension", if is_dll { "dll" } else { "exe" });
        out.text("MIMEType", "application/octet-stream");
        header(out, pe);
        if let Some(words) = versions.fixed {
            fixed_numbers(out, &words);
        }
        let texts = versions.texts.iter().map(|(key, value)| (tag_name(key), value));
        out.map_members(texts, FIXED_NAMES);
    });
}

fn header(out: &mut Out, pe: &PE) {
    if let Some(machine) = pe.machine {
        out.text("MachineType", &machine_name(machine.value()));
    }
    out.text("TimeStamp", &Date::of(pe.timestamp().into()).exif());
    out.text("ImageFileCharacteristics", &characteristics(pe.characteristics()));
    out.text(
        "PEType",
        match pe.opthdr_magic.map(|m| m.value()) {
            Some(0x10b) => "PE32",
            Some(0x20b) => "PE32+",
            _ => "ROM Image",
        },
    );
    for (key, version) in [
        ("LinkerVersion", &pe.linker_version),
        ("OSVersion", &pe.os_version),
        ("ImageVersion", &pe.image_version),
        ("SubsystemVersion", &pe.subsystem_version),
    ] {
        if let Some(version) = version.as_ref() {
            out.text(key, &format!("{}.{}", version.major(), version.minor()));
        }
    }
    for (key, size) in [
        ("CodeSize", pe.size_of_code()),
        ("InitializedDataSize", pe.size_of_initialized_data()),
        ("UninitializedDataSize", pe.size_of_uninitialized_data()),
    ] {
        out.text(key, &size.to_string());
    }
    out.text("EntryPoint", &format!("0x{:04x}", pe.entry_point_raw()));
    if let Some(subsystem) = pe.subsystem {
        out.text("Subsystem", &subsystem_name(subsystem.value()));
    }
}

fn machine_name(machine: i32) -> String {
    match machine {
        0x014c => "Intel 386 or later, and compatibles".into(),
        0x8664 => "AMD AMD64".into(),
        0x01c0 => "ARM little endian".into(),
        0x01c2 => "ARM or Thumb (interworking)".into(),
        0x01c4 => "ARM Thumb-2 little endian".into(),
        0xaa64 => "ARM64 little endian".into(),
        0x0200 => "Intel IA64".into(),
        0x0ebc => "EFI Byte Code".into(),
        other => format!("Unknown (0x{other:x})"),
    }
}

fn subsystem_name(subsystem: i32) -> String {
    match subsystem {
        0 => "Unknown".into(),
        1 => "Native".into(),
        2 => "Windows GUI".into(),
        3 => "Windows command line".into(),
        5 => "OS/2 command line".into(),
        7 => "POSIX command line".into(),
        9 => "Windows CE GUI".into(),
        10 => "EFI application".into(),
        11 => "EFI boot service".into(),
        12 => "EFI runtime driver".into(),
        13 => "EFI ROM".into(),
        14 => "XBOX".into(),
        other => format!("Unknown ({other})"),
    }
}

fn characteristics(flags: u32) -> String {
    const NAMES: [&str; 16] = [
        "No relocs",
        "Executable",
        "No line numbers",
        "No symbols",
        "Aggressive working-set trim",
        "Large address aware",
        "[6]",
        "Bytes reversed lo",
        "32-bit",
        "No debug",
        "Removable run from swap",
        "Net run from swap",
        "System file",
        "DLL",
        "Uniprocessor only",
        "Bytes reversed hi",
    ];
    let set: Vec<&str> = (0..16)
        .filter(|bit| flags & (1 << bit) != 0)
        .map(|bit| NAMES[bit])
        .collect();
    set.join(", ")
}

/// The names that `fixed_numbers` gives out: texts of the sample do not replace them.
const FIXED_NAMES: &[&str] = &[
    "FileType",
    "FileTypeExtension",
    "MIMEType",
    "MachineType",
    "TimeStamp",
    "ImageFileCharacteristics",
    "PEType",
    "LinkerVersion",
    "OSVersion",
    "ImageVersion",
    "SubsystemVersion",
    "CodeSize",
    "InitializedDataSize",
    "UninitializedDataSize",
    "EntryPoint",
    "Subsystem",
    "FileVersionNumber",
    "ProductVersionNumber",
    "FileFlagsMask",
    "FileFlags",
    "FileOS",
    "ObjectFileType",
    "FileSubtype",
];

fn fixed_numbers(out: &mut Out, words: &[u32; 13]) {
    let four = |high: u32, low: u32| {
        format!("{}.{}.{}.{}", high >> 16, high & 0xffff, low >> 16, low & 0xffff)
    };
    out.text("FileVersionNumber", &four(words[2], words[3]));
    out.text("ProductVersionNumber", &four(words[4], words[5]));
    out.text("FileFlagsMask", &format!("0x{:04x}", words[6]));
    out.text("FileFlags", &file_flags(words[7]));
    out.text("FileOS", &file_os(words[8]));
    out.text("ObjectFileType", &object_type(words[9]));
    out.text("FileSubtype", &words[10].to_string());
}

fn file_flags(flags: u32) -> String {
    const NAMES: [&str; 6] = [
        "Debug",
        "Pre-release",
        "Patched",
        "Private build",
        "Info inferred",
        "Special build",
    ];
    let set: Vec<String> = (0..32)
        .filter(|bit| flags & (1 << bit) != 0)
        .map(|bit| NAMES.get(bit).map_or(format!("[{bit}]"), |name| name.to_string()))
        .collect();
    if set.is_empty() {
        "(none)".into()
    } else {
        set.join(", ")
    }
}

fn file_os(os: u32) -> String {
    match os {
        0x1_0000 => "DOS".into(),
        0x2_0000 => "OS/2 16-bit".into(),
        0x3_0000 => "OS/2 32-bit".into(),
        0x4_0000 => "Windows NT".into(),
        0x1 => "Windows 16-bit".into(),
        0x4 => "Win32".into(),
        0x1_0001 => "Windows 16-bit DOS".into(),
        0x1_0004 => "Win32 DOS".into(),
        0x4_0004 => "Windows NT 32-bit".into(),
        0 => "Unknown (0)".into(),
        other => format!("Unknown (0x{other:x})"),
    }
}

fn object_type(kind: u32) -> String {
    match kind {
        0 => "Unknown".into(),
        1 => "Executable application".into(),
        2 => "Dynamic link library".into(),
        3 => "Driver".into(),
        4 => "Font".into(),
        5 => "VxD".into(),
        7 => "Static library".into(),
        other => format!("Unknown ({other})"),
    }
}

/// The names that program gives to keys of the version resource.
fn tag_name(key: &str) -> String {
    match key {
        "OriginalFilename" => "OriginalFileName".into(),
        _ => key
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .collect(),
    }
}
