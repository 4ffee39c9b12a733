//! Facts: what can be known of a sample by reading it, as the members of
//! VirusTotal's file object that speak of the content alone. Shapes and names:
//! docs.virustotal.com/reference/files and the pages of its parts (pe_info, elf_info …).
//!
//! The engine's modules do the parsing of PE, .NET, ELF, Mach-O and LNK; what they do
//! not tell (hashes and statistics of parts, debug entries, stream tables) is
//! read here. Every list, every text and the whole are bounded, and so is what is
//! hashed more than once.

mod dotnet;
mod elf;
mod exif;
mod icon;
mod lnk;
mod macho;
mod out;
mod pe;
mod read;
mod signature;
mod stats;

use std::ffi::{c_char, c_void, CStr};

use tlsh::prelude::*;

use crate::features;
use crate::ffi::{self, Answer, Buffer, Code};
use out::Out;

pub use pe::imphash;
pub use stats::hex;

/// What names the type of a part, such as the overlay. NULL: nobody does.
pub type FileType = unsafe extern "C" fn(*const u8, usize, *mut c_void) -> *const c_char;

/// What the formats add to while they are read.
pub struct Facts<'a> {
    pub data: &'a [u8],
    pub out: Out,
    pub tags: Vec<&'static str>,
    /// Words that libmagic adds only where it has a file to seek in.
    pub magic_tail: String,
    pub is_pie: bool,
    /// Bytes of parts that may still be hashed: parts may overlap.
    budget: usize,
    file_type: &'a dyn Fn(&[u8]) -> Option<String>,
}

/// Overlapping parts are hashed until twice the sample (and a little, for small ones) is done.
const BUDGET_EXTRA: usize = 16 << 20;

impl<'a> Facts<'a> {
    fn new(data: &'a [u8], file_type: &'a dyn Fn(&[u8]) -> Option<String>) -> Self {
        Self {
            data,
            out: Out::new(),
            tags: Vec::new(),
            magic_tail: String::new(),
            is_pie: false,
            budget: data.len().saturating_mul(2).saturating_add(BUDGET_EXTRA),
            file_type,
        }
    }

    /// The part, if it lies in the sample and there is budget to read it.
    pub fn part(&mut self, offset: usize, len: usize) -> Option<&'a [u8]> {
        let part = self.data.get(offset..offset.checked_add(len)?)?;
        self.budget = self.budget.checked_sub(len)?;
        Some(part)
    }

    pub fn type_of(&self, part: &[u8]) -> Option<String> {
        (self.file_type)(part)
    }

    pub fn tag(&mut self, tag: &'static str) {
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }
}

/// TLSH with its version, or nothing for what is too short or too uniform for it.
pub fn tlsh_of(data: &[u8]) -> Option<String> {
    let mut generator = TlshGenerator::new();
    generator.update(data);
    Some(generator.finalize().ok()?.to_string())
}

/// Run what fits the first bytes.
fn extract(facts: &mut Facts) {
    if let Some(hash) = tlsh_of(facts.data) {
        facts.out.text("tlsh", &hash);
    }
    match facts.data {
        [b'M', b'Z', ..] => pe::extract(facts),
        [0x7f, b'E', b'L', b'F', ..] => elf::extract(facts),
        [0x4c, 0, 0, 0, 0x01, 0x14, 0x02, 0, ..] => lnk::extract(facts),
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..]
        | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..]
        | [0xca, 0xfe, 0xba, 0xbe | 0xbf, ..]
        | [0xbe | 0xbf, 0xba, 0xfe, 0xca, ..] => macho::extract(facts),
        _ => {}
    }
}

/// `struct engine_facts`.
#[repr(C)]
pub struct Result {
    object: Buffer,
    tags: Buffer,
    magic_tail: Buffer,
    is_pie: bool,
    features: *mut u64,
    feature_count: usize,
    features_version: u32,
}

fn run(data: &[u8], file_type: &dyn Fn(&[u8]) -> Option<String>) -> Answer<Result> {
    let mut facts = Facts::new(data, file_type);
    extract(&mut facts);
    let features = features::extract(data);
    let features_version = if features.is_some() { features::VERSION } else { 0 };
    let features = features.unwrap_or_default().into_boxed_slice();
    Ok(Result {
        object: Buffer::new(format!("{{{}}}", facts.out.finish()).into_bytes()),
        tags: Buffer::new(facts.tags.join(" ").into_bytes()),
        magic_tail: Buffer::new(facts.magic_tail.into_bytes()),
        is_pie: facts.is_pie,
        feature_count: features.len(),
        features: Box::into_raw(features).cast(),
        features_version,
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_facts(
    data: *const u8,
    len: usize,
    file_type: Option<FileType>,
    arg: *mut c_void,
    ret: *mut Result,
) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        let ask = |part: &[u8]| {
            let text = file_type?(part.as_ptr(), part.len(), arg);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        ffi::give(ret, run(ffi::bytes(data, len)?, &ask)?)
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_facts_release(facts: *mut Result) {
    let Some(facts) = facts.as_mut() else { return };
    for buffer in [&mut facts.object, &mut facts.tags, &mut facts.magic_tail] {
        ffi::engine_buffer_free(buffer);
    }
    if !facts.features.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            facts.features,
            facts.feature_count,
        )));
    }
    facts.features = std::ptr::null_mut();
    facts.feature_count = 0;
    facts.features_version = 0;
    facts.is_pie = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(data: &[u8]) -> String {
        let mut facts = Facts::new(data, &|_| None);
        extract(&mut facts);
        facts.out.finish()
    }

    #[test]
    fn what_is_nothing_known_has_a_hash_at_most() {
        assert_eq!(members(b""), "");
        assert_eq!(members(b"MZ"), "");
        assert_eq!(members(b"\x7fELF"), "");
        let text: Vec<u8> = (0..4096u32).map(|i| (i * i >> 3) as u8).collect();
        assert!(members(&text).starts_with("\"tlsh\":\"T1"));
    }

    #[test]
    fn heads_that_are_cut_anywhere_do_no_harm() {
        let mut data = vec![0u8; 2048];
        for head in [
            &b"MZ"[..],
            b"\x7fELF\x02\x01\x01",
            b"\x4c\0\0\0\x01\x14\x02\0",
            b"\xcf\xfa\xed\xfe",
            b"\xca\xfe\xba\xbe\0\0\0\x02",
        ] {
            data[..head.len()].copy_from_slice(head);
            for n in 0..data.len() {
                members(&data[..n]);
            }
        }
    }
}
