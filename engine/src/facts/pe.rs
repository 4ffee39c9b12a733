//! PE: pe_info, and what hangs on it.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use sha2::Sha256;
use yara_x::mods::pe::{Section, PE};

use super::out::{lossy, lossy_utf16, Out};
use super::read::{Date, Reader};
use super::stats::{hex, md5_of, sha256_of, stats};
use super::{dotnet, exif, icon, signature, Facts};

const DIRECTORY_SECURITY: usize = 4;
const DIRECTORY_DEBUG: usize = 6;
const PE32_PLUS: i32 = 0x20b;
const SUBSYSTEM_NATIVE: i32 = 1;

pub fn extract(facts: &mut Facts) {
    let Some(pe) = yara_x::mods::invoke::<PE>(facts.data) else {
        return;
    };
    if !pe.is_pe() {
        return;
    }
    if let Some(time) = pe.timestamp.filter(|time| *time != 0) {
        facts.out.int("creation_date", time);
    }
    if let Some(hash) = authentihash(facts.data, &pe) {
        facts.out.text("authentihash", &hash);
    }
    if pe.opthdr_magic.is_some_and(|m| m.value() == PE32_PLUS) {
        facts.tag("64bits");
    }
    if pe.subsystem.is_some_and(|s| s.value() == SUBSYSTEM_NATIVE) {
        facts.tag("native");
    }
    if is_upx(&pe, facts.data) {
        facts.tag("upx");
    }
    pe_info(facts, &pe);
    icon::extract(facts, &pe);
    let versions = exif::Versions::of(facts, &pe);
    exif::extract(facts, &pe, &versions);
    signature::extract(facts, &pe, &versions);
    dotnet::extract(facts, &pe);
}

fn pe_info(facts: &mut Facts, pe: &PE) {
    let sections = section_parts(facts, pe);
    let resources = resource_parts(facts, pe);
    let overlay = overlay_part(facts, pe);
    let overlay_type = overlay.and_then(|(_, part)| facts.type_of(part));
    let debug = debug_entries(facts.data, pe);
    facts.out.object("pe_info", |out| {
        out.int("timestamp", pe.timestamp());
        if let Some(machine) = pe.machine {
            out.int("machine_type", machine.value());
        }
        out.int("entry_point", pe.entry_point_raw());
        if !pe.import_details.is_empty() {
            out.text("imphash", &imphash(pe));
        }
        rich_header(out, pe);
        out.list("sections", pe.sections.iter().zip(sections), |out, (section, part)| {
            out.item_object(|out| write_section(out, section, part));
        });
        out.list("import_list", &pe.import_details, |out, import| {
            out.item_object(|out| {
                out.text("library_name", import.library_name());
                let names = import.functions.iter().filter_map(|f| f.name.as_deref());
                out.list("imported_functions", names, |out, name| out.item(name));
            });
        });
        let exports = pe.export_details.iter().filter_map(|e| e.name.as_deref());
        out.list("exports", exports, |out, name| out.item(name));
        write_resources(out, pe, &resources);
        if let Some((offset, part)) = overlay {
            out.object("overlay", |out| {
                stats(part).write(out);
                out.text("filetype", overlay_type.as_deref().unwrap_or("unknown"));
                out.text("md5", &md5_of(part));
                out.int("offset", offset as u64);
                out.int("size", part.len() as u64);
            });
        }
        out.list("debug", &debug, |out, entry| out.item_object(|out| entry.write(out)));
    });
    if overlay.is_some() {
        facts.tag("overlay");
    }
}

// ---- Sections ----

/// Where the loader reads a section: it rounds down to 512 bytes.
fn section_start(section: &Section, pe: &PE) -> usize {
    let offset = section.raw_data_offset();
    if pe.file_alignment() < 0x200 {
        offset as usize
    } else {
        (offset - offset % 0x200) as usize
    }
}

/// What each section has on disk; None: too much was read before.
fn section_parts<'a>(facts: &mut Facts<'a>, pe: &PE) -> Vec<Option<&'a [u8]>> {
    let len = facts.data.len();
    let mut parts = Vec::new();
    for section in &pe.sections {
        let start = section_start(section, pe).min(len);
        // No further than where it would end unrounded.
        let end = start
            .saturating_add(section.raw_data_size() as usize)
            .min(len);
        parts.push(facts.part(start, end - start));
    }
    parts
}

