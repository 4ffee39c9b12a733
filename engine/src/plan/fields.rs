//! What conditions ask of the engine's modules, as features. A predicate is made only
//! where a true comparison implies that the feature was extracted from the sample:
//! fields that are not set are undefined, and functions of `pe` find nothing in what
//! is no PE file.

use protobuf::MessageFull;
use yara_x::mods::elf::ELF;
use yara_x::mods::pe::PE;
use yara_x_parser::ast::{Expr, FuncCall, Regexp};

use super::condition::{Scope, What};
use super::factor::{Factors, Part};
use super::head::Head;
use super::need::Need;
use super::pattern;
use super::value::{self, DEPTH_MAX};
use crate::features::table::{self, Yields};
use crate::features::{self, GRAM_BYTES};

const MODULES: [&str; 5] = ["pe", "elf", "dotnet", "lnk", "macho"];

/// A field of a module's output, `[]` for whichever element of a list.
#[derive(Clone, Debug)]
pub struct Path {
    name: String,
    /// Of the value of a map, if it is known.
    key: Option<Vec<u8>>,
}

impl Path {
    /// An element of the list or map.
    pub fn element(&self) -> Path {
        Path {
            name: format!("{}[]", self.name),
            key: None,
        }
    }

    fn module(&self) -> &str {
        self.name.split('.').next().unwrap_or("")
    }

    /// Whether it is a constant of the module, not a field.
    fn is_constant(&self) -> bool {
        let last = self.name.rsplit('.').next().unwrap_or("");
        last.starts_with(|c: char| c.is_ascii_uppercase())
    }
}

pub fn path<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Option<Path> {
    if depth > DEPTH_MAX {
        return None;
    }
    match expr {
        Expr::Ident(ident) => match scope.find(ident.name) {
            Some((What::Field(path), _)) => Some(path.clone()),
            Some((What::Expr(bound), at)) => path(bound, at, depth + 1),
            Some(_) => None,
            None => MODULES.contains(&ident.name).then(|| Path {
                name: ident.name.to_string(),
                key: None,
            }),
        },
        Expr::FieldAccess(e) => {
            let mut operands = e.operands();
            let mut at = path(operands.next()?, scope, depth + 1)?;
            for operand in operands {
                let Expr::Ident(field) = operand else {
                    return None;
                };
                at.name.push('.');
                at.name.push_str(field.name);
                at.key = None;
            }
            Some(at)
        }
        Expr::Lookup(lookup) => {
            let mut at = path(&lookup.primary, scope, depth + 1)?.element();
            at.key = text(&lookup.index, scope);
            Some(at)
        }
        _ => None,
    }
}

/// A text that is known.
pub fn text<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Option<Vec<u8>> {
    match expr {
        Expr::LiteralString(literal) => Some(literal.value.to_vec()),
        Expr::Ident(ident) => match scope.find(ident.name)? {
            (What::Expr(Expr::LiteralString(literal)), _) => Some(literal.value.to_vec()),
            _ => None,
        },
        _ => None,
    }
}

/// An integer that is known, or a constant of a module such as `pe.MACHINE_AMD64`.
fn integer<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Option<i64> {
    if let Some(value) = value::integer(expr, scope, 0) {
        return Some(value);
    }
    let path = path(expr, scope, 0).filter(Path::is_constant)?;
    let (module, name) = path.name.split_once('.')?;
    let file = match module {
        "pe" => PE::descriptor().file_descriptor().clone(),
        "elf" => ELF::descriptor().file_descriptor().clone(),
        _ => return None,
    };
    // Of other enumerations the language's values are not those of the schema.
    let known = [
        "Machine",
        "Subsystem",
        "OptionalMagic",
        "ResourceType",
        "Type",
    ];
    let mut found = file
        .enums()
        .filter(|kind| known.contains(&kind.name()))
        .filter_map(|kind| kind.value_by_name(name))
        // An option gives the language another value, as elf.EM_RCE's.
        .filter(|value| value.proto().options.is_none());
    found.next().map(|value| i64::from(value.value()))
}

/// What a sample has whose module has fields at all.
fn module_need(module: &str) -> Need {
    let magic = |bytes: &[u8]| Need::Bytes(0, bytes.iter().map(|b| (*b, 0xff)).collect());
    let is = |field: &str| Need::Feature(features::number(field, 1));
    match module {
        "pe" => Need::all(vec![magic(b"MZ"), is("pe.is_pe")]),
        "dotnet" => Need::all(vec![magic(b"MZ"), is("dotnet.is_dotnet")]),
        "elf" => magic(b"\x7fELF"),
        "lnk" => is("lnk.is_lnk"),
        _ => Need::True,
    }
}

