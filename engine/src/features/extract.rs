//! From a sample to its features.

use md5::{Digest, Md5};
use protobuf::reflect::{ReflectValueRef, RuntimeFieldType};
use protobuf::{MessageDyn, MessageFull};
use sha2::Sha256;
use yara_x::mods::dotnet::Dotnet;
use yara_x::mods::elf::ELF;
use yara_x::mods::lnk::Lnk;
use yara_x::mods::macho::Macho;
use yara_x::mods::pe::{Import, PE};

use super::table::{self, Yields, FIELDS};
use super::{grams, hash, keyed, number, pair, placed, text, GRAM_BYTES};
use crate::facts::imphash;

/// A sample with more is one whose features are not known.
const FEATURES_MAX: usize = (1 << 16) - 1;
/// So is one with a longer text of which grams are kept.
const TEXT_BYTES_MAX: usize = 4096;

const CHARACTERISTICS_DLL: u32 = 0x2000;
const MAGIC_PE32: i32 = 0x10b;
const MAGIC_PE32_PLUS: i32 = 0x20b;

struct Extract<'a> {
    data: &'a [u8],
    out: Vec<u64>,
    /// Something was left out.
    cut: bool,
}

/// The features of a sample, sorted, each once. Nothing: there are too many of them.
pub fn extract(data: &[u8]) -> Option<Vec<u64>> {
    let mut extract = Extract {
        data,
        out: Vec::new(),
        cut: false,
    };
    extract.whole();
    // What modules accept (their parsers' first lines).
    if data.starts_with(b"MZ") {
        if let Some(pe) = yara_x::mods::invoke::<PE>(data) {
            extract.fields("pe.", &*pe);
            if pe.is_pe() {
                extract.pe(&pe);
            }
        }
        extract.module::<Dotnet>("dotnet.");
    }
    if data.starts_with(b"\x7fELF") {
        extract.module::<ELF>("elf.");
    }
    extract.module::<Lnk>("lnk.");
    extract.module::<Macho>("macho.");
    let Extract { mut out, cut, .. } = extract;
    out.sort_unstable();
    out.dedup();
    (!cut && out.len() <= FEATURES_MAX).then_some(out)
}

/// One step of a field's path.
enum Step<'a> {
    Field(&'a str),
    Each,
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        match part.strip_suffix("[]") {
            Some(name) => steps.extend([Step::Field(name), Step::Each]),
            None => steps.push(Step::Field(part)),
        }
    }
    steps
}

