//! Plans against the engine: random rules over random samples. Wherever a rule matches,
//! its program must say that it can; wherever a pattern does, the pattern's.
//!
//! WEIR_PLAN_SECONDS makes it long, WEIR_PLAN_SEED starts elsewhere. A failure
//! prints the rule and the sample.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

use super::plan;
use super::random::{grammar, quoted, Dice, Rule, Source, IMPORTS};
use super::reading::{Op, Program, Sample};
use crate::features::{self, names, table};

/// Rules of one source.
const RULES: usize = 40;

/// What a run of it saw.
#[derive(Default)]
struct Seen {
    sources: usize,
    /// Rules, whether they compile or not.
    made: usize,
    broken: usize,
    rules: usize,
    refused: usize,
    matches: usize,
    ruled_out: usize,
    narrowed: usize,
    patterns: usize,
    local: usize,
    /// Rows of the grammar: how often a rule made with each matched.
    rows: Vec<usize>,
    /// Operators of programs that decided: true where a rule matched.
    operators: BTreeMap<&'static str, usize>,
    /// Kinds of features that a matching rule's program asked for.
    kinds: BTreeMap<String, usize>,
}

impl Seen {
    fn summary(&self) -> String {
        format!(
            "{} sources ({} broken), {} rules ({} refused, {} narrowed), {} matches, {} ruled out, {} matches of patterns ({} local)",
            self.sources,
            self.broken, self.rules, self.refused, self.narrowed, self.matches, self.ruled_out, self.patterns, self.local
        )
    }

    /// Count what a program consists of.
    fn note(&mut self, program: &Program, code: &[u8]) {
        program.each(code, &mut |op| {
            let name = match op {
                Op::True => "true",
                Op::Join(name, ..) => name,
                Op::Run(_) => "run",
                Op::String(_) => "string",
                Op::Rule(_) => "rule",
                Op::Size(..) => "size",
                Op::Bytes(..) => "bytes",
                Op::Feature(hash) => {
                    let kind = names::of(*hash).map_or_else(String::new, |(kind, _)| kind);
                    *self.kinds.entry(kind).or_default() += 1;
                    "feature"
                }
            };
            *self.operators.entry(name).or_default() += 1;
        });
    }
}

/// Rules that compile together, and their program.
struct Trial {
    text: String,
    names: Vec<String>,
    rules: Vec<Rule>,
    program: Program,
}

/// A rule that matched, and where its patterns did.
struct Match {
    name: String,
    patterns: Vec<(String, Range<usize>)>,
}

/// Matches of one pattern that are looked at.
const PLACES: usize = 3;

/// What the engine says of a sample; nothing: it gave up.
fn scan(scanner: &mut yara_x::Scanner, data: &[u8]) -> Option<Vec<Match>> {
    let results = scanner.scan(data).ok()?;
    let of = |rule: yara_x::Rule| Match {
        name: rule.identifier().into(),
        patterns: rule
            .patterns()
            .flat_map(|pattern| {
                let name = pattern.identifier().to_string();
                let places: Vec<_> = pattern.matches().take(PLACES).map(|m| m.range()).collect();
                places.into_iter().map(move |range| (name.clone(), range))
            })
            .collect(),
    };
    Some(
        results
            .matching_rules()
            .include_private(true)
            .map(of)
            .collect(),
    )
}

impl Trial {
    fn new(dice: &mut Dice, source: &Source, seen: &mut Seen) -> (Trial, yara_x::Rules) {
        let mut compiler = yara_x::Compiler::new();
        compiler.add_source(IMPORTS).unwrap();
        let (mut text, mut names, mut rules) = (String::from(IMPORTS), Vec::new(), Vec::new());
        for i in 0..RULES {
            let rule = source.rule(dice, &format!("r{i}"), &names, &seen.rows, seen.made);
            seen.made += 1;
            if compiler.add_source(rule.text.as_str()).is_err() {
                seen.refused += 1;
                // Whether it compiles or not, planning does no harm.
                let _ = plan(rule.text.as_bytes());
                continue;
            }
            text.push_str(&rule.text);
            names.push(format!("r{i}"));
            rules.push(rule);
        }
        let program = match plan(text.as_bytes()) {
            Ok(bytes) => Program::read(&bytes),
            Err(failure) => panic!("{}\n{text}", failure.text),
        };
        let trial = Trial {
            text,
            names,
            rules,
            program,
        };
        (trial, compiler.build())
    }

