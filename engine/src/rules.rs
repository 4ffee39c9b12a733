//! Compiled rules: looking at them, and carrying them from process to process.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use yara_x::MetaValue;

use crate::ffi::{self, fail, Answer, Buffer, Code, Str};
use crate::json;

/// Where a rule's namespace and name are stored. The engine keeps one copy of
/// each name, at an address that stays as long as the rules do, so two
/// addresses say which rule it is without looking at the text.
type RuleKey = (usize, usize);

fn key_of(rule: &yara_x::Rule) -> RuleKey {
    (
        rule.namespace().as_ptr() as usize,
        rule.identifier().as_ptr() as usize,
    )
}

/// Mixes the addresses of a key; they are ours, nobody can choose collisions.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_usize(*b as usize);
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0.rotate_left(29) ^ n as u64).wrapping_mul(MULTIPLIER);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a handle owns. Scanners keep the rules alive by themselves.
pub struct Rules {
    shared: Arc<SharedRules>,
}

pub struct SharedRules {
    pub inner: yara_x::Rules,
    index: HashMap<RuleKey, u32, BuildHasherDefault<KeyHasher>>,
}

impl SharedRules {
    pub fn index_of(&self, rule: &yara_x::Rule) -> Option<u32> {
        self.index.get(&key_of(rule)).copied()
    }
}

impl Rules {
    pub fn new(inner: yara_x::Rules) -> Self {
        let index = inner
            .iter()
            .zip(0u32..)
            .map(|(rule, i)| (key_of(&rule), i))
            .collect();
        Self {
            shared: Arc::new(SharedRules { inner, index }),
        }
    }

    pub fn share(&self) -> Arc<SharedRules> {
        self.shared.clone()
    }

    fn count(&self) -> usize {
        self.shared.inner.iter().len()
    }
}

// ---- Serialized form: a header of ours, then the engine's own bytes ----
//
//   0  8  "weir-yrx"
//   8  8  BUILD, little-endian
//  16  8  bytes that follow the header
//  24  8  checksum of them
//
// The engine trusts its bytes (native code is among them), so damage and other
// builds must be found before. The checksum is no defence against malice.

const MAGIC: &[u8; 8] = b"weir-yrx";
const HEADER_BYTES: usize = 32;

/// Tells builds apart whose serialized rules may differ: everything that goes
/// into one is named in the lock file and the manifest.
const BUILD: u64 = fnv(
    fnv(FNV_START, include_bytes!("../Cargo.lock")),
    include_bytes!("../Cargo.toml"),
);
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// Four lanes of 8 bytes, so that it runs at the speed of memory.
fn checksum(bytes: &[u8]) -> u64 {
    let mix = |lane: u64, word: u64| (lane ^ word).wrapping_mul(MULTIPLIER).rotate_left(31);
    let mut lanes = [1u64, 2, 3, 4];
    let mut chunks = bytes.chunks_exact(32);
    for chunk in &mut chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
            *lane = mix(
                *lane,
                word.iter().rev().fold(0, |w, b| (w << 8) | u64::from(*b)),
            );
        }
    }
    let mut sum = bytes.len() as u64;
    for b in chunks.remainder() {
        sum = mix(sum, u64::from(*b));
    }
    lanes.iter().fold(sum, |sum, lane| mix(sum, *lane))
}

fn serialize(rules: &yara_x::Rules) -> Answer<Vec<u8>> {
    let mut out = vec![0; HEADER_BYTES];
    rules
        .serialize_into(&mut out)
        .or_else(|err| fail(Code::Format, format!("serializing rules: {err}")))?;
    let body = &out[HEADER_BYTES..];
    let (len, sum) = (body.len() as u64, checksum(body));
    out[..8].copy_from_slice(MAGIC);
    out[8..16].copy_from_slice(&BUILD.to_le_bytes());
    out[16..24].copy_from_slice(&len.to_le_bytes());
    out[24..32].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .rev()
        .fold(0, |w, b| (w << 8) | u64::from(*b))
}

fn load(bytes: &[u8]) -> Answer<yara_x::Rules> {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
        return fail(Code::Format, "not compiled rules");
    }
    if word_at(bytes, 8) != BUILD {
        return fail(Code::Format, "rules compiled by another build");
    }
    let body = &bytes[HEADER_BYTES..];
    if word_at(bytes, 16) != body.len() as u64 {
        return fail(Code::Format, "compiled rules are cut short or have a tail");
    }
    if word_at(bytes, 24) != checksum(body) {
        return fail(Code::Format, "compiled rules are damaged");
    }
    yara_x::Rules::deserialize(body)
        .or_else(|err| fail(Code::Format, format!("loading rules: {err}")))
}

