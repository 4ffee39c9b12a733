//! Plans against the engine: random rules over random samples. Wherever a rule matches,
//! its program must say that it can; wherever a pattern does, the pattern's.
//!
//! WEIR_PLAN_SECONDS makes it long, WEIR_PLAN_SEED starts elsewhere. A failure
//! prints the rule and the sample.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::plan;
use super::random::{grammar, quoted, Dice, Source, IMPORTS};
use super::reading::{Op, Program, Sample};
use crate::features::{self, names};

/// Rules of one source.
const RULES: usize = 40;

/// What a run of it saw.
#[derive(Default)]
struct Seen {
    sources: usize,
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
            "{} sources, {} rules ({} refused, {} narrowed), {} matches, {} ruled out, {} matches of patterns ({} local)",
            self.sources, self.rules, self.refused, self.narrowed, self.matches, self.ruled_out, self.patterns, self.local
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

fn run_source(dice: &mut Dice, seen: &mut Seen) {
    let source = Source::new(dice);
    let mut compiler = yara_x::Compiler::new();
    compiler.add_source(IMPORTS).unwrap();
    let (mut text, mut known, mut rules) = (String::from(IMPORTS), Vec::new(), Vec::new());
    for i in 0..RULES {
        let rule = source.rule(dice, &format!("r{i}"), &known);
        if compiler.add_source(rule.text.as_str()).is_err() {
            seen.refused += 1;
            // Damaged or not, planning does no harm.
            let _ = plan(rule.text.as_bytes());
            continue;
        }
        text.push_str(&rule.text);
        known.push(format!("r{i}"));
        rules.push(rule);
    }
    let program = match plan(text.as_bytes()) {
        Ok(bytes) => Program::read(&bytes),
        Err(failure) => panic!("{}\n{text}", failure.text),
    };
    let compiled = compiler.build();
    seen.sources += 1;
    seen.rules += rules.len();
    seen.narrowed += program.rules.iter().filter(|row| row.note == 0).count();
    let mut scanner = yara_x::Scanner::new(&compiled);
    scanner.set_timeout(Duration::from_secs(20));
    for data in &source.samples {
        let Ok(results) = scanner.scan(data) else {
            return;
        };
        let Some(features) = features::extract(data) else {
            continue;
        };
        let sample = Sample {
            data,
            features: BTreeSet::from_iter(features),
        };
        let possible = program.candidates(&sample);
        seen.ruled_out += possible.iter().filter(|can| !**can).count();
        for matched in results.matching_rules().include_private(true) {
            seen.matches += 1;
            let name = matched.identifier();
            let i = known.iter().position(|known| known == name).unwrap();
            let row = &program.rules[i];
            assert_eq!(row.name, name);
            let told = || {
                format!(
                    "{}\n{}\nsample \"{}\"",
                    rules[i].text,
                    program.print(&|hash| format!("{:?}", names::of(hash))),
                    quoted(data)
                )
            };
            assert!(possible[i], "{name} matches but is ruled out\n{}", told());
            for row in &rules[i].rows {
                seen.rows[*row] += 1;
            }
            seen.note(&program, &row.code);
            let first = program
                .strings
                .iter()
                .position(|(rule, _)| *rule as usize == i);
            for pattern in matched.patterns() {
                let strings = program.strings.iter().skip(first.unwrap());
                // The one without a name is the last of its rule.
                let Some((_, row)) = strings
                    .take(4)
                    .find(|(_, row)| row.name == pattern.identifier())
                else {
                    panic!("no {}", pattern.identifier());
                };
                for found in pattern.matches().take(3) {
                    seen.patterns += 1;
                    assert!(
                        program.pattern_holds(row, data),
                        "{} matches but is ruled out\n{}",
                        row.name,
                        told()
                    );
                    if row.flags & 1 != 0 {
                        seen.local += 1;
                        assert!(
                            found.range().len() <= 4096
                                && program.pattern_holds(row, &data[found.range()]),
                            "{} is not local at {:?}\n{}",
                            row.name,
                            found.range(),
                            told()
                        );
                    }
                }
                seen.note(&program, &row.code);
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Sources of the short run.
const SOURCES: usize = 60;

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
            None if seen.sources >= SOURCES => break,
            _ => {}
        }
        run_source(
            &mut Dice::new(seed.wrapping_mul(1 << 32) + round),
            &mut seen,
        );
    }
    println!("{}", seen.summary());
    println!("{:?}", seen.operators);
    println!("{:?}", seen.kinds);
    let never: Vec<_> = grammar::rows()
        .zip(&seen.rows)
        .filter(|(_, n)| **n == 0)
        .map(|(row, _)| row)
        .collect();
    println!("never in a match: {never:?}");
    // The test can fail only if there is enough to be wrong about.
    assert!(
        seen.matches > 20 * seen.sources && seen.ruled_out > 20 * seen.sources,
        "{}",
        seen.summary()
    );
}

/// Sources that are damaged anywhere are planned or refused, never a panic.
#[test]
fn damaged_sources_do_no_harm() {
    let mut planned = 0;
    for round in 0..1000 {
        let mut dice = Dice::new(round);
        let made = Source::new(&mut dice);
        let mut source = made.rule(&mut dice, "r", &[]).text.into_bytes();
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