    /// Prints all there is to know: the message of a panic may be cut.
    fn fail(&self, i: usize, data: &[u8], why: &str) -> ! {
        let labels = |hash| match names::of(hash) {
            Some((kind, value)) => format!("<{kind} {}>", quoted(&value)),
            None => format!("{hash:x}"),
        };
        println!(
            "{}\n{}\n{}\nsample \"{}\"\n{why}",
            self.text,
            self.program.print(&labels),
            self.rules[i].text,
            quoted(data)
        );
        panic!("{}: {why}", self.names[i]);
    }

    fn check(&self, data: &[u8], matches: Vec<Match>, seen: &mut Seen) {
        let Some(features) = features::extract(data) else {
            return;
        };
        let sample = Sample {
            data,
            features: BTreeSet::from_iter(features),
        };
        let possible = self.program.candidates(&sample);
        seen.ruled_out += possible.iter().filter(|can| !**can).count();
        for matched in matches {
            seen.matches += 1;
            let i = self.names.iter().position(|name| *name == matched.name);
            let i = i.unwrap();
            let row = &self.program.rules[i];
            assert_eq!(row.name, matched.name);
            if !possible[i] {
                self.fail(i, data, "the rule matches but is ruled out");
            }
            for row in &self.rules[i].rows {
                seen.rows[*row] += 1;
            }
            seen.note(&self.program, &row.code);
            for (pattern, range) in matched.patterns {
                self.check_pattern(i, &pattern, range, data, seen);
            }
        }
    }

    /// What a match of a pattern needs is in the sample; in the match, if it is local.
    fn check_pattern(
        &self,
        i: usize,
        pattern: &str,
        range: Range<usize>,
        data: &[u8],
        seen: &mut Seen,
    ) {
        let mut strings = self.program.strings.iter();
        let found = strings.find(|(rule, row)| *rule as usize == i && row.name == pattern);
        let (_, row) = found.unwrap();
        seen.patterns += 1;
        if !self.program.pattern_holds(row, data) {
            self.fail(i, data, &format!("{pattern} matches but is ruled out"));
        }
        if row.flags & 1 != 0 {
            seen.local += 1;
            // Of base64 the engine tells less than it has looked at.
            let around =
                range.start.saturating_sub(range.len())..data.len().min(range.end + range.len());
            if range.len() > 4096 || !self.program.pattern_holds(row, &data[around]) {
                self.fail(i, data, &format!("{pattern} is not local at {range:?}"));
            }
        }
        seen.note(&self.program, &row.code);
    }
}