/// `struct engine_rule`.
#[repr(C)]
pub struct Rule {
    index: u32,
    is_private: bool,
    is_global: bool,
    ns: Str,
    name: Str,
    tags: *const Str,
    tag_count: usize,
    metadata_json: Str,
}

fn metadata_json(out: &mut String, rule: &yara_x::Rule) {
    out.clear();
    out.push('[');
    for (key, value) in rule.metadata() {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('[');
        json::string(out, key);
        out.push(',');
        match value {
            MetaValue::Integer(i) => out.push_str(&i.to_string()),
            MetaValue::Float(f) => json::float(out, f),
            MetaValue::Bool(b) => out.push_str(if b { "true" } else { "false" }),
            MetaValue::String(s) => json::string(out, s),
            MetaValue::Bytes(b) => json::string(out, &String::from_utf8_lossy(b)),
        }
        out.push(']');
    }
    out.push(']');
}

type EachRule = unsafe extern "C" fn(*const Rule, *mut std::ffi::c_void);

#[no_mangle]
pub unsafe extern "C" fn engine_rules_free(rules: *mut Rules) {
    ffi::free(rules);
}

#[no_mangle]
pub unsafe extern "C" fn engine_rules_count(rules: *const Rules) -> u32 {
    let mut count = 0;
    ffi::barrier(|| {
        count = ffi::object(rules)?.count() as u32;
        Ok(())
    });
    count
}

#[no_mangle]
pub unsafe extern "C" fn engine_rules_serialize(rules: *const Rules, ret: *mut Buffer) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        ffi::give(
            ret,
            Buffer::new(serialize(&ffi::object(rules)?.shared.inner)?),
        )
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_rules_load(
    data: *const u8,
    len: usize,
    ret: *mut *mut Rules,
) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        ffi::give_box(ret, Rules::new(load(ffi::bytes(data, len)?)?))
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_rules_each(
    rules: *const Rules,
    each: Option<EachRule>,
    arg: *mut std::ffi::c_void,
) -> Code {
    ffi::barrier(|| {
        let Some(each) = each else {
            return fail(Code::Invalid, "the callback is NULL");
        };
        let rules = ffi::object(rules)?;
        let (mut tags, mut metadata) = (Vec::new(), String::new());
        for (rule, index) in rules.shared.inner.iter().zip(0u32..) {
            tags.clear();
            tags.extend(rule.tags().map(|tag| Str::new(tag.identifier())));
            metadata_json(&mut metadata, &rule);
            let seen = Rule {
                index,
                is_private: rule.is_private(),
                is_global: rule.is_global(),
                ns: Str::new(rule.namespace()),
                name: Str::new(rule.identifier()),
                tags: tags.as_ptr(),
                tag_count: tags.len(),
                metadata_json: Str::new(&metadata),
            };
            each(&seen, arg);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_sees_every_byte() {
        let bytes: Vec<u8> = (0..200u8).collect();
        let sum = checksum(&bytes);
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 0x10;
            assert_ne!(checksum(&other), sum, "byte {i}");
            assert_ne!(checksum(&bytes[..i]), sum, "cut to {i}");
        }
    }

    #[test]
    fn damage_is_found() {
        let rules = yara_x::compile("rule a { condition: true }").unwrap();
        let bytes = serialize(&rules).unwrap();
        assert_eq!(load(&bytes).unwrap().iter().len(), 1);
        for at in [
            0,
            8,
            16,
            24,
            HEADER_BYTES,
            HEADER_BYTES + 20,
            bytes.len() - 1,
        ] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(load(&other).err().unwrap().code, Code::Format, "byte {at}");
        }
        for len in [0, 7, HEADER_BYTES - 1, HEADER_BYTES, bytes.len() - 1] {
            assert_eq!(
                load(&bytes[..len]).err().unwrap().code,
                Code::Format,
                "cut to {len}"
            );
        }
        let foreign = rules.serialize().unwrap();
        assert_eq!(load(&foreign).err().unwrap().code, Code::Format);
    }
}
