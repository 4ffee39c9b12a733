//! Features against the engine: conditions made from what the modules tell of real
//! files must let those files through.
//!
//! WEIR_PLAN_FILES names a folder of more files than this test's own program.

use std::collections::BTreeSet;
use std::path::PathBuf;

use yara_x::mods::{elf::ELF, pe::PE};

use super::plan;
use super::random::facts::{escaped as quoted, leaves, Value};
use super::random::Dice;
use super::reading::{Program, Sample};
use crate::features;

fn conditions(data: &[u8], dice: &mut Dice) -> Vec<String> {
    let mut found = Vec::new();
    let pe = yara_x::mods::invoke::<PE>(data).unwrap();
    leaves(data, &mut found);
    while found.len() > 250 {
        let at = dice.below(found.len());
        found.swap_remove(at);
    }
    let mut out = Vec::new();
    for (expr, found) in found {
        let value = found.shown();
        if value == "true" || value == "false" {
            out.push(expr.clone());
            out.push(format!("not {expr}"));
            out.push(format!("{expr} == {}", i64::from(value == "true")));
            continue;
        }
        out.push(format!("{expr} == {value}"));
        let elements = expr.split_once('[').filter(|_| expr.contains("sections["));
        if let Some((list, rest)) = elements {
            let field = rest.split_once("].").map_or("", |(_, field)| field);
            if !field.contains('[') && !field.is_empty() {
                out.push(format!("for any x in {list} : (x.{field} == {value})"));
            }
        }
        let Value::Text(bytes) = found else {
            out.push(format!("{expr} >= {value}"));
            out.push(format!("{value} <= {expr} and not {expr} != {value}"));
            continue;
        };
        let any_case = quoted(
            &bytes
                .iter()
                .map(|b| {
                    if dice.below(2) == 0 {
                        b.to_ascii_uppercase()
                    } else {
                        *b
                    }
                })
                .collect::<Vec<u8>>(),
        );
        out.push(format!("{expr} iequals {any_case}"));
        let from = dice.below(bytes.len() + 1);
        let part = quoted(&bytes[from..]);
        out.push(format!("{expr} contains {part} and {expr} endswith {part}"));
        out.push(format!("{expr} startswith {}", quoted(&bytes[..from])));
        out.push(format!("with x = {expr} : (x icontains {any_case})"));
        if (4..60).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_alphanumeric) {
            let text = String::from_utf8(bytes).unwrap();
            out.push(format!("{expr} matches /{}.*{}$/s", &text[..2], &text[2..]));
            out.push(format!(
                "{expr} matches /^({}|nothing)/i",
                text.to_ascii_uppercase()
            ));
        }
    }
    for import in pe.import_details.iter().take(10) {
        let library = quoted(import.library_name().to_ascii_uppercase().as_bytes());
        out.push(format!("pe.imports({library}) > 0"));
        for name in import
            .functions
            .iter()
            .take(5)
            .filter_map(|f| f.name.as_deref())
        {
            let name = quoted(name.as_bytes());
            out.push(format!("pe.imports({library}, {name})"));
            out.push(format!("pe.imports(pe.IMPORT_ANY, {library}, {name})"));
        }
    }
    for name in pe
        .export_details
        .iter()
        .take(5)
        .filter_map(|e| e.name.as_deref())
    {
        out.push(format!("pe.exports({})", quoted(name.as_bytes())));
        out.push(format!(
            "pe.exports_index({}) >= 0",
            quoted(name.as_bytes())
        ));
    }
    for section in pe.sections.iter().take(4) {
        out.push(format!("pe.section_index({}) >= 0", quoted(section.name())));
    }
    for language in pe.resources.iter().take(5).filter_map(|r| r.language) {
        out.push(format!("pe.locale({})", language & 0xffff));
        out.push(format!("pe.language({})", language & 0xff));
    }
    if pe.is_pe() {
        let imphash = crate::facts::imphash(&pe);
        out.push(format!("pe.imphash() == \"{imphash}\""));
        out.push(format!("pe.imphash() == \"{}\"", imphash.to_uppercase()));
    }
    for flag in [
        "pe.is_dll()",
        "pe.is_32bit()",
        "pe.is_64bit()",
        "pe.is_pe",
        "dotnet.is_dotnet",
    ] {
        out.push(flag.to_string());
        out.push(format!("not {flag}"));
    }
    for machine in ["pe.MACHINE_AMD64", "pe.MACHINE_I386"] {
        out.push(format!("pe.machine == {machine}"));
    }
    out.push("elf.machine == elf.EM_X86_64 or elf.type == elf.ET_DYN".to_string());
    out.push(
        "defined pe.entry_point or defined elf.type or lnk.is_lnk or defined macho.cputype"
            .to_string(),
    );
    let md5 = <md5::Md5 as md5::Digest>::digest(data);
    out.push(format!(
        "hash.md5(0, filesize) == \"{}\"",
        crate::facts::hex(&md5)
    ));
    let sha256 = <sha2::Sha256 as sha2::Digest>::digest(data);
    out.push(format!(
        "hash.sha256(0, filesize) == \"{}\"",
        crate::facts::hex(&sha256)
    ));
    out
}

