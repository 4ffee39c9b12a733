//! Programs in bytes: docs/format/plan.md is the reference.

use std::collections::HashMap;

use super::need::{Need, Run};
use super::Note;

pub const VERSION: u16 = 1;
const HEADER_BYTES: usize = 48;
const RUNS_MAX: usize = 1 << 20;
/// Of the text and the code together; the tables have their own maximum.
const BYTES_MAX: usize = 56 << 20;
const STACK_MAX: usize = 1024;
/// One less for each string and rule, which may have to be TRUE.
const OPERATORS_MAX: usize = (1 << 22) - (1 << 17);
/// So many operands stand on the stack before they become one.
const GROUP: usize = 64;

const OP_TRUE: u8 = 0;
const OP_AND: u8 = 1;
const OP_OR: u8 = 2;
const OP_AT_LEAST: u8 = 3;
const OP_RUN: u8 = 4;
const OP_STRING: u8 = 5;
const OP_RULE: u8 = 6;
const OP_SIZE: u8 = 7;
const OP_BYTES: u8 = 8;
const OP_FEATURE: u8 = 9;

const STRING_LOCAL: u8 = 1;

struct StringRow {
    rule: u32,
    name: (u32, u32),
    code: (u32, u32),
    local: bool,
    note: Note,
}

struct RuleRow {
    name: (u32, u32),
    code: (u32, u32),
    flags: u8,
    note: Note,
}

#[derive(Default)]
pub struct Writer {
    strings: Vec<StringRow>,
    rules: Vec<RuleRow>,
    runs: Vec<(u32, u16, bool)>,
    known_runs: HashMap<Run, u32>,
    names: HashMap<String, (u32, u32)>,
    operators: usize,
    code: Vec<u8>,
    text: Vec<u8>,
}

/// The program has no room left for a piece of code.
struct Full;

impl Writer {
    fn name(&mut self, name: &str) -> (u32, u32) {
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        let place = (self.text.len() as u32, name.len() as u32);
        self.text.extend_from_slice(name.as_bytes());
        self.names.insert(name.to_string(), place);
        place
    }

    fn run(&mut self, run: &Run) -> Result<u32, Full> {
        if let Some(index) = self.known_runs.get(run) {
            return Ok(*index);
        }
        if self.runs.len() == RUNS_MAX || self.bytes() + run.bytes.len() > BYTES_MAX {
            return Err(Full);
        }
        let index = self.runs.len() as u32;
        let bytes = run.bytes.len() as u16;
        self.runs.push((self.text.len() as u32, bytes, run.nocase));
        self.text.extend_from_slice(&run.bytes);
        self.known_runs.insert(run.clone(), index);
        Ok(index)
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.code.len()
    }

    /// Append code for `need`, TRUE in its place if there is no room.
    fn code(&mut self, need: &Need) -> ((u32, u32), bool) {
        let (code, text, runs) = (self.code.len(), self.text.len(), self.runs.len());
        let whole = self.emit(need, 0).is_ok();
        if !whole {
            self.code.truncate(code);
            self.text.truncate(text);
            self.runs.truncate(runs);
            self.known_runs.retain(|_, index| (*index as usize) < runs);
            self.code.push(OP_TRUE);
        }
        ((code as u32, (self.code.len() - code) as u32), whole)
    }

    fn op(&mut self, op: u8, arguments: &[&[u8]]) -> Result<(), Full> {
        if self.bytes() > BYTES_MAX || self.operators == OPERATORS_MAX {
            return Err(Full);
        }
        self.operators += 1;
        self.code.push(op);
        for argument in arguments {
            self.code.extend_from_slice(argument);
        }
        Ok(())
    }