fn run_source(dice: &mut Dice, seen: &mut Seen) {
    let source = Source::new(dice);
    let (trial, rules) = Trial::new(dice, &source, seen);
    seen.sources += 1;
    seen.rules += trial.rules.len();
    let rows = trial.program.rules.iter();
    seen.narrowed += rows.filter(|row| row.note == 0).count();
    let mut scanner = yara_x::Scanner::new(&rules);
    scanner.set_timeout(Duration::from_secs(20));
    for data in &source.samples {
        // The engine panics where the least integer is divided by -1.
        match catch_unwind(AssertUnwindSafe(|| scan(&mut scanner, data))) {
            Ok(Some(matches)) => trial.check(data, matches, seen),
            Ok(None) => return,
            Err(_) => {
                seen.broken += 1;
                return;
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Sources of the short run.
const SOURCES: usize = 60;
/// Among so many every kind must have been in a match, and nearly every row.
const SOURCES_FOR_ALL: usize = 1000;

/// What programs consist of.
const OPERATORS: [&str; 10] = [
    "true", "all", "any", "of", "run", "string", "rule", "size", "bytes", "feature",
];

/// Kinds of features that are not fields as they are.
const KINDS: [&str; 16] = [
    table::IMPHASH,
    table::IMPORTS,
    table::IMPORTS_FUNCTION,
    table::EXPORTS,
    table::LOCALE,
    table::LANGUAGE,
    table::IS_DLL,
    table::IS_32BIT,
    table::IS_64BIT,
    table::MD5,
    table::SHA256,
    "pe.entry_point+0",
    "elf.entry_point+0",
    "pe.version_info[]companyname",
    "pe.version_info[]~",
    "lnk.name~",
];

impl Seen {
    /// Operators of programs that were in no match.
    fn no_operators(&self) -> Vec<&'static str> {
        let never = |name: &&str| !self.operators.contains_key(*name);
        OPERATORS.into_iter().filter(never).collect()
    }

    fn no_kinds(&self) -> Vec<&'static str> {
        let never = |kind: &&str| !self.kinds.contains_key(*kind);
        KINDS.into_iter().filter(never).collect()
    }

    fn no_rows(&self) -> Vec<String> {
        let rows = grammar::rows().zip(&self.rows);
        let rows = rows.filter(|(_, n)| **n == 0);
        rows.map(|((kind, row), _)| format!("{kind}: {row}"))
            .collect()
    }
}

#[test]
fn no_match_is_ruled_out() {
    let seconds = setting("WEIR_PLAN_SECONDS");
    let seed = setting("WEIR_PLAN_SEED").unwrap_or(1);
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seen = Seen {
        rows: vec![0; grammar::rows().count()],
        ..Seen::default()
    };
    names::keep();
    for round in 0u64.. {
        match until {
            Some(until) if Instant::now() > until => break,
            None if seen.sources >= SOURCES && seen.no_operators().is_empty() => break,
            None if seen.sources >= SOURCES_FOR_ALL => break,
            _ => {}
        }
        run_source(
            &mut Dice::new(seed.wrapping_mul(1 << 32) + round),
            &mut seen,
        );
    }
    println!("{}", seen.summary());
    println!("{:?}\n{:?}", seen.operators, seen.kinds);
    println!("in no match: {:?} {:#?}", seen.no_kinds(), seen.no_rows());
    // The test can fail only if there is enough to be wrong about.
    assert!(
        seen.matches > 20 * seen.sources
            && seen.ruled_out > 20 * seen.sources
            && seen.refused < seen.rules
            && 5 * seen.broken < seen.sources,
        "{}",
        seen.summary()
    );
    assert_eq!(seen.no_operators(), [""; 0]);
    if seen.sources >= SOURCES_FOR_ALL {
        assert_eq!(seen.no_kinds(), [""; 0]);
        assert!(20 * seen.no_rows().len() < seen.rows.len());
    }
}

/// Sources that are damaged anywhere are planned or refused, never a panic.
#[test]
fn damaged_sources_do_no_harm() {
    let mut planned = 0;
    let mut made = Source::new(&mut Dice::new(0));
    for round in 0..3000 {
        let mut dice = Dice::new(round);
        if round % 100 == 0 {
            made = Source::new(&mut dice);
        }
        let mut source = made
            .rule(&mut dice, "r", &[], &[], round as usize)
            .text
            .into_bytes();
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(source.len().max(1)).min(source.len() - 1);
            match dice.below(4) {
                0 => source[at] = b' ' + dice.below(95) as u8,
                1 if source.len() > 1 => drop(source.remove(at)),
                2 => source.truncate(at.max(1)),
                _ => {
                    let part = source[at..].to_vec();
                    let to = dice.below(source.len() + 1);
                    source.truncate(to);
                    source.extend(part);
                    source.push(b' ');
                }
            }
        }
        if let Ok(bytes) = plan(&source) {
            Program::read(&bytes);
            planned += 1;
        }
    }
    assert!(planned > 100, "{planned}");
}