fn write_section(out: &mut Out, section: &Section, part: Option<&[u8]>) {
    const EXECUTE: u32 = 0x2000_0000;
    const READ: u32 = 0x4000_0000;
    const WRITE: u32 = 0x8000_0000;
    let flags: String = [(READ, 'r'), (WRITE, 'w'), (EXECUTE, 'x')]
        .into_iter()
        .filter_map(|(bit, c)| (section.characteristics() & bit != 0).then_some(c))
        .collect();
    out.text("name", &lossy(section.name()));
    if let Some(part) = part {
        stats(part).write_short(out);
        out.text("md5", &md5_of(part));
    }
    out.text("flags", &flags);
    out.int("raw_size", section.raw_data_size());
    out.int("virtual_address", section.virtual_address());
    out.int("virtual_size", section.virtual_size());
}

/// Packed by UPX for certain: its section names and its mark before the first one's data.
fn is_upx(pe: &PE, data: &[u8]) -> bool {
    let named = |name: &[u8]| pe.sections.iter().any(|s| lossy(s.name()).as_bytes() == name);
    named(b"UPX0")
        && named(b"UPX1")
        && data[..data.len().min(4096)].windows(4).any(|w| w == b"UPX!")
}

/// File offset of what is loaded at an RVA.
pub fn offset_of(pe: &PE, rva: u32) -> Option<usize> {
    let lowest = pe.sections.iter().map(|s| s.virtual_address()).min()?;
    if rva < lowest {
        return Some(rva as usize);
    }
    let section = pe
        .sections
        .iter()
        .filter(|s| {
            let size = s.virtual_size().max(s.raw_data_size());
            (s.virtual_address()..s.virtual_address().saturating_add(size)).contains(&rva)
        })
        .max_by_key(|s| s.virtual_address())?;
    let into = rva - section.virtual_address();
    (into < section.raw_data_size()).then(|| section_start(section, pe) + into as usize)
}

// ---- Imports ----

/// MD5 over `library.function,…` in lower case, as Mandiant's imphash.
pub fn imphash(pe: &PE) -> String {
    let mut md5 = Md5::new();
    let mut first = true;
    for import in &pe.import_details {
        let stem = without_extension(import.library_name()).to_lowercase();
        for name in import.functions.iter().filter_map(|f| f.name.as_deref()) {
            if !first {
                md5.update(b",");
            }
            first = false;
            md5.update(&stem);
            md5.update(b".");
            md5.update(name.to_lowercase());
        }
    }
    hex(&md5.finalize())
}

/// Before it is lowercased: what that makes of a letter may depend on those behind it.
fn without_extension(library: &str) -> &str {
    let end = library.len().saturating_sub(4);
    let (stem, end) = library.split_at(library.floor_char_boundary(end));
    let known = [".dll", ".sys", ".ocx"];
    if known.iter().any(|known| end.eq_ignore_ascii_case(known)) {
        stem
    } else {
        library
    }
}

// ---- The rich header ----

fn rich_header(out: &mut Out, pe: &PE) {
    let Some(rich) = pe.rich_signature.as_ref() else {
        return;
    };
    out.text("rich_pe_header_hash", &md5_of(rich.clear_data()));
    out.list("compiler_product_versions", &rich.tools, |out, tool| {
        let (id, version, times) = (tool.toolid(), tool.version(), tool.times());
        if id == 1 && version == 0 {
            out.item(&format!("[---] Unmarked objects count={times}"));
        } else {
            out.item(&format!("id: {id}, version: {version} count={times}"));
        }
    });
}

// ---- Resources ----

struct Part<'a> {
    kind: String,
    language: String,
    data: Option<&'a [u8]>,
}

fn resource_parts<'a>(facts: &mut Facts<'a>, pe: &PE) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for (i, resource) in pe.resources.iter().enumerate() {
        let data = resource
            .offset
            .filter(|_| i < super::out::LIST_MAX)
            .and_then(|offset| facts.part(offset as usize, resource.length() as usize));
        let kind = match resource.type_ {
            Some(kind) => resource_type(kind.value()),
            None => lossy_utf16(resource.type_string()),
        };
        let language = match resource.language {
            Some(language) => language_name(language),
            None => lossy_utf16(resource.language_string()),
        };
        parts.push(Part {
            kind,
            language,
            data,
        });
    }
    parts
}