/// Patterns at the places that modules name.
fn places(data: &[u8]) -> Vec<String> {
    let pe = yara_x::mods::invoke::<PE>(data).and_then(|pe| pe.entry_point);
    let elf = yara_x::mods::invoke::<ELF>(data).and_then(|elf| elf.entry_point);
    let mut out = Vec::new();
    for (field, offset) in [
        ("pe.entry_point", pe.map(i64::from)),
        ("elf.entry_point", elf),
    ] {
        let Some(bytes) = offset
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| data.get(offset..))
            .filter(|bytes| bytes.len() >= 12)
        else {
            continue;
        };
        let bytes = &bytes[..bytes.len().min(40)];
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x} ")).collect() };
        let (head, tail) = bytes.split_at(6);
        for pattern in [
            format!("{{ {} }}", hex(bytes)),
            format!("{{ {} ?? {} }}", hex(head), hex(&tail[1..])),
            format!("{{ {} [1] {} }}", hex(head), hex(&tail[1..])),
            quoted(bytes),
        ] {
            out.push(format!("strings: $a = {pattern} condition: $a at {field}"));
        }
    }
    out
}

#[derive(Default, Debug)]
struct Seen {
    files: usize,
    rules: usize,
    matched: usize,
    narrowed: usize,
    unknown: usize,
}

fn check(data: &[u8], dice: &mut Dice, seen: &mut Seen) {
    let mut rules: Vec<String> = conditions(data, dice)
        .into_iter()
        .map(|condition| format!("condition: {condition}"))
        .collect();
    rules.extend(places(data));
    rules.truncate(1000);
    let mut source = String::new();
    for module in ["pe", "elf", "dotnet", "macho", "lnk", "hash"] {
        source.push_str(&format!("import \"{module}\"\n"));
    }
    for (rule, i) in rules.iter().zip(0..) {
        source.push_str(&format!("rule r{i} {{ {rule} }}\n"));
    }
    let mut compiler = yara_x::Compiler::new();
    if let Err(err) = compiler.add_source(source.as_str()) {
        panic!("{err}");
    }
    let program = Program::read(&plan(source.as_bytes()).unwrap());
    let Some(features) = features::extract(data) else {
        seen.unknown += 1;
        return;
    };
    let sample = Sample {
        data,
        features: BTreeSet::from_iter(features),
    };
    let possible = program.candidates(&sample);
    let compiled = compiler.build();
    let mut scanner = yara_x::Scanner::new(&compiled);
    let results = scanner.scan(data).unwrap();
    seen.files += 1;
    seen.rules += rules.len();
    seen.narrowed += program.rules.iter().filter(|row| row.note == 0).count();
    for rule in results.matching_rules() {
        seen.matched += 1;
        let i: usize = rule.identifier()[1..].parse().unwrap();
        assert!(possible[i], "ruled out: {}", rules[i]);
    }
}

