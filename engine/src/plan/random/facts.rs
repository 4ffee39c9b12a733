//! What the engine's modules tell of samples: expressions and their values.

use protobuf::reflect::{ReflectValueRef, RuntimeFieldType};
use protobuf::MessageDyn;
use yara_x::mods::{dotnet::Dotnet, elf::ELF, lnk::Lnk, macho::Macho, pe::PE};

use super::Dice;
use crate::features::table;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Vec<u8>),
    Number(i64),
    Truth(bool),
}

impl Value {
    /// As it is written in a rule.
    pub fn shown(&self) -> String {
        match self {
            Value::Text(bytes) => escaped(bytes),
            Value::Number(i64::MIN) => "(-9223372036854775807 - 1)".into(),
            Value::Number(value) => value.to_string(),
            Value::Truth(value) => value.to_string(),
        }
    }
}

/// A literal of these bytes.
pub fn escaped(bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
    format!("\"{escaped}\"")
}

/// The row of the table that an expression may have: `pe.sections[].name`.
pub fn path(expr: &str) -> String {
    let mut out = String::new();
    for part in expr.split('[') {
        match part.split_once(']') {
            Some((_, rest)) => out.push_str(&format!("[]{rest}")),
            None => out.push_str(part),
        }
    }
    out
}

/// Everything below the outputs of the modules, `[n]` for elements of lists.
pub fn leaves(data: &[u8], out: &mut Vec<(String, Value)>) {
    message("pe", &*yara_x::mods::invoke::<PE>(data).unwrap(), out);
    message("elf", &*yara_x::mods::invoke::<ELF>(data).unwrap(), out);
    message(
        "dotnet",
        &*yara_x::mods::invoke::<Dotnet>(data).unwrap(),
        out,
    );
    message("macho", &*yara_x::mods::invoke::<Macho>(data).unwrap(), out);
    message("lnk", &*yara_x::mods::invoke::<Lnk>(data).unwrap(), out);
}

fn message(expr: &str, message: &dyn MessageDyn, out: &mut Vec<(String, Value)>) {
    for field in message.descriptor_dyn().fields() {
        let expr = format!("{expr}.{}", field.name());
        match field.runtime_field_type() {
            RuntimeFieldType::Singular(_) => {
                if let Some(value) = field.get_singular(message) {
                    leaf(&expr, value, out);
                }
            }
            RuntimeFieldType::Repeated(_) => {
                let values = field.get_repeated(message);
                for i in 0..values.len().min(40) {
                    leaf(&format!("{expr}[{i}]"), values.get(i), out);
                }
            }
            RuntimeFieldType::Map(..) => {
                for (key, value) in &field.get_map(message) {
                    if let ReflectValueRef::String(key) = key {
                        leaf(&format!("{expr}[{}]", escaped(key.as_bytes())), value, out);
                    }
                }
            }
        }
    }
}

fn leaf(expr: &str, value: ReflectValueRef, out: &mut Vec<(String, Value)>) {
    let value = match value {
        ReflectValueRef::Message(inner) => return message(expr, &*inner, out),
        ReflectValueRef::String(value) => Value::Text(value.as_bytes().to_vec()),
        ReflectValueRef::Bytes(value) => Value::Text(value.to_vec()),
        ReflectValueRef::Bool(value) => Value::Truth(value),
        ReflectValueRef::U32(value) => Value::Number(value.into()),
        ReflectValueRef::U64(value) => Value::Number(value as i64),
        ReflectValueRef::I32(value) | ReflectValueRef::Enum(_, value) => {
            Value::Number(value.into())
        }
        ReflectValueRef::I64(value) => Value::Number(value),
        _ => return,
    };
    out.push((expr.to_string(), value));
}

/// What some samples are and have.
#[derive(Default)]
pub struct Facts {
    pub fields: Vec<(String, Value)>,
    pub heads: Vec<Vec<u8>>,
    pub sizes: Vec<usize>,
    /// Libraries and functions, exports, sections.
    pub imports: Vec<(String, String)>,
    pub exports: Vec<String>,
    pub sections: Vec<Vec<u8>>,
    /// Calls and the texts that they yield.
    pub digests: Vec<(&'static str, String)>,
}

impl Facts {
    pub fn learn(&mut self, data: &[u8]) {
        leaves(data, &mut self.fields);
        self.heads.push(data[..data.len().min(24)].to_vec());
        self.sizes.push(data.len());
        let hex = |bytes: &[u8]| crate::facts::hex(bytes);
        let md5 = hex(&<md5::Md5 as md5::Digest>::digest(data));
        let sha256 = hex(&<sha2::Sha256 as sha2::Digest>::digest(data));
        self.digests.push(("hash.md5(0, filesize)", md5));
        self.digests.push(("hash.sha256(0, filesize)", sha256));
        let pe = yara_x::mods::invoke::<PE>(data).unwrap();
        if pe.is_pe() {
            self.digests
                .push(("pe.imphash()", crate::facts::imphash(&pe)));
        }
        for import in pe.import_details.iter().chain(&pe.delayed_import_details) {
            for function in &import.functions {
                let pair = (import.library_name(), function.name());
                self.imports.push((pair.0.into(), pair.1.into()));
            }
        }
        let exports = pe.export_details.iter();
        self.exports.extend(exports.filter_map(|e| e.name.clone()));
        self.sections
            .extend(pe.sections.iter().map(|s| s.name().to_vec()));
    }

    pub fn field(&self, dice: &mut Dice) -> &(String, Value) {
        // Rare kinds of files are asked for as often as common ones, and texts as numbers;
        // what is indexed most of the time.
        let module = dice.word(&["pe.", "pe.", "elf.", "lnk.", "macho.", "dotnet."]);
        let (is_text, is_indexed) = (dice.one_in(2), !dice.one_in(6));
        for _ in 0..200 {
            let found = dice.pick(&self.fields);
            if found.0.starts_with(module)
                && matches!(found.1, Value::Text(_)) == is_text
                && table::yields(&path(&found.0)).is_some() == is_indexed
            {
                return found;
            }
        }
        dice.pick(&self.fields)
    }
}