fn write_resources(out: &mut Out, _pe: &PE, parts: &[Part]) {
    out.list("resource_details", parts, |out, part| {
        out.item_object(|out| {
            if let Some(data) = part.data {
                stats(data).write(out);
                out.text("sha256", &sha256_of(data));
            }
            out.text("lang", &part.language);
            out.text("type", &part.kind);
        });
    });
    for (key, name_of) in [
        ("resource_langs", (|p: &Part| p.language.clone()) as fn(&Part) -> String),
        ("resource_types", |p: &Part| p.kind.clone()),
    ] {
        let mut counts = BTreeMap::new();
        for part in parts {
            *counts.entry(name_of(part)).or_insert(0u32) += 1;
        }
        out.map(key, counts, |out, name, count| out.int(name, count));
    }
}

fn resource_type(kind: i32) -> String {
    let name = match kind {
        1 => "RT_CURSOR",
        2 => "RT_BITMAP",
        3 => "RT_ICON",
        4 => "RT_MENU",
        5 => "RT_DIALOG",
        6 => "RT_STRING",
        7 => "RT_FONTDIR",
        8 => "RT_FONT",
        9 => "RT_ACCELERATOR",
        10 => "RT_RCDATA",
        11 => "RT_MESSAGETABLE",
        12 => "RT_GROUP_CURSOR",
        14 => "RT_GROUP_ICON",
        16 => "RT_VERSION",
        17 => "RT_DLGINCLUDE",
        19 => "RT_PLUGPLAY",
        20 => "RT_VXD",
        21 => "RT_ANICURSOR",
        22 => "RT_ANIICON",
        23 => "RT_HTML",
        24 => "RT_MANIFEST",
        other => return other.to_string(),
    };
    name.to_string()
}

/// Names of winnt.h's LANG_ constants without the prefix; sub-languages where they
/// are told apart by everybody.
fn language_name(id: u32) -> String {
    const PRIMARY: [(u32, &str); 60] = [
        (0x01, "ARABIC"),
        (0x02, "BULGARIAN"),
        (0x03, "CATALAN"),
        (0x04, "CHINESE"),
        (0x05, "CZECH"),
        (0x06, "DANISH"),
        (0x07, "GERMAN"),
        (0x08, "GREEK"),
        (0x09, "ENGLISH"),
        (0x0a, "SPANISH"),
        (0x0b, "FINNISH"),
        (0x0c, "FRENCH"),
        (0x0d, "HEBREW"),
        (0x0e, "HUNGARIAN"),
        (0x0f, "ICELANDIC"),
        (0x10, "ITALIAN"),
        (0x11, "JAPANESE"),
        (0x12, "KOREAN"),
        (0x13, "DUTCH"),
        (0x14, "NORWEGIAN"),
        (0x15, "POLISH"),
        (0x16, "PORTUGUESE"),
        (0x18, "ROMANIAN"),
        (0x19, "RUSSIAN"),
        (0x1a, "SERBIAN"),
        (0x1b, "SLOVAK"),
        (0x1c, "ALBANIAN"),
        (0x1d, "SWEDISH"),
        (0x1e, "THAI"),
        (0x1f, "TURKISH"),
        (0x20, "URDU"),
        (0x21, "INDONESIAN"),
        (0x22, "UKRAINIAN"),
        (0x23, "BELARUSIAN"),
        (0x24, "SLOVENIAN"),
        (0x25, "ESTONIAN"),
        (0x26, "LATVIAN"),
        (0x27, "LITHUANIAN"),
        (0x29, "FARSI"),
        (0x2a, "VIETNAMESE"),
        (0x2b, "ARMENIAN"),
        (0x2c, "AZERI"),
        (0x2d, "BASQUE"),
        (0x2f, "MACEDONIAN"),
        (0x36, "AFRIKAANS"),
        (0x37, "GEORGIAN"),
        (0x38, "FAEROESE"),
        (0x39, "HINDI"),
        (0x3a, "MALTESE"),
        (0x3e, "MALAY"),
        (0x3f, "KAZAK"),
        (0x40, "KYRGYZ"),
        (0x41, "SWAHILI"),
        (0x43, "UZBEK"),
        (0x44, "TATAR"),
        (0x45, "BENGALI"),
        (0x49, "TAMIL"),
        (0x50, "MONGOLIAN"),
        (0x56, "GALICIAN"),
        (0x7f, "INVARIANT"),
    ];
    const EXACT: [(u32, &str); 9] = [
        (0x0000, "NEUTRAL"),
        (0x0400, "NEUTRAL DEFAULT"),
        (0x0800, "NEUTRAL SYS DEFAULT"),
        (0x0409, "ENGLISH US"),
        (0x0809, "ENGLISH UK"),
        (0x0404, "CHINESE TRADITIONAL"),
        (0x0804, "CHINESE SIMPLIFIED"),
        (0x0416, "PORTUGUESE BRAZILIAN"),
        (0x0c0a, "SPANISH MODERN"),
    ];
    let find = |table: &[(u32, &str)], id: u32| {
        table.iter().find(|(known, _)| *known == id).map(|(_, name)| name.to_string())
    };
    find(&EXACT, id)
        .or_else(|| find(&PRIMARY, id & 0x3ff))
        .unwrap_or_else(|| id.to_string())
}

