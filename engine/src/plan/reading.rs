//! A second reader of programs, for tests: from the format's page alone, as naive
//! as can be. It prints them and says what they say of a sample.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub code: Vec<u8>,
    pub flags: u8,
    pub note: u8,
}

pub struct Program {
    pub strings: Vec<(u32, Row)>,
    pub rules: Vec<Row>,
    pub runs: Vec<(Vec<u8>, bool)>,
}

/// What a program is asked about.
pub struct Sample<'a> {
    pub data: &'a [u8],
    pub features: BTreeSet<u64>,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn get32(bytes: &[u8], at: usize) -> usize {
    number(&bytes[at..at + 4]) as usize
}

impl Program {
    pub fn read(bytes: &[u8]) -> Program {
        assert_eq!(&bytes[..4], b"WPLN");
        assert_eq!(number(&bytes[4..6]), 1);
        let count = |i: usize| get32(bytes, 8 + 4 * i);
        let (strings, rules, runs) = (count(0), count(1), count(2));
        assert_eq!(count(5), bytes.len());
        assert!(bytes[32..48].iter().all(|b| *b == 0));
        let rules_at = 48 + 24 * strings;
        let runs_at = rules_at + 20 * rules;
        let code_at = runs_at + 8 * runs;
        let text_at = code_at + count(3);
        assert_eq!(text_at + count(4), bytes.len());
        let row = |at: usize, flags: usize| -> Row {
            let name = text_at + get32(bytes, at);
            let code = code_at + get32(bytes, at + 8);
            assert!(code + get32(bytes, at + 12) <= text_at);
            Row {
                name: String::from_utf8(bytes[name..name + get32(bytes, at + 4)].to_vec()).unwrap(),
                code: bytes[code..code + get32(bytes, at + 12)].to_vec(),
                flags: bytes[flags],
                note: bytes[flags + 1],
            }
        };
        let program = Program {
            strings: (0..strings)
                .map(|i| 48 + 24 * i)
                .map(|at| (get32(bytes, at) as u32, row(at + 4, at + 20)))
                .collect(),
            rules: (0..rules)
                .map(|i| rules_at + 20 * i)
                .map(|at| row(at, at + 16))
                .collect(),
            runs: (0..runs)
                .map(|i| runs_at + 8 * i)
                .map(|at| {
                    let from = text_at + get32(bytes, at);
                    let n = number(&bytes[at + 4..at + 6]) as usize;
                    assert!((4..=4096).contains(&n));
                    assert!(bytes[at + 6] <= 1 && bytes[at + 7] == 0);
                    (bytes[from..from + n].to_vec(), bytes[at + 6] == 1)
                })
                .collect(),
        };
        let distinct: BTreeSet<_> = program.runs.iter().collect();
        assert_eq!(distinct.len(), program.runs.len());
        program
    }