impl Extract<'_> {
    fn push(&mut self, feature: u64) {
        // Duplicates may be among them: some room above what is kept in the end.
        if self.out.len() < 4 * FEATURES_MAX {
            self.out.push(feature);
        } else {
            self.cut = true;
        }
    }

    fn module<M: MessageFull>(&mut self, name: &str) {
        if let Some(message) = yara_x::mods::invoke::<M>(self.data) {
            self.fields(name, &*message);
        }
    }

    /// Every field of the table that the module's output has.
    fn fields(&mut self, module: &str, message: &dyn MessageDyn) {
        for (path, yields) in FIELDS {
            if let Some(inner) = path.strip_prefix(module) {
                self.visit(path, *yields, message, &steps(inner));
            }
        }
    }

    fn visit(&mut self, path: &str, yields: Yields, message: &dyn MessageDyn, steps: &[Step]) {
        let [Step::Field(name), rest @ ..] = steps else {
            return;
        };
        let Some(field) = message.descriptor_dyn().field_by_name(name) else {
            return;
        };
        match field.runtime_field_type() {
            RuntimeFieldType::Singular(_) => {
                if let Some(value) = field.get_singular(message) {
                    self.value(path, yields, value, rest);
                }
            }
            RuntimeFieldType::Repeated(_) => {
                let values = field.get_repeated(message);
                for i in 0..values.len() {
                    self.value(path, yields, values.get(i), &rest[1..]);
                }
            }
            RuntimeFieldType::Map(..) => {
                for (key, value) in &field.get_map(message) {
                    if let (ReflectValueRef::String(key), ReflectValueRef::String(value)) =
                        (&key, &value)
                    {
                        self.push(text(&keyed(path, key.as_bytes()), value.as_bytes()));
                    }
                    self.value(path, yields, value, &rest[1..]);
                }
            }
        }
    }

    fn value(&mut self, path: &str, yields: Yields, value: ReflectValueRef, rest: &[Step]) {
        match value {
            ReflectValueRef::Message(message) => self.visit(path, yields, &*message, rest),
            ReflectValueRef::String(value) => self.text(path, yields, value.as_bytes()),
            ReflectValueRef::Bytes(value) => self.text(path, yields, value),
            ReflectValueRef::Bool(value) => self.push(number(path, value.into())),
            ReflectValueRef::U32(value) => self.number(path, value.into()),
            ReflectValueRef::U64(value) => self.number(path, value as i64),
            ReflectValueRef::I32(value) | ReflectValueRef::Enum(_, value) => {
                self.number(path, value.into());
            }
            ReflectValueRef::I64(value) => self.number(path, value),
            ReflectValueRef::F32(_) | ReflectValueRef::F64(_) => {}
        }
    }

    fn number(&mut self, path: &str, value: i64) {
        self.push(number(path, value));
        if table::PLACES.contains(&path) {
            self.place(path, value);
        }
    }

    fn text(&mut self, path: &str, yields: Yields, value: &[u8]) {
        self.push(text(path, value));
        if yields == Yields::Grams {
            self.cut |= value.len() > TEXT_BYTES_MAX;
            if !self.cut {
                for gram in grams(path, value) {
                    self.push(gram);
                }
            }
        }
    }

    /// Bytes at a place in the sample.
    fn place(&mut self, path: &str, offset: i64) {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.data.get(offset..))
            .unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(table::PLACE_BYTES)];
        for (at, gram) in bytes.windows(GRAM_BYTES).enumerate() {
            self.push(placed(path, at, gram));
        }
    }

    /// The functions of the `pe` module.
    fn pe(&mut self, pe: &PE) {
        self.push(text(table::IMPHASH, imphash(pe).as_bytes()));
        let flags = pe.characteristics();
        self.push(number(
            table::IS_DLL,
            (flags & CHARACTERISTICS_DLL != 0).into(),
        ));
        if let Some(magic) = pe.opthdr_magic {
            self.push(number(
                table::IS_32BIT,
                (magic.value() == MAGIC_PE32).into(),
            ));
            self.push(number(
                table::IS_64BIT,
                (magic.value() == MAGIC_PE32_PLUS).into(),
            ));
        }
        for import in pe.import_details.iter().chain(&pe.delayed_import_details) {
            self.import(import);
        }
        for language in pe.resources.iter().filter_map(|r| r.language) {
            self.push(number(table::LOCALE, i64::from(language & 0xffff)));
            self.push(number(table::LANGUAGE, i64::from(language & 0xff)));
        }
    }

    fn import(&mut self, import: &Import) {
        let library = import.library_name().as_bytes();
        self.push(text(table::IMPORTS, library));
        for name in import.functions.iter().filter_map(|f| f.name.as_deref()) {
            self.push(text(
                table::IMPORTS_FUNCTION,
                &pair(library, name.as_bytes()),
            ));
        }
    }

    /// What every sample has.
    fn whole(&mut self) {
        let md5 = crate::facts::hex(&Md5::digest(self.data));
        self.push(hash(table::MD5, md5.as_bytes()));
        let sha256 = crate::facts::hex(&Sha256::digest(self.data));
        self.push(hash(table::SHA256, sha256.as_bytes()));
    }
}

/// That every row names a field of its module, with `[]` where it is a list.
#[cfg(test)]
pub fn check_table() {
    use protobuf::reflect::{MessageDescriptor, RuntimeType};

    fn follow(path: &str, mut at: MessageDescriptor, steps: &[Step]) {
        let mut steps = steps.iter().peekable();
        while let Some(step) = steps.next() {
            let Step::Field(name) = step else {
                panic!("{path}: [] after no list")
            };
            let field = at
                .field_by_name(name)
                .unwrap_or_else(|| panic!("{path}: no {name}"));
            let each = matches!(steps.peek(), Some(Step::Each));
            if each {
                steps.next();
            }
            let kind = match field.runtime_field_type() {
                RuntimeFieldType::Singular(kind) if !each => kind,
                RuntimeFieldType::Repeated(kind) | RuntimeFieldType::Map(_, kind) if each => kind,
                _ => panic!("{path}: {name} is a list or is none"),
            };
            match kind {
                RuntimeType::Message(inner) if steps.peek().is_some() => at = inner,
                RuntimeType::Message(_) => panic!("{path} ends too early"),
                _ => assert!(steps.peek().is_none(), "{path} goes on"),
            }
        }
    }
    for (path, _) in FIELDS {
        let (module, inner) = path.split_once('.').unwrap();
        let root = match module {
            "pe" => PE::descriptor(),
            "dotnet" => Dotnet::descriptor(),
            "elf" => ELF::descriptor(),
            "lnk" => Lnk::descriptor(),
            _ => Macho::descriptor(),
        };
        follow(path, root, &steps(inner));
    }
}