// ---- Overlay ----

fn overlay_part<'a>(facts: &mut Facts<'a>, pe: &PE) -> Option<(usize, &'a [u8])> {
    let overlay = pe.overlay.as_ref()?;
    let (offset, size) = (overlay.offset() as usize, overlay.size() as usize);
    if size == 0 {
        return None;
    }
    Some((offset, facts.part(offset, size)?))
}

// ---- Debug entries ----

const DEBUG_ENTRY_BYTES: usize = 28;
const DEBUG_TYPES: [&str; 21] = [
    "UNKNOWN",
    "COFF",
    "CODEVIEW",
    "FPO",
    "MISC",
    "EXCEPTION",
    "FIXUP",
    "OMAP_TO_SRC",
    "OMAP_FROM_SRC",
    "BORLAND",
    "RESERVED10",
    "CLSID",
    "VC_FEATURE",
    "POGO",
    "ILTCG",
    "MPX",
    "REPRO",
    "EMBEDDED_PORTABLE_PDB",
    "SPGO",
    "PDBCHECKSUM",
    "EX_DLLCHARACTERISTICS",
];
const CODEVIEW: u32 = 2;
const FPO: u32 = 3;
const MISC: u32 = 4;
const RESERVED10: u32 = 10;

struct Debug<'a> {
    kind: u32,
    time: u32,
    offset: u32,
    size: u32,
    data: &'a [u8],
}

fn debug_entries<'a>(data: &'a [u8], pe: &PE) -> Vec<Debug<'a>> {
    let Some(directory) = pe.data_directories.get(DIRECTORY_DEBUG) else {
        return Vec::new();
    };
    let Some(start) = offset_of(pe, directory.virtual_address()) else {
        return Vec::new();
    };
    let reader = Reader::little(data);
    let count = (directory.size() as usize / DEBUG_ENTRY_BYTES).min(super::out::LIST_MAX);
    (0..count)
        .map_while(|i| {
            let at = start.checked_add(i * DEBUG_ENTRY_BYTES)?;
            let (size, offset) = (reader.u32(at + 16)?, reader.u32(at + 24)?);
            let end = (offset as usize).saturating_add(size as usize);
            Some(Debug {
                kind: reader.u32(at + 12)?,
                time: reader.u32(at + 4)?,
                offset,
                size,
                data: data.get(offset as usize..end.min(data.len())).unwrap_or(&[]),
            })
        })
        .collect()
}