/// Fields that say themselves whether there are others.
const PRESENCE: [&str; 3] = ["pe.is_pe", "dotnet.is_dotnet", "lnk.is_lnk"];

/// What holds where the field has a value.
pub fn defined<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Need {
    match path(expr, scope, depth) {
        Some(path) if path.name.contains('.') && !path.is_constant() => {
            if PRESENCE.contains(&path.name.as_str()) {
                Need::True
            } else {
                module_need(path.module())
            }
        }
        _ => Need::True,
    }
}

/// What holds where the field is neither zero nor empty nor false.
pub fn truth<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Need {
    match path(expr, scope, depth) {
        Some(path)
            if ["pe.is_signed", "pe.is_pe", "dotnet.is_dotnet", "lnk.is_lnk"]
                .contains(&path.name.as_str()) =>
        {
            Need::all(vec![
                Need::Feature(features::number(&path.name, 1)),
                module_need(path.module()),
            ])
        }
        _ => Need::True,
    }
}

/// What holds where the two are equal; texts also where they are but for the case of A-Z.
pub fn equal<'a>(left: &'a Expr<'a>, right: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    if let Expr::FuncCall(call) = left {
        return equal_call(call, right, scope);
    }
    let Some(path) = path(left, scope, 0) else {
        return Need::True;
    };
    let Some(yields) = table::yields(&path.name) else {
        return Need::True;
    };
    if yields == Yields::Number {
        // Whether a truth is false is not kept of what has no such module.
        let known = integer(right, scope);
        let told = |n: &i64| *n != 0 || !PRESENCE.contains(&path.name.as_str());
        return known.filter(told).map_or(Need::True, |n| {
            Need::Feature(features::number(&path.name, n))
        });
    }
    let Some(value) = text(right, scope) else {
        return Need::True;
    };
    let kind = match &path.key {
        Some(key) => features::keyed(&path.name, key),
        None => path.name,
    };
    Need::Feature(features::text(&kind, &value))
}

/// A function of the module `pe` or `hash` that is called by that name.
fn called<'a>(call: &'a FuncCall<'a>, scope: &Scope<'a>) -> Option<(&'a str, &'a str)> {
    match call.object.as_ref()? {
        Expr::Ident(module) if scope.find(module.name).is_none() => {
            Some((module.name, call.identifier.name))
        }
        _ => None,
    }
}

/// `hash.md5(0, filesize) == "…"`, `pe.imphash() == "…"`.
fn equal_call<'a>(call: &'a FuncCall<'a>, right: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    let Some(value) = text(right, scope) else {
        return Need::True;
    };
    let kind = match (called(call, scope), call.args.as_slice()) {
        (Some(("pe", "imphash")), []) => table::IMPHASH,
        (Some(("hash", name)), [start, Expr::Filesize { .. }])
            if value::integer(start, scope, 0) == Some(0) =>
        {
            match name {
                "md5" => table::MD5,
                "sha256" => table::SHA256,
                _ => return Need::True,
            }
        }
        _ => return Need::True,
    };
    Need::Feature(features::text(kind, &value))
}

/// What holds where a call has a value.
pub fn call_defined<'a>(call: &'a FuncCall<'a>, scope: &Scope<'a>) -> Need {
    match (called(call, scope), call.args.as_slice()) {
        (Some(("pe", "imphash" | "is_dll" | "is_32bit" | "is_64bit")), []) => module_need("pe"),
        (Some(("pe", "section_index")), [name]) => match text(name, scope) {
            Some(name) => Need::Feature(features::text("pe.sections[].name", &name)),
            None => Need::True,
        },
        (Some(("pe", "exports_index")), [name]) => exported(name, scope),
        _ => Need::True,
    }
}

fn exported<'a>(name: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    match text(name, scope) {
        Some(name) => Need::Feature(features::text(table::EXPORTS, &name)),
        None => Need::True,
    }
}

/// What holds where a call yields neither false nor zero.
pub fn call_truth<'a>(call: &'a FuncCall<'a>, scope: &Scope<'a>) -> Need {
    let Some(("pe", name)) = called(call, scope) else {
        return Need::True;
    };
    let flag = |kind: &str, value: i64| Need::Feature(features::number(kind, value));
    let feature = match (name, call.args.as_slice()) {
        ("is_dll", []) => flag(table::IS_DLL, 1),
        ("is_32bit", []) => flag(table::IS_32BIT, 1),
        ("is_64bit", []) => flag(table::IS_64BIT, 1),
        ("locale", [id]) => integer(id, scope).map_or(Need::True, |id| flag(table::LOCALE, id)),
        ("language", [id]) => integer(id, scope).map_or(Need::True, |id| flag(table::LANGUAGE, id)),
        ("exports", [name]) => exported(name, scope),
        ("imports", args) => imported(args, scope),
        _ => return Need::True,
    };
    Need::all(vec![feature, module_need("pe")])
}

