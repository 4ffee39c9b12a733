//! Plans: from the syntax tree of a source to a program that says what a sample
//! must have so that its rules can match. Format: docs/format/plan.md.
//!
//! A plan may only err towards "can match": one sample that it rules out though a
//! rule matches it is a match lost. So whatever is not understood is TRUE, and all
//! that is said of a construct follows from what the engine does with it (crate
//! yara-x 1.22.1, named where it is not obvious).

mod compare;
mod condition;
mod encoded;
mod factor;
mod fields;
mod head;
mod need;
mod pattern;
mod program;
mod value;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::c_char;

use yara_x_parser::ast::{Ident, Item, Pattern, Rule, RuleFlags, WithSpan, AST};

use crate::depth;
use crate::ffi::{self, fail, Answer, Buffer, Code};
use crate::part::Outline;
use condition::Conditions;
use head::Head;
use need::Need;
use program::Writer;

/// Why a pattern or a rule narrows nothing; values of docs/format/plan.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Note {
    None = 0,
    /// No run of 4 bytes.
    Short = 1,
    /// A regular expression without required text.
    NoText = 3,
    Unclear = 4,
    Large = 5,
    /// The condition asks for nothing that is indexed.
    Nothing = 6,
}

const RULES_MAX: usize = 1000;
const STRINGS_MAX: usize = 65_536;
/// A larger tree for one rule or one pattern is TRUE.
const NODES_MAX: usize = 50_000;

const RULE_PRIVATE: u8 = 1;
const RULE_GLOBAL: u8 = 2;
/// It, or a rule it needs, asks a module that goes through the sample.
const RULE_PARSES: u8 = 4;

/// The patterns of one rule.
struct Patterns<'a> {
    names: Vec<&'a str>,
    idents: Vec<&'a Ident<'a>>,
    heads: Vec<Head>,
    /// Place of the first among the patterns of all rules.
    first: u32,
}

fn plan_tree(text: &str, ast: &AST, outline: &Outline) -> Answer<Vec<u8>> {
    let rules: Vec<&Rule> = ast.rules().collect();
    if rules.len() > RULES_MAX {
        return fail(Code::Invalid, format!("more than {RULES_MAX} rules"));
    }
    let mut writer = Writer::default();
    let (mut notes, mut patterns) = (Vec::new(), Vec::new());
    for (rule, i) in rules.iter().zip(0u32..) {
        let first = notes.len() as u32;
        for pattern in rule.patterns.iter().flatten() {
            if notes.len() == STRINGS_MAX {
                return fail(Code::Invalid, format!("more than {STRINGS_MAX} strings"));
            }
            let mut planned = pattern::plan(pattern);
            if planned.need.nodes() > NODES_MAX {
                planned.need = Need::True;
                planned.note = Note::Large;
            }
            let name = pattern.identifier().name;
            let whole = writer.add_string(i, name, &planned.need, planned.local, planned.note);
            notes.push(if whole { planned.note } else { Note::Large });
        }
        let all = || rule.patterns.iter().flatten();
        patterns.push(Patterns {
            names: all().map(|pattern| pattern.identifier().name).collect(),
            idents: all().map(Pattern::identifier).collect(),
            heads: all().map(Head::of).collect(),
            first,
        });
    }
    let needs = rule_needs(text, &rules, &patterns, &notes);
    let parsing = outline.parsing();
    for (i, rule) in rules.iter().enumerate() {
        let (need, patterns) = (&needs[i], &patterns[i]);
        let mut flags = 0;
        if parsing.get(i) == Some(&true) {
            flags |= RULE_PARSES;
        }
        if rule.flags.contains(RuleFlags::Private) {
            flags |= RULE_PRIVATE;
        }
        if rule.flags.contains(RuleFlags::Global) {
            flags |= RULE_GLOBAL;
        }
        let note = match need {
            Need::True => why_nothing(patterns, &notes),
            _ => Note::None,
        };
        writer.add_rule(rule.identifier.name, need, flags, note);
    }
    Ok(writer.finish())
}

/// The note of a rule that narrows nothing: its patterns', if one has any.
fn why_nothing(patterns: &Patterns, notes: &[Note]) -> Note {
    let first = patterns.first as usize;
    notes[first..first + patterns.names.len()]
        .iter()
        .find(|note| **note != Note::None)
        .copied()
        .unwrap_or(Note::Nothing)
}

/// What each rule needs, those of the namespace's global rules included: none matches
/// where one of them does not.
fn rule_needs(text: &str, rules: &[&Rule], patterns: &[Patterns], notes: &[Note]) -> Vec<Need> {
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut own = Vec::new();
    for ((rule, patterns), i) in rules.iter().zip(patterns).zip(0u32..) {
        let span = rule.condition.span();
        let text = text.get(span.start()..span.end());
        let conditions = Conditions::new(patterns, &known, text);
        let need = conditions
            .plan(&rule.condition)
            .map(&mut |leaf| match leaf {
                Need::Pattern(p) if notes[p as usize] != Note::None => Need::True,
                Need::Rule(r) if own[r as usize] == Need::True => Need::True,
                other => other,
            });
        own.push(limited(need));
        known.insert(rule.identifier.name, i);
    }
    let globals: Vec<u32> = rules
        .iter()
        .zip(0u32..)
        .filter(|(rule, _)| rule.flags.contains(RuleFlags::Global))
        .map(|(_, i)| i)
        .collect();
    (0..own.len() as u32)
        .map(|i| {
            let mut all = vec![own[i as usize].clone()];
            for global in &globals {
                if *global < i {
                    all.push(Need::Rule(*global));
                } else if *global > i {
                    all.push(written_out(*global, i, &own, &mut NODES_MAX.clone()));
                }
            }
            limited(Need::all(all))
        })
        .collect()
}

fn limited(need: Need) -> Need {
    if need.nodes() > NODES_MAX {
        Need::True
    } else {
        need
    }
}

/// What rule `r` needs in terms of rules before `i` alone.
fn written_out(r: u32, i: u32, own: &[Need], budget: &mut usize) -> Need {
    let need = &own[r as usize];
    let nodes = need.nodes();
    if nodes > *budget {
        *budget = 0;
        return Need::True;
    }
    *budget -= nodes;
    need.clone().map(&mut |leaf| match leaf {
        Need::Rule(other) if other >= i => written_out(other, i, own, budget),
        other => other,
    })
}

/// The program of a source that compiles.
pub fn plan(source: &[u8]) -> Answer<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(source) else {
        return fail(Code::Compile, "the source is not UTF-8");
    };
    let run = || {
        let ast = AST::from(text);
        if let Some(err) = ast.errors().first() {
            return fail(Code::Compile, format!("syntax error: {err:?}"));
        }
        if ast.items().any(|item| matches!(item, Item::Include(_))) {
            return fail(Code::Compile, "includes are not accepted");
        }
        plan_tree(text, &ast, &Outline::of(text)?)
    };
    if !depth::may_be_deep(text) {
        return run();
    }
    depth::on_large_stack(|| {
        if depth::dropped_rule(text).is_some() {
            return fail(Code::Compile, "rule is nested too deeply");
        }
        run()
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_plan(
    source: *const c_char,
    source_len: usize,
    ret: *mut Buffer,
) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        ffi::give(
            ret,
            Buffer::new(plan(ffi::bytes(source.cast(), source_len)?)?),
        )
    })
}