impl Debug<'_> {
    fn write(&self, out: &mut Out) {
        out.int("type", self.kind);
        match DEBUG_TYPES.get(self.kind as usize) {
            Some(name) => out.text("type_str", &format!("IMAGE_DEBUG_TYPE_{name}")),
            None => out.text("type_str", &self.kind.to_string()),
        }
        out.text("timestamp", &Date::of(self.time.into()).c_time());
        out.int("offset", self.offset);
        out.int("size", self.size);
        let reader = Reader::little(self.data);
        match self.kind {
            CODEVIEW => self.write_codeview(out, reader),
            FPO => out.object("fpo", |out| out.int("functions", self.size / 16)),
            MISC => self.write_misc(out, reader),
            RESERVED10 if self.data.len() >= 4 => {
                out.object("reserved10", |out| out.text("value", &hex(&self.data[..4])));
            }
            _ => {}
        }
    }

    fn write_codeview(&self, out: &mut Out, reader: Reader) {
        let Some(signature) = self.data.get(..4) else {
            return;
        };
        if signature == b"RSDS" {
            let (Some(guid), Some(age)) = (guid_at(reader, 4), reader.u32(20)) else {
                return;
            };
            out.object("codeview", |out| {
                out.text("signature", "RSDS");
                out.text("guid", &guid);
                out.int("age", age);
                out.text("name", &lossy(&self.data[24..]));
            });
        } else if signature == b"NB10" {
            let (Some(offset), Some(time), Some(age)) =
                (reader.u32(4), reader.u32(8), reader.u32(12))
            else {
                return;
            };
            out.object("codeview", |out| {
                out.text("signature", "NB10");
                out.int("offset", offset);
                out.text("timestamp", &Date::of(time.into()).c_time());
                out.int("age", age);
                out.text("name", &lossy(&self.data[16..]));
            });
        }
    }

    fn write_misc(&self, out: &mut Out, reader: Reader) {
        let (Some(kind), Some(length), Some(unicode)) =
            (reader.u32(0), reader.u32(4), reader.u8(8))
        else {
            return;
        };
        let (Some(reserved), Some(rest)) = (self.data.get(9..12), self.data.get(12..)) else {
            return;
        };
        out.object("misc", |out| {
            out.int("datatype", kind);
            out.int("length", length);
            out.int("unicode", unicode);
            out.text("data", &if unicode == 0 { lossy(rest) } else { lossy_utf16(rest) });
            out.text("reserved", &hex(reserved));
        });
    }
}

/// `e48addf6-fd27-4a9c-815c-bf60afa7566a`
pub fn guid_at(reader: Reader, at: usize) -> Option<String> {
    let tail = reader.data.get(at + 8..at + 16)?;
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{}-{}",
        reader.u32(at)?,
        reader.u16(at + 4)?,
        reader.u16(at + 6)?,
        hex(&tail[..2]),
        hex(&tail[2..])
    ))
}

// ---- The Authenticode hash ----

/// SHA-256 as a signature would be made over it: all bytes but the checksum, the
/// entry of the certificate table and that table itself (Microsoft, "Windows
/// Authenticode Portable Executable Signature Format").
fn authentihash(data: &[u8], pe: &PE) -> Option<String> {
    let reader = Reader::little(data);
    let header = reader.u32(0x3c)? as usize + 4 + 20;
    let directories = header + if reader.u16(header)? == 0x20b { 112 } else { 96 };
    let checksum = header + 64;
    let entry = directories + DIRECTORY_SECURITY * 8;
    let mut hash = Sha256::new();
    hash.update(data.get(..checksum)?);
    if pe.data_directories.len() <= DIRECTORY_SECURITY {
        hash.update(data.get(checksum + 4..)?);
        return Some(hex(&hash.finalize()));
    }
    hash.update(data.get(checksum + 4..entry)?);
    let (start, size) = (reader.u32(entry)? as usize, reader.u32(entry + 4)? as usize);
    let end = start.checked_add(size)?;
    if size == 0 || start < entry + 8 || end > data.len() {
        hash.update(data.get(entry + 8..)?);
        pad(&mut hash, data.len());
    } else {
        hash.update(data.get(entry + 8..start)?);
        hash.update(&data[end..]);
        pad(&mut hash, data.len() - size);
    }
    Some(hex(&hash.finalize()))
}

/// Tools sign, and so hash, files filled up to a multiple of 8 bytes.
fn pad(hash: &mut Sha256, len: usize) {
    hash.update(&[0; 8][..(8 - len % 8) % 8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use yara_x::mods::pe::{Function, Import};

    #[test]
    fn the_extension_goes_before_the_case() {
        let of = |library: &str| {
            let functions = ["LoadLibraryA", "GetProcAddress"].map(|name| Function {
                name: Some(name.into()),
                ..Function::default()
            });
            let mut pe = PE::new();
            pe.import_details.push(Import {
                library_name: Some(library.into()),
                functions: functions.into(),
                ..Import::default()
            });
            imphash(&pe)
        };
        // A capital sigma is another letter where it ends a word.
        assert_eq!(of("ΑΣ.dll"), "7938550b32b1eebde65cc6bcca79c5b5");
        assert_eq!(of("A.DLL"), of("a"));
        assert_eq!(of("A.OcX"), of("a.sys"));
        assert_ne!(of("a.exe"), of("a"));
        assert_ne!(of("Σdll"), of("Σ"));
    }
}