/// `pe.imports("a.dll", "f")`, with flags before it or an ordinal or nothing behind.
/// What an argument is follows from its place: a text that is not known is one, too.
fn imported<'a>(args: &'a [Expr<'a>], scope: &Scope<'a>) -> Need {
    let args = match args {
        [first, rest @ ..] if !rest.is_empty() && is_import_flags(first, scope) => rest,
        all => all,
    };
    let texts: Vec<Option<Vec<u8>>> = args.iter().map(|arg| text(arg, scope)).collect();
    match texts.as_slice() {
        [Some(library)] | [Some(library), None] => {
            Need::Feature(features::text(table::IMPORTS, library))
        }
        [Some(library), Some(function)] => Need::Feature(features::text(
            table::IMPORTS_FUNCTION,
            &features::pair(library, function),
        )),
        _ => Need::True,
    }
}

fn is_import_flags<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> bool {
    let named = |path: Path| path.is_constant() && path.name.starts_with("pe.IMPORT_");
    integer(expr, scope).is_some() || path(expr, scope, 0).is_some_and(named)
}

/// The field if grams of it are kept.
fn gram_path<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Option<Path> {
    let path = path(expr, scope, 0)?;
    (table::yields(&path.name) == Some(Yields::Grams)).then_some(path)
}

fn grams_need(path: &Path, part: &[u8]) -> Need {
    Need::all(
        features::grams(&path.name, part)
            .map(Need::Feature)
            .collect(),
    )
}

/// Whether nothing but these bytes, in either case of A-Z, is their equal where the
/// engine does not mind case. It folds as Unicode does as soon as one side is not ASCII
/// (yara-x, wasm/string.rs), and the signs of Kelvin and of I with a dot become k and i.
fn folds_as_ascii(part: &[u8]) -> bool {
    part.iter()
        .all(|byte| byte.is_ascii() && !matches!(byte, b'k' | b'K' | b'i' | b'I'))
}

/// What holds where the text is in the field, at either end or anywhere.
pub fn contained<'a>(field: &'a Expr<'a>, part: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    match (gram_path(field, scope), text(part, scope)) {
        (Some(path), Some(part)) => grams_need(&path, &part),
        _ => Need::True,
    }
}

/// The same in any case.
pub fn icontained<'a>(field: &'a Expr<'a>, part: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    match (gram_path(field, scope), text(part, scope)) {
        (Some(path), Some(part)) => Need::all(
            part.windows(GRAM_BYTES)
                .filter(|gram| folds_as_ascii(gram))
                .map(|gram| grams_need(&path, gram))
                .collect(),
        ),
        _ => Need::True,
    }
}

/// What holds where the two are equal in any case.
pub fn iequal<'a>(left: &'a Expr<'a>, right: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    match text(right, scope) {
        Some(value) if folds_as_ascii(&value) => equal(left, right, scope),
        _ => Need::True,
    }
}

/// What holds where the regular expression matches somewhere in the field.
pub fn matching<'a>(field: &'a Expr<'a>, regexp: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    let (Some(path), Expr::Regexp(regexp)) = (gram_path(field, scope), regexp) else {
        return Need::True;
    };
    let factors = Factors {
        class_max: 4,
        wide: false,
        nocase: false,
    };
    let Some(part) = part_of(regexp, &factors) else {
        return Need::True;
    };
    part.need(&factors).map(&mut |leaf| match leaf {
        Need::Run(run) => grams_need(&path, &run.bytes),
        // A class without members.
        Need::Never => Need::True,
        other => other,
    })
}

fn part_of(regexp: &Regexp, factors: &Factors) -> Option<Part> {
    let hir = pattern::regexp_hir(regexp, regexp.case_insensitive)?;
    Some(pattern::hir_part(&hir, factors))
}

/// What holds where a pattern stands at the place that a field names.
pub fn placed<'a>(at: &'a Expr<'a>, head: &Head, scope: &Scope<'a>) -> Need {
    let Some(path) = path(at, scope, 0) else {
        return Need::True;
    };
    if !table::PLACES.contains(&path.name.as_str()) {
        return Need::True;
    }
    head.each(|pairs| {
        let grams = pairs
            .windows(GRAM_BYTES)
            .enumerate()
            .take(table::PLACE_BYTES - GRAM_BYTES + 1)
            .filter(|(_, gram)| gram.iter().all(|(_, mask)| *mask == 0xff));
        Need::all(
            grams
                .map(|(i, gram)| {
                    let bytes: Vec<u8> = gram.iter().map(|(value, _)| *value).collect();
                    Need::Feature(features::placed(&path.name, i, &bytes))
                })
                .collect(),
        )
    })
}