    /// `depth`: values on the stack before.
    fn emit(&mut self, need: &Need, depth: usize) -> Result<(), Full> {
        if depth + 1 > STACK_MAX {
            return Err(Full);
        }
        match need {
            Need::True => self.op(OP_TRUE, &[]),
            Need::Never => self.op(OP_SIZE, &[&1u64.to_le_bytes(), &0u64.to_le_bytes()]),
            Need::All(inner) => self.emit_groups(OP_AND, inner, depth),
            Need::Any(inner) => self.emit_groups(OP_OR, inner, depth),
            Need::AtLeast(k, inner) => {
                let (Ok(k), Ok(n)) = (u16::try_from(*k), u16::try_from(inner.len())) else {
                    return Err(Full);
                };
                for (i, need) in inner.iter().enumerate() {
                    self.emit(need, depth + i)?;
                }
                self.op(OP_AT_LEAST, &[&k.to_le_bytes(), &n.to_le_bytes()])
            }
            Need::Run(run) => {
                let index = self.run(run)?;
                self.op(OP_RUN, &[&index.to_le_bytes()])
            }
            Need::Pattern(index) => self.op(OP_STRING, &[&index.to_le_bytes()]),
            Need::Rule(index) => self.op(OP_RULE, &[&index.to_le_bytes()]),
            Need::Size(least, most) => {
                self.op(OP_SIZE, &[&least.to_le_bytes(), &most.to_le_bytes()])
            }
            Need::Bytes(offset, bytes) => {
                let values: Vec<u8> = bytes.iter().map(|(value, _)| *value).collect();
                let masks: Vec<u8> = bytes.iter().map(|(_, mask)| *mask).collect();
                self.op(OP_BYTES, &[&[*offset, bytes.len() as u8], &values, &masks])
            }
            Need::Feature(hash) => self.op(OP_FEATURE, &[&hash.to_le_bytes()]),
        }
    }

    /// Operands in groups of groups, so that neither stack nor nesting grow with their number.
    fn emit_groups(&mut self, op: u8, inner: &[Need], depth: usize) -> Result<(), Full> {
        let mut count = 0usize;
        if inner.len() <= GROUP {
            for need in inner {
                self.emit(need, depth + count)?;
                count += 1;
            }
        } else {
            for part in inner.chunks(inner.len().div_ceil(GROUP).max(GROUP)) {
                self.emit_groups(op, part, depth + count)?;
                count += 1;
            }
        }
        self.op(op, &[&(count as u16).to_le_bytes()])
    }

    /// Returns whether its code is what was asked for.
    pub fn add_string(
        &mut self,
        rule: u32,
        name: &str,
        need: &Need,
        local: bool,
        note: Note,
    ) -> bool {
        let name = self.name(name);
        let (code, whole) = self.code(need);
        self.strings.push(StringRow {
            rule,
            name,
            code,
            local: local && whole,
            note: if whole { note } else { Note::Large },
        });
        whole
    }

    pub fn add_rule(&mut self, name: &str, need: &Need, flags: u8, note: Note) {
        let name = self.name(name);
        let (code, whole) = self.code(need);
        self.rules.push(RuleRow {
            name,
            code,
            flags,
            note: if whole { note } else { Note::Large },
        });
    }

    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        let u16s = |out: &mut Vec<u8>, n: u16| out.extend_from_slice(&n.to_le_bytes());
        let u32s = |out: &mut Vec<u8>, ns: &[usize]| {
            for n in ns {
                out.extend_from_slice(&(*n as u32).to_le_bytes());
            }
        };
        out.extend_from_slice(b"WPLN");
        u16s(&mut out, VERSION);
        u16s(&mut out, 0);
        u32s(
            &mut out,
            &[
                self.strings.len(),
                self.rules.len(),
                self.runs.len(),
                self.code.len(),
                self.text.len(),
                0,
            ],
        );
        out.resize(HEADER_BYTES, 0);
        for row in &self.strings {
            let (name, code) = (row.name, row.code);
            for n in [row.rule, name.0, name.1, code.0, code.1] {
                u32s(&mut out, &[n as usize]);
            }
            out.extend_from_slice(&[
                if row.local { STRING_LOCAL } else { 0 },
                row.note as u8,
                0,
                0,
            ]);
        }
        for row in &self.rules {
            let (name, code) = (row.name, row.code);
            for n in [name.0, name.1, code.0, code.1] {
                u32s(&mut out, &[n as usize]);
            }
            out.extend_from_slice(&[row.flags, row.note as u8, 0, 0]);
        }
        for (at, bytes, nocase) in &self.runs {
            u32s(&mut out, &[*at as usize]);
            u16s(&mut out, *bytes);
            out.extend_from_slice(&[u8::from(*nocase), 0]);
        }
        out.extend_from_slice(&self.code);
        out.extend_from_slice(&self.text);
        let whole = (out.len() as u32).to_le_bytes();
        out[28..32].copy_from_slice(&whole);
        out
    }
}