fn files() -> Vec<PathBuf> {
    let mut files = vec![std::env::current_exe().unwrap()];
    if let Ok(folder) = std::env::var("WEIR_PLAN_FILES") {
        let mut folders = vec![PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort();
    }
    files
}

#[test]
fn no_file_is_ruled_out_by_what_modules_tell_of_it() {
    let mut seen = Seen::default();
    let mut dice = Dice::new(5);
    for data in made() {
        check(&data, &mut dice, &mut seen);
    }
    for path in files() {
        let Ok(data) = std::fs::read(&path) else {
            continue;
        };
        if data.len() > 256 << 20 {
            continue;
        }
        check(&data, &mut dice, &mut seen);
    }
    println!("{seen:?}");
    assert!(
        3 * seen.matched > 2 * seen.rules && 2 * seen.narrowed > seen.rules,
        "{seen:?}"
    );
}

/// A small PE file: one section with an import table of two functions.
fn small_pe() -> Vec<u8> {
    const SECTION: usize = 0x200;
    const RVA: u32 = 0x1000;
    let mut data = vec![0u8; 0x400];
    let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    let header = 0x44;
    put(header, &0x014cu16.to_le_bytes());
    put(header + 2, &1u16.to_le_bytes()); // sections
    put(header + 4, &0x5f00_0000u32.to_le_bytes());
    put(header + 16, &0xe0u16.to_le_bytes());
    put(header + 18, &0x2102u16.to_le_bytes());
    let optional = header + 20;
    for (at, value) in [
        (0, 0x010b_u32 | 0x0e << 16),
        (16, RVA + 0x100), // entry point
        (28, 0x40_0000),
        (32, 0x1000),
        (36, 0x200),
        (56, 0x2000),
        (60, 0x200),
        (68, 3), // subsystem
        (92, 16),
        (96 + 8, RVA), // imports
        (96 + 12, 40),
    ] {
        put(optional + at, &value.to_le_bytes());
    }
    let section = optional + 0xe0;
    put(section, b".CoDe\0\0\0");
    for (at, value) in [
        (8, 0x200),
        (12, RVA),
        (16, 0x200),
        (20, SECTION as u32),
        (36, 0x6000_0020),
    ] {
        put(section + at, &u32::to_le_bytes(value));
    }
    for (at, value) in [(0, RVA + 0x40), (12, RVA + 0x80), (16, RVA + 0x60)] {
        put(SECTION + at, &u32::to_le_bytes(value));
    }
    for table in [0x40, 0x60] {
        put(SECTION + table, &(RVA + 0xa0).to_le_bytes());
        put(SECTION + table + 4, &(RVA + 0xc0).to_le_bytes());
    }
    put(SECTION + 0x80, b"KERNEL32.dll\0");
    put(SECTION + 0xa0, b"\0\0LoadLibraryA\0");
    put(SECTION + 0xc0, b"\0\0GetProcAddress\0");
    put(
        SECTION + 0x100,
        b"\x55\x8b\xec\x83\xec\x10\x53\x56\x57\xe8\x00\x00\x00\x00\x5b\xc3",
    );
    data
}

fn made() -> Vec<Vec<u8>> {
    let mut lnk = vec![0u8; 120];
    lnk[..8].copy_from_slice(b"\x4c\0\0\0\x01\x14\x02\0");
    lnk[12..20].copy_from_slice(b"\xc0\0\0\0\0\0\0\x46");
    let mut macho = vec![0u8; 64];
    macho[..8].copy_from_slice(b"\xcf\xfa\xed\xfe\x07\0\0\x01");
    vec![
        small_pe(),
        lnk,
        macho,
        b"MZ but nothing else".to_vec(),
        b"\x7fELF".to_vec(),
        Vec::new(),
    ]
}