    /// Run a code; every operator of the format in its words.
    fn fold<T>(&self, code: &[u8], leaf: &mut dyn FnMut(Op<T>) -> T) -> T {
        let mut stack: Vec<T> = Vec::new();
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            &code[at - n..at]
        };
        let mut left = code.len();
        while left > 0 {
            let op = take(1)[0];
            left -= 1;
            let mut arg = |n: usize| {
                left -= n;
                take(n)
            };
            let value = match op {
                0 => leaf(Op::True),
                1..=3 => {
                    let k = if op == 3 { number(arg(2)) as usize } else { 0 };
                    let n = number(arg(2)) as usize;
                    assert!(n >= 1 && k <= n);
                    let of = stack.split_off(stack.len() - n);
                    match op {
                        1 => leaf(Op::Join("all", n, of)),
                        2 => leaf(Op::Join("any", 1, of)),
                        _ => leaf(Op::Join("of", k, of)),
                    }
                }
                4 => leaf(Op::Run(number(arg(4)) as usize)),
                5 => leaf(Op::String(number(arg(4)) as usize)),
                6 => leaf(Op::Rule(number(arg(4)) as usize)),
                7 => {
                    let least = number(arg(8));
                    leaf(Op::Size(least, number(arg(8))))
                }
                8 => {
                    let (offset, n) = (arg(1)[0], arg(1)[0]);
                    assert!(usize::from(offset) + usize::from(n) <= 16 && (1..=8).contains(&n));
                    let values = arg(n.into()).to_vec();
                    leaf(Op::Bytes(offset.into(), values, arg(n.into()).to_vec()))
                }
                9 => leaf(Op::Feature(number(arg(8)))),
                _ => panic!("operator {op}"),
            };
            stack.push(value);
            assert!(stack.len() <= 1024);
        }
        assert_eq!(stack.len(), 1);
        stack.remove(0)
    }

    fn shown(&self, code: &[u8], labels: &dyn Fn(u64) -> String) -> String {
        self.fold(code, &mut |op| match op {
            Op::True => "true".into(),
            Op::Join(name, k, of) => match name {
                "of" => format!("{k}of({})", of.join(" ")),
                _ => format!("{name}({})", of.join(" ")),
            },
            Op::Run(run) => shown_run(&self.runs[run]),
            Op::String(i) => self.strings[i].1.name.clone(),
            Op::Rule(i) => self.rules[i].name.clone(),
            Op::Size(1, 0) => "never".into(),
            Op::Size(least, u64::MAX) => format!("size>={least}"),
            Op::Size(least, most) => format!("size={least}..{most}"),
            Op::Bytes(offset, values, masks) => {
                let mut out = format!("@{offset}:");
                for (value, mask) in values.iter().zip(&masks) {
                    match mask {
                        0xff => write!(out, "{value:02x}").unwrap(),
                        mask => write!(out, "({value:02x}&{mask:02x})").unwrap(),
                    }
                }
                out
            }
            Op::Feature(hash) => labels(hash),
        })
    }

    /// Strings that narrow, then rules, one a line.
    pub fn print(&self, labels: &dyn Fn(u64) -> String) -> String {
        let mut out = String::new();
        for (_, row) in &self.strings {
            let local = if row.flags & 1 != 0 { "" } else { " far" };
            let note = if row.note != 0 {
                format!(" note {}", row.note)
            } else {
                String::new()
            };
            writeln!(
                out,
                "{} = {}{local}{note}",
                row.name,
                self.shown(&row.code, labels)
            )
            .unwrap();
        }
        for row in &self.rules {
            let note = if row.note != 0 {
                format!(" note {}", row.note)
            } else {
                String::new()
            };
            writeln!(
                out,
                "{} = {}{note}",
                row.name,
                self.shown(&row.code, labels)
            )
            .unwrap();
        }
        out
    }

    fn holds(
        &self,
        code: &[u8],
        sample: &Sample,
        runs: &[bool],
        strings: &[bool],
        rules: &[bool],
    ) -> bool {
        self.fold(code, &mut |op| match op {
            Op::True => true,
            Op::Join(_, k, inner) => inner.iter().filter(|b| **b).count() >= k,
            Op::Run(run) => runs[run],
            Op::String(i) => strings[i],
            Op::Rule(i) => rules[i],
            Op::Size(least, most) => {
                let size = sample.data.len() as u64;
                least <= size && size <= most
            }
            Op::Bytes(offset, values, masks) => sample
                .data
                .get(offset..offset + values.len())
                .is_some_and(|bytes| {
                    bytes
                        .iter()
                        .zip(values.iter().zip(&masks))
                        .all(|(byte, (value, mask))| byte & mask == *value)
                }),
            Op::Feature(hash) => sample.features.contains(&hash),
        })
    }

    /// Whether the sample can match the pattern.
    pub fn pattern_holds(&self, row: &Row, data: &[u8]) -> bool {
        let runs: Vec<bool> = self.runs.iter().map(|run| occurs(run, data)).collect();
        let sample = Sample {
            data,
            features: BTreeSet::new(),
        };
        self.holds(&row.code, &sample, &runs, &[], &[])
    }

    /// Every operator of a code, in its order.
    pub fn each(&self, code: &[u8], seen: &mut dyn FnMut(&Op<()>)) {
        self.fold(code, &mut |op| seen(&op));
    }

    /// For each rule, whether the sample can match it.
    pub fn candidates(&self, sample: &Sample) -> Vec<bool> {
        // Most runs are nowhere: their first bytes tell.
        let first = |window: &[u8]| [0, 1, 2, 3].map(|i| window[i].to_ascii_lowercase());
        let grams: HashSet<[u8; 4]> = sample.data.windows(4).map(first).collect();
        let runs: Vec<bool> = self
            .runs
            .iter()
            .map(|run| grams.contains(&first(&run.0)) && occurs(run, sample.data))
            .collect();
        let strings: Vec<bool> = self
            .strings
            .iter()
            .map(|(_, row)| self.holds(&row.code, sample, &runs, &[], &[]))
            .collect();
        let mut rules: Vec<bool> = Vec::new();
        for row in &self.rules {
            rules.push(self.holds(&row.code, sample, &runs, &strings, &rules));
        }
        rules
    }
}

fn occurs((bytes, nocase): &(Vec<u8>, bool), data: &[u8]) -> bool {
    data.windows(bytes.len()).any(|window| {
        if *nocase {
            window.eq_ignore_ascii_case(bytes)
        } else {
            window == bytes
        }
    })
}

pub enum Op<T> {
    True,
    /// Name, how many must hold, operands.
    Join(&'static str, usize, Vec<T>),
    Run(usize),
    String(usize),
    Rule(usize),
    Size(u64, u64),
    Bytes(usize, Vec<u8>, Vec<u8>),
    Feature(u64),
}

fn shown_run((bytes, nocase): &(Vec<u8>, bool)) -> String {
    let mut out = String::from("\"");
    for b in bytes {
        match b {
            b'"' | b'\\' => write!(out, "\\{}", *b as char).unwrap(),
            b' '..=b'~' => out.push(*b as char),
            0 => out.push('.'),
            b => write!(out, "\\{b:02x}").unwrap(),
        }
    }
    out.push('"');
    if *nocase {
        out.push('i');
    }
    out
}
